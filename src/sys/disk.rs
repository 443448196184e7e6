//! Files under a directory that others may write to.
//!
//! A container can plant a link in a directory that it shares with the host. So nothing here
//! follows one: every name is resolved by the kernel beneath an open directory
//! (`openat2` with `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS`), and files appear by rename.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

const BENEATH: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// A name under which a file is written before it takes its place; no other file has it.
pub(super) fn fresh_name() -> io::Result<PathBuf> {
    let random = getrandom::u64().map_err(|error| io::Error::other(error.to_string()))?;
    Ok(format!(".hlx-{random:016x}~").into())
}

/// Whether a name was made by [`fresh_name`].
pub(super) fn is_fresh_name(name: &str) -> bool {
    let random = name.strip_prefix(".hlx-").and_then(|name| name.strip_suffix('~'));
    random.is_some_and(|random| random.len() == 16 && random.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// How often a lookup is repeated that raced with a rename (`EAGAIN` of `openat2`).
const RACES: usize = 64;

/// Whether writing changed anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It was there already, byte for byte.
    Kept,
    /// It is new or different.
    Written,
}

/// An open directory beneath which files are reached.
#[derive(Debug)]
pub struct Root {
    dir: OwnedFd,
}

impl Root {
    /// Opens the directory itself; a link to one is refused.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Self { dir: rustix::fs::open(path, flags, Mode::empty())? })
    }

    /// Opens what is at `path` beneath the directory, without following any link.
    pub fn at(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        for _ in 0..RACES {
            match rustix::fs::openat2(&self.dir, path, flags | OFlags::CLOEXEC, Mode::empty(), BENEATH) {
                Err(Errno::AGAIN) => {}
                other => return Ok(other?),
            }
        }
        Err(Errno::AGAIN.into())
    }

    /// Puts a regular file in its place, whole or not at all, and only if it differs.
    pub fn put_file(&self, path: &Path, content: &[u8], mode: u32) -> io::Result<Change> {
        let (dir, name) = self.parent(path)?;
        if holds(&dir, name, content, mode)? {
            return Ok(Change::Kept);
        }
        let fresh = fresh_name()?;
        let made = create(&dir, &fresh, content, mode).map(drop);
        settle(&dir, &fresh, made.and_then(|()| take_place(&dir, &fresh, name)))?;
        Ok(Change::Written)
    }

    /// Makes a directory, and those above it, unless there is something of that name.
    pub fn put_dir(&self, path: &Path) -> io::Result<()> {
        match self.at(path, OFlags::PATH | OFlags::NOFOLLOW) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.make_dirs(path).map(drop),
            other => other.map(drop),
        }
    }

    /// Puts a symbolic link in its place, only if it differs.
    pub fn put_link(&self, path: &Path, target: &[u8]) -> io::Result<Change> {
        let (dir, name) = self.parent(path)?;
        if rustix::fs::readlinkat(&dir, name, Vec::new()).is_ok_and(|now| now.as_bytes() == target) {
            return Ok(Change::Kept);
        }
        let fresh = fresh_name()?;
        let made = rustix::fs::symlinkat(target, &dir, &fresh).map_err(io::Error::from);
        settle(&dir, &fresh, made.and_then(|()| take_place(&dir, &fresh, name)))?;
        Ok(Change::Written)
    }

    /// Removes a file or link. The directories above it stay, as a container may have them mounted.
    pub fn remove(&self, path: &Path) -> io::Result<()> {
        let Some(name) = path.file_name() else { return Ok(()) };
        let parent = path.parent().unwrap_or(Path::new(""));
        let dir = match self.at(parent, OFlags::DIRECTORY | OFlags::RDONLY) {
            Err(error) if is_gone(&error) => return Ok(()),
            other => other?,
        };
        match rustix::fs::unlinkat(&dir, name, AtFlags::empty()) {
            // A directory has taken the file's place: not ours to remove.
            Ok(()) | Err(Errno::NOENT | Errno::ISDIR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Removes from one directory the files that a process was killed over while it made them.
    pub fn clear_fresh(&self, dir: &Path) -> io::Result<()> {
        let dir = match self.at(dir, OFlags::DIRECTORY | OFlags::RDONLY) {
            Err(error) if is_gone(&error) => return Ok(()),
            other => other?,
        };
        for entry in rustix::fs::Dir::read_from(&dir)? {
            let entry = entry?;
            if entry.file_name().to_str().is_ok_and(is_fresh_name) {
                match rustix::fs::unlinkat(&dir, entry.file_name(), AtFlags::empty()) {
                    // A directory of that name is none that was made here.
                    Ok(()) | Err(Errno::ISDIR | Errno::NOENT) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    /// Removes a directory and then those above it, up to the first that is not empty or is spared.
    pub fn prune(&self, path: &Path, is_spared: &dyn Fn(&Path) -> bool) {
        let Some(name) = path.file_name().filter(|_| !is_spared(path)) else { return };
        let parent = path.parent().unwrap_or(Path::new(""));
        let Ok(dir) = self.at(parent, OFlags::DIRECTORY | OFlags::RDONLY) else { return };
        if matches!(rustix::fs::unlinkat(&dir, name, AtFlags::REMOVEDIR), Ok(()) | Err(Errno::NOENT)) {
            self.prune(parent, is_spared);
        }
    }

    /// True if the directory is there and nothing is in it.
    pub fn is_empty(&self, path: &Path) -> bool {
        let Ok(dir) = self.at(path, OFlags::DIRECTORY | OFlags::RDONLY) else { return false };
        let Ok(entries) = rustix::fs::Dir::read_from(&dir) else { return false };
        let is_own = |name: &[u8]| matches!(name, b"." | b"..");
        entries.flatten().all(|entry| is_own(entry.file_name().to_bytes()))
    }

    /// What tells the directory from every other, whatever path leads to it.
    pub fn identity(&self, path: &Path) -> io::Result<(u64, u64)> {
        let stat = rustix::fs::fstat(self.at(path, OFlags::DIRECTORY | OFlags::RDONLY)?)?;
        Ok((stat.st_dev, stat.st_ino))
    }

    /// The directory that holds `path`, made where it is missing, and the last name.
    fn parent<'p>(&self, path: &'p Path) -> io::Result<(OwnedFd, &'p Path)> {
        let name = path.file_name().ok_or(Errno::INVAL)?;
        let dir = self.make_dirs(path.parent().unwrap_or(Path::new("")))?;
        Ok((dir, Path::new(name)))
    }

    fn make_dirs(&self, path: &Path) -> io::Result<OwnedFd> {
        let (mut at, mut dir) = (PathBuf::new(), self.at(&PathBuf::new(), OFlags::DIRECTORY)?);
        for name in path.components() {
            at.push(name);
            match rustix::fs::mkdirat(&dir, name.as_os_str(), Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            dir = self.at(&at, OFlags::DIRECTORY)?;
        }
        Ok(dir)
    }
}

fn is_gone(error: &io::Error) -> bool {
    let gone = [Errno::NOENT, Errno::NOTDIR, Errno::LOOP, Errno::XDEV].map(|errno| errno.raw_os_error());
    error.raw_os_error().is_some_and(|code| gone.contains(&code))
}

fn is_regular(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

fn holds(dir: impl AsFd, name: &Path, content: &[u8], mode: u32) -> io::Result<bool> {
    let stat = match rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(false),
        other => other?,
    };
    if !is_regular(&stat) || stat.st_mode & 0o7777 != mode || stat.st_size as usize != content.len() {
        return Ok(false);
    }
    // Should it have become a pipe since, this must not wait for a writer.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut found = Vec::with_capacity(content.len() + 1);
    let file = File::from(rustix::fs::openat(&dir, name, flags, Mode::empty())?);
    file.take(content.len() as u64 + 1).read_to_end(&mut found)?;
    Ok(found == content)
}

fn create(dir: impl AsFd, name: &Path, content: &[u8], mode: u32) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o600))?);
    file.write_all(content)?;
    rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
    Ok(file)
}

/// Leaves no fresh file behind where something failed.
fn settle(dir: impl AsFd, fresh: &Path, result: io::Result<()>) -> io::Result<()> {
    result.inspect_err(|_| rustix::fs::unlinkat(dir, fresh, AtFlags::empty()).unwrap_or_default())
}

/// Renames the fresh file to `name`. The Docker daemon makes an empty directory where a bind
/// mount's file is missing; such a one gives way.
fn take_place(dir: impl AsFd, fresh: &Path, name: &Path) -> io::Result<()> {
    match rustix::fs::renameat(&dir, fresh, &dir, name) {
        Err(Errno::ISDIR) => {
            rustix::fs::unlinkat(&dir, name, AtFlags::REMOVEDIR)?;
            Ok(rustix::fs::renameat(&dir, fresh, &dir, name)?)
        }
        other => Ok(other?),
    }
}

/// A new file that only its owner reads; fails if there is one.
pub(super) fn create_private(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    File::options().write(true).create_new(true).mode(0o600).open(path)
}

/// Makes a directory (and those above it) that only its owner enters.
pub fn private_dir(path: &Path) -> io::Result<()> {
    std::fs::create_dir_all(path)?;
    Ok(rustix::fs::chmod(path, Mode::from_raw_mode(0o700))?)
}

/// Writes a new file that only its owner reads, whole or not at all; fails if there is one.
pub fn private_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(format!(".{}~", std::process::id()));
    let mut file = create_private(Path::new(&fresh))?;
    let written =
        file.write_all(content).and_then(|()| if content.is_empty() { Ok(()) } else { file.sync_all() });
    // A link is made only where nothing is, unlike a rename.
    let placed = written.and_then(|()| std::fs::hard_link(&fresh, path));
    std::fs::remove_file(&fresh)?;
    placed
}

/// Overwrites a file with zeros and unlinks it.
pub fn shred(path: &Path) -> io::Result<()> {
    let file = std::fs::OpenOptions::new().write(true).open(path);
    if let Ok(mut file) = file {
        let length = file.metadata()?.len();
        io::copy(&mut io::repeat(0).take(length), &mut file)?;
    }
    std::fs::remove_file(path)
}

/// Shreds every file beneath `dir` and removes the directories, `dir` itself excepted.
pub fn shred_all(dir: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            shred_all(&entry.path())?;
            std::fs::remove_dir(entry.path())?;
        } else if entry.file_type()?.is_file() {
            shred(&entry.path())?;
        } else {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// A lock between processes, held until it is dropped.
#[derive(Debug)]
pub struct Lock(File);

impl Lock {
    /// Programs that are started meanwhile hold it too, until they end.
    pub fn share<T>(&self, run: impl FnOnce() -> T) -> io::Result<T> {
        use rustix::io::{FdFlags, fcntl_setfd};
        fcntl_setfd(&self.0, FdFlags::empty())?;
        let done = run();
        fcntl_setfd(&self.0, FdFlags::CLOEXEC)?;
        Ok(done)
    }
}

/// Takes the lock file at `path`, or says that another process holds it (`None`).
pub fn lock(path: &Path) -> io::Result<Option<Lock>> {
    let file = File::options().create(true).truncate(false).write(true).open(path)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(Lock(file))),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn root() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        (dir, root)
    }

    #[test]
    fn a_file_is_written_once_and_kept_when_nothing_changed() {
        let (dir, root) = root();
        let put = |text: &[u8], mode| root.put_file(Path::new("a/b\nc"), text, mode).unwrap();
        assert_eq!(put(b"one", 0o644), Change::Written);
        assert_eq!(put(b"one", 0o644), Change::Kept);
        assert_eq!(put(b"one", 0o755), Change::Written);
        assert_eq!(put(b"two", 0o755), Change::Written);
        let path = dir.path().join("a/b\nc");
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o755);
        assert_eq!(std::fs::read_dir(dir.path().join("a")).unwrap().count(), 1);
    }

    #[test]
    fn only_files_that_a_kill_left_are_cleared() {
        let (dir, root) = root();
        for name in ["d/.hlx-0123456789abcdef~", "d/.hlx-mine~", "d/kept"] {
            root.put_file(Path::new(name), b"x", 0o644).unwrap();
        }
        std::fs::create_dir(dir.path().join("d/.hlx-fedcba9876543210~")).unwrap();
        root.clear_fresh(Path::new("d")).unwrap();
        root.clear_fresh(Path::new("missing")).unwrap();
        assert_eq!(std::fs::read_dir(dir.path().join("d")).unwrap().count(), 3);
    }

    #[test]
    fn a_planted_link_is_never_followed() {
        let (dir, root) = root();
        let outside = tempfile::tempdir().unwrap();
        symlink(outside.path(), dir.path().join("data")).unwrap();
        assert!(root.put_file(Path::new("data/x"), b"x", 0o644).is_err());
        assert!(root.put_file(Path::new("data/deep/x"), b"x", 0o644).is_err());
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
        std::fs::write(outside.path().join("keep"), "").unwrap();
        root.remove(Path::new("data/keep")).unwrap();
        assert!(outside.path().join("keep").exists());
    }

    #[test]
    fn a_link_in_a_files_place_is_replaced_and_its_target_untouched() {
        let (dir, root) = root();
        let outside = tempfile::NamedTempFile::new().unwrap();
        symlink(outside.path(), dir.path().join("f")).unwrap();
        root.put_file(Path::new("f"), b"new", 0o644).unwrap();
        assert_eq!(std::fs::read(outside.path()).unwrap(), b"");
        assert!(dir.path().join("f").symlink_metadata().unwrap().is_file());
    }

    #[test]
    fn empty_directories_are_pruned_only_when_asked_and_up_to_what_is_spared() {
        let (dir, root) = root();
        root.put_file(Path::new("a/b/c/d"), b"", 0o644).unwrap();
        std::fs::write(dir.path().join("a/untracked"), "").unwrap();
        assert!(!root.is_empty(Path::new("a/b/c")) && !root.is_empty(Path::new("never/was")));
        root.remove(Path::new("a/b/c/d")).unwrap();
        root.remove(Path::new("never/was")).unwrap();
        assert!(root.is_empty(Path::new("a/b/c")));
        root.prune(Path::new("a/b/c"), &|path| path == Path::new("a/b"));
        assert!(!dir.path().join("a/b/c").exists() && root.is_empty(Path::new("a/b")));
        root.prune(Path::new("a/b/c"), &|_| false);
        assert!(!dir.path().join("a/b").exists());
        assert!(dir.path().join("a/untracked").exists());
    }

    #[test]
    fn an_empty_directory_in_a_files_place_gives_way_and_a_full_one_does_not() {
        let (dir, root) = root();
        std::fs::create_dir_all(dir.path().join("empty")).unwrap();
        std::fs::create_dir_all(dir.path().join("full/x")).unwrap();
        root.put_file(Path::new("empty"), b"1", 0o644).unwrap();
        assert!(root.put_file(Path::new("full"), b"1", 0o644).is_err());
        // And whatever failed leaves nothing; a file of the tree may have any name.
        root.put_file(Path::new(".hlx-new~"), b"1", 0o644).unwrap();
        root.put_file(Path::new("other"), b"2", 0o644).unwrap();
        assert_eq!(std::fs::read(dir.path().join(".hlx-new~")).unwrap(), b"1");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 4);
    }

    #[test]
    fn a_lock_is_held_by_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = lock(&path).unwrap().unwrap();
        assert!(lock(&path).unwrap().is_none());
        drop(held);
        assert!(lock(&path).unwrap().is_some());
    }

    #[test]
    fn shredding_leaves_an_empty_directory() {
        let (dir, root) = root();
        root.put_file(Path::new("a/b"), b"secret", 0o400).unwrap();
        root.put_link(Path::new("a/l"), b"b").unwrap();
        shred_all(dir.path()).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
