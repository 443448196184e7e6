//! What a deploy would change: the model of a commit against the containers that are there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroizing;

use super::Opener;
use super::error::Error;
use super::tree::{Kind, Tree};
use crate::sops::is_sealed;

/// What would happen to a service's containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// There is none yet.
    Create,
    /// What is there is replaced.
    Recreate,
    /// What is there is replaced by a Swarm, in its own way.
    Update,
    /// What is there is started.
    Start,
    /// The service is gone.
    Remove,
}

/// One service that would change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServiceChange {
    /// The compose service.
    pub name: String,
    /// What would happen.
    pub action: Action,
    /// The image before, where there is another one now.
    pub image_before: Option<String>,
    /// The image.
    pub image: Option<String>,
    /// Its image is built, so that it may be another each time.
    pub builds: bool,
    /// Ports that it did not publish before.
    pub ports_added: Vec<String>,
    /// Ports that it no longer publishes.
    pub ports_removed: Vec<String>,
    /// What it did not mount before.
    pub volumes_added: Vec<String>,
    /// What it no longer mounts.
    pub volumes_removed: Vec<String>,
}

/// What would happen to a file of the project directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileChange {
    /// Its path.
    pub path: PathBuf,
    /// `added`, `changed` or `removed`.
    pub how: &'static str,
}

/// Everything that a deploy would change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Changes {
    /// The commit that would be deployed.
    pub commit: String,
    /// The one that is.
    pub deployed: Option<String>,
    /// Services, in the order of their names.
    pub services: Vec<ServiceChange>,
    /// Services that stay as they are but for their image, which is built from files that changed.
    pub rebuilt: Vec<String>,
    /// Names of sealed values that changed, came or went: `.env: DB_PASSWORD`. Never a value.
    pub secrets: Vec<String>,
    /// Files.
    pub files: Vec<FileChange>,
    /// `setup.sh` would run, as it is `new`, `changed`, or wanted `always`.
    pub setup: Option<&'static str>,
    /// Services whose container has done its work, and is started once more by each deploy. That is no
    /// change.
    pub reruns: Vec<String>,
    /// What a deploy would stop at, as things are now.
    pub obstacles: Vec<String>,
}

impl Changes {
    /// The same without secrets, which the model may have in any of its texts.
    #[must_use]
    pub(super) fn masked(mut self, mask: &dyn Fn(&str) -> String) -> Self {
        for service in &mut self.services {
            let ServiceChange { image_before, image, .. } = service;
            let images = image_before.iter_mut().chain(image);
            let lists = [
                &mut service.ports_added,
                &mut service.ports_removed,
                &mut service.volumes_added,
                &mut service.volumes_removed,
            ];
            images.chain(lists.into_iter().flatten()).for_each(|text| *text = mask(text));
        }
        self.obstacles.iter_mut().for_each(|text| *text = mask(text));
        self
    }

    /// True if a deploy would change nothing.
    pub fn is_empty(&self) -> bool {
        // What is rebuilt is so for its files.
        self.services.is_empty() && self.secrets.is_empty() && self.files.is_empty() && self.setup.is_none()
    }
}

