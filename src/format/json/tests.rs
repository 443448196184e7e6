//! What the walk sees in a JSON text.

use super::*;
use crate::format::{Field, Neighbour, Step, Tail};

fn leaves(text: &str) -> Vec<String> {
    let document = parse(text).unwrap();
    let show = |leaf: &Leaf<'_>| {
        let Content::Value(scalar) = &leaf.content else { panic!("JSON has no comments") };
        let bytes = scalar.bytes();
        format!(
            "{} {} {scalar:?} {}",
            document.paths.aad(leaf.path),
            &text[leaf.span.clone()],
            String::from_utf8_lossy(&bytes)
        )
    };
    document.leaves.iter().map(show).collect()
}

#[test]
fn values_have_their_path_span_and_meaning() {
    let text =
        "{\"a\": 1, \"b\" : {\"c\":\"x\\ty\",\"d\":[true, null, [0.50], {\"\": \"\"}]},\r\n\"a\":-0 }\n";
    assert_eq!(
        leaves(text),
        [
            "a: 1 Int([secret]) 1",
            "b:c: \"x\\ty\" Str([secret]) x\ty",
            "b:d: true Bool([secret]) True",
            "b:d: null Null ",
            "b:d: 0.50 Float([secret]) 0.5",
            "b:d:: \"\" Str([secret]) ",
            "a: -0 Float([secret]) -0",
        ]
    );
}

#[test]
fn the_tree_is_kept() {
    let document = parse("{\"a\": [1, {}], \"b\": \"x\"}").unwrap();
    let a = document.leaves[0].path;
    assert_eq!(
        document.items,
        [
            Item::Open(Collection::Map, Paths::ROOT),
            Item::Open(Collection::List, a),
            Item::Leaf(0),
            Item::Open(Collection::Map, a),
            Item::Close,
            Item::Close,
            Item::Leaf(1),
            Item::Close,
        ]
    );
}

#[test]
fn text_without_escapes_is_borrowed() {
    let document = parse("{\"a\": \"plain é\", \"b\": \"\\u00e9\"}").unwrap();
    let borrowed = |leaf: &Leaf<'_>| matches!(leaf.content, Content::Value(Scalar::Str(Cow::Borrowed(_))));
    assert_eq!(document.leaves.iter().map(borrowed).collect::<Vec<_>>(), [true, false]);
}

