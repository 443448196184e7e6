//! What others push counts only once it was accepted: data keys, readers, rules.

use std::fs;

use hlx::crypto::DataKey;
use hlx::crypto::mac::Coverage;
use hlx::format::Format;
use hlx::keys::Plugins;
use hlx::policy::Rule;
use hlx::sops::{Basis, KeyGroups, Sealed, Stamp, is_sealed, seal};

use crate::sandbox::{CANARY, Done, Sandbox};

/// An owner's clone `lab`, a server `hub.git`, and `other`: the clone of somebody who can push.
fn shared() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.lab();
    sandbox.sh("lab", "echo A=1 >.env; git add .env; git commit -qm one");
    sandbox.sh(
        ".",
        "git clone -q --bare lab hub.git; cd lab; git remote add origin ../hub.git; git fetch -q; git branch -q -u origin/app",
    );
    sandbox.sh(".", "git clone -q -b app hub.git other; git -C other config user.name Mallory");
    sandbox
}

impl Sandbox {
    /// Makes a key in a file of its own; gives the public one.
    fn stranger(&self, name: &str) -> String {
        self.ok(".", &["hlx", "keys", "generate", "--output", name]).trim().to_owned()
    }

    /// Commits and pushes what stands in the other clone.
    fn push(&self) {
        self.sh("other", "git add .; git commit -qm 'tidy up'; git push -q");
        self.sh("lab", "git pull -q");
    }

    /// A line of `.sops.yaml` with one more reader, in a clone.
    fn name_reader(&self, clone: &str, key: &str) {
        let path = format!("{clone}/.sops.yaml");
        let config = self.read(&path);
        let at = config.find("      - age1").unwrap();
        self.write(&path, format!("{}      - {key}\n{}", &config[..at], &config[at..]));
    }

    /// A file that is sealed for the owner alone, under a data key that somebody else knows.
    fn forge(&self, known: &DataKey, plaintext: &[u8]) -> Vec<u8> {
        let list = self.ok("lab", &["hlx", "keys", "list"]);
        let owner = list.split_whitespace().find(|word| word.starts_with("age1")).unwrap();
        let envelope = Plugins::default().wrap_part(&owner.parse().unwrap(), known.expose()).unwrap();
        let rule = Rule::from_fields(|_| None).unwrap();
        let (key, groups) = (known.duplicate(), KeyGroups::one(vec![envelope]));
        let basis = Basis::New { key, groups, rule, coverage: Coverage::All };
        let mut random = |buffer: &mut [u8]| getrandom::fill(buffer).unwrap();
        let stamp = Stamp { now: "2026-01-01T00:00:00Z".into(), entropy: &mut random };
        seal(plaintext, Format::Dotenv, &basis, stamp).unwrap()
    }

    #[track_caller]
    fn refused(&self, line: &str, words: &[&str]) -> Done {
        let done = self.run("lab", &["sh", "-euc", line]);
        assert_ne!(done.code, Some(0), "{line}: {done:?}");
        for word in words {
            assert!(done.err.contains(word), "`{word}` is missing in: {done:?}");
        }
        assert!(!done.err.contains(CANARY));
        done
    }
}

