//! What an alias stands for, written out in its place.
//!
//! sops expands aliases and seals nothing through them: a value below an alias has the path of the
//! alias, and would not open under that of its anchor. So an alias that brings values under a rule is
//! sealed as the collection that it names, in flow style, with values sealed for their new place.

use super::super::{Collection, Content, Context, Document, Item, Leaf, Scalar, Style};
use super::spell;

/// The flow form of the node that an alias copies, given where the alias stands among the items
/// ([`Document::alias_items`]).
///
/// `seal` gives the sealed text of a leaf by its number, or `None` for one that stays clear.
pub fn flow(
    text: &str,
    document: &Document<'_>,
    alias: usize,
    seal: &mut dyn FnMut(usize) -> Option<String>,
) -> String {
    let mut writer = Writer { text, document, seal, out: String::new() };
    writer.node(&mut document.items[alias + 1..].iter().copied());
    writer.out
}

struct Writer<'a> {
    text: &'a str,
    document: &'a Document<'a>,
    seal: &'a mut dyn FnMut(usize) -> Option<String>,
    out: String,
}

impl Writer<'_> {
    /// Writes the node that comes next.
    fn node(&mut self, items: &mut dyn Iterator<Item = Item>) {
        match items.next() {
            Some(Item::Open(kind, _)) => self.collection(kind, items),
            Some(Item::Leaf(number)) => self.leaf(number as usize),
            Some(Item::Alias | Item::Close) | None => {}
        }
    }

    fn collection(&mut self, kind: Collection, items: &mut dyn Iterator<Item = Item>) {
        let (open, close) = match kind {
            Collection::Map => ('{', '}'),
            Collection::List => ('[', ']'),
        };
        self.out.push(open);
        let mut separator = "";
        loop {
            let item = items.next();
            let path = match item {
                Some(Item::Open(_, path)) => path,
                Some(Item::Leaf(number)) => self.document.leaves[number as usize].path,
                Some(Item::Alias | Item::Close) | None => break,
            };
            self.out.push_str(separator);
            separator = ", ";
            if let (Collection::Map, Some((_, key))) = (kind, self.document.paths.split(path)) {
                self.out.push_str(&quoted_if_needed(key));
                self.out.push_str(": ");
            }
            self.node(&mut item.into_iter().chain(&mut *items));
        }
        self.out.push(close);
    }

    fn leaf(&mut self, number: usize) {
        match (self.seal)(number) {
            Some(sealed) => {
                self.out.push('"');
                self.out.push_str(&sealed);
                self.out.push('"');
            }
            None => self.clear(&self.document.leaves[number]),
        }
    }

    /// A value that stays clear, such that it reads as the same value in flow style.
    fn clear(&mut self, leaf: &Leaf<'_>) {
        let written = &self.text[leaf.span.clone()];
        let string = leaf.content.text();
        let spelled = match (&leaf.content, leaf.style, string) {
            (Content::Value(Scalar::Null), ..) => "null".to_owned(),
            (Content::Value(Scalar::Str(_)), Style::Plain(_), Some(string)) => quoted_if_needed(string),
            (_, Style::Block(_) | Style::BlankBlock, Some(string)) => spell::double(string),
            (_, _, Some(string)) if written.contains('\n') => spell::double(string),
            _ => written.to_owned(),
        };
        self.out.push_str(&spelled);
    }
}

fn quoted_if_needed(string: &str) -> String {
    if string == "<<" || spell::plain_fits(string, Context::Flow) {
        string.to_owned()
    } else {
        spell::double(string)
    }
}
