//! Answers that are made before git asks: they are the right ones, and no other is ever given.

use std::time::SystemTime;

use hlx::filter::ahead::Ahead;
use hlx::filter::clean::Cleaner;
use hlx::filter::process::{Command, Request};
use hlx::filter::smudge::Smudged;
use hlx::git::Repository;
use hlx::keys::{Keyring, Places};

use crate::sandbox::{CANARY, Sandbox};
use crate::soak::Dice;

/// More than go by before the first guess.
const FILES: usize = 16;

fn name(number: usize) -> String {
    format!("f{number:02}.env")
}

/// A service with files that git has.
fn many() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.lab();
    for number in 0..FILES {
        sandbox.write(&format!("lab/{}", name(number)), format!("KEY={CANARY}-{number}\n"));
    }
    sandbox.sh("lab", "git add .; git commit -qm files");
    sandbox
}

fn request(command: Command, path: &str, tree: &str) -> Request {
    let (path, tree) = (path.as_bytes().to_vec(), tree.as_bytes().to_vec());
    Request { command, path, blob: Vec::new(), tree }
}

/// Runs a check with everything that a filter has.
fn with_filter(sandbox: &Sandbox, check: impl FnOnce(&Repository, &Cleaner<'_>, &mut Ahead<'_>)) {
    let repository = Repository::discover(&sandbox.path("lab")).unwrap();
    let named = vec![sandbox.path("home/.config/sops/age/keys.txt")];
    let keyring = Keyring::load(&Places { named, ..Places::default() });
    let clock = |_: Option<SystemTime>| "2026-01-02T03:04:05Z".to_owned();
    let cleaner = Cleaner::new(&repository, &keyring, &clock);
    check(&repository, &cleaner, &mut Ahead::new(&repository, &cleaner, &keyring));
}

fn sealed(repository: &Repository, path: &str) -> Vec<u8> {
    repository.blob_named(&repository.index_blob(path.as_bytes()).unwrap().unwrap()).unwrap()
}

#[test]
fn a_checkout_is_opened_ahead_and_only_the_very_blob_gets_the_answer() {
    let sandbox = many();
    let tree = sandbox.ok("lab", &["git", "rev-parse", "HEAD^{tree}"]);
    // From the index, and into an empty work tree from a tree.
    for tree in ["", tree.trim()] {
        with_filter(&sandbox, |repository, _, ahead| {
            let blobs: Vec<Vec<u8>> = (0..FILES).map(|number| sealed(repository, &name(number))).collect();
            if !tree.is_empty() {
                sandbox.sh("lab", "git rm -rq --cached .");
                assert!(!repository.refresh());
            }
            let mut guessed = Vec::new();
            for (number, blob) in blobs.iter().enumerate() {
                if let Some(answer) = ahead.smudged(blob) {
                    let Smudged::Open(plaintext) = answer else { panic!("{answer:?}") };
                    assert_eq!(plaintext.expose(), format!("KEY={CANARY}-{number}\n").as_bytes());
                    guessed.push(number);
                }
                ahead.go_on(&request(Command::Smudge, &name(number), tree));
            }
            assert_eq!(guessed, (6..FILES).collect::<Vec<_>>(), "from {tree:?}");
            // The guess after f03 is f04: a blob that differs by one bit is another.
            (0..7).for_each(|_| ahead.go_on(&request(Command::Smudge, &name(3), tree)));
            let mut flipped = blobs[4].clone();
            flipped[5] ^= 1;
            assert!(ahead.smudged(&flipped).is_none());
        });
        sandbox.sh("lab", "git reset -q");
    }
}

