//! Private keys in a desktop's keychain: with a bus and a GNOME Keyring of the test's own.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::process::{Child, Stdio};

use crate::sandbox::{CANARY, Done, Sandbox};

/// A session as a desktop has it.
struct Desktop {
    sandbox: Sandbox,
    bus: String,
    running: Vec<Child>,
}

impl Desktop {
    /// `None` where the programs are missing.
    fn new() -> Option<Self> {
        let sandbox = Sandbox::new();
        fs::create_dir(sandbox.path("run")).unwrap();
        fs::set_permissions(sandbox.path("run"), fs::Permissions::from_mode(0o700)).unwrap();
        let address = format!("unix:path={}", sandbox.path("run/bus").display());
        let words = ["dbus-daemon", "--session", "--nofork", "--print-address", "--address", &address];
        let mut bus = sandbox.command(".", &words);
        let mut bus = match bus.stdout(Stdio::piped()).stderr(Stdio::null()).spawn() {
            Ok(bus) => bus,
            Err(error) => return missing("dbus-daemon", &error),
        };
        let mut printed = String::new();
        BufReader::new(bus.stdout.take().unwrap()).read_line(&mut printed).unwrap();
        let mut desktop = Self { sandbox, bus: printed.trim().to_owned(), running: vec![bus] };
        match desktop.keyring() {
            Ok(()) => Some(desktop),
            Err(error) => missing("gnome-keyring-daemon", &error),
        }
    }

