//! Identities: where private keys are looked for, and opening sealed files with them.
//!
//! All places are collected, the ones sops knows and then hlx's own, and every envelope of a
//! file is tried with all of them. A data key once unwrapped is kept for the process, so that a
//! branch opens with one unwrap.

pub mod generate;
mod identity;
pub mod recipients;

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};

use crate::crypto::DataKey;
use crate::crypto::envelope::{Envelope, Recipient};
use crate::sops::{self, Opened, Sealed};

pub use identity::Identity;

/// Why a sealed file could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not authentic, or not a sealed file.
    #[error(transparent)]
    Sops(#[from] sops::Error),
    /// No identity fits any of its envelopes.
    #[error("no key of yours opens it; it is sealed for {}", list(.recipients))]
    NoIdentity {
        /// For whom it is sealed.
        recipients: Vec<String>,
    },
    /// An envelope fits an identity, but is broken.
    #[error("the data key wrapped for {recipient} is broken")]
    BrokenEnvelope {
        /// The envelope's recipient.
        recipient: String,
    },
}

fn list(recipients: &[String]) -> String {
    let short = |text: &String| text.parse::<Recipient>().map_or_else(|_| text.clone(), |key| key.short());
    recipients.iter().map(short).collect::<Vec<_>>().join(", ")
}

/// Where identities may be, as the door found it in the environment.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// `--identity` and `HLX_IDENTITY`: files that the user named.
    pub named: Vec<PathBuf>,
    /// `SOPS_AGE_SSH_PRIVATE_KEY_FILE`.
    pub sops_ssh_file: Option<PathBuf>,
    /// `~/.ssh`.
    pub ssh_dir: Option<PathBuf>,
    /// `SOPS_AGE_KEY`: the identities themselves.
    pub sops_age_key: Option<String>,
    /// `SOPS_AGE_KEY_FILE`.
    pub sops_age_file: Option<PathBuf>,
    /// `$XDG_CONFIG_HOME/sops/age/keys.txt`.
    pub sops_default: Option<PathBuf>,
    /// `/etc/hlx/identity`, and root's ssh host key.
    pub system: Vec<PathBuf>,
}

/// What came of looking in one place.
#[derive(Debug)]
pub struct Tried {
    /// The place, as a person names it.
    pub place: String,
    /// The public keys found, or why none was.
    pub outcome: Result<Vec<Recipient>, String>,
}

/// The identities of this machine and user.
pub struct Keyring {
    identities: Vec<Identity>,
    tried: Vec<Tried>,
    unwrapped: RefCell<HashMap<[u8; 32], DataKey>>,
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keyring").field("tried", &self.tried).finish_non_exhaustive()
    }
}

impl Keyring {
    /// Looks in all places. A place that has no usable key is told in [`Keyring::tried`], and is no error.
    pub fn load(places: &Places) -> Self {
        let mut keyring = Self { identities: Vec::new(), tried: Vec::new(), unwrapped: RefCell::default() };
        for path in &places.named {
            keyring.add(path.display().to_string(), Some(identity::read(path)));
        }
        if let Some(path) = &places.sops_ssh_file {
            keyring.add("SOPS_AGE_SSH_PRIVATE_KEY_FILE".to_owned(), Some(identity::read(path)));
        }
        for name in ["id_ed25519", "id_rsa"] {
            let path = places.ssh_dir.as_ref().map(|directory| directory.join(name));
            keyring
                .add(format!("~/.ssh/{name}"), path.as_ref().and_then(|path| identity::read_if_there(path)));
        }
        let key = places.sops_age_key.as_deref().map(|text| identity::parse(text.as_bytes()));
        keyring.add("SOPS_AGE_KEY".to_owned(), key);
        if let Some(path) = &places.sops_age_file {
            keyring.add("SOPS_AGE_KEY_FILE".to_owned(), Some(identity::read(path)));
        }
        for path in places.sops_default.iter().chain(&places.system) {
            keyring.add(path.display().to_string(), identity::read_if_there(path));
        }
        keyring
    }

    fn add(&mut self, place: String, found: Option<Result<Vec<Identity>, String>>) {
        let outcome = match found {
            None => Err("not there".to_owned()),
            Some(Err(reason)) => Err(reason),
            Some(Ok(identities)) => {
                let recipients = identities.iter().map(Identity::recipient).collect();
                self.identities.extend(identities);
                Ok(recipients)
            }
        };
        self.tried.push(Tried { place, outcome });
    }

    /// Each place that was looked in, in order, and what was found.
    pub fn tried(&self) -> &[Tried] {
        &self.tried
    }

    /// The public keys of all identities, once each.
    pub fn recipients(&self) -> Vec<Recipient> {
        let mut all = Vec::new();
        for identity in &self.identities {
            let recipient = identity.recipient();
            if !all.contains(&recipient) {
                all.push(recipient);
            }
        }
        all
    }

    /// Opens a sealed file; nothing comes out unless all of it is authentic.
    pub fn open<'t>(&self, sealed: &'t [u8]) -> Result<Opened<'t>, Error> {
        self.open_sealed(Sealed::parse(sealed)?)
    }

    /// Opens a sealed file that was read already.
    pub fn open_sealed<'t>(&self, sealed: Sealed<'t>) -> Result<Opened<'t>, Error> {
        let key = self.data_key(sealed.envelopes())?;
        Ok(sealed.open(&key)?)
    }

    /// Unwraps the data key with whichever identity fits.
    pub fn data_key(&self, envelopes: &[Envelope]) -> Result<DataKey, Error> {
        for envelope in envelopes {
            if let Some(key) = self.unwrapped.borrow().get(&fingerprint(envelope)) {
                return Ok(key.duplicate());
            }
        }
        for envelope in envelopes {
            let identities = self.identities.iter().map(Identity::as_age);
            let broken =
                |_| Error::BrokenEnvelope { recipient: list(std::slice::from_ref(&envelope.recipient)) };
            if let Some(key) = envelope.unwrap(identities).map_err(broken)? {
                self.unwrapped.borrow_mut().insert(fingerprint(envelope), key.duplicate());
                return Ok(key);
            }
        }
        Err(Error::NoIdentity {
            recipients: envelopes.iter().map(|envelope| envelope.recipient.clone()).collect(),
        })
    }

    /// Keeps a data key that this process made, so that what it sealed opens again.
    pub fn remember(&self, envelopes: &[Envelope], key: &DataKey) {
        let mut unwrapped = self.unwrapped.borrow_mut();
        envelopes.iter().for_each(|envelope| {
            unwrapped.insert(fingerprint(envelope), key.duplicate());
        });
    }
}

fn fingerprint(envelope: &Envelope) -> [u8; 32] {
    Sha256::digest(envelope.enc.as_bytes()).into()
}
