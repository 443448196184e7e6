//! Values that encrypted files keep, in clear elsewhere: a copy of such a file, a renamed one, a note.
//!
//! A value counts if it is long enough to be no chance, and stands under a secret's name or looks as if a machine
//! made it; of other values two of one file must come together. Files are opened only once something in clear is to
//! be compared, and only with keys that ask nobody.

use std::cell::OnceCell;
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::LazyLock;

use memchr::memmem;
use regex::Regex;
use zeroize::Zeroizing;

use crate::crypto::DataKey;
use crate::format::{Content, Format};
use crate::git;
use crate::git::branch::Entry;
use crate::secret::SecretBytes;
use crate::sops::{KeyGroups, Opened, Sealed, is_sealed};
use crate::trust::untracked;

use super::examine::Spot;
use super::{Checker, Rule, secrets};

/// Shorter values are found anywhere.
const SHORTEST: usize = 8;
/// Larger files are data.
const LARGEST: usize = 16 << 20;

/// What is known of the files that were opened, by blob and path.
pub(super) type Known = HashMap<(String, Vec<u8>), Option<Rc<Kept>>>;

/// What an encrypted file keeps.
pub(super) struct Kept {
    path: String,
    plaintext: SecretBytes,
    values: Vec<Value>,
}

struct Value {
    name: String,
    text: Zeroizing<String>,
    weight: Weight,
}

/// What a value tells where it stands in clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weight {
    /// It is a secret.
    Alone,
    /// It may be there by chance.
    WithAnother,
}

/// The encrypted files that new content is compared with, opened when the first asks.
pub(super) struct Keep<'c> {
    checker: &'c Checker<'c>,
    files: BTreeSet<(Vec<u8>, String)>,
    opened: OnceCell<Vec<Rc<Kept>>>,
}

impl<'c> Keep<'c> {
    /// Those among these files that are encrypted, and that the owner does not want in clear.
    pub(super) fn of<'f>(checker: &'c Checker<'c>, files: impl Iterator<Item = &'f Entry>) -> Self {
        let files = files.map(|file| (file.path.clone(), file.blob.clone())).collect();
        Self { checker, files, opened: OnceCell::new() }
    }

    /// What of the encrypted files a blob has in clear, and its version before had not.
    pub(super) fn copied(
        &self,
        path: &[u8],
        new: &str,
        old: Option<&str>,
    ) -> Result<Option<Spot>, git::Error> {
        if self.files.is_empty() || self.checker.keyring.recipients().is_empty() {
            return Ok(None);
        }
        let content = self.checker.repository.blob_named(new)?;
        let sealed = is_sealed(&content);
        // Nothing of an encrypted file is clear but what its rule leaves so.
        if content.len() < SHORTEST || content.len() > LARGEST || (sealed && clear_part_is_empty(&content)) {
            return Ok(None);
        }
        let before = old.map(|old| self.checker.repository.blob_named(old)).transpose()?.unwrap_or_default();
        let own = String::from_utf8_lossy(path);
        let others = self.opened()?.iter().filter(|kept| !(sealed && kept.path == own));
        Ok(others.into_iter().find_map(|kept| kept.in_clear(&content, &before)))
    }

    fn opened(&self) -> Result<&[Rc<Kept>], git::Error> {
        if let Some(opened) = self.opened.get() {
            return Ok(opened);
        }
        let mut opened = Vec::new();
        let mut last = None;
        for (path, blob) in &self.files {
            opened.extend(self.checker.kept(path, blob, &mut last)?);
        }
        Ok(self.opened.get_or_init(|| opened))
    }
}

/// A whole file is one value.
fn clear_part_is_empty(sealed: &[u8]) -> bool {
    Sealed::parse(sealed).is_ok_and(|sealed| sealed.format() == Format::Binary)
}

/// The key that opened the file before: those of a branch share it mostly.
type Last = Option<(KeyGroups, DataKey)>;

impl Checker<'_> {
    /// What a file keeps, if it is encrypted and opens without asking anybody.
    pub(super) fn kept(
        &self,
        path: &[u8],
        blob: &str,
        last: &mut Last,
    ) -> Result<Option<Rc<Kept>>, git::Error> {
        let key = (blob.to_owned(), path.to_vec());
        if let Some(known) = self.kept.borrow().get(&key) {
            return Ok(known.clone());
        }
        let Some(content) = self.content(blob)? else { return Ok(None) };
        let kept =
            self.open_quietly(&content, last).filter(|_| !untracked::is_meant(self.repository, path, blob));
        let kept = kept.map(|opened| Rc::new(Kept::of(&String::from_utf8_lossy(path), opened)));
        self.kept.borrow_mut().insert(key, kept.clone());
        Ok(kept)
    }

    fn open_quietly<'t>(&self, content: &'t [u8], last: &mut Last) -> Option<Opened<'t>> {
        let sealed = Sealed::parse(content).ok()?;
        if last.as_ref().is_none_or(|(groups, _)| groups != sealed.groups()) {
            *last = Some((sealed.groups().clone(), self.keyring.native_data_key(sealed.groups())?));
        }
        let (_, key) = last.as_ref()?;
        sealed.open(key).ok()
    }
}

