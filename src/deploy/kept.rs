//! What is in RAM for a stack, written down so that it can be put back after a reboot.
//!
//! A row names a file of a commit, never what it holds: that is in the mirror, as ciphertext.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use rusqlite::{Connection, params};

use super::model::Access;
use super::service::Service;
use super::state::{Error, State};

/// A resident file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The directory below the stack's own that it is in: a keyed hash.
    pub place: String,
    /// The commit that it is of.
    pub revision: String,
    /// Its path there.
    pub path: PathBuf,
    /// Who may read it.
    pub access: Access,
}

/// One of the tables of [`State`].
pub(super) const TABLE: &str = "
    CREATE TABLE resident (
        stack TEXT NOT NULL, place TEXT NOT NULL, revision TEXT NOT NULL, path BLOB NOT NULL,
        uid INTEGER NOT NULL, gid INTEGER NOT NULL, mode INTEGER NOT NULL,
        PRIMARY KEY (stack, place)) STRICT, WITHOUT ROWID;";

impl State {
    /// Adds files, before a container is given them. They outlive a power cut.
    pub fn keep_resident(&mut self, stack: &Service, files: &[Kept]) -> Result<(), Error> {
        let known = self.resident(stack)?;
        if files.iter().all(|file| known.contains(file)) {
            return Ok(());
        }
        self.0.execute_batch("PRAGMA synchronous = FULL")?;
        let done = insert(&mut self.0, stack, files);
        self.0.execute_batch("PRAGMA synchronous = NORMAL")?;
        Ok(done?)
    }

    /// Drops all files of a stack whose place is not among these.
    pub fn forget_resident(&self, stack: &Service, but: &BTreeSet<String>) -> Result<(), Error> {
        let sql = "DELETE FROM resident WHERE stack = ?1 AND place = ?2";
        for file in self.resident(stack)?.into_iter().filter(|file| !but.contains(&file.place)) {
            self.0.prepare_cached(sql)?.execute([stack.as_str(), &file.place])?;
        }
        Ok(())
    }

    /// The files of a stack.
    pub fn resident(&self, stack: &Service) -> Result<Vec<Kept>, Error> {
        let sql = "SELECT place, revision, path, uid, gid, mode FROM resident WHERE stack = ?1";
        let mut query = self.0.prepare_cached(sql)?;
        let read = |row: &rusqlite::Row<'_>| {
            Ok(Kept {
                place: row.get(0)?,
                revision: row.get(1)?,
                path: OsString::from_vec(row.get(2)?).into(),
                access: Access { uid: row.get(3)?, gid: row.get(4)?, mode: row.get(5)? },
            })
        };
        Ok(query.query_map([stack.as_str()], read)?.collect::<Result<_, _>>()?)
    }

    /// The stacks that have such files.
    pub fn stacks_with_resident(&self) -> Result<Vec<Service>, Error> {
        let mut query = self.0.prepare("SELECT DISTINCT stack FROM resident ORDER BY stack")?;
        let names = query.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }
}

fn insert(connection: &mut Connection, stack: &Service, files: &[Kept]) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO resident (stack, place, revision, path, uid, gid, mode)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let step = connection.transaction()?;
    for Kept { place, revision, path, access: Access { uid, gid, mode } } in files {
        let path = path.as_os_str().as_bytes();
        step.prepare_cached(sql)?.execute(params![stack.as_str(), place, revision, path, uid, gid, mode])?;
    }
    step.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_again_until_nothing_uses_them() {
        let dir = tempfile::tempdir().unwrap();
        let mut state = State::open(&dir.path().join("state.db")).unwrap();
        let (web, other): (Service, Service) = ("web".parse().unwrap(), "other".parse().unwrap());
        let file = |place: &str, revision: &str| Kept {
            place: place.to_owned(),
            revision: revision.to_owned(),
            path: "a\nb".into(),
            access: Access { uid: u32::MAX, gid: 7, mode: 0o440 },
        };
        state.keep_resident(&web, &[file("1", "c"), file("2", "c")]).unwrap();
        state.keep_resident(&other, &[file("1", "c")]).unwrap();
        state.keep_resident(&web, &[file("1", "d")]).unwrap();
        assert_eq!(state.resident(&web).unwrap(), [file("1", "d"), file("2", "c")]);
        assert_eq!(state.stacks_with_resident().unwrap(), [other.clone(), web.clone()]);
        state.forget_resident(&web, &["2".to_owned()].into()).unwrap();
        assert_eq!(state.resident(&web).unwrap(), [file("2", "c")]);
        state.forget_resident(&other, &BTreeSet::new()).unwrap();
        assert_eq!(state.stacks_with_resident().unwrap(), [web]);
    }
}
