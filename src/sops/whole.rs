//! Whole files: one sealed value, with the path `data`.

use crate::crypto::Entropy;
use crate::crypto::mac::{Coverage, Mac};
use crate::crypto::value::{Cipher, Kind, Sealed};
use crate::format::binary;
use crate::secret::SecretBytes;

use super::metadata::Metadata;
use super::seal::Stamp;
use super::{Basis, Error};

const AAD: &[u8] = b"data:";

pub(super) fn open(data: &str, metadata: &Metadata, cipher: &Cipher) -> Result<SecretBytes, Error> {
    let plaintext = open_value(data, cipher)?;
    let mut mac = Mac::new(metadata.coverage);
    mac.add(plaintext.expose(), true);
    let aad = Metadata::mac_aad(&metadata.lastmodified);
    mac.finish().check(&metadata.mac, cipher, &aad).map_err(|_| Error::Mac)?;
    Ok(plaintext)
}

/// Opens the one value; its MAC is still to be checked.
pub(super) fn open_value(data: &str, cipher: &Cipher) -> Result<SecretBytes, Error> {
    let name = || "data".to_owned();
    if data.is_empty() {
        return Ok(SecretBytes::new(Vec::new()));
    }
    let sealed = Sealed::parse(data).map_err(|_| Error::Clear(name()))?;
    cipher.open(sealed, AAD).map_err(|_| Error::Tampered(name()))
}

/// The one sealed value of a whole file.
pub(super) fn data(plaintext: &[u8], cipher: &Cipher, entropy: Entropy<'_>) -> String {
    match plaintext {
        [] => String::new(),
        bytes => cipher.seal(bytes, Kind::Str, AAD, entropy),
    }
}

/// Seals a whole file.
pub(super) fn seal(plaintext: &[u8], basis: &Basis<'_>, stamp: Stamp<'_>) -> String {
    let cipher = Cipher::new(basis.key());
    let data = data(plaintext, &cipher, stamp.entropy);
    let mut mac = Mac::new(Coverage::All);
    mac.add(plaintext, true);
    let metadata = Metadata {
        groups: basis.groups().clone(),
        lastmodified: stamp.now.clone(),
        mac: mac.finish().seal(&cipher, &stamp.now, stamp.entropy),
        rule: crate::policy::Rule::default(),
        coverage: Coverage::All,
        layout: None,
    };
    binary::render(&data, &metadata.fields(true))
}
