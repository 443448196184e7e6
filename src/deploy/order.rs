//! The order in which stacks are deployed, when all are: each after those that it names.
//!
//! One dispatcher owns the order; it hands out what may begin now, and is told how each ended.
//! A stack that comes after one which failed is skipped, and so is what comes after that one.

use std::collections::{BTreeMap, BTreeSet};

use super::service::Service;

/// How it went with a stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It is deployed.
    Deployed,
    /// It failed.
    Failed,
    /// It was not tried: it waits for itself, over these stacks.
    InCircle(Vec<Service>),
    /// It was not tried, for this reason.
    Skipped(String),
}

/// What is still to be deployed.
#[derive(Debug)]
pub struct Order {
    /// Each stack and those that it still waits for.
    waiting: BTreeMap<Service, BTreeSet<Service>>,
    running: BTreeSet<Service>,
}

impl Order {
    /// An order of these stacks, each with those it comes after. Others than these are not waited for.
    pub fn new(stacks: BTreeMap<Service, Vec<Service>>) -> Self {
        let names: BTreeSet<Service> = stacks.keys().cloned().collect();
        let known = |after: Vec<Service>| after.into_iter().filter(|name| names.contains(name)).collect();
        let waiting = stacks.into_iter().map(|(name, after)| (name, known(after))).collect();
        Self { waiting, running: BTreeSet::new() }
    }

    /// A stack that may begin now, the first by its name; it is running from then on.
    pub fn begin(&mut self) -> Option<Service> {
        let ready = self.waiting.iter().find(|(_, after)| after.is_empty());
        let name = ready.map(|(name, _)| name.clone())?;
        self.waiting.remove(&name);
        self.running.insert(name.clone());
        Some(name)
    }

    /// A running stack has ended; gives those that will not be tried for it, with the reason.
    pub fn ended(&mut self, name: &Service, fate: &Fate) -> Vec<(Service, Fate)> {
        self.running.remove(name);
        let why = match fate {
            Fate::Deployed => {
                for after in self.waiting.values_mut() {
                    after.remove(name);
                }
                return Vec::new();
            }
            Fate::Failed => format!("it comes after {name}, which failed"),
            Fate::InCircle(_) => format!("it comes after {name}, which comes after itself"),
            Fate::Skipped(_) => format!("it comes after {name}, which was skipped"),
        };
        let behind: Vec<Service> = self.behind(name);
        behind.iter().for_each(|name| drop(self.waiting.remove(name)));
        let mut skipped = Vec::new();
        for name in behind {
            let fate = Fate::Skipped(why.clone());
            let more = self.ended(&name, &fate);
            skipped.push((name, fate));
            skipped.extend(more);
        }
        skipped
    }

    fn behind(&self, name: &Service) -> Vec<Service> {
        let waits = |(_, after): &(&Service, &BTreeSet<Service>)| after.contains(name);
        self.waiting.iter().filter(waits).map(|(name, _)| name.clone()).collect()
    }

    /// When nothing runs and nothing may begin, those that wait for each other in a circle; each
    /// is to be told of as failed.
    pub fn circle(&self) -> Vec<Service> {
        if !self.running.is_empty() || self.waiting.values().any(BTreeSet::is_empty) {
            return Vec::new();
        }
        let Some(mut name) = self.waiting.keys().next() else { return Vec::new() };
        let mut path: Vec<Service> = Vec::new();
        while !path.contains(name) {
            path.push(name.clone());
            name = self.waiting[name].first().expect("each of them waits for one of them");
        }
        let start = path.iter().position(|known| known == name).unwrap_or(0);
        path.split_off(start)
    }

    /// Takes the stacks of a circle out, each with its way back to itself; then those that are skipped
    /// for it.
    pub fn give_up(&mut self, circle: &[Service]) -> Vec<(Service, Fate)> {
        circle.iter().for_each(|name| drop(self.waiting.remove(name)));
        let way = |at: usize| [&circle[at..], &circle[..=at]].concat();
        let own = circle.iter().enumerate().map(|(at, name)| (name.clone(), Fate::InCircle(way(at))));
        let own: Vec<(Service, Fate)> = own.collect();
        let behind: Vec<(Service, Fate)> =
            own.iter().flat_map(|(name, fate)| self.ended(name, fate)).collect();
        own.into_iter().chain(behind).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Service {
        text.parse().unwrap()
    }

    fn order(stacks: &[(&str, &[&str])]) -> Order {
        let after = |names: &[&str]| names.iter().map(|text| name(text)).collect();
        Order::new(stacks.iter().map(|(stack, names)| (name(stack), after(names))).collect())
    }

    fn ready(order: &mut Order) -> String {
        let names: Vec<String> = std::iter::from_fn(|| order.begin()).map(|name| name.to_string()).collect();
        names.join(" ")
    }

    #[test]
    fn each_begins_when_all_before_it_are_deployed() {
        let mut order = order(&[("a", &["c"]), ("b", &["a", "c"]), ("c", &[]), ("d", &["elsewhere"])]);
        assert_eq!(ready(&mut order), "c d");
        assert_eq!(order.ended(&name("d"), &Fate::Deployed), []);
        assert_eq!(ready(&mut order), "");
        order.ended(&name("c"), &Fate::Deployed);
        assert_eq!(ready(&mut order), "a");
        order.ended(&name("a"), &Fate::Deployed);
        assert_eq!(ready(&mut order), "b");
        assert!(order.circle().is_empty());
    }

    #[test]
    fn what_comes_after_a_failure_is_skipped_with_the_reason_and_the_rest_is_not() {
        let mut order = order(&[("a", &[]), ("b", &["a"]), ("c", &["b"]), ("d", &[])]);
        assert_eq!(ready(&mut order), "a d");
        let skipped = order.ended(&name("a"), &Fate::Failed);
        let told = |stack: &str, why: &str| (name(stack), Fate::Skipped(why.to_owned()));
        let wanted =
            [told("b", "it comes after a, which failed"), told("c", "it comes after b, which was skipped")];
        assert_eq!(skipped, wanted);
        assert_eq!(ready(&mut order), "");
    }

    #[test]
    fn a_circle_is_found_and_what_comes_after_it_is_skipped() {
        let mut order = order(&[("a", &["b"]), ("b", &["c"]), ("c", &["b"]), ("d", &["d"]), ("e", &[])]);
        assert!(order.circle().is_empty(), "e may begin");
        assert_eq!(ready(&mut order), "e");
        assert!(order.circle().is_empty(), "e runs");
        order.ended(&name("e"), &Fate::Deployed);
        let circle = order.circle();
        assert_eq!(circle, [name("b"), name("c")]);
        let way = |names: &str| Fate::InCircle(names.split(' ').map(name).collect());
        let a = Fate::Skipped("it comes after b, which comes after itself".into());
        let wanted = [(name("b"), way("b c b")), (name("c"), way("c b c")), (name("a"), a)];
        assert_eq!(order.give_up(&circle), wanted);
        assert_eq!(order.circle(), [name("d")]);
        assert_eq!(order.give_up(&[name("d")]), [(name("d"), way("d d"))]);
        assert!(order.circle().is_empty());
    }
}
