//! What a hook is owed, and the one table that says how that may go on.
//!
//! Each watch and hook has a cursor in each lane: the target that the hook last succeeded for. Newest wins: a newer
//! change supersedes what is pending, and the next run goes from the cursor to the newest.

use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::backoff::Backoff;
use super::change::{Change, ChangeKind, ChangeSet, Lane};
use super::selection::Choice;
use super::words::words;

/// How often and at which pace a hook is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Tries before a delivery is `failed`.
    pub attempts: u32,
    /// The pauses between them.
    pub backoff: Backoff,
}

/// A hook that says "try later" (exit 75) for longer than this has failed.
const DEFERRED_AT_MOST: Duration = Duration::from_secs(86_400);

words! {
    /// The state of a delivery.
    pub enum DeliveryState {
        /// To be run when due.
        Pending = "pending",
        Running = "running",
        Succeeded = "succeeded",
        /// Given up, until it is retried by hand or the tag moves on.
        Failed = "failed",
        /// A newer change took its place.
        Superseded = "superseded",
    }
}

/// Deliveries that are not done, by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct OwedCounts {
    pub pending: u64,
    pub running: u64,
    /// Given up, and not held.
    pub failed: u64,
    /// How many of those that are pending are held: their watch is paused, or does not subscribe their hook.
    #[serde(default)]
    pub held: u64,
}

/// What can happen to a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Its run is about to start.
    Claimed,
    /// Its run ended well.
    Succeeded,
    /// It shall be tried again.
    RetryAt(Timestamp),
    /// It shall not be tried again.
    GaveUp,
    /// A newer change of the same lane takes its place, or nothing is owed any more.
    Overtaken,
}

/// An event that cannot happen in a state: a bug, never input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a delivery that is {state} cannot be {event:?}")]
pub struct Illegal {
    pub state: DeliveryState,
    pub event: Event,
}

impl DeliveryState {
    /// The table: every pair that is not in it is an error.
    pub fn on(self, event: Event) -> Result<Self, Illegal> {
        Ok(match (self, event) {
            (Self::Pending, Event::Claimed) => Self::Running,
            (Self::Pending, Event::Overtaken) => Self::Superseded,
            (Self::Running, Event::Succeeded) => Self::Succeeded,
            (Self::Running, Event::RetryAt(_)) => Self::Pending,
            (Self::Running, Event::GaveUp) => Self::Failed,
            (Self::Running, Event::Overtaken) => Self::Superseded,
            (Self::Failed, Event::Overtaken) => Self::Superseded,
            (state, event) => return Err(Illegal { state, event }),
        })
    }
}

words! {
    /// How an attempt ended.
    pub enum Ending {
        Succeeded = "succeeded",
        /// The hook asked to be tried later.
        Deferred = "deferred",
        /// Any other end: exit status, signal, timeout, or it did not start.
        Failed = "failed",
        /// We were stopped or killed while it ran.
        Cut = "cut",
    }
}

/// What an attempt came to, whatever ran.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub ending: Ending,
    /// The exit status, where there is one.
    pub code: Option<i32>,
    /// What went wrong, for people; `None` if it succeeded.
    pub error: Option<String>,
    /// What it printed, within bounds.
    pub output: String,
}

/// What a delivery has behind it when an attempt ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tries {
    /// Starts, this one included.
    pub attempts: u32,
    /// Starts that ended in `Deferred`, not counting this one.
    pub deferrals: u32,
    /// When the first of those ended.
    pub deferred_since: Option<Timestamp>,
}

/// What follows from the end of an attempt; `overtaken`: a newer change waits; `chance` is uniform in 0..1.
pub fn settle(
    ending: Ending,
    tries: Tries,
    overtaken: bool,
    retry: &RetryPolicy,
    now: Timestamp,
    chance: f64,
) -> Event {
    let spent = tries.attempts.saturating_sub(tries.deferrals);
    let pause = |step: u32| {
        // Whole milliseconds: as it is stored.
        let pause =
            Duration::from_millis(u64::try_from(retry.backoff.pause(step, chance).as_millis()).unwrap_or(u64::MAX));
        let due = SignedDuration::try_from(pause).ok().and_then(|pause| now.checked_add(pause).ok());
        Event::RetryAt(due.unwrap_or(Timestamp::MAX))
    };
    match ending {
        Ending::Succeeded => Event::Succeeded,
        _ if overtaken => Event::Overtaken,
        Ending::Deferred => {
            let since = tries.deferred_since.unwrap_or(now);
            let too_long = now.duration_since(since) >= SignedDuration::try_from(DEFERRED_AT_MOST).unwrap_or_default();
            if too_long { Event::GaveUp } else { pause(tries.deferrals) }
        }
        // A cut attempt says nothing about the hook, so one is repeated even where a single attempt is allowed; but a
        // hook that brings us down each time must come to an end.
        Ending::Cut if spent < retry.attempts.max(2) => Event::RetryAt(now),
        Ending::Failed if spent < retry.attempts => pause(spent.saturating_sub(1)),
        Ending::Cut | Ending::Failed => Event::GaveUp,
    }
}

