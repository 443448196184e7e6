//! The `sops` block of a file that is sealed again: the old one, where it can stay.

use crate::format::{Block, Document, Field, LAYOUT, Store, Tail};
use crate::sops::metadata::Metadata;

/// The old block with a new time, MAC and layout entry; written anew if fields come or go, or if it has another
/// form in its new place.
pub(super) fn renew(text: &str, store: Store, old: &Document<'_>, tail: Tail, metadata: &Metadata) -> String {
    let new = |field: &Field| match field.top_name() {
        Some("lastmodified") => Some(metadata.lastmodified.as_str()),
        Some("mac") => Some(metadata.mac.as_str()),
        Some(LAYOUT) => metadata.layout.as_deref(),
        _ => None,
    };
    let block = old.metadata.as_ref().expect("a sealed file has metadata");
    let had_layout = block.fields.iter().any(|field| field.top_name() == Some(LAYOUT));
    let [cut] = &block.cut[..] else {
        return rewrite(store, tail, block, metadata, new);
    };
    if had_layout != metadata.layout.is_some() || !old.tail.is_like(tail) {
        return rewrite(store, tail, block, metadata, new);
    }
    let mut out = String::new();
    let mut at = cut.start;
    for field in &block.fields {
        if let Some(value) = new(field) {
            out.push_str(&text[at..field.span.start]);
            out.push_str(&store.spell_field(&text[field.span.clone()], value));
            at = field.span.end;
        }
    }
    out.push_str(&text[at..cut.end]);
    if matches!(tail, Tail::Lines(_)) && !out.ends_with('\n') {
        out.push('\n');
    }
    out
}

fn rewrite<'a>(
    store: Store,
    tail: Tail,
    block: &Block,
    metadata: &'a Metadata,
    new: impl Fn(&Field) -> Option<&'a str>,
) -> String {
    let is_layout = |field: &Field| field.top_name() == Some(LAYOUT);
    let kept = block.fields.iter().filter(|field| !is_layout(field));
    let mut fields: Vec<Field> = kept
        .map(|field| Field { value: new(field).unwrap_or(&field.value).to_owned(), ..field.clone() })
        .collect();
    fields.extend(metadata.layout.as_ref().map(|layout| Field::top(LAYOUT, layout)));
    store.spell_metadata(&fields, tail)
}
