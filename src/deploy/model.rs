//! The compose model, as far as a deploy has to know it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::service::{duration, nearest};
use super::tree::Tree;

/// The names under which compose looks for its file, in its order.
const NAMES: [&str; 4] = ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];
const OVERRIDES: [&str; 4] = [
    "compose.override.yml",
    "compose.override.yaml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
];

/// The compose files of a tree: the one that must be there, and its override if tracked.
pub fn files(tree: &Tree) -> Option<Vec<PathBuf>> {
    let tracked =
        |names: [&'static str; 4]| names.into_iter().map(PathBuf::from).find(|name| tree.contains_key(name));
    Some(std::iter::once(tracked(NAMES)?).chain(tracked(OVERRIDES)).collect())
}

/// Who names the compose project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Naming {
    /// The file, with this name.
    File(String),
    /// The file, with a variable in it that only compose can fill in.
    Compose,
    /// The branch, as the file has no name.
    Branch,
}

/// Who names the compose project of this file.
pub fn naming(text: &[u8]) -> Naming {
    let value: Option<serde_yaml::Value> = serde_yaml::from_slice(text).ok();
    match value.as_ref().and_then(|value| value.get("name")).and_then(|name| name.as_str()) {
        Some(name) if name.contains('$') => Naming::Compose,
        Some(name) => Naming::File(name.to_owned()),
        None => Naming::Branch,
    }
}

/// The env files that a compose file names, which the model no longer shows.
pub fn env_files(text: &[u8]) -> Vec<PathBuf> {
    use serde_yaml::Value;
    let file: Option<Value> = serde_yaml::from_slice(text).ok();
    let services = file.as_ref().and_then(|file| file.get("services")?.as_mapping());
    let lists = services.into_iter().flatten().filter_map(|(_, service)| service.get("env_file"));
    let entries = lists.flat_map(|list| match list {
        Value::Sequence(entries) => entries.iter().collect(),
        one => vec![one],
    });
    let path = |entry: &Value| entry.get("path").unwrap_or(entry).as_str().map(PathBuf::from);
    entries.filter_map(path).collect()
}

/// `docker compose config --format json`, without anything that could be a secret.
#[derive(Debug, Default, Deserialize)]
pub struct Model {
    /// The compose project.
    pub name: String,
    /// The services.
    #[serde(default)]
    pub services: BTreeMap<String, Service>,
    /// The secrets.
    #[serde(default)]
    pub secrets: BTreeMap<String, Source>,
    /// The configs.
    #[serde(default)]
    pub configs: BTreeMap<String, Source>,
    /// What concerns hlx.
    #[serde(default, rename = "x-hlx")]
    x_hlx: Value,
}

/// A secret or config.
#[derive(Debug, Default, Deserialize)]
pub struct Source {
    /// The file it comes from.
    pub file: Option<PathBuf>,
}

/// A service.
#[derive(Debug, Default, Deserialize)]
pub struct Service {
    image: Option<String>,
    pull_policy: Option<String>,
    scale: Option<u64>,
    #[serde(default)]
    deploy: Option<Replicas>,
    /// How its image is built.
    pub build: Option<Build>,
    /// The secrets it is granted.
    #[serde(default)]
    pub secrets: Vec<Grant>,
    /// The configs it is granted.
    #[serde(default)]
    pub configs: Vec<Grant>,
    /// What is mounted into it.
    #[serde(default)]
    pub volumes: Vec<Mount>,
}

#[derive(Debug, Deserialize)]
struct Replicas {
    replicas: Option<u64>,
}

/// How an image is built.
#[derive(Debug, Default, Deserialize)]
pub struct Build {
    /// The secrets that the build is granted.
    #[serde(default)]
    pub secrets: Vec<Grant>,
}

/// A secret or config that is granted to a service.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Grant {
    /// Which one.
    pub source: String,
    uid: Option<String>,
    gid: Option<String>,
    mode: Option<Value>,
}

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Access {
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The permissions.
    pub mode: u32,
}

