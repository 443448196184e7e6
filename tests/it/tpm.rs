//! Private keys in a TPM: the real `age-plugin-tpm`, with a TPM in software.

use std::process::Command;

use crate::hybrid;
use crate::identities::is_root;
use crate::sandbox::{CANARY, Done, Sandbox};

struct Machine {
    sandbox: Sandbox,
    path: String,
}

impl Machine {
    /// `None` where the programs are missing, or nobody may mount.
    fn new() -> Option<Self> {
        let age = hybrid::age()?;
        let has_tpm = Command::new("swtpm").arg("--version").output().is_ok();
        if !has_tpm || !is_root() {
            assert!(std::env::var_os("CI").is_none(), "CI must test a TPM: scripts/test installs swtpm");
            eprintln!("SKIPPED: swtpm is missing, or this is not root: scripts/test installs it");
            return None;
        }
        let hlx = std::path::Path::new(env!("CARGO_BIN_EXE_hlx")).parent().unwrap();
        let path = format!("{}:{}:/usr/local/bin:/usr/bin:/bin", hlx.display(), age.display());
        Some(Self { sandbox: Sandbox::new(), path })
    }

    /// Runs a shell line where this TPM is in the machine.
    fn with(&self, tpm: &str, directory: &str, line: &str) -> Done {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/plugins/with-tpm");
        let state = self.sandbox.path(tpm).display().to_string();
        self.sandbox.run_in(directory, &[script, &state, "sh", "-euc", line], &[("PATH", &self.path)])
    }

    #[track_caller]
    fn ok(&self, directory: &str, line: &str) -> String {
        let done = self.with("tpm", directory, line);
        assert!(done.code == Some(0), "{line}: {done:?}");
        done.out
    }
}

#[test]
fn a_key_in_a_tpm_opens_files_on_that_machine_alone() {
    let Some(machine) = Machine::new() else { return };
    machine.ok(".", "age-plugin-tpm --generate 2>/dev/null | hlx keys import - 2>import.err");
    assert!(machine.sandbox.read("import.err").contains("hlx.allowPlugin tpm"));
    // The plugin is a program: nothing runs it until it was allowed.
    let idle = machine.with("tpm", ".", "hlx keys list");
    assert!(idle.out.is_empty() && idle.err.contains("hlx.allowPlugin tpm"), "{idle:?}");
    machine.ok(".", "git config --global --add hlx.allowPlugin tpm");
    let listed = machine.ok(".", "hlx keys list");
    let public = listed.split_whitespace().next().unwrap();
    assert!(public.starts_with("age1tag1"), "{listed}");
    machine.ok(
        ".",
        "git init -q lab; cd lab; git commit -q --allow-empty -m x; hlx init; hlx new app; git switch -q app",
    );
    let line = format!(
        "echo A={CANARY} >.env; git add .; git commit -qm a; rm .env; git checkout -q .env; cat .env; hlx rotate >&2"
    );
    assert_eq!(machine.ok("lab", &line), format!("A={CANARY}\n"));
    machine.sandbox.no_canary_in_objects("lab");
    // Whoever lets such a key in needs neither the plugin nor a TPM.
    machine.sandbox.write("x.env", format!("A={CANARY}\n"));
    machine.sandbox.write(".sops.yaml", format!("creation_rules:\n  - age: {public}\n"));
    machine.sandbox.sh(".", "HOME=/nowhere hlx encrypt --in-place x.env");
    assert!(machine.sandbox.read("x.env").contains("ENC["));
    assert!(machine.ok(".", "hlx show x.env").contains(CANARY));
    // The file with the key is of no use elsewhere.
    let elsewhere = machine.with("another", ".", "hlx show x.env");
    assert!(
        elsewhere.code == Some(3) && elsewhere.err.contains("the age plugin `tpm` failed"),
        "{elsewhere:?}"
    );
    let without = machine.sandbox.run_in(".", &["hlx", "show", "x.env"], &[("PATH", &machine.path)]);
    assert!(without.code == Some(3) && without.err.contains("the age plugin `tpm` failed"), "{without:?}");
}

#[test]
fn a_key_of_the_plugins_own_kind_is_wrapped_for_by_the_plugin() {
    let Some(machine) = Machine::new() else { return };
    machine.ok(".", "umask 077; age-plugin-tpm --generate --tpm-recipient -o key; grep -i '^# recipient: ' key | cut -d' ' -f3 >key.pub");
    let public = machine.sandbox.read("key.pub");
    assert!(public.starts_with("age1tpm1"), "{public}");
    machine.sandbox.write("x.env", format!("A={CANARY}\n"));
    machine.sandbox.write(".sops.yaml", format!("creation_rules:\n  - age: {public}"));
    let refused = machine.with("tpm", ".", "hlx encrypt --in-place x.env");
    assert!(refused.err.contains("hlx.allowPlugin tpm"), "{refused:?}");
    machine.ok(".", "export HLX_ALLOW_PLUGINS=tpm; hlx encrypt --in-place x.env; grep -q ENC x.env; hlx -i key show x.env | grep -q swordfish");
}
