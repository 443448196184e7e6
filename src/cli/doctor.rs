//! `hlx doctor`: whether this host is fit to deploy on.

use std::path::{Path, PathBuf};

use clap::Args;

use super::context::{time, variable};
use super::server::{self, Server};
use super::ui::counted;
use super::{Context, Exit, Failure};
use crate::deploy::doctor::{self, Finding, Verdict};
use crate::deploy::{Settings, opener};
use crate::keys::plugins::Idle;
use crate::keys::{Found, Tried};

/// Say whether this host is fit to deploy on, and what to do where it is not.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Looks, and fails if anything must be mended.
pub(super) fn run(args: &DoctorArgs, cx: &Context) -> Result<(), Failure> {
    let config = variable("HLX_CONFIG").map_or_else(server::default_config, PathBuf::from);
    let keyring = cx.keyring();
    let mut findings = vec![settings(&config), keys(keyring.tried())];
    // A configuration that cannot be read is a finding, and no reason to see no other.
    let server = Server::with(Settings::read(&config).unwrap_or_default())?;
    let open = opener(|sealed| keyring.open(sealed));
    let report = server::report(cx.ui);
    findings.extend(doctor::examine(&server.world(&open, &report), &config));
    show(&findings, args, cx);
    let failed = findings.iter().filter(|finding| finding.verdict == Verdict::Fail).count();
    match failed {
        0 => Ok(()),
        _ => Err(Failure::new(Exit::Failed, format!("{} to mend", counted(failed, "thing", "things")))),
    }
}

fn show(findings: &[Finding], args: &DoctorArgs, cx: &Context) {
    if args.json {
        let json = serde_json::json!({ "findings": findings });
        return cx.ui.result(json);
    }
    for Finding { name, verdict, text, remedy } in findings {
        let verdict = match verdict {
            Verdict::Ok => "ok  ",
            Verdict::Warn => "warn",
            Verdict::Fail => "FAIL",
        };
        cx.ui.result(format!("{verdict}  {name}: {text}"));
        remedy.iter().for_each(|remedy| cx.ui.result(format!("      -> {remedy}")));
    }
}

fn settings(config: &Path) -> Finding {
    const NAME: &str = "settings";
    match Settings::read(config) {
        Err(error) => Finding::fail(NAME, error.to_string(), format!("correct {}", config.display())),
        Ok(_) if variable("HLX_CONFIG").is_some() && !config.exists() => {
            let text = format!("there is no {}, which HLX_CONFIG names", config.display());
            Finding::fail(NAME, text, "hlx server join URL")
        }
        Ok(settings) if settings.repo.is_none() => {
            let text = "no `repo`: each deploy must name one with --repo, or stand in a clone";
            Finding::warn(NAME, text, join(config))
        }
        Ok(settings) => {
            let verify = settings.verify.map(|_| "signed commits only");
            let deny = (!settings.deny.is_empty()).then_some("some powers denied");
            let limits: Vec<&str> = verify.into_iter().chain(deny).collect();
            let limits = if limits.is_empty() {
                "neither `verify` nor `deny`: whoever can push is root here".to_owned()
            } else {
                limits.join(", ")
            };
            Finding::ok(NAME, limits)
        }
    }
}

/// How the configuration is written: `hlx server join` is for root.
fn join(config: &Path) -> String {
    match rustix::process::geteuid().is_root() {
        true => "hlx server join URL".to_owned(),
        false => format!("write `repo: URL` to {}", config.display()),
    }
}

/// What a deploy that nobody sits before can use, and what it cannot.
fn keys(tried: &[Tried]) -> Finding {
    const NAME: &str = "keys";
    const JOIN: &str = "a key that asks nobody: hlx server join URL";
    let usable: Vec<String> = tried.iter().filter_map(usable).collect();
    let waiting: Vec<String> = tried.iter().flat_map(waiting).collect();
    let broken = tried.iter().filter_map(|tried| Some(format!("{}: {}", tried.place, tried.unusable()?)));
    let broken: Vec<String> = broken.collect();
    let others: Vec<String> = waiting.iter().chain(&broken).cloned().collect();
    let is_lasting = |tried: &Tried| tried.until.is_none() && usable_at(tried);
    match (usable.is_empty(), others.is_empty()) {
        (true, true) => Finding::fail(NAME, "none is here", "hlx server join URL"),
        (true, false) if waiting.is_empty() => Finding::fail(
            NAME,
            format!("none is here that can be used: {}", broken.join("; ")),
            "mend what is said there; for another key: hlx server join URL",
        ),
        (true, false) => {
            Finding::fail(NAME, format!("none is here that a deploy can use: {}", others.join("; ")), JOIN)
        }
        (false, _) if !tried.iter().any(is_lasting) => Finding::warn(NAME, usable.join(", "), JOIN),
        (false, true) => Finding::ok(NAME, usable.join(", ")),
        (false, false) if broken.is_empty() => {
            Finding::ok(NAME, format!("{}; not for deploys: {}", usable.join(", "), others.join("; ")))
        }
        (false, false) => Finding::warn(
            NAME,
            format!("{}; not used: {}", usable.join(", "), others.join("; ")),
            "hlx keys list -v",
        ),
    }
}

