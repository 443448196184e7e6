//! Regular expressions with the meaning of Go's RE2, which sops uses.
//!
//! Rust's `regex` is nearly the same language. What differs is rewritten: `\d \w \s \b` are
//! ASCII in Go, `\Q…\E` quotes, an escaped punctuation mark is always that mark, and inside
//! a class `[`, `&` and `~` stand for themselves. (Go: `regexp/syntax`; getsops/sops uses
//! `regexp.Match`, unanchored.)

use std::cell::RefCell;
use std::iter::Peekable;
use std::str::Chars;
use std::sync::Arc;

use regex::{Regex, RegexBuilder};

/// What a compiled expression may take in memory: some expressions of a few bytes would take much.
const MOST: usize = 1 << 20;

/// How many compiled expressions are kept.
const KEPT: usize = 4;

thread_local! {
    /// The expressions that were compiled last. To compile one takes longer than to open a small file, and the files of
    /// a repository have one rule, or few.
    static COMPILED: RefCell<Vec<(String, Arc<Regex>)>> = const { RefCell::new(Vec::new()) };
}

/// Compiles a Go expression; the error says what is wrong with it.
///
/// It is shared, since a clone of a [`Regex`] would work out anew what it has learnt of its texts.
pub fn compile(pattern: &str) -> Result<Arc<Regex>, String> {
    COMPILED.with_borrow_mut(|kept| {
        if let Some((_, regex)) = kept.iter().find(|(text, _)| text == pattern) {
            return Ok(Arc::clone(regex));
        }
        let regex = Arc::new(build(pattern)?);
        kept.truncate(KEPT - 1);
        kept.insert(0, (pattern.to_owned(), Arc::clone(&regex)));
        Ok(regex)
    })
}

fn build(pattern: &str) -> Result<Regex, String> {
    let compiled = RegexBuilder::new(&translate(pattern)?).size_limit(MOST).dfa_size_limit(MOST).build();
    compiled.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => "it is too large".to_owned(),
        // The last line of the parser's message is the reason; those above draw the pattern.
        other => other.to_string().lines().last().unwrap_or_default().trim().replace("error: ", ""),
    })
}

fn translate(pattern: &str) -> Result<String, String> {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut rest = pattern.chars().peekable();
    while let Some(character) = rest.next() {
        match character {
            '\\' => escape(&mut rest, &mut out)?,
            '[' => class(&mut rest, &mut out)?,
            other => out.push(other),
        }
    }
    Ok(out)
}

fn escape(rest: &mut Peekable<Chars<'_>>, out: &mut String) -> Result<(), String> {
    match rest.next().ok_or("it ends with a backslash")? {
        class @ ('d' | 'D' | 'w' | 'W' | 's' | 'S') => out.push_str(&format!("[{}]", perl(class))),
        word @ ('b' | 'B') => out.push_str(&format!("(?-u:\\{word})")),
        'Q' => quote(rest, out),
        'C' => return Err("`\\C` (any byte) is not supported".to_owned()),
        mark if mark.is_ascii_punctuation() => out.push_str(&regex::escape(&mark.to_string())),
        other => out.extend(['\\', other]),
    }
    Ok(())
}

/// The ASCII members of a Perl class; `\s` has no vertical tab in Go.
fn perl(class: char) -> &'static str {
    match class {
        'd' => "0-9",
        'D' => "^0-9",
        'w' => "0-9A-Za-z_",
        'W' => "^0-9A-Za-z_",
        's' => r"\t\n\f\r ",
        _ => r"^\t\n\f\r ",
    }
}

/// `\Q…\E`: all between is literal, and so is all to the end where `\E` is missing.
fn quote(rest: &mut Peekable<Chars<'_>>, out: &mut String) {
    let remaining: String = rest.clone().collect();
    let (literal, skip) = match remaining.split_once("\\E") {
        Some((literal, _)) => (literal, literal.chars().count() + 2),
        None => (remaining.as_str(), remaining.chars().count()),
    };
    out.push_str(&regex::escape(literal));
    (0..skip).for_each(|_| {
        rest.next();
    });
}

fn class(rest: &mut Peekable<Chars<'_>>, out: &mut String) -> Result<(), String> {
    out.push('[');
    if rest.next_if_eq(&'^').is_some() {
        out.push('^');
    }
    if rest.next_if_eq(&']').is_some() {
        out.push_str("\\]");
    }
    while let Some(character) = rest.next() {
        match character {
            ']' => {
                out.push(']');
                return Ok(());
            }
            '[' if rest.peek() == Some(&':') => posix(rest, out)?,
            mark @ ('[' | '&' | '~') => out.extend(['\\', mark]),
            '\\' => match rest.next().ok_or("it ends with a backslash")? {
                class @ ('d' | 'D' | 'w' | 'W' | 's' | 'S') => out.push_str(&format!("[{}]", perl(class))),
                mark if mark.is_ascii_punctuation() => out.extend(['\\', mark]),
                other => out.extend(['\\', other]),
            },
            other => out.push(other),
        }
    }
    Err("a `[` has no `]`".to_owned())
}

/// `[:alpha:]` and its kin mean the same in both.
fn posix(rest: &mut Peekable<Chars<'_>>, out: &mut String) -> Result<(), String> {
    out.push('[');
    for character in rest.by_ref() {
        out.push(character);
        if character == ']' {
            return Ok(());
        }
    }
    Err("a `[:` has no `:]`".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_mean_what_they_mean_in_go() {
        for (pattern, text, expected) in [
            ("^environment$", "environment", true),
            (r"^\d+$", "١٢", false),
            (r"^\d+$", "12", true),
            (r"^[\w-]+$", "a-b_1", true),
            (r"^\w$", "é", false),
            (r"\Qa.b\Ec", "a.bc", true),
            (r"\Qa.b\Ec", "aXbc", false),
            (r"[[]", "[", true),
            (r"^[a&&b]+$", "a&b", true),
            (r"^[]]$", "]", true),
            ("(?i)PASSWORD", "db_password", true),
            (r"^a\-b\.c$", "a-b.c", true),
            ("[[:upper:]]", "x", false),
            ("", "anything", true),
        ] {
            assert_eq!(compile(pattern).unwrap().is_match(text), expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn invalid_expressions_say_why() {
        for pattern in ["(", "[a", "a\\", "*", "(?<!x)y", r"\C"] {
            assert!(compile(pattern).is_err(), "{pattern}");
        }
    }
}
