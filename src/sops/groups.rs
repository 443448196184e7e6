//! Key groups: the data key as a file holds it, wrapped for those who may read.
//!
//! In one group, every key opens the data key itself. Of several groups, each has a share of
//! the data key, wrapped for every key in it, and as many groups as the threshold says must
//! come together. A file with one group has its keys directly under `sops`; those of several
//! stand under `key_groups`. (getsops/sops v3.13.2, `stores/stores.go`, `sops.go`.)

use crate::crypto::envelope::{Envelope, Plugins, Recipient};
use crate::crypto::shamir::{self, Share};
use crate::crypto::{self, DataKey, Entropy, hybrid};
use crate::format::{Field, Step};
use crate::policy::creation::Audience;
use crate::secret::SecretBytes;

use super::Error;

const GROUPS: &str = "key_groups";
const THRESHOLD: &str = "shamir_threshold";
const AGE: &str = "age";
/// Keys of other kinds: hlx does not use them, but keeps them.
const FOREIGN: [&str; 6] = ["azure_kv", "gcp_kms", "hc_vault", "hckms", "kms", "pgp"];

/// More groups than any file has; their number is a byte.
const MOST: usize = 255;
/// More keys than any group has.
const MOST_KEYS: usize = 10_000;

/// The wrapped data key of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyGroups {
    groups: Vec<Group>,
    /// As written; 0 if it is not.
    threshold: u8,
}

/// Keys of which each opens the same part: the data key, or a share of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Group {
    /// The part, wrapped for each age recipient.
    pub envelopes: Vec<Envelope>,
    /// The fields of keys of other kinds.
    foreign: Vec<Field>,
}

impl KeyGroups {
    /// One group: the data key itself, wrapped.
    pub fn one(envelopes: Vec<Envelope>) -> Self {
        Self { groups: vec![Group { envelopes, foreign: Vec::new() }], threshold: 0 }
    }

    /// Wraps a data key for an audience.
    pub fn wrap(
        audience: &Audience,
        key: &DataKey,
        entropy: Entropy<'_>,
        plugins: Plugins<'_>,
    ) -> Result<Self, crypto::Error> {
        let count = u8::try_from(audience.groups().len()).expect("an audience has at most 255 groups");
        let parts: Vec<SecretBytes> = match count {
            1 => vec![SecretBytes::new(key.expose().to_vec())],
            _ => shamir::split(key, count, audience.threshold(), entropy)
                .iter()
                .map(|share| SecretBytes::new(share.expose().to_vec()))
                .collect(),
        };
        let groups = audience.groups().iter().zip(&parts).map(|(recipients, part)| {
            let envelopes = recipients.iter().map(|recipient| recipient.wrap(part.expose(), plugins));
            Ok(Group { envelopes: envelopes.collect::<Result<_, _>>()?, foreign: Vec::new() })
        });
        let threshold = if count == 1 { 0 } else { audience.threshold() };
        Ok(Self { groups: groups.collect::<Result<_, crypto::Error>>()?, threshold })
    }

    /// The groups, in the order of the file.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The number of groups that must come together.
    pub fn needed(&self) -> usize {
        match (self.groups.len(), self.threshold) {
            (1, _) => 1,
            (all, 0) => all,
            // A share alone says nothing, whatever is written.
            (_, threshold) => usize::from(threshold).max(2),
        }
    }

    /// Every recipient of every group, as written.
    pub fn recipients(&self) -> impl Iterator<Item = &str> {
        self.groups.iter().flat_map(|group| &group.envelopes).map(|envelope| envelope.recipient.as_str())
    }

    /// Whether others alone can read what post-quantum keys are named for, so that those protect nothing.
    pub fn wastes_post_quantum(&self) -> bool {
        let keys = self.groups.iter().map(|group| {
            let foreign = (!group.foreign.is_empty()).then_some("");
            group.envelopes.iter().map(|envelope| envelope.recipient.as_str()).chain(foreign)
        });
        hybrid::is_wasted(keys, self.needed())
    }

