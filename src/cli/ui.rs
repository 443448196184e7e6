//! The only place that prints: results go to stdout, all else to stderr behind `hlx:`.

use std::fmt::Display;
use std::io::{self, BufRead as _, Write};

use super::Failure;
use crate::secret::SecretBytes;

/// The terminal, or whatever stands in its place.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ui {
    /// Leave out notes; errors, warnings and hints stay.
    pub quiet: bool,
}

impl Ui {
    /// A result that a script could read. A reader that went away is no failure.
    pub fn result(&self, line: impl Display) {
        let _ = writeln!(io::stdout().lock(), "{line}");
    }

    /// Bytes of a result, just as they are.
    pub fn raw(&self, bytes: &[u8]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match out.write_all(bytes).and_then(|()| out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other,
        }
    }

    /// What a person may want to know, on stderr.
    pub fn note(&self, text: impl Display) {
        if !self.quiet {
            self.line("", text);
        }
    }

    /// What a person should know.
    pub fn warning(&self, text: impl Display) {
        self.line("warning: ", text);
    }

    /// What went wrong.
    pub fn error(&self, text: impl Display) {
        self.line("error: ", text);
    }

    /// What to do about it.
    pub fn hint(&self, text: impl Display) {
        self.line("hint: ", text);
    }

    /// A whole failure: the fact, and what to do.
    pub fn failure(&self, failure: &Failure) {
        self.error(failure.message());
        failure.hints().iter().for_each(|hint| self.hint(hint));
    }

    /// Asks at the terminal for something that is not shown as it is typed.
    pub fn ask_secret(&self, question: &str) -> io::Result<SecretBytes> {
        rpassword::prompt_password(format!("hlx: {question}")).map(|text| SecretBytes::new(text.into_bytes()))
    }

    /// Asks at the terminal; yes is the default. Without an answer it is no.
    pub fn confirm(&self, question: &str) -> bool {
        let mut err = io::stderr().lock();
        let _ = write!(err, "hlx: {question} [Y/n] ").and_then(|()| err.flush());
        let mut answer = String::new();
        let read = io::stdin().lock().read_line(&mut answer);
        read.is_ok_and(|length| length > 0)
            && matches!(answer.trim().to_lowercase().as_str(), "" | "y" | "yes")
    }

    fn line(&self, label: &str, text: impl Display) {
        let mut err = io::stderr().lock();
        for line in text.to_string().lines() {
            // Names of files and keys come from others: their control characters are shown, not obeyed.
            let safe: String =
                line.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect();
            let _ = writeln!(err, "hlx: {label}{safe}");
        }
    }
}
