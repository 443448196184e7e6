//! A terminal for a program that runs in another session than the user: a pseudo-terminal, and someone who carries what is
//! typed and shown between the two.
//!
//! While the program runs, the user's terminal is raw: every key goes to the program, Ctrl-C included, and the program's
//! own terminal decides what the key means. However hlx ends (but by SIGKILL), the user's is as it was before.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::OwnedFd;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::pty::OpenptFlags;
use rustix::termios::{OptionalActions, SpecialCodeIndex, Termios};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGWINCH};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;
use zeroize::Zeroizing;

/// How long output is still read after the program has ended: a straggler may hold the terminal.
const AFTERGLOW: Duration = Duration::from_millis(200);
/// More than what a terminal keeps of what was said before the program ended.
const LAST_WORDS: usize = 1 << 20;

/// A terminal for one program, and the user's that it is joined to.
#[derive(Debug)]
pub struct Terminal {
    input: File,
    output: File,
    before: Termios,
    master: File,
    /// Open as long as the program may run, since the master fails where nobody has the other end.
    slave: OwnedFd,
    path: PathBuf,
}

impl Terminal {
    /// A new one, of the size and the settings of the user's, where `input` is typed and `output` shown.
    pub fn new(input: File, output: File) -> io::Result<Self> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = rustix::pty::openpt(flags)?;
        rustix::pty::grantpt(&master)?;
        rustix::pty::unlockpt(&master)?;
        let path = rustix::pty::ptsname(&master, Vec::new())?.into_bytes();
        let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags)?;
        let before = rustix::termios::tcgetattr(&input)?;
        rustix::termios::tcsetattr(&slave, OptionalActions::Now, &before)?;
        // A whole queue of input must not hold up the output.
        rustix::fs::fcntl_setfl(&master, OFlags::NONBLOCK)?;
        let path = std::ffi::OsString::from_vec(path).into();
        let terminal = Self { input, output, before, master: master.into(), slave, path };
        resize(&terminal.output, &terminal.master);
        Ok(terminal)
    }

    /// Where the program opens it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Joins the two for as long as `run` takes, which runs the program.
    pub fn join<T>(self, run: impl FnOnce() -> T) -> io::Result<T> {
        self.heed_signals()?;
        let (running, end) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let Self { input, output, before, master, slave, path: _ } = self;
        let raw = Raw::enter(&input, &before)?;
        let mut relay = Relay::new(&input, &output, master, &before);
        let ended = std::thread::scope(|scope| {
            scope.spawn(move || {
                relay.until_closed(&running);
                drop(slave);
                relay.drain();
            });
            // Its other end sees it closed, also if this panics.
            let _end = end;
            run()
        });
        drop(raw);
        Ok(ended)
    }

    /// From here on the program's terminal has the size of the user's, and a signal that ends hlx gives that one back first.
    fn heed_signals(&self) -> io::Result<()> {
        let mut signals = Signals::new([SIGWINCH, SIGHUP, SIGINT, SIGQUIT, SIGTERM])?;
        let (input, output, master) =
            (self.input.try_clone()?, self.output.try_clone()?, self.master.try_clone()?);
        let before = self.before.clone();
        std::thread::spawn(move || {
            for signal in signals.forever() {
                if signal == SIGWINCH {
                    resize(&output, &master);
                } else {
                    let _ = rustix::termios::tcsetattr(&input, OptionalActions::Now, &before);
                    let _ = emulate_default_handler(signal);
                }
            }
        });
        Ok(())
    }
}

/// The kernel tells the program of it.
fn resize(user: &File, master: &File) {
    let _ = rustix::termios::tcgetwinsize(user).and_then(|size| rustix::termios::tcsetwinsize(master, size));
}

/// The user's terminal while it hands over every key as it is; dropped, it is what it was.
struct Raw<'t> {
    terminal: &'t File,
    before: &'t Termios,
}

