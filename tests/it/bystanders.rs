//! What a commit must not do to other stacks and to containers that run.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::lab::{Lab, SLEEP, TOKEN, hides_secrets, run, text};

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

#[test]
fn a_secret_in_the_model_is_in_no_message_and_in_no_record() {
    let Some(lab) = Lab::new("told") else { return };
    lab.seal(".env", &format!("TOKEN={TOKEN}\n"));
    let version = |hosts: &str, script: &str| {
        let rest = "    volumes: [\"./d-${TOKEN}:/d\"]\n    container_name: \"${TOKEN}\"\n";
        lab.compose(script, rest);
        replace(&lab, "stable: 1s", &format!("stable: 1s, hosts: {hosts}"));
        lab.commit();
    };
    version("[\"${TOKEN}\"]", SLEEP);
    lab.fails(5, &[], &["but for «secret»"]);
    version("[]", SLEEP);
    let plan = lab.hlx(&["plan", &lab.service, "--json"]).output().unwrap();
    assert_eq!(plan.status.code(), Some(10));
    assert!(text(&plan.stdout).contains("d-«secret»:/d"), "{}", text(&plan.stdout));
    hides_secrets(&plan);
    version("[]", "exit 3");
    lab.fails(7, &[], &["«secret» ended with exit code 3"]);
    let history = lab.hlx(&["history"]).output().unwrap();
    assert!(text(&history.stdout).contains("«secret»"), "{}", text(&history.stdout));
    hides_secrets(&history);
    assert!(lab.leaks("state").is_empty(), "{:?}", lab.leaks("state"));
}

#[test]
fn a_replacement_that_was_cut_short_is_put_right() {
    let Some(lab) = Lab::new("halves") else { return };
    lab.compose(SLEEP, "").commit().deploys(&[]);
    // What Compose leaves when it is killed before it has removed the old container.
    let old = lab.containers()[0].clone();
    let name = format!("{}-web-1", lab.project());
    let label = |key: &str, value: &str| format!("--label=com.docker.compose.{key}={value}");
    let labels = [
        label("project", &lab.project()),
        label("service", "web"),
        label("oneoff", "False"),
        label("container-number", "1"),
        label("config-hash", "another"),
    ];
    let half = || {
        let half = format!("{}_{name}", &old[..12]);
        let labels = labels.each_ref().map(String::as_str);
        let image = lab.image();
        let words = [&["create", "--name", &half][..], &labels, &[&image, "/bin/busybox"]].concat();
        lab.docker(&words).trim().to_owned()
    };
    let id = half();
    lab.compose(&format!("{SLEEP} # 2"), "").commit().deploys(&[]);
    assert_eq!(lab.containers().len(), 1);
    assert!(!lab.containers().contains(&id) && !lab.containers().contains(&old));
    // And after that: the new one has all that there is of the old one.
    lab.docker(&["rm", "-f", &lab.containers()[0]]);
    half();
    lab.compose(&format!("{SLEEP} # 3"), "").commit().deploys(&[]);
    let names = lab.docker(&[
        "ps",
        "-a",
        "--format",
        "{{.Names}}",
        "--filter",
        &labels[0].replace("--label=", "label="),
    ]);
    assert_eq!(names.trim(), name);
}

#[test]
fn killed_while_it_goes_back_the_next_deploy_goes_back() {
    let Some(lab) = Lab::new("half-way") else { return };
    lab.compose(SLEEP, "").commit().deploys(&[]);
    let good = lab.head();
    lab.compose("exit 5", "").commit();
    let mut hlx = lab.hlx(&["decrypt-deploy", &lab.service]).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(hlx.stderr.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.contains("going back to")));
    hlx.kill().unwrap();
    hlx.wait().unwrap();
    lab.fails(6, &[], &[&format!("the old version, {good:.10}, runs again")]);
    let condition = lab.docker(&["inspect", "-f", "{{.State.Status}}", &lab.containers()[0]]);
    assert_eq!(condition.trim(), "running");
    // Now that it is certain, it is not tried again.
    lab.fails(1, &[], &["is known to be bad"]);
}

#[test]
fn without_the_image_of_what_runs_nothing_is_deployed() {
    let Some(lab) = Lab::new("gone") else { return };
    built(&lab, "own", SLEEP);
    lab.deploys(&[]);
    let own = image_of(&lab);
    run(&mut lab.hlx(&["down", &lab.service]));
    lab.docker(&["rmi", "-f", &own]);
    built(&lab, "next", SLEEP);
    lab.fails(
        5,
        &[],
        &["has gone, and no registry has it", "--without-rollback", "no container was touched"],
    );
    lab.deploys(&["--without-rollback"]);
    assert_eq!(lab.inside("web", "/bin/busybox cat /mark"), "next");
}

#[test]
fn going_back_twice_goes_further_back() {
    let Some(lab) = Lab::new("twice") else { return };
    let bare = lab.path("bare.git").to_str().unwrap().to_owned();
    run(Command::new("git").args(["init", "--quiet", "--bare", &bare]));
    lab.git(&["remote", "add", "origin", &bare]);
    for version in ["one", "two", "three"] {
        lab.write("version", version).compose(SLEEP, "").commit();
        lab.git(&["push", "--quiet", "origin", &lab.service]);
        lab.deploys(&[]);
    }
    for version in ["two", "one"] {
        run(&mut lab.hlx(&["rollback", &lab.service]));
        assert_eq!(fs::read_to_string(lab.project_dir().join("version")).unwrap(), version);
    }
    let none = lab.hlx(&["rollback", &lab.service]).output().unwrap();
    assert_eq!(none.status.code(), Some(1));
    assert!(
        text(&none.stderr).contains("already, and no commit before that was good"),
        "{}",
        text(&none.stderr)
    );
}
