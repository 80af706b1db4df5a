//! How far a long pass is: one line on a terminal that is written again and again, and gone at the end.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// No eye reads faster.
const REDRAW: Duration = Duration::from_millis(100);

/// Goes to the beginning of the line and empties it.
const EMPTY: &str = "\r\x1b[K";

/// The line, where somebody looks at standard error and there is more than one thing to wait for.
pub(super) struct Progress {
    total: usize,
    done: usize,
    failed: usize,
    is_seen: bool,
    drawn: Option<Instant>,
}

impl Progress {
    pub(super) fn of(total: usize) -> Self {
        let is_seen = total > 1 && std::io::stderr().is_terminal();
        let mut this = Self { total, done: 0, failed: 0, is_seen, drawn: None };
        this.draw();
        this
    }

    /// One more is done: `print` tells it, on a line that is free for it.
    pub(super) fn step<T>(&mut self, has_failed: bool, print: impl FnOnce() -> T) -> T {
        self.done += 1;
        self.failed += usize::from(has_failed);
        // Where results go elsewhere, they do not disturb the line.
        let is_shared = std::io::stdout().is_terminal();
        if is_shared {
            self.empty();
        }
        let printed = print();
        let is_late = self.drawn.is_none_or(|drawn| drawn.elapsed() >= REDRAW);
        if is_shared || is_late || self.done >= self.total {
            self.draw();
        }
        printed
    }

    fn draw(&mut self) {
        if !self.is_seen {
            return;
        }
        let (done, total) = (self.done, self.total.max(self.done));
        let failed = if self.failed > 0 { format!(", {} failed", self.failed) } else { String::new() };
        self.write(&format!("{EMPTY}{done} of {total} checked{failed}"));
        self.drawn = Some(Instant::now());
    }

    fn empty(&self) {
        if self.is_seen && self.drawn.is_some() {
            self.write(EMPTY);
        }
    }

    /// A line that cannot be drawn is not missed.
    fn write(&self, text: &str) {
        let mut terminal = std::io::stderr().lock();
        let _ = terminal.write_all(text.as_bytes()).and_then(|()| terminal.flush());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.empty();
    }
}
