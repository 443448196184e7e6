//! INI, as SOPS reads it with gopkg.in/ini.v1.
//!
//! Keys without a section stand in `DEFAULT`; sections may repeat; a `#` or `;` begins a comment
//! anywhere in a value that is not in backquotes or triple quotes; a `\` at the end of a line joins
//! the next one to it. (gopkg.in/ini.v1 v1.67.1, `parser.go`.) All values are strings.
//!
//! What is in the way of sealing in place, or would stay clear where SOPS drops it, is an error:
//! text behind a section's name or a closing quote, and keys that SOPS would move or could not
//! write back.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;

use zeroize::Zeroizing;

use super::flat::{escape, flatten, unescape, unflatten};
use super::{
    Block, Collection, Content, Document, Error, Field, Item, Leaf, PathId, Paths, Scalar, Style, Tail, lines,
};

const DEFAULT: &str = "DEFAULT";
const METADATA: &str = "sops";
const COMMENT: [char; 2] = ['#', ';'];
const TRIPLE: &str = "\"\"\"";

/// Reads an INI text.
///
/// Fails where SOPS could not read it, and at spellings that cannot be sealed in place.
pub fn parse(text: &str) -> Result<Document<'_>, Error> {
    let document = Document { tail: Tail::Lines(text.len()), ..Document::default() };
    Reader { text, document, section: Section::new(Paths::ROOT), comment: None }.read()
}

struct Reader<'t> {
    text: &'t str,
    document: Document<'t>,
    section: Section<'t>,
    /// The comment lines before the line that we are at, with the blank ones between them.
    comment: Option<Range<usize>>,
}

/// The section that we are in.
struct Section<'t> {
    part: Part,
    path: PathId,
    names: HashSet<&'t str>,
    /// The last key, and the number of its leaf.
    last: Option<(&'t str, usize)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Data,
    Metadata,
}

impl Section<'_> {
    fn new(path: PathId) -> Self {
        Self { part: Part::Data, path, names: HashSet::new(), last: None }
    }
}

