//! What `hlx check` finds in compose files, beside what Docker Compose itself says of them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use crate::sandbox::{CANARY, Sandbox};

/// Files that are right, `=== PATH` before each further one. A `web` that has an image stands before the text.
const GOOD: &[&str] = &[
    "",
    "    ports: [80, '8080:80', '127.0.0.1:8001:8001', '9090-9091:8080-8081', '53:53/udp', '[::1]:6000:6000/tcp']\n",
    "    ports:\n      - {target: 80, published: '8080', protocol: tcp, mode: host, host_ip: 127.0.0.1}\n      - {target: 81, published: 8081}\n",
    "    ports: ['${PORT:-8080}:80']\n    expose: [3000, '8000']\n",
    "    healthcheck: {test: [CMD, x], interval: 1m30s, timeout: 5s, retries: 3, start_period: 500ms}\n    stop_grace_period: 1.5h\n",
    "    healthcheck: {test: curl x, interval: '${I:-5s}'}\n",
    "    networks: [back, default]\nnetworks:\n  back:\n",
    "    networks: {back: {aliases: [x], ipv4_address: 10.5.0.2}, default: }\nnetworks: {back: {external: true, name: other}}\n",
    "    network_mode: host\n    pid: host\n    ipc: private\n",
    "    network_mode: service:vpn\n  vpn: {image: v}\n",
    "    volumes: [data:/data, ./a:/a:ro, /b:/b, ~/c:/c, /anonymous, '${D:-./d}:/d']\nvolumes: {data: }\n",
    "    volumes:\n      - {type: volume, source: data, target: /d, volume: {nocopy: true}}\n      - {type: bind, source: ./a, target: /a, bind: {create_host_path: false}}\n      - {type: tmpfs, target: /t, tmpfs: {size: 1g, mode: 01777}}\nvolumes: {data: {external: true}}\n",
    "    secrets: [a, {source: b, target: c, mode: 0400}]\n    configs: [d]\nsecrets: {a: {file: ./a.txt}, b: {environment: B}}\nconfigs: {d: {content: x}}\n",
    "    depends_on: [db]\n  db: {image: d}\n",
    "    depends_on: {db: {condition: service_healthy, restart: true, required: true}}\n  db: {image: d}\n",
    "    depends_on: [db]\n    links: ['db:database']\n    volumes_from: ['db:ro', 'container:other']\n  db: {image: d}\n",
    "    profiles: [debug]\n    depends_on: [nope]\n    networks: [nope]\n  other: {image: x}\n",
    "    env_file: [a.env, {path: missing.env, required: false}]\n=== a.env\nA=1\n",
    "    env_file: /etc/hostname\n",
    "    env_file: ./dir/../a.env\n=== a.env\nA=1\n",
    "    extends: base\n  base: {image: x, labels: {a: b}}\n",
    "    extends: {service: base, file: sub/b.yml}\n=== sub/b.yml\nservices: {base: {image: x, cpus: 1}}\n",
    "    networks: [n]\n    volumes: ['v:/v']\n    secrets: [s]\n=== compose.override.yml\nservices: {more: {image: x, ports: ['1:1']}}\nnetworks: {n: }\nvolumes: {v: }\nsecrets: {s: {file: x}}\n",
    "    ports: ['80:80']\n    networks: [gone]\n=== compose.override.yml\nservices: {web: {ports: !reset [], networks: !override [default]}}\n",
    "    networks: [n]\n    depends_on: [db]\ninclude: [b.yml]\n=== b.yml\nservices: {db: {image: d}}\nnetworks: {n: }\n",
    "    labels: [a=b]\n    environment: {A: 1, B: true, C: , D: $E}\n    annotations: {a: b}\nx-mine: {any: thing}\n",
    "    environment: [A=1, B]\n    command: echo $$HOME ${X:-y}\n    entrypoint: [sh, -c]\n    user: '1000'\n    x-own: 1\n",
    "    build: {context: ., dockerfile: D, args: {A: 1}, target: t, secrets: [s], cache_from: [x], shm_size: 1g}\nsecrets: {s: {file: x}}\n",
    "    build: {context: ., dockerfile_inline: FROM x, tags: ['a:b'], platforms: [linux/amd64], ulimits: {nofile: 5}}\n",
    "    deploy: {replicas: 2, resources: {limits: {cpus: '0.5', memory: 50M, pids: 5}, reservations: {memory: 1g, devices: [{driver: nvidia, count: all, capabilities: [gpu]}]}}, restart_policy: {condition: any, delay: 5s, max_attempts: 3, window: 1m}, update_config: {order: start-first, delay: 1s, parallelism: 2}, placement: {constraints: [a], preferences: [{spread: x}]}}\n",
    "    develop: {watch: [{action: sync, path: ./x, target: /x, ignore: [n/]}, {action: rebuild, path: p}]}\n",
    "    logging: {driver: json-file, options: {max-size: 10m, max-file: '3'}}\n    ulimits: {nproc: 65535, nofile: {soft: 1, hard: 2}}\n    sysctls: [a=1]\n    devices: ['/dev/x:/dev/y']\n",
    "    privileged: 'true'\n    init: true\n    tty: yes\n    scale: 2\n    mem_limit: 1gb\n    memswap_limit: -1\n    cpus: 0.5\n    shm_size: 100\n    oom_score_adj: -500\n    pids_limit: 10\n",
    "    cap_add: [NET_ADMIN]\n    dns: 1.1.1.1\n    dns_search: [a]\n    tmpfs: /t\n    extra_hosts: ['a:1.1.1.1', 'host.docker.internal:host-gateway']\n    restart: unless-stopped\n    security_opt: [no-new-privileges]\n    pull_policy: always\n",
    "    <<: *shared\nx-shared: &late\n  a: 1\n=== compose.override.yml\nservices: {web: {image: y}}\n",
    "    blkio_config: {weight: 300, device_read_bps: [{path: /dev/x, rate: 1mb}]}\n    group_add: [1000, video]\n    credential_spec: {file: x.json}\n    isolation: default\n    storage_opt: {size: 1g}\n",
    "networks: {n: {driver: bridge, driver_opts: {a: 1}, ipam: {config: [{subnet: 10.0.0.0/8, gateway: 10.0.0.1}]}, internal: true, attachable: true, enable_ipv6: true, labels: [a]}}\nvolumes: {v: {driver: local, driver_opts: {type: nfs}, labels: {a: b}, name: w}}\nname: project\nversion: '3.8'\n",
];

