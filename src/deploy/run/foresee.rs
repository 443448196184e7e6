//! What a deploy would change, without changing it.
//!
//! The commit is fetched and shown in a vault like any other, but nothing is laid, placed, built,
//! pulled or started. Which services compose would recreate follows from the hash that it keeps
//! on each container, so compose itself is asked for the hashes of the new model.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Deploy, Error, Event, Git, Mirror, Source, Version, admit};
use crate::deploy::changes::{self, Changes, Seen, Wanted};
use crate::deploy::engine::Engine;
use crate::deploy::masks::Masks;
use crate::deploy::model::{self, Model};
use crate::deploy::project::Lent;
use crate::deploy::resident::{Plan, Resident};
use crate::deploy::sealed::Unsealed;
use crate::deploy::stage::Stage;
use crate::deploy::tree::{self, Tree};
use crate::deploy::{Retry, Service, Wish, World, deny};
use crate::sys::disk;

/// Says what deploying the newest commit of a service's branch would change.
pub fn plan(wish: &Wish, world: &World<'_>) -> Result<Changes, Error> {
    let masks = Masks::default();
    let report = masks.report(world.report);
    let world = World { report: &report, ..*world };
    foreseen(wish, &world, &masks).map_err(|error| masks.error(error))
}

fn foreseen(wish: &Wish, world: &World<'_>, masks: &Masks) -> Result<Changes, Error> {
    admit::stack_of_host(wish, world)?;
    let lock = super::lock(&wish.service, world)?;
    let mut deploy = Deploy::open(wish, world, masks, &lock)?;
    let git = Git::new(world.env);
    let source = deploy.source(&git)?;
    let mirror = Mirror::open(&world.places.state, &source, &git)?;
    let tree = deploy.fetch(&source, &mirror)?;
    let mut obstacles = Vec::new();
    if let Err(error) = deploy.refuse_bad() {
        obstacles.push(would_stop(&error, world));
    }
    let commit = deploy.commit.clone();
    let next = Version::open(&wish.service, &commit, tree, world.open)?;
    masks.add(&next.unsealed.masker);
    let former = deploy.deployed(&git)?;
    if let Ok(unsealed) = Unsealed::open(&former, world.open) {
        masks.add(&unsealed.masker);
    }
    let place = Lent::new(world.places.project(&wish.service))?;
    let mut stops = |error: Error| {
        obstacles.push(would_stop(&error, world));
        Ok(())
    };
    let Foreseen { services, reruns, setup, contexts, after } =
        deploy.foresee(&next, place.dir(), &mut stops)?;
    for name in lost(&after, &source, &git, world)? {
        let text = format!("`x-hlx.after` names `{name}`, which is no branch of {source}");
        (world.report)(Event::Warning(&text));
    }
    let files = changes::files(&former, &next.tree);
    let is_listed = |name: &String| services.iter().any(|service| service.name == *name);
    let is_changed = |context: &Path| files.iter().any(|file| file.path.starts_with(context));
    let rebuilt = contexts.into_iter().filter(|(name, context)| !is_listed(name) && is_changed(context));
    let changes = Changes {
        rebuilt: rebuilt.map(|(name, _)| name).collect(),
        services,
        secrets: changes::secrets(&former, &next.tree, world.open)?,
        files,
        setup,
        reruns,
        obstacles,
        deployed: deploy.stack.commit.clone(),
        commit,
    };
    Ok(changes.masked(&|text| masks.text(text)))
}

/// Whether a commit of the branch could be deployed again, as far as can be told without touching a
/// container: it opens, is for this host, asks for nothing that is denied, and Compose accepts it. `lock` is
/// the stack's.
pub(in crate::deploy) fn takes(
    wish: &Wish,
    commit: &str,
    lock: &disk::Lock,
    world: &World<'_>,
) -> Result<(), Error> {
    let masks = Masks::default();
    // Its own deploy says all of it again.
    let world = World { report: &|_| {}, ..*world };
    let look = || -> Result<(), Error> {
        admit::stack_of_host(wish, &world)?;
        let mut deploy = Deploy::open(wish, &world, &masks, lock)?;
        deploy.commit = commit.to_owned();
        if wish.retry == Retry::No {
            deploy.refuse_bad()?;
        }
        let git = Git::new(world.env);
        let source = Source::from_record(&deploy.stack.repo);
        let mirror = Mirror::offline(&world.places.state, &source, &git);
        let version = Version::read(&wish.service, commit, &mirror, world.open)?;
        masks.add(&version.unsealed.masker);
        let lent = Lent::new(PathBuf::from(&deploy.stack.directory))?;
        let mut stops = |error| match error {
            // That may be otherwise when it is deployed.
            Error::NotReady(_) => Ok(()),
            other => Err(other),
        };
        deploy.foresee(&version, lent.dir(), &mut stops).map(drop)
    };
    look().map_err(|error| masks.error(error))
}

