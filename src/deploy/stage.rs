//! The programs of a deploy, run in the vault's view of the project directory.

mod stack;
mod variables;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::contents;
use super::error::Error;
use super::exec::Console;
use super::guard::{SEALED, TEMPORARY, TREE};
use super::images::BUILT_FOR;
use super::mirror::os;
use super::model::{self, Model, Naming};
use super::outlet::{Outlet, Report};
use super::resident::Ground;
use super::service::Service;
use super::stop::Stop;
use super::tree::{Entry, Kind, MOST};
use super::vault::{NOT_STARTED, Vault};
use crate::secret::SecretBytes;
use crate::sys::process::{Call, End, Env};
pub(super) use variables::Variables;

/// Builds and pulls may take long; none may take for ever.
const LONG: Duration = Duration::from_secs(3600);
const ASK: Duration = Duration::from_secs(120);
/// So long may a `setup.sh` take whose stack does not wait for longer.
const SETUP: Duration = Duration::from_secs(600);

/// Compose's warning, of secrets and of configs. (docker/compose: `pkg/compose/create.go`.)
const IGNORED: &str = "`uid`, `gid` and `mode` are not supported";

const MODEL: &str = "model.json";
const BUILD: &str = "build.json";
const OVERRIDE: &str = "resident.json";
const PINS: &str = "images.json";
const LABELS: &str = "labels.json";

/// A vault that is filled, and what runs in it.
pub(super) struct Stage<'s> {
    vault: Vault,
    ground: Ground<'s>,
    env: Env,
    files: Vec<PathBuf>,
    report: Report<'s>,
    overrides: Vec<&'static str>,
    /// What compose says of the model and is not so.
    not_so: Option<&'static str>,
    /// What secrets and configs are made of.
    variables: Variables,
    /// Ends what starts containers.
    stop: Option<&'s Stop>,
    /// The model as compose printed it.
    json: SecretBytes,
}

/// What the vault may hold besides: the model, and temporary files of programs.
const BESIDES: u64 = 256 << 20;

impl<'s> Stage<'s> {
    /// Opens the vault at `dir` and fills it; the project directory still shows ciphertext.
    pub(super) fn open(
        dir: &Path,
        ground: Ground<'s>,
        env: &Env,
        files: Vec<PathBuf>,
        report: Report<'s>,
    ) -> Result<Self, Error> {
        let mut vault = Vault::open(dir, ground.project, room(&ground)?).map_err(Error::Vault)?;
        ground
            .tree
            .iter()
            .try_for_each(|(path, entry)| fill(&mut vault, &ground, path, entry))
            .map_err(Error::Vault)?;
        let mut env = env.clone();
        env.push(("TMPDIR".into(), dir.join(TEMPORARY).into()));
        Ok(Self {
            vault,
            ground,
            env,
            files,
            report,
            overrides: Vec::new(),
            not_so: None,
            variables: Variables::new(),
            stop: None,
            json: SecretBytes::new(Vec::new()),
        })
    }

    /// Shows the commit's files in the project directory, sealed ones in plaintext, among what
    /// is there besides; inside the vault only. Containers may share the directory and write
    /// to it, so that files that are not sealed are not taken from there either.
    fn cover(&mut self) -> io::Result<()> {
        let files = self.ground.tree.iter().filter(|(_, entry)| entry.kind != Kind::Link);
        let paths = files.map(|(path, _)| path.clone()).collect();
        self.vault.cover(paths)
    }

    /// The model as compose sees it, read from nothing but the commit. From here on compose is
    /// given the model that it printed.
    pub(super) fn model(&mut self, branch: &str) -> Result<Model, Error> {
        self.vault.replace(TREE).map_err(Error::Vault)?;
        let read = self.read_model(branch);
        let read = read.and_then(|(model, json)| Ok((self.ask_variables(&model)?, model, json)));
        self.vault.uncover().map_err(Error::Vault)?;
        let (variables, model, json) = read?;
        self.json = SecretBytes::new(json.expose().clone());
        self.vault.put(MODEL, 0o600, json).map_err(Error::Vault)?;
        self.give_variables(&model, variables)?;
        Ok(model)
    }

    /// The model as compose printed it; it holds every secret.
    pub(super) fn json(&self) -> &[u8] {
        self.json.expose()
    }

