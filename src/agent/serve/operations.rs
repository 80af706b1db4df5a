//! Answers what the control socket asks.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::interval;

use super::routes::{Command, Told, Undone};
use super::signs::Vitals;
use super::{act, health, status};
use crate::agent::check::scheduler::Scheduler;
use crate::agent::check::watched::{Done, Request, Waiter};
use crate::agent::deliver::deliverer::Deliverer;
use crate::agent::error::Error as AgentError;
use crate::agent::{clock, reload};
use crate::control::wire::{
    CheckLine, CheckRequest, ConfigStatus, DeliveryLine, Health, Leftover, PauseRequest, Paused, Problem, PruneRequest,
    RetryLine, RetryRequest, Status,
};
use crate::domain::FailureKind;
use crate::store::{DeliveryRow, Error, Fed, Store, WatchId};

/// So much of what a failed hook printed is told with its failure; the log and the state have all of it.
const LAST_LINES: usize = 5;

/// The ways from the socket to the parts of the agent.
pub(crate) struct Answers {
    pub(crate) requests: mpsc::Sender<Request>,
    pub(crate) deliverer: Deliverer,
    pub(crate) reload: mpsc::Sender<reload::Asked>,
    pub(crate) config: watch::Receiver<reload::Current>,
    pub(crate) vitals: Vitals,
}

impl Answers {
    pub(crate) async fn serve(self, mut commands: mpsc::Receiver<Command>, stop: impl Future<Output = ()>) {
        let this = Arc::new(self);
        let mut answers = JoinSet::new();
        tokio::pin!(stop);
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Status(reply)) => {
                        let this = this.clone();
                        answers.spawn(async move { this.status(reply).await });
                    }
                    Some(Command::Health(reply)) => {
                        let this = this.clone();
                        answers.spawn(async move { this.health(reply).await });
                    }
                    Some(Command::Alive(reply)) => {
                        let this = this.clone();
                        answers.spawn(async move { drop(reply.send(this.alive().await)) });
                    }
                    Some(Command::Current(reply)) => {
                        let this = this.clone();
                        answers.spawn(async move { drop(reply.send(this.current().await)) });
                    }
                    Some(Command::Metrics(reply)) => {
                        let this = this.clone();
                        answers.spawn(async move { drop(reply.send(this.metrics().await)) });
                    }
                    Some(Command::Check(request, reply)) => {
                        let this = this.clone();
                        answers.spawn(async move { this.check(request, reply).await });
                    }
                    Some(Command::Retry(request, reply)) => {
                        let this = this.clone();
                        answers.spawn(async move { this.retry(request, reply).await });
                    }
                    Some(Command::Pause(request, reply)) => {
                        let this = this.clone();
                        answers.spawn(async move { this.pause(request, reply).await });
                    }
                    Some(Command::Prune(request, reply)) => {
                        let this = this.clone();
                        answers.spawn(async move { this.prune(request, reply).await });
                    }
                    Some(Command::Reload(reply)) => {
                        let reload = this.reload.clone();
                        answers.spawn(async move { drop(reload.send(reply).await) });
                    }
                    None => break,
                },
                Some(_) = answers.join_next() => {}
                () = &mut stop => break,
            }
        }
    }

    async fn status(&self, reply: oneshot::Sender<Result<Status, String>>) {
        let Some(status) = self.known().await else { return };
        let _ = reply.send(status);
    }

    async fn health(&self, reply: oneshot::Sender<Result<Health, String>>) {
        let Some(status) = self.known().await else { return };
        let found = status.map(|status| {
            let troubles = health::troubles(&status, clock::now());
            health::told(&status, &troubles, health::Trouble::message)
        });
        let _ = reply.send(found);
    }

    /// All that is known; `None` when the loop is stopping.
    async fn known(&self) -> Option<Result<Status, String>> {
        let watches = self.look(status::of_agent).await?;
        let reload::Current { path, loaded, error } = self.config.borrow().clone();
        let config = Some(ConfigStatus { path, loaded, error });
        let status = status::complete(watches, config, &self.deliverer.store).await;
        Some(status.map_err(|error| error.to_string()))
    }

    async fn retry(&self, request: RetryRequest, reply: oneshot::Sender<Result<Vec<RetryLine>, Undone>>) {
        let Some(fed) = self.fed().await else { return };
        let done = act::retry(&self.deliverer.store, fed, request).await;
        self.deliverer.bell.notify_one();
        let _ = reply.send(done.map_err(undone));
    }

    async fn pause(&self, request: PauseRequest, reply: oneshot::Sender<Result<Paused, Undone>>) {
        let known = self.look(|scheduler| {
            let watches = scheduler.live();
            watches.map(|watched| (watched.watch.name().to_owned(), watched.id)).collect::<HashMap<_, _>>()
        });
        let Some(known) = known.await else { return };
        let done = act::pause(&self.deliverer.store, &known, request).await;
        self.deliverer.bell.notify_one();
        let _ = reply.send(done.map_err(undone));
    }

    async fn prune(&self, request: PruneRequest, reply: oneshot::Sender<Result<Vec<Leftover>, Undone>>) {
        let Some(fed) = self.fed().await else { return };
        let done = act::prune(&self.deliverer.store, fed, request).await;
        let _ = reply.send(done.map_err(undone));
    }

    /// The hooks of each watch.
    async fn fed(&self) -> Option<Fed> {
        let fed = |scheduler: &Scheduler| {
            scheduler.live().map(|watched| (watched.id, watched.watch.hooks.clone())).collect::<Fed>()
        };
        self.look(fed).await
    }

    /// What the loop knows; `None` when it is stopping.
    pub(crate) async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Scheduler) -> T + Send + 'static,
    ) -> Option<T> {
        let (tell, told) = oneshot::channel();
        let look = Request::Look(Box::new(move |scheduler| drop(tell.send(look(scheduler)))));
        self.requests.send(look).await.ok()?;
        told.await.ok()
    }

    async fn check(&self, request: CheckRequest, reply: oneshot::Sender<Result<mpsc::Receiver<Told>, String>>) {
        let (done, mut results) = mpsc::unbounded_channel();
        let (accepted, acceptance) = oneshot::channel();
        let waiter = Waiter { reply: done, dry_run: request.dry_run };
        if self.requests.send(Request::Check { names: request.watches, waiter, accepted }).await.is_err() {
            return;
        }
        let (lines, answer) = mpsc::channel(64);
        let expected = match acceptance.await {
            Ok(Ok(expected)) => expected,
            Ok(Err(why)) => {
                let why = format!("{why} (after an edit of the config: `taghook reload`)");
                return drop(reply.send(Err(why)));
            }
            Err(_) => return,
        };
        let _ = reply.send(Ok(answer));
        // Each waits for its own hooks, so that a slow one delays nobody else's line; and looks only when an attempt of
        // its own watch has ended, or thousands would look at each end of an attempt.
        let (mut waiting, mut bells) = (JoinSet::new(), HashMap::<WatchId, Arc<Notify>>::new());
        let (mut ended, mut left) = (self.deliverer.ended.subscribe(), expected);
        let (enough, mut has_ended) = (watch::Sender::new(false), true);
        let mut patience = interval(self.deliverer.longest_run().max(Duration::from_secs(1)));
        while left > 0 || !waiting.is_empty() {
            tokio::select! {
                one = results.recv(), if left > 0 => {
                    let Some(one) = one else { return };
                    left -= 1;
                    let patience = Patience {
                        ended: bells.entry(one.id).or_default().clone(),
                        enough: enough.subscribe(),
                    };
                    let (lines, store, dry_run) = (lines.clone(), self.deliverer.store.clone(), request.dry_run);
                    waiting.spawn(async move {
                        let line = if dry_run { one.line } else { settled(&store, one, patience).await };
                        let _ = lines.send(Told::Line(Box::new(line))).await;
                    });
                }
                Some(_) = waiting.join_next() => {}
                watch = ended.recv() => {
                    has_ended = true;
                    match watch {
                        Ok(watch) => bells.get(&watch).into_iter().for_each(|bell| bell.notify_one()),
                        // Some were missed.
                        Err(_) => bells.values().for_each(|bell| bell.notify_one()),
                    }
                }
                // Something ends within the longest timeout, or nothing will. Meanwhile a watch may have been paused.
                _ = patience.tick() => match std::mem::take(&mut has_ended) || left > 0 {
                    true => bells.values().for_each(|bell| bell.notify_one()),
                    false => drop(enough.send_replace(true)),
                },
            }
        }
        let _ = lines.send(Told::End).await;
    }
}

