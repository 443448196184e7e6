//! What git's hooks ask: is anything in clear or broken among the files that are about to be committed,
//! pushed or taken in?

use std::collections::HashMap;

use crate::git::branch::Entry;
use crate::git::history::{Change, Commit, commits};
use crate::git::{Git, Protection};
use crate::trust::untracked;

use super::examine::{CONFIG, Spot};
use super::place::{Kind, Place};
use super::tree::{must_be_clear, of_index};
use super::{Checker, Error, Finding, Rule, signed};

/// A ref that a push moves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// The commit that it stood at; none for a new ref.
    pub old: Option<String>,
    /// The commit that it shall stand at; none if it is deleted.
    pub new: Option<String>,
    /// Its name.
    pub name: String,
}

/// Whose word a change of readers or rules needs.
#[derive(Debug, Clone, Copy)]
pub enum Signers<'a> {
    /// Nobody's.
    Anyone,
    /// A signature that `git verify-commit` accepts, with this file of allowed signers if it is given.
    Allowed(Option<&'a str>),
}

/// A file about to be taken in, beside what was there before.
struct Candidate<'a> {
    path: &'a [u8],
    new: &'a str,
    old: Option<&'a str>,
    /// Attributes say that it must be sealed.
    protected: bool,
    conversion: Option<&'static str>,
}

/// What must not be committed of the index: of the files that differ from HEAD, or are protected only now.
pub fn staged(checker: &Checker<'_>) -> Result<Vec<Finding>, Error> {
    let head = checker.repository.head_commit();
    let before = match &head {
        Some(commit) => checker.repository.files(commit)?,
        None => Vec::new(),
    };
    let was_protected = checker.protection(&before)?;
    let before: HashMap<&[u8], &str> =
        before.iter().map(|file| (file.path.as_slice(), file.blob.as_str())).collect();
    let name = checker.repository.branch().unwrap_or_else(|| "HEAD".to_owned());
    let mut findings = Vec::new();
    for (file, attributes) in of_index(checker)? {
        let old = before.get(file.path.as_slice()).copied();
        let newly = attributes.filtered && !was_protected.of(&file.path).filtered;
        if old == Some(file.blob.as_str()) && !newly {
            continue;
        }
        let candidate = Candidate {
            path: &file.path,
            new: &file.blob,
            old,
            protected: attributes.filtered,
            conversion: attributes.conversion,
        };
        findings.extend(judge(checker, &candidate, &name)?.map(|found| Finding { staged: true, ..found }));
    }
    Ok(findings)
}

/// What must not be pushed: of the files that these commits bring.
pub fn pushed(checker: &Checker<'_>, git: &Git, words: &[&str]) -> Result<Vec<Finding>, Error> {
    let mut findings = Vec::new();
    for commit in commits(git, words)? {
        findings.extend(brought(checker, &commit)?);
    }
    Ok(findings)
}

/// What must not be taken in by a push, in a repository that need not have a key.
pub fn received(
    checker: &Checker<'_>,
    git: &Git,
    updates: &[Update],
    signers: Signers<'_>,
) -> Result<Vec<Finding>, Error> {
    let mut findings = Vec::new();
    for update in updates {
        let Some(new) = update.new.as_deref() else { continue };
        let commits = commits(git, &[new, "--not", "--all"])?;
        for commit in &commits {
            findings.extend(brought(checker, commit)?);
        }
        if let Signers::Allowed(file) = signers {
            findings.extend(signed::refused(checker, git, update, &commits, file)?);
        }
    }
    Ok(findings)
}

/// What is wrong with the files that a commit brought, and with those that it is the first to protect.
fn brought(checker: &Checker<'_>, commit: &Commit) -> Result<Vec<Finding>, Error> {
    if commit.changes.is_empty() {
        return Ok(Vec::new());
    }
    let files = checker.repository.files(&commit.name)?;
    let now = checker.protection(&files)?;
    let newly = newly_protected(checker, commit, &files, &now)?;
    let changed = commit.changes.iter().filter_map(|change| {
        let attributes = now.of(&change.path);
        Some(Candidate {
            path: &change.path,
            new: change.new.as_deref()?,
            old: change.old.as_deref(),
            protected: attributes.filtered,
            conversion: attributes.conversion,
        })
    });
    let name = format!("{:.10}", commit.name);
    let mut findings = Vec::new();
    for candidate in changed.chain(newly) {
        findings.extend(judge(checker, &candidate, &name)?);
    }
    Ok(findings)
}

