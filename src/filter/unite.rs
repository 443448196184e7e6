//! Uniting how the sides of a merge are sealed: whose data key, which rule, which readers.
//!
//! Plain data in, a decision out. What one side alone changed since the common ancestor counts; what both changed
//! otherwise is a conflict, so that no reader comes or goes unnoticed. Whether this clone has accepted a key or a
//! reader is not asked here: a [`Decision`] says which side each comes from.

use std::fmt;

use crate::crypto::envelope::Recipient;

/// A side of a merge, in git's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// What is checked out, or rebased onto.
    Ours,
    /// What is merged, or picked.
    Theirs,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ours => "ours",
            Self::Theirs => "theirs",
        })
    }
}

/// How a file is sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// The data key: files with the same key have the same number.
    pub key: usize,
    /// The rule, and what the MAC covers.
    pub rule: String,
    /// The key groups.
    pub groups: Vec<Members>,
    /// How many groups must come together.
    pub needed: usize,
}

/// Who is in a key group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Members {
    /// The age recipients, in the order of the file.
    pub readers: Vec<String>,
    /// Keys of other kinds, which hlx cannot wrap for, as one text.
    pub others: String,
}

/// How the merged file is to be sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Whose data key and key groups.
    pub key: Side,
    /// Whose rule.
    pub rule: Side,
    /// The members of each group; whose keys of other kinds.
    pub groups: Vec<(Vec<String>, Side)>,
    /// In what the sides differed, and what came of it.
    pub changes: Vec<Change>,
}

/// A difference between the sides that was united.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A side let someone in.
    Added(String, Side),
    /// A side took someone out.
    Removed(String, Side),
    /// A side has a new data key.
    Key(Side),
    /// Both have, for the same readers: this one stays.
    OneOfTwoKeys(Side),
    /// A side has another rule.
    Rule(Side),
    /// Only this side is encrypted.
    OnlySealed(Side),
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Added(reader, side) => write!(f, "{} can read it, added by {side}", short(reader)),
            Self::Removed(reader, side) => {
                write!(f, "{} cannot read it any more, removed by {side}", short(reader))
            }
            Self::Key(side) => write!(f, "it has the new data key of {side}"),
            Self::OneOfTwoKeys(side) => {
                write!(f, "both sides have a new data key for the same readers: it has that of {side}")
            }
            Self::Rule(side) => write!(f, "it has the new rule of {side}"),
            Self::OnlySealed(side) => write!(f, "only {side} is encrypted: it has key and readers of {side}"),
        }
    }
}

fn short(reader: &str) -> String {
    reader.parse::<Recipient>().map_or_else(|_| reader.to_owned(), |key| key.short())
}

/// Why the sides cannot be united.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// Both changed the rule.
    #[error("the sides encrypt by different rules: `{ours}` and `{theirs}`")]
    Rule {
        /// Our rule.
        ours: String,
        /// Theirs.
        theirs: String,
    },
    /// Both have a new data key, and not the same readers.
    #[error("each side has a new data key, and they differ in who can read it: {}", list(.0))]
    Keys(Vec<String>),
    /// There is no common ancestor that tells who was added and who was taken out.
    #[error("the sides differ in who can read it, and nothing tells which is newer: {}", list(.0))]
    Readers(Vec<String>),
    /// Both changed the number of key groups, or how many must come together.
    #[error("the sides have different key groups")]
    Groups,
    /// Keys of other kinds differ, and the data key cannot be wrapped for them here.
    #[error("the sides differ in keys that are not of age")]
    OtherKinds,
    /// Between them the sides took everyone out.
    #[error("together the sides leave nobody who can read it")]
    Nobody,
}

fn list(readers: &[String]) -> String {
    readers.iter().map(|reader| short(reader)).collect::<Vec<_>>().join(", ")
}

impl Decision {
    /// All as a side has it.
    pub fn all(side: Side, terms: &Terms, changes: Vec<Change>) -> Self {
        let groups = terms.groups.iter().map(|group| (group.readers.clone(), side)).collect();
        Self { key: side, rule: side, groups, changes }
    }
}

