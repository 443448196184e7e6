//! Where the Docker is that hlx talks to: on this host, or on another.
//!
//! `docker` itself says which address DOCKER_HOST, DOCKER_CONTEXT or `docker context use` come to.
//! Only a socket of this host counts as here: whatever has a network address may be anywhere, be
//! it `127.0.0.1`, where a tunnel may begin.

use std::fmt;
use std::path::Path;

use serde_json::Value;

use super::docker::{Docker, Error};
use super::probe::Probe;
use super::resident::{Ground, Plan};
use super::tree::flat;

/// The address of a Docker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint(String);

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Endpoint {
    /// An address as `docker` prints it. A socket that has several paths gets one.
    fn new(address: &str) -> Self {
        let socket = address.strip_prefix("unix://").and_then(|path| std::fs::canonicalize(path).ok());
        Self(socket.map_or_else(|| address.to_owned(), |path| format!("unix://{}", path.display())))
    }

    /// True if it has a network address.
    pub fn is_far(&self) -> bool {
        self.socket().is_none()
    }

    /// The socket, if it is one.
    pub fn socket(&self) -> Option<&Path> {
        self.0.strip_prefix("unix://").map(Path::new)
    }

    /// True if a recorded address is this one, or none was recorded.
    pub fn is(&self, recorded: Option<&str>) -> bool {
        recorded.is_none_or(|recorded| recorded == self.0)
    }
}

impl Docker {
    /// The address of the daemon.
    pub fn endpoint(&self) -> Result<Endpoint, Error> {
        let args = ["context", "inspect", "--format", "{{.Endpoints.docker.Host}}"];
        Ok(Endpoint::new(&self.demand("context inspect", &args)?))
    }
}

/// What services of a model would miss on another host. `plan` is of the files that would be in RAM
/// here; a Swarm is handed those.
pub(super) fn missing(
    model: &Value,
    plan: Option<&Plan>,
    probes: &[Probe],
    ground: Ground<'_>,
) -> Vec<String> {
    let mut missing = Vec::new();
    for kind in ["secret", "config"].into_iter().filter(|_| plan.is_some()) {
        let files = model[format!("{kind}s")].as_object().into_iter().flatten();
        let files = files.filter_map(|(name, source)| Some((name, source["file"].as_str()?)));
        missing.extend(
            files.map(|(name, file)| format!("{kind} `{name}`, which is the file {file} of this host")),
        );
    }
    for (name, service) in model["services"].as_object().into_iter().flatten() {
        let binds =
            service["volumes"].as_array().into_iter().flatten().filter(|mount| mount["type"] == "bind");
        let sources = binds.filter_map(|mount| mount["source"].as_str());
        for source in sources.filter(|source| flat(Path::new(source)).starts_with(ground.project)) {
            missing.push(format!("{source}, which service `{name}` mounts from the project directory"));
        }
    }
    let here = probes.iter().filter(|probe| probe.asks_this_host());
    missing.extend(here.map(|probe| format!("an answer to the probe {probe}, which asks this host")));
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_socket_is_here() {
        for (address, far) in [
            ("unix:///var/run/docker.sock", false),
            ("unix:///nowhere/sock", false),
            ("tcp://127.0.0.1:2375", true),
            ("ssh://root@nas", true),
            ("http://nas:2375", true),
        ] {
            assert_eq!(Endpoint::new(address).is_far(), far, "{address}");
        }
        let here = Endpoint::new("unix:///nowhere/sock");
        assert!(here.is(None) && here.is(Some("unix:///nowhere/sock")) && !here.is(Some("ssh://nas")));
    }

    #[test]
    fn a_socket_is_the_same_by_each_of_its_paths() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("sock"), "").unwrap();
        std::os::unix::fs::symlink(dir.path(), dir.path().join("link")).unwrap();
        let at = |path: &str| Endpoint::new(&format!("unix://{}/{path}", dir.path().display()));
        assert_eq!(at("sock"), at("link/sock"));
    }
}
