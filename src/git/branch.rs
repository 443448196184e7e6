//! Committing to a branch without checking it out, and letting its checkouts follow.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Attributes, Error, Git, follow};

/// A file to write in a commit.
#[derive(Debug, Clone)]
pub struct File {
    /// Its path from the top.
    pub path: String,
    /// `100644` or `100755`.
    pub mode: &'static str,
    /// Its content, as git shall store it.
    pub content: Vec<u8>,
}

/// A commit to be made on a branch.
#[derive(Debug)]
pub struct Commit<'a> {
    /// The branch's short name.
    pub branch: &'a str,
    /// What it stands on.
    pub parent: Parent,
    /// The files to write; all others stay.
    pub files: &'a [File],
    /// The message.
    pub message: &'a str,
}

/// What a commit stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parent {
    /// Nothing: the branch is new, and has no history in common with any other.
    Orphan,
    /// The branch's last commit.
    Tip,
}

/// The name of a branch's last commit; `None` if there is no such branch.
pub fn tip(git: &Git, branch: &str) -> Result<Option<String>, Error> {
    let name = format!("refs/heads/{branch}");
    if !git.test(&["show-ref", "--verify", "--quiet", &name])? {
        return Ok(None);
    }
    git.text(&["rev-parse", "--verify", "--quiet", &format!("{name}^{{commit}}")]).map(Some)
}

/// Every local branch and the name of its last commit.
pub fn tips(git: &Git) -> Result<BTreeMap<String, String>, Error> {
    let all = git.text(&["for-each-ref", "--format=%(objectname) %(refname:lstrip=2)", "refs/heads/"])?;
    let pair = |line: &str| line.split_once(' ').map(|(id, name)| (name.to_owned(), id.to_owned()));
    Ok(all.lines().filter_map(pair).collect())
}

/// The short names of all local branches.
pub fn all(git: &Git) -> Result<Vec<String>, Error> {
    Ok(tips(git)?.into_keys().collect())
}

/// The first commit of a branch, and the subject of its message.
pub fn root(git: &Git, branch: &str) -> Result<(String, String), Error> {
    let name = format!("refs/heads/{branch}");
    let words =
        ["rev-list", "--first-parent", "--max-parents=0", "--no-commit-header", "--format=%H %s", &name];
    let line = git.text(&words)?;
    let (commit, subject) = line.split_once(' ').unwrap_or((&line, ""));
    Ok((commit.to_owned(), subject.to_owned()))
}

/// The remotes that have a branch of this name, as far as they were fetched.
pub fn remotes(git: &Git, branch: &str) -> Result<Vec<String>, Error> {
    let names = git.text(&["for-each-ref", "--format=%(refname)", &format!("refs/remotes/*/{branch}")])?;
    let remote = |name: &str| Some(name.strip_prefix("refs/remotes/")?.split_once('/')?.0.to_owned());
    Ok(names.lines().filter_map(remote).collect())
}

/// True for names that git takes for something else than a branch: `HEAD` and its kin, the stash,
/// object names, tags, and the names of remotes. (git: gitrevisions(7), `refs.c`: `is_root_ref`.)
pub fn is_ambiguous(git: &Git, name: &str) -> Result<bool, Error> {
    const OWN: [&str; 6] =
        ["HEAD", "AUTO_MERGE", "BISECT_EXPECTED_REV", "MERGE_AUTOSTASH", "NOTES_MERGE_PARTIAL", "stash"];
    let is_object = matches!(name.len(), 40 | 64) && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    if OWN.contains(&name) || name.ends_with("_HEAD") || is_object {
        return Ok(true);
    }
    let tag = git.test(&["show-ref", "--verify", "--quiet", &format!("refs/tags/{name}")])?;
    Ok(tag || git.text(&["remote"])?.lines().any(|remote| remote == name))
}

/// One file of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// `100644`, `100755`, `120000` or `160000`.
    pub mode: String,
    /// The name of its blob, in hex.
    pub blob: String,
    /// Its path.
    pub path: Vec<u8>,
}

impl Entry {
    /// True for files; false for links and submodules.
    pub fn is_file(&self) -> bool {
        self.mode.starts_with("100")
    }
}

/// All files of a branch's last commit.
pub fn files(git: &Git, branch: &str) -> Result<Vec<Entry>, Error> {
    let tip = tip(git, branch)?.ok_or_else(|| Error::NoBranch(branch.to_owned()))?;
    let out = git.run(&["ls-tree", "-r", "-z", "--full-tree", &tip])?;
    let unexpected = || Error::Unexpected("ls-tree");
    let lines = out.split(|byte| *byte == 0).filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let tab = line.iter().position(|byte| *byte == b'\t').ok_or_else(unexpected)?;
            let head = std::str::from_utf8(&line[..tab]).map_err(|_| unexpected())?;
            let mut words = head.split(' ');
            let (Some(mode), Some(_), Some(blob)) = (words.next(), words.next(), words.next()) else {
                return Err(unexpected());
            };
            Ok(Entry { mode: mode.to_owned(), blob: blob.to_owned(), path: line[tab + 1..].to_vec() })
        })
        .collect()
}

