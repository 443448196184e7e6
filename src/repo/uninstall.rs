//! Taking out of a clone all that `init` and other commands put there.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::git::{Git, Repository, follow};
use crate::sys::disk;

use super::{Error, hooks};

/// What was taken out.
#[derive(Debug, Default)]
pub struct Removed {
    /// Hooks.
    pub hooks: Vec<String>,
    /// Sections of git's configuration.
    pub sections: Vec<String>,
    /// Whether there were files of hlx's own.
    pub files: bool,
}

/// The work trees of a repository that are there.
pub fn work_trees(git: &Git) -> Result<Vec<PathBuf>, Error> {
    Ok(follow::work_trees(git)?.into_iter().map(|(tree, _)| tree).collect())
}

/// Takes hooks, files and configuration out, in this order: what makes git encrypt goes last. What is in the work trees
/// stays as it is.
pub fn uninstall(repository: &Repository, git: &Git) -> Result<Removed, Error> {
    let hooks = hooks::remove(repository)?.into_iter().map(str::to_owned).collect();
    let mut files = forget(&repository.common_dir().join("hlx"))?;
    for tree in work_trees(git)? {
        files |= forget(&Repository::discover(&tree)?.git_dir().join("hlx"))?;
    }
    let mut sections = BTreeSet::new();
    if git.test(&["config", "--local", "--name-only", "--get-regexp", ENTRIES])? {
        let names = git.text(&["config", "--local", "--name-only", "--get-regexp", ENTRIES])?;
        sections.extend(names.lines().filter_map(|name| Some(name.rsplit_once('.')?.0.to_owned())));
    }
    for section in &sections {
        git.run(&["config", "--local", "--remove-section", section])?;
    }
    Ok(Removed { hooks, sections: sections.into_iter().collect(), files })
}

/// What is hlx's in git's configuration.
const ENTRIES: &str = r"^((filter|diff|merge)\.hlx|hlx)\.";

fn forget(directory: &Path) -> Result<bool, Error> {
    let shredded = disk::shred_all(directory).and_then(|()| fs::remove_dir(directory));
    match shredded {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        other => other.map(|()| true).map_err(Error::io(directory)),
    }
}
