//! Locking and unlocking a work tree.

use crate::sandbox::{CANARY, Sandbox};

fn lab() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.lab();
    sandbox.write("lab/.env", format!("A={CANARY}\n"));
    sandbox.write("lab/sub/b.env", format!("B={CANARY}\n"));
    sandbox.write("lab/tls.pem", format!("{CANARY}\n"));
    sandbox.sh("lab", "chmod 600 tls.pem; hlx track tls.pem; git add -A; git commit -qm secrets");
    sandbox
}

#[test]
fn a_locked_work_tree_holds_no_plaintext_and_opens_again() {
    let sandbox = lab();
    sandbox.write("lab/README.md", "mine\n");
    sandbox.write("lab/untracked", "mine\n");
    let status = sandbox.ok("lab", &["git", "status", "--porcelain"]);
    sandbox.sh("lab", "mkdir -p .git/rr-cache/00; echo canary-swordfish >.git/rr-cache/00/preimage");
    sandbox.sh("lab", "git update-ref refs/notes/textconv/hlx HEAD");
    for _ in 0..2 {
        let done = sandbox.run("lab", &["hlx", "lock"]);
        assert_eq!(done.code, Some(0), "{done:?}");
        sandbox.no_canary_in_files("lab", &[]);
        assert_eq!(sandbox.ok("lab", &["git", "for-each-ref", "refs/notes"]), "");
        assert_eq!(sandbox.ok("lab", &["git", "status", "--porcelain"]), status);
        assert_eq!(sandbox.ok("lab", &["stat", "-c", "%a", "tls.pem"]), "600\n");
    }
    // The index knows the files: nothing is cleaned again.
    assert_eq!(sandbox.ok("lab", &["git", "diff-files", "--name-only"]), "README.md\n");
    // Checkouts stay sealed, new secrets are sealed in git, and `init` opens nothing.
    sandbox.sh("lab", "git checkout -q README.md; git switch -q main; git switch -q app; rm .env; git checkout .env; hlx init");
    sandbox.no_canary_in_files("lab", &[]);
    assert!(sandbox.run("lab", &["hlx", "status"]).err.contains("locked"));
    sandbox.write("lab/new.env", format!("NEW={CANARY}\n"));
    sandbox.sh("lab", "git add new.env; git commit -qm new");
    sandbox.no_canary_in_objects("lab");
    // Values can be changed all the same.
    assert_eq!(sandbox.feed("lab", &["hlx", "set", ".env", "A"], "changed").code, Some(0));
    assert_eq!(sandbox.ok("lab", &["git", "status", "--porcelain"]), " M .env\n?? untracked\n");
    for _ in 0..2 {
        sandbox.ok("lab", &["hlx", "unlock"]);
        assert_eq!(sandbox.read("lab/.env"), "A=changed\n");
        assert_eq!(sandbox.read("lab/sub/b.env"), format!("B={CANARY}\n"));
        assert_eq!(sandbox.ok("lab", &["git", "status", "--porcelain"]), " M .env\n?? untracked\n");
    }
    sandbox.sh("lab", "rm sub/b.env; git checkout sub/b.env");
    assert_eq!(sandbox.read("lab/sub/b.env"), format!("B={CANARY}\n"));
}

#[test]
fn a_lock_that_would_lose_something_is_refused_whole() {
    let sandbox = lab();
    sandbox.write("lab/.env", "A=edited\n");
    sandbox.write("lab/new.env", "N=1\n");
    sandbox.sh("lab", "printf 'ignored.env\n' >.gitignore; echo I=1 >ignored.env");
    let refused = sandbox.run("lab", &["hlx", "lock"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    for words in [".env: changed", "new.env: not in git yet", "nothing was locked"] {
        assert!(refused.err.contains(words), "`{words}` is missing in {}", refused.err);
    }
    assert!(!refused.err.contains("tls.pem"), "{}", refused.err);
    assert!(sandbox.read("lab/tls.pem").contains(CANARY));
    sandbox.sh("lab", "rm tls.pem; git checkout tls.pem; git add -A; git commit -qm all");
    assert!(sandbox.read("lab/tls.pem").contains(CANARY), "no flag is left");
    let done = sandbox.run("lab", &["hlx", "lock"]);
    assert!(done.code == Some(0) && done.err.contains("git ignores ignored.env"), "{done:?}");
    // Another work tree of the same repository is not locked by it.
    sandbox.sh("lab", "hlx unlock; git worktree add -q ../other main; cd ../other; hlx lock; cd ../lab; rm .env; git checkout .env");
    assert_eq!(sandbox.read("lab/.env"), "A=edited\n");
}

#[test]
fn a_file_whose_version_in_git_cannot_be_opened_is_not_sealed_over() {
    let sandbox = lab();
    sandbox.sh(".", "mv home/.config home/away");
    let refused = sandbox.run("lab", &["hlx", "lock"]);
    assert!(refused.code == Some(1) && refused.err.contains("cannot be opened here"), "{refused:?}");
    assert!(sandbox.read("lab/.env").contains(CANARY));
}

#[test]
fn an_interrupted_lock_is_finished_by_the_next() {
    let sandbox = lab();
    // As if it had been killed after the flag and the first file.
    sandbox.sh("lab", "mkdir -p .git/hlx; touch .git/hlx/locked; git show --no-textconv :.env >.env");
    sandbox.ok("lab", &["hlx", "lock"]);
    sandbox.no_canary_in_files("lab", &[]);
    // As if unlocking had been killed after the flag and the first file.
    sandbox.sh("lab", "rm .git/hlx/locked; rm .env; git checkout .env");
    sandbox.ok("lab", &["hlx", "unlock"]);
    assert!(sandbox.read("lab/tls.pem").contains(CANARY) && sandbox.read("lab/sub/b.env").contains(CANARY));
    assert_eq!(sandbox.ok("lab", &["git", "status", "--porcelain"]), "");
}
