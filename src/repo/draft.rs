//! A new text for a file of the work tree, which can be taken back.

use std::fs;
use std::io;
use std::path::PathBuf;

use super::Error;

/// A file's text, as it was and as it shall be.
#[derive(Debug)]
pub(super) struct Draft {
    file: PathBuf,
    before: Option<String>,
    /// The text that it shall have.
    pub(super) text: String,
}

impl Draft {
    /// Reads a file; one that is not there is an empty text.
    pub(super) fn read(file: PathBuf) -> Result<Self, Error> {
        let before = match fs::read_to_string(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            other => Some(other.map_err(Error::io(&file))?),
        };
        Ok(Self { text: before.clone().unwrap_or_default(), file, before })
    }

    /// Whether there is such a file.
    pub(super) fn exists(&self) -> bool {
        self.before.is_some()
    }

    /// Whether the text is another now.
    pub(super) fn changes(&self) -> bool {
        self.before.as_ref() != Some(&self.text) && !(self.before.is_none() && self.text.is_empty())
    }

    /// Adds a line of its own.
    pub(super) fn add_line(&mut self, line: &str) {
        if !self.text.is_empty() && !self.text.ends_with('\n') {
            self.text.push('\n');
        }
        self.text += line;
        self.text.push('\n');
    }

    /// Writes the text, if it is another.
    pub(super) fn write(&self) -> Result<(), Error> {
        if !self.changes() {
            return Ok(());
        }
        fs::write(&self.file, &self.text).map_err(Error::io(&self.file))
    }

    /// Puts back what was there.
    pub(super) fn take_back(&self) -> Result<(), Error> {
        let back = match &self.before {
            _ if !self.changes() => Ok(()),
            Some(before) => fs::write(&self.file, before),
            None => fs::remove_file(&self.file),
        };
        back.map_err(Error::io(&self.file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_can_be_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let (new, old) = (dir.path().join("new"), dir.path().join("old"));
        fs::write(&old, "one").unwrap();
        for (path, before) in [(&new, None), (&old, Some("one"))] {
            let mut draft = Draft::read(path.clone()).unwrap();
            assert!(!draft.changes());
            draft.add_line("two");
            draft.write().unwrap();
            assert!(fs::read_to_string(path).unwrap().ends_with("two\n"));
            draft.take_back().unwrap();
            assert_eq!(fs::read_to_string(path).ok().as_deref(), before);
        }
    }
}
