//! What hlx and the first process of the vault say to each other over two pipes.
//!
//! A frame is a kind, a count of fields, and each field behind its length. Plaintext goes this
//! way and no other: never in arguments, the environment or a file outside the vault.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use zeroize::Zeroizing;

use crate::secret::SecretBytes;
use crate::sys::process::{Call, End, Stream};

/// No field is longer: what a broken peer says must not fill the memory.
const LONGEST: usize = 1 << 30;

/// From hlx to the vault.
#[derive(Debug)]
pub(super) enum Request {
    /// Mount a RAM file system at `vault`; files of `project` will be covered.
    Begin {
        /// Where the vault is mounted.
        vault: PathBuf,
        /// The project directory.
        project: PathBuf,
        /// How many bytes the vault may hold.
        size: u64,
    },
    /// Write a file into the vault.
    Put {
        /// Where, below the vault.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
        /// What it holds.
        content: SecretBytes,
    },
    /// Lay these files of the vault's `tree` over those of the same name in the project.
    Cover(Vec<PathBuf>),
    /// Show this directory of the vault alone, and read-only, where the project directory is.
    Replace(PathBuf),
    /// Fail unless every file that was covered still is.
    Check,
    /// Write a symbolic link into the vault.
    Link {
        /// Where, below the vault.
        path: PathBuf,
        /// Where it leads.
        target: Vec<u8>,
    },
    /// Show the project's own files again.
    Uncover,
    /// What the next program reads from its standard input.
    Feed(SecretBytes),
    /// The next program reads and says all at this terminal.
    Attach(PathBuf),
    /// Run a program.
    Run(Call),
    /// Kill the program that runs; what is answered is its end.
    Kill,
    /// Overwrite and remove everything, and end.
    Shred,
}

/// From the vault to hlx.
#[derive(Debug)]
pub(super) enum Answer {
    /// It is done.
    Done,
    /// It could not be done.
    Failed(String),
    /// Output of the program that runs.
    Output(Stream, SecretBytes),
    /// The program ended.
    Ended(End),
    /// The program could not be started.
    NotStarted(String),
}

type Field = Zeroizing<Vec<u8>>;

/// A message in its bare form.
struct Frame {
    kind: u8,
    fields: std::vec::IntoIter<Field>,
}

impl Frame {
    fn next(&mut self) -> io::Result<Field> {
        self.fields.next().ok_or_else(malformed)
    }

    fn path(&mut self) -> io::Result<PathBuf> {
        Ok(OsString::from_vec(self.next()?.to_vec()).into())
    }

    fn number(&mut self) -> io::Result<u64> {
        Ok(u64::from_le_bytes(self.next()?.as_slice().try_into().map_err(|_| malformed())?))
    }

    fn rest(self) -> Vec<OsString> {
        self.fields.map(|field| OsString::from_vec(field.to_vec())).collect()
    }
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a malformed frame")
}

fn write(to: &mut impl Write, kind: u8, fields: &[&[u8]]) -> io::Result<()> {
    let size = 5 + fields.iter().map(|field| field.len() + 4).sum::<usize>();
    let mut frame = Zeroizing::new(Vec::with_capacity(size));
    frame.push(kind);
    frame.extend_from_slice(&(fields.len() as u32).to_le_bytes());
    for field in fields {
        frame.extend_from_slice(&(field.len() as u32).to_le_bytes());
        frame.extend_from_slice(field);
    }
    to.write_all(&frame)?;
    to.flush()
}

fn read(from: &mut impl Read) -> io::Result<Frame> {
    let mut kind = [0];
    from.read_exact(&mut kind)?;
    let count = length(from)?;
    let fields: io::Result<Vec<Field>> = (0..count).map(|_| field(from)).collect();
    Ok(Frame { kind: kind[0], fields: fields?.into_iter() })
}

fn field(from: &mut impl Read) -> io::Result<Field> {
    let mut field = Zeroizing::new(vec![0; length(from)?]);
    from.read_exact(&mut field)?;
    Ok(field)
}

fn length(from: &mut impl Read) -> io::Result<usize> {
    let mut bytes = [0; 4];
    from.read_exact(&mut bytes)?;
    let length = u32::from_le_bytes(bytes) as usize;
    if length > LONGEST { Err(malformed()) } else { Ok(length) }
}

impl Request {
    /// Sends it.
    pub(super) fn send(&self, to: &mut impl Write) -> io::Result<()> {
        match self {
            Self::Begin { vault, project, size } => {
                write(to, 0, &[bytes(vault), bytes(project), &size.to_le_bytes()])
            }
            Self::Put { path, mode, content } => {
                write(to, 1, &[bytes(path), &u64::from(*mode).to_le_bytes(), content.expose()])
            }
            Self::Cover(paths) => write(to, 2, &paths.iter().map(|path| bytes(path)).collect::<Vec<_>>()),
            Self::Uncover => write(to, 3, &[]),
            Self::Run(call) => send_call(to, call),
            Self::Shred => write(to, 5, &[]),
            Self::Replace(dir) => write(to, 6, &[bytes(dir)]),
            Self::Check => write(to, 7, &[]),
            Self::Link { path, target } => write(to, 8, &[bytes(path), target]),
            Self::Feed(input) => write(to, 9, &[input.expose()]),
            Self::Attach(terminal) => write(to, 10, &[bytes(terminal)]),
            Self::Kill => write(to, 11, &[]),
        }
    }

