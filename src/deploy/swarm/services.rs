//! The services of a stack and their tasks, as the Swarm has them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::objects::NAMESPACE;
use crate::deploy::docker::{self, Docker};
use crate::deploy::engine;
use crate::deploy::error::{Aftermath, Broken, Error};
use crate::deploy::gate::Ill;
use crate::deploy::health::{Container, condition};
use crate::deploy::mask::Masker;
use crate::deploy::outlet::{TAIL, lines};
use crate::deploy::preflight::Published;

/// How long it may take until nothing of a stack is left.
const GONE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(400);

/// A service.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(in crate::deploy) struct Service {
    #[serde(rename = "ID")]
    pub(super) id: String,
    pub(in crate::deploy) spec: Spec,
    previous_spec: Option<Spec>,
    pub(super) update_status: Option<UpdateStatus>,
    #[serde(default)]
    endpoint: Value,
    /// Of a job only.
    job_status: Option<JobStatus>,
}

/// How often a job was started.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct JobStatus {
    job_iteration: Option<Iteration>,
}

/// Which run of a job; each update of a service is another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Iteration {
    #[serde(default)]
    index: u64,
}

/// What a service is to be.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(in crate::deploy) struct Spec {
    /// With the name of the stack before it.
    pub(super) name: String,
    #[serde(default)]
    pub(in crate::deploy) labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    pub(in crate::deploy) task_template: Value,
    #[serde(default)]
    pub(super) mode: Value,
    #[serde(default)]
    pub(in crate::deploy) endpoint_spec: Value,
}

/// What became of the last update.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct UpdateStatus {
    #[serde(default)]
    pub(super) state: String,
    #[serde(default)]
    pub(super) message: String,
}

/// One container of a service, somewhere in the Swarm.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(in crate::deploy) struct Task {
    #[serde(rename = "ID")]
    pub(super) id: String,
    #[serde(default, rename = "ServiceID")]
    pub(super) service: String,
    #[serde(default)]
    pub(super) slot: u64,
    #[serde(default, rename = "NodeID")]
    pub(super) node: String,
    #[serde(default)]
    pub(super) desired_state: String,
    pub(super) status: Status,
    #[serde(default, deserialize_with = "time")]
    created_at: Timestamp,
    #[serde(default)]
    spec: Value,
    /// Of a job's task only.
    job_iteration: Option<Iteration>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Status {
    #[serde(default, deserialize_with = "time")]
    pub(super) timestamp: Timestamp,
    #[serde(default)]
    pub(super) state: String,
    #[serde(default)]
    pub(super) err: String,
    container_status: Option<ContainerStatus>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ContainerStatus {
    #[serde(default, rename = "ContainerID")]
    container_id: String,
    #[serde(default)]
    exit_code: i64,
}

fn time<'d, D: serde::Deserializer<'d>>(text: D) -> Result<Timestamp, D::Error> {
    Ok(String::deserialize(text)?.parse().unwrap_or_default())
}

impl Service {
    /// Its name in the compose file.
    pub(in crate::deploy) fn key(&self, project: &str) -> &str {
        let name = &self.spec.name;
        name.strip_prefix(project).and_then(|rest| rest.strip_prefix('_')).unwrap_or(name)
    }

    /// Its whole name.
    pub(in crate::deploy) fn name(&self) -> &str {
        &self.spec.name
    }

    /// The ports that it has on every node, or on those where it runs.
    pub(in crate::deploy) fn published(&self) -> Vec<Published> {
        let ports = self.endpoint["Ports"].as_array().into_iter().flatten();
        let read = |port: &Value| {
            let number = port["PublishedPort"].as_u64().and_then(|number| number.try_into().ok())?;
            let protocol = port["Protocol"].as_str().unwrap_or("tcp");
            Some(Published::of_service(&self.spec.name, self.label(NAMESPACE), number, protocol))
        };
        ports.filter_map(read).collect()
    }

    /// A label that is on the service itself.
    pub(in crate::deploy) fn label(&self, name: &str) -> Option<&str> {
        self.spec.labels.as_ref()?.get(name).map(String::as_str)
    }

    /// The ids of the secrets and configs that it has, and had before its last update.
    pub(super) fn objects(&self) -> impl Iterator<Item = &str> {
        let specs = std::iter::once(&self.spec).chain(&self.previous_spec);
        specs.flat_map(|spec| {
            let container = &spec.task_template["ContainerSpec"];
            ["Secret", "Config"].into_iter().flat_map(move |kind| {
                let granted = container[format!("{kind}s")].as_array().into_iter().flatten();
                granted.filter_map(move |grant| grant[format!("{kind}ID")].as_str())
            })
        })
    }

    /// True for a task of the run that is meant: of a job that was started again, those of its former runs are
    /// remembered beside it.
    pub(super) fn is_of_run(&self, task: &Task) -> bool {
        match self.job_status.as_ref().and_then(|status| status.job_iteration) {
            Some(run) => task.job_iteration.unwrap_or_default() == run,
            None => true,
        }
    }

    /// What Swarm does about a task that has ended: `none`, `on-failure` or `any`.
    pub(super) fn restart(&self) -> &str {
        self.spec.task_template["RestartPolicy"]["Condition"].as_str().unwrap_or("any")
    }
}

impl Task {
    /// True if it ended badly.
    pub(super) fn has_failed(&self) -> bool {
        matches!(self.status.state.as_str(), "failed" | "rejected" | "orphaned")
    }

    /// Where it belongs: its number, or the node in a service that has one on each.
    fn place(&self) -> (&str, u64, &str) {
        (&self.service, self.slot, if self.slot == 0 { &self.node } else { "" })
    }

    fn container(&self, service: &Service, project: &str) -> Container {
        let ran = self.status.container_status.clone().unwrap_or_default();
        let place = if self.slot == 0 { self.node.clone() } else { self.slot.to_string() };
        let state = self.status.state.as_str();
        Container {
            id: ran.container_id,
            name: format!("{}.{place}", service.spec.name),
            image: self.spec["ContainerSpec"]["Image"].as_str().unwrap_or_default().to_owned(),
            service: service.key(project).to_owned(),
            status: match state {
                "complete" | "failed" => "exited".to_owned(),
                other => other.to_owned(),
            },
            exit_code: ran.exit_code,
            comes_back: service.restart() == "any",
            started: self.status.timestamp,
            finished: self.status.timestamp,
            ..Container::default()
        }
    }
}

/// Of each place of each service the task that is to run, or else the last that did.
pub(super) fn current(tasks: &[Task]) -> Vec<&Task> {
    let mut newest: BTreeMap<(&str, u64, &str), &Task> = BTreeMap::new();
    let rank = |task: &Task| (task.desired_state == "running", task.created_at);
    for task in tasks {
        let known = newest.entry(task.place()).or_insert(task);
        if rank(task) > rank(known) {
            *known = task;
        }
    }
    newest.into_values().collect()
}

/// The tasks of a service; of a job, those of its last run.
pub(super) fn of<'t>(service: &Service, tasks: &'t [Task]) -> Vec<&'t Task> {
    tasks.iter().filter(|task| task.service == service.id && service.is_of_run(task)).collect()
}

