//! A private key that is there, and of no use until somebody is asked: a person, or the keychain.

use std::cell::OnceCell;
use std::fmt;
use std::time::{Duration, SystemTime};

use age::secrecy::SecretString;

use crate::crypto::envelope::{Envelope, Recipient};
use crate::secret::SecretBytes;
use crate::sys::kernel_keys;

use super::identity::{self, Identity};
use super::keychain;
use super::plugins::Plugins;
use super::protected::{Protected, Refused};
use super::unlocked;

/// Asks for the passphrase of what is named; `None` where nobody can be asked, or the answer is empty.
pub type Ask = fn(&str) -> Option<SecretString>;

/// What a person calls the place.
pub(super) const KEYCHAIN: &str = "keychain";

/// How often a wrong passphrase may be corrected.
const TRIES: usize = 3;

/// A private key that a passphrase protects, or that is in the keychain.
pub struct Locked {
    place: String,
    lock: Lock,
    /// The public keys, as far as they are known while it is locked.
    recipients: Vec<Recipient>,
    plugins: Plugins,
    opened: OnceCell<Result<Vec<Identity>, Shut>>,
}

enum Lock {
    Passphrase(Protected),
    /// It is there under its public key.
    Keychain(Recipient),
}

/// Why it stays locked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shut {
    /// Nobody could be asked, or nobody answered.
    Unanswered,
    /// The passphrase was wrong, each time.
    Wrong,
    /// It does not open, for this reason, whatever the passphrase.
    Broken(String),
}

/// Why a key was not unlocked for a time.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It stays locked.
    #[error("{}", match .0 {
        Shut::Unanswered => "there is no terminal to ask for its passphrase, or no answer",
        Shut::Wrong => "that is not its passphrase",
        Shut::Broken(reason) => reason,
    })]
    Shut(Shut),
    /// The kernel does not keep it.
    #[error(transparent)]
    Kernel(#[from] kernel_keys::Error),
}

impl fmt::Debug for Locked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Locked({})", self.place)
    }
}

impl Locked {
    /// A protected key that was found in a place. The public keys are those that stand in clear beside it.
    pub(super) fn new(place: &str, protected: Protected, beside: Vec<Recipient>, plugins: &Plugins) -> Self {
        let recipients = protected.recipient().map_or(beside, |recipient| vec![recipient.clone()]);
        let (place, plugins) = (place.to_owned(), plugins.clone());
        Self { place, lock: Lock::Passphrase(protected), recipients, plugins, opened: OnceCell::new() }
    }

    /// A key in the keychain.
    pub(super) fn in_keychain(recipient: Recipient, plugins: &Plugins) -> Self {
        let (place, plugins) = (KEYCHAIN.to_owned(), plugins.clone());
        let recipients = vec![recipient.clone()];
        Self { place, lock: Lock::Keychain(recipient), recipients, plugins, opened: OnceCell::new() }
    }

    /// Whether a passphrase protects it.
    pub fn is_protected(&self) -> bool {
        matches!(self.lock, Lock::Passphrase(_))
    }

    /// Where it is, as a person names it.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// The public keys, as far as they are known.
    pub fn recipients(&self) -> &[Recipient] {
        &self.recipients
    }

    /// Whether it can be of use for an envelope.
    pub(super) fn may_open(&self, envelope: &Envelope) -> bool {
        self.recipients.is_empty() || self.recipients.iter().any(|recipient| envelope.is_for(recipient))
    }

    /// The identities in it, for this process alone; it is asked for once.
    pub(super) fn open(&self, ask: Option<Ask>) -> Result<&[Identity], Shut> {
        let opened = self.opened.get_or_init(|| {
            let plain = self.plain(ask)?;
            identity::parse_plain(plain.expose(), &self.plugins).map_err(Shut::Broken)
        });
        opened.as_ref().map(Vec::as_slice).map_err(Clone::clone)
    }

    /// Asks, and lets the kernel keep it for so long: all processes of the user find it there. Gives the public keys.
    pub fn unlock(&self, ask: Ask, time: Duration) -> Result<Vec<Recipient>, Error> {
        let plain = self.plain(Some(ask)).map_err(Error::Shut)?;
        // Nothing is kept that nobody can use.
        let identities = identity::parse_plain(plain.expose(), &self.plugins);
        let identities = identities.map_err(|reason| Error::Shut(Shut::Broken(reason)))?;
        if let Lock::Passphrase(protected) = &self.lock {
            unlocked::keep(protected, &plain, time)?;
        }
        Ok(identities.iter().filter_map(|identity| identity.found().recipient()).cloned().collect())
    }

    fn plain(&self, ask: Option<Ask>) -> Result<SecretBytes, Shut> {
        match &self.lock {
            Lock::Passphrase(protected) => self.asked(protected, ask.ok_or(Shut::Unanswered)?),
            Lock::Keychain(recipient) => {
                keychain::get(recipient).map_err(|error| Shut::Broken(error.to_string()))
            }
        }
    }

    fn asked(&self, protected: &Protected, ask: Ask) -> Result<SecretBytes, Shut> {
        let question = format!("passphrase of {} (none: skip it):", self.place);
        for _ in 0..TRIES {
            let passphrase = ask(&question).ok_or(Shut::Unanswered)?;
            match protected.open(&passphrase) {
                Ok(plain) => return Ok(plain),
                Err(Refused::Wrong) => {}
                Err(Refused::Broken(reason)) => return Err(Shut::Broken(reason)),
            }
        }
        Err(Shut::Wrong)
    }
}

/// The identities of a protected file, if it was unlocked, and until when that is so.
pub(super) fn if_unlocked(protected: &Protected, plugins: &Plugins) -> Option<(Vec<Identity>, SystemTime)> {
    let (plain, until) = unlocked::find(protected)?;
    Some((identity::parse_plain(plain.expose(), plugins).ok()?, until))
}