    /// Compose's hash of each service: the one that it keeps on a container, by which it tells
    /// whether to replace it.
    pub(super) fn hashes(&mut self, project: &str) -> Result<BTreeMap<String, String>, Error> {
        let call = self.compose(Some(project), ASK).args(["config", "--hash", "*"]);
        let done = self.vault.output(call).map_err(Error::Vault)?;
        if !done.end.is_success() {
            let said = self.ground.unsealed.masker.text(done.err.expose());
            return Err(Error::Model { broken: None, said: super::outlet::lines(&said) });
        }
        let text = String::from_utf8_lossy(done.out.expose());
        let pair =
            |line: &str| line.split_once(' ').map(|(name, hash)| (name.to_owned(), hash.trim().to_owned()));
        Ok(text.lines().filter_map(pair).collect())
    }

    /// The compose files that the model was made of.
    pub(super) fn files(&self) -> &[PathBuf] {
        &self.files
    }

    fn read_model(&mut self, branch: &str) -> Result<(Model, SecretBytes), Error> {
        let main = self.ground.unsealed.plain(self.ground.tree, &self.files[0]).unwrap_or_default();
        let name = match model::naming(main) {
            Naming::File(name) => Some(name),
            Naming::Branch => Some(branch.to_owned()),
            Naming::Compose => None,
        };
        let call = self.tracked(name.as_deref()).args(["config", "--format", "json"]);
        let done = self.vault.output(call).map_err(Error::Vault)?;
        let masker = &self.ground.unsealed.masker;
        let said = masker.text(done.err.expose());
        if !done.end.is_success() {
            return Err(Error::Model { broken: self.broken_file(), said: super::outlet::lines(&said) });
        }
        super::outlet::lines(&said).lines().for_each(|line| (self.report)(super::Event::Warning(line)));
        let model = Model::parse(done.out.expose()).map_err(Error::Unreadable)?;
        Ok((model, done.out))
    }

    /// The first compose file that is no YAML, with the line.
    fn broken_file(&self) -> Option<(PathBuf, usize)> {
        self.files.iter().find_map(|file| {
            let text = self.ground.unsealed.plain(self.ground.tree, file).unwrap_or_default();
            Some((file.clone(), model::broken_line(text)?))
        })
    }

    /// Builds images from contexts that show the commit's files, and nothing else, as ciphertext;
    /// only `build.secrets` are plain.
    ///
    /// The images get a label with the stack's name, by which they are known for hlx's own.
    pub(super) fn build(&mut self, model: &Model, stack: &Service) -> Result<(), Error> {
        let ground = self.ground;
        ground
            .tree
            .iter()
            .try_for_each(|(path, entry)| fill_sealed(&mut self.vault, path, entry))
            .map_err(Error::Vault)?;
        self.vault.replace(SEALED).map_err(Error::Vault)?;
        let built = self.build_there(model, stack);
        self.vault.uncover().map_err(Error::Vault)?;
        built
    }

    fn build_there(&mut self, model: &Model, stack: &Service) -> Result<(), Error> {
        let mut over = self.build_secrets(model);
        let builds = model.services.iter().filter(|(_, service)| service.build.is_some());
        let labelled = |(name, _): (&String, _)| {
            (name.clone(), json!({ "build": { "labels": { BUILT_FOR: stack.as_str() } } }))
        };
        over["services"] = Value::from_iter(builds.map(labelled));
        self.vault.put(BUILD, 0o600, SecretBytes::new(over.to_string().into())).map_err(Error::Vault)?;
        let files = [MODEL, BUILD].map(|name| self.vault.dir().join(name));
        let call = self.docker_compose(&files, Some(&model.name), LONG).var("COMPOSE_DISABLE_ENV_FILE", "1");
        self.step("building images", "build", call.arg("build"))
    }

    fn build_secrets(&self, model: &Model) -> Value {
        let granted = |name: &String| {
            let builds = model.services.values().filter_map(|service| service.build.as_ref());
            builds.flat_map(|build| &build.secrets).any(|grant| grant.source == *name)
        };
        let place = |(name, source): (&String, &model::Source)| {
            let sealed = self.ground.sealed(source.file.as_deref()?)?;
            Some((name.clone(), json!({ "file": self.vault.dir().join(TREE).join(sealed) })))
        };
        let secrets = model.secrets.iter().filter(|(name, _)| granted(name)).filter_map(place);
        json!({ "secrets": Value::from_iter(secrets) })
    }

