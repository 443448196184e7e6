//! New trees and commits: what is to be in them is collected in memory, and git gets it as a pack.

use std::collections::BTreeMap;

use gix::objs::Kind;

use super::pack::Pack;
use super::{Error, Git, Repository};

/// One entry of one tree.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Item<'t> {
    /// In octal, as stored: `40000` for a tree.
    pub(super) mode: &'t str,
    pub(super) name: &'t [u8],
    /// The name of its object, in hex.
    pub(super) object: String,
    /// Where that name stands in the tree, in bytes.
    at: usize,
}

impl Item<'_> {
    pub(super) fn is_tree(&self) -> bool {
        self.mode == "40000"
    }
}

/// The entries of a tree, as stored: mode, blank, name, zero byte, the bytes of an object's name.
pub(super) fn items(tree: &[u8], hash: gix::hash::Kind) -> Result<Vec<Item<'_>>, Error> {
    let broken = || Error::Unexpected("a tree");
    let mut items = Vec::new();
    let mut start = 0;
    while start < tree.len() {
        let rest = &tree[start..];
        let end = rest.iter().position(|byte| *byte == 0).ok_or_else(broken)?;
        let blank = rest[..end].iter().position(|byte| *byte == b' ').ok_or_else(broken)?;
        let id = rest.get(end + 1..end + 1 + hash.len_in_bytes()).ok_or_else(broken)?;
        items.push(Item {
            mode: std::str::from_utf8(&rest[..blank]).map_err(|_| broken())?,
            name: &rest[blank + 1..end],
            object: id.iter().map(|byte| format!("{byte:02x}")).collect(),
            at: start + end + 1,
        });
        start += end + 1 + id.len();
    }
    Ok(items)
}

impl Repository {
    /// Adds a tree to a pack: the old one with other blobs at some paths, all of which it has. Gives its name.
    pub fn with_blobs(
        &self,
        pack: &mut Pack,
        tree: &str,
        blobs: &BTreeMap<Vec<u8>, String>,
    ) -> Result<String, Error> {
        let (_, mut data) = self.object(tree)?;
        let mut places = Vec::new();
        for item in items(&data, self.hash())? {
            let new = match item.is_tree() {
                false => blobs.get(item.name).cloned(),
                true => self.with_blobs_below(pack, &item, blobs)?,
            };
            places.extend(new.map(|new| (item.at, new)));
        }
        for (at, new) in places {
            let id =
                gix::ObjectId::from_hex(new.as_bytes()).map_err(|_| Error::Unexpected("an object name"))?;
            data[at..at + id.as_slice().len()].copy_from_slice(id.as_slice());
        }
        pack.add(Kind::Tree, &data)
    }

    fn with_blobs_below(
        &self,
        pack: &mut Pack,
        item: &Item<'_>,
        blobs: &BTreeMap<Vec<u8>, String>,
    ) -> Result<Option<String>, Error> {
        let above = [item.name, b"/"].concat();
        let inside = |(path, blob): (&Vec<u8>, &String)| {
            path.strip_prefix(&above[..]).map(|path| (path.to_vec(), blob.clone()))
        };
        let inside: BTreeMap<_, _> = blobs.iter().filter_map(inside).collect();
        match inside.is_empty() {
            true => Ok(None),
            false => self.with_blobs(pack, &item.object, &inside).map(Some),
        }
    }
}

/// Makes commits: who makes them was asked of git once, and whether they are signed.
#[derive(Debug)]
pub struct Author {
    author: String,
    committer: String,
    sign: Sign,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    Yes,
    No,
}

impl Author {
    /// Asks git. Fails, as `git commit` would, where git does not know the user's name.
    pub fn ask(git: &Git) -> Result<Self, Error> {
        let sign = git.text(&["config", "--type=bool", "--default=false", "commit.gpgSign"])? == "true";
        Ok(Self {
            author: git.text(&["var", "GIT_AUTHOR_IDENT"])?,
            committer: git.text(&["var", "GIT_COMMITTER_IDENT"])?,
            sign: if sign { Sign::Yes } else { Sign::No },
        })
    }

    /// Writes commits, and all that the pack holds. git itself makes those that are signed, one by one.
    pub fn commit(&self, git: &Git, pack: &mut Pack, drafts: &[Draft]) -> Result<Vec<String>, Error> {
        let signed = |draft: &Draft| {
            let Draft { tree, parent, message } = draft;
            git.text(&["commit-tree", tree, "-p", parent, "-S", "-m", message])
        };
        match self.sign {
            Sign::Yes => {
                pack.store(git)?;
                drafts.iter().map(signed).collect()
            }
            Sign::No => {
                let unsigned = |draft: &Draft| pack.add(Kind::Commit, self.text(draft).as_bytes());
                let names = drafts.iter().map(unsigned).collect::<Result<_, _>>()?;
                pack.store(git)?;
                Ok(names)
            }
        }
    }

    fn text(&self, draft: &Draft) -> String {
        let Draft { tree, parent, message } = draft;
        let Self { author, committer, .. } = self;
        format!("tree {tree}\nparent {parent}\nauthor {author}\ncommitter {committer}\n\n{message}\n")
    }
}

/// A commit to be made.
#[derive(Debug)]
pub struct Draft {
    /// Its tree.
    pub tree: String,
    /// The commit that it follows.
    pub parent: String,
    /// What it says.
    pub message: String,
}
