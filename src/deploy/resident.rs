//! Secrets that containers read as files, as long as they live.
//!
//! The Docker daemon binds them from the host, so they are in a RAM file system on the host,
//! below a directory named by a keyed hash of what they are. Changed content is a new path, so
//! that an old container keeps the old secret until it is gone. Compose does not count the path
//! of a secret among what makes a container outdated: a label on each service that uses
//! resident files does, so that exactly those services are recreated.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Permissions;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use super::health::Container;
use super::kept::Kept;
use super::model::{Access, Grant, Model, Mount, Source, tracked};
use super::sealed::Unsealed;
use super::tree::Tree;
use crate::secret::SecretBytes;
use crate::sys::{disk, ram};

/// Where a file is made before it gets its name.
const FRESH: &str = ".new";

/// Why file secrets cannot be given to the containers.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Two services want the same secret with different owners or modes.
    #[error("{kind} `{name}` is granted with different owners or modes, and it is one file")]
    Conflict {
        /// `secret` or `config`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// A grant that cannot be obeyed.
    #[error("`{key}` of {kind} `{name}` is not a number hlx can use")]
    Grant {
        /// `secret` or `config`.
        kind: &'static str,
        /// Its name.
        name: String,
        /// `uid`, `gid` or `mode`.
        key: &'static str,
    },
    /// The RAM file system failed.
    #[error("cannot keep file secrets at {path}: {source}")]
    Ram {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A sealed file and who may read it.
type File = (PathBuf, Access);

/// Which sealed files containers need, and where the model names them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    secrets: BTreeMap<String, File>,
    configs: BTreeMap<String, File>,
    mounts: BTreeMap<String, Vec<(File, PathBuf)>>,
    /// All files that a service reads, in one way or another.
    uses: BTreeMap<String, BTreeSet<File>>,
}

/// The label on services that use resident files.
const LABEL: &str = "hlx.resident";

/// What a plan is made from.
#[derive(Debug, Clone, Copy)]
pub struct Ground<'g> {
    /// The project directory.
    pub project: &'g Path,
    /// The commit's files.
    pub tree: &'g Tree,
    /// Those that are sealed.
    pub unsealed: &'g Unsealed,
}

impl Ground<'_> {
    /// The sealed file that a path of the model leads to.
    pub fn sealed(&self, path: &Path) -> Option<PathBuf> {
        tracked(path, self.project, self.tree).filter(|path| self.unsealed.holds(path))
    }

    fn sealed_below<'s>(&'s self, dir: &'s Path) -> impl Iterator<Item = &'s PathBuf> {
        self.unsealed.paths().filter(move |path| path.starts_with(dir) && path.as_path() != dir)
    }
}

impl Plan {
    /// Finds the sealed files that the model's services read.
    pub fn new(model: &Model, ground: Ground<'_>) -> Result<Self, Error> {
        let grants = |pick: fn(&super::model::Service) -> &Vec<Grant>| {
            model.services.values().flat_map(move |service| pick(service).iter()).collect::<Vec<_>>()
        };
        let mounts = model.services.iter().map(|(name, service)| {
            let binds = service.volumes.iter().flat_map(|mount| binds(mount, ground)).collect::<Vec<_>>();
            (name.clone(), binds)
        });
        let mut plan = Self {
            secrets: granted("secret", &model.secrets, &grants(|service| &service.secrets), ground)?,
            configs: granted("config", &model.configs, &grants(|service| &service.configs), ground)?,
            mounts: mounts.filter(|(_, binds)| !binds.is_empty()).collect(),
            uses: BTreeMap::new(),
        };
        let uses = model.services.iter().map(|(name, service)| (name.clone(), plan.used_by(name, service)));
        plan.uses = uses.filter(|(_, files)| !files.is_empty()).collect();
        Ok(plan)
    }

