//! Containers that did not start for want of a file that is there now.
//!
//! Docker says so in the container's own words: it was tried, ended with 127 or 128, and its error
//! names the file. So somebody wanted it to run, and nothing else kept it from running. All
//! others are left alone: one that was stopped by hand, one that ended by itself, a one-shot.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::docker::{Docker, Error};

/// The exit codes that Docker gives a container which could not be started.
const NEVER_RAN: [i64; 2] = [127, 128];

/// A container, as far as this matters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Container {
    id: String,
    name: String,
    state: Condition,
    #[serde(default)]
    host_config: HostConfig,
    #[serde(default)]
    mounts: Vec<Mount>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Condition {
    status: String,
    exit_code: i64,
    #[serde(default)]
    error: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HostConfig {
    #[serde(default)]
    network_mode: String,
    #[serde(default)]
    pid_mode: String,
    #[serde(default)]
    ipc_mode: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Mount {
    #[serde(default)]
    source: PathBuf,
}

/// Starts what failed for want of one of these files, then what failed for want of those
/// containers. Gives the names of what was started.
pub(super) fn wake(docker: &Docker, project: &str, files: &[PathBuf]) -> Result<Vec<String>, Error> {
    let all = list(docker, project)?;
    let (wanted, others): (Vec<_>, Vec<_>) = all.iter().partition(|container| container.wanted(files));
    let ids: BTreeSet<&str> = wanted.iter().map(|container| container.id.as_str()).collect();
    let leant_on = others.into_iter().filter(|container| container.leant_on(&ids));
    // One that fails must not keep the others down.
    let start = |container: &Container| {
        let name = container.name.trim_start_matches('/').to_owned();
        docker.demand("start", &["start", &container.id]).map(|_| name)
    };
    let started: Vec<Result<String, Error>> = wanted.into_iter().chain(leant_on).map(start).collect();
    started.into_iter().collect()
}

fn list(docker: &Docker, project: &str) -> Result<Vec<Container>, Error> {
    let label = format!("label=com.docker.compose.project={project}");
    let filters = ["--filter", &label, "--filter", "label=com.docker.compose.oneoff=False"];
    docker.inspected(&filters)
}

impl Container {
    fn never_ran(&self) -> bool {
        let state = &self.state;
        let ended = matches!(state.status.as_str(), "exited" | "created");
        ended && NEVER_RAN.contains(&state.exit_code) && !state.error.is_empty()
    }

    fn wanted(&self, files: &[PathBuf]) -> bool {
        let named = |file: &Path| file.to_str().is_some_and(|file| self.state.error.contains(file));
        let mounted = |file: &PathBuf| self.mounts.iter().any(|mount| mount.source == *file);
        self.never_ran() && files.iter().any(|file| mounted(file) && named(file))
    }

    /// Whether it shares a namespace with one of these.
    fn leant_on(&self, ids: &BTreeSet<&str>) -> bool {
        let HostConfig { network_mode, pid_mode, ipc_mode } = &self.host_config;
        let other = |mode: &String| mode.strip_prefix("container:").is_some_and(|id| ids.contains(id));
        self.never_ran() && [network_mode, pid_mode, ipc_mode].into_iter().any(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(status: &str, exit_code: i64, error: &str) -> Container {
        let state = Condition { status: status.into(), exit_code, error: error.into() };
        let mounts = vec![Mount { source: "/run/hlx/a/1/x".into() }];
        Container { id: "1".into(), name: "/a".into(), state, mounts, ..Container::default() }
    }

    #[test]
    fn only_what_failed_for_want_of_the_file_is_started() {
        let files = [PathBuf::from("/run/hlx/a/1/x")];
        let missing = "error mounting \"/run/hlx/a/1/x\" to rootfs: no such file or directory";
        assert!(container("exited", 127, missing).wanted(&files));
        assert!(container("created", 128, missing).wanted(&files));
        let others = [
            container("exited", 127, ""),
            container("exited", 1, missing),
            container("running", 127, missing),
            container("exited", 127, "exec: \"x\": executable file not found"),
            container("exited", 127, "error mounting \"/run/hlx/a/2/x\""),
        ];
        assert!(others.iter().all(|other| !other.wanted(&files)));
        assert!(!container("exited", 127, missing).wanted(&["/run/hlx/b/1/x".into()]));
    }

    #[test]
    fn what_shares_a_network_follows() {
        let mut other = container("exited", 128, "cannot join network of a non running container");
        other.host_config.network_mode = "container:1".into();
        assert!(other.leant_on(&["1"].into()) && !other.leant_on(&["2"].into()));
        other.state.exit_code = 0;
        assert!(!other.leant_on(&["1"].into()));
    }
}
