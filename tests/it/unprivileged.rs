//! Deploys by a user who may talk to Docker and is not root: user namespaces instead of root's.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::lab::{Lab, SLEEP, TOKEN, hides_secrets, run, text};

/// A user of this host, in the group of Docker's socket, with a home and the lab's key.
struct User<'l> {
    lab: &'l Lab,
    id: u32,
    group: u32,
}

impl<'l> User<'l> {
    fn new(lab: &'l Lab) -> Self {
        let group = fs::metadata("/var/run/docker.sock").unwrap().gid();
        let user = Self { lab, id: 300_000 + std::process::id(), group };
        fs::create_dir_all(user.home()).unwrap();
        fs::hard_link(env!("CARGO_BIN_EXE_hlx"), lab.path("hlx"))
            .or_else(|_| fs::copy(env!("CARGO_BIN_EXE_hlx"), lab.path("hlx")).map(drop))
            .unwrap();
        fs::copy(lab.path("identity"), user.home().join("identity")).unwrap();
        let config = user.home().join(".config/hlx/config.yaml");
        fs::create_dir_all(config.parent().unwrap()).unwrap();
        fs::write(&config, format!("repo: {}\n", lab.path("repo").display())).unwrap();
        for path in [user.home(), user.home().join("identity"), config] {
            chown(&path, Some(user.id), Some(group)).unwrap();
        }
        fs::set_permissions(user.home().join("identity"), fs::Permissions::from_mode(0o600)).unwrap();
        user
    }

    fn home(&self) -> PathBuf {
        self.lab.path("user")
    }

    fn hlx(&self, args: &[&str]) -> Command {
        let mut hlx = self.program(self.lab.path("hlx"));
        hlx.args(args);
        hlx
    }

    fn program(&self, program: PathBuf) -> Command {
        let mut command = Command::new(program);
        command.current_dir("/").env_clear().stdin(Stdio::null()).uid(self.id).gid(self.group);
        command.env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", self.home());
        command.env("HLX_IDENTITY", self.home().join("identity"));
        command
    }

    fn deploy(&self, more: &[&str]) -> Command {
        self.hlx(&[&["deploy", &self.lab.service], more].concat())
    }
}

/// Every file below a directory that holds a text.
fn holding(dir: PathBuf, wanted: &str) -> Vec<PathBuf> {
    let found = Command::new("grep").args(["-rlF", wanted]).arg(dir).output().unwrap();
    text(&found.stdout)
        .lines()
        .map(PathBuf::from)
        .filter(|path| path.file_name().unwrap() != "identity")
        .collect()
}

#[test]
fn a_user_who_may_talk_to_docker_deploys_without_root() {
    let Some(lab) = Lab::new("user") else { return };
    let user = User::new(&lab);
    let rest = "    environment: [TOKEN]\n    env_file: [more.env]\n    volumes: [\"./conf:/conf:ro\"]\n";
    lab.seal(".env", &format!("TOKEN={TOKEN}\n")).seal("more.env", "MORE=from-a-sealed-file\n");
    lab.write("conf/a", "clear\n");
    lab.write("setup.sh", "id -u >>conf/uid; grep -c TOKEN=tok .env >>conf/uid\n");
    lab.compose(SLEEP, rest).commit();
    let done = run(&mut user.deploy(&["--timings"]));
    hides_secrets(&done);
    let look = "echo $TOKEN $MORE; cat /conf/a /conf/uid";
    // Root in a namespace of their own, where the plaintext was seen; outside it is theirs.
    assert_eq!(lab.inside("web", look), format!("{TOKEN} from-a-sealed-file\nclear\n0\n1\n"));
    let project = user.home().join(".local/share/hlx").join(&lab.service);
    let meta = fs::metadata(project.join("conf/uid")).unwrap();
    assert_eq!(meta.uid(), user.id);
    assert!(fs::read_to_string(project.join(".env")).unwrap().contains("ENC["));
    assert_eq!(holding(user.home(), TOKEN), [] as [PathBuf; 0]);
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(user.home().to_str().unwrap()));

    // A bad version goes back, and the rest of the commands know the stack.
    lab.compose("exit 3", rest).commit();
    let bad = user.deploy(&[]).output().unwrap();
    assert_eq!(bad.status.code(), Some(6), "{}", text(&bad.stderr));
    for words in [&["ps"][..], &["history"], &["plan", &lab.service], &["doctor"], &["prune"]] {
        let done = user.hlx(words).output().unwrap();
        assert!(matches!(done.status.code(), Some(0 | 1 | 10)), "{words:?}: {}", text(&done.stderr));
        assert!(!text(&done.stderr).contains("denied"), "{words:?}: {}", text(&done.stderr));
    }
    let shown = run(&mut user.hlx(&["exec", &lab.service, "--", "cat", ".env"]));
    assert_eq!(text(&shown.stdout), format!("TOKEN={TOKEN}\n"));
    let line = format!(
        "{} exec {} -- sh -c 'test -t 0 && : </dev/tty && cat .env'",
        lab.path("hlx").display(),
        lab.service
    );
    let shown = run(user.program("script".into()).args(["-qec", &line, "/dev/null"]));
    // `script` types an end of file of its own.
    assert!(text(&shown.stdout).ends_with(&format!("TOKEN={TOKEN}\r\n")), "{}", text(&shown.stdout));

    // What only root can keep in RAM is refused, while all still runs.
    let ids = lab.containers();
    lab.seal("token", TOKEN);
    lab.compose(SLEEP, &format!("{rest}    secrets: [t]\nsecrets: {{t: {{file: token}}}}\n")).commit();
    let refused = user.deploy(&[]).output().unwrap();
    let said = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(5), "{said}");
    assert!(said.contains("only root can keep them in RAM:") && said.contains(" token"), "{said}");
    assert!(said.contains("with sudo") && said.contains("no container was touched"), "{said}");
    assert_eq!(lab.containers(), ids);
    run(&mut user.hlx(&["down", &lab.service]));
    assert!(lab.containers().is_empty());
}
