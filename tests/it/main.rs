//! Everything that needs the outside: real git, sops, Docker; and the laws of the code's own shape.

mod ahead;
mod bystanders;
mod check;
mod check_compose;
mod commits;
mod concurrent;
mod contents;
mod deploy;
mod far;
mod filter;
mod floors;
mod fuzz;
#[path = "../../fuzz/heap.rs"]
mod heap;
mod hooks;
mod hostile;
mod https;
mod hybrid;
mod identities;
mod ini;
mod interop;
mod interrupted;
mod keychain;
mod keys;
mod killed;
mod kills;
mod lab;
mod lock;
mod materialise;
mod matrix;
mod memory;
mod merge;
mod moved;
mod names;
mod oneshot;
mod openpgp;
mod plan;
mod planted;
mod policy;
mod preflight;
mod registry;
mod repository;
mod reseal;
mod rollback;
mod rotate;
mod sandbox;
mod scenarios;
mod signers;
mod soak;
mod sound;
mod stacks;
mod swarm;
mod terminal;
mod textconv;
mod tpm;
mod tracking;
mod trust;
mod unprivileged;
mod values;
mod vectors;

/// Counts, so that laws about memory can be checked.
#[global_allocator]
static COUNTING: heap::Counting = heap::Counting;
