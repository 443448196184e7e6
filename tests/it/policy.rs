//! What root's configuration keeps a commit from: `deny` and `verify`, with the real Docker and ssh keys.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use crate::lab::{Lab, SLEEP, TOKEN, run, text};

impl Lab {
    /// Writes the server's configuration, and deploys by it from now on.
    pub(crate) fn configured(&self, config: &str) -> Command {
        fs::write(self.path("config.yaml"), config).unwrap();
        let mut hlx = self.hlx(&["deploy", &self.service]);
        hlx.env("HLX_CONFIG", self.path("config.yaml"));
        hlx
    }

    /// What git prints when it reads that file.
    fn git_fed(&self, args: &[&str], input: &std::path::Path) -> String {
        let mut git = Command::new("git");
        git.args(args).current_dir(self.path("repo")).stdin(fs::File::open(input).unwrap());
        text(&run(&mut git).stdout).trim().to_owned()
    }

    #[track_caller]
    pub(crate) fn refused(&self, config: &str, words: &[&str]) {
        let output = self.configured(config).output().unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(5), "{said}");
        words.iter().for_each(|word| assert!(said.contains(word), "`{word}` is missing in:\n{said}"));
    }

    #[track_caller]
    pub(crate) fn taken(&self, config: &str) {
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
        (format!("    extends: {{service: x, file: {host}/env}}\n"), "`extends` leads out of the commit"),
        ("include: [github.com/a/b]\n".to_owned(), "`include` leads to no file of the commit"),
        ("    logging: {driver: syslog}\n".to_owned(), "`logging.driver: syslog`"),
        ("    build: github.com/../../../etc\n".to_owned(), "builds from"),
    ];
    for (rest, word) in &table {
        lab.compose(SLEEP, rest).commit();
        lab.refused(DENY, &[word, "no container was touched"]);
    }
    lab.write("more.yml", "services: {other: {image: x, privileged: true}}\n");
    lab.compose(SLEEP, "include: [more.yml]\n").commit().refused(DENY, &["service `other`"]);
    fs::write(lab.path("repo/more.yml"), format!("services: {{o: {{image: x, env_file: {host}/env}}}}\n"))
        .unwrap();
    lab.commit().refused(DENY, &["more.yml: `env_file`"]);
    // The same behind links of the commit, which compose follows.
    fs::create_dir(lab.path("repo/sub")).unwrap();
    fs::rename(lab.path("repo/more.yml"), lab.path("repo/sub/real.yml")).unwrap();
    symlink("sub/real.yml", lab.path("repo/more.yml")).unwrap();
    lab.commit().refused(DENY, &["sub/real.yml: `env_file`"]);
    fs::remove_file(lab.path("repo/more.yml")).unwrap();
    fs::remove_file(lab.path("repo/compose.yml")).unwrap();
    symlink("sub/real.yml", lab.path("repo/compose.yml")).unwrap();
    lab.commit().refused(DENY, &["sub/real.yml: `env_file`"]);
    fs::remove_file(lab.path("repo/compose.yml")).unwrap();
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

