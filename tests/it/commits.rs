//! Two owners who edit the same service at once, and merge and rebase: no secret is lost or leaked, and stock sops
//! opens every file at the end. A part of what `scripts/soak commits` does runs with the tests.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Instant;

use crate::sandbox::{CANARY, Done, Sandbox};
use crate::soak::{Dice, number};

/// How many commits pass between two looks by stock sops, and between two times that git packs.
const EVERY: usize = 500;

/// What a clone holds: by file and key, the value.
type State = BTreeMap<(String, String), String>;

/// The files with their keys; what surrounds the values never changes, so that the bytes of a file follow from its values.
fn begin() -> State {
    let env = (0..16).map(|key| (".env".to_owned(), format!("KEY_{key}")));
    let compose = (0..6).map(|key| ("compose.yml".to_owned(), format!("C_{key}")));
    let whole = (0..4).map(|key| ("tls.pem".to_owned(), format!("P_{key}")));
    env.chain(compose).chain(whole).map(|place| (place, format!("{CANARY}-0"))).collect()
}

/// The text of each file.
fn render(state: &State) -> BTreeMap<&str, String> {
    let mut files = BTreeMap::<&str, String>::new();
    for ((file, key), value) in state {
        let text = files.entry(file).or_insert_with(|| match file.as_str() {
            "compose.yml" => "services:\n  web:\n    image: nginx:1\n    environment:\n".to_owned(),
            _ => String::new(),
        });
        match file.as_str() {
            "compose.yml" => {
                writeln!(text, "      # about {key}\n      {key}: '{value}'\n      # end of {key}")
            }
            _ => writeln!(text, "# about {key}\n{key}={value}\n# end of {key}"),
        }
        .unwrap();
    }
    files
}

/// Whose value stands where both changed the same.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Winner {
    Mine,
    Theirs,
}

/// One of the two.
struct Owner {
    name: &'static str,
    home: String,
    /// What the work tree holds, and what it held when it last met the remote.
    state: State,
    met: State,
}

struct Soak {
    sandbox: Sandbox,
    owners: [Owner; 2],
    /// What the remote's branch holds.
    remote: State,
    fresh: usize,
    conflicts: usize,
}

