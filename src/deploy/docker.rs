//! Docker and Compose, as far as they are asked outside the vault.

use std::io;
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;

use serde::Deserialize;

use super::endpoint::Endpoint;
use super::health::Container;
use super::preflight::{self, Named, Published};
use super::swarm::Service;
use crate::sys::process::{Call, End, Env, Finished};

const ASK: Duration = Duration::from_secs(60);
const DOWN: Duration = Duration::from_secs(300);

/// The oldest Compose whose options are used here.
const OLDEST: (u32, u32) = (2, 20);

/// The oldest Engine that this was tried with.
const OLDEST_ENGINE: (u32, u32) = (20, 10);

/// Why Docker cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no `docker` program.
    #[error("the `docker` program is not installed")]
    Missing,
    /// The program is there, the daemon does not answer.
    #[error("the Docker daemon does not answer{}", super::mirror::indented(.0))]
    Down(String),
    /// The Engine is too old.
    #[error("Docker Engine {0} is too old: 20.10 or later is needed")]
    EngineOld(String),
    /// Only the old Python Compose is there.
    #[error("only Compose v1 (`docker-compose` {0}) is installed")]
    ComposeV1(String),
    /// There is no Compose.
    #[error("the Compose plugin of `docker` is not installed")]
    ComposeMissing,
    /// Compose is too old.
    #[error("Compose {0} is too old: 2.20 or later is needed")]
    ComposeOld(String),
    /// A command failed.
    #[error("`docker {what}` failed{}", super::mirror::indented(said))]
    Failed {
        /// The command.
        what: &'static str,
        /// What it said.
        said: String,
    },
    /// The program cannot be started.
    #[error("cannot run docker: {0}")]
    Start(#[from] io::Error),
}

/// The docker program and its environment.
#[derive(Debug, Clone)]
pub struct Docker {
    env: Env,
    cwd: PathBuf,
}

/// A question to Compose that is on its way.
#[derive(Debug)]
pub(super) struct ComposeCheck(JoinHandle<Result<(), Error>>);

impl ComposeCheck {
    /// Fails if Compose is not there, or too old.
    pub(super) fn wait(self) -> Result<(), Error> {
        self.0.join().expect("asking does not panic")
    }
}

impl Docker {
    /// Docker in the door's environment. `cwd` is a directory without a compose file.
    pub fn new(env: &Env, cwd: impl Into<PathBuf>) -> Self {
        Self { env: env.clone(), cwd: cwd.into() }
    }

    pub(super) fn call(&self, args: &[&str], limit: Duration) -> Call {
        Call::new("docker", &self.cwd, &self.env, limit).args(args)
    }

