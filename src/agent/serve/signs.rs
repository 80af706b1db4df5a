//! Signs of life for whoever supervises the agent: a summary of how things stand, and the proof that every part responds.
//!
//! *Invariant:* [`Sign::Alive`] is sent only after the scheduler, the deliverer and the store have each answered. Nothing
//! here wakes an agent without a watchdog to which nothing happens.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{sleep, timeout};
use tracing::{error, info};

use super::operations::Operations;
use crate::agent::check::roster::Roster;
use crate::agent::error::Error;
use crate::agent::sign::{Sign, Summary};
use crate::domain::judge::WatchState;

/// The shortest time between two summaries: each counts all watches, and in a burst there is always news.
const SUMMARY_INTERVAL: Duration = Duration::from_secs(1);

/// A part that responds at all does so within this. It is shorter than a locked database is waited for.
const PROBE_TIMEOUT: Duration = Duration::from_secs(4);

impl Operations {
    /// Says that the agent is ready, and sends a summary now and whenever it has changed. `news`: rung by the scheduler.
    pub(crate) async fn send_summaries(self: Arc<Self>, news: Arc<Notify>) {
        let mut attempts = self.deliverer.ended.subscribe();
        let mut config = self.status.subscribe();
        let mut write_failures = self.deliverer.store.watch_write_failures();
        let mut sent = self.summary().await.unwrap_or_default();
        (self.tell)(Sign::Summary(sent.clone()));
        (self.tell)(Sign::Ready);
        loop {
            tokio::select! {
                () = news.notified() => {}
                Ok(_) | Err(RecvError::Lagged(_)) = attempts.recv() => {}
                Ok(()) = config.changed() => {}
                Ok(()) = write_failures.changed() => {}
                else => return,
            }
            // The summary that is made now covers all attempts that have ended by now.
            attempts = attempts.resubscribe();
            if let Ok(summary) = self.summary().await
                && summary != sent
            {
                sent = summary.clone();
                (self.tell)(Sign::Summary(summary));
            }
            sleep(SUMMARY_INTERVAL).await;
        }
    }

    async fn summary(&self) -> Result<Summary, Error> {
        let store = &self.deliverer.store;
        let failed = store.given_up().await?;
        let known = self.scheduler.look(summary_of).await?;
        Ok(Summary {
            failed,
            write_failure: store.write_failure().map(|failure| failure.message),
            refused: self.status.borrow().error.clone(),
            ..known
        })
    }

    /// Pings the watchdog at this interval while every part responds. Never returns.
    pub(crate) async fn ping_watchdog(self: Arc<Self>, interval: Duration) {
        loop {
            sleep(interval).await;
            tokio::join!(
                answer_of("scheduler", interval, async { drop(self.scheduler.ping().await) }),
                answer_of("deliverer", interval, self.deliverer.ping()),
                answer_of("store", interval, self.ping_store()),
            );
            (self.tell)(Sign::Alive);
        }
    }

    /// Whether every part responds now; if not, which does not. A full disk is no reason to restart the agent, so it is
    /// none here. A state that was removed or replaced is one.
    pub(crate) async fn alive(&self) -> Result<(), String> {
        within("the scheduler", async { drop(self.scheduler.ping().await) }).await?;
        let loss = timeout(PROBE_TIMEOUT, self.deliverer.store.loss()).await;
        if let Some(loss) = loss.map_err(|_| "the store makes no progress")? {
            return Err(loss.message);
        }
        within("the deliverer", self.deliverer.ping()).await
    }

    /// The store's answer does not matter, only that it comes.
    async fn ping_store(&self) {
        let _ = self.deliverer.store.last_heartbeat().await;
    }
}

/// Waits until a part has answered. If that takes long, it names the part in the log: that line may be our last.
async fn answer_of(part: &'static str, long: Duration, answer: impl Future<Output = ()>) {
    tokio::pin!(answer);
    if timeout(long, &mut answer).await.is_err() {
        error!(part, waited = ?long, "a part of the agent does not move; the watchdog will end us");
        answer.await;
        info!(part, "it moves again");
    }
}

async fn within(part: &str, answer: impl Future<Output = ()>) -> Result<(), String> {
    timeout(PROBE_TIMEOUT, answer).await.map_err(|_| format!("{part} makes no progress"))
}

/// What the scheduler knows of the summary.
fn summary_of(roster: &Roster) -> Summary {
    let mut summary = Summary::default();
    for watched in roster.live().filter(|watched| watched.watch.enabled) {
        *match watched.record.state() {
            WatchState::Ok => &mut summary.ok,
            WatchState::Settling => &mut summary.settling,
            WatchState::Failing => &mut summary.failing,
            WatchState::Absent => &mut summary.absent,
            WatchState::Unknown => &mut summary.unknown,
        } += 1;
    }
    let held_off = roster.registries.all.iter().filter(|registry| registry.gate.held_off().is_some());
    summary.held_off = held_off.map(|registry| registry.host.clone()).collect();
    summary
}
