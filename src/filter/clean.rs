//! Clean: from the work tree into git. Plaintext is sealed; sealed files pass if they are good.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;

use crate::format::{self, Format};
use crate::git::Repository;
use crate::keys::{self, Keyring};
use crate::policy;
use crate::policy::creation::{Config, Terms};
use crate::sops::{self, Basis, ClearAnchor, Opened, Sealed, Stale, Stamp, is_sealed};
use crate::sys::random::Random;
use crate::trust::{At, File, Guard};

use super::memory::Memory;
use super::repeat::{self, Draws};
use super::resolved::Stages;
use super::{Clock, Error, united};

/// The file with the creation rules.
const CONFIG: &str = ".sops.yaml";

/// The file is read whole, and anyone who can push can write it.
const LARGEST_CONFIG: u64 = 1 << 20;

/// What cleaning needs to know of the world.
pub struct Cleaner<'a> {
    repository: &'a Repository,
    keyring: &'a Keyring,
    clock: Clock<'a>,
    random: RefCell<Random>,
    guard: Guard<'a>,
    config: RefCell<Option<Config>>,
    /// The names of the blobs that this process checked out, by their paths. In the middle of a
    /// merge git compares a file with what it has just written there, before its index says so.
    checked_out: RefCell<HashMap<Vec<u8>, String>>,
    /// Read at first need.
    memory: OnceCell<Memory>,
    /// The last answer was sealed anew, and is not in the memory yet.
    unlearned: Cell<bool>,
    anchors: RefCell<Vec<ClearAnchor>>,
}

/// The version of a file that git has.
struct Known {
    /// The name of the blob.
    name: String,
    blob: Vec<u8>,
}

/// The version of a file that git has, opened.
enum Old<'k> {
    /// It is what stands in the work tree: the blob itself is the answer.
    Same,
    /// It is another.
    Opened(Box<Opened<'k>>),
    /// It is another, or the same under a MAC that does not fit: staged in parts.
    Stale(Box<Stale<'k>>),
}

impl std::fmt::Debug for Cleaner<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cleaner").field("repository", &self.repository).finish_non_exhaustive()
    }
}

impl<'a> Cleaner<'a> {
    /// Cleans for a repository, with these identities.
    pub fn new(repository: &'a Repository, keyring: &'a Keyring, clock: Clock<'a>) -> Self {
        Self {
            repository,
            keyring,
            clock,
            random: RefCell::default(),
            guard: Guard::new(repository, keyring, At::WorkTree),
            config: RefCell::default(),
            checked_out: RefCell::default(),
            memory: OnceCell::new(),
            unlearned: Cell::default(),
            anchors: RefCell::default(),
        }
    }

    /// The bytes that git shall store for a file of the work tree.
    ///
    /// `path` is relative to the top of the work tree. Fails rather than letting plaintext through.
    pub fn clean(&self, path: &[u8], content: &[u8]) -> Result<Vec<u8>, Error> {
        let sealed = self.answer(path, content)?;
        self.learn_answer(&sealed, content);
        Ok(sealed)
    }

