//! Where the parts of a YAML text stand that the parser's spans do not tell.

use std::ops::Range;

use granit_parser::ScalarStyle;

use super::super::{BlockStyle, Context, Style};
use super::ScalarNode;

/// The start of the line that holds an offset.
pub(super) fn line_start(text: &str, offset: usize) -> usize {
    text[..offset].rfind('\n').map_or(0, |end| end + 1)
}

/// The offset behind the line feed of the line that holds an offset, or the end of the text.
pub(super) fn line_end(text: &str, offset: usize) -> usize {
    text[offset..].find('\n').map_or(text.len(), |end| offset + end + 1)
}

/// The column of an offset, in bytes from 0.
pub(super) fn column(text: &str, offset: usize) -> usize {
    offset - line_start(text, offset)
}

/// True if something other than white space stands before the offset on its line.
pub(super) fn is_behind_content(text: &str, offset: usize) -> bool {
    !text[line_start(text, offset)..offset].trim_start_matches('\u{feff}').trim().is_empty()
}

/// The dash of the block list item whose content starts at an offset; the offset itself if there is none.
pub(super) fn dash(text: &str, offset: usize) -> usize {
    let before = text[line_start(text, offset)..offset].trim_end_matches([' ', '\t']);
    if before.trim_start() == "-" || before.ends_with(" -") || before.ends_with(":-") {
        line_start(text, offset) + before.len() - 1
    } else {
        offset
    }
}

/// The end of a document's content, given where the parser saw the document end: before the
/// line of a `...` or `---` marker.
pub(super) fn document_end(text: &str, offset: usize) -> usize {
    let start = line_start(text, offset);
    let line = &text[start..];
    if offset < text.len() && (line.starts_with("---") || line.starts_with("...")) {
        start
    } else {
        text.len()
    }
}

/// From the start of the line of `start` to the end of the line of `end`.
pub(super) fn whole_lines(text: &str, start: usize, end: usize) -> Range<usize> {
    let at_line_start = end > 0 && text.as_bytes()[end - 1] == b'\n';
    line_start(text, start)..if at_line_start { end } else { line_end(text, end) }
}

/// The end of a block scalar's last line that is not blank, its line break included.
pub(super) fn content_end(text: &str, range: &Range<usize>) -> usize {
    let content = text[range.clone()].trim_end_matches([' ', '\t', '\r', '\n']);
    line_end(text, range.start + content.len())
}

/// What to replace to seal a scalar, and how it is written. A tag is replaced too, but no anchor.
pub(super) fn of_scalar(
    text: &str,
    node: &ScalarNode<'_>,
    anchor: Option<&Range<usize>>,
    context: Context,
) -> (Range<usize>, Style) {
    // A comment between tag and value is a leaf of its own.
    let alone = |tag: &Range<usize>| !text[tag.end..node.range.start.max(tag.end)].contains('#');
    let start = match &node.tag_range {
        Some(tag) if anchor.is_none_or(|anchor| anchor.start < tag.start) && alone(tag) => tag.start,
        Some(_) | None => node.range.start,
    };
    match node.style {
        ScalarStyle::Literal | ScalarStyle::Folded => of_block(text, node),
        ScalarStyle::Plain => (start..node.range.end, Style::Plain(context)),
        ScalarStyle::SingleQuoted => (start..node.range.end, Style::Single(context)),
        ScalarStyle::DoubleQuoted => (start..node.range.end, Style::Double(context)),
    }
}

/// The content lines of a block scalar, leading blank lines included, trailing ones not.
fn of_block(text: &str, node: &ScalarNode<'_>) -> (Range<usize>, Style) {
    if text[node.range.clone()].trim().is_empty() {
        return (node.range.start..node.range.start, Style::BlankBlock);
    }
    let first = node.value.split('\n').find(|line| !line.trim().is_empty()).unwrap_or_default();
    let deeper = first.len() - first.trim_start_matches(' ').len();
    let content_line = line_start(text, node.range.start);
    let written = text[content_line..].len() - text[content_line..].trim_start_matches(' ').len();
    let end = content_end(text, &node.range);
    let start = after_header(text, content_line);
    let style = BlockStyle {
        folded: matches!(node.style, ScalarStyle::Folded),
        indent: u32::try_from(written.saturating_sub(deeper)).unwrap_or(u32::MAX),
        crlf: text[..start].ends_with("\r\n"),
        unterminated: !text[..end].ends_with('\n'),
    };
    (start..end, Style::Block(style))
}

/// The header of the block scalar whose content begins at an offset, unless a comment stands behind it.
pub(super) fn block_header(text: &str, content: usize) -> Option<Range<usize>> {
    let line = line_start(text, content.checked_sub(1)?);
    let written = text[line..content].trim_end();
    let start = written.rfind(['|', '>'])?;
    let is_indicator = |mark: char| mark.is_ascii_digit() || mark == '-' || mark == '+';
    written[start + 1..].chars().all(is_indicator).then_some(line + start..line + written.len())
}

/// Goes up over blank lines to the end of the header's line.
fn after_header(text: &str, content_line: usize) -> usize {
    let mut start = content_line;
    while start > 0 {
        let above = line_start(text, start - 1);
        if !text[above..start].trim().is_empty() {
            break;
        }
        start = above;
    }
    start
}
