//! The steps of a deploy, in their order.

use std::path::PathBuf;
use std::time::Instant;

use jiff::Timestamp;

use super::clear;
use super::docker::Docker;
use super::error::Error;
use super::gate::{self, Ill};
use super::health::Rule;
use super::mirror::{Git, Mirror, Source};
use super::model::{self, Model, Wishes};
use super::outlet::Event;
use super::resident::{Ground, Plan, Resident, keyed_hash};
use super::sealed::Unsealed;
use super::stage::Stage;
use super::state::{Record, Stack, State};
use super::timings::{Account, Timings, Whose};
use super::tree::{self, Tree};
use super::{Adopt, Outcome, Rewrite, Service, Wish, World, deny, project, verify};
use crate::secret::SecretBytes;
use crate::sys::{disk, namespace, random};

/// Deploys the newest commit of a service's branch.
pub fn deploy(wish: &Wish, world: &World<'_>) -> Result<Outcome, Error> {
    admit_host(wish, world)?;
    namespace::no_dumps().map_err(Error::Vault)?;
    // Containers of other users read the directories that are made.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let timings = Timings::start();
    let docker = Docker::new(world.env, "/");
    timings.measure("docker and compose", Whose::Docker, || docker.check())?;
    let _lock = lock(&wish.service, world)?;
    let state = State::open(&world.places.state.join("state.db"))?;
    let stack = state.stack(&wish.service)?;
    let known = stack.is_some();
    let stack = stack.unwrap_or_default();
    let mut deploy = Deploy {
        wish,
        world,
        timings,
        docker,
        state,
        stack,
        known,
        commit: String::new(),
        before: Vec::new(),
    };
    let began = Timestamp::now().as_second();
    let result = deploy.run();
    let account = deploy.timings.finish();
    deploy.record(began, &account, result.as_ref().err())?;
    result.map(|containers| Outcome { commit: deploy.commit, containers, account })
}

fn admit_host(wish: &Wish, world: &World<'_>) -> Result<(), Error> {
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

/// The stack's lock; makes the state directory on the way.
pub(super) fn lock(service: &Service, world: &World<'_>) -> Result<disk::Lock, Error> {
    let dir = world.places.state.join("lock");
    let failed = |source| Error::Disk { path: dir.clone(), source };
    disk::private_dir(&world.places.state).and_then(|()| disk::private_dir(&dir)).map_err(failed)?;
    disk::lock(&dir.join(service.as_str())).map_err(failed)?.ok_or_else(|| Error::Busy(service.clone()))
}

/// A deploy on its way.
struct Deploy<'d> {
    wish: &'d Wish,
    world: &'d World<'d>,
    timings: Timings,
    docker: Docker,
    state: State,
    stack: Stack,
    /// hlx has deployed the stack before, or tried to.
    known: bool,
    commit: String,
    /// The restarts of each container before `up`.
    before: Vec<(String, u64)>,
}

