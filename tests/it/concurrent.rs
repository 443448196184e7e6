//! Several gits at once in one repository, as an editor and a terminal run them.

use std::thread;

use crate::sandbox::{CANARY, Done, Sandbox};

const ROUNDS: usize = 12;

/// What may be said: the index is taken by the other git. git itself tells the user to try again.
fn is_taken(done: &Done) -> bool {
    done.err.contains("index.lock") && done.err.contains("File exists")
}

fn looks_on(sandbox: &Sandbox, repository: &str, line: &str) {
    for _ in 0..ROUNDS {
        let done = sandbox.run(repository, &["sh", "-c", line]);
        assert!(done.code == Some(0) || is_taken(&done), "`{line}`: {done:?}");
        assert!(!done.err.contains("hlx: error"), "`{line}`: {done:?}");
    }
}

fn edits(sandbox: &Sandbox, repository: &str, round: usize) {
    for file in 0..6 {
        sandbox.write(&format!("{repository}/{file}-{round}.env"), format!("K={CANARY}-{round}\n"));
    }
    let until = "until git add -A && git commit -qm more; do [ ! -e .git/index.lock ] || sleep 0.01; done";
    let done = sandbox.run(repository, &["sh", "-c", until]);
    assert!(done.code == Some(0) && !done.err.contains("hlx: error"), "{done:?}");
}

/// Commits while others look on; at the end all is committed, and hlx's own files are whole.
fn at_once(sandbox: &Sandbox, repository: &str) {
    thread::scope(|scope| {
        scope.spawn(|| (0..ROUNDS).for_each(|round| edits(sandbox, repository, round)));
        for line in [
            "git status --porcelain",
            "touch *.env; git status --porcelain; git diff --quiet || true",
            "git log -p -2",
        ] {
            scope.spawn(move || looks_on(sandbox, repository, line));
        }
    });
    sandbox.sh(repository, "touch *.env");
    assert_eq!(sandbox.ok(repository, &["git", "status", "--porcelain"]), "");
    sandbox.no_canary_in_objects(repository);
    sandbox.no_canary_in_files(&format!("{repository}/.git"), &[]);
    let own = sandbox.ok(repository, &["ls", ".git/hlx"]);
    assert!(own.lines().all(|name| ["clone.key", "data-keys", "known", "trust"].contains(&name)), "{own}");
}

#[test]
fn an_editor_and_a_terminal_at_once() {
    let sandbox = Sandbox::new();
    sandbox.lab();
    at_once(&sandbox, "lab");
    // A kill may have left half a line, or anything else; it is a cache.
    sandbox.sh(
        "lab",
        "printf '0123 ' >>.git/hlx/unchanged; touch *.env; git status --porcelain | cmp - /dev/null",
    );
    sandbox.sh("lab", "head -c 5000 /dev/urandom >.git/hlx/unchanged; touch *.env; git status --porcelain | cmp - /dev/null");
}

#[test]
fn the_same_without_a_key() {
    let sandbox = Sandbox::new();
    sandbox.lab();
    sandbox.sh(
        "lab",
        "echo A=canary-swordfish >.env; git add .env; git commit -qm one; mv ../home/.config ../home/away",
    );
    sandbox.sh(".", "git clone -q -b app lab guest; cd guest; hlx init --no-key");
    at_once(&sandbox, "guest");
}
