//! Reading and opening a sealed file.

use std::borrow::Cow;

use memchr::memmem;

use crate::crypto::DataKey;
use crate::crypto::mac::Coverage;
use crate::crypto::value::{Cipher, Sealed as SealedValue};
use crate::format::{Content, Document, Format, Leaf, Paths, Scalar, Store, binary, json, yaml};
use crate::policy::Rule;
use crate::secret::SecretBytes;

use super::contents::Contents;
use super::groups::KeyGroups;
use super::layout::Layout;
use super::metadata::Metadata;
use super::view::{Piece, View};
use super::{Error, select, whole};

/// True if the bytes have the outer form of a sealed file, in any store: metadata of SOPS are there.
///
/// They may still be broken; [`Sealed::parse`] tells.
pub fn is_sealed(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| detect(text).is_some())
}

/// The store that a text would be opened in, if it is one that is opened.
pub(super) fn store_of(text: &str) -> Option<Store> {
    match detect(text)? {
        Format::Dotenv => Some(Store::Dotenv),
        Format::Ini => Some(Store::Ini),
        Format::Yaml => Some(Store::Yaml),
        Format::Json => Some(Store::Json),
        Format::Binary => None,
    }
}

/// The format of a sealed text; `None` for one that is not sealed.
fn detect(text: &str) -> Option<Format> {
    let has = |part: &str| memmem::find(text.as_bytes(), part.as_bytes()).is_some();
    let has_line = |line: &str| text.starts_with(&line[1..]) || has(line);
    if let Some(format) = json::sealed(text) {
        return Some(format);
    }
    if ["\nsops_mac=", "\nsops_version=", "\nsops_lastmodified="].into_iter().any(has_line) {
        return Some(Format::Dotenv);
    }
    if has_line("\n[sops]") && has("lastmodified") {
        return Some(Format::Ini);
    }
    let lines = has_line("\nsops:") && (has("lastmodified:") || has("mac: ENC["));
    (lines || is_sealed_flow(text)).then_some(Format::Yaml)
}

/// A YAML flow mapping with the `sops` block as hlx puts it there.
fn is_sealed_flow(text: &str) -> bool {
    memmem::find(text.as_bytes(), b"sops: {\"").is_some()
        && yaml::parse(text).is_ok_and(|document| document.metadata.is_some())
}

/// A sealed file, read but not opened.
#[derive(Debug)]
pub struct Sealed<'t> {
    pub(super) text: &'t str,
    pub(super) body: Body<'t>,
    /// The `sops` block.
    pub metadata: Metadata,
}

