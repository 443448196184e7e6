//! The binary store: a whole file sealed as one value of a JSON object.
//!
//! `{"data": "ENC[…]", "sops": {…}}`, with no rule for what to seal. (getsops/sops v3.13.2,
//! `stores/json`.)

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::{Content, Field, Scalar, json};

/// A sealed whole file, read.
#[derive(Debug)]
pub struct Whole<'t> {
    /// The sealed value, or the empty text of an empty file.
    pub data: Cow<'t, str>,
    /// The metadata.
    pub fields: Vec<Field>,
}

/// Reads a sealed whole file, as which [`json::sealed`] knows it. `None` if it is broken.
pub fn parse(text: &str) -> Option<Whole<'_>> {
    let document = json::parse(text).ok()?;
    let data = match document.leaves.into_iter().next()?.content {
        Content::Value(Scalar::Str(Cow::Borrowed(data))) => Cow::Borrowed(std::str::from_utf8(data).ok()?),
        other => Cow::Owned(other.text()?.to_owned()),
    };
    Some(Whole { data, fields: document.metadata?.fields })
}

/// Writes a sealed whole file as sops does: tabs, and a final line feed.
pub fn render(data: &str, fields: &[Field]) -> String {
    let around = |data: &str| {
        let object =
            Map::from_iter([("data".to_owned(), data.into()), ("sops".to_owned(), json::tree(fields))]);
        json::pretty(&Value::Object(object))
    };
    if data.bytes().any(|byte| !byte.is_ascii_graphic() || matches!(byte, b'"' | b'\\')) {
        return around(data) + "\n";
    }
    // It may be hundreds of MB: it is copied just once.
    let around = around("");
    let (head, tail) = around.split_once("\"\"").expect("the value is empty");
    let mut text = String::with_capacity(around.len() + data.len() + 1);
    [head, "\"", data, "\"", tail, "\n"].iter().for_each(|part| text.push_str(part));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{Format, Step};

    #[test]
    fn what_is_rendered_parses_to_the_same() {
        let enc = Field {
            path: vec![Step::Key("age".into()), Step::Index(0), Step::Key("enc".into())],
            value: "armor\n".into(),
            span: 0..0,
        };
        let fields = vec![enc, Field::top("mac", "m"), Field::top("version", "3.11.0")];
        for data in ["ENC[x]", "", "ENC[x]\"\\\u{e9}\n"] {
            assert_eq!(parse(&render(data, &fields)).unwrap().data, data);
        }
        let text = render("ENC[x]", &fields);
        assert!(text.starts_with("{\n\t\"data\": \"ENC[x]\",\n\t\"sops\": {\n") && text.ends_with("}\n"));
        let whole = parse(&text).unwrap();
        let plain =
            |fields: &[Field]| fields.iter().map(|f| (f.path.clone(), f.value.clone())).collect::<Vec<_>>();
        assert_eq!(plain(&whole.fields), plain(&fields));
    }

    #[test]
    fn other_json_is_no_sealed_file() {
        for text in [
            "{\"data\": \"x\"}",
            "{\"data\": \"x\", \"sops\": {}, \"more\": 1}",
            "{\"data\": \"x\", \"sops\": {\"mac\": \"m\", \"hlx\": \"l\"}}",
            "[]",
        ] {
            assert_ne!(json::sealed(text), Some(Format::Binary), "{text}");
        }
    }
}
