//! Giving a sealed file more readers, without touching its values: what `sops updatekeys` does.

use crate::format::{Document, Field, LAYOUT, Step, Store, Tail, binary};
use crate::policy::Rule;

use super::Error;
use super::groups::KeyGroups;
use super::metadata::Metadata;
use super::open::{Body, Sealed};

impl Sealed<'_> {
    /// The same file with the same data key wrapped otherwise. Values, MAC and time stay.
    pub fn with_groups(&self, groups: KeyGroups) -> String {
        self.with_metadata(&Metadata { groups, ..self.metadata.clone() })
    }

    /// The file with other values and other metadata. `renewed` is its text with other ciphertexts, or the one
    /// ciphertext of a whole file.
    pub(super) fn renewed(&self, renewed: &str, metadata: Metadata) -> Result<String, Error> {
        match &self.body {
            Body::Whole { .. } => Ok(self.whole(renewed, &metadata)),
            Body::Leaves { .. } => Ok(Sealed::parse(renewed.as_bytes())?.with_metadata(&metadata)),
        }
    }

    fn with_metadata(&self, metadata: &Metadata) -> String {
        match &self.body {
            Body::Whole { data } => self.whole(data, metadata),
            Body::Leaves { store, document, .. } => {
                let block = document.metadata.as_ref().expect("a sealed file has metadata");
                let kept = block.fields.iter().filter(|field| !is_known(field)).cloned();
                let fields: Vec<Field> = without_version(metadata.fields(false)).chain(kept).collect();
                replace(self.text, *store, document, &fields)
            }
        }
    }

    fn whole(&self, data: &str, metadata: &Metadata) -> String {
        let old = binary::parse(self.text).map(|whole| whole.fields).unwrap_or_default();
        let kept = old.into_iter().filter(|field| !is_known(field));
        let fields: Vec<Field> = without_version(metadata.fields(true)).chain(kept).collect();
        binary::render(data, &fields)
    }
}

/// The version says who wrote the values, and those stay.
fn without_version(fields: Vec<Field>) -> impl Iterator<Item = Field> {
    fields.into_iter().filter(|field| field.top_name() != Some("version"))
}

/// True for the fields that [`Metadata`] writes.
fn is_known(field: &Field) -> bool {
    let Some(Step::Key(top)) = field.path.first() else { return false };
    let own = [LAYOUT, "lastmodified", "mac", "mac_only_encrypted"];
    own.contains(&top.as_str()) || KeyGroups::is_field(top) || Rule::FIELDS.contains(&top.as_str())
}

fn replace(text: &str, store: Store, document: &Document<'_>, fields: &[Field]) -> String {
    let cuts: Vec<_> = document.metadata.iter().flat_map(|block| block.cut.iter().cloned()).collect();
    let block = store.spell_metadata(fields, document.tail);
    // Lines that stand together are one place, and the block goes to the first; a member goes behind the last.
    let place = match document.tail {
        Tail::Lines(end) => cuts.first().map_or(end, |cut| cut.start),
        Tail::Member(end, _) => end,
    };
    let mut out = String::with_capacity(text.len() + block.len());
    let mut at = 0;
    let mut put = Some(block);
    let end = text.len()..text.len();
    for cut in cuts.into_iter().chain(std::iter::once(end)) {
        if place <= cut.start
            && let Some(block) = put.take()
        {
            out.push_str(&text[at..place]);
            out.push_str(&block);
            at = place;
        }
        out.push_str(&text[at..cut.start]);
        at = cut.end;
    }
    if !text.ends_with('\n') && out.ends_with('\n') {
        out.pop();
    }
    out
}
