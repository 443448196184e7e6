//! Plugins of age: programs on the PATH that wrap and unwrap with keys of their own kind.
//!
//! The filter runs inside git, on files that others wrote. So a plugin runs only if the user
//! allowed it by name, in a place that no repository's tree reaches; the door knows where.

use std::cell::LazyCell;
use std::collections::BTreeSet;
use std::fmt;
use std::rc::Rc;

use age::plugin::{IdentityPluginV1, RecipientPluginV1};
use age::secrecy::SecretString;

use crate::crypto::envelope::{Envelope, Recipient};
use crate::crypto::{self, DataKey, Entropy};
use crate::policy::creation::Audience;
use crate::sops::KeyGroups;

type Names = LazyCell<BTreeSet<String>, Box<dyn FnOnce() -> BTreeSet<String>>>;

/// The plugins that may run, and how they reach the user. By default none may.
#[derive(Clone)]
pub struct Plugins {
    /// Found out when the first key of a plugin is met: most files have none.
    allowed: Rc<Names>,
    dialogue: Dialogue,
}

/// How a plugin reaches the user.
#[derive(Debug, Clone, Copy)]
pub struct Dialogue {
    /// Shows a message, such as that a key wants to be touched.
    pub tell: fn(&str),
    /// Asks a question; `None` where nobody can be asked.
    pub ask: fn(&str) -> Option<String>,
    /// Asks for a secret, such as a PIN, without showing it.
    pub ask_secret: fn(&str) -> Option<SecretString>,
}

/// Why a key of a plugin is of no use here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Idle {
    /// The user did not allow the plugin.
    NotAllowed,
    /// The program is not on the PATH.
    Missing,
}

impl Plugins {
    /// These plugins may run.
    pub fn allow(names: impl FnOnce() -> BTreeSet<String> + 'static, dialogue: Dialogue) -> Self {
        Self { allowed: Rc::new(LazyCell::new(Box::new(names))), dialogue }
    }

    /// Wraps a data key for an audience.
    pub fn wrap(
        &self,
        audience: &Audience,
        key: &DataKey,
        entropy: Entropy<'_>,
    ) -> Result<KeyGroups, crypto::Error> {
        KeyGroups::wrap(audience, key, entropy, &|recipient| self.recipient(recipient))
    }

    /// Wraps a data key, or a share of it, for one more recipient.
    pub fn wrap_part(&self, recipient: &Recipient, part: &[u8]) -> Result<Envelope, crypto::Error> {
        recipient.wrap(part, &|recipient| self.recipient(recipient))
    }

    fn recipient(
        &self,
        recipient: &age::plugin::Recipient,
    ) -> Result<Box<dyn age::Recipient>, crypto::Error> {
        let plugin = recipient.plugin().to_owned();
        let short = |text: String| text.parse::<Recipient>().map_or(text, |recipient| recipient.short());
        if !self.allowed.contains(&plugin) {
            return Err(crypto::Error::PluginNotAllowed { plugin, recipient: short(recipient.to_string()) });
        }
        match RecipientPluginV1::new(&plugin, std::slice::from_ref(recipient), &[], self.dialogue) {
            Ok(ready) => Ok(Box::new(ready)),
            Err(_) => Err(crypto::Error::PluginMissing { plugin, recipient: short(recipient.to_string()) }),
        }
    }

    pub(super) fn identity(
        &self,
        identity: &age::plugin::Identity,
    ) -> Result<IdentityPluginV1<impl age::Callbacks + use<>>, Idle> {
        let plugin = identity.plugin();
        if !self.allowed.contains(plugin) {
            return Err(Idle::NotAllowed);
        }
        IdentityPluginV1::new(plugin, std::slice::from_ref(identity), self.dialogue)
            .map_err(|_| Idle::Missing)
    }
}

impl Default for Plugins {
    fn default() -> Self {
        Self::allow(BTreeSet::new, Dialogue { tell: |_| {}, ask: |_| None, ask_secret: |_| None })
    }
}

impl fmt::Debug for Plugins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Plugins")
    }
}

impl age::Callbacks for Dialogue {
    fn display_message(&self, message: &str) {
        (self.tell)(message);
    }

    fn confirm(&self, message: &str, yes: &str, no: Option<&str>) -> Option<bool> {
        let question = format!("{message} [{yes}/{}]", no.unwrap_or("no"));
        (self.ask)(&question).map(|answer| answer.trim().eq_ignore_ascii_case(yes))
    }

    fn request_public_string(&self, description: &str) -> Option<String> {
        (self.ask)(description)
    }

    fn request_passphrase(&self, description: &str) -> Option<SecretString> {
        (self.ask_secret)(description)
    }
}
