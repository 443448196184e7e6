//! `hlx check`, over real repositories.

use serde_json::Value;

use crate::sandbox::{CANARY, Sandbox, flipped};

/// A lab with one sealed file on `app`, committed.
fn lab() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.lab();
    sandbox.write("lab/.env", format!("A={CANARY}\n"));
    sandbox.sh("lab", "git add -A; git commit -qm one");
    sandbox
}

/// The findings as `RULE PLACE:PATH`, with `*` for those of the index, notes left out.
#[track_caller]
fn findings(sandbox: &Sandbox, words: &[&str]) -> Vec<String> {
    let done = sandbox.run("lab", &[&["hlx", "check", "--json"], words].concat());
    let found: Value = serde_json::from_str(&done.out).unwrap_or_else(|_| panic!("{done:?}"));
    let found = found.as_array().unwrap();
    let error = found.iter().any(|finding| finding["severity"] == "error");
    assert_eq!(done.code, Some(if error { 5 } else { 0 }), "{done:?}");
    assert!(!done.out.contains(CANARY) && !done.err.contains(CANARY), "{done:?}");
    let text = |finding: &Value, name: &str| finding[name].as_str().unwrap_or_default().to_owned();
    found
        .iter()
        .filter(|finding| finding["severity"] != "note")
        .map(|finding| {
            let index = if finding["staged"] == true { "*" } else { "" };
            format!("{} {}{index}:{}", text(finding, "rule"), text(finding, "branch"), text(finding, "path"))
        })
        .collect()
}

#[test]
fn a_sound_repository_has_nothing_to_say() {
    let sandbox = lab();
    sandbox.sh("lab", "hlx new web; hlx new vault --sealed");
    assert_eq!(findings(&sandbox, &[]), Vec::<String>::new());
    let done = sandbox.run("lab", &["hlx", "check", "--strict"]);
    assert!(done.code == Some(0) && done.err.contains("0 errors, 0 warnings"), "{done:?}");
    // In a folder, in a bare repository, and without a key.
    sandbox.sh("lab", "mkdir -p sub; cd sub; hlx check; git clone -q --bare .. ../../bare.git; cd ../../bare.git; hlx check");
    sandbox.sh(".", "mv home/.config home/away; cd bare.git; hlx check --strict");
}

#[test]
fn plaintext_is_found_in_every_branch_by_that_branchs_own_attributes() {
    let sandbox = lab();
    sandbox.commit_unfiltered("old.env", &format!("A={CANARY}\n"));
    sandbox.commit_unfiltered("open.txt", "text\n");
    // `main` protects nothing, so that the same path is no finding there.
    sandbox.sh(
        "lab",
        "git switch -q main; printf 'x=1\n# hlx:allow\n' >old.env; git add old.env; git commit -qm open",
    );
    assert_eq!(findings(&sandbox, &[]), ["plaintext app:old.env"]);
    assert_eq!(findings(&sandbox, &["--branch", "main"]), Vec::<String>::new());
    let missing = sandbox.run("lab", &["hlx", "check", "--branch", "nowhere"]);
    assert!(missing.code == Some(2) && missing.err.contains("no branch `nowhere`"), "{missing:?}");
    // Only in the index, and told of paths that were asked for.
    sandbox.sh("lab", "git switch -q app; git rm -qf old.env; git commit -qm gone");
    sandbox.write("raw", "B=1\n");
    sandbox.sh(
        "lab",
        "git update-index --add --cacheinfo 100644,$(git hash-object -w --no-filters ../raw),sub/new.env",
    );
    assert_eq!(findings(&sandbox, &[]), ["plaintext app*:sub/new.env"]);
    assert_eq!(findings(&sandbox, &["sub"]), ["plaintext app*:sub/new.env"]);
    assert_eq!(findings(&sandbox, &["README.md"]), Vec::<String>::new());
    // The history keeps it.
    assert_eq!(
        findings(&sandbox, &["--history", "--branch", "app", "old.env"]),
        ["plaintext-history app:old.env"]
    );
}

