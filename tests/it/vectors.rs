//! The files in `tests/vectors`, made and judged by stock sops: hlx reads what it reads, and refuses what it refuses.

use std::fs;
use std::path::{Path, PathBuf};

use hlx::format::{Content, Document, Format, Store};
use hlx::keys::{Error, Keyring, Places};
use hlx::sops;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(name)
}

fn keyring() -> (tempfile::TempDir, Keyring) {
    keyring_of(&["a.txt", "b.txt", "c.txt", "ssh_ed25519"])
}

fn keyring_of(names: &[&str]) -> (tempfile::TempDir, Keyring) {
    // git does not keep modes, and a key that others can read is refused.
    let private = tempfile::tempdir().unwrap();
    let mut named = Vec::new();
    for name in names {
        use std::os::unix::fs::PermissionsExt as _;
        let path = private.path().join(name);
        fs::copy(folder("keys").join(name), &path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        named.push(path);
    }
    (private, Keyring::load(&Places { named, ..Places::default() }))
}

fn expectations(part: &str) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(folder("expect.json")).unwrap();
    let all: serde_json::Value = serde_json::from_str(&text).unwrap();
    all[part].as_array().unwrap().clone()
}

/// Values by path, as bytes: what two spellings of one document share.
pub(crate) fn values(document: &Document<'_>) -> Vec<(String, Vec<u8>)> {
    let leaves = document.leaves.iter().filter_map(|leaf| match &leaf.content {
        Content::Value(scalar) => Some((document.paths.aad(leaf.path), scalar.bytes().into_owned())),
        Content::Comment(_) => None,
    });
    leaves.collect()
}

/// Those of a text as SOPS reads it.
fn values_of(store: Store, text: &[u8]) -> Vec<(String, Vec<u8>)> {
    values(&store.parse(std::str::from_utf8(text).unwrap()).unwrap())
}

#[test]
fn what_sops_sealed_opens_to_what_sops_reads() {
    let (_private, keyring) = keyring();
    let mut opened = 0;
    for expected in expectations("sops") {
        let name = expected["name"].as_str().unwrap();
        for version in ["sops-3.11.0", "sops-3.13.2"] {
            let Ok(sealed) = fs::read(folder(version).join(name)) else { continue };
            let result = keyring.open(&sealed);
            let result = result.unwrap_or_else(|error| panic!("{version}/{name}: {error}"));
            let ours = result.plaintext().expose().clone();
            let theirs = fs::read(folder("sops-decrypts-to").join(name)).unwrap();
            let store = match result.sealed().format() {
                Format::Binary => None,
                Format::Dotenv => Some(Store::Dotenv),
                Format::Ini => Some(Store::Ini),
                Format::Yaml => Some(Store::Yaml),
                Format::Json => Some(Store::Json),
            };
            match store {
                None => assert_eq!(ours, theirs, "{version}/{name}"),
                Some(store) => {
                    assert_eq!(values_of(store, &ours), values_of(store, &theirs), "{version}/{name}")
                }
            }
            opened += 1;
        }
    }
    assert!(opened > 50, "only {opened} files were tried");
}

#[test]
fn keys_of_any_two_groups_open_what_sops_split_for_three() {
    for path in ["sops-3.11.0", "sops-3.13.2"].map(folder) {
        for name in ["r05-shamir.env", "r05-shamir.ini", "r05-shamir.json", "r05-shamir.yaml"] {
            let sealed = fs::read(path.join(name)).unwrap();
            for two in [["a.txt", "b.txt"], ["c.txt", "a.txt"], ["b.txt", "c.txt"]] {
                let (_private, keyring) = keyring_of(&two);
                assert!(keyring.open(&sealed).is_ok(), "{name} {two:?}");
            }
            for one in ["a.txt", "b.txt", "c.txt"] {
                let (_private, keyring) = keyring_of(&[one]);
                let refused = keyring.open(&sealed).unwrap_err();
                assert!(
                    matches!(refused, Error::NoIdentity { opened: 1, needed: 2, .. }),
                    "{name} {one}: {refused}"
                );
            }
        }
    }
}

#[test]
fn what_sops_refuses_is_refused() {
    let (_private, keyring) = keyring();
    for part in ["altered", "preserve"] {
        for expected in expectations(part) {
            let name = expected["name"].as_str().unwrap();
            let exits = [expected["sops_exit"].as_i64(), expected["sops_exit_3.11.0"].as_i64()];
            let sealed = fs::read(folder(part).join(name)).unwrap();
            let result = keyring.open(&sealed);
            let opened = result.is_ok();
            match name {
                // A comment that does not authenticate: sops passes it on as it is, with a warning.
                "92-topcomment-enc.yaml" => {
                    assert!(matches!(result, Err(Error::Sops(sops::Error::Tampered(_)))))
                }
                // sops 3.13 refuses an unquoted time, 3.11 does not.
                "39-lastmodified-unquoted.yaml" => {}
                _ if exits.contains(&Some(0)) => assert!(opened, "{part}/{name}: {:?}", result.err()),
                _ => assert!(!opened, "{part}/{name} was opened, which sops refuses"),
            }
        }
    }
}
