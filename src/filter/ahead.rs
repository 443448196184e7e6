//! What git will ask for next, made ready while git is busy with the last answer.
//!
//! git goes through files in the order of their paths. It sleeps while the filter works, and the
//! filter would sleep while git works. So once git has asked for a few files in that order, the
//! answer for the one that should come next is made before git asks. It is given only if git then
//! brings that very content. A wrong guess costs time alone, and each doubles the number of files
//! that go by without one. Where one core is all there is, no time is to be won, and nothing is guessed.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use crate::git::{self, Repository};
use crate::keys::Keyring;
use crate::secret::SecretBytes;

use super::Error;
use super::clean::Cleaner;
use super::process::{Command, Request};
use super::smudge::{self, Smudged};

/// How many files go by before the first guess: most commands ask for fewer, and need no list of all.
const FEW: u32 = 6;
/// The most files that go by between two guesses.
const MANY: u32 = 1 << 12;
/// The size in bytes of the largest file that is read on a guess.
const LARGEST: u64 = 1 << 18;

/// Guesses what comes next.
pub struct Ahead<'a> {
    repository: &'a Repository,
    cleaner: &'a Cleaner<'a>,
    keyring: &'a Keyring,
    on: bool,
    course: Course,
    /// All files on the course, in order.
    files: Option<Vec<Candidate>>,
    /// The endings of the names that git asked for: others may have no filter.
    endings: HashSet<Vec<u8>>,
    /// How many more files go by, and how many do after the next wrong guess.
    rest: (u32, u32),
    guess: Option<Guess>,
}

/// Where git takes the files from, that it asks for one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Course {
    /// From the work tree: those that the index has.
    Tracked,
    /// From a folder of the work tree, new ones.
    New(Vec<u8>),
    /// From the index.
    Index,
    /// From a commit or tree.
    Tree(Vec<u8>),
}

/// A path, and the name of its blob in hex if git has one.
type Candidate = (Vec<u8>, String);

/// What git should ask for next, and the answer.
enum Guess {
    Clean { path: Vec<u8>, content: SecretBytes, answer: Result<Vec<u8>, Error> },
    Smudge { blob: Vec<u8>, answer: Smudged },
}

impl std::fmt::Debug for Ahead<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ahead")
            .field("course", &self.course)
            .field("rest", &self.rest)
            .finish_non_exhaustive()
    }
}

