//! Captures the output of a command in bounded memory: the head and the tail are kept, the middle is only counted.

use std::borrow::Cow;
use std::collections::VecDeque;

use super::listener::Pace;

/// Bytes kept of the head, and as many of the tail: enough for a stack trace, and small enough to store with each
/// attempt.
const KEPT_AT_EACH_END: usize = 32 * 1024;
/// Bytes. A longer line is logged in pieces, so that one without an end does not fill the memory.
const MAX_LINE_LENGTH: usize = 4 * 1024;
/// Bytes, in UTF-8.
const MAX_CHARACTER_LENGTH: usize = 4;

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
        let (mut head, tail) = (self.head.clone(), Vec::from(self.tail.clone()));
        if self.dropped == 0 {
            head.extend(tail);
            return String::from_utf8_lossy(&head).into_owned();
        }
        // What is left of a character that was cut goes with what is missing.
        let cut = unfinished(&head);
        head.truncate(head.len() - cut);
        let rest = tail.iter().take(MAX_CHARACTER_LENGTH - 1).take_while(|byte| matches!(byte, 0x80..0xc0)).count();
        let missing = self.dropped + (cut + rest) as u64;
        let (head, tail) = (String::from_utf8_lossy(&head), String::from_utf8_lossy(&tail[rest..]));
        format!("{head}\n[{missing} bytes not kept]\n{tail}")
    }
}

/// Splits a stream into lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    partial: Vec<u8>,
    /// The partial line is the rest of one whose beginning was handed on.
    is_rest: bool,
}

impl Lines {
    /// Hands on the lines that these bytes complete, as far as `pace` lets them through.
    pub(super) fn push(&mut self, mut bytes: &[u8], pace: &mut Pace, mut line: impl FnMut(&str)) {
        while !bytes.is_empty() {
            if !pace.is_open() {
                return self.leave_out(bytes, pace);
            }
            let end = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1);
            // A line break may come on top.
            let (piece, rest) = bytes.split_at(end.min(MAX_LINE_LENGTH + 1 - self.partial.len()));
            self.partial.extend_from_slice(piece);
            bytes = rest;
            if self.partial.last() == Some(&b'\n') {
                let whole = std::mem::take(&mut self.partial);
                if !(std::mem::take(&mut self.is_rest) && whole == b"\n") {
                    pace.hand_on();
                    line(&text_of(&whole));
                }
            } else if self.partial.len() > MAX_LINE_LENGTH {
                let cut = MAX_LINE_LENGTH - unfinished(&self.partial[..MAX_LINE_LENGTH]);
                let rest = self.partial.split_off(cut);
                pace.hand_on();
                line(&text_of(&std::mem::replace(&mut self.partial, rest)));
                self.is_rest = true;
            }
        }
    }

    /// Counts the lines instead, which must cost little: there may be millions.
    fn leave_out(&mut self, bytes: &[u8], pace: &mut Pace) {
        match bytes.iter().rposition(|byte| *byte == b'\n') {
            Some(last) => {
                let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
                pace.leave_out(lines as u64);
                (self.partial, self.is_rest) = (bytes[last + 1..].to_vec(), false);
            }
            None => self.partial.extend_from_slice(bytes),
        }
        // Of a line without an end, the pieces count.
        let pieces = self.partial.len() / (MAX_LINE_LENGTH + 1);
        if pieces > 0 {
            pace.leave_out(pieces as u64);
            self.partial.drain(..pieces * MAX_LINE_LENGTH);
            self.is_rest = true;
        }
    }

    /// Hands on what is left without a line break.
    pub(super) fn end(&mut self, pace: &mut Pace, mut line: impl FnMut(&str)) {
        match std::mem::take(&mut self.partial) {
            rest if rest.is_empty() => {}
            rest if pace.is_open() => line(&text_of(&rest)),
            _ => pace.leave_out(1),
        }
    }
}

/// A line without its end, as text.
fn text_of(line: &[u8]) -> Cow<'_, str> {
    let end = line.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r')).map_or(0, |last| last + 1);
    String::from_utf8_lossy(&line[..end])
}

