//! Smudge: from git into the work tree. It never fails: what it cannot open stays sealed.

use std::panic::{self, AssertUnwindSafe};

use crate::keys::{self, Keyring};
use crate::secret::SecretBytes;
use crate::sops::is_sealed;

/// What goes into the work tree.
#[derive(Debug)]
pub enum Smudged {
    /// The plaintext.
    Open(SecretBytes),
    /// The blob just as it is: it is not sealed.
    Clear,
    /// The blob just as it is, because the work tree is locked.
    Locked,
    /// The blob just as it is, because it could not be opened.
    Sealed(keys::Error),
}

/// Opens a blob for the work tree.
pub fn smudge(keyring: &Keyring, blob: &[u8]) -> Smudged {
    match keyring.open(blob) {
        Ok(opened) => Smudged::Open(opened.into_plaintext()),
        Err(_) if !is_sealed(blob) => Smudged::Clear,
        Err(error) => Smudged::Sealed(error),
    }
}

/// Like [`smudge`]. A checkout that stops half-way leaves a mixed tree: even a defect must leave the file sealed.
pub fn at_all_events(keyring: &Keyring, blob: &[u8]) -> Smudged {
    panic::catch_unwind(AssertUnwindSafe(|| smudge(keyring, blob))).unwrap_or(Smudged::Clear)
}
