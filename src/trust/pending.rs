//! What others pushed and nobody here accepted yet, and accepting it.

use std::collections::BTreeSet;

use crate::git::{self, Git, Repository};
use crate::keys::Keyring;
use crate::policy::creation::Config;
use crate::sops::{Sealed, is_sealed};

use super::accepted::Accepted;
use super::pins::{Pin, Pins, canonical, named_in};
use super::replaced::{self, Replaced};
use super::{At, CONFIG, Error, Guard, first};

/// What a branch has that was not accepted.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// Keys that can read it, or will read new files.
    pub readers: Vec<Brought<String>>,
    /// Its rules are others than those that were accepted.
    pub rules: Option<Brought<()>>,
    /// Files under data keys that come from elsewhere.
    pub files: Vec<Brought<String>>,
    /// Files that were under such keys, until they were changed here.
    pub replaced: Vec<Brought<String>>,
}

/// Something that a commit brought.
#[derive(Debug, PartialEq, Eq)]
pub struct Brought<T> {
    /// What.
    pub what: T,
    /// The commit, its author, time and subject, on a line; empty if it cannot be told.
    pub by: String,
}

impl Pending {
    /// True if all is accepted.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Which commits of a branch count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Its last one.
    Tip,
    /// Those too that remotes have, and the one that is being merged or picked.
    Coming,
}

/// What a branch has that was not accepted.
pub fn pending(
    repository: &Repository,
    git: &Git,
    keyring: &Keyring,
    branch: &str,
    reach: Reach,
) -> Result<Pending, Error> {
    first::begin(repository, keyring)?;
    let pins = Pins::of(repository);
    let pin = pins.read(branch).map_err(Error::Record)?;
    let mut known: BTreeSet<String> = keyring.recipients().iter().map(ToString::to_string).collect();
    known.extend(match &pin {
        Some(pin) => pin.readers.clone(),
        None => pins.everyone().map_err(Error::Record)?,
    });
    let replaced = replaced::read(repository)?.into_iter().filter(|known| known.branch == branch);
    let replaced = replaced.map(|Replaced { path, by, .. }| Brought { what: path, by }).collect();
    let mut found = Pending { replaced, ..Pending::default() };
    for commit in commits(repository, branch, reach)? {
        let by = |words: &[&str], path: &str| who(git, &commit, words, path);
        let (now, under) = state(repository, keyring, &commit)?;
        for reader in now.readers.into_iter().filter(|reader| !known.contains(reader)) {
            if !found.readers.iter().any(|known| known.what == reader) {
                found.readers.push(Brought { by: by(&["-S", last_word(&reader)], "."), what: reader });
            }
        }
        if found.rules.is_none() && pin.as_ref().is_some_and(|pin| !same_rules(&pin.config, &now.config)) {
            found.rules = Some(Brought { what: (), by: by(&[], CONFIG) });
        }
        for path in under {
            if !found.files.iter().any(|known| known.what == path) {
                found.files.push(Brought { by: by(&[], &path), what: path });
            }
        }
    }
    Ok(found)
}

/// Fails if anything of a branch waits to be accepted: what is done to the branch next would accept it unseen.
pub fn require_settled(
    repository: &Repository,
    git: &Git,
    keyring: &Keyring,
    branch: &str,
) -> Result<(), Error> {
    let found = pending(repository, git, keyring, branch, Reach::Tip)?;
    match (Pending { replaced: Vec::new(), ..found }).is_empty() {
        true => Ok(()),
        false => Err(Error::Pending(branch.to_owned())),
    }
}

/// Trusts a branch as it is.
pub fn adopt(repository: &Repository, keyring: &Keyring, branch: &str, reach: Reach) -> Result<(), Error> {
    first::begin(repository, keyring)?;
    let (pins, accepted) = (Pins::of(repository), Accepted::of(repository));
    let before = pins.read(branch).map_err(Error::Record)?.unwrap_or_default();
    let mut pin = Pin::default();
    for commit in commits(repository, branch, reach)? {
        let old = std::mem::take(&mut pin.config);
        first::take(repository, keyring, &commit, &mut pin, &accepted)?;
        // Of several, the rules count that are news.
        if !old.is_empty() && old != before.config {
            pin.config = old;
        }
    }
    if reach == Reach::Coming {
        let replaced = replaced::read(repository)?.into_iter().filter(|known| known.branch == branch);
        replaced.flat_map(|known| known.marks).for_each(|mark| accepted.note_mark(mark));
        replaced::forget(repository, branch)?;
    }
    accepted.keep()?;
    pins.write(branch, &pin).map_err(Error::Record)
}

