//! `hlx keys list` and `export`: which keys there are.

use clap::Args;
use serde_json::json;

use crate::crypto::envelope::Recipient;
use crate::keys::plugins::Idle;
use crate::keys::{Found, Missing, Tried};

use super::super::context::{Context, time};
use super::super::{Exit, Failure, errors, ui};

#[derive(Debug, Args)]
pub(in crate::cli) struct ListArgs {
    /// Also show the places where no key was found, in the order of the search.
    #[arg(long, short)]
    verbose: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ExportArgs {
    /// The public keys: there is no other export, a private key is a file to copy.
    #[arg(long, required = true)]
    public: bool,
}

/// `hlx keys list`
pub(super) fn list(args: &ListArgs, cx: &Context) -> Result<(), Failure> {
    let keyring = cx.keyring();
    if args.json {
        cx.ui.result(keyring.tried().iter().map(as_json).collect::<serde_json::Value>());
        return Ok(());
    }
    for tried in keyring.tried() {
        match &tried.outcome {
            Ok(keys) => keys.iter().for_each(|key| show(key, tried, cx)),
            Err(Missing::Nothing(_)) if !args.verbose => {}
            Err(reason) => cx.ui.note(format!("{}: {reason}", tried.place)),
        }
    }
    let keys = keyring.tried().iter().flat_map(|tried| tried.outcome.iter().flatten());
    let is_cut = |key: &Recipient| ui::key(key) != key.as_str();
    if keys.filter_map(Found::recipient).any(is_cut) {
        cx.ui.hint("`hlx keys export --public` prints post-quantum keys whole");
    }
    let is_key = |found: &Found| !matches!(found, Found::Idle(..));
    if !keyring.tried().iter().flat_map(|tried| tried.outcome.iter().flatten()).any(is_key) {
        cx.ui.note("no private key was found that can be used");
        cx.ui.hint("`hlx keys generate` makes one; `hlx keys list -v` shows where it was looked for");
    }
    Ok(())
}

fn as_json(tried: &Tried) -> serde_json::Value {
    match &tried.outcome {
        Ok(keys) => json!({
            "place": tried.place,
            "recipients": keys.iter().filter_map(Found::recipient).map(Recipient::as_str).collect::<Vec<_>>(),
            "plugins": keys.iter().filter_map(plugin).collect::<Vec<_>>(),
            "locked": keys.iter().any(|key| matches!(key, Found::Locked(_))),
            "unlocked_until": tried.until.map(|until| time(Some(until))),
        }),
        Err(reason) => json!({ "place": tried.place, "problem": reason.to_string() }),
    }
}

fn show(key: &Found, tried: &Tried, cx: &Context) {
    let place = &tried.place;
    match key {
        Found::Of(recipient) => {
            let until = tried.until.map(|until| format!("  (unlocked until {})", time(Some(until))));
            cx.ui.result(format!("{}  {place}{}", ui::key(recipient), until.unwrap_or_default()));
        }
        Found::Locked(known) => {
            let known = known.as_ref().map_or("(its public key is not known)".into(), ui::key);
            cx.ui.result(format!("{known}  {place}  (locked by a passphrase)"));
            cx.ui.hint(errors::unlock(place));
        }
        Found::InKeychain(recipient) => cx.ui.result(format!("{}  {place}", ui::key(recipient))),
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
    }
}

/// The plugin of a key whose public key is not known.
fn plugin(key: &Found) -> Option<serde_json::Value> {
    match key {
        Found::Of(_) | Found::Locked(_) | Found::InKeychain(_) => None,
        Found::OfPlugin(plugin) => Some(json!({ "plugin": plugin, "usable": true })),
        Found::Idle(plugin, _) => Some(json!({ "plugin": plugin, "usable": false })),
    }
}

/// `hlx keys export --public`
pub(super) fn export(_: &ExportArgs, cx: &Context) -> Result<(), Failure> {
    let recipients = cx.keys()?.recipients();
    if recipients.is_empty() {
        return Err(Failure::new(Exit::NoKey, "there is no private key here whose public key is known")
            .hint("`hlx keys list -v` shows where it was looked for; `hlx keys generate` makes one"));
    }
    // The name of a key stands above it, as in a file of keys.
    cx.ui.result(format!("# {}", cx.user()));
    recipients.iter().for_each(|recipient| cx.ui.result(recipient));
    Ok(())
}
