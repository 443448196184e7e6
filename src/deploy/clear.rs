//! Secrets that the commit holds in clear: they deploy like any other, but whoever has the
//! repository can read them.

use std::fmt;
use std::path::{Path, PathBuf};

use super::model::{Model, tracked};
use super::resident::Ground;

/// A tracked file that compose takes for a secret, and that is not sealed.
#[derive(Debug, PartialEq, Eq)]
pub struct Clear {
    path: PathBuf,
    usage: String,
}

impl fmt::Display for Clear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        write!(
            f,
            "{path} is in git in clear, and is {}: `hlx track {path}` in a clone encrypts it from then on",
            self.usage
        )
    }
}

/// Finds the secrets' files, `.env` and the services' env files that are tracked in clear.
pub fn find(model: &Model, env_files: &[PathBuf], ground: Ground<'_>) -> Vec<Clear> {
    let is_clear = |path: &Path| {
        let filled = ground.tree.get(path).is_some_and(|entry| !entry.content.is_empty());
        filled && !ground.unsealed.holds(path)
    };
    let secrets = model.secrets.iter().filter_map(|(name, source)| {
        let path = tracked(source.file.as_deref()?, ground.project, ground.tree)?;
        Some(Clear { path, usage: format!("the secret `{name}`") })
    });
    let env = |(path, usage): (&Path, &str)| {
        let path = tracked(&ground.project.join(path), ground.project, ground.tree)?;
        Some(Clear { path, usage: usage.to_owned() })
    };
    let named = std::iter::once((Path::new(".env"), "what variables are filled in from"));
    let env_files = named.chain(env_files.iter().map(|path| (path.as_path(), "an env_file")));
    let mut found: Vec<Clear> = Vec::new();
    for clear in secrets.chain(env_files.filter_map(env)) {
        if is_clear(&clear.path) && !found.iter().any(|known| known.path == clear.path) {
            found.push(clear);
        }
    }
    found
}
