//! Whether the services of a stack are well after `docker stack deploy`.
//!
//! Swarm updates in the background, takes a bad update back by itself where it was told to, and
//! starts failed tasks again for ever. So three things are looked at: what became of the update,
//! how many tasks failed since, and whether the wanted ones have run long enough. A task counts
//! as running only once its health check says so.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::services::{Service, Spec, Task, current, of};
use crate::deploy::health::Verdict;

/// After so many failures of a service nobody waits for the time limit.
const LOOP: usize = 3;

/// Swarm begins an update well before this.
const BEGINS: Duration = Duration::from_secs(5);

/// How services and tasks were before.
#[derive(Debug, Clone, Default)]
pub(in crate::deploy) struct Before {
    specs: BTreeMap<String, Spec>,
    tasks: BTreeSet<String>,
}

impl Before {
    pub(in crate::deploy) fn new(services: &[Service], tasks: &[Task]) -> Self {
        let specs = services.iter().map(|service| (service.spec.name.clone(), service.spec.clone()));
        Self { specs: specs.collect(), tasks: tasks.iter().map(|task| task.id.clone()).collect() }
    }

    /// True if Swarm has something to replace.
    fn is_other(&self, service: &Service) -> bool {
        let (now, before) = (&service.spec, self.specs.get(&service.spec.name));
        before.is_some_and(|before| {
            before.task_template != now.task_template || before.endpoint_spec != now.endpoint_spec
        })
    }
}

/// By what the services are judged.
#[derive(Debug)]
pub(in crate::deploy) struct Rule<'r> {
    /// The stack's name.
    pub(in crate::deploy) project: &'r str,
    /// The services that must be there, by their names in the compose file.
    pub(in crate::deploy) services: &'r [String],
    /// How long a task must have run.
    pub(in crate::deploy) stable: Duration,
    /// How long to wait at most; as long again for Swarm's own way back.
    pub(in crate::deploy) timeout: Duration,
    /// How it was before.
    pub(in crate::deploy) before: &'r Before,
    /// How many nodes take tasks.
    pub(in crate::deploy) nodes: u64,
}

/// How one service is.
enum Look {
    Good,
    Wait {
        why: String,
        id: Option<String>,
    },
    /// Swarm takes the update back: that is waited for.
    Returns,
    Bad {
        why: String,
        id: Option<String>,
    },
}

/// Judges all services at the time `now`, after `waited`.
pub(in crate::deploy) fn judge(
    services: &[Service],
    tasks: &[Task],
    rule: &Rule<'_>,
    now: Timestamp,
    waited: Duration,
) -> Verdict {
    let mut waiting = Vec::new();
    let (mut bad, mut late, mut returns) = (None, None, false);
    for service in services {
        let key = service.key(rule.project);
        match look(service, &of(service, tasks), rule, now, waited) {
            Look::Good => {}
            Look::Wait { why, id } => {
                late.get_or_insert((id, format!("{} was still {why}", service.spec.name)));
                waiting.push((key.to_owned(), why));
            }
            Look::Returns => {
                returns = true;
                waiting.push((key.to_owned(), "being rolled back by Swarm".to_owned()));
            }
            Look::Bad { why, id } => {
                bad.get_or_insert((id, format!("{} {why}", service.spec.name)));
            }
        }
    }
    let is_there = |name: &&String| services.iter().any(|service| service.key(rule.project) == **name);
    for name in rule.services.iter().filter(|name| !is_there(name)) {
        late.get_or_insert((None, format!("{name} was not there")));
        waiting.push((name.clone(), "not there".to_owned()));
    }
    // While Swarm goes back it is left to, for as long again at most.
    if returns && waited < rule.timeout * 2 {
        return Verdict::Wait(waiting);
    }
    let after = |why: String| format!("{why} after {} s", rule.timeout.as_secs());
    match (bad, late) {
        (Some((id, why)), _) => Verdict::Bad { id, why },
        (None, _) if returns => {
            Verdict::Bad { id: None, why: after("Swarm was still rolling back".to_owned()) }
        }
        (None, Some((id, why))) if waited >= rule.timeout => Verdict::Bad { id, why: after(why) },
        (None, Some(_)) => Verdict::Wait(waiting),
        (None, None) => Verdict::Good,
    }
}

