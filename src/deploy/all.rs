//! Every stack of a host: which they are, in which order they go, and several at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc;

use serde_json::Value;

use super::error::Error;
use super::mirror::{Git, Mirror, Source};
use super::order::{Fate, Order};
use super::service::Service;
use super::state::State;
use super::tree::{self, Tree};
use super::wishes::{Wishes, wishes};
use super::{World, model};

/// The branch that is no service.
const LANDING: &str = "main";

/// The stacks of a host.
#[derive(Debug, Default)]
pub struct Survey {
    /// Those to deploy, each with those that it comes after.
    pub stacks: BTreeMap<Service, Vec<Service>>,
    /// Branches that are not for this host, and why.
    pub others: Vec<(Service, String)>,
    /// Those that cannot be deployed, and why.
    pub broken: Vec<(Service, String)>,
    /// Stacks that come after a branch that is not there: the stack, and what it names.
    pub lost: Vec<(Service, Service)>,
    /// Every branch.
    pub branches: BTreeSet<String>,
}

/// Finds the stacks of this host: those that its configuration names, else every branch with a
/// compose file that a key of this host opens and whose `x-hlx.hosts` allows this host.
pub fn survey(repo: Option<&str>, world: &World<'_>) -> Result<Survey, Error> {
    let git = Git::new(world.env);
    let source = match repo.or(world.settings.repo.as_deref()) {
        Some(repo) => Source::new(repo, world.cwd)?,
        None => Source::around(world.cwd, &git)?,
    };
    crate::sys::disk::private_dir(&world.places.state)
        .map_err(|source| Error::Disk { path: world.places.state.clone(), source })?;
    let mirror = Mirror::open(&world.places.state, &source, &git)?;
    let state = State::open_if_there(&world.places.state.join("state.db"))?;
    let mut survey = Survey::default();
    for (name, commit) in mirror.survey()? {
        survey.branches.insert(name.clone());
        let Ok(service) = name.parse::<Service>() else { continue };
        if let Some(named) = &world.settings.stacks {
            if !named.contains(&name) {
                continue;
            }
        } else if name == LANDING {
            continue;
        }
        // What a person stopped stays so, until a person starts it.
        if state.as_ref().map(|state| state.is_down(&service)).transpose()?.unwrap_or_default() {
            let why = format!("`hlx down` stopped it; `hlx decrypt-deploy {service}` starts it again");
            survey.others.push((service, why));
            continue;
        }
        let known = state.as_ref().map(|state| state.stack(&service)).transpose()?.flatten().is_some();
        survey.add(service, tree::read(&mirror, &commit).map_err(Error::from), known, world);
    }
    for name in world.settings.stacks.iter().flatten() {
        let service: Service = name.parse()?;
        if !survey.knows(&service) {
            survey.broken.push((service, format!("{source} has no such branch")));
        }
    }
    let after = survey.stacks.iter().flat_map(|(stack, after)| after.iter().map(move |name| (stack, name)));
    let lost = after.filter(|(_, name)| !survey.branches.contains(name.as_str()));
    survey.lost = lost.map(|(stack, name)| (stack.clone(), name.clone())).collect();
    Ok(survey)
}

impl Survey {
    fn knows(&self, service: &Service) -> bool {
        let listed = |list: &[(Service, String)]| list.iter().any(|(name, _)| name == service);
        self.stacks.contains_key(service) || listed(&self.others) || listed(&self.broken)
    }

    /// `known` is a stack that was deployed here before.
    fn add(&mut self, service: Service, tree: Result<Tree, Error>, known: bool, world: &World<'_>) {
        let read = tree.and_then(|tree| read_wishes(&tree, world));
        match read {
            Ok(None) => self.others.push((service, "it has no compose file".to_owned())),
            Ok(Some(wishes)) if !wishes.allow(&world.host()) => {
                self.others.push((service, format!("it is for {}", wishes.hosts.join(", "))));
            }
            Ok(Some(wishes)) => drop(self.stacks.insert(service, wishes.after)),
            // Another host's, unless root says that it is ours, or it ran here already.
            Err(error @ Error::Keys { .. }) if world.settings.stacks.is_none() && !known => {
                self.others.push((service, error.to_string()));
            }
            Err(error) => self.broken.push((service, error.to_string())),
        }
    }
}

