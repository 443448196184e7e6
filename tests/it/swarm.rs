//! Stacks on a Swarm, with a Docker daemon of its own that is the Swarm's manager.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::lab::{Lab, SLEEP, TOKEN, hides_secrets, run, text};
use crate::materialise::Daemon;

/// A Swarm and a stack for it.
struct Swarm {
    daemon: Daemon,
    lab: Lab,
}

impl Swarm {
    fn new(name: &str) -> Option<Self> {
        let lab = Lab::new(name)?;
        let daemon = Daemon::new(&lab);
        daemon.load_image(&lab);
        Some(Self { daemon, lab })
    }

    fn init(self) -> Self {
        self.daemon.says(&["swarm", "init", "--advertise-addr", "127.0.0.1"]);
        self
    }

    /// A stack of `web`, which reads a secret, and `db`, which reads another.
    fn stack(&self, head: &str, web: &str, rest: &str) -> &Lab {
        let image = self.lab.image();
        let service = |name: &str, script: &str| {
            let script = script.replace('$', "$$");
            format!(
                "  {name}:\n    image: {image}\n    pull_policy: never\n    init: true\n    command: [/bin/busybox, sh, -c, {script:?}]\n    secrets: [{name}]\n    deploy: {{restart_policy: {{delay: 100ms}}}}\n"
            )
        };
        let text = format!(
            "x-hlx: {{engine: swarm, stable: 1s, timeout: 30s{head}}}\nservices:\n{}    environment: {{MODE: \"${{MODE}}\"}}\n{}\
             secrets: {{web: {{file: web.key}}, db: {{file: db.key}}}}\n{rest}",
            service("web", web),
            service("db", SLEEP),
        );
        self.lab.write("compose.yml", text)
    }

    /// A Swarm of two nodes, each with a network of its own and a line between them.
    fn join(&self, worker: &Daemon) {
        let (one, other) = (self.daemon.pid(), worker.pid());
        let link = format!(
            "ip link add hv type veth peer name hv netns {other} && ip addr add 10.99.0.1/24 dev hv && ip link set hv up"
        );
        run(Command::new("nsenter").args(["-t", &one, "--net", "sh", "-c", &link]));
        let link = "ip addr add 10.99.0.2/24 dev hv && ip link set hv up";
        run(Command::new("nsenter").args(["-t", &other, "--net", "sh", "-c", link]));
        self.daemon.says(&["swarm", "init", "--advertise-addr", "10.99.0.1"]);
        let token = self.daemon.says(&["swarm", "join-token", "-q", "worker"]);
        worker.says(&[
            "swarm",
            "join",
            "--token",
            token.trim(),
            "--advertise-addr",
            "10.99.0.2",
            "10.99.0.1:2377",
        ]);
    }

    #[track_caller]
    fn hlx(&self, args: &[&str], code: i32) -> String {
        let output = self.lab.hlx(args).env("DOCKER_HOST", self.daemon.host()).output().unwrap();
        let said = text(&output.stderr) + &text(&output.stdout);
        assert_eq!(output.status.code(), Some(code), "{said}");
        hides_secrets(&output);
        said
    }

    /// What is said of a deploy that this configuration of the server forbids.
    #[track_caller]
    fn refused_by(&self, config: &str) -> String {
        let path = self.lab.path("config.yaml");
        fs::write(&path, config).unwrap();
        let mut hlx = self.lab.hlx(&["deploy", &self.lab.service]);
        let output = hlx.env("DOCKER_HOST", self.daemon.host()).env("HLX_CONFIG", path).output().unwrap();
        assert_eq!(output.status.code(), Some(5), "{}", text_of(&output));
        text_of(&output)
    }

    #[track_caller]
    fn deploys(&self) -> String {
        self.hlx(&["deploy", &self.lab.service], 0)
    }

    /// Names of services and ids of their running tasks.
    fn tasks(&self) -> Vec<String> {
        let project = self.lab.project();
        let filter = "desired-state=running";
        let format = "{{.Name}} {{.ID}}";
        let said = self.daemon.says(&[
            "stack",
            "ps",
            &project,
            "--no-trunc",
            "--filter",
            filter,
            "--format",
            format,
        ]);
        let mut tasks: Vec<String> = said.lines().map(str::to_owned).collect();
        tasks.sort();
        tasks
    }

    fn secrets(&self) -> Vec<String> {
        let said = self.daemon.says(&["secret", "ls", "--format", "{{.Name}}"]);
        said.lines().map(str::to_owned).collect()
    }

