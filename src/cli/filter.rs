//! The plumbing that git calls: filter, textconv, merge driver.

use std::fs::File;
use std::io::{self, Read as _};
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;

use clap::Args;

use crate::filter::clean::Cleaner;
use crate::filter::merge::{Markers, Merged, Sides};
use crate::filter::process::Handler;
use crate::filter::smudge::Smudged;
use crate::filter::{
    Error, merge as merging, process as protocol, smudge as smudging, textconv as converting,
};
use crate::format::Format;
use crate::keys::{self, Keyring};
use crate::secret::SecretBytes;
use crate::sys::eager::Eager;
use crate::sys::random;
use crate::sys::wiped::Reader;

use super::context::{Context, now};
use super::{Exit, Failure, Ui, errors, ui};

/// One path.
#[derive(Debug, Args)]
pub(super) struct PathArgs {
    path: PathBuf,
}

/// What git passes to a merge driver: `%O %A %B %L %P`.
#[derive(Debug, Args)]
pub(super) struct MergeArgs {
    base: PathBuf,
    ours: PathBuf,
    theirs: PathBuf,
    marker_size: usize,
    path: String,
}

struct Filter<'a> {
    cleaner: Cleaner<'a>,
    keyring: &'a Keyring,
    ui: Ui,
    locked: bool,
    left_sealed: usize,
}

impl Handler for Filter<'_> {
    fn clean(&mut self, path: &[u8], content: &[u8]) -> Result<Vec<u8>, Error> {
        let sealed = self.cleaner.clean(path, content);
        warn_of_anchors(&self.cleaner, &String::from_utf8_lossy(path), self.ui);
        sealed
    }

    fn smudge(&mut self, path: &[u8], name: &[u8], blob: &[u8]) -> Smudged {
        // A checkout that stops half-way leaves a mixed tree: even a defect must leave the file sealed.
        let (cleaner, keyring) = (&self.cleaner, self.keyring);
        let smudge = || {
            cleaner.note_checkout(path, name, blob);
            if self.locked { Smudged::Locked } else { smudging::smudge(keyring, blob) }
        };
        panic::catch_unwind(AssertUnwindSafe(smudge)).unwrap_or(Smudged::Clear)
    }

    fn refused(&mut self, path: &[u8], error: Error) {
        let failure = errors::clean(&String::from_utf8_lossy(path), error);
        self.ui.failure(&failure);
    }

    fn stays_sealed(&mut self, path: &[u8], error: &keys::Error) {
        self.left_sealed += 1;
        // A clone without a key would say the same of every file.
        if self.left_sealed == 1 || !matches!(error, keys::Error::NoIdentity { .. }) {
            self.ui.warning(format!("{} stays encrypted: {error}", String::from_utf8_lossy(path)));
        }
    }

    fn finished(&mut self) {
        if self.left_sealed > 1 {
            self.ui.warning(format!("{} files stay encrypted", self.left_sealed));
        }
        if self.left_sealed > 0 {
            self.ui.hint(
                "`hlx keys list` shows where keys were looked for; `hlx unlock` opens them once there is one",
            );
        }
    }
}

/// `hlx filter-process`
pub(super) fn process(cx: &Context) -> Result<(), Failure> {
    let (repository, keyring) = (cx.repository_inside_git()?, cx.keyring());
    let mut filter = Filter {
        cleaner: Cleaner::new(&repository, &keyring, &now),
        keyring: &keyring,
        ui: cx.ui,
        locked: repository.is_locked(),
        left_sealed: 0,
    };
    let mut to = ui::past_the_buffer(io::stdout()).map_err(|error| broken(&error))?;
    let mut from = git_pipe().map_err(|error| broken(&error))?;
    protocol::serve(&mut from, &mut to, &mut filter).map_err(|error| broken(&error))
}

fn broken(error: &io::Error) -> Failure {
    Failure::new(Exit::Failed, format!("the conversation with git broke off: {error}"))
}

/// Standard input, read eagerly.
fn git_pipe() -> io::Result<Reader<Eager<File>>> {
    Ok(Reader::new(Eager::new(ui::past_the_buffer(io::stdin())?), 1 << 16))
}

/// `hlx clean -- PATH`
pub(super) fn clean(args: &PathArgs, cx: &Context) -> Result<(), Failure> {
    let (repository, keyring) = (cx.repository_inside_git()?, cx.keyring());
    let plaintext = stdin()?;
    let path = args.path.to_string_lossy();
    let cleaner = Cleaner::new(&repository, &keyring, &now);
    let sealed =
        cleaner.clean(path.as_bytes(), plaintext.expose()).map_err(|error| errors::clean(&path, error))?;
    warn_of_anchors(&cleaner, &path, cx.ui);
    output(cx, &sealed)
}

