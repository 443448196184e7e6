//! Sealed files as a whole: the only place where formats and cryptography meet.
//!
//! [`Sealed::parse`] reads a sealed file, [`Sealed::open`] checks and opens it, [`seal()`] makes
//! one. Opening yields no byte before the MAC was checked: only [`Sealed::open`] can make an
//! [`Opened`].

mod anchors;
mod contents;
pub mod groups;
mod layout;
pub mod metadata;
mod open;
mod readers;
mod renew;
mod seal;
mod select;
mod stale;
mod view;
mod weaker;
mod whole;

pub use anchors::{ClearAnchor, clear_anchors};
pub use groups::KeyGroups;
pub use metadata::Metadata;
pub use open::{Opened, Sealed, is_sealed};
pub use seal::{Basis, Stamp, seal};
pub use select::check_selects;
pub use stale::{Difference, Form, Known, Stale};
pub use weaker::left_clear;

use crate::format;

/// Why a file could not be sealed or opened. Names places, never values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text cannot be read in its format.
    #[error(transparent)]
    Format(#[from] format::Error),
    /// The file is no text in UTF-8, so that only whole-file mode can seal it.
    #[error("it is not text in UTF-8")]
    NotText,
    /// The file is not sealed.
    #[error("it is not a sealed file")]
    NotSealed,
    /// The `sops` block is not what it should be.
    #[error("the `sops` block is broken: {0}")]
    Metadata(String),
    /// It has keys of another kind than age's, for which no new data key can be wrapped here.
    #[error(
        "it is sealed for a key of the kind `{0}` too, and hlx can wrap a new data key for age recipients only"
    )]
    Foreign(String),
    /// The file's own rule cannot be used.
    #[error(transparent)]
    Rule(#[from] crate::policy::Error),
    /// A value that should be sealed is clear.
    #[error("`{0}` should be sealed, but is not")]
    Clear(String),
    /// A value does not authenticate at its place.
    #[error("`{0}` was altered, or is sealed under another key")]
    Tampered(String),
    /// A value authenticates, but does not fit its type.
    #[error("`{0}` does not hold what its type says")]
    BadType(String),
    /// The MAC over all values does not fit.
    #[error("the MAC does not fit the values: something was added, removed, changed or moved")]
    Mac,
    /// What was opened cannot be written so that it reads back as the same values.
    #[error("the opened values cannot be written in the file's format")]
    Unspellable,
    /// A plaintext uses a name that SOPS keeps for itself.
    #[error("it uses a key that SOPS reserves for its metadata: `sops`, or `sops_…` in dotenv")]
    Reserved,
    /// A rule of the user's that selects nothing: everything would stay clear.
    #[error("the rule `{field}: {text}` matches no key, so that nothing would be encrypted")]
    NothingSelected {
        /// The rule's field.
        field: &'static str,
        /// The rule's text.
        text: String,
    },
    /// An alias in a part that stays clear names a value that is sealed where its anchor stands.
    #[error(
        "line {line}: the alias would show `{path}` in clear, which is encrypted where its anchor stands"
    )]
    SealedAlias {
        /// Where the alias stands, counted from 1.
        line: usize,
        /// The path of the value.
        path: String,
    },
    /// A clear number that some versions of sops read as another, so that its MAC would fit only for them.
    #[error("line {line}: sops before 3.13.2 reads the number at `{path}` as another one, as it stays clear")]
    ReadApart {
        /// Counted from 1.
        line: usize,
        /// The path of the number.
        path: String,
    },
    /// Sealing and opening again would not give the same bytes.
    #[error("line {line}: this spelling cannot be sealed so that it comes back byte for byte: {reason}")]
    NotRestorable {
        /// Counted from 1.
        line: usize,
        /// What is in the way.
        reason: String,
    },
}
