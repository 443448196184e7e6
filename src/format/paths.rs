//! The names on the way to a value, which its additional data is made of.

use std::fmt;

/// The names above a leaf, by number: see [`Paths`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PathId(u32);

/// All paths of a document, as a tree of names. List positions add nothing to a path.
pub struct Paths {
    nodes: Vec<Name>,
    /// All names, one behind the other.
    names: String,
}

/// One name: the path above it, and where it stands among all names.
#[derive(Debug)]
struct Name {
    parent: PathId,
    start: u32,
    end: u32,
}

impl fmt::Debug for Paths {
    /// No names: in a text that is no good dotenv, part of a secret may stand where names do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Paths({})", self.nodes.len())
    }
}

impl Default for Paths {
    fn default() -> Self {
        Self { nodes: vec![Name { parent: Self::ROOT, start: 0, end: 0 }], names: String::new() }
    }
}

impl Paths {
    /// The top of the document: no names.
    pub const ROOT: PathId = PathId(0);

    /// Makes room for so many more paths.
    pub(super) fn reserve(&mut self, paths: usize) {
        self.nodes.reserve_exact(paths);
    }

    /// The path one name below another.
    pub fn child(&mut self, parent: PathId, key: &str) -> PathId {
        let place = |length: usize| u32::try_from(length).expect("a document's keys are shorter than 4 GiB");
        let start = place(self.names.len());
        self.names.push_str(key);
        self.nodes.push(Name { parent, start, end: place(self.names.len()) });
        PathId(place(self.nodes.len() - 1))
    }

    /// The path's last name and the path above it; `None` at the top.
    pub fn split(&self, path: PathId) -> Option<(PathId, &str)> {
        (path != Self::ROOT).then(|| {
            let name = &self.nodes[path.0 as usize];
            (name.parent, &self.names[name.start as usize..name.end as usize])
        })
    }

    /// The names from the top down.
    pub fn names(&self, path: PathId) -> Vec<&str> {
        let mut names: Vec<_> = std::iter::successors(self.split(path), |(parent, _)| self.split(*parent))
            .map(|(_, name)| name)
            .collect();
        names.reverse();
        names
    }

    /// The additional data of a value at this path: every name and a colon; `:` at the top.
    /// (getsops/sops v3.13.2, `sops.go:368`.)
    pub fn aad(&self, path: PathId) -> String {
        let mut aad = self.names(path).join(":");
        aad.push(':');
        aad
    }

    /// Whether a path has the same names as a path of another document.
    pub fn alike(&self, path: PathId, others: &Self, other: PathId) -> bool {
        match (self.split(path), others.split(other)) {
            (None, None) => true,
            (Some((up, name)), Some((others_up, others_name))) => {
                name == others_name && self.alike(up, others, others_up)
            }
            _ => false,
        }
    }

    /// The path as a person writes it, for messages.
    pub fn display(&self, path: PathId) -> String {
        self.names(path).join(".")
    }

    /// Every path, parents before children.
    pub fn all(&self) -> impl Iterator<Item = PathId> + use<> {
        (0..self.nodes.len()).map(|index| PathId(u32::try_from(index).expect("made by `child`")))
    }

    /// A position for tables with one entry per path.
    pub fn index(path: PathId) -> usize {
        path.0 as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_know_their_names_and_additional_data() {
        let mut paths = Paths::default();
        let db = paths.child(Paths::ROOT, "db");
        let password = paths.child(db, "password");
        assert_eq!(paths.aad(password), "db:password:");
        assert_eq!(paths.aad(Paths::ROOT), ":");
        assert_eq!(paths.display(password), "db.password");
    }
}
