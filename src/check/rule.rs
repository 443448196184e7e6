//! The rules: what can be wrong, under names that stay.

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// Probably not meant.
    Warning,
    /// Must not be so.
    Error,
}

impl Severity {
    /// Its name in output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// What can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)] // `Rule::about` tells
pub enum Rule {
    Plaintext,
    PlaintextValue,
    PlaintextComment,
    PlaintextHistory,
    ClearBefore,
    Unprotected,
    SealedValue,
    Dotenv,
    SecretFile,
    Abandoned,
    Broken,
    Altered,
    StaleMac,
    ReaderUnknown,
    ReaderLost,
    ReadersDiffer,
    PostQuantumWasted,
    ConfigBroken,
    ConfigGap,
    ConfigIdle,
    Conversion,
    MustBeClear,
    Unsigned,
    NotAccepted,
    NotHere,
    ComposeInvalid,
    ComposeKey,
    ComposeValue,
    ComposeName,
    ComposeFile,
    Settings,
    After,
    PortConflict,
    EnvironmentFile,
    Environment,
    Baked,
    Token,
    LikelySecret,
}

impl Rule {
    /// All rules, in order.
    pub fn all() -> impl Iterator<Item = Self> {
        FACTS.iter().map(|(rule, ..)| *rule)
    }

    /// The name that scripts may rely on.
    pub fn id(self) -> &'static str {
        FACTS[self as usize].1
    }

    /// How bad it is.
    pub fn severity(self) -> Severity {
        FACTS[self as usize].2
    }

    /// Whether it is that Compose would not take a file.
    pub fn is_of_compose(self) -> bool {
        let all = [
            Self::ComposeInvalid,
            Self::ComposeKey,
            Self::ComposeValue,
            Self::ComposeName,
            Self::ComposeFile,
        ];
        all.contains(&self)
    }

    /// What it finds, in a sentence.
    pub fn about(self) -> &'static str {
        FACTS[self as usize].3
    }
}

