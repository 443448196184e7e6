//! `hlx decrypt-deploy --all`: every stack of this host, in its order, several at a time.
//!
//! Each stack is deployed by an hlx of its own, so that what one holds in memory goes with it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use super::deploy::DeployArgs;
use super::server::{self, Server, of_deploy};
use super::{Context, Exit, Failure, Ui};
use crate::deploy::all::{self, Survey};
use crate::deploy::order::Fate;
use crate::deploy::service::nearest;
use crate::deploy::{self, Service};
use crate::sys::process::{Call, Stream};

/// Every step of a deploy has its own limit; this one is for the sum.
const LONGEST: Duration = Duration::from_secs(6 * 3600);

/// Several at a time share the network and the disk.
const MOST_JOBS: usize = 4;

/// Deploys all.
pub(super) fn run(args: &DeployArgs, cx: &Context) -> Result<(), Failure> {
    let server = Server::from_environment()?;
    let keyring = cx.keyring();
    let open = deploy::opener(|sealed| keyring.open(sealed));
    let report = server::report(cx.ui);
    let survey = all::survey(args.repo.as_deref(), &server.world(&open, &report)).map_err(of_deploy)?;
    for (service, why) in &survey.others {
        cx.ui.note(format!("{service} is left out: {}", first_line(why)));
    }
    for (service, name) in &survey.lost {
        cx.ui.warning(format!("{service} is to come after {name}, and there is no such branch"));
        let branches: Vec<&str> = survey.branches.iter().map(String::as_str).collect();
        if let Some(meant) = nearest(name.as_str(), &branches) {
            cx.ui.hint(format!("did you mean `{meant}`?"));
        }
    }
    if survey.stacks.is_empty() && survey.broken.is_empty() {
        cx.ui.warning("no branch is a stack of this host: nothing was deployed");
    }
    let Survey { mut stacks, broken, .. } = survey;
    let broken: BTreeMap<Service, String> = broken.into_iter().collect();
    stacks.extend(broken.keys().map(|service| (service.clone(), Vec::new())));
    let program = std::env::current_exe().map_err(|error| Failure::new(Exit::Failed, error))?;
    let processors = || std::thread::available_parallelism().map_or(1, usize::from).min(MOST_JOBS);
    let jobs = args.jobs.map_or_else(processors, usize::from);
    let words = words(args, cx);
    let deploy = |service: &Service| match broken.get(service) {
        Some(why) => {
            cx.ui.error(format!("{service}: {why}"));
            Fate::Failed
        }
        None => one(service, &program, &words, cx.ui),
    };
    let fates = all::run(stacks, jobs, &deploy, &mut |service, fate| tell(service, fate, cx.ui));
    summary(&fates)
}

fn tell(service: &Service, fate: &Fate, ui: Ui) {
    match fate {
        Fate::Deployed => {}
        Fate::Failed => ui.error(format!("{service} failed")),
        Fate::Skipped(why) => ui.warning(format!("{service} is skipped: {why}")),
    }
}

fn summary(fates: &BTreeMap<Service, Fate>) -> Result<(), Failure> {
    let named = |wanted: fn(&Fate) -> bool| -> Vec<String> {
        fates.iter().filter(|(_, fate)| wanted(fate)).map(|(service, _)| service.to_string()).collect()
    };
    let failed = named(|fate| matches!(fate, Fate::Failed));
    let skipped = named(|fate| matches!(fate, Fate::Skipped(_)));
    if failed.is_empty() {
        return Ok(());
    }
    let text = format!("{} of {} stacks failed: {}", failed.len(), fates.len(), failed.join(", "));
    let failure = Failure::new(Exit::Failed, text);
    Err(match skipped.is_empty() {
        true => failure,
        false => failure.hint(format!("skipped for that, by `x-hlx.after`: {}", skipped.join(", "))),
    })
}

