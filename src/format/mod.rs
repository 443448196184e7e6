//! The stores of SOPS: how each file format is read into leaves, and how a leaf is spelled.
//!
//! A [`Document`] is a view on a text: where each value and comment stands, what it means, and
//! which part is the `sops` block. Nothing is ever re-emitted: to seal or to open a document is
//! to replace the spans of some leaves, and all other bytes stay as they are.

pub mod binary;
pub mod dotenv;
pub mod entry;
mod flat;
pub mod ini;
pub mod json;
mod lines;
mod member;
mod paths;
mod room;
pub mod scalar;
pub mod yaml;

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroU32;
use std::ops::Range;

use zeroize::Zeroizing;

pub use entry::Obstacle;
pub use paths::{PathId, Paths};
pub use scalar::Scalar;

/// How deep collections may nest; deeper input is refused, so that it cannot exhaust the stack.
const MAX_DEPTH: usize = 200;

/// Why a text could not be read. Says where, never what stands there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {reason}")]
pub struct Error {
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    /// What is wrong there.
    pub reason: String,
}

impl Error {
    /// An error at a byte offset of a text.
    pub fn at(text: &str, offset: usize, reason: impl Into<String>) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        Self {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            reason: reason.into(),
        }
    }

    /// Whether it is a merge that was not resolved.
    pub fn is_unmerged(&self) -> bool {
        self.reason == UNMERGED
    }
}

const UNMERGED: &str = "unresolved merge: conflict markers";

/// The first line of a conflict that git left in a text.
fn unmerged(text: &str) -> Option<Error> {
    let mark = |mark: &str| {
        let lines = text.split_inclusive('\n').scan(0, |at, line| {
            *at += line.len();
            Some((*at - line.len(), line))
        });
        lines.into_iter().find(|(_, line)| line.starts_with(mark)).map(|(at, _)| at)
    };
    let (begin, end) = (mark("<<<<<<<")?, mark(">>>>>>>")?);
    (begin < end).then(|| Error::at(text, begin, UNMERGED))
}

/// A store of SOPS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// `KEY=value` lines.
    Dotenv,
    /// INI, as gopkg.in/ini.v1 reads it.
    Ini,
    /// YAML, as go-yaml v3 reads it.
    Yaml,
    /// JSON, as Go reads it.
    Json,
    /// Any file, sealed as one value in a JSON object.
    Binary,
}

impl Format {
    /// The store that a path asks for: dotenv for `.env`, `*.env` and `.env.*`, but not for their
    /// examples; INI for `.ini`; YAML for `.yml` and `.yaml`; JSON for `.json`; binary for all others.
    pub fn of_path(path: &str) -> Self {
        let name = path.rsplit('/').next().unwrap_or(path);
        let example = ["example", "sample", "template", "dist"];
        let is_env = name.ends_with(".env") || name.starts_with(".env.");
        if is_env && !example.iter().any(|word| name.rsplit('.').next() == Some(word)) {
            Self::Dotenv
        } else if name.ends_with(".ini") {
            Self::Ini
        } else if name.ends_with(".yml") || name.ends_with(".yaml") {
            Self::Yaml
        } else if name.ends_with(".json") {
            Self::Json
        } else {
            Self::Binary
        }
    }

    /// The store whose values are sealed one by one; none for whole files.
    pub fn store(self) -> Option<Store> {
        match self {
            Self::Dotenv => Some(Store::Dotenv),
            Self::Yaml => Some(Store::Yaml),
            Self::Json => Some(Store::Json),
            Self::Ini => Some(Store::Ini),
            Self::Binary => None,
        }
    }

    /// The store's name, for messages and options.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dotenv => "dotenv",
            Self::Ini => "ini",
            Self::Yaml => "yaml",
            Self::Json => "json",
            Self::Binary => "binary",
        }
    }
}

/// A store whose values are sealed one by one, in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// `KEY=value` lines.
    Dotenv,
    /// INI, as gopkg.in/ini.v1 reads it.
    Ini,
    /// YAML, as go-yaml v3 reads it.
    Yaml,
    /// JSON, as Go reads it.
    Json,
}

