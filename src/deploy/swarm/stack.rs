//! A model of Compose as the file that `docker stack deploy` takes.
//!
//! That program has a format of its own, older than Compose's: it refuses keys that it does not
//! know, and passes over others that it does know without obeying them. Both are refused here,
//! by name, before anything is touched; what only matters to Compose is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::objects::Object;
use crate::deploy::resident::keyed_hash;
use crate::deploy::tree::flat;
use crate::deploy::wishes::Rollback;
use crate::secret::SecretBytes;

/// The label on a service with a keyed hash of all that it is made of.
pub(in crate::deploy) const HASH: &str = "hlx.config";

/// Keys of a service that Swarm obeys.
const OBEYED: &str = "cap_add cap_drop command configs credential_spec deploy dns dns_search entrypoint environment \
    extra_hosts healthcheck hostname image init isolation labels logging networks ports read_only secrets stdin_open \
    stop_grace_period stop_signal sysctls tmpfs tty ulimits user volumes working_dir";

/// Keys that are obeyed here or by Compose, or that ask for nothing.
const SPENT: &str = "attach build container_name cpus depends_on develop env_file expose extends label_file \
    mem_limit mem_reservation network_mode pids_limit profiles pull_policy pull_refresh_after restart scale";

/// Drivers whose networks span a Swarm.
const SPANNING: [&str; 2] = ["", "overlay"];

pub(super) fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

pub(super) fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Everything in a model that a Swarm does not do.
pub(in crate::deploy) fn refusals(model: &Value) -> Vec<String> {
    let mut refused = Vec::new();
    for (name, service) in entries(&model["services"]) {
        let keys = entries(service).filter(|(key, value)| is_asked(key, value));
        for (key, _) in keys {
            refused.push(format!("service `{name}`: Swarm has no `{key}`"));
        }
        if service["network_mode"].as_str().is_some_and(|mode| mode != "bridge" && mode != "default") {
            refused.push(format!(
                "service `{name}`: Swarm has no `network_mode`, but networks that are `external`"
            ));
        }
        for port in items(&service["ports"]) {
            refused.extend(bad_port(port).map(|why| format!("service `{name}`: {why}")));
        }
    }
    for (name, network) in entries(&model["networks"]) {
        let driver = network["driver"].as_str().unwrap_or_default();
        if network["external"] != Value::Bool(true) && !SPANNING.contains(&driver) {
            refused.push(format!(
                "network `{name}`: the driver `{driver}` does not span a Swarm, but `overlay` does"
            ));
        }
    }
    refused
}

fn is_asked(key: &str, value: &Value) -> bool {
    let is_known = [OBEYED, SPENT].iter().any(|keys| keys.split(' ').any(|known| known == key));
    let is_set = match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(keys) => !keys.is_empty(),
        Value::Bool(true) | Value::Number(_) => true,
    };
    !is_known && !key.starts_with("x-") && is_set
}

fn bad_port(port: &Value) -> Option<String> {
    let target = &port["target"];
    if let Some(address) = port["host_ip"].as_str().filter(|address| !address.is_empty()) {
        return Some(format!(
            "port {target} is published on {address} only, and Swarm publishes on every address"
        ));
    }
    match &port["published"] {
        Value::String(text) if !text.is_empty() && text.parse::<u16>().is_err() => {
            Some(format!("port {target} may be any of {text}, and Swarm takes one"))
        }
        _ => None,
    }
}

/// Paths below `project` that services mount, and that Docker makes for Compose where they are missing.
pub(in crate::deploy) fn made_by_docker(model: &Value, project: &Path) -> Vec<PathBuf> {
    let mounts = entries(&model["services"]).flat_map(|(_, service)| items(&service["volumes"]));
    let made = mounts.filter(|mount| mount["bind"]["create_host_path"] == Value::Bool(true));
    let sources = made.filter_map(|mount| Some(flat(Path::new(mount["source"].as_str()?))));
    sources.filter_map(|source| Some(source.strip_prefix(project).ok()?.to_owned())).collect()
}

/// What a stack file is made with, besides the model.
pub(in crate::deploy) struct Dress<'d> {
    /// The image of each service, as it is to be run.
    pub(in crate::deploy) images: &'d BTreeMap<String, String>,
    /// The secrets and configs.
    pub(in crate::deploy) objects: &'d [Object],
    /// What keeps hashes from being searched for what they stand for.
    pub(in crate::deploy) key: &'d SecretBytes,
    /// How long a task must run.
    pub(in crate::deploy) stable: Duration,
    /// Whether Swarm takes a bad update back.
    pub(in crate::deploy) rollback: Rollback,
}

/// A file for `docker stack deploy`.
#[derive(Debug)]
pub(in crate::deploy) struct Stack {
    /// The file. It holds every secret of the environment.
    pub(in crate::deploy) file: Value,
    /// The hash of each service.
    pub(in crate::deploy) hashes: BTreeMap<String, String>,
}

