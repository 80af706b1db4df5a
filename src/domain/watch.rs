//! A named question with a schedule, and the hooks that it feeds.

use std::sync::Arc;
use std::time::Duration;

use super::question::Question;
use super::schedule::Schedule;

/// What identifies the state of a watch: an edit of image or platform is another key, and starts a new baseline.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WatchKey {
    /// The watch's name in the config.
    pub name: Arc<str>,
    pub question: Question,
}

/// One watch as configured.
#[derive(Debug, Clone)]
pub struct Watch {
    pub key: WatchKey,
    /// When it is due; shared by all watches with the same text and zone.
    pub schedule: Arc<Schedule>,
    /// For cron: how far due times are spread.
    pub jitter: Duration,
    /// How long things must hold before they count; shared by all watches with the same times.
    pub policy: Arc<Policy>,
    /// The names of the hooks that it feeds.
    pub hooks: Arc<[Arc<str>]>,
    /// `false`: kept in the config, not checked.
    pub enabled: bool,
}

/// How long things must hold before they count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Policy {
    /// A new digest must hold for this long; zero: at once.
    pub settle: Duration,
    /// A digest that was superseded recently must still be there after this.
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

    /// The first time after `after` at which the watch is due.
    pub fn next_due(&self, after: jiff::Timestamp) -> jiff::Timestamp {
        self.schedule.next(&self.key.name, self.jitter, after)
    }
}
