//! The laws of sealing, on generated files.

use proptest::prelude::*;

use super::*;
use crate::crypto::envelope::Envelope;
use crate::sops::Sealed;

fn stamp(entropy: Entropy<'_>) -> Stamp<'_> {
    Stamp { now: "2024-01-02T03:04:05Z".to_owned(), entropy }
}

fn random() -> impl FnMut(&mut [u8]) {
    |buffer: &mut [u8]| getrandom::fill(buffer).expect("the system has randomness")
}

fn new(rule: Rule) -> Basis<'static> {
    let key = DataKey::from_bytes(&[5; 32]).unwrap();
    let envelope = Envelope { recipient: "age1test".to_owned(), enc: "-----\nx\n".to_owned() };
    Basis::New { key, groups: KeyGroups::one(vec![envelope]), rule, coverage: Coverage::All }
}

fn environment() -> Rule {
    Rule::from_fields(|name| (name == "encrypted_regex").then_some("^environment$")).unwrap()
}

fn seal_new(text: &str, format: Format, rule: Rule) -> Result<String, Error> {
    seal(text.as_bytes(), format, &new(rule), stamp(&mut random()))
        .map(|bytes| String::from_utf8(bytes).unwrap())
}

fn open(sealed: &str) -> Opened<'_> {
    Sealed::parse(sealed.as_bytes()).unwrap().open(&DataKey::from_bytes(&[5; 32]).unwrap()).unwrap()
}

fn again(old: &str, text: &str) -> String {
    let old = open(old);
    let format = old.sealed().format();
    String::from_utf8(seal(text.as_bytes(), format, &Basis::Again(&old), stamp(&mut random())).unwrap())
        .unwrap()
}

#[track_caller]
fn holds(text: &str, format: Format, rule: Rule) -> String {
    let sealed = seal_new(text, format, rule).unwrap();
    let opened = open(&sealed);
    assert_eq!(String::from_utf8_lossy(opened.plaintext().expose()), text);
    assert_eq!(again(&sealed, text), sealed);
    renewed_holds(&sealed, &opened);
    sealed
}

/// Under a new data key nothing but ciphertext changes, and the old key opens it no more.
#[track_caller]
fn renewed_holds(sealed: &str, old: &Opened<'_>) {
    let key = DataKey::from_bytes(&[9; 32]).unwrap();
    let renewed = old.renew(&key, old.sealed().groups().clone(), stamp(&mut random())).unwrap();
    let opened = Sealed::parse(renewed.as_bytes()).unwrap().open(&key).unwrap();
    assert_eq!(opened.plaintext().expose(), old.plaintext().expose());
    assert!(Sealed::parse(renewed.as_bytes()).unwrap().open(&old.key).is_err());
    let pattern = regex::Regex::new(r"ENC\[[^\]]*\]").unwrap();
    let clear = |text: &str| pattern.replace_all(text, "ENC").into_owned();
    assert_eq!(clear(&renewed), clear(sealed));
}

