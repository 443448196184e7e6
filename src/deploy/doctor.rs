//! Whether this host is fit to deploy on: one line for each thing that matters, with a remedy.
//!
//! Each line is judged by a function over what was read, so that the rules can be tested; the
//! reading around them is dull.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::Access;
use serde::Serialize;

use super::docker::{self, Docker};
use super::mirror::{self, Git, Mirror, Source};
use super::preflight::{self, space};
use super::resident::Resident;
use super::service::nearest;
use super::state::{self, State};
use super::verify::Signers;
use super::verify::openpgp::{self, Key, KeyState, Keyring};
use super::{Service, World, unit, verify};
use crate::sys::ram;

/// How well one thing stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// Deploys work, with something to know.
    Warn,
    /// Deploys do not work, or not as promised.
    Fail,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub name: &'static str,
    /// How well it stands.
    pub verdict: Verdict,
    /// How it is.
    pub text: String,
    /// What to do, where something is to be done.
    pub remedy: Option<String>,
}

impl Finding {
    /// All is well with it.
    pub fn ok(name: &'static str, text: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Ok, text: text.into(), remedy: None }
    }

    /// Something to know.
    pub fn warn(name: &'static str, text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Warn, text: text.into(), remedy: Some(remedy.into()) }
    }

    /// Something to mend.
    pub fn fail(name: &'static str, text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Fail, text: text.into(), remedy: Some(remedy.into()) }
    }
}

/// Looks at everything but keys and configuration, which the door reads.
pub fn examine(world: &World<'_>, config: &Path) -> Vec<Finding> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let docker = Docker::new(world.env, "/");
    let (engine, data) = engine(&docker);
    let mut all = vec![
        user(rustix::process::geteuid().is_root()),
        engine,
        git(&Git::new(world.env)),
        memory(),
        swap(&read("/proc/swaps")),
        dumps(&read("/proc/sys/kernel/core_pattern")),
        config_file(config),
        state_directory(&world.places.state),
    ];
    let places = [Some(world.places.state.clone()), Some(world.places.projects.clone()), data];
    all.extend(places.into_iter().flatten().map(|place| room(&place)));
    all.extend(repository(world).into_iter().flatten());
    let lists = world.settings.verify.iter().flat_map(|verify| &verify.0);
    all.extend(lists.map(|list| match list {
        Signers::Ssh(file) => signers(file),
        Signers::OpenPgp(file) => openpgp(file, Keyring::of(file, &world.places.run, world.env)),
    }));
    all.extend(boot(world));
    all
}

fn user(is_root: bool) -> Finding {
    match is_root {
        true => Finding::ok("user", "root"),
        false => Finding::warn(
            "user",
            "not root: stacks whose containers mount encrypted files cannot be deployed",
            "run it with sudo, if there are such",
        ),
    }
}

/// Whether the repository of the configuration answers, and has what is to be deployed.
fn repository(world: &World<'_>) -> Option<Vec<Finding>> {
    const NAME: &str = "repository";
    let named = world.settings.repo.as_deref()?;
    let git = Git::new(world.env);
    let listed = Source::new(named, world.cwd)
        .and_then(|source| Ok((Mirror::listed(&world.places.state, &source, &git)?, source.to_string())));
    Some(match listed {
        Ok((branches, shown)) if branches.is_empty() => {
            vec![Finding::warn(NAME, format!("{shown} has no branches"), "push some from a clone")]
        }
        Ok((branches, shown)) => {
            let stacks = world.settings.stacks.as_deref().and_then(|stacks| self::stacks(stacks, &branches));
            let read = Finding::ok(NAME, format!("{shown} can be read"));
            std::iter::once(read).chain(stacks).collect()
        }
        Err(error) => vec![Finding::fail(
            NAME,
            one_line(&error.to_string()),
            "correct `repo` in the configuration, or let this host in at the git host",
        )],
    })
}

/// The stacks of the configuration, each of which is to be a branch.
fn stacks(named: &[String], branches: &[String]) -> Option<Finding> {
    let known: Vec<&str> = branches.iter().map(String::as_str).collect();
    let said = |name: &String| match nearest(name, &known) {
        Some(meant) => format!("`{name}` (did you mean `{meant}`?)"),
        None => format!("`{name}`"),
    };
    let lost: Vec<String> = named.iter().filter(|name| !branches.contains(name)).map(said).collect();
    let text = || format!("the repository has no branch {}", lost.join(", "));
    let remedy = "correct `stacks` in the configuration, or push the branch";
    (!lost.is_empty()).then(|| Finding::fail("stacks", text(), remedy))
}

