//! The laws of everything that reads bytes of strangers: it does not panic, it does not hang, its memory
//! is bounded by a multiple of the input; and what is sealed opens to the same bytes.
//!
//! One function for each parser. The fuzz targets beside this file call them, and so do the tests of
//! every run (`tests/it/fuzz.rs`), with the same seeds.

#![allow(unreachable_pub)] // public for the fuzz targets

use std::fs;
use std::path::{Path, PathBuf};

use age_core::format::Stanza;
use hlx::check;
use hlx::crypto::DataKey;
use hlx::crypto::envelope::{Envelope, Recipient};
use hlx::crypto::hybrid;
use hlx::crypto::mac::Coverage;
use hlx::crypto::value::{self, Cipher, Kind};
use hlx::format::{Document, Field, Format, Store};
use hlx::git::{self, Protection, pktline};
use hlx::keys::{Keyring, Places, recipients};
use hlx::policy::creation::Config;
use hlx::policy::{Rule, re2};
use hlx::repo;
use hlx::secret::Secret;
use hlx::sops::{self, Basis, KeyGroups, Metadata, Opened, Sealed, Stamp};

use crate::heap::most_during;

/// What must hold for any bytes.
pub type Law = fn(&[u8]);

/// All laws by their names, which are those of the fuzz targets too.
pub const LAWS: &[(&str, Law)] = &[
    ("dotenv", |data| store(Store::Dotenv, data)),
    ("yaml", |data| store(Store::Yaml, data)),
    ("ini", |data| store(Store::Ini, data)),
    ("json", |data| store(Store::Json, data)),
    ("seal_dotenv", |data| seal(Format::Dotenv, data)),
    ("seal_yaml", |data| seal(Format::Yaml, data)),
    ("seal_ini", |data| seal(Format::Ini, data)),
    ("seal_json", |data| seal(Format::Json, data)),
    ("seal_binary", |data| seal(Format::Binary, data)),
    ("open", open),
    ("layout", layout),
    ("metadata", metadata),
    ("config", config),
    ("regex", regex),
    ("value", value),
    ("envelope", envelope),
    ("hybrid", hybrid),
    ("recipients", recipients),
    ("identities", identities),
    ("pktline", pktline),
    ("compose", compose),
    ("attributes", attributes),
    ("history", history),
];

/// The stores whose values are sealed one by one, and a text for a `sops` block to be put in.
const STORES: &[(Store, &str)] = &[
    (Store::Dotenv, "a=1\n"),
    (Store::Ini, "[a]\nb = 1\n"),
    (Store::Yaml, "a: 1\n"),
    (Store::Yaml, "{a: 1}\n"),
    (Store::Json, "{\"a\": 1}\n"),
];

/// The most heap that a law may take: so many bytes for each of the input, and so many besides.
const PER_BYTE: usize = 512;
const BESIDES: usize = 4 << 20;
/// The most time on the processor, for debug builds on slow machines: for each byte, and besides.
const NANOSECONDS_PER_BYTE: u64 = 100_000;
const NANOSECONDS_BESIDES: u64 = 3_000_000_000;

/// Holds the law of this name against these bytes, with its bounds.
///
/// # Panics
/// If the law is broken.
pub fn hold(name: &str, data: &[u8]) {
    let law = LAWS.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("no law `{name}`")).1;
    let before = processor_time();
    let most = most_during(|| law(data));
    let took = processor_time() - before;
    let bytes = data.len();
    assert!(most <= BESIDES + PER_BYTE * bytes, "{name}: {most} bytes of heap for {bytes}");
    let time = NANOSECONDS_BESIDES + NANOSECONDS_PER_BYTE * bytes as u64;
    assert!(took <= time, "{name}: {} ms for {bytes} bytes", took / 1_000_000);
}

/// How long this thread has been on a processor.
fn processor_time() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux counts the time of threads");
    text.split(' ').next().and_then(|number| number.parse().ok()).expect("it begins with a number")
}

fn key() -> DataKey {
    DataKey::from_bytes(&[5; 32]).expect("32 bytes")
}

fn text(data: &[u8]) -> Option<&str> {
    std::str::from_utf8(data).ok()
}

