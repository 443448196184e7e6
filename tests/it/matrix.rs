//! The same git commands in a repository that hlx keeps and in a plaintext one, with every git that is here:
//! after each of them both show the same, and no object of the first holds a secret.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::sandbox::{CANARY, Sandbox, gits};

const ENV: &str = "# The key of canary-swordfish\nA=canary-swordfish-1\n\n# more\n\n\nB=\"canary-swordfish 2\"\n\n\n\n\nC=canary-swordfish-3\n";
const COMPOSE: &str = "services:\n  web:\n    image: nginx:1\n    environment:\n      TOKEN: canary-swordfish-4 # canary-swordfish\n\n\n      OTHER: 'canary-swordfish-5'\n    ports:\n      - 80:80\n    labels: {}\n    user: root\n";

/// Two repositories with the same files: `plain/repo`, where git knows of no filter, and `sealed/repo`.
struct Pair {
    sandbox: Sandbox,
    /// Which git, for messages.
    git: PathBuf,
}

/// What one side shows.
#[derive(Debug, PartialEq)]
struct Shown {
    code: Option<i32>,
    out: String,
    files: BTreeMap<String, String>,
    status: String,
    diffs: String,
}

impl Pair {
    fn new(git: &Path) -> Self {
        let pair = Self { sandbox: Sandbox::with_git(git), git: git.to_owned() };
        let sandbox = &pair.sandbox;
        sandbox.write("sealed/repo/README.md", "# App\n\none\n\n\n\n\ntwo\n");
        sandbox.write("sealed/repo/.env", ENV);
        sandbox.write("sealed/repo/compose.yml", COMPOSE);
        sandbox.write("sealed/repo/sub/db.env", format!("DB={CANARY}"));
        sandbox.write("sealed/repo/tls.pem", format!("-----\n{CANARY}\n1\n2\n3\n4\n5\n{CANARY}"));
        sandbox.write("sealed/repo/empty.env", "");
        sandbox.sh("sealed/repo", "git init -q -b app; hlx init; hlx track compose.yml tls.pem; echo '*.env filter=hlx diff=hlx merge=hlx -text -ident -working-tree-encoding' >>.gitattributes");
        sandbox.sh(".", "mkdir -p plain; cp -r sealed/repo plain/repo; rm -r plain/repo/.git; git init -q -b app plain/repo");
        for side in ["plain", "sealed"] {
            sandbox.sh(&format!("{side}/repo"), "git add -A; git commit -qm base; git tag base");
        }
        pair
    }

    /// Clones of such a repository where no key is: with hlx in `sealed/repo`, and in `plain/repo` without, where
    /// the sealed files are files like any other.
    fn keyless(git: &Path) -> Self {
        let pair = Self::new(git);
        let sandbox = &pair.sandbox;
        sandbox.sh(".", "rm -r plain; mv sealed owner; mkdir plain sealed; mv home/.config home/away");
        sandbox.sh("owner/repo", "mv ../../home/away ../../home/.config; git switch -qc side; sed -i s/fish-1/fish-10/ .env; sed -i s/root/user/ compose.yml; git commit -qam side1; sed -i s/two/zwei/ README.md; git commit -qam side2; git switch -q app; sed -i 's/^5/five/' tls.pem; sed -i s/one/eins/ README.md; git commit -qam app1; mv ../../home/.config ../../home/away");
        for side in ["plain", "sealed"] {
            sandbox
                .sh(side, "git clone -q -b app ../owner/repo repo; git -C repo branch -q side origin/side");
        }
        sandbox.ok("sealed/repo", &["hlx", "init", "--no-key"]);
        pair
    }

