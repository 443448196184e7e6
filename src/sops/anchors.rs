//! Values that stand in clear at a YAML anchor, although an alias brings them under the rule elsewhere.
//!
//! A rule such as `^environment$` seals what `<<: *env` brings below `environment`; at the anchor
//! `x-env: &env` the same values stay as clear as the rule says. That is seldom what was meant.

use std::collections::HashMap;

use crate::format::{Content, Format, Leaf, Store};
use crate::policy::Rule;

use super::select;

/// A value in clear at its anchor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClearAnchor {
    /// The line of the value, counted from 1.
    pub line: usize,
    /// Its path.
    pub path: String,
    /// The path below which the alias brings it under the rule.
    pub alias: String,
}

/// The values of a plaintext that a rule seals by an alias and leaves clear at the anchor.
pub fn clear_anchors(plaintext: &[u8], format: Format, rule: &Rule) -> Vec<ClearAnchor> {
    let has = |mark: u8| plaintext.contains(&mark);
    if format != Format::Yaml || !has(b'*') || !has(b'&') {
        return Vec::new();
    }
    let Ok(text) = std::str::from_utf8(plaintext) else { return Vec::new() };
    let Ok(document) = Store::Yaml.parse_plaintext(text) else { return Vec::new() };
    let covered = select::select(&document, rule);
    let leaves = document.leaves.iter().zip(&covered);
    // A copy has the span of its original.
    let clear_values = leaves.clone().filter(|(leaf, covered)| {
        !**covered && leaf.alias.is_none() && matches!(leaf.content, Content::Value(_))
    });
    let mut originals: HashMap<usize, &Leaf<'_>> =
        clear_values.map(|(leaf, _)| (leaf.span.start, leaf)).collect();
    let sealed_copies =
        leaves.filter(|(leaf, covered)| **covered && leaf.alias.is_some() && !leaf.content.is_empty());
    let mut found = Vec::new();
    for (copy, _) in sealed_copies {
        if let Some(original) = originals.remove(&copy.span.start) {
            found.push(ClearAnchor {
                line: text[..original.span.start].matches('\n').count() + 1,
                path: document.paths.display(original.path),
                alias: document.paths.display(copy.path),
            });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_by_an_alias_only_is_named() {
        let rule = |text| Rule::from_fields(|name| (name == "encrypted_regex").then_some(text)).unwrap();
        let text = b"x-env: &env\n  A: s\n  B: ''\nservices:\n  web:\n    environment:\n      <<: *env\n      C: t\n";
        let found = clear_anchors(text, Format::Yaml, &rule("^environment$"));
        let path = |text: &str| text.to_owned();
        let expected =
            ClearAnchor { line: 2, path: path("x-env.A"), alias: path("services.web.environment.<<.A") };
        assert_eq!(found, [expected]);
        assert_eq!(clear_anchors(text, Format::Yaml, &rule("^(environment|x-env)$")), []);
        assert_eq!(clear_anchors(text, Format::Dotenv, &rule("^environment$")), []);
    }
}
