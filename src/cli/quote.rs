//! Names that others chose, written so that they cannot pass for something else: a path with a line feed is no second
//! line of a list, and nothing in it moves the cursor or turns a line around.

use std::borrow::Cow;
use std::fmt::Write as _;

/// A path as it is, or in double quotes with escapes, as git writes one with odd characters while `core.quotePath` is
/// false. (git-config(1); git: `quote.c`.)
pub(super) fn path(path: &str) -> Cow<'_, str> {
    if !path.chars().any(|character| is_odd(character) || matches!(character, '"' | '\\')) {
        return Cow::Borrowed(path);
    }
    let mut quoted = String::from('"');
    for character in path.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            _ => escape(character, &mut quoted),
        }
    }
    quoted.push('"');
    Cow::Owned(quoted)
}

/// Many paths, with a comma between.
pub(super) fn list<P: AsRef<str>>(paths: &[P]) -> String {
    paths.iter().map(|one| path(one.as_ref())).collect::<Vec<_>>().join(", ")
}

/// A text that is to stay on its line.
pub(super) fn line(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_odd) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::new();
    text.chars().for_each(|character| escape(character, &mut escaped));
    Cow::Owned(escaped)
}

fn escape(character: char, to: &mut String) {
    let letter = match character {
        '\u{7}' => 'a',
        '\u{8}' => 'b',
        '\t' => 't',
        '\n' => 'n',
        '\u{b}' => 'v',
        '\u{c}' => 'f',
        '\r' => 'r',
        _ if is_odd(character) => {
            let bytes = character.encode_utf8(&mut [0; 4]).bytes().collect::<Vec<_>>();
            bytes.iter().for_each(|byte| write!(to, "\\{byte:03o}").expect("a text takes all"));
            return;
        }
        _ => return to.push(character),
    };
    to.extend(['\\', letter]);
}

/// Control characters, line separators, and what turns the direction of a line around. (Unicode, UAX 9.)
fn is_odd(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_paths_are_quoted_as_git_does_and_others_stay() {
        for (given, shown) in [
            ("a b/.env", "a b/.env"),
            ("käse.env", "käse.env"),
            ("a\nb", r#""a\nb""#),
            ("a\t\r\u{7}\u{8}\u{b}\u{c}", r#""a\t\r\a\b\v\f""#),
            ("q\"s\\", r#""q\"s\\""#),
            ("\u{1b}[2K\u{7f}", r#""\033[2K\177""#),
            ("\u{9b}31m", r#""\302\23331m""#),
            ("x\u{202e}vne.", r#""x\342\200\256vne.""#),
        ] {
            assert_eq!(path(given), shown);
        }
        assert_eq!(line("`a\nb\"` of x"), r#"`a\nb"` of x"#);
        assert_eq!(list(&["a", "b\n"]), r#"a, "b\n""#);
    }
}
