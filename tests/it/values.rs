//! Showing and changing single values, as their user meets it: in work trees, on branches, under stock sops.

use std::os::unix::fs::PermissionsExt as _;

use crate::sandbox::{CANARY, Done, Sandbox};

const COMPOSE: &str = "services:\n  web:\n    image: nginx:1\n    environment:\n      TOKEN: \"canary-swordfish-7f3a9c\" # inline\n      PORT: 80\n    labels: {traefik.enable: \"true\"}\n  db:\n    environment:\n    - PASSWORD=canary-swordfish-7f3a9c\n";

/// A lab with a sealed `.env` and a sealed compose file, committed.
fn lab() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.lab();
    sandbox.write("lab/.env", format!("# head\nTOKEN={CANARY} # why\nQUOTED=\"two words\"\nLAST=x\n"));
    sandbox.write("lab/compose.yml", COMPOSE);
    sandbox.sh("lab", "hlx track compose.yml; git add -A; git commit -qm secrets");
    sandbox
}

#[track_caller]
fn refused(done: &Done, code: i32, words: &[&str]) {
    assert_eq!(done.code, Some(code), "{done:?}");
    words.iter().for_each(|word| assert!(done.err.contains(word), "`{word}` is missing in {}", done.err));
    assert!(!done.err.contains("canary"), "a value in the message: {}", done.err);
    assert!(done.out.is_empty(), "{done:?}");
}

#[test]
fn words_that_name_nothing_end_with_2() {
    let sandbox = lab();
    let key = sandbox.ok(".", &["hlx", "keys", "generate", "--output", "other.key"]);
    for words in [
        &["get", ".evn", "X"][..],
        &["show", "ap:.env"],
        &["get", "app:.evn", "X"],
        &["recipients", "list", "--branch", "nope"],
        &["recipients", "add", key.trim(), "--branch", "nope"],
        &["recipients", "accept", "--branch", "nope"],
        &["rotate", "--data-keys", "--branch", "nope"],
        &["check", "--branch", "nope"],
        &["server", "join", "/nothere.git"],
        &["rollback", "nope"],
    ] {
        refused(&sandbox.run("lab", &[&["hlx"], words].concat()), 2, &["no"]);
    }
    for key in ["BAD KEY", "1BAD"] {
        refused(&sandbox.feed("lab", &["hlx", "set", ".env", key], "x"), 2, &["is no name of a variable"]);
    }
    let close = sandbox.feed("lab", &["hlx", "set", ".env", "LASTT"], "x");
    assert!(
        close.code == Some(0) && close.err.contains("LASTT is new") && close.err.contains("LAST too"),
        "{close:?}"
    );
}

#[test]
fn a_clone_is_not_told_of_a_history_that_it_does_not_have() {
    let sandbox = lab();
    sandbox.sh("lab", "echo x >a.txt; echo y >b.txt; git add a.txt; git commit -qm clear; git add b.txt");
    let tracked = |path: &str| sandbox.run("lab", &["hlx", "track", path]).err;
    assert!(tracked("a.txt").contains("a.txt is in git in clear, and its history keeps that"));
    let staged = tracked("b.txt");
    assert!(staged.contains("b.txt was staged in clear, and is in no commit"), "{staged}");
    assert!(!staged.contains("history"), "{staged}");
}

