//! Identities (placeholder interface).
use crate::sops::Opened;

/// Why a sealed file could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("placeholder")]
pub struct Error;

/// The identities of this machine.
#[derive(Debug)]
pub struct Keyring;

impl Keyring {
    /// Opens a sealed file; checks its MAC first.
    pub fn open(&self, _sealed: &[u8]) -> Result<Opened, Error> {
        Err(Error)
    }
}
