//! Which files are protected, and in what state they are.

use std::fs;

use crate::git::{Git, Repository, branch};
use crate::keys::Keyring;
use crate::sops::{Sealed, is_sealed};

use super::Error;

/// How a file stands in git.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InGit {
    /// Encrypted.
    Sealed,
    /// Empty: there is nothing to encrypt.
    Empty,
    /// In clear, on a path that is protected.
    Plaintext,
    /// It was encrypted in the last commit, and no attribute protects it any more.
    Unprotected,
    /// It looks encrypted, but is broken.
    Broken,
}

/// How a file stands in the work tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InTree {
    /// Readable.
    Open,
    /// Encrypted.
    Sealed,
    /// Not there.
    Missing,
    /// The branch is not checked out here.
    Elsewhere,
}

/// A protected file.
#[derive(Debug)]
pub struct File {
    /// Its path.
    pub path: String,
    /// In the index or the branch.
    pub in_git: InGit,
    /// In the work tree.
    pub in_tree: InTree,
    /// For whom it is sealed.
    pub readers: Vec<String>,
    /// Whether a key at hand opens it.
    pub readable: bool,
}

/// A branch with its protected files.
#[derive(Debug)]
pub struct Branch {
    /// Its name.
    pub name: String,
    /// It is checked out here.
    pub current: bool,
    /// Its protected files.
    pub files: Vec<File>,
}

/// The paths of the index with `filter=hlx`, and their blobs.
pub fn protected(repository: &Repository) -> Result<Vec<Indexed>, Error> {
    Ok(by_protection(repository)?.0)
}

/// A file of the index: its path, and the name of its blob.
type Indexed = (Vec<u8>, String);

/// The files of the index with `filter=hlx`, and all others.
fn by_protection(repository: &Repository) -> Result<(Vec<Indexed>, Vec<Indexed>), Error> {
    let entries = repository.index_entries()?;
    let paths: Vec<&[u8]> = entries.iter().map(|(path, _)| path.as_slice()).collect();
    let mut filtered = repository.all_attributes(&paths)?.into_iter().map(|attributes| attributes.filtered);
    Ok(entries.into_iter().partition(|_| filtered.next() == Some(true)))
}

/// The protected files of the index that hold plaintext, or are broken.
pub fn exposed(repository: &Repository) -> Result<Vec<(String, InGit)>, Error> {
    let (protected, others) = by_protection(repository)?;
    let mut exposed = Vec::new();
    for (path, blob) in protected {
        let (state, _) = judge(&repository.blob_named(&blob)?);
        if matches!(state, InGit::Plaintext | InGit::Broken) {
            exposed.push((String::from_utf8_lossy(&path).into_owned(), state));
        }
    }
    exposed.extend(unprotected(repository, &others)?.into_iter().map(|path| (path, InGit::Unprotected)));
    Ok(exposed)
}

/// The files that HEAD has encrypted and the index in clear, though nothing protects them: whoever can push can take
/// the attributes away.
fn unprotected(repository: &Repository, others: &[Indexed]) -> Result<Vec<String>, Error> {
    let mut found = Vec::new();
    for (path, name) in others {
        let Some(before) = repository.head_blob(path)?.filter(|before| before != name) else { continue };
        let now = repository.blob_named(name)?;
        let meant = || super::untrack::is_meant(repository, path, &before);
        if is_sealed(&repository.blob_named(&before)?) && !is_sealed(&now) && !now.is_empty() && !meant() {
            found.push(String::from_utf8_lossy(path).into_owned());
        }
    }
    Ok(found)
}

/// The encrypted files of the index that nothing protects: what is added to them next stays in clear.
pub fn abandoned(repository: &Repository) -> Result<Vec<String>, Error> {
    let mut found = Vec::new();
    for (path, name) in by_protection(repository)?.1 {
        if is_sealed(&repository.blob_named(&name)?) {
            found.push(String::from_utf8_lossy(&path).into_owned());
        }
    }
    Ok(found)
}

/// The branch checked out here with its protected files.
pub fn current(repository: &Repository, keyring: &Keyring) -> Result<Branch, Error> {
    let tree = repository.work_tree()?;
    let mut files = Vec::new();
    for (path, blob) in protected(repository)? {
        let path = String::from_utf8_lossy(&path).into_owned();
        let in_tree = match fs::read(tree.join(&path)) {
            Ok(content) if is_sealed(&content) => InTree::Sealed,
            Ok(_) => InTree::Open,
            Err(_) => InTree::Missing,
        };
        files.push(file(path, &repository.blob_named(&blob)?, in_tree, keyring));
    }
    let name = repository.branch().unwrap_or_else(|| "(detached)".to_owned());
    Ok(Branch { name, current: true, files })
}

/// All other local branches with their sealed files.
pub fn others(repository: &Repository, git: &Git, keyring: &Keyring) -> Result<Vec<Branch>, Error> {
    let here = repository.branch();
    let mut branches = Vec::new();
    for name in branch::all(git)?.into_iter().filter(|name| Some(name) != here.as_ref()) {
        let mut files = Vec::new();
        for entry in branch::files(git, &name)?.iter().filter(|entry| entry.mode.starts_with("100")) {
            let blob = repository.blob_named(&entry.blob)?;
            if is_sealed(&blob) {
                let path = String::from_utf8_lossy(&entry.path).into_owned();
                files.push(file(path, &blob, InTree::Elsewhere, keyring));
            }
        }
        branches.push(Branch { name, current: false, files });
    }
    Ok(branches)
}

fn file(path: String, blob: &[u8], in_tree: InTree, keyring: &Keyring) -> File {
    let (in_git, sealed) = judge(blob);
    let readers = sealed.iter().flat_map(|sealed| sealed.groups().recipients()).map(str::to_owned).collect();
    let readable = sealed.is_some_and(|sealed| keyring.open_sealed(sealed).is_ok());
    File { path, in_git, in_tree, readers, readable }
}

fn judge(blob: &[u8]) -> (InGit, Option<Sealed<'_>>) {
    if blob.is_empty() {
        (InGit::Empty, None)
    } else if !is_sealed(blob) {
        (InGit::Plaintext, None)
    } else {
        match Sealed::parse(blob) {
            Ok(sealed) if sealed.check_structure().is_ok() => (InGit::Sealed, Some(sealed)),
            // It has metadata, but what they should protect stands clear.
            Ok(_) => (InGit::Plaintext, None),
            Err(_) => (InGit::Broken, None),
        }
    }
}
