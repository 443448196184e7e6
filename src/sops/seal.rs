//! Sealing, and sealing again without touching what did not change.
//!
//! Git compares bytes, and a fresh IV changes all of them. So a file that was sealed before is
//! sealed on the basis of its old form: what did not change keeps its ciphertext, and if
//! nothing changed the old bytes are the answer.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::crypto::envelope::Envelope;
use crate::crypto::mac::{Coverage, Mac};
use crate::crypto::value::{Cipher, Kind};
use crate::crypto::{DataKey, Entropy};
use crate::format::{Block, Content, Document, Field, Format, Leaf, Scalar, Store, Style};
use crate::policy::Rule;

use super::layout::{self, Spellings};
use super::metadata::{LAYOUT, Metadata};
use super::open::{Body, Opened, View, aad, is_sealable, store_of};
use super::{Error, select, whole};

/// What a file is sealed on.
#[derive(Debug)]
pub enum Basis<'a> {
    /// A file that was not sealed before.
    New {
        /// The data key.
        key: DataKey,
        /// The data key, wrapped for the readers.
        envelopes: Vec<Envelope>,
        /// Which values are sealed.
        rule: Rule,
        /// Which values the MAC covers.
        coverage: Coverage,
    },
    /// The file as it was sealed last: its key, readers and rule stay.
    Again(&'a Opened),
}

impl Basis<'_> {
    pub(super) fn key(&self) -> &DataKey {
        match self {
            Self::New { key, .. } => key,
            Self::Again(old) => &old.key,
        }
    }

    pub(super) fn envelopes(&self) -> &[Envelope] {
        match self {
            Self::New { envelopes, .. } => envelopes,
            Self::Again(old) => old.sealed.envelopes(),
        }
    }

    fn rule(&self) -> (&Rule, Coverage) {
        match self {
            Self::New { rule, coverage, .. } => (rule, *coverage),
            Self::Again(old) => (&old.sealed.metadata.rule, old.sealed.metadata.coverage),
        }
    }
}

/// What makes each sealing different: time and randomness.
pub struct Stamp<'a> {
    /// The time of the change, `YYYY-MM-DDThh:mm:ssZ`.
    pub now: String,
    /// Where IVs come from.
    pub entropy: Entropy<'a>,
}

impl std::fmt::Debug for Stamp<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stamp").field("now", &self.now).finish_non_exhaustive()
    }
}

/// Seals a plaintext file in a format.
///
/// The result opens to exactly the same bytes; that is checked here, by opening it. Fails with
/// the place and reason where the format, the rule or SOPS itself is in the way.
pub fn seal(plaintext: &[u8], format: Format, basis: &Basis<'_>, stamp: Stamp<'_>) -> Result<Vec<u8>, Error> {
    if let Basis::Again(old) = basis
        && old.plaintext.expose() == plaintext
        && old.sealed.format() == format
    {
        return Ok(old.sealed.text.clone().into_bytes());
    }
    let store = match format {
        Format::Dotenv => Store::Dotenv,
        Format::Yaml => Store::Yaml,
        Format::Binary => return Ok(whole::seal(plaintext, basis, stamp).into_bytes()),
    };
    let text = std::str::from_utf8(plaintext).map_err(|_| Error::NotText)?;
    let document = store.parse_plaintext(text)?;
    if document.metadata.is_some() {
        return Err(Error::Reserved);
    }
    let sealing = Sealing::new(text, store, &document, basis)?;
    sealing.run(stamp)
}

struct Sealing<'a> {
    text: &'a str,
    store: Store,
    document: &'a Document,
    basis: &'a Basis<'a>,
    cipher: Cipher,
    covered: Vec<bool>,
    /// The numbers of the leaves to seal.
    sealable: Vec<usize>,
}

/// A leaf's place in the plaintext and its sealed text.
struct Patch {
    span: Range<usize>,
    sealed: String,
}

