//! Which files are protected, and in what state they are.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::crypto::envelope::Recipient;
use crate::git::{Git, Protection, Repository, Tip};
use crate::keys::{Keyring, Standing};
use crate::sops::is_sealed;

use crate::trust::untracked;

use super::lock::{native, unmerged};
use super::{Error, config};

/// How a file stands in git.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InGit {
    /// Encrypted.
    Sealed,
    /// Empty: there is nothing to encrypt.
    Empty,
    /// In clear, on a path that is protected.
    Plaintext,
    /// It looks encrypted, but is broken.
    Broken,
    /// A value of it is not authentic, as only a key tells.
    Altered,
    /// Its values are authentic, and its MAC does not fit them, as only a key tells.
    Stale,
    /// A merge left it in conflict.
    Conflict,
    /// git does not have it yet.
    Absent,
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

/// One for whom a file is sealed.
#[derive(Debug)]
pub struct Reader {
    /// The public key.
    pub key: String,
    /// What `.sops.yaml` calls it.
    pub name: Option<String>,
}

impl Reader {
    /// The name, or else a short form of the key.
    pub fn shown(&self) -> String {
        let short = || self.key.parse::<Recipient>().map_or_else(|_| self.key.clone(), |key| key.short());
        self.name.clone().unwrap_or_else(short)
    }
}

/// A protected file.
#[derive(Debug)]
pub struct File {
    /// Its path.
    pub path: PathBuf,
    /// In the index or the branch.
    pub in_git: InGit,
    /// In the work tree.
    pub in_tree: InTree,
    /// For whom it is sealed.
    pub readers: Vec<Reader>,
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

/// The encrypted files of the index that nothing protects: what is added to them next stays in clear.
pub(super) fn abandoned(repository: &Repository) -> Result<Vec<Indexed>, Error> {
    let mut found = Vec::new();
    for (path, name) in by_protection(repository)?.1 {
        if is_sealed(&repository.blob_named(&name)?) {
            found.push((path, name));
        }
    }
    Ok(found)
}

/// Those of them for which nobody said `hlx untrack` in this clone.
pub fn exposed(repository: &Repository) -> Result<Vec<String>, Error> {
    let found = abandoned(repository)?.into_iter();
    let unsaid = found.filter(|(path, name)| !untracked::is_meant(repository, path, name));
    Ok(unsaid.map(|(path, _)| String::from_utf8_lossy(&path).into_owned()).collect())
}

/// The branch checked out here with its protected files, those that git does not have yet among them.
pub fn current(repository: &Repository, git: &Git, keyring: &Keyring) -> Result<Branch, Error> {
    let tree = repository.work_tree()?;
    let protected = protected(repository)?;
    let config = repository.index_blob(config::NAME.as_bytes())?;
    let names = Names::read(repository, config.as_deref())?;
    let mut files = Vec::new();
    for (path, blob) in protected {
        let path = native(&path);
        let in_tree = in_tree(&tree.join(&path));
        files.push(file(path, &repository.blob_named(&blob)?, in_tree, keyring, &names));
    }
    let unmerged = unmerged(repository, git)?.into_iter().map(|path| (path, InGit::Conflict));
    let new = new(repository, git)?.into_iter().map(|path| (path, InGit::Absent));
    for (path, in_git) in unmerged.chain(new) {
        let in_tree = in_tree(&tree.join(&path));
        files.push(File { path, in_git, in_tree, readers: Vec::new(), readable: false });
    }
    files.sort_by(|one, other| one.path.cmp(&other.path));
    let name = repository.branch().unwrap_or_else(|| "(detached)".to_owned());
    Ok(Branch { name, current: true, files })
}

/// The protected files of the work tree that git does not have, and does not ignore.
fn new(repository: &Repository, git: &Git) -> Result<Vec<PathBuf>, Error> {
    let answer = git.run(&["ls-files", "--others", "--exclude-standard", "-z"])?;
    let paths: Vec<&[u8]> = answer.split(|byte| *byte == 0).filter(|path| !path.is_empty()).collect();
    let attributes = repository.all_attributes(&paths)?;
    let protected = paths.iter().zip(attributes).filter(|(_, attributes)| attributes.filtered);
    Ok(protected.map(|(path, _)| native(path)).collect())
}

fn in_tree(path: &Path) -> InTree {
    match fs::read(path) {
        Ok(content) if is_sealed(&content) => InTree::Sealed,
        Ok(_) => InTree::Open,
        Err(_) => InTree::Missing,
    }
}

/// All other local branches with the files that are sealed, or should be.
pub fn others(repository: &Repository, keyring: &Keyring) -> Result<Vec<Branch>, Error> {
    let here = repository.branch();
    let tips = repository.local_branches()?;
    let others = tips.into_iter().filter(|tip| Some(&tip.name) != here.as_ref());
    others.map(|tip| other(repository, keyring, tip)).collect()
}

fn other(repository: &Repository, keyring: &Keyring, tip: Tip) -> Result<Branch, Error> {
    let entries = repository.files(&tip.commit)?;
    let mut sources = Vec::new();
    for entry in Protection::sources(&entries) {
        sources.push((entry.path.as_slice(), repository.blob_named(&entry.blob)?));
    }
    let protection = Protection::read(sources.iter().map(|(path, text)| (*path, text.as_slice())));
    let config = entries.iter().find(|entry| entry.path == config::NAME.as_bytes());
    let names = Names::read(repository, config.map(|entry| entry.blob.as_str()))?;
    let mut files = Vec::new();
    for entry in entries.iter().filter(|entry| entry.is_file()) {
        let blob = repository.blob_named(&entry.blob)?;
        if is_sealed(&blob) || protection.of(&entry.path).filtered {
            files.push(file(native(&entry.path), &blob, InTree::Elsewhere, keyring, &names));
        }
    }
    Ok(Branch { name: tip.name, current: false, files })
}

/// What the `.sops.yaml` of a branch calls its readers.
struct Names(BTreeMap<Recipient, String>);

impl Names {
    fn read(repository: &Repository, blob: Option<&str>) -> Result<Self, Error> {
        let text = blob.map(|blob| repository.blob_named(blob)).transpose()?.unwrap_or_default();
        Ok(Self(config::names(&String::from_utf8_lossy(&text))))
    }

    fn reader(&self, key: &str) -> Reader {
        let recipient = key.parse::<Recipient>().ok();
        let name = recipient.and_then(|recipient| self.0.get(&recipient).cloned());
        Reader { key: key.to_owned(), name }
    }
}

fn file(path: PathBuf, blob: &[u8], in_tree: InTree, keyring: &Keyring, names: &Names) -> File {
    let judged = keyring.judge(blob);
    let in_git = match judged.standing {
        Standing::Empty => InGit::Empty,
        // It may have metadata, but what they should protect stands clear.
        Standing::Clear | Standing::Exposed(_) => InGit::Plaintext,
        Standing::Broken(_) => InGit::Broken,
        Standing::Altered(_) => InGit::Altered,
        Standing::Stale => InGit::Stale,
        Standing::Unread | Standing::Authentic => InGit::Sealed,
    };
    let readers = judged.groups.iter().flat_map(|groups| groups.recipients()).map(|key| names.reader(key));
    File {
        path,
        in_git,
        in_tree,
        readers: readers.collect(),
        readable: judged.standing == Standing::Authentic,
    }
}
