//! The project directory: the tree as git holds it, among data that is not ours.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::error::Error;
use super::tree::{Kind, Tree};
use crate::sys::disk::{Change, Root};

/// How many files were written and how many removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// New or different.
    pub(super) written: usize,
    /// No longer in the tree.
    pub(super) removed: usize,
}

/// True if there is something in the directory.
pub(super) fn is_taken(dir: &Path) -> Result<bool, Error> {
    match std::fs::read_dir(dir) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(Error::Disk { path: dir.to_owned(), source }),
    }
}

/// The project directory, there for as long as this lives: the vault needs one to lie over.
/// If nothing came into it, what was not there before is gone afterwards.
pub(super) struct Lent {
    dir: PathBuf,
    made: Vec<PathBuf>,
}

impl Lent {
    /// Makes it, if it is not there.
    pub(super) fn new(dir: PathBuf) -> Result<Self, Error> {
        let made: Vec<PathBuf> =
            dir.ancestors().take_while(|above| !above.exists()).map(Path::to_owned).collect();
        std::fs::create_dir_all(&dir).map_err(|source| Error::Disk { path: dir.clone(), source })?;
        Ok(Self { dir, made })
    }

    /// Where it is.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // Another stack may use those above by now.
        self.made.iter().for_each(|dir| drop(std::fs::remove_dir(dir)));
    }
}

/// Lays the tree into the directory and removes the files in `vanished`; leaves all else alone, also
/// directories that are empty then: a container that has one mounted would be left with a removed one.
pub(super) fn lay(dir: &Path, tree: &Tree, vanished: &[PathBuf]) -> Result<Changes, Error> {
    let root = open(dir).map_err(|source| Error::Disk { path: dir.to_owned(), source })?;
    let failed = |path: &Path, source| Error::Disk { path: dir.join(path), source: explained(source) };
    // First, so that a directory can take the place of a file.
    let makes_way = |above: &Path| above.ancestors().any(|path| tree.contains_key(path));
    for path in vanished {
        root.remove(path).map_err(|error| failed(path, error))?;
        // And the reverse: where a file comes, an empty directory must go.
        root.prune(path.parent().unwrap_or(Path::new("")), &|above| !makes_way(above));
    }
    let mut changes = Changes { removed: vanished.len(), ..Changes::default() };
    for (path, entry) in tree {
        let change = match entry.kind {
            Kind::File | Kind::Program => root.put_file(path, &entry.content, entry.mode()),
            Kind::Link => root.put_link(path, &entry.content),
        };
        let change = change.map_err(|error| failed(path, error))?;
        changes.written += usize::from(change == Change::Written);
    }
    Ok(changes)
}

/// Makes the directories below `dir` that are not there.
pub(super) fn make(dir: &Path, wanted: &[PathBuf]) -> Result<(), Error> {
    let failed = |path: &Path, source| Error::Disk { path: dir.join(path), source: explained(source) };
    let root = open(dir).map_err(|source| failed(Path::new(""), source))?;
    wanted.iter().try_for_each(|path| root.put_dir(path).map_err(|error| failed(path, error)))
}

/// Removes those of the directories `emptied` that are empty, and those above them that become so, but
/// none that is among `mounted`. That is asked for only if there is something to remove.
pub(super) fn tidy<E>(
    dir: &Path,
    emptied: &BTreeSet<PathBuf>,
    mounted: impl FnOnce() -> Result<Vec<PathBuf>, E>,
) -> Result<(), E> {
    let Ok(root) = Root::open(dir) else { return Ok(()) };
    let empty: Vec<&PathBuf> = emptied.iter().filter(|path| root.is_empty(path)).collect();
    if empty.is_empty() {
        return Ok(());
    }
    // By what they are: a path may lead over links.
    let identity = |path: &PathBuf| std::fs::metadata(path).map(|found| (found.dev(), found.ino())).ok();
    let mounted: Vec<(u64, u64)> = mounted()?.iter().filter_map(identity).collect();
    let is_spared = |path: &Path| root.identity(path).is_ok_and(|found| mounted.contains(&found));
    empty.into_iter().for_each(|path| root.prune(path, &is_spared));
    Ok(())
}

/// What stands in the way says little by its error alone.
fn explained(error: std::io::Error) -> std::io::Error {
    use rustix::io::Errno;
    let told = match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::LOOP) => "a symbolic link stands in the way, and hlx follows none: remove it",
        Some(Errno::NOTEMPTY | Errno::EXIST | Errno::ISDIR) => {
            "a directory with files of its own stands where the commit has a file: move it away"
        }
        _ => return error,
    };
    std::io::Error::other(told)
}

fn open(dir: &Path) -> std::io::Result<Root> {
    std::fs::create_dir_all(dir)?;
    Root::open(dir)
}

#[cfg(test)]
mod tests {
    use super::super::tree::Entry;
    use super::*;

    #[test]
    fn a_directory_with_files_stays_and_is_told_of() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("conf/own")).unwrap();
        let tree = Tree::from([("conf".into(), Entry { kind: Kind::File, content: b"x".into() })]);
        let told = lay(dir.path(), &tree, &[]).unwrap_err().to_string();
        assert!(told.contains("/conf: a directory with files of its own stands where"), "{told}");
        assert!(dir.path().join("conf/own").is_dir());
    }
}
