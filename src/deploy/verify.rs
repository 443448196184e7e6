//! Whether the commit is signed by someone who may deploy here.
//!
//! A signature on the commit vouches for its tree and for all of its history, since it names
//! both by their hashes. That the branch goes on from what was deployed is checked besides, or
//! an older signed commit could be brought back.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

pub mod openpgp;

use super::error::Error;
use super::mirror::Mirror;
use super::{Service, World, settings};
use openpgp::Keyring;

/// What the server's configuration says of signatures: one of these must have signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verify(pub Vec<Signers>);

/// Whose signatures count, by their kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signers {
    /// The file of ssh-keygen(1), "ALLOWED SIGNERS".
    Ssh(PathBuf),
    /// Public keys as gpg(1) exports them.
    OpenPgp(PathBuf),
}

impl Signers {
    /// The file that lists them.
    pub fn file(&self) -> &Path {
        match self {
            Self::Ssh(file) | Self::OpenPgp(file) => file,
        }
    }
}

/// Refuses a commit without a good signature, where signatures are asked for.
pub(super) fn check(
    world: &World<'_>,
    mirror: &Mirror<'_>,
    service: &Service,
    commit: &str,
) -> Result<(), Error> {
    let Some(Verify(lists)) = &world.settings.verify else { return Ok(()) };
    lists.iter().try_for_each(|signers| is_roots(signers.file()))?;
    let mut said = Vec::new();
    for signers in lists {
        match objection(signers, world, mirror, commit)? {
            None => return Ok(()),
            Some(why) => said.push(why),
        }
    }
    Err(Error::Unsigned {
        service: service.clone(),
        commit: commit.to_owned(),
        signers: lists.iter().map(|signers| signers.file().display().to_string()).collect(),
        said: said.join("\n"),
    })
}

/// Why none of these signed it; nothing if one did, and an empty text if they have nothing to do with it.
fn objection(
    signers: &Signers,
    world: &World<'_>,
    mirror: &Mirror<'_>,
    commit: &str,
) -> Result<Option<String>, Error> {
    match signers {
        Signers::Ssh(file) => {
            let checked = mirror.verify_ssh(commit, file)?;
            let said = super::outlet::lines(&String::from_utf8_lossy(checked.err.expose()));
            Ok((!checked.end.is_success()).then_some(said))
        }
        Signers::OpenPgp(file) => {
            let keyring = Keyring::of(file, &world.places.run, world.env)?;
            let checked = mirror.verify_openpgp(commit, keyring.home())?;
            let status = String::from_utf8_lossy(checked.err.expose());
            let signature = openpgp::judge(&status, keyring.keys());
            // git's word counts besides ours: it says that there is one signature only.
            let is_good = signature == openpgp::Signature::Good && checked.end.is_success();
            Ok((!is_good).then(|| signature.to_string()))
        }
    }
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
