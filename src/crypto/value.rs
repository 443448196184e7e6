//! One sealed value: `ENC[AES256_GCM,data:…,iv:…,tag:…,type:…]`.
//!
//! AES-256-GCM with a nonce of 32 bytes, the tag stored apart from the data, everything in
//! base64 with padding. The additional data is the path of the value in its document, so
//! that a sealed value authenticates nowhere else. (getsops/sops v3.13.2, `aes/cipher.go`.)

use std::fmt;

use aes_gcm::aead::array::Array;
use aes_gcm::aead::consts::{U12, U16, U32};
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::aes::Aes256;
use aes_gcm::{AesGcm, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use super::{DataKey, Entropy, Error};
use crate::secret::{self, SecretBytes};

const PREFIX: &str = "ENC[AES256_GCM,data:";

/// The type tag of a sealed value. It says how the plaintext is read; it is not authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Text, or any bytes.
    Str,
    /// A decimal integer of 64 bits.
    Int,
    /// A decimal floating point number.
    Float,
    /// `True` or `False`.
    Bool,
    /// A time as RFC 3339 writes it.
    Time,
    /// The text of a comment, without its `#`.
    Comment,
}

impl Kind {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Str, "str"),
        (Self::Int, "int"),
        (Self::Float, "float"),
        (Self::Bool, "bool"),
        (Self::Time, "time"),
        (Self::Comment, "comment"),
    ];

    fn tag(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).expect("every kind is listed").1
    }

    fn from_tag(tag: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, name)| *name == tag).map(|(kind, _)| *kind)
    }
}

/// A data key made ready to seal and open values; its key schedule is wiped when dropped, and so is what the work
/// with it left on the stack.
pub struct Cipher {
    wide: Box<AesGcm<Aes256, U32>>,
    ivs: Hmac<Sha256>,
    key: DataKey,
}

impl fmt::Debug for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cipher([secret])")
    }
}

impl Cipher {
    /// Expands the key.
    pub fn new(key: &DataKey) -> Self {
        let mut ivs = Hmac::new_from_slice(key.expose()).expect("HMAC takes keys of any length");
        ivs.update(b"hlx: iv\0");
        Self { wide: Box::new(AesGcm::new(key.expose().into())), ivs, key: key.duplicate() }
    }

    /// Seals a plaintext for the place that `aad` names, under an IV of its own.
    pub fn seal(&self, plaintext: &[u8], kind: Kind, aad: &[u8], entropy: Entropy<'_>) -> String {
        let mut drawn = [0; 32];
        entropy(&mut drawn);
        let iv = self.iv(&drawn, aad, plaintext);
        let mut data = plaintext.to_vec();
        let tag = self.encrypt(&mut data, &iv, aad);
        let mut text = Vec::with_capacity(PREFIX.len() + data.len().div_ceil(3) * 4 + BESIDES);
        text.extend(PREFIX.as_bytes());
        push_base64(&mut text, &data);
        text.extend(b",iv:");
        push_base64(&mut text, &iv);
        text.extend(b",tag:");
        push_base64(&mut text, &tag);
        text.extend([b",type:", kind.tag().as_bytes(), b"]"].concat());
        String::from_utf8(text).expect("base64 is ASCII")
    }

    /// HMAC-SHA-256(key, a name ‖ drawn ‖ length of aad ‖ aad ‖ plaintext): should what is drawn repeat, no
    /// IV serves two plaintexts or two places all the same.
    fn iv(&self, drawn: &[u8; 32], aad: &[u8], plaintext: &[u8]) -> [u8; 32] {
        let mut mac = self.ivs.clone();
        mac.update(drawn);
        mac.update(&(aad.len() as u64).to_le_bytes());
        mac.update(aad);
        mac.update(plaintext);
        mac.finalize().into_bytes().into()
    }

    /// Encrypts in place: AES-256-GCM(key, iv, plaintext, aad). Gives the tag.
    pub fn encrypt(&self, plaintext: &mut [u8], iv: &[u8; 32], aad: &[u8]) -> [u8; 16] {
        let sealed = self.wide.encrypt_inout_detached(iv.into(), aad, plaintext.into());
        sealed.expect("a document is far below AES-GCM's limit of 64 GiB").into()
    }

    /// Opens a sealed value at the place that `aad` names.
    ///
    /// Fails if the text is no sealed value, or does not authenticate with this key at this place.
    pub fn open(&self, sealed: Sealed, aad: &[u8]) -> Result<SecretBytes, Error> {
        let mut data = SecretBytes::new(sealed.data);
        let tag = Array::<u8, U16>(sealed.tag);
        let buffer = data.expose_mut().as_mut_slice().into();
        let opened = match &sealed.iv[..] {
            iv if iv.len() == 32 => {
                let nonce = Nonce::<U32>::try_from(iv).expect("the length was matched");
                self.wide.decrypt_inout_detached(&nonce, aad, buffer, &tag)
            }
            iv if iv.len() == 12 => {
                let narrow: Box<AesGcm<Aes256, U12>> = Box::new(AesGcm::new(self.key.expose().into()));
                let nonce = Nonce::<U12>::try_from(iv).expect("the length was matched");
                narrow.decrypt_inout_detached(&nonce, aad, buffer, &tag)
            }
            _ => return Err(Error::Malformed),
        };
        opened.map(|()| data).map_err(|_| Error::NotAuthentic)
    }
}