#[test]
fn escapes_are_read_as_go_reads_them() {
    for (written, meant) in [
        (r#"\" \\ \/ \b\f\n\r\t"#, "\" \\ / \u{8}\u{c}\n\r\t"),
        (r"\u00e9\u20AC \u0000", "é€ \0"),
        (r"\ud83d\ude00", "😀"),
        (r"\ud800x", "\u{fffd}x"),
        (r"\ude00\ud83d\ude00", "\u{fffd}😀"),
        (r"\ud83d\u0041", "\u{fffd}A"),
        (r"\ud83d", "\u{fffd}"),
        (r"\ud83d\\u0041", "\u{fffd}\\u0041"),
    ] {
        assert_eq!(unquote(&format!("\"{written}\"")), meant, "{written}");
    }
}

#[test]
fn what_sops_would_refuse_drop_or_misread_is_refused_with_its_place() {
    let object = "the top level is no object in `{…}`, and sops encrypts no other JSON";
    let deep = format!("{{\"a\": {}", "[".repeat(200));
    for (text, reason) in [
        ("", "line 1, column 1: the file ends before its JSON value does"),
        ("[1]", &format!("line 1, column 1: {object}")),
        (" \"x\"", &format!("line 1, column 2: {object}")),
        ("\u{feff}{}", "line 1, column 1: sops reads no JSON with a byte order mark: save it without"),
        ("{\"a\": 1", "line 1, column 8: the file ends before its JSON value does"),
        ("{\"a\": \"x", "line 1, column 9: the file ends inside quotes"),
        ("{\"a\": 1,}", "line 1, column 9: expected a name in double quotes"),
        ("{\"a\": [1,]}", "line 1, column 10: expected a JSON value"),
        ("{,}", "line 1, column 2: expected a name in double quotes"),
        ("{a: 1}", "line 1, column 2: expected a name in double quotes"),
        ("{\"a\" 1}", "line 1, column 6: expected `:` behind the name"),
        ("{\"a\": 1 \"b\": 2}", "line 1, column 9: expected `,` or the end of the collection"),
        ("{\"a\": [1}", "line 1, column 9: this bracket closes what is not open"),
        ("{\"a\": 01}", "line 1, column 8: expected `,` or the end of the collection"),
        ("{\"a\": -}", "line 1, column 8: expected a digit"),
        ("{\"a\": 1.}", "line 1, column 9: expected a digit"),
        ("{\"a\": 1e}", "line 1, column 9: expected a digit"),
        ("{\"a\": 1e400}", "line 1, column 7: the number is too large for a float64, and sops refuses it"),
        ("{\"a\": tru}", "line 1, column 7: expected a JSON value"),
        ("{\"a\": NaN}", "line 1, column 7: expected a JSON value"),
        (
            "{\n\"a\": \"é\ty\"}",
            "line 2, column 8: line breaks and control characters in quotes must be written as escapes",
        ),
        ("{\"a\": \"\\x41\"}", "line 1, column 8: JSON has no such escape"),
        ("{\"a\": \"\\u00g1\"}", "line 1, column 8: JSON has no such escape"),
        ("{\"a\": 1} x", "line 1, column 10: more follows behind the end of the JSON value"),
        ("{} {}", "line 1, column 4: more follows behind the end of the JSON value"),
        ("{\"a\": 1} // c", "line 1, column 10: more follows behind the end of the JSON value"),
        ("{\"Sops\": 1}", "line 1, column 2: sops would take this name for its own block `sops`"),
        ("{\"ſops\": 1}", "line 1, column 2: sops would take this name for its own block `sops`"),
        ("{\"sops\": 1, \"sop\\u0073\": 2}", "line 1, column 13: the key `sops` stands here twice"),
        (&deep, "line 1, column 206: nested deeper than 200 levels"),
    ] {
        assert_eq!(parse(text).unwrap_err().to_string(), reason, "{text}");
    }
}

#[test]
fn the_block_is_cut_wherever_it_stands() {
    let block = "\"sops\": {\"mac\": \"m\", \"l\": [1]}";
    for (text, plain) in [
        ("{\"a\": 1 ,\n\tB\n}\n", "{\"a\": 1\n}\n"),
        ("{ B, \"a\": 1 }", "{ \"a\": 1 }"),
        ("{\"a\": [1], B , \"b\": {}}", "{\"a\": [1] , \"b\": {}}"),
        ("{\n\tB ,\n  \"a\": 1\n}", "{\n  \"a\": 1\n}"),
        ("{ B }", "{ }"),
        ("{\n\tB\n}\n", "{}\n"),
    ] {
        let text = text.replace('B', block);
        let document = parse(&text).unwrap();
        let cuts = document.metadata.unwrap().cut;
        let mut cut = text.clone();
        cuts.iter().rev().for_each(|range| cut.replace_range(range.clone(), ""));
        assert_eq!(cut, plain);
        assert!(parse(&cut).unwrap().metadata.is_none());
        assert_eq!(sealed(&text), Some(Format::Json));
    }
}

#[test]
fn the_block_is_written_so_that_it_reads_back_and_cuts_to_the_same() {
    let step = |name: &str| vec![Step::Key("age".into()), Step::Index(0), Step::Key(name.into())];
    let fields = vec![
        Field { path: step("enc"), value: "-----BEGIN\n<é>\n".into(), span: 0..0 },
        Field { path: step("recipient"), value: "age1x".into(), span: 0..0 },
        Field::top("mac_only_encrypted", "true"),
        Field::top("version", "3.11.0"),
    ];
    let plain =
        |fields: &[Field]| fields.iter().map(|f| (f.path.clone(), f.value.clone())).collect::<Vec<_>>();
    for text in ["{}", "{\n}\n", "{ \"a\": {\"b\": []} }", "{\"a\": 1\r\n}\r\n"] {
        let tail = parse(text).unwrap().tail;
        let Tail::Member(at, neighbour) = tail else { panic!("a JSON block is a member") };
        let mut with = text.to_owned();
        with.insert_str(at, &member(&fields, neighbour));
        let document = parse(&with).unwrap();
        assert!(document.tail.offset() == at && document.tail.is_like(tail), "{with}");
        let block = document.metadata.unwrap();
        assert_eq!(plain(&block.fields), plain(&fields));
        assert_eq!(&with[block.fields[3].span.clone()], "\"3.11.0\"");
        let [cut] = &block.cut[..] else { panic!("one part") };
        with.replace_range(cut.clone(), "");
        assert_eq!(with, text);
        assert!(member(&fields, Neighbour::Before).starts_with(",\n\t\"sops\": {\n\t\t\"age\": [\n"));
    }
}

#[test]
fn a_whole_file_is_told_from_json() {
    for (text, format) in [
        ("{\"data\": \"x\", \"sops\": {\"mac\": \"m\"}}", Some(Format::Binary)),
        ("{\"sops\": {\"mac\": \"m\"}, \"data\": \"\"}", Some(Format::Binary)),
        ("{\"data\": \"x\", \"sops\": {\"mac\": \"m\", \"hlx\": \"l\"}}", Some(Format::Json)),
        ("{\"data\": {}, \"sops\": {\"mac\": \"m\"}}", Some(Format::Json)),
        ("{\"data\": \"x\", \"b\": 1, \"sops\": {\"version\": \"1.2.3\"}}", Some(Format::Json)),
        ("{\"sops\": {\"mac\": \"m\"}}", Some(Format::Json)),
        ("{\"a\": {\"sops\": {\"mac\": \"m\"}}}", None),
        ("{\"a\": [{\"mac\": \"sops\"}], \"name\": \"sops\"}", None),
        ("{\"sops\": {\"a\": {\"mac\": \"m\"}}}", None),
        ("{a: 1, sops: {\"mac\": \"m\"}}", None),
    ] {
        assert_eq!(sealed(text), format, "{text}");
    }
}

#[test]
fn values_are_spelled_with_few_escapes() {
    let spelled = |scalar| spell_open(&Content::Value(scalar)).to_string();
    assert_eq!(spelled(Scalar::str("a\"\\/<é>\u{2028}\n\u{1}")), "\"a\\\"\\\\/<é>\u{2028}\\n\\u0001\"");
    assert_eq!(spelled(Scalar::Float(1e21)), "1000000000000000000000");
    assert_eq!(spelled(Scalar::Bool(false)), "false");
}