    /// Runs a program in the container of a service.
    fn inside(&self, service: &str, args: &[&str]) -> String {
        let name = format!("name={}_{service}.", self.lab.project());
        let id = self.daemon.says(&["ps", "-q", "--filter", &name]);
        self.daemon.says(&[&["exec", id.trim(), "/bin/busybox"][..], args].concat())
    }
}

#[test]
fn a_changed_secret_updates_its_service_and_a_bad_one_is_rolled_back() {
    let Some(swarm) = Swarm::new("swarm").map(Swarm::init) else { return };
    let lab = &swarm.lab;
    let web =
        format!("test \"$(/bin/busybox cat /run/secrets/web)\" != bad-value-of-a-key || exit 3; {SLEEP}");
    lab.seal("web.key", TOKEN).seal("db.key", "a-key-of-the-db").seal(".env", "MODE=mode-of-the-web\n");
    swarm.stack("", &web, "");
    let plain = fs::read_to_string(lab.path("repo/compose.yml")).unwrap();
    let more = "volumes: [\"./data/of/web:/data\"]\n    ports: [\"8080:80\"]\n    environment:";
    lab.write("compose.yml", plain.replacen("environment:", more, 1)).commit();
    let said = swarm.deploys();
    assert!(said.contains("_web.1: running"), "{said}");
    let before = swarm.tasks();
    assert_eq!(before.len(), 2);
    assert_eq!(swarm.inside("web", &["cat", "/run/secrets/web"]), TOKEN);
    assert_eq!(swarm.inside("web", &["stat", "-c", "%a", "/run/secrets/web"]), "444\n");
    assert!(swarm.inside("web", &["env"]).contains("MODE=mode-of-the-web\n"));

    // One secret: one service.
    lab.seal("db.key", "another-key-of-the-db").commit();
    swarm.deploys();
    let after = swarm.tasks();
    assert!(after[1] == before[1] && after[0] != before[0], "{before:?} {after:?}");
    assert_eq!(swarm.inside("db", &["cat", "/run/secrets/db"]), "another-key-of-the-db");

    let said = swarm.hlx(&["plan", &lab.service], 0);
    assert!(said.contains("no changes"), "{said}");

    // Swarm takes a bad update back, and its exit code is 0.
    lab.seal("web.key", "bad-value-of-a-key").commit();
    let said = swarm.hlx(&["plan", &lab.service], 10);
    assert!(said.contains("update service web\n") && !said.contains("service db"), "{said}");
    assert!(said.contains("secret web.key"), "{said}");
    let said = swarm.hlx(&["deploy", &lab.service], 6);
    assert!(said.contains("Swarm has rolled it back") && said.contains("non-zero exit (3)"), "{said}");
    assert!(said.contains("the old version"), "{said}");
    assert_eq!(swarm.inside("web", &["cat", "/run/secrets/web"]), TOKEN);
    let now = swarm.tasks();
    assert_eq!(now[0], after[0]);
    let said = swarm.hlx(&["deploy", &lab.service], 1);
    assert!(said.contains("known to be bad"), "{said}");

    // What nobody needs is collected.
    assert_eq!(swarm.secrets().len(), 2, "{:?}", swarm.secrets());

    // Nothing new: nothing is updated.
    lab.seal("web.key", TOKEN).commit();
    swarm.deploys();
    assert_eq!(swarm.tasks(), now);

    // Nothing of it lies about, but for what the environment of a service is.
    assert!(swarm.lab.mounts().iter().all(|line| !line.contains("/run/")), "{:?}", swarm.lab.mounts());
    for secret in [TOKEN, "another-key-of-the-db", "mode-of-the-web"] {
        // Containers see them in file systems in RAM, which are no part of the disk.
        let mut find = Command::new("find");
        find.args([lab.path("docker/data"), lab.path("state"), lab.path("srv")])
            .args(["-xdev", "-type", "f"]);
        let found = find.args(["-exec", "grep", "-laF", "--", secret, "{}", "+"]).output().unwrap();
        let is_found = secret == "mode-of-the-web";
        assert_eq!(!found.stdout.is_empty(), is_found, "{secret}: {}", text(&found.stdout));
    }

    let said = swarm.hlx(&["down", &lab.service], 0);
    assert!(said.contains("is down"), "{said}");
    for list in [["service", "ls", "-q"], ["secret", "ls", "-q"], ["config", "ls", "-q"], ["ps", "-a", "-q"]]
    {
        assert_eq!(swarm.daemon.says(&list), "", "{list:?}");
    }
    assert!(!swarm.daemon.says(&["network", "ls"]).contains(&lab.project()));
}

