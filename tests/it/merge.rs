//! The merge driver under real git: what a plaintext repository would show, sealed for whom both sides say.

use std::path::Path;

use crate::sandbox::{CANARY, Done, Sandbox, places_of_gits};

/// The same repository twice: sealed, and as a plaintext one.
struct Twins {
    sandbox: Sandbox,
    path: String,
    git: String,
}

impl Twins {
    fn new(git: &str) -> Self {
        let sandbox = Sandbox::new();
        sandbox.lab();
        sandbox.sh(".", "git init -q -b app twin; cp lab/compose.yml lab/README.md twin; cd twin; git add .; git commit -qm begin");
        let hlx = Path::new(env!("CARGO_BIN_EXE_hlx")).parent().unwrap().display().to_string();
        Self { sandbox, path: format!("{git}:{hlx}:/usr/local/bin:/usr/bin:/bin"), git: git.to_owned() }
    }

    fn run(&self, directory: &str, line: &str) -> Done {
        self.sandbox.run_in(directory, &["sh", "-uc", line], &[("PATH", &self.path)])
    }

    /// Runs a line in both, which must come to the same.
    #[track_caller]
    fn both(&self, line: &str) -> String {
        let (sealed, plain) = (self.run("lab", line), self.run("twin", line));
        assert_eq!(sealed.code, plain.code, "{}: {line}: {sealed:?} {plain:?}", self.git);
        let look = "git status --porcelain; for f in .env* *.env; do [ ! -e $f ] || { echo \"== $f\"; cat -A $f; }; done";
        let (seen, expected) = (self.run("lab", look).out, self.run("twin", look).out);
        assert_eq!(unnamed(&seen), unnamed(&expected), "{}: {line}: {sealed:?}", self.git);
        seen
    }
}

/// Without the names behind conflict markers, which hold commits' names.
fn unnamed(text: &str) -> String {
    let marker = |line: &str| ["<<<<<<<", ">>>>>>>", "|||||||"].iter().any(|mark| line.starts_with(mark));
    let strip = |line: &str| match marker(line) {
        true => line.split(' ').next().unwrap_or_default().to_owned(),
        false => line.to_owned(),
    };
    text.lines().map(|line| strip(line) + "\n").collect()
}

const BASE: &str = "printf 'A=1\\nB=2\\n#\\n#\\nC=3\\n# x\\n\\nD=4\\nE=5\\n#\\n#\\n#\\nF=6\\n' >.env; git add .env; git commit -qm base; git branch side";

