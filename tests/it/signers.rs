//! A server that takes changes of readers and rules only under a signature: real pushes, real ssh keys, and someone
//! who may push but not sign.

use crate::sandbox::{Done, Sandbox};

/// The owner's clone `lab` with a signing key, a server `server.git` that asks for it, and `other`, a clone of Mallory's,
/// who has a signing key that nobody allowed.
fn signed() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.lab();
    sandbox.sh("lab", "echo A=1 >.env; git add -A; git commit -qm one");
    sandbox.sh(
        ".",
        "git init -q --bare server.git; cd server.git; hlx init; cd ..
         for who in owner mallory; do ssh-keygen -q -t ed25519 -N '' -f sign-$who; hlx keys generate -o $who.key >$who.pub; done
         printf 'test@example.org %s' \"$(cat sign-owner.pub)\" >allowed
         cd lab; git remote add origin ../server.git; git push -q origin main app; git branch -q -u origin/app
         git -C ../server.git config hlx.allowedSigners \"$PWD/../allowed\"",
    );
    sandbox.sh(
        ".",
        "git clone -q -b app server.git other; git -C other config user.name Mallory
         cd other; hlx init 2>/dev/null; git config core.hooksPath /nowhere",
    );
    for (clone, key) in [("lab", "owner"), ("other", "mallory")] {
        let sign = format!(
            "git config gpg.format ssh; git config commit.gpgsign true; git config user.signingkey \"$PWD/../sign-{key}\""
        );
        sandbox.sh(clone, &sign);
    }
    sandbox
}

/// Encrypts a file anew for Mallory too, by rules that are in no commit.
const FOR_MALLORY: &str = "sed -i \"s/^      - age1/      - $(cat ../mallory.pub)\\n&/\" .sops.yaml; git add FILE; git checkout -q .sops.yaml";

impl Sandbox {
    fn push_to(&self, clone: &str, what: &str) -> Done {
        self.run(clone, &["git", "push", "-q", "-f", "origin", what])
    }

    #[track_caller]
    fn taken(&self, clone: &str, line: &str, what: &str) {
        self.sh(clone, line);
        let done = self.push_to(clone, what);
        assert!(done.code == Some(0), "{line}: {done:?}");
    }

    /// Does something in a clone, and asserts that its push is refused for want of a signature. Gives what was said.
    #[track_caller]
    fn not_taken(&self, clone: &str, line: &str, what: &str) -> String {
        self.sh(clone, line);
        let before = self.ok("server.git", &["git", "for-each-ref"]);
        let done = self.push_to(clone, what);
        assert!(done.code != Some(0) && done.err.contains("no"), "{line}: {done:?}");
        assert!(done.err.contains("signed that") || done.err.contains("no signature"), "{line}: {done:?}");
        assert_eq!(self.ok("server.git", &["git", "for-each-ref"]), before);
        done.err
    }
}

#[test]
fn a_file_that_comes_anew_is_for_whom_the_rules_name_or_signed() {
    let sandbox = signed();
    let add = |file: &str| FOR_MALLORY.replace("FILE", file);
    // Gone in one push, and there again in the next: as the rules say it may.
    sandbox.taken("other", "git rm -q .env; git commit -qm 'no longer used'", "app");
    let said =
        sandbox.not_taken("other", &format!("echo A=2 >.env; {}; git commit -qm again", add(".env")), "app");
    assert!(said.contains(".env: ") && said.contains("git commit -S"), "{said}");
    sandbox.taken(
        "other",
        "git reset -q --hard HEAD~1; echo A=2 >.env; git add .env; git commit -qm again",
        "app",
    );
    // Both in one push, though its first and last commit have the same name for it.
    sandbox.not_taken(
        "other",
        &format!(
            "git rm -q .env; git commit -qm gone; echo A=3 >.env; {}; git commit -qm again",
            add(".env")
        ),
        "app",
    );
    // Under another name, with its readers, and with one more.
    sandbox.taken(
        "other",
        "git reset -q --hard origin/app; git mv .env prod.env; git commit -qm renamed",
        "app",
    );
    sandbox.not_taken(
        "other",
        &format!("git rm -q prod.env; echo A=4 >.env; {}; git commit -qm 'renamed back'", add(".env")),
        "app",
    );
    // In the place of a file in clear, and where there was none.
    sandbox.not_taken(
        "other",
        &format!("git reset -q --hard origin/app; echo X=1 >new.env; {}; git commit -qm new", add("new.env")),
        "app",
    );
    sandbox.not_taken(
        "other",
        "git show HEAD:new.env >../sealed; git reset -q --hard origin/app; cp ../sealed README.md; git add .; git commit -qm docs",
        "app",
    );
    // The owner may, as the signature says; and so may who follows the owner's new rules.
    sandbox.taken(
        "lab",
        "git pull -q; hlx recipients accept --yes; hlx recipients add $(cat ../mallory.pub); echo B=1 >b.env; git add .; git commit -qm b; git config commit.gpgsign false; echo C=1 >c.env; git add .; git commit -qm c; echo A=5 >prod.env; git commit -qam a",
        "app",
    );
    assert!(
        sandbox
            .ok("server.git", &["git", "cat-file", "blob", "app:c.env"])
            .contains(sandbox.read("mallory.pub").trim())
    );
}

