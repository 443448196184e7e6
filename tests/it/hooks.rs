//! The hooks, called by git itself: commits, pushes, and a server that takes pushes in without a key.

use crate::sandbox::{CANARY, Done, Sandbox, flipped};

/// A lab with one sealed file on `app`, committed.
fn lab() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.lab();
    sandbox.write("lab/.env", format!("A={CANARY}\n"));
    sandbox.sh("lab", "git add -A; git commit -qm one");
    sandbox
}

/// The same with a bare server that refuses by its hooks, and has no key.
fn lab_and_server() -> Sandbox {
    let sandbox = lab();
    sandbox.sh(".", "git init -q --bare server.git; cd server.git; hlx init");
    sandbox.sh("lab", "git remote add origin ../server.git; git push -q origin main app");
    sandbox
}

#[track_caller]
fn refused(done: &Done, words: &[&str]) {
    assert_ne!(done.code, Some(0), "{}", done.err);
    for word in words {
        assert!(done.err.contains(word), "`{word}` is missing in:\n{}", done.err);
    }
    assert!(!done.err.contains(CANARY), "{}", done.err);
}

#[test]
fn a_commit_of_plaintext_is_refused_whichever_index_git_uses() {
    let sandbox = lab();
    sandbox.sh("lab", "git config filter.hlx.clean cat; git config --unset filter.hlx.process; git config filter.hlx.smudge cat");
    sandbox.write("lab/.env", "A=plain-one\n");
    // `commit -a` and `commit -- path` give the hook an index of their own.
    for words in [&["commit", "-qam", "x"][..], &["commit", "-qm", "x", "--", ".env"]] {
        let done = sandbox.run("lab", &[&["git"], words].concat());
        refused(&done, &["nothing was committed: .env: plaintext in git", "hint: encrypt it"]);
    }
    // What is not in the commit does not count: the index that `commit -- path` makes has HEAD's `.env`.
    sandbox.sh("lab", "git add .env; echo more >>README.md; git commit -qm readme -- README.md");
    refused(&sandbox.run("lab", &["git", "commit", "-qm", "x"]), &[".env: plaintext in git"]);
}

#[test]
fn a_broken_an_altered_and_a_stale_file_are_refused_and_an_old_one_stops_nothing() {
    let sandbox = lab();
    let sealed = sandbox.ok("lab", &["git", "cat-file", "blob", "HEAD:.env"]);
    let stage = |content: &str| {
        sandbox.write("raw", content);
        sandbox.sh("lab", "blob=$(git hash-object -w --no-filters ../raw); git update-index --add --cacheinfo 100644,$blob,x.env");
        sandbox.run("lab", &["git", "commit", "-qm", "x"])
    };
    let value = sealed.lines().next().unwrap();
    let altered = flipped(&sealed);
    refused(&stage(&altered), &["`A` was altered"]);
    refused(&stage(&sealed.replace("sops_version=", "sops_vorsion=")), &["`version` is missing"]);
    refused(&stage(&sealed.replace(value, "A=in-clear")), &["`A` should be sealed, but is not"]);
    // A value that is authentic elsewhere is not here; a comment more changes no value.
    let stale = format!("B_unencrypted=1\n{sealed}");
    refused(&stage(&stale), &["its MAC does not fit", "hlx reseal x.env"]);
    // A whole file whose one value is clear.
    let whole = "{\"data\": \"plain\", \"sops\": {\"mac\": \"ENC[x]\", \"lastmodified\": \"2026-01-01T00:00:00Z\", \"version\": \"3.11.0\", \"age\": [{\"recipient\": \"age1\", \"enc\": \"x\"}]}}";
    refused(&stage(whole), &["`data` should be sealed, but is not"]);
    // What HEAD has already stops no other commit.
    sandbox.sh("lab", "git rm -q --cached x.env");
    sandbox.commit_unfiltered(".env", "A=old-plaintext\n");
    sandbox.sh("lab", "echo more >>README.md; git commit -qm readme -- README.md");
}

