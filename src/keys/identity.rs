//! One private key, of any kind, and the files they stand in.

use std::io::{self, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::time::SystemTime;

use zeroize::Zeroizing;

use crate::crypto::envelope::Recipient;
use crate::crypto::hybrid;

use super::locked::{self, Locked};
use super::plugins::{Idle, Plugins};
use super::protected::Protected;
use super::recipients;

/// A private key.
pub struct Identity {
    key: Key,
    found: Found,
}

enum Key {
    X25519(age::x25519::Identity),
    Hybrid(hybrid::Identity),
    Ssh(Box<age::ssh::Identity>),
    Plugin(String, Box<dyn age::Identity>),
    Locked(Box<Locked>),
    Idle,
}

/// What is known of a private key without using it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It belongs to this public key.
    Of(Recipient),
    /// This plugin uses it; which public key it belongs to, only the plugin knows.
    OfPlugin(String),
    /// This plugin could use it, but is not there.
    Idle(String, Idle),
    /// A passphrase protects it; its public key may be known all the same.
    Locked(Option<Recipient>),
    /// It is in the keychain.
    InKeychain(Recipient),
}

impl Found {
    /// The public key, if it is known.
    pub fn recipient(&self) -> Option<&Recipient> {
        match self {
            Self::Of(recipient) | Self::InKeychain(recipient) => Some(recipient),
            Self::Locked(recipient) => recipient.as_ref(),
            Self::OfPlugin(_) | Self::Idle(..) => None,
        }
    }
}

/// What a place holds.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) identities: Vec<Identity>,
    /// Until when it is unlocked, if a passphrase protects it.
    pub(super) until: Option<SystemTime>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity({:?})", self.found)
    }
}

impl Identity {
    /// What is known of it.
    pub fn found(&self) -> &Found {
        &self.found
    }

    /// The key as the age crate uses it, if no plugin is needed.
    pub fn native(&self) -> Option<&dyn age::Identity> {
        match &self.key {
            Key::X25519(key) => Some(key),
            Key::Hybrid(key) => Some(key),
            Key::Ssh(key) => Some(key.as_ref()),
            Key::Plugin(..) | Key::Locked(_) | Key::Idle => None,
        }
    }

    /// The plugin that uses the key, and how the age crate reaches it.
    pub fn plugin(&self) -> Option<(&str, &dyn age::Identity)> {
        match &self.key {
            Key::Plugin(name, key) => Some((name, key.as_ref())),
            Key::X25519(_) | Key::Hybrid(_) | Key::Ssh(_) | Key::Locked(_) | Key::Idle => None,
        }
    }

    /// The key, if somebody must be asked for it.
    pub fn locked(&self) -> Option<&Locked> {
        match &self.key {
            Key::Locked(locked) => Some(locked),
            Key::X25519(_) | Key::Hybrid(_) | Key::Ssh(_) | Key::Plugin(..) | Key::Idle => None,
        }
    }

    pub(super) fn of_locked(locked: Locked) -> Self {
        let known = locked.recipients().first().cloned();
        let found = match known {
            Some(recipient) if !locked.is_protected() => Found::InKeychain(recipient),
            known => Found::Locked(known),
        };
        Self { key: Key::Locked(Box::new(locked)), found }
    }

    fn x25519(key: age::x25519::Identity) -> Self {
        let recipient = key.to_public().to_string().parse().expect("a public key of age is a recipient");
        Self { key: Key::X25519(key), found: Found::Of(recipient) }
    }

    fn hybrid(key: hybrid::Identity) -> Self {
        let recipient = key.to_public().to_string().parse().expect("a public key of age is a recipient");
        Self { key: Key::Hybrid(key), found: Found::Of(recipient) }
    }