impl<'a> Sealing<'a> {
    fn new(text: &'a str, store: Store, document: &'a Document, basis: &'a Basis<'a>) -> Result<Self, Error> {
        let (rule, _) = basis.rule();
        let covered = select::select(document, rule);
        select::check_selection(rule, document, &covered)?;
        check_aliases(text, document, &covered)?;
        let leaves = document.leaves.iter().zip(&covered).enumerate();
        let sealable =
            leaves.filter(|(_, (leaf, covered))| is_sealable(leaf, **covered)).map(|(n, _)| n).collect();
        Ok(Self { text, store, document, basis, cipher: Cipher::new(basis.key()), covered, sealable })
    }

    fn run(&self, stamp: Stamp<'_>) -> Result<Vec<u8>, Error> {
        let leaves = self.sealable.iter().map(|number| &self.document.leaves[*number]);
        if let Some(blank) = leaves.into_iter().find(|leaf| leaf.style == Style::BlankBlock) {
            return Err(self.not_restorable(blank.span.start, "it is a block of blank lines only"));
        }
        let patches = self.patches(stamp.entropy);
        let mut metadata = self.metadata(&stamp.now, stamp.entropy);
        let sealed = self.assemble(&patches, &metadata);
        let spellings = self.check(&sealed, &patches, &metadata)?;
        metadata.layout = layout::seal(&spellings, &metadata.mac, &self.cipher, stamp.entropy);
        let with_layout = metadata.layout.as_ref().map(|_| self.assemble(&patches, &metadata));
        Ok(with_layout.unwrap_or(sealed).into_bytes())
    }

    /// The sealed text of every leaf to seal, in order.
    fn patches(&self, entropy: Entropy<'_>) -> Vec<Patch> {
        let kept = Kept::find(self);
        let mut reuse = kept.middle();
        let count = self.sealable.len();
        let mut patches = kept.head();
        for &number in &self.sealable[kept.head..count - kept.tail] {
            let leaf = &self.document.leaves[number];
            let sealed = self.seal_leaf(leaf, &mut reuse, entropy);
            patches.push(Patch { span: leaf.span.clone(), sealed: self.store.spell_sealed(leaf, &sealed) });
        }
        patches.extend(kept.tail(self));
        patches
    }

    fn seal_leaf(
        &self,
        leaf: &Leaf,
        reuse: &mut HashMap<[u8; 32], VecDeque<String>>,
        entropy: Entropy<'_>,
    ) -> String {
        let place = aad(&self.document.paths, leaf);
        let fingerprint = fingerprint(&place, &leaf.content);
        if let Some(sealed) = reuse.get_mut(&fingerprint).and_then(VecDeque::pop_front) {
            return sealed;
        }
        let (kind, bytes) = plain(&leaf.content);
        self.cipher.seal(&bytes, kind, place.as_bytes(), entropy)
    }

    fn metadata(&self, now: &str, entropy: Entropy<'_>) -> Metadata {
        let (rule, coverage) = self.basis.rule();
        let mut mac = Mac::new(coverage);
        for (leaf, covered) in self.document.leaves.iter().zip(&self.covered) {
            if let Content::Value(scalar) = &leaf.content {
                mac.add(&scalar.bytes(), *covered);
            }
        }
        Metadata {
            envelopes: self.basis.envelopes().to_vec(),
            lastmodified: now.to_owned(),
            mac: mac.finish().seal(&self.cipher, now, entropy),
            rule: rule.clone(),
            coverage,
            layout: None,
        }
    }

    /// The plaintext with its leaves sealed and the metadata put in.
    fn assemble(&self, patches: &[Patch], metadata: &Metadata) -> String {
        let tail = self.document.tail;
        let mut block = self.block(metadata);
        let mut out = String::with_capacity(self.text.len() * 2 + block.len());
        let mut at = 0;
        let before = patches.partition_point(|patch| patch.span.start < tail);
        for patch in &patches[..before] {
            out.push_str(&self.text[at..patch.span.start]);
            out.push_str(&patch.sealed);
            at = patch.span.end;
        }
        out.push_str(&self.text[at..tail]);
        let unterminated = tail == self.text.len() && !out.is_empty() && !self.text.ends_with('\n');
        if unterminated {
            // A text without a final line feed is sealed to one without: opening drops both.
            block.pop();
        }
        if !out.is_empty() && !out.ends_with('\n') {
            out.push('\n');
        }
        out.push_str(&block);
        at = tail;
        for patch in &patches[before..] {
            out.push_str(&self.text[at..patch.span.start]);
            out.push_str(&patch.sealed);
            at = patch.span.end;
        }
        out.push_str(&self.text[at..]);
        out
    }

