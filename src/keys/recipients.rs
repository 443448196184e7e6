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

/// A line that is no recipient.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {source}")]
pub struct Error {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub source: crypto::Error,
}

/// Reads a file of recipients. A `#` comment on the line above a key, or behind it, is its name.
pub fn parse(text: &str) -> Result<Vec<Named>, Error> {
    let mut named = Vec::new();
    let mut above: Option<String> = None;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(comment) = line.strip_prefix('#') {
            above = Some(comment.trim().to_owned());
        } else if line.is_empty() {
            above = None;
        } else {
            let mut key = parse_one(line).map_err(|source| Error { line: index + 1, source })?;
            key.name = key.name.or_else(|| above.take());
            above = None;
            named.push(key);
        }
    }
    Ok(named)
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
}
