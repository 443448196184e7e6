//! The members of the outermost `{…}`, as far as a `sops` block among them goes.
//!
//! The block belongs behind the last member. Cutting it must leave the text that it was put into,
//! and a text that reads the same where it stands elsewhere.

use std::ops::Range;

use super::{Neighbour, Tail};

/// What is known of the members so far.
#[derive(Debug, Default)]
pub(super) struct Members {
    /// Behind the `{`.
    start: usize,
    /// The end of the last member that is not the block.
    last: Option<usize>,
    block: Option<Block>,
}

#[derive(Debug)]
struct Block {
    span: Range<usize>,
    /// The end of the member before it.
    before: Option<usize>,
    /// The beginning of the member behind it.
    next: Option<usize>,
}

impl Members {
    /// None yet, behind the `{` that ends at an offset.
    pub(super) fn new(start: usize) -> Self {
        Self { start, ..Self::default() }
    }

    /// A member other than the block.
    pub(super) fn add(&mut self, span: Range<usize>) {
        self.last = Some(span.end);
        if let Some(block) = &mut self.block {
            block.next.get_or_insert(span.start);
        }
    }

    /// The block, from its name to the end of its value.
    pub(super) fn add_block(&mut self, span: Range<usize>) {
        self.block = Some(Block { span, before: self.last, next: None });
    }

    /// Where the block belongs.
    pub(super) fn tail(&self) -> Tail {
        match self.last {
            Some(end) => Tail::Member(end, Neighbour::Before),
            None => Tail::Member(self.start, Neighbour::None),
        }
    }

    /// What to cut to be rid of the block.
    pub(super) fn cut(&self, text: &str) -> Vec<Range<usize>> {
        let Some(Block { span, before, next }) = &self.block else { return Vec::new() };
        let mut cut = Vec::new();
        match (*before, *next) {
            (Some(before), _) => cut.push(before..span.end),
            (None, Some(next)) => {
                // Two parts, as this is not the form of a block that stands behind a member.
                let comma = text[span.end..next].find(',').map_or(next, |comma| span.end + comma + 1);
                cut.extend([self.start..span.end, span.end..comma]);
            }
            (None, None) => {
                let feed = usize::from(text[span.end..].starts_with('\n'));
                cut.push(self.start..span.end + feed);
            }
        }
        cut
    }
}
