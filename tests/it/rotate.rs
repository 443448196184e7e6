//! Rotation as its user meets it: who can read, and under which data keys, on many branches at once.

use std::collections::BTreeSet;
use std::fs;

use crate::sandbox::{CANARY, Done, Sandbox};

/// A key of the sandbox: its public form. The private one is in `NAME.key`.
fn key(sandbox: &Sandbox, name: &str) -> String {
    let out = format!("{name}.key");
    sandbox.ok(".", &["hlx", "keys", "generate", "-o", &out]).trim().to_owned()
}

/// The own public key.
fn own(sandbox: &Sandbox) -> String {
    let listed = sandbox.ok("lab", &["hlx", "keys", "list"]);
    listed.split_whitespace().next().unwrap().to_owned()
}

/// Two services in all formats, which a laptop and a server read; the server reads only one of them.
fn lab(sandbox: &Sandbox) -> (String, String) {
    sandbox.lab();
    let (laptop, nas) = (key(sandbox, "laptop"), key(sandbox, "nas"));
    sandbox.write("lab/.env", format!("# c\nA={CANARY}\nB=\"two\"\n"));
    sandbox.write(
        "lab/conf/app.yml",
        format!("# c\npassword: {CANARY} # behind\nlist: [a, \"b\"]\nplain_unencrypted: 1\n"),
    );
    sandbox.write("lab/conf/app.json", format!("{{\"p\": \"{CANARY}\", \"n\": [1, 2.50]}}"));
    sandbox.write("lab/conf/app.ini", format!("; c\n[s]\np = {CANARY}\n"));
    sandbox.write("lab/key.pem", format!("-----BEGIN\n{CANARY}\n"));
    sandbox.ok("lab", &["hlx", "track", "conf/app.yml", "conf/app.json", "conf/app.ini"]);
    sandbox.ok("lab", &["hlx", "track", "key.pem", "--whole"]);
    sandbox.sh("lab", "git add -A; git commit -qm files; hlx new other; git switch -q other");
    sandbox.write("lab/.env", format!("O={CANARY}\n"));
    sandbox.sh("lab", "git commit -qam other; git switch -q app");
    sandbox.ok("lab", &["hlx", "recipients", "add", &laptop, "--name", "laptop", "--all"]);
    sandbox.ok("lab", &["hlx", "recipients", "add", &nas, "--name", "nas", "--branch", "app"]);
    (laptop, nas)
}

/// Every file of a branch, as git has it.
fn blobs(sandbox: &Sandbox, branch: &str) -> Vec<(String, String)> {
    let names = sandbox.ok("lab", &["git", "ls-tree", "-r", "--name-only", branch]);
    let blob =
        |name: &str| (name.to_owned(), sandbox.ok("lab", &["git", "show", &format!("{branch}:{name}")]));
    names.lines().map(blob).collect()
}

fn is_sealed(text: &str) -> bool {
    text.contains("sops") && text.contains("ENC[") && !text.contains("creation_rules")
}

/// What stock sops says of a blob with just one key.
fn sops(sandbox: &Sandbox, (name, text): &(String, String), key: &str) -> Done {
    let file = format!("sealed/{}", name.rsplit('/').next().unwrap());
    sandbox.write(&file, text);
    let path = sandbox.path(key).display().to_string();
    // It looks below the home too.
    sandbox.sops_in(".", &["-d", &file], &[("SOPS_AGE_KEY_FILE", &path), ("HOME", "/nowhere")])
}

#[track_caller]
fn opens(sandbox: &Sandbox, branch: &str, key: &str, expected: bool) {
    let mut sealed = 0;
    for blob in blobs(sandbox, branch).iter().filter(|(_, text)| is_sealed(text)) {
        sealed += 1;
        let done = sops(sandbox, blob, key);
        assert_eq!(done.code == Some(0), expected, "{branch}:{} {key} {done:?}", blob.0);
        assert!(!expected || done.out.contains(CANARY));
    }
    assert!(sealed > 0);
}

/// A text without its ciphertext and metadata.
fn clear(name: &str, text: &str) -> String {
    let text = regex::Regex::new(r"ENC\[[^\]]*\]").unwrap().replace_all(text, "ENC").into_owned();
    let cut = |mark: &str| text.split(mark).next().unwrap().to_owned();
    match name.rsplit('.').next().unwrap() {
        _ if text.contains("\t\"sops\": {") => cut("\"sops\""),
        "env" | "local" => {
            text.lines().filter(|line| !line.starts_with("sops_")).collect::<Vec<_>>().join("\n")
        }
        "yml" | "yaml" => cut("\nsops:"),
        "ini" => cut("[sops]"),
        other => panic!("{other}: {text}"),
    }
}

