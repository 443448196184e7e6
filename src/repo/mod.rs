//! What an owner does in a clone: set it up, add services, protect files, see who reads what.

pub mod config;
pub mod conflict;
mod draft;
pub mod exposure;
pub mod forget;
pub mod hooks;
pub mod index;
pub mod init;
pub mod lock;
pub mod new;
pub mod recipients;
pub mod reseal;
pub mod rollback;
pub mod rotate;
pub mod status;
pub mod track;
pub mod uninstall;
pub mod unlock;
pub mod untrack;

use std::path::PathBuf;

use crate::{crypto, git, keys, policy, sops, trust};

/// Why a repository command failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// git.
    #[error(transparent)]
    Git(#[from] git::Error),
    /// A sealed file cannot be opened.
    #[error("{path}: {source}")]
    Keys {
        /// The branch and file.
        path: String,
        /// Why.
        source: keys::Error,
    },
    /// A file cannot be sealed.
    #[error("{path}: {source}")]
    Sops {
        /// The file.
        path: String,
        /// Why.
        source: sops::Error,
    },
    /// `.sops.yaml` is wrong.
    #[error("{place}: {source}")]
    Policy {
        /// The file, with its branch where it is not the work tree's.
        place: String,
        /// What is wrong.
        source: policy::Error,
    },
    /// Something of others' is not accepted here, or the record of it is out of reach.
    #[error(transparent)]
    Trust(#[from] trust::Error),
    /// A recipient is wrong.
    #[error(transparent)]
    Crypto(#[from] crypto::Error),
    /// The name cannot be a service's.
    #[error(
        "`{0}` is no name for a service: use letters, digits, `-` and `_`, and begin with a letter or digit"
    )]
    BadName(String),
    /// No file system takes it.
    #[error("a name of {0} letters is too long for a branch: 250 at most")]
    LongName(usize),
    /// `main` is the landing page.
    #[error("`{0}` is the landing page of the repository, not a service")]
    Landing(String),
    /// The branch is there.
    #[error("the branch `{0}` exists already")]
    Exists(String),
    /// A remote has the branch, and this clone has not.
    #[error("the branch `{name}` exists already, at {}", remotes.join(" and "))]
    Remote {
        /// The branch.
        name: String,
        /// The remotes that have it.
        remotes: Vec<String>,
    },
    /// git would take the name for something else.
    #[error("git takes `{0}` for something else than a branch")]
    Ambiguous(String),
    /// Nobody is named to read the secrets.
    #[error("nobody is named who may read the secrets")]
    NoRecipients,
    /// There are several key groups, and it was not said which one is meant, or there is none of that number.
    #[error("there are {groups} key groups, and a new reader must stand in one of them")]
    WhichGroup {
        /// How many.
        groups: usize,
    },
    /// Nobody at hand has the share of the group that a new reader shall share.
    #[error("{path}: no key of yours is in key group {group}, so that its share cannot be passed on")]
    NotInGroup {
        /// The branch and file.
        path: String,
        /// Counted from 1.
        group: usize,
    },
    /// The same on a branch that is not the one checked out.
    #[error("{branch}: {source}")]
    OnBranch {
        /// The branch.
        branch: String,
        /// What went wrong.
        source: Box<Error>,
    },
    /// Nobody would be left who can read it.
    #[error("{0}: nobody would be left who can read it")]
    LastReader(String),
    /// Branches of remotes have commits that the local ones lack.
    #[error("a remote has commits that these branches lack: {}", .0.join(", "))]
    Behind(Vec<String>),
    /// The branches changed here, but a remote did not take them.
    #[error("the branches are changed here, but not at {remote}: {source}")]
    NotPushed {
        /// The remote.
        remote: String,
        /// What git said.
        source: git::Error,
    },
    /// A rebase will move the branch when it ends.
    #[error("`{branch}` is being rebased, in {}", work.display())]
    Rebased {
        /// The branch.
        branch: String,
        /// The directory of the rebase.
        work: PathBuf,
    },
    /// `.sops.yaml` has a form that cannot be extended safely.
    #[error("{0}: the list of recipients has a form that hlx does not edit")]
    Uneditable(String),
    /// `.sops.yaml` has a rule for just this path, in a form that is not edited.
    #[error("`{path}`: `.sops.yaml` has another rule for it, in a form that hlx does not edit")]
    Rule {
        /// The path.
        path: String,
        /// The lines that the rule should have.
        lines: String,
    },
    /// Locking would lose what these files hold.
    #[error("{} files would lose what git does not have", .0.len())]
    Unsaved(Vec<lock::Unsaved>),
    /// The path has no business in a protected list.
    #[error("`{path}`: {reason}")]
    BadPath {
        /// The path.
        path: String,
        /// Why.
        reason: String,
    },
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl Error {
    /// An I/O error with the file's name.
    pub fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}
