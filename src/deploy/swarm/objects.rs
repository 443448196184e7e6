//! Secrets and configs of a stack as objects of the Swarm.
//!
//! Those are immutable, and hold their content under a name of their own. So the name has a hash
//! of the content: other content is another object, and the services that use it are updated,
//! those and no others. The hash is keyed, as anyone who may list secrets sees it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::Error;
use super::services::Service;
use super::stack::{entries, items};
use crate::deploy::docker::{self, Docker};
use crate::deploy::model::tracked;
use crate::deploy::resident::{Ground, keyed_hash};
use crate::secret::SecretBytes;

/// The label that says that hlx made an object, and for which stack of the Swarm: of its names only that
/// one is nobody else's there.
const OURS: &str = "hlx.stack";
/// Docker's own label of a stack, by which `docker stack rm` finds what belongs to it.
pub(super) const NAMESPACE: &str = "com.docker.stack.namespace";

/// A name has at most so many bytes.
const LONGEST: usize = 64;

const MAKE: Duration = Duration::from_secs(60);

/// The two kinds of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::deploy) enum Kind {
    /// Kept encrypted by the managers, and in RAM by the nodes.
    Secret,
    /// The same for content that is not secret: `docker config inspect` shows it.
    Config,
}

impl Kind {
    pub(super) const ALL: [Self; 2] = [Self::Secret, Self::Config];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::Config => "config",
        }
    }
}

/// An object that a stack needs.
#[derive(Debug)]
pub(in crate::deploy) struct Object {
    pub(super) kind: Kind,
    /// Its name in the compose file.
    pub(super) key: String,
    /// Its name in the Swarm.
    pub(super) name: String,
    content: SecretBytes,
}

/// The objects that the services of a model are granted, with their content from the commit.
pub(in crate::deploy) fn objects(
    model: &Value,
    ground: Ground<'_>,
    key: &SecretBytes,
) -> Result<Vec<Object>, Error> {
    let (mut found, mut cannot) = (Vec::new(), Vec::new());
    let project = model["name"].as_str().unwrap_or_default();
    for kind in Kind::ALL {
        let granted = granted(model, kind);
        for (name, source) in entries(&model[format!("{}s", kind.as_str())]) {
            if source["external"] == Value::Bool(true) || !granted.contains(name.as_str()) {
                continue;
            }
            match content(source, kind, ground) {
                Ok(content) => {
                    let content = SecretBytes::new(content);
                    let object = object_name(project, name, kind, &content, key);
                    found.push(Object { kind, key: name.clone(), name: object, content });
                }
                Err(why) => cannot.push(format!("{} `{name}` {why}", kind.as_str())),
            }
        }
    }
    if cannot.is_empty() { Ok(found) } else { Err(Error::Cannot(cannot)) }
}

fn granted(model: &Value, kind: Kind) -> BTreeSet<&str> {
    let services = entries(&model["services"]).map(|(_, service)| service);
    let grants = services.flat_map(|service| items(&service[format!("{}s", kind.as_str())]));
    grants.filter_map(|grant| grant["source"].as_str()).collect()
}

/// What an object is to hold, or why that cannot be known.
fn content(source: &Value, kind: Kind, ground: Ground<'_>) -> Result<Vec<u8>, String> {
    if let Some(text) = source["content"].as_str().filter(|_| kind == Kind::Config) {
        // Compose doubles them for whoever reads the model.
        return Ok(text.replace("$$", "$").into_bytes());
    }
    if let Some(variable) = source["environment"].as_str() {
        return Err(format!("is taken from the variable {variable}: put it into a file of the commit"));
    }
    let Some(file) = source["file"].as_str() else {
        return Err("is neither `file` nor `external`".to_owned());
    };
    let path = tracked(Path::new(file), ground.project, ground.tree);
    let plain = path.and_then(|path| ground.unsealed.plain(ground.tree, &path));
    plain.map(<[u8]>::to_vec).ok_or_else(|| format!("is read from {file}, which is no file of the commit"))
}

/// `<project>_<name>_<hash>`, the first two cut so that all fits.
fn object_name(project: &str, name: &str, kind: Kind, content: &SecretBytes, key: &SecretBytes) -> String {
    let head = format!("{project}_{name}");
    let length = (head.len() as u64).to_le_bytes();
    let hash =
        keyed_hash(key, &[b"swarm", kind.as_str().as_bytes(), &length, head.as_bytes(), content.expose()]);
    let room = LONGEST - hash.len() - 1;
    let head: String = head.chars().filter(char::is_ascii).take(room).collect();
    format!("{head}_{hash}")
}

/// An object that is there.
#[derive(Debug, Deserialize)]
struct Found {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "Spec")]
    spec: Spec,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Spec {
    name: String,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
}

impl Found {
    /// The stack that hlx made it for.
    fn stack(&self) -> Option<&str> {
        self.spec.labels.as_ref()?.get(OURS).map(String::as_str)
    }
}

impl Docker {
    /// Makes those of the objects that are not there yet.
    pub(in crate::deploy) fn make_objects(
        &self,
        objects: &[Object],
        project: &str,
    ) -> Result<(), docker::Error> {
        for kind in Kind::ALL {
            let wanted: Vec<&Object> = objects.iter().filter(|object| object.kind == kind).collect();
            if wanted.is_empty() {
                continue;
            }
            let there = self.made_for(kind, project)?;
            let is_there = |object: &&&Object| there.iter().any(|found| found.spec.name == object.name);
            let missing = wanted.iter().filter(|object| !is_there(object));
            missing.copied().try_for_each(|object| self.make(object, project))?;
        }
        Ok(())
    }

