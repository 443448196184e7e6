//! The repository commands as their user meets them.

use crate::sandbox::{CANARY, Sandbox};

#[test]
fn a_new_service_leaves_the_owners_place_alone() {
    let sandbox = Sandbox::new();
    sandbox.lab();
    sandbox.write("lab/untracked", "mine");
    sandbox.write("lab/.env", "HALF=done\n");
    sandbox.ok("lab", &["hlx", "new", "nginx", "--setup"]);
    assert_eq!(sandbox.ok("lab", &["git", "branch", "--show-current"]).trim(), "app");
    assert_eq!(sandbox.ok("lab", &["git", "status", "--porcelain"]), " M .env\n?? untracked\n");
    assert_eq!(sandbox.ok("lab", &["git", "rev-list", "--count", "nginx"]).trim(), "1");
    let files = sandbox.ok("lab", &["git", "ls-tree", "--name-only", "nginx"]);
    assert_eq!(files, ".env\n.gitattributes\n.sops.yaml\nREADME.md\ncompose.yml\nsetup.sh\n");
    let page = sandbox.ok("lab", &["git", "show", "main:README.md"]);
    assert!(page.contains("`app`") && page.contains("`nginx`") && page.starts_with("# Lab"), "{page}");
    for (name, code, message) in
        [("nginx", 1, "exists already"), ("main", 2, "landing page"), ("a/b", 2, "no name for a service")]
    {
        let refused = sandbox.run("lab", &["hlx", "new", name]);
        assert!(refused.code == Some(code) && refused.err.contains(message), "{refused:?}");
    }
}

#[test]
fn standing_on_main_its_readme_follows() {
    let sandbox = Sandbox::new();
    sandbox.lab();
    sandbox.sh("lab", "git switch -q main; hlx new other");
    assert!(sandbox.read("lab/README.md").contains("`other`"));
    assert_eq!(sandbox.ok("lab", &["git", "status", "--porcelain"]), "");
    // With changes of one's own in it, the page is left as it is.
    sandbox.sh("lab", "echo mine >>README.md");
    let done = sandbox.run("lab", &["hlx", "new", "third"]);
    assert_eq!(done.code, Some(0), "{}", done.err);
    assert!(done.err.contains("was left as it is") && sandbox.read("lab/README.md").ends_with("mine\n"));
}

#[test]
fn an_empty_repository_is_a_good_start() {
    let sandbox = Sandbox::new();
    sandbox.ok(".", &["git", "init", "-q", "lab"]);
    sandbox.ok("lab", &["hlx", "init"]);
    sandbox.ok("lab", &["hlx", "new", "app"]);
    assert!(sandbox.ok("lab", &["git", "show", "main:README.md"]).contains("`app`"));
    assert_eq!(sandbox.ok("lab", &["git", "status", "--porcelain"]), "");
}

#[test]
fn a_recipient_that_was_added_can_read() {
    let sandbox = Sandbox::new();
    sandbox.lab();
    sandbox.write("lab/.env", format!("A={CANARY}\n"));
    sandbox.sh("lab", "git add .env; git commit -qm one; hlx keys generate -o ../server.key >../server.pub");
    let key = sandbox.read("server.pub");
    sandbox.write("keys", format!("# nas\n{key}"));
    sandbox.sh("lab", "git switch -q main; hlx recipients add -R ../keys --branch app; git switch -q app");
    let listed = sandbox.ok("lab", &["hlx", "recipients", "list"]);
    assert!(listed.contains(" nas") && listed.contains(" me"), "{listed}");
    sandbox.sh(".", "mv home/.config home/away; git clone -q -b app lab server");
    let smudged = sandbox.ok("server", &["hlx", "--identity", "../server.key", "textconv", ".env"]);
    assert_eq!(smudged, format!("A={CANARY}\n"));
    sandbox.sh(".", "mv home/away home/.config");
    sandbox.sh("lab", "git show app:.env >../sealed.env");
    assert!(sandbox.sops(".", &["-d", "sealed.env"]).out.contains(CANARY));
    // Where the branch is checked out, its files follow, unless they have changes.
    sandbox.write("lab/.env", "A=changed\n");
    let other = sandbox.ok("lab", &["hlx", "keys", "generate", "-o", "../third.key"]);
    let refused = sandbox.run("lab", &["hlx", "recipients", "add", other.trim()]);
    assert!(refused.code == Some(1) && refused.err.contains("not committed"), "{refused:?}");
    sandbox.sh("lab", "git commit -qam changed");
    sandbox.ok("lab", &["hlx", "recipients", "add", other.trim(), "--name", "third"]);
    assert_eq!(sandbox.ok("lab", &["git", "status", "--porcelain"]), "");
    assert_eq!(sandbox.read("lab/.env"), "A=changed\n");
    assert!(sandbox.read("lab/.sops.yaml").contains("# third"));
}

