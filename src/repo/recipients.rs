//! Who can read which branch, and letting more keys read.

use std::collections::{BTreeMap, BTreeSet};

use crate::crypto::envelope::Envelope;
use crate::git::branch::{self, Commit, File, Parent};
use crate::git::{Git, Repository};
use crate::keys::Keyring;
use crate::keys::recipients::Named;
use crate::sops::{KeyGroups, Sealed, is_sealed};
use crate::trust::{self, Reach};

use super::{Error, config};

/// The readers of a branch.
#[derive(Debug)]
pub struct Readers {
    /// The branch.
    pub branch: String,
    /// Each reader with the name that `.sops.yaml` gives, and the number of files sealed for it.
    pub readers: BTreeMap<String, Reader>,
    /// The number of sealed files.
    pub files: usize,
}

/// One reader of a branch.
#[derive(Debug, Default)]
pub struct Reader {
    /// The comment at its key.
    pub name: Option<String>,
    /// How many files it can open.
    pub files: usize,
    /// How many files it can open together with keys of other groups only.
    pub shares: usize,
    /// `.sops.yaml` names it for new files.
    pub in_config: bool,
}

/// Lists the readers of a branch's last commit.
pub fn list(repository: &Repository, git: &Git, branch: &str) -> Result<Readers, Error> {
    let mut readers = BTreeMap::<String, Reader>::new();
    let mut files = 0;
    for entry in branch::files(git, branch)?.iter().filter(|entry| entry.mode.starts_with("100")) {
        let blob = repository.blob_named(&entry.blob)?;
        if entry.path == config::NAME.as_bytes() {
            named_in_config(&String::from_utf8_lossy(&blob), &mut readers);
        } else if let Ok(sealed) = Sealed::parse(&blob) {
            files += 1;
            count(sealed.groups(), &mut readers);
        }
    }
    Ok(Readers { branch: branch.to_owned(), readers, files })
}

fn count(groups: &KeyGroups, readers: &mut BTreeMap<String, Reader>) {
    let mut places = BTreeMap::<&str, BTreeSet<usize>>::new();
    for (index, group) in groups.groups().iter().enumerate() {
        let names = group.envelopes.iter().map(|envelope| envelope.recipient.as_str());
        names.for_each(|name| {
            places.entry(name).or_default().insert(index);
        });
    }
    for (name, places) in places {
        let reader = readers.entry(name.to_owned()).or_default();
        match places.len() >= groups.needed() {
            true => reader.files += 1,
            false => reader.shares += 1,
        }
    }
}

fn named_in_config(text: &str, readers: &mut BTreeMap<String, Reader>) {
    let names = config::names(text);
    let Ok(parsed) = crate::policy::creation::Config::parse(text) else { return };
    for recipient in parsed.recipients() {
        let reader = readers.entry(recipient.to_string()).or_default();
        reader.in_config = true;
        reader.name = names.get(&recipient).cloned();
    }
}

/// New readers.
#[derive(Debug, Clone, Copy)]
pub struct Addition<'a> {
    /// Their keys.
    pub readers: &'a [Named],
    /// Where they stand among several key groups.
    pub place: Place,
}

/// What adding readers to a branch did.
#[derive(Debug)]
pub struct Added {
    /// The commit; `None` if nothing had to change.
    pub commit: Option<String>,
    /// The number of files that the new readers can open now.
    pub files: usize,
}

/// Where new readers stand in files and rules with several key groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Nowhere was said: such files and rules are refused.
    Unsaid,
    /// In this group, counted from 1.
    Group(usize),
}

impl Place {
    /// The position among so many groups; there is no choice with one.
    pub(super) fn among(self, groups: usize) -> Result<usize, Error> {
        match self {
            _ if groups == 1 => Ok(0),
            Self::Group(number) if (1..=groups).contains(&number) => Ok(number - 1),
            Self::Group(_) | Self::Unsaid => Err(Error::WhichGroup { groups }),
        }
    }
}

/// Lets keys read a branch: its `.sops.yaml` names them, and every sealed file is wrapped for
/// them too. One commit; nothing is checked out.
///
/// In files with several key groups they share what the other keys of their group have: that
/// part, unwrapped, is wrapped for them, and no other envelope changes.
///
/// Fails before anything changed if a file cannot be opened, or a checkout has changes of its own.
pub fn add(
    repository: &Repository,
    git: &Git,
    keyring: &Keyring,
    branch: &str,
    added: Addition<'_>,
) -> Result<Added, Error> {
    trust::require_settled(repository, git, keyring, branch)?;
    let mut files = Vec::new();
    let mut rewrapped = 0;
    for entry in branch::files(git, branch)?.iter().filter(|entry| entry.mode.starts_with("100")) {
        let blob = repository.blob_named(&entry.blob)?;
        let path = String::from_utf8_lossy(&entry.path).into_owned();
        let mode = if entry.mode == "100755" { "100755" } else { "100644" };
        if path == config::NAME {
            let text = String::from_utf8_lossy(&blob);
            let new = config::with_recipients(&text, added)?;
            files.extend(new.map(|text| File { path, mode, content: text.into_bytes() }));
        } else if is_sealed(&blob)
            && let Some(content) = rewrap(keyring, &format!("{branch}:{path}"), &blob, added)?
        {
            rewrapped += 1;
            files.push(File { path, mode, content: content.into_bytes() });
        }
    }
    if files.is_empty() {
        return Ok(Added { commit: None, files: 0 });
    }
    let who: Vec<String> = added
        .readers
        .iter()
        .map(|named| named.name.clone().unwrap_or_else(|| named.recipient.short()))
        .collect();
    let message = format!("{branch}: let {} read it", who.join(", "));
    let commit = Commit { branch, parent: Parent::Tip, files: &files, message: &message };
    let commit = branch::commit(git, &super::new::scratch(repository)?, &commit)?;
    trust::adopt(repository, keyring, branch, Reach::Tip)?;
    Ok(Added { commit: Some(commit), files: rewrapped })
}

fn rewrap(keyring: &Keyring, path: &str, blob: &[u8], added: Addition<'_>) -> Result<Option<String>, Error> {
    let failed = |source| Error::Keys { path: path.to_owned(), source };
    let opened = keyring.open(blob).map_err(failed)?;
    let groups = opened.sealed().groups();
    let index = added.place.among(groups.groups().len())?;
    let group = &groups.groups()[index];
    let is_there = |named: &&Named| {
        group.envelopes.iter().any(|envelope| envelope.recipient == named.recipient.as_str())
    };
    let new: Vec<&Named> = added.readers.iter().filter(|named| !is_there(named)).collect();
    if new.is_empty() {
        return Ok(None);
    }
    let part = keyring.part(group).map_err(failed)?;
    let part = part.ok_or_else(|| Error::NotInGroup { path: path.to_owned(), group: index + 1 })?;
    let wrap = |named: &&Named| keyring.plugins().wrap_part(&named.recipient, part.expose());
    let wrapped: Vec<Envelope> = new.iter().map(wrap).collect::<Result<_, _>>()?;
    Ok(Some(opened.sealed().with_groups(groups.with(index, wrapped))))
}
