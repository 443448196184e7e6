//! Loose objects: a file each, compressed, as git writes what was just added.
//!
//! gix reads them too, but looks for each twice, maps it into memory, and makes a decompressor
//! anew. For a thousand small files that costs more than all else that the filter does.

use std::fs;
use std::path::PathBuf;

use gix::zlib::Inflate;

/// More than the longest head: `blob`, a blank, a size, a zero byte.
const HEAD: usize = 32;

/// The loose objects of a repository.
pub(super) struct Loose {
    directory: PathBuf,
    inflate: Inflate,
}

impl Loose {
    /// Those in a directory `objects`.
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { directory, inflate: Inflate::default() }
    }

    /// The content of a blob, by its name in hex; `None` if it is not here, or not in good order.
    pub(super) fn blob(&mut self, name: &str) -> Option<Vec<u8>> {
        let (directory, file) = name.split_at_checked(2)?;
        let compressed = fs::read(self.directory.join(directory).join(file)).ok()?;
        self.inflate.reset();
        let mut head = [0; HEAD];
        let (_, read, written) = self.inflate.prefix(&compressed, &mut head).ok()?;
        let end = head[..written].iter().position(|byte| *byte == 0)?;
        let size = std::str::from_utf8(&head[..end]).ok()?.strip_prefix("blob ")?.parse().ok()?;
        let mut content = Vec::new();
        let rest = &compressed[read..];
        let length = self.inflate.rest(rest, &head[..written], end + 1, &mut content, size).ok()?;
        (length == size).then_some(content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::Git;

    #[test]
    fn blobs_of_any_size_read_as_git_wrote_them_and_nothing_else_does() {
        let place = tempfile::tempdir().unwrap();
        let git = Git::at(place.path());
        git.run(&["init", "-q"]).unwrap();
        let store = |content: &[u8]| {
            let name = git.feed(&["hash-object", "-w", "--stdin"], content).unwrap();
            String::from_utf8(name).unwrap().trim().to_owned()
        };
        let mut loose = Loose::new(place.path().join(".git/objects"));
        for size in [0_usize, 1, 20, 23, 24, 25, 31, 32, 33, 4096, 300_000] {
            let content: Vec<u8> = (0..size).map(|n| (n * n / 7) as u8).collect();
            let name = store(&content);
            assert_eq!(loose.blob(&name), Some(content), "{size}");
        }
        let tree = git.text(&["write-tree"]).unwrap();
        assert_eq!(loose.blob(&tree), None);
        let name = store(b"cut short");
        let file = place.path().join(".git/objects").join(&name[..2]).join(&name[2..]);
        let whole = fs::read(&file).unwrap();
        fs::remove_file(&file).unwrap();
        fs::write(&file, &whole[..whole.len() / 2]).unwrap();
        assert_eq!((loose.blob(&name), loose.blob("0"), loose.blob("é")), (None, None, None));
    }
}
