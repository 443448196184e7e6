//! What is left in memory, and what is shown: the real program is stopped at the very moment when it ends, or waits for git, and
//! all memory that it could write is searched for keys and plaintext.
//!
//! Promised is: a filter that waits holds no plaintext of a file that went through it (of the one that git should ask for
//! next it may: `filter::ahead`); and when a process has
//! done its work, it holds no data key, no identity, and no plaintext either, neither on the heap nor on the stack.
//! Not promised: a filter holds identities and data keys as long as it runs, so that a branch opens with one
//! unwrap; and what the system keeps (the page cache of a key's file, a pipe that nobody read) is not hlx's.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use age::secrecy::ExposeSecret as _;
use hlx::crypto::envelope::Recipient;
use hlx::crypto::mac::{Coverage, Mac};
use hlx::crypto::value::Cipher;
use hlx::crypto::{DataKey, shamir};
use hlx::deploy::mask::Masker;
use hlx::format::{Format, Scalar, Store};
use hlx::git::pktline;
use hlx::keys::{Keyring, Places};
use hlx::policy::Rule;
use hlx::secret::Secret;
use hlx::sops::{Basis, KeyGroups, Stamp, seal};
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use sha3::Shake256;
use sha3::digest::ExtendableOutput as _;

use crate::identities::is_root;
use crate::sandbox::{CANARY, Sandbox};

/// Something that must not be found, and its name.
type Needle = (&'static str, Vec<u8>);

/// The places where something is found in the memory that a process can write.
fn search(pid: u32, needles: &[Needle]) -> Vec<String> {
    let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    let mut found = Vec::new();
    let (mut searched, mut stack) = (0, false);
    for line in fs::read_to_string(format!("/proc/{pid}/maps")).unwrap().lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (range, rights, name) = (words[0], words[1], words.get(5).copied().unwrap_or("anonymous"));
        if !rights.starts_with("rw") || name.starts_with("[v") {
            continue;
        }
        let (start, end) = range.split_once('-').unwrap();
        let [start, end] = [start, end].map(|place| u64::from_str_radix(place, 16).unwrap());
        let mut bytes = vec![0; usize::try_from(end - start).unwrap()];
        memory.read_exact_at(&mut bytes, start).unwrap();
        searched += bytes.len();
        stack |= name == "[stack]";
        for (what, needle) in needles {
            let times = occurrences(&bytes, needle);
            if times > 0 {
                found.push(format!("{what}: {times} times in {name}"));
            }
        }
    }
    assert!(stack && searched > 100_000, "the memory was not searched");
    found
}

fn occurrences(bytes: &[u8], needle: &[u8]) -> usize {
    let starts = bytes.iter().enumerate().filter(|(_, byte)| **byte == needle[0]);
    starts.filter(|(at, _)| bytes[*at..].starts_with(needle)).count()
}

/// The 32 bytes of an age identity.
fn scalar(identity: &str) -> Vec<u8> {
    const LETTERS: &str = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";
    let (_, data) = identity.rsplit_once('1').unwrap();
    let fives = data.to_lowercase().chars().map(|letter| LETTERS.find(letter).unwrap()).collect::<Vec<_>>();
    let (mut bits, mut held, mut bytes) = (0usize, 0, Vec::new());
    for five in fives {
        bits = bits << 5 | five;
        held += 5;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held & 0xff) as u8);
        }
    }
    bytes.truncate(32);
    bytes
}

/// A repository with sealed files of each store.
struct Lab {
    sandbox: Sandbox,
    identity: String,
}

const FILES: [&str; 3] = [".env", "compose.yml", "cert.pem"];

impl Lab {
    fn new() -> Self {
        Self::of(Sandbox::new())
    }

    /// The same for a post-quantum key.
    fn hybrid() -> Self {
        let sandbox = Sandbox::new();
        sandbox.ok(".", &["hlx", "keys", "generate", "--pq"]);
        Self::of(sandbox)
    }

