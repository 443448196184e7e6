//! `.sops.yaml`: for whom and by which rule a new file is sealed.
//!
//! The first creation rule whose `path_regex` matches the path counts; a rule without one
//! matches every path. (getsops/sops v3.13.2, `config/config.go`.)

use serde::Deserialize;

use super::{Error, Pattern, Rule};
use crate::crypto::envelope::Recipient;
use crate::crypto::mac::Coverage;

/// How a new file is to be sealed.
#[derive(Debug, Clone)]
pub struct Terms {
    /// Who shall read it, in the order of the rule.
    pub recipients: Vec<Recipient>,
    /// Which values are sealed.
    pub rule: Rule,
    /// Which values the MAC covers.
    pub coverage: Coverage,
}

/// A `.sops.yaml`, read.
#[derive(Debug)]
pub struct Config {
    rules: Vec<CreationRule>,
}

#[derive(Debug)]
struct CreationRule {
    place: String,
    path: Option<Pattern>,
    terms: Terms,
}

#[derive(Deserialize)]
struct RawConfig {
    #[serde(default)]
    creation_rules: Option<Vec<serde_yaml::Mapping>>,
}

const KNOWN: [&str; 11] = [
    "path_regex",
    "age",
    "key_groups",
    "mac_only_encrypted",
    "unencrypted_suffix",
    "encrypted_suffix",
    "unencrypted_regex",
    "encrypted_regex",
    "unencrypted_comment_regex",
    "encrypted_comment_regex",
    "shamir_threshold",
];

impl Config {
    /// Reads a `.sops.yaml`; every rule is checked, also those that are not asked for.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let raw: RawConfig = serde_yaml::from_str(text).map_err(|error| {
            let place = error.location().map_or("the file".to_owned(), |at| format!("line {}", at.line()));
            Error::Config { place, reason: format!("not valid: {error}") }
        })?;
        let rules = raw.creation_rules.unwrap_or_default();
        let rules = rules.iter().enumerate().map(|(index, rule)| CreationRule::parse(index, rule));
        Ok(Self { rules: rules.collect::<Result<_, _>>()? })
    }

    /// How a new file at this path (below the folder of `.sops.yaml`) is to be sealed.
    pub fn terms(&self, path: &str) -> Result<&Terms, Error> {
        let rule = self.rules.iter().find(|rule| rule.path.as_ref().is_none_or(|regex| regex.is_match(path)));
        let rule = rule.ok_or_else(|| Error::NoRule(path.to_owned()))?;
        if rule.terms.recipients.is_empty() {
            return Err(Error::NoRecipients(path.to_owned()));
        }
        Ok(&rule.terms)
    }

    /// Every recipient that any rule names, once each, in order.
    pub fn recipients(&self) -> Vec<Recipient> {
        let mut all: Vec<Recipient> = Vec::new();
        for recipient in self.rules.iter().flat_map(|rule| &rule.terms.recipients) {
            if !all.contains(recipient) {
                all.push(recipient.clone());
            }
        }
        all
    }

    /// The place of each rule, for messages.
    pub fn places(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().map(|rule| rule.place.as_str())
    }
}

impl CreationRule {
    fn parse(index: usize, raw: &serde_yaml::Mapping) -> Result<Self, Error> {
        let place = format!("creation rule {}", index + 1);
        let fail = |reason: String| Error::Config { place: place.clone(), reason };
        for key in raw.keys() {
            let name = key.as_str().unwrap_or_default();
            if !KNOWN.contains(&name) {
                return Err(fail(format!("`{name}` is not supported: hlx seals for age recipients only")));
            }
        }
        let others = ["age", "key_groups", "mac_only_encrypted", "shamir_threshold"];
        for name in KNOWN.iter().filter(|name| !others.contains(name)) {
            if raw.get(name).is_some_and(|value| !value.is_string()) {
                return Err(fail(format!("`{name}` must be a text: put it in quotes")));
            }
        }
        if raw.get("mac_only_encrypted").is_some_and(|value| !value.is_bool()) {
            return Err(fail("`mac_only_encrypted` must be true or false".to_owned()));
        }
        let text = |name: &str| raw.get(name).and_then(serde_yaml::Value::as_str);
        let path = text("path_regex").map(|regex| Pattern::new("path_regex", regex)).transpose()?;
        if raw.contains_key("shamir_threshold") {
            return Err(Error::Unsupported("shamir_threshold".to_owned()));
        }
        let keys = group(raw).map_err(fail)?;
        let parse =
            |key: &String| key.parse().map_err(|source| Error::BadRecipient { place: place.clone(), source });
        let mut recipients: Vec<Recipient> = keys.iter().map(parse).collect::<Result<_, _>>()?;
        let mut seen = std::collections::HashSet::new();
        recipients.retain(|recipient| seen.insert(recipient.clone()));
        let only = raw.get("mac_only_encrypted").and_then(serde_yaml::Value::as_bool).unwrap_or(false);
        let coverage = if only { Coverage::OnlyEncrypted } else { Coverage::All };
        let terms = Terms { recipients, rule: Rule::from_fields(text)?, coverage };
        Ok(Self { place, path, terms })
    }
}

