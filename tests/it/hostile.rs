//! A `.sops.yaml` that somebody pushed: a reader more, an expression that matches nothing, a weaker rule. Each is caught
//! at the owner's next `git add`, by `hlx check`, and by a server that asks for signatures.

use serde_json::Value;

use crate::sandbox::{CANARY, Sandbox};

/// What is done to the rules, and what `check` and `git add` say of it.
const HOSTILE: [(&str, &str, &str); 4] = [
    ("sed -i 's/^      - age1/      - KEY\\n&/'", "can read it", "could read it too"),
    (
        "sed -i 's/^  - age:/  - encrypted_regex: ^nothing$\\n    age:/'",
        "it has other rules",
        "`SECRET` would stay in clear",
    ),
    (
        "sed -i 's/^  - age:/  - encrypted_suffix: _sealed\\n    age:/'",
        "it has other rules",
        "`SECRET` would stay in clear",
    ),
    (
        "sed -i 's/^  - age:/  - unencrypted_regex: ^SECRET\\n    age:/'",
        "it has other rules",
        "`SECRET` would stay in clear",
    ),
];

/// The owner's `lab`, and `server.git`, which asks for a signature of hers; `other` is somebody who can push.
fn shared() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.lab();
    sandbox.sh(
        ".",
        "ssh-keygen -q -t ed25519 -N '' -f signer; printf 'test@example.org %s' \"$(cat signer.pub)\" >allowed
         hlx keys generate -o mallory.key >mallory.pub
         cd lab; echo A=1 >.env; git add -A; git commit -qm one
         git init -q --bare ../server.git; git remote add origin ../server.git; git push -q origin main app; git branch -q -u origin/app
         cd ../server.git; hlx init; git config hlx.allowedSigners \"$PWD/../allowed\"
         cd ..; git clone -q -b app server.git other; git -C other config user.name Mallory",
    );
    sandbox
}

impl Sandbox {
    /// What `hlx check` finds that was not accepted.
    fn unaccepted(&self) -> (Option<i32>, Vec<String>) {
        let done = self.run("lab", &["hlx", "check", "--json"]);
        let found: Value = serde_json::from_str(&done.out).unwrap();
        let of_rule = found.as_array().unwrap().iter().filter(|finding| finding["rule"] == "not-accepted");
        (done.code, of_rule.map(|finding| finding["message"].as_str().unwrap().to_owned()).collect())
    }
}

#[test]
fn hostile_rules_are_caught_by_the_server_by_check_and_at_the_next_add() {
    for (edit, found, refused) in HOSTILE {
        let sandbox = shared();
        let key = sandbox.read("mallory.pub").trim().to_owned();
        let edit = edit.replace("KEY", &key);
        sandbox.sh("other", &format!("{edit} .sops.yaml; git commit -qam tidy"));
        let pushed = sandbox.run("other", &["git", "push", "-q"]);
        assert!(
            pushed.code != Some(0) && pushed.err.contains(".sops.yaml: it changes who can read"),
            "{edit}: {pushed:?}"
        );
        assert_eq!(sandbox.unaccepted().1, Vec::<String>::new(), "{edit}");
        // A server that asks for nothing, as most do.
        sandbox.sh("server.git", "git config --unset hlx.allowedSigners");
        sandbox.sh("other", "git push -q");
        sandbox.sh("lab", "git pull -q");
        let (code, messages) = sandbox.unaccepted();
        assert_eq!((code, messages.len()), (Some(5), 1), "{edit}: {messages:?}");
        for word in [found, "which was not accepted here", "Mallory", "tidy"] {
            assert!(messages[0].contains(word), "{edit}: {messages:?}");
        }
        sandbox.write("lab/new.env", format!("SECRET={CANARY}\nnothing=1\nX_sealed=1\n"));
        let added = sandbox.run("lab", &["git", "add", "new.env"]);
        assert!(added.code != Some(0) && added.err.contains(refused), "{edit}: {added:?}");
        sandbox.no_canary_in_objects("lab");
        sandbox.ok("lab", &["hlx", "recipients", "accept", "--yes"]);
        assert_eq!(sandbox.unaccepted().1, Vec::<String>::new(), "{edit}");
        sandbox.ok("lab", &["git", "add", "new.env"]);
    }
}

#[test]
fn a_clone_that_accepted_nothing_has_nothing_that_waits() {
    let sandbox = shared();
    sandbox.sh(".", "git clone -q -b app server.git ci");
    let done = sandbox.run("ci", &["hlx", "check", "--json"]);
    assert!(!done.out.contains("not-accepted"), "{done:?}");
    assert!(!sandbox.path("ci/.git/hlx/trust").exists(), "to look is not to trust");
}
