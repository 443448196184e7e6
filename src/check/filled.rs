//! What Compose makes of a text with variables, as far as the files of a branch tell.
//!
//! A variable can have another value on a server, but only from the `.env` beside the compose file: hlx
//! passes none of the shell's on. So what is clear in git, or a default, is what counts.

use std::collections::HashMap;

use crate::format::{Content, Leaf, dotenv};

/// What is known of a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Known {
    /// It has this value.
    Set(String),
    /// It has none.
    Unset,
    /// It has one that does not show.
    Hidden,
}

/// The variables of a dotenv file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Variables {
    /// These; the file may also not be there, and have none.
    Read(HashMap<String, Known>),
    /// Whatever it has, it does not show.
    Hidden,
}

impl Variables {
    /// Reads the file, if there is one.
    pub(super) fn of(file: Option<&str>) -> Self {
        let Ok(document) = dotenv::parse(file.unwrap_or_default()) else { return Self::Hidden };
        let text = file.unwrap_or_default();
        let values = document.leaves.iter().filter(|leaf| matches!(leaf.content, Content::Value(_)));
        let variable = |leaf: &Leaf<'_>| {
            let name = document.paths.names(leaf.path).last()?.trim();
            let name = name.strip_prefix("export ").unwrap_or(name).trim_start().to_owned();
            let raw = &text[leaf.span.clone()];
            // One that is made of others is not followed.
            let is_plain = !raw.contains('$') && !raw.contains("ENC[");
            let value = || Known::Set(dotenv::value::read(raw).to_string());
            Some((name, if is_plain { value() } else { Known::Hidden }))
        };
        Self::Read(values.filter_map(variable).collect())
    }

    /// What is known of one.
    pub(super) fn get(&self, name: &str) -> Known {
        match self {
            Self::Read(all) => all.get(name).cloned().unwrap_or(Known::Unset),
            Self::Hidden => Known::Hidden,
        }
    }
}

/// No path is longer, whatever is nested in it.
const LONGEST: usize = 4096;

/// A text with its variables filled in; `None` where one has no value that shows.
pub(super) fn fill(text: &str, know: &dyn Fn(&str) -> Known) -> Option<String> {
    if text.len() > LONGEST {
        return None;
    }
    let mut filled = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (value, behind) = variable(&rest[at + 1..], know)?;
        filled.push_str(&rest[..at]);
        filled.push_str(&value);
        rest = behind;
    }
    Some(filled + rest)
}

/// The value of the variable behind a `$`, and what follows it.
fn variable<'t>(text: &'t str, know: &dyn Fn(&str) -> Known) -> Option<(String, &'t str)> {
    if let Some(behind) = text.strip_prefix('$') {
        return Some(("$".to_owned(), behind));
    }
    let Some(inner) = text.strip_prefix('{') else {
        let (name, behind) = name(text)?;
        return Some((value(know(name), "", know)?, behind));
    };
    let end = closing(inner)?;
    let (name, form) = name(&inner[..end])?;
    Some((value(know(name), form, know)?, &inner[end + 1..]))
}

/// The name that a text begins with, and what follows it.
fn name(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    Some(text.split_at(end.unwrap_or(text.len()))).filter(|(name, _)| dotenv::is_variable(name))
}

/// Where the brace closes that was opened before the text.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0;
    text.char_indices().find_map(|(at, letter)| {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => return Some(at),
            '}' => depth -= 1,
            _ => {}
        }
        None
    })
}

/// What a variable comes to in one of the forms of Compose: `${A}`, `${A:-default}`, `${A-default}`,
/// `${A:?message}`, `${A?message}`. The others depend on more than its value.
fn value(known: Known, form: &str, know: &dyn Fn(&str) -> Known) -> Option<String> {
    let keeps_empty = form.is_empty() || form.starts_with(['-', '?']);
    let keeps = keeps_empty || form.starts_with(":-") || form.starts_with(":?");
    match known {
        Known::Hidden => None,
        Known::Set(value) if keeps_empty || (keeps && !value.is_empty()) => Some(value),
        Known::Set(_) | Known::Unset => fill(form.strip_prefix(':').unwrap_or(form).strip_prefix('-')?, know),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_shows_is_filled_in_and_nothing_else() {
        let variables =
            Variables::of(Some("A=a\nexport Q='q q' # x\nE=\nS=ENC[AES256_GCM,data:x]\nR=$A\n# C=c\n"));
        let know = |name: &str| variables.get(name);
        for (text, filled) in [
            ("plain", Some("plain")),
            ("$A/${A}.txt", Some("a/a.txt")),
            ("${A:-x}${A-x}${A:?no}${A?no}", Some("aaaa")),
            ("${Q}", Some("q q")),
            ("${E}|${E-x}|${E:-x}", Some("||x")),
            ("${N:-x}/${N-./y}", Some("x/./y")),
            ("${N:-${A}/${N:-z}}", Some("a/z")),
            ("$$A", Some("$A")),
            ("${N}", None),
            ("${N:?no}", None),
            ("${A:+x}", None),
            ("${S}", None),
            ("${S:-x}", None),
            ("${R}", None),
            ("${C:-c}", Some("c")),
            ("${A", None),
            ("$", None),
            ("${1}", None),
        ] {
            assert_eq!(fill(text, &know).as_deref(), filled, "{text}");
        }
        let deep = format!("{}{}", "${N:-".repeat(100_000), "}".repeat(100_000));
        assert_eq!(fill(&deep, &know), None);
        assert_eq!(Variables::of(None).get("A"), Known::Unset);
        assert_eq!(Variables::of(Some("{\n\t\"data\": \"ENC[x]\"\n}\n")).get("A"), Known::Hidden);
    }
}
