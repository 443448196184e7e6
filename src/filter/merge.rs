//! The merge driver: the three sides are opened, merged as plaintext, and sealed again.
//!
//! git hands over three files of ciphertext and takes the result in the place of ours. A merge
//! with conflicts shows as plaintext with markers in the work tree; as the markers fit no
//! format, the result is then sealed as a whole file. It never gets into a commit: what the user
//! makes of it is sealed from the three sides in the index (`super::resolved`).

use crate::format::Format;
use crate::keys::{self, Keyring};
use crate::secret::SecretBytes;
use crate::sops::{Basis, Opened, Stamp, is_sealed, seal};

use crate::trust::{File as Merging, Guard};

use super::lines;
use super::unite::Change;
use super::united::{self, United};

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
    /// The merged file cannot be sealed, not even as a whole.
    #[error("the merged file cannot be encrypted: {0}")]
    Seal(#[from] crate::sops::Error),
    /// Only the ancestor is encrypted, so nothing says for whom to seal the result, which may hold lines of it.
    #[error("neither side is encrypted")]
    ClearSides,
    /// A file in memory, or git's merge, failed.
    #[error("cannot merge: {0}")]
    Io(#[from] std::io::Error),
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

/// How to write conflicts. Their style is the one of git's configuration.
#[derive(Debug)]
pub struct Markers {
    /// The length of the markers.
    pub size: usize,
    /// The names of base, ours and theirs.
    pub labels: [String; 3],
}

/// A merged file.
#[derive(Debug)]
pub struct Merged {
    /// The file, sealed; what is in conflict is sealed as a whole file. In clear if no side is sealed.
    pub content: SecretBytes,
    /// Why it is not merged yet.
    pub conflict: Option<Conflict>,
    /// Differences in how the sides are sealed, and what came of them.
    pub changes: Vec<Change>,
}

/// Why a person must look at a merged file.
#[derive(Debug, thiserror::Error)]
pub enum Conflict {
    /// There are markers in it.
    #[error("both sides changed the same value, or the same lines")]
    Lines,
    /// It is no text: ours was kept.
    #[error("both sides changed it, and it is no text: the file is that of ours")]
    NoText,
    /// It cannot be sealed as the format and the sides ask.
    #[error("the merged text cannot be encrypted: {0}")]
    Sealing(united::Error),
}

/// A path that is merged, and the format that its name and attributes ask for.
pub type Asked<'p> = (&'p str, Format);

/// Merges three sides of a path.
pub fn merge(
    guard: &Guard<'_>,
    (path, asked): Asked<'_>,
    sides: &Sides,
    markers: &Markers,
    stamp: Stamp<'_>,
) -> Result<Merged, Error> {
    let keyring = guard.keyring();
    let ours = open(keyring, "ours", &sides.ours)?;
    let theirs = open(keyring, "theirs", &sides.theirs)?;
    let base = open(keyring, "base", &sides.base)?;
    let one = ours.as_ref().or(theirs.as_ref());
    if one.is_none() && base.is_some() && !(sides.ours.is_empty() && sides.theirs.is_empty()) {
        return Err(Error::ClearSides);
    }
    let based = base.as_ref().map(|base| (base.sealed(), base.key()));
    let united = United::of(based, ours.as_ref(), theirs.as_ref()).map_err(united::Error::from);
    let store = match &united {
        Ok(Some(united)) => united.format(asked).store(),
        Ok(None) => None,
        Err(_) => asked.store(),
    };
    let texts = [(&ours, &sides.ours), (&base, &sides.base), (&theirs, &sides.theirs)];
    let texts = texts.map(|(opened, blob)| plain(opened.as_ref(), blob));
    let (text, lines) = lines::merge(texts, store, markers)?;
    // `rerere` merges texts of the work tree, and puts the outcome back there. An empty file stays one.
    let Some(one) = one.filter(|_| !text.expose().is_empty()) else {
        return Ok(Merged { content: text, conflict: lines, changes: Vec::new() });
    };
    let Stamp { now, entropy } = stamp;
    let united = united.and_then(|united| {
        let united = united.expect("one side is sealed");
        let format = if lines.is_some() { Format::Binary } else { united.format(asked) };
        let stamp = Stamp { now: now.clone(), entropy: &mut *entropy };
        let file = Merging { path, content: text.expose(), format };
        Ok((united.seal(guard, file, stamp)?, united.decision().changes.clone()))
    });
    match united {
        Ok((sealed, changes)) => Ok(Merged { content: SecretBytes::new(sealed), conflict: lines, changes }),
        Err(error) => {
            let stamp = Stamp { now, entropy };
            let sealed = seal(text.expose(), Format::Binary, &Basis::Again(one), stamp)?;
            let conflict = Some(Conflict::Sealing(error));
            Ok(Merged { content: SecretBytes::new(sealed), conflict, changes: Vec::new() })
        }
    }
}

fn open<'t>(keyring: &Keyring, side: &'static str, blob: &'t [u8]) -> Result<Option<Opened<'t>>, Error> {
    if !is_sealed(blob) {
        return Ok(None);
    }
    keyring.open(blob).map(Some).map_err(|source| Error::Side { side, source })
}

fn plain<'a>(opened: Option<&'a Opened<'_>>, blob: &'a [u8]) -> &'a [u8] {
    opened.map_or(blob, |opened| opened.plaintext().expose())
}
