//! Who and what counts on a branch: what was accepted, and what the owner has just written.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::crypto::DataKey;
use crate::git::Git;
use crate::git::family::Families;
use crate::policy::Rule;
use crate::policy::creation::Config;
use crate::sops::{self, KeyGroups, Sealed};

use super::super::compare::gives_no_more;
use super::super::pins::{Pin, Rules};
use super::super::readers::{Readers, named_for, named_in, of_groups};
use super::super::{ATTRIBUTES, CONFIG, Error, of_remote};
use super::{At, File, Guard, Origin};

/// Commits besides a branch's own that may have brought what stands in the work tree.
pub(in super::super) const MERGED: [&str; 4] =
    ["MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "REBASE_HEAD"];

/// What was accepted for the commit that is worked on.
#[derive(Debug)]
pub(super) enum Pinned {
    /// For its branch.
    Branch(Box<Known>),
    /// For the branches that it has its history in common with.
    Family(Vec<Known>),
    /// There is no commit yet.
    Unborn,
    /// Nothing.
    Nothing,
}

/// What was accepted for a branch, and the same read.
#[derive(Debug)]
pub(in super::super) struct Known {
    pub(in super::super) pin: Pin,
    pub(in super::super) rules: Rules,
}

impl Known {
    fn of(pin: Pin) -> Self {
        Self { rules: pin.rules(), pin }
    }
}

impl Pinned {
    fn known(&self) -> &[Known] {
        match self {
            Self::Branch(known) => std::slice::from_ref(&**known),
            Self::Family(known) => known,
            Self::Unborn | Self::Nothing => &[],
        }
    }

    /// What a branch begins with that has no word of its own. Several others that it could go by differ, and what holds
    /// on one of them only is not to hold here.
    fn own_pin(&self, unborn: impl FnOnce() -> String) -> Option<Pin> {
        match (self, self.known()) {
            (Self::Unborn, _) => Some(Pin { config: unborn(), ..Pin::default() }),
            (_, [known]) => Some(known.pin.clone()),
            (_, _) => None,
        }
    }
}

impl Guard<'_> {
    /// Fails if a reader of a file is neither one's own, nor accepted for it, nor just written into the rules here.
    pub(super) fn admit(&self, path: &str, readers: &Readers, origin: Origin) -> Result<(), Error> {
        let pinned = self.pinned()?;
        let mut strangers = readers - &self.known(&pinned, Some(path))?;
        let new = !strangers.is_empty();
        match origin {
            Origin::Commit if new => strangers = &strangers - &self.of_merged_branches(path),
            Origin::Rules if new => strangers = self.brought(strangers, Some(path)),
            Origin::Commit | Origin::Rules => {}
        }
        self.refuse(strangers)?;
        if matches!(*pinned, Pinned::Branch(_)) && !new {
            return Ok(());
        }
        if let (Some(branch), Some(mut pin)) = (self.branch(), pinned.own_pin(|| self.config())) {
            self.name_for(&mut pin, path, readers, origin);
            self.pin(&branch, pin, readers)?;
        }
        Ok(())
    }

    fn refuse(&self, strangers: Readers) -> Result<(), Error> {
        match strangers.is_empty() {
            true => Ok(()),
            false => Err(Error::Strangers { branch: self.name(), readers: strangers.into_iter().collect() }),
        }
    }

    /// Notes for whom a file is: by the rules as the owner has them, else by itself.
    fn name_for(&self, pin: &mut Pin, path: &str, readers: &Readers, origin: Origin) {
        let here = || self.in_tree(CONFIG).map(|text| String::from_utf8_lossy(&text).into_owned());
        if origin == Origin::Rules
            && let Some(text) = here()
            && Config::parse(&text).is_ok_and(|config| readers.is_subset(&named_for(&config, path)))
        {
            pin.draft = text;
        }
        pin.sealed.entry(path.to_owned()).or_default().extend(readers.iter().cloned());
    }

    /// What was accepted. A branch without a word of its own goes by those it has its first commit in common with.
    fn pinned(&self) -> Result<Rc<Pinned>, Error> {
        if let Some(pinned) = self.pinned.borrow().as_ref() {
            return Ok(Rc::clone(pinned));
        }
        let pinned = Rc::new(self.pinned_at(&self.tip())?);
        *self.pinned.borrow_mut() = Some(Rc::clone(&pinned));
        Ok(pinned)
    }

    fn pinned_at(&self, commit: &str) -> Result<Pinned, Error> {
        self.begin()?;
        if let Some(branch) = self.branch()
            && let Some(pin) = self.pins.read(&branch).map_err(Error::Record)?
        {
            return Ok(Pinned::Branch(Box::new(Known::of(pin))));
        }
        if self.repository.commit_named(commit).is_none() {
            return Ok(Pinned::Unborn);
        }
        let git = self.repository.git();
        if self.branch().is_some_and(|branch| self.is_of_this_clone(&branch)) {
            let begun = self.begun_at(&git, commit)?;
            if !begun.is_empty() {
                return Ok(Pinned::Family(begun));
            }
        }
        let families = self.families(&git)?;
        let mut branches = BTreeSet::new();
        for name in families.of(&git, commit)? {
            let local = name.strip_prefix("refs/heads/");
            let remote = || of_remote(self.repository, name.strip_prefix("refs/remotes/")?);
            branches.extend(local.or_else(remote).map(str::to_owned));
        }
        let mut pins = Vec::new();
        for branch in branches {
            let pin = self.pins.read(&branch).map_err(Error::Record)?;
            pins.extend(pin.filter(|pin| !pins.contains(pin)));
        }
        let known: Vec<Known> = pins.into_iter().map(Known::of).collect();
        Ok(if known.is_empty() { Pinned::Nothing } else { Pinned::Family(known) })
    }

    /// Whether a branch was made here, and no remote has one of its name.
    fn is_of_this_clone(&self, branch: &str) -> bool {
        self.repository.commit_named(&format!("refs/heads/{branch}")).is_some()
            && self.remotes(branch).is_empty()
    }

    /// What was accepted for the local branches that a commit stands on, without those that others of them stand on: a new
    /// branch begins there.
    fn begun_at(&self, git: &Git, commit: &str) -> Result<Vec<Known>, Error> {
        let mut words =
            vec!["for-each-ref".to_owned(), "--format=%(objectname) %(refname:strip=2)".to_owned()];
        words.extend([format!("--merged={commit}"), "refs/heads".to_owned()]);
        let listed = git.text(&words.iter().map(String::as_str).collect::<Vec<_>>())?;
        let mut pins = Vec::new();
        for (tip, name) in listed.lines().filter_map(|line| line.split_once(' ')) {
            let pin = self.pins.read(name).map_err(Error::Record)?;
            pins.extend(pin.map(|pin| (tip, pin)));
        }
        let tips = pins.iter().map(|(tip, _)| *tip);
        let last = match pins.len() {
            0 | 1 => tips.map(str::to_owned).collect(),
            _ => git.text(&["merge-base", "--independent"].into_iter().chain(tips).collect::<Vec<_>>())?,
        };
        pins.retain(|(tip, _)| last.lines().any(|line| line == *tip));
        Ok(pins.into_iter().map(|(_, pin)| Known::of(pin)).collect())
    }

    fn families(&self, git: &Git) -> Result<&Families, Error> {
        if self.families.get().is_none() {
            let _ = self.families.set(Families::read(git)?);
        }
        Ok(self.families.get().expect("it was just set"))
    }

    /// What was accepted for a commit of the branch: of several branches, whoever reads all of them, and what holds on
    /// each.
    pub(in super::super) fn accepted_at(&self, commit: &str) -> Result<(Readers, Vec<Known>), Error> {
        let pinned = self.pinned_at(commit)?;
        let readers = self.known(&pinned, None)?;
        Ok(match pinned {
            Pinned::Branch(known) => (readers, vec![*known]),
            Pinned::Family(known) => (readers, known),
            Pinned::Unborn | Pinned::Nothing => (readers, Vec::new()),
        })
    }

    /// Whoever may read a file, or any file, of what is changed here; of several branches, whoever may on all of them.
    fn known(&self, pinned: &Pinned, path: Option<&str>) -> Result<Readers, Error> {
        let of = |known: &Known| match path {
            Some(path) => known.rules.readers(path),
            None => known.pin.readers.clone(),
        };
        let mut known = match pinned {
            // Whoever reads another branch may read a new one of the owner's.
            Pinned::Unborn => self.pins.everyone().map_err(Error::Record)?,
            Pinned::Branch(_) | Pinned::Family(_) | Pinned::Nothing => {
                pinned.known().iter().map(of).reduce(|one, other| &one & &other).unwrap_or_default()
            }
        };
        known.extend(self.own().iter().cloned());
        Ok(known)
    }

    /// Whoever has the keys that are at hand.
    pub(in super::super) fn own(&self) -> &Readers {
        self.own.get_or_init(|| self.keyring.recipients().iter().map(ToString::to_string).collect())
    }

    /// Those of these readers whom a `.sops.yaml` that a commit brought names, for a file or for any; of a broken one,
    /// who stands in it.
    fn brought(&self, readers: Readers, path: Option<&str>) -> Readers {
        let committed = self.committed();
        let names = |config: &String, reader: &String| match (Config::parse(config), path) {
            (Ok(parsed), Some(path)) => named_for(&parsed, path).contains(reader),
            (Ok(_), None) => config.contains(reader.as_str()) || named_in(config).contains(reader),
            (Err(_), _) => config.contains(reader.as_str()),
        };
        readers.into_iter().filter(|reader| committed.iter().any(|config| names(config, reader))).collect()
    }

    /// Whoever may read a file on a local branch that the owner is merging into this one. A commit that remotes have for
    /// this very branch is not such a branch, whatever else it is.
    fn of_merged_branches(&self, path: &str) -> Readers {
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
        let pins = merged.filter_map(|tip| self.pins.read(&tip.name).ok()?);
        pins.flat_map(|pin| pin.rules().readers(path)).collect()
    }

    /// Accepts rules that the owner is committing, unless they, or a reader in them, came by a commit of somebody's.
    /// Whoever is in neither rules nor files any more has to be accepted again.
    pub(in super::super) fn adopt_rules(
        &self,
        branch: &str,
        text: String,
        sealed: BTreeMap<String, Readers>,
    ) -> Result<(), Error> {
        let named = named_in(&text);
        let strangers = &named - &self.known(&*self.pinned()?, None)?;
        self.refuse(self.brought(strangers, None))?;
        let mut pin = self.pins.read(branch).map_err(Error::Record)?.unwrap_or_default();
        let committed = self.committed();
        // Rules of somebody's that still wait would be accepted with the owner's next comment.
        let wait =
            committed.iter().any(|config| !pin.config.is_empty() && !gives_no_more(&pin.config, config));
        let before = pin.rules();
        let is_own = || !wait && !committed.contains(&text);
        if gives_no_more(&pin.config, &text) || is_own() {
            (pin.config, pin.draft) = (text, String::new());
        }
        // Whoever could read a file before still can.
        let kept = |path: &String, readers: &Readers| readers & &before.readers(path);
        pin.readers
            .retain(|reader| named.contains(reader) || sealed.values().any(|all| all.contains(reader)));
        pin.sealed =
            sealed.into_iter().map(|(path, readers)| (path.clone(), kept(&path, &readers))).collect();
        self.pin(branch, pin, &named)
    }

    /// Accepts the readers and the data key of a file that the owner is committing, sealed by another program perhaps,
    /// unless an envelope of it came by a commit of somebody's.
    pub(in super::super) fn adopt_file(
        &self,
        branch: &str,
        (path, blob): (&str, &str),
        groups: &KeyGroups,
    ) -> Result<(), Error> {
        self.begin()?;
        let (pinned, readers) = (self.pinned()?, of_groups(groups));
        let key = self.keyring.native_data_key(groups);
        let known = |key: &DataKey| self.accepted().has(groups, key);
        if key.as_ref().is_some_and(known) || self.is_in_history(groups) {
            // A file of the owner's may have been renamed.
            let is_for_another =
                pinned.known().iter().any(|known| known.pin.sealed.values().any(|all| *all == readers));
            if !is_for_another || self.came_at(path, blob) {
                return Ok(());
            }
        } else {
            self.accepted().note(groups, key.as_ref());
            self.accepted().keep()?;
        }
        if matches!(*pinned, Pinned::Branch(_)) && readers.is_subset(&self.known(&pinned, Some(path))?) {
            return Ok(());
        }
        let mut pin = pinned.own_pin(|| self.config()).unwrap_or_default();
        pin.sealed.entry(path.to_owned()).or_default().extend(readers.iter().cloned());
        self.pin(branch, pin, &readers)
    }

    /// Whether a commit that was fetched or made has a blob at a path.
    fn came_at(&self, path: &str, blob: &str) -> bool {
        let git = self.repository.git();
        let object = format!("--find-object={blob}");
        let mut words = vec!["log", "-1", "--format=%H", "--no-textconv", "--all"];
        words.extend(self.coming().iter());
        words.extend([object.as_str(), "--", path]);
        git.text(&words).map_or(true, |found| !found.is_empty())
    }

    /// Commits that no branch need have.
    fn coming(&self) -> Vec<&'static str> {
        let names = MERGED.into_iter().chain(["FETCH_HEAD"]);
        names.filter(|name| self.repository.commit_named(name).is_some()).collect()
    }

    /// Whether an envelope stands in any commit that was fetched, at whatever path.
    fn is_in_history(&self, groups: &KeyGroups) -> bool {
        let git = self.repository.git();
        let mut envelopes = groups.groups().iter().flat_map(|group| &group.envelopes);
        envelopes.any(|envelope| {
            let mut lines = envelope.enc.lines().filter(|line| !line.starts_with("-----") && line.len() > 20);
            let Some(line) = lines.next_back() else { return true };
            let mut words = vec!["log", "-1", "--format=%H", "--no-textconv", "--all"];
            words.extend(self.coming().iter());
            words.extend(["-S", line, "--"]);
            git.text(&words).map_or(true, |found| !found.is_empty())
        })
    }

    /// Accepts attributes that the owner is committing, or that a file of them goes, unless that came by a commit of
    /// somebody's.
    pub(in super::super) fn adopt_attributes(
        &self,
        branch: &str,
        path: &str,
        text: Option<String>,
    ) -> Result<(), Error> {
        self.begin()?;
        let came = |revision: &String| {
            let other = self.repository.file_at(revision, path);
            let other = other.map(|other| String::from_utf8_lossy(&other).into_owned());
            self.repository.commit_named(revision).is_some() && other == text
        };
        let Some(mut pin) = self.pins.read(branch).map_err(Error::Record)? else { return Ok(()) };
        if self.revisions().iter().any(came) {
            return Ok(());
        }
        match text {
            Some(text) => pin.attributes.insert(path.to_owned(), text),
            None => pin.attributes.remove(path),
        };
        self.write(branch, &pin)
    }

    fn write(&self, branch: &str, pin: &Pin) -> Result<(), Error> {
        *self.pinned.borrow_mut() = None;
        self.pins.write(branch, pin).map_err(Error::Record)
    }

    fn pin(&self, branch: &str, mut pin: Pin, readers: &Readers) -> Result<(), Error> {
        pin.readers.extend(readers.iter().cloned());
        if pin.attributes.is_empty()
            && let Some(text) = self.repository.file_at(&self.tip(), ATTRIBUTES)
        {
            pin.attributes.insert(ATTRIBUTES.to_owned(), String::from_utf8_lossy(&text).into_owned());
        }
        self.write(branch, &pin)
    }

    /// Fails if a value stays clear by a rule that came by a commit, where the accepted rule would seal it.
    pub(super) fn refuse_weaker(
        &self,
        file: File<'_>,
        own: &Rule,
        old: Option<&Sealed<'_>>,
    ) -> Result<(), Error> {
        let pinned = self.pinned()?;
        let mut wanted: Vec<Rule> = pinned.known().iter().map(|known| known.rules.of(file.path)).collect();
        if matches!(*pinned, Pinned::Nothing) {
            wanted.push(Pin::default().rules().of(file.path));
        }
        let clear = |wanted: Rule| sops::left_clear(file.content, file.format, [own, &wanted], old);
        let Some(leaf) = wanted.into_iter().find_map(clear) else { return Ok(()) };
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
        let mut revisions = self.branch().map(|branch| self.remotes(&branch)).unwrap_or_default();
        revisions.push(self.tip());
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
        let committed = self.repository.file_at(&self.tip(), CONFIG);
        String::from_utf8_lossy(&committed.or_else(|| self.in_tree(CONFIG)).unwrap_or_default()).into_owned()
    }

    /// A file of the work tree, where that is what is changed.
    fn in_tree(&self, path: &str) -> Option<Vec<u8>> {
        match self.at {
            At::WorkTree => std::fs::read(self.repository.work_tree().ok()?.join(path)).ok(),
            At::Branch(_) => None,
        }
    }
}
