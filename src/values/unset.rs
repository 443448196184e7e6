//! Taking one entry out, with its own lines and nothing else.

use std::ops::Range;

use crate::format::{Content, Item, Obstacle, Store};
use crate::secret::SecretBytes;

use super::key::Key;
use super::text::Text;
use super::{Error, File, line_of};

/// The plaintext without an entry. A dotenv file loses every line with that name.
pub fn unset(file: &File<'_>, typed: &str) -> Result<SecretBytes, Error> {
    file.check_changeable()?;
    let text = Text::of(file)?;
    without_any(&text, &text.key(typed)?)
}

fn without_any(text: &Text<'_>, key: &Key) -> Result<SecretBytes, Error> {
    let new = without(text, key)?;
    let rest = std::str::from_utf8(new.expose()).ok().filter(|_| text.store == Store::Dotenv);
    match rest.and_then(|rest| text.again(rest)).map(|rest| without_any(&rest, key)) {
        None | Some(Err(Error::NoSuchKey { .. })) => Ok(new),
        Some(shorter) => shorter,
    }
}

fn without(text: &Text<'_>, key: &Key) -> Result<SecretBytes, Error> {
    let top = text.top();
    let found = text.find(&top, key)?;
    let items = found.node.items.clone();
    let first = leaves(text, items.clone()).next().map(|number| &text.document.leaves[number]);
    let at = first.map_or(0, |leaf| text.document.alias(leaf).unwrap_or(&leaf.span).start);
    let (key, line) = (|| key.to_string(), line_of(text.text, at));
    if found.node.copied {
        return Err(Error::Copy { key: key(), line });
    }
    let leaf = found.node.leaf().map(|(leaf, _)| leaf);
    let cut = text.store.cut(text.text, &found.path, leaf, found.node.end(&text.document));
    let cut = cut.map_err(|obstacle| match obstacle {
        Obstacle::Only => Error::Only { key: key(), line },
        Obstacle::Form => Error::Form { key: key(), line },
    })?;
    let mut new = text.with(&cut, "");
    let gone = gone(text, items.clone(), &cut);
    let is_good = gone.as_ref().is_some_and(|gone| {
        text.again(&new).is_some_and(|read| {
            text.without(&|number| gone[number], items).is_like(&read.without(&|_| false, 0..0))
        })
    });
    match is_good {
        true => Ok(SecretBytes::new(std::mem::take(&mut *new).into_bytes())),
        false => Err(Error::Form { key: key(), line }),
    }
}

/// The leaves among some items.
fn leaves(text: &Text<'_>, items: Range<usize>) -> impl Iterator<Item = usize> {
    text.document.items[items].iter().filter_map(|item| match item {
        Item::Leaf(number) => Some(*number as usize),
        Item::Open(..) | Item::Alias | Item::Close => None,
    })
}

