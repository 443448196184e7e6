//! Conflicts of lines that are none of values: neighbouring values that either side changed, new ones at one place.
//!
//! git merges lines, and stops where both sides touched neighbouring ones, which in a `.env` are mostly different values.
//! Such a conflict is resolved line by line, or else entry by entry; what comes of it counts only if it reads as the
//! three-way merge of the leaves (`super::leaves`). All else stays a conflict.

use std::collections::HashSet;

use zeroize::Zeroizing;

use crate::format::{Content, Store, dotenv};

use super::leaves::{is_union, three_way};

/// The sides of a merge, the same wherever a conflict was resolved or git saw none.
pub(super) struct Resolved {
    /// Ours, base and theirs.
    pub(super) texts: [Zeroizing<String>; 3],
}

/// How ours, base and theirs read where they are in conflict, by whole lines.
type Region<'t> = [&'t str; 3];

/// A part of a merge.
enum Part<'t> {
    /// Lines without a conflict.
    Merged(&'t str),
    /// Lines in conflict.
    Conflict(Region<'t>),
}

/// Each region is judged within the whole text: beyond so many bytes to read, none is.
const WORK: usize = 256 << 20;

const MARKS: [char; 4] = ['<', '|', '=', '>'];

/// A size of conflict markers that no line of these texts can be taken for.
pub(super) fn marker_size(sides: Region<'_>) -> usize {
    let run =
        |line: &str| MARKS.map(|mark| line.len() - line.trim_start_matches(mark).len()).into_iter().max();
    let longest = sides.iter().flat_map(|text| text.lines()).filter_map(run).max();
    longest.unwrap_or(0).max(7) + 1
}

/// Resolves what is in conflict between the values of no leaf. `None` if that is nothing.
///
/// `marked` is git's merge, with markers of that size and the ancestor's lines.
pub(super) fn resolve(store: Store, sides: Region<'_>, marked: &str, size: usize) -> Option<Resolved> {
    let parts = parts(marked, size)?;
    let regions = parts.iter().filter(|part| matches!(part, Part::Conflict(_))).count();
    if regions.saturating_mul(marked.len()) > WORK {
        return None;
    }
    let solved: Vec<_> = (0..regions).map(|number| solve(store, &parts, number)).collect();
    if solved.iter().all(Option::is_none) {
        return None;
    }
    let end = match solved.iter().all(Option::is_some) {
        true => three_way(ends(sides[0]), &ends(sides[1]), ends(sides[2])).unwrap_or(End::Feed),
        false => End::Feed,
    };
    let texts = [0, 1, 2].map(|side| {
        let own = assemble(&parts, |number, region| match &solved[number] {
            Some(text) => text,
            None => region[side],
        });
        with_end(own, end)
    });
    is_union(store, sides, [&texts[0], &texts[2]]).then_some(Resolved { texts })
}

/// How the last line of a text ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Feed,
    Nothing,
}

fn ends(text: &str) -> End {
    if text.is_empty() || text.ends_with('\n') { End::Feed } else { End::Nothing }
}

/// In a conflict git ends every line, also a last one that has no end.
fn with_end(mut text: Zeroizing<String>, end: End) -> Zeroizing<String> {
    if end == End::Nothing && text.ends_with('\n') {
        text.pop();
        let bare = text.trim_end_matches('\r').len();
        text.truncate(bare);
    }
    text
}

/// Takes a merge with markers apart.
fn parts(marked: &str, size: usize) -> Option<Vec<Part<'_>>> {
    let [begin, base, theirs, end] = MARKS.map(|mark| mark.to_string().repeat(size));
    let mut parts = Vec::new();
    let mut rest = marked;
    while let Some((merged, inside)) = cut(rest, &begin) {
        let (ours, inside) = cut(inside, &base)?;
        let (before, inside) = cut(inside, &theirs)?;
        let (its, behind) = cut(inside, &end)?;
        parts.extend([Part::Merged(merged), Part::Conflict([ours, before, its])]);
        rest = behind;
    }
    parts.push(Part::Merged(rest));
    Some(parts)
}

/// What stands before and behind the first line that begins with a mark.
fn cut<'t>(text: &'t str, mark: &str) -> Option<(&'t str, &'t str)> {
    let at = if text.starts_with(mark) { 0 } else { text.find(&format!("\n{mark}"))? + 1 };
    let end = text[at..].find('\n').map_or(text.len(), |end| at + end + 1);
    Some((&text[..at], &text[end..]))
}

/// The text with a choice for each region.
fn assemble<'a>(parts: &[Part<'a>], choose: impl Fn(usize, Region<'a>) -> &'a str) -> Zeroizing<String> {
    let mut numbers = 0..;
    let mut chosen = |part: &Part<'a>| match part {
        Part::Merged(text) => *text,
        Part::Conflict(region) => choose(numbers.next().expect("it has no end"), *region),
    };
    let chosen: Vec<&str> = parts.iter().map(&mut chosen).collect();
    Zeroizing::new(chosen.concat())
}

