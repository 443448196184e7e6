//! Sealing one change alike, however often git asks.
//!
//! git cleans a changed file more than once: `git commit FILE` adds it to two indexes, which must
//! agree afterwards, and `git stash -p` makes a patch of one cleaning that must fit the next, by
//! another process. So the time of the change is the file's own, and the IVs follow from the data
//! key, the path, that time and what they seal.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sha2::{Digest as _, Sha256};

/// When the file in the work tree was written, if there is one that tells.
pub(super) fn written(tree: &Path, path: &[u8]) -> Option<SystemTime> {
    let found = fs::symlink_metadata(tree.join(std::ffi::OsStr::from_bytes(path))).ok()?;
    found.is_file().then(|| found.modified().ok()).flatten()
}

/// What the IVs of a version of a file are drawn from: the same each time, and no secret.
///
/// For IVs alone, never for keys. They come from it by a keyed hash ([`crate::crypto::value`]).
pub(super) struct Draws {
    seed: [u8; 32],
    drawn: u64,
}

impl Draws {
    /// For a version of a file: by its path, and when it was written.
    pub(super) fn of(path: &[u8], written: SystemTime) -> Self {
        let since = written.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let seed = Sha256::new_with_prefix(since.as_nanos().to_le_bytes()).chain_update(path);
        Self { seed: seed.finalize().into(), drawn: 0 }
    }

    /// Fills the buffer, which is an IV's.
    pub(super) fn fill(&mut self, buffer: &mut [u8]) {
        self.drawn += 1;
        let number = self.drawn.to_le_bytes().into_iter().chain(std::iter::repeat(0));
        let drawn = self.seed.iter().cycle().zip(number);
        buffer.iter_mut().zip(drawn).for_each(|(byte, (seed, number))| *byte = seed ^ number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_file_draws_the_same_and_any_other_does_not() {
        let draw = |path: &[u8], nanos| {
            let mut draws = Draws::of(path, UNIX_EPOCH + Duration::from_nanos(nanos));
            let mut drawn = [[0; 32]; 2];
            drawn.iter_mut().for_each(|buffer| draws.fill(buffer));
            drawn
        };
        let one = draw(b"a", 5);
        assert_eq!(one, draw(b"a", 5));
        assert_ne!(one[0], one[1]);
        for other in [draw(b"b", 5), draw(b"a", 6)] {
            assert!(one[0] != other[0], "drawn twice");
        }
    }
}
