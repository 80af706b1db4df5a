//! The scheduler: which watch is due, which gate is open, which check has ended, who asks for what.
//!
//! One task owns all of it, so nothing is locked. It sleeps until the next due time, the next opening of a gate, or the
//! heartbeat: no tick, no scan.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tracing::{debug, error, warn};

use super::due::next_due;
use super::lines::{held_off_line, line};
use super::question::{CheckContext, CheckResult, GroupCheck, GroupResult, WatchCheck};
use super::roster::Roster;
use super::watched::{CheckDone, Stage, Waiter};
use crate::agent::clock::{self, Clock};
use crate::agent::failpoint;
use crate::config::Config;
use crate::domain::FailureKind;
use crate::domain::gate::{Permit, Report};
use crate::domain::judge::{Persist, Record};
use crate::store::{Store, WatchId};

/// How often the agent notes that it is alive. It is also the longest that the scheduler sleeps.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(60);

/// What the scheduler does for others, between two turns of its loop.
pub(crate) type SchedulerRequest = Box<dyn FnOnce(&mut Scheduler) + Send>;

/// A check that has ended, and its result (`None` if it was abandoned at shutdown).
type FinishedCheck = (GroupCheck, Option<GroupResult>);

pub(crate) struct Scheduler {
    pub(super) roster: Roster,
    pub(super) due: BTreeSet<(Timestamp, usize)>,
    pub(super) context: Arc<CheckContext>,
    /// The config that the roster was built from.
    pub(super) adopted: Arc<Config>,
    /// Futures polled by this task, not tasks of their own: at 20,000 checks a second that keeps caches warm and saves CPU.
    pub(super) checks: FuturesUnordered<BoxFuture<'static, FinishedCheck>>,
    pub(super) writes: JoinSet<Vec<usize>>,
    /// Watches whose records the next heartbeat must write. Some may have been written since they were listed.
    pub(super) soon: Vec<usize>,
    /// Rung when deliveries were owed.
    pub(super) bell: Arc<Notify>,
    /// Rung when the state of a watch changes, or when a registry is held off or free again.
    pub(crate) news: Arc<Notify>,
    pub(super) clock: Clock,
    /// Heartbeats since the last hourly write.
    pub(super) beats: usize,
    /// `None` in a one-shot check, where nothing is scheduled.
    pub(super) next_beat: Option<Instant>,
}

impl Scheduler {
    /// Computes when each configured watch is due. `records` are in the order of the config's watches. `alive`: when an
    /// agent was last known to be alive on this state.
    pub(crate) fn new(
        config: Arc<Config>,
        store: Store,
        records: Vec<(WatchId, Record)>,
        bell: Arc<Notify>,
        is_scheduled: bool,
        alive: Option<Timestamp>,
    ) -> Self {
        let mut this = Self {
            roster: Roster::default(),
            due: BTreeSet::new(),
            context: Arc::new(CheckContext { store, stopping: AtomicBool::new(false) }),
            adopted: config.clone(),
            checks: FuturesUnordered::new(),
            writes: JoinSet::new(),
            soon: Vec::new(),
            bell,
            news: Arc::default(),
            clock: Clock::new(),
            beats: 0,
            next_beat: is_scheduled.then(|| Instant::now() + HEARTBEAT),
        };
        this.roster.watches.reserve_exact(records.len());
        this.roster.by_name.reserve(records.len());
        for (watch, (id, record)) in config.watches.values().zip(records) {
            this.add(watch, id, record, alive, None);
        }
        this.roster.link_twins();
        this
    }

