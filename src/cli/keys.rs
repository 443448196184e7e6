//! `hlx keys`: making and listing private keys.

use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use crate::crypto::envelope::Recipient;
use crate::keys::plugins::Idle;
use crate::keys::{Found, generate};

use super::context::{Context, default_key_file};
use super::{Exit, Failure, errors};

#[derive(Debug, Subcommand)]
pub(super) enum KeysCommand {
    /// Make a private key, and print the public key that belongs to it.
    Generate(GenerateArgs),
    /// List the public keys of all private keys that are found, and where.
    List(ListArgs),
}

#[derive(Debug, Args)]
pub(super) struct GenerateArgs {
    /// The file to make; by default the one that sops reads too: ~/.config/sops/age/keys.txt
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Also show the places where no key was found, and why.
    #[arg(long, short)]
    verbose: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Runs `hlx keys …`.
pub(super) fn run(command: &KeysCommand, cx: &Context) -> Result<(), Failure> {
    match command {
        KeysCommand::Generate(args) => generate_key(args, cx),
        KeysCommand::List(args) => list(args, cx),
    }
}

fn generate_key(args: &GenerateArgs, cx: &Context) -> Result<(), Failure> {
    let path = args.output.clone().or_else(default_key_file);
    let path =
        path.ok_or_else(|| Failure::new(Exit::Usage, "no HOME is set").hint("name a file with `--output`"))?;
    cx.ui.result(make(&path, cx)?);
    Ok(())
}

/// Makes a key and says where it is.
pub(super) fn make(path: &Path, cx: &Context) -> Result<Recipient, Failure> {
    let recipient = generate::to_file(path, &cx.now()).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            Failure::new(Exit::Failed, format!("{} exists already", path.display()))
                .hint("`hlx keys list` shows its public key; `--output FILE` makes another key elsewhere")
        }
        _ => errors::io(path, &error),
    })?;
    cx.ui.note(format!("made a private key in {}: keep a copy in a safe place", path.display()));
    Ok(recipient)
}

fn list(args: &ListArgs, cx: &Context) -> Result<(), Failure> {
    let keyring = cx.keyring();
    if args.json {
        let places: Vec<_> = keyring
            .tried()
            .iter()
            .map(|tried| match &tried.outcome {
                Ok(keys) => serde_json::json!({
                    "place": tried.place,
                    "recipients": keys.iter().filter_map(Found::recipient).map(Recipient::as_str).collect::<Vec<_>>(),
                    "plugins": keys.iter().filter_map(plugin).collect::<Vec<_>>(),
                }),
                Err(reason) => serde_json::json!({ "place": tried.place, "problem": reason }),
            })
            .collect();
        cx.ui.result(serde_json::Value::from(places));
        return Ok(());
    }
    for tried in keyring.tried() {
        match &tried.outcome {
            Ok(keys) => keys.iter().for_each(|key| show(key, &tried.place, cx)),
            Err(reason) if args.verbose || reason != "not there" => {
                cx.ui.note(format!("{}: {reason}", tried.place))
            }
            Err(_) => {}
        }
    }
    let is_key = |found: &Found| !matches!(found, Found::Idle(..));
    if !keyring.tried().iter().flat_map(|tried| tried.outcome.iter().flatten()).any(is_key) {
        cx.ui.note("no private key was found that can be used");
        cx.ui.hint("`hlx keys generate` makes one; `hlx keys list -v` shows where it was looked for");
    }
    Ok(())
}

fn show(key: &Found, place: &str, cx: &Context) {
    match key {
        Found::Of(recipient) => cx.ui.result(format!("{recipient}  {place}")),
        Found::OfPlugin(plugin) => cx.ui.result(format!("(a key of the age plugin `{plugin}`)  {place}")),
        Found::Idle(plugin, Idle::NotAllowed) => {
            cx.ui.note(format!("{place}: a key of the age plugin `{plugin}`, which is not allowed to run"));
            cx.ui.hint(errors::allow(plugin));
        }
        Found::Idle(plugin, Idle::Missing) => {
            cx.ui.note(format!(
                "{place}: a key of the age plugin `{plugin}`: no `age-plugin-{plugin}` is on the PATH"
            ));
        }
        Found::Idle(plugin, Idle::NotOfPlugin) => {
            cx.ui.note(format!(
                "{place}: a post-quantum key, which hlx can use only as a key of the age plugin `{plugin}`"
            ));
            cx.ui.hint("`age-plugin-pq -identity` turns it into one");
        }
    }
}

/// The plugin of a key whose public key is not known.
fn plugin(key: &Found) -> Option<serde_json::Value> {
    match key {
        Found::Of(_) => None,
        Found::OfPlugin(plugin) => Some(serde_json::json!({ "plugin": plugin, "usable": true })),
        Found::Idle(plugin, _) => Some(serde_json::json!({ "plugin": plugin, "usable": false })),
    }
}
