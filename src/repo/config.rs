//! Writing `.sops.yaml`: a new one, one more rule, one more recipient. What is there stays as it is.

mod removal;

use std::collections::{BTreeMap, BTreeSet};
use std::{fs, io};

use crate::crypto::envelope::Recipient;
use crate::format::{Context, Document, Leaf, PathId, Style, yaml};
use crate::git::Repository;
use crate::keys::recipients::Named;
use crate::policy::Rule;
use crate::policy::creation::{Audience, Config, Terms};

use super::Error;
use super::recipients::{Addition, Place};
pub use removal::without_recipients;

/// The file's name.
pub const NAME: &str = ".sops.yaml";

/// Fails with place and reason if the `.sops.yaml` of the work tree cannot be used. There may be none.
pub fn check(repository: &Repository) -> Result<(), Error> {
    let path = repository.work_tree()?.join(NAME);
    match fs::read(&path) {
        Ok(bytes) => parse(&String::from_utf8_lossy(&bytes)).map(drop),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io(path)(error)),
    }
}

/// What a new rule selects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// All values.
    All,
    /// The values below keys that match, and a MAC over those only, so that a bot that bumps
    /// an image tag does not break it.
    Keys(String),
    /// What a comment `# secret` stands before, with the same MAC.
    Marked,
}

/// The comments that mark what is secret.
const MARK: &str = r"(?i)^\s*secret\b";

impl Selection {
    /// The field of `.sops.yaml` that says it, and its text.
    pub fn field(&self) -> Option<(&'static str, &str)> {
        match self {
            Self::All => None,
            Self::Keys(keys) => Some(("encrypted_regex", keys)),
            Self::Marked => Some(("encrypted_comment_regex", MARK)),
        }
    }
}

/// A `.sops.yaml` with one rule for all files of a branch.
pub fn new(recipients: &[Named]) -> String {
    let mut text = String::from(
        "# Who can read the secrets of this branch, and what is encrypted (the format of sops).\n\
         # Add a reader with `hlx recipients add`: it also lets them read what is encrypted already.\n\
         creation_rules:\n  - age:\n",
    );
    recipients.iter().for_each(|named| text.push_str(&item(named, 6)));
    text
}

fn item(named: &Named, indent: usize) -> String {
    let name = named.name.as_ref().map(|name| format!(" # {name}")).unwrap_or_default();
    format!("{:indent$}- {}{name}\n", "", named.recipient)
}

/// Whether the rule that counts for a path selects just this.
pub fn has_rule(text: &str, path: &str, selection: &Selection) -> Result<bool, Error> {
    let config = parse(text)?;
    Ok(Some(config.terms(path).map_err(policy)?.rule.field()) == selection.field())
}

/// The terms on which a path is sealed.
pub fn terms(text: &str, path: &str) -> Result<Terms, Error> {
    Ok(parse(text)?.terms(path).map_err(policy)?.clone())
}

/// The expression that matches one path.
fn just(path: &str) -> String {
    yaml::spell::double(&format!("^{}$", regex::escape(path)))
}

/// Whether a rule is for just this path, as `track` writes it.
pub fn names_path(text: &str, path: &str) -> bool {
    text.contains(&format!("path_regex: {}", just(path)))
}

/// The lines that say what a rule selects.
fn selecting(selection: &Selection, indent: usize) -> String {
    let line = |(field, text): (&str, &str)| {
        let text = yaml::spell::double(text);
        format!("{:indent$}{field}: {text}\n{:indent$}mac_only_encrypted: true\n", "", "")
    };
    selection.field().map_or_else(String::new, line)
}

/// The rule for just this path with another selection. Its other lines stay.
fn with_selection(text: &str, path: &str, selection: &Selection) -> Result<String, Error> {
    let uneditable = || Error::Rule { path: path.to_owned(), lines: selecting(selection, 4) };
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let names = format!("path_regex: {}", just(path));
    let first = lines.iter().position(|line| line.trim_start_matches([' ', '-']).starts_with(&names));
    let first = first.filter(|first| lines[*first].trim_start().starts_with("- ")).ok_or_else(uneditable)?;
    let indent = lines[first].len() - lines[first].trim_start_matches([' ', '-']).len();
    let depth = |line: &str| line.len() - line.trim_start_matches(' ').len();
    let inside = |line: &&&str| line.trim().is_empty() || depth(line) >= indent;
    let end = first + 1 + lines[first + 1..].iter().take_while(inside).count();
    let selects = |line: &&&str| {
        let key = line.trim().split(':').next().unwrap_or_default();
        depth(line) == indent && (Rule::FIELDS.contains(&key) || key == "mac_only_encrypted")
    };
    let kept: String = lines[first + 1..end].iter().filter(|line| !selects(line)).copied().collect();
    let new = lines[..=first].concat() + &selecting(selection, indent) + &kept + &lines[end..].concat();
    let before = terms(text, path)?.audience;
    let good = terms(&new, path).is_ok_and(|terms| terms.audience == before);
    match good && has_rule(&new, path, selection)? {
        true => Ok(new),
        false => Err(uneditable()),
    }
}