impl Deploy<'_> {
    fn run(&mut self) -> Result<Vec<String>, Error> {
        let git = Git::new(self.world.env);
        let source = self.source(&git)?;
        let tree = self.fetch(&source, &git)?;
        let files = model::files(&tree).ok_or_else(|| Error::NoComposeFile(self.wish.service.clone()))?;
        let open = || Unsealed::open(&tree, self.world.open);
        let unsealed = self.timings.measure("opening sealed files", Whose::Own, open)?;
        self.claim(&source)?;
        self.lay(&tree)?;
        let dir = PathBuf::from(&self.stack.directory);
        let ground = Ground { project: &dir, tree: &tree, unsealed: &unsealed };
        let ran = self.in_vault(ground, files);
        let judged = ran.and_then(|(model, began)| self.judge(&model, began, ground));
        let swept = self.sweep();
        let containers = judged?;
        swept?;
        self.keep(&source, &git)?;
        Ok(containers)
    }

    fn source(&self, git: &Git) -> Result<Source, Error> {
        let named = self.wish.repo.as_ref().or(self.world.settings.repo.as_ref());
        let find = || match named {
            Some(repo) => Source::new(repo, self.world.cwd),
            None => Source::around(self.world.cwd, git),
        };
        let source = self.timings.measure("finding the repository", Whose::Git, find)?;
        let moved = self.known && self.stack.repo != source.recorded() && self.wish.adopt == Adopt::No;
        match (moved, Source::new(&self.stack.repo, self.world.cwd)) {
            (false, _) => Ok(source),
            (true, old) => Err(Error::OtherRepo {
                service: self.wish.service.clone(),
                old: old.map_or_else(|_| self.stack.repo.clone(), |old| old.to_string()),
                new: source.to_string(),
            }),
        }
    }

    fn fetch(&mut self, source: &Source, git: &Git) -> Result<Tree, Error> {
        (self.world.report)(Event::Step(&format!("fetching {} from {source}", self.wish.service)));
        let fetch = || -> Result<(String, Tree), Error> {
            let mirror = Mirror::open(&self.world.places.state, source, git)?;
            let commit = mirror.fetch(&self.wish.service)?;
            self.check_history(&mirror, source, &commit)?;
            verify::check(self.world.settings.verify.as_ref(), &mirror, &self.wish.service, &commit)?;
            let tree = tree::read(&mirror, &commit)?;
            Ok((commit, tree))
        };
        let (commit, tree) = self.timings.measure("fetching and reading", Whose::Git, fetch)?;
        self.commit = commit;
        Ok(tree)
    }

    fn check_history(&self, mirror: &Mirror<'_>, source: &Source, new: &str) -> Result<(), Error> {
        let Some(old) = self.stack.tried.as_ref().filter(|_| self.stack.repo == source.recorded()) else {
            return Ok(());
        };
        if self.wish.rewrite == Rewrite::Accept || mirror.goes_on(old, new)? {
            return Ok(());
        }
        Err(Error::Rewritten { service: self.wish.service.clone(), old: old.clone(), new: new.to_owned() })
    }

    /// Writes down that this stack is ours, before anything of it is on the disk.
    fn claim(&mut self, source: &Source) -> Result<(), Error> {
        let dir = self.world.places.project(&self.wish.service);
        let ours = self.known && std::path::Path::new(&self.stack.directory) == dir;
        if !ours && self.wish.adopt == Adopt::No && project::is_taken(&dir)? {
            return Err(Error::Taken(dir));
        }
        if !ours {
            // What was laid elsewhere must not be looked for here.
            let elsewhere = self.state.manifest(&self.wish.service)?;
            self.state.drop_from_manifest(&self.wish.service, &elsewhere)?;
        }
        self.stack.repo = source.recorded();
        self.stack.directory = dir.to_string_lossy().into_owned();
        Ok(self.state.save(&self.wish.service, &self.stack)?)
    }

    fn lay(&mut self, tree: &Tree) -> Result<(), Error> {
        let began = Instant::now();
        let service = &self.wish.service;
        let before = self.state.manifest(service)?;
        let vanished: Vec<PathBuf> = before.into_iter().filter(|path| !tree.contains_key(path)).collect();
        self.state.add_to_manifest(service, tree)?;
        let changes = project::lay(self.stack.directory.as_ref(), tree, &vanished)?;
        self.state.drop_from_manifest(service, &vanished)?;
        self.timings.add("laying files", Whose::Own, began.elapsed());
        let project::Changes { written, removed } = changes;
        (self.world.report)(Event::Step(&format!(
            "{:.10}: {} files, {written} written, {removed} removed",
            self.commit,
            tree.len()
        )));
        Ok(())
    }

    /// All that needs plaintext. Whatever happens, the vault is gone when this returns.
    fn in_vault(&mut self, ground: Ground<'_>, files: Vec<PathBuf>) -> Result<(Model, Instant), Error> {
        let World { places, env, report, .. } = *self.world;
        let place = places.vault(&self.wish.service);
        let resident = Resident::new(places.resident(&self.wish.service));
        let open = || {
            if ground.unsealed.paths().next().is_some() {
                // Before the vault takes its copy of the mounts, so that compose sees it there.
                resident.prepare()?;
            }
            Stage::open(&place, ground, env, files, report)
        };
        let mut stage = self.timings.measure("opening the vault", Whose::Own, open)?;
        let model = self.prepare(&mut stage, ground, &resident)?;
        let began = self.up(&mut stage, &model, ground)?;
        self.timings.measure("shredding", Whose::Own, || stage.shred())?;
        Ok((model, began))
    }

    /// Everything before a container is touched.
    fn prepare(
        &mut self,
        stage: &mut Stage<'_>,
        ground: Ground<'_>,
        resident: &Resident,
    ) -> Result<Model, Error> {
        let key = self.label_key()?;
        let project = self.wish.service.project();
        let model = self.timings.measure("compose config", Whose::Docker, || stage.model(&project))?;
        self.admit(&model, &model.wishes()?)?;
        deny::check(&self.world.settings.deny, ground, stage.files(), stage.json(), &self.docker)?;
        for clear in clear::find(&model, &stage.env_files(), ground) {
            (self.world.report)(Event::Warning(&clear.to_string()));
        }
        let plan = Plan::new(&model, ground)?;
        if model.builds() {
            (self.world.report)(Event::Step("building images, with sealed files left sealed"));
            self.timings.measure("building images", Whose::Docker, || stage.build(&model))?;
        }
        if !plan.is_empty() {
            let place = || resident.place(&plan, ground, &key);
            let placed = self.timings.measure("file secrets", Whose::Own, place)?;
            self.state.keep_resident(&self.wish.service, &placed.kept(&self.commit))?;
            stage.point(&placed.pointing)?;
        }
        self.setup(stage, ground, &key)?;
        self.pull(stage, &model)?;
        Ok(model)
    }

    /// Pulls. A registry that does not answer stops no deploy for which every image is here.
    fn pull(&self, stage: &mut Stage<'_>, model: &Model) -> Result<(), Error> {
        let images = model.pulled();
        if images.is_empty() {
            return Ok(());
        }
        (self.world.report)(Event::Step("pulling images"));
        let end = self.timings.measure("pulling images", Whose::Docker, || stage.pull(&model.name))?;
        if !end.is_success() {
            if !self.docker.has_images(&images)? {
                return Err(Error::Step { what: "pulling images", end });
            }
            let told = "not every image could be pulled: those that are on this host already are used";
            (self.world.report)(Event::Warning(told));
        }
        Ok(())
    }

    /// Whether this host may run the stack, and the stack may have its project's name.
    fn admit(&self, model: &Model, wishes: &Wishes) -> Result<(), Error> {
        let service = self.wish.service.clone();
        let host = self.host();
        if !wishes.hosts.is_empty() && !wishes.hosts.contains(&host) {
            return Err(Error::OtherHost { service, host, hosts: wishes.hosts.clone() });
        }
        let project = model.name.clone();
        if let Some(owner) = self.state.owner_of(&project, &service)? {
            return Err(Error::ProjectOf { project, owner });
        }
        self.admit_project(project)
    }

    /// Containers of another project of the same name, or of this stack under another name.
    fn admit_project(&self, project: String) -> Result<(), Error> {
        let there = |project: &str| {
            self.timings.measure("looking for containers", Whose::Docker, || self.docker.containers(project))
        };
        match &self.stack.project {
            Some(old) if *old == project => return Ok(()),
            Some(old) if !there(old)?.is_empty() => {
                return Err(Error::Renamed { old: old.clone(), new: project });
            }
            _ if self.wish.adopt == Adopt::Yes => return Ok(()),
            _ => {}
        }
        let names: Vec<String> = there(&project)?.into_iter().map(|found| found.name).collect();
        if names.is_empty() { Ok(()) } else { Err(Error::Foreign { project, names }) }
    }

    fn host(&self) -> String {
        let system = || rustix::system::uname().nodename().to_string_lossy().into_owned();
        self.world.settings.host.clone().unwrap_or_else(system)
    }

    /// Runs `setup.sh` if this very script has not yet succeeded here.
    fn setup(&mut self, stage: &mut Stage<'_>, ground: Ground<'_>, key: &SecretBytes) -> Result<(), Error> {
        const SCRIPT: &str = "setup.sh";
        let Some(script) = ground.unsealed.plain(ground.tree, SCRIPT.as_ref()) else { return Ok(()) };
        let hash = Some(keyed_hash(key, &[script]));
        if self.stack.setup == hash {
            return Ok(());
        }
        let new = if self.stack.setup.is_some() { "changed" } else { "new" };
        (self.world.report)(Event::Step(&format!("running setup.sh, which is {new}")));
        self.timings.measure("setup.sh", Whose::Setup, || stage.setup(SCRIPT, script))?;
        self.stack.setup = hash;
        Ok(self.state.save(&self.wish.service, &self.stack)?)
    }

    fn up(&mut self, stage: &mut Stage<'_>, model: &Model, ground: Ground<'_>) -> Result<Instant, Error> {
        let before = || self.docker.containers(&model.name);
        let before = self.timings.measure("looking at what runs", Whose::Docker, before)?;
        self.before = before.into_iter().map(|container| (container.id, container.restarts)).collect();
        self.stack.project = Some(model.name.clone());
        self.stack.tried = Some(self.commit.clone());
        self.state.save(&self.wish.service, &self.stack)?;
        (self.world.report)(Event::Step("starting containers"));
        let began = Instant::now();
        let limit = model.wishes()?.timeout;
        let up = self.timings.measure("compose up", Whose::Docker, || stage.up(&model.name, limit));
        match up {
            Ok(Ok(())) => Ok(began),
            Ok(Err(why)) => Err(self.broken(&model.name, why.into(), ground)),
            Err(error) => Err(self.broken(&model.name, error.to_string().into(), ground)),
        }
    }

    fn judge(&self, model: &Model, began: Instant, ground: Ground<'_>) -> Result<Vec<String>, Error> {
        let Wishes { timeout, stable, .. } = model.wishes()?;
        let rule = Rule { services: model.expected(), stable, timeout, before: self.before.clone() };
        let wait = || gate::wait(&self.docker, &model.name, &rule, began, self.world.report);
        let waited = self.timings.measure("health", Whose::Wait, wait);
        waited.map_err(|ill| self.broken(&model.name, ill, ground))
    }

    fn broken(&self, project: &str, ill: Ill, ground: Ground<'_>) -> Error {
        let inquire = || gate::inquire(&self.docker, project, ill, &ground.unsealed.masker);
        Error::Broken(Box::new(self.timings.measure("looking for the reason", Whose::Docker, inquire)))
    }

    /// Shreds resident files that no container uses, after a good deploy and after a bad one.
    fn sweep(&self) -> Result<(), Error> {
        let resident = Resident::new(self.world.places.resident(&self.wish.service));
        let containers = match &self.stack.project {
            Some(project) => {
                self.timings.measure("collecting", Whose::Docker, || self.docker.containers(project))?
            }
            None => Vec::new(),
        };
        let used = resident.collect(&containers)?;
        Ok(self.state.forget_resident(&self.wish.service, &used)?)
    }

    fn keep(&mut self, source: &Source, git: &Git) -> Result<(), Error> {
        let keep = || -> Result<(), Error> {
            let mirror = Mirror::open(&self.world.places.state, source, git)?;
            Ok(mirror.keep(&self.wish.service, &self.commit)?)
        };
        self.timings.measure("keeping the commit", Whose::Git, keep)?;
        self.stack.commit = Some(self.commit.clone());
        Ok(self.state.save(&self.wish.service, &self.stack)?)
    }

    fn label_key(&self) -> Result<SecretBytes, Error> {
        let path = self.world.places.state.join("label.key");
        let failed = |source| Error::Disk { path: path.clone(), source };
        let mut fresh = zeroize::Zeroizing::new([0; 32]);
        random::fill(&mut fresh[..]);
        match disk::private_file(&path, &fresh[..]) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(failed(error)),
            _ => {}
        }
        let key = std::fs::read(&path).map(SecretBytes::new).map_err(failed)?;
        match key.expose().len() {
            32 => Ok(key),
            _ => Err(failed(std::io::Error::other("it is not a key of 32 bytes"))),
        }
    }

    fn record(&self, began: i64, account: &Account, error: Option<&Error>) -> Result<(), Error> {
        // The first line is ours; those below it may repeat what a program said.
        let reason = |error: &Error| match error {
            Error::Unreadable(_) => "compose printed a model that makes no sense".to_owned(),
            other => other.to_string().lines().next().unwrap_or_default().to_owned(),
        };
        let result = error.map_or_else(|| "good".to_owned(), reason);
        let (phases, commit) =
            (account.json(), Some(self.commit.as_str()).filter(|commit| !commit.is_empty()));
        let (action, took) = ("deploy", account.total);
        let record = Record { action, commit, result: &result, began, took, phases: &phases };
        Ok(self.state.record(&self.wish.service, &self.stack.repo, &record)?)
    }
}
