//! The compose model, as far as a deploy has to know it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::images::is_kept_name;
use super::service::duration;
use super::tree::Tree;
use super::wishes::{BadWish, Wishes, wishes};

/// How long Docker waits for a container to end that does not say how long it may take.
const STOP: Duration = Duration::from_secs(10);
/// However long it may take, nobody waits longer.
const LONGEST_STOP: Duration = Duration::from_secs(3600);

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
    let files = std::iter::once(tracked(NAMES)?).chain(tracked(OVERRIDES));
    Some(files.map(|file| super::tree::resolve(tree, &file)).collect())
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

/// The line in which a file turns out to be no YAML.
pub fn broken_line(text: &[u8]) -> Option<usize> {
    let error = serde_yaml::from_slice::<serde_yaml::Value>(text).err()?;
    error.location().map(|place| place.line())
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
    /// The variable it comes from.
    pub environment: Option<String>,
}

/// A service.
#[derive(Debug, Default, Deserialize)]
pub struct Service {
    /// The image, where the file names one.
    pub image: Option<String>,
    pull_policy: Option<String>,
    stop_grace_period: Option<String>,
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
    /// The directory or URL that it is built from.
    pub context: Option<PathBuf>,
    /// The secrets that the build is granted.
    #[serde(default)]
    pub secrets: Vec<Grant>,
    /// The names that the image is given besides the service's own.
    #[serde(default)]
    pub tags: Vec<String>,
}

/// What is granted to a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Granted {
    /// A secret.
    Secret,
    /// A config.
    Config,
}

impl Granted {
    /// Its name in a compose file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::Config => "config",
        }
    }
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
    fn is_plain(&self) -> bool {
        self.uid.is_none() && self.gid.is_none() && self.mode.is_none()
    }

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

    /// The name of a service's image; compose makes one up for what it builds.
    pub fn image_of(&self, service: &str) -> String {
        let named = self.services.get(service).and_then(|service| service.image.clone());
        named.unwrap_or_else(|| format!("{}-{service}", self.name))
    }

    /// The images that are not built here.
    pub fn images(&self) -> Vec<&str> {
        let named = self.services.values().filter(|service| service.build.is_none());
        named.filter_map(|service| service.image.as_deref()).collect()
    }

    /// The longest time that a container of it may take to end; those that run now are, as far as can
    /// be known before, like those that come.
    pub fn longest_stop(&self) -> Duration {
        let period = |service: &Service| duration(service.stop_grace_period.as_deref()?);
        self.services.values().filter_map(period).max().unwrap_or_default().clamp(STOP, LONGEST_STOP)
    }

    /// A service and a name of its image, whether it is built or pulled, by which hlx keeps images.
    pub fn kept_name(&self) -> Option<(&str, &str)> {
        let names = self.services.iter().flat_map(|(service, found)| {
            let tags = found.build.iter().flat_map(|build| &build.tags);
            found.image.iter().chain(tags).map(move |name| (service.as_str(), name.as_str()))
        });
        names.into_iter().find(|(_, name)| is_kept_name(name))
    }

    /// The services that must have a container.
    pub fn expected(&self) -> Vec<String> {
        let wanted = |service: &Service| {
            let replicas = service.deploy.as_ref().and_then(|deploy| deploy.replicas);
            service.scale.or(replicas) != Some(0)
        };
        self.services.iter().filter(|(_, service)| wanted(service)).map(|(name, _)| name.clone()).collect()
    }

    /// The first service that is granted a secret (or config) of this name.
    pub fn granted(&self, kind: Granted, name: &str) -> Option<&str> {
        let grants = |service: &Service| match kind {
            Granted::Secret => service.secrets.iter().any(|grant| grant.source == name),
            Granted::Config => service.configs.iter().any(|grant| grant.source == name),
        };
        let found = self.services.iter().find(|(_, service)| grants(service));
        found.map(|(service, _)| service.as_str())
    }

    /// Whether every grant with an owner or mode of its own is of a file that is resident.
    pub fn grants_are_kept(&self, is_resident: &dyn Fn(&Path) -> bool) -> bool {
        let is_kept = |grant: &Grant, sources: &BTreeMap<String, Source>| {
            let file = sources.get(&grant.source).and_then(|source| source.file.as_deref());
            grant.is_plain() || file.is_some_and(is_resident)
        };
        self.services.values().all(|service| {
            service.secrets.iter().all(|grant| is_kept(grant, &self.secrets))
                && service.configs.iter().all(|grant| is_kept(grant, &self.configs))
        })
    }

    /// The stack's own wishes.
    pub fn wishes(&self) -> Result<Wishes, BadWish> {
        wishes(&self.x_hlx)
    }
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
    fn owners_and_modes_are_kept_where_files_are_resident() {
        let kept = |text: &str| model(text).grants_are_kept(&|file| file == Path::new("/sealed"));
        let with = |file: &str, grant: &str| {
            format!(
                r#"{{"name":"p","services":{{"a":{{"secrets":[{grant}]}}}},"secrets":{{"s":{{"file":"{file}"}}}}}}"#
            )
        };
        let special = r#"{"source":"s","uid":"1"}"#;
        assert!(kept(&with("/sealed", special)) && kept(&with("/clear", r#"{"source":"s"}"#)));
        assert!(!kept(&with("/clear", special)));
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
    fn env_files_are_read_in_every_form() {
        let text = b"services:\n  a: {env_file: a.env}\n  b: {env_file: [b.env, {path: ./c.env, required: false}]}\n  c: {}\n";
        assert_eq!(env_files(text), ["a.env", "b.env", "./c.env"].map(PathBuf::from));
        assert_eq!(env_files(b"services: [\n"), Vec::<PathBuf>::new());
    }

    #[test]
    fn a_file_that_is_no_yaml_has_a_line_where_that_shows() {
        assert_eq!(broken_line(b"services:\n  web:\n    image: x\n   command: y\n"), Some(4));
        assert_eq!(broken_line(b"services: {a: !reset null}\n"), None);
    }

    #[test]
    fn the_project_name_is_the_files() {
        assert_eq!(naming(b"name: p\nservices: {}\n"), Naming::File("p".into()));
        assert_eq!(naming(b"services: {a: !reset null}\n"), Naming::Branch);
        assert_eq!(naming(b"name: ${X}\n"), Naming::Compose);
    }
}
