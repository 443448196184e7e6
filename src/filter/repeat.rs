//! Sealing one change alike, however often git asks.
//!
//! git cleans a changed file more than once: `git commit FILE` adds it to two indexes, which must
//! agree afterwards, and `git stash -p` makes a patch of one cleaning that must fit the next, by
//! another process. So the time of the change is the file's own, and the IVs follow from the data
//! key, the path and that time. (`crypto::value` binds each to what it seals, so that no two
//! plaintexts share one.)

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::crypto::DataKey;

/// When the file in the work tree was written, if there is one that tells.
pub(super) fn written(tree: &Path, path: &[u8]) -> Option<SystemTime> {
    let found = fs::symlink_metadata(tree.join(std::ffi::OsStr::from_bytes(path))).ok()?;
    found.is_file().then(|| found.modified().ok()).flatten()
}

/// Bytes for IVs that are the same each time.
pub(super) struct Draws {
    seed: Hmac<Sha256>,
    drawn: u64,
}

impl Draws {
    /// For a version of a file: by its path, and when it was written.
    pub(super) fn of(key: &DataKey, path: &[u8], written: SystemTime) -> Self {
        let since = written.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let mut seed = Hmac::<Sha256>::new_from_slice(key.expose()).expect("HMAC takes keys of any length");
        seed.update(b"hlx: repeat\0");
        seed.update(&since.as_nanos().to_le_bytes());
        seed.update(path);
        Self { seed, drawn: 0 }
    }

    /// Fills the buffer.
    pub(super) fn fill(&mut self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(32) {
            self.drawn += 1;
            let block = self.seed.clone().chain_update(self.drawn.to_le_bytes()).finalize().into_bytes();
            chunk.copy_from_slice(&block[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_file_draws_the_same_and_any_other_does_not() {
        let draw = |key: u8, path: &[u8], nanos| {
            let key = DataKey::from_bytes(&[key; 32]).unwrap();
            let mut draws = Draws::of(&key, path, UNIX_EPOCH + Duration::from_nanos(nanos));
            let mut drawn = [[0; 40]; 2];
            drawn.iter_mut().for_each(|buffer| draws.fill(buffer));
            drawn
        };
        let one = draw(1, b"a", 5);
        assert_eq!(one, draw(1, b"a", 5));
        assert_ne!(one[0], one[1]);
        for other in [draw(2, b"a", 5), draw(1, b"b", 5), draw(1, b"a", 6)] {
            assert!(one[0] != other[0] && one[0][..32] != other[0][..32], "drawn twice");
        }
    }
}
