//! Lines of a text, taken out and put in such that all others stay as they are.

use std::ops::Range;

/// The lines that a range touches, with their line breaks.
pub(super) fn whole(text: &str, range: Range<usize>) -> Range<usize> {
    let start = text[..range.start].rfind('\n').map_or(0, |end| end + 1);
    // A range that ends with a line break does not touch the next line.
    let behind = range.end.saturating_sub(usize::from(text[range.clone()].ends_with('\n')));
    start..text[behind..].find('\n').map_or(text.len(), |end| behind + end + 1)
}

/// What to cut to take out the lines that a range touches. A text without a final line break keeps none.
pub(super) fn cut(text: &str, range: Range<usize>) -> Range<usize> {
    let lines = whole(text, range);
    let unterminated = lines.end == text.len() && !text.ends_with('\n');
    let before = if unterminated { end_before(text, lines.start).len() } else { 0 };
    lines.start.saturating_sub(before)..lines.end
}

/// An entry as a line of its own at an offset. A text without a final line break keeps none.
pub(super) fn add(text: &str, at: usize, entry: &str) -> String {
    let end = end_before(text, at);
    if at == 0 || text[..at].ends_with('\n') { format!("{entry}{end}") } else { format!("{end}{entry}") }
}

/// The line break that ends the line before an offset, or those further up.
pub(super) fn end_before(text: &str, at: usize) -> &'static str {
    let before = &text[..at];
    let crlf = if before.ends_with('\n') { before.ends_with("\r\n") } else { before.contains("\r\n") };
    if crlf { "\r\n" } else { "\n" }
}
