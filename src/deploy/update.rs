//! Newer images under the same tags: the deployed commit is deployed once more, and whatever the
//! registries have by now goes through the same gate, with the same way back.

use super::docker::Docker;
use super::error::Error;
use super::state::State;
use super::{At, Outcome, Service, Wish, World, run};

/// The stacks of this host that have containers.
pub fn stacks(world: &World<'_>) -> Result<Vec<Service>, Error> {
    let path = world.places.state.join("state.db");
    if !path.exists() {
        return Ok(Vec::new());
    }
    let (state, docker) = (State::open(&path)?, Docker::new(world.env, "/"));
    let endpoint = docker.endpoint()?;
    let mut there = Vec::new();
    for service in state.stacks()? {
        let stack = state.stack(&service)?.unwrap_or_default();
        if let Some(project) = &stack.project
            && endpoint.is(stack.docker.as_deref())
            && !stack.engine.containers(&docker, project)?.is_empty()
        {
            there.push(service);
        }
    }
    Ok(there)
}

/// Deploys what is deployed, and says of which services the image is another now.
pub fn update(service: &Service, world: &World<'_>) -> Result<(Outcome, Vec<String>), Error> {
    let images = || -> Result<_, Error> {
        let state = State::open(&world.places.state.join("state.db"))?;
        let commit = state.stack(service)?.and_then(|stack| stack.commit);
        let commit = commit.ok_or_else(|| Error::NotDeployed(service.clone()))?;
        Ok(state.images(service, &commit)?)
    };
    if !world.places.state.join("state.db").exists() {
        return Err(Error::NotDeployed(service.clone()));
    }
    let before = images()?;
    let outcome = run::deploy(&Wish::of(service.clone(), At::Deployed), world)?;
    let newer = images()?.into_iter().filter(|image| !before.contains(image));
    Ok((outcome, newer.map(|image| image.service).collect()))
}
