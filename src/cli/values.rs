//! `hlx show`, `get`, `set` and `unset`: the values of one file.

use std::io::{self, IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};

use age::secrecy::ExposeSecret as _;
use clap::{Args, ValueEnum};

use crate::git::branch;
use crate::secret::SecretBytes;
use crate::sys::random;
use crate::values::set::{self, Type};
use crate::values::{self, Changed, Error, File, Place};

use super::context::Context;
use super::{Exit, Failure, errors, quote, ui};

/// How a file is named, in every command that takes one.
pub(super) const FILES: &str = "A FILE is a path, or BRANCH:PATH for a file of a branch's last commit: that is what it means if no file has \
     this name and the part before the first `:` is a branch. A change there is a commit on the branch; nothing is checked out.";

/// How a value is named.
const KEYS: &str = "A KEY is the variable's name in a .env file. Elsewhere names are parted by dots, and list positions are numbers: \
     `services.web.environment.TOKEN`, `services.web.ports[0]`. Names with dots of their own are written as sops does: \
     `[\"services\"][\"web\"][\"labels\"][\"traefik.enable\"]`. In a list of `NAME=value` texts the NAME leads to its value.";

/// A file.
#[derive(Debug, Args)]
pub(super) struct FileArg {
    /// A path, or BRANCH:PATH.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// A file with its content.
pub(super) struct Source {
    /// As it was typed.
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) content: SecretBytes,
}

impl Source {
    /// Reads a file that the user named.
    pub(super) fn read(typed: &Path, cx: &Context) -> Result<Self, Failure> {
        let name = typed.display().to_string();
        let place = place(typed, cx)?;
        let content = place.read().map_err(|error| errors::values(&name, error))?;
        Ok(Self { name, place, content })
    }

    /// The failure, with the file's name.
    pub(super) fn failure(&self, error: Error) -> Failure {
        errors::values(&self.name, error)
    }

    /// Says what a change did.
    pub(super) fn report(&self, changed: Changed, cx: &Context) {
        match changed {
            Changed::Nothing => cx.ui.note(format!("{}: unchanged", self.name)),
            Changed::File => cx.ui.note(format!("{}: written", self.name)),
            Changed::Commit(commit) => {
                cx.ui.result(format!("{}: commit {commit:.10}", self.name));
                cx.ui.hint("push the branch, so that servers get the change");
            }
        }
    }

    /// Warns of a file of a work tree that git would store in clear.
    pub(super) fn warn_if_unprotected(&self, cx: &Context) {
        let Place::Tree(tree) = &self.place else { return };
        let protected = self.place.attributes().is_ok_and(|attributes| attributes.filtered);
        if tree.in_repository().is_some() && !protected {
            cx.ui.warning(format!("{} is not protected: git would store it in clear", self.name));
            cx.ui.hint(format!("protect it: `hlx track {}`", quote::word(&self.name)));
        }
    }
}

fn place(typed: &Path, cx: &Context) -> Result<Place, Failure> {
    let name = typed.display().to_string();
    let there = typed.symlink_metadata().is_ok();
    if let (false, Some((branch, path)), Ok(repository)) = (there, name.split_once(':'), cx.repository()) {
        let git = repository.git();
        if branch::tip(&git, branch).map_err(errors::git)?.is_some() {
            return Ok(Place::branch(repository, git, branch, path.trim_start_matches("./")));
        }
        let known = branch::all(&git).map_err(errors::git)?.join(", ");
        return Err(errors::values(&name, Error::Missing).hint(format!("the branches are {known}")));
    }
    Place::tree(typed).map_err(|error| errors::values(&name, error))
}

#[derive(Debug, Args)]
#[command(after_long_help = FILES)]
pub(super) struct ShowArgs {
    #[command(flatten)]
    file: FileArg,
    /// All values as JSON.
    #[arg(long)]
    json: bool,
}

