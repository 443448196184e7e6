//! A new service: an orphan branch with its first files, made without checking it out.

use std::path::PathBuf;

use crate::git::branch::{self, Commit, File, Parent};
use crate::git::{Git, Repository};
use crate::keys::Plugins;
use crate::keys::recipients::Named;
use crate::policy::creation::Config;
use crate::sops::{self, Basis, Stamp};
use crate::{crypto::DataKey, format::Format};

use super::track::{CLEAR, SEALED};
use super::{Error, config, index};

/// What `hlx new` shall make.
#[derive(Debug)]
pub struct Service<'a> {
    /// The name of service and branch.
    pub name: &'a str,
    /// Who shall read its secrets.
    pub recipients: &'a [Named],
    /// Whether it gets a `setup.sh`.
    pub setup: Setup,
    /// What of it is encrypted.
    pub form: Form,
    /// The plugins that may wrap for them.
    pub plugins: &'a Plugins,
}

/// Whether a service has a `setup.sh`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setup {
    /// With an example of one.
    With,
    /// Without.
    Without,
}

/// What of a service is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Its `.env` files.
    Open,
    /// Everything but `.gitattributes` and `.sops.yaml`, each file as a whole.
    Sealed,
}

/// The attributes that protect `.env` files; conversions that would corrupt ciphertext are off.
pub const ATTRIBUTES: &str = "\
# These files are encrypted in git and readable in the work tree (https://git-scm.com/docs/gitattributes).
.env filter=hlx diff=hlx merge=hlx -text -ident -working-tree-encoding
*.env filter=hlx diff=hlx merge=hlx -text -ident -working-tree-encoding
.env.* filter=hlx diff=hlx merge=hlx -text -ident -working-tree-encoding
.env.example !filter !diff !merge
.env.sample !filter !diff !merge
.env.template !filter !diff !merge
.env.dist !filter !diff !merge
.env.*.example !filter !diff !merge
.env.*.sample !filter !diff !merge
.env.*.template !filter !diff !merge
.env.*.dist !filter !diff !merge
";

/// True for names that a service's branch may have: `[A-Za-z0-9][A-Za-z0-9_-]*`.
pub fn is_service_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.chars().all(|character| character.is_ascii_alphanumeric() || "_-".contains(character))
}

/// The longest name of a branch: git keeps it as a file of that name, and locks it with `.lock` behind that.
const LONGEST: usize = 255 - ".lock".len();

/// A directory of hlx's own below the git directory.
pub fn scratch(repository: &Repository) -> Result<PathBuf, Error> {
    repository.scratch().map_err(Error::io(repository.common_dir()))
}

/// Makes the orphan branch. The work tree, and the branch that is checked out, stay as they are.
///
/// Returns the commit. Fails before anything is made if the name is taken or no reader is named.
pub fn create(
    repository: &Repository,
    git: &Git,
    service: &Service<'_>,
    stamp: Stamp<'_>,
) -> Result<String, Error> {
    let name = service.name;
    if !is_service_name(name) {
        return Err(Error::BadName(name.to_owned()));
    }
    if name.len() > LONGEST {
        return Err(Error::LongName(name.len()));
    }
    if matches!(name, "main" | "master") || name == index::landing(git)? {
        return Err(Error::Landing(name.to_owned()));
    }
    if branch::is_ambiguous(git, name)? {
        return Err(Error::Ambiguous(name.to_owned()));
    }
    if branch::tip(git, name)?.is_some() {
        return Err(Error::Exists(name.to_owned()));
    }
    refuse_remote(git, name)?;
    if service.recipients.is_empty() {
        return Err(Error::NoRecipients);
    }
    let files = files(service, stamp)?;
    let message = subject(name);
    let commit = Commit { branch: name, parent: Parent::Orphan, files: &files, message: &message };
    Ok(branch::commit(git, &scratch(repository)?, &commit)?)
}

/// The message of the commit that makes a service.
pub(super) fn subject(name: &str) -> String {
    format!("{name}: new service")
}

