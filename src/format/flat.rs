//! Metadata flattened to one level of names, as dotenv and INI hold it.
//!
//! `age__list_0__map_enc` is the field `enc` of the first entry of `age`, and line feeds are the two
//! characters `\n`. (getsops/sops v3.13.2, `stores/flatten.go`.)

use std::borrow::Cow;

use super::Step;

/// The path that a flat name stands for; `None` if it is no such name.
pub(super) fn unflatten(name: &str) -> Option<Vec<Step>> {
    let mut rest = name;
    let mut steps = Vec::new();
    loop {
        let end = ["__map_", "__list_"].iter().filter_map(|mark| rest.find(mark)).min().unwrap_or(rest.len());
        steps.push(match steps.last() {
            Some(Mark::List) => Mark::Step(Step::Index(rest[..end].parse().ok()?)),
            _ => Mark::Step(Step::Key(rest[..end].to_owned())),
        });
        rest = &rest[end..];
        if rest.is_empty() {
            break;
        } else if let Some(tail) = rest.strip_prefix("__map_") {
            rest = tail;
        } else {
            rest = rest.strip_prefix("__list_")?;
            steps.push(Mark::List);
        }
    }
    Some(steps.into_iter().filter_map(Mark::step).collect())
}

enum Mark {
    Step(Step),
    List,
}

impl Mark {
    fn step(self) -> Option<Step> {
        match self {
            Self::Step(step) => Some(step),
            Self::List => None,
        }
    }
}

/// The flat name of a path.
pub(super) fn flatten(path: &[Step]) -> String {
    path.iter().enumerate().fold(String::new(), |name, (depth, step)| match step {
        Step::Key(key) if depth == 0 => name + key,
        Step::Key(key) => name + "__map_" + key,
        Step::Index(index) => format!("{name}__list_{index}"),
    })
}

/// A value whose two characters `\n` are line feeds.
pub(super) fn unescape(value: &str) -> Cow<'_, str> {
    if value.contains("\\n") { value.replace("\\n", "\n").into() } else { value.into() }
}

/// A value with its line feeds as the two characters `\n`.
pub(super) fn escape(value: &str) -> String {
    value.replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_flattened_both_ways() {
        for name in ["mac", "age__list_0__map_enc", "key_groups__list_1__map_age__list_0__map_recipient"] {
            assert_eq!(flatten(&unflatten(name).unwrap()), name);
        }
        assert_eq!(unflatten("age__list_x__map_enc"), None);
    }
}
