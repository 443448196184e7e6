//! Sealing, and sealing again without touching what did not change.
//!
//! Git compares bytes, and a fresh IV changes all of them. So a file that was sealed before is
//! sealed on the basis of its old form: what did not change keeps its ciphertext, and if
//! nothing changed the old bytes are the answer.

mod block;
mod kept;

use std::collections::VecDeque;
use std::ops::Range;

use zeroize::Zeroizing;

use crate::crypto::mac::{Coverage, Mac};
use crate::crypto::value::{Cipher, Kind, Sealed as SealedValue};
use crate::crypto::{DataKey, Entropy};
use crate::format::{Content, Document, Format, Leaf, Scalar, Store, Style, Tail, yaml};
use crate::policy::{self, Rule};

use super::groups::KeyGroups;
use super::layout::{Layout, Spelling};
use super::metadata::Metadata;
use super::open::{Body, Opened, Sealed, aad, store_of};
use super::stale::Stale;
use super::view::View;
use super::{Error, select, whole};
pub(super) use kept::fingerprint;
use kept::{Kept, Reuse};

/// About how much longer a value is when sealed, and how long a `sops` block is: a guess, to allocate once.
const SEALED: usize = 108;
const BLOCK: usize = 2048;

/// What a file is sealed on.
#[derive(Debug)]
pub enum Basis<'a> {
    /// A file that was not sealed before.
    New {
        /// The data key.
        key: DataKey,
        /// The data key, wrapped for the readers.
        groups: KeyGroups,
        /// Which values are sealed.
        rule: Rule,
        /// Which values the MAC covers.
        coverage: Coverage,
    },
    /// The file as it was sealed last: its key, readers and rule stay.
    Again(&'a Opened<'a>),
    /// The same, of a file whose MAC does not fit its values.
    Stale(&'a Stale<'a>),
}

impl Basis<'_> {
    /// The data key.
    pub fn key(&self) -> &DataKey {
        match self {
            Self::New { key, .. } => key,
            Self::Again(old) => old.key(),
            Self::Stale(old) => old.key(),
        }
    }

    pub(super) fn groups(&self) -> &KeyGroups {
        match self {
            Self::New { groups, .. } => groups,
            Self::Again(old) => old.sealed().groups(),
            Self::Stale(old) => old.sealed().groups(),
        }
    }

    /// The file as it was sealed last.
    pub(super) fn old(&self) -> Option<&Opened<'_>> {
        match self {
            Self::New { .. } => None,
            Self::Again(old) => Some(old),
            Self::Stale(old) => Some(old.as_opened()),
        }
    }

    /// The sealed form that it was read from.
    pub fn sealed(&self) -> Option<&Sealed<'_>> {
        self.old().map(Opened::sealed)
    }

    /// Which values are sealed, and which the MAC covers.
    pub fn rule(&self) -> (&Rule, Coverage) {
        match self {
            Self::New { rule, coverage, .. } => (rule, *coverage),
            Self::Again(old) => (&old.sealed.metadata.rule, old.sealed.metadata.coverage),
            Self::Stale(old) => (&old.sealed().metadata.rule, old.sealed().metadata.coverage),
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
        return Ok(old.sealed.text.as_bytes().to_vec());
    }
    seal_anew(plaintext, format, basis, stamp)
}

/// The same with a new MAC in any case.
pub(super) fn seal_anew(
    plaintext: &[u8],
    format: Format,
    basis: &Basis<'_>,
    stamp: Stamp<'_>,
) -> Result<Vec<u8>, Error> {
    let store = match format {
        Format::Dotenv => Store::Dotenv,
        Format::Ini => Store::Ini,
        Format::Yaml => Store::Yaml,
        Format::Json => Store::Json,
        Format::Binary => return Ok(whole::seal(plaintext, basis, stamp).into_bytes()),
    };
    let text = std::str::from_utf8(plaintext).map_err(|_| Error::NotText)?;
    let document = store.parse_plaintext(text)?;
    if document.metadata.is_some() {
        return Err(Error::Reserved);
    }
    Sealing::new(text, store, &document, basis)?.run(stamp)
}