impl<'t> Raw<'t> {
    fn enter(terminal: &'t File, before: &'t Termios) -> io::Result<Self> {
        let mut raw = before.clone();
        raw.make_raw();
        rustix::termios::tcsetattr(terminal, OptionalActions::Now, &raw)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Raw<'_> {
    fn drop(&mut self) {
        let _ = rustix::termios::tcsetattr(self.terminal, OptionalActions::Now, self.before);
    }
}

/// Who carries between the two. A terminal that fails is one that nothing more comes from.
struct Relay<'t> {
    /// `None` when the user's terminal is gone.
    input: Option<&'t File>,
    output: &'t File,
    master: File,
    /// What the program has not taken yet. No more is read meanwhile.
    typed: Zeroizing<Vec<u8>>,
    end_of_input: u8,
}

impl<'t> Relay<'t> {
    fn new(input: &'t File, output: &'t File, master: File, settings: &Termios) -> Self {
        let end_of_input = settings.special_codes[SpecialCodeIndex::VEOF];
        Self { input: Some(input), output, master, typed: Zeroizing::new(Vec::new()), end_of_input }
    }

    /// Carries until the other end of `running` is closed.
    fn until_closed(&mut self, running: &OwnedFd) {
        loop {
            let reading = self.input.filter(|_| self.typed.is_empty());
            let wanted = if self.typed.is_empty() { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT };
            let mut polled = vec![PollFd::new(running, PollFlags::IN), PollFd::new(&self.master, wanted)];
            polled.extend(reading.map(|input| PollFd::new(input, PollFlags::IN)));
            if rustix::event::poll(&mut polled, None).is_err() {
                continue;
            }
            let ready: Vec<PollFlags> = polled.iter().map(PollFd::revents).collect();
            if !ready[0].is_empty() {
                return;
            }
            if ready.get(2).is_some_and(|ready| !ready.is_empty()) {
                self.read_typed();
            }
            if !self.typed.is_empty() {
                self.pass_typed();
            }
            if ready[1].contains(PollFlags::IN) {
                let _ = self.show();
            }
        }
    }

    fn read_typed(&mut self) {
        let mut buffer = Zeroizing::new([0; 1024]);
        match self.input.map_or(Ok(0), |mut input| input.read(&mut buffer[..])) {
            Ok(0) => {
                self.input = None;
                self.typed.push(self.end_of_input);
            }
            Ok(length) => self.typed.extend_from_slice(&buffer[..length]),
            Err(error) if is_passing(&error) => {}
            Err(_) => self.input = None,
        }
    }

    fn pass_typed(&mut self) {
        match self.master.write(&self.typed) {
            Ok(length) => drop(self.typed.drain(..length)),
            Err(error) if is_passing(&error) => {}
            Err(_) => self.typed.clear(),
        }
    }

    /// Shows what the program has said, and how much it was; `None` where no more will come.
    fn show(&mut self) -> Option<usize> {
        let mut buffer = Zeroizing::new([0; 16 * 1024]);
        match self.master.read(&mut buffer[..]) {
            Ok(0) => None,
            Ok(length) => {
                // A terminal that went away is the program's affair no more.
                let _ = self.output.write_all(&buffer[..length]);
                Some(length)
            }
            Err(error) => is_passing(&error).then_some(0),
        }
    }

    /// The last words of a program that has ended.
    fn drain(&mut self) {
        let mut left = LAST_WORDS;
        let wait = Timespec { tv_sec: 0, tv_nsec: i64::from(AFTERGLOW.subsec_nanos()) };
        while left > 0 {
            let mut polled = [PollFd::new(&self.master, PollFlags::IN)];
            match rustix::event::poll(&mut polled, Some(&wait)) {
                Ok(0) => return,
                Ok(_) => match self.show() {
                    Some(length) => left = left.saturating_sub(length),
                    None => return,
                },
                Err(Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