    /// What a side shows after a line of shell.
    fn shown(&self, side: &str, line: &str) -> (Shown, String) {
        let place = format!("{side}/repo");
        let done = self.sandbox.run(&place, &["sh", "-euc", line]);
        let status = self.sandbox.ok(&place, &["git", "status", "--porcelain"]);
        let both = ["git diff", "git diff --cached"].map(|diff| match status.is_empty() {
            true => String::new(),
            false => even(&self.sandbox.sh(&place, diff)),
        });
        let mut files = BTreeMap::new();
        gather(&self.sandbox.path(side), "", &mut files);
        (Shown { code: done.code, out: even(&done.out), files, status, diffs: both.concat() }, done.err)
    }

    /// Runs a line on both sides; they must show the same.
    fn both(&self, line: &str) -> Shown {
        let ((plain, _), (sealed, said)) = (self.shown("plain", line), self.shown("sealed", line));
        let told = || format!("{} after `{line}`, which said: {said}", self.git.display());
        for (name, file) in &plain.files {
            assert_eq!(Some(file), sealed.files.get(name), "{name} with {}", told());
        }
        assert_eq!(plain, sealed, "{}", told());
        sealed
    }

    /// No object and no other file of git's on the sealed side holds a secret.
    fn holds_no_secret(&self) {
        assert_ne!(self.sandbox.canaries_in_objects("plain/repo"), 0, "the search finds nothing at all");
        self.sandbox.no_canary_in_objects("sealed/repo");
        self.sandbox.no_canary_in_files("sealed/repo/.git", &[]);
    }
}

/// Text without what differs by nature: names of blobs, and the labels behind conflict markers.
fn even(text: &str) -> String {
    let marker = |line: &&str| ["<<<<<<<", ">>>>>>>", "|||||||"].iter().any(|mark| line.contains(mark));
    let cut = |line: &str| match line {
        line if marker(&line) => line.split_inclusive(['<', '>', '|']).take(7).collect(),
        line => line.to_owned(),
    };
    let lines = text.split('\n').filter(|line| !line.starts_with("index "));
    lines.map(cut).collect::<Vec<String>>().join("\n")
}

/// All files below a directory but git's, by their names.
fn gather(directory: &Path, name: &str, files: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let own = entry.file_name().to_string_lossy().into_owned();
        let name = if name.is_empty() { own.clone() } else { format!("{name}/{own}") };
        match entry.file_type().unwrap() {
            _ if own == ".git" => {}
            kind if kind.is_dir() => gather(&entry.path(), &name, files),
            _ => {
                let content = fs::read(entry.path()).unwrap();
                files.insert(name, even(&content.escape_ascii().to_string().replace("\\n", "\n")));
            }
        }
    }
}

/// Runs the lines with every git. A number and `!` before a line is the exit code that it must have.
fn matrix(lines: &[&str]) {
    on(Pair::new, lines);
}

fn on(pair: impl Fn(&Path) -> Pair, lines: &[&str]) {
    for git in gits() {
        let pair = pair(&git);
        for line in lines {
            let (code, line) = match line.split_once('!') {
                Some((code, line)) if !code.is_empty() && code.bytes().all(|byte| byte.is_ascii_digit()) => {
                    (code.parse().unwrap(), line)
                }
                _ => (0, *line),
            };
            let shown = pair.both(line);
            assert_eq!(shown.code, Some(code), "{} `{line}`: {shown:?}", git.display());
        }
        pair.holds_no_secret();
    }
}

#[test]
fn add() {
    matrix(&[
        "sed -i s/fish-1/fish-10/ .env",
        "git add .env",
        "sed -i s/fish-5/fish-50/ compose.yml; echo more >>README.md; touch tls.pem sub/db.env",
        "printf 'NEW=canary-swordfish' >new.env; git add new.env compose.yml",
        "git add -u",
        "sed -i s/fish-10/fish-1/ .env; git add .env",
        "git reset -q; git add -A",
        "git reset -q -- .env; git add --renormalize .",
        "git add -N later.env || true; echo L=canary-swordfish >later.env; git add -N later.env",
        ": >empty.env; : >.env; git add .",
        "git commit -qm all; git status --porcelain",
    ]);
}

