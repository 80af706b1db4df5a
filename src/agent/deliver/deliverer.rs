//! The deliverer: claims deliveries that are due, runs their hooks, and records how the attempts end.
//!
//! *Invariant:* a delivery is marked running, on disk, before its hook starts. No transaction is open while it runs.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Notify, broadcast, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, error, info, warn};

use super::holds::Holds;
use super::message::message;
use super::runs::{Run, Runs};
use crate::agent::tally::{AttemptTally, Attempts};
use crate::agent::{clock, failpoint};
use crate::config::{Config, Hook};
use crate::domain::backoff::Backoff;
use crate::domain::delivery::{Ending, NotStarted, Outcome, RetryPolicy};
use crate::hook::{self, Left, Listener, Printed, Ran};
use crate::store::{self, Claimed, Claims, Finished, LeftRunning, Room, Store, WatchId};

/// How long to wait after an error of the store.
const STORE_RETRY: Duration = Duration::from_secs(10);
/// The pauses while the end of an attempt cannot be recorded.
const RECORD_BACKOFF: Backoff = Backoff { first: Duration::from_secs(1), max: Duration::from_secs(60) };
/// The pauses while something is left of a run that cannot be ended.
const LOOK_BACKOFF: Backoff = Backoff { first: Duration::from_secs(1), max: Duration::from_secs(60) };
/// How often a one-shot check tries to record the end of an attempt: a person waits for it, perhaps on a full disk.
const ONE_SHOT_RECORD_TRIES: u32 = 3;
/// The longest sleep, so that a clock that was set is noticed within it.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
/// How often the deliverer looks for deliveries that count as running and have no run.
const LOOK_FOR_STRAYS: Duration = Duration::from_secs(60);
/// How long a look from outside waits for the deliverer's loop.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);

/// Runs hooks, for the agent and for one-shot checks.
#[derive(Clone)]
pub(crate) struct Deliverer {
    pub(crate) store: Store,
    pub(crate) config: watch::Receiver<Arc<Config>>,
    /// Rung when something new may be due.
    pub(crate) bell: Arc<Notify>,
    /// Broadcasts the watch of each attempt that has ended.
    pub(crate) ended: broadcast::Sender<WatchId>,
    /// Counts of attempts, for metrics.
    pub(crate) attempts: watch::Sender<Attempts>,
    /// The runs of this process.
    pub(crate) runs: Runs,
    /// Hooks that could not be started, and wait.
    pub(crate) holds: Holds,
    /// Counts the turns of the loop, for [`Deliverer::ping`].
    pub(crate) rounds: watch::Sender<u64>,
    /// Set to true at the beginning of a stop.
    pub(crate) stopping: watch::Sender<bool>,
    /// Set to true when running hooks must be ended.
    pub(crate) cut: watch::Sender<bool>,
}

