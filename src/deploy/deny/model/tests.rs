//! Every spelling of every power that an attacker who writes the compose file may try.

use std::collections::BTreeMap;

use serde_json::json;

use super::super::host::Volume;
use super::*;

const ALL: &str = "[setup, privileged, docker-socket, host-network, {host-mounts: {except: [/hlx-test/media]}}, \
                   {external: {except: [old, plain, plugged, shared]}}]";

fn deny(text: &str) -> Deny {
    Deny::parse(&serde_yaml::from_str(text).unwrap()).unwrap()
}

fn host() -> Host {
    let options = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let volume = |name: &str, driver: &str, pairs: &[(&str, &str)]| Volume {
        name: name.to_owned(),
        driver: driver.to_owned(),
        options: Some(options(pairs)),
        labels: None,
    };
    let made_for = |name: &str, label: &str, project: &str| Volume {
        labels: Some(options(&[(label, project)])),
        ..volume(name, "local", &[])
    };
    let network = |id: &str, name: &str, driver: &str| Network {
        id: id.to_owned(),
        name: name.to_owned(),
        driver: driver.to_owned(),
        options: None,
    };
    Host {
        project: "/hlx-test/p".into(),
        sockets: vec!["/hlx-test/run/docker.sock".into()],
        volumes: vec![
            volume("old", "local", &[("type", "none"), ("o", "bind"), ("device", "/")]),
            volume("plain", "local", &[]),
            volume("plugged", "sshfs", &[]),
            volume("nobodys", "local", &[]),
            volume("shared", "local", &[]),
            made_for("p_data", "com.docker.compose.project", "p"),
            made_for("q_data", "com.docker.compose.project", "q"),
            made_for("s_data", "com.docker.stack.namespace", "s"),
        ],
        own: Some("p".to_owned()),
        networks: vec![
            network("abc123", "host", "host"),
            network("def456", "lan", "macvlan"),
            network("789", "web", "bridge"),
        ],
        ..Host::default()
    }
}

/// The powers that a service asks for, in a model with more at its top.
fn asks(service: &str, top: &str) -> Vec<&'static str> {
    let json = |text: &str| -> Value { serde_yaml::from_str(text).unwrap() };
    let mut model = json!({"name": "p", "services": {"web": json(service)}});
    for (key, value) in entries(&json(top)) {
        model[key] = value.clone();
    }
    let mut powers: Vec<&str> =
        judge(&model, &deny(ALL), &host()).iter().map(|offence| offence.power.name()).collect();
    powers.dedup();
    powers
}

#[test]
fn a_container_keeps_its_walls() {
    for service in [
        "privileged: true",
        "cap_add: [SYS_ADMIN]",
        "cap_add: [cap_sys_admin]",
        "cap_add: [ALL]",
        "cap_add: [NET_ADMIN, SYS_MODULE]",
        "devices: [{source: /dev/sda, target: /dev/sda, permissions: rwm}]",
        "devices: ['vendor.com/class=all']",
        "device_cgroup_rules: ['b *:* rwm']",
        "pid: host",
        "pid: container:other",
        "ipc: host",
        "ipc: container:other",
        "uts: host",
        "userns_mode: host",
        "cgroup: host",
        "cgroup_parent: /",
        "security_opt: ['seccomp:unconfined']",
        "security_opt: ['seccomp=/p/x.json']",
        "security_opt: ['apparmor=unconfined']",
        "security_opt: ['label:disable']",
        "security_opt: ['systempaths=unconfined']",
        "runtime: other",
        "gpus: [{count: -1}]",
        "deploy: {resources: {reservations: {devices: [{capabilities: [gpu]}]}}}",
        "credential_spec: {file: x}",
        "models: {x: {}}",
        "annotations: {run.oci.hooks.stdout: x}",
        "post_start: [{command: [x], privileged: true}]",
        "pre_stop: [{command: [a]}, {command: [x], privileged: true}]",
        "a_key_of_tomorrow: 1",
        "build: {context: /hlx-test/p, privileged: true}",
        "build: {context: /hlx-test/p, entitlements: [security.insecure]}",
        "build: {context: /hlx-test/p, a_key_of_tomorrow: 1}",
    ] {
        assert_eq!(asks(service, "{}"), ["privileged"], "{service}");
    }
}

