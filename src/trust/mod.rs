//! What this clone trusts: data keys that it made or accepted, and who may read which branch by which rules.
//!
//! On first use, what is there; later, what the owner does here, and what the owner accepts of what others push.

mod accepted;
mod clone_key;
mod compare;
mod first;
mod guard;
mod marks;
mod pending;
mod pins;
mod readers;
mod replaced;
pub mod untracked;

pub use clone_key::CloneKey;
pub use first::{begin, open};
pub use guard::{At, File, Guard};
pub use marks::Marks;
pub use pending::{
    Before, Brought, Pending, accept, adopt_made, adopt_merged, adopt_staged, pending, protection,
    require_settled, waiting,
};
pub use readers::{Readers, of_audience, of_groups};

use crate::crypto;
use crate::git::{self, Repository};

/// The file with the creation rules.
const CONFIG: &str = ".sops.yaml";

/// The files with the attributes.
const ATTRIBUTES: &str = ".gitattributes";

/// Why something is not trusted, or could not be told.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Readers that were brought by a commit and not accepted.
    #[error("by a commit to `{branch}` that you have not accepted, {} could read it too", list(.readers))]
    Strangers {
        /// The branch.
        branch: String,
        /// Their keys.
        readers: Vec<String>,
    },
    /// A value stays clear by a rule that a commit brought.
    #[error(
        "`{leaf}` would stay in clear by the rule `{rule}`, which is weaker than the one that you accepted for `{branch}`"
    )]
    WeakerRule {
        /// The path of the value.
        leaf: String,
        /// The rule.
        rule: String,
        /// The branch.
        branch: String,
    },
    /// The data key is nobody's here, and others than age keys would lose the file with another.
    #[error(
        "its data key comes from elsewhere, and keys of other kinds than age read it, for whom hlx cannot wrap another"
    )]
    OtherKinds,
    /// Something of others' waits to be accepted.
    #[error("you have not accepted changes of who reads what, or how, on {}", quoted(.0))]
    Pending(Vec<String>),
    /// The clone's record could not be read or written.
    #[error("what this clone trusts cannot be read or kept in its git directory: {0}")]
    Record(std::io::Error),
    /// A data key could not be wrapped.
    #[error(transparent)]
    Crypto(#[from] crypto::Error),
    /// git.
    #[error(transparent)]
    Git(#[from] git::Error),
}

fn quoted(branches: &[String]) -> String {
    branches.iter().map(|branch| format!("`{branch}`")).collect::<Vec<_>>().join(", ")
}

/// The branch that a name in `refs/remotes/` stands for. Where the remote is gone, its first folder counts for one: what
/// stands there came from others all the same.
fn of_remote<'n>(repository: &Repository, name: &'n str) -> Option<&'n str> {
    repository.of_remote(name).or_else(|| name.split_once('/')).map(|(_, branch)| branch)
}

fn list(readers: &[String]) -> String {
    let short = |text: &String| {
        text.parse::<crypto::envelope::Recipient>().map_or_else(|_| text.clone(), |key| key.short())
    };
    readers.iter().map(short).collect::<Vec<_>>().join(", ")
}
