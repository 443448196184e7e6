//! `hlx lock` and `hlx unlock`.

use crate::git::{Git, Repository};
use crate::keys::Keyring;
use crate::repo::{lock as locking, unlock as unlocking};

use super::context::Context;
use super::{Exit, Failure, errors};

/// `hlx lock`
pub(super) fn lock(cx: &Context) -> Result<(), Failure> {
    let (repository, git) = set_up(cx)?;
    let done = locking::lock(&repository, &git, &cx.keyring()).map_err(errors::repo)?;
    done.sealed.iter().for_each(|path| cx.ui.result(format!("sealed {path}")));
    if !done.ignored.is_empty() {
        cx.ui.warning(format!("git ignores {}: they stay as they are", done.ignored.join(", ")));
    }
    if done.merges > 0 {
        cx.ui.note(format!("{} merges that git had remembered with their text are forgotten", done.merges));
    }
    if !done.notes.is_empty() {
        cx.ui.warning(format!("git had kept plaintext in {}: the refs are gone", done.notes.join(", ")));
        cx.ui.hint("`git gc --prune=now` removes the objects too, with all others that nothing refers to");
    }
    cx.ui.note("this work tree is locked: its protected files stay encrypted until `hlx unlock`");
    Ok(())
}

/// `hlx unlock`
pub(super) fn unlock(cx: &Context) -> Result<(), Failure> {
    let (repository, git) = set_up(cx)?;
    open(&repository, &git, &cx.keyring(), cx)
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

/// Opens what can be opened, and says so.
pub(super) fn open(
    repository: &Repository,
    git: &Git,
    keyring: &Keyring,
    cx: &Context,
) -> Result<(), Failure> {
    let done = unlocking::unlock(repository, git, keyring).map_err(errors::repo)?;
    done.opened.iter().for_each(|path| cx.ui.result(format!("opened {path}")));
    if !done.sealed.is_empty() {
        cx.ui.warning(format!("{} stay encrypted: no key of yours opens them", done.sealed.join(", ")));
    }
    Ok(())
}