#[test]
fn the_network_of_the_host_is_the_hosts() {
    for (service, top) in [
        ("network_mode: host", "{}"),
        ("network_mode: container:other", "{}"),
        ("network_mode: abc123", "{}"),
        ("network_mode: lan", "{}"),
        ("build: {context: /hlx-test/p, network: host}", "{}"),
        ("build: {context: /hlx-test/p, network: 'container:x'}", "{}"),
        ("build: {context: /hlx-test/p, entitlements: [network.host]}", "{}"),
        ("networks: {n: null}", "networks: {n: {name: host, external: true}}"),
        ("networks: {n: null}", "networks: {n: {name: abc, external: true}}"),
        ("networks: {n: null}", "networks: {n: {name: lan, external: true}}"),
        ("networks: {n: null}", "networks: {n: {name: p_n, driver: macvlan}}"),
        ("networks: {n: null}", "networks: {n: {name: p_n, driver: ipvlan}}"),
        ("networks: {n: null}", "networks: {n: {name: p_n, driver: host}}"),
        (
            "networks: {n: null}",
            "networks: {n: {name: p_n, driver_opts: {com.docker.network.bridge.name: br0}}}",
        ),
    ] {
        assert_eq!(asks(service, top), ["host-network"], "{service} {top}");
    }
}

#[test]
fn files_of_the_host_are_the_hosts() {
    for (service, top) in [
        ("volumes: [{type: bind, source: /etc, target: /x}]", "{}"),
        ("volumes: [{type: bind, source: /hlx-test/p/../other, target: /x}]", "{}"),
        ("volumes: [{type: bind, source: /hlx-test/pp, target: /x}]", "{}"),
        ("volumes: [{type: bind, source: /hlx-test/media/../x, target: /x}]", "{}"),
        (
            "volumes: [{type: bind, source: /hlx-test/p/a, target: /a}, {type: bind, source: /hlx-test/p/a/b, target: /b}]",
            "{}",
        ),
        // Through a volume, a container can put links as well.
        (
            "volumes: [{type: volume, source: v, target: /d}, {type: bind, source: /hlx-test/p/a/b, target: /b}]",
            "volumes: {v: {driver_opts: {type: none, o: bind, device: /hlx-test/p/a}}}",
        ),
        (
            "volumes: [{type: volume, source: v, target: /d}, {type: bind, source: /hlx-test/p/a/b, target: /b}]",
            "volumes: {v: {driver_opts: {type: none, o: 'rbind,ro', device: /hlx-test/p/x/../a}}}",
        ),
        ("volumes: [{type: bind, source: /hlx-test/p/link/../x, target: /x}]", "{}"),
        (
            "volumes: [{type: volume, source: v}]",
            "volumes: {v: {driver_opts: {type: none, o: bind, device: /hlx-test/p/link/../x}}}",
        ),
        ("secrets: [{source: s}]", "secrets: {s: {file: /etc/shadow}}"),
        ("configs: [{source: s}]", "configs: {s: {file: /etc/shadow}}"),
        (
            "volumes: [{type: volume, source: v}]",
            "volumes: {v: {driver_opts: {type: none, o: bind, device: /etc}}}",
        ),
        (
            "volumes: [{type: volume, source: v}]",
            "volumes: {v: {driver_opts: {type: nfs, o: 'ro,rbind', device: /etc}}}",
        ),
        (
            "volumes: [{type: volume, source: v}]",
            "volumes: {v: {driver: local-persist, driver_opts: {mountpoint: /etc}}}",
        ),
        ("volumes: [{type: volume, source: v}]", "volumes: {v: {name: plugged, external: true}}"),
    ] {
        assert_eq!(asks(service, top), ["host-mounts"], "{service} {top}");
    }
    for top in [
        "volumes: {v: {driver_opts: {type: ext4, device: /dev/sda1}}}",
        "volumes: {v: {driver_opts: {type: overlay, device: overlay, o: 'lowerdir=/etc'}}}",
    ] {
        assert_eq!(asks("volumes: [{type: volume, source: v}]", top), ["privileged", "host-mounts"], "{top}");
    }
}

#[test]
fn what_others_made_is_theirs() {
    let mount = "volumes: [{type: volume, source: v}]";
    for top in [
        "volumes: {v: {name: q_data, external: true}}",
        // Compose warns, and takes it.
        "volumes: {v: {name: q_data}}",
        "volumes: {v: {name: s_data}}",
        "volumes: {nobodys: {}}",
        "volumes: {v: {name: p_other, external: true}}",
        "secrets: {x: {external: true}}",
        "secrets: {shared: {name: other, external: true}}",
        "configs: {x: {name: y, external: true}}",
        "configs: {x: {external: {name: y}}}",
    ] {
        assert_eq!(asks(mount, top), ["external"], "{top}");
    }
    for top in [
        "volumes: {v: {name: p_data}}",
        "volumes: {v: {name: p_data, external: true}}",
        "volumes: {v: {name: shared, external: true}}",
        "volumes: {v: {name: p_new}}",
        "secrets: {x: {name: shared, external: true}}",
        "configs: {shared: {external: true}}",
    ] {
        assert_eq!(asks(mount, top), [""; 0], "{top}");
    }
    for service in ["volumes_from: ['container:other']", "volumes: [{type: cluster, source: x, target: /x}]"]
    {
        assert_eq!(asks(service, "{}"), ["host-mounts", "external"], "{service}");
    }
    // A project that hlx has not deployed yet owns nothing.
    let model: Value = serde_yaml::from_str("{name: p, volumes: {data: {name: p_data}}}").unwrap();
    let found = judge(&model, &deny("[external]"), &Host { own: None, ..host() });
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(found, ["volume `data`: is `p_data`, which `p` has made (external)"]);
}

