//! Which container a YAML comment belongs to.
//!
//! go-yaml hangs comments on nodes, and sops seals a comment with the path of its container.
//! The rules here give the same answer in the layouts that people write: a comment belongs to
//! the container of the item below it, unless it is indented deeper than that container; one
//! that stands behind an item belongs to that item.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::ops::Range;

use granit_parser::Placement;

use super::super::{Content, Context, Document, Item, Leaf, PathId, Paths, Style};
use super::span;

/// The comments met so far, and those whose container is still open.
pub(super) struct Comments<'t> {
    text: &'t str,
    open: Vec<Container>,
    pending: Vec<Comment>,
    settled: Vec<Settled<'t>>,
    /// The number of the container that ended last at the top.
    last_root: usize,
}

struct Container {
    /// Its number among all containers, in order of their beginnings.
    number: usize,
    column: usize,
    context: Context,
    path: PathId,
    /// Where its last item begins.
    item: Option<usize>,
}

struct Comment {
    span: Range<usize>,
    column: usize,
}

struct Settled<'t> {
    container: usize,
    /// It stands before the first item of the container that begins here or later.
    before: usize,
    leaf: Leaf<'t>,
}

impl<'t> Comments<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, open: Vec::new(), pending: Vec::new(), settled: Vec::new(), last_root: 0 }
    }

    /// A comment was read. One that stands behind an item belongs to that item.
    pub(super) fn seen(&mut self, text: &str, placement: Placement, start: usize) {
        let comment = Comment { span: start..start + 1 + text.len(), column: span::column(self.text, start) };
        let start_of_line = span::line_start(self.text, start);
        let before = &self.text[start_of_line..start];
        if placement != Placement::Right && !span::is_behind_content(self.text, start) {
            self.pending.push(comment);
            return;
        }
        // Behind the dash of a list it belongs to the item to come.
        let dash = before.trim_end().strip_suffix('-').map(|before| start_of_line + before.len());
        let innermost = self.open.last();
        let item = dash.or(innermost.and_then(|container| container.item)).unwrap_or(start);
        let (number, path) = innermost.map_or((self.last_root, Paths::ROOT), |c| (c.number, c.path));
        self.settle(&comment, number, path, item);
    }

    /// A container begins.
    pub(super) fn open(&mut self, number: usize, start: usize, context: Context, path: PathId) {
        // Only the column of a block collection matters, and a flow collection may stand far into a long line.
        let column = if context == Context::Block { span::column(self.text, start) } else { 0 };
        self.open.push(Container { number, column, context, path, item: None });
    }

    /// A key or list item begins in the innermost container: comments before it belong there.
    pub(super) fn item(&mut self, start: usize) {
        self.settle_all(|_| true);
        if let Some(container) = self.open.last_mut() {
            container.item = Some(start);
        }
    }

    /// The innermost container ends: comments indented deeper than what surrounds it belong to it.
    pub(super) fn close(&mut self) {
        match self.open.iter().rev().nth(1) {
            Some(outer) if outer.context == Context::Block => {
                let outer = outer.column;
                self.settle_all(|comment| comment.column > outer);
            }
            Some(_) => self.settle_all(|_| true),
            // What stands below the last item of a document may still belong to the next one.
            None => {}
        }
        if let Some(closed) = self.open.pop() {
            self.last_root = closed.number;
        }
    }

    /// A document ends: comments that nothing took stand at its top.
    pub(super) fn end_document(&mut self) {
        self.settle_all(|_| true);
    }

    /// Forgets the comments of the `sops` block, which was just read.
    pub(super) fn drop_within(&mut self, range: Range<usize>) {
        self.pending.retain(|comment| !range.contains(&comment.span.start));
        // They are among the last ones: a text with many such blocks is not searched for each.
        let before = self.settled.iter().rposition(|settled| settled.leaf.span.start < range.start);
        let last = self.settled.split_off(before.map_or(0, |before| before + 1));
        self.settled.extend(last.into_iter().filter(|settled| !range.contains(&settled.leaf.span.start)));
    }

    fn settle_all(&mut self, fits: impl Fn(&Comment) -> bool) {
        let (number, path) = self.open.last().map_or((self.last_root, Paths::ROOT), |c| (c.number, c.path));
        let (fitting, others): (Vec<_>, _) =
            std::mem::take(&mut self.pending).into_iter().partition(|comment| fits(comment));
        self.pending = others;
        fitting.iter().for_each(|comment| self.settle(comment, number, path, comment.span.start));
    }

    fn settle(&mut self, comment: &Comment, container: usize, path: PathId, before: usize) {
        let text = self.text[comment.span.start + 1..comment.span.end].trim_end_matches('\r');
        let span = comment.span.start..comment.span.start + 1 + text.len();
        let content = Content::Comment(Cow::Borrowed(text));
        let leaf = Leaf { path, content, span, style: Style::Hash, alias: None };
        self.settled.push(Settled { container, before, leaf });
    }

    /// Puts the comments among the leaves and items of a document; `starts` tells where each collection and alias begins.
    pub(super) fn join(mut self, document: &mut Document<'t>, starts: &[usize]) {
        self.settle_all(|_| true);
        if self.settled.is_empty() {
            return;
        }
        self.settled.sort_by_key(|settled| settled.leaf.span.start);
        let (values, mut queues) = merge(document, self.settled);
        weave(document, starts, &values, &mut queues);
    }
}

