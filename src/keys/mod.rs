//! Identities: where private keys are looked for, and opening sealed files with them.
//!
//! All places are collected, the ones sops knows and then hlx's own, and every envelope of a
//! file is tried with all of them. A data key once unwrapped is kept for the process, so that a
//! branch opens with one unwrap.

pub mod generate;
mod identity;
pub mod plugins;
pub mod recipients;
pub mod standing;

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};

use crate::crypto::envelope::{Envelope, Recipient};
use crate::crypto::{self, DataKey};
use crate::secret::{self, Secret, SecretBytes};
use crate::sops::groups::Group;
use crate::sops::{self, KeyGroups, Opened, Sealed};

pub use identity::{Found, Identity};
pub use plugins::Plugins;
pub use standing::{Judged, Standing};

/// Why a sealed file could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not authentic, or not a sealed file.
    #[error(transparent)]
    Sops(#[from] sops::Error),
    /// No identity fits any of its envelopes, or those that fit are in too few of its key groups.
    #[error("{}; it is sealed for {}", too_few(*.opened, *.needed), list(.recipients))]
    NoIdentity {
        /// For whom it is sealed.
        recipients: Vec<String>,
        /// The key groups that opened.
        opened: usize,
        /// The key groups that must come together.
        needed: usize,
        /// Plugins that are not allowed, and have an identity here.
        plugins: Vec<String>,
        /// Places that have a key of no use, and why.
        unusable: Vec<String>,
    },
    /// An envelope fits an identity, but is broken.
    #[error("the data key wrapped for {recipient} is broken")]
    BrokenEnvelope {
        /// The envelope's recipient.
        recipient: String,
    },
    /// The envelopes open, but do not hold a data key, or shares of one.
    #[error("its envelopes are broken: {0}")]
    BrokenParts(crypto::Error),
    /// A plugin that could have unwrapped the data key failed.
    #[error(transparent)]
    Plugin(crypto::Error),
}

fn too_few(opened: usize, needed: usize) -> String {
    match opened {
        0 => "no key of yours opens it".to_owned(),
        _ => format!("your keys open {opened} of its key groups, and {needed} must come together"),
    }
}

fn list(recipients: &[String]) -> String {
    let short = |text: &String| text.parse::<Recipient>().map_or_else(|_| text.clone(), |key| key.short());
    recipients.iter().map(short).collect::<Vec<_>>().join(", ")
}

/// Where identities may be, as the door found it in the environment.
#[derive(Debug, Default)]
pub struct Places {
    /// `--identity` and `HLX_IDENTITY`: files that the user named.
    pub named: Vec<PathBuf>,
    /// `SOPS_AGE_SSH_PRIVATE_KEY_FILE`.
    pub sops_ssh_file: Option<PathBuf>,
    /// `~/.ssh`.
    pub ssh_dir: Option<PathBuf>,
    /// `SOPS_AGE_KEY`: the identities themselves.
    pub sops_age_key: Option<Secret<String>>,
    /// `SOPS_AGE_KEY_FILE`.
    pub sops_age_file: Option<PathBuf>,
    /// `$XDG_CONFIG_HOME/sops/age/keys.txt`.
    pub sops_default: Option<PathBuf>,
    /// `/etc/hlx/identity`, and root's ssh host key.
    pub system: Vec<PathBuf>,
    /// The plugins that may run.
    pub plugins: Plugins,
}

/// What is no trouble: most places have nothing.
const NOT_THERE: &str = "not there";

/// What came of looking in one place.
#[derive(Debug)]
pub struct Tried {
    /// The place, as a person names it.
    pub place: String,
    /// The public keys found, or why none was.
    pub outcome: Result<Vec<Found>, String>,
}

/// The identities of this machine and user.
pub struct Keyring {
    identities: Vec<Identity>,
    tried: Vec<Tried>,
    plugins: Plugins,
    /// Data keys and shares, by the envelopes that they came from.
    unwrapped: RefCell<HashMap<[u8; 32], SecretBytes>>,
    /// The key that was asked for last.
    last: RefCell<Option<(KeyGroups, DataKey)>>,
    /// Data keys that this process made, by all their envelopes.
    made: RefCell<HashMap<[u8; 32], DataKey>>,
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keyring").field("tried", &self.tried).finish_non_exhaustive()
    }
}

impl Drop for Keyring {
    fn drop(&mut self) {
        // What reading and using the keys left there.
        secret::scrub_stack();
    }
}

