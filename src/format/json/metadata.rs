//! The `sops` block as a JSON value: its fields read with their places, and written.

use serde::Serialize as _;
use serde_json::{Map, Value};

use super::super::room::Room;
use super::super::{Collection, Error, Field, Neighbour, Step};
use super::scan::{Scanner, Token, unquote};

/// How deep sops nests its block.
const MAX_DEPTH: usize = 8;

/// Reads the block's value, which comes next; gives its fields and where it ends.
pub(super) fn read(text: &str, scanner: &mut Scanner<'_>) -> Result<(Vec<Field>, usize), Error> {
    let around = scanner.depth();
    let mut fields = Vec::new();
    let mut path: Vec<Step> = Vec::new();
    let mut room = Room::of(text);
    while let Some((token, span)) = scanner.next()? {
        let written = &text[span.clone()];
        match token {
            Token::Key => {
                path.pop();
                path.push(Step::Key(unquote(written).into_owned()));
                continue;
            }
            Token::Open(_) if path.len() == MAX_DEPTH => {
                return scanner.refuse("the `sops` block is nested too deep");
            }
            Token::Open(Collection::Map) => {
                path.push(Step::Key(String::new()));
                continue;
            }
            Token::Open(Collection::List) => {
                path.push(Step::Index(0));
                continue;
            }
            Token::Close => drop(path.pop()),
            Token::Number | Token::Bool(_) if is_text(path.last()) => {
                return scanner.refuse("this field of the `sops` block must be a string");
            }
            Token::Str | Token::Number | Token::Bool(_) => {
                if room.take_path(&path).is_none() {
                    return scanner.refuse("the names in the `sops` block are too long");
                }
                let value = if token == Token::Str { unquote(written) } else { written.into() };
                fields.push(Field { path: path.clone(), value: value.into_owned(), span: span.clone() });
            }
            Token::Null => {}
        }
        if scanner.depth() == around {
            return Ok((fields, span.end));
        }
        if let Some(Step::Index(position)) = path.last_mut() {
            *position += 1;
        }
    }
    scanner.refuse("the `sops` block has no end")
}

/// Whether sops reads a field into a string, and refuses the file if it holds anything else.
fn is_text(last: Option<&Step>) -> bool {
    let Some(Step::Key(name)) = last else { return false };
    ["enc", "recipient", "lastmodified", "mac", "version"].contains(&name.as_str())
        || name.ends_with("_suffix")
        || name.ends_with("_regex")
}

/// The block's value.
pub fn tree(fields: &[Field]) -> Value {
    let mut root = Value::Object(Map::new());
    for field in fields {
        *field.path.iter().fold(&mut root, below) = match (field.top_name(), field.value.as_str()) {
            (Some("mac_only_encrypted"), "true") => Value::Bool(true),
            (Some("shamir_threshold"), number) => {
                number.parse::<u64>().map_or_else(|_| Value::String(number.to_owned()), Value::from)
            }
            (_, text) => Value::String(text.to_owned()),
        };
    }
    root
}

/// One step down, made where it is missing. (Names that stand twice may disagree on what is there.)
fn below<'v>(place: &'v mut Value, step: &Step) -> &'v mut Value {
    match step {
        Step::Key(key) => {
            if !place.is_object() {
                *place = Value::Object(Map::new());
            }
            &mut place[key.as_str()]
        }
        Step::Index(index) => {
            if !place.is_array() {
                *place = Value::Array(Vec::new());
            }
            let items = place.as_array_mut().expect("it was just made");
            items.resize((*index + 1).max(items.len()), Value::Null);
            &mut items[*index]
        }
    }
}

/// A value as sops writes it, indented by tabs.
pub fn pretty(value: &Value) -> String {
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
    value.serialize(&mut serializer).expect("a JSON value serializes into memory");
    String::from_utf8(out).expect("JSON is UTF-8")
}

/// The block as a member of the outermost object, as sops indents it.
pub fn member(fields: &[Field], neighbour: Neighbour) -> String {
    let object = Value::Object(Map::from_iter([("sops".to_owned(), tree(fields))]));
    let object = pretty(&object);
    let inner = object.strip_prefix('{').and_then(|object| object.strip_suffix("\n}"));
    join(inner.expect("an object with one member"), neighbour)
}

/// The block as a member of a YAML flow mapping. Its name has no quotes, so that the text is no JSON.
pub fn compact(fields: &[Field], neighbour: Neighbour) -> String {
    let space = match neighbour {
        Neighbour::None => "",
        Neighbour::Before => " ",
    };
    join(&format!("{space}sops: {}", for_yaml(&tree(fields).to_string())), neighbour)
}

/// A JSON text with the characters escaped that YAML cannot hold, or takes for line breaks. They stand in strings only.
fn for_yaml(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            other => out.push(other),
        }
    }
    out
}

/// A member that stands alone ends its line, so that the closing bracket comes on the next.
fn join(member: &str, neighbour: Neighbour) -> String {
    match neighbour {
        Neighbour::None => format!("{member}\n"),
        Neighbour::Before => format!(",{member}"),
    }
}
