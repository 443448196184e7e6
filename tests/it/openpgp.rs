//! `verify` with OpenPGP keys: the real gpg, whose owner's keys lie in a home of their own.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::lab::{Lab, SLEEP, run, running, text};

/// A lab, and an owner with a home of gpg that the server knows nothing of.
struct Signing {
    lab: Lab,
    home: PathBuf,
    options: &'static [&'static str],
}

impl Signing {
    fn new(name: &str) -> Option<Self> {
        let lab = Lab::new(name)?;
        let has_gpg = Command::new("gpg").arg("--version").output().is_ok();
        if !has_gpg {
            assert!(std::env::var_os("CI").is_none(), "gpg is needed to test signatures");
            eprintln!("\n*** SKIPPED: OpenPGP signatures are not tested, as gpg is missing ***\n");
            return None;
        }
        let home = lab.path("owner");
        run(Command::new("install").args(["-d", "-m", "700"]).arg(&home));
        lab.compose(SLEEP, "");
        Some(Self { lab, home, options: &[] })
    }

    fn gpg(&self, args: &[&str]) -> String {
        let mut gpg = Command::new("gpg");
        gpg.args(["--batch", "--quiet", "--passphrase", "", "--pinentry-mode", "loopback"]);
        gpg.args(self.options).args(args);
        text(&run(gpg.env("GNUPGHOME", &self.home).stdin(Stdio::null())).stdout)
    }

    /// Answers what gpg asks about a key.
    fn edits(&self, key: &str, answers: &str) {
        fs::write(self.lab.path("answers"), answers).unwrap();
        let mut gpg = Command::new("gpg");
        gpg.args(["--no-tty", "--quiet", "--passphrase", "", "--pinentry-mode", "loopback"]);
        gpg.args(self.options).args(["--command-fd", "0", "--edit-key", key]).env("GNUPGHOME", &self.home);
        run(gpg.stdin(fs::File::open(self.lab.path("answers")).unwrap()));
    }

    /// A new key that may sign for so long; gives its fingerprint.
    fn key(&self, name: &str, time: &str) -> String {
        self.gpg(&["--quick-generate-key", &format!("{name} <{name}@example.org>"), "ed25519", "sign", time]);
        self.fingerprint(name)
    }

    fn fingerprint(&self, name: &str) -> String {
        let listed = self.gpg(&["--with-colons", "--list-keys", &format!("{name}@example.org")]);
        let line = listed.lines().find(|line| line.starts_with("fpr:")).unwrap();
        line.split(':').nth(9).unwrap().to_owned()
    }

    /// Commits, signed by a key; `program` may give gpg options.
    fn signed_by(&self, program: &str, key: &str) {
        let (program, key) = (format!("gpg.program={program}"), format!("user.signingKey={key}"));
        let lab = &self.lab;
        lab.git(&["add", "-A"]);
        let mut git = Command::new("git");
        git.current_dir(lab.path("repo")).env("GNUPGHOME", &self.home).env("GIT_CONFIG_GLOBAL", "/dev/null");
        for who in ["AUTHOR", "COMMITTER"] {
            git.env(format!("GIT_{who}_NAME"), "t").env(format!("GIT_{who}_EMAIL"), "t@example.org");
        }
        run(git.args(["-c", &program, "-c", &key, "commit", "-q", "--allow-empty", "-S", "-m", "signed"]));
    }

    fn sign(&self, key: &str) {
        self.signed_by("gpg", key);
    }

    /// The server's configuration: commits signed by these keys, in the file `name`.
    fn trusting(&self, name: &str, keys: &[&str]) -> String {
        let listed = self.gpg(&[&["--armor", "--export"], keys].concat());
        let file = self.lab.path(name);
        fs::write(&file, listed).unwrap();
        format!("stacks: [{}]\nverify: {{openpgp_keys: {}}}\n", self.lab.service, file.display())
    }

    /// Nothing of a look is left: no home, no agent.
    fn assert_clean(&self) {
        let left = fs::read_dir(self.lab.path("run")).into_iter().flatten().flatten();
        let left: Vec<_> = left.map(|entry| entry.file_name()).collect();
        assert!(left.iter().all(|name| !name.to_string_lossy().starts_with(".openpgp")), "{left:?}");
        let is_server = |line: &str| {
            ["gpg-agent", "keyboxd", "dirmngr"].iter().any(|name| line.contains(name))
                && line.contains(".openpgp-")
        };
        let list = running();
        assert!(!list.iter().any(|line| is_server(line)), "{list:?}");
    }
}

impl Drop for Signing {
    fn drop(&mut self) {
        let mut kill = Command::new("gpgconf");
        let _ = kill.args(["--kill", "all"]).env("GNUPGHOME", &self.home).output();
    }
}

