//! `hlx hook NAME`: what git's hooks call.

use std::io::Read as _;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::check::guard::{self, Signers, Update};
use crate::check::{Checker, Depth, Finding, Rule};
use crate::git::{Git, Repository};
use crate::keys::{Keyring, Places};
use crate::repo::conflict;
use crate::sys::process::Call;
use crate::trust;

use super::context::Context;
use super::findings::Position;
use super::{Exit, Failure, errors, findings, quote, reseal};

/// How long a program that is told of a push may take.
const NOTIFY: Duration = Duration::from_secs(60);

#[derive(Debug, Subcommand)]
pub(super) enum HookCommand {
    /// Refuses plaintext and broken files in the index.
    PreCommit(PassedArgs),
    /// Refuses plaintext and broken files in the commits that are pushed.
    PrePush(PushArgs),
    /// Accepts what a merge of a branch of one's own brought, where that is accepted for that branch.
    PostMerge(PassedArgs),
    /// Refuses the same on a server, without a key, and unsigned changes of readers.
    PreReceive(PassedArgs),
    /// Tells programs which branches moved.
    PostReceive(PassedArgs),
}

/// What git gives a hook that needs none of it.
#[derive(Debug, Args)]
pub(super) struct PassedArgs {
    #[arg(hide = true)]
    ignored: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct PushArgs {
    /// The remote's name, or its address.
    remote: String,
    /// The remote's address.
    address: Option<String>,
}

/// `hlx hook NAME`
pub(super) fn run(command: &HookCommand, cx: &Context) -> Result<(), Failure> {
    match command {
        HookCommand::PreCommit(_) => pre_commit(cx),
        HookCommand::PrePush(args) => pre_push(&args.remote, cx),
        HookCommand::PostMerge(_) => post_merge(cx),
        HookCommand::PreReceive(_) => pre_receive(cx),
        HookCommand::PostReceive(_) => post_receive(cx),
    }
}

/// Looks at the index that git is about to commit. What has [`crate::check::Rule::StaleMac`] only is where a file
/// can be resealed before the rest is refused.
fn pre_commit(cx: &Context) -> Result<(), Failure> {
    let repository = cx.repository_inside_git()?;
    reseal::before_commit(&repository, &cx.git(&repository)?, cx)?;
    // That may have changed the index.
    let (repository, keyring) = (cx.repository_inside_git()?, cx.keyring());
    refuse_markers(&conflict::added(&repository, &keyring).map_err(errors::repo)?)?;
    let checker = Checker::new(&repository, &keyring, Depth::Guard);
    let before = trust::Before::of(&repository).map_err(errors::trust)?;
    let adopted = match trust::adopt_staged(&repository, &keyring) {
        // They came by somebody's commit, and still wait to be accepted.
        Ok(()) | Err(trust::Error::Strangers { .. }) => Ok(()),
        Err(error) => Err(errors::trust(error)),
    };
    let staged = adopted.and_then(|()| guard::staged(&checker).map_err(findings::failure));
    let passed = staged.and_then(|found| refuse("nothing was committed", &found, &findings::hint));
    if passed.is_err() {
        before.put_back().map_err(errors::trust)?;
    }
    passed
}

/// A conflict that was added as it stands is of no use to anyone.
fn refuse_markers(paths: &[String]) -> Result<(), Failure> {
    let [first, ..] = paths else { return Ok(()) };
    let message = format!("nothing was committed: conflict markers are left in {}", quote::list(paths));
    Err(Failure::new(Exit::Failed, message).hint(format!("edit it, then `git add {}`", quote::word(first))))
}

fn pre_push(remote: &str, cx: &Context) -> Result<(), Failure> {
    let (repository, git) = here(cx)?;
    let mut words = Vec::new();
    let mut known = vec![format!("--remotes={remote}")];
    for line in standard_input()?.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let [_, new, _, old] = fields[..] else { return Err(unexpected()) };
        words.extend(name(new)?);
        if let Some(old) = name(old)?
            && git.test(&["cat-file", "-e", &format!("{old}^{{commit}}")]).map_err(errors::git)?
        {
            known.push(old);
        }
    }
    if words.is_empty() {
        return Ok(());
    }
    let keyring = cx.keyring();
    let checker = Checker::new(&repository, &keyring, Depth::Guard);
    let tips = words.clone();
    let words = words.iter().map(String::as_str).chain(["--not"]).chain(known.iter().map(String::as_str));
    let found = guard::pushed(&checker, &git, &words.collect::<Vec<_>>()).map_err(findings::failure)?;
    refuse("nothing was pushed", &found, &|finding| in_commit(&repository, finding, &tips))
}

fn post_merge(cx: &Context) -> Result<(), Failure> {
    let (repository, _) = here(cx)?;
    trust::adopt_merged(&repository, &cx.keyring()).map_err(errors::trust)
}

