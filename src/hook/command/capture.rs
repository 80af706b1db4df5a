//! What a command has printed so far: kept for its attempt, and handed on to who listens.

use tokio::time::Instant;

use super::listener::{Listener, Pace, Printed, Stream};
use super::output::{Lines, Output};

pub(super) struct Capture<F> {
    output: Output,
    lines: [Lines; 2],
    pace: Pace,
    hear: F,
}

impl<F: Fn(Printed<'_>)> Capture<F> {
    pub(super) fn new(listener: Listener<F>) -> Self {
        let Listener { hear, pace } = listener;
        Self { output: Output::default(), lines: Default::default(), pace, hear }
    }

    pub(super) fn push(&mut self, stream: Stream, bytes: &[u8]) {
        let Self { output, lines, pace, hear } = self;
        output.push(bytes);
        if let Some(left_out) = pace.refill(Instant::now()) {
            hear(Printed::LeftOut(left_out));
        }
        lines[stream as usize].push(bytes, pace, |line| hear(Printed::Line(stream, line)));
    }

    pub(super) fn say(&self, printed: Printed<'_>) {
        (self.hear)(printed);
    }

    /// Hands on what is left without a line break. Returns what is kept.
    pub(super) fn end(self) -> Output {
        let Self { output, lines, mut pace, hear } = self;
        for (stream, mut lines) in [Stream::Stdout, Stream::Stderr].into_iter().zip(lines) {
            lines.end(&mut pace, |line| hear(Printed::Line(stream, line)));
        }
        if let Some(left_out) = pace.told() {
            hear(Printed::LeftOut(left_out));
        }
        output
    }
}
