//! Post-quantum keys, beside age 1.3 (which has them itself) and stock sops (which has its plugin for them).

use std::path::PathBuf;

use crate::sandbox::{CANARY, Done, Sandbox};

const OWN: &str = "home/.config/sops/age/keys.txt";

/// Where age 1.3 is; `None` where it is not.
pub(crate) fn age() -> Option<PathBuf> {
    let place = std::env::var_os("HLX_TEST_AGE").map(PathBuf::from);
    let place = place.filter(|place| place.join("age").exists());
    if place.is_none() {
        assert!(std::env::var_os("CI").is_none(), "CI must test with age 1.3: scripts/test installs it");
        eprintln!("SKIPPED: HLX_TEST_AGE names no age 1.3: scripts/test installs it");
    }
    place
}

/// A sandbox with age on the PATH of what `run` runs.
struct Lab {
    sandbox: Sandbox,
    path: String,
}

impl Lab {
    fn new() -> Option<Self> {
        let path = format!(
            "{}:{}:/usr/bin:/bin",
            std::path::Path::new(env!("CARGO_BIN_EXE_hlx")).parent().unwrap().display(),
            age()?.display()
        );
        Some(Self { sandbox: Sandbox::new(), path })
    }

    fn run(&self, directory: &str, line: &str) -> Done {
        self.sandbox.run_in(directory, &["sh", "-euc", line], &[("PATH", &self.path)])
    }

    #[track_caller]
    fn sh(&self, directory: &str, line: &str) -> String {
        let done = self.run(directory, line);
        assert!(done.code == Some(0), "{line}: {done:?}");
        done.out
    }

    fn sops(&self, words: &[&str], identity: &str) -> Done {
        let empty = self.sandbox.path("empty").display().to_string();
        let variables =
            [("PATH", self.path.as_str()), ("SOPS_AGE_KEY", identity), ("XDG_CONFIG_HOME", &empty)];
        self.sandbox.sops_in(".", words, &variables)
    }
}

#[test]
fn keys_of_hlx_and_of_age_are_the_same() {
    let Some(lab) = Lab::new() else { return };
    let public = lab.sh(".", "hlx keys generate --pq -o key");
    assert!(public.starts_with("age1pq1") && public.len() == 1960, "{public}");
    assert_eq!(lab.sh(".", "age-keygen -y key"), public);
    assert_eq!(lab.sh(".", "grep '^# public key: ' key | cut -d' ' -f4"), public);
    assert_eq!(lab.sh(".", "stat -c %a key").trim(), "600");
    lab.sh(".", "age-keygen -pq -o other 2>/dev/null; age-keygen -y other >other.pub");
    let other = lab.sandbox.read("other.pub");
    assert_eq!(lab.sh(".", "hlx keys import other -o taken"), other);
    // It goes on beside others, of whatever kind, and under the name that the plugin has for it.
    lab.sh(".", "hlx keys import key -o taken; age-keygen -o classical 2>/dev/null; hlx keys import classical -o taken; age-plugin-pq -identity key >>of-plugin");
    let exported = lab.sh(".", "hlx -i taken keys export --public");
    assert!(exported.contains(&public) && exported.contains(&other), "{exported}");
    let of_plugin = lab.sh(".", "chmod 600 of-plugin; hlx -i of-plugin keys export --public");
    assert!(of_plugin.contains(&public), "{of_plugin}");
    let listed = lab.run(".", "hlx -i key keys list");
    assert!(
        listed.out.contains("  key") && listed.out.len() < 200 && listed.err.contains("export --public"),
        "{listed:?}"
    );
}