fn usable_at(tried: &Tried) -> bool {
    tried.outcome.iter().flatten().any(|found| matches!(found, Found::Of(_) | Found::OfPlugin(_)))
}

/// The place of a key that is ready, and until when it is.
fn usable(tried: &Tried) -> Option<String> {
    let until = tried.until.map(|until| format!(" (locked by a passphrase from {} on)", time(Some(until))));
    usable_at(tried).then(|| format!("{}{}", tried.place, until.unwrap_or_default()))
}

/// Why a key that is there is of no use without a person.
fn waiting(tried: &Tried) -> Vec<String> {
    let reason = |found: &Found| match found {
        Found::Locked(_) => Some("locked by a passphrase".to_owned()),
        Found::InKeychain(_) => Some("open in a desktop's session only".to_owned()),
        Found::Idle(plugin, Idle::NotAllowed) => Some(format!("the age plugin `{plugin}` is not allowed")),
        Found::Idle(plugin, Idle::Missing) => Some(format!("no `age-plugin-{plugin}` is on the PATH")),
        Found::Of(_) | Found::OfPlugin(_) => None,
    };
    let mut reasons: Vec<String> = tried.outcome.iter().flatten().filter_map(reason).collect();
    reasons.dedup();
    reasons.iter().map(|reason| format!("{} ({reason})", tried.place)).collect()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::keys::Missing;

    #[test]
    fn a_key_counts_if_a_deploy_can_use_it_with_nobody_there() {
        let key = "age1xk7yh7phvy5fcapfuzwvhrr8hehh35p0zyrk4hur70yge458ayxq6dm0nj";
        let of = || Found::Of(key.parse().unwrap());
        let tried = |place: &str, found: Vec<Found>| Tried {
            place: place.to_owned(),
            outcome: Ok(found),
            until: None,
        };
        let open = || tried("open", vec![of()]);
        let locked = || tried("locked", vec![Found::Locked(None)]);
        let unlocked = || {
            let until = SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000);
            Tried { until: Some(until), ..tried("unlocked", vec![of()]) }
        };
        let chain = || tried("keychain", vec![Found::InKeychain(key.parse().unwrap())]);
        let idle = || tried("toy.key", vec![Found::Idle("toy".to_owned(), Idle::NotAllowed)]);
        let failed = |missing| Tried { outcome: Err(missing), ..tried("x", Vec::new()) };
        let absent = || failed(Missing::Nothing("not there"));
        let broken = || failed(Missing::Unusable("others can read it".to_owned()));
        for (places, verdict, text) in [
            (vec![absent()], Verdict::Fail, "none is here"),
            (vec![open(), absent()], Verdict::Ok, "open"),
            (vec![locked()], Verdict::Fail, "a deploy can use: locked (locked by a passphrase)"),
            (
                vec![chain(), idle()],
                Verdict::Fail,
                "keychain (open in a desktop's session only); toy.key (the",
            ),
            (vec![open(), locked()], Verdict::Ok, "open; not for deploys: locked (locked by"),
            (vec![unlocked()], Verdict::Warn, "unlocked (locked by a passphrase from 2096-"),
            (vec![unlocked(), open()], Verdict::Ok, "open"),
            (vec![broken()], Verdict::Fail, "that can be used: x: others can read it"),
            (vec![broken(), open()], Verdict::Warn, "open; not used: x: others can read it"),
        ] {
            let finding = keys(&places);
            assert_eq!(finding.verdict, verdict, "{finding:?}");
            assert!(finding.text.contains(text), "{finding:?}");
        }
    }
}
