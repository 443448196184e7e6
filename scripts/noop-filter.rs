//! A long-running filter that changes nothing: what `scripts/bench-filter` measures hlx against.

use std::fs::File;
use std::io::{self, BufReader};
use std::os::fd::AsFd as _;

use hlx::filter::Error;
use hlx::filter::process::{Answer, Handler, Request, serve};
use hlx::filter::smudge::Smudged;

struct Noop;

impl Handler for Noop {
    fn clean(&mut self, _: &[u8], content: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(content.to_vec())
    }
    fn smudge(&mut self, _: &Request, _: &[u8]) -> Smudged {
        Smudged::Clear
    }
    fn refused(&mut self, _: &[u8], _: Error) {}
    fn answered(&mut self, _: &Request, _: &[u8], _: &Answer) {}
    fn stays_sealed(&mut self, _: &[u8], _: &hlx::keys::Error) {}
    fn finished(&mut self) {}
}

fn main() -> io::Result<()> {
    // Past the line buffer of `Stdout`, which would write each answer in two pieces.
    let mut to = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    serve(&mut BufReader::with_capacity(1 << 16, io::stdin().lock()), &mut to, &mut Noop)
}
