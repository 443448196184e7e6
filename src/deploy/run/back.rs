//! When the new version is not well: what ran before runs again, or it is said what runs now.
//!
//! Before a container was touched nothing but the project directory has to go back, if files were
//! laid into it: containers that share it see the clear ones. After that, the last good commit is brought to life
//! again as any version is, but with the images that it ran with.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::bring::Way;
use super::{Deploy, Error, Event, Mirror, Rollback, Stack, Version, Whose, World, tree};
use crate::deploy::deny;
use crate::deploy::error::{Aftermath, Broken, Fault};
use crate::deploy::health::{Container, condition};
use crate::deploy::images::{self, Image};
use crate::deploy::model::Model;
use crate::deploy::project::Lent;
use crate::deploy::stage::Stage;

/// What there is to go back to.
pub(super) enum Former {
    /// Nothing: no version was good yet.
    Nothing,
    /// The commit that is deployed now was good before.
    Same,
    /// Another commit, which opens.
    Other(Box<Version>),
    /// A commit that cannot be brought back.
    Lost {
        /// Its name.
        commit: String,
        /// Why.
        why: String,
    },
}

impl Former {
    /// Fails if there was a good version and it cannot be brought back.
    pub(super) fn is_there(&self) -> Result<(), Error> {
        match self {
            Self::Lost { commit, why } => Err(Error::NoWayBack { commit: commit.clone(), why: why.clone() }),
            Self::Nothing | Self::Same | Self::Other(_) => Ok(()),
        }
    }
}

