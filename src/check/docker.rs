//! Asking Docker Compose itself whether it takes a branch's compose file.
//!
//! It gets the file as git has it, without the `sops` block, in an empty directory: what is encrypted stays so,
//! variables are left as they are, and all other files are there by name only.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use crate::format::{Format, Store};
use crate::sops::Sealed;
use crate::sys::process::{Call, Env, Finished};
use crate::sys::ram;

use super::compose;
use super::examine::Spot;
use super::tree::{File, Tree};
use super::{Checker, Error, Finding, Place, Rule, tree};

/// How long Compose may take for one file.
const LIMIT: Duration = Duration::from_secs(30);

/// Docker's program, and what it is started with.
#[derive(Debug, Clone)]
pub struct Docker {
    /// Its environment.
    pub env: Env,
    /// Where directories for a moment are made.
    pub place: PathBuf,
}

/// What Compose refuses in these places. Files that are encrypted as a whole are not asked about: that would
/// put their plaintext on a disk.
pub fn ask(checker: &Checker<'_>, places: &[Place], docker: &Docker) -> Result<Vec<Finding>, Error> {
    let failed = |source| Error::Compose { source };
    let version = docker.run(&docker.place, &["version", "--short"]).map_err(failed)?;
    if !version.end.is_success() {
        return Err(failed(io::Error::new(io::ErrorKind::NotFound, "`docker compose` is not installed")));
    }
    let mut findings = Vec::new();
    for place in places {
        let tree = tree::read(checker, place)?;
        let Some(main) = compose::NAMES.iter().find_map(|name| tree.file(name)) else { continue };
        if is_whole(checker, main)? {
            continue;
        }
        let directory = ram::private_directory(&docker.place).map_err(failed)?;
        let asked = lay(checker, &tree, &directory).and_then(|()| docker.takes(&directory).map_err(failed));
        fs::remove_dir_all(&directory).map_err(failed)?;
        findings.extend(asked?.map(|reason| refused(&tree, main, &reason)));
    }
    Ok(findings)
}

/// Whether a file is encrypted as one value.
fn is_whole(checker: &Checker<'_>, file: &File) -> Result<bool, Error> {
    let content = checker.repository.blob_named(&file.blob)?;
    Ok(Sealed::parse(&content).is_ok_and(|sealed| sealed.format() == Format::Binary))
}

fn refused(tree: &Tree, main: &File, reason: &str) -> Finding {
    let message = format!("Compose does not take it: {reason}");
    tree.finding(Some(&main.path), Spot::new(Rule::ComposeInvalid, message))
}

/// Lays the YAML files of a tree into a directory, and all others without content.
fn lay(checker: &Checker<'_>, tree: &Tree, directory: &Path) -> Result<(), Error> {
    let failed = |source| Error::Compose { source };
    for file in &tree.files {
        let path = Path::new(&file.path);
        // Whoever made the tree can have put any name into it.
        if !path.components().all(|part| matches!(part, Component::Normal(_))) {
            continue;
        }
        let yaml = [".yml", ".yaml"].iter().any(|end| file.path.ends_with(end));
        let content =
            if yaml { without_metadata(&checker.repository.blob_named(&file.blob)?) } else { Vec::new() };
        let path = directory.join(path);
        path.parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| fs::write(&path, content))
            .map_err(failed)?;
    }
    Ok(())
}

/// A YAML file without its `sops` block, which Compose would refuse.
fn without_metadata(content: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(content);
    let document = Store::Yaml.parse(&text).ok();
    let mut out = text.clone().into_owned();
    for span in document.and_then(|document| document.metadata).into_iter().flat_map(|block| block.cut).rev()
    {
        out.replace_range(span, "");
    }
    out.into_bytes()
}

impl Docker {
    fn run(&self, directory: &Path, words: &[&str]) -> io::Result<Finished> {
        Call::new("docker", directory, &self.env, LIMIT).arg("compose").args(words).output(&[])
    }

    /// Why Compose does not take the file in a directory; `None` if it does.
    fn takes(&self, directory: &Path) -> io::Result<Option<String>> {
        let done = self.run(directory, &["config", "--quiet", "--no-interpolate"])?;
        if done.end.is_success() {
            return Ok(None);
        }
        let said = String::from_utf8_lossy(done.err.expose()).into_owned();
        let said = said.replace(&format!("{}/", directory.display()), "");
        let last = said.lines().rfind(|line| !line.trim().is_empty() && !line.starts_with("time="));
        Ok(Some(last.map_or_else(|| done.end.to_string(), |line| line.trim().to_owned())))
    }
}
