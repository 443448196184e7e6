//! The data key, or a share of it, wrapped for one recipient: an armored age file.

use std::fmt;
use std::io::{Read as _, Write as _};
use std::str::FromStr;

use age::armor::{ArmoredReader, ArmoredWriter, Format};

use super::{Error, hybrid, shamir};
use crate::secret::{Secret, SecretBytes};

/// A public key that a data key can be wrapped for, in the spelling that `.sops.yaml` uses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Recipient(String);

impl Recipient {
    /// The name of the plugin that wraps for this key; `None` for keys that age knows itself.
    pub fn plugin(&self) -> Option<String> {
        match self.parsed() {
            Ok(Parsed::Plugin(recipient)) => Some(recipient.plugin().to_owned()),
            Ok(Parsed::Native(_)) | Err(_) => None,
        }
    }

    /// The spelling: `age1…`, or type and key of an ssh public key without its comment.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is of the kind that belongs to hardware keys: age wraps for it, and a plugin unwraps.
    pub fn is_tagged(&self) -> bool {
        self.0.starts_with("age1tag1") || self.0.starts_with("age1tagpq1")
    }

    /// Whether what is wrapped for this key stays closed to a quantum computer. Of a plugin's keys that is not known.
    pub fn is_post_quantum(&self) -> bool {
        hybrid::is_post_quantum(&self.0)
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

    /// Wraps the data key or a share: `age(recipient, part)`, armored, with a final line feed.
    pub fn wrap(&self, part: &[u8], plugins: Plugins<'_>) -> Result<Envelope, Error> {
        let recipient = match self.parsed()? {
            Parsed::Native(recipient) => recipient,
            Parsed::Plugin(recipient) => plugins(&recipient)?,
        };
        let encryptor =
            age::Encryptor::with_recipients(std::iter::once(&*recipient)).map_err(|e| self.failed(&e))?;
        let failed = |_| Error::Wrap(self.short());
        let mut armored = Vec::new();
        let armor = ArmoredWriter::wrap_output(&mut armored, Format::AsciiArmor).map_err(failed)?;
        let mut writer = encryptor.wrap_output(armor).map_err(failed)?;
        writer.write_all(part).map_err(failed)?;
        writer.finish().and_then(ArmoredWriter::finish).map_err(failed)?;
        let enc = String::from_utf8(armored).expect("armor is ASCII");
        Ok(Envelope { recipient: self.0.clone(), enc })
    }

    fn failed(&self, error: &age::EncryptError) -> Error {
        match self.plugin() {
            Some(plugin) => Error::Plugin { plugin, reason: reason(error) },
            None => Error::Wrap(self.short()),
        }
    }

    fn parsed(&self) -> Result<Parsed, Error> {
        let text = self.0.as_str();
        let native = |key| Parsed::Native(key);
        let found = if hybrid::Recipient::is_meant(text) {
            hybrid::Recipient::from_str(text).map(|key| native(Box::new(key))).ok()
        } else if text.starts_with("age1") {
            let x25519 = age::x25519::Recipient::from_str(text).map(|key| native(Box::new(key))).ok();
            let tag = || age::tag::Recipient::from_str(text).map(|key| native(Box::new(key))).ok();
            let tag_pq = || age::tagpq::Recipient::from_str(text).map(|key| native(Box::new(key))).ok();
            let plugin = || age::plugin::Recipient::from_str(text).map(Parsed::Plugin).ok();
            x25519.or_else(tag).or_else(tag_pq).or_else(plugin)
        } else {
            age::ssh::Recipient::from_str(text).map(|key| native(Box::new(key))).ok()
        };
        // A post-quantum key would fill the screen.
        let shown = || if text.len() > 200 { self.short() } else { text.to_owned() };
        found.ok_or_else(|| Error::BadRecipient(shown()))
    }
}

/// Finds what wraps for a key of a plugin. A plugin is a program: the core runs none by itself.
pub type Plugins<'a> = &'a dyn Fn(&age::plugin::Recipient) -> Result<Box<dyn age::Recipient>, Error>;

enum Parsed {
    Native(Box<dyn age::Recipient>),
    Plugin(age::plugin::Recipient),
}

/// age explains at length, and marks what it inserts; the fact is in the first line that says something.
fn reason(error: &impl fmt::Display) -> String {
    let text = error.to_string().replace(['\u{2068}', '\u{2069}'], "");
    text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default().to_owned()
}

impl FromStr for Recipient {
    type Err = Error;

