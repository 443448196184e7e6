//! What a changed file of a branch is sealed on: under which data key, for whom, and by which rule.
//!
//! The `sops` block of a file is outside of its MAC, and `.sops.yaml` is a file like any other: whoever can push
//! can name more readers, weaken a rule, or seal a file under a data key of their own, and would read what the
//! owner adds next. So what came by a commit counts only once it was accepted; what the owner has just written
//! into `.sops.yaml` counts at once.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeSet;

use crate::crypto::DataKey;
use crate::format::Format;
use crate::git::Repository;
use crate::keys::Keyring;
use crate::policy::Rule;
use crate::policy::creation::{Audience, Config, Terms};
use crate::sops::{self, Basis, KeyGroups, Sealed, is_sealed};
use crate::sys::random;

use super::accepted::Accepted;
use super::pins::{Pin, Pins, canonical, named_in};
use super::{CONFIG, Error, first, of_remote};

/// Commits besides a branch's own that may have brought what stands in the work tree.
pub(super) const MERGED: [&str; 4] = ["MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "REBASE_HEAD"];

/// Where files are changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum At {
    /// In the work tree.
    WorkTree,
    /// On a branch that is not checked out.
    Branch(String),
}

/// Who wrote what is to count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// A file that git has.
    Commit,
    /// The rules as they stand where the file is changed, perhaps with edits that are not committed.
    Rules,
}

/// A file: its path from the top, its plaintext, and the format that it is sealed in.
#[derive(Debug, Clone, Copy)]
pub struct File<'f> {
    /// From the top of the work tree or branch.
    pub path: &'f str,
    /// The plaintext to seal.
    pub content: &'f [u8],
    /// The format.
    pub format: Format,
}

/// A data key and what it is wrapped in.
type Wrapped = (DataKey, KeyGroups);

/// The trust of a clone, on one of its branches.
pub struct Guard<'a> {
    repository: &'a Repository,
    keyring: &'a Keyring,
    at: At,
    accepted: OnceCell<Accepted>,
    pins: Pins,
    /// Whom this process found to be accepted.
    admitted: RefCell<Vec<BTreeSet<String>>>,
    /// The data keys that this process chose for new files.
    chosen: RefCell<Vec<(Audience, Wrapped)>>,
    /// The files whose data key was not accepted, so that they have another now.
    rekeyed: RefCell<Vec<String>>,
    /// Commits that are being merged, as git told this process.
    merging: Vec<String>,
}

impl std::fmt::Debug for Guard<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard").field("at", &self.at).finish_non_exhaustive()
    }
}

impl<'a> Guard<'a> {
    /// What is trusted of a branch.
    pub fn new(repository: &'a Repository, keyring: &'a Keyring, at: At) -> Self {
        Self {
            repository,
            keyring,
            at,
            accepted: OnceCell::new(),
            pins: Pins::of(repository),
            admitted: RefCell::default(),
            chosen: RefCell::default(),
            rekeyed: RefCell::default(),
            merging: Vec::new(),
        }
    }

    /// The same while these commits are merged.
    #[must_use]
    pub fn merging(self, commits: Vec<String>) -> Self {
        Self { merging: commits, ..self }
    }

    /// On what a changed file is sealed again: its old form, or another data key where nobody here accepted that one.
    pub fn again<'o>(&self, file: File<'_>, old: Basis<'o>) -> Result<Basis<'o>, Error> {
        let Some(sealed) = old.sealed() else { return Ok(old) };
        let (rule, coverage) = old.rule();
        self.check(file, sealed.groups(), rule, sealed)?;
        if self.accepts(sealed.groups(), old.key())? {
            return Ok(old);
        }
        let groups = sealed.groups();
        let (key, groups) = self.keep_or_replace(file.path, old.key(), groups, groups.clone())?;
        Ok(Basis::New { key, groups, rule: rule.clone(), coverage })
    }

    /// On what a new file is sealed: under the data key that the branch has for these readers, else a fresh one.
    pub fn anew(&self, file: File<'_>, terms: Terms) -> Result<Basis<'static>, Error> {
        self.admit(terms.audience.recipients().map(ToString::to_string).collect(), Origin::Rules)?;
        self.refuse_weaker(file, &terms.rule, None)?;
        let (key, groups) = self.key_for(&terms.audience)?;
        Ok(Basis::New { key, groups, rule: terms.rule, coverage: terms.coverage })
    }

    /// The identities at hand.
    pub fn keyring(&self) -> &'a Keyring {
        self.keyring
    }