/// What either side does after the base, and how they are brought together.
const STORIES: &[(&str, &str)] = &[
    (
        "different values",
        "sed -i s/A=1/A=10/ .env; git commit -qam a; git switch -q side; sed -i s/F=6/F=60/ .env; git commit -qam f; git switch -q app; git merge -q -m m side",
    ),
    (
        "the same line alike",
        "sed -i s/A=1/A=10/ .env; git commit -qam a; git switch -q side; sed -i 's/A=1/A=10/;s/F=6/F=9/' .env; git commit -qam b; git switch -q app; git merge -q -m m side",
    ),
    (
        "the same value",
        "sed -i s/A=1/A=10/ .env; git commit -qam a; git switch -q side; sed -i s/A=1/A=11/ .env; git commit -qam b; git switch -q app; git merge -q -m m side",
    ),
    (
        "two conflicts",
        "sed -i 's/A=1/A=10/;s/F=6/F=7/' .env; git commit -qam a; git switch -q side; sed -i 's/A=1/A=11/;s/F=6/F=8/' .env; git commit -qam b; git switch -q app; git merge -q -m m side",
    ),
    (
        "diff3",
        "git config merge.conflictStyle diff3; sed -i s/A=1/A=10/ .env; git commit -qam a; git switch -q side; sed -i s/A=1/A=11/ .env; git commit -qam b; git switch -q app; git merge -q -m m side",
    ),
    (
        "zdiff3",
        "git config merge.conflictStyle zdiff3; sed -i 's/A=1/A=10/;s/B=2/B=20/' .env; git commit -qam a; git switch -q side; sed -i 's/A=1/A=11/;s/B=2/B=20/' .env; git commit -qam b; git switch -q app; git merge -q -m m side",
    ),
    (
        "long markers",
        "echo '.env conflict-marker-size=12' >>.git/info/attributes; sed -i s/A=1/A=10/ .env; git commit -qam a; git switch -q side; sed -i s/A=1/A=11/ .env; git commit -qam b; git switch -q app; git merge -q -m m side",
    ),
    (
        "added by both, alike",
        "echo N=1 >new.env; git add .; git commit -qm a; git switch -q side; echo N=1 >new.env; git add .; git commit -qm b; git switch -q app; git merge -q -m m side",
    ),
    (
        "added by both",
        "echo N=1 >new.env; git add .; git commit -qm a; git switch -q side; echo N=2 >new.env; git add .; git commit -qm b; git switch -q app; git merge -q -m m side",
    ),
    (
        "changed and deleted",
        "sed -i s/A=1/A=10/ .env; git commit -qam a; git switch -q side; git rm -q .env; git commit -qm b; git switch -q app; git merge -q -m m side",
    ),
    (
        "deleted and changed",
        "git rm -q .env; git commit -qm a; git switch -q side; sed -i s/A=1/A=10/ .env; git commit -qam b; git switch -q app; git merge -q -m m side",
    ),
    (
        "renamed and changed",
        "git mv .env moved.env; git commit -qm a; git switch -q side; sed -i s/A=1/A=10/ .env; git commit -qam b; git switch -q app; git merge -q -m m side",
    ),
    (
        "changed, renamed and changed",
        "git mv .env moved.env; sed -i s/F=6/F=7/ moved.env; git commit -qam a; git switch -q side; sed -i s/A=1/A=10/ .env; git commit -qam b; git switch -q app; git merge -q -m m side",
    ),
    (
        "line ends of CRLF",
        "sed -i 's/$/\\r/' .env; git commit -qam crlf; git branch -qf side; sed -i s/A=1/A=10/ .env; git commit -qam a; git switch -q side; sed -i 's/F=6/F=7/' .env; git commit -qam b; git switch -q app; git merge -q -m m side",
    ),
    (
        "no final line feed",
        "sed -i s/A=1/A=10/ .env; git commit -qam a; git switch -q side; printf G=7 >>.env; git commit -qam b; git switch -q app; git merge -q -m m side",
    ),
    (
        "emptied and changed",
        ": >.env; git commit -qam a; git switch -q side; sed -i s/A=1/A=10/ .env; git commit -qam b; git switch -q app; git merge -q -m m side",
    ),
    (
        "changed and emptied",
        "sed -i s/A=1/A=10/ .env; git commit -qam a; git switch -q side; : >.env; git commit -qam b; git switch -q app; git merge -q -m m side",
    ),
    (
        "rebase",
        "sed -i s/A=1/A=10/ .env; git commit -qam a; git switch -q side; sed -i s/F=6/F=60/ .env; git commit -qam f; sed -i s/A=1/A=11/ .env; git commit -qam f2; git rebase -q app",
    ),
    (
        "cherry-pick",
        "sed -i s/A=1/A=10/ .env; git commit -qam a; git switch -q side; sed -i s/F=6/F=60/ .env; git commit -qam f; sed -i s/C=3/C=4/ .env; git commit -qam c; git switch -q app; git cherry-pick side",
    ),
    (
        "revert",
        "sed -i s/A=1/A=10/ .env; git commit -qam a; sed -i s/F=6/F=60/ .env; git commit -qam f; git revert --no-edit HEAD~1",
    ),
    (
        "revert with a conflict",
        "sed -i s/A=1/A=10/ .env; git commit -qam a; sed -i s/A=10/A=11/ .env; git commit -qam f; git revert --no-edit HEAD~1",
    ),
    (
        "stash pop",
        "sed -i s/A=1/A=10/ .env; git stash -q; sed -i s/F=6/F=60/ .env; git commit -qam f; git stash pop -q",
    ),
    (
        "stash pop with a conflict",
        "sed -i s/A=1/A=10/ .env; git stash -q; sed -i s/A=1/A=60/ .env; git commit -qam f; git stash pop -q",
    ),
    (
        "rebase --autostash",
        "sed -i s/A=1/A=10/ .env; git commit -qam a; git switch -q side; sed -i s/F=6/F=60/ .env; git commit -qam f; sed -i s/C=3/C=4/ .env; git rebase -q --autostash app",
    ),
    (
        "a merge from elsewhere",
        "git clone -q . ../$(basename $PWD)-2 2>/dev/null; cd ../$(basename $PWD)-2; [ ! -e .sops.yaml ] || hlx -q init >/dev/null; sed -i s/F=6/F=60/ .env; git commit -qam f; cd ../${PWD##*/}; cd ../$(basename $PWD | sed s/-2//); sed -i s/A=1/A=10/ .env; git commit -qam a; git pull -q --no-rebase ../$(basename $PWD)-2 app",
    ),
    (
        "criss-cross",
        "sed -i s/A=1/A=10/ .env; git commit -qam a; git switch -q side; sed -i s/F=6/F=60/ .env; git commit -qam f; git branch s2; git merge -q -m x app; git switch -q app; git merge -q -m y s2; sed -i s/C=3/C=4/ .env; git commit -qam c; git switch -q side; sed -i s/D=4/D=5/ .env; git commit -qam d; git switch -q app; git merge -q -m m side",
    ),
];

