//! `hlx server join`: a server that says who it is, so that the owner can let it in.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use crate::crypto::envelope::Recipient;
use crate::deploy::Settings;
use crate::git::{self, Git};
use crate::keys::{Found, Keyring, Places};
use crate::sys::disk;

use super::context::{Context, variable};
use super::{Exit, Failure, errors, keys};

/// The key that a host has without anybody making one.
const HOST_KEY: &str = "/etc/ssh/ssh_host_ed25519_key";
const IDENTITY: &str = "/etc/hlx/identity";
const CONFIG: &str = "/etc/hlx/config.yaml";

#[derive(Debug, Subcommand)]
pub(super) enum ServerCommand {
    /// Pick or make this server's key, and print the line that lets it in: to be run by whoever owns the repository.
    Join(JoinArgs),
    /// Install the systemd unit that restores file secrets in RAM at boot, before Docker starts.
    Install(super::install::InstallArgs),
}

#[derive(Debug, Args)]
pub(super) struct JoinArgs {
    /// The repository, as this server shall fetch it. Goes into the server's configuration, if there is none.
    repo: String,
    /// The branches that this server shall read.
    #[arg(long = "branch", short, value_name = "BRANCH", num_args = 1..)]
    branches: Vec<String>,
    /// The name of this server in `.sops.yaml`; by default its host name.
    #[arg(long)]
    name: Option<String>,
    /// Make a key of its own in /etc/hlx/identity, rather than use the host's ssh key.
    #[arg(long)]
    own_key: bool,
    /// Do not try the repository: its host has yet to let this server in, or cannot be reached now.
    #[arg(long)]
    offline: bool,
}

/// Runs `hlx server …`.
pub(super) fn run(command: &ServerCommand, cx: &Context) -> Result<(), Failure> {
    match command {
        ServerCommand::Join(args) => join(args, cx),
        ServerCommand::Install(args) => super::install::run(args, cx),
    }
}

fn join(args: &JoinArgs, cx: &Context) -> Result<(), Failure> {
    let named = variable("HLX_IDENTITY").map(PathBuf::from);
    if named.is_none() && !rustix::process::geteuid().is_root() {
        return Err(
            Failure::new(Exit::Failed, "only root can give this server a key")
                .hint("run it with sudo; who deploys without root has a key of their own: `hlx keys generate`, and `repo: URL` in ~/.config/hlx/config.yaml")
        );
    }
    // A path is one from where the user stands.
    let local = Path::new(&args.repo).canonicalize();
    let repo = local.as_ref().map_or_else(|_| args.repo.clone(), |path| path.display().to_string());
    if !args.offline && local.is_err() && args.repo.starts_with(['/', '.']) {
        return Err(Failure::new(Exit::Usage, format!("there is no {}", args.repo))
            .hint("nothing was changed here; if it will be there later: `--offline`"));
    }
    let there = if args.offline { Ok(None) } else { branches(&repo).map(Some) };
    if let Ok(Some(there)) = &there {
        refuse_unknown(&args.branches, there, &repo)?;
    }
    let (recipient, place) = identity(named, args, cx)?;
    cx.ui.note(format!("this server's key is {}, from {}", recipient.short(), place.display()));
    if there.is_ok() {
        configure(&repo, cx)?;
    }
    print_line(args, &recipient, cx);
    let there = there.map_err(|error| unreachable(&repo, &error))?.unwrap_or_default();
    let services: Vec<&str> =
        there.iter().map(String::as_str).filter(|name| !matches!(*name, "main" | "master")).collect();
    if args.branches.is_empty() && !services.is_empty() {
        cx.ui
            .hint(format!("put the services of this server in the place of BRANCH: {}", services.join(", ")));
    }
    Ok(())
}

/// The one line for whoever owns the repository.
fn print_line(args: &JoinArgs, recipient: &Recipient, cx: &Context) {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let name = args.name.clone().unwrap_or(host);
    cx.ui.note("to let it in, run this in a clone, where you can read these branches:");
    let branches = if args.branches.is_empty() { "BRANCH".to_owned() } else { args.branches.join(" ") };
    let name = quoted(&name);
    cx.ui.result(format!("hlx recipients add \"{recipient}\" --name {name} --push --branch {branches}"));
}

