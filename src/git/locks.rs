//! Locks that a git which was killed has left behind.
//!
//! They are cleared only with a journal at hand, and by whoever has the turn: the git that worked
//! for the journal is dead by then. A lock that holds a commit which only the journal names is
//! its own. An empty one, of HEAD or an index, could belong to another git that runs just now;
//! it goes when no git is at work in the repository.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use super::Error;
use super::moves::{Moves, PATIENCE, PAUSE};

/// A lock is left alone until it is as old: the programs that hold them longer are git's, and seen.
const AGE: Duration = Duration::from_secs(1);

/// Clears the locks that the journal's git left.
pub(super) fn clear(common: &Path, moves: &Moves, written: SystemTime) -> Result<(), Error> {
    for step in &moves.branches {
        let lock = common.join(format!("refs/heads/{}.lock", step.branch));
        match fs::read(&lock) {
            Ok(content) if content.trim_ascii() == step.to.as_bytes() => remove(&lock)?,
            Ok(_) => clear_unnamed(&lock, common, moves, written)?,
            Err(_) => {}
        }
    }
    for lock in others(common, moves).into_iter().filter(|lock| lock.exists()) {
        clear_unnamed(&lock, common, moves, written)?;
    }
    Ok(())
}

/// The locks that the journal's git may have taken beside those of the branches.
fn others(common: &Path, moves: &Moves) -> Vec<PathBuf> {
    let mut locks: Vec<PathBuf> =
        ["HEAD.lock", "packed-refs.lock", "config.lock"].map(|name| common.join(name)).into();
    locks.extend(moves.checkouts.iter().filter_map(|checkout| index_lock(&checkout.tree)));
    locks
}

fn index_lock(tree: &Path) -> Option<PathBuf> {
    let git = tree.join(".git");
    let directory = match fs::read_to_string(&git) {
        // A linked work tree has a file there.
        Ok(text) => tree.join(text.strip_prefix("gitdir: ")?.trim_end()),
        Err(_) if git.exists() => git,
        // It is a git directory itself, whose files are elsewhere.
        Err(_) => tree.to_owned(),
    };
    Some(directory.join("index.lock"))
}

/// A lock that is older than the journal is none of its git's, and is for git to complain about.
fn clear_unnamed(lock: &Path, common: &Path, moves: &Moves, written: SystemTime) -> Result<(), Error> {
    let until = Instant::now() + PATIENCE;
    loop {
        let made = match lock.metadata().and_then(|meta| meta.modified()) {
            Ok(made) if made + Duration::from_secs(1) < written => return Ok(()),
            Ok(made) => made,
            Err(_) => return Ok(()),
        };
        let is_old = made.elapsed().is_ok_and(|age| age > AGE);
        if is_old && !git_is_at_work(common, moves) {
            return remove(lock);
        }
        if Instant::now() > until {
            return Err(Error::Locked(lock.to_owned()));
        }
        sleep(PAUSE);
    }
}

fn remove(lock: &Path) -> Result<(), Error> {
    match fs::remove_file(lock) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::file(lock)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Whether any git runs in the repository or one of the work trees, as far as `/proc` shows it.
fn git_is_at_work(common: &Path, moves: &Moves) -> bool {
    let trees = moves.checkouts.iter().map(|checkout| checkout.tree.clone());
    let top = common.parent().map(Path::to_owned);
    let places: Vec<PathBuf> = trees.chain(top).chain([common.to_owned()]).collect();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.map(|entry| entry.path()).any(|process| {
        let is_git = fs::read_to_string(process.join("comm")).is_ok_and(|name| name.starts_with("git"));
        let here = |cwd: PathBuf| places.iter().any(|place| cwd.starts_with(place));
        is_git && fs::read_link(process.join("cwd")).is_ok_and(here)
    })
}
