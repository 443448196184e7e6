//! What stays of the old form when a file is sealed again.
//!
//! Parts at the head and at the tail of the file that are as before, with all text around them, keep their
//! sealed text as it stands. Between the two, a leaf keeps its ciphertext if its place and its
//! plaintext are the same as those of an old leaf.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;

use sha2::{Digest as _, Sha256};

use crate::format::{Content, Document};

use super::super::open::{Body, Opened, aad};
use super::super::view::Piece;
use super::{Part, Sealing, plain};

/// The sealed forms of old leaves by place and plaintext.
pub(super) type Reuse = HashMap<[u8; 32], VecDeque<String>>;

/// How many parts at the head and at the tail are, with all text around them, as before.
pub(super) struct Kept<'a> {
    old: Option<(&'a Opened<'a>, &'a Document<'a>)>,
    pieces: Vec<Piece>,
    head: usize,
    tail: usize,
    /// How many parts there are, and how long the plaintext is.
    parts: usize,
    length: usize,
}

impl<'a> Kept<'a> {
    pub(super) fn find(sealing: &Sealing<'a>) -> Self {
        let (parts, length) = (sealing.parts.len(), sealing.text.len());
        let nothing = Self { old: None, pieces: Vec::new(), head: 0, tail: 0, parts, length };
        let Some(old) = sealing.basis.old() else { return nothing };
        let Body::Leaves { document, store, .. } = &old.sealed.body else { return nothing };
        if *store != sealing.store {
            return nothing;
        }
        let was = old.plaintext.expose().as_slice();
        let now = sealing.text.as_bytes();
        let common_head = was.iter().zip(now).take_while(|(one, other)| one == other).count();
        let common_tail =
            was.iter().rev().zip(now.iter().rev()).take_while(|(one, other)| one == other).count();
        let mut kept = Self { old: Some((old, document)), pieces: old.pieces(), ..nothing };
        let most = kept.pieces.len().min(sealing.parts.len());
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
        let part = &sealing.parts[index];
        let end = self.pieces[index].open.end.max(part.span().end);
        // One byte beyond the part must be the same too, or it may have grown.
        let at_end = end == sealing.text.len() && end == old.plaintext.expose().len();
        (end < common || (at_end && end == common)) && self.same(sealing, index, part)
    }

    fn tail_fits(&self, sealing: &Sealing<'_>, from_end: usize, common: usize) -> bool {
        let Some((old, _)) = self.old else { return false };
        let part = &sealing.parts[sealing.parts.len() - from_end];
        let index = self.pieces.len() - from_end;
        let was_left = old.plaintext.expose().len() - self.pieces[index].open.start;
        let left = sealing.text.len() - part.span().start;
        was_left.max(left) < common && self.same(sealing, index, part)
    }

    /// Whether an old piece has the leaves of a part: same places, same contents.
    fn same(&self, sealing: &Sealing<'_>, index: usize, part: &Part) -> bool {
        let Some((old, document)) = self.old else { return false };
        let piece = &self.pieces[index];
        let sealable = part.leaves().filter(|number| sealing.is_sealable(*number));
        let opened = piece.leaves.clone().filter(|number| old.contents.get(*number).is_some());
        let alike = |(one, other): (usize, usize)| {
            let (was, now) = (&document.leaves[one], &sealing.document.leaves[other]);
            old.contents.get(one).as_ref() == Some(&now.content)
                && aad(&document.paths, was) == aad(&sealing.document.paths, now)
        };
        opened.clone().count() == sealable.clone().count() && opened.zip(sealable).all(alike)
    }

    /// The old sealed form of a part that is as before.
    pub(super) fn text(&self, index: usize) -> Option<&'a str> {
        let (old, _) = self.old?;
        Some(&old.sealed.text[self.piece(index)?.sealed.clone()])
    }

    /// Where a part that is as before stands in the plaintext.
    pub(super) fn span(&self, index: usize) -> Option<Range<usize>> {
        let (old, _) = self.old?;
        let open = &self.piece(index)?.open;
        // Texts that end alike keep their distance from the end.
        let place =
            |at: usize| if index < self.head { at } else { at + self.length - old.plaintext.expose().len() };
        Some(place(open.start)..place(open.end))
    }

    fn piece(&self, index: usize) -> Option<&Piece> {
        let from_end = self.parts - index;
        if index < self.head {
            Some(&self.pieces[index])
        } else if from_end <= self.tail {
            Some(&self.pieces[self.pieces.len() - from_end])
        } else {
            None
        }
    }

    /// The old ciphertexts between head and tail, by place and plaintext.
    pub(super) fn middle(&self) -> Reuse {
        let mut reuse = Reuse::new();
        let Some((old, document)) = self.old else { return reuse };
        let pieces = &self.pieces[self.head..self.pieces.len() - self.tail];
        for number in pieces.iter().flat_map(|piece: &Piece| piece.leaves.clone()) {
            let leaf = &document.leaves[number];
            if let (Some(content), Some(sealed)) = (old.contents.get(number), leaf.content.text()) {
                let fingerprint = fingerprint(&aad(&document.paths, leaf), &content);
                reuse.entry(fingerprint).or_default().push_back(sealed.trim_end().to_owned());
            }
        }
        reuse
    }
}

/// A place and what stands there, as one mark.
pub(in crate::sops) fn fingerprint(place: &str, content: &Content<'_>) -> [u8; 32] {
    let (kind, bytes) = plain(content);
    let mut hash = Sha256::new();
    hash.update(u64::try_from(place.len()).expect("a length fits").to_le_bytes());
    hash.update(place);
    hash.update([kind as u8]);
    hash.update(&*bytes);
    hash.finalize().into()
}
