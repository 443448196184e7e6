//! What no host could deploy is refused before anything is done for it.

use crate::lab::{Lab, SLEEP, TOKEN, hides_secrets, text};

/// A service that is built, with this below its `build:`.
fn built(lab: &Lab, build: &str) {
    lab.compose(SLEEP, &format!("    build:\n      context: .\n{build}")).commit();
}

#[test]
fn no_build_puts_a_secret_into_an_image() {
    let Some(lab) = Lab::new("baked") else { return };
    let from = lab.image();
    lab.seal(".env", &format!("TOKEN={TOKEN}\nSTAGE=production\nUSED=a-value-in-use\n"));
    lab.write("Dockerfile", format!("FROM {from}\nARG A\n"));
    let inline = format!("      dockerfile_inline: |\n        FROM {from}\n");
    let table = [
        ("build.args.A", "      args: {A: \"x-${TOKEN}-y\"}\n".to_owned()),
        ("build.args.TOKEN", "      args: [TOKEN]\n".to_owned()),
        ("build.labels.l", "      labels: {l: \"${TOKEN}\"}\n".to_owned()),
        ("build.dockerfile_inline", format!("{inline}        ENV K=${{TOKEN}}\n")),
    ];
    for (field, build) in table {
        built(&lab, &build);
        let words = [&format!("service `web`: `{field}` holds `TOKEN` of .env"), "build.secrets"];
        lab.fails(5, &[], &[words[0], words[1], "no container was touched"]);
    }
    let planned = lab.hlx(&["plan", &lab.service]).output().unwrap();
    hides_secrets(&planned);
    let said = text(&planned.stderr);
    assert!(
        said.contains("a deploy would stop here: ") && said.contains("build.dockerfile_inline"),
        "{said}"
    );
    assert!(lab.docker(&["images", "-q", &format!("{}-web", lab.project())]).is_empty());
    // What git shows in clear is no secret, and neither are what the build does not use, names and the
    // environment of the container.
    let fine = format!(
        "{inline}        ENV K=production\n      args: {{A: production}}\n    environment: [TOKEN]\n"
    );
    built(&lab, &fine);
    lab.deploys(&[]);
}

#[test]
fn what_could_not_become_well_is_refused_before_a_container_is_touched() {
    let Some(lab) = Lab::new("sound") else { return };
    lab.compose(SLEEP, "").commit().deploys(&[]);
    let before = lab.containers();
    let with = |from: &str, to: &str, rest: &str| {
        lab.compose(SLEEP, rest);
        let text = std::fs::read_to_string(lab.path("repo/compose.yml")).unwrap();
        lab.write("compose.yml", text.replace(from, to)).commit();
    };
    with("stable: 1s", "stable: 1m", "");
    lab.fails(1, &[], &["`x-hlx.timeout` is 20 s, and `x-hlx.stable` wants each container to run for 60 s"]);
    with("stable: 1s", "stable: 1s, probes: [{exec: [nosvc, /bin/busybox, \"true\"]}]", "");
    lab.fails(1, &[], &["`x-hlx.probes` names `nosvc`, which is no service", "it has: web"]);
    let rest = "    secrets: [s]\nsecrets: {s: {file: ./nofile}, unused: {file: ./none}}\n";
    with("", "", rest);
    let missing = format!(
        "there is no {}/nofile, which service `web` is given as the secret `s`",
        lab.project_dir().display()
    );
    let said = lab.fails(1, &[], &[&missing, "no container was touched"]);
    assert!(!said.contains("none") && lab.containers() == before, "{said}");
    // One that a script makes, or that is there.
    lab.write("setup.sh", "echo made > nofile\n").commit().deploys(&[]);
    lab.deploys(&[]);
    // The time of a check that may fail for longer than is waited.
    let check = "    healthcheck: {test: [CMD, /bin/busybox, \"false\"], interval: 1s, start_period: 1m}\n";
    with("timeout: 20s", "timeout: 3s", check);
    lab.fails(
        6,
        &[],
        &["still starting after 3 s; the `start_period` of its check is 60 s: set `x-hlx.timeout` higher"],
    );
}
