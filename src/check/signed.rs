//! Changes of power: who can read, and what is protected. A server can ask for a signature under them.
//!
//! A signature does not say which branch it was made for. So a signed commit counts for a branch only if it stands on
//! that branch's last commit, and is new to the server: what was signed for one branch cannot be put onto another.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::rc::Rc;

use crate::crypto::mac::Coverage;
use crate::git::Git;
use crate::git::history::{Change, Commit};
use crate::policy;
use crate::policy::creation::Config;
use crate::trust::{Readers, of_audience};

use super::examine::CONFIG;
use super::guard::Update;
use super::tree::must_be_clear;
use super::{Checker, Error, Finding, Rule};

/// The changes of power that an update brings and no allowed signer signed.
///
/// Every new commit is looked at, and then the branch's last commit beside its last one so far: a merge, or
/// a push that takes commits back, brings old rules again without a commit that changes them.
pub(super) fn refused(
    checker: &Checker<'_>,
    git: &Git,
    update: &Update,
    new: &[Commit],
    signers: Option<&str>,
) -> Result<Vec<Finding>, Error> {
    let judge = Judge { checker, git, signers, configs: RefCell::default() };
    let Some(now) = update.new.as_deref() else { return judge.deleted(update) };
    let mut findings = Vec::new();
    for commit in new {
        if let Some(change) = judge.first_change(commit)?
            && !judge.is_signed(&commit.name)?
        {
            findings.push(unsigned(&commit.name, &change.path, "it changes"));
        }
    }
    // Nobody adds to a tag.
    if findings.is_empty()
        && !update.name.starts_with("refs/tags/")
        && let Some(now) = checker.repository.commit_named(now)
    {
        findings = judge.unvouched(update, &now, new)?;
    }
    Ok(findings)
}

/// What a file decides.
#[derive(Debug, Clone, PartialEq)]
enum Power {
    /// It holds rules or attributes: whatever it says, known by its blob.
    Source(String),
    /// It is sealed: for whom, and by which rule.
    Sealed(Readers, Option<(policy::Rule, Coverage)>),
}

/// The files of a commit, by their paths: the names of their blobs.
type Blobs = BTreeMap<Vec<u8>, String>;

struct Judge<'j> {
    checker: &'j Checker<'j>,
    git: &'j Git,
    signers: Option<&'j str>,
    /// The `.sops.yaml` of commits.
    configs: RefCell<HashMap<String, Option<Rc<Config>>>>,
}

