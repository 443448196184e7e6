//! What a stack says about its own deploy, under `x-hlx:` in its compose file.
//!
//! Compose ignores the key. Nothing in it widens what a stack may do on a host.

use std::time::Duration;

use serde_json::Value;

use super::engine::Engine;
use super::mask::Masker;
use super::probe::Probe;
use super::service::{Service, duration, nearest};

/// Every key of `x-hlx:`.
const KEYS: [&str; 8] = ["hosts", "after", "timeout", "stable", "rollback", "setup", "engine", "probes"];

const DAY: Duration = Duration::from_secs(24 * 3600);

/// What happens when the new version is not well.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Rollback {
    /// The last good version is started again.
    #[default]
    Auto,
    /// The new one stays as it is: a person pushes another commit.
    Manual,
}

/// When `setup.sh` runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Setup {
    /// When this very script has not yet succeeded on this host.
    #[default]
    Changed,
    /// At each deploy.
    Always,
    /// At none.
    Never,
}

/// What `x-hlx:` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wishes {
    /// How long containers may take to become well, from `up` on.
    pub timeout: Duration,
    /// How long a container must run without a restart.
    pub stable: Duration,
    /// The hosts that may run the stack; empty for any.
    pub hosts: Vec<String>,
    /// The stacks that are deployed first when all are.
    pub after: Vec<Service>,
    /// What happens when the new version is not well.
    pub rollback: Rollback,
    /// When `setup.sh` runs.
    pub setup: Setup,
    /// What runs the containers.
    pub engine: Engine,
    /// What must answer once the containers are well.
    pub probes: Vec<Probe>,
}

impl Wishes {
    /// True if a probe has a secret in it, which messages would show.
    pub(super) fn holds_secret(&self, masker: &Masker) -> bool {
        let is_secret = |word: &str| masker.text(word.as_bytes()) != word;
        self.probes.iter().flat_map(Probe::words).any(is_secret)
    }
}

impl Default for Wishes {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(300),
            stable: Duration::from_secs(10),
            hosts: Vec::new(),
            after: Vec::new(),
            rollback: Rollback::default(),
            setup: Setup::default(),
            engine: Engine::default(),
            probes: Vec::new(),
        }
    }
}

/// What is wrong with `x-hlx:`.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadWish {
    /// A key that no version has.
    #[error("there is no setting `x-hlx.{key}`")]
    Unknown {
        /// The key.
        key: String,
        /// What may have been meant.
        nearest: Option<&'static str>,
    },
    /// A value of the wrong kind.
    #[error("`{key}` must be {wanted}")]
    Value {
        /// The key.
        key: String,
        /// What it must be.
        wanted: &'static str,
    },
}

/// What an `x-hlx:` says.
pub fn wishes(x_hlx: &Value) -> Result<Wishes, BadWish> {
    let mut wishes = Wishes::default();
    match x_hlx {
        Value::Null => {}
        Value::Object(keys) => keys.iter().try_for_each(|(key, value)| wishes.set(key, value))?,
        _ => return Err(BadWish::Value { key: "x-hlx".into(), wanted: "a mapping" }),
    }
    Ok(wishes)
}

impl Wishes {
    /// Whether this host may run the stack.
    pub fn allow(&self, host: &str) -> bool {
        self.hosts.is_empty() || self.hosts.iter().any(|allowed| allowed == host)
    }

    fn set(&mut self, key: &str, value: &Value) -> Result<(), BadWish> {
        let wrong = |wanted| BadWish::Value { key: format!("x-hlx.{key}"), wanted };
        let time = || {
            let time = value.as_str().and_then(duration).ok_or(wrong("a duration like `1m30s`"))?;
            // The stack's lock is held for so long.
            if time > DAY { Err(wrong("a day at most")) } else { Ok(time) }
        };
        match key {
            "timeout" => self.timeout = time()?,
            "stable" => self.stable = time()?,
            // Compose prints an empty list as nothing.
            "hosts" | "after" | "probes" if value.is_null() => {}
            "hosts" => self.hosts = texts(value).ok_or(wrong("a list of host names"))?,
            "after" => self.after = services(value).ok_or(wrong("a list of services"))?,
            "rollback" => self.rollback = rollback(value).ok_or(wrong("`auto` or `manual`"))?,
            "setup" => self.setup = setup(value).ok_or(wrong("`changed`, `always` or `never`"))?,
            "probes" => self.probes = probes(value)?,
            "engine" => {
                let engine = value.as_str().and_then(Engine::named);
                self.engine = engine.ok_or(wrong("`compose` or `swarm`"))?;
            }
            _ => return Err(BadWish::Unknown { key: key.to_owned(), nearest: nearest(key, &KEYS) }),
        }
        Ok(())
    }
}