/// Reading a compose file, and looking for secrets in it.
fn compose(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let lines = text.lines().count();
    for path in ["compose.yml", "compose.override.yaml", "notes.md"] {
        let settings = |value: &serde_json::Value| match value.is_object() {
            true => Ok(check::StackSettings::default()),
            false => Err("no mapping".to_owned()),
        };
        for (_, line, _) in check::in_clear(path, text, settings) {
            assert!(line.is_none_or(|line| 0 < line && line <= lines + 1), "a line outside of the text");
        }
    }
}

/// Reading attributes at the top and in a folder, and asking for some paths.
fn attributes(data: &[u8]) {
    let sources: [(&[u8], &[u8]); 2] = [(b".gitattributes", data), (b"a/.gitattributes", data)];
    let protection = Protection::read(sources);
    for path in [&b".env"[..], b"a/b.key", b"a/b/c/d/e.env", b"\xff \n"] {
        let _ = protection.of(path);
    }
}

/// Reading what git says of commits.
fn history(data: &[u8]) {
    let _ = git::history::parse(data);
}

/// Every span is a part of the text.
fn check_spans(text: &str, document: &Document<'_>) {
    for leaf in &document.leaves {
        let place = document.alias(leaf).unwrap_or(&leaf.span);
        assert!(text.get(place.clone()).is_some(), "a leaf at {place:?} is outside of the text");
    }
    if let Some(block) = &document.metadata {
        let spans = block.cut.iter().chain(block.fields.iter().map(|field| &field.span));
        assert!(
            spans.into_iter().all(|span| text.get(span.clone()).is_some()),
            "a field is outside of the text"
        );
    }
    assert!(text.get(document.tail.offset()..).is_some());
}

/// Reading a text in a store.
fn store(store: Store, data: &[u8]) {
    let Some(text) = text(data) else { return };
    for document in [store.parse(text), store.parse_plaintext(text)].into_iter().flatten() {
        check_spans(text, &document);
    }
}

fn rule(number: u8) -> Rule {
    let set = [
        ("unencrypted_suffix", "_unencrypted"),
        ("encrypted_regex", "^(environment|b)$"),
        ("encrypted_comment_regex", "x"),
        ("unencrypted_comment_regex", "x"),
    ][usize::from(number % 4)];
    Rule::from_fields(|name| (name == set.0).then_some(set.1)).expect("it is a good rule")
}

fn new(rule: Rule, coverage: Coverage) -> Basis<'static> {
    let envelope = Envelope { recipient: "age1test".to_owned(), enc: "-----\nx\n".to_owned() };
    Basis::New { key: key(), groups: KeyGroups::one(vec![envelope]), rule, coverage }
}

fn sealed(plaintext: &[u8], format: Format, basis: &Basis<'_>) -> Result<Vec<u8>, sops::Error> {
    // The same bytes in each run, so that what is found can be found again.
    let mut count = 0u8;
    let mut entropy = |buffer: &mut [u8]| {
        count = count.wrapping_add(1);
        buffer.fill(count);
    };
    let stamp = Stamp { now: "2024-01-02T03:04:05Z".to_owned(), entropy: &mut entropy };
    sops::seal(plaintext, format, basis, stamp)
}

/// A YAML text, sealed under the key that the laws know.
pub fn seal_yaml(plaintext: &str) -> String {
    let sealed = sealed(plaintext.as_bytes(), Format::Yaml, &new(Rule::default(), Coverage::All));
    String::from_utf8(sealed.expect("it is sealable")).expect("it is text")
}

fn opened(sealed: &[u8]) -> Opened<'_> {
    Sealed::parse(sealed).and_then(|sealed| sealed.open(&key())).expect("what was sealed opens")
}

/// A plaintext, sealed, opens to the same bytes; then the sealed text, altered in one place, does no harm.
///
/// The first eight bytes choose the rule and the alteration.
fn seal(format: Format, data: &[u8]) {
    let Some(([choice, alteration @ ..], plaintext)) = data.split_first_chunk::<8>() else { return };
    let coverage = if choice & 4 == 0 { Coverage::All } else { Coverage::OnlyEncrypted };
    let Ok(sealed_once) = sealed(plaintext, format, &new(rule(*choice), coverage)) else { return };
    let once = opened(&sealed_once);
    assert!(once.plaintext().expose() == plaintext, "it opens to other bytes");
    assert!(
        sealed(plaintext, format, &Basis::Again(&once)).as_ref() == Ok(&sealed_once),
        "it is sealed otherwise"
    );
    open(&altered(&sealed_once, *alteration));
}

