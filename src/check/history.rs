//! Plaintext that the history keeps, whatever the last commits say.

use std::collections::{BTreeMap, BTreeSet};

use crate::format::Format;
use crate::git::Git;
use crate::git::history::{Commit, commits};

use super::copies::Keep;
use super::examine::Spot;
use super::guard::protected;
use super::place::Place;
use super::tree::must_be_clear;
use super::{Checker, Error, Finding, Rule, secrets};

/// A file in clear, and the branches from which it can be reached.
#[derive(Debug)]
struct Leak {
    commit: String,
    what: What,
    places: BTreeSet<String>,
}

/// How a file stands in clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    /// From before it was protected, and nothing in it looks like a secret or is encrypted now.
    Before,
    /// All of it.
    All,
    /// A value of it.
    Value,
    /// Nobody can tell, as it is not here.
    NotHere,
}

/// The files in clear in the history of these places, each with the first commit that has it.
///
/// A path counts if it is protected in its own commit or in the branch's last.
pub fn history(checker: &Checker<'_>, git: &Git, places: &[Place]) -> Result<Vec<Finding>, Error> {
    let mut leaks = BTreeMap::<(String, String), Leak>::new();
    for place in places.iter().filter(|place| !place.is_index()) {
        let Some(tip) = &place.commit else { continue };
        let files = checker.repository.files(tip)?;
        let now = checker.protection(&files)?;
        let keep = Keep::of(checker, protected(&files, &now));
        for commit in commits(git, &[tip])? {
            for (path, blob, what) in in_clear(checker, &commit, &keep, &|path| now.of(path).filtered)? {
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
    keep: &Keep<'_>,
    now: &dyn Fn(&[u8]) -> bool,
) -> Result<Vec<(String, String, What)>, Error> {
    let new = commit.changes.iter().filter_map(|change| Some((&change.path, change.new.as_ref()?)));
    let mut found = Vec::new();
    let mut then = None;
    for (path, blob) in new {
        let name = String::from_utf8_lossy(path).into_owned();
        if must_be_clear(&name) {
            continue;
        }
        if then.is_none() {
            then = Some(checker.protection(&checker.repository.files(&commit.name)?)?);
        }
        let protected_then = then.as_ref().is_some_and(|then| then.of(path).filtered);
        let protected = protected_then || now(path);
        let examined = checker.examine(path, blob, protected)?;
        let has = |rule| examined.spots.iter().any(|spot: &Spot| spot.rule == rule);
        if protected && has(Rule::Plaintext) {
            let harmless = !protected_then && is_harmless(checker, keep, &name, blob)?;
            let what = if harmless { What::Before } else { What::All };
            found.push((name, blob.clone(), what));
        } else if protected && has(Rule::PlaintextValue) {
            found.push((name, blob.clone(), What::Value));
        } else if protected && has(Rule::NotHere) {
            found.push((name, blob.clone(), What::NotHere));
        }
    }
    Ok(found)
}

/// The files that a commit brought in clear and that must not be so, `now` or by its own attributes; files of
/// values are left out in which nothing looks like a secret.
pub(super) fn secrets_in_clear(
    checker: &Checker<'_>,
    commit: &Commit,
    keep: &Keep<'_>,
    now: &dyn Fn(&[u8]) -> bool,
) -> Result<Vec<String>, Error> {
    let found = in_clear(checker, commit, keep, now)?;
    let is_secret = |(path, _, what): &(String, String, What)| match what {
        What::All | What::Value => true,
        // What is encrypted as a whole is one secret.
        What::Before => Format::of_path(path) == Format::Binary,
        What::NotHere => false,
    };
    Ok(found.into_iter().filter(is_secret).map(|(path, ..)| path).collect())
}

/// Whether nothing in a file looks like a secret, or is encrypted now as far as a key tells.
fn is_harmless(checker: &Checker<'_>, keep: &Keep<'_>, path: &str, blob: &str) -> Result<bool, Error> {
    let content = checker.repository.blob_named(blob)?;
    let clean = std::str::from_utf8(&content).is_ok_and(|text| !secrets::may_hold_any(path, text));
    Ok(clean && keep.copied(path.as_bytes(), blob, None)?.is_none())
}

fn finding(path: String, leak: &Leak) -> Finding {
    let places: Vec<&str> = leak.places.iter().map(String::as_str).collect();
    let (rule, what) = match leak.what {
        What::Before => (Rule::ClearBefore, "in clear from before it was protected,"),
        What::All => (Rule::PlaintextHistory, "in clear"),
        What::NotHere => (Rule::NotHere, "not in this partial clone, so that it was not looked at,"),
        What::Value => (Rule::PlaintextHistory, "with a value in clear"),
    };
    let message = format!(
        "{what} since commit {:.10}, which can still be reached from {}",
        leak.commit,
        places.join(", ")
    );
    let place = places.first().copied().unwrap_or_default().to_owned();
    Finding { rule, place, staged: false, path: Some(path), line: None, message }
}
