//! The landing page: the list of services in the README of `main`.

use std::collections::BTreeMap;

use crate::git::branch::{self, Commit, File, Parent};
use crate::git::{Git, Repository};

use super::Error;

const BEGIN: &str = "<!-- hlx: services -->";
const END: &str = "<!-- hlx: end -->";

/// The branch of the landing page: `main` or `master`, whichever is there or at a remote; `main` if
/// none is.
pub fn landing(git: &Git) -> Result<String, Error> {
    const NAMES: [&str; 2] = ["main", "master"];
    for name in NAMES {
        if branch::tip(git, name)?.is_some() {
            return Ok(name.to_owned());
        }
    }
    for name in NAMES {
        if !branch::remotes(git, name)?.is_empty() {
            return Ok(name.to_owned());
        }
    }
    Ok("main".to_owned())
}

/// Brings the list in the README of `main` up to date with the branches. `None` if it was.
pub fn update(repository: &Repository, git: &Git) -> Result<Option<String>, Error> {
    let main = landing(git)?;
    let services = services(git, &main)?;
    let exists = branch::tip(git, &main)?.is_some();
    if !exists {
        super::new::refuse_remote(git, &main)?;
    }
    let old = if exists { readme(repository, git, &main)? } else { None };
    let new = with_list(old.as_deref().unwrap_or("# Homelab\n\nOne branch per service.\n"), &services);
    if old.as_ref() == Some(&new) {
        return Ok(None);
    }
    let files = [File { path: "README.md".to_owned(), mode: "100644", content: new.into_bytes() }];
    let parent = if exists { Parent::Tip } else { Parent::Orphan };
    let commit = Commit { branch: &main, parent, files: &files, message: "README: list the services" };
    Ok(Some(branch::commit(git, &super::new::scratch(repository)?, &commit)?))
}

/// The branches that are services: of those that share their first commit, the one that `hlx new` made by it. Where
/// none is left of that name, those that a remote has; where no remote has one, all of them.
fn services(git: &Git, main: &str) -> Result<Vec<String>, Error> {
    let mut families = BTreeMap::<String, Vec<String>>::new();
    let mut made = BTreeMap::new();
    for name in branch::all(git)? {
        let (root, subject) = branch::root(git, &name)?;
        made.insert(root.clone(), subject);
        families.entry(root).or_default().push(name);
    }
    let mut found = Vec::new();
    for (root, family) in families.into_iter().filter(|(_, family)| family.iter().all(|name| name != main)) {
        let (own, others): (Vec<_>, Vec<_>) =
            family.into_iter().partition(|name| made[&root] == super::new::subject(name));
        found.extend(if own.is_empty() { shared(git, others)? } else { own });
    }
    found.retain(|name| super::new::is_service_name(name));
    found.sort();
    Ok(found)
}

/// Those that a remote has, or all if none is.
fn shared(git: &Git, names: Vec<String>) -> Result<Vec<String>, Error> {
    let mut at_remotes = Vec::new();
    for name in &names {
        if !branch::remotes(git, name)?.is_empty() {
            at_remotes.push(name.clone());
        }
    }
    Ok(if at_remotes.is_empty() { names } else { at_remotes })
}

fn readme(repository: &Repository, git: &Git, main: &str) -> Result<Option<String>, Error> {
    let files = branch::files(git, main)?;
    let Some(entry) = files.iter().find(|entry| entry.path == b"README.md") else { return Ok(None) };
    Ok(Some(String::from_utf8_lossy(&repository.blob_named(&entry.blob)?).into_owned()))
}

/// The page with the list between its two marks, or at the end.
fn with_list(page: &str, services: &[String]) -> String {
    let items: String = services.iter().map(|name| format!("- [`{name}`](../../tree/{name})\n")).collect();
    let list = format!("{BEGIN}\n{items}{END}");
    match (page.find(BEGIN), page.find(END)) {
        (Some(begin), Some(end)) if begin < end => {
            format!("{}{list}{}", &page[..begin], &page[end + END.len()..])
        }
        _ => format!("{}\n\n## Services\n\n{list}\n", page.trim_end()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_put_in_place_and_all_else_stays() {
        let one = with_list("# Home\n\nText.\n", &["a".to_owned()]);
        let two = with_list(&format!("{one}\nMore.\n"), &["a".to_owned(), "b".to_owned()]);
        assert!(two.starts_with("# Home\n\nText.\n") && two.ends_with("\nMore.\n"));
        assert_eq!(two.matches("](../../tree/").count(), 2);
    }
}
