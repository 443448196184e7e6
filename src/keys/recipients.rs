//! A file of recipients: one public key a line, with comments, as age's `-R` reads it.

use crate::crypto;
use crate::crypto::envelope::Recipient;

/// A public key and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The key.
    pub recipient: Recipient,
    /// From the comment above it, behind it, or the comment of an ssh key.
    pub name: Option<String>,
}

impl Named {
    /// Its name, or else the key shortened.
    pub fn label(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.recipient.short())
    }
}

/// A line that is no recipient.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {source}")]
pub struct Error {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub source: crypto::Error,
}

/// Reads a file of recipients, or what `ssh-keyscan` prints. A `#` comment on the line above a key, or behind it, is
/// its name; a host's key has the host's.
pub fn parse(text: &str) -> Result<Vec<Named>, Error> {
    let mut named = Vec::new();
    let mut above: Option<String> = None;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(comment) = line.strip_prefix('#') {
            above = Some(comment.trim().to_owned());
        } else if line.is_empty() {
            above = None;
        } else if let Some(key) = scanned(line).map_err(|source| Error { line: index + 1, source })? {
            above = None;
            named.extend(key);
        } else {
            let mut key = parse_one(line).map_err(|source| Error { line: index + 1, source })?;
            key.name = key.name.or_else(|| above.take());
            above = None;
            named.push(key);
        }
    }
    Ok(one_per_host(named))
}

/// The kinds of host keys that `ssh-keyscan` prints, and age cannot use.
const OTHERS: [&str; 4] = ["ecdsa-sha2-", "ssh-dss", "sk-ssh-", "sk-ecdsa-"];

/// A line of `ssh-keyscan`, `HOST KIND KEY`; `None` if it is none, `Some(None)` if age has no use for such a key.
fn scanned(line: &str) -> Result<Option<Option<Named>>, crypto::Error> {
    let [host, kind, key] = line.split_whitespace().collect::<Vec<_>>()[..] else { return Ok(None) };
    if OTHERS.iter().any(|other| kind.starts_with(other)) {
        return Ok(Some(None));
    }
    if !matches!(kind, "ssh-ed25519" | "ssh-rsa") {
        return Ok(None);
    }
    // `[nas]:2222` with a port, `nas,192.168.1.2` with addresses, `|1|…` where names are hashed.
    let host = host.split(',').next().unwrap_or(host);
    let host = host.strip_prefix('[').and_then(|host| host.split(']').next()).unwrap_or(host);
    let name = (!host.starts_with('|')).then(|| host.to_owned());
    Ok(Some(Some(Named { recipient: format!("{kind} {key}").parse()?, name })))
}

/// Of a host that has several kinds of keys, the one that a server looks for first.
fn one_per_host(named: Vec<Named>) -> Vec<Named> {
    let is_rsa = |named: &Named| named.recipient.as_str().starts_with("ssh-rsa ");
    let better = |rsa: &Named, other: &Named| {
        other.name.is_some() && other.name == rsa.name && other.recipient.as_str().starts_with("ssh-ed25519 ")
    };
    let drop: Vec<bool> =
        named.iter().map(|key| is_rsa(key) && named.iter().any(|other| better(key, other))).collect();
    named.into_iter().zip(drop).filter(|(_, drop)| !drop).map(|(key, _)| key).collect()
}

/// Reads one public key with what stands behind it: `age1… # name`, `ssh-ed25519 AAAA… name`.
pub fn parse_one(line: &str) -> Result<Named, crypto::Error> {
    let (key, behind) = line.split_once(" #").unwrap_or((line, ""));
    let recipient: Recipient = key.trim().parse()?;
    let comment =
        key.split_whitespace().skip(recipient.as_str().split(' ').count()).collect::<Vec<_>>().join(" ");
    let name = [behind.trim(), comment.as_str()].into_iter().find(|name| !name.is_empty()).map(str::to_owned);
    Ok(Named { recipient, name })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "age1xk7yh7phvy5fcapfuzwvhrr8hehh35p0zyrk4hur70yge458ayxq6dm0nj";

    #[test]
    fn names_come_from_comments() {
        let ssh = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsKLqeplhpW+uObz5dvMgjz1OxfM/XXUB+VHtZ6isGN";
        let text = format!("# laptop\n{KEY}\n\n# a paragraph\n\n{KEY} # nas\n{ssh} root@nas\n{KEY}\n");
        let names: Vec<_> = parse(&text).unwrap().into_iter().map(|named| named.name).collect();
        let name = |text: &str| Some(text.to_owned());
        assert_eq!(names, [name("laptop"), name("nas"), name("root@nas"), None]);
        assert_eq!(parse("\nxyz\n").unwrap_err().line, 2);
    }

    #[test]
    fn host_keys_as_ssh_keyscan_prints_them_have_the_hosts_name_and_one_is_enough() {
        let key = "AAAAC3NzaC1lZDI1NTE5AAAAIHsKLqeplhpW+uObz5dvMgjz1OxfM/XXUB+VHtZ6isGN";
        let text = format!(
            "# nas:22 SSH-2.0-OpenSSH_9.2\nnas ecdsa-sha2-nistp256 AAAAE2Vj\n# nas:22 SSH-2.0-OpenSSH_9.2\nnas ssh-ed25519 {key}\n[b]:2222 ssh-ed25519 {key}\n|1|x=|y= ssh-ed25519 {key}\n"
        );
        let named = parse(&text).unwrap();
        let names: Vec<_> = named.iter().map(|named| named.name.as_deref()).collect();
        assert_eq!(names, [Some("nas"), Some("b"), None]);
        assert!(named.iter().all(|named| named.recipient.as_str() == format!("ssh-ed25519 {key}")));
        assert_eq!(parse("nas ssh-ed25519 AAAA\n").unwrap_err().line, 1);
        let of = |kind: &str| Named {
            recipient: format!("{kind} {key}").parse().unwrap(),
            name: Some("nas".to_owned()),
        };
        let ed = of("ssh-ed25519");
        assert_eq!(one_per_host(vec![ed.clone(), ed.clone()]).len(), 2);
    }
}
