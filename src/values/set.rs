//! Setting one value: its own text changes, or one entry comes after the others.

use zeroize::Zeroizing;

use crate::format::{Content, Leaf, Scalar, Step, Store, Style, dotenv, json};
use crate::secret::SecretBytes;

use super::key::{Key, Part, typed as typed_key};
use super::text::Text;
use super::tree::{Found, Missing, Node, Value};
use super::{Error, File, line_of};

/// The type of a new value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// Text.
    Str,
    /// A whole number.
    Int,
    /// A number.
    Float,
    /// True or false.
    Bool,
    /// Nothing.
    Null,
}

/// A plaintext with another value in it.
#[derive(Debug)]
pub struct Edited {
    /// All of it.
    pub plaintext: SecretBytes,
    /// The name of the value, as [`crate::sops::Opened::names`] has it.
    pub name: String,
    /// Where there was no such key before: the keys with a similar name.
    pub added: Option<Vec<String>>,
}

/// The plaintext with a value at a key. Without a type it keeps the old value's, if it can be of that type, else it is text.
pub fn set(file: &File<'_>, typed: &str, value: &SecretBytes, kind: Option<Type>) -> Result<Edited, Error> {
    file.check_changeable()?;
    set_in(&Text::of(file)?, typed, value, kind)
}

fn set_in(text: &Text<'_>, typed: &str, value: &SecretBytes, kind: Option<Type>) -> Result<Edited, Error> {
    let key = text.key(typed)?;
    let value = std::str::from_utf8(value.expose()).map_err(|_| Error::NotText)?;
    if let (Store::Dotenv | Store::Ini, Some(Type::Int | Type::Float | Type::Bool | Type::Null)) =
        (text.store, kind)
    {
        return Err(Error::OnlyText);
    }
    let top = text.top();
    match text.follow(&top, &key) {
        Ok(found) => replace(text, &key, &found, value, kind),
        Err(missing) => {
            if let (Store::Dotenv, [Part::Name(name)]) = (text.store, &key.0[..])
                && !dotenv::is_variable(name)
            {
                return Err(Error::NoVariable(name.clone()));
            }
            let longer = add(text, &missing).ok_or_else(|| missing.error(text.store, &key))??;
            let longer = text.again(&longer).expect("it was read before");
            let top = longer.top();
            let edited = replace(&longer, &key, &longer.find(&top, &key)?, value, kind)?;
            Ok(Edited { added: Some(missing.similar(text.store, &key)), ..edited })
        }
    }
}

/// Another value in the place of one that is there.
fn replace(
    text: &Text<'_>,
    key: &Key,
    found: &Found<'_, '_>,
    value: &str,
    kind: Option<Type>,
) -> Result<Edited, Error> {
    let Some((leaf, number)) = found.node.leaf() else {
        let known = found.node.names(text.store, &found.path);
        return Err(Error::Collection { key: key.to_string(), known });
    };
    if let Some(alias) = text.document.alias(leaf) {
        return Err(Error::Copy { key: key.to_string(), line: line_of(text.text, alias.start) });
    }
    let variable = found.variable.as_deref().unwrap_or_default();
    let whole = Zeroizing::new(format!("{variable}{value}"));
    let wanted = Content::Value(scalar(&whole, leaf, kind)?);
    let name = text.document.paths.display(leaf.path);
    if text.store.meaning(text.text, leaf) == wanted {
        return Ok(Edited { plaintext: bytes(Zeroizing::new(text.text.to_owned())), name, added: None });
    }
    // Aliases make copies of it, which follow.
    let same = |other: usize| text.document.leaves[other].span == leaf.span;
    for (place, spelled) in text.store.respell(text.text, leaf, &wanted) {
        let new = text.with(&place, &spelled);
        let is_good = text.again(&new).is_some_and(|read| {
            let there = read.document.leaves.get(number);
            there.is_some_and(|there| read.store.meaning(read.text, there) == wanted)
                && read.document.leaves.len() == text.document.leaves.len()
                && text.without(&same, 0..0).is_like(&read.without(&same, 0..0))
        });
        if is_good {
            return Ok(Edited { plaintext: bytes(new), name, added: None });
        }
    }
    Err(Error::Unspellable { line: line_of(text.text, leaf.span.start) })
}

fn bytes(mut text: Zeroizing<String>) -> SecretBytes {
    SecretBytes::new(std::mem::take(&mut *text).into_bytes())
}

