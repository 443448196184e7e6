//! Where a file stands: in a work tree or any directory, or in the last commit of a branch.

use std::io;
use std::path::{Path, PathBuf};

use crate::format::Format;
use crate::git::branch::{self, Commit, Parent};
use crate::git::{Attributes, Git, Repository};
use crate::keys::Keyring;
use crate::policy::creation::{Config, Terms};
use crate::secret::SecretBytes;
use crate::sys::replace;
use crate::trust::{At, Guard};

use super::Error;

/// The file with the creation rules.
const CONFIG: &str = ".sops.yaml";

/// A file's place.
#[derive(Debug)]
pub enum Place {
    /// A file of a directory.
    Tree(Tree),
    /// A file of a branch's last commit.
    Branch(Branch),
}

/// A file of a directory, in a repository or not.
#[derive(Debug)]
pub struct Tree {
    path: PathBuf,
    repository: Option<(Repository, PathBuf)>,
}

/// A file of a branch's last commit.
#[derive(Debug)]
pub struct Branch {
    repository: Repository,
    git: Git,
    name: String,
    path: String,
}

/// What a change did.
#[derive(Debug, PartialEq, Eq)]
pub enum Changed {
    /// The new plaintext is the old one: nothing was written.
    Nothing,
    /// The file was written.
    File,
    /// A commit was made on the branch.
    Commit(String),
}

impl Place {
    /// A file that the user named. No link, nor a file behind one that leads out of its repository: whoever can push can
    /// put one to anywhere there.
    pub fn tree(path: &Path) -> Result<Self, Error> {
        if path.symlink_metadata().is_ok_and(|found| found.is_symlink()) {
            return Err(Error::NoFile("a symbolic link: name the file that it points to"));
        }
        let typed = path;
        let path = match path.canonicalize() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Error::Missing),
            other => other.map_err(Error::io(path))?,
        };
        if leads_out(typed, &path) {
            return Err(Error::NoFile(
                "behind a symbolic link that leads out of its repository: name the file by the way that it leads to",
            ));
        }
        let directory = path.parent().filter(|_| !path.is_dir()).ok_or(Error::NoFile("a directory"))?;
        let repository = Repository::discover(directory).ok().and_then(|repository| {
            let top = repository.work_tree().ok()?.canonicalize().ok()?;
            let below = path.strip_prefix(top).ok()?.to_owned();
            Some((repository, below))
        });
        Ok(Self::Tree(Tree { path, repository }))
    }

    /// A file of a branch, named from the top.
    pub fn branch(repository: Repository, git: Git, name: &str, path: &str) -> Self {
        Self::Branch(Branch { repository, git, name: name.to_owned(), path: path.to_owned() })
    }

    /// What stands there.
    pub fn read(&self) -> Result<SecretBytes, Error> {
        match self {
            Self::Tree(tree) => {
                std::fs::read(&tree.path).map(SecretBytes::new).map_err(Error::io(&tree.path))
            }
            Self::Branch(branch) => branch.read(),
        }
    }

    /// The path: on a branch from its top.
    pub fn path(&self) -> &str {
        match self {
            Self::Tree(tree) => tree.path.to_str().unwrap_or("file"),
            Self::Branch(branch) => &branch.path,
        }
    }

    /// The path from the top of the work tree or branch, as far as it is in a repository.
    pub(super) fn path_in_repository(&self) -> &str {
        match self {
            Self::Tree(tree) => {
                tree.repository.as_ref().and_then(|(_, path)| path.to_str()).unwrap_or("file")
            }
            Self::Branch(branch) => &branch.path,
        }
    }

    /// What is trusted of the branch; nothing is known outside of a repository.
    pub(super) fn guard<'a>(&'a self, keyring: &'a Keyring) -> Option<Guard<'a>> {
        let (repository, at) = match self {
            Self::Tree(tree) => (&tree.repository.as_ref()?.0, At::WorkTree),
            Self::Branch(branch) => (&branch.repository, At::Branch(branch.name.clone())),
        };
        Some(Guard::new(repository, keyring, at))
    }

    /// The last name of the path.
    pub fn file_name(&self) -> &str {
        self.path().rsplit('/').next().unwrap_or("file")
    }

    /// What the attributes ask for; nothing outside of a repository.
    pub fn attributes(&self) -> Result<Attributes, Error> {
        match self {
            Self::Tree(tree) => match tree.in_repository() {
                Some((repository, path)) => Ok(repository.attributes(path)?),
                None => Ok(Attributes::default()),
            },
            Self::Branch(branch) => branch.attributes(),
        }
    }

    /// The format that the path and its attributes ask for.
    pub fn format(&self) -> Result<Format, Error> {
        Ok(if self.attributes()?.whole { Format::Binary } else { Format::of_path(self.path()) })
    }

    /// Puts another content in the place of the one that was read, unless someone else changed it meanwhile. On a branch
    /// that is a commit.
    pub fn replace(&self, old: &SecretBytes, new: &SecretBytes, message: &str) -> Result<Changed, Error> {
        if new.expose() == old.expose() {
            return Ok(Changed::Nothing);
        }
        if self.read()?.expose() != old.expose() {
            return Err(Error::ChangedMeanwhile);
        }
        match self {
            Self::Tree(tree) => {
                replace::content(&tree.path, new.expose()).map_err(Error::io(&tree.path))?;
                Ok(Changed::File)
            }
            Self::Branch(branch) => branch.commit(new.expose(), message).map(Changed::Commit),
        }
    }

    /// How a new file is sealed here: by the branch's own `.sops.yaml`, else by the nearest one up the directories.
    pub fn terms(&self) -> Result<Terms, Error> {
        match self {
            Self::Tree(tree) => tree.terms(),
            Self::Branch(branch) => {
                let config = branch.blob(CONFIG)?.ok_or(Error::NoConfig)?;
                Ok(Config::parse(&String::from_utf8_lossy(&config))?.terms(&branch.path)?.clone())
            }
        }
    }
}