#[test]
fn protecting_a_file_that_git_has_in_clear_needs_it_encrypted() {
    let sandbox = lab();
    sandbox.sh("lab", "echo canary-swordfish >old.conf; git add old.conf; git commit -qm old; hlx track old.conf; git add .gitattributes");
    refused(
        &sandbox.run("lab", &["git", "commit", "-qm", "track"]),
        &["old.conf: plaintext in git", "--renormalize old.conf"],
    );
    sandbox.sh("lab", "git add --renormalize old.conf; git commit -qm track");
}

#[test]
fn a_push_of_plaintext_is_refused_wherever_it_stands_in_the_commits() {
    let sandbox = lab_and_server();
    let before = sandbox.ok("server.git", &["git", "rev-parse", "app"]);
    sandbox.commit_unfiltered("old.env", &format!("A={CANARY}\n"));
    // Gone again in the last commit: the history would keep it.
    sandbox.sh("lab", "git rm -qf old.env; git commit -qnm gone; git branch topic; git tag v1");
    for words in [&["app"][..], &["--tags"], &["topic"], &["app:refs/heads/new"]] {
        let pushed = sandbox.run("lab", &[&["git", "push", "-q", "origin"], words].concat());
        refused(&pushed, &["nothing was pushed: old.env: plaintext in git", "(commit "]);
        // The same without that hook: the server refuses by itself, and without a key.
        let pushed = sandbox.run("lab", &[&["git", "push", "-q", "--no-verify", "origin"], words].concat());
        refused(&pushed, &["remote: hlx: error: nothing was taken in: old.env: plaintext in git"]);
    }
    assert_eq!(sandbox.ok("server.git", &["git", "rev-parse", "app"]), before);
    sandbox.no_canary_in_objects("server.git");
    // Mended, it goes; and a branch can be deleted.
    sandbox.sh("lab", "git tag -d v1 >/dev/null; git reset -q --hard HEAD~2; echo B=2 >>.env; git commit -qam two; git push -q origin app app:second");
    sandbox.sh("lab", "git push -q origin :second");
}

#[test]
fn a_push_that_takes_protection_away_is_refused() {
    let sandbox = lab_and_server();
    sandbox.sh("lab", "echo '.env -filter' >>.gitattributes; git add .gitattributes; git commit -qm sly");
    sandbox.sh("lab", "git push -q --no-verify origin app");
    sandbox.write("lab/.env", format!("A={CANARY}\n"));
    sandbox.sh("lab", "git commit -qnam clear");
    refused(
        &sandbox.run("lab", &["git", "push", "-q", "origin", "app"]),
        &[".env: it was encrypted, and is clear now"],
    );
    refused(
        &sandbox.run("lab", &["git", "push", "-q", "--no-verify", "origin", "app"]),
        &[".env: it was encrypted, and is clear now"],
    );
}

#[test]
fn a_server_takes_a_change_of_readers_only_from_allowed_signers() {
    let sandbox = lab_and_server();
    sandbox.sh(".", "ssh-keygen -q -t ed25519 -N '' -f signer; ssh-keygen -q -t ed25519 -N '' -f stranger; printf 'test@example.org %s' \"$(cat signer.pub)\" >allowed");
    sandbox.sh("server.git", "git config hlx.allowedSigners \"$PWD/../allowed\"");
    sandbox.sh("lab", "git config gpg.format ssh; git config user.signingkey \"$PWD/../stranger\"; hlx keys generate -o ../nas.key >../nas.pub");
    let push = || sandbox.run("lab", &["git", "push", "-q", "--no-verify", "origin", "app"]);
    let start = sandbox.ok("lab", &["git", "rev-parse", "HEAD"]);
    let start = start.trim();
    // Other changes need no signature.
    sandbox.sh("lab", "echo B=2 >>.env; git commit -qam values; git push -q origin app");
    let add = "hlx recipients add $(cat ../nas.pub)";
    for sign in ["false", "true"] {
        sandbox.sh("lab", &format!("git config commit.gpgsign {sign}; {add}"));
        refused(&push(), &["no allowed signer signed", "git commit -S"]);
        sandbox.sh("lab", "git reset -q --hard HEAD~1");
    }
    sandbox
        .sh("lab", &format!("git config user.signingkey \"$PWD/../signer\"; {add}; git push -q origin app"));
    // Rules that were in force once come back neither by going back nor by a merge.
    sandbox.sh("lab", "git config commit.gpgsign false");
    refused(
        &sandbox.run("lab", &["git", "push", "-qf", "--no-verify", "origin", &format!("{start}:app")]),
        &["no allowed signer signed"],
    );
    sandbox.sh("lab", &format!("git switch -qc back; git reset -q --hard {start}; git merge -q -s ours -m back app; git switch -q app; git merge -q --ff-only back"));
    refused(&push(), &["no allowed signer signed"]);
    sandbox.sh("lab", "git reset -q --hard origin/app");
    // A new service is a change of readers too.
    sandbox.sh("lab", "hlx new other");
    refused(
        &sandbox.run("lab", &["git", "push", "-q", "--no-verify", "origin", "other"]),
        &["no allowed signer signed"],
    );
    sandbox.sh(
        "lab",
        "git branch -D other -q; git config commit.gpgsign true; hlx new other; git push -q origin other",
    );
}

