//! A commit that brings the files of an earlier one back, made in a clone and pushed.
//!
//! The branch only ever goes forward: the new commit stands on the last one and has the tree of
//! the one to go back to, blobs as they are. Nobody's later work is lost, and whoever follows the
//! branch deploys it as any commit.

use crate::git::{self, Git, Repository, follow};
use crate::keys::{Keyring, Standing};
use crate::policy::OtherReaders;

/// Whether the readers of the earlier commit may come back with its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WithReaders {
    /// They may.
    Accept,
    /// Then it is not made.
    Refuse,
}

/// Why it was not made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// git.
    #[error(transparent)]
    Git(#[from] git::Error),
    /// The commit to go back to is none of the branch's.
    #[error("`{to}` is no commit of the branch `{branch}`")]
    NotInBranch {
        /// What was asked for.
        to: String,
        /// The branch.
        branch: String,
    },
    /// The branch has one commit only.
    #[error("the branch `{0}` has no earlier commit")]
    NothingEarlier(String),
    /// The earlier commit has the same files.
    #[error("{0:.10} has the same files as the last commit")]
    SameFiles(String),
    /// A file of the earlier commit would not open where it is deployed.
    #[error("{path} of {commit:.10} {why}")]
    Unsound {
        /// The commit to go back to.
        commit: String,
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// With the files of the earlier commit come its readers.
    #[error(transparent)]
    Readers(#[from] OtherReaders),
    /// The local branch has commits that the remote has not.
    #[error("the branch `{0}` has commits here that are not pushed")]
    NotPushed(String),
    /// The remote has no such branch.
    #[error("{remote} has no branch `{branch}`")]
    NoBranch {
        /// The remote.
        remote: String,
        /// The branch.
        branch: String,
        /// Those that it has.
        known: Vec<String>,
    },
}

/// What was done.
#[derive(Debug)]
pub struct Made {
    /// The new commit.
    pub commit: String,
    /// The one whose files it has.
    pub to: String,
    /// Where it was pushed; `None` where there is no remote.
    pub remote: Option<String>,
    /// Its `.sops.yaml` says something else than the last one did.
    pub rules_differ: bool,
    /// A work tree that has changes of its own, and still shows the files from before.
    pub behind: Option<std::path::PathBuf>,
}

/// What the message of such a commit says before the name of the other.
const FILES_OF: &str = "The files are those of ";

/// Makes and pushes it. Without `to`, it goes back by one commit, from the one that the branch was
/// taken back to if it was. Other readers come back with it only if `readers` says so; what is broken,
/// as far as the keys tell, not at all.
pub fn rollback(
    repository: &Repository,
    keyring: &Keyring,
    branch: &str,
    to: Option<&str>,
    readers: WithReaders,
) -> Result<Made, Error> {
    let git = &repository.git();
    let remote = remote(git, branch)?;
    let tip = tip(git, branch, remote.as_deref())?;
    let to = target(git, branch, &tip, to)?;
    let tree = |commit: &str| git.text(&["rev-parse", "--verify", &format!("{commit}^{{tree}}")]);
    if tree(&to)? == tree(&tip)? {
        return Err(Error::SameFiles(to));
    }
    require_sound(repository, keyring, &to)?;
    let rules = |commit: &str| git.text(&["ls-tree", commit, "--", ".sops.yaml"]);
    let rules_differ = rules(&to)? != rules(&tip)?;
    if rules_differ && readers == WithReaders::Refuse {
        let text = |commit: &str| git.text(&["cat-file", "blob", &format!("{commit}:.sops.yaml")]);
        let (now, then) = (text(&tip).unwrap_or_default(), text(&to).unwrap_or_default());
        OtherReaders::between(&now, &then, &to).map_or(Ok(()), Err)?;
    }
    let commit = commit(git, &tree(&to)?, &tip, &to)?;
    if let Some(remote) = &remote {
        let lease = format!("--force-with-lease=refs/heads/{branch}:{tip}");
        git.run(&["push", "--quiet", &lease, "--", remote, &format!("{commit}:refs/heads/{branch}")])?;
    }
    let behind = move_local(git, branch, &commit)?;
    Ok(Made { commit, to, remote, rules_differ, behind })
}

/// Fails if a sealed file of the commit is not authentic, or cannot be read as one.
fn require_sound(repository: &Repository, keyring: &Keyring, commit: &str) -> Result<(), Error> {
    for file in repository.files(commit)?.iter().filter(|file| file.is_file()) {
        let why = match keyring.judge(&repository.blob_named(&file.blob)?).standing {
            Standing::Empty | Standing::Clear | Standing::Unread | Standing::Authentic => continue,
            Standing::Stale => "does not open: its MAC does not fit its values".to_owned(),
            Standing::Exposed(error) => format!("does not open: {error}"),
            Standing::Broken(why) | Standing::Altered(why) => format!("does not open: {why}"),
        };
        let path = String::from_utf8_lossy(&file.path).into_owned();
        return Err(Error::Unsound { commit: commit.to_owned(), path, why });
    }
    Ok(())
}

/// The remote that the branch is pushed to.
fn remote(git: &Git, branch: &str) -> Result<Option<String>, Error> {
    let key = format!("branch.{branch}.remote");
    let configured = git.text(&["config", "--default", "", "--get", &key])?;
    let remotes = git.text(&["remote"])?;
    let known = |name: &&str| remotes.lines().any(|remote| remote == *name);
    let chosen = [configured.as_str(), "origin"].into_iter().find(known).or(remotes.lines().next());
    Ok(chosen.map(str::to_owned))
}

/// The branch's last commit at the remote, which the local branch must not be ahead of.
fn tip(git: &Git, branch: &str, remote: Option<&str>) -> Result<String, Error> {
    let local = git::branch::tip(git, branch)?;
    let Some(remote) = remote else {
        return Ok(local.ok_or_else(|| git::Error::NoBranch(branch.to_owned()))?);
    };
    let place = format!("refs/remotes/{remote}/{branch}");
    require_branch(git, remote, branch)?;
    git.run(&["fetch", "--quiet", "--no-tags", "--", remote, &format!("+refs/heads/{branch}:{place}")])?;
    let tip = git.text(&["rev-parse", "--verify", &format!("{place}^{{commit}}")])?;
    match local {
        Some(local) if !git.test(&["merge-base", "--is-ancestor", &local, &tip])? => {
            Err(Error::NotPushed(branch.to_owned()))
        }
        Some(_) | None => Ok(tip),
    }
}

/// Fails if the remote does not have the branch.
fn require_branch(git: &Git, remote: &str, branch: &str) -> Result<(), Error> {
    let heads = git.text(&["ls-remote", "--heads", "--", remote])?;
    let known = heads.lines().filter_map(|line| Some(line.split_once("refs/heads/")?.1.to_owned()));
    let known: Vec<String> = known.collect();
    match known.iter().any(|known| known == branch) {
        true => Ok(()),
        false => Err(Error::NoBranch { remote: remote.to_owned(), branch: branch.to_owned(), known }),
    }
}

fn target(git: &Git, branch: &str, tip: &str, to: Option<&str>) -> Result<String, Error> {
    let name = match to {
        Some(to) => to.to_owned(),
        None => format!("{}~1", origin(git, tip)?),
    };
    let name = format!("{name}^{{commit}}");
    let found = git.text(&["rev-parse", "--verify", "--quiet", "--end-of-options", &name]).ok();
    let unknown = || match to {
        Some(to) => Error::NotInBranch { to: to.to_owned(), branch: branch.to_owned() },
        None => Error::NothingEarlier(branch.to_owned()),
    };
    let found = found.ok_or_else(unknown)?;
    if git.test(&["merge-base", "--is-ancestor", &found, tip])? { Ok(found) } else { Err(unknown()) }
}

/// The commit that a commit like this went back to, however often; any other is its own. Whoever goes
/// back twice does not want what the first time led away from.
fn origin(git: &Git, tip: &str) -> Result<String, Error> {
    let tree = |commit: &str| git.text(&["rev-parse", "--verify", "--quiet", "--end-of-options", commit]);
    let mut at = tip.to_owned();
    loop {
        let message = git.text(&["log", "-1", "--format=%B", &at])?;
        let Some(to) = message.lines().find_map(|line| line.strip_prefix(FILES_OF)?.split('.').next()) else {
            return Ok(at);
        };
        // Its words are believed only if it has those files, and stands on them.
        let is_one = tree(&format!("{to}^{{tree}}"))
            .is_ok_and(|files| tree(&format!("{at}^{{tree}}")).is_ok_and(|own| own == files));
        if !is_one || to == at || !git.test(&["merge-base", "--is-ancestor", to, &at])? {
            return Ok(at);
        }
        at = to.to_owned();
    }
}

fn commit(git: &Git, tree: &str, tip: &str, to: &str) -> Result<String, Error> {
    let subject = git.text(&["log", "-1", "--format=%s", to])?;
    let message = format!("Go back to {to:.10}: {subject}\n\n{FILES_OF}{to}.");
    let sign = git.text(&["config", "--type=bool", "--default=false", "commit.gpgsign"])? == "true";
    let mut words = vec!["commit-tree", tree, "-p", tip, "-m", &message];
    words.extend(sign.then_some("-S"));
    Ok(git.text(&words)?)
}

/// The local branch follows, where there is one; gives a work tree that could not.
fn move_local(git: &Git, branch: &str, commit: &str) -> Result<Option<std::path::PathBuf>, Error> {
    let Some(old) = git::branch::tip(git, branch)? else { return Ok(None) };
    let tree = follow::checkouts(git)?.remove(branch).and_then(|trees| trees.into_iter().next());
    match tree {
        Some(tree) => {
            let followed = Git::at(&tree).run(&["merge", "--quiet", "--ff-only", commit]).is_ok();
            Ok((!followed).then_some(tree))
        }
        None => {
            let name = format!("refs/heads/{branch}");
            git.run(&["update-ref", "-m", "hlx: rollback", &name, commit, &old])?;
            Ok(None)
        }
    }
}
