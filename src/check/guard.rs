//! What git's hooks ask: is anything in clear or broken among the files that are about to be committed,
//! pushed or taken in?

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use crate::git::branch::Entry;
use crate::git::history::{Change, Commit, commits};
use crate::git::{Git, Protection};
use crate::trust::{self, untracked};

use super::copies::Keep;
use super::examine::{CONFIG, Spot};
use super::granted::Grants;
use super::tree::{must_be_clear, of_index};
use super::{Checker, Error, Finding, Rule, history, secrets, signed};

/// A ref that a push moves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// The commit that it stood at; none for a new ref.
    pub old: Option<String>,
    /// The commit that it shall stand at; none if it is deleted.
    pub new: Option<String>,
    /// Its name.
    pub name: String,
}

/// Whose word a change of readers or rules needs.
#[derive(Debug, Clone, Copy)]
pub enum Signers<'a> {
    /// Nobody's.
    Anyone,
    /// A signature that `git verify-commit` accepts, with this file of allowed signers if it is given.
    Allowed(Option<&'a str>),
}

/// A file about to be taken in, beside what was there before.
struct Candidate<'a> {
    path: &'a [u8],
    new: &'a str,
    old: Option<&'a str>,
    /// No commit has it yet.
    staged: bool,
    /// Attributes say that it must be sealed.
    protected: bool,
    /// The attributes that were accepted here say so.
    accepted: bool,
    /// Attributes of its commit say that it is clear on purpose. As with the file's own word, a commit is not made by
    /// that alone.
    meant: bool,
    conversion: Option<&'static str>,
}

/// What must not be committed of the index: of the files that differ from HEAD, or are protected only now.
pub fn staged(checker: &Checker<'_>) -> Result<Vec<Finding>, Error> {
    let head = checker.repository.head_commit();
    let before = match &head {
        Some(commit) => checker.repository.files(commit)?,
        None => Vec::new(),
    };
    let was_protected = checker.protection(&before)?;
    let index = of_index(checker)?;
    let keep = Keep::of(
        checker,
        protected(&before, &was_protected)
            .chain(index.iter().filter(|(_, attributes)| attributes.filtered).map(|(file, _)| file)),
    );
    let grants =
        Grants::of(checker, index.iter().map(|(file, _)| (file.path.as_slice(), file.blob.as_str())));
    let before: HashMap<&[u8], &str> =
        before.iter().map(|file| (file.path.as_slice(), file.blob.as_str())).collect();
    let name = checker.repository.branch().unwrap_or_else(|| "HEAD".to_owned());
    let accepted = trust::protection(checker.repository);
    let mut findings = Vec::new();
    for (file, attributes) in &index {
        let old = before.get(file.path.as_slice()).copied();
        let newly = attributes.filtered && !was_protected.of(&file.path).filtered;
        if old == Some(file.blob.as_str()) && !newly {
            continue;
        }
        let candidate = Candidate {
            path: &file.path,
            new: &file.blob,
            old,
            staged: true,
            protected: attributes.filtered,
            accepted: accepted.as_ref().is_some_and(|accepted| accepted.of(&file.path).filtered),
            meant: false,
            conversion: attributes.conversion,
        };
        let found = judge(checker, &candidate, (&keep, &grants), &name)?;
        findings.extend(found.map(|found| Finding { staged: true, ..found }));
    }
    Ok(findings)
}

/// What must not be pushed: of the files that these commits bring.
pub fn pushed(checker: &Checker<'_>, git: &Git, words: &[&str]) -> Result<Vec<Finding>, Error> {
    let mut findings = Vec::new();
    let commits = commits(git, words)?;
    for commit in &commits {
        findings.extend(brought(checker, commit)?);
    }
    let late = protected_since(checker, &commits, &findings)?;
    findings.extend(late);
    Ok(findings)
}

