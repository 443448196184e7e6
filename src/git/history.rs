//! What commits changed: the files that each has and none of its parents had.

use super::{Error, Git};

/// A commit with what it brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Its name.
    pub name: String,
    /// The commits that it stands on.
    pub parents: Vec<String>,
    /// The files that it has otherwise than each of its parents.
    pub changes: Vec<Change>,
}

/// One file of a commit that none of its parents has like this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its path.
    pub path: Vec<u8>,
    /// Its blob in the first parent, if it was a file there.
    pub old: Option<String>,
    /// Its blob, if it is a file now.
    pub new: Option<String>,
}

/// The commits that these words of `git rev-list` choose, oldest first, each with its changes.
pub fn commits(git: &Git, words: &[&str]) -> Result<Vec<Commit>, Error> {
    let list = git.text(&[&["rev-list", "--parents", "--reverse", "--topo-order"], words].concat())?;
    if list.is_empty() {
        return Ok(Vec::new());
    }
    let names: String =
        list.lines().filter_map(|line| line.split(' ').next()).map(|name| format!("{name}\n")).collect();
    let words =
        ["diff-tree", "--stdin", "-r", "-m", "--root", "-z", "--no-renames", "--no-abbrev", "--no-ext-diff"];
    let sets = parse(&git.feed(&words, names.as_bytes())?).ok_or(Error::Unexpected("diff-tree"))?;
    let mut sets = sets.into_iter().peekable();
    let commit = |line: &str| {
        let mut words = line.split(' ').map(str::to_owned);
        let name = words.next().unwrap_or_default();
        let parents: Vec<String> = words.collect();
        // git leaves out a parent from which nothing differs.
        let mut own = Vec::new();
        while let Some(set) = sets.next_if(|set| set.commit == name) {
            own.push(set.changes);
        }
        let changes = if own.len() < parents.len().max(1) { Vec::new() } else { common(own) };
        Commit { name, parents, changes }
    };
    Ok(list.lines().map(commit).collect())
}

/// The changes against each of the parents alike; what they were is told by the first.
fn common(sets: Vec<Vec<Change>>) -> Vec<Change> {
    let mut sets = sets.into_iter();
    let mut first = sets.next().unwrap_or_default();
    for set in sets {
        let paths: std::collections::HashSet<&[u8]> =
            set.iter().map(|change| change.path.as_slice()).collect();
        first.retain(|change| paths.contains(change.path.as_slice()));
    }
    first
}

/// What a commit changed against one of its parents.
#[derive(Debug)]
pub struct Set {
    commit: String,
    changes: Vec<Change>,
}

/// Reads what `git diff-tree --stdin -r -m -z` says: for each commit and parent the commit's name, and then
/// `:OLDMODE NEWMODE OLD NEW STATUS` and a path for each change.
pub fn parse(answer: &[u8]) -> Option<Vec<Set>> {
    let mut sets: Vec<Set> = Vec::new();
    let mut fields = answer.split(|byte| *byte == 0);
    while let Some(field) = fields.next().filter(|field| !field.is_empty()) {
        let text = std::str::from_utf8(field).ok()?;
        match text.strip_prefix(':') {
            None => sets.push(Set { commit: text.to_owned(), changes: Vec::new() }),
            Some(raw) => {
                let words: Vec<&str> = raw.split(' ').collect();
                let [old_mode, new_mode, old, new, _] = words[..] else { return None };
                let file = |mode: &str, name: &str| mode.starts_with("100").then(|| name.to_owned());
                let path = fields.next().filter(|path| !path.is_empty())?.to_vec();
                let change = Change { path, old: file(old_mode, old), new: file(new_mode, new) };
                sets.last_mut()?.changes.push(change);
            }
        }
    }
    Some(sets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_merge_has_only_what_neither_side_had() {
        let place = tempfile::tempdir().unwrap();
        let git = Git::at(place.path());
        let sh = |line: &str| {
            let done =
                std::process::Command::new("sh").args(["-euc", line]).current_dir(place.path()).status();
            assert!(done.unwrap().success(), "{line}");
        };
        sh("git init -q -b main; git config user.name t; git config user.email t@example.org
            echo 1 >base; ln -s base link; git add .; git commit -qm base
            git switch -qc side; echo s >side; git add .; git commit -qm side
            git switch -q main; printf 'm\\n' >'new
line'; git add .; git commit -qm main
            git merge -q --no-commit --no-ff side; echo evil >>base; git add .; git commit -qm merge");
        let all = commits(&git, &["HEAD"]).unwrap();
        let paths = |commit: &Commit| -> Vec<String> {
            commit.changes.iter().map(|change| String::from_utf8_lossy(&change.path).into_owned()).collect()
        };
        let changed: Vec<_> = all.iter().map(paths).collect();
        assert_eq!(changed.iter().map(Vec::len).sum::<usize>(), 5, "{changed:?}");
        assert_eq!(changed[0], ["base", "link"]);
        assert_eq!(changed[3], ["base"]);
        assert!(all[3].parents.len() == 2 && all[3].changes[0].old.is_some());
        assert_eq!(all[0].changes[1].new, None, "a link is no file");
        assert!(changed.contains(&vec!["new\nline".to_owned()]));
        assert_eq!(commits(&git, &["HEAD", "--not", "HEAD"]).unwrap(), []);
    }

    #[test]
    fn what_git_does_not_say_is_not_read() {
        for bad in
            [&b":100644 100644 a b M\0x\0"[..], b"c\0:100644\0x\0", b"c\0:1 2 3 4 5\0", b"c\0:1 2 3 4 5\0\0"]
        {
            assert!(parse(bad).is_none(), "{}", String::from_utf8_lossy(bad));
        }
        assert_eq!(parse(b"").map(|sets| sets.len()), Some(0));
    }
}
