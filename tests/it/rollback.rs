//! After a deploy that failed, at whatever step, what ran before runs with its secrets and data.

use std::fs;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::Duration;

use hlx::deploy::state::{Ending, State};
use hlx::sys::disk;

use crate::lab::{Alien, Lab, SLEEP, TOKEN, run, text};
use crate::registry::Registry;

/// What the last good version's container sees of its secret, its clear configuration and its data.
const LOOK: &str = "/bin/busybox cat /run/secrets/t /conf/app.conf /v/kept";

/// What every version of the stack has in common.
const REST: &str = "    secrets: [t]\n    volumes: [\"./conf:/conf\", \"vol:/v\"]\n\
                    secrets:\n  t: {file: token}\nvolumes:\n  vol:\n";

/// A lab with a good version that has a file secret, clear configuration and data.
fn good_version(name: &str) -> Option<Lab> {
    let lab = Lab::new(name)?;
    lab.seal("token", TOKEN).write("conf/app.conf", "one\n").compose(SLEEP, REST).commit();
    lab.deploys(&[]);
    lab.inside("web", "echo data > /v/kept");
    assert_eq!(lab.inside("web", LOOK), format!("{TOKEN}one\ndata\n"));
    Some(lab)
}

/// A version whose secret and configuration differ, and that has a fault.
fn faulty(lab: &Lab, round: usize, script: &str, rest: &str) {
    lab.seal("token", &format!("another-{round}")).write("conf/app.conf", format!("changed {round}\n"));
    lab.compose(script, rest);
}

#[track_caller]
fn as_before(lab: &Lab, fault: &str) {
    assert_eq!(lab.inside("web", LOOK), format!("{TOKEN}one\ndata\n"), "{fault}");
    assert_eq!(fs::read_to_string(lab.project_dir().join("conf/app.conf")).unwrap(), "one\n", "{fault}");
    assert_eq!(lab.leaks("run").len(), 1, "{fault}: its secret is in RAM, and no other");
    assert_eq!(lab.leaks("srv").len() + lab.leaks("state").len(), 0, "{fault}");
    assert_eq!(lab.containers().len(), 1, "{fault}");
}

/// Something wrong with a version.
struct Fault {
    name: &'static str,
    /// What the container runs.
    script: &'static str,
    /// What follows in the compose file.
    rest: String,
    /// What else is done to the work tree.
    then: fn(&Lab),
    /// What hlx says.
    words: &'static str,
}

fn fault(name: &'static str, rest: &str, words: &'static str, then: fn(&Lab)) -> Fault {
    Fault { name, script: SLEEP, rest: format!("{rest}{REST}"), then, words }
}

fn nothing(_: &Lab) {}

/// Changes the compose file.
fn edit(lab: &Lab, from: &str, to: &str) {
    let text = fs::read_to_string(lab.path("repo/compose.yml")).unwrap();
    assert!(text.contains(from), "{text}");
    lab.write("compose.yml", text.replace(from, to));
}

fn faults_before_up() -> Vec<Fault> {
    let mut faults = vec![
        fault("an invalid model", "    no_such_key: 1\n", "no_such_key", nothing),
        fault("a setting that is none", "", "did you mean `stable`", |lab| edit(lab, "stable:", "stabel:")),
        fault("a probe with a secret", "", "holds a secret", |lab| {
            lab.seal(".env", &format!("TOKEN={TOKEN}\n"));
            edit(lab, "stable:", "probes: [{exec: [web, x, \"${TOKEN}\"]}], stable:");
        }),
        fault("a grant that cannot be obeyed", "", "`uid` of secret `t`", |lab| {
            edit(lab, "secrets: [t]", "secrets: [{source: t, uid: bob}]");
        }),
        fault("a build that fails", "    build: .\n", "building images failed", |lab| {
            lab.write("Dockerfile", format!("FROM {}\nRUN exit 7\n", lab.image()));
        }),
        fault("a setup.sh that fails", "", "setup.sh failed: exit code 9\nhlx:     trying", |lab| {
            lab.write("setup.sh", "echo trying; exit 9\n");
        }),
        fault("an image that nobody has", "", "pulling images failed", |lab| {
            edit(lab, "    pull_policy: never\n", "");
            edit(lab, &lab.image(), "127.0.0.1:9/hlxit-nowhere");
        }),
        fault("a compose file that is no YAML", "", "compose.yml, which is no valid YAML in line ", |lab| {
            edit(lab, "    init: true\n", "    init: true\n   x: y\n");
        }),
    ];
    faults.push(fault("a port that is taken", "", "port", |lab| {
        let port = fs::read_to_string(lab.path("port")).unwrap();
        edit(lab, "    init: true\n", &format!("    init: true\n    ports: [\"127.0.0.1:{port}:80\"]\n"));
    }));
    faults.push(fault("a file that is not authentic", "", "token", |lab| {
        let sealed = fs::read_to_string(lab.path("repo/token")).unwrap();
        lab.write("token", sealed.replacen("data:", "data:AA", 1));
    }));
    faults
}

