//! `hlx server install`: what a server needs to come back by itself after a reboot.

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;

use super::context::variable;
use super::server::Server;
use super::{Context, Exit, Failure, errors};
use crate::deploy::unit::{self, Unit};

/// Variables that the unit must have too, if they are set here.
const PLACES: [&str; 5] = ["HLX_CONFIG", "HLX_STATE_DIR", "HLX_PROJECTS", "HLX_RUN_DIR", "HLX_IDENTITY"];

#[derive(Debug, Args)]
pub(super) struct InstallArgs {
    /// Print the unit, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Where units are.
    #[arg(long, value_name = "DIRECTORY", default_value = "/etc/systemd/system")]
    dir: PathBuf,
}

/// Writes and enables the unit.
pub(super) fn run(args: &InstallArgs, cx: &Context) -> Result<(), Failure> {
    let text = unit(cx)?.text().map_err(|error| Failure::new(Exit::Usage, error))?;
    if args.dry_run {
        return cx.ui.raw(text.as_bytes()).map_err(|error| Failure::new(Exit::Failed, error));
    }
    let path = args.dir.join(unit::NAME);
    if !rustix::process::geteuid().is_root() {
        return Err(Failure::new(Exit::Failed, "only root can install units").hint("run it with sudo"));
    }
    write(&path, &text).map_err(|error| errors::io(&path, &error))?;
    cx.ui.note(format!("{} restores file secrets before Docker starts", path.display()));
    match Path::new("/run/systemd/system").exists() && args.dir == Path::new("/etc/systemd/system") {
        true => enable(cx)?,
        false => cx.ui.hint(format!("systemctl daemon-reload && systemctl enable {}", unit::NAME)),
    }
    cx.ui.result(path.display());
    Ok(())
}

fn unit(cx: &Context) -> Result<Unit, Failure> {
    let program = std::env::current_exe().map_err(|error| Failure::new(Exit::Failed, error))?;
    let absolute = |path: &PathBuf| std::path::absolute(path).map_err(|error| errors::io(path, &error));
    let identities = cx.named().iter().map(absolute).collect::<Result<Vec<_>, _>>()?;
    let variables = PLACES.iter().filter_map(|name| Some(((*name).to_owned(), variable(name)?))).collect();
    let mut needs = Server::from_environment()?.needs();
    needs.extend(identities.iter().cloned());
    needs.extend(variable("HLX_IDENTITY").map(PathBuf::from));
    Ok(Unit { program, identities, variables, needs })
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    let fresh = path.with_extension("service~");
    std::fs::write(&fresh, text)?;
    std::fs::rename(fresh, path)
}

fn enable(cx: &Context) -> Result<(), Failure> {
    for words in [&["daemon-reload"][..], &["enable", unit::NAME]] {
        let done = Command::new("systemctl").args(words).output();
        let said = match done {
            Ok(done) if done.status.success() => continue,
            Ok(done) => String::from_utf8_lossy(&done.stderr).trim().to_owned(),
            Err(error) => error.to_string(),
        };
        return Err(Failure::new(Exit::Failed, format!("systemctl {} failed: {said}", words.join(" "))));
    }
    cx.ui.note(format!("{} is enabled", unit::NAME));
    Ok(())
}
