//! Which branches have their first commits in common: read once, with one process, however many are asked about.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use super::{Error, Git};

/// First commits, by their names.
type Roots = Rc<BTreeSet<Rc<str>>>;

/// The first commits of every branch, here and at remotes.
#[derive(Debug)]
pub struct Families {
    /// The first commits of each commit.
    roots: HashMap<Rc<str>, Roots>,
    /// The full name of each branch, and its last commit.
    tips: Vec<(String, Rc<str>)>,
}

impl Families {
    /// Walks all history that branches have.
    pub fn read(git: &Git) -> Result<Self, Error> {
        let mut roots = HashMap::<Rc<str>, Roots>::new();
        let words = ["rev-list", "--parents", "--topo-order", "--reverse", "--branches", "--remotes"];
        for line in git.text(&words)?.lines() {
            add(&mut roots, line);
        }
        let refs = ["for-each-ref", "--format=%(objectname) %(refname)", "refs/heads", "refs/remotes"];
        let tip = |line: &str| line.split_once(' ').map(|(commit, name)| (name.to_owned(), Rc::from(commit)));
        let tips = git.text(&refs)?.lines().filter_map(tip).collect();
        Ok(Self { roots, tips })
    }

    /// The full names of the branches that have a first commit in common with a commit.
    pub fn of(&self, git: &Git, commit: &str) -> Result<Vec<&str>, Error> {
        let own = match self.roots.get(commit) {
            Some(roots) => Rc::clone(roots),
            // No branch has it, as with a detached HEAD.
            None => {
                let list = git.text(&["rev-list", "--max-parents=0", commit, "--"])?;
                Rc::new(list.lines().map(Rc::from).collect())
            }
        };
        let is_kin = |tip: &Rc<str>| self.roots.get(tip).is_some_and(|roots| !roots.is_disjoint(&own));
        Ok(self.tips.iter().filter(|(_, tip)| is_kin(tip)).map(|(name, _)| name.as_str()).collect())
    }
}

/// Adds a line of `git rev-list --parents`: a commit behind its parents, which came before.
fn add(roots: &mut HashMap<Rc<str>, Roots>, line: &str) {
    let mut names = line.split(' ');
    let Some(commit) = names.next().map(Rc::<str>::from) else { return };
    let known: Vec<&Roots> = names.filter_map(|parent| roots.get(parent)).collect();
    let own = match known[..] {
        [] => Rc::new(BTreeSet::from([Rc::clone(&commit)])),
        [one] => Rc::clone(one),
        [first, ref rest @ ..] => match rest.iter().all(|other| *other == first) {
            true => Rc::clone(first),
            false => Rc::new(known.iter().flat_map(|roots| roots.iter().cloned()).collect()),
        },
    };
    roots.insert(commit, own);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_of_a_family_have_a_first_commit_in_common() {
        let place = tempfile::tempdir().unwrap();
        let git = Git::at(place.path());
        git.run(&["init", "-q"]).unwrap();
        git.run(&["config", "user.name", "t"]).unwrap();
        git.run(&["config", "user.email", "t@example.org"]).unwrap();
        let tree = String::from_utf8(git.feed(&["mktree"], b"").unwrap()).unwrap();
        let made = |message: &str, parents: &[&str]| {
            let parents = parents.iter().flat_map(|parent| ["-p", parent]);
            let words = ["commit-tree", tree.trim(), "-m", message].into_iter().chain(parents);
            git.text(&words.collect::<Vec<_>>()).unwrap()
        };
        let (root, other) = (made("root", &[]), made("another", &[]));
        let (one, two) = (made("one", &[&root]), made("two", &[&root]));
        let both = made("both", &[&one, &other]);
        let point = |name: &str, at: &str| git.run(&["update-ref", name, at]).unwrap();
        point("refs/heads/one", &one);
        point("refs/remotes/origin/two", &two);
        point("refs/heads/other", &other);
        let families = Families::read(&git).unwrap();
        assert_eq!(families.of(&git, &one).unwrap(), ["refs/heads/one", "refs/remotes/origin/two"]);
        assert_eq!(families.of(&git, &other).unwrap(), ["refs/heads/other"]);
        // A commit that no branch has.
        assert_eq!(families.of(&git, &both).unwrap().len(), 3);
        point("refs/heads/both", &both);
        assert_eq!(Families::read(&git).unwrap().of(&git, &one).unwrap().len(), 3);
    }
}