/// The list of `verify`: without it nothing is deployed.
fn signers(path: &Path) -> Finding {
    const NAME: &str = "signers";
    match verify::is_roots(path) {
        Ok(()) => Finding::ok(NAME, format!("{}, root's alone", path.display())),
        Err(error) => {
            let remedy = format!(
                "write the keys that may sign there (ssh-keygen(1), ALLOWED SIGNERS), \
                                  as root: {}",
                path.display()
            );
            Finding::fail(NAME, error.to_string(), remedy)
        }
    }
}

/// The OpenPGP keys of `verify`.
fn openpgp(file: &Path, keyring: Result<Keyring, openpgp::Error>) -> Finding {
    const NAME: &str = "signers";
    let export = format!("as root: gpg --export --armor KEY >{}", file.display());
    match (verify::is_roots(file), keyring) {
        (Err(error), _) => Finding::fail(NAME, error.to_string(), export),
        (Ok(()), Err(error @ openpgp::Error::NoProgram)) => {
            Finding::fail(NAME, error.to_string(), "install gnupg")
        }
        (Ok(()), Err(error)) => Finding::fail(NAME, one_line(&error.to_string()), export),
        (Ok(()), Ok(keyring)) => keys(file, keyring.keys(), export),
    }
}

/// A key that expired stops the deploys of its owner.
fn keys(file: &Path, keys: &[Key], remedy: String) -> Finding {
    const NAME: &str = "signers";
    let gone: Vec<String> = keys
        .iter()
        .filter(|key| key.state != KeyState::Valid)
        .map(|key| format!("{} ({})", key.fingerprint, key.state))
        .collect();
    match gone.len() {
        0 => Finding::ok(NAME, format!("{}, root's alone; OpenPGP keys: {}", file.display(), keys.len())),
        count if count == keys.len() => {
            Finding::fail(NAME, format!("{}: no key can sign: {}", file.display(), gone.join(", ")), remedy)
        }
        _ => Finding::warn(NAME, format!("{}: cannot sign: {}", file.display(), gone.join(", ")), remedy),
    }
}

/// Docker and Compose, and where Docker keeps its data.
fn engine(docker: &Docker) -> (Finding, Option<PathBuf>) {
    const DOCS: &str = "https://docs.docker.com/engine/install/";
    match docker.check() {
        Ok(endpoint) if endpoint.is_far() => {
            let said = docker.versions().unwrap_or_default();
            (Finding::ok("docker", format!("{said}, on another host: {endpoint}")), None)
        }
        Ok(_) => {
            let said = docker.versions().unwrap_or_default();
            (Finding::ok("docker", said), preflight::data_root(docker))
        }
        Err(error) => {
            let remedy = match &error {
                docker::Error::Down(_) => "systemctl start docker",
                docker::Error::Missing
                | docker::Error::EngineOld(_)
                | docker::Error::ComposeV1(_)
                | docker::Error::ComposeMissing
                | docker::Error::ComposeOld(_)
                | docker::Error::Failed { .. }
                | docker::Error::Start(_) => DOCS,
            };
            (Finding::fail("docker", first_line(&error.to_string()), remedy), None)
        }
    }
}

fn git(git: &Git) -> Finding {
    match git.check() {
        Ok(version) => Finding::ok("git", version),
        Err(error @ mirror::Error::Old(_)) => {
            Finding::fail("git", error.to_string(), "install git 2.39 or later")
        }
        Err(error) => Finding::fail("git", first_line(&error.to_string()), "install git"),
    }
}

/// What keeps plaintext in RAM.
fn memory() -> Finding {
    if !rustix::process::geteuid().is_root() {
        // Each deploy tries it in a namespace of its own, which a look cannot do.
        return Finding::ok("ram", "mounted by each deploy, in a user namespace");
    }
    match ram::kind_here() {
        Ok(ram::Kind::NoSwap) => Finding::ok("ram", "tmpfs with noswap"),
        Ok(ram::Kind::Ramfs) => Finding::ok(
            "ram",
            "ramfs: never swapped out, and without a limit (tmpfs has noswap from Linux 6.4 on)",
        ),
        Ok(ram::Kind::Plain) => {
            let text = "only tmpfs without noswap: it serves as long as no swap is on";
            Finding::warn("ram", text, "Linux 6.4 or later, or the kernel module ramfs")
        }
        Err(error) => Finding::fail(
            "ram",
            format!("no RAM file system that is never swapped out can be mounted: {error}"),
            "have Linux 6.4 or later, or switch swap off: swapoff -a",
        ),
    }
}

