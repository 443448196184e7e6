//! age's post-quantum keys: `age1pq1…` and `AGE-SECRET-KEY-PQ-1…`, the stanza `mlkem768x25519` (c2sp.org/age).
//!
//! The age crate has no form for them yet (0.12), but takes recipients and identities of other makers. What is wrapped
//! for such a key stays closed even to who keeps it until there are quantum computers that break X25519.

mod hpke;
mod xwing;

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::str::FromStr;

use age::secrecy::{ExposeSecret as _, SecretString};
use age::{DecryptError, EncryptError};
use age_core::format::{FILE_KEY_BYTES, FileKey, Stanza};
use age_core::primitives::{bech32_decode, bech32_encode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bech32::Hrp;
use bech32::primitives::decode::ByteIter;
use zeroize::{Zeroize as _, Zeroizing};

use crate::secret::Secret;
use xwing::{PrivateKey, PublicKey};

const PUBLIC: Hrp = Hrp::parse_unchecked("age1pq");
const PRIVATE: Hrp = Hrp::parse_unchecked("age-secret-key-pq-");
/// What `age-plugin-pq -identity` makes of a private key, for programs that know the form only as that of a plugin.
const OF_PLUGIN: Hrp = Hrp::parse_unchecked("age-plugin-pq-");

const STANZA: &str = "mlkem768x25519";
const INFO: &[u8] = b"age-encryption.org/mlkem768x25519";
/// All recipients of an age file have the same labels, so that no other kind stands beside this one.
const LABEL: &str = "postquantum";
/// ChaCha20-Poly1305 adds a tag.
const BODY: usize = FILE_KEY_BYTES + 16;

/// A text that is no key of this kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotHybrid;

/// A public key.
#[derive(Clone, PartialEq)]
pub struct Recipient(Box<PublicKey>);

/// A private key. It is expanded from the seed that its text holds, and wiped when it is dropped.
pub struct Identity(Box<PrivateKey>);

impl Recipient {
    /// Whether a text begins as a public key of this kind does, readable or not.
    pub fn is_meant(text: &str) -> bool {
        text.starts_with("age1pq1")
    }

    /// Wraps with 64 random bytes, which must be used once only.
    fn wrap(&self, file_key: &FileKey, random: &Zeroizing<[u8; 64]>) -> Result<Stanza, xwing::LowOrder> {
        let (share, secret) = self.0.encapsulate(random)?;
        Ok(Stanza {
            tag: STANZA.to_owned(),
            args: vec![STANDARD_NO_PAD.encode(share)],
            body: hpke::seal(&secret, INFO, file_key.expose_secret()),
        })
    }
}

impl FromStr for Recipient {
    type Err = NotHybrid;

    fn from_str(text: &str) -> Result<Self, NotHybrid> {
        let mut bytes = [0; xwing::PUBLIC];
        decode(text, &[PUBLIC], &mut bytes)?;
        PublicKey::from_bytes(&bytes).map(|key| Self(Box::new(key))).ok_or(NotHybrid)
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bech32_encode(PUBLIC, &self.0.to_bytes()))
    }
}

impl age::Recipient for Recipient {
    fn wrap_file_key(&self, file_key: &FileKey) -> Result<(Vec<Stanza>, HashSet<String>), EncryptError> {
        // As age's own recipients, it takes no source of randomness.
        let mut random = Zeroizing::new([0; 64]);
        getrandom::fill(&mut *random).expect("the operating system has randomness");
        let low_order = |_| EncryptError::Io(io::Error::other("its point is of low order"));
        let stanza = self.wrap(file_key, &random).map_err(low_order)?;
        Ok((vec![stanza], HashSet::from([LABEL.to_owned()])))
    }
}

impl Identity {
    /// The private key that 32 random bytes make.
    pub fn from_seed(seed: &Secret<[u8; 32]>) -> Self {
        Self(Box::new(PrivateKey::from_seed(seed.expose())))
    }

