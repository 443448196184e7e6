//! What was accepted for a branch: its readers and its rules.
//!
//! A file per branch under `<git common dir>/hlx/trust/`. Nothing in it is secret.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::crypto::envelope::Recipient;
use crate::git::Repository;
use crate::policy::Rule;
use crate::policy::creation::Config;
use crate::sys::{disk, replace};

/// What was accepted for a branch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pin {
    /// Its `.sops.yaml`; empty if it has none.
    pub config: String,
    /// All who may read it.
    pub readers: BTreeSet<String>,
}

impl Pin {
    /// The rule that a file at a path was to be sealed by.
    pub(super) fn rule(&self, path: &str) -> Option<Rule> {
        Some(Config::parse(&self.config).ok()?.terms(path).ok()?.rule.clone())
    }
}

/// A reader's key as it is compared, without comment.
pub(super) fn canonical(reader: &str) -> String {
    reader.parse::<Recipient>().map_or_else(|_| reader.to_owned(), |recipient| recipient.to_string())
}

/// Everyone whom a `.sops.yaml` names; nobody if it is broken.
pub(super) fn named_in(config: &str) -> BTreeSet<String> {
    let parsed = Config::parse(config);
    parsed.map(|config| config.recipients().iter().map(ToString::to_string).collect()).unwrap_or_default()
}

/// The pins of a clone.
#[derive(Debug)]
pub(super) struct Pins {
    directory: PathBuf,
}

impl Pins {
    /// Those of a repository.
    pub(super) fn of(repository: &Repository) -> Self {
        Self { directory: repository.common_dir().join("hlx").join("trust") }
    }

    /// True once the clone has pins, be it of no branch.
    pub(super) fn exist(&self) -> bool {
        self.directory.is_dir()
    }

    /// What was accepted for a branch; `None` if nothing was yet.
    pub(super) fn read(&self, branch: &str) -> io::Result<Option<Pin>> {
        match fs::read(self.file(branch)) {
            Ok(text) => serde_json::from_slice(&text).map(Some).map_err(io::Error::from),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Everyone who is accepted on any branch.
    pub(super) fn everyone(&self) -> io::Result<BTreeSet<String>> {
        let mut all = BTreeSet::new();
        for entry in fs::read_dir(&self.directory)? {
            let pin: Option<Pin> = serde_json::from_slice(&fs::read(entry?.path())?).ok();
            all.extend(pin.unwrap_or_default().readers);
        }
        Ok(all)
    }

    /// Accepts for a branch.
    pub(super) fn write(&self, branch: &str, pin: &Pin) -> io::Result<()> {
        fs::create_dir_all(&self.directory)?;
        let (file, text) = (self.file(branch), serde_json::to_vec(pin)?);
        match replace::content(&file, &text) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => disk::private_file(&file, &text),
            done => done,
        }
    }

    /// Accepts for many branches, in a clone that has no pins yet: all of them or none.
    pub(super) fn write_all(&self, pins: &BTreeMap<String, Pin>) -> io::Result<()> {
        let fresh = Self { directory: self.directory.with_extension(format!("new-{}", std::process::id())) };
        fs::create_dir_all(&fresh.directory)?;
        for (branch, pin) in pins {
            fs::write(fresh.file(branch), serde_json::to_vec(pin)?)?;
        }
        match fs::rename(&fresh.directory, &self.directory) {
            // Another process was first.
            Err(_) if self.exist() => fs::remove_dir_all(&fresh.directory),
            done => done,
        }
    }

    fn file(&self, branch: &str) -> PathBuf {
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
        let spell =
            |byte: u8| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
        self.directory.join(branch.bytes().map(spell).collect::<String>() + ".json")
    }
}
