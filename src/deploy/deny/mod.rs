//! What root does not let a commit ask for, however its compose file spells it.
//!
//! A push is root on the servers that deploy it, unless something says otherwise: `deny` in the
//! server's configuration does. It is judged on the model that compose made of the files, and on
//! what this host has under the names in it, never on the text alone. What the judge does not
//! know is refused, so that a newer Compose opens no way around it.

mod build;
mod files;
mod host;
mod model;
mod paths;

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use serde_yaml::Value;

use super::docker::Docker;
use super::error::Error;
use super::resident::Ground;
use super::service::nearest;

use host::{Host, Network};

/// Something that a commit can be kept from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Power {
    /// Running `setup.sh`, as root on the host.
    Setup,
    /// A container that is not held by what holds containers.
    Privileged,
    /// Talking to a container engine.
    DockerSocket,
    /// The host's network, or a place in the host's own.
    HostNetwork,
    /// Files and directories of the host.
    HostMounts,
    /// Volumes, secrets and configs that are not the stack's own.
    External,
}

impl Power {
    const ALL: [Self; 6] = [
        Self::Setup,
        Self::Privileged,
        Self::DockerSocket,
        Self::HostNetwork,
        Self::HostMounts,
        Self::External,
    ];

    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Setup => "setup",
            Self::Privileged => "privileged",
            Self::DockerSocket => "docker-socket",
            Self::HostNetwork => "host-network",
            Self::HostMounts => "host-mounts",
            Self::External => "external",
        }
    }
}

/// What is denied. Empty by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deny {
    powers: BTreeSet<Power>,
    /// Paths of the host that may be mounted all the same.
    except: Vec<PathBuf>,
    /// Names of what is not the stack's own and may be used all the same.
    shared: BTreeSet<String>,
}

/// Why a `deny` cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Bad {
    /// It names something that is no power.
    #[error("`deny` has no `{name}`")]
    Unknown {
        /// What it names.
        name: String,
        /// What may have been meant.
        nearest: Option<&'static str>,
    },
    /// What is behind a power is no exception.
    #[error("`{power}` in `deny` has no `{key}`")]
    Key {
        /// The power.
        power: &'static str,
        /// What stands there.
        key: String,
        /// What may have been meant.
        nearest: Option<&'static str>,
    },
    /// It is of another form.
    #[error("`deny` must be a list like `[privileged, {{host-mounts: {{except: [/mnt/media]}}}}]`")]
    Form,
}

impl Deny {
    /// Reads the value of `deny`.
    pub fn parse(value: &Value) -> Result<Self, Bad> {
        let Value::Sequence(items) = value else { return Err(Bad::Form) };
        let mut deny = Self::default();
        for item in items {
            deny.add(item)?;
        }
        Ok(deny)
    }

    fn add(&mut self, item: &Value) -> Result<(), Bad> {
        let (name, rest) = match item {
            Value::String(name) => (name.as_str(), None),
            Value::Mapping(mapping) if mapping.len() == 1 => {
                let (name, rest) = mapping.iter().next().ok_or(Bad::Form)?;
                (name.as_str().ok_or(Bad::Form)?, Some(rest))
            }
            _ => return Err(Bad::Form),
        };
        let power = Power::ALL.into_iter().find(|power| power.name() == name).ok_or_else(|| unknown(name))?;
        match (power, rest) {
            (_, None) => {}
            (Power::HostMounts, Some(rest)) => self.except = exceptions(power, rest, &path)?,
            (Power::External, Some(rest)) => {
                let name = |name: &str| Some(name.to_owned()).filter(|name| !name.is_empty());
                self.shared = exceptions(power, rest, &name)?.into_iter().collect();
            }
            (_, Some(_)) => return Err(Bad::Form),
        }
        self.powers.insert(power);
        Ok(())
    }

    /// True if nothing is denied.
    pub fn is_empty(&self) -> bool {
        self.powers.is_empty()
    }

    /// True if this is denied.
    pub fn has(&self, power: Power) -> bool {
        self.powers.contains(&power)
    }
}

fn unknown(name: &str) -> Bad {
    Bad::Unknown { name: name.to_owned(), nearest: nearest(name, &Power::ALL.map(Power::name)) }
}

fn path(text: &str) -> Option<PathBuf> {
    Some(PathBuf::from(text)).filter(|path| path.is_absolute())
}

