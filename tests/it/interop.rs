//! hlx and stock sops on the same files, in both directions.

use crate::sandbox::{CANARY, Sandbox};

const COMPOSE: &str = "# the stack\nservices:\n  web:\n    image: nginx:1 # tag\n    environment:\n      # why\n      A: 0755\n      TOKEN: \"canary-swordfish-7f3a9c\" # inline\n      B: >\n        folded\n        text\n      F: 1.50\n    ports: [\"80:80\"]\n  db:\n    environment:\n    - PASSWORD=canary-swordfish-7f3a9c\n    # - OLD=canary-swordfish-7f3a9c\n    - 'X=y'\n";

fn parsed(text: &str) -> serde_json::Value {
    serde_yaml::from_str(text).unwrap()
}

#[test]
fn sops_opens_what_hlx_sealed() {
    let sandbox = Sandbox::new();
    sandbox.lab();
    sandbox.write("lab/compose.yml", COMPOSE);
    sandbox.ok("lab", &["hlx", "track", "compose.yml"]);
    let env = format!("A={CANARY}\n# comment {CANARY}\n\nB=\"two words\"\nC=a\\nb\nEMPTY=\n");
    sandbox.write("lab/.env", &env);
    sandbox.write("lab/cert.pem", format!("-----BEGIN\n{CANARY}\n\u{0}\n"));
    sandbox.ok("lab", &["hlx", "track", "cert.pem"]);
    sandbox.sh("lab", "git add -A; git commit -qm secrets; git show HEAD:.env >../sealed.env; git show HEAD:compose.yml >../sealed.yml; git show HEAD:cert.pem >../sealed.bin");
    for file in ["sealed.env", "sealed.yml", "sealed.bin"] {
        assert!(!sandbox.read(file).contains("canary"), "{file}");
    }
    let done = sandbox.sops(".", &["-d", "sealed.env"]);
    assert_eq!(done.out, env.replace("\n\n", "\n"), "{}", done.err);
    let done = sandbox.sops(".", &["-d", "sealed.bin"]);
    assert_eq!(done.out, sandbox.read("lab/cert.pem"), "{}", done.err);
    let done = sandbox.sops(".", &["-d", "sealed.yml"]);
    assert_eq!(done.code, Some(0), "{}", done.err);
    assert!(done.out.contains("# why") && done.out.contains(&format!("# - OLD={CANARY}")), "{}", done.out);
    assert!(
        !done.out.contains("ENC[") && !done.err.contains("unencrypted comment"),
        "{} {}",
        done.out,
        done.err
    );
    let (ours, theirs) = (parsed(&COMPOSE.replace("0755", "493")), parsed(&done.out));
    assert_eq!(theirs, ours);
}

#[test]
fn hlx_opens_what_sops_sealed_and_status_stays_clean() {
    let sandbox = Sandbox::new();
    sandbox.lab();
    sandbox.write("lab/.env", format!("A={CANARY}\n# c\nB=x\n"));
    sandbox.write(
        "lab/values.yaml",
        format!("db:\n  password: {CANARY}\n  # note\n  port: 5432\nlong: |\n  one\n  two\n"),
    );
    for file in [".env", "values.yaml"] {
        let done = sandbox.sops("lab", &["-e", "-i", file]);
        assert_eq!(done.code, Some(0), "{}", done.err);
    }
    sandbox.ok("lab", &["hlx", "track", "values.yaml", "--keys", "password"]);
    sandbox.sh(
        "lab",
        "git add -A; git commit -qm 'sealed by sops'; git ls-files -s .env values.yaml >../before",
    );
    // A fresh checkout opens them; touching or adding them again changes nothing.
    sandbox.sh("lab", "rm .env values.yaml; git checkout -- .env values.yaml; touch .env values.yaml");
    assert!(sandbox.read("lab/.env").contains(CANARY) && sandbox.read("lab/values.yaml").contains(CANARY));
    assert_eq!(sandbox.ok("lab", &["git", "status", "--porcelain"]), "");
    sandbox.sh("lab", "git add --renormalize .; git ls-files -s .env values.yaml | cmp - ../before");
    // One value changed: that line, the time and the MAC.
    let edited = sandbox.read("lab/values.yaml").replace("5432", "5433");
    sandbox.write("lab/values.yaml", &edited);
    sandbox.sh("lab", "git add values.yaml; git commit -qm port");
    let changed = sandbox.ok("lab", &["git", "diff", "--no-textconv", "--numstat", "HEAD~1", "HEAD"]);
    // Within one second the time stays the same.
    assert!(changed.starts_with("3\t3\t") || changed.starts_with("2\t2\t"), "{changed}");
    sandbox.sh("lab", "git show HEAD:values.yaml >../again.yaml");
    let done = sandbox.sops(".", &["-d", "again.yaml"]);
    assert!(done.out.contains("5433") && done.out.contains(CANARY), "{done:?}");
    sandbox.no_canary_in_objects("lab");
}

