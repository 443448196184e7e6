//! One private key, of any kind, and the files they stand in.

use std::io::{self, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::str::FromStr as _;

use zeroize::Zeroizing;

use crate::crypto::envelope::Recipient;

use super::plugins::{Idle, Plugins};

/// A private key.
pub struct Identity {
    key: Key,
    found: Found,
}

enum Key {
    X25519(age::x25519::Identity),
    Ssh(Box<age::ssh::Identity>),
    Plugin(String, Box<dyn age::Identity>),
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
}

impl Found {
    /// The public key, if it is known.
    pub fn recipient(&self) -> Option<&Recipient> {
        match self {
            Self::Of(recipient) => Some(recipient),
            Self::OfPlugin(_) | Self::Idle(..) => None,
        }
    }
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
            Key::Ssh(key) => Some(key.as_ref()),
            Key::Plugin(..) | Key::Idle => None,
        }
    }

    /// The plugin that uses the key, and how the age crate reaches it.
    pub fn plugin(&self) -> Option<(&str, &dyn age::Identity)> {
        match &self.key {
            Key::Plugin(name, key) => Some((name, key.as_ref())),
            Key::X25519(_) | Key::Ssh(_) | Key::Idle => None,
        }
    }

    fn x25519(key: age::x25519::Identity) -> Self {
        let recipient = key.to_public().to_string().parse().expect("a public key of age is a recipient");
        Self { key: Key::X25519(key), found: Found::Of(recipient) }
    }

    fn ssh(key: age::ssh::Identity) -> Result<Self, String> {
        if matches!(key, age::ssh::Identity::Encrypted(_)) {
            return Err("the ssh key is protected by a passphrase, which is not supported yet".to_owned());
        }
        let public =
            age::ssh::Recipient::try_from(key.clone()).map_err(|_| "not a supported ssh key".to_owned())?;
        let recipient = public.to_string().parse().map_err(|_| "not a supported ssh key".to_owned())?;
        Ok(Self { key: Key::Ssh(Box::new(key)), found: Found::Of(recipient) })
    }

    /// A key of a plugin. Its public key is what the comment above it says, as plugins write it.
    fn of_plugin(key: &age::plugin::Identity, said: Option<Recipient>, plugins: &Plugins) -> Self {
        let name = key.plugin().to_owned();
        match plugins.identity(key) {
            Ok(ready) => {
                let said = said.filter(|recipient| recipient.plugin().as_deref() == Some(&name));
                let found = said.map_or_else(|| Found::OfPlugin(name.clone()), Found::Of);
                Self { key: Key::Plugin(name, Box::new(ready)), found }
            }
            Err(idle) => Self { key: Key::Idle, found: Found::Idle(name, idle) },
        }
    }
}

/// Reads the identities of a file, unless it is missing: `None`.
pub(super) fn read_if_there(path: &Path, plugins: &Plugins) -> Option<Result<Vec<Identity>, String>> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        _ => Some(read(path, plugins)),
    }
}

/// Reads the identities of a file: an age identity file, or an OpenSSH private key.
///
/// Fails with the reason, and the remedy where there is a simple one.
pub(super) fn read(path: &Path, plugins: &Plugins) -> Result<Vec<Identity>, String> {
    let metadata = path.metadata().map_err(|error| error.to_string())?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(format!("others can read it (mode {mode:04o}): run `chmod 600 {}`", path.display()));
    }
    let content = Zeroizing::new(std::fs::read(path).map_err(|error| error.to_string())?);
    parse(&content, plugins)
}

/// Reads identities from the content of a file or variable.
pub(super) fn parse(content: &[u8], plugins: &Plugins) -> Result<Vec<Identity>, String> {
    let text = std::str::from_utf8(content).map_err(|_| "not a text file".to_owned())?;
    if text.contains("-----BEGIN AGE ENCRYPTED FILE-----") || text.starts_with("age-encryption.org/") {
        return Err("it is protected by a passphrase, which is not supported yet".to_owned());
    }
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
    if line.starts_with("AGE-SECRET-KEY-PQ-1") {
        let found = Found::Idle("pq".to_owned(), Idle::NotOfPlugin);
        return Ok(Identity { key: Key::Idle, found });
    }
    let broken = format!("key {number} in it is no age identity");
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
        let parse = |text: &str| super::parse(text.as_bytes(), &Plugins::default());
        let found = parse(&file).unwrap();
        assert_eq!(found[0].found().recipient().unwrap().as_str(), key.to_public().to_string());
        let broken = format!("{}X", secret.expose_secret());
        assert_eq!(parse(&broken).unwrap_err(), "key 1 in it is no age identity");
        assert_eq!(parse("# nothing\n").unwrap_err(), "it holds no key");
    }

    #[test]
    fn a_key_of_a_plugin_spoils_no_other_and_runs_nothing_unless_allowed() {
        let key = age::x25519::Identity::generate().to_string();
        let file =
            format!("AGE-PLUGIN-TOY-1VYS8GMME7G92NT\n{}\nAGE-SECRET-KEY-PQ-1QQ\n", key.expose_secret());
        let found = parse(file.as_bytes(), &Plugins::default()).unwrap();
        assert_eq!(*found[0].found(), Found::Idle("toy".to_owned(), Idle::NotAllowed));
        assert!(found[1].native().is_some() && found[0].plugin().is_none());
        assert_eq!(*found[2].found(), Found::Idle("pq".to_owned(), Idle::NotOfPlugin));
        assert!(parse(b"AGE-PLUGIN-TOY-1VYS8GMME7G92NX\n", &Plugins::default()).is_err());
    }
}