impl Keyring {
    /// Looks in all places. A place that has no usable key is told in [`Keyring::tried`], and is no error.
    pub fn load(places: &Places) -> Self {
        let plugins = &places.plugins;
        let mut keyring = Self {
            identities: Vec::new(),
            tried: Vec::new(),
            plugins: plugins.clone(),
            unwrapped: RefCell::default(),
            last: RefCell::default(),
            made: RefCell::default(),
        };
        for path in &places.named {
            keyring.add(path.display().to_string(), Some(identity::read(path, plugins)));
        }
        if let Some(path) = &places.sops_ssh_file {
            keyring.add("SOPS_AGE_SSH_PRIVATE_KEY_FILE".to_owned(), Some(identity::read(path, plugins)));
        }
        for name in ["id_ed25519", "id_rsa"] {
            let path = places.ssh_dir.as_ref().map(|directory| directory.join(name));
            keyring.add(
                format!("~/.ssh/{name}"),
                path.as_ref().and_then(|path| identity::read_if_there(path, plugins)),
            );
        }
        let key = places.sops_age_key.as_ref();
        let key = key.map(|text| identity::parse(text.expose().as_bytes(), plugins));
        keyring.add("SOPS_AGE_KEY".to_owned(), key);
        if let Some(path) = &places.sops_age_file {
            keyring.add("SOPS_AGE_KEY_FILE".to_owned(), Some(identity::read(path, plugins)));
        }
        for path in places.sops_default.iter().chain(&places.system) {
            keyring.add(path.display().to_string(), identity::read_if_there(path, plugins));
        }
        keyring
    }

    fn add(&mut self, place: String, found: Option<Result<Vec<Identity>, String>>) {
        let outcome = match found {
            None => Err(NOT_THERE.to_owned()),
            Some(Err(reason)) => Err(reason),
            Some(Ok(identities)) => {
                let found = identities.iter().map(|identity| identity.found().clone()).collect();
                self.identities.extend(identities);
                Ok(found)
            }
        };
        self.tried.push(Tried { place, outcome });
    }

    /// Each place that was looked in, in order, and what was found.
    pub fn tried(&self) -> &[Tried] {
        &self.tried
    }

    /// The public keys of all identities, once each, as far as they are known.
    pub fn recipients(&self) -> Vec<Recipient> {
        let mut all: Vec<Recipient> = Vec::new();
        for recipient in self.identities.iter().filter_map(|identity| identity.found().recipient()) {
            if !all.contains(recipient) {
                all.push(recipient.clone());
            }
        }
        all
    }

    /// The plugins that may run.
    pub fn plugins(&self) -> &Plugins {
        &self.plugins
    }