#[test]
fn a_work_tree_is_sealed_ahead_and_only_the_very_content_gets_the_answer() {
    let sandbox = many();
    let plaintext = |number| format!("KEY={CANARY}-{number}\n").into_bytes();
    with_filter(&sandbox, |repository, cleaner, ahead| {
        let go_on = |ahead: &mut Ahead<'_>, number| {
            let given = ahead.cleaned(name(number).as_bytes(), &plaintext(number));
            let is_guessed = given.is_some();
            let answer = given.unwrap_or_else(|| cleaner.answer(name(number).as_bytes(), &plaintext(number)));
            assert_eq!(answer.unwrap(), sealed(repository, &name(number)));
            ahead.go_on(&request(Command::Clean, &name(number), ""));
            is_guessed
        };
        let guessed: Vec<usize> = (0..10).filter(|number| go_on(ahead, *number)).collect();
        assert_eq!(guessed, [6, 7, 8, 9]);
        // Written to after the guess; asked for under another name; git's index is another.
        assert!(ahead.cleaned(name(10).as_bytes(), b"KEY=changed\n").is_none());
        assert!(ahead.cleaned(name(11).as_bytes(), &plaintext(10)).is_none());
        sandbox.sh("lab", "echo NEW=1 >other.env; git add other.env");
        assert!(ahead.cleaned(name(10).as_bytes(), &plaintext(10)).is_none());
        // After f02 comes f03, and not f00: so six files go by without a guess.
        ahead.go_on(&request(Command::Clean, &name(2), ""));
        let until = |ahead: &mut Ahead<'_>| {
            (0..).find(|_| {
                ahead.go_on(&request(Command::Clean, &name(0), ""));
                ahead.cleaned(name(1).as_bytes(), &plaintext(1)).is_some()
            })
        };
        assert_eq!(until(ahead), Some(6));
    });
}

#[test]
fn new_files_are_sealed_ahead_and_nothing_but_ordinary_files_is_read() {
    let sandbox = many();
    for number in 0..12 {
        sandbox.write(&format!("lab/new/{}", name(number)), format!("KEY={CANARY}-{number}\n"));
    }
    // The next would be a link, then a pipe that nobody writes to, and one too large.
    sandbox.sh(
        "lab/new",
        "ln -s ../f00.env f12.env; mkfifo f13.env; mkdir f14.env; head -c 300000 /dev/zero >f15.env",
    );
    with_filter(&sandbox, |_, cleaner, ahead| {
        let mut guessed = Vec::new();
        for number in 0..16 {
            let (path, content) = (format!("new/{}", name(number)), format!("KEY={CANARY}-{number}\n"));
            if let Some(answer) = ahead.cleaned(path.as_bytes(), content.as_bytes()) {
                assert_eq!(answer.unwrap(), cleaner.answer(path.as_bytes(), content.as_bytes()).unwrap());
                guessed.push(number);
            }
            ahead.go_on(&request(Command::Clean, &path, ""));
        }
        assert_eq!(guessed, (6..12).collect::<Vec<_>>());
    });
    sandbox.no_canary_in_objects("lab");
}

/// A repository and its twin in plaintext go the same way, by turns that many files take part in.
#[test]
fn many_files_go_as_in_plaintext() {
    let sandbox = many();
    sandbox.sh(".", "cp -r lab plain; rm -rf plain/.git; git init -q -b app plain");
    sandbox.sh("plain", "sed -i s/filter=hlx// .gitattributes; git add .; git commit -qm files");
    for repository in ["lab", "plain"] {
        sandbox.sh(
            repository,
            "git switch -qc other; for f in f*.env; do echo O=other >>$f; done; git commit -qam other",
        );
    }
    let mut dice = Dice(2026);
    for turn in 0..60 {
        let (from, to) = (dice.roll(FILES), dice.roll(FILES));
        let (first, last) = (from.min(to), from.max(to));
        let some = format!("$(ls f*.env | sed -n '{},{}p')", first + 1, last + 1);
        let line = match dice.roll(9) {
            0 | 1 => format!("for f in {some}; do echo T{turn}={CANARY} >>$f; done"),
            2 => format!("touch {some}"),
            3 => "git add -A".to_owned(),
            4 => "git commit -qam turn || true".to_owned(),
            5 => format!("rm -f {some}; git checkout -q -- ."),
            6 => "git stash -q; git stash pop -q || true".to_owned(),
            7 => "git commit -qam turn || true; git switch -q - ".to_owned(),
            _ => format!("git reset -q --hard; for f in {some}; do cp $f n{turn}-$f; done"),
        };
        let look = |repository: &str| {
            sandbox.sh(repository, &line);
            sandbox.sh(repository, "git status --porcelain; git rev-parse --abbrev-ref HEAD; cat *.env")
        };
        assert_eq!(look("lab"), look("plain"), "turn {turn}: {line}");
    }
    sandbox.no_canary_in_objects("lab");
}
