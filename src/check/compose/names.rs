//! What a compose file names: the services, networks and so on that it has or needs, and files.

use std::collections::{BTreeMap, BTreeSet};

use serde_yaml::Value;

use crate::check::granted;
use crate::format::Step;

use super::shape::is_open;

/// What a service can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::check) enum Kind {
    Service,
    Network,
    Volume,
    Secret,
    Config,
    Model,
}

impl Kind {
    const ALL: [Self; 6] =
        [Self::Service, Self::Network, Self::Volume, Self::Secret, Self::Config, Self::Model];

    /// The key at the top that defines them.
    fn key(self) -> &'static str {
        match self {
            Self::Service => "services",
            Self::Network => "networks",
            Self::Volume => "volumes",
            Self::Secret => "secrets",
            Self::Config => "configs",
            Self::Model => "models",
        }
    }

    /// What it is called.
    pub(in crate::check) fn noun(self) -> &'static str {
        self.key().trim_end_matches('s')
    }
}

/// What a service needs that some file of its stack must have.
#[derive(Debug)]
pub(in crate::check) struct Need {
    pub(in crate::check) service: String,
    pub(in crate::check) kind: Kind,
    pub(in crate::check) name: String,
    pub(in crate::check) line: Option<usize>,
}

/// What a file is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::check) enum Use {
    /// Variables or labels of a service.
    Settings,
    /// A file with a service that another extends.
    Extended(String),
    /// More of the stack.
    Included,
}

/// A file of the branch that it names.
#[derive(Debug)]
pub(in crate::check) struct Wanted {
    pub(in crate::check) path: String,
    pub(in crate::check) usage: Use,
    pub(in crate::check) line: Option<usize>,
}

/// What a file names.
#[derive(Debug, Default)]
pub(in crate::check) struct Names {
    pub(in crate::check) has: BTreeMap<Kind, BTreeSet<String>>,
    pub(in crate::check) needs: Vec<Need>,
    pub(in crate::check) files: Vec<Wanted>,
    /// Services that are to be in this very file, as others extend them.
    pub(in crate::check) extended: Vec<Need>,
    /// It replaces or takes away parts of another file.
    pub(in crate::check) retags: bool,
}

/// The line of a path.
pub(super) type LineOf<'l> = &'l dyn Fn(&[Step]) -> Option<usize>;

/// What a file names.
pub(super) fn of(file: &Value, line: LineOf<'_>) -> Names {
    let mut names = Names { retags: is_retagged(file), ..Names::default() };
    for kind in Kind::ALL {
        let defined = file.get(kind.key()).and_then(Value::as_mapping).into_iter().flatten();
        names.has.insert(kind, defined.filter_map(|(name, _)| Some(name.as_str()?.to_owned())).collect());
    }
    names.has.entry(Kind::Network).or_default().insert("default".to_owned());
    for (index, entry) in list(file.get("include")).into_iter().enumerate() {
        let path = [Step::Key("include".to_owned()), Step::Index(index)];
        for included in texts(entry.get("path").unwrap_or(entry)) {
            names.want(included, Use::Included, line(&path));
        }
    }
    for (name, service) in file.get("services").and_then(Value::as_mapping).into_iter().flatten() {
        if let Some(name) = name.as_str() {
            Service { name, value: service, line }.add_to(&mut names);
        }
    }
    names
}