impl Store {
    /// Reads a plaintext that is to be sealed: strictly, so that no secret is taken for structure.
    pub fn parse_plaintext(self, text: &str) -> Result<Document<'_>, Error> {
        fits(text)?;
        let parsed = match self {
            Self::Dotenv => dotenv::parse_strictly(text),
            Self::Ini => ini::parse(text),
            Self::Yaml => yaml::parse(text),
            Self::Json => json::parse(text),
        };
        parsed.map_err(|error| unmerged(text).unwrap_or(error))
    }

    /// Reads a plaintext or sealed text as SOPS does. A sealed text has [`Document::metadata`].
    pub fn parse(self, text: &str) -> Result<Document<'_>, Error> {
        fits(text)?;
        match self {
            Self::Dotenv => dotenv::parse(text),
            Self::Ini => ini::parse(text),
            Self::Yaml => yaml::parse(text),
            Self::Json => json::parse(text),
        }
    }

    /// The text that takes a leaf's place when it is sealed.
    pub fn spell_sealed(self, leaf: &Leaf<'_>, sealed: &str) -> String {
        match self {
            Self::Dotenv => dotenv::spell_sealed(leaf, sealed),
            Self::Ini => sealed.to_owned(),
            Self::Yaml => yaml::spell::sealed(leaf, sealed),
            Self::Json => json::spell_sealed(sealed),
        }
    }

    /// The text that takes a sealed leaf's place when it is opened.
    pub fn spell_open(self, text: &str, leaf: &Leaf<'_>, content: &Content<'_>) -> Zeroizing<String> {
        match self {
            Self::Dotenv => dotenv::spell_open(content),
            Self::Ini => ini::spell_open(leaf, content),
            Self::Yaml => yaml::spell::open(text, leaf, content),
            Self::Json => json::spell_open(content),
        }
    }

    /// What takes the place of a sealed leaf and of the frame around it, where the frame does not fit what
    /// the leaf says: only a hand makes such files.
    pub fn reframe(
        self,
        text: &str,
        leaf: &Leaf<'_>,
        content: &Content<'_>,
    ) -> Option<(Range<usize>, Zeroizing<String>)> {
        match self {
            Self::Dotenv | Self::Ini | Self::Json => None,
            Self::Yaml => yaml::spell::reframe(text, leaf, content),
        }
    }

    /// The metadata as this store writes a whole `sops` block in that place; lines end with a line feed.
    pub fn spell_metadata(self, fields: &[Field], tail: Tail) -> String {
        match (self, tail) {
            (Self::Dotenv, _) => dotenv::spell_metadata(fields),
            (Self::Ini, _) => ini::spell_metadata(fields),
            (Self::Yaml, Tail::Lines(_)) => yaml::spell::metadata(fields),
            (Self::Yaml, Tail::Member(_, neighbour)) => json::compact(fields, neighbour),
            (Self::Json, Tail::Lines(_)) => json::member(fields, Neighbour::None),
            (Self::Json, Tail::Member(_, neighbour)) => json::member(fields, neighbour),
        }
    }

    /// A new value for a metadata field, in place of its old spelling.
    pub fn spell_field(self, old: &str, value: &str) -> String {
        match self {
            Self::Dotenv | Self::Ini => flat::escape(value),
            Self::Yaml if old.starts_with("ENC[") => value.to_owned(),
            Self::Yaml => yaml::spell::double(value),
            Self::Json => json::quote(value),
        }
    }

    /// A clear value as older versions of sops read it, if that is another one.
    pub fn older_reading(self, text: &str, leaf: &Leaf<'_>) -> Option<Scalar<'static>> {
        match self {
            Self::Dotenv | Self::Ini | Self::Yaml => None,
            Self::Json => json::before_integers(text, leaf),
        }
    }
}

/// Texts are numbered with 32 bits.
fn fits(text: &str) -> Result<(), Error> {
    match u32::try_from(text.len()) {
        Ok(_) => Ok(()),
        Err(_) => Err(Error::at(text, 0, "larger than 4 GiB: only whole-file mode can seal it")),
    }
}

/// A text, read.
#[derive(Debug, Default)]
pub struct Document<'t> {
    /// The names on the way to the leaves.
    pub paths: Paths,
    /// Values and comments in document order.
    pub leaves: Vec<Leaf<'t>>,
    /// The collections around the leaves, in the order in which SOPS walks them.
    pub items: Vec<Item>,
    /// Where aliases stand.
    aliases: Vec<Range<usize>>,
    /// The `sops` block of a sealed text.
    pub metadata: Option<Block>,
    /// Where a `sops` block belongs when the text gets one.
    pub tail: Tail,
}