#[test]
fn a_fault_before_any_container_is_touched_leaves_all_as_it_was() {
    let Some(lab) = good_version("faults-before") else { return };
    let ids = lab.containers();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    fs::write(lab.path("port"), taken.local_addr().unwrap().port().to_string()).unwrap();
    for (round, fault) in faults_before_up().into_iter().enumerate() {
        faulty(&lab, round, fault.script, &fault.rest);
        (fault.then)(&lab);
        lab.commit();
        let code = match fault.name {
            "a probe with a secret" => 5,
            "a file that is not authentic" => 4,
            _ => 1,
        };
        // Quiet as from a timer: the reason is told all the same.
        lab.fails(code, &["--quiet"], &[fault.words, "no container was touched"]);
        as_before(&lab, fault.name);
        assert_eq!(lab.containers(), ids, "{}", fault.name);
        for path in [".env", "Dockerfile", "setup.sh"] {
            let _ = fs::remove_file(lab.path("repo").join(path));
        }
    }
    // What was wrong is gone: it deploys.
    lab.seal("token", TOKEN).compose(SLEEP, REST).commit().deploys(&[]);
}

/// Files are laid when all that can fail before has not failed: containers share them.
#[test]
fn a_deploy_that_fails_early_leaves_what_a_container_wrote() {
    let Some(lab) = good_version("early") else { return };
    lab.inside("web", "echo mine > /conf/app.conf");
    let seen = format!("{TOKEN}mine\ndata\n");
    let early = ["an invalid model", "a build that fails", "an image that nobody has"];
    for fault in faults_before_up().into_iter().filter(|fault| early.contains(&fault.name)) {
        faulty(&lab, 1, fault.script, &fault.rest);
        (fault.then)(&lab);
        lab.commit().fails(1, &[], &[fault.words, "no container was touched"]);
        assert_eq!(lab.inside("web", LOOK), seen, "{}", fault.name);
        let _ = fs::remove_file(lab.path("repo/Dockerfile"));
    }
}

/// What a container wrote among the files is not the commit's.
#[test]
fn a_build_sees_the_commit_and_nothing_else() {
    let Some(lab) = Lab::new("context") else { return };
    lab.compose(SLEEP, "    volumes: [\".:/all\"]\n").commit().deploys(&[]);
    lab.inside("web", "echo planted > /all/planted; echo planted > /all/clear");
    lab.write("clear", "committed\n").seal("token", TOKEN);
    lab.write("Dockerfile", format!("FROM {}\nCOPY . /context\n", lab.image()));
    lab.compose(SLEEP, "    build: .\n    volumes: [\".:/all\"]\n").commit().deploys(&[]);
    let look = "cd /context; /bin/busybox ls; cat clear; /bin/busybox grep -q ENC token && echo sealed";
    assert_eq!(lab.inside("web", look), "Dockerfile\nclear\ncompose.yml\ntoken\ncommitted\nsealed\n");
}

