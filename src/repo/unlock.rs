//! Opening files that are sealed in the work tree: it was locked, or a key has come.

use std::fs;
use std::io;

use crate::git::{Git, Repository};
use crate::keys::Keyring;
use crate::sops::is_sealed;
use crate::sys::replace;

use super::Error;
use super::lock::refresh;

/// What became of the sealed files of a work tree.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Unlocked {
    /// Opened now.
    pub opened: Vec<String>,
    /// Still sealed: no key opens them.
    pub sealed: Vec<String>,
}

/// Takes the lock back, and opens every protected file that stands sealed in the work tree.
///
/// All else is left alone; it can be run again.
pub fn unlock(repository: &Repository, git: &Git, keyring: &Keyring) -> Result<Unlocked, Error> {
    let flag = repository.lock_flag();
    match fs::remove_file(&flag) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Error::io(flag)(error)),
        Ok(()) | Err(_) => {}
    }
    let tree = repository.work_tree()?;
    let mut outcome = Unlocked::default();
    for (path, _) in super::status::protected(repository)? {
        let Ok(name) = String::from_utf8(path) else { continue };
        let path = tree.join(&name);
        let regular = path.symlink_metadata().is_ok_and(|found| found.is_file());
        let Some(content) = regular.then(|| fs::read(&path).ok()).flatten().filter(|it| is_sealed(it)) else {
            continue;
        };
        match keyring.open(&content) {
            Ok(opened) => {
                replace::content(&path, opened.plaintext().expose()).map_err(Error::io(&path))?;
                outcome.opened.push(name);
            }
            Err(_) => outcome.sealed.push(name),
        }
    }
    if !outcome.opened.is_empty() {
        refresh(git, &outcome.opened)?;
    }
    Ok(outcome)
}
