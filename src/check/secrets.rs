//! What looks like a secret in a file that is not encrypted.
//!
//! Two kinds: tokens that show by their shape what they are ([`super::tokens`]), and values that are too
//! random for a word and stand beside a name such as `DB_PASSWORD`. Placeholders, references and hashes are
//! left alone, and so is every line with the comment `hlx:allow`. What was found is never shown.

use std::collections::HashMap;
use std::sync::LazyLock;

use regex::Regex;

use super::examine::Spot;
use super::{Rule, tokens};

/// Larger files are data.
const LARGEST: usize = 1 << 20;
/// Longer lines were not written by a person.
const LONGEST_LINE: usize = 4096;
/// What keeps a line from being looked at.
const ALLOW: &str = "hlx:allow";

/// A name and what is given to it: `NAME=value`, `name: value`, `"name": "value"`.
static ASSIGNMENT: LazyLock<Regex> = LazyLock::new(|| {
    let name = r#"(?:^|[ \t,{])["']?([A-Za-z][A-Za-z0-9_.-]{0,80})["']?"#;
    let value = r#"(?:"([^"]*)"|'([^']*)'|([^ \t,;}'"]+))"#;
    Regex::new(&format!(r"{name}[ \t]*(?:=|:[ \t])[ \t]*{value}")).expect("it is tested")
});

/// An address with a password in it.
static ADDRESS: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#"[a-z][a-z0-9+.-]*://[^ \t:/@"']+:([^ \t/@"']+)@"#).expect("it is tested"));

/// What looks like a secret in a file, by line.
pub(super) fn scan(path: &str, text: &str) -> Vec<Spot> {
    if text.len() > LARGEST || is_exempt(path) || !(tokens::any(text) || may_name_a_secret(text)) {
        return Vec::new();
    }
    let lines =
        text.lines().enumerate().filter(|(_, line)| line.len() <= LONGEST_LINE && !line.contains(ALLOW));
    let values = if is_source(path) { Values::Quoted } else { Values::Any };
    lines
        .flat_map(|(number, line)| {
            of_line(line, values).map(move |spot| Spot { line: Some(number + 1), ..spot })
        })
        .collect()
}

/// Which values can be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Values {
    /// Those in quotes: in a programming language, all others are expressions.
    Quoted,
    /// All.
    Any,
}

fn is_source(path: &str) -> bool {
    const LANGUAGES: [&str; 16] =
        ["c", "cc", "cpp", "cs", "go", "h", "java", "js", "kt", "lua", "php", "pl", "py", "rb", "rs", "ts"];
    path.rsplit_once('.').is_some_and(|(_, end)| LANGUAGES.contains(&end))
}

/// Examples show what a value looks like; locks are full of hashes.
fn is_exempt(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
    let parts = ["example", "sample", "template", "dist"];
    let example = name.split(['.', '-', '_']).any(|part| parts.contains(&part));
    let made = [".lock", ".sum", ".svg", ".map", "-lock.json", "-lock.yaml", ".min.js", ".min.css"];
    example || made.iter().any(|end| name.ends_with(end)) || matches!(&*name, ".sops.yaml" | ".gitattributes")
}

fn may_name_a_secret(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    ["pass", "secret", "token", "key", "credential", "://"].iter().any(|word| lower.contains(word))
}

fn of_line(line: &str, values: Values) -> impl Iterator<Item = Spot> + use<> {
    let mut found: Vec<Spot> = tokens::find(line)
        .into_iter()
        .map(|what| Spot::new(Rule::Token, format!("what looks like {what} stands here in clear")))
        .collect();
    if found.is_empty() {
        let named = ASSIGNMENT.captures_iter(line).find_map(|assignment| {
            let plain = assignment.get(4).filter(|_| values == Values::Any);
            let value = assignment.get(2).or(assignment.get(3)).or(plain)?.as_str();
            (names_a_secret(&assignment[1]) && is_random(value)).then(|| assignment[1].to_owned())
        });
        let message = |name| format!("`{name}` has what looks like a secret in clear");
        found.extend(named.map(|name| Spot::new(Rule::LikelySecret, message(name))));
    }
    if found.is_empty() && ADDRESS.captures_iter(line).any(|address| is_password(&address[1])) {
        found.push(Spot::new(Rule::LikelySecret, "an address with a password in clear"));
    }
    found.into_iter()
}

/// Whether a name is one that secrets have.
pub(super) fn names_a_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace(['-', '.'], "_");
    let words: Vec<&str> = name.split('_').collect();
    let last = words.last().copied().unwrap_or_default();
    let secret =
        ["password", "passwd", "pass", "passphrase", "pwd", "secret", "token", "apikey", "credentials"];
    let ends = secret.contains(&last)
        || ["password", "secret", "token", "apikey"].iter().any(|end| last.ends_with(end));
    let key = last == "key"
        && !words.iter().any(|word| ["public", "pub", "host", "primary", "foreign"].contains(word));
    let joined = last.len() > 3
        && last.ends_with("key")
        && ["private", "secret", "encryption", "access"].iter().any(|start| last.starts_with(start));
    ends || (key && words.len() > 1) || joined
}

