//! Secrets in every spelling, cut everywhere.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use proptest::prelude::*;

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
        ("$USER-hunter-blue", "-hunter-blue"),
        ("${USER}hunter-blue", "hunter-blue"),
        (r#"{"user":"u","password":"hunter-blue","port":1}"#, "hunter-blue"),
        (r#"{"a":{"b":"x\"y","pin" : 12345678},"c":"d"}"#, "12345678"),
        (r#""hunter\u002dblue""#, "hunter-blue"),
        (r#""hunter\x2dblue""#, "hunter-blue"),
        (r#""hunter\0055blue""#, "hunter-blue"),
        ("'hunter''s-blue'", "hunter's-blue"),
        (r#""hunter\a-blue\r""#, "hunter-blue"),
    ];
    for (secret, said) in table {
        assert_eq!(masker(&[secret]).text(format!("<{said}>").as_bytes()), format!("<{MARK}>"), "{secret}");
    }
}

#[test]
fn each_line_of_a_quoted_value_is_masked_the_last_one_too() {
    let lines = ["first-hunter", "middle-hunter", "last-hunter"];
    for secret in [
        "\"first-hunter\nmiddle-hunter\nlast-hunter\"",
        "'first-hunter\nmiddle-hunter\nlast-hunter' # note",
        "\"first-hunter\r\n  middle-hunter \r\nlast-hunter\"\r",
        r#""first-hunter\nmiddle-hunter\nlast-hunter""#,
        "\"first-hunter\nmiddle\\055hunter\nmiddle-hunter\\nlast-hunter\"",
        // A dotenv file that is encrypted as a whole.
        "A=1\nDQ=\"first-hunter\nmiddle-hunter\nlast-hunter\"\nB=2\n",
    ] {
        let masker = masker(&[secret]);
        for line in lines {
            assert_eq!(masker.text(format!("<{line}>").as_bytes()), format!("<{MARK}>"), "{secret:?}");
            let shown = masker.text(STANDARD_NO_PAD.encode(line).as_bytes());
            assert!(shown.starts_with(MARK), "{secret:?}: {shown}");
        }
    }
}

#[test]
fn a_long_line_of_json_is_taken_apart_without_keeping_what_is_left_of_it_again_and_again() {
    let pairs = (0..3000)
        .map(|number| format!("\"key{number}\":\"value-{number}-hunter\",\"pad\":\"{}\"", "x".repeat(400)));
    let line = format!("{{{}}}", pairs.collect::<Vec<_>>().join(","));
    let forms: usize = spell::variants(line.as_bytes()).iter().map(|form| form.len()).sum();
    assert!(forms < 8 * line.len(), "{forms} of {}", line.len());
    assert_eq!(masker(&[&line]).text(b"value-2999-hunter"), MARK);
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

/// A way in which programs spell what they print.
fn spelled(way: usize, text: &str) -> String {
    let escape = |plain: &str| {
        let spell = |byte: u8| match byte.is_ascii_alphanumeric() || plain.as_bytes().contains(&byte) {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02x}"),
        };
        text.bytes().map(spell).collect::<String>()
    };
    let json = serde_json::to_string(text).unwrap();
    let json = &json[1..json.len() - 1];
    match way {
        0 => text.to_owned(),
        1 => json.to_owned(),
        2 => json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026"),
        3 => escape("-_.~"),
        4 => escape("-_.~").replace("%20", "+"),
        5 => text.replace('$', "$$"),
        6 => text.replace('\'', "'\\''"),
        _ => text.bytes().map(|byte| format!("{byte:02x}")).collect(),
    }
}

/// The base64 characters of a longer text that follow from the part of it at `at` alone, by bits.
fn certain(text: &[u8], at: usize, length: usize) -> String {
    let encoded = STANDARD_NO_PAD.encode(text);
    let (first, end) = ((at * 8).div_ceil(6), (at + length) * 8 / 6);
    encoded[first..end].to_owned()
}

/// Feeds a text in pieces.
fn cut(masker: &Masker, text: &[u8], sizes: &[usize]) -> String {
    let (mut flow, mut out, mut rest) = (Flow::new(masker), Vec::new(), text);
    for size in sizes.iter().cycle() {
        let (piece, after) = rest.split_at((*size).min(rest.len()));
        out.extend(flow.push(piece));
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    out.extend(flow.finish());
    String::from_utf8_lossy(&out).into_owned()
}

proptest! {
    #[test]
    fn no_spelling_of_a_secret_gets_through_however_it_is_cut(
        secret in "[a-zA-Z0-9$&<>'/+=é\"\\\\ -]{6,60}", before in "[a-z:]{0,9}", after in "[a-z:]{0,9}",
        way in 0usize..8, sizes in proptest::collection::vec(1usize..40, 1..5),
    ) {
        let secret = secret.trim();
        prop_assume!(secret.len() >= SHORTEST);
        let masker = masker(&[secret]);
        let said = spelled(way, secret);
        let shown = cut(&masker, format!("{before}|{said}|{after}\n").as_bytes(), &sizes);
        prop_assert!(!shown.contains(&said), "{shown}");
        prop_assert!(shown.contains(MARK), "{shown}");
        prop_assert!(shown.starts_with(&before) && shown.ends_with(&format!("{after}\n")), "{shown}");
    }

    #[test]
    fn no_line_of_a_value_gets_through_however_a_file_quotes_it(
        lines in proptest::collection::vec("[a-zA-Z0-9][a-zA-Z0-9&<>/+=#:. -]{4,20}[a-zA-Z0-9]", 1..4),
        file in 0usize..7, way in 0usize..8, end in proptest::sample::select(vec!["\n", "\r\n", " \n\t "]),
    ) {
        let json = |text: &str| serde_json::to_string(text).unwrap();
        let stored = match file {
            0 => format!("\"{}\"", lines.join(end)),
            1 => format!("'{}'", lines.join(end)),
            2 => format!("\"{}\"", lines.join("\\n")),
            3 => format!("KEY=\"{}\" # note", lines.join(end)),
            4 => format!("{{\"a\":\"b\",\"key\":{},\"c\":1}}", json(&lines.join("\n"))),
            5 => format!("key: {}", json(&lines.join("\r\n"))),
            _ => format!("key: |\n  {}\n", lines.join("\n  ")),
        };
        let masker = masker(&[&stored]);
        for line in &lines {
            let said = spelled(way, line);
            let shown = masker.text(format!("<{said}>").as_bytes());
            prop_assert_eq!(shown, format!("<{}>", MARK), "{} {}", stored, said);
            let encoded = masker.text(STANDARD_NO_PAD.encode(line).as_bytes());
            prop_assert!(encoded.starts_with(MARK), "{} {}", stored, encoded);
        }
    }

    #[test]
    fn no_base64_of_a_secret_gets_through_wherever_it_is_embedded(
        secret in "[a-zA-Z0-9$/+=é-]{6,80}", before in "[a-z:]{0,9}", after in "[a-z:]{0,9}",
        sizes in proptest::collection::vec(1usize..40, 1..5),
    ) {
        let masker = masker(&[&secret]);
        let text = format!("{before}{secret}{after}");
        let shown = cut(&masker, STANDARD_NO_PAD.encode(&text).as_bytes(), &sizes);
        let certain = certain(text.as_bytes(), before.len(), secret.len());
        prop_assert!(shown.contains(MARK), "{shown}");
        for window in certain.as_bytes().windows(SHORTEST) {
            prop_assert!(!shown.as_bytes().windows(SHORTEST).any(|part| part == window), "{shown}");
        }
    }

    #[test]
    fn a_long_secret_that_is_broken_over_lines_stays_hidden(
        secret in "[a-zA-Z0-9]{70,300}", width in 16usize..77, before in "[a-z:]{0,5}",
        sizes in proptest::collection::vec(1usize..40, 1..5), encoded in proptest::bool::ANY,
    ) {
        let masker = masker(&[&secret]);
        let plain = format!("{before}{secret}");
        let text = if encoded { STANDARD_NO_PAD.encode(&plain) } else { plain.clone() };
        let lines: Vec<&str> = text.as_bytes().chunks(width).map(|line| std::str::from_utf8(line).unwrap()).collect();
        let shown = cut(&masker, (lines.join("\n") + "\nafter\n").as_bytes(), &sizes);
        prop_assert!(shown.ends_with("\nafter\n"), "{shown}");
        // So little of it as stands at the ends is no secret any more.
        let certain = if encoded { certain(plain.as_bytes(), before.len(), secret.len()) } else { secret.clone() };
        let bare = shown.replace('\n', "");
        for window in certain.as_bytes().windows(PART + SHORTEST) {
            prop_assert!(!bare.as_bytes().windows(window.len()).any(|part| part == window), "{shown}");
        }
    }
}
