//! `hlx doctor`: whether this host is fit to deploy on.

use std::path::{Path, PathBuf};

use clap::Args;

use super::context::variable;
use super::server::{self, Server};
use super::ui::counted;
use super::{Context, Exit, Failure};
use crate::deploy::doctor::{self, Finding, Verdict};
use crate::deploy::{Settings, opener};
use crate::keys::Keyring;

/// Say whether this host is fit to deploy on, and what to do where it is not.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Looks, and fails if anything must be mended.
pub(super) fn run(args: &DoctorArgs, cx: &Context) -> Result<(), Failure> {
    let config = variable("HLX_CONFIG").map_or_else(|| PathBuf::from("/etc/hlx/config.yaml"), PathBuf::from);
    let keyring = cx.keyring();
    let mut findings = vec![settings(&config), keys(&keyring)];
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
            Finding::warn(NAME, text, "hlx server join URL")
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

fn keys(keyring: &Keyring) -> Finding {
    const NAME: &str = "keys";
    let found =
        keyring.tried().iter().filter(|tried| tried.outcome.as_ref().is_ok_and(|keys| !keys.is_empty()));
    let places: Vec<&str> = found.map(|tried| tried.place.as_str()).collect();
    let unused = keyring.tried().iter();
    let unused = unused.filter_map(|tried| Some(format!("{}: {}", tried.place, tried.unusable()?)));
    let unused: Vec<String> = unused.collect();
    match (places.is_empty(), unused.is_empty()) {
        (true, true) => Finding::fail(NAME, "none is here", "hlx server join URL"),
        (true, false) => Finding::fail(
            NAME,
            format!("none is here that can be used: {}", unused.join("; ")),
            "mend what is said there; for another key: hlx server join URL",
        ),
        (false, false) => Finding::warn(
            NAME,
            format!("{}; not used: {}", places.join(", "), unused.join("; ")),
            "hlx keys list -v",
        ),
        (false, true) => Finding::ok(NAME, places.join(", ")),
    }
}
