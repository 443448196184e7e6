//! What a changed file of a branch is sealed on: under which data key, for whom, and by which rule.
//!
//! The `sops` block of a file is outside of its MAC, and `.sops.yaml` is a file like any other: whoever can push
//! can name more readers, weaken a rule, or seal a file under a data key of their own, and would read what the
//! owner adds next. So what came by a commit counts only once it was accepted; what the owner has just written
//! into `.sops.yaml` counts at once.

mod admission;

pub(super) use admission::{Known, MERGED};

use std::cell::{OnceCell, RefCell};
use std::rc::Rc;

use crate::crypto::DataKey;
use crate::format::Format;
use crate::git::Repository;
use crate::git::family::Families;
use crate::keys::Keyring;
use crate::policy::Rule;
use crate::policy::creation::{Audience, Terms};
use crate::sops::{Basis, KeyGroups, Sealed, is_sealed};
use crate::sys::random;

use admission::Pinned;

use super::accepted::Accepted;
use super::pins::{Pin, Pins};
use super::readers::{Readers, of_audience, of_groups};
use super::replaced::{self, Replaced};
use super::{Error, compare, first};

/// How many earlier versions of a file are looked at for its data key.
const FEW: &str = "-20";

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
    /// What was accepted, as this process found it or wrote it last.
    pinned: RefCell<Option<Rc<Pinned>>>,
    /// The data keys that this process chose for new files.
    chosen: RefCell<Vec<(Audience, Wrapped)>>,
    /// The files whose data key was not accepted, so that they have another now.
    rekeyed: RefCell<Vec<String>>,
    /// Which branches have their history in common, shared by the guards of many branches.
    families: Rc<OnceCell<Families>>,
    /// Whoever has the keys that are at hand.
    own: OnceCell<Readers>,
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
            pinned: RefCell::default(),
            chosen: RefCell::default(),
            rekeyed: RefCell::default(),
            families: Rc::default(),
            own: OnceCell::new(),
            merging: Vec::new(),
        }
    }

    /// The same with what other guards have read, or will read.
    #[must_use]
    pub(super) fn sharing(self, families: &Rc<OnceCell<Families>>) -> Self {
        Self { families: Rc::clone(families), ..self }
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
        self.admit(file.path, &of_audience(&terms.audience), Origin::Rules)?;
        self.refuse_weaker(file, &terms.rule, None)?;
        let (key, groups) = self.key_for(&terms.audience)?;
        Ok(Basis::New { key, groups, rule: terms.rule, coverage: terms.coverage })
    }

    /// Fails if a commit brought readers to a file that git has, and they were not accepted since.
    pub fn admit_file(&self, path: &str, groups: &KeyGroups) -> Result<(), Error> {
        self.admit(path, &of_groups(groups), Origin::Commit)
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
        // What a rotation replaced is not to be accepted ever again.
        if !self.accepted().is_retired(key) {
            let by = compare::who(&self.repository.git(), &self.tip(), &[], path);
            let marks = self.accepted().marks(had, key);
            let replaced = Replaced { branch: self.name(), path: path.to_owned(), by, marks };
            replaced::add(self.repository, replaced)?;
        }
        self.rekeyed.borrow_mut().push(path.to_owned());
        match self.of_history(path, &audience)? {
            Some(found) => Ok(found),
            None => self.key_for(&audience),
        }
    }

    /// The accepted data key that an earlier version of a file had for the same readers: two clones that replace each
    /// other's keys do not make ever new ones.
    fn of_history(&self, path: &str, audience: &Audience) -> Result<Option<Wrapped>, Error> {
        let git = self.repository.git();
        let commits = git.text(&["log", FEW, "--format=%H", &self.tip(), "--", path]).unwrap_or_default();
        let versions = commits.lines().filter_map(|commit| self.repository.file_at(commit, path));
        for blob in versions {
            if let Some(found) = self.usable(&blob, audience)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// True if the data key, as a file has it wrapped, was made or accepted here.
    pub fn accepts(&self, groups: &KeyGroups, key: &DataKey) -> Result<bool, Error> {
        self.begin()?;
        Ok(self.accepted().has(groups, key) || (self.opens_first()? && self.accepted().has(groups, key)))
    }

    /// A branch that nobody here could open when the clone was set up is trusted as it is when somebody first can.
    pub(super) fn opens_first(&self) -> Result<bool, Error> {
        let Some(branch) = self.branch() else { return Ok(false) };
        let Some(before) = self.pins.read(&branch).map_err(Error::Record)? else { return Ok(false) };
        let Some(tip) = self.repository.commit_named(&self.tip()).filter(|_| before.unopened) else {
            return Ok(false);
        };
        let mut now = Pin::default();
        first::take(self.repository, self.keyring, &tip, &mut now, self.accepted())?;
        self.accepted().keep()?;
        self.pins.write(&branch, &Pin { unopened: now.unopened, ..before }).map_err(Error::Record)?;
        Ok(true)
    }

    fn tip(&self) -> String {
        match &self.at {
            At::WorkTree => "HEAD".to_owned(),
            At::Branch(name) => format!("refs/heads/{name}"),
        }
    }

    /// Fails if readers or rule that a commit brought were not accepted since. `old` is what git has of the file.
    pub fn check(
        &self,
        file: File<'_>,
        groups: &KeyGroups,
        rule: &Rule,
        old: &Sealed<'_>,
    ) -> Result<(), Error> {
        self.admit_file(file.path, groups)?;
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
            if let Some(found) = self.usable(&self.repository.blob_named(&name)?, audience)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The data key of a sealed file, if it was accepted and is for these readers.
    fn usable(&self, blob: &[u8], audience: &Audience) -> Result<Option<Wrapped>, Error> {
        let sealed = is_sealed(blob).then(|| Sealed::parse(blob).ok()).flatten();
        let Some(sealed) = sealed else { return Ok(None) };
        let groups = sealed.groups();
        if groups.audience().is_ok_and(|found| found.equals(audience))
            && let Ok(key) = self.keyring.data_key(groups)
            && self.accepts(groups, &key)?
        {
            return Ok(Some((key, groups.clone())));
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
