//! A Docker that has a network address: what goes along is deployed, what would have to be there is refused.

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Command, Output};

use crate::lab::{Lab, SLEEP, TOKEN, hides_secrets, run, text};

/// A tunnel to the Docker of this machine, as ssh makes one.
fn tunnel() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for near in listener.incoming().flatten() {
            let far = UnixStream::connect("/var/run/docker.sock").unwrap();
            let (mut there, mut from) = (far.try_clone().unwrap(), near.try_clone().unwrap());
            std::thread::spawn(move || {
                let _ = io::copy(&mut from, &mut there);
                let _ = there.shutdown(Shutdown::Write);
            });
            let (mut from, mut back): (UnixStream, TcpStream) = (far, near);
            std::thread::spawn(move || {
                let _ = io::copy(&mut from, &mut back);
                let _ = back.shutdown(Shutdown::Write);
            });
        }
    });
    format!("tcp://{address}")
}

#[test]
fn secrets_of_the_environment_go_along_and_files_of_this_host_are_refused() {
    let Some(lab) = Lab::new("far") else { return };
    let host = tunnel();
    let hlx = |args: &[&str], with: &[(&str, &str)], code: i32| -> String {
        let output: Output = lab.hlx(args).envs(with.iter().copied()).output().unwrap();
        let said = text(&output.stderr) + &text(&output.stdout);
        assert_eq!(output.status.code(), Some(code), "{said}");
        hides_secrets(&output);
        said
    };
    let far = [("DOCKER_HOST", host.as_str())];
    lab.seal(".env", &format!("TOKEN={TOKEN}\n")).seal("app.env", "MORE=more-of-it\n");
    let rest = "    environment: {TOKEN: \"${TOKEN}\"}\n    env_file: app.env\n    volumes: [\"data:/data\"]\nvolumes: {data: {}}\n";
    lab.compose(&format!("echo $TOKEN $MORE; {SLEEP}"), rest).commit();
    let said = hlx(&["deploy", &lab.service], &far, 0);
    assert!(said.contains("not looked at: the disk of the other host"), "{said}");
    assert_eq!(lab.logs(), format!("{TOKEN} more-of-it\n"));
    let before = lab.containers();

    // The same address, whatever it is called.
    let mut context = Command::new("docker");
    context.args(["context", "create", "nas", "--docker", &format!("host={host}")]);
    run(context.env("HOME", &lab.dir).env("DOCKER_CONFIG", lab.path(".docker")));
    assert!(hlx(&["plan", &lab.service], &[("DOCKER_CONTEXT", "nas")], 0).contains("no changes"));
    // Another one is another Docker, for all that hlx can tell.
    for args in [["deploy", &lab.service], ["plan", &lab.service], ["down", &lab.service]] {
        let said = hlx(&args, &[], 5);
        assert!(
            said.contains(&format!("was deployed to the Docker at {host}, not to the one at unix://")),
            "{said}"
        );
    }
    assert!(hlx(&["ps"], &[], 0).contains("which is not asked"));

    lab.seal("token", TOKEN).seal("app.key", "k-of-the-app").write("clear.conf", "clear");
    let rest = "    secrets: [t]\n    configs: [c]\n    volumes: [\"./app.key:/k\", \"./data:/d\", \"/srv:/srv\"]\n\
                secrets: {t: {file: token}}\nconfigs: {c: {file: clear.conf}}\n";
    lab.compose(SLEEP, rest).commit();
    for args in [["plan", &lab.service], ["deploy", &lab.service]] {
        let said = hlx(&args, &far, 1);
        assert!(said.contains(&format!("the Docker at {host} is on another host")), "{said}");
        for word in [
            "secret `t`, which is",
            "config `c`, which is",
            "/app.key, which service `web` mounts",
            "/data, which",
        ] {
            assert!(said.contains(word), "`{word}` is missing in {said}");
        }
        // A plan touches none, and need not say so.
        assert_eq!(said.contains("no container was touched"), args[0] == "deploy", "{said}");
        assert!(!said.contains("/srv, which"), "{said}");
    }
    assert_eq!(lab.containers(), before);
    hlx(&["down", &lab.service], &far, 0);
    assert!(lab.containers().is_empty());
}
