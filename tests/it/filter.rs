//! The filter under real git: what owners and keyless clones see, and what git stores.

use crate::sandbox::{CANARY, Sandbox};

#[test]
fn ciphertext_is_stable_and_no_object_holds_plaintext() {
    let sandbox = Sandbox::new();
    sandbox.lab();
    sandbox.write("lab/.env", format!("A={CANARY}\n#{CANARY}\n\nB=x # {CANARY}\n"));
    sandbox.sh("lab", "git add .env; git commit -qm one; git ls-files -s >../one");
    sandbox.sh("lab", "sleep 1; touch .env; git status --porcelain >../status; git add .env; git ls-files -s | cmp - ../one");
    assert_eq!(sandbox.read("status"), "");
    sandbox.sh("lab", "git gc -q; touch .env; git add .env; git ls-files -s | cmp - ../one");
    sandbox.sh("lab", "git rm -q --cached .env; git add .env; git ls-files -s | cmp - ../one");
    sandbox.sh("lab", "git switch -q main; git switch -q app");
    assert_eq!(sandbox.ok("lab", &["git", "status", "--porcelain"]), "");
    assert!(sandbox.read("lab/.env").contains(CANARY));
    let shown = sandbox.ok("lab", &["git", "log", "-p", "-1"]);
    assert!(shown.contains(&format!("+A={CANARY}")), "{shown}");
    sandbox.no_canary_in_objects("lab");
    // A fresh clone of the same owner: init opens it.
    sandbox.ok(".", &["git", "clone", "-q", "-b", "app", "lab", "again"]);
    assert!(!sandbox.read("again/.env").contains(CANARY));
    sandbox.ok("again", &["hlx", "init"]);
    assert!(sandbox.read("again/.env").contains(CANARY));
    assert_eq!(sandbox.ok("again", &["git", "status", "--porcelain"]), "");
    sandbox.ok("again", &["hlx", "init"]);
}

#[test]
fn without_a_key_clones_work_and_new_secrets_are_sealed() {
    let sandbox = Sandbox::new();
    sandbox.lab();
    sandbox.write("lab/.env", format!("A={CANARY}\n"));
    sandbox.sh("lab", "git add .env; git commit -qm one; mv ../home/.config ../home/away");
    let clone = sandbox.run(".", &["git", "clone", "-q", "-b", "app", "lab", "guest"]);
    assert_eq!(clone.code, Some(0), "{}", clone.err);
    sandbox.ok("guest", &["hlx", "init", "--no-key"]);
    sandbox.sh("guest", "rm .env");
    let checkout = sandbox.run("guest", &["git", "checkout", "--", ".env"]);
    assert_eq!(checkout.code, Some(0), "{}", checkout.err);
    assert!(checkout.err.contains("stays encrypted: no key of yours opens it"), "{}", checkout.err);
    assert_eq!(sandbox.ok("guest", &["git", "status", "--porcelain"]), "");
    // A new secret is sealed for the public recipients, and stays clean when touched.
    sandbox.write("guest/new.env", format!("NEW={CANARY}\n"));
    sandbox.sh("guest", "git add new.env; git commit -qm new; sleep 1; touch new.env");
    assert_eq!(sandbox.ok("guest", &["git", "status", "--porcelain"]), "");
    sandbox.no_canary_in_objects("guest");
    // A change to a sealed file is refused.
    sandbox.write("guest/.env", "A=other\n");
    let refused = sandbox.run("guest", &["git", "add", ".env"]);
    assert_eq!(refused.code, Some(128));
    assert!(refused.err.contains("no key of yours opens the version that git has"), "{}", refused.err);
    assert!(refused.err.contains("cannot tell whether it changed"), "{}", refused.err);
    assert!(refused.err.contains("hint: copy it away first"), "{}", refused.err);
    // With the key again, the owner reads the new secret.
    sandbox.sh(".", "mv home/away home/.config");
    sandbox.sh("guest", "git checkout -q -f -- .env; hlx unlock; rm new.env; git checkout -- new.env");
    assert!(sandbox.read("guest/.env").contains(CANARY) && sandbox.read("guest/new.env").contains(CANARY));
}

/// How a lab is broken before a file is added, the file, and what is said of it.
type Case = (Box<dyn Fn(&Sandbox)>, &'static str, &'static str);

const KEY: &str = "age1xk7yh7phvy5fcapfuzwvhrr8hehh35p0zyrk4hur70yge458ayxq6dm0nj";

fn config(rule: &str, message: &'static str) -> Case {
    let text = rule.replace("KEY", KEY);
    (Box::new(move |sandbox| sandbox.write("lab/.sops.yaml", &text)), "new.env", message)
}

