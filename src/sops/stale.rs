//! Files whose values are all authentic, each at its place, under a MAC that does not fit them together.
//!
//! That is what partial staging makes of a file (`git add -p`), a merge in a web page, or a bot that edits what is
//! clear. It is also what someone makes who puts an older value back. So a [`Stale`] gives no plaintext away: it can be
//! compared with what is known to be good, by names, and it can be sealed again.

use std::collections::{HashMap, HashSet};
use std::fmt;

use zeroize::Zeroizing;

use crate::crypto::DataKey;
use crate::crypto::value::Cipher;
use crate::format::{Content, Document, Format, Leaf, Paths, Scalar};

use super::contents::{Contents, comment_name};
use super::layout::{Layout, Spelling};
use super::open::{Body, Opened, Sealed, aad};
use super::seal::{fingerprint, seal_anew};
use super::view::View;
use super::{Basis, Error, Stamp, whole};

/// A sealed file whose values are authentic, but not their sum.
#[derive(Debug)]
pub struct Stale<'t>(Opened<'t>);

/// A plaintext whose values are known to be good.
pub struct Known<'p> {
    text: &'p [u8],
    document: Option<Document<'p>>,
}

impl fmt::Debug for Known<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Known([secret])")
    }
}

/// A difference between a stale file and a good one, by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Difference {
    /// A value has another content.
    Changed(String, Form),
    /// A value or comment is new.
    Added(String, Form),
    /// A value or comment is gone.
    Removed(String),
    /// Values are the same, in another order.
    Moved(String),
    /// The rule says otherwise which values are sealed.
    Rule(String),
    /// Someone can read it who could not.
    Reader(String),
    /// Someone cannot who could.
    NoReader(String),
}

/// How a value stands in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    /// Encrypted.
    Sealed,
    /// As anyone can read and write it.
    Clear,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sealed => "",
            Self::Clear => " (in clear)",
        })
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed(name, form) => write!(f, "changed: {name}{form}"),
            Self::Added(name, form) => write!(f, "added: {name}{form}"),
            Self::Removed(name) => write!(f, "removed: {name}"),
            Self::Moved(name) => write!(f, "moved: {name}"),
            Self::Rule(rule) => write!(f, "other rule: {rule}"),
            Self::Reader(reader) => write!(f, "new reader: {reader}"),
            Self::NoReader(reader) => write!(f, "no reader any more: {reader}"),
        }
    }
}

impl<'t> Sealed<'t> {
    /// Opens every value of a file whose MAC does not fit. Fails with the MAC's error if one fits after all, and with
    /// its own for the first value that is not authentic at its place.
    pub fn open_stale(self, key: &DataKey) -> Result<Stale<'t>, Error> {
        let cipher = Cipher::new(key);
        let opened = match &self.body {
            Body::Whole { data } => {
                let plaintext = whole::open_value(data, &cipher)?;
                let (layout, contents) = (Layout::default(), Contents::none());
                Opened { plaintext, layout, contents, key: key.duplicate(), sealed: self }
            }
            Body::Leaves { store, document, covered } => {
                let contents = Contents::open(document, covered, &cipher)?;
                let content = |leaf: usize| contents.get(leaf);
                let view = View { text: self.text, store: *store, document, contents: &content };
                let (plaintext, layout) = view.restore(self.metadata.layout(&cipher))?;
                Opened { plaintext, layout, contents, key: key.duplicate(), sealed: self }
            }
        };
        Ok(Stale(opened))
    }
}

impl<'p> Known<'p> {
    /// Reads a plaintext in a format; `None` if it has not this format.
    pub fn read(plaintext: &'p [u8], format: Format) -> Option<Self> {
        let document = match format.store() {
            None => None,
            Some(store) => {
                // What sops sealed was not read strictly.
                let text = std::str::from_utf8(plaintext).ok()?;
                Some(store.parse_plaintext(text).or_else(|_| store.parse(text)).ok()?)
            }
        };
        Some(Self { text: plaintext, document })
    }

