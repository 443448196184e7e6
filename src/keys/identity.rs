//! One private key, of either kind, and the files they stand in.

use std::io::{self, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::str::FromStr as _;

use zeroize::Zeroizing;

use crate::crypto::envelope::Recipient;

/// A private key.
pub struct Identity {
    key: Key,
    recipient: Recipient,
}

enum Key {
    X25519(age::x25519::Identity),
    Ssh(Box<age::ssh::Identity>),
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity({})", self.recipient)
    }
}

impl Identity {
    /// The public key.
    pub fn recipient(&self) -> Recipient {
        self.recipient.clone()
    }

    /// The key as the age crate uses it.
    pub fn as_age(&self) -> &dyn age::Identity {
        match &self.key {
            Key::X25519(key) => key,
            Key::Ssh(key) => key.as_ref(),
        }
    }

    fn x25519(key: age::x25519::Identity) -> Self {
        let recipient = key.to_public().to_string().parse().expect("a public key of age is a recipient");
        Self { key: Key::X25519(key), recipient }
    }

    fn ssh(key: age::ssh::Identity) -> Result<Self, String> {
        if matches!(key, age::ssh::Identity::Encrypted(_)) {
            return Err("the ssh key is protected by a passphrase, which is not supported yet".to_owned());
        }
        let public =
            age::ssh::Recipient::try_from(key.clone()).map_err(|_| "not a supported ssh key".to_owned())?;
        let recipient = public.to_string().parse().map_err(|_| "not a supported ssh key".to_owned())?;
        Ok(Self { key: Key::Ssh(Box::new(key)), recipient })
    }
}

/// Reads the identities of a file, unless it is missing: `None`.
pub(super) fn read_if_there(path: &Path) -> Option<Result<Vec<Identity>, String>> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        _ => Some(read(path)),
    }
}

/// Reads the identities of a file: an age identity file, or an OpenSSH private key.
///
/// Fails with the reason, and the remedy where there is a simple one.
pub(super) fn read(path: &Path) -> Result<Vec<Identity>, String> {
    let metadata = path.metadata().map_err(|error| error.to_string())?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(format!("others can read it (mode {mode:04o}): run `chmod 600 {}`", path.display()));
    }
    let content = Zeroizing::new(std::fs::read(path).map_err(|error| error.to_string())?);
    parse(&content)
}

/// Reads identities from the content of a file or variable.
pub(super) fn parse(content: &[u8]) -> Result<Vec<Identity>, String> {
    let text = std::str::from_utf8(content).map_err(|_| "not a text file".to_owned())?;
    if text.contains("-----BEGIN AGE ENCRYPTED FILE-----") || text.starts_with("age-encryption.org/") {
        return Err("it is protected by a passphrase, which is not supported yet".to_owned());
    }
    if text.contains("PRIVATE KEY-----") {
        let key = age::ssh::Identity::from_buffer(BufReader::new(content), None);
        return Identity::ssh(key.map_err(|_| "not a readable ssh key".to_owned())?).map(|key| vec![key]);
    }
    let lines = text.lines().map(str::trim_end).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let identities: Vec<_> =
        lines.enumerate().map(|(number, line)| parse_line(number, line)).collect::<Result<_, _>>()?;
    if identities.is_empty() { Err("it holds no key".to_owned()) } else { Ok(identities) }
}

fn parse_line(number: usize, line: &str) -> Result<Identity, String> {
    if line.starts_with("AGE-PLUGIN-") || line.starts_with("AGE-SECRET-KEY-PQ-") {
        let kind = line.split('1').next().unwrap_or_default().trim_end_matches('-');
        return Err(format!("keys of the kind {kind} are not supported yet"));
    }
    age::x25519::Identity::from_str(line)
        .map(Identity::x25519)
        .map_err(|_| format!("key {} in it is no age identity", number + 1))
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
        let found = parse(file.as_bytes()).unwrap();
        assert_eq!(found[0].recipient().as_str(), key.to_public().to_string());
        let broken = format!("{}X", secret.expose_secret());
        assert_eq!(parse(broken.as_bytes()).unwrap_err(), "key 1 in it is no age identity");
        assert_eq!(parse(b"# nothing\n").unwrap_err(), "it holds no key");
    }
}
