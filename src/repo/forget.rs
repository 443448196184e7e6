//! Copies of plaintext that git keeps beside its objects: they go when a work tree is locked.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
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
    /// How many of their objects are in packs, and stay.
    pub packed: usize,
    /// Messages that were written above a diff.
    pub messages: Vec<String>,
}

/// Removes every copy of plaintext that git is known to keep for a work tree.
pub(super) fn forget(repository: &Repository, git: &Git) -> Result<Forgotten, Error> {
    let merges = forget_merges(&repository.common_dir().join("rr-cache"))?;
    let (notes, packed) = forget_notes(repository, git)?;
    Ok(Forgotten { merges, notes, packed, messages: forget_diffs(repository.git_dir())? })
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

/// `cachetextconv` keeps what was shown in a ref. Gives the refs, and how many of their objects stay in packs.
fn forget_notes(repository: &Repository, git: &Git) -> Result<(Vec<String>, usize), Error> {
    let names = git.text(&["for-each-ref", "--format=%(refname)", "refs/notes/textconv/"])?;
    let names: Vec<String> = names.lines().map(str::to_owned).collect();
    if names.is_empty() {
        return Ok((names, 0));
    }
    let objects = versions(git, &names).and_then(|versions| reached(git, &[], &versions));
    for name in &names {
        git.run(&["update-ref", "-d", name])?;
    }
    let packed = forget_objects(repository, git, objects?)?;
    Ok((names, packed))
}

/// The commits that these refs name, and named before.
fn versions(git: &Git, names: &[String]) -> Result<Vec<String>, Error> {
    let mut commits = Vec::new();
    for name in names {
        commits.push(git.text(&["rev-parse", "--verify", name])?);
        // Without a reflog there is nothing to walk.
        let before = git.text(&["rev-list", "--walk-reflogs", name]).unwrap_or_default();
        commits.extend(before.lines().map(str::to_owned));
    }
    Ok(commits)
}

/// The objects that are reached from these revisions. What a partial clone has not fetched is passed over.
fn reached(git: &Git, options: &[&str], revisions: &[String]) -> Result<HashSet<String>, Error> {
    let list = ["rev-list", "--objects", "--no-object-names", "--missing=allow-any", "--stdin"];
    let revisions = revisions.join("\n") + "\n";
    let found = git.feed(&[&list[..], options].concat(), revisions.as_bytes())?;
    Ok(String::from_utf8_lossy(&found).lines().map(str::to_owned).collect())
}

/// Commits that no ref names while git is at something.
const PENDING: [&str; 7] =
    ["MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "REBASE_HEAD", "ORIG_HEAD", "FETCH_HEAD", "AUTO_MERGE"];

/// Removes objects that nothing else reaches: no ref, reflog, index or work tree. Gives how many are in packs.
fn forget_objects(repository: &Repository, git: &Git, mut objects: HashSet<String>) -> Result<usize, Error> {
    let is_there = |name: &&str| git.test(&["rev-parse", "--quiet", "--verify", name]).unwrap_or(false);
    let pending: Vec<String> = PENDING.into_iter().filter(|name| is_there(name)).map(str::to_owned).collect();
    let wanted = reached(git, &["--all", "--reflog", "--indexed-objects"], &pending)?;
    objects.retain(|name| !wanted.contains(name));
    let place = repository.common_dir().join("objects");
    for name in &objects {
        let (directory, file) = name.split_at(2);
        let path = place.join(directory).join(file);
        match remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Error::io(path)(error)),
            Ok(()) | Err(_) => {}
        }
    }
    let names: String = objects.iter().map(|name| format!("{name}\n")).collect();
    let left = git.feed(&["cat-file", "--batch-check"], names.as_bytes())?;
    Ok(String::from_utf8_lossy(&left).lines().filter(|line| !line.ends_with(" missing")).count())
}

/// A clone of this repository may have the same file.
fn remove(path: &Path) -> io::Result<()> {
    match path.symlink_metadata()?.nlink() {
        1 => disk::shred(path),
        _ => fs::remove_file(path),
    }
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