#[test]
fn each_opens_what_the_other_wrapped() {
    let Some(lab) = Lab::new() else { return };
    lab.sh(".", &format!("mkdir -p $(dirname {OWN}); age-keygen -pq -o {OWN} 2>/dev/null"));
    lab.sandbox.lab();
    lab.sandbox.write("lab/.env", format!("A={CANARY}\n"));
    lab.sandbox.write("lab/all.yml", format!("a: {CANARY}\n"));
    lab.sh("lab", "hlx track all.yml --whole; git add -A; git commit -qm secrets; git show HEAD:.env >../sealed.env; git show HEAD:all.yml >../sealed.json");
    // The data key of hlx, unwrapped by age.
    let enc =
        lab.sandbox.read("sealed.env").lines().find_map(|line| {
            line.strip_prefix("sops_age__list_0__map_enc=").map(|enc| enc.replace("\\n", "\n"))
        });
    lab.sandbox.write("data-key.age", enc.unwrap());
    assert_eq!(lab.sh(".", &format!("age -d -i {OWN} data-key.age | wc -c")).trim(), "32");
    let inspected = lab.sh(".", "age-inspect data-key.age");
    assert!(inspected.contains("mlkem768x25519"), "{inspected}");
    // The whole file, by sops with age's plugin.
    let identity = lab.sh(".", &format!("age-plugin-pq -identity {OWN}"));
    for words in [&["-d", "sealed.env"][..], &["-d", "--output-type", "binary", "sealed.json"]] {
        let opened = lab.sops(words, &identity);
        assert!(opened.code == Some(0) && opened.out.contains(CANARY), "{opened:?}");
    }
    // And what sops sealed with that.
    let public = lab.sh(".", &format!("age-keygen -y {OWN}"));
    lab.sandbox.write("plain.yaml", format!("a: {CANARY}\n"));
    let sealed = lab.sops(&["-e", "-a", public.trim(), "plain.yaml"], &identity);
    assert!(sealed.code == Some(0) && sealed.out.contains("age1pq1"), "{sealed:?}");
    lab.sandbox.write("sops.yaml", &sealed.out);
    assert_eq!(lab.sh(".", "hlx decrypt sops.yaml"), format!("a: {CANARY}\n"));
    // Nobody had to allow the plugin, and hlx did not need it.
    let without = lab.sandbox.run_in(".", &["hlx", "show", "sops.yaml"], &[("PATH", "/usr/bin:/bin")]);
    assert!(without.code == Some(0) && without.out.contains(CANARY), "{without:?}");
}

#[test]
fn branches_rotations_servers_and_services_take_them() {
    let sandbox = Sandbox::new();
    sandbox.sh(
        ".",
        &format!("hlx keys generate --pq -o {OWN} >own.pub; hlx keys generate --pq -o laptop >laptop.pub"),
    );
    sandbox.lab();
    sandbox.sh("lab", &format!("echo A={CANARY} >.env; git add .; git commit -qm a"));
    let added = sandbox.run("lab", &["hlx", "recipients", "add", "-R", "../laptop.pub", "--name", "laptop"]);
    assert!(added.code == Some(0) && !added.err.contains("post-quantum"), "{added:?}");
    let opens = |key: &str| {
        let key = sandbox.path(key).display().to_string();
        let variables = [("HLX_IDENTITY", key.as_str()), ("HOME", "/nowhere")];
        sandbox.run_in("lab", &["hlx", "get", "app:.env", "A"], &variables).code
    };
    assert_eq!(opens("laptop"), Some(0));
    let listed: serde_json::Value =
        serde_json::from_str(&sandbox.ok("lab", &["hlx", "recipients", "list", "--json"])).unwrap();
    let readers = listed[0]["readers"].as_array().unwrap();
    assert!(
        readers.iter().any(|reader| reader["recipient"] == sandbox.read("laptop.pub").trim()),
        "{listed}"
    );
    let checked = sandbox.run("lab", &["hlx", "check"]);
    assert!(checked.code == Some(0) && !checked.out.contains("post-quantum"), "{checked:?}");
    sandbox.sh("lab", "hlx recipients remove laptop");
    assert_eq!(opens("laptop"), Some(3));
    assert_eq!(sandbox.ok("lab", &["hlx", "get", "app:.env", "A"]), CANARY);
    let exposed = sandbox.ok("lab", &["sh", "-c", "hlx exposure $(cat ../laptop.pub)"]);
    assert!(exposed.contains("app:.env") && exposed.contains("NOT CHANGED SINCE"), "{exposed}");
    // A server that has such a key, and a service whose key systemd hands it.
    let place = |name: &str| sandbox.path(name).display().to_string();
    let variables = [("HLX_IDENTITY", &*place("laptop")), ("HLX_CONFIG", &place("config.yaml"))];
    let joined = sandbox.run_in(".", &["hlx", "server", "join", "lab", "--branch", "app"], &variables);
    assert!(joined.out.contains(sandbox.read("laptop.pub").trim()), "{joined:?}");
    sandbox.sh("lab", &joined.out.replace(" --push", ""));
    sandbox
        .sh(".", "mkdir credentials; cp laptop credentials/hlx.identity; chmod 440 credentials/hlx.identity");
    let credentials = place("credentials");
    let variables = [("CREDENTIALS_DIRECTORY", credentials.as_str()), ("HOME", "/nowhere")];
    let opened = sandbox.run_in("lab", &["hlx", "get", "app:.env", "A"], &variables);
    assert_eq!((opened.code, opened.out.as_str()), (Some(0), CANARY), "{opened:?}");
}