/// How many bytes at the end are the beginning of a character (UTF-8) whose rest is missing.
fn unfinished(bytes: &[u8]) -> usize {
    let begins = |byte: &u8| !matches!(byte, 0x80..0xc0);
    let length = bytes.iter().rev().take(MAX_CHARACTER_LENGTH).position(begins).map_or(0, |after| after + 1);
    let due = bytes.len().checked_sub(length).and_then(|at| bytes.get(at)).map_or(0, |first| match first {
        0xc2..0xe0 => 2,
        0xe0..0xf0 => 3,
        0xf0..0xf5 => 4,
        _ => 1,
    });
    if due > length { length } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hook::command::listener::Listener;

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

    /// What is handed on of these reads.
    fn handed_on(reads: &[&[u8]], mut pace: Pace) -> (Vec<String>, Option<u64>) {
        let (mut lines, mut seen) = (Lines::default(), Vec::new());
        for bytes in reads {
            lines.push(bytes, &mut pace, |line| seen.push(line.to_owned()));
            assert!(lines.partial.len() <= MAX_LINE_LENGTH, "memory is bounded");
        }
        lines.end(&mut pace, |line| seen.push(line.to_owned()));
        (seen, pace.told())
    }

    fn all() -> Pace {
        Listener::of_all(|_| ()).pace
    }

    #[test]
    fn lines_come_whole_whatever_the_reads() {
        let (seen, _) = handed_on(&[b"on", b"e\r\ntwo\n\nthr", b"ee"], all());
        assert_eq!(seen, ["one", "two", "", "three"]);
    }

    #[test]
    fn a_line_without_an_end_is_handed_on_in_pieces() {
        let (seen, _) = handed_on(&[&vec![b'x'; 3 * MAX_LINE_LENGTH + 1]], all());
        assert_eq!(
            seen.iter().map(String::len).collect::<Vec<_>>(),
            [MAX_LINE_LENGTH, MAX_LINE_LENGTH, MAX_LINE_LENGTH, 1]
        );
        let line = [vec![b'x'; MAX_LINE_LENGTH], b"\nnext\n".to_vec()].concat();
        assert_eq!(handed_on(&[&line], all()).0.len(), 2, "a line that just fits is one");
    }

    #[test]
    fn no_character_is_cut_in_two() {
        for text in ["é", "語", "😀"] {
            for shift in 0..text.len() {
                let text = "x".repeat(shift) + &text.repeat(40_000);
                for reads in [vec![text.as_bytes()], text.as_bytes().chunks(1000).collect()] {
                    let (seen, _) = handed_on(&reads, all());
                    assert_eq!(seen.concat(), text);
                    let mut output = Output::default();
                    reads.iter().for_each(|read| output.push(read));
                    assert!(!output.text().contains('\u{fffd}'));
                    let (head, rest) =
                        output.text().split_once("\n[").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
                    let (missing, tail) = rest.split_once(" bytes not kept]\n").unwrap();
                    assert_eq!(head.len() + missing.parse::<usize>().unwrap() + tail.len(), text.len());
                }
            }
        }
    }

    #[test]
    fn what_is_no_text_is_replaced_and_not_waited_for() {
        let (seen, _) = handed_on(&[b"a\xff\n", &[0x80; 2 * MAX_LINE_LENGTH], b"\n\xf0\x9f\n\xe2\x82"], all());
        assert_eq!(seen.first().unwrap(), "a\u{fffd}");
        assert_eq!(seen[1..3].concat(), "\u{fffd}".repeat(2 * MAX_LINE_LENGTH));
        assert_eq!(seen[3..], ["\u{fffd}", "\u{fffd}"]);
    }

    #[test]
    fn lines_beyond_the_pace_are_counted() {
        let printed = "line\n".repeat(10_000);
        for size in [1, 7, 8192, printed.len()] {
            let reads: Vec<&[u8]> = printed.as_bytes().chunks(size).collect();
            let (seen, left_out) = handed_on(&reads, Listener::paced(|_| ()).pace);
            assert!(seen.iter().all(|line| line == "line"));
            assert_eq!((seen.len(), left_out), (1000, Some(9000)), "reads of {size} bytes");
        }
        let endless = vec![b'x'; 1100 * MAX_LINE_LENGTH];
        let (seen, left_out) = handed_on(&[&endless], Listener::paced(|_| ()).pace);
        assert_eq!((seen.len(), left_out), (1000, Some(100)));
    }
}
