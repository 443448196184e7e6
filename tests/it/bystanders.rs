//! What a commit must not do to other stacks and to containers that run.

use std::fs;
use std::process::Command;

use crate::lab::{Lab, SLEEP, run};

/// The first container's image.
fn image_of(lab: &Lab) -> String {
    lab.docker(&["inspect", "-f", "{{.Image}}", &lab.containers()[0]]).trim().to_owned()
}

/// A stack whose image is built here, from a file `mark`.
fn built(lab: &Lab, mark: &str, script: &str) {
    lab.write("Dockerfile", format!("FROM {}\nCOPY mark /mark\n", lab.image())).write("mark", mark);
    lab.compose(script, "    build: .\n");
    replace(lab, &format!("    image: {}\n    pull_policy: never\n", lab.image()), "");
    lab.commit();
}

#[track_caller]
fn replace(lab: &Lab, from: &str, to: &str) {
    let text = fs::read_to_string(lab.path("repo/compose.yml")).unwrap();
    assert!(text.contains(from), "{text}");
    lab.write("compose.yml", text.replace(from, to));
}

#[test]
fn an_image_that_took_the_name_of_a_kept_one_is_never_run_for_it() {
    let Some(lab) = Lab::new("taken") else { return };
    built(&lab, "own", SLEEP);
    lab.deploys(&[]);
    let (good, own) = (lab.head(), image_of(&lab));
    let reference = format!("reference=hlx/{}-*/web", lab.project());
    let kept = lab.docker(&["images", "--format", "{{.Repository}}:{{.Tag}}", "--filter", &reference]);
    let kept = kept.trim();
    assert!(kept.ends_with(&good), "{kept}");
    let named = || lab.docker(&["image", "inspect", "-f", "{{.Id}}", kept]).trim().to_owned();
    assert_eq!(named(), own);
    // Someone gives the name to another image; a deploy that changes nothing takes it back.
    let stranger = lab.docker(&["image", "inspect", "-f", "{{.Id}}", &lab.image()]).trim().to_owned();
    run(Command::new("docker").args(["tag", &lab.image(), kept]));
    assert_eq!(named(), stranger);
    lab.deploys(&[]);
    assert_eq!(named(), own);
    // So does the next deploy before it begins, and what it goes back to is told by its id: the
    // name is taken again while the new version is built.
    run(Command::new("docker").args(["tag", &lab.image(), kept]));
    lab.write("setup.sh", format!("docker tag {} {kept}\n", lab.image()));
    built(&lab, "faulty", "exit 3");
    lab.fails(6, &[], &[&format!("the old version, {good:.10}, runs again")]);
    assert_eq!(named(), stranger);
    assert_eq!(image_of(&lab), own);
    assert_eq!(lab.inside("web", "/bin/busybox cat /mark"), "own");
}

#[test]
fn a_commit_cannot_take_the_name_of_a_kept_image() {
    let Some(lab) = Lab::new("names") else { return };
    for (image, build) in [
        ("hlx/other/web:1", "."),
        ("docker.io/hlx/other/web:1", "."),
        ("own-name", "{context: ., tags: [hlx/other/web:1]}"),
    ] {
        lab.write("Dockerfile", format!("FROM {}\n", lab.image()));
        lab.compose(SLEEP, &format!("    build: {build}\n"));
        replace(&lab, &format!("    image: {}\n", lab.image()), &format!("    image: {image}\n"));
        lab.commit().fails(5, &[], &["hlx/other/web:1", "choose a name", "no container was touched"]);
        assert!(lab.docker(&["images", "-q", "hlx/other/web"]).is_empty());
    }
}

#[test]
fn a_container_keeps_the_directory_that_it_has_mounted() {
    let Some(lab) = Lab::new("mounted") else { return };
    let mounted = "    volumes: [\"./data:/data\"]\n";
    for file in ["data/.gitkeep", "old/deep/file"] {
        lab.write(file, "");
    }
    lab.compose(SLEEP, mounted).commit().deploys(&[]);
    let ids = lab.containers();
    let inode = || {
        use std::os::unix::fs::MetadataExt;
        fs::metadata(lab.project_dir().join("data")).unwrap().ino()
    };
    let before = inode();
    let writes = |name: &str| {
        lab.inside("web", &format!("/bin/busybox touch /data/{name}"));
        let path = lab.project_dir().join("data").join(name);
        assert!(path.exists(), "the container writes elsewhere by now");
        fs::remove_file(path).unwrap();
    };
    for file in ["data/.gitkeep", "old/deep/file"] {
        fs::remove_file(lab.path("repo").join(file)).unwrap();
    }
    lab.write("new/file", "");
    // A deploy that fails before it touches a container.
    lab.compose(SLEEP, &format!("    no_such_key: 1\n{mounted}"));
    lab.commit().fails(1, &[], &["no container was touched"]);
    assert_eq!((inode(), lab.containers()), (before, ids.clone()));
    assert!(lab.project_dir().join("old/deep/file").exists() && !lab.project_dir().join("new").exists());
    writes("a");
    // And a good one, after which no file is in the directory, and the others have gone.
    lab.compose(SLEEP, mounted).commit().deploys(&[]);
    assert_eq!((inode(), lab.containers()), (before, ids));
    assert!(!lab.project_dir().join("old").exists());
    writes("b");
    // A directory of a version that was not well goes with it; a file takes a directory's place.
    fs::remove_file(lab.path("repo/new/file")).unwrap();
    fs::remove_dir(lab.path("repo/new")).unwrap();
    lab.write("new", "a file").write("faulty/x", "").compose("exit 3", mounted).commit();
    lab.fails(6, &[], &["runs again"]);
    assert!(lab.project_dir().join("new/file").exists() && !lab.project_dir().join("faulty").exists());
    writes("c");
}