#[test]
fn commit_all() {
    matrix(&[
        "sed -i s/fish-1/fish-10/ .env; sed -i 's/5$/five/' tls.pem; git commit -qam one",
        "git show --format=%s",
        "sed -i s/fish-4/fish-40/ compose.yml; git commit -q --amend --no-edit -a",
        "git log -p --format=%s",
        "git log --format=%s --stat -- README.md",
        "git blame -s HEAD -- .env | sed 's/^[^ ]* //'; git blame -s HEAD~1 -- compose.yml | sed 's/^[^ ]* //'",
        "1!git commit -qam nothing",
        "sed -i s/nginx:1/nginx:2/ compose.yml; git commit -qm part compose.yml",
        "sed -i s/fish-10/fish-1/ .env; git commit -qm back -- .env",
        "git reset -q --soft HEAD~1; git restore -q --staged .; git restore -q .",
    ]);
}

const TWO_BRANCHES: &str = "git switch -qc side; sed -i 's/fish-3/fish-30/' .env; sed -i 's/^5/five/' tls.pem; git commit -qam side1; sed -i 's/fish-5/fish-50/' compose.yml; git commit -qam side2; git switch -q app; sed -i 's/fish-1/fish-10/' .env; sed -i 's/^1/eins/' tls.pem; sed -i 's/fish-4/fish-40/' compose.yml; git commit -qam app1";

/// The same value changed on both branches.
const CONFLICT: &str = "git switch -qc side; sed -i 's/fish-1/fish-side/' .env; git commit -qam side1; sed -i 's/fish-3/fish-30/' .env; git commit -qam side2; git switch -q app; sed -i 's/fish-1/fish-app/' .env; git commit -qam app1";

#[test]
fn stash() {
    matrix(&[
        "sed -i s/fish-1/fish-10/ .env; sed -i 's/^5/five/' tls.pem; sed -i s/fish-4/fish-40/ compose.yml; echo more >>README.md",
        "git stash -q",
        "git stash show -p --textconv",
        "git stash pop -q",
        "git add .env; git stash -q --keep-index",
        "git stash show -p --textconv",
        "git reset -q --hard; git stash apply -q --index",
        "git reset -q --hard; git stash drop -q",
        "echo U=canary-swordfish >untracked.env; sed -i s/fish-1/fish-10/ .env; git stash -q -u",
        "git stash show -p --textconv -u",
        "git stash pop -q",
        "git stash -q -- .env",
        "git stash branch other >/dev/null",
    ]);
}

#[test]
fn stash_pop() {
    matrix(&[
        "sed -i s/fish-1/fish-10/ .env; sed -i 's/^5/five/' tls.pem; git stash -q",
        "sed -i s/fish-3/fish-30/ .env; sed -i 's/^1/eins/' tls.pem; git commit -qam other",
        "git stash pop -q",
        "git commit -qam popped; sed -i s/fish-10/fish-mine/ .env; git stash -q; sed -i s/fish-10/fish-theirs/ .env; git commit -qam theirs",
        "1!git stash pop -q",
        "git checkout -q --theirs .env; git add .env",
        "git stash drop -q; git commit -qm resolved",
    ]);
}

#[test]
fn rebase() {
    matrix(&[
        TWO_BRANCHES,
        "git switch -q side; git rebase -q app",
        "git log -p --format=%s -3",
        "git switch -qc again base; sed -i s/80:80/81:80/ compose.yml; sed -i 's/swordfish 2/fish 20/' .env; git commit -qam again; git rebase -q --apply side",
        "GIT_SEQUENCE_EDITOR='sed -i 2s/pick/fixup/' git rebase -q -i HEAD~3",
        "GIT_SEQUENCE_EDITOR='sed -i 1s/pick/edit/' git rebase -q -i HEAD~2",
        "sed -i s/root/user/ compose.yml; git add .; git commit -q --amend --no-edit; git rebase --continue >/dev/null",
    ]);
}