impl Stack {
    /// The stack of a model that [`refusals`] has nothing against.
    pub(in crate::deploy) fn new(model: &Value, dress: &Dress<'_>) -> Self {
        let kinds =
            ["secret", "config"].map(|kind| external(&model[format!("{kind}s")], kind, dress.objects));
        let [secrets, configs] = kinds;
        let mut file = json!({
            "networks": model["networks"], "volumes": model["volumes"],
            "secrets": secrets, "configs": configs,
        });
        let mut hashes = BTreeMap::new();
        let mut services = Map::new();
        for (name, service) in entries(&model["services"]) {
            let mut made = service_of(service, dress.images.get(name));
            let hash = hash(name, &made, &file, dress.key);
            finish(&mut made, &hash, dress);
            hashes.insert(name.clone(), hash);
            services.insert(name.clone(), made);
        }
        file["services"] = Value::Object(services);
        file.as_object_mut().expect("it was made as one").retain(|_, value| !value.is_null());
        Self { file, hashes }
    }

    /// The file as text, of this version of the format. JSON is YAML, but for letters that YAML's
    /// readers take for something else or do not take at all.
    pub(in crate::deploy) fn text(&self, version: Option<&str>) -> SecretBytes {
        let mut file = self.file.clone();
        if let Some(version) = version {
            file["version"] = json!(version);
        }
        let mut text = String::new();
        for letter in file.to_string().chars() {
            match letter as u32 {
                0x20..0x7f => text.push(letter),
                code @ 0..=0xffff => text += &format!("\\u{code:04x}"),
                code => text += &format!("\\U{code:08x}"),
            }
        }
        SecretBytes::new(text.into_bytes())
    }
}

/// All of a kind as objects that are there already. Those of the model that are not granted are left out.
fn external(model: &Value, kind: &str, objects: &[Object]) -> Value {
    let own = objects.iter().filter(|object| object.kind.as_str() == kind);
    let own = own.map(|object| (object.key.clone(), json!({"external": true, "name": object.name})));
    let others = entries(model).filter(|(_, source)| source["external"] == Value::Bool(true));
    let others = others.map(|(key, source)| {
        (key.clone(), json!({"external": true, "name": source["name"].as_str().unwrap_or(key)}))
    });
    own.chain(others).collect::<Map<_, _>>().into()
}

/// Everything that a service is made of, and no value that is not behind the key.
fn hash(name: &str, service: &Value, file: &Value, key: &SecretBytes) -> String {
    let uses = |kind: &str| -> Vec<Value> {
        let sources: BTreeSet<&str> =
            items(&service[kind]).filter_map(|grant| grant["source"].as_str()).collect();
        sources.into_iter().map(|source| file[kind][source]["name"].clone()).collect()
    };
    let all = json!([name, service, uses("secrets"), uses("configs"), file["networks"], file["volumes"]]);
    keyed_hash(key, &[b"service", all.to_string().as_bytes()])
}

/// A service with the keys that Swarm obeys, spelled as its parser has them.
fn service_of(service: &Value, image: Option<&String>) -> Value {
    let is_obeyed = |key: &String| key.starts_with("x-") || OBEYED.split(' ').any(|obeyed| obeyed == key);
    let kept = entries(service).filter(|(key, value)| is_obeyed(key) && !value.is_null());
    let mut made: Map<String, Value> = kept.map(|(key, value)| (key.clone(), value.clone())).collect();
    if let Some(image) = image {
        made.insert("image".into(), json!(image));
    }
    made.insert("deploy".into(), deploy(service));
    let each = |made: &mut Map<String, Value>, key: &str, change: fn(&mut Value)| {
        made.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten().for_each(change);
    };
    each(&mut made, "ports", port);
    each(&mut made, "volumes", mount);
    each(&mut made, "secrets", grant);
    each(&mut made, "configs", grant);
    each(&mut made, "extra_hosts", extra_host);
    if let Some(environment) = made.get_mut("environment").and_then(Value::as_object_mut) {
        // Compose leaves out what has no value; the other would ask its own environment.
        environment.retain(|_, value| !value.is_null());
    }
    if let Some(networks) = made.get_mut("networks").and_then(Value::as_object_mut) {
        networks.values_mut().filter_map(Value::as_object_mut).for_each(|network| {
            network.retain(|key, _| matches!(key.as_str(), "aliases" | "ipv4_address" | "ipv6_address"));
        });
    }
    Value::Object(made)
}

fn port(port: &mut Value) {
    let published = match &port["published"] {
        Value::String(text) => text.parse::<u16>().ok(),
        other => other.as_u64().and_then(|number| number.try_into().ok()),
    };
    let Some(port) = port.as_object_mut() else { return };
    port.retain(|key, _| matches!(key.as_str(), "mode" | "target" | "protocol"));
    if let Some(published) = published {
        port.insert("published".into(), json!(published));
    }
}

