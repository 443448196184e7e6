//! What each error of the library means to a user: its exit code, and what to do.

use std::path::Path;

use crate::{crypto, filter, git, keys, policy, repo, sops, trust, values};

use super::{Exit, Failure, quote};

/// A file could not be read or written.
pub(super) fn io(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Failed, format!("{}: {error}", path.display()))
}

/// git.
pub(super) fn git(error: git::Error) -> Failure {
    use git::Error as E;
    let message = error.to_string();
    match error {
        E::NoRepository(_) => Failure::new(Exit::Failed, message).hint("run `git init` or `git clone` first"),
        E::Bare => Failure::new(Exit::Failed, message)
            .hint("run it in a clone, or in a work tree of this one: `git worktree add DIRECTORY BRANCH`"),
        E::NoGit(_) => Failure::new(Exit::Missing, message).hint("install git 2.39 or newer"),
        E::Failed { .. } | E::Unexpected(_) | E::Unreadable { .. } => Failure::new(Exit::Failed, message),
        E::NoBranch(_) => Failure::new(Exit::Usage, message).hint("`git branch` lists the branches"),
        E::Moved(_) => Failure::new(Exit::Failed, message).hint("look at it with `git log`, and try again"),
        E::Dirty { .. } => Failure::new(Exit::Failed, message).hint("commit or stash these changes first"),
        E::Busy(_) => Failure::new(Exit::Busy, message).hint("try again when it has finished"),
        E::Locked(_) => Failure::new(Exit::Busy, message)
            .hint("try again when that git has finished; if none runs, remove the file"),
        E::Journal(_) => Failure::new(Exit::Failed, message).hint("use the version of hlx that made it"),
        E::File { .. } => Failure::new(Exit::Failed, message),
    }
}

/// A sealed file cannot be opened.
pub(super) fn keys(error: keys::Error) -> Failure {
    let message = error.to_string();
    match error {
        keys::Error::Sops(error) => sops(error),
        keys::Error::NoIdentity { unused, .. } => {
            let keys::Unused { plugins, unusable, locked } = *unused;
            let failure = Failure::new(Exit::NoKey, message);
            let failure = locked.iter().fold(failure, |failure, place| failure.hint(unlock(place)));
            let failure = unusable.iter().fold(failure, Failure::hint);
            let failure = plugins.iter().fold(failure, |failure, plugin| failure.hint(allow(plugin)));
            failure
                .hint("`hlx keys list -v` shows where keys were looked for")
                .hint("whoever can read it lets you in with `hlx recipients add`")
        }
        keys::Error::BrokenEnvelope { .. } | keys::Error::BrokenParts(_) => {
            Failure::new(Exit::NotAuthentic, message)
                .hint("take the file from an earlier commit: `git log -- FILE`")
        }
        keys::Error::Plugin(_) | keys::Error::Locked { .. } => Failure::new(Exit::NoKey, message),
    }
}

/// How to use a key that a passphrase protects.
pub(super) fn unlock(place: &str) -> String {
    // A variable has no path.
    let name = if place.contains('/') { format!(" {place}") } else { String::new() };
    format!(
        "a passphrase protects the key in {place}: `hlx keys unlock{name}` asks for it once for some hours"
    )
}

/// The same, as the reason of a fact about a file.
pub(super) fn named_keys(fact: &str, path: &(impl AsRef<Path> + ?Sized), error: keys::Error) -> Failure {
    let message = format!("{fact}: {error}");
    named(path, &message, keys(error))
}

/// What it takes for post-quantum keys to protect something.
pub(super) fn all_post_quantum() -> &'static str {
    "that protection takes such a key for every reader: `hlx keys generate --pq`, `hlx recipients add` and `remove`"
}

/// How to let a plugin of age run.
pub(super) fn allow(plugin: &str) -> String {
    format!(
        "let it run, if you trust `age-plugin-{plugin}` on your PATH: `git config --global --add hlx.allowPlugin {plugin}`, or HLX_ALLOW_PLUGINS={plugin}"
    )
}

