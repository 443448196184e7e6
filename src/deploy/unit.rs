//! The systemd unit that restores file secrets before Docker starts.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// The name of the unit's file.
pub const NAME: &str = "hlx-materialise.service";

/// A text that no line of a unit can hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} cannot stand in a systemd unit")]
pub struct Unfit(String);

/// What the unit runs, and with what.
#[derive(Debug, Clone)]
pub struct Unit {
    /// The program, by its absolute path.
    pub program: PathBuf,
    /// Key files that were named on the command line.
    pub identities: Vec<PathBuf>,
    /// Variables that say where things are.
    pub variables: Vec<(String, String)>,
    /// What must be mounted first.
    pub needs: Vec<PathBuf>,
}

impl Unit {
    /// The text of the unit, as systemd.unit(5), systemd.service(5) and systemd.exec(5) have it.
    ///
    /// It must mount for the whole host, so nothing that gives it mounts of its own
    /// (`ProtectSystem=` and its like) is set.
    pub fn text(&self) -> Result<String, Unfit> {
        let mut exec = path(&self.program)?;
        for identity in &self.identities {
            let _ = write!(exec, " --identity {}", path(identity)?);
        }
        let needs = self.needs.iter().map(|place| path(place)).collect::<Result<Vec<_>, _>>()?.join(" ");
        let mut variables = String::new();
        for (name, value) in &self.variables {
            let _ = writeln!(variables, "Environment={}", quoted(&format!("{name}={value}"))?);
        }
        Ok(format!(
            "[Unit]\n\
             Description=File secrets of Docker Compose stacks, restored in RAM by hlx\n\
             RequiresMountsFor={needs}\n\
             Before=docker.service\n\
             \n\
             [Service]\n\
             Type=oneshot\n\
             RemainAfterExit=yes\n\
             {variables}ExecStart={exec} materialise --all --files-only\n\
             TimeoutStartSec=120\n\
             UMask=0077\n\
             LimitCORE=0\n\
             NoNewPrivileges=yes\n\
             RestrictAddressFamilies=AF_UNIX\n\
             \n\
             [Install]\n\
             WantedBy=docker.service\n"
        ))
    }
}

fn path(path: &Path) -> Result<String, Unfit> {
    let text = path.to_str().ok_or_else(|| Unfit(path.display().to_string()))?;
    quoted(text)
}

/// A word of a unit's line: `%` would begin a specifier, and `$` a variable.
fn quoted(text: &str) -> Result<String, Unfit> {
    if text.contains(char::is_control) {
        return Err(Unfit(text.to_owned()));
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-=:@+".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return Ok(text.to_owned());
    }
    let mut word = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => word.extend(['\\', c]),
            '%' | '$' => word.extend([c, c]),
            other => word.push(other),
        }
    }
    Ok(word + "\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_runs_before_docker_with_what_it_was_given() {
        let unit = Unit {
            program: "/usr/local/bin/hlx".into(),
            identities: vec!["/root/my key".into()],
            variables: vec![("HLX_RUN_DIR".into(), "/run/50%".into())],
            needs: vec!["/var/lib/hlx".into(), "/etc".into()],
        };
        let text = unit.text().unwrap();
        for line in [
            "ExecStart=/usr/local/bin/hlx --identity \"/root/my key\" materialise --all --files-only",
            "Environment=\"HLX_RUN_DIR=/run/50%%\"",
            "RequiresMountsFor=/var/lib/hlx /etc",
            "Before=docker.service",
            "WantedBy=docker.service",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in:\n{text}");
        }
    }

    #[test]
    fn what_would_be_another_line_is_refused() {
        let unit = Unit {
            program: "/a\nExecStartPost=/b".into(),
            identities: Vec::new(),
            variables: Vec::new(),
            needs: Vec::new(),
        };
        assert!(unit.text().is_err());
    }
}
