//! What clean found unchanged before: which plaintext a blob opens to, as a keyed hash.
//!
//! `git status` asks for every touched file anew. A record of HMAC(clone key, plaintext) by the
//! name of the blob, made only after the blob was opened and found authentic, answers without
//! opening it again. It is a cache: without it, or with a damaged one, all is opened.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::git::Repository;

use super::keyless;

/// A record larger than this begins anew.
const MOST: usize = 8 << 20;

/// The record of a clone.
pub(super) struct Memory {
    path: PathBuf,
    key: Option<Zeroizing<Vec<u8>>>,
    known: RefCell<HashMap<String, String>>,
    fresh: RefCell<String>,
}

impl Memory {
    /// Reads the record; an empty one if there is none.
    pub(super) fn of(repository: &Repository) -> Self {
        let path = repository.common_dir().join("hlx").join("unchanged");
        let text = fs::read_to_string(&path).ok().filter(|text| text.len() < MOST).unwrap_or_default();
        let known = text.lines().filter_map(|line| line.split_once(' '));
        let known = known.map(|(blob, mark)| (blob.to_owned(), mark.to_owned())).collect();
        let key = keyless::key_of(repository).ok();
        Self { path, key, known: RefCell::new(known), fresh: RefCell::default() }
    }

    /// True if the blob was found to open to this plaintext before.
    pub(super) fn knows(&self, blob: &str, plaintext: &[u8]) -> bool {
        let known = self.known.borrow();
        let Some(mark) = known.get(blob) else { return false };
        self.mark(plaintext).as_ref() == Some(mark)
    }

    /// Notes that the blob opens to this plaintext.
    pub(super) fn learn(&self, blob: String, plaintext: &[u8]) {
        let Some(mark) = self.mark(plaintext) else { return };
        self.fresh.borrow_mut().push_str(&format!("{blob} {mark}\n"));
        self.known.borrow_mut().insert(blob, mark);
    }

    fn mark(&self, plaintext: &[u8]) -> Option<String> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.key.as_ref()?).ok()?;
        mac.update(b"unchanged");
        mac.update(plaintext);
        Some(STANDARD.encode(mac.finalize().into_bytes()))
    }
}

impl Drop for Memory {
    /// Adds what is new to the record. A record that cannot be written is only slower.
    fn drop(&mut self) {
        let fresh = self.fresh.borrow();
        if fresh.is_empty() {
            return;
        }
        let full = self.path.metadata().is_ok_and(|metadata| metadata.len() as usize >= MOST);
        let file = OpenOptions::new()
            .create(true)
            .append(!full)
            .write(full)
            .truncate(full)
            .mode(0o600)
            .open(&self.path);
        let _ = file.and_then(|mut file| file.write_all(fresh.as_bytes()));
    }
}
