//! A rotation that is killed: all branches have moved in the end, or none.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::sandbox::{CANARY, Sandbox};
use crate::soak::{Dice, number};

/// So many services with three sealed files each, for three readers. One is checked out, another in a linked work tree.
fn services(sandbox: &Sandbox, count: u64) {
    sandbox.lab();
    sandbox.write("lab/.env", format!("A={CANARY}\nB=two\n"));
    sandbox.write("lab/more.env", format!("C={CANARY}\n"));
    sandbox.write("lab/app.yml", format!("password: {CANARY}\nlist: [a, b]\n"));
    sandbox.sh("lab", "hlx track app.yml; git add -A; git commit -qm files; git config gc.auto 0");
    for name in ["laptop", "nas"] {
        sandbox.sh("lab", &format!("hlx recipients add $(hlx keys generate -o ../{name}.key) --name {name}"));
    }
    let tip = sandbox.ok("lab", &["git", "rev-parse", "app"]);
    let line = |number| format!("create refs/heads/s{number} {tip}");
    let lines: String = (1..count).map(line).collect();
    let made = sandbox.feed("lab", &["git", "update-ref", "--stdin"], lines);
    assert_eq!(made.code, Some(0), "{made:?}");
    sandbox.sh("lab", "git worktree add -q ../linked s1");
}

/// The last commit of every branch.
fn tips(sandbox: &Sandbox) -> BTreeMap<String, String> {
    let refs = sandbox.ok("lab", &["git", "for-each-ref", "--format=%(refname) %(objectname)", "refs/heads"]);
    let pair = |line: &str| line.split_once(' ').map(|(name, id)| (name.to_owned(), id.to_owned()));
    refs.lines().filter_map(pair).collect()
}

/// What was killed, and what is to be seen afterwards.
#[derive(Debug, Default)]
struct Tally {
    before: usize,
    after: usize,
    journals: usize,
    locks: usize,
}

/// Starts a rotation and kills it after a while; at every second kill that while begins when the journal is there.
fn kill(sandbox: &Sandbox, dice: &mut Dice, whole: Duration) {
    let mut command = sandbox.command("lab", &["hlx", "rotate", "--all", "--data-keys"]);
    command.process_group(0).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut random = |most: Duration| Duration::from_micros(dice.roll(most.as_micros() as usize + 1) as u64);
    let (early, late) = (random(whole), random(whole / 4));
    let journal = sandbox.path("lab/.git/hlx/moves.json");
    match dice.roll(2) {
        0 => std::thread::sleep(early),
        _ => {
            let until = Instant::now() + whole * 4;
            while !journal.exists() && Instant::now() < until && child.try_wait().unwrap().is_none() {
                std::thread::sleep(Duration::from_micros(200));
            }
            std::thread::sleep(late);
        }
    }
    let pid = Pid::from_child(&child);
    // With its git, or without.
    let _ = match dice.roll(2) {
        0 => kill_process_group(pid, Signal::KILL),
        _ => kill_process(pid, Signal::KILL),
    };
    child.wait().unwrap();
}

fn locks(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            locks(&entry.path(), found);
        } else if entry.file_name().to_string_lossy().ends_with(".lock") && entry.file_name() != "moves.lock"
        {
            found.push(entry.path());
        }
    }
}

fn all_locks(sandbox: &Sandbox) -> Vec<PathBuf> {
    let mut found = Vec::new();
    locks(&sandbox.path("lab/.git"), &mut found);
    found
}

#[track_caller]
fn wholly_one_side(sandbox: &Sandbox, before: &BTreeMap<String, String>, tally: &mut Tally) {
    tally.journals += usize::from(sandbox.path("lab/.git/hlx/moves.json").exists());
    tally.locks += all_locks(sandbox).len();
    let next = sandbox.run("lab", &["hlx", "recipients", "list", "--branch", "app"]);
    assert_eq!(next.code, Some(0), "{next:?}");
    let after = tips(sandbox);
    let moved = after.iter().filter(|(name, id)| before[*name] != **id).count();
    match moved {
        0 => tally.before += 1,
        _ => {
            // All but `main`, which has no sealed files.
            assert_eq!((moved, after.len()), (before.len() - 1, before.len()), "{next:?}");
            tally.after += 1;
        }
    }
    assert!(!sandbox.path("lab/.git/hlx/moves.json").exists());
    assert_eq!(all_locks(sandbox), Vec::<PathBuf>::new());
    // Plain git works, and the work trees are at their branches.
    for tree in ["lab", "linked"] {
        assert_eq!(sandbox.ok(tree, &["git", "status", "--porcelain"]), "");
        assert!(sandbox.read(&format!("{tree}/.env")).contains(CANARY));
        sandbox.ok(tree, &["git", "commit", "-q", "--allow-empty", "-m", "plain"]);
    }
    sandbox.ok("lab", &["git", "branch", "-f", "s2", "s2~0"]);
}

#[test]
fn killed_at_any_moment_all_branches_have_moved_or_none() {
    let (branches, kills) = (number("HLX_SOAK_BRANCHES", 100), number("HLX_SOAK_KILLS", 20));
    let seed = number("HLX_SOAK_SEED", 7);
    let sandbox = Sandbox::new();
    services(&sandbox, branches);
    let started = Instant::now();
    sandbox.ok("lab", &["hlx", "rotate", "--all", "--data-keys"]);
    let (whole, mut dice, mut tally) = (started.elapsed(), Dice(seed), Tally::default());
    for _ in 0..kills {
        let before = tips(&sandbox);
        kill(&sandbox, &mut dice, whole);
        wholly_one_side(&sandbox, &before, &mut tally);
    }
    let opened = sandbox.ok("lab", &["hlx", "show", "s3:more.env"]);
    assert_eq!(opened, format!("C={CANARY}\n"));
    sandbox.ok("lab", &["git", "fsck", "--no-dangling"]);
    println!(
        "{branches} branches, {kills} kills (seed {seed}), {} ms a rotation: {tally:?}",
        whole.as_millis()
    );
    assert!(kills < 20 || (tally.before > 0 && tally.after > 0), "{tally:?}");
}
