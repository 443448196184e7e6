//! How a secret may be spelled in what programs print.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use super::{Controls, Pattern, SHORTEST};
use crate::format::dotenv;

/// A quoted value of several lines as Compose reads it from a dotenv file.
pub(super) fn unquoted(secret: &[u8]) -> Option<Pattern> {
    let is_quoted = matches!(secret.trim_ascii_start().first(), Some(b'"' | b'\''));
    let text = std::str::from_utf8(secret).ok().filter(|text| is_quoted && text.contains('\n'))?;
    Some(Zeroizing::new(dotenv::value::read(text).as_bytes().to_vec()))
}

/// What a program may make of a line: a name may stand before it, a note after it, quotes
/// around it or, where it is one of several, at one end of it, and escapes in it; and compose takes
/// `$` for the beginning of a variable.
pub(super) fn variants(line: &[u8]) -> Vec<Pattern> {
    let mut all = vec![shown(line)];
    let mut next = 0;
    while let Some(text) = all.get(next).cloned() {
        for form in forms(&text) {
            let form = shown(&form);
            if form.len() >= SHORTEST && !all.contains(&form) {
                all.push(form);
            }
        }
        next += 1;
    }
    all.retain(|form| form.len() >= SHORTEST);
    all
}

/// What of a line is left in output.
fn shown(line: &[u8]) -> Pattern {
    let mut controls = Controls::default();
    let line: Pattern = Zeroizing::new(line.iter().copied().filter(|byte| controls.shows(*byte)).collect());
    Zeroizing::new(line.trim_ascii().to_vec())
}

fn forms(text: &[u8]) -> Vec<Pattern> {
    let after = |mark: &[u8]| {
        let at = text.windows(mark.len()).position(|part| part == mark)?;
        Some((&text[..at], &text[at + mark.len()..]))
    };
    let mut forms: Vec<&[u8]> = Vec::new();
    forms.extend(after(b"=").map(|(_, value)| value));
    forms.extend(after(b": ").map(|(_, value)| value));
    forms.extend(text.windows(2).rposition(|part| part == b" #").map(|at| &text[..at]));
    forms.extend(values(text));
    forms.extend(out_of_quotes(text));
    forms.extend(text.split(|byte| *byte == b'$'));
    forms.extend(text.split(|byte| *byte == b'$').skip(1).map(behind_name));
    forms.extend(text.split(|byte| matches!(byte, b'$' | b'{' | b'}')));
    let mut forms: Vec<Pattern> = forms.into_iter().map(|form| Zeroizing::new(form.to_vec())).collect();
    forms.push(unescaped(text));
    forms.extend(read(text));
    // `\n` makes two lines of it.
    let lines = |form: &Pattern| {
        form.split(|byte| *byte == b'\n').map(|part| Zeroizing::new(part.to_vec())).collect::<Vec<_>>()
    };
    forms.iter().flat_map(lines).collect()
}

/// Longer numbers are none.
const NUMBER: usize = 256;

/// The values in a line of JSON, which may be all of a file. Each is found once: what is left of the
/// line behind it is no form of its own, or a long line would have many long forms.
fn values(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let marks = text.windows(2).enumerate().filter(|(_, part)| part == b"\":");
    marks.filter_map(|(at, _)| first_value(text[at + 2..].trim_ascii_start()))
}

/// What a JSON text begins with: a string with its quotes, or all up to the next sign.
fn first_value(text: &[u8]) -> Option<&[u8]> {
    if text.first() != Some(&b'"') {
        let end = text.iter().take(NUMBER).position(|byte| b",]}".contains(byte))?;
        return Some(&text[..end]);
    }
    let mut escaped = false;
    let closes = |byte: &u8| {
        let closes = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        closes
    };
    let end = text[1..].iter().position(closes)?;
    Some(&text[..end + 2])
}

/// Without the quotes around it, or the one at its end.
fn out_of_quotes(text: &[u8]) -> Vec<&[u8]> {
    let is_quote = |byte: &u8| matches!(byte, b'"' | b'\'');
    let mut forms = Vec::new();
    if let Some(quote) = text.first().filter(|first| is_quote(first)) {
        let inner = &text[1..];
        let ends =
            [inner.iter().position(|byte| byte == quote), inner.iter().rposition(|byte| byte == quote)];
        forms.extend(ends.map(|end| &inner[..end.unwrap_or(inner.len())]));
    }
    forms.extend(text.split_last().filter(|(last, _)| is_quote(last)).map(|(_, before)| before));
    forms
}

/// What stays of `$name…` when the variable is filled in.
fn behind_name(text: &[u8]) -> &[u8] {
    let length = text.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
    &text[length..]
}

