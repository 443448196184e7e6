//! The judge of a model: what its services, volumes and networks ask for.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::host::{Volume, bound};
use super::paths::really;
use super::{Deny, Host, Network, Offence, Offences, Power};
use crate::deploy::tree::flat;

/// Keys of a model that give no power, or whose content is judged.
const TOP: &str = "name version services networks volumes secrets configs";

/// Keys of a service that give no power, or whose power is judged below.
const KEYS: &str = "attach blkio_config build cap_add cap_drop cgroup command configs container_name cpu_count \
    cpu_percent cpu_period cpu_quota cpu_rt_period cpu_rt_runtime cpu_shares cpus cpuset depends_on \
    deploy develop dns dns_opt dns_search domainname entrypoint env_file environment expose \
    extends external_links extra_hosts group_add healthcheck hostname image init ipc \
    label_file labels links logging mac_address mem_limit mem_reservation mem_swappiness \
    memswap_limit network_mode networks oom_kill_disable oom_score_adj pid pids_limit platform \
    ports post_start pre_stop profiles provider pull_policy pull_refresh_after read_only restart \
    scale secrets security_opt shm_size stdin_open stop_grace_period stop_signal storage_opt \
    sysctls tmpfs tty ulimits use_api_socket user userns_mode uts volumes volumes_from";

/// Keys of a service that take down the walls around it, or that leave them to something else.
const HELD: &str = "annotations cgroup_parent credential_spec device_cgroup_rules devices gpus isolation models \
    privileged provider runtime";

/// What writes logs without going out for it. Others connect to wherever they are told, from the
/// host's network and as root, or read files of the host.
const LOGS: [&str; 5] = ["", "json-file", "local", "journald", "none"];

/// Capabilities that Docker gives by itself, and those that stay within a container.
const CAPABILITIES: &str = "AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID IPC_LOCK KILL LEASE MKNOD NET_ADMIN \
    NET_BIND_SERVICE NET_BROADCAST NET_RAW SETFCAP SETGID SETPCAP SETUID SYS_CHROOT SYS_NICE \
    WAKE_ALARM";

/// File systems that a volume may bring from elsewhere.
const FAR: [&str; 5] = ["tmpfs", "nfs", "nfs4", "cifs", "smb3"];

/// Everything in the model that is denied.
pub(super) fn judge(model: &Value, deny: &Deny, host: &Host) -> Vec<Offence> {
    let mut host = host.clone();
    host.writers.extend(own_writers(model));
    host.writers = host.writers.iter().filter_map(|writer| really(writer)).collect();
    let mut offences = Offences::new(deny);
    for (key, value) in entries(model) {
        let is_known = TOP.split(' ').any(|known| known == key) || key.starts_with("x-");
        if !is_known && is_set(value) {
            offences.unknown("the compose file", key);
        }
    }
    for (name, service) in entries(&model["services"]) {
        let who = format!("service `{name}`");
        isolation(&mut offences, &who, service);
        network_mode(&mut offences, &who, &service["network_mode"], &host);
        logging(&mut offences, &who, &service["logging"]["driver"]);
        mounts(&mut offences, &who, service, &host);
        offences.build(&who, &service["build"], &host);
    }
    for (name, volume) in entries(&model["volumes"]) {
        self::volume(&mut offences, &format!("volume `{name}`"), name, volume, &host);
    }
    for (name, network) in entries(&model["networks"]) {
        self::network(&mut offences, &format!("network `{name}`"), name, network, &host);
    }
    for kind in ["secret", "config"] {
        for (name, source) in entries(&model[format!("{kind}s")]) {
            let who = format!("{kind} `{name}`");
            if let Some(file) = source["file"].as_str() {
                offences.path(&who, "reads", Path::new(file), &host);
            }
            if is_external(source) {
                let name = source["name"].as_str().unwrap_or(name);
                offences.foreign(&who, name, format!("is `{name}`, which the stack does not make"));
            }
        }
    }
    offences.found.into_iter().collect()
}

pub(super) fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

pub(super) fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// False for what is not there, empty or false.
pub(super) fn is_set(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(keys) => !keys.is_empty(),
        Value::Bool(true) | Value::Number(_) => true,
    }
}

