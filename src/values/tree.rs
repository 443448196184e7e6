//! The values of a document as they nest, by name and position.

use std::ops::Range;

use crate::format::{Collection, Content, Document, Item, Leaf, Step, Store};

use super::Error;
use super::key::{Key, Part, typed};

/// How many keys a message names.
const SOME: usize = 6;

/// A value, or a collection of values.
#[derive(Debug)]
pub(super) struct Node<'d> {
    pub(super) value: Value<'d>,
    /// Its items in the document, comments included.
    pub(super) items: Range<usize>,
    /// It is a part of what an alias copies: it has no text of its own.
    pub(super) copied: bool,
}

/// What a node is.
#[derive(Debug)]
pub(super) enum Value<'d> {
    /// One value, and its number among the leaves.
    Leaf(&'d Leaf<'d>, usize),
    /// Values by name.
    Map(Vec<(&'d str, Node<'d>)>),
    /// Values by position.
    List(Vec<Node<'d>>),
}

/// What a key leads to.
#[derive(Debug)]
pub(super) struct Found<'n, 'd> {
    pub(super) path: Vec<Step>,
    pub(super) node: &'n Node<'d>,
    /// `NAME=`, where an item of a list of such texts was asked for by that name.
    pub(super) variable: Option<String>,
}

/// What a key leads to as far as it does.
pub(super) struct Missing<'n, 'd> {
    /// The last collection or value that is there.
    pub(super) around: Found<'n, 'd>,
    /// The parts of the key that lead nowhere.
    pub(super) rest: Vec<Part>,
}

/// The top collections of a document: one for each part of a stream.
pub(super) fn read<'d>(document: &'d Document<'d>) -> Vec<Node<'d>> {
    let mut at = 0;
    let mut tops = Vec::new();
    while at < document.items.len() {
        match node(document, &mut at, false) {
            Some((_, node)) => tops.push(node),
            None => at += 1,
        }
    }
    tops
}

/// The node that begins at an item, with its name; `None` for a comment.
fn node<'d>(document: &'d Document<'d>, at: &mut usize, copied: bool) -> Option<(&'d str, Node<'d>)> {
    let first = *at;
    let mut inside = copied;
    while document.items[*at] == Item::Alias {
        inside = true;
        *at += 1;
    }
    let (path, value) = match document.items[*at] {
        Item::Leaf(number) => {
            let leaf = &document.leaves[number as usize];
            *at += 1;
            if matches!(leaf.content, Content::Comment(_)) {
                return None;
            }
            (leaf.path, Value::Leaf(leaf, number as usize))
        }
        Item::Open(kind, path) => {
            *at += 1;
            (path, collection(document, kind, at, inside))
        }
        Item::Alias | Item::Close => return None,
    };
    let name = document.paths.split(path).map_or("", |(_, name)| name);
    Some((name, Node { value, items: first..*at, copied }))
}

fn collection<'d>(document: &'d Document<'d>, kind: Collection, at: &mut usize, copied: bool) -> Value<'d> {
    let mut entries = Vec::new();
    while document.items.get(*at).is_some_and(|item| *item != Item::Close) {
        entries.extend(node(document, at, copied));
    }
    *at += 1;
    match kind {
        Collection::Map => Value::Map(entries),
        Collection::List => Value::List(entries.into_iter().map(|(_, node)| node).collect()),
    }
}

