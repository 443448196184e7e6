//! A view of the file system that only one tree of processes has, and that dies with it.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::fd::{AsFd, AsRawFd};
use rustix::mount::{MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags};
use rustix::process::{DumpableBehavior, Pid, Resource, Rlimit, Signal};
use rustix::thread::UnshareFlags;

/// Leaves the mount namespace, and makes the next child the first process of a new PID
/// namespace: when that one ends, the kernel kills every other process in it.
///
/// A user who is not root also leaves the user namespace (user_namespaces(7)) and is root in the new
/// one, over what is theirs and nothing else. That fails where the kernel does not let users do so.
pub fn leave() -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        leave_users()?;
    }
    unshare(UnshareFlags::NEWNS | UnshareFlags::NEWPID)
}

/// For a process that holds no secret yet: it can be looked into from here on, until [`no_dumps`].
fn leave_users() -> io::Result<()> {
    let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    unshare(UnshareFlags::NEWUSER)?;
    // Or `/proc/self` would be root's.
    rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable)?;
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", format!("0 {user} 1"))?;
    std::fs::write("/proc/self/gid_map", format!("0 {group} 1"))
}

#[allow(unsafe_code)]
fn unshare(flags: UnshareFlags) -> io::Result<()> {
    // SAFETY: the call is unsafe only for `UnshareFlags::FILES`, which gives threads different
    // tables of file descriptors. No flag used here does.
    Ok(unsafe { rustix::thread::unshare_unsafe(flags) }?)
}

/// Makes mounts private to this namespace, and gives it a `/proc` of its own processes.
pub fn settle() -> io::Result<()> {
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private)?;
    let flags = MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC;
    Ok(rustix::mount::mount("proc", "/proc", "proc", flags, None)?)
}

/// Lets the kernel kill this process when its parent dies; fails if the parent has died already.
pub fn die_with_parent(parent: Option<u32>) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let now = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get() as u32);
    if parent.is_some() && now != parent {
        return Err(io::Error::other("the parent process is gone"));
    }
    Ok(())
}

/// Keeps the memory of this process out of core files and away from debuggers of the same user; root's can look all
/// the same. `/proc/PID` is root's from then on, and so closed to the processes that this one starts.
pub fn no_dumps() -> io::Result<()> {
    rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    Ok(rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Becomes leader of a session without a terminal, so that nothing below can ask a question.
pub fn without_terminal() -> io::Result<()> {
    Ok(rustix::process::setsid().map(drop)?)
}

/// Lets a program lead a session of its own, whose terminal is its standard input.
#[allow(unsafe_code)]
pub fn with_terminal(command: &mut Command) {
    let lead = || {
        rustix::process::setsid()?;
        Ok(rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?)
    };
    // SAFETY: between fork and exec, where other threads are gone, this makes two system calls and nothing else: it takes
    // no lock and no memory.
    unsafe { command.pre_exec(lead) };
}

/// Lays one open file over another, for this namespace only.
pub fn bind(source: impl AsFd, target: impl AsFd) -> io::Result<()> {
    let clone =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let tree = rustix::mount::open_tree(source, "", clone)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(rustix::mount::move_mount(&tree, "", target, "", flags)?)
}

/// Makes the mount at `at` read-only; what is bound from it from now on is read-only too.
pub fn freeze(at: &Path) -> io::Result<()> {
    // Programs of the commit may be run, so `noexec` of the file system below is not kept.
    let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NODEV | MountFlags::NOSUID;
    Ok(rustix::mount::mount_remount(at, flags, "")?)
}

/// Takes away what [`bind`] laid over a file; `target` is the file as seen now.
pub fn unbind(target: impl AsFd) -> io::Result<()> {
    let path = format!("/proc/self/fd/{}", target.as_fd().as_raw_fd());
    Ok(rustix::mount::unmount(path, UnmountFlags::DETACH)?)
}

/// Kills every other process of this PID namespace; only its first process may call it.
pub fn kill_others() -> io::Result<()> {
    let own = std::process::id().to_string();
    for entry in std::fs::read_dir(Path::new("/proc"))? {
        let name = entry?.file_name();
        let pid = name.to_str().filter(|name| *name != own).and_then(|name| name.parse().ok());
        if let Some(pid) = pid.and_then(Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
    }
    Ok(())
}
