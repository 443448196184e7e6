//! What of a compose file is certain, for Compose to judge.
//!
//! An encrypted value is no port and no length of time, and what a variable stands for is known where the stack
//! runs. So whatever has such a value goes, as far up as a service is still whole without it, and what Compose
//! says of the rest holds for the file. The environment goes in any case, as Compose may show what it refuses.

use serde_yaml::{Mapping, Value};

use super::compose::is_open;

/// A file without what is not certain.
pub(super) struct Certain {
    /// It, as JSON, which Compose reads as YAML: no string in it looks like something else.
    pub(super) text: String,
    /// Nothing went but what is never asked about.
    pub(super) is_whole: bool,
    /// It needs others.
    pub(super) needs_others: bool,
}

/// Keys of a service that are never asked about: they may show secrets, or need what is not in git.
const PASSED_OVER: [&str; 3] = ["environment", "env_file", "label_file"];
/// Keys of which a service must have one.
const RUNS: [&str; 4] = ["image", "build", "extends", "provider"];
/// What may stand in place of an entry at the top.
const STAND_INS: [(&str, Option<&str>); 5] = [
    ("networks", None),
    ("volumes", None),
    ("secrets", Some("file")),
    ("configs", Some("file")),
    ("models", Some("model")),
];

/// What is certain of a text; none if that would be no compose file.
pub(super) fn part(text: &str) -> Option<Certain> {
    let mut file: Value = serde_yaml::from_str(text).ok()?;
    file.apply_merge().ok()?;
    let top = file.as_mapping_mut()?;
    top.retain(|key, _| key.as_str().is_some_and(|key| key != "sops" && !key.starts_with("x-")));
    if top.get("include").is_some_and(has_open) || is_tagged(&Value::Mapping(top.clone())) {
        return None;
    }
    let before = top.len();
    top.retain(|key, value| !(matches!(key.as_str(), Some("name" | "version")) && has_open(value)));
    let mut is_whole = top.len() == before;
    let mut needs_others = top.contains_key("include");
    for (_, service) in entries(top, "services") {
        if let Some(service) = service.as_mapping_mut() {
            is_whole &= strip(service);
            let extends = service.get("extends").and_then(|extends| extends.get("file"));
            needs_others |= extends.is_some();
        }
    }
    for (section, key) in STAND_INS {
        for (_, value) in entries(top, section).filter(|(_, value)| has_open(value)) {
            let stand_in = key.map(|key| (Value::from(key), Value::from("x")));
            *value = Value::Mapping(stand_in.into_iter().collect());
            is_whole = false;
        }
    }
    Some(Certain { text: serde_json::to_string(&file).ok()?, is_whole, needs_others })
}

/// The entries of a section.
fn entries<'t>(top: &'t mut Mapping, section: &str) -> impl Iterator<Item = (&'t Value, &'t mut Value)> {
    top.get_mut(section).and_then(Value::as_mapping_mut).into_iter().flatten()
}

/// Takes out of a service what is not certain; true if there was nothing.
fn strip(service: &mut Mapping) -> bool {
    let ran = RUNS.iter().any(|key| service.contains_key(key));
    service.retain(|key, _| !key.as_str().is_some_and(|key| PASSED_OVER.contains(&key)));
    let before = service.len();
    service.retain(|_, value| !has_open(value));
    if ran && !RUNS.iter().any(|key| service.contains_key(key)) {
        service.insert("image".into(), "x".into());
        return false;
    }
    service.len() == before
}

/// Whether a value below is decided elsewhere.
fn has_open(value: &Value) -> bool {
    match value {
        Value::String(text) => is_open(text),
        Value::Sequence(items) => items.iter().any(has_open),
        Value::Mapping(entries) => entries.values().any(has_open),
        Value::Tagged(tagged) => has_open(&tagged.value),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Whether a tag of Compose's is left, which JSON does not have.
fn is_tagged(value: &Value) -> bool {
    match value {
        Value::Tagged(_) => true,
        Value::Sequence(items) => items.iter().any(is_tagged),
        Value::Mapping(entries) => entries.values().any(is_tagged),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<String> {
        part(text).map(|part| part.text)
    }

    #[test]
    fn only_what_is_certain_is_left() {
        for (text, expected) in [
            ("services: {a: {image: x, user: '0'}}", r#"{"services":{"a":{"image":"x","user":"0"}}}"#),
            (
                "services: {a: {image: $X, ports: ['80:80']}}",
                r#"{"services":{"a":{"ports":["80:80"],"image":"x"}}}"#,
            ),
            (
                "services: {a: {image: x, build: {context: ., args: {A: $X}}}}",
                r#"{"services":{"a":{"image":"x"}}}"#,
            ),
            (
                "services: {a: {image: x, environment: {A: b}, env_file: c, ports: ['ENC[AES256_GCM,data:x]']}}",
                r#"{"services":{"a":{"image":"x"}}}"#,
            ),
            (
                "name: $N\nx-a: &a {image: y}\nservices: {a: {<<: *a}}\nsecrets: {s: {file: $F}, t: {file: u}}\nnetworks: {n: {name: $N}}\nsops: {}",
                r#"{"services":{"a":{"image":"y"}},"secrets":{"s":{"file":"x"},"t":{"file":"u"}},"networks":{"n":{}}}"#,
            ),
        ] {
            assert_eq!(of(text).as_deref(), Some(expected), "{text}");
        }
        for none in ["services: {a: {ports: !reset []}}", "include: [$X]", "[a]", "a: ["] {
            assert_eq!(of(none), None, "{none}");
        }
    }

    #[test]
    fn what_went_is_known() {
        for (text, whole) in [
            ("services: {a: {image: x, environment: {A: $B}}}", true),
            ("services: {a: {image: x, imagee: $B}}", false),
            ("services: {a: {image: $B}}", false),
            ("services: {a: {image: x}}\nvolumes: {v: {name: $B}}", false),
        ] {
            assert_eq!(part(text).unwrap().is_whole, whole, "{text}");
        }
    }
}