#[test]
fn whoever_knows_only_public_keys_cannot_read_what_is_added_to_a_file_of_theirs() {
    let sandbox = shared();
    let known = DataKey::random(&mut |buffer| getrandom::fill(buffer).unwrap());
    let forged = sandbox.forge(&known, b"A=1\nB=2\n");
    fs::write(sandbox.path("other/.env"), &forged).unwrap();
    sandbox.push();
    assert_eq!(sandbox.read("lab/.env"), "A=1\nB=2\n", "unchanged it passes as it is");
    assert_eq!(sandbox.sh("lab", "touch .env; git status --porcelain"), "");

    let pending = sandbox.run("lab", &["hlx", "recipients", "accept"]);
    assert!(pending.code == Some(5) && pending.out.contains("Mallory"), "{pending:?}");
    sandbox.sh("lab", &format!("echo C={CANARY} >>.env"));
    let added = sandbox.run("lab", &["git", "add", ".env"]);
    assert!(added.code == Some(0) && added.err.contains("came from another clone"), "{added:?}");
    sandbox.sh("lab", "git commit -qm more; git push -q");
    let blob = sandbox.ok("lab", &["git", "cat-file", "blob", "HEAD:.env"]);
    assert!(is_sealed(blob.as_bytes()));
    assert!(Sealed::parse(blob.as_bytes()).unwrap().open(&known).is_err(), "the attacker can read it");
    assert_eq!(
        sandbox.sh(
            "lab",
            "git clone -q ../hub.git ../fresh -b app; cd ../fresh; hlx init 2>/dev/null >&2; cat .env"
        ),
        format!("A=1\nB=2\nC={CANARY}\n")
    );
    // From now on the key is the clone's own: one value changes its own line only.
    sandbox.sh("lab", "sed -i s/A=1/A=10/ .env; git add .env");
    let changed = sandbox.ok("lab", &["git", "diff", "--no-textconv", "--cached", "--numstat"]);
    // `lastmodified` is the same within a second.
    assert!(changed.starts_with("3\t3\t") || changed.starts_with("2\t2\t"), "{changed}");
    // The same holds for a change without a checkout.
    fs::write(sandbox.path("other/.env"), &forged).unwrap();
    sandbox.sh("lab", "git reset -q --hard");
    sandbox.sh(
        "other",
        "git fetch -q; git reset -q --soft origin/app; git add .; git commit -qm again; git push -q",
    );
    sandbox.sh("lab", "git pull -q; git switch -q main");
    let set = sandbox.feed("lab", &["hlx", "set", "app:.env", "C"], CANARY);
    assert_eq!(set.code, Some(0), "{set:?}");
    let blob = sandbox.ok("lab", &["git", "cat-file", "blob", "app:.env"]);
    assert!(is_sealed(blob.as_bytes()) && blob.contains("C=ENC["), "{blob}");
    assert!(Sealed::parse(blob.as_bytes()).unwrap().open(&known).is_err(), "the attacker can read it");
}

#[test]
fn a_reader_whom_somebody_names_counts_once_accepted() {
    let sandbox = shared();
    let key = sandbox.stranger("mallory.txt");
    sandbox.name_reader("other", &key);
    sandbox.push();
    sandbox.sh("lab", &format!("echo A={CANARY} >.env; git add .env; echo B={CANARY} >b.env"));
    sandbox.refused(
        "git add b.env",
        &["`app`", "have not accepted", &key[..10], "hlx recipients accept --branch app"],
    );
    sandbox.refused(
        "hlx recipients add age1sld56zg0pxytug34k8a0tc0ja5f5t9s57f04dsml7d38r9rhjp2qlkkvgu",
        &["not accepted", "recipients accept"],
    );
    let shown = sandbox.run("lab", &["hlx", "recipients", "accept"]);
    assert_eq!(shown.code, Some(5), "without a terminal it asks for --yes: {shown:?}");
    for word in [&key, "Mallory", "tidy up"] {
        assert!(shown.out.contains(word), "{word}: {shown:?}");
    }
    sandbox.refused("git add b.env", &["have not accepted"]);
    sandbox.ok("lab", &["hlx", "recipients", "accept", "--yes"]);
    sandbox.sh("lab", "git add b.env; git commit -qm b");
    let sealed = sandbox.ok("lab", &["git", "cat-file", "blob", "HEAD:b.env"]);
    assert!(sealed.contains(&key));
    assert!(sandbox.run("lab", &["hlx", "recipients", "accept"]).err.contains("nothing waits"));
}

#[test]
fn a_reader_whom_somebody_lets_in_gets_no_later_value_unless_accepted() {
    let sandbox = shared();
    let key = sandbox.stranger("friend.txt");
    sandbox.sh("other", &format!("hlx init 2>/dev/null; hlx recipients add {key}; git push -q"));
    sandbox.sh("lab", "git pull -q");
    assert_eq!(sandbox.sh("lab", "touch .env; git status --porcelain; cat .env"), "A=1\n");
    sandbox.sh("lab", &format!("echo A={CANARY} >.env"));
    sandbox.refused("git add .env", &["have not accepted"]);
    let edited = sandbox.feed("lab", &["hlx", "set", "app:.env", "A"], CANARY);
    assert!(edited.code == Some(5) && edited.err.contains("have not accepted"), "{edited:?}");
    sandbox.ok("lab", &["hlx", "recipients", "accept", "-y"]);
    sandbox.sh("lab", "git add .env; git commit -qm mine");
    let blob = sandbox.ok("lab", &["git", "cat-file", "blob", "HEAD:.env"]);
    assert!(blob.contains(&key));
    sandbox.no_canary_in_objects("lab");
}

