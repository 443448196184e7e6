//! The bare mirror of a repository, and what is asked of git.
//!
//! Nothing from the repository runs here: no hooks, no filters, no work tree. Names that could
//! be taken for options, and transports that run commands, are refused before git sees them.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

mod revert;
mod signature;
mod source;

pub use revert::FILES_OF;
pub use source::Source;

use self::source::without_logins;
use super::service::Service;
use crate::sys::disk;
use crate::sys::process::{Call, End, Env, Finished};

/// A fetch over a slow line may take this long.
const FETCH: Duration = Duration::from_secs(600);
/// What git is told the repository is called.
const REMOTE: &str = "hlx-source";
const LOCAL: Duration = Duration::from_secs(60);

/// Why git did not give what was asked of it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no git, or it cannot be started.
    #[error("cannot run git: {0}")]
    Start(std::io::Error),
    /// It is too old.
    #[error("git {0} is too old: 2.39 or later is needed")]
    Old(String),
    /// It failed.
    #[error("git {what} failed ({end}){}", indented(said))]
    Failed {
        /// The command.
        what: &'static str,
        /// How it ended.
        end: End,
        /// What it said.
        said: String,
    },
    /// It said something that this program does not understand.
    #[error("git {0} gave an answer that makes no sense")]
    Answer(&'static str),
    /// The place of the repository cannot be used.
    #[error("`{repo}` cannot be a repository: {why}")]
    Source {
        /// What was given.
        repo: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Nobody said which repository, and none is here.
    #[error("no repository was named, and the current directory is in none")]
    NoSource,
    /// The repository has no such branch.
    #[error("{repo} has no branch `{service}`")]
    UnknownService {
        /// The repository.
        repo: String,
        /// What was asked for.
        service: Service,
        /// Branches that could be services.
        services: Vec<String>,
    },
    /// The mirror's directory cannot be used.
    #[error("cannot prepare {path}: {source}")]
    Disk {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// What a program said, below the line that reports it.
pub(super) fn indented(said: &str) -> String {
    said.trim_end().lines().filter(|line| !line.is_empty()).map(|line| format!("\n  {line}")).collect()
}

fn line(finished: &Finished) -> String {
    String::from_utf8_lossy(finished.out.expose()).trim_end().to_owned()
}

/// The git program and its environment.
#[derive(Debug, Clone)]
pub struct Git {
    env: Env,
}

impl Git {
    /// Git in the door's environment.
    pub fn new(env: &Env) -> Self {
        let mut env = env.clone();
        let fixed = [("GIT_TERMINAL_PROMPT", "0"), ("GIT_ALLOW_PROTOCOL", "file:git:http:https:ssh")];
        env.extend(fixed.map(|(name, value)| (name.into(), value.into())));
        env.extend([("LC_ALL".into(), "C".into()), ("GIT_NO_REPLACE_OBJECTS".into(), "1".into())]);
        Self { env }
    }

    /// Makes sure that git is there and new enough; gives its version.
    pub fn check(&self) -> Result<String, Error> {
        const OLDEST: (u32, u32) = (2, 39);
        let said = line(&succeeded("version", self.run_in(Path::new("/"), &["version"])?)?);
        let version = said.split(' ').nth(2).unwrap_or_default().to_owned();
        let mut parts = version.split('.').map(|part| part.parse::<u32>().ok());
        match parts.next().flatten().zip(parts.next().flatten()) {
            Some(found) if found >= OLDEST => Ok(version),
            Some(_) => Err(Error::Old(version)),
            None => Err(Error::Answer("version")),
        }
    }

    fn call(&self, cwd: &Path, limit: Duration) -> Call {
        // A path that root names is trusted, whoever owns it: nothing in it is executed.
        let fixed =
            ["-c", "safe.directory=*", "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false"];
        Call::new("git", cwd, &self.env, limit).args(fixed)
    }

    fn run_in(&self, cwd: &Path, args: &[&str]) -> Result<Finished, Error> {
        self.call(cwd, LOCAL).args(args).output(b"").map_err(Error::Start)
    }

    fn batch(&self) -> Self {
        let mut git = self.clone();
        let has = |name: &str| git.env.iter().any(|(known, _)| known == name);
        if !has("GIT_SSH_COMMAND") && !has("GIT_SSH") {
            git.env.push(("GIT_SSH_COMMAND".into(), "ssh -o BatchMode=yes".into()));
        }
        git
    }
}

/// A bare mirror on this host.
#[derive(Debug)]
pub struct Mirror<'s> {
    git: Git,
    dir: PathBuf,
    source: &'s Source,
}

impl<'s> Mirror<'s> {
    /// The mirror of `source` below `state`, made if it is not there.
    pub fn open(state: &Path, source: &'s Source, git: &Git) -> Result<Self, Error> {
        let dir = place(state, source);
        let failed = |source| Error::Disk { path: dir.clone(), source };
        let git = if source.is_ssh() && !configures_ssh(git, state)? { git.batch() } else { git.clone() };
        if !is_whole(&dir) {
            git.check()?;
            disk::private_dir(&dir).map_err(failed)?;
            let _turn = turn(&dir.with_extension("lock")).map_err(failed)?;
            if !is_whole(&dir) {
                // What a killed `git init` left would stop this one.
                let _ = std::fs::remove_file(dir.join("config.lock"));
                let made =
                    git.call(&dir, LOCAL).args(["init", "--quiet", "--bare", "--template=", "."]).output(b"");
                succeeded("init", made.map_err(Error::Start)?)?;
            }
        }
        Ok(Self { git, dir, source })
    }

    /// The branches of `source`, asked of itself; nothing is made on this host.
    pub fn listed(state: &Path, source: &'s Source, git: &Git) -> Result<Vec<String>, Error> {
        let git = if source.is_ssh() && !configures_ssh(git, state)? { git.batch() } else { git.clone() };
        let nowhere = Self { git, dir: "/".into(), source };
        let listed = nowhere.remote("ls-remote", &["--quiet"], "refs/heads/*")?;
        Ok(branches(&line(&succeeded("ls-remote", listed)?)))
    }

    /// The commit whose containers are started now; kept from being collected as garbage.
    pub fn mark_tried(&self, service: &Service, commit: &str) -> Result<(), Error> {
        self.git(&["update-ref", &format!("refs/hlx/tried/{service}"), commit]).map(drop)
    }

    /// Takes away the locks that a killed git left on the service's own refs. No git may be at
    /// work for the service.
    pub fn clear_locks(&self, service: &Service) -> Result<(), Error> {
        for place in ["heads", "hlx/incoming", "hlx/tried", "hlx/deployed"] {
            let path = self.dir.join(format!("refs/{place}/{service}.lock"));
            match std::fs::remove_file(&path) {
                Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::Disk { path, source });
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// The mirror of `source`, for reading what it has: nothing is made and nobody asked.
    pub fn offline(state: &Path, source: &'s Source, git: &Git) -> Self {
        Self { git: git.clone(), dir: place(state, source), source }
    }

    /// Files of commits, in the order asked for; `None` for what is not there.
    pub fn files(&self, wanted: &[(String, PathBuf)]) -> Result<Vec<Option<Vec<u8>>>, Error> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let name = |(commit, path): &(String, PathBuf)| {
            [commit.as_bytes(), b":", path.as_os_str().as_bytes()].concat()
        };
        let names: Vec<Vec<u8>> = wanted.iter().map(name).collect();
        let input: Vec<u8> = names.iter().flat_map(|name| [name, &b"\0"[..]].concat()).collect();
        let answer = self.feed(&["cat-file", "--batch", "-z"], &input)?;
        let mut rest = &answer.out.expose()[..];
        names.iter().map(|name| file(&mut rest, name).ok_or(Error::Answer("cat-file"))).collect()
    }

    /// Fetches the branch of a service, and no other; gives its commit.
    pub fn fetch(&self, service: &Service) -> Result<String, Error> {
        let spec = format!("+refs/heads/{service}:refs/hlx/incoming/{service}");
        let fetched =
            self.remote("fetch", &["--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-gc"], &spec)?;
        if !fetched.end.is_success() {
            return Err(self.explain(service, fetched));
        }
        self.commit_of(&format!("refs/hlx/incoming/{service}"))
    }

    /// Fetches all branches; gives each and its commit.
    pub fn survey(&self) -> Result<Vec<(String, String)>, Error> {
        let failed = |source| Error::Disk { path: self.dir.clone(), source };
        // Two at once would be in the way of each other's refs.
        let _turn = turn(&self.dir.with_extension("survey")).map_err(failed)?;
        let options = ["--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-gc", "--prune"];
        let fetched = self.remote("fetch", &options, "+refs/heads/*:refs/hlx/survey/*")?;
        succeeded("fetch", fetched)?;
        let listed =
            self.git(&["for-each-ref", "--format=%(objectname) %(refname:lstrip=3)", "refs/hlx/survey/"])?;
        let pair = |line: &str| line.split_once(' ').map(|(id, name)| (name.to_owned(), id.to_owned()));
        Ok(line(&listed).lines().filter_map(pair).collect())
    }

    fn remote(&self, command: &str, options: &[&str], last: &str) -> Result<Finished, Error> {
        // What is fetched must outlive a power cut: file secrets are restored from it, offline.
        let durable = ["-c", "core.fsync=committed,reference", "-c", "core.fsyncMethod=batch"];
        let mut call = self.git.call(&self.dir, FETCH).args(durable).arg(command).args(options);
        if self.source.0.starts_with('/') || self.source.0.starts_with("file:") {
            // Settings of the command line do not reach the other end of a local fetch.
            let (option, there) = match command {
                "push" => ("--receive-pack", "git -c safe.directory='*' receive-pack"),
                _ => ("--upload-pack", "git -c safe.directory='*' upload-pack"),
            };
            call = call.args([option, there]);
        }
        // The URL may hold a login, and anyone may read the arguments of a program.
        let count = self.git.env.iter().find(|(name, _)| name == "GIT_CONFIG_COUNT");
        let count = count.and_then(|(_, count)| count.to_str()?.parse::<u32>().ok()).unwrap_or(0);
        call = call.var(&format!("GIT_CONFIG_KEY_{count}"), format!("remote.{REMOTE}.url"));
        call = call.var(&format!("GIT_CONFIG_VALUE_{count}"), &self.source.0);
        call = call.var("GIT_CONFIG_COUNT", (count + 1).to_string());
        call.args(["--", REMOTE, last]).output(b"").map_err(Error::Start)
    }

    /// The branch is not there, or something else went wrong.
    fn explain(&self, service: &Service, fetched: Finished) -> Error {
        let failed = failure("fetch", &fetched);
        let Ok(listed) = self.remote("ls-remote", &["--quiet"], "refs/heads/*") else { return failed };
        if !listed.end.is_success() {
            return failed;
        }
        let branches: Vec<String> = branches(&line(&listed));
        if branches.iter().any(|branch| branch == service.as_str()) {
            return failed;
        }
        let services =
            branches.into_iter().filter(|name| name.parse::<Service>().is_ok() && name != "main").collect();
        Error::UnknownService { repo: self.source.to_string(), service: service.clone(), services }
    }

    fn commit_of(&self, name: &str) -> Result<String, Error> {
        let commit = line(&self.git(&["rev-parse", "--verify", "--quiet", &format!("{name}^{{commit}}")])?);
        match commit.len() >= 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            true => Ok(commit),
            false => Err(Error::Answer("rev-parse")),
        }
    }

    /// True if `new` goes on from `old`.
    pub fn goes_on(&self, old: &str, new: &str) -> Result<bool, Error> {
        let run = self.git.run_in(&self.dir, &["merge-base", "--is-ancestor", old, new])?;
        Ok(run.end.is_success())
    }

    /// Keeps a commit from being collected as garbage.
    pub fn keep(&self, service: &Service, commit: &str) -> Result<(), Error> {
        let names =
            ["heads", "hlx/deployed"].map(|place| format!("update refs/{place}/{service} {commit}\n"));
        let call = self.git.call(&self.dir, LOCAL).args(["update-ref", "--stdin"]);
        succeeded("update-ref", call.output(names.concat().as_bytes()).map_err(Error::Start)?).map(drop)
    }

    /// A git command in the mirror that must succeed.
    pub fn git(&self, args: &[&str]) -> Result<Finished, Error> {
        succeeded("query", self.git.run_in(&self.dir, args)?)
    }

    /// The output of a git command that must succeed; `None`, and git is stopped, if it is more
    /// than so many bytes.
    pub fn some(&self, args: &[&str], most: usize) -> Result<Option<Vec<u8>>, Error> {
        let call = self.git.call(&self.dir, LOCAL).args(args);
        let finished = call.some_output(most).map_err(Error::Start)?;
        finished.map(|finished| Ok(succeeded("query", finished)?.out.expose().clone())).transpose()
    }

    /// A git command in the mirror that must succeed, with input.
    pub fn feed(&self, args: &[&str], input: &[u8]) -> Result<Finished, Error> {
        let call = self.git.call(&self.dir, LOCAL).args(args);
        succeeded("query", call.output(input).map_err(Error::Start)?)
    }
}

/// True if `git init` came to its end there: the objects' directories are the last it makes.
fn is_whole(dir: &Path) -> bool {
    ["HEAD", "config", "refs", "objects/info", "objects/pack"].iter().all(|name| dir.join(name).exists())
}

/// Waits for the lock, which is held for no longer than a `git init`.
fn turn(path: &Path) -> std::io::Result<disk::Lock> {
    let began = std::time::Instant::now();
    loop {
        match disk::lock(path)? {
            Some(lock) => return Ok(lock),
            None if began.elapsed() > LOCAL => return Err(std::io::ErrorKind::TimedOut.into()),
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

fn place(state: &Path, source: &Source) -> PathBuf {
    state.join("mirror").join(format!("{}.git", source.id()))
}

/// The next answer of `cat-file --batch` to a request for `name`.
fn file(rest: &mut &[u8], name: &[u8]) -> Option<Option<Vec<u8>>> {
    if let Some(after) = rest.strip_prefix(name).and_then(|rest| rest.strip_prefix(b" missing\n")) {
        *rest = after;
        return Some(None);
    }
    blob(rest).map(|content| Some(content.to_vec()))
}

/// The next object of `cat-file --batch`: `<id> blob <size>\n<content>\n`.
pub(super) fn blob<'b>(rest: &mut &'b [u8]) -> Option<&'b [u8]> {
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    let head = std::str::from_utf8(&rest[..end]).ok()?;
    let size: usize = head.split_once(" blob ")?.1.parse().ok()?;
    let content = rest.get(end + 1..end + 1 + size)?;
    *rest = rest.get(end + 2 + size..)?;
    Some(content)
}

fn configures_ssh(git: &Git, cwd: &Path) -> Result<bool, Error> {
    Ok(git.run_in(cwd, &["config", "--get", "core.sshCommand"])?.end.is_success())
}

fn branches(listing: &str) -> Vec<String> {
    let name = |line: &str| line.split_once("\trefs/heads/").map(|(_, name)| name.to_owned());
    listing.lines().filter_map(name).collect()
}

fn succeeded(what: &'static str, finished: Finished) -> Result<Finished, Error> {
    if finished.end.is_success() { Ok(finished) } else { Err(failure(what, &finished)) }
}

fn failure(what: &'static str, finished: &Finished) -> Error {
    let said = without_logins(&String::from_utf8_lossy(finished.err.expose()));
    Error::Failed { what, end: finished.end, said }
}

/// Arguments as the operating system has them.
pub(super) fn os(text: &str) -> OsString {
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_of_branches_is_read() {
        assert_eq!(branches("1\trefs/heads/a\n2\trefs/heads/b/c\n3\trefs/tags/t"), ["a", "b/c"]);
    }
}
