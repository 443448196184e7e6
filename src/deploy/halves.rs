//! Containers that Compose was making or replacing when it was killed, or when it failed.
//!
//! It makes the new one under the name `<beginning of the old one's id>_<name>`, stops and removes
//! the old one, and gives the new one its name. Killed in between, it does not find its way on from
//! there: the next `up` fails, as a name is taken.
//!
//! The engine completes what it was asked for even when the asking Compose is dead, so that such a container
//! may come up when hlx has looked for them already: then that `up` fails, and the one after it does not.
//!
//! One that replaces none may lack what Compose puts into it before its start, such as a secret, and Compose
//! would start it as it is.

use std::time::{Duration, Instant};

use super::docker::{Docker, Error};
use super::health::Container;

/// What ending a container takes besides the time that it is given.
const BESIDES: Duration = Duration::from_secs(5);
/// So late the engine may come to what it was asked for by a Compose that was killed just now.
pub(super) const LATE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(200);

/// How much of an id is in such a name.
const HEAD: usize = 12;

/// What is to be done with one that was never started.
#[derive(Debug, PartialEq, Eq)]
enum Way<'c> {
    /// The old one is there: this one goes.
    Remove(&'c str),
    /// The old one has gone, and with it all but what this one has of its unnamed volumes: this one
    /// takes its name, if nobody else has it.
    Rename(&'c str, &'c str),
    /// It replaces none, so that its unnamed volumes are new: it goes with them.
    Discard(&'c str),
}

/// The beginning of the id of the container that one of such a name replaces, and the name it gets in the end.
fn half(name: &str) -> Option<(&str, &str)> {
    let (head, name) = name.split_once('_')?;
    (head.len() == HEAD && head.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some((head, name))
}

/// True if an `up` failed since such a container was still being made or removed, by what it said.
pub(super) fn is_in_the_way(said: &str) -> bool {
    said.split("The container name \"/").skip(1).any(|rest| half(rest).is_some())
}

fn ways(containers: &[Container]) -> Vec<Way<'_>> {
    let never_started = containers.iter().filter(|container| container.status == "created");
    never_started
        .filter_map(|container| {
            let Some((head, name)) = half(&container.name) else {
                return (!container.replaces).then_some(Way::Discard(&container.id));
            };
            let is_there = |other: &Container| other.id.starts_with(head) || other.name == name;
            Some(match containers.iter().any(is_there) {
                true => Way::Remove(&container.id),
                false => Way::Rename(&container.id, name),
            })
        })
        .collect()
}

/// Waits until containers have ended that Compose told to, before it was killed itself: until then they are as
/// good as running to whoever looks. `longest` is how much time they are given; it is looked for `late`
/// at least.
pub(super) fn let_end(
    docker: &Docker,
    project: &str,
    longest: Duration,
    late: Duration,
) -> Result<(), Error> {
    let longest = longest + BESIDES;
    let begun = Instant::now();
    while begun.elapsed() < longest {
        let told = docker.told_to_end(project, longest)?;
        let ends = |found: &Container| found.status == "running" && told.contains(&found.id);
        if begun.elapsed() >= late && (told.is_empty() || !docker.containers(project)?.iter().any(ends)) {
            break;
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// Undoes the half of a replacement, or completes it, and removes what was only made; true if there was any.
pub(super) fn settle(docker: &Docker, containers: &[Container]) -> Result<bool, Error> {
    let mut settled = false;
    for way in ways(containers) {
        settled |= match way {
            // Without its volumes, which are the old one's too.
            Way::Remove(id) => docker.demand("rm", &["rm", id]).map(|_| true)?,
            Way::Rename(id, name) => or_taken(docker.demand("rename", &["rename", id, name]))?,
            Way::Discard(id) => docker.demand("rm", &["rm", "-v", id]).map(|_| true)?,
        };
    }
    Ok(settled)
}

/// False if a container that is not the project's has the name. `up` knows this one by its labels, and goes on
/// from it as from any other: it hands the unnamed volumes on, and what it makes gets a name of its own.
fn or_taken(renamed: Result<String, Error>) -> Result<bool, Error> {
    match renamed {
        Err(Error::Failed { said, .. }) if said.contains("already in use") => Ok(false),
        other => other.map(|_| true),
    }
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
            Container { replaces: true, ..container("e", "nothexadecim_x", "created") },
            container("f", "p-web-3", "exited"),
        ];
        assert_eq!(ways(&all), [Way::Remove("a"), Way::Rename("b", "p_db_1"), Way::Discard("d")]);
        assert_eq!(ways(&all[2..4]), [Way::Rename("b", "p_db_1")]);
        assert_eq!(ways(&[]), []);
    }

    #[test]
    fn a_name_that_only_compose_gives_is_in_the_way() {
        let conflict = |name: &str| format!("Conflict. The container name \"/{name}\" is already in use");
        let all = [
            ("6783ed5ebec0_p-web-1", true),
            ("p-web-1", false),
            ("own_p-web-1", false),
            ("6783ed5ebec0", false),
        ];
        for (name, is) in all {
            assert_eq!(is_in_the_way(&conflict(name)), is, "{name}");
        }
        assert!(!is_in_the_way("6783ed5ebec0_p-web-1 exited"));
    }
}