struct Sealing<'a> {
    text: &'a str,
    store: Store,
    document: &'a Document<'a>,
    basis: &'a Basis<'a>,
    cipher: Cipher,
    covered: Vec<bool>,
    /// Where the aliases stand among the document's items.
    aliases: Vec<usize>,
    /// The parts to replace, in order.
    parts: Vec<Part>,
}

/// A part of the plaintext that is replaced when it is sealed: a leaf, or an alias with all that it stands for.
struct Part {
    /// The number of its first leaf, and the number behind its last.
    first: u32,
    end: u32,
    /// Where it stands.
    from: u32,
    to: u32,
}

impl Part {
    fn new(leaves: Range<usize>, span: Range<usize>) -> Self {
        let [first, end, from, to] = [leaves.start, leaves.end, span.start, span.end].map(narrow);
        Self { first, end, from, to }
    }

    fn span(&self) -> Range<usize> {
        self.from as usize..self.to as usize
    }

    fn first(&self) -> usize {
        self.first as usize
    }

    fn leaves(&self) -> Range<usize> {
        self.first as usize..self.end as usize
    }
}

/// Places and numbers in a text take 32 bits, which keeps large files small in memory.
fn narrow(place: usize) -> u32 {
    u32::try_from(place).expect("a store's text is shorter than 4 GiB")
}

fn wide(range: &Range<u32>) -> Range<usize> {
    range.start as usize..range.end as usize
}

/// A sealed text in the making.
struct Assembled {
    text: String,
    /// Where its `sops` block stands.
    block: Range<usize>,
    /// Where the sealed form of each part stands.
    placed: Vec<Range<u32>>,
}

impl<'a> Sealing<'a> {
    fn new(
        text: &'a str,
        store: Store,
        document: &'a Document<'a>,
        basis: &'a Basis<'a>,
    ) -> Result<Self, Error> {
        let (rule, _) = basis.rule();
        if store == Store::Ini && rule.comment().is_some() && matches!(basis, Basis::New { .. }) {
            // SOPS walks an INI comment behind its key, and so seals the key after the one that was meant.
            return Err(policy::Error::Unsupported(format!("{}: for INI", rule.field().0)).into());
        }
        let covered = select::select(document, rule);
        select::check_selection(rule, document, &covered)?;
        let parts = parts(document, &covered);
        let sealing = Self {
            text,
            store,
            document,
            basis,
            cipher: Cipher::new(basis.key()),
            covered,
            aliases: document.alias_items(),
            parts,
        };
        sealing.check_readings()?;
        Ok(sealing)
    }

    /// What stays clear must mean the same to every version of sops, or the MAC will not fit for some.
    fn check_readings(&self) -> Result<(), Error> {
        let (_, coverage) = self.basis.rule();
        let clear = self.document.leaves.iter().zip(&self.covered).filter(|(_, covered)| !**covered);
        let mut counted = clear.filter(|_| coverage == Coverage::All).map(|(leaf, _)| leaf);
        match counted.find(|leaf| self.store.older_reading(self.text, leaf).is_some()) {
            Some(leaf) => Err(Error::ReadApart {
                line: self.line(leaf.span.start),
                path: self.document.paths.display(leaf.path),
            }),
            None => Ok(()),
        }
    }

    fn run(mut self, stamp: Stamp<'_>) -> Result<Vec<u8>, Error> {
        let leaves = self.parts.iter().map(|part| &self.document.leaves[part.first()]);
        if let Some(blank) = leaves.into_iter().find(|leaf| leaf.style == Style::BlankBlock) {
            return Err(self.not_restorable(blank.span.start, "it is a block of blank lines only"));
        }
        let mut metadata = self.metadata(&stamp.now, stamp.entropy);
        let kept = Kept::find(&self);
        // A file that sops wrote may hold the same value in another style, over another span.
        for (index, part) in self.parts.iter_mut().enumerate() {
            if let Some(span) = kept.span(index) {
                *part = Part::new(part.leaves(), span);
            }
        }
        let mut sealed = self.assemble(&kept, &metadata, stamp.entropy)?;
        let layout = self.check(&sealed, &metadata)?;
        metadata.layout = layout.seal(&metadata.mac, &self.cipher, stamp.entropy);
        if metadata.layout.is_some() {
            let block = self.block(&sealed.text[..sealed.block.start], &metadata);
            sealed.text.replace_range(sealed.block, &block);
        }
        if store_of(&sealed.text) != Some(self.store) {
            return Err(self.not_restorable(0, "encrypted, it would be taken for another format"));
        }
        Ok(sealed.text.into_bytes())
    }