#[test]
fn only_what_a_key_of_the_file_signed_is_deployed() {
    let Some(signing) = Signing::new("openpgp") else { return };
    let lab = &signing.lab;
    let (mine, other) = (signing.key("mine", "never"), signing.key("other", "never"));
    let config = signing.trusting("keys.asc", &[&mine]);
    lab.commit().refused(&config, &["is not signed by anyone in", "keys.asc", "no container was touched"]);
    signing.sign(&other);
    // A key in the home of whoever runs hlx says nothing, even if that home trusts it.
    let own = lab.path(".gnupg");
    run(Command::new("cp").arg("-a").arg(&signing.home).arg(&own));
    lab.refused(&config, &["it is signed by the OpenPGP key", &other[24..]]);
    let output = lab.configured(&config).env("GNUPGHOME", &signing.home).output().unwrap();
    assert_eq!(output.status.code(), Some(5), "{}", text(&output.stderr));
    signing.sign(&mine);
    lab.taken(&config);
    signing.assert_clean();
    // A signature that is of another commit.
    let forged = lab.git(&["cat-file", "commit", "HEAD"]).replace("\n\nsigned", "\n\nforged");
    fs::write(lab.path("forged"), forged).unwrap();
    let file = lab.path("forged");
    let forged = lab.git(&["hash-object", "-t", "commit", "-w", file.to_str().unwrap()]);
    lab.git(&["update-ref", &format!("refs/heads/{}", lab.service), forged.trim()]);
    let output = lab.configured(&config).arg("--accept-rewrite").output().unwrap();
    let said = text(&output.stderr);
    assert!(output.status.code() == Some(5) && said.contains("is not of this commit"), "{said}");
    // Keys are in the file or not: the armour does not matter, and neither does what others may write.
    lab.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
    signing.sign(&mine);
    let again = ["--output", lab.path("keys.asc").to_str().unwrap(), "--yes", "--export", &other, &mine]
        .map(str::to_owned);
    signing.gpg(&again.each_ref().map(String::as_str));
    let output = lab.configured(&config).arg("--accept-rewrite").output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    run(Command::new("chmod").arg("666").arg(lab.path("keys.asc")));
    let output = lab.configured(&config).output().unwrap();
    assert!(text(&output.stderr).contains("is not root's alone"), "{}", text(&output.stderr));
    signing.assert_clean();
}

#[test]
fn a_key_or_signature_that_is_over_counts_no_more() {
    let Some(mut signing) = Signing::new("expired") else { return };
    // Years ago, keys are made and sign while they can; hlx looks today.
    signing.options = &["--faked-system-time", "20200101T000000"];
    let [good, revoked, part] = ["good", "revoked", "part"].map(|name| signing.key(name, "never"));
    signing.gpg(&["--quick-add-key", &part, "ed25519", "sign", "1y"]);
    let expired = signing.key("expired", "1y");
    // A key part that signs now, and that its owner lets only log in afterwards.
    let login = signing.key("login", "never");
    signing.gpg(&["--quick-add-key", &login, "ed25519", "sign,auth", "never"]);
    let lab = &signing.lab;
    let program = |name: &str, options: &str| {
        let place = lab.path(name);
        fs::write(
            &place,
            format!("#!/bin/sh\nexec gpg --faked-system-time 20200102T000000 {options} \"$@\"\n"),
        )
        .unwrap();
        run(Command::new("chmod").arg("755").arg(&place));
        place.to_str().unwrap().to_owned()
    };
    let (then, short) = (program("then", ""), program("short", "--default-sig-expire 1d"));
    let start = lab.commit().head();
    let mut commits = Vec::new();
    for (program, key) in [
        (&short, &good),
        (&then, &expired),
        (&then, &part),
        (&then, &revoked),
        (&then, &login),
        (&then, &good),
    ] {
        lab.git(&["reset", "--quiet", "--hard", &start]);
        signing.signed_by(program, key);
        commits.push(lab.head());
    }
    let paper = signing.home.join(format!("openpgp-revocs.d/{revoked}.rev"));
    let text_of = fs::read_to_string(&paper).unwrap().replace("\n:-----BEGIN", "\n-----BEGIN");
    fs::write(&paper, text_of).unwrap();
    signing.gpg(&["--import", paper.to_str().unwrap()]);
    signing.edits(&login, "key 1\nchange-usage\nS\nQ\nsave\n");
    let config = signing.trusting("keys.asc", &[&good, &expired, &part, &revoked, &login]);
    for (commit, words) in commits.iter().zip([
        "the signature by the OpenPGP key",
        "has expired",
        "has expired",
        "was revoked",
        " OpenPGP ",
    ]) {
        lab.git(&["reset", "--quiet", "--hard", commit]);
        lab.refused(&config, &["is not signed by anyone in", words]);
    }
    let mut doctor = lab.hlx(&["doctor"]);
    let said = text(&doctor.env("HLX_CONFIG", lab.path("config.yaml")).output().unwrap().stdout);
    assert!(said.contains(&format!("{expired} (expired)")) && said.contains("(revoked)"), "{said}");
    lab.git(&["reset", "--quiet", "--hard", &commits[5]]);
    lab.taken(&config);
}

