//! Hooks that could not be started, for a reason that is not their own: each waits a little before it is tried again.
//!
//! Kept in memory only: their deliveries are pending, and no attempt of theirs is spent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::domain::backoff::Backoff;

/// The pauses while a hook cannot be started. Short, because what is short comes back without notice.
const PAUSES: Backoff = Backoff { first: Duration::from_secs(2), max: Duration::from_secs(30) };

/// How long a hook that nobody has tried to start again is still told of. By then, nothing may be owed to it any more.
const TOLD_FOR: Duration = Duration::from_secs(60);

/// The hooks that are held.
#[derive(Clone, Default)]
pub(crate) struct Holds(watch::Sender<BTreeMap<Arc<str>, Hold>>);

struct Hold {
    why: String,
    /// How often it could not be started after the first time.
    tries: u32,
    until: Instant,
}

impl Holds {
    /// Holds a hook, and returns for how long. Starts that fail together count once.
    pub(crate) fn hold(&self, hook: &Arc<str>, why: &str, now: Instant, chance: f64) -> Duration {
        let mut pause = Duration::ZERO;
        self.0.send_modify(|holds| {
            let hold = holds.entry(hook.clone());
            let hold = hold
                .and_modify(|hold| {
                    if hold.until <= now {
                        hold.tries = hold.tries.saturating_add(1);
                        hold.until = now + PAUSES.pause(hold.tries, chance);
                    }
                })
                .or_insert_with(|| Hold { why: String::new(), tries: 0, until: now + PAUSES.pause(0, chance) });
            why.clone_into(&mut hold.why);
            pause = hold.until - now;
        });
        pause
    }

    /// A hook was started.
    pub(crate) fn release(&self, hook: &str) {
        self.0.send_if_modified(|holds| holds.remove(hook).is_some());
    }

    /// The hooks that may not be tried now, and when the first of them may. Forgets those that nobody tries any more.
    pub(crate) fn held(&self, now: Instant) -> (BTreeSet<Arc<str>>, Option<Instant>) {
        self.0.send_if_modified(|holds| {
            let before = holds.len();
            holds.retain(|_, hold| hold.until + TOLD_FOR > now);
            holds.len() != before
        });
        let holds = self.0.borrow();
        let held = || holds.iter().filter(|(_, hold)| hold.until > now);
        (held().map(|(hook, _)| hook.clone()).collect(), held().map(|(_, hold)| hold.until).min())
    }

    /// Why hooks cannot be started, and which.
    pub(crate) fn reasons(&self, now: Instant) -> BTreeMap<String, Vec<Arc<str>>> {
        let mut reasons: BTreeMap<String, Vec<Arc<str>>> = BTreeMap::new();
        for (hook, hold) in self.0.borrow().iter().filter(|(_, hold)| hold.until + TOLD_FOR > now) {
            reasons.entry(hold.why.clone()).or_default().push(hook.clone());
        }
        reasons
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_that_cannot_be_started_is_tried_again_ever_more_rarely_but_at_least_twice_a_minute() {
        let (holds, hook, mut now) = (Holds::default(), Arc::from("redeploy"), Instant::now());
        let mut pauses = Vec::new();
        for _ in 0..7 {
            let pause = holds.hold(&hook, "no thread", now, 1.0);
            assert_eq!(holds.hold(&hook, "no thread", now, 1.0), pause, "starts that fail together count once");
            assert_eq!(holds.held(now).1, Some(now + pause));
            now += pause;
            assert!(holds.held(now).0.is_empty());
            pauses.push(pause.as_secs());
        }
        assert_eq!(pauses, [2, 4, 8, 16, 30, 30, 30]);
        assert_eq!(holds.reasons(now)["no thread"].len(), 1);
        holds.release("redeploy");
        assert!(holds.reasons(now).is_empty());
        assert_eq!(holds.hold(&hook, "no thread", now, 1.0).as_secs(), 2);
    }

    #[test]
    fn a_hook_that_nobody_tries_to_start_any_more_is_no_problem() {
        let (holds, hook, now) = (Holds::default(), Arc::from("redeploy"), Instant::now());
        let later = now + holds.hold(&hook, "no thread", now, 1.0) + TOLD_FOR;
        assert!(holds.reasons(later).is_empty() && holds.held(later).0.is_empty());
    }
}