#[test]
fn values_are_shown_wherever_the_file_stands() {
    let sandbox = lab();
    sandbox.sh("lab", "git show --no-textconv HEAD:.env >../sealed.env; git switch -q main");
    for file in ["app:.env", "../sealed.env"] {
        assert_eq!(sandbox.ok("lab", &["hlx", "get", file, "TOKEN"]), CANARY);
        assert_eq!(sandbox.ok("lab", &["hlx", "get", file, "QUOTED"]), "two words");
        assert!(sandbox.ok("lab", &["hlx", "show", file]).starts_with("# head\nTOKEN=canary"));
    }
    assert_eq!(sandbox.ok("lab", &["hlx", "show", "app:compose.yml"]), COMPOSE);
    let json: serde_json::Value =
        serde_json::from_str(&sandbox.ok("lab", &["hlx", "show", "--json", "app:compose.yml"])).unwrap();
    assert_eq!(json, serde_yaml::from_str::<serde_json::Value>(COMPOSE).unwrap());
    for (key, value) in [
        ("services.web.environment.PORT", "80"),
        ("services.web.labels[\"traefik.enable\"]", "true"),
        ("[\"services\"][\"db\"][\"environment\"][0]", "PASSWORD=canary-swordfish-7f3a9c"),
        ("services.db.environment.0", "PASSWORD=canary-swordfish-7f3a9c"),
        ("services.db.environment.PASSWORD", CANARY),
    ] {
        assert_eq!(sandbox.ok("lab", &["hlx", "get", "app:compose.yml", key]), value, "{key}");
    }
    // Outside of any repository too; and no branch is meant where a file has that name.
    assert_eq!(sandbox.ok(".", &["hlx", "get", "sealed.env", "LAST"]), "x");
    sandbox.write("lab/app:.env", "LAST=file\n");
    assert_eq!(sandbox.ok("lab", &["hlx", "get", "app:.env", "LAST"]), "file");
}

#[test]
fn what_is_asked_for_wrongly_is_told_with_what_is_there() {
    let sandbox = lab();
    let get = |file: &str, key: &str| sandbox.run("lab", &["hlx", "get", file, key]);
    refused(&get(".env", "TOKNE"), 1, &[".env: there is no `TOKNE`; there is `TOKEN`"]);
    refused(&get("compose.yml", "PASWORD"), 1, &["there is no `PASWORD`; there is `services`"]);
    refused(&get("compose.yml", "TOKEN"), 1, &["there is `services.web.environment.TOKEN`"]);
    refused(&get("compose.yml", "services.web"), 2, &["is not one value", "`services.web.image`", "--json"]);
    refused(&get("compose.yml", "a..b"), 2, &["`a..b` is no key"]);
    refused(&get("README.md", "x"), 2, &["has no keys", "hlx show README.md"]);
    refused(&get("missing", "x"), 2, &["missing: there is no such file"]);
    refused(&get("ap:.env", "x"), 2, &["no such file", "the branches are app, main"]);
    refused(&get("app:nothing", "x"), 2, &["app:nothing: there is no such file"]);
    refused(&get(".", "x"), 2, &["a directory"]);
    sandbox.sh("lab", "git show --no-textconv HEAD:.env | sed 's/,tag:/,tag:A/' >../broken.env");
    refused(&get("../broken.env", "TOKEN"), 4, &["altered", "git log -- ../broken.env"]);
    sandbox.sh(".", "mv home/.config home/away");
    refused(&get("app:.env", "TOKEN"), 3, &["no key of yours opens it", "hlx keys list"]);
}