fn ciphertexts(text: &str) -> BTreeSet<&str> {
    regex::Regex::new(r"ENC\[[^\]]*\]").unwrap().find_iter(text).map(|found| found.as_str()).collect()
}

const OWN: &str = "home/.config/sops/age/keys.txt";

#[test]
fn a_removed_key_opens_nothing_and_nothing_but_ciphertext_changes() {
    let sandbox = Sandbox::new();
    let (laptop, _) = lab(&sandbox);
    let before: Vec<_> =
        ["app", "other"].map(|branch| blobs(&sandbox, branch)).into_iter().flatten().collect();
    let plain = fs::read(sandbox.path("lab/conf/app.yml")).unwrap();
    opens(&sandbox, "other", "laptop.key", true);
    let removed = sandbox.run("lab", &["hlx", "recipients", "remove", &laptop, "--all"]);
    assert!(removed.code == Some(0) && removed.err.contains("hlx exposure"), "{removed:?}");
    for (branch, key, expected) in [
        ("app", "laptop.key", false),
        ("other", "laptop.key", false),
        ("app", "nas.key", true),
        ("other", "nas.key", false),
        ("app", OWN, true),
        ("other", OWN, true),
    ] {
        opens(&sandbox, branch, key, expected);
    }
    let after: Vec<_> =
        ["app", "other"].map(|branch| blobs(&sandbox, branch)).into_iter().flatten().collect();
    for ((name, old), (again, new)) in before.iter().zip(&after) {
        assert_eq!(name, again);
        match (is_sealed(old), name.as_str()) {
            (true, _) => {
                assert!(old != new && !new.contains(&laptop), "{name}");
                assert_eq!(clear(name, old), clear(name, new));
                assert!(ciphertexts(old).is_disjoint(&ciphertexts(new)), "{name} keeps ciphertext");
            }
            (false, ".sops.yaml") => {
                assert!(new.contains("# Test") && !new.contains(&laptop) && !new.contains("# laptop"))
            }
            (false, _) => assert_eq!(old, new),
        }
    }
    // The work tree followed, and shows the same bytes.
    assert_eq!(sandbox.ok("lab", &["git", "status", "--porcelain"]), "");
    assert_eq!(fs::read(sandbox.path("lab/conf/app.yml")).unwrap(), plain);
    sandbox.sh(
        "lab",
        "git switch -q other; git switch -q app; rm -r conf; git checkout -q conf; git fsck --strict",
    );
    assert_eq!(fs::read(sandbox.path("lab/conf/app.yml")).unwrap(), plain);
    assert_eq!(sandbox.ok("lab", &["git", "status", "--porcelain"]), "");
    sandbox.no_canary_in_objects("lab");
    let again = sandbox.run("lab", &["hlx", "recipients", "remove", &laptop, "--all"]);
    assert!(again.code == Some(1) && again.err.contains("none of these keys"), "{again:?}");
}

#[test]
fn a_branch_opens_with_one_unwrap_after_a_rotation() {
    let sandbox = Sandbox::new();
    lab(&sandbox);
    sandbox.ok("lab", &["hlx", "rotate", "--data-keys"]);
    let envelopes = |text: &str| -> String {
        let text = text.replace("\\n", "\n");
        let line = |line: &&str| line.trim().len() == 64;
        text.lines().filter(line).map(str::trim).collect::<Vec<_>>().join("|")
    };
    let sealed: BTreeSet<String> = blobs(&sandbox, "app")
        .iter()
        .filter(|(name, text)| is_sealed(text) && !name.ends_with(".ini"))
        .map(|(_, text)| envelopes(text))
        .collect();
    assert_eq!(sealed.len(), 1, "{sealed:#?}");
}