/// `{except: [ONE, …]}`.
fn exceptions<T>(power: Power, value: &Value, read: &dyn Fn(&str) -> Option<T>) -> Result<Vec<T>, Bad> {
    const EXCEPT: &str = "except";
    let Value::Mapping(mapping) = value else { return Err(Bad::Form) };
    if let Some(key) = mapping.keys().filter_map(Value::as_str).find(|key| *key != EXCEPT) {
        let (power, nearest) = (power.name(), nearest(key, &[EXCEPT]));
        return Err(Bad::Key { power, key: key.to_owned(), nearest });
    }
    let Some(Value::Sequence(all)) = mapping.get(EXCEPT) else { return Err(Bad::Form) };
    all.iter().map(|one| one.as_str().and_then(read).ok_or(Bad::Form)).collect()
}

/// Something that is denied and that the commit asks for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Offence {
    /// What is denied.
    pub power: Power,
    /// Who asks: a service, a volume, a file.
    pub who: String,
    /// For what.
    pub what: String,
}

impl fmt::Display for Offence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.who, self.what, self.power.name())
    }
}

/// Refuses a commit whose compose `files` read what is denied, before compose reads it.
pub(super) fn check_files(deny: &Deny, ground: Ground<'_>, files: &[PathBuf]) -> Result<(), Error> {
    let mut found = files::outside(files, ground, deny);
    if deny.has(Power::Setup) && ground.tree.contains_key(Path::new("setup.sh")) {
        let what = "runs as root on this host".to_owned();
        found.push(Offence { power: Power::Setup, who: "setup.sh".to_owned(), what });
    }
    refuse(&found, ground)
}

/// Refuses a commit that asks for what is denied. `json` is the model that compose made of it, and what
/// Docker has for the project `own` is the stack's own.
pub(super) fn check(
    deny: &Deny,
    ground: Ground<'_>,
    json: &[u8],
    own: Option<&str>,
    docker: &Docker,
) -> Result<(), Error> {
    if deny.is_empty() {
        return Ok(());
    }
    let model = serde_json::from_slice(json).map_err(Error::Unreadable)?;
    let host = Host { own: own.map(str::to_owned), ..Host::ask(docker, ground.project, &model)? };
    refuse(&model::judge(&model, deny, &host), ground)
}

/// Refuses, where what is not the stack's own is denied, volumes that nodes of a Swarm may have under a
/// name that says nothing of whose they are. Only this node's are seen from here.
pub(super) fn check_nodes(deny: &Deny, ground: Ground<'_>, model: &serde_json::Value) -> Result<(), Error> {
    refuse(&on_nodes(deny, model), ground)
}

fn on_nodes(deny: &Deny, model: &serde_json::Value) -> Vec<Offence> {
    let mut offences = Offences::new(deny);
    let project = model["name"].as_str().unwrap_or_default();
    for (key, volume) in model::entries(&model["volumes"]) {
        let name = volume["name"].as_str().unwrap_or(key);
        if name != format!("{project}_{key}") {
            let what = format!("is named `{name}`, and other nodes are not seen from here");
            offences.foreign(&format!("volume `{key}`"), name, what);
        }
    }
    offences.found.into_iter().collect()
}

/// Refuses, where files of the host are denied, what is mounted from hosts that are not seen from here.
pub(super) fn check_unseen(deny: &Deny, ground: Ground<'_>, model: &serde_json::Value) -> Result<(), Error> {
    let mut offences = Offences::new(deny);
    for (name, service) in model::entries(&model["services"]) {
        for mount in model::items(&service["volumes"]).filter(|mount| mount["type"] == "bind") {
            let source = mount["source"].as_str().unwrap_or_default();
            let what = format!("mounts {source} of another host, whose links are not seen from here");
            offences.add(Power::HostMounts, &format!("service `{name}`"), what);
        }
    }
    for (name, volume) in model::entries(&model["volumes"]) {
        let option = |key: &str| volume["driver_opts"][key].as_str().map(str::to_owned);
        let what = match host::bound(&option) {
            Some(device) => {
                format!("binds {} of another host, whose links are not seen from here", device.display())
            }
            None if volume["external"] == serde_json::Value::Bool(true) => {
                "is another host's, and what it binds is not seen from here".to_owned()
            }
            None => continue,
        };
        offences.add(Power::HostMounts, &format!("volume `{name}`"), what);
    }
    refuse(&offences.found.into_iter().collect::<Vec<_>>(), ground)
}

