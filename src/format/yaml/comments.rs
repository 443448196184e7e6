//! Which container a YAML comment belongs to.
//!
//! go-yaml hangs comments on nodes, and sops seals a comment with the path of its container.
//! The rules here give the same answer in the layouts that people write: a comment belongs to
//! the container of the item below it, unless it is indented deeper than that container.

use std::ops::Range;

use granit_parser::Placement;
use zeroize::Zeroizing;

use super::super::{Content, Context, Leaf, PathId, Paths, Style};
use super::span;

/// The comments met so far, and those whose container is still open.
pub(super) struct Comments<'a> {
    text: &'a str,
    open: Vec<Container>,
    pending: Vec<Comment>,
    settled: Vec<Leaf>,
}

struct Container {
    column: usize,
    context: Context,
    path: PathId,
}

struct Comment {
    span: Range<usize>,
    column: usize,
}

impl<'a> Comments<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, open: Vec::new(), pending: Vec::new(), settled: Vec::new() }
    }

    /// A comment was read. One that stands behind a value belongs to the innermost container.
    pub(super) fn seen(&mut self, text: &str, placement: Placement, start: usize) {
        let comment = Comment { span: start..start + 1 + text.len(), column: span::column(self.text, start) };
        if placement == Placement::Right || span::is_behind_content(self.text, start) {
            let path = self.open.last().map_or(Paths::ROOT, |container| container.path);
            self.settle(&comment, path);
        } else {
            self.pending.push(comment);
        }
    }

    /// A container begins.
    pub(super) fn open(&mut self, start: usize, context: Context, path: PathId) {
        // Only the column of a block collection matters, and a flow collection may stand far into a long line.
        let column = if context == Context::Block { span::column(self.text, start) } else { 0 };
        self.open.push(Container { column, context, path });
    }

    /// A key or list item begins in the innermost container: comments before it belong there.
    pub(super) fn item(&mut self, path: PathId) {
        self.settle_all(path, |_| true);
    }

    /// A value follows its key: comments between the two belong to the value if it is a collection.
    pub(super) fn before_value(&mut self, path: PathId, collection: bool) {
        if collection {
            self.settle_all(path, |_| true);
        }
    }

    /// The innermost container ends: comments indented deeper than what surrounds it belong to it.
    pub(super) fn close(&mut self, closing: Option<PathId>, path: PathId) {
        if closing.is_some() {
            self.open.pop();
        }
        match self.open.last().filter(|_| closing.is_some()) {
            Some(outer) if outer.context == Context::Block => {
                let outer = outer.column;
                self.settle_all(path, |comment| comment.column > outer);
            }
            Some(_) | None if closing.is_none() || !self.open.is_empty() => self.settle_all(path, |_| true),
            _ => {}
        }
    }

    /// Forgets the comments of the `sops` block.
    pub(super) fn drop_within(&mut self, range: Range<usize>) {
        self.pending.retain(|comment| !range.contains(&comment.span.start));
        self.settled.retain(|leaf| !range.contains(&leaf.span.start));
    }

    /// All comments, as leaves; those that no container took stand at the top.
    pub(super) fn finish(mut self) -> Vec<Leaf> {
        self.settle_all(Paths::ROOT, |_| true);
        self.settled
    }

    fn settle_all(&mut self, path: PathId, fits: impl Fn(&Comment) -> bool) {
        let (fitting, others) = std::mem::take(&mut self.pending).into_iter().partition(fits);
        self.pending = others;
        let fitting: Vec<Comment> = fitting;
        fitting.iter().for_each(|comment| self.settle(comment, path));
    }

    fn settle(&mut self, comment: &Comment, path: PathId) {
        let text = self.text[comment.span.start + 1..comment.span.end].trim_end_matches('\r');
        let span = comment.span.start..comment.span.start + 1 + text.len();
        let content = Content::Comment(Zeroizing::new(text.to_owned()));
        self.settled.push(Leaf { path, content, span, style: Style::Hash, alias: None });
    }
}