impl Soak {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let state = begin();
        sandbox.sh(".", "mkdir -p bob; git init -q --bare remote.git");
        sandbox.lab();
        sandbox.sh(".", "cp -r home home-bob; rm -r home-bob/.config; mv lab alice; rmdir bob");
        let home = |name: &str| sandbox.path(name).display().to_string();
        let owner = |name, home| Owner { name, home, state: state.clone(), met: state.clone() };
        let owners = [owner("alice", home("home")), owner("bob", home("home-bob"))];
        let soak = Self { owners, remote: state.clone(), sandbox, fresh: 0, conflicts: 0 };
        for (file, text) in render(&state) {
            soak.sandbox.write(&format!("alice/{file}"), text);
        }
        let config = "git config gc.auto 0; git config commit.gpgSign false";
        soak.ok(0, &format!("{config}; hlx track compose.yml tls.pem; git add -A; git commit -qm base; git remote add origin ../remote.git; git push -q origin app"));
        soak.sandbox.sh(".", "git clone -q -b app remote.git bob");
        soak.ok(1, &format!("{config}; hlx init"));
        let key = soak.run(1, "grep -o 'age1.*' ~/.config/sops/age/keys.txt").out;
        soak.ok(0, &format!("hlx recipients add {}; git push -q origin app", key.trim()));
        soak.ok(1, "git pull -q --ff-only; hlx unlock");
        soak
    }

    fn run(&self, owner: usize, line: &str) -> Done {
        let owner = &self.owners[owner];
        self.sandbox.run_in(owner.name, &["sh", "-euc", line], &[("HOME", &owner.home)])
    }

    #[track_caller]
    fn ok(&self, owner: usize, line: &str) {
        let done = self.run(owner, line);
        assert!(done.code == Some(0), "{} `{line}`: {done:?}", self.owners[owner].name);
    }

    fn holds(&self, owner: usize) {
        let Owner { name, state, .. } = &self.owners[owner];
        for (file, text) in render(state) {
            assert_eq!(self.sandbox.read(&format!("{name}/{file}")), text, "{name}: {file}");
        }
    }

    /// Changes a few values, and commits them.
    fn commit(&mut self, owner: usize, dice: &mut Dice) {
        for _ in 0..1 + dice.roll(3) {
            self.fresh += 1;
            let state = &mut self.owners[owner].state;
            let value = state.values_mut().nth(dice.roll(26)).expect("there are 26 values");
            *value = format!("{CANARY}-{}-{}", self.fresh, dice.word());
        }
        for (file, text) in render(&self.owners[owner].state) {
            let path = format!("{}/{file}", self.owners[owner].name);
            if self.sandbox.read(&path) != text {
                self.sandbox.write(&path, text);
            }
        }
        self.ok(owner, &format!("git commit -qam {}", self.fresh));
    }

    /// Brings in what the other pushed, by a merge or a rebase, and pushes.
    fn meet(&mut self, owner: usize, dice: &mut Dice) {
        let winner = if dice.roll(2) == 0 { Winner::Mine } else { Winner::Theirs };
        let rebase = dice.roll(2) == 0;
        let line = if rebase { "git rebase -q FETCH_HEAD" } else { "git merge -q -m merged FETCH_HEAD" };
        let mut done = self.run(owner, &format!("git fetch -q origin app; {line}"));
        while done.code != Some(0) {
            self.conflicts += 1;
            // A rebase puts the local commits on the others': it takes those for ours.
            let ours = (winner == Winner::Mine) != rebase;
            self.resolve(owner, ours, &done);
            let goes_on =
                if rebase { "GIT_EDITOR=true git rebase --continue" } else { "git commit -qm merged" };
            // A commit of which nothing is left is left out.
            done = self.run(owner, &format!("git add -u; if git diff --cached --quiet && [ -d .git/rebase-merge ]; then git rebase --skip; else {goes_on}; fi"));
        }
        self.merge_models(owner, winner);
        self.holds(owner);
        self.ok(owner, "test -z \"$(git status --porcelain)\"; git push -q origin app");
        self.remote = self.owners[owner].state.clone();
    }

    /// Takes one side of each conflict.
    fn resolve(&self, owner: usize, ours: bool, done: &Done) {
        let unmerged = self.run(owner, "git ls-files -u | cut -f2 | sort -u").out;
        assert!(!unmerged.is_empty(), "{done:?}");
        for file in unmerged.lines() {
            let path = format!("{}/{file}", self.owners[owner].name);
            let (mut text, mut side) = (String::new(), None);
            for line in self.sandbox.read(&path).split_inclusive('\n') {
                match &line[..line.len().min(7)] {
                    "<<<<<<<" => side = Some(true),
                    "=======" => side = Some(false),
                    ">>>>>>>" => side = None,
                    _ if side.is_none_or(|side| side == ours) => text.push_str(line),
                    _ => {}
                }
            }
            self.sandbox.write(&path, text);
        }
    }

    fn merge_models(&mut self, owner: usize, winner: Winner) {
        let Owner { state, met, .. } = &mut self.owners[owner];
        for (place, value) in state.iter_mut() {
            let (mine, theirs) = (*value != met[place], self.remote[place] != met[place]);
            if theirs && (!mine || winner == Winner::Theirs) {
                value.clone_from(&self.remote[place]);
            }
        }
        met.clone_from(state);
    }

    /// Nothing leaked, and stock sops reads the remote's files as they should be.
    fn look(&self) {
        for repository in ["alice", "bob", "remote.git"] {
            self.sandbox.no_canary_in_objects(repository);
        }
        for (file, _) in render(&self.remote) {
            let kind = if file == ".env" { "app.env" } else { file };
            self.sandbox.sh("remote.git", &format!("git cat-file blob app:{file} >../proof.{kind}"));
            for owner in &self.owners {
                let keys = format!("{}/.config/sops/age/keys.txt", owner.home);
                let words: &[&str] = match file {
                    "tls.pem" => {
                        &["-d", "--input-type", "binary", "--output-type", "binary", "proof.tls.pem"]
                    }
                    _ => &["-d", &format!("proof.{kind}")],
                };
                let opened = self.sandbox.sops_in(".", words, &[("SOPS_AGE_KEY_FILE", &keys)]);
                assert_eq!(opened.code, Some(0), "{file}: {opened:?}");
                let values = self.remote.iter().filter(|((name, _), _)| name == file);
                for ((_, key), value) in values {
                    let there =
                        opened.out.lines().any(|line| line.contains(key) && line.contains(value.as_str()));
                    assert!(there, "{file}: {key} is not {value} in {}", opened.out);
                }
            }
        }
    }
}

fn commits(count: usize, seed: u64) {
    let (mut soak, mut dice, begun) = (Soak::new(), Dice(seed), Instant::now());
    for made in 1..=count {
        let owner = dice.roll(2);
        soak.commit(owner, &mut dice);
        if dice.roll(3) == 0 {
            soak.meet(owner, &mut dice);
        }
        if made % EVERY == 0 {
            soak.look();
            (0..2).for_each(|owner| soak.ok(owner, "git repack -adq; git prune"));
        }
    }
    // Both end with the same.
    [0, 1, 0].iter().for_each(|owner| soak.meet(*owner, &mut dice));
    assert_eq!(soak.owners[0].state, soak.owners[1].state);
    soak.look();
    let seconds = begun.elapsed().as_secs();
    println!(
        "{count} commits (seed {seed}), {} conflicts: none lost, none leaked; {seconds} s",
        soak.conflicts
    );
    assert!(count < 100 || soak.conflicts > 0, "nothing was in conflict");
}

#[test]
fn two_owners_lose_and_leak_nothing() {
    // A thousand take more than a minute without optimisation.
    commits(number("HLX_SOAK_COMMITS", 200) as usize, number("HLX_SOAK_SEED", 7));
}