#[test]
fn a_push_is_told_to_the_programs_that_are_named() {
    let sandbox = lab_and_server();
    sandbox.sh("server.git", "git config --add hlx.notify 'cat >told'; git config --add hlx.notify 'exit 3'");
    sandbox.sh("lab", "echo B=2 >>.env; git commit -qam two");
    let pushed = sandbox.run("lab", &["git", "push", "-q", "origin", "app"]);
    assert!(pushed.code == Some(0) && pushed.err.contains("`exit 3`: exit code 3"), "{pushed:?}");
    let new = sandbox.ok("lab", &["git", "rev-parse", "app"]);
    let told = sandbox.read("server.git/told");
    assert!(told.ends_with(" refs/heads/app\n") && told.contains(new.trim()), "{told}");
}

#[test]
fn hooks_work_from_other_work_trees_and_are_taken_away_alone() {
    let sandbox = lab();
    sandbox.sh("lab", "git worktree add -q ../tree -b side app");
    sandbox.write("raw", "A=plain\n");
    let stage = "git update-index --add --cacheinfo 100644,$(git hash-object -w --no-filters ../raw),x.env";
    sandbox.sh("tree", stage);
    refused(&sandbox.run("tree", &["git", "commit", "-qm", "x"]), &["x.env: plaintext in git"]);
    sandbox.write("lab/.git/hooks/pre-push", "#!/bin/sh\nexit 0\n");
    let repository = hlx::git::Repository::discover(&sandbox.path("tree")).unwrap();
    assert_eq!(hlx::repo::hooks::remove(&repository).unwrap(), ["pre-commit", "post-merge"]);
    assert_eq!(hlx::repo::hooks::remove(&repository).unwrap(), [""; 0]);
    assert!(sandbox.path("lab/.git/hooks/pre-push").exists());
    sandbox.sh("tree", "git commit -qm x");
}

#[test]
fn init_puts_hooks_beside_no_others_and_can_be_run_again() {
    let sandbox = lab();
    let hook = sandbox.read("lab/.git/hooks/pre-push");
    assert!(hook.contains("exec /") && hook.contains("hook pre-push \"$@\""), "{hook}");
    sandbox.write("lab/.git/hooks/pre-push", "#!/bin/sh\nexit 0\n");
    let again = sandbox.run("lab", &["hlx", "init"]);
    assert!(again.code == Some(0) && again.err.contains("another pre-push hook"), "{again:?}");
    let line = again.err.lines().find(|line| line.contains("add this line")).unwrap();
    let line = line.split("add this line to it: ").nth(1).unwrap().to_owned();
    assert_eq!(sandbox.read("lab/.git/hooks/pre-push"), "#!/bin/sh\nexit 0\n");
    // The line does as it says.
    sandbox.write("lab/.git/hooks/pre-push", format!("#!/bin/sh\n{line}\nexit 0\n"));
    assert!(!sandbox.run("lab", &["hlx", "init"]).err.contains("another"));
    sandbox.sh(".", "git init -q --bare plain.git");
    sandbox.commit_unfiltered("old.env", &format!("A={CANARY}\n"));
    refused(&sandbox.run("lab", &["git", "push", "-q", "../plain.git", "app"]), &["nothing was pushed"]);
    sandbox.ok("lab", &["git", "config", "core.hooksPath", "elsewhere"]);
    let told = sandbox.run("lab", &["hlx", "init"]).err;
    for name in ["pre-commit", "pre-push", "post-merge"] {
        let place = sandbox.path("lab/elsewhere").join(name).display().to_string();
        assert!(
            told.contains(&format!("another place for hooks (core.hooksPath), and no {place}")),
            "{told}"
        );
        sandbox.write(&format!("lab/elsewhere/{name}"), format!("#!/bin/sh\nhlx hook {name} \"$@\"\n"));
    }
    assert!(!sandbox.run("lab", &["hlx", "init"]).err.contains("another"));
    sandbox.write("lab/elsewhere/pre-push", "#!/bin/sh\n");
    let told = sandbox.run("lab", &["hlx", "init"]).err;
    assert!(told.contains("another pre-push hook, ") && told.contains("lab/elsewhere/pre-push"), "{told}");
}