#[test]
fn every_merge_comes_to_what_a_plaintext_repository_shows() {
    places_of_gits().first().into_iter().for_each(|git| tell_stories(git));
}

#[test]
fn with_an_older_git_too() {
    places_of_gits().get(1).into_iter().for_each(|git| tell_stories(git));
}

fn tell_stories(git: &str) {
    for (name, story) in STORIES {
        let twins = Twins::new(git);
        twins.both(BASE);
        twins.both(story);
        twins.sandbox.no_canary_in_objects("lab");
        // What was committed is sealed, and stock sops opens it.
        let sealed = twins.run("lab", "git ls-tree --name-only HEAD | grep env$ | while read -r f; do [ -z \"$(git cat-file blob HEAD:$f)\" ] || git cat-file blob HEAD:$f >../sealed-$f; done");
        assert_eq!(sealed.code, Some(0), "{name}: {sealed:?}");
        let files = ["sealed-.env", "sealed-new.env", "sealed-moved.env"];
        for file in files.into_iter().filter(|file| twins.sandbox.path(file).exists()) {
            let words = ["-d", "--input-type", "dotenv", "--output-type", "dotenv", file];
            let opened = twins.sandbox.sops(".", &words);
            assert_eq!(opened.code, Some(0), "{name}: {opened:?}");
        }
    }
}

fn blob(sandbox: &Sandbox, name: &str) -> String {
    sandbox.ok("lab", &["git", "cat-file", "blob", name])
}

/// The readers of a sealed file, in order.
fn readers(sealed: &str) -> Vec<&str> {
    sealed
        .lines()
        .filter(|line| line.contains("_recipient="))
        .filter_map(|line| line.split('=').nth(1))
        .collect()
}

/// A lab with two more keys, and `.env` committed on `app` and `side`.
fn lab() -> (Sandbox, [String; 2]) {
    let sandbox = Sandbox::new();
    sandbox.lab();
    let key = |name: &str| {
        let path = format!("../{name}.key");
        sandbox.ok("lab", &["hlx", "keys", "generate", "-o", &path]).trim().to_owned()
    };
    let keys = [key("one"), key("two")];
    sandbox.write("lab/.env", format!("A=1\n#\n#\n#\nB=2\n#\n#\n#\nC={CANARY}\n"));
    sandbox.sh("lab", "git add .env; git commit -qm base; git branch side");
    (sandbox, keys)
}

/// Changes the committed `.env` of the branch that is checked out with stock sops.
fn by_sops(sandbox: &Sandbox, words: &[&str]) {
    sandbox.sh("lab", "git show --no-textconv HEAD:.env >../x.env");
    let done = sandbox.sops(".", &[&["rotate", "-i"], words, &["x.env"]].concat());
    assert_eq!(done.code, Some(0), "{done:?}");
    sandbox.sh("lab", "git update-index --cacheinfo 100644,$(git hash-object -w --no-filters ../x.env),.env; git commit -qm sops; git checkout -q -f HEAD -- .env; rm .env; git checkout -q -- .env");
}

