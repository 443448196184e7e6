//! The files of one branch together: what its attributes protect, and what its `.sops.yaml` says of them.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use crate::crypto::hybrid;
use crate::git::Attributes;
use crate::git::branch::Entry;
use crate::policy::creation::Config;

use super::examine::{CONFIG, Examined, Spot, normal, short};
use super::former::Past;
use super::granted::{self, Said};
use super::place::{Kind, Place};
use super::{Checker, Error, Finding, Protected, Rule, project};

/// A tree, its files examined.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) place: Place,
    pub(super) files: Vec<File>,
}

/// A file of a tree.
#[derive(Debug)]
pub(super) struct File {
    pub(super) path: String,
    pub(super) blob: String,
    pub(super) attributes: Attributes,
    pub(super) examined: Rc<Examined>,
    /// It was sealed once, and is clear.
    exposed: Option<Spot>,
    /// A compose file gives it to containers as a secret, and it is clear.
    granted: Option<Spot>,
    /// What it names as a compose file, and is not there.
    missing: Vec<Spot>,
}

/// Reads the tree of a place.
pub(super) fn read(checker: &Checker<'_>, place: &Place) -> Result<Tree, Error> {
    let files = match (&place.commit, place.kind) {
        (Some(commit), Kind::Tip) => checker.files(commit)?,
        (None, Kind::Tip) => Vec::new(),
        (_, Kind::Index) => of_index(checker)?,
    };
    let mut examined = Vec::new();
    for (entry, attributes) in files {
        let file = checker.examine(&entry.path, &entry.blob, attributes.filtered)?;
        examined.push((entry, attributes, file));
    }
    let file = |(entry, attributes, examined): (Entry, Attributes, Rc<Examined>)| File {
        exposed: None,
        granted: None,
        missing: Vec::new(),
        path: String::from_utf8_lossy(&entry.path).into_owned(),
        blob: entry.blob,
        attributes,
        examined,
    };
    let mut tree = Tree { place: place.clone(), files: examined.into_iter().map(file).collect() };
    tree.look_at_secrets(checker)?;
    tree.look_for_missing(checker)?;
    Ok(tree)
}

/// The index, as the next commit will have it. What the work tree or this clone protect counts as well as what is
/// staged of it.
pub(super) fn of_index(checker: &Checker<'_>) -> Result<Vec<Protected>, Error> {
    let entry = |(path, blob)| Entry { mode: "100644".to_owned(), blob, path };
    let files: Vec<Entry> = checker.repository.index_entries()?.into_iter().map(entry).collect();
    let paths: Vec<&[u8]> = files.iter().map(|file| file.path.as_slice()).collect();
    let here = checker.repository.all_attributes(&paths)?;
    let staged = checker.protection(&files)?;
    let pick = |(file, here): (Entry, Attributes)| {
        let attributes = if here.filtered { here } else { staged.of(&file.path) };
        (file, attributes)
    };
    Ok(files.into_iter().zip(here).map(pick).collect())
}

impl Tree {
    /// Finds the secrets of its compose files that are clear.
    fn look_at_secrets(&mut self, checker: &Checker<'_>) -> Result<(), Error> {
        let composes = self.files.iter().filter_map(|file| file.examined.compose.as_ref());
        let said: Vec<Said> =
            composes.map(|compose| compose.granted.clone()).filter(|said| !said.is_empty()).collect();
        if said.is_empty() {
            return Ok(());
        }
        let read = |path: &str| {
            let content = checker.content(&self.file(path)?.blob).ok()??;
            String::from_utf8(content).ok()
        };
        let granted = granted::all(&said, &read);
        let clear = |file: &&mut File| !file.attributes.filtered && file.examined.clear;
        for file in self.files.iter_mut().filter(clear) {
            if granted.iter().any(|granted| granted.path == file.path) {
                let content = checker.content(&file.blob)?.unwrap_or_default();
                file.granted = granted::in_clear(&granted, &file.path, &content);
            }
        }
        Ok(())
    }

