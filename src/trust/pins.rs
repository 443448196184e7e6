//! What was accepted for a branch: its rules, and who may read which of its files.
//!
//! A file per branch under `<git common dir>/hlx/trust/`. Nothing in it is secret.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use sha2::{Digest as _, Sha256};

use crate::git::{Protection, Repository};
use crate::policy::Rule;
use crate::policy::creation::Config;
use crate::sys::{disk, replace};

use super::readers::{Readers, named_for};

/// What was accepted for a branch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pin {
    /// Its `.sops.yaml`; empty if it has none.
    pub(super) config: String,
    /// All who may read it.
    pub(super) readers: Readers,
    /// Whoever may read a file that the rules do not name for it, by its path.
    #[serde(default)]
    pub(super) sealed: BTreeMap<String, Readers>,
    /// A `.sops.yaml` of the owner's own by which files were sealed before it was committed; empty if there is none.
    #[serde(default)]
    pub(super) draft: String,
    /// The rules of files, by their paths: their fields and texts.
    #[serde(default)]
    pub(super) rules: BTreeMap<String, (String, String)>,
    /// Its `.gitattributes`, by their paths.
    #[serde(default)]
    pub(super) attributes: BTreeMap<String, String>,
    /// Its files were sealed, and nobody here could open one.
    #[serde(default)]
    pub(super) unopened: bool,
}

/// The rules that were accepted.
#[derive(Debug)]
pub(super) struct Rules {
    config: Option<Config>,
    draft: Option<Config>,
    files: BTreeMap<String, (String, String)>,
    sealed: BTreeMap<String, Readers>,
}

impl Pin {
    /// Its rules.
    pub(super) fn rules(&self) -> Rules {
        Rules {
            config: Config::parse(&self.config).ok(),
            draft: Config::parse(&self.draft).ok().filter(|_| !self.draft.is_empty()),
            files: self.rules.clone(),
            sealed: self.sealed.clone(),
        }
    }

    /// The same without what its rules say already.
    fn brief(&self) -> Self {
        let rules = Rules { sealed: BTreeMap::new(), draft: None, ..self.rules() };
        let mut brief = self.clone();
        brief.sealed.retain(|path, readers| !readers.is_subset(&rules.readers(path)));
        brief
    }

    /// What its attributes say of paths.
    pub(super) fn protection(&self) -> Protection {
        let mut sources: Vec<_> = self.attributes.iter().collect();
        sources.sort_by_key(|(path, _)| path.matches('/').count());
        Protection::read(sources.into_iter().map(|(path, text)| (path.as_bytes(), text.as_bytes())))
    }
}

impl Rules {
    /// Whoever may read the file at a path.
    pub(super) fn readers(&self, path: &str) -> Readers {
        let mut readers = self.sealed.get(path).cloned().unwrap_or_default();
        for config in self.config.iter().chain(&self.draft) {
            readers.extend(named_for(config, path));
        }
        readers
    }

    /// The rule that a file is to be sealed by: where none was accepted, the one that seals most.
    pub(super) fn of(&self, path: &str) -> Rule {
        let config = self.config.as_ref().and_then(|config| config.terms(path).ok());
        let own = || {
            let (field, text) = self.files.get(path)?;
            Rule::from_fields(|name| (name == field).then_some(text.as_str())).ok()
        };
        let rule = config.map(|terms| terms.rule.clone()).or_else(own);
        rule.unwrap_or_else(|| Rule::from_fields(|_| None).expect("the default is a rule"))
    }
}

/// The longest name of a file that all file systems take, and some room.
const LONGEST: usize = 200;

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
    pub(super) fn everyone(&self) -> io::Result<Readers> {
        let mut all = Readers::new();
        for entry in fs::read_dir(&self.directory)? {
            let pin: Option<Pin> = serde_json::from_slice(&fs::read(entry?.path())?).ok();
            all.extend(pin.unwrap_or_default().readers);
        }
        Ok(all)
    }

    /// Accepts for a branch.
    pub(super) fn write(&self, branch: &str, pin: &Pin) -> io::Result<()> {
        disk::private_dir(&self.directory)?;
        let (file, text) = (self.file(branch), serde_json::to_vec(&pin.brief())?);
        match replace::content(&file, &text) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => disk::private_file(&file, &text),
            done => done,
        }
    }

    /// Accepts for many branches, in a clone that has no pins yet: all of them or none.
    pub(super) fn write_all(&self, pins: &BTreeMap<String, Pin>) -> io::Result<()> {
        let fresh = Self { directory: self.directory.with_extension(format!("new-{}", std::process::id())) };
        disk::private_dir(&fresh.directory)?;
        for (branch, pin) in pins {
            fs::write(fresh.file(branch), serde_json::to_vec(&pin.brief())?)?;
        }
        match fs::rename(&fresh.directory, &self.directory) {
            // Another process was first.
            Err(_) if self.exist() => fs::remove_dir_all(&fresh.directory),
            done => done,
        }
    }

    /// Takes back all that was accepted for a branch.
    pub(super) fn remove(&self, branch: &str) -> io::Result<()> {
        match fs::remove_file(self.file(branch)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn file(&self, branch: &str) -> PathBuf {
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
        let spell =
            |byte: u8| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
        let mut name: String = branch.bytes().map(spell).collect();
        if name.len() > LONGEST {
            // `%` stands in no other name but before two digits.
            let hash: String = Sha256::digest(branch).iter().map(|byte| format!("{byte:02x}")).collect();
            name = format!("%-{hash}");
        }
        self.directory.join(name + ".json")
    }
}