#[test]
fn readers_added_on_either_side_stay_and_those_taken_out_stay_out() {
    let (sandbox, [one, two]) = lab();
    sandbox.ok("lab", &["hlx", "recipients", "add", &one, "--branch", "app"]);
    sandbox.ok("lab", &["hlx", "recipients", "add", &two, "--branch", "side"]);
    sandbox.sh("lab", "sed -i s/A=1/A=10/ .env; git commit -qam ours; git switch -q side; sed -i s/B=2/B=20/ .env; git commit -qam theirs; git switch -q app");
    // `.sops.yaml` is a file like any other.
    let merge = sandbox.run("lab", &["git", "merge", "-q", "-m", "both", "-X", "theirs", "side"]);
    assert!(merge.code == Some(0), "{merge:?}");
    for words in ["can read it, added by ours", "can read it, added by theirs"] {
        assert!(merge.err.contains(words), "{merge:?}");
    }
    let merged = blob(&sandbox, "HEAD:.env");
    assert!(readers(&merged).contains(&one.as_str()) && readers(&merged).contains(&two.as_str()), "{merged}");
    assert_eq!(readers(&merged).len(), 3);
    sandbox.write("merged.env", &merged);
    for key in ["one.key", "two.key"] {
        let path = sandbox.path(key).display().to_string();
        let opened = sandbox.sops_in(
            ".",
            &["-d", "merged.env"],
            &[("SOPS_AGE_KEY_FILE", &path), ("HOME", "/nonexistent")],
        );
        assert!(opened.out.contains("A=10") && opened.out.contains("B=20"), "{key}: {opened:?}");
    }
    // One side takes a reader out and rotates; the other goes on under the old key.
    sandbox.sh("lab", "git branch -qf side");
    by_sops(&sandbox, &["--rm-age", &one]);
    // What is trusted on `app` is not so on a branch that is set to it.
    sandbox.sh(
        "lab",
        "git switch -q side; hlx recipients accept --yes; sed -i s/A=10/A=11/ .env; git commit -qam a",
    );
    let merge = sandbox.run("lab", &["git", "merge", "-q", "-m", "both", "app"]);
    assert!(
        merge.code == Some(0)
            && merge.err.contains("theirs changed its key, and the merged file has the new one"),
        "{merge:?}"
    );
    assert!(merge.err.contains("cannot read it any more, removed by theirs"), "{merge:?}");
    let merged = blob(&sandbox, "HEAD:.env");
    assert!(!merged.contains(&one) && merged.contains(&two), "{merged}");
    assert!(sandbox.read("lab/.env").starts_with("A=11\n"));
    // Its unchanged lines are those of the side whose key it is.
    let line =
        |text: &str, start: &str| text.lines().find(|line| line.starts_with(start)).unwrap().to_owned();
    assert_eq!(line(&merged, "B="), line(&blob(&sandbox, "app:.env"), "B="));
    sandbox.write("merged.env", &merged);
    let path = sandbox.path("one.key").display().to_string();
    assert_ne!(
        sandbox
            .sops_in(".", &["-d", "merged.env"], &[("SOPS_AGE_KEY_FILE", &path), ("HOME", "/nonexistent")])
            .code,
        Some(0)
    );
    assert!(sandbox.sops(".", &["-d", "merged.env"]).out.contains("A=11"));
}

#[test]
fn a_conflict_that_is_resolved_keeps_readers_key_and_lines_of_both_sides() {
    let (sandbox, [one, _]) = lab();
    sandbox.sh("lab", "sed -i s/A=1/A=10/ .env; git commit -qam ours; git switch -q side");
    sandbox.ok("lab", &["hlx", "recipients", "add", &one, "--branch", "side"]);
    sandbox.sh("lab", "sed -i s/A=1/A=11/ .env; git commit -qam theirs; git switch -q app");
    assert_eq!(sandbox.run("lab", &["git", "merge", "-q", "side"]).code, Some(1));
    assert!(sandbox.read("lab/.env").starts_with("<<<<<<< HEAD\nA=10\n=======\nA=11\n>>>>>>> side\n"));
    // Resolved to just what ours was: its reader is not lost.
    sandbox.sh("lab", "git show HEAD:.env >/dev/null; printf 'A=10\\n#\\n#\\n#\\nB=2\\n#\\n#\\n#\\nC=canary-swordfish-7f3a9c\\n' >.env; git add .env");
    let (ours, added) = (blob(&sandbox, "HEAD:.env"), blob(&sandbox, ":.env"));
    assert!(added.contains(&one) && !ours.contains(&one), "{added}");
    let values = |text: &str| -> Vec<String> {
        text.lines().filter(|line| !line.starts_with("sops_")).map(str::to_owned).collect()
    };
    assert_eq!(values(&ours), values(&added));
    sandbox.sh("lab", "git commit -qm merged; hlx status >../status");
    assert!(sandbox.read("status").contains("2 readers"), "{}", sandbox.read("status"));
    assert_eq!(sandbox.ok("lab", &["git", "status", "--porcelain"]), "");
    sandbox.no_canary_in_objects("lab");
}

