//! Running anything in the decrypted view of what is deployed.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::Error;
use super::mirror::{Git, Mirror, Source};
use super::resident::Ground;
use super::stage::Stage;
use super::state::State;
use super::version::Version;
use super::{Service, World};
use crate::secret::SecretBytes;
use crate::sys::namespace;
use crate::sys::process::{End, Stream};
use crate::sys::terminal::Terminal;

/// A person's own program may take as long as it likes; this is a year.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// How a program is joined to whoever runs it.
pub enum Console<'c> {
    /// It reads this, and what it says is passed on as it is.
    Pipes {
        /// Its standard input.
        input: SecretBytes,
        /// Hears its outputs.
        sink: &'c mut dyn FnMut(Stream, &[u8]),
    },
    /// Someone sits at this.
    Terminal(Terminal),
}

/// Runs a program in a stack's project directory, where sealed files of the commit that runs show
/// their plaintext to it and to nobody else.
///
/// The stack's lock is held meanwhile, so that no deploy changes the files beneath.
pub fn exec(
    service: &Service,
    command: &[OsString],
    console: Console<'_>,
    world: &World<'_>,
) -> Result<End, Error> {
    namespace::no_dumps().map_err(Error::Vault)?;
    let _lock = super::run::lock(service, world)?;
    let state = State::open(&world.places.state.join("state.db"))?;
    let not_deployed = || Error::NotDeployed(service.clone());
    let stack = state.stack(service)?.ok_or_else(not_deployed)?;
    let commit = stack.tried.or(stack.commit).ok_or_else(not_deployed)?;
    let (git, source) = (Git::new(world.env), Source::from_record(&stack.repo));
    let mirror = Mirror::offline(&world.places.state, &source, &git);
    let version = Version::read(service, &commit, &mirror, world.open)?;
    let project = stack.project.unwrap_or_else(|| service.project());
    run(&version, Path::new(&stack.directory), &project, (command, console), service, world)
}

fn run(
    version: &Version,
    dir: &Path,
    project: &str,
    (command, console): (&[OsString], Console<'_>),
    service: &Service,
    world: &World<'_>,
) -> Result<End, Error> {
    let ground: Ground<'_> = version.ground(dir);
    let place: PathBuf = world.places.vault(service);
    let mut env = world.env.clone();
    env.push(("COMPOSE_PROJECT_NAME".into(), project.into()));
    let mut stage = Stage::open(&place, ground, &env, version.files.clone(), world.report)?;
    let end = stage.run(command, FOREVER, console);
    stage.shred()?;
    end
}
