//! The merge of three texts: git's own, by lines, and by values where that is too coarse.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::process::{Command, Stdio};

use rustix::fs::{MemfdFlags, memfd_create};

use crate::format::Store;
use crate::secret::SecretBytes;

use super::apart;
use super::merge::{Conflict, Markers};

/// git looks at as many bytes for a zero.
const HEAD: usize = 8000;

/// Merges ours, base and theirs. With a store, what it reads as changes of different values is no conflict.
pub(super) fn merge(
    sides: [&[u8]; 3],
    store: Option<Store>,
    markers: &Markers,
) -> io::Result<(SecretBytes, Option<Conflict>)> {
    let binary = |text: &[u8]| text[..text.len().min(HEAD)].contains(&0);
    if sides.into_iter().any(binary) {
        return Ok((SecretBytes::new(sides[0].to_vec()), Some(Conflict::NoText)));
    }
    let (merged, conflict) = by_git(sides, Style::Configured, markers)?;
    let (Some(_), Some(store)) = (&conflict, store) else { return Ok((merged, conflict)) };
    let Some(resolved) = by_values(sides, store, markers)? else { return Ok((merged, conflict)) };
    // What is left of the conflicts is for git to show.
    by_git(resolved.texts.each_ref().map(|text| text.as_bytes()), Style::Configured, markers)
}

/// The sides with the same text wherever they differ in other values only.
fn by_values(sides: [&[u8]; 3], store: Store, markers: &Markers) -> io::Result<Option<apart::Resolved>> {
    let [Ok(ours), Ok(base), Ok(theirs)] = sides.map(std::str::from_utf8) else { return Ok(None) };
    let size = apart::marker_size([ours, base, theirs]);
    let (marked, _) = by_git(sides, Style::WithBase, &Markers { size, labels: markers.labels.clone() })?;
    let marked = std::str::from_utf8(marked.expose());
    Ok(marked.ok().and_then(|marked| apart::resolve(store, [ours, base, theirs], marked, size)))
}

/// How conflicts are shown.
#[derive(Clone, Copy)]
enum Style {
    /// As git's configuration says.
    Configured,
    /// With the ancestor's lines.
    WithBase,
}

/// git's own three-way merge of ours, base and theirs, over files that exist only in memory.
fn by_git(sides: [&[u8]; 3], style: Style, markers: &Markers) -> io::Result<(SecretBytes, Option<Conflict>)> {
    let [ours, base, theirs] = sides.map(in_memory);
    let files = [ours?, base?, theirs?];
    // As `git merge` compares; git before 2.44 has no such option here, and compares in its default way.
    for algorithm in [Some("--diff-algorithm=histogram"), None] {
        match merge_files(&files, algorithm, style, markers)? {
            (merged, Some(0)) => return Ok((merged, None)),
            // git-merge-file(1): the number of conflicts, at most 127; above that it failed.
            (merged, Some(1..=127)) => return Ok((merged, Some(Conflict::Lines))),
            (_, Some(UNKNOWN_OPTION)) if algorithm.is_some() => {}
            _ => break,
        }
    }
    Err(io::Error::other("`git merge-file` failed"))
}

const UNKNOWN_OPTION: i32 = 129;

fn merge_files(
    files: &[File; 3],
    algorithm: Option<&str>,
    style: Style,
    markers: &Markers,
) -> io::Result<(SecretBytes, Option<i32>)> {
    // As git sees it, which has these files open too: it cannot look into this process.
    let path = |file: &File| format!("/proc/self/fd/{}", file.as_raw_fd());
    let [label_base, label_ours, label_theirs] = &markers.labels;
    let style = match style {
        Style::Configured => None,
        Style::WithBase => Some("--diff3"),
    };
    let mut child = Command::new("git")
        .args(["merge-file", "-p", "--marker-size", &markers.size.to_string()])
        .args(algorithm.into_iter().chain(style))
        .args(["-L", label_ours, "-L", label_base, "-L", label_theirs])
        .args(files.iter().map(path))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(if algorithm.is_some() { Stdio::null() } else { Stdio::inherit() })
        .spawn()?;
    let lengths = files.iter().map(|file| file.metadata().map_or(0, |metadata| metadata.len()));
    let length = usize::try_from(lengths.sum::<u64>()).unwrap_or(0);
    let mut merged = SecretBytes::new(Vec::with_capacity(length + 4096));
    child.stdout.take().expect("it was asked for").read_to_end(merged.expose_mut())?;
    Ok((merged, child.wait()?.code()))
}