    /// Runs until `stop`, or until the last handle is dropped; then finishes what is under way and saves what is not on disk.
    pub(crate) async fn run(mut self, mut requests: mpsc::Receiver<SchedulerRequest>, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        loop {
            failpoint::stall("scheduler").await;
            self.start_due();
            let wake = tokio::time::sleep_until(self.next_wake().into());
            tokio::select! {
                () = &mut stop => break,
                request = requests.recv() => match request {
                    Some(request) => request(&mut self),
                    None => break,
                },
                Some(ended) = self.checks.next() => {
                    self.checked(ended);
                    // Take all that have ended by now before looking at what is due.
                    while let Some(Some(ended)) = self.checks.next().now_or_never() {
                        self.checked(ended);
                    }
                }
                Some(done) = self.writes.join_next() => self.written(done),
                () = wake => {}
            }
        }
        self.end().await;
    }

    /// Finishes what is under way, and saves what is not on disk.
    async fn end(mut self) {
        // Requests are abandoned. Commits finish, or the records in memory would be older than those on disk.
        self.context.stopping.store(true, Relaxed);
        // Pushing them anew makes each be polled once more, so that each sees the flag.
        let checks = std::mem::take(&mut self.checks);
        self.checks.extend(checks);
        self.roster.registries.clear_queues();
        while let Some(ended) = self.checks.next().await {
            self.checked(ended);
        }
        while let Some(done) = self.writes.join_next().await {
            self.written(done);
        }
        let records = self.take_unsaved(0..self.roster.watches.len()).1;
        if records.is_empty() && !self.is_scheduled() {
            return;
        }
        if let Err(error) = self.context.store.save(self.is_scheduled().then(clock::now), records).await {
            error!(kind = error.kind(), "cannot write the last checks: {error}");
        }
    }

    /// Moves due watches to the queues of their registries, and starts what the gates admit.
    fn start_due(&mut self) {
        let now = Instant::now();
        if let Some(offset) = self.clock.was_set() {
            self.reschedule(offset);
        }
        if self.next_beat.is_some_and(|beat| now >= beat) {
            self.beat();
        }
        let wall = clock::now();
        let mut touched = BTreeSet::new();
        while let Some((_, index)) = self.due.first().copied().filter(|(due, _)| *due <= wall) {
            self.set_due(index, None);
            self.roster.watches[index].wanted = true;
            touched.extend(self.enqueue(index));
        }
        while let Some(registry) = self.roster.registries.opened(now) {
            touched.insert(registry);
        }
        for registry in touched {
            self.start_queued(registry, now);
        }
    }

    /// Puts a watch into its registry's queue, unless it is queued or being checked already. Returns the registry.
    fn enqueue(&mut self, index: usize) -> Option<usize> {
        let watched = &mut self.roster.watches[index];
        if watched.stage != Stage::Idle {
            return None;
        }
        watched.stage = Stage::Queued;
        self.roster.registries.all[watched.registry].queue.push_back(index);
        Some(watched.registry)
    }

    pub(super) fn start_queued(&mut self, registry: usize, now: Instant) {
        if self.context.stopping.load(Relaxed) {
            return;
        }
        loop {
            // A twin's check may have taken a watch along, or a reload may have removed it, without taking it out of the
            // queue. Its index may even belong to another watch by now, which waits at another registry.
            let (queue, watches) = (&mut self.roster.registries.all[registry].queue, &self.roster.watches);
            while queue.front().is_some_and(|index| !watches[*index].waits_at(registry)) {
                queue.pop_front();
            }
            let Some((index, permit)) = self.roster.registries.admit(registry, now) else { break };
            debug!(registry = self.roster.registries.all[registry].host, "the gate lets a check through");
            let twins = self.roster.watches[index].twins.clone();
            let mut checks = vec![self.begin(index)];
            for twin in twins.iter().flat_map(|twins| twins.iter().copied()) {
                if self.roster.watches[twin].stage == Stage::Queued {
                    checks.push(self.begin(twin));
                }
            }
            let check = GroupCheck {
                context: self.context.clone(),
                registry,
                permit,
                client: self.roster.registries.all[registry].client(),
                question: self.roster.watches[index].watch.key.question.clone(),
                checks,
            };
            let check = async move {
                let result = check.run_guarded().await;
                (check, result)
            };
            self.checks.push(check.boxed());
        }
    }

