//! The layout entry `sops.hlx`: spellings that the sealed text cannot show.
//!
//! `0755` is sealed as the number 493, a folded block as its unfolded value, and an alias as the
//! mapping that it stands for; opened in the plain way they would come back spelled otherwise. For
//! such leaves the entry keeps the original spelling, by the number of the sealed leaf. It is sealed
//! under the data key and bound to the file's MAC; and it is used only if the text that it yields
//! carries exactly the authenticated values.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::crypto::value::{Cipher, Kind, Sealed};
use crate::crypto::{Entropy, Error};

/// The version of the entry's form.
const VERSION: u32 = 1;

/// Original spellings by the number of the (first) sealed leaf in its document, from 0.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Layout(BTreeMap<usize, Spelling>);

/// How a part of the plaintext was written.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Spelling {
    /// The text in the place of one leaf.
    Leaf(Zeroizing<String>),
    /// An alias in the place of the collection that it stands for.
    Alias {
        /// How many sealed leaves it stands for.
        leaves: usize,
        /// How many bytes the collection begins before its first sealed leaf.
        before: usize,
        /// How many bytes it ends behind its last sealed leaf.
        after: usize,
        /// The alias as written.
        text: Zeroizing<String>,
    },
}

impl std::fmt::Debug for Spelling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Spelling([secret])")
    }
}

impl Spelling {
    /// The same once more.
    pub(super) fn duplicate(&self) -> Self {
        match self {
            Self::Leaf(text) => Self::Leaf(text.clone()),
            Self::Alias { leaves, before, after, text } => {
                Self::Alias { leaves: *leaves, before: *before, after: *after, text: text.clone() }
            }
        }
    }
}

fn aad(mac: &str) -> String {
    format!("sops.hlx:{VERSION}:{mac}")
}

impl Layout {
    /// The spelling that begins at a sealed leaf.
    pub(super) fn get(&self, leaf: usize) -> Option<&Spelling> {
        self.0.get(&leaf)
    }

    /// Notes a spelling.
    pub(super) fn note(&mut self, leaf: usize, spelling: Spelling) {
        self.0.insert(leaf, spelling);
    }

    /// Seals the entry; `None` if there is nothing to say.
    pub(super) fn seal(&self, mac: &str, cipher: &Cipher, entropy: Entropy<'_>) -> Option<String> {
        if self.0.is_empty() {
            return None;
        }
        let json = Zeroizing::new(serde_json::to_vec(self).expect("a map of texts is JSON"));
        Some(cipher.seal(&json, Kind::Str, aad(mac).as_bytes(), entropy))
    }

    /// Opens the entry. Fails if it is not authentic for this file and MAC.
    pub(super) fn open(entry: &str, mac: &str, cipher: &Cipher) -> Result<Self, Error> {
        let json = cipher.open(Sealed::parse(entry)?, aad(mac).as_bytes())?;
        serde_json::from_slice(json.expose()).map_err(|_| Error::Malformed)
    }
}
