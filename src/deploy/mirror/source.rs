//! Where a repository is, and how that is shown without a login.

use std::fmt;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::{Error, Git, line};

/// Where a repository is: a URL, or an absolute path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source(pub(super) String);

impl fmt::Display for Source {
    /// Without the login that a URL may carry.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bare(&self.0))
    }
}

/// A URL without user and password: a token may stand in either place. The user of an ssh URL
/// is no secret, and part of where the repository is.
pub(super) fn bare(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match host.rsplit_once('@') {
        Some((login, host)) if scheme.ends_with("ssh") && !login.contains([':', '@']) => {
            format!("{scheme}://{login}@{host}{path}")
        }
        Some((_, host)) => format!("{scheme}://{host}{path}"),
        None => url.to_owned(),
    }
}

impl Source {
    /// Takes what was typed: a path that is there, else a URL.
    pub fn new(repo: &str, cwd: &Path) -> Result<Self, Error> {
        let refuse = |why| Err(Error::Source { repo: bare(repo), why });
        if repo.is_empty() || repo.starts_with('-') || repo.contains(char::is_control) {
            return refuse("it is empty, begins with `-` or holds control characters");
        }
        if let Ok(path) = cwd.join(repo).canonicalize() {
            let path = path.into_os_string().into_string();
            return path.map(Self).or_else(|_| refuse("its path is not UTF-8"));
        }
        if repo.split_once("::").is_some_and(|(helper, _)| !helper.contains(['/', '@', '[', ':'])) {
            return refuse("transport helpers are not used");
        }
        match repo.contains("://") || is_scp(repo) {
            true => Ok(Self(repo.to_owned())),
            false => refuse("there is no such path"),
        }
    }

    /// The `origin` of the clone around `cwd`, else that clone.
    pub fn around(cwd: &Path, git: &Git) -> Result<Self, Error> {
        let call = |args: &[&str]| git.run_in(cwd, args);
        let common = call(&["rev-parse", "--path-format=absolute", "--git-common-dir"])?;
        if !common.end.is_success() {
            return Err(Error::NoSource);
        }
        let common = line(&common);
        let origin = call(&["config", "--get", "remote.origin.url"])?;
        let top = Path::new(&common).parent().unwrap_or(cwd);
        match origin.end.is_success() {
            true => Self::new(&line(&origin), top),
            false => Self::new(&common, cwd),
        }
    }

    /// The repository as recorded: without a login.
    pub fn recorded(&self) -> String {
        self.to_string()
    }

    /// The repository of [`Source::recorded`], whether it can be reached or not.
    pub fn from_record(recorded: &str) -> Self {
        Self(recorded.to_owned())
    }

    /// A short name that no other repository has.
    pub fn id(&self) -> String {
        Sha256::digest(bare(&self.0).as_bytes())[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub(super) fn is_ssh(&self) -> bool {
        self.0.starts_with("ssh://") || self.0.starts_with("git+ssh://") || is_scp(&self.0)
    }
}

/// `host:path`, as ssh and scp have it.
fn is_scp(repo: &str) -> bool {
    !repo.contains("://")
        && repo.split_once(':').is_some_and(|(host, _)| !host.is_empty() && !host.contains('/'))
}

/// Git repeats URLs in its messages, passwords included.
pub(super) fn without_logins(text: &str) -> String {
    let word = |word: &str| match word
        .split_once("://")
        .and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?)))
    {
        Some((scheme, (_, rest))) => format!("{scheme}://{rest}"),
        None => word.to_owned(),
    };
    text.split_inclusive([' ', '\n']).map(word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(repo: &str) -> Result<String, String> {
        Source::new(repo, Path::new("/")).map(|source| source.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn places_that_could_run_something_are_refused() {
        for bad in ["", "--upload-pack=x", "ext::sh -c x", "fd::17", "no/such/path", "a\nb"] {
            assert!(source(bad).is_err(), "{bad}");
        }
        for good in ["https://h/x.git", "ssh://git@h/x.git", "git@h:me/x.git", "file:///x", "/tmp"] {
            assert_eq!(source(good).as_deref(), Ok(good));
        }
    }

    #[test]
    fn a_password_in_a_url_is_not_shown() {
        assert_eq!(source("https://me:pw@h/x.git").as_deref(), Ok("https://h/x.git"));
        assert_eq!(source("https://ghp_TOKEN@h/x.git").as_deref(), Ok("https://h/x.git"));
        assert_eq!(source("https://me:p@ss@h/a@b").as_deref(), Ok("https://h/a@b"));
        assert_eq!(
            without_logins("fatal: 'https://me:pw@h/x.git/' not found"),
            "fatal: 'https://h/x.git/' not found"
        );
    }
}
