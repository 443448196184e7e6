//! Opening files that are sealed in the work tree: it was locked, or a key has come.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::git::{Git, Repository};
use crate::keys::{self, Keyring};
use crate::sops::is_sealed;
use crate::sys::replace::{self, Fresh};

use super::Error;
use super::lock::{behind_a_link, native, refresh, sweep, unmerged};
use super::status::protected;

/// What became of the sealed files of a work tree.
#[derive(Debug, Default)]
pub struct Unlocked {
    /// Opened now.
    pub opened: Vec<PathBuf>,
    /// Still sealed, and why.
    pub sealed: Vec<(PathBuf, keys::Error)>,
}

/// Whether a protected file stands sealed in the work tree.
pub fn has_sealed(repository: &Repository) -> bool {
    let Ok(tree) = repository.work_tree() else { return false };
    let files = protected(repository).unwrap_or_default();
    let mut paths = files.iter().map(|(path, _)| Path::new(OsStr::from_bytes(path)));
    paths.any(|below| {
        let path = tree.join(below);
        let regular = path.symlink_metadata().is_ok_and(|found| found.is_file());
        regular && !behind_a_link(tree, below) && fs::read(path).is_ok_and(|content| is_sealed(&content))
    })
}

/// Takes the lock back, and opens every protected file that stands sealed in the work tree; one in conflict too, which
/// the merge driver sealed with its markers.
///
/// All else is left alone. It can be interrupted at any moment, and run again.
pub fn unlock(repository: &Repository, git: &Git, keyring: &Keyring) -> Result<Unlocked, Error> {
    let flag = repository.lock_flag();
    match fs::remove_file(&flag) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Error::io(flag)(error)),
        Ok(()) | Err(_) => {}
    }
    sweep(repository)?;
    let tree = repository.work_tree()?;
    let mut outcome = Unlocked::default();
    let mut paths: Vec<_> = protected(repository)?.into_iter().map(|(path, _)| native(&path)).collect();
    paths.extend(unmerged(repository, git)?);
    paths.sort();
    paths.chunks(replace::TOGETHER).try_for_each(|part| open(tree, part, keyring, &mut outcome))?;
    refresh(repository, git)?;
    Ok(outcome)
}

/// Opens those of some files that stand sealed.
fn open(tree: &Path, paths: &[PathBuf], keyring: &Keyring, outcome: &mut Unlocked) -> Result<(), Error> {
    let mut fresh = Vec::new();
    for below in paths {
        let path = tree.join(below);
        let regular = path.symlink_metadata().is_ok_and(|found| found.is_file());
        if !regular || behind_a_link(tree, below) {
            continue;
        }
        let content = fs::read(&path).map_err(Error::io(&path))?;
        if !is_sealed(&content) {
            continue;
        }
        match keyring.open(&content) {
            Ok(opened) => {
                let new = Fresh::write(&path, opened.plaintext().expose()).map_err(Error::io(&path))?;
                fresh.push((below, new));
            }
            Err(error) => outcome.sealed.push((below.clone(), error)),
        }
    }
    replace::settle(fresh.iter().map(|(_, new)| new.as_ref())).map_err(Error::io(tree))?;
    // Someone may have put another file there meanwhile.
    for (below, new) in fresh.into_iter().filter(|(_, new)| new.is_current()) {
        new.take_place().map_err(Error::io(tree.join(below)))?;
        outcome.opened.push(below.clone());
    }
    Ok(())
}
