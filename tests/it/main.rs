//! Everything that needs the outside: real git, sops, Docker; and the laws of the code's own shape.

mod deploy;
mod filter;
mod floors;
mod https;
mod ini;
mod interop;
mod keys;
mod lab;
mod lock;
mod repository;
mod sandbox;
mod values;
mod vectors;
