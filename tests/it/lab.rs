//! A lab for deploys: a repository, a host's places and an image, with the real Docker.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use hlx::crypto::DataKey;
use hlx::crypto::envelope::Recipient;
use hlx::crypto::mac::Coverage;
use hlx::format::Format;
use hlx::keys::Plugins;
use hlx::keys::stored::Kind;
use hlx::policy::Rule;
use hlx::sops::{Basis, KeyGroups, Stamp, seal};

pub(crate) const TOKEN: &str = "tok-5f1d-hunter2-please-hide";
pub(crate) const PASSWORD: &str = "pa$$w0rd \"quoted\" value";

/// True if Docker is here; a build server must have it.
fn docker_is_here() -> bool {
    let here = Command::new("docker").arg("info").output().is_ok_and(|output| output.status.success());
    let root = rustix::process::geteuid().is_root();
    if here && root {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "Docker and root are needed to test deploys");
    eprintln!("\n*** SKIPPED: deploys are not tested, as Docker or root is missing ***\n");
    false
}

/// A repository, a host and an image, taken away at the end.
pub(crate) struct Lab {
    pub(crate) dir: PathBuf,
    pub(crate) service: String,
    reader: Recipient,
}

impl Lab {
    pub(crate) fn new(name: &str) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if !docker_is_here() {
            return None;
        }
        let service =
            format!("Hlxit-{name}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(&service);
        fs::create_dir_all(dir.join("repo")).unwrap();
        let reader =
            hlx::keys::stored::generate(&dir.join("identity"), Kind::Classical, "2026-01-01T00:00:00Z", None)
                .unwrap();
        let lab = Self { dir, service, reader };
        lab.git(&["init", "--quiet", "--initial-branch", &lab.service]);
        lab.build_image();
        Some(lab)
    }

    fn build_image(&self) {
        let context = self.dir.join("image");
        fs::create_dir_all(&context).unwrap();
        fs::copy("/bin/busybox", context.join("busybox")).expect("busybox-static is installed");
        fs::write(
            context.join("Dockerfile"),
            "FROM scratch\nCOPY busybox /bin/busybox\nCOPY busybox /bin/sh\n",
        )
        .unwrap();
        // The layers of a cached build can go with another image while this one is made.
        run(Command::new("docker").args(["build", "-q", "--no-cache", "-t", &self.image()]).arg(&context));
    }

    pub(crate) fn image(&self) -> String {
        self.project()
    }

    pub(crate) fn project(&self) -> String {
        self.service.to_lowercase()
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.dir.join(path)
    }

    pub(crate) fn project_dir(&self) -> PathBuf {
        self.dir.join("srv").join(&self.service)
    }

    pub(crate) fn git(&self, args: &[&str]) -> String {
        let mut git = Command::new("git");
        git.current_dir(self.path("repo")).args(args).env("GIT_CONFIG_GLOBAL", "/dev/null");
        for who in ["AUTHOR", "COMMITTER"] {
            git.env(format!("GIT_{who}_NAME"), "t").env(format!("GIT_{who}_EMAIL"), "t@example.org");
        }
        text(&run(&mut git).stdout)
    }

    /// Another key takes the place of the host's.
    pub(crate) fn change_key(&mut self) -> &Self {
        fs::remove_file(self.path("identity")).unwrap();
        self.reader = hlx::keys::stored::generate(
            &self.path("identity"),
            Kind::Classical,
            "2026-01-01T00:00:00Z",
            None,
        )
        .unwrap();
        self
    }

    pub(crate) fn head(&self) -> String {
        self.git(&["rev-parse", "HEAD"]).trim().to_owned()
    }

