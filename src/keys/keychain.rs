//! Private keys in the keychain of the desktop: the Secret Service, as GNOME Keyring, KWallet and KeePassXC offer it.
//!
//! Which keys are there stands in a file of public keys. So a process talks to the keychain only where an envelope is
//! for one of them, and one without such keys never opens a connection.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use keyring::Entry;

use crate::crypto::envelope::Recipient;
use crate::secret::SecretBytes;
use crate::sys::replace;

use super::recipients;

const SERVICE: &str = "hlx";

/// Why the keychain is of no help.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// None runs in this session.
    #[error("no keychain answers ({0})")]
    Unavailable(String),
    /// It has no such key.
    #[error("the keychain does not have it")]
    Missing,
    /// It refuses, or the user did.
    #[error("the keychain refuses: {0}")]
    Refused(String),
    /// It gives back something else than it was given.
    #[error("the keychain holds another key in its place")]
    Other,
    /// A passphrase protects the key already, or its public key is not known.
    #[error("only keys that no passphrase protects, and whose public key is known, go into the keychain")]
    Unfit,
    /// The list of what is there cannot be written.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl From<keyring::Error> for Error {
    fn from(error: keyring::Error) -> Self {
        match error {
            keyring::Error::NoEntry => Self::Missing,
            keyring::Error::NoDefaultStore => {
                let why = Entry::store_status().as_ref().err().map(ToString::to_string);
                Self::Unavailable(why.unwrap_or_else(|| error.to_string()))
            }
            other => Self::Refused(other.to_string()),
        }
    }
}

/// The public keys whose private ones are in the keychain, by the list of them.
pub fn listed(list: &Path) -> Result<Vec<Recipient>, String> {
    match fs::read_to_string(list) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(format!("{}: {error}", list.display())),
        Ok(text) => {
            let named = recipients::parse(&text).map_err(|error| format!("{}: {error}", list.display()))?;
            Ok(named.into_iter().map(|named| named.recipient).collect())
        }
    }
}

/// Gets a private key, in the form of a file.
pub(super) fn get(recipient: &Recipient) -> Result<SecretBytes, Error> {
    Ok(SecretBytes::new(entry(recipient)?.get_secret()?))
}

/// Puts a private key there, makes sure that it is, and adds it to the list.
pub(super) fn put(list: &Path, recipient: &Recipient, content: &SecretBytes) -> Result<(), Error> {
    let known = listed(list).map_err(|reason| Error::Io(io::Error::other(reason)))?;
    let entry = entry(recipient)?;
    entry.set_secret(content.expose())?;
    if SecretBytes::new(entry.get_secret()?).expose() != content.expose() {
        return Err(Error::Other);
    }
    match known.contains(recipient) {
        true => Ok(()),
        false => Ok(add(list, recipient)?),
    }
}

/// What became of a key that was to be taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    /// It was there, and is no more.
    Gone,
    /// It was on the list only: the keychain did not have it.
    Unlisted,
}

/// Takes a private key out of the keychain, makes sure that it is gone, and takes it off the list.
pub fn remove(list: &Path, recipient: &Recipient) -> Result<Removed, Error> {
    let entry = entry(recipient)?;
    let removed = match entry.delete_credential() {
        Ok(()) => Removed::Gone,
        Err(keyring::Error::NoEntry) => Removed::Unlisted,
        Err(error) => return Err(error.into()),
    };
    match entry.get_secret().map(SecretBytes::new) {
        Err(keyring::Error::NoEntry) => {}
        Ok(_) => return Err(Error::Refused("it still has the key".to_owned())),
        Err(error) => return Err(error.into()),
    }
    let text = fs::read_to_string(list)?;
    let is_other =
        |line: &&str| recipients::parse_one(line).map_or(true, |named| named.recipient != *recipient);
    let others: String = text.lines().filter(is_other).map(|line| format!("{line}\n")).collect();
    replace::content(list, others.as_bytes())?;
    Ok(removed)
}

fn entry(recipient: &Recipient) -> Result<Entry, Error> {
    Ok(Entry::new(SERVICE, recipient.as_str())?)
}

fn add(list: &Path, recipient: &Recipient) -> io::Result<()> {
    if let Some(directory) = list.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    match fs::read_to_string(list) {
        Ok(text) => replace::content(list, format!("{}\n{recipient}\n", text.trim_end()).as_bytes()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let head = "# The private keys of these are in the keychain of the desktop: `hlx keys list`";
            replace::create(list, format!("{head}\n\n{recipient}\n").as_bytes())
        }
        Err(error) => Err(error),
    }
}
