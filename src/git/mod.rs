//! git: reading objects through gix, and everything else through the `git` program itself.

pub mod attributes;
pub mod branch;
pub mod command;
pub mod config;
pub mod family;
pub mod follow;
pub mod history;
mod locks;
mod loose;
pub mod moves;
mod objects;
pub mod pack;
pub mod pktline;
pub mod repository;
pub mod tree;
pub mod versions;

pub use attributes::Protection;
pub use command::Git;
pub use objects::Tip;
pub use repository::{Attributes, Repository};

use std::path::{Path, PathBuf};

/// Why git could not be asked, or what it answered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no repository here.
    #[error("{0} is not in a git repository")]
    NoRepository(PathBuf),
    /// The repository has no work tree.
    #[error("this repository has no work tree")]
    Bare,
    /// The `git` program cannot be started.
    #[error("git cannot be started: {0}")]
    NoGit(std::io::Error),
    /// A git command failed; its own words.
    #[error("`git {command}` failed: {message}")]
    Failed {
        /// The subcommand.
        command: String,
        /// What git wrote to stderr.
        message: String,
    },
    /// An object, index or ref could not be read.
    #[error("cannot read {what} of the repository: {reason}")]
    Unreadable {
        /// What was to be read.
        what: &'static str,
        /// Why it could not.
        reason: String,
    },
    /// A branch that must exist does not.
    #[error("there is no branch `{0}`")]
    NoBranch(String),
    /// The branch was moved by someone else meanwhile, or exists already.
    #[error("the branch `{0}` changed meanwhile")]
    Moved(String),
    /// Files that a branch's checkout holds have changes that are not committed.
    #[error("`{path}` has changes that are not committed, in the work tree at {tree}")]
    Dirty {
        /// The file.
        path: String,
        /// The work tree.
        tree: PathBuf,
    },
    /// Another hlx moves branches, and does not come to an end.
    #[error("another hlx moves branches of this repository, and holds {0}")]
    Busy(PathBuf),
    /// A lock that may be another git's stands in the way.
    #[error("{0} is there, and a git that may hold it is at work in this repository")]
    Locked(PathBuf),
    /// The journal of an interrupted move of branches cannot be read.
    #[error("{0} is no journal that this version of hlx reads")]
    Journal(PathBuf),
    /// A file of hlx's own could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// What git answered has an unexpected form.
    #[error("git answered `{0}` in an unexpected form")]
    Unexpected(&'static str),
}

impl Error {
    /// A file of hlx's own could not be read or written.
    fn file(path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Self::File { path, source }
    }
}