impl Document<'_> {
    /// Makes room for the leaves of a text: about one a line, each with a name of its own.
    pub fn reserve(&mut self, text: &str) {
        let lines = text.bytes().filter(|byte| *byte == b'\n').count();
        // Blank lines must not cost memory.
        let leaves = lines.min(text.len() / 32);
        self.leaves.reserve_exact(leaves);
        self.paths.reserve(leaves);
    }

    /// Notes an alias that stands here.
    pub fn add_alias(&mut self, span: Range<usize>) -> AliasId {
        self.aliases.push(span);
        let number = u32::try_from(self.aliases.len()).ok().and_then(NonZeroU32::new);
        AliasId(number.expect("a text has fewer than 2^32 aliases, and this one"))
    }

    /// Where the aliases stand among the items, in order.
    pub fn alias_items(&self) -> Vec<usize> {
        let items = self.items.iter().enumerate();
        let aliases = items.filter(|(_, item)| **item == Item::Alias).map(|(index, _)| index);
        if self.aliases.is_empty() { Vec::new() } else { aliases.collect() }
    }

    /// The number of the alias that a leaf is a copy by, from 0.
    pub fn alias_number(&self, leaf: &Leaf<'_>) -> Option<usize> {
        leaf.alias.map(|alias| alias.0.get() as usize - 1)
    }

    /// Where the alias stands that a leaf is a copy by.
    pub fn alias(&self, leaf: &Leaf<'_>) -> Option<&Range<usize>> {
        leaf.alias.map(|alias| &self.aliases[alias.0.get() as usize - 1])
    }
}

/// One step of a walk through a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item {
    /// A collection begins; the path is its own.
    Open(Collection, PathId),
    /// A value or a comment, by its number among the leaves.
    Leaf(u32),
    /// A YAML alias: the next value or collection is a copy of what it names.
    Alias,
    /// The innermost collection ends.
    Close,
}

/// The kinds of collections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Collection {
    /// Values by name.
    Map,
    /// Values by position, which adds nothing to a path.
    List,
}

/// Where a `sops` block belongs in a plaintext.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    /// At this offset, as lines of its own.
    Lines(usize),
    /// At this offset, as the last member of the outermost `{…}`.
    Member(usize, Neighbour),
}

/// Whether a member is the first of its collection, or follows another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Neighbour {
    /// It stands alone.
    None,
    /// A comma parts it from the one before.
    Before,
}

impl Default for Tail {
    fn default() -> Self {
        Self::Lines(0)
    }
}

impl Tail {
    /// The offset.
    pub fn offset(self) -> usize {
        match self {
            Self::Lines(at) | Self::Member(at, _) => at,
        }
    }

    /// Whether a block has the same form in both places.
    pub fn is_like(self, other: Self) -> bool {
        match (self, other) {
            (Self::Lines(_), Self::Lines(_)) => true,
            (Self::Member(_, one), Self::Member(_, other)) => one == other,
            (Self::Lines(_), Self::Member(..)) | (Self::Member(..), Self::Lines(_)) => false,
        }
    }
}

/// A value or a comment of a document.
#[derive(Debug, Clone)]
pub struct Leaf<'t> {
    /// The keys above it: for a comment those of its container.
    pub path: PathId,
    /// What it says.
    pub content: Content<'t>,
    /// The bytes to replace when it is sealed or opened.
    pub span: Range<usize>,
    /// How those bytes are written.
    pub style: Style,
    /// Set on the copies of a leaf that a YAML alias makes, to where the alias stands: they count, but have no
    /// text of their own.
    pub alias: Option<AliasId>,
}

/// An alias of a document, by number: see [`Document::alias`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AliasId(NonZeroU32);

/// What a leaf says.
#[derive(Clone, PartialEq)]
pub enum Content<'t> {
    /// A value.
    Value(Scalar<'t>),
    /// The text of a comment after its `#`.
    Comment(Cow<'t, str>),
}

impl fmt::Debug for Content<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(scalar) => scalar.fmt(f),
            Self::Comment(_) => f.write_str("Comment([secret])"),
        }
    }
}

