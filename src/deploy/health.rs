//! Whether the containers are well: our own gate, as `up --wait` is none.
//!
//! The rule is [`judge`], a function over plain data; the loop around it is dull.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

/// After so many restarts nobody waits for the time limit.
const LOOP: u64 = 3;

/// A container whose restart policy brings it back is not down before this.
const BLINK: Duration = Duration::from_secs(5);

/// What is known of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Container {
    /// Docker's id.
    pub id: String,
    /// Docker's name.
    pub name: String,
    /// Docker's id of the image that it runs.
    pub image: String,
    /// The compose service.
    pub service: String,
    /// Made by `compose run`.
    pub one_off: bool,
    /// Compose made it in the place of another.
    pub replaces: bool,
    /// `running`, `exited`, …
    pub status: String,
    /// The last exit code; Docker has 0 while it runs, whatever it was.
    pub exit_code: i64,
    /// `starting`, `healthy`, `unhealthy`, or empty where no check is defined.
    pub health: String,
    /// For so long a check that fails does not count.
    pub start_period: Duration,
    /// Its policy restarts it whatever its exit code is.
    pub comes_back: bool,
    /// How often Docker restarted it.
    pub restarts: u64,
    /// When it was started last.
    pub started: Timestamp,
    /// When it ended last.
    pub finished: Timestamp,
    /// What is mounted into it from the host.
    pub mounts: Vec<PathBuf>,
}

/// What one look at the containers says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// All is well.
    Good,
    /// Not yet; each service's condition.
    Wait(Vec<(String, String)>),
    /// It will not become well.
    Bad {
        /// Docker's id of the container that is the reason, if one is.
        id: Option<String>,
        /// The reason.
        why: String,
    },
}

/// By what the containers are judged.
#[derive(Debug, Clone)]
pub struct Rule {
    /// The services that must have a container.
    pub services: Vec<String>,
    /// How long a container must have run.
    pub stable: Duration,
    /// How long to wait at most.
    pub timeout: Duration,
    /// Restarts before this deploy, by container id.
    pub before: Vec<(String, u64)>,
}

/// The condition of one container.
enum Look {
    Good,
    Wait(String),
    Bad(String),
}

/// Judges all containers at the time `now`, after `waited`.
pub fn judge(containers: &[Container], rule: &Rule, now: Timestamp, waited: Duration) -> Verdict {
    let mut waiting = Vec::new();
    for container in containers {
        match look(container, rule, now) {
            Look::Good => {}
            Look::Wait(condition) => waiting.push((container, condition)),
            Look::Bad(why) => {
                return Verdict::Bad {
                    id: Some(container.id.clone()),
                    why: format!("{} {why}", container.name),
                };
            }
        }
    }
    let absent: Vec<&String> =
        rule.services.iter().filter(|name| containers.iter().all(|found| found.service != **name)).collect();
    if waiting.is_empty() && absent.is_empty() {
        return Verdict::Good;
    }
    match waited >= rule.timeout {
        true => overdue(&waiting, &absent, rule),
        false => wait(waiting, absent),
    }
}

fn wait(waiting: Vec<(&Container, String)>, absent: Vec<&String>) -> Verdict {
    let waiting = waiting.into_iter().map(|(container, condition)| (container.service.clone(), condition));
    Verdict::Wait(
        waiting.chain(absent.into_iter().map(|name| (name.clone(), "has no container".into()))).collect(),
    )
}

fn overdue(waiting: &[(&Container, String)], absent: &[&String], rule: &Rule) -> Verdict {
    let limit = rule.timeout;
    let what = match (waiting.first(), absent.first()) {
        (Some((container, condition)), _) => format!("{} was still {condition}", container.name),
        (None, name) => format!("{} had no container", name.map_or("a service", |name| name.as_str())),
    };
    let id = waiting.first().map(|(container, _)| container.id.clone());
    let more = waiting.first().map(|(container, condition)| hindrance(container, condition, rule));
    let why = format!("{what} after {} s{}", limit.as_secs(), more.unwrap_or_default());
    Verdict::Bad { id, why }
}