#[test]
fn rebase_with_a_conflict() {
    matrix(&[
        CONFLICT,
        "git switch -q side",
        "1!git rebase -q app",
        "git rebase --abort",
        "1!git rebase -q app",
        "sed -i -e '/^[<=>]/d' -e /fish-app/d .env; git add .env",
        "git -c core.editor=true rebase --continue >/dev/null",
        "git log -p --format=%s -2",
    ]);
}

#[test]
fn rebase_autostash() {
    matrix(&[
        TWO_BRANCHES,
        "git switch -q side; echo D=canary-swordfish >>.env; sed -i s/root/user/ compose.yml; sed -i 's/^3/drei/' tls.pem",
        "git rebase -q --autostash app >/dev/null",
        "git stash list; git commit -qam rest",
    ]);
}

#[test]
fn cherry_pick() {
    matrix(&[
        TWO_BRANCHES,
        "git cherry-pick side~1 >/dev/null",
        "git cherry-pick --no-commit side",
        "git commit -qm picked",
        "git reset -q --hard app~2; git cherry-pick -x base..side >/dev/null",
    ]);
}

#[test]
fn cherry_pick_with_a_conflict() {
    matrix(&[
        CONFLICT,
        "1!git cherry-pick side~1 2>/dev/null",
        "git cherry-pick --abort",
        "git cherry-pick side >/dev/null",
        "1!git cherry-pick side~1 2>/dev/null",
        "git checkout -q --ours .env; git add .env; git cherry-pick --skip",
    ]);
}

#[test]
fn merge() {
    matrix(&[
        TWO_BRANCHES,
        "git merge -q --no-ff -m merged side",
        "git show --format=%s; git diff HEAD~1",
        "git reset -q --hard HEAD~1; git merge -q --no-commit --squash side",
        "git commit -qm squashed",
        "git switch -q side; git merge -q -m back app",
        "git switch -qc third base; git mv .env moved.env; git commit -qam moved; git merge -q -m 'over a rename' side",
    ]);
}

#[test]
fn merge_with_a_conflict() {
    matrix(&[
        CONFLICT,
        "1!git merge -q side",
        "git merge --abort",
        "1!git merge -q side",
        "sed -i -e '/^[<=>]/d' -e /fish-app/d .env; git add .env; git commit -qm resolved",
        "git reset -q --hard HEAD~1; git merge -q -s ours -m ours side",
    ]);
}

#[test]
fn revert() {
    matrix(&[
        TWO_BRANCHES,
        "sed -i s/fish-3/fish-33/ .env; git commit -qam later",
        "git revert --no-edit HEAD~1 >/dev/null",
        "git revert --no-commit HEAD~1",
        "git revert --abort 2>/dev/null || git reset -q --hard",
        "git switch -q side; git merge -q -m m base; git switch -qc third base; git merge -q --no-ff -m m side; git revert --no-edit -m 1 HEAD >/dev/null",
    ]);
}

#[test]
fn orphan_branches_with_other_attributes() {
    let orphan = |name: &str, attributes: &str| {
        format!(
            "git switch -q --orphan {name}; git show app:.sops.yaml >.sops.yaml; printf '{attributes}' >.gitattributes; echo A=canary-swordfish-{name} >.env; echo canary-swordfish >notes.txt; echo {name} >README.md; git add -A; git commit -qm {name}"
        )
    };
    let whole = orphan(
        "whole",
        ".env filter=hlx diff=hlx merge=hlx hlx=binary -text -ident -working-tree-encoding\\nnotes.txt filter=hlx diff=hlx merge=hlx hlx=binary -text -ident -working-tree-encoding\\n",
    );
    matrix(&[
        &whole,
        "git switch -q --orphan main; echo page >README.md; git add README.md; git commit -qm main",
        "git switch -q app",
        "git switch -q whole",
        "echo B=canary-swordfish >>.env; git commit -qam more; git checkout -q main",
        "git checkout -q app; git checkout -q whole; sed -i s/B=/C=/ .env",
        "1!git checkout -q app 2>/dev/null",
        "git checkout -q -f app; git checkout -q -",
        "git checkout -q --detach app; git switch -q whole; git log -p --format=%s",
    ]);
}

