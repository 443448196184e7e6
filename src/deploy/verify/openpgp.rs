//! The OpenPGP keys that may sign, in a keyring of their own.
//!
//! gpg(1) goes by what is in its home directory: keys, options, the sockets of its servers. So it
//! gets one that holds the keys of one file and nothing else, for as long as a look takes.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::sys::disk;
use crate::sys::process::{Call, Env, Finished};

/// Every key of the file is trusted. No agent and no keyboxd is started, and nobody is asked for keys.
const OPTIONS: &str = "trust-model always\nno-autostart\nno-auto-key-retrieve\ndisable-dirmngr\n";
/// What the name of a home begins with; the number of the process follows.
const HOME: &str = ".openpgp-";
const LIMIT: Duration = Duration::from_secs(60);

/// Why the keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no gpg.
    #[error("`openpgp_keys` in the server configuration takes gpg, and there is none")]
    NoProgram,
    /// It cannot be run, or has no place to work in.
    #[error("cannot run gpg: {0}")]
    Run(#[source] io::Error),
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Someone exported too much.
    #[error("{0} holds a secret key, which has no place on a server")]
    Secret(PathBuf),
    /// It holds something else, or something besides.
    #[error("{path} is no list of OpenPGP keys{}", crate::deploy::mirror::indented(said))]
    NoKeys {
        /// The file.
        path: PathBuf,
        /// What gpg says.
        said: String,
    },
}

/// A key of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Of the primary key.
    pub fingerprint: String,
    /// Whether it can still sign.
    pub state: KeyState,
}

/// Whether a key can still sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// It can.
    Valid,
    /// Its time is over.
    Expired,
    /// Its owner took it back.
    Revoked,
    /// gpg does not use it for another reason.
    Unusable,
}

impl fmt::Display for KeyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Valid => "valid",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Unusable => "unusable",
        })
    }
}

/// A home directory of gpg with the keys of one file, which goes when this is dropped.
#[derive(Debug)]
pub struct Keyring {
    home: PathBuf,
    env: Env,
    keys: Vec<Key>,
}

impl Keyring {
    /// The keys of `file`, in a home below `run`.
    pub fn of(file: &Path, run: &Path, env: &Env) -> Result<Self, Error> {
        let failed = |source| Error::Read { path: file.to_owned(), source };
        let text = std::fs::read(file).map_err(failed)?;
        let mut keyring = Self::empty(run, env).map_err(Error::Run)?;
        let said = keyring.gpg(&["--status-fd", "1", "--import"], &text)?;
        if imported_secrets(&String::from_utf8_lossy(said.out.expose())) {
            return Err(Error::Secret(file.to_owned()));
        }
        let listed = keyring.gpg(&["--with-colons", "--list-keys"], b"")?;
        keyring.keys = keys(&String::from_utf8_lossy(listed.out.expose()));
        match said.end.is_success() && !keyring.keys.is_empty() {
            true => Ok(keyring),
            false => {
                let said = crate::deploy::outlet::lines(&String::from_utf8_lossy(said.err.expose()));
                Err(Error::NoKeys { path: file.to_owned(), said })
            }
        }
    }

    fn empty(run: &Path, env: &Env) -> io::Result<Self> {
        std::fs::create_dir_all(run)?;
        sweep(run)?;
        let home = run.join(format!("{HOME}{}", std::process::id()));
        let mut env = env.clone();
        env.push(("GNUPGHOME".into(), home.clone().into()));
        let keyring = Self { home, env, keys: Vec::new() };
        disk::private_dir(&keyring.home)?;
        disk::private_file(&keyring.home.join("gpg.conf"), OPTIONS.as_bytes())?;
        Ok(keyring)
    }

    fn gpg(&self, args: &[&str], input: &[u8]) -> Result<Finished, Error> {
        let call = Call::new("gpg", &self.home, &self.env, LIMIT);
        call.args(["--batch", "--no-tty", "--quiet"]).args(args).output(input).map_err(|error| {
            match error.kind() {
                io::ErrorKind::NotFound => Error::NoProgram,
                _ => Error::Run(error),
            }
        })
    }