impl Deliverer {
    /// Delivers until the agent stops. `unended` is what [`Deliverer::recover`] returned. Running hooks then get
    /// `shutdown_grace`, and what is left of them is ended.
    pub(crate) async fn serve(self, unended: Vec<Unended>) {
        let mut runs = JoinSet::new();
        for one in unended {
            let (this, run) = (self.clone(), self.runs.begin(&one.owed.id));
            runs.spawn(async move {
                this.recover_later(one).await;
                drop(run);
            });
        }
        let mut busy = Busy::new();
        let (free, mut freed) = mpsc::unbounded_channel();
        let stopped = self.stopped();
        tokio::pin!(stopped);
        let mut looked = Instant::now();
        loop {
            failpoint::stall("deliverer").await;
            let now = clock::now();
            let (held, held_until) = self.holds.held(Instant::now());
            let runs_of = busy.clone();
            let room = move |hook: &Hook| match held.contains(&hook.name) {
                true => 0,
                false => hook.concurrency.saturating_sub(runs_of.get(&hook.name).copied().unwrap_or_default()),
            };
            let looks = self.runs.take_notice() || looked.elapsed() >= LOOK_FOR_STRAYS;
            let known = looks.then(|| self.runs.ids());
            let running = async { if looks { self.store.running().await.unwrap_or_default() } else { Vec::new() } };
            let (claims, running) = futures_util::future::join(self.claim(now, room, None), running).await;
            let wake = match claims {
                Ok((claimed, next_due)) => {
                    for (hook, claimed) in claimed {
                        *busy.entry(hook.name.clone()).or_default() += 1;
                        let slot = ConcurrencySlot { hook: hook.name.clone(), free: free.clone() };
                        let (this, run) = (self.clone(), self.runs.begin(&claimed.id));
                        runs.spawn(
                            async move { this.attempt_guarded(&hook, claimed, run, Some(slot), u32::MAX).await },
                        );
                    }
                    let wait = next_due.map(|due| Duration::try_from(due.duration_since(now)).unwrap_or_default());
                    let held = held_until.map(|until| until.saturating_duration_since(Instant::now()));
                    wait.into_iter().chain(held).fold(LONGEST_SLEEP, Duration::min)
                }
                Err(why) => {
                    error!(kind = why.kind(), "hooks are held: {why}");
                    STORE_RETRY
                }
            };
            if let Some(known) = known {
                looked = Instant::now();
                // Neither one whose run has ended since, nor one that was claimed just now.
                let is_stray = |row: &LeftRunning| !known.contains(&row.id) && !self.runs.have(&row.id);
                let strays: Vec<_> = running.into_iter().filter(is_stray).collect();
                if !strays.is_empty() {
                    let this = self.clone();
                    let held: Vec<Run> = strays.iter().map(|row| self.runs.begin(&row.id)).collect();
                    runs.spawn(async move {
                        this.heal(strays).await;
                        drop(held);
                    });
                }
            }
            // Only after the claim, because claiming is what a ping proves.
            self.rounds.send_modify(|rounds| *rounds += 1);
            tokio::select! {
                () = &mut stopped => break,
                () = self.bell.notified() => {}
                Some(hook) = freed.recv() => {
                    leave(&mut busy, &hook);
                    while let Ok(hook) = freed.try_recv() {
                        leave(&mut busy, &hook);
                    }
                }
                () = sleep(wake) => {}
            }
            while runs.try_join_next().is_some() {}
        }
        if !runs.is_empty() {
            let grace = self.config().shutdown_grace;
            let hooks: Vec<&str> = busy.keys().map(|name| &**name).collect();
            info!(hooks = hooks.join(","), ?grace, "waiting for running hooks");
            let drained = timeout(grace, async { while runs.join_next().await.is_some() {} }).await;
            if drained.is_err() {
                self.cut.send_replace(true);
                while runs.join_next().await.is_some() {}
            }
        }
    }

    /// Returns once the agent begins to stop.
    pub(crate) fn stopped(&self) -> impl Future<Output = ()> + Send + use<> {
        turns_true(&self.stopping)
    }

    /// Returns once the loop has claimed again.
    pub(crate) async fn ping(&self) {
        let mut rounds = self.rounds.subscribe();
        self.bell.notify_one();
        let _ = rounds.changed().await;
    }

    /// The config that is in force. Read it once for what must agree, such as a claim and the start that follows.
    pub(crate) fn config(&self) -> Arc<Config> {
        self.config.borrow().clone()
    }

    /// Marks what is due as running, on disk. `free`: how many runs of a hook may start now. `only`: this delivery alone.
    /// Returns it, and when the next one is due.
    async fn claim(
        &self,
        now: Timestamp,
        free: impl Fn(&Hook) -> usize + Send + 'static,
        only: Option<String>,
    ) -> Result<(Vec<(Arc<Hook>, Claimed)>, Option<Timestamp>), store::Error> {
        let config = self.config();
        let hooks = config.clone();
        let room = move |hook: &str| {
            let hook = hooks.hooks.get(hook)?;
            let free = free(hook);
            // A hook that was not started is due after a pause that is not of its own policy.
            let longest_pause = hook.retry.backoff.max.max(LONGEST_SLEEP);
            (free > 0).then_some(Room { free, longest_pause })
        };
        failpoint::step("delivery: due");
        let Claims { claimed, next_due } = self.store.claim(now, room, only).await?;
        if !claimed.is_empty() {
            failpoint::step("delivery: claimed");
        }
        let with_hook = |claimed: Claimed| Some((config.hooks.get(claimed.hook.as_str())?.clone(), claimed));
        Ok((claimed.into_iter().filter_map(with_hook).collect(), next_due))
    }

    /// Gives each of these deliveries one attempt, one after another, if it is due.
    pub(crate) async fn attempt_once(&self, ids: &[String]) -> Result<(), store::Error> {
        for id in ids {
            if *self.cut.borrow() {
                break;
            }
            for (hook, claimed) in self.claim(clock::now(), |_| 1, Some(id.clone())).await?.0 {
                let run = self.runs.begin(&claimed.id);
                self.attempt_guarded(&hook, claimed, run, None, ONE_SHOT_RECORD_TRIES).await;
            }
        }
        Ok(())
    }

