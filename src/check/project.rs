//! The compose files of a branch together: what one names must be in one of them, and files must be there.

use std::collections::BTreeSet;

use crate::policy::creation::nearest;

use super::compose::{self, Compose, Kind, Names, Need, Use, Wanted};
use super::examine::Spot;
use super::tree::{File, Tree};
use super::{Checker, Error, Rule};

/// What is named and not there, with the file that names it.
pub(super) fn find(checker: &Checker<'_>, tree: &Tree) -> Result<Vec<(String, Spot)>, Error> {
    let files: Vec<&File> = compose::counting(tree).collect();
    let read: Vec<(&File, &Compose, &Names)> = files
        .iter()
        .filter_map(|file| {
            let compose = file.examined.compose.as_ref()?;
            Some((*file, compose, compose.names.as_ref()?))
        })
        .collect();
    let mut found = Vec::new();
    for (file, compose, names) in &read {
        let mut add = |spot| found.push((file.path.clone(), spot));
        let own = names.has.get(&Kind::Service);
        let unknown = names.extended.iter().filter(|need| !own.is_some_and(|own| own.contains(&need.name)));
        unknown.map(|need| missing(need, own.into_iter().flatten(), compose.hidden)).for_each(&mut add);
        for wanted in &names.files {
            of_file(checker, tree, wanted, compose.hidden)?.into_iter().for_each(&mut add);
        }
        // Elsewhere there may be more, or less counts than stands here.
        let is_whole = read.len() == files.len()
            && !read.iter().any(|(_, compose, names)| compose.includes || names.retags);
        let has = |kind| read.iter().filter_map(move |(_, _, names)| names.has.get(&kind)).flatten();
        let unknown =
            names.needs.iter().filter(|need| is_whole && !has(need.kind).any(|name| *name == need.name));
        unknown.map(|need| missing(need, has(need.kind), compose.hidden)).for_each(&mut add);
    }
    Ok(found)
}

/// A need that nothing meets.
fn missing<'n>(need: &Need, known: impl Iterator<Item = &'n String>, hidden: bool) -> Spot {
    let noun = need.kind.noun();
    // What an encrypted file says is not shown.
    let message = if hidden {
        format!("a service names a {noun} that the stack does not have")
    } else {
        let known: Vec<&str> = known.map(String::as_str).filter(|known| *known != need.service).collect();
        let meant = nearest(&need.name, &known).map(|name| format!("; did you mean `{name}`?"));
        let (service, name) = (&need.service, &need.name);
        format!(
            "`{service}` names the {noun} `{name}`, which the stack does not have{}",
            meant.unwrap_or_default()
        )
    };
    Spot { rule: Rule::ComposeName, line: need.line, message }
}

/// What is wrong with a file that is named.
fn of_file(checker: &Checker<'_>, tree: &Tree, wanted: &Wanted, hidden: bool) -> Result<Option<Spot>, Error> {
    let path = &wanted.path;
    let shown = if hidden { "a file".to_owned() } else { format!("`{path}`") };
    let spot = |message| Some(Spot { rule: Rule::ComposeFile, line: wanted.line, message });
    let Some(file) = tree.file(path) else {
        // A setup may make it on the server.
        let is_made = wanted.usage == Use::Settings && tree.file("setup.sh").is_some();
        let is_there = is_made || leads_elsewhere(checker, tree, path)?;
        return Ok((!is_there)
            .then(|| spot(format!("{shown} is named, and is not in the branch")))
            .flatten());
    };
    let Use::Extended(service) = &wanted.usage else { return Ok(None) };
    let content = checker.content(&file.blob)?.unwrap_or_default();
    let known = services(&content);
    let lacks = known.is_some_and(|known| !known.contains(service));
    let service = if hidden { "the service".to_owned() } else { format!("the service `{service}`") };
    Ok(lacks.then(|| spot(format!("{shown} does not have {service}, which is extended"))).flatten())
}

/// The services of a compose file; none if that cannot be told.
fn services(content: &[u8]) -> Option<BTreeSet<String>> {
    let file: serde_yaml::Value = serde_yaml::from_slice(content).ok()?;
    let services = file.get("services")?.as_mapping()?;
    Some(services.keys().filter_map(|name| Some(name.as_str()?.to_owned())).collect())
}

/// Whether a path leads through a link or into a submodule, which are not looked into, or is a folder.
fn leads_elsewhere(checker: &Checker<'_>, tree: &Tree, path: &str) -> Result<bool, Error> {
    let folder = format!("{path}/");
    if tree.files.iter().any(|file| file.path.starts_with(&folder)) {
        return Ok(true);
    }
    let Some(commit) = &tree.place.commit else { return Ok(false) };
    let others = checker.repository.files(commit)?.into_iter().filter(|entry| !entry.is_file());
    let is_on_the_way = |other: &[u8]| {
        path.as_bytes().strip_prefix(other).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
    };
    Ok(others.into_iter().any(|entry| is_on_the_way(&entry.path)))
}
