//! The `sops` block: who can open the file, by which rule it is sealed, and its MAC.

use crate::crypto::mac::Coverage;
use crate::crypto::value::Cipher;
use crate::format::{Field, LAYOUT};
use crate::policy::Rule;

use super::Error;
use super::groups::KeyGroups;
use super::layout::Layout;

/// The version that hlx writes: the one of sops whose format this is.
const VERSION: &str = "3.11.0";

/// The metadata of a sealed file.
#[derive(Debug, Clone, PartialEq)]
pub struct Metadata {
    /// The data key, wrapped.
    pub groups: KeyGroups,
    /// When the file was last changed, in RFC 3339, as written.
    pub lastmodified: String,
    /// The sealed MAC.
    pub mac: String,
    /// Which values are sealed.
    pub rule: Rule,
    /// Which values the MAC covers.
    pub coverage: Coverage,
    /// The sealed layout entry.
    pub layout: Option<String>,
}

impl Metadata {
    /// Reads the metadata from the fields of a `sops` block.
    ///
    /// Fails where sops would refuse the block too.
    pub fn read(fields: &[Field]) -> Result<Self, Error> {
        let get = |name: &str| fields.iter().find(|f| f.top_name() == Some(name)).map(|f| f.value.as_str());
        let broken = |reason: &str| Error::Metadata(reason.to_owned());
        let version = get("version").ok_or_else(|| broken("`version` is missing"))?;
        if !is_semver(version) {
            return Err(broken("`version` is not of the form 1.2.3"));
        }
        let lastmodified = get("lastmodified").ok_or_else(|| broken("`lastmodified` is missing"))?;
        if lastmodified.parse::<jiff::Timestamp>().is_err() {
            return Err(broken("`lastmodified` is no time in RFC 3339"));
        }
        let groups = KeyGroups::read(fields)?;
        let only = get("mac_only_encrypted") == Some("true");
        Ok(Self {
            groups,
            lastmodified: lastmodified.to_owned(),
            mac: get("mac").filter(|mac| !mac.is_empty()).ok_or(Error::Mac)?.to_owned(),
            rule: Rule::from_fields(get)?,
            coverage: if only { Coverage::OnlyEncrypted } else { Coverage::All },
            layout: get(LAYOUT).map(str::to_owned),
        })
    }

    /// The layout entry, if there is a good one.
    pub(super) fn layout(&self, cipher: &Cipher) -> Option<Layout> {
        Layout::open(self.layout.as_ref()?, &self.mac, cipher).ok()
    }

    /// The fields of the block, without a rule for whole files.
    pub fn fields(&self, whole: bool) -> Vec<Field> {
        let mut fields = self.groups.fields();
        fields.extend(self.layout.as_ref().map(|layout| Field::top(LAYOUT, layout)));
        fields.push(Field::top("lastmodified", &self.lastmodified));
        fields.push(Field::top("mac", &self.mac));
        if self.coverage == Coverage::OnlyEncrypted {
            fields.push(Field::top("mac_only_encrypted", "true"));
        }
        if !whole {
            let (name, text) = self.rule.field();
            fields.push(Field::top(name, text));
        }
        fields.push(Field::top("version", VERSION));
        fields
    }

    /// The additional data of the MAC: `lastmodified` without fractions, `Z` for UTC.
    /// (getsops/sops v3.13.2 formats the time anew before it uses it.)
    pub fn mac_aad(lastmodified: &str) -> String {
        let (clock, zone) = match lastmodified.strip_suffix(['Z', 'z']) {
            Some(clock) => (clock, "Z"),
            None => lastmodified.split_at(lastmodified.len().saturating_sub(6)),
        };
        let clock = clock.split('.').next().unwrap_or(clock);
        let zone = if matches!(zone, "+00:00" | "-00:00") { "Z" } else { zone };
        format!("{clock}{zone}")
    }
}

/// Three numbers, and perhaps `-pre` and `+build`.
fn is_semver(version: &str) -> bool {
    let core = version.split(['-', '+']).next().unwrap_or_default();
    let numbers: Vec<_> = core.split('.').collect();
    let is_number = |part: &&str| {
        let padded = part.len() > 1 && part.starts_with('0');
        !part.is_empty() && !padded && part.bytes().all(|byte| byte.is_ascii_digit())
    };
    numbers.len() == 3 && numbers.iter().all(is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_macs_additional_data_is_the_time_formatted_anew() {
        for (written, aad) in [
            ("2024-01-02T03:04:05Z", "2024-01-02T03:04:05Z"),
            ("2024-01-02T03:04:05.678Z", "2024-01-02T03:04:05Z"),
            ("2024-01-02T03:04:05+00:00", "2024-01-02T03:04:05Z"),
            ("2024-01-02T03:04:05.6+02:00", "2024-01-02T03:04:05+02:00"),
        ] {
            assert_eq!(Metadata::mac_aad(written), aad);
        }
    }

    #[test]
    fn versions_are_strict() {
        for (version, valid) in
            [("3.11.0", true), ("3.9.0+hlx.1", true), ("3.9", false), ("hlx-1", false), ("03.1.0", false)]
        {
            assert_eq!(is_semver(version), valid, "{version}");
        }
    }
}
