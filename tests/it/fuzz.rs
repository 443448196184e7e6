//! The laws of `fuzz/laws.rs`, held in every run: against the seeds, seeds with a few alterations, long
//! repetitions of them, arbitrary bytes, and all that a fuzzer has found before (`tests/found`).

#[path = "../../fuzz/laws.rs"]
mod laws;

use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};

use laws::{LAWS, hold, seeds};

/// How long the repetitions are: long enough for what grows with the square of the input.
const LONG: usize = 100_000;

#[test]
fn the_laws_hold_for_the_seeds_and_for_long_repetitions_of_them() {
    for (name, _) in LAWS {
        let seeds = seeds(name);
        assert!(!seeds.is_empty(), "{name} has no seeds");
        for seed in &seeds {
            hold(name, seed);
        }
        for seed in seeds.iter().take(6).filter(|seed| !seed.is_empty()) {
            hold(name, &seed.repeat(LONG / seed.len()));
        }
    }
}

#[test]
fn the_laws_hold_for_what_was_found() {
    let mut tried = 0;
    for (name, _) in LAWS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/found").join(name);
        for entry in fs::read_dir(folder).into_iter().flatten() {
            hold(name, &fs::read(entry.unwrap().path()).unwrap());
            tried += 1;
        }
    }
    assert!(tried > 0, "there is nothing in tests/found");
}

/// What a stranger would write to fill the memory or to keep the processor busy.
fn hostile() -> Vec<(&'static str, String)> {
    let many = |text: &str| text.repeat(LONG / text.len());
    let long_key = "k".repeat(LONG / 2);
    let sealed = "ENC[AES256_GCM,data:eA==,iv:eA==,tag:eA==,type:comment]";
    vec![
        ("yaml", format!("a: &a {{{long_key}: v}}\nb: [{}]\n", many("*a, "))),
        ("yaml", format!("a: &a {{? {long_key}\n: v}}\nb: [{}]\n", many("*a, "))),
        ("yaml", format!("a: &a [{}]\nb: [{}]\n", "x, ".repeat(1000), many("*a, "))),
        ("yaml", format!("a: &a [x, x, x, x, x, x, x, x, x, x]\n{}", bomb())),
        ("yaml", format!("a: 1\n{}{}", many("# c\n"), many("---\nsops: {}\n"))),
        ("yaml", format!("a: {}", "[".repeat(LONG))),
        ("yaml", format!("{}: x\n", many("- "))),
        ("yaml", format!("sops:\n  {long_key}: [{}]\na: 1\n", many("1, "))),
        ("yaml", format!("sops:\n  ? {long_key}\n  : [{}]\na: 1\n", many("1, "))),
        ("yaml", format!("a:\n{}", many(&format!("  # {sealed}\n")))),
        ("dotenv", many("A=\"\n")),
        ("dotenv", many("A='\nB=\"\n")),
        ("dotenv", format!("sops_{}=x\n", many("__list_0__map_a"))),
        ("open", format!("{{\"data\": \"\", \"sops\": {{\"{long_key}\": [{}1]}}}}", many("1,"))),
        ("open", format!("{{\"data\": \"\", \"sops\": {{\"a\": {}1{}}}}}", "[".repeat(120), "]".repeat(120))),
        ("open", format!("{{\"data\": \"\", \"sops\": [{}1]}}", many("1,"))),
        ("regex", "(a{1000}){1000}\naaa".to_owned()),
        ("regex", format!("{}\n{}", r"[[:alpha:]\w]{100}?".repeat(30), many("a"))),
        ("regex", format!("{}a{}", "(".repeat(LONG / 2), ")".repeat(LONG / 2))),
        ("config", format!("creation_rules:\n{}", many("  - age: [x]\n"))),
        ("config", format!("creation_rules: {}", "[".repeat(LONG))),
        ("config", format!("x: &a [1]\n{}", bomb())),
        ("value", format!("ENC[AES256_GCM,{}]", many("data:,iv:,tag:,type:str"))),
        (
            "seal_yaml",
            format!(
                "00000000a: &a {{c: x, d: y}}\n{}",
                (0..2000).map(|n| format!("k{n}: *a\n")).collect::<String>()
            ),
        ),
        ("seal_yaml", format!("00000000a: [{}]\n", many("x, "))),
        ("seal_dotenv", format!("00000000{}", many("A=x\n"))),
        ("open", scattered_comments()),
        ("pktline", many("0005a")),
    ]
}

