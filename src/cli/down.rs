//! `hlx down`: stop a service; its data stays.

use clap::Args;

use super::server::{self, Server, of_deploy};
use super::{Context, Failure};
use crate::deploy;
use crate::keys::{self, Keyring};

/// Stop a service and remove its containers and the secrets kept in RAM for them. Volumes and the project directory stay.
#[derive(Debug, Args)]
pub struct DownArgs {
    /// The service, which is the name of its branch.
    service: String,
}

/// Takes a service down.
pub(super) fn run(args: &DownArgs, cx: &Context) -> Result<(), Failure> {
    let server = Server::from_environment()?;
    let service = server::service(&args.service)?;
    // Nothing is opened to take a stack down.
    let keyring = Keyring::load(&keys::Places::default());
    let open = deploy::opener(|sealed| keyring.open(sealed));
    let report = server::report(cx.ui);
    deploy::down(&service, &server.world(&open, &report)).map_err(of_deploy)?;
    cx.ui.result(format!("{service} is down; its volumes and project directory stay"));
    Ok(())
}
