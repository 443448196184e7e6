//! The three-way merge of leaves, which a merge of texts must agree with.

use std::collections::BTreeMap;

use crate::format::{Collection, Content, Document, Item, Store};

/// What can change by itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Place<'d> {
    /// The values of that path: the items of a list share one.
    Values(Vec<&'d str>),
    /// The collections of that path.
    Collections(Vec<&'d str>),
    /// A comment, wherever it stands.
    Comment(&'d str),
}

/// What stands at a place.
#[derive(Debug, PartialEq)]
enum Said<'d> {
    Value(&'d Content<'d>),
    Collection(Collection),
    Comment,
}

/// The leaves of a text, and the collections around them.
struct Leaves<'d>(BTreeMap<Place<'d>, Vec<Said<'d>>>);

impl<'d> Leaves<'d> {
    fn of(document: &'d Document<'_>) -> Self {
        let mut all = BTreeMap::<_, Vec<_>>::new();
        for item in &document.items {
            match *item {
                Item::Open(kind, path) => {
                    let place = Place::Collections(document.paths.names(path));
                    all.entry(place).or_default().push(Said::Collection(kind));
                }
                Item::Leaf(number) => {
                    let leaf = &document.leaves[number as usize];
                    match &leaf.content {
                        value @ Content::Value(_) => {
                            let place = Place::Values(document.paths.names(leaf.path));
                            all.entry(place).or_default().push(Said::Value(value));
                        }
                        // How often it stands there says nothing: both sides may bring the same one.
                        Content::Comment(text) => {
                            all.insert(Place::Comment(text), vec![Said::Comment]);
                        }
                    }
                }
                Item::Alias | Item::Close => {}
            }
        }
        Self(all)
    }

    fn at<'a>(&'a self, place: &'a Place<'d>) -> &'a [Said<'d>] {
        self.0.get(place).map_or(&[], Vec::as_slice)
    }
}

/// What comes of three versions of a thing. `None`: both sides changed it, each otherwise.
pub(super) fn three_way<T: PartialEq>(ours: T, base: &T, theirs: T) -> Option<T> {
    if theirs == *base || ours == theirs {
        Some(ours)
    } else if ours == *base {
        Some(theirs)
    } else {
        None
    }
}

/// Whether a merge of ours, base and theirs holds the changes of both sides and nothing else. It is given twice: with
/// what is left in conflict as ours has it, and as theirs. There, a value may be as that side has it.
pub(super) fn is_union(store: Store, sides: [&str; 3], [with_ours, with_theirs]: [&str; 2]) -> bool {
    let texts = [sides[0], sides[1], sides[2], with_ours, with_theirs];
    let [Ok(ours), Ok(base), Ok(theirs), Ok(one), Ok(other)] = texts.map(|text| store.parse_plaintext(text))
    else {
        return false;
    };
    let [ours, base, theirs, one, other] = [&ours, &base, &theirs, &one, &other].map(Leaves::of);
    let mut places = [&ours, &base, &theirs, &one, &other].into_iter().flat_map(|side| side.0.keys());
    places.all(|place| {
        let [mine, before, its] = [&ours, &base, &theirs].map(|side| side.at(place));
        let merged = three_way(mine, &before, its);
        let fits = |found: &[Said<'_>], own: &[Said<'_>]| found == own || merged == Some(found);
        fits(one.at(place), mine) && fits(other.at(place), its)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_union_has_what_each_side_changed_and_nothing_else() {
        let sides = ["A=1\nB=20\nC=3\n# x\n", "A=1\nB=2\nC=3\n", "A=10\nB=2\n"];
        let is_union = |merged: &str| is_union(Store::Dotenv, sides, [merged, merged]);
        assert!(is_union("A=10\nB=20\n# x\n"));
        for merged in [
            "A=1\nB=20\n# x\n",
            "A=10\nB=2\n# x\n",
            "A=10\nB=20\n",
            "A=10\nB=20\n# x\nC=3\n",
            "A=10\nB=20\n# x\nD=4\n",
            "A=10\nB=20\nB=20\n# x\n",
            "A=10\nB=20\n# x\n# y\n",
            "A=10\nB=20\n# x\nodd\n",
        ] {
            assert!(!is_union(merged), "{merged}");
        }
    }

    #[test]
    fn a_value_that_both_sides_changed_is_in_no_union() {
        let sides = ["A=1\n", "A=0\n", "A=2\n"];
        for merged in ["A=0\n", "A=1\n", "A=2\n", "A=1\nA=2\n", ""] {
            assert!(!is_union(Store::Dotenv, sides, [merged, merged]), "{merged}");
        }
        assert!(is_union(Store::Dotenv, sides, ["A=1\n", "A=2\n"]));
    }
}
