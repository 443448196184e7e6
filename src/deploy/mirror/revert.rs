//! Making a commit in the mirror, from an earlier one's files, and pushing it.

use super::{Error, LOCAL, Mirror, line, succeeded};
use crate::deploy::service::Service;

/// What the message of such a commit says before the name of the other.
pub const FILES_OF: &str = "The files are those of ";

impl Mirror<'_> {
    /// The commit of this name, or this beginning of one, if the mirror has it.
    pub fn find(&self, name: &str) -> Result<Option<String>, Error> {
        // Nothing but an object's name: no ref, no option.
        if name.len() < 4 || !name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(None);
        }
        Ok(self.commit_of(name).ok())
    }

    /// The name of a commit's tree.
    pub fn tree_of(&self, commit: &str) -> Result<String, Error> {
        Ok(line(&self.git(&["rev-parse", "--verify", &format!("{commit}^{{tree}}")])?))
    }

    /// Which `.sops.yaml` a commit has.
    pub fn rules_of(&self, commit: &str) -> Result<String, Error> {
        Ok(line(&self.git(&["ls-tree", commit, "--", ".sops.yaml"])?))
    }

    /// The text of a commit's `.sops.yaml`; empty if it has none.
    pub fn rules_text(&self, commit: &str) -> Result<String, Error> {
        match self.rules_of(commit)?.is_empty() {
            true => Ok(String::new()),
            false => Ok(line(&self.git(&["cat-file", "blob", &format!("{commit}:.sops.yaml")])?)),
        }
    }

    /// The commit whose files a commit that was made to go back has, by its own words; they are
    /// believed only if it really has them.
    pub fn gone_back_to(&self, commit: &str) -> Result<Option<String>, Error> {
        let message = line(&self.git(&["log", "-1", "--format=%B", commit])?);
        let named = message.lines().find_map(|line| line.strip_prefix(FILES_OF)?.split('.').next());
        let found = named.map(|name| self.find(name)).transpose()?.flatten();
        match found {
            Some(found) if self.tree_of(&found)? == self.tree_of(commit)? => Ok(Some(found)),
            _ => Ok(None),
        }
    }

    /// Makes a commit on top of `parent` with the files of another.
    pub fn commit(&self, files_of: &str, parent: &str, message: &str, host: &str) -> Result<String, Error> {
        let tree = format!("{files_of}^{{tree}}");
        let mut call =
            self.git.call(&self.dir, LOCAL).args(["commit-tree", &tree, "-p", parent, "-m", message]);
        for role in ["AUTHOR", "COMMITTER"] {
            call = call
                .var(&format!("GIT_{role}_NAME"), "hlx")
                .var(&format!("GIT_{role}_EMAIL"), format!("hlx@{host}"));
        }
        Ok(line(&succeeded("commit-tree", call.output(b"").map_err(Error::Start)?)?))
    }

    /// Pushes a commit to the service's branch, if that still is at `expected`.
    pub fn push(&self, service: &Service, commit: &str, expected: &str) -> Result<(), Error> {
        let lease = format!("--force-with-lease=refs/heads/{service}:{expected}");
        let pushed = self.remote("push", &["--quiet", &lease], &format!("{commit}:refs/heads/{service}"))?;
        succeeded("push", pushed).map(drop)
    }
}