impl<'t> Reader<'t> {
    fn read(mut self) -> Result<Document<'t>, Error> {
        self.document.items.push(Item::Open(Collection::Map, Paths::ROOT));
        self.open(DEFAULT);
        let mut at = if self.text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        while at < self.text.len() {
            let end = next_line(self.text, at);
            let start = skip_space(self.text, at..end);
            at = match self.text[start..end].chars().next() {
                None => end,
                Some('#' | ';') => {
                    self.comment = Some(self.comment.map_or(start, |lines| lines.start)..end);
                    end
                }
                Some('[') => {
                    self.header(at, start..end)?;
                    end
                }
                Some(_) => self.entry(start..end)?,
            };
        }
        self.comment_of(self.section.path);
        self.close();
        self.document.items.push(Item::Close);
        Ok(self.document)
    }

    fn error(&self, at: usize, reason: &str) -> Error {
        Error::at(self.text, at, reason)
    }

    fn open(&mut self, name: &str) {
        let path = self.document.paths.child(Paths::ROOT, name);
        self.document.items.push(Item::Open(Collection::Map, path));
        self.section = Section::new(path);
    }

    fn close(&mut self) {
        match self.section.part {
            Part::Data => self.document.items.push(Item::Close),
            Part::Metadata => {}
        }
    }

    /// `[name]`, on a line that begins at `at`.
    fn header(&mut self, at: usize, line: Range<usize>) -> Result<(), Error> {
        let text = &self.text[line.clone()];
        let close = text.rfind(']').ok_or_else(|| self.error(line.start, "the section's name has no `]`"))?;
        let name = &text[1..close];
        if name.is_empty() {
            return Err(self.error(line.start, "the section has no name"));
        }
        if name.contains(']') || !text[close + 1..].trim().is_empty() {
            let reason = "SOPS takes all up to the last `]` of this line for the section's name: \
                 put the comment on a line of its own";
            return Err(self.error(line.start, reason));
        }
        match name {
            METADATA => self.metadata(at, line),
            _ => {
                self.close();
                self.open(name);
                self.comment_of(self.section.path);
                Ok(())
            }
        }
    }

    /// `[sops]`, together with the blank line before it.
    fn metadata(&mut self, at: usize, line: Range<usize>) -> Result<(), Error> {
        if self.document.metadata.is_some() {
            return Err(self.error(line.start, "a second section `sops`"));
        }
        self.comment_of(self.section.path);
        self.close();
        let before = &self.text[..at];
        let start = if before == "\n" || before.ends_with("\n\n") { at - 1 } else { at };
        self.document.metadata =
            Some(Block { cut: std::iter::once(start..line.end).collect(), fields: Vec::new() });
        self.section = Section { part: Part::Metadata, ..Section::new(self.section.path) };
        Ok(())
    }

    /// `key = value`, perhaps over more lines than one. Gives the end of its last line.
    fn entry(&mut self, line: Range<usize>) -> Result<usize, Error> {
        let (name, after) = self.key(line.clone())?;
        let value = value(self.text, after)?;
        match self.section.part {
            Part::Data => {
                let path = self.name(name, line.start)?;
                self.value(path, &value);
                self.section.last = Some((name, self.document.leaves.len() - 1));
                if let Some(inline) = value.inline {
                    let inline = self.comment_leaf(self.section.path, inline, Style::Inline);
                    self.document.items.push(inline);
                }
            }
            Part::Metadata => self.field(name, line.start, &value)?,
        }
        Ok(value.end)
    }

    /// The key's name, and where its value begins.
    fn key(&self, line: Range<usize>) -> Result<(&'t str, usize), Error> {
        let text = &self.text[line.clone()];
        let error = |reason: &str| self.error(line.start, reason);
        let quote = match text.as_bytes() {
            [b'"', ..] if text.starts_with(TRIPLE) && text.len() > 6 => TRIPLE,
            [b'"', ..] => "\"",
            [b'`', ..] => "`",
            _ => "",
        };
        let inside = &text[quote.len()..];
        let name = match quote {
            "" => inside.find(['=', ':']),
            _ => inside.find(quote),
        };
        let name =
            &inside[..name.ok_or_else(|| error("neither `key = value`, a section, a comment nor blank"))?];
        let behind = quote.len() + name.len() + quote.len();
        let sign = text[behind..].find(['=', ':']).filter(|at| text[behind..behind + at].trim().is_empty());
        let sign = sign.ok_or_else(|| error("a key in quotes must be followed by `=` or `:`"))?;
        match name.trim() {
            "" => Err(error("the key has no name")),
            "-" => Err(error("SOPS gives the key `-` a name that it cannot read back")),
            name => Ok((name, line.start + behind + sign + 1)),
        }
    }

    /// The path of a key in this section.
    ///
    /// Of a key that stands twice SOPS reads the last value, in the place of the first.
    fn name(&mut self, name: &'t str, at: usize) -> Result<PathId, Error> {
        if let Some((_, leaf)) = self.section.last.filter(|(last, _)| *last == name) {
            shadow(&mut self.document.leaves[leaf]);
            return Ok(self.document.leaves[leaf].path);
        }
        if !self.section.names.insert(name) {
            let reason = "this key stands further above in the same section, where SOPS would move the value: \
                 put the two together";
            return Err(self.error(at, reason));
        }
        Ok(self.document.paths.child(self.section.path, name))
    }

    /// A value with the comment above it. SOPS walks the comment after the value.
    fn value(&mut self, path: PathId, value: &Value<'t>) {
        let above =
            self.comment.take().map(|lines| self.comment_leaf(self.section.path, lines, Style::Marked));
        let content = Content::Value(Scalar::str(value.content.clone()));
        let leaf =
            self.leaf(Leaf { path, content, span: value.span.clone(), style: value.style, alias: None });
        self.document.items.push(leaf);
        self.document.items.extend(above);
    }

    fn field(&mut self, name: &str, at: usize, value: &Value<'_>) -> Result<(), Error> {
        self.comment = None;
        let path = unflatten(name).ok_or_else(|| self.error(at, "not the name of a metadata field"))?;
        let block = self.document.metadata.as_mut().expect("it began with the section");
        block.cut[0].end = value.end;
        // sops 3.13.0 and 3.13.1 escaped line feeds twice.
        let twice = value.content.starts_with("-----BEGIN").then(|| value.content.replace("\\\\n", "\n"));
        let value_text = unescape(twice.as_deref().unwrap_or(&value.content)).into_owned();
        block.fields.push(Field { path, value: value_text, span: value.span.clone() });
        Ok(())
    }

    /// The comment lines up to here, as a leaf of its own.
    fn comment_of(&mut self, path: PathId) {
        if let Some(lines) = self.comment.take() {
            let leaf = self.comment_leaf(path, lines, Style::Marked);
            self.document.items.push(leaf);
        }
    }

    fn comment_leaf(&mut self, path: PathId, lines: Range<usize>, style: Style) -> Item {
        let (content, span) = comment(self.text, lines);
        self.leaf(Leaf { path, content: Content::Comment(content), span, style, alias: None })
    }

    fn leaf(&mut self, leaf: Leaf<'t>) -> Item {
        self.document.leaves.push(leaf);
        Item::Leaf(u32::try_from(self.document.leaves.len() - 1).expect("a text has fewer than 2^32 leaves"))
    }
}