#[test]
fn a_rule_that_somebody_weakens_leaves_nothing_in_clear() {
    for rule in ["encrypted_regex: ^nothing$", "unencrypted_regex: ^SECRET", "encrypted_suffix: _sealed"] {
        let sandbox = shared();
        let config = sandbox.read("other/.sops.yaml").replace("  - age:", &format!("  - {rule}\n    age:"));
        sandbox.write("other/.sops.yaml", config);
        sandbox.push();
        sandbox.write("lab/new.env", format!("SECRET={CANARY}\nnothing=1\nx_sealed=1\n"));
        sandbox.refused("git add new.env", &["`SECRET` would stay in clear", "recipients accept"]);
        sandbox.no_canary_in_objects("lab");
        let shown = sandbox.run("lab", &["hlx", "recipients", "accept"]);
        assert!(shown.out.contains("other rules") && shown.out.contains("Mallory"), "{shown:?}");
        sandbox.ok("lab", &["hlx", "recipients", "accept", "-y"]);
        sandbox.ok("lab", &["git", "add", "new.env"]);
    }
}

#[test]
fn what_the_owner_writes_counts_at_once() {
    let sandbox = shared();
    let (one, two) = (sandbox.stranger("one.txt"), sandbox.stranger("two.txt"));
    sandbox.name_reader("lab", &one);
    sandbox.sh("lab", "echo B=1 >b.env; git add .; git commit -qm 'one may read'; echo C=1 >c.env; git add c.env; git commit -qm c");
    // Committed alone, before any file is sealed by it.
    sandbox.name_reader("lab", &two);
    let config = sandbox.read("lab/.sops.yaml").replace("  - age:", "  - encrypted_regex: ^D\n    age:");
    sandbox.write("lab/.sops.yaml", config);
    sandbox.sh("lab", "git commit -qam 'two may read, and D is secret'; git push -q");
    sandbox.write("lab/d.env", "D=1\nE=clear\n");
    sandbox.sh("lab", "git add d.env; git commit -qm d");
    let sealed = sandbox.ok("lab", &["git", "cat-file", "blob", "HEAD:d.env"]);
    assert!(sealed.contains(&one) && sealed.contains(&two) && sealed.contains("E=clear"), "{sealed}");
    sandbox.sh("lab", &format!("hlx recipients add --name three {}", sandbox.stranger("three.txt")));
    sandbox.sh("lab", "hlx new web; git switch -q web; echo X=1 >.env; git add .env; git commit -qm x");
    assert!(sandbox.run("lab", &["hlx", "recipients", "accept", "--all"]).err.contains("nothing waits"));
}

#[test]
fn a_new_branch_of_somebody_waits_unless_one_is_its_only_reader() {
    let sandbox = shared();
    let key = sandbox.stranger("mallory.txt");
    sandbox.sh("other", "hlx init 2>/dev/null; hlx new known; git push -q origin known");
    sandbox.sh("other", &format!("hlx new odd -r {key}; git push -q origin odd"));
    sandbox.sh("lab", "git fetch -q; git switch -q known; echo K=1 >>.env; git commit -qam k");
    sandbox.sh("lab", "git switch -q odd; echo O=1 >>.env");
    sandbox.refused("git commit -qam o", &["`odd`", "have not accepted"]);
    sandbox.ok("lab", &["hlx", "recipients", "accept", "-y", "--branch", "odd"]);
    sandbox.sh("lab", "git commit -qam o");
    // A weak rule on a branch that nobody here knows is no better than on any other.
    sandbox.sh("other", "hlx new weak");
    sandbox.sh("other", "git switch -q weak; sed -i 's/  - age:/  - encrypted_regex: ^nothing$\\n    age:/' .sops.yaml; git commit -qam tidy; git push -q origin weak");
    sandbox.sh("lab", "git fetch -q; git switch -q weak");
    sandbox.write("lab/new.env", format!("SECRET={CANARY}\nnothing=1\n"));
    sandbox.refused("git add new.env", &["`SECRET` would stay in clear"]);
    let shown = sandbox.run("lab", &["hlx", "recipients", "accept"]);
    assert!(shown.out.contains("other rules"), "{shown:?}");
}

