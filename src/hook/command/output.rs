//! A command's output, kept within bounds: the head and the tail, with the middle counted.

use std::collections::VecDeque;

/// Bytes kept of the beginning, and of the end.
const HALF: usize = 32 * 1024;
/// A line that is longer is handed on in pieces.
const LONGEST_LINE: usize = 4 * 1024;

/// Which of the two streams a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// The word in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// Both streams in the order in which they were read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Output {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    dropped: u64,
}

impl Output {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let (to_head, rest) = bytes.split_at(bytes.len().min(HALF - self.head.len()));
        self.head.extend_from_slice(to_head);
        self.tail.extend(rest);
        let surplus = self.tail.len().saturating_sub(HALF);
        self.tail.drain(..surplus);
        self.dropped += surplus as u64;
    }

    /// Bytes that were not kept.
    #[cfg(test)]
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// The text: what is not UTF-8 is replaced, and a line tells how much of the middle is missing.
    pub(super) fn text(&self) -> String {
        let mut bytes = self.head.clone();
        if self.dropped > 0 {
            bytes.extend_from_slice(format!("\n[{} bytes not kept]\n", self.dropped).as_bytes());
        }
        bytes.extend(&self.tail);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// A line without control characters, so that it cannot forge another line, or colours, in a log.
fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_end_matches(['\n', '\r']);
    let is_unfit = |c: char| c.is_control() && c != '\t';
    let mut printable = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unfit(c) { printable.extend(c.escape_default()) } else { printable.push(c) }
    }
    printable
}

/// Cuts a stream into lines for the journal.
#[derive(Debug, Default)]
pub(super) struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    pub(super) fn push(&mut self, bytes: &[u8], mut line: impl FnMut(&str)) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.rest.extend_from_slice(piece);
            while self.rest.last() == Some(&b'\n') || self.rest.len() >= LONGEST_LINE {
                let cut = self.rest.len().min(LONGEST_LINE);
                let whole: Vec<u8> = self.rest.drain(..cut).collect();
                line(&printable(&whole));
            }
        }
    }

    pub(super) fn end(&mut self, mut line: impl FnMut(&str)) {
        if !self.rest.is_empty() {
            line(&printable(&std::mem::take(&mut self.rest)));
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
        assert_eq!(output.dropped(), 6 + 10_000_000 + 5 - 2 * HALF as u64);
        assert!(output.text().contains(&format!("[{} bytes not kept]", output.dropped())));
        assert!(output.text().len() < 2 * HALF + 100);
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
        lines.push(&vec![b'x'; 3 * LONGEST_LINE + 1], |_| seen += 1);
        assert_eq!(seen, 3);
        assert_eq!(lines.rest.len(), 1);
    }
}
