//! Setting a clone up: git's configuration for the filter, diff and merge.

use std::path::Path;

use crate::git::Git;

use super::Error;

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
pub fn shell_word(word: &str) -> String {
    let safe = |character: char| character.is_ascii_alphanumeric() || "/._-+".contains(character);
    if word.chars().all(safe) { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use std::fs;

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
