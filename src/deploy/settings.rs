//! The server's own configuration: what decides over power, and so stands in root's file only.

use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde_yaml::Value;

use super::deny::{self, Deny};
use super::service::nearest;
use super::verify::{Signers, Verify};

/// Every key of the file.
const KEYS: [&str; 6] = ["repo", "host", "stacks", "projects", "verify", "deny"];

/// What `/etc/hlx/config.yaml` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// Where the stacks come from.
    pub repo: Option<String>,
    /// The name of this host.
    pub host: Option<String>,
    /// The stacks that may run here; `None` for any.
    pub stacks: Option<Vec<String>>,
    /// Where project directories are.
    pub projects: Option<PathBuf>,
    /// What no commit may ask for.
    pub deny: Deny,
    /// Who must have signed what is deployed.
    pub verify: Option<Verify>,
}

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Someone but root could write it.
    #[error("{0} is not root's alone: it decides what runs as root")]
    Writable(PathBuf),
    /// It is not valid YAML, or no mapping.
    #[error("{path}: {why}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        why: String,
    },
    /// A key that no version has.
    #[error("{path}: there is no setting `{key}`")]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// What may have been meant.
        nearest: Option<&'static str>,
    },
    /// `deny` cannot be read.
    #[error("{path}: {bad}")]
    Deny {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        bad: deny::Bad,
    },
    /// Signatures are asked for, whatever the branch.
    #[error("{0}: `verify` takes `stacks` besides: a signature does not say for which branch it is")]
    AnyBranch(PathBuf),
    /// A value of the wrong kind.
    #[error("{path}: `{key}` must be {wanted}")]
    Value {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// What it must be.
        wanted: &'static str,
    },
}

impl Settings {
    /// Reads the file, which must be root's, or one's own; none is as good as an empty one.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Read { path: path.to_owned(), source };
        let mut file = match std::fs::OpenOptions::new().read(true).custom_flags(NONBLOCK).open(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            other => other.map_err(failed)?,
        };
        let meta = file.metadata().map_err(failed)?;
        let is_own = meta.uid() == 0 || meta.uid() == rustix::process::geteuid().as_raw();
        if !is_own || meta.mode() & 0o022 != 0 {
            return Err(Error::Writable(path.to_owned()));
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(failed)?;
        Self::parse(&text, path)
    }

    /// Reads the text of such a file.
    pub fn parse(text: &str, path: &Path) -> Result<Self, Error> {
        let syntax = |why: String| Error::Syntax { path: path.to_owned(), why };
        let value: Value = serde_yaml::from_str(text).map_err(|error| syntax(error.to_string()))?;
        let mapping = match value {
            Value::Null => return Ok(Self::default()),
            Value::Mapping(mapping) => mapping,
            _ => return Err(syntax("it must be a mapping".into())),
        };
        let mut settings = Self::default();
        for (key, value) in mapping {
            settings.set(key.as_str().unwrap_or("?"), value, path)?;
        }
        // Whoever can push could make a branch of a name that nobody thought of, out of a commit
        // that was signed for another.
        match settings.verify.is_some() && settings.stacks.is_none() {
            true => Err(Error::AnyBranch(path.to_owned())),
            false => Ok(settings),
        }
    }

    fn set(&mut self, key: &str, value: Value, path: &Path) -> Result<(), Error> {
        let wrong = |key, wanted| Error::Value { path: path.to_owned(), key, wanted };
        let text = |value: Value, key| match value {
            Value::String(text) if !text.is_empty() => Ok(text),
            _ => Err(wrong(key, "a text")),
        };
        match key {
            "repo" => self.repo = Some(text(value, "repo")?),
            "host" => self.host = Some(text(value, "host")?),
            "projects" => self.projects = Some(absolute(value).ok_or(wrong("projects", "an absolute path"))?),
            "stacks" => self.stacks = Some(names(value).ok_or(wrong("stacks", "a list of names"))?),
            "deny" => {
                let bad = |bad| Error::Deny { path: path.to_owned(), bad };
                self.deny = Deny::parse(&value).map_err(bad)?;
            }
            "verify" => self.verify = Some(verify(&value, path)?),
            _ => return Err(unknown(key, &KEYS, path)),
        }
        Ok(())
    }
}

