//! `.sops.yaml`: for whom and by which rule a new file is sealed.
//!
//! The first creation rule whose `path_regex` matches the path counts; a rule without one
//! matches every path. (getsops/sops v3.13.2, `config/config.go`.)

use std::collections::HashSet;

use serde::Deserialize;

use super::{Error, Pattern, Rule};
use crate::crypto::envelope::Recipient;
use crate::crypto::mac::Coverage;

/// Who shall read a file: groups of recipients, and how many groups must come together.
///
/// There is at least one group. One group needs nobody else; of several, at least two come together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Audience {
    groups: Vec<Vec<Recipient>>,
    threshold: u8,
}

impl Audience {
    /// The groups, in the order of the rule.
    pub fn groups(&self) -> &[Vec<Recipient>] {
        &self.groups
    }

    /// The number of groups that must come together.
    pub fn threshold(&self) -> u8 {
        self.threshold
    }

    /// Every recipient of every group.
    pub fn recipients(&self) -> impl Iterator<Item = &Recipient> {
        self.groups.iter().flatten()
    }

    /// True if these keys together can read it.
    pub fn includes(&self, keys: &[Recipient]) -> bool {
        let mine = self.groups.iter().filter(|group| group.iter().any(|recipient| keys.contains(recipient)));
        mine.count() >= usize::from(self.threshold)
    }

    /// True if the same keys stand in the same groups, in whatever order.
    pub fn equals(&self, other: &Self) -> bool {
        let same = |(one, other): (&Vec<Recipient>, &Vec<Recipient>)| {
            one.iter().collect::<HashSet<_>>() == other.iter().collect::<HashSet<_>>()
        };
        let groups = || self.groups.iter().zip(&other.groups);
        self.threshold == other.threshold && self.groups.len() == other.groups.len() && groups().all(same)
    }

    /// An audience of these groups. A threshold of 0 asks for all groups, as with sops. Fails with the reason.
    pub fn new(groups: Vec<Vec<Recipient>>, threshold: u64) -> Result<Self, String> {
        let count = groups.len();
        if let Some(empty) = groups.iter().position(Vec::is_empty)
            && count > 1
        {
            return Err(format!("key group {} names nobody", empty + 1));
        }
        let all = u8::try_from(count).map_err(|_| "there are more than 255 key groups".to_owned())?;
        let threshold = u8::try_from(threshold).ok().filter(|threshold| *threshold <= all.max(1));
        match (threshold, count) {
            (None, 0 | 1) => Err("`shamir_threshold` is more than 1, but there is one key group".to_owned()),
            (None, _) => Err(format!("`shamir_threshold` is more than the {count} key groups")),
            (Some(1), 2..) => {
                Err("`shamir_threshold` is 1: with several key groups SOPS needs at least 2".to_owned())
            }
            (Some(0), _) => Ok(Self { groups, threshold: all }),
            (Some(threshold), _) => Ok(Self { groups, threshold }),
        }
    }
}

/// How a new file is to be sealed.
#[derive(Debug, Clone)]
pub struct Terms {
    /// Who shall read it.
    pub audience: Audience,
    /// Which values are sealed.
    pub rule: Rule,
    /// Which values the MAC covers.
    pub coverage: Coverage,
}

/// A `.sops.yaml`, read.
#[derive(Debug, Default)]
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

/// Fields of SOPS that name keys of other kinds. (getsops/sops v3.13.2, `config/config.go`.)
const OTHER_KINDS: [&str; 9] = [
    "pgp",
    "kms",
    "aws_profile",
    "gcp_kms",
    "hckms",
    "azure_keyvault",
    "hc_vault",
    "hc_vault_transit_uri",
    "hc_vault_uris",
];

/// What is wrong with a field that is none of these.
fn unknown(name: &str, known: &[&str]) -> String {
    if OTHER_KINDS.contains(&name) {
        return format!("`{name}` is not supported: hlx seals for age recipients only");
    }
    match nearest(name, known) {
        Some(nearest) => format!("unknown field `{name}`; did you mean `{nearest}`?"),
        None => format!("unknown field `{name}`"),
    }
}

/// The name that another may have been meant for.
pub fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    let likeness = |known: &str| strsim::normalized_damerau_levenshtein(name, known);
    let best = known.iter().max_by(|one, other| likeness(one).total_cmp(&likeness(other)))?;
    (likeness(best) > 0.6).then_some(*best)
}

/// No rule nests brackets as deep. The parser's time grows with the square of the depth.
const MOST_BRACKETS: usize = 200;

/// How deep brackets nest, wherever they stand.
fn nesting(text: &str) -> usize {
    let (mut depth, mut most) = (0usize, 0);
    for byte in text.bytes() {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        most = most.max(depth);
    }
    most
}

