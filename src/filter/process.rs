//! The long-running filter: one process for all files of a git command.
//!
//! git: gitattributes(5), "Long Running Filter Process", protocol version 2. The content of a
//! file arrives completely before the answer may begin, and the answer leaves in one write.

use std::io::{self, Read, Write};

use zeroize::Zeroizing;

use crate::git::pktline;
use crate::secret::SecretBytes;

use super::Error;
use super::smudge::Smudged;

/// What the session does with files, and whom it tells.
pub trait Handler {
    /// Seals a file of the work tree.
    fn clean(&mut self, path: &[u8], content: &[u8]) -> Result<Vec<u8>, Error>;
    /// Opens a blob for the path of the request.
    fn smudge(&mut self, request: &Request, blob: &[u8]) -> Smudged;
    /// A file could not be cleaned.
    fn refused(&mut self, path: &[u8], error: Error);
    /// git has the answer to this request, which came with this content: what git need not wait for is done here.
    fn answered(&mut self, request: &Request, content: &[u8], answer: &Answer);
    /// A file stays sealed.
    fn stays_sealed(&mut self, path: &[u8], error: &crate::keys::Error);
    /// git is done.
    fn finished(&mut self);
}

/// What git gets for a file.
#[derive(Debug)]
pub enum Answer {
    /// A file of the work tree, as git shall store it.
    Cleaned(Vec<u8>),
    /// A blob, opened.
    Opened(SecretBytes),
    /// What came in, as it is.
    Unchanged,
    /// That it failed.
    Refused,
}

/// A request of git's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What to do.
    pub command: Command,
    /// The path of the file, from the top of the work tree.
    pub path: Vec<u8>,
    /// The name of the blob of a smudge in hex; empty if git does not say it (`git am` does not).
    pub blob: Vec<u8>,
    /// The commit or tree that git checks out, in hex; empty if git does not say it.
    pub tree: Vec<u8>,
}

/// What git asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// From the work tree into git.
    Clean,
    /// From git into the work tree.
    Smudge,
    /// What hlx did not offer.
    Other,
}

/// Serves git until it closes the stream.
///
/// Fails if the stream breaks or does not speak the protocol.
pub fn serve(from: &mut impl Read, to: &mut impl Write, handler: &mut impl Handler) -> io::Result<()> {
    greet(from, to)?;
    while let Some(lines) = pktline::read_lines(from)? {
        let request = Request::parse(lines);
        let Some(content) = pktline::read_content(from)? else { break };
        let content = Zeroizing::new(content);
        let answer = respond(handler, &request, &content);
        pktline::send(to, &answer.packets(&content))?;
        handler.answered(&request, &content, &answer);
    }
    handler.finished();
    Ok(())
}

fn greet(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("git {what}"));
    let hello = pktline::read_lines(from)?.ok_or_else(|| wrong("said nothing"))?;
    if hello.first().map(Vec::as_slice) != Some(b"git-filter-client")
        || !hello.contains(&b"version=2".to_vec())
    {
        return Err(wrong("does not speak version 2 of the filter protocol"));
    }
    let mut out = Vec::new();
    pktline::line(&mut out, "git-filter-server");
    pktline::line(&mut out, "version=2");
    pktline::flush(&mut out);
    pktline::send(to, &out)?;
    pktline::read_lines(from)?.ok_or_else(|| wrong("named no capabilities"))?;
    let mut out = Vec::new();
    pktline::line(&mut out, "capability=clean");
    pktline::line(&mut out, "capability=smudge");
    pktline::flush(&mut out);
    pktline::send(to, &out)
}

impl Request {
    fn parse(lines: Vec<Vec<u8>>) -> Self {
        let (path, blob, tree) = <(Vec<u8>, Vec<u8>, Vec<u8>)>::default();
        let mut request = Self { command: Command::Other, path, blob, tree };
        for line in lines {
            if let Some(path) = line.strip_prefix(b"pathname=") {
                request.path = path.to_vec();
            } else if let Some(blob) = line.strip_prefix(b"blob=") {
                request.blob = blob.to_vec();
            } else if let Some(tree) = line.strip_prefix(b"treeish=") {
                request.tree = tree.to_vec();
            } else if line == b"command=clean" {
                request.command = Command::Clean;
            } else if line == b"command=smudge" {
                request.command = Command::Smudge;
            }
        }
        request
    }
}