#[test]
fn post_quantum_keys_beside_others_are_warned_of_once_and_noted_by_check() {
    let sandbox = Sandbox::new();
    sandbox.sh(".", "hlx keys generate --pq -o pq >pq.pub");
    sandbox.lab();
    sandbox.sh("lab", "hlx new web; echo A=1 >.env; echo B=2 >b.env; git add .; git commit -qm a");
    let added = sandbox.run("lab", &["hlx", "recipients", "add", "-R", "../pq.pub", "--all", "--offline"]);
    assert_eq!(added.code, Some(0), "{added:?}");
    assert_eq!(added.err.matches("warning: app, web: post-quantum keys and others").count(), 1, "{added:?}");
    let checked = sandbox.run("lab", &["hlx", "check"]);
    assert_eq!(checked.out.matches("post-quantum-wasted").count(), 2, "{checked:?}");
    assert!(
        checked.code == Some(0) && checked.out.contains("2 files are encrypted for post-quantum"),
        "{checked:?}"
    );
    let new = sandbox.run("lab", &["hlx", "new", "third", "-R", "../pq.pub"]);
    assert!(new.err.contains("warning: third: post-quantum keys and others"), "{new:?}");
}

#[test]
fn a_text_that_only_looks_like_such_a_key_is_refused_and_not_handed_to_a_plugin() {
    let sandbox = Sandbox::new();
    sandbox.lab();
    // A good checksum over a key that is too short.
    let short = "age1pq1qqqqqqqrhtqjv";
    for allowed in ["", "pq"] {
        let variables = [("HLX_ALLOW_PLUGINS", allowed)];
        let refused = sandbox.run_in("lab", &["hlx", "recipients", "add", short], &variables);
        assert!(refused.code == Some(2) && refused.err.contains("is no recipient"), "{refused:?}");
        assert!(!refused.err.contains("plugin"), "{refused:?}");
    }
    sandbox.sh(".", "hlx keys generate --pq -o pq >pq.pub; tr q p <pq.pub >broken.pub; sed -i 's/KEY-PQ-1./KEY-PQ-1B/' pq");
    let refused = sandbox.run("lab", &["hlx", "recipients", "add", "-R", "../broken.pub"]);
    assert!(refused.code == Some(2) && refused.err.len() < 400, "{refused:?}");
    let private = sandbox.run(".", &["hlx", "-i", "pq", "keys", "list"]);
    assert!(
        private.err.contains("key 1 in it is no age identity") && !private.err.contains("PQ-1B"),
        "{private:?}"
    );
    let given = sandbox.run("lab", &["sh", "-c", "hlx recipients add $(grep PQ ../pq)"]);
    assert!(given.code == Some(2) && !given.err.contains("PQ-1B"), "{given:?}");
}
