//! What was sealed or opened here before: which plaintext a blob stands for, as keyed hashes.
//!
//! `git status` asks for every touched file anew. HMAC(clone key, the blob's name and the plaintext), recorded
//! only where this clone sealed the one to the other or found it authentic, answers without
//! opening it again. Whoever has only public recipients can seal a new file and not open it
//! again: the record is all that tells whether it changed since.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::git::Repository;
use crate::sys::replace;
use crate::trust::CloneKey;

/// Half of a hash: nobody chooses what goes in, so that only chance could make two alike.
type Mark = [u8; 16];

/// Of a longer record, the older half is dropped.
const MOST: usize = 1 << 20;

/// The record of a clone.
pub(super) struct Memory {
    path: PathBuf,
    key: io::Result<CloneKey>,
    known: RefCell<HashSet<Mark>>,
    fresh: RefCell<Vec<u8>>,
}

impl Memory {
    /// Reads the record; an empty one if there is none, or it is damaged.
    pub(super) fn of(repository: &Repository) -> Self {
        let path = repository.common_dir().join("hlx").join("known");
        let record = read(&path);
        let known = record.as_chunks().0.iter().copied().collect();
        let key = CloneKey::of(repository);
        Self { path, key, known: RefCell::new(known), fresh: RefCell::default() }
    }

    /// True if the blob of this name is known to stand for this plaintext.
    pub(super) fn knows(&self, blob: &str, plaintext: &[u8]) -> bool {
        let mark = self.key.as_ref().ok().map(|key| mark(key, blob, plaintext));
        mark.is_some_and(|mark| self.known.borrow().contains(&mark))
    }

    /// Notes that the blob of this name stands for this plaintext. Without a key of the clone, nothing is noted.
    pub(super) fn learn(&self, blob: &str, plaintext: &[u8]) {
        let Ok(key) = &self.key else { return };
        let mark = mark(key, blob, plaintext);
        if self.known.borrow_mut().insert(mark) {
            self.fresh.borrow_mut().extend(mark);
        }
    }

    /// Writes down what is new.
    pub(super) fn keep(&self) -> io::Result<()> {
        if let Err(error) = &self.key {
            return Err(io::Error::new(error.kind(), error.to_string()));
        }
        let fresh = self.fresh.take();
        let old = self.path.metadata().map_or(0, |metadata| metadata.len() as usize);
        if old % size_of::<Mark>() == 0 && old + fresh.len() <= MOST {
            let mut options = OpenOptions::new();
            return options.create(true).append(true).mode(0o600).open(&self.path)?.write_all(&fresh);
        }
        let all = [read(&self.path), fresh].concat();
        let older = all.len() / 2 / size_of::<Mark>() * size_of::<Mark>();
        replace::content(&self.path, &all[older..])
    }
}

/// The marks of a record; none if it is damaged.
fn read(path: &Path) -> Vec<u8> {
    let sound = |record: &Vec<u8>| record.len() % size_of::<Mark>() == 0;
    fs::read(path).ok().filter(sound).unwrap_or_default()
}

fn mark(key: &CloneKey, blob: &str, plaintext: &[u8]) -> Mark {
    let whole = key.mark("stands for", &[blob.as_bytes(), plaintext]);
    *whole.first_chunk().expect("a mark is half of a hash")
}

impl Drop for Memory {
    /// A record that cannot be written makes only the next comparison slower.
    fn drop(&mut self) {
        if !self.fresh.borrow().is_empty() {
            let _ = self.keep();
        }
    }
}