/// A text with one byte changed, or a stretch of it removed, doubled or moved.
fn altered(text: &[u8], alteration: [u8; 7]) -> Vec<u8> {
    let [how, bytes @ ..] = alteration;
    let place = |at: usize| usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]])) % text.len().max(1);
    let (from, to) = (place(0).min(place(2)), place(0).max(place(2)));
    let mut altered = text.to_vec();
    match how % 4 {
        0 => altered.iter_mut().skip(from).take(1).for_each(|byte| *byte ^= bytes[5].max(1)),
        1 => drop(altered.drain(from..to)),
        2 => drop(altered.splice(to..to, text[from..to].iter().copied())),
        _ => altered[from..to].rotate_left(usize::from(bytes[4]) % (to - from).max(1)),
    }
    altered
}

/// Whatever claims to be sealed opens, or fails; and all that can be asked of it gives an answer.
fn open(data: &[u8]) {
    let _ = sops::is_sealed(data);
    let Ok(sealed) = Sealed::parse(data) else { return };
    let _ = sealed.check_structure();
    let _ = sealed.clear_comments();
    let again = sealed.with_groups(sealed.groups().clone());
    let again = Sealed::parse(again.as_bytes()).expect("what is written anew is sealed too");
    let envelopes = |sealed: &Sealed<'_>| {
        let groups = sealed.groups().groups().iter();
        groups.map(|group| group.envelopes.clone()).collect::<Vec<_>>()
    };
    assert!(envelopes(&again) == envelopes(&sealed), "its keys are other ones");
    let (key, format) = (key(), sealed.format());
    let Ok(opened) = sealed.open(&key) else { return };
    let known = opened.sealed().opens_to(&key, opened.plaintext().expose());
    // With a layout entry that was moved it may not know.
    let layout = opened.sealed().metadata.layout.is_some();
    assert!(known == Ok(true) || (layout && known == Ok(false)), "it opens in two ways");
    opened.secrets().for_each(drop);
    let same = self::sealed(opened.plaintext().expose(), format, &Basis::Again(&opened));
    assert!(same.as_deref() == Ok(data), "what did not change is not what it was");
}

/// A layout entry of someone who has the data key: it changes no value.
fn layout(data: &[u8]) {
    const PLAIN: &str = "a: 0755\nb: >\n  folded\n  text\nx: &e {A: s}\nc: {d: *e}\n# end\n";
    let good = seal_yaml(PLAIN);
    let mac = opened(good.as_bytes()).sealed().metadata.mac.clone();
    let (cipher, aad) = (Cipher::new(&key()), format!("sops.hlx:1:{mac}"));
    let entry = cipher.seal(data, Kind::Str, aad.as_bytes(), &mut |iv| iv.fill(7));
    let lines = good.lines().map(|line| match line.trim_start().strip_prefix("hlx:") {
        Some(_) => format!("    hlx: {entry}\n"),
        None => format!("{line}\n"),
    });
    let changed: String = lines.collect();
    assert!(changed.contains(&entry), "the entry has its place");
    let opened = opened(changed.as_bytes());
    let text = std::str::from_utf8(opened.plaintext().expose()).expect("it is text");
    assert!(values(Store::Yaml, text) == values(Store::Yaml, PLAIN), "a layout entry changed a value");
}

/// The values of a plaintext with their paths.
fn values(store: Store, text: &str) -> Vec<(String, Vec<u8>)> {
    let document = store.parse_plaintext(text).expect("it is readable");
    let leaves = document.leaves.iter();
    leaves
        .filter(|leaf| matches!(leaf.content, hlx::format::Content::Value(_)))
        .map(|leaf| (document.paths.aad(leaf.path), content(&leaf.content)))
        .collect()
}

fn content(content: &hlx::format::Content<'_>) -> Vec<u8> {
    match content {
        hlx::format::Content::Value(scalar) => scalar.bytes().into_owned(),
        hlx::format::Content::Comment(text) => text.as_bytes().to_vec(),
    }
}

