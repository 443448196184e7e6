//! Changing who reads branches, and under which data keys: on many branches at once, none checked out.
//!
//! [`prepare`] makes every new blob and tree in memory, and gives a [`Plan`] that can be looked
//! at. [`Plan::carry_out`] writes them, then the commits, and then moves all branches, or none
//! (`git::moves`). Only ciphertext, metadata and `.sops.yaml` change.

mod file;
mod publish;
pub mod scope;
mod tip;

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::path::PathBuf;

use crate::crypto::envelope::Recipient;
use crate::git::follow::{self, Checkout};
use crate::git::moves::{self, Move, Moves, Recovered, Turn};
use crate::git::pack::Pack;
use crate::git::tree::{Author, Draft};
use crate::git::{Git, Repository};
use crate::keys::Keyring;
use crate::keys::recipients::Named;
use crate::trust;

use super::Error;
use super::recipients::Addition;
pub use publish::{Pushed, push};
pub use scope::{Branch, Scope};
pub use tip::{Difference, Renewed, Tip};

/// What shall be changed.
#[derive(Debug, Clone, Copy)]
pub enum Change<'a> {
    /// More readers, under the data keys that are there.
    Add(Addition<'a>),
    /// Fewer readers. Files that none of them reads stay as they are, unless they share a data key with one.
    Remove {
        /// Those to go.
        keys: &'a [Recipient],
        /// Whether what they know becomes useless.
        data_keys: DataKeys,
    },
    /// All sealed files anew.
    Renew {
        /// For whom.
        readers: Readers,
        /// Under which data keys.
        data_keys: DataKeys,
    },
}

/// As the message of a commit says it.
impl fmt::Display for Change<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Add(added) => write!(f, "let {} read it", list(added.readers.iter().map(Named::label))),
            Self::Remove { keys, data_keys } => {
                let gone = list(keys.iter().map(Recipient::short));
                match data_keys {
                    DataKeys::Same => write!(f, "shut {gone} out"),
                    DataKeys::Fresh => write!(f, "shut {gone} out, new data keys"),
                }
            }
            Self::Renew { data_keys: DataKeys::Same, .. } => f.write_str("readers as in .sops.yaml"),
            Self::Renew { readers: Readers::Same, .. } => f.write_str("new data keys"),
            Self::Renew { .. } => f.write_str("new data keys, readers as in .sops.yaml"),
        }
    }
}

fn list(names: impl Iterator<Item = String>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

/// For whom files are sealed anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readers {
    /// For those who read them now.
    Same,
    /// For those whom the branch's `.sops.yaml` names.
    AsConfigured,
}

/// Under which data keys files are sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataKeys {
    /// Those they have: values and MAC stay, and whoever knows such a key can still use it.
    Same,
    /// New ones, and so every value is sealed anew.
    Fresh,
}

/// Where it is done, and with what.
#[derive(Clone, Copy)]
pub struct World<'w> {
    /// The repository.
    pub repository: &'w Repository,
    /// Its git.
    pub git: &'w Git,
    /// What opens the files.
    pub keyring: &'w Keyring,
    /// The time, as metadata write it.
    pub now: &'w str,
    /// Told how many branches of how many are done.
    pub progress: &'w dyn Fn(usize, usize),
}

impl fmt::Debug for World<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("repository", self.repository).finish_non_exhaustive()
    }
}

/// What would be done. Nothing has changed yet.
#[derive(Debug)]
pub struct Plan {
    turn: Turn,
    pack: Pack,
    checkouts: Vec<Checkout>,
    /// The branches that change.
    pub tips: Vec<Tip>,
    /// The number of branches that were looked at.
    pub covered: usize,
    /// Those of them that have neither sealed files nor a `.sops.yaml`.
    pub bare: Vec<String>,
}

/// A branch that was changed.
#[derive(Debug)]
pub struct Changed {
    /// Its name.
    pub branch: String,
    /// Its new commit.
    pub commit: String,
    /// The remotes that have it, and the commit that each has.
    pub remotes: Vec<(String, String)>,
}