    fn is_sealable(&self, number: usize) -> bool {
        self.covered[number] && !self.document.leaves[number].content.is_empty()
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
            groups: self.basis.groups().clone(),
            lastmodified: now.to_owned(),
            mac: mac.finish().seal(&self.cipher, now, entropy),
            rule: rule.clone(),
            coverage,
            layout: None,
        }
    }

    /// The plaintext with its parts sealed and the metadata put in.
    fn assemble(
        &self,
        kept: &Kept<'_>,
        metadata: &Metadata,
        entropy: Entropy<'_>,
    ) -> Result<Assembled, Error> {
        let mut reuse = kept.middle();
        let tail = self.document.tail.offset();
        let plain: usize = self.parts.iter().map(|part| part.span().len()).sum();
        let length = self.text.len() + self.parts.len() * SEALED + plain / 3 + BLOCK;
        if u32::try_from(length + length / 4).is_err() {
            return Err(self.not_restorable(0, "encrypted, the file would be larger than 4 GiB"));
        }
        let mut out = String::with_capacity(length);
        let mut block = None;
        let mut placed = Vec::with_capacity(self.parts.len());
        let mut at = 0;
        for (index, part) in self.parts.iter().enumerate() {
            if block.is_none() && part.span().end > tail {
                block = Some(self.put_block(&mut out, at, metadata));
                at = tail;
            }
            out.push_str(&self.text[at..part.span().start]);
            let start = out.len();
            match kept.text(index) {
                Some(sealed) => out.push_str(sealed),
                None => self.seal_part(part, &mut out, &mut reuse, entropy)?,
            }
            placed.push(narrow(start)..narrow(out.len()));
            at = part.span().end;
        }
        let block = block.unwrap_or_else(|| {
            let block = self.put_block(&mut out, at, metadata);
            at = tail;
            block
        });
        out.push_str(&self.text[at..]);
        Ok(Assembled { text: out, block, placed })
    }

    /// Writes the rest of the text up to the block's place, and the block.
    fn put_block(&self, out: &mut String, at: usize, metadata: &Metadata) -> Range<usize> {
        out.push_str(&self.text[at..self.document.tail.offset()]);
        let start = out.len();
        let block = self.block(out, metadata);
        out.push_str(&block);
        start..out.len()
    }

    /// The `sops` block, to follow a text: the old one with a new time and MAC where there is one, so that no other
    /// line changes.
    fn block(&self, before: &str, metadata: &Metadata) -> String {
        let mut block = match self.old_block() {
            Some((text, old)) => block::renew(text, self.store, old, self.document.tail, metadata),
            None => self.store.spell_metadata(&metadata.fields(false), self.document.tail),
        };
        let Tail::Lines(tail) = self.document.tail else { return block };
        if tail == self.text.len() && !before.is_empty() && !self.text.ends_with('\n') {
            // A text without a final line feed is sealed to one without: opening drops both.
            block.pop();
        }
        if !before.is_empty() && !before.ends_with('\n') {
            block.insert(0, '\n');
        }
        block
    }

    /// The old form, if it is of the same store.
    fn old_block(&self) -> Option<(&'a str, &'a Document<'a>)> {
        let old = self.basis.old()?;
        let Body::Leaves { document, store, .. } = &old.sealed.body else { return None };
        (*store == self.store).then_some((old.sealed.text, document))
    }

    fn seal_part(
        &self,
        part: &Part,
        out: &mut String,
        reuse: &mut Reuse,
        entropy: Entropy<'_>,
    ) -> Result<(), Error> {
        let leaf = &self.document.leaves[part.first()];
        match self.document.alias(leaf) {
            None => {
                let sealed = self.seal_leaf(leaf, reuse, entropy);
                out.push_str(&self.store.spell_sealed(leaf, &sealed));
            }
            Some(alias) => {
                let mut seal = |number: usize| {
                    let leaf = &self.document.leaves[number];
                    self.is_sealable(number).then(|| self.seal_leaf(leaf, reuse, entropy))
                };
                let item = self.document.alias_number(leaf).and_then(|number| self.aliases.get(number));
                let item = item.ok_or_else(|| self.sealed_alias(leaf, alias))?;
                out.push_str(&yaml::expand::flow(self.text, self.document, *item, &mut seal));
            }
        }
        Ok(())
    }

    fn seal_leaf(&self, leaf: &Leaf<'_>, reuse: &mut Reuse, entropy: Entropy<'_>) -> String {
        let place = aad(&self.document.paths, leaf);
        if !reuse.is_empty() {
            let fingerprint = fingerprint(&place, &leaf.content);
            if let Some(sealed) = reuse.get_mut(&fingerprint).and_then(VecDeque::pop_front) {
                return sealed;
            }
        }
        let (kind, bytes) = plain(&leaf.content);
        self.cipher.seal(&bytes, kind, place.as_bytes(), entropy)
    }

    /// The promise of this module: what is sealed opens to the very same bytes.
    ///
    /// Reads the sealed text as opening would, lays the plaintext over it, and returns the
    /// original spellings that plain opening would not give.
    fn check(&self, sealed: &Assembled, metadata: &Metadata) -> Result<Layout, Error> {
        let in_the_way = "the `sops` block cannot be added: write the top level as lines, not in `{…}`";
        let document = self.store.parse(&sealed.text).map_err(|_| self.not_restorable(0, in_the_way))?;
        let written = document.metadata.as_ref().map(|block| Metadata::read(&block.fields));
        if written.is_none_or(|written| written.as_ref().map(|read| &read.mac) != Ok(&metadata.mac)) {
            return Err(self.not_restorable(0, in_the_way));
        }
        self.check_leaves(sealed, &document)?;
        let content =
            |number: usize| self.is_sealable(number).then(|| self.document.leaves[number].content.borrow());
        let view = View { text: &sealed.text, store: self.store, document: &document, contents: &content };
        let layout = self.layout(sealed, &view);
        match view.shows(&layout, self.text) {
            Ok(()) => Ok(layout),
            Err(at) => Err(self.not_restorable(at, "its quotes, escapes or line ends would change")),
        }
    }

    /// Every leaf must be where it was: clear ones with the same content, sealed ones with a sealed text in the
    /// place where it was put.
    fn check_leaves(&self, sealed: &Assembled, document: &Document<'_>) -> Result<(), Error> {
        let covered = select::select(document, self.basis.rule().0);
        let mut part = 0;
        for (number, plain) in self.document.leaves.iter().enumerate() {
            let leaf = document.leaves.get(number).ok_or_else(|| self.other_values(plain))?;
            let fits = if self.is_sealable(number) {
                while self.parts[part].leaves().end <= number {
                    part += 1;
                }
                let placed = wide(&sealed.placed[part]);
                // A block that ends the text gets its line feed with the `sops` block.
                let end = leaf.span.start + sealed.text[leaf.span.clone()].trim_end().len();
                let inside = placed.start <= leaf.span.start && end <= placed.end;
                inside && covered[number] && leaf.content.text().is_some_and(SealedValue::looks_like)
            } else {
                leaf.content == plain.content && covered[number] == self.covered[number]
            };
            let comment = matches!(plain.content, Content::Comment(_));
            if !fits || !(comment || self.document.paths.alike(plain.path, &document.paths, leaf.path)) {
                return Err(self.other_values(plain));
            }
        }
        if document.leaves.len() == self.document.leaves.len() {
            Ok(())
        } else {
            Err(self.not_restorable(0, "encrypted, the file would have other values"))
        }
    }

    /// The spellings that plain opening would not give.
    fn layout(&self, sealed: &Assembled, view: &View<'_>) -> Layout {
        let mut layout = Layout::default();
        if store_of(&sealed.text) != Some(self.store) {
            // `{"data": …}` would be a whole file, if that could have a layout entry.
            layout.note(0, Spelling::Leaf(Zeroizing::new(self.first_spelling().to_owned())));
        }
        let mut number = 0;
        for (part, placed) in self.parts.iter().zip(sealed.placed.iter().map(wide)) {
            let sealed_leaves: Vec<usize> = part.leaves().filter(|leaf| self.is_sealable(*leaf)).collect();
            let original = &self.text[part.span()];
            if self.document.leaves[part.first()].alias.is_some() {
                let span = |leaf: &usize| &view.document.leaves[*leaf].span;
                layout.note(
                    number,
                    Spelling::Alias {
                        leaves: sealed_leaves.len(),
                        before: sealed_leaves.first().map_or(0, |leaf| span(leaf).start - placed.start),
                        after: sealed_leaves.last().map_or(0, |leaf| placed.end - span(leaf).end),
                        text: Zeroizing::new(original.to_owned()),
                    },
                );
            } else if *view.spell_open(part.first()) != original {
                layout.note(number, Spelling::Leaf(Zeroizing::new(original.to_owned())));
            }
            number += sealed_leaves.len();
        }
        layout
    }

    fn first_spelling(&self) -> &str {
        self.parts.first().map_or("", |part| &self.text[part.span()])
    }

    fn other_values(&self, leaf: &Leaf<'_>) -> Error {
        match self.document.alias(leaf) {
            Some(alias) => self.sealed_alias(leaf, alias),
            None => self.not_restorable(leaf.span.start, "encrypted, the value here would be read otherwise"),
        }
    }

    fn sealed_alias(&self, leaf: &Leaf<'_>, alias: &Range<usize>) -> Error {
        Error::SealedAlias { line: self.line(alias.start), path: self.document.paths.display(leaf.path) }
    }

    fn not_restorable(&self, at: usize, reason: &str) -> Error {
        Error::NotRestorable { line: self.line(at), reason: reason.to_owned() }
    }

    /// The line of an offset, counted from 1.
    fn line(&self, at: usize) -> usize {
        self.text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1
    }
}