    /// Marks a watch as being checked, for those who wait for it now.
    fn begin(&mut self, index: usize) -> WatchCheck {
        let watched = &mut self.roster.watches[index];
        let dry_run = !std::mem::take(&mut watched.wanted);
        watched.stage = Stage::Checking { dry: dry_run };
        let (watch, record, waiting) =
            (watched.watch.clone(), watched.record.clone(), std::mem::take(&mut watched.waiting));
        WatchCheck { index, id: watched.id, watch, record, dry_run, waiting }
    }

    fn next_wake(&self) -> Instant {
        let now = Instant::now();
        let wall = clock::now();
        let due =
            self.due.first().map(|(due, _)| now + Duration::try_from(due.duration_since(wall)).unwrap_or_default());
        let wakes = [due, self.roster.registries.next_opening(), self.next_beat];
        wakes.into_iter().flatten().fold(now + HEARTBEAT, Instant::min)
    }

    fn checked(&mut self, (check, result): FinishedCheck) {
        let GroupCheck { registry, permit, checks, .. } = check;
        for check in &checks {
            self.roster.watches[check.index].stage = Stage::Idle;
        }
        // Abandoned at shutdown.
        let Some(GroupResult { checked, requests, report }) = result else { return };
        for (check, checked) in checks.into_iter().zip(checked) {
            self.conclude(check, checked);
        }
        // Last, so that whoever asked in the meantime is told if the gate closes.
        let now = Instant::now();
        self.release(registry, permit, requests, report, now);
        self.start_queued(registry, now);
    }

    /// Stores the result of a check, tells those who wait for it, and plans the next one.
    fn conclude(&mut self, check: WatchCheck, mut checked: CheckResult) {
        let watched = &mut self.roster.watches[check.index];
        let (verdict, failure) = (&mut checked.verdict, checked.failure.as_ref().map(|failure| failure.kind));
        if !check.dry_run {
            if watched.record.state() != verdict.record.state() {
                self.news.notify_one();
            }
            watched.record = std::mem::take(&mut verdict.record);
            watched.unsaved = if checked.saved { None } else { watched.unsaved.max(Some(verdict.persist)) };
            if watched.unsaved >= Some(Persist::Soon) {
                self.soon.push(check.index);
            }
            let tally = &mut self.roster.registries.all[watched.registry].tally;
            tally.count(verdict.outcome, failure, checked.elapsed);
            for change in &verdict.changes {
                *self.roster.changes.entry(change.kind).or_default() += 1;
            }
        }
        for waiter in check.waiting {
            // The receiver may be gone.
            let _ = waiter.reply.send(CheckDone { id: watched.id, line: line(&watched.watch, &checked) });
        }
        if checked.has_owed {
            failpoint::step("check: remembered");
            self.bell.notify_one();
        }
        let is_limited = failure == Some(FailureKind::RateLimited);
        self.come_back(check.index, is_limited, checked.verdict.recheck);
    }

    /// Plans the next check of a watch: now if somebody asked in the meantime, when the gate opens if a rate limit sent it
    /// away, else when it is due.
    fn come_back(&mut self, index: usize, is_limited: bool, recheck: Option<Timestamp>) {
        let is_scheduled = self.is_scheduled();
        let watched = &mut self.roster.watches[index];
        let is_scheduled = is_scheduled && watched.watch.enabled && !watched.retired;
        watched.wanted |= is_scheduled && is_limited;
        if watched.wanted || !watched.waiting.is_empty() {
            self.enqueue(index);
        } else if is_scheduled && watched.due.is_none() {
            let due = next_due(&watched.watch, &watched.record, recheck, clock::now(), fastrand::f64());
            self.set_due(index, Some(due));
        }
    }

