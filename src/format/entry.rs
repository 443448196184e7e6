//! Changing one entry of a plaintext: another value in its place, an entry less, an entry more.
//!
//! What is proposed here is text, to be read again before it is believed: `values` accepts it only if
//! just that entry changed.

use std::ops::Range;

use zeroize::Zeroizing;

use super::{Content, Leaf, Scalar, Step, Store, Style, dotenv, ini, json, lines, yaml};

/// What stands in the way of taking an entry out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// It is the only one: what remains would be no collection.
    Only,
    /// It shares its lines with others in a way that is not understood.
    Form,
}

/// A text to put in the place of a part of another.
pub type Replacement = (Range<usize>, Zeroizing<String>);

impl Store {
    /// What a value says to those who use the file. For dotenv that is what Compose reads.
    pub fn meaning<'l>(self, text: &str, leaf: &'l Leaf<'_>) -> Content<'l> {
        match (self, leaf.style) {
            (Self::Dotenv, Style::Line) => {
                let mut value = dotenv::value::read(&text[leaf.span.clone()]);
                Content::Value(Scalar::str(std::mem::take(&mut *value)))
            }
            (Self::Dotenv | Self::Yaml | Self::Json | Self::Ini, _) => leaf.content.clone(),
        }
    }

    /// Ways to write another value in a leaf's place, the one nearest to the old style first.
    pub fn respell(self, text: &str, leaf: &Leaf<'_>, value: &Content<'_>) -> Vec<Replacement> {
        match self {
            Self::Dotenv => {
                let spelled =
                    value.text().and_then(|new| dotenv::value::spell(&text[leaf.span.clone()], new));
                spelled.map(|spelled| (leaf.span.clone(), spelled)).into_iter().collect()
            }
            Self::Yaml => yaml::spell::again(text, leaf, value),
            Self::Json => vec![(leaf.span.clone(), json::spell_open(value))],
            Self::Ini => ini::again(text, leaf, value),
        }
    }

    /// What to cut to take an entry out. `leaf` is its value, if it is one, and `until` where the last of its leaves ends.
    pub fn cut(
        self,
        text: &str,
        path: &[Step],
        leaf: Option<&Leaf<'_>>,
        until: usize,
    ) -> Result<Range<usize>, Obstacle> {
        match self {
            Self::Dotenv | Self::Ini => {
                leaf.map(|leaf| lines::cut(text, leaf.span.clone())).ok_or(Obstacle::Form)
            }
            // JSON is YAML too, as far as entries go.
            Self::Yaml | Self::Json => yaml::outline::cut(text, path, until),
        }
    }

    /// Where a new entry of a collection goes, and its text with some value. `name` is for mappings only;
    /// `last` is the last value there is, and `until` where its own comments end.
    pub fn slot(
        self,
        text: &str,
        path: &[Step],
        name: Option<&str>,
        last: Option<&Leaf<'_>>,
        until: usize,
    ) -> Option<(usize, String)> {
        match self {
            Self::Dotenv => {
                let above = last.map_or("", |leaf| &text[lines::whole(text, leaf.span.clone())]);
                let export = if above.starts_with("export ") { "export " } else { "" };
                let entry = format!("{export}{}=x", name?);
                Some((text.len(), lines::add(text, text.len(), &entry)))
            }
            Self::Yaml | Self::Json => yaml::outline::slot(text, path, name, until),
            Self::Ini => ini::slot(text, name?, last?),
        }
    }
}
