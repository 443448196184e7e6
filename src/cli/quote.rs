//! Names that others chose, written so that they cannot pass for something else: a path with a line feed is no second
//! line of a list, and nothing in it moves the cursor or turns a line around.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// A path as it is, or in double quotes with escapes, as git writes one with odd characters while `core.quotePath` is
/// false, and one that is no UTF-8. (git-config(1); git: `quote.c`.) Blanks at either end would not be seen, either.
pub(super) fn path(path: &(impl AsRef<Path> + ?Sized)) -> Cow<'_, str> {
    let bytes = path.as_ref().as_os_str().as_bytes();
    let is_plain = |text: &&str| {
        text.trim() == *text
            && !text.chars().any(|character| is_odd(character) || matches!(character, '"' | '\\'))
    };
    match std::str::from_utf8(bytes).ok().filter(is_plain) {
        Some(text) => Cow::Borrowed(text),
        None => Cow::Owned(format!("\"{}\"", escaped(bytes, '"'))),
    }
}

/// A path as a word to be pasted into a shell. (`$'…'` is Bash's, and POSIX's since 2024.)
pub(super) fn word(path: &(impl AsRef<Path> + ?Sized)) -> String {
    let bytes = path.as_ref().as_os_str().as_bytes();
    let is_safe = |character: char| character.is_alphanumeric() || "/._-+,:@%=~".contains(character);
    let word = match std::str::from_utf8(bytes) {
        Ok(text) if !text.is_empty() && !text.starts_with('~') && text.chars().all(is_safe) => {
            text.to_owned()
        }
        Ok(text) if !text.chars().any(is_odd) => format!("'{}'", text.replace('\'', "'\\''")),
        Ok(_) | Err(_) => format!("$'{}'", escaped(bytes, '\'')),
    };
    // It is no option.
    if bytes.starts_with(b"-") { format!("./{word}") } else { word }
}

fn escaped(bytes: &[u8], quote: char) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character == quote || character == '\\' {
                true => text.extend(['\\', character]),
                false => escape(character, &mut text),
            }
        }
        chunk.invalid().iter().for_each(|byte| octal(*byte, &mut text));
    }
    text
}

fn octal(byte: u8, to: &mut String) {
    write!(to, "\\{byte:03o}").expect("a text takes all");
}

/// Many paths, with a comma between.
pub(super) fn list<P: AsRef<Path>>(paths: &[P]) -> String {
    paths.iter().map(path).collect::<Vec<_>>().join(", ")
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
            bytes.iter().for_each(|byte| octal(*byte, to));
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
            ("a ", r#""a ""#),
            (" a", r#"" a""#),
        ] {
            assert_eq!(path(given), shown);
        }
        assert_eq!(path(std::ffi::OsStr::from_bytes(b"b\xff.env")), r#""b\377.env""#);
        assert_eq!(line("`a\nb\"` of x"), r#"`a\nb"` of x"#);
        assert_eq!(list(&["a", "b\n"]), r#"a, "b\n""#);
    }

    #[test]
    fn a_shell_takes_a_word_for_the_path() {
        for (given, expected) in [
            (&b"a/.env"[..], "a/.env"),
            ("käse.env".as_bytes(), "käse.env"),
            (b"my file.txt", "'my file.txt'"),
            (b".env~", ".env~"),
            (b"~x", "'~x'"),
            (b"it's", r"'it'\''s'"),
            (b"$HOME;x", "'$HOME;x'"),
            (b"-x y", "./'-x y'"),
            (b"a\n'b\\", r"$'a\n\'b\\'"),
            (b"b\xff", r"$'b\377'"),
            (b"", "''"),
        ] {
            let word = word(std::ffi::OsStr::from_bytes(given));
            assert_eq!(word, expected);
            let said = std::process::Command::new("bash").args(["-c", &format!("printf %s {word}")]).output();
            let said = said.unwrap().stdout;
            assert_eq!(said.strip_prefix(b"./").unwrap_or(&said), given);
        }
    }
}
