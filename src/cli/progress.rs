//! The progress of many checks: one line on a terminal that is redrawn, and erased at the end.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Often enough to look alive, and too seldom to flicker.
const REDRAW: Duration = Duration::from_millis(100);

/// Carriage return, then "erase in line" (ECMA-48).
const ERASE_LINE: &str = "\r\x1b[K";

/// Shown only if standard error is a terminal and there is more than one check to wait for.
pub(super) struct Progress {
    total: usize,
    done: usize,
    failed: usize,
    is_shown: bool,
    drawn: Option<Instant>,
}

impl Progress {
    pub(super) fn of(total: usize) -> Self {
        let is_shown = total > 1 && std::io::stderr().is_terminal();
        let mut this = Self { total, done: 0, failed: 0, is_shown, drawn: None };
        this.draw();
        this
    }

    /// Counts one more check; `print` prints its result on a clear line.
    pub(super) fn step<T>(&mut self, has_failed: bool, print: impl FnOnce() -> T) -> T {
        self.done += 1;
        self.failed += usize::from(has_failed);
        // Results that go to a pipe or a file do not disturb the line.
        let is_shared = std::io::stdout().is_terminal();
        if is_shared {
            self.erase();
        }
        let printed = print();
        let is_late = self.drawn.is_none_or(|drawn| drawn.elapsed() >= REDRAW);
        if is_shared || is_late || self.done >= self.total {
            self.draw();
        }
        printed
    }

    fn draw(&mut self) {
        if !self.is_shown {
            return;
        }
        let (done, total) = (self.done, self.total.max(self.done));
        let failed = if self.failed > 0 { format!(", {} failed", self.failed) } else { String::new() };
        self.write(&format!("{ERASE_LINE}{done} of {total} checked{failed}"));
        self.drawn = Some(Instant::now());
    }

    fn erase(&self) {
        if self.is_shown && self.drawn.is_some() {
            self.write(ERASE_LINE);
        }
    }

    /// Nobody misses a line that cannot be drawn, so errors are ignored.
    fn write(&self, text: &str) {
        let mut terminal = std::io::stderr().lock();
        let _ = terminal.write_all(text.as_bytes()).and_then(|()| terminal.flush());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.erase();
    }
}
