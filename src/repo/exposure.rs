//! What a key could ever read, and what of that has another value by now.
//!
//! A list of recipients says who can open one version of a file. But whoever opened it knows its
//! data key, and with that every other version under the same key, in whatever branch, whoever
//! is listed there. So versions are grouped by their data key, and all of a group are exposed if
//! one of them was sealed for the key in question.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use sha2::{Digest as _, Sha256};

use crate::crypto::DataKey;
use crate::crypto::envelope::Recipient;
use crate::git::Repository;
use crate::git::versions::{History, Line};
use crate::keys::Keyring;
use crate::sops::{KeyGroups, Opened, Sealed, is_sealed};
use crate::sys::random;

use super::{Error, new};

/// All that a key could read.
#[derive(Debug, Default)]
pub struct Exposure {
    /// The values, by branch, file and name.
    pub values: Vec<Value>,
    /// The number of data keys that the key knows.
    pub data_keys: usize,
    /// The files that it can open now, with their branches.
    pub open_now: Vec<File>,
    /// Others that are still sealed under a data key that it knows.
    pub known_now: Vec<File>,
}

/// A file of a branch.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct File {
    /// The branch, or another ref that alone reaches such a version.
    pub line: Line,
    /// The path.
    pub path: String,
}

/// A value that the key could read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Value {
    /// Where it stands.
    pub file: File,
    /// What of the file it is.
    pub name: Name,
    /// What became of it.
    pub state: State,
}

/// What of a file could be read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Name {
    /// All of it.
    Whole,
    /// A value by its name, dotted.
    Value(String),
    /// Its sealed comments. They have no names, and so count as one.
    Comments,
}

/// What became of a value that the key could read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// It is one of those that the key could read.
    Unchanged,
    /// It is another than any that the key could read.
    Changed,
    /// There is none of that name now. The old one may still be good where it came from.
    Gone,
    /// It could not be compared, as a version of it does not open with the keys at hand.
    Unknown,
}

/// One version of a sealed file.
struct Version {
    /// The number of its data key.
    key: usize,
    /// The key in question opens it.
    is_named: bool,
    names: BTreeSet<Name>,
    /// Its values, hashed; `None` if it could not be opened.
    values: Option<HashSet<Hashed>>,
}

/// Which data key: itself, or, where it cannot be unwrapped, what it is wrapped in.
#[derive(Debug, PartialEq, Eq, Hash)]
enum KeyId {
    Key(DataKey),
    Wrapped(Vec<String>),
}

/// A name and its value, under a salt of this run: values are compared, and not kept.
type Hashed = (Name, [u8; 32]);

/// Finds all that a key could read. `progress` is told how many versions of how many are read.
pub fn find(
    repository: &Repository,
    keyring: &Keyring,
    history: &History,
    key: &Recipient,
    progress: &dyn Fn(usize, usize),
) -> Result<Exposure, Error> {
    let mut reader = Reader { keyring, key, salt: [0; 32], keys: HashMap::new() };
    random::fill(&mut reader.salt);
    let blobs: BTreeSet<&String> =
        history.lines.values().flat_map(|versions| versions.ever.values().flatten()).collect();
    let mut versions = HashMap::new();
    for (done, blob) in blobs.iter().enumerate() {
        progress(done, blobs.len());
        let content = repository.blob_named(blob)?;
        let version = is_sealed(&content).then(|| reader.read(&content)).flatten();
        versions.extend(version.map(|version| ((*blob).clone(), version)));
    }
    progress(blobs.len(), blobs.len());
    let known = versions.values().filter(|version| version.is_named).map(|version| version.key).collect();
    Ok(Findings { versions, known }.report(history))
}

/// Reads versions, and numbers their data keys.
struct Reader<'a> {
    keyring: &'a Keyring,
    key: &'a Recipient,
    salt: [u8; 32],
    keys: HashMap<KeyId, usize>,
}

