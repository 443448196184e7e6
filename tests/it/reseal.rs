//! Files whose MAC went stale: staged in parts, merged elsewhere, edited by a bot, or tampered with.

use std::path::Path;

use crate::sandbox::{CANARY, Done, Sandbox, places_of_gits};

/// As without a terminal, also where the tests have one.
fn untied(sandbox: &Sandbox, words: &[&str]) -> Done {
    sandbox.run("lab", &[&["setsid", "-w", "hlx", "reseal"], words].concat())
}

/// Puts a text into the index as the sealed form of a path.
fn stage(sandbox: &Sandbox, path: &str, text: &str) {
    sandbox.write("staged", text);
    sandbox.sh(
        "lab",
        &format!(
            "git update-index --add --cacheinfo 100644,$(git hash-object -w --no-filters ../staged),{path}"
        ),
    );
}

fn blob(sandbox: &Sandbox, name: &str) -> String {
    sandbox.ok("lab", &["git", "cat-file", "blob", name])
}

fn line(text: &str, start: &str) -> String {
    text.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("no {start}")).to_owned()
}

/// The file as stock sops opens it.
#[track_caller]
fn by_sops(sandbox: &Sandbox, name: &str, file: &str) -> String {
    sandbox.write(file, blob(sandbox, name));
    let opened = sandbox.sops(".", &["-d", file]);
    assert_eq!(opened.code, Some(0), "{name}: {opened:?}");
    opened.out
}

const SPACE: &str = "#\n#\n#\n#\n#\n#\n#\n";

#[test]
fn one_of_two_hunks_is_staged_and_the_other_is_what_is_left() {
    for git in places_of_gits() {
        let sandbox = Sandbox::new();
        sandbox.lab();
        let hlx = Path::new(env!("CARGO_BIN_EXE_hlx")).parent().unwrap().display().to_string();
        let path = format!("{git}:{hlx}:/usr/local/bin:/usr/bin:/bin");
        let sh = |line: &str| {
            let done = sandbox.run_in("lab", &["sh", "-euc", line], &[("PATH", &path)]);
            assert_eq!(done.code, Some(0), "{git}: {line}: {done:?}");
            done
        };
        sandbox.write("lab/.env", format!("A=1\n{SPACE}B=2\n{SPACE}C={CANARY}\n"));
        sandbox.write(
            "lab/mode.yml",
            format!(
                "mode: 0755\n{SPACE}text: >-\n  folded\n  {CANARY}\n{SPACE}port: 0x10\n{SPACE}last: 'q'\n"
            ),
        );
        sh("hlx track mode.yml; git add .; git commit -qm base");
        sh("sed -i 's/A=1/A=10/;s/B=2/B=20/' .env; sed -i 's/0755/0644/;s/0x10/0x11/' mode.yml");
        // The first hunk of each file: not the second, and not that of the MAC.
        let staged = sh("printf 'y\\nn\\nn\\ny\\nn\\nn\\n' | git add -p");
        assert!(staged.out.contains("Stage this hunk") && staged.out.contains("A=ENC["), "{staged:?}");
        for look in ["git status --porcelain", "git diff", "git diff --cached", "git stash list"] {
            sh(look);
        }
        let commit = sh("git commit -qm part");
        assert!(commit.err.contains(".env was staged in parts: it is sealed again"), "{commit:?}");
        assert_eq!(by_sops(&sandbox, "HEAD:.env", "x.env"), format!("A=10\n{SPACE}B=2\n{SPACE}C={CANARY}\n"));
        assert!(by_sops(&sandbox, "HEAD:mode.yml", "x.yml").contains("port: 16"));
        assert_eq!(sh("git status --porcelain").out, " M .env\n M mode.yml\n");
        let diff = sh("git diff -U0").out;
        let changed: Vec<&str> = diff
            .lines()
            .filter(|line| {
                line.starts_with(['+', '-']) && !line.starts_with("+++") && !line.starts_with("---")
            })
            .collect();
        assert_eq!(changed, ["-B=2", "+B=20", "-port: 0x10", "+port: 0x11"], "{diff}");
        // All lines but those that changed are as they were.
        for start in ["B=", "C="] {
            assert_eq!(
                line(&blob(&sandbox, "HEAD:.env"), start),
                line(&blob(&sandbox, "HEAD~1:.env"), start)
            );
        }
        sh("git commit -qam rest");
        assert_eq!(sh("git status --porcelain").out, "");
        sh("rm .env mode.yml; git checkout -q .");
        assert_eq!(sandbox.read("lab/.env"), format!("A=10\n{SPACE}B=20\n{SPACE}C={CANARY}\n"));
        sandbox.no_canary_in_objects("lab");
        // git seals the file anew to take a hunk back, and finds the same text.
        sandbox.write("lab/.env", "A=11\n");
        sandbox.run_in("lab", &["sh", "-uc", "yes | git checkout -p -- .env"], &[("PATH", &path)]);
        assert_eq!(sandbox.read("lab/.env"), format!("A=10\n{SPACE}B=20\n{SPACE}C={CANARY}\n"));
    }
}