/// A lab whose `.env` has a value as machines make them.
fn lab_with_a_key() -> Sandbox {
    let sandbox = lab();
    sandbox.write("lab/.env", format!("API_KEY={CANARY}\nTITLE=\"My home server\"\nMOTD=welcome to all\n"));
    sandbox.sh("lab", "git commit -qam values");
    sandbox
}

#[test]
fn a_copy_of_an_encrypted_file_in_clear_is_refused_under_any_name() {
    let sandbox = lab_with_a_key();
    for line in [
        "cp .env .env-backup",
        "cp .env .env~",
        "cp .env .env_old",
        "cp .env .envrc",
        "cp .env prod.env.bak",
        "mv .env settings.txt",
        "git mv .env moved.txt",
        "sed 's/^/export /' .env >env.sh",
    ] {
        sandbox.sh("lab", &format!("{line}; git add -A"));
        let done = sandbox.run("lab", &["git", "commit", "-qm", "x"]);
        refused(
            &done,
            &["nothing was committed: ", "of `.env`", "hlx track", "--no-verify"].map(|word| {
                // The same content is told as such.
                if line.contains("sed") || word != "of `.env`" { word } else { "it is `.env` in clear" }
            }),
        );
        // Past that hook, the next one refuses.
        sandbox.sh("lab", "git commit -qnm x; git init -q --bare ../away.git");
        refused(
            &sandbox.run("lab", &["git", "push", "-q", "../away.git", "app"]),
            &["nothing was pushed: ", "`.env`"],
        );
        sandbox.sh("lab", "git reset -q --hard HEAD~1; rm -rf ../away.git");
    }
}

#[test]
fn one_value_in_a_clear_file_is_refused_by_its_name_and_chance_is_not() {
    let sandbox = lab_with_a_key();
    sandbox.write("lab/README.md", format!("# Lab\n\ncurl -H 'Key: {CANARY}' nas\n"));
    refused(
        &sandbox.run("lab", &["git", "commit", "-qam", "x"]),
        &["README.md: line 3: `API_KEY` of `.env` stands here in clear"],
    );
    // It is there by the owner's will, and stops no later commit.
    sandbox.sh("lab", "git commit -qnam x; echo more >>README.md; git commit -qam more");
    sandbox.sh("lab", "git reset -q --hard HEAD~2; echo 'My home server' >>README.md; git commit -qam title");
    sandbox.sh("lab", "echo 'My home server: welcome to all' >notes; git add notes");
    refused(
        &sandbox.run("lab", &["git", "commit", "-qm", "x"]),
        &["notes: line 1: `MOTD`, `TITLE` of `.env` stand"],
    );
    sandbox.sh("lab", "rm notes; git add -A");
    // A longer word is another one; and untracking is on purpose.
    sandbox.sh("lab", &format!("echo 'X={CANARY}d' >other; git add other; git commit -qm other"));
    sandbox.sh("lab", "hlx untrack .env; git add -A; git commit -qm meant");
    // Without a key it cannot be known.
    sandbox.sh("lab", "git reset -q --hard HEAD~1; cp .env copy.txt; mv ../home/.config ../home/away; git add copy.txt; git commit -qm blind");
}

