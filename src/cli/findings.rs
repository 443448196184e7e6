//! What a finding means to a user: what to do about it.

use serde_json::Value;

use crate::check::{self, Finding, Rule, StackSettings};
use crate::deploy::probe::Probe;
use crate::deploy::wishes;

use super::{Failure, errors, quote};

/// A check that could not be done.
pub(super) fn failure(error: check::Error) -> Failure {
    match error {
        check::Error::Git(error) => errors::git(error),
        check::Error::Trust(error) => errors::trust(error),
        check::Error::Compose { .. } => Failure::new(super::Exit::Missing, error)
            .hint("install the Compose plugin of Docker, or check without `--compose`"),
        check::Error::NoBranch(_) => {
            Failure::new(super::Exit::Usage, error).hint("`git branch --all` lists the branches")
        }
    }
}

/// What the `x-hlx` of a compose file names.
pub(super) fn settings(value: &Value) -> Result<StackSettings, String> {
    let wishes = wishes::wishes(value).map_err(|error| error.to_string())?;
    let probed = wishes.probes.iter().filter_map(Probe::service).map(str::to_owned);
    Ok(StackSettings {
        hosts: wishes.hosts,
        after: wishes.after.iter().map(|service| service.as_str().to_owned()).collect(),
        probed: probed.collect(),
    })
}

/// Which commit it is that must not be pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Position {
    /// The last that is pushed.
    Last,
    /// One before that.
    Earlier,
    /// The first of all, and not the last.
    First,
}

/// What to do about a finding in a commit that is made already.
pub(super) fn in_commit(finding: &Finding, position: Position) -> String {
    let path = quote::word(finding.path.as_deref().unwrap_or("FILE"));
    let (commit, mend) = (
        &finding.place,
        match finding.rule {
            Rule::Plaintext => format!("encrypt it: `git add --renormalize {path}`"),
            Rule::StaleMac => format!("look at what changed, and if it is right: `hlx reseal {path}`"),
            Rule::Unprotected
            | Rule::SealedValue
            | Rule::Dotenv
            | Rule::SecretFile
            | Rule::Abandoned
            | Rule::PlaintextValue
            | Rule::PlaintextComment
            | Rule::PlaintextHistory
            | Rule::ClearBefore
            | Rule::Broken
            | Rule::Altered
            | Rule::ReaderUnknown
            | Rule::ReaderLost
            | Rule::ReadersDiffer
            | Rule::PostQuantumWasted
            | Rule::ConfigBroken
            | Rule::ConfigGap
            | Rule::ConfigIdle
            | Rule::Conversion
            | Rule::MustBeClear
            | Rule::Unsigned
            | Rule::NotAccepted
            | Rule::NotHere
            | Rule::ComposeInvalid
            | Rule::ComposeKey
            | Rule::ComposeValue
            | Rule::ComposeName
            | Rule::ComposeFile
            | Rule::Settings
            | Rule::After
            | Rule::PortConflict
            | Rule::EnvironmentFile
            | Rule::Environment
            | Rule::Token
            | Rule::LikelySecret => hint(finding),
        },
    );
    let from = match position {
        Position::Last => return format!("{mend}; then put that into the last commit: `git commit --amend`"),
        Position::Earlier => format!("{commit}~"),
        Position::First => "--root".to_owned(),
    };
    let anew = match position {
        Position::Earlier => {
            format!(", or join all since into one: `git reset --soft {commit}~`, `git commit`")
        }
        Position::Last | Position::First => String::new(),
    };
    format!(
        "commit {commit} itself must be made anew, since a later one does not take it out of what is pushed: `git rebase -i {from}`, with `edit` before it{anew}; there {mend}"
    )
}

