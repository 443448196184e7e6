//! dotenv, in the two ways it is read: as SOPS does, and as Compose does.
//!
//! SOPS takes `KEY=value` up to the line feed, with nothing trimmed or unquoted; a line that
//! begins with `#` is a comment, and the key is all before the first `=`. The two characters
//! `\n` in a value stand for a line feed. Lines that begin with `sops_` are the metadata,
//! flattened. (getsops/sops v3.13.2, `stores/dotenv/store.go:46-112`.) Sealed files are read so.
//!
//! To seal, that is not enough: in the inner lines of a quoted value, or in `KEY: value`, what
//! stands before an `=` may be the secret itself, and would stay clear as a "key". So plaintext
//! is read [strictly](parse_strictly): a quoted value is one leaf over all its lines, keys must
//! be names, and a line that is nothing of all this is an error. White space and indented
//! comments, which SOPS cannot read either, are [`Style::Odd`] leaves, sealed as comments.

pub mod value;

use std::borrow::Cow;
use std::ops::Range;

use zeroize::Zeroizing;

use super::flat::{escape, flatten, unescape, unflatten};
use super::{Block, Collection, Content, Document, Error, Field, Item, Leaf, Paths, Scalar, Style, Tail};

const METADATA: &str = "sops_";

/// Reads a dotenv text as SOPS does, line by line.
///
/// Fails where a metadata line is malformed, and at lines that SOPS could not read.
pub fn parse(text: &str) -> Result<Document<'_>, Error> {
    read(text, Reading::Sops)
}

/// Reads a plaintext dotenv text such that no part of a value can be taken for a key.
///
/// Fails at a line that is no `KEY=value`, comment or blank.
pub fn parse_strictly(text: &str) -> Result<Document<'_>, Error> {
    read(text, Reading::Strict)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    Sops,
    Strict,
}

fn read(text: &str, reading: Reading) -> Result<Document<'_>, Error> {
    let mut document = Document { tail: Tail::Lines(text.len()), ..Document::default() };
    let mut block = Block { cut: Vec::new(), fields: Vec::new() };
    let mut at = 0;
    while at < text.len() {
        let mut line = at..line_end(text, at);
        let content = &text[line.clone()];
        if content.starts_with(METADATA) {
            block.fields.push(field(text, line.clone())?);
            block.cut.push(line.start..(line.end + 1).min(text.len()));
        } else {
            if reading == Reading::Strict {
                line.end = entry_end(text, &line);
            }
            document.leaves.extend(leaf(&mut document.paths, text, &line, reading)?);
        }
        at = line.end + 1;
    }
    let leaves = u32::try_from(document.leaves.len()).expect("a text has fewer than 2^32 lines");
    document.items.push(Item::Open(Collection::Map, Paths::ROOT));
    document.items.extend((0..leaves).map(Item::Leaf));
    document.items.push(Item::Close);
    if !block.fields.is_empty() {
        document.metadata = Some(block);
    }
    Ok(document)
}

/// The end of the line that begins at an offset, before its line feed.
fn line_end(text: &str, start: usize) -> usize {
    text[start..].find('\n').map_or(text.len(), |end| start + end)
}

/// The end of the entry on a line: a quote that is not closed on it goes on over the next lines.
fn entry_end(text: &str, line: &Range<usize>) -> usize {
    let Some((_, value)) = text[line.clone()].split_once('=').filter(|(key, _)| is_name(key)) else {
        return line.end;
    };
    let value = value.trim_start_matches([' ', '\t']);
    let Some(quote) = value.chars().next().filter(|first| ['"', '\''].contains(first)) else {
        return line.end;
    };
    let first = line.end - value.len() + 1;
    // A quote that is never closed is no quote.
    closing(&text[first..], quote).map_or(line.end, |close| line_end(text, first + close))
}

/// Where a quoted text ends; in double quotes a backslash escapes.
fn closing(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().find_map(|(at, character)| {
        let closes = character == quote && !escaped;
        escaped = quote == '"' && character == '\\' && !escaped;
        closes.then_some(at)
    })
}

/// A variable's name, perhaps behind `export`, perhaps with spaces behind it.
fn is_name(key: &str) -> bool {
    // SOPS keeps a byte order mark as part of the first key.
    let key = key.trim_start_matches('\u{feff}');
    is_variable(key.strip_prefix("export ").unwrap_or(key).trim_matches([' ', '\t']))
}

/// The name of a variable alone.
pub fn is_variable(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.chars().all(|character| character.is_ascii_alphanumeric() || "_.-".contains(character))
}