/// Whether one of the directories on the way to a file is a link in a work tree, and the file is not in that work tree.
fn leads_out(typed: &Path, file: &Path) -> bool {
    let Ok(typed) = std::path::absolute(typed) else { return true };
    let links = typed.ancestors().skip(1).filter(|directory| directory.is_symlink());
    let mut tops = links.filter_map(|link| {
        let repository = Repository::discover(link.parent()?).ok()?;
        repository.work_tree().ok()?.canonicalize().ok()
    });
    tops.any(|top| !file.starts_with(top))
}

impl Tree {
    /// The repository that it belongs to, and its path there.
    pub fn in_repository(&self) -> Option<(&Repository, &[u8])> {
        let (repository, path) = self.repository.as_ref()?;
        Some((repository, path.as_os_str().as_encoded_bytes()))
    }

    fn terms(&self) -> Result<Terms, Error> {
        for directory in self.path.ancestors().skip(1) {
            let file = directory.join(CONFIG);
            match std::fs::read_to_string(&file) {
                Ok(text) => {
                    let below = self.path.strip_prefix(directory).unwrap_or(&self.path);
                    return Ok(Config::parse(&text)?.terms(&below.to_string_lossy())?.clone());
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::io(file)(error)),
            }
        }
        Err(Error::NoConfig)
    }
}

impl Branch {
    fn read(&self) -> Result<SecretBytes, Error> {
        match self.entry(&self.path)? {
            None => Err(Error::Missing),
            Some(entry) => match entry.mode.as_str() {
                "120000" => Err(Error::NoFile("a link")),
                "160000" => Err(Error::NoFile("a submodule")),
                _ => Ok(SecretBytes::new(self.repository.blob_named(&entry.blob)?)),
            },
        }
    }

    fn entry(&self, path: &str) -> Result<Option<branch::Entry>, Error> {
        let files = branch::files(&self.git, &self.name)?;
        let below = format!("{path}/");
        if files.iter().any(|entry| entry.path.starts_with(below.as_bytes())) {
            return Err(Error::NoFile("a directory"));
        }
        Ok(files.into_iter().find(|entry| entry.path == path.as_bytes()))
    }

    fn blob(&self, path: &str) -> Result<Option<Vec<u8>>, Error> {
        let entry = self.entry(path)?;
        Ok(entry.map(|entry| self.repository.blob_named(&entry.blob)).transpose()?)
    }

    fn attributes(&self) -> Result<Attributes, Error> {
        Ok(branch::attributes(&self.git, &self.scratch()?, &self.name, &self.path)?)
    }

    fn scratch(&self) -> Result<PathBuf, Error> {
        let path = self.repository.scratch();
        path.map_err(Error::io(self.repository.common_dir()))
    }

    fn commit(&self, content: &[u8], message: &str) -> Result<String, Error> {
        let executable = self.entry(&self.path)?.is_some_and(|entry| entry.mode == "100755");
        let mode = if executable { "100755" } else { "100644" };
        let files = [branch::File { path: self.path.clone(), mode, content: content.to_vec() }];
        let commit = Commit { branch: &self.name, parent: Parent::Tip, files: &files, message };
        Ok(branch::commit(&self.git, &self.scratch()?, &commit)?)
    }
}
