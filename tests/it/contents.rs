//! What services read and Compose does not compare: a change reaches exactly those that read it.

use std::collections::BTreeMap;

use crate::lab::{Lab, PASSWORD, TOKEN, text};

/// What each service reads, and how it is granted.
const READERS: [(&str, &str); 7] = [
    ("inline", "configs: [{source: inline, target: /c}]"),
    ("variable", "secrets: [{source: variable, target: /c}]"),
    ("config", "configs: [{source: file, target: /c}]"),
    ("secret", "secrets: [{source: file, target: /c}]"),
    ("mount", "volumes: [\"./dir/file:/c:ro\"]"),
    ("directory", "volumes: [\"./dir:/d:ro\"]"),
    ("none", "labels: {a: b}"),
];

fn readers(lab: &Lab) {
    let image = lab.image();
    let service = |(name, reads): (&str, &str)| {
        format!(
            "  {name}: {{image: {image}, pull_policy: never, init: true, command: [/bin/busybox, sleep, \"1000\"], {reads}}}\n"
        )
    };
    let text = format!(
        "x-hlx: {{stable: 0s}}\nservices:\n{}configs:\n  inline: {{content: \"k=${{TS}}\"}}\n  file: {{file: dir/file}}\n\
         secrets:\n  variable: {{environment: TS}}\n  file: {{file: dir/file}}\n",
        READERS.into_iter().map(service).collect::<String>()
    );
    lab.write("compose.yml", text);
}

/// The container of each service.
fn ids(lab: &Lab) -> BTreeMap<String, String> {
    let filter = format!("label=com.docker.compose.project={}", lab.project());
    let format = "{{.Label \"com.docker.compose.service\"}} {{.ID}}";
    let listed = lab.docker(&["ps", "-a", "--no-trunc", "--format", format, "--filter", &filter]);
    listed
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, id)| (name.into(), id.into()))
        .collect()
}

/// Deploys; the services whose containers are others now, which `plan` must have said.
#[track_caller]
fn recreated(lab: &Lab) -> Vec<String> {
    let before = ids(lab);
    let plan = lab.hlx(&["plan", &lab.service, "--json"]).output().unwrap();
    let plan: serde_json::Value = serde_json::from_slice(&plan.stdout).unwrap();
    let word = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let planned: Vec<String> =
        plan["services"].as_array().unwrap().iter().map(|change| word(&change["name"])).collect();
    lab.deploys(&[]);
    let after = ids(lab);
    let changed: Vec<String> = after
        .iter()
        .filter(|(name, id)| before.get(*name) != Some(id))
        .map(|(name, _)| name.clone())
        .collect();
    assert_eq!(planned, changed);
    changed
}

#[test]
fn a_change_of_what_services_read_recreates_those_and_no_others() {
    let Some(lab) = Lab::new("contents") else { return };
    let look = |service: &str, path: &str| lab.inside(service, &format!("/bin/busybox cat {path}"));
    lab.seal(".env", &format!("TS='{PASSWORD}'\n")).write("dir/file", "one\n");
    readers(&lab);
    lab.commit();
    assert_eq!(recreated(&lab).len(), READERS.len());
    assert_eq!(
        (look("inline", "/c"), look("variable", "/c")),
        (format!("k={PASSWORD}"), PASSWORD.to_owned())
    );
    lab.write("README.md", "nothing else\n").commit();
    assert!(recreated(&lab).is_empty());
    // A secret.
    lab.seal(".env", &format!("TS={TOKEN}\n")).commit();
    assert_eq!(recreated(&lab), ["inline", "variable"]);
    assert_eq!((look("inline", "/c"), look("variable", "/c")), (format!("k={TOKEN}"), TOKEN.to_owned()));
    // A file in clear.
    lab.write("dir/file", "two\n").commit();
    assert_eq!(recreated(&lab), ["config", "mount", "secret"]);
    for service in ["config", "mount", "secret"] {
        assert_eq!(look(service, "/c"), "two\n", "{service}");
    }
    assert_eq!(look("directory", "/d/file"), "two\n");
    lab.deploys(&[]);
    assert!(recreated(&lab).is_empty());
    // No label is a hash that could be searched for.
    let hash = text(
        &std::process::Command::new("sha256sum").arg(lab.path("repo/dir/file")).output().unwrap().stdout,
    );
    assert!(
        !lab.docker(
            &[&["inspect"][..], &lab.containers().iter().map(String::as_str).collect::<Vec<_>>()].concat()
        )
        .contains(&hash[..32])
    );
}

#[test]
fn a_secret_of_a_variable_that_is_not_set_is_found_before_anything_is_touched() {
    let Some(lab) = Lab::new("unset") else { return };
    lab.compose("true", "    secrets: [s]\nsecrets:\n  s: {environment: NOWHERE}\n").commit();
    lab.fails(
        1,
        &[],
        &["the variable NOWHERE, of which the secret `s` is made, is not set", "no container was touched"],
    );
}

/// Compose makes a container first, and then fails to put the secret into it.
#[test]
fn a_container_that_was_only_made_is_not_taken_for_a_good_one() {
    let Some(lab) = Lab::new("half-made") else { return };
    let rest = |more: &str| format!("    secrets: [s]\n{more}secrets:\n  s: {{environment: TS}}\n");
    lab.seal(".env", &format!("TS={TOKEN}\n"));
    lab.compose(crate::lab::SLEEP, &rest("    read_only: true\n")).commit();
    lab.fails(7, &[], &["there was no good version before it"]);
    lab.fails(7, &["--retry"], &["there was no good version before it"]);
    lab.compose(crate::lab::SLEEP, &rest("")).commit().deploys(&[]);
    assert_eq!(lab.inside("web", "/bin/busybox cat /run/secrets/s"), TOKEN);
}