/// What these commits bring in clear and HEAD, or the work tree, protects by now, where HEAD is among them: it was
/// committed first, and `hlx track` came after it. Nobody has it yet.
fn protected_since(
    checker: &Checker<'_>,
    commits: &[Commit],
    found: &[Finding],
) -> Result<Vec<Finding>, Error> {
    let Some(head) = checker.repository.head_commit() else { return Ok(Vec::new()) };
    let below = below(&head, commits);
    let paths: BTreeSet<&[u8]> =
        below.iter().flat_map(|commit| &commit.changes).map(|change| change.path.as_slice()).collect();
    if paths.is_empty() {
        return Ok(Vec::new());
    }
    let files = checker.repository.files(&head)?;
    let then = checker.protection(&files)?;
    let keep = Keep::of(checker, protected(&files, &then));
    let paths: Vec<&[u8]> = paths.into_iter().collect();
    let here = checker.repository.all_attributes(&paths)?;
    let here: HashMap<&[u8], bool> =
        paths.into_iter().zip(here).map(|(path, attributes)| (path, attributes.filtered)).collect();
    let now = |path: &[u8]| then.of(path).filtered || here.get(path).copied().unwrap_or_default();
    let mut findings = Vec::new();
    for commit in below {
        for path in history::secrets_in_clear(checker, commit, &keep, &now)? {
            let place = format!("{:.10}", commit.name);
            if found.iter().any(|known| known.place == place && known.path.as_ref() == Some(&path)) {
                continue;
            }
            let message = "committed in clear before it was protected: nobody has it yet".to_owned();
            let (rule, path) = (Rule::Plaintext, Some(path));
            findings.push(Finding { rule, place, staged: false, path, line: None, message });
        }
    }
    Ok(findings)
}

/// Those of the commits that one of them stands on, itself included.
fn below<'c>(tip: &str, commits: &'c [Commit]) -> Vec<&'c Commit> {
    let by_name: HashMap<&str, &Commit> =
        commits.iter().map(|commit| (commit.name.as_str(), commit)).collect();
    let (mut seen, mut next, mut found) = (BTreeSet::new(), vec![tip.to_owned()], Vec::new());
    while let Some(name) = next.pop() {
        if let Some(commit) = by_name.get(name.as_str()).filter(|_| seen.insert(name.clone())) {
            next.extend(commit.parents.iter().cloned());
            found.push(*commit);
        }
    }
    found
}

/// What must not be taken in by a push, in a repository that need not have a key.
pub fn received(
    checker: &Checker<'_>,
    git: &Git,
    updates: &[Update],
    signers: Signers<'_>,
) -> Result<Vec<Finding>, Error> {
    let mut findings = Vec::new();
    for update in updates {
        let commits = match &update.new {
            Some(new) => commits(git, &[new, "--not", "--all"])?,
            None => Vec::new(),
        };
        for commit in &commits {
            findings.extend(brought(checker, commit)?);
        }
        if let Signers::Allowed(file) = signers {
            findings.extend(signed::refused(checker, git, update, &commits, file)?);
        }
    }
    Ok(findings)
}

/// What is wrong with the files that a commit brought, and with those that it is the first to protect.
fn brought(checker: &Checker<'_>, commit: &Commit) -> Result<Vec<Finding>, Error> {
    if commit.changes.is_empty() {
        return Ok(Vec::new());
    }
    let files = checker.repository.files(&commit.name)?;
    let now = checker.protection(&files)?;
    let newly = newly_protected(checker, commit, &files, &now)?;
    // A file that was renamed is only in the commit before.
    let parent = commit.parents.first().filter(|_| commit.changes.iter().any(|change| change.new.is_none()));
    let gone = parent.map_or(Ok(Vec::new()), |parent| checker.repository.files(parent))?;
    let then = checker.protection(&gone)?;
    let keep = Keep::of(checker, protected(&files, &now).chain(protected(&gone, &then)));
    let grants = Grants::of(checker, files.iter().map(|file| (file.path.as_slice(), file.blob.as_str())));
    let said_before = said_before(checker, commit, &now)?;
    let changed = commit.changes.iter().filter_map(|change| {
        let attributes = now.of(&change.path);
        Some(Candidate {
            path: &change.path,
            new: change.new.as_deref()?,
            old: change.old.as_deref(),
            staged: false,
            protected: attributes.filtered,
            accepted: false,
            meant: attributes.clear
                && said_before.as_ref().is_none_or(|before| !before.of(&change.path).clear),
            conversion: attributes.conversion,
        })
    });
    let name = format!("{:.10}", commit.name);
    let mut findings = Vec::new();
    for candidate in changed.chain(newly) {
        findings.extend(judge(checker, &candidate, (&keep, &grants), &name)?);
    }
    Ok(findings)
}

