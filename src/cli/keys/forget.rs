//! `hlx keys forget`: what was unlocked is locked again, and what is in the keychain is taken out.

use std::path::Path;

use clap::Args;

use crate::crypto::envelope::Recipient;
use crate::keys::keychain::{self, Removed};
use crate::keys::{Found, Tried, unlocked};
use crate::sys::kernel_keys;

use super::super::context::{Context, keychain_list};
use super::super::ui::{self, counted};
use super::super::{Exit, Failure};
use super::make;

#[derive(Debug, Args)]
pub(in crate::cli) struct ForgetArgs {
    /// Take the private key of this public key, or of its beginning, out of the keychain. Not needed if one is there only.
    #[arg(long, value_name = "PUBLIC KEY", num_args = 0..=1, default_missing_value = "")]
    keychain: Option<String>,
    /// Do not ask, though there may be no copy of it.
    #[arg(long, requires = "keychain")]
    yes: bool,
}

/// `hlx keys forget`
pub(super) fn forget(args: &ForgetArgs, cx: &Context) -> Result<(), Failure> {
    match &args.keychain {
        Some(key) => take_out(key, args.yes, cx),
        None => lock(cx),
    }
}

fn lock(cx: &Context) -> Result<(), Failure> {
    match unlocked::forget() {
        Ok(0) => cx.ui.note("no private key was unlocked"),
        Ok(count) => {
            cx.ui.note(format!("{} locked again", counted(count, "private key is", "private keys are")))
        }
        Err(error @ (kernel_keys::Error::Unavailable(_) | kernel_keys::Error::Full)) => {
            return Err(Failure::new(Exit::Missing, error));
        }
    }
    Ok(())
}

fn take_out(words: &str, yes: bool, cx: &Context) -> Result<(), Failure> {
    let none =
        || Failure::new(Exit::Failed, "no private key is in the keychain, as far as hlx put any there");
    let list = keychain_list().ok_or_else(none)?;
    let listed = keychain::listed(&list).map_err(|reason| Failure::new(Exit::Failed, reason))?;
    let key = match &pick(&listed, words)[..] {
        [one] => (*one).clone(),
        _ if listed.is_empty() => return Err(none()),
        [] => return Err(unclear(format!("the private key of `{words}` is not in the keychain"), &listed)),
        _ => return Err(unclear("several private keys are in the keychain".to_owned(), &listed)),
    };
    confirm(&key, yes, cx)?;
    let removed = keychain::remove(Path::new(&list), &key).map_err(make::keychain_failure)?;
    cx.ui.result(&key);
    match removed {
        Removed::Gone => cx.ui.note("its private key is in the keychain no more"),
        Removed::Unlisted => cx.ui.note("the keychain did not have its private key; it is off the list now"),
    }
    cx.ui.hint("a branch that names it still encrypts for it: `hlx recipients remove KEY --all`");
    Ok(())
}

/// The listed keys that are meant.
fn pick<'l>(listed: &'l [Recipient], words: &str) -> Vec<&'l Recipient> {
    // The comment of an ssh key is no part of it.
    let whole = words.parse::<Recipient>();
    let is_meant = |key: &&Recipient| match &whole {
        Ok(whole) => *key == whole,
        Err(_) => key.as_str().starts_with(words.trim_end_matches('…')),
    };
    listed.iter().filter(is_meant).collect()
}

fn unclear(message: String, listed: &[Recipient]) -> Failure {
    let known: Vec<String> = listed.iter().map(Recipient::short).collect();
    Failure::new(Exit::Usage, message)
        .hint(format!("name one of these, or the beginning of one: {}", known.join(", ")))
}

/// Fails unless there is a copy of the key, or the user says that it may go.
fn confirm(key: &Recipient, yes: bool, cx: &Context) -> Result<(), Failure> {
    let keyring = cx.keyring();
    let holds = |tried: &&Tried| {
        tried.outcome.iter().flatten().any(|found| matches!(found, Found::Of(known) if known == key))
    };
    if let Some(copy) = keyring.tried().iter().find(holds) {
        cx.ui.note(format!("a copy of it is in {}", copy.place));
        return Ok(());
    }
    if yes {
        return Ok(());
    }
    let question = format!(
        "hlx finds no copy of the private key of {}: without one, what only it can read is lost. Take it out? [y/N]",
        key.short()
    );
    let refused = || Failure::new(Exit::Policy, "nothing was taken out of the keychain");
    match ui::ask(&question).map(|answer| answer.to_lowercase()).as_deref() {
        Some("y" | "yes") => Ok(()),
        Some(_) => Err(refused()),
        None => Err(refused()
            .hint("hlx finds no copy of that private key: without one, what only it can read is lost")
            .hint("say `--yes` if that is meant to be so")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_named_by_all_of_it_or_its_beginning_or_not_at_all() {
        let keys = [
            "age1xk7yh7phvy5fcapfuzwvhrr8hehh35p0zyrk4hur70yge458ayxq6dm0nj",
            "age1sld56zg0pxytug34k8a0tc0ja5f5t9s57f04dsml7d38r9rhjp2qlkkvgu",
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsKLqeplhpW+uObz5dvMgjz1OxfM/XXUB+VHtZ6isGN",
        ];
        let listed = keys.map(|key| key.parse::<Recipient>().unwrap());
        let ssh = format!("{} me@laptop", keys[2]);
        for (words, meant) in [
            (keys[1], &[1][..]),
            ("age1xk", &[0]),
            ("age1xk…", &[0]),
            (&ssh, &[2]),
            ("age1", &[0, 1]),
            ("", &[0, 1, 2]),
            ("age1q", &[]),
        ] {
            let meant: Vec<&Recipient> = meant.iter().map(|at| &listed[*at]).collect();
            assert_eq!(pick(&listed, words), meant, "{words}");
        }
        assert_eq!(pick(&listed[..1], "").len(), 1);
    }
}
