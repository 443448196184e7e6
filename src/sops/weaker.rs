//! New values that a file's own rule leaves clear, though its branch has a stricter one.
//!
//! The rule of a sealed file stands in its `sops` block, outside of the MAC: whoever can write the file can
//! change it, and what its owner adds next would stay clear.

use std::collections::HashSet;

use crate::format::{Content, Document, Format};
use crate::policy::Rule;

use super::open::{Body, Sealed};
use super::select;

/// The path of a value of a plaintext that stays clear by the rule it is to be sealed by, and would be sealed by
/// `wanted`; `None` if there is none. What the old form of the file has in clear at that place does not count.
pub fn left_clear(
    plaintext: &[u8],
    format: Format,
    [own, wanted]: [&Rule; 2],
    old: Option<&Sealed<'_>>,
) -> Option<String> {
    if own == wanted {
        return None;
    }
    let known: HashSet<(String, Vec<u8>)> = match old.map(|old| &old.body) {
        Some(Body::Leaves { document, .. }) => values(document).map(|(_, value)| value).collect(),
        Some(Body::Whole { .. }) => return None,
        None => HashSet::new(),
    };
    let document = format.store()?.parse_plaintext(std::str::from_utf8(plaintext).ok()?).ok()?;
    let covered = [own, wanted].map(|rule| select::select(&document, rule));
    let mut clear = values(&document).filter(|(number, _)| !covered[0][*number] && covered[1][*number]);
    let (number, _) = clear.find(|(_, value)| !known.contains(value))?;
    Some(document.paths.display(document.leaves[number].path))
}

/// The values of a document that are not empty, with their numbers, as place and bytes.
fn values<'d>(document: &'d Document<'_>) -> impl Iterator<Item = (usize, (String, Vec<u8>))> + 'd {
    document.leaves.iter().enumerate().filter_map(|(number, leaf)| match &leaf.content {
        Content::Value(value) if !leaf.content.is_empty() => {
            Some((number, (document.paths.aad(leaf.path), value.bytes().into_owned())))
        }
        Content::Value(_) | Content::Comment(_) => None,
    })
}