#[test]
fn a_path_that_was_protected_later_is_found_in_the_history() {
    let sandbox = lab();
    sandbox.sh("lab", "echo canary-swordfish >old.conf; git add old.conf; git commit -qm old");
    let first = sandbox.ok("lab", &["git", "rev-parse", "HEAD"]);
    sandbox.sh(
        "lab",
        "hlx track old.conf; git add --renormalize .; git add .; git commit -qm track; git branch twin",
    );
    assert_eq!(findings(&sandbox, &["--strict"]), Vec::<String>::new());
    let done = sandbox.run("lab", &["hlx", "check", "--history"]);
    assert_eq!(done.code, Some(5));
    assert!(done.out.contains(&format!("in clear since commit {}", &first[..10])), "{}", done.out);
    assert!(done.out.contains("from app, twin"), "{}", done.out);
}

#[test]
fn branches_of_remotes_count_where_there_is_no_local_one() {
    let sandbox = lab();
    sandbox.sh("lab", "hlx new web; git switch -q web");
    sandbox.commit_unfiltered("old.env", "A=plain\n");
    sandbox.sh("lab", "git switch -q app; hlx hook pre-commit");
    sandbox.sh(".", "git clone -q -b app lab clone; mv lab first; mv clone lab; cd lab; hlx init");
    assert_eq!(findings(&sandbox, &[]), ["plaintext origin/web:old.env"]);
    assert_eq!(findings(&sandbox, &["--branch", "web"]), ["plaintext origin/web:old.env"]);
    sandbox.sh(
        "lab",
        "git switch -qc web; git commit -q --allow-empty -m x; git rm -qrf .; git commit -qm empty",
    );
    assert_eq!(findings(&sandbox, &[]), Vec::<String>::new());
    assert_eq!(findings(&sandbox, &["--remotes"]), ["plaintext origin/web:old.env"]);
}

#[test]
fn broken_files_are_found_and_what_needs_a_key_only_with_one() {
    let sandbox = lab();
    let sealed = sandbox.ok("lab", &["git", "cat-file", "blob", "HEAD:.env"]);
    sandbox.commit_unfiltered("stale.env", &format!("B_unencrypted=1\n{sealed}"));
    sandbox.commit_unfiltered("altered.env", &flipped(&sealed));
    sandbox.commit_unfiltered("clear.env", &format!("B=1\n{sealed}"));
    sandbox.commit_unfiltered("broken.env", &sealed.replace("sops_version", "sops_vorsion"));
    sandbox.commit_unfiltered("comment.env", &format!("#clear\n{sealed}"));
    let keyless =
        ["broken app:broken.env", "plaintext-value app:clear.env", "plaintext-comment app:comment.env"];
    assert_eq!(
        findings(&sandbox, &[]),
        ["altered app:altered.env", keyless[0], keyless[1], keyless[2], "stale-mac app:stale.env"]
    );
    sandbox.sh(".", "mv home/.config home/away");
    assert_eq!(findings(&sandbox, &[]), keyless);
}

#[test]
fn readers_must_be_those_of_the_config() {
    let sandbox = lab();
    sandbox.sh("lab", "hlx keys generate -o ../nas.key >../nas.pub");
    // A reader that the config lost, and one that it only names.
    sandbox.sh("lab", "hlx recipients add $(cat ../nas.pub) --name nas; grep -v nas .sops.yaml >../x; cp ../x .sops.yaml; git commit -qam x");
    assert_eq!(findings(&sandbox, &[]), ["reader-unknown app:.env"]);
    sandbox.sh("lab", "git checkout -q HEAD~1 -- .sops.yaml; hlx keys generate -o ../two.key >../two.pub; echo \"      - $(cat ../two.pub)\" >>.sops.yaml; git add .; git commit -qm y");
    assert_eq!(findings(&sandbox, &[]), ["reader-lost app:.env"]);
    assert_eq!(sandbox.run("lab", &["hlx", "check", "--strict"]).code, Some(5));
    // Rules that are broken, missing, or for nothing.
    sandbox.write("lab/.sops.yaml", "creation_rules: [\n");
    sandbox.sh("lab", "git commit -qnam broken; hlx recipients accept -y");
    assert_eq!(findings(&sandbox, &[]), ["config-broken app:.sops.yaml"]);
    sandbox.write("lab/.sops.yaml", "creation_rules:\n  - path_regex: ^no$\n    age: age1xk7yh7phvy5fcapfuzwvhrr8hehh35p0zyrk4hur70yge458ayxq6dm0nj\n");
    sandbox.sh("lab", "git commit -qnam idle; hlx recipients accept -y");
    assert_eq!(findings(&sandbox, &[]), ["config-gap app:.env"]);
    assert!(sandbox.run("lab", &["hlx", "check"]).out.contains("creation rule 1 is for no file"));
    sandbox.sh("lab", "git rm -qf .sops.yaml; git commit -qnm none; hlx recipients accept -y");
    assert_eq!(findings(&sandbox, &[]), ["config-gap app:.sops.yaml"]);
}

