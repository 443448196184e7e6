//! What others pushed and nobody here accepted yet, and accepting it.

use crate::crypto::mac::Coverage;
use crate::git::{self, Git, Protection, Repository};
use crate::keys::Keyring;
use crate::policy::creation::Config;
use crate::sops::{Sealed, is_sealed};

use super::accepted::Accepted;
use super::pins::{Pin, Pins};
use super::readers::{Readers, named_in, of_groups};
use super::replaced::{self, Replaced};
use super::{ATTRIBUTES, At, CONFIG, Error, Guard, first};

/// What a branch has that was not accepted.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// Keys that can read it, or will read new files.
    pub readers: Vec<Brought<String>>,
    /// Its rules are others than those that were accepted.
    pub rules: Option<Brought<()>>,
    /// Its attributes protect other files than those that were accepted.
    pub attributes: Option<Brought<()>>,
    /// Files under data keys that come from elsewhere.
    pub files: Vec<Brought<String>>,
    /// Files that were under such keys, until they were changed here.
    pub replaced: Vec<Brought<String>>,
    /// The commits that were looked at.
    commits: Vec<String>,
}

/// Something that a commit brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Brought<T> {
    /// What.
    pub what: T,
    /// The commit, its author, time and subject, on a line; empty if it cannot be told.
    pub by: String,
}