fn pre_receive(cx: &Context) -> Result<(), Failure> {
    let (repository, git) = here(cx)?;
    let lines = standard_input()?;
    if lines.lines().any(|line| line.contains(" refs/replace/")) {
        return Err(Failure::new(
            Exit::Policy,
            "nothing was taken in: `refs/replace/` would put other objects in the place of those that were checked",
        ));
    }
    let updates = lines.lines().map(update).collect::<Result<Vec<_>, _>>()?;
    let keyring = Keyring::load(&Places::default());
    let checker = Checker::new(&repository, &keyring, Depth::Guard);
    let own = setting(&git, "hlx.allowedSigners")?;
    let signers = match &own[..] {
        [.., file] => Signers::Allowed(Some(file)),
        [] if !setting(&git, "gpg.ssh.allowedSignersFile")?.is_empty() => Signers::Allowed(None),
        [] => Signers::Anyone,
    };
    let found = guard::received(&checker, &git, &updates, signers).map_err(findings::failure)?;
    let tips: Vec<String> = updates.into_iter().filter_map(|update| update.new).collect();
    refuse("nothing was taken in", &found, &|finding| in_commit(&repository, finding, &tips))
}

fn post_receive(cx: &Context) -> Result<(), Failure> {
    let (_, git) = here(cx)?;
    let lines = standard_input()?;
    let environment = std::env::vars_os().collect();
    let mut failed = Vec::new();
    for program in setting(&git, "hlx.notify")? {
        let call = Call::new("sh", &cx.directory(), &environment, NOTIFY).args(["-c", &program]);
        match call.output(lines.as_bytes()) {
            Ok(done) if done.end.is_success() => {}
            Ok(done) => failed.push(format!("`{program}`: {}", done.end)),
            Err(error) => failed.push(format!("`{program}`: {error}")),
        }
    }
    match failed.is_empty() {
        true => Ok(()),
        false => Err(Failure::new(Exit::Failed, format!("not told of the push: {}", failed.join(", ")))
            .hint("the push itself is done; `git config hlx.notify` names the programs")),
    }
}

/// The repository that git runs the hook in, which may be bare.
fn here(cx: &Context) -> Result<(Repository, Git), Failure> {
    Ok((cx.repository_inside_git()?, Git::at(cx.directory())))
}

/// All values of a setting.
fn setting(git: &Git, key: &str) -> Result<Vec<String>, Failure> {
    if !git.test(&["config", "--get-all", key]).map_err(errors::git)? {
        return Ok(Vec::new());
    }
    let values = git.text(&["config", "--get-all", key]).map_err(errors::git)?;
    Ok(values.lines().map(str::to_owned).filter(|value| !value.is_empty()).collect())
}

fn standard_input() -> Result<String, Failure> {
    let mut text = String::new();
    let read = std::io::stdin().lock().read_to_string(&mut text);
    read.map_err(|error| Failure::new(Exit::Failed, format!("standard input: {error}")))?;
    Ok(text)
}

/// A line of `pre-receive`: the old commit, the new one, the ref.
fn update(line: &str) -> Result<Update, Failure> {
    let mut fields = line.splitn(3, ' ');
    let (Some(old), Some(new), Some(reference)) = (fields.next(), fields.next(), fields.next()) else {
        return Err(unexpected());
    };
    Ok(Update { old: name(old)?, new: name(new)?, name: reference.to_owned() })
}

/// The name of an object; `None` for the zeros that stand for no object.
fn name(field: &str) -> Result<Option<String>, Failure> {
    let hex = matches!(field.len(), 40 | 64) && field.bytes().all(|byte| byte.is_ascii_hexdigit());
    match hex {
        true => Ok(field.bytes().any(|byte| byte != b'0').then(|| field.to_owned())),
        false => Err(unexpected()),
    }
}

fn unexpected() -> Failure {
    Failure::new(Exit::Usage, "this is no input of that hook").hint("git calls it: see the README")
}

/// What to do about a finding in a commit, where these are the last ones that are pushed.
fn in_commit(repository: &Repository, finding: &Finding, tips: &[String]) -> String {
    if finding.rule == Rule::Unsigned {
        return findings::hint(finding);
    }
    let is_last = tips.iter().any(|tip| tip.starts_with(&finding.place));
    let parents = || Some(repository.parents(&repository.commit_named(&finding.place)?).ok()?.len());
    let position = match is_last {
        true => Position::Last,
        false if parents() == Some(0) => Position::First,
        false => Position::Earlier,
    };
    findings::in_commit(finding, position)
}

/// Fails with all that was found, if anything was.
fn refuse(what: &str, found: &[Finding], hint: &dyn Fn(&Finding) -> String) -> Result<(), Failure> {
    let line = |finding: &Finding| {
        let at = finding.line.map(|line| format!("line {line}: ")).unwrap_or_default();
        let message = quote::line(&finding.message);
        match (finding.path.as_deref().map(quote::path), finding.staged) {
            (Some(path), true) => format!("{path}: {at}{message}"),
            (Some(path), false) => format!("{path}: {at}{message} (commit {})", finding.place),
            (None, _) => message.into_owned(),
        }
    };
    let message = match found {
        [] => return Ok(()),
        [one] => format!("{what}: {}", line(one)),
        several => {
            let lines: String = several.iter().map(|finding| format!("\n{}", line(finding))).collect();
            format!("{what}:{lines}")
        }
    };
    let mut hints: Vec<String> = Vec::new();
    for hint in found.iter().map(hint) {
        if !hints.contains(&hint) {
            hints.push(hint);
        }
    }
    Err(hints.into_iter().fold(Failure::new(Exit::Policy, message), Failure::hint))
}
