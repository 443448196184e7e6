//! Why a deploy did not happen, or did not end well.

use std::io;
use std::path::PathBuf;

use super::masks::Hidden;
use super::service::{BadName, Service};
use super::verify::openpgp;
use super::wishes::BadWish;
use super::{docker, engine, mirror, resident, settings, state, swarm, tree};
use crate::keys;

/// What went wrong. Everything but [`Error::Broken`] comes before any container was touched.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Someone who is not root asked for file secrets.
    #[error("to keep files in RAM for containers takes root")]
    NotRoot,
    /// Not a service's name.
    #[error(transparent)]
    Name(#[from] BadName),
    /// The server's configuration.
    #[error(transparent)]
    Settings(#[from] settings::Error),
    /// The configuration names other stacks.
    #[error("`{service}` is not among the stacks of this host")]
    NotOurs {
        /// What was asked for.
        service: Service,
        /// The stacks of this host.
        stacks: Vec<String>,
    },
    /// The stack names other hosts.
    #[error("`{service}` is not for this host, `{host}`, but for {}", hosts.join(", "))]
    OtherHost {
        /// The service.
        service: Service,
        /// This host.
        host: String,
        /// The hosts that it is for.
        hosts: Vec<String>,
    },
    /// Docker or Compose.
    #[error(transparent)]
    Docker(#[from] docker::Error),
    /// Another hlx is at work on the stack.
    #[error("another hlx is at work on `{0}`")]
    Busy(Service),
    /// Git or the repository.
    #[error(transparent)]
    Git(#[from] mirror::Error),
    /// The branch no longer contains what was deployed.
    #[error(
        "the branch `{service}` was rewritten: {old:.10} is deployed and {new:.10} does not go on from it"
    )]
    Rewritten {
        /// The service.
        service: Service,
        /// The commit that is deployed.
        old: String,
        /// The branch's commit.
        new: String,
    },
    /// The stack came from elsewhere before.
    #[error("`{service}` was deployed from {old}, not from {new}")]
    OtherRepo {
        /// The service.
        service: Service,
        /// The recorded repository.
        old: String,
        /// The one asked for now.
        new: String,
    },
    /// The project directory has content that hlx did not put there.
    #[error("{0} holds files that hlx did not put there")]
    Taken(PathBuf),
    /// Containers of the same compose project run already.
    #[error("the compose project `{project}` has containers that hlx did not start: {}", names.join(", "))]
    Foreign {
        /// The project.
        project: String,
        /// The containers.
        names: Vec<String>,
    },
    /// Two stacks with one compose project.
    #[error("the compose project `{project}` belongs to the stack `{owner}`")]
    ProjectOf {
        /// The project.
        project: String,
        /// The other stack.
        owner: String,
    },
    /// The stack's compose project got another name, and the old one's containers are there.
    #[error("the compose project was `{old}` and is `{new}` now, and `{old}` has containers")]
    Renamed {
        /// The name when it was deployed last.
        old: String,
        /// The name now.
        new: String,
    },
    /// The commit asks for what root does not allow here.
    #[error("the commit asks for what `deny` in the server configuration forbids{}", mirror::indented(&.0.join("\n")))]
    Denied(Vec<String>),
    /// Something on this host is in the way.
    #[error("this host is not ready for it:{}", mirror::indented(&.0.join("\n")))]
    NotReady(Vec<String>),
    /// The commit is not signed by someone who is allowed to.
    #[error("{commit:.10} of `{service}` is not signed by anyone in {}{}", signers.join(" or "), mirror::indented(said))]
    Unsigned {
        /// The service.
        service: Service,
        /// The commit.
        commit: String,
        /// The lists of who may sign.
        signers: Vec<String>,
        /// What git and gpg said.
        said: String,
    },
    /// The OpenPGP keys that may sign.
    #[error(transparent)]
    OpenPgp(#[from] openpgp::Error),
    /// With the files of the earlier commit come its readers.
    #[error(transparent)]
    Readers(#[from] crate::policy::OtherReaders),
    /// The commit is another stack's, for which it was signed.
    #[error("{commit:.10} of `{service}` is a commit of `{other}`: it was signed for that")]
    SignedFor {
        /// The service.
        service: Service,
        /// The commit.
        commit: String,
        /// The stack that has it.
        other: Service,
    },
    /// The commit was tried, and its containers did not become well.
    #[error("{commit:.10} of `{service}` is known to be bad: {why}")]
    KnownBad {
        /// The service.
        service: Service,
        /// The commit.
        commit: String,
        /// What was found when it was tried.
        why: String,
    },
    /// What runs now could not be brought back, should the new version not be well.
    #[error("{commit:.10}, which was good, could not be brought back if this deploy failed: {why}")]
    NoWayBack {
        /// The last good commit.
        commit: String,
        /// Why not.
        why: String,
    },
    /// An image that the last good version ran with is neither here nor in a registry.
    #[error("the image that `{service}` ran with has gone, and no registry has it")]
    ImageGone {
        /// The compose service.
        service: String,
    },
    /// The name of its image means another image by now.
    #[error("`{service}` runs with another image than before: its name was given to that one meanwhile")]
    OtherImage {
        /// The compose service.
        service: String,
    },
    /// The commit wants to give an image a name by which hlx keeps images.
    #[error("`{service}` names an image `{image}`, and by such names hlx keeps images to go back to")]
    KeptName {
        /// The compose service.
        service: String,
        /// The name.
        image: String,
    },
    /// The commit to go back to is none of the branch's.
    #[error("`{to}` is no commit of the branch `{service}`")]
    NotInBranch {
        /// The service.
        service: Service,
        /// What was asked for.
        to: String,
    },
    /// No commit before the branch's last was ever good here.
    #[error("no commit of `{0}` before its last was good on this host")]
    NothingEarlier(Service),
    /// The branch went back before, and nothing before that was ever good here.
    #[error("`{service}` went back to {to:.10} already, and no commit before that was good on this host")]
    NothingFurther {
        /// The service.
        service: Service,
        /// The commit whose files it has.
        to: String,
    },
    /// The earlier commit has the same files.
    #[error("{to:.10} has the same files as the branch's last commit")]
    SameFiles {
        /// The earlier commit.
        to: String,
    },
    /// A commit that is made here has no signature.
    #[error("`verify` in the server configuration asks for signed commits, and one made here is not signed")]
    CannotSign,
    /// A probe would show a secret in the arguments of a program, or in a log.
    #[error("a probe in `x-hlx.probes` holds a secret")]
    SecretProbe,
    /// The stack never was deployed here.
    #[error("`{0}` was never deployed here by hlx")]
    NotDeployed(Service),
    /// The commit's files.
    #[error(transparent)]
    Tree(#[from] tree::Error),
    /// The branch is no stack.
    #[error("the branch `{0}` has no compose file")]
    NoComposeFile(Service),
    /// A sealed file does not open.
    #[error("{}: {source}", path.display())]
    Keys {
        /// The file.
        path: PathBuf,
        /// Why.
        source: keys::Error,
    },
    /// The mirror has lost a file of a commit that is deployed.
    #[error("the mirror no longer has {} of {commit:.10}", path.display())]
    Lost {
        /// The file.
        path: PathBuf,
        /// The commit.
        commit: String,
    },
    /// The model is not valid, in compose's own words.
    #[error("compose does not accept {}{}", broken_line(broken.as_ref()), mirror::indented(said))]
    Model {
        /// The file that is no YAML, and the line where that shows; Compose names neither well.
        broken: Option<(PathBuf, usize)>,
        /// What compose said, masked.
        said: String,
    },
    /// The model is not what was expected of compose.
    #[error("compose printed a model that makes no sense: {0}")]
    Unreadable(serde_json::Error),
    /// `x-hlx:` in the compose file.
    #[error(transparent)]
    Wish(#[from] BadWish),
    /// File secrets.
    #[error(transparent)]
    Resident(#[from] resident::Error),
    /// The Swarm, or what it does not do.
    #[error(transparent)]
    Swarm(#[from] swarm::Error),
    /// What runs the containers, or where that is.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    /// A step before `up` failed.
    #[error("{what} failed: {end}{}", mirror::indented(said))]
    Step {
        /// The step.
        what: &'static str,
        /// How it ended.
        end: crate::sys::process::End,
        /// The last lines that it said, masked.
        said: String,
    },
    /// A program could not be started.
    #[error("cannot run {program}: {why}")]
    NotStarted {
        /// The program.
        program: String,
        /// Why.
        why: io::Error,
    },
    /// The vault.
    #[error("the vault failed: {0}")]
    Vault(io::Error),
    /// A file or directory.
    #[error("{path}: {source}")]
    Disk {
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The record.
    #[error(transparent)]
    State(#[from] state::Error),
    /// `docker compose down` failed.
    #[error("`docker compose down` failed{}", mirror::indented(.0))]
    Down(String),
    /// It failed once containers were touched.
    #[error("{0}")]
    Broken(Box<Broken>),
    /// One of the others, once secrets were known.
    #[error("{0}")]
    Hidden(Box<Hidden>),
}

/// How things stand after a deploy that failed when containers were touched already.
#[derive(Debug, Clone, Default)]
pub struct Broken {
    /// The reason.
    pub reason: String,
    /// The last log lines, masked, of the container that is the reason.
    pub log: Option<(String, String)>,
    /// Every container of the stack and its condition.
    pub containers: Vec<String>,
    /// Who is to blame.
    pub fault: Fault,
    /// What was done about it.
    pub aftermath: Aftermath,
}

/// Who is to blame for a deploy that failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Fault {
    /// The commit: it is not tried again by itself.
    Commit,
    /// The host, or hlx.
    #[default]
    Host,
}

/// What was done about a deploy that failed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Aftermath {
    /// Nothing: there was no good version before.
    #[default]
    NothingBefore,
    /// Nothing: the stack wants a person to look at it.
    Manual,
    /// The last good version runs again.
    Restored {
        /// Its commit.
        commit: String,
        /// Its containers and their condition.
        containers: Vec<String>,
    },
    /// The last good version was to run again, and does not.
    Failed {
        /// Its commit.
        commit: String,
        /// Why.
        why: String,
    },
}

impl std::fmt::Display for Aftermath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NothingBefore => f.write_str("there was no good version before it to go back to"),
            Self::Manual => f.write_str("it was left as it is, as `x-hlx.rollback` is `manual`"),
            Self::Restored { commit, containers } => {
                write!(
                    f,
                    "the old version, {commit:.10}, runs again:{}",
                    mirror::indented(&containers.join("\n"))
                )
            }
            Self::Failed { commit, why } => write!(f, "going back to {commit:.10} failed as well: {why}"),
        }
    }
}

impl Broken {
    /// What went wrong and how things stood then, without what was done about it.
    pub fn account(&self) -> String {
        let mut told = self.reason.clone();
        if let Some((name, text)) = &self.log {
            told += &format!("\nlast log lines of {name}:{}", mirror::indented(text));
        }
        told + &match self.containers.is_empty() {
            true => "\nno container of the stack was there".to_owned(),
            false => format!("\nhow it stood:{}", mirror::indented(&self.containers.join("\n"))),
        }
    }
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the deploy failed: {}\n{}", self.account(), self.aftermath)
    }
}

/// What of the model compose does not accept.
fn broken_line(broken: Option<&(PathBuf, usize)>) -> String {
    broken.map_or_else(
        || "the model".to_owned(),
        |(file, line)| format!("{}, which is no valid YAML in line {line}", file.display()),
    )
}

impl Error {
    /// True if the containers that ran before are as they were.
    pub fn left_containers_alone(&self) -> bool {
        match self {
            Self::Hidden(hidden) => hidden.error().left_containers_alone(),
            other => !matches!(
                other,
                Self::Broken(_) | Self::Down(_) | Self::Engine(engine::Error::StackLeft { .. })
            ),
        }
    }
}
