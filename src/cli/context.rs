//! The world as the door hands it in: environment, time, place.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::git::config;
use crate::git::moves::Recovered;
use crate::git::{Git, Repository};
use crate::keys::locked::Ask;
use crate::keys::plugins::Dialogue;
use crate::keys::{Keyring, Places, Plugins};
use crate::repo::rotate;
use crate::secret::Secret;
use crate::sops::Stamp;

use super::{Exit, Failure, Ui, errors, ui};

/// What commands take from the world outside.
pub(super) struct Context {
    pub(super) ui: Ui,
    named: Vec<PathBuf>,
    /// Asks for passphrases, in commands that a person runs.
    ask: Option<Ask>,
}

impl Context {
    pub(super) fn new(quiet: bool, identity: Vec<PathBuf>, ask: Option<Ask>) -> Self {
        Self { ui: Ui { quiet }, named: identity, ask }
    }

    /// The key files of the command line.
    pub(super) fn named(&self) -> &[PathBuf] {
        &self.named
    }

    /// The directory the user stands in.
    pub(super) fn directory(&self) -> PathBuf {
        std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."))
    }

    /// The repository the user stands in. Moves of its branches that something interrupted are finished or
    /// undone first.
    pub(super) fn repository(&self) -> Result<Repository, Failure> {
        let repository = self.repository_inside_git()?;
        match rotate::recover(&repository, || self.keyring()).map_err(errors::repo)? {
            None => Ok(repository),
            Some(recovered) => {
                recovered_note(self.ui, &recovered);
                // What it has read may be of the time before.
                self.repository_inside_git()
            }
        }
    }

    /// The same for what git starts: it holds locks of its own then, and branches must not move under it.
    pub(super) fn repository_inside_git(&self) -> Result<Repository, Failure> {
        Repository::discover(&self.directory()).map_err(errors::git)
    }

    /// `git`, run at the top of the work tree.
    pub(super) fn git(&self, repository: &Repository) -> Result<Git, Failure> {
        repository.work_tree().map_err(errors::git)?;
        Ok(repository.git())
    }

    /// All identities that can be found.
    pub(super) fn keyring(&self) -> Keyring {
        let keyring = Keyring::load(&self.places());
        if let Some(failure) = self.unusable(&keyring) {
            self.ui.warning(failure.message());
        }
        keyring
    }

    /// The same, where a file that was named on the command line must be of use.
    pub(super) fn keys(&self) -> Result<Keyring, Failure> {
        let keyring = Keyring::load(&self.places());
        self.unusable(&keyring).map_or(Ok(keyring), Err)
    }

    /// The first file of the command line's that is of no use.
    fn unusable(&self, keyring: &Keyring) -> Option<Failure> {
        let mut named = keyring.tried().iter().take(self.named.len());
        named.find_map(|tried| {
            let reason = tried.unusable()?;
            Some(Failure::new(Exit::NoKey, format!("--identity {}: {reason}", tried.place)))
        })
    }

    /// Where identities may be.
    pub(super) fn places(&self) -> Places {
        let root = rustix::process::geteuid().is_root();
        let home = variable("HOME").map(PathBuf::from);
        let mut named = self.named.clone();
        named.extend(variable("HLX_IDENTITY").map(PathBuf::from));
        let system = if root {
            vec!["/etc/hlx/identity".into(), "/etc/ssh/ssh_host_ed25519_key".into()]
        } else {
            Vec::new()
        };
        Places {
            named,
            sops_ssh_file: variable("SOPS_AGE_SSH_PRIVATE_KEY_FILE").map(PathBuf::from),
            ssh_dir: home.map(|home| home.join(".ssh")),
            sops_age_key: variable("SOPS_AGE_KEY").map(Secret::new),
            sops_age_file: variable("SOPS_AGE_KEY_FILE").map(PathBuf::from),
            sops_default: default_key_file(),
            keychain: keychain_list(),
            credential: variable("CREDENTIALS_DIRECTORY")
                .map(|path| PathBuf::from(path).join("hlx.identity")),
            system,
            plugins: self.plugins(),
            ask: self.ask,
        }
    }

