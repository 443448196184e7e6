//! What the commands of a server share: its places, its environment, its errors' advice.

use std::cell::RefCell;
use std::ffi::{OsStr, OsString};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Exit, Failure, Ui, engines, errors};
use crate::deploy::service::nearest;
use crate::deploy::state::State;
use crate::deploy::verify::openpgp;
use crate::deploy::{
    self, Aftermath, Broken, Error, Event, Fault, Opener, Places, Report, Service, Settings, Stop, World,
    deny, mirror, resident, settings, wishes,
};
use crate::keys::{self, Keyring};
use crate::sys::process::{End, Env};

/// Variables that programs are given; names that end in `*` stand for all that begin so. A
/// deploy follows from its commit, not from the shell it was typed in: compose would let any
/// variable of the shell win over `.env`.
const PASSED: [&str; 26] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "LC_*",
    "TZ",
    "XDG_RUNTIME_DIR",
    "XDG_CONFIG_HOME",
    "SSH_AUTH_SOCK",
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "DOCKER_*",
    "BUILDKIT_*",
    "BUILDX_*",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
    "SSL_CERT_*",
    "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH",
];

/// A server as its environment and configuration describe it.
#[derive(Debug)]
pub(super) struct Server {
    places: Places,
    settings: Settings,
    env: Env,
    cwd: PathBuf,
    who: String,
    stop: Arc<Stop>,
}

impl Server {
    /// Reads the environment and the configuration.
    pub(super) fn from_environment() -> Result<Self, Failure> {
        let config = std::env::var_os("HLX_CONFIG").map_or_else(default_config, PathBuf::from);
        if std::env::var_os("HLX_CONFIG").is_some() && !config.exists() {
            return Err(Failure::new(Exit::Usage, format!("there is no {}", config.display()))
                .hint("HLX_CONFIG names it; `hlx server join URL` writes it"));
        }
        refuse_forgotten_root(&config)?;
        Self::with(Settings::read(&config).map_err(|error| failure(error.into()))?)
    }

    /// The same with settings that were read already.
    pub(super) fn with(settings: Settings) -> Result<Self, Failure> {
        let place = |name: &str, default: PathBuf| std::env::var_os(name).map_or(default, PathBuf::from);
        let Places { state, projects, run } = default_places();
        let places = Places {
            state: absolute(place("HLX_STATE_DIR", state))?,
            projects: absolute(place("HLX_PROJECTS", settings.projects.clone().unwrap_or(projects)))?,
            run: absolute(place("HLX_RUN_DIR", run))?,
        };
        let cwd = std::env::current_dir().unwrap_or_else(|_| "/".into());
        let env = environment(std::env::vars_os());
        Ok(Self { places, settings, env, cwd, who: who(), stop: Arc::default() })
    }

    /// What a restore at boot reads.
    pub(super) fn needs(&self) -> Vec<PathBuf> {
        vec![self.places.state.clone(), "/etc/hlx".into()]
    }

    /// The database of what was deployed.
    pub(super) fn database(&self) -> PathBuf {
        self.places.state.join("state.db")
    }

    /// The failure of asking for a stack that was never deployed here, with those that were.
    pub(super) fn not_deployed(&self, service: Service) -> Failure {
        let known = self.deployed().iter().map(Service::to_string).collect::<Vec<_>>();
        let names: Vec<&str> = known.iter().map(String::as_str).collect();
        let meant = nearest(service.as_str(), &names).map(|name| format!("did you mean `{name}`?"));
        let failure = Failure::new(Exit::Failed, Error::NotDeployed(service));
        let failure = meant.into_iter().fold(failure, Failure::hint);
        match known.is_empty() {
            true => failure.hint("nothing was deployed here yet"),
            false => failure.hint(format!("deployed here: {}", list(&known))),
        }
    }

    /// The stacks that were deployed here; none if that cannot be read.
    pub(super) fn deployed(&self) -> Vec<Service> {
        let state = State::open_if_there(&self.database()).ok().flatten();
        state.and_then(|state| state.stacks().ok()).unwrap_or_default()
    }

