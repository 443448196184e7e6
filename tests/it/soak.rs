//! Random edits of realistic files: each leaves all other lines as they were, opens to the same bytes, and
//! stock sops reads the same values. A tenth of what `scripts/soak edits` does runs with the tests.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use hlx::crypto::envelope::Recipient;
use hlx::crypto::mac::Coverage;
use hlx::crypto::{self, DataKey};
use hlx::format::{Format, Store};
use hlx::policy::Rule;
use hlx::sops::{self, Basis, KeyGroups, Opened, Sealed, Stamp};

use crate::sandbox::Sandbox;
use crate::vectors::values;

/// How many edits follow each other on one document.
const CHAIN: usize = 50;

const COMPOSE: &str = include_str!("soak/compose.yml");
const STACK: &str = include_str!("soak/stack.yml");
const ENV: &str = include_str!("soak/app.env");
const WINDOWS: &str = include_str!("soak/windows.env");
const INI: &str = include_str!("soak/app.ini");
const JSON: &str = include_str!("soak/app.json");

/// What is edited.
const BASES: &[(Format, Store, &str)] = &[
    (Format::Yaml, Store::Yaml, COMPOSE),
    (Format::Dotenv, Store::Dotenv, ENV),
    (Format::Yaml, Store::Yaml, STACK),
    (Format::Dotenv, Store::Dotenv, WINDOWS),
    (Format::Ini, Store::Ini, INI),
    (Format::Json, Store::Json, JSON),
];

/// A small generator of numbers (splitmix64), so that a seed tells the whole run.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % sides as u64) as usize
    }

    fn pick<'a, T: ?Sized>(&mut self, choices: &[&'a T]) -> &'a T {
        choices[self.roll(choices.len())]
    }

    pub(crate) fn word(&mut self) -> String {
        (0..1 + self.roll(24))
            .map(|_| char::from(b"abcdefghijklmnopqrstuvwxyzABC0123456789"[self.roll(39)]))
            .collect()
    }
}

/// What is done to a line.
#[derive(Debug, Clone, Copy)]
enum Edit {
    Change,
    Add,
    Remove,
    Swap,
}

/// A plaintext as lines, each with its line end.
#[derive(Clone)]
struct Text {
    store: Store,
    lines: Vec<String>,
}

impl Text {
    fn new(store: Store, text: &str) -> Self {
        Self { store, lines: text.split_inclusive('\n').map(str::to_owned).collect() }
    }

    /// The lines that hold one value or one comment and nothing else.
    fn single(&self) -> Vec<usize> {
        let holds = |line: &usize| match self.store {
            Store::Yaml => false,
            Store::Dotenv => self.is_single_of_dotenv(*line),
            Store::Ini => !self.lines[*line].trim().is_empty() && !self.lines[*line].starts_with('['),
            // The last member of an object has no comma, and so stays the last.
            Store::Json => self.lines[*line].contains("\": ") && self.lines[*line].ends_with(",\n"),
        };
        match self.store {
            Store::Yaml => self.single_of_yaml(),
            Store::Dotenv | Store::Ini | Store::Json => (0..self.lines.len()).filter(holds).collect(),
        }
    }

    fn is_single_of_dotenv(&self, line: usize) -> bool {
        let text = self.lines[line].trim_end();
        let open = |text: &str| text.matches(['"', '\'']).count() % 2 == 1;
        let inside =
            self.lines[..line].iter().filter(|text| text.contains('=') && open(text)).count() % 2 == 1;
        !text.is_empty() && !text.starts_with([' ', '\t']) && !inside && !open(text)
    }

    fn single_of_yaml(&self) -> Vec<usize> {
        let indent = |text: &str| text.len() - text.trim_start().len();
        let (mut section, mut block) = (None, None);
        let mut found = Vec::new();
        for (number, text) in self.lines.iter().enumerate().filter(|(_, text)| !text.trim().is_empty()) {
            let (depth, line) = (indent(text), text.trim());
            if block.is_some_and(|header| depth <= header) {
                block = None;
            }
            if section.is_some_and(|header| depth <= header) {
                section = None;
            }
            let is_block = line.contains(": |") || line.contains(": >");
            if section.is_some() && block.is_none() && !is_block && !line.contains(['*', '&', '{']) {
                found.push(number);
            }
            if line.starts_with("environment:") {
                section = Some(depth);
            }
            if is_block {
                block = Some(depth);
            }
        }
        found
    }

