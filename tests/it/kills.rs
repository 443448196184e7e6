//! hlx killed at a random moment of `git add` and of a checkout: the repository stays sound, git's own commands
//! repair what was left half-way, and no plaintext stays behind. A tenth of what `scripts/soak kills` does runs
//! with the tests.

use std::fs;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::sandbox::{CANARY, Sandbox};
use crate::soak::{Dice, number};

/// How many kills one repository is put through: what was added and thrown away makes it slow.
const ROUNDS: usize = 25;
const FILES: usize = 12;

/// Which of git's commands meets the kill.
#[derive(Debug, Clone, Copy)]
enum Work {
    Add,
    Checkout,
}

/// What is killed.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Victim {
    Hlx,
    /// And git with it: it leaves its lock.
    Both,
}

struct Lab {
    sandbox: Sandbox,
    /// How long git takes undisturbed.
    span: Duration,
    branch: usize,
}

impl Lab {
    fn new(dice: &mut Dice) -> Self {
        let sandbox = Sandbox::new();
        sandbox.lab();
        sandbox.sh("lab", "echo 'whole.bin filter=hlx diff=hlx merge=hlx hlx=binary -text' >>.gitattributes");
        let mut lab = Self { sandbox, span: Duration::ZERO, branch: 0 };
        for branch in [1, 0] {
            lab.sandbox.sh("lab", &format!("git switch -qc b{branch}"));
            lab.edit(dice);
            let begun = Instant::now();
            lab.sandbox.sh("lab", "git add -A");
            lab.span = begun.elapsed();
            lab.sandbox.sh("lab", &format!("git commit -qm {branch}"));
        }
        lab
    }

    /// Another value in every file.
    fn edit(&self, dice: &mut Dice) {
        for file in 0..FILES {
            let lines: String = (0..10).map(|line| format!("K{line}={CANARY}-{}\n", dice.word())).collect();
            self.sandbox.write(&format!("lab/{file}.env"), lines);
        }
        self.sandbox.write("lab/whole.bin", format!("{CANARY}{}", dice.word()).repeat(4_000));
    }

    /// Lets git work, and kills at a random moment. True if hlx was hit.
    fn kill(&self, work: Work, victim: Victim, dice: &mut Dice) -> bool {
        let target = format!("b{}", 1 - self.branch);
        let words = match work {
            Work::Add => vec!["git", "add", "-A"],
            Work::Checkout => vec!["git", "checkout", "-q", "-f", &target],
        };
        let mut command = self.sandbox.command("lab", &words);
        let mut git = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let until = Instant::now() + Duration::from_micros(dice.roll(self.span.as_micros() as usize) as u64);
        while Instant::now() < until {
            std::thread::yield_now();
        }
        let hit = shoot(&mut git, victim);
        git.wait().unwrap();
        hit
    }

    /// What must hold afterwards, and how a user goes on.
    fn repair(&mut self, work: Work, victim: Victim) {
        let sandbox = &self.sandbox;
        let lock = sandbox.path("lab/.git/index.lock");
        if lock.exists() {
            assert_eq!(victim, Victim::Both, "git takes its own lock away");
            fs::remove_file(lock).unwrap();
        }
        let fsck = sandbox.run("lab", &["git", "fsck", "--no-dangling", "--no-progress"]);
        assert!(fsck.code == Some(0) && !fsck.err.contains("error"), "{work:?}: {fsck:?}");
        self.holds_no_plaintext();
        match work {
            Work::Add => drop(sandbox.sh("lab", "git add -A; git diff --quiet; git reset -q --hard")),
            Work::Checkout => {
                self.branch = 1 - self.branch;
                sandbox.sh(
                    "lab",
                    &format!(
                        "git checkout -q -f b{}; ! grep -L canary *.env whole.bin | grep .",
                        self.branch
                    ),
                );
            }
        }
        assert_eq!(sandbox.ok("lab", &["git", "status", "--porcelain"]), "", "{work:?} {victim:?}");
    }

    fn holds_no_plaintext(&self) {
        self.sandbox.no_canary_in_objects("lab");
        self.sandbox.no_canary_in_files("lab/.git", &[]);
        let own = fs::read_dir(self.sandbox.path("lab/.git/hlx")).into_iter().flatten().flatten();
        for entry in own.map(|entry| entry.file_name().into_string().unwrap()) {
            let known =
                ["clone.key", "data-keys", "known", "trust"].iter().any(|name| entry.starts_with(name));
            assert!(known, "a stray file: {entry}");
        }
        let stray = self.sandbox.sh("lab", "git ls-files --others | grep -v '^[0-9]*[.]env$' || true");
        assert!(stray.is_empty() || stray == "whole.bin\n", "{stray}");
    }
}

/// Kills as soon as hlx is there; false if git was done before.
fn shoot(git: &mut Child, victim: Victim) -> bool {
    loop {
        let filters = filters_below(git.id());
        if !filters.is_empty() {
            if victim == Victim::Both {
                let _ = git.kill();
            }
            return filters.iter().any(|filter| kill(*filter, Signal::SIGKILL).is_ok());
        }
        if git.try_wait().unwrap().is_some() {
            return false;
        }
    }
}

/// The processes of hlx that a process began, itself or by a shell.
fn filters_below(process: u32) -> Vec<Pid> {
    let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|child| child.parse::<u32>().ok());
    let found = children.flat_map(|child| {
        let program = fs::read_link(format!("/proc/{child}/exe")).unwrap_or_default();
        match program.ends_with("hlx") {
            true => vec![Pid::from_raw(child as i32)],
            false => filters_below(child),
        }
    });
    found.collect()
}

fn kills(count: usize, seed: u64) {
    let (mut dice, begun) = (Dice(seed), Instant::now());
    let (mut hits, mut tries) = (0, 0);
    let mut lab = Lab::new(&mut dice);
    while hits < count {
        tries += 1;
        assert!(tries < 4 * count + 40, "only {hits} of {tries} kills met hlx");
        if tries % ROUNDS == 0 {
            lab = Lab::new(&mut dice);
        }
        let work = if dice.roll(2) == 0 { Work::Add } else { Work::Checkout };
        let victim = if dice.roll(4) == 0 { Victim::Both } else { Victim::Hlx };
        if let Work::Add = work {
            lab.edit(&mut dice);
        }
        hits += usize::from(lab.kill(work, victim, &mut dice));
        lab.repair(work, victim);
    }
    println!(
        "{hits} kills (seed {seed}, {tries} tries): every repository sound and repaired; {} s",
        begun.elapsed().as_secs()
    );
}

#[test]
fn a_kill_at_any_moment_leaves_what_git_can_repair_and_no_plaintext() {
    kills(number("HLX_SOAK_KILLS", 100) as usize, number("HLX_SOAK_SEED", 7));
}
