//! The steps of a deploy, in their order.
//!
//! `admit` says who may run; `bring` is everything that needs plaintext, up to healthy
//! containers; `keep` writes down what was good; `back` is what happens when it was not;
//! `foresee` says what would happen.

mod admit;
mod back;
mod bring;
mod foresee;
mod keep;
mod sound;
mod swarm;

pub use foresee::plan;
pub(super) use foresee::takes;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use self::back::Former;
use super::clean;
use super::docker::{ComposeCheck, Docker};
use super::endpoint::Endpoint;
use super::error::{Aftermath, Error};
use super::health::condition;
use super::masks::Masks;
use super::mirror::{self, Git, Mirror, Source};
use super::model::Model;
use super::outlet::Event;
use super::stage::Stage;
use super::state::{Ending, Record, Stack, State};
use super::swarm::Before;
use super::timings::{Account, Timings, Whose};
use super::tree::{self, Tree};
use super::version::Version;
use super::wishes::Rollback;
use super::{Adopt, At, Outcome, Retry, Rewrite, Service, Stop, Wish, World, project, verify};
use crate::sys::{disk, namespace};

/// How long another hlx's last moments are waited for.
const TURN: Duration = Duration::from_secs(1);

/// Deploys the newest commit of a service's branch.
pub fn deploy(wish: &Wish, world: &World<'_>) -> Result<Outcome, Error> {
    let masks = Masks::default();
    let report = masks.report(world.report);
    let world = &World { report: &report, ..*world };
    admit::stack_of_host(wish, world)?;
    let lock = lock(&wish.service, world)?;
    let mut deploy = Deploy::open(wish, world, &masks, &lock)?;
    deploy.interrupted = deploy.state.settle_interrupted(&wish.service)?;
    let began = Timestamp::now().as_second();
    let action = match wish.at {
        At::Newest => "deploy",
        At::Deployed => "update",
    };
    deploy.entry = deploy.state.begin(&wish.service, action, world.who, began)?;
    let result = deploy.run();
    let account = deploy.timings.finish();
    deploy.record(&account, result.as_ref().err())?;
    world.stop.over();
    match result {
        Ok(containers) => {
            let containers = containers.iter().map(|told| masks.text(told)).collect();
            Ok(Outcome { commit: deploy.commit, containers, account })
        }
        Err(error) => Err(masks.error(error)),
    }
}

