//! Taking a stack down: its containers and its resident secrets go, its data stays.

use std::collections::BTreeSet;
use std::time::Instant;

use jiff::Timestamp;

use super::clean;
use super::docker::Docker;
use super::engine;
use super::error::Error;
use super::mirror::{Git, Mirror, Source};
use super::resident::Resident;
use super::state::{Stack, State};
use super::{Event, Service, World};

/// Stops and removes a stack's containers, and shreds what was kept in RAM for them.
pub fn down(service: &Service, world: &World<'_>) -> Result<(), Error> {
    let (start, began) = (Instant::now(), Timestamp::now().as_second());
    let docker = Docker::new(world.env, "/");
    let endpoint = docker.check()?;
    let _lock = super::run::lock(service, world)?;
    let state = State::open(&world.places.state.join("state.db"))?;
    let stack = state.stack(service)?.ok_or_else(|| Error::NotDeployed(service.clone()))?;
    if let Some(old) = stack.docker.as_deref().filter(|old| !endpoint.is(Some(old))) {
        let (old, new) = (old.to_owned(), endpoint.to_string());
        return Err(engine::Error::OtherDocker { service: service.clone(), old, new }.into());
    }
    if state.settle_interrupted(service)? {
        let (git, source) = (Git::new(world.env), Source::from_record(&stack.repo));
        let mirror = Mirror::offline(&world.places.state, &source, &git);
        clean::after_a_kill(service, &stack, &state, &mirror)?;
    }
    let entry = state.begin(service, "down", world.who, began)?;
    let result = take_down(service, &stack, &docker, world);
    if result.is_ok() {
        state.forget_resident(service, &BTreeSet::new())?;
    }
    state.end_whole(entry, (&stack.repo, stack.tried.as_deref()), start.elapsed(), &result)?;
    result
}

fn take_down(service: &Service, stack: &Stack, docker: &Docker, world: &World<'_>) -> Result<(), Error> {
    if let Some(project) = &stack.project {
        (world.report)(Event::Step(&format!("stopping the containers of `{project}`")));
        stack.engine.down(docker, project, world.report)?;
    }
    // A deploy that was killed left the place of its vault.
    let vault = world.places.vault(service);
    let _ = std::fs::remove_dir(&vault);
    let _ = vault.parent().map(std::fs::remove_dir);
    Ok(Resident::new(world.places.resident(service)).clear()?)
}
