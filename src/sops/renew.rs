//! A sealed file under another data key: each value is sealed anew in its own place, and all other text stays.
//!
//! That is done on the sealed text, not by way of the plaintext: a file that opens can be renewed,
//! also one that hlx would not make.

use std::ops::Range;

use crate::crypto::DataKey;
use crate::crypto::value::{Cipher, Kind, Sealed as SealedValue};
use crate::format::{Document, Leaf, Store};

use super::groups::KeyGroups;
use super::metadata::Metadata;
use super::open::{Body, Opened, Sealed};
use super::seal::{Stamp, plain};
use super::{Error, whole};

impl Opened<'_> {
    /// The file under this data key, which the groups wrap. Nothing of it opens with the old one.
    ///
    /// Fails if the result would not open to the very same bytes; that is checked here.
    pub fn renew(&self, key: &DataKey, groups: KeyGroups, stamp: Stamp<'_>) -> Result<String, Error> {
        let Stamp { now, entropy } = stamp;
        let cipher = Cipher::new(key);
        let mac = cipher.seal(self.mac()?.as_slice(), Kind::Str, now.as_bytes(), entropy);
        let layout = self.layout.seal(&mac, &cipher, entropy);
        let metadata = Metadata { groups, lastmodified: now, mac, layout, ..self.sealed.metadata.clone() };
        let renewed = match &self.sealed.body {
            Body::Whole { .. } => whole::data(self.plaintext.expose(), &cipher, entropy),
            Body::Leaves { store, document, .. } => {
                let mut seal = |number: usize| {
                    let (kind, bytes) = self.contents.get(number).map(|content| {
                        let (kind, bytes) = plain(&content);
                        (kind, zeroize::Zeroizing::new(bytes.into_owned()))
                    })?;
                    let path = self.contents.path(number, document);
                    Some(cipher.seal(&bytes, kind, document.paths.aad(path).as_bytes(), entropy))
                };
                replaced(self.sealed.text, *store, document, &mut seal)
            }
        };
        let renewed = self.sealed.renewed(&renewed, metadata)?;
        let opened = Sealed::parse(renewed.as_bytes())?.open(key)?;
        match opened.plaintext.expose() == self.plaintext.expose() {
            true => Ok(renewed),
            false => Err(Error::Unspellable),
        }
    }

    /// The plain MAC, as whoever sealed the file computed it.
    fn mac(&self) -> Result<zeroize::Zeroizing<Vec<u8>>, Error> {
        let metadata = &self.sealed.metadata;
        let sealed = SealedValue::parse(&metadata.mac).map_err(|_| Error::Mac)?;
        let aad = Metadata::mac_aad(&metadata.lastmodified);
        let opened = Cipher::new(&self.key).open(sealed, aad.as_bytes()).map_err(|_| Error::Mac)?;
        Ok(zeroize::Zeroizing::new(opened.expose().clone()))
    }
}

/// The text with other ciphertexts; `seal` gives the new one of a leaf, by its number.
fn replaced(
    text: &str,
    store: Store,
    document: &Document<'_>,
    seal: &mut dyn FnMut(usize) -> Option<String>,
) -> String {
    let leaves = document.leaves.iter().enumerate();
    let mut parts: Vec<(Range<usize>, String)> =
        leaves.filter_map(|(number, leaf)| Some(place(text, store, leaf, &seal(number)?))).collect();
    parts.sort_by_key(|(span, _)| span.start);
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for (span, sealed) in parts {
        out.push_str(&text[at..span.start]);
        out.push_str(&sealed);
        at = span.end;
    }
    out.push_str(&text[at..]);
    out
}

/// Where a leaf's ciphertext stands, and what goes there; quotes and marks around it stay, unless it is spelled with
/// escapes of its format.
fn place(text: &str, store: Store, leaf: &Leaf<'_>, sealed: &str) -> (Range<usize>, String) {
    let old = leaf.content.text().unwrap_or_default().trim();
    match text[leaf.span.clone()].find(old) {
        Some(at) => (leaf.span.start + at..leaf.span.start + at + old.len(), sealed.to_owned()),
        None => (leaf.span.clone(), store.spell_sealed(leaf, sealed)),
    }
}