#[test]
fn odd_spellings_come_back_byte_for_byte() {
    for text in [
        "A=1",
        "A=1\n\n# comment\nB=\"two\"\n",
        "\n",
        "A=\nB=\n",
        "A=1\r\nB=2\r\n\r\n",
        "  # indented\nKEY=\"first\n second=x\\n\"\n\t\nB='one\n\ntwo' # c\nC=\"open\n",
        "export A = 1\nA=1\nA=1\n",
        "\u{feff}A=x\\ny\\\\n\n",
    ] {
        holds(text, Format::Dotenv, Rule::default());
    }
    for text in INI {
        holds(text, Format::Ini, Rule::default());
    }
    for text in [
        "a: 1",
        "a: 0755\nb: 1.0\nc: True\nd: yes\ne: ~\nf: 1_000\ng: 1e3\nh: .5\n",
        "a: \"q\\x41\"\nb: 'it''s'\nc: \"plain\"\nd: \"\"\n",
        "a: |\n  x\n\n  y\nb: >-\n  folded\n  text\n\nc: |+\n  keep\n\n\nd: |2-\n    deep\n",
        "a: |\n  last",
        "# c\na: [one, 'two', \"three\", 4] # r\n#\n",
        "a: multi\n  line plain\nb: \"multi\n  line\"\n",
        "a: &x v\nb: !!str 12\nc: !custom x\nd: !!binary aGk=\n",
        "---\na: 1\n...\n",
        "a: 1\n---\nb: 2\n",
        "a: 1\r\nb: |\r\n  x\r\n  y\r\nc: 'z'\r\n",
        "\u{feff}a: 1\n",
        "l:\n- a # x\n# between\n- b\n-   - c\n    - d\n",
        "ENC: \"ENC[AES256_GCM,data:eA==,iv:eA==,tag:eA==,type:str]\"\n",
        "t: 2024-01-02\nu: 2024-01-02T03:04:05.5+02:00\n",
    ] {
        holds(text, Format::Yaml, Rule::default());
    }
    for text in [
        "{}",
        " {\n}\n",
        "{\"a\":1}",
        "{\n  \"a\": 1.50,\n  \"b\": [1e3, -0, 12345678901234567890, 9007199254740993]\n}\n",
        "{\r\n\t\"a\" : \"\\u003cé\\/\\ud83d\\ude00\\ud800\" ,\r\n\t\"a\": null }\r\n\r\n",
        "{\"a\": {\"b\": [[], {}, \"\", true, {\"\": \"x\"}]}, \"c\\u0021\": false}",
        "{\"data\": \"x\"}\n",
        "{\"data\": \"\"}",
        "{\"a\": \"ENC[AES256_GCM,data:eA==,iv:eA==,tag:eA==,type:str]\", \"b\": {\"sops\": {\"mac\": 1}}}",
    ] {
        holds(text, Format::Json, Rule::default());
    }
    for text in [
        "{}",
        "{a: 1}\n",
        "# c\n{ a: 0755 , # one\n  'b': [x, {c: \"d\"}], \n  # last\n}\n",
        "--- {\"a\": \"x\", b: {c: 1}}\n---\nd: e\n",
        "&x {a: &y z, b: *y, }",
    ] {
        holds(text, Format::Yaml, Rule::default());
    }
}

#[test]
fn a_block_moves_with_what_stands_around_it() {
    let old = seal_new("{\n  \"a\": 1,\n  \"b\": 2\n}\n", Format::Json, Rule::default()).unwrap();
    let extra = old.replace("\"version\"", "\"note\": [{\"fp\": \"F\"}],\n\t\t\"version\"");
    let block = extra[extra.find(",\n\t\"sops\"").unwrap() + 1..].strip_suffix("\n}\n").unwrap();
    let without = extra.replace(&format!(",{block}"), "");
    let first = without.replacen('{', &format!("{{{block},"), 1);
    let middle = without.replacen(",\n  \"b\"", &format!(",{block},\n  \"b\""), 1);
    for moved in [&extra, &first, &middle] {
        assert_eq!(open(moved).plaintext().expose(), b"{\n  \"a\": 1,\n  \"b\": 2\n}\n", "{moved}");
        for edited in ["{\n  \"a\": 1,\n  \"b\": 3\n}\n", "{}", "{\"c\": 1}"] {
            let new = again(moved, edited);
            assert_eq!(String::from_utf8_lossy(open(&new).plaintext().expose()), edited);
            assert!(new.contains("\"fp\": \"F\""), "{new}");
            let back = again(&new, "{\"a\": 1}");
            assert_eq!(open(&back).plaintext().expose(), b"{\"a\": 1}", "{back}");
        }
        let more = Envelope { recipient: "age1more".to_owned(), enc: "-----\ny\n".to_owned() };
        let shared = Sealed::parse(moved.as_bytes()).unwrap().with_groups(KeyGroups::one(vec![more]));
        assert!(shared.contains("age1more") && shared.contains("\"fp\": \"F\""), "{shared}");
        assert_eq!(open(&shared).plaintext().expose(), b"{\n  \"a\": 1,\n  \"b\": 2\n}\n", "{shared}");
    }
}

