//! Answers about all watches: at 100,000 of them, a status has 60 MB.
//!
//! *Invariant:* however many ask at a time, and however slow they are to take it, an answer is made once for all of them,
//! and what a door keeps in memory is bounded.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use axum::body::Bytes;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// The memory for answers that are made and not taken yet, in KiB. A larger one has it to itself.
const KEPT: u32 = 128 * 1024;

/// An answer that is made for all that wait for it. Nobody gets one that was begun before they asked.
pub(super) struct Shared<T> {
    waiting: AtomicUsize,
    /// The latest, and when it was begun. Kept only while somebody waits.
    latest: Mutex<Option<(Instant, T)>>,
}

impl<T: Clone> Shared<T> {
    pub(super) fn new() -> Self {
        Self { waiting: AtomicUsize::new(0), latest: Mutex::new(None) }
    }

    pub(super) async fn get<E>(&self, make: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let (_waiting, asked) = (Waiting::begin(self), Instant::now());
        let mut latest = self.latest.lock().await;
        if let Some((_, made)) = latest.as_ref().filter(|(begun, _)| *begun >= asked) {
            return Ok(made.clone());
        }
        *latest = None;
        let begun = Instant::now();
        let made = make.await?;
        *latest = Some((begun, made.clone()));
        Ok(made)
    }
}

/// One that waits for an answer, or has given up once this is dropped.
struct Waiting<'a, T>(&'a Shared<T>);

impl<'a, T> Waiting<'a, T> {
    fn begin(shared: &'a Shared<T>) -> Self {
        shared.waiting.fetch_add(1, Relaxed);
        Self(shared)
    }
}

impl<T> Drop for Waiting<'_, T> {
    fn drop(&mut self) {
        if self.0.waiting.fetch_sub(1, Relaxed) == 1
            && let Ok(mut latest) = self.0.latest.try_lock()
        {
            *latest = None;
        }
    }
}

/// The room of one door for the answers that it sends.
pub(super) struct PageRoom(Arc<Semaphore>);

/// An answer, and its share of the room until the last byte has been taken.
struct Page {
    bytes: Vec<u8>,
    _share: Option<OwnedSemaphorePermit>,
}

impl AsRef<[u8]> for Page {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl PageRoom {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(KEPT as usize)))
    }

    /// The answer, once there is room for it.
    pub(super) async fn keep(&self, bytes: Vec<u8>) -> Bytes {
        let size = u32::try_from(bytes.len() / 1024 + 1).unwrap_or(KEPT).min(KEPT);
        let share = self.0.clone().acquire_many_owned(size).await.ok();
        Bytes::from_owner(Page { bytes, _share: share })
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::time::Duration;

    use futures_util::future::join_all;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn what_is_not_taken_keeps_its_room_and_gives_it_back() {
        let room = PageRoom::new();
        let half = vec![0; (KEPT as usize * 1024) / 2];
        let first = room.keep(half.clone()).await;
        let second = room.keep(vec![0; 1024]).await;
        let third = room.keep(half);
        tokio::pin!(third);
        assert!(timeout(Duration::ZERO, &mut third).await.is_err(), "there is no room yet");
        // A part of it is still to be written.
        let rest = first.slice(first.len() - 1..);
        drop(first);
        assert!(timeout(Duration::ZERO, &mut third).await.is_err(), "there is no room yet");
        drop((rest, second));
        third.await;
    }

    #[tokio::test]
    async fn those_who_ask_at_a_time_share_an_answer_and_nobody_gets_one_from_before() {
        let (shared, made) = (Shared::new(), AtomicUsize::new(0));
        let ask = || {
            shared.get(async {
                tokio::task::yield_now().await;
                Ok::<_, Infallible>(made.fetch_add(1, Relaxed))
            })
        };
        assert_eq!(ask().await, Ok(0));
        assert_eq!(ask().await, Ok(1), "it was made anew");
        let answers = join_all((0..100).map(|_| ask())).await;
        // The first one's was begun when the others asked, so one more is made for them.
        assert!(answers.iter().all(|answer| matches!(answer, Ok(2 | 3))), "{answers:?}");
        assert!(shared.latest.lock().await.is_none(), "nothing is kept once nobody waits");
    }

    #[tokio::test]
    async fn whoever_gives_up_keeps_no_other_waiting() {
        let shared = Shared::new();
        assert!(timeout(Duration::ZERO, shared.get(std::future::pending::<Result<u8, ()>>())).await.is_err());
        assert_eq!(shared.get(async { Err::<u8, _>(()) }).await, Err(()));
        assert_eq!(shared.get(async { Ok::<_, ()>(7) }).await, Ok(7));
    }
}
