//! Conflicts that were added as they stand.
//!
//! In a conflict a file is sealed whole, as its markers fit no format. git takes such a file like any other; a commit
//! of it would be of no use to anyone.

use crate::format::{Format, has_markers};
use crate::git::Repository;
use crate::keys::Keyring;
use crate::sops::{Sealed, is_sealed};

use super::Error;

/// The paths of the index, other than in HEAD, that are sealed whole for their markers alone.
pub fn added(repository: &Repository, keyring: &Keyring) -> Result<Vec<String>, Error> {
    let mut found = Vec::new();
    for (path, name) in super::status::protected(repository)? {
        if repository.head_blob(&path)?.as_ref() == Some(&name) || repository.attributes(&path)?.whole {
            continue;
        }
        let (blob, path) = (repository.blob_named(&name)?, String::from_utf8_lossy(&path).into_owned());
        let whole =
            is_sealed(&blob) && Sealed::parse(&blob).is_ok_and(|sealed| sealed.format() == Format::Binary);
        let has_store = Format::of_path(&path) != Format::Binary;
        if whole
            && has_store
            && keyring.open(&blob).is_ok_and(|opened| has_markers(opened.plaintext().expose()))
        {
            found.push(path);
        }
    }
    Ok(found)
}