/// `hlx show FILE`
pub(super) fn show(args: &ShowArgs, cx: &Context) -> Result<(), Failure> {
    let source = Source::read(&args.file.file, cx)?;
    let keyring = cx.keyring();
    let file = File::open(&source.place, &source.content, &keyring).map_err(|error| source.failure(error))?;
    if args.json {
        let json = values::get::json(&file, None).map_err(|error| source.failure(error))?;
        return output(json.as_bytes(), LineFeed::Always, cx);
    }
    output(file.plaintext().expose(), LineFeed::Never, cx)
}

#[derive(Debug, Args)]
#[command(after_long_help = [
    "A value is printed as it is meant, with a line feed only on a terminal. In a .env file that is as Compose reads it: without quotes, escapes and \
     inline comment; variables (`$NAME`) are not expanded.",
    KEYS,
    FILES,
].join("\n\n"))]
pub(super) struct GetArgs {
    #[command(flatten)]
    file: FileArg,
    /// The value's name.
    key: String,
    /// The value, or all values below the key, as JSON.
    #[arg(long)]
    json: bool,
}

/// `hlx get FILE KEY`
pub(super) fn get(args: &GetArgs, cx: &Context) -> Result<(), Failure> {
    let source = Source::read(&args.file.file, cx)?;
    let keyring = cx.keyring();
    let fail = |error| source.failure(error);
    let file = File::open(&source.place, &source.content, &keyring).map_err(fail)?;
    if args.json {
        let json = values::get::json(&file, Some(&args.key)).map_err(fail)?;
        return output(json.as_bytes(), LineFeed::Always, cx);
    }
    let value = values::get::get(&file, &args.key).map_err(fail)?;
    output(value.expose(), LineFeed::OnTerminal, cx)
}

/// Whether a line feed follows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum LineFeed {
    Never,
    OnTerminal,
    Always,
}

/// Bytes of a result.
pub(super) fn output(bytes: &[u8], end: LineFeed, cx: &Context) -> Result<(), Failure> {
    let fed = match end {
        LineFeed::Never => false,
        LineFeed::OnTerminal => io::stdout().is_terminal(),
        LineFeed::Always => true,
    };
    let written = cx.ui.raw(bytes).and_then(|()| if fed { cx.ui.raw(b"\n") } else { Ok(()) });
    written.map_err(|error| Failure::new(Exit::Failed, format!("cannot write the output: {error}")))
}

/// The type of a new value.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum TypeArg {
    String,
    Int,
    Float,
    Bool,
    Null,
}

impl From<TypeArg> for Type {
    fn from(kind: TypeArg) -> Self {
        match kind {
            TypeArg::String => Self::Str,
            TypeArg::Int => Self::Int,
            TypeArg::Float => Self::Float,
            TypeArg::Bool => Self::Bool,
            TypeArg::Null => Self::Null,
        }
    }
}

#[derive(Debug, Args)]
#[command(after_long_help = [
    "The value is asked for without echo, or read from standard input if that is no terminal: \
     `pass show db | hlx set .env DB_PASSWORD`. It is never an argument, since those end up in the shell's history and in `ps`. \
     One line feed at the end of standard input is dropped.",
    KEYS,
    "A new key comes after the last entry of its mapping, in the style of that entry. In a .env file the value is quoted where Compose needs it.",
    FILES,
].join("\n\n"))]
pub(super) struct SetArgs {
    #[command(flatten)]
    file: FileArg,
    /// The value's name.
    key: String,
    #[arg(hide = true)]
    value: Vec<std::ffi::OsString>,
    /// What the value is. By default what it was before, if it can be that, else a string.
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<TypeArg>,
    /// Keep the line feed at the end of standard input.
    #[arg(long)]
    keep_newline: bool,
}

