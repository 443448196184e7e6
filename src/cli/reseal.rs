//! `hlx reseal`: files whose values are authentic, and whose MAC is not.

use std::path::PathBuf;

use clap::Args;

use crate::git::{Git, Repository};
use crate::repo::reseal::{self as resealing, Found, Where};
use crate::repo::status::protected;

use super::context::Context;
use super::repo::from_top;
use super::{Exit, Failure, errors, quote, ui};

#[derive(Debug, Args)]
#[command(
    after_long_help = "A MAC goes stale when a file is staged in parts (`git add -p`), merged in a web page, or edited by a bot that \
    changes what is in clear. It also does when someone puts an older value back. So the names of all that differs from the last good \
    version are shown first. A value that was moved to another place, or altered, is refused."
)]
pub(super) struct ResealArgs {
    /// Files or directories; by default all protected files, as staged and as they stand in the work tree.
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
}

/// `hlx reseal [PATH…]`
pub(super) fn reseal(args: &ResealArgs, cx: &Context) -> Result<(), Failure> {
    let repository = cx.repository()?;
    let git = cx.git(&repository)?;
    let keyring = cx.keys()?;
    let prefix = Git::at(cx.directory()).text(&["rev-parse", "--show-prefix"]).map_err(errors::git)?;
    let paths = args.paths.iter().map(|path| from_top(&repository, &prefix, path));
    let paths = paths.collect::<Result<Vec<_>, _>>()?;
    check_paths(&repository, &paths)?;
    let asked = |path: &str| paths.is_empty() || paths.iter().any(|asked| is_below(path, asked));
    let survey = resealing::survey(&repository, &git, &keyring, asked, &cx.now()).map_err(errors::repo)?;
    survey.stale.iter().for_each(|found| show(found, cx));
    if !survey.stale.is_empty() {
        agree(args, &survey.stale)?;
    }
    for found in &survey.stale {
        resealing::put(&repository, &git, &keyring, found).map_err(errors::repo)?;
        cx.ui.note(format!("{}: sealed again", quote::path(&found.path)));
    }
    match survey.broken.into_iter().next() {
        Some((path, error)) => Err(errors::named_keys(&path, &path, error)),
        None if survey.stale.is_empty() => {
            cx.ui.note("every encrypted file is in order: there is nothing to reseal");
            Ok(())
        }
        None => {
            cx.ui.hint("look at it with `git diff HEAD`, and commit it");
            Ok(())
        }
    }
}

/// Whether a path is another, or in that directory.
fn is_below(path: &str, directory: &str) -> bool {
    let rest = path.strip_prefix(directory);
    directory.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn check_paths(repository: &Repository, asked: &[String]) -> Result<(), Failure> {
    let protected = protected(repository).map_err(errors::repo)?;
    let unknown =
        |asked: &&String| !protected.iter().any(|(path, _)| is_below(&String::from_utf8_lossy(path), asked));
    match asked.iter().find(unknown) {
        Some(path) => Err(Failure::new(Exit::Usage, format!("git has no protected file `{path}`"))
            .hint("`hlx status` lists them")),
        None => Ok(()),
    }
}

fn show(found: &Found, cx: &Context) {
    let place = match found.place {
        Where::Index => " as staged",
        Where::Tree => " in the work tree",
        Where::Both => "",
    };
    match &found.since {
        Some(commit) => cx.ui.result(format!("{}{place}, since {commit:.10}:", quote::path(&found.path))),
        None => cx.ui.result(format!(
            "{}{place}, of which no good version is in the history:",
            quote::path(&found.path)
        )),
    }
    found
        .differences
        .iter()
        .for_each(|difference| cx.ui.result(format!("    {}", quote::line(&difference.to_string()))));
    if found.differences.is_empty() {
        cx.ui.result("    the values are the same");
    }
}

fn agree(args: &ResealArgs, stale: &[Found]) -> Result<(), Failure> {
    if args.yes {
        return Ok(());
    }
    let files = if stale.len() == 1 { "it".to_owned() } else { format!("these {} files", stale.len()) };
    match ui::ask(&format!("are these changes meant? seal {files} again? [y/N]")) {
        Some(answer) if matches!(answer.trim(), "y" | "Y" | "yes") => Ok(()),
        Some(_) => Err(Failure::new(Exit::Failed, "nothing was sealed again")),
        None => Err(Failure::new(Exit::Policy, "nothing was sealed again: there is no terminal to ask on")
            .hint("if these changes are meant, add `--yes`")),
    }
}

/// Before a commit: what is staged in parts is sealed again, and anything else with a stale MAC stops it.
pub(super) fn before_commit(repository: &Repository, git: &Git, cx: &Context) -> Result<(), Failure> {
    let done = resealing::unasked(repository, git, &cx.keyring(), &cx.now()).map_err(errors::repo)?;
    done.resealed.iter().for_each(|path| {
        cx.ui.note(format!("{} was staged in parts: it is sealed again", quote::path(path)))
    });
    if done.left.is_empty() {
        return Ok(());
    }
    let why = |(path, stray): &(String, Option<String>)| match (quote::path(path), stray) {
        (path, Some(name)) => {
            format!(
                "{path}: its MAC does not fit, and `{name}` is neither in the last commit nor in the work tree"
            )
        }
        (path, None) => {
            format!("{path}: its MAC does not fit, and no commit vouches for its data key and rule")
        }
    };
    let list: Vec<String> = done.left.iter().map(why).collect();
    let paths: Vec<_> = done.left.iter().map(|(path, _)| quote::word(path)).collect();
    Err(Failure::new(Exit::NotAuthentic, format!("nothing was committed:\n{}", list.join("\n")))
        .hint(format!("`hlx reseal {}` shows what changed, and asks", paths.join(" "))))
}