/// Wrapping a data key, or what it is wrapped for, went wrong.
fn crypto(exit: Exit, error: &crypto::Error) -> Failure {
    use crypto::Error as E;
    let failure = Failure::new(exit, error);
    match error {
        E::PluginNotAllowed { plugin, .. } => failure.hint(allow(plugin)),
        E::PluginMissing { plugin, .. } => failure.hint(format!("install `age-plugin-{plugin}`")),
        E::Plugin { .. }
        | E::Malformed
        | E::NotAuthentic
        | E::BadRecipient(_)
        | E::Wrap(_)
        | E::BadDataKey
        | E::BadShare => failure,
    }
}

/// A file cannot be sealed or opened.
pub(super) fn sops(error: sops::Error) -> Failure {
    use sops::Error as E;
    let message = error.to_string();
    let whole = "or encrypt the whole file as one value: `hlx track FILE --whole`";
    match error {
        E::Format(error) if error.is_unmerged() => Failure::new(Exit::Failed, message)
            .hint("choose between the sides, take the markers out, and `git add FILE`"),
        E::Format(_) => Failure::new(Exit::Failed, message).hint("correct the line").hint(whole),
        E::NotText => Failure::new(Exit::Failed, message).hint("encrypt it whole: `hlx track FILE --whole`"),
        E::NotSealed => Failure::new(Exit::NotAuthentic, message),
        E::Mac => Failure::new(Exit::NotAuthentic, message)
            .hint("nothing of it was opened; if it was merged or edited elsewhere, or staged in parts, `hlx reseal FILE` shows what changed"),
        E::Clear(_) => Failure::new(Exit::NotAuthentic, message)
            .hint("if it was changed while it stood encrypted in the work tree: copy the change away, `git checkout -- FILE`, `hlx unlock`, and make it again")
            .hint("else nothing of it is to be trusted; take the file from an earlier commit: `git log -- FILE`"),
        E::Metadata(_) | E::Tampered(_) | E::BadType(_) | E::Unspellable => {
            Failure::new(Exit::NotAuthentic, message)
                .hint("nothing of it was opened; take the file from an earlier commit: `git log -- FILE`")
        }
        E::Foreign(_) => Failure::new(Exit::Policy, message)
            .hint("`--recipients` leaves the data key as it is; `sops rotate` makes a new one, where it has such keys"),
        E::Rule(error) => policy(&error),
        E::Reserved => Failure::new(Exit::Policy, message).hint("rename the key").hint(whole),
        E::NothingSelected { .. } => Failure::new(Exit::Policy, message)
            .hint("correct the rule in `.sops.yaml`, or choose another: `hlx track FILE --keys REGEX`"),
        E::SealedAlias { .. } => {
            Failure::new(Exit::Policy, message).hint("write the values out instead of the alias").hint(whole)
        }
        E::ReadApart { .. } => Failure::new(Exit::Policy, message)
            .hint("put the number in quotes, or let the rule in `.sops.yaml` encrypt it or set `mac_only_encrypted: true`")
            .hint(whole),
        E::NotRestorable { .. } => {
            Failure::new(Exit::Policy, message).hint("write that line in a plainer way").hint(whole)
        }
    }
}

/// A rule is wrong.
pub(super) fn policy(error: &policy::Error) -> Failure {
    use policy::Error as E;
    let hint = match error {
        E::BadRegex { .. } => {
            "correct the expression: sops would take it for one that matches nothing, and write plaintext"
        }
        E::TwoRules(..) => "keep one of the two",
        E::Unsupported(_) => "use `encrypted_regex` or `unencrypted_regex`",
        E::Config { .. } | E::BadRecipient { .. } => "correct `.sops.yaml`",
        E::NoRule(_) => "add a rule to `.sops.yaml`: one without `path_regex` is for every file",
        E::NoRecipients(_) => "add a reader: `hlx recipients add KEY`",
    };
    Failure::new(Exit::Policy, error).hint(hint)
}