    /// Adds the compose file that points at resident files. They have the owner and mode that the model
    /// asks for, of which compose warns that it does not.
    pub(super) fn point(&mut self, model: &Model, resident: &Value) -> Result<(), Error> {
        let is_resident = |file: &Path| self.ground.sealed(file).is_some();
        self.not_so = model.grants_are_kept(&is_resident).then_some(IGNORED);
        self.lay_over(OVERRIDE, resident)
    }

    /// Adds the compose file that names the images to use.
    pub(super) fn pin(&mut self, images: &Value) -> Result<(), Error> {
        self.lay_over(PINS, images)
    }

    /// Adds the compose file that labels services by the content that they read, if any reads some.
    pub(super) fn label(&mut self, key: &SecretBytes) -> Result<(), Error> {
        let model: Value = serde_json::from_slice(self.json()).map_err(Error::Unreadable)?;
        match contents::labels(&model, &self.variables, self.ground, key) {
            Some(labels) => self.lay_over(LABELS, &labels),
            None => Ok(()),
        }
    }

    fn lay_over(&mut self, name: &'static str, content: &Value) -> Result<(), Error> {
        self.overrides.push(name);
        self.vault.put(name, 0o600, SecretBytes::new(content.to_string().into())).map_err(Error::Vault)
    }

    /// Runs `setup.sh` in the project directory, with the interpreter that its first line names:
    /// the vault's own files cannot be executed. A shell reads it from the vault itself, where no
    /// container can put another in its place; other interpreters open it by its name, covered.
    ///
    /// It may take as long as the containers, `timeout`, and ten minutes in any case.
    pub(super) fn setup(&mut self, script: &str, content: &[u8], timeout: Duration) -> Result<(), Error> {
        let mut call = self.call(setup_limit(timeout));
        call.argv = interpreter(content);
        let named = PathBuf::from(format!("./{script}"));
        if is_shell(&call.argv) {
            // `$0` is what the script would see, and there are no arguments.
            call = call.args(["-c", "hlx_script=$1; shift; . \"$hlx_script\""]).arg(&named);
            call = call.arg(self.vault.dir().join(TREE).join(script));
        } else {
            call = call.arg(&named);
        }
        self.cover().and_then(|()| self.vault.check()).map_err(Error::Vault)?;
        self.step("setup.sh", "setup.sh", call)?;
        self.vault.check().map_err(Error::Vault)
    }

    /// Runs any program in the project directory as the commit has it, with sealed files open.
    pub(super) fn run(
        &mut self,
        command: &[OsString],
        limit: Duration,
        console: Console<'_>,
    ) -> Result<End, Error> {
        let mut call = self.call(limit);
        call.argv = command.to_vec();
        self.cover().and_then(|()| self.vault.check()).map_err(Error::Vault)?;
        let program = call.argv[0].clone();
        let end = match console {
            Console::Pipes { input, sink } => {
                self.vault.feed(input).map_err(Error::Vault)?;
                self.vault.stream(call, sink)
            }
            Console::Terminal(terminal) => {
                self.vault.attach(terminal.path()).map_err(Error::Vault)?;
                let said_there = &mut |_, _: &[u8]| {};
                terminal.join(|| self.vault.stream(call, said_there)).map_err(Error::Vault)?
            }
        };
        end.map_err(|error| failed_run(&program, error))
    }

    /// The env files that the commit's compose files name.
    pub(super) fn env_files(&self) -> Vec<PathBuf> {
        let text = |file| self.ground.unsealed.plain(self.ground.tree, file).unwrap_or_default();
        self.files.iter().flat_map(|file| model::env_files(text(file))).collect()
    }

    /// Pulls the images that are not built here; how that ended, and what was said last.
    pub(super) fn pull(&mut self, project: &str) -> Result<(End, String), Error> {
        let pull = ["pull", "--ignore-buildable"];
        let (end, said) = self.stream("pull", self.compose(Some(project), LONG).args(pull))?;
        if !end.is_success() {
            // One image that fails may have kept others from being pulled.
            let rest = self.compose(Some(project), LONG).args(pull).arg("--ignore-pull-failures");
            self.stream("pull", rest)?;
        }
        Ok((end, said))
    }

