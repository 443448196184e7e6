//! Those who write the commits, and the containers that run, as attackers: refused or contained, and said clearly.

use std::fs;
use std::os::unix::fs::{FileTypeExt, symlink};
use std::process::Command;

use crate::lab::{Lab, SLEEP, TOKEN, run, text};

impl Lab {
    /// Commits a tree that git itself would not make: one file under a name as it is.
    fn commit_tree(&self, mode: &str, name: &[u8]) {
        let blob = self.git(&["hash-object", "-w", "compose.yml"]);
        let mut id = Vec::new();
        for pair in blob.trim().as_bytes().chunks(2) {
            id.push(u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap());
        }
        let entry = |mode: &str, name: &[u8]| [mode.as_bytes(), b" ", name, b"\0", &id].concat();
        let mut entries =
            [(b"compose.yml".to_vec(), entry("100644", b"compose.yml")), (name.to_vec(), entry(mode, name))];
        entries.sort();
        fs::write(self.path("tree"), entries.map(|(_, entry)| entry).concat()).unwrap();
        let file = self.path("tree");
        let tree = self.git(&["hash-object", "-t", "tree", "-w", "--literally", file.to_str().unwrap()]);
        let commit = self.git(&["commit-tree", "-p", "HEAD", "-m", "x", tree.trim()]);
        self.git(&["update-ref", &format!("refs/heads/{}", self.service), commit.trim()]);
    }
}

#[test]
fn paths_and_links_that_lead_out_are_refused() {
    let Some(lab) = Lab::new("paths") else { return };
    lab.compose(SLEEP, "").commit();
    let head = lab.git(&["rev-parse", "HEAD"]);
    for name in [&b".."[..], b"../../pwned", b"/pwned", b"a/../../pwned", b".git"] {
        lab.commit_tree("100644", name);
        lab.fails(1, &[], &["not safe to write", "no container was touched"]);
        lab.git(&["update-ref", &format!("refs/heads/{}", lab.service), head.trim()]);
    }
    for target in ["/etc/passwd", "../../../etc", ".."] {
        symlink(target, lab.path("repo/link")).unwrap();
        lab.commit().fails(1, &[], &["leads out of its directory"]);
        fs::remove_file(lab.path("repo/link")).unwrap();
    }
    assert!(!lab.path("srv").exists() && !lab.path("pwned").exists() && lab.containers().is_empty());
}

#[test]
fn names_with_line_feeds_and_escapes_are_names() {
    let Some(lab) = Lab::new("oddnames") else { return };
    let name = "conf/a\n\u{1b}[31mb \\ \"c\" $HOME";
    lab.write(name, "plain").seal("conf/s\n\u{1b}]0;x\u{7}t.env", &format!("TOKEN={TOKEN}\n"));
    let script = format!("/bin/busybox cat /conf/*; {SLEEP}");
    lab.compose(&script, "    volumes: [\"./conf:/conf\"]\n").commit();
    let said = lab.deploys(&[]);
    assert!(!said.contains('\u{1b}') && !said.contains('\u{7}'), "{said:?}");
    assert_eq!(fs::read_to_string(lab.project_dir().join(name)).unwrap(), "plain");
    assert_eq!(lab.logs(), format!("plainTOKEN={TOKEN}\n"));
    fs::remove_dir_all(lab.path("repo/conf")).unwrap();
    lab.compose(SLEEP, "").commit().deploys(&[]);
    assert!(!lab.project_dir().join(name).exists());
}