/// Files of which Compose before 2.38 does not know something.
const GOOD_SINCE_2_38: &[&str] = &[
    "    models: [llm]\nmodels: {llm: {model: ai/x, context_size: 1024, runtime_flags: [a]}}\n",
    "    models: {llm: {endpoint_var: A, model_var: B}}\nmodels: {llm: {model: ai/x}}\n",
    "    gpus: all\n    use_api_socket: true\n    label_file: ./l\n    post_start: [{command: x, user: root}]\n    pre_stop: [{command: [a]}]\n=== l\na=b\n",
    "    gpus: [{driver: nvidia, count: 2}]\n    networks: {default: {interface_name: eth1, gw_priority: 1}}\n    cgroup: host\n    attach: false\n",
    "    depends_on: [p]\n  p: {provider: {type: x, options: {a: b, c: [d]}}}\n",
    "    build: {context: ., entitlements: [a], additional_contexts: {a: b}, provenance: true, sbom: 'true', ssh: [default]}\n    pull_policy: daily\n",
    "    healthcheck: {test: x, interval: 1d, start_interval: 1s}\n    volumes: [{type: image, source: x, target: /x, image: {subpath: s}}]\n",
    "    env_file: [{path: a.env, format: raw}]\n=== a.env\nA=1\n",
];

