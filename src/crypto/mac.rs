//! The MAC of a SOPS file: SHA-512 over the plaintext of every value, in document order.
//!
//! The digest, in upper-case hex, is sealed like a value, with `lastmodified` as its
//! additional data. Keys, structure, comments and nulls are not covered. (getsops/sops
//! v3.13.2, `sops.go:523-617`.)

use std::fmt;

use sha2::{Digest as _, Sha512};

use super::value::{Cipher, Kind, Sealed};
use super::{Entropy, Error};

/// SHA-256 of `sops`: fed first where only sealed values count, so that the flag itself is covered.
const ONLY_ENCRYPTED: [u8; 32] = [
    0x8a, 0x3f, 0xd2, 0xad, 0x54, 0xce, 0x66, 0x52, 0x7b, 0x10, 0x34, 0xf3, 0xd1, 0x47, 0xbe, 0x0b, 0x0b,
    0x97, 0x5b, 0x3b, 0xf4, 0x4f, 0x72, 0xc6, 0xfd, 0xad, 0xec, 0x81, 0x76, 0xf2, 0x7d, 0x69,
];

/// Which values the MAC covers: the field `mac_only_encrypted`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Coverage {
    /// Every value, sealed or clear.
    #[default]
    All,
    /// Only the values that the rule seals.
    OnlyEncrypted,
}

/// A MAC in the making.
#[derive(Debug, Clone)]
pub struct Mac {
    hash: Sha512,
    coverage: Coverage,
}

impl Mac {
    /// Begins a MAC.
    pub fn new(coverage: Coverage) -> Self {
        let mut hash = Sha512::new();
        if coverage == Coverage::OnlyEncrypted {
            hash.update(ONLY_ENCRYPTED);
        }
        Self { hash, coverage }
    }

    /// Adds the next value, as the bytes that would be sealed; `selected` says whether the rule seals it.
    pub fn add(&mut self, plaintext: &[u8], selected: bool) {
        if selected || self.coverage == Coverage::All {
            self.hash.update(plaintext);
        }
    }

    /// The digest as sops writes it: 128 upper-case hex digits.
    pub fn finish(self) -> Digest {
        const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
        let digit = |half: u8| char::from(DIGITS[usize::from(half)]);
        let hash = self.hash.finalize();
        Digest(hash.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect())
    }
}

/// A finished MAC. Short values could be guessed from it, so it is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Digest(String);

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest([secret])")
    }
}

impl Digest {
    /// Seals the digest, bound to the time of the last change.
    pub fn seal(&self, cipher: &Cipher, lastmodified: &str, entropy: Entropy<'_>) -> String {
        cipher.seal(self.0.as_bytes(), Kind::Str, lastmodified.as_bytes(), entropy)
    }

    /// Checks the digest against a sealed one; any mismatch is [`Error::NotAuthentic`].
    pub fn check(&self, sealed: &str, cipher: &Cipher, lastmodified: &str) -> Result<(), Error> {
        let sealed = Sealed::parse(sealed).map_err(|_| Error::NotAuthentic)?;
        if sealed.kind != Kind::Str {
            return Err(Error::NotAuthentic);
        }
        let expected = cipher.open(sealed, lastmodified.as_bytes())?;
        // The digest is no secret to someone without the key: they cannot have the sealed one opened.
        if expected.expose() == self.0.as_bytes() { Ok(()) } else { Err(Error::NotAuthentic) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_is_the_sha256_of_sops() {
        use sha2::Sha256;
        assert_eq!(Sha256::digest(b"sops")[..], ONLY_ENCRYPTED);
    }

    #[test]
    fn clear_values_count_only_without_the_flag() {
        let digest = |coverage, values: &[(&str, bool)]| {
            let mut mac = Mac::new(coverage);
            values.iter().for_each(|(value, selected)| mac.add(value.as_bytes(), *selected));
            mac.finish()
        };
        let one = [("a", true), ("b", false)];
        let other = [("a", true), ("c", false)];
        assert_ne!(digest(Coverage::All, &one), digest(Coverage::All, &other));
        assert_eq!(digest(Coverage::OnlyEncrypted, &one), digest(Coverage::OnlyEncrypted, &other));
    }
}
