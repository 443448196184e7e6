//! Protecting a path: its attributes, and a rule for what is encrypted in it.

use std::fs;
use std::path::Path;

use crate::format::Format;
use crate::git::{Git, Repository};
use crate::keys::recipients::Named;
use crate::policy::Pattern;

use super::Error;
use super::config::{self, Selection};

/// What git and hlx must be able to read without a key.
pub(super) const CLEAR: [&str; 2] = [".gitattributes", config::NAME];

/// The attributes of a branch on which everything is encrypted.
pub const SEALED: &str = "\
# Every file is encrypted in git as a whole, and readable in the work tree (https://git-scm.com/docs/gitattributes).
* filter=hlx diff=hlx merge=hlx -text -ident -working-tree-encoding hlx=binary
.gitattributes !filter !diff !merge !text !ident !working-tree-encoding !hlx
.sops.yaml !filter !diff !merge !text !ident !working-tree-encoding !hlx
";

/// How a path is to be protected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// As its format suggests: all of a dotenv file, `environment` of a compose file, all else whole.
    Default,
    /// Only the values below keys that match.
    Keys(String),
    /// Only what a comment `# secret` stands before.
    Marked,
    /// The whole file as one value.
    Whole,
}

/// What tracking a path changed.
#[derive(Debug, Default)]
pub struct Tracked {
    /// A line was added to `.gitattributes`.
    pub attributes: bool,
    /// A rule was added to `.sops.yaml`.
    pub rule: bool,
    /// There is no such file yet.
    pub missing: bool,
    /// A `.gitignore` keeps the path out of git.
    pub ignored: bool,
    /// git has the path in clear, and its history will keep that.
    pub was_plaintext: bool,
}

/// Protects one path of the work tree, given from its top. Where there is no `.sops.yaml` yet, one
/// is written for `own`.
pub fn track(
    repository: &Repository,
    git: &Git,
    path: &str,
    mode: &Mode,
    own: &[Named],
) -> Result<Tracked, Error> {
    check_path(path)?;
    let tree = repository.work_tree()?;
    if tree.join(path).is_dir() {
        return Err(Error::BadPath {
            path: path.to_owned(),
            reason: "a directory: name its files (`hlx track . --whole` is for everything on the branch)"
                .to_owned(),
        });
    }
    let mut done = Tracked {
        missing: tree.join(path).symlink_metadata().is_err(),
        ignored: git.test(&["check-ignore", "-q", "--no-index", "--", path])?,
        was_plaintext: repository
            .index_blob(path.as_bytes())?
            .map(|name| repository.blob_named(&name))
            .transpose()?
            .is_some_and(|blob| !blob.is_empty() && !crate::sops::is_sealed(&blob)),
        ..Tracked::default()
    };
    let whole = *mode == Mode::Whole || (*mode == Mode::Default && Format::of_path(path) == Format::Binary);
    let selection = match mode {
        Mode::Keys(keys) => {
            let policy = |source| Error::Policy { place: "--keys".to_owned(), source };
            Pattern::new("encrypted_regex", keys).map_err(policy)?;
            Selection::Keys(keys.clone())
        }
        Mode::Marked => Selection::Marked,
        Mode::Default if is_compose(path) => Selection::Keys("^environment$".to_owned()),
        Mode::Default | Mode::Whole => Selection::All,
    };
    check_selection(path, &selection)?;
    done.rule = ensure_config(&tree.join(config::NAME), own)?;
    if selection != Selection::All {
        done.rule |= add_rule(&tree.join(config::NAME), path, &selection)?;
    }
    done.attributes = add_attributes(repository, &tree.join(".gitattributes"), path, whole)?;
    // Another line further down, or in a directory below, may still say otherwise.
    let now = Repository::discover(tree)?.attributes(path.as_bytes())?;
    if !now.filtered || now.whole != whole || now.conversion.is_some() {
        return Err(taken_away(path));
    }
    Ok(done)
}

/// A part of a file can be selected only where there are parts, and marked only where there are comments.
fn check_selection(path: &str, selection: &Selection) -> Result<(), Error> {
    let reason = match (selection, Format::of_path(path)) {
        (Selection::All, _) | (_, Format::Dotenv | Format::Yaml | Format::Ini) => return Ok(()),
        (Selection::Keys(_), Format::Json) => return Ok(()),
        (Selection::Marked, Format::Json) => "JSON has no comments to mark anything",
        (Selection::Keys(_) | Selection::Marked, Format::Binary) => "it has no keys: it is encrypted whole",
    };
    Err(Error::BadPath { path: path.to_owned(), reason: reason.to_owned() })
}