/// The attributes of a path in a branch's last commit. `scratch` is a directory for an index of its own.
pub fn attributes(git: &Git, scratch: &Path, branch: &str, path: &str) -> Result<Attributes, Error> {
    let tip = tip(git, branch)?.ok_or_else(|| Error::NoBranch(branch.to_owned()))?;
    let index = scratch.join(format!("index-{}", std::process::id()));
    let git = git.with_index(&index);
    let words = [&["check-attr", "--cached", "-z"], &Attributes::NAMES[..], &["--", path]].concat();
    let found = git.run(&["read-tree", &tip]).and_then(|_| git.run(&words));
    let _ = std::fs::remove_file(&index);
    let found = found?;
    let fields: Vec<_> = found.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
    let triples = fields.chunks_exact(3);
    Ok(triples.fold(Attributes::default(), |found, triple| found.and(&triple[1], &triple[2])))
}

/// Makes a commit and moves the branch to it; checkouts of the branch get the files too.
///
/// Fails before anything moved if a checkout has changes of its own in one of the files, or if
/// the branch moved meanwhile. Returns the commit's name.
pub fn commit(git: &Git, scratch: &Path, commit: &Commit<'_>) -> Result<String, Error> {
    let old = tip(git, commit.branch)?;
    let parent = match commit.parent {
        Parent::Orphan if old.is_some() => return Err(Error::Moved(commit.branch.to_owned())),
        Parent::Orphan => None,
        Parent::Tip => Some(old.clone().ok_or_else(|| Error::NoBranch(commit.branch.to_owned()))?),
    };
    let checkouts = follow::checkouts(git)?.remove(commit.branch).unwrap_or_default();
    for tree in &checkouts {
        refuse_changes(tree, commit, parent.is_some())?;
    }
    let new = write(git, scratch, commit, parent.as_deref())?;
    let name = format!("refs/heads/{}", commit.branch);
    let zero = "0".repeat(new.len());
    let expected = old.as_deref().unwrap_or(&zero);
    let reason = format!("hlx: {}", commit.message.lines().next().unwrap_or_default());
    git.run(&["update-ref", "-m", &reason, &name, &new, expected])
        .map_err(|_| Error::Moved(commit.branch.to_owned()))?;
    for tree in &checkouts {
        let paths = commit.files.iter().map(|file| file.path.as_str());
        let words: Vec<&str> = ["checkout", "-q", "HEAD", "--"].into_iter().chain(paths).collect();
        Git::at(tree).run(&words)?;
    }
    Ok(new)
}

fn refuse_changes(tree: &Path, commit: &Commit<'_>, born: bool) -> Result<(), Error> {
    let git = Git::at(tree);
    for file in commit.files {
        let dirty = || Error::Dirty { path: file.path.clone(), tree: tree.to_owned() };
        let status = git.text(&["status", "--porcelain", "--untracked-files=all", "--", &file.path])?;
        if !status.is_empty() || (!born && tree.join(&file.path).exists()) {
            return Err(dirty());
        }
    }
    Ok(())
}

fn write(git: &Git, scratch: &Path, commit: &Commit<'_>, parent: Option<&str>) -> Result<String, Error> {
    let index = scratch.join(format!("index-{}", std::process::id()));
    let git = git.with_index(&index);
    let result = (|| {
        match parent {
            Some(parent) => git.run(&["read-tree", parent])?,
            None => git.run(&["read-tree", "--empty"])?,
        };
        let mut lines = Vec::new();
        for file in commit.files {
            let blob = store(&git, &file.content)?;
            lines.extend(format!("{} {blob}\t{}\0", file.mode, file.path).into_bytes());
        }
        git.feed(&["update-index", "-z", "--index-info"], &lines)?;
        let tree = git.text(&["write-tree"])?;
        let sign = git.text(&["config", "--type=bool", "--default=false", "commit.gpgsign"])? == "true";
        let mut words = vec!["commit-tree", tree.as_str(), "-m", commit.message];
        words.extend(parent.iter().flat_map(|parent| ["-p", parent]));
        words.extend(sign.then_some("-S"));
        git.text(&words)
    })();
    let _ = std::fs::remove_file(&index);
    result
}

fn store(git: &Git, content: &[u8]) -> Result<String, Error> {
    let out = git.feed(&["hash-object", "-w", "--stdin", "--no-filters"], content)?;
    Ok(String::from_utf8_lossy(&out).trim().to_owned())
}
