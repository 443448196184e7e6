//! Containers that Compose was replacing when it was killed.
//!
//! It makes the new one under the name `<beginning of the old one's id>_<name>`, stops and removes
//! the old one, and gives the new one its name. Killed in between, it does not find its way on from
//! there: the next `up` fails, as a name is taken.

use super::docker::{Docker, Error};
use super::health::Container;

/// How much of an id is in such a name.
const HEAD: usize = 12;

/// What is to be done with one that was never started.
#[derive(Debug, PartialEq, Eq)]
enum Way<'c> {
    /// The old one is there: this one goes.
    Remove(&'c str),
    /// The old one has gone, and with it all but what this one has of its unnamed volumes: this one
    /// takes its name.
    Rename(&'c str, &'c str),
}

fn ways(containers: &[Container]) -> Vec<Way<'_>> {
    let way = |container: &'_ Container| -> Option<(usize, bool)> {
        let (head, name) = container.name.split_once('_')?;
        let is_half = container.status == "created"
            && head.len() == HEAD
            && head.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_there = containers.iter().any(|other| other.id.starts_with(head) || other.name == name);
        is_half.then_some((HEAD + 1, is_there))
    };
    let halves = containers.iter().filter_map(|container| Some((container, way(container)?)));
    halves
        .map(|(container, (at, is_there))| match is_there {
            true => Way::Remove(&container.id),
            false => Way::Rename(&container.id, &container.name[at..]),
        })
        .collect()
}

/// Undoes the half of a replacement, or completes it; true if there was one.
pub(super) fn settle(docker: &Docker, containers: &[Container]) -> Result<bool, Error> {
    let ways = ways(containers);
    for way in &ways {
        match way {
            // Without its volumes, which are the old one's too.
            Way::Remove(id) => docker.demand("rm", &["rm", id])?,
            Way::Rename(id, name) => docker.demand("rename", &["rename", id, name])?,
        };
    }
    Ok(!ways.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_compose_left_half_done_is_touched() {
        let container = |id: &str, name: &str, status: &str| Container {
            id: id.into(),
            name: name.into(),
            status: status.into(),
            ..Container::default()
        };
        let all = [
            container("0123456789abcdef", "p-web-1", "running"),
            container("a", "0123456789ab_p-web-1", "created"),
            container("b", "fedcba987654_p_db_1", "created"),
            container("c", "fedcba987654_p-run-1", "running"),
            container("d", "p_web_2", "created"),
            container("e", "nothexadecim_x", "created"),
        ];
        assert_eq!(ways(&all), [Way::Remove("a"), Way::Rename("b", "p_db_1")]);
        assert_eq!(ways(&all[2..4]), [Way::Rename("b", "p_db_1")]);
        assert_eq!(ways(&[]), []);
    }
}
