//! How the stacks of this host stand: what is deployed, and how its containers are.

use super::docker::Docker;
use super::endpoint::Endpoint;
use super::error::Error;
use super::health::Container;
use super::state::{Ending, Entry, Stack, State};
use super::{Service, World};

impl Standing {
    /// True if any of its containers runs, however well.
    pub fn runs(&self) -> bool {
        self.containers.iter().any(|container| matches!(container.status.as_str(), "running" | "restarting"))
    }
}

/// A stack and its containers.
#[derive(Debug)]
pub struct Standing {
    /// Its name.
    pub service: Service,
    /// What is known of it.
    pub stack: Stack,
    /// Why its newest commit is bad, if it was tried and was not well.
    pub bad: Option<String>,
    /// The deploy that came last, if it did not end well and nothing was done since.
    pub failed: Option<Entry>,
    /// The Docker that it was deployed to, if that is another than the one that is asked.
    pub elsewhere: Option<String>,
    /// Its containers; none if it is down or elsewhere.
    pub containers: Vec<Container>,
}

/// Looks at one stack, or at all that were ever deployed here.
pub fn standing(service: Option<&Service>, world: &World<'_>) -> Result<Vec<Standing>, Error> {
    let Some(state) = State::open_if_there(&world.places.state.join("state.db"))? else {
        return match service {
            Some(service) => Err(Error::NotDeployed(service.clone())),
            None => Ok(Vec::new()),
        };
    };
    let docker = Docker::new(world.env, "/");
    let names = match service {
        Some(service) => vec![service.clone()],
        None => state.stacks()?,
    };
    let endpoint = docker.endpoint()?;
    names.into_iter().map(|name| look(name, &state, &docker, &endpoint)).collect()
}

fn look(service: Service, state: &State, docker: &Docker, endpoint: &Endpoint) -> Result<Standing, Error> {
    let stack = state.stack(&service)?.ok_or_else(|| Error::NotDeployed(service.clone()))?;
    let bad = match &stack.tried {
        Some(commit) => state.is_bad(&service, commit)?,
        None => None,
    };
    let elsewhere = stack.docker.clone().filter(|docker| !endpoint.is(Some(docker)));
    let containers = match &stack.project {
        Some(project) if elsewhere.is_none() => stack.engine.containers(docker, project)?,
        _ => Vec::new(),
    };
    let newest = state.history(Some(&service), 1)?.pop();
    let failed = newest.filter(|entry| !matches!(entry.ending, Ending::Good | Ending::Running));
    Ok(Standing { service, stack, bad, failed, elsewhere, containers })
}