    /// Starts the containers from the images that are here; what it said last if that fails.
    pub(super) fn up(&mut self, project: &str, limit: Duration) -> Result<Result<(), String>, Error> {
        let up = ["up", "-d", "--no-build", "--pull", "never", "--remove-orphans"];
        let call = self.compose(Some(project), limit).args(up);
        let (end, tail) = self.stream("up", call)?;
        Ok(if end.is_success() {
            Ok(())
        } else {
            Err(format!("`docker compose up`: {end}{}", super::mirror::indented(&tail)))
        })
    }

    /// From here on what runs is killed once that is wished.
    pub(super) fn heed(&mut self, stop: Option<&'s Stop>) {
        self.stop = stop;
    }

    /// Overwrites and removes all of it.
    pub(super) fn shred(self) -> Result<(), Error> {
        self.vault.shred().map_err(Error::Vault)
    }

    fn step(&mut self, what: &'static str, from: &str, call: Call) -> Result<(), Error> {
        let (end, said) = self.stream(from, call)?;
        if end.is_success() { Ok(()) } else { Err(Error::Step { what, end, said }) }
    }

    fn stream(&mut self, from: &str, call: Call) -> Result<(End, String), Error> {
        let program = call.argv[0].clone();
        let outlet = Outlet::new(from, &self.ground.unsealed.masker, self.report);
        let mut outlet = outlet.without(self.not_so);
        let is_over = || self.stop.is_some_and(Stop::is_wished);
        let push = &mut |stream, bytes: &[u8]| outlet.push(stream, bytes);
        let end = self.vault.stream_until(call, push, &is_over);
        let tail = outlet.finish();
        Ok((end.map_err(|error| failed_run(&program, error))?, tail))
    }

    fn call(&self, limit: Duration) -> Call {
        Call { argv: Vec::new(), cwd: self.ground.project.to_owned(), env: self.env.clone(), limit }
    }

    /// Compose on the model.
    fn compose(&self, project: Option<&str>, limit: Duration) -> Call {
        let mut files = vec![self.vault.dir().join(MODEL)];
        files.extend(self.overrides.iter().map(|name| self.vault.dir().join(name)));
        let call = self.docker_compose(&files, project, limit);
        match self.variables.is_empty() {
            true => call.var("COMPOSE_DISABLE_ENV_FILE", "1"),
            false => call.arg("--env-file").arg(self.vault.dir().join(variables::VALUES)),
        }
    }

    /// Compose on the commit's own files.
    fn tracked(&self, project: Option<&str>) -> Call {
        let files: Vec<PathBuf> = self.files.iter().map(|file| self.ground.project.join(file)).collect();
        // What is fetched while the model is made is not of the commit.
        let no_remotes = ["COMPOSE_EXPERIMENTAL_GIT_REMOTE", "COMPOSE_EXPERIMENTAL_OCI_REMOTE"];
        let call = self.docker_compose(&files, project, ASK);
        self.with_env_file(no_remotes.iter().fold(call, |call, name| call.var(name, "false")))
    }

    /// With `.env` only if it is tracked.
    fn with_env_file(&self, call: Call) -> Call {
        match self.ground.tree.contains_key(Path::new(".env")) {
            true => call.arg("--env-file").arg(self.ground.project.join(".env")),
            false => call.var("COMPOSE_DISABLE_ENV_FILE", "1"),
        }
    }

    fn docker_compose(&self, files: &[PathBuf], project: Option<&str>, limit: Duration) -> Call {
        let mut call = self.call(limit);
        call.argv = ["docker", "compose", "--ansi", "never", "--progress", "plain"].map(os).into();
        call = call.arg("--project-directory").arg(self.ground.project);
        for file in files {
            call = call.arg("-f").arg(file);
        }
        project.into_iter().fold(call, |call, project| call.arg("-p").arg(project))
    }
}

/// How long a `setup.sh` may take, where containers are waited for so long.
fn setup_limit(timeout: Duration) -> Duration {
    timeout.max(SETUP)
}

/// Why a program did not run to its end.
fn failed_run(program: &OsStr, error: io::Error) -> Error {
    match error.kind() {
        NOT_STARTED => Error::NotStarted { program: program.to_string_lossy().into_owned(), why: error },
        _ => Error::Vault(error),
    }
}

