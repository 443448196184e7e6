//! Deploying a stack: from a commit to containers that are well, with no plaintext left behind.
//!
//! The files are named after the steps: [`mirror`] fetches, [`tree`] checks, `sealed` opens in
//! memory, `project` lays ciphertext, [`vault`] shows plaintext to the deploy's own programs,
//! `stage` runs those, [`resident`] keeps file secrets in RAM, [`health`] judges, [`state`]
//! remembers.

pub mod all;
pub mod baked;
pub mod changes;
pub mod clear;
mod contents;
pub mod contexts;
pub mod deny;
pub mod docker;
pub mod doctor;
pub mod engine;
pub mod error;
pub mod guard;
mod halves;
pub mod health;
pub mod images;
pub mod kept;
pub mod mask;
mod masks;
pub mod materialise;
pub mod mirror;
pub mod model;
pub mod order;
pub mod outlet;
pub mod probe;
pub mod resident;
pub mod revert;
pub mod sealed;
pub mod service;
pub mod settings;
pub mod standing;
pub mod state;
pub mod stop;
pub mod timings;
pub mod tree;
pub mod unit;
pub mod update;
pub mod vault;
pub mod verify;
pub mod wishes;

mod asleep;
mod clean;
mod down;
pub mod endpoint;
mod exec;
mod gate;
pub mod preflight;
mod project;
pub mod prune;
mod run;

mod stage;
pub mod swarm;
mod version;
mod wire;

use std::path::{Path, PathBuf};

pub use down::down;
pub use error::{Aftermath, Broken, Error, Fault};
pub use exec::{Console, exec};
pub use materialise::{Restored, Start, materialise};
pub use outlet::{Event, Report};
pub use run::{deploy, plan};
pub use service::Service;
pub use settings::Settings;
pub use stop::Stop;

use crate::keys;
use crate::sops::Opened;
use crate::sys::process::Env;
use timings::Account;

/// Opens a sealed file, or says why it cannot.
pub type Opener<'o> = &'o dyn for<'t> Fn(&'t [u8]) -> Result<Opened<'t>, keys::Error>;

/// A closure as an [`Opener`].
pub fn opener<F: for<'t> Fn(&'t [u8]) -> Result<Opened<'t>, keys::Error>>(open: F) -> F {
    open
}

/// Where things are on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// State that outlives a reboot.
    pub state: PathBuf,
    /// Project directories.
    pub projects: PathBuf,
    /// What is gone after a reboot.
    pub run: PathBuf,
}

impl Places {
    /// Where the vault of a stack is mounted. No stack's name begins with a dot.
    pub fn vault(&self, service: &Service) -> PathBuf {
        self.run.join(".vault").join(service.as_str())
    }

    /// Where the resident files of a stack are.
    pub fn resident(&self, service: &Service) -> PathBuf {
        self.run.join(service.as_str())
    }

    /// The project directory of a stack.
    pub fn project(&self, service: &Service) -> PathBuf {
        self.projects.join(service.as_str())
    }
}

/// The world a deploy happens in.
#[derive(Clone, Copy)]
pub struct World<'w> {
    /// Where things are.
    pub places: &'w Places,
    /// What root decided.
    pub settings: &'w Settings,
    /// The environment that programs are given.
    pub env: &'w Env,
    /// Where the user stands.
    pub cwd: &'w Path,
    /// Who asks, for the history.
    pub who: &'w str,
    /// Whether someone wishes that it end.
    pub stop: &'w Stop,
    /// Opens sealed files.
    pub open: Opener<'w>,
    /// Hears what happens.
    pub report: Report<'w>,
}

impl World<'_> {
    /// The name of this host.
    pub fn host(&self) -> String {
        let system = || rustix::system::uname().nodename().to_string_lossy().into_owned();
        self.settings.host.clone().unwrap_or_else(system)
    }
}

/// Whether what hlx did not make may be taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adopt {
    /// Refuse it.
    No,
    /// Another repository, a directory with files, running containers: take them over.
    Yes,
}

/// Whether a branch may leave out what was deployed from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rewrite {
    /// Refuse it.
    Refuse,
    /// Deploy it.
    Accept,
}

/// Whether a commit that was not well may be tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Refuse it.
    No,
    /// Try it.
    Yes,
}

/// Whether there must be a way back to the last good version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WayBack {
    /// If it could not be brought back, nothing is deployed.
    Needed,
    /// Deploy all the same.
    Waived,
}

/// Which commit is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// The branch's newest, which is fetched.
    Newest,
    /// The one that is deployed, as this host has it.
    Deployed,
}

/// What the user wants deployed.
#[derive(Debug, Clone)]
pub struct Wish {
    /// The service.
    pub service: Service,
    /// From here, whatever the configuration says.
    pub repo: Option<String>,
    /// Whether to take over what hlx did not make.
    pub adopt: Adopt,
    /// Whether to accept rewritten history.
    pub rewrite: Rewrite,
    /// Whether to try a known-bad commit again.
    pub retry: Retry,
    /// Whether to insist on a way back.
    pub way_back: WayBack,
    /// Which commit.
    pub at: At,
}

impl Wish {
    /// This commit of the service, with nothing taken over, accepted, retried or waived.
    pub fn of(service: Service, at: At) -> Self {
        let (adopt, rewrite, retry) = (Adopt::No, Rewrite::Refuse, Retry::No);
        Self { service, repo: None, adopt, rewrite, retry, way_back: WayBack::Needed, at }
    }
}

/// A deploy that ended well.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The commit that runs now.
    pub commit: String,
    /// The containers and their condition.
    pub containers: Vec<String>,
    /// Where the time went.
    pub account: Account,
}
