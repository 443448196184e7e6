//! Whether this host may run the stack.

use serde_json::Value;

use super::swarm::Ship;
use super::{Deploy, Error, Whose, Wish, World};
use crate::deploy::engine::{self, Engine};
use crate::deploy::model::Model;
use crate::deploy::resident::{Ground, Plan};
use crate::deploy::stage::Stage;
use crate::deploy::wishes::Wishes;
use crate::deploy::{Adopt, deny, endpoint, preflight};

/// Whether this host's configuration allows the stack.
pub(super) fn stack_of_host(wish: &Wish, world: &World<'_>) -> Result<(), Error> {
    match &world.settings.stacks {
        Some(stacks) if !stacks.iter().any(|stack| stack == wish.service.as_str()) => {
            Err(Error::NotOurs { service: wish.service.clone(), stacks: stacks.clone() })
        }
        _ => Ok(()),
    }
}

/// Only root can keep files where the Docker daemon sees them and no disk does.
fn has_ram(plan: Option<&Plan>) -> Result<(), Error> {
    let files: Vec<String> =
        plan.into_iter().flat_map(Plan::paths).map(|path| path.display().to_string()).collect();
    match files.is_empty() || rustix::process::geteuid().is_root() {
        true => Ok(()),
        false => Err(engine::Error::NotRoot(files).into()),
    }
}

impl Deploy<'_> {
    /// Whether this host may run the stack, and the stack may have its project's name.
    pub(super) fn admit(&self, model: &Model, wishes: &Wishes) -> Result<(), Error> {
        let service = self.wish.service.clone();
        let host = self.world.host();
        if !wishes.allow(&host) {
            return Err(Error::OtherHost { service, host, hosts: wishes.hosts.clone() });
        }
        if let Some((service, image)) = model.kept_name() {
            return Err(Error::KeptName { service: service.to_owned(), image: image.to_owned() });
        }
        if wishes.engine == Engine::Swarm {
            self.timings.measure("asking the Swarm", Whose::Docker, || self.docker.manager())?;
        }
        let project = model.name.clone();
        if let Some(owner) = self.state.owner_of(&project, &service)? {
            return Err(Error::ProjectOf { project, owner });
        }
        self.admit_project(project, wishes.engine)
    }

    /// Containers of another project of the same name, or of this stack under another name.
    fn admit_project(&self, project: String, engine: Engine) -> Result<(), Error> {
        let there = |engine: Engine, project: &str| {
            let look = || engine.occupants(&self.docker, project);
            self.timings.measure("looking for containers", Whose::Docker, look)
        };
        let former = self.stack.engine;
        let is_same = self.stack.project.as_ref() == Some(&project) && engine == former;
        // Taken down, it keeps its name on this host; what has the name now is somebody else's.
        if is_same && !self.state.is_down(&self.wish.service)? {
            return Ok(());
        }
        if let Some(old) = self.stack.project.as_ref().filter(|_| !is_same)
            && !there(former, old)?.is_empty()
        {
            let (service, new) = (self.wish.service.clone(), engine.as_str());
            return Err(match engine == former {
                true => Error::Renamed { old: old.clone(), new: project },
                false => engine::Error::OtherEngine { service, old: former.as_str(), new }.into(),
            });
        }
        if self.wish.adopt == Adopt::Yes {
            return Ok(());
        }
        let names = there(engine, &project)?;
        if names.is_empty() { Ok(()) } else { Err(Error::Foreign { project, names }) }
    }

    /// Whether the containers will find what they need: nothing of this host is on another.
    pub(super) fn reaches(
        &self,
        model: &Model,
        plan: &Plan,
        stage: &Stage<'_>,
        ground: Ground<'_>,
        ship: Option<&Ship>,
    ) -> Result<(), Error> {
        let json: Value = serde_json::from_slice(stage.json()).map_err(Error::Unreadable)?;
        let is_spread = ship.is_some_and(|ship| !ship.manager.is_alone());
        if self.endpoint.is_far() || is_spread {
            // Links of another host are not seen from here, so that no exception can be judged either.
            deny::check_unseen(&self.world.settings.deny, ground, &json)?;
        }
        if is_spread {
            deny::check_nodes(&self.world.settings.deny, ground, &json)?;
        }
        if !self.endpoint.is_far() {
            return has_ram(Some(plan).filter(|_| ship.is_none()));
        }
        let plan = Some(plan).filter(|_| ship.is_none());
        let missing = endpoint::missing(&json, plan, &model.wishes()?.probes, ground);
        match missing.is_empty() {
            true => Ok(()),
            false => Err(engine::Error::Far { docker: self.endpoint.to_string(), missing }.into()),
        }
    }

    /// Refuses what is denied. Volumes of the stack's own project are its own; a person can give it those that
    /// others made for a project of that name.
    pub(super) fn allows(&self, model: &Model, stage: &Stage<'_>, ground: Ground<'_>) -> Result<(), Error> {
        let own = match self.wish.adopt {
            Adopt::Yes => Some(model.name.as_str()),
            Adopt::No => self.stack.project.as_deref(),
        };
        deny::check(&self.world.settings.deny, ground, stage.json(), own, &self.docker)
    }

    /// Whether this is the Docker that the stack was deployed to.
    pub(super) fn is_at_home(&self) -> Result<(), Error> {
        let old = self.stack.docker.as_deref();
        match (self.wish.adopt, old) {
            (Adopt::No, Some(old)) if !self.endpoint.is(Some(old)) => Err(engine::Error::OtherDocker {
                service: self.wish.service.clone(),
                old: old.to_owned(),
                new: self.endpoint.to_string(),
            }
            .into()),
            _ => Ok(()),
        }
    }

    /// Whether this host is ready for it.
    pub(super) fn is_ready(
        &self,
        model: &Model,
        engine: Engine,
        stage: &Stage<'_>,
        ground: Ground<'_>,
    ) -> Result<(), Error> {
        let (docker, report) = (&self.docker, self.world.report);
        let (project, places) = (model.name.as_str(), [ground.project, &self.world.places.state]);
        let is_far = self.endpoint.is_far();
        let case =
            preflight::Case { project, json: stage.json(), docker, engine, is_far, places: &places, report };
        self.timings.measure("preflight", Whose::Docker, || preflight::check(&case))
    }
}
