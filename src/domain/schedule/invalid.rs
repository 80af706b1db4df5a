//! The error of parsing a schedule or a duration.

use std::ops::Range;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct InvalidSchedule {
    /// What is wrong, and the remedy.
    pub reason: String,
    /// The bytes of the offending part in the parsed text.
    pub at: Range<usize>,
}

impl InvalidSchedule {
    /// An error that concerns all of `text`.
    pub(super) fn whole(text: &str, reason: String) -> Self {
        Self { reason, at: 0..text.len() }
    }
}
