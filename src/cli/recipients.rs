//! `hlx recipients`: who can read a branch.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::crypto::envelope::Recipient;
use crate::git::branch;
use crate::keys::recipients::{self as files, Named};
use crate::repo::recipients::{self, Addition, Place};
use crate::repo::rotate::{Change, DataKeys};

use super::accept::{self, AcceptArgs};
use super::context::Context;
use super::readers::{self, ListArgs};
use super::rotate::{self, BranchArgs, HowArgs};
use super::{Exit, Failure, errors};

#[derive(Debug, Subcommand)]
pub(super) enum RecipientsCommand {
    /// Let keys read a branch: what is encrypted already, and what will be. One commit, nothing is checked out.
    Add(AddArgs),
    /// Shut keys out of branches: they open nothing there any more. New data keys, all values sealed anew.
    Remove(RemoveArgs),
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
    /// A file of public keys, one a line, comments are names (see keys.example), or what `ssh-keyscan` prints;
    /// `-` for standard input.
    #[arg(long = "recipients-file", short = 'R', value_name = "FILE")]
    files: Vec<PathBuf>,
}

impl KeyArgs {
    /// The keys in these words.
    pub(super) fn parse_all(keys: &[String]) -> Result<Vec<Named>, Failure> {
        let parse = |key: &String| {
            files::parse_one(key).map_err(|error| {
                Failure::new(Exit::Usage, error)
                    .hint("`hlx keys export --public` prints one's own; `-R FILE` takes a file of keys")
            })
        };
        keys.iter().map(parse).collect()
    }

    /// The keys named, with their names.
    pub(super) fn read(&self, cx: &Context) -> Result<Vec<Named>, Failure> {
        let mut named = Self::parse_all(&self.recipients)?;
        for path in &self.files {
            let text = match path.as_os_str() == "-" {
                true => io::read_to_string(io::stdin()).map_err(|error| errors::io(path, &error))?,
                false => String::from_utf8_lossy(&cx.read(path)?).into_owned(),
            };
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
    /// The key group that the keys join, counted from 1, in files and rules that have several.
    #[arg(long, value_name = "NUMBER")]
    group: Option<usize>,
    /// The name that stands behind the key in `.sops.yaml`.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    branches: BranchArgs,
    #[command(flatten)]
    how: HowArgs,
}

#[derive(Debug, Args)]
pub(super) struct RemoveArgs {
    /// Public keys, or their names in `.sops.yaml`.
    #[arg(value_name = "KEY")]
    keys: Vec<String>,
    #[command(flatten)]
    more: KeyArgs,
    #[command(flatten)]
    branches: BranchArgs,
    #[command(flatten)]
    how: HowArgs,
}

/// Runs `hlx recipients …`.
pub(super) fn run(command: &RecipientsCommand, cx: &Context) -> Result<(), Failure> {
    match command {
        RecipientsCommand::Add(args) => add(args, cx),
        RecipientsCommand::Remove(args) => remove(args, cx),
        RecipientsCommand::Accept(args) => accept::run(args, cx),
        RecipientsCommand::List(args) => readers::list(args, cx),
    }
}

fn add(args: &AddArgs, cx: &Context) -> Result<(), Failure> {
    let mut added = all(&args.keys, &args.more, cx)?;
    if let Some(name) = &args.name {
        added.iter_mut().for_each(|named| named.name = Some(name.clone()));
    }
    let place = args.group.map_or(Place::Unsaid, Place::Group);
    rotate::run(Change::Add(Addition { readers: &added, place }), &args.branches, &args.how, cx)
}

fn remove(args: &RemoveArgs, cx: &Context) -> Result<(), Failure> {
    let more = args.more.read(cx)?.into_iter().map(|named| named.recipient);
    let keys: Vec<Recipient> = more.chain(keys_or_names(&args.keys, cx)?).collect();
    if keys.is_empty() {
        return Err(no_key());
    }
    let change = Change::Remove { keys: &keys, data_keys: DataKeys::Fresh };
    rotate::run(change, &args.branches, &args.how, cx)
}

/// All keys that were named; there must be one.
fn all(keys: &[String], more: &KeyArgs, cx: &Context) -> Result<Vec<Named>, Failure> {
    let mut all = more.read(cx)?;
    all.extend(KeyArgs::parse_all(keys)?);
    if all.is_empty() { Err(no_key()) } else { Ok(all) }
}

fn no_key() -> Failure {
    Failure::new(Exit::Usage, "no key is named").hint("name a key, or a file of keys with `-R`")
}

/// Says that post-quantum keys protect nothing on a branch.
pub(super) fn warn_of_waste(branch: &str, cx: &Context) {
    cx.ui.warning(format!(
        "{branch}: post-quantum keys and others can read the same files; a quantum computer could break the others, so that the post-quantum ones protect nothing"
    ));
    cx.ui.hint(errors::all_post_quantum());
}

/// Keys that are there, as such or by the name that `.sops.yaml` gives them.
pub(super) fn keys_or_names(words: &[String], cx: &Context) -> Result<Vec<Recipient>, Failure> {
    words.iter().map(|word| key_or_name(word, cx)).collect()
}

fn key_or_name(word: &str, cx: &Context) -> Result<Recipient, Failure> {
    let error = match files::parse_one(word) {
        Ok(named) => return Ok(named.recipient),
        Err(error) => error,
    };
    let repository = cx.repository()?;
    let tips = branch::tips(&cx.git(&repository)?).map_err(errors::git)?;
    let commits: Vec<&String> = tips.values().collect();
    let found = recipients::named(&repository, &commits, word).map_err(errors::repo)?;
    chosen(word, &found, cx)?.ok_or_else(|| {
        Failure::new(Exit::Usage, error).hint("`hlx recipients list` shows keys and their names")
    })
}

/// A key that is there or once was, as such or by the name that some `.sops.yaml` gave it.
pub(super) fn key_of_any_time(word: &str, cx: &Context) -> Result<Recipient, Failure> {
    let now = match key_or_name(word, cx) {
        Err(unknown) if unknown.exit() == Exit::Usage => unknown,
        other => return other,
    };
    let repository = cx.repository()?;
    let found = recipients::named_ever(&repository, &cx.git(&repository)?, word).map_err(errors::repo)?;
    chosen(word, &found, cx)?
        .ok_or_else(|| now.hint("`git log -p --all -- .sops.yaml` shows those that were taken out too"))
}

/// The one key of a name.
fn chosen(word: &str, found: &BTreeSet<Recipient>, cx: &Context) -> Result<Option<Recipient>, Failure> {
    match &found.iter().collect::<Vec<_>>()[..] {
        [one] => {
            cx.ui.note(format!("{word} is {one}"));
            Ok(Some((*one).clone()))
        }
        [] => Ok(None),
        several => {
            let list: Vec<String> = several.iter().map(|key| key.to_string()).collect();
            let message = format!("`{word}` is the name of several keys: {}", list.join(", "));
            Err(Failure::new(Exit::Usage, message).hint("name the key itself"))
        }
    }
}