/// `/proc/swaps`, whose first line is a heading.
fn swap(table: &str) -> Finding {
    let names: Vec<&str> = table.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    if names.is_empty() {
        return Finding::ok("swap", "off");
    }
    let in_ram = |name: &&str| name.starts_with("/dev/zram");
    let text = format!("on: {}", names.join(", "));
    match names.iter().all(in_ram) {
        true => Finding::ok("swap", text + ", in RAM itself"),
        false => Finding::warn(
            "swap",
            text + ": files in RAM are kept out of it, the memory of programs that read them is not",
            "encrypt it (a random key at each boot), or switch it off: swapoff -a",
        ),
    }
}

/// Programs of a deploy may not write core files, but a pattern that is a program is run all the same: core(5).
fn dumps(pattern: &str) -> Finding {
    match pattern.trim() {
        piped if piped.starts_with('|') => Finding::warn(
            "core dumps",
            format!("go to a program, {}, whatever limits are set", first_word(&piped[1..])),
            "have it keep none: `Storage=none` in /etc/systemd/coredump.conf, or sysctl kernel.core_pattern=core",
        ),
        _ => Finding::ok("core dumps", "none of hlx and of what it starts"),
    }
}

fn first_word(text: &str) -> &str {
    text.split_whitespace().next().unwrap_or_default()
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// Who can change what decides over power.
fn config_file(path: &Path) -> Finding {
    const NAME: &str = "configuration";
    let shown = path.display();
    let parts = path.ancestors().take(2).filter_map(|part| Some((part, part.metadata().ok()?)));
    let loose = |(_, meta): &(&Path, std::fs::Metadata)| meta.uid() != 0 || meta.mode() & 0o022 != 0;
    if let Some((part, _)) = parts.into_iter().find(loose) {
        let part = part.display();
        let text = format!("{part} is not root's alone: it decides what runs as root");
        return Finding::fail(NAME, text, format!("chown root {part} && chmod go-w {part}"));
    }
    match path.exists() {
        true => Finding::ok(NAME, format!("{shown}, root's alone")),
        false => Finding::ok(NAME, format!("no {shown}")),
    }
}

fn state_directory(path: &Path) -> Finding {
    const NAME: &str = "state";
    let shown = path.display();
    let is_there = |above: &&Path| above.exists();
    if let Some(there) = path.ancestors().find(is_there)
        && let Err(error) = rustix::fs::access(there, Access::WRITE_OK)
    {
        let text = format!("nothing can be written to {}: {error}", there.display());
        return Finding::fail(NAME, text, "mount it for writing, or name another place by HLX_STATE_DIR");
    }
    match path.metadata() {
        Err(_) => Finding::ok(NAME, format!("no {shown}: nothing was deployed yet")),
        Ok(meta) if meta.uid() != rustix::process::geteuid().as_raw() || meta.mode() & 0o077 != 0 => {
            let text = format!("{shown} can be read by others");
            Finding::fail(NAME, text, format!("chown root {shown} && chmod 700 {shown}"))
        }
        Ok(_) => Finding::ok(NAME, format!("{shown}, root's alone")),
    }
}

fn room(path: &Path) -> Finding {
    match space::look(path) {
        space::Room::Enough => Finding::ok("disk", format!("{} has room", path.display())),
        space::Room::Little(text) => Finding::warn("disk", text, "docker image prune, or a larger disk"),
        space::Room::None(text) => Finding::fail("disk", text, "docker image prune, or a larger disk"),
    }
}

/// File secrets, which must be in RAM now and need the unit at boot.
fn boot(world: &World<'_>) -> Vec<Finding> {
    let enabled = format!("/etc/systemd/system/docker.service.wants/{}", unit::NAME);
    match file_secrets(world) {
        Ok(stacks) => {
            let missing = stacks.iter().filter(|(_, is_whole)| !is_whole).map(|(stack, _)| stack.to_string());
            let missing: Vec<String> = missing.collect();
            let after = after_boot(stacks.len(), Path::new(&enabled).exists());
            missing_secrets(&missing).into_iter().chain([after]).collect()
        }
        Err(error) => vec![Finding::fail("reboot", error.to_string(), "install the hlx that made it")],
    }
}

/// The stacks with file secrets, and whether all of them are in RAM.
fn file_secrets(world: &World<'_>) -> Result<Vec<(Service, bool)>, state::Error> {
    let Some(state) = State::open_if_there(&world.places.state.join("state.db"))? else {
        return Ok(Vec::new());
    };
    let look = |stack: Service| {
        let resident = Resident::new(world.places.resident(&stack));
        let files = state.resident(&stack)?;
        let is_whole = files.iter().all(|file| resident.at(&file.place, &file.path).exists());
        Ok((stack, is_whole))
    };
    state.stacks_with_resident()?.into_iter().map(look).collect()
}

fn missing_secrets(stacks: &[String]) -> Option<Finding> {
    let text =
        || format!("those of {} are not in RAM: containers that mount them cannot start", stacks.join(", "));
    (!stacks.is_empty()).then(|| Finding::fail("file secrets", text(), "hlx materialise --all"))
}

fn after_boot(stacks: usize, is_enabled: bool) -> Finding {
    const NAME: &str = "reboot";
    match (stacks, is_enabled) {
        (0, false) => Finding::ok(NAME, "no stack has secrets that a reboot would lose"),
        (_, true) => Finding::ok(NAME, format!("{} restores file secrets before Docker starts", unit::NAME)),
        (_, false) => Finding::warn(
            NAME,
            format!(
                "a reboot loses the file secrets of stacks ({stacks}), and {} is not enabled",
                unit::NAME
            ),
            "hlx server install",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swap_is_told_by_where_it_is() {
        let heading = "Filename\t\t\t\tType\t\tSize\tUsed\tPriority\n";
        let verdict = |lines: &str| swap(&format!("{heading}{lines}")).verdict;
        assert_eq!(verdict(""), Verdict::Ok);
        assert_eq!(swap("").verdict, Verdict::Ok);
        assert_eq!(verdict("/dev/zram0 partition 1 0 100\n"), Verdict::Ok);
        assert_eq!(verdict("/dev/zram0 partition 1 0 100\n/dev/sda2 partition 1 0 -2\n"), Verdict::Warn);
    }

    #[test]
    fn a_core_pattern_that_is_a_program_is_warned_of() {
        assert_eq!(dumps("core\n").verdict, Verdict::Ok);
        assert_eq!(dumps("/var/crash/%p\n").verdict, Verdict::Ok);
        let piped = dumps("|/usr/lib/systemd/systemd-coredump %P %u\n");
        assert_eq!(piped.verdict, Verdict::Warn);
        assert!(piped.text.contains("/usr/lib/systemd/systemd-coredump,"), "{}", piped.text);
    }

    #[test]
    fn what_a_reboot_loses_needs_the_unit() {
        assert_eq!(after_boot(0, false).verdict, Verdict::Ok);
        assert_eq!(after_boot(2, true).verdict, Verdict::Ok);
        assert_eq!(after_boot(2, false).verdict, Verdict::Warn);
    }

    #[test]
    fn stacks_that_are_no_branch_fail() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let branches = names(&["jellyfin", "main"]);
        assert_eq!(stacks(&names(&["jellyfin"]), &branches), None);
        let finding = stacks(&names(&["jelyfin", "jellyfin", "x"]), &branches).unwrap();
        assert_eq!(finding.verdict, Verdict::Fail);
        assert_eq!(finding.text, "the repository has no branch `jelyfin` (did you mean `jellyfin`?), `x`");
    }

    #[test]
    fn signers_that_are_not_there_fail() {
        let dir = tempfile::tempdir().unwrap();
        let finding = signers(&dir.path().join("signers"));
        assert!(finding.verdict == Verdict::Fail && finding.text.contains("signers"), "{finding:?}");
    }

    #[test]
    fn openpgp_keys_that_cannot_sign_are_named() {
        let key = |fingerprint: &str, state| Key { fingerprint: fingerprint.into(), state };
        let (valid, old) = (key("AA", KeyState::Valid), key("BB", KeyState::Expired));
        let judge = |list: &[Key]| keys(Path::new("/k"), list, "export".into());
        assert_eq!(judge(std::slice::from_ref(&valid)).verdict, Verdict::Ok);
        let some = judge(&[valid, old.clone()]);
        assert!(some.verdict == Verdict::Warn && some.text.contains("BB (expired)"), "{some:?}");
        assert_eq!(judge(&[old]).verdict, Verdict::Fail);
    }

    #[test]
    fn loose_permissions_fail() {
        use std::fs::{Permissions, set_permissions};
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let chmod = |mode| set_permissions(dir.path(), Permissions::from_mode(mode)).unwrap();
        chmod(0o700);
        assert_eq!(state_directory(dir.path()).verdict, Verdict::Ok);
        chmod(0o755);
        assert_eq!(state_directory(dir.path()).verdict, Verdict::Fail);
        chmod(0o777);
        assert_eq!(config_file(&dir.path().join("config.yaml")).verdict, Verdict::Fail);
    }
}