#[test]
fn a_state_that_cannot_be_written_touches_nothing() {
    let Some(lab) = good_version("faults-state") else { return };
    let ids = lab.containers();
    faulty(&lab, 1, SLEEP, REST);
    lab.commit();
    let state = lab.path("state");
    run(Command::new("mount").arg("--bind").args([&state, &state]));
    run(Command::new("mount").args(["-o", "remount,bind,ro"]).arg(&state));
    lab.fails(1, &[], &["no container was touched"]);
    run(Command::new("umount").arg(&state));
    as_before(&lab, "read-only state");
    assert_eq!(lab.containers(), ids);
}

fn faults_after_up() -> Vec<Fault> {
    let check = "    healthcheck: {test: [CMD, /bin/busybox, \"false\"], interval: 1s, retries: 1}\n";
    let slow = "    healthcheck: {test: [CMD, /bin/busybox, \"false\"], interval: 60s, start_period: 60s}\n";
    let crash = fault("a crash", "", "ended with exit code 3", nothing);
    let again = fault("a restart loop", "    restart: always\n", "restarts again and again", nothing);
    let silent = "probe tcp 127.0.0.1:9: connection refused, still after 3 s";
    vec![
        fault("no such device", "    devices: [/dev/hlx-nowhere]\n", "gathering device information", nothing),
        Fault { script: "echo falling; exit 3", ..crash },
        Fault { script: "exit 4", ..again },
        fault("ill health", check, "is unhealthy", nothing),
        fault("no health in time", slow, "was still starting after 3 s", |lab| {
            edit(lab, "timeout: 20s", "timeout: 3s");
        }),
        fault("a probe that is not answered", "", silent, |lab| {
            edit(lab, "timeout: 20s", "timeout: 3s, probes: [{tcp: \"127.0.0.1:9\"}]");
        }),
        fault("a probe program that fails", "", "probe /bin/busybox false in web: exit code 1", |lab| {
            edit(lab, "timeout: 20s", "timeout: 3s, probes: [{exec: [web, /bin/busybox, \"false\"]}]");
        }),
    ]
}

#[test]
fn a_fault_after_containers_were_touched_brings_the_old_version_back() {
    let Some(lab) = good_version("faults-after") else { return };
    let again = format!("the old version, {:.10}, runs again", lab.head());
    for (round, fault) in faults_after_up().into_iter().enumerate() {
        faulty(&lab, round, fault.script, &fault.rest);
        (fault.then)(&lab);
        let said = lab.commit().fails(6, &[], &[&again, "--retry"]);
        assert!(said.contains(fault.words), "{}: {said}", fault.name);
        as_before(&lab, fault.name);
    }
    // One attempt at each commit.
    lab.fails(1, &[], &["is known to be bad: ", "exit code 1", "no container was touched"]);
    lab.fails(6, &["--retry"], &["runs again"]);
    as_before(&lab, "retried");
}

/// Compose finds that out when the old container has gone, and all that is left of its unnamed volume is what
/// the new one has of it.
#[test]
fn a_name_that_another_took_meanwhile_stops_neither_the_way_back_nor_the_next_deploy() {
    let Some(lab) = Lab::new("taken-late") else { return };
    lab.compose(SLEEP, "    volumes: [/unnamed]\n").commit().deploys(&[]);
    lab.inside("web", "echo data > /unnamed/kept");
    let alien = Alien(format!("{}-alien", lab.project()));
    lab.write("setup.sh", format!("docker create --name {} {} /bin/sh\n", alien.0, lab.image()));
    lab.compose(SLEEP, &format!("    volumes: [/unnamed]\n    container_name: {}\n", alien.0)).commit();
    lab.fails(6, &[], &["is already in use", "runs again"]);
    assert_eq!((lab.inside("web", "cat /unnamed/kept").as_str(), lab.containers().len()), ("data\n", 1));
    lab.compose("echo mended; exec /bin/busybox sleep 1000", "    volumes: [/unnamed]\n");
    lab.write("setup.sh", "true\n").commit().deploys(&[]);
    assert_eq!((lab.inside("web", "cat /unnamed/kept").as_str(), lab.containers().len()), ("data\n", 1));
}