impl Drop for Cipher {
    fn drop(&mut self) {
        secret::scrub_stack();
    }
}

/// What a sealed value takes besides its data: names, IV, tag.
const BESIDES: usize = 96;

fn push_base64(text: &mut Vec<u8>, bytes: &[u8]) {
    let start = text.len();
    text.resize(start + bytes.len().div_ceil(3) * 4, 0);
    STANDARD.encode_slice(bytes, &mut text[start..]).expect("base64 takes four for three");
}

/// The parts of a sealed value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    data: Vec<u8>,
    iv: Vec<u8>,
    tag: [u8; 16],
    /// How the plaintext is to be read.
    pub kind: Kind,
}

impl Sealed {
    /// True if the text has the outer form of a sealed value; [`Sealed::parse`] may still refuse it.
    pub fn looks_like(text: &str) -> bool {
        text.starts_with(PREFIX)
    }

    /// Reads the text of a sealed value as sops does: anchored at the start only, so that what
    /// follows the closing bracket (the line feed of a block scalar) is ignored; every part must
    /// be there and must not be empty, and none may span lines.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let body = text.strip_prefix(PREFIX).ok_or(Error::Malformed)?;
        let line = body.split('\n').next().unwrap_or(body);
        let end = line.rfind(']').ok_or(Error::Malformed)?;
        let (rest, kind) = last_part(&line[..end], "type:")?;
        let (rest, tag) = last_part(rest, "tag:")?;
        let (data, iv) = last_part(rest, "iv:")?;
        let data = decode(data)?;
        Ok(Self {
            data,
            iv: decode(iv)?,
            tag: decode(tag)?.try_into().map_err(|_| Error::Malformed)?,
            kind: Kind::from_tag(kind).ok_or(Error::Malformed)?,
        })
    }
}

/// What stands before the last comma, and behind it and a name. No part holds a comma.
fn last_part<'t>(text: &'t str, name: &str) -> Result<(&'t str, &'t str), Error> {
    let (rest, last) = text.rsplit_once(',').ok_or(Error::Malformed)?;
    Ok((rest, last.strip_prefix(name).ok_or(Error::Malformed)?))
}

fn decode(text: &str) -> Result<Vec<u8>, Error> {
    if text.is_empty() {
        return Err(Error::Malformed);
    }
    STANDARD.decode(text).map_err(|_| Error::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cipher() -> Cipher {
        Cipher::new(&DataKey::from_bytes(&[7; 32]).unwrap())
    }

    fn seal(plaintext: &[u8], aad: &[u8]) -> String {
        let mut next = 0u8;
        cipher().seal(plaintext, Kind::Str, aad, &mut |buffer| {
            buffer.fill_with(|| {
                next = next.wrapping_add(1);
                next
            });
        })
    }

    #[test]
    fn what_is_sealed_opens_at_its_place_only() {
        let sealed = Sealed::parse(&seal(b"hunter2", b"db:password:")).unwrap();
        assert_eq!(cipher().open(sealed.clone(), b"db:password:").unwrap().expose(), b"hunter2");
        assert_eq!(cipher().open(sealed, b"db:user:").unwrap_err(), Error::NotAuthentic);
    }

    #[test]
    fn what_is_drawn_twice_makes_two_ivs_for_two_plaintexts_or_places() {
        let iv = |plaintext: &[u8], aad: &[u8]| {
            let text = cipher().seal(plaintext, Kind::Str, aad, &mut |buffer| buffer.fill(7));
            Sealed::parse(&text).unwrap().iv
        };
        assert_eq!(iv(b"x", b"a:"), iv(b"x", b"a:"));
        let all = [iv(b"x", b"a:"), iv(b"y", b"a:"), iv(b"x", b"b:"), iv(b":x", b"a"), iv(b"a:x", b"")];
        assert!((1..all.len()).all(|number| !all[..number].contains(&all[number])));
    }

    #[test]
    fn text_after_the_bracket_is_ignored_and_before_it_refused() {
        let text = seal(b"x", b"a:");
        assert!(Sealed::parse(&format!("{text}\n")).is_ok());
        assert!(Sealed::parse(&format!("{text} trailing")).is_ok());
        assert_eq!(Sealed::parse(&format!(" {text}")), Err(Error::Malformed));
    }

    #[test]
    fn odd_forms_are_refused() {
        for text in [
            "",
            "ENC[AES256_GCM,data:,iv:AA==,tag:AA==,type:str]",
            "ENC[AES256_GCM,data:AA==,iv:AA==,tag:AA==,type:str]",
            "ENC[AES256_GCM,data:AA,iv:AAAAAAAAAAAAAAAA,tag:AAAAAAAAAAAAAAAAAAAAAA==,type:str]",
            "ENC[AES256_GCM,data:AA==,iv:AAAAAAAAAAAAAAAA,tag:AAAAAAAAAAAAAAAAAAAAAA==,type:bytes]",
        ] {
            assert_eq!(Sealed::parse(text), Err(Error::Malformed), "{text}");
        }
    }
}
