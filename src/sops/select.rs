//! Which leaves of a document a rule seals.

use crate::format::{Content, Document, Format, Item, Paths, Style};
use crate::policy::{Mark, Pattern, Rule};

use super::Error;

/// One answer per leaf: does the rule cover it? (Empty values stay clear all the same.)
pub(super) fn select(document: &Document<'_>, rule: &Rule) -> Vec<bool> {
    let mut covered = match rule.comment() {
        Some((pattern, mark)) => by_comments(document, pattern, mark),
        None => by_paths(document, rule),
    };
    for (number, leaf) in document.leaves.iter().enumerate() {
        if leaf.style == Style::Inline {
            covered[number] |= covered[number - 1];
        }
    }
    covered
}

fn by_paths(document: &Document<'_>, rule: &Rule) -> Vec<bool> {
    let mut covered: Vec<bool> = Vec::new();
    for path in document.paths.all() {
        let answer = document
            .paths
            .split(path)
            .map_or_else(|| rule.at_top(), |(parent, key)| rule.below(covered[Paths::index(parent)], key));
        covered.push(answer);
    }
    document.leaves.iter().map(|leaf| covered[Paths::index(leaf.path)]).collect()
}

/// A comment that matches marks the next item of its collection, with all that is in it. The comment
/// itself stays clear. (getsops/sops v3.13.2, `sops.go:368-437`.)
fn by_comments(document: &Document<'_>, pattern: &Pattern, mark: Mark) -> Vec<bool> {
    let mut covered = vec![false; document.leaves.len()];
    // Whether the item to come, or the one that we are in, is marked: one answer per open collection.
    let mut marked = vec![false];
    let end_item = |marked: &mut Vec<bool>| {
        if let Some(innermost) = marked.last_mut() {
            *innermost = false;
        }
    };
    for item in &document.items {
        match item {
            Item::Open(..) => marked.push(false),
            Item::Close => {
                marked.pop();
                end_item(&mut marked);
            }
            Item::Alias => {}
            Item::Leaf(number) => {
                let number = *number as usize;
                let around = marked.contains(&true);
                match &document.leaves[number].content {
                    Content::Value(_) => {
                        covered[number] = around == (mark == Mark::Sealed);
                        end_item(&mut marked);
                    }
                    Content::Comment(text) => {
                        let own = pattern.is_match(text);
                        covered[number] = match mark {
                            Mark::Sealed => around,
                            Mark::Clear => !around && !own,
                        };
                        if let Some(innermost) = marked.last_mut() {
                            *innermost |= own;
                        }
                    }
                }
            }
        }
    }
    covered
}

/// Fails if a rule covers no value of a plaintext, or the plaintext cannot be read.
pub fn check_selects(plaintext: &[u8], format: Format, rule: &Rule) -> Result<(), Error> {
    let Some(store) = format.store() else { return Ok(()) };
    let document = store.parse_plaintext(std::str::from_utf8(plaintext).map_err(|_| Error::NotText)?)?;
    check_selection(rule, &document, &select(&document, rule))
}

/// A rule of the user's own that covers nothing would leave everything clear.
pub(super) fn check_selection(rule: &Rule, document: &Document<'_>, covered: &[bool]) -> Result<(), Error> {
    let has_values = document.leaves.iter().any(|leaf| matches!(leaf.content, Content::Value(_)));
    if has_values && !covered.contains(&true) {
        let (field, text) = rule.field();
        return Err(Error::NothingSelected { field, text: text.to_owned() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Store;

    /// The lines with what is covered in capitals.
    fn shown(text: &str, field: &'static str) -> String {
        let rule = Rule::from_fields(|name| (name == field).then_some("secret")).unwrap();
        let document = Store::Yaml.parse(text).unwrap();
        let mut out = text.to_owned();
        for (leaf, covered) in document.leaves.iter().zip(select(&document, &rule)) {
            if covered {
                let upper = text[leaf.span.clone()].to_uppercase();
                out.replace_range(leaf.span.clone(), &upper);
            }
        }
        out
    }

    /// As stock sops 3.11.0 answers for the same text.
    #[test]
    fn a_comment_marks_the_next_item_of_its_collection() {
        let text = "# top\na: v\n# secret one\n# secret two\n# third\nb: v\nc: v # secret\nd: # secret map\n  x: v\n  # inner\n  y: v\ne: v\n# secret\nf:\n  - v\n  # list\n  - k: v\ng: v\nl:\n  - a\n  # secret\n  - b\n  - c # secret\n  - d\n# secret foot\n\nh: v\nm:\n  z: v\n  # secret deep\nn: v\n# secret\no: {}\np: v\nq: # secret\nr: v\ns:\n- # secret\n- v\n";
        let sealed = "# top\na: v\n# secret one\n# SECRET TWO\n# THIRD\nb: V\nc: V # secret\nd: # secret map\n  x: V\n  # INNER\n  y: V\ne: v\n# secret\nf:\n  - V\n  # LIST\n  - k: V\ng: v\nl:\n  - a\n  # secret\n  - B\n  - C # secret\n  - d\n# secret foot\n\nh: V\nm:\n  z: v\n  # secret deep\nn: v\n# secret\no: {}\np: v\nq: # secret\nr: v\ns:\n- # secret\n- V\n";
        assert_eq!(shown(text, "encrypted_comment_regex"), sealed);
        let clear = "# TOP\na: V\n# secret one\n# secret two\n# third\nb: v\nc: v # secret\nd: # secret map\n  x: v\n  # inner\n  y: v\ne: V\n# secret\nf:\n  - v\n  # list\n  - k: v\ng: V\nl:\n  - A\n  # secret\n  - b\n  - c # secret\n  - D\n# secret foot\n\nh: v\nm:\n  z: V\n  # secret deep\nn: V\n# secret\no: {}\np: V\nq: # secret\nr: V\ns:\n- # secret\n- v\n";
        assert_eq!(shown(text, "unencrypted_comment_regex"), clear);
    }
}
