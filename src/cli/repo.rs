//! `hlx init`, `new`, `index` and `status`.

use std::path::{Component, Path};

use clap::Args;

use crate::crypto::envelope::Recipient;
use crate::crypto::hybrid;
use crate::git::{Git, Repository, branch};
use crate::keys::recipients::Named;
use crate::keys::{Found, Keyring, Tried};
use crate::repo::hooks::{self, Hook, Outcome};
use crate::repo::new::{Form, Service, Setup};
use crate::repo::status::{self, Branch, InGit, InTree};
use crate::repo::{config, index, init as setup, new as services, recipients as lists, unlock as unlocking};
use crate::sys::random;
use crate::trust;

use super::context::{Context, default_key_file};
use super::recipients::{self, KeyArgs};
use super::ui::{counted, key as shown};
use super::uninstall::{self, Files};
use super::{Exit, Failure, errors, keys, lock, quote};

#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// Make no private key if none is found.
    #[arg(long, conflicts_with = "uninstall")]
    no_key: bool,
    /// Take hlx out of this clone: configuration, hooks and files of its own. The protected files of its work trees are
    /// encrypted first, as `lock` does it: without the filter git would store them in clear.
    #[arg(long)]
    uninstall: bool,
    /// Leave files open all the same.
    #[arg(long, requires = "uninstall")]
    keep_open: bool,
}

/// `hlx init`
pub(super) fn init(args: &InitArgs, cx: &Context) -> Result<(), Failure> {
    let repository = cx.repository()?;
    if args.uninstall {
        let files = if args.keep_open { Files::Open } else { Files::Sealed };
        let bare = repository.work_tree().is_err();
        let git = if bare { Git::at(repository.common_dir()) } else { repository.git() };
        return uninstall::run(&repository, &git, files, cx);
    }
    let program = std::env::current_exe()
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot tell where hlx is: {error}")))?;
    let program = program.to_string_lossy();
    if repository.work_tree().is_err() {
        let git = Git::at(repository.common_dir());
        install_hooks(&repository, &git, &program, &hooks::SERVER, cx)?;
        cx.ui.note("pushes to this repository are checked now; it has no work tree, and needs no key");
        return Ok(());
    }
    let git = cx.git(&repository)?;
    let mut keyring = cx.keyring();
    if !args.no_key {
        refuse_unusable(&keyring, cx)?;
    }
    setup::configure(&git, &program).map_err(errors::repo)?;
    cx.ui.note("git now encrypts and decrypts protected files in this clone");
    install_hooks(&repository, &git, &program, &hooks::CLONE, cx)?;
    warn_of_config(&repository, cx);
    match (&own(&keyring, cx)[..], args.no_key) {
        ([first, ..], _) => cx.ui.note(format!("your public key is {}", shown(&first.recipient))),
        ([], true) => cx.ui.note("there is no private key here: encrypted files stay so"),
        ([], false) => match of_logins(&keyring, cx).into_iter().find(|key| reads(&repository, &git, key)) {
            Some(Named { recipient, .. }) => {
                cx.ui
                    .note(format!("your public key is {}: branches are encrypted for it", recipient.short()));
                cx.ui.hint("a passphrase protects it: `hlx keys unlock` asks for that once for some hours");
            }
            None => {
                make_key(&keyring, cx)?;
                keyring = cx.keyring();
            }
        },
    }
    begin_trust(&repository, &keyring, cx)?;
    if repository.is_locked() {
        cx.ui.note("this work tree is locked, and stays so: `hlx unlock` opens it");
        return Ok(());
    }
    let sealed = lock::open(&repository, &git, &keyring, cx)?;
    lock::warn(&sealed, cx);
    tell_of_others(&repository, &git, cx)
}

/// Names the other work trees of the clone in which protected files stand encrypted.
fn tell_of_others(repository: &Repository, git: &Git, cx: &Context) -> Result<(), Failure> {
    let here = repository.work_tree().map_err(errors::git)?.canonicalize().ok();
    for tree in uninstall::work_trees(git)? {
        let Ok(other) = Repository::discover(&tree) else { continue };
        if tree.canonicalize().ok() != here && !other.is_locked() && unlocking::has_sealed(&other) {
            cx.ui.note(format!("protected files in {} stand encrypted", tree.display()));
            cx.ui.hint("`hlx unlock` there opens them");
        }
    }
    Ok(())
}

