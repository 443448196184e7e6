//! A commit that brings the files of an earlier one back, made on a server and pushed from its
//! mirror. `hlx rollback` in a clone makes the same; here it is known which commits were good.

use std::time::Instant;

use jiff::Timestamp;

use super::clean;
use super::error::Error;
use super::mirror::{FILES_OF, Git, Mirror, Source};
use super::state::{Ending, Stack, State};
use super::{At, Retry, Service, Wish, World};
use crate::policy::OtherReaders;
use crate::sys::disk;

/// How far the history is looked through for a good commit.
const DEPTH: u32 = 1000;

/// What was done.
#[derive(Debug)]
pub struct Reverted {
    /// The new commit.
    pub commit: String,
    /// The one whose files it has.
    pub to: String,
    /// Its `.sops.yaml` says something else than the last one did.
    pub rules_differ: bool,
}

/// What is taken into account.
#[derive(Debug, Clone, Copy)]
pub struct How {
    /// Whether to take a commit that was not well here.
    pub retry: Retry,
    /// Whether the readers of the earlier commit may come back with its files.
    pub with_readers: bool,
}

/// True if the stack was deployed on this host, so that it can be gone back here.
pub fn is_ours(service: &Service, world: &World<'_>) -> bool {
    let state = State::open_if_there(&world.places.state.join("state.db"));
    state.is_ok_and(|state| state.is_some_and(|state| matches!(state.stack(service), Ok(Some(_)))))
}

/// Makes and pushes it, if this host would take it. Without `to`, it goes back to the newest good
/// commit before the branch's last. One that is known to be bad here is taken only with [`Retry::Yes`],
/// and one with other readers only if those may come back.
pub fn revert(service: &Service, to: Option<&str>, how: How, world: &World<'_>) -> Result<Reverted, Error> {
    if world.settings.verify.is_some() {
        return Err(Error::CannotSign);
    }
    let (start, began) = (Instant::now(), Timestamp::now().as_second());
    let lock = super::run::lock(service, world)?;
    let state = State::open(&world.places.state.join("state.db"))?;
    let stack = state.stack(service)?.ok_or_else(|| Error::NotDeployed(service.clone()))?;
    let git = Git::new(world.env);
    let source = source(&stack, world)?;
    let mirror = Mirror::open(&world.places.state, &source, &git)?;
    if state.settle_interrupted(service)? {
        clean::after_a_kill(service, &stack, &state, &mirror)?;
    }
    let entry = state.begin(service, "rollback", world.who, began)?;
    let asked = Asked { service, to, how, world };
    let done = asked.go_back(&lock, &state, &stack, &mirror);
    let commit = done.as_ref().ok().map(|made| made.commit.as_str());
    state.end_whole(entry, (&stack.repo, commit), start.elapsed(), &done)?;
    done
}

/// The configuration has the login that the record leaves out.
fn source(stack: &Stack, world: &World<'_>) -> Result<Source, Error> {
    let named = world.settings.repo.as_deref().and_then(|repo| Source::new(repo, world.cwd).ok());
    match named.filter(|source| source.recorded() == stack.repo) {
        Some(source) => Ok(source),
        None => Ok(Source::new(&stack.repo, world.cwd)?),
    }
}

/// What is wanted.
struct Asked<'a> {
    service: &'a Service,
    to: Option<&'a str>,
    how: How,
    world: &'a World<'a>,
}

impl Asked<'_> {
    fn go_back(
        &self,
        lock: &disk::Lock,
        state: &State,
        stack: &Stack,
        mirror: &Mirror<'_>,
    ) -> Result<Reverted, Error> {
        let Self { service, world, .. } = *self;
        let tip = lock.share(|| mirror.fetch(service)).map_err(Error::Vault)??;
        if let Some(old) = &stack.tried
            && !mirror.goes_on(old, &tip)?
        {
            return Err(Error::Rewritten { service: service.clone(), old: old.clone(), new: tip });
        }
        let to = self.target(&tip, state, mirror)?;
        if mirror.tree_of(&to)? == mirror.tree_of(&tip)? {
            return Err(Error::SameFiles { to });
        }
        let rules_differ = mirror.rules_of(&to)? != mirror.rules_of(&tip)?;
        if rules_differ && !self.how.with_readers {
            let (now, then) = (mirror.rules_text(&tip)?, mirror.rules_text(&to)?);
            OtherReaders::between(&now, &then, &to).map_or(Ok(()), Err)?;
        }
        let wish = Wish { retry: self.how.retry, ..Wish::of(service.clone(), At::Newest) };
        super::run::takes(&wish, &to, lock, world)?;
        let message = format!("Go back to {to:.10}\n\n{FILES_OF}{to}. Asked for by {}.", world.who);
        let commit = mirror.commit(&to, &tip, &message, &world.host())?;
        lock.share(|| mirror.push(service, &commit, &tip)).map_err(Error::Vault)??;
        Ok(Reverted { commit, to, rules_differ })
    }

    fn target(&self, tip: &str, state: &State, mirror: &Mirror<'_>) -> Result<String, Error> {
        let Some(to) = self.to else { return earlier(self.service, tip, state, mirror) };
        let unknown = || Error::NotInBranch { service: self.service.clone(), to: to.to_owned() };
        let found = mirror.find(to)?.ok_or_else(unknown)?;
        if mirror.goes_on(&found, tip)? { Ok(found) } else { Err(unknown()) }
    }
}

/// The commit that a commit of [`revert`] went back to, however often; any other is its own.
fn origin(tip: &str, mirror: &Mirror<'_>) -> Result<String, Error> {
    let mut at = tip.to_owned();
    for _ in 0..DEPTH {
        match mirror.gone_back_to(&at)? {
            Some(to) if to != at && mirror.goes_on(&to, &at)? => at = to,
            _ => break,
        }
    }
    Ok(at)
}

/// The newest commit that was good, is in the branch, and has other files than its last commit.
fn earlier(service: &Service, tip: &str, state: &State, mirror: &Mirror<'_>) -> Result<String, Error> {
    let tree = mirror.tree_of(tip)?;
    let start = origin(tip, mirror)?;
    let history = state.history(Some(service), DEPTH)?;
    let good = history.into_iter().filter(|entry| entry.ending == Ending::Good && entry.action == "deploy");
    let mut commits: Vec<String> = good.filter_map(|entry| entry.commit).collect();
    // Whoever goes back twice does not want what the first time led away from.
    if start != tip
        && let Some(at) = commits.iter().rposition(|commit| *commit == start)
    {
        commits.drain(..=at);
    }
    for commit in commits {
        if commit != tip && mirror.goes_on(&commit, tip)? && mirror.tree_of(&commit)? != tree {
            return Ok(commit);
        }
    }
    let service = service.clone();
    match start == tip {
        true => Err(Error::NothingEarlier(service)),
        false => Err(Error::NothingFurther { service, to: start }),
    }
}