    /// The data key, from the unwrapped parts of as many groups as are [`KeyGroups::needed`].
    pub fn join(&self, parts: &[SecretBytes]) -> Result<DataKey, crypto::Error> {
        if let ([_], [part]) = (&self.groups[..], parts) {
            return DataKey::from_bytes(part.expose());
        }
        let share = |part: &SecretBytes| {
            let mut share = Share::new([0; shamir::LENGTH]);
            if part.expose().len() != shamir::LENGTH {
                return Err(crypto::Error::BadShare);
            }
            share.expose_mut().copy_from_slice(part.expose());
            Ok(share)
        };
        shamir::combine(&parts.iter().map(share).collect::<Result<Vec<_>, _>>()?)
    }

    /// The same with more envelopes in one group. All others stay as they are.
    ///
    /// # Panics
    /// If there is no such group.
    #[must_use]
    pub fn with(&self, group: usize, envelopes: Vec<Envelope>) -> Self {
        let mut more = self.clone();
        more.groups[group].envelopes.extend(envelopes);
        more
    }

    /// The same with other envelopes in one group.
    ///
    /// # Panics
    /// If there is no such group.
    #[must_use]
    pub fn with_only(&self, group: usize, envelopes: Vec<Envelope>) -> Self {
        let mut other = self.clone();
        other.groups[group].envelopes = envelopes;
        other
    }

    /// The same with the keys of other kinds that a group has in another file under the same data key.
    ///
    /// # Panics
    /// If either has no such group.
    #[must_use]
    pub fn with_others_of(&self, group: usize, from: &Self) -> Self {
        let mut other = self.clone();
        other.groups[group].foreign.clone_from(&from.groups[group].foreign);
        other
    }

    /// The same without these keys' envelopes. `None`: nobody would be left in some group.
    pub fn without(&self, keys: &[Recipient]) -> Option<Self> {
        let stays = |envelope: &Envelope| !keys.iter().any(|key| envelope.is_for(key));
        let mut fewer = self.clone();
        for group in &mut fewer.groups {
            group.envelopes.retain(stays);
        }
        let is_empty = |group: &Group| group.envelopes.is_empty() && group.foreign.is_empty();
        (!fewer.groups.iter().any(is_empty)).then_some(fewer)
    }

    /// For whom it is wrapped, so that another data key can be. Fails for keys that are no recipients of age.
    pub fn audience(&self) -> Result<Audience, Error> {
        let broken = |reason: String| Error::Metadata(reason);
        let recipients = |group: &Group| -> Result<Vec<Recipient>, Error> {
            if let Some(Step::Key(kind)) = group.foreign.first().and_then(|field| field.path.first()) {
                return Err(Error::Foreign(kind.clone()));
            }
            let parse = |envelope: &Envelope| envelope.recipient.parse();
            let all: Result<Vec<Recipient>, _> = group.envelopes.iter().map(parse).collect();
            all.map_err(|error: crypto::Error| broken(error.to_string()))
        };
        let groups = self.groups.iter().map(recipients).collect::<Result<_, _>>()?;
        Audience::new(groups, self.needed() as u64).map_err(broken)
    }

    /// Reads the groups of a `sops` block. Keys directly under `sops` count before any `key_groups`.
    pub(super) fn read(fields: &[Field]) -> Result<Self, Error> {
        let broken = |reason: String| Error::Metadata(reason);
        // sops before 3.13 writes the fields of INI in any order.
        let mut fields = fields.to_vec();
        fields.sort_by(|one, other| one.path.cmp(&other.path));
        let of = |path: &[Step]| matches!(path, [Step::Key(list), Step::Index(_), ..] if is_key(list));
        let top: Vec<_> = fields.iter().filter(|field| of(&field.path)).cloned().collect();
        let groups = if top.is_empty() { several(&fields)? } else { vec![Group::read(&top)?] };
        let threshold = match fields.iter().find(|field| field.top_name() == Some(THRESHOLD)) {
            None => 0,
            Some(field) => field.value.parse().map_err(|_| broken(format!("`{THRESHOLD}` is no number")))?,
        };
        if groups.len() > 1 && usize::from(threshold) > groups.len() {
            return Err(broken(format!(
                "`{THRESHOLD}` is {threshold}, but it has {} key groups",
                groups.len()
            )));
        }
        if groups.iter().all(|group| group.envelopes.is_empty()) {
            return Err(broken("it names no age recipient".to_owned()));
        }
        Ok(Self { groups, threshold })
    }