fn mount(mount: &mut Value) {
    for (part, key) in [("bind", "create_host_path"), ("bind", "selinux")] {
        if let Some(part) = mount[part].as_object_mut() {
            part.remove(key);
        }
    }
    if let Some(size) = mount["tmpfs"]["size"].as_str().and_then(|size| size.parse::<u64>().ok()) {
        mount["tmpfs"]["size"] = json!(size);
    }
    if let Some(mount) = mount.as_object_mut() {
        // Looking for a part made an empty one.
        mount.retain(|_, value| !value.is_null());
    }
}

/// Newer versions of Compose write a mode as octal text.
fn grant(grant: &mut Value) {
    if let Some(mode) = grant["mode"].as_str().and_then(|mode| u32::from_str_radix(mode, 8).ok()) {
        grant["mode"] = json!(mode);
    }
    if let Some(grant) = grant.as_object_mut() {
        grant.retain(|_, value| !value.is_null());
    }
}

/// Compose writes `name=address`.
fn extra_host(host: &mut Value) {
    let colon = host.as_str().and_then(|text| text.split_once('=')).map(|(name, at)| format!("{name}:{at}"));
    if let Some(colon) = colon {
        *host = json!(colon);
    }
}

/// The part that only Swarm reads, with what the service says elsewhere for Compose alone.
fn deploy(service: &Value) -> Value {
    let mut deploy = match &service["deploy"] {
        Value::Object(keys) => Value::Object(keys.clone()),
        _ => json!({}),
    };
    let mut say = |path: &str, value: Value| {
        let (parents, last) =
            path.rsplit_once('.').map_or((None, path), |(parents, last)| (Some(parents), last));
        let place =
            parents.into_iter().flat_map(|parents| parents.split('.')).fold(&mut deploy, |at, key| {
                if !at[key].is_object() {
                    at[key] = json!({});
                }
                &mut at[key]
            });
        if place[last].is_null() {
            place[last] = value;
        }
    };
    for (key, path) in [
        ("scale", "replicas"),
        ("cpus", "resources.limits.cpus"),
        ("mem_limit", "resources.limits.memory"),
        ("pids_limit", "resources.limits.pids"),
        ("mem_reservation", "resources.reservations.memory"),
    ] {
        if !service[key].is_null() {
            say(path, service[key].clone());
        }
    }
    if let Some(policy) = service["restart"].as_str().and_then(restart_policy) {
        say("restart_policy", policy);
    }
    for part in ["limits", "reservations"] {
        if deploy["resources"][part]["cpus"].is_number() {
            deploy["resources"][part]["cpus"] = json!(deploy["resources"][part]["cpus"].to_string());
        }
    }
    prune(&mut deploy);
    deploy
}

/// Takes away what is null, as far as mappings go.
fn prune(value: &mut Value) {
    if let Some(keys) = value.as_object_mut() {
        keys.values_mut().for_each(prune);
        keys.retain(|_, value| !value.is_null());
    }
}

/// What `restart:` means as a policy of Swarm.
fn restart_policy(restart: &str) -> Option<Value> {
    match restart.split_once(':').unwrap_or((restart, "")) {
        ("no", _) => Some(json!({"condition": "none"})),
        ("always" | "unless-stopped", _) => Some(json!({"condition": "any"})),
        ("on-failure", attempts) => {
            let mut policy = json!({"condition": "on-failure"});
            if let Ok(attempts) = attempts.parse::<u64>() {
                policy["max_attempts"] = json!(attempts);
            }
            Some(policy)
        }
        _ => None,
    }
}

/// Adds what is not the service itself: its hash, and how it is updated where the file says nothing.
fn finish(service: &mut Value, hash: &str, dress: &Dress<'_>) {
    let deploy = &mut service["deploy"];
    if !deploy["labels"].is_object() {
        deploy["labels"] = json!({});
    }
    deploy["labels"][HASH] = json!(hash);
    if deploy["mode"].as_str().is_some_and(|mode| mode.ends_with("-job")) {
        return;
    }
    for way in ["update_config", "rollback_config"] {
        if !deploy[way].is_object() {
            deploy[way] = json!({});
        }
        if deploy[way]["monitor"].is_null() {
            deploy[way]["monitor"] = json!(format!("{}ms", dress.stable.as_millis().max(1)));
        }
    }
    let update = &mut deploy["update_config"];
    if update["failure_action"].is_null() {
        update["failure_action"] = json!(match dress.rollback {
            Rollback::Auto => "rollback",
            Rollback::Manual => "pause",
        });
    }
}

#[cfg(test)]
mod tests;
