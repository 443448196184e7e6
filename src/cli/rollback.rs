//! `hlx rollback`: go back to an earlier version of a service, by a commit.

use clap::Args;

use super::deploy::DeployArgs;
use super::server::{self, Server};
use super::{Context, Exit, Failure, errors, join};
use crate::deploy::{self, Retry, Service, revert};
use crate::repo::rollback::{self, Error, Made, WithReaders};

/// Go back to an earlier version of a service: make a commit with its files on top of the branch, and push it.
///
/// On a server that runs the service, the newest good commit before the branch's last one is taken, and the new commit is
/// deployed; in a clone it is the commit before the last, and whoever follows the branch deploys it.
#[derive(Debug, Args)]
pub(super) struct RollbackArgs {
    /// The service, which is the name of its branch.
    service: String,
    /// Go back to this commit of the branch.
    #[arg(long, value_name = "COMMIT")]
    to: Option<String>,
    /// Go back also to a commit that was not well on this server.
    #[arg(long)]
    retry: bool,
    /// Let the readers of the earlier commit come back with its files.
    #[arg(long)]
    yes: bool,
}

/// What to do where other readers would come back.
pub(super) const READERS: &str = "with --yes they do; else put the earlier files into a commit of your own, and leave `.sops.yaml` as it is";

/// Goes back.
pub(super) fn run(args: &RollbackArgs, cx: &Context) -> Result<(), Failure> {
    let service = server::service(&args.service)?;
    let server = Server::from_environment()?;
    let keyring = cx.keyring();
    let open = deploy::opener(|sealed| keyring.open(sealed));
    let report = server::report(cx.ui);
    let world = server.world(&open, &report);
    if !revert::is_ours(&service, &world) {
        // Where stacks are deployed and no clone is around, it was a name of this host's that was meant.
        if cx.repository().is_err() && !server.deployed().is_empty() {
            return Err(server.not_deployed(service));
        }
        return in_clone(&service, args, cx);
    }
    let retry = if args.retry { Retry::Yes } else { Retry::No };
    let how = revert::How { retry, with_readers: args.yes };
    let made = revert::revert(&service, args.to.as_deref(), how, &world);
    let made = made.map_err(|error| server::unused_keys(explained(error), &keyring))?;
    warn_of_rules(made.rules_differ, &made.to, cx);
    cx.ui.note(format!("{:.10} has the files of {:.10}, and is pushed", made.commit, made.to));
    super::deploy::run(&DeployArgs::of(service.as_str()), cx)
}

/// The hints of a deploy fit, but for how one insists.
fn explained(error: deploy::Error) -> Failure {
    match error {
        deploy::Error::KnownBad { .. } => Failure::new(Exit::Failed, error)
            .hint("name another commit with --to; if the reason was elsewhere, go back with --retry"),
        other => server::of_deploy(other).hint("nothing was pushed"),
    }
}

fn in_clone(service: &Service, args: &RollbackArgs, cx: &Context) -> Result<(), Failure> {
    let repository = cx.repository()?;
    let readers = if args.yes { WithReaders::Accept } else { WithReaders::Refuse };
    let made = rollback::rollback(&repository.git(), service.as_str(), args.to.as_deref(), readers);
    let made = made.map_err(explain)?;
    warn_of_rules(made.rules_differ, &made.to, cx);
    let Made { commit, to, remote, behind, .. } = made;
    if let Some(tree) = behind {
        cx.ui.warning(format!(
            "{} has changes of its own, and still shows the files from before",
            tree.display()
        ));
        cx.ui.hint("commit or stash them, and run `git merge --ff-only` or `git pull` there");
    }
    let place = remote.map_or_else(String::new, |remote| format!(", and is pushed to {remote}"));
    cx.ui.result(format!("{service} {commit:.10} has the files of {to:.10}{place}"));
    Ok(())
}

fn warn_of_rules(differ: bool, to: &str, cx: &Context) {
    if differ {
        cx.ui.warning(format!(
            "with the files of {to:.10} come its readers and rules: `.sops.yaml` was another since"
        ));
        cx.ui.hint("if a key was taken out meanwhile, run `hlx recipients remove` or `hlx rotate` again");
    }
}

fn explain(error: Error) -> Failure {
    let text = error.to_string();
    match error {
        Error::Readers(_) => Failure::new(Exit::Policy, text).hint(READERS).hint("nothing was pushed"),
        Error::Git(error) => errors::git(error),
        Error::NotInBranch { branch, .. } => {
            Failure::new(Exit::Usage, text).hint(format!("`git log {branch}` shows its commits"))
        }
        Error::NothingEarlier(_) | Error::SameFiles(_) => {
            Failure::new(Exit::Failed, text).hint("name another commit with --to")
        }
        Error::NoBranch { branch, known, .. } => {
            Failure::new(Exit::Usage, text).hint(join::near_or_all(&branch, &known))
        }
        Error::NotPushed(branch) => Failure::new(Exit::Failed, text).hint(format!(
            "push them, or take them back with `git reset`, and try again: git log origin/{branch}..{branch}"
        )),
    }
}
