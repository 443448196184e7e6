//! One file's values: showing, reading and changing them, in a work tree or on a branch that is not checked out.
//!
//! A change is made in the text: only the value's own characters are replaced, and the result is read again
//! and accepted only if nothing else changed. What was sealed is sealed again on the basis of its old form, so
//! that every other value keeps its ciphertext.

pub mod edit;
mod file;
pub mod get;
pub mod key;
pub mod place;
pub mod seal;
pub mod set;
mod text;
mod tree;
pub mod unset;

pub use file::File;
pub use key::Key;
pub use place::{Changed, Place};

use std::path::PathBuf;

use crate::{crypto, format, git, keys, policy, sops, trust};

/// Why a file's values could not be shown or changed. Names keys and places, never values.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// git.
    #[error(transparent)]
    Git(#[from] git::Error),
    /// It cannot be opened.
    #[error(transparent)]
    Keys(#[from] keys::Error),
    /// It cannot be sealed.
    #[error(transparent)]
    Sops(#[from] sops::Error),
    /// `.sops.yaml` is wrong.
    #[error("`.sops.yaml`: {0}")]
    Policy(#[from] policy::Error),
    /// It would be sealed for somebody, or by a rule, that was not accepted here.
    #[error(transparent)]
    Trust(#[from] trust::Error),
    /// The data key could not be wrapped.
    #[error(transparent)]
    Crypto(#[from] crypto::Error),
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// There is no such file.
    #[error("there is no such file")]
    Missing,
    /// Someone else changed the file since it was read.
    #[error("it changed meanwhile, and was left as it is")]
    ChangedMeanwhile,
    /// It is a directory, a link on a branch, or a submodule.
    #[error("it is {0}, not a file")]
    NoFile(&'static str),
    /// It should be sealed, but is not.
    #[error("it is not encrypted")]
    Clear,
    /// It is sealed already.
    #[error("it is encrypted already")]
    SealedAlready,
    /// There is no `.sops.yaml` to say for whom to seal.
    #[error("there is no `.sops.yaml` that says for whom to encrypt it")]
    NoConfig,
    /// The file on a branch is not protected: what is written there would be clear at once, and for ever.
    #[error("it is not protected on this branch, so that a change would be committed in clear")]
    Unprotected,
    /// The file has no keys.
    #[error("a {} file has no keys: it is one value as a whole", .0.name())]
    NoKeys(format::Format),
    /// The key is malformed.
    #[error(transparent)]
    BadKey(#[from] key::BadKey),
    /// The key leads nowhere.
    #[error("there is no `{key}`{}", nearest(.known))]
    NoSuchKey {
        /// The key as it was understood.
        key: String,
        /// The nearest keys that are there.
        known: Vec<String>,
    },
    /// The key leads to a collection.
    #[error("`{key}` is not one value{}", nearest(.known))]
    Collection {
        /// The key.
        key: String,
        /// Keys below it.
        known: Vec<String>,
    },
    /// The key leads to a copy that an alias makes.
    #[error("line {line}: `{key}` stands there by an alias only")]
    Copy {
        /// The key.
        key: String,
        /// Where the alias stands, counted from 1.
        line: usize,
    },
    /// The only entry of its collection.
    #[error(
        "line {line}: `{key}` is the only entry there: without it, its collection would be something else"
    )]
    Only {
        /// The key.
        key: String,
        /// Counted from 1.
        line: usize,
    },
    /// The text around the entry has a form in which it cannot be changed alone.
    #[error("line {line}: `{key}` stands in a form in which it cannot be changed alone")]
    Form {
        /// The key.
        key: String,
        /// Counted from 1.
        line: usize,
    },
    /// No variable can have this name.
    #[error("`{0}` is no name of a variable")]
    NoVariable(String),
    /// The value cannot be written in the file's format.
    #[error("line {line}: no spelling of this value reads back as the same value there")]
    Unspellable {
        /// Counted from 1.
        line: usize,
    },
    /// The value is not of the type that was asked for.
    #[error("the value is no {0}")]
    NotOfType(&'static str),
    /// The format knows only texts.
    #[error("dotenv and INI know no types: every value is a text")]
    OnlyText,
    /// The value is not text.
    #[error("the value is not text in UTF-8, which alone can stand there")]
    NotText,
}

impl From<format::Error> for Error {
    fn from(error: format::Error) -> Self {
        Self::Sops(error.into())
    }
}

impl Error {
    /// An I/O error with the file's name.
    fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}

fn nearest(known: &[String]) -> String {
    match known {
        [] => String::new(),
        known => format!("; there is `{}`", known.join("`, `")),
    }
}

/// The line of an offset, counted from 1.
fn line_of(text: &str, offset: usize) -> usize {
    text[..offset].matches('\n').count() + 1
}
