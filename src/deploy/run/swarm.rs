//! What a deploy does for a Swarm and not for Compose: objects instead of files in RAM, a stack's
//! file instead of the model, services and tasks instead of containers.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::bring::Way;
use super::{Deploy, Error, Event, Whose, project};
use crate::deploy::changes::ServiceChange;
use crate::deploy::docker;
use crate::deploy::health::{Container, Verdict};
use crate::deploy::images::Image;
use crate::deploy::model::Model;
use crate::deploy::resident::{Ground, Plan};
use crate::deploy::stage::Stage;
use crate::deploy::swarm::{self, Before, Dress, Manager, Object, Rule, Stack};
use crate::deploy::wishes::Rollback;

/// A stack that a Swarm takes.
pub(super) struct Ship {
    pub(super) manager: Manager,
    model: Value,
    objects: Vec<Object>,
}

impl Deploy<'_> {
    /// Whether there is a Swarm, and whether it does what the model asks for. Changes nothing.
    pub(super) fn ship(
        &self,
        model: &Model,
        plan: &Plan,
        stage: &Stage<'_>,
        ground: Ground<'_>,
    ) -> Result<Ship, Error> {
        let manager = self.timings.measure("asking the Swarm", Whose::Docker, || self.docker.manager())?;
        let json: Value = serde_json::from_slice(stage.json()).map_err(Error::Unreadable)?;
        let mut refused = swarm::refusals(&json);
        refused.extend(plan.mounted().map(|(service, file)| {
            format!("service `{service}` mounts {}, which is encrypted: grant it as a secret", file.display())
        }));
        let made_here = model.services.iter().filter(|(_, service)| service.build.is_some());
        for (name, service) in made_here.filter(|_| !manager.is_alone()) {
            match &service.image {
                None => refused.push(format!(
                    "service `{name}` has `build` and no `image`: Swarm does not build, and its other nodes \
                     need a name by which a registry has it"
                )),
                Some(image) => (self.world.report)(Event::Warning(&format!(
                    "`{name}` is built on this node only: the others need {image} from a registry"
                ))),
            }
        }
        let objects = match (swarm::objects(&json, ground, &self.label_key()?), refused.is_empty()) {
            (Ok(objects), true) => objects,
            (Ok(_), false) => return Err(swarm::Error::Cannot(refused).into()),
            (Err(swarm::Error::Cannot(more)), _) => {
                return Err(swarm::Error::Cannot([refused, more].concat()).into());
            }
            (Err(other), _) => return Err(other.into()),
        };
        let bad = self.docker.bad_externals(&json, &model.name)?;
        if bad.is_empty() { Ok(Ship { manager, model: json, objects }) } else { Err(Error::NotReady(bad)) }
    }

    /// Makes the objects, and puts the stack's file where Docker reads it.
    pub(super) fn load(
        &self,
        stage: &mut Stage<'_>,
        model: &Model,
        ship: &Ship,
        way: Way<'_>,
    ) -> Result<(), Error> {
        let (recorded, rollback) = match way {
            Way::Forward(_) => (Vec::new(), self.rollback),
            // What it would be rolled back to is the version that is not well.
            Way::Back => (self.recorded()?, Rollback::Manual),
        };
        let stack = self.stack_of(model, ship, &recorded, rollback)?;
        stage.put_stack(&stack)?;
        if ship.manager.is_alone() && !self.endpoint.is_far() {
            // Swarm makes none, and would start nothing.
            let dir = Path::new(&self.stack.directory);
            project::make(dir, &swarm::made_by_docker(&ship.model, dir))?;
        }
        let make = || self.docker.make_objects(&ship.objects, &model.name);
        self.timings.measure("secrets of the Swarm", Whose::Docker, make)?;
        Ok(())
    }

    /// The stack as it would be deployed.
    pub(super) fn stack_of(
        &self,
        model: &Model,
        ship: &Ship,
        recorded: &[Image],
        rollback: Rollback,
    ) -> Result<Stack, Error> {
        let find = || self.images_of(model, recorded, &ship.manager);
        let images = self.timings.measure("finding its images", Whose::Docker, find)?;
        let (key, stable) = (self.label_key()?, model.wishes()?.stable);
        let dress = Dress { images: &images, objects: &ship.objects, key: &key, stable, rollback };
        Ok(Stack::new(&ship.model, &dress))
    }

    /// The images that the last good version ran with, pulled again where they have gone.
    fn recorded(&self) -> Result<Vec<Image>, Error> {
        let commit = self.stack.commit.clone().unwrap_or_default();
        let recorded = self.state.images(&self.wish.service, &commit)?;
        self.fetch_missing(&recorded)?;
        Ok(recorded)
    }

    /// What deploying the stack would change, as far as the images that are here tell.
    pub(super) fn foresee_services(&self, model: &Model, ship: &Ship) -> Result<Vec<ServiceChange>, Error> {
        let stack = self.stack_of(model, ship, &[], model.wishes()?.rollback)?;
        let found = self.docker.services(&model.name)?;
        Ok(swarm::changes(&stack, &ship.model, &found, &model.name))
    }

    /// The image of each service by what it is, since a name may mean another image tomorrow, or on
    /// another node.
    fn images_of(
        &self,
        model: &Model,
        recorded: &[Image],
        manager: &Manager,
    ) -> Result<BTreeMap<String, String>, Error> {
        let mut images = BTreeMap::new();
        for service in model.services.keys() {
            let name = model.image_of(service);
            let before = recorded.iter().find(|image| image.service == *service);
            let id = match before {
                Some(image) => Some(image.id.clone()),
                None => self.docker.image_named(&name)?,
            };
            let image = match id {
                Some(id) => self.docker.reference(&name, &id)?.or(manager.is_alone().then_some(id)),
                None => None,
            };
            images.insert(service.clone(), image.unwrap_or(name));
        }
        Ok(images)
    }

    /// Remembers services and tasks as they are before the stack is deployed.
    pub(super) fn look_at_services(&mut self, project: &str) -> Result<(), Error> {
        let look = || -> Result<Before, docker::Error> {
            let services = self.docker.services(project)?;
            let tasks = self.docker.tasks(&services)?;
            Ok(Before::new(&services, &tasks))
        };
        self.services = self.timings.measure("looking at what runs", Whose::Docker, look)?;
        Ok(())
    }

    /// A look at the services of a stack, for the health gate.
    pub(super) fn look_at_stack<'l>(
        &'l self,
        project: &'l str,
        services: &'l [String],
        (stable, timeout): (Duration, Duration),
        manager: &'l Manager,
    ) -> impl FnMut(Duration) -> Result<(Verdict, Vec<Container>), docker::Error> + 'l {
        move |waited| {
            let found = self.docker.services(project)?;
            let tasks = self.docker.tasks(&found)?;
            let (before, nodes) = (&self.services, manager.nodes);
            let rule = Rule { project, services, stable, timeout, before, nodes };
            let verdict = swarm::judge(&found, &tasks, &rule, Timestamp::now(), waited);
            let containers = match verdict {
                Verdict::Good => self.docker.as_containers(&found, &tasks, project, Some(&manager.node))?,
                Verdict::Wait(_) | Verdict::Bad { .. } => Vec::new(),
            };
            Ok((verdict, containers))
        }
    }
}
