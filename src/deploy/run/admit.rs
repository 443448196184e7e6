//! Who may deploy, and whether this host may run the stack.

use super::{Deploy, Error, Whose, Wish, World};
use crate::deploy::engine::Engine;
use crate::deploy::model::Model;
use crate::deploy::resident::Ground;
use crate::deploy::stage::Stage;
use crate::deploy::wishes::Wishes;
use crate::deploy::{Adopt, preflight};

/// Root, for a stack that this host's configuration allows.
pub(super) fn host_and_user(wish: &Wish, world: &World<'_>) -> Result<(), Error> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    match &world.settings.stacks {
        Some(stacks) if !stacks.iter().any(|stack| stack == wish.service.as_str()) => {
            Err(Error::NotOurs { service: wish.service.clone(), stacks: stacks.clone() })
        }
        _ => Ok(()),
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
        let project = model.name.clone();
        if let Some(owner) = self.state.owner_of(&project, &service)? {
            return Err(Error::ProjectOf { project, owner });
        }
        self.admit_project(project, wishes.engine)
    }

    /// Containers of another project of the same name, or of this stack under another name.
    fn admit_project(&self, project: String, engine: Engine) -> Result<(), Error> {
        let there = |engine: Engine, project: &str| {
            let look = || engine.containers(&self.docker, project);
            self.timings.measure("looking for containers", Whose::Docker, look)
        };
        let former = self.stack.engine;
        match &self.stack.project {
            Some(old) if *old == project && engine == former => return Ok(()),
            Some(old) if !there(former, old)?.is_empty() => {
                let (service, new) = (self.wish.service.clone(), engine.as_str());
                return Err(match engine == former {
                    true => Error::Renamed { old: old.clone(), new: project },
                    false => Error::OtherEngine { service, old: former.as_str(), new },
                });
            }
            _ if self.wish.adopt == Adopt::Yes => return Ok(()),
            _ => {}
        }
        let names: Vec<String> = there(engine, &project)?.into_iter().map(|found| found.name).collect();
        if names.is_empty() { Ok(()) } else { Err(Error::Foreign { project, names }) }
    }

    /// Whether this host is ready for it.
    pub(super) fn is_ready(&self, model: &Model, stage: &Stage<'_>, ground: Ground<'_>) -> Result<(), Error> {
        let (docker, report) = (&self.docker, self.world.report);
        let (project, places) = (model.name.as_str(), [ground.project, &self.world.places.state]);
        let case = preflight::Case { project, json: stage.json(), docker, places: &places, report };
        self.timings.measure("preflight", Whose::Docker, || preflight::check(&case))
    }
}
