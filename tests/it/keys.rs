//! Every shape of key, with stock sops in both directions: key groups, ssh keys, plugins.

use std::os::unix::fs::symlink;
use std::path::Path;

use crate::sandbox::{CANARY, Done, Sandbox};

/// A recipient and the identity of the plugin that stands beside this file.
const TOY: &str = "age1toy1vys8gmmeuqp3ag";
const TOY_IDENTITY: &str = "AGE-PLUGIN-TOY-1VYS8GMME7G92NT";

/// A branch `app` that seals for two of three groups: mine, `b` and `c`.
fn three_groups(sandbox: &Sandbox) -> String {
    sandbox.lab();
    let [b, c] = ["b", "c"].map(|name| generate(sandbox, name));
    let me = sandbox.ok("lab", &["hlx", "keys", "list"]).split(' ').next().unwrap().to_owned();
    let config = format!(
        "creation_rules:\n  - key_groups:\n      - age: [{me}]\n      - merge:\n          - age: [{b}]\n        age: [{b}]\n      - age:\n          - {c} # the safe\n    shamir_threshold: 2\n"
    );
    sandbox.write("lab/.sops.yaml", &config);
    config
}

fn generate(sandbox: &Sandbox, name: &str) -> String {
    sandbox.ok("lab", &["hlx", "keys", "generate", "-o", &format!("../{name}.key")]).trim().to_owned()
}

/// Stock sops with the private keys of some files only.
fn sops_with(sandbox: &Sandbox, keys: &[&str], words: &[&str]) -> Done {
    let all: String = keys.iter().map(|name| sandbox.read(name)).collect();
    let away = sandbox.path("home/.config");
    sandbox.sops_in(
        ".",
        words,
        &[("SOPS_AGE_KEY", &all), ("XDG_CONFIG_HOME", &format!("{}/no", away.display()))],
    )
}

const MINE: &str = "home/.config/sops/age/keys.txt";

#[test]
fn sops_opens_what_hlx_sealed_for_two_of_three_groups() {
    let sandbox = Sandbox::new();
    three_groups(&sandbox);
    sandbox.write("lab/app.env", format!("A={CANARY}\n"));
    sandbox.write("lab/values.yaml", format!("a: {CANARY}\n"));
    sandbox.write("lab/cert.pem", format!("{CANARY}\n"));
    sandbox.sh("lab", "hlx track values.yaml --keys '^a$'; hlx track cert.pem");
    sandbox.write("lab/.sops.yaml", sandbox.read("lab/.sops.yaml"));
    sandbox.sh("lab", "git add -A; git commit -qm secrets; git show HEAD:app.env >../sealed.env; git show HEAD:values.yaml >../sealed.yaml; git show HEAD:cert.pem >../sealed.bin");
    for file in ["sealed.env", "sealed.yaml", "sealed.bin"] {
        for pair in [[MINE, "b.key"], ["b.key", "c.key"], [MINE, "c.key"]] {
            let done = sops_with(&sandbox, &pair, &["-d", file]);
            assert!(done.code == Some(0) && done.out.contains(CANARY), "{file} {pair:?}: {done:?}");
        }
        for one in [MINE, "b.key", "c.key"] {
            assert_eq!(sops_with(&sandbox, &[one], &["-d", file]).code, Some(128), "{file} {one}");
        }
        // What sops splits and wraps anew, hlx opens.
        let copy = format!("lab/{file}");
        sandbox.write(&copy, sandbox.read(file));
        let done = sops_with(&sandbox, &[MINE, "b.key"], &["rotate", "-i", &copy]);
        assert_eq!(done.code, Some(0), "{done:?}");
        let opened = sandbox.run(".", &["hlx", "-i", "b.key", "textconv", &copy]);
        assert!(opened.out.contains(CANARY), "{opened:?}");
    }
    sandbox.no_canary_in_objects("lab");
}