/// The way back is judged by what is denied now, while all still runs.
#[test]
fn a_version_that_is_denied_by_now_is_no_way_back() {
    let Some(lab) = Lab::new("denied-back") else { return };
    lab.compose(SLEEP, "    volumes: [\"/etc/hostname:/x:ro\"]\n").commit().taken("deny: []\n");
    let ids = lab.containers();
    lab.compose("exit 3", "").commit();
    lab.refused(DENY, &["could not be brought back", "/etc/hostname", "no container was touched"]);
    assert_eq!(lab.containers(), ids);
    lab.compose(SLEEP, "").commit();
    run(lab.configured(DENY).arg("--without-rollback"));
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

/// A container writes through a volume as through a mount, and Docker follows links when it starts another.
#[test]
fn a_link_that_a_container_will_plant_through_a_volume_is_not_mounted() {
    let Some(lab) = Lab::new("through") else { return };
    lab.write("data/kept", "").compose(SLEEP, "").commit().taken(DENY);
    let data = lab.project_dir().join("data");
    let bind = |device: &str| {
        format!("volumes: {{vol: {{driver_opts: {{type: none, o: bind, device: {device}}}}}}}\n")
    };
    let both = |device: &str| {
        let other = format!(
            "  other: {{image: {}, command: [\"/bin/busybox\", \"true\"], volumes: [\"vol:/d\"]}}\n",
            lab.image()
        );
        lab.compose(SLEEP, &format!("    volumes: [\"./data/sub:/x\"]\n{other}{}", bind(device))).commit()
    };
    both(data.to_str().unwrap())
        .refused(DENY, &["data/sub, which lies in", "where a container can put links"]);
    both(&format!("{}/x/../data", lab.project_dir().display()))
        .refused(DENY, &["which is not spelled without `..`"]);
    // A volume that is there already, whoever uses it.
    let name = format!("{}-elsewhere", lab.project());
    let device = format!("device={}", data.display());
    lab.docker(&["volume", "create", "-o", "type=none", "-o", "o=bind", "-o", &device, &name]);
    lab.compose(SLEEP, "    volumes: [\"./data/sub:/x\"]\n").commit();
    lab.refused(DENY, &["where a container can put links"]);
    lab.docker(&["volume", "rm", &name]);
    lab.taken(DENY);
}

/// A few small objects in git can be a tree of any size.
#[test]
fn a_commit_that_is_too_large_is_refused_before_it_is_read() {
    let Some(lab) = Lab::new("large") else { return };
    let zeros = fs::File::create(lab.path("repo/zeros")).unwrap();
    zeros.set_len(300 << 20).unwrap();
    lab.compose(SLEEP, "").commit();
    lab.fails(1, &[], &["the commit's files take 300 MiB", "256 MiB"]);
    fs::remove_file(lab.path("repo/zeros")).unwrap();
    // Ten directories in each of ten in each of ten …: ten thousand million files.
    let git = |args: &[&str]| lab.git(args).trim().to_owned();
    let listed = lab.path("listed");
    fs::write(&listed, "").unwrap();
    let mut entry = ("100644 blob", git(&["hash-object", "-w", listed.to_str().unwrap()]));
    for _ in 0..10 {
        let lines = (0..10).map(|number| format!("{} {}\t{number}\n", entry.0, entry.1));
        fs::write(&listed, lines.collect::<String>()).unwrap();
        let made = lab.git_fed(&["mktree"], &listed);
        entry = ("040000 tree", made);
    }
    let compose = git(&["rev-parse", "HEAD:compose.yml"]);
    fs::write(&listed, format!("100644 blob {compose}\tcompose.yml\n040000 tree {}\tx\n", entry.1)).unwrap();
    let tree = lab.git_fed(&["mktree"], &listed);
    let bomb = git(&["commit-tree", "-p", "HEAD", "-m", "bomb", &tree]);
    lab.git(&["update-ref", &format!("refs/heads/{}", lab.service), &bomb]);
    lab.fails(1, &[], &["the list of the commit's files takes more than 16 MiB"]);
    assert!(!lab.project_dir().join("zeros").exists());
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
fn what_another_project_made_is_refused_by_whatever_name() {
    let Some(lab) = Lab::new("foreign") else { return };
    let theirs = format!("{}-theirs_data", lab.project());
    lab.docker(&["volume", "create", "--label", "com.docker.compose.project=theirs", &theirs]);
    let with = |script: &str, vol: &str| {
        lab.compose(script, &format!("    volumes: [\"vol:/x\"]\nvolumes: {{vol: {vol}}}\n")).commit()
    };
    const EXTERNAL: &str = "deny: [external]\n";
    // Its own, which is there the second time.
    with(SLEEP, "{}").taken(EXTERNAL);
    with("exec /bin/busybox sleep 2000", "{}").taken(EXTERNAL);
    for vol in [format!("{{external: true, name: {theirs}}}"), format!("{{name: {theirs}}}")] {
        let why = format!("volume `vol`: is `{theirs}`, which `theirs` has made (external)");
        with(SLEEP, &vol).refused(EXTERNAL, &[&why, "no container was touched"]);
    }
    with(SLEEP, &format!("{{external: true, name: {theirs}}}"))
        .taken(&format!("deny: [{{external: {{except: [{theirs}]}}}}]\n"));
    run(&mut lab.hlx(&["down", &lab.service]));
    lab.docker(&["volume", "rm", &theirs]);
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
    let verify = format!("verify: {{allowed_signers: {}}}\n", signers.display());
    let config = format!("stacks: [{}]\n{verify}", lab.service);
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
    // What is signed for one branch is not for any other that somebody makes of it.
    let output = lab.configured(&verify).output().unwrap();
    assert!(text(&output.stderr).contains("`verify` takes `stacks` besides"), "{}", text(&output.stderr));
    lab.taken(&config);
    sign("mine", "by me again");
    lab.taken(&config);
    // Nor is it for another stack of this host.
    let twin = format!("{}-twin", lab.service);
    lab.git(&["branch", &twin, first.trim()]);
    fs::write(lab.path("config.yaml"), format!("stacks: [{}, {twin}]\n{verify}", lab.service)).unwrap();
    let output = lab.hlx(&["deploy", &twin]).env("HLX_CONFIG", lab.path("config.yaml")).output().unwrap();
    let said = text(&output.stderr);
    assert!(output.status.code() == Some(5) && said.contains("it was signed for that"), "{said}");
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
