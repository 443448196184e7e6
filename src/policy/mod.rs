//! What is sealed, and for whom: the selection rules of a file, and `.sops.yaml`'s creation rules.

pub mod creation;
pub mod re2;
mod readers;

use std::sync::Arc;

pub use readers::OtherReaders;

use regex::Regex;

/// Why a rule cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The regex is invalid. (sops takes such a regex for one that matches nothing, and
    /// writes plaintext.)
    #[error("`{field}: {pattern}` is no valid regular expression: {reason}")]
    BadRegex {
        /// The name of the rule's field.
        field: &'static str,
        /// The expression as written.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// More than one selection rule.
    #[error("`{0}` and `{1}` cannot both be set: a file has one selection rule")]
    TwoRules(&'static str, &'static str),
    /// A rule that is known to sops but not supported here.
    #[error("`{0}` is not supported")]
    Unsupported(String),
    /// `.sops.yaml` is not what it should be.
    #[error("{place}: {reason}")]
    Config {
        /// The line, or the rule.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// No rule is for this path.
    #[error("no creation rule matches `{0}`")]
    NoRule(String),
    /// The rule names nobody.
    #[error("the creation rule for `{0}` names no age recipient")]
    NoRecipients(String),
    /// A recipient is malformed.
    #[error("{place}: {source}")]
    BadRecipient {
        /// The rule.
        place: String,
        /// What is wrong with it.
        source: crate::crypto::Error,
    },
}

/// Which values of a file are sealed: at most one of these per file. (getsops/sops v3.13.2,
/// `sops.go:437`.)
#[derive(Debug, Clone)]
pub enum Rule {
    /// All but what stands below a key with this suffix.
    UnencryptedSuffix(String),
    /// Only what stands below a key with this suffix.
    EncryptedSuffix(String),
    /// All but what stands below a key that matches.
    UnencryptedRegex(Pattern),
    /// Only what stands below a key that matches.
    EncryptedRegex(Pattern),
    /// All but what a comment that matches stands before.
    UnencryptedCommentRegex(Pattern),
    /// Only what a comment that matches stands before.
    EncryptedCommentRegex(Pattern),
}

/// What a comment that matches does to the item that it stands before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// The item is sealed, and so are later comments before it.
    Sealed,
    /// The item stays clear.
    Clear,
}

/// A regular expression with the text it was made from.
#[derive(Debug, Clone)]
pub struct Pattern {
    text: String,
    regex: Arc<Regex>,
}

impl Pattern {
    /// Compiles an expression with the meaning that Go's RE2 gives it.
    pub fn new(field: &'static str, text: &str) -> Result<Self, Error> {
        let bad = |reason: String| Error::BadRegex { field, pattern: text.to_owned(), reason };
        let regex = re2::compile(text).map_err(bad)?;
        Ok(Self { text: text.to_owned(), regex })
    }

    /// True if the expression matches anywhere in the text.
    pub fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }
}

impl Default for Rule {
    /// What sops does when no rule is set.
    fn default() -> Self {
        Self::UnencryptedSuffix("_unencrypted".to_owned())
    }
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        self.field() == other.field()
    }
}

impl Rule {
    /// The fields of a rule, in metadata and creation rules alike.
    pub const FIELDS: [&'static str; 6] = [
        "unencrypted_suffix",
        "encrypted_suffix",
        "unencrypted_regex",
        "encrypted_regex",
        "unencrypted_comment_regex",
        "encrypted_comment_regex",
    ];