/// A value that a later one of the same key replaces: to SOPS it is not there, and so it must not count in the MAC.
fn shadow(leaf: &mut Leaf<'_>) {
    if let Content::Value(Scalar::Str(bytes)) = &mut leaf.content {
        let text = match std::mem::take(bytes) {
            Cow::Borrowed(bytes) => std::str::from_utf8(bytes).map(Cow::Borrowed).ok(),
            Cow::Owned(bytes) => String::from_utf8(bytes).map(Cow::Owned).ok(),
        };
        leaf.content = Content::Comment(text.expect("it was read as text"));
    }
}

/// The offset behind the line feed of the line that an offset is on.
fn next_line(text: &str, at: usize) -> usize {
    text[at..].find('\n').map_or(text.len(), |end| at + end + 1)
}

fn skip_space(text: &str, range: Range<usize>) -> usize {
    range.end - text[range.clone()].trim_start().len()
}

/// A range without the white space at its ends.
fn trimmed(text: &str, range: Range<usize>) -> Range<usize> {
    let inner = text[range.clone()].trim();
    let start = if inner.is_empty() { range.start } else { skip_space(text, range) };
    start..start + inner.len()
}

/// A comment's text behind its (first) mark and the spaces there, and where that stands.
///
/// SOPS joins the lines without the blank ones between them. It cannot write a comment whose first line is
/// empty, so that ours begins with the first that is not, and is never empty.
fn comment(text: &str, lines: Range<usize>) -> (Cow<'_, str>, Range<usize>) {
    let whole = trimmed(text, lines);
    let behind = &text[whole.start + 1..whole.end];
    let span = whole.end - behind.trim_start_matches(' ').len()..whole.end;
    let shown = &text[span.clone()];
    let content = if shown.is_empty() {
        text[whole].into()
    } else if shown.contains('\n') {
        let filled = shown.split_inclusive('\n').enumerate().filter(|(_, line)| !line.trim().is_empty());
        filled
            .map(|(number, line)| if number == 0 { line } else { line.trim_start() })
            .collect::<String>()
            .into()
    } else {
        shown.into()
    };
    (content, span)
}

/// A value as it stands in the text.
struct Value<'t> {
    content: Cow<'t, str>,
    span: Range<usize>,
    style: Style,
    /// The comment behind it, from its mark on.
    inline: Option<Range<usize>>,
    /// Where the next line begins.
    end: usize,
}

/// Reads the value that begins behind a key's `=`.
fn value(text: &str, at: usize) -> Result<Value<'_>, Error> {
    let end = next_line(text, at);
    let start = skip_space(text, at..end);
    let line = &text[start..end];
    if line.starts_with(TRIPLE) && line.len() > TRIPLE.len() {
        quoted(text, start + TRIPLE.len(), TRIPLE)
    } else if line.starts_with('`') {
        quoted(text, start + 1, "`")
    } else if line.trim_end().ends_with('\\') {
        Ok(continued(text, start))
    } else {
        Ok(bare(text, at..end))
    }
}

/// A value up to the last quote of the first line that has one.
fn quoted<'t>(text: &'t str, start: usize, quote: &str) -> Result<Value<'t>, Error> {
    let mut at = start;
    let close = loop {
        let end = next_line(text, at);
        match text[at..end].rfind(quote) {
            Some(close) => break at + close,
            None if end == text.len() => return Err(Error::at(text, start, "the quote is never closed")),
            None => at = end,
        }
    };
    let end = next_line(text, close);
    let behind = trimmed(text, close + quote.len()..end);
    if !behind.is_empty() && !text[behind.clone()].starts_with(COMMENT) {
        return Err(Error::at(text, behind.start, "SOPS drops what stands behind a closing quote"));
    }
    let inline = Some(behind).filter(|behind| !behind.is_empty());
    Ok(Value { content: text[start..close].into(), span: start..close, style: Style::Quoted, inline, end })
}

