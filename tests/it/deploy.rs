//! Deploys with the real git, Docker and Compose, each test in a lab of its own.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hlx::format::Format;

use crate::lab::{Lab, PASSWORD, SLEEP, TOKEN, run, text};

#[track_caller]
fn until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what} did not come true");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_whole_story() {
    let Some(lab) = Lab::new("story") else { return };
    lab.seal(".env", &format!("PASSWORD='{PASSWORD}'\nTOKEN={TOKEN}\n")).seal("secrets/token", TOKEN);
    lab.write("setup.sh", "#!/bin/sh -e\ngrep -q hunter2 .env\ngrep -q hunter2 secrets/token\ncat .env\necho ran >> setup.log\n");
    lab.compose(
        &format!("/bin/busybox sha256sum /run/secrets/token; echo $TOKEN; {SLEEP}"),
        "    environment: [PASSWORD, TOKEN]\n    env_file: [.env]\n    secrets: [token]\n    volumes: [./data:/data]\n  \
         other:\n    extends: {service: web}\n    environment: !reset []\n    env_file: !reset []\n    secrets: !reset []\n\
         secrets:\n  token: {file: ./secrets/token}\n",
    );
    lab.commit();
    let said = lab.deploys(&["--timings"]);
    assert!(said.contains("«secret»") && said.contains("hlx's own share"), "{said}");
    eprintln!("{said}");
    let web = |lab: &Lab| {
        lab.docker(&["ps", "-q", "--no-trunc", "--filter", &format!("name={}-web", lab.project())])
    };
    let other = |lab: &Lab| {
        lab.docker(&["ps", "-q", "--no-trunc", "--filter", &format!("name={}-other", lab.project())])
    };
    let (web_before, other_before) = (web(&lab), other(&lab));
    assert!(!web_before.is_empty() && !other_before.is_empty());
    let logs = lab.docker(&["logs", web_before.trim()]);
    assert!(logs.contains(TOKEN), "{logs}");
    assert_eq!(lab.leaks("srv").len() + lab.leaks("state").len(), 0);
    assert_eq!(lab.leaks("run").len(), 1, "the resident secret");
    assert_eq!(lab.mounts().len(), 1, "the resident file system");

    // Again, unchanged: nothing is recreated, setup.sh does not run, data stays.
    fs::write(lab.project_dir().join("data/kept"), "x").unwrap();
    lab.deploys(&[]);
    assert_eq!((web(&lab), other(&lab)), (web_before.clone(), other_before.clone()));
    assert_eq!(fs::read_to_string(lab.project_dir().join("setup.log")).unwrap(), "ran\n");

    // A file secret changed: exactly the service that uses it is recreated.
    lab.seal("secrets/token", "another-token-entirely").commit();
    lab.deploys(&[]);
    assert_ne!(web(&lab), web_before);
    assert_eq!(other(&lab), other_before);
    assert_eq!(lab.leaks("run").len(), 0, "the old secret is collected");
    assert!(lab.project_dir().join("data/kept").exists());

    // Down: containers and resident secrets go, data stays.
    run(&mut lab.hlx(&["down", &lab.service]));
    assert_eq!(lab.containers().len() + lab.mounts().len(), 0);
    assert!(lab.project_dir().join("data/kept").exists());
    assert!(lab.path("run").exists() && !lab.path("run").join(&lab.service).exists());
}

#[test]
fn a_branch_on_which_everything_is_sealed_deploys() {
    let Some(lab) = Lab::new("sealed") else { return };
    lab.compose(
        &format!("/bin/busybox sha256sum /run/secrets/token; echo $TOKEN; {SLEEP}"),
        "    env_file: [.env]\n    secrets: [token]\nsecrets:\n  token: {file: ./secrets/token}\n",
    );
    let compose = fs::read_to_string(lab.path("repo/compose.yml")).unwrap();
    let setup = "#!/bin/sh -e\ngrep -q hunter2 .env\necho ran >> setup.log\n";
    for (path, content) in [
        ("compose.yml", compose.as_str()),
        (".env", &format!("TOKEN={TOKEN}\n")),
        ("secrets/token", TOKEN),
        ("setup.sh", setup),
        ("README.md", "secret too\n"),
    ] {
        lab.seal_as(Format::Binary, path, content);
    }
    lab.write(".gitattributes", hlx::repo::track::SEALED).commit();
    lab.deploys(&[]);
    assert!(lab.logs().contains(TOKEN), "{}", lab.logs());
    assert_eq!(fs::read_to_string(lab.project_dir().join("setup.log")).unwrap(), "ran\n");
    assert_eq!(lab.leaks("srv").len() + lab.leaks("state").len(), 0);
    assert!(!fs::read_to_string(lab.project_dir().join("compose.yml")).unwrap().contains("services"));
    run(&mut lab.hlx(&["down", &lab.service]));
    assert!(lab.containers().is_empty());
}