#[test]
fn a_clear_number_that_versions_of_sops_read_apart_is_refused() {
    let text = "{\n  \"id\": 9007199254740993,\n  \"environment\": 9007199254740993\n}\n";
    let refused = seal_new(text, Format::Json, environment()).unwrap_err();
    assert_eq!(refused, Error::ReadApart { line: 2, path: "id".to_owned() });
    holds(&text.replace("\"id\": 9007199254740993", "\"id\": 9007199254740992"), Format::Json, environment());
    assert!(seal_new("{\"id\": -0, \"environment\": 1}", Format::Json, environment()).is_ok());
}

/// INI with all that its readers allow.
const INI: [&str; 24] = [
    "x=1",
    "[a]",
    "[a]\nx = 1\ny : two words\nempty =\n\n[b]\nz=true\n\n\n",
    "; top\n\n  # second\n[a]\n;\n; banner\n;\nx=1 ; inline\n#\ny=2;tight\n;;;;\n[b]\n; end\n\n",
    ";\n",
    "x=1;\ny=2 ;;\n",
    "g=1\n[DEFAULT]\nh=2\n[a]\nx=1\n[a]\ny=2\nx=3\n[ a.b ]\nk=v\n",
    "[a]\nx=1\n; between\nx=\nx=3 ; third\ny=2\n",
    "[a]\na=\"x\"\nb='x'\nc=`x`\nd=\"\"\"x\"\"\"\ne=\"x\nf=\"a\"b\"\ng='\"x\"'\nh=\"\"\ni=``\nj=\"\"\"\"\"\"\nk=' '\n",
    "[a]\na=`x\n y` ; c\nb=\"\"\"x\n\n  y # no\n\"\"\"\nc=\"\"\"one\"\"\" # two\n",
    "[a]\na = x \\\n   y ; z\nb=2\\\n\nc=3\\\n4\\",
    "[a]\nx=\\\n",
    "[a]\nx=\\",
    "p=a#b\nq=\"a;b\"\nr=`a;b` ; c\nurl=http://u:p@h/?a=b&c\n",
    "\"k\"=1\n`k:2`=2\n\"\"\"k3\"\"\"=3\nK=1\na:b=c\n",
    "\u{feff}x=1\r\n; c\r\n; d\r\n[a]\r\ny=\"q\" ; in\r\n\r\nz=`a\r\nb`\r\n",
    "\u{feff}[a]",
    "\n\n[a]\n\n\t x\t=\t1 \t\n  [b]  \n",
    "x=1\n\n",
    "x=1\r\n\r\n",
    "y=%(x)s\nx=ENC[AES256_GCM,data:eA==,iv:eA==,tag:eA==,type:str]\n",
    "x=\u{a0}1\u{a0}\u{85}\n",
    "x_unencrypted=1 ; note\n; why\ny_unencrypted=a\\",
    "; only a comment",
];

#[test]
fn clear_parts_stay_as_they_are() {
    let text = "services:\n  web:\n    image: nginx:1 # tag\n    environment:\n      # why\n      A: 0755\n      B: >\n        folded\n        text\n    ports: [\"80:80\"]\n";
    let sealed = holds(text, Format::Yaml, environment());
    assert!(sealed.contains("    image: nginx:1 # tag\n") && sealed.contains("ports: [\"80:80\"]"));
    assert!(!sealed.contains("folded") && !sealed.contains("why"));
}

