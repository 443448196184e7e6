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
    let own = sandbox.ok("lab", &["ls", ".git/hlx"]);
    // A journal that was killed before it had its name goes with the next.
    let is_known = |name: &str| {
        ["clone.key", "data-keys", "known", "moves.lock", "trust"].contains(&name)
            || (name.starts_with("moves.json") && name.ends_with('~'))
    };
    assert!(own.lines().all(is_known), "{own}");
    // Plain git works, and the work trees are at their branches.
    for tree in ["lab", "linked"] {
        assert_eq!(sandbox.ok(tree, &["git", "status", "--porcelain"]), "");
        assert!(sandbox.read(&format!("{tree}/.env")).contains(CANARY));
        sandbox.ok(tree, &["git", "commit", "-q", "--allow-empty", "-m", "plain"]);
    }
    sandbox.ok("lab", &["git", "branch", "-f", "s2", "s2~0"]);
}

/// A rotation of `app` and `other` that died when the journal was written, and before a ref moved. Gives the journal.
fn interrupted(sandbox: &Sandbox) -> serde_json::Value {
    sandbox.lab();
    sandbox.write("lab/.env", format!("A={CANARY}\n"));
    sandbox.sh("lab", "git commit -qam app; hlx new other; git worktree add -q ../linked other");
    let git = sandbox.ok(".", &["sh", "-c", "command -v git"]);
    let script =
        format!("#!/bin/sh\n[ $1 = update-ref ] && kill -9 $PPID && exit 1\nexec {} \"$@\"\n", git.trim());
    sandbox.write("deadly/git", script);
    sandbox.sh(".", "chmod +x deadly/git");
    let path = format!("{}:/usr/bin:/bin", sandbox.path("deadly").display());
    let done = sandbox.run_in("lab", &["hlx", "rotate", "--all", "--data-keys"], &[("PATH", &path)]);
    assert_eq!(done.code, None, "{done:?}");
    serde_json::from_str(&sandbox.read("lab/.git/hlx/moves.json")).unwrap()
}

/// The commit that the journal has for a branch.
fn new_commit(journal: &serde_json::Value, branch: &str) -> String {
    let moves = journal["branches"].as_array().unwrap();
    let step = moves.iter().find(|step| step["branch"] == branch).unwrap();
    step["to"].as_str().unwrap().to_owned()
}

fn tip(sandbox: &Sandbox, branch: &str) -> String {
    sandbox.ok("lab", &["git", "rev-parse", branch]).trim().to_owned()
}

#[test]
fn the_next_command_finishes_it_and_keeps_edits() {
    let sandbox = Sandbox::new();
    let journal = interrupted(&sandbox);
    sandbox.write("lab/.env", "A=edited\n");
    // As git does it first in a checkout that is killed then.
    sandbox.sh("linked", "rm .env");
    // git's own commands inside git do not move branches.
    sandbox.sh("lab", "git add .env; git reset -q");
    assert_ne!(tip(&sandbox, "app"), new_commit(&journal, "app"));
    let next = sandbox.run("lab", &["hlx", "recipients", "list"]);
    assert!(next.code == Some(0) && next.err.contains("of 2 branches was finished"), "{next:?}");
    for branch in ["app", "other"] {
        assert_eq!(tip(&sandbox, branch), new_commit(&journal, branch));
    }
    assert_eq!(sandbox.read("lab/.env"), "A=edited\n");
    assert_eq!(sandbox.ok("lab", &["git", "status", "--porcelain"]), " M .env\n");
    assert_eq!(sandbox.ok("linked", &["git", "status", "--porcelain"]), "");
    sandbox.sh("lab", "git commit -qam edited");
    sandbox.goes_on("lab", &["app", "other"], "0");
    let quiet = sandbox.run("lab", &["hlx", "recipients", "list"]);
    assert!(!quiet.err.contains("interrupted"), "{quiet:?}");
}

#[test]
fn what_went_its_own_way_meanwhile_undoes_it() {
    let sandbox = Sandbox::new();
    let journal = interrupted(&sandbox);
    // One has moved already when the other goes elsewhere.
    sandbox.sh("lab", &format!("git update-ref refs/heads/app {}", new_commit(&journal, "app")));
    sandbox.sh("linked", "git commit -q --allow-empty -m mine");
    let next = sandbox.run("lab", &["hlx", "recipients", "list"]);
    assert!(next.code == Some(0) && next.err.contains("undone") && next.err.contains(": other"), "{next:?}");
    assert_eq!(tip(&sandbox, "app"), journal["branches"][0]["from"].as_str().unwrap());
    assert_eq!(sandbox.ok("lab", &["git", "status", "--porcelain"]), "");
    sandbox.ok("lab", &["hlx", "rotate", "--all"]);
}

