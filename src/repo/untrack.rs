//! Taking the protection of a path away, on purpose.
//!
//! Whoever can push can take an attribute away, and so a commit in clear of what was encrypted is refused. That it is
//! meant is noted in the clone, for the version that the last commit has, where no push can write; and for those who see
//! the commits only, as `hlx=clear` in `.gitattributes`.

use std::collections::HashSet;
use std::fs;

use crate::git::{Git, Repository};
use crate::sops::is_sealed;
use crate::trust::untracked;

use super::Error;
use super::draft::Draft;
use super::lock::forget_sizes;
use super::track::{CLEAR_NOW, NOTHING, pattern, without};

/// What untracking a path changed.
#[derive(Debug, Default)]
pub struct Untracked {
    /// `.gitattributes` is another.
    pub attributes: bool,
    /// The last commit has it encrypted.
    pub was_sealed: bool,
    /// There is no such file in the work tree.
    pub missing: bool,
}

/// Takes the protection of one path of the work tree away, given from its top.
///
/// Fails before anything changed if it would leave the file encrypted, with nothing to open it.
pub fn untrack(repository: &Repository, git: &Git, path: &str) -> Result<Untracked, Error> {
    let bad = |reason: &str| Error::BadPath { path: path.to_owned(), reason: reason.to_owned() };
    let tree = repository.work_tree()?;
    let before = repository.head_blob(path.as_bytes())?;
    let sealed = before.filter(|name| repository.blob_named(name).is_ok_and(|blob| is_sealed(&blob)));
    let now = repository.attributes(path.as_bytes())?;
    let protected = now.filtered;
    if !protected && sealed.is_none() {
        return Err(bad("it is not protected"));
    }
    if repository.is_locked() || fs::read(tree.join(path)).is_ok_and(|content| is_sealed(&content)) {
        return Err(bad("it stands encrypted in the work tree, and would stay so: run `hlx unlock` first"));
    }
    let mut draft = Draft::read(tree.join(".gitattributes"))?;
    if protected || !now.clear {
        let pattern = pattern(path);
        draft.text = without(&draft.text, &pattern);
        if sealed.is_some() {
            draft.add_line(&format!("{pattern} {CLEAR_NOW}"));
        }
        draft.write()?;
        if sealed.is_none() && is_protected(repository, path)? {
            draft.add_line(&format!("{pattern} {NOTHING}"));
            draft.write()?;
        }
        if is_protected(repository, path)? {
            draft.take_back()?;
            return Err(bad(
                "another line or file of attributes protects it: `git check-attr -a` shows which",
            ));
        }
    }
    // The file is as it was, and git would not look at it.
    forget_sizes(git, &HashSet::from([path.as_bytes().to_vec()]))?;
    if let Some(name) = &sealed {
        untracked::note(repository, path, name)?;
    }
    let missing = tree.join(path).symlink_metadata().is_err();
    Ok(Untracked { attributes: draft.changes(), was_sealed: sealed.is_some(), missing })
}

fn is_protected(repository: &Repository, path: &str) -> Result<bool, Error> {
    Ok(Repository::discover(repository.work_tree()?)?.attributes(path.as_bytes())?.filtered)
}