impl<'a> Ahead<'a> {
    /// Guesses for a repository, with the answers of this cleaner and these identities.
    pub fn new(repository: &'a Repository, cleaner: &'a Cleaner<'a>, keyring: &'a Keyring) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            repository,
            cleaner,
            keyring,
            on: cores > 1,
            course: Course::Tracked,
            files: None,
            endings: HashSet::new(),
            rest: (FEW, FEW),
            guess: None,
        }
    }

    /// The answer to a file of the work tree, if it was guessed and git's index is still the same.
    pub fn cleaned(&mut self, path: &[u8], content: &[u8]) -> Option<Result<Vec<u8>, Error>> {
        let right = |guess: &mut Guess| match guess {
            Guess::Clean { path: guessed, content: read, .. } => guessed == path && read.expose() == content,
            Guess::Smudge { .. } => false,
        };
        match self.guess.take_if(right)? {
            Guess::Clean { answer, .. } if self.repository.refresh() => Some(answer),
            _ => None,
        }
    }

    /// The answer to a blob, if it was guessed.
    pub fn smudged(&mut self, blob: &[u8]) -> Option<Smudged> {
        let right =
            |guess: &mut Guess| matches!(guess, Guess::Smudge { blob: guessed, .. } if guessed == blob);
        match self.guess.take_if(right)? {
            Guess::Smudge { answer, .. } => Some(answer),
            Guess::Clean { .. } => None,
        }
    }

    /// Hears that git has the answer to a request, and makes ready what should come next.
    pub fn go_on(&mut self, request: &Request) {
        if self.on && !self.waits(request) {
            self.guess = self.next(&request.path).and_then(|next| self.answer(next));
        }
    }

    /// Whether nothing is guessed after this request.
    fn waits(&mut self, request: &Request) -> bool {
        let course = self.course_of(request);
        if self.course != course {
            (self.course, self.files, self.guess, self.rest) = (course, None, None, (FEW, FEW));
            self.endings.clear();
        }
        // A right guess was taken.
        self.rest = match (self.guess.take(), self.rest) {
            (Some(_), (_, next)) => (next, MANY.min(next * 2)),
            (None, (rest, next)) => (rest.saturating_sub(1), next),
        };
        self.endings.insert(ending(&request.path).to_vec());
        self.rest.0 > 0
    }

    fn course_of(&self, request: &Request) -> Course {
        match request.command {
            Command::Clean => match self.repository.index_blob(&request.path) {
                Ok(None) => Course::New(folder(&request.path).to_vec()),
                Ok(Some(_)) | Err(_) => Course::Tracked,
            },
            Command::Smudge | Command::Other if request.tree.is_empty() => Course::Index,
            Command::Smudge | Command::Other => Course::Tree(request.tree.clone()),
        }
    }

    /// The next file with a name like those that git asked for.
    fn next(&mut self, path: &[u8]) -> Option<Candidate> {
        if self.files.is_none() {
            self.files = Some(self.list().unwrap_or_default());
        }
        let files = self.files.as_ref()?;
        let after = files.partition_point(|(other, _)| other.as_slice() <= path);
        files[after..].iter().find(|(other, _)| self.endings.contains(ending(other))).cloned()
    }

    fn list(&self) -> Result<Vec<Candidate>, git::Error> {
        let indexed = self.repository.index_entries()?;
        match &self.course {
            Course::Tracked | Course::Index => Ok(indexed),
            Course::New(folder) => {
                let tracked: HashSet<Vec<u8>> = indexed.into_iter().map(|(path, _)| path).collect();
                let mut new = in_folder(self.repository.work_tree()?, folder);
                new.retain(|(path, _)| !tracked.contains(path));
                Ok(new)
            }
            // git takes only what the index has otherwise.
            Course::Tree(tree) => {
                let same: HashSet<Candidate> = indexed.into_iter().collect();
                let files = self.repository.files(&String::from_utf8_lossy(tree))?.into_iter();
                let files = files.filter(|file| file.mode.starts_with("100"));
                Ok(files.map(|file| (file.path, file.blob)).filter(|file| !same.contains(file)).collect())
            }
        }
    }

    fn answer(&self, (path, name): Candidate) -> Option<Guess> {
        match self.course {
            Course::Tracked | Course::New(_) => {
                let content = read(self.repository.work_tree().ok()?, &path)?;
                let answer = self.cleaner.answer(&path, content.expose());
                Some(Guess::Clean { path, content, answer })
            }
            Course::Index | Course::Tree(_) => {
                let blob = self.repository.small_blob(&name, LARGEST)?;
                let answer = smudge::at_all_events(self.keyring, &blob);
                Some(Guess::Smudge { blob, answer })
            }
        }
    }
}

/// `env` of `.env` and `a/b.env`; a name without a dot is its own ending.
fn ending(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| matches!(byte, b'.' | b'/')).next().unwrap_or(path)
}

/// The folder of a path, with its last slash; empty for the top.
fn folder(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    &path[..end]
}

/// All that stands in a folder, in order.
fn in_folder(tree: &Path, folder: &[u8]) -> Vec<Candidate> {
    let Ok(found) = fs::read_dir(tree.join(OsStr::from_bytes(folder))) else { return Vec::new() };
    let path = |name: Vec<u8>| [folder, &name].concat();
    let names = found.filter_map(|entry| Some(entry.ok()?.file_name().into_vec()));
    let mut files: Vec<Candidate> = names.map(|name| (path(name), String::new())).collect();
    files.sort_unstable();
    files
}

/// An ordinary file of the work tree, unless it is large.
fn read(tree: &Path, path: &[u8]) -> Option<SecretBytes> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut file =
        File::from(rustix::fs::open(tree.join(OsStr::from_bytes(path)), flags, Mode::empty()).ok()?);
    let found = file.metadata().ok().filter(|found| found.is_file() && found.len() <= LARGEST)?;
    let mut content = SecretBytes::new(Vec::with_capacity(usize::try_from(found.len()).ok()? + 1));
    file.read_to_end(content.expose_mut()).ok()?;
    Some(content)
}