    /// Opens a sealed file; nothing comes out unless all of it is authentic.
    pub fn open<'t>(&self, sealed: &'t [u8]) -> Result<Opened<'t>, Error> {
        self.open_sealed(Sealed::parse(sealed)?)
    }

    /// Opens a sealed file that was read already.
    pub fn open_sealed<'t>(&self, sealed: Sealed<'t>) -> Result<Opened<'t>, Error> {
        let key = self.data_key(sealed.groups())?;
        Ok(sealed.open(&key)?)
    }

    /// Unwraps the data key with whichever identities fit.
    pub fn data_key(&self, groups: &KeyGroups) -> Result<DataKey, Error> {
        // The files of a branch share their envelopes, and comparing them is cheaper than hashing them.
        if let Some((known, key)) = &*self.last.borrow()
            && known == groups
        {
            return Ok(key.duplicate());
        }
        let key = self.find_data_key(groups)?;
        self.last.replace(Some((groups.clone(), key.duplicate())));
        Ok(key)
    }

    fn find_data_key(&self, groups: &KeyGroups) -> Result<DataKey, Error> {
        if let Some(key) = self.made.borrow().get(&of_all(groups)) {
            return Ok(key.duplicate());
        }
        let mut parts = Vec::new();
        let mut failed = None;
        for group in groups.groups() {
            match self.part(group) {
                Ok(part) => parts.extend(part),
                Err(error) => failed = failed.or(Some(error)),
            }
            if parts.len() == groups.needed() {
                return groups.join(&parts).map_err(Error::BrokenParts);
            }
        }
        Err(failed.unwrap_or_else(|| self.no_identity(groups, parts.len())))
    }

    /// Unwraps the data key as far as that asks nobody: no plugin is started. `None` if that is not enough.
    pub fn native_data_key(&self, groups: &KeyGroups) -> Option<DataKey> {
        if let Some(key) = self.made.borrow().get(&of_all(groups)) {
            return Some(key.duplicate());
        }
        let unwrap = |envelope: &Envelope| {
            let part = self.unwrap(envelope).ok()??;
            self.unwrapped.borrow_mut().insert(of_one(envelope), part.duplicate());
            Some(part)
        };
        let part =
            |group: &Group| self.unwrapped_part(group).or_else(|| group.envelopes.iter().find_map(unwrap));
        let parts: Vec<SecretBytes> = groups.groups().iter().filter_map(part).take(groups.needed()).collect();
        if parts.len() == groups.needed() { groups.join(&parts).ok() } else { None }
    }

    /// Unwraps the part of the data key that a group has. `Ok(None)`: no identity fits.
    pub fn part(&self, group: &Group) -> Result<Option<SecretBytes>, Error> {
        if let Some(part) = self.unwrapped_part(group) {
            return Ok(Some(part));
        }
        // A plugin is a process, and may ask for a touch: it comes after all that need none.
        let mut failed = None;
        for unwrap in [Self::unwrap, Self::unwrap_by_plugins] {
            for envelope in &group.envelopes {
                match unwrap(self, envelope) {
                    Ok(Some(part)) => {
                        self.unwrapped.borrow_mut().insert(of_one(envelope), part.duplicate());
                        return Ok(Some(part));
                    }
                    Ok(None) => {}
                    Err(error) => failed = failed.or(Some(error)),
                }
            }
        }
        failed.map_or(Ok(None), Err)
    }

    /// The part of a group that was unwrapped before.
    fn unwrapped_part(&self, group: &Group) -> Option<SecretBytes> {
        let unwrapped = self.unwrapped.borrow();
        group.envelopes.iter().find_map(|envelope| Some(unwrapped.get(&of_one(envelope))?.duplicate()))
    }

    fn unwrap(&self, envelope: &Envelope) -> Result<Option<SecretBytes>, Error> {
        let recipient = || list(std::slice::from_ref(&envelope.recipient));
        envelope
            .unwrap(self.identities.iter().filter_map(Identity::native))
            .map_err(|_| Error::BrokenEnvelope { recipient: recipient() })
    }

    fn unwrap_by_plugins(&self, envelope: &Envelope) -> Result<Option<SecretBytes>, Error> {
        let mut failed = None;
        for (plugin, identity) in self.identities.iter().filter_map(Identity::plugin) {
            match envelope.unwrap_by_plugin(plugin, identity) {
                Ok(None) => {}
                Ok(part) => return Ok(part),
                Err(error) => failed = failed.or(Some(Error::Plugin(error))),
            }
        }
        failed.map_or(Ok(None), Err)
    }

    fn no_identity(&self, groups: &KeyGroups, opened: usize) -> Error {
        let idle = self.identities.iter().filter_map(|identity| match identity.found() {
            Found::Idle(plugin, plugins::Idle::NotAllowed) => Some(plugin.clone()),
            Found::Idle(..) | Found::Of(_) | Found::OfPlugin(_) => None,
        });
        let mut plugins: Vec<String> = idle.collect();
        plugins.dedup();
        let recipients = groups.recipients().map(str::to_owned).collect();
        let unusable = self.tried.iter().filter_map(|tried| match &tried.outcome {
            Err(reason) if reason != NOT_THERE => Some(format!("{}: {reason}", tried.place)),
            Ok(_) | Err(_) => None,
        });
        let unusable = unusable.collect();
        Error::NoIdentity { recipients, opened, needed: groups.needed(), plugins, unusable }
    }

    /// Keeps a data key that this process made, so that what it sealed opens again.
    pub fn remember(&self, groups: &KeyGroups, key: &DataKey) {
        self.made.borrow_mut().insert(of_all(groups), key.duplicate());
    }
}

fn of_one(envelope: &Envelope) -> [u8; 32] {
    Sha256::digest(envelope.enc.as_bytes()).into()
}

fn of_all(groups: &KeyGroups) -> [u8; 32] {
    let envelopes = groups.groups().iter().flat_map(|group| &group.envelopes);
    let mut hash = Sha256::new();
    envelopes.for_each(|envelope| hash.update(of_one(envelope)));
    hash.finalize().into()
}
