//! `hlx server join`: a server that says who it is, so that the owner can let it in.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use crate::crypto::envelope::Recipient;
use crate::deploy::Settings;
use crate::git::Git;
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
            Failure::new(Exit::Failed, "only root can give this server a key").hint("run it with sudo")
        );
    }
    let (recipient, place) = identity(named, args, cx)?;
    cx.ui.note(format!("this server's key is {}, from {}", recipient.short(), place.display()));
    // A path is one from where the user stands.
    let local = Path::new(&args.repo).canonicalize();
    let repo = local.map_or_else(|_| args.repo.clone(), |path| path.display().to_string());
    configure(&repo, cx)?;
    let there = branches(&repo, cx);
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let name = args.name.clone().unwrap_or(host);
    cx.ui.note("to let it in, run this in a clone, where you can read these branches:");
    let branches = if args.branches.is_empty() { "BRANCH".to_owned() } else { args.branches.join(" ") };
    let name = quoted(&name);
    cx.ui.result(format!("hlx recipients add \"{recipient}\" --name {name} --push --branch {branches}"));
    if args.branches.is_empty() && !there.is_empty() {
        cx.ui.hint(format!("put the services of this server in the place of BRANCH: {}", there.join(", ")));
    }
    Ok(())
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

/// The branches of the repository, as far as this server can read it.
fn branches(repo: &str, cx: &Context) -> Vec<String> {
    match Git::at("/").text(&["ls-remote", "--heads", "--", repo]) {
        Ok(text) => {
            let name = |line: &str| Some(line.split_once("refs/heads/")?.1.to_owned());
            text.lines().filter_map(name).filter(|name| !matches!(name.as_str(), "main" | "master")).collect()
        }
        Err(error) => {
            cx.ui.warning(format!("this server cannot read the repository yet: {error}"));
            cx.ui.hint("its git host must let it in too, with a deploy key for example");
            Vec::new()
        }
    }
}

/// A word for a shell.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@');
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}