/// Works out all that is to be done. Fails if one file of one branch cannot be changed as it should, or if something
/// that others brought waits to be accepted: it would count as one's own afterwards.
pub fn prepare(world: World<'_>, scope: Scope<'_>, change: Change<'_>) -> Result<Plan, Error> {
    let turn = Turn::take(world.repository)?;
    turn.recover(|moved| adopt(world.repository, world.keyring, moved))?;
    let branches = scope::resolve(world.repository, world.git, scope)?;
    let tips: Vec<_> = branches.iter().map(|branch| (branch.name.as_str(), branch.tip.as_str())).collect();
    trust::require_settled(world.repository, world.git, world.keyring, &tips)?;
    let known = match change {
        Change::Remove { keys, data_keys: DataKeys::Fresh } => tip::known(world, &branches, keys)?,
        Change::Remove { .. } | Change::Add(_) | Change::Renew { .. } => HashSet::new(),
    };
    let mut maker = tip::Maker { world, change, known, pack: Pack::new(world.repository), bare: Vec::new() };
    let mut tips = Vec::new();
    for (done, branch) in branches.iter().enumerate() {
        (world.progress)(done, branches.len());
        tips.extend(maker.tip(branch)?);
    }
    (world.progress)(branches.len(), branches.len());
    let checkouts = checkouts(world, &tips)?;
    Ok(Plan { turn, pack: maker.pack, checkouts, tips, covered: branches.len(), bare: maker.bare })
}

/// Finishes or undoes what something interrupted. Only then is a keyring asked for.
pub fn recover(
    repository: &Repository,
    keyring: impl FnOnce() -> Keyring,
) -> Result<Option<Recovered>, Error> {
    moves::recover(repository, |moved| adopt(repository, &keyring(), moved))
}

/// Trusts the commits that were made here; what came on top of them since is not among them.
fn adopt(repository: &Repository, keyring: &Keyring, moved: &[&Move]) -> Result<(), Error> {
    let made: Vec<_> = moved.iter().map(|step| (step.branch.as_str(), step.to.as_str())).collect();
    Ok(trust::adopt_made(repository, keyring, &made)?)
}

/// The work trees that must follow; fails if one has changes of its own, or is in the middle of a rebase.
fn checkouts(world: World<'_>, tips: &[Tip]) -> Result<Vec<Checkout>, Error> {
    let mut trees: BTreeMap<String, Vec<PathBuf>> = follow::checkouts(world.git)?;
    let rebased = follow::rebased(world.repository);
    let mut checkouts = Vec::new();
    for tip in tips {
        if let Some(work) = rebased.get(&tip.branch) {
            return Err(Error::Rebased { branch: tip.branch.clone(), work: work.clone() });
        }
        for tree in trees.remove(&tip.branch).unwrap_or_default() {
            let files = tip.files.iter().map(|file| file.change.clone()).collect();
            let checkout = Checkout { tree, branch: tip.branch.clone(), files };
            follow::refuse_changes(&checkout)?;
            checkouts.push(checkout);
        }
    }
    Ok(checkouts)
}

impl Plan {
    /// Does it: all branches move, or none. Work trees follow, and what was made is trusted.
    pub fn carry_out(mut self, world: World<'_>) -> Result<Vec<Changed>, Error> {
        if self.tips.is_empty() {
            return Ok(Vec::new());
        }
        let drafts = self.drafts();
        let commits = Author::ask(world.git)?.commit(world.git, &mut self.pack, &drafts)?;
        let step = |(tip, commit): (&Tip, &String)| Move {
            branch: tip.branch.clone(),
            from: tip.local.clone(),
            to: commit.clone(),
            remote: tip.remotes.first().map(|(remote, _)| remote.clone()),
        };
        let moves = self.tips.iter().zip(&commits).map(step).collect();
        let moves = Moves::new("hlx: recipients and data keys".to_owned(), moves, self.checkouts);
        self.turn.make(&moves, |moved| adopt(world.repository, world.keyring, moved))?;
        let changed =
            |(tip, commit): (Tip, String)| Changed { branch: tip.branch, commit, remotes: tip.remotes };
        Ok(self.tips.into_iter().zip(commits).map(changed).collect())
    }

    fn drafts(&self) -> Vec<Draft> {
        let draft = |tip: &Tip| Draft {
            tree: tip.tree.clone(),
            parent: tip.parent.clone(),
            message: tip.message.clone(),
        };
        self.tips.iter().map(draft).collect()
    }
}