    fn used_by(&self, name: &str, service: &super::model::Service) -> BTreeSet<File> {
        let secrets = service.secrets.iter().filter_map(|grant| self.secrets.get(&grant.source));
        let configs = service.configs.iter().filter_map(|grant| self.configs.get(&grant.source));
        let mounted = self.mounts.get(name).into_iter().flatten().map(|(file, _)| file);
        secrets.chain(configs).chain(mounted).cloned().collect()
    }

    /// The sealed files that services mount, each with its service.
    pub fn mounted(&self) -> impl Iterator<Item = (&str, &Path)> {
        let files = self.mounts.iter();
        files.flat_map(|(service, files)| {
            files.iter().map(move |((path, _), _)| (service.as_str(), path.as_path()))
        })
    }

    /// True if no container needs a sealed file.
    pub fn is_empty(&self) -> bool {
        self.uses.is_empty()
    }

    /// Where its files are in the commit.
    pub(super) fn paths(&self) -> BTreeSet<&Path> {
        self.files().into_iter().map(|file| file.0.as_path()).collect()
    }

    /// Every file, once.
    fn files(&self) -> BTreeSet<&File> {
        self.uses.values().flatten().collect()
    }

    /// The compose file that points the model at where the files are.
    fn override_file(&self, at: &dyn Fn(&File) -> PathBuf, key: &SecretBytes) -> Value {
        let sources = |files: &BTreeMap<String, File>| -> Value {
            files.iter().map(|(name, file)| (name.clone(), json!({ "file": at(file) }))).collect()
        };
        // A container must not write what the next one reads.
        // And where the file is missing, Docker must not make a directory in its place.
        let volume = |(file, target): &(File, PathBuf)| {
            json!({"type": "bind", "source": at(file), "target": target, "read_only": true,
                   "bind": {"create_host_path": false}})
        };
        let service = |(name, files): (&String, &BTreeSet<File>)| {
            let places: Vec<PathBuf> = files.iter().map(at).collect();
            let places: Vec<&[u8]> = places.iter().map(|place| place.as_os_str().as_bytes()).collect();
            let volumes: Vec<Value> = self.mounts.get(name).into_iter().flatten().map(volume).collect();
            let labels = json!({ LABEL: keyed_hash(key, &places) });
            (name.clone(), json!({"labels": labels, "volumes": volumes}))
        };
        json!({"services": Value::from_iter(self.uses.iter().map(service)), "secrets": sources(&self.secrets),
               "configs": sources(&self.configs)})
    }
}

fn granted(
    kind: &'static str,
    sources: &BTreeMap<String, Source>,
    grants: &[&Grant],
    ground: Ground<'_>,
) -> Result<BTreeMap<String, File>, Error> {
    let mut files = BTreeMap::new();
    for (name, source) in sources {
        let Some(path) = source.file.as_deref().and_then(|file| ground.sealed(file)) else { continue };
        let wanted = grants.iter().filter(|grant| grant.source == *name);
        let access =
            |grant: &&&Grant| grant.access().map_err(|key| Error::Grant { kind, name: name.clone(), key });
        let wanted: BTreeSet<Access> = wanted.map(|grant| access(&grant)).collect::<Result<_, _>>()?;
        if wanted.len() > 1 {
            return Err(Error::Conflict { kind, name: name.clone() });
        }
        // One that no service is granted is not opened.
        if let Some(access) = wanted.into_iter().next() {
            files.insert(name.clone(), (path, access));
        }
    }
    Ok(files)
}

/// A sealed file that is mounted, or each sealed file of a directory that is.
fn binds(mount: &Mount, ground: Ground<'_>) -> Vec<(File, PathBuf)> {
    let Some(path) = tracked(Path::new(&mount.source), ground.project, ground.tree) else {
        return Vec::new();
    };
    if mount.kind != "bind" {
        return Vec::new();
    }
    if ground.unsealed.holds(&path) {
        return vec![(file(&path, ground), mount.target.clone().into())];
    }
    let nested = ground.sealed_below(&path).map(|sealed| {
        let rest = sealed.strip_prefix(&path).expect("it was found below");
        (file(sealed, ground), Path::new(&mount.target).join(rest))
    });
    nested.collect()
}

