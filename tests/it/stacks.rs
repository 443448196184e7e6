//! Several stacks on one host: all at once and in order; what ran, how it stands, and running programs for one.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::process::Stdio;
use std::time::Instant;

use crate::lab::{Lab, SLEEP, TOKEN, run, text};
use crate::soak::number;

/// Makes an orphan branch of the lab's repository, for a tiny stack.
fn stack(lab: &Lab, name: &str, x_hlx: &str, script: &str) {
    lab.git(&["switch", "--quiet", "--orphan", name]);
    // Docker has about thirty networks to give away, unless it is told of more.
    let rest =
        "    secrets: [t]\n    network_mode: none\n    stop_grace_period: 0s\nsecrets:\n  t: {file: token}\n";
    lab.compose(script, rest);
    let text = fs::read_to_string(lab.path("repo/compose.yml")).unwrap();
    let project = format!("name: {}\n", project(lab, name));
    lab.write("compose.yml", project + &text.replace("stable: 1s", &format!("{x_hlx}stable: 200ms")));
    lab.seal("token", TOKEN).commit();
}

fn project(lab: &Lab, name: &str) -> String {
    format!("{}-{name}", lab.project())
}

/// When each stack's container was started last.
fn started(lab: &Lab, name: &str) -> Option<String> {
    let container = format!("{}-web-1", project(lab, name));
    Some(lab.docker(&["inspect", "-f", "{{.State.StartedAt}}", &container]).trim().to_owned())
        .filter(|time| !time.is_empty())
}

/// Takes the containers of these stacks away.
struct Swept<'l>(&'l Lab, Vec<String>);

impl Drop for Swept<'_> {
    fn drop(&mut self) {
        for name in &self.1 {
            let _ = self.0.hlx(&["down", name]).output();
            let kept = format!("reference=hlx/{}*/*", name.to_lowercase());
            for id in self.0.docker(&["images", "-q", "--filter", &kept]).lines() {
                self.0.docker(&["rmi", id]);
            }
        }
    }
}

fn json(bytes: &[u8]) -> Vec<serde_json::Value> {
    serde_json::from_slice(bytes).unwrap()
}