/// A lab with two versions of `.env`, and one in which someone put the old `A` back.
fn tampered() -> (Sandbox, String) {
    let sandbox = Sandbox::new();
    sandbox.lab();
    sandbox.write("lab/.env", format!("A={CANARY}-old\nB=2\n"));
    sandbox.sh("lab", "git add .env; git commit -qm one");
    let old = line(&blob(&sandbox, "HEAD:.env"), "A=");
    sandbox.sh("lab", "sed -i s/-old/-new/ .env; git commit -qam two");
    let now = blob(&sandbox, "HEAD:.env");
    let swapped = now.replace(&line(&now, "A="), &old);
    assert_ne!(now, swapped);
    (sandbox, swapped)
}

#[test]
fn an_older_value_put_back_is_never_sealed_again_unasked_and_is_shown_by_name() {
    let (sandbox, swapped) = tampered();
    stage(&sandbox, ".env", &swapped);
    let refused = sandbox.run("lab", &["git", "commit", "-qm", "sly"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(
        refused.err.contains(
            ".env: its MAC does not fit, and `A` is neither in the last commit nor in the work tree"
        ),
        "{refused:?}"
    );
    assert!(
        refused.err.contains("hint: `hlx reseal .env`") && !refused.err.contains("canary"),
        "{refused:?}"
    );
    let asked = untied(&sandbox, &[]);
    assert!(
        asked.code == Some(5) && asked.err.contains("hint: if these changes are meant, add `--yes`"),
        "{asked:?}"
    );
    assert!(
        asked.out.contains(".env as staged, since ") && asked.out.contains("    changed: A\n"),
        "{asked:?}"
    );
    assert!(
        !asked.out.contains("B") && !asked.out.contains("canary") && !asked.err.contains("canary"),
        "{asked:?}"
    );
    assert_eq!(blob(&sandbox, ":.env"), swapped);
    // With a terminal it is asked.
    for (answer, code) in [("n\n", 1), ("y\n", 0)] {
        let done = sandbox.feed("lab", &["script", "-qec", "hlx reseal", "/dev/null"], answer);
        assert!(done.code == Some(code) && done.out.contains("are these changes meant?"), "{done:?}");
    }
    assert!(by_sops(&sandbox, ":.env", "x.env").contains("-old"));
    sandbox.sh("lab", "git commit -qm meant");
    sandbox.no_canary_in_objects("lab");
}

#[test]
fn what_someone_pushed_stays_sealed_until_its_owner_looks_at_it() {
    let (sandbox, swapped) = tampered();
    // Merged in a web page, and pulled.
    sandbox.sh(".", "git clone -q -b app lab web");
    sandbox.write("web/.env", &swapped);
    sandbox.sh(".", "git -C web commit -qam web");
    let pull = sandbox.run("lab", &["git", "pull", "-q", "../web", "app"]);
    assert!(
        pull.code == Some(0)
            && pull.err.contains("hint: if that was merged or edited elsewhere, `hlx reseal`"),
        "{pull:?}"
    );
    assert!(sandbox.read("lab/.env").contains("sops_mac="));
    // It is in the last commit already, and stops no other.
    sandbox.sh("lab", "echo x >other; git add other; git commit -qm other");
    let done = untied(&sandbox, &["--yes"]);
    assert!(done.code == Some(0) && done.out.contains("changed: A"), "{done:?}");
    assert_eq!(sandbox.read("lab/.env"), format!("A={CANARY}-old\nB=2\n"));
    assert_eq!(sandbox.ok("lab", &["git", "status", "--porcelain"]), "M  .env\n");
    sandbox.sh("lab", "git commit -qm resealed");
    by_sops(&sandbox, "HEAD:.env", "x.env");
    let again = untied(&sandbox, &[]);
    assert!(again.code == Some(0) && again.err.contains("nothing to reseal"), "{again:?}");
}

#[test]
fn values_that_are_not_authentic_at_their_place_are_refused() {
    let (sandbox, _) = tampered();
    let now = blob(&sandbox, "HEAD:.env");
    let (a, b) = (line(&now, "A="), line(&now, "B="));
    let swapped =
        now.replace(&a, "@").replace(&b, &format!("B={}", &a[2..])).replace('@', &format!("A={}", &b[2..]));
    stage(&sandbox, ".env", &swapped);
    let refused = untied(&sandbox, &["--yes"]);
    assert!(refused.code == Some(4) && refused.err.contains(".env: `A` was altered"), "{refused:?}");
    assert_eq!(blob(&sandbox, ":.env"), swapped);
    // A name that is nowhere, and one outside.
    assert_eq!(untied(&sandbox, &["nowhere"]).code, Some(2));
    assert_eq!(untied(&sandbox, &["../x"]).code, Some(2));
}

#[test]
fn a_bots_change_of_what_is_clear_and_all_other_kinds_of_change_are_named() {
    let sandbox = Sandbox::new();
    sandbox.lab();
    sandbox.write("lab/a.yml", format!("services:\n  web:\n    image: nginx:1\n    list:\n      - one\n      - two\n    environment:\n      # {CANARY}\n      A: {CANARY}\n      B: b\n"));
    sandbox.sh(
        "lab",
        "hlx track --keys ^environment$ a.yml; sed -i /mac_only/d .sops.yaml; git add .; git commit -qm base",
    );
    let good = blob(&sandbox, "HEAD:a.yml");
    for (from, to, said) in [
        ("nginx:1", "nginx:2".to_owned(), "changed: services.web.image (in clear)"),
        ("      - one\n      - two\n", "      - two\n      - one\n".to_owned(), "moved: services.web.list"),
        (
            "    image: nginx:1\n",
            "    image: nginx:1\n    user: root\n".to_owned(),
            "added: services.web.user (in clear)",
        ),
        (&(line(&good, "      B:") + "\n"), String::new(), "removed: services.web.environment.B"),
    ] {
        let stale = good.replace(from, &to);
        assert_ne!(stale, good);
        stage(&sandbox, "a.yml", &stale);
        let shown = untied(&sandbox, &["a.yml"]);
        assert!(shown.code == Some(5) && shown.out.contains(said), "{said}: {shown:?}");
        assert!(!shown.out.contains("canary"), "{shown:?}");
        let done = untied(&sandbox, &["--yes", "a.yml"]);
        assert_eq!(done.code, Some(0), "{done:?}");
        by_sops(&sandbox, ":a.yml", "a.yml");
        assert_eq!(line(&blob(&sandbox, ":a.yml"), "      A:"), line(&good, "      A:"));
    }
    // The same in the work tree, where it opens.
    sandbox.sh("lab", "git reset -q --hard");
    sandbox.write("lab/a.yml", good.replace("nginx:1", "nginx:9"));
    assert_eq!(sandbox.run("lab", &["git", "add", "a.yml"]).code, Some(128));
    let done = untied(&sandbox, &["--yes"]);
    assert!(done.code == Some(0) && done.out.contains("a.yml in the work tree, since"), "{done:?}");
    assert!(sandbox.read("lab/a.yml").contains(&format!(
        "nginx:9\n    list:\n      - one\n      - two\n    environment:\n      # {CANARY}"
    )));
    sandbox.sh("lab", "git add a.yml; git commit -qm bot");
    by_sops(&sandbox, "HEAD:a.yml", "a.yml");
    // The rule and the readers are named too.
    let other = sandbox.ok("lab", &["hlx", "keys", "generate", "-o", "../other.key"]);
    let stale = good
        .replace("nginx:1", "nginx:3")
        .replace("recipient: age1", &format!("recipient: {}\n          x: age1", other.trim()));
    stage(&sandbox, "a.yml", &stale);
    let shown = untied(&sandbox, &["a.yml"]);
    assert!(
        shown.out.contains(&format!("new reader: {}", other.trim()))
            && shown.out.contains("no reader any more: age1"),
        "{shown:?}"
    );
}

#[test]
fn what_a_merged_commit_vouches_for_is_sealed_again_unasked() {
    let sandbox = Sandbox::new();
    sandbox.lab();
    sandbox.write("lab/.env", format!("A=1\nB=2\nC={CANARY}\n"));
    sandbox.sh("lab", "git add .env; git commit -qm base; git branch side; sed -i s/A=1/A=10/ .env; git commit -qam a; git switch -q side; sed -i s/B=2/B=20/ .env; git commit -qam b; git switch -q app; git merge -q --no-commit -s ours side");
    let (ours, theirs) = (blob(&sandbox, "app:.env"), blob(&sandbox, "side:.env"));
    // As a web page merges: line by line, one of the two MACs.
    let mixed = ours.replace(&line(&ours, "B="), &line(&theirs, "B="));
    stage(&sandbox, ".env", &mixed);
    let commit = sandbox.run("lab", &["git", "commit", "-qm", "merged"]);
    assert!(commit.code == Some(0) && commit.err.contains("sealed again"), "{commit:?}");
    assert_eq!(by_sops(&sandbox, "HEAD:.env", "x.env"), format!("A=10\nB=20\nC={CANARY}\n"));
    // Without the merge, the older value has nobody who vouches for it.
    sandbox.sh("lab", "rm .env; git checkout -q .env");
    let back = blob(&sandbox, "HEAD:.env").replace(&line(&theirs, "B="), &line(&ours, "B="));
    stage(&sandbox, ".env", &back);
    let refused = sandbox.run("lab", &["git", "commit", "-qm", "back"]);
    assert!(refused.code == Some(1) && refused.err.contains("`B` is neither in"), "{refused:?}");
}
