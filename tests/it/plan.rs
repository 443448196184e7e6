//! `hlx plan` says what the next deploy does, and does nothing.

use std::fs;

use serde_json::Value;

use crate::lab::{Lab, SLEEP, TOKEN, hides_secrets, text};

impl Lab {
    #[track_caller]
    fn plan(&self, code: i32) -> Value {
        let output = self.hlx(&["plan", &self.service, "--json"]).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{}{}", text(&output.stdout), text(&output.stderr));
        hides_secrets(&output);
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

/// Each service that would change and what would happen, like `recreate web`.
fn actions(plan: &Value) -> Vec<String> {
    let services = plan["services"].as_array().unwrap().iter();
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    services.map(|change| word(&change["action"]) + " " + &word(&change["name"])).collect()
}

fn two_services(lab: &Lab, web: &str, other: &str) {
    let image = lab.image();
    let service = |name: &str, rest: &str| {
        format!(
            "  {name}:\n    image: {image}\n    pull_policy: never\n    init: true\n    command: [/bin/busybox, sleep, \"1000\"]\n{rest}"
        )
    };
    let text = format!(
        "x-hlx: {{stable: 0s}}\nservices:\n{}{}secrets: {{t: {{file: token}}}}\nvolumes: {{data: {{}}}}\n",
        service("web", web),
        service("other", other)
    );
    lab.write("compose.yml", text).commit();
}

const WEB: &str =
    "    secrets: [t]\n    environment: [TOKEN]\n    volumes: [\"data:/d\", \"./conf:/conf\"]\n";

#[test]
fn a_plan_says_of_the_settings_what_a_check_says() {
    let Some(lab) = Lab::new("plan-says") else { return };
    let head = |x_hlx: &str| {
        lab.write("compose.yml", format!("x-hlx: {x_hlx}\nservices: {{web: {{image: {}}}}}\n", lab.image()));
        let output = lab.commit().hlx(&["plan", &lab.service]).output().unwrap();
        assert_eq!(output.status.code(), Some(10), "{}", text(&output.stderr));
        hides_secrets(&output);
        text(&output.stderr)
    };
    let said = head("{after: [nowhere], probes: [{exec: [wbe, \"true\"]}]}");
    assert!(said.contains("`x-hlx.after` names `nowhere`, which is no branch of "), "{said}");
    assert!(said.contains("`x-hlx.probes` names `wbe`, which is no service of the stack"), "{said}");
    lab.seal(".env", &format!("TOKEN={TOKEN}\n"));
    let said = head("{probes: [{exec: [web, \"${TOKEN}\"]}]}");
    assert!(said.contains("a deploy would stop here: ") && said.contains("holds a secret"), "{said}");
    let said = head(&format!("{{after: [{}], probes: [{{exec: [web, \"true\"]}}]}}", lab.service));
    assert!(!said.contains("x-hlx"), "{said}");
}

#[test]
fn a_plan_is_what_the_deploy_then_does() {
    let Some(lab) = Lab::new("plan") else { return };
    lab.seal("token", TOKEN).seal(".env", &format!("TOKEN={TOKEN}\nSAME=value-that-stays\n"));
    lab.write("setup.sh", "true\n").write("conf/a", "1");
    two_services(&lab, WEB, "");
    let plan = lab.plan(10);
    assert_eq!(actions(&plan), ["create other", "create web"]);
    assert_eq!((plan["setup"].as_str(), plan["deployed"].as_str()), (Some("new"), None));
    assert!(plan["secrets"].as_array().unwrap().contains(&".env: TOKEN".into()), "{plan}");
    // Nothing was made for it.
    assert!(!lab.path("srv").exists() && !lab.path("run").join(&lab.service).exists());
    assert!(lab.containers().is_empty() && lab.mounts().is_empty());
    lab.deploys(&[]);
    let plan = lab.plan(0);
    assert!(actions(&plan).is_empty() && plan["secrets"] == Value::Array(Vec::new()), "{plan}");

    // Of two values one changed, and of two services only the one that uses it.
    lab.seal(".env", "TOKEN=another-token-entirely\nSAME=value-that-stays\n").commit();
    let plan = lab.plan(10);
    assert_eq!(actions(&plan), ["recreate web"]);
    assert_eq!(plan["secrets"], serde_json::json!([".env: TOKEN"]));
    follows(&lab, &plan);
    // A file secret; its service is recreated though compose's model is the same.
    lab.seal("token", "another-file-entirely").commit();
    let plan = lab.plan(10);
    assert_eq!(
        (actions(&plan), &plan["secrets"]),
        (vec!["recreate web".to_owned()], &serde_json::json!(["token"]))
    );
    assert_eq!(plan["services"][0]["volumes_added"], Value::Array(Vec::new()), "{plan}");
    follows(&lab, &plan);
}

#[test]
fn ports_mounts_files_and_services_that_go_are_told() {
    let Some(lab) = Lab::new("planned") else { return };
    lab.seal("token", TOKEN).seal(".env", "TOKEN=1\n").write("conf/a", "1");
    two_services(&lab, WEB, "    restart: always\n");
    lab.deploys(&[]);
    lab.docker(&["stop", "-t", "0", &format!("{}-other-1", lab.project())]);
    assert_eq!(actions(&lab.plan(10)), ["start other"]);
    lab.write("conf/a", "2").write("conf/b", "1").write("setup.sh", "touch ../ran\n");
    let dir = lab.project_dir();
    lab.compose(SLEEP, "    ports: [\"127.0.0.1:0:80\", \"8099:81\"]\n    volumes: [\"./data:/d\"]\n")
        .commit();
    let plan = lab.plan(10);
    assert_eq!(actions(&plan), ["remove other", "recreate web"]);
    let web = &plan["services"][1];
    assert!(web["ports_added"].as_array().unwrap().contains(&"8099:81/tcp".into()), "{plan}");
    assert_eq!(web["volumes_added"], serde_json::json!([format!("{}:/d", dir.join("data").display())]));
    assert_eq!(plan["setup"], "new");
    let files: Vec<String> = plan["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| format!("{} {}", file["how"], file["path"]))
        .collect();
    assert!(
        files.contains(&"\"added\" \"conf/b\"".to_owned())
            && files.contains(&"\"changed\" \"conf/a\"".to_owned()),
        "{files:?}"
    );
    assert_eq!(fs::read_to_string(dir.join("conf/a")).unwrap(), "1");
    assert!(!lab.path("srv/ran").exists());
    // For people, and a stack that cannot be deployed cannot be planned.
    let said = text(&lab.hlx(&["plan", &lab.service]).output().unwrap().stdout);
    for line in [
        "recreate service web\n",
        "    + port 8099:81/tcp\n",
        "run setup.sh (new)\n",
        "file changed: conf/a\n",
    ] {
        assert!(said.contains(line), "`{line}` is missing in:\n{said}");
    }
    // A build may give another image, and a port may be free by then.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let build = format!("    build: ./app\n    ports: [\"127.0.0.1:{port}:80\"]\n");
    lab.write("app/Dockerfile", format!("FROM {}\n", lab.image())).compose(SLEEP, &build).commit();
    let output = lab.hlx(&["plan", &lab.service]).output().unwrap();
    let said = text(&output.stderr);
    assert!(output.status.code() == Some(10) && said.contains("a deploy would stop here: "), "{said}");
    drop(taken);
    lab.deploys(&["--timings"]);
    lab.write("app/Dockerfile", format!("FROM {}\nLABEL x=y\n", lab.image())).commit();
    assert_eq!(lab.plan(10)["rebuilt"], serde_json::json!(["web"]));
    lab.compose(SLEEP, "    no_such_key: 1\n").commit();
    assert_eq!(lab.hlx(&["plan", &lab.service]).output().unwrap().status.code(), Some(1));
}

/// The deploy recreates the services of the plan, and no other; then nothing is left to do.
#[track_caller]
fn follows(lab: &Lab, plan: &Value) {
    let ids = || {
        let id = |service: &str| {
            let name = format!("{}-{service}-1", lab.project());
            (service.to_owned(), lab.docker(&["inspect", "-f", "{{.Id}}", &name]))
        };
        ["other", "web"].map(id)
    };
    let before = ids();
    lab.deploys(&[]);
    let changed: Vec<String> = ids()
        .into_iter()
        .filter(|one| !before.contains(one))
        .map(|(name, _)| format!("recreate {name}"))
        .collect();
    assert_eq!(changed, actions(plan));
    lab.plan(0);
}