    /// A data key that a file has, if it was made or accepted here, with these envelopes; else another for the same
    /// readers.
    pub fn keep_or_replace(
        &self,
        path: &str,
        key: &DataKey,
        had: &KeyGroups,
        groups: KeyGroups,
    ) -> Result<Wrapped, Error> {
        if self.accepts(had, key)? {
            return Ok((key.duplicate(), groups));
        }
        let audience = groups.audience().map_err(|_| Error::OtherKinds)?;
        self.rekeyed.borrow_mut().push(path.to_owned());
        self.key_for(&audience)
    }

    /// True if the data key, as a file has it wrapped, was made or accepted here.
    pub fn accepts(&self, groups: &KeyGroups, key: &DataKey) -> Result<bool, Error> {
        self.begin()?;
        Ok(self.accepted().has(groups, key))
    }

    /// Fails if readers or rule that a commit brought were not accepted since. `old` is what git has of the file.
    pub fn check(
        &self,
        file: File<'_>,
        groups: &KeyGroups,
        rule: &Rule,
        old: &Sealed<'_>,
    ) -> Result<(), Error> {
        self.admit(groups.recipients().map(canonical).collect(), Origin::Commit)?;
        self.refuse_weaker(file, rule, Some(old))
    }

    /// The data key for new files for these readers: the one that the branch has for them, else a fresh one.
    pub fn key_for(&self, audience: &Audience) -> Result<Wrapped, Error> {
        let again = |(key, groups): &Wrapped| (key.duplicate(), groups.clone());
        let chosen =
            self.chosen.borrow().iter().find(|(known, _)| known == audience).map(|(_, key)| again(key));
        if let Some(chosen) = chosen {
            return Ok(chosen);
        }
        let chosen = match self.of_branch(audience)? {
            Some(found) => found,
            None => self.fresh(audience)?,
        };
        self.chosen.borrow_mut().push((audience.clone(), again(&chosen)));
        Ok(chosen)
    }

    /// The files whose data key was not accepted here since this was asked last: they have another now.
    pub fn take_rekeyed(&self) -> Vec<String> {
        std::mem::take(&mut self.rekeyed.borrow_mut())
    }

    fn fresh(&self, audience: &Audience) -> Result<Wrapped, Error> {
        let entropy = &mut random::fill;
        let key = DataKey::random(entropy);
        let groups = self.keyring.plugins().wrap(audience, &key, entropy)?;
        self.keyring.remember(&groups, &key);
        self.accepted().note(&groups, Some(&key));
        self.accepted().keep()?;
        Ok((key, groups))
    }

    /// The accepted data key of a file of the branch that has the same readers.
    fn of_branch(&self, audience: &Audience) -> Result<Option<Wrapped>, Error> {
        for name in self.blobs()? {
            let blob = self.repository.blob_named(&name)?;
            let sealed = is_sealed(&blob).then(|| Sealed::parse(&blob).ok()).flatten();
            let Some(sealed) = sealed else { continue };
            let groups = sealed.groups();
            if groups.audience().is_ok_and(|found| found.equals(audience))
                && let Ok(key) = self.keyring.data_key(groups)
                && self.accepts(groups, &key)?
            {
                return Ok(Some((key, groups.clone())));
            }
        }
        Ok(None)
    }

    /// The files that may have a data key to share.
    fn blobs(&self) -> Result<Vec<String>, Error> {
        match &self.at {
            At::Branch(name) => {
                let Some(commit) = self.repository.commit_named(&format!("refs/heads/{name}")) else {
                    return Ok(Vec::new());
                };
                let files = self.repository.files(&commit)?.into_iter();
                Ok(files.filter(|file| file.is_file()).map(|file| file.blob).collect())
            }
            At::WorkTree => {
                let entries = self.repository.index_entries()?;
                let paths: Vec<&[u8]> = entries.iter().map(|(path, _)| path.as_slice()).collect();
                let attributes = self.repository.all_attributes(&paths)?;
                let entries = entries.into_iter().zip(attributes);
                Ok(entries.filter(|(_, found)| found.filtered).map(|((_, blob), _)| blob).collect())
            }
        }
    }

