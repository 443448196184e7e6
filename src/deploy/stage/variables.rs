//! Variables that secrets and configs are made of.
//!
//! Compose reads them when it makes a container, from its environment or from `.env`. Here it makes containers
//! from the model that it printed, without `.env`, which may hold what Compose itself goes by. So it is asked
//! for their values while it has `.env`, and is given them in a file of the vault, under names that mean nothing else.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{ASK, Stage};
use crate::deploy::error::Error;
use crate::deploy::model::{Model, Source};
use crate::deploy::outlet::lines;
use crate::format::dotenv;
use crate::secret::SecretBytes;

const ASKED: &str = "variables-asked.json";
const NAMES: &str = "variables.json";
/// What Compose reads in place of `.env`.
pub(super) const VALUES: &str = "variables.env";

/// Variables and their values.
pub(in crate::deploy) type Variables = BTreeMap<String, SecretBytes>;

impl Stage<'_> {
    /// Asks for the variables of the model's secrets and configs; the commit's own `.env` must be seen.
    pub(super) fn ask_variables(&mut self, model: &Model) -> Result<Variables, Error> {
        let wanted: BTreeMap<&str, Value> = sources(model)
            .filter_map(|(_, _, source)| Some((source.environment.as_deref()?, Value::Null)))
            .collect();
        if wanted.is_empty() {
            return Ok(Variables::new());
        }
        let asked = json!({"services": {"asked": {"image": "none", "environment": wanted}}});
        self.put(ASKED, asked.to_string().into())?;
        let files = [self.vault.dir().join(ASKED)];
        let call = self.with_env_file(self.docker_compose(&files, Some("asked"), ASK));
        let done = self.vault.output(call.args(["config", "--format", "json"])).map_err(Error::Vault)?;
        if !done.end.is_success() {
            let said = self.ground.unsealed.masker.text(done.err.expose());
            return Err(Error::Model { broken: None, said: lines(&said) });
        }
        let mut answer: Value = serde_json::from_slice(done.out.expose()).map_err(Error::Unreadable)?;
        let found = read(&mut answer["services"]["asked"]["environment"]);
        are_set(model, &found)?;
        Ok(found)
    }

    /// Gives them to every call of Compose on the model.
    pub(super) fn give_variables(&mut self, model: &Model, variables: Variables) -> Result<(), Error> {
        if variables.is_empty() {
            return Ok(());
        }
        let mut values = zeroize::Zeroizing::new(String::new());
        for (index, (name, value)) in variables.iter().enumerate() {
            let text = String::from_utf8_lossy(value.expose());
            let spelled = dotenv::value::spell("", &text).ok_or_else(|| {
                no_model(format!("the value of the variable {name} cannot be handed to it"))
            })?;
            values.push_str(&alias(index));
            values.push('=');
            values.push_str(&spelled);
            values.push('\n');
        }
        self.put(VALUES, values.as_bytes().to_vec())?;
        let names: BTreeSet<&str> = variables.keys().map(String::as_str).collect();
        self.lay_over(NAMES, &renamed(model, &names))?;
        self.variables = variables;
        Ok(())
    }

    fn put(&mut self, name: &str, content: Vec<u8>) -> Result<(), Error> {
        self.vault.put(name, 0o600, SecretBytes::new(content)).map_err(Error::Vault)
    }
}

/// Secrets and configs: of which kind, the name, and where it comes from.
fn sources(model: &Model) -> impl Iterator<Item = (&'static str, &String, &Source)> {
    let secrets = model.secrets.iter().map(|(name, source)| ("secret", name, source));
    secrets.chain(model.configs.iter().map(|(name, source)| ("config", name, source)))
}

/// Variables as `config` prints them: `$` twice, and nothing for one that is not set.
fn read(environment: &mut Value) -> Variables {
    let all = environment.as_object_mut().map(std::mem::take).into_iter().flatten();
    let set = all.filter_map(|(name, value)| match value {
        Value::String(text) => Some((name, SecretBytes::new(text.replace("$$", "$").into_bytes()))),
        _ => None,
    });
    set.collect()
}

/// Compose would find out when it makes the container.
fn are_set(model: &Model, found: &Variables) -> Result<(), Error> {
    let granted = |kind: &str, name: &str| {
        model.services.values().any(|service| {
            let grants = if kind == "secret" { &service.secrets } else { &service.configs };
            grants.iter().any(|grant| grant.source == name)
        })
    };
    let mut wanted =
        sources(model).filter_map(|(kind, name, source)| Some((kind, name, source.environment.as_ref()?)));
    match wanted.find(|(kind, name, variable)| granted(kind, name) && !found.contains_key(*variable)) {
        Some((kind, name, variable)) => Err(no_model(format!(
            "the variable {variable}, of which the {kind} `{name}` is made, is not set in .env"
        ))),
        None => Ok(()),
    }
}

fn no_model(said: String) -> Error {
    Error::Model { broken: None, said }
}

/// The compose file that names the variables as they are given.
fn renamed(model: &Model, names: &BTreeSet<&str>) -> Value {
    let of = |wanted: &'static str| -> Value {
        let all = sources(model).filter(|(kind, ..)| *kind == wanted);
        let named = all.filter_map(|(_, name, source)| {
            let index = names.iter().position(|known| source.environment.as_deref() == Some(known))?;
            Some((name.clone(), json!({ "environment": alias(index) })))
        });
        Value::from_iter(named)
    };
    json!({"secrets": of("secret"), "configs": of("config")})
}

fn alias(index: usize) -> String {
    format!("HLX_VARIABLE_{index}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(granted: &str) -> Model {
        let text = format!(
            r#"{{"name":"p","services":{{"a":{{"secrets":[{{"source":"{granted}"}}]}}}},
            "secrets":{{"s":{{"environment":"S"}},"unset":{{"environment":"U"}},"f":{{"file":"/f"}}}},
            "configs":{{"c":{{"environment":"A"}}}}}}"#
        );
        Model::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn values_are_read_as_they_are_and_named_anew() {
        let found = read(&mut json!({"A": "a$$$$b", "S": "", "U": null}));
        let shown: Vec<_> =
            found.iter().map(|(name, value)| (name.as_str(), value.expose().as_slice())).collect();
        assert_eq!(shown, [("A", &b"a$$b"[..]), ("S", b"")]);
        let names = found.keys().map(String::as_str).collect();
        let wanted = json!({"secrets": {"s": {"environment": "HLX_VARIABLE_1"}}, "configs": {"c": {"environment": "HLX_VARIABLE_0"}}});
        assert_eq!(renamed(&model("s"), &names), wanted);
    }

    #[test]
    fn what_a_service_is_granted_must_be_set() {
        let found = read(&mut json!({"A": "1", "S": "2", "U": null}));
        assert!(are_set(&model("s"), &found).is_ok() && are_set(&model("f"), &found).is_ok());
        let error = are_set(&model("unset"), &found).unwrap_err().to_string();
        assert!(error.contains("the variable U, of which the secret `unset` is made, is not set"), "{error}");
    }
}