/// Fails if a remote has the branch already, and this clone just does not.
pub(super) fn refuse_remote(git: &Git, name: &str) -> Result<(), Error> {
    match branch::remotes(git, name)? {
        remotes if remotes.is_empty() => Ok(()),
        remotes => Err(Error::Remote { name: name.to_owned(), remotes }),
    }
}

/// The comment at the top of a new `.env`, around the name of the service.
const GREETING: [&str; 2] = [" Settings and secrets of ", ": encrypted in git, readable in your work tree."];

/// Whether a comment is what hlx itself put at the top of a new `.env`.
pub(super) fn is_greeting(comment: &str) -> bool {
    let name = comment.strip_prefix(GREETING[0]).and_then(|rest| rest.strip_suffix(GREETING[1]));
    name.is_some_and(is_service_name)
}

fn files(service: &Service<'_>, stamp: Stamp<'_>) -> Result<Vec<File>, Error> {
    let config = config::new(service.recipients);
    let file =
        |path: &str, mode, content: String| File { path: path.to_owned(), mode, content: content.into() };
    let attributes = match service.form {
        Form::Open => ATTRIBUTES,
        Form::Sealed => SEALED,
    };
    let env = format!("#{}\n", GREETING.join(service.name));
    let mut files = vec![
        file(".gitattributes", "100644", attributes.to_owned()),
        file(config::NAME, "100644", config.clone()),
        file("README.md", "100644", readme(service.name)),
        file("compose.yml", "100644", compose(service.name)),
        file(".env", "100644", env),
    ];
    if service.setup == Setup::With {
        let content = "#!/bin/sh\n# Runs on the server before the first start, and whenever this file changed.\nset -eu\n";
        files.push(file("setup.sh", "100755", content.to_owned()));
    }
    seal(service, &config, &mut files, stamp)?;
    Ok(files)
}

/// Seals those of the first files that are to be sealed, under one data key.
fn seal(service: &Service<'_>, config: &str, files: &mut [File], stamp: Stamp<'_>) -> Result<(), Error> {
    let policy = |source| Error::Policy { place: config::NAME.to_owned(), source };
    let terms = Config::parse(config).map_err(policy)?.terms(".env").map_err(policy)?.clone();
    let Stamp { now, entropy } = stamp;
    let key = DataKey::random(entropy);
    let groups = service.plugins.wrap(&terms.audience, &key, entropy)?;
    let basis = Basis::New { key, groups, rule: terms.rule, coverage: terms.coverage };
    for file in files {
        let format = match service.form {
            Form::Open if file.path == ".env" => Format::Dotenv,
            Form::Sealed if !CLEAR.contains(&file.path.as_str()) => Format::Binary,
            Form::Open | Form::Sealed => continue,
        };
        let stamp = Stamp { now: now.clone(), entropy: &mut *entropy };
        file.content = sops::seal(&file.content, format, &basis, stamp)
            .map_err(|source| Error::Sops { path: file.path.clone(), source })?;
    }
    Ok(())
}

fn readme(name: &str) -> String {
    format!(
        "# {name}\n\nDeployed by `hlx decrypt-deploy {name}`.\n\n\
         | file | what |\n|---|---|\n\
         | `compose.yml` | the containers |\n\
         | `.env` | settings and secrets, encrypted in git |\n\
         | `.sops.yaml` | who can read the secrets |\n"
    )
}

fn compose(name: &str) -> String {
    let image = name.to_ascii_lowercase();
    format!(
        "services:\n  {name}:\n    image: {image}:latest # put the real image here\n    restart: unless-stopped\n    \
         env_file: .env\n    volumes:\n      - ./data:/data\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_names_are_those_of_branches_that_are_deployed() {
        for (name, fits) in
            [("jellyfin", true), ("My_app-2", true), ("-x", false), ("a/b", false), ("", false)]
        {
            assert_eq!(is_service_name(name), fits, "{name}");
        }
    }
}