/// A file cannot be cleaned. The message names the file.
pub(super) fn clean(path: &str, error: filter::Error) -> Failure {
    let (fact, stops) = (error.to_string(), stops_git(&error));
    let message = format!("{} cannot be encrypted, so git does not take it: {fact}", quote::path(path));
    let failure = cleaning_in_general(error);
    named(path, &message, if stops { failure.hint(STOPPED) } else { failure })
}

/// git asks the filter again whatever it is to do next, until the file is another.
const STOPPED: &str = "git stops over it in whatever it does, also for other files, until it is corrected, or taken back to the committed version: \
    `rm FILE && git checkout -- FILE`";

/// Whether what is wrong is the text itself.
fn stops_git(error: &filter::Error) -> bool {
    use sops::Error as E;
    match error {
        filter::Error::Sops(E::Format(error)) => !error.is_unmerged(),
        filter::Error::Sops(error) => matches!(
            error,
            E::NotText
                | E::Reserved
                | E::NothingSelected { .. }
                | E::SealedAlias { .. }
                | E::ReadApart { .. }
                | E::NotRestorable { .. }
        ),
        _ => false,
    }
}

/// A file cannot be encrypted as `git add` would do it.
pub(super) fn cleaning(path: &str, error: filter::Error) -> Failure {
    let message = format!("{}: {error}", quote::path(path));
    named(path, &message, cleaning_in_general(error))
}

/// A failure with another message, and hints for this file.
fn named(path: &(impl AsRef<Path> + ?Sized), message: &str, failure: Failure) -> Failure {
    let word = quote::word(path);
    let hints = failure.hints().iter().map(|hint| hint.replace("FILE", &word));
    hints.fold(Failure::new(failure.exit(), message), Failure::hint)
}

fn cleaning_in_general(error: filter::Error) -> Failure {
    use filter::Error as E;
    let fact = error.to_string();
    match error {
        E::Sops(error) => sops(error),
        E::Keys(error) => keys(error),
        E::Policy(error) => policy(&error),
        E::NoConfig => {
            Failure::new(Exit::Policy, &fact).hint("`hlx track FILE` writes one that names your key")
        }
        E::LockedEdit => Failure::new(Exit::NoKey, &fact)
            .hint("if a passphrase protects your key: `hlx keys unlock`")
            .hint("`hlx keys list -v` shows where keys were looked for")
            .hint("copy it away first if you need it: `git checkout -- FILE` puts the encrypted version in its place"),
        E::WeakerRule { .. } => Failure::new(Exit::Policy, &fact)
            .hint("someone may have changed the rule: look at it with `git log -p --no-textconv -- FILE`")
            .hint("if it is right, give `.sops.yaml` the same rule for FILE"),
        E::Trust(error) => trust(error),
        E::MustBeClear => Failure::new(Exit::Policy, &fact)
            .hint("add a line `FILE -filter` at the end of `.gitattributes`"),
        E::Conversion(_) => Failure::new(Exit::Policy, &fact)
            .hint("add `-text -ident -working-tree-encoding` to its line in `.gitattributes`"),
        E::Resolution(error) => united(error, &fact)
            .hint("to go on with the key and readers of ours: `git rm --cached FILE`, then `git add FILE`")
            .hint("with those of theirs: copy your version away, `git checkout MERGE_HEAD -- FILE` (or the commit that is picked), put it back, `git add FILE`"),
        E::Crypto(error) => crypto(Exit::Failed, &error),
        E::Record(_) => Failure::new(Exit::Failed, &fact),
        E::Git(error) => git(error),
    }
}

