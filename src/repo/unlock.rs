//! Opening files that are sealed in the work tree: it was locked, or a key has come.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::git::{Git, Repository};
use crate::keys::{self, Keyring};
use crate::sops::is_sealed;
use crate::sys::replace;

use super::Error;
use super::lock::{behind_a_link, refresh, sweep};

/// What became of the sealed files of a work tree.
#[derive(Debug, Default)]
pub struct Unlocked {
    /// Opened now.
    pub opened: Vec<String>,
    /// Still sealed, and why.
    pub sealed: Vec<(String, keys::Error)>,
}

/// Whether a protected file stands sealed in the work tree.
pub fn has_sealed(repository: &Repository) -> bool {
    let Ok(tree) = repository.work_tree() else { return false };
    let files = super::status::protected(repository).unwrap_or_default();
    let mut paths = files.iter().map(|(path, _)| Path::new(OsStr::from_bytes(path)));
    paths.any(|below| {
        let path = tree.join(below);
        let regular = path.symlink_metadata().is_ok_and(|found| found.is_file());
        regular && !behind_a_link(tree, below) && fs::read(path).is_ok_and(|content| is_sealed(&content))
    })
}

/// Takes the lock back, and opens every protected file that stands sealed in the work tree.
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
    for (path, _) in super::status::protected(repository)? {
        let below = Path::new(OsStr::from_bytes(&path));
        let (name, path) = (below.to_string_lossy().into_owned(), tree.join(below));
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
                replace::content(&path, opened.plaintext().expose()).map_err(Error::io(&path))?;
                outcome.opened.push(name);
            }
            Err(error) => outcome.sealed.push((name, error)),
        }
    }
    refresh(repository, git)?;
    Ok(outcome)
}
