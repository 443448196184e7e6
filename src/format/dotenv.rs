//! dotenv as SOPS reads it: `KEY=value` up to the line feed, nothing trimmed, nothing unquoted.
//!
//! A line that begins with `#` is a comment; the key is all before the first `=`. The two
//! characters `\n` in a value stand for a line feed. Lines that begin with `sops_` are the
//! metadata, flattened. (getsops/sops v3.13.2, `stores/dotenv/store.go:46-112`.)
//!
//! What SOPS cannot read (a line with no `=`, such as the inner lines of a quoted value)
//! becomes an [`Style::Odd`] leaf, which is sealed in the form of a comment.

use std::ops::Range;

use zeroize::Zeroizing;

use super::{Block, Content, Document, Error, Field, Leaf, Paths, Scalar, Step, Style};

const METADATA: &str = "sops_";

/// Reads a dotenv text.
///
/// Fails only where a metadata line is malformed.
pub fn parse(text: &str) -> Result<Document, Error> {
    let mut document =
        Document { paths: Paths::default(), leaves: Vec::new(), metadata: None, tail: text.len() };
    let mut block = Block { cut: Vec::new(), fields: Vec::new() };
    for line in lines(text) {
        let content = &text[line.clone()];
        if content.starts_with(METADATA) {
            block.fields.push(field(text, line.clone())?);
            block.cut.push(line.start..(line.end + 1).min(text.len()));
        } else if let Some(leaf) = leaf(&mut document.paths, content, line) {
            document.leaves.push(leaf);
        }
    }
    if !block.fields.is_empty() {
        document.metadata = Some(block);
    }
    Ok(document)
}

/// The spans of the lines, without their line feeds.
fn lines(text: &str) -> impl Iterator<Item = Range<usize>> + '_ {
    text.split_inclusive('\n').scan(0, |start, line| {
        let begin = *start;
        *start += line.len();
        Some(begin..begin + line.strip_suffix('\n').unwrap_or(line).len())
    })
}

fn leaf(paths: &mut Paths, line: &str, span: Range<usize>) -> Option<Leaf> {
    if line.is_empty() {
        return None;
    }
    let (path, content, span, style) = if let Some(comment) = line.strip_prefix('#') {
        (Paths::ROOT, Content::Comment(Zeroizing::new(comment.to_owned())), span, Style::Hash)
    } else if let Some((key, value)) = line.split_once('=') {
        let value_span = span.start + key.len() + 1..span.end;
        let value = Zeroizing::new(value.replace("\\n", "\n"));
        (paths.child(Paths::ROOT, key), Content::Value(Scalar::str(&value)), value_span, Style::Line)
    } else {
        (Paths::ROOT, Content::Comment(Zeroizing::new(line.to_owned())), span, Style::Odd)
    };
    Some(Leaf { path, content, span, style, alias: None })
}

fn field(text: &str, line: Range<usize>) -> Result<Field, Error> {
    let content = text[line.clone()].trim_end_matches('\r');
    let (key, value) =
        content.split_once('=').ok_or_else(|| Error::at(text, line.start, "a metadata line needs `=`"))?;
    let path = unflatten(&key[METADATA.len()..])
        .ok_or_else(|| Error::at(text, line.start, "not the name of a metadata field"))?;
    let span = line.start + key.len() + 1..line.start + content.len();
    Ok(Field { path, value: value.replace("\\n", "\n"), span })
}

/// `age__list_0__map_enc` is `age[0].enc`.
fn unflatten(name: &str) -> Option<Vec<Step>> {
    let mut rest = name;
    let mut steps = Vec::new();
    loop {
        let end = ["__map_", "__list_"].iter().filter_map(|mark| rest.find(mark)).min().unwrap_or(rest.len());
        steps.push(match steps.last() {
            Some(Mark::List) => Mark::Step(Step::Index(rest[..end].parse().ok()?)),
            _ => Mark::Step(Step::Key(rest[..end].to_owned())),
        });
        rest = &rest[end..];
        if rest.is_empty() {
            break;
        } else if let Some(tail) = rest.strip_prefix("__map_") {
            rest = tail;
        } else {
            rest = rest.strip_prefix("__list_")?;
            steps.push(Mark::List);
        }
    }
    Some(steps.into_iter().filter_map(Mark::step).collect())
}

enum Mark {
    Step(Step),
    List,
}

impl Mark {
    fn step(self) -> Option<Step> {
        match self {
            Self::Step(step) => Some(step),
            Self::List => None,
        }
    }
}

fn flatten(path: &[Step]) -> String {
    path.iter().enumerate().fold(METADATA.to_owned(), |name, (depth, step)| match step {
        Step::Key(key) if depth == 0 => name + key,
        Step::Key(key) => name + "__map_" + key,
        Step::Index(index) => format!("{name}__list_{index}"),
    })
}

/// A value with its line feeds as the two characters `\n`.
pub fn escape(value: &str) -> String {
    value.replace('\n', "\\n")
}

/// The sealed form of a value, comment or odd line.
pub fn spell_sealed(leaf: &Leaf, sealed: &str) -> String {
    match leaf.style {
        Style::Line => sealed.to_owned(),
        _ => format!("#{sealed}"),
    }
}

/// The plaintext form of a value or comment.
pub fn spell_open(content: &Content) -> Zeroizing<String> {
    Zeroizing::new(match content {
        Content::Comment(text) => format!("#{}", text.as_str()),
        Content::Value(value) => {
            escape(&Zeroizing::new(String::from_utf8_lossy(&value.bytes()).into_owned()))
        }
    })
}

/// The metadata lines, sorted as sops sorts them.
pub fn spell_metadata(fields: &[Field]) -> String {
    let mut lines: Vec<_> =
        fields.iter().map(|field| format!("{}={}\n", flatten(&field.path), escape(&field.value))).collect();
    lines.sort();
    lines.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(text: &str) -> Vec<(String, String, Style)> {
        let document = parse(text).unwrap();
        let show = |leaf: &Leaf| {
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
    fn lines_without_an_equals_sign_are_odd_leaves() {
        assert_eq!(summary("  # x\nplain")[0].2, Style::Odd);
        assert_eq!(summary("  # x\nplain")[1].1, "plain");
    }

    #[test]
    fn metadata_names_are_flattened_both_ways() {
        for name in ["mac", "age__list_0__map_enc", "key_groups__list_1__map_age__list_0__map_recipient"] {
            assert_eq!(flatten(&unflatten(name).unwrap()), format!("sops_{name}"));
        }
        assert_eq!(unflatten("age__list_x__map_enc"), None);
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