#[test]
fn set_changes_one_line_and_sops_opens_the_result() {
    let sandbox = lab();
    let before = sandbox.read("lab/.env");
    let set = |file: &str, key: &str, value: &str| {
        let done = sandbox.feed("lab", &["hlx", "set", file, key], value);
        assert_eq!(done.code, Some(0), "{done:?}");
    };
    sandbox.sh("lab", "chmod 640 .env");
    set(".env", "TOKEN", "new $value\n");
    set(".env", "MORE", "it's");
    let expected = before.replace(&format!("TOKEN={CANARY}"), "TOKEN='new $value'") + "MORE=\"it's\"\n";
    assert_eq!(sandbox.read("lab/.env"), expected);
    assert_eq!(sandbox.path("lab/.env").metadata().unwrap().permissions().mode() & 0o777, 0o640);
    // On the branch: a commit, and a work tree that has it checked out follows.
    sandbox.sh("lab", "git commit -qam one; git show --no-textconv HEAD:compose.yml >../before");
    set("app:compose.yml", "services.web.environment.TOKEN", CANARY);
    assert_eq!(
        sandbox.ok("lab", &["git", "log", "--format=%s", "-1"]),
        "one\n",
        "an unchanged value makes no commit"
    );
    set("app:compose.yml", "services.web.environment.TOKEN", "tok");
    set("app:compose.yml", "services.db.environment.NEW", "n");
    assert_eq!(
        sandbox.ok("lab", &["git", "log", "--format=%s", "-1"]),
        "compose.yml: set services.db.environment.NEW\n"
    );
    let expected = COMPOSE.replace(&format!("TOKEN: \"{CANARY}\""), "TOKEN: \"tok\"") + "    - NEW=n\n";
    assert_eq!(sandbox.read("lab/compose.yml"), expected);
    assert_eq!(sandbox.ok("lab", &["git", "status", "--porcelain"]), "");
    sandbox.sh("lab", "git show --no-textconv HEAD:compose.yml >../sealed.yml; git show --no-textconv HEAD:.env >../sealed.env");
    let changed = sandbox.run(".", &["diff", "before", "sealed.yml"]).out;
    assert!(changed.lines().filter(|line| line.starts_with('<')).count() <= 3, "{changed}");
    // A sealed file outside of a repository stays sealed.
    let done = sandbox.feed(".", &["hlx", "set", "sealed.env", "LAST"], "y\n");
    assert_eq!(done.code, Some(0), "{done:?}");
    let opened = sandbox.sops(".", &["-d", "sealed.env"]);
    assert!(opened.out.contains("LAST=y") && opened.out.contains("MORE=\"it's\""), "{opened:?}");
    let opened = sandbox
        .sops(".", &["-d", "--extract", "[\"services\"][\"web\"][\"environment\"][\"TOKEN\"]", "sealed.yml"]);
    assert_eq!(opened.out, "tok", "{opened:?}");
}

#[test]
fn compose_reads_what_was_set_in_a_dotenv_file() {
    let sandbox = Sandbox::new();
    if sandbox.run(".", &["docker", "compose", "version"]).code != Some(0) {
        eprintln!("\n*** SKIPPED: Docker Compose is missing ***\n");
        return;
    }
    let values = [
        "plain",
        "two  words",
        "pa$$w0rd $HOME ${X}",
        "it's",
        "a \"quoted\" 'value'",
        "back\\slash\\",
        "#no comment # either",
        "line\nbreak",
        "",
        "ü€",
        "  spaces  ",
        "a=b",
    ];
    sandbox.write("values.env", "");
    for (number, value) in values.iter().enumerate() {
        let name = format!("V{number}");
        let set = ["hlx", "set", "values.env", &name, "--keep-newline"];
        // Nothing at all on standard input is no value: the program in front of the pipe may have failed.
        let done = match *value {
            "" => sandbox.feed(".", &set[..4], "\n"),
            value => sandbox.feed(".", &set, value),
        };
        assert_eq!(done.code, Some(0), "{done:?}");
    }
    let refused = sandbox.feed(".", &["hlx", "set", "values.env", "V0"], "");
    assert!(refused.code == Some(1) && refused.err.contains("nothing was changed"), "{refused:?}");
    sandbox.write("compose.yml", "services:\n  a:\n    image: x\n    env_file: values.env\n");
    let config = sandbox.ok(".", &["docker", "compose", "config", "--format", "json"]);
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    for (number, value) in values.iter().enumerate() {
        let read = config["services"]["a"]["environment"][format!("V{number}")].as_str().unwrap();
        // Compose writes a dollar sign twice in its own output.
        assert_eq!(read.replace("$$", "$"), *value, "{}", sandbox.read("values.env"));
        assert_eq!(sandbox.ok(".", &["hlx", "get", "values.env", &format!("V{number}")]), *value);
    }
}

