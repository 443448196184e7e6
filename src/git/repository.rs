//! A repository as filters need it: blobs of the index and of HEAD, attributes, places.

use std::cell::{OnceCell, RefCell};
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use gix::bstr::{BStr, ByteSlice as _};
use gix::index::entry::Stage;

use super::loose::Loose;
use super::{Error, Git};

/// A repository, opened for reading.
pub struct Repository {
    pub(super) repo: gix::Repository,
    /// What git has not taken in yet.
    pub(super) waiting: Vec<gix::odb::Handle>,
    loose: RefCell<Loose>,
    read: RefCell<Option<Rc<Snapshot>>>,
}

/// What was read of a repository while its index file was this one.
struct Snapshot {
    mark: Option<Mark>,
    index: gix::index::File,
    head: OnceCell<gix::index::State>,
    attributes: RefCell<Option<Lookup>>,
}

/// Inode, size and time of the index file. git never writes into it: it puts another in its place.
type Mark = (u64, u64, i64, i64);

/// The attributes files that were read, and where the answers go.
struct Lookup {
    stack: gix::worktree::Stack,
    found: gix::attrs::search::Outcome,
}

impl std::fmt::Debug for Repository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Repository({})", self.repo.git_dir().display())
    }
}

/// What the attributes of a path ask for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attributes {
    /// `filter=hlx`.
    pub filtered: bool,
    /// `hlx=binary`: whole-file mode.
    pub whole: bool,
    /// `hlx=clear`: that it is not encrypted any more is meant.
    pub clear: bool,
    /// What would change line ends or more on the way: `text` unless it is switched off, `ident`, or
    /// `working-tree-encoding`.
    pub conversion: Option<&'static str>,
}

impl Repository {
    /// Opens the repository that holds a directory, honouring `GIT_DIR`, `GIT_INDEX_FILE` and their kin.
    pub fn discover(directory: &Path) -> Result<Self, Error> {
        let mut repo = gix::ThreadSafeRepository::discover_with_environment_overrides(directory)
            .map_err(|_| Error::NoRepository(directory.to_owned()))?
            .to_thread_local();
        repo.objects.ignore_replacements = true;
        let objects = repo.objects.store_ref().path().to_owned();
        let waiting = super::objects::waiting(&objects, repo.object_hash());
        Ok(Self { repo, waiting, loose: RefCell::new(Loose::new(objects)), read: RefCell::default() })
    }

    /// The top of the work tree.
    pub fn work_tree(&self) -> Result<&Path, Error> {
        self.repo.workdir().ok_or(Error::Bare)
    }

    /// The git directory of this work tree.
    pub fn git_dir(&self) -> &Path {
        self.repo.git_dir()
    }

    /// The directory that all work trees of the repository share.
    pub fn common_dir(&self) -> PathBuf {
        let directory = self.repo.common_dir();
        directory.canonicalize().unwrap_or_else(|_| directory.to_owned())
    }

    /// The file whose presence says that this work tree is locked.
    pub fn lock_flag(&self) -> PathBuf {
        self.repo.git_dir().join("hlx").join("locked")
    }

    /// Whether the files of this work tree shall stay sealed.
    pub fn is_locked(&self) -> bool {
        self.lock_flag().exists()
    }

    /// A directory of hlx's own that all work trees share, made at first use.
    pub fn scratch(&self) -> io::Result<PathBuf> {
        let path = self.common_dir().join("hlx");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        Ok(path)
    }

    /// The branch that HEAD names, unborn or not; `None` when it is detached.
    pub fn branch(&self) -> Option<String> {
        if self.has_reftable() {
            return self.git().text(&["symbolic-ref", "--quiet", "--short", "HEAD"]).ok();
        }
        let name = self.repo.head_name().ok()??;
        Some(name.shorten().to_str_lossy().into_owned())
    }

    /// The branch that is checked out, or being rebased; `None` when HEAD is detached otherwise.
    pub fn branch_in_work(&self) -> Option<String> {
        let rebased = |state| fs::read_to_string(self.repo.git_dir().join(state).join("head-name")).ok();
        let short = |name: String| name.trim().strip_prefix("refs/heads/").map(str::to_owned);
        self.branch()
            .or_else(|| ["rebase-merge", "rebase-apply"].into_iter().find_map(rebased).and_then(short))
    }

    /// The commit that a file of the work tree's git directory names.
    pub fn commit_in(&self, file: &str) -> Option<String> {
        let text = fs::read_to_string(self.repo.git_dir().join(file)).ok()?;
        Some(text.lines().next()?.trim().to_owned())
    }

    /// gix reads no reftable: there git says what HEAD is.
    pub(super) fn has_reftable(&self) -> bool {
        let kind = self.repo.config_snapshot().string("extensions.refStorage");
        kind.is_some_and(|kind| *kind == *b"reftable")
    }

    /// The `git` program, run at the top of the work tree. It is told where the repository is, if it
    /// could not find it from there (`core.worktree`).
    pub fn git(&self) -> Git {
        let whole = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let directory = whole(self.repo.git_dir());
        match self.repo.workdir() {
            Some(tree) if tree.join(".git").exists() => Git::at(tree),
            Some(tree) => Git::at(tree).with_repository(directory, whole(tree)),
            None => Git::at(directory),
        }
    }

