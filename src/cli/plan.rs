//! `hlx plan`: what a deploy would change.

use clap::Args;

use super::server::{self, Server, failure};
use super::{Context, Exit, Failure, deploy as door};
use crate::deploy;
use crate::deploy::changes::{Action, Changes, ServiceChange};

/// Show what deploying a service would change, and change nothing. Exit code 10 if there is something.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// The service, which is the name of its branch.
    service: String,
    /// Take the branch from this repository.
    #[arg(long, value_name = "URL|PATH")]
    repo: Option<String>,
    /// Plan a deploy with `--adopt`.
    #[arg(long)]
    adopt: bool,
    /// Plan a deploy with `--accept-rewrite`.
    #[arg(long)]
    accept_rewrite: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Plans.
pub(super) fn run(args: &PlanArgs, cx: &Context) -> Result<(), Failure> {
    let server = Server::from_environment()?;
    let wish = door::planned(&args.service, args.repo.clone(), args.adopt, args.accept_rewrite)?;
    let keyring = cx.keyring();
    let open = deploy::opener(|sealed| keyring.open(sealed));
    let report = server::report(cx.ui);
    let changes = deploy::plan(&wish, &server.world(&open, &report));
    let changes = changes.map_err(|error| server::unused_keys(failure(error), &keyring))?;
    match args.json {
        true => cx.ui.result(serde_json::json!(changes)),
        false => lines(&changes).iter().for_each(|line| cx.ui.result(line)),
    }
    match changes.is_empty() {
        true => Ok(()),
        false => Err(Failure::new(Exit::Changes, "there are changes")),
    }
}

fn lines(changes: &Changes) -> Vec<String> {
    let from = changes.deployed.as_deref().map_or("nothing", |commit| &commit[..10]);
    let mut lines = vec![format!("from {from} to {:.10}", changes.commit)];
    for service in &changes.services {
        lines.push(format!("{} service {}", verb(service.action), service.name));
        lines.extend(details(service).into_iter().map(|line| format!("    {line}")));
    }
    let rebuilt =
        |name: &String| format!("rebuild service {name}, and recreate it if its image is another then");
    lines.extend(changes.rebuilt.iter().map(rebuilt));
    lines.extend(changes.setup.map(|why| format!("run setup.sh ({why})")));
    lines.extend(changes.secrets.iter().map(|name| format!("secret {name}")));
    let file = |how: &str, path: &std::path::Path| format!("file {how}: {}", path.display());
    lines.extend(changes.files.iter().map(|change| file(change.how, &change.path)));
    if changes.is_empty() {
        lines.push("no changes".to_owned());
    }
    lines
}

fn verb(action: Action) -> &'static str {
    match action {
        Action::Create => "create",
        Action::Recreate => "recreate",
        Action::Update => "update",
        Action::Start => "start",
        Action::Remove => "remove",
    }
}

fn details(service: &ServiceChange) -> Vec<String> {
    let mut lines = Vec::new();
    match (&service.image_before, &service.image) {
        (Some(before), Some(now)) => lines.push(format!("image {before} -> {now}")),
        (None, Some(now)) if service.action == Action::Create => lines.push(format!("image {now}")),
        _ => {}
    }
    if service.builds && service.action != Action::Remove {
        lines.push("its image is built".to_owned());
    }
    for (sign, what, all) in [
        ('+', "port", &service.ports_added),
        ('-', "port", &service.ports_removed),
        ('+', "mount", &service.volumes_added),
        ('-', "mount", &service.volumes_removed),
    ] {
        lines.extend(all.iter().map(|one| format!("{sign} {what} {one}")));
    }
    lines
}
