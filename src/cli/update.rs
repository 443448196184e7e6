//! `hlx update`: newer images for what is deployed.

use clap::Args;

use super::server::{self, Server, failure};
use super::{Context, Exit, Failure, interrupt};
use crate::deploy::{self, Service, update};

/// Pull newer images for the tags of the deployed commit, and start them through the same gate: what is not well goes back.
#[derive(Debug, Args)]
pub struct UpdateArgs {
    /// The services.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    services: Vec<String>,
    /// Every service that has containers here.
    #[arg(long)]
    all: bool,
}

/// Updates one after the other; one that fails does not stop the rest.
pub(super) fn run(args: &UpdateArgs, cx: &Context) -> Result<(), Failure> {
    let server = Server::from_environment()?;
    let keyring = cx.keyring();
    let open = deploy::opener(|sealed| keyring.open(sealed));
    let report = server::report(cx.ui);
    let world = server.world(&open, &report);
    let named = args.services.iter().map(|name| name.parse().map_err(deploy::Error::Name));
    let named: Vec<Service> = named.collect::<Result<_, _>>().map_err(failure)?;
    let services = if args.all { update::stacks(&world).map_err(failure)? } else { named };
    let mut failed = Vec::new();
    interrupt::explain("SERVICE", server.stop(), cx.ui)?;
    for service in &services {
        if server.stop().is_wished() {
            let exit = failed.first().copied().unwrap_or(Exit::Failed);
            return Err(Failure::new(exit, format!("stopped by a signal before {service}")));
        }
        match update::update(service, &world) {
            Ok((outcome, newer)) => {
                outcome.containers.iter().for_each(|container| cx.ui.note(container));
                let newer = if newer.is_empty() {
                    "no newer images".to_owned()
                } else {
                    format!("newer images: {}", newer.join(", "))
                };
                cx.ui.result(format!("{service} {:.10}: {newer}", outcome.commit));
            }
            Err(error) => {
                let failure = server::unused_keys(server::of_deploy(error), &keyring).under(service);
                cx.ui.failure(&failure);
                failed.push(failure.exit());
            }
        }
    }
    match failed.first() {
        None => Ok(()),
        Some(exit) => Err(Failure::new(*exit, format!("{} of {} failed", failed.len(), services.len()))),
    }
}