    /// The fields of the block.
    pub(super) fn fields(&self) -> Vec<Field> {
        let mut fields = match &self.groups[..] {
            [one] => one.fields(),
            groups => groups.iter().enumerate().flat_map(|(index, group)| below(index, group)).collect(),
        };
        if self.threshold > 0 {
            fields.push(Field::top(THRESHOLD, self.threshold.to_string()));
        }
        fields
    }

    /// True for the names directly under `sops` that hold keys.
    pub(super) fn is_field(name: &str) -> bool {
        is_key(name) || [GROUPS, THRESHOLD].contains(&name)
    }
}

fn is_key(list: &str) -> bool {
    list == AGE || FOREIGN.contains(&list)
}

/// The groups under `key_groups`.
fn several(fields: &[Field]) -> Result<Vec<Group>, Error> {
    let mut groups: Vec<Vec<Field>> = Vec::new();
    for field in fields {
        let [Step::Key(list), Step::Index(index), rest @ ..] = &field.path[..] else { continue };
        if list != GROUPS || rest.is_empty() {
            continue;
        }
        if *index > groups.len() || *index >= MOST {
            return Err(Error::Metadata(format!("the list `{GROUPS}` has a gap")));
        }
        if *index == groups.len() {
            groups.push(Vec::new());
        }
        groups[*index].push(Field { path: rest.to_vec(), value: field.value.clone(), span: 0..0 });
    }
    groups.iter().map(|fields| Group::read(fields)).collect()
}

/// The fields of a group that is one of several.
fn below(index: usize, group: &Group) -> impl Iterator<Item = Field> {
    group.fields().into_iter().map(move |mut field| {
        field.path.splice(0..0, [Step::Key(GROUPS.to_owned()), Step::Index(index)]);
        field
    })
}

impl Group {
    /// The keys of other kinds as one text, to be compared.
    pub fn others(&self) -> String {
        let line = |field: &Field| format!("{:?}={}\n", field.path, field.value);
        self.foreign.iter().map(line).collect()
    }

    fn read(fields: &[Field]) -> Result<Self, Error> {
        if !is_tree(fields) {
            return Err(Error::Metadata("the keys of a group are no list of mappings".to_owned()));
        }
        let mut group = Self::default();
        for field in fields {
            match &field.path[..] {
                [Step::Key(list), Step::Index(index), Step::Key(name)] if list == AGE => {
                    let envelope = group.envelope(*index)?;
                    match name.as_str() {
                        "enc" => envelope.enc.clone_from(&field.value),
                        "recipient" => envelope.recipient.clone_from(&field.value),
                        _ => {}
                    }
                }
                [Step::Key(list), ..] if list == AGE => {}
                _ => group.foreign.push(Field { span: 0..0, ..field.clone() }),
            }
        }
        Ok(group)
    }

    /// The envelope at a position, which is at most the next.
    fn envelope(&mut self, index: usize) -> Result<&mut Envelope, Error> {
        if index > self.envelopes.len() || index > MOST_KEYS {
            return Err(Error::Metadata(format!("the list `{AGE}` has a gap")));
        }
        if index == self.envelopes.len() {
            self.envelopes.push(Envelope { recipient: String::new(), enc: String::new() });
        }
        Ok(&mut self.envelopes[index])
    }

    fn fields(&self) -> Vec<Field> {
        let mut fields = Vec::new();
        for (index, envelope) in self.envelopes.iter().enumerate() {
            for (name, value) in [("enc", &envelope.enc), ("recipient", &envelope.recipient)] {
                let path = vec![Step::Key(AGE.to_owned()), Step::Index(index), Step::Key(name.to_owned())];
                fields.push(Field { path, value: value.clone(), span: 0..0 });
            }
        }
        fields.extend(self.foreign.iter().cloned());
        fields
    }
}

