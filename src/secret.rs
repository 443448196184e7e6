//! A value that must not be shown, copied by accident, or left behind in memory.
//!
//! Everything decrypted lives in a [`Secret`]: its `Debug` prints no content, it has no
//! `Clone`, `Display` or `Serialize`, and its memory is wiped when it is dropped. Reading
//! it takes [`Secret::expose`], so a search for `expose` lists every use.

use std::fmt;

use zeroize::{Zeroize, Zeroizing};

/// A value that is wiped when dropped and whose `Debug` prints no content.
///
/// The value is boxed, so that moving the secret moves a pointer and leaves no copy.
pub struct Secret<T: Zeroize>(Box<Zeroizing<T>>);

/// Decrypted bytes.
pub type SecretBytes = Secret<Vec<u8>>;

impl<T: Zeroize> Secret<T> {
    /// Takes the value into keeping.
    pub fn new(value: T) -> Self {
        Self(Box::new(Zeroizing::new(value)))
    }

    /// The value itself. What borrows it must not outlive the need.
    pub fn expose(&self) -> &T {
        &self.0
    }

    /// The value itself, to fill or change in place.
    pub fn expose_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl Secret<Vec<u8>> {
    /// A copy that is a secret too.
    pub fn duplicate(&self) -> Self {
        Self::new(self.expose().clone())
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// How deep the work with a key goes down the stack, with room to spare.
const DEEP: usize = 64 << 10;

/// Overwrites the stack below the caller, where calls that have returned may have left copies of keys: what
/// cryptographic code keeps in local variables and spilled registers is not its own to wipe.
#[inline(never)]
pub fn scrub_stack() {
    let mut below = [0u8; DEEP];
    std::hint::black_box(&mut below);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing_of_the_content() {
        let secret = Secret::new(b"hunter2".to_vec());
        assert_eq!(format!("{secret:?}"), "[secret]");
        assert_eq!(secret.expose(), b"hunter2");
    }
}
