//! Plaintext that the history keeps, whatever the last commits say.

use std::collections::{BTreeMap, BTreeSet};

use crate::git::Git;
use crate::git::history::{Commit, commits};

use super::examine::Spot;
use super::place::Place;
use super::tree::must_be_clear;
use super::{Checker, Error, Finding, Rule};

/// A file in clear, and the branches from which it can be reached.
#[derive(Debug)]
struct Leak {
    commit: String,
    what: &'static str,
    places: BTreeSet<String>,
}

/// The files in clear in the history of these places, each with the first commit that has it.
///
/// A path counts if it is protected in its own commit or in the branch's last.
pub fn history(checker: &Checker<'_>, git: &Git, places: &[Place]) -> Result<Vec<Finding>, Error> {
    let mut leaks = BTreeMap::<(String, String), Leak>::new();
    for place in places.iter().filter(|place| !place.is_index()) {
        let Some(tip) = &place.commit else { continue };
        let now = checker.protection(&checker.repository.files(tip)?)?;
        for commit in commits(git, &[tip])? {
            for (path, blob, what) in in_clear(checker, &commit, &|path| now.of(path).filtered)? {
                let leak = leaks.entry((path, blob)).or_insert_with(|| Leak {
                    commit: commit.name.clone(),
                    what,
                    places: BTreeSet::new(),
                });
                leak.places.insert(place.name.clone());
            }
        }
    }
    Ok(leaks.into_iter().map(|((path, _), leak)| finding(path, &leak)).collect())
}

/// The protected files that a commit brought in clear: path, blob, and what is wrong.
fn in_clear(
    checker: &Checker<'_>,
    commit: &Commit,
    now: &dyn Fn(&[u8]) -> bool,
) -> Result<Vec<(String, String, &'static str)>, Error> {
    let new = commit.changes.iter().filter_map(|change| Some((&change.path, change.new.as_ref()?)));
    let mut found = Vec::new();
    let mut then = None;
    for (path, blob) in new {
        let name = String::from_utf8_lossy(path).into_owned();
        if must_be_clear(&name) {
            continue;
        }
        if then.is_none() && !now(path) {
            then = Some(checker.protection(&checker.repository.files(&commit.name)?)?);
        }
        let protected = now(path) || then.as_ref().is_some_and(|then| then.of(path).filtered);
        let examined = checker.examine(path, blob, protected)?;
        let has = |rule| examined.spots.iter().any(|spot: &Spot| spot.rule == rule);
        if protected && has(Rule::Plaintext) {
            found.push((name, blob.clone(), "in clear"));
        } else if protected && has(Rule::PlaintextValue) {
            found.push((name, blob.clone(), "with a value in clear"));
        }
    }
    Ok(found)
}

fn finding(path: String, leak: &Leak) -> Finding {
    let places: Vec<&str> = leak.places.iter().map(String::as_str).collect();
    let message = format!(
        "{} since commit {:.10}, which can still be reached from {}",
        leak.what,
        leak.commit,
        places.join(", ")
    );
    let place = places.first().copied().unwrap_or_default().to_owned();
    Finding { rule: Rule::PlaintextHistory, place, staged: false, path: Some(path), line: None, message }
}