#[test]
fn a_build_reads_and_writes_nothing_of_the_host() {
    for service in [
        "build: {context: /etc}",
        "build: {context: /hlx-test/p, dockerfile: ../x}",
        "build: {context: /hlx-test/p, dockerfile: /etc/passwd}",
        "build: {context: /hlx-test/p, additional_contexts: {x: /etc}}",
        "build: {context: /hlx-test/p, additional_contexts: {x: 'oci-layout:///etc'}}",
        "build: {context: /hlx-test/p, additional_contexts: {x: '/etc/a:b'}}",
        "build: {context: /hlx-test/p, additional_contexts: {x: 'other:etc'}}",
        "build: {context: /hlx-test/p, additional_contexts: {x: 'docker-image://../../../etc'}}",
        "build: {context: 'github.com/../../../etc'}",
        "build: {context: 'https://x/../../../../etc'}",
        "build: {context: etc}",
        "build: {context: 'https://example.org/x.git', dockerfile: /etc/passwd}",
        "{volumes: [{type: bind, source: /hlx-test/p, target: /x}], build: {context: 'github.com/x/y'}}",
        "build: {context: /hlx-test/p, cache_to: ['TYPE=local,dest=/etc']}",
        "build: {context: /hlx-test/p, cache_to: ['\"type=local\",dest=/etc']}",
        "build: {context: /hlx-test/p, cache_to: ['type=registry,\"type=local\",dest=/etc']}",
        "build: {context: /hlx-test/p, cache_to: ['type=inline,type=local,dest=/etc']}",
        "build: {context: /hlx-test/p, ssh: [default]}",
        "build: {context: /hlx-test/p, cache_to: ['type=local,dest=/etc']}",
        "build: {context: /hlx-test/p, cache_from: ['type=local,src=/etc']}",
    ] {
        assert_eq!(asks(service, "{}"), ["host-mounts"], "{service}");
    }
}

#[test]
fn a_key_of_tomorrow_may_give_whatever_is_denied() {
    let model: Value = serde_yaml::from_str(
        "{services: {web: {tomorrow: 1, provider: {type: x}}}, also: {a: 1}, x-more: 1, name: p}",
    )
    .unwrap();
    let said = |text: &str| -> Vec<String> {
        judge(&model, &deny(text), &host()).iter().map(ToString::to_string).collect()
    };
    for power in ["docker-socket", "host-network", "host-mounts", "external"] {
        let why = format!("which this version of hlx does not take for harmless ({power})");
        let wanted =
            [format!("service `web`: `tomorrow`, {why}"), format!("the compose file: `also`, {why}")];
        assert_eq!(said(&format!("[{power}]")), wanted);
    }
    assert_eq!(said("[setup]").len(), 3);
    assert!(said("[setup]").contains(&"service `web`: `provider` (setup)".to_owned()));
    assert_eq!(said("[]"), [""; 0]);
}

#[test]
fn a_log_goes_nowhere_but_to_docker() {
    for driver in ["syslog", "fluentd", "gelf", "splunk", "awslogs", "gcplogs", "loki:latest"] {
        let service = format!("logging: {{driver: '{driver}', options: {{a: b}}}}");
        assert_eq!(asks(&service, "{}"), ["docker-socket", "host-network", "host-mounts"], "{driver}");
    }
    for driver in ["json-file", "local", "journald", "none", ""] {
        assert_eq!(asks(&format!("logging: {{driver: '{driver}'}}"), "{}"), [""; 0], "{driver}");
    }
}

