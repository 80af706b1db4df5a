//! Threads for blocking calls, with a bound for each cause.
//!
//! *Invariant:* a call that hangs keeps its own thread and its place in its own pool, and nothing else. What is called one
//! at a time, or a few, keeps no more than that.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit, oneshot};
use tokio::time::timeout;

use super::shortage;

/// Reading files that registries need. A thread is there only while it is used, and each of them needs a few files.
pub static FILES: ThreadPool = ThreadPool::new("files", 128);
/// Reading and understanding the config.
pub static CONFIG: ThreadPool = ThreadPool::new("config", 8);
/// Looking at the files that the config names.
pub static INSPECTIONS: ThreadPool = ThreadPool::new("inspections", 32);
/// Looking up the addresses of registries.
pub static LOOKUPS: ThreadPool = ThreadPool::new("lookups", 64);
/// Starting the programs of hooks and of credential helpers.
pub static STARTS: ThreadPool = ThreadPool::new("starts", 64);
/// Rendering pages that are too large for the loop.
pub static PAGES: ThreadPool = ThreadPool::new("pages", 2);
/// Looking for processes in `/proc`, which waits for one that hangs in the kernel.
pub static PROCESSES: ThreadPool = ThreadPool::new("processes", 8);
/// All pools, for the metrics.
pub static POOLS: [&ThreadPool; 7] = [&FILES, &CONFIG, &INSPECTIONS, &LOOKUPS, &STARTS, &PAGES, &PROCESSES];

/// How long a pool that had to turn a call away counts as stuck.
const STUCK_FOR: Duration = Duration::from_secs(60);

/// Threads for one kind of blocking call.
pub struct ThreadPool {
    name: &'static str,
    size: usize,
    free: Semaphore,
    calls: Mutex<Calls>,
}

/// The calls under way.
struct Calls {
    begun: u64,
    /// For each call, when it will have taken too long.
    late_at: BTreeMap<u64, Instant>,
    /// Of what is called one at a time.
    turns: BTreeMap<String, Turn>,
    /// When a call was last turned away.
    refused: Option<Instant>,
}

/// The turn to be called.
#[derive(Clone)]
struct Turn {
    free: Arc<Semaphore>,
    /// For each call under way, when it will have taken too long.
    late_at: BTreeMap<u64, Instant>,
}

/// What a call holds until it has ended, and its result was taken or dropped.
struct Held {
    pool: &'static ThreadPool,
    number: u64,
    turn: Option<HeldTurn>,
    _place: SemaphorePermit<'static>,
}

struct HeldTurn {
    pool: &'static ThreadPool,
    key: String,
    permit: Option<OwnedSemaphorePermit>,
    /// The number of the call.
    number: Option<u64>,
}

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// The call was not begun: all threads of its pool are held by earlier calls that do not end.
    #[error("all {size} threads for {name} are held by calls that do not end")]
    Full { name: &'static str, size: usize },
    /// The call was not begun: an earlier one, of which there is one at a time, does not end.
    #[error("an earlier call for {key:?} does not end")]
    Occupied { key: String },
    /// The call was not begun: no thread could be started.
    #[error("no thread can be started: {}", shortage::explained(.0))]
    NoThread(io::Error),
    /// The call was begun, and has not ended in time. It goes on in the background.
    #[error("no answer within {} s", .0.as_secs())]
    TimedOut(Duration),
    /// The call panicked: a bug.
    #[error("taghook has a bug here; please report the log above")]
    Panicked,
}

impl ThreadPool {
    const fn new(name: &'static str, size: usize) -> Self {
        let calls = Calls { begun: 0, late_at: BTreeMap::new(), turns: BTreeMap::new(), refused: None };
        Self { name, size, free: Semaphore::const_new(size), calls: Mutex::new(calls) }
    }

