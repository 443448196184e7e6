//! `hlx track` and `hlx untrack`.

use std::path::PathBuf;

use clap::Args;

use crate::git::Git;
use crate::repo::track::{Mode, Tracked, Tracker};
use crate::repo::untrack as untracking;

use super::context::Context;
use super::repo::{from_top, own};
use super::{Failure, errors, quote};

#[derive(Debug, Args)]
#[command(
    after_long_help = "A file that git has encrypted by another rule, or in another form, is encrypted anew for the same readers, and \
    staged together with `.sops.yaml` and `.gitattributes`: so this command also carries out what was changed in `.sops.yaml`."
)]
pub(super) struct TrackArgs {
    /// The files, from where you stand. With `--whole`, the top of the work tree is everything on the branch
    /// but `.gitattributes` and `.sops.yaml`.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Encrypt only what stands below keys that match this regular expression. For compose files the default
    /// is `^environment$`; a rule that was chosen for the file before stays until another is.
    #[arg(long, value_name = "REGEX", conflicts_with_all = ["marked", "whole"])]
    keys: Option<String>,
    /// Encrypt only what a comment `# secret` stands before.
    #[arg(long, conflicts_with = "whole")]
    marked: bool,
    /// Encrypt the whole file as one value.
    #[arg(long)]
    whole: bool,
}

/// `hlx track PATH…`
pub(super) fn track(args: &TrackArgs, cx: &Context) -> Result<(), Failure> {
    let repository = cx.repository()?;
    let git = cx.git(&repository)?;
    let prefix = Git::at(cx.directory()).text(&["rev-parse", "--show-prefix"]).map_err(errors::git)?;
    let mode = match (&args.keys, args.marked, args.whole) {
        (Some(keys), ..) => Mode::Keys(keys.clone()),
        (None, true, _) => Mode::Marked,
        (None, false, true) => Mode::Whole,
        (None, false, false) => Mode::Default,
    };
    let keyring = cx.keys()?;
    let (own, now) = (own(&keyring, cx), cx.now());
    let tracker = Tracker { repository: &repository, git: &git, keyring: &keyring, own: &own, now: &now };
    for path in &args.paths {
        let path = from_top(&repository, &prefix, path)?;
        if path.is_empty() && mode == Mode::Whole {
            let done = tracker.track_all().map_err(errors::repo)?;
            report_all(&done, cx);
            continue;
        }
        let done = tracker.track(&path, &mode).map_err(|error| errors::for_path(&path, error))?;
        report(&path, &done, cx);
    }
    Ok(())
}

/// What becomes of a blob in clear that was only staged.
const FORGET: &str =
    "`git add` stages it encrypted; git keeps the clear one in this clone until `git gc --prune=now`";

fn report_all(done: &Tracked, cx: &Context) {
    let news = if done.attributes { "is protected now" } else { "was protected already" };
    cx.ui.result(format!("everything on this branch {news}"));
    if !done.resealed.is_empty() {
        cx.ui.note(format!("encrypted whole now, and staged: {}", quote::list(&done.resealed)));
    }
    if done.was_plaintext && !done.committed {
        cx.ui.note("some were staged in clear, and are in no commit");
        cx.ui.hint(FORGET);
    }
    if done.committed {
        cx.ui.warning(
            "files of this branch are in git in clear, and its history keeps that: change any secret in them at its source",
        );
    }
    if done.attributes || done.was_plaintext {
        cx.ui.hint("commit it with `git add .` and `git commit`");
    }
}

fn report(path: &str, done: &Tracked, cx: &Context) {
    let (path, word) = (quote::path(path), quote::word(path));
    let changed = done.attributes || done.rule;
    let news = if changed { "is protected now" } else { "was protected already" };
    cx.ui.result(format!("{path} {news}"));
    if !done.resealed.is_empty() {
        cx.ui.note(format!("{path} was encrypted otherwise: the new form is staged, for the same readers, with `.sops.yaml` and `.gitattributes`"));
    }
    if done.missing {
        cx.ui.warning(format!("there is no {path} yet: it will be encrypted once it is there"));
    }
    if done.ignored {
        cx.ui
            .warning(format!("{path} is ignored by a .gitignore: take it out there, or `git add -f {word}`"));
    }
    if done.was_plaintext && !done.committed {
        cx.ui.note(format!("{path} was staged in clear, and is in no commit"));
        cx.ui.hint(FORGET);
    }
    if done.committed {
        cx.ui.warning(format!(
            "{path} is in git in clear, and its history keeps that: change any secret in it at its source"
        ));
    }
    if let Some((field, text)) = &done.kept {
        cx.ui.note(format!("{path} keeps its rule in `.sops.yaml`, `{field}: {text}`"));
        cx.ui.hint("choose another with `--keys`, `--marked` or `--whole`");
    }
    if !done.resealed.is_empty() {
        cx.ui.hint("commit it with `git commit`");
    } else if changed || done.was_plaintext {
        let there = if done.missing { String::new() } else { format!(" {word}") };
        cx.ui.hint(format!("commit it with `git add .gitattributes .sops.yaml{there}` and `git commit`"));
    }
}

#[derive(Debug, Args)]
pub(super) struct UntrackArgs {
    /// The files, from where you stand.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
}

/// `hlx untrack PATH…`
pub(super) fn untrack(args: &UntrackArgs, cx: &Context) -> Result<(), Failure> {
    let repository = cx.repository()?;
    let git = cx.git(&repository)?;
    let prefix = Git::at(cx.directory()).text(&["rev-parse", "--show-prefix"]).map_err(errors::git)?;
    for path in &args.paths {
        let path = from_top(&repository, &prefix, path)?;
        let done = untracking::untrack(&repository, &git, &path).map_err(errors::repo)?;
        let news = if done.attributes { "is not protected any more" } else { "was not protected any more" };
        cx.ui.result(format!("{path} {news}"));
        if done.was_sealed {
            cx.ui.warning(format!(
                "from the next commit on {path} is in git in clear, for everyone who can read the repository; what is in the history \
                 stays encrypted"
            ));
        }
        let there = if done.missing { String::new() } else { format!(" {path}") };
        cx.ui.hint(format!("commit it with `git add .gitattributes{there}` and `git commit`; `hlx track {path}` takes it back"));
    }
    Ok(())
}