/// What kept a container from being well in time, where that is a setting.
fn hindrance(container: &Container, condition: &str, rule: &Rule) -> String {
    match condition {
        "starting" if container.start_period >= rule.timeout => {
            format!(
                "; the `start_period` of its check is {} s: set `x-hlx.timeout` higher",
                container.start_period.as_secs()
            )
        }
        "running" => {
            format!(", and not yet for {} s without a restart (`x-hlx.stable`)", rule.stable.as_secs())
        }
        _ => String::new(),
    }
}

fn look(container: &Container, rule: &Rule, now: Timestamp) -> Look {
    let before = rule.before.iter().find(|(id, _)| *id == container.id).map_or(0, |(_, count)| *count);
    let restarts = container.restarts.saturating_sub(before);
    match container.status.as_str() {
        _ if restarts >= LOOP => Look::Bad(format!("restarts again and again{}", last_exit(container))),
        "running" => running(container, rule.stable, now),
        "exited" => exited(container, now),
        "dead" => Look::Bad("is dead".into()),
        "restarting" => Look::Wait(format!("restarting (exit code {})", container.exit_code)),
        other => Look::Wait(other.to_owned()),
    }
}

/// The exit code, unless it was not seen.
fn last_exit(container: &Container) -> String {
    match (container.status.as_str(), container.exit_code) {
        ("running", 0) => String::new(),
        (_, code) => format!(" (exit code {code})"),
    }
}

/// How containers ended when they were seen so, by their ids.
#[derive(Debug, Default)]
pub struct Ends(BTreeMap<String, i64>);

impl Ends {
    /// Remembers how those that do not run ended, and gives those that were started again their last exit code.
    pub fn recall(&mut self, containers: &mut [Container]) {
        for container in containers {
            match container.status.as_str() {
                "running" => {
                    let seen = self.0.get(&container.id);
                    container.exit_code = seen.copied().unwrap_or(container.exit_code);
                }
                "restarting" | "exited" => {
                    self.0.insert(container.id.clone(), container.exit_code);
                }
                _ => {}
            }
        }
    }
}

fn running(container: &Container, stable: Duration, now: Timestamp) -> Look {
    let left = stable.saturating_sub(since(container.started, now));
    match container.health.as_str() {
        "unhealthy" => Look::Bad("is unhealthy".into()),
        "starting" => Look::Wait("starting".into()),
        _ if left.is_zero() => Look::Good,
        _ => Look::Wait("running".into()),
    }
}

fn exited(container: &Container, now: Timestamp) -> Look {
    match (container.comes_back, container.exit_code) {
        (false, 0) => Look::Good,
        (true, _) if since(container.finished, now) < BLINK => Look::Wait("stopped".into()),
        (true, code) => Look::Bad(format!("has stopped (exit code {code})")),
        (false, code) => Look::Bad(format!("ended with exit code {code}")),
    }
}

fn since(then: Timestamp, now: Timestamp) -> Duration {
    now.duration_since(then).try_into().unwrap_or_default()
}

