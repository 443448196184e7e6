//! The cryptography of a SOPS file: values, the MAC over them, and the envelopes of the data key.

pub mod envelope;
pub mod hybrid;
pub mod mac;
pub mod shamir;
pub mod value;

use std::fmt;

use crate::secret::Secret;

/// Why something could not be sealed or opened. Never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text does not have the form `ENC[AES256_GCM,data:…,iv:…,tag:…,type:…]`.
    #[error("not a sealed value")]
    Malformed,
    /// The tag does not fit: other key, other place, or altered.
    #[error("the sealed value is not authentic here")]
    NotAuthentic,
    /// The recipient is of no supported kind.
    #[error("`{0}` is no recipient: expected `age1…`, `ssh-ed25519 …` or `ssh-rsa …`")]
    BadRecipient(String),
    /// The data key could not be wrapped for a recipient.
    #[error("the data key cannot be wrapped for `{0}`")]
    Wrap(String),
    /// The recipient needs a plugin of age, which is a program, and the user did not allow it.
    #[error("{recipient} is a key of the age plugin `{plugin}`, which is not allowed to run")]
    PluginNotAllowed {
        /// The plugin's name.
        plugin: String,
        /// The recipient, shortened.
        recipient: String,
    },
    /// The plugin is allowed, but not installed.
    #[error(
        "{recipient} is a key of the age plugin `{plugin}`, but `age-plugin-{plugin}` is not on the PATH"
    )]
    PluginMissing {
        /// The plugin's name.
        plugin: String,
        /// The recipient, shortened.
        recipient: String,
    },
    /// The plugin ran, and did not do it.
    #[error("the age plugin `{plugin}` failed: {reason}")]
    Plugin {
        /// The plugin's name.
        plugin: String,
        /// In its words, or age's.
        reason: String,
    },
    /// What the envelope held is not a data key of 32 bytes.
    #[error("the envelope does not hold a data key of 32 bytes")]
    BadDataKey,
    /// The shares of a data key do not belong together.
    #[error("the shares of the data key do not belong together")]
    BadShare,
}

/// The source of randomness for initialization vectors and data keys: fills the buffer.
///
/// The operating system's generator in the program (`getrandom`); tests may bring their own.
pub type Entropy<'a> = &'a mut dyn FnMut(&mut [u8]);

/// The key of 32 random bytes that seals the values of a file.
pub struct DataKey(Secret<[u8; 32]>);

impl DataKey {
    /// A fresh key.
    pub fn random(entropy: Entropy<'_>) -> Self {
        let mut key = Secret::new([0; 32]);
        entropy(key.expose_mut());
        Self(key)
    }

    /// The key with these bytes; fails unless they are 32.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let mut key = Secret::new([0; 32]);
        if bytes.len() != key.expose().len() {
            return Err(Error::BadDataKey);
        }
        key.expose_mut().copy_from_slice(bytes);
        Ok(Self(key))
    }

    /// The key's bytes, to wrap them.
    pub fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }

    /// The same key once more.
    pub fn duplicate(&self) -> Self {
        Self(Secret::new(*self.expose()))
    }
}

impl PartialEq for DataKey {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl Eq for DataKey {}

impl std::hash::Hash for DataKey {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.expose().hash(state);
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey([secret])")
    }
}
