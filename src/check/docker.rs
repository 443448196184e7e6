//! Asking Docker Compose itself whether it takes a branch's compose file.
//!
//! It gets what is certain of the file (`certain`), in a directory of its own for a moment: nothing that is
//! encrypted, no variable and no environment, and all files that are not YAML by their names only.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use crate::format::Format;
use crate::sops::Sealed;
use crate::sys::process::{Call, End, Env, Finished};
use crate::sys::ram;

use super::certain::{self, Certain};
use super::compose;
use super::examine::Spot;
use super::tree::{File, Tree};
use super::{Checker, Error, Finding, Place, Rule, tree};

/// Docker's program, and what it is started with.
#[derive(Debug, Clone)]
pub struct Docker {
    /// Its environment.
    pub env: Env,
    /// Where directories for a moment are made.
    pub place: PathBuf,
    /// How long it may take for one file.
    pub limit: Duration,
}

/// What Compose says of some places.
#[derive(Debug, Default)]
pub struct Asked {
    /// What it refuses.
    pub refused: Vec<Finding>,
    /// Where it takes the files as they are: the branch, and whether that is the index.
    pub taken: Vec<(String, bool)>,
    /// It did not answer in time, and was asked no further.
    pub fell_silent: bool,
}

/// What Compose says of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    Takes,
    Refuses(String),
    /// Nothing that could be relied on.
    Silent,
}

/// Files by path and blob, and what was said of them.
type Answers = HashMap<Vec<(String, String)>, Option<(Answer, bool)>>;

impl Asked {
    /// Puts what Compose says beside what was found. A key that Compose takes is no finding.
    pub fn add_to(self, found: &mut Vec<Finding>) {
        let is_taken = |finding: &Finding| self.taken.contains(&(finding.place.clone(), finding.staged));
        found.retain(|finding| finding.rule != Rule::ComposeKey || !is_taken(finding));
        for refused in self.refused {
            // What the branch has is not said again of the index.
            let known = |other: &Finding| Finding { staged: other.staged, ..refused.clone() } == *other;
            if !found.iter().any(known) {
                found.push(refused);
            }
        }
    }

    /// Adds an answer for a tree; `own` is what was found in its files without Compose.
    fn add(&mut self, tree: &Tree, main: &File, own: &[Rule], (answer, is_whole): (Answer, bool)) {
        match answer {
            Answer::Takes if is_whole => self.taken.push((tree.place.name.clone(), tree.place.is_index())),
            Answer::Refuses(reason) if own.is_empty() => self.refused.push(refused(tree, main, &reason)),
            Answer::Silent => self.fell_silent = true,
            Answer::Takes | Answer::Refuses(_) => {}
        }
    }
}

/// What Compose says of these places. Nothing is asked of files in which something else was found than a key that
/// hlx does not know, as Compose would say it again; nor of files that are encrypted as a whole, as that would put
/// their plaintext on a disk.
pub fn ask(checker: &Checker<'_>, places: &[Place], docker: &Docker) -> Result<Asked, Error> {
    let mut asked = Asked::default();
    let mut known = Answers::new();
    for place in places {
        let tree = tree::read(checker, place)?;
        let Some(main) = compose::NAMES.iter().find_map(|name| tree.file(name)) else { continue };
        let own = compose::counting(&tree).flat_map(File::spots).map(|spot| spot.rule);
        let own: Vec<Rule> = own.filter(|rule| rule.is_of_compose()).collect();
        if own.iter().any(|rule| *rule != Rule::ComposeKey) {
            continue;
        }
        if known.is_empty() {
            docker.find()?;
        }
        let files: Vec<_> = tree.files.iter().map(|file| (file.path.clone(), file.blob.clone())).collect();
        let answer = match known.get(&files) {
            Some(answer) => answer.clone(),
            None => known.entry(files).or_insert(one(checker, &tree, main, docker)?).clone(),
        };
        answer.into_iter().for_each(|answer| asked.add(&tree, main, &own, answer));
        if asked.fell_silent {
            break;
        }
    }
    Ok(asked)
}

