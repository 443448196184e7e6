//! `hlx decrypt-deploy`: bring a service's newest commit to life on this host.

use clap::Args;

use super::server::{self, Server, of_deploy};
use super::{Context, Failure, interrupt};
use crate::deploy::{self, Adopt, At, Retry, Rewrite, WayBack, Wish};

/// Deploy a service: decrypt in RAM, start its containers, wait until they are well, leave no plaintext behind.
#[derive(Debug, Args)]
pub struct DeployArgs {
    /// The service, which is the name of its branch.
    #[arg(required_unless_present = "all")]
    service: Option<String>,
    /// Deploy every stack of this host, each after those that its `x-hlx.after` names: those of `stacks` in the server
    /// configuration, else all whose branch a key of this host opens.
    #[arg(long, conflicts_with = "service")]
    all: bool,
    /// With --all, how many at a time [default: one for each processor, at most 4].
    #[arg(long, value_name = "COUNT", requires = "all", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(super) jobs: Option<u16>,
    /// Take the branch from this repository [default: that of the server configuration, else the clone around the current directory].
    #[arg(long, value_name = "URL|PATH")]
    pub(super) repo: Option<String>,
    /// Take over what hlx did not make: another repository's stack, a directory with files, running containers.
    #[arg(long)]
    pub(super) adopt: bool,
    /// Deploy although the branch no longer contains the commit that is deployed.
    #[arg(long)]
    pub(super) accept_rewrite: bool,
    /// Try a commit again although its containers did not become well before.
    #[arg(long)]
    pub(super) retry: bool,
    /// Deploy although the version that runs could not be brought back if this one is not well.
    #[arg(long)]
    pub(super) without_rollback: bool,
    /// Show where the time went.
    #[arg(long)]
    pub(super) timings: bool,
}

impl DeployArgs {
    /// What `hlx decrypt-deploy SERVICE` means.
    pub(super) fn of(service: &str) -> Self {
        Self {
            service: Some(service.to_owned()),
            all: false,
            jobs: None,
            repo: None,
            adopt: false,
            accept_rewrite: false,
            retry: false,
            without_rollback: false,
            timings: false,
        }
    }
}

/// Deploys.
pub(super) fn run(args: &DeployArgs, cx: &Context) -> Result<(), Failure> {
    if args.all {
        return super::all::run(args, cx);
    }
    let server = Server::from_environment()?;
    let wish = wish(args)?;
    interrupt::explain(wish.service.as_str(), server.stop(), cx.ui)?;
    let keyring = cx.keyring();
    let open = deploy::opener(|sealed| keyring.open(sealed));
    let report = server::report(cx.ui);
    let outcome = deploy::deploy(&wish, &server.world(&open, &report));
    let outcome = outcome.map_err(|error| server::unused_keys(of_deploy(error), &keyring))?;
    outcome.containers.iter().for_each(|container| cx.ui.note(container));
    if args.timings {
        cx.ui.note(&outcome.account);
    }
    cx.ui.result(format!(
        "{} {} deployed in {:.1} s",
        wish.service,
        &outcome.commit[..10],
        outcome.account.total.as_secs_f64()
    ));
    Ok(())
}

/// What `hlx plan` asks about.
pub(super) fn planned(
    service: &str,
    repo: Option<String>,
    adopt: bool,
    accept_rewrite: bool,
) -> Result<Wish, Failure> {
    let args = DeployArgs { repo, adopt, accept_rewrite, without_rollback: true, ..DeployArgs::of(service) };
    wish(&args)
}

fn wish(args: &DeployArgs) -> Result<Wish, Failure> {
    let service = server::service(args.service.as_deref().unwrap_or_default())?;
    let adopt = if args.adopt { Adopt::Yes } else { Adopt::No };
    let rewrite = if args.accept_rewrite { Rewrite::Accept } else { Rewrite::Refuse };
    let retry = if args.retry { Retry::Yes } else { Retry::No };
    let way_back = if args.without_rollback { WayBack::Waived } else { WayBack::Needed };
    Ok(Wish { service, repo: args.repo.clone(), adopt, rewrite, retry, way_back, at: At::Newest })
}