/// Puts a rule for one path before all others, for the recipients of the rule that counted so far; a rule for just this
/// path is changed.
pub fn with_rule(text: &str, path: &str, selection: &Selection) -> Result<String, Error> {
    if names_path(text, path) {
        return with_selection(text, path, selection);
    }
    let config = parse(text)?;
    let terms = config.terms(path).map_err(policy)?;
    let mut rule = format!("  - path_regex: {}\n{}", just(path), selecting(selection, 4));
    rule += &readers(&terms.audience, &names(text));
    let head = "creation_rules:\n";
    let at = text.find(head).ok_or_else(|| Error::Uneditable(NAME.to_owned()))? + head.len();
    // A list without indentation of its own keeps it so.
    let flush = text[at..]
        .lines()
        .find(|line| line.trim_start().starts_with('-'))
        .is_some_and(|l| l.starts_with('-'));
    let rule = if flush { rule.lines().map(|line| format!("{}\n", &line[2..])).collect() } else { rule };
    let new = format!("{}{rule}{}", &text[..at], &text[at..]);
    parse(&new)?;
    Ok(new)
}

/// The lines of a rule that say for whom it seals.
fn readers(audience: &Audience, names: &BTreeMap<Recipient, String>) -> String {
    let items = |group: &[Recipient], indent| -> String {
        let named = |key: &Recipient| Named { recipient: key.clone(), name: names.get(key).cloned() };
        group.iter().map(|key| item(&named(key), indent)).collect()
    };
    match audience.groups() {
        [one] => format!("    age:\n{}", items(one, 6)),
        groups => {
            let groups: String =
                groups.iter().map(|group| format!("      - age:\n{}", items(group, 10))).collect();
            format!("    key_groups:\n{groups}    shamir_threshold: {}\n", audience.threshold())
        }
    }
}

/// Adds recipients to every rule that does not have them, in its one key group or in the one
/// that is named. `None` if all rules have them.
pub fn with_recipients(text: &str, added: Addition<'_>) -> Result<Option<String>, Error> {
    let before = parse(text)?;
    for audience in before.audiences() {
        added.place.among(audience.groups().len())?;
    }
    let uneditable = || Error::Uneditable(NAME.to_owned());
    let document = yaml::parse(text).map_err(|_| uneditable())?;
    let mut new = text.to_owned();
    for list in lists(&document, added.place).iter().rev() {
        let present: String =
            list.iter().map(|leaf| leaf.content.text().unwrap_or_default()).collect::<Vec<_>>().join(",");
        let missing: Vec<&Named> =
            added.readers.iter().filter(|named| !present.contains(named.recipient.as_str())).collect();
        if let (Some(last), false) = (list.last(), missing.is_empty()) {
            insert(&mut new, last, &missing)?;
        }
    }
    match is_extended(&before, &parse(&new)?, added)? {
        true => Ok((new != text).then_some(new)),
        false => Err(uneditable()),
    }
}

/// The list of keys of each rule that a new reader belongs in, in document order.
fn lists<'d>(document: &'d Document<'_>, place: Place) -> Vec<Vec<&'d Leaf<'d>>> {
    // By the rule (or its `key_groups`), then by the list: both are numbered in document order.
    let mut rules = BTreeMap::<PathId, BTreeMap<PathId, Vec<&Leaf<'_>>>>::new();
    for leaf in document.leaves.iter().filter(|leaf| leaf.style != Style::Hash) {
        let names = document.paths.names(leaf.path);
        let is_list =
            matches!(names[..], ["creation_rules", "age"] | ["creation_rules", "key_groups", "age"]);
        if let (true, Some((rule, _))) = (is_list, document.paths.split(leaf.path)) {
            rules.entry(rule).or_default().entry(leaf.path).or_default().push(leaf);
        }
    }
    let pick = |(rule, lists): (PathId, BTreeMap<PathId, Vec<_>>)| {
        let grouped = document.paths.split(rule).is_some_and(|(_, name)| name == "key_groups");
        let lists = lists.into_values().collect::<Vec<_>>();
        match (grouped, place.among(lists.len())) {
            (true, Ok(index)) => lists.into_iter().skip(index).take(1).collect(),
            // The rules of a file stand side by side: each has a list of its own.
            (false, _) => lists,
            (true, Err(_)) => Vec::new(),
        }
    };
    rules.into_iter().flat_map(pick).collect()
}

