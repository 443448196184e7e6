//! `hlx init --uninstall`.

use std::path::PathBuf;

use crate::git::{Git, Repository};
use crate::repo::{lock, uninstall as removing};

use super::context::Context;
use super::lock::report_forgotten;
use super::{Failure, errors};

/// What becomes of the protected files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Files {
    /// They are encrypted, as git has them.
    Sealed,
    /// They stay as they are.
    Open,
}

/// Takes hlx out of a clone.
pub(super) fn run(repository: &Repository, git: &Git, files: Files, cx: &Context) -> Result<(), Failure> {
    let set_up = git.test(&["config", "--local", "filter.hlx.process"]).map_err(errors::git)?;
    if set_up && files == Files::Sealed {
        seal_all(git, cx)?;
    }
    let removed = removing::uninstall(repository, git).map_err(errors::repo)?;
    removed.hooks.iter().for_each(|hook| cx.ui.result(format!("removed the hook {hook}")));
    removed
        .sections
        .iter()
        .for_each(|section| cx.ui.result(format!("removed `{section}` from git's configuration")));
    if removed.files {
        cx.ui.result("removed the files of hlx in the git directory");
    }
    if removed.hooks.is_empty() && removed.sections.is_empty() && !removed.files {
        cx.ui.note("there is nothing of hlx in this clone");
        return Ok(());
    }
    if files == Files::Open {
        cx.ui.warning(
            "protected files that stand open in the work tree would be stored in clear by the next `git add`",
        );
        cx.ui.hint("`git checkout -- FILE` puts the encrypted version in the place of each");
    }
    cx.ui.note("your private keys and the branches are as they were; `hlx init` sets the clone up again");
    Ok(())
}

/// The work trees of a repository.
pub(super) fn work_trees(git: &Git) -> Result<Vec<PathBuf>, Failure> {
    removing::work_trees(git).map_err(errors::repo)
}

/// Encrypts the protected files of every work tree; none of them may lose changes.
fn seal_all(git: &Git, cx: &Context) -> Result<(), Failure> {
    let keyring = cx.keys()?;
    for tree in work_trees(git)? {
        let repository = Repository::discover(&tree).map_err(errors::git)?;
        let done = lock::lock(&repository, &Git::at(&tree), &keyring)
            .map_err(errors::repo)
            .map_err(|failure| failure.hint("`--keep-open` leaves the files as they are"))?;
        done.sealed.iter().for_each(|path| cx.ui.result(format!("sealed {}", tree.join(path).display())));
        report_forgotten(&done.forgotten, cx);
    }
    Ok(())
}
