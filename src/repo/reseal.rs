//! Sealed files under a MAC that does not fit: found, compared with the last good version, and sealed again.
//!
//! Every value of such a file is authentic at its place, and yet someone may have put an older value back. So a person
//! decides, who is shown the names of what differs. Unasked it is done only where each value and comment stands at its
//! place in the commit before, in the one that is merged, or in the work tree.

use std::fs;

use crate::git::{Git, Repository};
use crate::keys::{self, Keyring};
use crate::sops::{self, Difference, Known, Opened, Sealed, Stale, Stamp, is_sealed};
use crate::sys::{random, replace};

use super::Error;
use super::lock::refresh;
use super::status::protected;

/// Where a stale file stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Where {
    /// In the index.
    Index,
    /// In the index, and the work tree has the very same.
    Both,
    /// In the work tree.
    Tree,
}

/// A stale file.
#[derive(Debug)]
pub struct Found {
    /// Its path.
    pub path: String,
    /// Where it stands.
    pub place: Where,
    /// The commit whose version is good; `None` if none is.
    pub since: Option<String>,
    /// What differs from there.
    pub differences: Vec<Difference>,
    resealed: Vec<u8>,
}

/// What was found among protected files.
#[derive(Debug, Default)]
pub struct Survey {
    /// Files that can be sealed again.
    pub stale: Vec<Found>,
    /// Files that cannot, and why.
    pub broken: Vec<(String, keys::Error)>,
}

/// Looks for stale files among the protected ones that are asked for.
pub fn survey(
    repository: &Repository,
    git: &Git,
    keyring: &Keyring,
    asked: impl Fn(&str) -> bool,
    now: &str,
) -> Result<Survey, Error> {
    let tree = repository.work_tree()?;
    let mut found = Survey::default();
    for (path, blob) in protected(repository)? {
        let Ok(path) = String::from_utf8(path) else { continue };
        if !asked(&path) {
            continue;
        }
        let blob = repository.blob_named(&blob)?;
        let content = fs::read(tree.join(&path)).unwrap_or_default();
        let same = content == blob;
        let places = [(if same { Where::Both } else { Where::Index }, &blob), (Where::Tree, &content)];
        for (place, text) in places.into_iter().filter(|(place, _)| !(same && *place == Where::Tree)) {
            match stale(keyring, text) {
                Ok(None) => {}
                Ok(Some(stale)) => {
                    found.stale.push(compared(git, keyring, &path, place, stale, now)?);
                }
                Err(error) => found.broken.push((path.clone(), error)),
            }
        }
    }
    Ok(found)
}

/// The file, if it is sealed and its MAC does not fit. Fails if it cannot be opened for another reason.
fn stale<'t>(keyring: &Keyring, text: &'t [u8]) -> Result<Option<Stale<'t>>, keys::Error> {
    if !is_sealed(text) {
        return Ok(None);
    }
    match keyring.open(text) {
        Ok(_) => Ok(None),
        Err(keys::Error::Sops(sops::Error::Mac)) => {
            let sealed = Sealed::parse(text)?;
            let key = keyring.data_key(sealed.groups())?;
            Ok(Some(sealed.open_stale(&key)?))
        }
        Err(error) => Err(error),
    }
}

fn compared(
    git: &Git,
    keyring: &Keyring,
    path: &str,
    place: Where,
    stale: Stale<'_>,
    now: &str,
) -> Result<Found, Error> {
    let good = last_good(git, keyring, path)?;
    let (since, blob) = good.unzip();
    let good = blob.as_deref().and_then(|blob| keyring.open(blob).ok());
    let differences = stale.differences(good.as_ref());
    let known: Vec<Known<'_>> = good.iter().filter_map(known).collect();
    let resealed = reseal(path, stale, &known, now)?;
    Ok(Found { path: path.to_owned(), place, since, differences, resealed })
}

fn known<'p>(opened: &'p Opened<'_>) -> Option<Known<'p>> {
    Known::read(opened.plaintext().expose(), opened.sealed().format())
}

fn reseal(path: &str, stale: Stale<'_>, known: &[Known<'_>], now: &str) -> Result<Vec<u8>, Error> {
    let stamp = Stamp { now: now.to_owned(), entropy: &mut random::fill };
    let resealed = stale.spelled_as(known).reseal(stamp);
    resealed.map_err(|source| Error::Sops { path: path.to_owned(), source })
}

/// The last commit whose version of a path is authentic, and that version.
fn last_good(git: &Git, keyring: &Keyring, path: &str) -> Result<Option<(String, Vec<u8>)>, Error> {
    if !git.test(&["rev-parse", "--verify", "--quiet", "HEAD"])? {
        return Ok(None);
    }
    for commit in git.text(&["log", "--format=%H", "HEAD", "--", path])?.lines() {
        let blob = version(git, commit, path)?;
        if let Some(blob) = blob.filter(|blob| is_sealed(blob) && keyring.open(blob).is_ok()) {
            return Ok(Some((commit.to_owned(), blob)));
        }
    }
    Ok(None)
}

