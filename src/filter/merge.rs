//! The merge driver: the three sides are opened, merged as plaintext, and sealed again.
//!
//! git hands over three files of ciphertext and takes the result in the place of ours. A merge
//! with conflicts shows as plaintext with markers in the work tree; as the markers fit no
//! format, the result is then sealed as a whole file.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::process::{Command, Stdio};

use rustix::fs::{MemfdFlags, memfd_create};

use crate::format::Format;
use crate::keys::{self, Keyring};
use crate::secret::SecretBytes;
use crate::sops::{self, Basis, Opened, Stamp, is_sealed};

/// Why a merge could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A side cannot be opened.
    #[error("the side `{side}` cannot be opened: {source}")]
    Side {
        /// base, ours or theirs.
        side: &'static str,
        /// Why.
        source: keys::Error,
    },
    /// The merged file cannot be sealed.
    #[error("the merged file cannot be encrypted: {0}")]
    Seal(#[from] sops::Error),
    /// A file in memory, or git's merge, failed.
    #[error("cannot merge: {0}")]
    Io(#[from] std::io::Error),
    /// Our side is not encrypted, so nothing says for whom to seal the result.
    #[error("our side is not encrypted")]
    ClearSide,
}

/// The three sides as git hands them over.
#[derive(Debug)]
pub struct Sides {
    /// The common ancestor; empty if there is none.
    pub base: Vec<u8>,
    /// Our side.
    pub ours: Vec<u8>,
    /// The other side.
    pub theirs: Vec<u8>,
}

/// How to write conflicts.
#[derive(Debug)]
pub struct Markers {
    /// The length of the markers.
    pub size: usize,
    /// The names of base, ours and theirs.
    pub labels: [String; 3],
}

/// A merged file, sealed.
#[derive(Debug)]
pub enum Merged {
    /// Without conflicts.
    Clean(Vec<u8>),
    /// With conflict markers in its plaintext.
    Conflicts(Vec<u8>),
}

/// Merges three sides of a path, for which its name and attributes ask for a format.
pub fn merge(
    keyring: &Keyring,
    asked: Format,
    sides: &Sides,
    markers: &Markers,
    stamp: Stamp<'_>,
) -> Result<Merged, Error> {
    let ours = open(keyring, "ours", &sides.ours)?.ok_or(Error::ClearSide)?;
    let theirs = plain(keyring, "theirs", &sides.theirs)?;
    let base = plain(keyring, "base", &sides.base)?;
    let (merged, conflicts) = merge_plain(ours.plaintext(), &base, &theirs, markers)?;
    let basis = Basis::Again(&ours);
    let format = match (asked, ours.sealed().format()) {
        (Format::Binary, _) | (_, Format::Binary) => asked,
        (_, kept) => kept,
    };
    if conflicts {
        return Ok(Merged::Conflicts(sops::seal(merged.expose(), Format::Binary, &basis, stamp)?));
    }
    Ok(Merged::Clean(sops::seal(merged.expose(), format, &basis, stamp)?))
}

fn open<'t>(keyring: &Keyring, side: &'static str, blob: &'t [u8]) -> Result<Option<Opened<'t>>, Error> {
    if !is_sealed(blob) {
        return Ok(None);
    }
    keyring.open(blob).map(Some).map_err(|source| Error::Side { side, source })
}

fn plain(keyring: &Keyring, side: &'static str, blob: &[u8]) -> Result<SecretBytes, Error> {
    let opened = open(keyring, side, blob)?;
    Ok(opened.map_or_else(|| SecretBytes::new(blob.to_vec()), Opened::into_plaintext))
}

/// git's own three-way merge, over files that exist only in memory.
fn merge_plain(
    ours: &SecretBytes,
    base: &SecretBytes,
    theirs: &SecretBytes,
    markers: &Markers,
) -> Result<(SecretBytes, bool), Error> {
    let files = [in_memory(ours)?, in_memory(base)?, in_memory(theirs)?];
    let path = |file: &File| format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
    let [label_base, label_ours, label_theirs] = &markers.labels;
    let mut child = Command::new("git")
        .args(["merge-file", "-p", "--marker-size", &markers.size.to_string()])
        .args(["-L", label_ours, "-L", label_base, "-L", label_theirs])
        .args(files.iter().map(path))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut merged = SecretBytes::new(Vec::with_capacity(ours.expose().len() + theirs.expose().len() + 4096));
    child.stdout.take().expect("it was asked for").read_to_end(merged.expose_mut())?;
    match child.wait()?.code() {
        Some(0) => Ok((merged, false)),
        // git-merge-file(1): the number of conflicts, at most 127; above that it failed.
        Some(1..=127) => Ok((merged, true)),
        _ => Err(std::io::Error::other("`git merge-file` failed").into()),
    }
}

fn in_memory(content: &SecretBytes) -> Result<File, Error> {
    let mut file = File::from(memfd_create("hlx-merge", MemfdFlags::CLOEXEC).map_err(std::io::Error::from)?);
    file.write_all(content.expose())?;
    Ok(file)
}