    fn places(&self) -> Vec<Place> {
        match &self.document {
            None => vec![Place::whole(self.text)],
            Some(document) => {
                let leaves = document.leaves.iter();
                leaves.map(|leaf| Place::of(&document.paths, leaf, &leaf.content, Form::Clear)).collect()
            }
        }
    }

    /// How the values are written that have a text of their own.
    fn spellings(&self) -> HashMap<[u8; 32], &'p [u8]> {
        let Some(document) = &self.document else { return HashMap::new() };
        let own = document.leaves.iter().filter(|leaf| leaf.alias.is_none());
        own.map(|leaf| (mark(&document.paths, leaf, &leaf.content), &self.text[leaf.span.clone()])).collect()
    }
}

/// A leaf by its place and what it says, and its name for people.
#[derive(Debug)]
struct Place {
    mark: [u8; 32],
    name: String,
    form: Form,
}

impl Place {
    fn of(paths: &Paths, leaf: &Leaf<'_>, content: &Content<'_>, form: Form) -> Self {
        let path = paths.display(leaf.path);
        let name = if matches!(content, Content::Comment(_)) { comment_name(&path) } else { path };
        Self { mark: mark(paths, leaf, content), name, form }
    }

    fn whole(bytes: &[u8]) -> Self {
        let content = Content::Value(Scalar::Str(bytes.into()));
        Self { mark: fingerprint("data:", &content), name: "data".to_owned(), form: Form::Sealed }
    }
}

fn mark(paths: &Paths, leaf: &Leaf<'_>, content: &Content<'_>) -> [u8; 32] {
    fingerprint(&aad(paths, leaf), content)
}

impl<'t> Stale<'t> {
    /// What was read.
    pub fn sealed(&self) -> &Sealed<'t> {
        self.0.sealed()
    }

    /// The data key.
    pub fn key(&self) -> &DataKey {
        self.0.key()
    }

    pub(super) fn as_opened(&self) -> &Opened<'t> {
        &self.0
    }

    fn places(&self) -> Vec<Place> {
        let Body::Leaves { document, .. } = &self.0.sealed.body else {
            return vec![Place::whole(self.0.plaintext.expose())];
        };
        let place = |(number, leaf): (usize, &Leaf<'_>)| match self.0.contents.get(number) {
            Some(content) => Place::of(&document.paths, leaf, &content, Form::Sealed),
            None => Place::of(&document.paths, leaf, &leaf.content, Form::Clear),
        };
        document.leaves.iter().enumerate().map(place).collect()
    }

    /// The first value or comment that stands in none of these at its place.
    pub fn stray(&self, known: &[Known<'_>]) -> Option<String> {
        let good: HashSet<[u8; 32]> = known.iter().flat_map(Known::places).map(|place| place.mark).collect();
        self.places().into_iter().find(|place| !good.contains(&place.mark)).map(|place| place.name)
    }

    /// What differs from a good version, or from an empty file.
    pub fn differences(&self, good: Option<&Opened<'_>>) -> Vec<Difference> {
        let mut found = good.map_or(Vec::new(), |good| of_metadata(good.sealed(), self.sealed()));
        let known = good.and_then(|good| Known::read(good.plaintext().expose(), good.sealed().format()));
        let before = known.as_ref().map_or(Vec::new(), Known::places);
        found.extend(of_places(&before, &self.places()));
        found
    }

    /// The same, with the spellings that good versions have of its values: its own may be lost with the old MAC.
    #[must_use]
    pub fn spelled_as(mut self, known: &[Known<'_>]) -> Self {
        let Body::Leaves { store, document, .. } = &self.0.sealed.body else { return self };
        let content = |leaf: usize| self.0.contents.get(leaf);
        let view = View { text: self.0.sealed.text, store: *store, document, contents: &content };
        let layout = respelled(&view, known, &self.0.layout);
        if let Ok((plaintext, layout)) = view.restore(Some(layout)) {
            (self.0.plaintext, self.0.layout) = (plaintext, layout);
        }
        self
    }

    /// The file with a MAC that fits. Every value keeps its ciphertext.
    pub fn reseal(&self, stamp: Stamp<'_>) -> Result<Vec<u8>, Error> {
        seal_anew(self.0.plaintext.expose(), self.0.sealed.format(), &Basis::Stale(self), stamp)
    }
}

/// The spellings of known versions for the same values; aliases stay as they were.
fn respelled(view: &View<'_>, known: &[Known<'_>], own: &Layout) -> Layout {
    let spellings: HashMap<[u8; 32], &[u8]> = known.iter().rev().flat_map(Known::spellings).collect();
    let mut layout = Layout::default();
    let mut skip = 0;
    for (index, number) in view.sealed_leaves().enumerate() {
        let leaf = &view.document.leaves[number];
        if let Some(spelling @ Spelling::Alias { leaves, .. }) = own.get(index) {
            layout.note(index, spelling.duplicate());
            skip = *leaves;
        }
        if skip > 0 {
            skip -= 1;
            continue;
        }
        let content = (view.contents)(number).expect("only sealed leaves are opened");
        let spelling = spellings.get(&mark(&view.document.paths, leaf, &content));
        let spelling = spelling.and_then(|bytes| std::str::from_utf8(bytes).ok());
        if let Some(text) = spelling.filter(|text| *view.spell_open(number) != **text) {
            layout.note(index, Spelling::Leaf(Zeroizing::new(text.to_owned())));
        }
    }
    layout
}