/// How much RAM the vault needs; refused if it is too much.
fn room(ground: &Ground<'_>) -> Result<u64, Error> {
    const PAGE: u64 = 4096;
    let size = |path| ground.unsealed.plain(ground.tree, path).map_or(0, <[u8]>::len) as u64;
    let total: u64 = ground.tree.keys().map(|path| size(path).next_multiple_of(PAGE)).sum();
    match total > MOST {
        true => Err(Error::Vault(io::Error::other(format!(
            "the commit's files take {} MiB, and a deploy holds no more than {} MiB of them in RAM",
            total >> 20,
            MOST >> 20
        )))),
        // Twice: builds see a copy of their own.
        false => Ok(2 * total + BESIDES),
    }
}

/// Puts a path of the commit into the vault as programs should see it.
fn fill(vault: &mut Vault, ground: &Ground<'_>, path: &Path, entry: &Entry) -> io::Result<()> {
    let place = Path::new(TREE).join(path);
    let content = ground.unsealed.plain(ground.tree, path).expect("it is one of its paths");
    let mode = if ground.unsealed.holds(path) { entry.mode() & 0o700 } else { entry.mode() };
    match entry.kind {
        Kind::Link => vault.put_link(place, &entry.content),
        Kind::File | Kind::Program => vault.put(place, mode, SecretBytes::new(content.to_vec())),
    }
}

/// Puts a path of the commit into the vault as builds should see it.
fn fill_sealed(vault: &mut Vault, path: &Path, entry: &Entry) -> io::Result<()> {
    let place = Path::new(SEALED).join(path);
    match entry.kind {
        Kind::Link => vault.put_link(place, &entry.content),
        Kind::File | Kind::Program => vault.put(place, entry.mode(), SecretBytes::new(entry.content.clone())),
    }
}

/// What the first line of a script names, else the shell.
fn interpreter(script: &[u8]) -> Vec<OsString> {
    let first = script.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = first.strip_prefix(b"#!").map(String::from_utf8_lossy).unwrap_or_default();
    // Linux hands everything after the interpreter over as one argument.
    match line.trim().split_once([' ', '\t']) {
        Some((program, arg)) => vec![program.into(), arg.trim().into()],
        None if line.trim().is_empty() => vec!["/bin/sh".into()],
        None => vec![line.trim().into()],
    }
}

/// True for a shell of the Bourne family, plain or behind `env`, without odd options.
fn is_shell(argv: &[OsString]) -> bool {
    let words: Vec<_> = argv.iter().map(|word| word.to_string_lossy()).collect();
    let name = |word: &str| word.rsplit('/').next().unwrap_or_default().to_owned();
    let words = if words.first().is_some_and(|word| name(word) == "env") { &words[1..] } else { &words[..] };
    let shell =
        words.first().is_some_and(|word| ["sh", "bash", "dash", "ash", "ksh"].contains(&name(word).as_str()));
    shell && words[1..].iter().all(|word| word.starts_with('-') && !word.contains(['c', 's', ' ']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_has_ten_minutes_or_as_long_as_its_stack_waits() {
        let minutes = |count: u64| Duration::from_secs(60 * count);
        assert_eq!([5, 45].map(|count| setup_limit(minutes(count))), [minutes(10), minutes(45)]);
    }

    #[test]
    fn shells_are_told_from_other_interpreters() {
        let is = |words: &[&str]| is_shell(&words.iter().map(OsString::from).collect::<Vec<_>>());
        assert!(is(&["/bin/sh"]) && is(&["/usr/bin/env", "bash"]) && is(&["/bin/bash", "-eu"]));
        assert!(
            !is(&["/usr/bin/python3"]) && !is(&["/usr/bin/env", "-S bash -eu"]) && !is(&["/bin/sh", "-c"])
        );
    }

    #[test]
    fn scripts_run_with_what_their_first_line_names() {
        let table: [(&str, &[&str]); 5] = [
            ("#!/bin/bash\nx", &["/bin/bash"]),
            ("#! /usr/bin/env -S bash -eu\n", &["/usr/bin/env", "-S bash -eu"]),
            ("#!/bin/sh -e\r\n", &["/bin/sh", "-e"]),
            ("echo hi\n", &["/bin/sh"]),
            ("", &["/bin/sh"]),
        ];
        for (script, wanted) in table {
            assert_eq!(interpreter(script.as_bytes()), wanted, "{script:?}");
        }
    }
}
