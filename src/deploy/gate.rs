//! Waiting until the containers are well, and telling how they stand when they are not.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::docker::{self, Docker};
use super::error::{Aftermath, Broken, Fault};
use super::health::{Container, Ends, Rule, Verdict, condition, judge};
use super::mask::Masker;
use super::outlet::{Event, Report, TAIL, lines};
use super::probe::Probe;

const PAUSE: Duration = Duration::from_millis(400);

/// Why the containers are not well, and the container that is the reason.
pub(super) struct Ill {
    /// Docker's id of it.
    pub(super) id: Option<String>,
    pub(super) why: String,
    pub(super) fault: Fault,
}

impl Ill {
    /// The commit is to blame.
    pub(super) fn of_commit(why: String) -> Self {
        Self { id: None, why, fault: Fault::Commit }
    }

    /// The host is.
    pub(super) fn of_host(why: String) -> Self {
        Self { id: None, why, fault: Fault::Host }
    }
}

/// One look at what runs: how it is, and the containers, after so much time.
pub(super) type Look<'l> = &'l mut dyn FnMut(Duration) -> Result<(Verdict, Vec<Container>), docker::Error>;

/// A look at the containers of a compose project.
pub(super) fn look<'l>(
    docker: &'l Docker,
    project: &'l str,
    rule: &'l Rule,
) -> impl FnMut(Duration) -> Result<(Verdict, Vec<Container>), docker::Error> + 'l {
    let mut ends = Ends::default();
    move |waited| {
        let mut containers = docker.containers(project)?;
        ends.recall(&mut containers);
        Ok((judge(&containers, rule, Timestamp::now(), waited), containers))
    }
}

/// Waits until all is well or will not become so. `began` is when `up` did.
pub(super) fn wait(
    docker: &Docker,
    look: Look<'_>,
    (probes, timeout): (&[Probe], Duration),
    began: Instant,
    report: Report<'_>,
) -> Result<Vec<Container>, Ill> {
    let mut told: Vec<(String, String)> = Vec::new();
    // What kept a probe from being good when there was time for it.
    let mut silence = None;
    loop {
        let (verdict, containers) = look(began.elapsed()).map_err(|error| Ill::of_host(error.to_string()))?;
        match verdict {
            Verdict::Good => match silent(docker, probes, &containers, began + timeout) {
                None => {
                    tell(&mut told, Vec::new(), report);
                    return Ok(containers);
                }
                Some(last) if began.elapsed() >= timeout => {
                    let (name, why) = silence.unwrap_or(last);
                    let why = format!("{name}: {why}, still after {} s", timeout.as_secs());
                    return Err(Ill::of_commit(why));
                }
                Some(waiting) => {
                    silence = Some(waiting.clone());
                    tell(&mut told, vec![waiting], report);
                }
            },
            Verdict::Bad { id, why } => return Err(Ill { id, why, fault: Fault::Commit }),
            Verdict::Wait(waiting) => tell(&mut told, waiting, report),
        }
        std::thread::sleep(PAUSE);
    }
}

/// The first probe that is not answered well until `end`, and why.
fn silent(
    docker: &Docker,
    probes: &[Probe],
    containers: &[Container],
    end: Instant,
) -> Option<(String, String)> {
    probes.iter().find_map(|probe| {
        let left = end.saturating_duration_since(Instant::now());
        let why = probe.ask(docker, containers, left).err()?;
        Some((format!("probe {probe}"), why))
    })
}

/// Tells each condition once, and what is no longer waited for.
fn tell(told: &mut Vec<(String, String)>, waiting: Vec<(String, String)>, report: Report<'_>) {
    let waits = |name: &String| waiting.iter().any(|(known, _)| known == name);
    let mut well: Vec<&String> = told.iter().map(|(name, _)| name).filter(|name| !waits(name)).collect();
    well.dedup();
    well.into_iter().for_each(|name| report(Event::Service { name, condition: "well" }));
    for (name, condition) in waiting.iter().filter(|line| !told.contains(line)) {
        report(Event::Service { name, condition });
    }
    *told = waiting;
}

/// How things stand: the reason, the log of the container that is the reason, and the rest.
pub(super) fn inquire(docker: &Docker, project: &str, ill: Ill, masker: &Masker) -> Broken {
    let containers = docker.containers(project).unwrap_or_default();
    let suspect = containers.iter().find(|container| match &ill.id {
        Some(id) => container.id == *id,
        None => container.status == "exited" && container.exit_code != 0,
    });
    let log =
        |id: &str| -> Result<String, docker::Error> { Ok(lines(&masker.text(&docker.logs(id, TAIL)?))) };
    Broken {
        reason: masker.text(ill.why.as_bytes()),
        log: suspect.and_then(|container| {
            let log = log(&container.id).ok().filter(|log| !log.is_empty())?;
            Some((container.name.clone(), log))
        }),
        containers: containers.iter().map(condition).collect(),
        fault: ill.fault,
        aftermath: Aftermath::default(),
    }
}
