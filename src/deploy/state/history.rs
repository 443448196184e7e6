//! The history of deploys: who did what, when, for how long, and how it ended.

use std::time::Duration;

use rusqlite::params;

use super::{Error, State};
use crate::deploy::service::Service;

/// How far back it is looked for what touched containers last.
const RECENT: u32 = 100;

/// How something ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Well.
    Good,
    /// Badly, before any container was touched.
    Failed,
    /// Badly, and the old version runs again.
    RolledBack,
    /// Badly, and the old version was not restored.
    NotRestored,
    /// It was killed, or the host went down.
    Interrupted,
    /// It has not ended.
    Running,
}

impl Ending {
    const ALL: [Self; 6] =
        [Self::Good, Self::Failed, Self::RolledBack, Self::NotRestored, Self::Interrupted, Self::Running];

    /// In words, as the history shows it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Failed => "failed",
            Self::RolledBack => "rolled back",
            Self::NotRestored => "not restored",
            Self::Interrupted => "interrupted",
            Self::Running => "running",
        }
    }

    /// Nothing is written for what has not ended, so that a kill needs no one to write it down.
    fn stored(self) -> &'static str {
        if self == Self::Running { "" } else { self.as_str() }
    }

    fn read(text: &str) -> Self {
        Self::ALL.into_iter().find(|ending| ending.stored() == text).unwrap_or(Self::Failed)
    }
}

/// What there is to say of something that ended.
#[derive(Debug)]
pub struct Record<'r> {
    /// The repository.
    pub repo: &'r str,
    /// The commit, if it came so far.
    pub commit: Option<&'r str>,
    /// How it ended.
    pub ending: Ending,
    /// `good`, or why not, in one line. Holds no secret.
    pub result: &'r str,
    /// How long it took.
    pub took: Duration,
    /// The phases, as JSON.
    pub phases: &'r str,
}

/// One line of the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its number on this host.
    pub id: i64,
    /// The stack.
    pub stack: String,
    /// `deploy` or `down`.
    pub action: String,
    /// The repository.
    pub repo: Option<String>,
    /// The commit.
    pub commit: Option<String>,
    /// Who asked for it.
    pub who: String,
    /// How it ended.
    pub ending: Ending,
    /// `good`, or why not.
    pub result: String,
    /// When it began: seconds since 1970.
    pub began: i64,
    /// How long it took, in milliseconds.
    pub took_ms: i64,
    /// The phases, as JSON: a list of `name` and `ms`.
    pub phases: String,
}

impl State {
    /// Writes down that something begins; gives its number. To be called under the stack's lock.
    pub fn begin(&self, name: &Service, action: &str, who: &str, began: i64) -> Result<i64, Error> {
        let sql = "INSERT INTO deploy (stack, action, who, result, began, took_ms, phases)
                   VALUES (?1, ?2, ?3, '', ?4, 0, '[]')";
        self.0.execute(sql, params![name.as_str(), action, who, began])?;
        Ok(self.0.last_insert_rowid())
    }

    /// Writes down how far it has come, in case that nobody can write down its end.
    pub fn goes_on(&self, id: i64, repo: &str, commit: &str, took: Duration) -> Result<(), Error> {
        let sql = "UPDATE deploy SET repo = nullif(?2, ''), revision = ?3, took_ms = ?4 WHERE id = ?1";
        self.0.execute(sql, params![id, repo, commit, took.as_millis() as i64])?;
        Ok(())
    }

    /// Strikes what began over nothing.
    pub fn strike(&self, id: i64) -> Result<(), Error> {
        self.0.execute("DELETE FROM deploy WHERE id = ?1", [id])?;
        Ok(())
    }

    /// Writes down how it ended.
    pub fn end(&self, id: i64, record: &Record<'_>) -> Result<(), Error> {
        let sql =
            "UPDATE deploy SET repo = ?2, revision = ?3, ending = ?4, result = ?5, took_ms = ?6, phases = ?7
                   WHERE id = ?1";
        let Record { repo, commit, ending, result, took, phases } = record;
        let took = took.as_millis() as i64;
        self.0.execute(sql, params![id, repo, commit, ending.stored(), result, took, phases])?;
        Ok(())
    }