fn yaml(text: &'static str, message: &'static str) -> Case {
    let breaks = move |sandbox: &Sandbox| {
        sandbox.sh("lab", "echo '*.yml filter=hlx -text' >>.gitattributes");
        sandbox.write("lab/new.yml", text);
    };
    (Box::new(breaks), "new.yml", message)
}

fn shell(line: &'static str, message: &'static str) -> Case {
    (Box::new(move |sandbox| drop(sandbox.sh("lab", line))), "new.env", message)
}

fn broken_configs() -> Vec<Case> {
    vec![
        config("creation_rules: [", "`.sops.yaml`: line 2: not valid"),
        config(
            "creation_rules:\n  - path_regex: nothing$\n    age: KEY\n",
            "no creation rule matches `new.env`",
        ),
        config("creation_rules:\n  - path_regex: 2024\n    age: KEY\n", "`path_regex` must be a text"),
        config("creation_rules:\n  - age: x\n", "no recipient"),
        config("creation_rules:\n  - encrypted_regex: (\n    age: KEY\n", "no valid regular expression"),
        config("creation_rules:\n  - path_regex: env$\n", "names no age recipient"),
        config(
            "creation_rules:\n  - encrypted_regex: ^nowhere$\n    age: KEY\n",
            "matches no key, so that nothing would be encrypted",
        ),
        shell(
            "git rm -q --cached .sops.yaml; rm .sops.yaml; git commit -qm gone",
            "there is no `.sops.yaml`",
        ),
        (
            Box::new(|sandbox| {
                drop(sandbox.sh("lab", "echo '*.yaml filter=hlx -text' >>.gitattributes; touch .sops.yaml"))
            }),
            ".sops.yaml",
            "must be able to read it without a key",
        ),
        shell(
            "echo 'new.env filter=hlx text' >>.gitattributes",
            "the attribute `text` would change the file",
        ),
    ]
}

fn broken_yaml() -> Vec<Case> {
    vec![
        yaml("a: 1\n b: [x\n", "line 2, column"),
        yaml("a: canary-swordfish-7f3a9c\n1: x\n", "line 2, column 1: this key is no string"),
        yaml("- canary-swordfish-7f3a9c\n", "top level of the file must be a mapping"),
        yaml(
            "x: &x {k: canary-swordfish-7f3a9c}\ny_unencrypted: *x\n",
            "line 2: the alias would show `y_unencrypted.k` in clear",
        ),
        yaml("{a: canary-swordfish-7f3a9c, b: }\n", "write the top level as lines"),
    ]
}

#[test]
fn git_add_never_lets_plaintext_through() {
    for (breaks, file, message) in broken_configs().into_iter().chain(broken_yaml()) {
        let sandbox = Sandbox::new();
        sandbox.lab();
        sandbox.write("lab/new.env", format!("A={CANARY}\n"));
        breaks(&sandbox);
        let refused = sandbox.run("lab", &["git", "add", file]);
        assert_eq!(refused.code, Some(128), "{message}: {}", refused.err);
        assert!(refused.err.contains(message) && refused.err.contains(file), "{message}: {}", refused.err);
        assert!(refused.err.contains("hlx: hint: "), "{message}: {}", refused.err);
        assert!(!refused.err.contains("canary"), "a value in the message: {}", refused.err);
        sandbox.no_canary_in_objects("lab");
        assert_eq!(
            sandbox.ok("lab", &["git", "diff", "--cached", "--name-only", "--", file]),
            "",
            "{message}"
        );
    }
}

#[test]
fn a_file_that_was_tampered_with_stays_sealed_and_cannot_be_committed() {
    let sandbox = Sandbox::new();
    sandbox.lab();
    sandbox.write("lab/.env", format!("A={CANARY}\nB=x\n"));
    sandbox.sh("lab", "git add .env; git commit -qm one; git show HEAD:.env | sed '/^B=/d' >../tampered");
    // Someone pushes it: checkout works, the file stays sealed, and it is said why.
    sandbox.sh(".", "git clone -q -b app lab evil; cp tampered evil/.env; git -C evil commit -qam evil");
    sandbox.sh("lab", "git pull -q ../evil app; rm .env");
    let checkout = sandbox.run("lab", &["git", "checkout", "--", ".env"]);
    assert_eq!(checkout.code, Some(0));
    assert!(checkout.err.contains("the MAC does not fit"), "{}", checkout.err);
    assert!(sandbox.read("lab/.env").contains("sops_mac="));
    assert_eq!(sandbox.ok("lab", &["git", "status", "--porcelain"]), "");
    // One's own tampered ciphertext is not taken.
    sandbox.sh("lab", "git reset -q --hard HEAD~1; cp ../tampered .env");
    let refused = sandbox.run("lab", &["git", "add", ".env"]);
    assert_eq!(refused.code, Some(128), "{}", refused.err);
    assert!(refused.err.contains("the MAC does not fit"), "{}", refused.err);
}