/// Whether each rule that names anybody has the new readers where they belong, and nobody else more or less.
fn is_extended(before: &Config, after: &Config, added: Addition<'_>) -> Result<bool, Error> {
    let mut all = before.audiences().count() == after.audiences().count();
    for (old, new) in before.audiences().zip(after.audiences()) {
        if old.recipients().next().is_none() {
            continue;
        }
        let index = added.place.among(old.groups().len())?;
        let mut expected = old.groups().to_vec();
        let readers = added.readers.iter().map(|named| &named.recipient);
        let missing: Vec<_> = readers.filter(|key| !expected[index].contains(key)).cloned().collect();
        expected[index].extend(missing);
        let sorted = |groups: &[Vec<Recipient>]| -> Vec<BTreeSet<Recipient>> {
            groups.iter().map(|group| group.iter().cloned().collect()).collect()
        };
        all &= sorted(new.groups()) == sorted(&expected);
    }
    Ok(all)
}

fn insert(text: &mut String, last: &Leaf<'_>, missing: &[&Named]) -> Result<(), Error> {
    let line_start = text[..last.span.start].rfind('\n').map_or(0, |end| end + 1);
    let before = &text[line_start..last.span.start];
    let keys = |comma| missing.iter().map(|named| named.recipient.as_str()).collect::<Vec<_>>().join(comma);
    match last.style {
        Style::Plain(_) if before.trim() == "-" => {
            let indent = before.len() - before.trim_start().len();
            let end = text[last.span.end..].find('\n').map(|end| last.span.end + end + 1);
            let items: String = missing.iter().map(|named| item(named, indent)).collect();
            match end {
                Some(end) => text.insert_str(end, &items),
                None => *text += &format!("\n{items}"),
            }
        }
        Style::Plain(Context::Block) => text.insert_str(last.span.end, &format!(",{}", keys(","))),
        Style::Plain(Context::Flow) => text.insert_str(last.span.end, &format!(", {}", keys(", "))),
        Style::Single(_) | Style::Double(_) => text.insert_str(last.span.end - 1, &format!(",{}", keys(","))),
        Style::Block(style) => {
            let line = format!("{:indent$}{}\n", "", keys(","), indent = style.indent as usize);
            let end = text[..last.span.end].trim_end().len();
            let comma = if text[..end].ends_with(',') { "" } else { "," };
            text.insert_str(last.span.end, &line);
            text.insert_str(end, comma);
        }
        _ => return Err(Error::Uneditable(NAME.to_owned())),
    }
    Ok(())
}

/// The names that stand as comments behind or above the keys of a `.sops.yaml`.
pub fn names(text: &str) -> BTreeMap<Recipient, String> {
    let mut names = BTreeMap::new();
    let mut above: Option<&str> = None;
    for line in text.lines().map(str::trim) {
        let item = line.trim_start_matches("- ");
        let (key, behind) = item.split_once(" #").unwrap_or((item, ""));
        match key.trim().trim_matches(['"', '\'', ',']).parse::<Recipient>() {
            Ok(recipient) => {
                let name =
                    [behind.trim(), above.unwrap_or_default()].into_iter().find(|name| !name.is_empty());
                names.extend(name.map(|name| (recipient, name.to_owned())));
                above = None;
            }
            Err(_) => above = line.strip_prefix('#').map(str::trim),
        }
    }
    names
}

fn parse(text: &str) -> Result<Config, Error> {
    Config::parse(text).map_err(policy)
}

