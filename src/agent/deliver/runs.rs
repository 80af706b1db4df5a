//! The runs of this process: which deliveries they are for.
//!
//! *Invariant:* a delivery that counts as running on disk has a run here, from its claim until its end is recorded. What has
//! none is a stray, and is healed as what an earlier agent left behind.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use tokio::sync::watch;

#[derive(Clone, Default)]
pub(crate) struct Runs {
    ids: watch::Sender<HashSet<String>>,
    /// Whether somebody has noticed a stray.
    noticed: Arc<AtomicBool>,
}

/// A run, until it is dropped.
pub(crate) struct Run {
    id: String,
    ids: watch::Sender<HashSet<String>>,
}

impl Runs {
    pub(crate) fn begin(&self, id: &str) -> Run {
        self.ids.send_if_modified(|ids| ids.insert(id.to_owned()));
        Run { id: id.to_owned(), ids: self.ids.clone() }
    }

    pub(crate) fn have(&self, id: &str) -> bool {
        self.ids.borrow().contains(id)
    }

    pub(crate) fn ids(&self) -> HashSet<String> {
        self.ids.borrow().clone()
    }

    /// Makes the deliverer look for strays in its next turn.
    pub(crate) fn notice(&self) {
        self.noticed.store(true, Relaxed);
    }

    pub(crate) fn take_notice(&self) -> bool {
        self.noticed.swap(false, Relaxed)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.ids.send_if_modified(|ids| ids.remove(&self.id));
    }
}
