//! Where is looked: the index of this work tree, and the last commits of branches.

use crate::git::{Repository, Tip};

use super::Error;

/// Which branches are checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Every local branch, every branch of a remote that has no local one, and the index.
    All,
    /// The same and all branches of remotes.
    WithRemotes,
    /// These branches: local ones, or a remote's (with or without its name before it).
    Named(Vec<String>),
}

/// One tree to check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The branch, or what stands for it.
    pub name: String,
    /// Its last commit; none yet on a branch that is just beginning.
    pub commit: Option<String>,
    /// Which of the two is looked at.
    pub kind: Kind,
}

/// What of a branch is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Its last commit.
    Tip,
    /// The index, for the next commit.
    Index,
}

impl Place {
    /// True for the index.
    pub fn is_index(&self) -> bool {
        match self.kind {
            Kind::Tip => false,
            Kind::Index => true,
        }
    }

    fn tip(tip: Tip) -> Self {
        Self { name: tip.name, commit: Some(tip.commit), kind: Kind::Tip }
    }
}

/// The places of a scope, in order: branches by name, the index after its branch.
pub fn places(repository: &Repository, scope: &Scope) -> Result<Vec<Place>, Error> {
    let local = repository.local_branches()?;
    let remote = repository.remote_branches()?;
    let mut tips = match scope {
        Scope::Named(names) => {
            let found =
                |name: &String| named(name, &local, &remote).ok_or_else(|| Error::NoBranch(name.clone()));
            let mut found: Vec<Tip> = names.iter().map(found).collect::<Result<_, _>>()?;
            found.dedup();
            found
        }
        Scope::WithRemotes => local.iter().chain(&remote).cloned().collect(),
        Scope::All => {
            let is_local = |tip: &&Tip| local.iter().any(|known| known.name == short(&tip.name));
            local.iter().chain(remote.iter().filter(|tip| !is_local(tip))).cloned().collect()
        }
    };
    let current = repository.branch();
    let wanted = match scope {
        Scope::All | Scope::WithRemotes => true,
        Scope::Named(names) => current.as_ref().is_some_and(|name| names.contains(name)),
    };
    let index = (wanted && repository.work_tree().is_ok()).then(|| Place {
        commit: repository.head_commit(),
        name: current.unwrap_or_else(|| "HEAD".to_owned()),
        kind: Kind::Index,
    });
    let at = index.as_ref().and_then(|index| tips.iter().position(|tip| tip.name == index.name));
    let rest = tips.split_off(at.map_or(tips.len(), |at| at + 1));
    Ok(tips.into_iter().map(Place::tip).chain(index).chain(rest.into_iter().map(Place::tip)).collect())
}

/// Those of the branch that is checked out.
pub fn current(places: &[Place]) -> Vec<Place> {
    let index = places.iter().find(|place| place.is_index());
    places.iter().filter(|place| index.is_some_and(|index| index.name == place.name)).cloned().collect()
}

/// A remote's branch without the remote's name.
fn short(name: &str) -> &str {
    name.split_once('/').map_or(name, |(_, branch)| branch)
}

fn named(name: &str, local: &[Tip], remote: &[Tip]) -> Option<Tip> {
    let full = local.iter().chain(remote).find(|tip| tip.name == name);
    full.or_else(|| remote.iter().find(|tip| short(&tip.name) == name)).cloned()
}