/// True for what is to be there already. Old files have a mapping there, with the name.
fn is_external(resource: &Value) -> bool {
    is_set(&resource["external"]) || resource["external"].is_object()
}

/// Directories that the model's own containers can write to, through a volume too.
fn own_writers(model: &Value) -> Vec<PathBuf> {
    let mounts = entries(&model["services"]).flat_map(|(_, service)| items(&service["volumes"]));
    let writes = |mount: &&Value| mount["type"] == "bind" && mount["read_only"] != Value::Bool(true);
    let binds = mounts.filter(writes).filter_map(|mount| Some(flat(mount["source"].as_str()?.as_ref())));
    let volumes = entries(&model["volumes"]).filter_map(|(_, volume)| bound(&|key| option(volume, key)));
    binds.chain(volumes).collect()
}

/// One of the options that a volume is made with.
fn option(volume: &Value, key: &str) -> Option<String> {
    volume["driver_opts"][key].as_str().map(str::to_owned)
}

/// What takes down the walls around a container.
fn isolation(offences: &mut Offences<'_>, who: &str, service: &Value) {
    for (key, value) in entries(service) {
        let is_known = [KEYS, HELD].iter().any(|keys| keys.split(' ').any(|known| known == key));
        if !is_known && !key.starts_with("x-") && is_set(value) {
            offences.unknown(who, key);
        }
    }
    let mut add = |what: String| offences.add(Power::Privileged, who, what);
    for key in HELD.split(' ').filter(|key| is_set(&service[*key])) {
        add(format!("`{key}`"));
    }
    for key in ["pid", "ipc", "uts", "userns_mode", "cgroup"] {
        let own = |mode: &str| {
            matches!(mode, "" | "private" | "shareable" | "none") || mode.starts_with("service:")
        };
        if service[key].as_str().is_some_and(|mode| !own(mode)) {
            add(format!("`{key}` of another than its own"));
        }
    }
    for capability in items(&service["cap_add"]).map(|item| item.as_str().unwrap_or("?")) {
        let name = capability.to_ascii_uppercase();
        let name = name.strip_prefix("CAP_").unwrap_or(&name);
        if !CAPABILITIES.split(' ').any(|harmless| harmless == name) {
            add(format!("`cap_add: {capability}`"));
        }
    }
    for option in items(&service["security_opt"]).map(|item| item.as_str().unwrap_or("?")) {
        let name = option.replace('=', ":");
        if !matches!(
            name.as_str(),
            "no-new-privileges" | "no-new-privileges:true" | "apparmor:docker-default"
        ) {
            add(format!("`security_opt: {option}`"));
        }
    }
    if is_set(&service["deploy"]["resources"]["reservations"]["devices"]) {
        add("devices among `deploy.resources`".to_owned());
    }
    for key in ["post_start", "pre_stop"] {
        if items(&service[key]).any(|hook| is_set(&hook["privileged"])) {
            add(format!("a privileged `{key}`"));
        }
    }
    if is_set(&service["provider"]) {
        // A program of the host, or a file of the commit, that compose runs as root.
        offences.add(Power::Setup, who, "`provider`");
    }
    if is_set(&service["use_api_socket"]) {
        offences.add(Power::DockerSocket, who, "`use_api_socket`");
    }
}

fn network_mode(offences: &mut Offences<'_>, who: &str, mode: &Value, host: &Host) {
    let Some(mode) = mode.as_str() else { return };
    if mode == "host" || mode.starts_with("container:") {
        offences.add(Power::HostNetwork, who, format!("`network_mode: {mode}`"));
    } else {
        offences.joined(who, mode, host);
    }
}

fn logging(offences: &mut Offences<'_>, who: &str, driver: &Value) {
    let Some(driver) = driver.as_str().filter(|driver| !LOGS.contains(driver)) else { return };
    for power in [Power::HostNetwork, Power::HostMounts, Power::DockerSocket] {
        offences.add(power, who, format!("`logging.driver: {driver}`"));
    }
}