/// Whether a tag of Compose's stands anywhere.
fn is_retagged(value: &Value) -> bool {
    match value {
        Value::Tagged(_) => true,
        Value::Sequence(items) => items.iter().any(is_retagged),
        Value::Mapping(entries) => entries.values().any(is_retagged),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// The items of a list; a single value is a list of one.
fn list(value: Option<&Value>) -> Vec<&Value> {
    match value {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Sequence(items)) => items.iter().collect(),
        Some(one) => vec![one],
    }
}

/// The strings among these.
fn texts(value: &Value) -> Vec<&str> {
    list(Some(value)).into_iter().filter_map(Value::as_str).collect()
}

impl Names {
    fn want(&mut self, path: &str, usage: Use, line: Option<usize>) {
        if let Some(path) = below(path) {
            self.files.push(Wanted { path, usage, line });
        }
    }
}

/// A path of the branch as git has it; none for one that leads elsewhere, is no path, or is not certain.
fn below(path: &str) -> Option<String> {
    let is_path = !path.contains([':', '\\', '@', '#']) && !is_open(path);
    granted::below("", path).filter(|place| is_path && !place.is_empty())
}

/// A service being read.
struct Service<'v> {
    name: &'v str,
    value: &'v Value,
    line: LineOf<'v>,
}

impl<'v> Service<'v> {
    fn line(&self, key: &str, last: Option<Step>) -> Option<usize> {
        let way = ["services", self.name, key].map(|step| Step::Key(step.to_owned()));
        (self.line)(&way.into_iter().chain(last).collect::<Vec<_>>())
    }

    fn add_to(&self, names: &mut Names) {
        self.extends(names);
        // Compose looks at it only when its profile is asked for.
        if self.value.get("profiles").is_some() {
            return;
        }
        for (key, kind) in [
            ("networks", Kind::Network),
            ("secrets", Kind::Secret),
            ("configs", Kind::Config),
            ("models", Kind::Model),
            ("volumes", Kind::Volume),
            ("depends_on", Kind::Service),
            ("links", Kind::Service),
            ("volumes_from", Kind::Service),
        ] {
            for (step, name) in self.named(key) {
                self.need(names, kind, name, self.line(key, Some(step)));
            }
        }
        for key in ["network_mode", "ipc", "pid"] {
            let other =
                self.value.get(key).and_then(Value::as_str).and_then(|mode| mode.strip_prefix("service:"));
            other.into_iter().for_each(|name| self.need(names, Kind::Service, name, self.line(key, None)));
        }
        for key in ["env_file", "label_file"] {
            self.settings(names, key);
        }
    }

    fn need(&self, names: &mut Names, kind: Kind, name: &str, line: Option<usize>) {
        if !name.is_empty() && !is_open(name) {
            let (service, name) = (self.name.to_owned(), name.to_owned());
            names.needs.push(Need { service, kind, name, line });
        }
    }