/// The comments that wait for their place in a container: before which offset, and their number.
type Queues = HashMap<usize, VecDeque<(usize, u32)>>;

/// Merges comments into the leaves by where they stand; gives the new numbers of the values.
fn merge<'t>(document: &mut Document<'t>, comments: Vec<Settled<'t>>) -> (Vec<u32>, Queues) {
    let old = std::mem::take(&mut document.leaves);
    let mut queues = Queues::new();
    let mut values = Vec::with_capacity(old.len());
    let mut leaves = Vec::with_capacity(old.len() + comments.len());
    let mut waiting = comments.into_iter().peekable();
    let mut place = |leaves: &mut Vec<Leaf<'t>>, comment: Settled<'t>| {
        let queue = queues.entry(comment.container).or_default();
        queue.push_back((comment.before, number(leaves.len())));
        leaves.push(comment.leaf);
    };
    for leaf in old {
        let at = position(document, &leaf);
        while let Some(comment) = waiting.next_if(|comment| comment.leaf.span.start < at) {
            place(&mut leaves, comment);
        }
        values.push(number(leaves.len()));
        leaves.push(leaf);
    }
    waiting.for_each(|comment| place(&mut leaves, comment));
    document.leaves = leaves;
    (values, queues)
}

fn position(document: &Document<'_>, leaf: &Leaf<'_>) -> usize {
    document.alias(leaf).map_or(leaf.span.start, |alias| alias.start)
}

fn number(index: usize) -> u32 {
    u32::try_from(index).expect("a text has fewer than 2^32 leaves")
}

/// The items anew: each comment in its container, before what it stands before.
fn weave(document: &mut Document<'_>, starts: &[usize], values: &[u32], queues: &mut Queues) {
    let old = std::mem::take(&mut document.items);
    let mut items = Vec::with_capacity(old.len() + document.leaves.len() - values.len());
    let mut starts = starts.iter().copied();
    let mut start = || starts.next().unwrap_or(usize::MAX);
    let (mut open, mut next) = (Vec::new(), 0);
    let mut flush = |items: &mut Vec<Item>, container: Option<&usize>, until: usize| {
        let Some(queue) = container.and_then(|container| queues.get_mut(container)) else { return };
        while queue.front().is_some_and(|(before, _)| *before <= until) {
            items.extend(queue.pop_front().map(|(_, place)| Item::Leaf(place)));
        }
    };
    for item in old {
        match item {
            Item::Alias => {
                flush(&mut items, open.last(), start());
                items.push(item);
            }
            Item::Leaf(value) => {
                let number = values[value as usize];
                flush(&mut items, open.last(), position(document, &document.leaves[number as usize]));
                items.push(Item::Leaf(number));
            }
            Item::Open(..) => {
                flush(&mut items, open.last(), start());
                items.push(item);
                open.push(next);
                next += 1;
            }
            Item::Close => {
                flush(&mut items, open.last(), usize::MAX);
                items.push(item);
                open.pop();
            }
        }
    }
    document.items = items;
}