/// Trusts what the clone has, at the first time; later, what of it nobody could open here then.
fn begin_trust(repository: &Repository, keyring: &Keyring, cx: &Context) -> Result<(), Failure> {
    let branches = |count| counted(count, "branch", "branches");
    match trust::begin(repository, keyring).map_err(errors::trust)? {
        Some(0) => {}
        Some(all) => cx.ui.note(format!(
            "the readers, rules and data keys of {} are trusted as they are now: `hlx recipients list` shows who reads them",
            branches(all)
        )),
        None => match trust::open(repository, keyring).map_err(errors::trust)? {
            0 => {}
            opened => cx.ui.note(format!(
                "the data keys of {} that no key opened here before are trusted as they are now",
                branches(opened)
            )),
        },
    }
    Ok(())
}

/// Makes a private key for a user who has none for this.
fn make_key(keyring: &Keyring, cx: &Context) -> Result<(), Failure> {
    let path = default_key_file().ok_or_else(|| Failure::new(Exit::Failed, "no HOME is set"))?;
    let recipient = keys::make(&path, cx)?;
    cx.ui.note(format!("your public key is {}", shown(&recipient)));
    let places = keyring.tried().iter().filter(|tried| is_for_logins(&tried.place));
    let is_locked =
        |tried: &&Tried| tried.outcome.iter().flatten().any(|key| matches!(key, Found::Locked(_)));
    if let Some(Tried { place, .. }) = places.into_iter().find(is_locked) {
        cx.ui.note(format!(
            "{place} was not taken: a passphrase protects it, and git would have to wait for that"
        ));
        cx.ui.hint(format!(
            "to use it all the same: `hlx recipients add \"$(cat {place}.pub)\"`, and `hlx keys unlock {place}` each time before you work"
        ));
    }
    Ok(())
}

/// Whether some branch here is encrypted for a key.
fn reads(repository: &Repository, git: &Git, key: &Named) -> bool {
    let tips = branch::tips(git).unwrap_or_default();
    let readers = tips.iter().filter_map(|(name, commit)| lists::list(repository, name, commit).ok());
    readers.into_iter().any(|branch| branch.readers.contains_key(key.recipient.as_str()))
}

/// Fails if one's own key file is there, but of no use: another cannot be made in its place.
fn refuse_unusable(keyring: &Keyring, cx: &Context) -> Result<(), Failure> {
    let Some(path) = default_key_file().filter(|path| path.exists() && own(keyring, cx).is_empty()) else {
        return Ok(());
    };
    let place = path.display().to_string();
    let reason = keyring.tried().iter().find(|tried| tried.place == place);
    let reason = reason.and_then(|tried| tried.unusable().map(str::to_owned));
    let locked = keyring.locked().find(|locked| locked.place() == place);
    let hint = locked.map(|locked| errors::unlock(locked.place()));
    let locked = locked.map(|_| "its public key is not known while a passphrase protects it".to_owned());
    let reason = reason.or(locked).unwrap_or_else(|| "it holds no key".to_owned());
    let failure = Failure::new(Exit::NoKey, format!("{place}: {reason}"));
    let failure = hint.into_iter().fold(failure, Failure::hint);
    Err(failure.hint("nothing was set up; with `--no-key` the clone goes without a key"))
}