fn look(service: &Service, tasks: &[&Task], rule: &Rule<'_>, now: Timestamp, waited: Duration) -> Look {
    let fresh = tasks.iter().filter(|task| !rule.before.tasks.contains(&task.id));
    let mut failed: Vec<&&Task> = fresh.filter(|task| task.has_failed()).collect();
    failed.sort_by_key(|task| task.status.timestamp);
    let last = failed.last();
    let update = service.update_status.as_ref();
    let because = match (last, update) {
        (Some(task), _) => format!(": {}", end(task)),
        (None, Some(update)) if !update.message.is_empty() => format!(": {}", update.message),
        (None, _) => String::new(),
    };
    let bad = |why: &str| Look::Bad { why: format!("{why}{because}"), id: last.map(|task| task.id.clone()) };
    match update.map_or("", |status| status.state.as_str()) {
        "rollback_started" => return Look::Returns,
        "rollback_completed" => return bad("was not well, and Swarm has rolled it back"),
        "rollback_paused" => return bad("was not well, and Swarm could not roll it back"),
        "paused" => return bad("was not well, and Swarm has stopped its update"),
        // What failures mean for an update is the stack's own to say, and Swarm's to judge.
        "updating" => return wait("being updated", None),
        _ if failed.len() >= LOOP => return bad("fails again and again"),
        "" if rule.before.is_other(service) && waited < BEGINS => return wait("about to be updated", None),
        _ => {}
    }
    let ran = ran(service, tasks, last, rule, now);
    match ran {
        Look::Good if is_to_come(service, tasks, rule) && waited < BEGINS => {
            wait("without a task on each node", None)
        }
        other => other,
    }
}

/// True if a service with a task on each node has fewer than there are nodes. Those that its constraints leave out
/// are told by time alone.
fn is_to_come(service: &Service, tasks: &[&Task], rule: &Rule<'_>) -> bool {
    let is_global = ["Global", "GlobalJob"].iter().any(|mode| !service.spec.mode[*mode].is_null());
    let nodes: BTreeSet<&str> = tasks.iter().map(|task| task.node.as_str()).collect();
    is_global && (nodes.len() as u64) < rule.nodes
}

fn wait(why: impl Into<String>, id: Option<String>) -> Look {
    Look::Wait { why: why.into(), id }
}

/// Whether as many tasks ran, or still run, as are wanted.
fn ran(service: &Service, tasks: &[&Task], failed: Option<&&&Task>, rule: &Rule<'_>, now: Timestamp) -> Look {
    let owned: Vec<Task> = tasks.iter().map(|task| (*task).clone()).collect();
    let current = current(&owned);
    let is_job = ["ReplicatedJob", "GlobalJob"].iter().any(|mode| !service.spec.mode[*mode].is_null());
    let may_end = is_job || service.restart() != "any";
    let is_good = |task: &&&Task| match task.status.state.as_str() {
        "running" => !is_job && task.desired_state == "running" && has_run(task, rule.stable, now),
        "complete" => may_end,
        _ => false,
    };
    let good = current.iter().filter(is_good).count() as u64;
    let wanted = wanted(&service.spec.mode).unwrap_or(current.len().max(1) as u64);
    if good >= wanted {
        return Look::Good;
    }
    let other = current.iter().find(|task| !is_good(task));
    match (other, failed) {
        // Nothing is tried again.
        (Some(task), Some(_))
            if task.has_failed() && task.desired_state != "running" && gives_up(service) =>
        {
            Look::Bad { why: end(task), id: Some(task.id.clone()) }
        }
        (Some(task), _) => wait(condition(task), Some(task.id.clone())),
        (None, Some(task)) => wait(format!("without a task: {}", end(task)), Some(task.id.clone())),
        (None, None) => wait("without a node that may run it", None),
    }
}

/// How many tasks a service is to have; `None` for one on each node.
fn wanted(mode: &Value) -> Option<u64> {
    let count = |mode: &Value, key: &str| mode[key].as_u64();
    match (&mode["Replicated"], &mode["ReplicatedJob"]) {
        (Value::Object(_), _) => Some(count(&mode["Replicated"], "Replicas").unwrap_or(1)),
        (_, Value::Object(_)) => Some(count(&mode["ReplicatedJob"], "TotalCompletions").unwrap_or(1)),
        _ => None,
    }
}

fn gives_up(service: &Service) -> bool {
    let attempts = service.spec.task_template["RestartPolicy"]["MaxAttempts"].as_u64().unwrap_or(0);
    service.restart() == "none" || attempts > 0
}

fn has_run(task: &Task, stable: Duration, now: Timestamp) -> bool {
    let since: Duration = now.duration_since(task.status.timestamp).try_into().unwrap_or_default();
    since >= stable
}

