//! Secrets that the kernel keeps for a user: in memory that is never swapped, for a time, and on no disk.
//!
//! They hang on the user keyring (`@u` of keyrings(7)) and not on a session's: a terminal, an editor and what a desktop
//! started have sessions of their own, and each of them may run git. A process that no login made (cron, a container, a
//! bare root shell) has no session that leads to `@u`, so that each process hangs it on its own process keyring first:
//! only who possesses a key may read it.

use std::time::Duration;

use linux_keyutils::{Key, KeyError, KeyRing, KeyRingIdentifier};

use crate::secret::SecretBytes;

/// Why the kernel keeps nothing here.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It has no keyrings, or does not let this process use them (as in a container).
    #[error("the kernel lets this process keep no keys ({0})")]
    Unavailable(KeyError),
    /// The user has too many or too large keys there already.
    #[error("the kernel's quota for keys of this user is full (see /proc/key-users)")]
    Full,
}

impl From<KeyError> for Error {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::QuotaExceeded => Self::Full,
            other => Self::Unavailable(other),
        }
    }
}

/// The most that the kernel takes for one key, in bytes.
const MOST: usize = 32_767;

/// The keyring of the user, and that of the process, which leads to it.
struct Rings {
    user: KeyRing,
    process: KeyRing,
}

fn rings() -> Result<Rings, KeyError> {
    let process = KeyRing::from_special_id(KeyRingIdentifier::Process, true)?;
    process.link_keyring_id(KeyRingIdentifier::User)?;
    Ok(Rings { user: KeyRing::from_special_id(KeyRingIdentifier::User, false)?, process })
}

/// Lets the kernel keep a secret under a name for so long, in the place of what it had there.
pub fn keep(name: &str, secret: &[u8], time: Duration) -> Result<(), Error> {
    let key = rings()?.user.add_key(name, secret)?;
    let seconds = usize::try_from(time.as_secs().max(1)).unwrap_or(usize::MAX);
    // A key that stays for ever was not asked for.
    key.set_timeout(seconds).inspect_err(|_| _ = key.invalidate())?;
    Ok(())
}

/// What the kernel keeps under a name; `None` if that is nothing, or it keeps nothing at all.
pub fn find(name: &str) -> Option<SecretBytes> {
    let key = rings().ok()?.process.search(name).ok()?;
    let mut content = SecretBytes::new(vec![0; MOST]);
    let length = key.read(content.expose_mut()).ok()?;
    content.expose_mut().truncate(length);
    Some(content)
}

/// Drops the secrets that have such a name, and tells how many.
pub fn drop_all(has: impl Fn(&str) -> bool) -> Result<usize, Error> {
    let rings = rings()?;
    // What the kernel's quota allows a user at most, and root by far.
    let links = rings.user.get_links(1 << 16)?;
    let named = |key: &Key| key.metadata().is_ok_and(|about| has(about.get_description()));
    let keys: Vec<Key> = links.iter().filter_map(|link| link.as_key()).filter(named).collect();
    for key in &keys {
        // It is gone at once for all who look for it, and wiped when the last who reads it is done.
        key.invalidate()?;
    }
    Ok(keys.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_found_until_its_time_is_up_or_it_is_dropped() {
        let name = |which: &str| format!("hlx-test:{}:{which}", std::process::id());
        let [short, long] = ["short", "long"].map(name);
        if let Err(error) = keep(&short, b"s", Duration::from_secs(1)) {
            assert!(std::env::var_os("CI").is_none(), "{error}");
            eprintln!("SKIPPED: {error}");
            return;
        }
        keep(&long, b"old", Duration::from_secs(60)).unwrap();
        keep(&long, &vec![7; MOST / 2], Duration::from_secs(60)).unwrap();
        assert_eq!(find(&short).unwrap().expose(), b"s");
        assert_eq!(*find(&long).unwrap().expose(), vec![7; MOST / 2]);
        assert!(find(&name("other")).is_none());
        std::thread::sleep(Duration::from_millis(1200));
        assert!(find(&short).is_none());
        assert_eq!(drop_all(|found| found == long).unwrap(), 1);
        assert!(find(&long).is_none());
    }
}