fn leaf<'t>(
    paths: &mut Paths,
    text: &'t str,
    span: &Range<usize>,
    reading: Reading,
) -> Result<Option<Leaf<'t>>, Error> {
    let line = &text[span.clone()];
    let comment = |text: &'t str| Content::Comment(Cow::Borrowed(text));
    let blank = line.trim_start();
    let (path, content, span, style) = if line.is_empty() {
        return Ok(None);
    } else if let Some(text) = line.strip_prefix('#') {
        (Paths::ROOT, comment(text), span.clone(), Style::Hash)
    } else if reading == Reading::Strict && (blank.is_empty() || blank.starts_with('#')) {
        (Paths::ROOT, comment(line), span.clone(), Style::Odd)
    } else {
        let entry = line.split_once('=').filter(|(key, _)| reading == Reading::Sops || is_name(key));
        let Some((key, value)) = entry else {
            return Err(Error::at(text, span.start, "neither `KEY=value`, a comment nor a blank line"));
        };
        let value_span = span.start + key.len() + 1..span.end;
        (paths.child(Paths::ROOT, key), Content::Value(Scalar::str(unescape(value))), value_span, Style::Line)
    };
    Ok(Some(Leaf { path, content, span, style, alias: None }))
}

fn field(text: &str, line: Range<usize>) -> Result<Field, Error> {
    let content = &text[line.clone()];
    let (key, value) =
        content.split_once('=').ok_or_else(|| Error::at(text, line.start, "a metadata line needs `=`"))?;
    let path = unflatten(&key[METADATA.len()..])
        .ok_or_else(|| Error::at(text, line.start, "not the name of a metadata field"))?;
    let span = line.start + key.len() + 1..line.start + content.len();
    Ok(Field { path, value: unescape(value).into_owned(), span })
}

/// The sealed form of a value, comment or odd line.
pub fn spell_sealed(leaf: &Leaf<'_>, sealed: &str) -> String {
    match leaf.style {
        Style::Line => sealed.to_owned(),
        _ => format!("#{sealed}"),
    }
}

/// The plaintext form of a value or comment.
pub fn spell_open(content: &Content<'_>) -> Zeroizing<String> {
    Zeroizing::new(match content {
        Content::Comment(text) => format!("#{text}"),
        Content::Value(value) => {
            escape(&Zeroizing::new(String::from_utf8_lossy(&value.bytes()).into_owned()))
        }
    })
}

/// The metadata lines, sorted as sops sorts them.
pub fn spell_metadata(fields: &[Field]) -> String {
    let mut lines: Vec<_> = fields
        .iter()
        .map(|field| format!("{METADATA}{}={}\n", flatten(&field.path), escape(&field.value)))
        .collect();
    lines.sort();
    lines.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(text: &str) -> Vec<(String, String, Style)> {
        let document = parse(text).unwrap();
        let show = |leaf: &Leaf<'_>| {
            let text = leaf.content.text().unwrap().to_owned();
            (document.paths.aad(leaf.path), text, leaf.style)
        };
        document.leaves.iter().map(show).collect()
    }

    #[test]
    fn keys_values_and_comments_are_taken_verbatim() {
        let text = "# head\nA=1\n\nexport B = \"x\" # y\nC=a\\nb\n=empty\n";
        let expected = [
            (":", " head", Style::Hash),
            ("A:", "1", Style::Line),
            ("export B :", " \"x\" # y", Style::Line),
            ("C:", "a\nb", Style::Line),
            (":", "empty", Style::Line),
        ];
        let expected: Vec<_> = expected
            .iter()
            .map(|(aad, text, style)| ((*aad).to_owned(), (*text).to_owned(), *style))
            .collect();
        assert_eq!(summary(text), expected);
    }

    #[test]
    fn strictly_read_no_part_of_a_value_is_a_key() {
        let leaves = |text: &str| -> Vec<(String, String)> {
            let document = parse_strictly(text).unwrap();
            let show = |leaf: &Leaf<'_>| (document.paths.aad(leaf.path), text[leaf.span.clone()].to_owned());
            document.leaves.iter().map(show).collect()
        };
        let one = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(
            leaves("A=\"x\nk=y \\\"\nz\" # c\nB='1\n2'\n"),
            [one("A:", "\"x\nk=y \\\"\nz\" # c"), one("B:", "'1\n2'"),]
        );
        assert_eq!(
            leaves("A=\"open\nB=2\n  # x\n"),
            [one("A:", "\"open"), one("B:", "2"), one(":", "  # x")]
        );
        for (text, line) in [("A=1\nTOKEN: c2VjcmV0==\n", 2), ("plain\n", 1), ("yAnz5T/+=\n", 1), ("=x\n", 1)]
        {
            assert_eq!(parse_strictly(text).unwrap_err().line, line, "{text}");
        }
    }

    #[test]
    fn metadata_is_found_wherever_it_stands() {
        let text = "sops_mac=m\nA=1\nsops_version=3.0.0\n";
        let document = parse(text).unwrap();
        let block = document.metadata.unwrap();
        assert_eq!(block.fields[0].value, "m");
        assert_eq!(&text[block.fields[1].span.clone()], "3.0.0");
        assert_eq!(block.cut.len(), 2);
        assert_eq!(document.leaves.len(), 1);
    }
}
