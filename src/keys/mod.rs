//! Identities: where private keys are looked for, and opening sealed files with them.
//!
//! All places are collected, the ones sops knows and then hlx's own, and every envelope of a
//! file is tried with all of them. A data key once unwrapped is kept for the process, so that a
//! branch opens with one unwrap.

mod identity;
pub mod keychain;
pub mod locked;
pub mod plugins;
mod protected;
pub mod recipients;
mod search;
pub mod standing;
pub mod stored;
pub mod unlocked;

use std::cell::RefCell;
use std::collections::HashMap;

use sha2::{Digest as _, Sha256};

use crate::crypto::envelope::{Envelope, Recipient};
use crate::crypto::{self, DataKey};
use crate::secret::{self, SecretBytes};
use crate::sops::groups::Group;
use crate::sops::{self, KeyGroups, Opened, Sealed};

pub use identity::{Found, Identity};
pub use locked::Locked;
use locked::{Ask, Shut};
pub use plugins::Plugins;
pub use search::{Missing, Places, Tried};
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
        /// What is here, and was not used.
        unused: Box<Unused>,
    },
    /// A passphrase was asked for, and the key stays locked.
    #[error("the private key in {place} stays locked: {reason}")]
    Locked {
        /// Where the key is.
        place: String,
        /// Why it does.
        reason: String,
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

/// Keys that could be of use, and were not.
#[derive(Debug)]
pub struct Unused {
    /// Plugins that are not allowed, and have an identity here.
    pub plugins: Vec<String>,
    /// Places that have a key of no use, and why.
    pub unusable: Vec<String>,
    /// Places that have a key which somebody would have to give the passphrase of.
    pub locked: Vec<String>,
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

/// The identities of this machine and user.
pub struct Keyring {
    identities: Vec<Identity>,
    tried: Vec<Tried>,
    plugins: Plugins,
    ask: Option<Ask>,
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
        let found = search::all(places);
        Self {
            identities: found.identities,
            tried: found.tried,
            plugins: places.plugins.clone(),
            ask: places.ask,
            unwrapped: RefCell::default(),
            last: RefCell::default(),
            made: RefCell::default(),
        }
    }

    /// Each place that was looked in, in order, and what was found.
    pub fn tried(&self) -> &[Tried] {
        &self.tried
    }

    /// The public keys of all identities, once each, as far as they are known. Where a passphrase hides one, it is
    /// asked for, if anybody can be.
    pub fn recipients(&self) -> Vec<Recipient> {
        let known = self.identities.iter().filter_map(|identity| identity.found().recipient());
        let beside = self.shut().flat_map(Locked::recipients);
        let mut all: Vec<Recipient> = Vec::new();
        for recipient in known.chain(beside).cloned().chain(self.hidden()) {
            if !all.contains(&recipient) {
                all.push(recipient);
            }
        }
        all
    }

    /// The public keys that only a passphrase tells, which is asked for, if anybody can be.
    pub fn hidden(&self) -> Vec<Recipient> {
        let hides = self.locked().filter(|locked| locked.recipients().is_empty());
        let opened = hides.flat_map(|locked| locked.open(self.ask).unwrap_or_default());
        opened.filter_map(|identity| identity.found().recipient()).cloned().collect()
    }

    /// The private keys that a passphrase protects, and that are not unlocked.
    pub fn locked(&self) -> impl Iterator<Item = &Locked> {
        self.shut().filter(|locked| locked.is_protected())
    }

    fn shut(&self) -> impl Iterator<Item = &Locked> {
        self.identities.iter().filter_map(Identity::locked)
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
        // A plugin is a process, and may ask for a touch: it comes after all that need none, and a passphrase last.
        let mut failed = None;
        for unwrap in [Self::unwrap, Self::unwrap_by_plugins, Self::unwrap_by_locked] {
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
        unwrap_natively(&self.identities, envelope)
    }

    fn unwrap_by_plugins(&self, envelope: &Envelope) -> Result<Option<SecretBytes>, Error> {
        unwrap_by_plugins(&self.identities, envelope)
    }

    /// Asks the keychain for keys that fit, and for the passphrases of those that may, if anybody can be asked.
    fn unwrap_by_locked(&self, envelope: &Envelope) -> Result<Option<SecretBytes>, Error> {
        let mut failed = None;
        for locked in self.shut().filter(|locked| locked.may_open(envelope)) {
            let part = match locked.open(self.ask) {
                Ok(identities) => match unwrap_natively(identities, envelope) {
                    Ok(None) => unwrap_by_plugins(identities, envelope),
                    other => other,
                },
                Err(Shut::Unanswered) => Ok(None),
                Err(shut) => Err(Error::Locked {
                    place: locked.place().to_owned(),
                    reason: locked::Error::Shut(shut).to_string(),
                }),
            };
            match part {
                Ok(None) => {}
                Ok(part) => return Ok(part),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(None), Err)
    }

    fn no_identity(&self, groups: &KeyGroups, opened: usize) -> Error {
        let idle = self.identities.iter().filter_map(|identity| match identity.found() {
            Found::Idle(plugin, plugins::Idle::NotAllowed) => Some(plugin.clone()),
            Found::Idle(..) | Found::Of(_) | Found::OfPlugin(_) | Found::Locked(_) | Found::InKeychain(_) => {
                None
            }
        });
        let mut plugins: Vec<String> = idle.collect();
        plugins.dedup();
        let recipients = groups.recipients().map(str::to_owned).collect();
        let unusable =
            self.tried.iter().filter_map(|tried| Some(format!("{}: {}", tried.place, tried.unusable()?)));
        let unusable = unusable.collect();
        let envelopes = || groups.groups().iter().flat_map(|group| &group.envelopes);
        let locked = self.locked().filter(|locked| envelopes().any(|envelope| locked.may_open(envelope)));
        let locked = locked.map(|locked| locked.place().to_owned()).collect();
        let unused = Box::new(Unused { plugins, unusable, locked });
        Error::NoIdentity { recipients, opened, needed: groups.needed(), unused }
    }

    /// Keeps a data key that this process made, so that what it sealed opens again.
    pub fn remember(&self, groups: &KeyGroups, key: &DataKey) {
        self.made.borrow_mut().insert(of_all(groups), key.duplicate());
    }
}

fn unwrap_natively(identities: &[Identity], envelope: &Envelope) -> Result<Option<SecretBytes>, Error> {
    let recipient = || list(std::slice::from_ref(&envelope.recipient));
    envelope
        .unwrap(identities.iter().filter_map(Identity::native))
        .map_err(|_| Error::BrokenEnvelope { recipient: recipient() })
}

fn unwrap_by_plugins(identities: &[Identity], envelope: &Envelope) -> Result<Option<SecretBytes>, Error> {
    let mut failed = None;
    for (plugin, identity) in identities.iter().filter_map(Identity::plugin) {
        match envelope.unwrap_by_plugin(plugin, identity) {
            Ok(None) => {}
            Ok(part) => return Ok(part),
            Err(error) => failed = failed.or(Some(Error::Plugin(error))),
        }
    }
    failed.map_or(Ok(None), Err)
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