/// The stack's lock; makes the state directory on the way.
pub(super) fn lock(service: &Service, world: &World<'_>) -> Result<disk::Lock, Error> {
    let dir = world.places.state.join("lock");
    let failed = |source| Error::Disk { path: dir.clone(), source };
    disk::private_dir(&world.places.state).and_then(|()| disk::private_dir(&dir)).map_err(failed)?;
    let began = Instant::now();
    loop {
        match disk::lock(&dir.join(service.as_str())).map_err(failed)? {
            Some(lock) => return Ok(lock),
            None if began.elapsed() > TURN => return Err(Error::Busy(service.clone())),
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// A deploy on its way.
struct Deploy<'d> {
    wish: &'d Wish,
    world: &'d World<'d>,
    /// Secrets that no message may hold.
    masks: &'d Masks,
    timings: Timings,
    docker: Docker,
    endpoint: Endpoint,
    lock: &'d disk::Lock,
    state: State,
    stack: Stack,
    /// hlx has deployed the stack before, or tried to.
    known: bool,
    /// Its number in the history.
    entry: i64,
    /// The hlx before this one was killed on the stack.
    interrupted: bool,
    commit: String,
    /// Whether Compose is good enough; taken once that is known.
    compose: Option<ComposeCheck>,
    /// Containers may no longer be as they were.
    touched: bool,
    /// Whether someone wishes that it end; nobody asks any more while it goes back.
    stop: Option<&'d Stop>,
    /// What the new version says of going back.
    rollback: Rollback,
    /// Directories that files vanished from.
    emptied: BTreeSet<PathBuf>,
    /// The restarts of each container before `up`.
    before: Vec<(String, u64)>,
    /// The services and tasks of a Swarm before that.
    services: Before,
}

impl<'d> Deploy<'d> {
    /// Everything that is there before the first step. `lock` is the stack's.
    fn open(
        wish: &'d Wish,
        world: &'d World<'d>,
        masks: &'d Masks,
        lock: &'d disk::Lock,
    ) -> Result<Self, Error> {
        namespace::no_dumps().map_err(Error::Vault)?;
        // Containers of other users read the directories that are made.
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
        let timings = Timings::start();
        let docker = Docker::new(world.env, "/");
        let (endpoint, compose) = timings.measure("docker", Whose::Docker, || docker.begin())?;
        let state = State::open(&world.places.state.join("state.db"))?;
        let stack = state.stack(&wish.service)?;
        let known = stack.is_some();
        let deploy = Self {
            wish,
            world,
            masks,
            timings,
            docker,
            compose: Some(compose),
            endpoint,
            lock,
            state,
            stack: stack.unwrap_or_default(),
            known,
            entry: 0,
            interrupted: false,
            commit: String::new(),
            touched: false,
            stop: Some(world.stop),
            rollback: Rollback::default(),
            emptied: BTreeSet::new(),
            before: Vec::new(),
            services: Before::default(),
        };
        deploy.is_at_home()?;
        Ok(deploy)
    }
}

impl Deploy<'_> {
    fn run(&mut self) -> Result<Vec<String>, Error> {
        let git = Git::new(self.world.env);
        let old = self.stack.clone();
        // It need not be reached any more: the mirror has what was deployed.
        let source = Source::from_record(&old.repo);
        let mirror = Mirror::offline(&self.world.places.state, &source, &git);
        // Who was killed may have laid files.
        self.stack.astray |= self.interrupted;
        let done = self.advance(&git, &old, &mirror);
        if done.is_err() && !self.touched {
            self.put_back(&old, &mirror);
            self.sweep();
        }
        self.tidy();
        done
    }

    /// From what the branch has to healthy containers. `old` is what was known of the stack before, and its
    /// commits are in `old_mirror`.
    fn advance(&mut self, git: &Git, old: &Stack, old_mirror: &Mirror<'_>) -> Result<Vec<String>, Error> {
        let source = self.source(git)?;
        let mirror = Mirror::open(&self.world.places.state, &source, git)?;
        if self.interrupted {
            clean::after_a_kill(&self.wish.service, &self.stack, &self.state, &mirror)?;
        }
        let tree = self.fetch(&source, &mirror)?;
        self.goes_on()?;
        self.refuse_bad()?;
        let open = || Version::open(&self.wish.service, &self.commit, tree, self.world.open);
        let next = self.timings.measure("opening sealed files", Whose::Own, open)?;
        self.masks.add(&next.unsealed.masker);
        let former = self.former(old_mirror)?;
        self.claim(&source)?;
        match self.forward(&next, &former, &mirror) {
            Err(error) if self.touched => Err(self.recover(error, &next, former, old, old_mirror)),
            done => done,
        }
    }

    /// Removes directories that files vanished from, once it is certain which version runs.
    fn tidy(&self) {
        let dir = Path::new(&self.stack.directory);
        let below = |path: &PathBuf| path.strip_prefix(dir).ok().map(Path::to_owned);
        let emptied = self.emptied.iter().filter_map(below).collect();
        // Without Docker's answer they stay: an empty directory is in nobody's way.
        let tidy = || project::tidy(dir, &emptied, || self.docker.mounted()).unwrap_or_default();
        self.timings.measure("tidying", Whose::Own, tidy);
    }

    /// To healthy containers of the new version, and its record.
    fn forward(
        &mut self,
        next: &Version,
        former: &Former,
        mirror: &Mirror<'_>,
    ) -> Result<Vec<String>, Error> {
        let containers = self.bring(next, bring::Way::Forward(former), mirror)?;
        self.keep(next, &containers, mirror)?;
        self.sweep();
        Ok(containers.iter().map(condition).collect())
    }

    /// The model of what a stage shows. Compose answers here for the first time, so that what is wrong
    /// with it itself comes before what it says.
    fn model(&mut self, stage: &mut Stage<'_>) -> Result<Model, Error> {
        let project = self.wish.service.project();
        let model = self.timings.measure("compose config", Whose::Docker, || stage.model(&project));
        if let Some(compose) = self.compose.take() {
            self.timings.measure("compose", Whose::Docker, || compose.wait())?;
        }
        model
    }

    fn source(&self, git: &Git) -> Result<Source, Error> {
        if self.wish.at == At::Deployed {
            return Ok(Source::from_record(&self.stack.repo));
        }
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

    fn fetch(&mut self, source: &Source, mirror: &Mirror<'_>) -> Result<Tree, Error> {
        if self.wish.at == At::Deployed {
            return self.deployed_tree(mirror);
        }
        (self.world.report)(Event::Step(&format!("fetching {} from {source}", self.wish.service)));
        let fetch = || -> Result<(String, Tree), Error> {
            // Should hlx be killed, git goes on; who comes next waits for it.
            let fetched = self.lock.share(|| mirror.fetch(&self.wish.service)).map_err(Error::Vault)?;
            let commit = fetched?;
            self.check_history(mirror, source, &commit)?;
            verify::check(self.world, mirror, &self.wish.service, &commit)?;
            self.is_own(mirror, &commit)?;
            let tree = tree::read(mirror, &commit)?;
            Ok((commit, tree))
        };
        let (commit, tree) = self.timings.measure("fetching and reading", Whose::Git, fetch)?;
        self.commit = commit;
        Ok(tree)
    }

    fn deployed_tree(&mut self, mirror: &Mirror<'_>) -> Result<Tree, Error> {
        let service = &self.wish.service;
        let commit = self.stack.commit.clone().ok_or_else(|| Error::NotDeployed(service.clone()))?;
        verify::check(self.world, mirror, service, &commit)?;
        let tree = self.timings.measure("reading", Whose::Git, || tree::read(mirror, &commit))?;
        self.commit = commit;
        Ok(tree)
    }

    /// A signature says nothing of the branch: a commit that was signed for another stack is none of this one's.
    fn is_own(&self, mirror: &Mirror<'_>, commit: &str) -> Result<(), Error> {
        if self.world.settings.verify.is_none() {
            return Ok(());
        }
        for other in self.state.stacks()?.into_iter().filter(|other| *other != self.wish.service) {
            let tried = self.state.stack(&other)?.and_then(|stack| stack.tried);
            let Some(tried) = tried else { continue };
            if mirror.goes_on(commit, &tried)? || mirror.goes_on(&tried, commit)? {
                let (service, commit) = (self.wish.service.clone(), commit.to_owned());
                return Err(Error::SignedFor { service, commit, other });
            }
        }
        Ok(())
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

    /// One attempt at each commit, unless the user asks for another.
    fn refuse_bad(&self) -> Result<(), Error> {
        let service = &self.wish.service;
        match self.state.is_bad(service, &self.commit)? {
            Some(why) if self.wish.retry == Retry::No => {
                Err(Error::KnownBad { service: service.clone(), commit: self.commit.clone(), why })
            }
            _ => Ok(()),
        }
    }

    /// Writes down that this stack is ours, before anything of it is on the disk.
    fn claim(&mut self, source: &Source) -> Result<(), Error> {
        let dir = self.world.places.project(&self.wish.service);
        let ours = self.known && Path::new(&self.stack.directory) == dir;
        if !ours && self.wish.adopt == Adopt::No && project::is_taken(&dir)? {
            return Err(Error::Taken(dir));
        }
        if !ours {
            // What was laid elsewhere must not be looked for here.
            self.forget_files()?;
        }
        self.stack.repo = source.recorded();
        self.stack.directory = dir.to_string_lossy().into_owned();
        self.stack.docker = Some(self.endpoint.to_string());
        Ok(self.state.save(&self.wish.service, &self.stack)?)
    }

    fn forget_files(&mut self) -> Result<(), Error> {
        let elsewhere = self.state.manifest(&self.wish.service)?;
        Ok(self.state.drop_from_manifest(&self.wish.service, &elsewhere)?)
    }

    fn lay(&mut self, tree: &Tree) -> Result<project::Changes, Error> {
        let began = Instant::now();
        let service = &self.wish.service;
        self.stack.astray = true;
        self.state.save(service, &self.stack)?;
        let before = self.state.manifest(service)?;
        let vanished: Vec<PathBuf> = before.into_iter().filter(|path| !tree.contains_key(path)).collect();
        self.state.add_to_manifest(service, tree)?;
        let changes = project::lay(self.stack.directory.as_ref(), tree, &vanished)?;
        self.state.drop_from_manifest(service, &vanished)?;
        let above = vanished.iter().filter_map(|path| path.parent());
        let dir = Path::new(&self.stack.directory);
        self.emptied.extend(above.filter(|above| *above != Path::new("")).map(|above| dir.join(above)));
        self.timings.add("laying files", Whose::Own, began.elapsed());
        let project::Changes { written, removed } = changes;
        (self.world.report)(Event::Step(&format!(
            "files in {}: {}, of which {written} written; {removed} removed",
            self.stack.directory,
            tree.len()
        )));
        Ok(changes)
    }

    /// Writes down how far it has come: who is killed can say no more.
    fn goes_on(&self) -> Result<(), Error> {
        let took = self.timings.finish().total;
        Ok(self.state.goes_on(self.entry, &self.stack.repo, &self.commit, took)?)
    }

    fn record(&self, account: &Account, error: Option<&Error>) -> Result<(), Error> {
        if let Some(Error::Git(mirror::Error::UnknownService { .. })) = error
            && !self.known
        {
            // A name that was mistyped has no history.
            return Ok(self.state.strike(self.entry)?);
        }
        // The first line is ours; those below it may repeat what a program said.
        let reason = |error: &Error| match error {
            Error::Unreadable(_) => "compose printed a model that makes no sense".to_owned(),
            other => other.to_string().lines().next().unwrap_or_default().to_owned(),
        };
        let ending = match error {
            None => Ending::Good,
            Some(Error::Broken(broken)) if matches!(broken.aftermath, Aftermath::Restored { .. }) => {
                Ending::RolledBack
            }
            Some(Error::Broken(_)) => Ending::NotRestored,
            Some(_) => Ending::Failed,
        };
        let record = Record {
            repo: &self.stack.repo,
            commit: Some(self.commit.as_str()).filter(|commit| !commit.is_empty()),
            ending,
            result: &self.masks.text(&error.map_or_else(|| "good".to_owned(), reason)),
            took: account.total,
            phases: &account.json(),
        };
        Ok(self.state.end(self.entry, &record)?)
    }
}
