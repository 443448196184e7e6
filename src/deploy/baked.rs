//! Secrets that a build would leave in its image: on Docker's disk in clear, and in every registry that
//! the image is pushed to.
//!
//! Arguments, the lines of an inline Dockerfile and labels stand in the image's history and
//! configuration; addresses of contexts in the engine's own notes. Names (image, tags, caches) are
//! names, as those of containers and files are.

use serde_json::Value;

use super::Opener;
use super::error::Error;
use super::mask::Masker;
use super::resident::Ground;
use crate::secret::SecretBytes;

/// What of a service's build ends up in the image.
struct Field<'m> {
    service: &'m str,
    /// `build.args.NAME`, …
    name: String,
    text: &'m str,
}

/// A sealed value, by its name.
struct Leaf {
    name: String,
    value: SecretBytes,
}

/// The fields of builds that hold a sealed value, each with its name. Never a value.
pub fn find(model: &Value, ground: Ground<'_>, open: Opener<'_>) -> Result<Vec<String>, Error> {
    let is_suspect = |field: &Field<'_>| {
        let told = told(field.text, ground);
        ground.unsealed.masker.text(told.as_bytes()) != told
    };
    let suspects: Vec<Field<'_>> = fields(model).into_iter().filter(is_suspect).collect();
    if suspects.is_empty() {
        return Ok(Vec::new());
    }
    let leaves = leaves(ground, open)?;
    let found = suspects.iter().filter_map(|field| {
        let leaf = leaves.iter().find(|leaf| leaf.is_in(&told(field.text, ground)))?;
        Some(format!("service `{}`: `{}` holds {}", field.service, field.name, leaf.name))
    });
    Ok(found.collect())
}

/// The lines of a text that git does not show anyway, in a compose file of the commit.
fn told(text: &str, ground: Ground<'_>) -> String {
    let is_file = |ending: Option<&std::ffi::OsStr>| ending.is_some_and(|it| it == "yml" || it == "yaml");
    let files = ground.tree.iter().filter(|(path, _)| is_file(path.extension()));
    let files: Vec<_> = files.map(|(_, entry)| String::from_utf8_lossy(&entry.content)).collect();
    let is_told = |line: &&str| !files.iter().any(|file| file.contains(line.trim()));
    text.lines().filter(is_told).collect::<Vec<_>>().join("\n")
}

fn fields(model: &Value) -> Vec<Field<'_>> {
    let services = model["services"].as_object().into_iter().flatten();
    let builds = services.filter_map(|(name, service)| Some((name.as_str(), service["build"].as_object()?)));
    let mut fields = Vec::new();
    for (service, build) in builds {
        let mut add = |name: String, text| fields.push(Field { service, name, text });
        for key in ["args", "labels", "additional_contexts"] {
            let entries = build.get(key).and_then(Value::as_object).into_iter().flatten();
            let texts = entries.filter_map(|(name, value)| Some((name, value.as_str()?)));
            texts.for_each(|(name, text)| add(format!("build.{key}.{name}"), text));
        }
        let text = |key| build.get(key).and_then(Value::as_str);
        text("dockerfile_inline").into_iter().for_each(|text| add("build.dockerfile_inline".into(), text));
        // The path of a directory is in no image.
        let context = text("context").filter(|context| !context.starts_with('/'));
        context.into_iter().for_each(|text| add("build.context".into(), text));
    }
    fields
}

impl Leaf {
    fn is_in(&self, text: &str) -> bool {
        Masker::new([self.value.expose()]).text(text.as_bytes()) != text
    }
}

/// Every sealed value of the commit. Comments are none.
fn leaves(ground: Ground<'_>, open: Opener<'_>) -> Result<Vec<Leaf>, Error> {
    let mut leaves = Vec::new();
    for path in ground.unsealed.paths() {
        let sealed = ground.tree.get(path).map_or(&[][..], |entry| &entry.content);
        let opened = open(sealed).map_err(|source| Error::Keys { path: path.clone(), source })?;
        // A name with a line feed in it begins no line of its own.
        let file = path.display().to_string().escape_debug().to_string();
        let of = |name: &str| match name {
            "" => file.clone(),
            name => format!("`{}` of {file}", name.escape_debug()),
        };
        let values = opened.values().into_iter();
        leaves.extend(
            values.map(|(name, value)| Leaf { name: of(&name), value: SecretBytes::new(value.into_owned()) }),
        );
    }
    Ok(leaves)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_up_in_an_image_is_looked_at_and_names_are_not() {
        let model = serde_json::json!({"services": {
            "a": {"image": "i:${V}", "build": {"context": "/p", "args": {"A": "1", "B": null}, "labels": {"l": "2"}, "tags": ["t"],
                  "dockerfile_inline": "FROM x", "target": "t", "cache_from": ["c"], "additional_contexts": {"b": "3"}}},
            "b": {"build": {"context": "https://u:p@host/x.git"}}, "c": {"image": "x"}}});
        let found: Vec<_> =
            fields(&model).into_iter().map(|field| format!("{} {}", field.service, field.name)).collect();
        assert_eq!(
            found,
            [
                "a build.args.A",
                "a build.labels.l",
                "a build.additional_contexts.b",
                "a build.dockerfile_inline",
                "b build.context"
            ]
        );
    }
}
