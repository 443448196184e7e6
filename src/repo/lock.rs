//! Locking a work tree: its protected files stand sealed there until it is unlocked.
//!
//! A flag in the work tree's git directory makes smudge pass ciphertext through. It is set before the first file is
//! sealed, and taken back before the first is opened, so that either can be interrupted and run again.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::git::{Git, Repository};
use crate::keys::{self, Keyring};
use crate::sops::{Sealed, is_sealed};
use crate::sys::disk;
use crate::sys::replace::{self, Fresh};

use super::Error;
use super::forget::{Forgotten, forget};
use super::status::protected;

/// What locking did.
#[derive(Debug, Default)]
pub struct Locked {
    /// Sealed now.
    pub sealed: Vec<PathBuf>,
    /// Protected paths that git ignores: they stay as they are.
    pub ignored: Vec<PathBuf>,
    /// What else held plaintext.
    pub forgotten: Forgotten,
}

/// A protected file that git does not have as it stands in the work tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsaved {
    /// Its path.
    pub path: PathBuf,
    /// How it differs.
    pub why: &'static str,
}

impl Unsaved {
    /// Whether git's version cannot be opened here, and so the file not be committed either.
    pub fn is_unreadable(&self) -> bool {
        self.why == UNREADABLE
    }
}

const UNREADABLE: &str = "git's version cannot be opened here";

/// Seals every protected file of the work tree, and removes the copies of plaintext that git keeps.
///
/// Fails before anything changed if a file would lose changes.
pub fn lock(repository: &Repository, git: &Git, keyring: &Keyring) -> Result<Locked, Error> {
    let tree = repository.work_tree()?;
    let (open, unsaved) = survey(repository, git, keyring)?;
    if !unsaved.is_empty() {
        return Err(Error::Unsaved(unsaved));
    }
    raise(&repository.lock_flag())?;
    sweep(repository)?;
    let ignored = others(repository, git, keyring, Others::Ignored)?;
    let mut done = Locked { ignored, ..Locked::default() };
    open.chunks(replace::TOGETHER).try_for_each(|part| seal(tree, part, keyring, &mut done.sealed))?;
    refresh(repository, git)?;
    done.forgotten = forget(repository, git)?;
    Ok(done)
}

/// Puts the sealed form in the place of files that stand open, and overwrites what stood there.
fn seal(
    tree: &Path,
    open: &[(PathBuf, Vec<u8>)],
    keyring: &Keyring,
    sealed: &mut Vec<PathBuf>,
) -> Result<(), Error> {
    let fresh = open.iter().map(|(path, blob)| {
        let file = tree.join(path);
        Fresh::write(&file, blob).map_err(Error::io(file))
    });
    let fresh = fresh.collect::<Result<Vec<_>, _>>()?;
    replace::settle(fresh.iter().map(AsRef::as_ref)).map_err(Error::io(tree))?;
    let mut old = Vec::new();
    let placed = open.iter().zip(fresh).try_for_each(|((path, blob), fresh)| {
        let file = tree.join(path);
        // Someone may have gone on editing meanwhile.
        match judge(tree, path, blob, keyring).map_err(Error::io(&file))? {
            Stands::Open => {}
            Stands::Sealed => return Ok(()),
            Stands::Otherwise(why) => {
                return Err(Error::Unsaved(vec![Unsaved { path: path.clone(), why }]));
            }
        }
        old.push(replace::Old::open(&file).map_err(Error::io(&file))?);
        fresh.take_place().map_err(Error::io(&file))?;
        sealed.push(path.clone());
        Ok(())
    });
    replace::wipe(&old).map_err(Error::io(tree))?;
    placed
}

fn raise(flag: &Path) -> Result<(), Error> {
    let directory = flag.parent().expect("it lies in the git directory");
    let raised = disk::private_dir(directory).and_then(|()| fs::write(flag, ""));
    raised.map_err(Error::io(flag))
}