impl Config {
    /// Reads a `.sops.yaml`; every rule is checked, also those that are not asked for.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if nesting(text) > MOST_BRACKETS {
            let reason = format!("brackets nest deeper than {MOST_BRACKETS} levels");
            return Err(Error::Config { place: "the file".to_owned(), reason });
        }
        let raw: RawConfig = serde_yaml::from_str(text).map_err(|error| {
            let place = error.location().map_or("the file".to_owned(), |at| format!("line {}", at.line()));
            Error::Config { place, reason: format!("not valid: {error}") }
        })?;
        let rules = raw.creation_rules.unwrap_or_default();
        let rules = rules.iter().enumerate().map(|(index, rule)| CreationRule::parse(index, rule));
        Ok(Self { rules: rules.collect::<Result<_, _>>()? })
    }

    /// The number of the rule that counts for a path, from 0.
    pub fn rule_for(&self, path: &str) -> Option<usize> {
        self.rules.iter().position(|rule| rule.path.as_ref().is_none_or(|regex| regex.is_match(path)))
    }

    /// How a new file at this path (below the folder of `.sops.yaml`) is to be sealed.
    pub fn terms(&self, path: &str) -> Result<&Terms, Error> {
        let rule = self.rule_for(path).ok_or_else(|| Error::NoRule(path.to_owned()))?;
        let rule = &self.rules[rule];
        if rule.terms.audience.recipients().next().is_none() {
            return Err(Error::NoRecipients(path.to_owned()));
        }
        Ok(&rule.terms)
    }

    /// For whom each rule seals.
    pub fn audiences(&self) -> impl Iterator<Item = &Audience> {
        self.rules.iter().map(|rule| &rule.terms.audience)
    }

    /// Every recipient that any rule names, once each, in order.
    pub fn recipients(&self) -> Vec<Recipient> {
        let mut all: Vec<Recipient> = Vec::new();
        for recipient in self.audiences().flat_map(Audience::recipients) {
            if !all.contains(recipient) {
                all.push(recipient.clone());
            }
        }
        all
    }

    /// Whom another config lets in besides, and whom it leaves out.
    pub fn changes_to(&self, other: &Self) -> (Vec<Recipient>, Vec<Recipient>) {
        let (old, new) = (self.recipients(), other.recipients());
        let only = |one: &[Recipient], other: &[Recipient]| {
            one.iter().filter(|recipient| !other.contains(recipient)).cloned().collect()
        };
        (only(&new, &old), only(&old, &new))
    }

    /// What each rule seals: the expression for its paths, and its field for values.
    pub fn selections(&self) -> Vec<(String, String, Coverage)> {
        let path = |rule: &CreationRule| rule.path.as_ref().map(|path| path.text.clone()).unwrap_or_default();
        let field = |rule: &CreationRule| format!("{:?}", rule.terms.rule.field());
        self.rules.iter().map(|rule| (path(rule), field(rule), rule.terms.coverage)).collect()
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
                return Err(fail(unknown(name, &KNOWN)));
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
        let threshold = match raw.get("shamir_threshold") {
            None => 0,
            Some(value) => {
                value.as_u64().ok_or_else(|| fail("`shamir_threshold` must be a number".to_owned()))?
            }
        };
        let audience = Audience::new(groups(raw, &place)?, threshold).map_err(fail)?;
        let only = raw.get("mac_only_encrypted").and_then(serde_yaml::Value::as_bool).unwrap_or(false);
        let coverage = if only { Coverage::OnlyEncrypted } else { Coverage::All };
        let terms = Terms { audience, rule: Rule::from_fields(text)?, coverage };
        Ok(Self { place, path, terms })
    }
}

/// The recipients of a rule: its key groups if it has any, else the one group of its `age` field.
fn groups(raw: &serde_yaml::Mapping, place: &str) -> Result<Vec<Vec<Recipient>>, Error> {
    let fail =
        |place: &str, reason: &str| Error::Config { place: place.to_owned(), reason: reason.to_owned() };
    let listed = match raw.get("key_groups") {
        None | Some(serde_yaml::Value::Null) => &[][..],
        Some(serde_yaml::Value::Sequence(groups)) => groups,
        Some(_) => return Err(fail(place, "`key_groups` must be a list")),
    };
    if listed.is_empty() {
        return Ok(vec![distinct(recipients(raw.get("age"), place)?)]);
    }
    let group = |(index, group): (usize, &serde_yaml::Value)| {
        let place = format!("{place}, key group {}", index + 1);
        Ok(distinct(merged(group, &place, 0)?))
    };
    listed.iter().enumerate().map(group).collect()
}

