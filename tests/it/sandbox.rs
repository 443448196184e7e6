//! A place of its own for each test: home, environment, repositories, and the programs run there.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// The values that must never be seen in clear outside a work tree.
pub(crate) const CANARY: &str = "canary-swordfish-7f3a9c";

/// Every git in a directory of the PATH, once.
pub(crate) fn gits() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found: Vec<PathBuf> = Vec::new();
    for directory in std::env::split_paths(&path) {
        if let Ok(git) = directory.join("git").canonicalize()
            && !found.contains(&git)
        {
            found.push(git);
        }
    }
    assert!(!found.is_empty(), "there is no git on the PATH");
    found
}

/// The directories of these gits, to be put on a PATH.
pub(crate) fn places_of_gits() -> Vec<String> {
    gits().iter().map(|git| git.parent().unwrap().display().to_string()).collect()
}

/// A directory with a home and nothing of the machine's own settings.
pub(crate) struct Sandbox {
    root: TempDir,
    /// What comes on the PATH behind hlx.
    path: String,
}

/// What a program did.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        let root = tempfile::Builder::new().prefix("hlx-it-").tempdir().unwrap();
        let sandbox = Self { root, path: "/usr/local/bin:/usr/bin:/bin".to_owned() };
        fs::create_dir(sandbox.path("home")).unwrap();
        let config = "[user]\n\tname = Test\n\temail = test@example.org\n[init]\n\tdefaultBranch = main\n[protocol \"file\"]\n\tallow = always\n";
        fs::write(sandbox.path("home/.gitconfig"), config).unwrap();
        sandbox
    }

    /// The same with this git in the place of the first on the PATH.
    pub(crate) fn with_git(git: &Path) -> Self {
        let mut sandbox = Self::new();
        sandbox.path = format!("{}:{}", git.parent().unwrap().display(), sandbox.path);
        sandbox
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// A program with a cleared environment; the first word names it.
    pub(crate) fn command(&self, directory: &str, words: &[&str]) -> Command {
        let program = if words[0] == "hlx" { env!("CARGO_BIN_EXE_hlx") } else { words[0] };
        let hlx = Path::new(env!("CARGO_BIN_EXE_hlx")).parent().unwrap();
        let mut command = Command::new(program);
        command
            .args(&words[1..])
            .current_dir(self.path(directory))
            .env_clear()
            .env("HOME", self.path("home"))
            .env("PATH", format!("{}:{}", hlx.display(), self.path))
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null());
        command
    }

    /// Runs a program to its end.
    pub(crate) fn run(&self, directory: &str, words: &[&str]) -> Done {
        Done::of(self.command(directory, words).output().unwrap_or_else(|error| panic!("{words:?}: {error}")))
    }

    /// Runs a program with this on its stdin.
    pub(crate) fn feed(&self, directory: &str, words: &[&str], input: impl AsRef<[u8]>) -> Done {
        let mut command = self.command(directory, words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A program that refuses before it reads closes the pipe.
        let _ = child.stdin.take().unwrap().write_all(input.as_ref());
        Done::of(child.wait_with_output().unwrap())
    }

    /// The same with more variables in its environment.
    pub(crate) fn run_in(&self, directory: &str, words: &[&str], variables: &[(&str, &str)]) -> Done {
        let mut command = self.command(directory, words);
        let done = command.envs(variables.iter().copied()).output();
        Done::of(done.unwrap_or_else(|error| panic!("{words:?}: {error}")))
    }

    /// Runs a program that must succeed, and gives its stdout.
    #[track_caller]
    pub(crate) fn ok(&self, directory: &str, words: &[&str]) -> String {
        let done = self.run(directory, words);
        assert!(done.code == Some(0), "{words:?}: {done:?}");
        done.out
    }

    /// Runs a shell line that must succeed, and gives its stdout.
    #[track_caller]
    pub(crate) fn sh(&self, directory: &str, line: &str) -> String {
        self.ok(directory, &["sh", "-euc", line])
    }

    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(crate) fn read(&self, path: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}")))
            .into_owned()
    }

    /// An initialized repository `lab` with hlx set up, one service and its branch checked out.
    pub(crate) fn lab(&self) {
        self.ok(".", &["git", "init", "-q", "lab"]);
        self.sh("lab", "echo '# Lab' >README.md; git add .; git commit -qm begin");
        self.ok("lab", &["hlx", "init"]);
        self.ok("lab", &["hlx", "new", "app"]);
        self.ok("lab", &["git", "switch", "-q", "app"]);
    }

    /// Asserts that a clone whose data keys and readers are new edits old and new files of branches, of which the first is
    /// checked out, without a word from hlx.
    #[track_caller]
    pub(crate) fn goes_on(&self, clone: &str, branches: &[&str], mark: &str) {
        let is_known = |line: &str| line.contains("hint: push the branch") || line.contains("is new there");
        let quiet =
            |done: Done| assert!(done.code == Some(0) && done.err.lines().all(is_known), "{mark}: {done:?}");
        let line =
            format!("echo E{mark}=1 >>.env; echo N=1 >new{mark}.env; git add .; git commit -qm {mark}");
        quiet(self.run(clone, &["sh", "-euc", &line]));
        for branch in &branches[1..] {
            quiet(self.feed(clone, &["hlx", "set", &format!("{branch}:.env"), &format!("E{mark}")], "1"));
        }
        for branch in branches {
            let waiting = self.run(clone, &["hlx", "recipients", "accept", "--branch", branch]);
            assert!(waiting.err.contains("nothing waits"), "{mark}, {branch}: {waiting:?}");
        }
    }

    /// Makes a commit past the filter and the hooks, as a clone without hlx would.
    pub(crate) fn commit_unfiltered(&self, path: &str, content: &str) {
        self.write("raw", content);
        self.sh(
            "lab",
            &format!(
                "blob=$(git hash-object -w --no-filters ../raw); git update-index --add --cacheinfo 100644,$blob,{path}; git commit -qnm raw"
            ),
        );
    }

    /// Asserts that no object of a repository holds the canary.
    #[track_caller]
    pub(crate) fn no_canary_in_objects(&self, repository: &str) {
        assert_eq!(self.canaries_in_objects(repository), 0, "plaintext in the objects of {repository}");
    }

    /// In how many lines of a repository's objects, loose or packed, the canary stands.
    pub(crate) fn canaries_in_objects(&self, repository: &str) -> usize {
        let search =
            "git cat-file --batch-all-objects --batch --unordered | grep -ac canary-swordfish || true";
        self.sh(repository, search).trim().parse().unwrap()
    }

    /// Asserts that no file below a directory holds the canary, except these.
    #[track_caller]
    pub(crate) fn no_canary_in_files(&self, directory: &str, except: &[&str]) {
        let found = self.run(directory, &["grep", "-rlaF", "canary-swordfish", "."]).out;
        let found: Vec<_> =
            found.lines().filter(|line| !except.contains(&line.trim_start_matches("./"))).collect();
        assert!(found.is_empty(), "plaintext in {found:?}");
    }

    /// Stock sops, wherever the test script put it.
    pub(crate) fn sops(&self, directory: &str, words: &[&str]) -> Done {
        let keys = self.path("home/.config/sops/age/keys.txt");
        self.sops_in(directory, words, &[("SOPS_AGE_KEY_FILE", &keys.display().to_string())])
    }

    /// Stock sops with these variables.
    pub(crate) fn sops_in(&self, directory: &str, words: &[&str], variables: &[(&str, &str)]) -> Done {
        let program = std::env::var("HLX_TEST_SOPS").unwrap_or_else(|_| "sops".to_owned());
        let all: Vec<&str> = std::iter::once(program.as_str()).chain(words.iter().copied()).collect();
        let done = self.command(directory, &all).envs(variables.iter().copied()).output();
        Done::of(done.unwrap_or_else(|error| {
            panic!("stock sops is needed ({error}): run scripts/test, or set HLX_TEST_SOPS")
        }))
    }
}

impl Done {
    pub(crate) fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

/// The same file with one bit of its first value changed.
pub(crate) fn flipped(sealed: &str) -> String {
    let at = sealed.find("data:").unwrap() + 5;
    let other = if sealed[at..].starts_with('A') { "B" } else { "A" };
    format!("{}{other}{}", &sealed[..at], &sealed[at + 1..])
}
