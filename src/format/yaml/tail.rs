//! A sealed text whose `sops` block stands at its end as sops and hlx write it: two thirds of a
//! small file, which is read here line by line. Whatever looks otherwise is left to the parser.

use std::ops::Range;

use memchr::memmem;

use super::super::room::Room;
use super::super::{Block, Content, Document, Field, Step, Style, Tail};
use super::whole;

/// The first line of the block.
const HEAD: &str = "sops:\n";

/// How deep fields nest at most.
const DEEPEST: usize = 8;

/// How many keys a mapping has at most.
const MOST_KEYS: usize = 64;

/// Reads such a text; `None` if it is none, or is not surely the same to the parser.
pub(super) fn parse(text: &str) -> Option<Document<'_>> {
    // A lone carriage return ends a line for YAML, and none here.
    if memchr::memchr(b'\r', text.as_bytes()).is_some() {
        return None;
    }
    let at = text.rfind("\nsops:\n")? + 1;
    let data = &text[..at];
    if !is_block_mapping(data) {
        return None;
    }
    let fields = Lines::new(text, at + HEAD.len()).read()?;
    let mut document = whole(data).ok()?;
    let is_ended = document.leaves.last().is_some_and(|leaf| {
        let quoted = matches!(leaf.style, Style::Plain(_) | Style::Single(_) | Style::Double(_));
        let comment = matches!(leaf.content, Content::Comment(_));
        quoted && !comment && leaf.alias.is_none() && !leaf.span.is_empty()
    });
    if !is_ended || document.metadata.is_some() || document.tail != Tail::Lines(at) {
        return None;
    }
    document.metadata.insert(Block { cut: Vec::new(), fields }).cut.push(at..text.len());
    document.tail = Tail::Lines(text.len());
    #[cfg(test)]
    assert_same(&document, &whole(text).expect("the parser reads it too"));
    Some(document)
}

/// Whether a text that the parser reads is one document, whose keys begin in the first column.
fn is_block_mapping(text: &str) -> bool {
    let blank = |line: &&str| line.trim().is_empty() || line.starts_with('#');
    let body = text.strip_prefix("---\n").unwrap_or(text);
    let first = body.lines().find(|line| !blank(line)).unwrap_or_default();
    first.starts_with(|letter: char| letter.is_ascii_alphanumeric() || letter == '_') && !has_markers(body)
}

/// Whether a line but the first could begin or end a document, or be a directive.
pub fn has_markers(text: &str) -> bool {
    ["\n---", "\n...", "\n%"].iter().any(|mark| memmem::find(text.as_bytes(), mark.as_bytes()).is_some())
}

/// The lines of the block that are not read yet.
struct Lines<'t> {
    text: &'t str,
    at: usize,
    fields: Vec<Field>,
    room: Room,
}

impl<'t> Lines<'t> {
    fn new(text: &'t str, at: usize) -> Self {
        Self { text, at, fields: Vec::new(), room: Room::of(text) }
    }

    /// All of them, to the end of the text.
    fn read(mut self) -> Option<Vec<Field>> {
        self.mapping(4, 4, &mut Vec::new())?;
        (self.at == self.text.len()).then_some(self.fields)
    }

    /// The next line without its line feed, if it is indented just so far.
    fn peek(&self, indent: usize) -> Option<&'t str> {
        let rest = &self.text[self.at..];
        let line = &rest[..rest.find('\n')?];
        let content = line.trim_start_matches(' ');
        (line.len() - content.len() == indent && !content.is_empty()).then_some(line)
    }

    /// Keys that are indented by `indent`; the first one may stand behind a dash, and is then taken
    /// as indented by `first`.
    fn mapping(&mut self, indent: usize, first: usize, path: &mut Vec<Step>) -> Option<()> {
        let mut keys: Vec<&str> = Vec::new();
        let mut begin = first;
        while let Some(line) = self.peek(begin) {
            let start = self.at + indent;
            let content = &line[indent..];
            let colon = content.find(':')?;
            let (key, value) = (&content[..colon], &content[colon + 1..]);
            let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
            let is_new = !keys.contains(&key) && keys.len() < MOST_KEYS;
            if key.is_empty() || !key.bytes().all(plain) || !is_new || path.len() >= DEEPEST {
                return None;
            }
            keys.push(key);
            self.at += line.len() + 1;
            path.push(Step::Key(key.to_owned()));
            self.value(value, start + colon + 1, indent, path)?;
            path.pop();
            begin = indent;
        }
        (!keys.is_empty()).then_some(())
    }

    /// What follows the colon of a key that is indented by `indent`.
    fn value(&mut self, value: &str, at: usize, indent: usize, path: &mut Vec<Step>) -> Option<()> {
        match value {
            "" if self.peek(indent + 4)?[indent + 4..].starts_with("- ") => self.list(indent + 4, path),
            "" => self.mapping(indent + 4, indent + 4, path),
            " |" => self.literal(indent + 2, path),
            _ => {
                let value = value.strip_prefix(' ')?;
                let span = at + 1..at + 1 + value.len();
                let said = match value.strip_prefix('"') {
                    Some(rest) => rest.strip_suffix('"').filter(|said| !said.contains(['"', '\\']))?,
                    None => Some(value).filter(|value| is_plain(value))?,
                };
                self.field(said.to_owned(), span, path)
            }
        }
    }

    /// Mappings behind dashes that are indented by `indent`.
    fn list(&mut self, indent: usize, path: &mut Vec<Step>) -> Option<()> {
        for index in 0.. {
            match self.peek(indent) {
                Some(line) if line[indent..].starts_with("- ") => {}
                _ => break,
            }
            path.push(Step::Index(index));
            self.mapping(indent + 2, indent, path)?;
            path.pop();
        }
        Some(())
    }

    /// The lines of a `|`.
    fn literal(&mut self, indent: usize, path: &[Step]) -> Option<()> {
        let (start, mut said) = (self.at, String::new());
        while let Some(line) = self.peek(indent) {
            said.push_str(&line[indent..]);
            said.push('\n');
            self.at += line.len() + 1;
        }
        // The parser's span of a literal begins behind its indentation.
        let is_even = !said.is_empty() && !said.contains('\t') && !said.contains('\r');
        is_even.then(|| self.field(said, start + indent..self.at, path))?
    }

    fn field(&mut self, value: String, span: Range<usize>, path: &[Step]) -> Option<()> {
        self.room.take_path(path)?;
        self.fields.push(Field { path: path.to_vec(), value, span });
        Some(())
    }
}

