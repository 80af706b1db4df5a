//! What holds where the config says nothing.
//!
//! *Invariant:* each default stands in one place, here or with the type that it belongs to ([`Policy`],
//! [`registry::Options`](crate::registry::Options), [`Limits`](crate::domain::gate::Limits)); a test compares
//! `config.example.toml` with all of them.

use std::time::Duration;

use crate::domain::ChangeKind;
use crate::domain::backoff::Backoff;
use crate::domain::delivery::RetryPolicy;
pub use crate::domain::watch::Policy;
use crate::store::{Keep, Retention};

/// How long running hooks may go on when the agent stops.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(30);

/// When a watch is checked.
pub const SCHEDULE: &str = "15m";

/// How far the due times of cron are spread: not at all, so that cron means what it says.
pub const JITTER: Duration = Duration::ZERO;

/// Whether a watch is checked.
pub const ENABLED: bool = true;

/// What a hook subscribes to.
pub const ON: [ChangeKind; 1] = [ChangeKind::Moved];

/// How long one run of a hook may take.
pub const TIMEOUT: Duration = Duration::from_secs(600);

/// How often a hook is tried, and the pauses in between.
pub const RETRY: RetryPolicy =
    RetryPolicy { attempts: 5, backoff: Backoff { first: Duration::from_secs(30), max: Duration::from_secs(3600) } };

/// Runs of one hook at a time.
pub const CONCURRENCY: usize = 1;

/// What is kept of the past.
pub const RETENTION: Retention = Retention {
    changes: Keep { count: 1000, age: None },
    deliveries: Keep { count: 100, age: None },
    outputs: Keep { count: 20, age: Some(Duration::from_secs(90 * 86_400)) },
};
