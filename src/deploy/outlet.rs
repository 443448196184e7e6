//! What programs say, on its way to people: masked, line by line, the last lines kept.

use std::collections::VecDeque;

use super::mask::{Flow, Masker};
use crate::sys::process::Stream;

/// How many lines a report of a failure repeats.
pub const TAIL: usize = 20;

/// Something for people to see while a deploy runs.
#[derive(Debug)]
pub enum Event<'e> {
    /// The next step begins.
    Step(&'e str),
    /// A program said this.
    Line {
        /// The program.
        from: &'e str,
        /// A line of its output, masked.
        text: &'e str,
    },
    /// Something is not as it should be, and the deploy goes on.
    Warning(&'e str),
    /// A container's condition changed.
    Service {
        /// The service.
        name: &'e str,
        /// How it is now.
        condition: &'e str,
    },
}

/// Where events go.
pub type Report<'r> = &'r dyn Fn(Event<'_>);

/// The two outputs of one program.
pub struct Outlet<'o> {
    from: &'o str,
    report: Report<'o>,
    flows: [(Flow<'o>, Vec<u8>); 2],
    tail: VecDeque<String>,
    /// Lines with this in them are not passed on.
    left_out: Option<&'static str>,
}

impl<'o> Outlet<'o> {
    /// An outlet for what `from` says.
    pub fn new(from: &'o str, masker: &'o Masker, report: Report<'o>) -> Self {
        let flow = || (Flow::new(masker), Vec::new());
        Self { from, report, flows: [flow(), flow()], tail: VecDeque::new(), left_out: None }
    }

    /// The same without lines that are not so.
    #[must_use]
    pub fn without(mut self, words: Option<&'static str>) -> Self {
        self.left_out = words;
        self
    }

    /// Takes output as it comes.
    pub fn push(&mut self, stream: Stream, bytes: &[u8]) {
        let (flow, line) = &mut self.flows[usize::from(stream == Stream::Err)];
        line.extend(flow.push(bytes));
        let Some(end) = line.iter().rposition(|byte| *byte == b'\n') else { return };
        let rest = line.split_off(end + 1);
        let whole = std::mem::replace(line, rest);
        self.say(&whole);
    }

    /// Ends, and gives the last lines.
    pub fn finish(mut self) -> String {
        for index in 0..2 {
            let (flow, line) = &mut self.flows[index];
            line.extend(flow.finish());
            let rest = std::mem::take(line);
            self.say(&rest);
        }
        Vec::from(self.tail).join("\n")
    }

    fn say(&mut self, text: &[u8]) {
        for line in String::from_utf8_lossy(text).lines() {
            let line = printable(line);
            let is_left_out = self.left_out.is_some_and(|words| line.contains(words));
            if !line.trim().is_empty() && !is_left_out {
                (self.report)(Event::Line { from: self.from, text: &line });
                self.tail.push_back(line);
                self.tail.drain(..self.tail.len().saturating_sub(TAIL));
            }
        }
    }
}

/// A text's lines, each [`printable`], without empty ones.
pub fn lines(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(printable).filter(|line| !line.trim().is_empty()).collect();
    lines.join("\n")
}

/// A line without control characters and without the colours they make.
pub fn printable(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter == '\u{1b}' && letters.next_if_eq(&'[').is_some() {
            letters.by_ref().find(|letter| ('@'..='~').contains(letter));
        } else if !letter.is_control() || letter == '\t' {
            plain.push(letter);
        }
    }
    plain.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn lines_come_whole_masked_and_plain() {
        let masker = Masker::new([&b"hunter22"[..]]);
        let seen = RefCell::new(Vec::new());
        let report = |event: Event<'_>| {
            if let Event::Line { from, text } = event {
                seen.borrow_mut().push(format!("{from}: {text}"));
            }
        };
        let mut outlet = Outlet::new("p", &masker, &report).without(Some("not so"));
        outlet.push(Stream::Err, b"this is not so\n");
        outlet.push(Stream::Out, b"a \x1b[31mred\x1b[0m hun");
        outlet.push(Stream::Err, b"other\n");
        outlet.push(Stream::Out, b"ter22\r\nend");
        assert_eq!(outlet.finish(), "other\na red «secret»\nend");
        assert_eq!(*seen.borrow(), ["p: other", "p: a red «secret»", "p: end"]);
    }
}
