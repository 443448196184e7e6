//! The files of a commit, checked before any of them touches the disk.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use super::mirror::{self, Mirror, blob};

/// What a path of the tree is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A regular file that can be executed.
    Program,
    /// A symbolic link; its content is the target.
    Link,
}

/// One path of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// What git holds: ciphertext, where it is sealed.
    pub content: Vec<u8>,
}

impl Entry {
    /// The permissions it has in the project directory.
    pub fn mode(&self) -> u32 {
        if self.kind == Kind::Program { 0o755 } else { 0o644 }
    }
}

/// All files of a commit.
pub type Tree = BTreeMap<PathBuf, Entry>;

/// The most that the files of a commit may hold together, in bytes: they are in RAM during a deploy.
pub const MOST: u64 = 256 << 20;
/// The most that their list may take, in bytes: a few objects can list millions of files.
const MOST_LISTED: usize = 16 << 20;

/// Why a tree cannot be laid out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Git failed.
    #[error(transparent)]
    Git(#[from] mirror::Error),
    /// A path that could reach out of the project directory, or into git's own.
    #[error("the path {0:?} in the commit is not safe to write")]
    Path(PathBuf),
    /// A link that leads out of the project directory.
    #[error("the link {0:?} in the commit leads out of its directory")]
    Link(PathBuf),
    /// A submodule.
    #[error("{0:?} in the commit is a submodule, and those are not deployed")]
    Submodule(PathBuf),
    /// More than a deploy holds in memory.
    #[error("the commit's files take {} MiB, and a deploy holds no more than {} MiB of them in RAM", .0 >> 20, MOST >> 20)]
    Large(u64),
    /// A list of files that is too long to be read.
    #[error("the list of the commit's files takes more than {} MiB", MOST_LISTED >> 20)]
    Many,
    /// A kind of entry that git does not have today.
    #[error("{0:?} in the commit is neither a file nor a link")]
    Kind(PathBuf),
}

/// Reads the whole tree of a commit.
pub fn read(mirror: &Mirror<'_>, commit: &str) -> Result<Tree, Error> {
    let listing = mirror.some(&["ls-tree", "-r", "-z", "-l", "--full-tree", commit], MOST_LISTED)?;
    let listed = list(&listing.ok_or(Error::Many)?)?;
    let total = listed.iter().fold(0, |total: u64, (_, _, blob)| total.saturating_add(blob.size));
    if total > MOST {
        return Err(Error::Large(total));
    }
    let wanted: String = listed.iter().map(|(_, _, blob)| format!("{}\n", blob.id)).collect();
    let blobs = match wanted.is_empty() {
        true => None,
        false => Some(mirror.feed(&["cat-file", "--batch"], wanted.as_bytes())?),
    };
    let mut rest = blobs.as_ref().map_or(&[][..], |blobs| blobs.out.expose());
    let mut tree = Tree::new();
    for (path, kind, _) in listed {
        let content = blob(&mut rest).ok_or(mirror::Error::Answer("cat-file"))?.to_vec();
        if kind == Kind::Link && leads_out(&path, &content) {
            return Err(Error::Link(path));
        }
        tree.insert(path, Entry { kind, content });
    }
    match winding(&tree) {
        Some(path) => Err(Error::Link(path.clone())),
        None => Ok(tree),
    }
}

/// What git says of a file's content before it is read.
#[derive(Debug, PartialEq, Eq)]
struct Blob {
    id: String,
    /// In bytes.
    size: u64,
}

/// Path, kind and content of each entry of `ls-tree -z -l`.
fn list(listing: &[u8]) -> Result<Vec<(PathBuf, Kind, Blob)>, Error> {
    listing.split(|byte| *byte == 0).filter(|line| !line.is_empty()).map(entry).collect()
}

fn entry(line: &[u8]) -> Result<(PathBuf, Kind, Blob), Error> {
    let tab = line.iter().position(|byte| *byte == b'\t').ok_or(mirror::Error::Answer("ls-tree"))?;
    let path = PathBuf::from(OsStr::from_bytes(&line[tab + 1..]));
    let head = String::from_utf8_lossy(&line[..tab]).into_owned();
    let mut words = head.split(' ').filter(|word| !word.is_empty());
    let kind = match words.next() {
        Some("100644" | "100664") => Kind::File,
        Some("100755") => Kind::Program,
        Some("120000") => Kind::Link,
        Some("160000") => return Err(Error::Submodule(path)),
        _ => return Err(Error::Kind(path)),
    };
    if !is_safe(&path) {
        return Err(Error::Path(path));
    }
    let id = words.nth(1).ok_or(mirror::Error::Answer("ls-tree"))?.to_owned();
    let size = words.next().and_then(|size| size.parse().ok()).ok_or(mirror::Error::Answer("ls-tree"))?;
    Ok((path, kind, Blob { id, size }))
}

/// Only plain names, none of them git's.
fn is_safe(path: &Path) -> bool {
    let plain = |part: &[u8]| !matches!(part, b"" | b"." | b"..") && !part.eq_ignore_ascii_case(b".git");
    path.as_os_str().as_bytes().split(|byte| *byte == b'/').all(plain)
}