/// What each stack's own hlx is told beside the stack.
fn words(args: &DeployArgs, cx: &Context) -> Vec<OsString> {
    let flags = [
        (args.adopt, "--adopt"),
        (args.accept_rewrite, "--accept-rewrite"),
        (args.retry, "--retry"),
        (args.without_rollback, "--without-rollback"),
        (args.timings, "--timings"),
        (cx.ui.quiet, "--quiet"),
    ];
    let mut words: Vec<OsString> =
        flags.iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| (*flag).into()).collect();
    words.extend(args.repo.iter().flat_map(|repo| ["--repo".into(), OsString::from(repo)]));
    words.extend(cx.named().iter().flat_map(|file| ["--identity".into(), file.clone().into_os_string()]));
    words
}

fn one(service: &Service, program: &Path, words: &[OsString], ui: Ui) -> Fate {
    let env = std::env::vars_os().collect();
    let cwd = std::env::current_dir().unwrap_or_else(|_| "/".into());
    let mut call = Call::new("", &cwd, &env, LONGEST);
    call.argv = vec![program.into(), "decrypt-deploy".into(), service.as_str().into()];
    let mut lines = Lines::default();
    let end = call.args(words).stream(b"", &mut |stream, bytes| {
        lines.push(stream, bytes, &mut |stream, line| show(service, stream, line, ui));
    });
    match end {
        Ok(end) if end.is_success() => Fate::Deployed,
        Ok(end) => {
            ui.note(format!("{service} | {end}"));
            Fate::Failed
        }
        Err(error) => {
            ui.error(format!("{service}: {error}"));
            Fate::Failed
        }
    }
}

fn show(service: &Service, stream: Stream, line: &str, ui: Ui) {
    let text = line.strip_prefix("hlx: ").unwrap_or(line);
    let labelled = |label: &str| Some(format!("{service} | {}", text.strip_prefix(label)?));
    if stream == Stream::Out {
        ui.result(line);
    } else if let Some(error) = labelled("error: ") {
        ui.error(error);
    } else if let Some(warning) = labelled("warning: ") {
        ui.warning(warning);
    } else if let Some(hint) = labelled("hint: ") {
        ui.hint(hint);
    } else {
        // A stack's own hlx was told to be quiet if this one was: what it still says are details of errors.
        ui.detail(format!("{service} | {text}"));
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// Two streams, cut into lines.
#[derive(Debug, Default)]
struct Lines([Vec<u8>; 2]);

impl Lines {
    fn push(&mut self, stream: Stream, bytes: &[u8], show: &mut dyn FnMut(Stream, &str)) {
        let rest = &mut self.0[usize::from(stream == Stream::Err)];
        rest.extend_from_slice(bytes);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            show(stream, String::from_utf8_lossy(&line[..end]).as_ref());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_cut_into_lines_however_it_comes() {
        let (mut lines, mut seen) = (Lines::default(), Vec::new());
        let mut show = |stream, line: &str| seen.push(format!("{stream:?} {line}"));
        lines.push(Stream::Out, b"one\ntw", &mut show);
        lines.push(Stream::Err, b"other\n", &mut show);
        lines.push(Stream::Out, b"o\n\n", &mut show);
        assert_eq!(seen, ["Out one", "Err other", "Out two", "Out "]);
    }

    #[test]
    fn a_failure_is_summed_up() {
        let service = |text: &str| text.parse::<Service>().unwrap();
        let fates = BTreeMap::from([
            (service("a"), Fate::Failed),
            (service("b"), Fate::Skipped("it comes after a, which failed".into())),
            (service("c"), Fate::Deployed),
        ]);
        let failure = summary(&fates).unwrap_err();
        assert_eq!(failure.message(), "1 of 3 stacks failed: a");
        assert_eq!(failure.hints(), ["skipped for that, by `x-hlx.after`: b"]);
        assert!(summary(&BTreeMap::from([(service("c"), Fate::Deployed)])).is_ok());
    }
}
