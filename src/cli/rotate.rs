//! `hlx rotate`, and what it has in common with `hlx recipients add` and `remove`.

use std::collections::BTreeSet;

use clap::Args;
use serde_json::{Value, json};

use crate::crypto::envelope::Recipient;
use crate::git::Repository;
use crate::repo::rotate::{
    self, Change, Changed, DataKeys, Difference, Plan, Pushed, Readers, Scope, World, scope,
};

use super::context::Context;
use super::ui::counted;
use super::{Exit, Failure, errors, recipients};

/// Seal what is encrypted anew: for whom `.sops.yaml` says, under new data keys. All branches change, or none,
/// and none is checked out.
#[derive(Debug, Args)]
pub(super) struct RotateArgs {
    /// Only wrap the data keys for those whom `.sops.yaml` names, as `sops updatekeys` does.
    #[arg(long = "recipients")]
    readers: bool,
    /// Only make new data keys, for those who can read the files now.
    #[arg(long)]
    data_keys: bool,
    /// Take these keys out, as `hlx recipients remove` does. Files that they cannot read stay as they are.
    #[arg(long, value_name = "KEY", num_args = 1..)]
    remove: Vec<String>,
    #[command(flatten)]
    branches: BranchArgs,
    #[command(flatten)]
    how: HowArgs,
}

/// Which branches.
#[derive(Debug, Args)]
pub(super) struct BranchArgs {
    /// The branches; by default the one that is checked out.
    #[arg(long = "branch", short, value_name = "BRANCH", num_args = 1.., conflicts_with = "all")]
    names: Vec<String>,
    /// All branches, those included that only a remote has. Fetches first.
    #[arg(long)]
    all: bool,
    /// Do not fetch: what the last fetch brought is all there is.
    #[arg(long)]
    offline: bool,
}