/// The recipients of a key group: those that it merges, then its own.
fn merged(group: &serde_yaml::Value, place: &str, depth: usize) -> Result<Vec<Recipient>, Error> {
    let fail = |reason: String| Error::Config { place: place.to_owned(), reason };
    let group =
        group.as_mapping().ok_or_else(|| fail("it must be a mapping, such as `age: […]`".to_owned()))?;
    let names = group.keys().map(|key| key.as_str().unwrap_or_default());
    if let Some(name) = names.into_iter().find(|name| !["age", "merge"].contains(name)) {
        return Err(fail(unknown(name, &["age", "merge"])));
    }
    let merge = match group.get("merge") {
        None | Some(serde_yaml::Value::Null) => &[][..],
        Some(serde_yaml::Value::Sequence(groups)) if depth < 8 => groups,
        Some(_) => return Err(fail("`merge` must be a list of key groups".to_owned())),
    };
    let mut all = Vec::new();
    for group in merge {
        all.extend(merged(group, place, depth + 1)?);
    }
    all.extend(recipients(group.get("age"), place)?);
    Ok(all)
}

fn recipients(value: Option<&serde_yaml::Value>, place: &str) -> Result<Vec<Recipient>, Error> {
    let fail = |reason| Error::Config { place: place.to_owned(), reason };
    let keys = value.map_or(Ok(Vec::new()), keys).map_err(fail)?;
    let parse =
        |key: &String| key.parse().map_err(|source| Error::BadRecipient { place: place.to_owned(), source });
    keys.iter().map(parse).collect()
}

fn distinct(mut recipients: Vec<Recipient>) -> Vec<Recipient> {
    let mut seen = HashSet::new();
    recipients.retain(|recipient| seen.insert(recipient.clone()));
    recipients
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

    const B: &str = "age1sld56zg0pxytug34k8a0tc0ja5f5t9s57f04dsml7d38r9rhjp2qlkkvgu";
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
        assert_eq!(config.terms(".env").unwrap().audience.recipients().count(), 1);
    }

    #[test]
    fn key_groups_come_before_age_and_are_merged() {
        let text = format!(
            "creation_rules:\n  - age: {A}\n    key_groups:\n      - merge:\n          - age: [{B}]\n          - merge: [{{age: [{A}]}}]\n        age: [{B}, \"{A}\"]\n      - age: [{A}]\n"
        );
        let config = Config::parse(&text).unwrap();
        let audience = &config.terms("x").unwrap().audience;
        let [a, b]: [Recipient; 2] = [A, B].map(|key| key.parse().unwrap());
        assert_eq!(audience.groups(), [vec![b.clone(), a.clone()], vec![a.clone()]]);
        assert_eq!(audience.threshold(), 2);
        assert!(audience.includes(&[a]) && !audience.includes(&[b]));
    }

    #[test]
    fn groups_that_sops_could_not_split_for_are_refused_with_their_place() {
        let two = format!("    key_groups:\n      - age: [{A}]\n      - age: [{B}]\n");
        for (rule, message) in [
            (
                format!("{two}    shamir_threshold: 3\n"),
                "creation rule 2: `shamir_threshold` is more than the 2 key groups",
            ),
            (
                format!("{two}    shamir_threshold: 1\n"),
                "creation rule 2: `shamir_threshold` is 1: with several key groups SOPS needs at least 2",
            ),
            (
                format!("{two}    shamir_threshold: two\n"),
                "creation rule 2: `shamir_threshold` must be a number",
            ),
            (
                format!("    age: {A}\n    shamir_threshold: 2\n"),
                "creation rule 2: `shamir_threshold` is more than 1, but there is one key group",
            ),
            (format!("{two}      - age: []\n"), "creation rule 2: key group 3 names nobody"),
            (
                format!("{two}      - pgp: [X]\n"),
                "creation rule 2, key group 3: `pgp` is not supported: hlx seals for age recipients only",
            ),
            (
                format!("{two}      - age: [age1x]\n"),
                "creation rule 2, key group 3: `age1x` is no recipient: expected `age1…`, `ssh-ed25519 …` or `ssh-rsa …`",
            ),
            (
                format!("{two}      - {A}\n"),
                "creation rule 2, key group 3: it must be a mapping, such as `age: […]`",
            ),
        ] {
            let text = format!("creation_rules:\n  - age: {A}\n  - path_regex: x\n{rule}");
            assert_eq!(Config::parse(&text).unwrap_err().to_string(), message);
        }
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
                "creation_rules:\n  - path_regx: x\n",
                "creation rule 1: unknown field `path_regx`; did you mean `path_regex`?",
            ),
            ("creation_rules:\n  - colour: red\n", "creation rule 1: unknown field `colour`"),
            (
                "creation_rules:\n  - key_groups:\n      - aeg: x\n",
                "creation rule 1, key group 1: unknown field `aeg`; did you mean `age`?",
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
