//! What a command ends with: an exit code, the fact, and advice.
//!
//! Every error type of the library is turned into a [`Failure`] here or beside the command
//! that meets it, in a match without a catch-all, so that a new error does not compile
//! until someone has decided its exit code and its hint.

use std::fmt::Display;

/// The documented exit codes, the same in every command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It failed, for a reason that none of the others names.
    Failed = 1,
    /// Wrong words on the command line.
    Usage = 2,
    /// No key at hand opens it.
    NoKey = 3,
    /// Not authentic, or not a sealed file.
    NotAuthentic = 4,
    /// The policy says no: plaintext where it must not be, recipients not accepted.
    Policy = 5,
    /// The deploy failed, and the old version runs again.
    RolledBack = 6,
    /// The deploy failed, and the old version was not restored.
    NotRestored = 7,
    /// Another hlx holds the lock.
    Busy = 8,
    /// Docker, Compose, git or the kernel is missing or too old.
    Missing = 9,
    /// `plan` has found changes.
    Changes = 10,
}

impl Exit {
    /// Every exit code with what it means, for the manual.
    pub fn meanings() -> impl Iterator<Item = (u8, &'static str)> {
        let all = [
            Self::Failed,
            Self::Usage,
            Self::NoKey,
            Self::NotAuthentic,
            Self::Policy,
            Self::RolledBack,
            Self::NotRestored,
            Self::Busy,
            Self::Missing,
            Self::Changes,
        ];
        std::iter::once((0, "done")).chain(all.into_iter().map(|exit| (exit as u8, exit.meaning())))
    }

    fn meaning(self) -> &'static str {
        match self {
            Self::Failed => "failed; a deploy that failed before any container was touched",
            Self::Usage => {
                "wrong words on the command line, or they or the configuration name a file, branch or repository that is not there"
            }
            Self::NoKey => "no key of yours opens it",
            Self::NotAuthentic => {
                "not authentic, or not an encrypted file where one is needed (or the reverse)"
            }
            Self::Policy => {
                "the policy says no: plaintext, a rule that encrypts nothing, another repository, engine or Docker, a rewritten history, `deny`, `verify`"
            }
            Self::RolledBack => "the deploy failed, and the old version runs again",
            Self::NotRestored => {
                "the deploy failed, and the old version was not restored; what runs now is said"
            }
            Self::Busy => "busy: another hlx deploys this stack",
            Self::Changes => "`hlx plan` found changes",
            Self::Missing => {
                "Docker, Compose (2.20), git (2.39), the kernel or another program is missing or too old, or there is no Swarm to manage"
            }
        }
    }
}

/// An error on its way to the user.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    message: String,
    hints: Vec<String>,
}

impl Failure {
    /// A failure with its fact, in one or more lines.
    pub fn new(exit: Exit, message: impl Display) -> Self {
        Self { exit, message: message.to_string(), hints: Vec::new() }
    }

    /// Adds one piece of advice.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// The same, said of one thing among several.
    #[must_use]
    pub fn under(&self, name: impl Display) -> Self {
        let message = format!("{name}: {}", self.message);
        Self { exit: self.exit, message, hints: self.hints.clone() }
    }

    /// The exit code.
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// The fact.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The advice.
    pub fn hints(&self) -> &[String] {
        &self.hints
    }
}
