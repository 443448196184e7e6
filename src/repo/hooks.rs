//! The hooks that call hlx: put where git looks for them, never over another hook, and taken away again.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::git::{Git, Repository};

use super::Error;

/// What marks a hook as put there by `hlx init`, and so to be renewed by it.
const MARK: &str = "Installed by `hlx init`";

/// A hook as the project ships it.
#[derive(Debug, Clone, Copy)]
pub struct Hook {
    /// Its name, and its file's.
    pub name: &'static str,
    script: &'static str,
}

/// The hooks of a clone that one works in.
pub const CLONE: [Hook; 3] = [
    Hook { name: "pre-commit", script: include_str!("../../hooks/pre-commit") },
    Hook { name: "pre-push", script: include_str!("../../hooks/pre-push") },
    Hook { name: "post-merge", script: include_str!("../../hooks/post-merge") },
];

/// The hooks of a bare repository that others push to.
pub const SERVER: [Hook; 2] = [
    Hook { name: "pre-receive", script: include_str!("../../hooks/pre-receive") },
    Hook { name: "post-receive", script: include_str!("../../hooks/post-receive") },
];

/// What became of a hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is in place, or another one there calls hlx already.
    Installed,
    /// Another one is there, or git looks in a place that is not hlx's to write to: nothing was changed.
    Foreign(PathBuf),
}

/// Puts these hooks in place where there is no other, with the place of the program in them.
pub fn install(
    repository: &Repository,
    git: &Git,
    program: &str,
    hooks: &[Hook],
) -> Result<Vec<(Hook, Outcome)>, Error> {
    let elsewhere = git.test(&["config", "core.hooksPath"])?;
    let put = |hook: &Hook| {
        let outcome = match elsewhere {
            true => look(hook, git)?,
            false => put(hook, &place(repository, hook), program)?,
        };
        Ok((*hook, outcome))
    };
    hooks.iter().map(put).collect()
}

/// What stands where `core.hooksPath` leads.
fn look(hook: &Hook, git: &Git) -> Result<Outcome, Error> {
    let name = format!("hooks/{}", hook.name);
    let path = git.run(&["rev-parse", "--path-format=absolute", "--git-path", &name])?;
    let path = PathBuf::from(OsStr::from_bytes(path.strip_suffix(b"\n").unwrap_or(&path)));
    let calls = fs::read(&path).is_ok_and(|there| calls_hlx(&there, hook));
    Ok(if calls { Outcome::Installed } else { Outcome::Foreign(path) })
}

fn calls_hlx(script: &[u8], hook: &Hook) -> bool {
    contains(script, &format!("hlx hook {}", hook.name))
}

/// Takes away the hooks that `hlx init` put there; gives their names.
pub fn remove(repository: &Repository) -> Result<Vec<&'static str>, Error> {
    let mut removed = Vec::new();
    for hook in CLONE.iter().chain(&SERVER) {
        let path = place(repository, hook);
        if fs::read_to_string(&path).is_ok_and(|text| text.contains(MARK)) {
            fs::remove_file(&path).map_err(Error::io(&path))?;
            removed.push(hook.name);
        }
    }
    Ok(removed)
}

fn place(repository: &Repository, hook: &Hook) -> PathBuf {
    repository.common_dir().join("hooks").join(hook.name)
}

fn put(hook: &Hook, path: &Path, program: &str) -> Result<Outcome, Error> {
    match fs::read(path) {
        Ok(there) if !contains(&there, MARK) => {
            let calls = calls_hlx(&there, hook);
            return Ok(if calls { Outcome::Installed } else { Outcome::Foreign(path.to_owned()) });
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Error::io(path)(error)),
        Ok(_) | Err(_) => {}
    }
    let script = hook.script.replace("exec hlx", &format!("exec {program}"));
    write_executable(path, &script).map_err(Error::io(path))?;
    Ok(Outcome::Installed)
}

fn contains(text: &[u8], words: &str) -> bool {
    text.windows(words.len()).any(|part| part == words.as_bytes())
}

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
    fn every_hook_is_one_line_with_the_mark() {
        for hook in CLONE.iter().chain(&SERVER) {
            let lines: Vec<&str> = hook.script.lines().collect();
            assert!(lines.len() == 3 && lines[1].contains(MARK), "{}", hook.name);
            assert_eq!(lines[2], format!("exec hlx hook {} \"$@\"", hook.name));
        }
    }

    #[test]
    fn a_hook_of_others_is_left_alone_and_ours_is_renewed() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("hooks/pre-push");
        assert_eq!(put(&CLONE[1], &path, "/old/hlx").unwrap(), Outcome::Installed);
        assert_eq!(put(&CLONE[1], &path, "/new/hlx").unwrap(), Outcome::Installed);
        assert!(fs::read_to_string(&path).unwrap().ends_with("exec /new/hlx hook pre-push \"$@\"\n"));
        fs::write(&path, "#!/bin/sh\nlint\n").unwrap();
        assert_eq!(put(&CLONE[1], &path, "/new/hlx").unwrap(), Outcome::Foreign(path.clone()));
        fs::write(&path, "#!/bin/sh\nlint && hlx hook pre-push \"$@\"\n").unwrap();
        assert_eq!(put(&CLONE[1], &path, "/new/hlx").unwrap(), Outcome::Installed);
        assert!(fs::read_to_string(&path).unwrap().contains("lint"));
    }
}