/// Somebody's change is not accepted here.
pub(super) fn trust(error: trust::Error) -> Failure {
    use trust::Error as E;
    let fact = error.to_string();
    let accept = |branch: &str| {
        format!("see who brought that, and accept it: `hlx recipients accept --branch {branch}`")
    };
    match error {
        E::Strangers { branch, .. } | E::WeakerRule { branch, .. } => {
            Failure::new(Exit::Policy, fact).hint(accept(&branch))
        }
        E::Pending(branches) => Failure::new(Exit::Policy, fact)
            .hint(accept(&branches.join(" --branch ")))
            .hint("nothing was changed"),
        E::OtherKinds => {
            Failure::new(Exit::Policy, fact).hint("see who sealed it, and accept it: `hlx recipients accept`")
        }
        E::Record(_) => Failure::new(Exit::Failed, fact),
        E::Crypto(error) => crypto(Exit::Failed, &error),
        E::Git(error) => git(error),
    }
}

/// The sides of a merge cannot be sealed as one.
pub(super) fn united(error: filter::united::Error, fact: &str) -> Failure {
    use filter::united::Error as E;
    let advised = match error {
        E::Conflict(_) | E::NotInGroup(_) => Failure::new(Exit::Policy, ""),
        E::Sops(error) => sops(error),
        E::Keys(error) => keys(error),
        E::Trust(error) => trust(error),
        E::Crypto(error) => crypto(Exit::Failed, &error),
    };
    advised.hints().iter().cloned().fold(Failure::new(advised.exit(), fact), Failure::hint)
}

/// A file's values cannot be shown or changed.
pub(super) fn values(file: &str, error: values::Error) -> Failure {
    use values::Error as E;
    let fact = error.to_string();
    let edit = "change it with `hlx edit FILE`";
    let failed = || Failure::new(Exit::Failed, "");
    let usage = || Failure::new(Exit::Usage, "");
    let failure = match error {
        E::Git(error) => git(error),
        E::Keys(error) => keys(error),
        E::Sops(error) => sops(error),
        E::Policy(error) => policy(&error),
        E::Trust(error) => trust(error),
        E::Crypto(error) => crypto(Exit::Failed, &error),
        E::Io { .. } => failed(),
        E::Missing => usage(),
        E::NoFile(_) => usage().hint("name a file"),
        E::Clear => Failure::new(Exit::NotAuthentic, "").hint("`hlx show FILE` prints any file"),
        E::SealedAlready => Failure::new(Exit::NotAuthentic, ""),
        E::NoConfig => Failure::new(Exit::Policy, "")
            .hint("`hlx track FILE` writes one that names your key; sops users have one beside the file, or further up"),
        E::Unprotected => Failure::new(Exit::Policy, "")
            .hint("check the branch out, and change it there; `hlx track` protects a file"),
        E::NoKeys(_) => usage().hint("`hlx show FILE` prints it, `hlx edit FILE` changes it"),
        E::BadKey(_) => usage(),
        E::NoVariable(_) => usage().hint("letters, digits, `_`, `.` and `-` make one, and no digit stands first"),
        E::NoSuchKey { .. } => failed(),
        E::Collection { .. } => usage().hint("name one of the values below it; `hlx get --json` prints them all"),
        E::Copy { .. } => failed().hint("change it where its anchor (`&name`) stands"),
        E::Only { .. } => failed().hint("unset the collection itself").hint(edit),
        E::Form { .. } | E::Unspellable { .. } => failed().hint(edit),
        E::NotOfType(_) | E::OnlyText | E::NotText => usage(),
        E::ChangedMeanwhile => failed().hint("look at it, and try again"),
    };
    named(file, &format!("{file}: {fact}"), failure)
}

/// A repository command failed over a file: hints are for this one.
pub(super) fn for_path(path: &str, error: repo::Error) -> Failure {
    let failure = repo(error);
    let message = failure.message().to_owned();
    named(path, &message, failure)
}

