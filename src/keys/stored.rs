//! Private keys in files of their own: made here, or brought along.
//!
//! A file is made whole with mode 0600, or not at all, and what is there is never overwritten.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use age::secrecy::{ExposeSecret as _, SecretString};

use crate::crypto::envelope::Recipient;
use crate::crypto::hybrid;
use crate::secret::{Secret, SecretBytes};
use crate::sys::{random, replace};

use super::identity::{self, Found, Held, Identity, Readers};
use super::keychain;
use super::plugins::Plugins;
use super::protected;

/// The kinds of keys that are made here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// X25519: `age1…`.
    Classical,
    /// ML-KEM-768 and X25519 together: `age1pq1…`, which age has since 1.3.
    PostQuantum,
}

/// Makes an identity and writes it to a new file, in the form of `age-keygen`; with a passphrase, protected by it
/// and with the public key in a file beside it.
///
/// An existing file is never overwritten: that is an error of kind `AlreadyExists`.
pub fn generate(
    path: &Path,
    kind: Kind,
    now: &str,
    passphrase: Option<SecretString>,
) -> io::Result<Recipient> {
    let (content, recipient) = fresh(kind, now);
    match passphrase {
        None => create(path, content.expose().as_bytes())?,
        Some(passphrase) => {
            let protected = protected::protect(content.expose().as_bytes(), passphrase)?;
            create_with_public(path, &protected, std::slice::from_ref(&recipient))?;
        }
    }
    Ok(recipient)
}

/// Makes an identity and puts it into the keychain, and its public key into the list of those that are there.
pub fn generate_in_keychain(list: &Path, kind: Kind, now: &str) -> Result<Recipient, keychain::Error> {
    let (content, recipient) = fresh(kind, now);
    let content = SecretBytes::new(content.expose().as_bytes().to_vec());
    keychain::put(list, &recipient, &content)?;
    Ok(recipient)
}

/// A new identity as a file has it, and its public key.
fn fresh(kind: Kind, now: &str) -> (Secret<String>, Recipient) {
    let (secret, public) = match kind {
        Kind::Classical => {
            let identity = age::x25519::Identity::generate();
            (identity.to_string(), identity.to_public().to_string())
        }
        Kind::PostQuantum => {
            let mut seed = Secret::new([0; 32]);
            random::fill(seed.expose_mut());
            let identity = hybrid::Identity::from_seed(&seed);
            (hybrid::Identity::spell(&seed), identity.to_public().to_string())
        }
    };
    let content = format!("# created: {now}\n# public key: {public}\n{}\n", secret.expose_secret());
    (Secret::new(content), public.parse().expect("a public key of age is a recipient"))
}

fn create(path: &Path, content: &[u8]) -> io::Result<()> {
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    replace::create(path, content)
}

fn create_with_public(path: &Path, content: &[u8], recipients: &[Recipient]) -> io::Result<()> {
    let public = identity::public_file(path);
    if public.exists() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{} is there", public.display())));
    }
    create(path, content)?;
    let text: String = recipients.iter().map(|recipient| format!("{recipient}\n")).collect();
    fs::write(public, text)
}

/// A private key on its way into a file.
#[derive(Debug)]
pub struct Key {
    content: SecretBytes,
    held: Held,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Imported {
    /// It has a new file.
    Made,
    /// It stands in a file with others.
    Added,
    /// The file had it already.
    There,
}

/// Why it was not taken in.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Files hold several keys only of age's own form, without a passphrase.
    #[error("there is a private key already, and one of the two can only stand in a file of its own")]
    OwnFile,
    /// What is there cannot be read.
    #[error("{0}")]
    Unreadable(String),
    /// The file could not be written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Key {
    /// Reads a file with private keys. Fails with the reason, and the remedy where there is a simple one.
    pub fn read(path: &Path, plugins: &Plugins) -> Result<Self, String> {
        // Checks who can read it, too.
        let held = identity::read(path, Readers::Owner, plugins)?;
        let content = fs::read(path).map_err(|error| error.to_string())?;
        Ok(Self { content: SecretBytes::new(content), held })
    }

    /// Reads private keys from a text.
    pub fn parse(content: SecretBytes, plugins: &Plugins) -> Result<Self, String> {
        let held = identity::parse(content.expose(), "-", Vec::new, plugins)?;
        Ok(Self { content, held })
    }

    /// What is known of each.
    pub fn found(&self) -> impl Iterator<Item = &Found> {
        self.held.identities.iter().map(Identity::found)
    }

    /// The public keys, as far as they are known.
    pub fn recipients(&self) -> impl Iterator<Item = &Recipient> {
        self.found().filter_map(Found::recipient)
    }

