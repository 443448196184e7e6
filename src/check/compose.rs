//! A compose file: whether it has the form of one, which ports it claims, and which secrets it leaves in
//! Docker's stored environments.

mod keys;
mod names;
mod shape;
mod spelling;

use std::cell::OnceCell;
use std::collections::HashMap;

use serde_yaml::{Mapping, Value};

use crate::format::yaml::outline;
use crate::format::{Document, Step, Store};

use super::baked::{self, Built};
use super::examine::{ReadSettings, Spot};
use super::granted::{self, Said};
use super::ports::{self, Claim};
use super::stacks::StackSettings;
use super::tree::{File as TreeFile, Tree};
use super::{Rule, images, secrets};

pub(super) use names::{Kind, Names, Need, Use, Wanted};
pub(super) use shape::is_open;
use shape::{What, Wrong};

/// The names of a stack's own file, in the order in which compose looks for it.
pub(super) const NAMES: [&str; 4] =
    ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];
/// The names of the file beside it.
const OVERRIDES: [&str; 4] = [
    "compose.override.yml",
    "compose.override.yaml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
];

/// The largest that is read; a stack's file has a few KB.
pub(super) const LARGEST: usize = 1 << 20;

/// What a compose file says that other branches must agree with.
#[derive(Debug, Default)]
pub(super) struct Compose {
    /// What its `x-hlx` says.
    pub(super) settings: StackSettings,
    /// The line of that.
    pub(super) settings_line: Option<usize>,
    /// The names of its services.
    pub(super) services: Vec<String>,
    /// It is encrypted, and what it says is not to be shown.
    pub(super) hidden: bool,
    /// It takes in other files.
    pub(super) includes: bool,
    /// The ports that its services claim.
    pub(super) claims: Vec<Claimed>,
    /// The files that it gives to containers as secrets.
    pub(super) granted: Said,
    /// What it names; none of one that cannot be read.
    pub(super) names: Option<Names>,
    /// What of its builds ends up in images, with the line.
    pub(super) built: Vec<(Built, Option<usize>)>,
}

/// A claim with the service that makes it.
#[derive(Debug)]
pub(super) struct Claimed {
    pub(super) service: String,
    pub(super) claim: Claim,
    pub(super) line: Option<usize>,
    /// It runs only when its profile is asked for.
    pub(super) optional: bool,
    /// The claim stands in an encrypted part, and is not to be shown.
    pub(super) hidden: bool,
}

/// Whether the text is the file's own, or what an encrypted one holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// As git has it.
    Stored,
    /// Opened.
    Opened,
}

/// True for the files that compose reads in a stack.
pub(super) fn is_compose(path: &str) -> bool {
    NAMES.contains(&path) || OVERRIDES.contains(&path)
}

