//! Files that a compose file gives to containers as secrets: in git they have no business in clear.

use std::cell::OnceCell;
use std::collections::{BTreeSet, HashMap};

use serde_yaml::Value;

use crate::git;

use super::compose::{LARGEST, is_compose};
use super::examine::Spot;
use super::filled::{Known, Variables, fill};
use super::{Checker, Rule, secrets};

/// A file that a compose file names under `secrets:`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Granted {
    /// The secret's name.
    pub(super) secret: String,
    /// Where the file is, from the top of the branch.
    pub(super) path: String,
}

/// What a compose file says of such files, as it is written there.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Said {
    /// Secrets and their files, but for those whose line allows it (`# hlx:allow`).
    secrets: Vec<(String, String)>,
    includes: Vec<Include>,
}

/// Files that a compose file takes in.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Include {
    paths: Vec<String>,
    /// From where they count paths, if that is said.
    dir: Option<String>,
    /// They have variables of files that are named.
    has_files: bool,
}

impl Said {
    /// True if there is nothing to look for.
    pub(super) fn is_empty(&self) -> bool {
        self.secrets.is_empty() && self.includes.is_empty()
    }
}

/// Reads a compose file.
pub(super) fn of_compose(text: &str, file: &Value) -> Said {
    let all = file.get("secrets").and_then(Value::as_mapping).into_iter().flatten();
    let named = all.filter_map(|(name, secret)| Some((name.as_str()?, secret.get("file")?.as_str()?)));
    let secrets = named.filter(|(_, path)| !is_allowed(text, path));
    let includes = file.get("include").and_then(Value::as_sequence).into_iter().flatten();
    Said {
        secrets: secrets.map(|(name, path)| (name.to_owned(), path.to_owned())).collect(),
        includes: includes.filter_map(include).collect(),
    }
}

/// `PATH`, or `{path: PATH or a list of them, project_directory: PATH, env_file: …}`.
fn include(value: &Value) -> Option<Include> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    if let Some(path) = text(value) {
        return Some(Include { paths: vec![path], dir: None, has_files: false });
    }
    let path = value.get("path")?;
    let paths = match path.as_sequence() {
        Some(paths) => paths.iter().filter_map(text).collect(),
        None => vec![text(path)?],
    };
    let dir = value.get("project_directory").and_then(text);
    Some(Include { paths, dir, has_files: value.get("env_file").is_some() })
}

/// Reads a file of the branch; nothing if there is none, or it is no text.
pub(super) type Read<'r> = &'r dyn Fn(&str) -> Option<String>;

/// The files that these compose files of a branch's top name, and those that they take in, where variables
/// show. Files that are none of the branch's are left out.
pub(super) fn all(said: &[Said], read: Read<'_>) -> Vec<Granted> {
    let variables = Variables::of(read(".env").as_deref());
    let mut search = Search { read, seen: BTreeSet::new(), found: Vec::new() };
    for said in said {
        search.look(said, "", &[&variables]);
    }
    search.found
}

/// No stack includes files of files any deeper.
const DEEPEST: usize = 20;

/// What was found, and where it was looked.
struct Search<'r> {
    read: Read<'r>,
    seen: BTreeSet<String>,
    found: Vec<Granted>,
}

impl Search<'_> {
    /// `dir` is from where paths count; of `variables`, the first that has one has it.
    fn look(&mut self, said: &Said, dir: &str, variables: &[&Variables]) {
        let know = |name: &str| {
            let known = variables.iter().map(|variables| variables.get(name));
            known.into_iter().find(|known| *known != Known::Unset).unwrap_or(Known::Unset)
        };
        let place = |dir: &str, path: &str| below(dir, &fill(path, &know)?);
        for (secret, path) in &said.secrets {
            let path = place(dir, path);
            self.found.extend(path.map(|path| Granted { secret: secret.clone(), path }));
        }
        for include in &said.includes {
            let paths: Vec<String> = include.paths.iter().filter_map(|path| place(dir, path)).collect();
            let inner = match (&include.dir, paths.first()) {
                (Some(named), _) => place(dir, named),
                (None, Some(path)) => Some(path.rsplit_once('/').map_or("", |(dir, _)| dir).to_owned()),
                (None, None) => None,
            };
            let Some(inner) = inner else { continue };
            let own = match (include.has_files, below(&inner, ".env")) {
                (false, Some(path)) => Variables::of((self.read)(&path).as_deref()),
                (true, _) | (_, None) => Variables::Hidden,
            };
            let variables: Vec<&Variables> = variables.iter().copied().chain([&own]).collect();
            paths.into_iter().for_each(|path| self.take_in(path, &inner, &variables));
        }
    }

    /// A file that is included, once.
    fn take_in(&mut self, path: String, dir: &str, variables: &[&Variables]) {
        if variables.len() > DEEPEST || !self.seen.insert(path.clone()) {
            return;
        }
        if let Some(text) = (self.read)(&path).filter(|text| text.len() <= LARGEST) {
            self.look(&parsed(&text), dir, variables);
        }
    }
}