impl Reader<'_> {
    fn read(&mut self, content: &[u8]) -> Option<Version> {
        let sealed = Sealed::parse(content).ok()?;
        let is_named = opens(sealed.groups(), self.key);
        let mut names: BTreeSet<Name> = sealed.names().into_iter().map(named).collect();
        let has_comments = sealed.seals_comments();
        let data_key = self.keyring.data_key(sealed.groups()).ok();
        let envelopes = sealed.groups().groups().iter().flat_map(|group| &group.envelopes);
        let wrapped = envelopes.map(|envelope| envelope.enc.clone()).collect();
        let opened = data_key.as_ref().and_then(|data_key| sealed.open(data_key).ok());
        let values = opened.map(|opened| self.values(&opened));
        let comments = values.as_ref().map(|values| values.iter().any(|(name, _)| *name == Name::Comments));
        names.extend(comments.unwrap_or(has_comments).then_some(Name::Comments));
        let next = self.keys.len();
        let key_id = data_key.map_or(KeyId::Wrapped(wrapped), KeyId::Key);
        Some(Version { key: *self.keys.entry(key_id).or_insert(next), is_named, names, values })
    }

    fn values(&self, opened: &Opened<'_>) -> HashSet<Hashed> {
        let values = opened.values().into_iter().map(|(name, value)| (named(name), self.hash(&value)));
        let comments = opened.comments().filter(|text| !new::is_greeting(text));
        let comments = comments.map(|text| (Name::Comments, self.hash(text.as_bytes())));
        values.chain(comments).collect()
    }

    fn hash(&self, value: &[u8]) -> [u8; 32] {
        Sha256::new().chain_update(self.salt).chain_update(value).finalize().into()
    }
}

/// A whole file is a value without a name.
fn named(name: String) -> Name {
    if name.is_empty() { Name::Whole } else { Name::Value(name) }
}

/// Whether a key alone opens the groups: it must be in as many as have to come together.
fn opens(groups: &KeyGroups, key: &Recipient) -> bool {
    let has =
        groups.groups().iter().filter(|group| group.envelopes.iter().any(|envelope| envelope.is_for(key)));
    has.count() >= groups.needed()
}

struct Findings {
    versions: HashMap<String, Version>,
    /// The data keys that the key in question knows.
    known: HashSet<usize>,
}

impl Findings {
    fn report(&self, history: &History) -> Exposure {
        let mut exposure = Exposure { data_keys: self.known.len(), ..Exposure::default() };
        let mut on_branches = HashSet::new();
        for (line, versions) in &history.lines {
            for (path, blobs) in &versions.ever {
                let exposed: Vec<&String> = blobs.iter().filter(|blob| self.is_exposed(blob)).collect();
                let exposed = match line {
                    Line::Branch(_) => {
                        on_branches.extend(exposed.iter().map(|blob| (*blob).clone()));
                        exposed
                    }
                    // A tag of a branch's history shows nothing new. (Branches come first.)
                    Line::Other(_) => {
                        exposed.into_iter().filter(|blob| !on_branches.contains(*blob)).collect()
                    }
                };
                if exposed.is_empty() {
                    continue;
                }
                let file = File { line: line.clone(), path: String::from_utf8_lossy(path).into_owned() };
                let now = versions.now.get(path).filter(|_| matches!(line, Line::Branch(_)));
                let now = now.and_then(|blob| self.versions.get(blob));
                exposure.values.extend(self.values(&file, &exposed, now));
                if let Some(now) = now.filter(|now| self.known.contains(&now.key)) {
                    let list = if now.is_named { &mut exposure.open_now } else { &mut exposure.known_now };
                    list.push(file);
                }
            }
        }
        exposure
    }

    fn is_exposed(&self, blob: &String) -> bool {
        self.versions.get(blob).is_some_and(|version| self.known.contains(&version.key))
    }

    /// What the exposed versions of a file held, and what became of it.
    fn values(&self, file: &File, exposed: &[&String], now: Option<&Version>) -> Vec<Value> {
        let mut names = BTreeSet::new();
        let mut held = BTreeMap::<&Name, HashSet<[u8; 32]>>::new();
        let mut is_complete = true;
        for version in exposed.iter().filter_map(|blob| self.versions.get(*blob)) {
            names.extend(&version.names);
            is_complete &= version.values.is_some();
            for (name, hash) in version.values.iter().flatten() {
                held.entry(name).or_default().insert(*hash);
            }
        }
        let state = |name: &Name| judge(name, held.get(name), is_complete, now);
        let value = |name: &Name| Value { file: file.clone(), name: name.clone(), state: state(name) };
        names.into_iter().map(value).collect()
    }
}

/// What became of the values of one name, of which these were readable.
fn judge(name: &Name, held: Option<&HashSet<[u8; 32]>>, is_complete: bool, now: Option<&Version>) -> State {
    let Some(now) = now.filter(|now| now.names.contains(name)) else { return State::Gone };
    let Some(values) = &now.values else { return State::Unknown };
    let mut current = values.iter().filter(|(known, _)| known == name).map(|(_, hash)| hash);
    match current.any(|hash| held.is_some_and(|held| held.contains(hash))) {
        true => State::Unchanged,
        false if is_complete => State::Changed,
        false => State::Unknown,
    }
}
