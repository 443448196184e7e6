//! What deploying a stack would change of its services.

use std::collections::BTreeSet;

use serde_json::Value;

use super::services::Service;
use super::stack::{HASH, Stack, entries, items};
use crate::deploy::changes::{Action, ServiceChange};

/// The services that would be created, updated or removed, by their names.
pub(in crate::deploy) fn changes(
    stack: &Stack,
    model: &Value,
    found: &[Service],
    project: &str,
) -> Vec<ServiceChange> {
    let there = |name: &str| found.iter().find(|service| service.key(project) == name);
    let wanted = entries(&stack.file["services"]).filter_map(|(name, service)| {
        let before = there(name);
        let action = match before {
            None => Action::Create,
            Some(before) if before.label(HASH) == stack.hashes.get(name).map(String::as_str) => return None,
            Some(_) => Action::Update,
        };
        let builds = !model["services"][name]["build"].is_null();
        Some(change(
            name,
            action,
            Parts::of_file(service, &stack.file),
            before.map(Parts::of_service),
            builds,
        ))
    });
    let gone = found.iter().filter(|service| stack.file["services"][service.key(project)].is_null());
    let gone = gone.map(|service| {
        let parts = Parts::of_service(service);
        change(service.key(project), Action::Remove, Parts::default(), Some(parts), false)
    });
    let mut all: Vec<ServiceChange> = wanted.chain(gone).collect();
    all.sort_by(|one, other| one.name.cmp(&other.name));
    all
}

/// What people are told of a service.
#[derive(Debug, Default)]
struct Parts {
    image: Option<String>,
    ports: BTreeSet<String>,
    mounts: BTreeSet<String>,
}

impl Parts {
    fn of_file(service: &Value, file: &Value) -> Self {
        let source = |mount: &Value| {
            let source = mount["source"].as_str()?;
            Some(file["volumes"][source]["name"].as_str().unwrap_or(source).to_owned())
        };
        let mount = |mount: &Value| Some(format!("{}:{}", source(mount)?, mount["target"].as_str()?));
        Self {
            image: service["image"].as_str().map(str::to_owned),
            ports: items(&service["ports"])
                .map(|found| port(found, ["published", "target", "protocol"]))
                .collect(),
            mounts: items(&service["volumes"]).filter_map(mount).collect(),
        }
    }

    fn of_service(service: &Service) -> Self {
        let container = &service.spec.task_template["ContainerSpec"];
        let ports = items(&service.spec.endpoint_spec["Ports"]);
        let mount =
            |mount: &Value| Some(format!("{}:{}", mount["Source"].as_str()?, mount["Target"].as_str()?));
        Self {
            image: container["Image"].as_str().map(str::to_owned),
            ports: ports.map(|found| port(found, ["PublishedPort", "TargetPort", "Protocol"])).collect(),
            mounts: items(&container["Mounts"]).filter_map(mount).collect(),
        }
    }
}

fn port(port: &Value, [published, target, protocol]: [&str; 3]) -> String {
    let published = port[published].as_u64().map_or("any".to_owned(), |number| number.to_string());
    format!("{published}:{}/{}", port[target], port[protocol].as_str().unwrap_or("tcp"))
}

fn change(name: &str, action: Action, now: Parts, before: Option<Parts>, builds: bool) -> ServiceChange {
    let image_before = before.as_ref().and_then(|before| before.image.clone());
    let old = before.unwrap_or_default();
    let only = |one: &BTreeSet<String>, other: &BTreeSet<String>| one.difference(other).cloned().collect();
    ServiceChange {
        name: name.to_owned(),
        action,
        image_before: image_before.filter(|before| Some(before) != now.image.as_ref()),
        ports_added: only(&now.ports, &old.ports),
        ports_removed: only(&old.ports, &now.ports),
        volumes_added: only(&now.mounts, &old.mounts),
        volumes_removed: only(&old.mounts, &now.mounts),
        image: now.image,
        builds,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use serde_json::json;

    #[test]
    fn services_are_told_apart_by_their_hash() {
        let file = json!({"volumes": {"v": {"name": "p_v"}}, "services": {
            "web": {"image": "x@2", "ports": [{"target": 80, "published": 8080, "protocol": "tcp"}],
                    "volumes": [{"type": "volume", "source": "v", "target": "/v"}]},
            "same": {"image": "x"}, "new": {"image": "y"}}});
        let hashes = ["web", "same", "new"].map(|name| (name.to_owned(), format!("hash of {name}")));
        let stack = Stack { file, hashes: BTreeMap::from(hashes) };
        let service = |name: &str, hash: &str| -> Service {
            let spec = json!({"Name": format!("p_{name}"), "Labels": {HASH: hash},
                "TaskTemplate": {"ContainerSpec": {"Image": "x@1", "Mounts": [{"Source": "p_v", "Target": "/v"}]}},
                "EndpointSpec": {"Ports": [{"PublishedPort": 9090, "TargetPort": 80, "Protocol": "tcp"}]}});
            serde_json::from_value(json!({"ID": name, "Spec": spec})).unwrap()
        };
        let found = [service("web", "another"), service("same", "hash of same"), service("old", "any")];
        let model = json!({"services": {"new": {"build": {"context": "/p"}}}});
        let all = changes(&stack, &model, &found, "p");
        let told: Vec<_> =
            all.iter().map(|change| (change.name.as_str(), change.action, change.builds)).collect();
        let wanted =
            [("new", Action::Create, true), ("old", Action::Remove, false), ("web", Action::Update, false)];
        assert_eq!(told, wanted);
        assert_eq!((all[2].image_before.as_deref(), all[2].image.as_deref()), (Some("x@1"), Some("x@2")));
        assert_eq!(
            (&all[2].ports_added[..], &all[2].ports_removed[..]),
            (&["8080:80/tcp".to_owned()][..], &["9090:80/tcp".to_owned()][..])
        );
        assert!(all[2].volumes_added.is_empty() && all[2].volumes_removed.is_empty());
    }
}
