//! `hlx exposure KEY`: what a key could ever read, and what must be changed at its source.

use std::borrow::Cow;

use clap::Args;
use serde_json::{Value as Json, json};

use crate::git::versions::{self, Line};
use crate::repo::exposure::{self, Exposure, File, Name, State, Value};

use super::context::Context;
use super::ui::counted;
use super::{Failure, errors, quote, recipients};

/// List the values that a key could ever read, in all of history, and which have changed since. Names only.
#[derive(Debug, Args)]
pub(super) struct ExposureArgs {
    /// The public key: `age1…` or `"ssh-ed25519 …"`, or its name in `.sops.yaml`, now or before.
    key: String,
    /// As JSON.
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
    /// As a checklist in Markdown.
    #[arg(long)]
    markdown: bool,
}

/// `hlx exposure KEY`
pub(super) fn run(args: &ExposureArgs, cx: &Context) -> Result<(), Failure> {
    let key = recipients::key_of_any_time(&args.key, cx)?;
    let repository = cx.repository()?;
    let git = cx.git(&repository)?;
    let history = versions::read(&repository, &git).map_err(errors::git)?;
    let progress = |done, all| cx.ui.progress("versions of files", done, all);
    let exposure =
        exposure::find(&repository, &cx.keyring(), &history, &key, &progress).map_err(errors::repo)?;
    match (args.json, args.markdown) {
        (true, _) => cx.ui.result(to_json(&exposure)),
        (false, true) => cx.ui.result(markdown(&exposure, &key.short())),
        (false, false) => show(&exposure, cx),
    }
    sum_up(&exposure, history.is_cut, cx);
    Ok(())
}

/// The values of each file.
fn by_file(exposure: &Exposure) -> impl Iterator<Item = (&File, &[Value])> {
    let files = exposure.values.chunk_by(|one, other| one.file == other.file);
    files.map(|values| (&values[0].file, values))
}

fn line(line: &Line) -> &str {
    match line {
        Line::Branch(name) | Line::Other(name) => name,
    }
}

fn name(value: &Value) -> Cow<'_, str> {
    match &value.name {
        Name::Whole => "(the whole file)".into(),
        Name::Value(name) => quote::line(name),
        Name::Comments => "(its comments)".into(),
    }
}

fn show(exposure: &Exposure, cx: &Context) {
    for (file, values) in by_file(exposure) {
        cx.ui.result(format!("{}:{}", line(&file.line), quote::path(&file.path)));
        for value in values {
            cx.ui.result(format!("    {:<40} {}", name(value), words(value)));
        }
    }
}

fn words(value: &Value) -> &'static str {
    match value.state {
        State::Unchanged if value.name == Name::Comments => {
            "NOT CHANGED SINCE: look whether they hold a secret"
        }
        State::Unchanged => "NOT CHANGED SINCE",
        State::Changed => "changed since",
        State::Gone => "no longer there: revoke it where it came from",
        State::Unknown => "NOT KNOWN: a version of it does not open with your keys",
    }
}

fn markdown(exposure: &Exposure, key: &str) -> String {
    let mut text = format!("# Values that {key} could read\n");
    for (file, values) in by_file(exposure) {
        text += &format!("\n## {}: `{}`\n\n", line(&file.line), quote::path(&file.path));
        for value in values {
            let (mark, note) = match value.state {
                State::Unchanged if value.name == Name::Comments => (' ', "look whether they hold a secret"),
                State::Unchanged => (' ', "change it at its source"),
                State::Changed => ('x', "changed since"),
                State::Gone => (' ', "no longer there: revoke it where it came from"),
                State::Unknown => (' ', "not known: a version of it does not open with these keys"),
            };
            text += &format!("- [{mark}] `{}`: {note}\n", name(value));
        }
    }
    text.trim_end().to_owned()
}

fn to_json(exposure: &Exposure) -> Json {
    let value = |value: &Value| {
        let state = match value.state {
            State::Unchanged => "unchanged",
            State::Changed => "changed",
            State::Gone => "gone",
            State::Unknown => "unknown",
        };
        let is_branch = matches!(value.file.line, Line::Branch(_));
        let place = if is_branch { "branch" } else { "ref" };
        let (kind, name) = match &value.name {
            Name::Whole => ("file", ""),
            Name::Value(name) => ("value", name.as_str()),
            Name::Comments => ("comments", ""),
        };
        json!({ place: line(&value.file.line), "path": value.file.path, "kind": kind, "name": name, "state": state })
    };
    let files = |files: &[File]| -> Vec<Json> {
        files.iter().map(|file| json!({ "branch": line(&file.line), "path": file.path })).collect()
    };
    json!({
        "values": exposure.values.iter().map(value).collect::<Vec<_>>(),
        "data_keys": exposure.data_keys,
        "open_now": files(&exposure.open_now),
        "known_now": files(&exposure.known_now),
    })
}

fn sum_up(exposure: &Exposure, is_cut: bool, cx: &Context) {
    let count = |state| exposure.values.iter().filter(|value| value.state == state).count();
    let all = exposure.values.len();
    match all {
        0 => cx.ui.note("it could never read anything here"),
        _ => cx.ui.note(format!(
            "{} under {}: {} changed since, {} not, {} no longer there, {} not known",
            counted(all, "value", "values"),
            counted(exposure.data_keys, "data key", "data keys"),
            count(State::Changed),
            count(State::Unchanged),
            count(State::Gone),
            count(State::Unknown)
        )),
    }
    if !exposure.open_now.is_empty() {
        let files = counted(exposure.open_now.len(), "file as it is", "files as they are");
        cx.ui.warning(format!("it can read {files} now"));
        cx.ui.hint("`hlx recipients remove KEY --all` shuts it out");
    }
    if !exposure.known_now.is_empty() {
        let list: Vec<String> = exposure
            .known_now
            .iter()
            .map(|file| format!("{}:{}", line(&file.line), quote::path(&file.path)))
            .collect();
        cx.ui.warning(format!("still sealed under a data key that it knows: {}", list.join(", ")));
        cx.ui.hint("`hlx rotate --data-keys --branch …` makes new ones");
    }
    if is_cut {
        cx.ui.warning("this clone does not have all of history: there may be more");
        cx.ui.hint("`git fetch --unshallow` brings the rest");
    }
}