#[test]
fn oneself_and_the_last_reader_are_not_shut_out_by_accident() {
    let sandbox = Sandbox::new();
    let (laptop, nas) = lab(&sandbox);
    let me = own(&sandbox);
    let tip = sandbox.ok("lab", &["git", "rev-parse", "app", "other"]);
    for (words, code, message) in [
        (&["recipients", "remove", &me][..], 5, "a key of yours would be shut out"),
        (&["recipients", "remove", &me, &laptop, &nas, "--yes"], 5, "nobody would be left"),
        (&["recipients", "remove", &me, &laptop, "--all", "--yes"], 5, "other:"),
        (&["recipients", "remove"], 2, "no key is named"),
        (&["recipients", "remove", "age1x"], 2, "no recipient"),
        (&["recipients", "remove", &nas, "--branch", "other"], 1, "none of these keys"),
        (&["recipients", "add", &nas, "--branch", "main"], 1, "no encrypted files"),
        (&["recipients", "add", &nas, "--branch", "gone"], 2, "no branch `gone`"),
    ] {
        let done = sandbox.run("lab", &[&["hlx"], words].concat());
        assert!(done.code == Some(code) && done.err.contains(message), "{words:?} {done:?}");
        assert_eq!(sandbox.ok("lab", &["git", "rev-parse", "app", "other"]), tip);
    }
    // By its name, unless several have it.
    sandbox.sh("lab", "hlx recipients add $(hlx keys generate -o ../x.key) --name nas --branch other");
    let refused = sandbox.run("lab", &["hlx", "recipients", "remove", "nas"]);
    assert!(refused.code == Some(2) && refused.err.contains("name of several keys"), "{refused:?}");
    sandbox.ok("lab", &["hlx", "recipients", "remove", "laptop"]);
    opens(&sandbox, "app", "laptop.key", false);
    opens(&sandbox, "other", "laptop.key", true);
    sandbox.ok("lab", &["hlx", "recipients", "remove", &me, "--yes"]);
    opens(&sandbox, "app", OWN, false);
    opens(&sandbox, "app", "nas.key", true);
}

#[test]
fn rotate_does_what_it_is_told_and_shows_it_before() {
    let sandbox = Sandbox::new();
    let (_, nas) = lab(&sandbox);
    let tips = || sandbox.ok("lab", &["git", "rev-parse", "main", "app", "other"]);
    let before = tips();
    let plan = sandbox.ok("lab", &["hlx", "rotate", "--all", "--dry-run", "--json"]);
    let plan: serde_json::Value = serde_json::from_str(&plan).unwrap();
    assert_eq!((&plan["covered"], &plan["branches"][0]["branch"]), (&3.into(), &"app".into()), "{plan}");
    assert_eq!(plan["branches"][0]["files"].as_array().unwrap().len(), 5);
    assert_eq!(tips(), before);
    // Only wrapping: nothing to do while all is as configured.
    let nothing = sandbox.run("lab", &["hlx", "rotate", "--recipients", "--all"]);
    assert!(nothing.code == Some(0) && nothing.err.contains("0 with something to change"), "{nothing:?}");
    // Someone wrote a key into `.sops.yaml`: it is not let in unseen.
    sandbox.sh(
        "lab",
        &format!(
            "sed -i 's/^      - .*# nas/&\\n      - {}/' .sops.yaml; git commit -qam x",
            key(&sandbox, "third")
        ),
    );
    let refused = sandbox.run("lab", &["hlx", "rotate"]);
    assert!(refused.code == Some(5) && refused.err.contains("would let in keys"), "{refused:?}");
    opens(&sandbox, "app", "third.key", false);
    let before = blobs(&sandbox, "app");
    sandbox.ok("lab", &["hlx", "rotate", "--recipients", "--yes"]);
    opens(&sandbox, "app", "third.key", true);
    for ((name, old), (_, new)) in before.iter().zip(blobs(&sandbox, "app")) {
        assert!(
            clear(".env", "") == clear(".env", "")
                && (!is_sealed(old) || clear(name, old) == clear(name, &new))
        );
        let values = |text: &str| text.split("sops").next().unwrap().to_owned();
        assert_eq!(values(old), values(&new), "{name}: only metadata change");
    }
    // A key that is taken out of `.sops.yaml` by hand goes with the next rotation.
    sandbox.sh("lab", &format!("sed -i '/{nas}/d' .sops.yaml; git commit -qam y; hlx rotate"));
    opens(&sandbox, "app", "nas.key", false);
    opens(&sandbox, "app", OWN, true);
    // Signed, where git signs.
    sandbox.sh("lab", "ssh-keygen -q -t ed25519 -N '' -f ../sign; git config gpg.format ssh; git config user.signingKey ../sign.pub; git config commit.gpgSign true; hlx rotate --data-keys --all");
    for branch in ["app", "other"] {
        assert!(sandbox.ok("lab", &["git", "cat-file", "commit", branch]).contains("BEGIN SSH SIGNATURE"));
    }
}