    fn head_tree(&self) -> Option<gix::ObjectId> {
        if self.has_reftable() {
            let name = self.git().text(&["rev-parse", "--verify", "--quiet", "HEAD^{tree}"]).ok()?;
            return gix::ObjectId::from_hex(name.as_bytes()).ok();
        }
        self.repo.head_tree_id().ok().map(gix::Id::detach)
    }

    /// The name, in hex, of the blob of a path in the index: stage 0, else "ours" of a conflict.
    pub fn index_blob(&self, path: &[u8]) -> Result<Option<String>, Error> {
        let snapshot = self.snapshot()?;
        let at = |stage| snapshot.index.entry_by_path_and_stage(BStr::new(path), stage);
        Ok(at(Stage::Unconflicted).or_else(|| at(Stage::Ours)).map(|entry| entry.id.to_string()))
    }

    /// The names of the blobs of a path that is in conflict: of base, ours and theirs, as far as they have it.
    pub fn index_stages(&self, path: &[u8]) -> Result<Option<[Option<String>; 3]>, Error> {
        let snapshot = self.snapshot()?;
        let at = |stage| snapshot.index.entry_by_path_and_stage(BStr::new(path), stage);
        let names =
            [Stage::Base, Stage::Ours, Stage::Theirs].map(|stage| at(stage).map(|it| it.id.to_string()));
        let conflict = at(Stage::Unconflicted).is_none() && names.iter().any(Option::is_some);
        Ok(conflict.then_some(names))
    }

    /// The name of the blob of a path in HEAD's tree.
    pub fn head_blob(&self, path: &[u8]) -> Result<Option<String>, Error> {
        let snapshot = self.snapshot()?;
        let entry =
            self.head_of(&snapshot)?.entry_by_path(BStr::new(path)).filter(|entry| is_file(entry.mode));
        Ok(entry.map(|entry| entry.id.to_string()))
    }

    /// Whether index or HEAD have a blob, at whatever path.
    pub fn has_somewhere(&self, name: &str) -> Result<bool, Error> {
        let snapshot = self.snapshot()?;
        let id = gix::ObjectId::from_hex(name.as_bytes()).map_err(|_| Error::Unexpected("an object name"))?;
        let mut all = snapshot.index.entries().iter().chain(self.head_of(&snapshot)?.entries());
        Ok(all.any(|entry| entry.id == id))
    }