impl Offences<'_> {
    /// A network of the host by its name or id.
    pub(super) fn joined(&mut self, who: &str, name: &str, host: &Host) {
        let is_it = |network: &&Network| network.name == name || network.id.starts_with(name);
        let Some(found) = host.networks.iter().find(is_it) else { return };
        let options = found.options.iter().flatten().map(|(key, _)| key.as_str());
        if let Some(why) = near(name, &found.driver, options) {
            self.add(Power::HostNetwork, who, format!("the network `{name}`, which is {why}"));
        }
    }
}

/// Why a network is as good as the host's own.
fn near<'o>(name: &str, driver: &str, mut options: impl Iterator<Item = &'o str>) -> Option<String> {
    match driver {
        _ if name == "host" => Some("the host's".to_owned()),
        "" | "bridge" | "null" | "none" | "overlay" => options
            .any(|option| option == "com.docker.network.bridge.name" && name != "bridge")
            .then(|| "laid on a bridge of the host".to_owned()),
        other => Some(format!("of the driver `{other}`")),
    }
}

fn network(offences: &mut Offences<'_>, who: &str, key: &str, network: &Value, host: &Host) {
    let name = network["name"].as_str().unwrap_or(key);
    let driver = network["driver"].as_str().unwrap_or_default();
    let options = entries(&network["driver_opts"]).map(|(key, _)| key.as_str());
    match near(name, driver, options) {
        Some(why) => offences.add(Power::HostNetwork, who, format!("it is {why}")),
        None => offences.joined(who, name, host),
    }
}

fn mounts(offences: &mut Offences<'_>, who: &str, service: &Value, host: &Host) {
    for mount in items(&service["volumes"]) {
        let source = mount["source"].as_str().unwrap_or_default();
        match mount["type"].as_str() {
            Some("bind") => offences.path(who, "mounts", Path::new(source), host),
            Some("volume" | "tmpfs" | "image") => {}
            _ => {
                for power in [Power::HostMounts, Power::External] {
                    offences.add(power, who, "a mount of a kind that hlx does not know");
                }
            }
        }
    }
    for other in items(&service["volumes_from"]).filter_map(Value::as_str) {
        if other.starts_with("container:") {
            for power in [Power::HostMounts, Power::External] {
                offences.add(power, who, format!("`volumes_from: {other}`"));
            }
        }
    }
}

/// What the file says of a volume, and what is there under its name: compose uses that as it is.
fn volume(offences: &mut Offences<'_>, who: &str, key: &str, volume: &Value, host: &Host) {
    let name = volume["name"].as_str().unwrap_or(key);
    let driver = volume["driver"].as_str().unwrap_or_default();
    stored(offences, who, driver, &|key| option(volume, key), host);
    let there: Vec<&Volume> = host.volumes.iter().filter(|there| there.name == name).collect();
    for there in &there {
        stored(offences, who, &there.driver, &|key| there.option(key), host);
        match there.project() {
            owner if owner.is_some() && owner == host.own.as_deref() => {}
            // Compose takes what has the name, with or without `external`.
            Some(owner) => offences.foreign(who, name, format!("is `{name}`, which `{owner}` has made")),
            None => offences.foreign(who, name, format!("is `{name}`, which the stack has not made")),
        }
    }
    if there.is_empty() && is_external(volume) {
        offences.foreign(who, name, format!("is `{name}`, which the stack does not make"));
    }
}

/// The options of the driver `local` are those of mount(2).
fn stored(
    offences: &mut Offences<'_>,
    who: &str,
    driver: &str,
    option: &dyn Fn(&str) -> Option<String>,
    host: &Host,
) {
    if !matches!(driver, "" | "local") {
        return offences.add(Power::HostMounts, who, format!("the volume driver `{driver}`"));
    }
    if let Some(device) = bound(option) {
        return offences.path(who, "binds", &device, host);
    }
    match option("device") {
        None => {}
        Some(_) if FAR.contains(&option("type").unwrap_or_default().as_str()) => {}
        Some(device) => {
            offences.add(Power::HostMounts, who, format!("it mounts {device}"));
            offences.add(Power::Privileged, who, format!("it mounts {device}"));
        }
    }
}

#[cfg(test)]
mod tests;