#[test]
fn work_trees_follow_or_stop_it_beforehand() {
    let sandbox = Sandbox::new();
    lab(&sandbox);
    sandbox.sh("lab", "git worktree add -q ../linked other");
    sandbox.write("linked/.env", "O=mine\n");
    let tips = || sandbox.ok("lab", &["git", "rev-parse", "app", "other"]);
    let before = tips();
    let refused = sandbox.run("lab", &["hlx", "rotate", "--all"]);
    assert!(refused.code == Some(1) && refused.err.contains("not committed"), "{refused:?}");
    assert_eq!(tips(), before);
    sandbox.write("linked/untracked", "x");
    sandbox.sh("linked", "git commit -qam mine");
    sandbox.sh("lab", "hlx lock; hlx rotate --all");
    for (tree, status) in [("lab", ""), ("linked", "?? untracked\n")] {
        assert_eq!(sandbox.ok(tree, &["git", "status", "--porcelain"]), status);
    }
    assert_eq!(sandbox.read("linked/.env"), "O=mine\n");
    assert!(sandbox.read("lab/.env").contains("ENC["));
    sandbox.sh("lab", "hlx unlock");
    assert!(sandbox.read("lab/.env").contains(CANARY));
    // In the middle of a rebase the branch is git's.
    sandbox.sh(
        "lab",
        "git commit -q --allow-empty -m z; git -c sequence.editor='sed -i 1ibreak' rebase -qi HEAD~2",
    );
    let refused = sandbox.run("lab", &["hlx", "rotate", "--branch", "app"]);
    assert!(refused.code == Some(1) && refused.err.contains("is being rebased"), "{refused:?}");
}

#[test]
fn branches_of_remotes_are_covered_and_those_behind_stop_it() {
    let sandbox = Sandbox::new();
    let (laptop, _) = lab(&sandbox);
    sandbox
        .sh("lab", "git clone -q --bare . ../origin.git; git remote add origin ../origin.git; git fetch -q");
    sandbox.sh(".", "git clone -q origin.git colleague; cd colleague; hlx init 2>/dev/null; hlx new far; git push -q origin far app");
    sandbox.sh(
        "colleague",
        &format!("git switch -q far; hlx recipients add {laptop}; git push -q origin far; git switch -q app"),
    );
    // Behind: the colleague pushed to `app` what is not here.
    sandbox.sh("colleague", "echo x >x; git add x; git commit -qm theirs; git push -q origin app");
    let behind = sandbox.run("lab", &["hlx", "recipients", "remove", &laptop, "--all", "--push"]);
    assert!(behind.code == Some(1) && behind.err.contains("app (origin)"), "{behind:?}");
    sandbox.sh("lab", "git pull -q --ff-only origin app; git commit -q --allow-empty -m ahead");
    // `far` came from another clone.
    let waits = sandbox.run("lab", &["hlx", "recipients", "remove", &laptop, "--all", "--push"]);
    assert!(waits.code == Some(5) && waits.err.contains("accept --branch far`"), "{waits:?}");
    sandbox.ok("lab", &["hlx", "recipients", "accept", "-y", "--branch", "far"]);
    let done = sandbox.run("lab", &["hlx", "recipients", "remove", &laptop, "--all", "--push"]);
    assert!(done.code == Some(0), "{done:?}");
    assert!(done.err.contains("4 branches looked at, 3 with something to change"), "{done:?}");
    assert!(done.out.contains("far:") && done.out.contains("a local branch now"), "{done:?}");
    assert!(done.err.contains("3 branches pushed to origin"), "{done:?}");
    assert_eq!(
        sandbox.ok("lab", &["git", "rev-parse", "--abbrev-ref", "far@{upstream}"]).trim(),
        "origin/far"
    );
    for branch in ["app", "other", "far"] {
        let local = sandbox.ok("lab", &["git", "rev-parse", branch]);
        assert_eq!(sandbox.ok("origin.git", &["git", "rev-parse", branch]), local);
    }
    // What moved at the remote meanwhile is not overwritten.
    sandbox.sh("colleague", "git pull -q; git commit -q --allow-empty -m late; git push -q origin app");
    let late = sandbox.ok("origin.git", &["git", "rev-parse", "app", "other"]);
    let refused = sandbox.run("lab", &["hlx", "rotate", "--all", "--push", "--offline"]);
    assert!(
        refused.code == Some(1) && refused.err.contains("changed here, but not at origin"),
        "{refused:?}"
    );
    assert_eq!(sandbox.ok("origin.git", &["git", "rev-parse", "app", "other"]), late, "all or none");
}