#[test]
fn all_four_rules_agree_with_sops() {
    for (rule, clear) in [
        ("encrypted_regex: ^(pass|tok)", "other"),
        ("unencrypted_regex: ^other$", "other"),
        ("encrypted_suffix: word", "other"),
        ("unencrypted_suffix: er", "other"),
    ] {
        let sandbox = Sandbox::new();
        sandbox.lab();
        let config = sandbox.read("lab/.sops.yaml");
        sandbox.write(
            "lab/.sops.yaml",
            config.replace("  - age:", &format!("  - {rule}\n    mac_only_encrypted: true\n    age:")),
        );
        sandbox.sh("lab", "echo 'secret.yaml filter=hlx -text' >>.gitattributes");
        sandbox.write(
            "lab/secret.yaml",
            format!("password: {CANARY}\nother: visible\ntokword: {{deep: [1, 2.5, true]}}\n"),
        );
        sandbox.sh("lab", "git add -A; git show :secret.yaml >../sealed.yaml");
        let sealed = sandbox.read("sealed.yaml");
        assert!(
            sealed.contains(&format!("{clear}: visible"))
                && !sealed.contains(CANARY)
                && !sealed.contains("2.5"),
            "{rule}: {sealed}"
        );
        let done = sandbox.sops(".", &["-d", "--output-type", "json", "sealed.yaml"]);
        let expected =
            serde_json::json!({"password": CANARY, "other": "visible", "tokword": {"deep": [1, 2.5, true]}});
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&done.out).unwrap(),
            expected,
            "{rule}: {}",
            done.err
        );
    }
}

const ALIASES: &str = "x-env: &env\n  TZ: Europe/Berlin\n  TOKEN: canary-swordfish-7f3a9c\nservices:\n  web:\n    image: nginx:1\n    environment: &web\n      <<: *env\n      PASSWORD: canary-swordfish-7f3a9c # mine\n  worker:\n    image: nginx:1\n    environment: *web\n";

#[test]
fn aliases_under_the_rule_open_in_sops_and_come_back_as_aliases() {
    let sandbox = Sandbox::new();
    sandbox.lab();
    sandbox.write("lab/compose.yml", ALIASES);
    sandbox.ok("lab", &["hlx", "track", "compose.yml", "--keys", "^(environment|x-env)$"]);
    sandbox.sh("lab", "git add -A; git commit -qm aliases; git show HEAD:compose.yml >../sealed.yml");
    let sealed = sandbox.read("sealed.yml");
    assert!(!sealed.contains("canary") && sealed.contains("<<: {TZ: \"ENC["), "{sealed}");
    let done = sandbox.sops(".", &["-d", "--output-type", "json", "sealed.yml"]);
    let opened: serde_json::Value = serde_json::from_str(&done.out).expect(&done.err);
    let worker = &opened["services"]["worker"]["environment"];
    assert_eq!(worker["<<"]["TOKEN"], CANARY);
    assert_eq!(worker["PASSWORD"], CANARY);
    sandbox.sh("lab", "rm compose.yml; git checkout -- compose.yml");
    assert_eq!(sandbox.read("lab/compose.yml"), ALIASES);
    assert_eq!(sandbox.ok("lab", &["git", "status", "--porcelain"]), "");
}

#[test]
fn a_value_that_only_its_alias_seals_is_named() {
    let sandbox = Sandbox::new();
    sandbox.lab();
    sandbox.write(
        "lab/compose.yml",
        "x-env: &env\n  TZ: Europe/Berlin\nservices:\n  web:\n    environment: *env\n",
    );
    sandbox.ok("lab", &["hlx", "track", "compose.yml"]);
    let done = sandbox.run("lab", &["git", "add", "compose.yml"]);
    assert_eq!(done.code, Some(0), "{}", done.err);
    let warning = "compose.yml: line 2: `x-env.TZ` stays in clear, though it is encrypted as `services.web.environment.TZ`";
    assert!(done.err.contains(warning) && done.err.contains("hint: if it is secret"), "{}", done.err);
}