#[test]
fn what_a_swarm_cannot_do_is_said_before_and_a_bad_first_deploy_after() {
    let Some(swarm) = Swarm::new("notyet") else { return };
    let lab = &swarm.lab;
    lab.seal("web.key", TOKEN).seal("db.key", "a-key-of-the-db");
    swarm.stack("", SLEEP, "").commit();
    let said = swarm.hlx(&["deploy", &lab.service], 9);
    assert!(said.contains("this Docker is in no Swarm") && said.contains("docker swarm init"), "{said}");
    let swarm = swarm.init();
    let lab = &swarm.lab;

    let web = "    privileged: true\n    ports: [\"127.0.0.1:8080:80\"]\n    volumes: [\"./db.key:/k:ro\"]\n";
    let text = fs::read_to_string(lab.path("repo/compose.yml")).unwrap();
    let odd = text.replace("    environment:", &format!("{web}    environment:"));
    let odd = odd.replace("db: {file: db.key}", "db: {file: db.key}, away: {file: /etc/hostname}");
    lab.write("compose.yml", odd.replace("secrets: [web]", "secrets: [web, away]")).commit();
    for (command, code) in [("plan", 1), ("deploy", 1)] {
        let said = swarm.hlx(&[command, &lab.service], code);
        for word in [
            "`privileged`",
            "on 127.0.0.1 only",
            "mounts db.key, which is encrypted",
            "no file of the commit",
        ] {
            assert!(said.contains(word), "`{word}` is missing in {said}");
        }
    }
    assert!(
        swarm.secrets().is_empty() && swarm.daemon.says(&["network", "ls"]).matches("overlay").count() == 1
    );

    // Another stack's secret is not to be had by its name.
    swarm.daemon.says(&["secret", "create", "--label", "hlx.stack=other", "theirs", "/etc/hostname"]);
    lab.write("compose.yml", text.replace("db: {file: db.key}", "db: {external: true, name: theirs}"))
        .commit();
    let said = swarm.hlx(&["deploy", &lab.service], 1);
    assert!(said.contains("was made for the stack `other`"), "{said}");

    // Nor is one that nobody's name is on, where that is denied.
    swarm.daemon.says(&["secret", "create", "loose", "/etc/hostname"]);
    lab.write("compose.yml", text.replace("db: {file: db.key}", "db: {external: true, name: loose}"))
        .commit();
    let said = swarm.refused_by("deny: [external]\n");
    assert!(said.contains("secret `db`: is `loose`, which the stack does not make (external)"), "{said}");
    swarm.daemon.says(&["secret", "rm", "loose"]);

    // Nor is its port.
    let image = lab.image();
    let create = ["service", "create", "--detach", "--quiet", "--name", "other_web", "--publish", "8080:80"];
    swarm.daemon.says(&[&create[..], &[&image, "/bin/busybox", "sleep", "1000"]].concat());
    lab.write("compose.yml", text.replace("    environment:", "    ports: [\"8080:80\"]\n    environment:"));
    let said = swarm.hlx(&["deploy", &lab.commit().service], 1);
    assert!(said.contains("which service `web` publishes, is taken by the service other_web"), "{said}");
    swarm.daemon.says(&["service", "rm", "other_web"]);

    let bad = format!("echo it has {TOKEN}; exit 4");
    swarm.stack("", &bad, "").commit();
    let said = swarm.hlx(&["deploy", &lab.service], 7);
    assert!(said.contains("_web fails again and again: task: non-zero exit (4)"), "{said}");
    assert!(said.contains("it has «secret»") && said.contains("there was no good version"), "{said}");
    let said = swarm.hlx(&["ps"], 0);
    assert!(said.contains("which was never good") && said.contains("_db.1: running"), "{said}");

    // It is the Swarm's until it is taken down there.
    let compose = text.replace("engine: swarm, ", "");
    lab.write("compose.yml", &compose).commit();
    let said = swarm.hlx(&["deploy", &lab.service], 5);
    assert!(said.contains("runs by swarm, and `x-hlx.engine` is `compose` now"), "{said}");
    swarm.hlx(&["down", &lab.service], 0);
    assert_eq!(swarm.secrets(), ["theirs"]);
}