/// Path, name and state of each value that a key could read.
fn states(sandbox: &Sandbox, key: &str) -> Vec<String> {
    let json = sandbox.ok("lab", &["hlx", "exposure", key, "--json"]);
    assert!(!json.contains("swordfish"));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["open_now"], &json["known_now"]), (&serde_json::json!([]), &serde_json::json!([])));
    let text = |value: &serde_json::Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let of = |value: &serde_json::Value| {
        [text(value, "path"), text(value, "name"), text(value, "state")].join(" ")
    };
    json["values"].as_array().unwrap().iter().map(of).collect()
}

#[test]
fn exposure_names_what_a_removed_key_could_read_and_what_changed_since() {
    let sandbox = Sandbox::new();
    sandbox.lab();
    let laptop = key(&sandbox, "laptop");
    let env = |text: &str| {
        sandbox.write("lab/.env", text);
        sandbox.sh("lab", "git add -A; git commit -qm env");
    };
    env("BEFORE=canary-swordfish-0\n");
    env("OTHER=canary-swordfish-0\n");
    sandbox.ok("lab", &["hlx", "rotate", "--data-keys"]);
    env("# canary-swordfish-0\nA=canary-swordfish-1\nB=canary-swordfish-2\nC=canary-swordfish-3\n");
    sandbox.ok("lab", &["hlx", "recipients", "add", &laptop, "--name", "old-laptop"]);
    sandbox.write("lab/key.pem", "canary-swordfish-4");
    sandbox.sh("lab", "hlx track key.pem; git add -A; git commit -qm pem; git tag keep");
    // Taken out of the list only: what follows is under a data key that it knows.
    sandbox.sh("lab", &format!("hlx rotate --remove {laptop} --recipients"));
    env("A=canary-swordfish-1\nB=canary-swordfish-5\nC=canary-swordfish-3\nLATE=canary-swordfish-6\n");
    let known = sandbox.run("lab", &["hlx", "exposure", &laptop]);
    assert!(known.err.contains("still sealed under a data key that it knows: app:.env"), "{known:?}");
    sandbox.sh("lab", "hlx rotate --data-keys");
    env(
        "# canary-swordfish-0\nA=canary-swordfish-7\nB=canary-swordfish-2\nLATE=canary-swordfish-8\nNEW=canary-swordfish-9\n",
    );
    let expected = [
        ".env A changed",
        ".env B unchanged",
        ".env C gone",
        ".env LATE changed",
        ".env OTHER gone",
        ".env  unchanged",
        "key.pem  unchanged",
    ];
    // Of what was there before, it knows what the data key of its time still sealed.
    assert_eq!(states(&sandbox, &laptop), expected);
    assert_eq!(states(&sandbox, "old-laptop"), expected, "by the name that it had");
    let list = sandbox.ok("lab", &["hlx", "exposure", &laptop, "--markdown"]);
    assert!(
        list.contains("## app: `.env`")
            && list.contains("- [x] `A`: changed since")
            && list.contains("- [ ] `B`")
            && list.contains("- [ ] `(its comments)`: look whether they hold a secret"),
        "{list}"
    );
    // A clone that has only the end of history says so.
    sandbox.sh(".", "git clone -q --depth 1 -b app file://$PWD/lab shallow");
    let shallow = sandbox.run("shallow", &["hlx", "exposure", &laptop]);
    assert!(
        shallow.err.contains("does not have all of history") && shallow.err.contains("never"),
        "{shallow:?}"
    );
    // Someone who cannot open the old versions still learns the names.
    sandbox.sh("lab", &format!("hlx recipients add {}", key(&sandbox, "late")));
    let path = sandbox.path("late.key").display().to_string();
    let done = sandbox.run_in(
        "lab",
        &["hlx", "exposure", &laptop],
        &[("HOME", "/nowhere"), ("HLX_IDENTITY", &path)],
    );
    assert!(
        done.out.contains("NOT KNOWN") && done.out.contains(" C ") && !done.out.contains("swordfish"),
        "{done:?}"
    );
}

