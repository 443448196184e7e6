//! Secrets taken out of what programs say, before anyone sees it.
//!
//! A secret is looked for as it is and as tools print it: in JSON, in a URL, with compose's
//! doubled `$`, and in base64 at each of the three alignments. Patterns hold no newline, so
//! only the unfinished last line of what has come so far may have to wait for more.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

/// What stands where a secret was.
pub const MARK: &str = "«secret»";

/// Shorter values are words like `true` and `8080`: hiding those would only hide the output.
pub const SHORTEST: usize = 6;

type Pattern = Zeroizing<Vec<u8>>;

/// All that must not be shown, ready to be looked for.
#[derive(Default)]
pub struct Masker {
    /// By their first bytes, as many as [`SHORTEST`].
    patterns: HashMap<[u8; SHORTEST], Vec<Pattern>>,
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
            let lines = secret.as_ref().split(|byte| *byte == b'\n');
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

    fn look(&self, rest: &[u8]) -> Look {
        let line = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
        let (line, open) = (&rest[..line], line == rest.len());
        let Some(head) = line.first_chunk::<SHORTEST>() else {
            let started = open && self.patterns.keys().any(|head| head.starts_with(line));
            return if started { Look::Maybe } else { Look::Clear };
        };
        let bucket = self.patterns.get(head).map_or(&[][..], Vec::as_slice);
        if open && bucket.iter().any(|pattern| pattern.len() > line.len() && pattern.starts_with(line)) {
            return Look::Maybe;
        }
        let longest =
            bucket.iter().filter(|pattern| line.starts_with(pattern)).map(|pattern| pattern.len()).max();
        longest.map_or(Look::Clear, Look::Secret)
    }
}

/// What begins at a place in the text.
enum Look {
    Clear,
    Secret(usize),
    /// Only more text can tell.
    Maybe,
}

/// One stream on its way through the masker.
#[derive(Debug)]
pub struct Flow<'m> {
    masker: &'m Masker,
    held: Zeroizing<Vec<u8>>,
    controls: Controls,
    /// How many of the bytes to come still belong to a secret.
    covered: usize,
}

impl<'m> Flow<'m> {
    /// A stream that has not begun.
    pub fn new(masker: &'m Masker) -> Self {
        Self { masker, held: Zeroizing::default(), controls: Controls::default(), covered: 0 }
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
            match self.masker.look(&self.held[at..]) {
                Look::Maybe if !ended => break,
                Look::Maybe | Look::Clear => {}
                Look::Secret(length) => {
                    if self.covered == 0 {
                        shown.extend_from_slice(MARK.as_bytes());
                    }
                    self.covered = self.covered.max(length);
                }
            }
            if self.covered == 0 {
                shown.push(self.held[at]);
            }
            self.covered = self.covered.saturating_sub(1);
            at += 1;
        }
        self.held = Zeroizing::new(self.held[at..].to_vec());
        shown
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

/// What a program may make of a line: a name may stand before it, a note after it, quotes
/// around it and escapes in it, and compose takes `$` for the beginning of a variable.
fn variants(line: &[u8]) -> Vec<Pattern> {
    let mut controls = Controls::default();
    let line: Pattern = Zeroizing::new(line.iter().copied().filter(|byte| controls.shows(*byte)).collect());
    let mut all = vec![Zeroizing::new(line.trim_ascii().to_vec())];
    let mut next = 0;
    while let Some(text) = all.get(next).cloned() {
        for form in forms(&text) {
            let form = Zeroizing::new(form.trim_ascii().to_vec());
            if form.len() >= SHORTEST && !all.contains(&form) {
                all.push(form);
            }
        }
        next += 1;
    }
    all.retain(|form| form.len() >= SHORTEST);
    all
}

fn forms(text: &[u8]) -> Vec<Pattern> {
    let after = |mark: &[u8]| {
        let at = text.windows(mark.len()).position(|part| part == mark)?;
        Some((&text[..at], &text[at + mark.len()..]))
    };
    let mut forms: Vec<&[u8]> = Vec::new();
    forms.extend(after(b"=").map(|(_, value)| value));
    forms.extend(after(b": ").map(|(_, value)| value));
    forms.extend(after(b" #").map(|(value, _)| value));
    if let Some(quote) = text.first().filter(|first| matches!(first, b'"' | b'\'')) {
        let end = text[1..].iter().rposition(|byte| byte == quote).map_or(text.len(), |end| end + 1);
        forms.push(&text[1..end]);
    }
    forms.extend(text.split(|byte| *byte == b'$'));
    forms.extend(text.split(|byte| matches!(byte, b'$' | b'{' | b'}')));
    let mut forms: Vec<Pattern> = forms.into_iter().map(|form| Zeroizing::new(form.to_vec())).collect();
    forms.push(unescaped(text));
    // `\n` makes two lines of it.
    let lines = |form: &Pattern| {
        form.split(|byte| *byte == b'\n').map(|part| Zeroizing::new(part.to_vec())).collect::<Vec<_>>()
    };
    forms.iter().flat_map(lines).collect()
}

fn unescaped(text: &[u8]) -> Pattern {
    let mut plain = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        let byte = if byte == b'\\' {
            bytes.next().unwrap_or(byte)
        } else {
            plain.push(byte);
            continue;
        };
        match byte {
            b'n' => plain.push(b'\n'),
            b't' => plain.push(b'\t'),
            b'r' => {}
            other => plain.push(other),
        }
    }
    plain
}