/// What the commit before said of the files, where this one says that some are clear on purpose: that counts only from
/// the commit that says it, or whoever said it earlier would have said it for somebody else's next one.
fn said_before(
    checker: &Checker<'_>,
    commit: &Commit,
    now: &Protection,
) -> Result<Option<Rc<Protection>>, Error> {
    let says = commit.changes.iter().any(|change| now.of(&change.path).clear);
    let Some(parent) = commit.parents.first().filter(|_| says) else { return Ok(None) };
    Ok(Some(checker.protection(&checker.repository.files(parent)?)?))
}

/// The files that attributes protect.
pub(super) fn protected<'f>(files: &'f [Entry], by: &Protection) -> impl Iterator<Item = &'f Entry> {
    files.iter().filter(|file| file.is_file() && by.of(&file.path).filtered)
}

/// The files that a commit left as they were, and whose path it is the first to protect.
fn newly_protected<'f>(
    checker: &Checker<'_>,
    commit: &Commit,
    files: &'f [Entry],
    now: &Protection,
) -> Result<Vec<Candidate<'f>>, Error> {
    let is_source = |change: &Change| must_be_clear(&String::from_utf8_lossy(&change.path));
    let Some(parent) = commit.parents.first().filter(|_| commit.changes.iter().any(is_source)) else {
        return Ok(Vec::new());
    };
    let before = checker.protection(&checker.repository.files(parent)?)?;
    let is_new = |file: &&Entry| {
        let changed = commit.changes.iter().any(|change| change.path == file.path);
        file.is_file() && !changed && now.of(&file.path).filtered && !before.of(&file.path).filtered
    };
    let candidate = |file: &'f Entry| Candidate {
        path: &file.path,
        new: &file.blob,
        old: None,
        staged: false,
        protected: true,
        accepted: true,
        meant: false,
        conversion: now.of(&file.path).conversion,
    };
    Ok(files.iter().filter(is_new).map(candidate).collect())
}

/// The first thing that keeps a file out, if there is one.
fn judge(
    checker: &Checker<'_>,
    file: &Candidate<'_>,
    around: (&Keep<'_>, &Grants<'_>),
    place: &str,
) -> Result<Option<Finding>, Error> {
    let path = String::from_utf8_lossy(file.path);
    let spot = match must_be_clear(&path) {
        true if path != CONFIG => None,
        true => {
            checker.examine(file.path, file.new, false)?.spots.iter().find(|spot| stops(spot.rule)).cloned()
        }
        false => first_of(checker, file, around)?,
    };
    Ok(spot.map(|spot| Finding {
        rule: spot.rule,
        place: place.to_owned(),
        staged: false,
        path: Some(path.into_owned()),
        line: spot.line,
        message: spot.message,
    }))
}

fn first_of(
    checker: &Checker<'_>,
    file: &Candidate<'_>,
    (keep, grants): (&Keep<'_>, &Grants<'_>),
) -> Result<Option<Spot>, Error> {
    let examined = checker.examine(file.path, file.new, file.protected)?;
    for spot in examined.spots.iter().filter(|spot| stops(spot.rule)) {
        if spot.rule != Rule::Token || is_new_line(checker, file, spot.line)? {
            return Ok(Some(spot.clone()));
        }
    }
    if !file.protected && examined.clear && !file.meant && !is_meant(checker, file) {
        match (was_sealed(checker, file)?, file.accepted) {
            (true, _) => return Ok(Some(unprotected("it was encrypted, and is clear now"))),
            (false, true) => return Ok(Some(unprotected("it was to be encrypted, and is clear"))),
            (false, false) => {}
        }
    }
    let copied = keep.copied(file.path, file.new, file.old)?;
    if copied.is_some() {
        return Ok(copied);
    }
    if !file.protected && examined.clear && file.old.is_none() {
        let content = checker.repository.blob_named(file.new)?;
        let path = String::from_utf8_lossy(file.path);
        let named = dotenv(&path, &content);
        let told = if named.is_some() { named } else { grants.judge(&path, &content)? };
        if told.is_some() {
            return Ok(told);
        }
    }
    Ok(converted(file))
}

