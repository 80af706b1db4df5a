//! Why a text is not a schedule.

use std::ops::Range;

/// Why a text is not a schedule or a duration, and the bytes of it that are meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct InvalidSchedule {
    /// The fault and its remedy.
    pub reason: String,
    /// The offending part of what was written.
    pub at: Range<usize>,
}

impl InvalidSchedule {
    /// All of `text` is meant.
    pub(super) fn whole(text: &str, reason: String) -> Self {
        Self { reason, at: 0..text.len() }
    }
}