    /// Like [`Cleaner::clean`]; what git need not wait for is left to [`Cleaner::learn_answer`].
    pub fn answer(&self, path: &[u8], content: &[u8]) -> Result<Vec<u8>, Error> {
        self.unlearned.set(false);
        if content.is_empty() {
            return Ok(Vec::new());
        }
        if matches!(path.rsplit(|byte| *byte == b'/').next(), Some(b".gitattributes" | b".sops.yaml")) {
            return Err(Error::MustBeClear);
        }
        self.repository.refresh();
        let known = self.known(path)?;
        if let Some(blob) = self.as_checked_out(path, content, known.as_ref()) {
            return Ok(blob);
        }
        if is_sealed(content) {
            return self.pass(content, known.as_ref().map(|known| known.blob.as_slice()));
        }
        if let Some(stages) = self.stages(path)? {
            let file = File { path: &String::from_utf8_lossy(path), content, format: self.asked(path)? };
            let seal = |file| self.stamped(path, |stamp| stages.seal(&self.guard, file, stamp));
            return match seal(file) {
                // git compares a file in conflict too. What fits no format is sealed whole, as the merge driver does.
                Err(united::Error::Sops(sops::Error::Format(_))) if format::has_markers(content) => {
                    seal(File { format: Format::Binary, ..file })
                }
                sealed => sealed,
            }
            .map_err(resolution);
        }
        let known = known.filter(|known| is_sealed(&known.blob));
        let Some(known) = known else { return self.seal_new(path, content, self.asked(path)?) };
        let again = |basis| self.seal_again(path, content, basis, self.asked(path)?);
        match self.reopen(content, &known)? {
            Old::Same => Ok(known.blob.clone()),
            Old::Opened(old) => match self.as_committed(path, content, &known) {
                Some(blob) => Ok(blob),
                None => again(Basis::Again(&old)),
            },
            Old::Stale(old) => again(Basis::Stale(&old)),
        }
    }

    /// The format that name and attributes of a path ask for.
    fn asked(&self, path: &[u8]) -> Result<Format, Error> {
        let attributes = self.repository.attributes(path)?;
        match attributes.conversion {
            Some(conversion) => Err(Error::Conversion(conversion)),
            None if attributes.whole => Ok(Format::Binary),
            None => Ok(Format::of_path(&String::from_utf8_lossy(path))),
        }
    }

    /// The sides of a path that is in conflict, if one of them is sealed.
    fn stages(&self, path: &[u8]) -> Result<Option<Stages>, Error> {
        let Some(names) = self.repository.index_stages(path)? else { return Ok(None) };
        let read = |name: Option<String>| name.map(|name| self.repository.blob_named(&name)).transpose();
        let [base, ours, theirs] = names.map(read);
        let stages = Stages { base: base?, ours: ours?, theirs: theirs? };
        Ok(Some(stages).filter(Stages::is_sealed))
    }

    /// Notes that this process was given a blob to put into the work tree. An empty name is found out.
    pub fn note_checkout(&self, path: &[u8], name: &[u8], blob: &[u8]) {
        let name = self.name_of(name, blob);
        self.checked_out.borrow_mut().insert(path.to_vec(), name);
    }

    /// The sealed blob that this process checked out at a path, if it is not the known one and the
    /// file still is what came of it.
    fn as_checked_out(&self, path: &[u8], content: &[u8], known: Option<&Known>) -> Option<Vec<u8>> {
        let name = self.checked_out.borrow().get(path).cloned()?;
        if known.is_some_and(|known| known.name == name) {
            return None;
        }
        let blob = self.repository.blob_named(&name).ok().filter(|blob| is_sealed(blob))?;
        if is_sealed(content) {
            return (blob == content).then_some(blob);
        }
        let written = Known { name, blob };
        let same = matches!(self.reopen(content, &written), Ok(Old::Same));
        same.then_some(written.blob)
    }

    /// HEAD's version, if the index has another and the file was changed back. (`git stash apply
    /// --index` too compares with HEAD while the index is another.) What cannot be read is no match.
    fn as_committed(&self, path: &[u8], content: &[u8], indexed: &Known) -> Option<Vec<u8>> {
        let name = self.repository.head_blob(path).ok()?.filter(|name| *name != indexed.name)?;
        let blob = self.repository.blob_named(&name).ok().filter(|blob| is_sealed(blob))?;
        let committed = Known { name, blob };
        let same = matches!(self.reopen(content, &committed), Ok(Old::Same));
        same.then_some(committed.blob)
    }