impl Judge<'_> {
    /// The first change of a commit that needs a signature.
    fn first_change<'c>(&self, commit: &'c Commit) -> Result<Option<&'c Change>, Error> {
        for change in &commit.changes {
            if self.counts(change, &commit.name)? {
                return Ok(Some(change));
            }
        }
        Ok(None)
    }

    /// Whether a change decides over readers or protection. A new encrypted file does not if it is as the rules of the
    /// commit say: if those are others than before, that counts by itself.
    fn counts(&self, change: &Change, commit: &str) -> Result<bool, Error> {
        if must_be_clear(&String::from_utf8_lossy(&change.path)) {
            return Ok(true);
        }
        let power = |blob: &Option<String>| self.power(&change.path, blob.as_deref());
        Ok(match (power(&change.old)?, power(&change.new)?) {
            (None, Some(new)) => !self.is_by_rules(&change.path, &new, commit)?,
            (Some(old), Some(new)) => old != new,
            (Some(_) | None, None) => false,
        })
    }

    fn power(&self, path: &[u8], blob: Option<&str>) -> Result<Option<Power>, Error> {
        let Some(blob) = blob else { return Ok(None) };
        if must_be_clear(&String::from_utf8_lossy(path)) {
            return Ok(Some(Power::Source(blob.to_owned())));
        }
        let file = self.checker.examine(path, blob, true)?;
        Ok(file.sealed.then(|| Power::Sealed(file.audience.clone(), file.rule.clone())))
    }

    /// Whether a file is sealed by the rule for its path in a commit, and for nobody else than that names.
    fn is_by_rules(&self, path: &[u8], power: &Power, commit: &str) -> Result<bool, Error> {
        let Power::Sealed(readers, rule) = power else { return Ok(false) };
        let Some(config) = self.config(commit)? else { return Ok(false) };
        let Ok(terms) = config.terms(&String::from_utf8_lossy(path)) else { return Ok(false) };
        let same = |rule: &(policy::Rule, Coverage)| *rule == (terms.rule.clone(), terms.coverage);
        Ok(readers.is_subset(&of_audience(&terms.audience)) && rule.as_ref().is_none_or(same))
    }

    /// The `.sops.yaml` of a commit, if it has one in good order.
    fn config(&self, commit: &str) -> Result<Option<Rc<Config>>, Error> {
        if let Some(known) = self.configs.borrow().get(commit) {
            return Ok(known.clone());
        }
        let blobs = self.blobs(commit)?;
        let text =
            blobs.get(CONFIG.as_bytes()).map(|blob| self.checker.repository.blob_named(blob)).transpose()?;
        let config = text.and_then(|text| Config::parse(&String::from_utf8_lossy(&text)).ok()).map(Rc::new);
        self.configs.borrow_mut().insert(commit.to_owned(), config.clone());
        Ok(config)
    }

    /// What a branch has otherwise than before, and no signed commit brought to it.
    fn unvouched(&self, update: &Update, now: &str, new: &[Commit]) -> Result<Vec<Finding>, Error> {
        let base = base(update, now, new);
        let before = base.map_or(Ok(Blobs::new()), |base| self.blobs(base))?;
        let after = self.blobs(now)?;
        let mut open = Vec::new();
        for change in between(&before, &after) {
            if self.counts(&change, now)? {
                open.push(change);
            }
        }
        if open.is_empty() {
            return Ok(Vec::new());
        }
        let on_top = self.on_top(base, now)?;
        for commit in new.iter().rev().filter(|commit| on_top.contains(&commit.name)) {
            let made = self.made(commit, &open)?;
            if !made.is_empty() && self.is_signed(&commit.name)? {
                open.retain(|change| !made.contains(&change.path));
            }
        }
        let finding = |change: &Change| unsigned(now, &change.path, "with it, the branch has other rules of");
        Ok(open.iter().map(finding).collect())
    }

    /// The commits in which a signature counts for a branch that stood at `base`.
    fn on_top(&self, base: Option<&str>, now: &str) -> Result<HashSet<String>, Error> {
        let list = match base {
            Some(base) => self.git.text(&["rev-list", "--ancestry-path", now, "--not", base])?,
            None => self.git.text(&["rev-list", "--first-parent", now])?,
        };
        Ok(list.lines().map(str::to_owned).collect())
    }

    /// The paths that a commit brought to what they decide in the end, by itself or by a merge.
    fn made(&self, commit: &Commit, changes: &[Change]) -> Result<Vec<Vec<u8>>, Error> {
        if commit.parents.len() < 2 && commit.changes.is_empty() {
            return Ok(Vec::new());
        }
        let own = self.blobs(&commit.name)?;
        let parents =
            commit.parents.iter().map(|parent| self.blobs(parent)).collect::<Result<Vec<_>, _>>()?;
        let mut made = Vec::new();
        for change in changes {
            let at = |blobs: &Blobs| self.power(&change.path, blobs.get(&change.path).map(String::as_str));
            let power = at(&own)?;
            let mut is_news = parents.is_empty();
            for parent in &parents {
                is_news |= at(parent)? != power;
            }
            if is_news && power == self.power(&change.path, change.new.as_deref())? {
                made.push(change.path.clone());
            }
        }
        Ok(made)
    }

    /// A branch that is deleted could come back as it once was, or as another is.
    fn deleted(&self, update: &Update) -> Result<Vec<Finding>, Error> {
        let old = update.old.as_deref().filter(|_| update.name.starts_with("refs/heads/"));
        let Some(old) = old.and_then(|old| self.checker.repository.commit_named(old)) else {
            return Ok(Vec::new());
        };
        for (path, blob) in self.blobs(&old)? {
            if self.power(&path, Some(&blob))?.is_some() {
                return Ok(vec![Finding {
                    rule: Rule::Unsigned,
                    place: update.name.clone(),
                    staged: false,
                    path: None,
                    line: None,
                    message: format!(
                        "{} has rules or encrypted files, and no signature says that it may go: it could come back with other readers",
                        update.name
                    ),
                }]);
            }
        }
        Ok(Vec::new())
    }

    /// The files of a commit; of links, those in the place of rules and attributes.
    fn blobs(&self, commit: &str) -> Result<Blobs, Error> {
        let files = self.checker.repository.files(commit)?.into_iter();
        let counts = files
            .filter(|file| file.is_file() || must_be_clear(&String::from_utf8_lossy(&file.path)))
            .map(|file| (file.path, file.blob));
        Ok(counts.collect())
    }

    fn is_signed(&self, commit: &str) -> Result<bool, Error> {
        let setting = self.signers.map(|file| format!("gpg.ssh.allowedSignersFile={file}"));
        let chosen = setting.iter().flat_map(|setting| ["-c", setting.as_str()]);
        let words: Vec<&str> = chosen.chain(["verify-commit", commit]).collect();
        Ok(self.git.test(&words)?)
    }
}

/// The commit that a branch stood at; that a new one begins with, if the server has it already.
fn base<'u>(update: &'u Update, now: &'u str, new: &'u [Commit]) -> Option<&'u str> {
    if let Some(old) = &update.old {
        return Some(old);
    }
    let new: HashMap<&str, &Commit> = new.iter().map(|commit| (commit.name.as_str(), commit)).collect();
    let mut at = now;
    while let Some(commit) = new.get(at) {
        at = commit.parents.first()?;
    }
    Some(at)
}

fn unsigned(commit: &str, path: &[u8], what: &str) -> Finding {
    Finding {
        rule: Rule::Unsigned,
        place: format!("{commit:.10}"),
        staged: false,
        path: Some(String::from_utf8_lossy(path).into_owned()),
        line: None,
        message: format!("{what} who can read or what is protected, and no allowed signer signed that"),
    }
}

/// How files differ from others.
fn between(old: &Blobs, new: &Blobs) -> Vec<Change> {
    let paths: BTreeSet<&Vec<u8>> = old.keys().chain(new.keys()).collect();
    let change = |path: &Vec<u8>| Change {
        path: path.clone(),
        old: old.get(path).cloned(),
        new: new.get(path).cloned(),
    };
    paths.into_iter().map(change).filter(|change| change.old != change.new).collect()
}
