//! Protecting a path: its attributes, and a rule for what is encrypted in it.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use crate::format::Format;
use crate::git::{Attributes, Git, Repository};
use crate::keys::Keyring;
use crate::keys::recipients::Named;
use crate::policy::Pattern;
use crate::policy::creation::Terms;
use crate::sops::{Basis, Sealed, Stamp, check_selects, is_sealed, seal};
use crate::sys::random;
use crate::trust::{At, Guard};

use super::Error;
use super::config::{self, Selection};
use super::draft::Draft;
use super::lock::forget_sizes;
use super::reseal::stage;

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
    /// A rule was added to `.sops.yaml`, or changed there.
    pub rule: bool,
    /// There is no such file yet.
    pub missing: bool,
    /// A `.gitignore` keeps the path out of git.
    pub ignored: bool,
    /// git has the path in clear.
    pub was_plaintext: bool,
    /// Some commit has it, so that the history keeps that.
    pub committed: bool,
    /// What git has was encrypted otherwise: the new form is staged, with the rules that it follows.
    pub resealed: Vec<String>,
    /// An earlier choice for just this path counts on: the field of its rule, and the text.
    pub kept: Option<(&'static str, String)>,
}

/// What tracking needs to know of the world.
#[derive(Debug)]
pub struct Tracker<'a> {
    /// The repository.
    pub repository: &'a Repository,
    /// The program.
    pub git: &'a Git,
    /// Opens what git has, to seal it by another rule.
    pub keyring: &'a Keyring,
    /// Whom a `.sops.yaml` is written for, where there is none.
    pub own: &'a [Named],
    /// The time.
    pub now: &'a str,
}