impl<'d> Node<'d> {
    /// Follows a key as far as it leads.
    pub(super) fn follow<'n>(&'n self, store: Store, key: &Key) -> Result<Found<'n, 'd>, Missing<'n, 'd>> {
        let mut at = Found { path: Vec::new(), node: self, variable: None };
        for (depth, part) in key.0.iter().enumerate() {
            match at.node.step(store, part) {
                Some((step, node, variable)) => {
                    at.path.push(step);
                    at.node = node;
                    at.variable = variable;
                }
                None => return Err(Missing { around: at, rest: key.0[depth..].to_vec() }),
            }
        }
        Ok(at)
    }

    fn step(&self, store: Store, part: &Part) -> Option<(Step, &Self, Option<String>)> {
        let name = part.name();
        match &self.value {
            Value::Leaf(..) => None,
            Value::Map(entries) => {
                let name = name?;
                // Compose takes the last of several lines with the same name.
                let (found, node) =
                    entries.iter().rev().find(|(found, _)| plain_name(store, found) == name)?;
                Some((Step::Key((*found).to_owned()), node, None))
            }
            Value::List(items) => match part.index().filter(|index| *index < items.len()) {
                Some(index) => Some((Step::Index(index), &items[index], None)),
                None => {
                    let variable = format!("{}=", name?);
                    let index = items.iter().position(|item| item.begins_with(&variable))?;
                    Some((Step::Index(index), &items[index], Some(variable)))
                }
            },
        }
    }

    /// Whether it is the text `NAME=…`.
    fn begins_with(&self, variable: &str) -> bool {
        matches!(&self.value, Value::Leaf(leaf, _) if leaf.content.text().is_some_and(|text| text.starts_with(variable)))
    }

    /// Whether all its items are texts `NAME=…`, as an `environment` of Compose may be written.
    pub(super) fn lists_variables(&self) -> bool {
        let is_one = |item: &Node<'_>| match &item.value {
            Value::Leaf(leaf, _) => leaf.content.text().is_some_and(|text| text.contains('=')),
            Value::Map(_) | Value::List(_) => false,
        };
        matches!(&self.value, Value::List(items) if !items.is_empty() && items.iter().all(is_one))
    }

    /// The one value that it is.
    pub(super) fn leaf(&self) -> Option<(&'d Leaf<'d>, usize)> {
        match self.value {
            Value::Leaf(leaf, number) => Some((leaf, number)),
            Value::Map(_) | Value::List(_) => None,
        }
    }

    /// Everything below it, each as a whole key, `depth` levels deep.
    fn keys_below(&self, store: Store, above: &[Step], depth: usize, keys: &mut Vec<Vec<Step>>) {
        let mut below = |step: Step, node: &Self| {
            let path = [above, &[step]].concat();
            if depth > 1 {
                node.keys_below(store, &path, depth - 1, keys);
            }
            keys.push(path);
        };
        match &self.value {
            Value::Leaf(..) => {}
            Value::Map(entries) => entries
                .iter()
                .for_each(|(name, node)| below(Step::Key(plain_name(store, name).to_owned()), node)),
            Value::List(items) => {
                items.iter().enumerate().for_each(|(index, node)| below(Step::Index(index), node));
            }
        }
    }

    /// The keys directly below it, as they can be typed; some of them, if there are many.
    pub(super) fn names(&self, store: Store, above: &[Step]) -> Vec<String> {
        let mut keys = Vec::new();
        self.keys_below(store, above, 1, &mut keys);
        keys.iter().take(SOME).map(|path| typed(path)).collect()
    }

    /// Where the last of its leaves ends, comments included; 0 if there is none.
    pub(super) fn end(&self, document: &Document<'_>) -> usize {
        let leaves = document.items[self.items.clone()].iter().filter_map(|item| match item {
            Item::Leaf(number) => Some(&document.leaves[*number as usize]),
            Item::Open(..) | Item::Alias | Item::Close => None,
        });
        leaves.filter(|leaf| leaf.alias.is_none()).map(|leaf| leaf.span.end).max().unwrap_or(0)
    }
}

/// A name as its user knows it: in dotenv it stands with its `export` and its spaces in the text.
pub(super) fn plain_name(store: Store, name: &str) -> &str {
    match store {
        Store::Dotenv => {
            let name = name.trim_start_matches('\u{feff}');
            name.strip_prefix("export ").unwrap_or(name).trim_matches([' ', '\t'])
        }
        Store::Yaml | Store::Json | Store::Ini => name,
    }
}

impl Part {
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Self::Word(name) | Self::Name(name) => Some(name),
            Self::Index(_) => None,
        }
    }

    pub(super) fn index(&self) -> Option<usize> {
        match self {
            Self::Word(word) => word.parse().ok(),
            Self::Name(_) => None,
            Self::Index(index) => Some(*index),
        }
    }
}

impl Missing<'_, '_> {
    /// The error, with the keys that are nearest: those with a similar name, else those that are there.
    pub(super) fn error(&self, store: Store, key: &Key) -> Error {
        let mut known = self.similar(store, key);
        if known.is_empty() {
            known = self.around.node.names(store, &self.around.path);
        }
        Error::NoSuchKey { key: key.to_string(), known }
    }

    /// The keys with a similar name, the nearest first.
    pub(super) fn similar(&self, store: Store, key: &Key) -> Vec<String> {
        let wanted = key.0.last().and_then(Part::name).unwrap_or_default();
        let mut keys = Vec::new();
        self.around.node.keys_below(store, &self.around.path, usize::MAX, &mut keys);
        let distance = |path: &Vec<Step>| match path.last() {
            Some(Step::Key(name)) => {
                strsim::damerau_levenshtein(&name.to_lowercase(), &wanted.to_lowercase())
            }
            Some(Step::Index(_)) | None => usize::MAX,
        };
        keys.retain(|path| distance(path) <= wanted.len() / 3);
        keys.sort_by_cached_key(distance);
        keys.truncate(SOME);
        keys.iter().map(|path| typed(path)).collect()
    }
}