impl Default for Access {
    fn default() -> Self {
        Self { uid: 0, gid: 0, mode: 0o444 }
    }
}

impl Grant {
    /// Who may read the file, or which key cannot be read.
    pub fn access(&self) -> Result<Access, &'static str> {
        let id = |id: &Option<String>| id.as_deref().map_or(Some(0), |id| id.parse().ok());
        Ok(Access {
            uid: id(&self.uid).ok_or("uid")?,
            gid: id(&self.gid).ok_or("gid")?,
            mode: self.mode.as_ref().map_or(Some(0o444), mode).filter(|mode| *mode <= 0o777).ok_or("mode")?,
        })
    }
}

/// Compose writes a mode as octal text; an older one writes the number.
fn mode(value: &Value) -> Option<u32> {
    match value {
        Value::String(text) => u32::from_str_radix(text.trim_start_matches("0o"), 8).ok(),
        other => other.as_u64().and_then(|mode| mode.try_into().ok()),
    }
}

/// Something that is mounted into a service.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Mount {
    /// `bind`, `volume`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// The path on the host, or the name of the volume.
    #[serde(default)]
    pub source: String,
    /// The path in the container.
    #[serde(default)]
    pub target: String,
}

impl Model {
    /// Reads what compose printed.
    pub fn parse(json: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(json)
    }

    /// True if any service has a build.
    pub fn builds(&self) -> bool {
        self.services.values().any(|service| service.build.is_some())
    }

    /// The images that come from a registry.
    pub fn pulled(&self) -> Vec<&str> {
        let from_afar = |service: &&Service| {
            let here = matches!(service.pull_policy.as_deref(), Some("never" | "build"));
            service.build.is_none() && !here
        };
        self.services.values().filter(from_afar).filter_map(|service| service.image.as_deref()).collect()
    }

    /// The services that must have a container.
    pub fn expected(&self) -> Vec<String> {
        let wanted = |service: &Service| {
            let replicas = service.deploy.as_ref().and_then(|deploy| deploy.replicas);
            service.scale.or(replicas) != Some(0)
        };
        self.services.iter().filter(|(_, service)| wanted(service)).map(|(name, _)| name.clone()).collect()
    }

    /// The stack's own wishes.
    pub fn wishes(&self) -> Result<Wishes, BadWish> {
        wishes(&self.x_hlx)
    }
}

/// What an `x-hlx:` says.
pub fn wishes(x_hlx: &Value) -> Result<Wishes, BadWish> {
    let mut wishes = Wishes::default();
    match x_hlx {
        Value::Null => {}
        Value::Object(keys) => keys.iter().try_for_each(|(key, value)| wishes.set(key, value))?,
        _ => return Err(BadWish::Value { key: "x-hlx".into(), wanted: "a mapping" }),
    }
    Ok(wishes)
}

/// What `x-hlx:` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wishes {
    /// How long containers may take to become well, from `up` on.
    pub timeout: Duration,
    /// How long a container must run without a restart.
    pub stable: Duration,
    /// The hosts that may run the stack; empty for any.
    pub hosts: Vec<String>,
}

impl Default for Wishes {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(300), stable: Duration::from_secs(10), hosts: Vec::new() }
    }
}

/// What is wrong with `x-hlx:`.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadWish {
    /// A key that only a later version obeys.
    #[error("`x-hlx.{0}` is not supported by this version of hlx")]
    Later(String),
    /// A key that no version has.
    #[error("there is no setting `x-hlx.{key}`")]
    Unknown {
        /// The key.
        key: String,
        /// What may have been meant.
        nearest: Option<&'static str>,
    },
    /// A value of the wrong kind.
    #[error("`{key}` must be {wanted}")]
    Value {
        /// The key.
        key: String,
        /// What it must be.
        wanted: &'static str,
    },
}

const WISHES: [&str; 8] = ["hosts", "after", "timeout", "stable", "rollback", "setup", "engine", "probes"];