#[test]
fn what_cannot_be_united_is_a_conflict_with_two_ways_out() {
    for (way_out, has_one) in [
        ("git rm -q --cached .env; git add .env", false),
        ("cp .env ../mine; git checkout -q MERGE_HEAD -- .env; cp ../mine .env; git add .env", true),
    ] {
        let (sandbox, [one, two]) = lab();
        by_sops(&sandbox, &["--add-age", &two]);
        sandbox.sh("lab", "sed -i s/A=1/A=10/ .env; git commit -qam a; git switch -q side");
        by_sops(&sandbox, &["--add-age", &one]);
        sandbox.sh("lab", "sed -i s/B=2/B=20/ .env; git commit -qam b; git switch -q app");
        let merge = sandbox.run("lab", &["git", "merge", "-q", "side"]);
        assert_eq!(merge.code, Some(1), "{merge:?}");
        assert!(
            merge.err.contains("each side has a new data key, and they differ in who can read it: age1"),
            "{merge:?}"
        );
        // The values are merged all the same, and readable.
        assert!(
            sandbox.read("lab/.env").starts_with("A=10\n#\n#\n#\nB=20\n"),
            "{}",
            sandbox.read("lab/.env")
        );
        sandbox.no_canary_in_objects("lab");
        // All that does not store it goes on.
        for line in ["git status", "git diff", "git stash list", "git log -p -1"] {
            let done = sandbox.run("lab", &["sh", "-uc", line]);
            assert_eq!(done.code, Some(0), "{line}: {done:?}");
        }
        sandbox.sh("lab", "git merge --abort; git status --porcelain >../status");
        assert_eq!(sandbox.read("status"), "");
        assert_eq!(sandbox.run("lab", &["git", "merge", "-q", "side"]).code, Some(1));
        let refused = sandbox.run("lab", &["git", "add", ".env"]);
        assert!(
            refused.code == Some(128)
                && refused
                    .err
                    .contains("hint: to go on with the key and readers of ours: `git rm --cached .env`"),
            "{refused:?}"
        );
        assert_ne!(sandbox.run("lab", &["git", "commit", "-qam", "x"]).code, Some(0));
        sandbox.sh("lab", &format!("{way_out}; git commit -qm merged"));
        let merged = blob(&sandbox, "HEAD:.env");
        assert_eq!((merged.contains(&one), merged.contains(&two)), (has_one, !has_one), "{way_out}");
        assert_eq!(sandbox.ok("lab", &["git", "rev-list", "--parents", "-1", "HEAD"]).split(' ').count(), 3);
        assert!(sandbox.read("lab/.env").starts_with("A=10\n#\n#\n#\nB=20\n"));
        assert_eq!(sandbox.ok("lab", &["git", "status", "--porcelain"]), "");
    }
}

#[test]
fn without_a_work_tree_merges_come_to_the_same_and_options_of_gits_own_merge_do_not_count() {
    let (sandbox, _) = lab();
    sandbox.sh("lab", "sed -i s/A=1/A=10/ .env; git commit -qam a; git switch -q side; sed -i s/B=2/B=20/ .env; git commit -qam b");
    let tree = sandbox.ok("lab", &["git", "merge-tree", "--write-tree", "app", "side"]);
    sandbox.write("merged.env", blob(&sandbox, &format!("{}:.env", tree.trim())));
    let opened = sandbox.sops(".", &["-d", "merged.env"]);
    assert!(opened.out.contains("A=10") && opened.out.contains("B=20"), "{opened:?}");
    // git does not tell a merge driver of `-X`: a conflict stays one, and nothing is decided unseen.
    sandbox.sh("lab", "sed -i s/A=1/A=11/ .env; git commit -qam c; git switch -q app");
    let merge = sandbox.run("lab", &["git", "merge", "-q", "-X", "theirs", "side"]);
    assert!(merge.code == Some(1) && sandbox.read("lab/.env").contains("A=10\n=======\nA=11\n"), "{merge:?}");
    sandbox.sh("lab", "git checkout -q --theirs .env; git add .env; git commit -qm theirs");
    assert!(sandbox.read("lab/.env").starts_with("A=11\n"));
    assert_eq!(sandbox.ok("lab", &["git", "status", "--porcelain"]), "");
}