fn policy(source: crate::policy::Error) -> Error {
    Error::Policy { place: NAME.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "age1xk7yh7phvy5fcapfuzwvhrr8hehh35p0zyrk4hur70yge458ayxq6dm0nj";
    const B: &str = "age1sld56zg0pxytug34k8a0tc0ja5f5t9s57f04dsml7d38r9rhjp2qlkkvgu";
    const SSH: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsKLqeplhpW+uObz5dvMgjz1OxfM/XXUB+VHtZ6isGN";

    fn named(key: &str, name: Option<&str>) -> Named {
        Named { recipient: key.parse().unwrap(), name: name.map(str::to_owned) }
    }

    #[test]
    fn a_recipient_is_added_in_every_form_of_the_list() {
        let nas = [named(SSH, Some("nas"))];
        let added = Addition { readers: &nas, place: Place::Unsaid };
        for (text, expected) in [
            (
                format!("# top\ncreation_rules:\n  - age:\n      - {A} # me\n    # end\n"),
                format!(
                    "# top\ncreation_rules:\n  - age:\n      - {A} # me\n      - {SSH} # nas\n    # end\n"
                ),
            ),
            (format!("creation_rules:\n- age: {A}\n"), format!("creation_rules:\n- age: {A},{SSH}\n")),
            (format!("creation_rules:\n- age: [{A}]\n"), format!("creation_rules:\n- age: [{A}, {SSH}]\n")),
            (
                format!("creation_rules:\n- age: \"{A}\"\n"),
                format!("creation_rules:\n- age: \"{A},{SSH}\"\n"),
            ),
            (
                format!("creation_rules:\n  - age: >-\n      {A}\n"),
                format!("creation_rules:\n  - age: >-\n      {A},\n      {SSH}\n"),
            ),
        ] {
            assert_eq!(with_recipients(&text, added).unwrap().as_deref(), Some(expected.as_str()));
            assert_eq!(with_recipients(&expected, added).unwrap(), None);
        }
    }

    #[test]
    fn a_rule_for_one_path_goes_first_and_keeps_the_names() {
        let text = new(&[named(A, Some("laptop"))]);
        let ruled = with_rule(&text, "compose.yml", &Selection::Keys("^environment$".to_owned())).unwrap();
        let config = Config::parse(&ruled).unwrap();
        assert_eq!(config.terms("compose.yml").unwrap().rule.field(), ("encrypted_regex", "^environment$"));
        assert_eq!(config.terms(".env").unwrap().rule.field().0, "unencrypted_suffix");
        let marked = Config::parse(&with_rule(&text, "a.yml", &Selection::Marked).unwrap()).unwrap();
        let rule = &marked.terms("a.yml").unwrap().rule;
        assert_eq!(Some(rule.field()), Selection::Marked.field());
        let (mark, _) = rule.comment().unwrap();
        for (comment, marks) in
            [(" secret", true), ("Secret: x", true), (" secrets", false), (" no secret", false)]
        {
            assert_eq!(mark.is_match(comment), marks, "{comment}");
        }
        assert_eq!(names(&ruled).into_values().collect::<Vec<_>>(), ["laptop"]);
        assert_eq!(ruled.matches("# laptop").count(), 2);
    }

    #[test]
    fn among_several_groups_a_recipient_is_added_to_the_one_named() {
        let nas = [named(SSH, Some("nas"))];
        let added = |place| Addition { readers: &nas, place };
        let text = format!(
            "creation_rules:\n  - path_regex: x\n    age: {A}\n  - key_groups:\n      - age: [{A}]\n      - age:\n          - {B}\n"
        );
        let expected = text.replace(&format!("age: {A}"), &format!("age: {A},{SSH}"))
            + &format!("          - {SSH} # nas\n");
        assert_eq!(with_recipients(&text, added(Place::Group(2))).unwrap(), Some(expected));
        for place in [Place::Unsaid, Place::Group(3), Place::Group(0)] {
            assert!(matches!(with_recipients(&text, added(place)), Err(Error::WhichGroup { groups: 2 })));
        }
        // A list that is merged from elsewhere is not touched.
        let merged = format!(
            "creation_rules:\n  - key_groups:\n      - merge: [{{age: [{A}]}}]\n      - age: [{B}]\n"
        );
        assert!(matches!(with_recipients(&merged, added(Place::Group(1))), Err(Error::Uneditable(_))));
        let expected = merged.replace(&format!("age: [{B}]"), &format!("age: [{B}, {SSH}]"));
        assert_eq!(with_recipients(&merged, added(Place::Group(2))).unwrap(), Some(expected));
    }

    #[test]
    fn a_rule_for_one_path_keeps_the_groups() {
        let text = format!(
            "creation_rules:\n  - key_groups:\n      - age: [{A}]\n      - age: [{B}]\n      - age: [{SSH}]\n    shamir_threshold: 2\n"
        );
        let config = Config::parse(&with_rule(&text, "x.yml", &Selection::All).unwrap()).unwrap();
        let audiences: Vec<_> = config.audiences().collect();
        assert!(audiences.len() == 2 && audiences[0] == audiences[1]);
    }
}