    /// Receives one.
    pub(super) fn receive(from: &mut impl Read) -> io::Result<Self> {
        let mut frame = read(from)?;
        Ok(match frame.kind {
            0 => Self::Begin { vault: frame.path()?, project: frame.path()?, size: frame.number()? },
            1 => Self::Put {
                path: frame.path()?,
                mode: frame.number()? as u32,
                content: SecretBytes::new(std::mem::take(&mut *frame.next()?)),
            },
            2 => Self::Cover(frame.rest().into_iter().map(PathBuf::from).collect()),
            3 => Self::Uncover,
            4 => Self::Run(receive_call(frame)?),
            5 => Self::Shred,
            6 => Self::Replace(frame.path()?),
            7 => Self::Check,
            8 => Self::Link { path: frame.path()?, target: frame.next()?.to_vec() },
            9 => Self::Feed(SecretBytes::new(std::mem::take(&mut *frame.next()?))),
            10 => Self::Attach(frame.path()?),
            11 => Self::Kill,
            _ => return Err(malformed()),
        })
    }
}

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

fn send_call(to: &mut impl Write, call: &Call) -> io::Result<()> {
    let (limit, count) =
        ((call.limit.as_millis() as u64).to_le_bytes(), (call.argv.len() as u64).to_le_bytes());
    let mut fields = vec![bytes(&call.cwd), &limit[..], &count[..]];
    fields.extend(call.argv.iter().map(|arg| arg.as_bytes()));
    fields.extend(call.env.iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]));
    write(to, 4, &fields)
}

fn receive_call(mut frame: Frame) -> io::Result<Call> {
    let (cwd, limit) = (frame.path()?, Duration::from_millis(frame.number()?));
    let count = frame.number()? as usize;
    let mut argv = frame.rest();
    if count == 0 || count > argv.len() {
        return Err(malformed());
    }
    let env = argv.split_off(count);
    let env = env.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect();
    Ok(Call { argv, cwd, env, limit })
}

impl Answer {
    /// Sends it.
    pub(super) fn send(&self, to: &mut impl Write) -> io::Result<()> {
        match self {
            Self::Done => write(to, 0, &[]),
            Self::Failed(why) => write(to, 1, &[why.as_bytes()]),
            Self::Output(Stream::Out, text) => write(to, 2, &[text.expose()]),
            Self::Output(Stream::Err, text) => write(to, 3, &[text.expose()]),
            Self::Ended(End::Code(code)) => write(to, 4, &[&(*code as u64).to_le_bytes()]),
            Self::Ended(End::Signal(signal)) => write(to, 5, &[&(*signal as u64).to_le_bytes()]),
            Self::Ended(End::TimeUp) => write(to, 6, &[]),
            Self::NotStarted(why) => write(to, 7, &[why.as_bytes()]),
        }
    }

    /// Receives one.
    pub(super) fn receive(from: &mut impl Read) -> io::Result<Self> {
        let mut frame = read(from)?;
        let text =
            |frame: &mut Frame| frame.next().map(|mut field| SecretBytes::new(std::mem::take(&mut *field)));
        Ok(match frame.kind {
            0 => Self::Done,
            1 => Self::Failed(String::from_utf8_lossy(&frame.next()?).into_owned()),
            2 => Self::Output(Stream::Out, text(&mut frame)?),
            3 => Self::Output(Stream::Err, text(&mut frame)?),
            4 => Self::Ended(End::Code(frame.number()? as i32)),
            5 => Self::Ended(End::Signal(frame.number()? as i32)),
            6 => Self::Ended(End::TimeUp),
            7 => Self::NotStarted(String::from_utf8_lossy(&frame.next()?).into_owned()),
            _ => return Err(malformed()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(request: &Request) -> Request {
        let mut pipe = Vec::new();
        request.send(&mut pipe).unwrap();
        Request::receive(&mut &pipe[..]).unwrap()
    }

    #[test]
    fn a_call_comes_out_as_it_went_in() {
        let env = vec![("A".into(), "b\n".into()), ("EMPTY".into(), "".into())];
        let call =
            Call { argv: vec!["x".into(), "".into()], cwd: "/c".into(), env, limit: Duration::from_secs(3) };
        assert_eq!(
            format!("{:?}", through(&Request::Run(call.clone()))),
            format!("{:?}", Request::Run(call))
        );
    }

    #[test]
    fn a_file_comes_out_as_it_went_in() {
        let put =
            Request::Put { path: "a/b".into(), mode: 0o600, content: SecretBytes::new(b"\0x".to_vec()) };
        let Request::Put { path, mode, content } = through(&put) else { panic!("another request") };
        assert_eq!((path, mode, &content.expose()[..]), ("a/b".into(), 0o600, &b"\0x"[..]));
    }

    #[test]
    fn a_cut_or_wrong_frame_is_an_error() {
        let mut pipe = Vec::new();
        Request::Cover(vec!["a".into()]).send(&mut pipe).unwrap();
        assert!((0..pipe.len()).all(|end| Request::receive(&mut &pipe[..end]).is_err()));
        assert!(Request::receive(&mut &[99, 0, 0, 0, 0][..]).is_err());
        assert!(Request::receive(&mut &[4, 0, 0, 0, 0][..]).is_err());
    }

    #[test]
    fn exit_codes_keep_their_sign() {
        let mut pipe = Vec::new();
        Answer::Ended(End::Code(-1)).send(&mut pipe).unwrap();
        assert!(matches!(Answer::receive(&mut &pipe[..]).unwrap(), Answer::Ended(End::Code(-1))));
    }
}
