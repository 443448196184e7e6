//! `hlx init`, `new`, `track`, `status` and the hooks.

use std::path::{Component, Path};

use clap::Args;

use crate::git::{Git, Repository};
use crate::keys::recipients::Named;
use crate::keys::{Found, Keyring};
use crate::repo::init::Hook;
use crate::repo::new::{Form, Service, Setup};
use crate::repo::status::{self, Branch, InGit, InTree};
use crate::repo::track::{Mode, Tracked};
use crate::repo::{self, config, index, init as setup, new as services, track as tracking};
use crate::sys::random;

use super::context::{Context, default_key_file};
use super::recipients::KeyArgs;
use super::{Exit, Failure, errors, keys, lock};

#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// Make no private key if none is found.
    #[arg(long)]
    no_key: bool,
}

/// `hlx init`
pub(super) fn init(args: &InitArgs, cx: &Context) -> Result<(), Failure> {
    let repository = cx.repository()?;
    let git = cx.git(&repository)?;
    let program = std::env::current_exe()
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot tell where hlx is: {error}")))?;
    let program = program.to_string_lossy();
    setup::configure(&git, &program).map_err(errors::repo)?;
    cx.ui.note("git now encrypts and decrypts protected files in this clone");
    if setup::install_hook(&repository, &git, &program).map_err(errors::repo)? == Hook::Foreign {
        cx.ui.warning("there is another pre-commit hook: add `hlx hook pre-commit` to it");
    }
    warn_of_config(&repository, cx);
    let mut keyring = cx.keyring();
    match (&own(&keyring)[..], args.no_key) {
        ([first, ..], _) => cx.ui.note(format!("your public key is {}", first.recipient)),
        ([], true) => cx.ui.note("there is no private key here: encrypted files stay so"),
        ([], false) => {
            let path = default_key_file().ok_or_else(|| Failure::new(Exit::Failed, "no HOME is set"))?;
            let recipient = keys::make(&path, cx)?;
            cx.ui.note(format!("your public key is {recipient}"));
            keyring = cx.keyring();
        }
    }
    if repository.is_locked() {
        cx.ui.note("this work tree is locked, and stays so: `hlx unlock` opens it");
        return Ok(());
    }
    lock::open(&repository, &git, &keyring, cx)
}

/// Warns of a `.sops.yaml` that the next new file would fail over.
fn warn_of_config(repository: &Repository, cx: &Context) {
    if let Err(error) = config::check(repository) {
        let failure = errors::repo(error);
        cx.ui.warning(failure.message());
        failure.hints().iter().for_each(|hint| cx.ui.hint(hint));
    }
}

#[derive(Debug, Args)]
pub(super) struct NewArgs {
    /// The name of the service and its branch: letters, digits, `-` and `_`.
    service: String,
    #[command(flatten)]
    keys: KeyArgs,
    /// Also make a `setup.sh`.
    #[arg(long)]
    setup: bool,
    /// Encrypt everything on the branch but `.gitattributes` and `.sops.yaml`, names of variables included.
    #[arg(long)]
    sealed: bool,
}

/// `hlx new SERVICE`
pub(super) fn new(args: &NewArgs, cx: &Context) -> Result<(), Failure> {
    let repository = cx.repository()?;
    let git = cx.git(&repository)?;
    let keyring = cx.keyring();
    let mut recipients = own(&keyring);
    for named in args.keys.read(cx)? {
        if !recipients.iter().any(|known| known.recipient == named.recipient) {
            recipients.push(named);
        }
    }
    let setup = if args.setup { Setup::With } else { Setup::Without };
    let form = if args.sealed { Form::Sealed } else { Form::Open };
    let service =
        Service { name: &args.service, recipients: &recipients, setup, form, plugins: keyring.plugins() };
    let commit =
        services::create(&repository, &git, &service, cx.stamp(&mut random::fill)).map_err(errors::repo)?;
    cx.ui.result(format!("{}: new branch at {commit:.10}", args.service));
    match index::update(&repository, &git) {
        Ok(Some(_)) => cx.ui.note("the list of services in the README of the landing page is up to date"),
        Ok(None) => {}
        Err(error) => cx.ui.warning(format!("the list of services was left as it is: {error}")),
    }
    if recipients.len() == 1 {
        cx.ui.hint(format!("let the server in: `hlx recipients add KEY --branch {}`", args.service));
    }
    cx.ui.hint(format!("edit it: `git switch {0}`, or `git worktree add ../{0} {0}`", args.service));
    Ok(())
}

