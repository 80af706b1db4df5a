//! Hooks that have asked for a check and wait for it.
//!
//! *Invariant:* a hook is made to wait only for runs that do not wait themselves at that time. So each waits only for those
//! that begin to wait later, if ever, and no circle of runs can wait for each other: not two of them, not a run for itself,
//! and not a run for a place in its own hook's `concurrency`.

use std::collections::HashMap;

use tokio::sync::watch;

use crate::domain::delivery::DeliveryState;
use crate::store::DeliveryRow;

/// The runs that wait: the hook of each, and in how many requests, by delivery.
#[derive(Clone, Default)]
pub(crate) struct Callers(watch::Sender<HashMap<String, (String, usize)>>);

/// A run that waits, until this is dropped.
pub(crate) struct Caller {
    delivery: String,
    all: Callers,
}

impl Callers {
    pub(crate) fn enter(&self, delivery: String, hook: String) -> Caller {
        self.0.send_modify(|callers| callers.entry(delivery.clone()).or_insert((hook, 0)).1 += 1);
        Caller { delivery, all: self.clone() }
    }
}

impl Caller {
    /// Whether a delivery may be waited for. One that runs may if its run does not wait; one that is pending, if no run of its
    /// hook does: it may need that run's place.
    pub(crate) fn may_wait_for(&self, row: &DeliveryRow) -> bool {
        let callers = self.all.0.borrow();
        match row.state {
            DeliveryState::Running => !callers.contains_key(&row.id),
            _ => callers.values().all(|(hook, _)| *hook != row.hook),
        }
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.all.0.send_modify(|callers| {
            if let Some((_, requests)) = callers.get_mut(&self.delivery) {
                *requests -= 1;
                if *requests == 0 {
                    callers.remove(&self.delivery);
                }
            }
        });
    }
}
