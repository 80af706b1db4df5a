//! Answers that may be large: at 100,000 watches, a status has 60 MB.
//!
//! *Invariant:* what a door keeps in memory for clients that are slow to take it is bounded, whatever they do.

use std::sync::Arc;

use axum::body::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

/// Answers of a kind that are made at a time.
const MADE_AT_ONCE: usize = 2;
/// The memory for answers that are made and not taken yet, in KiB. A larger one has it to itself.
const KEPT: u32 = 128 * 1024;

/// The room of one door for its answers.
pub(super) struct Pages {
    turns: Semaphore,
    looks: Semaphore,
    kept: Arc<Semaphore>,
}

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

impl Pages {
    pub(super) fn new() -> Self {
        Self {
            turns: Semaphore::new(MADE_AT_ONCE),
            looks: Semaphore::new(MADE_AT_ONCE),
            kept: Arc::new(Semaphore::new(KEPT as usize)),
        }
    }

    /// The right to look at all watches for a short answer, which does not wait for those that are large.
    pub(super) async fn look(&self) -> Option<SemaphorePermit<'_>> {
        self.looks.acquire().await.ok()
    }

    /// The right to make a large answer. To be held until it is made and kept.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.turns.acquire().await.ok()
    }

    /// The answer, once there is room for it.
    pub(super) async fn keep(&self, bytes: Vec<u8>) -> Bytes {
        let size = u32::try_from(bytes.len() / 1024 + 1).unwrap_or(KEPT).min(KEPT);
        let share = self.kept.clone().acquire_many_owned(size).await.ok();
        Bytes::from_owner(Page { bytes, _share: share })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_not_taken_keeps_its_room_and_gives_it_back() {
        let pages = Pages::new();
        let half = vec![0; (KEPT as usize * 1024) / 2];
        let first = pages.keep(half.clone()).await;
        let second = pages.keep(vec![0; 1024]).await;
        let third = pages.keep(half);
        tokio::pin!(third);
        assert!(tokio::time::timeout(std::time::Duration::ZERO, &mut third).await.is_err(), "there is no room yet");
        // A part of it is still to be written.
        let rest = first.slice(first.len() - 1..);
        drop(first);
        assert!(tokio::time::timeout(std::time::Duration::ZERO, &mut third).await.is_err(), "there is no room yet");
        drop((rest, second));
        third.await;
    }
}
