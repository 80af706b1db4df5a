//! The handle to the scheduler: the one way in for everything outside of it.
//!
//! ```text
//!   operations, reload, signs, one-shot checks
//!        │  look   run a closure over the roster
//!        │  check  check watches now; results come one by one
//!        │  adopt  switch to another config
//!        │  ping   answer, to prove that the loop moves
//!        ▼
//!   [SchedulerRequest] ──mpsc──▶ Scheduler (one task, no locks)
//! ```

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::adopt::ConfigChanges;
use super::roster::{Roster, WatchView};
use super::scheduler::{Scheduler, SchedulerRequest};
use super::watched::{CheckDone, Waiter};
use crate::agent::error::Error;
use crate::config::Config;
use crate::control::wire::CheckRequest;
use crate::domain::WatchKey;
use crate::domain::judge::Record;
use crate::store::WatchId;

/// Requests that may wait for the loop. Each is answered within one turn of it, so a short queue loses nothing; beyond
/// it, callers wait.
const REQUEST_CAPACITY: usize = 64;

/// Checks that were asked for: `expected` results will come, unless the scheduler stops first.
pub(crate) struct Checks {
    pub(crate) expected: usize,
    pub(crate) results: mpsc::UnboundedReceiver<CheckDone>,
}

#[derive(Clone)]
pub(crate) struct SchedulerHandle {
    requests: mpsc::Sender<SchedulerRequest>,
}

impl SchedulerHandle {
    /// A handle, and the inbox that the scheduler serves.
    pub(crate) fn new() -> (Self, mpsc::Receiver<SchedulerRequest>) {
        let (requests, inbox) = mpsc::channel(REQUEST_CAPACITY);
        (Self { requests }, inbox)
    }

    /// Runs a closure over the roster, between two turns of the loop: it must be short.
    pub(crate) async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Roster) -> T + Send + 'static,
    ) -> Result<T, Error> {
        self.ask(|scheduler| look(&scheduler.roster)).await
    }

    /// Has watches checked now. [`Error::Refused`] if one of the names is unknown.
    pub(crate) async fn check(&self, request: CheckRequest) -> Result<Checks, Error> {
        let (reply, results) = mpsc::unbounded_channel();
        let waiter = Waiter { reply, dry_run: request.dry_run };
        let accepted = self.ask(move |scheduler| scheduler.check_now(&request.watches, &waiter)).await?;
        Ok(Checks { expected: accepted.map_err(Error::Refused)?, results })
    }

    /// Switches to another config, in one turn of the loop.
    pub(crate) async fn adopt(
        &self,
        config: Arc<Config>,
        opened: HashMap<WatchKey, (WatchId, Record)>,
    ) -> Result<ConfigChanges, Error> {
        self.ask(|scheduler| scheduler.adopt(config, opened)).await
    }

    /// Returns once the loop has come round.
    pub(crate) async fn ping(&self) -> Result<(), Error> {
        self.look(|_| ()).await
    }

    /// All watches that are checked on schedule. The loop goes on between pages.
    pub(crate) async fn all_views(&self) -> Result<Vec<WatchView>, Error> {
        let (mut all, mut next) = (Vec::new(), Some(0));
        while let Some(from) = next {
            let (page, after) = self.look(move |roster| roster.page(from)).await?;
            all.extend(page);
            next = after;
        }
        Ok(all)
    }

    async fn ask<T: Send + 'static>(
        &self,
        request: impl FnOnce(&mut Scheduler) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        let request: SchedulerRequest = Box::new(move |scheduler| drop(reply.send(request(scheduler))));
        self.requests.send(request).await.map_err(|_| Error::Stopping)?;
        answer.await.map_err(|_| Error::Stopping)
    }
}
