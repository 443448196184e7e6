//! `hlx edit`: a file's plaintext in the user's editor.

use std::env;
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;
use signal_hook::consts::{SIGINT, SIGQUIT};

use crate::secret::SecretBytes;
use crate::sys::random;
use crate::values::edit::{self as copies, Copy, Swap};
use crate::values::{Changed, File};

use super::context::{Context, variable};
use super::values::{FILES, Source};
use super::{Exit, Failure, ui};

#[derive(Debug, Args)]
#[command(after_long_help = [
    "The editor is $VISUAL, else $EDITOR, else `editor`, `nano` or `vi`. It gets a copy in RAM, which is wiped afterwards, also if hlx is killed. \
     A file that comes back unchanged is not touched. Files that an editor keeps elsewhere (undo files, registers) are its own.",
    FILES,
].join("\n\n"))]
pub(super) struct EditArgs {
    /// A path, or BRANCH:PATH.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// What the guard of a copy is called with.
#[derive(Debug, Args)]
pub(super) struct GuardArgs {
    place: PathBuf,
}

/// `hlx edit-guard PLACE`: for hlx itself.
pub(super) fn guard(args: &GuardArgs) -> Result<(), Failure> {
    copies::guard(&args.place, io::stdin(), io::stdout())
        .map_err(|error| Failure::new(Exit::Failed, format!("the copy could not be kept private: {error}")))
}

/// `hlx edit FILE`
pub(super) fn edit(args: &EditArgs, cx: &Context) -> Result<(), Failure> {
    let source = Source::read(&args.file, cx)?;
    let keyring = cx.keyring();
    let fail = |error| source.failure(error);
    let file = File::open(&source.place, &source.content, &keyring).map_err(fail)?;
    file.check_changeable().map_err(fail)?;
    let editor = Editor::find()?;
    let copy = copy(&source, &file, cx)?;
    loop {
        editor.run(copy.path())?;
        let failure = match save(&source, &file, &copy, cx) {
            Ok(changed) => {
                source.report(changed, cx);
                return Ok(());
            }
            Err(failure) => failure,
        };
        if !io::stdin().is_terminal() {
            return Err(failure.hint("nothing was written, and your changes were not kept"));
        }
        cx.ui.failure(&failure);
        let answer = ui::ask("edit it again? Otherwise your changes are lost [Y/n]");
        if !answer.is_some_and(|answer| matches!(answer.trim(), "" | "y" | "Y" | "yes")) {
            return Err(Failure::new(failure.exit(), format!("{}: nothing was written", source.name)));
        }
    }
}

fn save(source: &Source, file: &File<'_>, copy: &Copy, cx: &Context) -> Result<Changed, Failure> {
    let fail = |error| source.failure(error);
    let lost = |error| Failure::new(Exit::Failed, format!("the edited copy cannot be read: {error}"));
    let edited: SecretBytes = copy.read().map_err(lost)?;
    if edited.expose() == file.plaintext().expose() {
        return Ok(Changed::Nothing);
    }
    let prepared = file.prepare(&edited, cx.stamp(&mut random::fill)).map_err(fail)?;
    file.put(&prepared, &format!("{}: edit", source.place.path())).map_err(fail)
}

fn copy(source: &Source, file: &File<'_>, cx: &Context) -> Result<Copy, Failure> {
    let mut candidates: Vec<PathBuf> = variable("XDG_RUNTIME_DIR").map(PathBuf::from).into_iter().collect();
    candidates.extend(["/dev/shm", "/run"].map(PathBuf::from));
    let (place, swap) = copies::place(&candidates).ok_or_else(|| {
        Failure::new(Exit::Missing, "there is no file system in RAM for a copy of the plaintext")
            .hint("mount one: `mount -t tmpfs tmpfs /dev/shm`, or set XDG_RUNTIME_DIR to a directory in one")
    })?;
    if swap == Swap::Possible && file.is_sealed() {
        cx.ui.note("swap is on: a copy in RAM could be swapped to it");
    }
    let mut guard = Command::new("/proc/self/exe");
    guard.arg("edit-guard").arg(place);
    Copy::new(guard, source.place.file_name(), file.plaintext()).map_err(|error| {
        Failure::new(Exit::Failed, format!("no copy can be made in {}: {error}", place.display()))
    })
}

/// The user's editor.
struct Editor {
    command: String,
    /// Whether a signal of the terminal ends hlx: not while the editor has the terminal.
    mortal: Arc<AtomicBool>,
}

impl Editor {
    fn find() -> Result<Self, Failure> {
        let installed = |name: &&str| {
            env::split_paths(&env::var_os("PATH").unwrap_or_default()).any(|place| place.join(name).is_file())
        };
        let usual = || ["editor", "nano", "vi"].into_iter().find(installed).map(str::to_owned);
        let command = variable("VISUAL").or_else(|| variable("EDITOR")).or_else(usual).ok_or_else(|| {
            Failure::new(
                Exit::Missing,
                "no editor is set, and none of `editor`, `nano` and `vi` is installed",
            )
            .hint("set VISUAL or EDITOR")
        })?;
        let mortal = Arc::new(AtomicBool::new(true));
        for signal in [SIGINT, SIGQUIT] {
            signal_hook::flag::register_conditional_default(signal, Arc::clone(&mortal))
                .map_err(|error| Failure::new(Exit::Failed, format!("cannot watch for signals: {error}")))?;
        }
        Ok(Self { command, mortal })
    }

    /// Runs it, as git does: the variable may hold arguments.
    fn run(&self, file: &Path) -> Result<(), Failure> {
        self.mortal.store(false, Ordering::SeqCst);
        let script = format!("{} \"$1\"", self.command);
        let ended = Command::new("sh").args(["-c", &script, "hlx"]).arg(file).status();
        self.mortal.store(true, Ordering::SeqCst);
        match ended {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(Failure::new(
                Exit::Failed,
                format!("the editor `{}` failed ({status}): nothing was written", self.command),
            )),
            Err(error) => Err(Failure::new(Exit::Missing, format!("`sh` cannot be started: {error}"))),
        }
    }
}
