//! What others pushed and nobody here accepted yet, and accepting it.

use std::collections::BTreeSet;

use crate::git::{self, Git, Repository};
use crate::keys::Keyring;
use crate::policy::creation::Config;
use crate::sops::{Sealed, is_sealed};

use super::accepted::Accepted;
use super::pins::{Pin, Pins, canonical, named_in};
use super::{At, CONFIG, Error, Guard, first, of_remote};

/// What a branch has that was not accepted.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// Keys that can read it, or will read new files.
    pub readers: Vec<Brought<String>>,
    /// Its rules are others than those that were accepted.
    pub rules: Option<Brought<()>>,
    /// Files under data keys that come from elsewhere.
    pub files: Vec<Brought<String>>,
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

/// What a branch has that was not accepted: here, at remotes that are ahead, and in the commit that is being merged or
/// picked.
pub fn pending(
    repository: &Repository,
    git: &Git,
    keyring: &Keyring,
    branch: &str,
) -> Result<Pending, Error> {
    Look::begin(repository, git, keyring)?.pending(branch, &commits(repository, branch)?)
}

/// Fails if anything in the last commits of branches waits to be accepted: what is done to them next would accept it
/// unseen.
pub fn require_settled(
    repository: &Repository,
    git: &Git,
    keyring: &Keyring,
    tips: &[(&str, &str)],
) -> Result<(), Error> {
    let look = Look::begin(repository, git, keyring)?;
    let mut waiting = Vec::new();
    for (branch, commit) in tips {
        let pending = look.pending(branch, &[(*commit).to_owned()])?;
        waiting.extend((!pending.is_empty()).then(|| (*branch).to_owned()));
    }
    if waiting.is_empty() { Ok(()) } else { Err(Error::Pending(waiting)) }
}

/// Trusts commits that were made here for their branches, on what was trusted before.
pub fn adopt_made(repository: &Repository, keyring: &Keyring, made: &[(&str, &str)]) -> Result<(), Error> {
    first::begin(repository, keyring)?;
    let (pins, accepted) = (Pins::of(repository), Accepted::of(repository));
    for (branch, commit) in made {
        let mut pin = Pin::default();
        first::take(repository, keyring, commit, &mut pin, &accepted)?;
        pins.write(branch, &pin).map_err(Error::Record)?;
    }
    accepted.keep()
}

/// Trusts a branch as it is, here, at remotes, and in the commit that is being merged or picked.
pub fn adopt(repository: &Repository, keyring: &Keyring, branch: &str) -> Result<(), Error> {
    first::begin(repository, keyring)?;
    let (pins, accepted) = (Pins::of(repository), Accepted::of(repository));
    let before = pins.read(branch).map_err(Error::Record)?.unwrap_or_default();
    let mut pin = Pin::default();
    for commit in commits(repository, branch)? {
        let old = std::mem::take(&mut pin.config);
        first::take(repository, keyring, &commit, &mut pin, &accepted)?;
        // Of several, the rules count that are news.
        if !old.is_empty() && old != before.config {
            pin.config = old;
        }
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
fn commits(repository: &Repository, branch: &str) -> Result<Vec<String>, Error> {
    let local = repository.local_branches()?.into_iter().filter(|tip| tip.name == branch);
    let mut found: Vec<String> = local.map(|tip| tip.commit).collect();
    let same = |name: &str| of_remote(repository, name) == Some(branch);
    let remote = repository.remote_branches()?.into_iter().filter(|tip| same(&tip.name));
    let local = found.first().cloned();
    for commit in remote.map(|tip| tip.commit) {
        // What the local branch stands on already brings nothing, as before the push of a rotation.
        let is_old = |local| repository.git().test(&["merge-base", "--is-ancestor", &commit, local]);
        if !local.as_deref().map(is_old).transpose()?.unwrap_or(false) {
            found.push(commit);
        }
    }
    if repository.branch_in_work().as_deref() == Some(branch) {
        found.extend(super::guard::MERGED.iter().filter_map(|name| repository.commit_named(name)));
    }
    match found.is_empty() {
        true => Err(git::Error::NoBranch(branch.to_owned()).into()),
        false => Ok(found),
    }
}

/// Commits beside what was accepted.
struct Look<'a> {
    repository: &'a Repository,
    git: &'a Git,
    keyring: &'a Keyring,
    accepted: Accepted,
    pins: Pins,
}

impl<'a> Look<'a> {
    fn begin(repository: &'a Repository, git: &'a Git, keyring: &'a Keyring) -> Result<Self, Error> {
        first::begin(repository, keyring)?;
        let (accepted, pins) = (Accepted::of(repository), Pins::of(repository));
        Ok(Self { repository, git, keyring, accepted, pins })
    }

    /// What a branch's commits have that was not accepted for it.
    fn pending(&self, branch: &str, commits: &[String]) -> Result<Pending, Error> {
        let pin = self.pins.read(branch).map_err(Error::Record)?;
        let mut known: BTreeSet<String> = self.keyring.recipients().iter().map(ToString::to_string).collect();
        known.extend(match &pin {
            Some(pin) => pin.readers.clone(),
            None => self.pins.everyone().map_err(Error::Record)?,
        });
        let mut found = Pending::default();
        for commit in commits {
            let by = |words: &[&str], path: &str| who(self.git, commit, words, path);
            let (now, under) = self.state(commit)?;
            for reader in now.readers.into_iter().filter(|reader| !known.contains(reader)) {
                if !found.readers.iter().any(|known| known.what == reader) {
                    found.readers.push(Brought { by: by(&["-S", last_word(&reader)], "."), what: reader });
                }
            }
            if found.rules.is_none() && pin.as_ref().is_some_and(|pin| !same_rules(&pin.config, &now.config))
            {
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

    /// The readers and rules of a commit, and its files under data keys that were not accepted.
    fn state(&self, commit: &str) -> Result<(Pin, Vec<String>), Error> {
        let (mut pin, mut under) = (Pin::default(), Vec::new());
        for file in self.repository.files(commit)?.iter().filter(|file| file.is_file()) {
            let blob = self.repository.blob_named(&file.blob)?;
            if file.path == CONFIG.as_bytes() {
                pin.config = String::from_utf8_lossy(&blob).into_owned();
                pin.readers.extend(named_in(&pin.config));
            } else if is_sealed(&blob)
                && let Ok(sealed) = Sealed::parse(&blob)
            {
                let groups = sealed.groups();
                pin.readers.extend(groups.recipients().map(canonical));
                // What nobody here can open, nobody here adds to.
                if self.keyring.data_key(groups).is_ok_and(|key| !self.accepted.has(groups, &key)) {
                    under.push(String::from_utf8_lossy(&file.path).into_owned());
                }
            }
        }
        Ok((pin, under))
    }
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
fn who(git: &Git, commit: &str, words: &[&str], path: &str) -> String {
    let format = "--format=%h by %an <%ae>, %ad: %s";
    let words =
        [&["log", "-1", "--no-textconv", "--date=short", format], words, &[commit, "--", path]].concat();
    let found = git.text(&words).unwrap_or_default();
    found.chars().filter(|character| !character.is_control()).collect()
}