    /// The same of what has no phases: good or failed, as it is done.
    pub fn end_whole<T, E: std::fmt::Display>(
        &self,
        id: i64,
        (repo, commit): (&str, Option<&str>),
        took: Duration,
        done: &Result<T, E>,
    ) -> Result<(), Error> {
        let first_line = |error: &E| error.to_string().lines().next().unwrap_or_default().to_owned();
        let result = done.as_ref().err().map_or_else(|| "good".to_owned(), first_line);
        let ending = if done.is_ok() { Ending::Good } else { Ending::Failed };
        self.end(id, &Record { repo, commit, ending, result: &result, took, phases: "[]" })
    }

    /// Whether the last that touched the stack's containers was `hlx down`.
    pub fn is_down(&self, name: &Service) -> Result<bool, Error> {
        // What failed before it touched one changed nothing of that, and a rollback is a commit.
        let counts = |entry: &Entry| {
            entry.action != "rollback" && !matches!(entry.ending, Ending::Failed | Ending::Running)
        };
        let last = self.history(Some(name), RECENT)?.into_iter().find(counts);
        Ok(last.is_some_and(|last| last.action == "down" && last.ending == Ending::Good))
    }

    /// Under the stack's lock, what has not ended never will: it was killed. True if there was any.
    pub fn settle_interrupted(&self, name: &Service) -> Result<bool, Error> {
        let sql = "UPDATE deploy SET ending = ?2, result = ?2 WHERE stack = ?1 AND ending = ''";
        Ok(self.0.execute(sql, [name.as_str(), Ending::Interrupted.as_str()])? > 0)
    }

    /// The newest entries of one stack, or of all; the newest is first.
    pub fn history(&self, name: Option<&Service>, most: u32) -> Result<Vec<Entry>, Error> {
        let sql = "SELECT id, stack, action, repo, revision, who, ending, result, began, took_ms, phases
                   FROM deploy WHERE ?1 IS NULL OR stack = ?1 ORDER BY id DESC LIMIT ?2";
        let read = |row: &rusqlite::Row<'_>| {
            Ok(Entry {
                id: row.get(0)?,
                stack: row.get(1)?,
                action: row.get(2)?,
                repo: row.get(3)?,
                commit: row.get(4)?,
                who: row.get(5)?,
                ending: Ending::read(&row.get::<_, String>(6)?),
                result: row.get(7)?,
                began: row.get(8)?,
                took_ms: row.get(9)?,
                phases: row.get(10)?,
            })
        };
        let mut query = self.0.prepare(sql)?;
        let rows = query.query_map(params![name.map(Service::as_str), most], read)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_killed_is_told_from_what_ended() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(&dir.path().join("state.db")).unwrap();
        let name: Service = "web".parse().unwrap();
        let first = state.begin(&name, "deploy", "root", 1).unwrap();
        let second = state.begin(&name, "deploy", "bob", 2).unwrap();
        let took = Duration::from_millis(7);
        for ending in Ending::ALL.into_iter().filter(|ending| *ending != Ending::Running) {
            let record = Record { repo: "/r", commit: Some("c"), ending, result: "x", took, phases: "[]" };
            state.end(second, &record).unwrap();
            assert_eq!(state.history(Some(&name), 1).unwrap()[0].ending, ending);
        }
        assert_eq!(state.history(None, 9).unwrap()[1].ending, Ending::Running);
        state.goes_on(first, "/r", "c", Duration::from_millis(3)).unwrap();
        assert!(state.settle_interrupted(&name).unwrap());
        assert!(!state.settle_interrupted(&name).unwrap());
        let found = state.history(None, 9).unwrap();
        assert_eq!((found[1].id, found[1].ending), (first, Ending::Interrupted));
        assert_eq!((found[1].commit.as_deref(), found[1].took_ms), (Some("c"), 3));
        assert_eq!((found[0].who.as_str(), found[0].took_ms), ("bob", 7));
        assert_eq!(state.history(Some(&"other".parse().unwrap()), 9).unwrap(), []);
    }
}