/// The files that a commit left as they were, and whose path it is the first to protect.
fn newly_protected<'f>(
    checker: &Checker<'_>,
    commit: &Commit,
    files: &'f [Entry],
    now: &Protection,
) -> Result<Vec<Candidate<'f>>, Error> {
    let is_source = |change: &Change| must_be_clear(&String::from_utf8_lossy(&change.path));
    let Some(parent) = commit.parents.first().filter(|_| commit.changes.iter().any(is_source)) else {
        return Ok(Vec::new());
    };
    let before = checker.protection(&checker.repository.files(parent)?)?;
    let is_new = |file: &&Entry| {
        let changed = commit.changes.iter().any(|change| change.path == file.path);
        file.is_file() && !changed && now.of(&file.path).filtered && !before.of(&file.path).filtered
    };
    let candidate = |file: &'f Entry| Candidate {
        path: &file.path,
        new: &file.blob,
        old: None,
        protected: true,
        conversion: now.of(&file.path).conversion,
    };
    Ok(files.iter().filter(is_new).map(candidate).collect())
}

/// The first thing that keeps a file out, if there is one.
fn judge(checker: &Checker<'_>, file: &Candidate<'_>, place: &str) -> Result<Option<Finding>, Error> {
    let path = String::from_utf8_lossy(file.path);
    let spot = match must_be_clear(&path) {
        true if path != CONFIG => None,
        clear => {
            let examined = checker.examine(file.path, file.new, file.protected && !clear)?;
            let stops = |spot: &&Spot| stops(spot.rule);
            let own = examined.spots.iter().find(stops).cloned();
            let exposed = !file.protected && !clear && examined.clear && was_sealed(checker, file)?;
            own.or_else(|| exposed.then(unprotected)).or_else(|| converted(file).filter(|_| !clear))
        }
    };
    let place = Place { name: place.to_owned(), commit: None, kind: Kind::Tip };
    Ok(spot.map(|spot| Finding {
        rule: spot.rule,
        place: place.name,
        staged: false,
        path: Some(path.into_owned()),
        line: spot.line,
        message: spot.message,
    }))
}

/// Whether it was sealed before, and nobody here said that it shall be in clear.
fn was_sealed(checker: &Checker<'_>, file: &Candidate<'_>) -> Result<bool, Error> {
    let Some(old) = file.old else { return Ok(false) };
    let meant = || untracked::is_meant(checker.repository, file.path, old);
    Ok(checker.examine(file.path, old, true)?.sealed && !meant())
}

fn unprotected() -> Spot {
    Spot::new(Rule::Unprotected, "it was encrypted, and is clear now: nothing protects it any more")
}

fn converted(file: &Candidate<'_>) -> Option<Spot> {
    let conversion = file.conversion.filter(|_| file.protected)?;
    Some(Spot::new(
        Rule::Conversion,
        format!("the attribute `{conversion}` lets git change the encrypted file"),
    ))
}

/// Whether a hook refuses what a rule finds.
fn stops(rule: Rule) -> bool {
    match rule {
        Rule::Plaintext
        | Rule::PlaintextValue
        | Rule::Unprotected
        | Rule::Broken
        | Rule::Altered
        | Rule::StaleMac
        | Rule::ConfigBroken
        | Rule::Conversion
        | Rule::Unsigned => true,
        Rule::PlaintextComment
        | Rule::PlaintextHistory
        | Rule::Abandoned
        | Rule::ReaderUnknown
        | Rule::ReaderLost
        | Rule::ReadersDiffer
        | Rule::ConfigGap
        | Rule::ConfigIdle
        | Rule::MustBeClear
        | Rule::ComposeInvalid
        | Rule::ComposeKey
        | Rule::Settings
        | Rule::PortConflict
        | Rule::EnvironmentFile
        | Rule::Environment
        | Rule::Token
        | Rule::LikelySecret => false,
    }
}