    /// How a deploy in its world is stopped.
    pub(super) fn stop(&self) -> Arc<Stop> {
        Arc::clone(&self.stop)
    }

    /// The world that a deploy happens in.
    pub(super) fn world<'w>(&'w self, open: Opener<'w>, report: Report<'w>) -> World<'w> {
        let Self { places, settings, env, cwd, who, stop } = self;
        World { places, settings, env, cwd, who, stop, open, report }
    }
}

/// A user without a configuration, where root has one: what that forbids would not count.
fn refuse_forgotten_root(config: &Path) -> Result<(), Failure> {
    let roots = Path::new(ROOTS);
    if config == roots || config.exists() || !roots.exists() || rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(Failure::new(Exit::Policy, format!("this host deploys by {ROOTS}, which only root does"))
        .hint("run it with sudo")
        .hint(format!(
            "to deploy stacks of your own without root, write `repo: URL` to {}",
            config.display()
        )))
}

/// Where root's hlx has its state.
const ROOTS_STATE: &str = "/var/lib/hlx";
/// Root's configuration.
const ROOTS: &str = "/etc/hlx/config.yaml";

/// A directory of the XDG Base Directory Specification, below the user's home by default.
fn xdg(name: &str, below_home: &str) -> PathBuf {
    let named = std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/".into()));
    named.unwrap_or_else(|| home().join(below_home)).join("hlx")
}

pub(super) fn default_config() -> PathBuf {
    match rustix::process::geteuid().is_root() {
        true => ROOTS.into(),
        false => xdg("XDG_CONFIG_HOME", ".config").join("config.yaml"),
    }
}

fn default_places() -> Places {
    if rustix::process::geteuid().is_root() {
        return Places { state: ROOTS_STATE.into(), projects: "/srv/hlx".into(), run: "/run/hlx".into() };
    }
    let state = xdg("XDG_STATE_HOME", ".local/state");
    // Nothing is kept there for a user: only vaults are mounted, and only they see what is in them.
    // In a directory that others can write to they could put their own in a vault's place.
    let is_own = |dir: &PathBuf| {
        let own = rustix::process::geteuid().as_raw();
        dir.metadata().is_ok_and(|meta| meta.uid() == own && meta.mode() & 0o077 == 0)
    };
    let run = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(is_own);
    let run = run.map(|dir| dir.join("hlx"));
    Places {
        run: run.unwrap_or_else(|| state.join("run")),
        projects: xdg("XDG_DATA_HOME", ".local/share"),
        state,
    }
}

fn absolute(path: PathBuf) -> Result<PathBuf, Failure> {
    match path.is_absolute() {
        true => Ok(deploy::tree::flat(&path)),
        false => Err(Failure::new(Exit::Usage, format!("{} is not an absolute path", path.display()))),
    }
}

