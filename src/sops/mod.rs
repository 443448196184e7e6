//! Sealed files (placeholder interface).
use crate::secret::SecretBytes;

/// True if the bytes are a sealed (SOPS) file, in any store.
pub fn is_sealed(_bytes: &[u8]) -> bool {
    false
}

/// A sealed file, opened: only made after its MAC was checked.
#[derive(Debug)]
pub struct Opened {
    plaintext: SecretBytes,
    secrets: Vec<SecretBytes>,
}

impl Opened {
    /// The whole plaintext file.
    pub fn plaintext(&self) -> &SecretBytes {
        &self.plaintext
    }
    /// Each value (and comment) that was encrypted, for masking.
    pub fn secrets(&self) -> impl Iterator<Item = &[u8]> {
        self.secrets.iter().map(|s| s.expose().as_slice())
    }
}
