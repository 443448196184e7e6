//! Stacks on a Swarm, with a Docker daemon of its own that is the Swarm's manager.

use std::process::Command;

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
        let save = format!("docker save {} | docker -H {} load", lab.image(), daemon.host());
        run(Command::new("sh").args(["-c", &save]));
        daemon.says(&["swarm", "init", "--advertise-addr", "127.0.0.1"]);
        Some(Self { daemon, lab })
    }

    /// A stack of `web`, which reads a secret, and `db`, which reads another.
    fn stack(&self, head: &str, web: &str, rest: &str) -> &Lab {
        let image = self.lab.image();
        let service = |name: &str, script: &str| {
            let script = script.replace('$', "$$");
            format!(
                "  {name}:\n    image: {image}\n    pull_policy: never\n    init: true\n    command: [/bin/busybox, sh, -c, {script:?}]\n    secrets: [{name}]\n"
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

    #[track_caller]
    fn hlx(&self, args: &[&str], code: i32) -> String {
        let output = self.lab.hlx(args).env("DOCKER_HOST", self.daemon.host()).output().unwrap();
        let said = text(&output.stderr) + &text(&output.stdout);
        assert_eq!(output.status.code(), Some(code), "{said}");
        hides_secrets(&output);
        said
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
    let Some(swarm) = Swarm::new("swarm") else { return };
    let lab = &swarm.lab;
    let web =
        format!("test \"$(/bin/busybox cat /run/secrets/web)\" != bad-value-of-a-key || exit 3; {SLEEP}");
    lab.seal("web.key", TOKEN).seal("db.key", "a-key-of-the-db").seal(".env", "MODE=mode-of-the-web\n");
    swarm.stack("", &web, "").commit();
    let said = swarm.deploys();
    assert!(said.contains("_web.1: running"), "{said}");
    let before = swarm.tasks();
    assert_eq!(before.len(), 2);
    assert_eq!(swarm.inside("web", &["cat", "/run/secrets/web"]), TOKEN);
    assert_eq!(swarm.inside("web", &["stat", "-c", "%a", "/run/secrets/web"]), "444\n");
    assert!(swarm.inside("web", &["env"]).contains("MODE=mode-of-the-web\n"));

    // Nothing new: nothing is updated.
    lab.commit();
    swarm.deploys();
    assert_eq!(swarm.tasks(), before);

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
    assert_eq!(swarm.tasks()[0], after[0]);
    let said = swarm.hlx(&["deploy", &lab.service], 1);
    assert!(said.contains("known to be bad"), "{said}");

    // What nobody needs is collected, once there is a good deploy.
    lab.seal("web.key", "one-more-key-of-the-web").commit();
    swarm.deploys();
    swarm.deploys();
    assert_eq!(swarm.secrets().len(), 2, "{:?}", swarm.secrets());

    // Nothing of it lies about, but for what the environment of a service is.
    assert!(swarm.lab.mounts().iter().all(|line| !line.contains("/run/")), "{:?}", swarm.lab.mounts());
    for secret in [TOKEN, "another-key-of-the-db", "one-more-key-of-the-web", "mode-of-the-web"] {
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
