//! New objects, collected in memory and handed to git as one pack.
//!
//! A rotation makes thousands of objects. A process for each would take seconds, and a file for
//! each would be left to `git gc`. `git index-pack` checks the pack, brings it to the disk and
//! then gives it its name, so that a crash leaves all of the objects or none.

use std::collections::HashSet;
use std::fmt;

use gix::hash::hasher;
use gix::objs::Kind;
use gix::zlib::stream::deflate::{Compress, FlushCompress};
use gix::zlib::{Compression, Status};

use super::repository::unreadable;
use super::{Error, Git, Repository};

/// `PACK`, and version 2. The number of objects follows.
const MAGIC: [u8; 8] = *b"PACK\0\0\0\x02";

/// Objects to be written.
pub struct Pack {
    hash: gix::hash::Kind,
    /// The names of those that are in it.
    names: HashSet<String>,
    /// Their entries.
    bytes: Vec<u8>,
    compress: Compress,
}

impl fmt::Debug for Pack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pack({} objects)", self.names.len())
    }
}

impl Pack {
    /// An empty one, for this repository.
    pub fn new(repository: &Repository) -> Self {
        Self {
            hash: repository.hash(),
            names: HashSet::new(),
            bytes: Vec::new(),
            compress: Compress::new(Compression::BEST_SPEED),
        }
    }

    /// Adds a blob, and gives its name in hex.
    pub fn blob(&mut self, content: &[u8]) -> Result<String, Error> {
        self.add(Kind::Blob, content)
    }

    pub(super) fn add(&mut self, kind: Kind, content: &[u8]) -> Result<String, Error> {
        let failed = unreadable("a new object");
        let name = gix::objs::compute_hash(self.hash, kind, content).map_err(&failed)?.to_string();
        if self.names.insert(name.clone()) {
            entry_head(kind, content.len(), &mut self.bytes);
            self.deflate(content).map_err(&failed)?;
        }
        Ok(name)
    }

    fn deflate(&mut self, content: &[u8]) -> Result<(), gix::Error> {
        let mut buffer = [0; 8 * 1024];
        self.compress.reset();
        loop {
            let (read, written) = (self.compress.total_in(), self.compress.total_out());
            let rest = &content[usize::try_from(read).expect("it is a part of a length")..];
            let status = self.compress.compress(rest, &mut buffer, FlushCompress::Finish)?;
            let fresh = self.compress.total_out() - written;
            self.bytes.extend_from_slice(&buffer[..usize::try_from(fresh).expect("it fits the buffer")]);
            if matches!(status, Status::StreamEnd) {
                return Ok(());
            }
        }
    }

    /// Writes them all, and begins anew.
    pub fn store(&mut self, git: &Git) -> Result<(), Error> {
        if self.names.is_empty() {
            return Ok(());
        }
        let count = u32::try_from(self.names.len()).map_err(|_| Error::Unexpected("index-pack"))?;
        let mut pack = Vec::with_capacity(self.bytes.len() + 64);
        pack.extend_from_slice(&MAGIC);
        pack.extend_from_slice(&count.to_be_bytes());
        pack.append(&mut self.bytes);
        let mut hash = hasher(self.hash);
        hash.update(&pack);
        let sum = hash.try_finalize().map_err(unreadable("the new objects"))?;
        pack.extend_from_slice(sum.as_slice());
        git.feed(&["index-pack", "--stdin"], &pack)?;
        self.names.clear();
        Ok(())
    }
}

/// The type of an entry and the length of its content: four bits of it, then seven at a time. (git: gitformat-pack(5).)
fn entry_head(kind: Kind, length: usize, out: &mut Vec<u8>) {
    let kind = match kind {
        Kind::Commit => 1,
        Kind::Tree => 2,
        Kind::Blob => 3,
        Kind::Tag => 4,
    };
    let mut byte = (kind << 4) | low_bits(length, 0x0f);
    let mut rest = length >> 4;
    while rest > 0 {
        out.push(byte | 0x80);
        byte = low_bits(rest, 0x7f);
        rest >>= 7;
    }
    out.push(byte);
}

fn low_bits(number: usize, mask: u8) -> u8 {
    number.to_le_bytes()[0] & mask
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn git_reads_what_was_packed_whatever_its_size() {
        let place = tempfile::tempdir().unwrap();
        let git = Git::at(place.path());
        git.run(&["init", "-q"]).unwrap();
        let repository = Repository::discover(place.path()).unwrap();
        let mut pack = Pack::new(&repository);
        let sizes = [0_usize, 1, 15, 16, 2047, 2048, 8192, 100_000, 300_000];
        let content = |size: usize| -> Vec<u8> { (0..size).map(|n| (n * n / 7) as u8).collect() };
        let names: Vec<String> = sizes.iter().map(|size| pack.blob(&content(*size)).unwrap()).collect();
        assert_eq!(pack.blob(&content(15)).unwrap(), names[2], "the same is stored once");
        pack.store(&git).unwrap();
        pack.store(&git).unwrap();
        for (size, name) in sizes.iter().zip(&names) {
            assert_eq!(git.run(&["cat-file", "blob", name]).unwrap(), content(*size), "{size}");
        }
        git.run(&["fsck", "--strict"]).unwrap();
        let packs = std::fs::read_dir(place.path().join(Path::new(".git/objects/pack"))).unwrap();
        assert_eq!(
            packs.filter(|file| file.as_ref().unwrap().path().extension().unwrap() == "pack").count(),
            1
        );
    }
}