fn in_memory(content: &[u8]) -> io::Result<File> {
    // It stays open in the program that is started next.
    let mut file = File::from(memfd_create("hlx-merge", MemfdFlags::empty())?);
    file.write_all(content)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn merged(sides: [&str; 3], store: Store) -> Option<String> {
        let labels = ["base", "ours", "theirs"].map(str::to_owned);
        let markers = Markers { size: 7, labels };
        let (text, conflict) = merge(sides.map(str::as_bytes), Some(store), &markers).unwrap();
        conflict.is_none().then(|| String::from_utf8(text.expose().clone()).unwrap())
    }

    #[test]
    fn neighbouring_changes_of_different_values_are_merged() {
        for (ours, base, theirs, expected) in [
            ("A=10\nB=2\nC=3\n", "A=1\nB=2\nC=3\n", "A=1\nB=20\nC=3\n", "A=10\nB=20\nC=3\n"),
            ("A=10\nB=2", "A=1\nB=2", "A=1\nB=20", "A=10\nB=20"),
            ("A=10\r\nB=2\r\n", "A=1\r\nB=2\r\n", "A=1\r\nB=20\r\n", "A=10\r\nB=20\r\n"),
            ("# new\nA=1\n", "# old\nA=1\n", "# old\nA=2\n", "# new\nA=2\n"),
            ("A=1\n# x\nX=1\n", "A=1\n", "A=1\n# y\nY=1\n", "A=1\n# x\nX=1\n# y\nY=1\n"),
            ("A=1\nX=1\n", "A=1", "A=1\nY=1", "A=1\nX=1\nY=1\n"),
            ("A=1\nX=1", "A=1", "A=1\nY=1", "A=1\nX=1\nY=1"),
            ("A=1\nX=1\nZ=1\n", "A=1\n", "A=1\nX=1\nY=1\n", "A=1\nX=1\nZ=1\nY=1\n"),
            ("B=2\nX=1\n", "A=1\nB=2\n", "A=1\nB=3\nY=1\n", "B=3\nX=1\nY=1\n"),
            ("A=\"1\n2\"\nB=2\n", "A=1\nB=2\n", "A=1\nB=\"4\n5\"\n", "A=\"1\n2\"\nB=\"4\n5\"\n"),
        ] {
            assert_eq!(merged([ours, base, theirs], Store::Dotenv).as_deref(), Some(expected));
        }
    }

    #[test]
    fn in_other_formats_too() {
        for (store, ours, base, theirs, expected) in [
            (
                Store::Yaml,
                "a:\n  b: 1\n  c: 3\n",
                "a:\n  b: 1\n  c: 2\n",
                "a:\n  b: 9\n  c: 2\n",
                "a:\n  b: 9\n  c: 3\n",
            ),
            (Store::Yaml, "a:\n  x: 1\n", "a:\n", "a:\n  y:\n    z: 1\n", "a:\n  x: 1\n  y:\n    z: 1\n"),
            (
                Store::Json,
                "{\n \"a\": 9,\n \"b\": 2\n}\n",
                "{\n \"a\": 1,\n \"b\": 2\n}\n",
                "{\n \"a\": 1,\n \"b\": 3\n}\n",
                "{\n \"a\": 9,\n \"b\": 3\n}\n",
            ),
            (
                Store::Ini,
                "[x]\na = 9\nb = 2\n",
                "[x]\na = 1\nb = 2\n",
                "[x]\na = 1\nb = 3\n",
                "[x]\na = 9\nb = 3\n",
            ),
        ] {
            assert_eq!(merged([ours, base, theirs], store).as_deref(), Some(expected));
        }
    }

    #[test]
    fn two_changes_of_one_value_are_a_conflict() {
        for (store, ours, base, theirs) in [
            (Store::Dotenv, "A=10\nB=2\n", "A=1\nB=2\n", "A=11\nB=2\n"),
            (Store::Dotenv, "X=1\n", "", "X=2\n"),
            (Store::Dotenv, "A=1\nX=1\n", "A=1\n", "A=1\nY=2\nX=2\n"),
            (Store::Dotenv, "A=\"9\n2\n3\"\n", "A=\"1\n2\n3\"\n", "A=\"1\n8\n3\"\n"),
            (Store::Dotenv, "A=\"1\nX=1\n\"\n", "A=\"1\n\"\n", "A=\"1\nY=1\n\"\n"),
            (Store::Dotenv, "# a\n", "# b\n", "# c\n"),
            (Store::Dotenv, "", "A=1\n", "A=2\n"),
            (Store::Yaml, "a: |\n  9\n  2\n", "a: |\n  1\n  2\n", "a: |\n  1\n  8\n"),
            (Store::Yaml, "a:\n  - 1\n  - 2\n", "a:\n  - 1\n", "a:\n  - 1\n  - 3\n"),
            (Store::Yaml, "a: &x 2\nb: *x\n", "a: &x 1\nb: *x\n", "a: &x 1\nb: 5\n"),
        ] {
            assert_eq!(merged([ours, base, theirs], store), None, "{ours:?} {base:?} {theirs:?}");
        }
    }

    #[test]
    fn beside_a_conflict_other_values_are_merged() {
        let lines = |[a, b, c, d]: [&str; 4]| format!("A={a}\nB={b}\n#\n#\n#\n#\nC={c}\nD={d}\n");
        let (ours, base, theirs) =
            (lines(["9", "2", "9", "4"]), lines(["1", "2", "3", "4"]), lines(["1", "8", "8", "4"]));
        let markers = Markers { size: 7, labels: ["base", "ours", "theirs"].map(str::to_owned) };
        let sides = [&ours, &base, &theirs].map(|side| side.as_bytes());
        let (text, conflict) = merge(sides, Some(Store::Dotenv), &markers).unwrap();
        assert!(matches!(conflict, Some(Conflict::Lines)));
        let expected = "A=9\nB=8\n#\n#\n#\n#\n<<<<<<< ours\nC=9\n=======\nC=8\n>>>>>>> theirs\nD=4\n";
        assert_eq!(String::from_utf8_lossy(text.expose()), expected);
    }

    /// Lines of a `.env` by key, in an order of their own; what stands first is a comment.
    type Lines = Vec<(u8, u8)>;

    fn spell(lines: &Lines) -> String {
        lines.iter().map(|(key, value)| format!("K{key}={value}\n")).collect()
    }

    /// What is done to each line, and which are added where.
    fn changed(base: &Lines, changes: &[u8], added: &[(usize, u8, u8)]) -> Lines {
        let mut lines: Lines = base
            .iter()
            .zip(changes)
            .filter(|(_, change)| **change != 1)
            .map(|((key, value), change)| (*key, if *change > 1 { *change } else { *value }))
            .collect();
        for (at, key, value) in added {
            if lines.iter().all(|(other, _)| other != key) {
                lines.insert(at % (lines.len() + 1), (*key, *value));
            }
        }
        lines
    }

    /// The three-way merge of the values.
    fn expected([ours, base, theirs]: [&Lines; 3]) -> Option<BTreeMap<u8, u8>> {
        let [ours, base, theirs]: [BTreeMap<u8, u8>; 3] =
            [ours, base, theirs].map(|side| side.iter().copied().collect());
        let keys: std::collections::BTreeSet<u8> =
            [&ours, &base, &theirs].iter().flat_map(|side| side.keys().copied()).collect();
        let mut all = BTreeMap::new();
        for key in keys {
            let (mine, before, its) = (ours.get(&key), base.get(&key), theirs.get(&key));
            let value = if mine == before {
                its
            } else if its == before || its == mine {
                mine
            } else {
                return None;
            };
            value.map(|value| all.insert(key, *value));
        }
        Some(all)
    }

    fn changes() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(prop_oneof![4 => Just(0u8), 1 => Just(1u8), 2 => 2u8..5], 6)
    }

    fn added() -> impl Strategy<Value = Vec<(usize, u8, u8)>> {
        proptest::collection::vec((0usize..8, 10u8..16, 0u8..3), 0..3)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]

        #[test]
        fn a_merge_without_a_conflict_is_the_merge_of_the_values(
            values in proptest::collection::vec(10u8..20, 6),
            (mine, its) in (changes(), changes()), (new, other) in (added(), added()),
        ) {
            // At two places, git takes one key of both for two.
            prop_assume!(new.iter().all(|(_, key, _)| other.iter().all(|(_, its, _)| its != key)));
            let base: Lines = (0u8..).zip(values).collect();
            let (ours, theirs) = (changed(&base, &mine, &new), changed(&base, &its, &other));
            let texts = [&ours, &base, &theirs].map(spell);
            let merged = merged(texts.each_ref().map(String::as_str), Store::Dotenv);
            let expected = expected([&ours, &base, &theirs]);
            let only_values = [&mine, &its].iter().all(|changes| !changes.contains(&1)) && new.is_empty() && other.is_empty();
            if let Some(merged) = &merged {
                let lines = merged.lines().map(|line| {
                    let (key, value) = line[1..].split_once('=').unwrap();
                    (key.parse().unwrap(), value.parse().unwrap())
                });
                let lines: Lines = lines.collect();
                prop_assert_eq!(Some(lines.iter().copied().collect()), expected, "{:?}", texts);
                prop_assert_eq!(lines.len(), lines.iter().map(|(key, _)| key).collect::<std::collections::BTreeSet<_>>().len());
            } else if only_values {
                prop_assert_eq!(expected, None, "{:?}", texts);
            }
        }
    }
}