#[test]
fn the_pre_commit_hook_refuses_plaintext() {
    let sandbox = Sandbox::new();
    sandbox.lab();
    sandbox.sh(
        "lab",
        "echo A=canary >plain.txt; git add plain.txt; git commit -qm plain; git mv plain.txt plain.env",
    );
    let refused = sandbox.run("lab", &["git", "commit", "-qm", "oops"]);
    assert_eq!(refused.code, Some(1), "{}", refused.err);
    assert!(
        refused.err.contains("plain.env: plaintext in git") && refused.err.contains("--renormalize"),
        "{}",
        refused.err
    );
    sandbox.sh("lab", "git add --renormalize plain.env; git commit -qm sealed");
}

#[test]
fn status_and_track_say_what_is_what() {
    let sandbox = Sandbox::new();
    sandbox.lab();
    sandbox.sh("lab", "printf '*.pem\\n' >.gitignore; echo key >tls.pem; echo x >old.conf; git add old.conf; git commit -qm old");
    let tracked = sandbox.run("lab", &["hlx", "track", "tls.pem", "old.conf"]);
    assert_eq!(tracked.code, Some(0), "{}", tracked.err);
    assert!(
        tracked.err.contains("tls.pem is ignored") && tracked.err.contains("old.conf is in git in clear")
    );
    let status = sandbox.ok("lab", &["hlx", "status"]);
    assert!(status.contains("PLAINTEXT IN GIT") && status.contains("1 reader, yours"), "{status}");
    sandbox.sh("lab", "git add --renormalize old.conf");
    assert!(!sandbox.ok("lab", &["hlx", "status"]).contains("PLAINTEXT"));
    let json: serde_json::Value =
        serde_json::from_str(&sandbox.ok("lab", &["hlx", "status", "--json"])).unwrap();
    assert_eq!(json[0]["branch"], "app");
    let refused = sandbox.run("lab", &["hlx", "track", ".sops.yaml"]);
    assert_eq!(refused.code, Some(2), "{}", refused.err);
}

#[test]
fn status_tells_what_is_not_in_git_yet_and_what_is_not_authentic() {
    let sandbox = Sandbox::new();
    sandbox.lab();
    sandbox.write("lab/.env", format!("A={CANARY}\n"));
    sandbox.sh("lab", "git add -A; git commit -qm one");
    sandbox.write("lab/sub/new.env", "A=1\n");
    let states = |directory: &str| -> Vec<String> {
        let json: serde_json::Value =
            serde_json::from_str(&sandbox.ok(directory, &["hlx", "status", "--json"])).unwrap();
        let files =
            json.as_array().unwrap().iter().flat_map(|branch| branch["files"].as_array().unwrap().clone());
        files
            .map(|file| format!("{} {} {}", file["path"], file["in_git"], file["readable"]).replace('"', ""))
            .collect()
    };
    assert_eq!(states("lab"), [".env encrypted true", "sub/new.env not in git yet false"]);
    sandbox.sh("lab", "rm -r sub; git cat-file blob HEAD:.env >../sealed");
    let sealed = sandbox.read("sealed");
    let at = sealed.find("data:").unwrap() + 5;
    let other = if sealed[at..].starts_with('A') { "B" } else { "A" };
    sandbox.write("altered", format!("{}{other}{}", &sealed[..at], &sealed[at + 1..]));
    sandbox.write("stale", format!("B_unencrypted=1\n{sealed}"));
    sandbox.sh("lab", "for f in altered stale; do git update-index --add --cacheinfo 100644,$(git hash-object -w --no-filters ../$f),$f.env; done; git commit -qnm odd; git switch -q main");
    let expected =
        [".env encrypted true", "altered.env not authentic false", "stale.env mac does not fit false"];
    assert_eq!(states("lab"), expected);
    let shown = sandbox.ok("lab", &["hlx", "status"]);
    assert!(shown.contains("encrypted, 1 reader, yours (me)"), "{shown}");
    assert!(shown.contains("NOT AUTHENTIC, 1 reader, yours, but it does not open (me)"), "{shown}");
}

