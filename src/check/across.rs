//! What only shows between files and branches: one data key with several sets of readers, one port
//! for several services, stacks that name others.

use std::collections::{BTreeMap, BTreeSet};

use super::compose::{self, Claimed};
use super::examine::Spot;
use super::tree::{File, Tree};
use super::{Checker, Error, Finding, Rule, stacks};

/// What is wrong between these trees. Where the index is looked at, it stands for its branch.
pub(super) fn find(checker: &Checker<'_>, trees: &[Tree]) -> Result<Vec<Finding>, Error> {
    let mut findings = readers(trees);
    let staged = |name: &str| trees.iter().any(|tree| tree.place.is_index() && tree.place.name == name);
    let counting = trees.iter().filter(|tree| tree.place.is_index() || !staged(&tree.place.name));
    let counting: Vec<&Tree> = counting.collect();
    findings.extend(ports(checker, &counting)?);
    findings.extend(stacks::find(checker, &counting)?);
    Ok(findings)
}

/// Ports that two services claim of the same host. Each claim is held against those before it.
fn ports(checker: &Checker<'_>, trees: &[&Tree]) -> Result<Vec<Finding>, Error> {
    let mut roots = BTreeMap::new();
    let mut known: Vec<Port<'_>> = Vec::new();
    let mut findings = Vec::new();
    for port in trees.iter().flat_map(|tree| claims(tree)) {
        for other in &known {
            if port.collides(other) && !port.is_variant(other, checker, &mut roots)? {
                findings.push(port.finding(other));
                break;
            }
        }
        known.push(port);
    }
    Ok(findings)
}

/// A port that a service of a tree claims.
struct Port<'t> {
    tree: &'t Tree,
    file: &'t File,
    hosts: &'t [String],
    claimed: &'t Claimed,
}

/// The claims of a tree: those of the file that compose takes, and of its override.
fn claims(tree: &Tree) -> Vec<Port<'_>> {
    let hosts = compose::counting(tree).filter_map(compose_of);
    let hosts = hosts
        .map(|compose| compose.settings.hosts.as_slice())
        .find(|hosts| !hosts.is_empty())
        .unwrap_or_default();
    let of_file = |file| {
        let claims = compose_of(file).into_iter().flat_map(|compose| &compose.claims);
        claims.map(move |claimed| Port { tree, file, hosts, claimed })
    };
    compose::counting(tree).flat_map(of_file).collect()
}

fn compose_of(file: &File) -> Option<&compose::Compose> {
    file.examined.compose.as_ref()
}

impl Port<'_> {
    fn collides(&self, other: &Self) -> bool {
        let same_host = self.hosts.is_empty()
            || other.hosts.is_empty()
            || self.hosts.iter().any(|host| other.hosts.contains(host));
        same_host && self.claimed.claim.collides(&other.claimed.claim)
    }

    /// Two claims that never stand side by side: of one service, of one that runs only at times, or of two
    /// branches of the same stack.
    fn is_variant(
        &self,
        other: &Self,
        checker: &Checker<'_>,
        roots: &mut BTreeMap<String, String>,
    ) -> Result<bool, Error> {
        if self.tree.place.name == other.tree.place.name {
            return Ok(self.claimed.service == other.claimed.service
                || self.claimed.optional
                || other.claimed.optional);
        }
        let (Some(own), Some(others)) = (&self.tree.place.commit, &other.tree.place.commit) else {
            return Ok(false);
        };
        Ok(root(checker, own, roots)? == root(checker, others, roots)?)
    }

    fn finding(&self, other: &Self) -> Finding {
        let port = match self.claimed.hidden || other.claimed.hidden {
            true => "a port of the host".to_owned(),
            false => format!("the port {}", self.claimed.claim),
        };
        let message = format!(
            "`{}` claims {port}, and so does `{}` of {}",
            self.claimed.service, other.claimed.service, other.tree.place.name
        );
        let spot = Spot { rule: Rule::PortConflict, line: self.claimed.line, message };
        self.tree.finding(Some(&self.file.path), spot)
    }
}

/// The first commit that a commit stands on, by first parents: branches of one stack share it.
fn root(checker: &Checker<'_>, commit: &str, known: &mut BTreeMap<String, String>) -> Result<String, Error> {
    if let Some(root) = known.get(commit) {
        return Ok(root.clone());
    }
    let mut root = commit.to_owned();
    while let Some(parent) = checker.repository.parents(&root)?.into_iter().next() {
        root = parent;
    }
    known.insert(commit.to_owned(), root.clone());
    Ok(root)
}

/// Someone who knows the data key of one file knows that of all files that share it: they could seal
/// one for others under a key of their own.
fn readers(trees: &[Tree]) -> Vec<Finding> {
    let mut by_key = BTreeMap::<[u8; 32], Vec<(&Tree, &File)>>::new();
    for tree in trees.iter().filter(|tree| !tree.place.is_index()) {
        for file in &tree.files {
            if let Some(key) = file.examined.key {
                by_key.entry(key).or_default().push((tree, file));
            }
        }
    }
    let mut findings = Vec::new();
    for files in by_key.values() {
        let sets: BTreeSet<_> = files.iter().map(|(_, file)| &file.examined.readers).collect();
        if let ([(first, other)], true) = (&[files[0]], sets.len() > 1) {
            let others = |(_, file): &&(&Tree, &File)| file.examined.readers != other.examined.readers;
            findings.extend(files.iter().filter(others).map(|(tree, file)| {
                let message = format!(
                    "it has the same data key as {}:{}, which others can read",
                    first.place.name, other.path
                );
                tree.finding(Some(&file.path), Spot::new(Rule::ReadersDiffer, message))
            }));
        }
    }
    findings
}
