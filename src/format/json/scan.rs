//! The tokens of a JSON text, each with its place: RFC 8259, as strict as Go's `encoding/json`.
//!
//! The scanner keeps its own stack and copies nothing, so that deep or large input costs
//! neither the program's stack nor memory.

use std::borrow::Cow;
use std::ops::Range;

use memchr::memchr2;

use super::super::{Collection, Error, MAX_DEPTH};

/// A part of a JSON text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    /// `{` or `[`.
    Open(Collection),
    /// `}` or `]`.
    Close,
    /// The name of a member, quotes included.
    Key,
    /// A text, quotes included.
    Str,
    /// A number.
    Number,
    /// `true` or `false`.
    Bool(bool),
    /// `null`.
    Null,
}

/// What may come next.
#[derive(Debug, Clone, Copy)]
enum Expect {
    Value,
    ValueOrEnd,
    Key,
    KeyOrEnd,
    Colon,
    CommaOrEnd,
    Nothing,
}

/// Reads a text token by token.
pub(super) struct Scanner<'t> {
    text: &'t str,
    at: usize,
    open: Vec<Collection>,
    expect: Expect,
}

impl<'t> Scanner<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, at: 0, open: Vec::new(), expect: Expect::Value }
    }

    /// How many collections are open.
    pub(super) fn depth(&self) -> usize {
        self.open.len()
    }

    /// The next token and where it stands; `None` at the end of the text.
    pub(super) fn next(&mut self) -> Result<Option<(Token, Range<usize>)>, Error> {
        let first = self.past_separator();
        let start = self.at;
        let Some(first) = first else {
            let complete = matches!(self.expect, Expect::Nothing);
            return if complete { Ok(None) } else { self.refuse("the file ends before its JSON value does") };
        };
        let token = match (self.expect, first) {
            (Expect::Key | Expect::KeyOrEnd, b'"') => self.key()?,
            (Expect::ValueOrEnd | Expect::KeyOrEnd | Expect::CommaOrEnd, b'}' | b']') => self.close(first)?,
            (Expect::Value | Expect::ValueOrEnd, _) => self.value(first)?,
            (Expect::Key | Expect::KeyOrEnd, _) => return self.refuse("expected a name in double quotes"),
            (Expect::Colon, _) => return self.refuse("expected `:` behind the name"),
            (Expect::CommaOrEnd, _) => return self.refuse("expected `,` or the end of the collection"),
            (Expect::Nothing, _) => return self.refuse("more follows behind the end of the JSON value"),
        };
        Ok(Some((token, start..self.at)))
    }

    /// Goes to the next token, over a comma or colon that is due; gives its first byte.
    fn past_separator(&mut self) -> Option<u8> {
        let first = self.peek();
        self.expect = match (self.expect, first, self.open.last()) {
            (Expect::Colon, Some(b':'), _) | (Expect::CommaOrEnd, Some(b','), Some(Collection::List)) => {
                Expect::Value
            }
            (Expect::CommaOrEnd, Some(b','), Some(Collection::Map)) => Expect::Key,
            _ => return first,
        };
        self.at += 1;
        self.peek()
    }

    /// The next byte behind white space.
    fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while matches!(bytes.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
        bytes.get(self.at).copied()
    }

    /// An error where the scanner stands.
    pub(super) fn refuse<T>(&self, reason: &str) -> Result<T, Error> {
        Err(Error::at(self.text, self.at, reason))
    }

    fn key(&mut self) -> Result<Token, Error> {
        self.string()?;
        self.expect = Expect::Colon;
        Ok(Token::Key)
    }

    fn close(&mut self, end: u8) -> Result<Token, Error> {
        let fits = match self.open.last() {
            Some(Collection::Map) => end == b'}',
            Some(Collection::List) => end == b']',
            None => false,
        };
        if !fits {
            return self.refuse("this bracket closes what is not open");
        }
        self.open.pop();
        self.at += 1;
        self.end_value();
        Ok(Token::Close)
    }

    fn end_value(&mut self) {
        self.expect = if self.open.is_empty() { Expect::Nothing } else { Expect::CommaOrEnd };
    }

    fn value(&mut self, first: u8) -> Result<Token, Error> {
        let token = match first {
            b'{' => return self.open(Collection::Map, Expect::KeyOrEnd),
            b'[' => return self.open(Collection::List, Expect::ValueOrEnd),
            b'"' => {
                self.string()?;
                Token::Str
            }
            b'-' | b'0'..=b'9' => {
                self.number()?;
                Token::Number
            }
            _ => self.word()?,
        };
        self.end_value();
        Ok(token)
    }

    fn open(&mut self, kind: Collection, expect: Expect) -> Result<Token, Error> {
        if self.open.len() == MAX_DEPTH {
            return self.refuse(&format!("nested deeper than {MAX_DEPTH} levels"));
        }
        self.open.push(kind);
        self.expect = expect;
        self.at += 1;
        Ok(Token::Open(kind))
    }

    fn word(&mut self) -> Result<Token, Error> {
        let rest = &self.text[self.at..];
        let words = [("true", Token::Bool(true)), ("false", Token::Bool(false)), ("null", Token::Null)];
        let Some((word, token)) = words.into_iter().find(|(word, _)| rest.starts_with(word)) else {
            return self.refuse("expected a JSON value");
        };
        self.at += word.len();
        Ok(token)
    }

    fn number(&mut self) -> Result<(), Error> {
        let bytes = self.text.as_bytes();
        self.at += usize::from(bytes[self.at] == b'-');
        match bytes.get(self.at) {
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        if bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = bytes.get(self.at) {
            self.at += 1;
            self.at += usize::from(matches!(bytes.get(self.at), Some(b'+' | b'-')));
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Error> {
        let count = self.text[self.at..].bytes().take_while(u8::is_ascii_digit).count();
        if count == 0 {
            return self.refuse("expected a digit");
        }
        self.at += count;
        Ok(())
    }

    /// Goes behind the closing quote.
    fn string(&mut self) -> Result<(), Error> {
        let bytes = self.text.as_bytes();
        self.at += 1;
        loop {
            let rest = &bytes[self.at..];
            let end = memchr2(b'"', b'\\', rest);
            let plain = &rest[..end.unwrap_or(rest.len())];
            // All of it at once: long texts are mostly plain.
            if plain.iter().fold(false, |found, byte| found | (*byte < 0x20)) {
                self.at += plain.iter().position(|byte| *byte < 0x20).unwrap_or(0);
                return self
                    .refuse("line breaks and control characters in quotes must be written as escapes");
            }
            self.at += plain.len();
            match end.map(|end| rest[end]) {
                Some(b'\\') => self.escape()?,
                Some(_) => {
                    self.at += 1;
                    return Ok(());
                }
                None => return self.refuse("the file ends inside quotes"),
            }
        }
    }

    fn escape(&mut self) -> Result<(), Error> {
        let rest = &self.text.as_bytes()[self.at + 1..];
        self.at += match rest {
            [b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => 2,
            [b'u', digits @ ..] if digits.len() >= 4 && digits[..4].iter().all(u8::is_ascii_hexdigit) => 6,
            _ => return self.refuse("JSON has no such escape"),
        };
        Ok(())
    }
}

/// What a text in quotes says. An escaped half of a surrogate pair is U+FFFD, as in Go.
pub(super) fn unquote(quoted: &str) -> Cow<'_, str> {
    let inner = &quoted[1..quoted.len() - 1];
    let Some(first) = inner.find('\\') else { return Cow::Borrowed(inner) };
    let mut out = String::with_capacity(inner.len());
    out.push_str(&inner[..first]);
    let mut rest = &inner[first..];
    while let Some(escape) = rest.strip_prefix('\\') {
        let (character, length) = escaped(escape);
        out.push(character);
        let plain = &escape[length..];
        let end = plain.find('\\').unwrap_or(plain.len());
        out.push_str(&plain[..end]);
        rest = &plain[end..];
    }
    Cow::Owned(out)
}

/// The character that an escape stands for, and how long it is behind its backslash.
fn escaped(escape: &str) -> (char, usize) {
    let unit = |at: usize| escape.get(at..at + 4).and_then(|digits| u16::from_str_radix(digits, 16).ok());
    match escape.as_bytes()[0] {
        b'b' => ('\u{8}', 1),
        b'f' => ('\u{c}', 1),
        b'n' => ('\n', 1),
        b'r' => ('\r', 1),
        b't' => ('\t', 1),
        b'u' => {
            let first = unit(1).expect("the scanner saw four digits");
            let second = escape[5..].starts_with("\\u").then(|| unit(7)).flatten();
            match char::decode_utf16([first].into_iter().chain(second)).next() {
                Some(Ok(character)) => (character, if character.len_utf16() == 2 { 11 } else { 5 }),
                Some(Err(_)) | None => (char::REPLACEMENT_CHARACTER, 5),
            }
        }
        itself => (char::from(itself), 1),
    }
}
