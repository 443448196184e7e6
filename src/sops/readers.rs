//! Giving a sealed file more readers, without touching its values: what `sops updatekeys` does.

use crate::crypto::envelope::Envelope;
use crate::format::{Field, Store, binary};

use super::metadata::Metadata;
use super::open::{Body, Sealed};

impl Sealed {
    /// The same file with other envelopes of the same data key. Values, MAC and time stay.
    pub fn with_envelopes(&self, envelopes: Vec<Envelope>) -> String {
        let metadata = Metadata { envelopes, ..self.metadata.clone() };
        match &self.body {
            Body::Whole { data } => binary::render(data, &metadata.fields(true)),
            Body::Leaves { store, document, .. } => {
                let block = document.metadata.as_ref().expect("a sealed file has metadata");
                replace(&self.text, *store, &block.cut, &metadata.fields(false))
            }
        }
    }
}

fn replace(text: &str, store: Store, cuts: &[std::ops::Range<usize>], fields: &[Field]) -> String {
    let block = store.spell_metadata(fields);
    let mut out = String::with_capacity(text.len() + block.len());
    let mut at = 0;
    // Lines of dotenv metadata that stand together are one place; the block goes to the first.
    for (index, cut) in cuts.iter().enumerate() {
        out.push_str(&text[at..cut.start]);
        if index == 0 {
            out.push_str(&block);
        }
        at = cut.end;
    }
    out.push_str(&text[at..]);
    if !text.ends_with('\n') && out.ends_with('\n') {
        out.pop();
    }
    out
}
