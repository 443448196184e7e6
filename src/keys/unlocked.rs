//! Private keys that a passphrase has opened for a time: the kernel keeps them, and no disk does.
//!
//! Each has the hash of the protected file in its name, so that a file that was changed or replaced is locked again.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::secret::SecretBytes;
use crate::sys::kernel_keys;

use super::protected::Protected;

const PREFIX: &str = "hlx:identity:";

fn name(protected: &Protected) -> String {
    format!("{PREFIX}{}", protected.name())
}

/// Keeps the content of a protected file for so long.
pub(super) fn keep(
    protected: &Protected,
    plain: &SecretBytes,
    time: Duration,
) -> Result<(), kernel_keys::Error> {
    let until = SystemTime::now() + time;
    let seconds = until.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    // keyrings(7): only /proc/keys tells a key's time, to a few digits. So it stands in front of the content.
    let mut content = SecretBytes::new(format!("{seconds}\n").into_bytes());
    content.expose_mut().extend(plain.expose());
    kernel_keys::keep(&name(protected), content.expose(), time)
}

/// What a protected file holds, if it is unlocked, and until when that is so.
pub(super) fn find(protected: &Protected) -> Option<(SecretBytes, SystemTime)> {
    let content = kernel_keys::find(&name(protected))?;
    let end = content.expose().iter().position(|byte| *byte == b'\n')?;
    let seconds = std::str::from_utf8(&content.expose()[..end]).ok()?.parse().ok()?;
    let plain = SecretBytes::new(content.expose()[end + 1..].to_vec());
    Some((plain, UNIX_EPOCH + Duration::from_secs(seconds)))
}

/// Locks all protected files again, and tells how many were unlocked.
pub fn forget() -> Result<usize, kernel_keys::Error> {
    kernel_keys::drop_all(|name| name.starts_with(PREFIX))
}
