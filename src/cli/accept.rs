//! `hlx recipients accept`: trusting what others pushed.

use std::io::{self, IsTerminal as _};

use clap::Args;

use crate::git::branch;
use crate::trust::{self, Brought, Pending};

use super::context::Context;
use super::{Exit, Failure, errors, quote, ui};

#[derive(Debug, Args)]
pub(super) struct AcceptArgs {
    /// The branches; by default the one that is checked out.
    #[arg(long = "branch", short, value_name = "BRANCH", conflicts_with = "all")]
    branches: Vec<String>,
    /// All local branches.
    #[arg(long)]
    all: bool,
    /// Accept without asking.
    #[arg(long, short)]
    yes: bool,
}

/// `hlx recipients accept`
pub(super) fn run(args: &AcceptArgs, cx: &Context) -> Result<(), Failure> {
    let repository = cx.repository()?;
    let (git, keyring) = (cx.git(&repository)?, cx.keyring());
    let branches = match (&args.branches[..], args.all) {
        (_, true) => branch::all(&git).map_err(errors::git)?,
        ([], false) => vec![repository.branch_in_work().ok_or_else(|| {
            Failure::new(Exit::Usage, "no branch is checked out").hint("name one with `--branch`, or `--all`")
        })?],
        (named, false) => named.to_vec(),
    };
    let mut waiting = Vec::new();
    for branch in branches {
        let pending = trust::pending(&repository, &git, &keyring, &branch).map_err(errors::trust)?;
        if pending.is_empty() {
            cx.ui.note(format!("{branch}: nothing waits to be accepted"));
            continue;
        }
        show(&branch, &pending, cx);
        waiting.push((branch, pending));
    }
    if waiting.is_empty() {
        return Ok(());
    }
    confirm(args.yes)?;
    for (branch, shown) in &waiting {
        trust::accept(&repository, &keyring, branch, shown).map_err(errors::trust)?;
        cx.ui.note(format!("{branch}: accepted"));
    }
    Ok(())
}

fn show(branch: &str, pending: &Pending, cx: &Context) {
    let brought = |by: &str| if by.is_empty() { String::new() } else { format!(", brought by {by}") };
    for Brought { what, by } in &pending.readers {
        cx.ui.result(format!("{branch}: {} can read it{}", quote::line(what), brought(by)));
    }
    for Brought { what: (reader, place), by } in &pending.moved {
        cx.ui.result(format!(
            "{branch}: {} can read {} too{}",
            quote::line(reader),
            quote::path(place),
            brought(by)
        ));
    }
    if let Some(Brought { what: (), by }) = &pending.rules {
        cx.ui.result(format!("{branch}: `.sops.yaml` has other rules{}", brought(by)));
        cx.ui.hint(format!("look at them: `git log -p {branch} -- .sops.yaml`"));
    }
    if let Some(Brought { what: (), by }) = &pending.attributes {
        cx.ui.result(format!("{branch}: `.gitattributes` protects other files{}", brought(by)));
        cx.ui.hint(format!("look at it: `git log -p {branch} -- .gitattributes`"));
    }
    for Brought { what, by } in &pending.files {
        cx.ui.result(format!(
            "{branch}: {} is under a data key from elsewhere{}",
            quote::path(what),
            brought(by)
        ));
    }
    for Brought { what, by } in &pending.replaced {
        cx.ui.result(format!(
            "{branch}: {} was under a data key from elsewhere, until it was changed here{}",
            quote::path(what),
            brought(by)
        ));
    }
}

fn confirm(yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    let refused = || Failure::new(Exit::Policy, "nothing was accepted");
    if !io::stdin().is_terminal() {
        return Err(refused().hint("say `--yes` if all of that is meant to be so"));
    }
    let answer = ui::ask("accept all of that? [y/N]").unwrap_or_default();
    if answer.eq_ignore_ascii_case("y") || answer.eq_ignore_ascii_case("yes") {
        Ok(())
    } else {
        Err(refused())
    }
}