#[test]
fn a_file_with_a_key_of_another_kind_is_wrapped_anew_but_gets_no_new_data_key() {
    let sandbox = Sandbox::new();
    let (laptop, _) = lab(&sandbox);
    let pgp = "sops_pgp__list_0__map_created_at=2026-01-01T00:00:00Z\nsops_pgp__list_0__map_enc=x\nsops_pgp__list_0__map_fp=F\n";
    sandbox.sh("lab", "git cat-file blob app:.env >../sealed.env");
    let with = sandbox.read("sealed.env").replace("sops_lastmodified", &format!("{pgp}sops_lastmodified"));
    sandbox.write("lab/.env", with);
    sandbox.sh("lab", "git update-index --cacheinfo 100644,$(git hash-object -w --no-filters .env),.env; git commit -qm pgp; rm .env; git checkout -q .env");
    let refused = sandbox.run("lab", &["hlx", "recipients", "remove", "laptop"]);
    assert!(
        refused.code == Some(5) && refused.err.contains("app:.env: it is sealed for a key of the kind `pgp`"),
        "{refused:?}"
    );
    sandbox.ok("lab", &["hlx", "rotate", "--remove", &laptop, "--recipients"]);
    let env = sandbox.ok("lab", &["git", "show", "app:.env"]);
    assert!(env.contains("sops_pgp__list_0__map_fp=F") && !env.contains(&laptop), "{env}");
    opens(&sandbox, "app", "laptop.key", false);
    opens(&sandbox, "app", "nas.key", true);
}

