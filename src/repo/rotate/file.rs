//! One sealed file: for other readers, under its own data key or a new one.

use std::collections::{BTreeSet, HashSet};

use crate::crypto::DataKey;
use crate::crypto::envelope::{Envelope, Recipient};
use crate::keys::Keyring;
use crate::keys::recipients::Named;
use crate::policy::creation::Audience;
use crate::repo::recipients::Addition;
use crate::sops::{KeyGroups, Opened, Sealed, Stamp};
use crate::sys::random;

use super::tip::{Difference, Fresh};
use super::{DataKeys, Error, World};

/// What a file shall become.
pub(super) enum Target<'a> {
    /// The same with more readers.
    More(Addition<'a>),
    /// The same with its data key wrapped so.
    Wrapped(KeyGroups),
    /// For just these.
    For(Audience, DataKeys),
}

/// A file made anew.
pub(super) struct Made {
    pub(super) content: Vec<u8>,
    pub(super) groups: KeyGroups,
    pub(super) data_keys: DataKeys,
}

/// Makes the file anew; `None` if it is so already.
pub(super) fn remake(
    world: World<'_>,
    place: &str,
    sealed: Sealed<'_>,
    target: Target<'_>,
    fresh: &mut Fresh,
) -> Result<Option<Made>, Error> {
    let groups = match target {
        Target::More(added) => more(world, place, &sealed, added)?,
        Target::Wrapped(groups) => groups,
        Target::For(audience, DataKeys::Same) => exactly(world, place, &sealed, &audience)?,
        Target::For(audience, DataKeys::Fresh) => {
            let keys = |source| Error::Keys { path: place.to_owned(), source };
            let opened = world.keyring.open_sealed(sealed).map_err(keys)?;
            return anew(world, place, &opened, audience, fresh).map(Some);
        }
    };
    let content = (groups != *sealed.groups()).then(|| sealed.with_groups(groups.clone()).into_bytes());
    Ok(content.map(|content| Made { content, groups, data_keys: DataKeys::Same }))
}

/// Seals all of it anew, under the new data key that the branch has for these readers.
fn anew(
    world: World<'_>,
    place: &str,
    opened: &Opened<'_>,
    audience: Audience,
    fresh: &mut Fresh,
) -> Result<Made, Error> {
    if !fresh.contains_key(&audience) {
        let key = DataKey::random(&mut random::fill);
        let groups = world.keyring.plugins().wrap(&audience, &key, &mut random::fill)?;
        // So that what was made here is known here, also where a plugin of age would be asked for it.
        world.keyring.remember(&groups, &key);
        fresh.insert(audience.clone(), (key, groups));
    }
    let (key, groups) = &fresh[&audience];
    let stamp = Stamp { now: world.now.to_owned(), entropy: &mut random::fill };
    let content = opened
        .renew(key, groups.clone(), stamp)
        .map_err(|source| Error::Sops { path: place.to_owned(), source })?
        .into_bytes();
    Ok(Made { content, groups: groups.clone(), data_keys: DataKeys::Fresh })
}

/// The groups with the share of one of them wrapped for more keys. The file must open.
fn more(world: World<'_>, place: &str, sealed: &Sealed<'_>, added: Addition<'_>) -> Result<KeyGroups, Error> {
    let failed = |source| Error::Keys { path: place.to_owned(), source };
    let groups = sealed.groups();
    world.keyring.open(sealed.text().as_bytes()).map_err(failed)?;
    let index = added.place.among(groups.groups().len())?;
    let group = &groups.groups()[index];
    let is_there = |named: &&Named| group.envelopes.iter().any(|envelope| envelope.is_for(&named.recipient));
    let new: Vec<&Recipient> =
        added.readers.iter().filter(|named| !is_there(named)).map(|named| &named.recipient).collect();
    if new.is_empty() {
        return Ok(groups.clone());
    }
    let part = world.keyring.part(group).map_err(failed)?;
    let part = part.ok_or_else(|| Error::NotInGroup { path: place.to_owned(), group: index + 1 })?;
    let wrap = |recipient: &&Recipient| world.keyring.plugins().wrap_part(recipient, part.expose());
    let wrapped: Vec<Envelope> = new.iter().map(wrap).collect::<Result<_, _>>()?;
    Ok(groups.with(index, wrapped))
}

/// The same data key, for just these readers. In one group, the envelopes of those who stay do too.
fn exactly(
    world: World<'_>,
    place: &str,
    sealed: &Sealed<'_>,
    audience: &Audience,
) -> Result<KeyGroups, Error> {
    let failed = |source| Error::Keys { path: place.to_owned(), source };
    let old = sealed.groups();
    if old.audience().is_ok_and(|old| old.equals(audience)) {
        return Ok(old.clone());
    }
    let key = world.keyring.data_key(old).map_err(failed)?;
    let ([_], [wanted]) = (old.groups(), audience.groups()) else {
        return Ok(world.keyring.plugins().wrap(audience, &key, &mut random::fill)?);
    };
    let envelopes = &old.groups()[0].envelopes;
    let gone = old.audience().map_err(|source| Error::Sops { path: place.to_owned(), source })?;
    let gone: Vec<Recipient> = gone.recipients().filter(|key| !wanted.contains(key)).cloned().collect();
    let new = wanted.iter().filter(|key| !envelopes.iter().any(|envelope| envelope.is_for(key)));
    let wrap = |recipient: &Recipient| world.keyring.plugins().wrap_part(recipient, key.expose());
    let wrapped = new.map(wrap).collect::<Result<_, _>>()?;
    let groups = old.with(0, wrapped).without(&gone);
    groups.ok_or_else(|| Error::LastReader(place.to_owned()))
}

/// Whether one of the keys has an envelope.
pub(super) fn names_any(groups: &KeyGroups, keys: &[Recipient]) -> bool {
    let envelopes = groups.groups().iter().flat_map(|group| &group.envelopes);
    envelopes.into_iter().any(|envelope| keys.iter().any(|key| envelope.is_for(key)))
}

/// Whether a file's data key is one of these. What cannot be opened is under another.
pub(super) fn is_known(keyring: &Keyring, sealed: &Sealed<'_>, known: &HashSet<DataKey>) -> bool {
    !known.is_empty() && keyring.data_key(sealed.groups()).is_ok_and(|key| known.contains(&key))
}

/// Who gains, who loses, and whether the user is among the latter.
pub(super) fn difference(keyring: &Keyring, old: &KeyGroups, made: &Made) -> Difference {
    let names = |groups: &KeyGroups| groups.recipients().map(str::to_owned).collect::<BTreeSet<_>>();
    let (before, after) = (names(old), names(&made.groups));
    let own = keyring.recipients();
    let reads = |groups: &KeyGroups| groups.audience().is_ok_and(|audience| audience.includes(&own));
    Difference {
        data_keys: made.data_keys,
        gained: after.difference(&before).cloned().collect(),
        lost: before.difference(&after).cloned().collect(),
        locked_out: reads(old) && !reads(&made.groups),
        wastes_post_quantum: made.groups.wastes_post_quantum(),
    }
}
