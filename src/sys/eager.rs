//! A reader that looks for input a few hundred times before it goes to sleep.
//!
//! git and a filter answer each other in turns, and each turn that sleeps costs a wake-up of the
//! other process: more than most answers take to compute. A short bounded spin saves it, where git
//! is quick (checkout, status). Where it is not (it compresses what it adds), looking only burns
//! the time of a core, so each look in vain doubles the reads that go without. With one core alone
//! the other side could not run meanwhile, so there it is off.

use std::io::{self, Read};
use std::os::fd::AsFd;

use rustix::io::ioctl_fionread;

/// How often to look before sleeping: about as long as git needs for one small file.
const LOOKS: u32 = 400;
/// The most reads that go without looking, once looking was in vain several times.
const LONGEST_REST: u32 = 256;

/// A pipe's reading end, read eagerly.
#[derive(Debug)]
pub struct Eager<R> {
    from: R,
    looks: u32,
    /// How many reads go without looking, and how many do after the next look in vain.
    rest: (u32, u32),
}

impl<R: Read + AsFd> Eager<R> {
    /// Reads from a pipe.
    pub fn new(from: R) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { from, looks: if cores > 1 { LOOKS } else { 0 }, rest: (0, 1) }
    }

    /// True if there is something to read.
    fn look(&self) -> bool {
        (0..self.looks).any(|_| match ioctl_fionread(self.from.as_fd()) {
            Ok(0) => {
                std::hint::spin_loop();
                false
            }
            Ok(_) | Err(_) => true,
        })
    }
}

impl<R: Read + AsFd> Read for Eager<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.rest = match self.rest {
            (0, _) if self.look() => (0, 1),
            (0, next) => (next, LONGEST_REST.min(next * 2)),
            (rest, next) => (rest - 1, next),
        };
        self.from.read(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Write as _;

    #[test]
    fn it_reads_what_comes_and_sees_the_end() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let mut writer = File::from(writer);
        let mut eager = Eager::new(File::from(reader));
        let writing = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(5));
            writer.write_all(b"late").unwrap();
        });
        let mut all = String::new();
        eager.read_to_string(&mut all).unwrap();
        writing.join().unwrap();
        assert_eq!(all, "late");
    }
}
