//! The first process of the vault: it owns the private view, and the view dies with it.
//!
//! `hlx vault-init` runs twice. The outer one leaves the host's mount and PID namespaces and
//! starts the inner one, which is PID 1 there. Each is killed by the kernel when its parent
//! dies, and PID 1 also ends when its input does; with it go all processes it started, every
//! mount, and the RAM that held plaintext.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;

use rustix::fd::OwnedFd;
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::wire::{Answer, Request};
use crate::secret::SecretBytes;
use crate::sys::disk::{self, Root};
use crate::sys::process::{Call, End};
use crate::sys::{namespace, ram};

/// Where the files that lie over the project's are, below the vault.
pub const TREE: &str = "tree";
/// The commit's files as git has them, sealed ones in ciphertext: what builds see.
pub const SEALED: &str = "sealed";
/// What is in [`TREE`], read-only: what is laid over files of the project is bound from here.
const SHOWN: &str = "shown";
/// Where programs put their temporary files, below the vault.
pub const TEMPORARY: &str = "tmp";

/// The outer process: leaves the namespaces and waits for the inner one.
pub fn outer(parent: u32) -> io::Result<()> {
    namespace::without_terminal()?;
    namespace::leave().map_err(explained)?;
    namespace::die_with_parent(Some(parent))?;
    namespace::no_dumps()?;
    let mut inner = Command::new("/proc/self/exe").arg("vault-init").stdin(Stdio::inherit()).spawn()?;
    inner.wait().map(drop)
}

/// Users have no namespaces where an administrator, or AppArmor, took them away.
fn explained(error: io::Error) -> io::Error {
    match rustix::process::geteuid().is_root() {
        true => error,
        false => io::Error::other(format!(
            "this kernel does not let users make namespaces ({error}): run hlx with sudo, or see \
             kernel.unprivileged_userns_clone and kernel.apparmor_restrict_unprivileged_userns in sysctl(8)"
        )),
    }
}

/// The inner process, PID 1: does what it is asked until its input ends.
pub fn inner(input: impl Read + Send + 'static, mut output: impl Write) -> io::Result<()> {
    namespace::die_with_parent(None)?;
    namespace::no_dumps()?;
    if std::process::id() != 1 {
        return Err(io::Error::other("not the first process of a namespace"));
    }
    namespace::settle()?;
    let mut vault = None;
    for request in listen(input) {
        let last = matches!(request, Request::Shred);
        let answer = obey(&mut vault, request, &mut output);
        answer.unwrap_or_else(|error| Answer::Failed(error.to_string())).send(&mut output)?;
        if last {
            break;
        }
    }
    Ok(())
}

/// Requests as they come, but for the one that cannot wait for its turn. When there can be no more, the
/// process ends there and then, whatever it is doing, and the kernel ends the rest.
fn listen(mut input: impl Read + Send + 'static) -> mpsc::IntoIter<Request> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        loop {
            match Request::receive(&mut input) {
                // What cannot be killed goes on, and so does whoever waits for it.
                Ok(Request::Kill) => namespace::kill_others().unwrap_or_default(),
                Ok(request) => sender.send(request).unwrap_or_default(),
                Err(_) => std::process::exit(1),
            }
        }
    });
    receiver.into_iter()
}

fn obey(vault: &mut Option<View>, request: Request, output: &mut impl Write) -> io::Result<Answer> {
    if let Request::Begin { vault: at, project, size } = request {
        *vault = Some(View::begin(at, &project, size)?);
        return Ok(Answer::Done);
    }
    let view = vault.as_mut().ok_or_else(|| io::Error::other("the vault is not there yet"))?;
    match request {
        Request::Begin { .. } | Request::Kill => {}
        Request::Put { path, mode, content } => view.put(&path, mode, &content)?,
        Request::Cover(paths) => paths.into_iter().try_for_each(|path| view.cover(path))?,
        Request::Link { path, target } => view.vault.put_link(&path, &target).map(drop)?,
        Request::Replace(dir) => view.replace(&dir)?,
        Request::Check => view.check()?,
        Request::Uncover => view.uncover()?,
        Request::Feed(input) => view.input = Input::Fed(input),
        Request::Attach(terminal) => view.input = Input::Typed(terminal),
        Request::Run(call) => return run(&call, &std::mem::take(&mut view.input), output),
        Request::Shred => view.shred()?,
    }
    Ok(Answer::Done)
}

/// The vault and the project directory that it covers in parts.
struct View {
    at: PathBuf,
    vault: Root,
    shown: Root,
    project_path: PathBuf,
    project: Root,
    covered: Vec<PathBuf>,
    replaced: bool,
    input: Input,
}

