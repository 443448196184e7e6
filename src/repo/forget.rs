//! Copies of plaintext that git keeps beside its objects: they go when a work tree is locked.

use std::fs;
use std::io;
use std::path::Path;

use crate::git::{Git, Repository};
use crate::sys::{disk, replace};

use super::Error;

/// What was forgotten.
#[derive(Debug, Default)]
pub struct Forgotten {
    /// How many merges git had remembered, with their text.
    pub merges: usize,
    /// Refs in which git had kept plaintext.
    pub notes: Vec<String>,
    /// Messages that were written above a diff.
    pub messages: Vec<String>,
}

/// Removes every copy of plaintext that git is known to keep for a work tree.
pub(super) fn forget(repository: &Repository, git: &Git) -> Result<Forgotten, Error> {
    Ok(Forgotten {
        merges: forget_merges(&repository.common_dir().join("rr-cache"))?,
        notes: forget_notes(git)?,
        messages: forget_diffs(repository.git_dir())?,
    })
}

/// `rerere` keeps conflicts and their resolutions as text.
fn forget_merges(cache: &Path) -> Result<usize, Error> {
    let entries = match fs::read_dir(cache) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        other => other.map_err(Error::io(cache))?,
    };
    let count = entries.count();
    disk::shred_all(cache).map_err(Error::io(cache))?;
    Ok(count)
}

/// `cachetextconv` keeps what was shown in a ref.
fn forget_notes(git: &Git) -> Result<Vec<String>, Error> {
    let names = git.text(&["for-each-ref", "--format=%(refname)", "refs/notes/textconv/"])?;
    let names: Vec<String> = names.lines().map(str::to_owned).collect();
    for name in &names {
        git.run(&["update-ref", "-d", name])?;
    }
    Ok(names)
}

/// git's line above what is not part of a message, without the comment's mark.
const SCISSORS: &str = " ------------------------ >8 ------------------------";

/// `git commit -v` leaves the message with the diff below it.
fn forget_diffs(directory: &Path) -> Result<Vec<String>, Error> {
    let mut found = Vec::new();
    for name in ["COMMIT_EDITMSG", "MERGE_MSG", "SQUASH_MSG", "TAG_EDITMSG"] {
        let path = directory.join(name);
        let text = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other.map_err(Error::io(&path))?,
        };
        let text = String::from_utf8_lossy(&text);
        let mut lines = text.split_inclusive('\n');
        let is_cut = |line: &&str| line.trim_end().ends_with(SCISSORS);
        let kept: String = lines.by_ref().take_while(|line| !is_cut(line)).collect();
        if kept.len() < text.len() {
            replace::and_wipe(&path, kept.as_bytes()).map_err(Error::io(&path))?;
            found.push(name.to_owned());
        }
    }
    Ok(found)
}
