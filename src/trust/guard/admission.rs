//! Who and what counts on a branch: what was accepted, and what the owner has just written.

use std::collections::BTreeSet;

use crate::crypto::DataKey;
use crate::policy::Rule;
use crate::policy::creation::Config;
use crate::sops::{self, KeyGroups, Sealed};

use super::super::pending::same_rules;
use super::super::pins::Pin;
use super::super::readers::{Readers, named_in, of_groups};
use super::super::{ATTRIBUTES, CONFIG, Error, of_remote};
use super::{At, File, Guard, Origin};

/// Commits besides a branch's own that may have brought what stands in the work tree.
pub(in super::super) const MERGED: [&str; 4] =
    ["MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "REBASE_HEAD"];

/// What was accepted for the commit that is worked on.
enum Accepted {
    /// For its branch.
    Branch(Pin),
    /// For the branches that it has its history in common with.
    Family(Vec<Pin>),
    /// There is no commit yet.
    Unborn,
    /// Nothing.
    Nothing,
}

impl Guard<'_> {
    /// Fails if a reader is neither one's own, nor accepted, nor just written into the rules here.
    pub(super) fn admit(&self, readers: Readers, origin: Origin) -> Result<(), Error> {
        if self.admitted.borrow().contains(&readers) {
            return Ok(());
        }
        let accepted = self.pinned()?;
        let mut strangers = &readers - &self.known(&accepted)?;
        let new = !strangers.is_empty();
        if origin == Origin::Commit && new {
            strangers = &strangers - &self.of_merged_branches();
        }
        if origin == Origin::Rules && new {
            strangers = self.brought(strangers);
        }
        if !strangers.is_empty() {
            return Err(Error::Strangers { branch: self.name(), readers: strangers.into_iter().collect() });
        }
        let is_kept = matches!(accepted, Accepted::Branch(_)) && !new;
        if let (Some(branch), Some(pin), false) = (self.branch(), self.own_pin(accepted), is_kept) {
            self.pin(&branch, pin, &readers)?;
        }
        self.admitted.borrow_mut().push(readers);
        Ok(())
    }

    /// What a branch begins with that has no word of its own. Several others that it could go by differ, and what holds on
    /// one of them only is not to hold here.
    fn own_pin(&self, accepted: Accepted) -> Option<Pin> {
        match accepted {
            Accepted::Branch(pin) => Some(pin),
            Accepted::Family(pins) => <[Pin; 1]>::try_from(pins).ok().map(|[pin]| pin),
            Accepted::Unborn => Some(Pin { config: self.config(), ..Pin::default() }),
            Accepted::Nothing => None,
        }
    }

    /// What was accepted. A branch without a word of its own goes by those it has its first commit in common with.
    fn pinned(&self) -> Result<Accepted, Error> {
        self.pinned_at(&self.tip())
    }

    fn pinned_at(&self, commit: &str) -> Result<Accepted, Error> {
        self.begin()?;
        if let Some(branch) = self.branch()
            && let Some(pin) = self.pins.read(&branch).map_err(Error::Record)?
        {
            return Ok(Accepted::Branch(pin));
        }
        if self.repository.commit_named(commit).is_none() {
            return Ok(Accepted::Unborn);
        }
        let git = self.repository.git();
        let roots = git.text(&["rev-list", "--max-parents=0", commit, "--"])?;
        let mut branches = BTreeSet::new();
        for root in roots.lines() {
            let refs =
                ["for-each-ref", "--format=%(refname)", "--contains", root, "refs/heads", "refs/remotes"];
            for name in git.text(&refs)?.lines() {
                let local = name.strip_prefix("refs/heads/");
                let remote = || of_remote(self.repository, name.strip_prefix("refs/remotes/")?);
                branches.extend(local.or_else(remote).map(str::to_owned));
            }
        }
        let mut pins = Vec::new();
        for branch in branches {
            let pin = self.pins.read(&branch).map_err(Error::Record)?;
            pins.extend(pin.filter(|pin| !pins.contains(pin)));
        }
        Ok(if pins.is_empty() { Accepted::Nothing } else { Accepted::Family(pins) })
    }

    /// What was accepted for a commit of the branch: of several branches, whoever reads all of them, and what holds on
    /// each.
    pub(in super::super) fn accepted_at(&self, commit: &str) -> Result<(Readers, Vec<Pin>), Error> {
        let accepted = self.pinned_at(commit)?;
        let known = self.known(&accepted)?;
        let pins = match accepted {
            Accepted::Branch(pin) => vec![pin],
            Accepted::Family(pins) => pins,
            Accepted::Unborn | Accepted::Nothing => Vec::new(),
        };
        Ok((known, pins))
    }

    /// Whoever may read what is changed here; of several branches, whoever reads all of them.
    fn known(&self, accepted: &Accepted) -> Result<Readers, Error> {
        let mut known = match accepted {
            Accepted::Branch(pin) => pin.readers.clone(),
            Accepted::Family(pins) => {
                let all = pins.iter().map(|pin| pin.readers.clone());
                all.reduce(|one, other| &one & &other).unwrap_or_default()
            }
            // Whoever reads another branch may read a new one of the owner's.
            Accepted::Unborn => self.pins.everyone().map_err(Error::Record)?,
            Accepted::Nothing => Readers::new(),
        };
        known.extend(self.keyring.recipients().iter().map(ToString::to_string));
        Ok(known)
    }

    /// Those of these readers who stand in a `.sops.yaml` that a commit brought, be it a broken one.
    fn brought(&self, readers: Readers) -> Readers {
        let committed = self.committed();
        let named: Readers = committed.iter().flat_map(|config| named_in(config)).collect();
        let stands = |reader: &String| {
            named.contains(reader) || committed.iter().any(|config| config.contains(reader.as_str()))
        };
        readers.into_iter().filter(stands).collect()
    }

    /// Whoever is accepted on a local branch that the owner is merging into this one. A commit that remotes have for
    /// this very branch is not such a branch, whatever else it is.
    fn of_merged_branches(&self) -> Readers {
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
    /// Whoever is in neither rules nor files any more has to be accepted again.
    pub(in super::super) fn adopt_rules(
        &self,
        branch: &str,
        text: String,
        sealed: &Readers,
    ) -> Result<(), Error> {
        let readers = named_in(&text);
        self.admit(readers.clone(), Origin::Rules)?;
        let mut pin = self.pins.read(branch).map_err(Error::Record)?.unwrap_or_default();
        let committed = self.committed();
        // Rules of somebody's that still wait would be accepted with the owner's next comment.
        let wait = committed.iter().any(|config| !pin.config.is_empty() && !same_rules(&pin.config, config));
        if !wait && !committed.contains(&text) {
            pin.config = text;
        }
        pin.readers.retain(|reader| readers.contains(reader) || sealed.contains(reader));
        self.pin(branch, pin, &readers)
    }

    /// Accepts the readers and the data key of a file that the owner is committing, sealed by another program perhaps,
    /// unless an envelope of it came by a commit of somebody's.
    pub(in super::super) fn adopt_file(&self, branch: &str, groups: &KeyGroups) -> Result<(), Error> {
        self.begin()?;
        let key = self.keyring.native_data_key(groups);
        let known = |key: &DataKey| self.accepted().has(groups, key);
        if key.as_ref().is_some_and(known) || self.is_in_history(groups) {
            return Ok(());
        }
        self.accepted().note(groups, key.as_ref());
        self.accepted().keep()?;
        let (accepted, readers) = (self.pinned()?, of_groups(groups));
        match accepted {
            Accepted::Branch(pin) if readers.is_subset(&pin.readers) => Ok(()),
            accepted => self.pin(branch, self.own_pin(accepted).unwrap_or_default(), &readers),
        }
    }

    /// Whether an envelope stands in any commit that was fetched, at whatever path.
    fn is_in_history(&self, groups: &KeyGroups) -> bool {
        let git = self.repository.git();
        let mut envelopes = groups.groups().iter().flat_map(|group| &group.envelopes);
        envelopes.any(|envelope| {
            let mut lines = envelope.enc.lines().filter(|line| !line.starts_with("-----") && line.len() > 20);
            let Some(line) = lines.next_back() else { return true };
            let mut words = vec!["log", "-1", "--format=%H", "--no-textconv", "--all"];
            let coming = [MERGED.as_slice(), &["FETCH_HEAD"]].concat();
            words.extend(coming.into_iter().filter(|name| self.repository.commit_named(name).is_some()));
            words.extend(["-S", line, "--"]);
            git.text(&words).map_or(true, |found| !found.is_empty())
        })
    }

    /// Accepts attributes that the owner is committing, unless they came by a commit of somebody's.
    pub(in super::super) fn adopt_attributes(
        &self,
        branch: &str,
        path: &str,
        text: String,
    ) -> Result<(), Error> {
        self.begin()?;
        let came = |revision: &String| {
            self.repository
                .file_at(revision, path)
                .is_some_and(|other| String::from_utf8_lossy(&other) == text)
        };
        let Some(mut pin) = self.pins.read(branch).map_err(Error::Record)? else { return Ok(()) };
        if self.revisions().iter().any(came) {
            return Ok(());
        }
        pin.attributes.insert(path.to_owned(), text);
        self.pins.write(branch, &pin).map_err(Error::Record)
    }

    fn pin(&self, branch: &str, mut pin: Pin, readers: &Readers) -> Result<(), Error> {
        pin.readers.extend(readers.iter().cloned());
        if pin.attributes.is_empty()
            && let Some(text) = self.repository.file_at(&self.tip(), ATTRIBUTES)
        {
            pin.attributes.insert(ATTRIBUTES.to_owned(), String::from_utf8_lossy(&text).into_owned());
        }
        self.pins.write(branch, &pin).map_err(Error::Record)
    }

    /// Fails if a value stays clear by a rule that came by a commit, where the accepted rule would seal it.
    pub(super) fn refuse_weaker(
        &self,
        file: File<'_>,
        own: &Rule,
        old: Option<&Sealed<'_>>,
    ) -> Result<(), Error> {
        if self.rules.get().is_none() {
            let rules = match self.pinned()? {
                Accepted::Branch(pin) => vec![pin.rules()],
                Accepted::Family(pins) => pins.iter().map(Pin::rules).collect(),
                Accepted::Unborn => Vec::new(),
                Accepted::Nothing => vec![Pin::default().rules()],
            };
            let _ = self.rules.set(rules);
        }
        let wanted = self.rules.get().into_iter().flatten().map(|rules| rules.of(file.path));
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
        let tree = || std::fs::read(self.repository.work_tree().ok()?.join(CONFIG)).ok();
        let here = match self.at {
            At::WorkTree => tree(),
            At::Branch(_) => None,
        };
        String::from_utf8_lossy(&committed.or(here).unwrap_or_default()).into_owned()
    }
}
