//! What this clone trusts.

mod clone_key;

pub use clone_key::CloneKey;
