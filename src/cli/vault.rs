//! `hlx vault-init`: the first process of a deploy's private namespaces. For hlx itself.

use std::io;

use clap::Args;

use super::{Exit, Failure};
use crate::deploy::guard;

/// Guard a vault (hlx runs this itself).
#[derive(Debug, Args)]
pub struct VaultArgs {
    /// The process that must live as long as the vault; without it, be the first process of the namespace.
    #[arg(long)]
    parent: Option<u32>,
}

/// Runs until standard input ends.
pub(super) fn run(args: &VaultArgs) -> Result<(), Failure> {
    let ended = match args.parent {
        Some(parent) => guard::outer(parent),
        None => guard::inner(io::stdin(), io::stdout()),
    };
    ended.map_err(|error| Failure::new(Exit::Missing, format!("the vault cannot be made: {error}")))
}