/// What the next program reads.
enum Input {
    /// This.
    Fed(SecretBytes),
    /// What comes from this terminal, where it also says all it says.
    Typed(PathBuf),
}

impl Default for Input {
    fn default() -> Self {
        Self::Fed(SecretBytes::new(Vec::new()))
    }
}

impl View {
    fn begin(at: PathBuf, project: &Path, size: u64) -> io::Result<Self> {
        let project_path = project.to_owned();
        let project = Root::open(project)?;
        ram::mount(&at, Some(size))?;
        let vault = Root::open(&at)?;
        std::fs::create_dir(at.join(TREE))?;
        std::fs::create_dir(at.join(SEALED))?;
        std::fs::create_dir(at.join(TEMPORARY))?;
        let shown = at.join(SHOWN);
        std::fs::create_dir(&shown)?;
        namespace::bind(vault.at(Path::new(TREE), OFlags::PATH)?, vault.at(Path::new(SHOWN), OFlags::PATH)?)?;
        namespace::freeze(&shown)?;
        let shown = Root::open(&shown)?;
        Ok(Self {
            at,
            vault,
            shown,
            project_path,
            project,
            covered: Vec::new(),
            replaced: false,
            input: Input::default(),
        })
    }

    fn put(&self, path: &Path, mode: u32, content: &SecretBytes) -> io::Result<()> {
        self.vault.put_file(path, content.expose(), mode).map(drop)
    }

    fn cover(&mut self, path: PathBuf) -> io::Result<()> {
        let source = self.shown.at(&path, OFlags::PATH)?;
        namespace::bind(source, self.seen(&path)?)?;
        self.covered.push(path);
        Ok(())
    }

    /// A container that shares the project directory can rename and remove what is in it, and
    /// the kernel then takes away what was laid over it. The directory itself is out of its reach.
    fn replace(&mut self, dir: &Path) -> io::Result<()> {
        namespace::bind(self.vault.at(dir, OFlags::PATH)?, self.seen(Path::new(""))?)?;
        self.replaced = true;
        namespace::freeze(&self.project_path)
    }

    fn check(&self) -> io::Result<()> {
        let identity = |root: &Root, path: &Path| -> io::Result<(u64, u64)> {
            let stat = rustix::fs::fstat(root.at(path, OFlags::PATH)?)?;
            Ok((stat.st_dev, stat.st_ino))
        };
        let changed =
            |path: &&PathBuf| identity(&self.project, path).ok() != identity(&self.shown, path).ok();
        match self.covered.iter().find(changed) {
            Some(path) => {
                Err(io::Error::other(format!("another program replaced {path:?} during the deploy")))
            }
            None => Ok(()),
        }
    }

    fn uncover(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.replaced) {
            ram::unmount(&self.project_path)?;
        }
        while let Some(path) = self.covered.pop() {
            namespace::unbind(self.seen(&path)?)?;
        }
        Ok(())
    }

    fn seen(&self, path: &Path) -> io::Result<OwnedFd> {
        self.project.at(path, OFlags::PATH)
    }

    /// The end of the namespace would do the same, but for the overwriting.
    fn shred(&mut self) -> io::Result<()> {
        namespace::kill_others()?;
        // What lies over the project goes with the namespace; the read-only view is in the way.
        ram::unmount(&self.at.join(SHOWN))?;
        disk::shred_all(&self.at)?;
        ram::unmount(&self.at)
    }
}

/// What `execve` fails with where a program is not there, may not be run, or is none.
fn is_no_program(error: &io::Error) -> bool {
    let no_program = [Errno::NOENT, Errno::ACCESS, Errno::NOEXEC].map(Errno::raw_os_error);
    error.raw_os_error().is_some_and(|code| no_program.contains(&code))
}

fn run(call: &Call, input: &Input, output: &mut impl Write) -> io::Result<Answer> {
    let mut lost = Ok(());
    let end = match input {
        Input::Fed(input) => call.stream(input.expose(), &mut |stream, bytes| {
            if lost.is_ok() {
                lost = Answer::Output(stream, SecretBytes::new(bytes.to_vec())).send(output);
            }
        }),
        Input::Typed(terminal) => call.run_at(terminal),
    };
    let end = match end {
        Err(error) if is_no_program(&error) => return Ok(Answer::NotStarted(error.to_string())),
        other => other?,
    };
    if end == End::TimeUp {
        namespace::kill_others()?;
    }
    lost.map(|()| Answer::Ended(end))
}