/// How a task ended, in Swarm's words; with them comes the exit code.
fn end(task: &Task) -> String {
    match task.status.err.as_str() {
        "" => task.status.state.clone(),
        why => why.trim_end_matches('.').to_owned(),
    }
}

fn condition(task: &Task) -> String {
    match (task.status.state.as_str(), task.status.err.as_str()) {
        (state, "") => state.to_owned(),
        (state, why) => format!("{state} ({})", why.trim_end_matches('.')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn service(change: Value) -> Service {
        let mut all = json!({"ID": "s", "Spec": {"Name": "p_web", "TaskTemplate": {"RestartPolicy": {"Condition": "any"}},
            "Mode": {"Replicated": {"Replicas": 1}}}});
        merge(&mut all, change);
        serde_json::from_value(all).unwrap()
    }

    fn merge(into: &mut Value, from: Value) {
        match (into, from) {
            (Value::Object(into), Value::Object(from)) => {
                from.into_iter()
                    .for_each(|(key, value)| merge(into.entry(key).or_insert(Value::Null), value));
            }
            (into, from) => *into = from,
        }
    }

    fn task(id: &str, slot: u64, state: &str, wanted: &str, second: i64) -> Task {
        let all = json!({"ID": id, "ServiceID": "s", "Slot": slot, "DesiredState": wanted, "CreatedAt": at(second).to_string(),
            "Status": {"Timestamp": at(second).to_string(), "State": state,
                       "Err": if state == "failed" { "task: non-zero exit (3)" } else { "" }}});
        serde_json::from_value(all).unwrap()
    }

    fn told(service: &Service, tasks: &[Task], before: &Before, second: i64) -> String {
        let names = ["web".to_owned()];
        let (stable, timeout) = (Duration::from_secs(10), Duration::from_secs(60));
        let rule = Rule { project: "p", services: &names, stable, timeout, before, nodes: 2 };
        let waited = Duration::from_secs(second as u64);
        match judge(std::slice::from_ref(service), tasks, &rule, at(second), waited) {
            Verdict::Good => "good".into(),
            Verdict::Wait(waiting) => format!("wait: {}", waiting[0].1),
            Verdict::Bad { why, id } => format!("bad: {why} [{}]", id.unwrap_or_default()),
        }
    }

    #[test]
    fn a_new_service_is_good_once_all_its_tasks_are_stable() {
        let none = Before::default();
        let two = service(json!({"Spec": {"Mode": {"Replicated": {"Replicas": 2}}}}));
        let running = |id: &str, slot, second| task(id, slot, "running", "running", second);
        assert_eq!(told(&two, &[running("a", 1, 0), running("b", 2, 5)], &none, 12), "wait: running");
        assert_eq!(told(&two, &[running("a", 1, 0), running("b", 2, 5)], &none, 15), "good");
        let starting = task("b", 2, "starting", "running", 0);
        assert_eq!(told(&two, &[running("a", 1, 0), starting.clone()], &none, 15), "wait: starting");
        let late = told(&two, &[running("a", 1, 0), starting], &none, 60);
        assert_eq!(late, "bad: p_web was still starting after 60 s [b]");
        let nothing = service(json!({"Spec": {"Mode": {"Replicated": {"Replicas": 0}}}}));
        assert_eq!(told(&nothing, &[], &none, 1), "good");
        let global = service(json!({"Spec": {"Mode": {"Replicated": null, "Global": {}}}}));
        assert_eq!(told(&global, &[], &none, 1), "wait: without a node that may run it");
        let each = |node: &str| {
            let mut task = running(node, 0, 0);
            task.node = node.into();
            task
        };
        assert_eq!(told(&global, &[each("n1"), each("n2")], &none, 10), "good");
        // Swarm makes the tasks of all nodes soon; a node without one is none that the service is for.
        let old = |node: &str| {
            let mut task = each(node);
            task.status.timestamp = at(-60);
            task
        };
        assert_eq!(told(&global, &[old("n1")], &none, 1), "wait: without a task on each node");
        assert_eq!(told(&global, &[old("n1")], &none, 5), "good");
        assert_eq!(told(&global, &[old("n1"), old("n2")], &none, 1), "good");
    }

    #[test]
    fn what_swarm_did_with_the_update_counts_and_not_what_runs() {
        let before = Before { tasks: ["old".to_owned()].into(), ..Before::default() };
        let tasks = [task("old", 1, "running", "running", 0), task("new", 1, "failed", "shutdown", 3)];
        let state = |state: &str| service(json!({"UpdateStatus": {"State": state, "Message": ""}}));
        let reason = "task: non-zero exit (3) [new]";
        let rolled = format!("bad: p_web was not well, and Swarm has rolled it back: {reason}");
        assert_eq!(told(&state("rollback_completed"), &tasks, &before, 30), rolled);
        let paused = format!("bad: p_web was not well, and Swarm has stopped its update: {reason}");
        assert_eq!(told(&state("paused"), &tasks, &before, 30), paused);
        assert_eq!(told(&state("rollback_started"), &tasks, &before, 61), "wait: being rolled back by Swarm");
        assert_eq!(told(&state("updating"), &tasks, &before, 30), "wait: being updated");
        assert_eq!(told(&state("completed"), &tasks, &before, 30), "good");
    }

    #[test]
    fn an_update_that_has_not_begun_is_waited_for() {
        let old = service(json!({"Spec": {"TaskTemplate": {"X": 1}}}));
        let new = service(json!({"Spec": {"TaskTemplate": {"X": 2}}}));
        let running = [task("a", 1, "running", "running", -60)];
        let before = Before::new(std::slice::from_ref(&old), &running);
        assert_eq!(told(&new, &running, &before, 1), "wait: about to be updated");
        assert_eq!(told(&old, &running, &before, 1), "good");
    }

    #[test]
    fn tasks_that_fail_again_and_again_are_bad_and_old_failures_do_not_count() {
        let failed = |count: i64| (0..count).map(|n| task(&n.to_string(), 1, "failed", "shutdown", n));
        let next = task("n", 1, "ready", "running", 9);
        let tasks: Vec<Task> = failed(3).chain([next.clone()]).collect();
        let looping = "bad: p_web fails again and again: task: non-zero exit (3) [2]";
        assert_eq!(told(&service(json!({})), &tasks, &Before::default(), 9), looping);
        let before = Before::new(&[], &failed(2).collect::<Vec<_>>());
        assert_eq!(told(&service(json!({})), &tasks, &before, 9), "wait: ready");
    }

    #[test]
    fn one_shots_and_jobs_may_end_well() {
        let once = |condition: &str| {
            service(json!({"Spec": {"TaskTemplate": {"RestartPolicy": {"Condition": condition}}}}))
        };
        let ended = |state: &str| [task("a", 1, state, "shutdown", 0)];
        let none = Before::default();
        assert_eq!(told(&once("none"), &ended("complete"), &none, 1), "good");
        assert_eq!(told(&once("on-failure"), &ended("complete"), &none, 1), "good");
        assert_eq!(told(&once("any"), &ended("complete"), &none, 1), "wait: complete");
        assert_eq!(told(&once("none"), &ended("failed"), &none, 1), "bad: p_web task: non-zero exit (3) [a]");
        let job = service(
            json!({"Spec": {"Mode": {"Replicated": null, "ReplicatedJob": {"TotalCompletions": 1}}}}),
        );
        assert_eq!(told(&job, &ended("complete"), &none, 1), "good");
        let working = [task("a", 1, "running", "complete", -60)];
        assert_eq!(told(&job, &working, &none, 1), "wait: running");
    }

    #[test]
    fn a_job_that_is_started_again_is_judged_by_that_run() {
        let mode = json!({"Replicated": null, "ReplicatedJob": {"TotalCompletions": 1}});
        let run = |index: u64| {
            service(json!({"Spec": {"Mode": mode}, "JobStatus": {"JobIteration": {"Index": index}}}))
        };
        let of = |id: &str, state: &str, index: u64| {
            let mut all = json!({"ID": id, "ServiceID": "s", "DesiredState": "complete", "CreatedAt": at(0).to_string(),
                "Status": {"Timestamp": at(0).to_string(), "State": state}});
            if index > 0 {
                all["JobIteration"] = json!({"Index": index});
            }
            serde_json::from_value::<Task>(all).unwrap()
        };
        let former = of("a", "complete", 3);
        let before = Before::new(&[], std::slice::from_ref(&former));
        assert_eq!(told(&run(3), std::slice::from_ref(&former), &before, 1), "good");
        let again = [former.clone()];
        assert_eq!(told(&run(7), &again, &before, 1), "wait: without a node that may run it");
        assert_eq!(told(&run(7), &[former.clone(), of("b", "running", 7)], &before, 1), "wait: running");
        assert_eq!(told(&run(7), &[former, of("b", "complete", 7)], &before, 1), "good");
        // The first run is number 0, which Docker leaves out.
        assert_eq!(told(&run(0), &[of("a", "complete", 0)], &Before::default(), 1), "good");
    }
}
