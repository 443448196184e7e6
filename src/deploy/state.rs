//! What hlx remembers of its deploys, in SQLite.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use super::engine::Engine;
use super::service::Service;
use super::tree::Tree;
use crate::sys::disk;

pub mod history;
pub mod versions;

pub use history::{Ending, Entry, Record};

/// Why the state could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// SQLite failed.
    #[error("the state database: {0}")]
    Sql(#[from] rusqlite::Error),
    /// The file cannot be made.
    #[error("the state database: {0}")]
    Disk(#[from] std::io::Error),
    /// A newer hlx made it.
    #[error("the state database has version {0}, which a later hlx made")]
    Newer(i64),
}

/// The database.
#[derive(Debug)]
pub struct State(pub(super) Connection);

/// What is known of a stack.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stack {
    /// The repository it comes from.
    pub repo: String,
    /// Its project directory.
    pub directory: String,
    /// Its compose project, once containers were started.
    pub project: Option<String>,
    /// The commit whose containers were started last, good or bad.
    pub tried: Option<String>,
    /// The last good commit.
    pub commit: Option<String>,
    /// The hash of the `setup.sh` that succeeded last.
    pub setup: Option<String>,
    /// What ran its containers last.
    pub engine: Engine,
    /// The address of the Docker that it was deployed to last; unknown of old ones.
    pub docker: Option<String>,
    /// The files in its project directory may be others than those of `tried`: some were laid, and no
    /// container was started with them yet.
    pub astray: bool,
}

/// What made each version of the database of the one before; the database says how many it has had.
const STEPS: [&str; 5] = [
    "CREATE TABLE stack (
        name TEXT PRIMARY KEY, repo TEXT NOT NULL, directory TEXT NOT NULL,
        project TEXT, tried TEXT, good TEXT, setup TEXT) STRICT;
     CREATE TABLE manifest (
        stack TEXT NOT NULL, path BLOB NOT NULL, PRIMARY KEY (stack, path)) STRICT, WITHOUT ROWID;
     CREATE TABLE deploy (
        id INTEGER PRIMARY KEY, stack TEXT NOT NULL, action TEXT NOT NULL, repo TEXT, revision TEXT,
        result TEXT NOT NULL, began INTEGER NOT NULL, took_ms INTEGER NOT NULL, phases TEXT NOT NULL) STRICT;",
    "ALTER TABLE deploy ADD COLUMN who TEXT NOT NULL DEFAULT '';
     ALTER TABLE deploy ADD COLUMN ending TEXT NOT NULL DEFAULT '';
     UPDATE deploy SET ending = CASE result WHEN 'good' THEN 'good' ELSE 'failed' END;
     CREATE INDEX deploy_of ON deploy (stack, id);
     CREATE TABLE bad (
        stack TEXT NOT NULL, revision TEXT NOT NULL, why TEXT NOT NULL, at INTEGER NOT NULL,
        PRIMARY KEY (stack, revision)) STRICT, WITHOUT ROWID;
     CREATE TABLE image (
        stack TEXT NOT NULL, revision TEXT NOT NULL, service TEXT NOT NULL, id TEXT NOT NULL, origin TEXT,
        PRIMARY KEY (stack, revision, service)) STRICT, WITHOUT ROWID;",
    super::kept::TABLE,
    "ALTER TABLE stack ADD COLUMN engine TEXT NOT NULL DEFAULT 'compose';
     ALTER TABLE stack ADD COLUMN docker TEXT;",
    "ALTER TABLE stack ADD COLUMN astray INTEGER NOT NULL DEFAULT 0;",
];

