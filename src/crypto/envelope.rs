//! The data key, wrapped for one recipient: an armored age file of 32 bytes.

use std::fmt;
use std::io::{Read as _, Write as _};
use std::str::FromStr;

use age::armor::{ArmoredReader, ArmoredWriter, Format};

use super::{DataKey, Error};
use crate::secret::Secret;

/// A public key that a data key can be wrapped for, in the spelling that `.sops.yaml` uses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Recipient(String);

impl Recipient {
    /// The spelling: `age1…`, or type and key of an ssh public key without its comment.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first and last characters, enough for a person to tell keys apart.
    pub fn short(&self) -> String {
        let text = &self.0;
        let cut = |from: usize, to: usize| text.get(from..to).unwrap_or(text);
        match text.split_once(' ') {
            Some((kind, key)) => {
                let tail = key.len().saturating_sub(8);
                format!("{kind} …{}", key.get(tail..).unwrap_or(key))
            }
            None if text.len() > 20 => format!("{}…{}", cut(0, 10), cut(text.len() - 6, text.len())),
            None => text.clone(),
        }
    }

    /// Wraps a data key: `age(recipient, key)`, armored, with a final line feed.
    pub fn wrap(&self, key: &DataKey) -> Result<Envelope, Error> {
        let recipient = self.parsed()?;
        let failed = |_| Error::Wrap(self.0.clone());
        let encryptor = age::Encryptor::with_recipients(std::iter::once(&*recipient))
            .map_err(|_| Error::Wrap(self.0.clone()))?;
        let mut armored = Vec::new();
        let armor = ArmoredWriter::wrap_output(&mut armored, Format::AsciiArmor).map_err(failed)?;
        let mut writer = encryptor.wrap_output(armor).map_err(failed)?;
        writer.write_all(key.expose()).map_err(failed)?;
        writer.finish().and_then(ArmoredWriter::finish).map_err(failed)?;
        let enc = String::from_utf8(armored).expect("armor is ASCII");
        Ok(Envelope { recipient: self.0.clone(), enc })
    }

    fn parsed(&self) -> Result<Box<dyn age::Recipient>, Error> {
        if self.0.starts_with("age1") {
            age::x25519::Recipient::from_str(&self.0).map(|key| Box::new(key) as Box<dyn age::Recipient>).ok()
        } else {
            age::ssh::Recipient::from_str(&self.0).map(|key| Box::new(key) as Box<dyn age::Recipient>).ok()
        }
        .ok_or_else(|| Error::BadRecipient(self.0.clone()))
    }
}

impl FromStr for Recipient {
    type Err = Error;

    /// Reads `age1…`, `ssh-ed25519 AAAA… [comment]` or `ssh-rsa AAAA… [comment]`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let mut words = text.split_whitespace();
        let spelling = match (words.next(), words.next()) {
            (Some(kind @ ("ssh-ed25519" | "ssh-rsa")), Some(key)) => format!("{kind} {key}"),
            (Some(key), None) => key.to_owned(),
            _ => text.trim().to_owned(),
        };
        // Whatever looks like a private key is not repeated in the error.
        if text.to_ascii_uppercase().contains("SECRET-KEY") || text.contains("PRIVATE KEY") {
            return Err(Error::BadRecipient("AGE-SECRET-KEY-… (a private key)".to_owned()));
        }
        let recipient = Self(spelling);
        recipient.parsed()?;
        Ok(recipient)
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A wrapped data key with the name of its recipient. The name is a label: age does not check it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The recipient's public key, as written in the file.
    pub recipient: String,
    /// The armored age file.
    pub enc: String,
}

impl Envelope {
    /// Unwraps the data key with the first identity that fits.
    ///
    /// `Ok(None)`: none fits. Fails if one fits but the envelope is broken, or holds no 32 bytes.
    pub fn unwrap<'a>(
        &self,
        identities: impl Iterator<Item = &'a dyn age::Identity>,
    ) -> Result<Option<DataKey>, Error> {
        let armored = ArmoredReader::new(self.enc.as_bytes());
        let decryptor = age::Decryptor::new_buffered(armored).map_err(|_| Error::Malformed)?;
        let mut reader = match decryptor.decrypt(identities) {
            Ok(reader) => reader,
            Err(age::DecryptError::NoMatchingKeys) => return Ok(None),
            Err(_) => return Err(Error::NotAuthentic),
        };
        let mut key = Secret::new([0u8; 33]);
        let mut length = 0;
        while length < key.expose().len() {
            match reader.read(&mut key.expose_mut()[length..]).map_err(|_| Error::NotAuthentic)? {
                0 => break,
                read => length += read,
            }
        }
        DataKey::from_bytes(&key.expose()[..length]).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrapped_key_unwraps_for_its_recipient_only() {
        let identity = age::x25519::Identity::generate();
        let other = age::x25519::Identity::generate();
        let recipient: Recipient = identity.to_public().to_string().parse().unwrap();
        let key = DataKey::from_bytes(&[9; 32]).unwrap();
        let envelope = recipient.wrap(&key).unwrap();
        let unwrap = |id: &dyn age::Identity| envelope.unwrap(std::iter::once(id)).unwrap();
        assert_eq!(unwrap(&identity), Some(key));
        assert_eq!(unwrap(&other), None);
    }

    #[test]
    fn a_private_key_is_no_recipient_and_is_not_repeated() {
        for key in
            ["AGE-SECRET-KEY-1QQQSECRET", "age-secret-key-1QQQSECRET", "age1x AGE-SECRET-KEY-1QQQSECRET"]
        {
            assert!(!key.parse::<Recipient>().unwrap_err().to_string().contains("QQQSECRET"));
        }
    }
}
