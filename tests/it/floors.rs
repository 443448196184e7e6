//! The floors of `ARCHITECTURE.md`: no module imports from above, and siblings do not know each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What each module may import, besides itself.
const MAY: &[(&str, &[&str])] = &[
    ("secret", &[]),
    ("crypto", &["secret"]),
    ("format", &["secret"]),
    ("policy", &["secret", "crypto"]),
    ("sops", &["secret", "crypto", "format", "policy"]),
    ("sys", &["secret"]),
    ("git", &["secret", "sys"]),
    ("keys", &["secret", "crypto", "policy", "sops", "sys"]),
    ("trust", &["secret", "crypto", "format", "policy", "sops", "sys", "git", "keys"]),
    ("filter", &["secret", "crypto", "format", "policy", "sops", "sys", "git", "keys", "trust"]),
    ("check", &["secret", "crypto", "format", "policy", "sops", "sys", "git", "keys", "trust"]),
    ("repo", &["secret", "crypto", "format", "policy", "sops", "sys", "git", "keys", "trust"]),
    ("values", &["secret", "crypto", "format", "policy", "sops", "sys", "git", "keys", "trust"]),
    ("deploy", &["secret", "crypto", "format", "policy", "sops", "sys", "git", "keys"]),
    (
        "cli",
        &[
            "secret", "crypto", "format", "policy", "sops", "sys", "git", "keys", "trust", "filter", "check",
            "repo", "values", "deploy",
        ],
    ),
];

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The top-level modules that a source names after `crate::`, also in groups.
fn imports(text: &str) -> BTreeSet<String> {
    let code: String =
        text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut names = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        let word =
            |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
        match rest.strip_prefix('{') {
            None => {
                names.insert(word(rest));
            }
            Some(group) => {
                let mut depth = 0;
                for part in group.split_inclusive([',', '{', '}']) {
                    if depth == 0 {
                        names.insert(word(part.trim_start()));
                    }
                    depth += part.matches('{').count() as i32 - part.matches('}').count() as i32;
                    if depth < 0 {
                        break;
                    }
                }
            }
        }
    }
    names.remove("");
    names
}

#[test]
fn no_module_imports_from_above() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let may: BTreeMap<_, _> = MAY.iter().copied().collect();
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 20, "the sources are not where this test looks");
    let mut climbs = Vec::new();
    for file in files {
        let inside = file.strip_prefix(&root).unwrap();
        let module = inside.iter().next().unwrap().to_string_lossy().trim_end_matches(".rs").to_owned();
        if matches!(module.as_str(), "lib" | "main") {
            continue;
        }
        let allowed = may.get(module.as_str()).unwrap_or_else(|| panic!("`{module}` stands on no floor"));
        for name in imports(&fs::read_to_string(&file).unwrap()) {
            if name != module && !allowed.contains(&name.as_str()) {
                climbs.push(format!("{}: {name}", inside.display()));
            }
        }
    }
    assert!(climbs.is_empty(), "imports that climb: {climbs:#?}");
}

#[test]
fn the_reader_of_imports_sees_groups() {
    let text = "use crate::{crypto::DataKey, format::{Format, yaml}};\nuse crate::git;\n// crate::cli\n";
    assert_eq!(imports(text).into_iter().collect::<Vec<_>>(), ["crypto", "format", "git"]);
}
