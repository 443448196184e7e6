//! How what a commit has differs from what was accepted, and who brought it.

use crate::crypto::mac::Coverage;
use crate::git::Git;
use crate::policy::creation::Config;

use super::pins::Pin;
use super::readers::{Readers, of_audience};

/// True if rules seal as the accepted ones do, and for nobody whom those do not name in the same place.
pub(super) fn gives_no_more(accepted: &str, now: &str) -> bool {
    same_rules(accepted, now) && gained(accepted, now).is_empty()
}

/// Whom rules name that the accepted ones do not name for the same paths and values: the number of each rule, from 1,
/// and them.
pub(super) fn gained(accepted: &str, now: &str) -> Vec<(usize, Readers)> {
    let (Ok(accepted), Ok(now)) = (Config::parse(accepted), Config::parse(now)) else { return Vec::new() };
    let had: Vec<_> = accepted.selections().into_iter().zip(accepted.audiences().map(of_audience)).collect();
    let more = now.selections().into_iter().zip(now.audiences()).map(|(selection, audience)| {
        let before = had.iter().find(|(known, _)| *known == selection).map(|(_, readers)| readers.clone());
        &of_audience(audience) - &before.unwrap_or_default()
    });
    (1..).zip(more).filter(|(_, more)| !more.is_empty()).collect()
}

/// True if two `.sops.yaml` seal alike, whoever reads.
pub(super) fn same_rules(one: &str, other: &str) -> bool {
    let rules = |text: &str| {
        let mut rules = Config::parse(text)?.selections();
        // What seals most is what counts without a rule.
        rules.retain(|(path, field, coverage)| {
            !path.is_empty() || *field != MOST || *coverage != Coverage::All
        });
        Ok::<_, crate::policy::Error>(rules)
    };
    match (rules(one), rules(other)) {
        (Ok(one), Ok(other)) => one == other,
        (Err(_), _) | (_, Err(_)) => one == other,
    }
}

/// The field of the rule that counts without any.
const MOST: &str = r#"("unencrypted_suffix", "_unencrypted")"#;

/// The first file of attributes whose lines about filters are others.
pub(super) fn protects_otherwise(pin: &Pin, now: &Pin) -> Option<String> {
    if pin.attributes.is_empty() {
        return None;
    }
    let says = |pin: &Pin, path: &String| -> Vec<String> {
        let lines = pin.attributes.get(path).map_or("", String::as_str).lines();
        lines.filter(|line| line.contains("filter") || line.contains("hlx")).map(str::to_owned).collect()
    };
    let mut paths = pin.attributes.keys().chain(now.attributes.keys());
    paths.find(|path| says(pin, path) != says(now, path)).cloned()
}

/// The part of a key that is not its type.
pub(super) fn last_word(reader: &str) -> &str {
    reader.split_whitespace().next_back().unwrap_or(reader)
}

/// The last commit that changed a path, or the number of times that a text stands there.
pub(super) fn who(git: &Git, commit: &str, words: &[&str], path: &str) -> String {
    let format = "--format=%h by %an <%ae>, %ad: %s";
    let words =
        [&["log", "-1", "--no-textconv", "--date=short", format], words, &[commit, "--", path]].concat();
    let found = git.text(&words).unwrap_or_default();
    found.chars().filter(|character| !character.is_control() && !is_bidi(*character)).collect()
}

/// What turns the direction of a line around, and so can show another text than stands there. (Unicode, UAX 9.)
fn is_bidi(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "age1xk7yh7phvy5fcapfuzwvhrr8hehh35p0zyrk4hur70yge458ayxq6dm0nj";
    const B: &str = "age1sld56zg0pxytug34k8a0tc0ja5f5t9s57f04dsml7d38r9rhjp2qlkkvgu";

    #[test]
    fn a_reader_who_moves_to_another_rule_gains_by_it() {
        let rules = |public: &str, rest: &str| {
            format!("creation_rules:\n  - path_regex: ^public/\n    age: {public}\n  - age: {rest}\n")
        };
        let both = format!("{A},{B}");
        let accepted = rules(&both, A);
        assert!(gives_no_more(&accepted, &accepted) && gives_no_more(&accepted, &rules(A, A)));
        for more in [rules(A, &both), rules(&both, &both)] {
            assert_eq!(gained(&accepted, &more), [(2, Readers::from([B.to_owned()]))]);
            assert!(!gives_no_more(&accepted, &more));
        }
        // Without the rule for it, the other counts for `public/` too: that shows as other rules.
        assert!(!gives_no_more(&accepted, &format!("creation_rules:\n  - age: {A}\n")));
    }
}
