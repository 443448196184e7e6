//! Where people keep their private keys: behind passphrases, in the kernel, with systemd. And that nobody else sees them.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::sandbox::{CANARY, Done, Sandbox};

/// A user of their own for each test, since the kernel keeps keys by user; and no root, who may look at everything.
pub(crate) struct Person {
    pub(crate) sandbox: Sandbox,
    uid: u32,
}

/// Whether root runs the tests, who can become another user, and look into hlx.
pub(crate) fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        assert!(std::env::var_os("CI").is_none(), "CI must run these tests as root");
        eprintln!("SKIPPED: only root can become another user, and look into hlx");
    }
    is_root
}

const KEYS: &str = "home/.config/sops/age/keys.txt";

impl Person {
    /// `None` where the tests do not run as root.
    pub(crate) fn new() -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        if !is_root() {
            return None;
        }
        let uid = 200_000 + std::process::id() * 16 + NEXT.fetch_add(1, Ordering::Relaxed);
        let sandbox = Sandbox::new();
        // The directory of the build may be closed to others.
        fs::create_dir(sandbox.path("bin")).unwrap();
        let program = Path::new(env!("CARGO_BIN_EXE_hlx"));
        let copy = sandbox.path("bin/hlx");
        fs::hard_link(program, &copy).or_else(|_| fs::copy(program, &copy).map(drop)).unwrap();
        let person = Self { sandbox, uid };
        person.own(".");
        Some(person)
    }

    /// Gives everything below to the user, but the program.
    fn own(&self, below: &str) {
        let path = self.sandbox.path(below);
        chown(&path, Some(self.uid), Some(self.uid)).unwrap();
        for entry in fs::read_dir(path).unwrap().map(Result::unwrap) {
            let name = format!("{below}/{}", entry.file_name().to_str().unwrap());
            match entry.file_type().unwrap().is_dir() {
                true => self.own(&name),
                false if name.ends_with("bin/hlx") => {}
                false => chown(entry.path(), Some(self.uid), Some(self.uid)).unwrap(),
            }
        }
    }

    pub(crate) fn command(&self, directory: &str, words: &[&str]) -> Command {
        let hlx = self.sandbox.path("bin/hlx").display().to_string();
        let words: Vec<&str> = words.iter().map(|word| if *word == "hlx" { &hlx } else { *word }).collect();
        let mut command = self.sandbox.command(directory, &words);
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin", self.sandbox.path("bin").display());
        command.env("PATH", path).uid(self.uid).gid(self.uid);
        command
    }

    pub(crate) fn run(&self, directory: &str, words: &[&str]) -> Done {
        Done::of(self.command(directory, words).output().unwrap())
    }

    #[track_caller]
    pub(crate) fn ok(&self, directory: &str, words: &[&str]) -> String {
        let done = self.run(directory, words);
        assert!(done.code == Some(0), "{words:?}: {done:?}");
        done.out
    }

    /// Runs a shell line at a terminal, where these lines are typed.
    pub(crate) fn types(&self, directory: &str, line: &str, typed: &[&str]) -> Done {
        let mut command = self.command(directory, &["script", "-qec", line, "/dev/null"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(format!("{}\n", typed.join("\n")).as_bytes()).unwrap();
        let done = Done::of(child.wait_with_output().unwrap());
        drop(stdin);
        done
    }

    /// A key with the passphrase `swordfish`, and a branch that is sealed for it alone.
    fn behind_a_passphrase() -> Option<Self> {
        let person = Self::new()?;
        person.sandbox.sh(
            ".",
            &format!("hlx keys generate -o plain >public; mkdir -p $(dirname {KEYS}); mv public {KEYS}.pub"),
        );
        person.sandbox.write(KEYS, protected(&person.sandbox.read("plain")));
        person.sandbox.sh(".", &format!("chmod 600 {KEYS}; rm plain"));
        person.own(".");
        let unlocked = person.types(".", "hlx keys unlock", &["swordfish"]);
        assert_eq!(unlocked.code, Some(0), "{unlocked:?}");
        person.lab();
        person.ok(".", &["hlx", "keys", "forget"]);
        Some(person)
    }

    fn lab(&self) {
        self.ok(".", &["git", "init", "-q", "lab"]);
        let line = format!(
            "echo '# Lab' >README.md; git add .; git commit -qm begin; hlx init; hlx new app; git switch -q app; echo A={CANARY} >.env; git add -A; git commit -qm secrets; git show HEAD:.env >../sealed.env"
        );
        self.ok("lab", &["sh", "-euc", &line]);
        assert!(self.sandbox.read("sealed.env").contains("ENC["));
    }
}

/// What `age -p` makes, with less work for whoever opens it.
fn protected(key: &str) -> Vec<u8> {
    let mut recipient = age::scrypt::Recipient::new("swordfish".to_owned().into());
    recipient.set_work_factor(10);
    age::encrypt_and_armor(&recipient, key.as_bytes()).unwrap().into_bytes()
}

impl Drop for Person {
    fn drop(&mut self) {
        // The kernel would keep what was unlocked beyond the end of the test.
        let _ = self.run(".", &["hlx", "keys", "forget"]);
    }
}

#[test]
fn a_passphrase_is_asked_for_where_somebody_sits_and_the_filter_says_what_to_do() {
    let Some(person) = Person::behind_a_passphrase() else { return };
    let key = person.sandbox.read(KEYS);
    assert!(key.starts_with("-----BEGIN AGE ENCRYPTED FILE-----") && !key.contains("SECRET"));
    // Its public key is known without it: what is new is sealed, and `init` makes no second key.
    assert!(person.ok(".", &["hlx", "keys", "list"]).contains("(locked by a passphrase)"));
    for words in [&["hlx", "show", "app:.env"][..], &["hlx", "get", "app:.env", "A"]] {
        let line = words.join(" ");
        let shown = person.types("lab", &line, &["wrong", "swordfish"]);
        assert!(shown.code == Some(0) && shown.out.contains(CANARY), "{shown:?}");
        let refused = person.types("lab", &line, &["wrong", "wrong", "wrong"]);
        assert!(refused.code == Some(3) && refused.out.contains("that is not its passphrase"), "{refused:?}");
        let skipped = person.types("lab", &line, &[""]);
        assert!(skipped.code == Some(3) && skipped.out.contains("hlx keys unlock"), "{skipped:?}");
        // Without a terminal nobody is asked.
        let alone = person.command("lab", &[&["setsid", "-w"], words].concat()).output().unwrap();
        let alone = Done::of(alone);
        assert!(alone.code == Some(3) && alone.err.contains("hlx keys unlock"), "{alone:?}");
    }
    // The filter asks nobody, terminal or not.
    let checkout = person.types("lab", "rm .env; git checkout -- .env", &["swordfish"]);
    assert!(
        checkout.code == Some(0) && checkout.out.contains("`hlx keys unlock` asks for it once"),
        "{checkout:?}"
    );
    assert!(person.sandbox.read("lab/.env").contains("ENC["));
    person.ok("lab", &["sh", "-euc", "echo A=2 >.env"]);
    let added = person.run("lab", &["git", "add", ".env"]);
    assert!(added.code != Some(0) && added.err.contains("hlx keys unlock"), "{added:?}");
}

#[test]
fn a_key_is_made_with_a_passphrase_that_was_typed_twice() {
    let Some(person) = Person::new() else { return };
    let make = |typed: &[&str]| person.types(".", "hlx keys generate --passphrase", typed);
    let differ = make(&["swordfish", "swordfisk"]);
    assert!(differ.code == Some(2) && differ.out.contains("nothing was made"), "{differ:?}");
    assert_eq!(make(&[""]).code, Some(2));
    let alone =
        person.command(".", &["setsid", "-w", "hlx", "keys", "generate", "--passphrase"]).output().unwrap();
    assert_eq!(alone.status.code(), Some(1), "{alone:?}");
    assert!(!person.sandbox.path(KEYS).exists());
    let made = make(&["swordfish", "swordfish"]);
    assert_eq!(made.code, Some(0), "{made:?}");
    let key = person.sandbox.read(KEYS);
    assert!(key.starts_with("-----BEGIN AGE ENCRYPTED FILE-----"), "{key}");
    assert_eq!(person.sandbox.path(KEYS).metadata().unwrap().mode() & 0o777, 0o600);
    let public = person.sandbox.read(&format!("{KEYS}.pub"));
    assert!(public.starts_with("age1") && made.out.contains(public.trim()), "{made:?}");
    // It is not asked for in vain.
    assert!(make(&[]).out.contains("exists already"));
    let unlocked = person.types(".", "hlx keys unlock", &["swordfish"]);
    assert!(unlocked.code == Some(0) && unlocked.out.contains(public.trim()), "{unlocked:?}");
}

#[test]
fn a_post_quantum_key_can_have_a_passphrase_too() {
    let Some(person) = Person::new() else { return };
    let made = person.types(".", "hlx keys generate --pq --passphrase", &["swordfish", "swordfish"]);
    assert_eq!(made.code, Some(0), "{made:?}");
    assert!(person.sandbox.read(&format!("{KEYS}.pub")).starts_with("age1pq1"));
    let unlock = || {
        let unlocked = person.types(".", "hlx keys unlock", &["swordfish"]);
        assert_eq!(unlocked.code, Some(0), "{unlocked:?}");
    };
    unlock();
    person.lab();
    person.ok("lab", &["hlx", "keys", "forget"]);
    let locked = person.run("lab", &["sh", "-c", "rm .env; git checkout -q .env; cat .env"]);
    assert!(locked.out.contains("ENC[") && locked.err.contains("hlx keys unlock"), "{locked:?}");
    let shown = person.types("lab", "hlx get app:.env A", &["swordfish"]);
    assert!(shown.code == Some(0) && shown.out.contains(CANARY), "{shown:?}");
    unlock();
    assert_eq!(person.ok("lab", &["hlx", "textconv", "../sealed.env"]), format!("A={CANARY}\n"));
    person.ok("lab", &["sh", "-euc", "git checkout -q .env; hlx rotate; hlx keys forget"]);
}

#[test]
fn what_is_unlocked_stays_so_for_its_time_for_this_user_and_this_file() {
    let Some(person) = Person::behind_a_passphrase() else { return };
    let no_terminal =
        Done::of(person.command(".", &["setsid", "-w", "hlx", "keys", "unlock"]).output().unwrap());
    assert!(
        no_terminal.code == Some(3) && no_terminal.err.contains("run it in a terminal"),
        "{no_terminal:?}"
    );
    let wrong = person.types(".", "hlx keys unlock", &["a", "b", "c"]);
    assert!(
        wrong.code == Some(3) && !person.ok(".", &["hlx", "keys", "list"]).contains("unlocked"),
        "{wrong:?}"
    );
    let unlocked = person.types(".", "hlx keys unlock --for 20s", &["swordfish"]);
    assert!(unlocked.code == Some(0) && unlocked.out.contains("is unlocked until"), "{unlocked:?}");
    // git and its filter, from another session and without a terminal.
    let line = "rm .env; git checkout -- .env; echo B=2 >>.env; git add .env; git show :.env";
    let filtered = person.command("lab", &["setsid", "-w", "sh", "-euc", line]).output().unwrap();
    let filtered = Done::of(filtered);
    assert!(filtered.code == Some(0) && filtered.out.contains("B=ENC["), "{filtered:?}");
    assert!(person.sandbox.read("lab/.env").contains(CANARY));
    let listed = person.ok(".", &["hlx", "keys", "list"]);
    assert!(listed.contains("(unlocked until "), "{listed}");
    // Another file under its name is not unlocked with it, nor is another user.
    let key = person.sandbox.read(KEYS);
    person.ok(".", &["sh", "-euc", &format!("echo >>{KEYS}")]);
    assert!(person.ok(".", &["hlx", "keys", "list"]).contains("(locked by a passphrase)"));
    person.sandbox.write(KEYS, &key);
    let other = Person::new().unwrap();
    other.sandbox.write("key", &key);
    fs::set_permissions(other.sandbox.path("key"), fs::Permissions::from_mode(0o600)).unwrap();
    other.own(".");
    assert!(other.ok(".", &["hlx", "-i", "key", "keys", "list"]).contains("(locked by a passphrase)"));
    // Nothing of it reached a file.
    let found = person.run(".", &["grep", "-rl", "AGE-SECRET-KEY", "home", "lab"]);
    assert!(found.out.is_empty(), "{found:?}");
    assert!(person.run(".", &["hlx", "keys", "forget"]).err.contains("1 private key is locked again"));
    assert!(person.ok(".", &["hlx", "keys", "list"]).contains("(locked by a passphrase)"));
    let short = person.types(".", &format!("hlx keys unlock --for 2s {KEYS}"), &["swordfish"]);
    assert!(person.ok(".", &["hlx", "keys", "list"]).contains("(unlocked until "), "{short:?}");
    std::thread::sleep(std::time::Duration::from_millis(2500));
    assert!(person.ok(".", &["hlx", "keys", "list"]).contains("(locked by a passphrase)"));
}

#[test]
fn ssh_keys_with_passphrases_open_what_is_sealed_for_them_and_nothing_else_is_asked() {
    let Some(person) = Person::new() else { return };
    person.lab();
    person.ok(".", &["mkdir", "-m", "700", "home/.ssh"]);
    for (name, more) in [("id_ed25519", "-t ed25519"), ("id_rsa", "-t rsa -b 2048 -Z aes256-gcm@openssh.com")]
    {
        // It wants a user that has a name.
        person.sandbox.sh(".", &format!("ssh-keygen -q {more} -N swordfish -C x -f home/.ssh/{name}"));
        person.own(".");
        let public = person.sandbox.read(&format!("home/.ssh/{name}.pub"));
        // One's own key opens it: no question.
        assert_eq!(person.ok("lab", &["hlx", "get", "app:.env", "A"]), CANARY);
        person.sandbox.write(&format!("{name}.env"), format!("A={CANARY}\n"));
        person.own(".");
        let line = format!(
            "sed 's/age1.*/{}/' lab/.sops.yaml >.sops.yaml; hlx encrypt --in-place {name}.env",
            public.trim().replace('/', "\\/")
        );
        person.ok(".", &["sh", "-euc", &line]);
        let sealed = person.sandbox.read(&format!("{name}.env"));
        assert!(sealed.contains("ENC[") && sealed.contains("recipient=ssh-"), "{sealed}");
        let shown = person.types(".", &format!("hlx show {name}.env"), &["wrong", "swordfish"]);
        assert!(shown.code == Some(0) && shown.out.contains(CANARY), "{shown:?}");
        let unlocked = person.types(".", &format!("hlx keys unlock home/.ssh/{name}"), &["swordfish"]);
        assert_eq!(unlocked.code, Some(0), "{unlocked:?}");
        assert_eq!(person.ok(".", &["hlx", "textconv", &format!("{name}.env")]), format!("A={CANARY}\n"));
        assert!(person.run(".", &["hlx", "keys", "forget"]).err.contains("1 private key"));
    }
}

/// An ssh key with a passphrase is for whoever unlocks it first; else it is left alone, which is said.
#[test]
fn an_ssh_key_with_a_passphrase_is_taken_by_init_if_it_is_unlocked() {
    let Some(person) = Person::new() else { return };
    person.sandbox.sh(
        ".",
        "mkdir -m 700 home/.ssh; ssh-keygen -q -t ed25519 -N swordfish -C x -f home/.ssh/id_ed25519",
    );
    person.own(".");
    let repository = |name: &str| {
        person.ok(
            ".",
            &["sh", "-euc", &format!("git init -q {name}; git -C {name} commit -q --allow-empty -m x")],
        );
    };
    repository("lab");
    let unlocked = person.types(".", "hlx keys unlock home/.ssh/id_ed25519", &["swordfish"]);
    assert_eq!(unlocked.code, Some(0), "{unlocked:?}");
    let taken = person.run("lab", &["hlx", "init"]);
    assert!(taken.code == Some(0) && taken.err.contains("your public key is ssh-ed25519 "), "{taken:?}");
    person.ok("lab", &["hlx", "new", "app"]);
    person.ok(".", &["hlx", "keys", "forget"]);
    // On another day: it is still the one.
    let again = person.run("lab", &["hlx", "init"]);
    assert!(again.code == Some(0) && again.err.contains("branches are encrypted for it"), "{again:?}");
    let new = person.run("lab", &["hlx", "new", "web"]);
    assert_eq!(new.code, Some(0), "{new:?}");
    let readers = person.ok("lab", &["hlx", "recipients", "list"]);
    assert!(readers.matches("ssh-ed25519 ").count() == 2 && !readers.contains("age1"), "{readers}");
    assert!(!person.sandbox.path(KEYS).exists());
    // Where it was never taken, it is left alone.
    repository("other");
    let made = person.run("other", &["hlx", "init"]);
    assert!(made.code == Some(0) && made.err.contains("your public key is age1"), "{made:?}");
    assert!(made.err.contains("~/.ssh/id_ed25519 was not taken: a passphrase protects it"), "{made:?}");
}

#[test]
fn a_key_that_was_made_by_hand_with_a_passphrase_is_known_once_it_is_given() {
    let Some(person) = Person::behind_a_passphrase() else { return };
    // What `age -p` makes has no public key beside it.
    person.ok(".", &["rm", &format!("{KEYS}.pub")]);
    assert!(person.ok(".", &["hlx", "keys", "list"]).contains("its public key is not known"));
    person.ok(".", &["sh", "-euc", "git init -q other; cd other; git commit -q --allow-empty -m x"]);
    let refused = Done::of(person.command("other", &["setsid", "-w", "hlx", "init"]).output().unwrap());
    assert!(refused.code == Some(3) && refused.err.contains("hlx keys unlock"), "{refused:?}");
    let asked = person.types("other", "hlx init", &["swordfish"]);
    assert!(asked.code == Some(0) && asked.out.contains("your public key is age1"), "{asked:?}");
    let exported = person.types(".", "hlx keys export --public", &["swordfish"]);
    assert!(exported.out.contains("# Test\r\nage1"), "{exported:?}");
}

#[test]
fn keys_are_taken_in_once_and_others_stay() {
    let sandbox = Sandbox::new();
    let made = sandbox.ok(".", &["hlx", "keys", "generate", "-o", "a"]);
    let other = sandbox.ok(".", &["hlx", "keys", "generate", "-o", "b"]);
    let import = |words: &[&str]| sandbox.run(".", &[&["hlx", "keys", "import"], words].concat());
    sandbox.sh(".", "chmod 644 a");
    let refused = import(&["a"]);
    assert!(refused.code == Some(3) && refused.err.contains("run `chmod 600 a`"), "{refused:?}");
    assert!(!sandbox.path(KEYS).exists());
    sandbox.sh(".", "chmod 600 a");
    assert_eq!(import(&["a"]).out, made);
    assert_eq!(sandbox.path(KEYS).metadata().unwrap().mode() & 0o777, 0o600);
    assert!(import(&["a"]).err.contains("has that private key already"));
    let added = sandbox.feed(".", &["hlx", "keys", "import", "-"], sandbox.read("b"));
    assert!(added.out == other && added.err.contains("added to those"), "{added:?}");
    assert_eq!(sandbox.ok(".", &["hlx", "keys", "export", "--public"]), format!("# Test\n{made}{other}"));
    // A file of the public keys is one that `-R` takes.
    sandbox.sh(".", "hlx keys export --public >keys; git init -q lab; cd lab; git commit -q --allow-empty -m x; hlx init; hlx new app -R ../keys; git show app:.sops.yaml >../config");
    assert!([&made, &other].iter().all(|key| sandbox.read("config").contains(key.trim())));
    sandbox.sh(".", "ssh-keygen -q -t ed25519 -N '' -C me -f ssh");
    let before = sandbox.read(KEYS);
    let refused = import(&["ssh"]);
    assert!(refused.code == Some(1) && refused.err.contains("a file of its own"), "{refused:?}");
    assert_eq!(import(&["ssh", "-o", "taken"]).code, Some(0));
    assert_eq!(sandbox.read("taken"), sandbox.read("ssh"));
    for nonsense in ["AGE-SECRET-KEY-1QQQ\n", "age1qqq\n", "", "-----BEGIN AGE ENCRYPTED FILE-----\nxx"] {
        let refused = sandbox.feed(".", &["hlx", "keys", "import", "-"], nonsense);
        assert!(refused.code == Some(3) && !refused.err.contains("QQQ"), "{refused:?}");
    }
    assert_eq!(sandbox.read(KEYS), before);
    assert_eq!(sandbox.run(".", &["hlx", "keys", "export"]).code, Some(2));
}

#[test]
fn a_service_gets_its_key_from_systemd() {
    let sandbox = Sandbox::new();
    sandbox.lab();
    sandbox.write("lab/.env", format!("A={CANARY}\n"));
    sandbox.sh("lab", "git add -A; git commit -qm x");
    sandbox.sh(".", &format!("mkdir credentials; mv {KEYS} credentials/hlx.identity"));
    let directory = sandbox.path("credentials").display().to_string();
    let get =
        || sandbox.run_in("lab", &["hlx", "get", "app:.env", "A"], &[("CREDENTIALS_DIRECTORY", &directory)]);
    assert_eq!(sandbox.run("lab", &["hlx", "get", "app:.env", "A"]).code, Some(3));
    // As an access list for the service's user makes it look, systemd.exec(5).
    for (mode, code) in [("400", 0), ("440", 0), ("444", 3)] {
        sandbox.sh(".", &format!("chmod {mode} credentials/hlx.identity"));
        let done = get();
        assert_eq!(done.code, Some(code), "{mode}: {done:?}");
        assert_eq!(done.err.contains("others can read it (mode 0444)"), code == 3, "{done:?}");
    }
}

#[test]
fn the_search_is_shown_in_its_order_with_what_came_of_it() {
    let sandbox = Sandbox::new();
    sandbox.sh(".", "hlx keys generate -o open; chmod 644 open; ssh-keygen -q -t ed25519 -N swordfish -C me -f ssh; hlx keys generate");
    let home = sandbox.path(KEYS).display().to_string();
    let variables = [("SOPS_AGE_KEY_FILE", "open"), ("SOPS_AGE_SSH_PRIVATE_KEY_FILE", "ssh")];
    let json = sandbox.run_in(".", &["hlx", "keys", "list", "--json"], &variables);
    let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    let places: Vec<_> =
        json.as_array().unwrap().iter().map(|tried| tried["place"].as_str().unwrap()).collect();
    let wanted = [
        "--identity, HLX_IDENTITY",
        "SOPS_AGE_SSH_PRIVATE_KEY_FILE",
        "~/.ssh/id_ed25519",
        "~/.ssh/id_rsa",
        "SOPS_AGE_KEY",
        "SOPS_AGE_KEY_FILE",
        &home,
        "keychain",
        "$CREDENTIALS_DIRECTORY/hlx.identity",
    ];
    assert_eq!(places[..wanted.len()], wanted);
    assert_eq!(json[1]["locked"], true);
    assert!(json[1]["recipients"][0].as_str().unwrap().starts_with("ssh-ed25519 "));
    assert!(json[5]["problem"].as_str().unwrap().contains("chmod 600 open"));
    let shown = sandbox.run_in(".", &["hlx", "keys", "list", "-v"], &variables);
    for place in wanted {
        assert!(shown.out.contains(place) || shown.err.contains(place), "{place}: {shown:?}");
    }
}

/// A program that waits, and can be looked at meanwhile.
struct Waiting(Child);

impl Drop for Waiting {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn no_debugger_of_the_same_user_looks_into_hlx_and_it_leaves_no_core() {
    let Some(person) = Person::new() else { return };
    person.lab();
    let long = format!("A={CANARY}\n").repeat(20_000);
    person.sandbox.write("lab/long.txt", &long);
    person.own("lab");
    let start = |words: &[&str]| {
        let mut command = person.command("lab", words);
        command
            .env("EDITOR", "sleep 60;:")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        Waiting(command.spawn().unwrap())
    };
    let looks = |process: &Waiting, what: &str| {
        let path = format!("/proc/{}/{what}", process.0.id());
        person.run(".", &["head", "-c1", &path]).code == Some(0)
    };
    let other = start(&["sleep", "60"]);
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(
        looks(&other, "environ") && looks(&other, "maps"),
        "a user cannot look at a process of theirs here"
    );
    let commands: [&[&str]; 6] = [
        &["hlx", "filter-process"],
        &["hlx", "smudge", "--", ".env"],
        &["hlx", "clean", "--", ".env"],
        &["hlx", "show", "long.txt"],
        &["hlx", "edit", "app:.env"],
        &["hlx", "set", "app:.env", "A"],
    ];
    for words in commands {
        let mut hlx = start(words);
        std::thread::sleep(std::time::Duration::from_millis(700));
        assert!(hlx.0.try_wait().unwrap().is_none(), "{words:?} has ended");
        for what in ["environ", "maps", "mem", "fd"] {
            let mode = fs::metadata(format!("/proc/{}/{what}", hlx.0.id())).unwrap();
            assert_eq!(mode.uid(), 0, "{words:?}: {what}");
            assert!(!looks(&hlx, what), "{words:?}: {what} can be read");
        }
        let limits = fs::read_to_string(format!("/proc/{}/limits", hlx.0.id())).unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert_eq!(core.split_whitespace().filter(|word| *word == "0").count(), 2, "{core}");
        // It works all the same.
        if words[1] == "show" {
            let mut shown = String::new();
            hlx.0.stdout.take().unwrap().read_to_string(&mut shown).unwrap();
            assert!(shown == long && hlx.0.wait().unwrap().success());
        }
    }
}

#[test]
fn a_merge_needs_no_look_into_hlx() {
    let Some(person) = Person::new() else { return };
    person.lab();
    let line = "printf 'A=1\\nB=1\\nC=1\\nD=1\\nE=1\\n' >.env; git commit -qam base; git switch -qc side; sed -i s/A=1/A=2/ .env; git commit -qam side; git switch -q app; sed -i s/E=1/E=2/ .env; git commit -qam ours; git merge -q side -m merge >/dev/null; cat .env";
    let merged = person.ok("lab", &["sh", "-euc", line]);
    assert_eq!(merged, "A=2\nB=1\nC=1\nD=1\nE=2\n");
}