#[test]
fn both_comment_rules_agree_with_sops() {
    let text = format!(
        "# top\na: clear\n# secret\n# more\nb: {CANARY}\nc: {CANARY} # secret\nd: # secret\n  e: {CANARY}\n  # inner\n  f: [{CANARY}]\ng:\n- clear\n# secret\n- {CANARY}\nh: clear\n"
    );
    let public = text.replace("clear", "hidden").replace("secret", "public").replace(CANARY, "visible");
    for (rule, text, clear) in [
        ("encrypted_comment_regex: secret", text.as_str(), "clear"),
        ("unencrypted_comment_regex: public", public.as_str(), "visible"),
    ] {
        let sandbox = Sandbox::new();
        sandbox.lab();
        let config = sandbox.read("lab/.sops.yaml");
        let rule = format!("  - {rule}\n    mac_only_encrypted: true\n    age:");
        sandbox.write("lab/.sops.yaml", config.replace("  - age:", &rule));
        sandbox.sh("lab", "printf '%s\n' '*.yaml filter=hlx -text' '.sops.yaml -filter' >>.gitattributes");
        sandbox.write("lab/ours.yaml", text);
        sandbox.sh("lab", "git add -A; git commit -qm ours; git show :ours.yaml >../ours.yaml");
        let sealed = sandbox.read("ours.yaml");
        assert!(!sealed.contains(CANARY) && !sealed.contains("hidden") && sealed.contains(clear), "{sealed}");
        let opened = sandbox.sops(".", &["-d", "ours.yaml"]);
        assert_eq!(parsed(&opened.out), parsed(text), "{}", opened.err);
        // And the other way round: what sops sealed opens, and stays as it is.
        sandbox.write("lab/theirs.yaml", text);
        let sealed = sandbox.sops("lab", &["-e", "-i", "theirs.yaml"]);
        assert_eq!(sealed.code, Some(0), "{}", sealed.err);
        sandbox.sh("lab", "git add -A; git commit -qm theirs; rm theirs.yaml; git checkout -- theirs.yaml");
        assert_eq!(parsed(&sandbox.read("lab/theirs.yaml")), parsed(text));
        sandbox.sh("lab", "git add --renormalize .");
        assert_eq!(sandbox.ok("lab", &["git", "status", "--porcelain"]), "");
    }
}

/// JSON files as people and programs write them.
const JSON: &[&str] = &[
    "{\n  \"log-driver\": \"json-file\",\n  \"debug\": true,\n  \"max\": 5,\n  \"ratio\": 1.50,\n  \"none\": null,\n  \"empty\": \"\"\n}\n",
    "{\"a\":1,\"a\":\"two\",\"b\":[1,[\"x\",{\"c\":-0.5e-3}],{},[]]}",
    "{\r\n\t\"k\" : \"<b>&\\u003c\\/\\ud83d\\ude00\\n\\u0000é\u{2028}\" ,\r\n\t\"big\": 9007199254740993, \"huge\": 1e21, \"id\": 12345678901234567890\r\n}\r\n",
    " { \"x:y\": \"1\", \"x\": { \"y\": \"2\", \"\": \"3\" }, \"sub\": {\"sops\": {\"mac\": \"m\"}}, \"half\": \"\\ud800!\" } ",
    "{\"data\": \"canary-swordfish-7f3a9c\"}\n",
    "{\"data\": {\"token\": \"canary-swordfish-7f3a9c\"}, \"zero\": -0, \"plain_unencrypted\": [9007199254740992, 2.50, \"\\u0041\"]}",
];

/// Numbers as sops 3.11.0 prints them: all of them are floats to it.
fn as_floats(value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::Number(number) => number.as_f64().map_or(Value::Null, Value::from),
        Value::Array(items) => items.into_iter().map(as_floats).collect(),
        Value::Object(members) => members.into_iter().map(|(key, value)| (key, as_floats(value))).collect(),
        other => other,
    }
}

fn json(text: &str) -> serde_json::Value {
    // serde_json refuses the half of a surrogate pair, which Go reads so.
    as_floats(serde_json::from_str(&text.replace("\\ud800", "\u{fffd}")).unwrap())
}

#[test]
fn json_goes_both_ways() {
    let sandbox = Sandbox::new();
    sandbox.lab();
    sandbox.sh("lab", "echo '*.json filter=hlx -text' >>.gitattributes");
    for (n, text) in JSON.iter().enumerate() {
        sandbox.write(&format!("lab/ours{n}.json"), text);
        sandbox.write(&format!("lab/theirs{n}.json"), text);
        let done = sandbox.sops("lab", &["-e", "-i", &format!("theirs{n}.json")]);
        assert_eq!(done.code, Some(0), "{}", done.err);
    }
    sandbox.sh(
        "lab",
        "git add -A; git commit -qm json; git ls-files -s '*.json' >../before; rm *.json; git checkout -- .",
    );
    assert_eq!(sandbox.ok("lab", &["git", "status", "--porcelain"]), "");
    for (n, text) in JSON.iter().enumerate() {
        sandbox.sh(".", &format!("git -C lab show HEAD:ours{n}.json >sealed{n}.json"));
        assert!(!sandbox.read(&format!("sealed{n}.json")).contains("canary"), "{text}");
        let done = sandbox.sops(".", &["-d", &format!("sealed{n}.json")]);
        assert_eq!(done.code, Some(0), "{text}: {}", done.err);
        assert_eq!(json(&done.out), json(text));
        assert_eq!(sandbox.read(&format!("lab/ours{n}.json")), *text);
        // `{"data": "…"}` by sops is what sops makes of a whole file.
        let theirs = sandbox.read(&format!("lab/theirs{n}.json"));
        if theirs != CANARY {
            assert_eq!(json(&theirs), json(text), "{theirs}");
        }
    }
    sandbox.sh("lab", "touch *.json; git add --renormalize .; git ls-files -s '*.json' | cmp - ../before");
    sandbox.no_canary_in_objects("lab");
}

