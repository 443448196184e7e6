//! Builds that would put a secret into their image, as far as that shows without a key: by the name of a
//! variable that the branch's `.env` keeps encrypted, or by a value that is encrypted where it stands.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;
use serde_yaml::Value;

use super::Rule;
use super::examine::Spot;

/// The file that variables are filled in from.
pub(super) const ENV: &str = ".env";

/// What a value of an encrypted file begins with.
const SEALED: &str = "ENC[AES256_GCM,";

/// `$NAME`, `${NAME}` and `${NAME:-…}`; two dollar signs are one, and no variable.
static VARIABLE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\$(?:\$|\{?([A-Za-z_][A-Za-z0-9_]*))").expect("it is tested"));

/// What of a build ends up in the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Built {
    pub(super) service: String,
    /// `build.args`, …
    pub(super) field: String,
    /// The variables that are filled in there.
    variables: BTreeSet<String>,
    /// A value there is encrypted.
    sealed: bool,
}

/// What ends up in the image that a service is built into.
pub(super) fn of_service(name: &str, service: &Value) -> Vec<Built> {
    let build = service.get("build");
    let fields = ["args", "labels", "dockerfile_inline", "additional_contexts", "context"];
    let named = fields.iter().filter_map(|field| Some((*field, build?.get(field)?)));
    let built = |(field, value): (&str, &Value)| {
        let mut built = Built {
            service: name.to_owned(),
            field: format!("build.{field}"),
            variables: BTreeSet::new(),
            sealed: false,
        };
        built.add(field, value);
        built
    };
    named.map(built).filter(|built| built.sealed || !built.variables.is_empty()).collect()
}

impl Built {
    fn add(&mut self, field: &str, value: &Value) {
        match value {
            Value::String(text) => {
                // An argument without a value takes that of the variable.
                if field == "args" && !text.contains('=') {
                    self.variables.insert(text.clone());
                }
                self.add_text(text);
            }
            Value::Sequence(entries) => entries.iter().for_each(|entry| self.add(field, entry)),
            Value::Mapping(entries) => {
                for (name, value) in entries {
                    match (name.as_str(), value) {
                        (Some(name), Value::Null) if field == "args" => {
                            self.variables.insert(name.to_owned());
                        }
                        (_, Value::String(text)) => self.add_text(text),
                        _ => {}
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Tagged(_) => {}
        }
    }

    fn add_text(&mut self, text: &str) {
        self.sealed |= text.contains(SEALED);
        let names = VARIABLE.captures_iter(text).filter_map(|found| Some(found.get(1)?.as_str().to_owned()));
        self.variables.extend(names);
    }

    /// What is wrong with it, given the variables that are encrypted.
    pub(super) fn spot(&self, encrypted: &BTreeSet<String>, line: Option<usize>) -> Option<Spot> {
        let names = self.variables.intersection(encrypted).map(|name| format!("`{name}` of {ENV}"));
        let mut all: Vec<String> = names.collect();
        if self.sealed {
            all.push("an encrypted value".to_owned());
        }
        let message = format!(
            "`{}` of `{}` would put a secret into the image, and is not deployed: {}; `build.secrets` puts none",
            self.field,
            self.service,
            all.join(", ")
        );
        (!all.is_empty()).then_some(Spot { rule: Rule::Baked, line, message })
    }
}

/// The variables of a dotenv file whose values are encrypted.
pub(super) fn encrypted(text: &str) -> BTreeSet<String> {
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    let sealed = pairs.filter(|(name, value)| !name.starts_with('#') && value.starts_with(SEALED));
    sealed.map(|(name, _)| name.trim_start_matches("export ").trim().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_that_end_up_in_an_image_are_found_where_they_are_encrypted() {
        let encrypted = encrypted("A=ENC[AES256_GCM,data:x]\n#B=ENC[AES256_GCM,x]\nC=clear\nsops_x=1\n");
        let table: [(&str, &[&str]); 8] = [
            ("{args: {X: '${A}'}}", &["build.args"]),
            ("{args: [X=$A-x]}", &["build.args"]),
            ("{args: [A]}", &["build.args"]),
            ("{args: {A: }}", &["build.args"]),
            ("{args: {X: '$$A ${B} ${C:-1} ${AB}'}}", &[]),
            ("{dockerfile_inline: \"FROM x\\nENV K=${A:?no}\\n\"}", &["build.dockerfile_inline"]),
            (
                "{labels: {a: 'ENC[AES256_GCM,data:x]'}, context: 'https://u:${A}@h/x'}",
                &["build.labels", "build.context"],
            ),
            ("{tags: ['${A}'], target: '${A}', context: .}", &[]),
        ];
        for (build, wanted) in table {
            let service: Value = serde_yaml::from_str(&format!("build: {build}")).unwrap();
            let found = of_service("web", &service);
            let found = found.iter().filter(|built| built.spot(&encrypted, None).is_some());
            assert_eq!(found.map(|built| built.field.as_str()).collect::<Vec<_>>(), wanted, "{build}");
        }
    }
}
