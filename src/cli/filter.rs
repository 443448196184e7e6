//! The plumbing that git calls: filter, textconv, merge driver.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;

use clap::Args;

use crate::filter::ahead::Ahead;
use crate::filter::clean::Cleaner;
use crate::filter::merge::{Conflict, Markers, Sides};
use crate::filter::process::{Answer, Handler, Request};
use crate::filter::smudge::Smudged;
use crate::filter::{
    Error, merge as merging, process as protocol, smudge as smudging, textconv as converting,
};
use crate::format::Format;
use crate::keys::{self, Keyring};
use crate::secret::SecretBytes;
use crate::sops;
use crate::sys::eager::Eager;
use crate::sys::random;
use crate::sys::wiped::Reader;
use crate::trust::{At, Guard};

use super::context::{Context, time};
use super::{Exit, Failure, Ui, errors, quote, ui};

/// One path.
#[derive(Debug, Args)]
pub(super) struct PathArgs {
    path: PathBuf,
}

/// What git passes to a merge driver: `%O %A %B %L %P`, and from 2.44 on the labels `%S %X %Y`.
#[derive(Debug, Args)]
pub(super) struct MergeArgs {
    base: PathBuf,
    ours: PathBuf,
    theirs: PathBuf,
    marker_size: usize,
    path: OsString,
    labels: Vec<OsString>,
}

struct Filter<'a> {
    cleaner: &'a Cleaner<'a>,
    ahead: Ahead<'a>,
    keyring: &'a Keyring,
    ui: Ui,
    locked: bool,
    left_sealed: usize,
    /// Why, each reason once.
    reasons: BTreeSet<Reason>,
}

impl Handler for Filter<'_> {
    fn clean(&mut self, path: &[u8], content: &[u8]) -> Result<Vec<u8>, Error> {
        let sealed = self.ahead.cleaned(path, content).unwrap_or_else(|| {
            self.forget_notes();
            self.cleaner.answer(path, content)
        });
        warn_of_anchors(self.cleaner, &String::from_utf8_lossy(path), self.ui);
        note_rekeyed(self.cleaner.guard(), self.ui);
        sealed
    }

    fn smudge(&mut self, request: &Request, blob: &[u8]) -> Smudged {
        let note = || self.cleaner.note_checkout(&request.path, &request.blob, blob);
        let _ = panic::catch_unwind(AssertUnwindSafe(note));
        match self.ahead.smudged(blob) {
            _ if self.locked => Smudged::Locked,
            Some(smudged) => smudged,
            None => smudging::at_all_events(self.keyring, blob),
        }
    }

    fn refused(&mut self, path: &[u8], error: Error) {
        let failure = errors::clean(&String::from_utf8_lossy(path), error);
        self.ui.failure(&failure);
    }

    fn answered(&mut self, request: &Request, content: &[u8], answer: &Answer) {
        match answer {
            Answer::Cleaned(sealed) => self.cleaner.learn_answer(sealed, content),
            Answer::Opened(plaintext) => self.cleaner.learn(&request.blob, content, plaintext.expose()),
            Answer::Unchanged | Answer::Refused => {}
        }
        if !self.locked {
            let _ = panic::catch_unwind(AssertUnwindSafe(|| self.ahead.go_on(request)));
        }
    }

    fn stays_sealed(&mut self, path: &[u8], error: &keys::Error) {
        self.left_sealed += 1;
        self.reasons.insert(reason(error));
        // A clone without a key would say the same of every file.
        if self.left_sealed == 1 || !matches!(error, keys::Error::NoIdentity { .. }) {
            let path = quote::path(OsStr::from_bytes(path));
            self.ui.warning(format!("{path} stays encrypted: {error}"));
        }
    }

    fn finished(&mut self) {
        if self.left_sealed > 1 {
            self.ui.warning(format!("{} files stay encrypted", self.left_sealed));
        }
        self.reasons.iter().for_each(|reason| self.ui.hint(reason.hint()));
    }
}

impl Filter<'_> {
    /// Drops what a wrong guess noted: git has not asked for that file.
    fn forget_notes(&self) {
        self.cleaner.take_clear_anchors();
        self.cleaner.guard().take_rekeyed();
    }
}

