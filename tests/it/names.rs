//! Names that others chose: they forge no line of a list, are no way out of the repository, and need not be UTF-8.

use serde_json::Value;

use crate::sandbox::{CANARY, Done, Sandbox};

/// What a path would say on a line of its own.
const FORGED: &str = "forged: nothing to see here";

/// A lab whose sealed file has a name of two lines, of which the second moves the cursor too.
fn lab() -> (Sandbox, String) {
    let sandbox = Sandbox::new();
    sandbox.lab();
    let name = format!(".env.x\n{FORGED}\u{1b}[1A");
    sandbox.write(&format!("lab/{name}"), "A=1\n");
    sandbox.sh("lab", "git add -A; git commit -qm one");
    (sandbox, name)
}

#[track_caller]
fn forges_nothing(done: &Done) {
    for line in done.out.lines().chain(done.err.lines()) {
        let plain = line.trim_start_matches("hlx: ").trim_start();
        assert!(!plain.starts_with(FORGED), "{done:?}");
        assert!(!line.contains('\u{1b}'), "{done:?}");
    }
}

#[test]
fn a_path_of_two_lines_is_one_line_of_every_list() {
    let (sandbox, name) = lab();
    let quoted = format!(r#"".env.x\n{FORGED}\033[1A""#);
    let says = |words: &[&str]| {
        let done = sandbox.run("lab", words);
        forges_nothing(&done);
        assert!((done.out.clone() + &done.err).contains(&quoted), "{words:?}: {done:?}");
    };
    says(&["hlx", "status"]);
    says(&["hlx", "lock"]);
    says(&["hlx", "unlock"]);
    sandbox.write(&format!("lab/{name}"), "A=2\n");
    says(&["hlx", "lock"]);
    sandbox.sh("lab", "git commit -qam two");
    // Machines get it as it is.
    let status: Value = serde_json::from_str(&sandbox.ok("lab", &["hlx", "status", "--json"])).unwrap();
    assert!(status.to_string().contains(&serde_json::to_string(&name).unwrap()), "{status}");
    // What comes from elsewhere, and what is wrong with it.
    sandbox.sh(".", "git clone -q -b app lab other; cd other; git config user.name Mallory");
    sandbox.sh("other", "hlx init 2>/dev/null; hlx rotate --data-keys 2>/dev/null; git show --no-textconv HEAD:./.env.x* >../sealed");
    sandbox.sh("lab", "git pull -q ../other app");
    says(&["hlx", "recipients", "accept"]);
    sandbox.sh("lab", "git reset -q --hard HEAD~1");
    sandbox.commit_unfiltered(&format!("'{name}'"), &format!("A={CANARY}\n"));
    says(&["hlx", "check"]);
    let found: Value = serde_json::from_str(&sandbox.run("lab", &["hlx", "check", "--json"]).out).unwrap();
    assert!(found.as_array().unwrap().iter().any(|finding| finding["path"] == name.as_str()), "{found}");
    sandbox.sh(".", "git init -q --bare away.git");
    says(&["git", "push", "-q", "../away.git", "app"]);
    let rotated = sandbox.run("lab", &["hlx", "rotate", "--branch", "app", "--yes"]);
    forges_nothing(&rotated);
}

#[test]
fn names_that_are_no_utf_8_are_locked_and_unlocked_like_others() {
    let sandbox = Sandbox::new();
    sandbox.lab();
    let name = "name=$(printf 'b\\377.env')";
    sandbox.sh(
        "lab",
        &format!("{name}; echo A={CANARY} >\"$name\"; echo B=1 >b.env; git add -A; git commit -qm one"),
    );
    let locked = sandbox.run("lab", &["hlx", "lock"]);
    assert_eq!((locked.code, locked.out.lines().count()), (Some(0), 3), "{locked:?}");
    sandbox.no_canary_in_files("lab", &[]);
    assert_eq!(sandbox.sh("lab", "git status --porcelain"), "");
    sandbox.ok("lab", &["hlx", "unlock"]);
    assert_eq!(
        sandbox.sh("lab", &format!("{name}; cat \"$name\" b.env; git status --porcelain")),
        format!("A={CANARY}\nB=1\n")
    );
    // One that git does not have yet would be left lying open.
    sandbox.sh("lab", &format!("echo N={CANARY} >\"$(printf 'n\\377.env')\""));
    let refused = sandbox.run("lab", &["hlx", "lock"]);
    assert!(refused.code == Some(1) && refused.err.contains("not in git yet"), "{refused:?}");
}

#[test]
fn a_link_in_a_repository_is_no_way_out_of_it() {
    let sandbox = Sandbox::new();
    sandbox.lab();
    sandbox.write("outside/.env", "A=1\n");
    sandbox.write("lab/conf/.env", "A=1\n");
    sandbox.sh("lab", "git add -A; ln -s ../outside out; ln -s conf in; mkdir sub; ln -s .. sub/up");
    for path in ["out/.env", "sub/up/out/.env", "out/../outside/.env"] {
        for words in [
            &["set", path, "A"][..],
            &["unset", path, "A"],
            &["edit", path],
            &["encrypt", "--in-place", path],
        ] {
            let words = [&["hlx"], words].concat();
            let done = sandbox.feed("lab", &words, "2");
            assert!(
                done.code == Some(2) && done.err.contains("leads out of its repository"),
                "{words:?}: {done:?}"
            );
        }
    }
    assert_eq!(sandbox.read("outside/.env"), "A=1\n");
    // Within the repository, and where the link is the machine's own.
    sandbox.sh(".", "ln -s lab alias");
    for path in ["in/.env", "sub/up/conf/.env", "../alias/conf/.env"] {
        let done = sandbox.feed("lab", &["hlx", "set", path, "A"], path);
        assert_eq!(done.code, Some(0), "{path}: {done:?}");
        assert!(sandbox.read("lab/conf/.env").contains(path));
    }
}

#[test]
fn status_and_hints_say_names_as_they_are() {
    let sandbox = Sandbox::new();
    sandbox.lab();
    sandbox.sh("lab", "name=$(printf 'b\\377.env'); echo A=1 >\"$name\"; echo A=1 >'.env. '; git add -A; git commit -qm one");
    let shown = sandbox.ok("lab", &["hlx", "status"]);
    for name in [r#""b\377.env" "#, r#"".env. " "#] {
        let line = shown.lines().find(|line| line.trim_start().starts_with(name));
        assert!(line.is_some_and(|line| line.contains("encrypted, open here")), "{shown}");
    }
    // What is typed may be any name; where it cannot be written down, that is said.
    sandbox.sh("lab", "hlx show \"$(printf 'b\\377.env')\" | grep -q A=1");
    for verb in ["track", "untrack", "reseal", "check"] {
        let refused = sandbox.run("lab", &["sh", "-c", &format!("hlx {verb} \"$(printf 'n\\377')\"")]);
        let named = refused.err.contains(r#""n\377""#);
        assert!(refused.code == Some(2) && named, "{verb}: {refused:?}");
    }
    // What a hint says can be pasted.
    sandbox.write("lab/my file.txt", CANARY);
    let done = sandbox.run("lab", &["hlx", "track", "my file.txt"]);
    let hint = done.err.lines().find_map(|line| line.split("commit it with `").nth(1)).unwrap();
    sandbox.sh("lab", hint.split('`').next().unwrap());
    assert!(sandbox.ok("lab", &["git", "cat-file", "blob", ":my file.txt"]).contains("ENC["), "{done:?}");
}
