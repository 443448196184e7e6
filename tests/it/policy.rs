//! What root's configuration keeps a commit from: `deny` and `verify`, with the real Docker and ssh keys.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use crate::lab::{Lab, SLEEP, TOKEN, run, text};

impl Lab {
    /// Writes the server's configuration, and deploys by it from now on.
    fn configured(&self, config: &str) -> Command {
        fs::write(self.path("config.yaml"), config).unwrap();
        let mut hlx = self.hlx(&["deploy", &self.service]);
        hlx.env("HLX_CONFIG", self.path("config.yaml"));
        hlx
    }

    #[track_caller]
    fn refused(&self, config: &str, words: &[&str]) {
        let output = self.configured(config).output().unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(5), "{said}");
        words.iter().for_each(|word| assert!(said.contains(word), "`{word}` is missing in:\n{said}"));
    }

    #[track_caller]
    fn taken(&self, config: &str) {
        run(&mut self.configured(config));
    }
}

const DENY: &str = "deny: [setup, privileged, docker-socket, host-network, host-mounts]\n";

#[test]
fn what_is_denied_is_refused_however_it_is_spelled() {
    let Some(lab) = Lab::new("deny") else { return };
    let host = lab.path("host");
    fs::create_dir_all(&host).unwrap();
    fs::write(host.join("env"), "A=from-the-host\n").unwrap();
    let host = host.to_str().unwrap();
    let bind = format!("volumes:\n  vol: {{driver_opts: {{type: none, o: bind, device: {host}}}}}\n");
    let table = [
        ("    privileged: true\n".to_owned(), "`privileged`"),
        ("    x-a: &a {privileged: true}\n    <<: *a\n".to_owned(), "`privileged`"),
        ("    privileged: ${YES:-true}\n".to_owned(), "`privileged`"),
        ("    cap_add: [SYS_ADMIN]\n".to_owned(), "SYS_ADMIN"),
        ("    devices: [/dev/null]\n".to_owned(), "`devices`"),
        ("    pid: host\n".to_owned(), "`pid`"),
        ("    security_opt: [\"seccomp:unconfined\"]\n".to_owned(), "security_opt"),
        ("    network_mode: host\n".to_owned(), "network_mode: host"),
        ("    networks: [n]\nnetworks: {n: {name: host, external: true}}\n".to_owned(), "the host's"),
        ("    volumes: [/var/run/docker.sock:/x]\n".to_owned(), "leads to a container engine"),
        ("    volumes: [/:/x]\n".to_owned(), "leads to a container engine"),
        (format!("    volumes: [\"{host}:/x:ro\"]\n"), "(host-mounts)"),
        ("    volumes: [\"../host:/x\"]\n".to_owned(), "(host-mounts)"),
        (format!("    volumes: [\"vol:/x\"]\n{bind}"), "(host-mounts)"),
        (format!("    secrets: [s]\nsecrets: {{s: {{file: {host}/env}}}}\n"), "secret `s`"),
        (format!("    env_file: [{host}/env]\n"), "`env_file` leads out of the commit"),
        (format!("    env_file: [\"${{X:-{host}/env}}\"]\n"), "`env_file` leads out of the commit"),
        (format!("    extends: {{service: x, file: {host}/env}}\n"), ""),
    ];
    for (rest, word) in &table {
        lab.compose(SLEEP, rest).commit();
        match word.is_empty() {
            true => assert!(!lab.configured(DENY).output().unwrap().status.success()),
            false => lab.refused(DENY, &[word, "no container was touched"]),
        }
    }
    lab.write("more.yml", "services: {other: {image: x, privileged: true}}\n");
    lab.compose(SLEEP, "include: [more.yml]\n").commit().refused(DENY, &["service `other`"]);
    fs::write(lab.path("repo/more.yml"), format!("services: {{o: {{image: x, env_file: {host}/env}}}}\n"))
        .unwrap();
    lab.commit().refused(DENY, &["more.yml: `env_file`"]);
    lab.compose(SLEEP, "").write("setup.sh", "touch ../pwned\n").commit().refused(DENY, &["setup.sh"]);
    assert!(lab.containers().is_empty() && !lab.path("srv/pwned").exists());
    fs::remove_file(lab.path("repo/setup.sh")).unwrap();
    // A secret that a path is made of is not shown.
    lab.seal(".env", &format!("TOKEN={TOKEN}\n"))
        .compose(SLEEP, "    volumes: [\"/etc/$TOKEN:/x\"]\n")
        .commit();
    lab.refused(DENY, &["mounts /etc/«secret»"]);
    // An exception, and nothing denied at all.
    lab.compose(SLEEP, &format!("    volumes: [\"{host}:/x:ro\", \"./data:/data\"]\n")).commit();
    lab.taken(&format!("deny: [privileged, {{host-mounts: {{except: [{host}]}}}}]\n"));
    lab.compose(SLEEP, "    cap_add: [SYS_ADMIN]\n").commit().taken("deny: []\n");
}