fn respond(handler: &mut impl Handler, request: &Request, content: &[u8]) -> Answer {
    match request.command {
        Command::Clean => match handler.clean(&request.path, content) {
            Ok(sealed) => Answer::Cleaned(sealed),
            Err(error) => {
                handler.refused(&request.path, error);
                Answer::Refused
            }
        },
        Command::Smudge => match handler.smudge(request, content) {
            Smudged::Open(plaintext) => Answer::Opened(plaintext),
            Smudged::Clear | Smudged::Locked => Answer::Unchanged,
            Smudged::Sealed(error) => {
                handler.stays_sealed(&request.path, &error);
                Answer::Unchanged
            }
        },
        Command::Other => Answer::Refused,
    }
}

impl Answer {
    /// All of it, for the content that came in.
    fn packets(&self, content: &[u8]) -> Zeroizing<Vec<u8>> {
        match self {
            Self::Cleaned(sealed) => success(sealed),
            Self::Opened(plaintext) => success(plaintext.expose()),
            Self::Unchanged => success(content),
            Self::Refused => status_error(),
        }
    }
}

fn success(content: &[u8]) -> Zeroizing<Vec<u8>> {
    let packets = content.len() / pktline::MAX_CONTENT + 1;
    let mut out = Zeroizing::new(Vec::with_capacity(content.len() + packets * 4 + 64));
    pktline::line(&mut out, "status=success");
    pktline::flush(&mut out);
    pktline::content(&mut out, content);
    pktline::flush(&mut out);
    // An empty list: the status stays as it was.
    pktline::flush(&mut out);
    out
}

fn status_error() -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::new());
    pktline::line(&mut out, "status=error");
    pktline::flush(&mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reverses on clean, and on smudge too; refuses the path `bad`.
    #[derive(Default)]
    struct Reverse {
        told: Vec<String>,
    }

    impl Handler for Reverse {
        fn clean(&mut self, path: &[u8], content: &[u8]) -> Result<Vec<u8>, Error> {
            if path == b"bad" { Err(Error::NoConfig) } else { Ok(content.iter().rev().copied().collect()) }
        }
        fn smudge(&mut self, request: &Request, blob: &[u8]) -> Smudged {
            assert_eq!((&request.blob[..], &request.tree[..]), (&b"00"[..], &b"11"[..]));
            match &request.path[..] {
                b"locked" => Smudged::Sealed(crate::keys::Error::Sops(crate::sops::Error::NotSealed)),
                _ => Smudged::Open(SecretBytes::new(blob.iter().rev().copied().collect())),
            }
        }
        fn refused(&mut self, path: &[u8], _: Error) {
            self.told.push(format!("refused {}", String::from_utf8_lossy(path)));
        }
        fn answered(&mut self, _: &Request, content: &[u8], answer: &Answer) {
            self.told.push(format!("answered {} {answer:?}", content.len()));
        }
        fn stays_sealed(&mut self, path: &[u8], _: &crate::keys::Error) {
            self.told.push(format!("sealed {}", String::from_utf8_lossy(path)));
        }
        fn finished(&mut self) {
            self.told.push("finished".to_owned());
        }
    }

    fn lines(out: &mut Vec<u8>, lines: &[&str]) {
        lines.iter().for_each(|text| pktline::line(out, text));
        pktline::flush(out);
    }

    fn request(out: &mut Vec<u8>, command: &str, path: &str, content: &[u8]) {
        lines(out, &[&format!("command={command}"), &format!("pathname={path}"), "treeish=11", "blob=00"]);
        pktline::content(out, content);
        pktline::flush(out);
    }

    #[test]
    fn a_session_answers_file_by_file() {
        let mut git = Vec::new();
        lines(&mut git, &["git-filter-client", "version=2"]);
        lines(&mut git, &["capability=clean", "capability=smudge", "capability=delay"]);
        request(&mut git, "clean", "a\nb ", b"abc");
        request(&mut git, "clean", "bad", b"abc");
        request(&mut git, "smudge", "locked", b"xyz");
        let (mut out, mut handler) = (Vec::new(), Reverse::default());
        serve(&mut git.as_slice(), &mut out, &mut handler).unwrap();
        assert_eq!(
            handler.told,
            [
                "answered 3 Cleaned([99, 98, 97])",
                "refused bad",
                "answered 3 Refused",
                "sealed locked",
                "answered 3 Unchanged",
                "finished",
            ]
        );
        let mut expected = Vec::new();
        lines(&mut expected, &["git-filter-server", "version=2"]);
        lines(&mut expected, &["capability=clean", "capability=smudge"]);
        expected.extend(success(b"cba").iter());
        expected.extend(status_error().iter());
        expected.extend(success(b"xyz").iter());
        assert_eq!(out, expected);
    }

    #[test]
    fn another_protocol_is_refused() {
        let mut git = Vec::new();
        lines(&mut git, &["git-filter-client", "version=1"]);
        assert!(serve(&mut git.as_slice(), &mut Vec::new(), &mut Reverse::default()).is_err());
    }
}
