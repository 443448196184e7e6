//! Locking and unlocking a work tree.

use std::os::unix::process::CommandExt as _;

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

/// Names of the protected files as `git check-attr` tells them.
fn by_git(sandbox: &Sandbox) -> Vec<String> {
    let all = sandbox.sh("lab", "git ls-files -z | git check-attr -z --stdin filter | tr '\\0' '\\n' | paste - - - | awk '$3 == \"hlx\" { print $1 }'");
    all.lines().map(str::to_owned).collect()
}

#[test]
fn lock_covers_just_what_gits_attributes_say() {
    let sandbox = Sandbox::new();
    sandbox.lab();
    sandbox.sh("lab", "mkdir -p sub/deep; printf '[attr]secret filter=hlx diff=hlx merge=hlx -text hlx=binary\\n*.key secret\\n' >>.gitattributes; printf '*.env !filter !diff !merge\\nx.conf secret\\n' >sub/.gitattributes; printf 'deep/** filter=hlx -text hlx=binary\\n.gitattributes !filter\\n' >>sub/.gitattributes");
    sandbox.sh("lab", "echo 'info.txt filter=hlx -text hlx=binary' >>.git/info/attributes; echo 'user.txt filter=hlx -text hlx=binary' >../home/attributes; git config --global core.attributesFile ~/attributes");
    let files = [
        "a.key",
        "sub/b.env",
        "sub/x.conf",
        "sub/deep/any",
        "info.txt",
        "user.txt",
        "plain.txt",
        "sub/deep/c.key",
        "c.env",
    ];
    for file in files {
        sandbox.write(&format!("lab/{file}"), format!("A={CANARY}\n"));
    }
    sandbox.sh("lab", "git add -A; git commit -qnm all");
    let mut expected = by_git(&sandbox);
    expected.retain(|path| path != ".env");
    assert!(expected.len() >= 7, "{expected:?}");
    let locked = sandbox.ok("lab", &["hlx", "lock"]);
    let mut sealed: Vec<_> =
        locked.lines().filter_map(|line| line.strip_prefix("sealed ")).map(str::to_owned).collect();
    sealed.retain(|path| path != ".env");
    assert_eq!(sealed, expected);
    sandbox.no_canary_in_files("lab", &["plain.txt", "sub/b.env"]);
    assert_eq!(sandbox.ok("lab", &["git", "status", "--porcelain"]), "");
    sandbox.ok("lab", &["hlx", "unlock"]);
    for file in files {
        assert_eq!(sandbox.read(&format!("lab/{file}")), format!("A={CANARY}\n"), "{file}");
    }
}

#[test]
fn what_only_looks_sealed_is_plaintext_to_lock() {
    let sandbox = lab();
    let sealed = sandbox.ok("lab", &["git", "cat-file", "blob", ":.env"]);
    sandbox.sh("lab", "git update-index -q --refresh");
    for line in [format!("#PASSWORD={CANARY}"), format!("NEW={CANARY}")] {
        sandbox.write("lab/.env", format!("{line}\n{sealed}"));
        let refused = sandbox.run("lab", &["hlx", "lock"]);
        assert!(
            refused.code == Some(1) && refused.err.contains(".env: it looks encrypted, but is neither"),
            "{refused:?}"
        );
        assert!(!refused.err.contains("canary"), "{refused:?}");
    }
    sandbox.sh("lab", "rm .env; git checkout -q .env");
    sandbox.write("lab/new.env", format!("NEW={CANARY}\nsops_mac=x\n"));
    let refused = sandbox.run("lab", &["hlx", "lock"]);
    assert!(refused.code == Some(1) && refused.err.contains("new.env: not in git yet"), "{refused:?}");
}

