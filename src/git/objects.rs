//! Objects that a push brought along and git has not taken in yet, and trees with all their files.

use std::path::{Path, PathBuf};

use gix::bstr::ByteSlice as _;
use gix::objs::{Find as _, Kind, TreeRefIter};

use super::branch::Entry;
use super::repository::unreadable;
use super::{Error, Repository};

/// How deep folders may nest; deeper ones are refused, so that a tree cannot exhaust the stack.
const MOST_FOLDERS: usize = 200;

/// The stores that git names to a hook while a push waits to be taken in. (gix reads neither variable.)
pub(super) fn waiting(own: &Path, hash: gix::hash::Kind) -> Vec<gix::odb::Handle> {
    let main = std::env::var_os("GIT_OBJECT_DIRECTORY");
    let others = std::env::var_os("GIT_ALTERNATE_OBJECT_DIRECTORIES").unwrap_or_default();
    let named = main.into_iter().map(PathBuf::from).chain(std::env::split_paths(&others));
    let named = named.filter(|path| !path.as_os_str().is_empty() && path != own);
    named.filter_map(|path| gix::odb::at(path, hash).ok()).collect()
}

/// A commit, as far as hlx reads one. Objects are named in hex.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Its tree.
    pub tree: String,
    /// Its parents, in order.
    pub parents: Vec<String>,
}

/// A branch as its last commit has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tip {
    /// Its short name; for one of a remote with the remote's name before it.
    pub name: String,
    /// The name of its last commit.
    pub commit: String,
}

impl Repository {
    /// An object's kind and content, wherever it is.
    pub(super) fn object(&self, name: &str) -> Result<(Kind, Vec<u8>), Error> {
        let id = gix::ObjectId::from_hex(name.as_bytes()).map_err(|_| Error::Unexpected("an object name"))?;
        let missing = match self.repo.find_object(id) {
            Ok(mut object) => return Ok((object.kind, std::mem::take(&mut object.data))),
            Err(error) => error,
        };
        for store in &self.waiting {
            let mut content = Vec::new();
            if let Ok(Some(found)) = store.try_find(&id, &mut content) {
                let kind = found.kind;
                return Ok((kind, content));
            }
        }
        Err(unreadable("an object")(missing))
    }

    /// Reads a commit.
    pub fn commit(&self, name: &str) -> Result<Head, Error> {
        let failed = unreadable("a commit");
        let (kind, content) = self.object(name)?;
        if kind != Kind::Commit {
            return Err(Error::Unexpected("a commit"));
        }
        let parsed = || gix::objs::CommitRefIter::from_bytes(&content, self.hash());
        let tree = parsed().tree_id().map_err(failed)?.to_string();
        Ok(Head { tree, parents: parsed().parent_ids().map(|parent| parent.to_string()).collect() })
    }

    /// All files, links and submodules of a commit, or of a tree, folders in git's order.
    pub fn files(&self, commit: &str) -> Result<Vec<Entry>, Error> {
        let mut files = Vec::new();
        self.walk(&self.tree_of(commit)?, &mut Vec::new(), &mut files, 0)?;
        Ok(files)
    }

    /// The commits that a commit stands on, as far as a shallow clone has them.
    pub fn parents(&self, commit: &str) -> Result<Vec<String>, Error> {
        let parents = self.commit(commit)?.parents.into_iter();
        let whole = !self.common_dir().join("shallow").exists();
        Ok(parents.filter(|parent| whole || self.object(parent).is_ok()).collect())
    }

    fn tree_of(&self, commit: &str) -> Result<String, Error> {
        match self.object(commit)?.0 {
            Kind::Tree => Ok(commit.to_owned()),
            Kind::Commit | Kind::Blob | Kind::Tag => Ok(self.commit(commit)?.tree),
        }
    }

    fn walk(
        &self,
        tree: &str,
        folder: &mut Vec<u8>,
        files: &mut Vec<Entry>,
        depth: usize,
    ) -> Result<(), Error> {
        if depth > MOST_FOLDERS {
            return Err(Error::Unexpected("a tree"));
        }
        let (_, content) = self.object(tree)?;
        for entry in TreeRefIter::from_bytes(&content, self.repo.object_hash()) {
            let entry = entry.map_err(unreadable("a tree"))?;
            let length = folder.len();
            folder.extend_from_slice(entry.filename);
            if entry.mode.is_tree() {
                folder.push(b'/');
                self.walk(&entry.oid.to_string(), folder, files, depth + 1)?;
            } else {
                let mode = format!("{:06o}", entry.mode.value());
                files.push(Entry { mode, blob: entry.oid.to_string(), path: folder.clone() });
            }
            folder.truncate(length);
        }
        Ok(())
    }

