//! File systems that live in RAM and are never written to a swap device.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags};

const SAFE: MountFlags = MountFlags::NODEV.union(MountFlags::NOSUID).union(MountFlags::NOEXEC);

/// The numbers by which `statfs` names tmpfs and ramfs.
const MAGIC: [u64; 2] = [0x0102_1994, 0x8584_58f6];

/// The kinds of RAM file system that serve, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// tmpfs with `noswap`, which needs Linux 6.4.
    NoSwap,
    /// ramfs, which never swaps but knows no limit.
    Ramfs,
    /// Plain tmpfs, where no swap is on.
    Plain,
}

/// All of them, in the order in which they are tried.
pub const KINDS: [Kind; 3] = [Kind::NoSwap, Kind::Ramfs, Kind::Plain];

/// Mounts a RAM file system on a directory, closed to everyone but its owner.
///
/// `limit` is in bytes; half of the memory if there is none.
pub fn mount(at: &Path, limit: Option<u64>) -> io::Result<()> {
    mount_one_of(&KINDS, at, limit).map(drop)
}

/// Mounts the first of these kinds that this kernel has, and says which.
pub fn mount_one_of(kinds: &[Kind], at: &Path, limit: Option<u64>) -> io::Result<Kind> {
    let mut last = io::Error::other("no RAM file system here keeps out of swap");
    for kind in kinds {
        match mount_kind(*kind, at, limit) {
            Ok(()) => return Ok(*kind),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn mount_kind(kind: Kind, at: &Path, limit: Option<u64>) -> io::Result<()> {
    use rustix::mount::mount;
    let size = limit.map(|bytes| format!(",size={bytes}")).unwrap_or_default();
    let options =
        |first: &str| CString::new(format!("{first}mode=0700{size}")).expect("it holds no zero byte");
    match kind {
        Kind::NoSwap => Ok(mount("hlx", at, "tmpfs", SAFE, Some(&*options("noswap,")))?),
        Kind::Ramfs => Ok(mount("hlx", at, "ramfs", SAFE, Some(c"mode=0700"))?),
        Kind::Plain if swap_is_on()? => Err(io::Error::other("no RAM file system here keeps out of swap")),
        Kind::Plain => Ok(mount("hlx", at, "tmpfs", SAFE, Some(&*options("")))?),
    }
}

/// The kind that [`mount`] would use here; it is tried, in a directory that is gone afterwards.
pub fn kind_here() -> io::Result<Kind> {
    let dir = private_directory(Path::new("/run"))?;
    let kind = mount_one_of(&KINDS, &dir, Some(4096));
    if kind.is_ok() {
        unmount(&dir)?;
    }
    std::fs::remove_dir(&dir)?;
    kind
}

/// True if a RAM file system is mounted right at `path`.
pub fn is_mounted(path: &Path) -> io::Result<bool> {
    let (Some(above), Ok(here)) = (path.parent(), path.symlink_metadata()) else { return Ok(false) };
    let root = here.is_dir() && here.dev() != above.metadata()?.dev();
    Ok(root && MAGIC.contains(&(rustix::fs::statfs(path)?.f_type as u64)))
}

/// True if a directory lies in a RAM file system, mounted anywhere above it.
pub fn holds(path: &Path) -> bool {
    path.is_dir() && rustix::fs::statfs(path).is_ok_and(|found| MAGIC.contains(&(found.f_type as u64)))
}

/// Makes a directory below `place` that only its owner enters.
pub fn private_directory(place: &Path) -> io::Result<PathBuf> {
    let random = getrandom::u64().map_err(|error| io::Error::other(error.to_string()))?;
    let path = place.join(format!("hlx-{random:016x}"));
    std::fs::DirBuilder::new().mode(0o700).create(&path)?;
    Ok(path)
}

/// True if what is mounted at `path` may be swapped out to a device that is on.
pub fn may_swap(path: &Path) -> io::Result<bool> {
    let mounts = std::fs::read("/proc/self/mountinfo")?;
    let safe = options(&mounts, path).is_some_and(|(kind, options)| {
        kind == "ramfs" || options.split(',').any(|option| option == "noswap")
    });
    Ok(!safe && swap_is_on()?)
}

/// Takes a file system away; what still has files of it open keeps them.
pub fn unmount(at: &Path) -> io::Result<()> {
    Ok(rustix::mount::unmount(at, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)?)
}

fn swap_is_on() -> io::Result<bool> {
    match std::fs::read_to_string("/proc/swaps") {
        Ok(text) => Ok(text.lines().count() > 1),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Type and super block options of the topmost mount at `path`, from a `mountinfo` table.
fn options(mountinfo: &[u8], path: &Path) -> Option<(String, String)> {
    let text = String::from_utf8_lossy(mountinfo);
    let wanted = escaped(path);
    let line = text.lines().rfind(|line| line.split(' ').nth(4) == Some(&wanted))?;
    let mut end = line.split_once(" - ")?.1.split(' ');
    Some((end.next()?.to_owned(), end.nth(1)?.to_owned()))
}

/// A path as `mountinfo` spells it: space, tab, newline and backslash in octal.
fn escaped(path: &Path) -> String {
    let octal = |byte: &u8| match byte {
        b' ' | b'\t' | b'\n' | b'\\' => format!("\\{byte:03o}").into_bytes(),
        other => vec![*other],
    };
    let bytes: Vec<u8> = path.as_os_str().as_bytes().iter().flat_map(octal).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_topmost_mount_at_a_path_is_read_from_mountinfo() {
        let table = b"1 0 0:1 / /run/a\\040b rw - ext4 /dev/x rw\n\
                      2 0 0:2 / /run/a\\040b rw,nosuid - tmpfs hlx rw,mode=700,noswap\n\
                      3 0 0:3 / /run rw - tmpfs tmpfs rw\n";
        let found = options(table, Path::new("/run/a b")).unwrap();
        assert_eq!(found, ("tmpfs".to_owned(), "rw,mode=700,noswap".to_owned()));
        assert_eq!(options(table, Path::new("/run/a")), None);
    }

    #[test]
    fn every_kind_of_the_chain_serves() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        for (first, kind) in KINDS.into_iter().enumerate() {
            let dir = tempfile::tempdir().unwrap();
            let mounted = mount_one_of(&KINDS[first..], dir.path(), Some(1 << 20));
            if mounted.as_ref().ok() != Some(&kind) {
                // This kernel lacks it, or swap is on: then the next one of the chain took over, or none may.
                assert!(kind == Kind::Plain || mounted.is_ok(), "{kind:?}: {mounted:?}");
            }
            if mounted.is_ok() {
                assert!(is_mounted(dir.path()).unwrap() && !may_swap(dir.path()).unwrap(), "{kind:?}");
                std::fs::write(dir.path().join("f"), "x").unwrap();
                unmount(dir.path()).unwrap();
            }
            assert!(!dir.path().join("f").exists());
        }
        let dir = tempfile::tempdir().unwrap();
        assert!(mount_one_of(&[], dir.path(), None).is_err());
        assert_eq!(kind_here().unwrap(), mount_one_of(&KINDS, dir.path(), None).unwrap());
        unmount(dir.path()).unwrap();
    }

    #[test]
    fn an_ordinary_directory_is_no_ram_mount() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!is_mounted(dir.path()).unwrap());
        assert!(!is_mounted(&dir.path().join("missing")).unwrap());
    }
}