impl Docker {
    fn inspect_all<T: for<'d> Deserialize<'d>>(
        &self,
        what: &'static str,
        args: &[&str],
        listed: &str,
    ) -> Result<Vec<T>, docker::Error> {
        let ids: Vec<&str> = listed.split_whitespace().collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        // One that vanished in between makes inspect fail, but it still shows the others.
        let shown = self.ask(&[args, &ids].concat())?;
        serde_json::from_slice(shown.out.expose())
            .map_err(|error| docker::Error::Failed { what, said: error.to_string() })
    }

    /// The services of a stack.
    pub(in crate::deploy) fn services(&self, project: &str) -> Result<Vec<Service>, docker::Error> {
        let filter = format!("label={NAMESPACE}={project}");
        let listed = self.demand("service ls", &["service", "ls", "-q", "--filter", &filter])?;
        self.inspect_all("service inspect", &["service", "inspect"], &listed)
    }

    /// The services of all stacks, and those of none.
    pub(in crate::deploy) fn all_services(&self) -> Result<Vec<Service>, docker::Error> {
        let listed = self.demand("service ls", &["service", "ls", "-q"])?;
        self.inspect_all("service inspect", &["service", "inspect"], &listed)
    }

    /// The tasks of services, those that have ended and are remembered included.
    pub(in crate::deploy) fn tasks(&self, services: &[Service]) -> Result<Vec<Task>, docker::Error> {
        let ids: Vec<&str> = services.iter().map(|service| service.id.as_str()).collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        // A service that vanished in between makes it fail, but it still shows the others' tasks.
        let listed = self.ask(&[&["service", "ps", "-q", "--no-trunc"][..], &ids].concat())?;
        let listed = String::from_utf8_lossy(listed.out.expose()).into_owned();
        self.inspect_all("inspect", &["inspect", "--type", "task"], &listed)
    }

    /// The tasks of a stack in the form of containers: those that are to run, or were the last in
    /// their places.
    pub(in crate::deploy) fn tasks_as_containers(
        &self,
        project: &str,
    ) -> Result<Vec<Container>, docker::Error> {
        let services = self.services(project)?;
        let tasks = self.tasks(&services)?;
        self.as_containers(&services, &tasks, project, None)
    }

