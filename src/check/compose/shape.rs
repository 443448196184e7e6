//! What may stand somewhere in a compose file, and where a file has something else.
//!
//! Only what is certain is wrong: an encrypted value, one with a variable, and what stands under a `!reset` may
//! be anything.

use serde_yaml::{Mapping, Value};

use crate::format::Step;
use crate::policy::creation::nearest;

use super::super::ports;
use super::spelling;

/// What may stand at a place.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape {
    /// Whatever there is.
    Any,
    /// A string; a number is none.
    Text,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// True or false.
    Flag,
    /// A whole number.
    Count,
    /// A number.
    Number,
    /// A length of time.
    Length,
    /// A number of bytes.
    Size,
    /// A port in its short form.
    Port,
    /// A list.
    List(&'static Shape),
    /// A mapping with these keys.
    Map(&'static [(&'static str, Shape)]),
    /// A mapping with any keys.
    Named(&'static Shape),
    /// What the one of these says that is of the same kind: scalar, list or mapping.
    Either(&'static [Shape]),
}

/// What is wrong at a place.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum What {
    /// There is no such key; this one is the nearest.
    Key(Option<&'static str>),
    /// There should be this.
    Value(String),
}

/// Something wrong, and where.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) path: Vec<Step>,
    pub(super) what: What,
}

/// Everything that is wrong in a file.
pub(super) fn judge(file: &Value, shape: &Shape) -> Vec<Wrong> {
    let mut judge = Judge { path: Vec::new(), found: Vec::new() };
    judge.look(file, shape);
    judge.found
}

/// Whether what a scalar says is decided elsewhere: it is encrypted, or has a variable.
pub(in crate::check) fn is_open(text: &str) -> bool {
    text.contains('$') || text.contains("ENC[AES256_GCM,")
}

struct Judge {
    path: Vec<Step>,
    found: Vec<Wrong>,
}

impl Judge {
    fn look(&mut self, value: &Value, shape: &Shape) {
        match (value, shape) {
            (Value::Null, _) | (_, Shape::Any) => {}
            (Value::Tagged(tagged), _) => {
                if tagged.tag == "override" {
                    self.look(&tagged.value, shape);
                }
            }
            (_, Shape::Either(shapes)) => match shapes.iter().find(|shape| shape.is_kind_of(value)) {
                Some(shape) => self.look(value, shape),
                None => self.refuse(shape),
            },
            (Value::Mapping(entries), Shape::Map(keys)) => self.keys(entries, keys),
            (Value::Mapping(entries), Shape::Named(shape)) => {
                entries.iter().for_each(|(name, value)| self.entry(name, value, shape));
            }
            (Value::Sequence(items), Shape::List(shape)) => {
                for (index, item) in items.iter().enumerate() {
                    self.path.push(Step::Index(index));
                    self.look(item, shape);
                    self.path.pop();
                }
            }
            (Value::String(text), _) if is_open(text) => {}
            _ if shape.takes(value) => {}
            _ => self.refuse(shape),
        }
    }

    fn keys(&mut self, entries: &Mapping, keys: &'static [(&'static str, Shape)]) {
        for (name, value) in entries {
            let Some(text) = name.as_str() else { continue };
            match keys.iter().find(|(key, _)| *key == text) {
                Some((_, shape)) => self.entry(name, value, shape),
                None if text.starts_with("x-") || text == "<<" => {}
                None => {
                    let known: Vec<&str> = keys.iter().map(|(key, _)| *key).collect();
                    let mut path = self.path.clone();
                    path.push(Step::Key(text.to_owned()));
                    self.found.push(Wrong { path, what: What::Key(nearest(text, &known)) });
                }
            }
        }
    }

    fn entry(&mut self, name: &Value, value: &Value, shape: &Shape) {
        if let Some(name) = name.as_str() {
            self.path.push(Step::Key(name.to_owned()));
            self.look(value, shape);
            self.path.pop();
        }
    }

    fn refuse(&mut self, shape: &Shape) {
        self.found.push(Wrong { path: self.path.clone(), what: What::Value(shape.name()) });
    }
}

impl Shape {
    /// Whether both are scalars, lists or mappings.
    fn is_kind_of(&self, value: &Value) -> bool {
        match self {
            Self::Any => true,
            Self::Either(shapes) => shapes.iter().any(|shape| shape.is_kind_of(value)),
            Self::List(_) => value.is_sequence(),
            Self::Map(_) | Self::Named(_) => value.is_mapping(),
            Self::Text
            | Self::OneOf(_)
            | Self::Flag
            | Self::Count
            | Self::Number
            | Self::Length
            | Self::Size
            | Self::Port => !value.is_sequence() && !value.is_mapping(),
        }
    }

