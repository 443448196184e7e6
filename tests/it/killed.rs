//! hlx is killed at a random moment of a deploy: the next one succeeds, and no plaintext is left.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::lab::{Lab, SLEEP, TOKEN, run, text};
use crate::soak::{Dice, number};

/// A version whose every part differs from the one before, so that each step has something to do.
fn version(lab: &Lab, round: u64) {
    lab.seal(".env", &format!("ROUND={round}\nCANARY={TOKEN}-{round}\n"));
    lab.seal("token", &format!("{TOKEN}-{round}")).write("conf/app.conf", format!("{round}\n"));
    lab.write(
        "setup.sh",
        format!("#!/bin/sh -e\ngrep -q hunter2-please-hide-{round} .env\ngrep -q hunter2-please-hide-{round} token\ncat token | cat > /dev/null\n"),
    );
    let rest = "    environment: [ROUND]\n    secrets: [t]\n    volumes: [\"./conf:/conf\"]\n    stop_grace_period: 1s\n\
                secrets:\n  t: {file: token}\n";
    lab.compose(SLEEP, rest);
    let text = fs::read_to_string(lab.path("repo/compose.yml")).unwrap();
    lab.write("compose.yml", text.replace("stable: 1s", "stable: 200ms")).commit();
}

/// No process of this lab's vault is left.
fn vault_is_gone(lab: &Lab) -> bool {
    let mine = |pid: &str| {
        let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let place = lab.path("run/.vault");
        let place = place.to_str().unwrap().as_bytes();
        environ.windows(place.len()).any(|part| part == place)
    };
    let names = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.file_name());
    let mut pids =
        names.filter_map(|name| name.into_string().ok()).filter(|name| name.parse::<u32>().is_ok());
    !pids.any(|pid| mine(&pid))
}

fn kill(lab: &Lab, after: Duration) -> bool {
    let mut hlx = lab.hlx(&["deploy", &lab.service]);
    let mut hlx = hlx.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(after);
    let killed = hlx.try_wait().unwrap().is_none();
    hlx.kill().unwrap();
    hlx.wait().unwrap();
    let start = Instant::now();
    while !vault_is_gone(lab) {
        assert!(start.elapsed() < Duration::from_secs(10), "the vault outlives hlx");
        std::thread::sleep(Duration::from_millis(5));
    }
    killed
}

/// The disk holds ciphertext only, and RAM no more than what containers use or soon will.
fn no_plaintext(lab: &Lab, resident: usize) {
    assert_eq!(lab.leaks("srv"), Vec::<std::path::PathBuf>::new());
    assert_eq!(lab.leaks("state"), Vec::<std::path::PathBuf>::new());
    assert!(lab.leaks("run").len() <= resident, "{:?}", lab.leaks("run"));
    assert!(lab.mounts().iter().all(|mount| !mount.contains(".vault")), "{:?}", lab.mounts());
}

/// Ctrl-C: a person is told what to do, and the next deploy needs nobody.
#[test]
fn a_deploy_that_a_person_stops_says_what_is_next() {
    use std::os::unix::process::ExitStatusExt as _;
    let Some(lab) = Lab::new("stopped") else { return };
    version(&lab, 0);
    lab.deploys(&[]);
    version(&lab, 1);
    lab.write("setup.sh", "touch ../waiting; sleep 60\n").commit();
    let mut hlx = lab.hlx(&["deploy", &lab.service]);
    let hlx = hlx.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    while !lab.path("srv/waiting").exists() {
        assert!(begun.elapsed() < Duration::from_secs(30), "setup.sh does not run");
        std::thread::sleep(Duration::from_millis(20));
    }
    run(std::process::Command::new("kill").args(["-INT", &hlx.id().to_string()]));
    let output = hlx.wait_with_output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.signal(), Some(2), "{said}");
    assert!(said.contains(&format!("stopped: `hlx ps {}` shows what runs", lab.service)), "{said}");
    let stopped = lab.head();
    version(&lab, 2);
    lab.deploys(&[]);
    no_plaintext(&lab, 1);
    // What was known of it when it was stopped is in the history.
    let history = lab.hlx(&["history", &lab.service, "--json"]).output().unwrap();
    let history: serde_json::Value = serde_json::from_slice(&history.stdout).unwrap();
    let entry = &history[1];
    assert_eq!((entry["ending"].as_str(), entry["commit"].as_str()), (Some("interrupted"), Some(&*stopped)));
    assert!(entry["took_ms"].as_i64().unwrap() > 0, "{entry}");
}