/// The keys of a rule: those of its one key group, else its `age` field.
fn group(raw: &serde_yaml::Mapping) -> Result<Vec<String>, String> {
    match raw.get("key_groups").and_then(serde_yaml::Value::as_sequence) {
        None => raw.get("age").map_or(Ok(Vec::new()), keys),
        Some(groups) => match &groups[..] {
            [serde_yaml::Value::Mapping(group)] if group.keys().all(|key| key.as_str() == Some("age")) => {
                group.get("age").map_or(Ok(Vec::new()), keys)
            }
            _ => {
                Err("`key_groups` with more than one group, or other than age keys, is not supported"
                    .to_owned())
            }
        },
    }
}

/// A text with commas, or a list of such texts.
fn keys(value: &serde_yaml::Value) -> Result<Vec<String>, String> {
    let split = |text: &str| {
        text.split(',').map(str::trim).filter(|key| !key.is_empty()).map(str::to_owned).collect::<Vec<_>>()
    };
    match value {
        serde_yaml::Value::String(text) => Ok(split(text)),
        serde_yaml::Value::Sequence(items) => items
            .iter()
            .map(|item| item.as_str().map(split).ok_or_else(|| "`age` must list texts".to_owned()))
            .collect::<Result<Vec<_>, _>>()
            .map(|keys| keys.concat()),
        serde_yaml::Value::Null => Ok(Vec::new()),
        _ => Err("`age` must be a text or a list of texts".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "age1xk7yh7phvy5fcapfuzwvhrr8hehh35p0zyrk4hur70yge458ayxq6dm0nj";

    #[test]
    fn the_first_rule_that_matches_counts() {
        let text = format!(
            "creation_rules:\n  - path_regex: compose\\.ya?ml$\n    encrypted_regex: ^environment$\n    mac_only_encrypted: true\n    age: {A}\n  - age:\n      - {A}\n      - {A}\n"
        );
        let config = Config::parse(&text).unwrap();
        let compose = config.terms("compose.yml").unwrap();
        assert_eq!(compose.rule.field(), ("encrypted_regex", "^environment$"));
        assert_eq!(compose.coverage, Coverage::OnlyEncrypted);
        assert_eq!(config.terms(".env").unwrap().recipients.len(), 1);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (text, message) in [
            (
                "creation_rules: [",
                "line 2: not valid: did not find expected node content at line 2 column 1, while parsing a flow node",
            ),
            (
                "creation_rules:\n  - pgp: X\n",
                "creation rule 1: `pgp` is not supported: hlx seals for age recipients only",
            ),
            (
                "creation_rules:\n  - age: age1x\n",
                "creation rule 1: `age1x` is no recipient: expected `age1…`, `ssh-ed25519 …` or `ssh-rsa …`",
            ),
        ] {
            assert_eq!(Config::parse(text).unwrap_err().to_string(), message);
        }
        assert!(matches!(Config::parse("").unwrap().terms("x"), Err(Error::NoRule(_))));
        let nobody = Config::parse("creation_rules:\n  - path_regex: x\n").unwrap();
        assert!(matches!(nobody.terms("x"), Err(Error::NoRecipients(_))));
    }
}
