//! What an hlx that was killed may have left of a stack.
//!
//! The vault and all that ran in it are gone with it; resident files are swept as after any
//! deploy. What is left are names: git's locks in the mirror, and files that did not get theirs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::error::Error;
use super::mirror::Mirror;
use super::service::Service;
use super::state::{Stack, State};
use crate::sys::disk::Root;

/// Clears it away. To be called under the stack's lock, which the killed one's git holds as long as it runs.
pub(super) fn after_a_kill(
    service: &Service,
    stack: &Stack,
    state: &State,
    mirror: &Mirror<'_>,
) -> Result<(), Error> {
    mirror.clear_locks(service)?;
    if stack.directory.is_empty() || !Path::new(&stack.directory).exists() {
        return Ok(());
    }
    let failed = |source| Error::Disk { path: PathBuf::from(&stack.directory), source };
    let root = Root::open(Path::new(&stack.directory)).map_err(failed)?;
    let manifest = state.manifest(service)?;
    let dirs: BTreeSet<&Path> = manifest.iter().filter_map(|path| path.parent()).collect();
    dirs.into_iter().try_for_each(|dir| root.clear_fresh(dir)).map_err(failed)
}
