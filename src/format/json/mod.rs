//! JSON as SOPS reads it, with the span of every value.
//!
//! Order and duplicate names stay. What sops would drop or misread is refused: text behind the
//! value, and names that Go takes for `sops`, as it compares them without regard to case. How a
//! number is typed depends on the version of sops; here its digits decide. (getsops/sops v3.13.2,
//! `stores/json/store.go`.)

mod metadata;
mod number;
mod scan;

use std::borrow::Cow;
use std::ops::Range;

use zeroize::Zeroizing;

use super::member::Members;
use super::{
    Block, Collection, Content, Document, Error, Format, Item, LAYOUT, Leaf, PathId, Paths, Scalar, Style,
};
use scan::{Scanner, Token, unquote};

pub use metadata::{compact, member, pretty, tree};
pub use number::{before_integers, whole};

/// Reads a JSON text whose value is an object.
///
/// Fails at what is no JSON, and at what sops would refuse, drop or misread.
pub fn parse(text: &str) -> Result<Document<'_>, Error> {
    if text.starts_with('\u{feff}') {
        return Err(Error::at(text, 0, "sops reads no JSON with a byte order mark: save it without"));
    }
    let mut walk = Walk {
        text,
        scanner: Scanner::new(text),
        document: Document::default(),
        open: Vec::new(),
        key: Paths::ROOT,
        member: 0,
        members: Members::default(),
    };
    walk.document.reserve(text);
    while let Some((token, span)) = walk.scanner.next()? {
        walk.step(token, span)?;
    }
    Ok(walk.finish())
}

struct Walk<'t> {
    text: &'t str,
    scanner: Scanner<'t>,
    document: Document<'t>,
    /// The open collections.
    open: Vec<(Collection, PathId)>,
    /// The path of the member whose value is to come.
    key: PathId,
    /// Where the current member of the top begins.
    member: usize,
    members: Members,
}

impl<'t> Walk<'t> {
    fn step(&mut self, token: Token, span: Range<usize>) -> Result<(), Error> {
        if self.open.is_empty() && token != Token::Open(Collection::Map) {
            let reason = "the top level is no object in `{…}`, and sops encrypts no other JSON";
            return Err(Error::at(self.text, span.start, reason));
        }
        let text: &'t str = self.text;
        let written = &text[span.clone()];
        let scalar = match token {
            Token::Key => return self.key(&unquote(written), span),
            Token::Open(kind) => {
                self.open(kind, span.end);
                return Ok(());
            }
            Token::Close => {
                self.document.items.push(Item::Close);
                self.open.pop();
                self.end_value(span.end);
                return Ok(());
            }
            Token::Str => Scalar::str(unquote(written)),
            Token::Number => number::read(written).map_err(|reason| Error::at(text, span.start, reason))?,
            Token::Bool(truth) => Scalar::Bool(truth),
            Token::Null => Scalar::Null,
        };
        self.leaf(scalar, span);
        Ok(())
    }

    fn key(&mut self, name: &str, span: Range<usize>) -> Result<(), Error> {
        let parent = self.open.last().map_or(Paths::ROOT, |(_, path)| *path);
        if self.open.len() == 1 {
            self.member = span.start;
            if name == "sops" {
                return self.metadata(span);
            }
            if name.to_uppercase() == "SOPS" {
                return Err(Error::at(
                    self.text,
                    span.start,
                    "sops would take this name for its own block `sops`",
                ));
            }
        }
        self.key = self.document.paths.child(parent, name);
        Ok(())
    }

    fn metadata(&mut self, key: Range<usize>) -> Result<(), Error> {
        if self.document.metadata.is_some() {
            return Err(Error::at(self.text, key.start, "the key `sops` stands here twice"));
        }
        let (fields, end) = metadata::read(self.text, &mut self.scanner)?;
        self.members.add_block(key.start..end);
        self.document.metadata = Some(Block { cut: Vec::new(), fields });
        Ok(())
    }

    /// The path of the value to come.
    fn place(&self) -> PathId {
        match self.open.last() {
            Some((Collection::List, path)) => *path,
            Some((Collection::Map, _)) | None => self.key,
        }
    }

    fn open(&mut self, kind: Collection, end: usize) {
        let path = self.place();
        if self.open.is_empty() {
            self.members = Members::new(end);
        }
        self.document.items.push(Item::Open(kind, path));
        self.open.push((kind, path));
    }

    fn leaf(&mut self, scalar: Scalar<'t>, span: Range<usize>) {
        let number = u32::try_from(self.document.leaves.len()).expect("a text has fewer than 2^32 leaves");
        self.document.items.push(Item::Leaf(number));
        self.end_value(span.end);
        let (path, content) = (self.place(), Content::Value(scalar));
        self.document.leaves.push(Leaf { path, content, span, style: Style::Json, alias: None });
    }

    fn end_value(&mut self, end: usize) {
        if self.open.len() == 1 {
            self.members.add(self.member..end);
        }
    }

    fn finish(mut self) -> Document<'t> {
        self.document.tail = self.members.tail();
        if let Some(block) = &mut self.document.metadata {
            block.cut = self.members.cut(self.text);
        }
        self.document
    }
}

/// How a JSON text is sealed: value by value, or whole. `None` if it has no `sops` block with metadata.
///
/// `{"data": "…", "sops": {…}}` is a whole file, unless there is a [layout entry](LAYOUT), which those never have.
pub fn sealed(text: &str) -> Option<Format> {
    if !text.starts_with(['{', ' ', '\t', '\n', '\r']) || !text.contains("\"sops\"") {
        return None;
    }
    let mut scanner = Scanner::new(text);
    let (mut name, mut names) = (Cow::Borrowed(""), 0);
    let (mut data, mut metadata, mut layout) = (false, false, false);
    // What breaks further down is for the one who opens it to tell.
    while let Ok(Some((token, span))) = scanner.next() {
        match (scanner.depth(), token) {
            (1, Token::Key) => {
                name = unquote(&text[span]);
                names += 1;
            }
            (1, Token::Str) => data |= name == "data",
            (2, Token::Key) if name == "sops" => {
                let field = unquote(&text[span]);
                metadata |= ["lastmodified", "mac", "version"].contains(&&*field);
                layout |= field == LAYOUT;
            }
            _ => {}
        }
    }
    let whole = names == 2 && data && !layout;
    metadata.then_some(if whole { Format::Binary } else { Format::Json })
}

/// The sealed form of a value.
pub fn spell_sealed(sealed: &str) -> String {
    format!("\"{sealed}\"")
}

/// The plaintext form of a value.
pub fn spell_open(content: &Content<'_>) -> Zeroizing<String> {
    Zeroizing::new(match content {
        Content::Value(Scalar::Null) => "null".to_owned(),
        Content::Value(Scalar::Bool(truth)) => truth.to_string(),
        Content::Value(scalar @ (Scalar::Int(_) | Scalar::Float(_))) => {
            String::from_utf8_lossy(&scalar.bytes()).into_owned()
        }
        Content::Value(scalar @ (Scalar::Str(_) | Scalar::Time(_))) => {
            quote(&String::from_utf8_lossy(&scalar.bytes()))
        }
        Content::Comment(text) => quote(text),
    })
}

/// A text in quotes, with an escape only where one is needed.
pub fn quote(text: &str) -> String {
    serde_json::to_string(text).expect("a text is written into memory")
}

#[cfg(test)]
mod tests;