#[test]
fn without_a_key_a_merge_is_left_to_someone_who_has_one() {
    let (sandbox, _) = lab();
    sandbox.sh("lab", "sed -i s/A=1/A=10/ .env; git commit -qam a; git switch -q side; sed -i s/B=2/B=20/ .env; git commit -qam b; git switch -q app; mv ../home/.config ../home/away");
    let merge = sandbox.run("lab", &["git", "merge", "-q", "side"]);
    assert!(
        merge.code == Some(1) && merge.err.contains("the side `ours` cannot be opened: no key of yours"),
        "{merge:?}"
    );
    sandbox.sh("lab", "git merge --abort; mv ../home/away ../home/.config; git merge -q -m m side");
    assert!(sandbox.read("lab/.env").starts_with("A=10\n#\n#\n#\nB=20\n"));
}

#[test]
fn in_a_conflict_git_looks_at_the_file_as_ever_and_takes_no_markers_into_a_commit() {
    for git in places_of_gits() {
        let twins = Twins::new(&git);
        twins.both("printf 'A=1\\n' >.env; git add .env; git commit -qm one; git switch -qc side; printf 'A=2\\n' >.env; git commit -qam two; git switch -q -; printf 'A=3\\n' >.env; git commit -qam three; git merge -q side || true");
        for line in [
            "git diff --name-only --diff-filter=U",
            "git diff --ours --name-only",
            "git status --porcelain",
            "git diff --name-only HEAD",
        ] {
            let (sealed, plain) = (twins.run("lab", line), twins.run("twin", line));
            assert_eq!((sealed.code, &sealed.out), (plain.code, &plain.out), "{git}: {line}: {sealed:?}");
        }
        // Half edited.
        twins.run("lab", "sed -i s/A=2/A=4/ .env");
        assert_eq!(twins.run("lab", "git diff --name-only").code, Some(0));
        let refused = twins.run("lab", "git add .env; git commit -qm x");
        assert!(refused.err.contains("conflict markers are left in .env"), "{git}: {refused:?}");
        twins.run("lab", "printf 'A=5\\n' >.env; git add .env; git commit -qm y");
        assert!(blob(&twins.sandbox, "HEAD:.env").contains("A=ENC["), "{git}");
        assert_eq!(twins.run("lab", "git status --porcelain").out, "");
    }
}

#[test]
fn a_resolution_that_git_remembers_is_replayed_and_ends_encrypted() {
    for git in places_of_gits() {
        for updates in ["false", "true"] {
            let sandbox = Sandbox::with_git(&Path::new(&git).join("git"));
            sandbox.lab();
            sandbox.sh(
                "lab",
                &format!("git config rerere.enabled true; git config rerere.autoUpdate {updates}"),
            );
            sandbox.write("lab/.env", format!("A=1\n#\n#\n#\nB=2\n#\n#\n#\nC={CANARY}\n"));
            sandbox.sh("lab", "git add .env; git commit -qm base; git branch side");
            sandbox.sh("lab", "sed -i s/A=1/A=10/ .env; git commit -qam a; git switch -q side; sed -i s/A=1/A=11/ .env; git commit -qam b; git switch -q app");
            assert_eq!(sandbox.run("lab", &["git", "merge", "-q", "side"]).code, Some(1));
            sandbox.sh("lab", "sed -i '/^[<=>]/d;/A=10/d;s/A=11/A=12/' .env; git add .env; git commit -qm resolved; cp .env ../resolved");
            // What else changed on one side is merged with what was remembered.
            sandbox.sh("lab", "git reset -q --hard HEAD~1; sed -i s/B=2/B=20/ .env; git commit -qam c");
            let again = sandbox.run("lab", &["git", "merge", "side"]);
            assert!(
                again.code == Some(1) && again.err.contains("'.env' using previous resolution"),
                "{git}: {again:?}"
            );
            let expected = sandbox.read("resolved").replace("B=2", "B=20");
            assert_eq!(sandbox.read("lab/.env"), expected, "{git}: {again:?}");
            let staged = sandbox.ok("lab", &["git", "ls-files", "--unmerged"]).is_empty();
            assert_eq!(staged, updates == "true", "{git}: {again:?}");
            sandbox.sh("lab", "git add .env; git commit -qm again");
            assert!(blob(&sandbox, "HEAD:.env").contains("sops_mac="), "{git}");
            assert_eq!(sandbox.ok("lab", &["git", "status", "--porcelain"]), "", "{git}");
            // git keeps what it remembers as text beside its objects; in these there is none of it.
            sandbox.no_canary_in_objects("lab");
            sandbox.write("merged.env", blob(&sandbox, "HEAD:.env"));
            assert!(sandbox.sops(".", &["-d", "merged.env"]).out.contains("A=12"), "{git}");
        }
    }
}