    /// For the variable `GNUPGHOME`.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// What the file holds.
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }
}

impl Drop for Keyring {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.home);
    }
}

/// Takes away what processes left that were killed, also one of our own number.
fn sweep(run: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(run)? {
        let (name, path) = entry.map(|entry| (entry.file_name(), entry.path()))?;
        let Some(number) = name.to_str().and_then(|name| name.strip_prefix(HOME)) else { continue };
        if number == std::process::id().to_string() || !Path::new("/proc").join(number).exists() {
            std::fs::remove_dir_all(path)?;
        }
    }
    Ok(())
}

/// The line `IMPORT_RES` of gnupg's doc/DETAILS has the count of secret keys in its tenth field.
fn imported_secrets(status: &str) -> bool {
    let result = status.lines().find_map(|line| line.strip_prefix("[GNUPG:] IMPORT_RES "));
    result.and_then(|result| result.split(' ').nth(9)).is_some_and(|count| count != "0")
}

/// The primary keys in a listing `--with-colons` (gnupg's doc/DETAILS).
fn keys(listing: &str) -> Vec<Key> {
    let mut keys = Vec::new();
    let mut primary = None;
    for line in listing.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        match (fields[0], primary) {
            ("pub", _) => primary = fields.get(1).copied(),
            ("fpr", Some(validity)) => {
                let fingerprint = fields.get(9).copied().unwrap_or_default().to_owned();
                keys.push(Key { fingerprint, state: state(validity) });
                primary = None;
            }
            _ => {}
        }
    }
    keys
}

fn state(validity: &str) -> KeyState {
    match validity {
        "e" => KeyState::Expired,
        "r" => KeyState::Revoked,
        "i" | "d" => KeyState::Unusable,
        _ => KeyState::Valid,
    }
}

/// What gpg says of a commit's signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signature {
    /// By a key of the file that is valid now.
    Good,
    /// There is none of this kind.
    Missing,
    /// By a key that the file does not have.
    Stranger(String),
    /// By a key whose time is over.
    ExpiredKey(String),
    /// By a key that its owner took back.
    RevokedKey(String),
    /// Its own time is over.
    Expired(String),
    /// It is of something else.
    Bad(String),
    /// Made by a key that may not sign, in an unknown way, or more than one.
    Unclear,
}

impl fmt::Display for Signature {
    /// Nothing where there is nothing to say.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Good | Self::Missing => Ok(()),
            Self::Stranger(key) => write!(f, "it is signed by the OpenPGP key {key}"),
            Self::ExpiredKey(key) => write!(f, "the OpenPGP key {key} has expired"),
            Self::RevokedKey(key) => write!(f, "the OpenPGP key {key} was revoked"),
            Self::Expired(key) => write!(f, "the signature by the OpenPGP key {key} has expired"),
            Self::Bad(key) => write!(f, "the signature by the OpenPGP key {key} is not of this commit"),
            Self::Unclear => write!(f, "gpg does not accept its OpenPGP signature"),
        }
    }
}

/// Reads gpg's status lines (gnupg's doc/DETAILS). What a configuration of gpg elsewhere adds to the keys counts for
/// nothing: it must be a key of the file.
pub fn judge(status: &str, keys: &[Key]) -> Signature {
    let lines = status.lines().filter_map(|line| line.strip_prefix("[GNUPG:] "));
    let lines: Vec<Vec<&str>> = lines.map(|line| line.split(' ').collect()).collect();
    let is_verdict = |line: &&Vec<&str>| {
        ["GOODSIG", "BADSIG", "ERRSIG", "EXPSIG", "EXPKEYSIG", "REVKEYSIG"].contains(&line[0])
    };
    let verdicts: Vec<&Vec<&str>> = lines.iter().filter(is_verdict).collect();
    let key = |line: &[&str]| line.get(1).copied().unwrap_or("?").to_owned();
    match &verdicts[..] {
        [] if lines.is_empty() => Signature::Missing,
        [line] => match line[0] {
            "GOODSIG" if is_of(&lines, keys) => Signature::Good,
            "GOODSIG" => Signature::Stranger(key(line)),
            "BADSIG" => Signature::Bad(key(line)),
            "EXPSIG" => Signature::Expired(key(line)),
            "EXPKEYSIG" => Signature::ExpiredKey(key(line)),
            "REVKEYSIG" => Signature::RevokedKey(key(line)),
            _ if lines.iter().any(|line| line[0] == "NO_PUBKEY") => Signature::Stranger(key(line)),
            _ => Signature::Unclear,
        },
        _ => Signature::Unclear,
    }
}