#[test]
fn worktree_add() {
    matrix(&[
        TWO_BRANCHES,
        "git worktree add -q ../tree side",
        "cd ../tree; git status --porcelain; sed -i 's/swordfish 2/fish 20/' .env; sed -i 's/^five/V/' tls.pem; git diff; git commit -qam tree",
        "cd ../tree; sed -i s/fish-30/fish-31/ .env; git stash -q; git stash pop -q; git status --porcelain",
        "cd ../tree; git checkout -q -- .; git merge -q -m both app; git status --porcelain; git log -p --format=%s -2 --first-parent",
        "git merge -q side; git worktree remove --force ../tree",
    ]);
}

#[test]
fn archive() {
    matrix(&[
        "git archive HEAD | (mkdir ../out; tar -x -C ../out)",
        "git archive --prefix=x/ app .env | tar -x -C ../out",
    ]);
}

#[test]
fn bisect() {
    matrix(&[
        "for i in 2 3 4 5 6 7 8; do sed -i \"s/^A=.*/A=canary-swordfish-$i/\" .env; git commit -qam $i; git tag v$i; done",
        "git bisect start v8 base >/dev/null",
        "git bisect run sh -c '! grep -q \"fish-[5-8]\" .env' >/dev/null 2>&1",
        "git log -1 --format=%s bisect/bad",
        "git bisect reset 2>/dev/null",
    ]);
}

#[test]
fn add_in_patches() {
    matrix(&[
        "sed -i s/fish-1/fish-10/ .env; echo tail >>README.md; sed -i s/one/eins/ README.md",
        "printf 'y\\nn\\n' | git add -p README.md >/dev/null",
        "yes | git add -p .env >/dev/null",
        "git commit -qm picked; git status --porcelain",
        "sed -i s/fish-3/fish-30/ .env; sed -i 's/^5/V/' tls.pem; sleep 1",
        "yes | git stash push -q -p .env >/dev/null 2>&1",
        "git stash pop -q; yes | git checkout -q -p .env >/dev/null 2>&1",
        "yes | git restore -p >/dev/null 2>&1",
    ]);
}

#[test]
fn mv_and_rm() {
    matrix(&[
        "git mv .env moved.env; git mv sub/db.env sub/other.env",
        "git status --porcelain; git commit -qm moved; git show --format=%s -M",
        "sed -i s/fish-1/fish-10/ moved.env; git mv -f moved.env .env; git commit -qam back",
        "git rm -q --cached .env sub/other.env",
        "git add .env sub/other.env; git status --porcelain",
        "git rm -q --cached tls.pem; git commit -qm gone; git add tls.pem",
        "git commit -qm again; git rm -q tls.pem; git checkout -q HEAD -- tls.pem",
        "rm .env tls.pem; git status --porcelain; git checkout -q -- .; git clean -qfd",
    ]);
}

#[test]
fn patches_by_mail() {
    matrix(&[
        TWO_BRANCHES,
        "git format-patch -q -o ../patches app..side; git am -q -3 ../patches/*; rm -r ../patches",
        "git log -p --format=%s -2; git reset -q --hard HEAD~1",
        "git format-patch -q --stdout HEAD..side >../p || true; git am -q -3 ../p; rm ../p",
    ]);
}