#[test]
fn what_somebody_pushed_is_not_the_owners_however_it_gets_into_a_commit() {
    for way in [
        "git pull -q; git mv .env prod.env; git commit -qm rename",
        "git fetch -q; git switch -q -c work; git merge -q --squash origin/app; git commit -qm squash; git mv .env prod.env; git commit -qm moved",
        "git fetch -q; git cherry-pick -n origin/app; git commit -qm picked; git mv .env prod.env; git commit -qm moved",
        "git fetch -q; git switch -q -c work; git checkout -q origin/app -- .env; git commit -qm taken; git mv .env prod.env; git commit -qm moved",
        "git pull -q; hlx track --whole .env; git add -A; git commit -qm whole; git mv .env prod.env; git commit -qm moved",
    ] {
        let sandbox = shared();
        let known = DataKey::random(&mut |buffer| getrandom::fill(buffer).unwrap());
        fs::write(sandbox.path("other/.env"), sandbox.forge(&known, b"A=2\n")).unwrap();
        sandbox.sh("other", "git add .; git commit -qm tidy; git push -q");
        sandbox.sh("lab", way);
        sandbox.sh("lab", &format!("echo NEW={CANARY} >>prod.env; git add -A; git commit -qm more"));
        let blob = sandbox.ok("lab", &["git", "cat-file", "blob", "HEAD:prod.env"]);
        assert!(is_sealed(blob.as_bytes()), "{way}: {blob}");
        assert!(
            Sealed::parse(blob.as_bytes()).unwrap().open(&known).is_err(),
            "{way}: the attacker can read it"
        );
    }
}

#[test]
fn nothing_is_trusted_more_on_a_branch_or_commit_without_a_name_of_its_own() {
    for way in [
        "git switch -q -c fix origin/app",
        "git checkout -q origin/app",
        "git worktree add -q --detach ../tree origin/app; cd ../tree",
    ] {
        let sandbox = shared();
        let config =
            sandbox.read("other/.sops.yaml").replace("  - age:", "  - encrypted_regex: ^nothing$\n    age:");
        sandbox.write("other/.sops.yaml", config);
        sandbox.sh("other", "git add .; git commit -qm tidy; git push -q");
        sandbox.sh("lab", "git fetch -q");
        let done = sandbox.run(
            "lab",
            &[
                "sh",
                "-euc",
                &format!("{way}; printf 'SECRET={CANARY}\nnothing=1\n' >new.env; git add new.env"),
            ],
        );
        assert!(done.code != Some(0) && done.err.contains("`SECRET` would stay in clear"), "{way}: {done:?}");
        sandbox.no_canary_in_objects("lab");
        // A branch of the owner's own goes by what is accepted for the one it came from.
        sandbox.sh("lab", "git switch -q app 2>/dev/null || true; git switch -q -c mine app; echo M=1 >>.env; git commit -qam m; git switch -q --detach; echo N=1 >>.env; git commit -qam n");
    }
}

#[test]
fn rules_of_somebodys_are_not_accepted_with_a_comment_of_the_owners() {
    let sandbox = shared();
    let config =
        sandbox.read("other/.sops.yaml").replace("  - age:", "  - encrypted_regex: ^nothing$\n    age:");
    sandbox.write("other/.sops.yaml", config);
    sandbox.push();
    sandbox.sh("lab", "echo '# note' >>.sops.yaml; git commit -qam note; git push -q");
    sandbox.write("lab/new.env", format!("SECRET={CANARY}\nnothing=1\n"));
    sandbox.refused("git add new.env", &["`SECRET` would stay in clear"]);
    // Nor is a rule for a path that had none.
    let sandbox = shared();
    let config = sandbox.read("lab/.sops.yaml").replace("  - age:", "  - path_regex: ^\\.env$\n    age:");
    sandbox.write("lab/.sops.yaml", &config);
    sandbox.sh("lab", "git commit -qam 'one rule'; git push -q");
    sandbox.sh("other", "git pull -q");
    let more =
        config.replace("creation_rules:\n", "").replace("path_regex: ^\\.env$", "encrypted_regex: ^nothing$");
    sandbox.write("other/.sops.yaml", config + &more);
    sandbox.push();
    sandbox.write("lab/new.env", format!("SECRET={CANARY}\nnothing=1\n"));
    sandbox.refused("git add new.env", &["`SECRET` would stay in clear"]);
}

