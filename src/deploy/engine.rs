//! What runs a stack's containers: Compose on this host, or a Swarm of several.
//!
//! The steps of a deploy are the same for both; where they differ, they ask here.

use super::docker::{self, Docker};
use super::error::Broken;
use super::gate::{self, Ill};
use super::health::Container;
use super::mask::Masker;
use super::mirror::indented;
use super::outlet::{Event, Report, lines};
use super::service::Service;
use super::swarm;

/// Why a stack's containers are not the engine's to run, or to remove.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The stack's containers run by another engine.
    #[error("`{service}` runs by {old}, and `x-hlx.engine` is `{new}` now")]
    OtherEngine {
        /// The service.
        service: Service,
        /// What runs it.
        old: &'static str,
        /// What should.
        new: &'static str,
    },
    /// The stack's containers are another Docker's.
    #[error("`{service}` was deployed to the Docker at {old}, not to the one at {new}")]
    OtherDocker {
        /// The service.
        service: Service,
        /// Its address.
        old: String,
        /// That of the one that is talked to now.
        new: String,
    },
    /// The Docker is on another host, and the stack needs what is on this one.
    #[error("the Docker at {docker} is on another host, where this would be missing:{}", indented(&missing.join("\n")))]
    Far {
        /// Its address.
        docker: String,
        /// What it would need.
        missing: Vec<String>,
    },
    /// Containers need files in RAM, and whoever deploys is not root.
    #[error("containers would mount these encrypted files, and only root can keep them in RAM:{}", indented(&.0.join("\n")))]
    NotRoot(Vec<String>),
    /// Something of a stack was still there long after it was removed.
    #[error("`docker stack rm {project}` left something behind: {left}{}", indented(said))]
    StackLeft {
        /// The stack.
        project: String,
        /// What is left.
        left: String,
        /// What it said last.
        said: String,
    },
}

/// What runs a stack's containers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Engine {
    /// `docker compose`, on the host of the Docker that hlx talks to.
    #[default]
    Compose,
    /// `docker stack`, on all nodes of the Swarm whose manager hlx talks to.
    Swarm,
}

impl Engine {
    const ALL: [Self; 2] = [Self::Compose, Self::Swarm];

    /// Its name under `x-hlx:` and in the record.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Compose => "compose",
            Self::Swarm => "swarm",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|engine| engine.as_str() == name)
    }

    /// Every container of a project, in whatever condition; of a Swarm, every task that is to run
    /// or was the last of its slot.
    pub(super) fn containers(self, docker: &Docker, project: &str) -> Result<Vec<Container>, docker::Error> {
        match self {
            Self::Compose => docker.containers(project),
            Self::Swarm => or_left(docker, docker.tasks_as_containers(project)),
        }
    }

    /// What there is of a project, by its names: containers; of a Swarm services, which need not have
    /// any at the moment.
    pub(super) fn occupants(self, docker: &Docker, project: &str) -> Result<Vec<String>, docker::Error> {
        match self {
            Self::Compose => {
                Ok(docker.containers(project)?.into_iter().map(|container| container.name).collect())
            }
            Self::Swarm => {
                let services = or_left(docker, docker.services(project))?;
                Ok(services.into_iter().map(|service| service.name().to_owned()).collect())
            }
        }
    }

    /// Stops and removes a project's containers and networks; volumes stay.
    pub(super) fn down(self, docker: &Docker, project: &str, report: Report<'_>) -> Result<(), super::Error> {
        match self {
            Self::Compose => {
                let done = docker.down(project)?;
                let said = lines(&String::from_utf8_lossy(done.err.expose()));
                if !done.end.is_success() {
                    return Err(super::Error::Down(said));
                }
                said.lines().for_each(|text| report(Event::Line { from: "down", text }));
                Ok(())
            }
            Self::Swarm => docker.remove_stack(project),
        }
    }

    /// How things stand: the reason, the log of the container that is the reason, and the rest.
    pub(super) fn inquire(self, docker: &Docker, project: &str, ill: Ill, masker: &Masker) -> Broken {
        match self {
            Self::Compose => gate::inquire(docker, project, ill, masker),
            Self::Swarm => swarm::inquire(docker, project, ill, masker),
        }
    }
}

/// What a Swarm has, and nothing where there is none: who left it has left its stacks behind.
fn or_left<T>(docker: &Docker, found: Result<Vec<T>, docker::Error>) -> Result<Vec<T>, docker::Error> {
    match found {
        Err(_) if matches!(docker.manager(), Err(super::Error::Swarm(swarm::Error::Inactive))) => {
            Ok(Vec::new())
        }
        other => other,
    }
}