    /// The plugins of age that the user allowed: by git's configuration, which no repository can
    /// bring along, or by a variable.
    fn plugins(&self) -> Plugins {
        let directory = self.directory();
        let allowed = move || {
            if let Some(entry) = relative_path_entry() {
                let why = "with it, a plugin could be a file of the repository";
                Ui::default()
                    .warning(format!("no age plugin runs while the PATH has the entry `{entry}`: {why}"));
                return BTreeSet::new();
            }
            let variable = variable("HLX_ALLOW_PLUGINS").unwrap_or_default();
            let named = variable.split(',').map(|name| name.trim().to_owned());
            named.chain(config::values(&directory, "hlx.allowPlugin")).collect()
        };
        Plugins::allow(allowed, Dialogue { tell: ui::tell, ask: ui::ask, ask_secret: ui::ask_secret })
    }

    /// What others call the user: git's `user.name`, else the names of user and host. It goes into a comment.
    pub(super) fn user(&self) -> String {
        let user = || variable("USER").or_else(|| variable("LOGNAME")).unwrap_or_else(|| "user".to_owned());
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let name = config::values(&self.directory(), "user.name").pop();
        let plain = |name: String| name.replace(char::is_control, " ").trim().to_owned();
        name.map(plain).filter(|name| !name.is_empty()).unwrap_or_else(|| plain(format!("{}@{host}", user())))
    }

    /// Now, as metadata write it.
    pub(super) fn now(&self) -> String {
        now()
    }

    /// Time and randomness for one sealing.
    pub(super) fn stamp<'a>(&self, entropy: &'a mut dyn FnMut(&mut [u8])) -> Stamp<'a> {
        Stamp { now: now(), entropy }
    }

    /// Reads a file that the user named.
    pub(super) fn read(&self, path: &Path) -> Result<Vec<u8>, Failure> {
        std::fs::read(path).map_err(|error| match error.kind() {
            // It was named on the command line, or by a variable.
            io::ErrorKind::NotFound => Failure::new(Exit::Usage, format!("{}: {error}", path.display())),
            _ => errors::io(path, &error),
        })
    }
}

fn recovered_note(ui: Ui, recovered: &Recovered) {
    match recovered {
        Recovered::Finished { branches, left } => {
            ui.note(format!("an interrupted change of {} branches was finished", branches.len()));
            if !left.is_empty() {
                ui.warning(format!("these went their own way meanwhile, and were left: {}", left.join(", ")));
                ui.hint("change them again: `hlx rotate --branch …`");
            }
        }
        Recovered::Undone { because } => {
            ui.warning(format!(
                "an interrupted change of branches was undone, as these went their own way: {}",
                because.join(", ")
            ));
            ui.hint("run the command that was interrupted again");
        }
    }
}

/// Now in UTC, to the second, in RFC 3339.
pub(super) fn now() -> String {
    time(None)
}

/// The same of another time, if it is one of this calendar.
pub(super) fn time(when: Option<SystemTime>) -> String {
    let when = when.and_then(|when| jiff::Timestamp::try_from(when).ok());
    when.unwrap_or_else(jiff::Timestamp::now).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Where sops keeps a user's keys, and `hlx keys generate` puts a new one.
pub(super) fn default_key_file() -> Option<PathBuf> {
    user_config("sops/age/keys.txt")
}

/// The list of the keys that a user has in the keychain.
pub(super) fn keychain_list() -> Option<PathBuf> {
    user_config("hlx/keychain")
}

fn user_config(name: &str) -> Option<PathBuf> {
    let config = variable("XDG_CONFIG_HOME").filter(|path| path.starts_with('/')).map(PathBuf::from);
    let config = config.or_else(|| variable("HOME").map(|home| PathBuf::from(home).join(".config")));
    config.map(|config| config.join(name))
}

/// An entry of the PATH that depends on where one stands.
fn relative_path_entry() -> Option<String> {
    let path = std::env::var_os("PATH")?;
    let relative = std::env::split_paths(&path).find(|entry| !entry.is_absolute());
    relative.map(|entry| entry.display().to_string())
}

/// A variable of the environment that is set and not empty.
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
