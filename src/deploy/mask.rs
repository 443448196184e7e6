//! Secrets taken out of what programs say, before anyone sees it.
//!
//! A secret is looked for as it is and as tools print it (`spell`), base64 at each of the three
//! alignments included. Patterns hold no newline, so only the unfinished last line of what has
//! come so far may have to wait for more. A long one that is broken over lines, as `base64` and
//! `fold` do, is followed from line to line.

mod spell;

use std::collections::{BTreeSet, HashMap};

use zeroize::Zeroizing;

use spell::{spellings, unquoted, variants};

/// What stands where a secret was.
pub const MARK: &str = "«secret»";

/// Shorter values are words like `true` and `8080`: hiding those would only hide the output.
pub const SHORTEST: usize = 6;

/// So much of a secret at the end of a line, or the beginning of one, is no coincidence.
const PART: usize = 8;
/// A secret of this length may be broken over lines.
const LONG: usize = 40;

type Pattern = Zeroizing<Vec<u8>>;

/// All that must not be shown, ready to be looked for.
#[derive(Default)]
pub struct Masker {
    /// By their first bytes, as many as [`SHORTEST`].
    patterns: HashMap<[u8; SHORTEST], Vec<Pattern>>,
    /// The first bytes of those that may be broken over lines, by the first of them.
    long: HashMap<u8, BTreeSet<[u8; SHORTEST]>>,
}

impl std::fmt::Debug for Masker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Masker")
    }
}

impl Masker {
    /// A masker for these values; of one with many lines, each line is a secret.
    pub fn new<S: AsRef<[u8]>>(secrets: impl IntoIterator<Item = S>) -> Self {
        let mut masker = Self::default();
        for secret in secrets {
            let secret = secret.as_ref();
            let unquoted = unquoted(secret);
            let texts = std::iter::once(secret).chain(unquoted.as_ref().map(|text| text.as_slice()));
            let lines = texts.flat_map(|text| text.split(|byte| *byte == b'\n'));
            for variant in lines.flat_map(variants) {
                if !masker.has(&variant) {
                    spellings(&variant).into_iter().for_each(|spelling| masker.add(spelling));
                }
            }
        }
        masker
    }

    fn has(&self, pattern: &Pattern) -> bool {
        let bucket = pattern.first_chunk().and_then(|head| self.patterns.get(head));
        bucket.is_some_and(|bucket| bucket.contains(pattern))
    }

    fn add(&mut self, spelling: Pattern) {
        if let Some(head) = spelling.first_chunk::<SHORTEST>() {
            if spelling.len() >= LONG {
                self.long.entry(head[0]).or_default().insert(*head);
            }
            let bucket = self.patterns.entry(*head).or_default();
            if !bucket.contains(&spelling) {
                bucket.push(spelling);
            }
        }
    }

    /// The whole of a text, masked.
    pub fn mask(&self, text: &[u8]) -> Vec<u8> {
        let mut flow = Flow::new(self);
        let mut masked = flow.push(text);
        masked.extend(flow.finish());
        masked
    }

    /// The whole of a text, masked, for people.
    pub fn text(&self, text: &[u8]) -> String {
        String::from_utf8_lossy(&self.mask(text)).into_owned()
    }

    fn look(&self, rest: &[u8], ended: bool) -> Look<'_> {
        let (line, open) = first_line(rest, ended);
        let Some(head) = line.first_chunk::<SHORTEST>() else {
            let started = open && self.patterns.keys().any(|head| head.starts_with(line));
            return if started { Look::Maybe } else { self.broken(line) };
        };
        let bucket = self.patterns.get(head).map_or(&[][..], Vec::as_slice);
        if open && bucket.iter().any(|pattern| pattern.len() > line.len() && pattern.starts_with(line)) {
            return Look::Maybe;
        }
        let longest =
            bucket.iter().filter(|pattern| line.starts_with(pattern)).map(|pattern| pattern.len()).max();
        longest.map_or_else(|| self.broken(line), Look::Secret)
    }

    /// Long secrets that the end of a line breaks off.
    fn broken(&self, line: &[u8]) -> Look<'_> {
        let patterns: Vec<&Pattern> = match line.first_chunk::<SHORTEST>() {
            Some(head) => self.patterns.get(head).into_iter().flatten().collect(),
            None => {
                let heads = line.first().and_then(|first| self.long.get(first)).into_iter().flatten();
                let begun = heads.filter(|head| head.starts_with(line));
                begun.filter_map(|head| self.patterns.get(head)).flatten().collect()
            }
        };
        let all = patterns.into_iter().filter(|pattern| {
            pattern.len() >= LONG && pattern.len() > line.len() && pattern.starts_with(line)
        });
        let sure = line.len() >= PART;
        let rests: Vec<Rest<'_>> = all.map(|pattern| Rest { left: &pattern[line.len()..], sure }).collect();
        match rests.is_empty() {
            true => Look::Clear,
            false => Look::Broken(rests, if sure { line.len() } else { 0 }),
        }
    }
}

/// A text up to its first line feed, and whether that may still come.
fn first_line(text: &[u8], ended: bool) -> (&[u8], bool) {
    let end = text.iter().position(|byte| *byte == b'\n');
    (&text[..end.unwrap_or(text.len())], end.is_none() && !ended)
}

