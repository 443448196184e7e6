//! A plaintext with its document, and the proof that a change of it changed nothing else.

use std::ops::Range;

use zeroize::Zeroizing;

use crate::format::{Collection, Content, Document, Item, Leaf, Store};

use super::key::{Key, Part};
use super::tree::{self, Found, Missing, Node};
use super::{Error, File};

/// A plaintext, read.
pub(super) struct Text<'t> {
    pub(super) store: Store,
    pub(super) text: &'t str,
    pub(super) document: Document<'t>,
}

impl<'t> Text<'t> {
    /// Reads a file's plaintext. Fails if its format has no keys.
    pub(super) fn of(file: &'t File<'_>) -> Result<Self, Error> {
        let store = file.format().store().ok_or(Error::NoKeys(file.format()))?;
        let text = file.text()?;
        // What sops sealed may be such that hlx would not seal it.
        let document = store.parse_plaintext(text).or_else(|error| match file.is_sealed() {
            true => store.parse(text),
            false => Err(error),
        })?;
        Ok(Self { store, text, document })
    }

    /// Another version of it, as it would be read to be sealed.
    pub(super) fn again<'n>(&self, text: &'n str) -> Option<Text<'n>> {
        let document = self.store.parse_plaintext(text).ok()?;
        document.metadata.is_none().then_some(Text { store: self.store, text, document })
    }

    /// The text with another in the place of a part.
    pub(super) fn with(&self, place: &Range<usize>, new: &str) -> Zeroizing<String> {
        let parts = [&self.text[..place.start], new, &self.text[place.end..]];
        let mut out = Zeroizing::new(String::with_capacity(parts.iter().map(|part| part.len()).sum()));
        parts.iter().for_each(|part| out.push_str(part));
        out
    }

    /// A key as it was typed. In dotenv every text without brackets is a name.
    pub(super) fn key(&self, typed: &str) -> Result<Key, Error> {
        match self.store {
            Store::Dotenv if !typed.is_empty() && !typed.starts_with('[') => {
                Ok(Key(vec![Part::Name(typed.to_owned())]))
            }
            Store::Dotenv | Store::Yaml | Store::Json | Store::Ini => Ok(typed.parse()?),
        }
    }

    /// The top of the (first) document.
    pub(super) fn top(&self) -> Node<'_> {
        let tops = tree::read(&self.document);
        tops.into_iter().next().expect("every document has a top collection")
    }

    /// What a key leads to.
    pub(super) fn find<'n, 'd>(&self, top: &'n Node<'d>, key: &Key) -> Result<Found<'n, 'd>, Error> {
        self.follow(top, key).map_err(|missing| missing.error(self.store, key))
    }

    /// What a key leads to, as far as it does.
    pub(super) fn follow<'n, 'd>(
        &self,
        top: &'n Node<'d>,
        key: &Key,
    ) -> Result<Found<'n, 'd>, Missing<'n, 'd>> {
        top.follow(self.store, key)
    }

    /// What remains if some leaves, and some items, are left out.
    pub(super) fn without<'v>(&'v self, leaves: &'v dyn Fn(usize) -> bool, items: Range<usize>) -> Rest<'v> {
        Rest { document: &self.document, leaves, items }
    }
}

/// A document without some of its leaves and items.
pub(super) struct Rest<'v> {
    document: &'v Document<'v>,
    leaves: &'v dyn Fn(usize) -> bool,
    items: Range<usize>,
}

/// An item without the numbers that differ between two versions.
#[derive(PartialEq, Eq)]
enum Shape {
    Open(Collection),
    Value,
    Alias,
    Close,
}

impl Rest<'_> {
    /// Whether two versions have the same values and nesting in what remains of both. (Comments are where no change
    /// is, or are looked at by whoever cuts.)
    pub(super) fn is_like(&self, other: &Rest<'_>) -> bool {
        let mut theirs = other.leaves();
        let mut ours = self.leaves();
        let same = |one: &Leaf<'_>, two: &Leaf<'_>| {
            one.content == two.content
                && one.alias.is_some() == two.alias.is_some()
                && self.document.paths.alike(one.path, &other.document.paths, two.path)
        };
        ours.all(|leaf| theirs.next().is_some_and(|their| same(leaf, their)))
            && theirs.next().is_none()
            && self.shapes().eq(other.shapes())
    }

    /// Its values.
    fn leaves(&self) -> impl Iterator<Item = &Leaf<'_>> {
        let leaves = self.document.leaves.iter().enumerate();
        let values = leaves.filter(|(_, leaf)| matches!(leaf.content, Content::Value(_)));
        values.filter(|(number, _)| !(self.leaves)(*number)).map(|(_, leaf)| leaf)
    }

    fn shapes(&self) -> impl Iterator<Item = Shape> {
        let items = self.document.items.iter().enumerate().filter(|(at, _)| !self.items.contains(at));
        items.filter_map(|(_, item)| match item {
            Item::Open(kind, _) => Some(Shape::Open(*kind)),
            Item::Alias => Some(Shape::Alias),
            Item::Close => Some(Shape::Close),
            Item::Leaf(number) => {
                let comment = matches!(self.document.leaves[*number as usize].content, Content::Comment(_));
                (!comment && !(self.leaves)(*number as usize)).then_some(Shape::Value)
            }
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A plaintext for the tests of the verbs.
    pub(in crate::values) fn read(store: Store, text: &str) -> Text<'_> {
        Text { store, text, document: store.parse_plaintext(text).unwrap() }
    }
}