/// True for a link's target that is absolute or climbs above the top.
fn leads_out(link: &Path, target: &[u8]) -> bool {
    let mut depth = link.components().count() - 1;
    for part in Path::new(OsStr::from_bytes(target)).components() {
        match part {
            Component::CurDir => {}
            Component::Normal(_) => depth += 1,
            Component::ParentDir if depth > 0 => depth -= 1,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return true,
        }
    }
    target.is_empty() || target.contains(&0)
}

/// A link whose target passes through another one: `..` after that would lead elsewhere than
/// it seems to.
fn winding(tree: &Tree) -> Option<&PathBuf> {
    let is_link = |path: &Path| tree.get(path).is_some_and(|entry| entry.kind == Kind::Link);
    let winds = |(link, entry): &(&PathBuf, &Entry)| {
        let mut at = link.parent().unwrap_or(Path::new("")).to_owned();
        Path::new(OsStr::from_bytes(&entry.content)).components().any(|part| {
            let through = is_link(&at);
            match part {
                Component::ParentDir => drop(at.pop()),
                other => at.push(other),
            }
            through
        })
    };
    tree.iter().filter(|(_, entry)| entry.kind == Kind::Link).find(winds).map(|(path, _)| path)
}

/// Where a path of the tree ends up when the tree's own links are followed.
pub fn resolve(tree: &Tree, path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    for _ in 0..40 {
        let link = path.ancestors().filter(|part| !part.as_os_str().is_empty()).find_map(|part| {
            tree.get(part).filter(|entry| entry.kind == Kind::Link).map(|entry| (part.to_owned(), entry))
        });
        let Some((link, entry)) = link else { break };
        let rest = path.strip_prefix(&link).unwrap_or(Path::new("")).to_owned();
        let above = link.parent().unwrap_or(Path::new(""));
        path = flat(&above.join(OsStr::from_bytes(&entry.content)).join(rest));
    }
    path
}

/// A path without `.` and `..`.
pub fn flat(path: &Path) -> PathBuf {
    let mut flat = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(flat.pop()),
            Component::CurDir => {}
            other => flat.push(other),
        }
    }
    flat
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_through_another_link_is_refused() {
        let tree = |links: &[(&str, &str)]| -> Tree {
            let entry = |target: &str| Entry { kind: Kind::Link, content: target.into() };
            links.iter().map(|(path, target)| (PathBuf::from(path), entry(target))).collect()
        };
        let bad = tree(&[("x/y/z/l", "../../.."), ("m", "x/y/z/l/../../../etc/hostname")]);
        assert_eq!(winding(&bad), Some(&PathBuf::from("m")));
        assert_eq!(winding(&tree(&[("a", "d/f"), ("b", "a"), ("d/c", "../x/y")])), None);
    }

    #[test]
    fn entries_are_listed_with_any_name() {
        let listing =
            b"100644 blob aa       3\ta\nb\x00100755 blob bb 1234567\td/run\x00120000 blob cc       0\tl\x00";
        let wanted = [
            ("a\nb", Kind::File, "aa", 3),
            ("d/run", Kind::Program, "bb", 1_234_567),
            ("l", Kind::Link, "cc", 0),
        ];
        let entry = |(path, kind, id, size): (&str, Kind, &str, u64)| {
            (PathBuf::from(path), kind, Blob { id: id.to_owned(), size })
        };
        assert_eq!(list(listing).unwrap(), wanted.map(entry));
        assert!(list(b"100644 blob aa       -\ta\x00").is_err());
    }

    #[test]
    fn unsafe_entries_are_refused() {
        for path in ["../x", "/x", "a/../b", ".git/config", "a/.GIT/x", "a//b", "./a"] {
            let line = format!("100644 blob aa 1\t{path}\0");
            assert!(matches!(list(line.as_bytes()), Err(Error::Path(_))), "{path}");
        }
        assert!(matches!(list(b"160000 commit aa -\tsub\0"), Err(Error::Submodule(_))));
        assert!(matches!(list(b"040000 tree aa -\tsub\0"), Err(Error::Kind(_))));
    }

    #[test]
    fn links_stay_inside() {
        let table = [
            ("l", "a", false),
            ("d/l", "../a", false),
            ("l", "..", true),
            ("d/l", "../../a", true),
            ("l", "/etc", true),
            ("d/l", "x/../../../a", true),
            ("l", "", true),
        ];
        for (link, target, out) in table {
            assert_eq!(leads_out(Path::new(link), target.as_bytes()), out, "{link} -> {target}");
        }
    }

    #[test]
    fn blobs_are_cut_out_by_their_size() {
        let mut rest = &b"aa blob 3\na\nb\nbb blob 0\n\n"[..];
        assert_eq!(
            (blob(&mut rest), blob(&mut rest), blob(&mut rest)),
            (Some(&b"a\nb"[..]), Some(&b""[..]), None)
        );
    }

    #[test]
    fn the_trees_own_links_are_followed() {
        let link = |target: &str| Entry { kind: Kind::Link, content: target.into() };
        let tree =
            Tree::from([("d/l".into(), link("../s")), ("m".into(), link("d/l")), ("x".into(), link("x"))]);
        assert_eq!(resolve(&tree, Path::new("m/f")), Path::new("s/f"));
        assert_eq!(resolve(&tree, Path::new("d/f")), Path::new("d/f"));
        resolve(&tree, Path::new("x"));
    }
}