impl Tracker<'_> {
    /// Protects one path of the work tree, given from its top. Fails before anything changed, or takes it back.
    pub fn track(&self, path: &str, mode: &Mode) -> Result<Tracked, Error> {
        check_path(path)?;
        let tree = self.repository.work_tree()?;
        if tree.join(path).is_dir() {
            return Err(Error::BadPath {
                path: path.to_owned(),
                reason: "a directory: name its files (`hlx track . --whole` is for everything on the branch)"
                    .to_owned(),
            });
        }
        let whole =
            *mode == Mode::Whole || (*mode == Mode::Default && Format::of_path(path) == Format::Binary);
        let config = self.config(path, mode)?;
        let attributes = self.attributes(path, whole)?;
        let blob = self.indexed(path.as_bytes())?;
        let terms = config::terms(&config.text, path)?;
        if !whole {
            check_rule(tree, path, &terms)?;
        }
        let resealed =
            blob.as_ref().map(|blob| self.reseal(path, blob, whole, &terms)).transpose()?.flatten();
        let was_plaintext = blob.as_ref().is_some_and(|blob| !blob.is_empty() && !is_sealed(blob));
        let done = Tracked {
            attributes: attributes.changes(),
            rule: config.changes(),
            missing: tree.join(path).symlink_metadata().is_err(),
            ignored: self.git.test(&["check-ignore", "-q", "--no-index", "--", path])?,
            was_plaintext,
            committed: was_plaintext && self.in_a_commit(&[path])?,
            resealed: resealed.iter().map(|_| path.to_owned()).collect(),
            kept: kept(path, mode, &config, &terms)?.filter(|_| !whole),
        };
        self.put(&[config, attributes], &[(path, whole)])?;
        self.stage(resealed.map(|blob| (path.to_owned(), blob)))?;
        if done.was_plaintext {
            // The file is as it was, and git would not look at it.
            forget_sizes(self.git, &HashSet::from([path.as_bytes().to_vec()]))?;
        }
        Ok(done)
    }

    /// Protects everything on the branch that is checked out, but what git and hlx must read without a key.
    pub fn track_all(&self) -> Result<Tracked, Error> {
        let tree = self.repository.work_tree()?;
        let mut config = Draft::read(tree.join(config::NAME))?;
        self.begin(&mut config)?;
        let mut attributes = Draft::read(tree.join(".gitattributes"))?;
        if !attributes.text.ends_with(SEALED) {
            attributes.add_line(SEALED.trim_end());
        }
        let mut done =
            Tracked { attributes: attributes.changes(), rule: config.changes(), ..Tracked::default() };
        let (mut paths, mut resealed, mut clear) = (Vec::new(), Vec::new(), HashSet::new());
        for (path, name) in self.repository.index_entries()? {
            let path = String::from_utf8_lossy(&path).into_owned();
            if CLEAR.contains(&path.rsplit('/').next().unwrap_or_default()) {
                continue;
            }
            let blob = self.repository.blob_named(&name)?;
            if !blob.is_empty() && !is_sealed(&blob) {
                clear.insert(path.as_bytes().to_vec());
            }
            let terms = config::terms(&config.text, &path)?;
            resealed.extend(self.reseal(&path, &blob, true, &terms)?.map(|blob| (path.clone(), blob)));
            paths.push(path);
        }
        let all: Vec<(&str, bool)> = paths.iter().map(|path| (path.as_str(), true)).collect();
        self.put(&[config, attributes], &all)?;
        done.resealed = resealed.iter().map(|(path, _)| path.clone()).collect();
        self.stage(resealed)?;
        done.was_plaintext = !clear.is_empty();
        let clear_paths: Vec<_> = clear.iter().map(|path| String::from_utf8_lossy(path)).collect();
        let clear_paths: Vec<&str> = clear_paths.iter().map(|path| &**path).collect();
        done.committed = done.was_plaintext && self.in_a_commit(&clear_paths)?;
        forget_sizes(self.git, &clear)?;
        Ok(done)
    }

    /// Whether a commit of any branch has one of these paths.
    fn in_a_commit(&self, paths: &[&str]) -> Result<bool, Error> {
        let words = ["--literal-pathspecs", "log", "-1", "--all", "--full-history", "--format=%H", "--"];
        // Before the first commit there is no HEAD to begin at.
        Ok(self.git.text(&[&words[..], paths].concat()).is_ok_and(|found| !found.is_empty()))
    }

    /// Stages files in their new form, and what says that they have it: one without the other would not fit.
    fn stage(&self, resealed: impl IntoIterator<Item = (String, Vec<u8>)>) -> Result<(), Error> {
        let resealed: Vec<_> = resealed.into_iter().collect();
        if resealed.is_empty() {
            return Ok(());
        }
        self.git.run(&[&["add", "--force", "--"][..], &CLEAR].concat())?;
        resealed.iter().try_for_each(|(path, blob)| stage(self.git, path, blob))
    }

    /// Writes drafts, and takes them back if a path is then not protected as it should be: another line further down,
    /// or in a directory below, may say otherwise.
    fn put(&self, drafts: &[Draft], paths: &[(&str, bool)]) -> Result<(), Error> {
        let written = drafts.iter().try_for_each(Draft::write).and_then(|()| {
            let now = Repository::discover(self.repository.work_tree()?)?;
            let names: Vec<&[u8]> = paths.iter().map(|(path, _)| path.as_bytes()).collect();
            let answers = now.all_attributes(&names)?;
            let bad = |((_, whole), now): &(&(&str, bool), Attributes)| {
                !now.filtered || now.whole != *whole || now.conversion.is_some()
            };
            match paths.iter().zip(answers).find(bad) {
                Some(((path, _), _)) => Err(taken_away(path)),
                None => Ok(()),
            }
        });
        if written.is_err() {
            drafts.iter().try_for_each(Draft::take_back)?;
        }
        written
    }

    /// The blob that the index has at a path.
    fn indexed(&self, path: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let name = self.repository.index_blob(path)?;
        Ok(name.map(|name| self.repository.blob_named(&name)).transpose()?)
    }

    /// `.sops.yaml` with a rule that selects what the mode asks for.
    fn config(&self, path: &str, mode: &Mode) -> Result<Draft, Error> {
        let selection = selection(path, mode)?;
        let mut draft = Draft::read(self.repository.work_tree()?.join(config::NAME))?;
        self.begin(&mut draft)?;
        // What the name suggests does not overrule what someone chose.
        let chosen = *mode == Mode::Default && config::names_path(&draft.text, path);
        if selection != Selection::All && !chosen && !config::has_rule(&draft.text, path, &selection)? {
            draft.text = config::with_rule(&draft.text, path, &selection)?;
        }
        Ok(draft)
    }

    fn begin(&self, config: &mut Draft) -> Result<(), Error> {
        if !config.exists() {
            if self.own.is_empty() {
                return Err(Error::NoRecipients);
            }
            config.text = config::new(self.own);
        }
        Ok(())
    }

    fn attributes(&self, path: &str, whole: bool) -> Result<Draft, Error> {
        let mut draft = Draft::read(self.repository.work_tree()?.join(".gitattributes"))?;
        let now = self.repository.attributes(path.as_bytes())?;
        if !now.filtered || now.whole != whole || now.conversion.is_some() {
            let pattern = pattern(path);
            let store = match (now.whole, whole) {
                (_, true) => " hlx=binary",
                (true, false) => " !hlx",
                (false, false) => "",
            };
            draft.text = without(&draft.text, &pattern);
            draft.add_line(&format!(
                "{pattern} filter=hlx diff=hlx merge=hlx -text -ident -working-tree-encoding{store}"
            ));
        }
        Ok(draft)
    }

    /// What git has, sealed by these terms for the same readers; `None` if it is, or is not sealed at all.
    fn reseal(&self, path: &str, blob: &[u8], whole: bool, terms: &Terms) -> Result<Option<Vec<u8>>, Error> {
        let wrong = |source| Error::Sops { path: path.to_owned(), source };
        if !is_sealed(blob) {
            return Ok(None);
        }
        let sealed = Sealed::parse(blob).map_err(wrong)?;
        let format = match (whole, sealed.format()) {
            (true, _) => Format::Binary,
            (false, Format::Binary) => Format::of_path(path),
            (false, kept) => kept,
        };
        let own = &sealed.metadata;
        let same_rule = whole || (&own.rule, own.coverage) == (&terms.rule, terms.coverage);
        if format == sealed.format() && same_rule {
            return Ok(None);
        }
        let old = self.keyring.open_sealed(sealed);
        let old = old.map_err(|source| Error::Keys { path: path.to_owned(), source })?;
        let (guard, had) = (Guard::new(self.repository, self.keyring, At::WorkTree), old.sealed().groups());
        guard.admit_file(path, had)?;
        let (key, groups) = guard.keep_or_replace(path, old.key(), had, had.clone())?;
        let basis = Basis::New { key, groups, rule: terms.rule.clone(), coverage: terms.coverage };
        let stamp = Stamp { now: self.now.to_owned(), entropy: &mut random::fill };
        seal(old.plaintext().expose(), format, &basis, stamp).map(Some).map_err(wrong)
    }
}

