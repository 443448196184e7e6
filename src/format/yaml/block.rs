//! The `sops` block, as the parser reads it.

use std::collections::HashSet;

use granit_parser::{Event, ScalarStyle, Span};

use super::super::{Block, Error, Field, Step};
use super::{Walk, span, start};

impl Walk<'_> {
    /// Reads the value of the key `sops`.
    pub(super) fn metadata(&mut self, key: &Span) -> Result<(), Error> {
        let mut fields = Vec::new();
        let end = self.field(&mut Vec::new(), &mut fields)?;
        self.comments.drop_within(start(key)..end);
        let block =
            self.document.metadata.get_or_insert_with(|| Block { cut: Vec::new(), fields: Vec::new() });
        match &mut self.members {
            Some(members) => members.add_block(start(key)..end),
            None => block.cut.push(span::whole_lines(self.text, start(key), end)),
        }
        if self.ordinal == 0 {
            block.fields = fields;
        }
        Ok(())
    }

    /// Reads one node of the `sops` block; returns where it ends.
    fn field(&mut self, path: &mut Vec<Step>, fields: &mut Vec<Field>) -> Result<usize, Error> {
        let (event, span) = self.next()?;
        let at = start(&span);
        if path.len() > 8 {
            return self.refuse(at, "the `sops` block is nested too deep");
        }
        match event {
            Event::Scalar(value, style, anchor, _) => {
                if anchor != 0 {
                    self.skip_anchor()?;
                }
                let range = span.byte_range().unwrap_or(at..at);
                let end = if matches!(style, ScalarStyle::Literal | ScalarStyle::Folded) {
                    span::content_end(self.text, &range)
                } else {
                    range.end
                };
                if self.room.take_path(path).is_none() {
                    return self.refuse(at, "the names in the `sops` block are too long");
                }
                fields.push(Field { path: path.clone(), value: value.into_owned(), span: range.start..end });
                Ok(end)
            }
            Event::MappingStart(_, 0, _) => self.fields_of_mapping(path, fields, at),
            Event::SequenceStart(_, 0, _) => self.fields_of_sequence(path, fields, at),
            _ => self.refuse(at, "anchors and aliases have no place in the `sops` block"),
        }
    }

    fn fields_of_mapping(
        &mut self,
        path: &mut Vec<Step>,
        fields: &mut Vec<Field>,
        at: usize,
    ) -> Result<usize, Error> {
        let mut keys = HashSet::new();
        let mut end = at;
        loop {
            match self.next()? {
                (Event::MappingEnd, span) if keys.is_empty() => {
                    return self.refuse(start(&span), "an empty mapping is no metadata field");
                }
                (Event::MappingEnd, span) => return Ok(flow_end(&span, end)),
                (Event::Scalar(key, ..), span) => {
                    if !keys.insert(key.to_string()) {
                        return self.refuse(start(&span), format!("the field `{key}` stands here twice"));
                    }
                    path.push(Step::Key(key.into_owned()));
                }
                (_, span) => return self.refuse(start(&span), "expected the name of a metadata field"),
            }
            end = self.field(path, fields)?;
            path.pop();
        }
    }

    fn fields_of_sequence(
        &mut self,
        path: &mut Vec<Step>,
        fields: &mut Vec<Field>,
        at: usize,
    ) -> Result<usize, Error> {
        let mut end = at;
        for index in 0.. {
            match self.next()? {
                (Event::SequenceEnd, span) => return Ok(flow_end(&span, end)),
                other => self.peeked = Some(other),
            }
            path.push(Step::Index(index));
            end = self.field(path, fields)?;
            path.pop();
        }
        Ok(end)
    }
}

/// A flow collection ends with its bracket, a block collection with its last value.
pub(super) fn flow_end(span: &Span, last: usize) -> usize {
    match span.byte_range() {
        Some(range) if !range.is_empty() => range.end,
        _ => last,
    }
}