    /// The `sops` block: the old one with a new time and MAC where there is one, so that no other line changes.
    fn block(&self, metadata: &Metadata) -> String {
        if let Basis::Again(old) = self.basis
            && let Body::Leaves { document, store, .. } = &old.sealed.body
            && let (true, Some(block)) = (*store == self.store, &document.metadata)
        {
            return renew(&old.sealed.text, *store, block, metadata);
        }
        self.store.spell_metadata(&metadata.fields(false))
    }

    /// The promise of this module: what is sealed opens to the very same bytes.
    ///
    /// Reads the sealed text as opening would, lays the plaintext over it, and returns the
    /// original spellings that plain opening would not give.
    fn check(&self, sealed: &str, patches: &[Patch], metadata: &Metadata) -> Result<Spellings, Error> {
        let in_the_way =
            "the `sops` block cannot be added; a file that is one mapping in `{…}` must be written as lines";
        let document = self.store.parse(sealed).map_err(|_| self.not_restorable(0, in_the_way))?;
        let written = document.metadata.as_ref().map(|block| Metadata::read(&block.fields));
        if written.is_none_or(|written| written.as_ref().map(|read| &read.mac) != Ok(&metadata.mac)) {
            return Err(self.not_restorable(0, in_the_way));
        }
        if store_of(sealed) != Some(self.store) {
            return Err(self.not_restorable(0, "encrypted, it would be taken for another format"));
        }
        let contents = self.lay_over(&document, patches)?;
        let view = View { text: sealed, store: self.store, document: &document, contents: &contents };
        let (text, pieces) = view.spell(&Spellings::new());
        let plain = pieces.iter().map(|piece| &text[piece.open.clone()]);
        let originals = patches.iter().map(|patch| &self.text[patch.span.clone()]);
        let differ = plain.zip(originals).enumerate().filter(|(_, (plain, original))| plain != original);
        let spellings: Spellings =
            differ.map(|(number, (_, original))| (number, Zeroizing::new(original.to_owned()))).collect();
        let restored = if spellings.is_empty() { text } else { view.spell(&spellings).0 };
        if *restored == self.text {
            return Ok(spellings);
        }
        let common = restored.bytes().zip(self.text.bytes()).take_while(|(one, other)| one == other).count();
        Err(self.not_restorable(common.min(self.text.len()), "its quotes, escapes or line ends would change"))
    }

    /// The plaintext contents over the leaves of the sealed text: every leaf must be where it was,
    /// clear ones with the same content, sealed ones with the ciphertext that was put there.
    fn lay_over(&self, sealed: &Document, patches: &[Patch]) -> Result<Vec<Option<Content>>, Error> {
        let mut patches = patches.iter();
        let covered = select::select(sealed, self.basis.rule().0);
        let mut contents = Vec::with_capacity(sealed.leaves.len());
        for ((leaf, plain), covered) in sealed.leaves.iter().zip(&self.document.leaves).zip(covered) {
            let content = if is_sealable(plain, covered) {
                let patch = patches.next().map(|patch| patch.sealed.as_str()).unwrap_or_default();
                let fits = leaf
                    .content
                    .text()
                    .is_some_and(|text| !text.is_empty() && patch.contains(text.trim_end()));
                fits.then(|| Some(duplicate(&plain.content)))
            } else {
                (leaf.content == plain.content).then_some(None)
            };
            contents.push(content.ok_or_else(|| self.other_values(plain))?);
        }
        let all = sealed.leaves.len() == self.document.leaves.len() && patches.next().is_none();
        if all {
            Ok(contents)
        } else {
            Err(self.not_restorable(0, "encrypted, the file would have other values"))
        }
    }

    fn other_values(&self, leaf: &Leaf) -> Error {
        self.not_restorable(leaf.span.start, "encrypted, the value here would be read otherwise")
    }