#[test]
fn one_data_key_for_different_readers_is_found() {
    let sandbox = lab();
    sandbox.write("lab/two.env", "B=2\n");
    sandbox.sh("lab", "git add .; git commit -qm two; git branch twin");
    // `.env` keeps its data key and gets a reader more on one branch only.
    sandbox.sh(
        "lab",
        "hlx keys generate -o ../nas.key >../nas.pub; hlx recipients add $(cat ../nas.pub) --branch twin",
    );
    let mut found = findings(&sandbox, &[]);
    found.sort();
    assert_eq!(found, ["readers-differ twin:.env", "readers-differ twin:two.env"], "{found:?}");
}

#[test]
fn attributes_that_do_harm_are_found() {
    let sandbox = lab();
    let all = sandbox.read("lab/.gitattributes") + "*.env text\n* filter=hlx\n";
    sandbox.commit_unfiltered(".gitattributes", &all);
    let found = findings(&sandbox, &[".env", ".sops.yaml", ".gitattributes"]);
    assert!(found.contains(&"conversion app:.env".to_owned()), "{found:?}");
    assert!(found.contains(&"must-be-clear app:.sops.yaml".to_owned()), "{found:?}");
    sandbox
        .sh("lab", "git reset -q --hard HEAD~1; echo '.env -filter' >>.gitattributes; git add .gitattributes; git commit -qm away");
    // One of several, and all of them.
    sandbox.sh(
        "lab",
        "echo '*.pem filter=hlx -text' >>.gitattributes; echo x >x.pem; git add .gitattributes x.pem; git commit -qm pem",
    );
    assert_eq!(findings(&sandbox, &[]), ["abandoned app:.env"]);
    sandbox.sh("lab", "git rm -qf x.pem; git commit -qm gone");
    assert_eq!(findings(&sandbox, &[]), ["abandoned app:"]);
    sandbox.write("lab/.env", "A=plain\n");
    sandbox.sh("lab", "git commit -qnam clear");
    assert_eq!(findings(&sandbox, &[]), ["unprotected app:.env"]);
}

