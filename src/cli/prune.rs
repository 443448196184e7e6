//! `hlx prune`: images of past deploys go.

use clap::Args;

use super::server::{self, Server, failure};
use super::ui::counted;
use super::{Context, Failure};
use crate::deploy::{self, prune::Mode};
use crate::keys::{self, Keyring};

/// Remove the images of past deploys, all but those of the newest good versions of each service.
#[derive(Debug, Args)]
pub struct PruneArgs {
    /// How many good versions of each service keep their images.
    #[arg(long, value_name = "NUMBER", default_value_t = 2)]
    keep: usize,
    /// Only say what would go.
    #[arg(long)]
    dry_run: bool,
}

/// Prunes.
pub(super) fn run(args: &PruneArgs, cx: &Context) -> Result<(), Failure> {
    let server = Server::from_environment()?;
    // Nothing is opened for it.
    let keyring = Keyring::load(&keys::Places::default());
    let open = deploy::opener(|sealed| keyring.open(sealed));
    let report = server::report(cx.ui);
    let mode = if args.dry_run { Mode::Name } else { Mode::Remove };
    let pruned = deploy::prune::prune(args.keep, mode, &server.world(&open, &report)).map_err(failure)?;
    pruned.left.iter().for_each(|left| cx.ui.warning(format!("stays: {left}")));
    let images = counted(pruned.images.len(), "image or name", "images and names");
    let verb = if args.dry_run { "would go" } else { "removed" };
    cx.ui.result(format!("{images} {verb}, of {} MiB", pruned.bytes >> 20));
    Ok(())
}
