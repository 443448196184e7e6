//! How much memory a text may take where what it says is copied: by aliases, and into the paths of
//! metadata fields. Without a bound, a few bytes of a stranger would fill the memory.

use super::Step;

/// For each byte of the text, and besides.
const PER_BYTE: usize = 64;
const BESIDES: usize = 1 << 20;

/// The room that is left.
#[derive(Debug)]
pub(super) struct Room(usize);

impl Room {
    /// The room that a text has.
    pub(super) fn of(text: &str) -> Self {
        Self(BESIDES + PER_BYTE * text.len())
    }

    /// Takes so many bytes. `None` if there are not as many left.
    pub(super) fn take(&mut self, bytes: usize) -> Option<()> {
        self.0 = self.0.checked_sub(bytes)?;
        Some(())
    }

    /// Takes what a copy of a path needs.
    pub(super) fn take_path(&mut self, path: &[Step]) -> Option<()> {
        let names = path.iter().map(|step| match step {
            Step::Key(name) => name.len(),
            Step::Index(_) => 0,
        });
        self.take(names.sum::<usize>() + size_of_val(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends() {
        let mut room = Room::of("");
        assert_eq!(room.take(BESIDES), Some(()));
        assert_eq!(room.take_path(&[]), Some(()));
        assert_eq!(room.take_path(&[Step::Key(String::new())]), None);
    }
}