#[test]
fn findings_are_written_for_programs() {
    let sandbox = lab();
    sandbox.commit_unfiltered("a,b.env", "A=plain\n");
    let sarif: Value =
        serde_json::from_str(&sandbox.run("lab", &["hlx", "check", "--format", "sarif"]).out).unwrap();
    assert_eq!(sarif["version"], "2.1.0");
    let run = &sarif["runs"][0];
    let result = &run["results"][0];
    let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
    assert_eq!(run["tool"]["driver"]["rules"][index]["id"], result["ruleId"]);
    assert_eq!(result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"], "a,b.env");
    let github = sandbox.run("lab", &["hlx", "check", "--format", "github"]).out;
    assert!(
        github.starts_with("::error title=hlx: plaintext,file=a%2Cb.env::app: plaintext in git"),
        "{github}"
    );
    let human = sandbox.run("lab", &["hlx", "check"]);
    assert!(human.out.starts_with("app\n  a,b.env\n    error: plaintext in git"), "{human:?}");
    assert!(human.code == Some(5) && human.err.contains("1 error, 0 warnings"), "{human:?}");
}

/// Commits this compose file on a branch.
fn stack(sandbox: &Sandbox, branch: &str, compose: &str) {
    sandbox.sh(
        "lab",
        &format!("git switch -q {branch} 2>/dev/null || {{ hlx new {branch}; git switch -q {branch}; }}"),
    );
    sandbox.write("lab/compose.yml", compose);
    sandbox.sh("lab", "git add -A; git commit -qm compose; git switch -q main");
}

#[test]
fn ports_are_claimed_once_on_a_host() {
    let sandbox = lab();
    let on = |hosts: &str, ports: &str| {
        format!("x-hlx: {{hosts: [{hosts}]}}\nservices:\n  web:\n    image: x\n    ports: [{ports}]\n")
    };
    stack(&sandbox, "app", &on("nas", "'8080:80', '53:53/udp'"));
    stack(&sandbox, "b-other-host", &on("pi", "'8080:80'"));
    stack(&sandbox, "c-other-protocol", &on("nas", "'53:53'"));
    assert_eq!(findings(&sandbox, &[]), Vec::<String>::new());
    stack(&sandbox, "d-any-host", &on("", "{target: 80, published: 8080}"));
    assert_eq!(findings(&sandbox, &[]), ["port-conflict d-any-host:compose.yml"]);
    let done = sandbox.run("lab", &["hlx", "check"]);
    assert!(
        done.out.contains("line 5: `web` claims the port 8080/tcp, and so does `web` of app"),
        "{done:?}"
    );
    // A branch of the same stack is the same stack; two services of one stack are not.
    sandbox.sh("lab", "git branch -D -q d-any-host; git branch app-next app");
    assert_eq!(findings(&sandbox, &[]), Vec::<String>::new());
    stack(
        &sandbox,
        "app",
        "services:\n  a: {image: x, ports: ['81:80']}\n  b: {image: x, ports: ['80-82:80-82']}\n",
    );
    assert_eq!(findings(&sandbox, &[]), ["port-conflict app:compose.yml"]);
}

#[test]
fn what_x_hlx_names_must_be_there() {
    let sandbox = lab();
    let said = |x_hlx: &str| format!("x-hlx: {{{x_hlx}}}\nservices: {{web: {{image: x}}}}\n");
    stack(&sandbox, "a", &said("after: [b], probes: [{exec: [web, 'true']}]"));
    stack(&sandbox, "b", &said("after: [c]"));
    stack(&sandbox, "c", &said(""));
    assert_eq!(findings(&sandbox, &[]), Vec::<String>::new());
    assert_eq!(
        findings(&sandbox, &["--branch", "a"]),
        Vec::<String>::new(),
        "b is there, though not looked at"
    );
    stack(&sandbox, "a", &said("after: [b, treafik], probes: [{exec: [wbe, 'true']}]"));
    stack(&sandbox, "c", &said("after: [b]"));
    stack(&sandbox, "d", &said("after: [d]"));
    assert_eq!(
        findings(&sandbox, &[]),
        [
            "after a:compose.yml",
            "settings a:compose.yml",
            "after b:compose.yml",
            "after c:compose.yml",
            "after d:compose.yml"
        ]
    );
    let done = sandbox.run("lab", &["hlx", "check"]);
    for words in [
        "line 1: `x-hlx.after` names `treafik`, which is no branch here",
        "`x-hlx.probes` names `wbe`, which is no service of the stack",
        "leads back to its own stack: b after c after b",
        "leads back to its own stack: d after d",
    ] {
        assert!(done.out.contains(words), "`{words}` is missing in {}", done.out);
    }
}

#[test]
fn compose_files_secrets_in_clear_and_environments_are_looked_at() {
    let sandbox = lab();
    stack(&sandbox, "a", "services:\n  web: {}\nserivces: {}\n");
    stack(&sandbox, "b", "x-hlx: {timeot: 5m}\nservices: {web: {image: x}}\n");
    stack(
        &sandbox,
        "c",
        "services:\n  db:\n    image: postgres:16\n    environment:\n      POSTGRES_PASSWORD: k3Jd9sQx2vLw\n",
    );
    assert_eq!(
        findings(&sandbox, &[]),
        [
            "compose-key a:compose.yml",
            "compose-invalid a:compose.yml",
            "settings b:compose.yml",
            "likely-secret c:compose.yml",
            "environment-file c:compose.yml"
        ]
    );
    // Encrypted, it is no secret in clear any more; Docker keeps it all the same.
    sandbox.sh(
        "lab",
        "git switch -q c; hlx track compose.yml; git add --renormalize .; git add .; git commit -qm track",
    );
    assert_eq!(findings(&sandbox, &["--branch", "c"]), ["environment-file c:compose.yml"]);
    // A file that is encrypted whole is looked into with a key, and its values are not shown.
    sandbox.sh("lab", "hlx new vault --sealed; git switch -q vault");
    sandbox.write("lab/compose.yml", format!("services:\n  web:\n    {CANARY}: x\n"));
    sandbox.sh("lab", "git commit -qam broken");
    assert_eq!(
        findings(&sandbox, &["--branch", "vault"]),
        ["compose-key vault:compose.yml", "compose-invalid vault:compose.yml"]
    );
    let token = format!("ghp_{}", "a1B2c3D4e5F6g7H8i9J0".repeat(2));
    sandbox.sh("lab", "git switch -q main");
    sandbox.write("lab/notes.md", format!("use {token}\nfine {token} hlx:allow\n"));
    sandbox.sh("lab", "git add .; git commit -qnm notes");
    assert_eq!(findings(&sandbox, &["--branch", "main"]), ["token main:notes.md"]);
    let done = sandbox.run("lab", &["hlx", "check", "--branch", "main"]);
    assert!(
        done.out.contains("line 1: what looks like a GitHub token (`gh…_…`)") && !done.out.contains("a1B2"),
        "{done:?}"
    );
}

#[test]
fn shallow_clones_and_repositories_without_a_commit_can_be_checked() {
    let sandbox = lab();
    sandbox.sh("lab", "echo more >>README.md; git commit -qam more");
    sandbox.sh(".", "git clone -q --depth 1 -b app file://$PWD/lab shallow; git init -q new; mv lab whole; mv shallow lab");
    assert_eq!(findings(&sandbox, &["--history"]), Vec::<String>::new());
    sandbox.sh(".", "rm -r lab; mv new lab");
    assert_eq!(findings(&sandbox, &["--history"]), Vec::<String>::new());
    let outside = sandbox.run(".", &["hlx", "check"]);
    assert!(outside.code == Some(1) && outside.err.contains("not in a git repository"), "{outside:?}");
}

#[test]
fn what_was_encrypted_once_and_is_clear_now_is_found_however_long_ago() {
    let sandbox = lab();
    sandbox.sh("lab", "git rm -qf .gitattributes");
    sandbox.write("lab/.env", "A=plain\n");
    sandbox.sh("lab", "git add .env; git commit -qnm clear");
    let clear = sandbox.ok("lab", &["git", "rev-parse", "HEAD"]);
    sandbox.sh(
        "lab",
        "echo B=1 >>.env; git commit -qnam b; echo x >>README.md; git add .; git commit -qnm later",
    );

    assert_eq!(findings(&sandbox, &["--branch", "app", ".env"]), ["unprotected app:.env"]);
    let done = sandbox.run("lab", &["hlx", "check", "--history"]);
    assert!(done.out.contains(&format!("it was encrypted before commit {}", &clear[..10])), "{done:?}");
    // A build server has a clone without hooks, notes and key.
    sandbox.sh(".", "git clone -q -b app lab clone; mv home/.config home/away");
    let done = sandbox.run("clone", &["hlx", "check", "--history"]);
    assert!(done.code == Some(5) && done.out.contains("[unprotected]"), "{done:?}");
    // The file itself can say that it is meant, wherever it is.
    sandbox.sh("lab", "printf '# hlx:allow\\n' >>.env; git commit -qnam meant");
    sandbox.sh("clone", "git pull -q; hlx check --history");
}

#[test]
fn what_was_untracked_on_purpose_is_no_error() {
    let sandbox = lab();
    sandbox.sh("lab", "hlx untrack .env; git add -A");
    assert_eq!(findings(&sandbox, &["--branch", "app", ".env"]), ["dotenv app*:.env"]);
    sandbox.sh("lab", "git commit -qm meant; echo more >>README.md; git commit -qam more");
    assert_eq!(findings(&sandbox, &["--history", "--branch", "app", ".env"]), ["dotenv app:.env"]);
}

#[test]
fn what_was_harmless_before_it_was_protected_is_a_warning_in_the_history() {
    let sandbox = lab();
    sandbox.write("lab/a.yml", "title: My home server\n");
    sandbox.write("lab/b.yml", "db:\n  password: hunter2hunter2\n");
    sandbox.write("lab/c.yml", "key: 9f8b3c1d7e6a5f40\n");
    sandbox.sh("lab", "git add .; git commit -qm clear");
    sandbox.write("lab/a.yml", "title: My home server\ndb: k3Jd9sQx2vLw\n");
    sandbox
        .sh("lab", "hlx track a.yml b.yml c.yml; git add --renormalize .; git add .; git commit -qm track");
    assert_eq!(
        findings(&sandbox, &["--history"]),
        ["clear-before app:a.yml", "plaintext-history app:b.yml", "plaintext-history app:c.yml"]
    );
    // That value is changed at its source.
    sandbox.sh("lab", "echo key: 0a1b2c3d4e5f6a7b >c.yml; git commit -qam changed");
    assert_eq!(
        findings(&sandbox, &["--history"]),
        ["clear-before app:a.yml", "plaintext-history app:b.yml", "clear-before app:c.yml"]
    );
}

#[test]
fn a_path_that_is_nowhere_is_a_usage_error() {
    let sandbox = lab();
    for path in ["nope.txt", "su", ".en"] {
        let done = sandbox.run("lab", &["hlx", "check", path]);
        assert!(done.code == Some(2) && done.err.contains(&format!("`{path}`")), "{done:?}");
    }
    sandbox.sh("lab", "hlx check .env README.md; hlx check .");
}

#[test]
fn secrets_in_json_and_in_a_clear_compose_file_are_found() {
    let sandbox = lab();
    sandbox.write("lab/conf.json", "{\"password\":\"Zk39dkLqp20dkfLLw93x\"}\n");
    sandbox.write("lab/compose.yml", "services:\n  db:\n    image: postgres:16\n    environment:\n      POSTGRES_PASSWORD: hunter2hunter2\n      MODE_PASSWORD: ${X}\n      Z_PASSWORD: hunter2hunter2 # hlx:allow\n");
    sandbox.sh("lab", "git add .; git commit -qm x");
    let found = findings(&sandbox, &["--branch", "app"]);
    let likely: Vec<_> = found.iter().filter(|found| found.starts_with("likely")).collect();
    assert_eq!(likely, ["likely-secret app:compose.yml", "likely-secret app:conf.json"]);
    let done = sandbox.run("lab", &["hlx", "check"]);
    assert!(done.out.contains("line 5: `POSTGRES_PASSWORD` is in git in clear"), "{done:?}");
    assert!(!done.out.contains("hunter2"), "{done:?}");
}

#[test]
fn a_partial_clone_fetches_what_is_checked_and_says_what_it_cannot_have() {
    let sandbox = lab();
    sandbox.commit_unfiltered("old.env", "A=plain\n");
    sandbox.sh("lab", "git rm -qf old.env; git commit -qnm gone; git switch -q main");
    sandbox.sh(
        ".",
        "git clone -q --bare lab hub.git; git -C hub.git config uploadpack.allowFilter true; mv lab first",
    );
    let clone = |name: &str| {
        sandbox.sh(".", &format!("git clone -q --filter=blob:none file://$PWD/hub.git {name}"));
    };
    clone("lab");
    let history = ["--history"];
    assert_eq!(findings(&sandbox, &history), ["plaintext-history origin/app:old.env"]);
    // Without its remote.
    sandbox.sh(".", "rm -rf lab");
    clone("lab");
    sandbox.sh(".", "mv hub.git away.git");
    let found = findings(&sandbox, &history);
    assert!(found.iter().all(|finding| finding.starts_with("not-here ")), "{found:?}");
    for file in ["origin/app:.env", "origin/app:.gitattributes", "origin/app:.sops.yaml"] {
        assert!(found.iter().any(|finding| finding == &format!("not-here {file}")), "{file}: {found:?}");
    }
    let shown = sandbox.run("lab", &["hlx", "check"]);
    assert!(shown.code == Some(0) && shown.out.contains("not in this partial clone"), "{shown:?}");
    // Once it can be reached again, all is looked at.
    sandbox.sh(".", "mv away.git hub.git");
    assert_eq!(findings(&sandbox, &history), ["plaintext-history origin/app:old.env"]);
}