    /// Reads `age1…`, `age1pq1…`, `age1PLUGIN1…`, `ssh-ed25519 AAAA… [comment]` or `ssh-rsa AAAA… [comment]`.
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

/// An envelope of one reader takes some hundred bytes, a post-quantum one some thousand. The time that age takes grows
/// faster than its header.
const LONGEST: usize = 64 << 10;

/// A wrapped data key, or a share of it, with the name of its recipient. The name is a label: age does not check it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The recipient's public key, as written in the file.
    pub recipient: String,
    /// The armored age file.
    pub enc: String,
}

impl Envelope {
    /// Whether its label names this recipient, in any spelling.
    pub fn is_for(&self, recipient: &Recipient) -> bool {
        self.recipient == recipient.as_str()
            || self.recipient.parse::<Recipient>().is_ok_and(|label| label == *recipient)
    }

    /// Unwraps what is inside with the first identity that fits: at most one byte more than a share has.
    ///
    /// `Ok(None)`: none fits. Fails if one fits but the envelope is broken.
    pub fn unwrap<'a>(
        &self,
        identities: impl Iterator<Item = &'a dyn age::Identity>,
    ) -> Result<Option<SecretBytes>, Error> {
        self.open(identities, |_| Error::NotAuthentic)
    }

    /// The same with an identity of a plugin, which can also fail for reasons of its own.
    pub fn unwrap_by_plugin(
        &self,
        plugin: &str,
        identity: &dyn age::Identity,
    ) -> Result<Option<SecretBytes>, Error> {
        let failed = |error| Error::Plugin { plugin: plugin.to_owned(), reason: reason(&error) };
        self.open(std::iter::once(identity), failed)
    }

    fn open<'a>(
        &self,
        identities: impl Iterator<Item = &'a dyn age::Identity>,
        failed: impl Fn(age::DecryptError) -> Error,
    ) -> Result<Option<SecretBytes>, Error> {
        if self.enc.len() > LONGEST {
            return Err(Error::Malformed);
        }
        let armored = ArmoredReader::new(self.enc.as_bytes());
        let decryptor = age::Decryptor::new_buffered(armored).map_err(|_| Error::Malformed)?;
        let mut reader = match decryptor.decrypt(identities) {
            Ok(reader) => reader,
            Err(age::DecryptError::NoMatchingKeys) => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let mut part = Secret::new([0u8; shamir::LENGTH + 1]);
        let mut length = 0;
        while length < part.expose().len() {
            match reader.read(&mut part.expose_mut()[length..]).map_err(|_| Error::NotAuthentic)? {
                0 => break,
                read => length += read,
            }
        }
        Ok(Some(SecretBytes::new(part.expose()[..length].to_vec())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::DataKey;

    const YUBIKEY: &str = "age1yubikey1qypqxpq9qcrsszg2pvxq6rs0zqg3yyc5z5tpwxqergd3c8g7ruszzkhc85l";

    fn no_plugin(recipient: &age::plugin::Recipient) -> Result<Box<dyn age::Recipient>, Error> {
        Err(Error::Plugin { plugin: recipient.plugin().to_owned(), reason: "not here".to_owned() })
    }

    #[test]
    fn a_wrapped_key_unwraps_for_its_recipient_only() {
        let identity = age::x25519::Identity::generate();
        let other = age::x25519::Identity::generate();
        let recipient: Recipient = identity.to_public().to_string().parse().unwrap();
        let key = DataKey::from_bytes(&[9; 32]).unwrap();
        let envelope = recipient.wrap(key.expose(), &no_plugin).unwrap();
        let unwrap = |id: &dyn age::Identity| envelope.unwrap(std::iter::once(id)).unwrap();
        assert_eq!(unwrap(&identity).unwrap().expose(), key.expose());
        assert!(unwrap(&other).is_none());
    }

    #[test]
    fn what_age_does_not_know_itself_is_a_plugins() {
        let recipient: Recipient = YUBIKEY.parse().unwrap();
        assert_eq!(recipient.plugin().as_deref(), Some("yubikey"));
        let refused = recipient.wrap(&[1; 32], &no_plugin).unwrap_err();
        assert_eq!(refused.to_string(), "the age plugin `yubikey` failed: not here");
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
