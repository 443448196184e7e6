//! One file, by itself: what is wrong in its bytes, and what it says that others must agree with.

use std::collections::BTreeSet;
use std::rc::Rc;

use crate::crypto::envelope::Recipient;
use crate::crypto::mac::Coverage;
use crate::format::Format;
use crate::git;
use crate::keys::Standing;
use crate::policy::{self, creation::Config};
use crate::sops::{KeyGroups, Sealed};
use crate::trust::{Readers, of_groups};

use super::baked;
use super::compose::{self, Compose, Origin};
use super::stacks::StackSettings;
use super::{Checker, Depth, Rule, guard, secrets};

/// Reads the `x-hlx` of a compose file: what of it must agree with something else, or what is wrong.
pub type ReadSettings = fn(&serde_json::Value) -> Result<StackSettings, String>;

/// Something wrong within a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) rule: Rule,
    pub(super) line: Option<usize>,
    pub(super) message: String,
}

impl Spot {
    pub(super) fn new(rule: Rule, message: impl Into<String>) -> Self {
        Self { rule, line: None, message: message.into() }
    }
}

/// What is known of a file, whichever branches have it.
#[derive(Debug, Default)]
pub(super) struct Examined {
    pub(super) spots: Vec<Spot>,
    /// It has the metadata of a sealed file.
    pub(super) sealed: bool,
    /// It holds nothing, or nothing in clear that should be sealed.
    pub(super) clear: bool,
    /// Those who can read it.
    pub(super) readers: BTreeSet<String>,
    /// Those who can read it, with the groups that must come together.
    pub(super) audience: Readers,
    /// It is sealed for post-quantum keys, and for others who can read it alone.
    pub(super) wastes_post_quantum: bool,
    /// The rule that it is sealed by; none for a whole file.
    pub(super) rule: Option<(policy::Rule, Coverage)>,
    /// Which data key it has, where that is known.
    pub(super) key: Option<[u8; 32]>,
    /// The variables that it keeps encrypted, if compose fills variables in from it.
    pub(super) variables: BTreeSet<String>,
    /// What it says as a compose file.
    pub(super) compose: Option<Compose>,
    /// The rules, if it is a `.sops.yaml` in good order.
    pub(super) config: Option<Config>,
}

/// The file of rules, which counts at the top of a branch.
pub(super) const CONFIG: &str = ".sops.yaml";

impl Checker<'_> {
    /// Examines a file, or remembers it.
    pub(super) fn examine(
        &self,
        path: &[u8],
        blob: &str,
        protected: bool,
    ) -> Result<Rc<Examined>, git::Error> {
        let key = (blob.to_owned(), path.to_vec(), protected);
        if let Some(known) = self.examined.borrow().get(&key) {
            return Ok(Rc::clone(known));
        }
        let examined = Rc::new(match self.content(blob)? {
            Some(content) => self.look(&String::from_utf8_lossy(path), &content, protected),
            None => Examined {
                spots: vec![Spot::new(Rule::NotHere, "not in this partial clone: it was not looked at")],
                ..Examined::default()
            },
        });
        self.examined.borrow_mut().insert(key, Rc::clone(&examined));
        Ok(examined)
    }

    fn look(&self, path: &str, content: &[u8], protected: bool) -> Examined {
        let mut examined = Examined::default();
        if path == CONFIG {
            match Config::parse(&String::from_utf8_lossy(content)) {
                Ok(config) => examined.config = Some(config),
                Err(error) => examined.spots.push(broken_config(&error.to_string())),
            }
        }
        let judged = self.keyring.judge(content);
        examined.sealed = judged.groups.is_some() || matches!(judged.standing, Standing::Broken(_));
        examined.clear = judged.standing == Standing::Clear;
        examined.key = judged.key;
        examined.rule = judged.rule;
        examined.wastes_post_quantum = judged.groups.as_ref().is_some_and(KeyGroups::wastes_post_quantum);
        examined.audience = judged.groups.as_ref().map(of_groups).unwrap_or_default();
        examined.readers = judged.groups.iter().flat_map(|groups| groups.recipients()).map(normal).collect();
        examined.spots.extend(of_standing(&judged.standing, protected));
        match (self.depth, std::str::from_utf8(content)) {
            (Depth::Full(settings), _) => {
                self.look_deeper(path, content, &mut examined, settings);
                let open = examined.clear && !protected;
                examined.spots.extend(guard::dotenv(path, content).filter(|_| open));
            }
            (Depth::Guard, Ok(text)) if examined.clear => {
                examined.spots.extend(secrets::tokens(path, text));
            }
            (Depth::Guard, _) => {}
        }
        if judged.clear_comments > 0 {
            let message =
                format!("{} of its comments are clear, among encrypted ones", judged.clear_comments);
            examined.spots.push(Spot::new(Rule::PlaintextComment, message));
        }
        examined
    }

    /// What is asked of files beside their encryption.
    fn look_deeper(&self, path: &str, content: &[u8], examined: &mut Examined, settings: ReadSettings) {
        if compose::is_compose(path) {
            let opened = || self.keyring.open(content).ok();
            let read = match Sealed::parse(content).map(|sealed| sealed.format()) {
                // Nothing can be seen of it otherwise.
                Ok(Format::Binary) => opened().and_then(|opened| {
                    let text = std::str::from_utf8(opened.plaintext().expose()).ok()?;
                    Some(compose::read(path, text, Origin::Opened, settings))
                }),
                Ok(_) | Err(_) => {
                    Some(compose::read(path, &String::from_utf8_lossy(content), Origin::Stored, settings))
                }
            };
            if let Some((spots, compose)) = read {
                examined.spots.extend(spots);
                examined.compose = Some(compose);
            }
        }
        if path == baked::ENV {
            examined.variables = baked::encrypted(&String::from_utf8_lossy(content));
        }
        if let (true, Ok(text)) = (examined.clear, std::str::from_utf8(content)) {
            add_new(&mut examined.spots, secrets::scan(path, text));
        }
    }
}

