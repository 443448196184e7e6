//! Sealing what a user made of a merge conflict: from the three sides in the index, so that no side's new reader or
//! data key is lost by it.

use crate::crypto::DataKey;
use crate::keys::{self, Keyring};
use crate::sops::{Opened, Sealed, Stamp, is_sealed};
use crate::trust::{File, Guard};

use super::united::{Error, United};

/// A path's blobs in the index while it is in conflict.
#[derive(Debug, Default)]
pub(super) struct Stages {
    /// The common ancestor.
    pub(super) base: Option<Vec<u8>>,
    /// Our side.
    pub(super) ours: Option<Vec<u8>>,
    /// The other side.
    pub(super) theirs: Option<Vec<u8>>,
}

impl Stages {
    /// Whether a side says how to seal.
    pub(super) fn is_sealed(&self) -> bool {
        [&self.ours, &self.theirs].into_iter().flatten().any(|blob| is_sealed(blob))
    }

    /// Seals the resolution, for which its name and attributes ask for a format.
    pub(super) fn seal(&self, guard: &Guard<'_>, file: File<'_>, stamp: Stamp<'_>) -> Result<Vec<u8>, Error> {
        let keyring = guard.keyring();
        let base = sealed(self.base.as_ref()).map(Sealed::parse).and_then(Result::ok);
        let base = base.and_then(|base| {
            let key = keyring.data_key(base.groups()).ok()?;
            Some((base, key))
        });
        let base = base.as_ref().map(|(base, key): &(Sealed<'_>, DataKey)| (base, key));
        let (ours, theirs) = (open(keyring, self.ours.as_ref())?, open(keyring, self.theirs.as_ref())?);
        let united = United::of(base, ours.as_ref(), theirs.as_ref())?.expect("a side is sealed");
        united.seal(guard, File { format: united.format(file.format), ..file }, stamp)
    }
}

fn sealed(blob: Option<&Vec<u8>>) -> Option<&[u8]> {
    blob.map(Vec::as_slice).filter(|blob| is_sealed(blob))
}

fn open<'t>(keyring: &Keyring, blob: Option<&'t Vec<u8>>) -> Result<Option<Opened<'t>>, keys::Error> {
    sealed(blob).map(|blob| keyring.open(blob)).transpose()
}