/// Reads a compose file: what is wrong with it, and what it claims.
pub(super) fn read(path: &str, text: &str, origin: Origin, settings: ReadSettings) -> (Vec<Spot>, Compose) {
    if text.len() > LARGEST {
        return (vec![invalid(None, "larger than 1 MiB")], Compose::default());
    }
    // This parser has bounds, and refuses what go-yaml does not read.
    let document = match Store::Yaml.parse(text) {
        Ok(document) => document,
        Err(error) => return (vec![invalid(Some(error.line), &error.reason)], Compose::default()),
    };
    let value = match serde_yaml::from_str::<Value>(text).map(|mut value| value.apply_merge().map(|()| value))
    {
        Ok(Ok(value)) => value,
        Ok(Err(_)) => return (vec![invalid(None, "a `<<` merges what is no mapping")], Compose::default()),
        Err(error) => {
            let line = error.location().map(|location| location.line());
            return (vec![invalid(line, "not valid YAML, or a key stands there twice")], Compose::default());
        }
    };
    let Value::Mapping(top) = &value else {
        return (vec![invalid(None, "it is no mapping with `services:`")], Compose::default());
    };
    let file = File { path, text, lines: lines(text, &document), document, origin, entries: OnceCell::new() };
    let mut spots = file.form(&value, top);
    let settings = file.settings(top, settings).unwrap_or_else(|spot| {
        spots.push(spot);
        StackSettings::default()
    });
    let services = top.get("services").and_then(Value::as_mapping);
    let services: Vec<(&str, &Value)> = services
        .into_iter()
        .flatten()
        .filter_map(|(name, service)| Some((name.as_str()?, service)))
        .collect();
    spots.extend(services.iter().flat_map(|(name, service)| file.environment(name, service)));
    spots.extend(["secrets", "configs"].into_iter().flat_map(|kind| file.copied(top, kind)));
    let claims =
        services.iter().flat_map(|(name, service)| file.claims(name, service)).take(MOST_CLAIMS).collect();
    let built = services.iter().flat_map(|(name, service)| baked::of_service(name, service));
    let built = built.map(|built| (file.line(&["services", &built.service, "build"]), built));
    let compose = Compose {
        settings,
        settings_line: file.line(&["x-hlx"]),
        services: services.iter().map(|(name, _)| (*name).to_owned()).collect(),
        hidden: origin == Origin::Opened,
        includes: top.contains_key("include"),
        claims,
        granted: granted::of_compose(text, &value),
        names: Some(names::of(&value, &|path| file.line_of(path))),
        built: built.map(|(line, built)| (built, line)).collect(),
    };
    (spots, compose)
}

/// The files of a tree that make its stack: the one that compose takes, and its override.
pub(super) fn counting(tree: &Tree) -> impl Iterator<Item = &TreeFile> {
    let main = NAMES.iter().find(|name| tree.files.iter().any(|file| file.path == **name));
    let counts = move |file: &&TreeFile| {
        OVERRIDES.contains(&file.path.as_str()) || main.is_some_and(|main| file.path == *main)
    };
    tree.files.iter().filter(counts)
}

fn invalid(line: Option<usize>, reason: &str) -> Spot {
    Spot { rule: Rule::ComposeInvalid, line, message: format!("no valid compose file: {reason}") }
}

/// A compose file being read.
struct File<'t> {
    path: &'t str,
    text: &'t str,
    document: Document<'t>,
    lines: HashMap<Vec<String>, usize>,
    origin: Origin,
    /// The lines of all its entries.
    entries: OnceCell<HashMap<Vec<Step>, usize>>,
}

/// How deep what is told stands: `services`, its name, `environment`, a variable.
const DEEPEST: usize = 4;
/// No stack claims more ports.
const MOST_CLAIMS: usize = 1000;

/// The line of the first value at or below each path.
fn lines(text: &str, document: &Document<'_>) -> HashMap<Vec<String>, usize> {
    let ends: Vec<usize> =
        text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect();
    let mut lines = HashMap::new();
    for leaf in &document.leaves {
        let names = document.paths.names(leaf.path);
        let line = ends.partition_point(|end| *end < leaf.span.start) + 1;
        for length in 1..=names.len().min(DEEPEST) {
            let path = names[..length].iter().map(|name| (*name).to_owned()).collect();
            lines.entry(path).or_insert(line);
        }
    }
    lines
}

/// A path as it is told: `services.web.ports[0]`.
fn dotted(path: &[Step]) -> String {
    let mut out = String::new();
    for step in path {
        match step {
            Step::Key(key) if out.is_empty() => out.push_str(key),
            Step::Key(key) => out.extend([".", key.as_str()]),
            Step::Index(index) => out.push_str(&format!("[{index}]")),
        }
    }
    out
}

fn quoted(step: &Step) -> String {
    format!("`{}`", dotted(std::slice::from_ref(step)))
}

/// The block of SOPS, which Compose never sees.
fn is_metadata(path: &[Step]) -> bool {
    path == [Step::Key("sops".to_owned())]
}

fn is_service(path: &[Step]) -> bool {
    path.first() == Some(&Step::Key("services".to_owned()))
}

