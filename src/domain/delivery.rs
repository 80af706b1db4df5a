//! Deliveries of changes to hooks: their state machine, their retries, and the cursors that decide what is owed.
//!
//! Each pair of watch and hook has a cursor per lane: the target that the hook last succeeded for. A newer change
//! supersedes a pending delivery, so the next run goes from the cursor straight to the newest target.

use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::backoff::Backoff;
use super::change::{Change, ChangeKind, ChangeSet, Lane};
use super::selection::Choice;
use super::words::words;

/// How often a delivery is attempted, and the pauses in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts before the delivery is `failed`.
    pub attempts: u32,
    pub backoff: Backoff,
}

/// A hook that has answered "try later" (exit 75) for a day is stuck, so the delivery fails.
const DEFERRED_AT_MOST: Duration = Duration::from_secs(86_400);

words! {
    pub enum DeliveryState {
        /// Waits until it is due.
        Pending = "pending",
        Running = "running",
        Succeeded = "succeeded",
        /// Given up. An operator may retry it, and a newer change supersedes it.
        Failed = "failed",
        /// A newer change replaced it, or it is no longer owed.
        Superseded = "superseded",
    }
}

/// Numbers of unfinished deliveries by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct OwedCounts {
    pub pending: u64,
    pub running: u64,
    /// Excludes those that are held.
    pub failed: u64,
    /// The pending ones that wait for a person: the watch is paused, or the hook no longer subscribes to it.
    #[serde(default)]
    pub held: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// An attempt is about to start.
    Claimed,
    Succeeded,
    RetryAt(Timestamp),
    /// No attempts are left.
    GaveUp,
    /// A newer change of the same lane replaces it, or nothing is owed any more.
    Overtaken,
}

/// An event that is not allowed in the state. This is always a bug, never bad input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a delivery that is {state} cannot be {event:?}")]
pub struct Illegal {
    pub state: DeliveryState,
    pub event: Event,
}

impl DeliveryState {
    /// The transition table. Every pair that is not listed is an error.
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
        /// The hook asked for a later attempt.
        Deferred = "deferred",
        /// Any other end: a non-zero exit status, a signal, a timeout, or a failure to start.
        Failed = "failed",
        /// The agent was stopped or killed during the attempt.
        Cut = "cut",
    }
}

/// The result of an attempt, independent of the kind of action.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub ending: Ending,
    /// The exit status, if there is one.
    pub code: Option<i32>,
    /// For people: what went wrong. `None` on success.
    pub error: Option<String>,
    /// What it printed, truncated.
    pub output: String,
}

/// A hook was not started, for a reason that is not its own. No attempt was made, so none is spent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotStarted {
    /// For people, with the remedy.
    pub why: String,
}

/// For those who try once only.
impl From<NotStarted> for Outcome {
    fn from(NotStarted { why }: NotStarted) -> Self {
        Self { ending: Ending::Failed, code: None, error: Some(why), output: String::new() }
    }
}

/// The earlier attempts of a delivery, at the end of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tries {
    /// All attempts, including this one.
    pub attempts: u32,
    /// Attempts that ended in `Deferred`, excluding this one.
    pub deferrals: u32,
    /// The end of the first of these.
    pub deferred_since: Option<Timestamp>,
}

/// Decides what follows from the end of an attempt. `overtaken` means that a newer change waits; `chance` is a uniform
/// random number in 0..1.
pub fn after_attempt(
    ending: Ending,
    tries: Tries,
    overtaken: bool,
    retry: &RetryPolicy,
    now: Timestamp,
    chance: f64,
) -> Event {
    let spent = tries.attempts.saturating_sub(tries.deferrals);
    let pause = |step: u32| {
        // The database stores whole milliseconds.
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
        // A cut attempt says nothing about the hook, so it is repeated once even if only a single attempt is allowed.
        // It still counts, so that a hook which stops the agent each time is eventually given up.
        Ending::Cut if spent < retry.attempts.max(2) => Event::RetryAt(now),
        Ending::Failed if spent < retry.attempts => pause(spent.saturating_sub(1)),
        Ending::Cut | Ending::Failed => Event::GaveUp,
    }
}

/// What follows when a hook was not started. `overtaken` means that a newer change waits; else it is tried again at `due`.
pub fn after_no_start(overtaken: bool, due: Timestamp) -> Event {
    if overtaken { Event::Overtaken } else { Event::RetryAt(due) }
}

/// The state of a watch in one lane, as a hook has been told or is to be told.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    Choice(Choice),
    Absent,
    Failing,
    Well,
}

impl Target {
    /// The target that a change leads to.
    pub fn of(change: &Change) -> Self {
        Self::after(change.kind, change.to.clone())
    }