/// Decides whose data key, rule and readers a merged file gets.
pub fn decide(base: Option<&Terms>, ours: &Terms, theirs: &Terms) -> Result<Decision, Conflict> {
    let mut changes = Vec::new();
    let groups = members(base, ours, theirs, &mut changes)?;
    let key = data_key(base, ours, theirs, &mut changes)?;
    let others = |terms: &Terms, group: usize| terms.groups.get(group).map(|group| group.others.clone());
    let foreign = |(index, (_, side)): (usize, &(Vec<String>, Side))| {
        *side != key && others(ours, index) != others(theirs, index)
    };
    if ours.key != theirs.key && groups.iter().enumerate().any(foreign) {
        return Err(Conflict::OtherKinds);
    }
    let rule = pick(base.map(|base| &base.rule), &ours.rule, &theirs.rule);
    let rule = rule.ok_or_else(|| Conflict::Rule { ours: ours.rule.clone(), theirs: theirs.rule.clone() })?;
    if ours.rule != theirs.rule {
        changes.push(Change::Rule(rule));
    }
    Ok(Decision { key, rule, groups, changes })
}

/// The side that alone changed something; ours if neither did, or both alike.
fn pick<T: PartialEq>(base: Option<T>, ours: T, theirs: T) -> Option<Side> {
    match base {
        _ if ours == theirs => Some(Side::Ours),
        Some(base) if base == theirs => Some(Side::Ours),
        Some(base) if base == ours => Some(Side::Theirs),
        Some(_) | None => None,
    }
}

fn data_key(
    base: Option<&Terms>,
    ours: &Terms,
    theirs: &Terms,
    changes: &mut Vec<Change>,
) -> Result<Side, Conflict> {
    let shape = |terms: &Terms| (terms.groups.len(), terms.needed);
    let shaped = pick(base.map(shape), shape(ours), shape(theirs)).ok_or(Conflict::Groups)?;
    let key = match pick(base.map(|base| base.key), ours.key, theirs.key) {
        Some(side) => side,
        None => match differing(ours, theirs) {
            readers if readers.is_empty() => Side::Ours,
            readers => return Err(Conflict::Keys(readers)),
        },
    };
    if ours.key != theirs.key {
        let both = base.is_none_or(|base| base.key != ours.key && base.key != theirs.key);
        changes.push(if both { Change::OneOfTwoKeys(key) } else { Change::Key(key) });
    }
    match shape(ours) == shape(theirs) {
        true => Ok(key),
        // Groups are wrapped anew only by `hlx recipients` and `hlx rotate`: these must come with their own key.
        false if ours.key == theirs.key || key == shaped => Ok(shaped),
        false => Err(Conflict::Groups),
    }
}

/// Who can read one side only.
fn differing(ours: &Terms, theirs: &Terms) -> Vec<String> {
    let all = |terms: &Terms| -> Vec<String> {
        terms.groups.iter().flat_map(|group| group.readers.iter().cloned()).collect()
    };
    let (ours, theirs) = (all(ours), all(theirs));
    let only = |these: &[String], those: &[String]| -> Vec<String> {
        these.iter().filter(|reader| !those.contains(reader)).cloned().collect()
    };
    [only(&ours, &theirs), only(&theirs, &ours)].concat()
}

fn members(
    base: Option<&Terms>,
    ours: &Terms,
    theirs: &Terms,
    changes: &mut Vec<Change>,
) -> Result<Vec<(Vec<String>, Side)>, Conflict> {
    let Some(base) = base else {
        return match &differing(ours, theirs)[..] {
            [] if ours.groups.len() == theirs.groups.len() => {
                let others = ours.groups.iter().zip(&theirs.groups);
                let alike = others.clone().all(|(ours, theirs)| ours.others == theirs.others);
                let groups = others.map(|(ours, _)| (ours.readers.clone(), Side::Ours)).collect();
                alike.then_some(groups).ok_or(Conflict::OtherKinds)
            }
            [] => Err(Conflict::Groups),
            readers => Err(if ours.key == theirs.key {
                Conflict::Readers(readers.to_vec())
            } else {
                Conflict::Keys(readers.to_vec())
            }),
        };
    };
    if ours.groups.len() != theirs.groups.len() || base.groups.len() != ours.groups.len() {
        return regrouped(base, ours, theirs, changes);
    }
    let mut united = Vec::new();
    for ((base, ours), theirs) in base.groups.iter().zip(&ours.groups).zip(&theirs.groups) {
        let readers = group(&base.readers, &ours.readers, &theirs.readers, changes);
        let others = pick(Some(&base.others), &ours.others, &theirs.others).ok_or(Conflict::OtherKinds)?;
        united.push((readers, others));
    }
    let empty = |(readers, others): &(Vec<String>, Side), index: usize| {
        let side = if *others == Side::Ours { ours } else { theirs };
        readers.is_empty() && side.groups[index].others.is_empty()
    };
    match united.iter().enumerate().any(|(index, group)| empty(group, index)) {
        true => Err(Conflict::Nobody),
        false => Ok(united),
    }
}

