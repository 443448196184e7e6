//! Who can read which branch, and who shall.

use std::collections::{BTreeMap, BTreeSet};

use crate::crypto::envelope::Recipient;
use crate::git::{Git, Repository};
use crate::keys::recipients::Named;
use crate::sops::{KeyGroups, Sealed};

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
pub fn list(repository: &Repository, branch: &str, commit: &str) -> Result<Readers, Error> {
    let mut readers = BTreeMap::<String, Reader>::new();
    let mut files = 0;
    for entry in repository.files(commit)?.iter().filter(|entry| entry.is_file()) {
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

/// The keys that some branch's `.sops.yaml` gives this name. A name is only a comment: it may stand at several.
pub fn named(repository: &Repository, commits: &[&String], name: &str) -> Result<BTreeSet<Recipient>, Error> {
    let mut found = BTreeSet::new();
    for commit in commits {
        let files = repository.files(commit)?;
        let Some(file) = files.iter().find(|file| file.path == config::NAME.as_bytes()) else { continue };
        let text = repository.blob_named(&file.blob)?;
        let names = config::names(&String::from_utf8_lossy(&text));
        found.extend(names.into_iter().filter(|(_, known)| known == name).map(|(key, _)| key));
    }
    Ok(found)
}

/// The same in every `.sops.yaml` that any branch ever had: of keys that were taken out too.
pub fn named_ever(repository: &Repository, git: &Git, name: &str) -> Result<BTreeSet<Recipient>, Error> {
    let words = ["log", "--all", "--full-history", "--format=%H", "--", config::NAME];
    let commits = git.text(&words)?;
    let commits: Vec<String> = commits.lines().map(str::to_owned).collect();
    named(repository, &commits.iter().collect::<Vec<_>>(), name)
}

/// New readers.
#[derive(Debug, Clone, Copy)]
pub struct Addition<'a> {
    /// Their keys.
    pub readers: &'a [Named],
    /// Where they stand among several key groups.
    pub place: Place,
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