/// Whether the rest of a line is one plain scalar, and nothing else, to every reader of YAML.
fn is_plain(value: &str) -> bool {
    let first = value.as_bytes().first();
    first.is_some_and(|first| first.is_ascii_alphanumeric() || matches!(first, b'^' | b'(' | b'_' | b'/'))
        && value.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
        && !value.contains(": ")
        && !value.contains(" #")
        && !value.ends_with([':', ' '])
}

#[cfg(test)]
fn assert_same(read: &Document<'_>, wanted: &Document<'_>) {
    let names = |document: &Document<'_>| -> Vec<String> {
        document.leaves.iter().map(|leaf| document.paths.display(leaf.path)).collect()
    };
    assert_eq!(names(read), names(wanted));
    assert_eq!(read.items, wanted.items);
    assert_eq!(read.tail, wanted.tail);
    for (read, wanted) in read.leaves.iter().zip(&wanted.leaves) {
        // Not as one: what does not equal itself is in some.
        assert_eq!(format!("{:?}", read.content), format!("{:?}", wanted.content));
        assert_eq!((&read.span, read.style, read.alias), (&wanted.span, wanted.style, wanted.alias));
    }
    let blocks = read.metadata.as_ref().zip(wanted.metadata.as_ref()).expect("both have one");
    assert_eq!(blocks.0.cut, blocks.1.cut);
    assert_eq!(blocks.0.fields, blocks.1.fields);
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: &str = "sops:\n    age:\n        - enc: |\n            -----BEGIN\n            abc=\n\
        \x20         recipient: age1x\n        - recipient: age1y\n          enc: |\n            x\n\
        \x20   lastmodified: \"2026-11-23T15:48:47Z\"\n    mac: ENC[AES256_GCM,data:a,iv:b,tag:c,type:str]\n\
        \x20   encrypted_regex: ^(data|x)$\n    mac_only_encrypted: true\n    version: 3.11.0\n";

    /// That the parser agrees is asserted whenever a text is read in this way.
    #[test]
    fn a_block_at_the_end_is_read_by_lines() {
        for data in [
            "a: b\n",
            "a:\n  - x # said\n  - 'y'\nb: 1\n",
            "# said\n\na: |\n  text\nb: \"c\"\n\n",
            "---\na: b\n  c\n",
            "a: &x {b: c}\nd: *x\ne: f\n",
        ] {
            assert!(parse(&format!("{data}{BLOCK}")).is_some(), "{data}");
        }
    }

    #[test]
    fn what_may_be_another_to_the_parser_is_left_to_it() {
        for data in [
            "",
            "a: |\n  text\n",
            "a:\n",
            "a: b\n# said\n",
            "a: b # said\n",
            "  a: b\n",
            "\u{feff}a: b\n",
            "- a\n",
            "{a: b}\n",
            "a: b\n---\nc: d\n",
            "a: \"b\n",
            "a: &x b\nc: *x\n",
            "a: b\r\nc: d\n",
            "a: b\nx: \r---\ry: z\n",
            "a: b\r---\rc: d\n",
            "sops:\n    x: y\na: b\n",
        ] {
            assert!(parse(&format!("{data}{BLOCK}")).is_none(), "{data}");
        }
        for (from, to) in [
            ("version: 3.11.0\n", "version: 3.11.0"),
            ("version: 3.11.0\n", "version: 3.11.0\nb: c\n"),
            ("version: 3.11.0\n", "version: 3.11.0\n    version: 3.11.0\n"),
            ("version: 3.11.0\n", "version: 3.11.0 # said\n"),
            ("version: 3.11.0\n", "version: 'x'\n"),
            ("version: 3.11.0\n", "version: *x\n"),
            ("version: 3.11.0\n", "version: \"x\\n\"\n"),
            ("abc=\n", "abc=\n\n"),
            ("abc=\n", " abc=\n"),
            ("^(data|x)$", "\"a\rb\""),
            ("    age:\n", "    age: # said\n"),
            ("    age:\n        -", "    age:\n      -"),
        ] {
            assert!(BLOCK.contains(from), "{from}");
            assert!(parse(&format!("a: b\n{}", BLOCK.replacen(from, to, 1))).is_none(), "{to}");
        }
    }
}