/// Protects everything on the branch that is checked out, but what git and hlx must read without a key.
pub fn track_all(repository: &Repository, own: &[Named]) -> Result<Tracked, Error> {
    let tree = repository.work_tree()?;
    let file = tree.join(".gitattributes");
    let text = fs::read_to_string(&file).unwrap_or_default();
    let mut done = Tracked { rule: ensure_config(&tree.join(config::NAME), own)?, ..Tracked::default() };
    if !text.ends_with(SEALED) {
        let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        fs::write(&file, format!("{text}{end}{SEALED}")).map_err(Error::io(&file))?;
        done.attributes = true;
    }
    let entries = repository.index_entries()?;
    let paths: Vec<&[u8]> = entries.iter().map(|(path, _)| path.as_slice()).collect();
    let attributes = Repository::discover(tree)?.all_attributes(&paths)?;
    for ((path, blob), now) in entries.iter().zip(attributes) {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        if CLEAR.iter().any(|clear| clear.as_bytes() == name) {
            continue;
        }
        if !now.filtered || !now.whole || now.conversion.is_some() {
            return Err(taken_away(&String::from_utf8_lossy(path)));
        }
        let blob = repository.blob_named(blob)?;
        done.was_plaintext |= !blob.is_empty() && !crate::sops::is_sealed(&blob);
    }
    Ok(done)
}

fn taken_away(path: &str) -> Error {
    let reason = "another line of a `.gitattributes` takes the protection away: `git check-attr -a` shows it";
    Error::BadPath { path: path.to_owned(), reason: reason.to_owned() }
}

fn check_path(path: &str) -> Result<(), Error> {
    let bad = |reason: &str| Err(Error::BadPath { path: path.to_owned(), reason: reason.to_owned() });
    match path {
        _ if CLEAR.contains(&path) => bad("git and hlx must be able to read it without a key"),
        "" => bad("name a file"),
        _ if path.contains(|mark: char| mark.is_control() || "\"\\".contains(mark)) => {
            bad("such a name has no place in `.gitattributes`")
        }
        _ if path.split('/').any(|part| matches!(part, "" | "." | "..")) => {
            bad("name a file below the work tree")
        }
        _ => Ok(()),
    }
}

fn is_compose(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let stem = name.strip_suffix(".yml").or_else(|| name.strip_suffix(".yaml"));
    stem.is_some_and(|stem| {
        ["compose", "docker-compose"]
            .iter()
            .any(|known| stem == *known || stem.starts_with(&format!("{known}.")))
    })
}

fn ensure_config(file: &Path, own: &[Named]) -> Result<bool, Error> {
    if file.exists() {
        return Ok(false);
    }
    if own.is_empty() {
        return Err(Error::NoRecipients);
    }
    fs::write(file, config::new(own)).map_err(Error::io(file))?;
    Ok(true)
}

fn add_rule(file: &Path, path: &str, selection: &Selection) -> Result<bool, Error> {
    let text = fs::read_to_string(file).map_err(Error::io(file))?;
    if text.contains(&format!("^{}$", regex::escape(path)).replace('\\', "\\\\")) {
        return config::has_rule(&text, path, selection)?.then_some(false).ok_or_else(|| Error::BadPath {
            path: path.to_owned(),
            reason: "`.sops.yaml` has another rule for it: change it there".to_owned(),
        });
    }
    fs::write(file, config::with_rule(&text, path, selection)?).map_err(Error::io(file))?;
    Ok(true)
}

fn add_attributes(repository: &Repository, file: &Path, path: &str, whole: bool) -> Result<bool, Error> {
    let now = repository.attributes(path.as_bytes())?;
    if now.filtered && now.whole == whole && now.conversion.is_none() {
        return Ok(false);
    }
    let mut text = fs::read_to_string(file).unwrap_or_default();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    let pattern = pattern(path);
    let store = if whole { " hlx=binary" } else { "" };
    text += &format!("{pattern} filter=hlx diff=hlx merge=hlx -text -ident -working-tree-encoding{store}\n");
    fs::write(file, text).map_err(Error::io(file))?;
    Ok(true)
}

/// A pattern for just this path: what `.gitattributes` takes for a wildcard is put in brackets.
fn pattern(path: &str) -> String {
    let literal: String = path
        .chars()
        .map(|mark| if "*?[".contains(mark) { format!("[{mark}]") } else { mark.to_string() })
        .collect();
    if path.contains(' ') { format!("\"/{literal}\"") } else { format!("/{literal}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_its_path_only() {
        assert_eq!(pattern("a/db[prod].conf"), "/a/db[[]prod].conf");
        assert_eq!(pattern("two words*"), "\"/two words[*]\"");
    }
}
