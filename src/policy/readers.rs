//! What bringing an earlier commit's files back would change of who can read.

use super::creation::Config;
use crate::crypto::envelope::Recipient;

/// Going back would change who can read.
#[derive(Debug, thiserror::Error)]
#[error("with the files of {to:.10} would come its readers: {}", self.changes())]
pub struct OtherReaders {
    /// The commit to go back to.
    pub to: String,
    /// Those who would be let in again.
    pub back: Vec<Recipient>,
    /// Those who would be left out.
    pub out: Vec<Recipient>,
}

impl OtherReaders {
    /// `None` if both texts of `.sops.yaml` name the same readers. One that cannot be read names none.
    pub fn between(now: &str, then: &str, to: &str) -> Option<Self> {
        let read = |text: &str| Config::parse(text).unwrap_or_default();
        let (back, out) = read(now).changes_to(&read(then));
        (!back.is_empty() || !out.is_empty()).then(|| Self { to: to.to_owned(), back, out })
    }

    fn changes(&self) -> String {
        let named = |keys: &[Recipient], what: &str| {
            let keys: Vec<String> = keys.iter().map(Recipient::short).collect();
            (!keys.is_empty()).then(|| format!("{} {what}", keys.join(", ")))
        };
        let parts = [named(&self.back, "could read again"), named(&self.out, "could read no more")];
        parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_other_readers_are_a_change() {
        let [one, two] = [
            "age18duv3ektnv7kq7kg8s0v8yy7xunzj2jc667fxqv88wzqnakws5rq5fkd5n",
            "age1xk7yh7phvy5fcapfuzwvhrr8hehh35p0zyrk4hur70yge458ayxq6dm0nj",
        ];
        let config = |keys: &[&str]| format!("creation_rules:\n  - age: {}\n", keys.join(","));
        let changes = |now: &[&str], then: &[&str]| {
            let found = OtherReaders::between(&config(now), &config(then), "0123456789abcdef");
            found.map(|found| (found.back.len(), found.out.len(), found.to_string()))
        };
        assert_eq!(changes(&[one], &[one]), None);
        assert_eq!(changes(&[one, two], &[two, one]), None);
        let (back, out, text) = changes(&[one], &[one, two]).unwrap();
        assert_eq!((back, out), (1, 0));
        assert!(
            text.starts_with("with the files of 0123456789 ") && text.ends_with("could read again"),
            "{text}"
        );
        let (back, out, text) = changes(&[one], &[two]).unwrap();
        assert_eq!((back, out), (1, 1));
        assert!(text.contains("could read again; ") && text.ends_with("could read no more"), "{text}");
        assert!(OtherReaders::between("x: 1", &config(&[one]), "a").is_some());
        assert_eq!(OtherReaders::between("x: 1", "", "a").map(|found| found.to_string()), None);
    }
}