    /// Starts the keychain, which is unlocked as a login does it.
    fn keyring(&mut self) -> io::Result<()> {
        let words = ["gnome-keyring-daemon", "--foreground", "--unlock", "--components=secrets"];
        let mut command = self.sandbox.command(".", &words);
        command.envs(self.variables()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut keyring = command.spawn()?;
        keyring.stdin.take().unwrap().write_all(b"login")?;
        // It says where it listens once it does.
        let mut said = String::new();
        BufReader::new(keyring.stdout.take().unwrap()).read_line(&mut said)?;
        self.running.push(keyring);
        // And is on the bus a moment later.
        let wait = "for _ in $(seq 100); do dbus-send --session --print-reply --dest=org.freedesktop.DBus / org.freedesktop.DBus.NameHasOwner string:org.freedesktop.secrets | grep -q true && exit; sleep 0.1; done; exit 1";
        let ready = self.run(".", &["sh", "-c", wait]);
        assert_eq!(ready.code, Some(0), "{ready:?}");
        Ok(())
    }

    fn variables(&self) -> [(&str, String); 2] {
        [
            ("DBUS_SESSION_BUS_ADDRESS", self.bus.clone()),
            ("XDG_RUNTIME_DIR", self.sandbox.path("run").display().to_string()),
        ]
    }

    fn run(&self, directory: &str, words: &[&str]) -> Done {
        Done::of(self.sandbox.command(directory, words).envs(self.variables()).output().unwrap())
    }

    #[track_caller]
    fn ok(&self, directory: &str, words: &[&str]) -> String {
        let done = self.run(directory, words);
        assert!(done.code == Some(0), "{words:?}: {done:?}");
        done.out
    }
}

fn missing(program: &str, error: &io::Error) -> Option<Desktop> {
    assert!(
        std::env::var_os("CI").is_none(),
        "CI must test the keychain, and {program} does not start: {error}"
    );
    eprintln!("SKIPPED: {program} does not start ({error}): scripts/test installs it");
    None
}

impl Drop for Desktop {
    fn drop(&mut self) {
        for process in self.running.iter_mut().rev() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

const LIST: &str = "home/.config/hlx/keychain";

#[test]
fn a_key_in_the_keychain_opens_and_is_in_no_file() {
    let Some(mut desktop) = Desktop::new() else { return };
    let public = desktop.ok(".", &["hlx", "keys", "generate", "--keychain"]);
    assert!(desktop.ok(".", &["hlx", "keys", "list"]).contains(&format!("{}  keychain", public.trim())));
    desktop.ok(".", &["git", "init", "-q", "lab"]);
    let line = format!(
        "git commit -q --allow-empty -m begin; hlx init; hlx new app; git switch -q app; echo A={CANARY} >.env; git add -A; git commit -qm secrets; rm .env; git checkout -- .env; grep -q {CANARY} .env; hlx lock; hlx unlock; hlx get app:.env A"
    );
    assert!(desktop.ok("lab", &["sh", "-euc", &line]).ends_with(CANARY));
    let found = desktop.sandbox.run(".", &["grep", "-rl", "AGE-SECRET-KEY", "."]);
    assert!(found.out.is_empty(), "{found:?}");
    // One that was elsewhere until now.
    desktop.ok(".", &["hlx", "keys", "generate", "-o", "other"]);
    let other = desktop.ok(".", &["hlx", "keys", "import", "--keychain", "other"]);
    fs::remove_file(desktop.sandbox.path("other")).unwrap();
    assert_eq!(desktop.sandbox.read(LIST).lines().filter(|line| line.starts_with("age1")).count(), 2);
    desktop.sandbox.write("x.env", format!("A={CANARY}\n"));
    desktop.sandbox.write(".sops.yaml", format!("creation_rules:\n  - age: {other}"));
    desktop.ok(".", &["hlx", "encrypt", "--in-place", "x.env"]);
    assert!(desktop.sandbox.read("x.env").contains("ENC["));
    assert!(desktop.ok(".", &["hlx", "show", "x.env"]).contains(CANARY));
    // The session ends: what to do is said, and git goes on.
    let mut keyring = desktop.running.pop().unwrap();
    keyring.kill().unwrap();
    keyring.wait().unwrap();
    let refused = desktop.run("lab", &["hlx", "get", "app:.env", "A"]);
    assert!(
        refused.code == Some(3) && refused.err.contains("the private key in keychain stays locked"),
        "{refused:?}"
    );
    let checkout = desktop.run("lab", &["sh", "-euc", "rm .env; git checkout -- .env"]);
    assert!(checkout.code == Some(0) && checkout.err.contains("stays encrypted"), "{checkout:?}");
}

#[test]
fn a_key_is_taken_out_of_the_keychain_only_if_there_is_a_copy_or_the_user_says_so() {
    let Some(desktop) = Desktop::new() else { return };
    let none = desktop.run(".", &["hlx", "keys", "forget", "--keychain"]);
    assert!(none.code == Some(1) && none.err.contains("no private key is in the keychain"), "{none:?}");
    let first = desktop.ok(".", &["hlx", "keys", "generate", "--keychain", "--pq"]);
    let first = first.trim();
    let secrets = || {
        let search = "dbus-send --session --print-reply --dest=org.freedesktop.secrets /org/freedesktop/secrets org.freedesktop.Secret.Service.SearchItems dict:string:string:service,hlx | grep -c 'object path' || true";
        desktop.ok(".", &["sh", "-c", search]).trim().to_owned()
    };
    assert_eq!(secrets(), "1");
    // The post-quantum key from the keychain opens what is sealed for it.
    desktop.sandbox.write("x.env", format!("A={CANARY}\n"));
    desktop.sandbox.write(".sops.yaml", format!("creation_rules:\n  - age: {first}"));
    assert!(
        desktop.ok(".", &["sh", "-euc", "hlx encrypt --in-place x.env; hlx show x.env"]).contains(CANARY)
    );
    let forget = |words: &[&str]| {
        // Nobody sits there.
        desktop.run(".", &[&["setsid", "-w", "hlx", "keys", "forget", "--keychain"], words].concat())
    };
    let refused = forget(&[]);
    assert!(refused.code == Some(5) && refused.err.contains("finds no copy"), "{refused:?}");
    // Without `--keychain` it is only what was unlocked that goes.
    desktop.run(".", &["hlx", "keys", "forget"]);
    assert_eq!(secrets(), "1");
    desktop.ok(".", &["hlx", "keys", "generate", "-o", "copied"]);
    let copied = desktop.ok(".", &["hlx", "keys", "import", "--keychain", "copied"]);
    let copied = copied.trim();
    let which = forget(&["--yes"]);
    assert!(which.code == Some(2) && which.err.contains("name one of these"), "{which:?}");
    let unknown = forget(&["age1unknown", "--yes"]);
    assert!(unknown.code == Some(2) && unknown.err.contains("is not in the keychain"), "{unknown:?}");
    // A copy is at hand.
    let variables = [("HLX_IDENTITY", desktop.sandbox.path("copied").display().to_string())];
    let mut command = desktop.sandbox.command(".", &["hlx", "keys", "forget", "--keychain", &copied[..12]]);
    let gone = Done::of(command.envs(desktop.variables()).envs(variables).output().unwrap());
    assert!(gone.code == Some(0) && gone.err.contains("a copy of it is in"), "{gone:?}");
    assert_eq!(gone.out.trim(), copied);
    assert!(secrets() == "1" && !desktop.sandbox.read(LIST).contains(copied));
    let gone = forget(&[first, "--yes"]);
    assert!(gone.code == Some(0) && gone.err.contains("in the keychain no more"), "{gone:?}");
    assert!(secrets() == "0" && !desktop.sandbox.read(LIST).contains("age1"));
    assert_eq!(desktop.run(".", &["hlx", "show", "x.env"]).code, Some(3));
}

#[test]
fn without_a_keychain_nothing_is_made() {
    let sandbox = Sandbox::new();
    let nowhere = format!("unix:path={}", sandbox.path("nowhere").display());
    let variables = [("DBUS_SESSION_BUS_ADDRESS", nowhere.as_str())];
    let refused = sandbox.run_in(".", &["hlx", "keys", "generate", "--keychain"], &variables);
    assert!(refused.code == Some(9) && refused.err.contains("no keychain answers"), "{refused:?}");
    assert!(!sandbox.path(LIST).exists());
    sandbox.sh(".", "ssh-keygen -q -t ed25519 -N swordfish -C me -f ssh");
    let refused = sandbox.run_in(".", &["hlx", "keys", "import", "--keychain", "ssh"], &variables);
    assert!(refused.code == Some(2) && refused.err.contains("no passphrase protects"), "{refused:?}");
}

#[test]
fn nobody_talks_to_the_keychain_for_what_another_key_opens() {
    let sandbox = Sandbox::new();
    sandbox.lab();
    sandbox.write("lab/.env", format!("A={CANARY}\n"));
    sandbox.sh("lab", "git add -A; git commit -qm x");
    let bus = UnixListener::bind(sandbox.path("bus")).unwrap();
    bus.set_nonblocking(true).unwrap();
    let address = format!("unix:path={}", sandbox.path("bus").display());
    let key = age::x25519::Identity::generate().to_public().to_string();
    sandbox.write(LIST, format!("{key}\n"));
    let line = "rm .env; git checkout -- .env; echo B=2 >>.env; git add .env; git commit -qm more; hlx get app:.env A; hlx keys list; hlx status";
    let done = sandbox.run_in("lab", &["sh", "-euc", line], &[("DBUS_SESSION_BUS_ADDRESS", &address)]);
    assert!(done.code == Some(0) && done.out.contains(CANARY) && done.out.contains(&key), "{done:?}");
    assert_eq!(bus.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock, "a connection was made");
    // For what that key alone opens, it is asked.
    sandbox.write("x.env", format!("A={CANARY}\n"));
    sandbox.write(".sops.yaml", format!("creation_rules:\n  - age: {key}\n"));
    sandbox.ok(".", &["hlx", "encrypt", "--in-place", "x.env"]);
    let answer = std::thread::spawn(move || {
        bus.set_nonblocking(false).unwrap();
        drop(bus.accept().unwrap());
    });
    let refused = sandbox.run_in(".", &["hlx", "show", "x.env"], &[("DBUS_SESSION_BUS_ADDRESS", &address)]);
    assert!(refused.code == Some(3) && refused.err.contains("no keychain answers"), "{refused:?}");
    answer.join().unwrap();
}
