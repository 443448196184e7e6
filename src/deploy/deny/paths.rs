//! Which paths of the host a container may have.
//!
//! Below the project directory all is the stack's own, if it is really there: a container that
//! can write to a directory can put a link into it, at any time, and Docker follows links. So
//! no part of such a path is a link, and none lies in what some container can write to.

use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::OFlags;

use super::{Host, Offences, Power};
use crate::deploy::tree::flat;
use crate::sys::disk::Root;

impl Offences<'_> {
    /// Notes what is wrong with giving this path of the host away.
    pub(super) fn path(&mut self, who: &str, usage: &str, path: &Path, host: &Host) {
        let shown = path.display();
        if is_engine(path, &host.sockets) {
            self.add(Power::DockerSocket, who, format!("{usage} {shown}, which leads to a container engine"));
        }
        if let Err(why) = self.admit(path, host) {
            self.add(Power::HostMounts, who, format!("{usage} {shown}{why}"));
        }
    }

    fn admit(&self, path: &Path, host: &Host) -> Result<(), String> {
        if !path.is_absolute() {
            return Err(", which is no absolute path".to_owned());
        }
        // Docker takes `..` away from the text or leaves it to the kernel, after links are followed.
        if path.components().any(|part| part == Component::ParentDir) {
            return Err(", which is not spelled without `..`".to_owned());
        }
        let wanted = flat(path);
        match wanted.strip_prefix(&host.project) {
            Ok(below) if is_plain(&host.project, below) => {}
            Ok(_) => return Err(", where a link stands in the way".to_owned()),
            Err(_) if self.is_excepted(&wanted) => {}
            Err(_) => return Err(String::new()),
        }
        let real = really(&wanted).ok_or(", where a link leads nowhere")?;
        // The directory itself stays where it is: whoever has it mounted cannot move it.
        let above = |writer: &&PathBuf| real.starts_with(writer) && real != **writer;
        match host.writers.iter().find(above) {
            None => Ok(()),
            Some(writer) => {
                Err(format!(", which lies in {}, where a container can put links", writer.display()))
            }
        }
    }

    /// True for what really is below an exception.
    fn is_excepted(&self, path: &Path) -> bool {
        let within = |real: PathBuf| {
            self.deny.except.iter().filter_map(|except| really(except)).any(|except| real.starts_with(except))
        };
        really(path).is_some_and(within)
    }
}

/// Where a path really is, once its links are followed; what is not there yet will be a directory.
/// `None` for a link that leads nowhere, as yet.
pub(super) fn really(path: &Path) -> Option<PathBuf> {
    let there = path.ancestors().find(|above| above.symlink_metadata().is_ok())?;
    let rest = path.strip_prefix(there).ok()?;
    Some(flat(&there.canonicalize().ok()?.join(rest)))
}

/// True if no part of the path below the directory is a link; what is not there yet is none.
fn is_plain(dir: &Path, below: &Path) -> bool {
    let looked = Root::open(dir).and_then(|root| root.at(below, OFlags::PATH));
    let missing = |error: &std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
    looked.map_or_else(|error| missing(&error), |_| true)
}

/// True for an engine's socket, under whatever name, and for a directory in which one is.
fn is_engine(path: &Path, sockets: &[PathBuf]) -> bool {
    let real = path.canonicalize().unwrap_or_else(|_| flat(path));
    let identity = |path: &Path| path.metadata().ok().map(|meta| (meta.dev(), meta.ino()));
    let own = identity(path);
    sockets.iter().any(|socket| {
        let there = socket.canonicalize().unwrap_or_else(|_| socket.clone());
        socket.starts_with(&real)
            || there.starts_with(&real)
            || real.starts_with(&there)
            || (own.is_some() && own == identity(socket))
    })
}

#[cfg(test)]
mod tests {
    use super::super::Deny;
    use super::*;

    fn powers(path: &Path, host: &Host, except: &str) -> Vec<&'static str> {
        let text = format!("[docker-socket, {{host-mounts: {{except: [{except}]}}}}]");
        let deny = Deny::parse(&serde_yaml::from_str(&text).unwrap()).unwrap();
        let mut offences = Offences::new(&deny);
        offences.path("web", "mounts", path, host);
        offences.found.iter().map(|offence| offence.power.name()).collect()
    }

    #[test]
    fn the_project_is_the_stacks_own_and_links_lead_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let project = dir.path().join("p");
        std::fs::create_dir_all(project.join("data/sub")).unwrap();
        std::os::unix::fs::symlink("/etc", project.join("data/link")).unwrap();
        std::os::unix::fs::symlink("data", project.join("in")).unwrap();
        let host = Host { project: project.clone(), ..Host::default() };
        let judge = |below: &str| powers(&project.join(below), &host, "");
        for good in ["", "data", "data/sub", "new/dir"] {
            assert_eq!(judge(good), Vec::<&str>::new(), "{good}");
        }
        for bad in ["data/link", "data/link/x", "in/sub", "..", "../other", "data/../../x", "x/../data"] {
            assert_eq!(judge(bad), ["host-mounts"], "{bad}");
        }
        assert_eq!(powers(Path::new("relative"), &host, ""), ["host-mounts"]);
        // What a container can write to, it can replace.
        let host = Host { writers: vec![project.join("data")], ..host };
        let judge = |below: &str| powers(&project.join(below), &host, "");
        assert_eq!(judge("data"), Vec::<&str>::new());
        assert_eq!(judge("data/sub"), ["host-mounts"]);
    }

    #[test]
    fn exceptions_hold_for_where_a_path_really_is() {
        let dir = tempfile::tempdir().unwrap();
        let media = dir.path().join("media");
        std::fs::create_dir_all(media.join("films")).unwrap();
        std::os::unix::fs::symlink("/etc", media.join("out")).unwrap();
        let host = Host { project: dir.path().join("p"), ..Host::default() };
        let judge = |path: &str| powers(&media.join(path), &host, media.to_str().unwrap());
        assert!(judge("").is_empty() && judge("films").is_empty() && judge("new").is_empty());
        assert_eq!(judge("out"), ["host-mounts"]);
        assert_eq!(judge("../mediator"), ["host-mounts"]);
        let host = Host { writers: vec![media.clone()], ..host };
        assert_eq!(powers(&media.join("films"), &host, media.to_str().unwrap()), ["host-mounts"]);
    }

    #[test]
    fn an_engine_is_found_by_any_way_that_leads_there() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("run");
        std::fs::create_dir_all(run.join("other")).unwrap();
        let socket = run.join("docker.sock");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        std::os::unix::fs::symlink(&run, dir.path().join("link")).unwrap();
        std::fs::hard_link(&socket, run.join("other/innocent")).unwrap();
        let host = Host { sockets: vec![socket], project: dir.path().into(), ..Host::default() };
        for bad in ["run/docker.sock", "run", "link", "link/docker.sock", "run/other/innocent", "."] {
            let found = powers(&dir.path().join(bad), &host, "/");
            assert!(found.contains(&"docker-socket"), "{bad}: {found:?}");
        }
        assert!(powers(Path::new("/"), &host, "/").contains(&"docker-socket"));
        assert!(!powers(&run.join("other"), &host, "/").contains(&"docker-socket"));
    }
}
