//! `hlx exec`: run a program where the files of a service show their plaintext.

use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::process::ExitCode;

use clap::Args;

use super::server::{self, Server, failure};
use super::ui::past_the_buffer;
use super::{Context, Exit, Failure};
use crate::deploy;
use crate::secret::SecretBytes;
use crate::sys::process::{End, Stream};

/// What is read from standard input is held in RAM.
const LONGEST: u64 = 256 << 20;

/// What a shell ends with where there is no such program.
const NOT_FOUND: u8 = 127;

/// Run a program in the project directory of a service as it is deployed, where its encrypted files show their plaintext to
/// that program only. Its output is not masked, and its exit code is passed on; it is 127 where the program cannot be started.
#[derive(Debug, Args)]
pub(super) struct ExecArgs {
    /// The service, which is the name of its branch.
    service: String,
    /// Pass on standard input, of up to 256 MiB; all of it is read before the program starts.
    #[arg(long)]
    stdin: bool,
    /// The program and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Runs it.
pub(super) fn run(args: &ExecArgs, cx: &Context) -> Result<ExitCode, Failure> {
    let server = Server::from_environment()?;
    let service = server::service(&args.service)?;
    let mut input = SecretBytes::new(Vec::new());
    if args.stdin {
        let stdin = past_the_buffer(io::stdin()).map_err(unreadable)?;
        stdin.take(LONGEST + 1).read_to_end(input.expose_mut()).map_err(unreadable)?;
        if input.expose().len() as u64 > LONGEST {
            return Err(Failure::new(Exit::Failed, "standard input holds more than 256 MiB"));
        }
    }
    let keyring = cx.keyring();
    let open = deploy::opener(|sealed| keyring.open(sealed));
    let report = server::report(cx.ui);
    // A reader that went away is the program's affair no more.
    let mut sink = |stream, bytes: &[u8]| {
        let to = match stream {
            Stream::Out => past_the_buffer(io::stdout()),
            Stream::Err => past_the_buffer(io::stderr()),
        };
        let _ = to.and_then(|mut to| to.write_all(bytes));
    };
    let end = deploy::exec(&service, &args.command, input, &server.world(&open, &report), &mut sink);
    if let Err(error @ deploy::Error::NotStarted { .. }) = &end {
        cx.ui.error(error);
        return Ok(ExitCode::from(NOT_FOUND));
    }
    let end = end.map_err(|error| server::unused_keys(failure(error), &keyring))?;
    Ok(ExitCode::from(code(end)))
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
