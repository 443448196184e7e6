//! What would fail later, found before anything is touched, with the reason named: ports and names that
//! are taken, networks and volumes that are not there, a disk that is full.

mod listeners;
mod names;
mod ports;
pub mod space;

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::docker::Docker;
use super::engine::Engine;
use super::error::Error;
use super::outlet::{Event, Report};
pub(super) use names::Named;
use ports::Holder;
pub(super) use ports::{Published, published};

/// What a check of this host takes.
pub(super) struct Case<'c> {
    /// The compose project.
    pub(super) project: &'c str,
    /// The model as compose printed it.
    pub(super) json: &'c [u8],
    /// Docker.
    pub(super) docker: &'c Docker,
    /// What is to run the containers.
    pub(super) engine: Engine,
    /// They are to run on another host.
    pub(super) is_far: bool,
    /// Directories that will be written to.
    pub(super) places: &'c [&'c Path],
    /// Hears what is not as it should be.
    pub(super) report: Report<'c>,
}

/// Refuses what this host is not ready for, and says everything that is in the way.
pub(super) fn check(case: &Case<'_>) -> Result<(), Error> {
    let model: Value = serde_json::from_slice(case.json).map_err(Error::Unreadable)?;
    let mut problems = taken_ports(&model, case)?;
    if case.engine == Engine::Compose && names::are_fixed(&model) {
        problems.extend(names::taken(&model, case.project, &case.docker.named()?));
    }
    problems.extend(missing(&model, "network", case.docker)?);
    problems.extend(missing(&model, "volume", case.docker)?);
    let images = Some(Path::new("/var/lib/docker")).filter(|images| !case.is_far && images.is_dir());
    for place in case.places.iter().copied().chain(images) {
        match space::look(place) {
            space::Room::Enough => {}
            space::Room::Little(left) => (case.report)(Event::Warning(&left)),
            space::Room::None(left) => problems.push(left),
        }
    }
    if case.is_far {
        let told =
            "not looked at: the disk of the other host, and ports that its programs have outside Docker";
        (case.report)(Event::Step(told));
    }
    if problems.is_empty() { Ok(()) } else { Err(Error::NotReady(problems)) }
}

fn taken_ports(model: &Value, case: &Case<'_>) -> Result<Vec<String>, Error> {
    let wanted = ports::wanted(model);
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let mut published = case.docker.published()?;
    if case.engine == Engine::Swarm {
        published.extend(case.docker.published_by_services()?);
    }
    let listening = if case.is_far { Vec::new() } else { listeners::all() };
    let mut problems = ports::twice(&wanted);
    for port in &wanted {
        match ports::holder(port, case.project, &published, &listening) {
            Holder::Nobody => {}
            Holder::Container { kind, name, project: None } => {
                problems.push(format!("{port} is taken by the {kind} {name}"));
            }
            Holder::Container { kind, name, project: Some(project) } => {
                problems.push(format!("{port} is taken by the {kind} {name} of the project {project}"));
            }
            Holder::Program { inode } => {
                let owner = listeners::owner(inode).unwrap_or_else(|| "another program".to_owned());
                problems.push(format!("{port} is taken by {owner}"));
            }
        }
    }
    Ok(problems)
}

/// External resources that are not there.
fn missing(model: &Value, kind: &'static str, docker: &Docker) -> Result<Vec<String>, Error> {
    let all = model[format!("{kind}s")].as_object().into_iter().flatten();
    let external = all.filter(|(_, value)| value["external"] == Value::Bool(true));
    let names = external.map(|(key, value)| value["name"].as_str().unwrap_or(key).to_owned());
    let mut problems = Vec::new();
    for name in names {
        if !docker.has(kind, &name)? {
            problems.push(format!("there is no {kind} `{name}`: `docker {kind} create {name}` makes one"));
        }
    }
    Ok(problems)
}

/// Where Docker keeps images and containers, if that is on this host.
pub(super) fn data_root(docker: &Docker) -> Option<PathBuf> {
    let said = docker.demand("info", &["info", "--format", "{{.DockerRootDir}}"]).ok()?;
    Some(PathBuf::from(said)).filter(|path| path.is_dir())
}