#[test]
fn ciphertext_only_outside_and_nothing_survives_sigkill() {
    let Some(lab) = Lab::new("kill") else { return };
    let mark = format!("4{}", std::process::id());
    lab.seal(".env", &format!("TOKEN={TOKEN}\n")).compose(SLEEP, "");
    lab.write(
        "setup.sh",
        format!("grep -q hunter2 .env\ntouch started\nsetsid sleep {mark} &\nsleep {mark}\n"),
    )
    .commit();
    let mut hlx = lab.hlx(&["deploy", &lab.service]).stderr(Stdio::null()).spawn().unwrap();
    until("setup.sh started", || {
        assert_eq!(lab.leaks("srv").len() + lab.leaks("run").len() + lab.leaks("state").len(), 0);
        lab.project_dir().join("started").exists()
    });
    let alive = || run(Command::new("ps").args(["-eo", "args"])).stdout;
    until("the straggler runs", || text(&alive()).matches(&format!("sleep {mark}")).count() >= 2);
    assert_eq!(lab.leaks("srv").len() + lab.leaks("run").len() + lab.leaks("state").len(), 0);
    hlx.kill().unwrap();
    hlx.wait().unwrap();
    until("every process is gone", || {
        let alive = text(&alive());
        !alive.contains(&format!("sleep {mark}")) && !alive.contains("vault-init")
    });
    assert!(lab.mounts().iter().all(|line| !line.contains(".vault")));
    assert_eq!(lab.leaks("srv").len() + lab.leaks("run").len() + lab.leaks("state").len(), 0);
    assert!(lab.containers().is_empty());
    // And the next deploy works, though setup.sh did not end well.
    lab.write("setup.sh", "true\n").commit().deploys(&[]);
}

#[test]
fn what_cannot_be_opened_touches_nothing() {
    let Some(lab) = Lab::new("keys") else { return };
    lab.seal(".env", &format!("TOKEN={TOKEN}\nB=2\n")).compose(SLEEP, "").commit();
    fs::rename(lab.path("identity"), lab.path("away")).unwrap();
    lab.fails(
        3,
        &[],
        &["no key of yours opens it", "age1", ".env", "hlx keys list -v", "no container was touched"],
    );
    assert!(!lab.project_dir().exists() && lab.containers().is_empty());
    run(Command::new("sh").args(["-c", "install -m 644 away identity"]).current_dir(&lab.dir));
    lab.fails(3, &[], &["identity is not used", "chmod 600"]);
    fs::rename(lab.path("away"), lab.path("identity")).unwrap();
    let sealed = fs::read_to_string(lab.path("repo/.env")).unwrap();
    lab.write(".env", sealed.replace("B=ENC[AES256_GCM,data:", "B=ENC[AES256_GCM,data:A")).commit();
    lab.fails(4, &[], &[".env", "no container was touched"]);
    assert!(!lab.project_dir().exists());
}

/// Compose lets a variable of the shell win over `.env`, and puts it where the file asks for it.
#[test]
fn nothing_of_the_environment_of_hlx_itself_reaches_what_it_starts() {
    let Some(lab) = Lab::new("own-env") else { return };
    let names = ["HLX_IDENTITY", "HLX_STATE_DIR", "SOPS_AGE_KEY", "SOPS_AGE_KEY_FILE", "AGE_KEY"];
    let wanted = names.map(|name| format!("{name}: \"${{{name}:-none}}\""));
    let rest = format!("    environment: {{{}}}\n", wanted.join(", "));
    lab.compose(SLEEP, &rest).write("setup.sh", "env > ../of-setup\n").commit();
    let mut hlx = lab.hlx(&["deploy", &lab.service]);
    let identity = fs::read_to_string(lab.path("identity")).unwrap();
    let key = identity.lines().find(|line| line.starts_with("AGE-SECRET-KEY-")).unwrap();
    run(hlx.env("SOPS_AGE_KEY", key).env("SOPS_AGE_KEY_FILE", "/nowhere").env("AGE_KEY", key));
    let inside = lab.inside("web", "/bin/busybox env");
    for name in names {
        assert!(inside.contains(&format!("{name}=none\n")), "{inside}");
    }
    let of_setup = fs::read_to_string(lab.path("srv/of-setup")).unwrap();
    assert!(
        !of_setup.contains("AGE") && !of_setup.contains("HLX_") && of_setup.contains("PATH="),
        "{of_setup}"
    );
}

