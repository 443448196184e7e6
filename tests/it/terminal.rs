//! `hlx exec` for someone at a terminal: a real one, made by the test, where it types and looks.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::fd::OwnedFd;
use rustix::process::{Pid, Signal};
use rustix::pty::OpenptFlags;
use rustix::termios::{InputModes, LocalModes, OptionalActions, OutputModes, Winsize};

use crate::lab::{Lab, SLEEP, TOKEN, running};

const PATIENCE: Duration = Duration::from_secs(60);

/// A person at a terminal of 33 lines by 101 columns, who runs hlx there.
struct Person {
    master: File,
    /// The terminal's other end, which outlives hlx.
    slave: OwnedFd,
    hlx: Child,
    seen: Arc<Mutex<Vec<u8>>>,
    before: String,
}

impl Person {
    fn runs(lab: &Lab, args: &[&str]) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = rustix::pty::openpt(flags).unwrap();
        rustix::pty::grantpt(&master).unwrap();
        rustix::pty::unlockpt(&master).unwrap();
        let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags).unwrap();
        let size = Winsize { ws_row: 33, ws_col: 101, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&master, size).unwrap();
        let mut own = rustix::termios::tcgetattr(&slave).unwrap();
        own.input_modes |= InputModes::IUTF8;
        rustix::termios::tcsetattr(&slave, OptionalActions::Now, &own).unwrap();
        let before = settings(&slave);
        let end = || std::process::Stdio::from(slave.try_clone().unwrap());
        let plain = lab.hlx(&[&["exec", &lab.service], args].concat());
        // hlx in the foreground of a session of its own, whose terminal this is.
        let mut hlx = Command::new("setsid");
        hlx.arg("--ctty").arg(plain.get_program()).args(plain.get_args());
        hlx.current_dir(plain.get_current_dir().unwrap()).env_clear().env("TERM", "xterm-test");
        hlx.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let hlx = hlx.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let (master, seen) = (File::from(master), Arc::new(Mutex::new(Vec::new())));
        let (mut looks, sees) = (master.try_clone().unwrap(), seen.clone());
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = looks.read(&mut buffer) {
                sees.lock().unwrap().extend_from_slice(&buffer[..length]);
            }
        });
        Self { master, slave, hlx, seen, before }
    }

    fn shell(lab: &Lab, script: &str) -> Self {
        Self::runs(lab, &["--", "sh", "-c", script])
    }

    fn screen(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap()).into_owned()
    }

    #[track_caller]
    fn sees(&mut self, text: &str) -> &mut Self {
        let began = Instant::now();
        while !self.screen().contains(text) {
            assert!(began.elapsed() < PATIENCE, "`{text}` is missing in:\n{}", self.screen());
            std::thread::sleep(Duration::from_millis(5));
        }
        self
    }

    fn types(&mut self, keys: &str) -> &mut Self {
        self.master.write_all(keys.as_bytes()).unwrap();
        self
    }

    fn signal(&self, signal: Signal) {
        rustix::process::kill_process(Pid::from_child(&self.hlx), signal).unwrap();
    }

    /// True while keys go through as they are.
    fn is_raw(&self) -> bool {
        let now = rustix::termios::tcgetattr(&self.slave).unwrap();
        !now.local_modes.intersects(LocalModes::ICANON | LocalModes::ISIG | LocalModes::ECHO)
            && !now.output_modes.contains(OutputModes::OPOST)
    }

    /// Waits for the end of hlx. The terminal is as it was before.
    #[track_caller]
    fn ends(&mut self) -> ExitStatus {
        let began = Instant::now();
        let status = loop {
            if let Some(status) = self.hlx.try_wait().unwrap() {
                break status;
            }
            if began.elapsed() > PATIENCE {
                self.hlx.kill().unwrap();
                panic!("hlx does not end:\n{}", self.screen());
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        assert_eq!(settings(&self.slave), self.before, "{}", self.screen());
        status
    }

    #[track_caller]
    fn ends_with(&mut self, code: i32) {
        let status = self.ends();
        assert_eq!(status.code(), Some(code), "{}", self.screen());
    }
}

fn settings(slave: &OwnedFd) -> String {
    format!("{:?}", rustix::termios::tcgetattr(slave).unwrap())
}

fn deployed(name: &str) -> Option<Lab> {
    let lab = Lab::new(name)?;
    lab.seal(".env", &format!("TOKEN={TOKEN}\n")).compose(SLEEP, "").commit();
    lab.deploys(&[]);
    Some(lab)
}

#[test]
fn a_program_has_the_terminal_of_who_runs_it() {
    let Some(lab) = deployed("terminal") else { return };
    let script = "test -t 0 && test -t 1 && test -t 2 && : </dev/tty && echo all of them
        stty size; echo $TERM; cat .env; exit 7";
    let mut person = Person::shell(&lab, script);
    person.ends_with(7);
    person.sees("all of them\r\n33 101\r\nxterm-test\r\n").sees(&format!("TOKEN={TOKEN}\r\n"));
    // What is typed arrives, and is shown by the program's terminal, once.
    let mut person = Person::shell(&lab, "stty -a; echo ready; read line; echo \"<$line>\"");
    assert!(person.sees("ready").is_raw());
    person.types("naïve\u{7f}\u{7f}f\r").sees("<naïf>").ends_with(0);
    assert_eq!(person.screen().matches("naïv").count(), 1, "{}", person.screen());
    // All of a long output, down to the last word; and all of a long input, which nobody reads for a while.
    let mut person = Person::shell(&lab, "seq 200000; printf end");
    person.ends_with(0);
    person.sees("\r\n200000\r\nend");
    assert!(person.screen().contains("\r\n100000\r\n"));
    let mut person =
        Person::shell(&lab, "stty raw -echo; echo ready; sleep 1; head -c 50000 | tr -d x | wc -c");
    person.sees("ready").types(&"x".repeat(49_999)).types("y").sees("ready\n1\n").ends_with(0);
    // A straggler does not hold it up, and is gone.
    let mut person = Person::shell(&lab, &format!("trap '' HUP; {} & printf bye", sleep()));
    let began = Instant::now();
    person.ends_with(0);
    assert!(person.screen().ends_with("bye") && began.elapsed() < Duration::from_secs(30));
    assert!(!runs(&sleep()));
    let mut person = Person::runs(&lab, &["--", "no-such-program"]);
    person.ends_with(127);
    person.sees("cannot run no-such-program: ");
    assert_eq!(lab.leaks("srv").len() + lab.leaks("run").len() + lab.leaks("state").len(), 0);
    assert!(lab.mounts().is_empty() && !lab.path("run/.vault").exists());
}

#[test]
fn keys_that_end_programs_end_the_program_and_not_hlx() {
    let Some(lab) = deployed("keys") else { return };
    let wait = "echo ready; while :; do sleep 0.1; done";
    let mut person = Person::shell(&lab, &format!("trap 'echo caught; exit 9' INT; {wait}"));
    person.sees("ready");
    person.types("\u{3}").sees("caught").ends_with(9);
    let mut person = Person::runs(&lab, &["--", "sh", "-c", &format!("echo ready; exec {}", sleep())]);
    person.sees("ready");
    person.types("\u{3}").ends_with(130);
    let mut person = Person::shell(&lab, "echo ready; cat; echo done");
    person.sees("ready");
    person.types("\u{4}").sees("done").ends_with(0);
    // Another size while it runs.
    let mut person = Person::shell(&lab, &format!("trap 'stty size' WINCH; {wait}"));
    person.sees("ready");
    let size = Winsize { ws_row: 50, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&person.master, size).unwrap();
    person.sees("50 120").types("\u{3}").ends_with(130);
    // A shell as a person uses it: with jobs, and with a program in a container that has a terminal too.
    let mut person = Person::runs(&lab, &["--", "bash", "--norc", "--noprofile"]);
    person.types(&format!("echo $((40 + 2)).; jobs -l; {}\r", sleep())).sees("42.");
    while !runs(&sleep()) {
        std::thread::sleep(Duration::from_millis(20));
    }
    person.types("\u{1a}").sees("Stopped");
    person.types("kill %1; docker compose exec web sh\r").sees("/ # ");
    person.types("/bin/busybox test -t 0 && echo in the $((1 + 1))nd; exit 3\r").sees("in the 2nd");
    person.types("exit 5\r").ends_with(5);
    assert!(!person.screen().contains("no job control"), "{}", person.screen());
}

#[test]
fn a_terminal_is_given_back_however_hlx_ends() {
    let Some(lab) = deployed("givenback") else { return };
    for (signal, number) in [(Signal::TERM, 15), (Signal::HUP, 1), (Signal::INT, 2)] {
        let mut person = Person::shell(&lab, &format!("echo ready; trap '' HUP INT TERM; {}", sleep()));
        assert!(person.sees("ready").is_raw());
        person.signal(signal);
        assert_eq!(person.ends().signal(), Some(number), "{}", person.screen());
    }
    // The vault is killed, with all in it.
    let mut person = Person::shell(&lab, &format!("echo ready; {}", sleep()));
    person.sees("ready");
    let pid = person.hlx.id();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    let vault = children.trim().parse().ok().and_then(Pid::from_raw).unwrap();
    rustix::process::kill_process(vault, Signal::KILL).unwrap();
    person.ends_with(1);
    let began = Instant::now();
    while runs(&sleep()) {
        assert!(began.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(lab.leaks("srv").len() + lab.leaks("run").len() + lab.leaks("state").len(), 0);
    assert!(lab.mounts().is_empty());
}

#[test]
fn who_wants_no_terminal_gets_none() {
    let Some(lab) = deployed("notty") else { return };
    let look = "test -t 0 || test -t 1 || test -t 2 || echo none; cat | wc -c";
    let mut person = Person::runs(&lab, &["-T", "--", "sh", "-c", look]);
    person.sees("none\r\n0\r\n");
    assert!(!person.is_raw());
    person.ends_with(0);
    let mut person = Person::runs(&lab, &["--stdin", "--", "sh", "-c", look]);
    person.types("ab\r\u{4}").sees("none\r\n3\r\n").ends_with(0);
    let output = lab.hlx(&["exec", &lab.service, "--", "sh", "-c", look]).output().unwrap();
    assert_eq!(output.stdout, b"none\n0\n");
}

/// A program that no other test runs.
fn sleep() -> String {
    format!("sleep {}", 100_000 + std::process::id())
}

/// True if a program with this command line runs.
fn runs(line: &str) -> bool {
    running().iter().any(|running| running == line)
}
