//! YAML as SOPS reads it: go-yaml v3's meaning, with the span of every scalar and comment.
//!
//! The parser gives events with byte ranges; this walk turns them into leaves. Two things
//! that sops does are easily forgotten: an alias is expanded wherever it is used, and each
//! copy counts in the MAC; and keys must be strings, even in parts that stay clear.

mod block;
mod comments;
pub mod expand;
pub mod outline;
pub mod resolve;
mod span;
pub mod spell;
mod strict;
mod tail;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::ops::Range;

use granit_parser::{Event, Parser, ScalarStyle, Span, StrInput, StructureStyle, Tag, options};
use zeroize::Zeroizing;

use super::member::Members;
use super::room::Room;
use super::{
    Collection, Content, Context, Document, Error, Item, Leaf, MAX_DEPTH, PathId, Paths, Scalar, Style, Tail,
};
use comments::Comments;

pub use tail::has_markers;

/// Reads a YAML text: one or more documents, each a mapping with string keys.
///
/// Fails at whatever sops would refuse, and at aliases that multiply without bound.
pub fn parse(text: &str) -> Result<Document<'_>, Error> {
    strict::characters(text)?;
    match tail::parse(text) {
        Some(document) => Ok(document),
        None => whole(text),
    }
}

/// Reads a text with the parser alone. Its characters are good.
fn whole(text: &str) -> Result<Document<'_>, Error> {
    let options = options! {
        emit_anchor_events: true,
        block_scalar_eof_without_line_feed: true,
        max_buffered_comment_events: usize::MAX,
    };
    let mut walk = Walk {
        text,
        events: Parser::new_from_str_with_options(text, options),
        peeked: None,
        document: Document { tail: Tail::Lines(text.len()), ..Document::default() },
        starts: Vec::new(),
        collections: 0,
        flows: Vec::new(),
        end: 0,
        comments: Comments::new(text),
        anchors: HashMap::new(),
        room: Room::of(text),
        ordinal: 0,
        node_end: 0,
        leaves_end: 0,
        members: None,
    };
    walk.document.reserve(text);
    walk.stream()?;
    let mut document = walk.document;
    walk.comments.join(&mut document, &walk.starts);
    if text.contains('\t') {
        strict::tabs(text, &document, &walk.flows)?;
    }
    Ok(document)
}

struct Walk<'a> {
    text: &'a str,
    events: Parser<'a, StrInput<'a>>,
    peeked: Option<(Event<'a>, Span)>,
    document: Document<'a>,
    /// Where each collection and alias of the document begins.
    starts: Vec<usize>,
    /// Where the outermost collections in brackets stand.
    flows: Vec<Range<usize>>,
    /// Where the last event ended.
    end: usize,
    /// How many collections have begun.
    collections: usize,
    comments: Comments<'a>,
    anchors: HashMap<usize, Anchor>,
    /// For the copies that aliases make, and the paths of metadata.
    room: Room,
    /// The number of the document in the stream.
    ordinal: usize,
    /// Where the last value ended.
    node_end: usize,
    /// Where the last leaf ended that is no copy.
    leaves_end: usize,
    /// The members of the document, if it is one flow mapping.
    members: Option<Members>,
}

/// What an anchor names: the items of a node at a path.
struct Anchor {
    path: PathId,
    items: Range<usize>,
}

/// Where a node stands.
#[derive(Clone, Copy)]
struct Place {
    path: PathId,
    context: Context,
    depth: usize,
}

/// The parts of a scalar event.
struct ScalarNode<'a> {
    value: Cow<'a, str>,
    style: ScalarStyle,
    tag: Option<Cow<'a, Tag>>,
    range: Range<usize>,
    tag_range: Option<Range<usize>>,
}

impl<'a> Walk<'a> {
    /// The next event that is no comment; comments are put aside on the way.
    fn next(&mut self) -> Result<(Event<'a>, Span), Error> {
        if let Some(peeked) = self.peeked.take() {
            return Ok(peeked);
        }
        loop {
            let (event, span) = match self.events.next() {
                Some(Ok(item)) => item,
                Some(Err(error)) => return Err(self.syntax(&error)),
                None => return Ok((Event::StreamEnd, Span::default())),
            };
            match event {
                Event::Comment(text, placement) => self.comments.seen(&text, placement, start(&span)),
                event => {
                    self.end = span.byte_range().map_or(self.end, |range| range.end);
                    return Ok((event, span));
                }
            }
        }
    }

