//! What others pushed, and nobody accepted in this clone: readers, rules, attributes.

use crate::trust::{self, Brought, Pending};

use super::examine::{CONFIG, Spot, short};
use super::place::Place;
use super::{Checker, Error, Finding, Rule};

/// What waits to be accepted on branches. Nothing does in a clone where nothing was accepted yet, as in CI.
pub(super) fn find(checker: &Checker<'_>, places: &[Place]) -> Result<Vec<Finding>, Error> {
    let (repository, keyring) = (checker.repository, checker.keyring);
    let tips: Vec<(&Place, &str, &str)> = places
        .iter()
        .filter(|place| !place.is_index())
        .filter_map(|place| {
            let branch = repository.of_remote(&place.name).map_or(place.name.as_str(), |(_, branch)| branch);
            Some((place, branch, place.commit.as_deref()?))
        })
        .collect();
    let wanted: Vec<(&str, &str)> = tips.iter().map(|(_, branch, commit)| (*branch, *commit)).collect();
    let waiting = trust::waiting(repository, keyring, &wanted)?;
    let findings = tips.iter().zip(&waiting).flat_map(|((place, ..), pending)| of_branch(place, pending));
    Ok(findings.collect())
}

fn of_branch(place: &Place, pending: &Pending) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut add = |path: Option<&str>, what: String, by: &str| {
        let by = if by.is_empty() { String::new() } else { format!("; brought by {by}") };
        let spot = Spot::new(Rule::NotAccepted, format!("{what}, which was not accepted here{by}"));
        found.push(Finding {
            rule: spot.rule,
            place: place.name.clone(),
            staged: false,
            path: path.map(str::to_owned),
            line: None,
            message: spot.message,
        });
    };
    for Brought { what, by } in &pending.readers {
        add(None, format!("{} can read it", short(what)), by);
    }
    for Brought { what: (reader, more), by } in &pending.moved {
        add(None, format!("{} can read {more} too", short(reader)), by);
    }
    if let Some(Brought { what: (), by }) = &pending.rules {
        add(Some(CONFIG), "it has other rules".to_owned(), by);
    }
    if let Some(Brought { what: (), by }) = &pending.attributes {
        add(Some(".gitattributes"), "it protects other files".to_owned(), by);
    }
    found
}
