//! Randomness of the operating system.

use zeroize::{Zeroize as _, Zeroizing};

/// How much is asked for at once.
const PAGE: usize = 4096;

/// Fills the buffer.
pub fn fill(buffer: &mut [u8]) {
    getrandom::fill(buffer).expect("the operating system has randomness");
}

/// Randomness in store. A file of twenty values takes twenty IVs, and to ask the kernel for each
/// costs as much as to seal it. What was given out is wiped here.
pub struct Random {
    store: Zeroizing<Vec<u8>>,
    left: usize,
}

impl Default for Random {
    fn default() -> Self {
        Self { store: Zeroizing::new(vec![0; PAGE]), left: 0 }
    }
}

impl std::fmt::Debug for Random {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Random([secret])")
    }
}

impl Random {
    /// Fills the buffer.
    pub fn fill(&mut self, buffer: &mut [u8]) {
        if buffer.len() > self.left {
            if buffer.len() > PAGE {
                return fill(buffer);
            }
            fill(&mut self.store);
            self.left = PAGE;
        }
        let given = &mut self.store[self.left - buffer.len()..self.left];
        buffer.copy_from_slice(given);
        given.zeroize();
        self.left -= buffer.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn nothing_is_given_out_twice_or_kept() {
        let mut random = Random::default();
        let mut seen = HashSet::new();
        for length in [32, 31, 16, 8, 4000, PAGE, PAGE + 1].into_iter().cycle().take(700) {
            let mut buffer = vec![0; length];
            random.fill(&mut buffer);
            assert!(seen.insert(buffer), "given twice");
            assert!(random.store[random.left..].iter().all(|byte| *byte == 0));
        }
    }
}