#[test]
fn what_would_leave_secrets_clear_is_refused() {
    let refused = |text: &str| seal_new(text, Format::Yaml, environment()).unwrap_err();
    assert!(matches!(refused("a: 1\n"), Error::NothingSelected { .. }));
    let alias = "environment: &e {A: s}\nx: *e\n";
    assert_eq!(refused(alias), Error::SealedAlias { line: 2, path: "x.A".to_owned() });
    assert_eq!(refused("environment: {A: x}\nsops: 1\n"), Error::Reserved);
    assert_eq!(seal_new("{\"a\": 1, \"sops\": 1}", Format::Json, Rule::default()), Err(Error::Reserved));
    assert!(matches!(seal_new("sops_x=1\n", Format::Dotenv, Rule::default()), Err(Error::Reserved)));
}

#[test]
fn an_alias_under_the_rule_is_sealed_expanded_and_comes_back() {
    let text = "x: &e {A: s, B: 0755, C: ''}\nenvironment:\n  <<: *e\n  D: x # c\ny:\n  environment: &f\n    - A=1\n    - &g !!str 5\n    - {deep: [*g, ~]}\nz: {environment: *f}\n";
    let sealed = holds(text, Format::Yaml, environment());
    assert!(
        sealed.contains("<<: {A: \"ENC[") && sealed.contains("C: ''}") && sealed.contains("deep: [\"ENC[")
    );
    // Another line changes: the alias keeps its ciphertext.
    let edited = text.replace("D: x", "D: other");
    let new = again(&sealed, &edited);
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let changed: Vec<_> =
        lines(&sealed).into_iter().zip(lines(&new)).filter(|(old, new)| old != new).collect();
    assert!(changed.len() == 3, "{changed:?}");
    assert_eq!(String::from_utf8_lossy(open(&new).plaintext().expose()), edited);
    // Without the layout entry the values are still there.
    let without: String = sealed.split_inclusive('\n').filter(|line| !line.starts_with("    hlx:")).collect();
    let opened = open(&without);
    assert!(String::from_utf8_lossy(opened.plaintext().expose()).contains("<<: {A: \"s\", B: 493, C: ''}"));
}

#[test]
fn one_flipped_bit_and_nothing_opens() {
    let sealed = seal_new("A=one\n# c\nB=two\n", Format::Dotenv, Rule::default()).unwrap();
    let key = DataKey::from_bytes(&[5; 32]).unwrap();
    let body = sealed.find("sops_age").unwrap();
    for index in 0..body {
        let mut bytes = sealed.clone().into_bytes();
        bytes[index] ^= 1;
        let opened = Sealed::parse(&bytes).and_then(|sealed| sealed.open(&key));
        // SOPS leaves comments out of the MAC, so that one may turn into a clear comment; values never.
        let values = |text: &[u8]| {
            text.split(|byte| *byte == b'\n')
                .filter(|line| !line.starts_with(b"#"))
                .collect::<Vec<_>>()
                .concat()
        };
        assert!(
            opened.is_err() || values(opened.unwrap().plaintext().expose()) == b"A=oneB=two",
            "byte {index}"
        );
    }
}

#[test]
fn a_changed_value_changes_its_line_and_the_metadata_only() {
    let old = seal_new("A=1\nB=2\nC=3\n", Format::Dotenv, Rule::default()).unwrap();
    let new = again(&old, "A=1\nB=20\nC=3\n");
    let changed: Vec<_> =
        old.lines().zip(new.lines()).filter(|(old, new)| old != new).map(|(old, _)| old).collect();
    let names: Vec<_> = changed.iter().map(|line| line.split('=').next().unwrap()).collect();
    assert_eq!(names, ["B", "sops_mac"], "the time is fixed in tests");
}

/// Lines of dotenv files, the odd ones included, with values of a kind.
fn dotenv(value: &'static str) -> impl Strategy<Value = String> {
    let line = prop_oneof![
        4 => ("[A-Z_]{1,4}", value).prop_map(|(key, value)| format!("{key}={value}")),
        1 => value.prop_map(|text| format!("#{text}")),
        1 => Just(String::new()),
        1 => "[ \t]{1,2}(#[ -~]{0,6})?",
    ];
    (prop::collection::vec(line, 1..12), "(\n|\r\n)", any::<bool>())
        .prop_map(|(lines, end, last)| lines.join(&end) + if last { &end } else { "" })
        .prop_filter("empty files stay empty", |text| !text.is_empty())
}

