//! Running a program: explicit environment, no terminal to ask at (unless it is given one), a time limit.

use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::{AsFd, OwnedFd};
use rustix::process::{Pid, PidfdFlags};

use super::namespace;
use crate::secret::SecretBytes;

/// How long output is still read after the program has ended: a straggler may hold the pipe.
const AFTERGLOW: Duration = Duration::from_millis(200);

/// The variables that a program is given, and no others.
pub type Env = Vec<(OsString, OsString)>;

/// A program and all it is started with.
#[derive(Debug, Clone)]
pub struct Call {
    /// The program, then its arguments.
    pub argv: Vec<OsString>,
    /// The directory to run in.
    pub cwd: PathBuf,
    /// Its whole environment.
    pub env: Env,
    /// It is killed after this.
    pub limit: Duration,
}

/// The two outputs of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With this exit code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// Killed, as its time was up.
    TimeUp,
}

impl End {
    /// True if it ended with exit code 0.
    pub fn is_success(self) -> bool {
        self == Self::Code(0)
    }
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "killed by signal {signal}"),
            Self::TimeUp => f.write_str("killed, as its time was up"),
        }
    }
}

/// What a program said and how it ended. The output may hold secrets.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub end: End,
    /// All of its standard output.
    pub out: SecretBytes,
    /// All of its standard error.
    pub err: SecretBytes,
}

impl Finished {
    /// Keeps all that a program says while `run` passes it on.
    pub fn collect(run: impl FnOnce(&mut dyn FnMut(Stream, &[u8])) -> io::Result<End>) -> io::Result<Self> {
        let (mut out, mut err) = (SecretBytes::new(Vec::new()), SecretBytes::new(Vec::new()));
        let end = run(&mut |stream, bytes| match stream {
            Stream::Out => out.expose_mut().extend_from_slice(bytes),
            Stream::Err => err.expose_mut().extend_from_slice(bytes),
        })?;
        Ok(Self { end, out, err })
    }
}

impl Call {
    /// A call of `program` in `cwd`.
    pub fn new(program: &str, cwd: &Path, env: &Env, limit: Duration) -> Self {
        Self { argv: vec![program.into()], cwd: cwd.to_owned(), env: env.clone(), limit }
    }

    /// With one more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.argv.push(arg.as_ref().to_owned());
        self
    }

    /// With more arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.argv.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// With one more variable.
    #[must_use]
    pub fn var(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.into(), value.as_ref().to_owned()));
        self
    }

    /// Runs it to its end, and keeps what it says.
    pub fn output(&self, input: &[u8]) -> io::Result<Finished> {
        Finished::collect(|sink| self.stream(input, sink))
    }

    /// Runs it to its end, and keeps what it says; `None`, and it is killed, if that is more than
    /// so many bytes.
    pub fn some_output(&self, most: usize) -> io::Result<Option<Finished>> {
        let mut child = self.spawn(Stdio::null())?;
        let said = Cell::new(0);
        let finished = Finished::collect(|sink| {
            let mut count = |stream, bytes: &[u8]| {
                said.set(said.get() + bytes.len());
                sink(stream, bytes);
            };
            attend(&mut child, self.limit, &mut count, &|| said.get() > most)
        })?;
        Ok((said.get() <= most).then_some(finished))
    }

    /// Runs it to its end, and passes on what it says as it says it.
    pub fn stream(&self, input: &[u8], sink: &mut dyn FnMut(Stream, &[u8])) -> io::Result<End> {
        let mut child = self.spawn(if input.is_empty() { Stdio::null() } else { Stdio::piped() })?;
        let stdin = child.stdin.take();
        std::thread::scope(|scope| {
            if let Some(mut stdin) = stdin {
                // A program that stops reading early is its own affair.
                scope.spawn(move || stdin.write_all(input).ok());
            }
            attend(&mut child, self.limit, sink, &|| false)
        })
    }

    /// Runs it to its end at a terminal, where it reads and says all.
    pub fn run_at(&self, terminal: &Path) -> io::Result<End> {
        let own = |error| io::Error::other(format!("cannot open {}: {error}", terminal.display()));
        let flags = rustix::fs::OFlags::NOCTTY.bits() as i32;
        let terminal =
            File::options().read(true).write(true).custom_flags(flags).open(terminal).map_err(own)?;
        let mut command = self.command();
        command.stdin(terminal.try_clone()?).stdout(terminal.try_clone()?).stderr(terminal);
        namespace::with_terminal(&mut command);
        let mut child = command.spawn()?;
        // The terminal is the program's alone: when nobody has it any more, all was said.
        drop(command);
        attend(&mut child, self.limit, &mut |_, _| {}, &|| false)
    }

    fn spawn(&self, stdin: Stdio) -> io::Result<Child> {
        self.command().stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.argv[0]);
        command.args(&self.argv[1..]).current_dir(&self.cwd).env_clear();
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// One pipe from the program, until it is closed.
struct Pipe {
    stream: Stream,
    file: Option<File>,
}

