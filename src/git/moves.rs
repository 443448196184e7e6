//! Moving many refs, all of them or none, whatever interrupts it.
//!
//! git moves the refs of a transaction one by one once all are locked, and a kill in between leaves
//! some moved and the others locked. So what is to happen is written down first, in a journal
//! under the git directory. Whoever comes next (any command of hlx) finishes it, or takes it back,
//! and clears away git's locks. Once the journal is there, every object that it names is too.
//!
//! One process at a time has the turn to move refs: a lock that its git shares, so that it is
//! free only when both have ended. It is not taken to look whether there is a journal.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

use super::follow::{self, Checkout, Side};
use super::{Error, Git, Repository, branch, locks};
use crate::sys::disk;

const JOURNAL: &str = "moves.json";
const LOCK: &str = "moves.lock";
/// The form of the journal.
const VERSION: u32 = 1;
/// How long to wait for a turn, and for other programs to give their locks back.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
pub(super) const PAUSE: Duration = Duration::from_millis(20);

/// What is to be moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moves {
    version: u32,
    /// What the reflog says.
    pub reason: String,
    /// The branches.
    pub branches: Vec<Move>,
    /// The work trees that follow.
    pub checkouts: Vec<Checkout>,
}

/// One branch. Commits are named in hex.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// Its short name.
    pub branch: String,
    /// Where it stands; `None` for one that is to be made.
    pub from: Option<String>,
    /// Where it goes.
    pub to: String,
    /// For one that is to be made: the remote whose branch it follows.
    pub remote: Option<String>,
}

impl Move {
    fn name(&self) -> String {
        format!("refs/heads/{}", self.branch)
    }
}

/// What became of moves that something had interrupted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recovered {
    /// All branches moved, but for these, which went their own way meanwhile.
    Finished {
        /// Those that moved, then or now.
        branches: Vec<String>,
        /// The others.
        left: Vec<String>,
    },
    /// None moved, because of these, which went their own way or have lost their new commit.
    Undone {
        /// Their names.
        because: Vec<String>,
    },
}

/// The turn to move refs in a repository.
#[derive(Debug)]
pub struct Turn {
    lock: disk::Lock,
    /// The directory that all work trees share.
    common: PathBuf,
}

impl Moves {
    /// These branches, and the work trees that follow them.
    pub fn new(reason: String, branches: Vec<Move>, checkouts: Vec<Checkout>) -> Self {
        Self { version: VERSION, reason, branches, checkouts }
    }
}

fn journal(common: &Path) -> PathBuf {
    common.join("hlx").join(JOURNAL)
}

/// Finishes or undoes what was interrupted; costs one look at the disk where nothing was. `then` is as in
/// [`Turn::make`].
pub fn recover<E: From<Error>>(repository: &Repository, then: impl Then<E>) -> Result<Option<Recovered>, E> {
    match journal(&repository.common_dir()).exists() {
        true => Turn::take(repository)?.recover(then),
        false => Ok(None),
    }
}

/// What is to be done for branches that moved, whoever moved them in the end.
pub trait Then<E>: FnOnce(&[&Move]) -> Result<(), E> {}

impl<E, F: FnOnce(&[&Move]) -> Result<(), E>> Then<E> for F {}

impl Turn {
    /// Takes the turn, when it comes.
    pub fn take(repository: &Repository) -> Result<Self, Error> {
        let directory = repository.scratch().map_err(Error::file(repository.common_dir()))?;
        let path = directory.join(LOCK);
        let until = Instant::now() + PATIENCE;
        loop {
            match disk::lock(&path).map_err(Error::file(&path))? {
                Some(lock) => return Ok(Self { lock, common: repository.common_dir() }),
                None if Instant::now() > until => return Err(Error::Busy(path)),
                None => std::thread::sleep(PAUSE),
            }
        }
    }

    /// Finishes or undoes what was interrupted. `then` is as in [`Turn::make`].
    pub fn recover<E: From<Error>>(&self, then: impl Then<E>) -> Result<Option<Recovered>, E> {
        let path = journal(&self.common);
        let (text, written) = match fs::read(&path).and_then(|text| Ok((text, path.metadata()?.modified()?)))
        {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(Error::file(&path))?,
        };
        let unknown = || Error::Journal(path.clone());
        let moves: Moves = serde_json::from_slice(&text).map_err(|_| unknown())?;
        if moves.version != VERSION {
            return Err(unknown().into());
        }
        self.settle(&moves, written, then).map(Some)
    }