/// One's own keys, as readers: those that a person uses, not the host's.
fn own(keyring: &Keyring) -> Vec<Named> {
    let host = Path::new("/etc/ssh/ssh_host_ed25519_key").display().to_string();
    let found = keyring
        .tried()
        .iter()
        .filter(|tried| tried.place != host)
        .filter_map(|tried| tried.outcome.as_ref().ok());
    let mut named: Vec<Named> = Vec::new();
    for recipient in found.flatten().filter_map(Found::recipient) {
        if !named.iter().any(|known| known.recipient == *recipient) {
            named.push(Named { recipient: recipient.clone(), name: Some("me".to_owned()) });
        }
    }
    named
}

#[derive(Debug, Args)]
pub(super) struct TrackArgs {
    /// The files, from where you stand. With `--whole`, the top of the work tree is everything on the branch
    /// but `.gitattributes` and `.sops.yaml`.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<String>,
    /// Encrypt only what stands below keys that match this regular expression. For compose files the default
    /// is `^environment$`.
    #[arg(long, value_name = "REGEX", conflicts_with_all = ["marked", "whole"])]
    keys: Option<String>,
    /// Encrypt only what a comment `# secret` stands before.
    #[arg(long, conflicts_with = "whole")]
    marked: bool,
    /// Encrypt the whole file as one value.
    #[arg(long)]
    whole: bool,
}

/// `hlx track PATH…`
pub(super) fn track(args: &TrackArgs, cx: &Context) -> Result<(), Failure> {
    let repository = cx.repository()?;
    let git = cx.git(&repository)?;
    let prefix = Git::at(cx.directory()).text(&["rev-parse", "--show-prefix"]).map_err(errors::git)?;
    let mode = match (&args.keys, args.marked, args.whole) {
        (Some(keys), ..) => Mode::Keys(keys.clone()),
        (None, true, _) => Mode::Marked,
        (None, false, true) => Mode::Whole,
        (None, false, false) => Mode::Default,
    };
    let own = own(&cx.keyring());
    for path in &args.paths {
        let path = from_top(&repository, &prefix, path)?;
        if path.is_empty() && mode == Mode::Whole {
            let done = tracking::track_all(&repository, &own).map_err(errors::repo)?;
            report_all_tracked(&done, cx);
            continue;
        }
        let done = tracking::track(&repository, &git, &path, &mode, &own).map_err(errors::repo)?;
        report_tracked(&path, &done, cx);
    }
    Ok(())
}

/// A path as it was typed, from the top of the work tree.
fn from_top(repository: &Repository, prefix: &str, typed: &str) -> Result<String, Failure> {
    let outside = || Failure::new(Exit::Usage, format!("`{typed}` is not below the work tree"));
    let tree = repository.work_tree().map_err(errors::git)?;
    let typed = match Path::new(typed).is_absolute() {
        true => Path::new(typed).strip_prefix(tree).map_err(|_| outside())?.to_path_buf(),
        false => Path::new(prefix).join(typed),
    };
    let mut parts: Vec<String> = Vec::new();
    for part in typed.components() {
        match part {
            Component::Normal(name) => parts.push(name.to_string_lossy().into_owned()),
            Component::CurDir => {}
            Component::ParentDir => drop(parts.pop().ok_or_else(outside)?),
            Component::RootDir | Component::Prefix(_) => return Err(outside()),
        }
    }
    Ok(parts.join("/"))
}

fn report_all_tracked(done: &Tracked, cx: &Context) {
    let news = if done.attributes { "is protected now" } else { "was protected already" };
    cx.ui.result(format!("everything on this branch {news}"));
    if done.was_plaintext {
        cx.ui.warning(
            "files of this branch are in git in clear, and its history keeps that: change any secret in them at its source",
        );
    }
    if done.attributes || done.was_plaintext {
        cx.ui.hint("commit it with `git add --renormalize .`, `git add .` and `git commit`");
    }
}

