//! `hlx lock` and `hlx unlock`.

use crate::git::{Git, Repository};
use crate::keys::{self, Keyring};
use crate::repo::forget::Forgotten;
use crate::repo::{lock as locking, unlock as unlocking};

use super::context::Context;
use super::ui::counted;
use super::{Exit, Failure, errors, quote};

/// `hlx lock`
pub(super) fn lock(cx: &Context) -> Result<(), Failure> {
    let (repository, git) = set_up(cx)?;
    let done = locking::lock(&repository, &git, &cx.keys()?).map_err(errors::repo)?;
    done.sealed.iter().for_each(|path| cx.ui.result(format!("sealed {}", quote::path(path))));
    if !done.ignored.is_empty() {
        cx.ui.warning(format!("git ignores {}: they stay as they are", quote::list(&done.ignored)));
    }
    report_forgotten(&done.forgotten, cx);
    cx.ui.note("this work tree is locked: its protected files stay encrypted until `hlx unlock`");
    Ok(())
}

/// Says what held plaintext besides the files.
pub(super) fn report_forgotten(forgotten: &Forgotten, cx: &Context) {
    if forgotten.merges > 0 {
        let merges = counted(forgotten.merges, "merge", "merges");
        cx.ui.note(format!("forgot {merges} that git had remembered with the text"));
    }
    if !forgotten.messages.is_empty() {
        let names = forgotten.messages.join(", ");
        cx.ui.note(format!("a diff that `git commit -v` had left in {names} is gone"));
    }
    if !forgotten.notes.is_empty() {
        let notes = forgotten.notes.join(", ");
        match forgotten.packed {
            0 => cx.ui.note(format!("git had kept plaintext in {notes}: that is gone, with its objects")),
            packed => {
                let objects = counted(packed, "object", "objects");
                cx.ui.warning(format!("git had kept plaintext in {notes}: the refs are gone, and {objects} of theirs stay in a pack"));
                cx.ui.hint(
                    "`git gc --prune=now` removes the objects too, with all others that nothing refers to",
                );
            }
        }
    }
}

/// `hlx unlock`
pub(super) fn unlock(cx: &Context) -> Result<(), Failure> {
    let (repository, git) = set_up(cx)?;
    let keyring = cx.keys()?;
    let mut failures = open(&repository, &git, &keyring, cx)?;
    // What is not authentic weighs more than a key that is not here.
    failures.sort_by_key(|failure| failure.exit() as u8);
    let last = failures.pop();
    warn(&failures, cx);
    last.map_or(Ok(()), Err)
}

/// The repository, if `hlx init` was run in it: without the filter git would store plaintext.
fn set_up(cx: &Context) -> Result<(Repository, Git), Failure> {
    let repository = cx.repository()?;
    let git = cx.git(&repository)?;
    if !git.test(&["config", "filter.hlx.process"]).map_err(errors::git)? {
        return Err(Failure::new(Exit::Failed, "this clone is not set up").hint("run `hlx init`"));
    }
    Ok((repository, git))
}

/// Opens what can be opened, and says so; gives back what cannot.
pub(super) fn open(
    repository: &Repository,
    git: &Git,
    keyring: &Keyring,
    cx: &Context,
) -> Result<Vec<Failure>, Failure> {
    let done = unlocking::unlock(repository, git, keyring).map_err(errors::repo)?;
    done.opened.iter().for_each(|path| cx.ui.result(format!("opened {}", quote::path(path))));
    let mut locked = Vec::new();
    let mut failures = Vec::new();
    for (path, error) in done.sealed {
        match error {
            keys::Error::NoIdentity { .. } => locked.push((path, error)),
            keys::Error::Sops(_)
            | keys::Error::BrokenEnvelope { .. }
            | keys::Error::BrokenParts(_)
            | keys::Error::Plugin(_)
            | keys::Error::Locked { .. } => {
                failures.push(errors::named_keys(
                    &format!("{} stays encrypted", quote::path(&path)),
                    &path,
                    error,
                ));
            }
        }
    }
    let paths: Vec<_> = locked.iter().map(|(path, _)| path).collect();
    let (names, several) = (quote::list(&paths), paths.len() > 1);
    if let Some((path, error)) = locked.into_iter().next() {
        let fact = match several {
            false => format!("{names} stays encrypted"),
            true => format!("{names} stay encrypted; of {}", quote::path(&path)),
        };
        failures.push(errors::named_keys(&fact, &path, error));
    }
    Ok(failures)
}

/// Says what stays encrypted, where that is no failure.
pub(super) fn warn(failures: &[Failure], cx: &Context) {
    for failure in failures {
        cx.ui.warning(failure.message());
        failure.hints().iter().for_each(|hint| cx.ui.hint(hint));
    }
}
