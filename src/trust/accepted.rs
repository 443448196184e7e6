//! The data keys that this clone made or accepted.
//!
//! A data key is known by itself, and by all its envelopes together, as a keyed hash each: the same envelopes hold
//! the same key, so that nothing need be unwrapped to accept what is there. (One envelope alone says nothing: it
//! can be copied to stand beside others that hold another key.)

use crate::crypto::DataKey;
use crate::git::Repository;
use crate::sops::KeyGroups;

use super::{Error, Marks};

/// The record of a clone.
#[derive(Debug)]
pub(super) struct Accepted(Marks);

impl Accepted {
    /// Reads the record.
    pub(super) fn of(repository: &Repository) -> Self {
        Self(Marks::of(repository, "data-keys", "data key", usize::MAX))
    }

    /// True if the data key was accepted, or these very envelopes were.
    pub(super) fn has(&self, groups: &KeyGroups, key: &DataKey) -> bool {
        self.0.has(&[b"key", key.expose()]) || self.0.has(&parts(groups))
    }

    /// Notes a data key, in memory; by its envelopes alone where nobody here can unwrap it.
    pub(super) fn note(&self, groups: &KeyGroups, key: Option<&DataKey>) {
        self.0.note(&parts(groups));
        if let Some(key) = key {
            self.0.note(&[b"key", key.expose()]);
        }
    }

    /// Writes down what is new.
    pub(super) fn keep(&self) -> Result<(), Error> {
        if self.0.has_news() { self.0.keep().map_err(Error::Record) } else { Ok(()) }
    }
}

fn parts(groups: &KeyGroups) -> Vec<&[u8]> {
    let envelopes = groups.groups().iter().flat_map(|group| &group.envelopes);
    std::iter::once(&b"envelopes"[..]).chain(envelopes.map(|envelope| envelope.enc.as_bytes())).collect()
}
