//! Ports of the host that services claim, as compose writes them.

use std::net::IpAddr;

use serde_yaml::Value;

/// A claim of ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim {
    /// At which address; none for all.
    pub(super) address: Option<IpAddr>,
    /// From this port.
    pub(super) first: u16,
    /// To this one.
    pub(super) last: u16,
    /// `tcp`, `udp` or `sctp`.
    pub(super) protocol: String,
}

impl std::fmt::Display for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.address {
            Some(IpAddr::V6(address)) => write!(f, "[{address}]:")?,
            Some(IpAddr::V4(address)) => write!(f, "{address}:")?,
            None => {}
        }
        match self.first == self.last {
            true => write!(f, "{}/{}", self.first, self.protocol),
            false => write!(f, "{}-{}/{}", self.first, self.last, self.protocol),
        }
    }
}

impl Claim {
    /// Whether one host cannot grant both.
    pub(super) fn collides(&self, other: &Self) -> bool {
        let overlap = self.first <= other.last && other.first <= self.last;
        let same_address = match (self.address, other.address) {
            (None, _) | (_, None) => true,
            (Some(one), Some(two)) if one.is_ipv4() == two.is_ipv4() => {
                one == two || one.is_unspecified() || two.is_unspecified()
            }
            (Some(_), Some(_)) => false,
        };
        overlap && same_address && self.protocol == other.protocol
    }
}

/// The claim of one entry of `ports:`. `None` if it claims none, or one that only compose can tell.
pub(super) fn claim(entry: &Value) -> Option<Claim> {
    match entry {
        Value::String(text) => short(&filled_in(text)?),
        Value::Mapping(_) => long(entry),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Sequence(_) | Value::Tagged(_) => None,
    }
}

/// `[[ADDRESS:]HOST:]CONTAINER[/PROTOCOL]`
fn short(text: &str) -> Option<Claim> {
    let (text, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let (rest, container) = text.rsplit_once(':')?;
    let (address, host) = match rest.rsplit_once(':') {
        Some((address, host)) => (Some(address), host),
        None => (None, rest),
    };
    claimed(address, host, container, protocol)
}

/// Whether an entry without variables is one that Compose takes: `80`, `8080:80/tcp`, `127.0.0.1:80-81:80-81`.
pub(super) fn is_entry(text: &str) -> bool {
    let (text, protocol) = text.split_once('/').unwrap_or((text, ""));
    let known = ["", "tcp", "udp", "sctp"].iter().any(|known| protocol.eq_ignore_ascii_case(known));
    // Compose reads no further than the second slash.
    if !known && !protocol.starts_with('/') {
        return false;
    }
    let (rest, container) = text.rsplit_once(':').unwrap_or(("", text));
    let (address, host) = rest.rsplit_once(':').unwrap_or(("", rest));
    let address = address.trim_matches(['[', ']']);
    let address = address.split_once('%').map_or(address, |(address, _)| address);
    let good_address = address.is_empty() || address.parse::<IpAddr>().is_ok();
    let good_ports = match (span(host), span(container)) {
        (_, None) => false,
        (None, Some(_)) => host.is_empty(),
        (Some(host), Some(container)) => host == container || container == 0,
    };
    good_address && good_ports
}

/// How many ports lie between the first and the last.
fn span(text: &str) -> Option<u16> {
    let port =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u16>().ok())?;
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    port(last)?.checked_sub(port(first)?)
}

/// A mapping with `published`.
fn long(entry: &Value) -> Option<Claim> {
    let text = |key: &str| match entry.get(key)? {
        Value::String(text) => filled_in(text),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Sequence(_) | Value::Mapping(_) | Value::Tagged(_) => None,
    };
    let protocol = text("protocol").unwrap_or_else(|| "tcp".to_owned());
    claimed(text("host_ip").as_deref(), &text("published")?, &text("target")?, &protocol)
}

fn claimed(address: Option<&str>, host: &str, container: &str, protocol: &str) -> Option<Claim> {
    let (first, last) = range(host)?;
    let (from, to) = range(container)?;
    // Any free port of a range is no claim of one.
    if last - first != to.checked_sub(from)? && first != last {
        return None;
    }
    let address = match address.map(|address| address.trim_matches(['[', ']'])) {
        None | Some("") => None,
        Some(address) => Some(address.parse().ok()?),
    };
    Some(Claim { address, first, last, protocol: protocol.to_ascii_lowercase() })
}

fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (0 < first && first <= last).then_some((first, last))
}

/// The text with the defaults of its variables; `None` where one has no default, or it is encrypted.
fn filled_in(text: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, variable)) = rest.split_once('$') {
        out.push_str(before);
        let (inner, after) = variable.strip_prefix('{')?.split_once('}')?;
        let (_, default) = inner.split_once('-')?;
        out.push_str(default);
        rest = after;
    }
    out.push_str(rest);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: &str) -> Option<String> {
        claim(&serde_yaml::from_str(yaml).unwrap()).map(|claim| claim.to_string())
    }

    #[test]
    fn every_spelling_of_a_port_is_read() {
        for (yaml, expected) in [
            ("'8080:80'", Some("8080/tcp")),
            ("53:53/udp", Some("53/udp")),
            ("'127.0.0.1:8001:8001'", Some("127.0.0.1:8001/tcp")),
            ("'[::1]:6000:6000/TCP'", Some("[::1]:6000/tcp")),
            ("'::1:6000:6000'", Some("[::1]:6000/tcp")),
            ("'9090-9091:8080-8081'", Some("9090-9091/tcp")),
            ("'${PORT:-8080}:80'", Some("8080/tcp")),
            ("{target: 80, published: 8080}", Some("8080/tcp")),
            (
                "{target: 53, published: '53', protocol: udp, host_ip: 10.0.0.1, mode: host}",
                Some("10.0.0.1:53/udp"),
            ),
            // Any port, or one of many.
            ("'80'", None),
            ("80", None),
            ("'3000-3005'", None),
            ("'8000-9000:80'", None),
            ("'127.0.0.1::5000'", None),
            ("{target: 80}", None),
            // What only compose can tell.
            ("'${PORT}:80'", None),
            ("'$PORT:80'", None),
            ("'ENC[AES256_GCM,data:x,iv:y,tag:z,type:str]'", None),
            ("'70000:80'", None),
            ("'5-3:5-3'", None),
        ] {
            assert_eq!(read(yaml).as_deref(), expected, "{yaml}");
        }
    }

    #[test]
    fn entries_are_those_that_compose_takes() {
        for good in [
            "80",
            "80:80",
            "80:80/TCP",
            "80/sctp",
            "1-2:3-4",
            "1-5:80",
            "[::1]:80:80",
            "127.0.0.1::80",
            ":80",
            "0:80",
            "65535:80",
            "080:80",
            "10.0.0.1:8000-8005:80-85",
            "80//tcp",
        ] {
            assert!(is_entry(good), "{good}");
        }
        for bad in [
            "",
            "99999",
            "99999:80",
            "80:99999",
            "a:b",
            "a:80",
            "80:a",
            "80/foo",
            "1-3:3-4",
            "5-3:5-3",
            "80:1-5",
            "1.2.3:80:80",
            "host:80:80",
            "80:",
            " 80:80",
            "80 : 80",
            "-80",
            "80.5",
            "+80:80",
            "10.0.0.1:80",
            "80-",
        ] {
            assert!(!is_entry(bad), "{bad}");
        }
    }

    #[test]
    fn claims_collide_where_a_host_cannot_grant_both() {
        for (one, other, expected) in [
            ("'80:80'", "'80:8080'", true),
            ("'80:80'", "'80:80/udp'", false),
            ("'80:80'", "'127.0.0.1:80:80'", true),
            ("'127.0.0.2:80:80'", "'127.0.0.1:80:80'", false),
            ("'0.0.0.0:80:80'", "'127.0.0.1:80:80'", true),
            ("'0.0.0.0:80:80'", "'[::1]:80:80'", false),
            ("'80-90:80-90'", "'85:1'", true),
            ("'80-90:80-90'", "'91:1'", false),
        ] {
            let claims = [one, other].map(|yaml| claim(&serde_yaml::from_str(yaml).unwrap()).unwrap());
            assert_eq!(claims[0].collides(&claims[1]), expected, "{one} {other}");
            assert_eq!(claims[1].collides(&claims[0]), expected, "{one} {other}");
        }
    }
}