#[test]
fn a_data_key_is_accepted_for_its_readers_only() {
    let sandbox = shared();
    let key = sandbox.stranger("server.txt");
    sandbox.sh("lab", &format!("hlx new srv -r {key}; git switch -q srv; echo S=1 >.env; git commit -qam s; git push -q origin srv; git switch -q app"));
    // The server knows the data key of its branch, and seals another branch's file under it, for the owner alone.
    let envelope = sandbox.ok("lab", &["git", "cat-file", "blob", "srv:.env"]);
    let opened = Sealed::parse(envelope.as_bytes()).unwrap();
    let identity = fs::read_to_string(sandbox.path("server.txt")).unwrap();
    let identity: age::x25519::Identity =
        identity.lines().find(|line| line.starts_with("AGE-")).unwrap().parse().unwrap();
    let envelopes = opened.groups().groups().iter().flat_map(|group| &group.envelopes);
    let part = envelopes
        .filter_map(|envelope| envelope.unwrap(std::iter::once(&identity as &dyn age::Identity)).unwrap())
        .next();
    let known = DataKey::from_bytes(part.unwrap().expose()).unwrap();
    fs::write(sandbox.path("other/.env"), sandbox.forge(&known, b"A=1\nB=2\n")).unwrap();
    sandbox.push();
    sandbox.sh("lab", &format!("echo NEW={CANARY} >>.env; git commit -qam more"));
    let blob = sandbox.ok("lab", &["git", "cat-file", "blob", "HEAD:.env"]);
    assert!(Sealed::parse(blob.as_bytes()).unwrap().open(&known).is_err(), "the server can read it");
}

#[test]
fn a_reader_who_was_taken_out_does_not_come_back_unseen() {
    let sandbox = shared();
    let key = sandbox.stranger("gone.txt");
    sandbox.sh("lab", &format!("hlx recipients add {key}; git push -q"));
    sandbox.sh("other", "git pull -q; git show --no-textconv HEAD:.env >../old");
    sandbox.sh("lab", &format!("grep -v {key} .sops.yaml >../x; cp ../x .sops.yaml; git rm -q --cached .env; git commit -qam 'out'; git add .env; git commit -qm 'sealed anew'; git push -q"));
    sandbox.sh("other", "git pull -q; cp ../old .env");
    sandbox.push();
    sandbox.sh("lab", &format!("echo NEW={CANARY} >>.env"));
    sandbox.refused("git add .env", &["have not accepted"]);
}

#[test]
fn a_branch_with_a_long_name_stops_nobody() {
    let sandbox = shared();
    let name = "é".repeat(60);
    sandbox.sh("other", &format!("git branch {name}; git push -q origin {name}"));
    sandbox
        .sh(".", "git clone -q -b app hub.git third; cd third; hlx init; echo T=1 >>.env; git commit -qam t");
    sandbox.sh("third", &format!("git switch -q {name}; echo U=1 >>.env; git commit -qam u"));
}

#[test]
fn a_rotation_takes_over_nothing_that_somebody_brought() {
    let sandbox = shared();
    let (key, nas) = (sandbox.stranger("mallory.txt"), sandbox.stranger("nas.txt"));
    sandbox.sh("lab", "hlx new web; git push -q origin web");
    sandbox.name_reader("other", &key);
    sandbox.push();
    sandbox.sh("other", &format!("hlx init 2>/dev/null; hlx new odd -r {key}; git push -q origin odd"));
    let tips = || sandbox.ok("lab", &["git", "for-each-ref", "refs/heads"]);
    let before = tips();
    for (line, words) in [
        ("hlx rotate --yes", &["`app`", "recipients accept --branch app", "nothing was changed"][..]),
        ("hlx rotate --data-keys --dry-run", &["`app`"]),
        ("hlx rotate --all --yes", &["`app`, `odd`", "accept --branch app --branch odd"]),
        (&format!("hlx recipients add {nas} --all"), &["`app`, `odd`"]),
        (&format!("hlx recipients remove {key} --all"), &["`app`, `odd`"]),
    ] {
        assert_eq!(sandbox.refused(line, words).code, Some(5), "{line}");
        assert_eq!(tips(), before, "{line}");
    }
    sandbox.ok("lab", &["hlx", "rotate", "--branch", "web"]);
    sandbox.ok("lab", &["hlx", "recipients", "accept", "-y", "--branch", "app", "--branch", "odd"]);
    sandbox.ok("lab", &["hlx", "rotate", "--all", "--yes"]);
    assert!(sandbox.ok("lab", &["git", "show", "app:.env"]).contains(&key));
}

