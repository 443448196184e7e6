//! Who may read, as it is compared: keys without their comments, and key groups that must come together as one.

use std::collections::BTreeSet;

use crate::crypto::envelope::Recipient;
use crate::policy::creation::{Audience, Config};
use crate::sops::KeyGroups;
use crate::sops::groups::Group;

/// Each reader; of several key groups, all of them as one.
pub type Readers = BTreeSet<String>;

/// For whom a file is sealed.
pub fn of_groups(groups: &KeyGroups) -> Readers {
    let group =
        |group: &Group| group.envelopes.iter().map(|envelope| canonical(&envelope.recipient)).collect();
    readers(groups.groups().iter().map(group).collect(), groups.needed())
}

/// For whom a rule seals.
pub fn of_audience(audience: &Audience) -> Readers {
    let group = |group: &Vec<Recipient>| group.iter().map(ToString::to_string).collect();
    readers(audience.groups().iter().map(group).collect(), usize::from(audience.threshold()))
}

/// Whom a `.sops.yaml` names for a path.
pub(super) fn named_for(config: &Config, path: &str) -> Readers {
    config.terms(path).map(|terms| of_audience(&terms.audience)).unwrap_or_default()
}

/// Everyone whom a `.sops.yaml` names; nobody if it is broken.
pub(super) fn named_in(config: &str) -> Readers {
    let Ok(config) = Config::parse(config) else { return Readers::new() };
    config.audiences().flat_map(of_audience).collect()
}

fn readers(mut groups: Vec<BTreeSet<String>>, needed: usize) -> Readers {
    match groups.len() {
        0 | 1 => groups.pop().unwrap_or_default(),
        _ => {
            let group =
                |group: &BTreeSet<String>| group.iter().map(String::as_str).collect::<Vec<_>>().join(" or ");
            let groups: Vec<String> = groups.iter().map(|members| format!("({})", group(members))).collect();
            Readers::from([format!("{needed} of {}", groups.join(" and "))])
        }
    }
}

fn canonical(reader: &str) -> String {
    reader.parse::<Recipient>().map_or_else(|_| reader.to_owned(), |recipient| recipient.to_string())
}
