//! Private keys that a passphrase protects: age files (armored or not) and OpenSSH private keys.

use std::io::{self, Read as _, Write as _};

use age::armor::{ArmoredReader, ArmoredWriter, Format};
use age::secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use ssh_key::{LineEnding, PrivateKey};

use crate::crypto::envelope::Recipient;
use crate::secret::SecretBytes;

/// As age itself: more than some seconds of work is nobody's own file.
const MOST_WORK: u8 = 22;
/// An identity file has some lines; what age decrypts could be of any length.
const LONGEST: u64 = 1 << 20;

/// A private key that only a passphrase opens.
pub(super) struct Protected {
    content: Vec<u8>,
    form: Form,
}

enum Form {
    /// An age file that holds identities.
    Age,
    /// An OpenSSH private key. Its public half is in clear.
    Ssh { key: Box<PrivateKey>, recipient: Recipient },
}

/// Why a passphrase does not open a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refused {
    /// It is not the right one.
    Wrong,
    /// Whatever the passphrase, it cannot be opened, for this reason.
    Broken(String),
}

impl Protected {
    /// Reads a key that is protected; `None` if this is none. Fails with the reason, and the remedy where there is one.
    pub(super) fn read(content: &[u8]) -> Option<Result<Self, String>> {
        if content.starts_with(b"age-encryption.org/") || find(content, b"-----BEGIN AGE ENCRYPTED FILE-----")
        {
            return Some(Self::age(content));
        }
        if find(content, b"-----BEGIN OPENSSH PRIVATE KEY-----") {
            let key = PrivateKey::from_openssh(content).ok().filter(PrivateKey::is_encrypted)?;
            return Some(Self::ssh(content, key));
        }
        // The form that ssh-keygen wrote until 2019. Its protection is weak, and age has no use for it.
        let is_old = find(content, b"PRIVATE KEY-----") && find(content, b"ENCRYPTED");
        is_old.then(|| {
            Err("it is a private key in an old form, protected by a passphrase: `ssh-keygen -p -f FILE` writes it anew"
                .to_owned())
        })
    }

    fn age(content: &[u8]) -> Result<Self, String> {
        match decryptor(content) {
            Err(reason) => Err(reason),
            Ok(decryptor) if !decryptor.is_scrypt() => {
                Err("it is encrypted for other keys, not with a passphrase".to_owned())
            }
            Ok(_) => Ok(Self { content: content.to_vec(), form: Form::Age }),
        }
    }

    fn ssh(content: &[u8], key: PrivateKey) -> Result<Self, String> {
        let public = key.public_key().to_openssh().unwrap_or_default();
        let recipient = public.parse().map_err(|_| "not a supported ssh key".to_owned())?;
        Ok(Self { content: content.to_vec(), form: Form::Ssh { key: Box::new(key), recipient } })
    }

    /// The public key, where the passphrase does not protect that too.
    pub(super) fn recipient(&self) -> Option<&Recipient> {
        match &self.form {
            Form::Age => None,
            Form::Ssh { recipient, .. } => Some(recipient),
        }
    }

    /// A name of this very content, so that a file with another is another key.
    pub(super) fn name(&self) -> String {
        let hash = Sha256::digest(&self.content);
        hash[..16].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The private key as it would stand in a file without protection.
    pub(super) fn open(&self, passphrase: &SecretString) -> Result<SecretBytes, Refused> {
        match &self.form {
            Form::Age => open_age(&self.content, passphrase),
            Form::Ssh { key, .. } => {
                let key = key.decrypt(passphrase.expose_secret()).map_err(|error| match error {
                    ssh_key::Error::Crypto => Refused::Wrong,
                    other => Refused::Broken(other.to_string()),
                })?;
                let text =
                    key.to_openssh(LineEnding::LF).map_err(|error| Refused::Broken(error.to_string()))?;
                Ok(SecretBytes::new(text.as_bytes().to_vec()))
            }
        }
    }
}

/// Protects identities with a passphrase: an armored age file.
pub(super) fn protect(content: &[u8], passphrase: SecretString) -> io::Result<Vec<u8>> {
    let mut file = Vec::new();
    let armor = ArmoredWriter::wrap_output(&mut file, Format::AsciiArmor)?;
    let mut writer = age::Encryptor::with_user_passphrase(passphrase).wrap_output(armor)?;
    writer.write_all(content)?;
    writer.finish().and_then(ArmoredWriter::finish)?;
    Ok(file)
}

fn decryptor(content: &[u8]) -> Result<age::Decryptor<ArmoredReader<io::BufReader<&[u8]>>>, String> {
    age::Decryptor::new(ArmoredReader::new(content)).map_err(|_| "not a readable age file".to_owned())
}

fn open_age(content: &[u8], passphrase: &SecretString) -> Result<SecretBytes, Refused> {
    let broken = |reason: &str| Refused::Broken(reason.to_owned());
    let mut identity = age::scrypt::Identity::new(passphrase.clone());
    identity.set_max_work_factor(MOST_WORK);
    let decryptor = decryptor(content).map_err(Refused::Broken)?;
    let reader = decryptor.decrypt(std::iter::once(&identity as &dyn age::Identity));
    let reader = reader.map_err(|error| match error {
        age::DecryptError::ExcessiveWork { .. } => broken("its passphrase would take too much work to check"),
        age::DecryptError::DecryptionFailed
        | age::DecryptError::KeyDecryptionFailed
        | age::DecryptError::NoMatchingKeys => Refused::Wrong,
        _ => broken("not a readable age file"),
    })?;
    let mut plain = SecretBytes::new(Vec::new());
    reader
        .take(LONGEST)
        .read_to_end(plain.expose_mut())
        .map_err(|_| broken("its end is missing or altered"))?;
    Ok(plain)
}

fn find(content: &[u8], what: &[u8]) -> bool {
    memchr::memmem::find(content, what).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> SecretString {
        SecretString::from(text.to_owned())
    }

    #[test]
    fn what_a_passphrase_protects_opens_with_it_alone() {
        let file = protect(b"# my key\nAGE-SECRET-KEY-1X\n", secret("correct horse")).unwrap();
        assert!(file.starts_with(b"-----BEGIN AGE ENCRYPTED FILE-----"));
        let protected = Protected::read(&file).unwrap().unwrap();
        assert_eq!(protected.open(&secret("correct")).unwrap_err(), Refused::Wrong);
        assert_eq!(
            protected.open(&secret("correct horse")).unwrap().expose(),
            b"# my key\nAGE-SECRET-KEY-1X\n"
        );
        assert!(protected.recipient().is_none());
        let mut cut = file.clone();
        cut.truncate(file.len() - 60);
        assert!(Protected::read(&cut).unwrap().is_err());
    }

    #[test]
    fn what_no_passphrase_protects_is_none() {
        let other = age::x25519::Identity::generate();
        let other = age::encrypt(&other.to_public(), b"x").unwrap();
        assert!(Protected::read(&other).unwrap().err().unwrap().contains("not with a passphrase"));
        assert!(Protected::read(b"AGE-SECRET-KEY-1X\n").is_none());
        assert!(Protected::read(b"").is_none());
        let old = b"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n";
        assert!(Protected::read(old).unwrap().err().unwrap().contains("ssh-keygen -p"));
    }
}