    /// Writes it to a new file, or adds it to one that has others. No key that is there is lost.
    pub fn import(&self, path: &Path) -> Result<Imported, Error> {
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let known: Vec<Recipient> = self.recipients().cloned().collect();
                match self.is_protected() && !known.is_empty() {
                    true => create_with_public(path, self.content.expose(), &known)?,
                    false => create(path, self.content.expose())?,
                }
                Ok(Imported::Made)
            }
            _ => self.add(path),
        }
    }

    /// Puts it into the keychain, and its public keys into the list of those that are there.
    pub fn import_into_keychain(&self, list: &Path) -> Result<(), keychain::Error> {
        if self.is_protected() || self.recipients().count() != self.held.identities.len() {
            return Err(keychain::Error::Unfit);
        }
        self.apart().iter().try_for_each(|(recipient, content)| keychain::put(list, recipient, content))
    }

    /// Each key as a file of its own, so that to forget one forgets all of it.
    fn apart(&self) -> Vec<(&Recipient, SecretBytes)> {
        let alone = |(recipient, line)| {
            (recipient, SecretBytes::new(format!("# public key: {recipient}\n{line}\n").into_bytes()))
        };
        match self.lines() {
            Some(lines) => self.recipients().zip(lines).map(alone).collect(),
            // An ssh key is alone in its file.
            None => self.recipients().map(|recipient| (recipient, self.content.duplicate())).collect(),
        }
    }

    fn is_protected(&self) -> bool {
        self.held.until.is_some() || self.held.identities.iter().any(|key| key.locked().is_some())
    }

    fn add(&self, path: &Path) -> Result<Imported, Error> {
        let there = Self::read(path, &Plugins::default()).map_err(Error::Unreadable)?;
        if there.content.expose() == self.content.expose() {
            return Ok(Imported::There);
        }
        let (Some(own), Some(others)) = (self.lines(), there.lines()) else { return Err(Error::OwnFile) };
        if own.iter().all(|line| others.contains(line)) {
            return Ok(Imported::There);
        }
        let mut both = there.content.duplicate();
        if !both.expose().ends_with(b"\n") {
            both.expose_mut().push(b'\n');
        }
        both.expose_mut().extend(self.content.expose());
        replace::content(path, both.expose())?;
        Ok(Imported::Added)
    }

    /// The identities of a file of age's own form; `None` if it has another.
    fn lines(&self) -> Option<Vec<&str>> {
        let is_ssh = |found: &Found| found.recipient().is_some_and(|key| key.as_str().starts_with("ssh-"));
        if self.is_protected() || self.held.identities.iter().any(|key| is_ssh(key.found())) {
            return None;
        }
        let text = std::str::from_utf8(self.content.expose()).ok()?;
        let is_key = |line: &&str| !line.is_empty() && !line.starts_with('#');
        Some(text.lines().map(str::trim_end).filter(is_key).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn passphrase(text: &str) -> SecretString {
        SecretString::from(text.to_owned())
    }

    #[test]
    fn a_file_is_made_private_and_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/key");
        let recipient = generate(&path, Kind::Classical, "now", None).unwrap();
        let before = fs::read(&path).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(path.parent().unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(
            generate(&path, Kind::Classical, "now", None).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        assert_eq!(fs::read(&path).unwrap(), before);
        let key = Key::read(&path, &Plugins::default()).unwrap();
        assert_eq!(key.recipients().collect::<Vec<_>>(), [&recipient]);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn with_a_passphrase_only_the_public_key_can_be_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let recipient = generate(&path, Kind::Classical, "now", Some(passphrase("p"))).unwrap();
        assert!(!String::from_utf8(fs::read(&path).unwrap()).unwrap().contains("SECRET"));
        let key = Key::read(&path, &Plugins::default()).unwrap();
        assert_eq!(key.recipients().collect::<Vec<_>>(), [&recipient]);
        assert!(key.is_protected());
        fs::remove_file(&path).unwrap();
        // A public key that belongs to something else is not taken for this one's.
        assert_eq!(
            generate(&path, Kind::Classical, "now", Some(passphrase("p"))).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
    }

    #[test]
    fn keys_of_one_file_are_kept_apart_in_the_keychain() {
        let dir = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| dir.path().join(name));
        generate(&a, Kind::Classical, "now", None).unwrap();
        generate(&b, Kind::PostQuantum, "now", None).unwrap();
        let plugins = Plugins::default();
        Key::read(&a, &plugins).unwrap().import(&b).unwrap();
        let both = Key::read(&b, &plugins).unwrap();
        let apart = both.apart();
        assert_eq!(apart.len(), 2);
        for (recipient, content) in apart {
            let key = Key::parse(content, &plugins).unwrap();
            assert_eq!(key.recipients().collect::<Vec<_>>(), [recipient]);
        }
    }

    #[test]
    fn keys_are_added_to_others_once_and_lose_none() {
        let dir = tempfile::tempdir().unwrap();
        let [a, b, c, ssh] = ["a", "b", "c", "ssh"].map(|name| dir.path().join(name));
        let recipients = [&a, &b].map(|path| generate(path, Kind::Classical, "now", None).unwrap());
        let plugins = Plugins::default();
        let import = |from: &Path, to: &Path| Key::read(from, &plugins).unwrap().import(to);
        assert_eq!(import(&a, &c).unwrap(), Imported::Made);
        assert_eq!(import(&b, &c).unwrap(), Imported::Added);
        assert_eq!(import(&b, &c).unwrap(), Imported::There);
        assert_eq!(import(&a, &c).unwrap(), Imported::There);
        let both = Key::read(&c, &plugins).unwrap();
        assert_eq!(both.recipients().collect::<Vec<_>>(), recipients.iter().collect::<Vec<_>>());
        assert_eq!(c.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        generate(&ssh, Kind::Classical, "now", Some(passphrase("p"))).unwrap();
        assert!(matches!(import(&ssh, &c), Err(Error::OwnFile)));
        fs::set_permissions(&c, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(import(&ssh, &c), Err(Error::Unreadable(_))));
    }
}