/// Whether the version before did not have a line: what it had stops no other commit.
fn is_new_line(checker: &Checker<'_>, file: &Candidate<'_>, line: Option<usize>) -> Result<bool, Error> {
    let (Some(old), Some(line)) = (file.old, line) else { return Ok(true) };
    let (new, old) = (checker.repository.blob_named(file.new)?, checker.repository.blob_named(old)?);
    let line = new.split(|byte| *byte == b'\n').nth(line - 1);
    Ok(!old.split(|byte| *byte == b'\n').any(|known| Some(known) == line))
}

/// What is wrong with a file that nothing protects, if its name says that it holds variables.
pub(super) fn dotenv(path: &str, content: &[u8]) -> Option<Spot> {
    let text = String::from_utf8_lossy(content);
    let open = secrets::is_dotenv(path) && !text.trim().is_empty() && !secrets::is_allowed(&text);
    open.then(|| Spot::new(Rule::Dotenv, "a dotenv file in clear, and nothing protects it"))
}

/// Whether it was sealed before, and the file itself does not say that it is to be clear.
fn was_sealed(checker: &Checker<'_>, file: &Candidate<'_>) -> Result<bool, Error> {
    let Some(old) = file.old else { return Ok(false) };
    if !checker.examine(file.path, old, true)?.sealed {
        return Ok(false);
    }
    // The note of `untrack` is in one clone only; in the file itself it reaches a server too. A commit is not made by the
    // file's word: someone else can have put it there.
    let new = checker.repository.blob_named(file.new)?;
    Ok(file.staged || !secrets::is_allowed(&String::from_utf8_lossy(&new)))
}

/// Whether somebody here said that it shall be in clear.
fn is_meant(checker: &Checker<'_>, file: &Candidate<'_>) -> bool {
    file.old.is_some_and(|old| untracked::is_meant(checker.repository, file.path, old))
}

fn unprotected(what: &str) -> Spot {
    Spot::new(Rule::Unprotected, format!("{what}: nothing protects it any more"))
}

fn converted(file: &Candidate<'_>) -> Option<Spot> {
    let conversion = file.conversion.filter(|_| file.protected)?;
    Some(Spot::new(
        Rule::Conversion,
        format!("the attribute `{conversion}` lets git change the encrypted file"),
    ))
}

/// Whether a hook refuses what a rule finds.
fn stops(rule: Rule) -> bool {
    match rule {
        Rule::Plaintext
        | Rule::PlaintextValue
        | Rule::Unprotected
        | Rule::SealedValue
        | Rule::Dotenv
        | Rule::SecretFile
        | Rule::Token
        | Rule::Broken
        | Rule::Altered
        | Rule::StaleMac
        | Rule::ConfigBroken
        | Rule::Conversion
        | Rule::Unsigned => true,
        Rule::PlaintextComment
        | Rule::PlaintextHistory
        | Rule::ClearBefore
        | Rule::Abandoned
        | Rule::ReaderUnknown
        | Rule::ReaderLost
        | Rule::ReadersDiffer
        | Rule::PostQuantumWasted
        | Rule::ConfigGap
        | Rule::ConfigIdle
        | Rule::MustBeClear
        | Rule::NotAccepted
        | Rule::NotHere
        | Rule::ComposeInvalid
        | Rule::ComposeKey
        | Rule::ComposeValue
        | Rule::ComposeName
        | Rule::ComposeFile
        | Rule::Settings
        | Rule::After
        | Rule::PortConflict
        | Rule::EnvironmentFile
        | Rule::Environment
        | Rule::Baked
        | Rule::LikelySecret => false,
    }
}
