//! One branch: its files and `.sops.yaml` as they shall be.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::crypto::DataKey;
use crate::crypto::envelope::Recipient;
use crate::git::branch::Entry;
use crate::git::follow;
use crate::git::pack::Pack;
use crate::policy::creation::{Audience, Config};
use crate::sops::{KeyGroups, Sealed, is_sealed};

use super::file::{self, Target};
use super::{Branch, Change, DataKeys, Error, Readers, World};
use crate::repo::config;

/// A branch that changes.
#[derive(Debug)]
pub struct Tip {
    /// Its short name.
    pub branch: String,
    /// Where it stands here; `None` if only remotes have it.
    pub local: Option<String>,
    /// The commit that the new one follows.
    pub parent: String,
    /// The remotes that have it, and the commit that each has.
    pub remotes: Vec<(String, String)>,
    /// The new tree.
    pub tree: String,
    /// What the new commit says.
    pub message: String,
    /// The files that change, `.sops.yaml` included.
    pub files: Vec<Renewed>,
}

/// A file that changes.
#[derive(Debug)]
pub struct Renewed {
    /// The file, and its blobs.
    pub change: follow::Change,
    /// What happens to a sealed file; `None` for `.sops.yaml`.
    pub sealed: Option<Difference>,
}

/// What changes in a sealed file.
#[derive(Debug, PartialEq, Eq)]
pub struct Difference {
    /// Whether all values are sealed anew.
    pub data_keys: DataKeys,
    /// Keys that can read it from now on.
    pub gained: Vec<String>,
    /// Keys that can read it no more.
    pub lost: Vec<String>,
    /// Whether the user's own keys can open it no more, and could.
    pub locked_out: bool,
    /// Whether others can read it now without its post-quantum keys, so that those protect nothing.
    pub wastes_post_quantum: bool,
}

/// Makes the new tips.
pub(super) struct Maker<'w> {
    pub(super) world: World<'w>,
    pub(super) change: Change<'w>,
    /// The data keys that those to be removed can unwrap.
    pub(super) known: HashSet<DataKey>,
    pub(super) pack: Pack,
    /// The branches that have neither sealed files nor a `.sops.yaml`.
    pub(super) bare: Vec<String>,
}

/// New data keys of one branch, by those who can read them: a branch opens with one unwrap.
pub(super) type Fresh = HashMap<Audience, (DataKey, KeyGroups)>;