    /// The one rule among these fields; the default where there is none.
    ///
    /// `get` gives the text of a field by its name; an empty text counts as none.
    pub fn from_fields<'a>(get: impl Fn(&str) -> Option<&'a str>) -> Result<Self, Error> {
        let get = |name: &str| get(name).filter(|text| !text.is_empty());
        let set: Vec<_> =
            Self::FIELDS.iter().filter_map(|field| get(field).map(|text| (*field, text))).collect();
        match set[..] {
            [] => Ok(Self::default()),
            [("unencrypted_suffix", text)] => Ok(Self::UnencryptedSuffix(text.to_owned())),
            [("encrypted_suffix", text)] => Ok(Self::EncryptedSuffix(text.to_owned())),
            [(field @ "unencrypted_regex", text)] => Pattern::new(field, text).map(Self::UnencryptedRegex),
            [(field @ "encrypted_regex", text)] => Pattern::new(field, text).map(Self::EncryptedRegex),
            [(field @ "unencrypted_comment_regex", text)] => {
                Pattern::new(field, text).map(Self::UnencryptedCommentRegex)
            }
            [(field, text)] => Pattern::new(field, text).map(Self::EncryptedCommentRegex),
            [(first, _), (second, _), ..] => Err(Error::TwoRules(first, second)),
        }
    }

    /// The rule's field and text, as metadata and `.sops.yaml` hold them.
    pub fn field(&self) -> (&'static str, &str) {
        match self {
            Self::UnencryptedSuffix(text) => ("unencrypted_suffix", text),
            Self::EncryptedSuffix(text) => ("encrypted_suffix", text),
            Self::UnencryptedRegex(pattern) => ("unencrypted_regex", &pattern.text),
            Self::EncryptedRegex(pattern) => ("encrypted_regex", &pattern.text),
            Self::UnencryptedCommentRegex(pattern) => ("unencrypted_comment_regex", &pattern.text),
            Self::EncryptedCommentRegex(pattern) => ("encrypted_comment_regex", &pattern.text),
        }
    }

    /// The expression that comments are compared with, for a rule that looks at comments.
    pub fn comment(&self) -> Option<(&Pattern, Mark)> {
        match self {
            Self::UnencryptedCommentRegex(pattern) => Some((pattern, Mark::Clear)),
            Self::EncryptedCommentRegex(pattern) => Some((pattern, Mark::Sealed)),
            Self::UnencryptedSuffix(_)
            | Self::EncryptedSuffix(_)
            | Self::UnencryptedRegex(_)
            | Self::EncryptedRegex(_) => None,
        }
    }

    /// Whether a leaf at the top of the document is sealed.
    pub fn at_top(&self) -> bool {
        match self {
            Self::UnencryptedSuffix(_) | Self::UnencryptedRegex(_) | Self::UnencryptedCommentRegex(_) => true,
            Self::EncryptedSuffix(_) | Self::EncryptedRegex(_) | Self::EncryptedCommentRegex(_) => false,
        }
    }

    /// Whether what stands below `key` is sealed, given whether what surrounds it is.
    pub fn below(&self, surroundings: bool, key: &str) -> bool {
        match self {
            Self::UnencryptedSuffix(suffix) => surroundings && !key.ends_with(suffix.as_str()),
            Self::EncryptedSuffix(suffix) => surroundings || key.ends_with(suffix.as_str()),
            Self::UnencryptedRegex(pattern) => surroundings && !pattern.is_match(key),
            Self::EncryptedRegex(pattern) => surroundings || pattern.is_match(key),
            Self::UnencryptedCommentRegex(_) | Self::EncryptedCommentRegex(_) => surroundings,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(rule: &Rule, path: &[&str]) -> bool {
        path.iter().fold(rule.at_top(), |surroundings, key| rule.below(surroundings, key))
    }

    #[test]
    fn a_match_on_a_parent_covers_what_is_below() {
        let one = |field: &'static str, text: &'static str| {
            Rule::from_fields(move |name| (name == field).then_some(text)).unwrap()
        };
        for (rule, path, expected) in [
            (Rule::default(), &["a", "b"][..], true),
            (Rule::default(), &["a_unencrypted", "b"], false),
            (one("encrypted_regex", "^environment$"), &["services", "web", "environment", "A"], true),
            (one("encrypted_regex", "^environment$"), &["services", "web", "image"], false),
            (one("encrypted_suffix", "_enc"), &["a_enc", "b"], true),
            (one("encrypted_suffix", "_enc"), &["a"], false),
            (one("unencrypted_regex", "^(image|ports)$"), &["services", "web", "image"], false),
            (one("unencrypted_regex", "^(image|ports)$"), &["services", "web", "command"], true),
        ] {
            assert_eq!(sealed(&rule, path), expected, "{rule:?} {path:?}");
        }
    }

    #[test]
    fn an_invalid_regex_and_two_rules_are_refused() {
        let bad = Rule::from_fields(|name| (name == "encrypted_regex").then_some("("));
        assert!(matches!(bad, Err(Error::BadRegex { field: "encrypted_regex", .. })));
        let two = Rule::from_fields(|name| name.ends_with("_suffix").then_some("x"));
        assert_eq!(two, Err(Error::TwoRules("unencrypted_suffix", "encrypted_suffix")));
    }
}
