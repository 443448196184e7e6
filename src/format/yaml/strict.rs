//! What YAML 1.2 allows and go-yaml does not read: sops could not open the file.

use std::ops::Range;

use super::super::{Document, Error, Leaf, Style};

/// Fails at the first character that go-yaml refuses, or takes for the end of a line.
pub(super) fn characters(text: &str) -> Result<(), Error> {
    let ordinary = |byte: u8| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~');
    // Without a way out in between, so that many are looked at at once.
    if text.bytes().fold(true, |all, byte| all & ordinary(byte)) {
        return Ok(());
    }
    let bad = |(at, character): &(usize, char)| match character {
        '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{fffe}' | '\u{ffff}' => true,
        '\u{feff}' => *at > 0,
        '\t' | '\n' | '\r' => false,
        other => other.is_control(),
    };
    match text.char_indices().find(bad) {
        None => Ok(()),
        Some((at, character)) => {
            let code = u32::from(character);
            Err(Error::at(
                text,
                at,
                format!("U+{code:04X} must be escaped: write \"\\u{code:04X}\" in double quotes"),
            ))
        }
    }
}

/// Fails if the name of an anchor or alias, its mark included, is none for go-yaml.
pub(super) fn name(text: &str, span: &Range<usize>) -> Result<(), Error> {
    let mut rest = text[span.clone()].chars().skip(1);
    match rest.all(|character| character.is_ascii_alphanumeric() || matches!(character, '-' | '_')) {
        true => Ok(()),
        false => Err(Error::at(
            text,
            span.start,
            "the name of an anchor has only letters, digits, `-` and `_` for SOPS",
        )),
    }
}

/// Fails if a line ends between a key in brackets and its colon. (Behind `?` it may.)
pub(super) fn colon(text: &str, key: &Range<usize>) -> Result<(), Error> {
    let rest = &text[key.end..];
    let behind = rest.trim_start();
    let parted = behind.starts_with(':') && rest[..rest.len() - behind.len()].contains('\n');
    if parted && !text[..key.start].trim_end().ends_with('?') {
        return Err(Error::at(text, key.start, "SOPS reads a key only with its `:` on the same line"));
    }
    Ok(())
}

/// Fails at the first tab before the first word of a line, outside of quotes, blocks and brackets. `flows` are the
/// spans of the outermost `{…}` and `[…]`.
pub(super) fn tabs(text: &str, document: &Document<'_>, flows: &[Range<usize>]) -> Result<(), Error> {
    // Copies that aliases make have the spans of their originals.
    let own: Vec<&Leaf<'_>> = document.leaves.iter().filter(|leaf| leaf.alias.is_none()).collect();
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let blank = line.len() - line.trim_start_matches([' ', '\t']).len();
        if let Some(tab) = line[..blank].find('\t')
            && !is_content(at + tab, &own, flows)
        {
            return Err(Error::at(text, at + tab, "a tab before the first word of a line: use spaces"));
        }
        at += line.len();
    }
    Ok(())
}

/// Whether an offset is inside a scalar, where a tab is content, or inside brackets. Both lists are in order.
fn is_content(at: usize, leaves: &[&Leaf<'_>], flows: &[Range<usize>]) -> bool {
    let inside = |range: &Range<usize>| range.start < at && at < range.end;
    // A block may begin with a line that has a tab behind its indentation, and end with blank ones.
    let in_block = |span: &Range<usize>| span.start <= at && at < span.end;
    let flow = flows[..flows.partition_point(|flow| flow.start < at)].last();
    let leaf = leaves[..leaves.partition_point(|leaf| leaf.span.start <= at)].last();
    flow.is_some_and(inside)
        || leaf.is_some_and(|leaf| match leaf.style {
            Style::Block(_) | Style::BlankBlock => in_block(&leaf.span),
            Style::Single(_) | Style::Double(_) | Style::Plain(_) => inside(&leaf.span),
            _ => false,
        })
}
