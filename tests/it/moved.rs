//! Readers whom the owner accepted for some files are not readers of the others, and data keys that a rotation replaced
//! do not come back: with an attacker who can push, and reads a part of the branch.

use hlx::crypto::DataKey;
use hlx::sops::Sealed;

use crate::sandbox::{CANARY, Done, Sandbox};

/// An owner's clone `lab` and a server's `other`, whose key `nas.txt` reads `public/`, and nothing else.
fn shared() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.lab();
    let nas = sandbox.ok(".", &["hlx", "keys", "generate", "--output", "nas.txt"]).trim().to_owned();
    let own = sandbox.ok("lab", &["hlx", "keys", "list"]);
    let own = own.split_whitespace().find(|word| word.starts_with("age1")).unwrap();
    sandbox.write(
        "lab/.sops.yaml",
        format!("creation_rules:\n  - path_regex: ^public/\n    age: [{own}, {nas}]\n  - age: [{own}]\n"),
    );
    sandbox.sh("lab", "mkdir public; echo P=1 >public/.env; echo A=1 >.env; git add .; git commit -qm one");
    sandbox.sh(
        ".",
        "git clone -q --bare lab hub.git; cd lab; git remote add origin ../hub.git; git fetch -q; git branch -q -u origin/app
         cd ..; git clone -q -b app hub.git other; git -C other config user.name Mallory",
    );
    sandbox
}

impl Sandbox {
    #[track_caller]
    fn not_accepted(&self, line: &str) -> Done {
        let done = self.run("lab", &["sh", "-euc", line]);
        assert!(done.code != Some(0) && done.err.contains("have not accepted"), "{line}: {done:?}");
        self.no_canary_in_objects("lab");
        done
    }

    /// Asserts that accepting shows all of these words, and accepts.
    #[track_caller]
    fn accepts(&self, words: &[&str]) {
        let shown = self.run("lab", &["hlx", "recipients", "accept", "--yes"]);
        assert_eq!(shown.code, Some(0), "{shown:?}");
        for word in words {
            assert!(shown.out.contains(word), "`{word}` is missing in: {shown:?}");
        }
        assert!(self.run("lab", &["hlx", "recipients", "accept"]).err.contains("nothing waits"));
    }

    /// The data key of a sealed text, opened with a key in a file.
    fn data_key(&self, sealed: &str, identity: &str) -> DataKey {
        let identity = self.read(identity);
        let identity: age::x25519::Identity =
            identity.lines().find(|line| line.starts_with("AGE-")).unwrap().parse().unwrap();
        let parsed = Sealed::parse(sealed.as_bytes()).unwrap();
        let envelopes = parsed.groups().groups().iter().flat_map(|group| &group.envelopes);
        let unwrap = |envelope: &hlx::crypto::envelope::Envelope| {
            envelope.unwrap(std::iter::once(&identity as &dyn age::Identity)).unwrap()
        };
        DataKey::from_bytes(envelopes.into_iter().find_map(unwrap).unwrap().expose()).unwrap()
    }
}

#[test]
fn a_reader_of_some_files_does_not_become_one_of_others() {
    for way in [
        // Named by the rule for all files too.
        "sed -i 's/^  - age: .OWN/&, NAS/' .sops.yaml",
        // The two lists change places.
        "sed -i 's/, NAS//; s/^  - age: .OWN/&, NAS/' .sops.yaml",
        // The rule for all comes first.
        "printf 'creation_rules:\n  - age: [OWN, NAS]\n' >.sops.yaml",
    ] {
        let sandbox = shared();
        let nas = sandbox.sh(".", "grep -o 'age1[a-z0-9]*' nas.txt | head -1").trim().to_owned();
        let own = sandbox.sh("lab", "sed -n 's/^  - age: .\\(.*\\).$/\\1/p' .sops.yaml").trim().to_owned();
        let way = way.replace("OWN", &own).replace("NAS", &nas);
        sandbox.sh("other", &format!("{way}; git commit -qam tidy; git push -q"));
        sandbox.sh("lab", "git pull -q");
        sandbox.not_accepted(&format!("echo N={CANARY} >new.env; git add new.env"));
        // Nor without a checkout, by a rotation, or with a comment of the owner's.
        let set = sandbox.feed("lab", &["hlx", "set", "app:two.env", "A"], CANARY);
        assert!(set.code != Some(0), "{set:?}");
        sandbox.not_accepted("hlx rotate --yes");
        sandbox.sh("lab", "echo '# mine' >>.sops.yaml; git commit -qam mine");
        sandbox.not_accepted("git add new.env");
        // What was accepted stays: the file that it reads, and those that it does not.
        sandbox.sh(
            "lab",
            "echo P=2 >public/.env; echo A=2 >.env; git add public/.env .env; git commit -qm values",
        );
        sandbox.accepts(&["can read new files by creation rule", &nas, "Mallory"]);
        sandbox.sh("lab", "git add new.env; git commit -qm new");
        assert!(sandbox.ok("lab", &["git", "cat-file", "blob", "HEAD:new.env"]).contains(&nas), "{way}");
    }
}

#[test]
fn a_file_does_not_take_on_the_readers_of_another() {
    let sandbox = shared();
    let nas = sandbox.sh(".", "grep -o 'age1[a-z0-9]*' nas.txt | head -1").trim().to_owned();
    // Under the data key that it knows as a reader of the other file, and that is accepted here for these readers.
    sandbox.sh("other", "git rm -q .env; git update-index --add --cacheinfo 100644,$(git rev-parse HEAD:public/.env),.env; git commit -qm tidy; git push -q");
    sandbox.sh("lab", "git pull -q; git status --porcelain");
    sandbox.not_accepted(&format!("echo B={CANARY} >>.env; git add .env"));
    let set = sandbox.feed("lab", &["hlx", "set", "app:.env", "B"], CANARY);
    assert!(set.code != Some(0) && set.err.contains("have not accepted"), "{set:?}");
    sandbox.not_accepted(
        "git mv -f .env moved.env 2>/dev/null; git commit -qm moved; echo M=1 >>moved.env; git add moved.env",
    );
    sandbox.sh("lab", "git reset -q --hard origin/app");
    sandbox.accepts(&[&nas, "can read .env too", "Mallory"]);
    sandbox.sh("lab", "echo B=2 >>.env; git commit -qam b");
}

