//! What a hook is owed, and the one table that says how that may go on.

use super::backoff::Backoff;

/// How often and at which pace a hook is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// Tries before a delivery is `failed`.
    pub attempts: u32,
    /// The pauses between them.
    pub backoff: Backoff,
}
