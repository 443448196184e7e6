//! Setting a clone up: git's configuration for the filter, diff and merge.

use crate::git::Git;

use super::Error;

/// Writes the configuration that makes git call `program` for protected files.
pub fn configure(git: &Git, program: &str) -> Result<(), Error> {
    let program = shell_word(program);
    let entries = [
        ("filter.hlx.process", format!("{program} filter-process")),
        ("filter.hlx.clean", format!("{program} clean -- %f")),
        ("filter.hlx.smudge", format!("{program} smudge -- %f")),
        ("filter.hlx.required", "true".to_owned()),
        ("diff.hlx.textconv", format!("{program} textconv --")),
        // git would keep plaintext in a ref.
        ("diff.hlx.cachetextconv", "false".to_owned()),
        ("merge.hlx.name", "hlx: merge the plaintexts, encrypt the result".to_owned()),
        ("merge.hlx.driver", format!("{program} merge -- %O %A %B %L %P")),
    ];
    for (name, value) in &entries {
        git.run(&["config", "--local", "--replace-all", name, value])?;
    }
    Ok(())
}

/// A word that the shell, through which git runs these commands, takes as it is.
pub fn shell_word(word: &str) -> String {
    let safe = |character: char| character.is_ascii_alphanumeric() || "/._-+".contains(character);
    if word.chars().all(safe) { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_places_are_quoted_for_the_shell() {
        assert_eq!(shell_word("/usr/bin/hlx"), "/usr/bin/hlx");
        assert_eq!(shell_word("/home/o'k me/hlx"), "'/home/o'\\''k me/hlx'");
    }
}