#[test]
fn all_stacks_of_a_host_are_deployed_in_order_and_one_failure_stops_only_its_own() {
    let Some(mut lab) = Lab::new("all") else { return };
    let unique = |name: &str| format!("{name}{}", std::process::id());
    let [proxy, app, bad, late, far, sealed] = ["proxy", "app", "bad", "late", "far", "sealed"].map(unique);
    let after = |names: &str| format!("after: [{names}], ");
    lab.git(&["switch", "--quiet", "--orphan", "main"]);
    lab.write("README.md", "x").commit();
    stack(&lab, &sealed, "", SLEEP);
    lab.change_key();
    let lab = lab;
    stack(&lab, &proxy, "", SLEEP);
    stack(&lab, &app, &after(&format!("{proxy}, elsewhere")), SLEEP);
    stack(&lab, &bad, &after(&proxy), "exit 3");
    stack(&lab, &late, &after(&bad), SLEEP);
    stack(&lab, &far, "hosts: [elsewhere], ", SLEEP);
    let _swept = Swept(&lab, vec![proxy.clone(), app.clone(), bad.clone(), late.clone()]);
    let output = lab.hlx(&["decrypt-deploy", "--all", "--jobs", "2"]).output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for words in [
        format!("1 of 4 stacks failed: {bad}"),
        format!("{sealed} is left out: "),
        format!("{late} is skipped: it comes after {bad}, which failed"),
        format!("{far} is left out: it is for elsewhere"),
        format!("{app} is to come after elsewhere, and there is no such branch"),
        format!("{bad} | the deploy failed: "),
    ] {
        assert!(said.contains(&words), "`{words}` is missing in:\n{said}");
    }
    let done = text(&output.stdout);
    assert!(done.contains(&format!("{proxy} ")) && done.contains(&format!("{app} ")), "{done}");
    assert!(started(&lab, &proxy).unwrap() < started(&lab, &app).unwrap());
    assert_eq!((started(&lab, &late), started(&lab, &far)), (None, None));
    // The history and the standing say so.
    let entries = json(&run(&mut lab.hlx(&["history", "--json"])).stdout);
    let endings: BTreeMap<String, String> = entries
        .iter()
        .map(|entry| {
            (entry["stack"].as_str().unwrap().to_owned(), entry["ending"].as_str().unwrap().to_owned())
        })
        .collect();
    assert_eq!(endings[&proxy], "good");
    assert_eq!(endings[&bad], "not restored");
    let phases = entries.iter().find(|entry| entry["stack"] == *proxy).unwrap()["phases"].as_array().unwrap();
    let up = phases.iter().find(|phase| phase["name"] == "starting containers").unwrap();
    assert!(up["ms"].as_f64() > Some(0.0));
    let shown = text(&run(&mut lab.hlx(&["history", &proxy, "--phases"])).stdout);
    assert!(shown.contains("deploy    good") && shown.contains("starting containers"), "{shown}");
    let standing = json(&run(&mut lab.hlx(&["ps", "--json"])).stdout);
    let of = |name: &str| standing.iter().find(|one| one["stack"] == *name).unwrap();
    assert_eq!(of(&app)["containers"][0]["status"], "running");
    assert!(of(&bad)["bad"].as_str().unwrap().contains("exit code 3"));
    let shown = text(&run(&mut lab.hlx(&["ps", &proxy])).stdout);
    assert!(shown.contains("  runs ") && shown.contains("-web-1: running"), "{shown}");
    // Where notes are left out, what belongs to an error is not.
    let said = text(&lab.hlx(&["decrypt-deploy", "--all", "--quiet"]).output().unwrap().stderr);
    for words in [
        format!("hlx: error: {bad} | "),
        "is known to be bad".to_owned(),
        format!("hlx: hint: {bad} | push a commit"),
    ] {
        assert!(said.contains(&words), "`{words}` is missing in:\n{said}");
    }
}

#[test]
fn what_a_person_stopped_is_started_by_its_name_alone() {
    let Some(lab) = Lab::new("stopped") else { return };
    let [one, two] = ["one", "two"].map(|name| format!("{name}{}", std::process::id()));
    stack(&lab, &one, "", SLEEP);
    stack(&lab, &two, "", SLEEP);
    let _swept = Swept(&lab, vec![one.clone(), two.clone()]);
    run(&mut lab.hlx(&["decrypt-deploy", "--all"]));
    run(&mut lab.hlx(&["down", &one]));
    let all = run(&mut lab.hlx(&["decrypt-deploy", "--all"]));
    let said = text(&all.stderr);
    assert!(said.contains(&format!("{one} is left out: `hlx down` stopped it")), "{said}");
    assert!(started(&lab, &one).is_none() && started(&lab, &two).is_some());
    // What has its name by then is somebody else's; another stack of this host cannot have it.
    let label = format!("com.docker.compose.project={}", project(&lab, &one));
    let theirs = lab.docker(&["create", "--label", &label, &lab.image(), "/bin/sh"]);
    let refused = lab.hlx(&["decrypt-deploy", &one]).output().unwrap();
    assert_eq!(refused.status.code(), Some(5), "{}", text(&refused.stderr));
    lab.docker(&["rm", theirs.trim()]);
    run(&mut lab.hlx(&["decrypt-deploy", &one]));
    assert!(started(&lab, &one).is_some());
    assert!(!text(&run(&mut lab.hlx(&["decrypt-deploy", "--all"])).stderr).contains("is left out"));
}

