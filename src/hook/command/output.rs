//! Captures the output of a command in bounded memory: the head and the tail are kept, the middle is only counted.

use std::collections::VecDeque;

/// Bytes kept of the head, and as many of the tail: enough for a stack trace, and small enough to store with each
/// attempt.
const KEPT_AT_EACH_END: usize = 32 * 1024;
/// Bytes. A longer line is logged in pieces, so that one without an end does not fill the memory.
const MAX_LINE_LENGTH: usize = 4 * 1024;

/// The stream that a line was printed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// The output of both streams, in the order in which it was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Output {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    dropped: u64,
}

impl Output {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let (to_head, rest) = bytes.split_at(bytes.len().min(KEPT_AT_EACH_END - self.head.len()));
        self.head.extend_from_slice(to_head);
        self.tail.extend(rest);
        let surplus = self.tail.len().saturating_sub(KEPT_AT_EACH_END);
        self.tail.drain(..surplus);
        self.dropped += surplus as u64;
    }

    #[cfg(test)]
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// The output as text. Invalid UTF-8 is replaced, and a line in the middle says how many bytes are missing.
    pub(super) fn text(&self) -> String {
        let mut bytes = self.head.clone();
        if self.dropped > 0 {
            bytes.extend_from_slice(format!("\n[{} bytes not kept]\n", self.dropped).as_bytes());
        }
        bytes.extend(&self.tail);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// A line with its control characters escaped, so that it can forge neither another line nor colours in a log.
fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_end_matches(['\n', '\r']);
    let is_unsafe = |c: char| c.is_control() && c != '\t';
    let mut printable = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unsafe(c) { printable.extend(c.escape_default()) } else { printable.push(c) }
    }
    printable
}

/// Splits a stream into lines for the log.
#[derive(Debug, Default)]
pub(super) struct Lines {
    partial: Vec<u8>,
}

impl Lines {
    pub(super) fn push(&mut self, bytes: &[u8], mut line: impl FnMut(&str)) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.partial.extend_from_slice(piece);
            while self.partial.last() == Some(&b'\n') || self.partial.len() >= MAX_LINE_LENGTH {
                let cut = self.partial.len().min(MAX_LINE_LENGTH);
                let whole: Vec<u8> = self.partial.drain(..cut).collect();
                line(&printable(&whole));
            }
        }
    }

    pub(super) fn end(&mut self, mut line: impl FnMut(&str)) {
        if !self.partial.is_empty() {
            line(&printable(&std::mem::take(&mut self.partial)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_and_tail_are_kept_and_the_middle_is_counted() {
        let mut output = Output::default();
        output.push(b"first\n");
        for _ in 0..10_000 {
            output.push(&[b'x'; 1000]);
        }
        output.push(b"\nlast");
        assert!(output.text().starts_with("first\n") && output.text().ends_with("\nlast"));
        assert_eq!(output.dropped(), 6 + 10_000_000 + 5 - 2 * KEPT_AT_EACH_END as u64);
        assert!(output.text().contains(&format!("[{} bytes not kept]", output.dropped())));
        assert!(output.text().len() < 2 * KEPT_AT_EACH_END + 100);
    }

    #[test]
    fn lines_come_whole_whatever_the_reads() {
        let (mut lines, mut seen) = (Lines::default(), Vec::new());
        for bytes in [b"on".as_slice(), b"e\r\ntwo\n\nthr", b"ee"] {
            lines.push(bytes, |line| seen.push(line.to_owned()));
        }
        lines.end(|line| seen.push(line.to_owned()));
        assert_eq!(seen, ["one", "two", "", "three"]);
    }

    #[test]
    fn a_line_cannot_forge_another() {
        assert_eq!(printable(b"\x1b[31mred\rover\ta\xff"), "\\u{1b}[31mred\\rover\ta\u{fffd}");
    }

    #[test]
    fn a_line_without_an_end_is_handed_on_in_pieces() {
        let (mut lines, mut seen) = (Lines::default(), 0);
        lines.push(&vec![b'x'; 3 * MAX_LINE_LENGTH + 1], |_| seen += 1);
        assert_eq!(seen, 3);
        assert_eq!(lines.partial.len(), 1);
    }
}