#[test]
fn a_good_version_that_cannot_be_recorded_is_none() {
    let Some(lab) = good_version("faults-record") else { return };
    faulty(&lab, 1, SLEEP, REST);
    lab.commit();
    let mut mirrors = fs::read_dir(lab.path("state/mirror")).unwrap().map(|entry| entry.unwrap().path());
    let mirror = mirrors.find(|path| path.extension().is_some_and(|extension| extension == "git")).unwrap();
    let lock = mirror.join("refs/heads").join(format!("{}.lock", lab.service));
    fs::write(&lock, "").unwrap();
    let said = lab.fails(6, &[], &["runs again", "lock"]);
    assert!(!said.contains("--retry"), "it is not the commit's fault: {said}");
    as_before(&lab, "no record");
    fs::remove_file(&lock).unwrap();
    lab.deploys(&[]);
    assert_eq!(lab.inside("web", LOOK), "another-1changed 1\ndata\n");
}

#[test]
fn a_stack_may_want_a_person_to_look_at_it() {
    let Some(lab) = good_version("manual") else { return };
    let good = lab.head();
    let manual = || {
        let text = fs::read_to_string(lab.path("repo/compose.yml")).unwrap();
        lab.write("compose.yml", text.replace("timeout:", "rollback: manual, timeout:")).commit();
    };
    faulty(&lab, 1, "echo falling; exit 3", REST);
    manual();
    lab.fails(7, &[], &["ended with exit code 3", "left as it is", "`manual`"]);
    assert_eq!(lab.containers().len(), 1);
    assert_eq!(fs::read_to_string(lab.project_dir().join("conf/app.conf")).unwrap(), "changed 1\n");
    // A later failure before `up` leaves what runs now, and its files.
    faulty(&lab, 2, SLEEP, "    no_such_key: 1\n");
    lab.commit().fails(1, &[], &["no container was touched"]);
    assert_eq!(fs::read_to_string(lab.project_dir().join("conf/app.conf")).unwrap(), "changed 1\n");
    // One after it goes back to the last good version, not to the last.
    faulty(&lab, 3, "exit 5", REST);
    lab.commit().fails(6, &[], &[&format!("the old version, {good:.10}, runs again")]);
    as_before(&lab, "after manual");
}

#[test]
fn going_back_takes_the_images_that_ran() {
    let Some(lab) = Lab::new("images") else { return };
    let build = |mark: &str, script: &str| {
        lab.write("Dockerfile", format!("FROM {}\nCOPY mark /mark\n", lab.image())).write("mark", mark);
        let tagged = "  other:\n    image: TAGGED\n    pull_policy: never\n    init: true\n    command: [/bin/busybox, sleep, \"1000\"]\n";
        lab.compose(
            script,
            &format!("    build: .\n{}", tagged.replace("TAGGED", &format!("{}-moving", lab.image()))),
        );
        let text = fs::read_to_string(lab.path("repo/compose.yml")).unwrap();
        let own = format!(
            "    image: {}\n    pull_policy: never\n    init: true\n    command: [/bin/busybox, sh",
            lab.image()
        );
        lab.write("compose.yml", text.replace(&own, "    init: true\n    command: [/bin/busybox, sh"))
            .commit();
    };
    let moving = format!("{}-moving", lab.image());
    run(Command::new("docker").args(["tag", &lab.image(), &moving]));
    build("first", SLEEP);
    lab.deploys(&[]);
    let good = lab.head();
    let images = || {
        let of = |service: &str| {
            lab.docker(&["inspect", "-f", "{{.Image}}", &format!("{}-{service}-1", lab.project())])
        };
        [of("web"), of("other")]
    };
    let before = images();
    let tags =
        lab.docker(&["images", "--format", "{{.Repository}}:{{.Tag}}", "--filter", "reference=hlx/*/*"]);
    let own = tags.lines().filter(|tag| tag.contains(&lab.project()) && tag.ends_with(&good)).count();
    assert_eq!(own, 2, "{tags}");
    // Both names mean other images now, and the containers of both are replaced.
    let context = lab.path("image");
    fs::write(context.join("more"), "").unwrap();
    fs::write(context.join("Dockerfile"), format!("FROM {}\nCOPY more /more\n", lab.image())).unwrap();
    run(Command::new("docker").args(["build", "-q", "-t", &moving]).arg(&context));
    build("second", "exit 3");
    lab.fails(6, &[], &["runs again"]);
    assert_eq!(images(), before);
    assert_eq!(lab.inside("web", "/bin/busybox cat /mark"), "first");
    // The next good version runs with what the names mean.
    build("third", SLEEP);
    lab.deploys(&[]);
    assert_eq!(lab.inside("web", "/bin/busybox cat /mark"), "third");
    assert_ne!(images()[1], before[1]);
    lab.docker(&["rmi", "-f", &moving]);
}