/// Which leaves go with an entry: its own, comments behind it, and copies of it that aliases make. `None` if the cut
/// would take others too.
fn gone(text: &Text<'_>, items: Range<usize>, cut: &Range<usize>) -> Option<Vec<bool>> {
    let mut gone = vec![false; text.document.leaves.len()];
    leaves(text, items).for_each(|number| gone[number] = true);
    for (number, leaf) in text.document.leaves.iter().enumerate() {
        if gone[number] || !cut.contains(&leaf.span.start) {
            continue;
        }
        let line = text.text[..leaf.span.start].rfind('\n').map_or(0, |end| end + 1);
        let before = text.text[line..leaf.span.start].trim_matches([' ', '\t', '#', ';']);
        gone[number] = match &leaf.content {
            Content::Comment(_) => !before.is_empty(),
            Content::Value(_) => leaf.alias.is_some(),
        };
        if !gone[number] {
            return None;
        }
    }
    Some(gone)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::text::tests::read;

    fn after(store: Store, text: &str, key: &str) -> Result<String, String> {
        let text = read(store, text);
        let new = text.key(key).and_then(|key| without_any(&text, &key));
        let new = new.map_err(|error| error.to_string())?;
        Ok(String::from_utf8(new.expose().clone()).unwrap())
    }

    #[test]
    fn an_entry_goes_with_its_lines_and_nothing_else() {
        for (text, key, new) in [
            ("# h\na: 1 # c\n# t\nb: 2\n", "a", "# h\n# t\nb: 2\n"),
            ("a: 1\nb: 2", "b", "a: 1"),
            ("a: 1\nb: |\n  x\n\n  y\nc: 3\n", "b", "a: 1\nc: 3\n"),
            ("a: 1\nb:\n  x: 1\n  # deep\nc: 3\n", "b", "a: 1\nc: 3\n"),
            ("a:\n- x: 1\n  y: 2\n", "a[0].x", "a:\n- y: 2\n"),
            ("a:\n- x: 1\n  y: 2\n", "a[0].y", "a:\n- x: 1\n"),
            ("a:\n- p\n- &x q # c\n- r\n", "a[1]", "a:\n- p\n- r\n"),
            ("a: {x: 1, y: 2, z: 3}\n", "a.y", "a: {x: 1, z: 3}\n"),
            ("a: {x: 1, y: 2}\n", "a.y", "a: {x: 1}\n"),
            ("a: {x: 1}\n", "a.x", "a: {}\n"),
            ("{\n  \"a\": 1,\n  \"b\": [1, 2]\n}\n", "b", "{\n  \"a\": 1\n}\n"),
            ("a: &n {x: 1}\nb: *n\n", "b", "a: &n {x: 1}\n"),
            ("a: &n {x: 1, y: 2}\nb: *n\n", "a.x", "a: &n {y: 2}\nb: *n\n"),
            ("a:\nb: 1\n", "a", "b: 1\n"),
            ("a: 1\r\nb: 2\r\n", "a", "b: 2\r\n"),
            ("a: 1\n---\na: 2\nb: 3\n", "a", ""),
        ] {
            let (found, new) = (after(Store::Yaml, text, key), new.to_owned());
            if new.is_empty() {
                assert!(found.is_err(), "{text}")
            } else {
                assert_eq!(found, Ok(new), "{text}")
            }
        }
        for (text, key, new) in [
            ("{\n\t\"a\": 1,\n\t\"b\": {\"c\": [1]}\n}\n", "b", "{\n\t\"a\": 1\n}\n"),
            ("{\"a\":{\"b\":1},\"c\":2}", "a", "{\"c\":2}"),
            ("{\"a\": [1, \"\\/\", 3]}", "a[1]", "{\"a\": [1, 3]}"),
            ("{\"a\": 1}", "a", "{}"),
        ] {
            assert_eq!(after(Store::Json, text, key).as_deref(), Ok(new), "{text}");
        }
        for (text, new) in [
            ("; about A\nA = 1 ; c\n; about B\nB = 2\n", "; about A\n; about B\nB = 2\n"),
            ("[x]\nA=1\n[DEFAULT]\nA=\"\"\"p\nq\"\"\"\nB=2\n", "[x]\nA=1\n[DEFAULT]\nB=2\n"),
            ("A = one \\\n  two\nB=2\n", "B=2\n"),
        ] {
            assert_eq!(after(Store::Ini, text, "DEFAULT.A").as_deref(), Ok(new), "{text}");
        }
        for (text, new) in [
            ("A=1\nB=2\n", "B=2\n"),
            ("B=2\nA=1", "B=2"),
            ("A=1\nB=2\nexport A='x\ny'\n# A\n", "B=2\n# A\n"),
            ("A=1", ""),
        ] {
            assert_eq!(after(Store::Dotenv, text, "A").as_deref(), Ok(new), "{text}");
        }
    }

    #[test]
    fn what_cannot_go_alone_stays() {
        for (text, key, error) in [
            (
                "a:\n  x: 1\nb: 2\n",
                "a.x",
                "line 2: `a.x` is the only entry there: without it, its collection would be something else",
            ),
            (
                "a: &n {x: 1}\nb: *n\n",
                "a",
                "line 1: `a` stands in a form in which it cannot be changed alone",
            ),
            ("a: &n {x: 1}\nb: *n\n", "b.x", "line 2: `b.x` stands there by an alias only"),
            (
                "a:\n- x: 1\n  # about y\n  y: 2\n",
                "a[0].x",
                "line 2: `a[0].x` stands in a form in which it cannot be changed alone",
            ),
        ] {
            assert_eq!(after(Store::Yaml, text, key), Err(error.to_owned()), "{text}");
        }
    }
}
