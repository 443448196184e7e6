//! Setting a clone up: git's configuration for the filter, diff and merge, and the pre-commit hook.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::git::{Git, Repository};

use super::Error;

/// The hook as the project ships it; `init` puts the place of the program in.
const PRE_COMMIT: &str = include_str!("../../hooks/pre-commit");

/// What `init` did about the pre-commit hook.
#[derive(Debug, PartialEq, Eq)]
pub enum Hook {
    /// Installed, or there already.
    Installed,
    /// Another hook is there; it was left alone.
    Foreign,
}

/// Writes the configuration that makes git call `program` for protected files.
pub fn configure(git: &Git, program: &str) -> Result<(), Error> {
    let textconv = textconv(Path::new(program));
    let program = shell_word(program);
    let textconv = textconv.unwrap_or_else(|| format!("{program} textconv --"));
    let entries = [
        ("filter.hlx.process", format!("{program} filter-process")),
        ("filter.hlx.clean", format!("{program} clean -- %f")),
        ("filter.hlx.smudge", format!("{program} smudge -- %f")),
        ("filter.hlx.required", "true".to_owned()),
        ("diff.hlx.textconv", textconv),
        // git would keep plaintext in a ref.
        ("diff.hlx.cachetextconv", "false".to_owned()),
        ("merge.hlx.name", "hlx: merge the plaintexts, encrypt the result".to_owned()),
        ("merge.hlx.driver", format!("{program} merge -- %O %A %B %L %P %S %X %Y")),
    ];
    for (name, value) in &entries {
        git.run(&["config", "--local", "--replace-all", name, value])?;
    }
    Ok(())
}

/// The name under which the program is a textconv.
pub const TEXTCONV: &str = "hlx-textconv";

/// The link to the program beside it that makes it a textconv, if there is one: git runs a command of one plain word
/// without a shell, and starts it for each version that `git log -p` shows.
fn textconv(program: &Path) -> Option<String> {
    let link = program.with_file_name(TEXTCONV);
    let same = link.canonicalize().ok()? == program.canonicalize().ok()?;
    let word = link.to_str()?.to_owned();
    (same && shell_word(&word) == word).then_some(word)
}

/// A word that the shell, through which git runs these commands, takes as it is.
fn shell_word(word: &str) -> String {
    let safe = |character: char| character.is_ascii_alphanumeric() || "/._-+".contains(character);
    if word.chars().all(safe) { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

/// Installs the pre-commit hook unless there is another.
pub fn install_hook(repository: &Repository, git: &Git, program: &str) -> Result<Hook, Error> {
    if git.test(&["config", "core.hooksPath"])? {
        return Ok(Hook::Foreign);
    }
    let path = repository.common_dir().join("hooks").join("pre-commit");
    let hook = PRE_COMMIT.replace("exec hlx", &format!("exec {}", shell_word(program)));
    match fs::read_to_string(&path) {
        Ok(text) if text != hook && !text.contains(OURS) => return Ok(Hook::Foreign),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Error::io(&path)(error)),
        Ok(_) | Err(_) => write_executable(&path, &hook).map_err(Error::io(&path))?,
    }
    Ok(Hook::Installed)
}

/// Removes the hooks that `init` made; gives their names.
pub fn remove_hooks(repository: &Repository) -> Result<Vec<String>, Error> {
    let mut removed = Vec::new();
    for name in ["pre-commit", "pre-push", "pre-receive", "post-receive"] {
        let path = repository.common_dir().join("hooks").join(name);
        if fs::read_to_string(&path).is_ok_and(|text| text.contains(OURS)) {
            fs::remove_file(&path).map_err(Error::io(&path))?;
            removed.push(name.to_owned());
        }
    }
    Ok(removed)
}

/// What marks a hook as made by `init`, and so to be renewed by it.
const OURS: &str = "Installed by `hlx init`";

fn write_executable(path: &Path, hook: &str) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    fs::write(path, hook)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_beside_the_program_is_the_textconv() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("hlx");
        fs::write(&program, "").unwrap();
        assert_eq!(textconv(&program), None);
        fs::write(dir.path().join(TEXTCONV), "another").unwrap();
        assert_eq!(textconv(&program), None);
        fs::remove_file(dir.path().join(TEXTCONV)).unwrap();
        std::os::unix::fs::symlink("hlx", dir.path().join(TEXTCONV)).unwrap();
        assert_eq!(textconv(&program), dir.path().join(TEXTCONV).to_str().map(str::to_owned));
    }

    #[test]
    fn odd_places_are_quoted_for_the_shell() {
        assert_eq!(shell_word("/usr/bin/hlx"), "/usr/bin/hlx");
        assert_eq!(shell_word("/home/o'k me/hlx"), "'/home/o'\\''k me/hlx'");
    }
}
