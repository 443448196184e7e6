//! Stacks on a Swarm: `docker stack deploy`, Swarm's own rolling update, and what came of it.
//!
//! The model is Compose's, made from the commit as ever; `stack` turns it into what
//! `docker stack deploy` takes. Secrets and configs become immutable objects of the Swarm
//! (`objects`), named by a keyed hash of what they hold, so that a changed secret is a changed
//! service and nothing else is. `services` reads services and tasks, `judge` says whether
//! they are well: exit codes do not, since Swarm rolls a bad update back and calls that success.

mod changes;
mod judge;
mod objects;
mod services;
mod stack;

use serde::Deserialize;

use super::docker::{self, Docker};
use super::mirror::indented;

pub(super) use changes::changes;
pub(super) use judge::{Before, Rule, judge};
pub(super) use objects::{Object, objects};
pub(super) use services::{Service, inquire};
pub(super) use stack::{Dress, Stack, made_by_docker, refusals};

/// Why a stack cannot be deployed on a Swarm.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The engine is in no Swarm.
    #[error("`x-hlx.engine` is `swarm`, and this Docker is in no Swarm")]
    Inactive,
    /// The engine's Swarm waits to be unlocked.
    #[error("the Swarm of this Docker is locked")]
    Locked,
    /// The engine only works for a Swarm.
    #[error("`x-hlx.engine` is `swarm`, and this Docker is a worker of its Swarm: only managers take stacks")]
    Worker,
    /// The compose file asks for what a Swarm does not do.
    #[error("a Swarm does not do what the compose file asks for:{}", indented(&.0.join("\n")))]
    Cannot(Vec<String>),
}

/// The Swarm that a Docker is a manager of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Manager {
    /// This node's own id.
    pub(super) node: String,
    /// How many nodes there are.
    pub(super) nodes: u64,
}

impl Manager {
    /// True if all that runs there runs here.
    pub(super) fn is_alone(&self) -> bool {
        self.nodes == 1
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Info {
    #[serde(default, rename = "NodeID")]
    node_id: String,
    #[serde(default)]
    local_node_state: String,
    #[serde(default)]
    control_available: bool,
    #[serde(default)]
    nodes: u64,
}

impl Info {
    fn manager(self) -> Result<Manager, Error> {
        match (self.local_node_state.as_str(), self.control_available) {
            ("active", true) => Ok(Manager { node: self.node_id, nodes: self.nodes }),
            ("active", false) => Err(Error::Worker),
            ("locked", _) => Err(Error::Locked),
            _ => Err(Error::Inactive),
        }
    }
}

impl Docker {
    /// The Swarm that this Docker is a manager of.
    pub(super) fn manager(&self) -> Result<Manager, super::Error> {
        let said = self.demand("info", &["info", "--format", "{{json .Swarm}}"])?;
        let info: Info = serde_json::from_str(&said)
            .map_err(|error| docker::Error::Failed { what: "info", said: error.to_string() })?;
        Ok(info.manager()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manager(json: &str) -> Result<Manager, String> {
        let info: Info = serde_json::from_str(json).unwrap();
        info.manager().map_err(|error| error.to_string())
    }

    #[test]
    fn only_a_manager_takes_stacks() {
        let found = manager(r#"{"NodeID":"n","LocalNodeState":"active","ControlAvailable":true,"Nodes":3}"#);
        assert_eq!(found, Ok(Manager { node: "n".into(), nodes: 3 }));
        for (json, word) in [
            (r#"{"NodeID":"n","LocalNodeState":"active","ControlAvailable":false}"#, "worker"),
            (r#"{"NodeID":"","LocalNodeState":"locked","ControlAvailable":false}"#, "locked"),
            (r#"{"NodeID":"","LocalNodeState":"inactive","ControlAvailable":false}"#, "no Swarm"),
            (r#"{"NodeID":"","LocalNodeState":"pending","ControlAvailable":false}"#, "no Swarm"),
        ] {
            assert!(manager(json).unwrap_err().contains(word), "{json}");
        }
    }
}
