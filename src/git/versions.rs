//! All of history: every version of every file that any ref reaches.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::rc::Rc;

use super::branch::Entry;
use super::objects::Head;
use super::{Error, Git, Repository};

/// Where commits are reached from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Line {
    /// A branch, here or at remotes, by its short name.
    Branch(String),
    /// Another ref, by its full name.
    Other(String),
}

/// The versions of the files of one line.
#[derive(Debug, Default)]
pub struct Versions {
    /// Every blob that ever stood at a path.
    pub ever: BTreeMap<Vec<u8>, BTreeSet<String>>,
    /// The blob that stands there now: in the local branch, else in that of a remote.
    pub now: BTreeMap<Vec<u8>, String>,
}

/// All of history, and whether it is complete.
#[derive(Debug, Default)]
pub struct History {
    /// By line.
    pub lines: BTreeMap<Line, Versions>,
    /// Some commits are not here, as in a shallow clone.
    pub is_cut: bool,
}

/// A ref and the commit that it reaches.
struct Tip {
    line: Line,
    commit: String,
    is_local: bool,
}

/// Walks all of history. Each commit and each tree is read once.
pub fn read(repository: &Repository, git: &Git) -> Result<History, Error> {
    let mut walker = Walker { repository, heads: HashMap::new(), trees: HashMap::new() };
    let mut history = History::default();
    let mut seen = BTreeMap::<Line, HashSet<String>>::new();
    for tip in tips(repository, git)? {
        let versions = history.lines.entry(tip.line.clone()).or_default();
        let seen = seen.entry(tip.line.clone()).or_default();
        history.is_cut |= !walker.walk(&tip.commit, seen, versions)?;
        if tip.is_local || versions.now.is_empty() {
            let files = walker.files(&tip.commit)?;
            versions.now = files.iter().map(|file| (file.path.clone(), file.blob.clone())).collect();
        }
    }
    Ok(history)
}

fn tips(repository: &Repository, git: &Git) -> Result<Vec<Tip>, Error> {
    // A tag of its own kind names what it reaches with `*`.
    let format =
        "--format=%(refname)%00%(symref)%00%(objecttype)%00%(objectname)%00%(*objecttype)%00%(*objectname)";
    let refs = git.text(&["for-each-ref", format])?;
    let tip = |line: &str| {
        let (name, commit) = match line.split('\0').collect::<Vec<_>>()[..] {
            [name, "", "commit", commit, ..] | [name, "", "tag", _, "commit", commit] => (name, commit),
            _ => return None,
        };
        let remote = name.strip_prefix("refs/remotes/").and_then(|name| repository.of_remote(name));
        let line = match (name.strip_prefix("refs/heads/"), remote) {
            (Some(branch), _) | (None, Some((_, branch))) => Line::Branch(branch.to_owned()),
            (None, None) => Line::Other(name.to_owned()),
        };
        Some(Tip { line, commit: commit.to_owned(), is_local: name.starts_with("refs/heads/") })
    };
    Ok(refs.lines().filter_map(tip).collect())
}

struct Walker<'r> {
    repository: &'r Repository,
    heads: HashMap<String, Option<Rc<Head>>>,
    trees: HashMap<String, Rc<Vec<Entry>>>,
}

impl Walker<'_> {
    /// Adds what a commit and all before it hold. False if some are not here.
    fn walk(
        &mut self,
        tip: &str,
        seen: &mut HashSet<String>,
        versions: &mut Versions,
    ) -> Result<bool, Error> {
        let mut is_whole = true;
        let mut next = vec![tip.to_owned()];
        let mut trees = HashSet::new();
        while let Some(name) = next.pop() {
            if !seen.insert(name.clone()) {
                continue;
            }
            let Some(head) = self.head(&name) else {
                is_whole = false;
                continue;
            };
            next.extend(head.parents.iter().cloned());
            if trees.insert(head.tree.clone()) {
                for file in self.tree(&head.tree)?.iter() {
                    versions.ever.entry(file.path.clone()).or_default().insert(file.blob.clone());
                }
            }
        }
        Ok(is_whole)
    }

    fn files(&mut self, commit: &str) -> Result<Rc<Vec<Entry>>, Error> {
        match self.head(commit) {
            Some(head) => self.tree(&head.tree),
            None => Ok(Rc::default()),
        }
    }

    fn head(&mut self, commit: &str) -> Option<Rc<Head>> {
        let read = || self.repository.commit(commit).ok().map(Rc::new);
        self.heads.entry(commit.to_owned()).or_insert_with(read).clone()
    }

    /// The files of a tree, links and submodules left out.
    fn tree(&mut self, tree: &str) -> Result<Rc<Vec<Entry>>, Error> {
        if let Some(known) = self.trees.get(tree) {
            return Ok(Rc::clone(known));
        }
        let mut files = self.repository.files(tree)?;
        files.retain(Entry::is_file);
        Ok(Rc::clone(self.trees.entry(tree.to_owned()).or_insert(Rc::new(files))))
    }
}
