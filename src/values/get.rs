//! Reading one value, or all of them as JSON.

use zeroize::Zeroizing;

use crate::format::{Content, Leaf, Scalar};
use crate::secret::SecretBytes;

use super::text::Text;
use super::tree::{Found, Node, Value, plain_name};
use super::{Error, File};

/// One value, as bytes: text as it is meant, numbers and truth values as they are written.
pub fn get(file: &File<'_>, typed: &str) -> Result<SecretBytes, Error> {
    let text = Text::of(file)?;
    let key = text.key(typed)?;
    let top = text.top();
    let found = text.find(&top, &key)?;
    let Some((leaf, _)) = found.node.leaf() else {
        let known = found.node.names(text.store, &found.path);
        return Err(Error::Collection { key: key.to_string(), known });
    };
    let whole = SecretBytes::new(written(&text, leaf));
    let before = found.variable.as_ref().map_or(0, String::len);
    Ok(SecretBytes::new(whole.expose()[before..].to_vec()))
}

fn written(text: &Text<'_>, leaf: &Leaf<'_>) -> Vec<u8> {
    match &text.store.meaning(text.text, leaf) {
        Content::Value(Scalar::Str(bytes)) => bytes.to_vec(),
        Content::Value(Scalar::Bool(truth)) => truth.to_string().into_bytes(),
        Content::Value(other) => other.bytes().into_owned(),
        Content::Comment(comment) => comment.as_bytes().to_vec(),
    }
}

/// All values, or those below a key, as JSON in the order of the file. A stream of several documents is a list.
pub fn json(file: &File<'_>, typed: Option<&str>) -> Result<Zeroizing<String>, Error> {
    let text = Text::of(file)?;
    let mut out = Zeroizing::new(String::with_capacity(2 * text.text.len()));
    match typed {
        Some(typed) => {
            let key = text.key(typed)?;
            let top = text.top();
            let Found { node, variable, .. } = text.find(&top, &key)?;
            write(&text, node, variable.as_ref().map_or(0, String::len), &mut out);
        }
        None => match &super::tree::read(&text.document)[..] {
            [one] => write(&text, one, 0, &mut out),
            several => list(several, &mut out, |node, out| write(&text, node, 0, out)),
        },
    }
    Ok(out)
}

fn write(text: &Text<'_>, node: &Node<'_>, skip: usize, out: &mut String) {
    match &node.value {
        Value::Leaf(leaf, _) => scalar(&text.store.meaning(text.text, leaf), skip, out),
        Value::List(items) => list(items, out, |item, out| write(text, item, 0, out)),
        Value::Map(entries) => {
            out.push('{');
            for (number, (name, node)) in entries.iter().enumerate() {
                out.push_str(if number == 0 { "" } else { "," });
                string(plain_name(text.store, name), out);
                out.push(':');
                write(text, node, 0, out);
            }
            out.push('}');
        }
    }
}

fn list<T>(items: &[T], out: &mut String, mut write: impl FnMut(&T, &mut String)) {
    out.push('[');
    for (number, item) in items.iter().enumerate() {
        out.push_str(if number == 0 { "" } else { "," });
        write(item, out);
    }
    out.push(']');
}

fn scalar(content: &Content<'_>, skip: usize, out: &mut String) {
    match content {
        Content::Value(Scalar::Null) => out.push_str("null"),
        Content::Value(Scalar::Bool(truth)) => out.push_str(if *truth { "true" } else { "false" }),
        Content::Value(number @ (Scalar::Int(_) | Scalar::Float(_))) if is_finite(number) => {
            out.push_str(&String::from_utf8_lossy(&number.bytes()));
        }
        Content::Value(value) => string(&String::from_utf8_lossy(&value.bytes()[skip..]), out),
        Content::Comment(_) => {}
    }
}

/// JSON has no words for the others.
fn is_finite(number: &Scalar<'_>) -> bool {
    !matches!(number, Scalar::Float(number) if !number.is_finite())
}

fn string(text: &str, out: &mut String) {
    let quoted = serde_json::to_string(text).expect("every text is a JSON string");
    out.push_str(&Zeroizing::new(quoted));
}
