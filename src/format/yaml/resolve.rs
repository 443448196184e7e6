//! Which type a YAML scalar has for sops: the rules of go-yaml v3 (`resolve.go`, `decode.go`).
//!
//! They are neither YAML 1.1 nor 1.2: `yes` is a string, `0755` is octal, `08` is a float,
//! underscores are dropped from numbers, and `2024-01-02` is a time.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use granit_parser::{ScalarStyle, Tag};
use jiff::civil;
use zeroize::Zeroizing;

use super::super::Scalar;

/// The typed value of a scalar with this style and tag; `empty` marks a value that is not there at all.
///
/// Fails with the reason where sops would refuse the value.
pub fn scalar<'t>(
    value: Cow<'t, str>,
    style: ScalarStyle,
    tag: Option<&Tag>,
    empty: bool,
) -> Result<Scalar<'t>, String> {
    if let Some(tag) = tag {
        return tagged(value, tag);
    }
    match style {
        ScalarStyle::Plain if empty => Ok(Scalar::Null),
        ScalarStyle::Plain => plain(value),
        _ => Ok(Scalar::str(value)),
    }
}

fn tagged<'t>(value: Cow<'t, str>, tag: &Tag) -> Result<Scalar<'t>, String> {
    let name = tag.to_string();
    let core = name.strip_prefix("tag:yaml.org,2002:").or_else(|| name.strip_prefix("!!"));
    match core {
        Some("binary") => {
            let compact: Zeroizing<String> = Zeroizing::new(value.split_whitespace().collect());
            let bytes =
                STANDARD.decode(compact.as_bytes()).map_err(|_| "`!!binary` needs base64".to_owned())?;
            Ok(Scalar::Str(bytes.into()))
        }
        Some("float") => match plain(value)? {
            #[allow(clippy::cast_precision_loss)] // as go-yaml converts it
            Scalar::Int(number) => Ok(Scalar::Float(number as f64)),
            other => same_type(other, "float"),
        },
        Some(kind @ ("int" | "bool" | "null" | "timestamp")) => same_type(plain(value)?, kind),
        // Any other tag leaves the raw text.
        Some(_) | None => Ok(Scalar::str(value)),
    }
}

fn same_type<'t>(scalar: Scalar<'t>, kind: &str) -> Result<Scalar<'t>, String> {
    let fits = match &scalar {
        Scalar::Int(_) => kind == "int",
        Scalar::Float(_) => kind == "float",
        Scalar::Bool(_) => kind == "bool",
        Scalar::Null => kind == "null",
        Scalar::Time(_) => kind == "timestamp",
        Scalar::Str(_) => false,
    };
    if fits { Ok(scalar) } else { Err(format!("the value does not fit its tag `!!{kind}`")) }
}

/// The type of a plain scalar by its text.
///
/// Fails for whole numbers between 2^63 and 2^64, which sops cannot hold.
pub fn plain<'t>(text: impl Into<Cow<'t, str>>) -> Result<Scalar<'t>, String> {
    let text = text.into();
    match &*text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Scalar::Null),
        "true" | "True" | "TRUE" => return Ok(Scalar::Bool(true)),
        "false" | "False" | "FALSE" => return Ok(Scalar::Bool(false)),
        ".nan" | ".NaN" | ".NAN" => return Ok(Scalar::Float(f64::NAN)),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Ok(Scalar::Float(f64::INFINITY)),
        "-.inf" | "-.Inf" | "-.INF" => return Ok(Scalar::Float(f64::NEG_INFINITY)),
        _ => {}
    }
    let number = match text.as_bytes()[0] {
        b'+' | b'-' | b'0'..=b'9' => numeric(&text)?,
        b'.' => yaml_float(&text),
        _ => None,
    };
    Ok(number.unwrap_or_else(|| Scalar::str(text)))
}

fn numeric(text: &str) -> Result<Option<Scalar<'static>>, String> {
    if let Some(time) = timestamp(text) {
        return Ok(Some(Scalar::Time(time)));
    }
    let digits = Zeroizing::new(text.replace('_', ""));
    match integer(&digits) {
        Some(number) => match i64::try_from(number) {
            Ok(number) => Ok(Some(Scalar::Int(number))),
            Err(_) if u64::try_from(number).is_ok() => {
                Err("sops cannot hold a whole number this large".to_owned())
            }
            Err(_) => Ok(yaml_float(&digits)),
        },
        None => Ok(yaml_float(&digits)),
    }
}

/// Go's `ParseInt` with base 0, wide enough to tell what overflows.
fn integer(text: &str) -> Option<i128> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let lower = digits.get(..2).map(str::to_ascii_lowercase);
    let (radix, digits) = match lower.as_deref() {
        Some("0x") => (16, &digits[2..]),
        Some("0o") => (8, &digits[2..]),
        Some("0b") => (2, &digits[2..]),
        _ if digits.len() > 1 && digits.starts_with('0') => (8, &digits[1..]),
        _ => (10, digits),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    let magnitude = i128::from_str_radix(digits, radix).ok()?;
    Some(if negative { -magnitude } else { magnitude })
}