    /// The label of this pool in metrics.
    pub fn name(&self) -> &'static str {
        self.name
    }

    pub fn size(&self) -> usize {
        self.size
    }

    /// How many threads are in use, by calls that hang or do not.
    pub fn in_use(&self) -> usize {
        self.size - self.free.available_permits()
    }

    /// How many threads are held by calls that have taken too long.
    pub fn late(&self) -> usize {
        let now = Instant::now();
        self.calls().late_at.values().filter(|late_at| **late_at <= now).count()
    }

    /// Whether calls are turned away because earlier ones do not end.
    pub fn is_stuck(&self) -> bool {
        let was_refused = self.calls().refused.is_some_and(|refused| refused.elapsed() < STUCK_FOR);
        was_refused || self.late() >= self.size
    }

    /// Runs a call on a thread of its own. Waits up to `limit` for a free place, and then up to `limit` for the result.
    pub async fn run<T: Send + 'static>(
        &'static self,
        limit: Duration,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PoolError> {
        self.begin(None, limit, call).await
    }

    /// The same, with one call for a `key` at a time: one that hangs keeps the next ones from being begun, so that what
    /// hangs cannot fill the pool.
    pub async fn run_alone<T: Send + 'static>(
        &'static self,
        key: String,
        limit: Duration,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PoolError> {
        self.run_few(1, key, limit, call).await
    }

    /// The same, with up to `most` calls for a `key` at a time. A `key` has the same number in all calls.
    pub async fn run_few<T: Send + 'static>(
        &'static self,
        most: usize,
        key: String,
        limit: Duration,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PoolError> {
        let turn = self.turn(most, key, limit).await?;
        self.begin(Some(turn), limit, call).await
    }

    async fn begin<T: Send + 'static>(
        &'static self,
        mut turn: Option<HeldTurn>,
        limit: Duration,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PoolError> {
        let Ok(place) = timeout(limit, self.free.acquire()).await else {
            self.calls().refused = Some(Instant::now());
            return Err(PoolError::Full { name: self.name, size: self.size });
        };
        let place = place.map_err(|_| PoolError::Panicked)?;
        let held = Held { pool: self, number: self.note(turn.as_mut(), limit), turn, _place: place };
        let (reply, answer) = oneshot::channel();
        let runtime = tokio::runtime::Handle::current();
        let work = move || {
            let _inside = runtime.enter();
            // A result that nobody waits for any more is dropped here, while the call still holds its place and turn.
            drop(reply.send(call()));
            drop(held);
        };
        std::thread::Builder::new().name(self.name.to_owned()).spawn(work).map_err(PoolError::NoThread)?;
        match timeout(limit, answer).await {
            Ok(answered) => answered.map_err(|_| PoolError::Panicked),
            Err(_) => Err(PoolError::TimedOut(limit)),
        }
    }

    /// Waits up to `limit` for the turn of a `key`, but not for a call that has taken too long already.
    async fn turn(&'static self, most: usize, key: String, limit: Duration) -> Result<HeldTurn, PoolError> {
        let new = || Turn { free: Arc::new(Semaphore::new(most)), late_at: BTreeMap::new() };
        let Turn { free, late_at } = self.calls().turns.entry(key.clone()).or_insert_with(new).clone();
        // From here on, the entry of a key that nobody holds is removed, however this ends.
        let mut turn = HeldTurn { pool: self, key, permit: None, number: None };
        let occupied = |turn: &HeldTurn| PoolError::Occupied { key: turn.key.clone() };
        let now = Instant::now();
        if late_at.values().any(|late_at| *late_at <= now) {
            drop(free);
            return Err(occupied(&turn));
        }
        match timeout(limit, free.acquire_owned()).await {
            Ok(permit) => turn.permit = Some(permit.map_err(|_| PoolError::Panicked)?),
            Err(_) => return Err(occupied(&turn)),
        }
        Ok(turn)
    }

    /// Notes a call that begins now. Returns its number.
    fn note(&self, turn: Option<&mut HeldTurn>, limit: Duration) -> u64 {
        let late_at = Instant::now() + limit;
        let mut calls = self.calls();
        calls.begun += 1;
        let number = calls.begun;
        calls.late_at.insert(number, late_at);
        if let Some(held) = turn {
            held.number = Some(number);
            if let Some(turn) = calls.turns.get_mut(&held.key) {
                turn.late_at.insert(number, late_at);
            }
        }
        number
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.pool.calls().late_at.remove(&self.number);
        drop(self.turn.take());
    }
}

