//! Where private keys are looked for, in which order, and what came of it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::secret::Secret;

use super::identity::{self, Found, Held, Identity, Readers};
use super::keychain;
use super::locked::{Ask, KEYCHAIN, Locked};
use super::plugins::Plugins;

/// Where identities may be, as the door found it in the environment.
#[derive(Debug, Default)]
pub struct Places {
    /// `--identity` and `HLX_IDENTITY`: files that the user named.
    pub named: Vec<PathBuf>,
    /// `SOPS_AGE_SSH_PRIVATE_KEY_FILE`.
    pub sops_ssh_file: Option<PathBuf>,
    /// `~/.ssh`.
    pub ssh_dir: Option<PathBuf>,
    /// `SOPS_AGE_KEY`: the identities themselves.
    pub sops_age_key: Option<Secret<String>>,
    /// `SOPS_AGE_KEY_FILE`.
    pub sops_age_file: Option<PathBuf>,
    /// `$XDG_CONFIG_HOME/sops/age/keys.txt`.
    pub sops_default: Option<PathBuf>,
    /// `$XDG_CONFIG_HOME/hlx/keychain`: the public keys whose private ones are in the keychain.
    pub keychain: Option<PathBuf>,
    /// `$CREDENTIALS_DIRECTORY/hlx.identity`: what systemd hands a service.
    pub credential: Option<PathBuf>,
    /// `/etc/hlx/identity`, and root's ssh host key.
    pub system: Vec<PathBuf>,
    /// The plugins that may run.
    pub plugins: Plugins,
    /// Asks for a passphrase; `None` where nobody must be asked, as in a filter.
    pub ask: Option<Ask>,
}

/// Why a place has no key of use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// It has none, for this reason. That is no trouble: most places have nothing.
    Nothing(&'static str),
    /// It has one that cannot be used, for this reason.
    Unusable(String),
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing(why) => f.write_str(why),
            Self::Unusable(why) => f.write_str(why),
        }
    }
}

/// What came of looking in one place.
#[derive(Debug)]
pub struct Tried {
    /// The place, as a person names it.
    pub place: String,
    /// The public keys found, or why none was.
    pub outcome: Result<Vec<Found>, Missing>,
    /// Until when it is unlocked, if a passphrase protects it and it is.
    pub until: Option<SystemTime>,
}

impl Tried {
    /// Why the key that is there cannot be used.
    pub fn unusable(&self) -> Option<&str> {
        match &self.outcome {
            Err(Missing::Unusable(why)) => Some(why),
            Err(Missing::Nothing(_)) | Ok(_) => None,
        }
    }
}

const NOT_THERE: Missing = Missing::Nothing("not there");
const NO_KEYCHAIN: Missing = Missing::Nothing("no key was put there");
const NOT_SET: Missing = Missing::Nothing("not set");

/// What was found in all places.
#[derive(Default)]
pub(super) struct Search {
    pub(super) identities: Vec<Identity>,
    pub(super) tried: Vec<Tried>,
}

/// Looks in all places: what the user named comes first, then what sops looks in, then the system's.
pub(super) fn all(places: &Places) -> Search {
    let mut search = Search::default();
    let Places { plugins, .. } = places;
    let file = |path: &PathBuf| identity::read(path, Readers::Owner, plugins);
    let maybe = |path: &PathBuf| identity::read_if_there(path, Readers::Owner, plugins);
    for path in &places.named {
        search.add(path.display().to_string(), Ok(file(path)));
    }
    if places.named.is_empty() {
        search.add("--identity, HLX_IDENTITY".to_owned(), Err(NOT_SET));
    }
    let ssh_file = places.sops_ssh_file.as_ref().map(file);
    search.add("SOPS_AGE_SSH_PRIVATE_KEY_FILE".to_owned(), ssh_file.ok_or(NOT_SET));
    for name in ["id_ed25519", "id_rsa"] {
        let path = places.ssh_dir.as_ref().map(|directory| directory.join(name));
        search.add(format!("~/.ssh/{name}"), path.as_ref().and_then(maybe).ok_or(NOT_THERE));
    }
    let name = "SOPS_AGE_KEY";
    let key = places.sops_age_key.as_ref();
    let key = key.map(|text| identity::parse(text.expose().as_bytes(), name, Vec::new, plugins));
    search.add(name.to_owned(), key.ok_or(NOT_SET));
    search.add("SOPS_AGE_KEY_FILE".to_owned(), places.sops_age_file.as_ref().map(file).ok_or(NOT_SET));
    if let Some(path) = &places.sops_default {
        search.add(path.display().to_string(), maybe(path).ok_or(NOT_THERE));
    }
    search.add(
        KEYCHAIN.to_owned(),
        places.keychain.as_ref().map_or(Err(NO_KEYCHAIN), |list| in_keychain(list, plugins)),
    );
    let credential = places.credential.as_ref();
    let held = credential.map(|path| identity::read_if_there(path, Readers::Group, plugins).ok_or(NOT_THERE));
    search.add("$CREDENTIALS_DIRECTORY/hlx.identity".to_owned(), held.unwrap_or(Err(NOT_SET)));
    for path in &places.system {
        search.add(path.display().to_string(), maybe(path).ok_or(NOT_THERE));
    }
    search
}

/// The keys that are in the keychain, which is not asked for them yet.
fn in_keychain(list: &Path, plugins: &Plugins) -> Result<Result<Held, String>, Missing> {
    match keychain::listed(list) {
        Err(reason) => Ok(Err(reason)),
        Ok(keys) if keys.is_empty() => Err(NO_KEYCHAIN),
        Ok(keys) => {
            let locked = keys.into_iter().map(|key| Identity::of_locked(Locked::in_keychain(key, plugins)));
            Ok(Ok(Held { identities: locked.collect(), until: None }))
        }
    }
}

impl Search {
    fn add(&mut self, place: String, held: Result<Result<Held, String>, Missing>) {
        let (outcome, until) = match held {
            Err(nothing) => (Err(nothing), None),
            Ok(Err(why)) => (Err(Missing::Unusable(why)), None),
            Ok(Ok(held)) => {
                let found = held.identities.iter().map(|identity| identity.found().clone()).collect();
                self.identities.extend(held.identities);
                (Ok(found), held.until)
            }
        };
        self.tried.push(Tried { place, outcome, until });
    }
}
