//! hlx keeps a homelab's Docker Compose stacks in git with every secret encrypted, and
//! deploys them so that no plaintext reaches a disk that hlx controls.
//!
//! The modules stand on four floors, and each imports only from below (`ARCHITECTURE.md`):
//! the core (bytes in, bytes out), the world (disk, programs, git), the work (one module
//! per thing a user wants done), and the door (`cli`).

pub mod check;
pub mod cli;
pub mod crypto;
pub mod deploy;
pub mod filter;
pub mod format;
pub mod git;
pub mod keys;
pub mod policy;
pub mod repo;
pub mod secret;
pub mod sops;
pub mod sys;
pub mod trust;
pub mod values;
