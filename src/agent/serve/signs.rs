//! Signs of life, for whoever supervises the agent: how things stand, and the proof that its parts still move.
//!
//! *Invariant:* [`Sign::Alive`] is told only after the scheduler, the deliverer and the store have each answered. Nothing
//! here wakes an agent without a watchdog to which nothing happens.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, broadcast, mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};
use tracing::{error, info};

use crate::agent::check::scheduler::Scheduler;
use crate::agent::check::watched::Request;
use crate::agent::reload::Current;
use crate::domain::judge::State;
use crate::store::{Store, WatchId};

/// What an agent tells its supervisor.
#[derive(Debug)]
pub enum Sign {
    /// It checks, delivers and listens, from now on or again after [`Sign::Reloading`].
    Ready,
    /// It reads its config again.
    Reloading,
    /// How things stand, if that has changed.
    Standing(Standing),
    /// All its parts still move.
    Alive,
    /// It ends, which may take so long: running hooks have their grace.
    Stopping(Duration),
}

/// How things stand, in numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// Enabled watches whose last check was good.
    pub ok: usize,
    /// Those that may have moved: the new digest must hold or be confirmed first.
    pub settling: usize,
    /// Those whose last check has failed.
    pub failing: usize,
    /// Those whose tag is gone.
    pub absent: usize,
    /// Those that were never seen.
    pub unknown: usize,
    /// Deliveries that were given up.
    pub failed: u64,
    /// Registries that are held off.
    pub held_off: Vec<String>,
    /// Why nothing can be recorded, so that hooks are held.
    pub trouble: Option<String>,
    /// Why the config as it is now was refused.
    pub refused: Option<String>,
}

/// Answered when a part has gone round its loop, or dropped when that ends.
pub(crate) type Ping = oneshot::Sender<()>;

/// The ways to the parts that must move.
#[derive(Clone)]
pub(crate) struct Vitals {
    pub(crate) scheduler: mpsc::Sender<Request>,
    pub(crate) deliverer: mpsc::Sender<Ping>,
    pub(crate) store: Store,
    pub(crate) current: watch::Receiver<Current>,
    pub(crate) tell: fn(Sign),
}

/// What may change how things stand.
pub(crate) struct News {
    /// Rung by the scheduler.
    pub(crate) checks: Arc<Notify>,
    /// Tells of ended attempts.
    pub(crate) ended: broadcast::Receiver<WatchId>,
}

/// How things stand is looked at at most so often: all watches are counted for it, and in a burst there is always news.
const CALM: Duration = Duration::from_secs(1);

impl Vitals {
    /// Tells that we are ready, and how things stand, now and whenever that has changed.
    pub(crate) async fn tell_standing(mut self, mut news: News) {
        let mut trouble = self.store.watch_trouble();
        let mut told = self.standing().await.unwrap_or_default();
        (self.tell)(Sign::Standing(told.clone()));
        (self.tell)(Sign::Ready);
        loop {
            tokio::select! {
                () = news.checks.notified() => {}
                Ok(_) | Err(RecvError::Lagged(_)) = news.ended.recv() => {}
                Ok(()) = self.current.changed() => {}
                Ok(()) = trouble.changed() => {}
                else => return,
            }
            // What has ended by now is seen by this look.
            news.ended = news.ended.resubscribe();
            if let Some(standing) = self.standing().await.filter(|standing| *standing != told) {
                told = standing.clone();
                (self.tell)(Sign::Standing(standing));
            }
            sleep(CALM).await;
        }
    }

    /// How things stand; `None` while the agent stops, or nothing can be read.
    pub(crate) async fn standing(&self) -> Option<Standing> {
        let (tell, told) = oneshot::channel();
        let look = Request::Look(Box::new(move |scheduler| drop(tell.send(Standing::of(scheduler)))));
        self.scheduler.send(look).await.ok()?;
        let standing = told.await.ok()?;
        Some(Standing {
            failed: self.store.given_up().await.ok()?,
            trouble: self.store.trouble().map(|trouble| trouble.message),
            refused: self.current.borrow().error.clone(),
            ..standing
        })
    }

    /// Tells that all parts move, so often, for as long as they do; ends never.
    pub(crate) async fn tell_alive(self, every: Duration) {
        loop {
            sleep(every).await;
            tokio::join!(
                moves("scheduler", every, self.ask_scheduler()),
                moves("deliverer", every, self.ask_deliverer()),
                moves("store", every, self.ask_store()),
            );
            (self.tell)(Sign::Alive);
        }
    }

    pub(crate) async fn ask_scheduler(&self) {
        let (tell, told) = oneshot::channel();
        let look = Request::Look(Box::new(move |_| tell.send(()).unwrap_or_default()));
        if self.scheduler.send(look).await.is_ok() {
            let _ = told.await;
        }
    }

    pub(crate) async fn ask_deliverer(&self) {
        let (tell, told) = oneshot::channel();
        if self.deliverer.send(tell).await.is_ok() {
            let _ = told.await;
        }
    }

    /// What it answers does not matter: a disk that is full is trouble, but no reason to start again.
    pub(crate) async fn ask_store(&self) {
        let _ = self.store.last_heartbeat().await;
    }
}

/// Waits until a part has answered, and names it if that takes long: it may be the last that is heard of us.
async fn moves(part: &'static str, long: Duration, answer: impl Future<Output = ()>) {
    tokio::pin!(answer);
    if timeout(long, &mut answer).await.is_err() {
        error!(part, waited = ?long, "a part of the agent does not move; the watchdog will end us");
        answer.await;
        info!(part, "it moves again");
    }
}

impl Standing {
    /// What the loop knows of it.
    fn of(scheduler: &Scheduler) -> Self {
        let mut standing = Self::default();
        for watched in scheduler.live().filter(|watched| watched.watch.enabled) {
            *match watched.record.state() {
                State::Ok => &mut standing.ok,
                State::Settling => &mut standing.settling,
                State::Failing => &mut standing.failing,
                State::Absent => &mut standing.absent,
                State::Unknown => &mut standing.unknown,
            } += 1;
        }
        let held_off = scheduler.registries.iter().filter(|registry| registry.gate.held_off().is_some());
        standing.held_off = held_off.map(|registry| registry.host.clone()).collect();
        standing
    }
}
