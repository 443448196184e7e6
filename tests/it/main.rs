//! Integration tests.

mod deploy;
