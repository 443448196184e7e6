//! Opening files that are sealed in the work tree, when a key has come.

use std::fs;

use crate::git::{Git, Repository};
use crate::keys::Keyring;
use crate::sops::is_sealed;

use super::Error;

/// What became of the sealed files of a work tree.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Unlocked {
    /// Opened now.
    pub opened: Vec<String>,
    /// Still sealed: no key opens them.
    pub sealed: Vec<String>,
}

/// Opens every protected file that stands sealed and unchanged in the work tree.
///
/// Files with changes, and all that is not protected, are left alone; it can be run again.
pub fn unlock(repository: &Repository, git: &Git, keyring: &Keyring) -> Result<Unlocked, Error> {
    let tree = repository.work_tree()?;
    let mut outcome = Unlocked::default();
    for (path, blob) in super::status::protected(repository)? {
        let blob = repository.blob_named(&blob)?;
        let Ok(name) = String::from_utf8(path) else { continue };
        let there = fs::read(tree.join(&name));
        if !is_sealed(&blob) || !there.is_ok_and(|content| content == blob) {
            continue;
        }
        match keyring.open(&blob) {
            Ok(_) => outcome.opened.push(name),
            Err(_) => outcome.sealed.push(name),
        }
    }
    // git writes a file anew only when it is not there.
    for name in &outcome.opened {
        fs::remove_file(tree.join(name)).map_err(Error::io(tree.join(name)))?;
    }
    if !outcome.opened.is_empty() {
        let paths = outcome.opened.join("\0");
        git.feed(&["checkout", "--pathspec-from-file=-", "--pathspec-file-nul", "--"], paths.as_bytes())?;
    }
    Ok(outcome)
}
