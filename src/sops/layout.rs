//! The layout entry `sops.hlx`: spellings that the sealed text cannot show.
//!
//! `0755` is sealed as the number 493, and a folded block as its unfolded value; opened in the
//! plain way they would come back spelled otherwise. For such leaves the entry keeps the
//! original spelling, by the number of the sealed leaf. It is sealed under the data key and
//! bound to the file's MAC; and it is used only if the text that it yields carries exactly the
//! authenticated values.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use crate::crypto::value::{Cipher, Kind, Sealed};
use crate::crypto::{Entropy, Error};

/// The version of the entry's form.
const VERSION: u32 = 1;

/// Original spellings by the number of the sealed leaf in its document, from 0.
pub(super) type Spellings = BTreeMap<usize, Zeroizing<String>>;

fn aad(mac: &str) -> String {
    format!("sops.hlx:{VERSION}:{mac}")
}

/// Seals the entry; `None` if there is nothing to say.
pub(super) fn seal(
    spellings: &Spellings,
    mac: &str,
    cipher: &Cipher,
    entropy: Entropy<'_>,
) -> Option<String> {
    if spellings.is_empty() {
        return None;
    }
    let plain: BTreeMap<usize, &str> = spellings.iter().map(|(leaf, text)| (*leaf, text.as_str())).collect();
    let json = Zeroizing::new(serde_json::to_vec(&plain).expect("a map of texts is JSON"));
    Some(cipher.seal(&json, Kind::Str, aad(mac).as_bytes(), entropy))
}

/// Opens the entry. Fails if it is not authentic for this file and MAC.
pub(super) fn open(entry: &str, mac: &str, cipher: &Cipher) -> Result<Spellings, Error> {
    let json = cipher.open(&Sealed::parse(entry)?, aad(mac).as_bytes())?;
    let plain: BTreeMap<usize, String> =
        serde_json::from_slice(json.expose()).map_err(|_| Error::Malformed)?;
    Ok(plain.into_iter().map(|(leaf, text)| (leaf, Zeroizing::new(text))).collect())
}