#[test]
fn a_value_never_comes_from_the_command_line() {
    let sandbox = lab();
    for words in [&["TOKEN", CANARY][..], &["TOKEN=canary-swordfish-7f3a9c"]] {
        let words = [&["hlx", "set", ".env"], words].concat();
        refused(&sandbox.run("lab", &words), 2, &["a value is never an argument", "shell's history"]);
    }
    assert_eq!(sandbox.ok("lab", &["git", "status", "--porcelain"]), "");
}

#[test]
fn what_cannot_be_set_or_unset_leaves_all_as_it_was() {
    let sandbox = lab();
    let set = |file: &str, words: &[&str], value: &[u8]| {
        sandbox.feed("lab", &[&["hlx", "set", file], words].concat(), value)
    };
    refused(&set(".env", &["A", "--type", "int"], b"1"), 2, &["know no types"]);
    refused(
        &set("compose.yml", &["services.web.environment.PORT", "--type", "int"], b"x"),
        2,
        &["no whole number"],
    );
    refused(&set("compose.yml", &["services.api.image"], b"x"), 1, &["there is no `services.api.image`"]);
    refused(&set("compose.yml", &["services.web.image"], &[0xff]), 2, &["not text in UTF-8"]);
    refused(&set("app:README.md", &["x"], b"x"), 5, &["app:README.md", "committed in clear"]);
    let unset = |file: &str, key: &str| sandbox.run("lab", &["hlx", "unset", file, key]);
    refused(
        &unset("compose.yml", "services.db.environment.PASSWORD"),
        1,
        &["line 10", "only entry", "hlx edit compose.yml"],
    );
    refused(&unset(".env", "NOPE"), 1, &["there is no `NOPE`"]);
    assert_eq!(sandbox.ok("lab", &["git", "status", "--porcelain"]), "");
    sandbox.write("lab/compose.yml", "a: [\n");
    refused(&unset("compose.yml", "a"), 1, &["compose.yml: line", "column"]);
    // A work tree with changes of its own stops a change of the branch.
    refused(
        &set("app:compose.yml", &["services.web.environment.PORT"], b"x"),
        1,
        &["not committed", "commit or stash"],
    );
}

#[test]
fn a_value_that_stays_clear_is_told() {
    let sandbox = lab();
    let done = sandbox.feed("lab", &["hlx", "set", "app:compose.yml", "services.web.image"], "nginx:2");
    assert!(
        done.code == Some(0) && done.err.contains("the file's rule leaves `services.web.image` in clear"),
        "{done:?}"
    );
    sandbox.write("lab/plain.yml", "a: 1\n");
    let done = sandbox.feed("lab", &["hlx", "set", "plain.yml", "a"], "2");
    assert!(
        done.code == Some(0)
            && done.err.contains("not protected")
            && done.err.contains("hlx track plain.yml"),
        "{done:?}"
    );
}

#[test]
fn unset_takes_lines_out_and_sops_opens_the_rest() {
    let sandbox = lab();
    sandbox.ok("lab", &["hlx", "unset", ".env", "TOKEN"]);
    assert_eq!(sandbox.read("lab/.env"), "# head\nQUOTED=\"two words\"\nLAST=x\n");
    sandbox.sh("lab", "git commit -qam one; git switch -q main");
    sandbox.ok("lab", &["hlx", "unset", "app:compose.yml", "services.web.environment.TOKEN"]);
    let expected = COMPOSE
        .lines()
        .filter(|line| !line.contains("TOKEN"))
        .map(|line| format!("{line}\n"))
        .collect::<String>();
    assert_eq!(sandbox.ok("lab", &["hlx", "show", "app:compose.yml"]), expected);
    sandbox.sh("lab", "git show --no-textconv app:compose.yml >../sealed.yml");
    assert!(sandbox.sops(".", &["-d", "sealed.yml"]).out.contains(&format!("PASSWORD={CANARY}")));
    sandbox.no_canary_in_objects("lab");
}