    fn ssh(key: age::ssh::Identity) -> Result<Self, String> {
        if matches!(key, age::ssh::Identity::Encrypted(_)) {
            return Err(
                "the ssh key is protected in a way of its own: `ssh-keygen -p -f FILE` writes it anew"
                    .to_owned(),
            );
        }
        let public =
            age::ssh::Recipient::try_from(key.clone()).map_err(|_| "not a supported ssh key".to_owned())?;
        let recipient = public.to_string().parse().map_err(|_| "not a supported ssh key".to_owned())?;
        Ok(Self { key: Key::Ssh(Box::new(key)), found: Found::Of(recipient) })
    }

    /// A key of a plugin. Its public key is what the comment above it says, as plugins write it: of the plugin's own
    /// kind, or of the kind that age has for hardware keys, as `age-plugin-tpm` makes them.
    fn of_plugin(key: &age::plugin::Identity, said: Option<Recipient>, plugins: &Plugins) -> Self {
        let name = key.plugin().to_owned();
        match plugins.identity(key) {
            Ok(ready) => {
                let is_of_plugin =
                    |key: &Recipient| key.is_tagged() || key.plugin().as_deref() == Some(&name);
                let said = said.filter(is_of_plugin);
                let found = said.map_or_else(|| Found::OfPlugin(name.clone()), Found::Of);
                Self { key: Key::Plugin(name, Box::new(ready)), found }
            }
            Err(idle) => Self { key: Key::Idle, found: Found::Idle(name, idle) },
        }
    }
}

/// Who may be able to read a file with private keys.
#[derive(Debug, Clone, Copy)]
pub(super) enum Readers {
    /// Its owner alone.
    Owner,
    /// As its mode looks, its group too: that is what an access list of the file's makes of it.
    Group,
}

/// Reads the identities of a file, unless it is missing: `None`.
pub(super) fn read_if_there(
    path: &Path,
    readers: Readers,
    plugins: &Plugins,
) -> Option<Result<Held, String>> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        _ => Some(read(path, readers, plugins)),
    }
}

/// Reads the identities of a file: an age identity file, or an OpenSSH private key, protected or not.
///
/// Fails with the reason, and the remedy where there is a simple one.
pub(super) fn read(path: &Path, readers: Readers, plugins: &Plugins) -> Result<Held, String> {
    let metadata = path.metadata().map_err(|error| error.to_string())?;
    let mode = metadata.permissions().mode() & 0o777;
    let forbidden = match readers {
        Readers::Owner => 0o077,
        Readers::Group => 0o007,
    };
    if mode & forbidden != 0 {
        return Err(format!("others can read it (mode {mode:04o}): run `chmod 600 {}`", path.display()));
    }
    let content = Zeroizing::new(std::fs::read(path).map_err(|error| error.to_string())?);
    let place = path.display().to_string();
    let held = parse(&content, &place, || public_beside(path), plugins);
    held.map_err(|reason| reason.replace("FILE", &place))
}

/// Where the public keys of a protected file stand: beside it, as with ssh.
pub(super) fn public_file(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".pub");
    name.into()
}

fn public_beside(path: &Path) -> Vec<Recipient> {
    let text = std::fs::read_to_string(public_file(path)).unwrap_or_default();
    let named = recipients::parse(&text).unwrap_or_default();
    named.into_iter().map(|named| named.recipient).collect()
}

/// Reads identities from the content of a file or variable. What stands beside it matters only if it is protected.
pub(super) fn parse(
    content: &[u8],
    place: &str,
    beside: impl FnOnce() -> Vec<Recipient>,
    plugins: &Plugins,
) -> Result<Held, String> {
    let Some(protected) = Protected::read(content) else {
        return Ok(Held { identities: parse_plain(content, plugins)?, until: None });
    };
    let protected = protected?;
    if let Some((identities, until)) = locked::if_unlocked(&protected, plugins) {
        return Ok(Held { identities, until: Some(until) });
    }
    let locked = Locked::new(place, protected, beside(), plugins);
    Ok(Held { identities: vec![Identity::of_locked(locked)], until: None })
}