fn of_metadata(good: &Sealed<'_>, stale: &Sealed<'_>) -> Vec<Difference> {
    let (was, now) = (&good.metadata, &stale.metadata);
    let mut found = Vec::new();
    if (&was.rule, was.coverage) != (&now.rule, now.coverage) && good.format().store().is_some() {
        let (field, text) = now.rule.field();
        found.push(Difference::Rule(format!("{field}: {text}")));
    }
    let readers =
        |sealed: &Sealed<'_>| -> Vec<String> { sealed.groups().recipients().map(str::to_owned).collect() };
    let (was, now) = (readers(good), readers(stale));
    found.extend(now.iter().filter(|reader| !was.contains(reader)).cloned().map(Difference::Reader));
    found.extend(was.iter().filter(|reader| !now.contains(reader)).cloned().map(Difference::NoReader));
    found
}

fn of_places(was: &[Place], now: &[Place]) -> Vec<Difference> {
    let unmatched = |these: &[Place], those: &[Place]| -> Vec<usize> {
        let mut left: HashMap<[u8; 32], usize> = HashMap::new();
        those.iter().for_each(|place| *left.entry(place.mark).or_default() += 1);
        let mut alone = |place: &Place| match left.get_mut(&place.mark).filter(|count| **count > 0) {
            Some(count) => {
                *count -= 1;
                false
            }
            None => true,
        };
        these.iter().enumerate().filter(|(_, place)| alone(place)).map(|(index, _)| index).collect()
    };
    let (mut gone, new) = (unmatched(was, now), unmatched(now, was));
    let kept = |places: &[Place], without: &[usize]| -> Vec<usize> {
        (0..places.len()).filter(|index| without.binary_search(index).is_err()).collect()
    };
    let pairs = kept(was, &gone).into_iter().zip(kept(now, &new));
    let moved = pairs.filter(|(before, after)| was[*before].mark != now[*after].mark);
    let mut found: Vec<_> = moved.map(|(_, after)| Difference::Moved(now[after].name.clone())).collect();
    for place in new.iter().map(|index| &now[*index]) {
        match gone.iter().position(|index| was[*index].name == place.name) {
            Some(at) => {
                gone.remove(at);
                found.push(Difference::Changed(place.name.clone(), place.form));
            }
            None => found.push(Difference::Added(place.name.clone(), place.form)),
        }
    }
    found.extend(gone.iter().map(|index| Difference::Removed(was[*index].name.clone())));
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::envelope::Envelope;
    use crate::crypto::mac::Coverage;
    use crate::policy::Rule;
    use crate::sops::{KeyGroups, seal};

    fn key() -> DataKey {
        DataKey::from_bytes(&[7; 32]).unwrap()
    }

    fn sealed(text: &str, old: Option<&[u8]>) -> Vec<u8> {
        let mut random = |buffer: &mut [u8]| getrandom::fill(buffer).unwrap();
        let stamp = Stamp { now: "2026-01-01T00:00:00Z".to_owned(), entropy: &mut random };
        let envelope = Envelope { recipient: "age1x".to_owned(), enc: "x".to_owned() };
        let groups = KeyGroups::one(vec![envelope]);
        let rule = Rule::from_fields(|_| None).unwrap();
        let new = Basis::New { key: key(), groups, rule, coverage: Coverage::All };
        match old {
            None => seal(text.as_bytes(), Format::Dotenv, &new, stamp).unwrap(),
            Some(old) => {
                let old = Sealed::parse(old).unwrap().open(&key()).unwrap();
                seal(text.as_bytes(), Format::Dotenv, &Basis::Again(&old), stamp).unwrap()
            }
        }
    }

    /// The lines of a sealed file that begin with these letters, in that order, and all others of the first.
    fn mixed(files: [&[u8]; 2], pick: &str) -> String {
        let [one, other] = files.map(|file| std::str::from_utf8(file).unwrap());
        let line = |text: &str, letter: char| {
            text.lines().find(|line| line.starts_with(letter)).unwrap_or_default().to_owned() + "\n"
        };
        let values = pick.chars().map(|letter| match letter.is_uppercase() {
            true => line(one, letter),
            false => line(other, letter.to_ascii_uppercase()),
        });
        let block = one.lines().filter(|line| line.starts_with("sops_")).map(|line| format!("{line}\n"));
        values.chain(block).collect()
    }

    #[test]
    fn a_mixture_of_versions_is_told_by_names_and_sealed_again() {
        let old = sealed("A=1\nB=2\nC=3\n", None);
        let new = sealed("A=one\nB=2\nC=three\n", Some(&old));
        let good = Sealed::parse(&new).unwrap().open(&key()).unwrap();
        let known = [Known::read(good.plaintext().expose(), Format::Dotenv).unwrap()];
        for (pick, plaintext, differences, stray) in [
            (
                "aBC",
                "A=1\nB=2\nC=three\n",
                vec![Difference::Changed("A".to_owned(), Form::Sealed)],
                Some("A"),
            ),
            ("BC", "B=2\nC=three\n", vec![Difference::Removed("A".to_owned())], None),
            (
                "CBA",
                "C=three\nB=2\nA=one\n",
                vec!["C", "A"].into_iter().map(|name| Difference::Moved(name.to_owned())).collect(),
                None,
            ),
        ] {
            let text = mixed([&new, &old], pick);
            assert_eq!(Sealed::parse(text.as_bytes()).unwrap().open(&key()).unwrap_err(), Error::Mac);
            let stale = Sealed::parse(text.as_bytes()).unwrap().open_stale(&key()).unwrap();
            assert_eq!(stale.differences(Some(&good)), differences, "{pick}");
            assert_eq!(stale.stray(&known).as_deref(), stray, "{pick}");
            assert!(!format!("{stale:?}").contains("three"));
            let mut random = |buffer: &mut [u8]| getrandom::fill(buffer).unwrap();
            let stamp = Stamp { now: "2026-01-02T00:00:00Z".to_owned(), entropy: &mut random };
            let resealed = stale.spelled_as(&known).reseal(stamp).unwrap();
            let opened = Sealed::parse(&resealed).unwrap().open(&key()).unwrap();
            assert_eq!(opened.plaintext().expose(), plaintext.as_bytes());
            // Every value keeps its ciphertext.
            let values = |text: &[u8]| {
                mixed([text, text], pick).lines().take(pick.len()).map(str::to_owned).collect::<Vec<_>>()
            };
            assert_eq!(values(&resealed), values(text.as_bytes()));
        }
        // A value at another's place is not authentic.
        let text = mixed([&new, &old], "ABC").replace("A=", "X=").replace("B=", "A=");
        assert_eq!(
            Sealed::parse(text.as_bytes()).unwrap().open_stale(&key()).unwrap_err(),
            Error::Tampered("X".to_owned())
        );
    }
}
