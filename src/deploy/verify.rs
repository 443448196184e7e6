//! Whether the commit is signed by someone who may deploy here.
//!
//! A signature on the commit vouches for its tree and for all of its history, since it names
//! both by their hashes. That the branch goes on from what was deployed is checked besides, or
//! an older signed commit could be brought back.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Service;
use super::error::Error;
use super::mirror::Mirror;
use super::settings;

/// What the server's configuration says of signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verify {
    /// The file of ssh-keygen(1), "ALLOWED SIGNERS".
    pub allowed_signers: PathBuf,
}

/// Refuses a commit without a good signature, where signatures are asked for.
pub(super) fn check(
    verify: Option<&Verify>,
    mirror: &Mirror<'_>,
    service: &Service,
    commit: &str,
) -> Result<(), Error> {
    let Some(Verify { allowed_signers }) = verify else { return Ok(()) };
    is_roots(allowed_signers)?;
    let checked = mirror.verify(commit, allowed_signers)?;
    if checked.end.is_success() {
        return Ok(());
    }
    let said = super::outlet::lines(&String::from_utf8_lossy(checked.err.expose()));
    Err(Error::Unsigned {
        service: service.clone(),
        commit: commit.to_owned(),
        signers: allowed_signers.clone(),
        said,
    })
}

/// Whoever can write the list can sign.
pub(super) fn is_roots(path: &Path) -> Result<(), Error> {
    let failed = |source| settings::Error::Read { path: path.to_owned(), source };
    let meta = path.metadata().map_err(failed)?;
    match meta.uid() == 0 && meta.mode() & 0o022 == 0 {
        true => Ok(()),
        false => Err(settings::Error::Writable(path.to_owned()).into()),
    }
}
