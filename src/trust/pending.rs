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
use super::{ATTRIBUTES, At, CONFIG, Error, Guard, first, of_remote};

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

/// What a branch has that was not accepted: here, at remotes that are ahead, and in the commit that is being merged or
/// picked.
pub fn pending(
    repository: &Repository,
    git: &Git,
    keyring: &Keyring,
    branch: &str,
) -> Result<Pending, Error> {
    Look::begin(repository, git, keyring)?.pending(branch, commits(repository, branch)?)
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
        let found = look.pending(branch, vec![(*commit).to_owned()])?;
        let settled = Pending { replaced: Vec::new(), ..found }.is_empty();
        waiting.extend((!settled).then(|| (*branch).to_owned()));
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
            guard.adopt_attributes(&branch, &path, text())?;
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
}

impl<'a> Look<'a> {
    fn begin(repository: &'a Repository, git: &'a Git, keyring: &'a Keyring) -> Result<Self, Error> {
        first::begin(repository, keyring)?;
        Ok(Self { repository, git, keyring, accepted: Accepted::of(repository) })
    }

    /// What a branch's commits have that was not accepted for it.
    fn pending(&self, branch: &str, commits: Vec<String>) -> Result<Pending, Error> {
        let guard = Guard::new(self.repository, self.keyring, At::Branch(branch.to_owned()));
        let replaced = replaced::read(self.repository)?.into_iter().filter(|known| known.branch == branch);
        let replaced = replaced.map(|Replaced { path, by, .. }| Brought { what: path, by }).collect();
        let mut found = Pending { replaced, ..Pending::default() };
        for commit in &commits {
            let (now, under) = self.state(commit)?;
            self.compare(guard.accepted_at(commit)?, &now, commit, &mut found);
            for path in under {
                if !found.files.iter().any(|known| known.what == path) {
                    found.files.push(Brought { by: who(self.git, commit, &[], &path), what: path });
                }
            }
        }
        Ok(Pending { commits, ..found })
    }

    /// Adds what a commit has otherwise than it was accepted, be it on one of several branches.
    fn compare(&self, (known, pins): (Readers, Vec<Pin>), now: &Pin, commit: &str, found: &mut Pending) {
        let by = |words: &[&str], path: &str| who(self.git, commit, words, path);
        for reader in &now.readers - &known {
            if !found.readers.iter().any(|known| known.what == reader) {
                found.readers.push(Brought { by: by(&["-S", last_word(&reader)], "."), what: reader });
            }
        }
        let rules: Vec<&str> = pins.iter().map(|pin| pin.config.as_str()).collect();
        let rules = if rules.is_empty() { vec![""] } else { rules };
        if found.rules.is_none() && rules.iter().any(|rules| !same_rules(rules, &now.config)) {
            found.rules = Some(Brought { what: (), by: by(&[], CONFIG) });
        }
        if found.attributes.is_none()
            && let Some(path) = pins.iter().find_map(|pin| protects_otherwise(pin, now))
        {
            found.attributes = Some(Brought { what: (), by: by(&[], &path) });
        }
    }

    /// The readers and rules of a commit, and its files under data keys that were not accepted.
    fn state(&self, commit: &str) -> Result<(Pin, Vec<String>), Error> {
        let (mut pin, mut under) = (Pin::default(), Vec::new());
        for file in self.repository.files(commit)?.iter().filter(|file| file.is_file()) {
            let (blob, path) =
                (self.repository.blob_named(&file.blob)?, String::from_utf8_lossy(&file.path).into_owned());
            if path == CONFIG {
                pin.config = String::from_utf8_lossy(&blob).into_owned();
                pin.readers.extend(named_in(&pin.config));
            } else if path.rsplit('/').next() == Some(ATTRIBUTES) {
                pin.attributes.insert(path, String::from_utf8_lossy(&blob).into_owned());
            } else if is_sealed(&blob)
                && let Ok(sealed) = Sealed::parse(&blob)
            {
                let groups = sealed.groups();
                pin.readers.extend(of_groups(groups));
                // What nobody here can open, nobody here adds to.
                if self.keyring.data_key(groups).is_ok_and(|key| !self.accepted.has(groups, &key)) {
                    under.push(path);
                }
            }
        }
        Ok((pin, under))
    }
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