/// A container, as far as it is compared.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Seen {
    state: Condition,
    config: Config,
    #[serde(default)]
    host_config: HostConfig,
    #[serde(default)]
    mounts: Vec<Mount>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Condition {
    status: String,
    #[serde(default)]
    exit_code: i64,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    #[serde(default)]
    image: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HostConfig {
    port_bindings: Option<BTreeMap<String, Option<Vec<Binding>>>>,
    #[serde(default)]
    restart_policy: RestartPolicy,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RestartPolicy {
    #[serde(default)]
    name: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Binding {
    #[serde(default)]
    host_ip: String,
    #[serde(default)]
    host_port: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Mount {
    #[serde(rename = "Type", default)]
    kind: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    source: String,
    #[serde(default)]
    destination: String,
}

impl Seen {
    fn label(&self, name: &str) -> &str {
        self.config.labels.get(&format!("com.docker.compose.{name}")).map_or("", String::as_str)
    }

    /// Whether `up` would start it. One that has done its work is started too, and changes nothing.
    fn sleeps(&self) -> bool {
        !matches!(self.state.status.as_str(), "running" | "restarting") && !self.is_done()
    }

    /// Whether it was to end, and has ended well.
    fn is_done(&self) -> bool {
        let once = matches!(self.host_config.restart_policy.name.as_str(), "" | "no" | "on-failure");
        once && self.state.status == "exited" && self.state.exit_code == 0
    }

    /// Whether it was made, in the place of none, and never started: `up` is not shown it (`super::halves`).
    fn was_only_made(&self) -> bool {
        self.state.status == "created" && self.label("replace").is_empty()
    }

    fn ports(&self) -> BTreeSet<String> {
        let bindings = self.host_config.port_bindings.iter().flatten();
        let each = bindings.flat_map(|(target, hosts)| {
            hosts.iter().flatten().map(move |host| port(&host.host_ip, &host.host_port, target))
        });
        each.collect()
    }

    /// Without what hlx keeps in RAM, and without secrets: those are told by their names.
    fn volumes(&self, resident: &Path) -> BTreeSet<String> {
        let told = |mount: &&Mount| {
            let secret = mount.destination.starts_with("/run/secrets/");
            let anonymous = mount.name.len() == 64 && mount.name.bytes().all(|byte| byte.is_ascii_hexdigit());
            !secret && !anonymous && !Path::new(&mount.source).starts_with(resident)
        };
        let source = |mount: &Mount| match mount.kind.as_str() {
            "volume" => mount.name.clone(),
            _ => mount.source.clone(),
        };
        let mounts = self.mounts.iter().filter(told);
        mounts.map(|mount| format!("{}:{}", source(mount), mount.destination)).collect()
    }

    fn is_resident(&self, target: &str, resident: &Path) -> bool {
        let here = |mount: &&Mount| mount.destination == target;
        self.mounts.iter().find(here).is_some_and(|mount| Path::new(&mount.source).starts_with(resident))
    }
}

fn port(address: &str, published: &str, target: &str) -> String {
    let published = if published.is_empty() { "any" } else { published };
    match address {
        "" | "0.0.0.0" => format!("{published}:{target}"),
        address => format!("{address}:{published}:{target}"),
    }
}

/// What the services of a model are compared by.
pub(super) struct Wanted<'w> {
    /// The model as compose printed it.
    pub(super) model: &'w Value,
    /// Compose's hash of each service.
    pub(super) hashes: &'w BTreeMap<String, String>,
    /// The id of each image that is on this host, by its name.
    pub(super) images: &'w BTreeMap<String, String>,
    /// Where resident files are.
    pub(super) resident: &'w Path,
}

/// The services that would change. Only those that are expected to have a container count.
pub(super) fn services(wanted: &Wanted<'_>, expected: &[String], seen: &[Seen]) -> Vec<ServiceChange> {
    let kept = expected.iter().filter_map(|name| {
        let there: Vec<&Seen> = seen.iter().filter(|found| found.label("service") == name).collect();
        let action = action(wanted, name, &there)?;
        Some(change(wanted, name, action, there.first().copied()))
    });
    let is_gone = |found: &&Seen| expected.iter().all(|name| name != found.label("service"));
    let gone: BTreeSet<&str> = seen.iter().filter(is_gone).map(|found| found.label("service")).collect();
    let removed = gone.into_iter().map(|name| {
        let there = seen.iter().find(|found| found.label("service") == name);
        change(wanted, name, Action::Remove, there)
    });
    let mut all: Vec<ServiceChange> = kept.chain(removed).collect();
    all.sort_by(|one, other| one.name.cmp(&other.name));
    all
}

/// The services that have done their work and stay as they are: `up` starts their containers again.
pub(super) fn reruns(changed: &[ServiceChange], expected: &[String], seen: &[Seen]) -> Vec<String> {
    let is_changed = |name: &&String| changed.iter().any(|change| change.name == **name);
    let is_done =
        |name: &&String| seen.iter().any(|found| found.label("service") == **name && found.is_done());
    expected.iter().filter(|name| !is_changed(name) && is_done(name)).cloned().collect()
}

fn action(wanted: &Wanted<'_>, name: &str, there: &[&Seen]) -> Option<Action> {
    let service = &wanted.model["services"][name];
    let image = service["image"].as_str().and_then(|image| wanted.images.get(image));
    // What is built now may be what was built before: only compose's own hash can tell.
    let other_image = |found: &&&Seen| image.is_some_and(|id| found.label("image") != id);
    let other_hash =
        |found: &&&Seen| Some(found.label("config-hash")) != wanted.hashes.get(name).map(String::as_str);
    match there {
        [] => Some(Action::Create),
        there if there.iter().any(|found| other_hash(&found) || other_image(&found)) => {
            Some(Action::Recreate)
        }
        there if there.iter().any(|found| found.was_only_made()) => Some(Action::Recreate),
        there if there.iter().any(|found| found.sleeps()) => Some(Action::Start),
        _ => None,
    }
}

fn change(wanted: &Wanted<'_>, name: &str, action: Action, before: Option<&Seen>) -> ServiceChange {
    let service = &wanted.model["services"][name];
    let nothing = Seen::default();
    let old = before.unwrap_or(&nothing);
    let image = service["image"].as_str().map(str::to_owned);
    let image_before =
        before.map(|found| found.config.image.clone()).filter(|old| Some(old) != image.as_ref());
    let (ports, volumes) = (ports(service), volumes(wanted, service, old));
    let (old_ports, old_volumes) = (old.ports(), old.volumes(wanted.resident));
    let only = |one: &BTreeSet<String>, other: &BTreeSet<String>| one.difference(other).cloned().collect();
    ServiceChange {
        name: name.to_owned(),
        action,
        image_before: image_before.filter(|_| action != Action::Start),
        image,
        builds: !service["build"].is_null(),
        ports_added: only(&ports, &old_ports),
        ports_removed: only(&old_ports, &ports),
        volumes_added: only(&volumes, &old_volumes),
        volumes_removed: only(&old_volumes, &volumes),
    }
}

fn ports(service: &Value) -> BTreeSet<String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let each = service["ports"].as_array().into_iter().flatten().map(|found| {
        let published = if found["published"].is_null() { String::new() } else { text(&found["published"]) };
        let target = format!("{}/{}", found["target"], found["protocol"].as_str().unwrap_or("tcp"));
        port(found["host_ip"].as_str().unwrap_or_default(), &published, &target)
    });
    each.collect()
}

fn volumes(wanted: &Wanted<'_>, service: &Value, before: &Seen) -> BTreeSet<String> {
    let each = service["volumes"].as_array().into_iter().flatten().filter_map(|mount| {
        let (source, target) = (mount["source"].as_str()?, mount["target"].as_str()?);
        let source = match mount["type"].as_str() {
            Some("volume") => wanted.model["volumes"][source]["name"].as_str().unwrap_or(source),
            _ => source,
        };
        (!before.is_resident(target, wanted.resident)).then(|| format!("{source}:{target}"))
    });
    each.collect()
}

/// The files that differ between two trees.
pub(super) fn files(old: &Tree, new: &Tree) -> Vec<FileChange> {
    let paths: BTreeSet<&PathBuf> = old.keys().chain(new.keys()).collect();
    let how = |path: &PathBuf| match (old.get(path), new.get(path)) {
        (None, Some(_)) => Some("added"),
        (Some(_), None) => Some("removed"),
        (old, new) => (old != new).then_some("changed"),
    };
    let each = paths.into_iter().filter_map(|path| Some(FileChange { path: path.clone(), how: how(path)? }));
    each.collect()
}

type Values = BTreeMap<String, Zeroizing<Vec<u8>>>;

/// The names of sealed values that are not the same in both trees. An old file that no longer
/// opens has every name of the new one.
pub(super) fn secrets(old: &Tree, new: &Tree, open: Opener<'_>) -> Result<Vec<String>, Error> {
    let mut names = Vec::new();
    for FileChange { path, .. } in files(old, new) {
        let before = values(old, &path, open).unwrap_or_default();
        let after = values(new, &path, open)?;
        let all: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        for name in all.into_iter().filter(|name| before.get(*name) != after.get(*name)) {
            let path = path.display();
            names.push(if name.is_empty() { path.to_string() } else { format!("{path}: {name}") });
        }
    }
    Ok(names)
}

/// The sealed values of a file; none if it is not there, or clear.
fn values(tree: &Tree, path: &Path, open: Opener<'_>) -> Result<Values, Error> {
    let sealed = tree.get(path).filter(|entry| entry.kind != Kind::Link && is_sealed(&entry.content));
    let Some(entry) = sealed else { return Ok(Values::new()) };
    let opened = open(&entry.content).map_err(|source| Error::Keys { path: path.to_owned(), source })?;
    let values = opened.values().into_iter();
    Ok(values.map(|(name, value)| (name, Zeroizing::new(value.into_owned()))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn seen(json: Value) -> Seen {
        serde_json::from_value(json).unwrap()
    }

    fn web(hash: &str, status: &str) -> Value {
        json!({"State": {"Status": status, "ExitCode": 1},
            "Config": {"Image": "x:1", "Labels": {"com.docker.compose.service": "web", "com.docker.compose.config-hash": hash,
                                                  "com.docker.compose.image": "id1"}},
            "HostConfig": {"PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}, "RestartPolicy": {"Name": "always"}},
            "Mounts": [{"Type": "bind", "Source": "/p/data", "Destination": "/data"},
                       {"Type": "bind", "Source": "/run/hlx/p/1/s", "Destination": "/s"},
                       {"Type": "bind", "Source": "/p/plain", "Destination": "/run/secrets/plain"},
                       {"Type": "volume", "Name": "p_v", "Source": "/var/lib/x", "Destination": "/v"}]})
    }

    fn model() -> Value {
        json!({"services": {"web": {"image": "x:1", "ports": [{"target": 80, "published": "8080"}],
            "volumes": [{"type": "bind", "source": "/p/data", "target": "/data"}, {"type": "bind", "source": "/p/s", "target": "/s"},
                        {"type": "volume", "source": "v", "target": "/v"}]}}, "volumes": {"v": {"name": "p_v"}}})
    }

    fn judged(model: &Value, seen: &[Seen]) -> Vec<ServiceChange> {
        let pairs = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let (hashes, images) = (pairs(&[("web", "h1")]), pairs(&[("x:1", "id1"), ("x:2", "id2")]));
        let wanted = Wanted { model, hashes: &hashes, images: &images, resident: Path::new("/run/hlx/p") };
        services(&wanted, &["web".to_owned()], seen)
    }

    #[test]
    fn what_is_as_it_should_be_is_no_change() {
        assert_eq!(judged(&model(), &[seen(web("h1", "running"))]), []);
    }

    #[test]
    fn each_kind_of_change_is_told() {
        let action = |model: &Value, all: &[Seen]| {
            judged(model, all).into_iter().map(|change| (change.name, change.action)).collect::<Vec<_>>()
        };
        assert_eq!(action(&model(), &[]), [("web".to_owned(), Action::Create)]);
        assert_eq!(action(&model(), &[seen(web("h1", "exited"))]), [("web".to_owned(), Action::Start)]);
        assert_eq!(action(&model(), &[seen(web("h0", "running"))]), [("web".to_owned(), Action::Recreate)]);
        assert_eq!(action(&model(), &[seen(web("h1", "created"))]), [("web".to_owned(), Action::Recreate)]);
        let mut replaces = web("h1", "created");
        replaces["Config"]["Labels"]["com.docker.compose.replace"] = json!("p-web-1");
        assert_eq!(action(&model(), &[seen(replaces)]), [("web".to_owned(), Action::Start)]);
        let mut newer = model();
        newer["services"]["web"]["image"] = json!("x:2");
        assert_eq!(action(&newer, &[seen(web("h1", "running"))]), [("web".to_owned(), Action::Recreate)]);
        let mut old = web("h1", "running");
        old["Config"]["Labels"]["com.docker.compose.service"] = json!("old");
        assert_eq!(
            action(&model(), &[seen(web("h1", "running")), seen(old)]),
            [("old".to_owned(), Action::Remove)]
        );
    }

    #[test]
    fn what_has_done_its_work_is_no_change_and_runs_again() {
        let mut done = web("h1", "exited");
        done["State"]["ExitCode"] = json!(0);
        done["HostConfig"]["RestartPolicy"]["Name"] = json!("no");
        let seen = [seen(done)];
        let changed = judged(&model(), &seen);
        assert_eq!(
            (&changed[..], reruns(&changed, &["web".to_owned()], &seen)),
            (&[][..], vec!["web".to_owned()])
        );
        let running = [self::seen(web("h1", "running"))];
        assert_eq!(reruns(&[], &["web".to_owned()], &running), Vec::<String>::new());
    }

    #[test]
    fn ports_volumes_and_images_are_compared_by_what_they_are() {
        let mut newer = model();
        newer["services"]["web"]["image"] = json!("x:2");
        newer["services"]["web"]["ports"] =
            json!([{"target": 80, "published": "9090", "host_ip": "127.0.0.1"}]);
        newer["services"]["web"]["volumes"] =
            json!([{"type": "bind", "source": "/p/other", "target": "/data"}]);
        let change = judged(&newer, &[seen(web("h0", "running"))]).remove(0);
        assert_eq!((change.image_before.as_deref(), change.image.as_deref()), (Some("x:1"), Some("x:2")));
        assert_eq!(
            (change.ports_added, change.ports_removed),
            (vec!["127.0.0.1:9090:80/tcp".to_owned()], vec!["8080:80/tcp".to_owned()])
        );
        assert_eq!(change.volumes_added, ["/p/other:/data"]);
        assert_eq!(change.volumes_removed, ["/p/data:/data", "p_v:/v"]);
    }

    #[test]
    fn files_that_differ_are_listed() {
        let entry = |text: &str| super::super::tree::Entry { kind: Kind::File, content: text.into() };
        let old = Tree::from([("a".into(), entry("1")), ("b".into(), entry("1")), ("c".into(), entry("1"))]);
        let new = Tree::from([("a".into(), entry("1")), ("b".into(), entry("2")), ("d".into(), entry("1"))]);
        let found: Vec<_> = files(&old, &new).into_iter().map(|change| (change.path, change.how)).collect();
        assert_eq!(found, [("b".into(), "changed"), ("c".into(), "removed"), ("d".into(), "added")]);
    }
}