/// Runs a command line at a terminal of its own, and types.
fn at_terminal(sandbox: &Sandbox, line: &str, typed: &str) -> Done {
    let script = format!("{{ sleep 1; printf '{typed}'; sleep 1; }} | script -qec '{line}' /dev/null");
    sandbox.run("lab", &["sh", "-c", &script])
}

#[test]
fn at_a_terminal_the_value_is_asked_for_without_echo() {
    let sandbox = lab();
    let done = at_terminal(&sandbox, "hlx set .env LAST", "canary-swordfish-typed\\n");
    assert!(done.out.contains("value of LAST: ") && !done.out.contains("canary"), "{done:?}");
    assert!(sandbox.read("lab/.env").ends_with("LAST=canary-swordfish-typed\n"), "{done:?}");
    let done = at_terminal(&sandbox, "hlx set .env LAST", "\\n");
    assert!(done.out.contains("nothing was typed"), "{done:?}");
    let done = at_terminal(&sandbox, "hlx set compose.yml services", "x\\n");
    assert!(!done.out.contains("value of") && done.out.contains("is not one value"), "{done:?}");
}

/// An editor that is a shell script; the file is `$1`.
fn edit(sandbox: &Sandbox, editor: &str, file: &str) -> Done {
    sandbox.write("editor", format!("#!/bin/sh -eu\n{editor}\n"));
    sandbox.sh(".", "chmod +x editor");
    let mut command = sandbox.command("lab", &["hlx", "edit", file]);
    Done::of(command.env("EDITOR", sandbox.path("editor")).output().unwrap())
}

/// A lab whose `.env` no other test has.
fn own_lab() -> Sandbox {
    let sandbox = lab();
    let env = format!("HERE={}\n{}", sandbox.path("").display(), sandbox.read("lab/.env"));
    sandbox.write("lab/.env", env);
    sandbox.sh("lab", "git commit -q --amend -a --no-edit");
    sandbox
}

/// The copies of its `.env` that stand in RAM.
fn copies(sandbox: &Sandbox) -> String {
    let here = format!("HERE={}", sandbox.path("").display());
    sandbox.run(".", &["grep", "-rlaF", &here, "/dev/shm"]).out
}

#[test]
fn an_edit_leaves_nothing_behind() {
    let sandbox = own_lab();
    sandbox.sh("lab", "git switch -q main");
    let look = "echo \"$1\" >../seen; stat -c '%a' \"$1\" \"${1%/*}\" >>../seen; stat -f -c %T \"$1\" >>../seen; cat \"$1\" >\"${1%/*}/backup~\"";
    let done = edit(&sandbox, &format!("{look}; sed -i 's/LAST=x/LAST=edited/' \"$1\""), "app:.env");
    assert_eq!(done.code, Some(0), "{done:?}");
    let seen = sandbox.read("seen");
    assert!(seen.contains("/.env\n600\n700\ntmpfs\n"), "{seen}");
    assert_eq!(sandbox.ok("lab", &["hlx", "get", "app:.env", "LAST"]), "edited");
    assert_eq!(sandbox.ok("lab", &["git", "log", "--format=%s", "-1", "app"]), ".env: edit\n");
    sandbox.no_canary_in_objects("lab");
    sandbox.no_canary_in_files(".", &[]);
    assert_eq!(copies(&sandbox), "");
    // Unchanged is untouched: no commit.
    let done = edit(&sandbox, "true", "app:.env");
    assert!(done.code == Some(0) && done.err.contains("app:.env: unchanged"), "{done:?}");
    assert_eq!(sandbox.ok("lab", &["git", "rev-list", "--count", "app"]).trim(), "3");
    // Whatever happens to hlx, the copy goes.
    let hlx = "p=$PPID; until [ \"$(cat /proc/$p/comm)\" = hlx ]; do p=$(ps -o ppid= $p | tr -d ' '); done";
    for signal in ["KILL", "TERM", "HUP"] {
        edit(&sandbox, &format!("echo NEW=1 >>\"$1\"; {hlx}; kill -{signal} $p; sleep 1"), "app:.env");
    }
    sandbox.sh(".", "sleep 1");
    assert_eq!(copies(&sandbox), "");
    assert_eq!(sandbox.ok("lab", &["git", "rev-list", "--count", "app"]).trim(), "3");
    // An interrupt at the terminal is for the editor.
    let done = edit(&sandbox, &format!("echo NEW=1 >>\"$1\"; {hlx}; kill -INT $p"), "app:.env");
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!(sandbox.ok("lab", &["hlx", "get", "app:.env", "NEW"]), "1");
}