#[test]
fn keys_are_private_and_never_overwritten() {
    use std::os::unix::fs::PermissionsExt as _;
    let sandbox = Sandbox::new();
    let made = sandbox.ok(".", &["hlx", "keys", "generate"]);
    assert!(made.starts_with("age1"));
    let path = sandbox.path("home/.config/sops/age/keys.txt");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let again = sandbox.run(".", &["hlx", "keys", "generate"]);
    assert!(again.code == Some(1) && again.err.contains("exists already"), "{again:?}");
    sandbox.sh(".", "chmod 644 home/.config/sops/age/keys.txt");
    let listed = sandbox.run(".", &["hlx", "keys", "list"]);
    assert!(listed.err.contains("chmod 600"), "{listed:?}");
}

#[test]
fn track_protects_just_what_was_named_or_refuses() {
    let sandbox = Sandbox::new();
    sandbox.lab();
    sandbox.sh("lab", "mkdir -p secrets sub; for f in 'db[prod].conf' sub/f secrets/x; do echo canary-swordfish >\"$f\"; done");
    sandbox.write("lab/sub/.gitattributes", "*.conf -filter\n");
    sandbox.write("lab/sub/x.conf", CANARY);
    for path in ["secrets/", "secrets", "../outside", "sub/x.conf"] {
        let refused = sandbox.run("lab", &["hlx", "track", path]);
        assert_eq!(refused.code, Some(2), "{path}: {}", refused.err);
    }
    let absolute = sandbox.path("lab/secrets/x").canonicalize().unwrap();
    sandbox.ok("lab", &["hlx", "track", "db[prod].conf", absolute.to_str().unwrap()]);
    sandbox.ok("lab/sub", &["hlx", "track", "f"]);
    sandbox.sh("lab", "rm sub/x.conf; git add -A; git commit -qm all");
    sandbox.no_canary_in_objects("lab");
}

#[test]
fn adding_a_recipient_keeps_what_hlx_does_not_know() {
    let sandbox = Sandbox::new();
    sandbox.lab();
    sandbox.write("lab/.env", "A=1\n");
    sandbox.sh("lab", "git add .env; git commit -qm one");
    // An entry of another kind, as sops keeps beside age keys.
    sandbox.sh("lab", "git show --no-textconv HEAD:.env >.env; echo 'sops_pgp__list_0__map_fp=ABC' >>.env; git add .env; git commit -qm pgp");
    let other = sandbox.ok("lab", &["hlx", "keys", "generate", "-o", "../third.key"]);
    sandbox.sh("lab", "git checkout -q -f HEAD -- .env");
    sandbox.ok("lab", &["hlx", "recipients", "add", other.trim()]);
    assert!(
        sandbox
            .ok("lab", &["git", "show", "--no-textconv", "HEAD:.env"])
            .contains("sops_pgp__list_0__map_fp=ABC")
    );
}

#[test]
fn a_name_that_git_or_a_remote_has_is_no_new_service() {
    let sandbox = Sandbox::new();
    sandbox.lab();
    sandbox.sh(".", "git clone -q -b app lab clone; cd clone; hlx init; git tag v1");
    for name in ["HEAD", "FETCH_HEAD", "stash", "origin", "v1", "0123456789abcdef0123456789abcdef01234567"] {
        let refused = sandbox.run("clone", &["hlx", "new", name]);
        assert!(
            refused.code == Some(2) && refused.err.contains("for something else than a branch"),
            "{name}: {refused:?}"
        );
    }
    assert_eq!(sandbox.run("clone", &["hlx", "new", "-x"]).code, Some(2));
    assert_eq!(sandbox.run("clone", &["hlx", "new", "--", "-x"]).code, Some(2));
    sandbox.ok("lab", &["hlx", "new", "web"]);
    sandbox.ok("clone", &["git", "fetch", "-q"]);
    let refused = sandbox.run("clone", &["hlx", "new", "web"]);
    assert!(
        refused.code == Some(1) && refused.err.contains("`web` exists already, at origin"),
        "{refused:?}"
    );
    assert!(refused.err.contains("hint: `git switch web`"), "{refused:?}");
    sandbox.ok("clone", &["git", "switch", "-q", "web"]);
    // A landing page that only the remote has is not begun anew.
    let made = sandbox.run("clone", &["hlx", "new", "other"]);
    assert!(made.code == Some(0) && made.err.contains("was left as it is: the branch `main`"), "{made:?}");
    assert_eq!(sandbox.ok("clone", &["git", "branch", "--format=%(refname:short)"]), "app\nother\nweb\n");
}