#[derive(Debug)]
pub(super) enum Body<'t> {
    /// Values sealed one by one.
    Leaves { store: Store, document: Document<'t>, covered: Vec<bool> },
    /// One value.
    Whole { data: Cow<'t, str> },
}

impl<'t> Sealed<'t> {
    /// Reads a sealed file, in the store that its content shows.
    ///
    /// Fails if it is not sealed, or broken in a way that needs no key to see.
    pub fn parse(bytes: &'t [u8]) -> Result<Self, Error> {
        let text = std::str::from_utf8(bytes).map_err(|_| Error::NotSealed)?;
        match detect(text) {
            None => Err(Error::NotSealed),
            Some(Format::Binary) => {
                let whole = binary::parse(text).ok_or(Error::NotSealed)?;
                let metadata = Metadata::read(&whole.fields)?;
                Ok(Self { text, body: Body::Whole { data: whole.data }, metadata })
            }
            Some(Format::Dotenv) => Self::of_leaves(text, Store::Dotenv),
            Some(Format::Ini) => Self::of_leaves(text, Store::Ini),
            Some(Format::Yaml) => Self::of_leaves(text, Store::Yaml),
            Some(Format::Json) => Self::of_leaves(text, Store::Json),
        }
    }

    fn of_leaves(text: &'t str, store: Store) -> Result<Self, Error> {
        let document = store.parse(text)?;
        let block = document.metadata.as_ref().ok_or(Error::NotSealed)?;
        let metadata = Metadata::read(&block.fields)?;
        let covered = select::select(&document, &metadata.rule);
        Ok(Self { text, body: Body::Leaves { store, document, covered }, metadata })
    }

    /// The rule that its values are sealed by, and what its MAC covers; none for a whole file, all of which is sealed.
    pub fn rule(&self) -> Option<(Rule, Coverage)> {
        match &self.body {
            Body::Whole { .. } => None,
            Body::Leaves { .. } => Some((self.metadata.rule.clone(), self.metadata.coverage)),
        }
    }

    /// The store it is sealed in.
    pub fn format(&self) -> Format {
        match &self.body {
            Body::Whole { .. } => Format::Binary,
            Body::Leaves { store: Store::Dotenv, .. } => Format::Dotenv,
            Body::Leaves { store: Store::Ini, .. } => Format::Ini,
            Body::Leaves { store: Store::Yaml, .. } => Format::Yaml,
            Body::Leaves { store: Store::Json, .. } => Format::Json,
        }
    }

    /// The wrapped data key.
    pub fn groups(&self) -> &KeyGroups {
        &self.metadata.groups
    }

    /// The sealed file itself.
    pub fn text(&self) -> &'t str {
        self.text
    }

    /// What can be seen without a key: every value that the rule covers must be sealed, and the rule
    /// must cover something.
    pub fn check_structure(&self) -> Result<(), Error> {
        let (document, covered) = match &self.body {
            Body::Whole { data } if data.is_empty() || SealedValue::parse(data).is_ok() => return Ok(()),
            Body::Whole { .. } => return Err(Error::Clear("data".to_owned())),
            Body::Leaves { document, covered, .. } => (document, covered),
        };
        select::check_selection(&self.metadata.rule, document, covered)?;
        for (leaf, covered) in document.leaves.iter().zip(covered) {
            let value = matches!(leaf.content, Content::Value(_)) && *covered && !leaf.content.is_empty();
            if value && leaf.content.text().is_none_or(|text| SealedValue::parse(text).is_err()) {
                return Err(Error::Clear(document.paths.display(leaf.path)));
            }
        }
        Ok(())
    }

    /// The names of the values that its rule seals, dotted; they can be seen without a key. A whole file has one
    /// value without a name.
    pub fn names(&self) -> Vec<String> {
        let Body::Leaves { document, covered, .. } = &self.body else { return vec![String::new()] };
        let sealed = document.leaves.iter().zip(covered).filter(|(_, covered)| **covered);
        let is_value =
            |leaf: &Leaf<'_>| matches!(leaf.content, Content::Value(_)) && !leaf.content.is_empty();
        let values = sealed.filter(|(leaf, _)| is_value(leaf));
        values.map(|(leaf, _)| document.paths.display(leaf.path)).collect()
    }

    /// Whether comments are sealed in it; that can be seen without a key.
    pub fn seals_comments(&self) -> bool {
        let Body::Leaves { document, .. } = &self.body else { return false };
        document.leaves.iter().any(|leaf| match &leaf.content {
            Content::Comment(text) => SealedValue::looks_like(text),
            Content::Value(_) => false,
        })
    }

    /// The comments that stand clear where the rule seals comments. sops accepts such, and so they
    /// may hold anything.
    pub fn clear_comments(&self) -> Vec<&str> {
        let Body::Leaves { document, covered, .. } = &self.body else { return Vec::new() };
        let leaves = document.leaves.iter().zip(covered).filter(|(_, covered)| **covered);
        let comments = leaves.filter_map(|(leaf, _)| match &leaf.content {
            Content::Comment(text) => Some(&**text),
            Content::Value(_) => None,
        });
        comments.filter(|text| !text.is_empty() && !SealedValue::looks_like(text)).collect()
    }

    /// Whether the file is authentic and opens to just this plaintext. Cheaper than opening it, and a `false` may
    /// be wrong: where the layout entry has lost its use, opening falls back to the plain spellings.
    pub fn opens_to(&self, key: &DataKey, plaintext: &[u8]) -> Result<bool, Error> {
        let cipher = Cipher::new(key);
        match &self.body {
            Body::Whole { data } => Ok(whole::open(data, &self.metadata, &cipher)?.expose() == plaintext),
            Body::Leaves { store, document, covered } => {
                let contents = Contents::open(document, covered, &cipher)?;
                let content = |leaf: usize| contents.get(leaf);
                let view = View { text: self.text, store: *store, document, contents: &content };
                view.check_mac(covered, &self.metadata, &cipher)?;
                let Ok(plaintext) = std::str::from_utf8(plaintext) else { return Ok(false) };
                Ok(view.shows(&self.metadata.layout(&cipher).unwrap_or_default(), plaintext).is_ok())
            }
        }
    }

    /// Opens the file: every value and the MAC must authenticate, or nothing comes out.
    pub fn open(self, key: &DataKey) -> Result<Opened<'t>, Error> {
        let cipher = Cipher::new(key);
        match &self.body {
            Body::Whole { data } => {
                let plaintext = whole::open(data, &self.metadata, &cipher)?;
                Ok(Opened {
                    plaintext,
                    layout: Layout::default(),
                    contents: Contents::none(),
                    key: key.duplicate(),
                    sealed: self,
                })
            }
            Body::Leaves { store, document, covered } => {
                let contents = Contents::open(document, covered, &cipher)?;
                let content = |leaf: usize| contents.get(leaf);
                let view = View { text: self.text, store: *store, document, contents: &content };
                view.check_mac(covered, &self.metadata, &cipher)?;
                let (plaintext, layout) = view.restore(self.metadata.layout(&cipher))?;
                Ok(Opened { plaintext, layout, contents, key: key.duplicate(), sealed: self })
            }
        }
    }
}

