//! The secrets of every version that a deploy has opened, taken out of all that it says.
//!
//! A message can be made of the interpolated model, of what Docker says of a container that still
//! runs with the old secrets, or of another program's words. So it is not masked where it is made,
//! but where it leaves the deploy: on its way to people and into the record.

use std::cell::RefCell;
use std::sync::Arc;

use super::error::Error;
use super::mask::Masker;
use super::outlet::{Event, Report};

/// The maskers of the versions that are open.
#[derive(Debug, Default)]
pub(super) struct Masks(RefCell<Vec<Arc<Masker>>>);

impl Masks {
    /// Masks the secrets of one more version from now on.
    pub(super) fn add(&self, masker: &Arc<Masker>) {
        self.0.borrow_mut().push(Arc::clone(masker));
    }

    /// A text without any of the secrets.
    pub(super) fn text(&self, text: &str) -> String {
        without(&self.0.borrow(), text)
    }

    /// Passes events on without any of the secrets.
    pub(super) fn report<'r>(&'r self, report: Report<'r>) -> impl Fn(Event<'_>) + 'r {
        move |event| match event {
            Event::Step(text) => report(Event::Step(&self.text(text))),
            Event::Line { from, text } => report(Event::Line { from, text: &self.text(text) }),
            Event::Warning(text) => report(Event::Warning(&self.text(text))),
            Event::Service { name, condition } => {
                report(Event::Service { name, condition: &self.text(condition) });
            }
        }
    }

    /// An error that says none of the secrets.
    pub(super) fn error(&self, error: Error) -> Error {
        let maskers = self.0.borrow();
        match maskers.is_empty() {
            true => error,
            false => Error::Hidden(Box::new(Hidden { error, maskers: maskers.clone() })),
        }
    }
}

fn without(maskers: &[Arc<Masker>], text: &str) -> String {
    maskers.iter().fold(text.to_owned(), |text, masker| masker.text(text.as_bytes()))
}

/// An error from which secrets are taken out when it is told.
pub struct Hidden {
    error: Error,
    maskers: Vec<Arc<Masker>>,
}

impl Hidden {
    /// What went wrong. What it says by itself may hold secrets.
    pub fn error(&self) -> &Error {
        &self.error
    }

    /// The same, and what takes the secrets out of texts that are made of it.
    pub fn into_parts(self) -> (Error, impl Fn(&str) -> String) {
        let Self { error, maskers } = self;
        (error, move |text: &str| without(&maskers, text))
    }
}

impl std::fmt::Display for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&without(&self.maskers, &self.error.to_string()))
    }
}

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hidden({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_of_any_version_leaves_a_deploy() {
        let masks = Masks::default();
        let error = || Error::OtherHost {
            service: "web".parse().unwrap(),
            host: "nas".into(),
            hosts: vec!["old-secret".into(), "new-secret".into()],
        };
        assert!(matches!(masks.error(error()), Error::OtherHost { .. }));
        for secret in ["old-secret", "new-secret"] {
            masks.add(&Arc::new(Masker::new([secret])));
        }
        let hidden = masks.error(error());
        for told in [hidden.to_string(), format!("{hidden:?}")] {
            assert!(told.contains("but for «secret», «secret»"), "{told}");
        }
        let heard = RefCell::new(Vec::new());
        let hear = |event: Event<'_>| heard.borrow_mut().push(format!("{event:?}"));
        let report = masks.report(&hear);
        report(Event::Step("a new-secret"));
        report(Event::Warning("an old-secret"));
        report(Event::Line { from: "up", text: "old-secret new-secret" });
        report(Event::Service { name: "web", condition: "old-secret: running" });
        let heard = heard.borrow().concat();
        assert_eq!((heard.matches("«secret»").count(), heard.contains("-secret")), (5, false), "{heard}");
    }
}
