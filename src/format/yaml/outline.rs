//! Where the entries of a YAML text stand, keys and all: what to cut to take one away, and where a new one goes.
//!
//! Leaves tell only where values are. This is a second, simpler reading, made only when an entry comes or goes.
//! What is cut or put in by it is read again by the caller, who accepts it only if just that entry changed.

use std::collections::HashMap;
use std::ops::Range;

use granit_parser::{Event, Parser, ScalarStyle, Span, StrInput, StructureStyle, options};

use super::super::{Context, Obstacle, Step, lines};
use super::block::flow_end;
use super::{span, spell, start};

/// What a collection holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Map,
    List,
}

/// A collection with its entries.
struct Collection {
    kind: Kind,
    context: Context,
    /// Its opening bracket, in flow context.
    start: usize,
    entries: Vec<Entry>,
}

/// One key with its value, or one item of a list.
struct Entry {
    /// The key; `None` in a list.
    name: Option<String>,
    /// Where its key or dash stands.
    start: usize,
    /// The value.
    value: Range<usize>,
    /// What the value holds, if it is a collection.
    inner: Option<Collection>,
}

type Events<'t> = Parser<'t, StrInput<'t>>;

/// The collection at the top of the first document.
fn read(text: &str) -> Option<Collection> {
    let options = options! {
        block_scalar_eof_without_line_feed: true,
        max_buffered_comment_events: usize::MAX,
    };
    let mut events = Parser::new_from_str_with_options(text, options);
    loop {
        match next(&mut events)? {
            (Event::StreamStart | Event::DocumentStart(..), _) => {}
            (event, span) => return node(text, &mut events, event, &span)?.1,
        }
    }
}

/// The next event that is no comment.
fn next<'t>(events: &mut Events<'t>) -> Option<(Event<'t>, Span)> {
    loop {
        match events.next()?.ok()? {
            (Event::Comment(..), _) => {}
            other => return Some(other),
        }
    }
}

/// Reads a node to its end. The caller has read the text before, and refused one that nests too deep.
fn node<'t>(
    text: &str,
    events: &mut Events<'t>,
    event: Event<'t>,
    at: &Span,
) -> Option<(Range<usize>, Option<Collection>)> {
    let range = at.byte_range().unwrap_or(0..0);
    match event {
        Event::Scalar(_, ScalarStyle::Literal | ScalarStyle::Folded, ..) => {
            let start = span::line_start(text, range.start);
            Some((start..span::content_end(text, &range), None))
        }
        Event::Scalar(..) | Event::Alias(_) => Some((range, None)),
        Event::MappingStart(style, ..) => collection(text, events, Kind::Map, style, range.start),
        Event::SequenceStart(style, ..) => collection(text, events, Kind::List, style, range.start),
        _ => None,
    }
}

fn collection<'t>(
    text: &str,
    events: &mut Events<'t>,
    kind: Kind,
    style: StructureStyle,
    begin: usize,
) -> Option<(Range<usize>, Option<Collection>)> {
    let context = if style == StructureStyle::Flow { Context::Flow } else { Context::Block };
    let mut found = Collection { kind, context, start: begin, entries: Vec::new() };
    loop {
        let (event, at) = next(events)?;
        if matches!(event, Event::MappingEnd | Event::SequenceEnd) {
            let last = found.entries.last().map_or(begin, |entry| entry.value.end);
            return Some((begin..flow_end(&at, last), Some(found)));
        }
        let entry = entry(text, events, &found, event, &at)?;
        found.entries.push(entry);
    }
}

fn entry<'t>(
    text: &str,
    events: &mut Events<'t>,
    around: &Collection,
    event: Event<'t>,
    at: &Span,
) -> Option<Entry> {
    let (name, first, event, at) = match (around.kind, event) {
        (Kind::Map, Event::Scalar(key, ..)) => {
            let (event, value_at) = next(events)?;
            (Some(key.into_owned()), at.byte_range()?, event, value_at)
        }
        (Kind::Map, _) => return None,
        (Kind::List, event) => (None, item(text, around.context, start(at)), event, *at),
    };
    let (value, inner) = node(text, events, event, &at)?;
    // An empty value has no place of its own.
    let value = if value.is_empty() { first.end..first.end } else { value };
    Some(Entry { name, start: first.start, value, inner })
}

/// Where a list item begins: at its dash, in block context.
fn item(text: &str, context: Context, start: usize) -> Range<usize> {
    let line = span::line_start(text, start);
    let indent = text[line..].len() - text[line..].trim_start_matches(' ').len();
    let dash = match (context, span::dash(text, start)) {
        (Context::Flow, _) => start,
        // A tag or an anchor stands between the dash and the value.
        (Context::Block, dash) if dash == start && text[line + indent..].starts_with("- ") => line + indent,
        (Context::Block, dash) => dash,
    };
    dash..start
}

/// The line of every entry of the first document, at its key or dash, counted from 1. What an alias stands for has
/// no lines of its own; none are known of a text with keys that are no scalars.
pub fn lines(text: &str) -> HashMap<Vec<Step>, usize> {
    let ends: Vec<usize> = memchr::memchr_iter(b'\n', text.as_bytes()).collect();
    let mut found = HashMap::new();
    if let Some(top) = read(text) {
        top.number(&ends, &mut Vec::new(), &mut found);
    }
    found
}

