//! What services read and Compose does not compare: the content of their configs and secrets, and of
//! single files of the commit that they mount.
//!
//! Compose copies `content` and `environment` into a container when it makes it, and a file that is mounted by
//! itself stays what it was for whoever has it, as another takes its place in the project directory. So
//! a service that reads such things carries a label with a keyed hash of them, by which exactly those are
//! recreated for which one changed. A mounted directory needs none: it shows what is in it. Nor do
//! encrypted files, which have a label of their own (`super::resident`).

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use super::model::tracked;
use super::resident::{Ground, keyed_hash};
use super::stage::Variables;
use super::tree::{Entry, Kind};
use crate::secret::SecretBytes;

/// The label on services that read such things.
const LABEL: &str = "hlx.content";

/// The compose file that gives the services of a model their labels; `None` if none needs one.
pub(super) fn labels(
    model: &Value,
    variables: &Variables,
    ground: Ground<'_>,
    key: &SecretBytes,
) -> Option<Value> {
    let contents = Contents { model, variables, ground };
    let services = model["services"].as_object().into_iter().flatten();
    let labelled = services.filter_map(|(name, service)| {
        let parts = contents.of(service);
        let label = (!parts.is_empty()).then(|| json!({ LABEL: hash(key, &parts) }))?;
        Some((name.clone(), json!({ "labels": label })))
    });
    let labelled = Value::from_iter(labelled);
    labelled.as_object().is_some_and(|all| !all.is_empty()).then(|| json!({ "services": labelled }))
}

/// Something that is read: what it is to the service, and its content.
type Part<'c> = (String, &'c [u8]);

struct Contents<'c> {
    model: &'c Value,
    variables: &'c Variables,
    ground: Ground<'c>,
}

impl<'c> Contents<'c> {
    fn of(&self, service: &Value) -> BTreeSet<Part<'c>> {
        let items = |key: &str| service[key].as_array().into_iter().flatten();
        let granted = ["secrets", "configs"].into_iter().flat_map(|kind| {
            items(kind).filter_map(move |grant| self.granted(kind, grant["source"].as_str()?))
        });
        let mounted = items("volumes").filter(|mount| mount["type"] == "bind").filter_map(|mount| {
            let target = mount["target"].as_str().unwrap_or_default();
            self.file(target, mount["source"].as_str()?)
        });
        granted.chain(mounted).collect()
    }

    fn granted(&self, kind: &str, name: &str) -> Option<Part<'c>> {
        let model = self.model;
        let source = &model[kind][name];
        let what = format!("{kind} {name}");
        if let Some(text) = source["content"].as_str() {
            return Some((what, text.as_bytes()));
        }
        if let Some(variable) = source["environment"].as_str() {
            return Some((what, self.variables.get(variable)?.expose()));
        }
        self.file(&what, source["file"].as_str()?)
    }

    /// A file that the commit has in clear.
    fn file(&self, what: &str, path: &str) -> Option<Part<'c>> {
        let Ground { project, tree, unsealed } = self.ground;
        let path = tracked(Path::new(path), project, tree).filter(|path| !unsealed.holds(path))?;
        let entry: &Entry = tree.get(&path).filter(|entry| entry.kind != Kind::Link)?;
        Some((format!("{what} {:o}", entry.mode()), &entry.content))
    }
}

/// Keyed, as whoever may list containers sees it. Each field stands behind its length.
fn hash(key: &SecretBytes, parts: &BTreeSet<Part<'_>>) -> String {
    let fields = || parts.iter().flat_map(|(what, content)| [what.as_bytes(), content]);
    let lengths: Vec<[u8; 8]> = fields().map(|field| (field.len() as u64).to_le_bytes()).collect();
    let framed: Vec<&[u8]> =
        lengths.iter().zip(fields()).flat_map(|(length, field)| [&length[..], field]).collect();
    keyed_hash(key, &framed)
}

#[cfg(test)]
mod tests {
    use super::super::sealed::Unsealed;
    use super::super::tree::Tree;
    use super::*;

    const MODEL: &str = r#"{"services": {
        "inline": {"configs": [{"source": "inline"}]},
        "variable": {"secrets": [{"source": "variable"}]},
        "file": {"configs": [{"source": "file"}], "secrets": [{"source": "elsewhere"}]},
        "mount": {"volumes": [{"type": "bind", "source": "/p/x/../f", "target": "/f"}]},
        "none": {"volumes": [{"type": "bind", "source": "/p/dir", "target": "/d"}, {"type": "volume", "source": "f", "target": "/v"},
                             {"type": "bind", "source": "/p/untracked", "target": "/u"}]}},
        "configs": {"inline": {"content": "one"}, "file": {"file": "/p/f"}},
        "secrets": {"variable": {"environment": "V"}, "elsewhere": {"file": "/etc/hosts"}}}"#;

    fn labels_of(model: &str, variable: &str, file: &str, kind: Kind, key: u8) -> Value {
        let entry = |content: &str| Entry { kind, content: content.into() };
        let tree = Tree::from([("f".into(), entry(file)), ("dir/g".into(), entry(file))]);
        let unsealed = Unsealed::open(&tree, &crate::deploy::opener(|_| unreachable!())).unwrap();
        let ground = Ground { project: Path::new("/p"), tree: &tree, unsealed: &unsealed };
        let variables = Variables::from([("V".to_owned(), SecretBytes::new(variable.into()))]);
        let model = serde_json::from_str(model).unwrap();
        labels(&model, &variables, ground, &SecretBytes::new(vec![key])).unwrap()
    }

    /// The services whose label is another.
    fn changed(one: &Value, other: &Value) -> Vec<String> {
        let services = one["services"].as_object().unwrap();
        services
            .iter()
            .filter(|(name, value)| **value != other["services"][*name])
            .map(|(name, _)| name.clone())
            .collect()
    }

    #[test]
    fn a_label_depends_on_what_its_service_reads_and_on_nothing_else() {
        let same = || labels_of(MODEL, "v", "f", Kind::File, 1);
        assert_eq!(same(), same());
        let all = ["file", "inline", "mount", "variable"];
        assert_eq!(changed(&same(), &json!({})), all);
        assert_eq!(
            changed(&same(), &labels_of(&MODEL.replace("one", "two"), "v", "f", Kind::File, 1)),
            ["inline"]
        );
        assert_eq!(changed(&same(), &labels_of(MODEL, "w", "f", Kind::File, 1)), ["variable"]);
        assert_eq!(changed(&same(), &labels_of(MODEL, "v", "g", Kind::File, 1)), ["file", "mount"]);
        assert_eq!(changed(&same(), &labels_of(MODEL, "v", "f", Kind::Program, 1)), ["file", "mount"]);
        assert_eq!(changed(&same(), &labels_of(MODEL, "v", "f", Kind::File, 2)), all);
    }

    #[test]
    fn fields_do_not_run_into_each_other() {
        let hash = |one: &str, other: &'static str| {
            hash(&SecretBytes::new(vec![1]), &BTreeSet::from([(one.to_owned(), other.as_bytes())]))
        };
        assert_ne!(hash("ab", "c"), hash("a", "bc"));
    }
}
