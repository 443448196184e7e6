//! Files that were encrypted once, and are in clear now: an attribute was taken away, and nobody noticed.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::git::history::{Commit, commits};
use crate::sops::is_sealed;
use crate::trust::untracked;

use super::examine::Spot;
use super::place::{Kind, Place};
use super::{Checker, Error, Reach, Rule, secrets};

/// How many commits are looked through unless all are asked for.
const RECENT: &str = "--max-count=2000";

/// The commits of all places, read once.
#[derive(Debug, Default)]
pub(super) struct Past {
    commits: Vec<Commit>,
    places: HashMap<String, usize>,
}

impl Past {
    /// Reads it for these places.
    pub(super) fn of(checker: &Checker<'_>, places: &[Place], reach: Reach) -> Result<Self, Error> {
        let tips: Vec<&str> = places.iter().filter_map(|place| place.commit.as_deref()).collect();
        if tips.is_empty() {
            return Ok(Self::default());
        }
        let limit = match reach {
            Reach::Recent => Some(RECENT),
            Reach::All => None,
        };
        let words: Vec<&str> = limit.into_iter().chain(tips).collect();
        let commits = commits(&checker.repository.git(), &words)?;
        let places = commits.iter().enumerate().map(|(at, commit)| (commit.name.clone(), at)).collect();
        Ok(Self { commits, places })
    }

    /// What was encrypted on the way to a place, among files that are clear and not protected there: what to say
    /// of each.
    pub(super) fn exposed(
        &self,
        checker: &Checker<'_>,
        place: &Place,
        suspects: &HashMap<&[u8], &str>,
    ) -> Result<BTreeMap<Vec<u8>, Spot>, Error> {
        let mut last = HashMap::<&[u8], Sealed<'_>>::new();
        for commit in self.reachable(place) {
            for change in commit.changes.iter().filter(|change| suspects.contains_key(&*change.path)) {
                let Some(new) = &change.new else { continue };
                if checker.is_sealed(new)? {
                    last.insert(&change.path, Sealed { blob: new, until: None });
                } else if let Some(sealed) = last.get_mut(&*change.path) {
                    sealed.until.get_or_insert(&commit.name);
                }
            }
        }
        let mut found = BTreeMap::new();
        for (path, sealed) in last {
            if !checker.is_accepted(path, sealed.blob, suspects[path])? {
                found.insert(path.to_vec(), sealed.told(place));
            }
        }
        Ok(found)
    }

    /// The commits that a place stands on, oldest first.
    fn reachable(&self, place: &Place) -> Vec<&Commit> {
        let mut seen = HashSet::new();
        let at = |name: &String| self.places.get(name).copied();
        let mut open: Vec<usize> = place.commit.iter().filter_map(at).collect();
        while let Some(number) = open.pop() {
            if seen.insert(number) {
                open.extend(self.commits[number].parents.iter().filter_map(at));
            }
        }
        let all = self.commits.iter().enumerate();
        all.filter(|(number, _)| seen.contains(number)).map(|(_, commit)| commit).collect()
    }
}

/// The last version of a file that was encrypted.
struct Sealed<'p> {
    blob: &'p str,
    /// The first commit that has it in clear; none if only the index has.
    until: Option<&'p str>,
}

impl Sealed<'_> {
    fn told(&self, place: &Place) -> Spot {
        let when = match (self.until, place.kind) {
            (Some(commit), _) => format!("it was encrypted before commit {commit:.10}"),
            (None, Kind::Index) => "it was encrypted in the last commit".to_owned(),
            // A merge took the clear side.
            (None, Kind::Tip) => "it was encrypted on a side of a merge".to_owned(),
        };
        Spot::new(Rule::Unprotected, format!("{when}, and is clear now: nothing protects it any more"))
    }
}

impl Checker<'_> {
    fn is_sealed(&self, blob: &str) -> Result<bool, Error> {
        if let Some(known) = self.sealed.borrow().get(blob) {
            return Ok(*known);
        }
        let sealed = self.content(blob)?.is_some_and(|content| is_sealed(&content));
        self.sealed.borrow_mut().insert(blob.to_owned(), sealed);
        Ok(sealed)
    }

    /// Whether somebody said that a file shall be in clear: in this clone by `hlx untrack`, or in the file itself.
    fn is_accepted(&self, path: &[u8], sealed: &str, now: &str) -> Result<bool, Error> {
        let said = || {
            self.repository.blob_named(now).map(|text| secrets::is_allowed(&String::from_utf8_lossy(&text)))
        };
        Ok(untracked::is_meant(self.repository, path, sealed) || said()?)
    }
}
