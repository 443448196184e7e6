//! The long-running filter and the one-shot commands give the same answers, and say the same.

use std::fs::{self, File};
use std::io::Read as _;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::{Duration, SystemTime};

use hlx::git::pktline;

use crate::sandbox::{CANARY, Sandbox};
use crate::soak::Dice;

/// A running `hlx filter-process`, spoken to as git does.
struct Filter<'a> {
    sandbox: &'a Sandbox,
    child: Child,
    to: ChildStdin,
    from: ChildStdout,
    heard: usize,
}

/// An answer: the bytes, or none where it is refused, and what was said on stderr.
#[derive(Debug, PartialEq)]
struct Answer {
    bytes: Option<Vec<u8>>,
    said: String,
}

impl<'a> Filter<'a> {
    fn start(sandbox: &'a Sandbox) -> Self {
        let mut command = sandbox.command("lab", &["hlx", "filter-process"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(File::create(sandbox.path("said")).unwrap()).spawn().unwrap();
        let (to, from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut filter = Self { sandbox, child, to, from, heard: 0 };
        filter.say(&["git-filter-client", "version=2"]);
        assert_eq!(filter.lines(), ["git-filter-server", "version=2"]);
        filter.say(&["capability=clean", "capability=smudge", "capability=delay"]);
        assert_eq!(filter.lines(), ["capability=clean", "capability=smudge"]);
        filter
    }

    fn say(&mut self, lines: &[&str]) {
        let mut out = Vec::new();
        lines.iter().for_each(|line| pktline::line(&mut out, line));
        pktline::flush(&mut out);
        pktline::send(&mut self.to, &out).unwrap();
    }

    fn lines(&mut self) -> Vec<String> {
        let lines = pktline::read_lines(&mut self.from).unwrap().expect("an answer");
        lines.into_iter().map(|line| String::from_utf8(line).unwrap()).collect()
    }

    fn ask(&mut self, command: &str, path: &str, content: &[u8]) -> Answer {
        self.say(&[&format!("command={command}"), &format!("pathname={path}")]);
        let mut out = Vec::new();
        pktline::content(&mut out, content);
        pktline::flush(&mut out);
        pktline::send(&mut self.to, &out).unwrap();
        let bytes = match &self.lines()[..] {
            [status] if status == "status=success" => {
                let bytes = pktline::read_content(&mut self.from).unwrap();
                assert!(self.lines().is_empty(), "the status stays");
                bytes
            }
            status => {
                assert_eq!(status, ["status=error"], "{path}: never `abort`: the next file is another");
                None
            }
        };
        let all = fs::read(self.sandbox.path("said")).unwrap();
        let said = String::from_utf8(all[self.heard..].to_vec()).unwrap();
        self.heard = all.len();
        Answer { bytes, said }
    }

    /// The most memory it has had so far, in bytes.
    fn peak(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
    }

    fn end(mut self) {
        drop(self.to);
        assert!(self.child.wait().unwrap().success());
        let mut rest = Vec::new();
        self.from.read_to_end(&mut rest).unwrap();
        assert!(rest.is_empty());
    }
}

/// The same by a command of its own.
fn one_shot(sandbox: &Sandbox, command: &str, path: &str, content: &[u8]) -> Answer {
    let input = sandbox.path("input");
    fs::write(&input, content).unwrap();
    let mut hlx = sandbox.command("lab", &["hlx", command, "--", path]);
    let done = hlx.stdin(File::open(input).unwrap()).output().unwrap();
    let bytes = done.status.success().then_some(done.stdout);
    assert!(bytes.is_some() || done.status.code().is_some_and(|code| (1..=5).contains(&code)), "{path}");
    Answer { bytes, said: String::from_utf8(done.stderr).unwrap() }
}

const ENV: &str = "# top\nA=canary-swordfish-1\nexport B=\"canary\nof two lines\"\n\nC='x' # y\n";
const YAML: &str = "db:\n  password: canary-swordfish\n  # why\n  list: [a, 0x1F, \"b\"]\nx: &x {k: v}\n";
const JSON: &str = "{\n  \"a\": \"canary-swordfish\",\n  \"b\": [1, null]\n}\n";
const INI: &str = "[top]\na = canary-swordfish\n; why\nb=2\n";

/// Paths with what they hold when all begins.
const BASES: [(&str, &str); 5] = [
    ("app.env", ENV),
    ("app.yaml", YAML),
    ("app.json", JSON),
    ("app.ini", INI),
    ("whole.pem", "-----\ncanary\n"),
];

fn lab() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.lab();
    sandbox.sh("lab", "printf '%s\\n' 'app.* filter=hlx -text' 'whole.* filter=hlx hlx=binary -text' 'crlf.env text' >>.gitattributes");
    BASES.iter().for_each(|(path, content)| sandbox.write(&format!("lab/{path}"), content));
    sandbox.sh("lab", "git add -A; git commit -qm bases; for file in app.* whole.pem; do git show --no-textconv HEAD:$file >../$file; done");
    sandbox
}

/// Something near to a content.
fn mutated(content: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut content = content.to_vec();
    for _ in 0..1 + dice.roll(3) {
        let at = dice.roll(content.len().max(1));
        match dice.roll(6) {
            0 => drop(content.drain(at..(at + dice.roll(20)).min(content.len()))),
            1 => drop(content.splice(at..at, dice.word().into_bytes())),
            2 => drop(content.splice(at..at, *b"\n")),
            3 => content.extend([b"X=".as_slice(), dice.word().as_bytes(), b"\n"].concat()),
            4 if !content.is_empty() => content[at] = dice.roll(256) as u8,
            _ => drop(content.splice(at..at, [b'\r', b"\"'#:=[{&*\t "[dice.roll(11)]])),
        }
    }
    content
}

/// All that is asked of both: paths and contents.
fn questions(sandbox: &Sandbox, dice: &mut Dice) -> Vec<(String, Vec<u8>)> {
    let mut asked: Vec<(String, Vec<u8>)> = Vec::new();
    for (path, plain) in BASES {
        let sealed = fs::read(sandbox.path(path)).unwrap();
        let mut add = |content: &[u8]| asked.push((path.to_owned(), content.to_vec()));
        [&sealed, plain.as_bytes(), b"", b"\xff\xfe", &[7; 200_000]].iter().for_each(|content| add(content));
        for _ in 0..8 {
            add(&mutated(plain.as_bytes(), dice));
            add(&mutated(&sealed, dice));
        }
    }
    for (path, content) in [
        (".sops.yaml", "a: 1"),
        ("sub/.gitattributes", "x"),
        ("crlf.env", "A=1\n"),
        ("other.env", "no line"),
        ("new\n .env", "="),
    ] {
        asked.push((path.to_owned(), content.as_bytes().to_vec()));
    }
    asked
}

#[test]
fn one_shot_commands_answer_as_the_long_running_filter_does() {
    let (sandbox, mut dice) = (lab(), Dice(11));
    let mut filter = Filter::start(&sandbox);
    let (mut sealed, mut refused) = (0, 0);
    for (path, content) in questions(&sandbox, &mut dice) {
        // The time of the file makes the bytes the same.
        if BASES.iter().any(|(base, _)| *base == path) {
            let file = File::create(sandbox.path("lab").join(&path)).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)).unwrap();
        }
        let (one, other) =
            (one_shot(&sandbox, "clean", &path, &content), filter.ask("clean", &path, &content));
        assert_eq!(one, other, "{path:?}: {}", String::from_utf8_lossy(&content));
        match &one.bytes {
            Some(bytes) => {
                sealed += 1;
                let back = filter.ask("smudge", &path, bytes);
                assert_eq!(
                    back.bytes.as_deref(),
                    one_shot(&sandbox, "smudge", &path, bytes).bytes.as_deref()
                );
                assert!(hlx::sops::is_sealed(&content) || back.bytes.as_deref() == Some(&content));
            }
            None => {
                refused += 1;
                assert!(one.said.contains("cannot be encrypted, so git does not take it: "), "{one:?}");
                assert!(!one.said.contains("canary"), "{one:?}");
            }
        }
    }
    filter.end();
    assert!(sealed > 30 && refused > 30, "{sealed} sealed, {refused} refused");
}

