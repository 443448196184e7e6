//! Locking a work tree: its protected files stand sealed there until it is unlocked.
//!
//! A flag in the work tree's git directory makes smudge pass ciphertext through. It is set before the first file is
//! sealed, and taken back before the first is opened, so that either can be interrupted and run again.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::Path;

use crate::git::{Git, Repository};
use crate::keys::{self, Keyring};
use crate::sops::{Sealed, is_sealed};
use crate::sys::{disk, replace};

use super::Error;
use super::status::protected;

/// What locking did.
#[derive(Debug, Default)]
pub struct Locked {
    /// Sealed now.
    pub sealed: Vec<String>,
    /// Protected paths that git ignores: they stay as they are.
    pub ignored: Vec<String>,
    /// How many merges git had remembered, with their text.
    pub merges: usize,
    /// Refs in which git had kept plaintext.
    pub notes: Vec<String>,
}

/// A protected file that git does not have as it stands in the work tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsaved {
    /// Its path.
    pub path: String,
    /// How it differs.
    pub why: &'static str,
}

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
    let mut done = Locked { ignored: others(repository, git, Others::Ignored)?, ..Locked::default() };
    for (path, blob) in open {
        replace::and_wipe(&tree.join(&path), &blob).map_err(Error::io(tree.join(&path)))?;
        done.sealed.push(path);
    }
    refresh(git, &done.sealed)?;
    done.merges = forget_merges(&repository.common_dir().join("rr-cache"))?;
    done.notes = forget_notes(git)?;
    Ok(done)
}

fn raise(flag: &Path) -> Result<(), Error> {
    let directory = flag.parent().expect("it lies in the git directory");
    let raised = disk::private_dir(directory).and_then(|()| fs::write(flag, ""));
    raised.map_err(Error::io(flag))
}

/// Files with their sealed form.
type Open = Vec<(String, Vec<u8>)>;

/// The protected files that stand open, and those that differ from what git has.
fn survey(repository: &Repository, git: &Git, keyring: &Keyring) -> Result<(Open, Vec<Unsaved>), Error> {
    let tree = repository.work_tree()?;
    let (mut open, mut unsaved) = (Vec::new(), Vec::new());
    for (path, blob) in protected(repository)? {
        let path = String::from_utf8_lossy(&path).into_owned();
        let blob = repository.blob_named(&blob)?;
        match judge(&tree.join(&path), &blob, keyring).map_err(Error::io(tree.join(&path)))? {
            Stands::Sealed => {}
            Stands::Open => open.push((path, blob)),
            Stands::Otherwise(why) => unsaved.push(Unsaved { path, why }),
        }
    }
    let conflicts = git.run(&["diff", "--name-only", "--diff-filter=U", "-z"])?;
    let conflicts = filtered(repository, &conflicts)?.into_iter();
    unsaved.extend(conflicts.map(|path| Unsaved { path, why: "in conflict" }));
    let new = others(repository, git, Others::New)?.into_iter();
    unsaved.extend(new.map(|path| Unsaved { path, why: "not in git yet" }));
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

fn judge(path: &Path, blob: &[u8], keyring: &Keyring) -> io::Result<Stands> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Stands::Sealed),
        Ok(found) if !found.is_file() => return Ok(Stands::Otherwise("not a file any more")),
        Ok(_) | Err(_) => {}
    }
    let content = zeroize::Zeroizing::new(fs::read(path)?);
    if content.is_empty() && blob.is_empty() || is_sealed(&content) {
        return Ok(Stands::Sealed);
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
        Err(_) => Stands::Otherwise("git's version cannot be opened here"),
    })
}

/// Files that are not in git.
#[derive(Clone, Copy)]
enum Others {
    New,
    Ignored,
}

/// The protected paths that are not in git, and hold plaintext.
fn others(repository: &Repository, git: &Git, which: Others) -> Result<Vec<String>, Error> {
    let list = ["ls-files", "-z", "--others", "--exclude-standard"];
    let paths = match which {
        Others::New => git.run(&list)?,
        Others::Ignored => git.run(&[&list[..], &["--ignored"]].concat())?,
    };
    let tree = repository.work_tree()?;
    let in_clear = |path: &String| {
        let content = fs::read(tree.join(path)).map(zeroize::Zeroizing::new);
        content.is_ok_and(|content| !content.is_empty() && !is_sealed(&content))
    };
    Ok(filtered(repository, &paths)?.into_iter().filter(in_clear).collect())
}

/// The protected ones among paths that git listed.
fn filtered(repository: &Repository, listed: &[u8]) -> Result<Vec<String>, Error> {
    let paths: Vec<&[u8]> = listed.split(|byte| *byte == 0).filter(|path| !path.is_empty()).collect();
    let attributes = repository.all_attributes(&paths)?;
    let both = paths.iter().zip(attributes).filter(|(_, attributes)| attributes.filtered);
    Ok(both.map(|(path, _)| String::from_utf8_lossy(path).into_owned()).collect())
}

/// Lets git compare files that were written anew with what the index has of them.
///
/// A file of another size is taken for changed without a look, so the index first forgets what it knew of its size.
pub(super) fn refresh(git: &Git, written: &[String]) -> Result<(), Error> {
    let written: HashSet<&[u8]> = written.iter().map(String::as_bytes).collect();
    let all = git.run(&["ls-files", "--stage", "-z"])?;
    let path = |line: &&[u8]| line.iter().position(|byte| *byte == b'\t').map(|tab| tab + 1);
    let is_written = |line: &&[u8]| path(line).is_some_and(|at| written.contains(&line[at..]));
    let lines = all.split(|byte| *byte == 0).filter(is_written);
    let again: Vec<u8> = lines.flat_map(|line| line.iter().copied().chain([0])).collect();
    git.feed(&["update-index", "-z", "--index-info"], &again)?;
    git.run(&["update-index", "-q", "--unmerged", "--refresh"])?;
    Ok(())
}

/// `rerere` keeps conflicts and their resolutions as text.
fn forget_merges(cache: &Path) -> Result<usize, Error> {
    let entries = match fs::read_dir(cache) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        other => other.map_err(Error::io(cache))?,
    };
    let count = entries.count();
    disk::shred_all(cache).map_err(Error::io(cache))?;
    Ok(count)
}

/// `cachetextconv` keeps what was shown in a ref.
fn forget_notes(git: &Git) -> Result<Vec<String>, Error> {
    let names = git.text(&["for-each-ref", "--format=%(refname)", "refs/notes/textconv/"])?;
    let names: Vec<String> = names.lines().map(str::to_owned).collect();
    for name in &names {
        git.run(&["update-ref", "-d", name])?;
    }
    Ok(names)
}