/// What a quoted text means in a dotenv file, in JSON and in YAML, by their own escapes.
fn read(text: &[u8]) -> Vec<Pattern> {
    let is_quoted = matches!(text.first(), Some(b'"' | b'\''));
    let Some(text) = std::str::from_utf8(text).ok().filter(|_| is_quoted) else { return Vec::new() };
    let dotenv = dotenv::value::read(text).to_string();
    let all = [Some(dotenv), serde_json::from_str(text).ok(), serde_yaml::from_str(text).ok()];
    all.into_iter().flatten().map(|text: String| Zeroizing::new(text.into_bytes())).collect()
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

/// A secret as it is, in JSON, in a URL, quoted for a shell or for compose, in XML, in hexadecimal
/// and in base64.
pub(super) fn spellings(secret: &[u8]) -> Vec<Pattern> {
    let mut all = vec![
        secret.to_vec(),
        replaced(secret, b"$", b"$$"),
        replaced(secret, b"'", br"'\''"),
        replaced(secret, b"'", b"''"),
    ];
    all.extend(urls(secret));
    all.extend(std::str::from_utf8(secret).into_iter().flat_map(texts));
    all.extend([hex(secret), hex(secret).to_ascii_uppercase()]);
    for before in 0..3 {
        all.extend([aligned(&STANDARD_NO_PAD, secret, before), aligned(&URL_SAFE_NO_PAD, secret, before)]);
    }
    all.into_iter().map(Zeroizing::new).collect()
}

/// JSON as most write it, as Go does (for HTML), and in ASCII alone; and XML.
fn texts(secret: &str) -> Vec<Vec<u8>> {
    let json = serde_json::Value::from(secret).to_string();
    let json = &json[1..json.len() - 1];
    let go: String = json
        .chars()
        .map(|letter| match letter {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => escaped(letter),
            other => other.to_string(),
        })
        .collect();
    let ascii = |text: &str| -> String {
        text.chars()
            .map(|letter| if letter.is_ascii() { letter.to_string() } else { escaped(letter) })
            .collect()
    };
    let xml = secret.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
    let all = [json.to_owned(), ascii(json), ascii(&go), json.replace('/', "\\/"), go, xml];
    all.map(String::into_bytes).into()
}

/// `\uXXXX`, twice for what UTF-16 takes two words for.
fn escaped(letter: char) -> String {
    letter.encode_utf16(&mut [0; 2]).iter().map(|word| format!("\\u{word:04x}")).collect()
}

/// Percent signs for all but the letters that may stand in a URL: of the RFC, as browsers have
/// it, and as Go has it in a path; digits of either case; `+` for a space.
fn urls(secret: &[u8]) -> Vec<Vec<u8>> {
    let rfc = percent(secret, b"");
    let all = [
        percent(secret, b"!*'()"),
        percent(secret, b"$&+,/:;=@"),
        percent(secret, b"$&+:=@"),
        percent(secret, b"/"),
    ];
    let query = replaced(&rfc, b"%20", b"+");
    let lower = |text: &Vec<u8>| lower_escapes(text);
    let more: Vec<Vec<u8>> = [&rfc, &query].into_iter().map(lower).collect();
    all.into_iter().chain(more).chain([rfc, query]).collect()
}

fn percent(secret: &[u8], also: &[u8]) -> Vec<u8> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) || also.contains(&byte);
    let spell = |byte: &u8| match *byte {
        byte if plain(byte) => vec![byte],
        byte => format!("%{byte:02X}").into_bytes(),
    };
    secret.iter().flat_map(spell).collect()
}

/// The two digits behind each percent sign in lower case.
fn lower_escapes(text: &[u8]) -> Vec<u8> {
    let mut lower = text.to_vec();
    for at in (0..text.len()).filter(|at| text[*at] == b'%') {
        let end = text.len().min(at + 3);
        lower[at..end].make_ascii_lowercase();
    }
    lower
}

fn hex(secret: &[u8]) -> Vec<u8> {
    secret.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect()
}

/// The base64 characters that follow from these bytes alone, when so many bytes stand before
/// them in their group of three. What is left out at the ends has at most four bits of them.
fn aligned(engine: &impl Engine, secret: &[u8], before: usize) -> Vec<u8> {
    let padded = Zeroizing::new([&[0; 2][..before], secret].concat());
    let mut encoded = engine.encode(&padded[..]).into_bytes();
    if padded.len() % 3 != 0 {
        encoded.pop();
    }
    encoded.split_off([0, 2, 3][before].min(encoded.len()))
}

fn replaced(text: &[u8], one: &[u8], by: &[u8]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::with_capacity(text.len()), text);
    while let Some(first) = rest.first() {
        match rest.strip_prefix(one) {
            Some(after) => {
                out.extend_from_slice(by);
                rest = after;
            }
            None => {
                out.push(*first);
                rest = &rest[1..];
            }
        }
    }
    out
}
