//! `hlx exec`: run a program where the files of a service show their plaintext.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::process::ExitCode;

use clap::Args;

use super::server::{self, Server, failure};
use super::ui::past_the_buffer;
use super::{Context, Exit, Failure};
use crate::deploy::{self, Console, World};
use crate::secret::SecretBytes;
use crate::sys::process::{End, Stream};
use crate::sys::terminal::Terminal;

/// What is read from standard input is held in RAM.
const LONGEST: u64 = 256 << 20;

/// What a shell ends with where there is no such program.
const NOT_FOUND: u8 = 127;

/// What a program is told of the user's terminal.
const OF_TERMINALS: [&str; 2] = ["TERM", "COLORTERM"];

/// Run a program in the project directory of a service as it is deployed, where its encrypted files show their plaintext to
/// that program only, read-only. Where standard input and output are a terminal, the program has one too: shells, pagers and
/// `docker compose exec` work as ever. Its output is not masked, and its exit code is passed on; it is 127 where the
/// program cannot be started.
#[derive(Debug, Args)]
pub(super) struct ExecArgs {
    /// The service, which is the name of its branch.
    service: String,
    /// Pass on standard input, of up to 256 MiB; all of it is read before the program starts, which gets no terminal.
    #[arg(long)]
    stdin: bool,
    /// Give the program no terminal, and nothing to read.
    #[arg(short = 'T', long, conflicts_with = "stdin")]
    no_tty: bool,
    /// The program and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Runs it.
pub(super) fn run(args: &ExecArgs, cx: &Context) -> Result<ExitCode, Failure> {
    let server = Server::from_environment()?;
    let service = server::service(&args.service)?;
    // A reader that went away is the program's affair no more.
    let mut sink = |stream, bytes: &[u8]| {
        let to = match stream {
            Stream::Out => past_the_buffer(io::stdout()),
            Stream::Err => past_the_buffer(io::stderr()),
        };
        let _ = to.and_then(|mut to| to.write_all(bytes));
    };
    let console = console(args, &mut sink)?;
    let keyring = cx.keyring();
    let open = deploy::opener(|sealed| keyring.open(sealed));
    let report = server::report(cx.ui);
    let world = server.world(&open, &report);
    let mut env = world.env.clone();
    if let Console::Terminal(_) = &console {
        let known = |name: &&str| Some(((*name).into(), std::env::var_os(name)?));
        env.extend(OF_TERMINALS.iter().filter_map(known));
    }
    let end = deploy::exec(&service, &args.command, console, &World { env: &env, ..world });
    if let Err(error @ deploy::Error::NotStarted { .. }) = &end {
        cx.ui.error(error);
        return Ok(ExitCode::from(NOT_FOUND));
    }
    let end = end.map_err(|error| server::unused_keys(failure(error), &keyring))?;
    Ok(ExitCode::from(code(end)))
}

/// The user's terminal, if that is what hlx has and may use.
fn console<'s>(args: &ExecArgs, sink: &'s mut dyn FnMut(Stream, &[u8])) -> Result<Console<'s>, Failure> {
    if !args.stdin && !args.no_tty && io::stdin().is_terminal() && io::stdout().is_terminal() {
        let failed = |error| {
            Failure::new(Exit::Failed, format!("cannot use the terminal: {error}"))
                .hint("with -T, the program gets none")
        };
        let ends = past_the_buffer(io::stdin()).and_then(|input| Ok((input, past_the_buffer(io::stdout())?)));
        let terminal = ends.and_then(|(input, output)| Terminal::new(input, output));
        return terminal.map(Console::Terminal).map_err(failed);
    }
    let mut input = SecretBytes::new(Vec::new());
    if args.stdin {
        let stdin = past_the_buffer(io::stdin()).map_err(unreadable)?;
        stdin.take(LONGEST + 1).read_to_end(input.expose_mut()).map_err(unreadable)?;
        if input.expose().len() as u64 > LONGEST {
            return Err(Failure::new(Exit::Failed, "standard input holds more than 256 MiB"));
        }
    }
    Ok(Console::Pipes { input, sink })
}

fn unreadable(error: io::Error) -> Failure {
    Failure::new(Exit::Failed, format!("cannot read standard input: {error}"))
}

/// As a shell has it: 128 and the signal's number.
fn code(end: End) -> u8 {
    match end {
        End::Code(code) => (code & 0xff) as u8,
        End::Signal(signal) => 128u8.saturating_add(signal as u8),
        End::TimeUp => 124,
    }
}