#[test]
fn rules_of_one_branch_are_not_those_of_all_that_have_its_history() {
    let sandbox = shared();
    // The owner's, and the first by name.
    sandbox.sh("lab", "git switch -qc a-side; sed -i 's/  - age:/  - encrypted_regex: ^A\\n    age:/' .sops.yaml; git commit -qam a; git push -q origin a-side; git switch -q app");
    sandbox.sh("other", "git fetch -q; git push -q origin origin/a-side:refs/heads/kin");
    sandbox.sh("lab", "git fetch -q");
    sandbox.refused("hlx rotate --branch kin", &["`kin`", "have not accepted"]);
    sandbox.ok("lab", &["hlx", "rotate", "--branch", "app", "--branch", "a-side"]);
    sandbox.ok("lab", &["hlx", "recipients", "accept", "-y", "--branch", "kin"]);
    sandbox.ok("lab", &["hlx", "rotate", "--branch", "kin"]);
}

#[test]
fn after_a_rotation_the_clone_goes_on_as_before() {
    let sandbox = shared();
    let nas = sandbox.stranger("nas.txt");
    sandbox.sh("lab", "hlx new web; git push -q origin web");
    for (round, line) in [
        format!("hlx recipients add {nas} --name nas --all"),
        // `twin` has no word of its own, and goes by `app`.
        "git branch twin app; hlx rotate --all --push".to_owned(),
        "hlx recipients remove nas --all".to_owned(),
        "hlx rotate --data-keys".to_owned(),
    ]
    .iter()
    .enumerate()
    {
        sandbox.sh("lab", line);
        let branches = if round == 0 { &["app", "web"][..] } else { &["app", "web", "twin"] };
        sandbox.goes_on("lab", branches, &round.to_string());
    }
    // The new keys are those for new files too.
    let key_of = |path: &str| {
        let blob = sandbox.ok("lab", &["git", "show", &format!("app:{path}")]);
        blob.lines().find(|line| line.starts_with("sops_age__list_0__map_enc=")).unwrap().to_owned()
    };
    assert_eq!(key_of(".env"), key_of("new3.env"));
}

#[test]
fn a_merge_lets_nobody_in_who_was_not_accepted() {
    let sandbox = shared();
    let key = sandbox.stranger("friend.txt");
    sandbox.sh("lab", "printf 'A=1\\n#\\n#\\nB=1\\n' >.env; git commit -qam two; git push -q");
    sandbox.sh("other", "git pull -q; hlx init 2>/dev/null; sed -i s/B=1/B=2/ .env; git commit -qam b");
    sandbox.sh("other", &format!("hlx recipients add {key}; git push -q"));
    sandbox.sh("lab", &format!("sed -i s/A=1/A={CANARY}/ .env; git commit -qam a; git fetch -q"));
    sandbox.refused("git merge -q origin/app", &["have not accepted", "recipients accept"]);
    sandbox.ok("lab", &["hlx", "recipients", "accept", "-y"]);
    sandbox.sh("lab", "git merge --abort; git merge -q -m both origin/app");
    assert_eq!(sandbox.read("lab/.env"), format!("A={CANARY}\n#\n#\nB=2\n"));
    let blob = sandbox.ok("lab", &["git", "cat-file", "blob", "HEAD:.env"]);
    assert!(blob.contains(&key));
    assert_eq!(sandbox.sh("lab", "git status --porcelain"), "");
}

