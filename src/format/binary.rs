//! The binary store: a whole file sealed as one value of a JSON object.
//!
//! `{"data": "ENC[…]", "sops": {…}}`, with no rule for what to seal. (getsops/sops v3.13.2,
//! `stores/json`.)

use serde_json::{Map, Value};

use super::{Field, Format, json};

/// A sealed whole file, read.
#[derive(Debug)]
pub struct Whole {
    /// The sealed value, or the empty text of an empty file.
    pub data: String,
    /// The metadata.
    pub fields: Vec<Field>,
}

/// Reads a sealed whole file. `None` if the text is anything else.
pub fn parse(text: &str) -> Option<Whole> {
    json::sealed(text).filter(|format| *format == Format::Binary)?;
    let document = json::parse(text).ok()?;
    let data = document.leaves.first()?.content.text()?.to_owned();
    Some(Whole { data, fields: document.metadata?.fields })
}

/// Writes a sealed whole file as sops does: tabs, and a final line feed.
pub fn render(data: &str, fields: &[Field]) -> String {
    let object = Map::from_iter([("data".to_owned(), data.into()), ("sops".to_owned(), json::tree(fields))]);
    json::pretty(&Value::Object(object)) + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Step;

    #[test]
    fn what_is_rendered_parses_to_the_same() {
        let enc = Field {
            path: vec![Step::Key("age".into()), Step::Index(0), Step::Key("enc".into())],
            value: "armor\n".into(),
            span: 0..0,
        };
        let fields = vec![enc, Field::top("mac", "m"), Field::top("version", "3.11.0")];
        let whole = parse(&render("ENC[x]", &fields)).unwrap();
        assert_eq!(whole.data, "ENC[x]");
        let plain =
            |fields: &[Field]| fields.iter().map(|f| (f.path.clone(), f.value.clone())).collect::<Vec<_>>();
        assert_eq!(plain(&whole.fields), plain(&fields));
    }

    #[test]
    fn other_json_is_no_sealed_file() {
        assert!(parse("{\"data\": \"x\"}").is_none());
        assert!(parse("{\"data\": \"x\", \"sops\": {}, \"more\": 1}").is_none());
        assert!(parse("{\"data\": \"x\", \"sops\": {\"mac\": \"m\", \"hlx\": \"l\"}}").is_none());
        assert!(parse("[]").is_none());
    }
}