/// A sealed file, opened: all of it is authentic.
#[derive(Debug)]
pub struct Opened<'t> {
    pub(super) sealed: Sealed<'t>,
    pub(super) key: DataKey,
    pub(super) plaintext: SecretBytes,
    pub(super) contents: Contents,
    /// The spellings that it was opened with.
    pub(super) layout: Layout,
}

impl<'t> Opened<'t> {
    /// The whole file in plaintext.
    pub fn plaintext(&self) -> &SecretBytes {
        &self.plaintext
    }

    /// The pieces of the plaintext that are sealed, in order; none for a whole file.
    pub(super) fn pieces(&self) -> Vec<Piece> {
        let Body::Leaves { store, document, .. } = &self.sealed.body else { return Vec::new() };
        let content = |leaf: usize| self.contents.get(leaf);
        View { text: self.sealed.text, store: *store, document, contents: &content }.pieces(&self.layout)
    }

    /// Gives up the sealed form and keeps the plaintext.
    pub fn into_plaintext(self) -> SecretBytes {
        self.plaintext
    }

    /// What was read.
    pub fn sealed(&self) -> &Sealed<'t> {
        &self.sealed
    }

    /// The data key.
    pub fn key(&self) -> &DataKey {
        &self.key
    }

    /// Every value and comment that was sealed, as bytes: what must be masked in output.
    pub fn secrets(&self) -> impl Iterator<Item = Cow<'_, [u8]>> {
        let whole =
            matches!(self.sealed.body, Body::Whole { .. }).then(|| self.plaintext.expose().as_slice().into());
        let leaves = self.contents.all().filter_map(|content| match content {
            Content::Value(Scalar::Bool(_) | Scalar::Null) => None,
            Content::Value(value) => Some(value.into_bytes()),
            Content::Comment(text) => Some(text.into_owned().into_bytes().into()),
        });
        whole.into_iter().chain(leaves)
    }

    /// The names of the sealed values, dotted; comments have none.
    pub fn names(&self) -> Vec<String> {
        self.named().map(|(name, _)| name).collect()
    }

    /// The sealed values with their names, dotted. A whole file is one value without a name.
    pub fn values(&self) -> Vec<(String, Cow<'_, [u8]>)> {
        let whole = matches!(self.sealed.body, Body::Whole { .. });
        let whole = whole.then(|| (String::new(), self.plaintext.expose().as_slice().into()));
        whole.into_iter().chain(self.named().map(|(name, value)| (name, value.into_bytes()))).collect()
    }

    /// The sealed comments that say something.
    pub fn comments(&self) -> impl Iterator<Item = Cow<'_, str>> {
        let comments = self.contents.all().filter_map(|content| match content {
            Content::Comment(text) => Some(text),
            Content::Value(_) => None,
        });
        // Odd lines of dotenv are sealed as comments too.
        comments.filter(|text| text.chars().any(char::is_alphanumeric))
    }

    fn named(&self) -> impl Iterator<Item = (String, Scalar<'_>)> {
        let document = match &self.sealed.body {
            Body::Leaves { document, .. } => Some(document),
            Body::Whole { .. } => None,
        };
        let leaves = document.into_iter().flat_map(|document| {
            document
                .leaves
                .iter()
                .enumerate()
                .map(|(number, leaf)| (number, document.paths.display(leaf.path)))
        });
        leaves.filter_map(|(number, name)| match self.contents.get(number)? {
            Content::Value(value) => Some((name, value)),
            Content::Comment(_) => None,
        })
    }
}

/// The additional data of a path, for those who compare leaves.
pub(super) fn aad(paths: &Paths, leaf: &Leaf<'_>) -> String {
    paths.aad(leaf.path)
}