impl Kept {
    fn of(path: &str, opened: Opened<'_>) -> Self {
        let mut values = Vec::new();
        match opened.sealed().format() {
            Format::Binary => of_whole(path, &opened, &mut values),
            Format::Dotenv | Format::Ini | Format::Yaml | Format::Json => {
                for (name, value) in opened.values() {
                    add(&mut values, &name, &value);
                }
            }
        }
        Self { path: path.to_owned(), values, plaintext: opened.into_plaintext() }
    }

    /// What stands in a content, and not in the version before it.
    pub(super) fn in_clear(&self, content: &[u8], before: &[u8]) -> Option<Spot> {
        let plaintext = self.plaintext.expose().trim_ascii();
        if plaintext.len() >= SHORTEST && plaintext == content.trim_ascii() {
            return Some(Spot::new(Rule::SealedValue, format!("it is `{}` in clear", self.path)));
        }
        let place = |value: &Value| {
            let at = whole_word(content, value.text.as_bytes())?;
            whole_word(before, value.text.as_bytes()).is_none().then_some(at)
        };
        let mut found: Vec<(&Value, usize)> =
            self.values.iter().filter_map(|value| Some((value, place(value)?))).collect();
        let count = found.iter().map(|(value, _)| value.text.as_str()).collect::<BTreeSet<_>>().len();
        if count < 2 {
            found.retain(|(value, _)| value.weight == Weight::Alone);
        }
        let first = found.iter().map(|(_, at)| *at).min()?;
        let line = content[..first].iter().filter(|byte| **byte == b'\n').count() + 1;
        let names = found.iter().map(|(value, _)| value.name.as_str()).collect::<BTreeSet<_>>();
        Some(Spot { line: Some(line), ..Spot::new(Rule::SealedValue, self.told(&names)) })
    }

    fn told(&self, names: &BTreeSet<&str>) -> String {
        let shown: Vec<String> = names.iter().take(3).map(|name| format!("`{name}`")).collect();
        let more = if names.len() > shown.len() { " and others" } else { "" };
        let stand = if names.len() == 1 { "stands" } else { "stand" };
        format!("{}{more} of `{}` {stand} here in clear", shown.join(", "), self.path)
    }
}

/// The values of a file that is encrypted as one, by the format that its name says.
fn of_whole(path: &str, opened: &Opened<'_>, values: &mut Vec<Value>) {
    let Ok(text) = std::str::from_utf8(opened.plaintext().expose()) else { return };
    let Some(document) = Format::of_path(path).store().and_then(|store| store.parse_plaintext(text).ok())
    else {
        return;
    };
    for leaf in &document.leaves {
        if let Content::Value(value) = &leaf.content {
            add(values, &document.paths.display(leaf.path), &value.bytes());
        }
    }
}

/// Adds what counts of a value: of one with several lines each line, of `NAME=value` the value.
fn add(values: &mut Vec<Value>, name: &str, value: &[u8]) {
    let Ok(text) = std::str::from_utf8(value) else { return };
    for line in text.lines().map(str::trim) {
        let (name, line) = match line.split_once('=') {
            Some((inner, rest)) if is_variable(inner) => (inner, rest),
            _ => (name, line),
        };
        let quoted = ['"', '\''].iter().find_map(|quote| line.strip_prefix(*quote)?.strip_suffix(*quote));
        let text = quoted.unwrap_or(line);
        if let Some(weight) = weigh(name, text) {
            values.push(Value { name: name.to_owned(), text: Zeroizing::new(text.to_owned()), weight });
        }
    }
}

fn is_variable(name: &str) -> bool {
    let of = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    name.starts_with(|first: char| first.is_ascii_uppercase()) && name.bytes().all(of)
}

/// Names of hosts with or without a port, mail addresses, images with a tag.
static PUBLIC: LazyLock<Regex> = LazyLock::new(|| {
    let host = r"(?:[a-z0-9-]+\.)+[a-z]{2,}(?::[0-9]+)?";
    let image = r"[a-z0-9._/-]+:(?:v?[0-9][a-z0-9._-]*|[a-z]+)";
    Regex::new(&format!("(?i-u)^(?:(?:[a-z0-9._+-]+@)?{host}|{image})$")).expect("it is tested")
});