impl Maker<'_> {
    /// The branch as it shall be; `None` if nothing changes.
    pub(super) fn tip(&mut self, branch: &Branch) -> Result<Option<Tip>, Error> {
        let head = self.world.repository.commit(&branch.tip)?;
        let mut files = Vec::new();
        let mut fresh = Fresh::new();
        let entries = self.world.repository.files(&head.tree)?;
        let entries: Vec<&Entry> = entries.iter().filter(|entry| entry.is_file()).collect();
        let config = self.config(branch, &entries, &mut files)?;
        let mut bare = !entries.iter().any(|entry| entry.path == config::NAME.as_bytes());
        for entry in entries {
            let blob = self.world.repository.blob_named(&entry.blob)?;
            if is_sealed(&blob) {
                bare = false;
                files.extend(self.file(branch, entry, &blob, (config.as_ref(), &mut fresh))?);
            }
        }
        self.bare.extend(bare.then(|| branch.name.clone()));
        if files.is_empty() {
            return Ok(None);
        }
        let path = |file: &Renewed| (file.change.path.clone().into_bytes(), file.change.new.clone());
        let blobs: BTreeMap<_, _> = files.iter().map(path).collect();
        Ok(Some(Tip {
            branch: branch.name.clone(),
            local: branch.local.clone(),
            parent: branch.tip.clone(),
            remotes: branch.remotes.clone(),
            tree: self.world.repository.with_blobs(&mut self.pack, &head.tree, &blobs)?,
            message: format!("{}: {}", branch.name, self.change),
            files,
        }))
    }

    /// The branch's `.sops.yaml` as it shall be.
    fn config(
        &mut self,
        branch: &Branch,
        entries: &[&Entry],
        files: &mut Vec<Renewed>,
    ) -> Result<Option<Config>, Error> {
        let entry = entries.iter().find(|entry| entry.path == config::NAME.as_bytes());
        let Some(entry) = entry else { return Ok(None) };
        let text = self.world.repository.blob_named(&entry.blob)?;
        let text = String::from_utf8_lossy(&text);
        let new = match self.change {
            Change::Add(added) => config::with_recipients(&text, added),
            Change::Remove { keys, .. } => config::without_recipients(&text, keys),
            Change::Renew { .. } => Ok(None),
        };
        let new =
            new.map_err(|source| Error::OnBranch { branch: branch.name.clone(), source: Box::new(source) })?;
        if let Some(new) = &new {
            files.push(Renewed { change: self.changed(entry, new.as_bytes())?, sealed: None });
        }
        match self.change {
            Change::Renew { readers: Readers::AsConfigured, .. } => {
                let config = Config::parse(&text);
                let place = || format!("{}:{}", branch.name, config::NAME);
                config.map(Some).map_err(|source| Error::Policy { place: place(), source })
            }
            Change::Renew { readers: Readers::Same, .. } | Change::Add(_) | Change::Remove { .. } => Ok(None),
        }
    }

    fn file(
        &mut self,
        branch: &Branch,
        entry: &Entry,
        blob: &[u8],
        (config, fresh): (Option<&Config>, &mut Fresh),
    ) -> Result<Option<Renewed>, Error> {
        let path = String::from_utf8_lossy(&entry.path).into_owned();
        let place = format!("{}:{path}", branch.name);
        let sealed = Sealed::parse(blob).map_err(|source| Error::Sops { path: place.clone(), source })?;
        let old = sealed.groups().clone();
        let Some(target) = self.target(&place, &path, &sealed, config)? else { return Ok(None) };
        let made = file::remake(self.world, &place, sealed, target, fresh)?;
        let Some(made) = made else { return Ok(None) };
        let difference = file::difference(self.world.keyring, &old, &made);
        Ok(Some(Renewed { change: self.changed(entry, &made.content)?, sealed: Some(difference) }))
    }

    /// What a file shall become; `None` if it is not meant.
    fn target(
        &self,
        place: &str,
        path: &str,
        sealed: &Sealed<'_>,
        config: Option<&Config>,
    ) -> Result<Option<Target<'_>>, Error> {
        let failed = |source| Error::Sops { path: place.to_owned(), source };
        let wrapped = |groups: KeyGroups, data_keys| match data_keys {
            DataKeys::Same => Ok(Target::Wrapped(groups)),
            DataKeys::Fresh => Ok(Target::For(groups.audience().map_err(failed)?, DataKeys::Fresh)),
        };
        match self.change {
            Change::Add(added) => Ok(Some(Target::More(added))),
            Change::Remove { keys, data_keys } => {
                let named = file::names_any(sealed.groups(), keys);
                if !named && !file::is_known(self.world.keyring, sealed, &self.known) {
                    return Ok(None);
                }
                let fewer = sealed.groups().without(keys);
                wrapped(fewer.ok_or_else(|| Error::LastReader(place.to_owned()))?, data_keys).map(Some)
            }
            Change::Renew { readers: Readers::Same, data_keys } => {
                wrapped(sealed.groups().clone(), data_keys).map(Some)
            }
            Change::Renew { readers: Readers::AsConfigured, data_keys } => {
                let policy = |source| Error::Policy { place: place.to_owned(), source };
                match config.map(|config| config.terms(path)).transpose().map_err(policy)? {
                    Some(terms) => Ok(Some(Target::For(terms.audience.clone(), data_keys))),
                    None => wrapped(sealed.groups().clone(), data_keys).map(Some),
                }
            }
        }
    }

    fn changed(&mut self, entry: &Entry, content: &[u8]) -> Result<follow::Change, Error> {
        Ok(follow::Change {
            path: String::from_utf8_lossy(&entry.path).into_owned(),
            mode: entry.mode.clone(),
            old: entry.blob.clone(),
            new: self.pack.blob(content)?,
        })
    }
}

/// The data keys that some keys can unwrap, in the last commits of branches.
///
/// A file can share its data key with one of another branch that lists other readers.
pub(super) fn known(
    world: World<'_>,
    branches: &[Branch],
    keys: &[Recipient],
) -> Result<HashSet<DataKey>, Error> {
    let mut known = HashSet::new();
    for branch in branches {
        for entry in world.repository.files(&branch.tip)?.iter().filter(|entry| entry.is_file()) {
            let blob = world.repository.blob_named(&entry.blob)?;
            let sealed = is_sealed(&blob).then(|| Sealed::parse(&blob).ok()).flatten();
            let Some(sealed) = sealed.filter(|sealed| file::names_any(sealed.groups(), keys)) else {
                continue;
            };
            known.extend(world.keyring.data_key(sealed.groups()));
        }
    }
    Ok(known)
}