impl Pending {
    /// True if all is accepted.
    pub fn is_empty(&self) -> bool {
        let lists = [&self.readers, &self.files, &self.replaced];
        lists.iter().all(|list| list.is_empty()) && self.rules.is_none() && self.attributes.is_none()
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
    let mut known: Readers = keyring.recipients().iter().map(ToString::to_string).collect();
    known.extend(pin.iter().flat_map(|pin| pin.readers.clone()));
    let replaced = replaced::read(repository)?.into_iter().filter(|known| known.branch == branch);
    let replaced = replaced.map(|Replaced { path, by, .. }| Brought { what: path, by }).collect();
    let mut found = Pending { replaced, commits: commits(repository, branch, reach)?, ..Pending::default() };
    for commit in found.commits.clone() {
        let by = |words: &[&str], path: &str| who(git, &commit, words, path);
        let (now, under) = state(repository, keyring, &commit)?;
        for reader in now.readers.iter().filter(|reader| !known.contains(*reader)) {
            if !found.readers.iter().any(|known| known.what == *reader) {
                let by = by(&["-S", last_word(reader)], ".");
                found.readers.push(Brought { by, what: reader.clone() });
            }
        }
        let rules = pin.as_ref().map_or("", |pin| &pin.config);
        if found.rules.is_none() && !same_rules(rules, &now.config) {
            found.rules = Some(Brought { what: (), by: by(&[], CONFIG) });
        }
        if found.attributes.is_none()
            && let Some(path) = pin.as_ref().and_then(|pin| protects_otherwise(pin, &now))
        {
            found.attributes = Some(Brought { what: (), by: by(&[], &path) });
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

/// Trusts a branch as its commits are now.
pub fn adopt(repository: &Repository, keyring: &Keyring, branch: &str, reach: Reach) -> Result<(), Error> {
    take_over(repository, keyring, branch, &commits(repository, branch, reach)?)
}

/// Trusts a branch as it was shown.
pub fn accept(
    repository: &Repository,
    keyring: &Keyring,
    branch: &str,
    shown: &Pending,
) -> Result<(), Error> {
    take_over(repository, keyring, branch, &shown.commits)?;
    let accepted = Accepted::of(repository);
    let replaced = replaced::read(repository)?.into_iter().filter(|known| known.branch == branch);
    replaced.flat_map(|known| known.marks).for_each(|mark| accepted.note_mark(mark));
    accepted.keep()?;
    replaced::forget(repository, branch)
}

fn take_over(
    repository: &Repository,
    keyring: &Keyring,
    branch: &str,
    commits: &[String],
) -> Result<(), Error> {
    first::begin(repository, keyring)?;
    let (pins, accepted) = (Pins::of(repository), Accepted::of(repository));
    let before = pins.read(branch).map_err(Error::Record)?.unwrap_or_default();
    let mut pin = Pin::default();
    for commit in commits {
        let old = std::mem::take(&mut pin.config);
        first::take(repository, keyring, commit, &mut pin, &accepted)?;
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
    let mut rules = None;
    for (path, name) in repository.index_entries()? {
        if repository.head_blob(&path)?.as_ref() == Some(&name) {
            continue;
        }
        let (blob, path) = (repository.blob_named(&name)?, String::from_utf8_lossy(&path));
        let text = || String::from_utf8_lossy(&blob).into_owned();
        if path == CONFIG {
            rules = Some(text());
        } else if path.rsplit('/').next() == Some(ATTRIBUTES) {
            guard.adopt_attributes(&branch, &path, Some(text()))?;
        } else if is_sealed(&blob)
            && let Ok(sealed) = Sealed::parse(&blob)
        {
            guard.adopt_file(&branch, sealed.groups())?;
        }
    }
    match rules {
        Some(text) => guard.adopt_rules(&branch, text, &sealed_for(repository)?),
        None => Ok(()),
    }
}

/// What the attributes protect that were accepted for the branch that is checked out; `None` if none were.
pub fn protection(repository: &Repository) -> Option<Protection> {
    let pin = Pins::of(repository).read(&repository.branch_in_work()?).ok()??;
    (!pin.attributes.is_empty()).then(|| pin.protection())
}

/// Whoever reads a file of the index.
fn sealed_for(repository: &Repository) -> Result<Readers, Error> {
    let mut readers = Readers::new();
    for (_, name) in repository.index_entries()? {
        let blob = repository.blob_named(&name)?;
        if is_sealed(&blob)
            && let Ok(sealed) = Sealed::parse(&blob)
        {
            readers.extend(of_groups(sealed.groups()));
        }
    }
    Ok(readers)
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
        } else if file.path.rsplit(|byte| *byte == b'/').next() == Some(ATTRIBUTES.as_bytes()) {
            let path = String::from_utf8_lossy(&file.path).into_owned();
            pin.attributes.insert(path, String::from_utf8_lossy(&blob).into_owned());
        } else if is_sealed(&blob)
            && let Ok(sealed) = Sealed::parse(&blob)
        {
            let groups = sealed.groups();
            pin.readers.extend(of_groups(groups));
            // What nobody here can open, nobody here adds to.
            if keyring.data_key(groups).is_ok_and(|key| !accepted.has(groups, &key)) {
                under.push(String::from_utf8_lossy(&file.path).into_owned());
            }
        }
    }
    Ok((pin, under))
}

/// True if two `.sops.yaml` seal alike, whoever reads.
pub(super) fn same_rules(one: &str, other: &str) -> bool {
    let rules = |text: &str| {
        let mut rules = Config::parse(text)?.selections();
        // What seals most is what counts without a rule.
        rules.retain(|(path, field, coverage)| {
            !path.is_empty() || *field != MOST || *coverage != Coverage::All
        });
        Ok::<_, crate::policy::Error>(rules)
    };
    match (rules(one), rules(other)) {
        (Ok(one), Ok(other)) => one == other,
        (Err(_), _) | (_, Err(_)) => one == other,
    }
}

/// The field of the rule that counts without any.
const MOST: &str = r#"("unencrypted_suffix", "_unencrypted")"#;

/// The first file of attributes whose lines about filters are others.
fn protects_otherwise(pin: &Pin, now: &Pin) -> Option<String> {
    if pin.attributes.is_empty() {
        return None;
    }
    let says = |pin: &Pin, path: &String| -> Vec<String> {
        let lines = pin.attributes.get(path).map_or("", String::as_str).lines();
        lines.filter(|line| line.contains("filter") || line.contains("hlx")).map(str::to_owned).collect()
    };
    let mut paths = pin.attributes.keys().chain(now.attributes.keys());
    paths.find(|path| says(pin, path) != says(now, path)).cloned()
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
    found.chars().filter(|character| !character.is_control() && !is_bidi(*character)).collect()
}

/// What turns the direction of a line around, and so can show another text than stands there. (Unicode, UAX 9.)
fn is_bidi(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