#[test]
fn each_node_gets_the_secrets_and_what_was_well_goes_back_with_what_was_not() {
    let Some(swarm) = Swarm::new("nodes") else { return };
    let lab = &swarm.lab;
    let worker = Daemon::named(lab, "worker");
    worker.load_image(lab);
    swarm.join(&worker);
    lab.seal("web.key", TOKEN).seal("db.key", "a-key-of-the-db").seal("conf.txt", "a-config-of-the-web");
    let rest = "configs: {conf: {file: conf.txt}}\n";
    let web = "    configs: [{source: conf, target: /etc/conf, mode: 0400}]\n";
    let write = |web_script: &str| {
        swarm.stack("", web_script, rest);
        let text = fs::read_to_string(lab.path("repo/compose.yml")).unwrap();
        let text = text.replacen(
            "deploy: {",
            "deploy: {mode: global, update_config: {parallelism: 0}, rollback_config: {parallelism: 0}, ",
            1,
        );
        lab.write("compose.yml", text.replacen("    environment:", &format!("{web}    environment:"), 1))
            .commit();
    };
    write(SLEEP);
    swarm.deploys();
    let name = format!("name={}_web.", lab.project());
    for daemon in [&swarm.daemon, &worker] {
        let id = daemon.says(&["ps", "-q", "--filter", &name]);
        let read = "/bin/busybox cat /run/secrets/web /etc/conf; /bin/busybox stat -c %a /etc/conf";
        let said = daemon.says(&["exec", id.trim(), "/bin/busybox", "sh", "-c", read]);
        assert_eq!(said, format!("{TOKEN}a-config-of-the-web400\n"));
    }

    // The new one of `db` is well, that of `web` is not: both are the old ones again.
    lab.seal("db.key", "another-key-of-the-db");
    write("exit 5");
    let said = swarm.hlx(&["deploy", &lab.service], 6);
    assert!(said.contains("_web was not well, and Swarm has rolled it back"), "{said}");
    // Swarm puts the one task of `db` on either node.
    let db = format!("name={}_db.", lab.project());
    let ids = [&swarm.daemon, &worker].map(|daemon| (daemon, daemon.says(&["ps", "-q", "--filter", &db])));
    let (daemon, id) = ids.into_iter().find(|(_, id)| !id.trim().is_empty()).expect("one node runs `db`");
    let id = id.lines().next().unwrap();
    assert_eq!(daemon.says(&["exec", id, "/bin/busybox", "cat", "/run/secrets/db"]), "a-key-of-the-db");
    assert_eq!(swarm.inside("web", &["cat", "/run/secrets/web"]), TOKEN);

    // What lies on other nodes cannot be judged from here.
    let text = fs::read_to_string(lab.path("repo/compose.yml")).unwrap();
    lab.write(
        "compose.yml",
        text.replacen("    environment:", "    volumes: [\"/mnt:/mnt\"]\n    environment:", 1),
    )
    .commit();
    let said = swarm.refused_by("deny: [{host-mounts: {except: [/mnt]}}]\n");
    assert!(said.contains("mounts /mnt of another host"), "{said}");

    let mut hlx = lab.hlx(&["deploy", "--adopt", &lab.service]);
    let refused = hlx.env("DOCKER_HOST", worker.host()).output().unwrap();
    assert_eq!(refused.status.code(), Some(9), "{}", text_of(&refused));
    assert!(text_of(&refused).contains("is a worker of its Swarm"), "{}", text_of(&refused));
    for daemon in [&worker, &swarm.daemon] {
        daemon.says(&["swarm", "leave", "--force"]);
    }
}

/// Swarm runs a job again with each deploy, and what the last run came to says nothing of this one.
#[test]
fn a_job_that_runs_again_is_waited_for_and_judged_anew() {
    let Some(swarm) = Swarm::new("job").map(Swarm::init) else { return };
    let lab = &swarm.lab;
    let script =
        "/bin/busybox sleep 4; test \"$(/bin/busybox cat /run/secrets/outcome)\" != bad-outcome-it-is";
    let script = script.replace('$', "$$");
    let compose = format!(
        "x-hlx: {{engine: swarm, stable: 1s, timeout: 30s}}\nservices:\n  job:\n    image: {}\n    pull_policy: never\n    \
         command: [/bin/busybox, sh, -c, {script:?}]\n    secrets: [outcome]\n    \
         deploy: {{mode: replicated-job, restart_policy: {{condition: none}}}}\n\
         secrets: {{outcome: {{file: outcome}}}}\n",
        lab.image()
    );
    lab.write("compose.yml", compose).seal("outcome", "a-good-outcome-it-is").commit();
    for run in ["first", "again, unchanged"] {
        let began = Instant::now();
        let said = swarm.deploys();
        assert!(began.elapsed() > Duration::from_secs(4), "{run}: {said}");
        assert!(said.contains(": exited with code 0"), "{run}: {said}");
    }
    lab.seal("outcome", "bad-outcome-it-is").commit();
    let said = swarm.hlx(&["deploy", &lab.service], 6);
    assert!(said.contains("non-zero exit (1)"), "{said}");
    swarm.hlx(&["down", &lab.service], 0);
}

fn text_of(output: &std::process::Output) -> String {
    text(&output.stderr)
}