#[test]
fn neighbouring_lines_of_different_values_are_merged_and_sealed() {
    let (sandbox, _) = lab();
    sandbox.write("lab/.env", format!("A=1\nB=2\nC={CANARY}\n"));
    sandbox.sh("lab", "git commit -qam near; git branch -qf side; sed -i s/A=1/A=10/ .env; echo X=1 >>.env; git commit -qam a; git switch -q side; sed -i s/B=2/B=20/ .env; echo Y=1 >>.env; git commit -qam b; git switch -q app; git merge -q -m m side");
    assert_eq!(sandbox.read("lab/.env"), format!("A=10\nB=20\nC={CANARY}\nX=1\nY=1\n"));
    assert_eq!(sandbox.ok("lab", &["git", "status", "--porcelain"]), "");
    sandbox.write("merged.env", blob(&sandbox, "HEAD:.env"));
    let opened = sandbox.sops(".", &["-d", "merged.env"]);
    assert_eq!(opened.out, sandbox.read("lab/.env"), "{opened:?}");
    // Two lines of one value are one value.
    sandbox.sh("lab", "printf 'A=\"1\n2\n3\"\nB=2\n' >.env; git commit -qam lines; git branch -qf side; sed -i 's/^A=\"1/A=\"9/' .env; git commit -qam a; git switch -q side; sed -i s/^2/8/ .env; git commit -qam b; git switch -q app");
    assert_eq!(sandbox.run("lab", &["git", "merge", "-q", "side"]).code, Some(1));
    let conflict = sandbox.read("lab/.env");
    assert!(
        conflict.starts_with("<<<<<<< HEAD\nA=\"9\n2\n=======\nA=\"1\n8\n>>>>>>> side\n3\"\nB=2\n"),
        "{conflict}"
    );
    sandbox.no_canary_in_objects("lab");
}

#[test]
fn what_is_left_of_a_conflict_beside_merged_values_is_resolved_as_ever() {
    let (sandbox, _) = lab();
    sandbox.sh("lab", "printf 'A=1\nB=2\n#\n#\n#\n#\nC=3\n' >.env; git commit -qam near; git branch -qf side; sed -i 's/A=1/A=10/;s/C=3/C=4/' .env; git commit -qam a; git switch -q side; sed -i 's/B=2/B=20/;s/C=3/C=5/' .env; git commit -qam b; git switch -q app");
    assert_eq!(sandbox.run("lab", &["git", "merge", "-q", "side"]).code, Some(1));
    let conflict = "A=10\nB=20\n#\n#\n#\n#\n<<<<<<< HEAD\nC=4\n=======\nC=5\n>>>>>>> side\n";
    assert_eq!(sandbox.read("lab/.env"), conflict);
    sandbox.sh("lab", "sed -i '/^[<=>]/d;/C=5/d' .env; git add .env; git commit -qm m");
    assert_eq!(sandbox.read("lab/.env"), "A=10\nB=20\n#\n#\n#\n#\nC=4\n");
    assert_eq!(sandbox.ok("lab", &["git", "status", "--porcelain"]), "");
}