/// What a container puts where the next commit has files.
#[test]
fn what_a_container_plants_is_not_written_through() {
    let Some(lab) = Lab::new("plants") else { return };
    let outside = lab.path("outside");
    fs::create_dir_all(&outside).unwrap();
    lab.write("data/file", "1")
        .write("data/pipe", "1")
        .write("data/sparse", "1")
        .write("data/device", "1")
        .write("data/dir", "1");
    let plant = format!(
        "cd /data; B=/bin/busybox; $B rm file pipe sparse device dir; $B ln -s {0} file; $B mkfifo pipe; \
         $B truncate -s 10G sparse; $B mknod device b 7 0; $B mkdir dir; $B ln -s {0} sub; $B touch /data/done; {SLEEP}",
        outside.display()
    );
    lab.compose(&plant, "    volumes: [\"./data:/data\"]\n").commit().deploys(&[]);
    let data = lab.project_dir().join("data");
    assert!(data.join("done").exists() && data.join("file").is_symlink());
    assert!(fs::symlink_metadata(data.join("pipe")).unwrap().file_type().is_fifo());
    assert!(fs::symlink_metadata(data.join("device")).unwrap().file_type().is_block_device());

    // Below a planted link nothing is written, and nothing at all was touched.
    lab.write("data/sub/new", "2").commit();
    let before = lab.containers();
    lab.fails(1, &[], &["data/sub/new", "a symbolic link stands in the way", "no container was touched"]);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    assert_eq!(lab.containers(), before);
    fs::remove_dir_all(lab.path("repo/data/sub")).unwrap();
    // In the places of files the files are again, whatever stood there; what is not hlx's stays.
    for name in ["file", "pipe", "sparse", "device", "dir"] {
        lab.write(&format!("data/{name}"), "2");
    }
    lab.compose(SLEEP, "").commit().deploys(&[]);
    for name in ["file", "pipe", "sparse", "device", "dir"] {
        assert_eq!(fs::read_to_string(data.join(name)).unwrap(), "2", "{name}");
    }
    assert!(data.join("sub").is_symlink() && fs::read_dir(&outside).unwrap().count() == 0);
}

#[test]
fn a_link_in_the_place_of_a_sealed_mount_leads_nowhere() {
    let Some(lab) = Lab::new("swap") else { return };
    let outside = lab.path("outside");
    fs::write(&outside, "not yours").unwrap();
    lab.seal("data/key", TOKEN);
    let script =
        format!("/bin/busybox cat /key; echo; /bin/busybox ln -sf {} /data/key; {SLEEP}", outside.display());
    lab.compose(&script, "    volumes: [\"./data:/data\", \"./data/key:/key\"]\n").commit().deploys(&[]);
    lab.seal("data/key", "another-token-entirely").commit().deploys(&[]);
    assert_eq!(fs::read_to_string(&outside).unwrap(), "not yours");
    assert!(lab.logs().contains("another-token-entirely"), "{}", lab.logs());
}

#[test]
fn a_sealed_file_in_a_build_context_is_warned_of() {
    let Some(lab) = Lab::new("context") else { return };
    lab.seal(".env", &format!("TOKEN={TOKEN}\n")).seal("app/secret.txt", TOKEN).seal("app/ok.txt", TOKEN);
    lab.write("app/Dockerfile", format!("FROM {}\n", lab.image())).write("app/.dockerignore", "ok.txt\n");
    lab.write(
        "compose.yml",
        "x-hlx: {stable: 0s}\nservices:\n  web:\n    build: app\n    init: true\n    command: [/bin/busybox, sleep, \"1000\"]\n",
    );
    let said = lab.commit().deploys(&[]);
    let warning = "warning: the image of `web` is built among sealed files, which the build sees encrypted: secret.txt. ";
    assert!(said.contains(warning), "{said}");
    lab.write("app/.dockerignore", "*.txt\n*\n!Dockerfile\n");
    assert!(!lab.commit().deploys(&[]).contains("built among sealed files"));
}