/// `^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$`
fn yaml_float(text: &str) -> Option<Scalar<'static>> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['-', '+']).unwrap_or(exponent))),
        None => (unsigned, None),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) =
        mantissa.split_once('.').map_or((mantissa, None), |(whole, part)| (whole, Some(part)));
    let mantissa_fits = digits(whole)
        && fraction.is_none_or(digits)
        && (!whole.is_empty() || fraction.is_some_and(|part| !part.is_empty()));
    let exponent_fits = exponent.is_none_or(|part| !part.is_empty() && digits(part));
    if !mantissa_fits || !exponent_fits {
        return None;
    }
    // Go reports a number out of range, and go-yaml then leaves the text.
    text.parse().ok().filter(|number: &f64| number.is_finite()).map(Scalar::Float)
}

/// go-yaml's four layouts of a time, as RFC 3339 with nanoseconds where there are any.
fn timestamp(text: &str) -> Option<String> {
    if text.len() < 8 || !text.as_bytes()[..4].iter().all(u8::is_ascii_digit) || text.as_bytes()[4] != b'-' {
        return None;
    }
    let (date, time) = match text.split_once(['T', 't', ' ']) {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let mut parts = date.splitn(3, '-');
    let (year, month, day) = (parts.next()?.parse().ok()?, small(parts.next()?)?, small(parts.next()?)?);
    let date = civil::Date::new(year, month, day).ok()?;
    let Some(time) = time else {
        return Some(format!("{date}T00:00:00Z"));
    };
    let zoned = !text.contains(' ');
    let (clock, zone) = if zoned { split_zone(time)? } else { (time, "Z") };
    let mut parts = clock.splitn(3, ':');
    let (hour, minute, second) = (small(parts.next()?)?, small(parts.next()?)?, parts.next()?);
    let (second, fraction) = second.split_once('.').unwrap_or((second, ""));
    if second.is_empty() || fraction.len() > 9 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let time = civil::Time::new(hour, minute, small(second)?, 0).ok()?;
    let fraction = fraction.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    Some(format!(
        "{date}T{:02}:{:02}:{:02}{point}{fraction}{zone}",
        time.hour(),
        time.minute(),
        time.second()
    ))
}

/// One or two digits.
fn small(text: &str) -> Option<i8> {
    let fits = matches!(text.len(), 1 | 2) && text.bytes().all(|byte| byte.is_ascii_digit());
    fits.then(|| text.parse().ok()).flatten()
}

fn split_zone(time: &str) -> Option<(&str, &str)> {
    if let Some(clock) = time.strip_suffix('Z') {
        return Some((clock, "Z"));
    }
    let (clock, zone) = time.split_at_checked(time.len().checked_sub(6)?)?;
    let (hours, minutes) = zone.get(1..)?.split_once(':')?;
    let fits = zone.starts_with(['+', '-']) && small(hours)? < 25 && small(minutes)? < 60;
    (fits && hours.len() == 2 && minutes.len() == 2)
        .then_some((clock, if zone.ends_with("00:00") { "Z" } else { zone }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_resolve_as_in_go_yaml() {
        use Scalar::{Bool, Float, Int, Null};
        for (text, expected) in [
            ("~", Null),
            ("yes", Scalar::str("yes")),
            ("on", Scalar::str("on")),
            ("True", Bool(true)),
            ("0755", Int(493)),
            ("0o14", Int(12)),
            ("0x1F", Int(31)),
            ("0b101", Int(5)),
            ("1_000", Int(1000)),
            ("-0x10", Int(-16)),
            ("08", Float(8.0)),
            ("09", Float(9.0)),
            ("1e3", Float(1000.0)),
            ("1.10", Float(1.1)),
            (".5", Float(0.5)),
            ("18446744073709551616", Float(18_446_744_073_709_551_616.0)),
            ("1:30", Scalar::str("1:30")),
            ("0x", Scalar::str("0x")),
            ("1.2.3", Scalar::str("1.2.3")),
            ("-", Scalar::str("-")),
            ("2024-01-02", Scalar::Time("2024-01-02T00:00:00Z".into())),
            ("2024-1-2 3:4:5.60", Scalar::Time("2024-01-02T03:04:05.6Z".into())),
            ("2024-01-02T03:04:05+02:00", Scalar::Time("2024-01-02T03:04:05+02:00".into())),
            ("2024-13-02", Scalar::str("2024-13-02")),
        ] {
            assert_eq!(plain(text).unwrap(), expected, "{text}");
        }
        assert!(plain("18446744073709551615").is_err());
    }
}