    /// Fails if a reader is neither one's own, nor accepted, nor just written into the rules here.
    fn admit(&self, readers: BTreeSet<String>, origin: Origin) -> Result<(), Error> {
        if self.admitted.borrow().contains(&readers) {
            return Ok(());
        }
        self.begin()?;
        let branch = self.branch();
        let pin =
            branch.as_deref().map(|branch| self.pins.read(branch)).transpose().map_err(Error::Record)?;
        let pin = pin.flatten();
        let known = match &pin {
            Some(pin) => pin.readers.clone(),
            // Whoever reads another branch may read a new one.
            None => self.pins.everyone().map_err(Error::Record)?,
        };
        let mine: BTreeSet<String> = self.keyring.recipients().iter().map(ToString::to_string).collect();
        let mut strangers: BTreeSet<String> = readers
            .iter()
            .filter(|reader| !known.contains(*reader) && !mine.contains(*reader))
            .cloned()
            .collect();
        let new = !strangers.is_empty();
        if origin == Origin::Commit && new {
            let vouched = self.of_merged_branches();
            strangers.retain(|reader| !vouched.contains(reader));
        }
        let came = match origin {
            Origin::Commit => strangers.clone(),
            Origin::Rules if strangers.is_empty() => BTreeSet::new(),
            Origin::Rules => self
                .committed()
                .iter()
                .flat_map(|config| named_in(config))
                .filter(|reader| strangers.contains(reader))
                .collect(),
        };
        if !came.is_empty() {
            return Err(Error::Strangers { branch: self.name(), readers: came.into_iter().collect() });
        }
        if let Some(branch) = branch
            && (pin.is_none() || new)
        {
            self.pin(
                &branch,
                pin.unwrap_or_else(|| Pin { config: self.config(), ..Pin::default() }),
                &readers,
            )?;
        }
        self.admitted.borrow_mut().push(readers);
        Ok(())
    }

    /// Whoever is accepted on a local branch that the owner is merging into this one. A commit that remotes have for
    /// this very branch is not such a branch, whatever else it is.
    fn of_merged_branches(&self) -> BTreeSet<String> {
        let mut commits = self.merging.clone();
        commits.extend(
            ["MERGE_HEAD", "rebase-merge/onto"].iter().filter_map(|name| self.repository.commit_in(name)),
        );
        let remote = self.branch().map(|branch| self.remotes(&branch)).unwrap_or_default();
        let remote: Vec<String> =
            remote.iter().filter_map(|name| self.repository.commit_named(name)).collect();
        commits.retain(|commit| !remote.contains(commit));
        let local = self.repository.local_branches().unwrap_or_default().into_iter();
        let merged = local.filter(|tip| commits.contains(&tip.commit));
        merged.filter_map(|tip| self.pins.read(&tip.name).ok()?).flat_map(|pin| pin.readers).collect()
    }

    /// Accepts rules that the owner is committing, unless they, or a reader in them, came by a commit of somebody's.
    pub(super) fn adopt_rules(&self, branch: &str, text: String) -> Result<(), Error> {
        self.admit(named_in(&text), Origin::Rules)?;
        if self.committed().contains(&text) {
            return Ok(());
        }
        let pin = self.pins.read(branch).map_err(Error::Record)?.unwrap_or_default();
        let readers = named_in(&text);
        self.pin(branch, Pin { config: text, ..pin }, &readers)
    }

    /// Accepts the readers and the data key of a file that the owner is committing, sealed by another program perhaps,
    /// unless it came by a commit of somebody's.
    pub(super) fn adopt_file(
        &self,
        branch: &str,
        path: &str,
        blob: &[u8],
        groups: &KeyGroups,
    ) -> Result<(), Error> {
        self.begin()?;
        let came =
            |revision: &String| self.repository.file_at(revision, path).is_some_and(|other| other == blob);
        if self.revisions().iter().any(came) {
            return Ok(());
        }
        self.accepted().note(groups, self.keyring.native_data_key(groups).as_ref());
        self.accepted().keep()?;
        let pin = self.pins.read(branch).map_err(Error::Record)?;
        let readers: BTreeSet<String> = groups.recipients().map(canonical).collect();
        match pin {
            Some(pin) if readers.is_subset(&pin.readers) => Ok(()),
            pin => self.pin(branch, pin.unwrap_or_default(), &readers),
        }
    }