/// A container's condition in a few words.
pub fn condition(container: &Container) -> String {
    let health = if container.health.is_empty() { String::new() } else { format!(", {}", container.health) };
    match container.status.as_str() {
        "exited" => format!("{}: exited with code {}", container.name, container.exit_code),
        status => format!("{}: {status}{health}", container.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn container(change: impl FnOnce(&mut Container)) -> Container {
        let mut container = Container {
            id: "1".into(),
            name: "p-web-1".into(),
            service: "web".into(),
            status: "running".into(),
            started: at(0),
            finished: at(0),
            ..Container::default()
        };
        change(&mut container);
        container
    }

    fn rule() -> Rule {
        let (stable, timeout) = (Duration::from_secs(10), Duration::from_secs(60));
        Rule { services: vec!["web".into()], stable, timeout, before: vec![("old".into(), 7)] }
    }

    fn verdict(change: impl FnOnce(&mut Container), second: i64) -> String {
        match judge(&[container(change)], &rule(), at(second), Duration::from_secs(second as u64)) {
            Verdict::Good => "good".into(),
            Verdict::Wait(waiting) => format!("wait: {}", waiting[0].1),
            Verdict::Bad { why, .. } => format!("bad: {why}"),
        }
    }

    #[test]
    fn a_running_container_is_good_once_it_is_stable_and_healthy() {
        assert_eq!(verdict(|_| {}, 9), "wait: running");
        assert_eq!(verdict(|_| {}, 10), "good");
        assert_eq!(verdict(|c| c.health = "starting".into(), 20), "wait: starting");
        assert_eq!(verdict(|c| c.health = "healthy".into(), 5), "wait: running");
        assert_eq!(verdict(|c| c.health = "healthy".into(), 20), "good");
        assert_eq!(verdict(|c| c.health = "unhealthy".into(), 1), "bad: p-web-1 is unhealthy");
        assert_eq!(
            verdict(|c| c.health = "starting".into(), 60),
            "bad: p-web-1 was still starting after 60 s"
        );
    }

    #[test]
    fn the_setting_that_left_no_time_is_named() {
        let slow =
            |c: &mut Container| (c.health, c.start_period) = ("starting".into(), Duration::from_secs(90));
        let told = verdict(|c| slow(c), 60);
        assert!(
            told.ends_with(
                "starting after 60 s; the `start_period` of its check is 90 s: set `x-hlx.timeout` higher"
            ),
            "{told}"
        );
        let told = verdict(|c| c.started = at(55), 60);
        assert!(
            told.ends_with("after 60 s, and not yet for 10 s without a restart (`x-hlx.stable`)"),
            "{told}"
        );
    }

    #[test]
    fn a_restart_starts_the_clock_again_and_a_loop_is_bad() {
        assert_eq!(verdict(|c| (c.restarts, c.started) = (1, at(8)), 12), "wait: running");
        assert_eq!(verdict(|c| (c.restarts, c.started) = (1, at(8)), 18), "good");
        assert_eq!(verdict(|c| c.restarts = 3, 12), "bad: p-web-1 restarts again and again");
        assert_eq!(
            verdict(|c| (c.restarts, c.status, c.exit_code) = (3, "restarting".into(), 0), 12),
            "bad: p-web-1 restarts again and again (exit code 0)"
        );
        assert_eq!(verdict(|c| (c.id, c.restarts) = ("old".into(), 7), 12), "good");
        assert_eq!(
            verdict(|c| (c.status, c.exit_code) = ("restarting".into(), 1), 2),
            "wait: restarting (exit code 1)"
        );
    }

    #[test]
    fn how_it_ended_is_known_while_it_runs_again() {
        let mut ends = Ends::default();
        let at = |status: &str, code| container(|c| (c.status, c.exit_code) = (status.into(), code));
        ends.recall(&mut [at("restarting", 3)]);
        let mut again = [at("running", 0), container(|c| c.id = "2".into())];
        ends.recall(&mut again);
        assert_eq!(again.map(|container| container.exit_code), [3, 0]);
        let mut again = [container(|c| (c.exit_code, c.restarts) = (3, 3))];
        ends.recall(&mut again);
        let verdict = judge(&again, &rule(), at("running", 0).started, Duration::ZERO);
        let why = "p-web-1 restarts again and again (exit code 3)".to_owned();
        assert_eq!(verdict, Verdict::Bad { id: Some("1".into()), why });
    }

    #[test]
    fn one_shots_may_end_well_and_services_may_not_end() {
        let exit = |code, comes_back| {
            move |c: &mut Container| {
                (c.status, c.exit_code, c.comes_back) = ("exited".into(), code, comes_back);
            }
        };
        assert_eq!(verdict(exit(0, false), 1), "good");
        assert_eq!(verdict(exit(2, false), 1), "bad: p-web-1 ended with exit code 2");
        assert_eq!(verdict(exit(0, true), 1), "wait: stopped");
        assert_eq!(verdict(exit(127, true), 6), "bad: p-web-1 has stopped (exit code 127)");
        assert_eq!(verdict(|c| c.status = "dead".into(), 1), "bad: p-web-1 is dead");
        assert_eq!(verdict(|c| c.status = "created".into(), 1), "wait: created");
        assert_eq!(verdict(|c| c.status = "paused".into(), 60), "bad: p-web-1 was still paused after 60 s");
    }

    #[test]
    fn a_service_without_a_container_is_waited_for() {
        let wait = judge(&[], &rule(), at(0), Duration::ZERO);
        assert_eq!(wait, Verdict::Wait(vec![("web".into(), "has no container".into())]));
        let bad = judge(&[], &rule(), at(0), Duration::from_secs(60));
        assert_eq!(bad, Verdict::Bad { id: None, why: "web had no container after 60 s".into() });
    }
}