/// Puts hooks in place, and says what to add to those of others.
fn install_hooks(
    repository: &Repository,
    git: &Git,
    program: &str,
    wanted: &[Hook],
    cx: &Context,
) -> Result<(), Failure> {
    let program = setup::shell_word(program);
    for (hook, outcome) in hooks::install(repository, git, &program, wanted).map_err(errors::repo)? {
        match outcome {
            Outcome::Installed => {}
            Outcome::Foreign(path) => {
                let line = format!("{program} hook {} \"$@\" || exit", hook.name);
                let (name, shown) = (hook.name, quote::path(&path));
                match path.exists() {
                    true => {
                        cx.ui.warning(format!(
                            "there is another {name} hook, {shown}, which does not call hlx"
                        ));
                        cx.ui.hint(format!("add this line to it: {line}"));
                    }
                    false => {
                        cx.ui.warning(format!(
                            "there is another place for hooks (core.hooksPath), and no {shown} there"
                        ));
                        cx.ui.hint(format!(
                            "make it, executable, as a script of the shell with this line: {line}"
                        ));
                    }
                }
            }
        }
    }
    Ok(())
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
    let mut readers = own(&keyring, cx);
    if readers.is_empty() {
        // It was unlocked when `init` took it.
        readers = of_logins(&keyring, cx);
    }
    for named in args.keys.read(cx)? {
        if !readers.iter().any(|known| known.recipient == named.recipient) {
            readers.push(named);
        }
    }
    let setup = if args.setup { Setup::With } else { Setup::Without };
    let form = if args.sealed { Form::Sealed } else { Form::Open };
    let service =
        Service { name: &args.service, recipients: &readers, setup, form, plugins: keyring.plugins() };
    let commit =
        services::create(&repository, &git, &service, cx.stamp(&mut random::fill)).map_err(errors::repo)?;
    cx.ui.result(format!("{}: new branch at {commit:.10}", args.service));
    trust::adopt_made(&repository, &keyring, &[(&args.service, &commit)]).map_err(errors::trust)?;
    match index::update(&repository, &git) {
        Ok(Some(_)) => cx.ui.note("the list of services in the README of the landing page is up to date"),
        Ok(None) => {}
        Err(error) => cx.ui.warning(format!("the list of services was left as it is: {error}")),
    }
    let keys = readers.iter().map(|named| named.recipient.as_str());
    if hybrid::is_wasted(std::iter::once(keys), 1) {
        recipients::warn_of_waste(&args.service, cx);
    }
    if readers.len() == 1 {
        cx.ui.hint(format!("let the server in: `hlx recipients add KEY --branch {}`", args.service));
    }
    cx.ui.hint(format!("edit it: `git switch {0}`, or `git worktree add ../{0} {0}`", args.service));
    Ok(())
}

/// `hlx index`
pub(super) fn index(cx: &Context) -> Result<(), Failure> {
    let repository = cx.repository()?;
    let git = cx.git(&repository)?;
    match index::update(&repository, &git).map_err(errors::repo)? {
        Some(commit) => cx.ui.result(format!("the list of services is up to date at {commit:.10}")),
        None => cx.ui.note("the list of services was up to date"),
    }
    Ok(())
}

/// One's own keys, as readers: those that a person uses, not the host's.
pub(super) fn own(keyring: &Keyring, cx: &Context) -> Vec<Named> {
    let host = Path::new("/etc/ssh/ssh_host_ed25519_key").display().to_string();
    let is_meant = |tried: &Tried, found: &Found| {
        tried.place != host && !(matches!(found, Found::Locked(_)) && is_for_logins(&tried.place))
    };
    as_readers(keyring, is_meant, keyring.hidden(), cx)
}

/// One's ssh keys that a passphrase protects. They may be there for logins alone: who wants one for this adds it.
fn of_logins(keyring: &Keyring, cx: &Context) -> Vec<Named> {
    let is_meant =
        |tried: &Tried, found: &Found| matches!(found, Found::Locked(_)) && is_for_logins(&tried.place);
    as_readers(keyring, is_meant, Vec::new(), cx)
}

fn is_for_logins(place: &str) -> bool {
    place.starts_with("~/.ssh/")
}

/// The public keys of what was found and is meant, and more, under the user's name.
fn as_readers(
    keyring: &Keyring,
    is_meant: impl Fn(&Tried, &Found) -> bool,
    more: Vec<Recipient>,
    cx: &Context,
) -> Vec<Named> {
    let found = keyring
        .tried()
        .iter()
        .flat_map(|tried| tried.outcome.iter().flatten().map(move |found| (tried, found)));
    let found = found.filter(|(tried, found)| is_meant(tried, found));
    let known: Vec<Recipient> =
        found.filter_map(|(_, found)| found.recipient()).cloned().chain(more).collect();
    let (mut named, me): (Vec<Named>, _) = (Vec::new(), cx.user());
    for recipient in &known {
        if !named.iter().any(|known| known.recipient == *recipient) {
            named.push(Named { recipient: recipient.clone(), name: Some(me.clone()) });
        }
    }
    named
}