/// Values with quotes that may close on another line.
const QUOTED: &str = "[\"']?[ -~é]{0,12}[\"']?";
/// Values without.
const PLAIN: &str = "[a-zé$#= ]{0,12}";

/// INI files, with all ways to write a value.
fn ini() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        4 => "[ -~é]{0,12}",
        1 => "['\"`][ -~é]{0,8}['\"`]( ;[ -~]{0,6})?",
        1 => "\"\"\"[ -~\n]{0,12}\"\"\"",
        1 => "`[ -_\n]{0,12}`( #[ -~]{0,6})?",
        1 => "[a-z ]{0,4}\\\\\n[ -Z]{0,6}",
    ];
    let line = prop_oneof![
        6 => ("[ \t]{0,2}[a-e]{1,2}[ ]{0,2}[=:][ ]{0,2}", value).prop_map(|(key, value)| key + &value),
        2 => "[ \t]{0,2}[#;][ -~é]{0,8}",
        1 => Just(";".to_owned()),
        1 => "[ \t]{0,2}\\[[a-c.]{1,2}\\][ ]{0,1}",
        1 => "[ \t]{0,2}",
    ];
    (prop::collection::vec(line, 1..12), "(\n|\r\n)", any::<bool>())
        .prop_map(|(lines, end, last)| lines.join(&end) + if last { &end } else { "" })
        .prop_filter("empty files stay empty", |text| !text.is_empty())
        .prop_filter("SOPS reads it", |text| {
            Store::Ini.parse_plaintext(text).is_ok_and(|read| read.metadata.is_none())
        })
}

/// YAML mappings as people write them: every style of scalar, comments, lists, nesting.
fn yaml() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        "[a-z][a-z0-9 ]{0,6}[a-z]",
        "[0-9]{1,4}",
        Just("0755".to_owned()),
        Just("1.50".to_owned()),
        Just("true".to_owned()),
        Just("~".to_owned()),
        "'[a-z :#]{0,8}'",
        "\"[a-z :#]{0,6}(\\\\n|\\\\t|\\\\u00e9)?\"",
        "\\[[a-z]{1,3}, '[a-z ]{1,3}'\\]",
    ];
    let item = (scalar, "( # [a-z ]{0,6})?").prop_map(|(scalar, comment)| format!("{scalar}{comment}"));
    let entry = prop_oneof![
        4 => item.clone().prop_map(|item| format!(" {item}\n")),
        1 => prop::collection::vec(item.clone(), 1..4)
            .prop_map(|items| items.iter().fold("\n".to_owned(), |text, item| format!("{text}    - {item}\n"))),
        1 => ("[|>][-+]?", prop::collection::vec("[a-z]([a-z #:]{0,4}[a-z])?", 1..4))
            .prop_map(|(header, lines)| lines.iter().fold(format!(" {header}\n"), |text, line| format!("{text}    {line}\n"))),
        1 => prop::collection::vec(item, 1..4).prop_map(|items| {
            items.iter().enumerate().fold("\n".to_owned(), |text, (n, item)| format!("{text}    k{n}: {item}\n"))
        }),
    ];
    let gap = prop_oneof![4 => Just(String::new()), 1 => Just("\n".to_owned()), 1 => "# [a-z ]{0,8}\n"];
    prop::collection::vec((gap, entry), 1..8).prop_map(|entries| {
        entries
            .iter()
            .enumerate()
            .fold(String::new(), |text, (n, (gap, entry))| format!("{text}{gap}key{n}:{entry}"))
    })
}