/// Why a file stays encrypted, as far as it matters for what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reason {
    /// No key opens it.
    NoKey,
    /// A key could, if it were unlocked.
    Locked,
    /// Every value may be authentic, but the MAC is not.
    Stale,
    /// It is not as it was encrypted.
    Altered,
}

fn reason(error: &keys::Error) -> Reason {
    match error {
        keys::Error::NoIdentity { unused, .. } if !unused.locked.is_empty() => Reason::Locked,
        keys::Error::NoIdentity { .. } | keys::Error::Plugin(_) => Reason::NoKey,
        keys::Error::Locked { .. } => Reason::Locked,
        keys::Error::Sops(sops::Error::Mac) => Reason::Stale,
        keys::Error::Sops(_) | keys::Error::BrokenEnvelope { .. } | keys::Error::BrokenParts(_) => {
            Reason::Altered
        }
    }
}

impl Reason {
    fn hint(self) -> &'static str {
        match self {
            Self::NoKey => {
                "`hlx keys list -v` shows where keys were looked for; `hlx unlock` opens what it can once there is one"
            }
            Self::Locked => {
                "a passphrase protects your key: `hlx keys unlock` asks for it once for some hours; then `hlx unlock` opens the files"
            }
            Self::Stale => {
                "if that was merged or edited elsewhere, `hlx reseal` shows what changed, and asks"
            }
            Self::Altered => {
                "what was altered is not opened: `git log -- FILE` shows who changed it, and an earlier commit has it as it was"
            }
        }
    }
}