    /// Opens the version that git has.
    fn reopen<'k>(&self, content: &[u8], known: &'k Known) -> Result<Old<'k>, Error> {
        if self.memory().knows(&known.name, content) {
            return Ok(Old::Same);
        }
        let sealed = Sealed::parse(&known.blob)?;
        let key = match self.keyring.data_key(sealed.groups()) {
            Ok(key) => key,
            Err(keys::Error::NoIdentity { .. }) => return Err(Error::LockedEdit),
            Err(error) => return Err(error.into()),
        };
        match sealed.opens_to(&key, content) {
            Ok(true) => {
                self.memory().learn(&known.name, content);
                Ok(Old::Same)
            }
            Ok(false) => Ok(Old::Opened(Box::new(sealed.open(&key)?))),
            Err(sops::Error::Mac) => Ok(Old::Stale(Box::new(sealed.open_stale(&key)?))),
            Err(error) => Err(error.into()),
        }
    }

    fn memory(&self) -> &Memory {
        self.memory.get_or_init(|| Memory::of(self.repository))
    }

    /// Remembers what the last answer was, if it was sealed anew.
    pub fn learn_answer(&self, sealed: &[u8], plaintext: &[u8]) {
        if self.unlearned.take() {
            self.learn(b"", sealed, plaintext);
        }
    }

    /// Remembers that a blob stands for this plaintext, as this process found out. An empty name is found out.
    pub fn learn(&self, name: &[u8], blob: &[u8], plaintext: &[u8]) {
        self.memory().learn(&self.name_of(name, blob), plaintext);
    }

    fn name_of(&self, name: &[u8], blob: &[u8]) -> String {
        match name {
            [] => self.repository.name_of(blob).unwrap_or_default(),
            name => String::from_utf8_lossy(name).into_owned(),
        }
    }

    /// The version of a path that git has: the index's, else HEAD's.
    fn known(&self, path: &[u8]) -> Result<Option<Known>, Error> {
        let read = |name: String| self.repository.blob_named(&name).map(|blob| Known { name, blob });
        let indexed = self.repository.index_blob(path)?.map(read).transpose()?;
        match indexed.filter(|known| !known.blob.is_empty()) {
            Some(known) => Ok(Some(known)),
            None => Ok(self.repository.head_blob(path)?.map(read).transpose()?),
        }
    }

    /// A file that is sealed in the work tree too: the known version passes, any other must be
    /// authentic, sealed where its rule says, and bring no clear comment of its own.
    fn pass(&self, content: &[u8], known: Option<&[u8]>) -> Result<Vec<u8>, Error> {
        if known == Some(content) {
            return Ok(content.to_vec());
        }
        let opened = match self.keyring.open(content) {
            Ok(opened) => opened,
            // It was moved or copied here.
            Err(keys::Error::NoIdentity { .. } | keys::Error::Plugin(_) | keys::Error::Locked { .. })
                if self.repository.has_somewhere(&self.repository.name_of(content)?)? =>
            {
                return Ok(content.to_vec());
            }
            Err(error) => return Err(error.into()),
        };
        opened.sealed().check_structure()?;
        let known = known.map(String::from_utf8_lossy).unwrap_or_default();
        match opened.sealed().clear_comments().iter().find(|comment| !known.contains(**comment)) {
            Some(_) => Err(sops::Error::Clear("a comment".to_owned()).into()),
            None => Ok(content.to_vec()),
        }
    }

    fn seal_again(
        &self,
        path: &[u8],
        content: &[u8],
        old: Basis<'_>,
        format: Format,
    ) -> Result<Vec<u8>, Error> {
        // Anyone who can push can write a rule into the file: it is outside of the MAC.
        if let Ok(terms) = self.terms(path)
            && let Some(leaf) = sops::left_clear(content, format, [old.rule().0, &terms.rule], old.sealed())
        {
            let (field, text) = old.rule().0.field();
            return Err(Error::WeakerRule { leaf, rule: format!("{field}: {text}") });
        }
        // A file keeps its store, but the rule of a whole-file path is to have no inner structure.
        let format = if format == Format::Binary { format } else { keep_store(&old, format) };
        let file = File { path: &String::from_utf8_lossy(path), content, format };
        self.seal(path, content, format, &self.guard.again(file, old)?)
    }

    fn seal_new(&self, path: &[u8], content: &[u8], format: Format) -> Result<Vec<u8>, Error> {
        let terms = self.terms(path)?;
        let audience = terms.audience.clone();
        let basis = self.guard.anew(File { path: &String::from_utf8_lossy(path), content, format }, terms)?;
        let sealed = self.seal(path, content, format, &basis)?;
        if !audience.includes(&self.keyring.recipients()) {
            // Nothing else will tell whether it changed.
            self.learn_answer(&sealed, content);
            self.memory().keep().map_err(Error::Record)?;
        }
        Ok(sealed)
    }

    fn terms(&self, path: &[u8]) -> Result<Terms, Error> {
        let mut config = self.config.borrow_mut();
        if config.is_none() {
            *config = Some(Config::parse(&self.config_text()?)?);
        }
        let config = config.as_ref().expect("it was just read");
        Ok(config.terms(&String::from_utf8_lossy(path))?.clone())
    }

    /// `.sops.yaml` from the work tree, else the index, else HEAD.
    fn config_text(&self) -> Result<String, Error> {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let path = self.repository.work_tree()?.join(CONFIG);
        let unusable = |reason: &str| policy::Error::Config {
            place: "the file in the work tree".to_owned(),
            reason: reason.to_owned(),
        };
        match path.symlink_metadata() {
            Ok(found) if found.is_file() && found.len() <= LARGEST_CONFIG => {
                let bytes = std::fs::read(&path).map_err(|error| unusable(&error.to_string()))?;
                return Ok(text(bytes));
            }
            Ok(_) => return Err(unusable("it is no ordinary file of at most 1 MiB").into()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(unusable(&error.to_string()).into()),
        }
        match self.known(CONFIG.as_bytes())? {
            Some(known) => Ok(text(known.blob)),
            None => Err(Error::NoConfig),
        }
    }

    fn seal(&self, path: &[u8], content: &[u8], format: Format, basis: &Basis<'_>) -> Result<Vec<u8>, Error> {
        let sealed = self.stamped(path, |stamp| sops::seal(content, format, basis, stamp))?;
        self.unlearned.set(true);
        self.anchors.borrow_mut().extend(sops::clear_anchors(content, format, basis.rule().0));
        Ok(sealed)
    }

    /// Seals a file of the work tree, alike each time it is asked for.
    fn stamped<T>(&self, path: &[u8], seal: impl FnOnce(Stamp<'_>) -> T) -> T {
        let tree = self.repository.work_tree().ok();
        let written = tree.and_then(|tree| repeat::written(tree, path));
        let mut draws = written.map(|written| Draws::of(path, written));
        let entropy = &mut |buffer: &mut [u8]| match &mut draws {
            Some(draws) => draws.fill(buffer),
            None => self.random.borrow_mut().fill(buffer),
        };
        seal(Stamp { now: (self.clock)(written), entropy })
    }

    /// What is trusted of the branch in work.
    pub fn guard(&self) -> &Guard<'a> {
        &self.guard
    }

    /// What was sealed by an alias only, and stands in clear at its anchor, since this was asked last.
    pub fn take_clear_anchors(&self) -> Vec<ClearAnchor> {
        std::mem::take(&mut self.anchors.borrow_mut())
    }
}

/// What stands in the way for any file is said as ever.
fn resolution(error: united::Error) -> Error {
    match error {
        united::Error::Sops(error) => Error::Sops(error),
        united::Error::Trust(error) => Error::Trust(error),
        united::Error::Keys(keys::Error::NoIdentity { .. }) => Error::LockedEdit,
        united::Error::Conflict(_)
        | united::Error::Keys(_)
        | united::Error::Crypto(_)
        | united::Error::NotInGroup(_) => Error::Resolution(error),
    }
}

fn keep_store(old: &Basis<'_>, format: Format) -> Format {
    match old.sealed().map_or(format, Sealed::format) {
        // Only a merge conflict makes a whole-file version of a path that has a store.
        Format::Binary => format,
        kept => kept,
    }
}
