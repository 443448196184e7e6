//! A new version of a file in the place of the old: whole or not at all, and no copy left over.

use std::fs::{File, Metadata};
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, fchown};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags};

use super::disk;

/// Replaces the content of a file, and keeps its mode and owner.
///
/// Until it is complete the new version has no name, so that a crash leaves no second copy of what may be secret.
pub fn content(path: &Path, content: &[u8]) -> io::Result<()> {
    let old = path.metadata()?;
    let directory = path.parent().unwrap_or(Path::new("/"));
    let fresh = directory.join(disk::fresh_name()?);
    let named = write(directory, &fresh, content, &old)?;
    let placed = match named {
        Named::Already => Ok(()),
        Named::Not(file) => name(&file, &fresh),
    };
    placed.and_then(|()| std::fs::rename(&fresh, path)).inspect_err(|_| drop(std::fs::remove_file(&fresh)))
}

/// Makes a file of mode 0600, whole or not at all. What is there already stays, and is an error of kind `AlreadyExists`.
pub fn create(path: &Path, content: &[u8]) -> io::Result<()> {
    let directory = path.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    match rustix::fs::open(directory, flags, Mode::from_raw_mode(0o600)) {
        Ok(file) => {
            let mut file = File::from(file);
            file.write_all(content).and_then(|()| file.sync_all())?;
            name(&file, path)?;
        }
        // Not every file system has files without a name.
        Err(_) => disk::private_file(path, content)?,
    }
    File::open(directory)?.sync_all()
}

/// Like [`content`], and overwrites what stood there before with zeros, as far as the file system does that in place.
pub fn and_wipe(path: &Path, new: &[u8]) -> io::Result<()> {
    let old = File::options().write(true).open(path)?;
    let before = old.metadata()?;
    content(path, new)?;
    // Under another name the old version is still wanted.
    if before.nlink() == 1 {
        wipe(old, before.len())?;
    }
    Ok(())
}

/// Shreds the new versions that a process left in a directory which was killed before they took their place.
pub fn sweep(directory: &Path) -> io::Result<()> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(disk::is_fresh_name) && entry.file_type()?.is_file() {
            disk::shred(&entry.path())?;
        }
    }
    Ok(())
}

fn wipe(mut file: File, length: u64) -> io::Result<()> {
    io::copy(&mut io::Read::take(io::repeat(0), length), &mut file)?;
    file.sync_data()
}

/// Whether a new version has a name yet.
enum Named {
    Already,
    Not(File),
}

fn write(directory: &Path, fresh: &Path, content: &[u8], like: &Metadata) -> io::Result<Named> {
    let private = Mode::from_raw_mode(0o600);
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    match rustix::fs::open(directory, flags, private) {
        Ok(file) => {
            let file = File::from(file);
            fill(&file, content, like)?;
            Ok(Named::Not(file))
        }
        // Not every file system has files without a name.
        Err(_) => {
            let file = disk::create_private(fresh)?;
            fill(&file, content, like).inspect_err(|_| drop(std::fs::remove_file(fresh)))?;
            Ok(Named::Already)
        }
    }
}

fn fill(mut file: &File, content: &[u8], like: &Metadata) -> io::Result<()> {
    file.write_all(content)?;
    let own = file.metadata()?;
    if (own.uid(), own.gid()) != (like.uid(), like.gid()) {
        // Only root can; for others the file is theirs from now on.
        let _ = fchown(file, Some(like.uid()), Some(like.gid()));
    }
    file.set_permissions(like.permissions())?;
    file.sync_all()
}

fn name(file: &File, path: &Path) -> io::Result<()> {
    let open = format!("/proc/self/fd/{}", file.as_raw_fd());
    let here = rustix::fs::CWD;
    Ok(rustix::fs::linkat(here, open, here, path, AtFlags::SYMLINK_FOLLOW)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_new_version_takes_the_place_and_the_mode_and_nothing_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, "old").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        content(&path, b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(content(&dir.path().join("missing"), b"x").is_err());
    }

    #[test]
    fn a_new_file_is_private_and_takes_no_place_of_another() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        create(&path, b"key").unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(create(&path, b"other").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&path).unwrap(), b"key");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_a_killed_process_left_is_swept_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let left = dir.path().join(disk::fresh_name().unwrap());
        let others = [".hlx-x~", ".hlx-0123456789abcdef", "f~"].map(|name| dir.path().join(name));
        std::fs::write(&left, "secret").unwrap();
        others.iter().for_each(|path| std::fs::write(path, "mine").unwrap());
        sweep(dir.path()).unwrap();
        assert!(!left.exists() && others.iter().all(|path| path.exists()));
        sweep(&dir.path().join("missing")).unwrap();
    }

    #[test]
    fn the_old_version_is_overwritten_unless_it_has_another_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, "secret").unwrap();
        let mut old = File::open(&path).unwrap();
        and_wipe(&path, b"sealed").unwrap();
        let mut left = Vec::new();
        io::Read::read_to_end(&mut old, &mut left).unwrap();
        assert_eq!(left, [0; 6]);
        std::fs::hard_link(&path, dir.path().join("g")).unwrap();
        and_wipe(&path, b"again").unwrap();
        assert_eq!(std::fs::read(dir.path().join("g")).unwrap(), b"sealed");
    }
}