#[test]
fn one_shot_filters_behave_like_the_process() {
    let sandbox = Sandbox::new();
    sandbox.lab();
    sandbox.write("lab/.env", format!("A={CANARY}\n"));
    sandbox.sh("lab", "git add .env; git config --unset filter.hlx.process; touch .env; git add .env; git commit -qm x; rm .env; git checkout -- .env");
    assert_eq!(sandbox.read("lab/.env"), format!("A={CANARY}\n"));
    assert_eq!(sandbox.ok("lab", &["git", "status", "--porcelain"]), "");
}

#[test]
fn merges_of_different_values_are_silent_and_conflicts_are_readable() {
    let sandbox = Sandbox::new();
    sandbox.lab();
    sandbox.write("lab/.env", "A=1\nB=2\nC=3\nD=4\nE=5\n");
    sandbox.sh("lab", "git add .env; git commit -qm base; git branch side; sed -i s/A=1/A=10/ .env; git commit -qam ours; git switch -q side; sed -i s/E=5/E=50/ .env; git commit -qam theirs; git switch -q app; git merge -q -m merge side");
    assert_eq!(sandbox.read("lab/.env"), "A=10\nB=2\nC=3\nD=4\nE=50\n");
    assert_eq!(sandbox.ok("lab", &["git", "status", "--porcelain"]), "");
    sandbox.sh("lab", "git switch -q side; sed -i s/A=1/A=canary-swordfish-7f3a9c/ .env; git commit -qam theirs2; git switch -q app");
    let merge = sandbox.run("lab", &["git", "merge", "-q", "side"]);
    assert_eq!(merge.code, Some(1), "{}", merge.err);
    let conflict = sandbox.read("lab/.env");
    assert!(conflict.contains("<<<<<<<") && conflict.contains(&format!("A={CANARY}")), "{conflict}");
    sandbox.no_canary_in_objects("lab");
    // Markers cannot be committed by mistake; resolved, all is well.
    sandbox
        .sh("lab", "printf 'A=11\\nB=2\\nC=3\\nD=4\\nE=50\\n' >.env; git add .env; git commit -qm resolved");
    assert!(sandbox.ok("lab", &["git", "show", "--no-textconv", "HEAD:.env"]).contains("sops_mac="));
    assert_eq!(sandbox.ok("lab", &["git", "status", "--porcelain"]), "");
}

#[test]
fn an_empty_file_stays_empty_and_a_filled_one_is_sealed() {
    let sandbox = Sandbox::new();
    sandbox.lab();
    sandbox.sh("lab", ": >.env; git add .env; git commit -qm empty");
    assert_eq!(sandbox.ok("lab", &["git", "cat-file", "-s", ":.env"]).trim(), "0");
    sandbox.write("lab/.env", format!("A={CANARY}\n"));
    sandbox.sh("lab", "git add .env; git commit -qm full");
    sandbox.no_canary_in_objects("lab");
}

#[test]
fn no_part_of_a_dotenv_value_is_taken_for_a_key() {
    let sandbox = Sandbox::new();
    sandbox.lab();
    let multi = format!("WG=\"# {CANARY}\n{CANARY}=\nend\"\n  # {CANARY}=1\n");
    sandbox.write("lab/.env", &multi);
    sandbox.sh("lab", "git add .env; git commit -qm multi; git show --no-textconv HEAD:.env >../sealed.env");
    sandbox.no_canary_in_objects("lab");
    sandbox.sh("lab", "rm .env; git checkout -- .env");
    assert_eq!(sandbox.read("lab/.env"), multi);
    let sops = sandbox.sops(".", &["-d", "sealed.env"]);
    assert!(sops.out.starts_with(&format!("WG=\"# {CANARY}\\n{CANARY}=\\nend\"\n")), "{sops:?}");
    sandbox.write("lab/.env", format!("A=1\nTOKEN: {CANARY}=\n"));
    let refused = sandbox.run("lab", &["git", "add", ".env"]);
    assert!(
        refused.code == Some(128) && refused.err.contains("line 2, column 1: neither `KEY=value`"),
        "{refused:?}"
    );
    assert!(!refused.err.contains("canary"), "{refused:?}");
}