/// Stacks that are to come first, and are none.
fn lost(after: &[Service], source: &Source, git: &Git, world: &World<'_>) -> Result<Vec<Service>, Error> {
    if after.is_empty() {
        return Ok(Vec::new());
    }
    let branches = Mirror::listed(&world.places.state, source, git)?;
    let is_lost = |name: &&Service| !branches.iter().any(|branch| branch == name.as_str());
    Ok(after.iter().filter(is_lost).cloned().collect())
}

/// What a deploy would stop at now need not be so when it is deployed.
fn would_stop(error: &Error, world: &World<'_>) -> String {
    (world.report)(Event::Warning(&format!("a deploy would stop here: {error}")));
    error.to_string()
}

/// What would happen.
struct Foreseen {
    services: Vec<changes::ServiceChange>,
    /// Services that are only started once more.
    reruns: Vec<String>,
    /// Why `setup.sh` would run.
    setup: Option<&'static str>,
    /// What services are built from, below the project directory.
    contexts: Vec<(String, PathBuf)>,
    /// The stacks that are to be deployed before it.
    after: Vec<Service>,
}

impl Deploy<'_> {
    /// The files of the commit that is deployed; none if none is.
    fn deployed(&self, git: &Git) -> Result<Tree, Error> {
        let Some(commit) = &self.stack.commit else { return Ok(Tree::new()) };
        let source = Source::from_record(&self.stack.repo);
        Ok(tree::read(&Mirror::offline(&self.world.places.state, &source, git), commit)?)
    }

    /// What would happen to the services, and whether `setup.sh` would run. What a deploy would stop at
    /// goes to `stops`.
    fn foresee(
        &mut self,
        next: &Version,
        dir: &Path,
        stops: &mut dyn FnMut(Error) -> Result<(), Error>,
    ) -> Result<Foreseen, Error> {
        let World { places, env, report, settings, .. } = *self.world;
        let ground = next.ground(dir);
        let mut stage =
            Stage::open(&places.vault(&self.wish.service), ground, env, next.files.clone(), report)?;
        deny::check_files(&settings.deny, ground, stage.files())?;
        let model = stage.model(&self.wish.service.project())?;
        self.allows(&model, &stage, ground)?;
        let wishes = model.wishes()?;
        let engine = wishes.engine;
        self.admit(&model, &wishes)?;
        self.is_sound(&model, &wishes, &stage, ground).or_else(&mut *stops)?;
        self.is_ready(&model, engine, &stage, ground).or_else(stops)?;
        let resident = Resident::new(places.resident(&self.wish.service));
        let key = self.label_key()?;
        let plan = Plan::new(&model, ground)?;
        let (services, reruns) = match engine {
            Engine::Compose => {
                self.reaches(&model, &plan, &stage, ground, None)?;
                if !plan.is_empty() {
                    stage.point(&model, &resident.pointing(&plan, ground, &key))?;
                }
                stage.label(&key)?;
                self.foresee_containers(&mut stage, &model)?
            }
            Engine::Swarm => {
                let ship = self.ship(&model, &plan, &stage, ground)?;
                self.reaches(&model, &plan, &stage, ground, Some(&ship))?;
                (self.foresee_services(&model, &ship)?, Vec::new())
            }
        };
        stage.shred()?;
        let setup = self.due(ground, &key, wishes.setup).map(|due| due.why);
        let context = |(name, service): (&String, &model::Service)| {
            let context = service.build.as_ref()?.context.as_deref()?;
            Some((name.clone(), context.strip_prefix(dir).ok()?.to_owned()))
        };
        let contexts = model.services.iter().filter_map(context).collect();
        Ok(Foreseen { services, reruns, setup, contexts, after: wishes.after })
    }

    fn foresee_containers(
        &self,
        stage: &mut Stage<'_>,
        model: &Model,
    ) -> Result<(Vec<changes::ServiceChange>, Vec<String>), Error> {
        let json: Value = serde_json::from_slice(stage.json()).map_err(Error::Unreadable)?;
        let wanted = Wanted {
            model: &json,
            hashes: &stage.hashes(&model.name)?,
            images: &self.images(model)?,
            resident: &self.world.places.resident(&self.wish.service),
        };
        let (expected, seen) = (model.expected(), self.seen(&model.name)?);
        let services = changes::services(&wanted, &expected, &seen);
        let reruns = changes::reruns(&services, &expected, &seen);
        Ok((services, reruns))
    }

    /// The images of registries that are here, by name.
    fn images(&self, model: &Model) -> Result<BTreeMap<String, String>, Error> {
        let mut found = BTreeMap::new();
        for name in model.images() {
            if let Some(id) = self.docker.image_named(name)? {
                found.insert(name.to_owned(), id);
            }
        }
        Ok(found)
    }

    fn seen(&self, project: &str) -> Result<Vec<Seen>, Error> {
        let label = format!("label=com.docker.compose.project={project}");
        let filters = ["--filter", &label, "--filter", "label=com.docker.compose.oneoff=False"];
        Ok(self.docker.inspected(&filters)?)
    }
}
