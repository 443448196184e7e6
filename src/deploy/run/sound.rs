//! Whether a commit can be deployed at all, on whatever host: what it asks for fits together, and
//! nothing of it would carry a secret to where it stays.

use std::path::Path;

use super::{Deploy, Error};
use crate::deploy::baked;
use crate::deploy::model::{self, Granted, Model};
use crate::deploy::probe::Probe;
use crate::deploy::resident::Ground;
use crate::deploy::stage::Stage;
use crate::deploy::wishes::Wishes;

impl Deploy<'_> {
    /// Refuses a commit that could not become well, or would give a secret away.
    pub(super) fn is_sound(
        &self,
        model: &Model,
        wishes: &Wishes,
        stage: &Stage<'_>,
        ground: Ground<'_>,
    ) -> Result<(), Error> {
        wishes.fit()?;
        if wishes.holds_secret(&ground.unsealed.masker) {
            return Err(Error::SecretProbe);
        }
        let mut probed = wishes.probes.iter().filter_map(Probe::service);
        if let Some(service) = probed.find(|name| !model.services.contains_key(*name)) {
            let services = model.services.keys().cloned().collect();
            return Err(Error::ProbeOf { service: service.to_owned(), services });
        }
        let json = serde_json::from_slice(stage.json()).map_err(Error::Unreadable)?;
        let baked = baked::find(&json, ground, self.world.open)?;
        if baked.is_empty() { Ok(()) } else { Err(Error::Baked(baked)) }
    }
}

/// Files of granted secrets and configs that neither the commit nor the project directory has.
pub(super) fn missing_files(model: &Model, ground: Ground<'_>) -> Vec<String> {
    let is_missing = |file: &Path| {
        let tracked = model::tracked(file, ground.project, ground.tree);
        let in_commit = tracked.is_some_and(|path| ground.tree.keys().any(|known| known.starts_with(&path)));
        !in_commit && file.symlink_metadata().is_err()
    };
    let secrets = model.secrets.iter().map(|(name, source)| (Granted::Secret, name, source));
    let configs = model.configs.iter().map(|(name, source)| (Granted::Config, name, source));
    let missing = secrets.chain(configs).filter_map(|(kind, name, source)| {
        let file = source.file.as_deref().filter(|file| is_missing(file))?;
        let service = model.granted(kind, name)?;
        let kind = kind.name();
        Some(format!(
            "there is no {}, which service `{service}` is given as the {kind} `{name}`: commit it, or put it there",
            file.display()
        ))
    });
    missing.collect()
}
