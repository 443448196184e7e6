//! What others pushed and nobody here accepted yet, and accepting it.

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;

use crate::crypto::DataKey;
use crate::git::family::Families;
use crate::git::{self, Git, Protection, Repository, history};
use crate::keys::Keyring;
use crate::sops::{KeyGroups, Sealed, is_sealed};

use super::accepted::Accepted;
use super::compare::{gained, last_word, protects_otherwise, same_rules, who};
use super::first::Missing;
use super::guard::Known;
use super::pins::{Pin, Pins};
use super::readers::{Readers, of_groups};
use super::replaced::{self, Replaced};
use super::{ATTRIBUTES, At, CONFIG, Error, Guard, first, of_remote};

/// What a branch has that was not accepted.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// Keys that can read it, or will read new files.
    pub readers: Vec<Brought<String>>,
    /// Readers of the branch, and what of it they could not read before: a file, or the files of a rule.
    pub moved: Vec<Brought<(String, String)>>,
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
        lists.iter().all(|list| list.is_empty())
            && self.moved.is_empty()
            && self.rules.is_none()
            && self.attributes.is_none()
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
    let look = Look::begin(repository, git, keyring)?;
    look.pending(branch, commits(repository, branch)?, Missing::Fetched)
}

/// What commits of branches have that was not accepted, as far as it is here; nothing where nothing was ever accepted.
pub fn waiting(
    repository: &Repository,
    keyring: &Keyring,
    tips: &[(&str, &str)],
) -> Result<Vec<Pending>, Error> {
    if !Pins::of(repository).exist() {
        return Ok(Vec::new());
    }
    let git = repository.git();
    let look = Look::begin(repository, &git, keyring)?;
    let pending =
        |(branch, commit): &(&str, &str)| look.pending(branch, vec![(*commit).to_owned()], Missing::LeftOut);
    tips.iter().map(pending).collect()
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
        let found = look.pending(branch, vec![(*commit).to_owned()], Missing::Fetched)?;
        let settled = Pending { replaced: Vec::new(), ..found }.is_empty();
        waiting.extend((!settled).then(|| (*branch).to_owned()));
    }
    if waiting.is_empty() { Ok(()) } else { Err(Error::Pending(waiting)) }
}

/// Trusts commits that were made here for their branches, on what was trusted before. Data keys that they replaced are
/// not used again.
pub fn adopt_made(repository: &Repository, keyring: &Keyring, made: &[(&str, &str)]) -> Result<(), Error> {
    first::begin(repository, keyring)?;
    let (pins, accepted) = (Pins::of(repository), Accepted::of(repository));
    for (branch, commit) in made {
        let mut pin = Pin::default();
        let keys = first::take(repository, keyring, commit, &mut pin, &accepted)?;
        for parent in repository.parents(commit)? {
            let before = first::read(repository, &parent, Missing::LeftOut, &mut Pin::default())?;
            let before = before.iter().filter_map(|(_, groups)| keyring.native_data_key(groups));
            before.filter(|key| !keys.contains(key)).for_each(|key| accepted.retire(&key));
        }
        pins.write(branch, &pin).map_err(Error::Record)?;
    }
    accepted.keep()
}

/// Trusts a branch as it was shown. Data keys that were accepted before, and that its files had until others replaced
/// them, are not used again.
pub fn accept(
    repository: &Repository,
    keyring: &Keyring,
    branch: &str,
    shown: &Pending,
) -> Result<(), Error> {
    first::begin(repository, keyring)?;
    let accepted = Accepted::of(repository);
    let had = had(repository, keyring, &accepted, &shown.commits)?;
    let keys = take_over(repository, keyring, branch, &shown.commits, &accepted)?;
    had.iter().filter(|key| !keys.contains(key)).for_each(|key| accepted.retire(key));
    let replaced = replaced::read(repository)?.into_iter().filter(|known| known.branch == branch);
    replaced.flat_map(|known| known.marks).for_each(|mark| accepted.note_mark(mark));
    accepted.keep()?;
    replaced::forget(repository, branch)
}

/// How many commits are looked at for data keys that were replaced.
const FEW: &str = "--max-count=200";

/// The accepted data keys of what the last of these commits replaced.
fn had(
    repository: &Repository,
    keyring: &Keyring,
    accepted: &Accepted,
    commits: &[String],
) -> Result<HashSet<DataKey>, Error> {
    let mut found = HashSet::new();
    for commit in commits {
        let changes = history::commits(&repository.git(), &[FEW, commit])?;
        for old in changes.iter().flat_map(|commit| &commit.changes).filter_map(|change| change.old.as_ref())
        {
            let Some(blob) = repository.blob_here(old).filter(|blob| is_sealed(blob)) else { continue };
            let Ok(sealed) = Sealed::parse(&blob) else { continue };
            let key = keyring.native_data_key(sealed.groups());
            found.extend(key.filter(|key| accepted.has(sealed.groups(), key)));
        }
    }
    Ok(found)
}

