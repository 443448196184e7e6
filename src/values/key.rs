//! The name by which a person addresses one value: `services.web.environment.TOKEN`.
//!
//! Names are parted by dots, list positions are numbers or stand in brackets, and names with dots or
//! brackets of their own stand in brackets and quotes, as sops writes them: `["a.b"]["c"][0]`.

use std::fmt;
use std::str::FromStr;

use crate::format::Step;

/// An address as it was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key(pub(super) Vec<Part>);

/// One part of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// Between dots: a name, or a position if it stands at a list.
    Word(String),
    /// In quotes: a name.
    Name(String),
    /// In brackets: a position.
    Index(usize),
}

/// The text is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no key: write `a.b.c`, `a.list[0]`, or `[\"name.with.dots\"][\"b\"]`")]
pub struct BadKey(String);

impl FromStr for Key {
    type Err = BadKey;

    fn from_str(text: &str) -> Result<Self, BadKey> {
        let bad = || BadKey(text.to_owned());
        let mut parts = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (part, behind) = match rest.strip_prefix('[') {
                Some(inside) => bracket(inside).ok_or_else(bad)?,
                None => word(rest).ok_or_else(bad)?,
            };
            parts.push(part);
            rest = match behind.strip_prefix('.') {
                Some("") => return Err(bad()),
                Some(next) => next,
                None if behind.is_empty() || behind.starts_with('[') => behind,
                None => return Err(bad()),
            };
        }
        if parts.is_empty() { Err(bad()) } else { Ok(Self(parts)) }
    }
}

/// What stands in brackets, and what stands behind them.
fn bracket(inside: &str) -> Option<(Part, &str)> {
    let quote = inside.chars().next().filter(|first| ['"', '\''].contains(first));
    let Some(quote) = quote else {
        let (number, behind) = inside.split_once(']')?;
        return Some((Part::Index(number.parse().ok()?), behind));
    };
    let mut name = String::new();
    let mut characters = inside[1..].char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => name.push(characters.next()?.1),
            _ if character == quote => return Some((Part::Name(name), inside[at + 2..].strip_prefix(']')?)),
            other => name.push(other),
        }
    }
    None
}

fn word(rest: &str) -> Option<(Part, &str)> {
    let end = rest.find(['.', '[']).unwrap_or(rest.len());
    (end > 0).then(|| (Part::Word(rest[..end].to_owned()), &rest[end..]))
}

/// The address of a path, as it can be typed.
pub(super) fn typed(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Index(index) => text.push_str(&format!("[{index}]")),
            Step::Key(name) if name.is_empty() || name.contains(['.', '[', ']', '"', '\'', '\\']) => {
                text.push_str(&format!("[\"{}\"]", name.replace('\\', "\\\\").replace('"', "\\\"")));
            }
            Step::Key(name) => {
                text.push_str(if text.is_empty() { "" } else { "." });
                text.push_str(name);
            }
        }
    }
    text
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps: Vec<Step> = self.0.iter().map(Part::step).collect();
        f.write_str(&typed(&steps))
    }
}

impl Part {
    /// The part as a step, where nothing is known of what it stands at.
    fn step(&self) -> Step {
        match self {
            Self::Word(name) | Self::Name(name) => Step::Key(name.clone()),
            Self::Index(index) => Step::Index(*index),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_in_both_notations() {
        for (text, shown) in [
            ("a.b.c", "a.b.c"),
            ("a.0", "a.0"),
            ("a[0].b", "a[0].b"),
            ("[\"a\"]['b.c'][0]", "a[\"b.c\"][0]"),
            ("a[\"x\\\"y\"].z", "a[\"x\\\"y\"].z"),
            ("[\"a\"].b", "a.b"),
        ] {
            assert_eq!(text.parse::<Key>().unwrap().to_string(), shown, "{text}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for text in ["", ".", "a.", "a..b", "a[", "a[x]", "[\"a\"", "[\"a\"]b", "a[0]b"] {
            assert!(text.parse::<Key>().is_err(), "{text}");
        }
    }
}
