//! HPKE (RFC 9180) in the one way that age uses it: base mode, one message, X-Wing, HKDF-SHA256, ChaCha20-Poly1305.

use chacha20poly1305::aead::{Aead as _, KeyInit as _};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

/// `"HPKE"`, and the numbers of the three: 0x647a, 0x0001, 0x0003.
const SUITE: &[u8] = b"HPKE\x64\x7a\x00\x01\x00\x03";
const VERSION: &[u8] = b"HPKE-v1";
const BASE_MODE: u8 = 0;

type Hash = [u8; 32];

/// The key of a message and its nonce.
struct Schedule {
    key: Zeroizing<[u8; 32]>,
    nonce: [u8; 12],
}

/// Seals a message, under a secret that is used for nothing else.
pub(super) fn seal(secret: &[u8; 32], info: &[u8], message: &[u8]) -> Vec<u8> {
    let Schedule { key, nonce } = schedule(secret, info);
    let cipher = ChaCha20Poly1305::new((&*key).into());
    cipher.encrypt(&Nonce::from(nonce), message).expect("a message in memory is not too long")
}

/// Opens a message; `None` if it is not authentic under this secret.
pub(super) fn open(secret: &[u8; 32], info: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let Schedule { key, nonce } = schedule(secret, info);
    let cipher = ChaCha20Poly1305::new((&*key).into());
    cipher.decrypt(&Nonce::from(nonce), sealed).ok().map(Zeroizing::new)
}

/// `KeySchedule` of section 5.1, without a key that both had before.
fn schedule(secret: &[u8; 32], info: &[u8]) -> Schedule {
    let mut context = vec![BASE_MODE];
    context.extend(hash(b"psk_id_hash", b""));
    context.extend(hash(b"info_hash", info));
    let (_, expander) = extract(secret, b"secret", b"");
    let mut schedule = Schedule { key: Zeroizing::default(), nonce: [0; 12] };
    expand(&expander, b"key", &context, &mut *schedule.key);
    expand(&expander, b"base_nonce", &context, &mut schedule.nonce);
    schedule
}

fn hash(label: &[u8], text: &[u8]) -> Hash {
    extract(b"", label, text).0
}

/// `LabeledExtract` of section 4.
fn extract(salt: &[u8], label: &[u8], text: &[u8]) -> (Hash, Hkdf<Sha256>) {
    let (hash, expander) = Hkdf::extract(Some(salt), &[VERSION, SUITE, label, text].concat());
    (hash.into(), expander)
}

/// `LabeledExpand` of section 4.
fn expand(expander: &Hkdf<Sha256>, label: &[u8], context: &[u8], into: &mut [u8]) {
    let length = u16::try_from(into.len()).expect("a key is short").to_be_bytes();
    let parts = [&length, VERSION, SUITE, label, context];
    expander.expand_multi_info(&parts, into).expect("a key is short");
}
