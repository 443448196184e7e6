//! Everything that needs the outside: real git, sops, Docker; and the laws of the code's own shape.

mod deploy;
mod filter;
mod floors;
mod fuzz;
#[path = "../../fuzz/heap.rs"]
mod heap;
mod https;
mod ini;
mod interop;
mod interrupted;
mod keys;
mod lab;
mod lock;
mod memory;
mod repository;
mod rotate;
mod sandbox;
mod soak;
mod values;
mod vectors;

/// Counts, so that laws about memory can be checked.
#[global_allocator]
static COUNTING: heap::Counting = heap::Counting;