    fn pin(&self, branch: &str, mut pin: Pin, readers: &BTreeSet<String>) -> Result<(), Error> {
        pin.readers.extend(readers.iter().cloned());
        self.pins.write(branch, &pin).map_err(Error::Record)
    }

    /// Fails if a value stays clear by a rule that came by a commit, where the accepted rule would seal it.
    fn refuse_weaker(&self, file: File<'_>, own: &Rule, old: Option<&Sealed<'_>>) -> Result<(), Error> {
        let pin = self.branch().and_then(|branch| self.pins.read(&branch).ok().flatten());
        let Some(wanted) = pin.and_then(|pin| pin.rule(file.path)) else { return Ok(()) };
        let Some(leaf) = sops::left_clear(file.content, file.format, [own, &wanted], old) else {
            return Ok(());
        };
        let of_config =
            |config: &String| Some(Config::parse(config).ok()?.terms(file.path).ok()?.rule.clone());
        let came = old.is_some() || self.committed().iter().filter_map(of_config).any(|rule| rule == *own);
        if !came {
            return Ok(());
        }
        let (field, text) = own.field();
        Err(Error::WeakerRule { leaf, rule: format!("{field}: {text}"), branch: self.name() })
    }

    /// Every `.sops.yaml` that commits brought to this branch.
    fn committed(&self) -> Vec<String> {
        let revisions = self.revisions();
        let configs = revisions.iter().filter_map(|revision| self.repository.file_at(revision, CONFIG));
        configs.map(|config| String::from_utf8_lossy(&config).into_owned()).collect()
    }

    /// The commits that may have brought what stands here.
    fn revisions(&self) -> Vec<String> {
        let mut revisions = match (&self.at, self.branch()) {
            (At::WorkTree, Some(branch)) => self.remotes(&branch),
            (At::WorkTree, None) => Vec::new(),
            (At::Branch(_), branch) => branch.map(|branch| self.remotes(&branch)).unwrap_or_default(),
        };
        revisions.push(match &self.at {
            At::WorkTree => "HEAD".to_owned(),
            At::Branch(name) => format!("refs/heads/{name}"),
        });
        revisions.extend(MERGED.map(str::to_owned));
        revisions.push("FETCH_HEAD".to_owned());
        revisions
    }

    fn remotes(&self, branch: &str) -> Vec<String> {
        let all = self.repository.remote_branches().unwrap_or_default().into_iter();
        let same = |name: &str| of_remote(self.repository, name) == Some(branch);
        all.filter(|tip| same(&tip.name)).map(|tip| format!("refs/remotes/{}", tip.name)).collect()
    }

    /// The rules as they are committed; before the first commit, as they stand in the work tree.
    fn config(&self) -> String {
        let revision = match &self.at {
            At::WorkTree => "HEAD".to_owned(),
            At::Branch(name) => format!("refs/heads/{name}"),
        };
        let committed = self.repository.file_at(&revision, CONFIG);
        let tree = || std::fs::read(self.repository.work_tree().ok()?.join(CONFIG)).ok();
        String::from_utf8_lossy(&committed.or_else(tree).unwrap_or_default()).into_owned()
    }

    fn branch(&self) -> Option<String> {
        match &self.at {
            At::WorkTree => self.repository.branch_in_work(),
            At::Branch(name) => Some(name.clone()),
        }
    }

    fn name(&self) -> String {
        self.branch().unwrap_or_else(|| "this commit".to_owned())
    }

    fn accepted(&self) -> &Accepted {
        self.accepted.get_or_init(|| Accepted::of(self.repository))
    }

    /// A clone that `hlx init` of an older version set up trusts what it has when it is first asked.
    fn begin(&self) -> Result<(), Error> {
        if self.accepted.get().is_none() {
            first::begin(self.repository, self.keyring)?;
        }
        self.accepted();
        Ok(())
    }
}