/// One authentic comment over and over, far from the container that it was sealed in.
fn scattered_comments() -> String {
    let sealed = laws::seal_yaml("a: x\nz:\n  # c\n  k: v\n");
    let comment = sealed.lines().find(|line| line.contains("type:comment")).unwrap().trim_start();
    let keys: String = (0..LONG / 8).map(|number| format!("k{number}:\n")).collect();
    sealed.replace("z:\n", &format!("y:\n{}  k: ''\n{keys}z:\n", format!("  {comment}\n").repeat(LONG / 128)))
}

/// Aliases of aliases, ten times as many on each line.
fn bomb() -> String {
    let line = |n: u8| {
        format!(
            "{}: &{} [{}]\n",
            (b'b' + n) as char,
            (b'b' + n) as char,
            vec![format!("*{}", (b'a' + n) as char); 10].join(", ")
        )
    };
    (0..9).map(line).collect()
}

#[test]
fn the_laws_hold_for_what_is_meant_to_do_harm() {
    let broken: Vec<String> = hostile()
        .iter()
        .enumerate()
        .filter_map(|(number, (name, text))| {
            let held = panic::catch_unwind(AssertUnwindSafe(|| hold(name, text.as_bytes())));
            held.err().map(|_| format!("{number}: {name}"))
        })
        .collect();
    assert!(broken.is_empty(), "{broken:?}");
}

/// A seed with a few bytes exchanged, and stretches of other seeds put in.
fn altered(seeds: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let change = (any::<Index>(), any::<Index>(), any::<Index>(), any::<u8>(), 0..4u8);
    let changes = prop::collection::vec(change, 0..5);
    (any::<Index>(), any::<Index>(), changes).prop_map(move |(seed, other, changes)| {
        let (mut text, other) = (seed.get(&seeds).clone(), other.get(&seeds));
        for (at, from, to, byte, kind) in changes {
            let at = at.index(text.len() + 1);
            let (from, to) = (from.index(other.len() + 1), to.index(other.len() + 1));
            match kind {
                0 => text.iter_mut().skip(at).take(1).for_each(|old| *old = byte),
                1 => text.insert(at, byte),
                2 => drop(text.splice(at..at, other[from.min(to)..from.max(to)].iter().copied())),
                _ => text.truncate(at.max(8)),
            }
        }
        text
    })
}

fn holds(name: &str, cases: u32) {
    let seeds = seeds(name);
    let bytes = prop_oneof![
        6 => altered(seeds.clone()),
        1 => prop::collection::vec(any::<u8>(), 0..200),
        1 => "[\\x00-\\x7f]{0,200}".prop_map(String::into_bytes),
        // A fragment over and over: what takes time or memory out of proportion shows.
        1 => (altered(seeds), any::<Index>(), 1..40usize).prop_map(|(text, at, length)| {
            let at = at.index(text.len() + 1);
            text[at..(at + length).min(text.len())].repeat(LONG / 40 / length)
        }),
    ];
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let result = runner.run(&bytes, |data| {
        panic::catch_unwind(AssertUnwindSafe(|| hold(name, &data))).map_err(|_| {
            TestCaseError::fail(format!(
                "put these bytes into tests/found/{name}: {:?}",
                data.escape_ascii().to_string()
            ))
        })
    });
    result.unwrap_or_else(|error| panic!("{name}: {error}"));
}

#[test]
fn the_laws_hold_for_altered_seeds_and_arbitrary_bytes() {
    for (name, _) in LAWS {
        holds(name, 150);
    }
}