    fn of(sandbox: Sandbox) -> Self {
        sandbox.lab();
        sandbox.write("lab/.env", format!("A={CANARY}\n# {CANARY}\nB=\"{CANARY} x\"\n"));
        let compose = format!(
            "services:\n  a:\n    environment:\n      A: 0755\n      B: '{CANARY}'\n      C: |\n        {CANARY}\n        more\n"
        );
        sandbox.write("lab/compose.yml", compose);
        sandbox.write("lab/cert.pem", format!("-----BEGIN\n{}", format!("{CANARY}\n").repeat(5000)));
        sandbox.ok("lab", &["hlx", "track", "compose.yml"]);
        sandbox.ok("lab", &["hlx", "track", "cert.pem"]);
        sandbox.sh("lab", "git add -A; git commit -qm secrets");
        let keys = sandbox.read("home/.config/sops/age/keys.txt");
        let identity = keys.lines().find(|line| line.starts_with("AGE-SECRET-KEY-")).unwrap().to_owned();
        Self { sandbox, identity }
    }

    fn sealed(&self, file: &str) -> Vec<u8> {
        self.sandbox.sh("lab", &format!("git cat-file blob :{file} >../blob"));
        fs::read(self.sandbox.path("blob")).unwrap()
    }

    /// The data key of a sealed file. Where a cipher has it expanded, the first two round keys are the key itself.
    fn data_key(&self, sealed: &[u8]) -> Vec<u8> {
        let places = Places { sops_age_key: Some(Secret::new(self.identity.clone())), ..Places::default() };
        Keyring::load(&places).open(sealed).unwrap().key().expose().to_vec()
    }

    fn needles(&self) -> Vec<Needle> {
        let mut needles: Vec<Needle> = vec![
            ("plaintext", CANARY.into()),
            ("an identity as text", self.identity.clone().into_bytes()),
            ("an identity", scalar(&self.identity)),
        ];
        if self.identity.starts_with("AGE-SECRET-KEY-PQ-") {
            // What X-Wing makes of the seed: two for ML-KEM, and the scalar of X25519.
            let mut expanded = [0; 96];
            Shake256::digest_xof(scalar(&self.identity), &mut expanded);
            needles.extend(expanded.chunks(32).map(|part| ("a part of an identity", part.to_vec())));
        }
        needles.extend(FILES.map(|file| ("a data key", self.data_key(&self.sealed(file)))));
        needles
    }

    fn start(&self, words: &[&str]) -> Child {
        let mut command = self.sandbox.command("lab", words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
    }
}

/// Lets a process run to its end, and searches it at the moment before it is gone. The process must not
/// have had its input yet.
fn search_at_the_end(
    mut child: Child,
    work: impl FnOnce(ChildStdin, ChildStdout) + Send,
    needles: &[Needle],
) -> Vec<String> {
    let pid = Pid::from_raw(child.id().cast_signed());
    ptrace::seize(pid, ptrace::Options::PTRACE_O_TRACEEXIT).unwrap();
    let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let found = std::thread::scope(|scope| {
        // Its output ends only when it is let go.
        scope.spawn(move || work(stdin, stdout));
        loop {
            match waitpid(pid, None).unwrap() {
                WaitStatus::PtraceEvent(..) => break,
                WaitStatus::Stopped(_, signal) => {
                    ptrace::cont(pid, Some(signal).filter(|signal| *signal != Signal::SIGTRAP)).unwrap();
                }
                other => panic!("it ended too early: {other:?}"),
            }
        }
        let found = search(child.id(), needles);
        ptrace::detach(pid, None).unwrap();
        found
    });
    assert!(child.wait().unwrap().success());
    found
}

/// Sends input from a thread of its own, and gives the output.
fn through(mut stdin: ChildStdin, mut stdout: ChildStdout, input: &[u8]) -> Vec<u8> {
    std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input).unwrap());
        let mut output = Vec::new();
        stdout.read_to_end(&mut output).unwrap();
        output
    })
}