#[test]
fn a_dotenv_file_that_nothing_protects_is_refused() {
    let sandbox = lab_and_server();
    sandbox.sh("lab", "git switch -q --orphan own; git clean -qfdx");
    for name in [".env", "sub/.env.prod", "db.env", ".env~"] {
        sandbox.write(&format!("lab/{name}"), "A=1\n");
        sandbox.sh("lab", "git add -A");
        let done = sandbox.run("lab", &["git", "commit", "-qm", "x"]);
        refused(
            &done,
            &[&format!("{name}: a dotenv file in clear"), &format!("hlx track {name}"), "hlx:allow"],
        );
        sandbox.sh("lab", "git commit -qnm x");
        for words in [&["own"][..], &["--no-verify", "own"]] {
            refused(
                &sandbox.run("lab", &[&["git", "push", "-q", "origin"], words].concat()),
                &[&format!("{name}: a dotenv file in clear")],
            );
        }
        sandbox.sh("lab", "git update-ref -d HEAD; git rm -qrf --cached .; git clean -qfdx");
    }
    sandbox.write("lab/.env.example", "A=1\n");
    sandbox.write("lab/empty.env", "");
    sandbox.write("lab/vite.env.ts", "A\n");
    sandbox.write("lab/stack.env", "# hlx:allow\nTZ=Europe/Berlin\n");
    sandbox.sh("lab", "git add -A; git commit -qm fine; git push -q origin own");
    // What is there already stops nothing.
    sandbox.sh("lab", "echo TZ=UTC >stack.env; git commit -qam changed; git push -q origin own");
}

/// The first mistake of many: the file of a compose secret, and `hlx track` forgotten.
#[test]
fn the_file_of_a_compose_secret_is_refused_in_clear() {
    let sandbox = lab_and_server();
    sandbox.sh("lab", "git switch -q --orphan own; git clean -qfdx");
    let compose = "services: {a: {image: x, secrets: [db]}}\nsecrets:\n  db: {file: ./db_root.txt}\n";
    sandbox.write("lab/compose.yml", compose);
    sandbox.write("lab/db_root.txt", "canary-swordfish\n");
    sandbox.sh("lab", "git add -A");
    let told = ["db_root.txt: the secret `db` of the compose file, in clear", "hlx track db_root.txt"];
    refused(&sandbox.run("lab", &["git", "commit", "-qm", "x"]), &told);
    sandbox.sh("lab", "git commit -qnm x");
    for words in [&["own"][..], &["--no-verify", "own"]] {
        refused(&sandbox.run("lab", &[&["git", "push", "-q", "origin"], words].concat()), &told[..1]);
    }
    let done = sandbox.run("lab", &["hlx", "check", "--branch", "own"]);
    assert!(done.code == Some(5) && done.out.contains("[secret-file]"), "{}{}", done.out, done.err);
    // Behind a variable and an include as well.
    sandbox.write("lab/.env", "WHERE=.\n# hlx:allow\n");
    sandbox.write("lab/more.yml", compose.replace("./db_root.txt", "'${WHERE}/other.txt'"));
    sandbox.write("lab/compose.yml", "include: [more.yml]\n");
    sandbox.write("lab/other.txt", "another-swordfish\n");
    sandbox.sh("lab", "git add -A -f");
    let told = told.map(|told| told.replace("db_root", "other"));
    refused(&sandbox.run("lab", &["git", "commit", "-qm", "x"]), &told.each_ref().map(String::as_str));
    sandbox.sh("lab", "git commit -qnm x");
    let done = sandbox.run("lab", &["hlx", "check", "--branch", "own"]);
    assert!(
        done.out.contains("other.txt\n") && done.out.contains("[secret-file]"),
        "{}{}",
        done.out,
        done.err
    );
    sandbox.sh("lab", "git reset -q --hard HEAD~1");
    // One that is no secret says so where it is named.
    sandbox.write("lab/compose.yml", compose.replace("txt}", "txt} # hlx:allow"));
    sandbox.sh("lab", "git add compose.yml; git commit -qm fine --amend; git push -q origin own");
}

