//! The first use of a clone: what its branches are then is trusted.

use std::collections::BTreeMap;

use crate::git::{Repository, Tip};
use crate::keys::Keyring;
use crate::sops::{Sealed, is_sealed};

use super::accepted::Accepted;
use super::pins::{Pin, Pins};
use super::readers::{named_in, of_groups};
use super::{ATTRIBUTES, CONFIG, Error, of_remote};

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

/// Adds what a commit has: its rules, its readers, its data keys.
pub(super) fn take(
    repository: &Repository,
    keyring: &Keyring,
    commit: &str,
    pin: &mut Pin,
    accepted: &Accepted,
) -> Result<(), Error> {
    let mut opened = Vec::new();
    // A partial clone is not to fetch all branches for this, and may lack even trees.
    let files = repository.files(commit).unwrap_or_default();
    for file in files.iter().filter(|file| file.is_file()) {
        let path = String::from_utf8_lossy(&file.path).into_owned();
        let is_config = path == CONFIG;
        let blob = match repository.blob_here(&file.blob) {
            None if is_config => repository.blob_named(&file.blob)?,
            None => continue,
            Some(blob) => blob,
        };
        if is_config {
            let text = String::from_utf8_lossy(&blob).into_owned();
            pin.readers.extend(named_in(&text));
            pin.config = text;
        } else if path.rsplit('/').next() == Some(ATTRIBUTES) {
            pin.attributes.insert(path, String::from_utf8_lossy(&blob).into_owned());
        } else if is_sealed(&blob)
            && let Ok(sealed) = Sealed::parse(&blob)
        {
            pin.readers.extend(of_groups(sealed.groups()));
            let (field, text) = sealed.metadata.rule.field();
            pin.rules.insert(path, (field.to_owned(), text.to_owned()));
            let key = keyring.native_data_key(sealed.groups());
            opened.push(key.is_some());
            accepted.note(sealed.groups(), key.as_ref());
        }
    }
    pin.unopened = !opened.is_empty() && !opened.contains(&true);
    Ok(())
}
