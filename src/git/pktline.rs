//! pkt-line: how git frames what it says to a filter.
//!
//! Four hex digits of length (themselves included), then that many bytes; `0000` is a flush.
//! (git: gitprotocol-common(5); at most 65,516 bytes of content per packet.)

use std::io::{self, Read, Write};

/// The most content that fits one packet.
pub const MAX_CONTENT: usize = 65_516;

/// What stands at the reader's place.
#[derive(Debug, PartialEq, Eq)]
pub enum Packet {
    /// Content, now in the buffer.
    Data,
    /// `0000`.
    Flush,
    /// The other side is gone.
    End,
}

/// Reads one packet; its content is appended to `buffer`.
///
/// Fails on a malformed length, and when the stream ends within a packet.
pub fn read(from: &mut impl Read, buffer: &mut Vec<u8>) -> io::Result<Packet> {
    let mut head = [0; 4];
    match from.read(&mut head)? {
        0 => return Ok(Packet::End),
        read => from.read_exact(&mut head[read..])?,
    }
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "malformed pkt-line length");
    let digits = std::str::from_utf8(&head).map_err(|_| malformed())?;
    match usize::from_str_radix(digits, 16).map_err(|_| malformed())? {
        0 => Ok(Packet::Flush),
        length @ 4..=65_520 => {
            let start = buffer.len();
            make_room(buffer, length - 4);
            buffer.resize(start + length - 4, 0);
            from.read_exact(&mut buffer[start..])?;
            Ok(Packet::Data)
        }
        _ => Err(malformed()),
    }
}

/// From this size on a buffer grows by a quarter only, and no more by its double.
const LARGE: usize = 1 << 24;

fn make_room(buffer: &mut Vec<u8>, more: usize) {
    if buffer.len() > LARGE && buffer.capacity() - buffer.len() < more {
        buffer.reserve_exact(buffer.len() / 4);
    }
}

/// Reads packets up to a flush into one buffer. `Ok(None)` if the stream ended instead.
pub fn read_content(from: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut content = Vec::new();
    loop {
        match read(from, &mut content)? {
            Packet::Data => {}
            Packet::Flush => return Ok(Some(content)),
            Packet::End => return Ok(None),
        }
    }
}

/// Reads lines up to a flush, each without its one line feed. `Ok(None)` if the stream ended instead.
pub fn read_lines(from: &mut impl Read) -> io::Result<Option<Vec<Vec<u8>>>> {
    let mut lines = Vec::new();
    loop {
        let mut line = Vec::new();
        match read(from, &mut line)? {
            Packet::Data => {
                line.pop_if(|last| *last == b'\n');
                lines.push(line);
            }
            Packet::Flush => return Ok(Some(lines)),
            Packet::End => return Ok(None),
        }
    }
}

/// Adds one line as a packet.
pub fn line(out: &mut Vec<u8>, text: &str) {
    out.extend(format!("{:04x}{text}\n", text.len() + 5).as_bytes());
}

/// Adds content, in as many packets as it takes.
pub fn content(out: &mut Vec<u8>, content: &[u8]) {
    for chunk in content.chunks(MAX_CONTENT) {
        out.extend(format!("{:04x}", chunk.len() + 4).as_bytes());
        out.extend(chunk);
    }
}

/// Adds a flush.
pub fn flush(out: &mut Vec<u8>) {
    out.extend(b"0000");
}

/// Sends what was gathered in one write.
pub fn send(to: &mut impl Write, out: &[u8]) -> io::Result<()> {
    to.write_all(out)?;
    to.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let big = vec![7; MAX_CONTENT * 2 + 1];
        let mut out = Vec::new();
        content(&mut out, &big);
        flush(&mut out);
        line(&mut out, "status=success");
        flush(&mut out);
        let mut from = out.as_slice();
        assert_eq!(read_content(&mut from).unwrap().unwrap(), big);
        assert_eq!(read_lines(&mut from).unwrap().unwrap(), [b"status=success"]);
        assert_eq!(read_lines(&mut from).unwrap(), None);
    }

    #[test]
    fn one_line_feed_is_dropped_and_no_more() {
        let mut from: &[u8] = b"0007a \n0008b\n\n\n0000";
        assert_eq!(read_lines(&mut from).unwrap().unwrap(), [&b"a "[..], b"b\n\n"]);
    }

    #[test]
    fn malformed_lengths_are_errors() {
        for bytes in [&b"zzzz"[..], b"0003", b"fff1aa", b"0009ab", b"00"] {
            assert!(read_content(&mut &*bytes).is_err(), "{bytes:?}");
        }
    }
}