/// A `sops` block with any fields, in the flattened form of dotenv: what is read is the same when it is
/// written anew, in every store.
fn metadata(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let lines: String = text.lines().map(|line| format!("sops_{line}\n")).collect();
    let Ok(document) = Store::Dotenv.parse(&lines) else { return };
    let fields: &[Field] = document.metadata.as_ref().map_or(&[], |block| &block.fields);
    let Ok(read) = Metadata::read(fields) else { return };
    for (store, around) in STORES {
        let tail = store.parse(around).expect("it is readable").tail;
        let (before, behind) = around.split_at(tail.offset());
        let written = format!("{before}{}{behind}", store.spell_metadata(&read.fields(false), tail));
        let document = store.parse(&written).expect("what is written is readable");
        let fields = document.metadata.expect("the block is there").fields;
        assert!(Metadata::read(&fields).as_ref() == Ok(&read), "{store:?}: other metadata");
    }
}

/// `.sops.yaml`: its rules, the names in it, and editing it.
fn config(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let _ = repo::config::names(text);
    let Ok(config) = Config::parse(text) else { return };
    let _ = config.terms("compose.yml");
    let _ = config.recipients();
    for selection in [repo::config::Selection::All, repo::config::Selection::Keys("^a$".to_owned())] {
        if let Ok(more) = repo::config::with_rule(text, "a.yml", &selection) {
            let more = Config::parse(&more).expect("what was edited is readable");
            assert!(
                more.audiences().count() == config.audiences().count() + 1,
                "it has another number of rules"
            );
        }
    }
    let readers = [recipients::parse_one(OTHER).expect("it is a recipient")];
    for place in [repo::recipients::Place::Unsaid, repo::recipients::Place::Group(1)] {
        let added = repo::recipients::Addition { readers: &readers, place };
        if let Ok(Some(more)) = repo::config::with_recipients(text, added) {
            assert!(Config::parse(&more).is_ok(), "what was edited is not readable");
        }
    }
}

const OTHER: &str = "age1sld56zg0pxytug34k8a0tc0ja5f5t9s57f04dsml7d38r9rhjp2qlkkvgu # other";

/// A regular expression, and behind a line feed the text to look in.
fn regex(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let (pattern, haystack) = text.split_once('\n').unwrap_or((text, "environment"));
    if let Ok(regex) = re2::compile(pattern) {
        let _ = regex.is_match(haystack);
    }
}

/// One sealed value; and any bytes as a value, sealed and opened.
fn value(data: &[u8]) {
    let cipher = Cipher::new(&key());
    if let Some(sealed) = text(data).and_then(|text| value::Sealed::parse(text).ok()) {
        let _ = cipher.open(sealed, b"a:");
    }
    let sealed = cipher.seal(data, Kind::Str, b"a:", &mut |iv| iv.fill(9));
    let parsed = value::Sealed::parse(&sealed);
    if data.is_empty() {
        assert!(parsed.is_err(), "sops seals no empty value");
        return;
    }
    let parsed = parsed.expect("what was sealed is readable");
    assert!(cipher.open(parsed.clone(), b"a:").expect("it is authentic").expose() == data);
    assert!(cipher.open(parsed, b"b:").is_err(), "it opens in another place");
}

/// An armored age file.
fn envelope(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let (identity, hybrid) = (identity(), hybrid_identity());
    let envelope = Envelope { recipient: String::new(), enc: text.to_owned() };
    let _ = envelope.unwrap([&identity as &dyn age::Identity, &hybrid].into_iter());
}

/// A post-quantum key, or the stanza of one: a line for each argument, and the last for its body.
fn hybrid(data: &[u8]) {
    let Some(text) = text(data) else { return };
    for word in text.split_whitespace() {
        if let Ok(recipient) = word.parse::<hybrid::Recipient>() {
            assert!(recipient.to_string().eq_ignore_ascii_case(word), "it is spelled otherwise");
        }
        if let Ok(identity) = word.parse::<hybrid::Identity>() {
            let public = identity.to_public().to_string();
            assert!(public.parse() == Ok(identity.to_public()), "its public key is another");
        }
    }
    let mut lines = text.lines().map(str::to_owned);
    let body = lines.next_back().unwrap_or_default().into_bytes();
    let stanza = Stanza { tag: "mlkem768x25519".to_owned(), args: lines.collect(), body };
    if let Some(Ok(_)) = age::Identity::unwrap_stanza(&hybrid_identity(), &stanza) {
        assert!(stanza.args.len() == 1 && stanza.body.len() == 32, "a stanza of another form opens");
    }
}