#[test]
fn what_only_looks_sealed_is_not_let_through() {
    let sandbox = Sandbox::new();
    sandbox.lab();
    sandbox.write("lab/.env", "A=1\n");
    sandbox.sh("lab", "git add .env; git commit -qm one; git show --no-textconv HEAD:.env >../sealed");
    for line in [format!("#PASSWORD={CANARY}"), format!("ODD {CANARY}"), format!("NEW={CANARY}")] {
        sandbox.sh("lab", &format!("cp ../sealed .env; echo '{line}' >>.env"));
        let refused = sandbox.run("lab", &["git", "add", ".env"]);
        assert_eq!(refused.code, Some(128), "{line}: {}", refused.err);
        assert!(!refused.err.contains("canary"), "{}", refused.err);
    }
    // Sealed by stock sops with a rule that seals nothing.
    sandbox.sh("lab", "git checkout -q -f -- .env; echo 's.yml filter=hlx -text' >>.gitattributes");
    sandbox.write("lab/s.yml", format!("password: {CANARY}\n"));
    let done = sandbox.sops("lab", &["-e", "--encrypted-regex", "^nothing$", "-i", "s.yml"]);
    assert_eq!(done.code, Some(0), "{}", done.err);
    let refused = sandbox.run("lab", &["git", "add", "s.yml"]);
    assert!(refused.code == Some(128) && refused.err.contains("matches no key"), "{refused:?}");
    // The same past the filter is caught by the hook.
    sandbox.sh("lab", "blob=$(git hash-object -w --no-filters s.yml); git add .gitattributes; git update-index --add --cacheinfo 100644,$blob,s.yml");
    let refused = sandbox.run("lab", &["git", "commit", "-qm", "oops"]);
    assert!(refused.code == Some(1) && refused.err.contains("s.yml: plaintext in git"), "{refused:?}");
}

#[test]
fn odd_names_are_files_like_any_other() {
    let sandbox = Sandbox::new();
    sandbox.lab();
    for name in ["-x.env", ":!x.env", "a b.env", "é.env"] {
        sandbox.write(&format!("lab/{name}"), format!("A={CANARY}\n"));
    }
    sandbox.write("lab/notes.txt", "before\n");
    sandbox.sh("lab", "git add -A; git commit -qm odd");
    sandbox.no_canary_in_objects("lab");
    assert!(sandbox.ok("lab", &["git", "log", "-p", "-1"]).contains(&format!("+A={CANARY}")));
    // Opening them in a clone touches nothing else.
    sandbox.sh(".", "git clone -q -b app lab again; echo mine >again/notes.txt; cd again; hlx init");
    assert_eq!(sandbox.read("again/notes.txt"), "mine\n");
    assert_eq!(sandbox.read("again/:!x.env"), format!("A={CANARY}\n"));
    assert_eq!(sandbox.ok("again", &["git", "status", "--porcelain"]), " M notes.txt\n");
}

/// A git command that meets a conflict in `.env`, and how it goes on when that is resolved.
const CONFLICTS: [(&str, &str); 5] = [
    ("git merge -q side", "git commit -qm merged"),
    ("git cherry-pick side~2..side", "git -c core.editor=true cherry-pick --continue"),
    ("git switch -q side; git rebase -q app", "git -c core.editor=true rebase --continue"),
    ("git switch -q side; git rebase -q --apply app", "git -c core.editor=true rebase --continue"),
    (
        "git read-tree -u --reset side; git reset -q --soft app; git stash -q; git switch -qC app app~1; sed -i s/A=.*/A=now/ .env; git commit -qam now; git stash pop -q",
        "git commit -qm popped; git stash drop -q",
    ),
];

