//! What git's commands that show files show of sealed ones.

use std::path::Path;

use crate::sandbox::{CANARY, Done, Sandbox, places_of_gits};

const SHOWS: [(&str, &str); 7] = [
    ("git diff HEAD~1 HEAD", "+B=canary"),
    ("git log -p -1", "+B=canary"),
    ("git show", "+B=canary"),
    ("git show --word-diff HEAD", "{+B=canary"),
    ("git blame HEAD -- .env", "B=canary"),
    ("git stash show -p --textconv", "+C=canary"),
    ("git grep --textconv canary HEAD -- .env", "B=canary"),
];

#[test]
fn key_holders_see_plaintext_and_all_others_what_there_is() {
    for git in places_of_gits() {
        let sandbox = Sandbox::new();
        sandbox.lab();
        let hlx = Path::new(env!("CARGO_BIN_EXE_hlx")).parent().unwrap().display().to_string();
        let path = format!("{git}:{hlx}:/usr/local/bin:/usr/bin:/bin");
        let run = |line: &str| -> Done { sandbox.run_in("lab", &["sh", "-uc", line], &[("PATH", &path)]) };
        sandbox.write("lab/.env", "A=1\n");
        run("git add .env; git commit -qm one");
        sandbox.write("lab/.env", format!("A=1\nB={CANARY}\n"));
        run("git commit -qam two; echo 'C=canary-stash' >>.env; git stash -q");
        for (line, shown) in SHOWS {
            let done = run(line);
            assert!(done.code == Some(0) && done.out.contains(shown), "{git}: {line}: {done:?}");
            assert!(!done.out.contains("ENC[") && done.err.is_empty(), "{git}: {line}: {done:?}");
        }
        assert!(run("git diff").out.is_empty());
        sandbox.write("lab/.env", "A=2\n");
        assert!(run("git diff").out.contains("-B=canary"), "{git}");
        run("git checkout -q .env; mv ../home/.config ../home/away; rm .env; git checkout -q .env");
        for (line, _) in SHOWS {
            let done = run(line);
            let no_match = line.starts_with("git grep") && done.code == Some(1);
            assert!(done.code == Some(0) || no_match, "{git}: {line}: {done:?}");
            assert!(!done.out.contains("canary"), "{git}: {line}: {done:?}");
            assert!(no_match || done.out.contains("=ENC["), "{git}: {line}: {done:?}");
            // Once for the command, not for each version.
            assert!(
                done.err.matches("warning:").count() <= 2 && done.err.lines().count() <= 3,
                "{git}: {line}: {done:?}"
            );
        }
        // Under the name that needs no shell.
        sandbox.sh(".", &format!("ln -sf {hlx}/hlx hlx-textconv"));
        sandbox.write("x", CANARY);
        assert_eq!(sandbox.ok(".", &["./hlx-textconv", "x"]), CANARY);
        // A version that someone altered is shown as it is, and stops nothing.
        run(
            "mv ../home/away ../home/.config; git show --no-textconv HEAD:.env | sed s/sops_mac=ENC/sops_mac=XXX/ >../x; git update-index --cacheinfo 100644,$(git hash-object -w --no-filters ../x),.env; git commit -qnm altered",
        );
        let done = run("git log -p -2");
        assert!(
            done.code == Some(0) && done.out.contains("sops_mac=XXX") && done.out.contains("+B=canary"),
            "{git}: {done:?}"
        );
        sandbox.no_canary_in_objects("lab");
    }
}