/// What `hlx track` came too late for is not pushed while nobody has it.
#[test]
fn what_was_committed_before_it_was_protected_is_not_pushed() {
    let sandbox = lab_and_server();
    sandbox.sh(
        "lab",
        "echo canary-swordfish >late.txt; git add late.txt; git commit -qm late; hlx track late.txt",
    );
    let done = sandbox.run("lab", &["git", "push", "-q", "origin", "app"]);
    refused(&done, &["late.txt: committed in clear before it was protected"]);
    // Another commit on top does not take it out of what is pushed.
    sandbox.sh("lab", "git add -A; git commit -qm tracked");
    let done = sandbox.run("lab", &["git", "push", "-q", "origin", "app"]);
    refused(&done, &["late.txt: committed in clear before it was protected", "git rebase -i"]);
    sandbox.sh("lab", "git reset -q --soft HEAD~2; git commit -qm both; git push -q origin app");
    let there = sandbox.ok(".", &["git", "-C", "server.git", "cat-file", "blob", "app:late.txt"]);
    assert!(there.contains("ENC["), "{there}");
}

#[test]
fn tokens_of_a_well_known_shape_are_refused_where_they_are_new() {
    let sandbox = lab_and_server();
    let token = format!("ghp_{}", "a1B2c3D4e5F6g7H8i9J0".repeat(2));
    sandbox.write("lab/README.md", format!("# Lab\nuse {token}\n"));
    let done = sandbox.run("lab", &["git", "commit", "-qam", "x"]);
    refused(&done, &["README.md: line 2: what looks like a GitHub token", "hlx:allow"]);
    assert!(!done.err.contains("a1B2"), "{done:?}");
    sandbox.sh("lab", "git commit -qnam x");
    for words in [&["app"][..], &["--no-verify", "app"]] {
        refused(
            &sandbox.run("lab", &[&["git", "push", "-q", "origin"], words].concat()),
            &["README.md: line 2"],
        );
    }
    sandbox.sh("lab", "echo more >>README.md; git commit -qam more; git reset -q --hard HEAD~2");
    sandbox.write("lab/README.md", format!("# Lab\nuse {token} <!-- hlx:allow -->\n"));
    sandbox.sh("lab", "git commit -qam allowed; git push -q origin app");
}

#[test]
fn the_advice_of_a_refused_push_helps() {
    let sandbox = lab_and_server();
    let sealed = sandbox.ok("lab", &["git", "cat-file", "blob", "HEAD:.env"]);
    let push = || sandbox.run("lab", &["git", "push", "-q", "origin", "app"]);
    // In the last commit.
    sandbox.commit_unfiltered("old.env", "A=plain-one\n");
    sandbox.write("lab/old.env", "A=plain-one\n");
    refused(&push(), &["hint: encrypt it: `git add --renormalize old.env`; then", "git commit --amend"]);
    sandbox
        .sh("lab", "git add --renormalize old.env; git commit -q --amend -m mended; git push -q origin app");
    // In one before it, though it is encrypted since.
    sandbox.commit_unfiltered("two.env", "A=plain-two\n");
    let commit = sandbox.ok("lab", &["git", "rev-parse", "HEAD"]);
    sandbox.write("lab/two.env", "A=plain-two\n");
    sandbox.sh("lab", "git add --renormalize two.env; git commit -qm encrypted");
    let reset = format!("git reset --soft {}~", &commit[..10]);
    refused(&push(), &["must be made anew", &format!("git rebase -i {}~", &commit[..10]), &reset]);
    sandbox.sh("lab", &format!("{reset}; git commit -qm anew; git push -q origin app"));
    // The same of a file that does not open.
    sandbox.commit_unfiltered("s.env", &format!("B_unencrypted=1\n{sealed}"));
    sandbox.sh("lab", "echo more >>README.md; git add README.md; git commit -qnm more");
    let commit = sandbox.ok("lab", &["git", "rev-parse", "HEAD~1"]);
    refused(
        &push(),
        &["its MAC does not fit", &format!("git rebase -i {}~", &commit[..10]), "hlx reseal s.env"],
    );
    sandbox.sh("lab", &format!("git checkout -q s.env; GIT_SEQUENCE_EDITOR='sed -i 1s/pick/edit/' git rebase -q -i {}~; hlx reseal --yes s.env; git commit -q --amend --no-edit; git rebase --continue; git push -q origin app", &commit[..10]));
}
