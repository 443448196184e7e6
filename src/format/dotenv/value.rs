//! What the text behind `NAME=` means to Compose, and how to write a value so that Compose reads it.
//!
//! SOPS takes that text as it is; Compose takes quotes, escapes and inline comments out before a
//! container sees it. (compose-go v2, `dotenv/parser.go`. Variables, `$NAME`, are not expanded here.)

use std::borrow::Cow;
use std::ops::Range;

use zeroize::Zeroizing;

/// What Compose reads, given the text behind the `=`.
pub fn read(text: &str) -> Zeroizing<String> {
    let value = &text[extent(text)];
    let Some(quote) = value.chars().next().filter(|first| ['"', '\''].contains(first)) else {
        return dollars(value);
    };
    match (quote, inner(&value[1..], quote)) {
        ('"', Some((inner, _))) => dollars(&unescape(&inner)),
        (_, Some((inner, _))) => inner,
        (_, None) => dollars(value),
    }
}

/// Where the value stands, quotes included, between leading spaces and an inline comment.
fn extent(text: &str) -> Range<usize> {
    let start = text.len() - text.trim_start_matches([' ', '\t']).len();
    let value = &text[start..];
    let quote = value.chars().next().filter(|first| ['"', '\''].contains(first));
    let quoted = quote.and_then(|quote| inner(&value[1..], quote));
    let length = match quoted {
        Some((_, length)) => length + 2,
        None => value.split(" #").next().unwrap_or(value).trim_end().len(),
    };
    start..start + length
}

/// The text up to the quote that closes, without the backslashes before inner quotes, and its length as written.
fn inner(text: &str, quote: char) -> Option<(Zeroizing<String>, usize)> {
    let mut inner = Zeroizing::new(String::with_capacity(text.len()));
    let mut escaped = false;
    for (at, character) in text.char_indices() {
        if character == quote && !escaped {
            return Some((inner, at));
        }
        if character == '\\' && !escaped {
            escaped = true;
            continue;
        }
        if escaped && character != quote {
            inner.push('\\');
        }
        escaped = false;
        inner.push(character);
    }
    None
}

/// The escapes that Compose knows in double quotes.
fn unescape(text: &str) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::with_capacity(text.len()));
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let (character, length) = escape(&rest[at + 1..]);
        match character {
            Some(character) => out.push_str(&character),
            None => out.push('\\'),
        }
        rest = &rest[at + 1 + length..];
    }
    out.push_str(rest);
    out
}

/// What the escape behind a backslash stands for, and its length.
fn escape(rest: &str) -> (Option<Cow<'static, str>>, usize) {
    let one = |text: &'static str| (Some(Cow::Borrowed(text)), 1);
    match rest.bytes().next() {
        Some(b'a') => one("\u{7}"),
        Some(b'b') => one("\u{8}"),
        Some(b'f') => one("\u{c}"),
        Some(b'n') => one("\n"),
        Some(b'r') => one("\r"),
        Some(b't') => one("\t"),
        Some(b'v') => one("\u{b}"),
        Some(b'"') => one("\""),
        Some(b'\\') => one("\\"),
        // Left for the expansion, where two of them are one.
        Some(b'$') => one("$$"),
        Some(b'0') => octal(&rest[1..]),
        _ => (None, 0),
    }
}

fn octal(rest: &str) -> (Option<Cow<'static, str>>, usize) {
    let digits = rest.get(..3).filter(|digits| digits.bytes().all(|digit| (b'0'..b'8').contains(&digit)));
    let code = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok());
    match code {
        Some(code) => (Some(char::from(code).to_string().into()), 4),
        None => (None, 0),
    }
}

/// Two dollar signs are one.
fn dollars(text: &str) -> Zeroizing<String> {
    Zeroizing::new(text.replace("$$", "$"))
}

/// A value as the text behind the `=`, in the quotes that stood there where it fits into them, and
/// with the comment that stood there.
///
/// `None` if Compose could not read it from any spelling.
pub fn spell(old: &str, value: &str) -> Option<Zeroizing<String>> {
    let place = extent(old);
    let order = match old[place.clone()].chars().next() {
        Some('"') => [Quotes::Double, Quotes::Single, Quotes::None],
        Some('\'') => [Quotes::Single, Quotes::Double, Quotes::None],
        _ => [Quotes::None, Quotes::Single, Quotes::Double],
    };
    let around = |quotes: Quotes| {
        let spelled = Zeroizing::new(quotes.around(value)?);
        Some(Zeroizing::new(format!("{}{}{}", &old[..place.start], *spelled, &old[place.end..])))
    };
    order.into_iter().filter_map(around).find(|text| *read(text) == value)
}

#[derive(Clone, Copy)]
enum Quotes {
    None,
    Single,
    Double,
}

impl Quotes {
    fn around(self, value: &str) -> Option<String> {
        // Other readers could take the inner lines of a quoted value for entries.
        let one_line = !value.contains(['\n', '\r', '\0']);
        match self {
            Self::None => is_plain(value).then(|| value.to_owned()),
            Self::Single => one_line.then(|| format!("'{value}'")),
            Self::Double => (!value.contains('\0')).then(|| double(value)),
        }
    }
}

/// Characters that mean nothing to Compose or to a shell.
fn is_plain(value: &str) -> bool {
    value.chars().all(|character| character.is_alphanumeric() || "_-./:@%+=,^".contains(character))
}

fn double(value: &str) -> String {
    let mut out = String::with_capacity(2 * value.len() + 2);
    out.push('"');
    for character in value.chars() {
        match character {
            '"' | '\\' | '$' => out.extend(['\\', character]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_read_as_compose_reads_it() {
        for (text, value) in [
            ("plain", "plain"),
            (" spaced  # comment", "spaced"),
            ("a#b", "a#b"),
            (" # c", "# c"),
            ("pa$$w0rd\r", "pa$w0rd"),
            ("'single $HOME \\n' # c", "single $HOME \\n"),
            ("\"double \\\"q\\\" \\\\ \\n \\$x\"", "double \"q\" \\ \n $x"),
            ("\"two\nlines\"", "two\nlines"),
            ("\"open", "\"open"),
            ("'it\\'s'", "it's"),
            ("\"\\0101\"", "A"),
            ("", ""),
        ] {
            assert_eq!(*read(text), value, "{text}");
        }
    }

    #[test]
    fn a_new_value_keeps_the_quotes_that_stood_there() {
        for (old, value, text) in [
            ("x", "y", "y"),
            ("x", "two words", "'two words'"),
            ("x", "pa$$", "'pa$$'"),
            ("x", "it's", "\"it's\""),
            ("x", "a\nb", "\"a\\nb\""),
            ("\"x\"", "y", "\"y\""),
            ("\"x\"", "$a \"b\" \\", "\"\\$a \\\"b\\\" \\\\\""),
            ("'x' # c", "y", "'y' # c"),
            ("x # c", "y z", "'y z' # c"),
            ("x # c", "", "'' # c"),
            ("'x'", "ends in \\", "\"ends in \\\\\""),
            (" x", "", " "),
        ] {
            assert_eq!(**spell(old, value).as_ref().unwrap(), *text, "{old} {value}");
        }
        assert!(spell("x", "\0").is_none());
    }

    proptest::proptest! {
        #[test]
        fn what_is_spelled_reads_back(old in "['\" x]?", value in "[a'\"\\\\$ #\n\ré=n0]{0,8}") {
            let text = spell(&old, &value).unwrap();
            proptest::prop_assert_eq!(&*read(&text), &value);
            proptest::prop_assert!(!text.contains('\n'));
        }
    }
}