/// `hlx filter-process`
pub(super) fn process(cx: &Context) -> Result<(), Failure> {
    let (repository, keyring) = (cx.repository_inside_git()?, cx.keyring());
    let cleaner = Cleaner::new(&repository, &keyring, &time);
    let mut filter = Filter {
        cleaner: &cleaner,
        ahead: Ahead::new(&repository, &cleaner, &keyring),
        keyring: &keyring,
        ui: cx.ui,
        locked: repository.is_locked(),
        left_sealed: 0,
        reasons: BTreeSet::new(),
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
    let cleaner = Cleaner::new(&repository, &keyring, &time);
    let sealed = cleaner.clean(args.path.as_os_str().as_bytes(), plaintext.expose());
    warn_of_anchors(&cleaner, &path, cx.ui);
    note_rekeyed(cleaner.guard(), cx.ui);
    output(cx, &sealed.map_err(|error| errors::clean(&path, error))?)
}

/// A file gets another data key where nobody here accepted the one that it had.
pub(super) fn note_rekeyed(guard: &Guard<'_>, ui: Ui) {
    for path in guard.take_rekeyed() {
        ui.note(format!(
            "{}: its data key came from another clone, or from before a rotation, so that it was encrypted anew under one of yours",
            quote::path(&path)
        ));
        ui.hint("`hlx recipients accept` shows who brought it, and keeps such keys from then on");
    }
}

/// A rule that seals a value by its alias may leave it clear at its anchor: that is said.
pub(super) fn warn_of_anchors(cleaner: &Cleaner<'_>, path: &str, ui: Ui) {
    let (found, word) = (cleaner.take_clear_anchors(), quote::word(path));
    let path = quote::path(path);
    for anchor in &found {
        ui.warning(format!(
            "{path}: line {}: `{}` stays in clear, though it is encrypted as `{}`",
            anchor.line, anchor.path, anchor.alias
        ));
    }
    if !found.is_empty() {
        ui.hint("if it is secret, let the rule in `.sops.yaml` match the key of the anchor too");
        ui.hint(format!(
            "a file that git has keeps the rule in it until it is encrypted anew: `hlx track {word}`"
        ));
    }
}

/// `hlx smudge -- PATH`
pub(super) fn smudge(args: &PathArgs, cx: &Context) -> Result<(), Failure> {
    let blob = stdin()?;
    let smudged = match cx.repository_inside_git()?.is_locked() {
        true => Smudged::Locked,
        false => smudging::at_all_events(&cx.keyring(), blob.expose()),
    };
    match smudged {
        Smudged::Open(plaintext) => output(cx, plaintext.expose()),
        Smudged::Clear | Smudged::Locked => output(cx, blob.expose()),
        Smudged::Sealed(error) => {
            cx.ui.warning(format!("{} stays encrypted: {error}", quote::path(&args.path)));
            cx.ui.hint(reason(&error).hint());
            output(cx, blob.expose())
        }
    }
}

/// `hlx textconv FILE`
pub(super) fn textconv(args: &PathArgs, cx: &Context) -> Result<(), Failure> {
    let content = SecretBytes::new(cx.read(&args.path)?);
    // git has smudged what it hands over, wherever the filter could: then no key is looked for.
    if !sops::is_sealed(content.expose()) {
        return output(cx, content.expose());
    }
    output(cx, converting::textconv(&cx.keyring(), content).expose())
}

/// `hlx merge BASE OURS THEIRS SIZE PATH [LABELS]`: the result takes the place of ours.
pub(super) fn merge(args: &MergeArgs, cx: &Context) -> Result<(), Failure> {
    let sides =
        Sides { base: cx.read(&args.base)?, ours: cx.read(&args.ours)?, theirs: cx.read(&args.theirs)? };
    let markers = Markers { size: args.marker_size, labels: labels(&args.labels) };
    let path = args.path.to_string_lossy();
    let (repository, keyring) = (cx.repository_inside_git()?, cx.keyring());
    let whole = repository.attributes(args.path.as_bytes()).map_err(errors::git)?.whole;
    let format = if whole { Format::Binary } else { Format::of_path(&path) };
    let guard = Guard::new(&repository, &keyring, At::WorkTree).merging(merged_commits());
    let merged = merging::merge(&guard, (&path, format), &sides, &markers, cx.stamp(&mut random::fill));
    let merged = merged.map_err(|error| merge_failure(&path, error))?;
    note_rekeyed(&guard, cx.ui);
    for change in &merged.changes {
        cx.ui.note(format!("{}: the sides differed: {change}", quote::path(&args.path)));
    }
    std::fs::write(&args.ours, merged.content.expose()).map_err(|error| errors::io(&args.ours, &error))?;
    match merged.conflict {
        None => Ok(()),
        Some(conflict) => Err(in_conflict(&path, conflict)),
    }
}

/// The commits that `git merge` names to its driver, in `GITHEAD_…`.
fn merged_commits() -> Vec<String> {
    let name = |(name, _): (OsString, OsString)| name.to_str()?.strip_prefix("GITHEAD_").map(str::to_owned);
    std::env::vars_os().filter_map(name).collect()
}

/// The names of base, ours and theirs; an older git leaves the placeholders as they are.
fn labels(given: &[OsString]) -> [String; 3] {
    let given = |index: usize| given.get(index).map(|label| label.to_string_lossy().into_owned());
    let named = |index: usize| given(index).filter(|label| !label.is_empty() && !label.starts_with('%'));
    const OWN: [&str; 3] = ["base", "ours", "theirs"];
    std::array::from_fn(|index| named(index).unwrap_or_else(|| OWN[index].to_owned()))
}

fn in_conflict(path: &str, conflict: Conflict) -> Failure {
    let (message, path) = (format!("{}: {conflict}", quote::path(path)), &*quote::word(path));
    let failure = match conflict {
        Conflict::Lines | Conflict::NoText => Failure::new(Exit::Failed, message),
        Conflict::Sealing(error) => {
            let advised = errors::united(error, &message);
            // git takes the exit code for the number of conflicts.
            advised
                .hints()
                .iter()
                .map(|hint| hint.replace("FILE", path))
                .fold(Failure::new(Exit::Failed, message), Failure::hint)
        }
    };
    failure.hint(format!("edit {path}, then `git add {path}`"))
}

fn merge_failure(path: &str, error: merging::Error) -> Failure {
    let (message, path) = (format!("{}: {error}", quote::path(path)), &*quote::word(path));
    let advised = match error {
        merging::Error::Side { source, .. } => errors::keys(source),
        merging::Error::Seal(error) => errors::sops(error),
        merging::Error::Io(_) => Failure::new(Exit::Failed, ""),
        merging::Error::ClearSides => Failure::new(Exit::Policy, "")
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