/// JSON objects, with every spelling of values and any white space.
fn json() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        3 => "\"[ -!#-\\[\\]-~é\u{2028}]{0,10}\"",
        2 => "\"(a|é|\\\\[\"\\\\/bfnrt]|\\\\u[0-9a-fA-F]{4}|\\\\ud83d\\\\ude00){0,6}\"",
        2 => "-?(0|[1-9][0-9]{0,9})(\\.[0-9]{1,4})?([eE][-+]?[0-9]{1,2})?",
        1 => Just("9007199254740993".to_owned()),
        1 => prop::sample::select(vec!["true", "false", "null", "\"\""]).prop_map(str::to_owned),
    ];
    let space =
        prop_oneof![2 => Just(String::new()), 2 => Just(" ".to_owned()), 1 => "[ \t]{0,3}(\r?\n)?[ \t]{0,4}"];
    let value = scalar.prop_recursive(4, 32, 5, |inner| {
        let gap = prop_oneof![2 => Just(""), 1 => Just(" "), 1 => Just("\n    "), 1 => Just("\r\n\t")];
        prop_oneof![
            (prop::collection::vec(inner.clone(), 0..5), gap.clone())
                .prop_map(|(items, gap)| format!("[{gap}{}{gap}]", items.join(&format!("{gap},{gap}")))),
            (prop::collection::vec(inner, 0..5), gap).prop_map(|(items, gap)| {
                let members: Vec<_> =
                    items.iter().enumerate().map(|(n, item)| format!("{gap}\"k{n}\":{gap}{item}")).collect();
                format!("{{{}{gap}}}", members.join(","))
            }),
        ]
    });
    let member = (space.clone(), "[a-d]", space.clone(), value, space.clone())
        .prop_map(|(before, key, colon, value, after)| format!("{before}\"{key}\"{colon}:{value}{after}"));
    (space.clone(), prop::collection::vec(member, 0..6), space.clone(), space).prop_map(
        |(before, members, inner, after)| match members[..] {
            [] => format!("{before}{{{inner}}}{after}"),
            _ => format!("{before}{{{}}}{after}", members.join(",")),
        },
    )
}