fn hybrid_identity() -> hybrid::Identity {
    let file = include_str!("../tests/vectors/keys/hybrid.txt");
    file.lines().find_map(|line| line.parse().ok()).expect("the file holds an identity")
}

fn identity() -> age::x25519::Identity {
    let file = include_str!("../tests/vectors/keys/a.txt");
    file.lines().find_map(|line| line.parse().ok()).expect("the file holds an identity")
}

/// The argument of the stanza in the file that age made.
fn vector_share() -> String {
    let armored = include_str!("../tests/vectors/age/hybrid.age");
    let base64: String = armored.lines().filter(|line| !line.starts_with('-')).collect();
    let file =
        base64::Engine::decode(&base64::engine::general_purpose::STANDARD, base64).expect("it is base64");
    let header = String::from_utf8_lossy(&file);
    let stanza = header.lines().find_map(|line| line.strip_prefix("-> mlkem768x25519 "));
    stanza.expect("it has such a stanza").to_owned()
}

/// A file of recipients.
fn recipients(data: &[u8]) {
    let Some(text) = text(data) else { return };
    for named in recipients::parse(text).into_iter().flatten() {
        let _ = (named.recipient.short(), named.recipient.plugin());
        let again: Recipient = named.recipient.as_str().parse().expect("its spelling is readable");
        assert!(again == named.recipient, "its spelling is another key's");
    }
}

/// A file of identities: what cannot be read is not repeated.
fn identities(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let keyring =
        Keyring::load(&Places { sops_age_key: Some(Secret::new(text.to_owned())), ..Places::default() });
    for reason in keyring.tried().iter().filter_map(|tried| tried.outcome.as_ref().err()) {
        let repeats =
            text.split_whitespace().any(|word| word.len() > 24 && reason.to_string().contains(word));
        assert!(!repeats, "an error repeats a key");
    }
}

/// What git says to a filter: what was read reads the same when it is framed again.
fn pktline(data: &[u8]) {
    let mut from = data;
    while let Ok(Some(lines)) = pktline::read_lines(&mut from) {
        let Ok(Some(content)) = pktline::read_content(&mut from) else { break };
        let mut framed = Vec::new();
        pktline::content(&mut framed, &content);
        pktline::flush(&mut framed);
        assert!(pktline::read_content(&mut framed.as_slice()).ok().flatten() == Some(content));
        drop(lines);
    }
}

/// Where the vectors are.
fn vectors() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = if here.join("tests").is_dir() { here } else { here.parent().expect("it is inside") };
    root.join("tests/vectors")
}

/// The files below the vectors whose path fits.
fn files(fits: impl Fn(&str) -> bool) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut folders = vec![vectors()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the vectors are there").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if fits(&path.to_string_lossy()) {
                found.push(path);
            }
        }
    }
    found.sort();
    found.iter().map(|path| fs::read(path).expect("a vector is readable")).collect()
}

