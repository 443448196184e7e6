//! `hlx materialise`: file secrets back in RAM after a reboot.

use clap::Args;

use super::server::{self, Server, failure};
use super::ui::counted;
use super::{Context, Failure};
use crate::deploy::{self, Restored, Service, Start};

/// Restore the file secrets of deployed services after a reboot, offline, and start the containers that missed them.
#[derive(Debug, Args)]
pub struct MaterialiseArgs {
    /// The services.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    services: Vec<String>,
    /// Every service that has file secrets.
    #[arg(long)]
    all: bool,
    /// Restore files and leave Docker alone, which may not be up yet. The boot unit does this.
    #[arg(long)]
    files_only: bool,
}

/// Restores.
pub(super) fn run(args: &MaterialiseArgs, cx: &Context) -> Result<(), Failure> {
    let server = Server::from_environment()?;
    let services = args.services.iter().map(|name| name.parse().map_err(deploy::Error::Name));
    let services: Vec<Service> = services.collect::<Result<_, _>>().map_err(failure)?;
    let keyring = cx.keyring();
    let open = deploy::opener(|sealed| keyring.open(sealed));
    let report = server::report(cx.ui);
    let start = if args.files_only { Start::Nothing } else { Start::Containers };
    let each = deploy::materialise(&services, start, &server.world(&open, &report)).map_err(failure)?;
    let stacks = each.len();
    let mut total = Restored::default();
    let mut failed = Vec::new();
    for (service, result) in each {
        match result {
            Ok(restored) => add(&mut total, &service, restored, cx),
            Err(error) => {
                let failure = server::unused_keys(failure(error), &keyring);
                cx.ui.failure(&failure.under(&service));
                failed.push(failure.exit());
            }
        }
    }
    cx.ui.result(format!("{}: {}", counted(stacks - failed.len(), "stack", "stacks"), told(&total)));
    match failed.first() {
        None => Ok(()),
        Some(exit) => Err(Failure::new(*exit, format!("{} of {stacks} failed", failed.len()))),
    }
}

fn add(total: &mut Restored, service: &Service, restored: Restored, cx: &Context) {
    cx.ui.note(format!("{service}: {}", told(&restored)));
    total.written += restored.written;
    total.kept += restored.kept;
    total.started.extend(restored.started);
}

fn told(restored: &Restored) -> String {
    let Restored { written, kept, started } = restored;
    let started = match started.len() {
        0 => String::new(),
        _ => format!(", started {}", started.join(", ")),
    };
    format!("{} restored, {kept} were there{started}", counted(*written, "file secret", "file secrets"))
}