/// Whether a value was made by chance: letters and digits mixed, and as varied as its length allows.
fn is_random(value: &str) -> bool {
    is_password(value) && value.len() >= 8 && has_digit_and_letter(value) && entropy(value) >= 2.9
}

/// Whether a value is one at all: no placeholder, no reference to another place, no hash, nothing encrypted.
fn is_password(value: &str) -> bool {
    const PLACEHOLDERS: [&str; 22] = [
        "change",
        "example",
        "placeholder",
        "your",
        "dummy",
        "xxx",
        "todo",
        "redacted",
        "sample",
        "replace",
        "insert",
        "default",
        "secret",
        "password",
        "passwd",
        "token",
        "test",
        "none",
        "null",
        "***",
        "...",
        "1234567",
    ];
    const REFERENCES: [&str; 17] = [
        "$", "<", "{", "%", "/", "./", "~", "@", "!", "*", "&", "http://", "https://", "file:", "env:",
        "vault:", "op://",
    ];
    const PUBLIC: [&str; 9] = ["ENC[", "sha256:", "sha512:", "sha1:", "md5:", "age1", "ssh-", "ecdsa-", "{{"];
    let lower = value.to_ascii_lowercase();
    let starts = |list: &[&str]| list.iter().any(|start| value.starts_with(start));
    let odd = value.contains(['(', ')', '[', ']', '$', ' ']) || value.contains("::");
    value.len() >= 3
        && !odd
        && !starts(&REFERENCES)
        && !starts(&PUBLIC)
        && !PLACEHOLDERS.iter().any(|word| lower.contains(word))
        && !matches!(&*lower, "pass" | "pw" | "pwd" | "user" | "true" | "false" | "root" | "admin")
}

fn has_digit_and_letter(value: &str) -> bool {
    value.bytes().any(|byte| byte.is_ascii_digit()) && value.bytes().any(|byte| byte.is_ascii_alphabetic())
}

/// Shannon's entropy, in bits for each byte.
fn entropy(value: &str) -> f64 {
    let mut counts = HashMap::<u8, f64>::new();
    value.bytes().for_each(|byte| *counts.entry(byte).or_default() += 1.0);
    let length = value.len() as f64;
    counts.values().map(|count| -(count / length) * (count / length).log2()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_values_beside_telling_names_are_found() {
        for line in [
            "DB_PASSWORD=k3Jd9sQx2",
            "  - POSTGRES_PASSWORD=aX9kQ2mZ7",
            "export API_KEY='9f8b3c1d7e6a5f40'",
            "\"clientSecret\": \"a8Kd0-pQz3_Lm\",",
            "admin_token: 7d9f3k2m1q8x",
            "{ secretKey: zx81Kq04pT, other: 1 }",
            "url: postgres://app:hunter2@db/app",
            "PrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=",
        ] {
            let found = scan("compose.yml", line);
            assert!(found.len() == 1 && found[0].rule == Rule::LikelySecret, "{line}: {found:?}");
            let value = line.rsplit(['=', ' ', ':']).next().unwrap().trim_matches(['\'', '"', ',']);
            assert!(value.len() < 5 || !found[0].message.contains(value), "{line}: {found:?}");
        }
    }

    #[test]
    fn placeholders_references_hashes_and_public_things_are_left_alone() {
        for line in [
            "DB_PASSWORD=changeme123",
            "DB_PASSWORD=${DB_PASSWORD:-abc123def456}",
            "DB_PASSWORD=$DB_PASSWORD",
            "DB_PASSWORD=<your-password-1>",
            "DB_PASSWORD=",
            "POSTGRES_PASSWORD_FILE=/run/secrets/db1password",
            "password_file: /run/secrets/db9x8c7v6",
            "token_ttl: 3600abc123",
            "API_KEY: ENC[AES256_GCM,data:x1y2z3,iv:q]",
            "secret: \"{{ vault_secret_9x8y7z }}\"",
            "image_key: sha256:9b1a8e3ec7a5aa2f8d3c4be1f2e3d4c5",
            "public_key: 9b1a8e3ec7a5aa2f8d3c",
            "api_key: age1xk7yh7phvy5fcapfuzwvhrr8hehh35p0zyrk4hur70yge458ayxq6dm0nj",
            "token = get_token(user1)",
            "password: str = field1",
            "keyboard: qwerty123456",
            "monkey=abc123def456x",
            "TOKEN=k3Jd9sQx2 # hlx:allow",
            "see https://user:password@example.com/",
            "postgres://app:${DB_PASSWORD}@db/app",
            "secret_name: my-app-v1",
            "password_hash: 5f4dcc3b5aa765d61d83",
        ] {
            assert_eq!(scan("compose.yml", line), [], "{line}");
        }
        assert_eq!(scan("net.rs", "pub const INET6_TOKEN: T = T9.INET6_OTHER;"), []);
        assert_eq!(scan("net.rs", "let token = \"k3Jd9sQx2\";").len(), 1);
        let line = "DB_PASSWORD=k3Jd9sQx2";
        for path in [".env.example", "sample.env", "config.dist.yml", "package-lock.json", "Cargo.lock"] {
            assert_eq!(scan(path, line), [], "{path}");
        }
        assert_eq!(scan("a.env", &format!("a\nb\n{line}\n"))[0].line, Some(3));
    }
}