#[test]
fn an_edit_of_an_open_file_is_written_where_it_stands() {
    let sandbox = own_lab();
    let done = edit(&sandbox, "echo ADDED=1 >>\"$1\"", ".env");
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(sandbox.read("lab/.env").ends_with("LAST=x\nADDED=1\n"));
    assert_eq!(copies(&sandbox), "");
    // Another change meanwhile is not lost.
    let done = edit(&sandbox, "echo THEIRS=1 >>.env; echo OURS=1 >>\"$1\"", ".env");
    refused(&done, 1, &[".env: it changed meanwhile", "your changes were not kept"]);
    assert!(sandbox.read("lab/.env").ends_with("ADDED=1\nTHEIRS=1\n"));
}

#[test]
fn an_edit_that_is_no_valid_file_is_told_and_can_be_corrected() {
    let sandbox = lab();
    let done = edit(&sandbox, "echo ' broken: [' >>\"$1\"", "app:compose.yml");
    refused(&done, 1, &["app:compose.yml: line 11, column", "nothing was written", "not kept"]);
    refused(&edit(&sandbox, "exit 3", ".env"), 1, &["the editor", "failed", "nothing was written"]);
    refused(&edit(&sandbox, "true", "app:README.md"), 5, &["committed in clear"]);
    assert_eq!(sandbox.ok("lab", &["git", "status", "--porcelain"]), "");
    // At a terminal it can be edited again; the second time the editor corrects it.
    sandbox.write("editor", "#!/bin/sh\nif grep -q 'broken: \\[' \"$1\"; then sed -i 's/broken: \\[/mended: x/' \"$1\"; else echo 'broken: [' >>\"$1\"; fi\n");
    sandbox.sh(".", "chmod +x editor");
    let done = at_terminal(&sandbox, "EDITOR=../editor hlx edit compose.yml", "y\\n");
    assert!(done.out.contains("compose.yml: line 1") && done.out.contains("edit it again?"), "{done:?}");
    assert!(sandbox.read("lab/compose.yml").ends_with("mended: x\n"), "{done:?}");
    sandbox.sh("lab", "git checkout -q compose.yml");
    let done = at_terminal(&sandbox, "EDITOR=../editor hlx edit compose.yml", "n\\n");
    assert!(done.out.contains("nothing was written"), "{done:?}");
    assert_eq!(sandbox.ok("lab", &["git", "status", "--porcelain"]), "");
}

