//! A commit that was read and whose sealed files were opened: what can be brought to life.

use std::path::{Path, PathBuf};

use super::Opener;
use super::error::Error;
use super::mirror::Mirror;
use super::model;
use super::resident::Ground;
use super::sealed::Unsealed;
use super::service::Service;
use super::tree::{self, Tree};

/// A commit, in memory and open.
#[derive(Debug)]
pub(super) struct Version {
    /// Its name.
    pub(super) commit: String,
    /// Its files, as git has them.
    pub(super) tree: Tree,
    /// Those that are sealed.
    pub(super) unsealed: Unsealed,
    /// Its compose files.
    pub(super) files: Vec<PathBuf>,
}

impl Version {
    /// Opens a tree that was read from `commit`.
    pub(super) fn open(service: &Service, commit: &str, tree: Tree, open: Opener<'_>) -> Result<Self, Error> {
        let files = model::files(&tree).ok_or_else(|| Error::NoComposeFile(service.clone()))?;
        let unsealed = Unsealed::open(&tree, open)?;
        Ok(Self { commit: commit.to_owned(), tree, unsealed, files })
    }

    /// Reads a commit that the mirror has, and opens it.
    pub(super) fn read(
        service: &Service,
        commit: &str,
        mirror: &Mirror<'_>,
        open: Opener<'_>,
    ) -> Result<Self, Error> {
        Self::open(service, commit, tree::read(mirror, commit)?, open)
    }

    /// What programs are shown of it in the project directory.
    pub(super) fn ground<'v>(&'v self, project: &'v Path) -> Ground<'v> {
        Ground { project, tree: &self.tree, unsealed: &self.unsealed }
    }
}