/// What a law is tried with first, and what a fuzzer begins with.
pub fn seeds(name: &str) -> Vec<Vec<u8>> {
    let plain = |format| {
        let of_format = files(|path| path.contains("/plain/") && Format::of_path(path) == format);
        of_format.into_iter()
    };
    let with_choice = |format| plain(format).map(|text| [&[0; 8][..], &text].concat()).collect();
    let resealed = |format: Format| {
        plain(format).filter_map(move |text| sealed(&text, format, &new(Rule::default(), Coverage::All)).ok())
    };
    match name {
        "dotenv" => plain(Format::Dotenv).chain(resealed(Format::Dotenv)).collect(),
        "yaml" => plain(Format::Yaml).chain(resealed(Format::Yaml)).collect(),
        "ini" => plain(Format::Ini).chain(resealed(Format::Ini)).collect(),
        "json" => plain(Format::Json).chain(resealed(Format::Json)).collect(),
        "seal_dotenv" => with_choice(Format::Dotenv),
        "seal_yaml" => with_choice(Format::Yaml),
        "seal_ini" => with_choice(Format::Ini),
        "seal_json" => with_choice(Format::Json),
        "seal_binary" => with_choice(Format::Binary),
        "open" => [Format::Dotenv, Format::Ini, Format::Yaml, Format::Json, Format::Binary]
            .into_iter()
            .flat_map(resealed)
            .chain(files(|path| !path.contains("/plain/") && !path.contains("/keys/")))
            .collect(),
        "layout" => [r#"{"0":"0755"}"#, r#"{"0":"493 #","3":{"leaves":1,"before":4,"after":1,"text":"*e"}}"#]
            .map(|text| text.as_bytes().to_vec())
            .to_vec(),
        "metadata" => resealed(Format::Dotenv)
            .chain(files(|path| path.ends_with(".env") && path.contains("/sops-3")))
            .map(|text| {
                let text = String::from_utf8_lossy(&text).into_owned();
                let lines = text.lines().filter_map(|line| line.strip_prefix("sops_"));
                lines.collect::<Vec<_>>().join("\n").into_bytes()
            })
            .collect(),
        "config" => files(|path| path.ends_with(".sops.yaml")),
        "compose" => [
            "services:\n  db:\n    image: postgres:16\n    environment:\n      POSTGRES_PASSWORD: k3Jd9sQx2vLw\n    ports: ['127.0.0.1:80-90:80-90/udp']\n",
            "x: &x {image: y}\nx-hlx: {hosts: [a]}\nservices:\n  a:\n    <<: *x\n    environment: [API_KEY, A=b]\n    ports: [{target: 1, published: '${P:-2}'}]\n",
            "url: postgres://app:hunter2@db/app\nTOKEN='9f8b3c1d7e6a5f40' # hlx:allow\n",
        ]
        .map(|text| text.as_bytes().to_vec())
        .to_vec(),
        "attributes" => ["[attr]x filter=hlx -text\n*.env x\n/a/**/b !filter\n\"sp ace\" text=auto\n", "**/*[a-z]?.key filter=hlx\n"]
            .map(|text| text.as_bytes().to_vec())
            .to_vec(),
        "history" => vec![b"c0ffee\0:100644 000000 aa bb D\0a/b\0:000000 120000 aa bb A\0c\0".to_vec()],
        "regex" => [r"^\d+\Qa.b\E[[:alpha:]&&~]\b(?i)x*?$", "a{1,9}(b|c)+\naab", "^environment$"]
            .map(|text| text.as_bytes().to_vec())
            .to_vec(),
        "value" => vec![Cipher::new(&key()).seal(b"x", Kind::Int, b"a:", &mut |iv| iv.fill(1)).into_bytes()],
        "envelope" => {
            let recipient: Recipient = identity().to_public().to_string().parse().expect("it is a recipient");
            let none: hlx::crypto::envelope::Plugins<'_> =
                &|_| Err(hlx::crypto::Error::Wrap("no plugin".to_owned()));
            let hybrid = include_str!("../tests/vectors/age/hybrid.age");
            vec![recipient.wrap(&[5; 32], none).expect("it wraps").enc.into_bytes(), hybrid.into()]
        }
        "hybrid" => {
            let mut seeds = files(|path| path.ends_with("/keys/hybrid.txt"));
            // The share of the vector, and a body of its length that does not belong to it.
            let share = vector_share();
            seeds.push(format!("{share}\n{}\n", "b".repeat(32)).into_bytes());
            seeds.push(format!("{share}\n{share}\n").into_bytes());
            seeds
        }
        "recipients" => {
            let mut keys = files(|path| path.ends_with(".pub"));
            keys.push(format!("# laptop\n{OTHER}\n").into_bytes());
            keys
        }
        "identities" => files(|path| path.contains("/keys/")),
        "pktline" => vec![session()],
        _ => Vec::new(),
    }
}

/// A file that git sends.
fn session() -> Vec<u8> {
    let mut session = Vec::new();
    pktline::line(&mut session, "command=clean");
    pktline::flush(&mut session);
    pktline::content(&mut session, b"A=1\n");
    pktline::flush(&mut session);
    session
}