#[test]
fn a_file_that_is_not_there_yet_is_tracked_with_a_warning() {
    let sandbox = Sandbox::new();
    sandbox.lab();
    let tracked = sandbox.run("lab", &["hlx", "track", "later.key"]);
    assert!(tracked.code == Some(0) && tracked.err.contains("there is no later.key yet"), "{tracked:?}");
    assert!(tracked.err.contains("`git add .gitattributes .sops.yaml` and"), "{tracked:?}");
    sandbox.sh("lab", "echo canary-swordfish >later.key; git add -A; git commit -qm later");
    sandbox.no_canary_in_objects("lab");
}

#[test]
fn a_broken_sops_yaml_is_noticed_before_a_new_file_needs_it() {
    let sandbox = Sandbox::new();
    sandbox.lab();
    let good = sandbox.read("lab/.sops.yaml");
    for (broken, reason) in [
        ("creation_rules: [\n".to_owned(), ".sops.yaml: line 2: not valid"),
        (good.replace("age1", "agx1"), "is no recipient"),
        (format!("{good}    encrypted_regex: (\n"), "no valid regular expression"),
    ] {
        sandbox.write("lab/.sops.yaml", &broken);
        for command in ["status", "init"] {
            let done = sandbox.run("lab", &["hlx", command]);
            assert!(
                done.code == Some(0) && done.err.contains("warning: .sops.yaml: "),
                "{command}: {done:?}"
            );
            assert!(done.err.contains(reason) && done.err.contains("hint: correct"), "{command}: {done:?}");
        }
        sandbox.ok("lab", &["git", "add", ".sops.yaml"]);
        let refused = sandbox.run("lab", &["git", "commit", "-qm", "broken"]);
        assert!(refused.code == Some(1) && refused.err.contains("nothing was committed: "), "{refused:?}");
        assert!(refused.err.contains(reason) && refused.err.contains("hint: correct"), "{refused:?}");
    }
    // What is in HEAD already stops no other commit.
    sandbox.sh("lab", "git commit -qnm broken; echo >>README.md; git commit -qam other");
    sandbox.write("lab/.sops.yaml", &good);
    sandbox.sh("lab", "git commit -qam mended");
    assert!(!sandbox.run("lab", &["hlx", "status"]).err.contains("warning"));
}

#[test]
fn track_chooses_what_is_encrypted() {
    let sandbox = Sandbox::new();
    sandbox.lab();
    let compose = format!(
        "services:\n  web:\n    image: nginx:1\n    environment:\n      A: clear\n      # Secret: the token\n      TOKEN: {CANARY}\n    labels:\n      # secret\n      - auth={CANARY}\n      - x=clear\n"
    );
    sandbox.write("lab/compose.yml", &compose);
    sandbox.write("lab/values.yaml", format!("db:\n  password: {CANARY}\n  host: clear\n"));
    sandbox.write("lab/whole.yml", format!("a: {CANARY}\n"));
    sandbox.ok("lab", &["hlx", "track", "--marked", "compose.yml"]);
    sandbox.ok("lab", &["hlx", "track", "--keys", "^password$", "values.yaml"]);
    sandbox.ok("lab", &["hlx", "track", "--whole", "whole.yml"]);
    sandbox.sh("lab", "git add -A; git commit -qm all; for f in compose.yml values.yaml whole.yml; do git show --no-textconv HEAD:$f >../$f; done");
    sandbox.no_canary_in_objects("lab");
    let sealed = sandbox.read("compose.yml");
    for clear in ["image: nginx:1", "A: clear", "x=clear", "# Secret: the token", "mac_only_encrypted: true"]
    {
        assert!(sealed.contains(clear), "{clear}: {sealed}");
    }
    assert!(
        sandbox.read("values.yaml").contains("host: clear")
            && sandbox.read("whole.yml").contains("\"data\": \"ENC[")
    );
    assert_eq!(parsed(&sandbox.sops(".", &["-d", "compose.yml"]).out), parsed(&compose));
    assert!(sandbox.sops(".", &["-d", "values.yaml"]).out.contains(CANARY));
    // A bot that bumps a tag breaks nothing.
    sandbox.sh("lab", "sed -i s/nginx:1/nginx:2/ compose.yml; git add compose.yml; git show --no-textconv :compose.yml >../compose.yml");
    assert!(sandbox.sops(".", &["-d", "compose.yml"]).out.contains("nginx:2"));
    // No choice is made where there is none.
    for (words, message) in [
        (&["--keys", "x", "compose.yml"][..], "matches no key, so that nothing would be encrypted"),
        (&["--marked", "tls.pem"], "it has no keys"),
        (&["--marked", "x.json"], "JSON has no comments"),
        (&["--keys", "(", "values.yaml"], "no valid regular expression"),
        (&["--marked", "--whole", "values.yaml"], "cannot be used with"),
    ] {
        let refused = sandbox.run("lab", &[&["hlx", "track"], words].concat());
        assert!(refused.code != Some(0) && refused.err.contains(message), "{words:?}: {refused:?}");
    }
}