fn weigh(name: &str, text: &str) -> Option<Weight> {
    if text.len() < SHORTEST || is_trivial(text) {
        return None;
    }
    if secrets::names_a_secret(name) || secrets::is_address_with_password(text) {
        return Some(Weight::Alone);
    }
    if PUBLIC.is_match(text) || text.contains("://") || is_path(text) {
        return None;
    }
    let alone = secrets::is_mixed(text) && !text.contains(' ');
    Some(if alone { Weight::Alone } else { Weight::WithAnother })
}

/// Words, numbers and placeholders: whatever their name, they stand in clear files too.
fn is_trivial(text: &str) -> bool {
    const PLACEHOLDERS: [&str; 6] = ["changeme", "change-me", "change_me", "example", "placeholder", "xxxx"];
    let lower = text.to_ascii_lowercase();
    let word =
        text.bytes().all(|byte| byte.is_ascii_lowercase() || matches!(byte, b'_' | b'-')) && text.len() <= 16;
    let number = text.bytes().all(|byte| !byte.is_ascii_alphabetic());
    let path = ["/", "./", "../", "~/", "$"].iter().any(|start| text.starts_with(start));
    (word || number || path) || PLACEHOLDERS.iter().any(|part| lower.contains(part))
}

/// Parts between slashes that a person named.
fn is_path(text: &str) -> bool {
    text.contains('/') && !text.split('/').any(secrets::is_mixed)
}

/// Where a value stands by itself, and is no part of a longer word.
fn whole_word(content: &[u8], value: &[u8]) -> Option<usize> {
    let is_word = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let parted = |inner: Option<&u8>, outer: Option<&u8>| !(is_word(inner) && is_word(outer));
    memmem::find_iter(content, value).find(|at| {
        let before = at.checked_sub(1).and_then(|before| content.get(before));
        parted(value.first(), before) && parted(value.last(), content.get(at + value.len()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_machine_made_or_a_secret_is_called_counts_alone() {
        for (name, text) in [
            ("API_KEY", "hunter2hunter2"),
            ("DB_PASSWORD", "correct horse battery"),
            ("A", "Zk39dkLqp20dkfLLw93x"),
            ("A", "9f8b3c1d7e6a5f40"),
            ("A", "canary-swordfish-7f3a9c"),
            ("WG", "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="),
            ("URL", "postgres://app:hunter2@db/app"),
        ] {
            assert_eq!(weigh(name, text), Some(Weight::Alone), "{name}={text}");
        }
        for (name, text) in [("TITLE", "My home server"), ("VOLUME", "jellyfin-data-01")] {
            assert_eq!(weigh(name, text), Some(Weight::WithAnother), "{name}={text}");
        }
    }

    #[test]
    fn words_numbers_paths_and_hosts_never_count() {
        for (name, text) in [
            ("DB_PASSWORD", "postgres"),
            ("DB_PASSWORD", "changeme123"),
            ("DB_PASSWORD", "short1"),
            ("PORT", "192.168.178.20"),
            ("DATA", "/mnt/media/films01"),
            ("TZ", "Europe/Berlin"),
            ("HOST", "nas01.example3.lan:8443"),
            ("MAIL", "me2@mail.home4.net"),
            ("IMAGE", "ghcr.io/h2o/app3:v1.2.3-alpine3"),
            ("URL", "https://a1b2c3.example.lan"),
            ("REF", "${A1B2C3D4}"),
        ] {
            assert_eq!(weigh(name, text), None, "{name}={text}");
        }
    }

    #[test]
    fn a_value_within_a_longer_word_is_another() {
        assert_eq!(whole_word(b"x=abcdefgh1\nabcdefgh", b"abcdefgh"), Some(12));
        assert_eq!(whole_word(b"xabcdefgh", b"abcdefgh"), None);
        assert_eq!(whole_word(b"(abcdefg=)", b"abcdefg="), Some(1));
    }

    #[test]
    fn lines_variables_and_quotes_are_looked_into() {
        let mut values = Vec::new();
        add(&mut values, "environment", b"DB_PASSWORD=\"hunter2hunter2\"");
        add(&mut values, "config", b"# a comment\nZk39dkLqp20dkfLLw93x\n");
        let found: Vec<_> = values.iter().map(|value| (value.name.as_str(), value.text.as_str())).collect();
        assert!(found.contains(&("DB_PASSWORD", "hunter2hunter2")), "{found:?}");
        assert!(found.contains(&("config", "Zk39dkLqp20dkfLLw93x")), "{found:?}");
    }
}