    pub(super) fn ask(&self, args: &[&str]) -> Result<Finished, Error> {
        match self.call(args, ASK).output(b"") {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Error::Missing),
            other => Ok(other?),
        }
    }

    pub(super) fn demand(&self, what: &'static str, args: &[&str]) -> Result<String, Error> {
        let done = self.ask(args)?;
        match done.end.is_success() {
            true => Ok(text(done.out.expose())),
            false => Err(Error::Failed { what, said: text(done.err.expose()) }),
        }
    }

    /// Makes sure that the daemon answers and that Compose is there and new enough; says where the
    /// daemon is.
    pub fn check(&self) -> Result<Endpoint, Error> {
        let (endpoint, compose) = self.begin()?;
        compose.wait()?;
        Ok(endpoint)
    }

    /// The same without waiting for Compose, which takes longer to say its version than all else that is
    /// asked at the start.
    pub(super) fn begin(&self) -> Result<(Endpoint, ComposeCheck), Error> {
        let docker = self.clone();
        let check = move || docker.check_compose(&docker.ask(&["compose", "version", "--short"])?);
        let compose = ComposeCheck(std::thread::spawn(check));
        match self.check_daemon() {
            Ok(endpoint) => Ok((endpoint, compose)),
            // What is wrong with Compose says more.
            Err(error @ Error::Failed { .. }) => compose.wait().and(Err(error)),
            Err(error) => Err(error),
        }
    }

    /// Makes sure that the daemon answers; says where it is.
    fn check_daemon(&self) -> Result<Endpoint, Error> {
        std::thread::scope(|scope| {
            let endpoint = scope.spawn(|| self.endpoint());
            let daemon = self.ask(&["version", "--format", "{{.Server.Version}}"])?;
            if !daemon.end.is_success() {
                return Err(Error::Down(text(daemon.err.expose())));
            }
            let version = text(daemon.out.expose());
            if parse_version(&version).is_some_and(|found| found < OLDEST_ENGINE) {
                return Err(Error::EngineOld(version));
            }
            endpoint.join().expect("asking does not panic")
        })
    }

    /// The versions of Docker and Compose, for people.
    pub(super) fn versions(&self) -> Result<String, Error> {
        let engine = self.demand("version", &["version", "--format", "{{.Server.Version}}"])?;
        let compose = self.demand("compose version", &["compose", "version", "--short"])?;
        Ok(format!("Engine {engine}, Compose {compose}"))
    }

    fn check_compose(&self, answer: &Finished) -> Result<(), Error> {
        let version = text(answer.out.expose());
        match parse_version(&version).filter(|_| answer.end.is_success()) {
            Some(found) if found >= OLDEST => Ok(()),
            Some(_) => Err(Error::ComposeOld(version)),
            None => Err(self.old_compose()),
        }
    }

    fn old_compose(&self) -> Error {
        let call = Call::new("docker-compose", &self.cwd, &self.env, ASK).args(["version", "--short"]);
        let version = call.output(b"").map(|done| text(done.out.expose())).unwrap_or_default();
        match parse_version(&version) {
            Some((1, _)) => Error::ComposeV1(version),
            _ => Error::ComposeMissing,
        }
    }

    /// Every container of a compose project, in whatever condition, one-off ones excepted.
    pub fn containers(&self, project: &str) -> Result<Vec<Container>, Error> {
        let label = format!("label=com.docker.compose.project={project}");
        let listed = self.demand("ps", &["ps", "-aq", "--no-trunc", "--filter", &label])?;
        let ids: Vec<&str> = listed.split_whitespace().collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        // One that vanished in between makes inspect fail, but it still shows the others.
        let shown = self.ask(&[&["container", "inspect"][..], &ids].concat())?;
        let all: Vec<Inspected> = serde_json::from_slice(shown.out.expose())
            .map_err(|error| Error::Failed { what: "inspect", said: error.to_string() })?;
        Ok(all.into_iter().map(Container::from).filter(|container| !container.one_off).collect())
    }

    /// What `inspect` shows of the containers that these filters of `ps` let through.
    pub(super) fn inspected<T: for<'d> Deserialize<'d>>(&self, filters: &[&str]) -> Result<Vec<T>, Error> {
        let listed = self.demand("ps", &[&["ps", "-aq", "--no-trunc"][..], filters].concat())?;
        let ids: Vec<&str> = listed.split_whitespace().collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        // One that vanished in between makes inspect fail, but it still shows the others.
        let shown = self.ask(&[&["container", "inspect"][..], &ids].concat())?;
        serde_json::from_slice(shown.out.expose())
            .map_err(|error| Error::Failed { what: "inspect", said: error.to_string() })
    }

    /// The directories and files of this host that any container has mounted or would have, were it
    /// started, and those that volumes stand for.
    pub(super) fn mounted(&self) -> Result<Vec<PathBuf>, Error> {
        let containers: Vec<Mounts> = self.inspected(&[])?;
        let mut mounted: Vec<PathBuf> =
            containers.into_iter().flat_map(|found| found.mounts).map(|mount| mount.source).collect();
        let listed = self.demand("volume ls", &["volume", "ls", "-q"])?;
        let names: Vec<&str> = listed.split_whitespace().collect();
        if !names.is_empty() {
            // One that vanished in between makes inspect fail, but it still shows the others.
            let shown = self.ask(&[&["volume", "inspect"][..], &names].concat())?;
            let volumes: Vec<Volume> = serde_json::from_slice(shown.out.expose())
                .map_err(|error| Error::Failed { what: "volume inspect", said: error.to_string() })?;
            mounted.extend(volumes.into_iter().filter_map(|volume| volume.options?.device));
        }
        Ok(mounted)
    }

    /// The ports that running containers have.
    pub(super) fn published(&self) -> Result<Vec<Published>, Error> {
        let format = "{{.Names}}\t{{.Label \"com.docker.compose.project\"}}\t{{.Ports}}";
        let listed = self.demand("ps", &["ps", "--no-trunc", "--format", format])?;
        let read = |line: &str| -> Option<Vec<Published>> {
            let (name, rest) = line.split_once('\t')?;
            let (project, ports) = rest.split_once('\t')?;
            Some(preflight::published(name, project, ports))
        };
        Ok(listed.lines().filter_map(read).flatten().collect())
    }

    /// Every container with its name, in whatever condition.
    pub(super) fn named(&self) -> Result<Vec<Named>, Error> {
        let format = "{{.Names}}\t{{.Label \"com.docker.compose.project\"}}";
        let listed = self.demand("ps", &["ps", "-a", "--no-trunc", "--format", format])?;
        Ok(listed.lines().filter_map(Named::read).collect())
    }

    /// The containers of a project that a signal was sent to within so much time.
    pub(super) fn told_to_end(&self, project: &str, within: Duration) -> Result<Vec<String>, Error> {
        let since = format!("{}s", within.as_secs());
        let label = format!("label=com.docker.compose.project={project}");
        let filters = ["--filter", "event=kill", "--filter", &label, "--format", "{{.Actor.ID}}"];
        let found =
            self.demand("events", &[&["events", "--since", &since, "--until", "0s"][..], &filters].concat())?;
        Ok(found.lines().map(str::to_owned).collect())
    }

    /// The ports that services of the Swarm have, on every node.
    pub(super) fn published_by_services(&self) -> Result<Vec<Published>, Error> {
        let services = self.all_services()?;
        Ok(services.iter().flat_map(Service::published).collect())
    }

    /// True if there is a `network` or `volume` of this name.
    pub(super) fn has(&self, kind: &'static str, name: &str) -> Result<bool, Error> {
        let done = self.ask(&[kind, "inspect", "--format", "{{.Name}}", "--", name])?;
        let said = text(done.err.expose());
        match done.end.is_success() {
            true => Ok(true),
            false if said.to_ascii_lowercase().contains("no such") => Ok(false),
            // Docker 28 says `network X not found`.
            false if said.to_ascii_lowercase().contains("not found") => Ok(false),
            false => Err(Error::Failed { what: kind, said }),
        }
    }

    /// True if every one of these images is on this host.
    pub fn has_images(&self, images: &[&str]) -> Result<bool, Error> {
        let args = [&["image", "inspect", "--format", "{{.Id}}", "--"][..], images].concat();
        Ok(self.ask(&args)?.end.is_success())
    }

    /// The last lines of a container's log. They may hold secrets.
    pub fn logs(&self, id: &str, lines: usize) -> Result<Vec<u8>, Error> {
        let done = self.ask(&["logs", "--tail", &lines.to_string(), id])?;
        Ok([&done.out.expose()[..], &done.err.expose()[..]].concat())
    }

    /// Runs a program in a container; how it ended. What it says is nobody's business.
    pub fn exec(&self, id: &str, command: &[String], limit: Duration) -> Result<End, Error> {
        let call = self.call(&["exec", id], limit).args(command);
        Ok(call.output(b"")?.end)
    }

    /// `docker compose down`, which needs no file: volumes stay.
    pub fn down(&self, project: &str) -> Result<Finished, Error> {
        let args =
            ["compose", "--ansi", "never", "--progress", "plain", "-p", project, "down", "--remove-orphans"];
        let call = self.call(&args, DOWN).var("COMPOSE_DISABLE_ENV_FILE", "1");
        Ok(call.output(b"")?)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.trim_start_matches('v').split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// What `docker inspect` says, as far as it is read.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Inspected {
    id: String,
    name: String,
    #[serde(default)]
    image: String,
    #[serde(default)]
    restart_count: u64,
    state: Condition,
    config: Config,
    host_config: HostConfig,
    #[serde(default)]
    mounts: Vec<Mount>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Condition {
    status: String,
    exit_code: i64,
    started_at: String,
    finished_at: String,
    health: Option<Health>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Health {
    status: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    #[serde(default)]
    labels: std::collections::HashMap<String, String>,
    healthcheck: Option<Check>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Check {
    /// In nanoseconds.
    #[serde(default)]
    start_period: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HostConfig {
    restart_policy: Option<RestartPolicy>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RestartPolicy {
    name: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Mount {
    #[serde(default)]
    source: PathBuf,
}

/// What a container has mounted.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Mounts {
    #[serde(default)]
    mounts: Vec<Mount>,
}

/// A volume, as far as it can stand for a directory of this host.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Volume {
    options: Option<VolumeOptions>,
}

#[derive(Debug, Deserialize)]
struct VolumeOptions {
    device: Option<PathBuf>,
}

impl From<Inspected> for Container {
    fn from(found: Inspected) -> Self {
        let label = |name: &str| found.config.labels.get(name).cloned().unwrap_or_default();
        let policy = found.host_config.restart_policy.map(|policy| policy.name).unwrap_or_default();
        Self {
            service: label("com.docker.compose.service"),
            one_off: label("com.docker.compose.oneoff").eq_ignore_ascii_case("true"),
            replaces: !label("com.docker.compose.replace").is_empty(),
            id: found.id,
            image: found.image,
            name: found.name.trim_start_matches('/').to_owned(),
            status: found.state.status,
            exit_code: found.state.exit_code,
            health: found.state.health.map(|health| health.status).unwrap_or_default(),
            start_period: std::time::Duration::from_nanos(
                found.config.healthcheck.map_or(0, |check| check.start_period),
            ),
            comes_back: !matches!(policy.as_str(), "" | "no" | "on-failure"),
            restarts: found.restart_count,
            started: found.state.started_at.parse().unwrap_or_default(),
            finished: found.state.finished_at.parse().unwrap_or_default(),
            mounts: found.mounts.into_iter().map(|mount| mount.source).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        let table =
            [("2.40.3-3", Some((2, 40))), ("v2.5.0", Some((2, 5))), ("5.5.0", Some((5, 5))), ("dev", None)];
        for (text, version) in table {
            assert_eq!(parse_version(text), version, "{text}");
        }
    }

    #[test]
    fn an_inspected_container_is_read() {
        let text = r#"[{"Id":"1","Name":"/p-web-1","RestartCount":2,"State":{"Status":"running","ExitCode":0,
            "StartedAt":"2026-01-02T03:04:05.678901234Z","FinishedAt":"0001-01-01T00:00:00Z","Health":{"Status":"starting"}},
            "Config":{"Labels":{"com.docker.compose.service":"web"}},
            "HostConfig":{"RestartPolicy":{"Name":"always"}},"Mounts":[{"Source":"/run/x"}]}]"#;
        let found: Vec<Inspected> = serde_json::from_str(text).unwrap();
        let container = Container::from(found.into_iter().next().unwrap());
        assert_eq!((container.name.as_str(), container.service.as_str()), ("p-web-1", "web"));
        assert!(container.comes_back && !container.one_off && container.health == "starting");
        assert_eq!(container.started.to_string(), "2026-01-02T03:04:05.678901234Z");
    }
}