#[test]
fn many_tiny_stacks_are_deployed_at_once() {
    let Some(lab) = Lab::new("many") else { return };
    let count = number("HLX_SOAK_STACKS", 5);
    let names: Vec<String> = (0..count).map(|n| format!("m{}x{n}", std::process::id())).collect();
    for (n, name) in names.iter().enumerate() {
        // In rows of five, each after the one before it.
        let after = if n % 5 == 0 { String::new() } else { format!("after: [{}], ", names[n - 1]) };
        stack(&lab, name, &after, SLEEP);
    }
    let _swept = Swept(&lab, names.clone());
    let begun = Instant::now();
    let output = lab.hlx(&["decrypt-deploy", "--all", "--quiet"]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    println!("{count} stacks deployed in {:.1} s", begun.elapsed().as_secs_f64());
    assert_eq!(
        text(&output.stdout).lines().filter(|line| line.contains(" deployed in ")).count(),
        names.len()
    );
    let times: Vec<String> = names.iter().map(|name| started(&lab, name).unwrap()).collect();
    assert!((1..names.len()).filter(|n| n % 5 != 0).all(|n| times[n - 1] < times[n]), "{times:?}");
    assert_eq!(lab.leaks("srv").len() + lab.leaks("state").len(), 0);
    assert_eq!(lab.leaks("run").len(), names.len());
}

#[test]
fn a_program_sees_the_decrypted_files_and_nobody_else_does() {
    let Some(lab) = Lab::new("exec") else { return };
    lab.seal(".env", &format!("TOKEN={TOKEN}\n")).write("plain.txt", "plain\n").compose(SLEEP, "").commit();
    let exec = |args: &[&str]| lab.hlx(&[&["exec", &lab.service], args].concat()).output().unwrap();
    let early = exec(&["--", "true"]);
    assert_eq!(early.status.code(), Some(1));
    assert!(text(&early.stderr).contains("never deployed here"), "{}", text(&early.stderr));
    lab.deploys(&[]);
    // The commit that is deployed, not the branch's newest.
    lab.seal(".env", "TOKEN=newer\n").commit();
    let shown = exec(&["--", "cat", ".env", "plain.txt"]);
    assert_eq!(text(&shown.stdout), format!("TOKEN={TOKEN}\nplain\n"), "{}", text(&shown.stderr));
    assert_eq!(exec(&["--", "sh", "-c", "echo oops >&2; exit 42"]).status.code(), Some(42));
    assert_eq!(exec(&["--", "sh", "-c", "kill -9 $$"]).status.code(), Some(137));
    for none in ["no-such-program", "./plain.txt"] {
        let none_there = exec(&["--", none]);
        assert_eq!(none_there.status.code(), Some(127));
        let said = text(&none_there.stderr);
        assert!(said.contains(&format!("hlx: error: cannot run {none}: ")), "{said}");
    }
    let names = exec(&["--", "sh", "-c", "docker compose config --services; docker compose ps -q | wc -l"]);
    assert_eq!(text(&names.stdout), "web\n1\n", "{}", text(&names.stderr));
    let mut sum = lab.hlx(&["exec", &lab.service, "--stdin", "--", "wc", "-c"]);
    let mut sum = sum.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    sum.stdin.take().unwrap().write_all(&[b'x'; 300_000]).unwrap();
    assert_eq!(text(&sum.wait_with_output().unwrap().stdout).trim(), "300000");
    // Outside, the file is ciphertext all the while, and nothing of the view is left.
    let seen = lab.project_dir().join(".env");
    let mut slow = lab.hlx(&[
        "exec",
        &lab.service,
        "--",
        "sh",
        "-c",
        "touch here; while [ -e here ]; do sleep 0.02; done",
    ]);
    let mut slow = slow.spawn().unwrap();
    while !lab.project_dir().join("here").exists() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(!fs::read_to_string(&seen).unwrap().contains(TOKEN));
    lab.fails(8, &[], &["another hlx"]);
    fs::remove_file(lab.project_dir().join("here")).unwrap();
    assert!(slow.wait().unwrap().success());
    assert_eq!(lab.leaks("srv").len() + lab.leaks("run").len() + lab.leaks("state").len(), 0);
    assert!(lab.mounts().is_empty() && !lab.path("run/.vault").exists());
}