#[test]
fn without_a_way_back_nothing_is_deployed() {
    let Some(mut lab) = good_version("wayback") else { return };
    let ids = lab.containers();
    lab.change_key();
    faulty(&lab, 1, SLEEP, REST);
    lab.commit().fails(
        5,
        &[],
        &["could not be brought back", "--without-rollback", "no container was touched"],
    );
    as_before(&lab, "no way back");
    assert_eq!(lab.containers(), ids);
    lab.deploys(&["--without-rollback"]);
    assert_eq!(lab.inside("web", LOOK), "another-1changed 1\ndata\n");
}

#[test]
fn the_first_version_has_nothing_to_go_back_to() {
    let Some(lab) = Lab::new("first") else { return };
    lab.compose("exit 3", "").commit();
    lab.fails(7, &[], &["ended with exit code 3", "no good version before"]);
    lab.fails(1, &[], &["known to be bad"]);
    lab.compose(SLEEP, "").commit().deploys(&[]);
}

/// The lab's repository gets a bare remote, and the host deploys from that.
fn with_remote(lab: &Lab) -> String {
    let bare = lab.path("bare.git").to_str().unwrap().to_owned();
    run(Command::new("git").args(["clone", "--quiet", "--bare"]).arg(lab.path("repo")).arg(&bare));
    lab.git(&["remote", "add", "origin", &bare]);
    bare
}

fn push(lab: &Lab) {
    lab.commit();
    lab.git(&["push", "--quiet", "origin", &lab.service]);
}