#[test]
fn images_of_past_deploys_go_and_those_in_need_stay() {
    let Some(lab) = Lab::new("prune") else { return };
    let build = |number: u32| {
        lab.write("Dockerfile", format!("FROM {}\nLABEL number={number}\n", lab.image()));
    };
    let version = |number: u32| {
        build(number);
        lab.write(
            "compose.yml",
            "x-hlx: {stable: 0s}\nservices:\n  web:\n    build: .\n    init: true\n    command: [/bin/busybox, sleep, \"1000\"]\n",
        );
        lab.commit().deploys(&[]);
        lab.docker(&["inspect", "-f", "{{.Image}}", &format!("{}-web-1", lab.project())]).trim().to_owned()
    };
    let ids = [1, 2, 3, 4].map(version);
    let there = || {
        ids.clone().map(|id| {
            Command::new("docker").args(["image", "inspect", &id]).output().unwrap().status.success()
        })
    };
    assert_eq!(there(), [true; 4]);
    let say = |args: &[&str]| text(&run(&mut lab.hlx(args)).stdout);
    let dry = say(&["prune", "--dry-run"]);
    assert!(dry.contains("4 images and names would go"), "{dry}");
    assert_eq!(there(), [true; 4]);
    say(&["prune"]);
    assert_eq!(there(), [false, false, true, true]);
    assert!(say(&["prune"]).contains("0 images and names removed"));
    // The one that runs stays, whatever is asked for.
    say(&["prune", "--keep", "0"]);
    assert_eq!(there(), [false, false, false, true]);
    lab.deploys(&[]);
    // What was built for a version that was not well goes once it has lost its name.
    let text = fs::read_to_string(lab.path("repo/compose.yml")).unwrap();
    build(5);
    lab.write("compose.yml", text.replace("sleep, \"1000\"", "\"false\"")).commit().fails(6, &[], &[]);
    let failed = lab.docker(&["inspect", "-f", "{{.Id}}", &format!("{}-web", lab.project())]);
    build(6);
    lab.write("compose.yml", text).commit().deploys(&[]);
    let named = say(&["prune", "--dry-run"]);
    assert!(!failed.trim().is_empty() && named.contains("1 image or name would go"), "{named}");
    say(&["prune"]);
    assert!(lab.docker(&["image", "inspect", "-f", "{{.Id}}", failed.trim()]).trim().is_empty());
    for id in &ids {
        lab.docker(&["rmi", "-f", id]);
    }
}

#[test]
fn an_update_brings_newer_images_or_those_of_before() {
    let Some(lab) = Lab::new("update") else { return };
    let tag = format!("{}-moving", lab.project());
    let image = |command: &str, label: &str| {
        fs::write(
            lab.path("image/Dockerfile"),
            format!("FROM {}\nLABEL n={label}\nCMD [{command}]\n", lab.image()),
        )
        .unwrap();
        run(Command::new("docker").args(["build", "-q", "-t", &tag]).arg(lab.path("image")));
        lab.docker(&["image", "inspect", "-f", "{{.Id}}", &tag]).trim().to_owned()
    };
    let sleep = "\"/bin/busybox\", \"sleep\", \"1000\"";
    let runs = || {
        lab.docker(&["inspect", "-f", "{{.Image}}", &format!("{}-web-1", lab.project())]).trim().to_owned()
    };
    let update = |code: i32| {
        let output = lab.hlx(&["update", &lab.service]).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
        text(&output.stdout) + &text(&output.stderr)
    };
    assert!(update(1).contains("never deployed here"));
    let first = image(sleep, "1");
    let compose = format!(
        "x-hlx: {{stable: 1s}}\nservices:\n  web: {{image: {tag}, pull_policy: never, init: true}}\n"
    );
    lab.write("compose.yml", compose).commit().deploys(&[]);
    assert_eq!(runs(), first);
    assert!(update(0).contains("no newer images"));
    // A commit that is not deployed yet is left alone.
    lab.write("compose.yml", "services: {}\n").commit();
    let second = image(sleep, "2");
    assert!(update(0).contains("newer images: web"));
    assert_eq!(runs(), second);
    let bad = image("\"/bin/busybox\", \"false\"", "3");
    let said = update(6);
    assert_eq!(runs(), second, "{said}");
    for id in [first, second, bad, tag.clone()] {
        lab.docker(&["rmi", "-f", &id]);
    }
}