#[test]
fn refusals_say_what_to_do() {
    let Some(lab) = Lab::new("refuse") else { return };
    lab.write("README.md", "x").commit();
    lab.fails(1, &[], &["has no compose file"]);
    lab.compose(SLEEP, "").commit();
    let hlx = |args: &[&str], code: i32, words: &[&str]| {
        let output = lab.hlx(args).output().unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        words.iter().for_each(|word| assert!(said.contains(word), "`{word}` is missing in:\n{said}"));
    };
    hlx(&["deploy", "nothere"], 2, &["no branch `nothere`", &lab.service]);
    let history = text(&run(&mut lab.hlx(&["history"])).stdout);
    assert!(!history.contains("nothere") && history.contains(&lab.service), "{history}");
    hlx(&["deploy", "../x"], 2, &["no service name"]);
    hlx(&["deploy", "a", "--repo", "--x"], 2, &[]);
    hlx(&["deploy", "a", "--repo", "ext::sh"], 2, &["transport helpers"]);
    hlx(&["down", &lab.service], 1, &["never deployed here"]);
    // A directory with files, and containers, that hlx did not make.
    fs::create_dir_all(lab.project_dir()).unwrap();
    fs::write(lab.project_dir().join("mine"), "").unwrap();
    lab.fails(5, &[], &["did not put there", "--adopt"]);
    fs::remove_file(lab.project_dir().join("mine")).unwrap();
    let label = format!("com.docker.compose.project={}", lab.project());
    let foreign = lab.docker(&["create", "--label", &label, &lab.image(), "/bin/busybox", "true"]);
    lab.fails(5, &[], &["did not start", "--adopt"]);
    lab.docker(&["rm", foreign.trim()]);
    lab.deploys(&[]);
    // Another repository; rewritten history; a model that is not valid; settings for later.
    run(Command::new("cp").arg("-r").arg(lab.path("repo")).arg(lab.path("copy")));
    let copy = lab.path("copy");
    lab.fails(5, &["--repo", copy.to_str().unwrap()], &["was deployed from", "--adopt"]);
    lab.git(&["commit", "--quiet", "--amend", "-m", "rewritten"]);
    lab.fails(5, &[], &["was rewritten", "--accept-rewrite"]);
    lab.deploys(&["--accept-rewrite"]);
    lab.write("compose.yml", format!("name: another\nservices: {{a: {{image: {}}}}}\n", lab.image()))
        .commit();
    lab.fails(5, &[], &["`another` now", "hlx down"]);
    lab.compose(SLEEP, "    no_such_key: 1\n").commit().fails(
        1,
        &[],
        &["does not accept the model", "no_such_key"],
    );
    lab.write("compose.yml", "x-hlx: {timout: 1m}\nservices: {a: {image: x}}\n").commit();
    lab.fails(1, &[], &["x-hlx.timout", "did you mean `timeout`"]);
    lab.write("compose.yml", "x-hlx: {hosts: [elsewhere]}\nservices: {a: {image: x}}\n").commit();
    lab.fails(5, &[], &["is not for this host"]);
    assert_eq!(lab.containers().len(), 1, "the good version still runs");
}