/// How it is done.
#[derive(Debug, Args)]
pub(super) struct HowArgs {
    /// Push the branches that change to the remotes that have them.
    #[arg(long)]
    push: bool,
    /// Show what would change, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Also if you lock yourself out, or let keys in that you did not name here.
    #[arg(long)]
    yes: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// `hlx rotate`
pub(super) fn rotate(args: &RotateArgs, cx: &Context) -> Result<(), Failure> {
    let (readers, data_keys) = match (args.readers, args.data_keys) {
        (true, false) => (Readers::AsConfigured, DataKeys::Same),
        (false, true) => (Readers::Same, DataKeys::Fresh),
        (true, true) | (false, false) => (Readers::AsConfigured, DataKeys::Fresh),
    };
    let keys = recipients::keys_or_names(&args.remove, cx)?;
    let change = match &keys[..] {
        [] => Change::Renew { readers, data_keys },
        keys => Change::Remove { keys, data_keys },
    };
    run(change, &args.branches, &args.how, cx)
}

/// Plans a change, shows it, and does it unless it is only to be shown.
pub(super) fn run(
    change: Change<'_>,
    branches: &BranchArgs,
    how: &HowArgs,
    cx: &Context,
) -> Result<(), Failure> {
    let repository = cx.repository()?;
    let git = cx.git(&repository)?;
    let keyring = cx.keyring();
    if (branches.all || how.push) && !branches.offline {
        scope::fetch(&git).map_err(|error| {
            errors::repo(error).hint("`--offline` goes by what was fetched before, and may miss branches")
        })?;
    }
    let now = cx.now();
    let progress = |done, all| cx.ui.progress("branches", done, all);
    let world =
        World { repository: &repository, git: &git, keyring: &keyring, now: &now, progress: &progress };
    let names = branches.names(&repository)?;
    let scope = if branches.all { Scope::All } else { Scope::Named(&names) };
    let mut plan = rotate::prepare(world, scope, change).map_err(errors::repo)?;
    refuse(change, &plan, branches)?;
    if !how.yes {
        refuse_unless_yes(change, &plan, &keyring.recipients())?;
    }
    let mut report = Report::of(&mut plan);
    if !how.dry_run {
        report.changed = plan.carry_out(world).map_err(errors::repo)?;
    }
    let pushed = match how.push {
        true => rotate::push(&git, &report.changed).map_err(errors::repo),
        false => Ok(Vec::new()),
    };
    report.show(change, how, pushed.as_deref().unwrap_or_default(), cx);
    pushed.map(drop)
}

impl BranchArgs {
    fn names(&self, repository: &Repository) -> Result<Vec<String>, Failure> {
        match &self.names[..] {
            [] if !self.all => {
                let here = repository.branch().ok_or_else(|| {
                    Failure::new(Exit::Usage, "no branch is checked out").hint("name one with `--branch`")
                })?;
                Ok(vec![here])
            }
            names => Ok(names.to_vec()),
        }
    }
}

/// Fails where there is nothing that could be changed, and the user named it.
fn refuse(change: Change<'_>, plan: &Plan, branches: &BranchArgs) -> Result<(), Failure> {
    if !plan.tips.is_empty() {
        return Ok(());
    }
    if !branches.all && plan.bare.len() == plan.covered {
        let message = format!("{}: there are no encrypted files, and no `.sops.yaml`", plan.bare.join(", "));
        return Err(Failure::new(Exit::Failed, message)
            .hint("services are on branches of their own: `hlx recipients list` shows them, `--branch` names one")
            .hint("`hlx track FILE` protects a file of the branch that is checked out"));
    }
    match change {
        Change::Remove { .. } => {
            let message =
                format!("none of these keys can read any of the {} branches looked at", plan.covered);
            Err(Failure::new(Exit::Failed, message).hint("`hlx recipients list` shows who can read what"))
        }
        Change::Add(_) | Change::Renew { .. } => Ok(()),
    }
}

/// What is not done unless the user says so.
fn refuse_unless_yes(change: Change<'_>, plan: &Plan, own: &[Recipient]) -> Result<(), Failure> {
    let files = plan.tips.iter().flat_map(|tip| &tip.files).filter_map(|file| file.sealed.as_ref());
    let oneself = match change {
        Change::Remove { keys, .. } => keys.iter().any(|key| own.contains(key)),
        Change::Add(_) | Change::Renew { .. } => files.clone().any(|file| file.locked_out),
    };
    if oneself {
        return Err(Failure::new(Exit::Policy, "a key of yours would be shut out")
            .hint("`--yes` does it all the same")
            .hint("nothing was changed"));
    }
    let mut gained: Vec<&String> = match change {
        Change::Renew { .. } => files.flat_map(|file| &file.gained).collect(),
        Change::Add(_) | Change::Remove { .. } => Vec::new(),
    };
    gained.sort();
    gained.dedup();
    if gained.is_empty() {
        return Ok(());
    }
    let list = gained.iter().map(|key| short(key)).collect::<Vec<_>>().join(", ");
    Err(Failure::new(
        Exit::Policy,
        format!("`.sops.yaml` would let in keys that cannot read these files yet: {list}"),
    )
    .hint("look who wrote them there: `git log -p -- .sops.yaml`")
    .hint("`--dry-run` shows the files; `--yes` lets them in; `--data-keys` leaves the readers as they are")
    .hint("nothing was changed"))
}

fn short(key: &str) -> String {
    key.parse::<Recipient>().map_or_else(|_| key.to_owned(), |key| key.short())
}

/// What a plan does, kept for when it is done.
struct Report {
    covered: usize,
    bare: Vec<String>,
    rows: Vec<Row>,
    changed: Vec<Changed>,
}

/// One branch of a report.
struct Row {
    branch: String,
    /// Only remotes had it.
    is_new: bool,
    on_remotes: bool,
    files: Vec<(String, Option<Difference>)>,
}

impl Report {
    fn of(plan: &mut Plan) -> Self {
        let rows = plan.tips.iter_mut().map(|tip| Row {
            branch: tip.branch.clone(),
            is_new: tip.local.is_none(),
            on_remotes: !tip.remotes.is_empty(),
            files: tip.files.iter_mut().map(|file| (file.change.path.clone(), file.sealed.take())).collect(),
        });
        Self { covered: plan.covered, bare: plan.bare.clone(), rows: rows.collect(), changed: Vec::new() }
    }

    fn commit(&self, branch: &str) -> Option<&str> {
        self.changed.iter().find(|changed| changed.branch == branch).map(|changed| changed.commit.as_str())
    }

    fn show(&self, change: Change<'_>, how: &HowArgs, pushed: &[Pushed], cx: &Context) {
        match how.json {
            true => cx.ui.result(self.json(pushed)),
            false => self.rows.iter().for_each(|row| self.show_row(row, cx)),
        }
        self.show_sum(pushed, cx);
        if matches!(change, Change::Add(_)) {
            self.warn_of_waste(cx);
        }
        if how.dry_run {
            cx.ui.note("nothing was changed: this is what would be");
        } else {
            self.advise(change, how, cx);
        }
    }