impl Content<'_> {
    /// The same content, borrowed.
    pub fn borrow(&self) -> Content<'_> {
        match self {
            Self::Value(Scalar::Str(text)) => Content::Value(Scalar::Str(Cow::Borrowed(text))),
            Self::Value(other) => Content::Value(other.clone()),
            Self::Comment(text) => Content::Comment(Cow::Borrowed(text)),
        }
    }

    /// True for what SOPS never seals: null, the empty string, the empty comment.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Value(Scalar::Null) => true,
            Self::Value(Scalar::Str(text)) => text.is_empty(),
            Self::Value(_) => false,
            Self::Comment(text) => text.is_empty(),
        }
    }

    /// The text of a string or comment, where a sealed value could stand.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Value(Scalar::Str(text)) => std::str::from_utf8(text).ok(),
            Self::Comment(text) => Some(text),
            Self::Value(_) => None,
        }
    }
}

/// How a leaf is written, as far as its replacement depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// The value of a dotenv line, or of an INI line without quotes.
    Line,
    /// An INI value in quotes, which are not part of the span.
    Quoted,
    /// INI comment lines, behind the first mark.
    Marked,
    /// A comment behind the value on an INI line, behind its mark. Other readers of INI take it for part of the value,
    /// and so it is sealed when the value is.
    Inline,
    /// A dotenv line that SOPS could not read: white space, or an indented comment.
    Odd,
    /// A comment, `#` included in the span.
    Hash,
    /// A SOPS comment that stands as an item of a YAML list, `- ENC[…]`, dash included in the span.
    ListComment,
    /// A YAML plain scalar.
    Plain(Context),
    /// A YAML scalar in single quotes.
    Single(Context),
    /// A YAML scalar in double quotes.
    Double(Context),
    /// The content lines of a YAML block scalar.
    Block(BlockStyle),
    /// A YAML block scalar of blank lines only: there is no place for a sealed value.
    BlankBlock,
    /// A JSON value, quotes included.
    Json,
}

/// Whether a YAML scalar stands in block or in flow context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Context {
    /// On lines of its own nesting.
    Block,
    /// Inside `[…]` or `{…}`.
    Flow,
}

/// The parts of a block scalar's header, and where its content stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockStyle {
    /// `>` rather than `|`.
    pub folded: bool,
    /// The columns before each content line.
    pub indent: u32,
    /// The header line ends with CR LF.
    pub crlf: bool,
    /// The last content line has no line break: the text ends there.
    pub unterminated: bool,
}

/// The name of hlx's own field in the `sops` block: the layout entry (`docs/format.md`).
pub const LAYOUT: &str = "hlx";

/// The `sops` block of a sealed text.
#[derive(Debug)]
pub struct Block {
    /// What to cut to leave the data alone, in order.
    pub cut: Vec<Range<usize>>,
    /// Its values, in document order.
    pub fields: Vec<Field>,
}

/// One value of the `sops` block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Where it stands in the block.
    pub path: Vec<Step>,
    /// Its text.
    pub value: String,
    /// Where its spelling stands in the text; empty for fields that are still to be written.
    pub span: Range<usize>,
}

/// One step on the way to a metadata field.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// A name in a mapping.
    Key(String),
    /// A position in a list.
    Index(usize),
}

impl Field {
    /// A field directly under `sops`.
    pub fn top(name: &str, value: impl Into<String>) -> Self {
        Self { path: vec![Step::Key(name.to_owned())], value: value.into(), span: 0..0 }
    }

    /// The field's name, if it stands directly under `sops`.
    pub fn top_name(&self) -> Option<&str> {
        match &self.path[..] {
            [Step::Key(name)] => Some(name),
            _ => None,
        }
    }
}

/// True if a conflict stands in a text, as git marks it.
pub fn has_markers(content: &[u8]) -> bool {
    let has = |mark: &[u8]| content.split(|byte| *byte == b'\n').any(|line| line.starts_with(mark));
    has(b"<<<<<<< ") && has(b">>>>>>> ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_follows_the_name() {
        for (path, format) in [
            (".env", Format::Dotenv),
            ("a/prod.env", Format::Dotenv),
            (".env.local", Format::Dotenv),
            (".env.example", Format::Binary),
            ("php.ini", Format::Ini),
            ("compose.yml", Format::Yaml),
            ("x/values.yaml", Format::Yaml),
            ("daemon.json", Format::Json),
            ("cert.pem", Format::Binary),
        ] {
            assert_eq!(Format::of_path(path), format, "{path}");
        }
    }

    #[test]
    fn an_error_tells_line_and_column() {
        let error = Error::at("a\nbé c", 6, "odd");
        assert_eq!(error.to_string(), "line 2, column 4: odd");
    }
}
