//! `hlx history`: what was deployed on this host, by whom, and how it went.

use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::server::{self, Server, failure};
use super::{Context, Failure};
use crate::deploy::state::{self, Entry, State};

/// Show what was deployed on this host: who, what, when, for how long, and how it ended.
#[derive(Debug, Args)]
pub(super) struct HistoryArgs {
    /// Of this service only.
    service: Option<String>,
    /// Print JSON, with the time that each phase took.
    #[arg(long)]
    json: bool,
    /// Show the time that each phase took.
    #[arg(long, conflicts_with = "json")]
    phases: bool,
    /// How many entries, the newest first.
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    limit: u32,
}

/// Prints the history.
pub(super) fn run(args: &HistoryArgs, cx: &Context) -> Result<(), Failure> {
    let server = Server::from_environment()?;
    let service = args.service.as_deref().map(server::service).transpose()?;
    let read = || -> Result<Vec<Entry>, state::Error> {
        let Some(state) = State::open_if_there(&server.database())? else { return Ok(Vec::new()) };
        state.history(service.as_ref(), args.limit)
    };
    let entries = read().map_err(|error| failure(error.into()))?;
    if let (Some(service), true) = (service, entries.is_empty() && args.limit > 0) {
        return Err(server.not_deployed(service));
    }
    if args.json {
        cx.ui.result(Value::from_iter(entries.iter().map(entry_json)));
        return Ok(());
    }
    if entries.is_empty() {
        cx.ui.note("nothing was deployed here yet");
    }
    for entry in &entries {
        cx.ui.result(line(entry));
        if args.phases {
            phases(entry).iter().for_each(|(name, ms)| cx.ui.result(format!("    {name:<32} {ms:>10.1} ms")));
        }
    }
    Ok(())
}

fn line(entry: &Entry) -> String {
    let commit = entry.commit.as_deref().unwrap_or("-");
    let why = match entry.result.as_str() {
        "" => String::new(),
        why if why == entry.ending.as_str() => String::new(),
        why => format!(": {why}"),
    };
    format!(
        "{}  {:>7.1} s  {:<16}  {commit:<10.10}  {:<8}  {:<8}  {}{why}",
        when(entry.began),
        entry.took_ms as f64 / 1000.0,
        entry.stack,
        entry.who,
        entry.action,
        entry.ending.as_str(),
    )
}

/// A time as RFC 3339 has it, in UTC.
pub(super) fn when(second: i64) -> String {
    Timestamp::from_second(second).map_or_else(|_| second.to_string(), |time| time.to_string())
}

fn phases(entry: &Entry) -> Vec<(String, f64)> {
    let list: Vec<Value> = serde_json::from_str(&entry.phases).unwrap_or_default();
    let phase = |phase: &Value| Some((phase.get("name")?.as_str()?.to_owned(), phase.get("ms")?.as_f64()?));
    list.iter().filter_map(phase).collect()
}

/// An entry as JSON.
pub(super) fn entry_json(entry: &Entry) -> Value {
    json!({
        "id": entry.id,
        "stack": entry.stack,
        "action": entry.action,
        "repo": entry.repo,
        "commit": entry.commit,
        "who": entry.who,
        "ending": entry.ending.as_str(),
        "result": entry.result,
        "began": when(entry.began),
        "took_ms": entry.took_ms,
        "phases": serde_json::from_str::<Value>(&entry.phases).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deploy::state::Ending;

    #[test]
    fn a_line_says_who_what_when_and_how_it_ended() {
        let entry = Entry {
            id: 1,
            stack: "web".into(),
            action: "deploy".into(),
            repo: None,
            commit: Some("0123456789abcdef".into()),
            who: "bob".into(),
            ending: Ending::RolledBack,
            result: "the deploy failed: x".into(),
            began: 0,
            took_ms: 3456,
            phases: r#"[{"name":"up","ms":1.5}]"#.into(),
        };
        let words: Vec<String> = line(&entry).split_whitespace().map(str::to_owned).collect();
        let wanted = "1970-01-01T00:00:00Z 3.5 s web 0123456789 bob deploy rolled back: the deploy failed: x";
        assert_eq!(words.join(" "), wanted);
        assert_eq!(phases(&entry), [("up".to_owned(), 1.5)]);
        assert_eq!(entry_json(&entry)["ending"], "rolled back");
    }
}