#[test]
fn a_link_that_a_container_planted_is_not_mounted() {
    let Some(lab) = Lab::new("planted") else { return };
    let plant = format!("/bin/busybox ln -s /etc /data/sub; {SLEEP}");
    lab.compose(&plant, "    volumes: [\"./data:/data\"]\n").commit().taken(DENY);
    assert!(lab.project_dir().join("data/sub").is_symlink());
    lab.compose(SLEEP, "    volumes: [\"./data/sub:/data\"]\n").commit();
    lab.refused(DENY, &["where a link stands in the way"]);
    fs::remove_file(lab.project_dir().join("data/sub")).unwrap();
    lab.refused(DENY, &["where a container can put links"]);
    // A link of the commit's own stays within it, but what it leads to need not.
    symlink("data", lab.path("repo/link")).unwrap();
    lab.compose(SLEEP, "    volumes: [\"./link:/data\"]\n")
        .commit()
        .refused(DENY, &["a link stands in the way"]);
}

/// A volume is what it was made as, whatever a later commit says of it.
#[test]
fn a_volume_of_before_is_looked_at() {
    let Some(lab) = Lab::new("volume") else { return };
    let with = |options: &str| {
        lab.compose(SLEEP, &format!("    volumes: [\"vol:/x\"]\nvolumes: {{vol: {options}}}\n")).commit()
    };
    with("{driver_opts: {type: none, o: bind, device: /etc}}").taken("deny: []\n");
    with("{}").refused(DENY, &["volume `vol`: binds /etc (host-mounts)"]);
}

#[test]
fn only_what_an_allowed_signer_signed_is_deployed() {
    let Some(lab) = Lab::new("verify") else { return };
    let key = |name: &str| {
        run(Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"])
            .arg(lab.path(name)));
        fs::read_to_string(lab.path(&format!("{name}.pub"))).unwrap()
    };
    let (mine, _) = (key("mine"), key("other"));
    let signers = lab.path("signers");
    fs::write(&signers, format!("me@example.org {mine}")).unwrap();
    let config = format!("verify: {{allowed_signers: {}}}\n", signers.display());
    let sign = |name: &str, message: &str| {
        let key = format!("user.signingKey={}", lab.path(name).display());
        lab.git(&["add", "-A"]);
        lab.git(&[
            "-c",
            "gpg.format=ssh",
            "-c",
            &key,
            "commit",
            "--quiet",
            "--allow-empty",
            "-S",
            "-m",
            message,
        ]);
    };
    lab.compose(SLEEP, "").commit();
    lab.refused(&config, &["is not signed by anyone in", "no container was touched"]);
    sign("other", "by someone else");
    lab.refused(&config, &["is not signed by anyone in"]);
    sign("mine", "by me");
    let first = lab.git(&["rev-parse", "HEAD"]);
    lab.taken(&config);
    sign("mine", "by me again");
    lab.taken(&config);
    // An older signed commit brought back, and a signature that is of another commit.
    lab.git(&["reset", "--quiet", "--hard", first.trim()]);
    lab.refused(&config, &["was rewritten"]);
    let forged = lab.git(&["cat-file", "commit", "HEAD"]).replace("by me", "by us");
    fs::write(lab.path("forged"), forged).unwrap();
    let file = lab.path("forged");
    let forged = lab.git(&["hash-object", "-t", "commit", "-w", file.to_str().unwrap()]);
    lab.git(&["update-ref", &format!("refs/heads/{}", lab.service), forged.trim()]);
    let output = lab.configured(&config).arg("--accept-rewrite").output().unwrap();
    assert_eq!(output.status.code(), Some(5), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("is not signed by anyone in"), "{}", text(&output.stderr));
    // A list that others can write says nothing.
    run(Command::new("chmod").arg("666").arg(&signers));
    let output = lab.configured(&config).arg("--accept-rewrite").output().unwrap();
    assert!(text(&output.stderr).contains("is not root's alone"), "{}", text(&output.stderr));
}
