//! From a commit's files to containers that are well. Plaintext is seen here and nowhere else.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::back::Former;
use super::{Deploy, Error, Event, Mirror, Version, Whose, World};
use crate::deploy::clear;
use crate::deploy::contexts;
use crate::deploy::deny;
use crate::deploy::engine::Engine;
use crate::deploy::error::Broken;
use crate::deploy::gate::{self, Ill};
use crate::deploy::halves;
use crate::deploy::health::{Container, Rule, Verdict};
use crate::deploy::model::Model;
use crate::deploy::project::Lent;
use crate::deploy::resident::{Ground, Plan, Resident, keyed_hash};
use crate::deploy::stage::Stage;
use crate::deploy::wishes::{Rollback, Setup, Wishes};
use crate::deploy::{Stop, WayBack};
use crate::secret::SecretBytes;

/// Which way a deploy goes.
#[derive(Clone, Copy)]
pub(super) enum Way<'w> {
    /// To a new version; what there is to go back to.
    Forward(&'w Former),
    /// To the last good version, with the images that it ran with. Nothing is built or pulled for
    /// it, and `setup.sh` does not run.
    Back,
}

const SCRIPT: &str = "setup.sh";
const ALWAYS: &str = "always";

/// A `setup.sh` that is to run.
pub(super) struct Due<'g> {
    script: &'g [u8],
    /// Its keyed hash, by which it is known once it has succeeded.
    hash: String,
    /// `new`, `changed`, or wanted `always`.
    pub(super) why: &'static str,
}

