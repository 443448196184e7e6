//! The data keys that this clone made or accepted.
//!
//! A data key is known by itself, and by all its envelopes together, as a keyed hash each: the same envelopes hold
//! the same key, so that nothing need be unwrapped to accept what is there. Either way it is known for its readers
//! only: whoever reads another branch, or read this one once, knows a key that may not come back for others. What a
//! rotation replaced comes back for nobody. (One envelope alone says nothing: it
//! can be copied to stand beside others that hold another key.)

use crate::crypto::DataKey;
use crate::git::Repository;
use crate::sops::KeyGroups;

use super::marks::Mark;
use super::readers::of_groups;
use super::{Error, Marks};

/// The record of a clone.
#[derive(Debug)]
pub(super) struct Accepted(Marks);

impl Accepted {
    /// Reads the record.
    pub(super) fn of(repository: &Repository) -> Self {
        Self(Marks::of(repository, "data-keys", "data key", usize::MAX))
    }

    /// True if the data key was accepted, or these very envelopes were, and none replaced it since.
    pub(super) fn has(&self, groups: &KeyGroups, key: &DataKey) -> bool {
        let readers = text(groups);
        !self.is_retired(key) && self.knows(&readers, groups, key)
    }

    fn knows(&self, readers: &str, groups: &KeyGroups, key: &DataKey) -> bool {
        self.0.has(&[b"key", readers.as_bytes(), key.expose()]) || self.0.has(&parts(readers, groups))
    }

    /// True if another data key was put in its place, so that nothing more is sealed under it.
    pub(super) fn is_retired(&self, key: &DataKey) -> bool {
        self.0.has(&[b"retired", key.expose()])
    }

    /// Notes that another data key was put in its place, in memory. Whoever reads it, that cannot be taken back.
    pub(super) fn retire(&self, key: &DataKey) {
        self.0.note(&[b"retired", key.expose()]);
    }

    /// Notes a data key, in memory; by its envelopes alone where nobody here can unwrap it.
    pub(super) fn note(&self, groups: &KeyGroups, key: Option<&DataKey>) {
        let readers = text(groups);
        self.0.note(&parts(&readers, groups));
        if let Some(key) = key {
            self.0.note(&[b"key", readers.as_bytes(), key.expose()]);
        }
    }

    /// What a data key is known by.
    pub(super) fn marks(&self, groups: &KeyGroups, key: &DataKey) -> Vec<Mark> {
        let readers = text(groups);
        let key = self.0.mark(&[b"key", readers.as_bytes(), key.expose()]);
        [key, self.0.mark(&parts(&readers, groups))].into_iter().flatten().collect()
    }

    /// Notes what is known by a mark, in memory.
    pub(super) fn note_mark(&self, mark: Mark) {
        self.0.note_mark(mark);
    }

    /// Writes down what is new.
    pub(super) fn keep(&self) -> Result<(), Error> {
        if self.0.has_news() { self.0.keep().map_err(Error::Record) } else { Ok(()) }
    }
}

/// The readers, as one text.
fn text(groups: &KeyGroups) -> String {
    of_groups(groups).into_iter().collect::<Vec<_>>().join("\n")
}

fn parts<'g>(readers: &'g str, groups: &'g KeyGroups) -> Vec<&'g [u8]> {
    let envelopes = groups.groups().iter().flat_map(|group| &group.envelopes);
    let envelopes = envelopes.map(|envelope| envelope.enc.as_bytes());
    [&b"envelopes"[..], readers.as_bytes()].into_iter().chain(envelopes).collect()
}
