//! What attributes a tree gives its own files, whatever the work tree and this clone say.

use std::cell::RefCell;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use gix::attrs::Search;
use gix::attrs::search::{MetadataCollection, Outcome};
use gix::bstr::BStr;
use gix::glob::pattern::Case;

use super::Attributes;
use super::branch::Entry;

/// The file that says them, in any folder.
const NAME: &[u8] = b".gitattributes";

/// The `.gitattributes` of a tree, read.
pub struct Protection {
    search: Search,
    found: RefCell<Outcome>,
}

impl std::fmt::Debug for Protection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Protection({} files)", self.search.num_pattern_lists())
    }
}

impl Protection {
    /// The files of a tree that say attributes, in the order in which they count: folders before
    /// what is in them.
    pub fn sources(files: &[Entry]) -> Vec<&Entry> {
        let says = |entry: &&Entry| {
            let name = entry.path.rsplit(|byte| *byte == b'/').next();
            name == Some(NAME) && entry.is_file()
        };
        let mut sources: Vec<_> = files.iter().filter(says).collect();
        sources.sort_by_key(|entry| entry.path.iter().filter(|byte| **byte == b'/').count());
        sources
    }

    /// Reads such files, given by path and content.
    pub fn read<'a>(sources: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> Self {
        let mut collection = MetadataCollection::default();
        let mut search =
            Search::new_globals(None::<PathBuf>, &mut Vec::new(), &mut collection).expect("it reads no file");
        for (path, content) in sources {
            // Only the one at the top may define macros.
            let macros = path == NAME;
            let path = PathBuf::from(std::ffi::OsStr::from_bytes(path));
            search
                .add_patterns_buffer(content, path, Some(Path::new("")), &mut collection, macros)
                .expect("every path is below the top");
        }
        let mut found = Outcome::default();
        found.initialize_with_selection(&collection, Attributes::NAMES);
        Self { search, found: RefCell::new(found) }
    }

    /// The attributes of a path.
    pub fn of(&self, path: &[u8]) -> Attributes {
        let mut found = self.found.borrow_mut();
        found.reset();
        self.search.pattern_matching_relative_path(BStr::new(path), Case::Sensitive, Some(false), &mut found);
        found.iter_selected().fold(Attributes::default(), Attributes::with)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::git::Git;

    /// git itself says what is right.
    #[test]
    fn attributes_are_those_that_git_finds() {
        let place = tempfile::tempdir().unwrap();
        let git = Git::at(place.path());
        git.run(&["init", "-q"]).unwrap();
        let sources = [
            (
                ".gitattributes",
                "[attr]sealed filter=hlx -text\n*.env sealed\n/a/b/*.key sealed\nbin binary\n*.txt ident\n",
            ),
            ("a-b/.gitattributes", "* filter=hlx\n[attr]mine filter=hlx\nx.no mine\n"),
            ("a/.gitattributes", "*.env -filter\n/b/x.pem filter=hlx text working-tree-encoding=UTF-16\n"),
            ("a/!/.gitattributes", "*.env filter=other hlx=binary\n"),
            ("a/b/.gitattributes", "*.env filter=hlx\n\"sp ace\" filter=hlx\n"),
        ];
        for (path, text) in sources {
            let path = place.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        git.run(&["add", "-A"]).unwrap();
        let files: Vec<Entry> = sources
            .iter()
            .map(|(path, _)| Entry {
                mode: "100644".into(),
                blob: String::new(),
                path: path.as_bytes().to_vec(),
            })
            .collect();
        let order: Vec<_> = Protection::sources(&files);
        let text = |entry: &&Entry| sources.iter().find(|(path, _)| path.as_bytes() == entry.path).unwrap().1;
        let read =
            Protection::read(order.iter().map(|entry| (entry.path.as_slice(), text(entry).as_bytes())));
        for path in [
            "x.env",
            "a/x.env",
            "a/b/x.env",
            "a/b/y.key",
            "a/c/y.key",
            "a-b/z",
            "a-b/x.no",
            "a/b/x.pem",
            "bin",
            "a/!/q.env",
            "a/b/sp ace",
            "t.txt",
            "deep/er/x.env",
            ".gitattributes",
        ] {
            let words = [&["check-attr", "--cached", "-z"], &Attributes::NAMES[..], &["--", path]].concat();
            let said = git.run(&words).unwrap();
            let fields: Vec<_> = said.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
            let expected =
                fields.chunks_exact(3).fold(Attributes::default(), |all, one| all.and(&one[1], &one[2]));
            assert_eq!(read.of(path.as_bytes()), expected, "{path}");
        }
    }
}