#[test]
fn what_the_owner_does_to_files_and_rules_goes_without_a_word() {
    let sandbox = shared();
    let nas = sandbox.sh(".", "grep -o 'age1[a-z0-9]*' nas.txt | head -1").trim().to_owned();
    let quiet = |line: &str| {
        let done = sandbox.run("lab", &["sh", "-euc", line]);
        assert!(done.code == Some(0) && done.err.is_empty(), "{line}: {done:?}");
        let waits = sandbox.run("lab", &["hlx", "recipients", "accept"]);
        assert!(waits.err.contains("nothing waits"), "{line}: {waits:?}");
    };
    // Names it for more, adds files before that is committed, edits them, and commits piece by piece.
    sandbox.sh("lab", &format!("sed -i 's/^  - age: \\[/&{nas}, /' .sops.yaml"));
    for line in [
        "echo N=1 >new.env; echo O=1 >o.env; git add new.env o.env; echo N=2 >new.env; git add new.env",
        "git commit -qm new; echo N=3 >new.env; git add new.env; git commit -qm three",
        "git commit -qam rules; echo N=4 >new.env; git commit -qam four; echo P=1 >p.env; git add p.env; git commit -qm p",
        // Takes it out again for new files; what it reads it goes on to read, also under another name.
        "git revert --no-edit HEAD~2 >/dev/null; echo N=5 >new.env; git commit -qam five",
        "git mv new.env named.env; git commit -qm named; echo N=6 >named.env; git commit -qam six",
        "git mv public/.env private.env; git commit -qm away; echo P=2 >>private.env; git commit -qam p2",
        "git push -q; echo Q=1 >q.env; git add q.env; git commit -qm q",
        "git switch -q -c side; echo S=1 >>named.env; git commit -qam s; git switch -q app; git merge -q --no-ff -m side side; echo N=7 >named.env; git commit -qam seven",
    ] {
        quiet(line);
    }
    let readers =
        |path: &str| sandbox.ok("lab", &["git", "cat-file", "blob", &format!("HEAD:{path}")]).contains(&nas);
    assert_eq!(
        ["named.env", "p.env", "private.env", "q.env", ".env"].map(readers),
        [true, true, true, false, false]
    );
}

#[test]
fn a_data_key_that_was_rotated_is_not_used_again_here_or_in_another_clone() {
    let sandbox = shared();
    let sealed = sandbox.ok("lab", &["git", "cat-file", "blob", "app:public/.env"]);
    let known = sandbox.data_key(&sealed, "nas.txt");
    // A clone of the owner's that learns of the rotation by pulling, and one where it is made.
    sandbox.sh(".", "git clone -q -b app hub.git second; cd second; hlx init 2>/dev/null");
    sandbox.sh("lab", "hlx rotate --data-keys --push");
    sandbox.sh("second", "git pull -q; hlx recipients accept --yes");
    // The old file, as it was: the same readers, the same envelopes.
    sandbox.write("old", &sealed);
    sandbox.sh(
        "other",
        "git pull -q; cp ../old public/.env; git add .; git commit -qm 'as it was'; git push -q",
    );
    for clone in ["lab", "second"] {
        sandbox.sh(clone, "git pull -q");
        assert_eq!(sandbox.sh(clone, "touch public/.env; git status --porcelain; cat public/.env"), "P=1\n");
        let edit = sandbox
            .run(clone, &["sh", "-euc", &format!("echo N={CANARY} >>public/.env; git commit -qam new")]);
        assert!(edit.code == Some(0) && edit.err.contains("data key"), "{clone}: {edit:?}");
        let blob = sandbox.ok(clone, &["git", "cat-file", "blob", "HEAD:public/.env"]);
        let opened = Sealed::parse(blob.as_bytes()).unwrap().open(&known);
        assert!(opened.is_err(), "{clone}: whoever knows the old data key can read it");
        let waits = sandbox.run(clone, &["hlx", "recipients", "accept"]);
        assert!(waits.err.contains("nothing waits"), "{clone}: {waits:?}");
        // A new file does not come under it either, and neither does one that is set without a checkout.
        sandbox.sh(
            clone,
            "git reset -q --hard origin/app; echo X=1 >public/x.env; git add public/x.env; git commit -qm x",
        );
        let blob = sandbox.ok(clone, &["git", "cat-file", "blob", "HEAD:public/x.env"]);
        assert!(Sealed::parse(blob.as_bytes()).unwrap().open(&known).is_err(), "{clone}");
        let set = sandbox.feed(clone, &["hlx", "set", "app:public/.env", "S"], CANARY);
        assert_eq!(set.code, Some(0), "{clone}: {set:?}");
        let blob = sandbox.ok(clone, &["git", "cat-file", "blob", "HEAD:public/.env"]);
        assert!(Sealed::parse(blob.as_bytes()).unwrap().open(&known).is_err(), "{clone}");
        sandbox.sh(clone, "git reset -q --hard origin/app");
    }
    // A rotation goes over it without being asked to accept it.
    sandbox.sh("lab", "hlx rotate --data-keys");
    sandbox.goes_on("lab", &["app"], "1");
}
