//! What this host has under the names that a model uses.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use crate::deploy::docker::{Docker, Error};

/// A volume that is there.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Volume {
    pub(super) name: String,
    #[serde(default)]
    pub(super) driver: String,
    pub(super) options: Option<BTreeMap<String, String>>,
    pub(super) labels: Option<BTreeMap<String, String>>,
}

/// What Compose and `docker stack deploy` write on what they make: for which project or stack.
const MADE_FOR: [&str; 2] = ["com.docker.compose.project", "com.docker.stack.namespace"];

impl Volume {
    /// The project that it was made for, if it was made for one.
    pub(super) fn project(&self) -> Option<&str> {
        let labels = self.labels.as_ref()?;
        MADE_FOR.iter().find_map(|name| labels.get(*name)).map(String::as_str)
    }

    /// One of the options that it was made with.
    pub(super) fn option(&self, key: &str) -> Option<String> {
        self.options.as_ref()?.get(key).cloned()
    }

    /// The directory of the host that it stands for, if it does.
    fn bound(&self) -> Option<PathBuf> {
        bound(&|key| self.option(key))
    }
}

/// The directory that the options of a volume bind, if they do.
pub(super) fn bound(option: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let flags = option("o").unwrap_or_default();
    let binds = |flag: &str| matches!(flag.trim(), "bind" | "rbind" | "move" | "remount");
    option("device").filter(|_| flags.split(',').any(binds)).map(PathBuf::from)
}

/// A network that is there.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Network {
    pub(super) id: String,
    pub(super) name: String,
    #[serde(default)]
    pub(super) driver: String,
    pub(super) options: Option<BTreeMap<String, String>>,
}

/// This host, as far as judging a model takes.
#[derive(Debug, Clone, Default)]
pub(super) struct Host {
    /// The stack's project directory.
    pub(super) project: PathBuf,
    /// The project whose volumes are the stack's own.
    pub(super) own: Option<String>,
    /// Sockets of container engines.
    pub(super) sockets: Vec<PathBuf>,
    /// Directories that some container can write to.
    pub(super) writers: Vec<PathBuf>,
    /// Every volume that is there.
    pub(super) volumes: Vec<Volume>,
    /// The networks that the model names, where they are there.
    pub(super) networks: Vec<Network>,
}

/// Where engines listen, docker's own place for it included.
const SOCKETS: [&str; 9] = [
    "/run/docker.sock",
    "/var/run/docker.sock",
    "/run/docker/containerd/containerd.sock",
    "/run/containerd/containerd.sock",
    "/var/run/docker/containerd/containerd.sock",
    "/run/podman/podman.sock",
    "/run/crio/crio.sock",
    "/run/buildkit/buildkitd.sock",
    "/run/docker/plugins",
];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Mounted {
    #[serde(default)]
    mounts: Vec<Mount>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Mount {
    #[serde(default)]
    source: PathBuf,
    #[serde(rename = "RW", default)]
    writes: bool,
}

impl Host {
    /// Asks Docker about the names in a model.
    pub(super) fn ask(docker: &Docker, project: &Path, model: &Value) -> Result<Self, Error> {
        let mut sockets: Vec<PathBuf> = SOCKETS.map(PathBuf::from).into();
        sockets.extend(docker.endpoint()?.socket().map(Path::to_owned));
        let names = words(&docker.demand("volume ls", &["volume", "ls", "-q"])?);
        let volumes: Vec<Volume> = shown(docker, &["volume", "inspect", "--"], &names)?;
        let mut names = named(model, "networks");
        names.extend(modes(model));
        let networks = shown(docker, &["network", "inspect", "--"], &names)?;
        let ids = words(&docker.demand("ps", &["ps", "-aq", "--no-trunc"])?);
        let containers: Vec<Mounted> = shown(docker, &["container", "inspect", "--"], &ids)?;
        let mounts = containers.into_iter().flat_map(|container| container.mounts);
        let writers = mounts.filter(|mount| mount.writes).map(|mount| mount.source);
        // What a volume binds is not told of the containers that mount it.
        let writers = writers.chain(volumes.iter().filter_map(Volume::bound)).collect();
        Ok(Self { project: project.to_owned(), own: None, sockets, writers, volumes, networks })
    }
}

/// The names that the resources of a kind have on the host.
fn named(model: &Value, kind: &str) -> Vec<String> {
    let all = model[kind].as_object().into_iter().flatten();
    all.map(|(key, value)| value["name"].as_str().unwrap_or(key).to_owned()).collect()
}

fn words(listed: &str) -> Vec<String> {
    listed.split_whitespace().map(str::to_owned).collect()
}

/// Networks that services name without declaring them.
fn modes(model: &Value) -> Vec<String> {
    let services = model["services"].as_object().into_iter().flat_map(|services| services.values());
    let modes = services.flat_map(|service| [&service["network_mode"], &service["build"]["network"]]);
    modes.filter_map(Value::as_str).filter(|mode| !mode.contains(':')).map(str::to_owned).collect()
}

/// What `inspect` shows of these names; those that are not there are left out.
fn shown<T: for<'d> Deserialize<'d>>(
    docker: &Docker,
    command: &[&str],
    names: &[String],
) -> Result<Vec<T>, Error> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let done = docker.ask(&[command, &names].concat())?;
    serde_json::from_slice(done.out.expose())
        .map_err(|error| Error::Failed { what: "inspect", said: error.to_string() })
}