/// What the compose file says under `x-hlx:`, without a look at anything else; a sealed file of
/// the branch is opened, as proof that this host can.
fn read_wishes(tree: &Tree, world: &World<'_>) -> Result<Option<Wishes>, Error> {
    let Some(files) = model::files(tree) else { return Ok(None) };
    let unsealed = super::sealed::Unsealed::open(tree, world.open)?;
    let text = unsealed.plain(tree, &files[0]).unwrap_or_default();
    // What compose makes of a file that is no YAML, it says when it is deployed.
    let file: Option<serde_yaml::Value> = serde_yaml::from_slice(text).ok();
    let x_hlx = file.as_ref().and_then(|file| file.get("x-hlx"));
    let x_hlx = x_hlx.map_or(Value::Null, |value| serde_json::to_value(value).unwrap_or(Value::Null));
    Ok(Some(wishes(&x_hlx)?))
}

/// Deploys all in their order, `jobs` at a time, and tells each fate as it comes.
pub fn run(
    stacks: BTreeMap<Service, Vec<Service>>,
    jobs: usize,
    deploy: &(dyn Fn(&Service) -> Fate + Sync),
    tell: &mut dyn FnMut(&Service, &Fate),
) -> BTreeMap<Service, Fate> {
    let mut order = Order::new(stacks);
    let mut fates = BTreeMap::new();
    let mut settle = |fates_now: Vec<(Service, Fate)>| {
        for (service, fate) in fates_now {
            tell(&service, &fate);
            fates.insert(service, fate);
        }
    };
    std::thread::scope(|scope| {
        let (sender, ended) = mpsc::channel();
        let mut running = 0;
        loop {
            while running < jobs.max(1)
                && let Some(service) = order.begin()
            {
                let sender = sender.clone();
                running += 1;
                scope.spawn(move || {
                    let fate = deploy(&service);
                    // Nobody hangs up before all have ended.
                    let _ = sender.send((service, fate));
                });
            }
            if running == 0 {
                let circle = order.circle();
                if circle.is_empty() {
                    break;
                }
                settle(order.give_up(&circle));
                continue;
            }
            let Ok((service, fate)) = ended.recv() else { break };
            running -= 1;
            let skipped = order.ended(&service, &fate);
            settle(vec![(service, fate)]);
            settle(skipped);
        }
    });
    fates
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn many_stacks_run_in_order_a_few_at_a_time_and_one_failure_stops_only_its_own() {
        let name = |number: usize| format!("s{number}").parse::<Service>().unwrap();
        // Each stack of a row of ten comes after the one before it.
        let after = |number: usize| if number.is_multiple_of(10) { vec![] } else { vec![name(number - 1)] };
        let stacks = (0..50).map(|number| (name(number), after(number))).collect();
        let (now, most, seen) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(Vec::new()));
        let deploy = |service: &Service| {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(std::time::Duration::from_millis(2));
            seen.lock().unwrap().push(service.clone());
            now.fetch_sub(1, Ordering::SeqCst);
            if *service == name(23) { Fate::Failed } else { Fate::Deployed }
        };
        let mut told = 0;
        let fates = run(stacks, 3, &deploy, &mut |_, _| told += 1);
        let seen = seen.into_inner().unwrap();
        assert_eq!((told, fates.len(), most.into_inner(), seen.len()), (50, 50, 3, 44));
        assert!((0..5).all(|row| {
            let own = seen.iter().filter(|service| (row * 10..row * 10 + 10).any(|n| name(n) == **service));
            own.cloned().eq((row * 10..).map(name).take(if row == 2 { 4 } else { 10 }))
        }));
        assert_eq!(fates[&name(24)], Fate::Skipped("it comes after s23, which failed".into()));
        assert_eq!(fates[&name(29)], Fate::Skipped("it comes after s28, which was skipped".into()));
        assert_eq!(fates[&name(30)], Fate::Deployed);
    }
}