    /// Moves the refs. Fails before any moved if a branch no longer stands where it did.
    ///
    /// `then` is called with all that moved while the journal is still there, so that it is done at some time, perhaps
    /// more than once.
    pub fn make<E: From<Error>>(&self, moves: &Moves, then: impl Then<E>) -> Result<(), E> {
        let path = journal(&self.common);
        self.sweep();
        let text = serde_json::to_vec(moves).expect("a journal has no keys but names");
        disk::private_file(&path, &text).map_err(Error::file(&path))?;
        let git = self.git();
        let steps = moves.branches.iter().map(|step| Step { step, side: Side::New }).collect::<Vec<_>>();
        if let Err(error) = self.update(&git, &moves.reason, &steps) {
            let now = branch::tips(&git)?;
            if moves.branches.iter().all(|step| now.get(&step.branch) != Some(&step.to)) {
                fs::remove_file(&path).map_err(Error::file(&path))?;
                let moved = moves.branches.iter().find(|step| now.get(&step.branch) != step.from.as_ref());
                return Err(moved.map_or(error, |step| Error::Moved(step.branch.clone())).into());
            }
            return match self.settle(moves, SystemTime::now(), then)? {
                Recovered::Finished { .. } => Ok(()),
                Recovered::Undone { because } => Err(Error::Moved(because.join(", ")).into()),
            };
        }
        let all: Vec<&Move> = moves.branches.iter().collect();
        self.follow(moves, &all, Side::New)?;
        then(&all)?;
        Ok(self.close()?)
    }

    /// Journals that a kill left before they had their name.
    fn sweep(&self) {
        let entries = fs::read_dir(self.common.join("hlx")).into_iter().flatten().flatten();
        let is_left = |name: &str| name.starts_with(JOURNAL) && name.ends_with('~');
        let left = entries.filter(|entry| is_left(&entry.file_name().to_string_lossy()));
        left.for_each(|entry| drop(fs::remove_file(entry.path())));
    }

    /// Brings all branches to one side.
    fn settle<E: From<Error>>(
        &self,
        moves: &Moves,
        written: SystemTime,
        then: impl Then<E>,
    ) -> Result<Recovered, E> {
        locks::clear(&self.common, moves, written)?;
        let git = self.git();
        let lost = missing(&git, moves)?;
        let stands = stands(&git, moves)?;
        let (side, foreign) = judge(&stands, &lost);
        let are = |which: &dyn Fn(Place) -> bool| -> Vec<&Move> {
            stands.iter().filter(|(_, place)| which(*place)).map(|(step, _)| *step).collect()
        };
        let steps = stands.iter().filter(|(_, place)| *place == Place::At(side.other()));
        let steps: Vec<Step<'_>> = steps.map(|(step, _)| Step { step, side }).collect();
        self.update(&git, &moves.reason, &steps)?;
        self.follow(moves, &are(&|place| matches!(place, Place::At(_))), side)?;
        if side == Side::New {
            then(&are(&|place| place != Place::Elsewhere))?;
        }
        self.close()?;
        Ok(match side {
            Side::New => {
                let all = moves.branches.iter().map(|step| step.branch.clone());
                Recovered::Finished {
                    branches: all.filter(|name| !foreign.contains(name)).collect(),
                    left: foreign,
                }
            }
            Side::Old => Recovered::Undone { because: if foreign.is_empty() { lost } else { foreign } },
        })
    }

    /// After the refs: what follows them.
    fn follow(&self, moves: &Moves, settled: &[&Move], side: Side) -> Result<(), Error> {
        let names: BTreeSet<&str> = settled.iter().map(|step| step.branch.as_str()).collect();
        for checkout in moves.checkouts.iter().filter(|checkout| names.contains(checkout.branch.as_str())) {
            follow::bring(checkout, side)?;
        }
        let git = self.git();
        for step in settled.iter().filter(|step| side == Side::New && step.from.is_none()) {
            if let Some(remote) = &step.remote {
                let upstream = format!("--set-upstream-to={remote}/{}", step.branch);
                git.run(&["branch", "--quiet", &upstream, &step.branch])?;
            }
        }
        Ok(())
    }

    /// The journal goes.
    fn close(&self) -> Result<(), Error> {
        let path = journal(&self.common);
        fs::remove_file(&path).map_err(Error::file(&path))
    }