    /// Finds what its compose files name, and is not there.
    fn look_for_missing(&mut self, checker: &Checker<'_>) -> Result<(), Error> {
        for (path, spot) in project::find(checker, self)? {
            let file = self.files.iter_mut().find(|file| file.path == path);
            file.into_iter().for_each(|file| file.missing.push(spot.clone()));
        }
        Ok(())
    }

    /// Finds what of it was sealed once, and is clear.
    pub(super) fn look_back(&mut self, checker: &Checker<'_>, past: &Past) -> Result<(), Error> {
        let suspects: HashMap<&[u8], &str> = self
            .files
            .iter()
            .filter(|file| !file.attributes.filtered && !file.attributes.clear && file.examined.clear)
            .map(|file| (file.path.as_bytes(), file.blob.as_str()))
            .collect();
        let mut found = past.exposed(checker, &self.place, &suspects)?;
        for file in &mut self.files {
            file.exposed = found.remove(file.path.as_bytes());
        }
        Ok(())
    }

    /// What is wrong in this tree alone, in the order of its files.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let config = self.config();
        let of_file = |file: &File| {
            let mut spots = file.spots();
            spots.retain(|spot| spot.rule != Rule::Abandoned || self.is_protected());
            spots.extend(config.into_iter().flat_map(|config| of_readers(file, config)));
            spots.into_iter().map(|spot| self.finding(Some(&file.path), spot)).collect::<Vec<_>>()
        };
        let mut findings: Vec<Finding> = self.files.iter().flat_map(of_file).collect();
        findings.extend(self.unprotected().map(|spot| self.finding(None, spot)));
        findings.extend(self.wasted().map(|spot| self.finding(None, spot)));
        findings.extend(self.of_config().into_iter().map(|spot| self.finding(Some(CONFIG), spot)));
        findings
    }

    /// Nothing is protected, as in the repositories of those who use sops alone: that is said once.
    fn unprotected(&self) -> Option<Spot> {
        let sealed = self.files.iter().filter(|file| file.examined.sealed).count();
        let message = format!(
            "nothing is protected by `.gitattributes`, and {}: edited in plaintext, that would be committed so",
            if sealed == 1 {
                "1 file is encrypted".to_owned()
            } else {
                format!("{sealed} files are encrypted")
            }
        );
        (sealed > 0 && !self.is_protected()).then(|| Spot::new(Rule::Abandoned, message))
    }

    /// Post-quantum keys that protect nothing. That is the branch's readers' matter, and said once.
    fn wasted(&self) -> Option<Spot> {
        let files: Vec<&File> = self.files.iter().filter(|file| file.examined.wastes_post_quantum).collect();
        let others = files.first()?.examined.readers.iter().filter(|key| !hybrid::is_post_quantum(key));
        let others: Vec<String> = others.map(|key| short(key)).collect();
        let message = format!(
            "{} encrypted for post-quantum keys, and for others, which a quantum computer could break: {}",
            if files.len() == 1 {
                format!("{} is", files[0].path)
            } else {
                format!("{} files are", files.len())
            },
            others.join(", ")
        );
        Some(Spot::new(Rule::PostQuantumWasted, message))
    }

    fn is_protected(&self) -> bool {
        self.files.iter().any(|file| file.attributes.filtered)
    }

    /// A finding in this tree.
    pub(super) fn finding(&self, path: Option<&str>, spot: Spot) -> Finding {
        Finding {
            rule: spot.rule,
            place: self.place.name.clone(),
            staged: self.place.is_index(),
            path: path.map(str::to_owned),
            line: spot.line,
            message: spot.message,
        }
    }

    /// The file at a path.
    pub(super) fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    fn config(&self) -> Option<&Config> {
        self.file(CONFIG)?.examined.config.as_ref()
    }

    /// Rules that are missing, and rules that are for nothing.
    fn of_config(&self) -> Vec<Spot> {
        let has_file = self.file(CONFIG).is_some();
        let sealed = |file: &&File| file.attributes.filtered && !must_be_clear(&file.path);
        let wanted: Vec<&File> = self.files.iter().filter(sealed).collect();
        let Some(config) = self.config() else {
            let missing = !has_file && !wanted.is_empty();
            let message = "there is no `.sops.yaml`: new files cannot be encrypted";
            return missing.then(|| Spot::new(Rule::ConfigGap, message)).into_iter().collect();
        };
        let used: BTreeSet<usize> = self
            .files
            .iter()
            .filter(|file| file.attributes.filtered || file.examined.sealed)
            .filter_map(|file| config.rule_for(&file.path))
            .collect();
        let idle = config.places().enumerate().filter(|(number, _)| !used.contains(number));
        idle.map(|(_, place)| Spot::new(Rule::ConfigIdle, format!("{place} is for no file of this branch")))
            .collect()
    }
}