/// The rule that someone chose for just this path, where the mode suggests another.
fn kept(
    path: &str,
    mode: &Mode,
    config: &Draft,
    terms: &Terms,
) -> Result<Option<(&'static str, String)>, Error> {
    let other = *mode == Mode::Default
        && config::names_path(&config.text, path)
        && !config::has_rule(&config.text, path, &selection(path, mode)?)?;
    let (field, text) = terms.rule.field();
    Ok(other.then(|| (field, text.to_owned())))
}

/// What a mode selects in a file of this name.
fn selection(path: &str, mode: &Mode) -> Result<Selection, Error> {
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
    Ok(selection)
}

/// A rule that selects nothing in the file as it is would let nobody add it.
fn check_rule(tree: &Path, path: &str, terms: &Terms) -> Result<(), Error> {
    let Ok(content) = fs::read(tree.join(path)).map(zeroize::Zeroizing::new) else { return Ok(()) };
    if is_sealed(&content) {
        return Ok(());
    }
    let checked = check_selects(&content, Format::of_path(path), &terms.rule);
    checked.map_err(|source| Error::Sops { path: path.to_owned(), source })
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
        _ if path.split('/').any(|part| part.eq_ignore_ascii_case(".git")) => {
            bad("it is of git's own, which never takes it into a commit")
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

/// A pattern for just this path: what `.gitattributes` takes for a wildcard is put in brackets.
pub(super) fn pattern(path: &str) -> String {
    let literal: String = path
        .chars()
        .map(|mark| if "*?[".contains(mark) { format!("[{mark}]") } else { mark.to_string() })
        .collect();
    if path.contains(' ') { format!("\"/{literal}\"") } else { format!("/{literal}") }
}

/// Every attribute that protects, unset.
pub(super) const NOTHING: &str = "!filter !diff !merge !text !ident !working-tree-encoding !hlx";

/// The same for what git has encrypted: that it comes in clear is meant.
pub(super) const CLEAR_NOW: &str = "!filter !diff !merge !text !ident !working-tree-encoding hlx=clear";

/// The attributes without the lines that `track` and `untrack` wrote for a path.
pub(super) fn without(text: &str, pattern: &str) -> String {
    let said = |rest: &str| rest.starts_with(" filter=hlx ") || [NOTHING, CLEAR_NOW].contains(&rest.trim());
    let own = |line: &&str| line.strip_prefix(pattern).is_some_and(said);
    text.split_inclusive('\n').filter(|line| !own(line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_lines_that_were_written_for_the_path_go() {
        let text = "*.env filter=hlx diff=hlx\n/a filter=hlx diff=hlx\n/a.b filter=hlx\n/a text\n";
        let text = format!("{text}/a {NOTHING}\n/a {CLEAR_NOW}\n");
        assert_eq!(without(&text, "/a"), "*.env filter=hlx diff=hlx\n/a.b filter=hlx\n/a text\n");
    }

    #[test]
    fn a_pattern_matches_its_path_only() {
        assert_eq!(pattern("a/db[prod].conf"), "/a/db[[]prod].conf");
        assert_eq!(pattern("two words*"), "\"/two words[*]\"");
    }

    #[test]
    fn what_is_gits_own_has_no_protection() {
        for (path, fits) in
            [(".git/config", false), ("a/.GIT/x", false), (".gitignore", true), ("a.git/x", true)]
        {
            assert_eq!(check_path(path).is_ok(), fits, "{path}");
        }
    }
}