#[test]
fn files_are_encrypted_and_decrypted_as_sops_users_do() {
    let sandbox = lab();
    // Outside of git, by the `.sops.yaml` further up.
    sandbox.sh(".", "mkdir -p plain/sub; cp lab/.sops.yaml plain");
    sandbox.write("plain/sub/a.env", format!("A={CANARY}\n"));
    sandbox.write("plain/sub/b.pem", format!("{CANARY}\n"));
    let sealed = sandbox.ok("plain/sub", &["hlx", "encrypt", "a.env"]);
    assert!(sealed.starts_with("A=ENC[") && !sealed.contains(CANARY), "{sealed}");
    refused(&sandbox.run("plain/sub", &["hlx", "encrypt", "a.env", "b.pem"]), 2, &["--in-place"]);
    sandbox.ok("plain/sub", &["hlx", "encrypt", "--in-place", "a.env", "b.pem"]);
    sandbox.no_canary_in_files("plain", &[]);
    assert_eq!(sandbox.sops("plain/sub", &["-d", "a.env"]).out, format!("A={CANARY}\n"));
    assert_eq!(sandbox.sops("plain/sub", &["-d", "b.pem"]).out, format!("{CANARY}\n"));
    refused(&sandbox.run("plain/sub", &["hlx", "encrypt", "--in-place", "a.env"]), 4, &["encrypted already"]);
    assert_eq!(sandbox.ok("plain/sub", &["hlx", "decrypt", "b.pem"]), format!("{CANARY}\n"));
    sandbox.ok("plain/sub", &["hlx", "decrypt", "--in-place", "a.env"]);
    assert_eq!(sandbox.read("plain/sub/a.env"), format!("A={CANARY}\n"));
    refused(&sandbox.run("plain/sub", &["hlx", "decrypt", "a.env"]), 4, &["a.env: it is not encrypted"]);
    sandbox.write("elsewhere/a.env", "A=1\n");
    refused(&sandbox.run("elsewhere", &["hlx", "encrypt", "a.env"]), 5, &["no `.sops.yaml`"]);
    // A protected file gives the very bytes that git has.
    sandbox.sh("lab", "hlx encrypt .env >../sealed; git show --no-textconv :.env | cmp - ../sealed");
    sandbox.sh("lab", "hlx encrypt --in-place .env; git add .env");
    assert_eq!(sandbox.ok("lab", &["git", "status", "--porcelain"]), "");
    sandbox.sh("lab", "hlx decrypt --in-place .env; git add .env");
    assert_eq!(sandbox.ok("lab", &["git", "status", "--porcelain"]), "");
    refused(
        &sandbox.run("lab", &["hlx", "decrypt", "--in-place", "app:.env"]),
        5,
        &["for ever", "hlx show app:.env"],
    );
    assert!(sandbox.ok("lab", &["hlx", "decrypt", "app:.env"]).contains(CANARY));
}

#[test]
fn values_of_ini_files_are_changed_in_place_and_sops_opens_them() {
    let sandbox = Sandbox::new();
    sandbox.lab();
    let ini = format!("; top\n[db]\nuser = me ; who\npassword = \"{CANARY}\"\n\n[web.tls]\nport: 80\n");
    sandbox.write("lab/app.ini", &ini);
    sandbox.sh("lab", "hlx track app.ini; git add -A; git commit -qm ini; git switch -q main");
    assert_eq!(sandbox.ok("lab", &["hlx", "get", "app:app.ini", "db.password"]), CANARY);
    assert_eq!(
        sandbox.feed("lab", &["hlx", "set", "app:app.ini", "db.password"], "a \"b\" ; c").code,
        Some(0)
    );
    assert_eq!(sandbox.feed("lab", &["hlx", "set", "app:app.ini", "[\"web.tls\"].host"], "x").code, Some(0));
    sandbox.ok("lab", &["hlx", "unset", "app:app.ini", "db.user"]);
    let expected = "; top\n[db]\npassword = `a \"b\" ; c`\n\n[web.tls]\nport: 80\nhost: x\n";
    assert_eq!(sandbox.ok("lab", &["hlx", "show", "app:app.ini"]), expected);
    sandbox.sh("lab", "git show --no-textconv app:app.ini >../sealed.ini");
    let opened = sandbox.sops(".", &["-d", "--output-type", "json", "sealed.ini"]).out;
    let opened: serde_json::Value = serde_json::from_str(&opened).unwrap();
    assert_eq!(opened["db"]["password"], "a \"b\" ; c");
    assert_eq!(opened["web.tls"]["host"], "x");
}
