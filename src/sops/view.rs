//! The plaintext as it is seen through a sealed text: each sealed leaf open in its place, the metadata cut.

use std::ops::Range;

use zeroize::Zeroizing;

use crate::crypto::mac::Mac;
use crate::crypto::value::Cipher;
use crate::format::{Content, Document, Leaf, Scalar, Store, Style, Tail, yaml};
use crate::secret::SecretBytes;

use super::Error;
use super::layout::{Layout, Spelling};
use super::metadata::Metadata;

/// A sealed text with the contents of its sealed leaves.
pub(super) struct View<'a> {
    pub(super) text: &'a str,
    pub(super) store: Store,
    pub(super) document: &'a Document<'a>,
    /// What a leaf says, by its number; `None` if it is not sealed.
    pub(super) contents: &'a dyn Fn(usize) -> Option<Content<'a>>,
}

/// A part of the text that differs between sealed and open: a leaf, or all that an alias stands for.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    /// The numbers of its leaves in the document.
    pub(super) leaves: Range<usize>,
    /// Its span in the sealed text.
    pub(super) sealed: Range<usize>,
    /// Its span in the plaintext.
    pub(super) open: Range<usize>,
}

/// The next stretch of the plaintext.
enum Stretch<'s> {
    /// As it stands in the sealed text.
    Clear(&'s str),
    /// A piece, open; its span in the plaintext is still to be told.
    Piece(Piece, &'s str),
    /// The last line feed goes: a plaintext without one is sealed to a text without one.
    Unterminated,
}

impl View<'_> {
    /// The MAC over all values must fit, as this or older versions of sops read the clear ones.
    pub(super) fn check_mac(
        &self,
        covered: &[bool],
        metadata: &Metadata,
        cipher: &Cipher,
    ) -> Result<(), Error> {
        let aad = Metadata::mac_aad(&metadata.lastmodified);
        let fits = |reading: &dyn Fn(&Leaf<'_>) -> Option<Scalar<'static>>| {
            let mut mac = Mac::new(metadata.coverage);
            for (number, (leaf, covered)) in self.document.leaves.iter().zip(covered).enumerate() {
                match ((self.contents)(number), &leaf.content) {
                    (Some(Content::Value(opened)), _) => mac.add(&opened.bytes(), *covered),
                    (None, Content::Value(clear)) => {
                        mac.add(&reading(leaf).as_ref().unwrap_or(clear).bytes(), *covered);
                    }
                    (Some(Content::Comment(_)), _) | (None, Content::Comment(_)) => {}
                }
            }
            mac.finish().check(&metadata.mac, cipher, &aad).is_ok()
        };
        let older = |leaf: &Leaf<'_>| self.store.older_reading(self.text, leaf);
        if fits(&|_| None) || (self.store == Store::Json && fits(&older)) { Ok(()) } else { Err(Error::Mac) }
    }

    /// The plaintext: with the original spellings if the layout entry is good, else in the plain way. Also tells
    /// the layout that was used.
    pub(super) fn restore(&self, layout: Option<Layout>) -> Result<(SecretBytes, Layout), Error> {
        if layout.is_none() && self.is_certain() {
            let text = self.spell(&Layout::default());
            debug_assert!(self.carries_the_values(&text), "what is certain is so");
            return Ok((bytes(text), Layout::default()));
        }
        for layout in layout.into_iter().chain([Layout::default()]) {
            let text = self.spell(&layout);
            if self.carries_the_values(&text) {
                return Ok((bytes(text), layout));
            }
        }
        Err(Error::Unspellable)
    }

    /// Whether the plaintext, in the plain way, reads as the values that were authenticated, as can be told
    /// without reading it: YAML whose metadata stand at the end, behind a value on one line, and whose
    /// sealed values are such that nothing around them can be read otherwise.
    fn is_certain(&self) -> bool {
        let Some([cut]) = self.document.metadata.as_ref().map(|block| &block.cut[..]) else { return false };
        let is_last = |leaf: &Leaf<'_>| {
            let on_one_line = matches!(leaf.style, Style::Plain(_) | Style::Single(_) | Style::Double(_));
            leaf.alias.is_none() && on_one_line && !leaf.span.is_empty() && leaf.span.end < cut.start
        };
        let data = &self.text[..cut.start];
        let certain = |number: usize| {
            let (leaf, content) = (&self.document.leaves[number], (self.contents)(number));
            content.is_some_and(|content| yaml::spell::is_certain(self.text, leaf, &content))
        };
        self.store == Store::Yaml
            && cut.end == self.text.len()
            && data.ends_with('\n')
            // A lone carriage return ends a line for YAML, and a mark of a document may follow it.
            && !data.contains('\r')
            && self.text.ends_with('\n')
            && matches!(self.document.tail, Tail::Lines(_))
            && self.document.leaves.last().is_some_and(is_last)
            && self.document.alias_items().is_empty()
            && !yaml::has_markers(data)
            && self.sealed_leaves().all(certain)
    }

    /// A sealed leaf in plaintext, in the plain way.
    pub(super) fn spell_open(&self, number: usize) -> Zeroizing<String> {
        let content = (self.contents)(number).expect("only sealed leaves are opened");
        self.store.spell_open(self.text, &self.document.leaves[number], &content)
    }

    /// The pieces of the plaintext, in order.
    pub(super) fn pieces(&self, layout: &Layout) -> Vec<Piece> {
        let (mut pieces, mut at): (Vec<Piece>, usize) = (Vec::new(), 0);
        self.walk(layout, &mut |stretch| match stretch {
            Stretch::Clear(text) => at += text.len(),
            Stretch::Piece(piece, text) => {
                pieces.push(Piece { open: at..at + text.len(), ..piece });
                at += text.len();
            }
            Stretch::Unterminated => {
                if let Some(last) = pieces.last_mut() {
                    last.open.end = last.open.end.min(at - 1);
                }
            }
        });
        pieces
    }

    /// Whether this plaintext is what is seen; if not, where they part.
    pub(super) fn shows(&self, layout: &Layout, plaintext: &str) -> Result<(), usize> {
        let mut seen = 0;
        let mut parted = None;
        let mut compare = |text: &str| {
            let expected = plaintext.as_bytes().get(seen..).unwrap_or_default();
            let common = expected.iter().zip(text.as_bytes()).take_while(|(one, other)| one == other).count();
            if common < text.len() && parted.is_none() {
                parted = Some(seen + common);
            }
            seen += text.len();
        };
        let mut unterminated = false;
        self.walk(layout, &mut |stretch| match stretch {
            Stretch::Clear(text) | Stretch::Piece(_, text) => compare(text),
            Stretch::Unterminated => unterminated = true,
        });
        let length = seen - usize::from(unterminated);
        match parted {
            Some(at) if at < length => Err(at),
            _ if length == plaintext.len() => Ok(()),
            _ => Err(length.min(plaintext.len())),
        }
    }

    /// The whole plaintext.
    pub(super) fn spell(&self, layout: &Layout) -> Zeroizing<String> {
        let mut out = Zeroizing::new(String::with_capacity(self.length()));
        self.walk(layout, &mut |stretch| match stretch {
            Stretch::Clear(text) | Stretch::Piece(_, text) => out.push_str(text),
            Stretch::Unterminated => {
                out.pop();
            }
        });
        out
    }

    /// The numbers of the sealed leaves that have a text of their own. (The copies that aliases make have none.)
    pub(super) fn sealed_leaves(&self) -> impl Iterator<Item = usize> {
        let leaves = self.document.leaves.iter().enumerate();
        leaves
            .filter(|(number, leaf)| leaf.alias.is_none() && (self.contents)(*number).is_some())
            .map(|(number, _)| number)
    }

    /// Goes through the plaintext from begin to end.
    fn walk(&self, layout: &Layout, emit: &mut dyn FnMut(Stretch<'_>)) {
        // A layout entry that points between characters, or back, yields what the check then refuses.
        let clear = |range: Range<usize>| Stretch::Clear(self.text.get(range).unwrap_or_default());
        let mut cuts = self.document.metadata.iter().flat_map(|block| &block.cut).peekable();
        let mut sealed = self.sealed_leaves();
        let (mut at, mut index, mut feed) = (0, 0, false);
        while let Some(first) = sealed.next() {
            let (piece, text, taken) = self.piece(first, &mut sealed, layout.get(index));
            index += taken;
            while let Some(cut) = cuts.next_if(|cut| cut.start < piece.sealed.start) {
                emit(clear(at..cut.start));
                at = cut.end;
            }
            emit(clear(at..piece.sealed.start));
            at = piece.sealed.end;
            feed = text.ends_with('\n');
            emit(Stretch::Piece(piece, &text));
        }
        let mut last = |range: Range<usize>| {
            let text = self.text.get(range).unwrap_or_default();
            feed = if text.is_empty() { feed } else { text.ends_with('\n') };
            emit(Stretch::Clear(text));
        };
        for cut in cuts {
            last(at..cut.start.max(at));
            at = cut.end;
        }
        last(at..self.text.len().max(at));
        let lines = matches!(self.document.tail, Tail::Lines(_));
        if lines && at == self.text.len() && !self.text.ends_with('\n') && feed {
            emit(Stretch::Unterminated);
        }
    }

    /// The piece that begins with a sealed leaf, its plaintext, and how many of the sealed leaves it takes.
    fn piece(
        &self,
        first: usize,
        sealed: &mut dyn Iterator<Item = usize>,
        spelling: Option<&Spelling>,
    ) -> (Piece, Zeroizing<String>, usize) {
        let span = self.document.leaves[first].span.clone();
        let piece = |last: usize, sealed| Piece { leaves: first..last + 1, sealed, open: 0..0 };
        match spelling {
            Some(Spelling::Leaf(text)) => (piece(first, span), text.clone(), 1),
            Some(Spelling::Alias { leaves, before, after, text }) => {
                let (mut last, mut taken) = (first, 1);
                while taken < *leaves
                    && let Some(next) = sealed.next()
                {
                    (last, taken) = (next, taken + 1);
                }
                let end = self.document.leaves[last].span.end;
                let span =
                    span.start.saturating_sub(*before)..end.saturating_add(*after).min(self.text.len());
                (piece(last, span), text.clone(), taken)
            }
            None => {
                let content = (self.contents)(first).expect("only sealed leaves are opened");
                let (span, text) = self
                    .store
                    .reframe(self.text, &self.document.leaves[first], &content)
                    .unwrap_or_else(|| (span, self.spell_open(first)));
                (piece(first, span), text, 1)
            }
        }
    }

    /// About how long the plaintext is.
    fn length(&self) -> usize {
        let shrunk = self.sealed_leaves().map(|number| {
            let plain = (self.contents)(number).map_or(0, |content| content.text().map_or(8, str::len));
            self.document.leaves[number].span.len().saturating_sub(plain + 2)
        });
        self.text.len().saturating_sub(shrunk.sum())
    }

    /// Whether a plaintext reads as exactly the values and comments that were authenticated.
    fn carries_the_values(&self, plaintext: &str) -> bool {
        // What hlx sealed was read strictly; what sops sealed, as sops reads it.
        let strictly = self.store.parse_plaintext(plaintext);
        strictly.is_ok_and(|read| self.same_values(&read))
            || (self.store == Store::Dotenv
                && self.store.parse(plaintext).is_ok_and(|read| self.same_values(&read)))
    }

    fn same_values(&self, read: &Document<'_>) -> bool {
        let paths = &self.document.paths;
        let leaves = self.document.leaves.iter().enumerate();
        let mut expected = leaves
            .map(|(number, leaf)| (leaf, (self.contents)(number).unwrap_or_else(|| leaf.content.borrow())));
        let mut found = read.leaves.iter();
        let same = expected.all(|(leaf, content)| {
            let comment = matches!(content, Content::Comment(_));
            found.next().is_some_and(|found| {
                content == found.content && (comment || paths.alike(leaf.path, &read.paths, found.path))
            })
        });
        same && found.next().is_none() && read.metadata.is_none()
    }
}

fn bytes(mut text: Zeroizing<String>) -> SecretBytes {
    SecretBytes::new(std::mem::take(&mut *text).into_bytes())
}