/// Where the number of groups changed, the side that changed it counts, and only if the other left the readers alone.
fn regrouped(
    base: &Terms,
    ours: &Terms,
    theirs: &Terms,
    changes: &mut Vec<Change>,
) -> Result<Vec<(Vec<String>, Side)>, Conflict> {
    let side = pick(Some(&base.groups), &ours.groups, &theirs.groups).ok_or(Conflict::Groups)?;
    let (winner, loser) = if side == Side::Ours { (ours, theirs) } else { (theirs, ours) };
    for reader in differing(winner, loser) {
        let added = winner.groups.iter().any(|group| group.readers.contains(&reader));
        changes.push(if added { Change::Added(reader, side) } else { Change::Removed(reader, side) });
    }
    Ok(winner.groups.iter().map(|group| (group.readers.clone(), side)).collect())
}

/// The readers of one group: those of both sides, and those whom one side added.
fn group(base: &[String], ours: &[String], theirs: &[String], changes: &mut Vec<Change>) -> Vec<String> {
    let mut readers = Vec::new();
    let sides = [(ours, theirs, Side::Ours, Side::Theirs), (theirs, ours, Side::Theirs, Side::Ours)];
    for (here, there, side, other) in sides {
        for reader in here {
            let alone = !there.contains(reader);
            if alone && base.contains(reader) {
                changes.push(Change::Removed(reader.clone(), other));
                continue;
            }
            if alone {
                changes.push(Change::Added(reader.clone(), side));
            }
            if !readers.contains(reader) {
                readers.push(reader.clone());
            }
        }
    }
    readers
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `KEY RULE READERS`, groups parted by `|`, keys of other kinds behind a `+`.
    fn terms(text: &str) -> Terms {
        let [key, rule, groups] = text.split(' ').collect::<Vec<_>>()[..] else { panic!("{text}") };
        let groups: Vec<Members> = groups
            .split('|')
            .map(|group| {
                let (readers, others) = group.split_once('+').unwrap_or((group, ""));
                Members { readers: readers.chars().map(String::from).collect(), others: others.to_owned() }
            })
            .collect();
        Terms { key: key.parse().unwrap(), rule: rule.to_owned(), needed: groups.len(), groups }
    }

    /// `KEY RULE READERS`, and the changes; or the conflict.
    fn decided(base: &str, ours: &str, theirs: &str) -> String {
        let base = (!base.is_empty()).then(|| terms(base));
        match decide(base.as_ref(), &terms(ours), &terms(theirs)) {
            Err(conflict) => conflict.to_string(),
            Ok(decision) => {
                let groups = decision.groups.iter().map(|(readers, _)| readers.concat());
                let groups = groups.collect::<Vec<_>>().join("|");
                let changes: Vec<String> =
                    decision.changes.iter().map(|change| format!("{change:?}")).collect();
                format!("{} {} {groups} {}", decision.key, decision.rule, changes.join(" ")).trim().to_owned()
            }
        }
    }

    #[test]
    fn what_one_side_changed_counts_and_what_both_changed_is_a_conflict() {
        for (base, ours, theirs, expected) in [
            ("0 r a", "0 r a", "0 r a", "ours ours a"),
            // Readers: added by one side, by both, and taken out by one.
            ("0 r a", "0 r a", "0 r ab", r#"ours ours ab Added("b", Theirs)"#),
            ("0 r a", "0 r ab", "0 r a", r#"ours ours ab Added("b", Ours)"#),
            ("0 r a", "0 r ab", "0 r ac", r#"ours ours abc Added("b", Ours) Added("c", Theirs)"#),
            ("0 r a", "0 r ab", "0 r ab", "ours ours ab"),
            ("0 r ab", "0 r ab", "0 r a", r#"ours ours a Removed("b", Theirs)"#),
            ("0 r ab", "0 r a", "0 r ab", r#"ours ours a Removed("b", Ours)"#),
            ("0 r ab", "0 r bc", "0 r ab", r#"ours ours bc Added("c", Ours) Removed("a", Ours)"#),
            ("0 r ab", "0 r a", "0 r b", "together the sides leave nobody who can read it"),
            // Keys: the new one counts; two new ones only for the same readers.
            ("0 r a", "0 r a", "1 r a", "theirs ours a Key(Theirs)"),
            ("0 r a", "1 r a", "0 r a", "ours ours a Key(Ours)"),
            (
                "0 r ab",
                "0 r abc",
                "1 r a",
                r#"theirs ours ac Removed("b", Theirs) Added("c", Ours) Key(Theirs)"#,
            ),
            ("0 r a", "1 r a", "2 r a", "ours ours a OneOfTwoKeys(Ours)"),
            (
                "0 r ab",
                "1 r a",
                "2 r ab",
                "each side has a new data key, and they differ in who can read it: b",
            ),
            // Rules.
            ("0 r a", "0 r a", "0 s a", "ours theirs a Rule(Theirs)"),
            ("0 r a", "0 s a", "1 r a", "theirs ours a Key(Theirs) Rule(Ours)"),
            ("0 r a", "0 s a", "0 t a", "the sides encrypt by different rules: `s` and `t`"),
            // Without an ancestor there is no telling.
            ("", "0 r a", "0 r a", "ours ours a"),
            ("", "0 r a", "1 r a", "ours ours a OneOfTwoKeys(Ours)"),
            (
                "",
                "0 r a",
                "0 r ab",
                "the sides differ in who can read it, and nothing tells which is newer: b",
            ),
            ("", "0 r a", "1 r ab", "each side has a new data key, and they differ in who can read it: b"),
            ("", "0 r a", "0 s a", "the sides encrypt by different rules: `r` and `s`"),
        ] {
            assert_eq!(decided(base, ours, theirs), expected, "{base} / {ours} / {theirs}");
        }
    }

    #[test]
    fn key_groups_are_united_one_by_one_and_keys_of_other_kinds_go_with_their_data_key() {
        for (base, ours, theirs, expected) in [
            ("0 r a|b", "0 r ac|b", "0 r a|bd", r#"ours ours ac|bd Added("c", Ours) Added("d", Theirs)"#),
            ("0 r a|b", "0 r a|b", "1 r a|b|c", r#"theirs ours a|b|c Added("c", Theirs) Key(Theirs)"#),
            ("0 r a|b", "0 r a|bd", "1 r a|b|c", "the sides have different key groups"),
            ("0 r a|b", "1 r a|b", "0 r ab", "the sides have different key groups"),
            ("", "0 r a|b", "0 r ab", "the sides have different key groups"),
            ("0 r a+x", "0 r a+x", "0 r a+y", "ours ours a"),
            ("0 r a+x", "1 r a+x", "0 r a+y", "the sides differ in keys that are not of age"),
            ("0 r a+x", "0 r a+y", "0 r a+z", "the sides differ in keys that are not of age"),
            ("0 r a+x", "0 r +x", "0 r a+x", r#"ours ours  Removed("a", Ours)"#),
        ] {
            assert_eq!(decided(base, ours, theirs), expected, "{base} / {ours} / {theirs}");
        }
    }

    #[test]
    fn a_decision_for_the_whole_of_a_side_names_it_everywhere() {
        let decision = Decision::all(Side::Theirs, &terms("0 r a"), Vec::new());
        assert_eq!((decision.key, decision.rule), (Side::Theirs, Side::Theirs));
        assert_eq!(decision.groups, [(vec!["a".to_owned()], Side::Theirs)]);
    }
}