impl State {
    /// Opens the database, and makes it if there is none.
    pub fn open(path: &Path) -> Result<Self, Error> {
        match disk::private_file(path, b"") {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error.into()),
            _ => {}
        }
        let mut connection = Connection::open(path)?;
        connection.busy_timeout(Duration::from_secs(10))?;
        // A power cut may cost the last record, never the database, and no deploy waits for the disk.
        connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;")?;
        bring_up_to_date(&mut connection)?;
        Ok(Self(connection))
    }

    /// Opens the database if there is one.
    pub fn open_if_there(path: &Path) -> Result<Option<Self>, Error> {
        match path.metadata() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
            Ok(_) => Self::open(path).map(Some),
        }
    }

    /// What is known of a stack, if it was ever deployed here.
    pub fn stack(&self, name: &Service) -> Result<Option<Stack>, Error> {
        let sql = "SELECT repo, directory, project, tried, good, setup, engine, docker, astray
                   FROM stack WHERE name = ?1";
        let read = |row: &rusqlite::Row<'_>| {
            Ok(Stack {
                repo: row.get(0)?,
                directory: row.get(1)?,
                project: row.get(2)?,
                tried: row.get(3)?,
                commit: row.get(4)?,
                setup: row.get(5)?,
                engine: Engine::named(&row.get::<_, String>(6)?).unwrap_or_default(),
                docker: row.get(7)?,
                astray: row.get(8)?,
            })
        };
        Ok(self.0.query_row(sql, [name.as_str()], read).optional()?)
    }

    /// The names of all stacks that were ever deployed here, in their order.
    pub fn stacks(&self) -> Result<Vec<Service>, Error> {
        let mut query = self.0.prepare("SELECT name FROM stack ORDER BY name")?;
        let names = query.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// The other stack that uses this compose project, if there is one.
    pub fn owner_of(&self, project: &str, but: &Service) -> Result<Option<String>, Error> {
        let sql = "SELECT name FROM stack WHERE project = ?1 AND name <> ?2";
        Ok(self.0.query_row(sql, [project, but.as_str()], |row| row.get(0)).optional()?)
    }

    /// Writes down what is known of a stack.
    pub fn save(&self, name: &Service, stack: &Stack) -> Result<(), Error> {
        let sql = "INSERT OR REPLACE INTO stack (name, repo, directory, project, tried, good, setup, engine, docker, astray)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
        let Stack { repo, directory, project, tried, commit, setup, engine, docker, astray } = stack;
        let engine = engine.as_str();
        let name = name.as_str();
        self.0.execute(
            sql,
            params![name, repo, directory, project, tried, commit, setup, engine, docker, astray],
        )?;
        Ok(())
    }

    /// The files that hlx laid in the project directory.
    pub fn manifest(&self, name: &Service) -> Result<Vec<PathBuf>, Error> {
        use std::os::unix::ffi::OsStringExt;
        let mut query = self.0.prepare("SELECT path FROM manifest WHERE stack = ?1")?;
        let rows = query.query_map([name.as_str()], |row| row.get::<_, Vec<u8>>(0))?;
        rows.map(|row| Ok(std::ffi::OsString::from_vec(row?).into())).collect()
    }

    /// Adds the files that are about to be laid.
    pub fn add_to_manifest(&mut self, name: &Service, tree: &Tree) -> Result<(), Error> {
        self.change_manifest(
            "INSERT OR IGNORE INTO manifest (stack, path) VALUES (?1, ?2)",
            name,
            tree.keys(),
        )
    }

    /// Takes out the files that were removed.
    pub fn drop_from_manifest(&mut self, name: &Service, gone: &[PathBuf]) -> Result<(), Error> {
        self.change_manifest("DELETE FROM manifest WHERE stack = ?1 AND path = ?2", name, gone)
    }

    fn change_manifest<'p>(
        &mut self,
        sql: &str,
        name: &Service,
        paths: impl IntoIterator<Item = &'p PathBuf>,
    ) -> Result<(), Error> {
        use std::os::unix::ffi::OsStrExt;
        let step = self.0.transaction()?;
        for path in paths {
            step.prepare_cached(sql)?.execute(params![name.as_str(), path.as_os_str().as_bytes()])?;
        }
        Ok(step.commit()?)
    }
}

fn bring_up_to_date(connection: &mut Connection) -> Result<(), Error> {
    let step = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let version: i64 = step.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let had = usize::try_from(version).unwrap_or(usize::MAX);
    let missing = STEPS.get(had..).ok_or(Error::Newer(version))?;
    if missing.is_empty() {
        return Ok(());
    }
    missing.iter().try_for_each(|sql| step.execute_batch(sql))?;
    step.execute_batch(&format!("PRAGMA user_version = {}", STEPS.len()))?;
    Ok(step.commit()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        let name: Service = "web".parse().unwrap();
        let stack = Stack {
            repo: "/r".into(),
            project: Some("web".into()),
            engine: Engine::Swarm,
            docker: Some("ssh://nas".into()),
            astray: true,
            ..Stack::default()
        };
        {
            let mut state = State::open(&path).unwrap();
            assert_eq!(state.stack(&name).unwrap(), None);
            state.save(&name, &stack).unwrap();
            let entry =
                super::super::tree::Entry { kind: super::super::tree::Kind::File, content: Vec::new() };
            state
                .add_to_manifest(&name, &Tree::from([("a\nb".into(), entry.clone()), ("c".into(), entry)]))
                .unwrap();
            state.drop_from_manifest(&name, &["c".into()]).unwrap();
        }
        let state = State::open(&path).unwrap();
        assert_eq!(state.stack(&name).unwrap(), Some(stack));
        assert_eq!(state.stacks().unwrap(), std::slice::from_ref(&name));
        assert_eq!(state.manifest(&name).unwrap(), [PathBuf::from("a\nb")]);
        assert_eq!(state.owner_of("web", &"other".parse().unwrap()).unwrap().as_deref(), Some("web"));
        assert_eq!(state.owner_of("web", &name).unwrap(), None);
    }

    #[test]
    fn a_database_of_the_first_version_is_taken_on_and_one_of_a_later_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        let old = Connection::open(&path).unwrap();
        old.execute_batch(STEPS[0]).unwrap();
        let row = "INSERT INTO deploy (stack, action, result, began, took_ms, phases)
                   VALUES ('web', 'deploy', 'good', 1, 2, '[]'), ('web', 'deploy', 'no', 1, 2, '[]');
                   PRAGMA user_version = 1;";
        old.execute_batch(row).unwrap();
        drop(old);
        let state = State::open(&path).unwrap();
        let endings: Vec<Ending> =
            state.history(None, 9).unwrap().into_iter().map(|entry| entry.ending).collect();
        assert_eq!(endings, [Ending::Failed, Ending::Good]);
        state.0.execute_batch("PRAGMA user_version = 99").unwrap();
        drop(state);
        assert!(matches!(State::open(&path), Err(Error::Newer(99))));
    }
}