/// The leaves to seal, and the aliases that bring values under the rule.
fn parts(document: &Document<'_>, covered: &[bool]) -> Vec<Part> {
    let count = document.leaves.iter().zip(covered).filter(|(_, covered)| **covered).count();
    let mut parts: Vec<Part> = Vec::with_capacity(count);
    for (number, leaf) in document.leaves.iter().enumerate() {
        let sealable = covered[number] && !leaf.content.is_empty();
        match document.alias(leaf) {
            None if sealable => parts.push(Part::new(number..number + 1, leaf.span.clone())),
            None => {}
            Some(alias) => add_copy(&mut parts, document, number, alias, sealable),
        }
    }
    parts
}

/// A copy that an alias makes: all copies of one alias are one part, if any of them is to be sealed.
fn add_copy(
    parts: &mut Vec<Part>,
    document: &Document<'_>,
    number: usize,
    alias: &Range<usize>,
    sealable: bool,
) {
    match parts.last_mut().filter(|part| part.span() == *alias) {
        Some(part) => part.end += 1,
        None if sealable => {
            let before = document.leaves[..number].iter().rev();
            let first = before.take_while(|leaf| document.alias(leaf) == Some(alias)).count();
            parts.push(Part::new(number - first..number + 1, alias.clone()));
        }
        None => {}
    }
}

/// The type tag and the plaintext bytes of a content.
pub(super) fn plain<'c>(content: &'c Content<'_>) -> (Kind, std::borrow::Cow<'c, [u8]>) {
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

#[cfg(test)]
mod tests;
