//! A file that is to be read or changed: its plaintext, and how a new one takes its place.

use crate::crypto::DataKey;
use crate::format::Format;
use crate::keys::Keyring;
use crate::secret::SecretBytes;
use crate::sops::{self, Basis, Opened, Stamp, is_sealed};
use crate::trust::File as Guarded;

use super::{Changed, Error, Place};

/// A file, opened.
#[derive(Debug)]
pub struct File<'a> {
    place: &'a Place,
    content: &'a SecretBytes,
    opened: Option<Opened<'a>>,
    format: Format,
    keyring: &'a Keyring,
}

impl<'a> File<'a> {
    /// Opens what stands at a place; plaintext needs no key.
    pub fn open(place: &'a Place, content: &'a SecretBytes, keyring: &'a Keyring) -> Result<Self, Error> {
        if !is_sealed(content.expose()) {
            return Ok(Self { place, content, opened: None, format: place.format()?, keyring });
        }
        let opened = keyring.open(content.expose())?;
        let format = opened.sealed().format();
        Ok(Self { place, content, opened: Some(opened), format, keyring })
    }

    /// Its plaintext.
    pub fn plaintext(&self) -> &SecretBytes {
        self.opened.as_ref().map_or(self.content, Opened::plaintext)
    }

    /// Its plaintext, as text.
    pub(super) fn text(&self) -> Result<&str, Error> {
        std::str::from_utf8(self.plaintext().expose()).map_err(|_| sops::Error::NotText.into())
    }

    /// Its format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Whether it stands sealed where it is.
    pub fn is_sealed(&self) -> bool {
        self.opened.is_some()
    }

    /// Fails if no change of it could be written: a file on a branch that is not protected stays as it is.
    pub fn check_changeable(&self) -> Result<(), Error> {
        match self.place {
            Place::Branch(_) if self.opened.is_none() && !self.place.attributes()?.filtered => {
                Err(Error::Unprotected)
            }
            Place::Branch(_) | Place::Tree(_) => Ok(()),
        }
    }

    /// What is to be written so that the file has another plaintext: sealed if it stands sealed, or on a branch.
    ///
    /// Fails if the text is not valid in the file's format, or cannot be sealed.
    pub fn prepare(&self, plaintext: &SecretBytes, stamp: Stamp<'_>) -> Result<SecretBytes, Error> {
        let new = plaintext.expose();
        let sealed = match (&self.opened, self.place) {
            // An empty file has nothing to seal.
            _ if new.is_empty() => Vec::new(),
            (Some(opened), place) => {
                let guard = place.guard(self.keyring);
                let file = Guarded { path: place.path_in_repository(), content: new, format: self.format };
                let basis = guard.map_or_else(
                    || Ok(Basis::Again(opened)),
                    |guard| guard.again(file, Basis::Again(opened)),
                )?;
                sops::seal(new, self.format, &basis, stamp)?
            }
            (None, Place::Branch(_)) => seal_new(self.place, new, self.format, self.keyring, stamp)?,
            (None, Place::Tree(_)) => {
                if let Some(store) = self.format.store() {
                    let text = std::str::from_utf8(new).map_err(|_| sops::Error::NotText)?;
                    store.parse_plaintext(text)?;
                }
                return Ok(plaintext.duplicate());
            }
        };
        Ok(SecretBytes::new(sealed))
    }

    /// Writes what was prepared, unless someone else changed the file meanwhile.
    pub fn put(&self, prepared: &SecretBytes, message: &str) -> Result<Changed, Error> {
        self.place.replace(self.content, prepared, message)
    }

    /// Whether a key's value is sealed in what was prepared; `None` where that is not decided here.
    pub fn seals(&self, prepared: &SecretBytes, name: &str) -> Option<bool> {
        let opened = self.keyring.open(prepared.expose()).ok()?;
        Some(opened.names().iter().any(|sealed| sealed == name))
    }
}

/// Seals a file that was not sealed before, by the rules of its place.
pub(super) fn seal_new(
    place: &Place,
    plaintext: &[u8],
    format: Format,
    keyring: &Keyring,
    stamp: Stamp<'_>,
) -> Result<Vec<u8>, Error> {
    let terms = place.terms()?;
    let basis = match place.guard(keyring) {
        Some(guard) => {
            guard.anew(Guarded { path: place.path_in_repository(), content: plaintext, format }, terms)?
        }
        None => {
            let key = DataKey::random(stamp.entropy);
            let groups = keyring.plugins().wrap(&terms.audience, &key, stamp.entropy)?;
            Basis::New { key, groups, rule: terms.rule, coverage: terms.coverage }
        }
    };
    Ok(sops::seal(plaintext, format, &basis, stamp)?)
}
