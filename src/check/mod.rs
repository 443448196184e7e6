//! What is wrong in a repository: plaintext where it must not be, broken files, readers nobody named,
//! compose files that will not do, and what looks like a secret.
//!
//! A file is examined once, however many branches have it (`examine`); what only shows between the
//! files of a branch is found in its tree (`tree`), and what shows between branches comes last
//! (`across`). The hooks of git ask the same questions of fewer files ([`guard`]).

mod across;
mod certain;
mod compose;
mod copies;
pub mod docker;
mod examine;
mod filled;
mod former;
mod granted;
pub mod guard;
mod history;
mod images;
pub mod place;
mod ports;
mod project;
mod rule;
mod secrets;
mod signed;
mod stacks;
mod tokens;
mod tree;
mod waiting;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use crate::git::branch::Entry;
use crate::git::{self, Protection, Repository};
use crate::keys::Keyring;
use crate::trust;

pub use examine::{ReadSettings, in_clear};
pub use history::history;
pub use place::{Place, Scope};
pub use rule::{Rule, Severity};
pub use stacks::StackSettings;

use examine::Examined;

/// Why a repository could not be checked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// git.
    #[error(transparent)]
    Git(#[from] git::Error),
    /// A branch that was named is neither here nor at a remote.
    #[error("there is no branch `{0}`, here or at a remote")]
    NoBranch(String),
    /// What this clone accepted.
    #[error(transparent)]
    Trust(#[from] trust::Error),
    /// Compose could not be asked.
    #[error("Docker Compose cannot be asked: {source}")]
    Compose {
        /// Why.
        source: std::io::Error,
    },
}

/// Something that is wrong, and where. Holds no value of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which rule found it.
    pub rule: Rule,
    /// The branch, or the commit.
    pub place: String,
    /// It is in the index only.
    pub staged: bool,
    /// The file.
    pub path: Option<String>,
    /// Counted from 1.
    pub line: Option<usize>,
    /// What is wrong.
    pub message: String,
}

/// The files of a tree, with the attributes that count for each.
type Protected = (Entry, git::Attributes);

/// How much is asked of each file.
#[derive(Debug, Clone, Copy)]
pub enum Depth {
    /// What a hook refuses.
    Guard,
    /// Everything. The function reads the `x-hlx` of a compose file.
    Full(ReadSettings),
}

/// How far back is looked for files that were encrypted once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Through the last commits.
    Recent,
    /// Through all of them.
    All,
}

/// A file by its blob and path, and whether it must be sealed.
type FileKey = (String, Vec<u8>, bool);
/// The `.gitattributes` of a tree, by blob and path.
type SourcesKey = Vec<(String, Vec<u8>)>;

/// A repository being checked, and what is known of it already.
pub struct Checker<'a> {
    repository: &'a Repository,
    keyring: &'a Keyring,
    depth: Depth,
    examined: RefCell<HashMap<FileKey, Rc<Examined>>>,
    protections: RefCell<HashMap<SourcesKey, Rc<Protection>>>,
    kept: RefCell<copies::Known>,
    /// A partial clone's remote could not be asked.
    cut_off: Cell<bool>,
    /// Whether blobs are sealed.
    sealed: RefCell<HashMap<String, bool>>,
}

impl std::fmt::Debug for Checker<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checker").finish_non_exhaustive()
    }
}

impl<'a> Checker<'a> {
    /// A checker of a repository.
    pub fn new(repository: &'a Repository, keyring: &'a Keyring, depth: Depth) -> Self {
        Self {
            repository,
            keyring,
            depth,
            examined: RefCell::default(),
            protections: RefCell::default(),
            kept: RefCell::default(),
            cut_off: Cell::default(),
            sealed: RefCell::default(),
        }
    }

    /// Everything that is wrong in these places, in their order.
    pub fn check(&self, places: &[Place], reach: Reach) -> Result<Vec<Finding>, Error> {
        let mut findings = Vec::new();
        let mut trees = Vec::new();
        let past = former::Past::of(self, places, reach)?;
        for place in places {
            let mut tree = tree::read(self, place)?;
            tree.look_back(self, &past)?;
            for finding in tree.findings() {
                // What the branch has is not said again of the index.
                let known = |other: &Finding| Finding { staged: other.staged, ..finding.clone() } == *other;
                if !(place.is_index() && findings.iter().any(known)) {
                    findings.push(finding);
                }
            }
            trees.push(tree);
        }
        findings.extend(waiting::find(self, places)?);
        findings.extend(across::find(self, &trees)?);
        Ok(findings)
    }

    /// Whether a file or folder of this path was met.
    pub fn has_met(&self, path: &str) -> bool {
        let met = |known: &[u8]| {
            let rest = known.strip_prefix(path.as_bytes());
            path.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
        };
        self.examined.borrow().keys().any(|(_, known, _)| met(known))
    }

    /// A blob, which git fetches where a partial clone does not have it; `None` if it cannot. Hooks must know all.
    fn content(&self, blob: &str) -> Result<Option<Vec<u8>>, git::Error> {
        let may_lack = matches!(self.depth, Depth::Full(_)) && self.repository.is_partial();
        if may_lack && self.cut_off.get() {
            return Ok(self.repository.blob_here(blob));
        }
        match self.repository.blob_named(blob) {
            Err(_) if may_lack => {
                // Asking again for each file would only take time.
                self.cut_off.set(true);
                Ok(None)
            }
            read => read.map(Some),
        }
    }

    /// The files of a commit.
    fn files(&self, commit: &str) -> Result<Vec<Protected>, Error> {
        let mut files = self.repository.files(commit)?;
        files.retain(Entry::is_file);
        let protection = self.protection(&files)?;
        let attributes = files.iter().map(|file| protection.of(&file.path)).collect::<Vec<_>>();
        Ok(files.into_iter().zip(attributes).collect())
    }

    /// What the `.gitattributes` among these files say.
    fn protection(&self, files: &[Entry]) -> Result<Rc<Protection>, Error> {
        let sources = Protection::sources(files);
        let key: Vec<_> = sources.iter().map(|file| (file.blob.clone(), file.path.clone())).collect();
        if let Some(known) = self.protections.borrow().get(&key) {
            return Ok(Rc::clone(known));
        }
        let read = |file: &&Entry| Ok((file.path.clone(), self.content(&file.blob)?.unwrap_or_default()));
        let read = sources.iter().map(read).collect::<Result<Vec<_>, git::Error>>()?;
        let read = Protection::read(read.iter().map(|(path, content)| (path.as_slice(), content.as_slice())));
        let read = Rc::new(read);
        self.protections.borrow_mut().insert(key, Rc::clone(&read));
        Ok(read)
    }
}
