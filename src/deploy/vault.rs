//! The vault: plaintext in RAM, at its natural path, for the deploy's own programs only.
//!
//! This is hlx's end of it; [`super::guard`] is the other. Dropping it takes everything away.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use super::wire::{Answer, Request};
use crate::secret::SecretBytes;
use crate::sys::disk;
use crate::sys::process::{Call, End, Finished, Stream};

/// How long the vault may take to go by itself before it is killed.
const PATIENCE: Duration = Duration::from_secs(3);

/// How often it is looked whether a program is to be killed.
const LOOK: Duration = Duration::from_millis(200);

/// The kind of error with which a program could not even be started, whatever kept it from that.
pub const NOT_STARTED: io::ErrorKind = io::ErrorKind::NotFound;

/// An open vault.
#[derive(Debug)]
pub struct Vault {
    dir: PathBuf,
    child: Child,
    /// `None` once the vault was told to end.
    to: Option<ChildStdin>,
    from: ChildStdout,
}

impl Vault {
    /// Opens an empty vault at `dir` for `size` bytes, with a private view of the directory `project`.
    pub fn open(dir: &Path, project: &Path, size: u64) -> io::Result<Self> {
        disk::private_dir(dir)?;
        let mut child = Command::new("/proc/self/exe")
            .args(["vault-init", "--parent", &std::process::id().to_string()])
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (to, from) = child.stdin.take().zip(child.stdout.take()).expect("both are pipes");
        let mut vault = Self { dir: dir.to_owned(), child, to: Some(to), from };
        vault.ask(&Request::Begin { vault: dir.to_owned(), project: project.to_owned(), size })?;
        Ok(vault)
    }

    /// Where it is mounted, for those inside.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Writes a file into it.
    pub fn put(&mut self, path: impl Into<PathBuf>, mode: u32, content: SecretBytes) -> io::Result<()> {
        self.ask(&Request::Put { path: path.into(), mode, content })
    }

    /// Writes a symbolic link into it.
    pub fn put_link(&mut self, path: impl Into<PathBuf>, target: &[u8]) -> io::Result<()> {
        self.ask(&Request::Link { path: path.into(), target: target.to_vec() })
    }

    /// Shows a directory of it, read-only and nothing else, where the project directory is.
    pub fn replace(&mut self, dir: &str) -> io::Result<()> {
        self.ask(&Request::Replace(dir.into()))
    }

    /// Fails if a covered file is no longer seen as the vault has it.
    pub fn check(&mut self) -> io::Result<()> {
        self.ask(&Request::Check)
    }

    /// Lays files of its tree over the project's.
    pub fn cover(&mut self, paths: Vec<PathBuf>) -> io::Result<()> {
        self.ask(&Request::Cover(paths))
    }

    /// Shows the project's own files again.
    pub fn uncover(&mut self) -> io::Result<()> {
        self.ask(&Request::Uncover)
    }

    /// Gives the next program its standard input.
    pub fn feed(&mut self, input: SecretBytes) -> io::Result<()> {
        self.ask(&Request::Feed(input))
    }

    /// Gives the next program a terminal.
    pub fn attach(&mut self, terminal: &Path) -> io::Result<()> {
        self.ask(&Request::Attach(terminal.to_owned()))
    }

    /// Runs a program inside, and passes on what it says as it says it. The error is of the kind
    /// [`NOT_STARTED`] if there is no such program, or it is none.
    pub fn stream(&mut self, call: Call, sink: &mut dyn FnMut(Stream, &[u8])) -> io::Result<End> {
        self.stream_until(call, sink, &|| false)
    }

    /// The same; it is killed once `is_over`.
    pub fn stream_until(
        &mut self,
        call: Call,
        sink: &mut dyn FnMut(Stream, &[u8]),
        is_over: &dyn Fn() -> bool,
    ) -> io::Result<End> {
        self.send(&Request::Run(call))?;
        loop {
            while !self.says_something()? {
                // More than once: it may not have been started yet.
                if is_over() {
                    self.send(&Request::Kill)?;
                }
            }
            match Answer::receive(&mut self.from)? {
                Answer::Output(stream, text) => sink(stream, text.expose()),
                Answer::Ended(end) => return Ok(end),
                Answer::Failed(why) => return Err(io::Error::other(why)),
                Answer::NotStarted(why) => return Err(io::Error::new(NOT_STARTED, why)),
                Answer::Done => return Err(io::Error::other("the vault answered out of turn")),
            }
        }
    }

    /// Runs a program inside, and keeps what it says.
    pub fn output(&mut self, call: Call) -> io::Result<Finished> {
        Finished::collect(|sink| self.stream(call, sink))
    }

    /// Overwrites and removes everything in it, and ends it.
    pub fn shred(mut self) -> io::Result<()> {
        let shredded = self.ask(&Request::Shred);
        self.end();
        shredded
    }

    /// Waits a moment for an answer, or the end of all answers.
    fn says_something(&self) -> io::Result<bool> {
        let mut polled = [PollFd::new(&self.from, PollFlags::IN)];
        let wait = Timespec { tv_sec: 0, tv_nsec: LOOK.as_nanos() as i64 };
        match rustix::event::poll(&mut polled, Some(&wait)) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn send(&mut self, request: &Request) -> io::Result<()> {
        let to = self.to.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        request.send(to)
    }

    fn ask(&mut self, request: &Request) -> io::Result<()> {
        self.send(request)?;
        match Answer::receive(&mut self.from)? {
            Answer::Done => Ok(()),
            Answer::Failed(why) => Err(io::Error::other(why)),
            Answer::Output(..) | Answer::Ended(_) | Answer::NotStarted(_) => {
                Err(io::Error::other("the vault answered out of turn"))
            }
        }
    }

    /// The outer process ends after the kernel has ended all of the inner one's.
    fn end(&mut self) {
        if self.to.take().is_none() {
            return;
        }
        let start = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) {
            if start.elapsed() > PATIENCE {
                let _ = self.child.kill();
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let _ = std::fs::remove_dir(&self.dir);
        // Another stack's vault may be there.
        let _ = self.dir.parent().map(std::fs::remove_dir);
    }
}

impl Drop for Vault {
    /// After a failure in the middle of a run the guard still waits for that run: it is not
    /// asked, only closed, and the RAM goes with it.
    fn drop(&mut self) {
        if self.to.is_some() {
            let _ = self.ask(&Request::Shred);
        }
        self.end();
    }
}
