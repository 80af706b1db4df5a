//! Threads for blocking calls, with a bound for each cause.
//!
//! *Invariant:* a call that hangs keeps its own thread and its place in its own pool, and nothing else.

use std::io;
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

/// Reading files that are not the agent's own.
pub static FILES: ThreadPool = ThreadPool::new("files", 32);
/// Looking up the addresses of registries.
pub static LOOKUPS: ThreadPool = ThreadPool::new("lookups", 64);
/// Starting the programs of hooks and of credential helpers.
pub static STARTS: ThreadPool = ThreadPool::new("starts", 64);
/// All pools, for the metrics.
pub static POOLS: [&ThreadPool; 3] = [&FILES, &LOOKUPS, &STARTS];

/// Threads for one kind of blocking call.
pub struct ThreadPool {
    name: &'static str,
    size: usize,
    free: Semaphore,
}

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// The call was not begun: all threads of its pool are held by earlier calls that do not end.
    #[error("all {size} threads for {name} are held by calls that do not end")]
    Full { name: &'static str, size: usize },
    /// The call was not begun: no thread could be started.
    #[error("no thread can be started: {0}")]
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
        Self { name, size, free: Semaphore::const_new(size) }
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

    /// Runs a call on a thread of its own. Waits up to `limit` for a free place, and then up to `limit` for the result.
    pub async fn run<T: Send + 'static>(
        &'static self,
        limit: Duration,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PoolError> {
        let full = |_| PoolError::Full { name: self.name, size: self.size };
        let place = timeout(limit, self.free.acquire()).await.map_err(full)?.map_err(|_| PoolError::Panicked)?;
        let (reply, answer) = oneshot::channel();
        let runtime = tokio::runtime::Handle::current();
        let work = move || {
            let _inside = runtime.enter();
            let _ = reply.send(call());
            drop(place);
        };
        std::thread::Builder::new().name(self.name.to_owned()).spawn(work).map_err(PoolError::NoThread)?;
        match timeout(limit, answer).await {
            Ok(answered) => answered.map_err(|_| PoolError::Panicked),
            Err(_) => Err(PoolError::TimedOut(limit)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_call_that_hangs_keeps_only_its_own_place() {
        static POOL: ThreadPool = ThreadPool::new("test", 2);
        let (end, hang) = mpsc::channel::<()>();
        let hung = POOL.run(Duration::from_millis(1), move || hang.recv().is_ok()).await;
        assert!(matches!(hung, Err(PoolError::TimedOut(_))), "{hung:?}");
        assert_eq!(POOL.in_use(), 1);
        assert_eq!(POOL.run(Duration::from_secs(60), || 7).await.unwrap(), 7, "the other place is free");
        drop(end);
        while POOL.in_use() > 0 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_full_pool_begins_nothing() {
        static POOL: ThreadPool = ThreadPool::new("test", 1);
        let (_end, hang) = mpsc::channel::<()>();
        let _ = POOL.run(Duration::ZERO, move || hang.recv().is_ok()).await;
        let refused = POOL.run(Duration::ZERO, || unreachable!("it was begun")).await;
        assert!(matches!(refused, Err(PoolError::Full { size: 1, .. })));
    }

    #[tokio::test]
    async fn a_call_that_panics_gives_its_place_back() {
        static POOL: ThreadPool = ThreadPool::new("test", 1);
        let panicked = POOL.run(Duration::from_secs(60), || panic!("on purpose")).await;
        assert!(matches!(panicked, Err::<(), _>(PoolError::Panicked)));
        POOL.run(Duration::from_secs(60), || ()).await.unwrap();
    }
}
