//! A buffered reader that keeps nothing: what was read from its buffer is wiped there.

use std::io::{self, Read};

use zeroize::Zeroizing;

/// A reader with a buffer, for many small reads.
pub struct Reader<R> {
    from: R,
    buffer: Zeroizing<Vec<u8>>,
    /// What is still to be read stands between these.
    start: usize,
    end: usize,
}

impl<R> std::fmt::Debug for Reader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reader")
    }
}

impl<R: Read> Reader<R> {
    /// Reads in pieces of up to so many bytes.
    pub fn new(from: R, capacity: usize) -> Self {
        Self { from, buffer: Zeroizing::new(vec![0; capacity]), start: 0, end: 0 }
    }
}

impl<R: Read> Read for Reader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.start == self.end {
            if out.len() >= self.buffer.len() {
                return self.from.read(out);
            }
            (self.start, self.end) = (0, self.from.read(&mut self.buffer)?);
        }
        let held = &mut self.buffer[self.start..self.end];
        let length = held.len().min(out.len());
        out[..length].copy_from_slice(&held[..length]);
        // The buffer is read into again, so that no compiler leaves this out; when it is dropped, it is wiped in any case.
        held[..length].fill(0);
        self.start += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_comes_through_and_nothing_stays() {
        let text: Vec<u8> = (0..=255u8).cycle().take(1000).collect();
        let mut reader = Reader::new(text.as_slice(), 64);
        let mut all: Vec<u8> = Vec::new();
        for length in [1, 3, 60, 100, 7].into_iter().cycle() {
            let mut part = vec![0u8; length];
            let read = reader.read(&mut part).unwrap();
            all.extend(&part[..read]);
            assert!(reader.buffer[..reader.start].iter().all(|byte| *byte == 0));
            if read == 0 {
                break;
            }
        }
        assert_eq!(all, text);
    }
}