impl Deploy<'_> {
    /// Opens the last good version, as proof that it could be brought back.
    pub(super) fn former(&mut self, mirror: &Mirror<'_>) -> Result<Former, Error> {
        let Some(commit) = self.stack.commit.clone() else { return Ok(Former::Nothing) };
        if commit == self.commit {
            return Ok(Former::Same);
        }
        let read = || Version::read(&self.wish.service, &commit, mirror, self.world.open);
        match self.timings.measure("opening the last good version", Whose::Own, read) {
            Ok(version) => {
                self.masks.add(&version.unsealed.masker);
                let gone = match self.is_accepted(&version) {
                    // Not for want of anything of its own.
                    Err(Error::Docker(error)) => return Err(error.into()),
                    Err(error) => Some(error.to_string()),
                    Ok(()) => self.look_for_images(&commit)?,
                };
                match gone {
                    Some(why) => Ok(Former::Lost { commit, why }),
                    None => Ok(Former::Other(Box::new(version))),
                }
            }
            Err(error) => Ok(Former::Lost { commit, why: error.to_string() }),
        }
    }

    /// Whether a version that was good is one still: what `deny` forbids and Compose accepts may be
    /// another by now.
    fn is_accepted(&mut self, version: &Version) -> Result<(), Error> {
        let World { places, env, settings, .. } = *self.world;
        let lent = Lent::new(PathBuf::from(&self.stack.directory))?;
        let ground = version.ground(lent.dir());
        let place = places.vault(&self.wish.service);
        let mut stage = Stage::open(&place, ground, env, version.files.clone(), &|_| {})?;
        deny::check_files(&settings.deny, ground, stage.files())?;
        let model = self.model(&mut stage)?;
        model.wishes()?;
        self.allows(&model, &stage, ground)?;
        stage.shred()
    }

    /// Why there is no way back, if an image has gone for good.
    fn look_for_images(&self, commit: &str) -> Result<Option<String>, Error> {
        let images = self.state.images(&self.wish.service, commit)?;
        let look = || self.docker.missing(&images);
        for image in self.timings.measure("looking for its images", Whose::Docker, look)? {
            let Image { service, origin, .. } = image;
            let Some(origin) = origin else {
                return Ok(Some(Error::ImageGone { service: service.clone() }.to_string()));
            };
            let text = format!(
                "the image that `{service}` runs with has gone from this host: going back would pull {origin}"
            );
            (self.world.report)(Event::Warning(&text));
        }
        // Before the new version takes the containers away that keep them from being pruned.
        let hold = || self.docker.hold(&self.wish.service, commit, &images);
        self.timings.measure("looking for its images", Whose::Docker, hold)?;
        Ok(None)
    }

    /// Undoes what can be undone of a deploy that failed when it had touched containers. `old` is what was
    /// known before it.
    pub(super) fn recover(
        &mut self,
        error: Error,
        next: &Version,
        former: Former,
        old: &Stack,
        mirror: &Mirror<'_>,
    ) -> Error {
        self.stop = None;
        let mut broken = match error {
            Error::Broken(broken) => *broken,
            other => Broken { reason: other.to_string(), ..Broken::default() },
        };
        broken.aftermath = self.aftermath(next, former, old, mirror);
        // Not before: if hlx is killed while it goes back, or cannot go back now, the next deploy
        // must not stop at a commit that is known to be bad. It tries it again, and goes back then.
        match broken.aftermath {
            Aftermath::Failed { .. } => broken.fault = Fault::Host,
            Aftermath::NothingBefore | Aftermath::Manual | Aftermath::Restored { .. } => {
                self.condemn(next, &broken);
            }
        }
        self.sweep();
        Error::Broken(Box::new(broken))
    }

    /// No container was touched: those that run see the files that they were started with, also where an
    /// hlx that was killed laid others.
    pub(super) fn put_back(&mut self, old: &Stack, mirror: &Mirror<'_>) {
        let Some(commit) = old.tried.clone() else { return };
        self.stack.docker.clone_from(&old.docker);
        if !self.stack.astray && self.stack.directory == old.directory {
            if let Err(error) = self.take_over(old) {
                (self.world.report)(Event::Warning(&error.to_string()));
            }
            return;
        }
        (self.world.report)(Event::Step(&format!("putting back the files of {commit:.10}, which runs")));
        let mut put = || -> Result<(), Error> {
            self.take_over(old)?;
            let tree = tree::read(mirror, &commit)?;
            self.lay(&tree)?;
            self.stack.astray = false;
            Ok(self.state.save(&self.wish.service, &self.stack)?)
        };
        if let Err(error) = put() {
            let text = format!("the files of {commit:.10}, which runs, could not be put back: {error}");
            (self.world.report)(Event::Warning(&text));
        }
    }

    /// Takes repository and directory of the version before for the stack's again.
    fn take_over(&mut self, old: &Stack) -> Result<(), Error> {
        if self.stack.directory != old.directory {
            self.forget_files()?;
        }
        self.stack.repo.clone_from(&old.repo);
        self.stack.directory.clone_from(&old.directory);
        Ok(self.state.save(&self.wish.service, &self.stack)?)
    }

    /// Remembers the commit as bad, if it is to blame and was never good.
    fn condemn(&self, next: &Version, broken: &Broken) {
        if broken.fault == Fault::Host || self.stack.commit.as_ref() == Some(&next.commit) {
            return;
        }
        let why = broken.reason.lines().next().unwrap_or_default();
        let now = Timestamp::now().as_second();
        let why = self.masks.text(why);
        if let Err(error) = self.state.condemn(&self.wish.service, &next.commit, &why, now) {
            (self.world.report)(Event::Warning(&error.to_string()));
        }
    }

    fn aftermath(&mut self, next: &Version, former: Former, old: &Stack, mirror: &Mirror<'_>) -> Aftermath {
        let version = match &former {
            Former::Nothing => return Aftermath::NothingBefore,
            _ if self.rollback == Rollback::Manual => return Aftermath::Manual,
            Former::Lost { commit, why } => {
                return Aftermath::Failed { commit: commit.clone(), why: why.clone() };
            }
            Former::Same => next,
            Former::Other(version) => version,
        };
        let commit = version.commit.clone();
        (self.world.report)(Event::Step(&format!("it is not well: going back to {commit:.10}")));
        let restored = self
            .take_over(old)
            .and_then(|()| self.lay(&version.tree))
            .and_then(|_| self.bring(version, Way::Back, mirror))
            .and_then(|containers| self.runs_as_before(&commit, containers));
        match restored {
            Ok(containers) => {
                Aftermath::Restored { commit, containers: containers.iter().map(condition).collect() }
            }
            Err(Error::Broken(broken)) => Aftermath::Failed { commit, why: broken.account() },
            Err(error) => Aftermath::Failed { commit, why: error.to_string() },
        }
    }

    /// The compose file that gives each service the image it ran with, where another has its
    /// name by now. The others keep their name, so that compose leaves their containers alone.
    pub(super) fn pins(&self, model: &Model) -> Result<Value, Error> {
        let commit = self.stack.commit.clone().unwrap_or_default();
        let pin = || -> Result<BTreeMap<String, Value>, Error> {
            let recorded = self.state.images(&self.wish.service, &commit)?;
            self.fetch_missing(&recorded)?;
            let mut pins = BTreeMap::new();
            for image in recorded.iter().filter(|image| model.services.contains_key(&image.service)) {
                let named = model.image_of(&image.service);
                if self.docker.image_named(&named)?.as_ref() != Some(&image.id) {
                    pins.insert(image.service.clone(), json!({ "image": image.id }));
                }
            }
            Ok(pins)
        };
        let pins = self.timings.measure("finding its images", Whose::Docker, pin)?;
        Ok(json!({ "services": pins }))
    }

    /// Fails if a name was given to another image between the look at it and the start.
    fn runs_as_before(&self, commit: &str, containers: Vec<Container>) -> Result<Vec<Container>, Error> {
        let recorded = self.state.images(&self.wish.service, commit)?;
        let runs = images::used(&containers);
        let other = recorded
            .iter()
            .find(|image| runs.iter().any(|(service, id)| *service == image.service && *id != image.id));
        match other {
            Some(image) => Err(Error::OtherImage { service: image.service.clone() }),
            None => Ok(containers),
        }
    }

    pub(super) fn fetch_missing(&self, recorded: &[Image]) -> Result<(), Error> {
        for image in self.docker.missing(recorded)? {
            let service = image.service.clone();
            let origin = image.origin.as_ref().ok_or(Error::ImageGone { service })?;
            (self.world.report)(Event::Step(&format!("pulling {origin}")));
            self.docker.pull(origin)?;
        }
        Ok(())
    }
}