/// Reads identities that no passphrase protects.
pub(super) fn parse_plain(content: &[u8], plugins: &Plugins) -> Result<Vec<Identity>, String> {
    let text = std::str::from_utf8(content).map_err(|_| "not a text file".to_owned())?;
    if text.contains("PRIVATE KEY-----") {
        let key = age::ssh::Identity::from_buffer(BufReader::new(content), None);
        return Identity::ssh(key.map_err(|_| "not a readable ssh key".to_owned())?).map(|key| vec![key]);
    }
    let mut identities = Vec::new();
    let mut said = None;
    for line in text.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
        match line.strip_prefix('#') {
            Some(comment) => said = recipient_in(comment).or(said),
            None => identities.push(parse_line(identities.len() + 1, line, said.take(), plugins)?),
        }
    }
    if identities.is_empty() { Err("it holds no key".to_owned()) } else { Ok(identities) }
}

/// `#    Recipient: age1…`, as plugins write it above an identity.
fn recipient_in(comment: &str) -> Option<Recipient> {
    comment.rsplit_once(": ")?.1.parse().ok()
}

fn parse_line(
    number: usize,
    line: &str,
    said: Option<Recipient>,
    plugins: &Plugins,
) -> Result<Identity, String> {
    let broken = format!("key {number} in it is no age identity");
    if hybrid::Identity::is_meant(line) {
        return line.parse().map(Identity::hybrid).map_err(|_| broken);
    }
    if line.starts_with("AGE-PLUGIN-") {
        let key = age::plugin::Identity::from_str(line).map_err(|_| broken)?;
        return Ok(Identity::of_plugin(&key, said, plugins));
    }
    age::x25519::Identity::from_str(line).map(Identity::x25519).map_err(|_| broken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use age::secrecy::ExposeSecret as _;

    #[test]
    fn identity_files_are_read_and_their_errors_show_no_key() {
        let key = age::x25519::Identity::generate();
        let secret = key.to_string();
        let file = format!("# created: today\n\n{}\n", secret.expose_secret());
        let parse = |text: &str| parse_plain(text.as_bytes(), &Plugins::default());
        let found = parse(&file).unwrap();
        assert_eq!(found[0].found().recipient().unwrap().as_str(), key.to_public().to_string());
        let broken = format!("{}X", secret.expose_secret());
        assert_eq!(parse(&broken).unwrap_err(), "key 1 in it is no age identity");
        assert_eq!(parse("# nothing\n").unwrap_err(), "it holds no key");
    }

    #[test]
    fn a_key_of_a_plugin_spoils_no_other_and_runs_nothing_unless_allowed() {
        let key = age::x25519::Identity::generate().to_string();
        let file = format!("AGE-PLUGIN-TOY-1VYS8GMME7G92NT\n{}\n", key.expose_secret());
        let found = parse_plain(file.as_bytes(), &Plugins::default()).unwrap();
        assert_eq!(*found[0].found(), Found::Idle("toy".to_owned(), Idle::NotAllowed));
        assert!(found[1].native().is_some() && found[0].plugin().is_none());
        assert!(parse_plain(b"AGE-PLUGIN-TOY-1VYS8GMME7G92NX\n", &Plugins::default()).is_err());
    }

    #[test]
    fn post_quantum_keys_need_no_plugin() {
        let text = include_str!("../../tests/vectors/keys/hybrid.txt");
        let found = parse_plain(text.as_bytes(), &Plugins::default()).unwrap();
        let public = found[0].found().recipient().unwrap();
        assert!(found[0].native().is_some() && public.plugin().is_none() && public.is_post_quantum());
        assert!(text.contains(public.as_str()));
        for broken in ["AGE-SECRET-KEY-PQ-1QQ", "AGE-PLUGIN-PQ-1QQ"] {
            let refused = parse_plain(broken.as_bytes(), &Plugins::default());
            assert_eq!(refused.unwrap_err(), "key 1 in it is no age identity");
        }
    }
}
