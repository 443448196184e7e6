//! Which leaves of a document a rule seals.

use crate::format::{Content, Document, Paths};
use crate::policy::Rule;

use super::Error;

/// One answer per leaf: does the rule cover it? (Empty values stay clear all the same.)
pub(super) fn select(document: &Document<'_>, rule: &Rule) -> Vec<bool> {
    let mut covered: Vec<bool> = Vec::new();
    for path in document.paths.all() {
        let answer = document
            .paths
            .split(path)
            .map_or_else(|| rule.at_top(), |(parent, key)| rule.below(covered[Paths::index(parent)], key));
        covered.push(answer);
    }
    document.leaves.iter().map(|leaf| covered[Paths::index(leaf.path)]).collect()
}

/// A rule of the user's own that covers nothing would leave everything clear.
pub(super) fn check_selection(rule: &Rule, document: &Document<'_>, covered: &[bool]) -> Result<(), Error> {
    let has_values = document.leaves.iter().any(|leaf| matches!(leaf.content, Content::Value(_)));
    if has_values && !covered.contains(&true) {
        let (field, text) = rule.field();
        return Err(Error::NothingSelected { field, text: text.to_owned() });
    }
    Ok(())
}