/// What to do about a finding.
pub(super) fn hint(finding: &Finding) -> String {
    let path = quote::word(finding.path.as_deref().unwrap_or("FILE"));
    let on = format!("{}:{path}", finding.place);
    match finding.rule {
        Rule::Plaintext => format!("encrypt it: `git add --renormalize {path}` (after `hlx init`), and commit"),
        Rule::PlaintextValue => {
            format!("encrypt it: check the branch out, write {path} in plaintext, `git add {path}`, and commit")
        }
        Rule::PlaintextComment => format!("`hlx edit {on}` and save: comments are encrypted with the values around them"),
        Rule::PlaintextHistory => {
            "change each secret in it at its source: whoever has the repository can read it, even after `git filter-repo`".to_owned()
        }
        Rule::ClearBefore => "nothing to do if it never held a secret; if it did, change that at its source".to_owned(),
        Rule::SealedValue => format!(
            "encrypt it (`hlx track {path}`), or take the value out; if it is no secret, `git commit --no-verify` (or `git push --no-verify`) lets it pass"
        ),
        Rule::Dotenv | Rule::SecretFile | Rule::Token | Rule::LikelySecret => of_clear(finding.rule, &path),
        Rule::Unprotected if finding.staged => format!(
            "`hlx track {path}`, then `git add {path}`; if that is meant, `hlx untrack {path}`"
        ),
        Rule::Unprotected => format!(
            "`hlx track {path}`, `git add {path}`, and commit; if it is meant to be clear, `hlx untrack {path}`, and commit that with it"
        ),
        Rule::Abandoned if finding.path.is_none() => "`hlx track FILE` protects a file".to_owned(),
        Rule::Abandoned => {
            format!("`hlx track {path}`, and look who changed it: `git log -p -- .gitattributes`")
        }
        Rule::Broken | Rule::Altered => {
            format!("take it from an earlier commit: `git log {} -- {path}`", finding.place)
        }
        Rule::StaleMac => format!("look at what changed, and if it is right: `hlx reseal {path}`"),
        Rule::ReaderUnknown => {
            "if that key may read it, name it in `.sops.yaml`; if not, `hlx rotate` shuts it out".to_owned()
        }
        Rule::ReaderLost => format!("let it in: `hlx recipients add KEY --branch {}`", finding.place),
        Rule::ReadersDiffer => "someone may have wrapped a key that they know: `hlx rotate` gives new ones".to_owned(),
        Rule::PostQuantumWasted => errors::all_post_quantum().to_owned(),
        Rule::ConfigBroken => "correct `.sops.yaml`".to_owned(),
        Rule::ConfigGap => "add a rule to `.sops.yaml`: one without `path_regex` is for every file".to_owned(),
        Rule::ConfigIdle => "take the rule out, or correct its `path_regex`".to_owned(),
        Rule::Conversion => {
            "add `-text -ident -working-tree-encoding` to its line in `.gitattributes`".to_owned()
        }
        Rule::MustBeClear => format!("add a line `{path} -filter` at the end of `.gitattributes`"),
        Rule::ComposeInvalid => "`docker compose config --quiet` tells more, in the branch".to_owned(),
        Rule::ComposeKey => "correct the name, or take it out; what Compose is to pass over begins with `x-`".to_owned(),
        Rule::ComposeValue => "Compose refuses the file with it; `docker compose config --quiet` tells more".to_owned(),
        Rule::ComposeName => "define it at the top of the file (with `external: true` if it is there already), or correct the name".to_owned(),
        Rule::ComposeFile => "add it to the branch, or correct the path; an `env_file` that may be missing says `required: false`".to_owned(),
        Rule::Settings => "see the README for the settings of a stack".to_owned(),
        Rule::After => "`x-hlx.after` takes branches of this repository that are deployed first".to_owned(),
        Rule::PortConflict => "take another port for one, or name the hosts of both in `x-hlx.hosts`".to_owned(),
        Rule::EnvironmentFile => {
            "give it as a secret: `secrets:` with `file:`, and the variable with its path in the container".to_owned()
        }
        Rule::Environment => "root on the host, and who has its disk, can read them there".to_owned(),
        Rule::NotAccepted | Rule::Unsigned | Rule::NotHere => of_others(finding),
    }
}

/// What to do about a file in clear that looks as if it should not be.
fn of_clear(rule: Rule, path: &str) -> String {
    let track = format!("encrypt it: `hlx track {path}`, then `git add {path}`");
    match rule {
        Rule::Dotenv => {
            format!("{track}; if it holds no secret, put `# hlx:allow` on a line of its own in it")
        }
        Rule::SecretFile => {
            format!("{track}; if it is no secret, put `# hlx:allow` behind its name in the compose file")
        }
        _ => format!(
            "encrypt it (`hlx track {path}`) and change it at its source; if it is no secret, put `hlx:allow` in a comment on its line"
        ),
    }
}

/// What to do where somebody else changed who can read or what is protected, or has what is not here.
fn of_others(finding: &Finding) -> String {
    match (finding.rule, &finding.path) {
        (Rule::NotAccepted, _) => {
            format!("look at it, and if it is meant: `hlx recipients accept --branch {}`", finding.place)
        }
        (Rule::NotHere, _) => {
            "check again where the remote can be reached, or `git fetch --refetch --no-filter` once".to_owned()
        }
        (_, None) => "whoever keeps the server can delete it there: `git branch -D`".to_owned(),
        (_, Some(_)) => "let an allowed signer make the commit, or the merge, on top of the branch as it is: `git commit -S`, `git merge -S --no-ff`; a branch that was rewritten can be pushed under a new name".to_owned(),
    }
}
