//! `track`, `untrack`, `index` and `init --uninstall`, as their user meets them.

use crate::sandbox::{CANARY, Sandbox};

fn blob(sandbox: &Sandbox, name: &str) -> String {
    sandbox.ok("lab", &["git", "cat-file", "blob", name])
}

fn recipients(sealed: &str) -> Vec<String> {
    sealed
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| word.starts_with("age1"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn a_track_that_fails_changes_nothing() {
    let sandbox = Sandbox::new();
    sandbox.lab();
    sandbox.sh("lab", "rm .sops.yaml; git add -A; git commit -qm none");
    sandbox.write("lab/sub/.gitattributes", "* -filter\n");
    sandbox.write("lab/sub/x.key", CANARY);
    sandbox.write("lab/values.yaml", format!("db:\n  password: {CANARY}\n"));
    sandbox.write("lab/bad.yaml", "a: [\n");
    let before = sandbox.read("lab/.gitattributes");
    for (words, code, message) in [
        (&["sub/x.key"][..], 2, "another line of a `.gitattributes` takes the protection away"),
        (&["--keys", "^nowhere$", "values.yaml"], 5, "matches no key, so that nothing would be encrypted"),
        (&["--marked", "values.yaml"], 5, "matches no key, so that nothing would be encrypted"),
        (&["--keys", "x", "bad.yaml"], 1, "line 1, column 4"),
        (&["sub"], 2, "a directory: name its files"),
        (&[".", "--whole"], 2, "takes the protection away"),
    ] {
        sandbox.sh("lab", "git add -N sub/x.key 2>/dev/null || true");
        let refused = sandbox.run("lab", &[&["hlx", "track"], words].concat());
        assert!(refused.code == Some(code) && refused.err.contains(message), "{words:?}: {refused:?}");
        assert_eq!(sandbox.read("lab/.gitattributes"), before, "{words:?}");
        assert!(!sandbox.path("lab/.sops.yaml").exists(), "{words:?}");
    }
    sandbox.ok("lab", &["hlx", "track", "--keys", "^password$", "values.yaml"]);
    sandbox.sh("lab", "git add values.yaml .sops.yaml .gitattributes; git commit -qm values");
    sandbox.no_canary_in_objects("lab");
}

#[test]
fn a_file_that_git_has_is_encrypted_anew_by_another_choice() {
    let sandbox = Sandbox::new();
    sandbox.lab();
    let text = format!("db:\n  password: {CANARY}\n  host: clear\ntoken: {CANARY}\n");
    sandbox.write("lab/v.yml", &text);
    let other = sandbox.ok("lab", &["hlx", "keys", "generate", "-o", "../other.key"]);
    sandbox.sh("lab", "hlx track --keys '^(password|token)$' v.yml; git add .; git commit -qm one");
    sandbox.ok("lab", &["hlx", "recipients", "add", other.trim()]);
    let readers = recipients(&blob(&sandbox, ":v.yml"));
    assert_eq!(readers.len(), 2);
    let mut last = blob(&sandbox, ":v.yml");
    for (words, clear, sealed) in [
        (&["--keys", "^token$"][..], "password: canary", "encrypted_regex: ^token$"),
        (&["--whole"], "@", "\"data\": \"ENC["),
        (&["--keys", "^db$"], "token: canary", "encrypted_regex: ^db$"),
        (&["--whole"], "@", "\"data\": \"ENC["),
        (&["--keys", "^(password|token)$"], "host: clear", "encrypted_regex: ^(password|token)$"),
    ] {
        let done = sandbox.run("lab", &[&["hlx", "track"], words, &["v.yml"]].concat());
        assert!(
            done.code == Some(0)
                && done.err.contains("v.yml was encrypted otherwise: the new form is staged"),
            "{words:?}: {done:?}"
        );
        let now = blob(&sandbox, ":v.yml");
        assert!(now.contains(sealed) && (clear == "@" || now.contains(clear)), "{words:?}: {now}");
        assert_ne!(now, last);
        assert_eq!(recipients(&now), readers, "{words:?}");
        sandbox.write("x.yml", &now);
        let format = if clear == "@" { "binary" } else { "yaml" };
        let opened = sandbox.sops(
            ".",
            &[
                "-d",
                "--input-type",
                if clear == "@" { "json" } else { "yaml" },
                "--output-type",
                format,
                "x.yml",
            ],
        );
        assert!(opened.code == Some(0) && opened.out.contains(CANARY), "{words:?}: {opened:?}");
        // The work tree is as it was, and git knows that.
        sandbox.sh("lab", "touch v.yml; git commit -qnm again");
        assert_eq!(sandbox.ok("lab", &["git", "status", "--porcelain"]), "", "{words:?}");
        let again = sandbox.run("lab", &[&["hlx", "track"], words, &["v.yml"]].concat());
        assert!(
            again.code == Some(0)
                && again.out.contains("was protected already")
                && !again.err.contains("otherwise"),
            "{again:?}"
        );
        assert_eq!(sandbox.read("lab/v.yml"), text);
        last = now;
    }
    // There is one rule for it, whatever was chosen before; and one that was changed by hand is carried out.
    assert_eq!(sandbox.read("lab/.sops.yaml").matches("path_regex").count(), 1);
    assert_eq!(sandbox.read("lab/.gitattributes").matches("/v.yml ").count(), 1);
    sandbox.sh("lab", "sed -i 's/(password|token)/token/' .sops.yaml; hlx track v.yml");
    assert!(blob(&sandbox, ":v.yml").contains("encrypted_regex: ^token$"));
}

#[test]
fn a_branch_that_is_encrypted_whole_takes_what_git_has_along() {
    let sandbox = Sandbox::new();
    sandbox.lab();
    sandbox.write("lab/v.yml", format!("token: {CANARY}\n"));
    sandbox.sh("lab", "hlx track --keys ^token$ v.yml; git add .; git commit -qm one");
    sandbox.write("lab/.env", format!("A={CANARY}\n"));
    sandbox.sh("lab", "git add -A; git commit -qm env; hlx track . --whole; git add --renormalize .; git add -A; git commit -qm whole");
    for file in [".env", "v.yml", "compose.yml"] {
        assert!(blob(&sandbox, &format!("HEAD:{file}")).contains("\"data\": \"ENC["), "{file}");
    }
    assert_eq!(sandbox.ok("lab", &["git", "status", "--porcelain"]), "");
}

#[test]
fn an_unedited_rule_is_said_in_full() {
    let sandbox = Sandbox::new();
    sandbox.lab();
    sandbox.write("lab/v.yml", "a: 1\nb: 2\n");
    sandbox.sh("lab", "hlx track --keys ^a$ v.yml; sed -i 's/  - path_regex: \\(.*\\)/  - shamir_threshold: 0\\n    path_regex: \\1/' .sops.yaml");
    let before = sandbox.read("lab/.sops.yaml");
    let refused = sandbox.run("lab", &["hlx", "track", "--keys", "^b$", "v.yml"]);
    assert!(refused.code == Some(1) && refused.err.contains("encrypted_regex: \"^b$\""), "{refused:?}");
    assert_eq!(sandbox.read("lab/.sops.yaml"), before);
}

#[test]
fn untrack_is_said_once_and_then_meant() {
    let sandbox = Sandbox::new();
    sandbox.lab();
    sandbox.write("lab/.env", format!("A={CANARY}\n"));
    sandbox.write("lab/a b.conf", format!("{CANARY}\n"));
    sandbox.sh("lab", "hlx track 'a b.conf'; git add -A; git commit -qm sealed");
    let head = sandbox.ok("lab", &["git", "rev-parse", "HEAD"]);
    // Refused: what is not protected, and what would stay encrypted.
    assert_eq!(sandbox.run("lab", &["hlx", "untrack", "README.md"]).code, Some(2));
    sandbox.sh("lab", "hlx lock");
    let refused = sandbox.run("lab", &["hlx", "untrack", ".env"]);
    assert!(refused.code == Some(2) && refused.err.contains("run `hlx unlock` first"), "{refused:?}");
    // The index knows the files for sure: without being told, git would not look at them again.
    sandbox.sh("lab", "hlx unlock; sleep 1.1; git status >/dev/null; git diff --exit-code >/dev/null");
    for file in [".env", "a b.conf"] {
        let done = sandbox.run("lab", &["hlx", "untrack", file]);
        assert!(done.code == Some(0) && done.err.contains("is in git in clear, for everyone"), "{done:?}");
        let again = sandbox.run("lab", &["hlx", "untrack", file]);
        assert!(again.code == Some(0) && again.out.contains("was not protected any more"), "{again:?}");
    }
    let last = sandbox.read("lab/.gitattributes").lines().last().map(str::to_owned);
    assert_eq!(
        last.as_deref(),
        Some("\"/a b.conf\" !filter !diff !merge !text !ident !working-tree-encoding hlx=clear")
    );
    sandbox.sh("lab", "git add -A; git commit -qm clear; git status --porcelain >../status");
    assert_eq!(sandbox.read("status"), "");
    assert!(blob(&sandbox, "HEAD:.env").contains(CANARY) && blob(&sandbox, "HEAD:a b.conf").contains(CANARY));
    // Taken back.
    let back = sandbox.run("lab", &["hlx", "track", ".env"]);
    assert!(back.code == Some(0) && back.err.contains("is in git in clear"), "{back:?}");
    sandbox.sh("lab", "git add --renormalize .env; git add .gitattributes; git commit -qm back");
    assert!(blob(&sandbox, "HEAD:.env").contains("sops_mac="));
    // It was meant for the version of then, and in this clone: someone else's push is refused as ever.
    sandbox.sh("lab", "echo B=2 >>.env; git commit -qam more; echo '.env !filter' >>.gitattributes; git add .gitattributes; git commit -qm sly; echo C=3 >>.env");
    let refused = sandbox.run("lab", &["git", "commit", "-qam", "x"]);
    assert!(
        refused.code == Some(1) && refused.err.contains("if that is meant, `hlx untrack .env`"),
        "{refused:?}"
    );
    sandbox.sh("lab", "hlx untrack .env; git commit -qam meant");
    sandbox.sh(".", &format!("git clone -q lab other; cd other; git reset -q --hard {}; hlx init; hlx untrack .env; rm -r .git/hlx/untracked; git add -A", head.trim()));
    assert_eq!(sandbox.run("other", &["git", "commit", "-qm", "x"]).code, Some(1));
}

#[test]
fn what_was_untracked_is_meant_for_servers_and_other_clones_too() {
    let sandbox = Sandbox::new();
    sandbox.lab();
    sandbox.write("lab/conf.json", format!("{{\"a\": \"{CANARY}\"}}\n"));
    sandbox.sh("lab", "hlx track conf.json; git add -A; git commit -qm sealed");
    sandbox.sh(".", "git init -q --bare server.git; cd server.git; hlx init");
    sandbox.sh("lab", "git remote add origin ../server.git; git push -q origin main app");
    // Without the attribute, an attribute was just taken away.
    let keep = sandbox.read("lab/.gitattributes");
    sandbox.sh("lab", "hlx untrack conf.json; git add conf.json");
    sandbox.write("lab/.gitattributes", keep.replace("/conf.json filter=hlx", "/conf.json filter=none"));
    sandbox.sh("lab", "git add -A; git commit -qm sly");
    let refused = sandbox.run("lab", &["git", "push", "-q", "--no-verify", "origin", "app"]);
    assert!(refused.code != Some(0) && refused.err.contains("hlx untrack conf.json"), "{refused:?}");
    sandbox.sh("lab", "git reset -q --hard HEAD~1; hlx untrack conf.json; git add -A; git commit -qm clear");
    sandbox.sh("lab", "git push -q origin app");
    sandbox.sh(
        ".",
        "git clone -q -b app server.git other; cd other; hlx init; hlx check --branch app conf.json",
    );
    assert!(blob(&sandbox, "HEAD:conf.json").contains(CANARY));
    sandbox.sh("lab", "hlx track conf.json");
    assert!(!sandbox.read("lab/.gitattributes").contains("hlx=clear"));
    // It counts with the commit that says it: what somebody said before says nothing of a later one.
    sandbox.sh(
        "lab",
        "git add --renormalize conf.json; git add -A; git commit -qm back; git push -q origin app",
    );
    sandbox.sh("lab", "hlx untrack conf.json; git add .gitattributes; git commit -qm planted; git push -q origin app; git add conf.json; git commit -qnm later");
    let refused = sandbox.run("lab", &["git", "push", "-q", "--no-verify", "origin", "app"]);
    assert!(
        refused.code != Some(0) && refused.err.contains("it was encrypted, and is clear now"),
        "{refused:?}"
    );
}

#[test]
fn uninstalling_leaves_no_trace_and_no_plaintext_that_git_would_store() {
    let sandbox = Sandbox::new();
    sandbox.ok(".", &["git", "init", "-q", "lab"]);
    sandbox.sh("lab", "echo x >README.md; git add .; git commit -qm x; cp .git/config ../config; ls .git/hooks >../hooks; ls .git >../git");
    sandbox.sh("lab", "hlx init; hlx new app; git switch -q app; git worktree add -q ../tree main; git config hlx.allowPlugin x");
    sandbox.write("lab/.env", format!("A={CANARY}\n"));
    sandbox.sh("lab", "git add .env; git commit -qm one; echo B=2 >>.env");
    let refused = sandbox.run("lab", &["hlx", "init", "--uninstall"]);
    assert!(
        refused.code == Some(1)
            && refused.err.contains(".env: changed")
            && refused.err.contains("`--keep-open`"),
        "{refused:?}"
    );
    sandbox.sh("lab", "git commit -qam two");
    let done = sandbox.run("lab", &["hlx", "init", "--uninstall"]);
    assert!(
        done.code == Some(0)
            && done.out.contains("removed the hook pre-commit")
            && done.out.contains("removed `filter.hlx`"),
        "{done:?}"
    );
    sandbox.no_canary_in_files("lab", &[]);
    assert_eq!(sandbox.ok("lab", &["git", "status", "--porcelain"]), "");
    assert_eq!(sandbox.read("lab/.git/config"), sandbox.read("config"));
    assert_eq!(sandbox.ok("lab", &["ls", ".git/hooks"]), sandbox.read("hooks"));
    sandbox.sh("lab", "git worktree remove ../tree; ls .git | grep -vxFf ../git | grep -vx -e packed-refs -e ORIG_HEAD >../more || true");
    assert_eq!(sandbox.read("more"), "");
    // What git adds now is what it has.
    sandbox.sh("lab", "touch .env; git add .env; git diff --cached --exit-code");
    for _ in 0..2 {
        let again = sandbox.run("lab", &["hlx", "init", "--uninstall"]);
        assert!(
            again.code == Some(0) && again.err.contains("there is nothing of hlx in this clone"),
            "{again:?}"
        );
    }
    // Back, and away with the files left open.
    sandbox.sh("lab", "git worktree add -q -b more ../more-tree app");
    let back = sandbox.run("lab", &["hlx", "init"]);
    assert!(
        back.err.contains("more-tree stand encrypted") && back.err.contains("`hlx unlock` there"),
        "{back:?}"
    );
    sandbox.sh("more-tree", "echo B=3 >>.env");
    let added = sandbox.run("more-tree", &["git", "add", ".env"]);
    assert!(added.code == Some(128) && added.err.contains("`hlx unlock`, and make it again"), "{added:?}");
    sandbox.sh("lab", "git worktree remove --force ../more-tree; git branch -q -D more");
    assert!(sandbox.read("lab/.env").contains(CANARY));
    let done = sandbox.run("lab", &["hlx", "init", "--uninstall", "--keep-open"]);
    assert!(
        done.code == Some(0) && done.err.contains("would be stored in clear by the next `git add`"),
        "{done:?}"
    );
    assert!(sandbox.read("lab/.env").contains(CANARY));
    assert_eq!(sandbox.read("lab/.git/config"), sandbox.read("config"));
    // Another's hook stays.
    sandbox.write("lab/.git/hooks/pre-commit", "#!/bin/sh\nexit 0\n");
    sandbox.sh("lab", "hlx init; git checkout -q .; hlx init --uninstall; test -e .git/hooks/pre-commit");
}

#[test]
fn a_branch_that_was_renamed_is_listed_and_work_on_it_is_not_once_a_remote_has_it() {
    let sandbox = Sandbox::new();
    sandbox.lab();
    sandbox.sh("lab", "git branch -q -m app jelly; git branch -q feat; git clone -q . ../origin; git remote add origin ../origin; hlx index");
    assert!(sandbox.ok("lab", &["git", "show", "main:README.md"]).contains("`feat`"));
    sandbox.sh("lab", "git push -q origin jelly:jelly; git fetch -q; hlx index");
    let page = sandbox.ok("lab", &["git", "show", "main:README.md"]);
    assert!(page.contains("`jelly`") && !page.contains("`feat`"), "{page}");
}

#[test]
fn what_git_has_in_clear_is_encrypted_by_the_commands_of_the_hint() {
    let sandbox = Sandbox::new();
    sandbox.lab();
    sandbox.write("lab/old.conf", format!("{CANARY}\n"));
    // git knows the file for sure, and would not look at it again.
    sandbox.sh(
        "lab",
        "git add old.conf; git commit -qm old; sleep 1.1; git status >/dev/null; git diff --exit-code",
    );
    let done = sandbox.run("lab", &["hlx", "track", "old.conf"]);
    let hint = "`git add .gitattributes .sops.yaml old.conf` and `git commit`";
    assert!(done.err.contains(hint) && !done.err.contains("--renormalize"), "{done:?}");
    sandbox.sh("lab", "git add .gitattributes .sops.yaml old.conf; git commit -qm sealed");
    assert!(!blob(&sandbox, "HEAD:old.conf").contains(CANARY));
    assert_eq!(sandbox.ok("lab", &["git", "status", "--porcelain"]), "");
}

#[test]
fn an_earlier_choice_counts_on_and_that_is_said() {
    let sandbox = Sandbox::new();
    sandbox.lab();
    sandbox.sh("lab", "hlx track --keys '^image$' compose.yml");
    let done = sandbox.run("lab", &["hlx", "track", "compose.yml"]);
    assert!(
        done.err.contains("compose.yml keeps its rule in `.sops.yaml`, `encrypted_regex: ^image$`"),
        "{done:?}"
    );
    sandbox.sh("lab", "hlx track --keys '^environment$' compose.yml 2>/dev/null || hlx track --whole compose.yml; hlx track --whole compose.yml");
    assert_eq!(sandbox.read("lab/.gitattributes").matches("/compose.yml ").count(), 1);
}

#[test]
fn between_untrack_and_the_commit_nothing_is_said_against_it() {
    let sandbox = Sandbox::new();
    sandbox.lab();
    sandbox.write("lab/.env", "A=1\n");
    sandbox.sh("lab", "git add .env; git commit -qm one; hlx untrack .env");
    let status = sandbox.run("lab", &["hlx", "status"]);
    assert!(status.code == Some(0) && !status.err.contains("nothing protects it"), "{status:?}");
    // Taken away by a hand that said nothing of it here.
    sandbox.sh("lab", "rm .git/hlx/untracked");
    assert!(sandbox.run("lab", &["hlx", "status"]).err.contains("nothing protects it"));
    // A file that is not there is not to be added.
    sandbox.sh("lab", "hlx track none.conf");
    let done = sandbox.run("lab", &["hlx", "untrack", "none.conf"]);
    assert!(done.err.contains("`git add .gitattributes` and"), "{done:?}");
    let plain = sandbox.path("home/.config/sops").display().to_string();
    sandbox.sh(".", &format!("rm -r {plain}; git init -q bare-of-keys"));
    let done = sandbox.run("bare-of-keys", &["hlx", "new", "x"]);
    assert!(done.code == Some(5) && done.err.contains("hint: `hlx init` sets this clone up"), "{done:?}");
}

#[test]
fn the_list_of_services_is_brought_up_to_date_once() {
    let sandbox = Sandbox::new();
    sandbox.lab();
    // A branch of work on a service is none, nor one of the landing page; another service is.
    sandbox.sh("lab", "git branch -q feat; git branch -q page main; git switch -q --orphan other; git commit -q --allow-empty -m other; git switch -q app");
    let done = sandbox.run("lab", &["hlx", "index"]);
    assert!(done.code == Some(0) && done.out.contains("up to date at"), "{done:?}");
    let page = sandbox.ok("lab", &["git", "show", "main:README.md"]);
    let listed: Vec<&str> = page.lines().filter(|line| line.starts_with("- [")).collect();
    assert_eq!(listed, ["- [`app`](../../tree/app)", "- [`other`](../../tree/other)"]);
    let tip = sandbox.ok("lab", &["git", "rev-parse", "main"]);
    let again = sandbox.run("lab", &["hlx", "index"]);
    assert!(
        again.code == Some(0) && again.out.is_empty() && again.err.contains("was up to date"),
        "{again:?}"
    );
    assert_eq!(sandbox.ok("lab", &["git", "rev-parse", "main"]), tip);
}

#[test]
fn in_a_bare_repository_the_hooks_go_again() {
    let sandbox = Sandbox::new();
    sandbox.sh(".", "git init -q --bare server.git; cp -r server.git/hooks before; cd server.git; hlx init");
    let done = sandbox.run("server.git", &["hlx", "init", "--uninstall"]);
    assert!(done.code == Some(0) && done.out.contains("removed the hook pre-receive"), "{done:?}");
    sandbox.sh(".", "diff -r before server.git/hooks; ! grep -q hlx server.git/config");
    let again = sandbox.run("server.git", &["hlx", "init", "--uninstall"]);
    assert!(again.code == Some(0) && again.err.contains("there is nothing of hlx"), "{again:?}");
}

#[test]
fn examples_stay_clear_whatever_stands_before_that_word() {
    let sandbox = Sandbox::new();
    sandbox.lab();
    let words = ["example", "sample", "template", "dist"];
    for word in words {
        for name in [format!(".env.{word}"), format!(".env.prod.{word}"), format!("prod.env.{word}")] {
            sandbox.write(&format!("lab/{name}"), "A=1\n");
        }
    }
    sandbox.write("lab/.env.prod", "A=1\n");
    sandbox.sh("lab", "git add -A; git commit -qm all");
    let sealed = sandbox
        .sh("lab", "for f in $(git ls-files); do git cat-file blob :$f | grep -q ENC && echo $f; done; true");
    assert_eq!(sealed, ".env\n.env.prod\n");
}

#[test]
fn what_cannot_be_is_refused_with_its_reason() {
    let sandbox = Sandbox::new();
    sandbox.lab();
    let refused = sandbox.run("lab", &["hlx", "track", ".git/config"]);
    assert!(refused.code == Some(2) && refused.err.contains("of git's own"), "{refused:?}");
    assert_eq!(sandbox.ok("lab", &["git", "status", "--porcelain"]), "");
    let refused = sandbox.run("lab", &["hlx", "new", &"n".repeat(251)]);
    assert!(refused.code == Some(2) && refused.err.contains("too long"), "{refused:?}");
    sandbox.ok("lab", &["hlx", "new", &"n".repeat(250)]);
}