    /// A line of the same kind and indentation as another, with a new value.
    fn another(&self, like: usize, dice: &mut Dice, fresh: usize) -> String {
        let old = &self.lines[like];
        let indent = &old[..old.len() - old.trim_start().len()];
        let end = if old.ends_with("\r\n") { "\r\n" } else { "\n" };
        if dice.roll(5) == 0 && self.store != Store::Json {
            return format!("{indent}# {}{end}", dice.word());
        }
        let line = match self.store {
            Store::Yaml if self.is_in_list(like) => format!("- NEW_{fresh}={}", dice.word()),
            Store::Yaml => format!("NEW_{fresh}: {}", yaml_value(dice)),
            Store::Dotenv => format!("NEW_{fresh}={}", env_value(dice)),
            Store::Ini => format!("NEW_{fresh} = {}", ini_value(dice)),
            Store::Json => format!("\"NEW_{fresh}\": {},", json_value(dice)),
        };
        format!("{indent}{line}{end}")
    }

    fn is_in_list(&self, like: usize) -> bool {
        let depth = |text: &str| text.len() - text.trim_start().len();
        let same =
            |text: &&String| depth(text) == depth(&self.lines[like]) && !text.trim_start().starts_with('#');
        let mut section = self.lines[..=like]
            .iter()
            .rev()
            .take_while(|text| !text.trim_start().starts_with("environment:"));
        let below = self.lines[like..].iter().find(same);
        section.find(same).or(below).is_some_and(|text| text.trim_start().starts_with('-'))
    }

    /// Edits a random line. Gives the number of lines that went and that came.
    fn edit(&mut self, edit: Edit, dice: &mut Dice, fresh: usize) -> Option<(usize, usize)> {
        let single = self.single();
        let line = single[dice.roll(single.len())];
        match edit {
            Edit::Change => {
                self.lines[line] = self.changed(line, dice);
                Some((1, 1))
            }
            Edit::Add => {
                let new = self.another(line, dice, fresh);
                self.lines.insert(line, new);
                Some((0, 1))
            }
            // What is left must not be empty.
            Edit::Remove if single.len() > 6 && self.may_go(line, &single) => {
                self.lines.remove(line);
                Some((1, 0))
            }
            Edit::Swap if single.contains(&(line + 1)) && self.depth(line) == self.depth(line + 1) => {
                self.lines.swap(line, line + 1);
                Some((2, 2))
            }
            Edit::Remove | Edit::Swap => None,
        }
    }

    fn depth(&self, line: usize) -> usize {
        self.lines[line].len() - self.lines[line].trim_start().len()
    }

    /// Not the last value of its mapping.
    fn may_go(&self, line: usize, single: &[usize]) -> bool {
        let is_value = |other: &usize| !self.lines[*other].trim_start().starts_with(['#', ';']);
        [line.wrapping_sub(1), line + 1].iter().any(|other| single.contains(other) && is_value(other))
    }

    /// The line with another value behind the same key, or another text in the comment.
    fn changed(&self, line: usize, dice: &mut Dice) -> String {
        let old = &self.lines[line];
        let end = if old.ends_with("\r\n") { "\r\n" } else { "\n" };
        let indent = &old[..self.depth(line)];
        match (self.store, old.trim()) {
            (_, text) if text.starts_with(['#', ';']) => format!("{indent}# {}{end}", dice.word()),
            (Store::Yaml, text) if text.starts_with('-') => {
                let key =
                    text.trim_start_matches(['-', ' ', '\'', '"']).split('=').next().unwrap_or_default();
                format!("{indent}- {key}={}{end}", dice.word())
            }
            (Store::Yaml, text) => {
                let key = text.split(": ").next().unwrap_or_default().trim_end_matches(':');
                format!("{indent}{key}: {}{end}", yaml_value(dice))
            }
            (Store::Dotenv, text) => {
                let key = text.split('=').next().unwrap_or_default();
                format!("{indent}{key}={}{end}", env_value(dice))
            }
            (Store::Ini, text) => {
                let key = text.split('=').next().unwrap_or_default();
                format!("{indent}{key}= {}{end}", ini_value(dice))
            }
            (Store::Json, text) => {
                let key = text.split("\": ").next().unwrap_or_default();
                format!("{indent}{key}\": {},{end}", json_value(dice))
            }
        }
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| f.write_str(line))
    }
}

fn yaml_value(dice: &mut Dice) -> String {
    let word = dice.word();
    match dice.roll(16) {
        0 => dice.pick(&["0755", "1.50", "1e3", "0x1F", "1_000", "-5", "12345678901"]).to_owned(),
        1 => dice.pick(&["true", "False", "yes", "~", "null", "''", "\"\"", "2024-01-02"]).to_owned(),
        2 => format!("'{word}''s: #{word}'"),
        3 => format!("\"{word}\\t\\u00e9\\\"{word}\""),
        4 => format!("{word} # {}", dice.word()),
        5 => format!("\"{word}\" # {}", dice.word()),
        6 => format!("https://{word}:{}@example.org/?a=b#c", dice.word()),
        7 => format!("{word} {} ünï→", dice.word()),
        8 => format!("!!str {}", dice.roll(1000)),
        9 => word.repeat(1 + dice.roll(30)),
        10 => dice.roll(100_000).to_string(),
        _ => word,
    }
}