    /// Runs a program in the container of a service.
    pub(crate) fn inside(&self, service: &str, script: &str) -> String {
        let name = format!("{}-{service}-1", self.project());
        self.docker(&["exec", &name, "/bin/busybox", "sh", "-c", script])
    }

    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) -> &Self {
        let path = self.path("repo").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    pub(crate) fn seal(&self, path: &str, content: &str) -> &Self {
        self.seal_as(Format::of_path(path), path, content)
    }

    pub(crate) fn seal_as(&self, format: Format, path: &str, content: &str) -> &Self {
        let mut random = |buffer: &mut [u8]| getrandom::fill(buffer).unwrap();
        let key = DataKey::random(&mut random);
        let envelope = Plugins::default().wrap_part(&self.reader, key.expose()).unwrap();
        let rule = Rule::from_fields(|_| None).unwrap();
        let basis = Basis::New { key, groups: KeyGroups::one(vec![envelope]), rule, coverage: Coverage::All };
        let stamp = Stamp { now: "2026-01-01T00:00:00Z".into(), entropy: &mut random };
        self.write(path, seal(content.as_bytes(), format, &basis, stamp).unwrap())
    }

    /// A compose file whose one service `web` runs a shell script.
    pub(crate) fn compose(&self, script: &str, rest: &str) -> &Self {
        let (image, script) = (self.image(), script.replace('$', "$$"));
        let text = format!(
            "x-hlx: {{stable: 1s, timeout: 20s}}\nservices:\n  web:\n    image: {image}\n    pull_policy: never\n    \
             init: true\n    command: [/bin/busybox, sh, -c, {script:?}]\n{rest}"
        );
        self.write("compose.yml", text)
    }

    pub(crate) fn commit(&self) -> &Self {
        self.git(&["add", "-A"]);
        self.git(&["commit", "--quiet", "--allow-empty", "-m", "x"]);
        self
    }

    pub(crate) fn hlx(&self, args: &[&str]) -> Command {
        let mut hlx = Command::new(env!("CARGO_BIN_EXE_hlx"));
        hlx.args(args).current_dir(self.path("repo")).env_clear().stdin(Stdio::null());
        hlx.env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", &self.dir);
        hlx.env("HLX_IDENTITY", self.path("identity")).env("TOKEN", "from the shell");
        let places = [("HLX_STATE_DIR", "state"), ("HLX_PROJECTS", "srv"), ("HLX_RUN_DIR", "run")];
        hlx.envs(places.map(|(name, dir)| (name, self.path(dir))));
        hlx
    }

    pub(crate) fn deploy(&self, more: &[&str]) -> Output {
        self.hlx(&[&["decrypt-deploy", &self.service], more].concat()).output().unwrap()
    }

    #[track_caller]
    pub(crate) fn deploys(&self, more: &[&str]) -> String {
        let output = self.deploy(more);
        let said = text(&output.stderr);
        assert!(output.status.success(), "{said}");
        hides_secrets(&output);
        said
    }

    #[track_caller]
    pub(crate) fn fails(&self, code: i32, more: &[&str], words: &[&str]) -> String {
        let output = self.deploy(more);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        for word in words {
            assert!(said.contains(word), "`{word}` is missing in:\n{said}");
        }
        hides_secrets(&output);
        said
    }

    pub(crate) fn docker(&self, args: &[&str]) -> String {
        text(&Command::new("docker").args(args).output().unwrap().stdout)
    }

    pub(crate) fn containers(&self) -> Vec<String> {
        let filter = format!("label=com.docker.compose.project={}", self.project());
        self.docker(&["ps", "-aq", "--no-trunc", "--filter", &filter]).lines().map(str::to_owned).collect()
    }

    pub(crate) fn logs(&self) -> String {
        let ids = self.containers();
        let output = Command::new("docker").arg("logs").arg(&ids[0]).output().unwrap();
        text(&output.stdout) + &text(&output.stderr)
    }

    pub(crate) fn mounts(&self) -> Vec<String> {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let here = self.dir.to_str().unwrap();
        table.lines().filter(|line| line.contains(here)).map(str::to_owned).collect()
    }

    /// Files below a directory of the lab that hold one of the secrets.
    pub(crate) fn leaks(&self, dir: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        search(&self.path(dir), &mut found);
        found
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let quiet = |args: &[&str]| drop(Command::new("docker").args(args).output());
        for id in self.containers() {
            quiet(&["rm", "-f", "-v", &id]);
        }
        let filter = format!("label=com.docker.compose.project={}", self.project());
        for kind in ["network", "volume"] {
            for id in self.docker(&[kind, "ls", "-q", "--filter", &filter]).lines() {
                quiet(&[kind, "rm", id]);
            }
        }
        quiet(&["rmi", "-f", &self.image(), &format!("{}-web", self.project())]);
        let kept = format!("reference=hlx/{}-*/*", self.project());
        for id in self.docker(&["images", "-q", "--filter", &kept]).lines() {
            quiet(&["rmi", "-f", id]);
        }
        for line in self.mounts() {
            if let Some(at) = line.split(' ').nth(4) {
                let _ = Command::new("umount").args(["-l", at]).output();
            }
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// A container that is of no project, taken away at the end.
pub(crate) struct Alien(pub(crate) String);

impl Drop for Alien {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["rm", "-f", &self.0]).output();
    }
}

fn search(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            search(&path, found);
        } else if fs::read(&path).is_ok_and(|content| secret_in(&content)) {
            found.push(path);
        }
    }
}

fn secret_in(content: &[u8]) -> bool {
    [TOKEN, PASSWORD, "quoted"]
        .iter()
        .any(|secret| content.windows(secret.len()).any(|part| part == secret.as_bytes()))
}

#[track_caller]
pub(crate) fn hides_secrets(output: &Output) {
    assert!(!secret_in(&output.stdout) && !secret_in(&output.stderr), "{}", text(&output.stderr));
}

#[track_caller]
pub(crate) fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", text(&output.stderr));
    output
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The command lines of all processes.
pub(crate) fn running() -> Vec<String> {
    let lines = fs::read_dir("/proc").unwrap().flatten();
    let lines = lines.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    lines.map(|line| text(&line).replace('\0', " ").trim_end().to_owned()).collect()
}

pub(crate) const SLEEP: &str = "exec /bin/busybox sleep 1000";
