//! Taking a stack down: its containers and its resident secrets go, its data stays.

use std::collections::BTreeSet;
use std::time::Instant;

use jiff::Timestamp;

use super::clean;
use super::docker::Docker;
use super::error::Error;
use super::mirror::{Git, Mirror, Source};
use super::outlet::lines;
use super::resident::Resident;
use super::state::{Ending, Record, State};
use super::{Event, Service, World};

/// Stops and removes a stack's containers, and shreds what was kept in RAM for them.
pub fn down(service: &Service, world: &World<'_>) -> Result<(), Error> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    let (start, began) = (Instant::now(), Timestamp::now().as_second());
    let docker = Docker::new(world.env, "/");
    docker.check()?;
    let _lock = super::run::lock(service, world)?;
    let state = State::open(&world.places.state.join("state.db"))?;
    let stack = state.stack(service)?.ok_or_else(|| Error::NotDeployed(service.clone()))?;
    if state.settle_interrupted(service)? {
        let (git, source) = (Git::new(world.env), Source::from_record(&stack.repo));
        let mirror = Mirror::offline(&world.places.state, &source, &git);
        clean::after_a_kill(service, &stack, &state, &mirror)?;
    }
    let entry = state.begin(service, "down", world.who, began)?;
    let result = take_down(service, stack.project.as_deref(), &docker, world);
    if result.is_ok() {
        state.forget_resident(service, &BTreeSet::new())?;
    }
    let first_line = |error: &Error| error.to_string().lines().next().unwrap_or_default().to_owned();
    let record = Record {
        repo: &stack.repo,
        commit: stack.tried.as_deref(),
        ending: if result.is_ok() { Ending::Good } else { Ending::Failed },
        result: &result.as_ref().err().map_or_else(|| "good".to_owned(), first_line),
        took: start.elapsed(),
        phases: "[]",
    };
    state.end(entry, &record)?;
    result
}

fn take_down(
    service: &Service,
    project: Option<&str>,
    docker: &Docker,
    world: &World<'_>,
) -> Result<(), Error> {
    if let Some(project) = project {
        (world.report)(Event::Step(&format!("stopping the containers of `{project}`")));
        let done = docker.down(project)?;
        let said = lines(&String::from_utf8_lossy(done.err.expose()));
        if !done.end.is_success() {
            return Err(Error::Down(said));
        }
        said.lines().for_each(|text| (world.report)(Event::Line { from: "down", text }));
    }
    // A deploy that was killed left the place of its vault.
    let vault = world.places.vault(service);
    let _ = std::fs::remove_dir(&vault);
    let _ = vault.parent().map(std::fs::remove_dir);
    Ok(Resident::new(world.places.resident(service)).clear()?)
}