    /// The names under a key, as a mapping has them or a list.
    fn named(&self, key: &str) -> Vec<(Step, &'v str)> {
        match self.value.get(key) {
            Some(Value::Mapping(entries)) => {
                // What may be missing has `required`.
                let wanted = entries.iter().filter(|(_, value)| value.get("required").is_none());
                let named = wanted.filter_map(|(name, _)| name.as_str());
                named.map(|name| (Step::Key(name.to_owned()), name)).collect()
            }
            Some(Value::Sequence(items)) => {
                let named = items.iter().enumerate();
                named.filter_map(|(index, item)| Some((Step::Index(index), name_in(key, item)?))).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Whom it extends.
    fn extends(&self, names: &mut Names) {
        let Some(extends) = self.value.get("extends") else { return };
        let other = extends.as_str().or_else(|| extends.get("service")?.as_str());
        let line = self.line("extends", None);
        match (other, extends.get("file")) {
            (Some(other), Some(file)) if !is_open(other) => {
                texts(file).iter().for_each(|file| names.want(file, Use::Extended(other.to_owned()), line));
            }
            (Some(other), None) if !is_open(other) => {
                let (service, name) = (self.name.to_owned(), other.to_owned());
                names.extended.push(Need { service, kind: Kind::Service, name, line });
            }
            _ => {}
        }
    }

    /// The files of an `env_file` or the like that must be there.
    fn settings(&self, names: &mut Names, key: &str) {
        for (index, entry) in list(self.value.get(key)).into_iter().enumerate() {
            let path = match entry {
                Value::String(path) => Some(path.as_str()),
                long if long.get("required").is_none_or(|required| required == &Value::Bool(true)) => {
                    long.get("path").and_then(Value::as_str)
                }
                _ => None,
            };
            let line = self.line(key, Some(Step::Index(index)));
            path.into_iter().for_each(|path| names.want(path, Use::Settings, line));
        }
    }
}

/// The name in an item of a service's list.
fn name_in<'v>(key: &str, item: &'v Value) -> Option<&'v str> {
    match (key, item) {
        ("volumes", Value::String(text)) => volume(text),
        ("volumes", long) if long.get("type")?.as_str()? != "volume" => None,
        ("links", Value::String(text)) => text.split(':').next(),
        ("volumes_from", Value::String(text)) if text.starts_with("container:") => None,
        ("volumes_from", Value::String(text)) => text.split(':').next(),
        (_, Value::String(text)) => Some(text),
        (_, long) => long.get("source")?.as_str(),
    }
}

/// The volume in `VOLUME:PATH[:MODE]`; none where a path of the host stands, or nothing.
fn volume(text: &str) -> Option<&str> {
    let (source, _) = text.split_once(':')?;
    let is_path = source.starts_with(['.', '/', '~']) || source.contains('\\') || source.len() == 1;
    (!is_path && !is_open(text)).then_some(source)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(service: &str) -> Names {
        let text = format!("services: {{a: {service}}}");
        of(&serde_yaml::from_str(&text).unwrap(), &|_| None)
    }

    #[test]
    fn needs_are_read_in_every_form() {
        for (service, expected) in [
            (
                "{networks: [n, $N], secrets: [s, {source: t}], configs: [c]}",
                &["network n", "secret s", "secret t", "config c"][..],
            ),
            ("{networks: {n: , m: {aliases: [x]}}, models: {l: {}}}", &["network n", "network m", "model l"]),
            (
                "{volumes: ['vol:/v', 'c:/p', './p:/p', '/q', 'anonymous', '~/r:/r', '$V:/v', {type: volume, source: w, target: /w}, {type: bind, source: x, target: /x}]}",
                &["volume vol", "volume w"],
            ),
            (
                "{depends_on: [b], links: ['c:x'], volumes_from: ['d:ro', 'container:e']}",
                &["service b", "service c", "service d"],
            ),
            (
                "{depends_on: {b: {condition: service_started}, c: {condition: service_started, required: false}}}",
                &["service b"],
            ),
            ("{network_mode: 'service:vpn', pid: host, ipc: '$X'}", &["service vpn"]),
            ("{networks: [n], profiles: [p]}", &[]),
            ("{secrets: ['ENC[AES256_GCM,data:x]']}", &[]),
        ] {
            let names = read(service);
            let found: Vec<_> =
                names.needs.iter().map(|need| format!("{} {}", need.kind.noun(), need.name)).collect();
            assert_eq!(found, expected, "{service}");
        }
    }

    #[test]
    fn files_are_those_of_the_branch_that_must_be_there() {
        for (service, expected) in [
            ("{env_file: .env}", &[".env"][..]),
            (
                "{env_file: [./a/../b.env, /etc/c, '$D', ../e, {path: f, required: false}, {path: g}]}",
                &["b.env", "g"],
            ),
            ("{extends: {service: b, file: c.yml}}", &["c.yml"]),
            ("{label_file: [l]}", &["l"]),
        ] {
            let names = read(service);
            let found: Vec<_> = names.files.iter().map(|file| file.path.as_str()).collect();
            assert_eq!(found, expected, "{service}");
        }
        let includes =
            serde_yaml::from_str("include: [a.yml, {path: [b.yml]}, 'oci://c', 'git@d:e']").unwrap();
        let found: Vec<_> = of(&includes, &|_| None).files.into_iter().map(|file| file.path).collect();
        assert_eq!(found, ["a.yml", "b.yml"]);
    }
}
