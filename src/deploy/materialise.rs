//! File secrets back in RAM after a reboot, and the containers that missed them started again.
//!
//! Nothing but this host is needed: what was in RAM is written down in the state, what it held is
//! in the mirror as ciphertext. At boot this runs before Docker does, which tries each container
//! once: one whose file is missing ends with exit code 127 and stays so.

use std::path::PathBuf;

use super::docker::Docker;
use super::error::Error;
use super::kept::Kept;
use super::mirror::{Git, Mirror, Source};
use super::resident::Resident;
use super::state::State;
use super::{Service, World, asleep, run};
use crate::secret::SecretBytes;
use crate::sys::disk::Change;
use crate::sys::namespace;

/// Whether Docker may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Start containers that failed for want of a file.
    Containers,
    /// Only restore files: Docker is not up yet, and to wake it here would wait for ever.
    Nothing,
}

/// What was done for a stack.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Restored {
    /// Files that were missing.
    pub written: usize,
    /// Files that were there.
    pub kept: usize,
    /// Containers that were started.
    pub started: Vec<String>,
}

/// What became of each stack.
pub type Each = Vec<(Service, Result<Restored, Error>)>;

/// Restores the file secrets of these stacks, or of all that have some. A stack that fails does
/// not stop the others.
pub fn materialise(wanted: &[Service], start: Start, world: &World<'_>) -> Result<Each, Error> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    namespace::no_dumps().map_err(Error::Vault)?;
    let path = world.places.state.join("state.db");
    if !path.exists() {
        return wanted.first().map_or(Ok(Vec::new()), |service| Err(Error::NotDeployed(service.clone())));
    }
    let state = State::open(&path)?;
    let services = if wanted.is_empty() { state.stacks_with_resident()? } else { wanted.to_vec() };
    let restored = services.into_iter().map(|service| {
        let restored = one(&service, &state, start, world);
        (service, restored)
    });
    Ok(restored.collect())
}

fn one(service: &Service, state: &State, start: Start, world: &World<'_>) -> Result<Restored, Error> {
    let _lock = run::lock(service, world)?;
    let stack = state.stack(service)?.ok_or_else(|| Error::NotDeployed(service.clone()))?;
    let files = state.resident(service)?;
    let resident = Resident::new(world.places.resident(service));
    let mut restored = Restored::default();
    if files.is_empty() {
        return Ok(restored);
    }
    // All or nothing, so that no container starts with the half of its secrets.
    let opened = open(&files, &stack.repo, world)?;
    resident.prepare()?;
    for (file, content) in files.iter().zip(&opened) {
        match resident.restore(file, content.expose())? {
            Change::Written => restored.written += 1,
            Change::Kept => restored.kept += 1,
        }
    }
    if let (Start::Containers, Some(project)) = (start, &stack.project) {
        let places: Vec<PathBuf> = files.iter().map(|file| resident.at(&file.place, &file.path)).collect();
        restored.started = asleep::wake(&Docker::new(world.env, "/"), project, &places)?;
    }
    Ok(restored)
}

/// What the files hold, in their order.
fn open(files: &[Kept], repo: &str, world: &World<'_>) -> Result<Vec<SecretBytes>, Error> {
    let source = Source::from_record(repo);
    let mirror = Mirror::offline(&world.places.state, &source, &Git::new(world.env));
    let wanted: Vec<_> = files.iter().map(|file| (file.revision.clone(), file.path.clone())).collect();
    let found = mirror.files(&wanted)?;
    let lost = |file: &Kept| Error::Lost { path: file.path.clone(), commit: file.revision.clone() };
    let open = |(file, sealed): (&Kept, Option<Vec<u8>>)| {
        let sealed = sealed.ok_or_else(|| lost(file))?;
        let opened =
            (world.open)(&sealed).map_err(|source| Error::Keys { path: file.path.clone(), source })?;
        Ok(opened.into_plaintext())
    };
    files.iter().zip(found).map(open).collect()
}