#[test]
fn two_people_edit_in_turns_without_a_word() {
    // One clone is set up before its owner is let in, the other after.
    for early in [true, false] {
        let sandbox = shared();
        fs::create_dir(sandbox.path("bob")).unwrap();
        let home = sandbox.path("bob").display().to_string();
        let bob = |line: &str| {
            let done = sandbox.run_in("other", &["sh", "-euc", line], &[("HOME", &home)]);
            assert!(done.code == Some(0) && !done.err.contains("another clone"), "{line}: {done:?}");
            done.out
        };
        bob(
            "hlx keys generate >../key; git config --global user.name Bob; git config --global user.email bob@example.org; git config --global protocol.file.allow always",
        );
        if early {
            bob("hlx init");
        }
        sandbox.sh("lab", "hlx recipients add $(cat ../key); git push -q");
        bob("git pull -q; hlx init");
        for turn in 0..3 {
            bob(&format!("echo B{turn}=1 >>.env; git commit -qam bob; git push -q"));
            let pulled = sandbox.run(
                "lab",
                &[
                    "sh",
                    "-euc",
                    &format!("git pull -q; echo A{turn}=1 >>.env; git commit -qam mine; git push -q"),
                ],
            );
            assert!(pulled.code == Some(0) && pulled.err.is_empty(), "{early} {turn}: {pulled:?}");
            bob("git pull -q");
        }
        assert_eq!(bob("cat .env"), "A=1\nB0=1\nA0=1\nB1=1\nA1=1\nB2=1\nA2=1\n");
    }
}

#[test]
fn a_data_key_that_was_replaced_can_still_be_accepted() {
    let sandbox = shared();
    // A branch of one's own, made elsewhere, with a data key of its own.
    sandbox.sh("other", "hlx init 2>/dev/null; hlx new web; git push -q origin web");
    let edit = "git pull -q; echo X=1 >>.env; git commit -qam mine; git push -q";
    sandbox.sh("lab", "git fetch -q; git switch -q web");
    let first = sandbox.run("lab", &["sh", "-euc", edit]);
    assert!(first.err.contains("came from another clone"), "{first:?}");
    let shown = sandbox.ok("lab", &["hlx", "recipients", "accept", "--yes"]);
    assert!(
        shown.contains(".env was under a data key from elsewhere, until") && shown.contains("Mallory"),
        "{shown}"
    );
    assert!(sandbox.run("lab", &["hlx", "recipients", "accept"]).err.contains("nothing waits"));
    // The other side has it under its key again, and that is fine now.
    let theirs = "git switch -q web; git pull -q origin web; echo Y=1 >>.env; git commit -qam theirs; git push -q origin web";
    assert!(sandbox.run("other", &["sh", "-euc", theirs]).err.contains("came from another clone"));
    let second = sandbox.run("lab", &["sh", "-euc", edit]);
    assert!(second.code == Some(0) && second.err.is_empty(), "{second:?}");
}

#[test]
fn protection_that_somebody_took_away_is_missed_by_the_owners_next_commit() {
    for (theirs, file) in [
        ("sed -i '/filter=hlx/d' .gitattributes; printf '# fill in\\nA=changeme\\n' >.env", ".env"),
        ("git rm -q .env; sed -i '/filter=hlx/d' .gitattributes", ".env"),
        ("sed -i '/^\\*.env/d' .gitattributes", "db.env"),
        ("mkdir conf; echo '*.env -filter' >conf/.gitattributes", "conf/x.env"),
    ] {
        let sandbox = shared();
        sandbox.sh("other", &format!("{theirs}; git add -A; git commit -qm tidy; git push -q"));
        sandbox.sh("lab", "git pull -q");
        sandbox.write(&format!("lab/{file}"), format!("A={CANARY}\n"));
        sandbox.refused("git add -A; git commit -qm mine", &["nothing was committed", "nothing protects it"]);
        let shown = sandbox.run("lab", &["hlx", "recipients", "accept"]);
        assert!(
            shown.out.contains("`.gitattributes` protects other files") && shown.out.contains("Mallory"),
            "{shown:?}"
        );
    }
}

#[test]
fn a_branch_does_not_take_over_a_reader_of_one_of_several_that_it_could_go_by() {
    let sandbox = shared();
    let key = sandbox.stranger("staging.txt");
    sandbox.sh("lab", &format!("git branch -q a-staging app; hlx recipients add {key} --branch a-staging"));
    sandbox.sh(
        "lab",
        "git switch -q -c fix app; echo F=1 >>.env; git commit -qam fix; git push -q -u origin fix",
    );
    sandbox.sh("other", "git fetch -q; git switch -q fix");
    sandbox.name_reader("other", &key);
    sandbox.push();
    sandbox.write("lab/new.env", format!("A={CANARY}\n"));
    sandbox.refused("git add new.env", &["`fix`", "have not accepted"]);
}

