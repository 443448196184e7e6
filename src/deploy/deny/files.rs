//! What the compose files themselves read while the model is made of them: the model shows the
//! values of an `env_file`, and no longer where they came from.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use serde_yaml::Value;

use super::{Deny, Offence, Offences, Power};
use crate::deploy::resident::Ground;
use crate::deploy::tree::{Kind, Tree, flat, resolve};

/// Keys whose value, anywhere in a file, is a path that compose reads.
const READS: [&str; 5] = ["env_file", "label_file", "include", "extends", "project_directory"];

/// What the compose files read from outside of the commit. Files that these include are looked
/// at too; one that cannot be read here is refused.
pub(super) fn outside(files: &[PathBuf], ground: Ground<'_>, deny: &Deny) -> Vec<Offence> {
    let mut offences = Offences::new(deny);
    if !deny.has(Power::HostMounts) {
        return Vec::new();
    }
    let dirs = directories(ground.tree);
    let mut waiting: Vec<PathBuf> = files.iter().map(|file| resolve(ground.tree, file)).collect();
    let mut seen: BTreeSet<PathBuf> = waiting.iter().cloned().collect();
    while let Some(file) = waiting.pop() {
        let who = file.display().to_string();
        let text = ground.unsealed.plain(ground.tree, &file).filter(|_| is_file(ground.tree, &file));
        let Some(paths) = text.and_then(reads) else {
            offences.add(Power::HostMounts, &who, "hlx cannot read it as compose does");
            continue;
        };
        for (key, path) in paths {
            if !is_inside(&path) {
                offences.add(Power::HostMounts, &who, format!("`{key}` leads out of the commit"));
            } else if matches!(key, "include" | "extends") {
                let meant = meant(&path, &dirs, ground.tree);
                if meant.is_empty() {
                    offences.add(Power::HostMounts, &who, format!("`{key}` leads to no file of the commit"));
                }
                waiting.extend(meant.into_iter().filter(|file| seen.insert(file.clone())));
            }
        }
    }
    offences.found.into_iter().collect()
}

/// The files of the commit that a path may stand for: compose knows from where it counts. Links
/// of the commit are followed, as compose does.
fn meant(path: &str, dirs: &BTreeSet<&Path>, tree: &Tree) -> BTreeSet<PathBuf> {
    let there = dirs.iter().map(|dir| resolve(tree, &flat(&dir.join(path))));
    there.filter(|file| is_file(tree, file)).collect()
}

/// Every directory of the commit, its top included.
fn directories(tree: &Tree) -> BTreeSet<&Path> {
    tree.keys().flat_map(|file| file.ancestors().skip(1)).collect()
}

fn is_file(tree: &Tree, path: &Path) -> bool {
    tree.get(path).is_some_and(|entry| entry.kind != Kind::Link)
}

/// A path that cannot leave the commit, wherever it is counted from, and without a variable in it.
fn is_inside(path: &str) -> bool {
    let plain = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    !path.contains(['$', ':', '~']) && Path::new(path).components().all(plain)
}