#[test]
fn every_command_that_merges_shows_conflicts_in_plaintext_and_goes_on() {
    for (command, goes_on) in CONFLICTS {
        let sandbox = Sandbox::new();
        sandbox.lab();
        let edit = |letter: &str, value: &str, branch: &str| {
            let line = format!(
                "git switch -q {branch}; sed -i 's/^{letter}=.*/{letter}={value}/' .env; git commit -qam {letter}"
            );
            sandbox.sh("lab", &line);
        };
        sandbox.write("lab/.env", "A=1\n#\n#\n#\nB=2\n#\n#\n#\nC=3\n");
        sandbox.sh("lab", "git add .env; git commit -qm base; git branch side");
        edit("C", "app", "app");
        edit("A", "app", "app");
        // Picks without a conflict come first: the filter meets an index that has moved.
        edit("B", "side", "side");
        edit("A", CANARY, "side");
        let stopped = sandbox.run("lab", &["sh", "-euc", &format!("git switch -q app; {command}")]);
        assert_eq!(stopped.code, Some(1), "{command}: {}", stopped.err);
        let conflict = sandbox.read("lab/.env");
        assert!(
            conflict.contains("<<<<<<<") && conflict.contains(CANARY),
            "{command}: {conflict}{stopped:?}"
        );
        assert!(sandbox.ok("lab", &["git", "status", "--porcelain"]).contains("UU .env"), "{command}");
        sandbox.no_canary_in_objects("lab");
        sandbox.write("lab/.env", format!("A={CANARY}-resolved\n#\n#\n#\nB=side\n#\n#\n#\nC=app\n"));
        sandbox.sh("lab", &format!("git add .env; {goes_on}"));
        assert_eq!(sandbox.ok("lab", &["git", "status", "--porcelain"]), "", "{command}");
        assert!(!sandbox.path("lab/.git/rebase-merge").exists(), "{command}");
        assert!(sandbox.ok("lab", &["git", "show", "--no-textconv", "HEAD:.env"]).contains("\nsops_mac="));
        sandbox.sh("lab", "rm .env; git checkout -q -- .env");
        assert!(sandbox.read("lab/.env").starts_with(&format!("A={CANARY}-resolved\n")), "{command}");
        sandbox.no_canary_in_objects("lab");
    }
}

#[test]
fn a_path_that_loses_its_protection_is_not_committed_in_clear() {
    let sandbox = Sandbox::new();
    sandbox.lab();
    sandbox.write("lab/.env", format!("A={CANARY}\n"));
    sandbox.sh("lab", "git add -A; git commit -qm secrets");
    // Someone else's push takes the attributes away.
    sandbox.sh("lab", "echo '*.env -filter' >>.gitattributes; git add .gitattributes; git commit -qm sly");
    let status = sandbox.run("lab", &["hlx", "status"]);
    assert!(status.err.contains(".env is encrypted in git, but nothing protects it"), "{}", status.err);
    sandbox.sh("lab", "echo B=new >>.env");
    let refused = sandbox.run("lab", &["git", "commit", "-qam", "new"]);
    assert_eq!(refused.code, Some(1), "{}", refused.err);
    assert!(refused.err.contains(".env: it was encrypted, and is clear now"), "{}", refused.err);
    assert!(
        refused.err.contains("hint: `hlx track .env`") && !refused.err.contains(CANARY),
        "{}",
        refused.err
    );
    assert_ne!(sandbox.run("lab", &["hlx", "lock"]).code, Some(0));
}

#[test]
fn a_rule_that_was_weakened_in_the_file_leaves_no_new_value_clear() {
    let sandbox = Sandbox::new();
    sandbox.lab();
    sandbox.write("lab/.env", "A=1\n");
    sandbox.sh("lab", "git add -A; git commit -qm secrets; git show :.env >../sealed");
    // The rule is outside of the MAC.
    let weak = sandbox
        .read("sealed")
        .replace("sops_unencrypted_suffix=_unencrypted", "sops_unencrypted_suffix=_PASSWORD");
    sandbox.write("weak", weak);
    sandbox.sh("lab", "git update-index --cacheinfo 100644,$(git hash-object -w --no-filters ../weak),.env; git commit -qm sly; rm .env; git checkout -q -- .env");
    assert_eq!(sandbox.read("lab/.env"), "A=1\n");
    sandbox.write("lab/.env", "A=2\n");
    sandbox.sh("lab", "git add .env");
    sandbox.write("lab/.env", format!("A=2\nDB_PASSWORD={CANARY}\n"));
    let refused = sandbox.run("lab", &["git", "add", ".env"]);
    assert_eq!(refused.code, Some(128), "{}", refused.err);
    let reason = "`DB_PASSWORD` would stay in clear by the file's own rule `unencrypted_suffix: _PASSWORD`";
    assert!(refused.err.contains(reason) && refused.err.contains("hint: "), "{}", refused.err);
    sandbox.no_canary_in_objects("lab");
}

#[test]
fn a_file_that_is_wrong_and_stops_git_comes_with_the_way_out() {
    let sandbox = Sandbox::new();
    sandbox.lab();
    sandbox.sh("lab", "printf 'A=1\\nBC=2\\n' >'.env.my own'; git add -A; git commit -qm one; printf 'A=1\\nBC 2\\n' >'.env.my own'");
    let stopped = sandbox.run("lab", &["git", "status"]);
    let way_out = "rm '.env.my own' && git checkout -- '.env.my own'";
    assert!(stopped.code == Some(128) && stopped.err.contains(&format!("`{way_out}`")), "{stopped:?}");
    sandbox.sh("lab", way_out);
    assert_eq!(sandbox.ok("lab", &["git", "status", "--porcelain"]), "");
}