/// What a compose file says. One that is broken, or encrypted as a whole, says nothing.
fn parsed(text: &str) -> Said {
    of_compose(text, &serde_yaml::from_str::<Value>(text).unwrap_or_default())
}

/// A path of the branch, counted from one of its directories and spelled in the one way that git has it; none
/// for a path that leads elsewhere.
pub(super) fn below(dir: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in dir.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    (!path.starts_with(['/', '~'])).then(|| parts.join("/"))
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
    /// The blob of each file.
    files: HashMap<String, String>,
    found: OnceCell<Vec<Granted>>,
}

impl<'c> Grants<'c> {
    /// Those of a tree with these files: path and blob of each.
    pub(super) fn of<'f>(checker: &'c Checker<'c>, files: impl Iterator<Item = (&'f [u8], &'f str)>) -> Self {
        let named =
            |(path, blob): (&[u8], &str)| Some((str::from_utf8(path).ok()?.to_owned(), blob.to_owned()));
        Self { checker, files: files.filter_map(named).collect(), found: OnceCell::new() }
    }

    /// What is wrong with a file in clear.
    pub(super) fn judge(&self, path: &str, content: &[u8]) -> Result<Option<Spot>, git::Error> {
        if self.found.get().is_none() {
            let mut said = Vec::new();
            for (_, blob) in self.files.iter().filter(|(path, _)| is_compose(path)) {
                let text = self.checker.repository.blob_named(blob)?;
                said.push(parsed(&String::from_utf8_lossy(&text)));
            }
            let read = |path: &str| {
                let text = self.checker.repository.blob_named(self.files.get(path)?).ok()?;
                String::from_utf8(text).ok()
            };
            let _ = self.found.set(all(&said, &read));
        }
        Ok(in_clear(self.found.get().map_or(&[], Vec::as_slice), path, content))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The secrets and paths that a branch with these files gives away.
    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let read =
            |path: &str| files.iter().find(|(known, _)| *known == path).map(|(_, text)| (*text).to_owned());
        let all = all(&[parsed(&read("compose.yml").unwrap())], &read);
        all.iter().map(|granted| format!("{} {}", granted.secret, granted.path)).collect()
    }

    #[test]
    fn files_of_the_branch_are_found_unless_they_are_allowed() {
        let text = "services: {}\nsecrets:\n  a: {file: ./a.txt}\n  b:\n    file: dir/b\n  c: {file: /etc/c}\n  \
                    d: {file: ../d}\n  e: {file: \"${E}/e\"}\n  f: {environment: F}\n  g: {external: true}\n  \
                    h: {file: ./public.pem} # hlx:allow\n  i: {file: ~/i}\n  j: {file: .//x/./y/../j}\n  \
                    k: {file: ./public}\n  l: {file: public.pem}\n";
        assert_eq!(
            found(&[("compose.yml", text)]),
            ["a a.txt", "b dir/b", "j x/j", "k public", "l public.pem"]
        );
        for none in ["", "a: b\n", "secrets: [a]\n", "secrets: {a: b}\n"] {
            assert_eq!(found(&[("compose.yml", none)]), [""; 0], "{none}");
        }
    }

    #[test]
    fn files_are_found_behind_variables_and_includes() {
        let compose = "include:\n  - sub/more.yml\n  - {path: [x.yml, sub/y.yml], project_directory: base}\n  \
                       - path: sub/z.yml\n    env_file: other.env\n  - ${DIR}/v.yml\n  - ../out.yml\n  - nowhere.yml\n\
                       secrets:\n  a: {file: \"${DIR}/a\"}\n  b: {file: \"${NO:-./b}\"}\n  c: {file: \"$SEALED/c\"}\n  \
                       d: {file: \"${SEALED:-d}\"}\n  e: {file: \"${DIR}/e\"} # hlx:allow\n";
        let one = |name: &str, path: &str| format!("secrets: {{{name}: {{file: \"{path}\"}}}}\n");
        let more = one("m", "${OWN}/${DIR}") + "include: [more.yml, deep/n.yml]\n";
        let (n, x, y, z, v) =
            (one("n", "n"), one("x", "x"), one("y", "y"), one("z", "${OWN:-z}"), one("v", "v"));
        let files = [
            ("compose.yml", compose),
            (".env", "DIR=in\nSEALED=ENC[AES256_GCM,data:x]\n"),
            ("sub/.env", "OWN=own\nDIR=not-this\n"),
            ("sub/more.yml", &more),
            ("sub/deep/n.yml", &n),
            ("x.yml", &x),
            ("sub/y.yml", &y),
            ("sub/z.yml", &z),
            ("in/v.yml", &v),
        ];
        assert_eq!(
            found(&files),
            ["a in/a", "b b", "m sub/own/in", "n sub/deep/n", "x base/x", "y base/y", "v in/v"]
        );
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