/// `O_NONBLOCK`: a pipe in the file's place must not hold us.
const NONBLOCK: i32 = rustix::fs::OFlags::NONBLOCK.bits() as i32;

fn unknown(key: &str, known: &[&'static str], path: &Path) -> Error {
    Error::UnknownKey { path: path.to_owned(), key: key.to_owned(), nearest: nearest(key, known) }
}

/// `{allowed_signers: FILE, openpgp_keys: FILE}`, or one of the two.
fn verify(value: &Value, path: &Path) -> Result<Verify, Error> {
    const KEYS: [&str; 2] = ["allowed_signers", "openpgp_keys"];
    let wanted = "`{allowed_signers: FILE}`, `{openpgp_keys: FILE}` or both, with absolute paths";
    let wrong = || Error::Value { path: path.to_owned(), key: "verify", wanted };
    let Value::Mapping(mapping) = value else { return Err(wrong()) };
    let mut lists = Vec::new();
    for (key, file) in mapping {
        let file = absolute(file.clone()).ok_or_else(wrong);
        lists.push(match key.as_str().unwrap_or("?") {
            "allowed_signers" => Signers::Ssh(file?),
            "openpgp_keys" => Signers::OpenPgp(file?),
            other => return Err(unknown(other, &KEYS, path)),
        });
    }
    match lists.is_empty() {
        true => Err(wrong()),
        false => Ok(Verify(lists)),
    }
}

fn absolute(value: Value) -> Option<PathBuf> {
    value.as_str().map(PathBuf::from).filter(|path| path.is_absolute())
}

fn names(value: Value) -> Option<Vec<String>> {
    let Value::Sequence(items) = value else { return None };
    items.into_iter().map(|item| item.as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Settings, String> {
        Settings::parse(text, Path::new("c.yaml")).map_err(|error| error.to_string())
    }

    #[test]
    fn every_supported_key_is_read() {
        let settings =
            parse("repo: git@h:me/lab.git\nhost: nas\nstacks: [a, b]\nprojects: /srv/s\n").unwrap();
        assert_eq!(settings.repo.as_deref(), Some("git@h:me/lab.git"));
        assert_eq!(settings.host.as_deref(), Some("nas"));
        assert_eq!(settings.stacks, Some(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(settings.projects, Some("/srv/s".into()));
        let settings =
            parse("deny: [setup]\nverify: {allowed_signers: /etc/hlx/signers}\nstacks: [a]\n").unwrap();
        assert!(settings.deny.has(deny::Power::Setup) && !settings.deny.has(deny::Power::Privileged));
        assert_eq!(settings.verify, Some(Verify(vec![Signers::Ssh("/etc/hlx/signers".into())])));
        let both = parse("verify: {openpgp_keys: /k, allowed_signers: /s}\nstacks: [a]\n").unwrap().verify;
        assert_eq!(both, Some(Verify(vec![Signers::OpenPgp("/k".into()), Signers::Ssh("/s".into())])));
        assert_eq!(parse("# nothing\n"), Ok(Settings::default()));
    }

    #[test]
    fn what_cannot_be_obeyed_is_refused() {
        const FILES: &str = "c.yaml: `verify` must be `{allowed_signers: FILE}`, `{openpgp_keys: FILE}` or both, with absolute paths";
        let table = [
            ("deny: [sockets]", "c.yaml: `deny` has no `sockets`"),
            ("verify: {}", FILES),
            ("verify: /x", FILES),
            ("verify: {allowed_signers: x}", FILES),
            ("verify: {allowed_signers: /x, openpgp_keys: x}", FILES),
            (
                "verify: {allowed_signers: /x}",
                "c.yaml: `verify` takes `stacks` besides: a signature does not say for which branch it is",
            ),
            ("verify: {allowed_signer: /x}", "c.yaml: there is no setting `allowed_signer`"),
            ("stack: [a]", "c.yaml: there is no setting `stack`"),
            ("projects: srv", "c.yaml: `projects` must be an absolute path"),
            ("stacks: a", "c.yaml: `stacks` must be a list of names"),
            ("[a]", "c.yaml: it must be a mapping"),
        ];
        for (text, message) in table {
            assert_eq!(parse(text), Err(message.to_owned()));
        }
    }

    #[test]
    fn a_file_that_others_may_write_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o666)).unwrap();
        assert!(matches!(Settings::read(file.path()), Err(Error::Writable(_))));
    }
}
