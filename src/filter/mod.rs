//! What git runs on every file of a protected path: clean on the way in, smudge on the way out.
//!
//! The promises (`ARCHITECTURE.md`): what was not changed is sealed to the very same bytes;
//! clean never lets plaintext through; smudge never fails, and leaves sealed what it cannot open.

pub mod ahead;
mod apart;
pub mod clean;
mod leaves;
mod lines;
mod memory;
pub mod merge;
pub mod process;
mod repeat;
mod resolved;
pub mod smudge;
pub mod textconv;
pub mod unite;
pub mod united;

use crate::{git, keys, policy, sops, trust};

/// Why a file could not be cleaned.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Sealing failed; also a sealed file that is not authentic.
    #[error(transparent)]
    Sops(#[from] sops::Error),
    /// The version that git has cannot be opened, so that a change cannot be sealed on its basis.
    #[error(transparent)]
    Keys(#[from] keys::Error),
    /// `.sops.yaml` is missing or wrong.
    #[error("`.sops.yaml`: {0}")]
    Policy(#[from] policy::Error),
    /// There is no `.sops.yaml` to say for whom to seal.
    #[error("there is no `.sops.yaml` that says for whom to encrypt it")]
    NoConfig,
    /// The file was sealed before, and no key at hand opens that version: changed or only touched,
    /// nobody can tell.
    #[error("hlx cannot tell whether it changed, since no key of yours opens the version that git has")]
    LockedEdit,
    /// A new value that the file's own rule leaves clear, and that of `.sops.yaml` would not.
    #[error(
        "`{leaf}` would stay in clear by the file's own rule `{rule}`, which is weaker than that of `.sops.yaml`"
    )]
    WeakerRule {
        /// The path of the value.
        leaf: String,
        /// The rule in the file.
        rule: String,
    },
    /// It would be sealed for somebody, or by a rule, that was not accepted here.
    #[error(transparent)]
    Trust(#[from] trust::Error),
    /// A file that must be readable without a key.
    #[error("git, sops and hlx must be able to read it without a key")]
    MustBeClear,
    /// An attribute would corrupt the ciphertext.
    #[error("the attribute `{0}` would change the file on its way: it must be off")]
    Conversion(&'static str),
    /// It is in conflict, and what its sides say of how it is sealed cannot be united.
    #[error("it is in conflict, and cannot be encrypted as both sides are: {0}")]
    Resolution(#[source] united::Error),
    /// The data key could not be wrapped.
    #[error(transparent)]
    Crypto(#[from] crate::crypto::Error),
    /// git could not be read.
    #[error(transparent)]
    Git(#[from] git::Error),
    /// The record of what was sealed here could not be kept.
    #[error("cannot keep a record of it in the git directory: {0}")]
    Record(std::io::Error),
}

/// How a time is written, that of a change or else now: `YYYY-MM-DDThh:mm:ssZ`.
pub type Clock<'a> = &'a dyn Fn(Option<std::time::SystemTime>) -> String;
