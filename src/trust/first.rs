//! What a commit has, as far as it is a matter of trust; and the first use of a clone, which trusts what its branches
//! have then.

use std::collections::BTreeMap;

use crate::crypto::DataKey;
use crate::git::{self, Repository, Tip};
use crate::keys::Keyring;
use crate::sops::{KeyGroups, Sealed, is_sealed};

use super::accepted::Accepted;
use super::pins::{Pin, Pins};
use super::readers::{named_in, of_groups};
use super::{ATTRIBUTES, At, CONFIG, Error, Guard, of_remote};

/// Trusts all branches as they are, those of remotes too, if nothing was trusted here before. Gives the number
/// of branches; `None` if something was.
pub fn begin(repository: &Repository, keyring: &Keyring) -> Result<Option<usize>, Error> {
    let pins = Pins::of(repository);
    if pins.exist() {
        return Ok(None);
    }
    let accepted = Accepted::of(repository);
    let mut found = BTreeMap::<String, Pin>::new();
    for tip in tips(repository)? {
        let pin = found.entry(tip.name.clone()).or_default();
        take(repository, keyring, &tip.commit, pin, &accepted)?;
    }
    accepted.keep()?;
    pins.write_all(&found).map_err(Error::Record)?;
    Ok(Some(found.len()))
}

/// Trusts the data keys of branches that nobody here could open until now. Gives their number.
pub fn open(repository: &Repository, keyring: &Keyring) -> Result<usize, Error> {
    let pins = Pins::of(repository);
    let waits = |name: &str| {
        let pin = pins.read(name).map_err(Error::Record)?;
        Ok::<_, Error>(pin.is_some_and(|pin| pin.unopened))
    };
    let mut opened = 0;
    for Tip { name, .. } in repository.local_branches()? {
        if waits(&name)? {
            Guard::new(repository, keyring, At::Branch(name.clone())).opens_first()?;
            opened += usize::from(!waits(&name)?);
        }
    }
    Ok(opened)
}

/// All branches, local ones first; those of remotes without the remote's name.
fn tips(repository: &Repository) -> Result<Vec<Tip>, Error> {
    let mut tips = repository.local_branches()?;
    let remote = repository.remote_branches()?.into_iter();
    tips.extend(remote.filter_map(|Tip { name, commit }| {
        let name = of_remote(repository, &name)?.to_owned();
        Some(Tip { name, commit })
    }));
    Ok(tips)
}

/// Adds what a commit has: its rules, its readers, its data keys. Gives the data keys that open here.
pub(super) fn take(
    repository: &Repository,
    keyring: &Keyring,
    commit: &str,
    pin: &mut Pin,
    accepted: &Accepted,
) -> Result<Vec<DataKey>, Error> {
    let sealed = read(repository, commit, Missing::LeftOut, pin)?;
    let keys: Vec<_> = sealed.iter().map(|(_, groups)| keyring.native_data_key(groups)).collect();
    for ((_, groups), key) in sealed.iter().zip(&keys) {
        accepted.note(groups, key.as_ref());
    }
    pin.unopened = !keys.is_empty() && keys.iter().all(Option::is_none);
    Ok(keys.into_iter().flatten().collect())
}

/// What is done about objects that a partial clone does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// They count for nothing, but for the rules: all branches are looked at, and are not to be fetched for that.
    LeftOut,
    /// git fetches them.
    Fetched,
}

/// Adds the rules, attributes and readers of a commit. Gives its sealed files, with their envelopes.
pub(super) fn read(
    repository: &Repository,
    commit: &str,
    missing: Missing,
    pin: &mut Pin,
) -> Result<Vec<(String, KeyGroups)>, Error> {
    let files = match (repository.files(commit), missing) {
        (Err(_), Missing::LeftOut) => Vec::new(),
        (files, _) => files?,
    };
    let mut found = Vec::new();
    for file in files.iter().filter(|file| file.is_file()) {
        let path = String::from_utf8_lossy(&file.path).into_owned();
        let Some(blob) = content(repository, &file.blob, &path, missing)? else { continue };
        if path == CONFIG {
            pin.config = String::from_utf8_lossy(&blob).into_owned();
            pin.readers.extend(named_in(&pin.config));
        } else if path.rsplit('/').next() == Some(ATTRIBUTES) {
            pin.attributes.insert(path, String::from_utf8_lossy(&blob).into_owned());
        } else if is_sealed(&blob)
            && let Ok(sealed) = Sealed::parse(&blob)
        {
            let readers = of_groups(sealed.groups());
            pin.readers.extend(readers.iter().cloned());
            pin.sealed.entry(path.clone()).or_default().extend(readers);
            let (field, text) = sealed.metadata.rule.field();
            pin.rules.insert(path.clone(), (field.to_owned(), text.to_owned()));
            found.push((path, sealed.groups().clone()));
        }
    }
    Ok(found)
}

fn content(
    repository: &Repository,
    name: &str,
    path: &str,
    missing: Missing,
) -> Result<Option<Vec<u8>>, git::Error> {
    match repository.blob_here(name) {
        None if missing == Missing::LeftOut && path != CONFIG => Ok(None),
        None => repository.blob_named(name).map(Some),
        found => Ok(found),
    }
}