fn spellings(secret: &[u8]) -> Vec<Pattern> {
    let mut all = vec![secret.to_vec(), percent(secret), doubled(secret)];
    if let Ok(json) = std::str::from_utf8(secret).map(|text| serde_json::Value::from(text).to_string()) {
        all.push(json.as_bytes()[1..json.len() - 1].to_vec());
    }
    for skip in 0..3 {
        all.push(aligned(&STANDARD_NO_PAD, secret, skip));
        all.push(aligned(&URL_SAFE_NO_PAD, secret, skip));
    }
    all.into_iter().map(Zeroizing::new).collect()
}

/// The base64 characters that come from these bytes alone, when `skip` bytes stand before them
/// in their group of three.
fn aligned(engine: &impl Engine, secret: &[u8], skip: usize) -> Vec<u8> {
    let inner = &secret[(3 - skip) % 3..];
    engine.encode(&inner[..inner.len() / 3 * 3]).into_bytes()
}

fn percent(secret: &[u8]) -> Vec<u8> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let spell = |byte: &u8| match *byte {
        byte if plain(byte) => vec![byte],
        byte => format!("%{byte:02X}").into_bytes(),
    };
    secret.iter().flat_map(spell).collect()
}

fn doubled(secret: &[u8]) -> Vec<u8> {
    secret.iter().flat_map(|byte| std::iter::repeat_n(*byte, if *byte == b'$' { 2 } else { 1 })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masker(secrets: &[&str]) -> Masker {
        Masker::new(secrets.iter().map(|secret| secret.as_bytes()))
    }

    #[test]
    fn secrets_are_masked_however_the_stream_is_cut() {
        let masker = masker(&["hunter2-hunter3", "hunter2", "line one\nline two\n", "tail-secret"]);
        let text = "a hunter2 b hunter2-hunter3 c hunter2-hunt\nline two!line one\ntail-secret";
        let wanted = "a «secret» b «secret» c «secret»-hunt\n«secret»!«secret»\n«secret»";
        for first in 0..=text.len() {
            for second in first..=text.len() {
                let mut flow = Flow::new(&masker);
                let bytes = text.as_bytes();
                let mut out = flow.push(&bytes[..first]);
                out.extend(flow.push(&bytes[first..second]));
                out.extend(flow.push(&bytes[second..]));
                out.extend(flow.finish());
                assert_eq!(String::from_utf8_lossy(&out), wanted, "cut at {first} and {second}");
            }
        }
    }

    #[test]
    fn overlapping_secrets_are_both_covered() {
        assert_eq!(masker(&["abcdefgh", "efghijkl"]).text(b"-abcdefghijkl-"), "-«secret»-");
    }

    #[test]
    fn other_spellings_are_masked_too() {
        let masker = masker(&["pa$$ \"word\"/x+é"]);
        let json = serde_json::to_string("pa$$ \"word\"/x+é").unwrap();
        assert_eq!(masker.text(json.as_bytes()), format!("\"{MARK}\""));
        assert_eq!(masker.text(b"pa%24%24%20%22word%22%2Fx%2B%C3%A9"), MARK);
        assert_eq!(masker.text("pa$$$$ \"word\"/x+é".as_bytes()), MARK);
    }

    #[test]
    fn what_programs_make_of_a_line_is_masked() {
        let table = [
            (r#""quoted-hunter1111""#, "quoted-hunter1111"),
            ("'single-hunter'", "single-hunter"),
            ("inline-hunter # note", "inline-hunter"),
            (r#""quoted-hunter" # note"#, "quoted-hunter"),
            ("NAME=value-hunter", "value-hunter"),
            ("NAME: value-hunter", "value-hunter"),
            ("NAME='value-hunter'", "value-hunter"),
            (r#""es\"caped\\hunter""#, r#"es"caped\hunter"#),
            ("correct$horsebattery99", "horsebattery99"),
            ("hun\x1b[0mter-blue", "hun\x1b[0mter-blue"),
            ("hunter-blue", "hun\x1b[0mter-blue"),
            ("hunter-blue", "hun\x07ter-\x1b[1;31mblue"),
            ("3.14159265", "3.14159265"),
        ];
        for (secret, said) in table {
            assert_eq!(
                masker(&[secret]).text(format!("<{said}>").as_bytes()),
                format!("<{MARK}>"),
                "{secret}"
            );
        }
    }

    #[test]
    fn base64_is_masked_at_every_alignment() {
        let masker = masker(&["correct horse battery"]);
        for before in ["", "u", "us", "usr"] {
            let encoded = STANDARD_NO_PAD.encode(format!("{before}:correct horse battery"));
            let shown = masker.text(encoded.as_bytes());
            assert!(shown.contains(MARK) && shown.len() < MARK.len() + 14, "{shown}");
        }
    }

    #[test]
    fn short_values_and_a_finished_line_are_shown_at_once() {
        let masker = masker(&["true", "secret-value"]);
        let mut flow = Flow::new(&masker);
        assert_eq!(flow.push(b"true\nsec\n"), b"true\nsec\n");
        assert_eq!(flow.push(b"sec"), b"");
        assert_eq!(flow.finish(), b"sec");
    }
}