/// A mounted file can be read by any user of the container, and executed if git says so.
fn file(path: &Path, ground: Ground<'_>) -> File {
    let execute = ground.tree.get(path).map_or(0, |entry| entry.mode() & 0o111);
    (path.to_owned(), Access { mode: 0o444 | execute, ..Access::default() })
}

/// Files that were placed.
#[derive(Debug)]
pub struct Placed {
    /// The compose file that points at them.
    pub pointing: Value,
    files: Vec<(String, File)>,
}

impl Placed {
    /// The files as they are written down, of this commit.
    pub fn kept(&self, revision: &str) -> Vec<Kept> {
        let kept = |(place, (path, access)): &(String, File)| Kept {
            place: place.clone(),
            revision: revision.to_owned(),
            path: path.clone(),
            access: *access,
        };
        self.files.iter().map(kept).collect()
    }
}

/// The place of a stack's resident files.
#[derive(Debug)]
pub struct Resident {
    dir: PathBuf,
}

impl Resident {
    /// The place at `dir`, which need not be there.
    pub fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Makes sure that a RAM file system is there.
    pub fn prepare(&self) -> Result<(), Error> {
        self.mount().map_err(|source| self.failed(source))
    }

    fn mount(&self) -> io::Result<()> {
        if !ram::is_mounted(&self.dir)? {
            disk::private_dir(&self.dir)?;
            remove_squatters(&self.dir)?;
            ram::mount(&self.dir, None)?;
        }
        match ram::may_swap(&self.dir)? {
            true => Err(io::Error::other("the RAM file system there could be swapped out")),
            false => Ok(()),
        }
    }

    /// Writes the plan's files.
    pub fn place(&self, plan: &Plan, ground: Ground<'_>, key: &SecretBytes) -> Result<Placed, Error> {
        let mut names = BTreeMap::new();
        for file in plan.files() {
            let content =
                ground.unsealed.plain(ground.tree, &file.0).expect("the plan holds sealed files only");
            let name = keyed_name(file, content, key);
            self.put(&name, file, content)?;
            names.insert(file, name);
        }
        let at = |file: &File| self.at(&names[file], &file.0);
        let pointing = plan.override_file(&at, key);
        let files = names.into_iter().map(|(file, name)| (name, file.clone())).collect();
        Ok(Placed { pointing, files })
    }

    /// The compose file that would point at them, with nothing written.
    pub fn pointing(&self, plan: &Plan, ground: Ground<'_>, key: &SecretBytes) -> Value {
        let content = |file: &File| {
            ground.unsealed.plain(ground.tree, &file.0).expect("the plan holds sealed files only")
        };
        plan.override_file(&|file| self.at(&keyed_name(file, content(file), key), &file.0), key)
    }

    /// Where a file is.
    pub fn at(&self, name: &str, path: &Path) -> PathBuf {
        self.dir.join(name).join(path.file_name().unwrap_or_default())
    }

    /// Puts a file back that was written down; whether it was missing.
    pub fn restore(&self, kept: &Kept, content: &[u8]) -> Result<disk::Change, Error> {
        self.put(&kept.place, &(kept.path.clone(), kept.access), content)
    }

    fn put(&self, name: &str, file: &File, content: &[u8]) -> Result<disk::Change, Error> {
        let place = self.at(name, &file.0);
        if holds(&place, content, file.1) {
            return Ok(disk::Change::Kept);
        }
        self.write(&place, content, file.1).map_err(|source| self.failed(source))?;
        Ok(disk::Change::Written)
    }

    /// Complete under its name, or not there. A container may have been able to write to what is
    /// there; it keeps its own copy when another takes the place.
    fn write(&self, place: &Path, content: &[u8], access: Access) -> io::Result<()> {
        let (Some(dir), Some(name)) = (place.parent(), place.file_name()) else { return Ok(()) };
        let fresh = self.dir.join(FRESH);
        for stale in [&fresh, dir] {
            remove(stale)?;
        }
        disk::private_dir(&fresh)?;
        let file = fresh.join(name);
        disk::private_file(&file, content)?;
        std::os::unix::fs::chown(&file, Some(access.uid), Some(access.gid))?;
        std::fs::set_permissions(&file, Permissions::from_mode(access.mode))?;
        std::fs::rename(fresh, dir)
    }