#[test]
fn what_went_on_from_its_new_place_stays_and_the_rest_follows() {
    let sandbox = Sandbox::new();
    let journal = interrupted(&sandbox);
    sandbox.sh(
        "lab",
        &format!("git reset -q --hard {}; git commit -q --allow-empty -m on", new_commit(&journal, "app")),
    );
    let on = tip(&sandbox, "app");
    let next = sandbox.run("lab", &["hlx", "recipients", "list"]);
    assert!(next.code == Some(0) && next.err.contains("finished"), "{next:?}");
    assert_eq!((tip(&sandbox, "app"), tip(&sandbox, "other")), (on, new_commit(&journal, "other")));
}

#[test]
fn what_others_brought_on_top_of_it_is_not_accepted_by_finishing_it() {
    let sandbox = Sandbox::new();
    let journal = interrupted(&sandbox);
    let stranger = sandbox.ok(".", &["hlx", "keys", "generate", "-o", "stranger.key"]);
    // As by a pull with git alone.
    sandbox.sh("lab", &format!("git reset -q --hard {}", new_commit(&journal, "app")));
    let config = sandbox.read("lab/.sops.yaml");
    let at = config.find("      - age1").unwrap();
    sandbox.write("lab/.sops.yaml", format!("{}      - {stranger}{}", &config[..at], &config[at..]));
    sandbox.sh("lab", "git -c core.hooksPath=/nowhere commit -qam theirs");
    let next = sandbox.run("lab", &["hlx", "recipients", "accept"]);
    assert!(next.code == Some(5) && next.err.contains("finished"), "{next:?}");
    assert!(next.out.contains(stranger.trim()) && !next.out.contains("data key"), "{next:?}");
    sandbox.ok("lab", &["hlx", "recipients", "accept", "-y"]);
    sandbox.goes_on("lab", &["app", "other"], "0");
}

#[test]
fn new_commits_that_were_pruned_undo_it() {
    let sandbox = Sandbox::new();
    let journal = interrupted(&sandbox);
    sandbox.sh("lab", "git repack -qad; git prune --expire=now");
    let next = sandbox.run("lab", &["hlx", "recipients", "list"]);
    assert!(next.code == Some(0) && next.err.contains("undone"), "{next:?}");
    assert_eq!(tip(&sandbox, "app"), journal["branches"][0]["from"].as_str().unwrap());
    sandbox.ok("lab", &["hlx", "rotate", "--all"]);
}

#[test]
fn locks_of_a_git_that_is_at_work_are_waited_for() {
    let sandbox = Sandbox::new();
    let journal = interrupted(&sandbox);
    let lock = sandbox.path("lab/.git/refs/heads/app.lock");
    std::fs::write(&lock, "").unwrap();
    std::fs::write(sandbox.path("lab/.git/refs/heads/other.lock"), new_commit(&journal, "other")).unwrap();
    let mut git = sandbox.command("lab", &["git", "cat-file", "--batch"]);
    let mut git = git.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let waiting = std::thread::spawn({
        let mut command = sandbox.command("lab", &["hlx", "recipients", "list"]);
        move || command.output().unwrap()
    });
    std::thread::sleep(Duration::from_secs(3));
    assert!(lock.exists() && !waiting.is_finished());
    drop(git.stdin.take());
    git.wait().unwrap();
    assert!(waiting.join().unwrap().status.success());
    assert!(!lock.exists() && all_locks(&sandbox).is_empty());
    assert_eq!(tip(&sandbox, "other"), new_commit(&journal, "other"));
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
    sandbox.goes_on("lab", &["app", "s1", "s2", "s3"], "0");
    let opened = sandbox.ok("lab", &["hlx", "show", "s3:more.env"]);
    assert_eq!(opened, format!("C={CANARY}\n"));
    sandbox.ok("lab", &["git", "fsck", "--no-dangling"]);
    println!(
        "{branches} branches, {kills} kills (seed {seed}), {} ms a rotation: {tally:?}",
        whole.as_millis()
    );
    assert!(kills < 20 || (tally.before > 0 && tally.after > 0), "{tally:?}");
}