#[test]
fn a_clone_without_a_key_trusts_the_data_keys_of_a_branch_when_it_first_opens_one() {
    let sandbox = shared();
    sandbox.sh("other", "git config user.email m@example.org; HOME=/nowhere hlx init --no-key");
    let bob = sandbox.stranger("bob.key");
    sandbox.ok("lab", &["hlx", "recipients", "add", &bob, "--branch", "app"]);
    sandbox.sh("lab", "git push -q origin app");
    let with_key = |line: &str| {
        sandbox.sh("other", &format!("export SOPS_AGE_KEY_FILE=../bob.key HOME=/nowhere; {line} 2>&1"))
    };
    sandbox.sh("other", "git pull -q");
    let said = with_key("hlx init");
    assert!(said.contains("the data keys of 1 branch that no key opened here before"), "{said}");
    let said = with_key("hlx recipients accept");
    assert!(said.contains("nothing waits"), "{said}");
    let before = sandbox.sh("other", "git show HEAD:.env | grep enc");
    with_key("echo B=2 >>.env; git commit -qam two");
    assert_eq!(sandbox.sh("other", "git show HEAD:.env | grep enc"), before, "the data key stays");
    // What comes later waits.
    with_key("git push -q");
    sandbox.sh("lab", "git pull -q; hlx rotate --data-keys --branch app; git push -q");
    let said = with_key("git pull -q; hlx recipients accept || [ $? = 5 ]");
    assert!(said.contains(".env is under a data key from elsewhere"), "{said}");
}

#[test]
fn what_a_refused_commit_had_is_not_accepted() {
    let sandbox = shared();
    let weak = r"sed -i '/env /d;/^\.env/d' .gitattributes";
    sandbox.sh("lab", &format!("{weak}; echo A=2 >.env; git add -A"));
    let refused = sandbox.run("lab", &["git", "commit", "-qm", "weak"]);
    assert_ne!(refused.code, Some(0), "{refused:?}");
    sandbox.sh(
        "lab",
        "git reset -q --hard; hlx check; echo hi >>README.md; git commit -qam hi; hlx check; git push -q",
    );
    // So the same by somebody else is not either.
    sandbox.sh("other", &format!("git pull -q; {weak}"));
    sandbox.push();
    let check = sandbox.run("lab", &["hlx", "check"]);
    assert!(check.code == Some(5) && check.out.contains("not accepted"), "{check:?}");
}

#[test]
fn a_new_branch_goes_by_the_branch_that_it_begins_at() {
    let sandbox = shared();
    let key = sandbox.stranger("bob");
    let recipients = |words: &str| sandbox.sh("lab", &format!("hlx recipients {words}"));
    recipients(&format!("add {key} --name bob --branch app"));
    sandbox.sh("lab", "git branch topic");
    recipients("remove bob --branch topic");
    sandbox.sh("lab", "git switch -q -c second app; echo A=2 >.env; git add .env; git commit -qm two");
    sandbox.sh("lab", "git switch -q -c third; echo A=3 >.env; git add .env; git commit -qm three");
    // What stands on the other is for those whom that one names.
    sandbox.sh("lab", "git switch -q -c fourth topic; echo A=4 >.env; git add .env; git commit -qm four");
    assert!(!sandbox.ok("lab", &["git", "show", "--no-textconv", "HEAD:.env"]).contains(&key));
}

#[test]
fn a_merge_of_an_own_branch_brings_whom_that_branch_has() {
    let sandbox = shared();
    let key = sandbox.stranger("bob");
    sandbox.sh("lab", &format!("git branch topic; hlx recipients add {key} --name bob --branch topic"));
    // Of the same by somebody else, with the same words, nothing counts.
    sandbox.sh("lab", "git push -q origin topic");
    sandbox.sh("other", "git fetch -q; git merge -q origin/topic; git commit -q --amend -m 'merge topic: Fast-forward'; git push -qf");
    sandbox.sh("lab", "git pull -q");
    sandbox.sh("lab", "echo A=2 >.env");
    sandbox.refused("git add .env", &["have not accepted"]);
    sandbox.sh("lab", "rm .env; git reset -q --hard HEAD@{1}");
    sandbox.sh("lab", "echo hi >>README.md; git commit -qam hi; git merge -q topic; hlx check");
    sandbox.sh("lab", "echo A=2 >.env; git add .env; git commit -qm two");
    assert!(sandbox.ok("lab", &["git", "show", "--no-textconv", "HEAD:.env"]).contains(&key));
}
