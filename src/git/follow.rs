//! Work trees that follow their branch when it moves without them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Error, Git, Repository};

/// A work tree that has a branch checked out, and the files in which it shall follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkout {
    /// The work tree.
    pub tree: PathBuf,
    /// The branch's short name.
    pub branch: String,
    /// The files.
    pub files: Vec<Change>,
}

/// A file with another blob. Blobs are named in hex.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Its path from the top.
    pub path: String,
    /// `100644` or `100755`.
    pub mode: String,
    /// Its blob before.
    pub old: String,
    /// Its blob after.
    pub new: String,
}

/// Before or after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Old,
    New,
}

impl Side {
    pub(super) fn other(self) -> Self {
        match self {
            Self::Old => Self::New,
            Self::New => Self::Old,
        }
    }
}

/// All work trees of the repository that are there, each with the short name of the branch that is checked out.
pub fn work_trees(git: &Git) -> Result<Vec<(PathBuf, Option<String>)>, Error> {
    let out = git.run(&["worktree", "list", "--porcelain", "-z"])?;
    let mut trees: Vec<(PathBuf, Option<String>)> = Vec::new();
    let mut bare = false;
    for line in out.split(|byte| *byte == 0).map(String::from_utf8_lossy) {
        if let Some(path) = line.strip_prefix("worktree ") {
            trees.push((PathBuf::from(path), None));
        } else if let (Some(branch), Some(tree)) = (line.strip_prefix("branch refs/heads/"), trees.last_mut())
        {
            tree.1 = Some(branch.to_owned());
        } else if line == "bare" {
            bare = true;
        }
    }
    // The first of a bare repository is no work tree.
    let trees = trees.into_iter().skip(usize::from(bare));
    let placed = trees.map(|(tree, branch)| (whole(git, tree), branch));
    Ok(placed.filter(|(tree, _)| is_there(tree)).collect())
}

/// git lists the git directory of a clone that keeps it elsewhere: in submodules, and after `--separate-git-dir`. What
/// has `core.worktree` alone is left so: there, git finds its files.
fn whole(git: &Git, listed: PathBuf) -> PathBuf {
    if listed.join(".git").exists() {
        return listed;
    }
    let ask =
        |git: &Git, word| git.text(&["rev-parse", "--path-format=absolute", word]).ok().map(PathBuf::from);
    let own = || ask(git, "--show-toplevel").filter(|_| ask(git, "--git-dir").as_deref() == Some(&listed));
    let tree = ask(&Git::at(&listed), "--show-toplevel").or_else(own);
    tree.filter(|tree| tree.join(".git").exists()).unwrap_or(listed)
}

/// Whether a place is such that git can work there.
fn is_there(tree: &Path) -> bool {
    tree.join(".git").exists() || tree.join("HEAD").is_file()
}

/// The work trees that have each branch checked out.
pub fn checkouts(git: &Git) -> Result<BTreeMap<String, Vec<PathBuf>>, Error> {
    let mut trees = BTreeMap::<String, Vec<PathBuf>>::new();
    for (tree, branch) in work_trees(git)? {
        branch.into_iter().for_each(|branch| trees.entry(branch).or_default().push(tree.clone()));
    }
    Ok(trees)
}

/// The branches that a rebase will move when it ends, with its work in this directory.
pub fn rebased(repository: &Repository) -> BTreeMap<String, PathBuf> {
    let common = repository.common_dir();
    let linked = fs::read_dir(common.join("worktrees")).into_iter().flatten().flatten();
    let places = std::iter::once(common).chain(linked.map(|entry| entry.path()));
    let works = places.flat_map(|place| ["rebase-merge", "rebase-apply"].map(|name| place.join(name)));
    let named = works.filter_map(|work| {
        let head = fs::read_to_string(work.join("head-name")).ok()?;
        Some((head.trim().strip_prefix("refs/heads/")?.to_owned(), work))
    });
    named.collect()
}

/// Fails if the work tree has changes of its own in one of the files.
pub fn refuse_changes(checkout: &Checkout) -> Result<(), Error> {
    let changed = status(&checkout.tree)?;
    match checkout.files.iter().find(|file| changed.contains_key(&file.path)) {
        Some(file) => Err(Error::Dirty { path: file.path.clone(), tree: checkout.tree.clone() }),
        None => Ok(()),
    }
}

/// What `git status` says of the files that are not as HEAD has them: in the index, and in the work tree.
fn status(tree: &Path) -> Result<BTreeMap<String, (u8, u8)>, Error> {
    let words =
        ["status", "--porcelain", "-z", "--no-renames", "--untracked-files=no", "--ignore-submodules=all"];
    let out = Git::at(tree).run(&words)?;
    let lines = out.split(|byte| *byte == 0).filter(|line| line.len() > 3);
    Ok(lines.map(|line| (String::from_utf8_lossy(&line[3..]).into_owned(), (line[0], line[1]))).collect())
}

/// Brings the files of a work tree to one side. A file that was staged otherwise stays as it is; one that was
/// edited keeps its edits, on top of the blob of that side.
pub(super) fn bring(checkout: &Checkout, side: Side) -> Result<(), Error> {
    if !is_there(&checkout.tree) {
        return Ok(());
    }
    let git = Git::at(&checkout.tree);
    let staged = staged(&git)?;
    let blob = |file: &'_ Change, side| match side {
        Side::Old => file.old.clone(),
        Side::New => file.new.clone(),
    };
    let behind = |file: &&Change| staged.get(&file.path) == Some(&blob(file, side.other()));
    let behind: Vec<&Change> = checkout.files.iter().filter(behind).collect();
    let edited: BTreeSet<String> = match behind.is_empty() {
        true => return Ok(()),
        false => status(&checkout.tree)?
            .into_iter()
            // One that is missing may have been taken away by a git that was killed before it put the other there.
            .filter(|(_, (_, tree))| !b" D".contains(tree))
            .map(|(path, _)| path)
            .collect(),
    };
    let (edited, clean): (Vec<&Change>, Vec<&Change>) =
        behind.into_iter().partition(|file| edited.contains(&file.path));
    let line = |file: &&Change| format!("{} {}\t{}\0", file.mode, blob(file, side), file.path);
    let lines: String = edited.iter().map(line).collect();
    if !edited.is_empty() {
        git.feed(&["update-index", "-z", "--index-info"], lines.as_bytes())?;
    }
    let paths: Vec<&str> = clean.iter().map(|file| file.path.as_str()).collect();
    match paths.is_empty() {
        true => Ok(()),
        false => git
            .feed(
                &["checkout", "-q", "--pathspec-from-file=-", "--pathspec-file-nul", "HEAD"],
                paths.join("\0").as_bytes(),
            )
            .map(drop),
    }
}

/// The blob of each file of the index.
fn staged(git: &Git) -> Result<BTreeMap<String, String>, Error> {
    let out = git.run(&["ls-files", "--stage", "-z"])?;
    let lines = out.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    let entry = |line: std::borrow::Cow<'_, str>| {
        let (head, path) = line.split_once('\t')?;
        let mut words = head.split(' ').skip(1);
        let (blob, stage) = (words.next()?, words.next()?);
        (stage == "0").then(|| (path.to_owned(), blob.to_owned()))
    };
    Ok(lines.filter_map(entry).collect())
}
