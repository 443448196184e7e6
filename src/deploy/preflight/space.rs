//! How much room a disk has.

use std::path::Path;

/// Below this nothing should be begun, in bytes.
const LEAST: u64 = 64 << 20;
/// Below this somebody should know, in bytes.
const LITTLE: u64 = 1 << 30;
/// Files that can still be made, below which nothing should be begun.
const FEWEST: u64 = 1000;

/// Whether there is room, with what to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Room {
    /// Plenty, or nobody knows.
    Enough,
    /// Not much.
    Little(String),
    /// None to speak of.
    None(String),
}

/// Looks at the disk that a path is or will be on.
pub fn look(path: &Path) -> Room {
    let there = path.ancestors().find(|above| above.exists()).unwrap_or(path);
    match rustix::fs::statvfs(there) {
        Ok(found) => judge(path, found.f_bavail * found.f_frsize, found.f_favail, found.f_files),
        Err(_) => Room::Enough,
    }
}

/// Some file systems count no files: those have none in all.
fn judge(path: &Path, bytes: u64, files: u64, all_files: u64) -> Room {
    let path = path.display();
    let left = bytes >> 20;
    match bytes {
        _ if all_files > 0 && files < FEWEST => {
            Room::None(format!("the disk of {path} has room for {files} more files only"))
        }
        0..LEAST => Room::None(format!("the disk of {path} is full: {left} MiB are left")),
        LEAST..LITTLE => Room::Little(format!("the disk of {path} is almost full: {left} MiB are left")),
        _ => Room::Enough,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_from_one_with_room() {
        let judge = |bytes, files, all| judge(Path::new("/d"), bytes, files, all);
        assert_eq!(judge(2 << 30, 5000, 9000), Room::Enough);
        assert_eq!(judge(2 << 30, 0, 0), Room::Enough);
        assert!(matches!(judge(100 << 20, 5000, 9000), Room::Little(_)));
        assert!(matches!(judge(1 << 20, 5000, 9000), Room::None(_)));
        assert!(matches!(judge(2 << 30, 3, 9000), Room::None(_)));
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(look(&dir.path().join("not/there/yet")), look(dir.path()));
    }
}