    /// No run takes longer than this, with the wait for its start and its graces.
    pub(crate) fn longest_run(&self) -> Duration {
        self.config().hooks.values().map(|hook| hook.timeout).max().unwrap_or_default() + 2 * LONGEST_SLEEP
    }

    /// Gives a claimed delivery its attempt. A panic, which is a bug, ends it as cut: what was claimed is always given back.
    async fn attempt_guarded(
        &self,
        hook: &Hook,
        claimed: Claimed,
        run: Run,
        slot: Option<ConcurrencySlot>,
        tries: u32,
    ) {
        let left = LeftRunning { id: claimed.id.clone(), hook: claimed.hook.clone(), watch: claimed.watch };
        let attempt = AssertUnwindSafe(self.attempt(hook, claimed, slot, tries));
        if attempt.catch_unwind().await.is_err() {
            error!(hook = &*hook.name, delivery = left.id, "taghook has a bug here: a delivery panicked");
            self.end_left(vec![left], "was cut: taghook has a bug here; please report the log").await;
        }
        drop(run);
    }

    /// Runs the hook of a claimed delivery and records what came of it, with this many tries.
    async fn attempt(&self, hook: &Hook, claimed: Claimed, slot: Option<ConcurrencySlot>, tries: u32) {
        let (name, delivery, attempt) = (claimed.watch_name.as_str(), claimed.id.as_str(), claimed.attempt);
        let change = claimed.kind.as_str();
        let began = Instant::now();
        let message = message(&claimed);
        let hear = |printed: Printed<'_>| match printed {
            Printed::Line(stream, line) => {
                failpoint::bug(&hook.name);
                let stream = stream.as_str();
                info!(target: "taghook::hook", watch = name, hook = &*hook.name, delivery, stream, "{line}");
            }
            Printed::LeftOut(lines) => {
                let kept = format_args!("`taghook log {delivery}` has the first and the last 32 KiB once it has ended");
                info!(watch = name, hook = &*hook.name, delivery, "{lines} lines not logged; {kept}");
            }
            Printed::BackgroundUnread => {
                let why = "too many hooks have left processes in the background; let them write to a file instead";
                warn!(watch = name, hook = &*hook.name, delivery, "what it left in the background is not read: {why}");
            }
        };
        let started = || {
            failpoint::step("delivery: started");
            info!(watch = name, hook = &*hook.name, change, delivery, attempt, "hook started");
            self.holds.release(&hook.name);
        };
        let (cut, listener) = (turns_true(&self.cut), Listener::paced(hear));
        let ran = hook::run(&hook.action, &message, hook.timeout, started, cut, listener).await;
        failpoint::step("delivery: ended");
        let (ran, left) = match ran {
            Ok(Ran { outcome, left }) => (Ok(outcome), left),
            Err(not_started) => (Err(not_started), None),
        };
        let took = began.elapsed();
        let due = self.count(hook, &ran, took);
        let mut slot = slot;
        if let Some(left) = left {
            // Other deliveries of this hook need not wait for something that cannot be ended.
            drop(slot.take());
            if !self.outlast(&claimed.id, &hook.name, left, tries).await {
                return;
            }
        }
        // The outcome is on its way to the store before the slot is free, so whatever takes the slot is committed
        // together with it or later.
        let recorded = self.record(hook, &claimed, &ran, due, tries);
        let (finished, ()) = futures_util::future::join(recorded, async { drop(slot) }).await;
        failpoint::step("delivery: recorded");
        let elapsed = began.elapsed();
        let (ending, error) = match ran {
            Ok(outcome) => (outcome.ending, outcome.error),
            Err(NotStarted { why }) => {
                warn!(watch = name, hook = &*hook.name, delivery, retry = %due, "hook not started: {why}");
                return self.has_ended(claimed.watch);
            }
        };
        match (error, ending, finished) {
            (None, ..) => {
                info!(watch = name, hook = &*hook.name, change, delivery, attempt, ?elapsed, "hook succeeded")
            }
            (Some(_), Ending::Cut, _) => warn!(watch = name, hook = &*hook.name, delivery, attempt, "hook cut"),
            (Some(error), _, Some(Finished { due: Some(due), .. })) => {
                warn!(watch = name, hook = &*hook.name, delivery, attempt, retry = %due, "hook failed: {error}");
            }
            (Some(error), _, finished) => {
                let state = finished.map_or("unrecorded", |finished| finished.state.as_str());
                warn!(watch = name, hook = &*hook.name, delivery, attempt, state, "hook failed: {error}");
            }
        }
        self.has_ended(claimed.watch);
    }

    /// Counts what came of an attempt. A hook that was not started is held; returns until when.
    fn count(&self, hook: &Hook, ran: &Result<Outcome, NotStarted>, took: Duration) -> Timestamp {
        self.attempts.send_modify(|attempts| {
            let tally = attempts.entry(hook.name.clone()).or_insert_with(AttemptTally::new);
            match ran {
                Ok(outcome) => tally.count(outcome.ending, took),
                Err(_) => tally.not_started += 1,
            }
        });
        let now = clock::now();
        let Err(NotStarted { why }) = ran else { return now };
        let pause = self.holds.hold(&hook.name, why, Instant::now(), fastrand::f64());
        SignedDuration::try_from(pause).ok().and_then(|pause| now.checked_add(pause).ok()).unwrap_or(now)
    }

    /// Tells those who wait for the deliveries of a watch, and looks for what may start now.
    fn has_ended(&self, watch: WatchId) {
        // Perhaps nobody listens.
        let _ = self.ended.send(watch);
        self.bell.notify_one();
    }

    /// Waits until what is left of a run has ended; until then the delivery stays running, and so does not start again. With a
    /// bound on `tries`, and at a stop, it does not wait: the next start does. Returns whether it has ended.
    async fn outlast(&self, delivery: &str, hook: &str, mut left: Left, tries: u32) -> bool {
        let what = &left.what;
        error!(
            delivery,
            hook, "the hook is not over: {what} cannot be ended; until then its delivery does not start again"
        );
        let stopped = self.stopped();
        tokio::pin!(stopped);
        for looks in 0..tries {
            tokio::select! {
                () = sleep(LOOK_BACKOFF.pause(looks, 0.5)) => {}
                () = &mut stopped => return false,
            }
            if left.has_ended().await {
                info!(delivery, hook, "what was left of the hook has ended");
                return true;
            }
        }
        false
    }

    /// Records what came of an attempt. Until then the delivery counts as running, and nothing newer of its watch and hook
    /// may start. So the agent tries for as long as it runs; after that, the next start finds the attempt cut. A hook that
    /// was not started is due again at `due`.
    async fn record(
        &self,
        hook: &Hook,
        claimed: &Claimed,
        ran: &Result<Outcome, NotStarted>,
        due: Timestamp,
        tries: u32,
    ) -> Option<Finished> {
        for failed in 1..=tries {
            let (now, chance) = (clock::now(), fastrand::f64());
            let done = match ran {
                Ok(outcome) => self.store.finish(claimed.id.clone(), outcome.clone(), hook.retry, now, chance).await,
                Err(not_started) => self.store.give_back(claimed.clone(), not_started.clone(), due, now).await,
            };
            match done {
                Ok(finished) => return Some(finished),
                Err(why) => {
                    error!(delivery = claimed.id, kind = why.kind(), "cannot record the end of a hook: {why}");
                    if failed == tries || matches!(why, store::Error::NotRunning(_)) {
                        break;
                    }
                }
            }
            tokio::select! {
                () = sleep(RECORD_BACKOFF.pause(failed - 1, chance)) => {}
                () = turns_true(&self.cut) => break,
            }
        }
        None
    }

    /// Deliveries that count as running on disk, but have no run here: a bug, or an edit of the database. They are healed
    /// in the deliverer's next turn.
    pub(crate) async fn strays(&self) -> Result<Vec<LeftRunning>, store::Error> {
        let mut strays = self.without_run().await?;
        // A claim is on disk a moment before its run is known here. After a turn of the loop, it is known.
        if strays.is_empty() || timeout(LOOK_TIMEOUT, self.ping()).await.is_err() {
            return Ok(Vec::new());
        }
        let still = self.without_run().await?;
        strays.retain(|stray| still.iter().any(|row| row.id == stray.id));
        if !strays.is_empty() {
            self.runs.notice();
            self.bell.notify_one();
        }
        Ok(strays)
    }

    async fn without_run(&self) -> Result<Vec<LeftRunning>, store::Error> {
        let known = self.runs.ids();
        let running = self.store.running().await?;
        Ok(running.into_iter().filter(|row| !known.contains(&row.id) && !self.runs.have(&row.id)).collect())
    }

    /// Makes strays due again.
    async fn heal(&self, strays: Vec<LeftRunning>) {
        let count = strays.len();
        warn!(deliveries = count, "deliveries count as running, but nothing runs for them; they are made due again");
        self.end_left(strays, "was cut: nothing ran for it any more").await;
    }

    /// Ends deliveries as cut that have no run any more. What is left of their processes is ended first. What cannot be
    /// recorded is found again as a stray.
    async fn end_left(&self, left: Vec<LeftRunning>, why: &str) {
        let ids: Vec<String> = left.iter().map(|row| row.id.clone()).collect();
        let (_, are_left) = hook::end_survivors(&ids).await;
        let end_one = async |row: LeftRunning| {
            if are_left
                && let Some(left) = hook::left_of(&row.id).await
                && !self.outlast(&row.id, &row.hook, left, u32::MAX).await
            {
                return;
            }
            match self.finish_cut(&row, why).await {
                Ok(finished) => info!(delivery = row.id, hook = row.hook, state = finished.state.as_str(), "{why}"),
                Err(error) => error!(delivery = row.id, kind = error.kind(), "cannot record that it {why}: {error}"),
            }
            self.has_ended(row.watch);
        };
        futures_util::future::join_all(left.into_iter().map(end_one)).await;
    }

    async fn finish_cut(&self, left: &LeftRunning, why: &str) -> Result<Finished, store::Error> {
        let outcome = Outcome { ending: Ending::Cut, code: None, error: Some(why.to_owned()), output: String::new() };
        let retry = self.config().hooks.get(left.hook.as_str()).map_or(HELD_POLICY, |hook| hook.retry);
        self.store.finish(left.id.clone(), outcome, retry, clock::now(), 0.0).await
    }

    /// Makes deliveries due again that an earlier agent left running. Processes of theirs that survived are ended first.
    /// Returns those of which something is left that cannot be ended: they stay running.
    pub(crate) async fn recover(&self) -> Result<Vec<Unended>, store::Error> {
        let cut = self.store.running().await?;
        if cut.is_empty() {
            return Ok(Vec::new());
        }
        info!(deliveries = cut.len(), "an earlier agent ended while hooks ran; what is left of them is ended first");
        let ids: Vec<String> = cut.iter().map(|owed| owed.id.clone()).collect();
        failpoint::step("recover: found");
        let (survivors, are_left) = hook::end_survivors(&ids).await;
        failpoint::step("recover: survivors ended");
        warn!(deliveries = cut.len(), survivors, "hooks that an earlier agent was running run again");
        let mut unended = Vec::new();
        for owed in cut {
            let left = if are_left { hook::left_of(&owed.id).await } else { None };
            match left {
                Some(left) => unended.push(Unended { owed, left }),
                None => self.recover_one(&owed).await?,
            }
        }
        Ok(unended)
    }

    async fn recover_one(&self, owed: &LeftRunning) -> Result<(), store::Error> {
        let finished = self.finish_cut(owed, "was cut: taghook ended while it ran").await?;
        failpoint::step("recover: made due");
        debug!(delivery = owed.id, hook = &*owed.hook, state = finished.state.as_str(), "recovered");
        Ok(())
    }

    /// Recovers a delivery once what is left of it has ended.
    async fn recover_later(&self, Unended { owed, left }: Unended) {
        if !self.outlast(&owed.id, &owed.hook, left, u32::MAX).await {
            return;
        }
        match self.recover_one(&owed).await {
            Ok(()) => self.bell.notify_one(),
            Err(why) => error!(delivery = owed.id, kind = why.kind(), "cannot record the end of a hook: {why}"),
        }
    }
}

