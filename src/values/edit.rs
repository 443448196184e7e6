//! A copy of a file in RAM for an editor, which goes however this process ends.
//!
//! The directory is made and wiped by a second process, a guard in a session of its own: it waits until
//! its input ends, and that ends with this process, also by SIGKILL.

use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::secret::SecretBytes;
use crate::sys::{disk, namespace, ram};

/// The copy and its guard.
#[derive(Debug)]
pub struct Copy {
    guard: Child,
    file: PathBuf,
}

impl Copy {
    /// Writes a copy with this name. `guard` is the program that runs [`guard()`] with the directory that it is given.
    pub fn new(mut guard: Command, name: &str, content: &SecretBytes) -> io::Result<Self> {
        let mut guard = guard.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut said = String::new();
        BufReader::new(guard.stdout.take().expect("it was asked for")).read_line(&mut said)?;
        let directory = said.strip_suffix('\n').map(PathBuf::from);
        let directory =
            directory.ok_or_else(|| io::Error::other("no private directory could be made there"))?;
        let copy = Self { guard, file: directory.join(name) };
        disk::private_file(&copy.file, content.expose())?;
        Ok(copy)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.file
    }

    /// What stands in it now.
    pub fn read(&self) -> io::Result<SecretBytes> {
        std::fs::read(&self.file).map(SecretBytes::new)
    }
}

impl Drop for Copy {
    /// Ends the guard's input, and waits until it has wiped the directory.
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

/// The guard: makes a private directory below a place in RAM, says its name, and wipes it when its input ends.
pub fn guard(place: &Path, mut input: impl Read, mut output: impl Write) -> io::Result<()> {
    // A terminal's signals are for the editor.
    namespace::without_terminal()?;
    let directory = ram::private_directory(place)?;
    writeln!(output, "{}", directory.display())?;
    output.flush()?;
    io::copy(&mut input, &mut io::sink())?;
    disk::shred_all(&directory)?;
    std::fs::remove_dir(&directory)
}

/// Where a copy can be: the first of these directories that is in RAM, and whether that may be swapped out.
pub fn place(candidates: &[PathBuf]) -> Option<(&Path, Swap)> {
    let place = candidates.iter().find(|place| ram::holds(place))?;
    let swap = if ram::may_swap(place).unwrap_or(true) { Swap::Possible } else { Swap::Never };
    Some((place, swap))
}

/// Whether memory may reach a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swap {
    /// A swap device is on.
    Possible,
    /// None is, or this memory keeps out of it.
    Never,
}