impl Deploy<'_> {
    /// Brings a version to life, and gives its containers. Whatever happens, the vault is gone
    /// when this returns.
    pub(super) fn bring(
        &mut self,
        version: &Version,
        way: Way<'_>,
        mirror: &Mirror<'_>,
    ) -> Result<Vec<Container>, Error> {
        let dir = PathBuf::from(&self.stack.directory);
        let _lent = Lent::new(dir.clone())?;
        let ground = version.ground(&dir);
        let World { places, env, report, .. } = *self.world;
        let place = places.vault(&self.wish.service);
        let resident = Resident::new(places.resident(&self.wish.service));
        let open = || {
            if ground.unsealed.paths().next().is_some() && rustix::process::geteuid().is_root() {
                // Before the vault takes its copy of the mounts, so that compose sees it there.
                resident.prepare()?;
            }
            Stage::open(&place, ground, env, version.files.clone(), report)
        };
        let mut stage = self.timings.measure("opening the vault", Whose::Own, open)?;
        stage.heed(self.stop);
        let model = self.prepare(&mut stage, (version, ground), &resident, way)?;
        let wishes = model.wishes()?;
        let began = self.up(&mut stage, &model, &wishes, version, mirror)?;
        self.timings.measure("shredding", Whose::Own, || stage.shred())?;
        self.goes_on()?;
        self.judge(&model, wishes, began, version)
    }

    /// Everything before a container is touched.
    fn prepare(
        &mut self,
        stage: &mut Stage<'_>,
        (version, ground): (&Version, Ground<'_>),
        resident: &Resident,
        way: Way<'_>,
    ) -> Result<Model, Error> {
        let key = self.label_key()?;
        deny::check_files(&self.world.settings.deny, ground, stage.files())?;
        let model = self.model(stage)?;
        self.allows(&model, stage, ground)?;
        let engine = model.wishes()?.engine;
        if let Way::Forward(former) = way {
            self.examine(&model, former, stage, ground)?;
        }
        let plan = Plan::new(&model, ground)?;
        let ship = match engine {
            Engine::Compose => None,
            Engine::Swarm => Some(self.ship(&model, &plan, stage, ground)?),
        };
        self.reaches(&model, &plan, stage, ground, ship.as_ref())?;
        if matches!(way, Way::Forward(_)) && model.builds() {
            (self.world.report)(Event::Step("building images, with sealed files left sealed"));
            self.timings
                .measure("building images", Whose::Docker, || stage.build(&model, &self.wish.service))?;
        }
        if ship.is_none() && !plan.is_empty() {
            let place = || resident.place(&plan, ground, &key);
            let placed = self.timings.measure("file secrets", Whose::Own, place)?;
            self.state.keep_resident(&self.wish.service, &placed.kept(&version.commit))?;
            stage.point(&model, &placed.pointing)?;
        }
        if ship.is_none() {
            stage.label(&key)?;
        }
        match way {
            Way::Forward(_) => {
                // As late as can be: containers that run share the files with them.
                let due = self.due(ground, &key, model.wishes()?.setup);
                if due.is_none() {
                    self.pull(stage, &model)?;
                }
                self.lay(&version.tree)?;
                // Links of the commit are where Docker finds them only now.
                self.allows(&model, stage, ground)?;
                if let Some(due) = due {
                    self.setup(stage, due, model.wishes()?.timeout)?;
                    // It may have logged in to a registry.
                    self.pull(stage, &model)?;
                }
            }
            Way::Back if ship.is_none() => stage.pin(&self.pins(&model)?)?,
            Way::Back => {}
        }
        if let Some(ship) = ship {
            self.load(stage, &model, &ship, way)?;
        }
        Ok(model)
    }

    /// Whether the new version may be deployed, before anything is done for it.
    fn examine(
        &mut self,
        model: &Model,
        former: &Former,
        stage: &Stage<'_>,
        ground: Ground<'_>,
    ) -> Result<(), Error> {
        let wishes = model.wishes()?;
        self.admit(model, &wishes)?;
        self.rollback = wishes.rollback;
        if wishes.rollback == Rollback::Auto && self.wish.way_back == WayBack::Needed {
            former.is_there()?;
        }
        self.is_sound(model, &wishes, stage, ground)?;
        self.is_ready(model, wishes.engine, stage, ground)?;
        for warning in contexts::find(model, ground) {
            (self.world.report)(Event::Warning(&warning));
        }
        for clear in clear::find(model, &stage.env_files(), ground) {
            (self.world.report)(Event::Warning(&clear.to_string()));
        }
        Ok(())
    }

    /// Pulls. A registry that does not answer stops no deploy for which every image is here.
    fn pull(&self, stage: &mut Stage<'_>, model: &Model) -> Result<(), Error> {
        let images = model.pulled();
        if images.is_empty() {
            return Ok(());
        }
        (self.world.report)(Event::Step("pulling images"));
        let (end, said) =
            self.timings.measure("pulling images", Whose::Docker, || stage.pull(&model.name))?;
        if !end.is_success() {
            if !self.docker.has_images(&images)? {
                return Err(Error::Step { what: "pulling images", end, said });
            }
            let told = "not every image could be pulled: those that are on this host already are used";
            (self.world.report)(Event::Warning(told));
        }
        Ok(())
    }

    fn setup(
        &mut self,
        stage: &mut Stage<'_>,
        Due { script, hash, why }: Due<'_>,
        timeout: Duration,
    ) -> Result<(), Error> {
        let which = if why == ALWAYS { format!("as {why}") } else { format!("which is {why}") };
        (self.world.report)(Event::Step(&format!("running {SCRIPT}, {which}")));
        self.timings.measure(SCRIPT, Whose::Setup, || stage.setup(SCRIPT, script, timeout))?;
        self.stack.setup = Some(hash);
        Ok(self.state.save(&self.wish.service, &self.stack)?)
    }

    /// The `setup.sh` of a version, if this very script has not yet succeeded here, or as the stack
    /// wishes.
    pub(super) fn due<'g>(&self, ground: Ground<'g>, key: &SecretBytes, when: Setup) -> Option<Due<'g>> {
        let script = ground.unsealed.plain(ground.tree, SCRIPT.as_ref())?;
        let hash = keyed_hash(key, &[script]);
        let is_known = self.stack.setup.as_ref() == Some(&hash);
        let why = match (when, &self.stack.setup) {
            (Setup::Never, _) => return None,
            (Setup::Changed, _) if is_known => return None,
            (Setup::Always, _) if is_known => ALWAYS,
            (_, Some(_)) => "changed",
            (_, None) => "new",
        };
        Some(Due { script, hash, why })
    }

    fn up(
        &mut self,
        stage: &mut Stage<'_>,
        model: &Model,
        wishes: &Wishes,
        version: &Version,
        mirror: &Mirror<'_>,
    ) -> Result<Instant, Error> {
        match wishes.engine {
            Engine::Compose => {
                if self.touched || self.interrupted {
                    let late = if self.world.stop.is_wished() { halves::LATE } else { Duration::ZERO };
                    halves::let_end(&self.docker, &model.name, model.longest_stop(), late)?;
                }
                self.look_at_containers(&model.name)?;
            }
            Engine::Swarm => self.look_at_services(&model.name)?,
        }
        let mark = || self.lock.share(|| mirror.mark_tried(&self.wish.service, &version.commit));
        self.timings.measure("marking the commit", Whose::Git, mark).map_err(Error::Vault)??;
        let project = self.stack.project.replace(model.name.clone());
        let engine = std::mem::replace(&mut self.stack.engine, wishes.engine);
        self.stack.tried = Some(version.commit.clone());
        self.stack.astray = false;
        self.state.save(&self.wish.service, &self.stack)?;
        self.goes_on()?;
        (self.world.report)(Event::Step("starting containers"));
        let began = Instant::now();
        self.world.stop.listen();
        self.touched = true;
        let is_left = |old: &String| *old != model.name || engine != wishes.engine;
        self.leave_project(project.filter(is_left), engine)?;
        // Containers that are replaced are given their time to end.
        let limit = wishes.timeout.saturating_add(model.longest_stop());
        let mut up = || match wishes.engine {
            Engine::Compose => stage.up(&model.name, limit),
            Engine::Swarm => stage.deploy_stack(&model.name, limit),
        };
        // A cut-short replacement that the engine completes only now.
        let mut ended = self.timings.measure("starting containers", Whose::Docker, &mut up);
        if let Ok(Err(why)) = &ended
            && wishes.engine == Engine::Compose
            && halves::is_in_the_way(why)
        {
            self.look_at_containers(&model.name)?;
            ended = self.timings.measure("starting containers", Whose::Docker, &mut up);
        }
        match ended {
            // Nor does that time count when it is waited for the new ones.
            Ok(Ok(())) => Ok(Instant::now().min(began + model.longest_stop())),
            Ok(Err(why)) => Err(self.broken(model, self.or_stopped(Ill::of_commit(why)), version)),
            Err(error) => Err(self.broken(model, self.or_stopped(Ill::of_host(error.to_string())), version)),
        }
    }

    /// What runs before `up`, put right where it was cut short.
    fn look_at_containers(&mut self, project: &str) -> Result<(), Error> {
        let before = || self.docker.containers(project);
        let mut before = self.timings.measure("looking at what runs", Whose::Docker, before)?;
        if halves::settle(&self.docker, &before)? {
            let told =
                "a container that was being made or replaced when a deploy was cut short was put right";
            (self.world.report)(Event::Step(told));
            before = self.docker.containers(project)?;
        }
        self.before = before.into_iter().map(|container| (container.id, container.restarts)).collect();
        Ok(())
    }

    /// The project had another name or engine. Forward, it has no containers then; backward, those
    /// of the version that is not well.
    fn leave_project(&self, old: Option<String>, engine: Engine) -> Result<(), Error> {
        let Some(old) = old else { return Ok(()) };
        let leave = || engine.down(&self.docker, &old, &|_| {});
        self.timings.measure("leaving the other project", Whose::Docker, leave)
    }

    fn judge(
        &self,
        model: &Model,
        wishes: Wishes,
        began: Instant,
        version: &Version,
    ) -> Result<Vec<Container>, Error> {
        let Wishes { timeout, stable, probes, engine, .. } = wishes;
        let wait = |look: gate::Look<'_>| {
            let mut look = |waited| match self.stop.is_some_and(Stop::is_wished) {
                true => Ok((Verdict::Bad { id: None, why: String::new() }, Vec::new())),
                false => look(waited),
            };
            let wait = || gate::wait(&self.docker, &mut look, (&probes, timeout), began, self.world.report);
            self.timings.measure("health", Whose::Wait, wait)
        };
        let services = model.expected();
        let waited = match engine {
            Engine::Compose => {
                let rule = Rule { services, stable, timeout, before: self.before.clone() };
                wait(&mut gate::look(&self.docker, &model.name, &rule))
            }
            Engine::Swarm => {
                let manager = self.docker.manager()?;
                wait(&mut self.look_at_stack(&model.name, &services, (stable, timeout), &manager))
            }
        };
        waited.map_err(|ill| self.broken(model, self.or_stopped(ill), version))
    }

    /// Whatever failed when someone wished that it end is of no account.
    fn or_stopped(&self, ill: Ill) -> Ill {
        match self.stop.is_some_and(Stop::is_wished) {
            true => Ill::of_host("it was stopped by a signal".to_owned()),
            false => ill,
        }
    }

    fn broken(&self, model: &Model, ill: Ill, version: &Version) -> Error {
        let (engine, masker) = (self.stack.engine, &version.unsealed.masker);
        let inquire = || engine.inquire(&self.docker, &model.name, ill, masker);
        let broken: Broken = self.timings.measure("looking for the reason", Whose::Docker, inquire);
        Error::Broken(Box::new(broken))
    }
}
