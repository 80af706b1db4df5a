//! Notices that the wall clock was set, or that the machine was suspended.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

/// Less is the drift that NTP mends.
const SET: Duration = Duration::from_secs(5);

/// The time now, as exact as it is stored: what is told from memory and from the database is the same.
pub(crate) fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}

/// The wall clock beside the monotonic one.
pub(crate) struct Clock {
    wall: Timestamp,
    monotonic: Instant,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { wall: Timestamp::now(), monotonic: Instant::now() }
    }

    /// How far the wall clock has been set since the last call, forward or back, if it was.
    pub(crate) fn was_set(&mut self) -> Option<SignedDuration> {
        let now = Self::new();
        let wall = now.wall.duration_since(self.wall);
        let monotonic = SignedDuration::try_from(now.monotonic - self.monotonic).unwrap_or_default();
        *self = now;
        Some(wall - monotonic).filter(|offset| offset.unsigned_abs() > SET)
    }
}