impl Drop for HeldTurn {
    fn drop(&mut self) {
        let mut calls = self.pool.calls();
        let Some(turn) = calls.turns.get_mut(&self.key) else { return };
        if let Some(number) = self.number {
            turn.late_at.remove(&number);
        }
        drop(self.permit.take());
        // Whoever holds the turn or waits for it has a share of the semaphore.
        if Arc::strong_count(&turn.free) == 1 {
            calls.turns.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    async fn until_idle(pool: &ThreadPool) {
        let idle = async {
            while pool.in_use() > 0 || !pool.calls().turns.is_empty() {
                tokio::task::yield_now().await;
            }
        };
        timeout(LONG, idle).await.unwrap();
    }

    #[tokio::test]
    async fn a_call_that_hangs_keeps_only_its_own_place() {
        static POOL: ThreadPool = ThreadPool::new("test", 2);
        let (end, hang) = mpsc::channel::<()>();
        let hung = POOL.run(Duration::from_millis(1), move || hang.recv().is_ok()).await;
        assert!(matches!(hung, Err(PoolError::TimedOut(_))), "{hung:?}");
        assert_eq!((POOL.in_use(), POOL.late()), (1, 1));
        assert_eq!(POOL.run(LONG, || 7).await.unwrap(), 7, "the other place is free");
        assert!(!POOL.is_stuck());
        drop(end);
        until_idle(&POOL).await;
        assert_eq!(POOL.late(), 0);
    }

    #[tokio::test]
    async fn a_full_pool_begins_nothing_and_says_that_it_is_stuck() {
        static POOL: ThreadPool = ThreadPool::new("test", 1);
        let (_end, hang) = mpsc::channel::<()>();
        let _ = POOL.run(Duration::ZERO, move || hang.recv().is_ok()).await;
        let refused = POOL.run(Duration::ZERO, || unreachable!("it was begun")).await;
        assert!(matches!(refused, Err(PoolError::Full { size: 1, .. })));
        assert!(POOL.is_stuck());
    }

    #[tokio::test]
    async fn a_call_that_panics_gives_its_place_and_its_turn_back() {
        static POOL: ThreadPool = ThreadPool::new("test", 1);
        for _ in 0..2 {
            let panicked = POOL.run_alone("key".into(), LONG, || panic!("on purpose")).await;
            assert!(matches!(panicked, Err::<(), _>(PoolError::Panicked)));
        }
        until_idle(&POOL).await;
    }

    #[tokio::test]
    async fn what_hangs_holds_one_place_however_often_it_is_called_and_others_go_on() {
        static POOL: ThreadPool = ThreadPool::new("test", 2);
        let (end, hang) = mpsc::channel::<()>();
        let _ = POOL.run_alone("hangs".into(), Duration::from_millis(1), move || hang.recv().is_ok()).await;
        for _ in 0..9 {
            let again = POOL.run_alone("hangs".into(), LONG, || unreachable!("it was begun")).await;
            assert!(matches!(again, Err(PoolError::Occupied { .. })), "{again:?}");
        }
        assert_eq!(POOL.in_use(), 1);
        assert_eq!(POOL.run_alone("well".into(), LONG, || 7).await.unwrap(), 7);
        drop(end);
        until_idle(&POOL).await;
        assert_eq!(POOL.run_alone("hangs".into(), LONG, || 7).await.unwrap(), 7, "it has ended");
        until_idle(&POOL).await;
    }

    #[tokio::test]
    async fn a_result_that_comes_too_late_is_dropped_before_the_next_call_of_its_key() {
        static POOL: ThreadPool = ThreadPool::new("test", 2);
        struct Child(mpsc::Sender<()>);
        impl Drop for Child {
            fn drop(&mut self) {
                self.0.send(()).unwrap();
            }
        }
        let (end, hang) = mpsc::channel::<()>();
        let (killed, is_killed) = mpsc::channel();
        let late = move || {
            let _ = hang.recv();
            Child(killed)
        };
        assert!(POOL.run_alone("key".into(), Duration::from_millis(1), late).await.is_err());
        drop(end);
        until_idle(&POOL).await;
        is_killed.try_recv().unwrap();
    }
}
