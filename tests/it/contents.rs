//! What is put into containers before they start.

use crate::lab::{Lab, TOKEN};

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
