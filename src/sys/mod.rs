//! The operating system: files that nobody can redirect, RAM file systems, programs, namespaces.

pub mod disk;
pub mod eager;
pub mod kernel_keys;
pub mod namespace;
pub mod process;
pub mod ram;
pub mod random;
pub mod replace;
pub mod terminal;
pub mod wiped;
