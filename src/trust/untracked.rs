//! Paths that the owner of the clone wants in clear.
//!
//! Whoever can push can take an attribute away, and so a commit in clear of what was encrypted is refused. That it is
//! meant is noted here, for the version that the last commit has, where no push can write.

use std::fs;

use crate::git::Repository;
use crate::sys::disk;

use super::Error;

/// The file with the notes, in the directory that all work trees share.
const NOTES: &str = "untracked";

/// Notes that a path shall be in clear where the last commit has this version of it.
pub fn note(repository: &Repository, path: &str, name: &str) -> Result<(), Error> {
    let directory = repository.scratch().map_err(Error::Record)?;
    let file = directory.join(NOTES);
    let text = fs::read_to_string(&file).unwrap_or_default();
    let line = format!("{name} {path}\0");
    if text.contains(&line) {
        return Ok(());
    }
    disk::private_dir(&directory).and_then(|()| fs::write(&file, text + &line)).map_err(Error::Record)
}

/// Whether it was said in this clone that a path shall be in clear where the last commit has this version of it.
pub fn is_meant(repository: &Repository, path: &[u8], name: &str) -> bool {
    let text = fs::read(repository.common_dir().join("hlx").join(NOTES)).unwrap_or_default();
    let line = [name.as_bytes(), b" ", path].concat();
    text.split(|byte| *byte == 0).any(|known| known == line)
}
