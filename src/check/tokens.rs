//! Secrets that show what they are: the shapes that well-known services give their tokens.

use std::sync::LazyLock;

use regex::{Regex, RegexSet};

/// A shape: what it is, its beginning that may be shown, and its expression.
type Shape = (&'static str, &'static str, &'static str);

const SHAPES: &[Shape] = &[
    ("a private key", "-----BEGIN", r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----"),
    ("an age identity", "AGE-SECRET-KEY-1", r"\bAGE-SECRET-KEY-1[QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L]{58}\b"),
    (
        "an age identity",
        "AGE-SECRET-KEY-PQ-1",
        r"\bAGE-SECRET-KEY-PQ-1[QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L]{58,}\b",
    ),
    ("a GitHub token", "gh…_", r"\bgh[pousr]_[A-Za-z0-9]{36,251}\b"),
    ("a GitHub token", "github_pat_", r"\bgithub_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}\b"),
    ("a GitLab token", "gl…-", r"\bgl(?:pat|dt|rt|cbt|ptt|ft|soat|agent)-[A-Za-z0-9_-]{20,}"),
    ("an AWS access key", "AKIA", r"\b(?:AKIA|ASIA)[A-Z2-7]{16}\b"),
    ("a Slack token", "xox", r"\bxox[abeoprs]-[0-9]{6,}-[A-Za-z0-9-]{10,}"),
    (
        "a Slack webhook",
        "https://hooks.slack.com/",
        r"https://hooks\.slack\.com/services/T[A-Z0-9]{6,}/B[A-Z0-9]{6,}/[A-Za-z0-9]{20,}",
    ),
    (
        "a Discord webhook",
        "https://discord.com/",
        r"https://(?:ptb\.|canary\.)?discord(?:app)?\.com/api/webhooks/[0-9]{15,20}/[A-Za-z0-9_-]{60,}",
    ),
    ("a Telegram bot token", "", r"\b[0-9]{8,10}:AA[A-Za-z0-9_-]{33}\b"),
    ("a Stripe key", "sk_live_", r"\b[sr]k_live_[A-Za-z0-9]{20,}\b"),
    ("a Google API key", "AIza", r"\bAIza[A-Za-z0-9_-]{35}\b"),
    ("an Anthropic key", "sk-ant-", r"\bsk-ant-[a-z]+[0-9]{2}-[A-Za-z0-9_-]{80,}"),
    ("an OpenAI key", "sk-", r"\bsk-(?:[a-z]+-)?[A-Za-z0-9_-]{20,}T3BlbkFJ[A-Za-z0-9_-]{20,}"),
    ("a SendGrid key", "SG.", r"\bSG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}\b"),
    ("an npm token", "npm_", r"\bnpm_[A-Za-z0-9]{36}\b"),
    ("a PyPI token", "pypi-", r"\bpypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{50,}"),
    ("a Docker Hub token", "dckr_pat_", r"\bdckr_pat_[A-Za-z0-9_-]{27,}"),
    ("a DigitalOcean token", "dop_v1_", r"\bdo[opr]_v1_[a-f0-9]{64}\b"),
    ("a Tailscale key", "tskey-", r"\btskey-(?:auth|api|client|scim|webhook)-[A-Za-z0-9]+-[A-Za-z0-9]{20,}"),
    ("a Vault token", "hvs.", r"\bhv[sb]\.[A-Za-z0-9_-]{24,}"),
    ("a JSON web token", "eyJ", r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{20,}"),
];

/// All of them at once: nearly every line has none.
static ANY: LazyLock<RegexSet> = LazyLock::new(|| {
    RegexSet::new(SHAPES.iter().map(|(.., expression)| ascii(expression)))
        .expect("the expressions are tested")
});
static EACH: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    SHAPES.iter().map(|(.., expression)| Regex::new(&ascii(expression)).expect("they are tested")).collect()
});

/// The tables of Unicode would take a hundred times the memory.
fn ascii(expression: &str) -> String {
    format!("(?-u){expression}")
}

/// Whether there is any shape in a text.
pub(super) fn any(text: &str) -> bool {
    ANY.is_match(text)
}

/// The shapes in a line, as a person may see them: never more than their well-known beginning.
pub(super) fn find(line: &str) -> Vec<String> {
    let there = ANY.matches(line).into_iter().filter(|number| {
        let found = EACH[*number].find_iter(line);
        found.map(|found| found.as_str()).any(|found| !is_example(found))
    });
    let shown = |number: usize| match SHAPES[number] {
        (what, "", _) => what.to_owned(),
        (what, head, _) => format!("{what} (`{head}…`)"),
    };
    there.map(shown).collect()
}

/// Documentation shows tokens too, and says so in them; nor does a token of one letter open anything.
fn is_example(token: &str) -> bool {
    let upper = token.to_ascii_uppercase();
    let mut counts = [0usize; 256];
    token.bytes().for_each(|byte| counts[usize::from(byte)] += 1);
    let most = counts.into_iter().max().unwrap_or_default();
    upper.contains("EXAMPLE") || upper.contains("XXXX") || most * 2 > token.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made here, so that no scanner takes this file for a leak.
    fn made(head: &str, length: usize) -> String {
        let letters = b"aB3dE6gH9jK2mN5pQ8sT1vW4xY7z";
        head.to_owned()
            + &(0..length).map(|n| char::from(letters[n * 11 % letters.len()])).collect::<String>()
    }

    #[test]
    fn every_shape_is_known_and_only_its_head_is_shown() {
        let jwt = format!("{}.{}.{}", made("eyJ", 20), made("eyJ", 30), made("", 43));
        for (line, what) in [
            (format!("-----BEGIN OPENSSH {} KEY-----", "PRIVATE"), "a private key (`-----BEGIN…`)"),
            (format!("-----BEGIN {} KEY-----", "PRIVATE"), "a private key (`-----BEGIN…`)"),
            (
                format!("AGE-SECRET-KEY-1{}", "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7LQPZRY9X8GF2TVDW0S3JN54KHCE"),
                "an age identity (`AGE-SECRET-KEY-1…`)",
            ),
            (format!("token: {}", made("ghp_", 36)), "a GitHub token (`gh…_…`)"),
            (format!("{}_{}", made("github_pat_", 22), made("", 59)), "a GitHub token (`github_pat_…`)"),
            (made("glpat-", 20), "a GitLab token (`gl…-…`)"),
            (format!("id={}", "AKIA".to_owned() + "J5QRZ7WTVXKD2MNB"), "an AWS access key (`AKIA…`)"),
            (made("sk_live_", 24), "a Stripe key (`sk_live_…`)"),
            (made("xoxb-123456789-", 24), "a Slack token (`xox…`)"),
            (made("bot 123456789:AA", 33), "a Telegram bot token"),
            (made("tskey-auth-kAbc-", 24), "a Tailscale key (`tskey-…`)"),
            (jwt, "a JSON web token (`eyJ…`)"),
        ] {
            assert!(any(&line), "{line}");
            assert_eq!(find(&line), [what], "{line}");
        }
    }

    #[test]
    fn what_only_looks_like_one_is_none() {
        for line in [
            "AKIAIOSFODNN7EXAMPLE",
            "ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
            "-----BEGIN PUBLIC KEY-----",
            "-----BEGIN CERTIFICATE-----",
            "age1xk7yh7phvy5fcapfuzwvhrr8hehh35p0zyrk4hur70yge458ayxq6dm0nj",
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsKLqeplhpW+uObz5dvMgjz1OxfM/XXUB+VHtZ6isGN",
            "image: nginx@sha256:9b1a8e3ec7a5aa2f8d3c4be1f2e3d4c5b6a79880716253443526170809aabbcc",
            "sk_test_1234567890abcdefghij1234",
            "glpat-short",
            "task-auth-xyz",
        ] {
            assert_eq!(find(line), [""; 0], "{line}");
        }
    }
}
