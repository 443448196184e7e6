//! Files that a compose file gives to containers as secrets: in git they have no business in clear.

use std::cell::OnceCell;

use serde_yaml::Value;

use crate::git;

use super::compose::is_compose;
use super::examine::Spot;
use super::{Checker, Rule, secrets};

/// A file that a compose file names under `secrets:`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Granted {
    /// The secret's name.
    pub(super) secret: String,
    /// Where the file is, from the top of the branch.
    pub(super) path: String,
}

/// The files that a compose file's `secrets:` name, but for those whose line allows it (`# hlx:allow`), and
/// those that are none of the branch's.
pub(super) fn of_compose(text: &str, file: &Value) -> Vec<Granted> {
    let all = file.get("secrets").and_then(Value::as_mapping).into_iter().flatten();
    let named = all.filter_map(|(name, secret)| Some((name.as_str()?, secret.get("file")?.as_str()?)));
    let granted = |(name, path): (&str, &str)| {
        let path = below(path).filter(|_| !is_allowed(text, path))?;
        Some(Granted { secret: name.to_owned(), path })
    };
    named.filter_map(granted).collect()
}

/// A path of the branch, spelled in the one way that git has it; none for a path that leads elsewhere, or
/// that Compose has yet to fill in.
fn below(path: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    let is_here = !path.starts_with(['/', '~']) && !path.contains('$');
    is_here.then(|| parts.join("/"))
}

/// Whether the line that names just this path says that it may be clear.
fn is_allowed(text: &str, path: &str) -> bool {
    let is_part = |letter: char| letter.is_alphanumeric() || "._-/~".contains(letter);
    let names = |line: &str| {
        line.match_indices(path).any(|(at, _)| {
            let (before, behind) = (&line[..at], &line[at + path.len()..]);
            !before.ends_with(is_part) && !behind.starts_with(is_part)
        })
    };
    text.lines().any(|line| secrets::is_allowed_line(line) && names(line))
}

/// What is wrong with a file at a path that nothing protects, if one of these is it.
pub(super) fn in_clear(granted: &[Granted], path: &str, content: &[u8]) -> Option<Spot> {
    let granted = granted.iter().find(|granted| granted.path == path)?;
    let text = String::from_utf8_lossy(content);
    let open = !text.trim().is_empty() && !secrets::is_allowed(&text);
    let message =
        format!("the secret `{}` of the compose file, in clear, and nothing protects it", granted.secret);
    open.then(|| Spot::new(Rule::SecretFile, message))
}

/// The secrets of a tree's compose files, read when the first file is asked about.
pub(super) struct Grants<'c> {
    checker: &'c Checker<'c>,
    /// The blobs of the compose files.
    files: Vec<String>,
    found: OnceCell<Vec<Granted>>,
}

impl<'c> Grants<'c> {
    /// Those of a tree with these files: path and blob of each.
    pub(super) fn of<'f>(checker: &'c Checker<'c>, files: impl Iterator<Item = (&'f [u8], &'f str)>) -> Self {
        let is_one = |path: &[u8]| std::str::from_utf8(path).is_ok_and(is_compose);
        let files = files.filter(|(path, _)| is_one(path)).map(|(_, blob)| blob.to_owned()).collect();
        Self { checker, files, found: OnceCell::new() }
    }

    /// What is wrong with a file in clear.
    pub(super) fn judge(&self, path: &str, content: &[u8]) -> Result<Option<Spot>, git::Error> {
        if self.found.get().is_none() {
            let mut found = Vec::new();
            for blob in &self.files {
                let text = self.checker.repository.blob_named(blob)?;
                let text = String::from_utf8_lossy(&text);
                // One that is broken, or encrypted as a whole, says nothing.
                let file = serde_yaml::from_str::<Value>(&text).unwrap_or_default();
                found.extend(of_compose(&text, &file));
            }
            let _ = self.found.set(found);
        }
        Ok(in_clear(self.found.get().map_or(&[], Vec::as_slice), path, content))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_branch_are_found_unless_they_are_allowed() {
        let text = "services: {}\nsecrets:\n  a: {file: ./a.txt}\n  b:\n    file: dir/b\n  c: {file: /etc/c}\n  \
                    d: {file: ../d}\n  e: {file: \"${E}/e\"}\n  f: {environment: F}\n  g: {external: true}\n  \
                    h: {file: ./public.pem} # hlx:allow\n  i: {file: ~/i}\n  j: {file: .//x/./y/../j}\n  \
                    k: {file: ./public}\n  l: {file: public.pem}\n";
        let found = of_compose(text, &serde_yaml::from_str(text).unwrap());
        let found: Vec<_> =
            found.iter().map(|granted| (granted.secret.as_str(), granted.path.as_str())).collect();
        assert_eq!(
            found,
            [("a", "a.txt"), ("b", "dir/b"), ("j", "x/j"), ("k", "public"), ("l", "public.pem")]
        );
        for none in ["", "a: b\n", "secrets: [a]\n", "secrets: {a: b}\n"] {
            assert_eq!(of_compose(none, &serde_yaml::from_str(none).unwrap()), [], "{none}");
        }
    }

    #[test]
    fn what_holds_something_is_told() {
        let granted = [Granted { secret: "db".into(), path: "a.txt".into() }];
        let told = |path: &str, content: &[u8]| in_clear(&granted, path, content).map(|spot| spot.message);
        assert!(told("a.txt", b"hunter2\n").unwrap().contains("the secret `db`"));
        assert_eq!(told("a.txt", b"\n"), None);
        assert_eq!(told("a.txt", b"# hlx:allow\nx\n"), None);
        assert_eq!(told("b.txt", b"hunter2"), None);
    }
}