/// A list of texts.
pub(super) fn texts(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|text| text.as_str().map(str::to_owned)).collect()
}

fn services(value: &Value) -> Option<Vec<Service>> {
    texts(value)?.iter().map(|name| name.parse().ok()).collect()
}

fn rollback(value: &Value) -> Option<Rollback> {
    match value.as_str()? {
        "auto" => Some(Rollback::Auto),
        "manual" => Some(Rollback::Manual),
        _ => None,
    }
}

fn setup(value: &Value) -> Option<Setup> {
    match value.as_str()? {
        "changed" => Some(Setup::Changed),
        "always" => Some(Setup::Always),
        "never" => Some(Setup::Never),
        _ => None,
    }
}

fn probes(value: &Value) -> Result<Vec<Probe>, BadWish> {
    let wrong = || BadWish::Value { key: "x-hlx.probes".into(), wanted: "a list of probes" };
    value.as_array().ok_or_else(wrong)?.iter().map(Probe::parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Wishes, String> {
        wishes(&serde_json::from_str(text).unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn every_key_is_obeyed() {
        let all = read(
            r#"{"timeout":"1m","stable":"2s","hosts":["nas"],"after":["traefik"],"rollback":"manual",
                "setup":"never","engine":"swarm","probes":[{"tcp":"127.0.0.1:80"}]}"#,
        )
        .unwrap();
        assert_eq!((all.timeout.as_secs(), all.stable.as_secs()), (60, 2));
        assert_eq!((all.hosts, all.after), (vec!["nas".to_owned()], vec!["traefik".parse().unwrap()]));
        assert_eq!((all.rollback, all.setup, all.probes.len()), (Rollback::Manual, Setup::Never, 1));
        assert_eq!((all.engine, Wishes::default().engine), (Engine::Swarm, Engine::Compose));
        for nothing in ["null", "{}", r#"{"hosts":null,"after":null,"probes":null}"#] {
            assert_eq!(read(nothing), Ok(Wishes::default()), "{nothing}");
        }
    }

    #[test]
    fn what_cannot_be_obeyed_is_refused() {
        let table = [
            (r#"{"timeout":60}"#, "`x-hlx.timeout` must be a duration like `1m30s`"),
            (r#"{"stable":"25h"}"#, "`x-hlx.stable` must be a day at most"),
            (r#"{"rollback":"never"}"#, "`x-hlx.rollback` must be `auto` or `manual`"),
            (r#"{"rollback":false}"#, "`x-hlx.rollback` must be `auto` or `manual`"),
            (r#"{"setup":"allways"}"#, "`x-hlx.setup` must be `changed`, `always` or `never`"),
            (r#"{"after":["a b"]}"#, "`x-hlx.after` must be a list of services"),
            (r#"{"after":"a"}"#, "`x-hlx.after` must be a list of services"),
            (r#"{"engine":"podman"}"#, "`x-hlx.engine` must be `compose` or `swarm`"),
            (r#"{"probes":{}}"#, "`x-hlx.probes` must be a list of probes"),
            (r#"{"timout":"1m"}"#, "there is no setting `x-hlx.timout`"),
            ("[]", "`x-hlx` must be a mapping"),
        ];
        for (text, message) in table {
            assert_eq!(read(text), Err(message.to_owned()), "{text}");
        }
        let typo = wishes(&serde_json::json!({"rolback": "auto"}));
        assert_eq!(typo, Err(BadWish::Unknown { key: "rolback".into(), nearest: Some("rollback") }));
    }
}