/// Each path in a file, once, and the key that it stands at.
type Found = BTreeSet<(&'static str, String)>;

fn reads(text: &[u8]) -> Option<Found> {
    let mut found = Found::new();
    for document in serde_yaml::Deserializer::from_slice(text) {
        walk(&Value::deserialize(document).ok()?, &mut found);
    }
    Some(found)
}

fn walk(value: &Value, found: &mut Found) {
    match value {
        Value::Mapping(mapping) => {
            for (key, value) in mapping {
                if let Some(key) = READS.into_iter().find(|known| key.as_str() == Some(known)) {
                    paths(key, value, found);
                }
                walk(value, found);
            }
        }
        Value::Sequence(items) => items.iter().for_each(|item| walk(item, found)),
        Value::Tagged(tagged) => walk(&tagged.value, found),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// A path, a list of such, or the mappings `{path: …}` and `{file: …}`.
fn paths(key: &'static str, value: &Value, found: &mut Found) {
    match value {
        // `extends: NAME` is a service of the same file.
        Value::String(text) if key != "extends" => drop(found.insert((key, text.clone()))),
        Value::Sequence(items) => items.iter().for_each(|item| paths(key, item, found)),
        Value::Tagged(tagged) => paths(key, &tagged.value, found),
        Value::Mapping(mapping) => {
            for name in ["path", "file"] {
                let Some(inner) = mapping.get(name) else { continue };
                match inner {
                    Value::String(text) => drop(found.insert((key, text.clone()))),
                    other => paths(key, other, found),
                }
            }
        }
        // Compose's reader of YAML may take it for the name of a file.
        Value::Bool(_) | Value::Number(_) => drop(found.insert((key, "/".to_owned()))),
        Value::String(_) | Value::Null => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deploy::opener;
    use crate::deploy::sealed::Unsealed;
    use crate::deploy::tree::Entry;

    fn leaves(text: &str) -> Option<bool> {
        Some(reads(text.as_bytes())?.iter().any(|(_, path)| !is_inside(path)))
    }

    #[test]
    fn paths_that_leave_the_commit_are_found_in_every_form() {
        for bad in [
            "services: {a: {env_file: /etc/shadow}}",
            "services: {a: {env_file: [a.env, ../x.env]}}",
            "services: {a: {env_file: [{path: /etc/shadow, required: false}]}}",
            "services: {a: {env_file: [{path: \"${X}\"}]}}",
            "services: {a: {\"env\\u005ffile\": /etc/shadow}}",
            "x-a: &a {env_file: /etc/shadow}\nservices: {b: {<<: *a}}",
            "services: {a: {label_file: /etc/shadow}}",
            "services: {a: {env_file: !override [/etc/shadow]}}",
            "services: {a: {extends: {service: b, file: /x.yml}}}",
            "include: [/etc/x.yml]",
            "include: [{path: [a.yml, /b.yml], env_file: a.env}]",
            "include: [{path: a.yml, project_directory: /etc}]",
            "include: [{path: a.yml, env_file: /etc/shadow}]",
            "include: [oci://example.org/x, https://example.org/y]",
            "include: [~/x.yml]",
            "services: {}\n---\ninclude: [/b.yml]\n",
            "include: [0o17]",
            "services: {a: {extends: {service: x, file: 1e3}}}",
        ] {
            assert_eq!(leaves(bad), Some(true), "{bad}");
        }
        for good in [
            "services: {a: {env_file: [.env, ./a/b.env], extends: b}}",
            "include: [sub/compose.yml]\nservices: {a: {extends: {service: x, file: ./more.yml}}}",
        ] {
            assert_eq!(leaves(good), Some(false), "{good}");
        }
        assert_eq!(leaves("services: ["), None);
    }

    /// What is said of a commit with these files and links, whose `compose.yml` comes first.
    fn said(entries: &[(&str, Kind, &str)]) -> Vec<String> {
        let entry = |(path, kind, text): &(&str, Kind, &str)| {
            (PathBuf::from(path), Entry { kind: *kind, content: (*text).into() })
        };
        let tree: Tree = entries.iter().map(entry).collect();
        let open = opener(|_| unreachable!("nothing is sealed"));
        let unsealed = Unsealed::open(&tree, &open).unwrap();
        let deny = Deny::parse(&serde_yaml::from_str("[host-mounts]").unwrap()).unwrap();
        let ground = Ground { project: Path::new("/p"), tree: &tree, unsealed: &unsealed };
        let found = outside(&["compose.yml".into()], ground, &deny);
        found.into_iter().map(|offence| format!("{}: {}", offence.who, offence.what)).collect()
    }

    #[test]
    fn links_of_the_commit_hide_nothing() {
        const BAD: &str = "services: {a: {env_file: /etc/shadow}}";
        let (file, link) = (Kind::File, Kind::Link);
        let caught = ["sub/real.yml: `env_file` leads out of the commit"];
        for entries in [
            // A link to a file, one after another, and a directory behind a link.
            &[("compose.yml", file, "include: [more.yml]"), ("more.yml", link, "sub/real.yml")][..],
            &[("compose.yml", file, "include: [a]"), ("a", link, "b"), ("b", link, "./sub/real.yml")],
            &[("compose.yml", file, "include: [d/real.yml]"), ("d", link, "sub")],
            &[
                ("compose.yml", file, "services: {b: {extends: {service: a, file: ./x/y.yml}}}"),
                ("x/y.yml", link, "../sub/real.yml"),
            ],
            // Counted from another directory, which a link leads to.
            &[
                ("compose.yml", file, "include: [{path: [up/m.yml], project_directory: far}]"),
                ("up/m.yml", file, "include: [real.yml]"),
                ("far", link, "sub"),
            ],
            &[("compose.yml", link, "sub/real.yml")],
        ] {
            let mut entries = entries.to_vec();
            assert_eq!(said(&[&entries[..], &[("sub/real.yml", file, "services: {}")]].concat()), [""; 0]);
            entries.push(("sub/real.yml", file, BAD));
            assert_eq!(said(&entries), caught, "{entries:?}");
        }
        let nowhere = ["compose.yml: `include` leads to no file of the commit"];
        assert_eq!(said(&[("compose.yml", file, "include: [more.yml]"), ("more.yml", link, "x")]), nowhere);
        assert_eq!(said(&[("compose.yml", file, "include: [d]"), ("d/x", file, "")]), nowhere);
        let unread = ["compose.yml: hlx cannot read it as compose does"];
        assert_eq!(said(&[("compose.yml", link, "compose.yml")]), unread);
    }
}
