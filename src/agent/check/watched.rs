//! A watch on its way through the loop, and those who ask for it.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};

use super::adopt::Changes;
use super::scheduler::Scheduler;
use crate::config::Config;
use crate::control::wire::CheckLine;
use crate::domain::judge::{Persist, Record};
use crate::domain::{Watch, WatchKey};
use crate::store::WatchId;

/// One watch as the loop sees it.
pub(crate) struct Watched {
    pub(crate) id: WatchId,
    pub(crate) watch: Arc<Watch>,
    pub(crate) record: Record,
    pub(crate) registry: usize,
    /// When it is due by itself; `None` from then until its check has ended.
    pub(crate) due: Option<Timestamp>,
    pub(crate) stage: Stage,
    /// Whether a check that is recorded is wanted: it came due, or was asked for.
    pub(crate) wanted: bool,
    /// Those who asked for the next check.
    pub(crate) waiting: Vec<Waiter>,
    /// All watches of the same image, this one among them; `None` where it is the only one.
    pub(crate) twins: Option<Arc<[usize]>>,
    /// How soon the record must be written, if it is not on disk as it is.
    pub(crate) unsaved: Option<Persist>,
    /// The config does not name it any more; its place is free once nothing is under way.
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
    /// It is being checked; `dry`: without a trace.
    Checking {
        dry: bool,
    },
}

/// Someone who waits for one check.
#[derive(Clone)]
pub(crate) struct Waiter {
    pub(crate) reply: mpsc::UnboundedSender<Done>,
    pub(crate) dry_run: bool,
}

/// One check that was asked for.
pub(crate) struct Done {
    pub(crate) id: WatchId,
    pub(crate) line: CheckLine,
}

/// What others ask of the loop.
pub(crate) enum Request {
    /// Check these now (empty: all that are enabled); each result is sent as it comes.
    /// First it is told how many there are, or why there are none.
    Check { names: Vec<String>, waiter: Waiter, accepted: oneshot::Sender<Result<usize, String>> },
    /// Go on by this config; `opened`: the rows and records of watches that are not known yet.
    Adopt { config: Arc<Config>, opened: HashMap<WatchKey, (WatchId, Record)>, done: oneshot::Sender<Changes> },
    /// Look at everything.
    Look(Box<dyn FnOnce(&Scheduler) + Send>),
}
