//! A private key that is there, and of no use until somebody is asked.

use std::cell::OnceCell;
use std::fmt;
use std::time::{Duration, SystemTime};

use age::secrecy::SecretString;

use crate::crypto::envelope::{Envelope, Recipient};
use crate::secret::SecretBytes;
use crate::sys::kernel_keys;

use super::identity::{self, Identity};
use super::plugins::Plugins;
use super::protected::{Protected, Refused};
use super::unlocked;

/// Asks for the passphrase of what is named; `None` where nobody can be asked, or the answer is empty.
pub type Ask = fn(&str) -> Option<SecretString>;

/// How often a wrong passphrase may be corrected.
const TRIES: usize = 3;

/// A private key that a passphrase protects.
pub struct Locked {
    place: String,
    protected: Protected,
    /// The public keys, as far as they are known without the passphrase.
    recipients: Vec<Recipient>,
    plugins: Plugins,
    opened: OnceCell<Result<Vec<Identity>, Shut>>,
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
        Self { place, protected, recipients, plugins, opened: OnceCell::new() }
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
            let plain = self.plain(ask.ok_or(Shut::Unanswered)?)?;
            identity::parse_plain(plain.expose(), &self.plugins).map_err(Shut::Broken)
        });
        opened.as_ref().map(Vec::as_slice).map_err(Clone::clone)
    }

    /// Asks, and lets the kernel keep it for so long: all processes of the user find it there. Gives the public keys.
    pub fn unlock(&self, ask: Ask, time: Duration) -> Result<Vec<Recipient>, Error> {
        let plain = self.plain(ask).map_err(Error::Shut)?;
        // Nothing is kept that nobody can use.
        let identities = identity::parse_plain(plain.expose(), &self.plugins);
        let identities = identities.map_err(|reason| Error::Shut(Shut::Broken(reason)))?;
        unlocked::keep(&self.protected, &plain, time)?;
        Ok(identities.iter().filter_map(|identity| identity.found().recipient()).cloned().collect())
    }

    fn plain(&self, ask: Ask) -> Result<SecretBytes, Shut> {
        let question = format!("passphrase of {} (none: skip it):", self.place);
        for _ in 0..TRIES {
            let passphrase = ask(&question).ok_or(Shut::Unanswered)?;
            match self.protected.open(&passphrase) {
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