/// A value that goes on over the lines behind a `\`. Comments and quotes have no meaning in it.
fn continued(text: &str, start: usize) -> Value<'_> {
    let mut content = String::new();
    let (mut span, mut at) = (start..start, start);
    loop {
        let line = trimmed(text, at..next_line(text, at));
        at = next_line(text, at);
        if line.is_empty() {
            break;
        }
        content += &text[line.clone()];
        span.end = line.end;
        if !content.ends_with('\\') {
            break;
        }
        content.pop();
    }
    Value { content: content.into(), span, style: Style::Line, inline: None, end: at }
}

/// A value on one line, up to a `#` or `;`; a pair of quotes around all of it is not part of it.
fn bare(text: &str, line: Range<usize>) -> Value<'_> {
    let end = line.end;
    let whole = trimmed(text, line);
    let mark = text[whole.clone()].find(COMMENT).map(|at| whole.start + at);
    let mut span = trimmed(text, whole.start..mark.unwrap_or(whole.end));
    let mut style = Style::Line;
    if in_quotes(&text[span.clone()]) {
        span = span.start + 1..span.end - 1;
        style = Style::Quoted;
    }
    let inline = mark.map(|mark| mark..whole.end);
    Value { content: text[span.clone()].into(), span, style, inline, end }
}

fn in_quotes(value: &str) -> bool {
    ['"', '\''].iter().any(|quote| {
        let inner = value.strip_prefix(*quote).and_then(|rest| rest.strip_suffix(*quote));
        inner.is_some_and(|inner| !inner.contains(*quote))
    })
}

/// A value in the first of the quotes that it can be read back from, none preferred.
fn spelled(content: &str) -> Zeroizing<String> {
    let line = |quote: &str| Zeroizing::new(format!("{quote}{content}{quote}\n"));
    let is_read_back = |line: &Zeroizing<String>| {
        value(line, 0)
            .is_ok_and(|read| read.content == content && read.inline.is_none() && read.end == line.len())
    };
    let mut lines = ["", "\"", "'", "`", TRIPLE].into_iter().map(line);
    let mut spelling = lines.find(is_read_back).unwrap_or_else(|| line(""));
    spelling.pop();
    spelling
}

/// The plaintext form of a value or comment.
pub fn spell_open(leaf: &Leaf<'_>, content: &Content<'_>) -> Zeroizing<String> {
    let text = match content {
        Content::Comment(text) => Zeroizing::new(text.clone().into_owned()),
        Content::Value(value) => Zeroizing::new(String::from_utf8_lossy(&value.bytes()).into_owned()),
    };
    match leaf.style {
        Style::Line => spelled(&text),
        _ => text,
    }
}

/// Ways to write another value in the place of a leaf of a plaintext: in its quotes, else in any.
pub fn again(text: &str, leaf: &Leaf<'_>, content: &Content<'_>) -> Vec<(Range<usize>, Zeroizing<String>)> {
    let mut ways = vec![(leaf.span.clone(), spell_open(leaf, content))];
    if leaf.style == Style::Quoted {
        let before = &text[..leaf.span.start];
        let quotes = if before.ends_with(TRIPLE) { TRIPLE.len() } else { 1 };
        let bare = Leaf { style: Style::Line, ..leaf.clone() };
        ways.push((leaf.span.start - quotes..leaf.span.end + quotes, spell_open(&bare, content)));
    }
    ways
}

/// Where a new key goes behind the last of its section, and its line, with any value.
pub fn slot(text: &str, name: &str, last: &Leaf<'_>) -> Option<(usize, String)> {
    let line = lines::whole(text, last.span.clone());
    let above = &text[line.start..last.span.start];
    let indent = &above[..above.len() - above.trim_start().len()];
    let sign = above.find(['=', ':'])?;
    let (key, value) = (&above[..sign], &above[sign + 1..]);
    let before = &key[key.trim_end().len()..];
    let behind = &value[..value.len() - value.trim_start().len()];
    let entry = format!("{indent}{name}{before}{}{behind}x", &above[sign..=sign]);
    Some((line.end, lines::add(text, line.end, &entry)))
}

