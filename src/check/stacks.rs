//! What the `x-hlx` of a stack names: other stacks, and services of its own.

use std::collections::{BTreeMap, BTreeSet};

use super::compose::{self, Compose};
use super::examine::Spot;
use super::tree::{File, Tree};
use super::{Checker, Error, Finding, Rule};

/// What the `x-hlx` of a compose file says that must agree with something else.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct StackSettings {
    /// The hosts that the stack is for; empty for any.
    pub hosts: Vec<String>,
    /// The stacks that are deployed before it.
    pub after: Vec<String>,
    /// The services in whose containers probes run programs.
    pub probed: Vec<String>,
}

/// Names that lead nowhere, or in a circle.
pub(super) fn find(checker: &Checker<'_>, trees: &[&Tree]) -> Result<Vec<Finding>, Error> {
    let known = branches(checker, trees)?;
    let mut after = BTreeMap::<&str, Vec<&str>>::new();
    for (tree, _, said) in trees.iter().flat_map(|tree| said(tree)) {
        after.entry(&tree.place.name).or_default().extend(said.settings.after.iter().map(String::as_str));
    }
    let mut findings = Vec::new();
    for (tree, file, said) in trees.iter().flat_map(|tree| said(tree)) {
        // What an encrypted file holds is not shown.
        let shown = |name: &str| if said.hidden { "something".to_owned() } else { format!("`{name}`") };
        let unknown = said.settings.after.iter().filter(|name| !known.contains(*name));
        let unknown =
            unknown.map(|name| format!("`x-hlx.after` names {}, which is no branch here", shown(name)));
        let circle = circle(&after, &tree.place.name, &said.settings.after).map(|way| match said.hidden {
            true => "`x-hlx.after` leads back to its own stack".to_owned(),
            false => format!("`x-hlx.after` leads back to its own stack: {}", way.join(" after ")),
        });
        let of_after = unknown.chain(circle).map(|message| (Rule::After, message));
        let of_probes = unknown_services(tree, said).into_iter().map(|name| {
            let name = shown(name);
            (Rule::Settings, format!("`x-hlx.probes` names {name}, which is no service of the stack"))
        });
        let spot = |(rule, message)| Spot { rule, line: said.settings_line, message };
        findings.extend(of_after.chain(of_probes).map(|found| tree.finding(Some(&file.path), spot(found))));
    }
    Ok(findings)
}

/// The compose files of a tree.
fn said(tree: &Tree) -> impl Iterator<Item = (&Tree, &File, &Compose)> {
    compose::counting(tree).filter_map(move |file| Some((tree, file, file.examined.compose.as_ref()?)))
}

/// Every branch, also of remotes, and those that are just beginning.
fn branches(checker: &Checker<'_>, trees: &[&Tree]) -> Result<BTreeSet<String>, Error> {
    let mut known: BTreeSet<String> = trees.iter().map(|tree| tree.place.name.clone()).collect();
    known.extend(checker.repository.local_branches()?.into_iter().map(|tip| tip.name));
    for tip in checker.repository.remote_branches()? {
        known.extend(checker.repository.of_remote(&tip.name).map(|(_, branch)| branch.to_owned()));
    }
    Ok(known)
}

/// The way from a stack by what it comes after, back to itself.
fn circle<'n>(
    after: &BTreeMap<&'n str, Vec<&'n str>>,
    stack: &'n str,
    first: &'n [String],
) -> Option<Vec<&'n str>> {
    let mut seen = BTreeSet::new();
    let mut ways: Vec<Vec<&str>> = first.iter().map(|next| vec![stack, next.as_str()]).collect();
    while let Some(way) = ways.pop() {
        let last = *way.last()?;
        if last == stack {
            return Some(way);
        }
        if seen.insert(last) {
            let further = after.get(last).into_iter().flatten();
            ways.extend(further.map(|next| [&way[..], &[*next]].concat()));
        }
    }
    None
}

/// Services that probes name and no file of the stack has; nothing where a file takes in others.
fn unknown_services<'s>(tree: &Tree, said: &'s Compose) -> Vec<&'s str> {
    let all: Vec<&Compose> = self::said(tree).map(|(_, _, compose)| compose).collect();
    if all.iter().any(|compose| compose.includes) {
        return Vec::new();
    }
    let is_there = |name: &str| all.iter().any(|compose| compose.services.iter().any(|known| known == name));
    let probed = said.settings.probed.iter().map(String::as_str);
    // An encrypted name is looked up when it is open.
    probed.filter(|name| !name.starts_with("ENC[") && !is_there(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn circles_are_found_from_each_of_their_stacks_only() {
        type Stacks = &'static [(&'static str, &'static [&'static str])];
        let table: [(Stacks, &str, Option<&str>); 5] = [
            (&[("a", &["b"]), ("b", &[])], "a", None),
            (&[("a", &["a"])], "a", Some("a a")),
            (&[("a", &["b"]), ("b", &["a"])], "b", Some("b a b")),
            (&[("a", &["b"]), ("b", &["c"]), ("c", &["b"])], "a", None),
            (&[("a", &["b", "d"]), ("b", &["c"]), ("c", &["a"]), ("d", &[])], "c", Some("c a b c")),
        ];
        for (stacks, stack, expected) in table {
            let after: BTreeMap<&str, Vec<&str>> =
                stacks.iter().map(|(name, after)| (*name, after.to_vec())).collect();
            let first: Vec<String> = after[stack].iter().map(|name| (*name).to_owned()).collect();
            let way = circle(&after, stack, &first).map(|way| way.join(" "));
            assert_eq!(way.as_deref(), expected, "{stacks:?}");
        }
    }
}
