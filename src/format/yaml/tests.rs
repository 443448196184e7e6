//! What the walk sees in a YAML text.

use super::super::{Field, Step};
use super::*;

fn leaves(text: &str) -> Vec<String> {
    let document = parse(text).unwrap();
    let show = |leaf: &Leaf<'_>| {
        let content = match &leaf.content {
            Content::Value(scalar) => String::from_utf8_lossy(&scalar.bytes()).into_owned(),
            Content::Comment(text) => format!("#{text}"),
        };
        format!("{} {:?} {}", document.paths.aad(leaf.path), &text[leaf.span.clone()], content)
    };
    document.leaves.iter().map(show).collect()
}

#[test]
fn values_have_their_path_span_and_meaning() {
    let text = "a: 1\nb:\n  c: \"x\\ty\"\n  d: [one, {e: 'two'}]\n";
    assert_eq!(
        leaves(text),
        ["a: \"1\" 1", "b:c: \"\\\"x\\\\ty\\\"\" x\ty", "b:d: \"one\" one", "b:d:e: \"'two'\" two"]
    );
}

#[test]
fn a_block_scalar_spans_its_content_lines() {
    let text = "a: |\n  one\n\n  two\n\nb: >-\n    x\n    y\n";
    assert_eq!(leaves(text), ["a: \"  one\\n\\n  two\\n\" one\n\ntwo\n", "b: \"    x\\n    y\\n\" x y"]);
}

#[test]
fn comments_belong_to_the_container_around_them() {
    let text = "# top\nenv:\n  # first\n  A: 1 # right\n  # last\n\n# next\nlist:\n- a\n# mid\n- b\n# tail\n";
    let comments: Vec<_> = leaves(text).into_iter().filter(|line| line.contains("\"#")).collect();
    assert_eq!(
        comments,
        [
            ": \"# top\" # top",
            "env: \"# first\" # first",
            "env: \"# right\" # right",
            "env: \"# last\" # last",
            ": \"# next\" # next",
            "list: \"# mid\" # mid",
            ": \"# tail\" # tail",
        ]
    );
}

#[test]
fn aliases_are_expanded_where_they_stand() {
    let text = "x: &x\n  k: v\ny: *x\nz:\n  <<: *x\n";
    let document = parse(text).unwrap();
    let paths: Vec<_> = document.leaves.iter().map(|leaf| document.paths.aad(leaf.path)).collect();
    assert_eq!(paths, ["x:k:", "y:k:", "z:<<:k:"]);
}

#[test]
fn the_sops_block_is_cut_with_its_lines() {
    let text = "a: x\nsops:\n    age:\n        - enc: |\n            A\n            B\n          recipient: r\n    mac: m\n    version: 3.0.0\n# end\n";
    let document = parse(text).unwrap();
    let block = document.metadata.unwrap();
    assert_eq!(&text[block.cut[0].end..], "# end\n");
    assert_eq!(block.cut[0].start, 5);
    let values: Vec<_> = block.fields.iter().map(|field| field.value.as_str()).collect();
    assert_eq!(values, ["A\nB\n", "r", "m", "3.0.0"]);
    assert_eq!(block.fields[0].path, [Step::Key("age".into()), Step::Index(0), Step::Key("enc".into())]);
}

#[test]
fn what_sops_would_refuse_is_refused_with_its_place() {
    for (text, reason) in [
        ("- a\n", "line 1, column 1: the top level of the file must be a mapping"),
        ("# only\n", "line 1, column 1: there is no mapping in this file"),
        ("a: 1\n2: x\n", "line 2, column 1: this key is no string for sops: put it in quotes"),
        ("a: 1\na: 2\n", "line 2, column 1: the key `a` stands here twice"),
        ("%YAML 1.2\n---\na: 1\n", "line 2, column 1: sops reads only `%YAML 1.1`"),
        ("...\na: 1\n", "line 2, column 1: behind `...` a document must begin with `---`"),
        ("a: x\u{2028}y\n", "line 1, column 5: U+2028 must be escaped: write \"\\u2028\" in double quotes"),
        (
            "a: &\"b\" 1\n",
            "line 1, column 4: the name of an anchor has only letters, digits, `-` and `_` for SOPS",
        ),
        ("a: 1\n<<: x\n", "line 2, column 1: `<<` needs a mapping, or a list of mappings"),
        ("a: 1\n<<: [{b: 1}, 2]\n", "line 2, column 1: `<<` needs a mapping, or a list of mappings"),
        ("{\"a\"\n : 1}\n", "line 1, column 2: SOPS reads a key only with its `:` on the same line"),
        ("a: 1\n\t\nb: 2\n", "line 2, column 1: a tab before the first word of a line: use spaces"),
        ("a: &x [*x]\n", "line 1, column 8: this alias stands inside what it names"),
    ] {
        assert_eq!(parse(text).unwrap_err().to_string(), reason);
    }
}

#[test]
fn a_long_key_may_be_parted_from_its_colon() {
    for text in ["{? \"a\"\n : 1}\n", "{\"a\":\n 1, b\n}\n"] {
        assert!(parse(text).is_ok(), "{text}");
    }
}

#[test]
fn the_bomb_of_aliases_is_refused() {
    let mut text = String::from("a: &a [x, x, x, x, x, x, x, x, x, x]\n");
    for (name, last) in ('b'..='h').zip('a'..) {
        text += &format!("{name}: &{name} [{}]\n", vec![format!("*{last}"); 10].join(", "));
    }
    assert!(parse(&text).unwrap_err().reason.contains("aliases make the file many times"));
}

#[test]
fn metadata_is_written_so_that_it_reads_back() {
    let fields = vec![
        Field {
            path: vec![Step::Key("age".into()), Step::Index(0), Step::Key("enc".into())],
            value: "-----BEGIN\nx\n".into(),
            span: 0..0,
        },
        Field {
            path: vec![Step::Key("age".into()), Step::Index(0), Step::Key("recipient".into())],
            value: "age1x".into(),
            span: 0..0,
        },
        Field::top("encrypted_regex", "^(a|b): \"x\"$"),
        Field::top("lastmodified", "2024-01-02T03:04:05Z"),
        Field::top("version", "3.11.0"),
    ];
    let text = format!("a: 1\n{}", spell::metadata(&fields));
    let read = parse(&text).unwrap().metadata.unwrap().fields;
    let plain =
        |fields: &[Field]| fields.iter().map(|f| (f.path.clone(), f.value.clone())).collect::<Vec<_>>();
    assert_eq!(plain(&read), plain(&fields));
    assert!(text.contains("lastmodified: \"2024"), "{text}");
}

#[test]
fn values_that_stand_in_the_text_are_not_copied() {
    let text = "a: plain\nb: 'single'\nc: \"double\"\nd: two words\n";
    for leaf in &parse(text).unwrap().leaves {
        let Content::Value(Scalar::Str(value)) = &leaf.content else { panic!("a string") };
        assert!(matches!(value, Cow::Borrowed(_)), "{}", String::from_utf8_lossy(value));
    }
    assert!(size_of::<Leaf<'_>>() <= 64, "{}", size_of::<Leaf<'_>>());
}