    fn release(&mut self, index: usize, permit: Permit, requests: u32, report: Report, now: Instant) {
        let registry = &mut self.roster.registries.all[index];
        let before = registry.held_off(now);
        let was_held_off = registry.gate.held_off().is_some();
        registry.gate.release(permit, requests, report, now, fastrand::f64());
        registry.tally.requests += u64::from(requests);
        registry.tally.note_hold(registry.gate.held_off().is_some(), now);
        if registry.gate.held_off().is_some() != was_held_off {
            self.news.notify_one();
        }
        let Some((cause, until)) = registry.gate.held_off().filter(|(_, until)| *until > now) else { return };
        let pause = Duration::from_secs((until - now).as_secs());
        match before {
            None => warn!(registry = registry.host, kind = cause.as_str(), ?pause, "registry held off"),
            Some(_) => debug!(registry = registry.host, kind = cause.as_str(), ?pause, "registry still held off"),
        }
        self.refuse_queued(index, cause);
    }

    /// Nobody is kept waiting at a closed gate: those who asked are told, and what came due by itself stays queued.
    fn refuse_queued(&mut self, registry: usize, cause: FailureKind) {
        let scheduled = self.is_scheduled();
        let queue = std::mem::take(&mut self.roster.registries.all[registry].queue);
        for index in queue {
            let watched = &mut self.roster.watches[index];
            if !watched.waits_at(registry) {
                continue;
            }
            for waiter in std::mem::take(&mut watched.waiting) {
                let _ = waiter.reply.send(CheckDone { id: watched.id, line: held_off_line(watched, cause) });
            }
            if scheduled && watched.wanted {
                self.roster.registries.all[registry].queue.push_back(index);
            } else {
                watched.stage = Stage::Idle;
                watched.wanted = false;
            }
        }
    }

    /// Brings checks forward. `names`: empty for all enabled watches. Returns how many results the waiter will get.
    pub(super) fn check_now(&mut self, names: &[String], waiter: &Waiter) -> Result<usize, String> {
        let found = self.roster.find(names)?;
        let touched: BTreeSet<usize> =
            found.iter().filter_map(|index| self.bring_forward(*index, waiter.clone())).collect();
        // Start them only when all are queued: some may share a request.
        for registry in touched {
            self.start_queued(registry, Instant::now());
        }
        Ok(found.len())
    }

    /// Brings a check forward. A check that is under way does not count, because it may have asked the registry too early.
    /// A closed gate is not bypassed. Returns the registry whose queue has grown.
    fn bring_forward(&mut self, index: usize, waiter: Waiter) -> Option<usize> {
        let watched = &mut self.roster.watches[index];
        if watched.stage != (Stage::Checking { dry: false })
            && let Some((cause, _)) = self.roster.registries.all[watched.registry].held_off(Instant::now())
        {
            let _ = waiter.reply.send(CheckDone { id: watched.id, line: held_off_line(watched, cause) });
            return None;
        }
        let dry_run = waiter.dry_run;
        watched.waiting.push(waiter);
        if !dry_run {
            watched.wanted = true;
            self.set_due(index, None);
        }
        self.enqueue(index)
    }

    /// Sets when a watch is due by itself, if it is.
    pub(super) fn set_due(&mut self, index: usize, due: Option<Timestamp>) {
        if let Some(earlier) = std::mem::replace(&mut self.roster.watches[index].due, due) {
            self.due.remove(&(earlier, index));
        }
        self.due.extend(due.map(|due| (due, index)));
    }

    pub(super) fn is_scheduled(&self) -> bool {
        self.next_beat.is_some()
    }

    /// After the clock was set: no watch is due later than its schedule says now, and none waits longer than before.
    fn reschedule(&mut self, offset: SignedDuration) {
        let now = clock::now();
        let moved = |due: Timestamp| due.min(due.checked_add(offset).unwrap_or(due));
        for (due, index) in std::mem::take(&mut self.due) {
            let due = moved(due).min(self.roster.watches[index].watch.next_due(now));
            self.set_due(index, Some(due));
        }
        warn!(?offset, "the clock was set; due times follow it");
        // Due times of deliveries are wall-clock times, too.
        self.bell.notify_one();
    }
}
