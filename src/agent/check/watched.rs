//! A watch on its way through the scheduler, and those who wait for its check.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::control::wire::CheckLine;
use crate::domain::Watch;
use crate::domain::judge::{Persist, Record};
use crate::store::WatchId;

/// One watch as the scheduler sees it.
pub(crate) struct Watched {
    pub(crate) id: WatchId,
    pub(crate) watch: Arc<Watch>,
    pub(crate) record: Record,
    /// The index of its registry.
    pub(crate) registry: usize,
    /// When it is due by itself; `None` from then until its check has ended.
    pub(crate) due: Option<Timestamp>,
    pub(crate) stage: Stage,
    /// Whether a check that is recorded is wanted: it came due, or somebody asked for it.
    pub(crate) wanted: bool,
    /// Those who asked for the next check.
    pub(crate) waiting: Vec<Waiter>,
    /// All watches that ask the same question, this one among them; `None` where it is the only one.
    pub(crate) twins: Option<Arc<[usize]>>,
    /// How soon the record must be written, if it is not on disk as it is.
    pub(crate) unsaved: Option<Persist>,
    /// The config does not name it any more. Its place is free once nothing is under way.
    pub(crate) retired: bool,
}

impl Watched {
    /// Whether it waits for the gate of this registry.
    pub(crate) fn waits_at(&self, registry: usize) -> bool {
        self.stage == Stage::Queued && self.registry == registry
    }
}

/// How far a watch is on its way to a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Idle,
    /// It waits for its registry's gate.
    Queued,
    /// Its check is under way; a dry one leaves no trace.
    Checking {
        dry: bool,
    },
}

/// Someone who waits for one check.
#[derive(Clone)]
pub(crate) struct Waiter {
    pub(crate) reply: mpsc::UnboundedSender<CheckDone>,
    pub(crate) dry_run: bool,
}

/// The result of a check that somebody asked for.
pub(crate) struct CheckDone {
    pub(crate) id: WatchId,
    pub(crate) line: CheckLine,
}