impl File<'_> {
    fn line(&self, path: &[&str]) -> Option<usize> {
        let path: Vec<String> = path.iter().map(|name| (*name).to_owned()).collect();
        self.lines.get(&path).copied()
    }

    /// The line of an entry, or of what it stands in: what a merge brings has none of its own.
    fn line_of(&self, path: &[Step]) -> Option<usize> {
        let entries = self.entries.get_or_init(|| outline::lines(self.text));
        (1..=path.len()).rev().find_map(|length| entries.get(&path[..length]).copied())
    }

    /// Whether it has the form of a compose file.
    fn form(&self, file: &Value, top: &Mapping) -> Vec<Spot> {
        let mut spots: Vec<Spot> =
            shape::judge(file, &keys::FILE).iter().filter_map(|wrong| self.wrong(wrong)).collect();
        // A part of a stack need not be whole.
        let part = OVERRIDES.contains(&self.path) || top.contains_key("include");
        match top.get("services") {
            None if part => {}
            None => spots.push(invalid(None, "it has no `services:`")),
            Some(Value::Mapping(services)) => {
                let wrong = services.iter().filter_map(|(name, service)| self.service(name, service, part));
                spots.extend(wrong);
            }
            // The shapes say so.
            Some(_) => {}
        }
        spots
    }

    /// What is told of a wrong key or value. What an encrypted file holds is not shown.
    fn wrong(&self, wrong: &Wrong) -> Option<Spot> {
        let line = self.line_of(&wrong.path);
        let hidden = self.origin == Origin::Opened;
        let (last, above) = wrong.path.split_last()?;
        let (rule, message) = match &wrong.what {
            What::Key(_) if is_metadata(&wrong.path) && self.document.metadata.is_some() => return None,
            What::Key(_) if hidden => (Rule::ComposeKey, "a key that Compose does not know".to_owned()),
            What::Key(nearest) => {
                let whose = if above.is_empty() {
                    "a compose file".to_owned()
                } else {
                    format!("`{}`", dotted(above))
                };
                let meant = nearest
                    .map_or("own ones begin with `x-`".to_owned(), |key| format!("did you mean `{key}`?"));
                (Rule::ComposeKey, format!("{} is no key of {whose} ({meant})", quoted(last)))
            }
            // Whole services are judged with the rest of their form.
            What::Value(_) if wrong.path.len() == 2 && is_service(&wrong.path) => return None,
            What::Value(wanted) if hidden => (Rule::ComposeValue, format!("this must be {wanted}")),
            What::Value(wanted) => {
                (Rule::ComposeValue, format!("`{}` must be {wanted}", dotted(&wrong.path)))
            }
        };
        Some(Spot { rule, line, message })
    }

    fn service(&self, name: &Value, service: &Value, part: bool) -> Option<Spot> {
        let name = name.as_str().unwrap_or("?");
        let line = self.line(&["services", name]);
        match service {
            Value::Mapping(service) => {
                let runs =
                    ["image", "build", "extends", "provider"].iter().any(|key| service.contains_key(key));
                (!runs && !part)
                    .then(|| invalid(line, &format!("the service `{name}` has neither `image` nor `build`")))
            }
            Value::Tagged(_) if part => None,
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Sequence(_)
            | Value::Tagged(_) => Some(invalid(line, &format!("the service `{name}` is no mapping"))),
        }
    }

    /// What `x-hlx` says, if all of it can be obeyed.
    fn settings(&self, top: &Mapping, read: ReadSettings) -> Result<StackSettings, Spot> {
        let Some(value) = top.get("x-hlx") else { return Ok(StackSettings::default()) };
        let wrong = |message| Spot { rule: Rule::Settings, line: self.line(&["x-hlx"]), message };
        let value = serde_json::to_value(value).map_err(|_| wrong("`x-hlx` must be a mapping".to_owned()))?;
        read(&value).map_err(wrong)
    }

    fn claims(&self, name: &str, service: &Value) -> Vec<Claimed> {
        let off = service.get("scale").and_then(Value::as_u64) == Some(0);
        let optional = service.get("profiles").is_some();
        let hidden = self.origin == Origin::Opened;
        let line = self.line(&["services", name, "ports"]);
        let entries = service.get("ports").and_then(Value::as_sequence).into_iter().flatten();
        let claims = entries.filter(|_| !off).filter_map(ports::claim);
        claims.map(|claim| Claimed { service: name.to_owned(), claim, line, optional, hidden }).collect()
    }

    /// A secret that the file itself holds in clear.
    fn literal(&self, variable: &Variable, line: Option<usize>) -> Option<Spot> {
        let text = line.and_then(|line| self.text.lines().nth(line - 1)).unwrap_or_default();
        let clear = self.origin == Origin::Stored && secrets::is_literal(&variable.value);
        let message = format!("`{}` is in git in clear", variable.name);
        (clear && !secrets::is_allowed_line(text))
            .then(|| Spot { line, ..Spot::new(Rule::LikelySecret, message) })
    }

    /// Secrets that compose copies into containers, and so onto Docker's disk.
    fn copied(&self, top: &Mapping, kind: &str) -> Vec<Spot> {
        let sources = top.get(kind).and_then(Value::as_mapping).into_iter().flatten();
        let is_copied = |source: &Value| match source.get("environment").and_then(Value::as_str) {
            Some(variable) => kind == "secrets" || secrets::names_a_secret(variable),
            None => {
                let content = source.get("content").and_then(Value::as_str).unwrap_or_default();
                content.contains("ENC[AES256_GCM,")
            }
        };
        let copied = sources.filter(|(_, source)| is_copied(source)).filter_map(|(name, _)| name.as_str());
        let told = |name: &str| Spot {
            rule: Rule::Environment,
            line: self.line(&[kind, name]),
            message: format!(
                "Docker keeps `{name}` of `{kind}` on its disk, in the container: with `file` it stays in RAM"
            ),
        };
        copied.map(told).collect()
    }

    /// Secrets that Docker will keep on its disk with the container.
    fn environment(&self, name: &str, service: &Value) -> Vec<Spot> {
        let image = service.get("image").and_then(Value::as_str).unwrap_or_default();
        let mut spots = Vec::new();
        let mut others = Vec::new();
        for variable in variables(service.get("environment")).into_iter().filter(Variable::is_secret) {
            let path = ["services", name, "environment", &variable.name];
            spots.extend(self.literal(&variable, self.line(&path).or_else(|| self.line(&path[..3]))));
            match images::file_variant(image, &variable.name) {
                Some(variant) => spots.push(Spot {
                    rule: Rule::EnvironmentFile,
                    line: self.line(&path).or_else(|| self.line(&path[..3])),
                    message: format!(
                        "Docker keeps `{}` of `{name}` on its disk; the image also reads it from a file, named by `{variant}`",
                        variable.name
                    ),
                }),
                None => others.push(format!("`{}`", variable.name)),
            }
        }
        if !others.is_empty() {
            let message =
                format!("Docker keeps the environment of `{name}` on its disk: {}", others.join(", "));
            spots.push(Spot {
                rule: Rule::Environment,
                line: self.line(&["services", name, "environment"]),
                message,
            });
        }
        spots
    }
}