/// What Compose says of one tree, and whether that is of its files as they are; none if it cannot be asked.
fn one(
    checker: &Checker<'_>,
    tree: &Tree,
    main: &File,
    docker: &Docker,
) -> Result<Option<(Answer, bool)>, Error> {
    let failed = |source| Error::Compose { source };
    let mut parts = Vec::new();
    for file in tree.files.iter().filter(|file| is_yaml(&file.path)) {
        let content = checker.content(&file.blob)?.unwrap_or_default();
        parts.push((file, certain::part(&String::from_utf8_lossy(&content))));
    }
    let counting: Vec<&str> = compose::counting(tree).map(|file| file.path.as_str()).collect();
    let counts = |file: &File| counting.contains(&file.path.as_str());
    let needs_others =
        parts.iter().any(|(file, part)| counts(file) && part.as_ref().is_some_and(|part| part.needs_others));
    let lacks = parts.iter().any(|(file, part)| part.is_none() && (needs_others || counts(file)));
    if lacks || is_whole(checker, main)? {
        return Ok(None);
    }
    let is_whole = parts.iter().all(|(file, part)| {
        !(needs_others || counts(file)) || part.as_ref().is_some_and(|part| part.is_whole)
    });
    let directory = ram::private_directory(&docker.place).map_err(failed)?;
    let answer = lay(tree, &parts, &directory).and_then(|()| docker.judge(&directory));
    fs::remove_dir_all(&directory).map_err(failed)?;
    Ok(Some((answer.map_err(failed)?, is_whole)))
}

fn is_yaml(path: &str) -> bool {
    [".yml", ".yaml"].iter().any(|end| path.ends_with(end))
}

/// Whether a file is encrypted as one value.
fn is_whole(checker: &Checker<'_>, file: &File) -> Result<bool, Error> {
    let content = checker.content(&file.blob)?.unwrap_or_default();
    Ok(Sealed::parse(&content).is_ok_and(|sealed| sealed.format() == Format::Binary))
}

fn refused(tree: &Tree, main: &File, reason: &str) -> Finding {
    let message = format!("Compose does not take it: {reason}");
    tree.finding(Some(&main.path), Spot::new(Rule::ComposeInvalid, message))
}

/// Lays what is certain of the YAML files of a tree into a directory, and all others without content.
fn lay(tree: &Tree, parts: &[(&File, Option<Certain>)], directory: &Path) -> io::Result<()> {
    for file in &tree.files {
        let path = Path::new(&file.path);
        // Whoever made the tree can have put any name into it.
        if !path.components().all(|part| matches!(part, Component::Normal(_))) {
            continue;
        }
        let part = parts.iter().find(|(of, _)| of.path == file.path).and_then(|(_, part)| part.as_ref());
        let path = directory.join(path);
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::write(&path, part.map_or("", |part| part.text.as_str()))?;
    }
    Ok(())
}

impl Docker {
    /// Fails if there is no Compose.
    fn find(&self) -> Result<(), Error> {
        let failed = |source| Error::Compose { source };
        let version = self.run(&self.place, &["version", "--short"]).map_err(failed)?;
        match version.end {
            End::Code(0) => Ok(()),
            End::TimeUp => Err(failed(io::Error::new(io::ErrorKind::TimedOut, "it does not answer"))),
            End::Code(_) | End::Signal(_) => {
                Err(failed(io::Error::new(io::ErrorKind::NotFound, "`docker compose` is not installed")))
            }
        }
    }

    fn run(&self, directory: &Path, words: &[&str]) -> io::Result<Finished> {
        let mut call = Call::new("docker", directory, &self.env, self.limit);
        // They would name other files or other profiles.
        call.env.retain(|(name, _)| !name.as_encoded_bytes().starts_with(b"COMPOSE_"));
        call.arg("compose").args(words).output(&[])
    }

    /// What Compose says of the files in a directory. With profiles it may take less, as it looks at more services, or
    /// more, as others need those: what it takes either way is no finding.
    fn judge(&self, directory: &Path) -> io::Result<Answer> {
        let with_all = self.config(directory, &["--profile", "*"])?;
        if !matches!(with_all, Answer::Refuses(_)) {
            return Ok(with_all);
        }
        Ok(match self.config(directory, &[])? {
            Answer::Refuses(_) => with_all,
            answer => answer,
        })
    }

    fn config(&self, directory: &Path, profiles: &[&str]) -> io::Result<Answer> {
        let done = self.run(directory, &[profiles, &["config", "--quiet"]].concat())?;
        let said =
            String::from_utf8_lossy(done.err.expose()).replace(&format!("{}/", directory.display()), "");
        let mut lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
        Ok(match done.end {
            End::Code(0) => Answer::Takes,
            End::Code(_) if !said.contains("goroutine ") => {
                let last = lines.rfind(|line| !line.starts_with("time="));
                last.map_or(Answer::Silent, |line| Answer::Refuses(line.to_owned()))
            }
            End::Code(_) | End::Signal(_) | End::TimeUp => Answer::Silent,
        })
    }
}