#[test]
fn a_missing_engine_is_told_apart() {
    let Some(lab) = Lab::new("engine") else { return };
    lab.compose(SLEEP, "").commit();
    let bin = lab.path("bin");
    fs::create_dir_all(&bin).unwrap();
    let fake = |name: &str, script: &str| {
        use std::os::unix::fs::PermissionsExt;
        fs::write(bin.join(name), format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    };
    let fails = |path: &OsStr, host: &str, word: &str| {
        let mut hlx = lab.hlx(&["deploy", &lab.service]);
        let output = hlx.env("PATH", path).env("DOCKER_HOST", host).output().unwrap();
        assert_eq!(output.status.code(), Some(9), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains(word), "{}", text(&output.stderr));
    };
    fails(bin.as_os_str(), "", "`docker` program is not installed");
    fails(&std::env::var_os("PATH").unwrap(), "unix:///nonexistent", "daemon does not answer");
    let path = std::env::var_os("PATH").unwrap();
    let git = std::env::split_paths(&path).map(|dir| dir.join("git")).find(|git| git.exists()).unwrap();
    std::os::unix::fs::symlink(git, bin.join("git")).unwrap();
    fake("docker", "[ $1 = version ] && echo 20 || exit 1");
    fails(bin.as_os_str(), "", "Compose plugin of `docker` is not installed");
    fake("docker-compose", "echo 1.29.2");
    fails(bin.as_os_str(), "", "only Compose v1 (`docker-compose` 1.29.2)");
    fake("docker", "[ $1 = version ] && echo 20 || echo 2.2.0");
    fails(bin.as_os_str(), "", "too old");
}

#[test]
fn a_bad_version_is_reported_with_its_log() {
    let Some(lab) = Lab::new("bad") else { return };
    lab.seal(".env", &format!("TOKEN={TOKEN}\n"));
    lab.compose("echo starting with $TOKEN; exit 3", "    environment: [TOKEN]\n").commit();
    lab.fails(7, &[], &["ended with exit code 3", "starting with «secret»", "exited with code 3"]);
    assert_eq!(lab.mounts().len(), 0);
    lab.compose("echo again; exit 4", "    restart: always\n").commit();
    lab.fails(7, &[], &["restarts again and again", "again"]);
    let check = "    healthcheck: {test: [CMD, /bin/busybox, \"false\"], interval: 1s, retries: 1}\n";
    lab.compose(SLEEP, check).commit();
    lab.fails(7, &[], &["is unhealthy"]);
    lab.compose(SLEEP, &check.replace("\"false\"", "\"true\"")).commit().deploys(&[]);
    lab.compose("true", "").commit().deploys(&[]);
}

#[test]
fn a_build_sees_ciphertext_but_for_its_secrets() {
    let Some(lab) = Lab::new("build") else { return };
    lab.seal(".env", &format!("TOKEN={TOKEN}\n")).seal("secret.txt", TOKEN);
    let image = lab.image();
    let dockerfile = format!(
        "FROM {image}\nCOPY . /context\nRUN --mount=type=secret,id=s,target=/s /bin/busybox sha256sum /s > /sum\n"
    );
    lab.write("Dockerfile", dockerfile);
    lab.seal("compose.yml", &format!(
            "x-hlx: {{stable: 1s}}\nservices:\n  web:\n    build: {{context: ., secrets: [s]}}\n    init: true\n    \
             command: [/bin/busybox, sh, -c, \"/bin/busybox cat /sum /context/.env /context/secret.txt; {SLEEP}\"]\n\
             secrets:\n  s: {{file: ./secret.txt}}\n"
        ))
        .commit();
    lab.deploys(&[]);
    let logs = lab.logs();
    let sum = run(Command::new("sh").args(["-c", &format!("printf %s {TOKEN} | sha256sum")])).stdout;
    assert!(logs.contains(text(&sum).split(' ').next().unwrap()), "{logs}");
    assert!(logs.contains("ENC[AES256_GCM") && !logs.contains(TOKEN), "{logs}");
    assert_eq!(lab.mounts().len(), 0);
}

#[test]
fn mounted_files_and_directories_are_resident() {
    let Some(lab) = Lab::new("mounts") else { return };
    lab.seal("conf/app.env", &format!("TOKEN={TOKEN}\n"))
        .write("conf/plain.txt", "plain\n")
        .seal("one.txt", &format!("{TOKEN}\n"));
    lab.compose(
        &format!("/bin/busybox cat /conf/app.env /conf/plain.txt /one /cfg; {SLEEP}"),
        "    user: \"1000\"\n    volumes: [\"./conf:/conf:ro\", \"./one.txt:/one\"]\n    \
         configs: [{source: c, target: /cfg, mode: 0440, uid: \"1000\"}]\nconfigs:\n  c: {file: one.txt}\n",
    );
    lab.commit().deploys(&[]);
    assert_eq!(lab.logs(), format!("TOKEN={TOKEN}\nplain\n{TOKEN}\n{TOKEN}\n"));
    assert_eq!(lab.leaks("srv").len(), 0);
    assert_eq!(lab.leaks("run").len(), 3);
    // A vanished file goes, data stays.
    fs::write(lab.project_dir().join("conf/data"), "").unwrap();
    fs::remove_file(lab.path("repo/conf/plain.txt")).unwrap();
    lab.commit().deploys(&[]);
    assert!(
        !lab.project_dir().join("conf/plain.txt").exists() && lab.project_dir().join("conf/data").exists()
    );
}

#[test]
fn a_file_secret_is_in_ram_and_nowhere_else() {
    let Some(lab) = Lab::new("disk") else { return };
    // No other file on this machine can hold it by chance, this program included.
    let secret = format!("{}-only-in-ram", lab.service.to_uppercase());
    lab.seal("token", &secret);
    // A here-document and a sort of many lines are what makes a shell write temporary files.
    lab.write(
        "setup.sh",
        "#!/bin/bash\nset -e\ncat <<X | sort > /dev/null\n$(cat token)\nX\ncat token > $(mktemp)\n",
    );
    lab.compose(
        &format!("/bin/busybox sha256sum /run/secrets/t; {SLEEP}"),
        "    secrets: [t]\n    volumes: [vol:/v]\nsecrets:\n  t: {file: token}\nvolumes:\n  vol:\n",
    );
    lab.commit().deploys(&[]);
    let upper = lab.docker(&["inspect", "-f", "{{.GraphDriver.Data.UpperDir}}", &lab.containers()[0]]);
    let mut grep = Command::new("grep");
    grep.args([
        "-rlsF",
        &secret,
        "/dev/shm",
        "/run",
        "/var/lib/docker/containers",
        "/var/lib/docker/volumes",
    ]);
    grep.args(["/var/lib/docker/tmp", upper.trim()])
        .args(["state", "srv", "run", "image", "."].map(|dir| lab.path(dir)));
    let found = text(&grep.output().unwrap().stdout);
    let resident = lab.path("run").join(&lab.service);
    let elsewhere = |line: &&str| !Path::new(line).starts_with(&resident) && !line.contains("/./run/");
    assert_eq!(found.lines().filter(elsewhere).collect::<Vec<_>>(), Vec::<&str>::new());
    assert!(found.lines().any(|line| Path::new(line).starts_with(&resident)), "{found}");
    let mut find = Command::new("find");
    find.args(["/tmp", "/var/tmp", "-maxdepth", "1", "-type", "f", "-newer"]).arg(lab.path("identity"));
    let recent = text(&find.args(["-exec", "grep", "-lF", &secret, "{}", ";"]).output().unwrap().stdout);
    assert_eq!(recent, "");
}

#[test]
fn one_deploy_at_a_time() {
    let Some(lab) = Lab::new("busy") else { return };
    lab.compose(SLEEP, "")
        .seal("setup.sh", "#!/bin/sh -e\ntouch started; while [ ! -e go ]; do sleep 0.05; done\n")
        .commit();
    let mut first =
        lab.hlx(&["deploy", &lab.service]).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    until("setup.sh started", || lab.project_dir().join("started").exists());
    lab.fails(8, &[], &["another hlx"]);
    fs::write(lab.project_dir().join("go"), "").unwrap();
    assert!(first.wait().unwrap().success());
}

#[test]
fn a_container_that_shares_the_directory_does_not_choose_what_runs() {
    let Some(lab) = Lab::new("shared") else { return };
    let attack = "while true; do echo 'touch ../../pwned' > /p/setup.sh; echo 'A=pwned' > /p/plain.env; \
                  echo 'services: {evil: {image: x, privileged: true}}' > /p/more.yml; \
                  /bin/busybox sed 's/honest/pwned/' /p/compose.yml > /c; /bin/busybox cat /c > /p/compose.yml; done";
    let rest = "    volumes: [\".:/p\"]\n    env_file: [plain.env]\n    labels: {who: honest}\n";
    lab.seal(".env", &format!("TOKEN={TOKEN}\n")).write("setup.sh", "echo honest > setup.log\n");
    lab.write("plain.env", "A=honest\n").write("more.yml", "x-more: 1\n");
    lab.compose(attack, &format!("{rest}include: [more.yml]\n")).commit().deploys(&[]);
    for round in 0..3 {
        let setup = format!("sleep 0.2\necho {round} > setup.log\ngrep -q honest compose.yml plain.env\n");
        lab.write("setup.sh", setup)
            .write("plain.env", format!("A=honest\nB={round}\n"))
            .commit()
            .deploys(&[]);
        let log = fs::read_to_string(lab.project_dir().join("setup.log")).unwrap();
        assert_eq!(log, format!("{round}\n"));
        let format = "{{.Config.Env}} {{.Config.Labels}}";
        let inspected = lab.docker(&["inspect", "-f", format, &lab.containers()[0]]);
        assert!(inspected.contains("A=honest") && inspected.contains(&format!("B={round}")), "{inspected}");
        assert!(!inspected.contains("pwned"), "{inspected}");
    }
    assert!(!lab.path("pwned").exists() && lab.containers().len() == 1);
}

#[test]
fn the_record_of_a_failure_repeats_no_log() {
    let Some(lab) = Lab::new("record") else { return };
    lab.seal(".env", &format!("TOKEN={TOKEN}\n"));
    lab.compose(
        "echo canary-$TOKEN | /bin/busybox rev; echo log-canary; exit 3",
        "    environment: [TOKEN]\n",
    )
    .commit();
    lab.fails(7, &[], &["log-canary"]);
    let state =
        ["state.db", "state.db-wal"].map(|name| fs::read(lab.path("state").join(name)).unwrap_or_default());
    assert!(!state.concat().windows(10).any(|part| part == b"log-canary"));
    assert!(!lab.path("run/.vault").exists());
}

#[test]
fn secrets_that_are_in_git_in_clear_are_named() {
    let Some(lab) = Lab::new("clear") else { return };
    lab.write(".env", "A=1\n").write("more.conf", "B=2\n").write("tls.key", "key");
    lab.write("empty.conf", "").seal("sealed.key", TOKEN);
    let rest = "    env_file: [more.conf, empty.conf]\n    secrets: [tls, good]\n\
                secrets:\n  tls: {file: ./tls.key}\n  good: {file: ./sealed.key}\n";
    lab.compose(SLEEP, rest).commit();
    let said = lab.deploys(&[]);
    for (path, usage) in [
        (".env", "what variables are filled in from"),
        ("more.conf", "an env_file"),
        ("tls.key", "the secret `tls`"),
    ] {
        let warning = format!("hlx: warning: {path} is in git in clear, and is {usage}: `hlx track {path}`");
        assert!(said.contains(&warning), "{path}: {said}");
    }
    assert_eq!(said.matches("in clear").count(), 3, "{said}");
    lab.seal(".env", "A=1\n").seal("more.conf", "B=2\n").seal("tls.key", "a longer key").commit();
    let said = lab.deploys(&[]);
    assert!(!said.contains("in clear"), "{said}");
}

#[test]
fn a_registry_that_does_not_answer_stops_only_what_is_not_here() {
    let Some(lab) = Lab::new("pull") else { return };
    let image = format!("127.0.0.1:9/{}", lab.image());
    run(Command::new("docker").args(["tag", &lab.image(), &image]));
    let with = |policy: &str, image: &str| {
        lab.compose(SLEEP, "");
        let text = fs::read_to_string(lab.path("repo/compose.yml")).unwrap();
        let text = text.replace("pull_policy: never", policy);
        lab.write(
            "compose.yml",
            text.replace(&format!("image: {}", lab.image()), &format!("image: {image}")),
        );
        lab.commit();
    };
    for policy in ["pull_policy: missing", "pull_policy: always", "stdin_open: false"] {
        with(policy, &image);
        let said = lab.deploys(&[]);
        let warned = said.contains("warning: not every image could be pulled");
        assert!(warned || policy == "pull_policy: missing", "{policy}: {said}");
    }
    let before = lab.containers();
    with("stdin_open: false", "127.0.0.1:9/hlxit-nowhere");
    lab.fails(1, &[], &["pulling images failed", "127.0.0.1:9", "no container was touched"]);
    assert_eq!(lab.containers(), before);
    lab.docker(&["rmi", "-f", &image]);
}