#[test]
fn with_keys_of_too_few_groups_all_stays_sealed_and_status_clean() {
    let sandbox = Sandbox::new();
    three_groups(&sandbox);
    sandbox.write("lab/app.env", format!("A={CANARY}\n"));
    sandbox.sh("lab", "git add -A; git commit -qm one; touch app.env");
    // It was sealed here, but cannot be opened here: the clone remembers what it sealed.
    assert_eq!(sandbox.ok("lab", &["git", "status", "--porcelain"]), "");
    sandbox.write("lab/app.env", "A=changed\n");
    let refused = sandbox.run("lab", &["git", "add", "app.env"]);
    assert!(refused.code != Some(0) && refused.err.contains("no key of yours opens"), "{refused:?}");
    sandbox.sh(".", "git clone -q -b app lab clone; cd clone; hlx init");
    assert!(!sandbox.read("clone/app.env").contains(CANARY));
    assert_eq!(sandbox.ok("clone", &["git", "status", "--porcelain"]), "");
    let why = sandbox.run("clone", &["sh", "-c", "rm app.env; git checkout -- app.env"]);
    assert!(
        why.code == Some(0)
            && why.err.contains("your keys open 1 of its key groups, and 2 must come together"),
        "{why:?}"
    );
    let listed = sandbox.ok("lab", &["hlx", "recipients", "list", "--branch", "app"]);
    assert_eq!(listed.matches("has a share of the key of 1").count(), 3, "{listed}");
}