/// `hlx set FILE KEY`
pub(super) fn set(args: &SetArgs, cx: &Context) -> Result<(), Failure> {
    // What stands behind a `=` is not repeated: it is the secret.
    let bare = args.key.split('"').step_by(2).all(|outside| !outside.contains('='));
    if !args.value.is_empty() || !bare {
        let reason = "a value is never an argument: it would end up in the shell's history and in `ps`";
        return Err(Failure::new(Exit::Usage, reason)
            .hint("name file and key only; the value is asked for, or read from standard input")
            .hint("if it was a real secret, take that line out of the shell's history"));
    }
    let source = Source::read(&args.file.file, cx)?;
    let keyring = cx.keyring();
    let fail = |error| source.failure(error);
    let file = File::open(&source.place, &source.content, &keyring).map_err(fail)?;
    let kind = args.kind.map(Type::from);
    let value = match kind {
        Some(Type::Null) => SecretBytes::new(Vec::new()),
        _ if io::stdin().is_terminal() => {
            // A key that leads nowhere is said before anyone types a secret.
            set::set(&file, &args.key, &SecretBytes::new(b"x".to_vec()), Some(Type::Str)).map_err(fail)?;
            ask(&args.key)?
        }
        _ => from_stdin(args.keep_newline)?,
    };
    let edited = set::set(&file, &args.key, &value, kind).map_err(fail)?;
    let prepared = file.prepare(&edited.plaintext, cx.stamp(&mut random::fill)).map_err(fail)?;
    let message = format!("{}: set {}", source.place.path(), args.key);
    let changed = file.put(&prepared, &message).map_err(fail)?;
    if file.seals(&prepared, &edited.name) == Some(false) {
        cx.ui.warning(format!("{}: the file's rule leaves `{}` in clear", source.name, args.key));
    }
    if !file.is_sealed() {
        source.warn_if_unprotected(cx);
    }
    source.report(changed, cx);
    if let Some(similar) = &edited.added {
        cx.ui.note(format!("{}: {} is new there", source.name, args.key));
        if !similar.is_empty() {
            cx.ui.warning(format!("{} has {} too: was that meant?", source.name, similar.join(", ")));
            cx.ui.hint(format!("`hlx unset {} {}` takes the new one out again", source.name, args.key));
        }
    }
    Ok(())
}

fn ask(key: &str) -> Result<SecretBytes, Failure> {
    let value = ui::ask_secret(&format!("value of {key}:")).unwrap_or_default();
    let value = SecretBytes::new(value.expose_secret().as_bytes().to_vec());
    if value.expose().is_empty() {
        return Err(Failure::new(Exit::Failed, "nothing was typed, and nothing was changed")
            .hint("to set an empty value: `echo | hlx set FILE KEY`"));
    }
    Ok(value)
}

fn from_stdin(keep_newline: bool) -> Result<SecretBytes, Failure> {
    let mut value = SecretBytes::new(Vec::new());
    io::stdin()
        .lock()
        .read_to_end(value.expose_mut())
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot read standard input: {error}")))?;
    if value.expose().is_empty() {
        // The program in front of the pipe may have failed.
        return Err(Failure::new(Exit::Failed, "standard input was empty, and nothing was changed")
            .hint("to set an empty value: `echo | hlx set FILE KEY`"));
    }
    if !keep_newline && value.expose().ends_with(b"\n") {
        value.expose_mut().pop();
    }
    Ok(value)
}

#[derive(Debug, Args)]
#[command(after_long_help = [KEYS, FILES].join("\n\n"))]
pub(super) struct UnsetArgs {
    #[command(flatten)]
    file: FileArg,
    /// The name of a value, or of all below it.
    key: String,
}

/// `hlx unset FILE KEY`
pub(super) fn unset(args: &UnsetArgs, cx: &Context) -> Result<(), Failure> {
    let source = Source::read(&args.file.file, cx)?;
    let keyring = cx.keyring();
    let fail = |error| source.failure(error);
    let file = File::open(&source.place, &source.content, &keyring).map_err(fail)?;
    let shorter = values::unset::unset(&file, &args.key).map_err(fail)?;
    let prepared = file.prepare(&shorter, cx.stamp(&mut random::fill)).map_err(fail)?;
    let message = format!("{}: unset {}", source.place.path(), args.key);
    source.report(file.put(&prepared, &message).map_err(fail)?, cx);
    Ok(())
}
