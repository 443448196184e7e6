//! What is in the way is found before anything is touched, and `hlx doctor` looks at the host.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::lab::{Alien, Lab, SLEEP, run, text};

#[test]
fn a_port_that_is_taken_is_named_with_its_owner() {
    let Some(lab) = Lab::new("ports") else { return };
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (tcp_port, udp_port) = (tcp.local_addr().unwrap().port(), udp.local_addr().unwrap().port());
    let own = format!("(process {})", std::process::id());
    let ports = format!("    ports: [\"{tcp_port}:80\", \"127.0.0.1:{udp_port}:53/udp\"]\n");
    lab.compose(SLEEP, &ports).commit();
    let said = lab.fails(1, &[], &[&own, "service `web`", "no container was touched"]);
    assert!(
        said.contains(&format!("port {tcp_port}/tcp")) && said.contains(&format!("port {udp_port}/udp")),
        "{said}"
    );
    assert!(lab.containers().is_empty());
    drop((tcp, udp));
    lab.deploys(&[]);
    // It is the stack's own now, and in the way of another.
    lab.deploys(&[]);
    let Some(other) = Lab::new("ports") else { return };
    other.compose(SLEEP, &ports).commit();
    let words = [format!("{}-web-1", lab.project()), format!("of the project {}", lab.project())];
    other.fails(1, &[], &[&words[0], &words[1]]);
    // Two services of one stack.
    other.write(
        "compose.yml",
        format!(
            "services:\n  a: {{image: x, ports: [\"{0}:1\"]}}\n  b: {{image: x, ports: [\"{0}:2\"]}}\n",
            free_port()
        ),
    );
    other.commit().fails(1, &[], &["service `b` publishes, is published by service `a` too"]);
}

#[test]
fn a_name_that_is_taken_is_named_with_its_owner() {
    let Some(lab) = Lab::new("taken-name") else { return };
    lab.compose(SLEEP, "").commit().deploys(&[]);
    let ids = lab.containers();
    let alien = Alien(format!("{}-alien", lab.project()));
    run(Command::new("docker").args(["create", "--name", &alien.0, &lab.image(), "/bin/sh"]));
    lab.compose(SLEEP, &format!("    container_name: {}\n", alien.0)).commit();
    let told = format!("`{}`, which service `web` wants, is taken by a container of no project", alien.0);
    let plan = lab.hlx(&["plan", &lab.service]).output().unwrap();
    assert!(text(&plan.stderr).contains(&told), "{}", text(&plan.stderr));
    lab.fails(1, &[], &[&told, "no container was touched"]);
    assert_eq!(lab.containers(), ids);
    drop(alien);
    lab.deploys(&[]);
    // It is the stack's own now, and in the way of another.
    lab.deploys(&["--retry"]);
    let Some(other) = Lab::new("taken-name") else { return };
    other.compose(SLEEP, &format!("    container_name: {}-alien\n", lab.project())).commit();
    other.fails(1, &[], &[&format!("a container of the project {}", lab.project())]);
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn networks_and_volumes_that_are_not_there_are_named() {
    let Some(lab) = Lab::new("external") else { return };
    let name = lab.project();
    lab.compose(
        SLEEP,
        &format!(
            "    networks: [net]\n    volumes: [\"vol:/v\"]\nnetworks:\n  net: {{external: true, name: {name}-net}}\n\
             volumes:\n  vol: {{external: true, name: {name}-vol}}\n"
        ),
    )
    .commit();
    let (net, vol) =
        (format!("docker network create {name}-net"), format!("docker volume create {name}-vol"));
    lab.fails(1, &[], &[&net, &vol, "no container was touched"]);
    for kind in ["network", "volume"] {
        let label = format!("com.docker.compose.project={name}");
        run(Command::new("docker").args([
            kind,
            "create",
            "--label",
            &label,
            &format!("{name}-{}", &kind[..3]),
        ]));
    }
    lab.deploys(&[]);
}

#[test]
fn the_doctor_says_what_to_do() {
    let Some(lab) = Lab::new("doctor") else { return };
    fs::create_dir_all(lab.path("state")).unwrap();
    fs::set_permissions(lab.path("state"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(&lab.dir, fs::Permissions::from_mode(0o755)).unwrap();
    let config = lab.path("config.yaml");
    let repo = lab.path("repo");
    fs::write(&config, format!("repo: {}\ndeny: [setup]\n", repo.display())).unwrap();
    let doctor = |more: &[&str]| {
        let mut hlx = lab.hlx(&[&["doctor"], more].concat());
        hlx.env("HLX_CONFIG", &config).output().unwrap()
    };
    let well = doctor(&[]);
    let said = text(&well.stdout);
    assert!(well.status.success(), "{said}{}", text(&well.stderr));
    for line in [
        "ok    settings: some powers denied",
        "ok    keys: ",
        "ok    user: root",
        "docker: Engine ",
        "ram: ",
        "swap: ",
        "core dumps: ",
    ] {
        assert!(said.contains(line), "`{line}` is missing in:\n{said}");
    }
    let findings: serde_json::Value = serde_json::from_slice(&doctor(&["--json"]).stdout).unwrap();
    assert!(
        findings["findings"].as_array().unwrap().iter().all(|finding| finding["verdict"] != "fail"),
        "{findings}"
    );
    // What every deploy would fail at.
    fs::write(&config, "repo: /nowhere/x.git\nverify: {allowed_signers: /nowhere/signers}\nstacks: [app]\n")
        .unwrap();
    let said = text(&doctor(&[]).stdout);
    assert!(said.contains("FAIL  repository: ") && said.contains("FAIL  signers: "), "{said}");
    // Three things to mend, each with what to do.
    fs::set_permissions(lab.path("state"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(&config, "denied: []\n").unwrap();
    fs::remove_file(lab.path("identity")).unwrap();
    let ill = doctor(&[]);
    let said = text(&ill.stdout);
    assert_eq!(ill.status.code(), Some(1), "{said}");
    for line in [
        "FAIL  settings: ",
        "there is no setting `denied`",
        "FAIL  keys: none is here",
        "FAIL  state: ",
        "-> chown root",
    ] {
        assert!(said.contains(line), "`{line}` is missing in:\n{said}");
    }
    let findings: serde_json::Value = serde_json::from_slice(&doctor(&["--json"]).stdout).unwrap();
    let failed =
        findings["findings"].as_array().unwrap().iter().filter(|finding| finding["verdict"] == "fail");
    assert_eq!(failed.count(), 3, "{findings}");
}

#[test]
fn the_doctor_finds_stacks_that_are_none_and_a_disk_that_takes_nothing() {
    let Some(lab) = Lab::new("doctor-lost") else { return };
    lab.compose(SLEEP, "").commit();
    fs::create_dir_all(lab.path("state")).unwrap();
    let (config, repo) = (lab.path("config.yaml"), lab.path("repo"));
    fs::write(&config, format!("repo: {}\nstacks: [{}x]\n", repo.display(), lab.service)).unwrap();
    run(Command::new("mount").args(["-t", "tmpfs", "-o", "ro,mode=0700", "none"]).arg(lab.path("state")));
    let output = lab.hlx(&["doctor"]).env("HLX_CONFIG", &config).output().unwrap();
    let said = text(&output.stdout);
    let lost =
        format!("FAIL  stacks: the repository has no branch `{0}x` (did you mean `{0}`?)", lab.service);
    assert!(said.contains(&lost) && said.contains("FAIL  state: nothing can be written to "), "{said}");
    assert_eq!(output.status.code(), Some(1), "{said}");
}
