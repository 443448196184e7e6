//! The advice for what Docker, Compose and Swarm refuse.

use super::{Exit, Failure};
use crate::deploy::{docker, engine, swarm};

/// Docker or Compose is not there, or failed.
pub(super) fn docker_failure(error: docker::Error) -> Failure {
    let missing = Failure::new(Exit::Missing, &error);
    match error {
        docker::Error::Missing => {
            missing.hint("install Docker Engine: https://docs.docker.com/engine/install/")
        }
        docker::Error::Down(said) if said.contains("permission denied") => missing
            .hint("run it with sudo; or join the group that may talk to Docker: `sudo usermod -aG docker $USER`, and log in again"),
        docker::Error::Down(_) => missing
            .hint("start it: systemctl start docker")
            .hint("`docker context ls`, DOCKER_HOST and DOCKER_CONTEXT say which one is asked"),
        docker::Error::EngineOld(_) => {
            missing.hint("install a newer one: https://docs.docker.com/engine/install/")
        }
        docker::Error::ComposeV1(_) | docker::Error::ComposeMissing | docker::Error::ComposeOld(_) => {
            missing.hint("install the Compose v2 plugin: https://docs.docker.com/compose/install/linux/")
        }
        docker::Error::Failed { .. } | docker::Error::Start(_) => Failure::new(Exit::Failed, error),
    }
}

/// There is no Swarm, or it does not do what is asked for.
pub(super) fn swarm_failure(error: &swarm::Error) -> Failure {
    let missing = Failure::new(Exit::Missing, error);
    match error {
        swarm::Error::Inactive => {
            missing.hint("`docker swarm init` makes one of this host, `docker swarm join` joins one")
        }
        swarm::Error::Locked => {
            missing.hint("`docker swarm unlock` takes the key that `docker swarm init --autolock` showed")
        }
        swarm::Error::Worker => {
            missing.hint("deploy on a manager, or make this one with `docker node promote` there")
        }
        swarm::Error::Cannot(_) => Failure::new(Exit::Failed, error)
            .hint("change the compose file, or leave `x-hlx.engine` out: Compose does all of it on one host"),
    }
}

/// The stack's containers are run by something else, or somewhere else.
pub(super) fn engine_failure(error: &engine::Error) -> Failure {
    match error {
        engine::Error::OtherEngine { .. } => Failure::new(Exit::Policy, error)
            .hint("run `hlx down` for the service first, or keep the old engine"),
        engine::Error::OtherDocker { .. } => Failure::new(Exit::Policy, error)
            .hint("`docker context ls` and DOCKER_HOST say which Docker is talked to")
            .hint("to deploy it here, and leave alone what runs there, deploy with --adopt"),
        engine::Error::Far { .. } => Failure::new(Exit::Failed, error).hint(
            "run hlx on that host; or give secrets in the environment, which goes along, and data by volumes",
        ),
        engine::Error::NotRoot(_) => Failure::new(Exit::Policy, error)
            .hint("deploy it with sudo; or give the secrets in the environment"),
        engine::Error::StackLeft { .. } => Failure::new(Exit::Failed, error)
            .hint("`docker node ls` shows whether a node is away; then run `hlx down` again"),
    }
}
