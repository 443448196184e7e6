//! The only place that prints: results go to stdout, all else to stderr behind `hlx:`.

use std::borrow::Cow;
use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, IsTerminal as _, Write};
use std::os::fd::AsFd;

use age::secrecy::{ExposeSecret as _, SecretString};

use super::Failure;
use crate::crypto::envelope::Recipient;

/// The terminal, or whatever stands in its place.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ui {
    /// Leave out notes; errors, warnings and hints stay.
    pub quiet: bool,
}

/// Standard input or output without the standard library's buffer, which would keep what went through it.
pub(super) fn past_the_buffer(stream: impl AsFd) -> io::Result<File> {
    Ok(File::from(stream.as_fd().try_clone_to_owned()?))
}

impl Ui {
    /// A result that a script could read. A reader that went away is no failure.
    pub fn result(&self, line: impl Display) {
        let _ = writeln!(io::stdout().lock(), "{}", shown(&line.to_string()));
    }

    /// Bytes of a result, just as they are.
    pub fn raw(&self, bytes: &[u8]) -> io::Result<()> {
        match past_the_buffer(io::stdout()).and_then(|mut out| out.write_all(bytes)) {
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

    /// What belongs to something that was said already, and is not left out where that was not.
    pub fn detail(&self, text: impl Display) {
        self.line("", text);
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

    /// How far something is that takes a while, on a terminal only; it goes when all is done.
    pub fn progress(&self, what: &str, done: usize, all: usize) {
        const WIDTH: usize = 30;
        let percent = |done: usize| done * 100 / all.max(1);
        let is_news = done == all || percent(done) != percent(done.saturating_sub(1));
        if self.quiet || !is_news || !io::stderr().is_terminal() {
            return;
        }
        let full = done * WIDTH / all.max(1);
        let bar = format!("[{}{}] {done} of {all} {what}", "#".repeat(full), " ".repeat(WIDTH - full));
        let line = if done == all { String::new() } else { format!("hlx: {bar}") };
        let _ = write!(io::stderr(), "\r\x1b[K{line}");
    }

    /// Lines that take the place of the `height` lines shown last; false where stderr is no terminal.
    pub fn block(&self, height: usize, lines: &[String]) -> bool {
        const WIDTH: usize = 100;
        if self.quiet || !io::stderr().is_terminal() {
            return false;
        }
        let mut text = if height > 0 { format!("\x1b[{height}A") } else { String::new() };
        for line in lines {
            // A line that the terminal breaks in two would shift those above it.
            let line: String = shown(line).chars().take(WIDTH).collect();
            text.push_str(&format!("\r\x1b[K\x1b[?7lhlx: {line}\x1b[?7h\n"));
        }
        let _ = io::stderr().write_all(text.as_bytes());
        true
    }

    /// A whole failure: the fact, and what to do.
    pub fn failure(&self, failure: &Failure) {
        self.error(failure.message());
        failure.hints().iter().for_each(|hint| self.hint(hint));
    }

    fn line(&self, label: &str, text: impl Display) {
        let mut err = io::stderr().lock();
        // A later line could otherwise pass for a message of its own: names that others chose can hold line feeds.
        for (number, line) in text.to_string().lines().enumerate() {
            let label = if number == 0 { label } else { "  " };
            let _ = writeln!(err, "hlx: {label}{}", shown(line));
        }
    }
}

/// A number of things, in words.
pub fn counted(count: usize, one: &str, several: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { several })
}

/// A public key for a person to read: whole, unless it would fill the screen, as a post-quantum one does.
pub fn key(recipient: &Recipient) -> Cow<'_, str> {
    match recipient.as_str() {
        text if text.len() < 1000 => text.into(),
        _ => recipient.short().into(),
    }
}

/// Shows what a plugin of age has to say.
pub fn tell(message: &str) {
    Ui::default().note(message);
}

/// Asks a question on the terminal, if there is one. Inside git, stdin is not it.
pub fn ask(question: &str) -> Option<String> {
    let mut terminal = File::options().read(true).write(true).open("/dev/tty").ok()?;
    write!(terminal, "hlx: {question} ").ok()?;
    let mut answer = String::new();
    BufReader::new(terminal).read_line(&mut answer).ok()?;
    Some(answer.trim_end_matches(['\r', '\n']).to_owned())
}

/// Asks for a secret on the terminal, if there is one, without showing it.
pub fn ask_secret(question: &str) -> Option<SecretString> {
    rpassword::prompt_password(format!("hlx: {question} ")).ok().map(SecretString::from)
}

/// Asks for the passphrase of something; `None` where nobody can be asked, or the answer is empty.
pub fn ask_passphrase(question: &str) -> Option<SecretString> {
    ask_secret(question).filter(|answer| !answer.expose_secret().is_empty())
}

/// Whether there is somebody who can be asked.
pub fn has_terminal() -> bool {
    File::open("/dev/tty").is_ok()
}

/// Names of files and keys come from others: their control characters are shown, not obeyed.
fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && !matches!(c, '\t' | '\n') { '\u{fffd}' } else { c }).collect()
}
