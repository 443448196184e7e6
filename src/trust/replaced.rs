//! Data keys of others that this clone replaced, so that they can still be accepted afterwards.
//!
//! Once a file has another data key, no commit at hand shows the one that it had; but whoever brought that will
//! bring it again.

use std::fs;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::git::Repository;
use crate::sys::{disk, replace};

use super::Error;
use super::marks::Mark;

/// The most that is remembered.
const MOST: usize = 200;

/// A data key that was replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Replaced {
    /// The branch.
    pub(super) branch: String,
    /// The file that had it.
    pub(super) path: String,
    /// Who brought it, on a line.
    pub(super) by: String,
    /// What it is known by.
    pub(super) marks: Vec<Mark>,
}

/// All that this clone replaced and did not accept since.
pub(super) fn read(repository: &Repository) -> Result<Vec<Replaced>, Error> {
    match fs::read(file(repository)) {
        Ok(text) => serde_json::from_slice(&text).map_err(|error| Error::Record(error.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(Error::Record(error)),
    }
}

/// Remembers one more, unless it is known.
pub(super) fn add(repository: &Repository, replaced: Replaced) -> Result<(), Error> {
    let mut all = read(repository)?;
    if all.iter().any(|known| known.branch == replaced.branch && known.marks == replaced.marks) {
        return Ok(());
    }
    all.push(replaced);
    let first = all.len().saturating_sub(MOST);
    write(repository, &all[first..])
}

/// Forgets those of a branch.
pub(super) fn forget(repository: &Repository, branch: &str) -> Result<(), Error> {
    let mut all = read(repository)?;
    let before = all.len();
    all.retain(|known| known.branch != branch);
    if all.len() == before { Ok(()) } else { write(repository, &all) }
}

fn write(repository: &Repository, all: &[Replaced]) -> Result<(), Error> {
    let (file, text) =
        (file(repository), serde_json::to_vec(all).map_err(|error| Error::Record(error.into()))?);
    let written = match replace::content(&file, &text) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => disk::private_file(&file, &text),
        done => done,
    };
    written.map_err(Error::Record)
}

fn file(repository: &Repository) -> PathBuf {
    repository.common_dir().join("hlx").join("replaced")
}