/// Where a hook stands, or shall be brought to, in a lane.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// This tag, at this digest.
    Choice(Choice),
    /// The tag is gone.
    Absent,
    /// Checks fail.
    Failing,
    /// Checks work.
    Well,
}

impl Target {
    /// Where a change leads.
    pub fn of(change: &Change) -> Self {
        match (change.kind, &change.to) {
            (ChangeKind::Failing, _) => Self::Failing,
            (ChangeKind::Recovered, _) => Self::Well,
            (ChangeKind::Removed, _) | (_, None) => Self::Absent,
            (_, Some(choice)) => Self::Choice(choice.clone()),
        }
    }

    /// Where a change comes from; `None` at first sight.
    pub fn before(change: &Change) -> Option<Self> {
        match (change.kind, &change.from) {
            (ChangeKind::Failing, _) => Some(Self::Well),
            (ChangeKind::Recovered, _) => Some(Self::Failing),
            (ChangeKind::Restored, _) => Some(Self::Absent),
            (ChangeKind::First, _) | (_, None) => None,
            (_, Some(choice)) => Some(Self::Choice(choice.clone())),
        }
    }

    /// Reads the text in the database.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "absent" => Some(Self::Absent),
            "failing" => Some(Self::Failing),
            "well" => Some(Self::Well),
            choice => Choice::parse(choice).map(Self::Choice),
        }
    }

    fn choice(&self) -> Option<&Choice> {
        match self {
            Self::Choice(choice) => Some(choice),
            _ => None,
        }
    }
}

/// The text in the database: `TAG@DIGEST` or a word, which has no `@`.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Choice(choice) => choice.fmt(f),
            Self::Absent => f.write_str("absent"),
            Self::Failing => f.write_str("failing"),
            Self::Well => f.write_str("well"),
        }
    }
}

/// Where a hook stands with a watch in one lane.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cursor {
    /// What it last succeeded for, or what stood when it subscribed.
    pub reached: Option<Target>,
    /// What it was last started for since then, without success.
    pub attempted: Option<Target>,
}

impl Cursor {
    /// Whether a change to `target` is owed; `waiting`: where an earlier delivery of the lane, not begun, leads.
    ///
    /// Back where the hook stands, with nothing attempted in between, nothing is owed. But a hook that was not told of
    /// what lay in between (no delivery of it, or one for the same target) has not come back: to it, this is news.
    pub fn owes(&self, target: &Target, waiting: Option<&Target>) -> bool {
        let is_back = waiting.is_some_and(|waiting| waiting != target);
        !(is_back && self.attempted.is_none() && self.reached.as_ref() == Some(target))
    }

    /// Where a run for `target` starts from; `change_from` where the hook's own past does not tell.
    pub fn origin(&self, target: &Target, change_from: Option<Choice>) -> Option<Choice> {
        let other = |point: &Option<Target>| {
            point.as_ref().filter(|point| *point != target).and_then(|point| point.choice().cloned())
        };
        match target {
            Target::Choice(_) | Target::Absent => {
                other(&self.reached).or_else(|| other(&self.attempted)).or(change_from)
            }
            Target::Failing | Target::Well => change_from,
        }
    }
}

