//! The clone's own key: what hlx remembers in a clone it keeps as keyed hashes, so that whoever
//! gets hold of the record can neither read it nor try guesses on it without this key too.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::git::Repository;
use crate::sys::random;

/// A random key of 32 bytes that stays in the clone.
pub struct CloneKey(Zeroizing<Vec<u8>>);

impl std::fmt::Debug for CloneKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CloneKey")
    }
}

impl CloneKey {
    /// The key in `<git common dir>/hlx/clone.key`, made at first use.
    pub fn of(repository: &Repository) -> io::Result<Self> {
        read_or_make(&repository.scratch()?.join("clone.key")).map(Self)
    }

    /// HMAC-SHA-256 (RFC 2104) of some parts, each with its length, for a purpose.
    pub fn mark(&self, purpose: &str, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        for part in std::iter::once(&purpose.as_bytes()).chain(parts) {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

fn read_or_make(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    match fs::read(path) {
        Ok(key) if key.len() == 32 => return Ok(Zeroizing::new(key)),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(_) | Err(_) => {}
    }
    let mut key = Zeroizing::new(vec![0; 32]);
    random::fill(&mut key);
    let new = path.with_extension(format!("new-{}", std::process::id()));
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?.write_all(&key)?;
    match fs::hard_link(&new, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(&new)?;
            read_or_make(path)
        }
        result => {
            fs::remove_file(&new)?;
            result.map(|()| key)
        }
    }
}