    fn show_row(&self, row: &Row, cx: &Context) {
        let sealed: Vec<&Difference> = row.files.iter().filter_map(|(_, sealed)| sealed.as_ref()).collect();
        let fresh = sealed.iter().filter(|file| file.data_keys == DataKeys::Fresh).count();
        let what = match (fresh, sealed.len() - fresh) {
            (0, 0) => ".sops.yaml changed".to_owned(),
            (0, same) => format!("{} rewrapped", counted(same, "file", "files")),
            (1, 0) => "1 file under a new data key".to_owned(),
            (fresh, 0) => format!("{fresh} files under new data keys"),
            (fresh, same) => format!("{fresh} files under new data keys, {same} rewrapped"),
        };
        let change = |sign: &str, of: fn(&Difference) -> &Vec<String>| -> String {
            let keys: BTreeSet<&String> = sealed.iter().flat_map(|file| of(file)).collect();
            keys.iter().map(|key| format!(" {sign}{}", short(key))).collect()
        };
        let keys = change("+", |file| &file.gained) + &change("-", |file| &file.lost);
        let commit =
            self.commit(&row.branch).map(|name| format!(" in commit {name:.10}")).unwrap_or_default();
        let new = if row.is_new { ", a local branch now" } else { "" };
        cx.ui.result(format!("{}: {what}{commit}{keys}{new}", row.branch));
    }

    fn show_sum(&self, pushed: &[Pushed], cx: &Context) {
        let changed = self.rows.len();
        let covered = counted(self.covered, "branch", "branches");
        cx.ui.note(format!("{covered} looked at, {changed} with something to change"));
        if !self.bare.is_empty() && self.bare.len() < self.covered && self.covered < 10 {
            cx.ui.note(format!("without encrypted files: {}", self.bare.join(", ")));
        }
        for Pushed { remote, branches } in pushed {
            cx.ui.note(format!("{} pushed to {remote}", counted(*branches, "branch", "branches")));
        }
    }

    fn advise(&self, change: Change<'_>, how: &HowArgs, cx: &Context) {
        match change {
            Change::Add(_) if self.rows.is_empty() => cx.ui.note("they can read all of it already"),
            Change::Add(_) => cx.ui.note(
                "the new readers can also read earlier versions on these branches since their data keys last changed",
            ),
            Change::Remove { keys, data_keys } => {
                if data_keys == DataKeys::Same {
                    cx.ui.warning("the data keys are the old ones: who kept them can read new values too");
                }
                cx.ui.note("what was readable before stays so, in git's history and in copies of it");
                for key in keys {
                    cx.ui.hint(format!("`hlx exposure \"{key}\"` lists the values to change at their source"));
                }
            }
            Change::Renew { .. } => {}
        }
        let local = self.rows.iter().filter(|row| !row.on_remotes).count();
        match (how.push, self.rows.len(), local) {
            (_, 0, _) => {}
            (false, ..) => cx.ui.hint("push the branches, so that servers get the change"),
            (true, _, 0) => {}
            (true, _, local) => {
                cx.ui.note(format!("{local} of the branches are on no remote yet, and were not pushed"))
            }
        }
    }

    /// Says where post-quantum keys protect nothing, once for all branches.
    fn warn_of_waste(&self, cx: &Context) {
        let sealed = |row: &&Row| {
            row.files.iter().any(|(_, sealed)| sealed.as_ref().is_some_and(|file| file.wastes_post_quantum))
        };
        let branches: Vec<&str> = self.rows.iter().filter(sealed).map(|row| row.branch.as_str()).collect();
        if !branches.is_empty() {
            recipients::warn_of_waste(&branches.join(", "), cx);
        }
    }

    fn json(&self, pushed: &[Pushed]) -> Value {
        let file = |(path, sealed): &(String, Option<Difference>)| {
            let sealed = sealed.as_ref().map(|file| {
                json!({ "new_data_key": file.data_keys == DataKeys::Fresh, "gained": file.gained, "lost": file.lost })
            });
            json!({ "path": path, "sealed": sealed })
        };
        let branch = |row: &Row| {
            let files: Vec<Value> = row.files.iter().map(file).collect();
            json!({ "branch": row.branch, "commit": self.commit(&row.branch), "new": row.is_new, "files": files })
        };
        let pushed = pushed.iter().map(|to| json!({ "remote": to.remote, "branches": to.branches }));
        json!({
            "covered": self.covered,
            "branches": self.rows.iter().map(branch).collect::<Vec<_>>(),
            "pushed": pushed.collect::<Vec<_>>(),
        })
    }
}