/// Files that are wrong: the rule and the line, and the text.
const BAD: &[(&str, usize, &str)] = &[
    ("compose-name", 4, "    networks: [nope]\n"),
    ("compose-name", 6, "    networks:\n      default:\n      nope: {aliases: [x]}\n"),
    ("compose-name", 5, "    volumes:\n      - nope:/data\n"),
    ("compose-name", 4, "    volumes: [{type: volume, source: nope, target: /x}]\n"),
    ("compose-name", 4, "    secrets: [nope]\n"),
    ("compose-name", 4, "    configs: [{source: nope}]\n"),
    ("compose-name", 4, "    depends_on: [nope]\n"),
    ("compose-name", 5, "    depends_on:\n      nope: {condition: service_started}\n"),
    ("compose-name", 4, "    links: ['nope:x']\n"),
    ("compose-name", 4, "    volumes_from: [nope]\n"),
    ("compose-name", 4, "    network_mode: service:nope\n"),
    ("compose-name", 4, "    networks: [nope]\n=== compose.override.yml\nnetworks: {n: }\n"),
    ("compose-name", 4, "    extends: nope\n"),
    ("compose-name", 4, "    extends: {service: o}\n=== compose.override.yml\nservices: {o: {image: x}}\n"),
    ("compose-file", 4, "    extends: {service: nope, file: b.yml}\n=== b.yml\nservices: {a: {image: x}}\n"),
    ("compose-file", 4, "    extends: {service: a, file: no.yml}\n"),
    ("compose-file", 4, "    env_file: no.env\n"),
    ("compose-file", 6, "    env_file:\n      - a.env\n      - path: sub/no.env\n=== a.env\nA=1\n"),
    ("compose-file", 4, "include: [no.yml]\n"),
    ("compose-value", 4, "    ports: ['99999:80']\n"),
    ("compose-value", 6, "    ports:\n      - '80:80'\n      - a:b\n"),
    ("compose-value", 4, "    ports: ['1-3:3-4']\n"),
    ("compose-value", 4, "    ports: ['80/http']\n"),
    ("compose-value", 4, "    ports: [{target: web, published: 80}]\n"),
    ("compose-value", 4, "    ports: 80\n"),
    ("compose-value", 4, "    healthcheck: {test: x, interval: 5parsecs}\n"),
    ("compose-value", 5, "    healthcheck:\n      timeout: 30\n      test: x\n"),
    ("compose-value", 4, "    stop_grace_period: '10'\n"),
    ("compose-value", 4, "    deploy: {update_config: {delay: soon}}\n"),
    ("compose-value", 4, "    mem_limit: lots\n"),
    ("compose-value", 4, "    privileged: maybe\n"),
    ("compose-value", 4, "    scale: two\n"),
    ("compose-value", 4, "    user: 1000\n"),
    ("compose-value", 4, "    command: {a: b}\n"),
    ("compose-value", 4, "    command: [sleep, 5]\n"),
    ("compose-value", 4, "    environment: A=b\n"),
    ("compose-value", 4, "    depends_on: {db: {condition: service_up}}\n  db: {image: d}\n"),
    ("compose-key", 4, "    imagee: x\n"),
    ("compose-key", 4, "    restrat: {}\n"),
    ("compose-key", 5, "    healthcheck:\n      intervall: 5s\n      test: x\n"),
    ("compose-key", 4, "    build: {contxt: .}\n"),
    ("compose-key", 4, "    deploy: {resources: {limits: {mem: 1g}}}\n"),
    ("compose-key", 4, "networks: {n: {drivr: x}}\n"),
    ("compose-key", 4, "serivces: {}\n"),
    ("compose-key", 1, "=== compose.override.yml\nservices: {web: {imagee: x}}\n"),
];

/// The files of a case.
fn files(case: &str) -> BTreeMap<String, String> {
    let before = if case.contains("<<: *shared") {
        "x-base: &shared {image: x}\nservices:\n  web:\n"
    } else {
        "services:\n  web:\n    image: x\n"
    };
    let mut parts = case.split("=== ");
    let main = format!("{before}{}", parts.next().unwrap_or_default());
    let others = parts.map(|part| part.split_once('\n').unwrap());
    let mut files: BTreeMap<String, String> =
        others.map(|(path, text)| (path.to_owned(), text.to_owned())).collect();
    files.insert("compose.yml".to_owned(), main);
    files
}

/// A repository with a branch for each case, `c-NUMBER`.
fn branches(sandbox: &Sandbox, cases: &[&str]) {
    let mut stream = String::new();
    for (number, case) in cases.iter().enumerate() {
        write!(
            stream,
            "commit refs/heads/c-{number}\ncommitter B <b@example.org> 1767225600 +0000\ndata 1\nx\n"
        )
        .unwrap();
        let others = [("README.md", "# Stack\n"), ("config/app.yml", "- a: ${B}\n")];
        let others = others.map(|(path, text)| (path.to_owned(), text.to_owned()));
        for (path, text) in files(case).into_iter().chain(others) {
            write!(stream, "M 100644 inline {path}\ndata {}\n{text}\n", text.len()).unwrap();
        }
    }
    sandbox.write("stream", stream);
    sandbox.sh(".", "git init -q lab; cd lab; git fast-import --quiet <../stream");
}

/// The findings over compose files of each branch: `RULE PATH:LINE`.
fn found(sandbox: &Sandbox, words: &[&str]) -> BTreeMap<String, Vec<String>> {
    let done = sandbox.run("lab", &[&["hlx", "check", "--json"], words].concat());
    let found: Value = serde_json::from_str(&done.out).unwrap_or_else(|_| panic!("{done:?}"));
    let mut by_branch = BTreeMap::<String, Vec<String>>::new();
    for finding in found.as_array().unwrap() {
        let text = |name: &str| finding[name].as_str().unwrap_or_default().to_owned();
        if text("rule").starts_with("compose-") {
            let said = format!("{} {}", text("rule"), finding["line"]);
            by_branch.entry(text("branch")).or_default().push(said);
        }
    }
    by_branch
}

