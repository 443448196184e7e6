//! The binary store: a whole file sealed as one value of a JSON object.
//!
//! `{"data": "ENC[…]", "sops": {…}}`, with no rule for what to seal. (getsops/sops v3.13.2,
//! `stores/json`.)

use serde_json::{Map, Value};

use super::room::Room;
use super::{Field, Step};

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
    if !text.trim_start().starts_with('{') {
        return None;
    }
    let mut object: Map<String, Value> = serde_json::from_str(text).ok()?;
    let (data, sops) = (object.remove("data")?, object.remove("sops")?);
    let (Value::String(data), true) = (data, object.is_empty()) else { return None };
    let mut fields = Vec::new();
    flatten(&sops, &mut Vec::new(), &mut fields, &mut Room::of(text))?;
    Some(Whole { data, fields })
}

/// `None` if the names take too much room.
fn flatten(value: &Value, path: &mut Vec<Step>, fields: &mut Vec<Field>, room: &mut Room) -> Option<()> {
    let text = match value {
        Value::Object(members) => {
            return members.iter().try_for_each(|(key, value)| {
                path.push(Step::Key(key.clone()));
                flatten(value, path, fields, room)?;
                path.pop();
                Some(())
            });
        }
        Value::Array(items) => {
            return items.iter().enumerate().try_for_each(|(index, value)| {
                path.push(Step::Index(index));
                flatten(value, path, fields, room)?;
                path.pop();
                Some(())
            });
        }
        Value::Null => return Some(()),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    };
    room.take_path(path)?;
    fields.push(Field { path: path.clone(), value: text, span: 0..0 });
    Some(())
}

/// Writes a sealed whole file as sops does: tabs, and a final line feed.
pub fn render(data: &str, fields: &[Field]) -> String {
    let mut sops = Value::Object(Map::new());
    for field in fields {
        let mut place = &mut sops;
        for step in &field.path {
            place = match step {
                Step::Key(key) => {
                    if place.is_null() {
                        *place = Value::Object(Map::new());
                    }
                    &mut place[key.as_str()]
                }
                Step::Index(index) => {
                    if place.is_null() {
                        *place = Value::Array(Vec::new());
                    }
                    let items = place.as_array_mut().expect("a list's fields have indices");
                    items.resize((*index + 1).max(items.len()), Value::Null);
                    &mut items[*index]
                }
            };
        }
        *place = match (field.top_name(), field.value.as_str()) {
            (Some("mac_only_encrypted"), "true") => Value::Bool(true),
            (Some("shamir_threshold"), number) => {
                number.parse::<u64>().map_or_else(|_| Value::String(number.to_owned()), Value::from)
            }
            (_, text) => Value::String(text.to_owned()),
        };
    }
    let object = Value::Object(Map::from_iter([("data".to_owned(), data.into()), ("sops".to_owned(), sops)]));
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
    serde::Serialize::serialize(&object, &mut serializer).expect("a JSON value serializes into memory");
    out.push(b'\n');
    String::from_utf8(out).expect("JSON is UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(whole.fields, fields);
    }

    #[test]
    fn other_json_is_no_sealed_file() {
        assert!(parse("{\"data\": \"x\"}").is_none());
        assert!(parse("{\"data\": \"x\", \"sops\": {}, \"more\": 1}").is_none());
        assert!(parse("[]").is_none());
    }
}