    /// The anchor event that follows an anchored node directly.
    fn skip_anchor(&mut self) -> Result<Option<Range<usize>>, Error> {
        match self.next()? {
            (Event::Anchor(..), span) => {
                let range = span.byte_range();
                range.iter().try_for_each(|range| strict::name(self.text, range))?;
                Ok(range)
            }
            other => {
                self.peeked = Some(other);
                Ok(None)
            }
        }
    }

    fn syntax(&self, error: &granit_parser::ScanError) -> Error {
        let offset = error.marker().byte_offset().unwrap_or(self.text.len());
        // The parser's own words name tokens, never values.
        Error::at(self.text, offset.min(self.text.len()), format!("not valid YAML: {}", error.info()))
    }

    fn refuse<T>(&self, offset: usize, reason: impl Into<String>) -> Result<T, Error> {
        Err(Error::at(self.text, offset, reason))
    }

    fn stream(&mut self) -> Result<(), Error> {
        let mut last = 0;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamStart => {}
                Event::DocumentStart(explicit, version) => {
                    let between = self.text.get(last..start(&span)).unwrap_or_default();
                    let is_foreign = |line: &str| line.starts_with('%') && !line.starts_with("%YAML");
                    if between.lines().any(is_foreign) {
                        return self.refuse(start(&span), "SOPS reads no directive but `%YAML 1.1`");
                    }
                    if !explicit && between.lines().any(|line| line.starts_with("...")) {
                        return self.refuse(start(&span), "behind `...` a document must begin with `---`");
                    }
                    if version.is_some_and(|version| (version.major, version.minor) != (1, 1)) {
                        return self.refuse(start(&span), "sops reads only `%YAML 1.1`");
                    }
                    self.root()?;
                    last = self.leaves_end;
                    self.ordinal += 1;
                }
                Event::StreamEnd if self.ordinal == 0 => {
                    return self.refuse(0, "there is no mapping in this file");
                }
                Event::StreamEnd => return Ok(()),
                _ => return self.refuse(start(&span), "unexpected content between documents"),
            }
        }
    }

    fn root(&mut self) -> Result<(), Error> {
        let (event, span) = self.next()?;
        let place = Place { path: Paths::ROOT, context: Context::Block, depth: 0 };
        match event {
            Event::MappingStart(StructureStyle::Block, anchor, _) => self.mapping(&span, anchor, place)?,
            Event::MappingStart(StructureStyle::Flow, anchor, _) => {
                self.members = Some(Members::new(start(&span) + 1));
                self.mapping(&span, anchor, Place { context: Context::Flow, ..place })?;
                self.end_flow(&span, Context::Flow, place);
            }
            _ => return self.refuse(start(&span), "the top level of the file must be a mapping"),
        }
        let members = self.members.take();
        if let (Some(members), Some(block)) = (&members, &mut self.document.metadata) {
            block.cut.extend(members.cut(self.text));
        }
        let (event, span) = self.next()?;
        if self.ordinal == 0 {
            let lines = Tail::Lines(span::document_end(self.text, start(&span)));
            self.document.tail = members.map_or(lines, |members| members.tail());
        }
        match event {
            Event::DocumentEnd => {
                self.comments.end_document();
                self.anchors.clear();
                Ok(())
            }
            _ => self.refuse(start(&span), "more than one value at the top level"),
        }
    }

    fn node(&mut self, event: Event<'a>, span: &Span, place: Place) -> Result<(), Error> {
        if place.depth > MAX_DEPTH {
            return self.refuse(start(span), format!("nested deeper than {MAX_DEPTH} levels"));
        }
        let context = |style| match style {
            StructureStyle::Flow => Context::Flow,
            StructureStyle::Block => Context::Block,
        };
        match event {
            Event::Scalar(value, style, anchor, tag) => {
                let tag_range = span.tag_span().and_then(|span| span.byte_range());
                let range = span.byte_range().unwrap_or(0..0);
                self.scalar(ScalarNode { value, style, tag, range, tag_range }, anchor, place)
            }
            Event::MappingStart(style, anchor, _) => {
                self.mapping(span, anchor, Place { context: context(style), ..place })?;
                self.end_flow(span, context(style), place);
                Ok(())
            }
            Event::SequenceStart(style, anchor, _) => {
                self.sequence(span, anchor, Place { context: context(style), ..place })?;
                self.end_flow(span, context(style), place);
                Ok(())
            }
            Event::Alias(anchor) => self.alias(anchor, span, place.path),
            _ => self.refuse(start(span), "expected a value"),
        }
    }

    /// Notes the span of an outermost collection in brackets.
    fn end_flow(&mut self, begin: &Span, context: Context, place: Place) {
        if (context, place.context) == (Context::Flow, Context::Block) {
            self.flows.push(start(begin)..self.end);
        }
    }

    fn mapping(&mut self, span: &Span, anchor: usize, place: Place) -> Result<(), Error> {
        let first = self.document.items.len();
        if anchor != 0 {
            self.skip_anchor()?;
        }
        self.open(Collection::Map, start(span), place);
        let mut keys = HashSet::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                self.node_end = self.end;
                break;
            }
            let merge = matches!(&event, Event::Scalar(key, ScalarStyle::Plain, _, None) if key == "<<");
            let key = self.key(event, &span)?;
            if let (Context::Flow, Some(range)) = (place.context, span.byte_range()) {
                strict::colon(self.text, &range)?;
            }
            self.comments.item(start(&span));
            if !keys.insert(key.clone()) && self.ordinal == 0 {
                return self.refuse(start(&span), format!("the key `{key}` stands here twice"));
            }
            if key == "sops" && place.depth == 0 {
                self.metadata(&span)?;
            } else {
                let path = self.document.paths.child(place.path, &key);
                let (event, value) = self.next()?;
                let items = self.document.items.len();
                self.node(event, &value, Place { path, depth: place.depth + 1, ..place })?;
                if merge && !is_mergeable(&self.document.items[items..]) {
                    return self.refuse(start(&span), "`<<` needs a mapping, or a list of mappings");
                }
                self.end_member(start(&span), place);
            }
        }
        self.close();
        self.remember(anchor, place.path, first);
        Ok(())
    }

    /// A member of a mapping ends; those of a flow mapping at the top are noted.
    fn end_member(&mut self, start: usize, place: Place) {
        if let (0, Some(members)) = (place.depth, &mut self.members) {
            members.add(start..self.node_end);
        }
    }

    /// A collection begins.
    fn open(&mut self, kind: Collection, at: usize, place: Place) {
        self.comments.open(self.collections, at, place.context, place.path);
        self.collections += 1;
        self.begin(Item::Open(kind, place.path), at);
    }

    /// The innermost collection ends.
    fn close(&mut self) {
        self.comments.close();
        self.document.items.push(Item::Close);
    }

    fn begin(&mut self, item: Item, start: usize) {
        self.document.items.push(item);
        self.starts.push(start);
    }

    fn leaf(&mut self, leaf: Leaf<'a>) {
        if leaf.alias.is_none() {
            self.leaves_end = leaf.span.end;
        }
        let number = u32::try_from(self.document.leaves.len()).expect("a text has fewer than 2^32 leaves");
        self.document.leaves.push(leaf);
        self.document.items.push(Item::Leaf(number));
    }

    fn sequence(&mut self, span: &Span, anchor: usize, place: Place) -> Result<(), Error> {
        let first = self.document.items.len();
        if anchor != 0 {
            self.skip_anchor()?;
        }
        let at = match place.context {
            Context::Block => span::dash(self.text, start(span)),
            Context::Flow => start(span),
        };
        self.open(Collection::List, at, place);
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::SequenceEnd) {
                self.node_end = self.end;
                break;
            }
            self.comments.item(start(&span));
            self.node(event, &span, Place { depth: place.depth + 1, ..place })?;
        }
        self.close();
        self.remember(anchor, place.path, first);
        Ok(())
    }

    fn key(&mut self, event: Event<'a>, span: &Span) -> Result<String, Error> {
        let at = start(span);
        let Event::Scalar(value, style, anchor, tag) = event else {
            return self.refuse(at, "sops reads only plain strings as keys, not aliases, lists or mappings");
        };
        if anchor != 0 {
            self.skip_anchor()?;
        }
        let empty = span.byte_range().is_none_or(|range| range.is_empty());
        if span.byte_range().is_some_and(|range| self.text[range].trim_end().contains('\n')) {
            return self.refuse(at, "a key must stand on one line for sops");
        }
        match resolve::scalar(Cow::Borrowed(&*value), style, tag.as_deref(), empty) {
            Ok(Scalar::Str(_)) => Ok(value.into_owned()),
            // go-yaml reads `<<` as a merge, which sops keeps as an ordinary key.
            _ => self.refuse(at, "this key is no string for sops: put it in quotes"),
        }
    }

    fn scalar(&mut self, mut node: ScalarNode<'a>, anchor: usize, place: Place) -> Result<(), Error> {
        let anchor_range = if anchor == 0 { None } else { self.skip_anchor()? };
        let (span, style) = span::of_scalar(self.text, &node, anchor_range.as_ref(), place.context);
        let empty = node.range.is_empty() && matches!(node.style, ScalarStyle::Plain);
        let value = std::mem::take(&mut node.value);
        let scalar = resolve::scalar(value, node.style, node.tag.as_deref(), empty)
            .map_err(|reason| Error::at(self.text, node.range.start, reason))?;
        let (content, span, style) = self.list_comment(scalar, span, style);
        let first = self.document.items.len();
        self.node_end = span.end;
        self.leaf(Leaf { path: place.path, content, span, style, alias: None });
        self.remember(anchor, place.path, first);
        Ok(())
    }

    /// sops writes a sealed comment of a list as an item of the list.
    fn list_comment(
        &self,
        scalar: Scalar<'a>,
        span: Range<usize>,
        style: Style,
    ) -> (Content<'a>, Range<usize>, Style) {
        // A plain scalar on one line is written as it is read.
        let text = &self.text[span.clone()];
        let looks_so = text.starts_with("ENC[") && text.ends_with(",type:comment]");
        let plain = matches!(style, Style::Plain(Context::Block));
        let dash = if looks_so && plain { span::dash(self.text, span.start) } else { span.start };
        if dash < span.start {
            (Content::Comment(Cow::Borrowed(text)), dash..span.end, Style::ListComment)
        } else {
            (Content::Value(scalar), span, style)
        }
    }

    fn remember(&mut self, anchor: usize, path: PathId, first: usize) {
        if anchor != 0 {
            self.anchors.insert(anchor, Anchor { path, items: first..self.document.items.len() });
        }
    }

    /// The items of the anchored node once more, below the alias. Comments are not copied.
    fn alias(&mut self, anchor: usize, span: &Span, path: PathId) -> Result<(), Error> {
        let Some(Anchor { path: base, items }) = self.anchors.get(&anchor) else {
            return self.refuse(start(span), "this alias stands inside what it names");
        };
        let (base, items) = (*base, items.clone());
        let at = span.byte_range().unwrap_or(0..0);
        strict::name(self.text, &at)?;
        self.node_end = at.end;
        let mut moved = HashMap::from([(base, path)]);
        let alias = self.document.add_alias(at.clone());
        self.begin(Item::Alias, at.start);
        for index in items {
            match self.document.items[index] {
                Item::Open(kind, original) => {
                    self.take(size_of::<Item>(), at.start)?;
                    let path = self.rebase(original, &mut moved, at.start)?;
                    self.begin(Item::Open(kind, path), at.start);
                    self.collections += 1;
                }
                Item::Leaf(number) => {
                    let mut copy = self.document.leaves[number as usize].clone();
                    let Content::Value(value) = &copy.content else { continue };
                    self.take(value.bytes().len() + size_of::<Leaf<'_>>(), at.start)?;
                    copy.path = self.rebase(copy.path, &mut moved, at.start)?;
                    copy.alias = Some(alias);
                    self.leaf(copy);
                }
                Item::Close => self.document.items.push(Item::Close),
                Item::Alias => {}
            }
        }
        Ok(())
    }

    /// Aliases that multiply without bound are refused.
    fn take(&mut self, bytes: usize, at: usize) -> Result<(), Error> {
        match self.room.take(bytes) {
            Some(()) => Ok(()),
            None => self.refuse(at, "aliases make the file many times as large as it is"),
        }
    }

    /// The path of an alias's copy: the names below the anchor, put below the alias.
    fn rebase(
        &mut self,
        path: PathId,
        moved: &mut HashMap<PathId, PathId>,
        at: usize,
    ) -> Result<PathId, Error> {
        if let Some(known) = moved.get(&path) {
            return Ok(*known);
        }
        let paths = &self.document.paths;
        let (parent, name) = paths.split(path).expect("the anchor's path is above all its leaves");
        let name = Zeroizing::new(name.to_owned());
        self.take(name.len(), at)?;
        let parent = self.rebase(parent, moved, at)?;
        let new = self.document.paths.child(parent, &name);
        moved.insert(path, new);
        Ok(new)
    }
}

fn start(span: &Span) -> usize {
    span.byte_range().map_or(0, |range| range.start)
}

/// Whether a node is a mapping, or a list of mappings: what go-yaml merges.
fn is_mergeable(node: &[Item]) -> bool {
    let mut depth = 0;
    let mut nodes = node.iter().filter(|item| **item != Item::Alias);
    match nodes.next() {
        Some(Item::Open(Collection::Map, _)) => true,
        Some(Item::Open(Collection::List, _)) => nodes.all(|item| {
            let mapping = matches!(item, Item::Open(Collection::Map, _));
            let fits = depth > 0 || mapping || *item == Item::Close;
            depth += i32::from(matches!(item, Item::Open(..))) - i32::from(*item == Item::Close);
            fits
        }),
        Some(Item::Leaf(_) | Item::Close | Item::Alias) | None => false,
    }
}

#[cfg(test)]
mod tests;