/// Removes what a run that was killed may have left beside the protected files.
pub(super) fn sweep(repository: &Repository) -> Result<(), Error> {
    let tree = repository.work_tree()?;
    let paths = protected(repository)?.into_iter().map(|(path, _)| native(&path));
    let places: HashSet<_> = paths
        .filter(|path| !behind_a_link(tree, path))
        .filter_map(|path| Some(tree.join(path).parent()?.to_owned()))
        .collect();
    places.iter().try_for_each(|place| replace::sweep(place).map_err(Error::io(place)))
}

/// A path of git's, which is bytes.
pub(super) fn native(path: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(path))
}

/// Files with their sealed form.
type Open = Vec<(PathBuf, Vec<u8>)>;

/// The protected files that stand open, and those that differ from what git has.
fn survey(repository: &Repository, git: &Git, keyring: &Keyring) -> Result<(Open, Vec<Unsaved>), Error> {
    let tree = repository.work_tree()?;
    let (mut open, mut unsaved) = (Vec::new(), Vec::new());
    for (path, blob) in protected(repository)? {
        let path = native(&path);
        let blob = repository.blob_named(&blob)?;
        match judge(tree, &path, &blob, keyring).map_err(Error::io(tree.join(&path)))? {
            Stands::Sealed => {}
            Stands::Open => open.push((path, blob)),
            Stands::Otherwise(why) => unsaved.push(Unsaved { path, why }),
        }
    }
    let because =
        |paths: Vec<PathBuf>, why: &'static str| paths.into_iter().map(move |path| Unsaved { path, why });
    let clear = |path: &PathBuf| fs::read(tree.join(path)).is_ok_and(|content| !is_sealed(&content));
    let abandoned = super::status::abandoned(repository)?.into_iter();
    let abandoned = abandoned.map(|(path, _)| native(&path)).filter(clear).collect();
    unsaved.extend(because(abandoned, "not protected by `.gitattributes` any more"));
    unsaved.extend(because(unmerged(repository, git)?, "in conflict"));
    unsaved.extend(because(others(repository, git, keyring, Others::New)?, "not in git yet"));
    Ok((open, unsaved))
}

