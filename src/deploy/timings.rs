//! Where the time of a deploy went, and how much of it was hlx's own.

use std::cell::RefCell;
use std::time::{Duration, Instant};

/// Who was at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// hlx.
    Own,
    /// git.
    Git,
    /// docker and docker compose.
    Docker,
    /// The stack's `setup.sh`.
    Setup,
    /// Nobody: waiting until the containers are stable.
    Wait,
}

/// A stretch of the deploy.
#[derive(Debug, Clone, Copy)]
pub struct Phase {
    /// What was done.
    pub name: &'static str,
    /// By whom.
    pub whose: Whose,
    /// For how long.
    pub took: Duration,
}

/// A running account.
#[derive(Debug)]
pub struct Timings {
    began: Instant,
    phases: RefCell<Vec<Phase>>,
}

impl Timings {
    /// Begins now.
    pub fn start() -> Self {
        Self { began: Instant::now(), phases: RefCell::default() }
    }

    /// Does something, and adds the time it took.
    pub fn measure<T>(&self, name: &'static str, whose: Whose, work: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let result = work();
        self.add(name, whose, began.elapsed());
        result
    }

    /// Adds time that was measured elsewhere.
    pub fn add(&self, name: &'static str, whose: Whose, took: Duration) {
        self.phases.borrow_mut().push(Phase { name, whose, took });
    }

    /// Ends the account.
    pub fn finish(&self) -> Account {
        Account { total: self.began.elapsed(), phases: self.phases.borrow().clone() }
    }
}

/// A finished account.
#[derive(Debug, Clone)]
pub struct Account {
    /// From begin to end.
    pub total: Duration,
    /// What was measured, in order.
    pub phases: Vec<Phase>,
}

impl Account {
    /// hlx's own share: all that no other program took, measured or not.
    pub fn own(&self) -> Duration {
        let others = self.phases.iter().filter(|phase| phase.whose != Whose::Own);
        self.total.saturating_sub(others.map(|phase| phase.took).sum())
    }

    /// For the record.
    pub fn json(&self) -> String {
        let phase = |phase: &Phase| serde_json::json!({"name": phase.name, "ms": millis(phase.took)});
        serde_json::Value::from_iter(self.phases.iter().map(phase)).to_string()
    }
}

fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e4).round() / 10.0
}

impl std::fmt::Display for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for phase in &self.phases {
            let whose = format!("{:?}", phase.whose).to_lowercase();
            writeln!(f, "{:<28} {:<7} {:>10.1} ms", phase.name, whose, millis(phase.took))?;
        }
        writeln!(f, "{:<28} {:<7} {:>10.1} ms", "total", "", millis(self.total))?;
        write!(f, "{:<28} {:<7} {:>10.1} ms", "hlx's own share", "own", millis(self.own()))
    }
}