    /// One transaction of git's.
    fn update(&self, git: &Git, reason: &str, steps: &[Step<'_>]) -> Result<(), Error> {
        if steps.is_empty() {
            return Ok(());
        }
        let lines: String = steps.iter().map(Step::line).collect();
        let words = ["update-ref", "-m", reason, "--stdin"];
        self.lock.share(|| git.feed(&words, lines.as_bytes())).map_err(Error::file(&self.common))??;
        Ok(())
    }

    /// In the git directory, every git takes the same locks, wherever the user stands.
    fn git(&self) -> Git {
        Git::of(&self.common)
    }
}

/// A branch to be moved to one side.
struct Step<'m> {
    step: &'m Move,
    side: Side,
}

impl Step<'_> {
    fn line(&self) -> String {
        let Move { from, to, .. } = self.step;
        let zero = "0".repeat(to.len());
        let from = from.as_ref().unwrap_or(&zero);
        let (new, old) = match self.side {
            Side::New => (to, from),
            Side::Old => (from, to),
        };
        format!("update {} {new} {old}\n", self.step.name())
    }
}

/// Where a branch was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    At(Side),
    /// It was moved, and then went on from there.
    Beyond,
    Elsewhere,
}

/// Where all branches shall be brought, and which of them can not be: by then they went their own way.
///
/// Finishing is the rule. What went its own way before it was moved makes it impossible for all of
/// them; then nothing shall have happened, unless one went on from its new place already.
fn judge(stands: &[(&Move, Place)], lost: &[String]) -> (Side, Vec<String>) {
    let foreign = stands.iter().filter(|(_, place)| *place == Place::Elsewhere);
    let foreign: Vec<String> = foreign.map(|(step, _)| step.branch.clone()).collect();
    let went_on = stands.iter().any(|(_, place)| *place == Place::Beyond);
    let side = if (foreign.is_empty() || went_on) && lost.is_empty() { Side::New } else { Side::Old };
    (side, foreign)
}

fn stands<'m>(git: &Git, moves: &'m Moves) -> Result<Vec<(&'m Move, Place)>, Error> {
    let now = branch::tips(git)?;
    let place = |step: &'m Move| {
        let place = match now.get(&step.branch) {
            Some(name) if *name == step.to => Place::At(Side::New),
            name if name == step.from.as_ref() => Place::At(Side::Old),
            Some(name) if git.test(&["merge-base", "--is-ancestor", &step.to, name])? => Place::Beyond,
            Some(_) | None => Place::Elsewhere,
        };
        Ok((step, place))
    };
    moves.branches.iter().map(place).collect()
}

/// The branches whose new commit is gone: someone pruned what no ref names.
fn missing(git: &Git, moves: &Moves) -> Result<Vec<String>, Error> {
    let names: String = moves.branches.iter().map(|step| format!("{}\n", step.to)).collect();
    let found = git.feed(&["cat-file", "--batch-check"], names.as_bytes())?;
    let found = String::from_utf8_lossy(&found).into_owned();
    let lines = found.lines().zip(&moves.branches);
    Ok(lines.filter(|(line, _)| line.ends_with(" missing")).map(|(_, step)| step.branch.clone()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_go_to_one_side_and_which_follows_from_where_they_stand() {
        use Place::{At, Beyond, Elsewhere};
        use Side::{New, Old};
        let step = |name: &str| Move { branch: name.to_owned(), from: None, to: String::new(), remote: None };
        let [a, b] = [step("a"), step("b")];
        for (places, lost, side, foreign) in [
            ([At(Old), At(Old)], &[][..], New, &[][..]),
            ([At(New), At(Old)], &[], New, &[]),
            ([Beyond, At(Old)], &[], New, &[]),
            ([Elsewhere, At(Old)], &[], Old, &["a"]),
            ([Elsewhere, At(New)], &[], Old, &["a"]),
            ([Elsewhere, Beyond], &[], New, &["a"]),
            ([At(Old), At(New)], &["a"], Old, &[]),
            ([Elsewhere, Beyond], &["a"], Old, &["a"]),
        ] {
            let lost: Vec<String> = lost.iter().map(|name: &&str| (*name).to_owned()).collect();
            let judged = judge(&[(&a, places[0]), (&b, places[1])], &lost);
            assert_eq!(judged, (side, foreign.iter().map(|name| (*name).to_owned()).collect()), "{places:?}");
        }
    }
}