/// docs/large-files.md has figures for larger ones.
#[test]
fn a_large_file_takes_a_few_times_its_size_in_memory() {
    let (sandbox, mut dice) = (lab(), Dice(3));
    let content: Vec<u8> = (0..10 << 20).map(|_| dice.roll(256) as u8).collect();
    // The program itself takes some 16 MiB in a debug build.
    let most = content.len() * 9 / 2 + (20 << 20);
    let mut filter = Filter::start(&sandbox);
    let sealed = filter.ask("clean", "whole.pem", &content).bytes.unwrap();
    assert!(filter.peak() < most, "clean: {} for {}", filter.peak(), content.len());
    filter.end();
    let mut filter = Filter::start(&sandbox);
    let back = filter.ask("smudge", "whole.pem", &sealed).bytes.unwrap();
    assert!(back == content && filter.peak() < most, "smudge: {} for {}", filter.peak(), content.len());
    filter.end();
}

#[test]
fn what_stays_sealed_does_so_for_the_same_reason() {
    let sandbox = lab();
    let sealed = sandbox.read("app.env");
    for content in [
        sealed.replace("A=ENC[AES256_GCM,data:", "A=ENC[AES256_GCM,data:AAAA"),
        sealed.replace("sops_mac", "sops_max"),
        CANARY.to_owned(),
    ] {
        let mut filter = Filter::start(&sandbox);
        let (process, one) = (
            filter.ask("smudge", "app.env", content.as_bytes()),
            one_shot(&sandbox, "smudge", "app.env", content.as_bytes()),
        );
        filter.end();
        let all = fs::read_to_string(sandbox.path("said")).unwrap();
        assert_eq!((process.bytes.as_deref(), &one.bytes), (Some(content.as_bytes()), &process.bytes));
        assert_eq!(all, one.said);
    }
}
