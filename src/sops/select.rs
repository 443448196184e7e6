//! Which leaves of a document a rule seals.

use crate::format::{Document, Paths};
use crate::policy::Rule;

/// One answer per leaf: does the rule cover it? (Empty values stay clear all the same.)
pub(super) fn select(document: &Document, rule: &Rule) -> Vec<bool> {
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