#[test]
fn readers_are_listed_as_a_table_also_of_branches_that_only_a_remote_has() {
    let sandbox = Sandbox::new();
    sandbox.lab();
    let nas = key(&sandbox, "nas");
    sandbox.sh("lab", &format!("hlx new web; hlx recipients add {nas} --name nas --branch web"));
    sandbox.sh(".", "git clone -q -b app lab clone");
    let local = sandbox.run("clone", &["hlx", "recipients", "list"]);
    assert!(local.err.contains("2 branches that only a remote has are not listed"), "{local:?}");
    assert!(local.out.contains("app (1 encrypted file)") && !local.out.contains("web"), "{local:?}");
    let table = sandbox.ok("clone", &["hlx", "recipients", "list", "--all", "--matrix"]);
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["app", "web"]);
    let row = |name: &str| rows.iter().find(|row| row[0] == name).unwrap_or_else(|| panic!("{table}"));
    assert_eq!(row("Test")[2..], ["x", "x"]);
    assert_eq!(row("nas")[2..], [".", "x"]);
    let json = sandbox.ok("clone", &["hlx", "recipients", "list", "--all", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let branches: Vec<_> = json.as_array().unwrap().iter().map(|branch| &branch["branch"]).collect();
    assert_eq!(branches, ["app", "main", "web"]);
    // By its name, as for `remove`.
    let exposed = sandbox.run("lab", &["hlx", "exposure", "nas"]);
    assert!(exposed.code == Some(0) && exposed.err.contains("nas is age1"), "{exposed:?}");
}

#[test]
fn a_server_joins_with_one_line() {
    let sandbox = Sandbox::new();
    sandbox.lab();
    sandbox.sh(".", "ssh-keygen -q -t ed25519 -N '' -f host_key");
    let join = |identity: &str, words: &[&str]| {
        let place = |name: &str| sandbox.path(name).display().to_string();
        let (identity, config) = (place(identity), place("etc/config.yaml"));
        let words = [&["hlx", "server", "join", "lab"], words].concat();
        sandbox.run_in(".", &words, &[("HLX_IDENTITY", &identity), ("HLX_CONFIG", &config)])
    };
    // What is mistyped changes nothing.
    let wrong = join("etc/identity", &["--branch", "ap"]);
    assert!(wrong.code == Some(2) && wrong.err.contains("did you mean `app`?"), "{wrong:?}");
    assert!(!sandbox.path("etc").exists());
    let asked = join("etc/identity", &[]);
    assert!(asked.code == Some(0) && asked.out.contains("--branch BRANCH"), "{asked:?}");
    assert!(asked.err.contains("in the place of BRANCH: app"), "{asked:?}");
    let top = sandbox.path("lab").canonicalize().unwrap();
    assert_eq!(sandbox.read("etc/config.yaml"), format!("repo: {}\n", top.display()));
    let again = join("etc/identity", &["--name", "my nas", "--branch", "app"]);
    assert!(
        again.out.contains(asked.out.split('"').nth(1).unwrap()) && again.out.contains("--name 'my nas'"),
        "{again:?}"
    );
    let ssh = join("host_key", &["--name", "nas", "--branch", "app"]);
    assert!(
        ssh.out.starts_with("hlx recipients add \"ssh-ed25519 ") && !ssh.err.contains("warning"),
        "{ssh:?}"
    );
    for (line, identity) in [(&again.out, "etc/identity"), (&ssh.out, "host_key")] {
        sandbox.sh("lab", line);
        let shown = sandbox.ok("lab", &["hlx", "recipients", "list", "--branch", "app"]);
        assert!(shown.contains(" nas") || shown.contains(" my nas"), "{shown}");
        let path = sandbox.path(identity).display().to_string();
        let opened = sandbox.run_in(
            "lab",
            &["hlx", "show", "app:.env"],
            &[("HOME", "/nowhere"), ("HLX_IDENTITY", &path)],
        );
        assert_eq!(opened.code, Some(0), "{opened:?}");
    }
    sandbox.write("etc/config.yaml", "repo: elsewhere\n");
    assert!(join("host_key", &[]).err.contains("stays as it is"));
    sandbox.write("broken", "x");
    assert_eq!(join("broken", &[]).code, Some(3));
    // The owner still gets the line, since the git host may wait for the server's key; but nothing is configured.
    let elsewhere = |words: &[&str]| {
        let place = |name: &str| sandbox.path(name).display().to_string();
        let words =
            [&["hlx", "server", "join", "https://127.0.0.1:9/lab.git", "--branch", "app"], words].concat();
        let variables = [("HLX_IDENTITY", &*place("host_key")), ("HLX_CONFIG", &place("new/config.yaml"))];
        sandbox.run_in(".", &words, &variables)
    };
    let unread = elsewhere(&[]);
    assert!(unread.code == Some(1) && unread.out.contains("hlx recipients add"), "{unread:?}");
    assert!(unread.err.contains("cannot be read from here") && !sandbox.path("new").exists(), "{unread:?}");
    assert_eq!(elsewhere(&["--offline"]).code, Some(0));
    assert_eq!(sandbox.read("new/config.yaml"), "repo: https://127.0.0.1:9/lab.git\n");
}

/// Files that stock sops wrote, in all stores and with key groups, go under a new data key: only ciphertext and
/// metadata change, sops reads the same from them, and the old data key is of no use.
#[test]
fn files_of_stock_sops_are_sealed_anew_like_any_other() {
    let sandbox = Sandbox::new();
    let vectors = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let keys =
        ["a.txt", "b.txt", "c.txt"].map(|name| fs::read_to_string(vectors.join("keys").join(name)).unwrap());
    sandbox.write(OWN, keys.concat());
    sandbox.sh(".", &format!("chmod 600 {OWN}"));
    sandbox.lab();
    let mut count = 0;
    for file in fs::read_dir(vectors.join("sops-3.13.2")).unwrap().map(|file| file.unwrap().path()) {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        // Sealed for an ssh key only.
        if !name.starts_with("r03") {
            count += 1;
            fs::copy(&file, sandbox.path("lab").join(&name)).unwrap();
        }
    }
    assert!(count > 40, "{count}");
    sandbox.sh(
        "lab",
        "git add -A -- . ':!.gitattributes'; git commit -qm vectors --no-verify; hlx recipients accept -y",
    );
    let before = blobs(&sandbox, "app");
    sandbox.ok("lab", &["hlx", "rotate", "--data-keys"]);
    for (old, new) in before.iter().zip(&blobs(&sandbox, "app")) {
        if !is_sealed(&old.1) {
            continue;
        }
        assert!(ciphertexts(&old.1).is_disjoint(&ciphertexts(&new.1)), "{}", old.0);
        assert_eq!(clear(&old.0, &old.1), clear(&new.0, &new.1));
        let (was, is) = (sops(&sandbox, old, OWN), sops(&sandbox, new, OWN));
        assert_eq!((was.code, is.code, &was.out), (Some(0), Some(0), &is.out), "{}: {was:?} {is:?}", old.0);
    }
}