    fn not_restorable(&self, at: usize, reason: &str) -> Error {
        let line = self.text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
        Error::NotRestorable { line, reason: reason.to_owned() }
    }
}

/// The old block with a new time, MAC and layout entry; written anew if fields come or go.
fn renew(text: &str, store: Store, block: &Block, metadata: &Metadata) -> String {
    let new = |field: &Field| match field.top_name() {
        Some("lastmodified") => Some(metadata.lastmodified.as_str()),
        Some("mac") => Some(metadata.mac.as_str()),
        Some(LAYOUT) => metadata.layout.as_deref(),
        _ => None,
    };
    let had_layout = block.fields.iter().any(|field| field.top_name() == Some(LAYOUT));
    let [cut] = &block.cut[..] else {
        return rewrite(store, block, metadata, new);
    };
    if had_layout != metadata.layout.is_some() {
        return rewrite(store, block, metadata, new);
    }
    let mut out = String::new();
    let mut at = cut.start;
    for field in &block.fields {
        if let Some(value) = new(field) {
            out.push_str(&text[at..field.span.start]);
            out.push_str(&store.spell_field(&text[field.span.clone()], value));
            at = field.span.end;
        }
    }
    out.push_str(&text[at..cut.end]);
    if !out.ends_with('\n') {
        out.push('\n');
    }
    out
}

fn rewrite<'a>(
    store: Store,
    block: &Block,
    metadata: &'a Metadata,
    new: impl Fn(&Field) -> Option<&'a str>,
) -> String {
    let is_layout = |field: &Field| field.top_name() == Some(LAYOUT);
    let kept = block.fields.iter().filter(|field| !is_layout(field));
    let mut fields: Vec<Field> = kept
        .map(|field| Field { value: new(field).unwrap_or(&field.value).to_owned(), ..field.clone() })
        .collect();
    fields.extend(metadata.layout.as_ref().map(|layout| Field::top(LAYOUT, layout)));
    store.spell_metadata(&fields)
}

/// How many sealed leaves at the head and at the tail are, with all text around them, as before.
struct Kept<'a> {
    old: Option<(&'a Opened, &'a Document)>,
    head: usize,
    tail: usize,
}

impl<'a> Kept<'a> {
    fn find(sealing: &Sealing<'a>) -> Self {
        let nothing = Self { old: None, head: 0, tail: 0 };
        let Basis::Again(old) = sealing.basis else { return nothing };
        let Body::Leaves { document, store, .. } = &old.sealed.body else { return nothing };
        if *store != sealing.store {
            return nothing;
        }
        let was = old.plaintext.expose().as_slice();
        let now = sealing.text.as_bytes();
        let common_head = was.iter().zip(now).take_while(|(one, other)| one == other).count();
        let common_tail =
            was.iter().rev().zip(now.iter().rev()).take_while(|(one, other)| one == other).count();
        let mut kept = Self { old: Some((old, document)), head: 0, tail: 0 };
        let most = old.pieces.len().min(sealing.sealable.len());
        while kept.head < most && kept.head_fits(sealing, kept.head, common_head) {
            kept.head += 1;
        }
        while kept.head + kept.tail < most && kept.tail_fits(sealing, kept.tail + 1, common_tail) {
            kept.tail += 1;
        }
        kept
    }

    fn head_fits(&self, sealing: &Sealing<'_>, index: usize, common: usize) -> bool {
        let Some((old, _)) = self.old else { return false };
        let leaf = &sealing.document.leaves[sealing.sealable[index]];
        let end = old.pieces[index].open.end.max(leaf.span.end);
        // One byte beyond the leaf must be the same too, or the leaf may have grown.
        let at_end = end == sealing.text.len() && end == old.plaintext.expose().len();
        (end < common || (at_end && end == common)) && self.same_leaf(sealing, index, leaf)
    }

