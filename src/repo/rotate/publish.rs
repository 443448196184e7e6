//! Pushing the branches that changed, to the remotes that have them.

use std::collections::BTreeMap;

use crate::git::{self, Git};

use super::{Changed, Error};

/// As many branches fit on the command line of one push.
const MOST: usize = 4_000;
/// What git says where the server knows no such push.
const NOT_ATOMIC: &str = "does not support --atomic";

/// What a remote got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// The remote.
    pub remote: String,
    /// The number of branches.
    pub branches: usize,
}

/// Pushes each branch to the remotes that have it: to each remote all at once, where it can do that.
///
/// A branch goes only where the remote still has it at the commit that was seen here, which the new one follows.
pub fn push(git: &Git, changed: &[Changed]) -> Result<Vec<Pushed>, Error> {
    let mut remotes = BTreeMap::<&str, Vec<[String; 2]>>::new();
    for Changed { branch, commit, remotes: seen } in changed {
        let name = format!("refs/heads/{branch}");
        for (remote, expected) in seen {
            let lease = format!("--force-with-lease={name}:{expected}");
            remotes.entry(remote).or_default().push([lease, format!("{commit}:{name}")]);
        }
    }
    for (remote, branches) in &remotes {
        branches.chunks(MOST).try_for_each(|some| push_to(git, remote, some))?;
    }
    let pushed =
        |(remote, branches): (&str, Vec<_>)| Pushed { remote: remote.to_owned(), branches: branches.len() };
    Ok(remotes.into_iter().map(pushed).collect())
}

fn push_to(git: &Git, remote: &str, branches: &[[String; 2]]) -> Result<(), Error> {
    let push = |options: &[&str]| {
        let leases = branches.iter().map(|[lease, _]| lease.as_str());
        let specs = branches.iter().map(|[_, spec]| spec.as_str());
        let words = options.iter().copied().chain(leases).chain(["--", remote]).chain(specs);
        git.run(&words.collect::<Vec<_>>())
    };
    match push(&["push", "--quiet", "--atomic"]) {
        Err(git::Error::Failed { message, .. }) if message.contains(NOT_ATOMIC) => push(&["push", "--quiet"]),
        other => other,
    }
    .map(drop)
    .map_err(|source| Error::NotPushed { remote: remote.to_owned(), source })
}
