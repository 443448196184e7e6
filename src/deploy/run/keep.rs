//! Writing down what was good, and clearing away what nobody needs any more.

use super::{Deploy, Error, Event, Mirror, Version, Whose};
use crate::deploy::engine::Engine;
use crate::deploy::health::Container;
use crate::deploy::images;
use crate::deploy::resident::Resident;
use crate::secret::SecretBytes;
use crate::sys::{disk, random};

impl Deploy<'_> {
    /// Records a good version: its images, its commit, and that it is what to go back to.
    pub(super) fn keep(
        &mut self,
        version: &Version,
        containers: &[Container],
        mirror: &Mirror<'_>,
    ) -> Result<(), Error> {
        self.keep_images(version, containers)?;
        let keep = || self.lock.share(|| mirror.keep(&self.wish.service, &version.commit));
        self.timings.measure("keeping the commit", Whose::Git, keep).map_err(Error::Vault)??;
        self.stack.commit = Some(version.commit.clone());
        Ok(self.state.save(&self.wish.service, &self.stack)?)
    }

    /// Images that no registry has get a tag, so that they are there to go back to.
    fn keep_images(&mut self, version: &Version, containers: &[Container]) -> Result<(), Error> {
        let service = &self.wish.service;
        let used = images::used(containers);
        let known = self.state.images(service, &version.commit)?;
        let is_known = |(name, id): &(String, String)| {
            known.iter().any(|image| image.service == *name && image.id == *id)
        };
        let is_bad = self.state.is_bad(service, &version.commit)?.is_some();
        if !is_bad && used.len() == known.len() && used.iter().all(is_known) {
            let hold = || self.docker.hold(service, &version.commit, &known);
            return Ok(self.timings.measure("keeping the images", Whose::Docker, hold)?);
        }
        let keep = || {
            let images = self.docker.identify(&used)?;
            self.docker.hold(service, &version.commit, &images)?;
            Ok::<_, Error>(images)
        };
        let images = self.timings.measure("keeping the images", Whose::Docker, keep)?;
        Ok(self.state.praise(service, &version.commit, &images)?)
    }

    /// Shreds resident files that no container uses, after a good deploy and after a bad one.
    pub(super) fn sweep(&self) {
        let sweep = || -> Result<(), Error> {
            let resident = Resident::new(self.world.places.resident(&self.wish.service));
            let containers = match &self.stack.project {
                Some(project) => {
                    let look = || self.stack.engine.containers(&self.docker, project);
                    self.timings.measure("collecting", Whose::Docker, look)?
                }
                None => Vec::new(),
            };
            if let (Engine::Swarm, Some(project)) = (self.stack.engine, &self.stack.project) {
                let collect = || self.docker.collect_objects(project);
                self.timings.measure("collecting", Whose::Docker, collect)?;
            }
            let used = resident.collect(&containers)?;
            Ok(self.state.forget_resident(&self.wish.service, &used)?)
        };
        if let Err(error) = sweep() {
            let text = format!("secrets that no container uses any more are still there: {error}");
            (self.world.report)(Event::Warning(&text));
        }
    }

    pub(super) fn label_key(&self) -> Result<SecretBytes, Error> {
        let path = self.world.places.state.join("label.key");
        let failed = |source| Error::Disk { path: path.clone(), source };
        let mut fresh = zeroize::Zeroizing::new([0; 32]);
        random::fill(&mut fresh[..]);
        match disk::private_file(&path, &fresh[..]) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(failed(error)),
            _ => {}
        }
        let key = std::fs::read(&path).map(SecretBytes::new).map_err(failed)?;
        match key.expose().len() {
            32 => Ok(key),
            _ => Err(failed(std::io::Error::other("it is not a key of 32 bytes"))),
        }
    }
}
