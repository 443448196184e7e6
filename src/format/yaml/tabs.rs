//! Tabs where go-yaml allows none: before the first word of a line, outside of quotes, blocks and brackets.
//!
//! The parser here follows YAML 1.2, where such a tab is white space. sops could not read the file.

use std::ops::Range;

use super::super::{Document, Error, Style};

/// Fails at the first tab that go-yaml would not read. `flows` are the spans of the outermost `{…}` and `[…]`.
pub(super) fn check(text: &str, document: &Document<'_>, flows: &[Range<usize>]) -> Result<(), Error> {
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let blank = line.len() - line.trim_start_matches([' ', '\t']).len();
        if let Some(tab) = line[..blank].find('\t')
            && !is_content(at + tab, document, flows)
        {
            return Err(Error::at(text, at + tab, "a tab before the first word of a line: use spaces"));
        }
        at += line.len();
    }
    Ok(())
}

/// Whether an offset is inside a scalar, where a tab is content, or inside brackets.
fn is_content(at: usize, document: &Document<'_>, flows: &[Range<usize>]) -> bool {
    let inside = |range: &Range<usize>| range.start < at && at < range.end;
    // A block may begin with a line that has a tab behind its indentation, and end with blank ones.
    let in_block = |span: &Range<usize>| span.start <= at && at < span.end;
    let leaf = document.leaves.partition_point(|leaf| leaf.span.start <= at);
    let before = document.leaves[..leaf].iter().rev().find(|leaf| leaf.alias.is_none());
    flows.iter().any(inside)
        || before.is_some_and(|leaf| match leaf.style {
            Style::Block(_) | Style::BlankBlock => in_block(&leaf.span),
            Style::Single(_) | Style::Double(_) | Style::Plain(_) => inside(&leaf.span),
            _ => false,
        })
}