    /// The content of a file in a commit, by whatever git takes for a commit's name; `None` if there is none.
    pub fn file_at(&self, revision: &str, path: &str) -> Option<Vec<u8>> {
        let name = self.resolve(&format!("{revision}:{path}"))?;
        self.object(&name).ok().filter(|(kind, _)| *kind == Kind::Blob).map(|(_, content)| content)
    }

    /// A blob's content, if it is here: a partial clone may lack it.
    pub fn blob_here(&self, name: &str) -> Option<Vec<u8>> {
        self.object(name).ok().filter(|(kind, _)| *kind == Kind::Blob).map(|(_, content)| content)
    }

    /// The commit that git finds by a name such as `MERGE_HEAD`; `None` if there is none.
    pub fn commit_named(&self, name: &str) -> Option<String> {
        self.resolve(&format!("{name}^{{commit}}"))
    }

    fn resolve(&self, name: &str) -> Option<String> {
        // Among what a push brought, and git has not taken in yet, only git finds its way.
        if self.has_reftable() || !self.waiting.is_empty() {
            return self.git().text(&["rev-parse", "--verify", "--quiet", name]).ok();
        }
        self.repo.rev_parse_single(name).ok().map(|id| id.to_string())
    }

    /// The commit that HEAD names; `None` before the first.
    pub fn head_commit(&self) -> Option<String> {
        self.commit_named("HEAD")
    }

    /// All local branches. A ref that only names another branch is none.
    pub fn local_branches(&self) -> Result<Vec<Tip>, Error> {
        self.tips("refs/heads/")
    }

    /// The branches of all remotes, as far as they were fetched.
    pub fn remote_branches(&self) -> Result<Vec<Tip>, Error> {
        self.tips("refs/remotes/")
    }

    /// The remote and the branch that a name of [`Repository::remote_branches`] is made of. `None` if there is no such
    /// remote any more.
    pub fn of_remote<'n>(&self, name: &'n str) -> Option<(&'n str, &'n str)> {
        let remotes = self.repo.remote_names();
        parts(remotes.iter().filter_map(|remote| remote.to_str().ok()), name)
    }

    fn tips(&self, prefix: &str) -> Result<Vec<Tip>, Error> {
        if self.has_reftable() {
            return self.tips_by_git(prefix);
        }
        let failed = unreadable("the branches");
        let references = self.repo.references().map_err(&failed)?;
        let mut tips = Vec::new();
        for reference in references.prefixed(prefix).map_err(&failed)? {
            let mut reference = reference.map_err(&failed)?;
            // As a remote's HEAD names one of its branches.
            if matches!(reference.target(), gix::refs::TargetRef::Symbolic(_)) {
                continue;
            }
            let name = reference.name().as_bstr().to_str_lossy().into_owned();
            let Some(name) = name.strip_prefix(prefix).map(str::to_owned) else { continue };
            // A ref that leads nowhere is for `git fsck` to tell.
            let Ok(commit) = reference.peel_to_id() else { continue };
            tips.push(Tip { name, commit: commit.to_string() });
        }
        Ok(tips)
    }

    fn tips_by_git(&self, prefix: &str) -> Result<Vec<Tip>, Error> {
        let format = "--format=%(refname) %(objectname) %(symref)";
        let answer = self.git().text(&["for-each-ref", format, prefix])?;
        let tip = |line: &str| {
            let mut words = line.split(' ');
            let (name, commit, link) = (words.next()?.strip_prefix(prefix)?, words.next()?, words.next());
            link.is_none_or(str::is_empty).then(|| Tip { name: name.to_owned(), commit: commit.to_owned() })
        };
        Ok(answer.lines().filter_map(tip).collect())
    }
}

/// `origin/a/b` is the branch `a/b` of `origin`, or `b` of `origin/a`: names of remotes have slashes too.
fn parts<'r, 'n>(remotes: impl Iterator<Item = &'r str>, name: &'n str) -> Option<(&'n str, &'n str)> {
    let of = |remote: &str| {
        let branch = name.strip_prefix(remote)?.strip_prefix('/')?;
        Some((&name[..remote.len()], branch))
    };
    remotes.filter_map(of).max_by_key(|(remote, _)| remote.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remote_branch_belongs_to_the_remote_with_the_longest_name() {
        let parts = |name| parts(["origin", "origin/a", "x"].into_iter(), name);
        assert_eq!(parts("origin/a/b"), Some(("origin/a", "b")));
        assert_eq!(parts("origin/ab"), Some(("origin", "ab")));
        assert_eq!(parts("gone/b"), None);
    }
}