fn refuse(found: &[Offence], ground: Ground<'_>) -> Result<(), Error> {
    if found.is_empty() {
        return Ok(());
    }
    // Compose has filled variables in, and those may be secrets.
    let masker = &ground.unsealed.masker;
    Err(Error::Denied(found.iter().map(|offence| masker.text(offence.to_string().as_bytes())).collect()))
}

/// Offences as they are found, those that are denied.
struct Offences<'d> {
    deny: &'d Deny,
    found: BTreeSet<Offence>,
}

impl<'d> Offences<'d> {
    fn new(deny: &'d Deny) -> Self {
        Self { deny, found: BTreeSet::new() }
    }

    fn add(&mut self, power: Power, who: &str, what: impl Into<String>) {
        if self.deny.has(power) {
            self.found.insert(Offence { power, who: who.to_owned(), what: what.into() });
        }
    }

    /// Something of a name, that is not the stack's own.
    fn foreign(&mut self, who: &str, name: &str, what: impl Into<String>) {
        if !self.deny.shared.contains(name) {
            self.add(Power::External, who, what);
        }
    }

    /// A key of a newer Compose: it may give any power.
    fn unknown(&mut self, who: &str, key: &str) {
        let what = format!("`{key}`, which this version of hlx does not take for harmless");
        let powers = std::iter::once(Power::Privileged).chain(Power::ALL);
        if let Some(power) = powers.into_iter().find(|power| self.deny.has(*power)) {
            self.add(power, who, what);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Deny, String> {
        Deny::parse(&serde_yaml::from_str(text).unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn on_nodes_that_are_not_seen_a_name_says_whose_a_volume_is() {
        let model = serde_json::json!({"name": "p", "volumes": {
            "a": {"name": "p_a"}, "b": {"name": "q_b"}, "c": {"name": "shared", "external": true}}});
        let found =
            |text: &str| on_nodes(&Deny::parse(&serde_yaml::from_str(text).unwrap()).unwrap(), &model);
        let who = |text: &str| found(text).into_iter().map(|offence| offence.who).collect::<Vec<_>>();
        assert_eq!(who("[external]"), ["volume `b`", "volume `c`"]);
        assert_eq!(who("[{external: {except: [shared]}}]"), ["volume `b`"]);
        assert_eq!(who("[host-mounts]"), [""; 0]);
    }

    #[test]
    fn every_power_can_be_denied_and_nothing_else() {
        let all = parse(
            "[setup, privileged, docker-socket, host-network, {host-mounts: {except: [/mnt/media]}}, \
             {external: {except: [media]}}]",
        );
        let all = all.unwrap();
        assert!(Power::ALL.into_iter().all(|power| all.has(power)));
        assert_eq!(all.except, [PathBuf::from("/mnt/media")]);
        assert!(all.shared.contains("media") && parse("[external]").unwrap().shared.is_empty());
        assert!(parse("[]").unwrap().is_empty() && parse("[host-mounts]").unwrap().except.is_empty());
        assert_eq!(
            unknown("priviledged"),
            Bad::Unknown { name: "priviledged".into(), nearest: Some("privileged") }
        );
        let form = parse("privileged").unwrap_err();
        for bad in [
            "{privileged: true}",
            "[1]",
            "[{privileged: {except: [/a]}}]",
            "[{host-mounts: [/a]}]",
            "[{host-mounts: {except: [a]}}]",
            "[{host-mounts: {}}]",
            "[{external: {except: ['']}}]",
            "[{external: [media]}]",
        ] {
            assert_eq!(parse(bad), Err(form.clone()), "{bad}");
        }
        for (bad, power, key, nearest) in [
            ("[{host-mounts: {exept: [/a]}}]", "host-mounts", "exept", Some("except")),
            ("[{host-mounts: {except: [/a], more: 1}}]", "host-mounts", "more", None),
            ("[{external: {execpt: [a]}}]", "external", "execpt", Some("except")),
        ] {
            let said = Deny::parse(&serde_yaml::from_str(bad).unwrap()).unwrap_err();
            assert_eq!(said, Bad::Key { power, key: key.to_owned(), nearest }, "{bad}");
        }
    }
}
