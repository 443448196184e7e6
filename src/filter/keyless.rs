//! Sealing without a key of one's own: remembering what was sealed here.
//!
//! Whoever has only public recipients can seal a new file, but not open it again, and so
//! cannot tell whether it changed. A record of HMAC(clone key, path and plaintext) with the
//! name of the blob makes clean repeatable all the same.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::git::Repository;
use crate::sys::random;

use super::Error;

/// Remembers that a plaintext at a path was sealed to these bytes.
pub(super) fn record(
    repository: &Repository,
    path: &[u8],
    plaintext: &[u8],
    sealed: &[u8],
) -> Result<(), Error> {
    let name = repository.name_of(sealed)?;
    let place = entry(repository, path, plaintext)?;
    // Another git may seal the same file just now, and either may be the one that counts.
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&place);
    file.and_then(|mut file| file.write_all(format!("\n{name}\n").as_bytes()))
        .map_err(|source| failed(&place, source))
}

/// True if this blob is what this plaintext at this path was sealed to.
pub(super) fn recall(
    repository: &Repository,
    path: &[u8],
    plaintext: &[u8],
    blob: &str,
) -> Result<bool, Error> {
    let place = entry(repository, path, plaintext)?;
    Ok(fs::read_to_string(place).is_ok_and(|recorded| recorded.lines().any(|name| name == blob)))
}

fn directory(repository: &Repository) -> PathBuf {
    repository.common_dir().join("hlx").join("sealed")
}

fn failed(path: &Path, source: io::Error) -> Error {
    Error::Record { path: path.to_owned(), source }
}

/// The clone's own key.
pub(super) fn key_of(repository: &Repository) -> io::Result<Zeroizing<Vec<u8>>> {
    let directory = directory(repository);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
    clone_key(&directory.with_file_name("clone.key"))
}

fn entry(repository: &Repository, path: &[u8], plaintext: &[u8]) -> Result<PathBuf, Error> {
    let directory = directory(repository);
    let key = key_of(repository).map_err(|source| failed(&directory, source))?;
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("HMAC takes keys of any length");
    mac.update(&(path.len() as u64).to_le_bytes());
    mac.update(path);
    mac.update(plaintext);
    let name: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(directory.join(name))
}

/// The clone's own key, made at first use.
fn clone_key(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    match fs::read(path) {
        Ok(key) if key.len() == 32 => return Ok(Zeroizing::new(key)),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(_) | Err(_) => {}
    }
    let mut key = Zeroizing::new(vec![0; 32]);
    random::fill(&mut key);
    let mut own = [0; 8];
    random::fill(&mut own);
    let new = path.with_extension(format!("new-{:016x}", u64::from_le_bytes(own)));
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?.write_all(&key)?;
    match fs::hard_link(&new, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(&new)?;
            clone_key(path)
        }
        result => {
            fs::remove_file(&new)?;
            result.map(|()| key)
        }
    }
}