#[test]
fn keys_of_both_kinds_stand_beside_each_other() {
    let Some(signing) = Signing::new("kinds") else { return };
    let lab = &signing.lab;
    let mine = signing.key("mine", "never");
    let config = signing.trusting("keys.asc", &[&mine]);
    let ssh = lab.path("ssh");
    run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&ssh));
    let public = fs::read_to_string(lab.path("ssh.pub")).unwrap();
    fs::write(lab.path("signers"), format!("me@example.org {public}")).unwrap();
    let by_ssh = || {
        let key = format!("user.signingKey={}", ssh.display());
        lab.git(&["-c", "gpg.format=ssh", "-c", &key, "commit", "-q", "--allow-empty", "-S", "-m", "ssh"]);
    };
    lab.commit();
    by_ssh();
    lab.refused(&config, &["is not signed by anyone in"]);
    let both = config
        .replace("verify: {", &format!("verify: {{allowed_signers: {}, ", lab.path("signers").display()));
    lab.taken(&both);
    signing.sign(&mine);
    lab.taken(&both);
    lab.commit().refused(&both, &["signers or ", "keys.asc"]);
    let only_ssh = both.replace(", openpgp_keys: ", "}\n# ");
    signing.sign(&mine);
    lab.refused(&only_ssh, &["is not signed by anyone in"]);
    lab.taken(&both);
    // A commit of one stack is none of another's, whoever signed it.
    let twin = format!("{}-twin", lab.service);
    lab.git(&["branch", &twin]);
    let config = lab.path("config.yaml");
    fs::write(&config, both.replace("stacks: [", &format!("stacks: [{twin}, "))).unwrap();
    let output = lab.hlx(&["deploy", &twin]).env("HLX_CONFIG", &config).output().unwrap();
    let said = text(&output.stderr);
    assert!(output.status.code() == Some(5) && said.contains("it was signed for that"), "{said}");
}

#[test]
fn a_file_that_holds_no_public_keys_is_said_to() {
    let Some(signing) = Signing::new("nokeys") else { return };
    let lab = &signing.lab;
    let mine = signing.key("mine", "never");
    let config = signing.trusting("keys.asc", &[&mine]);
    lab.commit();
    signing.sign(&mine);
    let public = fs::read_to_string(lab.path("keys.asc")).unwrap();
    let secret = signing.gpg(&["--armor", "--export-secret-keys", &mine]);
    let table = [
        (secret.clone(), "holds a secret key"),
        (format!("{public}\n{secret}"), "holds a secret key"),
        ("ssh-ed25519 AAAA me\n".to_owned(), "is no list of OpenPGP keys"),
        (String::new(), "is no list of OpenPGP keys"),
        (public[..public.len() / 2].to_owned(), "is no list of OpenPGP keys"),
    ];
    for (content, words) in table {
        fs::write(lab.path("keys.asc"), content).unwrap();
        let output = lab.configured(&config).output().unwrap();
        let said = text(&output.stderr);
        assert!(output.status.code() == Some(1) && said.contains(words), "{words}: {said}");
        assert!(said.contains("gpg --export --armor KEY") && lab.containers().is_empty(), "{said}");
        let mut doctor = lab.hlx(&["doctor"]);
        let said = text(&doctor.env("HLX_CONFIG", lab.path("config.yaml")).output().unwrap().stdout);
        assert!(said.contains("FAIL  signers: ") && said.contains(words), "{said}");
        signing.assert_clean();
    }
    fs::write(lab.path("keys.asc"), public).unwrap();
    // Without gpg: a PATH that has all else.
    let bin = lab.path("bin");
    fs::create_dir(&bin).unwrap();
    for program in ["git", "docker", "ssh-keygen", "sh"] {
        let found = text(&run(Command::new("sh").args(["-c", &format!("command -v {program}")])).stdout);
        std::os::unix::fs::symlink(found.trim(), bin.join(program)).unwrap();
    }
    let output = lab.configured(&config).env("PATH", &bin).output().unwrap();
    let said = text(&output.stderr);
    assert!(output.status.code() == Some(9) && said.contains("takes gpg, and there is none"), "{said}");
    assert!(said.contains("install gnupg"), "{said}");
    // What a killed hlx left goes with the next.
    fs::create_dir_all(lab.path("run/.openpgp-4194305")).unwrap();
    lab.taken(&config);
    signing.assert_clean();
}
