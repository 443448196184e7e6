//! What a model becomes.

use super::*;

fn dress<'d>(images: &'d BTreeMap<String, String>, key: &'d SecretBytes, rollback: Rollback) -> Dress<'d> {
    Dress { images, objects: &[], key, stable: Duration::from_secs(10), rollback }
}

fn made(service: &Value) -> Value {
    let (images, key) = (BTreeMap::new(), SecretBytes::new(vec![1]));
    let model = json!({"name": "p", "services": {"web": service}});
    let stack = Stack::new(&model, &dress(&images, &key, Rollback::Auto));
    let mut made = stack.file["services"]["web"].clone();
    assert_eq!(made["deploy"]["labels"][HASH].as_str(), Some(stack.hashes["web"].as_str()));
    made["deploy"]["labels"].as_object_mut().unwrap().remove(HASH);
    made
}

#[test]
fn a_service_is_spelled_as_docker_stack_wants_it() {
    let service = json!({"image": "x", "command": null, "build": {"context": "/p"}, "container_name": "c", "depends_on": {"db": {}},
        "environment": {"A": "b$$c", "N": null}, "extra_hosts": ["a=1.2.3.4"], "networks": {"default": {"aliases": ["q"], "priority": 1}},
        "ports": [{"mode": "ingress", "target": 80, "published": "8080", "protocol": "tcp", "name": "n"}, {"target": 81, "published": ""}],
        "secrets": [{"source": "s", "target": "/run/secrets/s", "mode": "0440", "uid": "7"}, {"source": "t", "mode": 288}],
        "volumes": [{"type": "bind", "source": "/a", "target": "/b", "read_only": true, "bind": {"create_host_path": true}},
                    {"type": "tmpfs", "target": "/t", "tmpfs": {"size": "1024"}}]});
    let wanted = json!({"image": "x", "environment": {"A": "b$$c"}, "extra_hosts": ["a:1.2.3.4"],
        "networks": {"default": {"aliases": ["q"]}},
        "ports": [{"mode": "ingress", "target": 80, "published": 8080, "protocol": "tcp"}, {"target": 81}],
        "secrets": [{"source": "s", "target": "/run/secrets/s", "mode": 288, "uid": "7"}, {"source": "t", "mode": 288}],
        "volumes": [{"type": "bind", "source": "/a", "target": "/b", "read_only": true, "bind": {}},
                    {"type": "tmpfs", "target": "/t", "tmpfs": {"size": 1024}}],
        "deploy": {"labels": {}, "update_config": {"monitor": "10000ms", "failure_action": "rollback"}, "rollback_config": {"monitor": "10000ms"}}});
    assert_eq!(made(&service), wanted);
}

#[test]
fn what_compose_has_outside_deploy_comes_into_it() {
    let service = json!({"scale": 3, "restart": "on-failure:4", "mem_limit": "1024", "cpus": 0.5, "pids_limit": 9,
        "deploy": {"resources": {"limits": {"memory": "2048"}}, "update_config": {"failure_action": "continue", "monitor": "1s"}}});
    let wanted = json!({"replicas": 3, "labels": {},
        "restart_policy": {"condition": "on-failure", "max_attempts": 4},
        "resources": {"limits": {"memory": "2048", "cpus": "0.5", "pids": 9}},
        "update_config": {"failure_action": "continue", "monitor": "1s"}, "rollback_config": {"monitor": "10000ms"}});
    assert_eq!(made(&service)["deploy"], wanted);
    for (restart, condition) in [("no", "none"), ("always", "any"), ("unless-stopped", "any")] {
        let made = made(&json!({"restart": restart}));
        assert_eq!(made["deploy"]["restart_policy"], json!({"condition": condition}));
    }
    // A job is not updated but run anew.
    assert_eq!(
        made(&json!({"deploy": {"mode": "replicated-job"}}))["deploy"],
        json!({"labels": {}, "mode": "replicated-job"})
    );
}

#[test]
fn what_a_swarm_does_not_do_is_refused_by_name() {
    let refused = |service: Value| refusals(&json!({"services": {"web": service}})).join("\n");
    for (service, word) in [
        (json!({"privileged": true}), "`privileged`"),
        (json!({"security_opt": ["no-new-privileges"]}), "`security_opt`"),
        (json!({"devices": ["/dev/x"]}), "`devices`"),
        (json!({"a_key_of_tomorrow": 1}), "`a_key_of_tomorrow`"),
        (json!({"network_mode": "host"}), "`network_mode`"),
        (
            json!({"ports": [{"target": 80, "published": "8080", "host_ip": "127.0.0.1"}]}),
            "on 127.0.0.1 only",
        ),
        (json!({"ports": [{"target": 80, "published": "8080-8090"}]}), "8080-8090"),
    ] {
        let said = refused(service);
        assert!(said.contains(word), "`{word}` is missing in {said}");
    }
    let fine = json!({"image": "x", "privileged": false, "depends_on": {"db": {}}, "build": {"context": "."}, "x-a": 1,
        "networks": {"default": null}, "ports": [{"target": 80, "published": "8080"}]});
    assert_eq!(refused(fine), "");
    let networks = json!({"networks": {"a": {"driver": "bridge"}, "b": {"driver": "overlay"}, "c": {"external": true, "driver": "x"}}});
    assert_eq!(refusals(&networks).len(), 1);
}

#[test]
fn the_hash_of_a_service_is_of_itself_and_its_secrets() {
    let key = SecretBytes::new(vec![1]);
    let images = BTreeMap::new();
    let hashes = |secret: &str, value: &str, rollback| {
        let model = json!({"name": "p", "services": {"web": {"image": "x", "secrets": [{"source": "s"}]}, "db": {"environment": {"A": value}}},
            "secrets": {"s": {"external": true, "name": secret}}});
        Stack::new(&model, &dress(&images, &key, rollback)).hashes
    };
    let one = hashes("1", "a", Rollback::Auto);
    assert_eq!(one, hashes("1", "a", Rollback::Manual));
    let other = hashes("2", "a", Rollback::Auto);
    assert!(one["web"] != other["web"] && one["db"] == other["db"]);
    let other = hashes("1", "b", Rollback::Auto);
    assert!(one["web"] == other["web"] && one["db"] != other["db"]);
}

#[test]
fn the_file_is_yaml_whatever_letters_are_in_it() {
    let (images, key) = (BTreeMap::new(), SecretBytes::new(vec![1]));
    let odd = "a\u{7f}\u{85}\u{2028}\u{feff}é😀\"\\\n";
    let model = json!({"services": {"web": {"environment": {"A": odd}}}});
    let text = Stack::new(&model, &dress(&images, &key, Rollback::Auto)).text(Some("3.9"));
    assert!(text.expose().iter().all(|byte| (0x20..0x7f).contains(byte)));
    let read: serde_yaml::Value = serde_yaml::from_slice(text.expose()).unwrap();
    assert_eq!(read["services"]["web"]["environment"]["A"].as_str(), Some(odd));
}
