//! What a deploy would change, without changing it.
//!
//! The commit is fetched and shown in a vault like any other, but nothing is laid, placed, built,
//! pulled or started. Which services compose would recreate follows from the hash that it keeps
//! on each container, so compose itself is asked for the hashes of the new model.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Deploy, Error, Git, Mirror, Source, Version};
use crate::deploy::changes::{self, Changes, Seen, Wanted};
use crate::deploy::engine::Engine;
use crate::deploy::masks::Masks;
use crate::deploy::model::Model;
use crate::deploy::resident::{Plan, Resident};
use crate::deploy::sealed::Unsealed;
use crate::deploy::stage::Stage;
use crate::deploy::tree::{self, Tree};
use crate::deploy::{Wish, World, deny};

/// Says what deploying the newest commit of a service's branch would change.
pub fn plan(wish: &Wish, world: &World<'_>) -> Result<Changes, Error> {
    let masks = Masks::default();
    let report = masks.report(world.report);
    let world = World { report: &report, ..*world };
    foreseen(wish, &world, &masks).map_err(|error| masks.error(error))
}

fn foreseen(wish: &Wish, world: &World<'_>, masks: &Masks) -> Result<Changes, Error> {
    let mut deploy = Deploy::open(wish, world, masks)?;
    let git = Git::new(world.env);
    let source = deploy.source(&git)?;
    let mirror = Mirror::open(&world.places.state, &source, &git)?;
    let tree = deploy.fetch(&source, &mirror)?;
    let commit = deploy.commit.clone();
    let next = Version::open(&wish.service, &commit, tree, world.open)?;
    masks.add(&next.unsealed.masker);
    let former = deploy.deployed(&git)?;
    if let Ok(unsealed) = Unsealed::open(&former, world.open) {
        masks.add(&unsealed.masker);
    }
    let place = Borrowed::new(world.places.project(&wish.service))?;
    let (services, setup) = deploy.foresee(&next, &place.dir)?;
    let changes = Changes {
        services,
        secrets: changes::secrets(&former, &next.tree, world.open)?,
        files: changes::files(&former, &next.tree),
        setup,
        deployed: deploy.stack.commit.clone(),
        commit,
    };
    Ok(changes.masked(&|text| masks.text(text)))
}

impl Deploy<'_> {
    /// The files of the commit that is deployed; none if none is.
    fn deployed(&self, git: &Git) -> Result<Tree, Error> {
        let Some(commit) = &self.stack.commit else { return Ok(Tree::new()) };
        let source = Source::from_record(&self.stack.repo);
        Ok(tree::read(&Mirror::offline(&self.world.places.state, &source, git), commit)?)
    }

    /// What would happen to the services, and whether `setup.sh` would run.
    fn foresee(
        &self,
        next: &Version,
        dir: &Path,
    ) -> Result<(Vec<changes::ServiceChange>, Option<&'static str>), Error> {
        let World { places, env, report, settings, .. } = *self.world;
        let ground = next.ground(dir);
        let mut stage =
            Stage::open(&places.vault(&self.wish.service), ground, env, next.files.clone(), report)?;
        deny::check_files(&settings.deny, ground, stage.files())?;
        let model = stage.model(&self.wish.service.project())?;
        deny::check(&settings.deny, ground, stage.json(), &self.docker)?;
        self.admit(&model, &model.wishes()?)?;
        let resident = Resident::new(places.resident(&self.wish.service));
        let key = self.label_key()?;
        let plan = Plan::new(&model, ground)?;
        let services = match model.wishes()?.engine {
            Engine::Compose => {
                self.reaches(&model, &plan, &stage, ground, None)?;
                if !plan.is_empty() {
                    stage.point(&resident.pointing(&plan, ground, &key))?;
                }
                self.foresee_containers(&mut stage, &model)?
            }
            Engine::Swarm => {
                let ship = self.ship(&model, &plan, &stage, ground)?;
                self.reaches(&model, &plan, &stage, ground, Some(&ship))?;
                self.foresee_services(&model, &ship)?
            }
        };
        stage.shred()?;
        let setup = self.due(ground, &key, model.wishes()?.setup).map(|due| due.why);
        Ok((services, setup))
    }

    fn foresee_containers(
        &self,
        stage: &mut Stage<'_>,
        model: &Model,
    ) -> Result<Vec<changes::ServiceChange>, Error> {
        let json: Value = serde_json::from_slice(stage.json()).map_err(Error::Unreadable)?;
        let wanted = Wanted {
            model: &json,
            hashes: &stage.hashes(&model.name)?,
            images: &self.images(model)?,
            resident: &self.world.places.resident(&self.wish.service),
        };
        Ok(changes::services(&wanted, &model.expected(), &self.seen(&model.name)?))
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

/// The project directory, there for as long as this lives: the vault needs one to lie over.
/// What was not there before is gone afterwards.
struct Borrowed {
    dir: PathBuf,
    made: Vec<PathBuf>,
}

impl Borrowed {
    fn new(dir: PathBuf) -> Result<Self, Error> {
        let made: Vec<PathBuf> =
            dir.ancestors().take_while(|above| !above.exists()).map(Path::to_owned).collect();
        std::fs::create_dir_all(&dir).map_err(|source| Error::Disk { path: dir.clone(), source })?;
        Ok(Self { dir, made })
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        // Another stack may use those above by now.
        self.made.iter().for_each(|dir| drop(std::fs::remove_dir(dir)));
    }
}
