//! What the sealed leaves of a file say, once opened: all of it in one buffer.

use std::borrow::Cow;

use crate::crypto::value::{Cipher, Kind, Sealed as SealedValue};
use crate::format::{Content, Document, PathId, Scalar, Style, json};
use crate::secret::SecretBytes;

use super::Error;

/// The opened contents of a document's leaves.
#[derive(Debug)]
pub(super) struct Contents {
    bytes: SecretBytes,
    entries: Vec<Entry>,
    /// The comments that opened with the path of another container.
    strays: Vec<(usize, PathId)>,
}

/// Where a leaf's part of the buffer ends; no kind for one that is not sealed.
#[derive(Debug, Clone, Copy)]
struct Entry {
    end: u32,
    kind: Option<Kind>,
}

impl Contents {
    /// No leaves.
    pub(super) fn none() -> Self {
        Self { bytes: SecretBytes::new(Vec::new()), entries: Vec::new(), strays: Vec::new() }
    }

    /// Opens every covered leaf. Fails at the first that does not authenticate, or should be sealed and is not.
    pub(super) fn open(document: &Document<'_>, covered: &[bool], cipher: &Cipher) -> Result<Self, Error> {
        let sealed = document.leaves.iter().zip(covered).filter(|(_, covered)| **covered);
        let most = sealed.map(|(leaf, _)| leaf.content.text().map_or(0, most)).sum();
        let mut contents = Self {
            bytes: SecretBytes::new(Vec::with_capacity(most)),
            entries: Vec::with_capacity(document.leaves.len()),
            strays: Vec::new(),
        };
        let mut strays = Strays { document, cipher, tries: MOST_TRIES, found: Vec::new() };
        for (number, (leaf, covered)) in document.leaves.iter().zip(covered).enumerate() {
            let opened = match covered {
                true if !leaf.content.is_empty() => open_leaf(document, number, cipher, &mut strays)?,
                true | false => None,
            };
            contents.push(opened);
        }
        contents.strays = strays.found;
        Ok(contents)
    }

    fn push(&mut self, opened: Option<(Kind, SecretBytes)>) {
        let bytes = self.bytes.expose_mut();
        let kind = opened.map(|(kind, opened)| {
            bytes.extend_from_slice(opened.expose());
            kind
        });
        let end = u32::try_from(bytes.len()).expect("a store's text is shorter than 4 GiB");
        self.entries.push(Entry { end, kind });
    }

    /// What a leaf says; `None` if it is not sealed.
    pub(super) fn get(&self, leaf: usize) -> Option<Content<'_>> {
        let entry = self.entries.get(leaf)?;
        let start = leaf.checked_sub(1).map_or(0, |before| self.entries[before].end);
        let bytes = &self.bytes.expose()[start as usize..entry.end as usize];
        Some(content(entry.kind?, bytes).expect("it was read when it was opened"))
    }

    /// The path that a leaf opened with.
    pub(super) fn path(&self, leaf: usize, document: &Document<'_>) -> PathId {
        let stray = self.strays.iter().find(|(number, _)| *number == leaf);
        stray.map_or(document.leaves[leaf].path, |(_, path)| *path)
    }

    /// What the sealed leaves say, in order.
    pub(super) fn all(&self) -> impl Iterator<Item = Content<'_>> {
        (0..self.entries.len()).filter_map(|leaf| self.get(leaf))
    }
}

/// The most bytes that a sealed text can hold.
fn most(sealed: &str) -> usize {
    // IV, tag and names take 107 bytes; base64 takes four for three.
    sealed.len().saturating_sub(107) / 4 * 3 + 3
}