/// The user, or the one who became root with sudo; it is only for the history.
fn who() -> String {
    let named = ["SUDO_USER", "USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    let id = || format!("uid {}", rustix::process::getuid().as_raw());
    named.filter(|name| !name.is_empty()).unwrap_or_else(id)
}

fn environment(vars: impl Iterator<Item = (OsString, OsString)>) -> Env {
    let mut env: Env = vars.filter(|(name, _)| is_passed(name)).collect();
    if !env.iter().any(|(name, _)| name == "PATH") {
        env.push(("PATH".into(), "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into()));
    }
    env
}

fn is_passed(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    PASSED.iter().any(|passed| match passed.strip_suffix('*') {
        Some(head) => name.starts_with(head),
        None => name == *passed,
    })
}

/// Shows what happens as notes on stderr. On a terminal, the conditions of the services are a
/// block of lines that changes in place.
pub(super) fn report(ui: Ui) -> impl Fn(Event<'_>) {
    let block: RefCell<Vec<(String, String)>> = RefCell::default();
    move |event| {
        if !matches!(event, Event::Service { .. }) {
            // What is shown now stays; the next block begins below.
            block.borrow_mut().clear();
        }
        match event {
            Event::Step(text) => ui.note(text),
            Event::Line { from, text } => ui.note(format!("{from} | {text}")),
            Event::Warning(text) => ui.warning(text),
            Event::Service { name, condition } => {
                let mut lines = block.borrow_mut();
                let height = lines.len();
                match lines.iter_mut().find(|line| line.0 == name) {
                    Some(line) => condition.clone_into(&mut line.1),
                    None => lines.push((name.to_owned(), condition.to_owned())),
                }
                let shown: Vec<String> = lines.iter().map(|(name, now)| format!("{name}: {now}")).collect();
                if !ui.block(height, &shown) {
                    ui.note(format!("{name}: {condition}"));
                }
            }
        }
    }
}

/// The service of a name that was typed.
pub(super) fn service(name: &str) -> Result<Service, Failure> {
    name.parse().map_err(|error| failure(Error::Name(error)))
}

/// The failure of a command that starts and stops containers: whether it came so far is said.
pub(super) fn of_deploy(error: Error) -> Failure {
    let untouched = error.left_containers_alone();
    let failure = failure(error);
    match untouched && failure.exit() != Exit::Usage {
        true => failure.hint("no container was touched"),
        false => failure,
    }
}

const KNOWN_BAD: &str = "push a commit that corrects it; if the reason was elsewhere, deploy with --retry";
const NO_WAY_BACK: &str =
    "to deploy without a way back, use --without-rollback or set `rollback: manual` under `x-hlx:`";
const SECRET_PROBE: &str =
    "let a program in the container read it from where the container has it: `exec: [SERVICE, sh, -c, …]`";
const BAKED: &str = "give it to the build as one of `build.secrets`, which no image keeps: `RUN --mount=type=secret,id=NAME …`";
const SETUP_TIME: &str = "it may take as long as `x-hlx.timeout` says, and ten minutes in any case";
const NOT_SECRET: &str = "what is no secret can stand in the compose file itself, in clear";

/// The exit code and the advice for every way in which a command of a server can end badly.
pub(super) fn failure(error: Error) -> Failure {
    let text = error.to_string();
    let plain = |exit| Failure::new(exit, &text);
    match error {
        Error::NotRoot => plain(Exit::Failed).hint("run it with sudo"),
        Error::Name(_) => plain(Exit::Usage),
        Error::Settings(error) => settings_failure(error),
        Error::NotOurs { stacks, .. } => {
            plain(Exit::Policy).hint(format!("`stacks` in the server configuration has: {}", list(&stacks)))
        }
        Error::OtherHost { .. } => plain(Exit::Policy)
            .hint("`x-hlx.hosts` in the compose file says so, and `host` in the server configuration names this host"),
        Error::Docker(error) => engines::docker_failure(error),
        Error::Busy(_) => plain(Exit::Busy).hint("try again when it has finished"),
        Error::Git(error) | Error::Tree(deploy::tree::Error::Git(error)) => git_failure(error),
        Error::Rewritten { .. } => plain(Exit::Policy).hint("if that was meant, deploy with --accept-rewrite"),
        Error::OtherRepo { .. } => plain(Exit::Policy).hint(TAKE_OVER),
        Error::Foreign { .. } => foreign_failure(&text),
        Error::Taken(_) => plain(Exit::Policy)
            .hint("move it away, or deploy with --adopt: tracked files are then overwritten, all others stay"),
        Error::ProjectOf { .. } => plain(Exit::Policy).hint("give one of the two another `name:` in its compose file"),
        Error::Renamed { .. } => plain(Exit::Policy).hint("run `hlx down` for the service first, or keep the old name"),
        Error::NotDeployed(_) => plain(Exit::Failed).hint("`docker compose ls` shows what runs without hlx"),
        Error::Tree(_) => plain(Exit::Failed).hint("remove it from the branch and push again"),
        Error::NoComposeFile(_) => plain(Exit::Failed).hint("a service's branch has a compose.yml at its top"),
        Error::Keys { path, source } => keys_failure(&path, source),
        Error::Readers(_) => plain(Exit::Policy).hint(super::rollback::READERS),
        Error::Denied(_) => plain(Exit::Policy)
            .hint("take it out of the branch, or allow it in the server configuration"),
        Error::Unsigned { .. } | Error::SignedFor { .. } => plain(Exit::Policy)
            .hint("make a commit of this branch and sign it by a key that is listed there (`git commit -S`; for an ssh key, `git config gpg.format ssh` comes first)"),
        Error::OpenPgp(error) => openpgp_failure(&error),
        Error::Lost { .. } => plain(Exit::Failed).hint("deploy the service again: that fetches it"),
        Error::Model { .. } => plain(Exit::Failed).hint("correct the compose file or `.env`, and push again"),
        Error::Step { what: "setup.sh", end: End::TimeUp, .. } => plain(Exit::Failed).hint(SETUP_TIME),
        Error::Unreadable(_) | Error::Disk { .. } | Error::State(_) | Error::Vault(_) | Error::Down(_)
        | Error::NotReady(_) | Error::Step { .. } | Error::ImageGone { .. } | Error::OtherImage { .. } => {
            plain(Exit::Failed)
        }
        Error::Wish(wish) => wish_failure(&wish),
        Error::Resident(error) => resident_failure(&error),
        Error::Swarm(error) => engines::swarm_failure(&error),
        Error::Engine(error) => engines::engine_failure(&error),
        Error::NotStarted { .. } => plain(Exit::Failed).hint("is it installed on this host, and is its place in PATH?"),
        Error::KnownBad { .. } => plain(Exit::Failed).hint(KNOWN_BAD),
        Error::NoWayBack { .. } => plain(Exit::Policy).hint(NO_WAY_BACK),
        Error::NotInBranch { .. } => plain(Exit::Usage).hint("name a commit by its hash; `hlx history` shows those that were deployed here"),
        Error::NothingEarlier(_) | Error::NothingFurther { .. } | Error::SameFiles { .. } => plain(Exit::Failed)
            .hint("name another commit with --to: `hlx history` shows those that were deployed here"),
        Error::CannotSign => plain(Exit::Policy).hint("run `hlx rollback` in a clone whose commits are signed"),
        Error::KeptName { .. } => plain(Exit::Policy).hint("choose a name that does not begin with `hlx/`"),
        Error::SecretProbe => plain(Exit::Policy).hint(SECRET_PROBE),
        Error::ProbeOf { services, .. } => plain(Exit::Failed).hint(format!("it has: {}", list(&services))),
        Error::Baked(_) => plain(Exit::Policy).hint(BAKED).hint(NOT_SECRET),
        Error::Broken(broken) => broken_failure(&text, &broken),
        Error::Hidden(hidden) => {
            let (error, masked) = hidden.into_parts();
            masked_failure(&failure(error), &masked)
        }
    }
}

fn masked_failure(failure: &Failure, masked: &dyn Fn(&str) -> String) -> Failure {
    let plain = Failure::new(failure.exit(), masked(failure.message()));
    failure.hints().iter().fold(plain, |plain, hint| plain.hint(masked(hint)))
}

const TAKE_OVER: &str = "to take it over, deploy with --adopt";

/// Containers that this hlx did not start: perhaps root's did.
fn foreign_failure(text: &str) -> Failure {
    let failure = Failure::new(Exit::Policy, text);
    match root_deploys(&default_places().state) {
        true => failure
            .hint("root deploys stacks on this host: if this is one of them, run it with sudo")
            .hint("if it is nobody's: to take it over, deploy with --adopt"),
        false => failure.hint(TAKE_OVER),
    }
}

/// Whether root has stacks here, of which a user's own hlx knows nothing. `own` is where that has its state.
fn root_deploys(own: &Path) -> bool {
    let roots = Path::new(ROOTS_STATE);
    own != roots && roots.exists()
}

fn broken_failure(text: &str, broken: &Broken) -> Failure {
    let again = "deploy again when the reason is gone: the commit is not to blame";
    let corrected = "push a commit that corrects it, and deploy again";
    let (exit, hint) = match (&broken.aftermath, broken.fault) {
        (Aftermath::Restored { .. }, Fault::Commit) => (Exit::RolledBack, "push a commit that corrects it"),
        (Aftermath::Restored { .. }, Fault::Host) => (Exit::RolledBack, again),
        (Aftermath::NothingBefore | Aftermath::Manual, Fault::Host) => (Exit::NotRestored, again),
        (Aftermath::NothingBefore | Aftermath::Manual, Fault::Commit) | (Aftermath::Failed { .. }, _) => {
            (Exit::NotRestored, corrected)
        }
    };
    let failure = Failure::new(exit, text).hint(hint);
    match broken.fault {
        Fault::Commit => failure.hint("this commit is not tried again unless with --retry"),
        Fault::Host => failure,
    }
}

fn keys_failure(path: &Path, error: keys::Error) -> Failure {
    let text = format!("{}: {error}", path.display());
    match error {
        keys::Error::NoIdentity { unused, .. } => unused
            .locked
            .iter()
            .map(|place| errors::unlock(place))
            .chain(unused.plugins.iter().map(|plugin| errors::allow(plugin)))
            .fold(Failure::new(Exit::NoKey, text), Failure::hint)
            .hint("this host needs one of those keys, for example in /etc/hlx/identity or with --identity")
            .hint("`hlx keys list -v` shows where keys were looked for")
            .hint("or add this host as a reader: `hlx recipients add` in the owner's clone"),
        keys::Error::Plugin(_) | keys::Error::Locked { .. } => Failure::new(Exit::NoKey, text),
        keys::Error::BrokenEnvelope { .. } | keys::Error::BrokenParts(_) | keys::Error::Sops(_) => {
            let plain = errors::keys(error);
            plain.hints().iter().fold(Failure::new(plain.exit(), text), |failure, hint| failure.hint(hint))
        }
    }
}

/// Says which identities were there but could not be used, where that may be the reason.
pub(super) fn unused_keys(failure: Failure, keyring: &Keyring) -> Failure {
    let unused = keyring.tried().iter();
    let unused =
        unused.filter_map(|tried| Some(format!("{} is not used: {}", tried.place, tried.unusable()?)));
    match failure.exit() == Exit::NoKey {
        true => unused.fold(failure, Failure::hint),
        false => failure,
    }
}

fn settings_failure(error: settings::Error) -> Failure {
    let failure = Failure::new(Exit::Failed, &error);
    match error {
        settings::Error::Writable(path) => {
            failure.hint(format!("chown root {0} && chmod 644 {0}", path.display()))
        }
        settings::Error::UnknownKey { nearest: Some(nearest), .. } => {
            failure.hint(format!("did you mean `{nearest}`?"))
        }
        settings::Error::Deny {
            bad:
                deny::Bad::Unknown { nearest: Some(nearest), .. } | deny::Bad::Key { nearest: Some(nearest), .. },
            ..
        } => failure.hint(format!("did you mean `{nearest}`?")),
        settings::Error::Deny { bad: deny::Bad::Key { nearest: None, .. }, .. } => {
            failure.hint("`host-mounts` and `external` can have `except`, with a list")
        }
        settings::Error::Deny { bad: deny::Bad::Unknown { nearest: None, .. } | deny::Bad::Form, .. } => {
            failure
                .hint("it can name setup, privileged, docker-socket, host-network, host-mounts and external")
        }
        settings::Error::UnknownKey { nearest: None, .. }
        | settings::Error::Read { .. }
        | settings::Error::Syntax { .. }
        | settings::Error::AnyBranch(_)
        | settings::Error::Value { .. } => failure,
    }
}

fn openpgp_failure(error: &openpgp::Error) -> Failure {
    match error {
        openpgp::Error::NoProgram => Failure::new(Exit::Missing, error).hint("install gnupg"),
        openpgp::Error::Run(_) | openpgp::Error::Read { .. } => Failure::new(Exit::Failed, error),
        openpgp::Error::Secret(path) | openpgp::Error::NoKeys { path, .. } => Failure::new(
            Exit::Failed,
            error,
        )
        .hint(format!("write the public keys there, as root: gpg --export --armor KEY >{}", path.display())),
    }
}

fn git_failure(error: mirror::Error) -> Failure {
    let text = error.to_string();
    let failed = Failure::new(Exit::Failed, &text);
    match error {
        mirror::Error::Start(_) => Failure::new(Exit::Missing, &error).hint("install git"),
        mirror::Error::Old(_) => Failure::new(Exit::Missing, &error).hint("install a newer git"),
        mirror::Error::Source { .. } => Failure::new(Exit::Usage, &error),
        mirror::Error::NoSource => Failure::new(Exit::Usage, &error)
            .hint("name it with --repo, or as `repo` in the server configuration"),
        mirror::Error::UnknownService { services, .. } => {
            let unknown = Failure::new(Exit::Usage, text);
            match services.is_empty() {
                true => unknown.hint("it has no services at all"),
                false => unknown.hint(format!("it has: {}", list(&services))),
            }
        }
        mirror::Error::Failed { what: "push", .. } => failed
            .hint("this host may read the repository; may it also push, and did the branch stay as it was?"),
        mirror::Error::Failed { what: "fetch", .. } => {
            failed.hint("is the repository there, and may root read it?")
        }
        mirror::Error::Failed { .. } | mirror::Error::Answer(_) | mirror::Error::Disk { .. } => failed,
    }
}

fn wish_failure(wish: &wishes::BadWish) -> Failure {
    let failure = Failure::new(Exit::Failed, wish);
    match wish {
        wishes::BadWish::Unknown { nearest: Some(nearest), .. } => {
            failure.hint(format!("did you mean `{nearest}`?"))
        }
        wishes::BadWish::Unknown { nearest: None, .. } | wishes::BadWish::Value { .. } => failure,
        wishes::BadWish::NoTime { .. } => failure.hint("set `x-hlx.timeout` higher, or `x-hlx.stable` lower"),
    }
}

fn resident_failure(error: &resident::Error) -> Failure {
    let failure = Failure::new(Exit::Failed, error);
    match error {
        resident::Error::Conflict { .. } => {
            failure.hint("grant it alike, or define it twice under two names")
        }
        resident::Error::Grant { .. } => {
            failure.hint("write uid and gid as numbers and mode as octal, like \"0440\"")
        }
        resident::Error::Ram { .. } => {
            failure.hint("Linux 6.4 or later has tmpfs with noswap; with swap off any will do")
        }
    }
}

fn list(names: &[String]) -> String {
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_get_what_they_need_and_nothing_else() {
        let vars =
            ["PATH", "DOCKER_HOST", "GIT_DIR", "COMPOSE_FILE", "DB_PASSWORD", "LC_ALL", "GIT_SSH_COMMAND"];
        let env = environment(vars.iter().map(|name| ((*name).into(), "x".into())));
        let names: Vec<_> = env.iter().map(|(name, _)| name.to_str().unwrap()).collect();
        assert_eq!(names, ["PATH", "DOCKER_HOST", "LC_ALL", "GIT_SSH_COMMAND"]);
        // Where keys are, or what they are.
        let secret = [
            "HLX_IDENTITY",
            "HLX_CONFIG",
            "SOPS_AGE_KEY",
            "SOPS_AGE_KEY_FILE",
            "SOPS_AGE_SSH_PRIVATE_KEY_FILE",
        ];
        let more = ["AGE_KEY", "CREDENTIALS_DIRECTORY", "GIT_CONFIG_PARAMETERS", "SSH_ASKPASS"];
        assert!(secret.iter().chain(&more).all(|name| !is_passed(OsStr::new(name))));
    }

    #[test]
    fn each_kind_of_failure_has_its_documented_exit_code() {
        use deploy::docker;
        let service: deploy::Service = "web".parse().unwrap();
        assert_eq!(failure(Error::Busy(service.clone())).exit(), Exit::Busy);
        assert_eq!(failure(docker::Error::ComposeV1("1.29".into()).into()).exit(), Exit::Missing);
        assert_eq!(failure(Error::Broken(Box::default())).exit(), Exit::NotRestored);
        let unknown = mirror::Error::UnknownService {
            repo: "r".into(),
            service,
            services: vec!["a".into(), "b".into()],
        };
        let unknown = failure(unknown.into());
        assert_eq!((unknown.exit(), unknown.hints()), (Exit::Usage, &["it has: a, b".to_owned()][..]));
    }
}
