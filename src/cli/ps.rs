//! `hlx ps`: how the stacks of this host stand.

use clap::Args;
use serde_json::{Value, json};

use super::history::{entry_json, when};
use super::server::{self, Server, failure};
use super::{Context, Failure};
use crate::deploy;
use crate::deploy::health::{Container, condition};
use crate::deploy::standing::{Standing, standing};
use crate::deploy::state::Entry;
use crate::keys::{self, Keyring};

/// Show what is deployed on this host, and how its containers are.
#[derive(Debug, Args)]
pub(super) struct PsArgs {
    /// Of this service only.
    service: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Prints how things stand.
pub(super) fn run(args: &PsArgs, cx: &Context) -> Result<(), Failure> {
    let server = Server::from_environment()?;
    let service = args.service.as_deref().map(server::service).transpose()?;
    // Nothing is opened for it.
    let keyring = Keyring::load(&keys::Places::default());
    let open = deploy::opener(|sealed| keyring.open(sealed));
    let report = server::report(cx.ui);
    let found = standing(service.as_ref(), &server.world(&open, &report)).map_err(failure)?;
    if args.json {
        cx.ui.result(Value::from_iter(found.iter().map(standing_json)));
        return Ok(());
    }
    if found.is_empty() {
        cx.ui.note("nothing was deployed here yet");
    }
    for one in &found {
        cx.ui.result(head(one));
        failed(one).iter().for_each(|line| cx.ui.result(format!("    {line}")));
        one.containers.iter().for_each(|container| cx.ui.result(format!("    {}", condition(container))));
    }
    Ok(())
}

fn head(one: &Standing) -> String {
    let short = |commit: &Option<String>| commit.as_deref().map_or("-".to_owned(), |id| format!("{id:.10}"));
    let verb = if one.runs() { "runs" } else { "no container runs of" };
    let running = match (&one.stack.tried, &one.stack.commit) {
        (tried, _) if one.elsewhere.is_some() => {
            let docker = one.elsewhere.as_deref().unwrap_or_default();
            format!("{} was deployed to the Docker at {docker}, which is not asked", short(tried))
        }
        _ if one.containers.is_empty() => "no containers".to_owned(),
        (tried, good) if tried == good => format!("{verb} {}", short(good)),
        (tried, None) => format!("{verb} {}, which was never good", short(tried)),
        (tried, good) => format!("{verb} {}; the last good one is {}", short(tried), short(good)),
    };
    let bad = one.bad.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    format!("{}  {running}{bad}", one.service)
}

/// That the last try failed, unless the first line said so.
fn failed(one: &Standing) -> Option<String> {
    let Entry { action, commit, ending, result, began, .. } = one.failed.as_ref()?;
    if one.bad.is_some() && *commit == one.stack.tried {
        return None;
    }
    let of = commit.as_deref().map(|commit| format!(" of {commit:.10}")).unwrap_or_default();
    let why = if result == ending.as_str() { String::new() } else { format!(": {result}") };
    Some(format!("the last {action}{of}, at {}: {}{why}", when(*began), ending.as_str()))
}

fn standing_json(one: &Standing) -> Value {
    json!({
        "stack": one.service.as_str(),
        "repo": one.stack.repo,
        "directory": one.stack.directory,
        "project": one.stack.project,
        "engine": one.stack.engine.as_str(),
        "docker": one.stack.docker,
        "commit": one.stack.tried,
        "good": one.stack.commit,
        "bad": one.bad,
        "failed": one.failed.as_ref().map(entry_json),
        "containers": Value::from_iter(one.containers.iter().map(container_json)),
    })
}

fn container_json(container: &Container) -> Value {
    json!({
        "id": container.id,
        "name": container.name,
        "service": container.service,
        "status": container.status,
        "health": Some(&container.health).filter(|health| !health.is_empty()),
        "exit_code": container.exit_code,
        "restarts": container.restarts,
        "started": container.started.to_string(),
    })
}