    /// The text that stands for this seed in a file of identities.
    pub fn spell(seed: &Secret<[u8; 32]>) -> SecretString {
        let mut lower = bech32_encode(PRIVATE, seed.expose());
        let upper = SecretString::from(lower.to_uppercase());
        lower.zeroize();
        upper
    }

    /// Whether a text begins as a private key of this kind does, readable or not.
    pub fn is_meant(text: &str) -> bool {
        text.starts_with("AGE-SECRET-KEY-PQ-1") || text.starts_with("AGE-PLUGIN-PQ-1")
    }

    /// The public key that belongs to it.
    pub fn to_public(&self) -> Recipient {
        Recipient(Box::new(self.0.public().clone()))
    }

    /// `Ok(None)`: the stanza is for another key. Fails if it is none of this kind, though it says so.
    fn unwrap(&self, stanza: &Stanza) -> Result<Option<FileKey>, DecryptError> {
        let [share] = &stanza.args[..] else { return Err(DecryptError::InvalidHeader) };
        // The engine takes nothing but the canonical spelling.
        let share = STANDARD_NO_PAD.decode(share).map_err(|_| DecryptError::InvalidHeader)?;
        let share = share.as_slice().try_into().map_err(|_| DecryptError::InvalidHeader)?;
        // A text that opens under two keys could tell which of them someone has. None of this length does.
        if stanza.body.len() != BODY {
            return Err(DecryptError::InvalidHeader);
        }
        let secret = self.0.decapsulate(share).map_err(|_| DecryptError::InvalidHeader)?;
        let plain = hpke::open(&secret, INFO, &stanza.body);
        Ok(plain.map(|plain| FileKey::init_with_mut(|key| key.copy_from_slice(&plain))))
    }
}

impl FromStr for Identity {
    type Err = NotHybrid;

    fn from_str(text: &str) -> Result<Self, NotHybrid> {
        let mut seed = Secret::new([0; 32]);
        decode(text, &[PRIVATE, OF_PLUGIN], seed.expose_mut())?;
        Ok(Self::from_seed(&seed))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity([secret])")
    }
}

impl age::Identity for Identity {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        if stanza.tag != STANZA {
            return None;
        }
        self.unwrap(stanza).transpose()
    }
}

/// Whether a public key is post-quantum, by how its text begins: of this kind, or of its sibling for hardware.
pub fn is_post_quantum(recipient: &str) -> bool {
    recipient.starts_with("age1pq1") || recipient.starts_with("age1tagpq1")
}

/// Whether post-quantum keys protect nothing though there are some: other keys alone are in as many groups as must
/// come together. Each group is its public keys, of whatever kind.
pub fn is_wasted<'a, G>(groups: impl Iterator<Item = G>, needed: usize) -> bool
where
    G: Iterator<Item = &'a str>,
{
    let (mut some, mut others) = (false, 0);
    for group in groups {
        let (strong, weak): (Vec<&str>, Vec<&str>) = group.partition(|key| is_post_quantum(key));
        some |= !strong.is_empty();
        others += usize::from(!weak.is_empty());
    }
    some && others >= needed
}

/// The bytes of a Bech32 text of some kind, which must be as many as there is room for.
fn decode(text: &str, kinds: &[Hrp], into: &mut [u8]) -> Result<(), NotHybrid> {
    let is_of_kind = |found: Hrp| kinds.contains(&found).then_some(()).ok_or(NotHybrid);
    let fill = |_, mut bytes: ByteIter<'_>| {
        let is_full = into.iter_mut().all(|to| bytes.next().map(|byte| *to = byte).is_some());
        (is_full && bytes.next().is_none()).then_some(()).ok_or(NotHybrid)
    };
    bech32_decode(text, |_| NotHybrid, is_of_kind, fill)
}

#[cfg(test)]
mod tests;