/// A rule that seals a value by its alias may leave it clear at its anchor: that is said.
pub(super) fn warn_of_anchors(cleaner: &Cleaner<'_>, path: &str, ui: Ui) {
    let found = cleaner.take_clear_anchors();
    for anchor in &found {
        ui.warning(format!(
            "{path}: line {}: `{}` stays in clear, though it is encrypted as `{}`",
            anchor.line, anchor.path, anchor.alias
        ));
    }
    if !found.is_empty() {
        ui.hint("if it is secret, let the rule in `.sops.yaml` match the key of the anchor too");
        ui.hint(format!(
            "a file that git has keeps the rule in it until it is added anew: `git rm --cached {path}`, commit, `git add {path}`"
        ));
    }
}

/// `hlx smudge -- PATH`
pub(super) fn smudge(args: &PathArgs, cx: &Context) -> Result<(), Failure> {
    let blob = stdin()?;
    let smudged = match cx.repository_inside_git()?.is_locked() {
        true => Smudged::Locked,
        false => smudging::smudge(&cx.keyring(), blob.expose()),
    };
    match smudged {
        Smudged::Open(plaintext) => output(cx, plaintext.expose()),
        Smudged::Clear | Smudged::Locked => output(cx, blob.expose()),
        Smudged::Sealed(error) => {
            cx.ui.warning(format!("{} stays encrypted: {error}", args.path.display()));
            output(cx, blob.expose())
        }
    }
}

/// `hlx textconv FILE`
pub(super) fn textconv(args: &PathArgs, cx: &Context) -> Result<(), Failure> {
    let content = cx.read(&args.path)?;
    output(cx, converting::textconv(&cx.keyring(), content).expose())
}

/// `hlx merge BASE OURS THEIRS SIZE PATH`: the result takes the place of ours.
pub(super) fn merge(args: &MergeArgs, cx: &Context) -> Result<(), Failure> {
    let sides =
        Sides { base: cx.read(&args.base)?, ours: cx.read(&args.ours)?, theirs: cx.read(&args.theirs)? };
    let labels = ["base", "ours", "theirs"].map(str::to_owned);
    let markers = Markers { size: args.marker_size, labels };
    let whole = cx.repository_inside_git()?.attributes(args.path.as_bytes()).map_err(errors::git)?.whole;
    let format = if whole { Format::Binary } else { Format::of_path(&args.path) };
    let merged = merging::merge(&cx.keyring(), format, &sides, &markers, cx.stamp(&mut random::fill));
    let merged = merged.map_err(|error| merge_failure(&args.path, error))?;
    let (sealed, result) = match merged {
        Merged::Clean(sealed) => (sealed, Ok(())),
        Merged::Conflicts(sealed) => {
            let conflict =
                Failure::new(Exit::Failed, format!("{}: both sides changed the same lines", args.path))
                    .hint(format!("edit {0} between the markers, then `git add {0}`", args.path));
            (sealed, Err(conflict))
        }
    };
    std::fs::write(&args.ours, sealed).map_err(|error| errors::io(&args.ours, &error))?;
    result
}

fn merge_failure(path: &str, error: merging::Error) -> Failure {
    let message = format!("{path}: {error}");
    let advised = match error {
        merging::Error::Side { source, .. } => errors::keys(source),
        merging::Error::Seal(error) => errors::sops(error),
        merging::Error::Io(_) => Failure::new(Exit::Failed, ""),
        merging::Error::ClearSide => Failure::new(Exit::Policy, "")
            .hint("commit the file encrypted first: `git add --renormalize FILE`"),
    };
    let hints = advised.hints().iter().map(|hint| hint.replace("FILE", path));
    hints.fold(Failure::new(advised.exit(), message), Failure::hint)
}

fn stdin() -> Result<SecretBytes, Failure> {
    let mut content = SecretBytes::new(Vec::new());
    ui::past_the_buffer(io::stdin())
        .and_then(|mut stdin| stdin.read_to_end(content.expose_mut()))
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot read the file from git: {error}")))?;
    Ok(content)
}

fn output(cx: &Context, bytes: &[u8]) -> Result<(), Failure> {
    cx.ui
        .raw(bytes)
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot write the file to git: {error}")))
}