/// What is left of a secret that a line broke off.
#[derive(Clone, Copy)]
struct Rest<'m> {
    left: &'m [u8],
    /// There was enough of it before to know.
    sure: bool,
}

/// What begins at a place in the text.
enum Look<'m> {
    Clear,
    Secret(usize),
    /// The line ends within one of these; so many bytes of it are to be covered.
    Broken(Vec<Rest<'m>>, usize),
    /// Only more text can tell.
    Maybe,
}

/// Looks at the beginning of a line for what is left of secrets that the line before broke off.
fn go_on<'m>(rests: &[Rest<'m>], text: &[u8], ended: bool) -> Look<'m> {
    let (line, open) = first_line(text, ended);
    let within = |rest: &&Rest<'m>| rest.left.len() > line.len() && rest.left.starts_with(line);
    if open && rests.iter().any(|rest| within(&rest)) {
        return Look::Maybe;
    }
    let known = |rest: &&Rest<'m>, length: usize| rest.sure || length >= PART;
    let left = rests.iter().filter(within).filter(|rest| !line.is_empty() && known(rest, line.len()));
    let left: Vec<_> = left.map(|rest| Rest { left: &rest.left[line.len()..], sure: true }).collect();
    if !left.is_empty() {
        return Look::Broken(left, line.len());
    }
    let whole = rests.iter().filter(|rest| line.starts_with(rest.left) && known(rest, rest.left.len()));
    whole.map(|rest| rest.left.len()).max().map_or(Look::Clear, Look::Secret)
}

/// One stream on its way through the masker.
pub struct Flow<'m> {
    masker: &'m Masker,
    held: Zeroizing<Vec<u8>>,
    controls: Controls,
    /// How many of the bytes to come still belong to a secret.
    covered: usize,
    /// What is left of the secrets that the last line broke off.
    broken: Vec<Rest<'m>>,
    /// The next byte begins a line.
    at_start: bool,
}

impl std::fmt::Debug for Flow<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Flow")
    }
}

impl<'m> Flow<'m> {
    /// A stream that has not begun.
    pub fn new(masker: &'m Masker) -> Self {
        Self {
            masker,
            held: Zeroizing::default(),
            controls: Controls::default(),
            covered: 0,
            broken: Vec::new(),
            at_start: true,
        }
    }

    /// Takes more text and gives what can be shown by now.
    pub fn push(&mut self, text: &[u8]) -> Vec<u8> {
        let controls = &mut self.controls;
        self.held.extend(text.iter().filter(|byte| controls.shows(**byte)));
        self.advance(false)
    }

    /// Gives the rest. The stream has ended.
    pub fn finish(&mut self) -> Vec<u8> {
        self.advance(true)
    }

    fn advance(&mut self, ended: bool) -> Vec<u8> {
        let (mut shown, mut at) = (Vec::new(), 0);
        while at < self.held.len() {
            match self.look(at, ended) {
                Look::Maybe => break,
                Look::Clear => {}
                Look::Secret(length) => self.cover(length, &mut shown),
                Look::Broken(rests, length) => {
                    if length > 0 {
                        self.cover(length, &mut shown);
                    }
                    self.broken.extend(rests);
                }
            }
            if self.covered == 0 {
                shown.push(self.held[at]);
            }
            self.at_start = self.held[at] == b'\n';
            self.covered = self.covered.saturating_sub(1);
            at += 1;
        }
        self.held = Zeroizing::new(self.held[at..].to_vec());
        shown
    }

    fn look(&mut self, at: usize, ended: bool) -> Look<'m> {
        let rest = &self.held[at..];
        if self.at_start && !self.broken.is_empty() {
            let look = go_on(&self.broken, rest, ended);
            if matches!(look, Look::Maybe) {
                return look;
            }
            self.broken.clear();
            if !matches!(look, Look::Clear) {
                return look;
            }
        }
        self.masker.look(rest, ended)
    }

    fn cover(&mut self, length: usize, shown: &mut Vec<u8>) {
        if self.covered == 0 {
            shown.extend_from_slice(MARK.as_bytes());
        }
        self.covered = self.covered.max(length);
    }
}

/// Finds control characters and colours, which would hide a secret by standing inside it.
#[derive(Debug, Default)]
enum Controls {
    #[default]
    Text,
    /// After an escape character.
    Escape,
    /// Within a sequence that a letter ends.
    Sequence,
}

impl Controls {
    fn shows(&mut self, byte: u8) -> bool {
        let (next, shown) = match (&self, byte) {
            (Self::Text | Self::Escape, 0x1b) => (Self::Escape, false),
            (Self::Escape, b'[') => (Self::Sequence, false),
            (Self::Sequence, b'@'..=b'~') => (Self::Text, false),
            (Self::Sequence, b'\n') => (Self::Text, true),
            (Self::Sequence, _) => (Self::Sequence, false),
            (Self::Text | Self::Escape, byte) => {
                (Self::Text, !byte.is_ascii_control() || matches!(byte, b'\n' | b'\t'))
            }
        };
        *self = next;
        shown
    }
}

#[cfg(test)]
mod tests;
