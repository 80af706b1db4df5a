//! A watch: a named question, its schedule, and the hooks that are told of its changes.

use std::sync::Arc;
use std::time::Duration;

use super::question::Question;
use super::schedule::Schedule;

/// The key of a watch's recorded state. Editing the image or the platform changes the key and starts a new baseline.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WatchKey {
    pub name: Arc<str>,
    pub question: Question,
}

#[derive(Debug, Clone)]
pub struct Watch {
    pub key: WatchKey,
    /// Shared by all watches with the same text and time zone, to save memory.
    pub schedule: Arc<Schedule>,
    /// For a cron expression: the longest delay added to a due time. An interval ignores it.
    pub jitter: Duration,
    /// Shared by all watches with the same policy, to save memory.
    pub policy: Arc<Policy>,
    /// The names of the hooks that are told of its changes.
    pub hooks: Arc<[Arc<str>]>,
    /// A disabled watch stays in the config and is not checked.
    pub enabled: bool,
}

/// How long an observation must persist before it is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Policy {
    /// Debounce: a new digest must be seen for this long. Zero accepts it at once.
    pub settle: Duration,
    /// A digest that was superseded recently may come from a stale mirror, as may another media type. It must be
    /// seen again after this long.
    pub confirm_after: Duration,
    /// A tag must be missing for this long before it counts as removed.
    pub absent_after: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self { settle: Duration::ZERO, confirm_after: Duration::from_secs(60), absent_after: Duration::from_secs(600) }
    }
}

impl Watch {
    pub fn name(&self) -> &str {
        &self.key.name
    }

    /// The first due time after `after`.
    pub fn next_due(&self, after: jiff::Timestamp) -> jiff::Timestamp {
        self.schedule.next(&self.key.name, self.jitter, after)
    }
}
