//! Sealing what came of a merge: under the data key, rule and readers that [`super::unite`] decides on.

use crate::crypto::envelope::{Envelope, Recipient};
use crate::crypto::mac::Coverage;
use crate::crypto::{self, DataKey};
use crate::format::Format;
use crate::keys::{self, Keyring};
use crate::sops::groups::Group;
use crate::sops::{self, Basis, KeyGroups, Opened, Sealed, Stamp};

use crate::trust::{self, File, Guard};

use super::unite::{self, Conflict, Decision, Members, Side, Terms};

/// Why a merged file could not be sealed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody but a person can say how.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// It does not fit its format, or SOPS.
    #[error(transparent)]
    Sops(#[from] sops::Error),
    /// The share of a key group cannot be had.
    #[error(transparent)]
    Keys(#[from] keys::Error),
    /// The data key cannot be wrapped for a reader.
    #[error(transparent)]
    Crypto(#[from] crypto::Error),
    /// What came of it was not accepted here.
    #[error(transparent)]
    Trust(#[from] trust::Error),
    /// The same, as the reader's key group is not ours to share.
    #[error("no key of yours is in the key group that {0} was added to")]
    NotInGroup(String),
}

/// The sealed sides of a merge, of which at least one is ours or theirs.
#[derive(Debug)]
pub struct United<'a, 't> {
    ours: Option<&'a Opened<'t>>,
    theirs: Option<&'a Opened<'t>>,
    decision: Decision,
}

impl<'a, 't> United<'a, 't> {
    /// Decides how the merged file is sealed. `None` if neither ours nor theirs is sealed.
    pub fn of(
        base: Option<(&Sealed<'_>, &DataKey)>,
        ours: Option<&'a Opened<'t>>,
        theirs: Option<&'a Opened<'t>>,
    ) -> Result<Option<Self>, Conflict> {
        let parts = |opened: &'a Opened<'t>| (opened.sealed(), opened.key());
        let (mine, other) = (ours.map(parts), theirs.map(parts));
        let keys: Vec<&DataKey> = [base, mine, other].into_iter().flatten().map(|(_, key)| key).collect();
        let terms = |(sealed, key)| terms(sealed, keys.iter().position(|known| *known == key).unwrap_or(0));
        let alone = |side, part| {
            let changes = vec![unite::Change::OnlySealed(side)];
            Decision::all(side, &terms(part), changes)
        };
        let decision = match (mine, other) {
            (None, None) => return Ok(None),
            (Some(mine), None) => alone(Side::Ours, mine),
            (None, Some(other)) => alone(Side::Theirs, other),
            (Some(mine), Some(other)) => {
                unite::decide(base.map(terms).as_ref(), &terms(mine), &terms(other))?
            }
        };
        Ok(Some(Self { ours, theirs, decision }))
    }

    /// What was decided.
    pub fn decision(&self) -> &Decision {
        &self.decision
    }

    fn side(&self, side: Side) -> &'a Opened<'t> {
        let opened = match side {
            Side::Ours => self.ours,
            Side::Theirs => self.theirs,
        };
        opened.or(self.ours).or(self.theirs).expect("a decision names a side that is sealed")
    }

    /// The store that the merged file keeps.
    pub fn format(&self, asked: Format) -> Format {
        match (asked, self.side(self.decision.key).sealed().format()) {
            // Only a merge conflict makes a whole-file version of a path that has a store.
            (Format::Binary, _) | (_, Format::Binary) => asked,
            (_, kept) => kept,
        }
    }

    /// Seals a merged plaintext. What is as the side has it whose data key it is keeps its ciphertext, unless that
    /// key was not accepted here.
    pub fn seal(&self, guard: &Guard<'_>, file: File<'_>, stamp: Stamp<'_>) -> Result<Vec<u8>, Error> {
        let (keyed, ruled) = (self.side(self.decision.key), self.side(self.decision.rule));
        let groups = self.groups(guard.keyring(), keyed)?;
        let (rule, coverage) = (&ruled.sealed().metadata.rule, ruled.sealed().metadata.coverage);
        guard.check(file, &groups, rule, keyed.sealed())?;
        let own = &keyed.sealed().metadata;
        if guard.accepts(&own.groups, keyed.key())? && (&own.rule, own.coverage) == (rule, coverage) {
            let sealed = sops::seal(file.content, file.format, &Basis::Again(keyed), stamp)?;
            return Ok(match groups == own.groups {
                true => sealed,
                false => Sealed::parse(&sealed)?.with_groups(groups).into_bytes(),
            });
        }
        let (key, groups) = guard.keep_or_replace(file.path, keyed.key(), &own.groups, groups)?;
        let basis = Basis::New { key, groups, rule: rule.clone(), coverage };
        Ok(sops::seal(file.content, file.format, &basis, stamp)?)
    }

    /// The key groups: those of the side whose data key it is, with the members that were decided on.
    fn groups(&self, keyring: &Keyring, keyed: &Opened<'_>) -> Result<KeyGroups, Error> {
        let mut groups = keyed.sealed().groups().clone();
        for (index, (readers, others)) in self.decision.groups.iter().enumerate() {
            let has = groups.groups()[index].envelopes.iter().map(|envelope| &envelope.recipient);
            if !has.eq(readers) {
                let envelopes = readers.iter().map(|reader| self.envelope(keyring, keyed, index, reader));
                let envelopes = envelopes.collect::<Result<_, _>>()?;
                groups = groups.with_only(index, envelopes);
            }
            if *others != self.decision.key {
                let from = self.side(*others).sealed().groups();
                groups = groups.with_others_of(index, from);
            }
        }
        Ok(groups)
    }

    /// A reader's envelope: as a side has it that holds the very same, else wrapped anew.
    fn envelope(
        &self,
        keyring: &Keyring,
        keyed: &Opened<'_>,
        index: usize,
        reader: &str,
    ) -> Result<Envelope, Error> {
        let own = keyed.sealed().groups();
        let alike = |side: &&Opened<'_>| {
            // Of several groups, each has a share, and splitting the same key anew gives others.
            side.key() == keyed.key() && own.groups().len() == 1 && side.sealed().groups().groups().len() == 1
        };
        let sides = [self.ours, self.theirs].into_iter().flatten().filter(alike);
        let mut there = std::iter::once(keyed)
            .chain(sides)
            .filter_map(|side| find(side.sealed().groups().groups().get(index)?, reader));
        if let Some(envelope) = there.next() {
            return Ok(envelope.clone());
        }
        let part = keyring.part(&own.groups()[index])?;
        let part = part.ok_or_else(|| Error::NotInGroup(reader.to_owned()))?;
        let recipient: Recipient = reader.parse()?;
        Ok(keyring.plugins().wrap_part(&recipient, part.expose())?)
    }
}

fn find<'g>(group: &'g Group, reader: &str) -> Option<&'g Envelope> {
    group.envelopes.iter().find(|envelope| envelope.recipient == reader)
}

fn terms(sealed: &Sealed<'_>, key: usize) -> Terms {
    let (field, text) = sealed.metadata.rule.field();
    let only = match sealed.metadata.coverage {
        Coverage::All => "",
        Coverage::OnlyEncrypted => ", mac_only_encrypted",
    };
    let members = |group: &Group| Members {
        readers: group.envelopes.iter().map(|envelope| envelope.recipient.clone()).collect(),
        others: group.others(),
    };
    // A whole file has no rule.
    let rule = match sealed.format() {
        Format::Binary => String::new(),
        Format::Dotenv | Format::Ini | Format::Yaml | Format::Json => format!("{field}: {text}{only}"),
    };
    let groups = sealed.groups().groups().iter().map(members).collect();
    Terms { key, rule, groups, needed: sealed.groups().needed() }
}