/// The value with its type. In JSON its digits decide whether a number is whole.
fn scalar<'v>(value: &'v str, old: &Leaf<'_>, kind: Option<Type>) -> Result<Scalar<'v>, Error> {
    match (old.style, of_kind(value, old, kind)?) {
        (Style::Json, Scalar::Float(number)) => {
            Ok(json::whole(number).map_or(Scalar::Float(number), Scalar::Int))
        }
        (_, scalar) => Ok(scalar),
    }
}

fn of_kind<'v>(value: &'v str, old: &Leaf<'_>, kind: Option<Type>) -> Result<Scalar<'v>, Error> {
    let of = |kind| typed(value, kind);
    match kind {
        Some(Type::Str) => Ok(Scalar::str(value)),
        Some(kind) => of(kind).ok_or(Error::NotOfType(kind.name())),
        None => {
            let kept = match &old.content {
                Content::Value(Scalar::Int(_)) if old.style == Style::Json => {
                    of(Type::Int).or_else(|| of(Type::Float))
                }
                Content::Value(Scalar::Int(_)) => of(Type::Int),
                Content::Value(Scalar::Float(_)) => of(Type::Float),
                Content::Value(Scalar::Bool(_)) => of(Type::Bool),
                Content::Value(Scalar::Str(_) | Scalar::Time(_) | Scalar::Null) | Content::Comment(_) => None,
            };
            Ok(kept.unwrap_or_else(|| Scalar::str(value)))
        }
    }
}

fn typed(value: &str, kind: Type) -> Option<Scalar<'_>> {
    match kind {
        Type::Str => Some(Scalar::str(value)),
        // Only what is written back as it was typed.
        Type::Int => value.parse().ok().filter(|number: &i64| number.to_string() == value).map(Scalar::Int),
        Type::Float => value.parse().ok().map(Scalar::Float),
        Type::Bool => value.parse().ok().map(Scalar::Bool),
        Type::Null => value.is_empty().then_some(Scalar::Null),
    }
}

impl Type {
    fn name(self) -> &'static str {
        match self {
            Self::Str => "text",
            Self::Int => "whole number",
            Self::Float => "number",
            Self::Bool => "`true` or `false`",
            Self::Null => "null, which has no text",
        }
    }
}

/// The text with one more entry where a key led nowhere, if only its last part did. `None` if there is no place
/// for it.
fn add(text: &Text<'_>, missing: &Missing<'_, '_>) -> Option<Result<Zeroizing<String>, Error>> {
    let [part] = &missing.rest[..] else { return None };
    let around = missing.around.node;
    let (entry, siblings): (Entry<'_>, Vec<&Node<'_>>) = match &around.value {
        Value::Leaf(..) => return None,
        Value::Map(entries) => (Entry::Named(part.name()?), entries.iter().map(|(_, node)| node).collect()),
        Value::List(items) => {
            let entry = match (part.index(), part.name()) {
                (Some(index), _) if index == items.len() => Entry::Item,
                (None, Some(name)) if around.lists_variables() => Entry::Variable(name),
                (Some(_) | None, _) => return None,
            };
            (entry, items.iter().collect())
        }
    };
    Some(put(text, &missing.around.path, entry, siblings.last().copied()))
}

