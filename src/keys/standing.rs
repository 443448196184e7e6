//! How a file stands that git should hold sealed: what shows without a key, and what only a key tells.

use sha2::{Digest as _, Sha256};

use crate::crypto::mac::Coverage;
use crate::policy::Rule;
use crate::sops::{self, KeyGroups, Sealed, is_sealed};

use super::{Error, Keyring};

/// How a blob stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// There is nothing to seal.
    Empty,
    /// It is not sealed at all.
    Clear,
    /// It has the metadata of a sealed file, but a value that they should protect is clear.
    Exposed(sops::Error),
    /// It has the metadata of a sealed file, and cannot be read as one.
    Broken(String),
    /// It has the form of a sealed file, and no key at hand tells more.
    Unread,
    /// All of it is authentic.
    Authentic,
    /// Every value is authentic, but the MAC over them does not fit: something was added, removed or
    /// put elsewhere, or a clear value was changed.
    Stale,
    /// A value or an envelope is not authentic.
    Altered(String),
}

/// A blob, judged.
#[derive(Debug, Clone)]
pub struct Judged {
    /// How it stands.
    pub standing: Standing,
    /// Its envelopes, where they can be read.
    pub groups: Option<KeyGroups>,
    /// Which data key it has, where it was unwrapped: equal for equal keys, and nothing else.
    pub key: Option<[u8; 32]>,
    /// The rule that it is sealed by, and what its MAC covers; none for a whole file, all of which is sealed.
    pub rule: Option<(Rule, Coverage)>,
    /// How many comments are clear where the rule seals comments.
    pub clear_comments: usize,
}

impl Judged {
    fn plain(standing: Standing) -> Self {
        Self { standing, groups: None, key: None, rule: None, clear_comments: 0 }
    }
}

impl Keyring {
    /// Judges a blob, with what keys there are.
    pub fn judge(&self, blob: &[u8]) -> Judged {
        if blob.is_empty() {
            return Judged::plain(Standing::Empty);
        }
        if !is_sealed(blob) {
            return Judged::plain(Standing::Clear);
        }
        let sealed = match Sealed::parse(blob) {
            Ok(sealed) => sealed,
            Err(error) => return Judged::plain(Standing::Broken(error.to_string())),
        };
        let groups = Some(sealed.groups().clone());
        let rule = sealed.rule();
        let clear_comments = sealed.clear_comments().len();
        let (standing, key) = match sealed.check_structure() {
            Ok(()) => self.authenticate(sealed),
            Err(error) => (Standing::Exposed(error), None),
        };
        Judged { standing, groups, key, rule, clear_comments }
    }

    fn authenticate(&self, sealed: Sealed<'_>) -> (Standing, Option<[u8; 32]>) {
        let key = match self.data_key(sealed.groups()) {
            Ok(key) => key,
            Err(Error::NoIdentity { .. } | Error::Plugin(_) | Error::Locked { .. }) => {
                return (Standing::Unread, None);
            }
            Err(error @ (Error::Sops(_) | Error::BrokenEnvelope { .. } | Error::BrokenParts(_))) => {
                return (Standing::Altered(error.to_string()), None);
            }
        };
        let standing = match sealed.open(&key) {
            Ok(_) => Standing::Authentic,
            // The values come before the MAC.
            Err(sops::Error::Mac) => Standing::Stale,
            Err(error) => Standing::Altered(error.to_string()),
        };
        (standing, Some(Sha256::digest(key.expose()).into()))
    }
}