/// A delivery of an earlier agent of which something is left that cannot be ended.
#[derive(Debug)]
pub(crate) struct Unended {
    owed: LeftRunning,
    left: Left,
}

fn turns_true(flag: &watch::Sender<bool>) -> impl Future<Output = ()> + Send + use<> {
    let mut flag = flag.subscribe();
    async move { drop(flag.wait_for(|flag| *flag).await) }
}

/// How many runs each hook has. Hooks without a run are left out.
type Busy = HashMap<Arc<str>, usize>;

/// A run's share of its hook's `concurrency`, given back when it is dropped.
struct ConcurrencySlot {
    hook: Arc<str>,
    free: mpsc::UnboundedSender<Arc<str>>,
}

impl Drop for ConcurrencySlot {
    fn drop(&mut self) {
        // At shutdown, nobody listens any more.
        let _ = self.free.send(self.hook.clone());
    }
}

fn leave(busy: &mut Busy, hook: &str) {
    match busy.get_mut(hook) {
        Some(count @ 2..) => *count -= 1,
        _ => drop(busy.remove(hook)),
    }
}

/// For deliveries of a hook that is not configured at the moment: they stay owed.
const HELD_POLICY: RetryPolicy =
    RetryPolicy { attempts: u32::MAX, backoff: Backoff { first: STORE_RETRY, max: STORE_RETRY } };