/// Which of a check's changes a hook is told in a lane: the last one that it subscribes to.
pub fn news(changes: &[Change], on: ChangeSet, lane: Lane) -> Option<usize> {
    changes.iter().rposition(|change| change.kind.lane() == lane && on.contains(change.kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Digest, Tag};

    const RETRY: RetryPolicy = RetryPolicy {
        attempts: 3,
        backoff: Backoff { first: Duration::from_secs(30), max: Duration::from_secs(3600) },
    };

    fn now() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }

    fn choice(name: &str) -> Choice {
        Choice { tag: Tag::parse("stable").unwrap(), digest: Digest::sha256(name.as_bytes()) }
    }

    fn digest(name: &str) -> Target {
        Target::Choice(choice(name))
    }

    fn tries(attempts: u32) -> Tries {
        Tries { attempts, deferrals: 0, deferred_since: None }
    }

    #[test]
    fn every_pair_outside_the_table_is_an_error() {
        let due = now();
        let states = DeliveryState::ALL;
        let events = [Event::Claimed, Event::Succeeded, Event::RetryAt(due), Event::GaveUp, Event::Overtaken];
        let legal = states.iter().flat_map(|s| events.iter().map(move |e| s.on(*e))).filter(Result::is_ok).count();
        assert_eq!(legal, 7);
        assert!(DeliveryState::Succeeded.on(Event::Claimed).is_err());
        assert!(DeliveryState::Failed.on(Event::Claimed).is_err(), "a failed delivery is retried as a new one");
    }

    #[test]
    fn a_failing_hook_is_retried_and_then_given_up() {
        let settle = |attempts| settle(Ending::Failed, tries(attempts), false, &RETRY, now(), 1.0);
        assert_eq!(settle(1), Event::RetryAt(now() + SignedDuration::from_secs(30)));
        assert_eq!(settle(2), Event::RetryAt(now() + SignedDuration::from_secs(60)));
        assert_eq!(settle(3), Event::GaveUp);
    }

    #[test]
    fn a_deferred_attempt_is_not_spent_but_ends_after_a_day() {
        let tries = |hours: i64, deferrals| Tries {
            attempts: deferrals + 1,
            deferrals,
            deferred_since: Some(now() - SignedDuration::from_hours(hours)),
        };
        let later = settle(Ending::Deferred, tries(23, 50), false, &RETRY, now(), 1.0);
        assert_eq!(later, Event::RetryAt(now() + SignedDuration::from_secs(3600)));
        assert_eq!(settle(Ending::Deferred, tries(24, 50), false, &RETRY, now(), 1.0), Event::GaveUp);
        let failed = settle(Ending::Failed, tries(1, 50), false, &RETRY, now(), 1.0);
        assert!(matches!(failed, Event::RetryAt(_)), "deferrals spend nothing");
    }

    #[test]
    fn a_cut_attempt_is_repeated_at_once_but_not_for_ever() {
        let once = RetryPolicy { attempts: 1, ..RETRY };
        assert_eq!(settle(Ending::Cut, tries(1), false, &once, now(), 0.5), Event::RetryAt(now()));
        assert_eq!(settle(Ending::Cut, tries(2), false, &once, now(), 0.5), Event::GaveUp);
    }

    #[test]
    fn an_overtaken_run_that_fails_is_superseded_and_one_that_succeeds_is_not() {
        assert_eq!(settle(Ending::Failed, tries(1), true, &RETRY, now(), 0.5), Event::Overtaken);
        assert_eq!(settle(Ending::Cut, tries(1), true, &RETRY, now(), 0.5), Event::Overtaken);
        assert_eq!(settle(Ending::Succeeded, tries(1), true, &RETRY, now(), 0.5), Event::Succeeded);
    }

    #[test]
    fn back_at_the_cursor_with_nothing_attempted_nothing_is_owed() {
        let untouched = Cursor { reached: Some(digest("a")), attempted: None };
        assert!(!untouched.owes(&digest("a"), Some(&digest("b"))));
        assert!(untouched.owes(&digest("c"), Some(&digest("b"))));
        assert!(untouched.owes(&digest("a"), None), "what lay in between was not for this hook; this is");
    }

    #[test]
    fn back_at_the_cursor_after_an_attempt_is_one_run_from_the_attempted_digest() {
        let touched = Cursor { reached: Some(digest("a")), attempted: Some(digest("b")) };
        assert!(touched.owes(&digest("a"), Some(&digest("b"))));
        assert_eq!(touched.origin(&digest("a"), None), Some(choice("b")));
        assert_eq!(touched.origin(&digest("c"), Some(choice("b"))), Some(choice("a")));
    }

    #[test]
    fn a_failing_that_nobody_heard_of_needs_no_recovered() {
        let cursor = Cursor { reached: Some(Target::Well), attempted: None };
        assert!(!cursor.owes(&Target::Well, Some(&Target::Failing)));
        assert!(cursor.owes(&Target::Well, None), "a hook on `recovered` alone");
    }

    #[test]
    fn a_hook_on_one_half_of_a_pair_is_owed_each_of_its_changes() {
        let cursor = Cursor { reached: Some(Target::Absent), attempted: None };
        assert!(cursor.owes(&Target::Absent, Some(&Target::Absent)), "removed, back, removed, back, removed");
    }

    #[test]
    fn targets_keep_their_text() {
        for target in [digest("a"), Target::Absent, Target::Failing, Target::Well] {
            assert_eq!(Target::parse(&target.to_string()), Some(target));
        }
        assert_eq!(Target::parse("nonsense"), None);
    }
}
