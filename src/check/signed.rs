//! Changes of power: who can read, and what is protected. A server can ask for a signature under them.

use std::collections::BTreeMap;

use crate::git::Git;
use crate::git::history::{Change, Commit, commits};

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
    let mut findings = Vec::new();
    for commit in new {
        if let Some(change) = power(checker, &commit.changes)?.first()
            && !is_signed(git, &commit.name, signers)?
        {
            findings.push(unsigned(&commit.name, &change.path, "it changes"));
        }
    }
    let (Some(old), Some(now), true) = (&update.old, &update.new, findings.is_empty()) else {
        return Ok(findings);
    };
    let changes = between(checker, old, now)?;
    let changes = power(checker, &changes)?;
    if changes.is_empty() {
        return Ok(findings);
    }
    let since = commits(git, &[now, "--not", old])?;
    for change in changes {
        let made = since.iter().filter(|commit| {
            commit.changes.iter().any(|other| other.path == change.path && other.new == change.new)
        });
        let mut signed = false;
        for commit in made {
            signed |= is_signed(git, &commit.name, signers)?;
        }
        if !signed {
            findings.push(unsigned(now, &change.path, "with it, the branch has other rules of"));
        }
    }
    Ok(findings)
}

fn is_signed(git: &Git, commit: &str, signers: Option<&str>) -> Result<bool, Error> {
    let setting = signers.map(|file| format!("gpg.ssh.allowedSignersFile={file}"));
    let chosen = setting.iter().flat_map(|setting| ["-c", setting.as_str()]);
    let words: Vec<&str> = chosen.chain(["verify-commit", commit]).collect();
    Ok(git.test(&words)?)
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

/// How the files of one commit differ from those of another.
fn between(checker: &Checker<'_>, old: &str, new: &str) -> Result<Vec<Change>, Error> {
    let files = |commit| Ok::<_, Error>(checker.files(commit)?.into_iter().map(|(file, _)| file));
    let mut before: BTreeMap<_, _> = files(old)?.map(|file| (file.path, file.blob)).collect();
    let mut changes = Vec::new();
    for file in files(new)? {
        let old = before.remove(&file.path);
        if old.as_ref() != Some(&file.blob) {
            changes.push(Change { path: file.path, old, new: Some(file.blob) });
        }
    }
    changes.extend(before.into_iter().map(|(path, old)| Change { path, old: Some(old), new: None }));
    Ok(changes)
}

/// Those changes that decide over readers or protection: of `.sops.yaml`, of attributes, and of the readers or the
/// rule of a file that is sealed already.
fn power<'c>(checker: &Checker<'_>, changes: &'c [Change]) -> Result<Vec<&'c Change>, Error> {
    let mut found = Vec::new();
    for change in changes {
        if must_be_clear(&String::from_utf8_lossy(&change.path)) {
            found.push(change);
            continue;
        }
        let (Some(old), Some(new)) = (&change.old, &change.new) else { continue };
        let old = checker.examine(&change.path, old, true)?;
        let new = checker.examine(&change.path, new, true)?;
        if old.sealed && new.sealed && (old.readers != new.readers || old.rule != new.rule) {
            found.push(change);
        }
    }
    Ok(found)
}
