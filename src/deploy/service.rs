//! The name of a service, which is its branch, its stack and its directory.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A service's name: `[A-Za-z0-9][A-Za-z0-9_-]*`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Service(String);

/// What was given is no name of a service.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no service name: those have letters, digits, `_` and `-`, and begin with a letter or digit"
)]
pub struct BadName(String);

impl FromStr for Service {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        let valid = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        if valid && text.bytes().all(inner) && text.len() <= 100 {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadName(text.to_owned()))
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Service {
    /// The name as it is.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The compose project, where the compose file names none.
    pub fn project(&self) -> String {
        self.0.to_lowercase()
    }
}

/// A length of time as compose writes it: `1m30s`, `500ms`, `2h`.
pub fn duration(text: &str) -> Option<Duration> {
    let (mut total, mut rest) = (Duration::ZERO, text.trim());
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit())?;
        let unit =
            rest[digits..].find(|letter: char| letter.is_ascii_digit()).map_or(rest.len(), |at| at + digits);
        let count: u64 = rest[..digits].parse().ok()?;
        total = total.checked_add(times(count, &rest[digits..unit])?)?;
        rest = &rest[unit..];
    }
    Some(total)
}

fn times(count: u64, unit: &str) -> Option<Duration> {
    let seconds = |each: u64| count.checked_mul(each).map(Duration::from_secs);
    match unit {
        "us" => Some(Duration::from_micros(count)),
        "ms" => Some(Duration::from_millis(count)),
        "s" => seconds(1),
        "m" => seconds(60),
        "h" => seconds(3600),
        _ => None,
    }
}

/// The one of `known` that `word` may have been meant for.
pub fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let best = known.iter().map(|known| (distance(word, known), *known)).min()?;
    (best.0 <= 1 + word.len() / 4).then_some(best.1)
}

/// Letters to insert, remove or replace between two words.
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.bytes().enumerate() {
        let mut corner = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in right.bytes().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (corner + usize::from(a != b)).min(above + 1).min(row[j] + 1);
            corner = above;
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_a_branch_a_project_and_a_directory_can_be() {
        for good in ["a", "Jellyfin", "my_app-2", "0x"] {
            assert!(good.parse::<Service>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "_a", "a/b", "..", ".a", "a.b", "a b", "ä", "a\n"] {
            assert!(bad.parse::<Service>().is_err(), "{bad}");
        }
        assert_eq!("JellyFin".parse::<Service>().unwrap().project(), "jellyfin");
    }

    #[test]
    fn durations_read_as_compose_reads_them() {
        let table = [("10s", 10_000), ("1m30s", 90_000), ("500ms", 500), ("2h", 7_200_000), ("0s", 0)];
        for (text, millis) in table {
            assert_eq!(duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for bad in ["", "10", "s", "1x", "-1s", "1 s", "99999999999999999999s"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_slip_of_the_finger_is_recognised() {
        assert_eq!(nearest("timout", &["timeout", "stable"]), Some("timeout"));
        assert_eq!(nearest("colour", &["timeout", "stable"]), None);
    }
}
