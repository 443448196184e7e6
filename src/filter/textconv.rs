//! textconv: what `git diff` and `git log -p` show of a blob.
//!
//! git hands over smudged content where it can, plaintext of the work tree, or ciphertext. It
//! must never fail: git would show no diff at all.

use crate::keys::Keyring;
use crate::secret::SecretBytes;

use super::smudge::{Smudged, smudge};

/// The text to show: plaintext if a key opens it, else the file just as it is.
pub fn textconv(keyring: &Keyring, content: SecretBytes) -> SecretBytes {
    match smudge(keyring, content.expose()) {
        Smudged::Open(plaintext) => plaintext,
        Smudged::Clear | Smudged::Locked | Smudged::Sealed(_) => content,
    }
}