/// The text to cut to take an entry out; it reaches to `until` at least, where its own comments end.
pub fn cut(text: &str, path: &[Step], until: usize) -> Result<Range<usize>, Obstacle> {
    let (last, above) = path.split_last().ok_or(Obstacle::Form)?;
    let top = read(text).ok_or(Obstacle::Form)?;
    let around = find(&top, above).ok_or(Obstacle::Form)?;
    let number = around.position(last).ok_or(Obstacle::Form)?;
    match around.context {
        Context::Block => around.cut_lines(text, number, until),
        Context::Flow => Ok(around.cut_member(number)),
    }
}

/// Where a new entry goes in a collection, and its text, with any value. `name` is for mappings only.
pub fn slot(text: &str, path: &[Step], name: Option<&str>, until: usize) -> Option<(usize, String)> {
    let top = read(text)?;
    let around = find(&top, path)?;
    if (around.kind == Kind::Map) != name.is_some() {
        return None;
    }
    match around.context {
        Context::Block => around.slot_on_lines(text, name, until),
        Context::Flow => Some(around.slot_of_member(text, name)),
    }
}

fn find<'c>(top: &'c Collection, path: &[Step]) -> Option<&'c Collection> {
    path.iter().try_fold(top, |around, step| around.entries[around.position(step)?].inner.as_ref())
}

impl Collection {
    /// Adds the lines of its entries, which are at or below a path.
    fn number(&self, ends: &[usize], path: &mut Vec<Step>, found: &mut HashMap<Vec<Step>, usize>) {
        for (index, entry) in self.entries.iter().enumerate() {
            path.push(entry.name.clone().map_or(Step::Index(index), Step::Key));
            found.insert(path.clone(), ends.partition_point(|end| *end < entry.start) + 1);
            if let Some(inner) = &entry.inner {
                inner.number(ends, path, found);
            }
            path.pop();
        }
    }

    fn position(&self, step: &Step) -> Option<usize> {
        self.entries.iter().enumerate().position(|(number, entry)| match step {
            Step::Key(key) => entry.name.as_ref() == Some(key),
            Step::Index(index) => self.kind == Kind::List && number == *index,
        })
    }

    fn cut_lines(&self, text: &str, number: usize, until: usize) -> Result<Range<usize>, Obstacle> {
        let entry = &self.entries[number];
        if self.entries.len() == 1 {
            return Err(Obstacle::Only);
        }
        if span::is_behind_content(text, entry.start) {
            // Behind a dash: the next key takes the place.
            return match self.entries.get(number + 1) {
                Some(next) => Ok(entry.start..next.start),
                None => Err(Obstacle::Form),
            };
        }
        Ok(lines::cut(text, entry.start..entry.value.end.max(until)))
    }

    fn cut_member(&self, number: usize) -> Range<usize> {
        let entry = &self.entries[number];
        match (number.checked_sub(1), self.entries.get(number + 1)) {
            (_, Some(next)) => entry.start..next.start,
            (Some(before), None) => self.entries[before].value.end..entry.value.end,
            (None, None) => entry.start..entry.value.end,
        }
    }

    fn slot_on_lines(&self, text: &str, name: Option<&str>, until: usize) -> Option<(usize, String)> {
        let last = self.entries.last()?;
        let line = span::line_start(text, last.start);
        let before = &text[line..last.start];
        let indent = if before.trim().is_empty() { before.to_owned() } else { " ".repeat(before.len()) };
        let end = lines::whole(text, last.start..last.value.end.max(until)).end;
        let entry = match name {
            Some(name) => format!("{indent}{}: {}", self.key(text, name), self.blank(text)),
            None => format!("{indent}- {}", self.blank(text)),
        };
        Some((end, lines::add(text, end, &entry)))
    }

    fn slot_of_member(&self, text: &str, name: Option<&str>) -> (usize, String) {
        let blank = self.blank(text);
        let member = name.map_or(blank.to_owned(), |name| format!("{}: {blank}", self.key(text, name)));
        let Some(last) = self.entries.last() else { return (self.start + 1, member) };
        let line = span::line_start(text, last.start);
        let before = &text[line..last.start];
        let parted = match before.trim().is_empty() && line > 0 {
            true => format!(",{}{before}{member}", lines::end_before(text, line)),
            false => format!(", {member}"),
        };
        (last.value.end, parted)
    }

    /// A key in the quotes of the one before it.
    fn key(&self, text: &str, name: &str) -> String {
        let quote = match self.entries.last() {
            Some(last) => text[last.start..].chars().next(),
            // A text in braces is JSON.
            None => text.trim_start().starts_with('{').then_some('"'),
        };
        match quote {
            Some('\'') if !name.contains(char::is_control) => format!("'{}'", name.replace('\'', "''")),
            Some('"') => spell::double(name),
            _ if spell::plain_fits(name, self.context) => name.to_owned(),
            _ => spell::double(name),
        }
    }

    /// A value to be replaced, in the quotes of the last that is one.
    fn blank(&self, text: &str) -> &'static str {
        let scalars = self.entries.iter().rev().filter(|entry| entry.inner.is_none());
        let quote = scalars.filter_map(|entry| text[entry.value.clone()].chars().next()).next();
        match (quote, self.context) {
            (Some('\''), _) => "'x'",
            (Some('"'), _) | (_, Context::Flow) => "\"x\"",
            (_, Context::Block) => "x",
        }
    }
}