#[test]
fn a_clone_with_two_groups_checks_out_adds_and_edits() {
    let sandbox = Sandbox::new();
    three_groups(&sandbox);
    sandbox.sh(".", &format!("cat b.key >>{MINE}"));
    sandbox.write("lab/app.env", format!("A={CANARY}\nB=2\n"));
    // One file is sealed by sops itself.
    sandbox.write("lab/values.yaml", format!("a: {CANARY}\nb: 2\n"));
    let done = sandbox.sops("lab", &["-e", "-i", "values.yaml"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    sandbox.sh("lab", "hlx track values.yaml --keys '^a$'; git add -A; git commit -qm secrets");
    sandbox.sh(".", "git clone -q -b app lab clone; cd clone; hlx init; git ls-files -s >../before");
    for file in ["app.env", "values.yaml"] {
        assert!(sandbox.read(&format!("clone/{file}")).contains(CANARY), "{file}");
    }
    sandbox.sh("clone", "touch app.env values.yaml; test -z \"$(git status --porcelain)\"; git add --renormalize .; git ls-files -s | cmp - ../before");
    let envelopes = |file: &str| {
        let text = sandbox.ok("clone", &["git", "show", &format!(":{file}")]);
        let kept = |line: &&str| !line.contains("ENC[") && !line.contains("lastmodified");
        text.lines().filter(kept).collect::<Vec<_>>().join("\n")
    };
    for (file, edited) in
        [("app.env", format!("A={CANARY}\nB=3\n")), ("values.yaml", format!("a: {CANARY}\nb: 3\n"))]
    {
        let before = envelopes(file);
        sandbox.write(&format!("clone/{file}"), &edited);
        sandbox.ok("clone", &["git", "add", file]);
        assert_eq!(envelopes(file), before, "{file}");
        sandbox.sh("clone", &format!("git show :{file} >../again{file}"));
        let done = sops_with(&sandbox, &[MINE], &["-d", &format!("again{file}")]);
        assert!(done.code == Some(0) && done.out.contains('3') && done.out.contains(CANARY), "{done:?}");
    }
}

#[test]
fn a_reader_joins_the_group_that_is_named() {
    let sandbox = Sandbox::new();
    let config = three_groups(&sandbox);
    sandbox.sh(".", &format!("cat b.key >>{MINE}"));
    sandbox.write("lab/app.env", format!("A={CANARY}\n"));
    sandbox.sh("lab", "git add -A; git commit -qm one; git show HEAD:app.env >../before.env");
    let new = generate(&sandbox, "new");
    for words in
        [&["hlx", "recipients", "add", &new][..], &["hlx", "recipients", "add", &new, "--group", "4"]]
    {
        let refused = sandbox.run("lab", words);
        assert!(refused.code == Some(2) && refused.err.contains("there are 3 key groups"), "{refused:?}");
    }
    // A share that nobody at hand has cannot be passed on.
    let refused = sandbox.run("lab", &["hlx", "recipients", "add", &new, "--group", "3"]);
    assert!(refused.code == Some(3) && refused.err.contains("key group 3"), "{refused:?}");
    sandbox.ok("lab", &["hlx", "recipients", "add", &new, "--group", "2"]);
    assert_eq!(sandbox.ok("lab", &["git", "status", "--porcelain"]), "");
    let (b, _) = config.split_once("]\n        age: [").unwrap();
    let b = b.rsplit('[').next().unwrap();
    let expected = config.replace(&format!("        age: [{b}]"), &format!("        age: [{b}, {new}]"));
    assert_eq!(sandbox.read("lab/.sops.yaml"), expected);
    sandbox.sh("lab", "git show HEAD:app.env >../after.env");
    let (before, after) = (sandbox.read("before.env"), sandbox.read("after.env"));
    assert!(before.lines().all(|line| after.lines().any(|other| other == line)), "{after}");
    let done = sops_with(&sandbox, &["new.key", "c.key"], &["-d", "after.env"]);
    assert!(done.out.contains(CANARY), "{done:?}");
    assert_eq!(sops_with(&sandbox, &["new.key", "b.key"], &["-d", "after.env"]).code, Some(128));
}

#[test]
fn keys_of_other_kinds_stay_in_their_groups() {
    let sandbox = Sandbox::new();
    three_groups(&sandbox);
    sandbox.sh(".", &format!("cat b.key >>{MINE}"));
    sandbox.write("lab/app.env", format!("A={CANARY}\n"));
    sandbox.write("lab/values.yaml", format!("a: {CANARY}\n"));
    sandbox.sh("lab", "hlx track values.yaml --keys '^a$'; git add -A; git show :app.env >../pgp.env; git show :values.yaml >../pgp.yaml");
    let foreign = "sops_key_groups__list_1__map_pgp__list_0__map_created_at=2024-01-02T03:04:05Z\nsops_key_groups__list_1__map_pgp__list_0__map_enc=x\nsops_key_groups__list_1__map_pgp__list_0__map_fp=ABC\n";
    sandbox.write("lab/app.env", sandbox.read("pgp.env") + foreign);
    let yaml = sandbox.read("pgp.yaml").replacen(
        "        - age:\n",
        "        - hc_vault: []\n          pgp:\n            - created_at: \"2024-01-02T03:04:05Z\"\n              enc: x\n              fp: ABC\n          age:\n",
        1,
    );
    sandbox.write("lab/values.yaml", &yaml);
    sandbox.sh("lab", "git add -A; git commit -qm pgp; git checkout -q -f HEAD -- .; rm app.env values.yaml; git checkout -q -f HEAD -- .");
    let new = generate(&sandbox, "new");
    sandbox.ok("lab", &["hlx", "recipients", "add", &new, "--group", "1"]);
    sandbox.sh("lab", "git show HEAD:app.env >../after.env; git show HEAD:values.yaml >../after.yaml");
    let env = sandbox.read("after.env");
    assert!(foreign.lines().all(|line| env.lines().any(|other| other == line)), "{env}");
    let yaml: serde_json::Value = serde_yaml::from_str(&sandbox.read("after.yaml")).unwrap();
    assert_eq!(yaml["sops"]["key_groups"][0]["pgp"][0]["fp"], "ABC", "{yaml}");
    assert_eq!(yaml["sops"]["key_groups"][0]["age"][1]["recipient"], new.as_str());
    for file in ["after.env", "after.yaml"] {
        let done = sops_with(&sandbox, &["new.key", "b.key"], &["-d", file]);
        assert!(done.code == Some(0) && done.out.contains(CANARY), "{done:?}");
    }
}

#[test]
fn ssh_rsa_keys_open_and_are_sealed_for() {
    let sandbox = Sandbox::new();
    sandbox.lab();
    sandbox.sh(".", "ssh-keygen -q -t rsa -b 2048 -N '' -C me@laptop -f rsa");
    let public = sandbox.read("rsa.pub");
    sandbox.write("lab/.sops.yaml", format!("creation_rules:\n  - age:\n      - {public}"));
    sandbox.write("lab/app.env", format!("A={CANARY}\n"));
    sandbox.sh("lab", "git add -A; git commit -qm one; git show HEAD:app.env >../sealed.env");
    assert!(sandbox.read("sealed.env").contains("recipient=ssh-rsa "));
    let rsa = sandbox.path("rsa").display().to_string();
    let by_rsa = [("SOPS_AGE_SSH_PRIVATE_KEY_FILE", rsa.as_str())];
    let done = sandbox.sops_in(".", &["-d", "sealed.env"], &by_rsa);
    assert!(done.code == Some(0) && done.out.contains(CANARY), "{done:?}");
    assert_eq!(sandbox.ok("lab", &["hlx", "-i", "../rsa", "textconv", "app.env"]), format!("A={CANARY}\n"));
    // The other way round; hlx finds the key where ssh has it, too.
    sandbox.write("theirs.env", format!("A={CANARY}\n"));
    let done = sandbox.sops_in(".", &["-e", "-i", "--age", public.trim(), "theirs.env"], &by_rsa);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(!sandbox.read("theirs.env").contains(CANARY));
    sandbox.sh(".", "mkdir -m 700 home/.ssh; mv rsa home/.ssh/id_rsa");
    assert_eq!(sandbox.ok(".", &["hlx", "textconv", "theirs.env"]), format!("A={CANARY}\n"));
}

/// A branch whose new files are for me and the plugin's key; the plugin is on the PATH.
fn with_plugin(sandbox: &Sandbox) -> String {
    sandbox.lab();
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/plugins/age-plugin-toy");
    std::fs::create_dir_all(sandbox.path("home/bin")).unwrap();
    symlink(program, sandbox.path("home/bin/age-plugin-toy")).unwrap();
    sandbox.write("toy.key", format!("#    Recipient: {TOY}\n{TOY_IDENTITY}\n"));
    sandbox.sh(".", "chmod 600 toy.key");
    let config = sandbox.read("lab/.sops.yaml");
    sandbox.write("lab/.sops.yaml", format!("{config}      - {TOY}\n"));
    sandbox.write("lab/app.env", format!("A={CANARY}\n"));
    // It is for me alone.
    sandbox.sh("lab", "git rm -q .env");
    format!("{}:/usr/local/bin:/usr/bin:/bin", sandbox.path("home/bin").display())
}

fn ran(sandbox: &Sandbox) -> usize {
    std::fs::read_to_string(sandbox.path("home/toy-ran")).unwrap_or_default().lines().count()
}

#[test]
fn a_plugin_runs_only_if_the_user_allowed_it() {
    let sandbox = Sandbox::new();
    let path = with_plugin(&sandbox);
    let run = |directory: &str, words: &[&str], more: &[(&str, &str)]| {
        sandbox.run_in(directory, words, &[&[("PATH", path.as_str())], more].concat())
    };
    // Nothing that comes with a repository allows it.
    sandbox.write("lab/.gitconfig", "[hlx]\n\tallowPlugin = toy\n");
    sandbox.sh("lab", "mkdir bare; cd bare; git init -q --bare; git config hlx.allowPlugin toy");
    let refused = run("lab", &["git", "add", "app.env"], &[]);
    assert!(
        refused.code != Some(0)
            && refused.err.contains("age plugin `toy`, which is not allowed")
            && refused.err.contains("git config --global --add hlx.allowPlugin toy"),
        "{refused:?}"
    );
    let listed = run("lab/bare", &["hlx", "-i", "../../toy.key", "keys", "list"], &[]);
    assert!(listed.err.contains("not allowed to run") && ran(&sandbox) == 0, "{listed:?}");
    // With the tree on the PATH, a plugin could be a file of it.
    sandbox.sh("lab", "cp -L ../home/bin/age-plugin-toy .");
    let here = format!(".:{path}");
    let tree = [("PATH", here.as_str()), ("HLX_ALLOW_PLUGINS", "toy")];
    let refused = sandbox.run_in("lab", &["git", "add", "app.env"], &tree);
    assert!(refused.code != Some(0) && refused.err.contains("the PATH has the entry `.`"), "{refused:?}");
    assert_eq!(ran(&sandbox), 0);
    // A name that is allowed is no other.
    let other = run("lab", &["git", "add", "app.env"], &[("HLX_ALLOW_PLUGINS", "to,toys")]);
    assert!(other.code != Some(0) && ran(&sandbox) == 0, "{other:?}");
    let added = run("lab", &["git", "add", "."], &[("HLX_ALLOW_PLUGINS", "yubikey, toy")]);
    assert!(added.code == Some(0) && ran(&sandbox) == 1, "{added:?}");
}

#[test]
fn what_a_plugin_wrapped_opens_by_it_and_by_the_others_without_it() {
    let sandbox = Sandbox::new();
    let path = with_plugin(&sandbox);
    let run = |directory: &str, words: &[&str]| sandbox.run_in(directory, words, &[("PATH", &path)]);
    sandbox.sh(
        "lab",
        "git config --global --add hlx.allowPlugin other; git config --global --add hlx.allowPlugin toy",
    );
    let added = run("lab", &["git", "add", "-A"]);
    assert_eq!(added.code, Some(0), "{added:?}");
    sandbox.sh("lab", "git commit -qm one; git show HEAD:app.env >../sealed.env; git config --global --unset-all hlx.allowPlugin");
    let before = ran(&sandbox);
    // The others need no plugin, neither to open nor to seal again.
    sandbox.sh("lab", "rm app.env; git checkout -- app.env; touch app.env; test -z \"$(git status --porcelain)\"; echo B=2 >>app.env; git add app.env");
    assert!(
        sandbox
            .ok("lab", &["git", "show", "--no-textconv", ":app.env"])
            .contains(&format!("recipient={TOY}"))
    );
    assert_eq!(ran(&sandbox), before);
    // With its key alone, one is told what is missing.
    sandbox.sh(".", "mv home/.config home/away");
    let add = ["hlx", "-i", "../toy.key", "recipients", "add", TOY];
    let refused = run("lab", &add);
    assert!(
        refused.code == Some(3) && refused.err.contains("git config --global --add hlx.allowPlugin toy"),
        "{refused:?}"
    );
    assert_eq!(ran(&sandbox), before);
    let allowed = [("PATH", path.as_str()), ("HLX_ALLOW_PLUGINS", "toy")];
    let opened = sandbox.run_in(".", &["hlx", "-i", "toy.key", "textconv", "sealed.env"], &allowed);
    assert_eq!(opened.out, format!("A={CANARY}\n"), "{opened:?}");
    assert!(opened.err.contains("hlx: touch the toy"), "{opened:?}");
    let listed = sandbox.run_in(".", &["hlx", "-i", "toy.key", "keys", "list"], &allowed);
    assert!(listed.out.starts_with(TOY), "{listed:?}");
    // sops, too, opens it by the plugin.
    let identity = sandbox.read("toy.key");
    let done = sandbox.sops_in(
        ".",
        &["-d", "sealed.env"],
        &[("PATH", &path), ("SOPS_AGE_KEY", &identity), ("SOPS_AGE_KEY_FILE", "")],
    );
    assert!(done.code == Some(0) && done.out.contains(CANARY), "{done:?}");
    sandbox.write("home/toy-unplugged", "");
    let failed = sandbox.run_in("lab", &add, &allowed);
    assert!(
        failed.code == Some(3)
            && failed.err.contains("the age plugin `toy` failed")
            && failed.err.contains("it is not plugged in"),
        "{failed:?}"
    );
}