/// A path as it was typed, from the top of the work tree.
pub(super) fn from_top(repository: &Repository, prefix: &str, typed: &Path) -> Result<String, Failure> {
    let outside =
        || Failure::new(Exit::Usage, format!("`{}` is not below the work tree", quote::path(typed)));
    let unnameable = || {
        Failure::new(Exit::Usage, format!("{}: such a name cannot be written in `.sops.yaml`", quote::path(typed)))
            .hint("it is no UTF-8: rename the file, or write a pattern for it into `.gitattributes`, as `*.env` has one")
    };
    let tree = repository.work_tree().map_err(errors::git)?;
    let typed = match typed.is_absolute() {
        true => typed.strip_prefix(tree).map_err(|_| outside())?.to_path_buf(),
        false => Path::new(prefix).join(typed),
    };
    let mut parts: Vec<String> = Vec::new();
    for part in typed.components() {
        match part {
            Component::Normal(name) => parts.push(name.to_str().ok_or_else(unnameable)?.to_owned()),
            Component::CurDir => {}
            Component::ParentDir => drop(parts.pop().ok_or_else(outside)?),
            Component::RootDir | Component::Prefix(_) => return Err(outside()),
        }
    }
    Ok(parts.join("/"))
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
    let mut branches = vec![status::current(&repository, &git, &keyring).map_err(errors::repo)?];
    branches.extend(status::others(&repository, &keyring).map_err(errors::repo)?);
    if args.json {
        cx.ui.result(serde_json::Value::from(branches.iter().map(branch_json).collect::<Vec<_>>()));
    } else {
        branches.iter().for_each(|branch| show_branch(branch, cx));
    }
    if repository.is_locked() {
        cx.ui.note("this work tree is locked: `hlx unlock` opens it");
    }
    warn_of_config(&repository, cx);
    for path in status::exposed(&repository).map_err(errors::repo)? {
        let (shown, path) = (quote::path(&path), quote::word(&path));
        cx.ui.warning(format!(
            "{shown} is encrypted in git, but nothing protects it: the next version would be in clear"
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
        let (git, tree) = (in_git(file.in_git), in_tree(file.in_tree));
        cx.ui.result(format!("    {:<28} {git}{tree}{}", quote::path(&file.path), readers(file)));
    }
}

/// How many readers a file has, whether this machine is one, and the first of their names.
fn readers(file: &status::File) -> String {
    const SHOWN: usize = 4;
    let key = match (file.in_git, file.readable) {
        (InGit::Sealed, true) => "yours",
        (InGit::Sealed, false) => "not yours",
        (InGit::Altered | InGit::Stale, _) => "yours, but it does not open",
        (InGit::Empty | InGit::Plaintext | InGit::Broken | InGit::Conflict | InGit::Absent, _) => {
            return String::new();
        }
    };
    let count = file.readers.len();
    let plural = if count == 1 { "" } else { "s" };
    let mut names: Vec<String> = file.readers.iter().take(SHOWN).map(status::Reader::shown).collect();
    names.extend((count > SHOWN).then(|| "…".to_owned()));
    format!(", {count} reader{plural}, {key} ({})", names.join(", "))
}

fn in_git(state: InGit) -> &'static str {
    match state {
        InGit::Sealed => "encrypted",
        InGit::Empty => "empty",
        InGit::Plaintext => "PLAINTEXT IN GIT",
        InGit::Broken => "BROKEN",
        InGit::Altered => "NOT AUTHENTIC",
        InGit::Stale => "MAC DOES NOT FIT",
        InGit::Conflict => "IN CONFLICT",
        InGit::Absent => "not in git yet",
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
                "path": file.path.to_string_lossy(),
                "in_git": in_git(file.in_git).to_lowercase(),
                "in_tree": in_tree(file.in_tree).trim_start_matches(", "),
                "readers": file.readers.iter().map(|reader| reader.key.as_str()).collect::<Vec<_>>(),
                "readable": file.readable,
            })
        })
        .collect();
    serde_json::json!({ "branch": branch.name, "current": branch.current, "files": files })
}