#[test]
fn what_stays_sealed_is_named_with_its_reason_and_the_exit_code_says_so() {
    let sandbox = lab();
    sandbox.sh("lab", "hlx lock");
    let good = sandbox.read("lab/.env");
    // Altered: a value, and the whole of them.
    let (head, tail) = good.split_at(good.find("data:").unwrap() + 5);
    sandbox.write("lab/.env", format!("{head}AAAA{tail}"));
    let done = sandbox.run("lab", &["hlx", "unlock"]);
    assert!(done.code == Some(4) && done.err.contains(".env stays encrypted: `A` was altered"), "{done:?}");
    assert!(done.out.contains("opened sub/b.env") && !done.err.contains("no key"), "{done:?}");
    sandbox.write("lab/.env", good.replace("sops_lastmodified=2", "sops_lastmodified=3"));
    let done = sandbox.run("lab", &["hlx", "unlock"]);
    assert!(
        done.code == Some(4)
            && done.err.contains("the MAC does not fit")
            && done.err.contains("`hlx reseal .env`"),
        "{done:?}"
    );
    sandbox.write("lab/.env", &good);
    // No key.
    sandbox.sh("lab", "hlx unlock; hlx lock; mv ../home/.config ../home/away");
    let done = sandbox.run("lab", &["hlx", "unlock"]);
    assert!(
        done.code == Some(3)
            && done.err.contains(".env, sub/b.env, tls.pem stay encrypted; of .env: no key of yours"),
        "{done:?}"
    );
    assert_eq!(sandbox.run("lab", &["hlx", "init", "--no-key"]).code, Some(0));
    // What stands open without a key can be neither committed nor stashed.
    sandbox.write("lab/.env", "A=2\n");
    let done = sandbox.run("lab", &["hlx", "lock"]);
    assert!(
        done.code == Some(1) && done.err.contains("`rm FILE` and") && !done.err.contains("stash"),
        "{done:?}"
    );
    sandbox.sh("lab", "rm .env; git checkout -- .env; grep -q sops_mac .env");
    // A file named as one's identity that is of no use.
    for (file, reason) in [("nowhere", "No such file"), ("lab/README.md", "others can read it")] {
        let done = sandbox.run("lab", &["hlx", "--identity", &format!("../{file}"), "unlock"]);
        assert!(done.code == Some(3) && done.err.contains(reason), "{done:?}");
    }
    sandbox.sh(".", "mv home/away home/.config; cd lab; hlx unlock");
    assert!(sandbox.read("lab/.env").contains(CANARY));
}

#[test]
fn a_diff_that_was_shown_in_the_editor_is_not_left_behind() {
    let sandbox = lab();
    sandbox.sh("lab", "echo 'B=canary-swordfish-2' >>.env; GIT_EDITOR='sed -i 1s/^/why/' git commit -qav; grep -q swordfish .git/COMMIT_EDITMSG");
    let done = sandbox.run("lab", &["hlx", "lock"]);
    assert!(done.code == Some(0) && done.err.contains("left in COMMIT_EDITMSG is gone"), "{done:?}");
    sandbox.no_canary_in_files("lab", &[]);
    assert!(sandbox.read("lab/.git/COMMIT_EDITMSG").starts_with("why\n"));
}

#[test]
fn links_on_the_way_are_not_followed_out_of_the_work_tree() {
    let sandbox = lab();
    sandbox.sh(".", "ln -s lab link");
    sandbox.ok("link", &["hlx", "lock"]);
    sandbox.no_canary_in_files("lab", &[]);
    sandbox.ok("link/sub", &["hlx", "unlock"]);
    assert!(sandbox.read("lab/sub/b.env").contains(CANARY));
    // A directory that became a link to elsewhere: git sees the file gone, and so does hlx.
    sandbox.sh("lab", "mv sub ../elsewhere; ln -s ../elsewhere sub");
    sandbox.ok("lab", &["hlx", "lock"]);
    assert_eq!(sandbox.read("elsewhere/b.env"), format!("B={CANARY}\n"));
    sandbox.sh("lab", "git show --no-textconv :sub/b.env >../elsewhere/b.env; hlx unlock");
    assert!(sandbox.read("elsewhere/b.env").contains("sops_mac="));
    assert!(sandbox.read("lab/.env").contains(CANARY));
}

#[test]
fn lock_and_unlock_can_be_killed_at_any_moment_and_run_again() {
    let sandbox = lab();
    for index in 0..40 {
        sandbox.write(&format!("lab/many/{index}.env"), format!("A={CANARY}-{index}\n"));
    }
    sandbox.sh("lab", "git add -A; git commit -qm many; echo mine >>README.md");
    let clean = " M README.md\n";
    for round in 0..24_u64 {
        let verb = if round % 2 == 0 { "lock" } else { "unlock" };
        // With the git that it runs: else the lock file that is removed below may be in use.
        let mut child = sandbox.command("lab", &["hlx", "-q", verb]).process_group(0).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_micros(1500 + round * 2900 % 70_000));
        let group = rustix::process::Pid::from_child(&child);
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        child.wait().unwrap();
        if round % 3 == 0 {
            continue;
        }
        // As git goes on, whatever was left.
        sandbox.sh("lab", "rm -f .git/index.lock");
        sandbox.ok("lab", &["hlx", "-q", verb]);
        assert_eq!(sandbox.ok("lab", &["git", "status", "--porcelain"]), clean, "round {round}");
        if verb == "lock" {
            sandbox.no_canary_in_files("lab", &[]);
        } else {
            for index in 0..40 {
                assert_eq!(sandbox.read(&format!("lab/many/{index}.env")), format!("A={CANARY}-{index}\n"));
            }
        }
    }
    sandbox.no_canary_in_objects("lab");
}