/// Two services, of which one takes its time to end, and the other waits until it is healthy.
fn two_services(lab: &Lab, version: &str, health: &str) {
    let image = lab.image();
    let service = format!("image: {image}, pull_policy: never, stop_grace_period: 5s");
    let script = format!("trap '' TERM; echo {version} > /version; while :; do sleep 1; done");
    let text = format!(
        "x-hlx: {{stable: 1s, timeout: 60s}}\nservices:\n  slow:\n    {{{service}, command: [sh, -c, {script:?}],\n     \
         healthcheck: {{test: [CMD, /bin/busybox, \"{health}\"], interval: 1s, start_period: 60s, retries: 60}}}}\n  \
         web:\n    {{{service}, command: [sh, -c, {script:?}], depends_on: {{slow: {{condition: service_healthy}}}}}}\n",
    );
    lab.write("compose.yml", text).commit();
}

/// A signal that can be caught, when containers are touched: the old version runs again.
#[test]
fn a_deploy_that_is_stopped_while_it_starts_containers_goes_back() {
    let Some(lab) = Lab::new("stopped-late") else { return };
    two_services(&lab, "one", "true");
    lab.deploys(&[]);
    let good = lab.head();
    // While the old container ends, and while the new one is waited for.
    for (round, moment) in ["_", "slow-1"].into_iter().enumerate() {
        let before = lab.containers();
        two_services(&lab, &format!("two-{round}"), "false");
        let mut hlx = lab.hlx(&["deploy", &lab.service]);
        let hlx = hlx.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let begun = Instant::now();
        let is_new = |line: &str| {
            let (id, name) = line.split_once(' ').unwrap();
            name.contains(moment) && !before.iter().any(|old| old == id)
        };
        let filter = format!("label=com.docker.compose.project={}", lab.project());
        let look = ["ps", "-a", "--no-trunc", "--format", "{{.ID}} {{.Names}}", "--filter", &filter];
        while !lab.docker(&look).lines().any(is_new) {
            assert!(begun.elapsed() < Duration::from_secs(60), "no container is replaced");
            std::thread::sleep(Duration::from_millis(20));
        }
        run(std::process::Command::new("kill").args(["-TERM", &hlx.id().to_string()]));
        let output = hlx.wait_with_output().unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(6), "{said}");
        for words in [
            "stopping: what ran before is brought back",
            "stopped by a signal",
            "runs again",
            "deploy again when",
        ] {
            assert!(said.contains(words), "`{words}` is missing in:\n{said}");
        }
        // Nothing that was told to end does so only now.
        std::thread::sleep(Duration::from_secs(6));
        for service in ["slow", "web"] {
            assert_eq!(lab.inside(service, "/bin/busybox cat /version"), "one\n", "{moment} {said}");
        }
        assert_eq!(lab.containers().len(), 2);
    }
    // It was not to blame.
    two_services(&lab, "three", "true");
    assert_ne!(lab.head(), good);
    lab.deploys(&[]);
    assert_eq!(lab.inside("web", "/bin/busybox cat /version"), "three\n");
}

/// Kills a deploy of the last commit while its `setup.sh` runs, when its files lie in the project directory.
fn kill_when_laid(lab: &Lab) {
    let _ = fs::remove_file(lab.path("srv/waiting"));
    let mut hlx = lab.hlx(&["deploy", &lab.service]);
    let mut hlx = hlx.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let begun = Instant::now();
    while !lab.path("srv/waiting").exists() {
        assert!(begun.elapsed() < Duration::from_secs(30), "setup.sh does not run");
        std::thread::sleep(Duration::from_millis(20));
    }
    hlx.kill().unwrap();
    hlx.wait().unwrap();
}