/// A volume that another stack made counts too, as do both spellings of a directory.
#[test]
fn a_writer_is_known_by_where_it_really_writes() {
    let dir = tempfile::tempdir().unwrap();
    let media = dir.path().join("media");
    std::fs::create_dir_all(media.join("films")).unwrap();
    std::os::unix::fs::symlink("films", media.join("link")).unwrap();
    std::os::unix::fs::symlink("/etc", media.join("out")).unwrap();
    std::os::unix::fs::symlink("later", media.join("nowhere")).unwrap();
    let deny = deny(&format!("[{{host-mounts: {{except: [{}]}}}}]", media.display()));
    let host = Host { writers: vec![media.join("link")], ..host() };
    let said = |host: &Host, below: &str| {
        let source = media.join(below);
        let mount = json!({"type": "bind", "source": source, "target": "/x"});
        let model = json!({"services": {"web": {"volumes": [mount]}}});
        let found = judge(&model, &deny, host);
        found.into_iter().map(|offence| offence.what).collect::<String>()
    };
    for below in ["films/sub", "link/sub"] {
        assert!(said(&host, below).contains("films, where a container can put links"), "{below}");
    }
    assert_eq!((said(&host, "films"), said(&host, "link"), said(&host, "new/dir")), Default::default());
    for bad in ["out", "out/new", "out/new/dir", "nowhere", "nowhere/x"] {
        assert!(!said(&host, bad).is_empty(), "{bad}");
    }
}

#[test]
fn no_way_leads_to_the_engine() {
    let all = ["docker-socket", "host-mounts"];
    for (service, top) in [
        ("volumes: [{type: bind, source: /hlx-test/run/docker.sock, target: /x}]", "{}"),
        ("volumes: [{type: bind, source: /hlx-test/run, target: /x, read_only: true}]", "{}"),
        ("volumes: [{type: bind, source: /hlx-test/x/../run, target: /x}]", "{}"),
        ("volumes: [{type: bind, source: /, target: /x}]", "{}"),
        (
            "volumes: [{type: volume, source: v}]",
            "volumes: {v: {driver_opts: {o: bind, device: /hlx-test/run}}}",
        ),
        ("volumes: [{type: volume, source: v}]", "volumes: {v: {name: old, external: true}}"),
        ("volumes: [{type: volume, source: old}]", "volumes: {old: {}}"),
        ("secrets: [{source: s}]", "secrets: {s: {file: /hlx-test/run/docker.sock}}"),
    ] {
        assert_eq!(asks(service, top), all, "{service} {top}");
    }
    assert_eq!(asks("use_api_socket: true", "{}"), ["docker-socket"]);
}

#[test]
fn what_is_harmless_is_let_through() {
    let service = "{image: x, command: [a], environment: {A: b}, ports: [{target: 80, published: '80'}],
        networks: {default: null, web: null}, network_mode: 'service:db', pid: 'service:db', ipc: shareable,
        cap_add: [NET_ADMIN, CAP_CHOWN], cap_drop: [ALL], security_opt: ['no-new-privileges:true'], user: '0', privileged: false,
        devices: [], deploy: {resources: {limits: {cpus: '1'}}}, post_start: [{command: [x]}], volumes_from: [db],
        volumes: [{type: bind, source: /hlx-test/p/data, target: /d}, {type: volume, source: v, target: /v},
                  {type: bind, source: /hlx-test/media/films, target: /m, read_only: true}, {type: tmpfs, target: /t}],
        secrets: [{source: s}], build: {context: /hlx-test/p, dockerfile: docker/Dockerfile, network: none, args: {A: b}}, x-more: 1}";
    let top = "{networks: {default: {name: p_default}, web: {name: web, external: true}},
        volumes: {v: {name: plain}, w: {driver_opts: {type: nfs, o: 'addr=nas,rw', device: ':/export'}}},
        secrets: {s: {file: /hlx-test/p/s}, e: {environment: X}}}";
    assert_eq!(asks(service, top), Vec::<&str>::new());
    for build in [
        "context: 'https://example.org/x.git#main:dir'",
        "context: 'git@example.org:me/x.git'",
        "context: /hlx-test/p/app, dockerfile: ../app.Dockerfile",
        "context: /hlx-test/p, additional_contexts: {a: 'docker-image://alpine', b: 'service:db', c: /hlx-test/p/c}",
        "context: /hlx-test/p, cache_from: [example.org/x:y, 'type=registry,ref=a'], cache_to: ['type=inline']",
    ] {
        assert_eq!(asks(&format!("build: {{{build}}}"), "{}"), Vec::<&str>::new(), "{build}");
    }
    let model: Value =
        serde_yaml::from_str("services: {web: {privileged: true, network_mode: host}}").unwrap();
    assert_eq!(judge(&model, &Deny::default(), &host()), []);
    let only = judge(&model, &deny("[host-network]"), &host());
    assert_eq!(
        only.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["service `web`: `network_mode: host` (host-network)"]
    );
}