    /// The target that a change of this kind, to this choice, leads to.
    pub fn after(kind: ChangeKind, to: Option<Choice>) -> Self {
        match kind {
            ChangeKind::Failing => Self::Failing,
            ChangeKind::Recovered => Self::Well,
            ChangeKind::Removed => Self::Absent,
            ChangeKind::First | ChangeKind::Moved | ChangeKind::Restored => to.map_or(Self::Absent, Self::Choice),
        }
    }

    /// The target that a change starts from; `None` for the first sighting.
    pub fn before(change: &Change) -> Option<Self> {
        match (change.kind, &change.from) {
            (ChangeKind::Failing, _) => Some(Self::Well),
            (ChangeKind::Recovered, _) => Some(Self::Failing),
            (ChangeKind::Restored, _) => Some(Self::Absent),
            (ChangeKind::First, _) => None,
            (ChangeKind::Moved | ChangeKind::Removed, from) => from.clone().map(Self::Choice),
        }
    }

    /// Parses the database's form, which `Display` writes.
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

/// The database's form: `TAG@DIGEST`, or a word without `@`.
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

/// The position of a hook in one lane of a watch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cursor {
    /// The target that it last succeeded for, or the one that was current when it subscribed.
    pub reached: Option<Target>,
    /// The target of the last attempt since then, which has not succeeded.
    pub attempted: Option<Target>,
}

impl Cursor {
    /// Whether a change to `target` must be delivered. `waiting` is the target of an earlier delivery of the lane that
    /// has not started.
    ///
    /// If the watch is back at the target that the hook has reached, and nothing was attempted in between, the two
    /// changes cancel out and nothing is owed. Without a waiting delivery for another target there is nothing to
    /// cancel: the hook does not subscribe to the change in between, so it must be told of this one.
    pub fn owes(&self, target: &Target, waiting: Option<&Target>) -> bool {
        let is_returning = waiting.is_some_and(|waiting| waiting != target);
        !(is_returning && self.attempted.is_none() && self.reached.as_ref() == Some(target))
    }

    /// The choice that a delivery for `target` reports as `from`: the hook's own last one, or else the change's.
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

/// The index of the change that a hook is told of in a lane: the last one among `changes` that it subscribes to.
pub fn news(changes: &[Change], on: ChangeSet, lane: Lane) -> Option<usize> {
    changes.iter().rposition(|change| change.kind.lane() == lane && on.contains(change.kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::digest::Digest;
    use crate::domain::reference::Tag;

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
        let failed = |attempts| after_attempt(Ending::Failed, tries(attempts), false, &RETRY, now(), 1.0);
        assert_eq!(failed(1), Event::RetryAt(now() + SignedDuration::from_secs(30)));
        assert_eq!(failed(2), Event::RetryAt(now() + SignedDuration::from_secs(60)));
        assert_eq!(failed(3), Event::GaveUp);
    }

    #[test]
    fn a_deferred_attempt_is_not_spent_but_ends_after_a_day() {
        let tries = |hours: i64, deferrals| Tries {
            attempts: deferrals + 1,
            deferrals,
            deferred_since: Some(now() - SignedDuration::from_hours(hours)),
        };
        let later = after_attempt(Ending::Deferred, tries(23, 50), false, &RETRY, now(), 1.0);
        assert_eq!(later, Event::RetryAt(now() + SignedDuration::from_secs(3600)));
        assert_eq!(after_attempt(Ending::Deferred, tries(24, 50), false, &RETRY, now(), 1.0), Event::GaveUp);
        let failed = after_attempt(Ending::Failed, tries(1, 50), false, &RETRY, now(), 1.0);
        assert!(matches!(failed, Event::RetryAt(_)), "deferrals spend nothing");
    }

    #[test]
    fn a_cut_attempt_is_repeated_at_once_but_not_for_ever() {
        let once = RetryPolicy { attempts: 1, ..RETRY };
        assert_eq!(after_attempt(Ending::Cut, tries(1), false, &once, now(), 0.5), Event::RetryAt(now()));
        assert_eq!(after_attempt(Ending::Cut, tries(2), false, &once, now(), 0.5), Event::GaveUp);
    }

    #[test]
    fn an_overtaken_run_that_fails_is_superseded_and_one_that_succeeds_is_not() {
        assert_eq!(after_attempt(Ending::Failed, tries(1), true, &RETRY, now(), 0.5), Event::Overtaken);
        assert_eq!(after_attempt(Ending::Cut, tries(1), true, &RETRY, now(), 0.5), Event::Overtaken);
        assert_eq!(after_attempt(Ending::Succeeded, tries(1), true, &RETRY, now(), 0.5), Event::Succeeded);
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
