//! Who can read which branch, and letting more keys read.

use std::collections::BTreeMap;

use crate::crypto::envelope::{Envelope, Recipient};
use crate::git::branch::{self, Commit, File, Parent};
use crate::git::{Git, Repository};
use crate::keys::Keyring;
use crate::keys::recipients::Named;
use crate::sops::{Sealed, is_sealed};

use super::{Error, config};

/// The readers of a branch.
#[derive(Debug)]
pub struct Readers {
    /// The branch.
    pub branch: String,
    /// Each reader with the name that `.sops.yaml` gives, and the number of files sealed for it.
    pub readers: BTreeMap<String, Reader>,
    /// The number of sealed files.
    pub files: usize,
}

/// One reader of a branch.
#[derive(Debug, Default)]
pub struct Reader {
    /// The comment at its key.
    pub name: Option<String>,
    /// How many files it can open.
    pub files: usize,
    /// `.sops.yaml` names it for new files.
    pub in_config: bool,
}

/// Lists the readers of a branch's last commit.
pub fn list(repository: &Repository, git: &Git, branch: &str) -> Result<Readers, Error> {
    let mut readers = BTreeMap::<String, Reader>::new();
    let mut files = 0;
    for entry in branch::files(git, branch)?.iter().filter(|entry| entry.mode.starts_with("100")) {
        let blob = repository.blob_named(&entry.blob)?;
        if entry.path == config::NAME.as_bytes() {
            named_in_config(&String::from_utf8_lossy(&blob), &mut readers);
        } else if let Ok(sealed) = Sealed::parse(&blob) {
            files += 1;
            for envelope in sealed.envelopes() {
                readers.entry(envelope.recipient.clone()).or_default().files += 1;
            }
        }
    }
    Ok(Readers { branch: branch.to_owned(), readers, files })
}

fn named_in_config(text: &str, readers: &mut BTreeMap<String, Reader>) {
    let names = config::names(text);
    let Ok(parsed) = crate::policy::creation::Config::parse(text) else { return };
    for recipient in parsed.recipients() {
        let reader = readers.entry(recipient.to_string()).or_default();
        reader.in_config = true;
        reader.name = names.get(&recipient).cloned();
    }
}

/// What adding readers to a branch did.
#[derive(Debug)]
pub struct Added {
    /// The commit; `None` if nothing had to change.
    pub commit: Option<String>,
    /// The number of files that the new readers can open now.
    pub files: usize,
}

/// Lets keys read a branch: its `.sops.yaml` names them, and every sealed file is wrapped for
/// them too. One commit; nothing is checked out.
///
/// Fails before anything changed if a file cannot be opened, or a checkout has changes of its own.
pub fn add(
    repository: &Repository,
    git: &Git,
    keyring: &Keyring,
    branch: &str,
    added: &[Named],
) -> Result<Added, Error> {
    let mut files = Vec::new();
    let mut rewrapped = 0;
    for entry in branch::files(git, branch)?.iter().filter(|entry| entry.mode.starts_with("100")) {
        let blob = repository.blob_named(&entry.blob)?;
        let path = String::from_utf8_lossy(&entry.path).into_owned();
        let mode = if entry.mode == "100755" { "100755" } else { "100644" };
        if path == config::NAME {
            let text = String::from_utf8_lossy(&blob);
            let new = config::with_recipients(&text, added)?;
            files.extend(new.map(|text| File { path, mode, content: text.into_bytes() }));
        } else if is_sealed(&blob)
            && let Some(content) = rewrap(keyring, &format!("{branch}:{path}"), &blob, added)?
        {
            rewrapped += 1;
            files.push(File { path, mode, content: content.into_bytes() });
        }
    }
    if files.is_empty() {
        return Ok(Added { commit: None, files: 0 });
    }
    let who: Vec<String> =
        added.iter().map(|named| named.name.clone().unwrap_or_else(|| named.recipient.short())).collect();
    let message = format!("{branch}: let {} read it", who.join(", "));
    let commit = Commit { branch, parent: Parent::Tip, files: &files, message: &message };
    let commit = branch::commit(git, &super::new::scratch(repository)?, &commit)?;
    Ok(Added { commit: Some(commit), files: rewrapped })
}

fn rewrap(keyring: &Keyring, place: &str, blob: &[u8], added: &[Named]) -> Result<Option<String>, Error> {
    let opened = keyring.open(blob).map_err(|source| Error::Keys { path: place.to_owned(), source })?;
    let present: Vec<&Envelope> = opened.sealed().envelopes().iter().collect();
    let is_new =
        |recipient: &&Recipient| !present.iter().any(|envelope| envelope.recipient == recipient.as_str());
    let new = added.iter().map(|named| &named.recipient).filter(is_new);
    let wrapped: Vec<Envelope> =
        new.map(|recipient| recipient.wrap(opened.key())).collect::<Result<_, _>>()?;
    if wrapped.is_empty() {
        return Ok(None);
    }
    let all = opened.sealed().envelopes().iter().cloned().chain(wrapped).collect();
    Ok(Some(opened.sealed().with_envelopes(all)))
}