fn parsed(text: &str) -> serde_json::Value {
    serde_yaml::from_str(text).unwrap()
}

#[test]
fn a_sealed_branch_shows_nothing_but_names() {
    let sandbox = Sandbox::new();
    sandbox.lab();
    // A new one, and one that is made so.
    sandbox.ok("lab", &["hlx", "new", "vault", "--sealed", "--setup"]);
    sandbox.sh("lab", "git switch -q vault");
    assert_eq!(sandbox.ok("lab", &["git", "status", "--porcelain"]), "");
    assert!(
        sandbox.read("lab/compose.yml").starts_with("services:")
            && sandbox.read("lab/setup.sh").starts_with("#!")
    );
    sandbox.write("lab/canary-sub/deep.txt", CANARY);
    sandbox.write("lab/canary-sub/.gitattributes", "*.bin -diff\n");
    sandbox.sh("lab", "echo 'x: canary-swordfish' >>compose.yml; git add -A; git commit -qm more");
    sandbox.ok("lab", &["git", "switch", "-q", "app"]);
    sandbox.write("lab/notes.md", CANARY);
    sandbox.write("lab/.env", format!("VISIBLE_NAME={CANARY}\n"));
    let done = sandbox.run("lab", &["hlx", "track", ".", "--whole"]);
    assert!(
        done.code == Some(0) && done.err.contains("files of this branch are in git in clear"),
        "{done:?}"
    );
    sandbox.sh("lab", "git add --renormalize .; git add .; git commit -qm sealed");
    assert!(!sandbox.run("lab", &["hlx", "track", ".", "--whole"]).err.contains("in clear"));
    for branch in ["app", "vault"] {
        let files = sandbox.ok("lab", &["git", "ls-tree", "-r", "--name-only", branch]);
        for file in files.lines() {
            let blob = sandbox.ok("lab", &["git", "cat-file", "blob", &format!("{branch}:{file}")]);
            let clear = file.ends_with(".gitattributes") || file == ".sops.yaml";
            assert_eq!(!blob.contains("\"data\": \"ENC["), clear, "{branch}:{file}: {blob}");
        }
    }
    sandbox.no_canary_in_objects("lab");
    // Status is right, in a tree and beside it, and so are diff, merge and a fresh clone.
    let status = sandbox.ok("lab", &["hlx", "status"]);
    for words in [
        "notes.md",
        "compose.yml",
        "setup.sh",
        "canary-sub/deep.txt",
        "encrypted, open here",
        "1 reader, yours",
    ] {
        assert!(status.contains(words), "{words}: {status}");
    }
    assert!(!status.contains("PLAINTEXT") && !status.contains(".gitattributes"), "{status}");
    assert_eq!(sandbox.ok("lab", &["git", "status", "--porcelain"]), "");
    sandbox.sh("lab", "git switch -qc one; echo one >>.env; sed -i 's/^services/# top\\n&/' compose.yml; git commit -qam one; git switch -q app; echo x: 1 >>compose.yml; git commit -qam two; git merge -q -m both one");
    let compose = sandbox.read("lab/compose.yml");
    assert!(compose.starts_with("# top\n") && compose.ends_with("x: 1\n"), "{compose}");
    let blob = sandbox.ok("lab", &["git", "cat-file", "blob", "app:compose.yml"]);
    assert!(blob.contains("\"data\": \"ENC[") && !blob.contains("services"), "{blob}");
    assert!(sandbox.ok("lab", &["git", "log", "-p", "-1", "one"]).contains("+# top"));
    sandbox.sh(".", "git clone -q -b vault lab guest; cd guest; hlx init");
    assert_eq!(sandbox.read("guest/canary-sub/deep.txt"), CANARY);
    assert_eq!(sandbox.ok("guest", &["git", "status", "--porcelain"]), "");
}
