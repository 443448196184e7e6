//! Whether a commit can be deployed at all, on whatever host: nothing of it would carry a secret to
//! where it stays.

use super::{Deploy, Error};
use crate::deploy::baked;
use crate::deploy::resident::Ground;
use crate::deploy::stage::Stage;
use crate::deploy::wishes::Wishes;

impl Deploy<'_> {
    /// Refuses a commit that would give a secret away.
    pub(super) fn is_sound(
        &self,
        wishes: &Wishes,
        stage: &Stage<'_>,
        ground: Ground<'_>,
    ) -> Result<(), Error> {
        for probe in &wishes.probes {
            let is_secret = |word: &&str| ground.unsealed.masker.text(word.as_bytes()) != **word;
            if probe.words().iter().any(is_secret) {
                return Err(Error::SecretProbe);
            }
        }
        let json = serde_json::from_slice(stage.json()).map_err(Error::Unreadable)?;
        let baked = baked::find(&json, ground, self.world.open)?;
        if baked.is_empty() { Ok(()) } else { Err(Error::Baked(baked)) }
    }
}