/// Adds what is not said of its line already.
fn add_new(spots: &mut Vec<Spot>, found: Vec<Spot>) {
    for spot in found {
        if !spots.iter().any(|known| (known.rule, known.line) == (spot.rule, spot.line)) {
            spots.push(spot);
        }
    }
}

/// What a file in clear shows by itself, without a repository around it: the rules that it breaks, and where.
pub fn in_clear(path: &str, text: &str, settings: ReadSettings) -> Vec<(Rule, Option<usize>, String)> {
    let read = compose::is_compose(path).then(|| compose::read(path, text, Origin::Stored, settings).0);
    let mut spots = read.unwrap_or_default();
    add_new(&mut spots, secrets::scan(path, text));
    spots.into_iter().map(|spot| (spot.rule, spot.line, spot.message)).collect()
}

/// A recipient as it is compared: without the comment of an ssh key.
pub(super) fn normal(recipient: &str) -> String {
    recipient.parse::<Recipient>().map_or_else(|_| recipient.to_owned(), |parsed| parsed.to_string())
}

/// A recipient, shortened to be read.
pub(super) fn short(key: &str) -> String {
    key.parse::<Recipient>().map_or_else(|_| key.to_owned(), |key| key.short())
}

fn of_standing(standing: &Standing, protected: bool) -> Option<Spot> {
    match standing {
        Standing::Empty | Standing::Authentic | Standing::Unread => None,
        Standing::Clear => {
            protected.then(|| Spot::new(Rule::Plaintext, "plaintext in git, on a protected path"))
        }
        Standing::Exposed(error) => {
            Some(Spot::new(Rule::PlaintextValue, format!("plaintext in git: {error}")))
        }
        Standing::Broken(reason) => Some(Spot::new(Rule::Broken, reason)),
        Standing::Altered(reason) => Some(Spot::new(Rule::Altered, reason)),
        Standing::Stale => {
            let message = "all its values are authentic, but its MAC does not fit them";
            Some(Spot::new(Rule::StaleMac, message))
        }
    }
}

/// The place stands before the message: `line 3: …`.
fn broken_config(message: &str) -> Spot {
    let placed = message.strip_prefix("line ").and_then(|rest| rest.split_once(": "));
    let placed = placed.and_then(|(line, rest)| Some((line.parse().ok()?, rest)));
    let (line, message) = placed.map_or((None, message), |(line, rest)| (Some(line), rest));
    Spot { rule: Rule::ConfigBroken, line, message: message.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_config_says_where() {
        let error = Config::parse("creation_rules:\n  - age: [\n").unwrap_err();
        let spot = broken_config(&error.to_string());
        assert!(spot.line.is_some() && !spot.message.starts_with("line"), "{spot:?}");
        let error = Config::parse("creation_rules:\n  - age: nobody\n").unwrap_err();
        assert_eq!(broken_config(&error.to_string()).line, None);
    }
}