/// Passes on what the program says until it ends; it is killed if its time is up or that is enough.
fn attend(
    child: &mut Child,
    limit: Duration,
    sink: &mut dyn FnMut(Stream, &[u8]),
    is_enough: &dyn Fn() -> bool,
) -> io::Result<End> {
    let mut pipes = [
        Pipe { stream: Stream::Out, file: child.stdout.take().map(|pipe| File::from(OwnedFd::from(pipe))) },
        Pipe { stream: Stream::Err, file: child.stderr.take().map(|pipe| File::from(OwnedFd::from(pipe))) },
    ];
    let pid = Pid::from_child(child);
    let exit = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    let mut until = Instant::now() + limit;
    let mut end = None;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || is_enough() || (end.is_some() && pipes.iter().all(|pipe| pipe.file.is_none())) {
            break;
        }
        let exited = listen(&mut pipes, end.is_none().then_some(&exit), left, sink)?;
        if exited {
            end = Some(child.wait()?);
            until = Instant::now() + AFTERGLOW;
        }
    }
    match end {
        Some(status) => Ok(ending(status)),
        None => kill(child),
    }
}

fn kill(child: &mut Child) -> io::Result<End> {
    child.kill()?;
    child.wait()?;
    Ok(End::TimeUp)
}

fn ending(status: ExitStatus) -> End {
    match (status.code(), status.signal()) {
        (Some(code), _) => End::Code(code),
        (None, signal) => End::Signal(signal.unwrap_or(0)),
    }
}

/// Waits for output or for the end, and passes output on. True if the program has ended.
fn listen(
    pipes: &mut [Pipe; 2],
    exit: Option<&OwnedFd>,
    wait: Duration,
    sink: &mut dyn FnMut(Stream, &[u8]),
) -> io::Result<bool> {
    let fds = pipes.iter().filter_map(|pipe| pipe.file.as_ref()).map(AsFd::as_fd);
    let fds = fds.chain(exit.map(AsFd::as_fd));
    let mut polled: Vec<PollFd<'_>> = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
    poll(&mut polled, wait)?;
    let ready: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
    let mut ready = ready.into_iter();
    for pipe in pipes.iter_mut().filter(|pipe| pipe.file.is_some()) {
        if ready.next() == Some(true) {
            pass_on(pipe, sink)?;
        }
    }
    Ok(exit.is_some() && ready.next() == Some(true))
}

fn poll(fds: &mut [PollFd<'_>], wait: Duration) -> io::Result<()> {
    let wait = Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: i64::from(wait.subsec_nanos()) };
    match rustix::event::poll(fds, Some(&wait)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn pass_on(pipe: &mut Pipe, sink: &mut dyn FnMut(Stream, &[u8])) -> io::Result<()> {
    let mut buffer = zeroize::Zeroizing::new([0; 16 * 1024]);
    let Some(file) = &mut pipe.file else { return Ok(()) };
    match file.read(&mut buffer[..])? {
        0 => pipe.file = None,
        length => sink(pipe.stream, &buffer[..length]),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit: u64) -> Call {
        let env = vec![("PATH".into(), "/usr/bin:/bin".into())];
        Call::new("sh", Path::new("/"), &env, Duration::from_millis(limit)).args(["-c", script])
    }

    #[test]
    fn a_program_that_says_too_much_is_stopped() {
        let endless = shell("yes; sleep 60", 60_000);
        let began = Instant::now();
        assert!(endless.some_output(100_000).unwrap().is_none() && began.elapsed() < Duration::from_secs(30));
        let short = shell("echo 12345; exit 3", 60_000);
        assert!(short.some_output(5).unwrap().is_none());
        let finished = short.some_output(6).unwrap().unwrap();
        assert_eq!((finished.end, &finished.out.expose()[..]), (End::Code(3), &b"12345\n"[..]));
    }

    #[test]
    fn output_input_and_exit_code_come_through() {
        let done = shell("cat; echo err >&2; exit 3", 5_000).output(b"in").unwrap();
        assert_eq!(
            (done.end, &done.out.expose()[..], &done.err.expose()[..]),
            (End::Code(3), &b"in"[..], &b"err\n"[..])
        );
    }

    #[test]
    fn large_output_against_large_input_does_not_lock_up() {
        let input = vec![b'x'; 1 << 20];
        assert_eq!(shell("cat", 20_000).output(&input).unwrap().out.expose(), &input);
    }

    #[test]
    fn a_program_over_its_time_is_killed() {
        assert_eq!(shell("exec sleep 10", 100).output(b"").unwrap().end, End::TimeUp);
    }

    #[test]
    fn a_straggler_that_holds_the_pipe_does_not_hold_us() {
        let start = Instant::now();
        let done = shell("sleep 5 & echo done", 9_000).output(b"").unwrap();
        assert_eq!((done.end, &done.out.expose()[..]), (End::Code(0), &b"done\n"[..]));
        assert!(start.elapsed() < Duration::from_secs(3));
    }

    #[test]
    fn only_the_given_environment_is_seen() {
        let done = shell("env", 5_000).var("A", "b").output(b"").unwrap();
        let text = String::from_utf8(done.out.expose().clone()).unwrap();
        assert!(text.contains("A=b") && !text.contains("CARGO"));
    }
}