fn env_value(dice: &mut Dice) -> String {
    let word = dice.word();
    match dice.roll(10) {
        0 => String::new(),
        1 => format!("\"{word} {}\"", dice.word()),
        2 => format!("'{word}=$x #{word}'"),
        3 => format!("{word}\\n{}", dice.word()),
        4 => format!("{word} # {}", dice.word()),
        5 => format!(" {word}=="),
        6 => format!("ünï→{word}"),
        7 => word.repeat(1 + dice.roll(30)),
        _ => word,
    }
}

fn ini_value(dice: &mut Dice) -> String {
    let word = dice.word();
    match dice.roll(6) {
        0 => format!("{word} {}", dice.word()),
        1 => format!("https://{word}.example.org/?a=b"),
        2 => format!("ünï→{word}"),
        3 => word.repeat(1 + dice.roll(30)),
        4 => dice.roll(100_000).to_string(),
        _ => word,
    }
}

fn json_value(dice: &mut Dice) -> String {
    let word = dice.word();
    match dice.roll(10) {
        0 => dice.pick(&["1.50", "1e3", "-5", "12345678901", "0.1", "1E-2"]).to_owned(),
        1 => dice.pick(&["true", "false", "null", "\"\"", "[]", "{}"]).to_owned(),
        2 => format!("\"{word} \\u00e9\\/\\t{word}\""),
        3 => format!("\"ünï→{word}\""),
        4 => dice.roll(100_000).to_string(),
        5 => format!("\"{}\"", word.repeat(1 + dice.roll(30))),
        _ => format!("\"{word}\""),
    }
}

/// The lines of a sealed text, without those of the metadata that every sealing writes anew.
fn steady(sealed: &str) -> Vec<&str> {
    let names = ["lastmodified", "mac", "hlx"];
    let renewed = |line: &str| {
        let line = line.trim_start().trim_start_matches("sops_").replace('"', "");
        names
            .iter()
            .any(|name| line.strip_prefix(name).is_some_and(|rest| rest.trim_start().starts_with([':', '='])))
    };
    sealed.split_inclusive('\n').filter(|line| !renewed(line)).collect()
}

/// The lines in which two sealed texts differ, between their common head and tail.
fn differing<'t>(old: &'t str, new: &'t str) -> (Vec<&'t str>, Vec<&'t str>) {
    let (mut old, mut new) = (steady(old), steady(new));
    while let (Some(one), Some(other)) = (old.last(), new.last())
        && one == other
    {
        old.pop();
        new.pop();
    }
    let head = old.iter().zip(&new).take_while(|(one, other)| one == other).count();
    (old.split_off(head), new.split_off(head))
}

fn rules() -> Vec<(Option<(&'static str, &'static str)>, Coverage)> {
    vec![
        (Some(("encrypted_regex", "^environment$")), Coverage::OnlyEncrypted),
        (None, Coverage::All),
        (Some(("unencrypted_regex", "^(image|ports)$")), Coverage::All),
    ]
}

/// A document on its way through many edits.
struct Chain {
    text: Text,
    sealed: String,
    key: DataKey,
}

impl Chain {
    fn begin(number: usize, recipient: &Recipient) -> Self {
        let (format, store, base) = BASES[number % BASES.len()];
        let rules = rules();
        let (rule, coverage) = match format {
            Format::Yaml => &rules[number / BASES.len() % rules.len()],
            Format::Dotenv | Format::Ini | Format::Json | Format::Binary => &rules[1],
        };
        let rule =
            Rule::from_fields(|name| rule.filter(|(field, _)| *field == name).map(|(_, text)| text)).unwrap();
        let key = DataKey::random(&mut random);
        let plugins: crypto::envelope::Plugins<'_> = &|_| Err(crypto::Error::BadShare);
        let groups = KeyGroups::one(vec![recipient.wrap(key.expose(), plugins).unwrap()]);
        let basis = Basis::New { key: key.duplicate(), groups, rule, coverage: *coverage };
        let sealed = seal(base, format, &basis, 0);
        Self { text: Text::new(store, base), sealed, key }
    }

