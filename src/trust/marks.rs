//! A record of keyed hashes: a set that says of a thing whether it was noted, and nothing else.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::git::Repository;
use crate::sys::replace;

use super::CloneKey;

/// Half of a hash: nobody chooses what goes in, so that only chance could make two alike.
type Mark = [u8; 16];

/// A record in the clone.
pub struct Marks {
    path: PathBuf,
    purpose: &'static str,
    /// Of a record longer than this, in bytes, the older half is dropped.
    most: usize,
    key: io::Result<CloneKey>,
    known: RefCell<HashSet<Mark>>,
    fresh: RefCell<Vec<u8>>,
}

impl std::fmt::Debug for Marks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Marks").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Marks {
    /// Reads the record `<git common dir>/hlx/NAME`; an empty one if there is none, or it is damaged.
    pub fn of(repository: &Repository, name: &str, purpose: &'static str, most: usize) -> Self {
        let path = repository.common_dir().join("hlx").join(name);
        let known = read(&path).as_chunks().0.iter().copied().collect();
        let key = CloneKey::of(repository);
        Self { path, purpose, most, key, known: RefCell::new(known), fresh: RefCell::default() }
    }

    /// True if these parts were noted together.
    pub fn has(&self, parts: &[&[u8]]) -> bool {
        self.mark(parts).is_some_and(|mark| self.known.borrow().contains(&mark))
    }

    /// Notes these parts together, in memory. Without a key of the clone, nothing is noted.
    pub fn note(&self, parts: &[&[u8]]) {
        let Some(mark) = self.mark(parts) else { return };
        if self.known.borrow_mut().insert(mark) {
            self.fresh.borrow_mut().extend(mark);
        }
    }

    /// True if something was noted and not kept yet.
    pub fn has_news(&self) -> bool {
        !self.fresh.borrow().is_empty()
    }

    /// Writes down what is new.
    pub fn keep(&self) -> io::Result<()> {
        if let Err(error) = &self.key {
            return Err(io::Error::new(error.kind(), error.to_string()));
        }
        let fresh = self.fresh.take();
        let old = self.path.metadata().map_or(0, |metadata| metadata.len() as usize);
        if old.is_multiple_of(size_of::<Mark>()) && old + fresh.len() <= self.most {
            let mut options = OpenOptions::new();
            return options.create(true).append(true).mode(0o600).open(&self.path)?.write_all(&fresh);
        }
        let all = [read(&self.path), fresh].concat();
        let older = all.len() / 2 / size_of::<Mark>() * size_of::<Mark>();
        replace::content(&self.path, &all[older..])
    }

    fn mark(&self, parts: &[&[u8]]) -> Option<Mark> {
        let whole = self.key.as_ref().ok()?.mark(self.purpose, parts);
        whole.first_chunk().copied()
    }
}

/// The marks of a record; none if it is damaged.
fn read(path: &Path) -> Vec<u8> {
    let sound = |record: &Vec<u8>| record.len().is_multiple_of(size_of::<Mark>());
    fs::read(path).ok().filter(sound).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::Git;

    #[test]
    fn what_was_noted_is_found_again_until_it_is_old() {
        let place = tempfile::tempdir().unwrap();
        Git::at(place.path()).run(&["init", "-q"]).unwrap();
        let repository = Repository::discover(place.path()).unwrap();
        let marks = || Marks::of(&repository, "test", "a test", 4 * 16);
        let part = |number: u8| [number];
        for number in 0..6 {
            let record = marks();
            assert!(!record.has(&[&part(number)]));
            record.note(&[&part(number)]);
            assert!(record.has(&[&part(number)]) && record.has_news());
            record.keep().unwrap();
        }
        let found: Vec<bool> = (0..6).map(|number| marks().has(&[&part(number)])).collect();
        assert_eq!(found, [false, false, true, true, true, true]);
        assert!(!Marks::of(&repository, "test", "another", 64).has(&[&part(5)]));
        assert!(!marks().has(&[&part(5), b""]));
        fs::write(repository.common_dir().join("hlx/test"), [7; 33]).unwrap();
        assert!(!marks().has(&[&part(5)]));
        marks().note(&[&part(1)]);
    }
}
