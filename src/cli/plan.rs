//! `hlx plan`: what a deploy would change.

use clap::Args;

use super::server::{self, Server, failure};
use super::{Context, Exit, Failure, deploy as door, quote};
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
    let rerun = |name: &String| format!("run service {name} again: it has ended, and each deploy starts it");
    lines.extend(changes.rebuilt.iter().map(rebuilt));
    lines.extend(changes.reruns.iter().map(rerun));
    lines.extend(changes.setup.map(|why| format!("run setup.sh ({why})")));
    lines.extend(changes.secrets.iter().map(|name| format!("secret {name}")));
    let file = |how: &str, path: &std::path::Path| {
        format!("file {how}: {}", quote::path(&path.display().to_string()))
    };
    lines.extend(changes.files.iter().map(|change| file(change.how, &change.path)));
    if changes.is_empty() {
        let none = if changes.reruns.is_empty() { "no changes" } else { "no other changes" };
        lines.push(none.to_owned());
    }
    // Names are the commit's: none of them begins a line of its own.
    lines.iter().map(|line| quote::line(line).into_owned()).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deploy::changes::FileChange;

    #[test]
    fn no_name_begins_a_line_of_its_own() {
        let changes = Changes {
            commit: "1".repeat(40),
            deployed: None,
            services: Vec::new(),
            rebuilt: Vec::new(),
            secrets: vec!["a\nb: K\u{1b}[2K".into()],
            files: vec![FileChange { path: "evil\nrecreate service web".into(), how: "added" }],
            setup: None,
            reruns: vec!["migrate".into()],
            obstacles: Vec::new(),
        };
        let wanted = [
            "from nothing to 1111111111",
            "run service migrate again: it has ended, and each deploy starts it",
            r"secret a\nb: K\033[2K",
            r#"file added: "evil\nrecreate service web""#,
        ];
        assert_eq!(lines(&changes), wanted);
        let nothing = Changes { secrets: Vec::new(), files: Vec::new(), ..changes };
        assert_eq!(lines(&nothing).last().unwrap(), "no other changes");
    }
}