#[test]
fn a_server_goes_back_by_a_commit_that_it_pushes_and_deploys() {
    let Some(lab) = Lab::new("revert") else { return };
    lab.seal("token", TOKEN).write("conf/app.conf", "one\n").compose(SLEEP, REST).commit();
    let bare = with_remote(&lab);
    lab.deploys(&[]);
    lab.inside("web", "echo data > /v/kept");
    let good = lab.head();
    let rollback = |more: &[&str]| lab.hlx(&[&["rollback", &lab.service], more].concat()).output().unwrap();
    let none = rollback(&[]);
    assert_eq!(none.status.code(), Some(1));
    assert!(text(&none.stderr).contains("before its last was good"), "{}", text(&none.stderr));
    // One that is bad is gone back from as well as one that was good.
    faulty(&lab, 1, "exit 3", REST);
    push(&lab);
    lab.fails(6, &[], &["runs again"]);
    faulty(&lab, 2, SLEEP, REST);
    push(&lab);
    lab.deploys(&[]);
    let second = lab.head();
    // One that was not well here is not pushed again, nor is one that this host would not take.
    let bad = lab.git(&["rev-parse", "HEAD~1"]);
    let refused = rollback(&["--to", bad.trim()]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("go back with --retry"), "{}", text(&refused.stderr));
    fs::write(lab.path("config.yaml"), "deny: [privileged, host-mounts]\nstacks: [other]\n").unwrap();
    let mut denied = lab.hlx(&["rollback", &lab.service, "--to", &good]);
    let denied = denied.env("HLX_CONFIG", lab.path("config.yaml")).output().unwrap();
    assert_eq!(denied.status.code(), Some(5), "{}", text(&denied.stderr));
    let there = || text(&run(Command::new("git").args(["-C", &bare, "rev-parse", &lab.service])).stdout);
    assert_eq!(there().trim(), second);
    let done = rollback(&[]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    let history = text(&run(&mut lab.hlx(&["history", &lab.service])).stdout);
    assert!(history.contains("rollback  good") && history.contains("rollback  failed"), "{history}");
    as_before(&lab, "gone back");
    let tip = || {
        let mut git = Command::new("git");
        text(&run(git.args(["-C", &bare, "log", "-1", "--format=%H %P %T %an", &lab.service])).stdout)
    };
    let words = tip();
    let tree = lab.git(&["rev-parse", &format!("{good}^{{tree}}")]);
    assert!(words.contains(&format!(" {second} {} hlx", tree.trim())), "{words}");
    // To a commit by its name, and to none that is not the branch's.
    let forward = rollback(&["--to", &second[..12]]);
    assert!(forward.status.success(), "{}", text(&forward.stderr));
    assert_eq!(lab.inside("web", LOOK), "another-2changed 2\ndata\n");
    for (to, code) in
        [("--help-me", 2), ("main", 2), ("0123456789", 2), (words.split(' ').next().unwrap(), 0)]
    {
        let output = rollback(&[&format!("--to={to}")]);
        assert_eq!(output.status.code(), Some(code), "{to}: {}", text(&output.stderr));
    }
    assert_eq!(lab.inside("web", LOOK), format!("{TOKEN}one\ndata\n"));
    let same = rollback(&["--to", &good]);
    assert!(text(&same.stderr).contains("has the same files"), "{}", text(&same.stderr));
}

/// Whoever had the lock meanwhile would take it for one that was killed.
#[test]
fn the_lock_is_held_as_long_as_a_rollback_is_in_the_history_without_an_end() {
    let Some(lab) = Lab::new("held") else { return };
    lab.seal("token", TOKEN).write("conf/app.conf", "one\n").compose(SLEEP, REST).commit();
    with_remote(&lab);
    lab.deploys(&[]);
    faulty(&lab, 1, SLEEP, REST);
    push(&lab);
    lab.deploys(&[]);
    let state = State::open(&lab.path("state/state.db")).unwrap();
    let service = lab.service.parse().unwrap();
    let newest = || state.history(Some(&service), 1).unwrap().remove(0);
    for to in ["0123456789".to_owned(), lab.git(&["rev-parse", "HEAD~1"])] {
        let mut hlx = lab.hlx(&["rollback", &lab.service, "--to", to.trim()]);
        let mut hlx = hlx.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut looks = 0;
        while hlx.try_wait().unwrap().is_none() {
            if let Some(_lock) = disk::lock(&lab.path("state/lock").join(&lab.service)).unwrap() {
                assert_ne!(newest().ending, Ending::Running, "{}", newest().action);
            }
            looks += 1;
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(looks > 5, "{looks}");
    }
    assert_eq!(newest().ending, Ending::Good);
    let further = lab.hlx(&["rollback", &lab.service]).output().unwrap();
    let said = text(&further.stderr);
    assert!(said.contains("already, and no commit before that was good on this host"), "{said}");
}

#[test]
fn a_clone_goes_back_by_a_commit_that_it_pushes() {
    let Some(lab) = Lab::new("clone") else { return };
    lab.seal("token", TOKEN).write("conf/app.conf", "one\n").commit();
    let bare = with_remote(&lab);
    let good = lab.head();
    let rollback = |more: &[&str]| {
        let mut hlx = lab.hlx(&[&["rollback", &lab.service], more].concat());
        for who in ["AUTHOR", "COMMITTER"] {
            hlx.env(format!("GIT_{who}_NAME"), "t").env(format!("GIT_{who}_EMAIL"), "t@example.org");
        }
        hlx.output().unwrap()
    };
    assert!(text(&rollback(&[]).stderr).contains("has no earlier commit"));
    lab.write("conf/app.conf", "two\n").write(".sops.yaml", "x: 1\n").seal("token", "another");
    push(&lab);
    let done = rollback(&[]);
    let said = text(&done.stderr);
    assert!(done.status.success() && said.contains("its readers and rules"), "{said}");
    let there = text(&run(Command::new("git").args(["-C", &bare, "rev-parse", &lab.service])).stdout);
    assert_eq!(there.trim(), lab.head());
    assert_eq!(lab.git(&["diff", &good, "HEAD"]) + &lab.git(&["status", "--porcelain"]), "");
    assert_eq!(fs::read_to_string(lab.path("repo/conf/app.conf")).unwrap(), "one\n");
    // Twice in a row leads on back, and not to what the first time led away from.
    let [three, four] = ["three\n", "four\n"].map(|content| {
        lab.write("conf/app.conf", content);
        push(&lab);
        lab.head()
    });
    for wanted in [&three, &good] {
        assert!(rollback(&[]).status.success());
        assert_eq!(lab.git(&["diff", wanted, "HEAD"]), "", "from {four}");
    }
    // What would not open anywhere is not gone back to.
    lab.seal(".env", "A=one\n");
    let sealed = fs::read_to_string(lab.path("repo/.env")).unwrap();
    lab.write(".env", sealed.replace("lastmodified=2026", "lastmodified=2025"));
    push(&lab);
    lab.seal(".env", "A=two\n");
    push(&lab);
    let (broken, head) = (rollback(&[]), lab.head());
    let said = text(&broken.stderr);
    assert!(
        broken.status.code() == Some(4) && said.contains(".env of ") && said.contains("nothing was pushed"),
        "{said}"
    );
    assert_eq!(lab.head(), head);
    let typo = lab.hlx(&["rollback", &lab.service[1..]]).output().unwrap();
    let said = text(&typo.stderr);
    assert!(
        typo.status.code() == Some(2) && said.contains(&format!("did you mean `{}`?", lab.service)),
        "{said}"
    );
    // What is not pushed is not gone over.
    lab.write("conf/app.conf", "three\n").commit();
    let ahead = rollback(&[]);
    assert_eq!(ahead.status.code(), Some(1));
    assert!(text(&ahead.stderr).contains("not pushed"), "{}", text(&ahead.stderr));
    assert_eq!(text(&rollback(&["--to", "HEAD~9"]).stderr).matches("not pushed").count(), 1);
}

#[test]
fn going_back_takes_the_pulled_image_whose_tag_moved_and_pulls_it_again_if_it_has_gone() {
    let Some(lab) = Lab::new("pulled") else { return };
    let registry = Registry::new();
    let image = registry.image(&lab.project());
    let build = |mark: &str| {
        let context = lab.path("image");
        fs::write(context.join("mark"), mark).unwrap();
        fs::write(context.join("Dockerfile"), format!("FROM {}\nCOPY mark /mark\n", lab.image())).unwrap();
        let tag = format!("{}-{mark}", lab.project());
        run(Command::new("docker").args(["build", "-q", "-t", &tag]).arg(&context));
        registry.take(&tag, &lab.path("saved"));
        lab.docker(&["rmi", "-f", &tag]);
    };
    let version = |script: &str, more: &str| {
        lab.compose(script, more);
        edit(
            &lab,
            &format!("    image: {}\n    pull_policy: never\n", lab.image()),
            &format!("    image: {image}\n    pull_policy: always\n"),
        );
        lab.commit();
    };
    let mark = || lab.inside("web", "/bin/busybox cat /mark");
    build("first");
    version(SLEEP, "");
    lab.deploys(&[]);
    assert_eq!(mark(), "first");
    let id = || lab.docker(&["inspect", "-f", "{{.Image}}", &lab.containers()[0]]);
    let first = id();
    assert!(
        lab.docker(&["images", "-q", "--filter", &format!("reference=hlx/{}-*/*", lab.project())]).is_empty()
    );
    build("second");
    version("exit 3", "");
    lab.fails(6, &[], &["runs again"]);
    assert_eq!((mark(), id()), ("first".to_owned(), first.clone()));
    // Down, and someone cleans up: the image has gone, and its digest is known.
    run(&mut lab.hlx(&["down", &lab.service]));
    lab.docker(&["rmi", "-f", first.trim(), &image]);
    assert!(lab.docker(&["image", "inspect", "-f", "{{.Id}}", first.trim()]).trim().is_empty());
    version("exit 4", "");
    lab.fails(6, &[], &["has gone from this host: going back would pull", "@sha256:", "runs again"]);
    assert_eq!((mark(), id()), ("first".to_owned(), first.clone()));
    lab.docker(&["rm", "-f", &lab.containers()[0]]);
    lab.docker(&["rmi", "-f", first.trim(), &image]);
}