#[test]
fn a_file_in_conflict_is_shown_and_opened_with_its_markers() {
    let sandbox = lab();
    sandbox.sh("lab", "git branch side; echo A=1 >.env; git commit -qam a; git switch -q side; echo A=2 >.env; git commit -qam b; git switch -q app; hlx lock");
    assert_eq!(sandbox.run("lab", &["git", "merge", "-q", "side"]).code, Some(1));
    assert!(sandbox.read("lab/.env").contains("ENC["));
    let shown = sandbox.ok("lab", &["hlx", "status"]);
    let line = shown.lines().find(|line| line.trim_start().starts_with(".env ")).unwrap();
    assert!(line.contains("IN CONFLICT, encrypted here too"), "{shown}");
    let done = sandbox.run("lab", &["hlx", "unlock"]);
    assert!(done.code == Some(0) && done.out.contains("opened .env\n"), "{done:?}");
    assert_eq!(sandbox.read("lab/.env"), "<<<<<<< HEAD\nA=1\n=======\nA=2\n>>>>>>> side\n");
    let line = sandbox.ok("lab", &["hlx", "status"]);
    assert!(line.contains("IN CONFLICT, open here"), "{line}");
    sandbox.sh("lab", "echo A=3 >.env; git add .env; git commit -qm resolved");
    assert_eq!(sandbox.ok("lab", &["git", "status", "--porcelain"]), "");
    // Without the key it says so.
    sandbox.sh("lab", "git reset -q --hard HEAD~1; hlx lock");
    assert_eq!(sandbox.run("lab", &["git", "merge", "-q", "side"]).code, Some(1));
    sandbox.sh("lab", "mv ../home/.config ../home/away");
    let done = sandbox.run("lab", &["hlx", "unlock"]);
    assert!(done.code == Some(3) && done.err.contains(".env"), "{done:?}");
}

#[test]
fn what_git_kept_of_diffs_goes_with_its_objects_and_nothing_else_does() {
    let sandbox = lab();
    let cached = "git -c diff.hlx.cachetextconv=true log -p --all >../log";
    sandbox.sh("lab", &format!("{cached}; echo A=canary-swordfish-2 >.env; git commit -qam more; {cached}"));
    assert!(sandbox.read("log").contains(CANARY) && sandbox.canaries_in_objects("lab") > 0);
    // What is nobody's is the user's all the same, and so is what a stash, an index or a merge reaches.
    let mine = sandbox.sh("lab", "echo mine | git hash-object -w --stdin");
    sandbox.sh("lab", "echo staged >staged; git add staged; echo kept >kept; git add kept; git stash -q; git worktree add -q ../other main; echo there >../other/there; git -C ../other add there");
    let before = sandbox.sh("lab", "git cat-file --batch-all-objects --batch-check --unordered | sort");
    let done = sandbox.run("lab", &["hlx", "lock"]);
    assert!(done.code == Some(0) && done.err.contains("refs/notes/textconv/hlx: that is gone"), "{done:?}");
    sandbox.no_canary_in_objects("lab");
    sandbox.sh(
        "lab",
        &format!("git fsck --full --strict 2>&1 | grep -v dangling | (! grep .); git cat-file -e {mine}"),
    );
    let after = sandbox.sh("lab", "git cat-file --batch-all-objects --batch-check --unordered | sort");
    let gone: Vec<_> = before.lines().filter(|line| !after.contains(line)).collect();
    let reached =
        sandbox.sh("lab", "git rev-list --objects --all --reflog --indexed-objects --no-object-names");
    assert!(!gone.is_empty() && gone.iter().all(|line| !reached.contains(&line[..40])), "{gone:?}");
    // In a pack they stay, and that is said.
    sandbox.sh("lab", &format!("hlx unlock; {cached}; git repack -q -a -d"));
    let done = sandbox.run("lab", &["hlx", "lock"]);
    assert!(done.err.contains("stay in a pack") && done.err.contains("git gc --prune=now"), "{done:?}");
}
