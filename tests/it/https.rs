//! Deploys from a git server over https, with a certificate of its own making and a login.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::lab::{Lab, SLEEP, run, text};

const LOGIN: &str = "deployer:login-must-not-be-seen";

/// True if git speaks https here; Debian's does.
fn git_speaks_https() -> bool {
    let place = text(&run(Command::new("git").arg("--exec-path")).stdout);
    let speaks = Path::new(place.trim()).join("git-remote-https").exists();
    if !speaks {
        eprintln!("\n*** SKIPPED: deploys over https are not tested, as git does not speak it ***\n");
    }
    speaks
}

/// A server for the lab's repository, until it is dropped.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start(lab: &Lab) -> Self {
        let certificate = lab.path("server.pem");
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-nodes", "-days", "2", "-newkey", "ec", "-pkeyopt"]);
        openssl.args(["ec_paramgen_curve:prime256v1", "-subj", "/CN=127.0.0.1"]);
        openssl.args(["-addext", "subjectAltName=IP:127.0.0.1", "-keyout"]).arg(&certificate);
        // The key and the certificate follow each other in one file.
        let made = run(&mut openssl).stdout;
        let both = [fs::read(&certificate).unwrap(), made].concat();
        fs::write(&certificate, both).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/servers/https.py");
        let mut python = Command::new("python3");
        python.arg(script).args([&lab.dir, &certificate]).arg(LOGIN).stdout(Stdio::piped());
        let mut child = python.env("GIT_CONFIG_GLOBAL", "/dev/null").spawn().expect("python3 is installed");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, port: line.trim().parse().expect("the server says its port") }
    }

    fn url(&self, login: &str) -> String {
        format!("https://{login}127.0.0.1:{}/repo", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the lab's directory holds of the login, in any file.
fn recorded(lab: &Lab) -> String {
    let mut grep = Command::new("grep");
    let password = LOGIN.split_once(':').unwrap().1;
    text(&grep.args(["-rlsaF", password]).arg(&lab.dir).output().unwrap().stdout)
}

#[test]
fn a_deploy_over_https_keeps_the_login_to_itself() {
    if !git_speaks_https() {
        return;
    }
    let Some(lab) = Lab::new("https") else { return };
    lab.compose(SLEEP, "").commit();
    let server = Server::start(&lab);
    let with_login = server.url(&format!("{LOGIN}@"));
    // The certificate is nobody's that this host knows.
    let said = lab.fails(1, &["--repo", &with_login], &["fetch failed", "certificate", "no container"]);
    assert!(!said.contains("must-not-be-seen"), "{said}");
    // Trusted for one command: a branch that is not there is answered with those that are.
    let mut hlx = lab.hlx(&["deploy", "nothere", "--repo", &with_login]);
    let said = text(&hlx.env("GIT_SSL_CAINFO", lab.path("server.pem")).output().unwrap().stderr);
    assert!(said.contains(&format!("it has: {}", lab.service)) && !said.contains("must-not"), "{said}");
    // And for good.
    let trust = format!("[http]\n\tsslCAInfo = {}\n", lab.path("server.pem").display());
    fs::write(lab.path(".gitconfig"), trust).unwrap();

    let said = lab.deploys(&["--repo", &with_login]);
    let shown = format!("from https://127.0.0.1:{}/repo", server.port);
    assert!(said.contains(&shown) && !said.contains("must-not-be-seen"), "{said}");
    assert_eq!(recorded(&lab), "");

    // The same repository without the login, and with a wrong one: known, but not let in.
    for login in ["", "deployer:wrong-must-not-be-seen@"] {
        let said = lab.fails(1, &["--repo", &server.url(login)], &["fetch failed", "no container"]);
        assert!(!said.contains("must-not-be-seen") && !said.contains("--adopt"), "{said}");
    }
    assert_eq!(recorded(&lab), "");

    // A helper of the server's own git configuration gives the login as well.
    let helper = "[credential]\n\thelper = \"!f() { echo username=deployer; echo password=login-must-not-be-seen; }; f\"\n";
    let configured = fs::read_to_string(lab.path(".gitconfig")).unwrap() + helper;
    fs::write(lab.path(".gitconfig"), configured).unwrap();
    lab.commit().deploys(&["--repo", &server.url("")]);
}