/// A path as a commit has it.
fn version(git: &Git, commit: &str, path: &str) -> Result<Option<Vec<u8>>, Error> {
    let name = format!("{commit}:{path}");
    match git.test(&["cat-file", "-e", &name])? {
        true => Ok(Some(git.run(&["cat-file", "blob", &name])?)),
        false => Ok(None),
    }
}

/// Puts the file that was sealed again in the place of the stale one. What stood sealed in the work tree opens.
pub fn put(repository: &Repository, git: &Git, keyring: &Keyring, found: &Found) -> Result<(), Error> {
    if found.place != Where::Tree {
        stage(git, &found.path, &found.resealed)?;
    }
    if found.place == Where::Index {
        return Ok(());
    }
    let file = repository.work_tree()?.join(&found.path);
    if repository.is_locked() {
        replace::content(&file, &found.resealed).map_err(Error::io(&file))?;
    } else {
        let keys = |source| Error::Keys { path: found.path.clone(), source };
        let opened = keyring.open(&found.resealed).map_err(keys)?;
        replace::content(&file, opened.plaintext().expose()).map_err(Error::io(&file))?;
    }
    refresh(repository, git)
}

/// Puts a content into the index as it is.
pub(super) fn stage(git: &Git, path: &str, content: &[u8]) -> Result<(), Error> {
    let blob = git.feed(&["hash-object", "-w", "--stdin", "--no-filters"], content)?;
    let entry = git.text(&["ls-files", "--stage", "-z", "--", path])?;
    let mode = entry.split(' ').next().filter(|mode| !mode.is_empty()).unwrap_or("100644");
    let line = format!("{mode} {}\t{path}\0", String::from_utf8_lossy(&blob).trim());
    git.feed(&["update-index", "-z", "--index-info"], line.as_bytes())?;
    Ok(())
}

/// What a commit in the making holds of stale files.
#[derive(Debug, Default)]
pub struct Unasked {
    /// Sealed again, unasked.
    pub resealed: Vec<String>,
    /// Left stale: files with the name of a value that stands nowhere else, if that is what is wrong.
    pub left: Vec<(String, Option<String>)>,
}

/// Seals the staged files again whose every value and comment stands at its place in the commit before, in the one that
/// is merged, or in the work tree, and leaves all others. For `pre-commit`.
pub fn unasked(repository: &Repository, git: &Git, keyring: &Keyring, now: &str) -> Result<Unasked, Error> {
    let mut done = Unasked::default();
    for (path, name) in protected(repository)? {
        let before = repository.head_blob(&path)?;
        if before.as_ref() == Some(&name) {
            continue;
        }
        let (blob, path) = (repository.blob_named(&name)?, String::from_utf8_lossy(&path).into_owned());
        // What cannot be opened for another reason is for other checks.
        let Ok(Some(stale)) = stale(keyring, &blob) else { continue };
        match vouched(repository, git, keyring, &path, stale, now)? {
            Ok(resealed) => {
                stage(git, &path, &resealed)?;
                done.resealed.push(path);
            }
            Err(stray) => done.left.push((path, stray)),
        }
    }
    repository.refresh();
    Ok(done)
}

/// The file sealed again, if good versions vouch for all of it; else the name of what they do not.
fn vouched(
    repository: &Repository,
    git: &Git,
    keyring: &Keyring,
    path: &str,
    stale: Stale<'_>,
    now: &str,
) -> Result<Result<Vec<u8>, Option<String>>, Error> {
    let mut blobs = Vec::new();
    for commit in ["HEAD", "MERGE_HEAD"] {
        blobs.extend(version(git, commit, path)?);
    }
    let committed: Vec<Opened<'_>> = blobs.iter().filter_map(|blob| keyring.open(blob).ok()).collect();
    let metadata = &stale.sealed().metadata;
    // Data key and rule are outside of the MAC: a good version must have the same.
    let vouches = |good: &Opened<'_>| {
        let own = &good.sealed().metadata;
        good.key() == stale.key() && (&own.rule, own.coverage) == (&metadata.rule, metadata.coverage)
    };
    if !committed.iter().any(vouches) {
        return Ok(Err(None));
    }
    let content =
        fs::read(repository.work_tree()?.join(path)).map(zeroize::Zeroizing::new).unwrap_or_default();
    let tree = if is_sealed(&content) { keyring.open(&content).ok() } else { None };
    let mut good: Vec<Known<'_>> = committed.iter().chain(&tree).filter_map(known).collect();
    if !is_sealed(&content) {
        // Its spellings are the ones to keep.
        good.splice(0..0, Known::read(&content, stale.sealed().format()));
    }
    match stale.stray(&good) {
        Some(stray) => Ok(Err(Some(stray))),
        None => reseal(path, stale, &good, now).map(Ok),
    }
}