    fn tail_fits(&self, sealing: &Sealing<'_>, from_end: usize, common: usize) -> bool {
        let Some((old, _)) = self.old else { return false };
        let leaf = &sealing.document.leaves[sealing.sealable[sealing.sealable.len() - from_end]];
        let index = old.pieces.len() - from_end;
        let was_left = old.plaintext.expose().len() - old.pieces[index].open.start;
        let left = sealing.text.len() - leaf.span.start;
        was_left.max(left) < common && self.same_leaf(sealing, index, leaf)
    }

    fn same_leaf(&self, sealing: &Sealing<'_>, index: usize, leaf: &Leaf) -> bool {
        let Some((old, document)) = self.old else { return false };
        let piece = &old.pieces[index];
        let path = aad(&document.paths, &document.leaves[piece.leaf]);
        old.contents[piece.leaf].as_ref() == Some(&leaf.content) && path == aad(&sealing.document.paths, leaf)
    }

    fn head(&self) -> Vec<Patch> {
        let Some((old, _)) = self.old else { return Vec::new() };
        let patch = |index: usize| {
            let piece = &old.pieces[index];
            Patch { span: piece.open.clone(), sealed: old.sealed.text[piece.sealed.clone()].to_owned() }
        };
        (0..self.head).map(patch).collect()
    }

    fn tail(&self, sealing: &Sealing<'_>) -> Vec<Patch> {
        let Some((old, _)) = self.old else { return Vec::new() };
        let (was, now) = (old.plaintext.expose().len(), sealing.text.len());
        let patch = |piece: &super::open::Piece| {
            // Both texts end alike, so places keep their distance from the end.
            let span = now - (was - piece.open.start)..now - (was - piece.open.end);
            Patch { span, sealed: old.sealed.text[piece.sealed.clone()].to_owned() }
        };
        old.pieces[old.pieces.len() - self.tail..].iter().map(patch).collect()
    }

    /// The old ciphertexts between head and tail, by place and plaintext.
    fn middle(&self) -> HashMap<[u8; 32], VecDeque<String>> {
        let mut reuse: HashMap<_, VecDeque<_>> = HashMap::new();
        let Some((old, document)) = self.old else { return reuse };
        for piece in &old.pieces[self.head..old.pieces.len() - self.tail] {
            let leaf = &document.leaves[piece.leaf];
            let (Some(content), Some(sealed)) = (&old.contents[piece.leaf], leaf.content.text()) else {
                continue;
            };
            let fingerprint = fingerprint(&aad(&document.paths, leaf), content);
            reuse.entry(fingerprint).or_default().push_back(sealed.trim_end().to_owned());
        }
        reuse
    }
}

fn fingerprint(place: &str, content: &Content) -> [u8; 32] {
    let (kind, bytes) = plain(content);
    let mut hash = Sha256::new();
    hash.update(u64::try_from(place.len()).expect("a length fits").to_le_bytes());
    hash.update(place);
    hash.update([kind as u8]);
    hash.update(&*bytes);
    hash.finalize().into()
}

/// The type tag and the plaintext bytes of a content.
fn plain(content: &Content) -> (Kind, std::borrow::Cow<'_, [u8]>) {
    match content {
        Content::Comment(text) => (Kind::Comment, text.as_bytes().into()),
        Content::Value(scalar) => {
            let kind = match scalar {
                Scalar::Str(_) | Scalar::Null => Kind::Str,
                Scalar::Int(_) => Kind::Int,
                Scalar::Float(_) => Kind::Float,
                Scalar::Bool(_) => Kind::Bool,
                Scalar::Time(_) => Kind::Time,
            };
            (kind, scalar.bytes())
        }
    }
}

fn duplicate(content: &Content) -> Content {
    match content {
        Content::Value(scalar) => Content::Value(scalar.duplicate()),
        Content::Comment(text) => Content::Comment(text.clone()),
    }
}

fn check_aliases(text: &str, document: &Document, covered: &[bool]) -> Result<(), Error> {
    let copies =
        document.leaves.iter().zip(covered).filter(|(leaf, covered)| **covered && !leaf.content.is_empty());
    for (leaf, _) in copies {
        if let Some(alias) = &leaf.alias {
            let line = text[..alias.start].matches('\n').count() + 1;
            return Err(Error::SealedAlias { line, path: document.paths.display(leaf.path) });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