    fn head_of<'s>(&self, snapshot: &'s Snapshot) -> Result<&'s gix::index::State, Error> {
        if snapshot.head.get().is_none() {
            let _ = snapshot.head.set(self.head()?);
        }
        Ok(snapshot.head.get().expect("it was just set"))
    }

    /// All files of HEAD's tree: a thousand new files in a directory would read its tree a thousand times.
    fn head(&self) -> Result<gix::index::State, Error> {
        match self.head_tree() {
            Some(tree) => {
                let files = self.repo.index_from_tree(&tree).map_err(unreadable("the tree of HEAD"))?;
                Ok(files.into_parts().0)
            }
            None => Ok(gix::index::State::new(self.repo.object_hash())),
        }
    }

    /// Every file of the index at stage 0, with the name of its blob; no links, no submodules.
    pub fn index_entries(&self) -> Result<Vec<(Vec<u8>, String)>, Error> {
        let index = &self.snapshot()?.index;
        let entries = index
            .entries()
            .iter()
            .filter(|entry| entry.stage() == Stage::Unconflicted && is_file(entry.mode));
        Ok(entries.map(|entry| (entry.path(index).to_vec(), entry.id.to_string())).collect())
    }

    /// The attributes of a path, from the work tree's files, else the index's.
    pub fn attributes(&self, path: &[u8]) -> Result<Attributes, Error> {
        let mut answers = self.all_attributes(&[path])?;
        answers.pop().ok_or(Error::Unexpected("check-attr"))
    }

    /// The attributes of many paths, in their order.
    pub fn all_attributes(&self, paths: &[&[u8]]) -> Result<Vec<Attributes>, Error> {
        let failed = unreadable("the attributes");
        let snapshot = self.snapshot()?;
        let mut kept = snapshot.attributes.borrow_mut();
        if kept.is_none() {
            *kept = Some(self.lookup(&snapshot.index)?);
        }
        let Lookup { stack, found } = kept.as_mut().expect("it was just made");
        let mut answer = |path: &&[u8]| {
            let platform = stack.at_entry(BStr::new(*path), None, &self.repo.objects).map_err(&failed)?;
            platform.matching_attributes(found);
            Ok(found.iter_selected().fold(Attributes::default(), Attributes::with))
        };
        paths.iter().map(&mut answer).collect()
    }

    fn lookup(&self, index: &gix::index::State) -> Result<Lookup, Error> {
        use gix::worktree::stack::state::attributes::Source;
        let stack = self.repo.attributes_only(index, Source::WorktreeThenIdMapping);
        let stack = stack.map_err(unreadable("the attributes"))?.detach();
        let found = stack.selected_attribute_matches(Attributes::NAMES);
        Ok(Lookup { stack, found })
    }

    /// A blob of at most so many bytes, if it is here: what a partial clone lacks is not fetched.
    pub fn small_blob(&self, name: &str, most: u64) -> Option<Vec<u8>> {
        let loose = self.loose.borrow_mut().blob(name);
        loose.or_else(|| {
            let id = gix::ObjectId::from_hex(name.as_bytes()).ok()?;
            self.repo.try_find_header(id).ok()?.filter(|head| head.size() <= most)?;
            self.blob_here(name)
        })
    }

    /// Whether it may lack objects, which git fetches when they are needed. (git-clone(1), `--filter`.)
    pub fn is_partial(&self) -> bool {
        let config = self.repo.config_snapshot();
        let mut remotes = config.sections_by_name("remote").into_iter().flatten();
        let promises =
            remotes.any(|remote| remote.value("promisor").is_some_and(|value| value.as_slice() == b"true"));
        promises || config.string("extensions.partialClone").is_some()
    }

    /// An object's content, by its name in hex.
    pub fn blob_named(&self, name: &str) -> Result<Vec<u8>, Error> {
        if let Some(content) = self.loose.borrow_mut().blob(name) {
            return Ok(content);
        }
        match self.object(name) {
            Ok((_, content)) => Ok(content),
            // A partial clone fetches what it needs; only git can.
            Err(error) => self.git().run(&["cat-file", "blob", name]).map_err(|_| error),
        }
    }

    /// How this repository names its objects.
    pub(super) fn hash(&self) -> gix::hash::Kind {
        self.repo.object_hash()
    }

    /// The name that git gives a blob with this content, in hex.
    pub fn name_of(&self, content: &[u8]) -> Result<String, Error> {
        gix::objs::compute_hash(self.repo.object_hash(), gix::objs::Kind::Blob, content)
            .map(|id| id.to_string())
            .map_err(unreadable("a blob's name"))
    }

    /// Forgets what was read if the index file is another now, and tells whether what was read still stands. One
    /// filter serves a whole rebase, and that moves index, HEAD and attributes many times.
    pub fn refresh(&self) -> bool {
        let mut read = self.read.borrow_mut();
        if read.as_ref().is_some_and(|read| read.mark != self.mark()) {
            *read = None;
        }
        read.is_some()
    }

    fn snapshot(&self) -> Result<Rc<Snapshot>, Error> {
        let mut read = self.read.borrow_mut();
        if let Some(read) = read.as_ref() {
            return Ok(Rc::clone(read));
        }
        let mark = self.mark();
        let index = match mark {
            Some(_) => self.repo.open_index().map_err(unreadable("the index"))?,
            None => {
                let none = gix::index::State::new(self.repo.object_hash());
                gix::index::File::from_state(none, self.repo.index_path())
            }
        };
        let (head, attributes) = (OnceCell::new(), RefCell::default());
        Ok(Rc::clone(read.insert(Rc::new(Snapshot { mark, index, head, attributes }))))
    }

    fn mark(&self) -> Option<Mark> {
        let file = self.repo.index_path().metadata().ok()?;
        Some((file.ino(), file.size(), file.mtime(), file.mtime_nsec()))
    }
}

impl Attributes {
    /// The attributes that matter here.
    pub(super) const NAMES: [&'static str; 5] = ["filter", "hlx", "text", "ident", "working-tree-encoding"];

    pub(super) fn with(self, found: gix::attrs::search::Match<'_>) -> Self {
        use gix::attrs::StateRef;
        let state = match found.assignment.state {
            StateRef::Value(value) => value.as_bstr().to_str_lossy().into_owned(),
            StateRef::Set => "set".to_owned(),
            StateRef::Unset => "unset".to_owned(),
            StateRef::Unspecified => "unspecified".to_owned(),
        };
        self.and(found.assignment.name.as_str(), &state)
    }

    /// With one more attribute, its state in the words of `git check-attr`.
    pub(super) fn and(mut self, name: &str, state: &str) -> Self {
        match name {
            "filter" => self.filtered = state == "hlx",
            "hlx" => (self.whole, self.clear) = (state == "binary", state == "clear"),
            // Unspecified, `core.autocrlf` decides.
            "text" if state != "unset" => self.conversion = Some("text"),
            "ident" if state == "set" => self.conversion = Some("ident"),
            "working-tree-encoding" if !matches!(state, "unset" | "unspecified") => {
                self.conversion = Some("working-tree-encoding");
            }
            _ => {}
        }
        self
    }
}

fn is_file(mode: gix::index::entry::Mode) -> bool {
    use gix::index::entry::Mode;
    mode == Mode::FILE || mode == Mode::FILE_EXECUTABLE
}

pub(super) fn unreadable<E: std::fmt::Display>(what: &'static str) -> impl Fn(E) -> Error {
    move |error| Error::Unreadable { what, reason: error.to_string() }
}