/// The section `[sops]`, sorted as sops sorts it, behind a blank line.
pub fn spell_metadata(fields: &[Field]) -> String {
    let line =
        |field: &Field| format!("{} = {}\n", flatten(&field.path), spelled(&escape(&field.value)).as_str());
    let mut lines: Vec<_> = fields.iter().map(line).collect();
    lines.sort();
    format!("\n[{METADATA}]\n{}", lines.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(text: &str) -> Vec<(String, String, Style)> {
        let document = parse(text).unwrap();
        let show = |leaf: &Leaf<'_>| {
            (document.paths.aad(leaf.path), leaf.content.text().unwrap().to_owned(), leaf.style)
        };
        document.leaves.iter().map(show).collect()
    }

    #[test]
    fn values_comments_and_their_places_are_those_of_sops() {
        let text =
            "# top\ng=1\n; of a\n\n  ;of a too\n[a]\nx : \"q\" ; in\ny=`1\n2`\nz=a \\\n b ; c\ny.z=\n; end\n";
        let expected = [
            ("DEFAULT:", "top", Style::Marked),
            ("DEFAULT:g:", "1", Style::Line),
            ("a:", "of a\n;of a too", Style::Marked),
            ("a:x:", "q", Style::Quoted),
            ("a:", "in", Style::Inline),
            ("a:y:", "1\n2", Style::Quoted),
            ("a:z:", "a b ; c", Style::Line),
            ("a:y.z:", "", Style::Line),
            ("a:", "end", Style::Marked),
        ];
        let expected = expected.map(|(aad, text, style)| (aad.to_owned(), text.to_owned(), style));
        assert_eq!(leaves(text), expected);
    }

    #[test]
    fn a_comment_begins_with_its_first_filled_line_and_is_never_empty() {
        for (text, content, span) in [
            ("; a", "a", "a"),
            (";;  # a ;", ";  # a ;", ";  # a ;"),
            (";\n; a\n\n\t;\n", "; a\n;", "\n; a\n\n\t;"),
            (";", ";", ""),
            ("#\r\n#\r\n", "#", "\r\n#"),
        ] {
            let (read, place) = comment(text, 0..text.len());
            assert_eq!((&*read, &text[place]), (content, span), "{text:?}");
        }
    }

    #[test]
    fn sops_walks_a_comment_behind_its_key_and_at_the_head_of_its_section() {
        let document = parse("; a\nx=1 ; b\n; c\n[s]\n; d\ny=2\n; e\n").unwrap();
        let shown = document.items.iter().map(|item| match item {
            Item::Open(_, path) => format!("{}[", document.paths.display(*path)),
            Item::Leaf(number) => document.leaves[*number as usize].content.text().unwrap().to_owned(),
            Item::Close => "]".to_owned(),
            Item::Alias => unreachable!("only YAML has aliases"),
        });
        assert_eq!(shown.collect::<Vec<_>>().join(" "), "[ DEFAULT[ 1 a b ] s[ c 2 d e ] ]");
    }

    #[test]
    fn of_a_key_that_stands_twice_the_last_value_counts() {
        let document = parse("[a]\nx=1\n\nx=\"2\"\n[a]\nx=3\n").unwrap();
        let comments = document.leaves.iter().map(|leaf| matches!(leaf.content, Content::Comment(_)));
        assert_eq!(comments.collect::<Vec<_>>(), [true, false, false]);
        assert_eq!(document.paths.aad(document.leaves[0].path), "a:x:");
        assert_eq!(parse("x=1\ny=2\nx=3\n").unwrap_err().line, 3);
    }

    #[test]
    fn the_metadata_goes_with_the_blank_line_before_it() {
        let text = "[a]\nx=1\n\n\n[sops]\n; c\nmac=`m`\nage__list_0__map_enc=a\\nb\n[b]\ny=2\n";
        let document = parse(text).unwrap();
        let block = document.metadata.unwrap();
        assert_eq!(&text[block.cut[0].clone()], "\n[sops]\n; c\nmac=`m`\nage__list_0__map_enc=a\\nb\n");
        assert_eq!((&*block.fields[0].value, &text[block.fields[0].span.clone()]), ("m", "m"));
        assert_eq!(block.fields[1].value, "a\nb");
        assert_eq!(document.leaves.len(), 2);
        assert_eq!(parse("[sops]\n[sops]\n").unwrap_err().line, 2);
    }

    #[test]
    fn a_value_is_spelled_in_the_quotes_that_it_needs() {
        for (content, spelling) in [
            ("plain 'text' = \"x", "plain 'text' = \"x"),
            ("", ""),
            (" a", "\" a\""),
            ("\"a\"", "'\"a\"'"),
            ("a;b", "`a;b`"),
            ("a`\nb", "\"\"\"a`\nb\"\"\""),
            ("a\\", "\"a\\\""),
            ("\"\"\"", "'\"\"\"'"),
        ] {
            assert_eq!(*spelled(content), spelling);
        }
    }
}