/// What is added to a collection.
#[derive(Clone, Copy)]
enum Entry<'n> {
    /// To a mapping.
    Named(&'n str),
    /// To a list.
    Item,
    /// To a list of texts `NAME=value`.
    Variable(&'n str),
}

/// The text with one more entry, and some value in it.
fn put(
    text: &Text<'_>,
    path: &[Step],
    entry: Entry<'_>,
    last: Option<&Node<'_>>,
) -> Result<Zeroizing<String>, Error> {
    let until = last.map_or(0, |node| node.end(&text.document));
    let form = || Error::Form { key: typed_key(path), line: line_of(text.text, until) };
    let name = match entry {
        Entry::Named(name) => Some(name),
        Entry::Item | Entry::Variable(_) => None,
    };
    let leaf = last.and_then(Node::leaf).map(|(leaf, _)| leaf);
    let (at, written) = text.store.slot(text.text, path, name, leaf, until).ok_or_else(form)?;
    let new = text.with(&(at..at), &written);
    let read = text.again(&new).ok_or_else(form)?;
    let inserted = at..at + written.len();
    let is_new = |number: usize| inserted.contains(&read.document.leaves[number].span.start);
    if !text.without(&|_| false, 0..0).is_like(&read.without(&is_new, 0..0)) {
        return Err(form());
    }
    let Entry::Variable(name) = entry else { return Ok(new) };
    // Its name makes the key lead to it.
    let leaf =
        read.document.leaves.iter().find(|leaf| inserted.contains(&leaf.span.start)).ok_or_else(form)?;
    let named = Content::Value(Scalar::str(format!("{name}=")));
    let spelled = read.store.respell(read.text, leaf, &named).into_iter().next();
    spelled.map(|(place, spelled)| read.with(&place, &spelled)).ok_or_else(form)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::text::tests::read;

    fn after(store: Store, text: &str, key: &str, value: &str, kind: Option<Type>) -> Result<String, String> {
        let text = read(store, text);
        let edited =
            set_in(&text, key, &SecretBytes::new(value.into()), kind).map_err(|error| error.to_string())?;
        Ok(String::from_utf8(edited.plaintext.expose().clone()).unwrap())
    }

    #[test]
    fn only_the_value_changes_in_its_own_style() {
        for (text, key, value, new) in [
            ("a: x # c\nb: 1\n", "a", "y", "a: y # c\nb: 1\n"),
            ("a: \"x\"\n", "a", "y", "a: \"y\"\n"),
            ("a: 'x'\n", "a", "it's", "a: 'it''s'\n"),
            ("a: x\n", "a", "12", "a: \"12\"\n"),
            ("a: 1\n", "a", "12", "a: 12\n"),
            ("a: 1\n", "a", "012", "a: \"012\"\n"),
            ("a: true\n", "a", "false", "a: false\n"),
            ("a: 1.5\n", "a", "2.25", "a: 2.25\n"),
            ("a:\nb: 1\n", "a", "y", "a: y\nb: 1\n"),
            ("b: 1\na:", "a", "y", "b: 1\na: y"),
            ("a:  # c\nb: 1\n", "a", "y", "a: y  # c\nb: 1\n"),
            ("a: |\n  x\n  y\nb: 1\n", "a", "z\n", "a: |\n  z\nb: 1\n"),
            ("a: |\n  x\n  y\nb: 1\n", "a", "z", "a: z\nb: 1\n"),
            ("a: >-\n  x\n\nb: 1\n", "a", "p\nq\n", "a: |\n    p\n    q\n\nb: 1\n"),
            ("a: x\nb: 1\n", "a", "p\nq\n", "a: |\n    p\n    q\nb: 1\n"),
            ("a: [x, {b: y}]\n", "a[1].b", "z, w", "a: [x, {b: \"z, w\"}]\n"),
            ("a: &n x\nb: *n\n", "a", "y", "a: &n y\nb: *n\n"),
            ("a: !!str 1\n", "a", "2", "a: \"2\"\n"),
            ("a: x\r\nb: 1\r\n", "a", "y", "a: y\r\nb: 1\r\n"),
        ] {
            assert_eq!(after(Store::Yaml, text, key, value, None).as_deref(), Ok(new), "{text}");
        }
    }

    #[test]
    fn a_new_entry_follows_the_last_in_its_style() {
        for (text, key, new) in [
            ("m:\n  a: x # c\n  # end\nn: 1\n", "m.b", "m:\n  a: x # c\n  b: v\n  # end\nn: 1\n"),
            ("m:\n  \"a\": \"x\"", "m.b", "m:\n  \"a\": \"x\"\n  \"b\": \"v\""),
            ("m:\n  - a: x\n", "m[0].b", "m:\n  - a: x\n    b: v\n"),
            ("m:\n  a: {}\nn: 1\n", "m.a.b", "m:\n  a: {b: \"v\"}\nn: 1\n"),
            ("m:\n- A=1\n- 'B=2'\n", "m.C", "m:\n- A=1\n- 'B=2'\n- 'C=v'\n"),
            ("m:\n- x\n", "m[1]", "m:\n- x\n- v\n"),
            (
                "m:\n  a:\n    x: 1\n    # deep\nn: 1\n",
                "m.b",
                "m:\n  a:\n    x: 1\n    # deep\n  b: v\nn: 1\n",
            ),
            ("m:\n  a: |\n    x\n\nn: 1\n", "m.b", "m:\n  a: |\n    x\n  b: v\n\nn: 1\n"),
            ("a: 1\r\n", "b", "a: 1\r\nb: v\r\n"),
            ("a: 1\n", "[\"b: c\"]", "a: 1\n\"b: c\": v\n"),
            (
                "{\n  \"a\": {\n    \"x\": \"y\"\n  }\n}\n",
                "a.b",
                "{\n  \"a\": {\n    \"x\": \"y\",\n    \"b\": \"v\"\n  }\n}\n",
            ),
        ] {
            assert_eq!(after(Store::Yaml, text, key, "v", None).as_deref(), Ok(new), "{text}");
        }
        for (text, new) in [
            ("", "A=v\n"),
            ("B=1", "B=1\nA=v"),
            ("export B=1\n\n# end\n", "export B=1\n\n# end\nexport A=v\n"),
        ] {
            assert_eq!(after(Store::Dotenv, text, "A", "v", None).as_deref(), Ok(new), "{text}");
        }
    }

    #[test]
    fn ini_files_keep_their_ways() {
        for (text, key, new) in [
            ("[a]\nk = x ; c\n", "a.k", "[a]\nk = v ; c\n"),
            ("k=\"x\"\n", "DEFAULT.k", "k=\"v\"\n"),
            (
                "[a]\n; about k\n  k : x\n\n[b]\nk=1\n",
                "a.new",
                "[a]\n; about k\n  k : x\n  new : v\n\n[b]\nk=1\n",
            ),
            ("[a.b]\nk=x", "[\"a.b\"].l", "[a.b]\nk=x\nl=v"),
        ] {
            assert_eq!(after(Store::Ini, text, key, "v", None).as_deref(), Ok(new), "{text}");
        }
        for (text, key, value, new) in [
            ("{\"a\": \"x\", \"b\": 1}\n", "a", "it's \"<é>\"", "{\"a\": \"it's \\\"<é>\\\"\", \"b\": 1}\n"),
            ("{\"a\": 1}", "a", "2.50", "{\"a\": 2.5}"),
            ("{\"a\": 1.5}", "a", "3", "{\"a\": 3}"),
            ("{\"a\": 1}", "a", "9007199254740993", "{\"a\": 9007199254740993}"),
            ("{\"a\": 1}", "a", "x", "{\"a\": \"x\"}"),
            ("{\"a\": [true, null]}", "a[0]", "false", "{\"a\": [false, null]}"),
            ("{\n\t\"a\": {\"b\": 1}\n}\n", "c", "v", "{\n\t\"a\": {\"b\": 1},\n\t\"c\": \"v\"\n}\n"),
            ("{\"a\":{}}", "a[\"b.c\"]", "v", "{\"a\":{\"b.c\": \"v\"}}"),
            ("{\"a\": [1]}", "a[1]", "2", "{\"a\": [1, \"2\"]}"),
            ("{}", "a", "v", "{\"a\": \"v\"}"),
        ] {
            assert_eq!(after(Store::Json, text, key, value, None).as_deref(), Ok(new), "{text}");
        }
        let odd = after(Store::Ini, "k=\"x\"\n", "DEFAULT.k", "a # \"b\"", None);
        assert_eq!(odd.as_deref(), Ok("k=`a # \"b\"`\n"));
    }

    #[test]
    fn what_cannot_be_set_is_refused_with_its_place() {
        for (text, key, value, kind, error) in [
            ("a: 1\n", "b.c", "v", None, "there is no `b.c`; there is `a`"),
            ("a: {b: 1}\n", "a", "v", None, "`a` is not one value; there is `a.b`"),
            ("a: 1\nb: &x {c: 1}\nd: *x\n", "d.c", "v", None, "line 3: `d.c` stands there by an alias only"),
            ("a: 1\n", "a", "x", Some(Type::Int), "the value is no whole number"),
            ("a: [1]\n", "a[3]", "x", None, "there is no `a[3]`; there is `a[0]`"),
        ] {
            assert_eq!(after(Store::Yaml, text, key, value, kind), Err(error.to_owned()), "{text}");
        }
        assert_eq!(
            after(Store::Dotenv, "A=1\n", "A", "1", Some(Type::Int)),
            Err("dotenv and INI know no types: every value is a text".to_owned())
        );
        for name in ["not a name", "1BAD", "A/B"] {
            let expected = Err(format!("`{name}` is no name of a variable"));
            assert_eq!(after(Store::Dotenv, "A=1\n", name, "1", None), expected);
        }
    }
}