/// Pins a branch as these commits have it. Gives their data keys.
fn take_over(
    repository: &Repository,
    keyring: &Keyring,
    branch: &str,
    commits: &[String],
    accepted: &Accepted,
) -> Result<Vec<DataKey>, Error> {
    let pins = Pins::of(repository);
    let before = pins.read(branch).map_err(Error::Record)?.unwrap_or_default();
    let (mut pin, mut keys) = (Pin::default(), Vec::new());
    for commit in commits {
        let old = std::mem::take(&mut pin.config);
        keys.extend(first::take(repository, keyring, commit, &mut pin, accepted)?);
        // Of several, the rules count that are news.
        if !old.is_empty() && old != before.config {
            pin.config = old;
        }
    }
    pins.write(branch, &pin).map_err(Error::Record)?;
    Ok(keys)
}

/// What was accepted for the branch that is checked out, before a commit that may not come about.
#[derive(Debug)]
pub struct Before(Option<(Pins, String, Option<Pin>)>);

impl Before {
    /// As it is now.
    pub fn of(repository: &Repository) -> Result<Self, Error> {
        let pins = Pins::of(repository);
        // A clone that has accepted nothing yet begins by accepting all branches as they stand.
        let Some(branch) = repository.branch().filter(|_| pins.exist()) else { return Ok(Self(None)) };
        let pin = pins.read(&branch).map_err(Error::Record)?;
        Ok(Self(Some((pins, branch, pin))))
    }

    /// Forgets what was accepted since.
    pub fn put_back(self) -> Result<(), Error> {
        match self.0 {
            Some((pins, branch, Some(pin))) => pins.write(&branch, &pin).map_err(Error::Record),
            Some((pins, branch, None)) => pins.remove(&branch).map_err(Error::Record),
            None => Ok(()),
        }
    }
}

/// Trusts what is about to be committed here, rules and sealed files, as far as no commit of anybody's has it.
pub fn adopt_staged(repository: &Repository, keyring: &Keyring) -> Result<(), Error> {
    let Some(branch) = repository.branch() else { return Ok(()) };
    let guard = Guard::new(repository, keyring, At::WorkTree);
    let mut rules = None;
    let entries = repository.index_entries()?;
    let pin = Pins::of(repository).read(&branch).map_err(Error::Record)?.unwrap_or_default();
    for path in pin.attributes.keys() {
        if !entries.iter().any(|(known, _)| known == path.as_bytes()) {
            guard.adopt_attributes(&branch, path, None)?;
        }
    }
    for (path, name) in entries {
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
            guard.adopt_file(&branch, (&path, &name), sealed.groups())?;
        }
    }
    match rules {
        Some(text) => guard.adopt_rules(&branch, text, sealed_for(repository)?),
        None => Ok(()),
    }
}

/// Trusts what a merge brought that needed no commit of the owner's, if all of it is accepted for the local branch that
/// was merged. Which one that was is what git noted here, where no push can write.
pub fn adopt_merged(repository: &Repository, keyring: &Keyring) -> Result<(), Error> {
    let git = repository.git();
    let (Some(branch), Some(head)) = (repository.branch(), repository.head_commit()) else { return Ok(()) };
    let noted = git.text(&["reflog", "show", "-1", "--format=%gs", "HEAD", "--"])?;
    // `merge NAME: Fast-forward`, or how the merge was made; a pull has other words.
    let Some((merged, _)) = noted.trim_start().strip_prefix("merge ").and_then(|rest| rest.split_once(": "))
    else {
        return Ok(());
    };
    if !repository.local_branches()?.iter().any(|tip| tip.name == merged) {
        return Ok(());
    }
    let look = Look::begin(repository, &git, keyring)?;
    let waits = look.pending(&branch, vec![head.clone()], Missing::Fetched)?;
    if waits.is_empty() || !look.pending(merged, vec![head], Missing::Fetched)?.is_empty() {
        return Ok(());
    }
    accept(repository, keyring, &branch, &waits)
}

/// What the attributes protect that were accepted for the branch that is checked out; `None` if none were.
pub fn protection(repository: &Repository) -> Option<Protection> {
    let pin = Pins::of(repository).read(&repository.branch_in_work()?).ok()??;
    (!pin.attributes.is_empty()).then(|| pin.protection())
}