    /// Whether it takes a scalar.
    fn takes(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Any | Self::Text, Value::String(_)) => true,
            (Self::OneOf(words), Value::String(text)) => words.contains(&text.as_str()),
            (Self::Flag, Value::String(text)) => spelling::is_flag(text),
            (Self::Flag, Value::Bool(_)) => true,
            (Self::Count, Value::String(text)) => text.parse::<i64>().is_ok(),
            (Self::Count, Value::Number(number)) => !number.is_f64(),
            (Self::Number, Value::String(text)) => text.parse::<f64>().is_ok(),
            (Self::Number | Self::Size, Value::Number(_)) => true,
            (Self::Length, Value::String(text)) => spelling::is_length(text),
            (Self::Size, Value::String(text)) => spelling::is_size(text),
            (Self::Port, Value::String(text)) => ports::is_entry(text),
            (Self::Port, Value::Number(number)) => ports::is_entry(&number.to_string()),
            (Self::Either(shapes), _) => shapes.iter().any(|shape| shape.takes(value)),
            _ => false,
        }
    }

    /// What is told that should be there.
    fn name(&self) -> String {
        match self {
            Self::Any => "something".to_owned(),
            Self::Text => "text, in quotes if it looks like something else".to_owned(),
            Self::OneOf(words) => format!("one of {}", words.join(", ")),
            Self::Flag => "`true` or `false`".to_owned(),
            Self::Count => "a whole number".to_owned(),
            Self::Number => "a number".to_owned(),
            Self::Length => "a length of time, as `1m30s`".to_owned(),
            Self::Size => "a size, as `512m`".to_owned(),
            Self::Port => "a port from 1 to 65535, as `8080:80`".to_owned(),
            Self::List(_) => "a list".to_owned(),
            Self::Map(_) | Self::Named(_) => "a mapping".to_owned(),
            Self::Either(shapes) => shapes.iter().map(Self::name).collect::<Vec<_>>().join(" or "),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::keys;
    use super::*;

    fn wrong(text: &str) -> Vec<String> {
        let mut file: Value = serde_yaml::from_str(text).unwrap();
        file.apply_merge().unwrap();
        let step = |step: &Step| match step {
            Step::Key(key) => key.clone(),
            Step::Index(index) => index.to_string(),
        };
        let shown = |wrong: &Wrong| wrong.path.iter().map(step).collect::<Vec<_>>().join(".");
        judge(&file, &keys::FILE).iter().map(shown).collect()
    }

    #[test]
    fn only_what_is_certain_is_wrong() {
        for (service, expected) in [
            ("{image: x, x-mine: {a: 1}, labels: {a: 1}, command: [a], environment: [A=b, C]}", &[][..]),
            ("{imagee: x}", &["imagee"]),
            ("{imagee: $X, healthcheck: {intervall: 1s}}", &["imagee", "healthcheck.intervall"]),
            ("{ports: 80}", &["ports"]),
            ("{ports: [80, '8080:80', {target: 80, published: '${P}'}]}", &[]),
            ("{ports: [99999, 'a:b', {target: a}]}", &["ports.0", "ports.1", "ports.2.target"]),
            ("{ports: ['$P:80', 'ENC[AES256_GCM,data:x]', 80.5]}", &["ports.2"]),
            (
                "{healthcheck: {interval: 5parsecs, timeout: '${T}', test: [CMD, x]}}",
                &["healthcheck.interval"],
            ),
            ("{user: 1000, privileged: yes, tty: true, init: maybe}", &["user", "init"]),
            ("{ports: !reset [], networks: !override [1], image: !reset 5}", &["networks.0"]),
            ("{build: ., env_file: [a, {path: b, required: false}], gpus: all, ulimits: {nofile: 1}}", &[]),
            (
                "{mem_limit: lots, scale: 1.5, cpus: '0.5', deploy: {replicas: x}}",
                &["mem_limit", "scale", "deploy.replicas"],
            ),
            ("{depends_on: {a: {condition: service_up}}}", &["depends_on.a.condition"]),
            (
                "{networks: {a: , b: {aliases: [c]}}, volumes: [a:/b, {type: bind, source: a, target: /b}]}",
                &[],
            ),
        ] {
            let expected: Vec<String> = expected.iter().map(|path| format!("services.a.{path}")).collect();
            let mut found = wrong(&format!("services: {{a: {service}}}"));
            found.sort();
            let mut sorted = expected.clone();
            sorted.sort();
            assert_eq!(found, sorted, "{service}");
        }
        assert_eq!(wrong("x-a: &a {image: x, foo: 1}\nservices: {b: {<<: *a}}"), ["services.b.foo"]);
        assert_eq!(wrong("volumes: {a: {drivr: x}, b: }\nnetworks: [a]"), ["volumes.a.drivr", "networks"]);
    }
}