    /// The content goes through a pipe: arguments are for everyone to see.
    fn make(&self, object: &Object, project: &str) -> Result<(), docker::Error> {
        let (ours, namespace) = (format!("{OURS}={project}"), format!("{NAMESPACE}={project}"));
        let args = [
            object.kind.as_str(),
            "create",
            "--label",
            &ours,
            "--label",
            &namespace,
            "--",
            &object.name,
            "-",
        ];
        let done = self.call(&args, MAKE).output(object.content.expose())?;
        if done.end.is_success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(done.err.expose()).trim().to_owned();
        let what = match object.kind {
            Kind::Secret => "secret create",
            Kind::Config => "config create",
        };
        Err(docker::Error::Failed { what, said: format!("{}: {said}", object.key) })
    }

    /// The objects that hlx made for a stack.
    fn made_for(&self, kind: Kind, project: &str) -> Result<Vec<Found>, docker::Error> {
        let filter = format!("label={OURS}={project}");
        let listed = self.demand(kind.as_str(), &[kind.as_str(), "ls", "-q", "--filter", &filter])?;
        let ids: Vec<&str> = listed.split_whitespace().collect();
        match ids.is_empty() {
            true => Ok(Vec::new()),
            false => self.objects_of(kind, &ids),
        }
    }

    /// One that is not there makes inspect fail, but it still shows the others.
    fn objects_of(&self, kind: Kind, names: &[&str]) -> Result<Vec<Found>, docker::Error> {
        let shown = self.ask(&[&[kind.as_str(), "inspect", "--"][..], names].concat())?;
        serde_json::from_slice(shown.out.expose())
            .map_err(|error| docker::Error::Failed { what: kind.as_str(), said: error.to_string() })
    }

    /// Removes the objects of a stack that none of its services refers to, nor would if Swarm took
    /// its last update back.
    pub(in crate::deploy) fn collect_objects(&self, project: &str) -> Result<(), docker::Error> {
        let services = self.services(project)?;
        let used: BTreeSet<&str> = services.iter().flat_map(Service::objects).collect();
        self.remove_objects(project, &|id| used.contains(id))
    }

    /// Removes the objects of a stack, but those whose id is needed.
    pub(super) fn remove_objects(
        &self,
        project: &str,
        is_needed: &dyn Fn(&str) -> bool,
    ) -> Result<(), docker::Error> {
        for kind in Kind::ALL {
            let found = self.made_for(kind, project)?;
            for object in found.iter().filter(|found| !is_needed(&found.id)) {
                // One that vanished meanwhile, or came into use, is none of ours to remove.
                let _ = self.ask(&[kind.as_str(), "rm", &object.id])?;
            }
        }
        Ok(())
    }

    /// External secrets and configs of a model that cannot be used: not there, or another stack's.
    pub(in crate::deploy) fn bad_externals(
        &self,
        model: &Value,
        project: &str,
    ) -> Result<Vec<String>, docker::Error> {
        let mut bad = Vec::new();
        for kind in Kind::ALL {
            let granted = granted(model, kind);
            let all = entries(&model[format!("{}s", kind.as_str())]);
            let external = all.filter(|(key, source)| {
                source["external"] == Value::Bool(true) && granted.contains(key.as_str())
            });
            for name in external.map(|(key, source)| source["name"].as_str().unwrap_or(key)) {
                let kind_name = kind.as_str();
                match self.objects_of(kind, &[name])?.first() {
                    None => bad.push(format!(
                        "there is no {kind_name} `{name}`: `docker {kind_name} create {name} FILE` makes one"
                    )),
                    Some(found) if found.stack().is_some_and(|owner| owner != project) => {
                        let owner = found.stack().unwrap_or_default();
                        bad.push(format!("the {kind_name} `{name}` was made for the stack `{owner}`"));
                    }
                    Some(_) => {}
                }
            }
        }
        Ok(bad)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_of_its_content_behind_the_key_and_fits() {
        let name = |project: &str, name: &str, kind, content: &str, key: u8| {
            object_name(project, name, kind, &SecretBytes::new(content.into()), &SecretBytes::new(vec![key]))
        };
        let all = [
            name("p", "token", Kind::Secret, "a", 1),
            name("p", "token", Kind::Secret, "b", 1),
            name("p", "token", Kind::Secret, "a", 2),
            name("p", "token", Kind::Config, "a", 1),
            name("p", "toke", Kind::Secret, "na", 1),
            name("q", "token", Kind::Secret, "a", 1),
            name(&"long".repeat(20), &"name".repeat(20), Kind::Secret, "a", 1),
            name(&"long".repeat(20), &"name".repeat(21), Kind::Secret, "a", 1),
        ];
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
        assert!(all.iter().all(|name| name.len() <= LONGEST));
        assert!(all[0].starts_with("p_token_") && all[0].len() == "p_token_".len() + 32);
    }

    #[test]
    fn only_what_services_are_granted_is_made() {
        let model = serde_json::json!({"services": {"web": {"secrets": [{"source": "a"}], "configs": [{"source": "b"}]}}});
        assert_eq!(granted(&model, Kind::Secret), BTreeSet::from(["a"]));
        assert_eq!(granted(&model, Kind::Config), BTreeSet::from(["b"]));
    }
}
