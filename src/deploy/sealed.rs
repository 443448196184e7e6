//! The sealed files of a tree, opened in memory before anything else happens.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Opener;
use super::error::Error;
use super::mask::Masker;
use super::tree::{Kind, Tree};
use crate::secret::SecretBytes;
use crate::sops::{Opened, is_sealed};

/// What a tree's sealed files hold.
#[derive(Debug)]
pub struct Unsealed {
    files: BTreeMap<PathBuf, SecretBytes>,
    /// Takes their secrets out of any output.
    pub masker: Arc<Masker>,
}

impl Unsealed {
    /// Opens every sealed file, or none: one that cannot be opened ends the deploy here.
    pub fn open(tree: &Tree, open: Opener<'_>) -> Result<Self, Error> {
        let sealed = tree.iter().filter(|(_, entry)| entry.kind != Kind::Link && is_sealed(&entry.content));
        let opened = sealed.map(|(path, entry)| match open(&entry.content) {
            Ok(opened) => Ok((path.clone(), opened)),
            Err(source) => Err(Error::Keys { path: path.clone(), source }),
        });
        let opened: Vec<(PathBuf, Opened<'_>)> = opened.collect::<Result<_, Error>>()?;
        let masker = Arc::new(Masker::new(opened.iter().flat_map(|(_, opened)| opened.secrets())));
        let files = opened.into_iter().map(|(path, opened)| (path, opened.into_plaintext())).collect();
        Ok(Self { files, masker })
    }

    /// The paths of the sealed files.
    pub fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.files.keys()
    }

    /// True if the file is sealed.
    pub fn holds(&self, path: &Path) -> bool {
        self.files.contains_key(path)
    }

    /// The content of a file as programs should see it.
    pub fn plain<'t>(&'t self, tree: &'t Tree, path: &Path) -> Option<&'t [u8]> {
        match self.files.get(path) {
            Some(plaintext) => Some(plaintext.expose()),
            None => tree.get(path).map(|entry| entry.content.as_slice()),
        }
    }
}