fn undone(error: AgentError) -> Undone {
    match error {
        AgentError::Refused(why) => Undone::Refused(why),
        error => Undone::Failed(error.to_string()),
    }
}

/// Until when a watch's hooks are waited for.
struct Patience {
    /// Rung when an attempt for this watch has ended.
    ended: Arc<Notify>,
    /// Turns true when no attempt of any watch has ended for long.
    enough: watch::Receiver<bool>,
}

/// Waits until what a watch's hooks are owed has been tried once, as far as it may be tried now.
async fn settled(store: &Store, done: Done, patience: Patience) -> CheckLine {
    match try_settled(store, done.id, patience).await {
        Ok(deliveries) => CheckLine { deliveries, ..done.line },
        Err(error) => {
            let problem = Problem { kind: FailureKind::Store.as_str().into(), message: error.to_string() };
            CheckLine { outcome: "failed".into(), error: Some(problem), ..done.line }
        }
    }
}

async fn try_settled(store: &Store, watch: WatchId, mut patience: Patience) -> Result<Vec<DeliveryLine>, Error> {
    let open = store.open_deliveries(watch).await?;
    let tried: HashMap<_, _> = open.iter().map(|row| (row.id.clone(), row.attempts)).collect();
    let ids: Vec<String> = open.into_iter().map(|row| row.id).collect();
    loop {
        let rows = store.deliveries(ids.clone()).await?;
        let now = clock::now();
        let is_open = |row: &DeliveryRow| match row.state.as_str() {
            "running" => true,
            "pending" => {
                let untried = tried.get(&row.id) == Some(&row.attempts);
                untried && !row.held && row.due.is_some_and(|due| due <= now)
            }
            _ => false,
        };
        let is_open = rows.iter().any(is_open);
        let goes_on = is_open
            && tokio::select! {
                () = patience.ended.notified() => true,
                _ = patience.enough.wait_for(|enough| *enough) => false,
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
    DeliveryLine { id: row.id, hook: row.hook, state: row.state, exit_code: row.exit_code, error: row.error, output }
}