/// How a file stands in the work tree.
enum Stands {
    /// Sealed, or not at all: there is nothing to do, and nothing to lose.
    Sealed,
    /// Open, as git has it.
    Open,
    /// Open, and not as git has it, or nobody can tell.
    Otherwise(&'static str),
}

fn judge(tree: &Path, path: &Path, blob: &[u8], keyring: &Keyring) -> io::Result<Stands> {
    let file = tree.join(path);
    match file.symlink_metadata() {
        Err(error) if is_missing(&error) => return Ok(Stands::Sealed),
        // git takes a file behind a link for one that is not there.
        Ok(_) if behind_a_link(tree, path) => return Ok(Stands::Sealed),
        Ok(found) if !found.is_file() => return Ok(Stands::Otherwise("not a file any more")),
        Ok(_) | Err(_) => {}
    }
    let content = zeroize::Zeroizing::new(fs::read(file)?);
    if *content == blob && (blob.is_empty() || is_sealed(blob)) {
        return Ok(Stands::Sealed);
    }
    if is_sealed(&content) {
        return Ok(match holds_no_plaintext(keyring, &content, blob) {
            true => Stands::Sealed,
            false => Stands::Otherwise("it looks encrypted, but is neither git's version nor authentic"),
        });
    }
    if !is_sealed(blob) {
        return Ok(Stands::Otherwise("in clear in git too: `git add --renormalize` encrypts it there"));
    }
    let key = Sealed::parse(blob).map_err(keys::Error::from).and_then(|sealed| {
        let key = keyring.data_key(sealed.groups())?;
        Ok(sealed.opens_to(&key, &content)?)
    });
    Ok(match key {
        Ok(true) => Stands::Open,
        Ok(false) => Stands::Otherwise("changed"),
        Err(_) => Stands::Otherwise(UNREADABLE),
    })
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Whether a directory on the way to a path is a link.
pub(super) fn behind_a_link(tree: &Path, path: &Path) -> bool {
    let above = path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty());
    above.map(|above| tree.join(above)).any(|above| above.is_symlink())
}

/// Whether a file is encrypted indeed: authentic, and with no clear comment that git's version has not.
fn holds_no_plaintext(keyring: &Keyring, content: &[u8], blob: &[u8]) -> bool {
    let Ok(opened) = keyring.open(content) else { return false };
    let known = String::from_utf8_lossy(blob);
    let comments = opened.sealed().clear_comments();
    opened.sealed().check_structure().is_ok() && comments.iter().all(|comment| known.contains(*comment))
}

/// Files that are not in git.
#[derive(Clone, Copy)]
enum Others {
    New,
    Ignored,
}

/// The protected paths that are not in git, and may hold plaintext.
fn others(
    repository: &Repository,
    git: &Git,
    keyring: &Keyring,
    which: Others,
) -> Result<Vec<PathBuf>, Error> {
    let list = ["ls-files", "-z", "--others", "--exclude-standard"];
    let paths = match which {
        Others::New => git.run(&list)?,
        Others::Ignored => git.run(&[&list[..], &["--ignored"]].concat())?,
    };
    let tree = repository.work_tree()?;
    let in_clear = |path: &PathBuf| {
        let content = fs::read(tree.join(path)).map(zeroize::Zeroizing::new);
        content.is_ok_and(|content| !content.is_empty() && !holds_no_plaintext(keyring, &content, &[]))
    };
    let paths: Vec<&[u8]> = paths.split(|byte| *byte == 0).filter(|path| !path.is_empty()).collect();
    Ok(filtered(repository, &paths)?.into_iter().filter(in_clear).collect())
}

/// The protected paths that are in conflict.
pub(super) fn unmerged(repository: &Repository, git: &Git) -> Result<Vec<PathBuf>, Error> {
    let unmerged = git.run(&["ls-files", "--unmerged", "-z"])?;
    let lines = unmerged.split(|byte| *byte == 0);
    let mut names: Vec<&[u8]> =
        lines.filter_map(|line| line.splitn(2, |byte| *byte == b'\t').nth(1)).collect();
    names.dedup();
    filtered(repository, &names)
}

/// The protected ones among paths.
fn filtered(repository: &Repository, paths: &[&[u8]]) -> Result<Vec<PathBuf>, Error> {
    let attributes = repository.all_attributes(paths)?;
    let both = paths.iter().zip(attributes).filter(|(_, attributes)| attributes.filtered);
    Ok(both.map(|(path, _)| native(path)).collect())
}

/// Lets git compare the protected files with what the index has of them, after some were written anew, now or by a run
/// that was interrupted.
///
/// A file of another size is taken for changed without a look, so the index first forgets what it knew of its size.
pub(super) fn refresh(repository: &Repository, git: &Git) -> Result<(), Error> {
    let tree = repository.work_tree()?;
    // A sparse checkout leaves files out, and the index remembers which.
    let is_here = |path: &Vec<u8>| tree.join(OsStr::from_bytes(path)).symlink_metadata().is_ok();
    let written: HashSet<Vec<u8>> =
        protected(repository)?.into_iter().map(|(path, _)| path).filter(is_here).collect();
    forget_sizes(git, &written)?;
    // It stops at a file that cannot be cleaned; git then compares the others when it next looks at them.
    git.test(&["update-index", "-q", "--unmerged", "--refresh"])?;
    Ok(())
}

/// Lets the index forget what it knew of the size and time of these files, so that git looks at them again.
pub(super) fn forget_sizes(git: &Git, paths: &HashSet<Vec<u8>>) -> Result<(), Error> {
    let all = git.run(&["ls-files", "--stage", "-z"])?;
    let path = |line: &&[u8]| line.iter().position(|byte| *byte == b'\t').map(|tab| tab + 1);
    let is_written = |line: &&[u8]| path(line).is_some_and(|at| paths.contains(&line[at..]));
    let lines = all.split(|byte| *byte == 0).filter(is_written);
    let again: Vec<u8> = lines.flat_map(|line| line.iter().copied().chain([0])).collect();
    if !again.is_empty() {
        git.feed(&["update-index", "-z", "--index-info"], &again)?;
    }
    Ok(())
}