/// Trusts what is about to be committed here, rules and sealed files, as far as no commit of anybody's has it.
pub fn adopt_staged(repository: &Repository, keyring: &Keyring) -> Result<(), Error> {
    let Some(branch) = repository.branch() else { return Ok(()) };
    let guard = Guard::new(repository, keyring, At::WorkTree);
    for (path, name) in repository.index_entries()? {
        if repository.head_blob(&path)?.as_ref() == Some(&name) {
            continue;
        }
        let (blob, path) = (repository.blob_named(&name)?, String::from_utf8_lossy(&path));
        if path == CONFIG {
            guard.adopt_rules(&branch, String::from_utf8_lossy(&blob).into_owned())?;
        } else if is_sealed(&blob)
            && let Ok(sealed) = Sealed::parse(&blob)
        {
            guard.adopt_file(&branch, &path, &blob, sealed.groups())?;
        }
    }
    Ok(())
}

/// The commits that count, by name; a branch that only remotes have counts as they have it.
fn commits(repository: &Repository, branch: &str, reach: Reach) -> Result<Vec<String>, Error> {
    let mut found: Vec<String> = Vec::new();
    let local = repository.local_branches()?.into_iter().filter(|tip| tip.name == branch);
    found.extend(local.map(|tip| tip.commit));
    if found.is_empty() || reach == Reach::Coming {
        let same = |name: &str| name.split_once('/').is_some_and(|(_, name)| name == branch);
        let remote = repository.remote_branches()?.into_iter().filter(|tip| same(&tip.name));
        found.extend(remote.map(|tip| tip.commit));
    }
    if reach == Reach::Coming && repository.branch_in_work().as_deref() == Some(branch) {
        found.extend(super::guard::MERGED.iter().filter_map(|name| repository.commit_named(name)));
    }
    match found.is_empty() {
        true => Err(git::Error::NoBranch(branch.to_owned()).into()),
        false => Ok(found),
    }
}

/// The readers and rules of a commit, and its files under data keys that were not accepted.
fn state(repository: &Repository, keyring: &Keyring, commit: &str) -> Result<(Pin, Vec<String>), Error> {
    let accepted = Accepted::of(repository);
    let (mut pin, mut under) = (Pin::default(), Vec::new());
    for file in repository.files(commit)?.iter().filter(|file| file.is_file()) {
        let blob = repository.blob_named(&file.blob)?;
        if file.path == CONFIG.as_bytes() {
            pin.config = String::from_utf8_lossy(&blob).into_owned();
            pin.readers.extend(named_in(&pin.config));
        } else if is_sealed(&blob)
            && let Ok(sealed) = Sealed::parse(&blob)
        {
            let groups = sealed.groups();
            pin.readers.extend(groups.recipients().map(canonical));
            // What nobody here can open, nobody here adds to.
            if keyring.data_key(groups).is_ok_and(|key| !accepted.has(groups, &key)) {
                under.push(String::from_utf8_lossy(&file.path).into_owned());
            }
        }
    }
    Ok((pin, under))
}

/// True if two `.sops.yaml` seal alike, whoever reads.
fn same_rules(one: &str, other: &str) -> bool {
    let rules = |text: &str| Config::parse(text).map(|config| config.selections());
    match (rules(one), rules(other)) {
        (Ok(one), Ok(other)) => one == other,
        (Err(_), _) | (_, Err(_)) => one == other,
    }
}

/// The part of a key that is not its type.
fn last_word(reader: &str) -> &str {
    reader.split_whitespace().next_back().unwrap_or(reader)
}

/// The last commit that changed a path, or the number of times that a text stands there.
pub(super) fn who(git: &Git, commit: &str, words: &[&str], path: &str) -> String {
    let format = "--format=%h by %an <%ae>, %ad: %s";
    let words =
        [&["log", "-1", "--no-textconv", "--date=short", format], words, &[commit, "--", path]].concat();
    let found = git.text(&words).unwrap_or_default();
    found.chars().filter(|character| !character.is_control()).collect()
}
