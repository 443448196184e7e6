//! What was sealed or opened here before: which plaintext a blob stands for, as keyed hashes.
//!
//! `git status` asks for every touched file anew. HMAC(clone key, the blob's name and the plaintext),
//! recorded only where this clone sealed the one to the other or found it authentic, answers without
//! opening it again. Whoever has only public recipients can seal a new file and not open it
//! again: the record is all that tells whether it changed since.

use std::io;

use crate::git::Repository;
use crate::trust::Marks;

/// The most bytes of the record.
const MOST: usize = 1 << 20;

/// The record of a clone.
pub(super) struct Memory(Marks);

impl Memory {
    /// Reads the record; an empty one if there is none.
    pub(super) fn of(repository: &Repository) -> Self {
        Self(Marks::of(repository, "known", "stands for", MOST))
    }

    /// True if the blob of this name is known to stand for this plaintext.
    pub(super) fn knows(&self, blob: &str, plaintext: &[u8]) -> bool {
        self.0.has(&[blob.as_bytes(), plaintext])
    }

    /// Notes that the blob of this name stands for this plaintext.
    pub(super) fn learn(&self, blob: &str, plaintext: &[u8]) {
        self.0.note(&[blob.as_bytes(), plaintext]);
    }

    /// Writes down what is new.
    pub(super) fn keep(&self) -> io::Result<()> {
        self.0.keep()
    }
}

impl Drop for Memory {
    /// A record that cannot be written makes only the next comparison slower.
    fn drop(&mut self) {
        if self.0.has_news() {
            let _ = self.keep();
        }
    }
}