/// Fails if a branch was named that the repository does not have.
fn refuse_unknown(named: &[String], there: &[String], repo: &str) -> Result<(), Failure> {
    let Some(unknown) = named.iter().find(|name| !there.contains(name)) else { return Ok(()) };
    Err(Failure::new(Exit::Usage, format!("{repo} has no branch `{unknown}`"))
        .hint(near_or_all(unknown, there))
        .hint("nothing was changed here"))
}

/// The branch that may have been meant, or all that there are.
pub(super) fn near_or_all(unknown: &str, there: &[String]) -> String {
    let likeness =
        |known: &&String| strsim::damerau_levenshtein(&known.to_lowercase(), &unknown.to_lowercase());
    let nearest = there.iter().filter(|known| likeness(known) <= 3).min_by_key(likeness);
    match nearest {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None => format!("it has these: {}", there.join(", ")),
    }
}

/// What is to be done where the repository does not answer. The line was printed, since its host may wait for that key.
fn unreachable(repo: &str, error: &git::Error) -> Failure {
    Failure::new(Exit::Failed, format!("{repo} cannot be read from here, so no configuration was written: {error}"))
        .hint("if that is mistyped, run it again with the right one")
        .hint("if its host has yet to let this server in (with a deploy key, for example), do that and run it again, or now with `--offline`")
}

/// The key that is there, or a new one, and its file.
fn identity(named: Option<PathBuf>, args: &JoinArgs, cx: &Context) -> Result<(Recipient, PathBuf), Failure> {
    let own = named.clone().unwrap_or_else(|| IDENTITY.into());
    let host = PathBuf::from(HOST_KEY);
    let candidates = match (&named, args.own_key) {
        (None, false) => vec![&own, &host],
        (Some(_), _) | (None, true) => vec![&own],
    };
    match candidates.into_iter().find(|path| path.exists()) {
        Some(path) => Ok((read(path)?, path.clone())),
        None => Ok((keys::make(&own, cx)?, own)),
    }
}

/// The public key of a file with private ones.
fn read(path: &Path) -> Result<Recipient, Failure> {
    let keyring = Keyring::load(&Places { named: vec![path.to_owned()], ..Places::default() });
    let found = keyring.tried().iter().find(|tried| tried.place == path.display().to_string());
    let failed = |reason: &str| {
        Failure::new(Exit::NoKey, format!("{}: {reason}", path.display()))
            .hint("`--own-key` makes a key of its own, in a file that is not there yet")
    };
    match found.map(|tried| &tried.outcome) {
        Some(Ok(found)) => {
            let known = found.iter().find_map(Found::recipient).cloned();
            known.ok_or_else(|| failed("its public key is not known"))
        }
        Some(Err(reason)) => Err(failed(&reason.to_string())),
        None => Err(failed("it was not read")),
    }
}

/// Writes the server's configuration, unless there is one.
fn configure(repo: &str, cx: &Context) -> Result<(), Failure> {
    let path = variable("HLX_CONFIG").map_or_else(|| PathBuf::from(CONFIG), PathBuf::from);
    if !path.exists() {
        let text = serde_yaml::to_string(&serde_json::json!({ "repo": repo })).expect("a text is written");
        let directory = path.parent().unwrap_or(Path::new("/"));
        std::fs::create_dir_all(directory).map_err(|error| errors::io(directory, &error))?;
        disk::private_file(&path, text.as_bytes()).map_err(|error| errors::io(&path, &error))?;
        cx.ui.note(format!("{} names the repository now", path.display()));
        return Ok(());
    }
    let text = String::from_utf8_lossy(&cx.read(&path)?).into_owned();
    match Settings::parse(&text, &path) {
        Ok(settings) if settings.repo.as_deref() == Some(repo) => {}
        Ok(_) | Err(_) => {
            cx.ui
                .warning(format!("{} is there, without this repository, and stays as it is", path.display()));
            cx.ui.hint(format!("to change it, write `repo: {repo}` there"));
        }
    }
    Ok(())
}

/// The branches of the repository.
fn branches(repo: &str) -> Result<Vec<String>, git::Error> {
    let text = Git::at("/").text(&["ls-remote", "--heads", "--", repo])?;
    let name = |line: &str| Some(line.split_once("refs/heads/")?.1.to_owned());
    Ok(text.lines().filter_map(name).collect())
}

/// A word for a shell.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@');
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}
