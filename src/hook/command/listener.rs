//! Who hears what a command prints, line by line, and how many lines it hears.

use std::time::Duration;

use tokio::time::Instant;

/// Lines that are handed on before any is left out: more than hooks print that mean to be read.
const BURST: u32 = 1000;
/// Lines that are handed on in each interval after that. The journal takes 10,000 in 30 s from a unit, and several times
/// that with room on its disk (`RateLimitBurst=`, journald.conf(5)): the agent's own lines must find a place among them.
const PER_INTERVAL: u32 = 200;
const INTERVAL: Duration = Duration::from_secs(10);

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

/// What is heard of a command while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Printed<'a> {
    Line(Stream, &'a str),
    /// So many lines are left out here.
    LeftOut(u64),
    /// It has left processes in the background, and what they print is not read any more: there are too many of them.
    BackgroundUnread,
}

/// Hears what a command prints.
pub struct Listener<F> {
    pub(super) hear: F,
    pub(super) pace: Pace,
}

impl<F: Fn(Printed<'_>)> Listener<F> {
    /// Hears each line.
    pub fn of_all(hear: F) -> Self {
        Self { hear, pace: Pace { left: u32::MAX, refilled: Instant::now(), left_out: 0 } }
    }

    /// Hears a burst of lines, then only some in each ten seconds, and how many were left out.
    pub fn paced(hear: F) -> Self {
        Self { hear, pace: Pace { left: BURST, refilled: Instant::now(), left_out: 0 } }
    }
}

/// How many more lines may be handed on: a token bucket, refilled by and by.
#[derive(Debug)]
pub(super) struct Pace {
    left: u32,
    refilled: Instant,
    left_out: u64,
}

impl Pace {
    /// Lets more lines through if it is time. How many were left out until then, if any.
    pub(super) fn refill(&mut self, now: Instant) -> Option<u64> {
        if self.left > BURST || now.duration_since(self.refilled) < INTERVAL {
            return None;
        }
        // Not more for a longer time: what is left out comes in bursts, too.
        (self.left, self.refilled) = ((self.left + PER_INTERVAL).min(BURST), now);
        self.told()
    }

    /// Whether the next line may be handed on.
    pub(super) fn is_open(&self) -> bool {
        self.left > 0
    }

    pub(super) fn hand_on(&mut self) {
        self.left = self.left.saturating_sub(1);
    }

    pub(super) fn leave_out(&mut self, lines: u64) {
        self.left_out += lines;
    }

    /// How many lines were left out since this was last asked, if any.
    pub(super) fn told(&mut self) -> Option<u64> {
        Some(std::mem::take(&mut self.left_out)).filter(|lines| *lines > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_prints_little_is_heard_for_ever_and_who_prints_much_now_and_then() {
        for (each_second, heard) in [(15, 15 * 3600), (1000, 1000 + 359 * 200)] {
            let mut pace = Listener::paced(|_| ()).pace;
            let begin = Instant::now();
            let (mut lines, mut left_out) = (0, 0);
            for second in 0..3600 {
                left_out += pace.refill(begin + Duration::from_secs(second)).unwrap_or_default();
                for _ in 0..each_second {
                    if pace.is_open() {
                        pace.hand_on();
                        lines += 1;
                    } else {
                        pace.leave_out(1);
                    }
                }
            }
            left_out += pace.told().unwrap_or_default();
            assert_eq!((lines, left_out), (heard, each_second * 3600 - heard));
        }
    }
}
