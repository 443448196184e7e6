//! Which branches are meant, and whether this clone knows their last commits.

use std::collections::{BTreeMap, HashSet};

use crate::git::{self, Git, Repository};

use super::Error;

/// Which branches are meant.
#[derive(Debug, Clone, Copy)]
pub enum Scope<'a> {
    /// These.
    Named(&'a [String]),
    /// All local ones, and all that a remote has, as far as they were fetched.
    All,
}

/// A branch as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branch {
    /// Its short name.
    pub name: String,
    /// Its last commit.
    pub tip: String,
    /// The same if the branch is local; else only remotes have it.
    pub local: Option<String>,
    /// The remotes that have it, and the commit that each has.
    pub remotes: Vec<(String, String)>,
}

/// Fetches from all remotes, so that no branch is missed.
pub fn fetch(git: &Git) -> Result<(), Error> {
    match git.text(&["remote"])?.is_empty() {
        true => Ok(()),
        false => Ok(git.run(&["fetch", "--quiet", "--all"]).map(drop)?),
    }
}

/// Finds the branches. Fails if one is behind a remote, or has other commits: what is changed here could not be
/// pushed, or would leave out what is there.
pub fn resolve(repository: &Repository, git: &Git, scope: Scope<'_>) -> Result<Vec<Branch>, Error> {
    let mut all = read(repository)?;
    let wanted: Vec<(String, Refs)> = match scope {
        Scope::All => all.into_iter().collect(),
        Scope::Named(names) => {
            let mut seen = HashSet::new();
            let names = names.iter().filter(|name| seen.insert(*name));
            let find = |name: &String| match all.remove(name) {
                Some(refs) => Ok((name.clone(), refs)),
                None => Err(git::Error::NoBranch(name.clone())),
            };
            names.map(find).collect::<Result<_, _>>()?
        }
    };
    let (mut branches, mut behind) = (Vec::new(), Vec::new());
    for (name, refs) in wanted {
        match refs.settle(repository, git, &name)? {
            Ok(branch) => branches.push(branch),
            Err(remote) => behind.push(format!("{name} ({remote})")),
        }
    }
    if behind.is_empty() { Ok(branches) } else { Err(Error::Behind(behind)) }
}

/// The refs of one branch: the local one, and those of remotes, with their commits.
#[derive(Debug, Default)]
struct Refs {
    local: Option<String>,
    remote: Vec<(String, String)>,
}

impl Refs {
    /// The branch, or the remote that has commits which its newest here lacks.
    fn settle(self, repository: &Repository, git: &Git, name: &str) -> Result<Result<Branch, String>, Error> {
        let candidates = match &self.local {
            Some(local) => vec![local],
            None => self.remote.iter().map(|(_, commit)| commit).collect(),
        };
        let mut lacking = String::new();
        for tip in candidates {
            match self.lacking(repository, git, tip)? {
                Some(remote) => lacking = remote,
                None => {
                    let (name, tip, local) = (name.to_owned(), tip.clone(), self.local.clone());
                    return Ok(Ok(Branch { name, tip, local, remotes: self.remote }));
                }
            }
        }
        Ok(Err(lacking))
    }

    /// A remote whose commit is no part of a history.
    fn lacking(&self, repository: &Repository, git: &Git, tip: &str) -> Result<Option<String>, Error> {
        for (remote, commit) in &self.remote {
            if !is_part_of(repository, git, commit, tip)? {
                return Ok(Some(remote.clone()));
            }
        }
        Ok(None)
    }
}

/// Whether a commit is in the history of another. Mostly it is the same, or a few commits away, and no process is
/// needed to see that.
fn is_part_of(repository: &Repository, git: &Git, commit: &str, tip: &str) -> Result<bool, Error> {
    const NEAR: usize = 64;
    let mut at = tip.to_owned();
    for _ in 0..NEAR {
        if at == commit {
            return Ok(true);
        }
        match repository.commit(&at).ok().and_then(|head| head.parents.into_iter().next()) {
            Some(parent) => at = parent,
            None => break,
        }
    }
    Ok(git.test(&["merge-base", "--is-ancestor", commit, tip])?)
}

/// The last commit of every branch: where it stands here, or else at a remote, as it was fetched last.
pub fn known(repository: &Repository) -> Result<BTreeMap<String, String>, Error> {
    let commit = |refs: Refs| refs.local.or_else(|| refs.remote.into_iter().next().map(|(_, commit)| commit));
    Ok(read(repository)?.into_iter().filter_map(|(name, refs)| Some((name, commit(refs)?))).collect())
}

/// All branches by their short names.
fn read(repository: &Repository) -> Result<BTreeMap<String, Refs>, Error> {
    let mut all = BTreeMap::<String, Refs>::new();
    for git::Tip { name, commit } in repository.local_branches()? {
        all.entry(name).or_default().local = Some(commit);
    }
    for git::Tip { name, commit } in repository.remote_branches()? {
        if let Some((remote, name)) = repository.of_remote(&name) {
            all.entry(name.to_owned()).or_default().remote.push((remote.to_owned(), commit));
        }
    }
    Ok(all)
}