/// Every rule in order: its name, how bad it is, and what it finds.
const FACTS: &[(Rule, &str, Severity, &str)] = &[
    (Rule::Plaintext, "plaintext", Severity::Error, "A protected file is in git in clear."),
    (
        Rule::PlaintextValue,
        "plaintext-value",
        Severity::Error,
        "A value of an encrypted file is clear that its rule protects.",
    ),
    (
        Rule::PlaintextComment,
        "plaintext-comment",
        Severity::Warning,
        "A comment of an encrypted file is clear among encrypted ones.",
    ),
    (
        Rule::PlaintextHistory,
        "plaintext-history",
        Severity::Error,
        "The history holds a protected file in clear.",
    ),
    (
        Rule::ClearBefore,
        "clear-before",
        Severity::Warning,
        "The history holds a file in clear from before it was protected, and nothing in it looks like a secret.",
    ),
    (
        Rule::Unprotected,
        "unprotected",
        Severity::Error,
        "A file that was encrypted is clear now, as no attribute protects it any more.",
    ),
    (
        Rule::SealedValue,
        "sealed-value",
        Severity::Error,
        "A value that an encrypted file keeps stands in clear in another file.",
    ),
    (Rule::Dotenv, "dotenv", Severity::Warning, "A dotenv file is in git in clear, and nothing protects it."),
    (
        Rule::SecretFile,
        "secret-file",
        Severity::Error,
        "A file that a compose file gives to containers as a secret is in git in clear, and nothing protects it.",
    ),
    (
        Rule::Abandoned,
        "abandoned",
        Severity::Warning,
        "An encrypted file that no attribute protects: its next version is clear.",
    ),
    (Rule::Broken, "broken", Severity::Error, "An encrypted file cannot be read as one."),
    (Rule::Altered, "altered", Severity::Error, "A value of an encrypted file is not authentic."),
    (
        Rule::StaleMac,
        "stale-mac",
        Severity::Error,
        "Every value is authentic, but the checksum over all of them does not fit.",
    ),
    (
        Rule::ReaderUnknown,
        "reader-unknown",
        Severity::Error,
        "A file is encrypted for a key that `.sops.yaml` does not name.",
    ),
    (
        Rule::ReaderLost,
        "reader-lost",
        Severity::Warning,
        "A file is not encrypted for a key that `.sops.yaml` names.",
    ),
    (
        Rule::ReadersDiffer,
        "readers-differ",
        Severity::Warning,
        "Files with the same data key are encrypted for different keys.",
    ),
    (
        Rule::PostQuantumWasted,
        "post-quantum-wasted",
        Severity::Note,
        "Files are encrypted for post-quantum keys, and for others who can read them alone.",
    ),
    (Rule::ConfigBroken, "config-broken", Severity::Error, "The `.sops.yaml` of a branch cannot be used."),
    (
        Rule::ConfigGap,
        "config-gap",
        Severity::Warning,
        "No rule of `.sops.yaml` is for a file that is to be encrypted.",
    ),
    (Rule::ConfigIdle, "config-idle", Severity::Note, "A rule of `.sops.yaml` is for no file of its branch."),
    (
        Rule::Conversion,
        "conversion",
        Severity::Error,
        "An attribute lets git change the bytes of an encrypted file.",
    ),
    (
        Rule::MustBeClear,
        "must-be-clear",
        Severity::Error,
        "An attribute would encrypt a file that git or hlx must read.",
    ),
    (
        Rule::Unsigned,
        "unsigned",
        Severity::Error,
        "A commit changes who can read or what is protected, and no allowed signer signed it.",
    ),
    (
        Rule::NotAccepted,
        "not-accepted",
        Severity::Error,
        "A commit changed who can read, by which rules or what is protected, and nobody accepted that in this clone.",
    ),
    (
        Rule::NotHere,
        "not-here",
        Severity::Warning,
        "A partial clone does not have a file and could not fetch it, so that it was not looked at.",
    ),
    (Rule::ComposeInvalid, "compose-invalid", Severity::Error, "A compose file is not valid."),
    (
        Rule::ComposeKey,
        "compose-key",
        Severity::Error,
        "A compose file has a key that Compose does not know, and refuses.",
    ),
    (
        Rule::ComposeValue,
        "compose-value",
        Severity::Error,
        "A compose file has a value that Compose does not take at that place.",
    ),
    (
        Rule::ComposeName,
        "compose-name",
        Severity::Error,
        "A service names another, or a network, volume, secret, config or model, that its stack does not have.",
    ),
    (
        Rule::ComposeFile,
        "compose-file",
        Severity::Error,
        "A compose file needs a file that is not in its branch.",
    ),
    (Rule::Settings, "settings", Severity::Error, "The `x-hlx` of a compose file cannot be obeyed."),
    (
        Rule::After,
        "after",
        Severity::Warning,
        "The `x-hlx.after` of a compose file names no branch, or leads back to its own stack.",
    ),
    (Rule::PortConflict, "port-conflict", Severity::Warning, "Two services claim the same port of a host."),
    (
        Rule::EnvironmentFile,
        "environment-file",
        Severity::Warning,
        "A secret is in a container's environment, though the image can read it from a file.",
    ),
    (
        Rule::Environment,
        "environment",
        Severity::Note,
        "Secrets are in a container's environment, or copied into it, and Docker keeps both on its disk.",
    ),
    (
        Rule::Baked,
        "baked",
        Severity::Warning,
        "The build of an image would put a secret into it, where Docker keeps it on its disk.",
    ),
    (
        Rule::Token,
        "token",
        Severity::Error,
        "A file that is not encrypted holds a token of a well-known kind.",
    ),
    (
        Rule::LikelySecret,
        "likely-secret",
        Severity::Warning,
        "A file that is not encrypted holds what looks like a secret.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_is_listed_in_its_place_under_a_name_of_its_own() {
        let names: std::collections::BTreeSet<_> = Rule::all().map(Rule::id).collect();
        assert_eq!(names.len(), FACTS.len());
        assert_eq!(Rule::LikelySecret as usize + 1, FACTS.len());
        for (number, rule) in Rule::all().enumerate() {
            assert_eq!(rule as usize, number, "{rule:?}");
            assert!(rule.id().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{rule:?}");
            assert!(rule.about().ends_with('.'), "{rule:?}");
        }
    }
}