/// `VALIDSIG` ends with the fingerprint of the primary key.
fn is_of(lines: &[Vec<&str>], keys: &[Key]) -> bool {
    let mut valid = lines.iter().filter(|line| line[0] == "VALIDSIG");
    match (valid.next().and_then(|line| line.get(10)), valid.next()) {
        (Some(primary), None) => keys.iter().any(|key| key.fingerprint == *primary),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: &str = "tru:t:0:0:0:0:0:0\npub:-:255:22:AA:17::::::scSC:::::ed25519:::0:\nfpr:::::::::AAAA:\nuid:-::::17::9::a <a@e.org>::::::::::0:\nsub:e:255:22:BB:17:18:::::s:::::ed25519::\nfpr:::::::::BBBB:\npub:r:255:22:CC:17::::::sc:::::ed25519:::0:\nfpr:::::::::CCCC:\npub:e:255:22:DD:17:18:::::sc:::::ed25519:::0:\nfpr:::::::::DDDD:\n";

    #[test]
    fn primary_keys_are_listed_with_what_became_of_them() {
        let found: Vec<String> =
            keys(LISTING).iter().map(|key| format!("{} {}", key.fingerprint, key.state)).collect();
        assert_eq!(found, ["AAAA valid", "CCCC revoked", "DDDD expired"]);
    }

    #[test]
    fn only_one_good_signature_by_a_key_of_the_file_counts() {
        let valid = "[GNUPG:] VALIDSIG BBBB 2026-11-28 17 0 4 0 22 8 00 AAAA\n";
        let good = format!("[GNUPG:] NEWSIG a@e.org\n[GNUPG:] GOODSIG AA a <a@e.org>\n{valid}");
        let of = |word: &str| good.replace("GOODSIG", word);
        let table = [
            (good.clone(), Signature::Good),
            (String::new(), Signature::Missing),
            ("error: gpg failed\n".to_owned(), Signature::Missing),
            (good.replace("AAAA", "EEEE"), Signature::Stranger("AA".into())),
            (good.replace(valid, ""), Signature::Stranger("AA".into())),
            (format!("{good}{valid}"), Signature::Stranger("AA".into())),
            (
                "[GNUPG:] ERRSIG EE 22 8 00 17 9 EEEE\n[GNUPG:] NO_PUBKEY EE".to_owned(),
                Signature::Stranger("EE".into()),
            ),
            ("[GNUPG:] ERRSIG AA 22 8 00 17 4 AAAA\n".to_owned(), Signature::Unclear),
            ("[GNUPG:] NODATA 4\n".to_owned(), Signature::Unclear),
            (of("BADSIG"), Signature::Bad("AA".into())),
            (of("EXPSIG"), Signature::Expired("AA".into())),
            (of("EXPKEYSIG"), Signature::ExpiredKey("AA".into())),
            (of("REVKEYSIG"), Signature::RevokedKey("AA".into())),
            (format!("{good}[GNUPG:] BADSIG AA a\n"), Signature::Unclear),
            (format!("{good}{good}"), Signature::Unclear),
        ];
        for (status, expected) in table {
            assert_eq!(judge(&status, &keys(LISTING)), expected, "{status}");
        }
    }

    #[test]
    fn secret_keys_are_counted() {
        let line =
            |count| format!("[GNUPG:] IMPORT_OK 1 A\n[GNUPG:] IMPORT_RES 1 0 1 0 0 0 0 0 0 {count} 0 0 0\n");
        assert!(!imported_secrets(&line(0)) && imported_secrets(&line(1)) && !imported_secrets(""));
    }
}