/// Whoever reads each file of the index.
fn sealed_for(repository: &Repository) -> Result<BTreeMap<String, Readers>, Error> {
    let mut readers = BTreeMap::new();
    for (path, name) in repository.index_entries()? {
        let blob = repository.blob_named(&name)?;
        if is_sealed(&blob)
            && let Ok(sealed) = Sealed::parse(&blob)
        {
            readers.insert(String::from_utf8_lossy(&path).into_owned(), of_groups(sealed.groups()));
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
    families: Rc<OnceCell<Families>>,
}

impl<'a> Look<'a> {
    fn begin(repository: &'a Repository, git: &'a Git, keyring: &'a Keyring) -> Result<Self, Error> {
        first::begin(repository, keyring)?;
        // Else a file would be said to wait that is sealed under its data key all the same.
        first::open(repository, keyring)?;
        Ok(Self { repository, git, keyring, accepted: Accepted::of(repository), families: Rc::default() })
    }

    /// What a branch's commits have that was not accepted for it.
    fn pending(&self, branch: &str, commits: Vec<String>, missing: Missing) -> Result<Pending, Error> {
        let guard = Guard::new(self.repository, self.keyring, At::Branch(branch.to_owned()));
        let guard = guard.sharing(&self.families);
        let replaced = replaced::read(self.repository)?.into_iter().filter(|known| known.branch == branch);
        let replaced = replaced.map(|Replaced { path, by, .. }| Brought { what: path, by }).collect();
        let mut found = Pending { replaced, ..Pending::default() };
        for commit in &commits {
            let mut now = Pin::default();
            let sealed = first::read(self.repository, commit, missing, &mut now)?;
            self.compare(guard.accepted_at(commit)?, guard.own(), &now, commit, &mut found);
            for (path, groups) in sealed {
                if self.is_foreign(&groups) && !found.files.iter().any(|known| known.what == path) {
                    found.files.push(Brought { by: who(self.git, commit, &[], &path), what: path });
                }
            }
        }
        Ok(Pending { commits, ..found })
    }

    /// Whether a data key opens here and is neither accepted, nor one that is replaced with the next change anyhow.
    /// What nobody here can open, nobody here adds to.
    fn is_foreign(&self, groups: &KeyGroups) -> bool {
        let key = self.keyring.data_key(groups);
        key.is_ok_and(|key| !self.accepted.has(groups, &key) && !self.accepted.is_retired(&key))
    }

    /// Adds what a commit has otherwise than it was accepted, be it on one of several branches.
    fn compare(
        &self,
        (known, pins): (Readers, Vec<Known>),
        own: &Readers,
        now: &Pin,
        commit: &str,
        found: &mut Pending,
    ) {
        let by = |words: &[&str], path: &str| who(self.git, commit, words, path);
        for reader in &now.readers - &known {
            if !found.readers.iter().any(|known| known.what == reader) {
                found.readers.push(Brought { by: by(&["-S", last_word(&reader)], "."), what: reader });
            }
        }
        let rules: Vec<&str> = pins.iter().map(|known| known.pin.config.as_str()).collect();
        let rules = if rules.is_empty() { vec![""] } else { rules };
        if found.rules.is_none() && rules.iter().any(|rules| !same_rules(rules, &now.config)) {
            found.rules = Some(Brought { what: (), by: by(&[], CONFIG) });
        }
        for Moved { reader, place, path } in moved(&pins, now) {
            let what = (reader, place);
            // Whoever is new to the branch is said once.
            if known.contains(&what.0)
                && !own.contains(&what.0)
                && !found.moved.iter().any(|known| known.what == what)
            {
                // It may stand as often as before, elsewhere.
                found.moved.push(Brought { by: by(&["-G", last_word(&what.0)], &path), what });
            }
        }
        if found.attributes.is_none()
            && let Some(path) = pins.iter().find_map(|known| protects_otherwise(&known.pin, now))
        {
            found.attributes = Some(Brought { what: (), by: by(&[], &path) });
        }
    }
}

/// A reader of a branch who comes to read more of it.
struct Moved {
    reader: String,
    /// What, in words.
    place: String,
    /// Where that stands.
    path: String,
}

/// Who reads files, or is named by rules, that were not theirs as accepted, be it on one of several branches.
fn moved(pins: &[Known], now: &Pin) -> Vec<Moved> {
    let mut found = Vec::new();
    for known in pins {
        for (path, readers) in &now.sealed {
            let more = readers - &known.rules.readers(path);
            found.extend(more.into_iter().map(|reader| {
                let (place, path) = (path.clone(), path.clone());
                Moved { reader, place, path }
            }));
        }
        for (number, readers) in gained(&known.pin.config, &now.config) {
            let place = format!("new files by creation rule {number}");
            let moved = |reader| Moved { reader, place: place.clone(), path: CONFIG.to_owned() };
            found.extend(readers.into_iter().map(moved));
        }
    }
    found
}