fn report_tracked(path: &str, done: &Tracked, cx: &Context) {
    let news = if done.attributes || done.rule { "is protected now" } else { "was protected already" };
    cx.ui.result(format!("{path} {news}"));
    if done.missing {
        cx.ui.warning(format!("there is no {path} yet: it will be encrypted once it is there"));
    }
    if done.ignored {
        cx.ui
            .warning(format!("{path} is ignored by a .gitignore: take it out there, or `git add -f {path}`"));
    }
    if done.was_plaintext {
        cx.ui.warning(format!(
            "{path} is in git in clear, and its history keeps that: change any secret in it at its source"
        ));
        cx.ui.hint(format!("encrypt it from now on: `git add --renormalize {path}`"));
    }
    if done.attributes || done.rule {
        let there = if done.missing { String::new() } else { format!(" {path}") };
        cx.ui.hint(format!("commit it with `git add .gitattributes .sops.yaml{there}` and `git commit`"));
    }
}

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// `hlx status`
pub(super) fn status(args: &StatusArgs, cx: &Context) -> Result<(), Failure> {
    let repository = cx.repository()?;
    let git = cx.git(&repository)?;
    let keyring = cx.keyring();
    let mut branches = vec![status::current(&repository, &keyring).map_err(errors::repo)?];
    branches.extend(status::others(&repository, &git, &keyring).map_err(errors::repo)?);
    if args.json {
        cx.ui.result(serde_json::Value::from(branches.iter().map(branch_json).collect::<Vec<_>>()));
    } else {
        branches.iter().for_each(|branch| show_branch(branch, cx));
    }
    if repository.is_locked() {
        cx.ui.note("this work tree is locked: `hlx unlock` opens it");
    }
    warn_of_config(&repository, cx);
    for path in status::abandoned(&repository).map_err(errors::repo)? {
        cx.ui.warning(format!(
            "{path} is encrypted in git, but nothing protects it: the next version would be in clear"
        ));
        cx.ui.hint(format!("`hlx track {path}`, and look who changed it: `git log -p -- .gitattributes`"));
    }
    if !git.test(&["config", "filter.hlx.process"]).map_err(errors::git)? {
        cx.ui.warning("this clone is not set up: git would store plaintext");
        cx.ui.hint("run `hlx init`");
    }
    Ok(())
}

fn show_branch(branch: &Branch, cx: &Context) {
    let mark = if branch.current { "*" } else { " " };
    cx.ui.result(format!("{mark} {}", branch.name));
    for file in &branch.files {
        let key = if file.readable { "yours" } else { "not yours" };
        let readers = match (file.in_git, file.readers.len()) {
            (InGit::Sealed, 1) => format!(", 1 reader, {key}"),
            (InGit::Sealed, count) => format!(", {count} readers, {key}"),
            _ => String::new(),
        };
        cx.ui.result(format!(
            "    {:<28} {}{}{readers}",
            file.path,
            in_git(file.in_git),
            in_tree(file.in_tree)
        ));
    }
}

fn in_git(state: InGit) -> &'static str {
    match state {
        InGit::Sealed => "encrypted",
        InGit::Empty => "empty",
        InGit::Plaintext => "PLAINTEXT IN GIT",
        InGit::Unprotected => "NOT PROTECTED ANY MORE",
        InGit::Broken => "BROKEN",
    }
}

fn in_tree(state: InTree) -> &'static str {
    match state {
        InTree::Open => ", open here",
        InTree::Sealed => ", encrypted here too",
        InTree::Missing => ", not in the work tree",
        InTree::Elsewhere => "",
    }
}

fn branch_json(branch: &Branch) -> serde_json::Value {
    let files: Vec<_> = branch
        .files
        .iter()
        .map(|file| {
            serde_json::json!({
                "path": file.path,
                "in_git": in_git(file.in_git).to_lowercase(),
                "in_tree": in_tree(file.in_tree).trim_start_matches(", "),
                "readers": file.readers,
                "readable": file.readable,
            })
        })
        .collect();
    serde_json::json!({ "branch": branch.name, "current": branch.current, "files": files })
}

#[derive(Debug, Args)]
pub(super) struct HookArgs {
    /// pre-commit
    name: String,
}

/// `hlx hook NAME`
pub(super) fn hook(args: &HookArgs, cx: &Context) -> Result<(), Failure> {
    if args.name != "pre-commit" {
        return Err(Failure::new(Exit::Usage, format!("there is no hook `{}`", args.name)).hint("pre-commit"));
    }
    let repository = cx.repository_inside_git()?;
    config::check_staged(&repository).map_err(not_committed)?;
    let exposed = status::exposed(&repository).map_err(errors::repo)?;
    if exposed.is_empty() {
        return Ok(());
    }
    let list: Vec<_> =
        exposed.iter().map(|(path, state)| format!("{path}: {}", in_git(*state).to_lowercase())).collect();
    let mut failure = Failure::new(Exit::Policy, format!("nothing was committed:\n{}", list.join("\n")));
    for (path, state) in &exposed {
        match state {
            InGit::Plaintext => {
                failure =
                    failure.hint(format!("encrypt it: `git add --renormalize {path}` (after `hlx init`)"));
            }
            InGit::Unprotected => {
                failure = failure.hint(format!(
                    "{path} was encrypted, and `.gitattributes` protects it no more: `hlx track {path}`, then add it again; \
                     if that is meant, `git commit --no-verify`"
                ));
            }
            InGit::Sealed | InGit::Empty | InGit::Broken => {}
        }
    }
    Err(failure)
}

fn not_committed(error: repo::Error) -> Failure {
    let failure = errors::repo(error);
    let named = Failure::new(failure.exit(), format!("nothing was committed: {}", failure.message()));
    failure.hints().iter().fold(named, Failure::hint)
}