/// The marks of YAML, dotenv and INI in any order, to find what no person writes.
fn soup() -> impl Strategy<Value = String> {
    let tokens = [
        "a",
        "b: ",
        "c: d\n",
        ":",
        " ",
        "  ",
        "\n",
        "- ",
        "|\n",
        ">-\n",
        "|2+\n",
        "# x",
        " #",
        "'",
        "\"",
        "[",
        "]",
        "{",
        "}",
        ", ",
        "&x ",
        "*x",
        "!!str ",
        "!t ",
        "\t",
        "\r\n",
        "é",
        "\u{85}",
        "\u{feff}",
        "ENC[AES256_GCM,data:eA==,iv:eA==,tag:eA==,type:str]",
        "sops: ",
        "sops_mac=",
        "[sops]",
        "[a]\n",
        "`",
        "\"\"\"",
        ";",
        "x=",
        "x=1\n",
        "---\n",
        "...\n",
        "0755",
        "<<: ",
        "k=v\n",
        "=",
        "\\n",
        "\\",
        "~",
        "? ",
        "%",
        "@",
        "2024-01-02",
        "1.0",
        "true",
        "{\"a\":",
        "\"sops\":",
        "sops: {\"mac\":",
    ];
    prop::collection::vec(prop::sample::select(tokens.to_vec()), 0..24).prop_map(|tokens| tokens.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn sealed_dotenv_opens_to_the_same_bytes(text in dotenv(QUOTED)) {
        holds(&text, Format::Dotenv, Rule::default());
    }

    #[test]
    fn sealed_ini_opens_to_the_same_bytes(text in ini()) {
        holds(&text, Format::Ini, Rule::default());
    }

    #[test]
    fn edited_ini_opens_to_the_edited_bytes(text in ini(), edited in ini()) {
        let old = seal_new(&text, Format::Ini, Rule::default()).unwrap();
        for edited in [edited.clone(), format!("{text}\n[c]\n{edited}"), format!("; new\nnew=1\n{text}")] {
            if Store::Ini.parse_plaintext(&edited).is_ok() {
                let new = again(&old, &edited);
                let opened = open(&new);
                prop_assert_eq!(String::from_utf8_lossy(opened.plaintext().expose()), edited);
            }
        }
    }

    #[test]
    fn sealed_yaml_opens_to_the_same_bytes(text in yaml()) {
        holds(&text, Format::Yaml, Rule::default());
    }

    #[test]
    fn sealed_json_opens_to_the_same_bytes(text in json()) {
        holds(&text, Format::Json, Rule::default());
    }

    #[test]
    fn one_edited_value_of_json_changes_no_other(values in prop::collection::vec("[a-z0-9]{0,6}", 1..9), at in any::<prop::sample::Index>()) {
        let line = at.index(values.len());
        let text = |edited: usize| {
            let line = |(n, value): (usize, &String)| {
                format!("  \"k{n}\": \"{value}{}\"", if n == edited { "!" } else { "" })
            };
            format!("{{\n{}\n}}\n", values.iter().enumerate().map(line).collect::<Vec<_>>().join(",\n"))
        };
        let old = seal_new(&text(values.len()), Format::Json, Rule::default()).unwrap();
        let new = again(&old, &text(line));
        prop_assert_eq!(old.lines().count(), new.lines().count());
        for (number, (old, new)) in old.lines().zip(new.lines()).enumerate() {
            prop_assert_eq!(old == new, number != line + 1 && !old.contains("\"mac\""), "{}", new);
        }
    }

    #[test]
    fn one_edited_line_of_dotenv_changes_no_other(text in dotenv(PLAIN), at in any::<prop::sample::Index>()) {
        let old = seal_new(&text, Format::Dotenv, Rule::default()).unwrap();
        let mut lines: Vec<&str> = text.split('\n').collect();
        let line = at.index(lines.len());
        lines[line] = "EDITED=new";
        let new = again(&old, &lines.join("\n"));
        let old: Vec<_> = old.split('\n').collect();
        for (index, text) in new.split('\n').take(lines.len()).enumerate() {
            prop_assert!(index == line || text.starts_with("sops_") || old[index] == text);
        }
    }

    #[test]
    fn whatever_is_sealed_comes_back(text in soup()) {
        for format in [Format::Yaml, Format::Dotenv, Format::Ini, Format::Json] {
            if let Ok(sealed) = seal_new(&text, format, Rule::default()) {
                let opened = open(&sealed);
                prop_assert_eq!(String::from_utf8_lossy(opened.plaintext().expose()), text.as_str());
                prop_assert_eq!(again(&sealed, &text), sealed);
            }
        }
    }

    #[test]
    fn one_edited_line_of_yaml_changes_no_other_value(text in yaml(), at in any::<prop::sample::Index>()) {
        let old = seal_new(&text, Format::Yaml, Rule::default()).unwrap();
        let lines: Vec<&str> = text.split('\n').collect();
        let keys: Vec<usize> = (0..lines.len()).filter(|n| lines[*n].starts_with("key")).collect();
        let line = keys[at.index(keys.len())];
        // A key is renamed: the values below it move to another place, all others stay.
        let renamed = lines[line].replacen("key", "new", 1);
        let mut edited = lines.clone();
        edited[line] = &renamed;
        let new = again(&old, &edited.join("\n"));
        let gone: Vec<&str> = old.lines().filter(|sealed| sealed.contains("ENC[") && !new.contains(*sealed)).collect();
        let below = lines[line + 1..].iter().take_while(|line| !line.starts_with("key")).count();
        prop_assert!(gone.len() <= below + 3, "{gone:?}");
    }

    #[test]
    fn arbitrary_text_never_panics(text in "\\PC*", sealed in "(sops_mac=|\\[sops\\]\nlastmodified=|sops:\n  )?\\PC*") {
        for format in [Format::Dotenv, Format::Ini, Format::Yaml, Format::Json, Format::Binary] {
            let _ = seal_new(&text, format, Rule::default());
        }
        let _ = Sealed::parse(sealed.as_bytes());
    }
}
