//! What the compose files themselves read while the model is made of them: the model shows the
//! values of an `env_file`, and no longer where they came from.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use serde_yaml::Value;

use super::{Deny, Offence, Offences, Power};
use crate::deploy::resident::Ground;

/// Keys whose value, anywhere in a file, is a path that compose reads.
const READS: [&str; 5] = ["env_file", "label_file", "include", "extends", "project_directory"];

/// What the compose files read from outside of the commit. Files that these include are looked
/// at too; one that cannot be read here is refused.
pub(super) fn outside(files: &[PathBuf], ground: Ground<'_>, deny: &Deny) -> Vec<Offence> {
    let mut offences = Offences::new(deny);
    if !deny.has(Power::HostMounts) {
        return Vec::new();
    }
    let mut waiting: Vec<PathBuf> = files.to_vec();
    let mut seen = BTreeSet::new();
    while let Some(file) = waiting.pop() {
        if !seen.insert(file.clone()) {
            continue;
        }
        let who = file.display().to_string();
        let Some(paths) = ground.unsealed.plain(ground.tree, &file).and_then(reads) else {
            offences.add(Power::HostMounts, &who, "hlx cannot read it as compose does");
            continue;
        };
        for (key, path) in paths {
            match is_inside(&path) {
                false => offences.add(Power::HostMounts, &who, format!("`{key}` leads out of the commit")),
                true if matches!(key, "include" | "extends") => waiting.extend(meant(&path, ground)),
                true => {}
            }
        }
    }
    offences.found.into_iter().collect()
}

/// The files of the commit that a path may stand for: compose knows from where it counts.
fn meant(path: &str, ground: Ground<'_>) -> Vec<PathBuf> {
    let path = Path::new(path).strip_prefix(".").unwrap_or(Path::new(path));
    ground.tree.keys().filter(|file| file.ends_with(path)).cloned().collect()
}

/// A path that cannot leave the commit, wherever it is counted from, and without a variable in it.
fn is_inside(path: &str) -> bool {
    let plain = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    !path.contains(['$', ':', '~']) && Path::new(path).components().all(plain)
}

/// Each path in a file, and the key that it stands at.
fn reads(text: &[u8]) -> Option<Vec<(&'static str, String)>> {
    let mut found = Vec::new();
    for document in serde_yaml::Deserializer::from_slice(text) {
        walk(&Value::deserialize(document).ok()?, &mut found);
    }
    Some(found)
}

fn walk(value: &Value, found: &mut Vec<(&'static str, String)>) {
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
fn paths(key: &'static str, value: &Value, found: &mut Vec<(&'static str, String)>) {
    match value {
        // `extends: NAME` is a service of the same file.
        Value::String(text) if key != "extends" => found.push((key, text.clone())),
        Value::Sequence(items) => items.iter().for_each(|item| paths(key, item, found)),
        Value::Tagged(tagged) => paths(key, &tagged.value, found),
        Value::Mapping(mapping) => {
            for name in ["path", "file"] {
                let Some(inner) = mapping.get(name) else { continue };
                match inner {
                    Value::String(text) => found.push((key, text.clone())),
                    other => paths(key, other, found),
                }
            }
        }
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