impl Wishes {
    fn set(&mut self, key: &str, value: &Value) -> Result<(), BadWish> {
        let wrong = |wanted| BadWish::Value { key: format!("x-hlx.{key}"), wanted };
        let time = || value.as_str().and_then(duration).ok_or(wrong("a duration like `1m30s`"));
        match key {
            "timeout" => self.timeout = time()?,
            "stable" => self.stable = time()?,
            "hosts" => self.hosts = hosts(value).ok_or(wrong("a list of host names"))?,
            later if WISHES.contains(&later) => return Err(BadWish::Later(later.to_owned())),
            _ => return Err(BadWish::Unknown { key: key.to_owned(), nearest: nearest(key, &WISHES) }),
        }
        Ok(())
    }
}

fn hosts(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|host| host.as_str().map(str::to_owned)).collect()
}

/// A path of the model as one of the project's tree, if it is below the project directory.
pub fn tracked(path: &Path, project: &Path, tree: &Tree) -> Option<PathBuf> {
    let below = super::tree::flat(path).strip_prefix(project).ok()?.to_owned();
    Some(super::tree::resolve(tree, &below))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(text: &str) -> Model {
        Model::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn what_must_be_built_pulled_and_awaited() {
        let model = model(
            r#"{"name":"p","services":{"a":{"image":"x","build":{"context":"/c"}},"b":{"image":"y","pull_policy":"never"},
            "c":{"image":"z","scale":0},"d":{"image":"z","deploy":{"replicas":0}}}}"#,
        );
        assert!(model.builds() && model.pulled() == ["z", "z"]);
        assert_eq!(model.expected(), ["a", "b"]);
    }

    #[test]
    fn grants_say_who_may_read() {
        let access = |text: &str| serde_json::from_str::<Grant>(text).unwrap().access();
        assert_eq!(access(r#"{"source":"s"}"#), Ok(Access { uid: 0, gid: 0, mode: 0o444 }));
        let full = access(r#"{"source":"s","uid":"1000","gid":"7","mode":"0440"}"#);
        assert_eq!(full, Ok(Access { uid: 1000, gid: 7, mode: 0o440 }));
        assert_eq!(access(r#"{"source":"s","mode":288}"#).map(|access| access.mode), Ok(0o440));
        assert_eq!(access(r#"{"source":"s","uid":"bob"}"#), Err("uid"));
        assert_eq!(access(r#"{"source":"s","mode":"4755"}"#), Err("mode"));
    }

    #[test]
    fn wishes_are_obeyed_or_refused() {
        let wishes = |text: &str| model(&format!(r#"{{"name":"p","x-hlx":{text}}}"#)).wishes();
        let both = wishes(r#"{"timeout":"1m","stable":"2s","hosts":["nas"]}"#).unwrap();
        assert_eq!(
            (both.timeout.as_secs(), both.stable.as_secs(), both.hosts),
            (60, 2, vec!["nas".to_owned()])
        );
        assert_eq!(wishes("null"), Ok(Wishes::default()));
        assert_eq!(wishes(r#"{"rollback":"manual"}"#), Err(BadWish::Later("rollback".into())));
        let unknown = BadWish::Unknown { key: "timout".into(), nearest: Some("timeout") };
        assert_eq!(wishes(r#"{"timout":"1m"}"#), Err(unknown));
        assert!(wishes(r#"{"timeout":60}"#).is_err() && wishes("[]").is_err());
    }

    #[test]
    fn env_files_are_read_in_every_form() {
        let text = b"services:\n  a: {env_file: a.env}\n  b: {env_file: [b.env, {path: ./c.env, required: false}]}\n  c: {}\n";
        assert_eq!(env_files(text), ["a.env", "b.env", "./c.env"].map(PathBuf::from));
        assert_eq!(env_files(b"services: [\n"), Vec::<PathBuf>::new());
    }

    #[test]
    fn the_project_name_is_the_files() {
        assert_eq!(naming(b"name: p\nservices: {}\n"), Naming::File("p".into()));
        assert_eq!(naming(b"services: {a: !reset null}\n"), Naming::Branch);
        assert_eq!(naming(b"name: ${X}\n"), Naming::Compose);
    }
}