#[test]
fn a_file_of_several_key_groups_does_not_become_one_of_either() {
    let sandbox = signed();
    let [owner, mallory] =
        ["owner", "mallory"].map(|name| sandbox.read(&format!("{name}.pub")).trim().to_owned());
    let list = sandbox.ok("lab", &["hlx", "keys", "list"]);
    let own = list.split_whitespace().find(|word| word.starts_with("age1")).unwrap();
    sandbox.write(
        "lab/.sops.yaml",
        format!(
            "creation_rules:\n  - key_groups:\n      - age: [{own}]\n      - age: [{owner}, {mallory}]\n"
        ),
    );
    sandbox.taken("lab", "echo G=1 >g.env; git add .; git commit -qm groups", "app");
    let one = format!("creation_rules:\n  - age: [{own}, {owner}, {mallory}]\n");
    sandbox.sh("other", "git pull -q");
    sandbox.sh(
        ".",
        "git init -q away; cd away; hlx init 2>/dev/null; echo '*.env filter=hlx -text' >.gitattributes",
    );
    sandbox.write("away/.sops.yaml", one);
    sandbox.sh("away", "echo G=2 >g.env; git add g.env; git cat-file blob :g.env >../sealed");
    sandbox.not_taken(
        "other",
        "git update-index --cacheinfo 100644,$(git hash-object -w --no-filters ../sealed),g.env; git commit -qm 'new value'",
        "app",
    );
}

#[test]
fn what_was_signed_for_one_branch_counts_for_no_other() {
    let sandbox = signed();
    // A service that Mallory reads, and a branch of `app` where a change of readers is tried out: both signed.
    sandbox.taken("lab", "hlx new play -r $(cat ../mallory.pub); git switch -q play", "play");
    sandbox.taken("lab", "git switch -q -c topic app; hlx recipients add $(cat ../mallory.pub)", "topic");
    sandbox.sh("other", "git fetch -q; git config commit.gpgsign false");
    let start = "git checkout -q --detach origin/app";
    let merge = "git merge -q --allow-unrelated-histories --no-commit -s ours";
    for way in [
        // Onto the branch: its rules are then those of the other.
        format!("{merge} origin/play; git checkout -q origin/play -- .sops.yaml; git commit -qm merge"),
        // The other way round, which leads on from the branch as well.
        format!(
            "git checkout -q --detach origin/play; {merge} origin/app; git rm -qrf .; git checkout -q origin/app -- .; git checkout -q origin/play -- .sops.yaml; git commit -qm merge"
        ),
        // Its commits as they are.
        "git checkout -q --detach origin/play".to_owned(),
        "git checkout -q --detach origin/topic".to_owned(),
        "git merge -q --no-ff -m merge origin/topic".to_owned(),
        // With a signed commit of the branch's own in between, under which it stands no more.
        "git checkout -q --detach origin/topic; git commit -q --allow-empty -m more".to_owned(),
    ] {
        sandbox.not_taken("other", &format!("{start}; {way}"), "HEAD:app");
    }
    // Nor by way of a new branch, on which both are mixed, or by taking the branch away first.
    sandbox.not_taken(
        "other",
        &format!(
            "{start}; {merge} origin/play; git checkout -q origin/play -- .sops.yaml; git commit -qm merge"
        ),
        "HEAD:refs/heads/mixed",
    );
    let said = sandbox.not_taken("other", start, ":app");
    assert!(said.contains("refs/heads/app has rules") && said.contains("git branch -D"), "{said}");
    // The owner's own merge of the same is signed, and so is a pull.
    sandbox.taken("lab", "git switch -q app; git merge -q --no-ff -m readers topic", "app");
    sandbox.taken(
        "other",
        "git checkout -q -B app origin/app; git pull -q; hlx recipients accept --yes; echo O=1 >o.env; git add o.env; git commit -qm o",
        "app",
    );
    sandbox.taken(
        "lab",
        "hlx recipients accept --yes; hlx recipients remove --yes $(cat ../mallory.pub); git pull -q --no-rebase --no-edit 2>/dev/null || { git add -A; git commit -qm pulled; }",
        "app",
    );
    // Branches without anything encrypted come and go.
    sandbox.taken(
        "other",
        "git checkout -q --orphan notes; git rm -qrf .; echo n >n; git add n; git commit -qm n",
        "notes",
    );
    sandbox.taken("other", "true", ":notes");
}

#[test]
fn a_branch_that_is_new_is_signed_where_it_begins() {
    let sandbox = signed();
    sandbox.taken("other", "git branch -q topic origin/app", "topic");
    sandbox.taken(
        "other",
        "git switch -q topic; echo B=1 >b.env; git add b.env; git commit -qm b",
        "topic:topic2",
    );
    for way in [
        "hlx new evil -r $(cat ../mallory.pub); git switch -q evil",
        "git switch -q -c sly origin/app; hlx recipients add $(cat ../mallory.pub)",
        "git switch -q --orphan empty; git commit -q --allow-empty -m begin; git merge -q --allow-unrelated-histories -s ours --no-commit origin/app; git checkout -q origin/app -- .; git commit -qm all",
    ] {
        sandbox.not_taken("other", way, "HEAD:refs/heads/new");
    }
    sandbox.taken("lab", "hlx new web", "web");
}