    /// Shreds what no container uses; takes the file system away when nothing is left. Gives
    /// the names of what is used, whether it is there or not.
    pub fn collect(&self, containers: &[Container]) -> Result<BTreeSet<String>, Error> {
        let mounts = containers.iter().flat_map(|container| &container.mounts);
        let name = |mount: &PathBuf| {
            let below = mount.strip_prefix(&self.dir).ok()?;
            Some(below.iter().next()?.to_str()?.to_owned())
        };
        let used = mounts.filter_map(name).collect();
        self.sweep(&used).map_err(|source| self.failed(source))?;
        Ok(used)
    }

    /// Shreds everything and takes the file system away.
    pub fn clear(&self) -> Result<(), Error> {
        self.collect(&[]).map(drop)
    }

    fn sweep(&self, used: &BTreeSet<String>) -> io::Result<()> {
        // Without our own file system there, nothing there is ours.
        if !ram::is_mounted(&self.dir)? {
            return Ok(());
        }
        let mut kept = 0;
        for entry in std::fs::read_dir(&self.dir)? {
            let entry = entry?;
            match entry.file_name().to_str().is_some_and(|name| used.contains(name)) {
                true => kept += 1,
                false => remove(&entry.path())?,
            }
        }
        if kept == 0 {
            ram::unmount(&self.dir)?;
            std::fs::remove_dir(&self.dir)?;
        }
        Ok(())
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::Ram { path: self.dir.clone(), source }
    }
}

/// True if the file is there with this content, owner and mode, and is no link.
fn holds(place: &Path, content: &[u8], access: Access) -> bool {
    let as_wanted = |meta: std::fs::Metadata| {
        let now = Access { uid: meta.uid(), gid: meta.gid(), mode: meta.mode() & 0o7777 };
        meta.is_file() && now == access
    };
    let is_file = place.symlink_metadata().is_ok_and(as_wanted);
    is_file && std::fs::read(place).is_ok_and(|now| now == content)
}

/// Removes empty directories: while the RAM file system is not there, Docker makes them where a
/// file is missing that it shall mount.
fn remove_squatters(dir: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_squatters(&entry.path())?;
            // What holds a file stays, under what is mounted here.
            let _ = std::fs::remove_dir(entry.path());
        }
    }
    Ok(())
}

fn remove(dir: &Path) -> io::Result<()> {
    match dir.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(meta) if !meta.is_dir() => disk::shred(dir),
        Ok(_) => disk::shred_all(dir).and_then(|()| std::fs::remove_dir(dir)),
    }
}

/// HMAC-SHA256 over path, owner, mode and content. Keyed, as anyone who may list containers
/// sees it, and a plain hash of a weak secret can be searched.
fn keyed_name(file: &File, content: &[u8], key: &SecretBytes) -> String {
    let Access { uid, gid, mode } = file.1;
    let path = file.0.as_os_str().as_bytes();
    let numbers = [path.len() as u32, uid, gid, mode].map(u32::to_le_bytes).concat();
    keyed_hash(key, &[&numbers, path, content])
}