/// However early the next deploy ends, and however many there were since.
#[test]
fn files_that_a_killed_deploy_laid_are_put_back_by_the_next_one() {
    let Some(lab) = Lab::new("laid") else { return };
    version(&lab, 0);
    lab.deploys(&[]);
    version(&lab, 1);
    lab.compose("exit 3", "").commit();
    lab.fails(6, &[], &["runs again"]);
    let bad = lab.head();
    version(&lab, 2);
    lab.write("setup.sh", "touch ../waiting; sleep 60\n").write("new", "").commit();
    let conf = || fs::read_to_string(lab.project_dir().join("conf/app.conf")).unwrap();
    let files = || (conf(), lab.project_dir().join("new").exists());
    let (laid, before) = (("2\n".to_owned(), true), ("0\n".to_owned(), false));

    kill_when_laid(&lab);
    assert_eq!(files(), laid);
    // Docker does not answer: nothing can be known, and the next one makes up for it.
    let mut blind = lab.hlx(&["deploy", &lab.service]);
    assert!(!blind.env("DOCKER_HOST", "unix:///nowhere").output().unwrap().status.success());
    fs::rename(lab.path("identity"), lab.path("away")).unwrap();
    lab.fails(3, &[], &["putting back the files of", "no container was touched"]);
    assert_eq!(files(), before);
    assert!(!lab.fails(3, &[], &[]).contains("putting back"));
    fs::rename(lab.path("away"), lab.path("identity")).unwrap();

    kill_when_laid(&lab);
    lab.git(&["reset", "--quiet", "--hard", &bad]);
    lab.fails(1, &[], &["is known to be bad", "putting back the files of"]);
    assert_eq!(files(), before);
    let look = "/bin/busybox cat /run/secrets/t /conf/app.conf; echo $ROUND";
    assert_eq!(lab.inside("web", look), format!("{TOKEN}-00\n0\n"));
    no_plaintext(&lab, 1);
}

#[test]
fn the_deploy_after_a_kill_succeeds_and_nothing_is_left_of_it() {
    let Some(lab) = Lab::new("killed") else { return };
    let (kills, mut dice) = (number("HLX_SOAK_DEPLOYS", 20), Dice(number("HLX_SOAK_SEED", 7)));
    version(&lab, 0);
    let begun = Instant::now();
    lab.deploys(&[]);
    let whole = begun.elapsed();
    let mut during = 0;
    for round in 1..=kills {
        version(&lab, round);
        let after = Duration::from_micros(dice.roll(whole.as_micros() as usize) as u64);
        during += u64::from(kill(&lab, after));
        // What ran, what was to run, and what is just being made.
        no_plaintext(&lab, 3);
        match round % 5 {
            0 => {
                run(&mut lab.hlx(&["down", &lab.service]));
                assert_eq!(lab.containers().len() + lab.mounts().len(), 0, "after {after:?}");
                assert!(!lab.path("run/.vault").exists());
            }
            _ => {
                lab.deploys(&[]);
                assert_eq!(lab.containers().len(), 1, "after {after:?}");
                let look = "/bin/busybox cat /run/secrets/t /conf/app.conf; echo $ROUND";
                assert_eq!(
                    lab.inside("web", look),
                    format!("{TOKEN}-{round}{round}\n{round}\n"),
                    "after {after:?}"
                );
                no_plaintext(&lab, 1);
                assert_eq!(lab.mounts().len(), 1, "after {after:?}");
                assert!(!lab.path("run/.vault").exists());
            }
        }
        let left = lab.docker(&["ps", "-aq", "--filter", &format!("name={}", lab.project())]);
        assert_eq!(left.lines().count(), lab.containers().len(), "after {after:?}");
    }
    println!(
        "{kills} kills, {during} of them before the deploy had ended, which takes {} ms",
        whole.as_millis()
    );
    assert!(during * 2 >= kills, "{during} of {kills}");
}