    /// One edit, with all that can be said of it without sops.
    fn step(&mut self, dice: &mut Dice, fresh: usize) {
        let (before, edit, (gone, come)) = loop {
            let before = self.text.clone();
            let edit = [Edit::Change, Edit::Change, Edit::Add, Edit::Remove, Edit::Swap][dice.roll(5)];
            if let Some(lines) = self.text.edit(edit, dice, fresh) {
                break (before, edit, lines);
            }
        };
        let text = self.text.to_string();
        let old = open(&self.sealed, &self.key);
        let new = seal(&text, old.sealed().format(), &Basis::Again(&old), fresh);
        let (mut was, mut is) = differing(&self.sealed, &new);
        let told = || format!("edit {fresh}, {edit:?}:\n{before}---\n{text}---\n{}---\n{new}", self.sealed);
        // SOPS takes comment lines of INI that stand together for one, sealed as one line; a value parts it in two.
        let joined = if self.text.store == Store::Ini { 2 } else { 0 };
        let own = was.len() <= gone + joined && is.len() <= come + joined;
        assert!(own, "{was:?} became {is:?} in {}", told());
        if let (Edit::Swap, 0) = (edit, joined) {
            was.sort_unstable();
            is.sort_unstable();
            assert!(was == is, "what moved was sealed anew: {}", told());
        }
        assert!(open(&new, &self.key).plaintext().expose() == text.as_bytes(), "other bytes: {}", told());
        self.sealed = new;
    }
}

fn random(buffer: &mut [u8]) {
    getrandom::fill(buffer).unwrap();
}

fn seal(text: &str, format: Format, basis: &Basis<'_>, seconds: usize) -> String {
    let now = format!("2024-01-02T{:02}:{:02}:{:02}Z", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let sealed = sops::seal(text.as_bytes(), format, basis, Stamp { now, entropy: &mut random });
    String::from_utf8(sealed.unwrap_or_else(|error| panic!("{error}:\n{text}"))).unwrap()
}

fn open<'t>(sealed: &'t str, key: &DataKey) -> Opened<'t> {
    Sealed::parse(sealed.as_bytes()).unwrap().open(key).unwrap()
}

/// What stock sops shall read.
struct Proof {
    sealed: String,
    text: String,
    store: Store,
}

/// Stock sops on each of these, on all processors.
fn ask_sops(sandbox: &Sandbox, proofs: &[Proof]) {
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for worker in 0..workers {
            let mine = proofs.iter().enumerate().skip(worker).step_by(workers);
            scope.spawn(move || {
                mine.for_each(|(number, proof)| agree(sandbox, &format!("{worker}"), number, proof))
            });
        }
    });
}

fn agree(sandbox: &Sandbox, worker: &str, number: usize, proof: &Proof) {
    let kind = match proof.store {
        Store::Dotenv => "env",
        Store::Ini => "ini",
        Store::Yaml => "yaml",
        Store::Json => "json",
    };
    let name = format!("{worker}.{kind}");
    fs::write(sandbox.path(&name), &proof.sealed).unwrap();
    let done = sandbox.sops(".", &["-d", &name]);
    assert!(done.code == Some(0), "sops refuses number {number}: {}\n{}", done.err, proof.sealed);
    let theirs = values(&proof.store.parse(&done.out).unwrap());
    let ours = values(&proof.store.parse_plaintext(&proof.text).unwrap());
    assert!(theirs == ours, "number {number}:\n{theirs:?}\n{ours:?}\n{}", proof.sealed);
}

fn edits(count: usize, seed: u64, every: usize) {
    let sandbox = Sandbox::new();
    let keys = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/keys/a.txt");
    let at: PathBuf = sandbox.path("home/.config/sops/age/keys.txt");
    fs::create_dir_all(at.parent().unwrap()).unwrap();
    fs::copy(&keys, at).unwrap();
    let public = fs::read_to_string(&keys).unwrap();
    let recipient: Recipient =
        public.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap().parse().unwrap();
    let (mut dice, started) = (Dice(seed), Instant::now());
    let (mut sealing, mut asked) = (std::time::Duration::ZERO, 0);
    for chain_number in 0..count.div_ceil(CHAIN) {
        let begun = Instant::now();
        let mut chain = Chain::begin(chain_number, &recipient);
        let mut proofs = Vec::new();
        for step in 0..CHAIN.min(count - chain_number * CHAIN) {
            let fresh = chain_number * CHAIN + step;
            chain.step(&mut dice, fresh);
            if fresh.is_multiple_of(every) {
                let (sealed, text) = (chain.sealed.clone(), chain.text.to_string());
                proofs.push(Proof { sealed, text, store: chain.text.store });
            }
        }
        sealing += begun.elapsed();
        asked += proofs.len();
        ask_sops(&sandbox, &proofs);
    }
    println!(
        "{count} edits (seed {seed}): other lines untouched and opened to the same bytes, each one ({} s); read by stock sops: {asked}; {} s in all",
        sealing.as_secs(),
        started.elapsed().as_secs()
    );
}

/// A number from the environment.
pub(crate) fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name}: no number")))
}

#[test]
fn every_random_edit_touches_its_own_lines_and_opens_in_sops() {
    let count = number("HLX_SOAK_EDITS", 1000);
    edits(usize::try_from(count).unwrap(), number("HLX_SOAK_SEED", 7), 1);
}