/// HMAC-SHA256 of the parts, in hexadecimal, cut to 128 bits.
pub fn keyed_hash(key: &SecretBytes, parts: &[&[u8]]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.expose()).expect("HMAC takes a key of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tree::{Entry, Kind};
    use super::*;
    use crate::crypto::DataKey;
    use crate::crypto::envelope::Envelope;
    use crate::crypto::mac::Coverage;
    use crate::format::Format;
    use crate::policy::Rule;
    use crate::sops::{Basis, KeyGroups, Sealed, Stamp, seal};

    fn key() -> DataKey {
        DataKey::from_bytes(&[5; 32]).unwrap()
    }

    fn envelope() -> Envelope {
        Envelope { recipient: "age1test".to_owned(), enc: "-----\nx\n".to_owned() }
    }

    fn tree(sealed: &[&str]) -> Tree {
        let entry = |path: &&str| {
            let rule = Rule::from_fields(|_| None).unwrap();
            let basis = Basis::New {
                key: key(),
                groups: KeyGroups::one(vec![envelope()]),
                rule,
                coverage: Coverage::All,
            };
            let stamp = Stamp { now: "2026-01-01T00:00:00Z".into(), entropy: &mut |buffer| buffer.fill(7) };
            let content = seal(b"secret", Format::Binary, &basis, stamp).unwrap();
            (PathBuf::from(path), Entry { kind: Kind::File, content })
        };
        sealed.iter().map(entry).collect()
    }

    fn plan(model: &str, sealed: &[&str]) -> Result<Value, String> {
        let tree = tree(sealed);
        let open = crate::deploy::opener(|sealed| Ok(Sealed::parse(sealed)?.open(&key())?));
        let unsealed = Unsealed::open(&tree, &open).unwrap();
        let ground = Ground { project: Path::new("/p"), tree: &tree, unsealed: &unsealed };
        let plan =
            Plan::new(&Model::parse(model.as_bytes()).unwrap(), ground).map_err(|error| error.to_string())?;
        Ok(plan.override_file(
            &|(path, access)| Path::new("/run").join(format!("{:o}", access.mode)).join(path),
            &SecretBytes::new(vec![1]),
        ))
    }

    #[test]
    fn secrets_and_configs_point_at_ram_if_they_are_sealed_and_granted() {
        let made = plan(
            r#"{"name":"p","services":{"a":{"secrets":[{"source":"s","mode":"0440"}]},"b":{}},
            "secrets":{"s":{"file":"/p/x/../s"},"plain":{"file":"/p/plain"},"unused":{"file":"/p/s"},"out":{"file":"/etc/s"}}}"#,
            &["s"],
        );
        let made = made.unwrap();
        assert_eq!(made["secrets"], json!({"s": {"file": "/run/440/s"}}));
        assert!(made["services"]["a"]["labels"][LABEL].is_string() && made["services"].get("b").is_none());
    }

    #[test]
    fn a_secret_with_two_modes_is_refused() {
        let model = r#"{"name":"p","services":{"a":{"secrets":[{"source":"s"}]},"b":{"secrets":[{"source":"s","mode":"0400"}]}},
            "secrets":{"s":{"file":"/p/s"}}}"#;
        assert_eq!(
            plan(model, &["s"]),
            Err("secret `s` is granted with different owners or modes, and it is one file".into())
        );
        assert_eq!(plan(model, &[]).unwrap()["secrets"], json!({}));
    }

    #[test]
    fn each_sealed_file_of_a_mounted_directory_is_mounted_over() {
        let made = plan(
            r#"{"name":"p","services":{"a":{"volumes":[{"type":"bind","source":"/p/d","target":"/t"},
            {"type":"volume","source":"d","target":"/v"},{"type":"bind","source":"/p/da","target":"/n"}]}}}"#,
            &["d/x/s", "e"],
        );
        let wanted = json!([{"type": "bind", "source": "/run/444/d/x/s", "target": "/t/x/s", "read_only": true,
                    "bind": {"create_host_path": false}}]);
        assert_eq!(made.unwrap()["services"]["a"]["volumes"], wanted);
    }

    #[test]
    fn the_name_depends_on_the_key_and_on_everything_a_reader_sees() {
        let name = |path: &str, mode, content: &[u8], key: u8| {
            keyed_name(
                &(path.into(), Access { mode, ..Access::default() }),
                content,
                &SecretBytes::new(vec![key]),
            )
        };
        let all = [
            name("a", 1, b"c", 1),
            name("b", 1, b"c", 1),
            name("a", 2, b"c", 1),
            name("a", 1, b"d", 1),
            name("a", 1, b"c", 2),
        ];
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
    }
}
