//! A new version of a file in the place of the old: whole or not at all, and no copy left over.

use std::fs::{File, Metadata};
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags};

use super::disk;

/// How many files are best replaced together: each is held open meanwhile, and so may be the old one.
pub const TOGETHER: usize = 256;

/// A new version of a file, written, and not yet in its place.
///
/// Until it is complete it has no name, so that a crash leaves no second copy of what may be secret.
#[derive(Debug)]
pub struct Fresh {
    path: PathBuf,
    file: File,
    /// The name that it has in the meantime, and whether it has it yet.
    name: PathBuf,
    named: Named,
    old: Metadata,
}

/// Whether a new version has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named {
    Already,
    Not,
}

impl Fresh {
    /// Writes what shall replace a file, with that file's mode and owner.
    pub fn write(path: &Path, content: &[u8]) -> io::Result<Self> {
        let old = path.metadata()?;
        let directory = path.parent().unwrap_or(Path::new("/"));
        let name = directory.join(disk::fresh_name()?);
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        let (file, named) = match rustix::fs::open(directory, flags, Mode::from_raw_mode(0o600)) {
            Ok(file) => (File::from(file), Named::Not),
            // Not every file system has files without a name.
            Err(_) => (disk::create_private(&name)?, Named::Already),
        };
        let fresh = Self { path: path.to_owned(), file, name, named, old };
        fresh.fill(content)?;
        Ok(fresh)
    }

    fn fill(&self, content: &[u8]) -> io::Result<()> {
        (&self.file).write_all(content)?;
        let own = self.file.metadata()?;
        if (own.uid(), own.gid()) != (self.old.uid(), self.old.gid()) {
            // Only root can; for others the file is theirs from now on.
            let _ = fchown(&self.file, Some(self.old.uid()), Some(self.old.gid()));
        }
        self.file.set_permissions(self.old.permissions())
    }

    /// Whether the file that it shall replace is still the one that was there when it was written.
    pub fn is_current(&self) -> bool {
        let known = |metadata: &Metadata| {
            (metadata.dev(), metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec())
        };
        self.path.metadata().is_ok_and(|now| known(&now) == known(&self.old))
    }

    /// Puts it in its place. It must be on the disk by then ([`settle`]), or a power failure may leave nothing there.
    pub fn take_place(mut self) -> io::Result<()> {
        if self.named == Named::Not {
            name(&self.file, &self.name)?;
            self.named = Named::Already;
        }
        std::fs::rename(&self.name, &self.path)?;
        self.named = Named::Not;
        Ok(())
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        if self.named == Named::Already {
            let _ = std::fs::remove_file(&self.name);
        }
    }
}

impl AsRef<File> for Fresh {
    fn as_ref(&self) -> &File {
        &self.file
    }
}

/// Waits until what was written to these files is on the disk.
///
/// Many are waited for at once: one by one, some thousand small files take as many turns of the disk.
pub fn settle<'f>(files: impl IntoIterator<Item = &'f File>) -> io::Result<()> {
    const FEW: usize = 8;
    let files: Vec<&File> = files.into_iter().collect();
    if files.len() <= FEW {
        return files.into_iter().try_for_each(File::sync_all);
    }
    let mut systems = std::collections::HashSet::new();
    for file in files {
        if systems.insert(file.metadata()?.dev()) {
            rustix::fs::syncfs(file)?;
        }
    }
    Ok(())
}

/// Replaces the content of a file, and keeps its mode and owner.
pub fn content(path: &Path, content: &[u8]) -> io::Result<()> {
    let fresh = Fresh::write(path, content)?;
    settle([&fresh.file])?;
    fresh.take_place()
}

/// An old version whose content is to go with it, opened while it was in its place.
#[derive(Debug)]
pub struct Old(Option<File>);

impl Old {
    /// Opens the file. Under another name it is still wanted, and stays.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::options().write(true).open(path)?;
        let alone = file.metadata()?.nlink() == 1;
        Ok(Self(alone.then_some(file)))
    }
}

/// Overwrites old versions with zeros, as far as the file system does that in place.
pub fn wipe(old: &[Old]) -> io::Result<()> {
    let files = || old.iter().filter_map(|old| old.0.as_ref());
    for mut file in files() {
        let length = file.metadata()?.len();
        io::copy(&mut io::Read::take(io::repeat(0), length), &mut file)?;
    }
    settle(files())
}

/// Like [`content`], and overwrites what stood there before.
pub fn and_wipe(path: &Path, new: &[u8]) -> io::Result<()> {
    let old = Old::open(path)?;
    content(path, new)?;
    wipe(&[old])
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
    fn many_new_versions_are_settled_together_and_one_that_is_not_wanted_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let paths: Vec<_> = (0..20).map(|number| dir.path().join(number.to_string())).collect();
        paths.iter().for_each(|path| std::fs::write(path, "old").unwrap());
        let mut fresh: Vec<_> = paths.iter().map(|path| Fresh::write(path, b"new").unwrap()).collect();
        settle(fresh.iter().map(AsRef::as_ref)).unwrap();
        std::fs::write(&paths[19], "edited").unwrap();
        let last = fresh.pop().unwrap();
        assert!(fresh.iter().all(Fresh::is_current) && !last.is_current());
        drop(last);
        fresh.into_iter().try_for_each(Fresh::take_place).unwrap();
        let found: Vec<_> = paths.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
        assert!(found[..19].iter().all(|text| text == "new") && found[19] == "edited");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 20);
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