#[test]
fn without_a_key_all_that_changes_no_sealed_file_works() {
    on(
        Pair::keyless,
        &[
            "git status --porcelain; touch .env tls.pem compose.yml; sleep 1; touch sub/db.env",
            "echo more >notes.txt; git add -A; git commit -qm new; git merge -q -m merged side",
            "git switch -q side; git switch -q app; git reset -q --hard HEAD~1",
            "echo again >>notes.txt; git rebase -q --autostash side >/dev/null",
            "git commit -qam notes; git revert --no-edit side~1 >/dev/null",
            "git cherry-pick -x side~1 >/dev/null; echo x >>notes.txt; git stash -q; git stash pop -q",
            "git add -A; git stash -q; git stash pop -q --index; git commit -qm stashed -- notes.txt",
            "git mv .env sub/moved.env; git rm -q --cached tls.pem; git add tls.pem; git commit -qm moved; cp compose.yml x.env; mv sub/db.env y.env; git add -A; git commit -qm copied",
            "git worktree add -q ../tree side; cd ../tree; git status --porcelain; git merge -q -m m app",
            "git bisect start app base >/dev/null; git bisect run grep -q two README.md >/dev/null; git bisect reset 2>/dev/null",
            "git archive HEAD | (mkdir ../out; tar -x -C ../out); echo NEW=canary-swordfish >new.env; git add new.env",
            "git commit -qm secret; touch new.env; git commit --amend -qm 'the secret'; git switch -q -c more; rm notes.txt",
            "git stash -q; git stash pop -q",
        ],
    );
}

#[test]
fn without_a_key_new_secrets_are_sealed_and_survive() {
    for git in gits() {
        let pair = Pair::keyless(&git);
        let (sandbox, repository) = (&pair.sandbox, "sealed/repo");
        let clean = || assert_eq!(sandbox.ok(repository, &["git", "status", "--porcelain"]), "");
        sandbox.sh(repository, "echo N=canary-swordfish-new >new.env; git add new.env; git commit -qm new; sleep 1; touch new.env");
        clean();
        sandbox.sh(repository, "git rm -q --cached new.env; git add new.env");
        clean();
        // What a checkout writes anew is sealed from then on.
        sandbox.sh(repository, "git rebase -q side; git cat-file blob :new.env | cmp - new.env");
        clean();
        sandbox.sh(repository, "echo O=canary-swordfish-other >other.env; git add other.env; git stash -q; git stash pop -q --index; git commit -qm other");
        clean();
        pair.sandbox.no_canary_in_objects(repository);
        sandbox.no_canary_in_files("sealed/repo", &[]);
        sandbox.sh(".", "mv home/away home/.config; cd sealed/repo; hlx init");
        assert_eq!(sandbox.read("sealed/repo/new.env"), "N=canary-swordfish-new\n");
        assert_eq!(sandbox.read("sealed/repo/other.env"), "O=canary-swordfish-other\n");
        clean();
    }
}

#[test]
fn without_a_key_an_edit_to_a_sealed_file_is_refused_and_nothing_is_lost() {
    for git in gits() {
        let pair = Pair::keyless(&git);
        let (sandbox, repository) = (&pair.sandbox, "sealed/repo");
        sandbox.sh(repository, "cp .env ../sealed; printf 'A=canary-swordfish\\n' >.env");
        for words in [&["add", ".env"][..], &["commit", "-qam", "x"], &["stash", "-q"], &["add", "-A"]] {
            let refused = sandbox.run(repository, &[&["git"], words].concat());
            let told = format!("{words:?} {refused:?}");
            assert!(matches!(refused.code, Some(1 | 128)), "{told}");
            assert!(refused.err.contains(".env cannot be encrypted, so git does not take it: "), "{told}");
            assert!(refused.err.contains("no key of yours opens the version that git has"), "{told}");
            assert!(refused.err.contains("hint: copy it away first"), "{told}");
            assert_eq!(sandbox.read("sealed/repo/.env"), "A=canary-swordfish\n");
        }
        // The ciphertext itself, changed, is no better.
        sandbox.sh(repository, "sed s/A=ENC/A=canary-swordfish/ ../sealed >.env");
        let refused = sandbox.run(repository, &["git", "add", ".env"]);
        assert!(refused.code == Some(128) && refused.err.contains("no key of yours"), "{refused:?}");
        sandbox.sh(repository, "git checkout -q .env; cmp .env ../sealed");
        assert_eq!(sandbox.ok(repository, &["git", "status", "--porcelain"]), "");
        sandbox.no_canary_in_objects(repository);
    }
}