/// Whether the fields of a group can stand side by side: no place is both a value and a
/// collection, or both a list and a mapping, and no list is longer than there are fields.
fn is_tree(fields: &[Field]) -> bool {
    let mut paths: Vec<&[Step]> = fields.iter().map(|field| &field.path[..]).collect();
    paths.sort_unstable();
    // Whatever does not fit stands next to each other, once sorted.
    let fits = |pair: &[&[Step]]| match pair[0].iter().zip(pair[1]).find(|(one, other)| one != other) {
        Some(parting) => matches!(parting, (Step::Key(_), Step::Key(_)) | (Step::Index(_), Step::Index(_))),
        None => pair[0].len() == pair[1].len(),
    };
    let indices = paths.iter().flat_map(|path| path.iter());
    let short = |step: &Step| !matches!(step, Step::Index(index) if *index >= fields.len());
    paths.windows(2).all(fits) && indices.into_iter().all(short)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::creation::Config;

    fn field(path: &str, value: &str) -> Field {
        let step = |word: &str| word.parse().map_or_else(|_| Step::Key(word.to_owned()), Step::Index);
        Field { path: path.split('.').map(step).collect(), value: value.to_owned(), span: 0..0 }
    }

    fn read(fields: &[(&str, &str)]) -> Result<KeyGroups, Error> {
        KeyGroups::read(&fields.iter().map(|(path, value)| field(path, value)).collect::<Vec<_>>())
    }

    fn of(groups: &KeyGroups) -> Vec<Vec<&str>> {
        let groups = groups.groups.iter().map(|group| &group.envelopes);
        groups.map(|group| group.iter().map(|envelope| envelope.recipient.as_str()).collect()).collect()
    }

    #[test]
    fn what_was_read_is_written_again_with_keys_of_all_kinds() {
        for fields in [
            &[("age.0.enc", "x"), ("age.0.recipient", "a"), ("pgp.0.fp", "F")][..],
            &[
                ("key_groups.0.age.0.enc", "x"),
                ("key_groups.0.age.0.recipient", "a"),
                ("key_groups.0.kms.0.context.App", "lab"),
                ("key_groups.1.pgp.0.fp", "F"),
                ("key_groups.2.age.0.enc", "y"),
                ("key_groups.2.age.0.recipient", "b"),
                ("shamir_threshold", "2"),
            ],
        ] {
            let groups = read(fields).unwrap();
            let expected: Vec<Field> = fields.iter().map(|(path, value)| field(path, value)).collect();
            assert_eq!(groups.fields(), expected);
        }
    }

    #[test]
    fn keys_at_the_top_count_before_groups_and_a_threshold_of_0_means_all() {
        let groups = [("key_groups.0.age.0.recipient", "a"), ("key_groups.1.age.0.recipient", "b")];
        let both = read(&[&groups[..], &[("age.0.recipient", "c")]].concat()).unwrap();
        assert_eq!((of(&both), both.needed()), (vec![vec!["c"]], 1));
        for (threshold, needed) in [("0", 2), ("1", 2), ("2", 2)] {
            let groups = read(&[&groups[..], &[("shamir_threshold", threshold)]].concat()).unwrap();
            assert_eq!((of(&groups), groups.needed()), (vec![vec!["a"], vec!["b"]], needed));
        }
        let one = read(&groups[..1]).unwrap();
        assert_eq!((of(&one), one.needed()), (vec![vec!["a"]], 1));
    }

    #[test]
    fn broken_groups_are_refused() {
        let a = ("key_groups.0.age.0.recipient", "a");
        for (fields, reason) in [
            (&[][..], "it names no age recipient"),
            (&[("pgp.0.fp", "F")], "it names no age recipient"),
            (&[a, ("key_groups.2.age.0.recipient", "c")], "the list `key_groups` has a gap"),
            (&[("age.1.enc", "x"), ("age.1.recipient", "a")], "the list `age` has a gap"),
            (&[("age.0.enc", "x"), ("pgp.9.fp", "F")], "the keys of a group are no list of mappings"),
            (&[("age.0.enc", "x"), ("age.0", "y")], "the keys of a group are no list of mappings"),
            (&[a, ("key_groups.0.0.x", "y")], "the keys of a group are no list of mappings"),
            (&[("age.0.enc", "x"), ("shamir_threshold", "-1")], "`shamir_threshold` is no number"),
            (
                &[a, ("key_groups.1.age.0.enc", "x"), ("shamir_threshold", "3")],
                "`shamir_threshold` is 3, but it has 2 key groups",
            ),
        ] {
            assert_eq!(read(fields), Err(Error::Metadata(reason.to_owned())));
        }
    }

    #[test]
    fn post_quantum_keys_are_wasted_where_enough_others_can_do_without_them() {
        const KEYS: [&str; 4] = ["age1pq1x", "age1tagpq1x", "age1x", "ssh-ed25519 x"];
        let group = |keys: &[usize]| {
            let envelope = |key: &usize| Envelope { recipient: KEYS[*key].to_owned(), enc: String::new() };
            Group { envelopes: keys.iter().map(envelope).collect(), foreign: Vec::new() }
        };
        for (groups, threshold, wasted) in [
            (&[&[0, 1][..]][..], 0, false),
            (&[&[2, 3]], 0, false),
            (&[&[0, 2]], 0, true),
            (&[&[1, 3]], 0, true),
            // All groups must come together, and in one of them there are no others.
            (&[&[0], &[2, 3]], 0, false),
            (&[&[0], &[2], &[3]], 2, true),
            (&[&[0, 2], &[0, 3]], 2, true),
        ] {
            let groups = KeyGroups { groups: groups.iter().map(|keys| group(keys)).collect(), threshold };
            assert_eq!(groups.wastes_post_quantum(), wasted, "{:?}", of(&groups));
        }
        let pgp = read(&[("age.0.enc", "x"), ("age.0.recipient", "age1pq1x"), ("pgp.0.fp", "F")]).unwrap();
        assert!(pgp.wastes_post_quantum());
    }

    #[test]
    fn parts_of_the_wrong_length_or_twice_the_same_are_no_data_key() {
        let bytes = |length| SecretBytes::new(vec![1; length]);
        let one = KeyGroups::one(Vec::new());
        assert!(one.join(&[bytes(32)]).is_ok());
        assert_eq!(one.join(&[bytes(33)]), Err(crypto::Error::BadDataKey));
        let two = KeyGroups { groups: vec![Group::default(); 2], threshold: 2 };
        assert_eq!(two.join(&[bytes(33), bytes(32)]), Err(crypto::Error::BadShare));
        assert_eq!(two.join(&[bytes(33), bytes(33)]), Err(crypto::Error::BadShare));
    }

    /// A fresh identity for each key of each group, and a `.sops.yaml` that names them.
    fn identities(sizes: &[usize], threshold: usize) -> (Vec<Vec<age::x25519::Identity>>, String) {
        let fresh = |size: &usize| (0..*size).map(|_| age::x25519::Identity::generate()).collect();
        let all: Vec<Vec<age::x25519::Identity>> = sizes.iter().map(fresh).collect();
        let mut config = format!("creation_rules:\n  - shamir_threshold: {threshold}\n    key_groups:\n");
        for group in &all {
            let keys: Vec<String> = group.iter().map(|key| key.to_public().to_string()).collect();
            config += &format!("      - age: [{}]\n", keys.join(", "));
        }
        (all, config)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn one_key_of_each_of_enough_groups_gives_the_data_key(
            bytes: [u8; 32],
            (sizes, threshold) in prop::collection::vec(1usize..4, 1..5)
                .prop_flat_map(|sizes| (Just(sizes.clone()), sizes.len().min(2)..=sizes.len())),
            pick in any::<prop::sample::Index>(),
        ) {
            let (identities, config) = identities(&sizes, threshold);
            let key = DataKey::from_bytes(&bytes).unwrap();
            let config = Config::parse(&config).unwrap();
            let audience = &config.terms("x").unwrap().audience;
            let mut random = |buffer: &mut [u8]| getrandom::fill(buffer).unwrap();
            let wrapped = KeyGroups::wrap(audience, &key, &mut random, &|_| unreachable!("no plugin")).unwrap();
            let groups = KeyGroups::read(&wrapped.fields()).unwrap();
            prop_assert_eq!(&groups, &wrapped);
            prop_assert_eq!(groups.needed(), threshold);
            // One key of each group, from the last group on.
            let parts = identities.iter().zip(groups.groups()).rev().take(threshold).map(|(keys, group)| {
                let at = pick.index(keys.len());
                group.envelopes[at].unwrap(std::iter::once(&keys[at] as &dyn age::Identity)).unwrap().unwrap()
            });
            let parts: Vec<_> = parts.collect();
            prop_assert_eq!(groups.join(&parts).unwrap(), key.duplicate());
            prop_assert_ne!(groups.join(&parts[1..]).ok(), Some(key));
        }
    }
}