/// What a region comes to, if that is the union of its changes where all others stand as ours has them.
fn solve(store: Store, parts: &[Part<'_>], number: usize) -> Option<Zeroizing<String>> {
    let with = |text: &str| assemble_one(parts, number, text);
    let region = *regions(parts).nth(number).expect("it was counted");
    let sides = region.map(with);
    let fits = |text: &Zeroizing<String>| {
        let whole = with(text);
        is_union(store, sides.each_ref().map(|side| side.as_str()), [&whole, &whole])
    };
    let by_line = by_line(region).filter(fits);
    by_line.or_else(|| by_entry(store, region).filter(fits))
}

fn regions<'p, 't>(parts: &'p [Part<'t>]) -> impl Iterator<Item = &'p Region<'t>> {
    parts.iter().filter_map(|part| match part {
        Part::Merged(_) => None,
        Part::Conflict(region) => Some(region),
    })
}

/// The text with this in the place of one region, and ours in that of all others.
fn assemble_one(parts: &[Part<'_>], number: usize, text: &str) -> Zeroizing<String> {
    assemble(parts, |other, [ours, ..]| if other == number { text } else { ours })
}

/// Sides with the same number of lines: each line as the side has it that changed it.
fn by_line(region: Region<'_>) -> Option<Zeroizing<String>> {
    let [ours, base, theirs] = region.map(|side| side.split_inclusive('\n').collect::<Vec<_>>());
    if ours.len() != base.len() || base.len() != theirs.len() {
        return None;
    }
    let lines = ours.iter().zip(&base).zip(&theirs);
    let lines: Option<Vec<&str>> =
        lines.map(|((ours, base), theirs)| three_way(*ours, base, *theirs)).collect();
    Some(Zeroizing::new(lines?.concat()))
}

/// A name with its lines, and the comments and blank lines before them.
#[derive(Clone, Copy)]
struct Entry<'t> {
    name: &'t str,
    text: &'t str,
}

/// Sides whose entries have names: each as the side has it that changed it. What theirs adds stands behind what it
/// follows there, and behind what ours adds at that place.
fn by_entry(store: Store, region: Region<'_>) -> Option<Zeroizing<String>> {
    let [ours, base, theirs] = region.map(|side| entries(store, side));
    let (ours, base, theirs) = (ours?, base?, theirs?);
    let find = |side: &[Entry<'_>], name: &str| side.iter().position(|entry| entry.name == name);
    let mut order = ours.clone();
    for (at, entry) in theirs.iter().enumerate() {
        if find(&order, entry.name).is_none() {
            let before = theirs[..at].iter().rev().find_map(|before| find(&order, before.name));
            let place = before.map_or(0, |before| before + 1);
            let is_new = |own: &&Entry<'_>| {
                !own.name.is_empty() && find(&base, own.name).is_none() && find(&theirs, own.name).is_none()
            };
            let added = order[place..].iter().take_while(is_new).count();
            order.insert(place + added, *entry);
        }
    }
    let text = |side: &[Entry<'_>], name: &str| find(side, name).map(|at| side[at].text.to_owned());
    let mut merged = Zeroizing::new(String::new());
    for Entry { name, .. } in order {
        let [mine, before, its] = [&ours, &base, &theirs].map(|side| text(side, name).map(Zeroizing::new));
        merged.extend(three_way(mine, &before, its)?.iter().map(|text| text.as_str()));
    }
    Some(merged)
}

/// The entries of some lines; what is left at the end has no name. `None` if two have the same name.
fn entries(store: Store, text: &str) -> Option<Vec<Entry<'_>>> {
    let ends = match store {
        Store::Dotenv => ends_of_values(text)?,
        Store::Ini | Store::Yaml | Store::Json => ends_by_indent(text),
    };
    let mut start = 0;
    let mut entries = Vec::new();
    for (name, end) in ends.into_iter().chain([("", text.len())]) {
        entries.push(Entry { name, text: &text[start..end] });
        start = end;
    }
    entries.retain(|entry| !entry.text.is_empty());
    let names: HashSet<&str> = entries.iter().map(|entry| entry.name).collect();
    (names.len() == entries.len()).then_some(entries)
}

/// The names of a dotenv text, and where the last lines of their values end.
fn ends_of_values(text: &str) -> Option<Vec<(&str, usize)>> {
    let document = dotenv::parse_strictly(text).ok()?;
    let values = document.leaves.iter().filter(|leaf| matches!(leaf.content, Content::Value(_)));
    let end = |leaf: &crate::format::Leaf<'_>| {
        let start = text[..leaf.span.start].rfind('\n').map_or(0, |end| end + 1);
        let end = text[leaf.span.end..].find('\n').map_or(text.len(), |end| leaf.span.end + end + 1);
        (&text[start..leaf.span.start], end)
    };
    Some(values.map(end).collect())
}

/// The names of the lines that are indented least, and where what belongs to them ends.
fn ends_by_indent(text: &str) -> Vec<(&str, usize)> {
    let says = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with(['#', ';']);
    let indent = |line: &str| line.len() - line.trim_start().len();
    let least = text.lines().filter(says).map(indent).min();
    let mut ends: Vec<(&str, usize)> = Vec::new();
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        at += line.len();
        if !says(&line) {
            continue;
        }
        match ends.last_mut() {
            Some(last) if Some(indent(line)) != least => last.1 = at,
            _ => ends.push((line.split([':', '=']).next().unwrap_or(line).trim(), at)),
        }
    }
    ends
}