impl File {
    /// What is wrong with the file at this place.
    pub(super) fn spots(&self) -> Vec<Spot> {
        if self.attributes.filtered && must_be_clear(&self.path) {
            let message = "`.gitattributes` would encrypt it, and git and hlx must read it without a key";
            return vec![Spot::new(Rule::MustBeClear, message)];
        }
        let mut spots = self.examined.spots.clone();
        spots.extend(self.missing.iter().cloned());
        if let (true, Some(conversion)) = (self.attributes.filtered, self.attributes.conversion) {
            let message = format!("the attribute `{conversion}` lets git change the encrypted file");
            spots.push(Spot::new(Rule::Conversion, message));
        }
        if !self.attributes.filtered && self.examined.sealed {
            spots.push(Spot::new(
                Rule::Abandoned,
                "encrypted, but nothing protects it: the next version would be in clear",
            ));
        }
        // The strongest says it for all.
        if let Some(spot) = self.exposed.as_ref().or(self.granted.as_ref()) {
            spots.retain(|spot| !matches!(spot.rule, Rule::Dotenv | Rule::LikelySecret));
            spots.push(spot.clone());
        }
        spots
    }
}

/// What git and hlx must be able to read without a key.
pub(super) fn must_be_clear(path: &str) -> bool {
    matches!(path.rsplit('/').next(), Some(".gitattributes" | CONFIG))
}

/// How the readers of a sealed file differ from those that the rule for it names.
fn of_readers(file: &File, config: &Config) -> Vec<Spot> {
    if file.examined.readers.is_empty() {
        let gap =
            file.attributes.filtered && !must_be_clear(&file.path) && config.rule_for(&file.path).is_none();
        let spot = || Spot::new(Rule::ConfigGap, "no rule of `.sops.yaml` is for it");
        return gap.then(spot).into_iter().collect();
    }
    let terms = match config.terms(&file.path) {
        Ok(terms) => terms,
        Err(error) => return vec![Spot::new(Rule::ConfigGap, error.to_string())],
    };
    let named: BTreeSet<String> = terms.audience.recipients().map(|key| normal(key.as_str())).collect();
    let list = |one: &BTreeSet<String>, other: &BTreeSet<String>| {
        let keys: Vec<String> = one.difference(other).map(|key| short(key)).collect();
        (!keys.is_empty()).then(|| keys.join(", "))
    };
    let unknown = list(&file.examined.readers, &named).map(|keys| {
        Spot::new(
            Rule::ReaderUnknown,
            format!("it can be read by {keys}, which `.sops.yaml` does not name for it"),
        )
    });
    let lost = list(&named, &file.examined.readers).map(|keys| {
        Spot::new(Rule::ReaderLost, format!("it cannot be read by {keys}, which `.sops.yaml` names for it"))
    });
    unknown.into_iter().chain(lost).collect()
}
