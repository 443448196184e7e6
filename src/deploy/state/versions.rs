//! What is remembered of commits: which are bad, and the images that the good ones ran with.

use rusqlite::{OptionalExtension, params};

use super::{Error, State};
use crate::deploy::images::Image;
use crate::deploy::service::Service;

impl State {
    /// Remembers that a commit's containers did not become well. `at` is in seconds since 1970.
    pub fn condemn(&self, name: &Service, commit: &str, why: &str, at: i64) -> Result<(), Error> {
        let sql = "INSERT OR REPLACE INTO bad (stack, revision, why, at) VALUES (?1, ?2, ?3, ?4)";
        self.0.execute(sql, params![name.as_str(), commit, why, at])?;
        Ok(())
    }

    /// Why the commit is known to be bad, if it is.
    pub fn is_bad(&self, name: &Service, commit: &str) -> Result<Option<String>, Error> {
        let sql = "SELECT why FROM bad WHERE stack = ?1 AND revision = ?2";
        Ok(self.0.query_row(sql, [name.as_str(), commit], |row| row.get(0)).optional()?)
    }

    /// Remembers that a commit is good, and the images that it runs with.
    pub fn praise(&mut self, name: &Service, commit: &str, images: &[Image]) -> Result<(), Error> {
        let step = self.0.transaction()?;
        let stack = name.as_str();
        step.execute("DELETE FROM bad WHERE stack = ?1 AND revision = ?2", [stack, commit])?;
        step.execute("DELETE FROM image WHERE stack = ?1 AND revision = ?2", [stack, commit])?;
        for Image { service, id, origin } in images {
            let sql = "INSERT INTO image (stack, revision, service, id, origin) VALUES (?1, ?2, ?3, ?4, ?5)";
            step.execute(sql, params![stack, commit, service, id, origin])?;
        }
        Ok(step.commit()?)
    }

    /// The commits whose images are remembered, the newest good one first.
    pub fn good_commits(&self, name: &Service) -> Result<Vec<String>, Error> {
        let sql = "SELECT image.revision FROM image LEFT JOIN deploy
                       ON deploy.stack = image.stack AND deploy.revision = image.revision AND deploy.ending = 'good'
                   WHERE image.stack = ?1 GROUP BY image.revision ORDER BY max(deploy.id) DESC";
        let mut query = self.0.prepare(sql)?;
        Ok(query.query_map([name.as_str()], |row| row.get(0))?.collect::<Result<_, _>>()?)
    }

    /// Forgets the images of a commit: they are no longer kept.
    pub fn forget_images(&mut self, name: &Service, commit: &str) -> Result<(), Error> {
        self.0.execute("DELETE FROM image WHERE stack = ?1 AND revision = ?2", [name.as_str(), commit])?;
        Ok(())
    }

    /// The images that a good commit ran with, by service.
    pub fn images(&self, name: &Service, commit: &str) -> Result<Vec<Image>, Error> {
        let sql = "SELECT service, id, origin FROM image WHERE stack = ?1 AND revision = ?2 ORDER BY service";
        let read = |row: &rusqlite::Row<'_>| {
            Ok(Image { service: row.get(0)?, id: row.get(1)?, origin: row.get(2)? })
        };
        let mut query = self.0.prepare(sql)?;
        Ok(query.query_map([name.as_str(), commit], read)?.collect::<Result<_, _>>()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_commit_is_bad_until_it_is_good() {
        let dir = tempfile::tempdir().unwrap();
        let mut state = State::open(&dir.path().join("state.db")).unwrap();
        let name: Service = "web".parse().unwrap();
        assert_eq!(state.is_bad(&name, "c").unwrap(), None);
        state.condemn(&name, "c", "it fell over", 1).unwrap();
        assert_eq!(state.is_bad(&name, "c").unwrap().as_deref(), Some("it fell over"));
        assert_eq!(state.is_bad(&"other".parse().unwrap(), "c").unwrap(), None);
        let image = |id: &str| Image { service: "a".into(), id: id.into(), origin: None };
        state.praise(&name, "c", &[image("1")]).unwrap();
        state.praise(&name, "c", &[image("2")]).unwrap();
        assert_eq!(state.is_bad(&name, "c").unwrap(), None);
        assert_eq!(state.images(&name, "c").unwrap(), [image("2")]);
        assert_eq!(state.images(&name, "d").unwrap(), []);
    }
}
