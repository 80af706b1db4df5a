//! Checks that somebody asked for and waits for. Each result is sent once the hooks of its watch have been tried.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::interval;

use super::callers::Caller;
use crate::agent::check::handle::Checks;
use crate::agent::check::watched::CheckDone;
use crate::agent::clock;
use crate::agent::deliver::deliverer::Deliverer;
use crate::control::wire::{CheckLine, DeliveryLine};
use crate::domain::delivery::DeliveryState;
use crate::domain::judge::CheckOutcome;
use crate::domain::{Failure, FailureKind};
use crate::store::{DeliveryRow, Error, Store, WatchId};

/// Lines of a failed hook's output that are shown with its failure. The journal and the state have all of it.
const LAST_LINES: usize = 5;

/// Results that may wait for a slow reader. Beyond it, only their own followers wait, never the checks.
const RESULT_CAPACITY: usize = 64;

/// A part of the answer to a check.
pub(crate) enum CheckEvent {
    Result(Box<CheckLine>),
    /// That was all. An answer that ends without this was broken off.
    End,
}

/// Follows checks to their end, or until the agent stops or nobody listens any more. `caller`: the run that asks.
pub(crate) fn follow(
    checks: Checks,
    deliverer: Deliverer,
    dry_run: bool,
    caller: Option<Caller>,
) -> mpsc::Receiver<CheckEvent> {
    let (events, receiver) = mpsc::channel(RESULT_CAPACITY);
    tokio::spawn(async move {
        let (stopped, listener) = (deliverer.stopped(), events.clone());
        tokio::select! {
            () = follow_all(checks, deliverer, dry_run, caller.map(Arc::new), events) => {}
            () = stopped => {}
            () = listener.closed() => {}
        }
    });
    receiver
}

/// Each watch waits for its own hooks, so that a slow hook delays no other line. It looks at the store only when an attempt
/// of its own has ended: with thousands of watches, looking at each end would be quadratic.
async fn follow_all(
    mut checks: Checks,
    deliverer: Deliverer,
    dry_run: bool,
    caller: Option<Arc<Caller>>,
    events: mpsc::Sender<CheckEvent>,
) {
    let (mut waiting, mut bells) = (JoinSet::new(), HashMap::<WatchId, Arc<Notify>>::new());
    let (mut ended, mut left) = (deliverer.ended.subscribe(), checks.expected);
    let (give_up, mut has_ended) = (watch::Sender::new(false), true);
    let mut patience = interval(deliverer.longest_run().max(Duration::from_secs(1)));
    while left > 0 || !waiting.is_empty() {
        tokio::select! {
            one = checks.results.recv(), if left > 0 => {
                let Some(one) = one else { return };
                left -= 1;
                let ended = bells.entry(one.id).or_default().clone();
                let wait = Wait { ended, give_up: give_up.subscribe(), caller: caller.clone() };
                let (events, store) = (events.clone(), deliverer.store.clone());
                waiting.spawn(async move {
                    let line = if dry_run { one.line } else { with_deliveries(&store, one, wait).await };
                    let _ = events.send(CheckEvent::Result(Box::new(line))).await;
                });
            }
            Some(_) = waiting.join_next() => {}
            watch = ended.recv() => {
                has_ended = true;
                match watch {
                    Ok(watch) => bells.get(&watch).into_iter().for_each(|bell| bell.notify_one()),
                    // The broadcast lagged, so some were missed.
                    Err(_) => bells.values().for_each(|bell| bell.notify_one()),
                }
            }
            // An attempt ends within the longest timeout, or none will. Meanwhile a watch may have been paused.
            _ = patience.tick() => match std::mem::take(&mut has_ended) || left > 0 {
                true => bells.values().for_each(|bell| bell.notify_one()),
                false => drop(give_up.send_replace(true)),
            },
        }
    }
    let _ = events.send(CheckEvent::End).await;
}

/// How long a watch's hooks are waited for.
struct Wait {
    /// Rung when an attempt for this watch has ended.
    ended: Arc<Notify>,
    /// Turns true when no attempt of any watch has ended for long.
    give_up: watch::Receiver<bool>,
    /// The run that asks.
    caller: Option<Arc<Caller>>,
}

/// Waits until what a watch's hooks are owed has been tried once, if it may be tried now.
async fn with_deliveries(store: &Store, done: CheckDone, wait: Wait) -> CheckLine {
    match tried(store, done.id, wait).await {
        Ok(deliveries) => CheckLine { deliveries, ..done.line },
        Err(error) => {
            let failure = Failure { kind: FailureKind::Store, message: error.to_string() };
            CheckLine { outcome: CheckOutcome::Failed, error: Some(failure), ..done.line }
        }
    }
}

async fn tried(store: &Store, watch: WatchId, mut wait: Wait) -> Result<Vec<DeliveryLine>, Error> {
    let open = store.open_deliveries(watch).await?;
    let attempts: HashMap<_, _> = open.iter().map(|row| (row.id.clone(), row.attempts)).collect();
    // Decided once: who begins to wait later does not wait for us.
    let may_wait = |row: &DeliveryRow| wait.caller.as_ref().is_none_or(|caller| caller.may_wait_for(row));
    let waited_for: HashSet<String> = open.iter().filter(|row| may_wait(row)).map(|row| row.id.clone()).collect();
    let ids: Vec<String> = open.into_iter().map(|row| row.id).collect();
    loop {
        let rows = store.deliveries(ids.clone()).await?;
        let now = clock::now();
        let is_open = |row: &DeliveryRow| match row.state {
            DeliveryState::Running => true,
            DeliveryState::Pending => {
                let untried = attempts.get(&row.id) == Some(&row.attempts);
                untried && row.held.is_none() && row.due.is_some_and(|due| due <= now)
            }
            DeliveryState::Succeeded | DeliveryState::Failed | DeliveryState::Superseded => false,
        };
        let goes_on = rows.iter().any(|row| waited_for.contains(&row.id) && is_open(row))
            && tokio::select! {
                () = wait.ended.notified() => true,
                _ = wait.give_up.wait_for(|give_up| *give_up) => false,
            };
        if !goes_on {
            return Ok(rows.into_iter().map(delivery_line).collect());
        }
    }
}

pub(crate) fn delivery_line(row: DeliveryRow) -> DeliveryLine {
    let lines = row.output.as_deref().filter(|_| row.error.is_some()).unwrap_or_default().lines();
    let mut output: Vec<String> = lines.rev().take(LAST_LINES).map(str::to_owned).collect();
    output.reverse();
    DeliveryLine { id: row.id, hook: row.hook, state: row.state, code: row.code, error: row.error, output }
}
