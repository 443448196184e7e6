//! Making a new identity.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use age::secrecy::ExposeSecret as _;
use zeroize::Zeroizing;

use crate::crypto::envelope::Recipient;

/// Makes an X25519 identity and writes it to a new file of mode 0600, in the form of `age-keygen`.
///
/// An existing file is never overwritten: that is an error of kind `AlreadyExists`.
pub fn to_file(path: &Path, now: &str) -> io::Result<Recipient> {
    if let Some(directory) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    let identity = age::x25519::Identity::generate();
    let public = identity.to_public().to_string();
    let content = Zeroizing::new(format!(
        "# created: {now}\n# public key: {public}\n{}\n",
        identity.to_string().expose_secret()
    ));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content.as_bytes()).and_then(|()| file.sync_all()).inspect_err(|_| {
        // A half-written key file would stand in the way of the next try.
        let _ = fs::remove_file(path);
    })?;
    Ok(public.parse().expect("a public key of age is a recipient"))
}
