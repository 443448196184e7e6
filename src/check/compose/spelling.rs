//! How Compose writes lengths of time, sizes and flags.

/// Units of time, as the newest Compose takes them.
const UNITS: [&str; 10] = ["ns", "us", "µs", "μs", "ms", "s", "m", "h", "d", "w"];

/// Whether it is a length of time: `1m30s`, `1.5h`, `0`.
pub(super) fn is_length(text: &str) -> bool {
    let mut rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    if rest == "0" {
        return true;
    }
    let is_number = |letter: char| letter.is_ascii_digit() || letter == '.';
    while !rest.is_empty() {
        let number = rest.len() - rest.trim_start_matches(is_number).len();
        let behind = &rest[number..];
        let unit = behind.find(is_number).unwrap_or(behind.len());
        if !is_decimal(&rest[..number]) || !UNITS.contains(&&behind[..unit]) {
            return false;
        }
        rest = &behind[unit..];
    }
    !text.is_empty() && text != "-" && text != "+"
}

/// Digits with at most one point among them.
fn is_decimal(text: &str) -> bool {
    text.bytes().any(|byte| byte.is_ascii_digit()) && text.matches('.').count() <= 1
}

/// Whether it is a number of bytes: `512m`, `1.5 GiB`, `-1` for no limit.
pub(super) fn is_size(text: &str) -> bool {
    let number = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
    let unit = text[number..].trim_start_matches(' ').to_ascii_lowercase();
    let unit = unit.strip_suffix('b').unwrap_or(&unit);
    let unit = unit.strip_suffix('i').unwrap_or(unit);
    text == "-1" || (is_decimal(&text[..number]) && matches!(unit, "" | "k" | "m" | "g" | "t" | "p" | "e"))
}

/// Whether it is true or false, in one of their spellings.
pub(super) fn is_flag(text: &str) -> bool {
    let known = ["true", "false", "yes", "no", "y", "n", "on", "off"];
    known.iter().any(|known| text.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_sizes_are_as_compose_takes_them() {
        for good in ["5s", "1m30s", "1.5h", ".5s", "0", "-1s", "+5s", "100us", "5µs", "1d", "2w", "1s1m"] {
            assert!(is_length(good), "{good}");
        }
        for bad in ["", "5", "s", "5parsecs", "1 s", "1m 30s", "1y", "1S", "5ss", "a5s", "1h1", "-", "1..5s"]
        {
            assert!(!is_length(bad), "{bad}");
        }
        for good in ["100", "1g", "1G", "1GB", "1gib", "1.5g", "1 g", "1kb", "1b", "-1"] {
            assert!(is_size(good), "{good}");
        }
        for bad in ["", "lots", "1x", "g", "1,5g", "1gg", "1 g g"] {
            assert!(!is_size(bad), "{bad}");
        }
    }
}
