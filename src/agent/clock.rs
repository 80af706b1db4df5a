//! The wall clock, and whether it was set or the machine was suspended.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

/// Smaller differences are NTP slewing the clock.
const MIN_CLOCK_STEP: Duration = Duration::from_secs(5);

/// The time now, in whole milliseconds as it is stored, so that memory and database agree.
pub(crate) fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}

/// The wall clock beside the monotonic clock.
pub(crate) struct Clock {
    wall: Timestamp,
    monotonic: Instant,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { wall: Timestamp::now(), monotonic: Instant::now() }
    }

    /// How far the wall clock was set since the last call, forward or back, if it was.
    pub(crate) fn was_set(&mut self) -> Option<SignedDuration> {
        let now = Self::new();
        let wall = now.wall.duration_since(self.wall);
        let monotonic = SignedDuration::try_from(now.monotonic - self.monotonic).unwrap_or_default();
        *self = now;
        Some(wall - monotonic).filter(|offset| offset.unsigned_abs() > MIN_CLOCK_STEP)
    }
}
