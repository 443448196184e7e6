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
