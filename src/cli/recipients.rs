//! `hlx recipients`: who can read a branch.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::crypto::envelope::Recipient;
use crate::git::branch;
use crate::keys::recipients::{self as files, Named};
use crate::repo::recipients::{self, Addition, Place, Readers};

use super::accept::{self, AcceptArgs};
use super::context::Context;
use super::{Exit, Failure, errors};

#[derive(Debug, Subcommand)]
pub(super) enum RecipientsCommand {
    /// Let keys read a branch: what is encrypted already, and what will be. One commit, nothing is checked out.
    Add(AddArgs),
    /// Trust what others pushed: who reads a branch, by which rules, under which data keys.
    Accept(AcceptArgs),
    /// List who can read which branch.
    List(ListArgs),
}

/// Public keys, however they are named.
#[derive(Debug, Args)]
pub(super) struct KeyArgs {
    /// A public key: `age1…` or `ssh-ed25519 …`.
    #[arg(long = "recipient", short = 'r', value_name = "KEY")]
    recipients: Vec<String>,
    /// A file of public keys, one a line, comments are names (see keys.example).
    #[arg(long = "recipients-file", short = 'R', value_name = "FILE")]
    files: Vec<PathBuf>,
}

impl KeyArgs {
    /// The keys named, with their names.
    pub(super) fn read(&self, cx: &Context) -> Result<Vec<Named>, Failure> {
        let mut named = Vec::new();
        for key in &self.recipients {
            named.push(files::parse_one(key).map_err(|error| Failure::new(Exit::Usage, error))?);
        }
        for path in &self.files {
            let text = String::from_utf8_lossy(&cx.read(path)?).into_owned();
            named.extend(files::parse(&text).map_err(|error| {
                Failure::new(Exit::Usage, format!("{}: {error}", path.display()))
                    .hint("each line is a public key, a comment that begins with `#`, or empty")
            })?);
        }
        Ok(named)
    }
}

#[derive(Debug, Args)]
pub(super) struct AddArgs {
    /// Public keys: `age1…` or `"ssh-ed25519 …"`.
    #[arg(value_name = "KEY")]
    keys: Vec<String>,
    #[command(flatten)]
    more: KeyArgs,
    /// The branches; by default the one that is checked out.
    #[arg(long = "branch", short, value_name = "BRANCH")]
    branches: Vec<String>,
    /// The key group that the keys join, counted from 1, in files and rules that have several.
    #[arg(long, value_name = "NUMBER")]
    group: Option<usize>,
    /// The name that stands behind the key in `.sops.yaml`.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// The branches; by default all.
    #[arg(long = "branch", short, value_name = "BRANCH")]
    branches: Vec<String>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Runs `hlx recipients …`.
pub(super) fn run(command: &RecipientsCommand, cx: &Context) -> Result<(), Failure> {
    match command {
        RecipientsCommand::Add(args) => add(args, cx),
        RecipientsCommand::Accept(args) => accept::run(args, cx),
        RecipientsCommand::List(args) => list(args, cx),
    }
}

fn add(args: &AddArgs, cx: &Context) -> Result<(), Failure> {
    let repository = cx.repository()?;
    let git = cx.git(&repository)?;
    let mut added = args.more.read(cx)?;
    for key in &args.keys {
        added.push(files::parse_one(key).map_err(|error| Failure::new(Exit::Usage, error))?);
    }
    if let Some(name) = &args.name {
        added.iter_mut().for_each(|named| named.name = Some(name.clone()));
    }
    if added.is_empty() {
        return Err(
            Failure::new(Exit::Usage, "no key is named").hint("`hlx recipients add KEY`, or `-R FILE`")
        );
    }
    let branches = match &args.branches[..] {
        [] => vec![repository.branch().ok_or_else(|| {
            Failure::new(Exit::Usage, "no branch is checked out").hint("name one with `--branch`")
        })?],
        named => named.to_vec(),
    };
    let keyring = cx.keyring();
    let added = Addition { readers: &added, place: args.group.map_or(Place::Unsaid, Place::Group) };
    for name in &branches {
        let done = recipients::add(&repository, &git, &keyring, name, added).map_err(errors::repo)?;
        match done.commit {
            Some(commit) => {
                cx.ui.result(format!("{name}: {} files rewrapped in commit {:.10}", done.files, commit));
                cx.ui.note(format!("the new readers can also read earlier versions on `{name}` since its data keys last changed"));
            }
            None => cx.ui.note(format!("{name}: they can read all of it already")),
        }
    }
    cx.ui.hint("push the branches, so that servers get the change");
    Ok(())
}

fn list(args: &ListArgs, cx: &Context) -> Result<(), Failure> {
    let repository = cx.repository()?;
    let git = cx.git(&repository)?;
    let names = match &args.branches[..] {
        [] => branch::all(&git).map_err(errors::git)?,
        named => named.to_vec(),
    };
    let mut all = Vec::new();
    for name in &names {
        all.push(recipients::list(&repository, &git, name).map_err(errors::repo)?);
    }
    if args.json {
        cx.ui.result(serde_json::Value::from(all.iter().map(to_json).collect::<Vec<_>>()));
        return Ok(());
    }
    for branch in all.iter().filter(|branch| !branch.readers.is_empty()) {
        cx.ui.result(format!(
            "{} ({} encrypted file{})",
            branch.branch,
            branch.files,
            if branch.files == 1 { "" } else { "s" }
        ));
        for (key, reader) in &branch.readers {
            let short = key.parse::<Recipient>().map_or_else(|_| key.clone(), |key| key.short());
            let name = reader.name.as_deref().unwrap_or("-");
            let shares = match reader.shares {
                0 => String::new(),
                files => format!("  has a share of the key of {files}: other key groups must join in"),
            };
            let state = match (reader.files + reader.shares == branch.files, reader.in_config) {
                (true, true) => shares,
                (true, false) => format!("{shares}  not in .sops.yaml: cannot read new files"),
                (false, _) => format!("{shares}  can read {} of {}", reader.files, branch.files),
            };
            cx.ui.result(format!("  {short:<24} {name}{state}"));
        }
    }
    Ok(())
}

fn to_json(branch: &Readers) -> serde_json::Value {
    let readers: Vec<_> = branch
        .readers
        .iter()
        .map(|(key, reader)| {
            serde_json::json!({ "recipient": key, "name": reader.name, "files": reader.files, "shares": reader.shares, "in_config": reader.in_config })
        })
        .collect();
    serde_json::json!({ "branch": branch.branch, "files": branch.files, "readers": readers })
}
