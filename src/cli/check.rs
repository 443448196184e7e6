//! `hlx check`

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::check::docker::{self, Docker};
use crate::check::{self, Checker, Depth, Finding, Place, Reach, Scope, Severity, place};
use crate::git::{Git, Repository};

use super::context::Context;
use super::repo::from_top;
use super::{Exit, Failure, errors, findings, formats};

#[derive(Debug, Args)]
#[command(after_help = "A comment `hlx:allow` on a line keeps `check` from taking it for a secret.")]
pub(super) struct CheckArgs {
    /// Tell only of these files and folders.
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Check only this branch, here or at a remote; may be given more than once. The default is every local
    /// branch, every branch of a remote that has no local one, and the index.
    #[arg(long, value_name = "BRANCH")]
    branch: Vec<String>,
    /// Check all branches of remotes too.
    #[arg(long, conflicts_with = "branch")]
    remotes: bool,
    /// Look for plaintext in all of the history too.
    #[arg(long)]
    history: bool,
    /// Ask Docker Compose about the compose files of every branch: a tenth of a second for each. The default is
    /// the branch that is checked out, or those of `--branch`, where Compose is installed.
    #[arg(long, conflicts_with = "no_compose")]
    compose: bool,
    /// Do not ask Docker Compose.
    #[arg(long)]
    no_compose: bool,
    /// Fail over warnings too.
    #[arg(long)]
    strict: bool,
    /// How findings are written.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
    /// The same as `--format json`.
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

/// How findings are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people, by branch and file.
    Human,
    /// A list of objects.
    Json,
    /// SARIF 2.1.0, as code scanners write it.
    Sarif,
    /// Commands of GitHub's workflows, which show findings at their lines.
    Github,
}

/// `hlx check`
pub(super) fn check(args: &CheckArgs, cx: &Context) -> Result<(), Failure> {
    let (repository, keyring) = (cx.repository()?, cx.keyring());
    let git = Git::at(cx.directory());
    let scope = match (args.remotes, &args.branch[..]) {
        (true, _) => Scope::WithRemotes,
        (false, []) => Scope::All,
        (false, names) => Scope::Named(names.to_vec()),
    };
    let places = place::places(&repository, &scope).map_err(findings::failure)?;
    let checker = Checker::new(&repository, &keyring, Depth::Full(findings::settings));
    let reach = if args.history { Reach::All } else { Reach::Recent };
    let mut found = checker.check(&places, reach).map_err(findings::failure)?;
    if args.history {
        found.extend(check::history(&checker, &git, &places).map_err(findings::failure)?);
    }
    ask_compose(args, &checker, &places, cx)?.add_to(&mut found);
    let paths = paths(&repository, &git, &args.paths)?;
    if let Some(path) = paths.iter().find(|path| !checker.has_met(path)) {
        return Err(Failure::new(
            Exit::Usage,
            format!("git has no file or folder `{path}` where it was looked"),
        )
        .hint("without a PATH all is told; `--history` looks at files that are gone too"));
    }
    found.retain(|finding| is_wanted(finding, &paths));
    match (args.json, args.format) {
        (true, _) | (false, Format::Json) => cx.ui.result(formats::json(&found)),
        (false, Format::Human) => formats::human(&found).iter().for_each(|line| cx.ui.result(line)),
        (false, Format::Sarif) => cx.ui.result(formats::sarif(&found)),
        (false, Format::Github) => found.iter().for_each(|finding| cx.ui.result(formats::github(finding))),
    }
    conclude(&found, places.len(), args.strict, cx)
}

/// How long Compose may take for one file of every branch.
const PATIENCE: Duration = Duration::from_secs(30);
/// And where nobody asked for it.
const SHORT_PATIENCE: Duration = Duration::from_secs(5);

/// What Compose says, as far as it is to be asked.
fn ask_compose(
    args: &CheckArgs,
    checker: &Checker<'_>,
    places: &[Place],
    cx: &Context,
) -> Result<docker::Asked, Failure> {
    if args.no_compose {
        return Ok(docker::Asked::default());
    }
    let limit = if args.compose { PATIENCE } else { SHORT_PATIENCE };
    let docker = Docker { env: std::env::vars_os().collect(), place: std::env::temp_dir(), limit };
    let here: Vec<Place> = match args.compose || !args.branch.is_empty() {
        true => places.to_vec(),
        false => place::current(places),
    };
    if args.compose {
        cx.ui.note(format!("asking Docker Compose about {}", counted(here.len(), "tree")));
    }
    let asked = match docker::ask(checker, &here, &docker) {
        // Where nobody asked for it, it need not be there.
        Err(check::Error::Compose { .. }) if !args.compose => docker::Asked::default(),
        asked => asked.map_err(findings::failure)?,
    };
    if asked.fell_silent {
        cx.ui.note("Docker Compose gave no answer, and was not asked any further");
    }
    Ok(asked)
}

/// The paths that were typed, from the top of the tree.
fn paths(repository: &Repository, git: &Git, typed: &[PathBuf]) -> Result<Vec<String>, Failure> {
    if typed.is_empty() || repository.work_tree().is_err() {
        return Ok(typed
            .iter()
            .map(|path| path.to_string_lossy().trim_end_matches('/').to_owned())
            .collect());
    }
    let prefix = git.text(&["rev-parse", "--show-prefix"]).map_err(errors::git)?;
    typed.iter().map(|path| from_top(repository, &prefix, path)).collect()
}

fn is_wanted(finding: &Finding, paths: &[String]) -> bool {
    let Some(path) = &finding.path else { return paths.is_empty() };
    let below = |wanted: &String| {
        wanted.is_empty()
            || path.strip_prefix(wanted.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    paths.is_empty() || paths.iter().any(below)
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Says how much was found, and fails if that is too much.
fn conclude(found: &[Finding], places: usize, strict: bool, cx: &Context) -> Result<(), Failure> {
    let count = |severity| found.iter().filter(|finding| finding.rule.severity() == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let summary = format!(
        "{}, {}, {} in {}",
        counted(errors, "error"),
        counted(warnings, "warning"),
        counted(count(Severity::Note), "note"),
        counted(places, "tree")
    );
    if errors > 0 || (strict && warnings > 0) {
        return Err(Failure::new(Exit::Policy, summary));
    }
    cx.ui.note(summary);
    Ok(())
}
