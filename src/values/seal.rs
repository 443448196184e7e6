//! A whole file, encrypted or decrypted as it stands: what `sops -e` and `sops -d` do.

use crate::keys::Keyring;
use crate::secret::SecretBytes;
use crate::sops::{Stamp, is_sealed};

use super::file::seal_new;
use super::{Error, Place};

/// The sealed form of a file, for the readers that the nearest `.sops.yaml` names.
pub fn encrypt(
    place: &Place,
    content: &SecretBytes,
    keyring: &Keyring,
    stamp: Stamp<'_>,
) -> Result<SecretBytes, Error> {
    if is_sealed(content.expose()) {
        return Err(Error::SealedAlready);
    }
    if content.expose().is_empty() {
        return Ok(SecretBytes::new(Vec::new()));
    }
    seal_new(place, content.expose(), place.format()?, keyring, stamp).map(SecretBytes::new)
}

/// The plaintext of a sealed file.
pub fn decrypt(content: &SecretBytes, keyring: &Keyring) -> Result<SecretBytes, Error> {
    if !is_sealed(content.expose()) {
        return Err(Error::Clear);
    }
    Ok(keyring.open(content.expose())?.into_plaintext())
}
