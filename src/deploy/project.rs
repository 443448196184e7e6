//! The project directory: the tree as git holds it, among data that is not ours.

use std::path::{Path, PathBuf};

use super::error::Error;
use super::tree::{Kind, Tree};
use crate::sys::disk::{Change, Root};

/// How many files were written and how many removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// New or different.
    pub(super) written: usize,
    /// No longer in the tree.
    pub(super) removed: usize,
}

/// True if there is something in the directory.
pub(super) fn is_taken(dir: &Path) -> Result<bool, Error> {
    match std::fs::read_dir(dir) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(Error::Disk { path: dir.to_owned(), source }),
    }
}

/// Lays the tree into the directory and removes the files in `vanished`; leaves all else alone.
pub(super) fn lay(dir: &Path, tree: &Tree, vanished: &[PathBuf]) -> Result<Changes, Error> {
    let root = open(dir).map_err(|source| Error::Disk { path: dir.to_owned(), source })?;
    let failed = |path: &Path, source| Error::Disk { path: dir.join(path), source: explained(source) };
    // First, so that a directory can take the place of a file.
    for path in vanished {
        root.remove(path).map_err(|error| failed(path, error))?;
    }
    let mut changes = Changes { removed: vanished.len(), ..Changes::default() };
    for (path, entry) in tree {
        let change = match entry.kind {
            Kind::File | Kind::Program => root.put_file(path, &entry.content, entry.mode()),
            Kind::Link => root.put_link(path, &entry.content),
        };
        let change = change.map_err(|error| failed(path, error))?;
        changes.written += usize::from(change == Change::Written);
    }
    Ok(changes)
}

/// A link that was planted says little by its error alone.
fn explained(error: std::io::Error) -> std::io::Error {
    let is_link = error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error());
    match is_link {
        true => std::io::Error::other("a symbolic link stands in the way, and hlx follows none: remove it"),
        false => error,
    }
}

fn open(dir: &Path) -> std::io::Result<Root> {
    std::fs::create_dir_all(dir)?;
    Root::open(dir)
}