/// A variable of a container.
struct Variable {
    name: String,
    value: String,
}

impl Variable {
    /// It is encrypted, or called like a secret.
    fn is_secret(&self) -> bool {
        self.value.contains("ENC[AES256_GCM,")
            || (!self.value.is_empty() && secrets::names_a_secret(&self.name))
    }
}

/// The variables of an `environment:`, a mapping or a list.
fn variables(environment: Option<&Value>) -> Vec<Variable> {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Bool(_) | Value::Sequence(_) | Value::Mapping(_) | Value::Tagged(_) => {
            String::new()
        }
    };
    match environment {
        Some(Value::Mapping(variables)) => variables
            .iter()
            .filter_map(|(name, value)| {
                Some(Variable { name: name.as_str()?.to_owned(), value: text(value) })
            })
            .collect(),
        Some(Value::Sequence(entries)) => entries
            .iter()
            .filter_map(|entry| entry.as_str())
            // A name alone takes its value from the `.env`.
            .map(|entry| entry.split_once('=').unwrap_or((entry, "$")))
            .map(|(name, value)| Variable { name: name.to_owned(), value: value.to_owned() })
            .collect(),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Tagged(_))
        | None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(path: &str, text: &str) -> Vec<String> {
        let settings: ReadSettings = |value| match value.get("bad") {
            Some(_) => Err("there is no setting `x-hlx.bad`".to_owned()),
            None => Ok(StackSettings::default()),
        };
        let (spots, _) = read(path, text, Origin::Stored, settings);
        spots.iter().map(|spot| format!("{} {}", spot.rule.id(), spot.line.unwrap_or(0))).collect()
    }

    #[test]
    fn what_is_no_compose_file_is_told_with_its_line() {
        for (text, expected) in [
            ("services:\n  a:\n    image: x\n", &[][..]),
            ("services:\n  a:\n    build: .\nx-mine: 1\nname: n\nversion: '3'\n", &[]),
            ("services: {a: {extends: {service: b, file: c}}}\n", &[]),
            ("x: &x {image: y}\nservices:\n  a:\n    <<: *x\n", &["compose-key 1"]),
            (
                "services:\n  a:\n    image: x\nserivces: {}\nvolume:\n  x: 1\n",
                &["compose-key 4", "compose-key 5"],
            ),
            ("services:\n  a:\n    ports: ['80:80']\n", &["compose-invalid 3"]),
            ("services:\n  a: x\n", &["compose-invalid 2"]),
            ("services: [a]\n", &["compose-value 1"]),
            ("a: [\n", &["compose-invalid 1"]),
            ("- a\n", &["compose-invalid 1"]),
            ("networks: {}\n", &["compose-invalid 0"]),
            ("include: [a.yml]\n", &[]),
            ("services: {a: {image: x}, a: {image: y}}\n", &["compose-invalid 1"]),
            ("services: {a: {image: x}}\nx-hlx:\n  bad: 1\n", &["settings 3"]),
        ] {
            assert_eq!(rules("compose.yml", text), expected, "{text}");
        }
        assert_eq!(rules("compose.override.yml", "services:\n  a:\n    ports: !reset []\n"), [""; 0]);
    }

    #[test]
    fn secrets_in_the_environment_are_told_apart() {
        let sealed = "ENC[AES256_GCM,data:eA==,iv:eA==,tag:eA==,type:str]";
        let text = format!(
            "services:\n  db:\n    image: postgres:16\n    environment:\n      POSTGRES_DB: app\n      POSTGRES_PASSWORD: ${{DB}}\n  web:\n    image: x\n    environment:\n      - MODE=fast\n      - API_KEY\n      - ODD={sealed}\n      - TOKEN_FILE=/run/secrets/x\n"
        );
        assert_eq!(rules("compose.yml", &text), ["environment-file 6", "environment 10"]);
        let (spots, _) = read("compose.yml", &text, Origin::Stored, |_| Ok(StackSettings::default()));
        assert!(spots[0].message.contains("`POSTGRES_PASSWORD_FILE`"), "{spots:?}");
        assert!(spots[1].message.ends_with("`API_KEY`, `ODD`"), "{spots:?}");
    }

    #[test]
    fn secrets_that_are_copied_into_containers_are_told() {
        let sealed = "ENC[AES256_GCM,data:eA==,iv:eA==,tag:eA==,type:str]";
        let text = format!(
            "services:\n  a:\n    image: x\nsecrets:\n  s:\n    environment: S\n  f:\n    file: f\nconfigs:\n  c:\n    content: {sealed}\n  d:\n    content: clear\n  e:\n    environment: MODE\n"
        );
        assert_eq!(rules("compose.yml", &text), ["environment 6", "environment 11"]);
    }
}