/// What git says to a filter: a greeting, then a request for each file.
fn session(requests: &[(&str, &str, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    let lines = |out: &mut Vec<u8>, lines: &[&str]| {
        lines.iter().for_each(|text| pktline::line(out, text));
        pktline::flush(out);
    };
    lines(&mut out, &["git-filter-client", "version=2"]);
    lines(&mut out, &["capability=clean", "capability=smudge"]);
    for (command, path, content) in requests {
        lines(&mut out, &[&format!("command={command}"), &format!("pathname={path}")]);
        pktline::content(&mut out, content);
        pktline::flush(&mut out);
    }
    out
}

/// Every file of the lab smudged, changed, and cleaned; and a new one.
fn requests(lab: &Lab) -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let mut requests = Vec::new();
    for file in FILES {
        requests.push(("smudge", file, lab.sealed(file)));
        let changed =
            lab.sandbox.read(&format!("lab/{file}")).replacen(CANARY, &format!("{CANARY}, changed"), 1);
        requests.push(("clean", file, changed.into_bytes()));
    }
    requests.push(("clean", "new.env", format!("NEW={CANARY}\n").into_bytes()));
    requests
}

#[test]
fn a_filter_that_waits_holds_no_plaintext_and_one_that_ends_holds_no_key_either() {
    if !is_root() {
        return;
    }
    [Lab::new(), Lab::hybrid()].iter().for_each(a_filter_holds_nothing);
}

fn a_filter_holds_nothing(lab: &Lab) {
    let (needles, requests) = (lab.needles(), requests(lab));
    let filter = lab.start(&["hlx", "--quiet", "filter-process"]);
    let pid = filter.id();
    let work = |mut stdin: ChildStdin, mut stdout: ChildStdout| {
        let input = session(&requests);
        std::thread::scope(|scope| {
            let stdin = scope.spawn(move || {
                stdin.write_all(&input).unwrap();
                stdin
            });
            // The greeting and the capabilities, then three lists for each request.
            for _ in 0..2 {
                pktline::read_lines(&mut stdout).unwrap().unwrap();
            }
            for (command, path, _) in &requests {
                let status = pktline::read_lines(&mut stdout).unwrap().unwrap();
                assert_eq!(status, [b"status=success"], "{command} {path}");
                let content = pktline::read_content(&mut stdout).unwrap().unwrap();
                let plain = content.windows(CANARY.len()).any(|part| part == CANARY.as_bytes());
                assert_eq!(plain, *command == "smudge", "{command} {path}");
                pktline::read_lines(&mut stdout).unwrap().unwrap();
            }
            let stdin = stdin.join().unwrap();
            // It has answered, and goes back to waiting.
            std::thread::sleep(std::time::Duration::from_millis(100));
            let found = search(pid, &needles);
            assert!(
                found.iter().any(|place| place.starts_with("a data key")),
                "the search finds nothing: {found:?}"
            );
            let beyond: Vec<_> = found.iter().filter(|place| place.starts_with("plaintext")).collect();
            assert!(beyond.is_empty(), "a filter that waits holds {beyond:?}");
            drop(stdin);
        });
    };
    let found = search_at_the_end(filter, work, &needles);
    assert!(found.is_empty(), "a filter that ends holds {found:?}");
}

#[test]
fn one_file_sealed_or_opened_leaves_nothing() {
    if !is_root() {
        return;
    }
    [Lab::new(), Lab::hybrid()].iter().for_each(one_file_leaves_nothing);
}

fn one_file_leaves_nothing(lab: &Lab) {
    let needles = lab.needles();
    for file in FILES {
        let smudge = lab.start(&["hlx", "smudge", "--", file]);
        let sealed = lab.sealed(file);
        let work = |stdin, stdout| {
            assert_eq!(
                through(stdin, stdout, &sealed),
                fs::read(lab.sandbox.path("lab").join(file)).unwrap()
            );
        };
        let found = search_at_the_end(smudge, work, &needles);
        assert!(found.is_empty(), "smudge of {file} leaves {found:?}");
        let clean = lab.start(&["hlx", "clean", "--", file]);
        let changed =
            lab.sandbox.read(&format!("lab/{file}")).replacen(CANARY, &format!("{CANARY}, changed"), 1);
        let work = |stdin, stdout| {
            let sealed = through(stdin, stdout, changed.as_bytes());
            assert!(occurrences(&sealed, CANARY.as_bytes()) == 0 && !sealed.is_empty());
        };
        let found = search_at_the_end(clean, work, &needles);
        assert!(found.is_empty(), "clean of {file} leaves {found:?}");
    }
}

/// What any `Debug` must not show.
fn check_shown(shown: &str) {
    for secret in [CANARY, "AGE-SECRET-KEY-", "77, 77, 77", "4d4d4d", "MMMM"] {
        assert!(!shown.contains(secret), "{secret} is shown in {shown}");
    }
}

/// What a value prints, in both forms.
fn shown(value: &dyn std::fmt::Debug) {
    check_shown(&format!("{value:?}"));
    check_shown(&format!("{value:#?}"));
}

#[test]
fn no_debug_shows_a_secret() {
    let key = DataKey::from_bytes(&[77; 32]).unwrap();
    let identity = age::x25519::Identity::generate();
    let recipient: Recipient = identity.to_public().to_string().parse().unwrap();
    let none: hlx::crypto::envelope::Plugins<'_> = &|_| Err(hlx::crypto::Error::BadShare);
    let groups = KeyGroups::one(vec![recipient.wrap(key.expose(), none).unwrap()]);
    let mut entropy = |buffer: &mut [u8]| buffer.fill(3);
    let texts = [
        (Format::Dotenv, format!("A={CANARY}\n# {CANARY}\nB=\"{CANARY}\n{CANARY}=x\"\n")),
        (
            Format::Yaml,
            format!("a: {CANARY} # {CANARY}\nb: &x [{CANARY}, '{CANARY}']\nc: >\n  {CANARY}\n  x\nd: *x\n"),
        ),
        (Format::Binary, CANARY.to_owned()),
    ];
    for (format, text) in &texts {
        let basis = Basis::New {
            key: key.duplicate(),
            groups: groups.clone(),
            rule: Rule::default(),
            coverage: Coverage::All,
        };
        shown(&basis);
        let stamp = Stamp { now: "2024-01-02T03:04:05Z".to_owned(), entropy: &mut entropy };
        shown(&stamp);
        let sealed = seal(text.as_bytes(), *format, &basis, stamp).unwrap();
        let keyring = Keyring::load(&places(&identity));
        shown(&keyring.open(&sealed).unwrap());
        shown(&keyring);
        shown(&hlx::filter::smudge::smudge(&keyring, &sealed));
        let opened = keyring.open(&sealed).unwrap();
        shown(&(opened.sealed(), opened.key(), opened.plaintext(), Basis::Again(&opened)));
        shown(&Masker::new(opened.secrets()));
    }
    for (store, (_, text)) in [Store::Dotenv, Store::Yaml].into_iter().zip(&texts) {
        for document in [store.parse(text), store.parse_plaintext(text)].into_iter().flatten() {
            shown(&document);
        }
        // An error tells where, not what.
        shown(&store.parse_plaintext(&format!("{CANARY}\n\"{text}")));
    }
    shown(&[Scalar::str(CANARY), Scalar::Time(CANARY.to_owned()), Scalar::Int(777_777), Scalar::Float(77.5)]);
    assert!(!format!("{:?}", Scalar::Int(777_777)).contains('7'));
    let mut mac = Mac::new(Coverage::All);
    mac.add(CANARY.as_bytes(), true);
    let digest = format!("{:?}", mac.clone().finish());
    assert!(digest.len() < 40, "a digest is shown, from which short values can be guessed: {digest}");
    shown(&(mac, Cipher::new(&key), Secret::new(CANARY.to_owned()), places(&identity)));
    shown(&shamir::split(&key, 3, 2, &mut entropy));
    shown(&hlx::keys::Error::BrokenParts(hlx::crypto::Error::BadShare));
}

fn places(identity: &age::x25519::Identity) -> Places {
    let text = identity.to_string().expose_secret().to_owned();
    Places { sops_age_key: Some(Secret::new(text)), ..Places::default() }
}