/// `Ok(None)` for a comment that is clear: sops accepts those too.
fn open_leaf(
    document: &Document<'_>,
    number: usize,
    cipher: &Cipher,
    strays: &mut Strays<'_>,
) -> Result<Option<(Kind, SecretBytes)>, Error> {
    let leaf = &document.leaves[number];
    let name = || document.paths.display(leaf.path);
    let is_comment = matches!(leaf.content, Content::Comment(_));
    let text = leaf.content.text().ok_or_else(|| Error::Clear(name()))?;
    if !SealedValue::looks_like(text) {
        return if is_comment { Ok(None) } else { Err(Error::Clear(name())) };
    }
    let tampered = |_| Error::Tampered(if is_comment { comment_name(&name()) } else { name() });
    let value = SealedValue::parse(text).map_err(tampered)?;
    let (kind, stray) = (value.kind, is_comment.then(|| value.clone()));
    let opened = match (cipher.open(value, document.paths.aad(leaf.path).as_bytes()), stray) {
        (Err(error), Some(stray)) => strays.open(number, &stray).ok_or(error),
        (opened, _) => opened,
    };
    let mut bytes = opened.map_err(tampered)?;
    let typed = content(kind, bytes.expose()).ok_or_else(|| Error::BadType(name()))?;
    if leaf.style == Style::Json {
        return Ok(Some(as_json(&typed).unwrap_or((kind, bytes))));
    }
    if leaf.style == Style::Marked {
        // SOPS seals an INI comment whose first line is empty as it is (and fails when it opens it).
        let empty = empty_lines(bytes.expose());
        bytes.expose_mut().drain(..empty);
    }
    Ok(Some((kind, bytes)))
}

/// A value of a type that JSON has not, or that versions of sops give the same number in turn.
fn as_json(content: &Content<'_>) -> Option<(Kind, SecretBytes)> {
    match content {
        Content::Value(Scalar::Time(time)) => Some((Kind::Str, SecretBytes::new(time.clone().into_bytes()))),
        Content::Value(Scalar::Float(number)) => {
            json::whole(*number).map(|whole| (Kind::Int, SecretBytes::new(whole.to_string().into_bytes())))
        }
        Content::Value(Scalar::Str(_) | Scalar::Int(_) | Scalar::Bool(_) | Scalar::Null)
        | Content::Comment(_) => None,
    }
}

/// How long the empty lines at the head of a text are, if others follow.
fn empty_lines(text: &[u8]) -> usize {
    let Ok(text) = std::str::from_utf8(text) else { return 0 };
    let mut rest = text;
    while let Some((line, below)) = rest.split_once('\n')
        && line.trim().is_empty()
    {
        rest = below;
    }
    text.len() - rest.len()
}

pub(super) fn comment_name(container: &str) -> String {
    if container.is_empty() { "a comment at the top".to_owned() } else { format!("a comment in {container}") }
}

/// How many paths are tried for all stray comments of a file together: half a second's work.
const MOST_TRIES: usize = 1 << 20;

/// Comments that go-yaml hangs on another container than we do: they open with that one's path.
struct Strays<'a> {
    document: &'a Document<'a>,
    cipher: &'a Cipher,
    /// How many paths may still be tried. (Comments are not in the MAC: whoever can write the file can put many
    /// copies of one far from its container.)
    tries: usize,
    found: Vec<(usize, PathId)>,
}

impl Strays<'_> {
    /// Tries the containers around the comment's neighbours first, then all.
    fn open(&mut self, number: usize, value: &SealedValue) -> Option<SecretBytes> {
        let paths = &self.document.paths;
        let up = |path: &PathId| paths.split(*path).map(|(parent, _)| parent);
        let leaves = &self.document.leaves;
        let neighbours = leaves[..number].iter().next_back().into_iter().chain(leaves.get(number + 1));
        let near = neighbours.flat_map(|leaf| std::iter::successors(Some(leaf.path), up));
        for path in near.chain(paths.all()) {
            self.tries = self.tries.checked_sub(1)?;
            if let Ok(opened) = self.cipher.open(value.clone(), paths.aad(path).as_bytes()) {
                self.found.push((number, path));
                return Some(opened);
            }
        }
        None
    }
}

/// The typed content of opened bytes; `None` if they do not fit the type.
fn content(kind: Kind, bytes: &[u8]) -> Option<Content<'_>> {
    let text = || std::str::from_utf8(bytes).ok();
    let scalar = match kind {
        Kind::Comment => return Some(Content::Comment(String::from_utf8_lossy(bytes))),
        Kind::Str => Scalar::Str(Cow::Borrowed(bytes)),
        Kind::Int => Scalar::Int(text()?.parse().ok()?),
        // Rust reads `inf`, `infinity` and `nan` in any case, as Go does.
        Kind::Float => Scalar::Float(text()?.parse().ok()?),
        Kind::Bool => Scalar::Bool(match text()? {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => true,
            "0" | "f" | "F" | "FALSE" | "false" | "False" => false,
            _ => return None,
        }),
        Kind::Time => Scalar::Time(text()?.to_owned()),
    };
    Some(Content::Value(scalar))
}
