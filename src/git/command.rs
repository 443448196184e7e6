//! Running the `git` program in a repository.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Error;

/// The `git` program, at a place.
#[derive(Debug, Clone)]
pub struct Git {
    directory: PathBuf,
    variables: Vec<(&'static str, PathBuf)>,
}

impl Git {
    /// Git run in this directory.
    pub fn at(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), variables: Vec::new() }
    }

    /// Git on a repository itself: in its directory, whatever work tree is at hand.
    pub fn of(repository: &Path) -> Self {
        Self { directory: repository.to_owned(), variables: vec![("GIT_DIR", repository.to_owned())] }
    }

    /// The same with another index file.
    pub fn with_index(&self, index: &Path) -> Self {
        let mut git = self.clone();
        git.variables.push(("GIT_INDEX_FILE", index.to_owned()));
        git
    }

    /// The same for a repository that is elsewhere.
    pub fn with_repository(mut self, directory: PathBuf, tree: PathBuf) -> Self {
        self.variables.extend([("GIT_DIR", directory), ("GIT_WORK_TREE", tree)]);
        self
    }

    /// Where it runs.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Runs a command and gives its stdout; fails with git's own words if it fails.
    pub fn run(&self, arguments: &[&str]) -> Result<Vec<u8>, Error> {
        self.feed(arguments, &[])
    }

    /// Like [`Git::run`], as text without the final line feed.
    pub fn text(&self, arguments: &[&str]) -> Result<String, Error> {
        let out = self.run(arguments)?;
        Ok(String::from_utf8_lossy(&out).trim_end_matches('\n').to_owned())
    }

    /// Runs a command whose failure is an answer: true if it succeeded.
    pub fn test(&self, arguments: &[&str]) -> Result<bool, Error> {
        let mut command = self.command(arguments);
        let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().map_err(Error::NoGit)?;
        Ok(status.success())
    }

    /// Runs a command with this on its stdin.
    pub fn feed(&self, arguments: &[&str], input: &[u8]) -> Result<Vec<u8>, Error> {
        let mut command = self.command(arguments);
        command.stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() });
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(Error::NoGit)?;
        let stdin = child.stdin.take();
        let output = std::thread::scope(|scope| {
            scope.spawn(|| {
                // A git that does not read all of it says why on stderr.
                stdin.map(|mut stdin| stdin.write_all(input));
            });
            child.wait_with_output()
        });
        let output = output.map_err(Error::NoGit)?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        Err(Error::Failed {
            command: arguments.iter().find(|word| !word.starts_with('-')).unwrap_or(&"").to_string(),
            message: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        })
    }

    fn command(&self, arguments: &[impl AsRef<OsStr>]) -> Command {
        let mut command = Command::new("git");
        command.current_dir(&self.directory).args(arguments).stdin(Stdio::null());
        // A file may be called `:!x`. (git check-ignore knows no pathspecs and stops at the variable.)
        if arguments.first().is_some_and(|word| word.as_ref() != "check-ignore") {
            command.env("GIT_LITERAL_PATHSPECS", "1");
        }
        // Another object in the place of the one that is asked for is nothing to rely on.
        command.env("GIT_NO_REPLACE_OBJECTS", "1");
        command.env("GIT_TERMINAL_PROMPT", "0").env("LC_ALL", "C");
        self.variables.iter().for_each(|(name, value)| {
            command.env(name, value);
        });
        command
    }
}