    /// The same of services and tasks that were read. With a node named, those of others have no id, as
    /// no program can be started in them from here. Their images get the id that they have on
    /// this node, where they are here.
    pub(in crate::deploy) fn as_containers(
        &self,
        services: &[Service],
        tasks: &[Task],
        project: &str,
        node: Option<&str>,
    ) -> Result<Vec<Container>, docker::Error> {
        let service_of = |task: &Task| services.iter().find(|service| service.id == task.service);
        let pairs = current(tasks).into_iter().filter_map(|task| Some((task, service_of(task)?)));
        let container = |(task, service): (&Task, &Service)| {
            let is_far = node.is_some_and(|node| task.node != node);
            let found = task.container(service, project);
            if is_far { Container { id: String::new(), ..found } } else { found }
        };
        let mut containers: Vec<Container> = pairs.map(container).collect();
        containers.sort_by(|one, other| one.name.cmp(&other.name));
        let names: BTreeSet<String> = containers.iter().map(|container| container.image.clone()).collect();
        for name in names {
            let Some(id) = self.image_named(&name)? else { continue };
            containers
                .iter_mut()
                .filter(|found| found.image == name)
                .for_each(|found| found.image.clone_from(&id));
        }
        Ok(containers)
    }

    /// `docker stack rm`, until nothing is left of it: no task, no network.
    pub(in crate::deploy) fn remove_stack(&self, project: &str) -> Result<(), Error> {
        let began = Instant::now();
        let filter = format!("label={NAMESPACE}={project}");
        let kinds = [["service", "ls"], ["ps", "-a"], ["network", "ls"], ["secret", "ls"], ["config", "ls"]];
        loop {
            // It says so, and on older versions fails, if there is nothing; networks may have been in use before.
            let done = self.ask(&["stack", "rm", project])?;
            let mut left = Vec::new();
            for kind in kinds {
                let args = [&kind[..], &["-q", "--filter", &filter]].concat();
                if !self.demand(kind[0], &args)?.is_empty() {
                    left.push(kind[0]);
                }
            }
            match left[..] {
                [] => return Ok(()),
                ["ps"] => self.remove_ended(&filter)?,
                _ => {}
            }
            if began.elapsed() > GONE {
                let said = String::from_utf8_lossy(done.err.expose()).trim().to_owned();
                return Err(engine::Error::StackLeft {
                    project: project.to_owned(),
                    left: left.join(", "),
                    said,
                }
                .into());
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Swarm leaves the containers of a job that have ended where they are, when their service is gone. Those
    /// of other nodes are not seen from here.
    fn remove_ended(&self, filter: &str) -> Result<(), docker::Error> {
        let ended = self.demand("ps", &["ps", "-aq", "--filter", filter, "--filter", "status=exited"])?;
        let ended: Vec<&str> = ended.split_whitespace().collect();
        if !ended.is_empty() {
            // One that Swarm removes meanwhile is gone all the same.
            self.ask(&[&["rm", "--volumes"][..], &ended].concat())?;
        }
        Ok(())
    }

    /// The last lines of a task's log, from whatever node. They may hold secrets.
    fn task_log(&self, id: &str) -> Option<Vec<u8>> {
        let done = self.ask(&["service", "logs", "--raw", "--tail", &TAIL.to_string(), id]).ok()?;
        Some([&done.out.expose()[..], &done.err.expose()[..]].concat()).filter(|_| done.end.is_success())
    }
}

/// How things stand: the reason, the log of the task that is the reason, and the rest.
pub(in crate::deploy) fn inquire(docker: &Docker, project: &str, ill: Ill, masker: &Masker) -> Broken {
    let services = docker.services(project).unwrap_or_default();
    let tasks = docker.tasks(&services).unwrap_or_default();
    let containers = docker.as_containers(&services, &tasks, project, None).unwrap_or_default();
    let suspect = match &ill.id {
        Some(id) => tasks.iter().find(|task| task.id == *id),
        None => tasks.iter().filter(|task| task.has_failed()).max_by_key(|task| task.created_at),
    };
    let named = |task: &Task| {
        let service = services.iter().find(|service| service.id == task.service);
        service.map(|service| task.container(service, project).name)
    };
    Broken {
        reason: masker.text(ill.why.as_bytes()),
        log: suspect.and_then(|task| {
            let log = lines(&masker.text(&docker.task_log(&task.id)?));
            Some((named(task)?, log)).filter(|(_, log)| !log.is_empty())
        }),
        containers: containers.iter().map(condition).collect(),
        fault: ill.fault,
        aftermath: Aftermath::default(),
    }
}