#[test]
fn a_changed_json_value_changes_its_line_only_whoever_sealed_it() {
    let sandbox = Sandbox::new();
    sandbox.lab();
    sandbox.sh("lab", "echo '*.json filter=hlx -text' >>.gitattributes");
    let text = "{\n\t\"one\": 1,\n\t\"two\": 2.5,\n\t\"three\": \"x\"\n}\n";
    sandbox.write("lab/ours.json", text);
    sandbox.write("lab/theirs.json", text);
    assert_eq!(sandbox.sops("lab", &["-e", "-i", "theirs.json"]).code, Some(0));
    sandbox.sh("lab", "git add -A; git commit -qm one; rm *.json; git checkout -- .; sleep 1");
    for file in ["ours.json", "theirs.json"] {
        assert_eq!(sandbox.read(&format!("lab/{file}")), text);
        sandbox.write(&format!("lab/{file}"), text.replace("2.5", "9007199254740993"));
    }
    sandbox.sh("lab", "git add -A; git commit -qm two; git show HEAD:theirs.json >../sealed.json");
    let changed = sandbox.ok("lab", &["git", "diff", "--no-textconv", "--numstat", "HEAD~1", "HEAD"]);
    assert_eq!(changed, "3\t3\tours.json\n3\t3\ttheirs.json\n");
    let done = sandbox.sops(".", &["-d", "sealed.json"]);
    assert!(done.out.contains("9007199254740993"), "{done:?}");
}

#[test]
fn json_that_sops_cannot_hold_is_refused_with_the_way_out() {
    let sandbox = Sandbox::new();
    sandbox.lab();
    sandbox.sh("lab", "echo '*.json filter=hlx -text' >>.gitattributes");
    let config =
        sandbox.read("lab/.sops.yaml").replace("  - age:", "  - encrypted_regex: ^secret$\n    age:");
    sandbox.write("lab/.sops.yaml", config);
    for (text, message) in [
        ("[\"canary-swordfish-7f3a9c\"]", "line 1, column 1: the top level is no object in `{…}`"),
        ("{\n  \"secret\": \"canary-swordfish-7f3a9c\n}", "line 2, column 37: line breaks"),
        ("{\"secret\": 1,\n\"id\": 9007199254740993}", "line 2: sops before 3.13.2 reads the number at `id`"),
    ] {
        sandbox.write("lab/x.json", text);
        let refused = sandbox.run("lab", &["git", "add", "x.json"]);
        assert_eq!(refused.code, Some(128), "{text}");
        assert!(refused.err.contains(message) && refused.err.contains("--whole"), "{}", refused.err);
        assert!(!refused.err.contains("canary"), "{}", refused.err);
    }
}

#[test]
fn a_flow_mapping_is_sealed_with_its_block_inside() {
    let sandbox = Sandbox::new();
    sandbox.lab();
    sandbox.sh("lab", "echo 'f*.yaml filter=hlx -text' >>.gitattributes");
    let files = [
        "{a: canary-swordfish-7f3a9c, b: 0755}\n",
        "# top\n{\n  \"a\": [x, {k: 'canary-swordfish-7f3a9c'}], # inner\n  b: \"y\", # last\n}\n",
        "{\"a\":1,\"b\":{\"c\":\"canary-swordfish-7f3a9c\"}}",
    ];
    for (n, text) in files.iter().enumerate() {
        sandbox.write(&format!("lab/f{n}.yaml"), text);
    }
    sandbox.sh("lab", "git add -A; git commit -qm flow; rm f*.yaml; git checkout -- .");
    assert_eq!(sandbox.ok("lab", &["git", "status", "--porcelain"]), "");
    for (n, text) in files.iter().enumerate() {
        assert_eq!(sandbox.read(&format!("lab/f{n}.yaml")), *text);
        sandbox.sh(".", &format!("git -C lab show HEAD:f{n}.yaml >sealed{n}.yaml"));
        let done = sandbox.sops(".", &["-d", &format!("sealed{n}.yaml")]);
        assert_eq!(done.code, Some(0), "{text}: {}", done.err);
        assert_eq!(parsed(&done.out), parsed(&text.replace("0755", "493")));
    }
    sandbox.no_canary_in_objects("lab");
}
