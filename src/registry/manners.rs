//! What each repository has shown about `HEAD`: a registry may be a front for many others, each with manners of its own.
//!
//! *Invariant:* nothing that was learnt holds for longer than an hour without being seen again.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a lesson holds.
const HOLDS_FOR: Duration = Duration::from_secs(3600);

/// How a repository answers `HEAD`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    Unknown,
    /// It has returned a digest lately, so its "not found" is believed where nothing contradicts it.
    Honest,
    /// It was of no use where `GET` found something, so `GET` is used at once.
    NeedsGet,
    /// As [`Manner::NeedsGet`], but that was an hour ago, so `HEAD` gets another chance.
    NeededGet,
}

#[derive(Default)]
pub(super) struct Manners(Mutex<HashMap<u64, Lesson>>);

/// Small, because there is one for each repository; the key is a hash of its name.
struct Lesson {
    /// How often in a row `GET` has found what `HEAD` had not.
    misses: u8,
    at: Instant,
}

/// The misses after which `GET` is used at once. One alone may be a hiccup, and some registries count each `GET` as a pull.
const MISSES: u8 = 2;

impl Manners {
    pub(super) fn of(&self, repository: &str) -> Manner {
        let lessons = self.lessons();
        let Some(lesson) = lessons.get(&key(repository)) else { return Manner::Unknown };
        match (lesson.misses, lesson.at.elapsed() < HOLDS_FOR) {
            (0, true) => Manner::Honest,
            (..MISSES, _) => Manner::Unknown,
            (_, true) => Manner::NeedsGet,
            (_, false) => Manner::NeededGet,
        }
    }

    /// Records that `HEAD` has returned a digest.
    pub(super) fn note_hit(&self, repository: &str) {
        self.lessons().insert(key(repository), Lesson { misses: 0, at: Instant::now() });
    }

    /// Records that `GET` has found what `HEAD` had not.
    pub(super) fn note_miss(&self, repository: &str) {
        let mut lessons = self.lessons();
        // A repository whose HEAD was never of use gets no second chance at once.
        let lesson = lessons.entry(key(repository)).or_insert(Lesson { misses: MISSES, at: Instant::now() });
        *lesson = Lesson { misses: lesson.misses.saturating_add(1), at: Instant::now() };
    }

    /// Ages every lesson by an hour.
    #[cfg(test)]
    pub(super) fn age(&self) {
        for lesson in self.lessons().values_mut() {
            lesson.at = lesson.at.checked_sub(HOLDS_FOR).unwrap_or(lesson.at);
        }
    }

    fn lessons(&self) -> MutexGuard<'_, HashMap<u64, Lesson>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(repository: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    repository.hash(&mut hasher);
    hasher.finish()
}