/// Which Compose there is; none if there is none, which is said.
fn compose(sandbox: &Sandbox) -> Option<(u32, u32)> {
    let done = sandbox.run(".", &["docker", "compose", "version", "--short"]);
    if done.code != Some(0) {
        assert!(std::env::var_os("CI").is_none(), "Docker Compose is needed");
        eprintln!("*** SKIPPED: Docker Compose is not here ***");
        return None;
    }
    let mut numbers = done.out.trim_start_matches('v').split('.').map(|number| number.parse().unwrap_or(0));
    Some((numbers.next()?, numbers.next()?))
}

/// Whether Compose takes a case.
fn takes(sandbox: &Sandbox, case: &str) -> bool {
    for (path, text) in files(case) {
        sandbox.write(&format!("case/{path}"), text);
    }
    let done = sandbox.run("case", &["docker", "compose", "config", "--quiet"]);
    std::fs::remove_dir_all(sandbox.path("case")).unwrap();
    done.code == Some(0)
}

#[test]
fn what_compose_takes_has_no_finding() {
    let sandbox = Sandbox::new();
    let cases = [GOOD, GOOD_SINCE_2_38].concat();
    branches(&sandbox, &cases);
    let found = found(&sandbox, &["--no-compose"]);
    let wrong: Vec<_> = found
        .iter()
        .map(|(branch, said)| {
            let number: usize = branch.trim_start_matches("c-").parse().unwrap();
            format!("{said:?}\n{}", cases[number])
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let Some(version) = compose(&sandbox) else { return };
    let known = if version < (2, 38) { GOOD } else { &cases };
    let refused: Vec<_> = known.iter().filter(|case| !takes(&sandbox, case)).collect();
    assert!(refused.is_empty(), "{refused:#?}");
}

#[test]
fn what_compose_refuses_is_found_at_its_line() {
    let sandbox = Sandbox::new();
    let cases: Vec<&str> = BAD.iter().map(|(.., case)| *case).collect();
    branches(&sandbox, &cases);
    let found = found(&sandbox, &["--no-compose"]);
    for (number, (rule, line, case)) in BAD.iter().enumerate() {
        assert_eq!(found.get(&format!("c-{number}")), Some(&vec![format!("{rule} {line}")]), "{case}");
    }
    if compose(&sandbox).is_some() {
        let taken: Vec<_> = cases.iter().filter(|case| takes(&sandbox, case)).collect();
        assert!(taken.is_empty(), "{taken:#?}");
    }
}

/// What Compose refuses, and hlx does not know of.
const ONLY_COMPOSE: &str = "    labels: [a=b]\nvolumes: {v: {external: true, driver: x}}\n";

#[test]
fn compose_itself_is_asked_about_the_branch_at_hand() {
    let sandbox = Sandbox::new();
    // Both find the second, which is told once, with its line.
    branches(&sandbox, &["", ONLY_COMPOSE, BAD[0].2]);
    if compose(&sandbox).is_none() {
        return;
    }
    let refused = |branch: &str| (branch.to_owned(), vec!["compose-invalid null".to_owned()]);
    let named = ("c-2".to_owned(), vec!["compose-name 4".to_owned()]);
    sandbox.sh("lab", "git switch -q c-0");
    assert_eq!(found(&sandbox, &[]), [named.clone()].into());
    assert_eq!(found(&sandbox, &["--compose"]), [refused("c-1"), named.clone()].into());
    assert_eq!(
        found(&sandbox, &["--branch", "c-1", "--branch", "c-2"]),
        [refused("c-1"), named.clone()].into()
    );
    sandbox.sh("lab", "git switch -q c-1; mkdir ../tmp");
    assert_eq!(found(&sandbox, &["--no-compose"]), [named].into());
    let tmp = sandbox.path("tmp");
    let done =
        sandbox.run_in("lab", &["hlx", "check"], &[("TMPDIR", tmp.to_str().unwrap()), ("COMPOSE_FILE", "x")]);
    assert!(done.code == Some(5) && done.out.contains("Compose does not take it: volumes.v"), "{done:?}");
    assert!(!done.out.contains("/tmp/") && std::fs::read_dir(&tmp).unwrap().count() == 0, "{done:?}");
    // What is staged counts as well, and is told once.
    sandbox.write("lab/more.txt", "x\n");
    sandbox.sh("lab", "git add .");
    assert_eq!(found(&sandbox, &["--branch", "c-1"]), [refused("c-1")].into());
}

#[test]
fn compose_is_asked_only_about_what_is_certain() {
    let sandbox = Sandbox::new();
    sandbox.lab();
    if compose(&sandbox).is_none() {
        return;
    }
    let stack = format!(
        "services:\n  web:\n    image: ${{IMAGE}}\n    env_file: .env\n    environment: {{KEY: {CANARY}, B: \"${{B:?}}\"}}\n    \
         ports: ['8080:80', '${{PORT:?no}}:81']\n    healthcheck: {{test: x, interval: 5s}}\n    deploy: {{replicas: 2}}\n    \
         depends_on: [db]\n  db:\n    image: y\n    profiles: [data]\n    pull_policy: ${{PULL}}\n    gpus: ${{G}}\n"
    );
    sandbox.write("lab/compose.yml", &stack);
    sandbox.write("lab/.env", format!("PORT=80\nIMAGE=x\nB={CANARY}\n"));
    sandbox.sh(
        "lab",
        "hlx track compose.yml --keys '^(ports|interval|replicas|KEY|image)$'; git add -A; git commit -qm one; \
         git cat-file blob HEAD:compose.yml | grep -c 'ENC\\[' >../sealed",
    );
    assert!(sandbox.read("sealed").trim().parse::<u32>().unwrap() >= 6);
    for words in [&["--branch", "app"][..], &["--compose"]] {
        assert_eq!(found(&sandbox, words), BTreeMap::new(), "{words:?}");
    }
    // What is wrong whatever the values are is found in an encrypted file too, by hlx and by Compose.
    sandbox.write("lab/compose.yml", format!("{stack}    networks: [nope]\n"));
    sandbox.sh("lab", "git add -A; git commit -qm two");
    // hlx does not look at a service with a profile.
    assert_eq!(found(&sandbox, &[]), [("app".to_owned(), vec!["compose-invalid null".to_owned()])].into());
    sandbox.write("lab/compose.yml", stack.replace("depends_on: [db]", "") + "    networks: [nope]\n");
    sandbox.sh("lab", "git add -A; git commit -qm only-with-the-profile");
    assert_eq!(found(&sandbox, &[]), BTreeMap::new(), "Compose takes it without the profile");
    sandbox.write("lab/compose.yml", stack.replace("depends_on: [db]", "depends_on: [db, nope]"));
    sandbox.sh("lab", "git add -A; git commit -qm three");
    let told = found(&sandbox, &[]);
    assert!(told["app"].len() == 1 && told["app"][0].starts_with("compose-name "), "{told:?}");
    sandbox.write("lab/compose.yml", format!("{stack}volumes: {{v: {{external: true, driver: x}}}}\n"));
    sandbox.sh("lab", "git add -A; git commit -qm four");
    let done = sandbox.run("lab", &["hlx", "check"]);
    assert!(done.out.contains("Compose does not take it") && !done.out.contains(CANARY), "{done:?}");
}

#[test]
fn a_compose_that_is_newer_slow_or_not_there_is_no_trouble() {
    let sandbox = Sandbox::new();
    branches(&sandbox, &["    key_of_tomorrow: 1\n", "    key_of_tomorrow: ${X}\n"]);
    sandbox.sh("lab", "git switch -q c-0; mkdir ../bin");
    let path = format!("{}:{}", sandbox.path("bin").display(), std::env::var("PATH").unwrap());
    let told = |words: &[&str]| {
        let done = sandbox.run_in("lab", &[&["hlx", "check"], words].concat(), &[("PATH", &path)]);
        (done.out.matches("[compose-key]").count(), done.err)
    };
    let docker = |body: &str| {
        sandbox.write("bin/docker", format!("#!/bin/sh\ncase $* in *version*) exit 0;; esac\n{body}\n"));
        sandbox.sh("bin", "chmod +x docker");
    };
    docker("exit 0");
    assert_eq!(told(&["--branch", "c-0"]).0, 0, "Compose takes it");
    assert_eq!(told(&["--branch", "c-1"]).0, 1, "Compose did not see it");
    docker("exec sleep 60");
    let before = std::time::Instant::now();
    let (count, said) = told(&["--branch", "c-0"]);
    assert!(count == 1 && said.contains("gave no answer"), "{said}");
    assert!(before.elapsed().as_secs() < 30);
    // No plugin.
    sandbox.write("bin/docker", "#!/bin/sh\nexit 1\n");
    let (count, said) = told(&["--branch", "c-0"]);
    assert!(count == 1 && !said.contains("Docker"), "{said}");
    assert!(told(&["--compose"]).1.contains("is not installed"));
}