/// A repository command failed.
pub(super) fn repo(error: repo::Error) -> Failure {
    use repo::Error as E;
    let message = error.to_string();
    let with = |failure: Failure| {
        failure.hints().iter().cloned().fold(Failure::new(failure.exit(), &message), Failure::hint)
    };
    match error {
        E::Git(error) => git(error),
        E::Keys { source, .. } => with(keys(source)),
        E::Sops { source, .. } => with(sops(source)),
        E::Policy { source, .. } => with(policy(&source)),
        E::Trust(error) => trust(error),
        E::Crypto(error) => crypto(Exit::Usage, &error),
        E::WhichGroup { groups } => {
            Failure::new(Exit::Usage, message).hint(format!("name it with `--group`, from 1 to {groups}"))
        }
        E::NotInGroup { .. } => Failure::new(Exit::NoKey, message).hint(
            "whoever has a key of that group can add the reader, or name a group of yours with `--group`",
        ),
        E::BadName(_) | E::LongName(_) | E::Landing(_) => Failure::new(Exit::Usage, message),
        E::Ambiguous(_) => Failure::new(Exit::Usage, message).hint("choose another name"),
        E::Exists(name) => {
            Failure::new(Exit::Failed, message).hint(format!("`git switch {name}` takes you there"))
        }
        E::Remote { name, remotes } => Failure::new(Exit::Failed, message).hint(match &remotes[..] {
            [_] => format!("`git switch {name}` takes you there"),
            several => format!("`git switch --track {}/{name}` takes you there", several[0]),
        }),
        E::NoRecipients => Failure::new(Exit::Policy, message).hint(
            "`hlx init` sets this clone up, and makes a key of your own; `hlx new` takes others with `-r KEY` or `-R KEYS`",
        ),
        E::OnBranch { source, .. } => with(repo(*source)),
        E::LastReader(_) => Failure::new(Exit::Policy, message)
            .hint("let another key read it first: `hlx recipients add KEY`")
            .hint("nothing was changed"),
        E::Behind(_) => Failure::new(Exit::Failed, message)
            .hint("bring them up to date first: `git pull` on each")
            .hint("nothing was changed"),
        E::NotPushed { remote, .. } => Failure::new(Exit::Failed, message)
            .hint(format!("`git fetch {remote}`, `git pull --rebase` on what changed there, and push again")),
        E::Rebased { .. } => Failure::new(Exit::Failed, message)
            .hint("finish the rebase first, or `git rebase --abort`")
            .hint("nothing was changed"),
        E::Uneditable(_) => {
            Failure::new(Exit::Failed, message).hint("change the list of keys there by hand, and commit")
        }
        E::Rule { lines, .. } => Failure::new(Exit::Failed, message)
            .hint(format!("give that rule these lines in place of its own:\n{}", lines.trim_end())),
        E::Unsaved(files) if files.iter().any(repo::lock::Unsaved::is_unreadable) => {
            Failure::new(Exit::Failed, unsaved(&files))
                .hint("`hlx keys list -v` shows where keys were looked for")
                .hint("without one: copy away what you need of them; `rm FILE` and `git checkout -- FILE` put the encrypted version in its place")
                .hint("nothing was locked")
        }
        E::Unsaved(files) => Failure::new(Exit::Failed, unsaved(&files))
            .hint("`git add` and commit them, stash them, or take them back with `git checkout -- FILE`")
            .hint("nothing was locked"),
        E::BadPath { .. } => Failure::new(Exit::Usage, message),
        E::Io { .. } => Failure::new(Exit::Failed, message),
    }
}

fn unsaved(files: &[repo::lock::Unsaved]) -> String {
    let line = |file: &repo::lock::Unsaved| format!("\n{}: {}", quote::path(&file.path), file.why);
    let lines: String = files.iter().map(line).collect();
    format!("these files would lose what git does not have:{lines}")
}
