//! Judges a check: from the record of a watch and the result of a check to the new record and the changes.
//!
//! *Invariant:* only an answer of the registry changes the recorded digest; a failure never does.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::answer::{Answer, Failure, FailureKind, Sighting};
use super::change::{Cause, Change, ChangeKind};
use super::digest::Digest;
use super::selection::Choice;
use super::watch::Policy;
use super::words::words;

/// Failures in a row before the change `failing` is emitted, and 404s in a row before `removed`. Three, so that one
/// glitch and its repetition in the next check do not alert anybody.
const FAILURES_TO_BELIEVE: u32 = 3;
/// How long the failures must also have lasted: long enough for a short interval to sit out a registry's restart.
const FAILING_AFTER: Duration = Duration::from_secs(600);
/// A digest that was superseded less than a week ago may come from a stale mirror if it is seen again, so it must be
/// confirmed. Caches rarely live longer.
const SUSPECT_FOR: Duration = Duration::from_secs(7 * 86_400);
/// Superseded digests remembered for that: a bound on the size of a record.
const MAX_RECENT: usize = 10;

/// What is remembered of a watch between checks. Fields that are rarely set are boxed, because an agent may keep
/// 100,000 records in memory.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Record {
    pub standing: Option<Standing>,
    pub absent_since: Option<Timestamp>,
    /// Digests that were superseded recently, oldest first.
    pub recent: Arc<[Past]>,
    /// A new digest that is not accepted yet.
    pub candidate: Option<Box<Candidate>>,
    /// 404s in a row that do not count as a removal yet.
    pub missing: Option<Box<Streak>>,
    /// The failed checks since the last answer.
    pub failing: Option<Box<FailureStreak>>,
    /// The last check, successful or not.
    pub last_checked: Option<Timestamp>,
    /// The last check that did not fail.
    pub last_ok: Option<Timestamp>,
}

/// The accepted digest.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    pub sighting: Sighting,
    /// When it was accepted.
    pub since: Timestamp,
}

/// A choice that was superseded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Past {
    #[serde(flatten)]
    pub choice: Choice,
    pub until: Timestamp,
}

/// A new digest that must persist for a while, or be confirmed, before it is accepted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    pub sighting: Sighting,
    pub first_seen: Timestamp,
    /// Number of checks in a row that found it. A failed check in between does not end the row.
    pub sightings: u32,
}

/// A number of equal events in a row, and the time of the first.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Streak {
    pub count: u32,
    pub since: Timestamp,
}

/// Failed checks in a row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FailureStreak {
    pub latest: Failure,
    pub streak: Streak,
    /// The failures that count towards the change `failing`: all but rate limits and 404s of a known tag.
    pub counted: Option<Streak>,
    /// Whether the change `failing` was emitted.
    pub announced: bool,
}

words! {
    pub enum WatchState {
        /// The tag was never seen.
        Unknown = "unknown",
        /// The last check found the recorded digest.
        Ok = "ok",
        /// A new digest is not accepted yet.
        Settling = "settling",
        /// The last check failed.
        Failing = "failing",
        Absent = "absent",
    }
}

words! {
    /// The result of a check in one word.
    pub enum CheckOutcome {
        First = "first",
        Unchanged = "unchanged",
        Moved = "moved",
        /// A new digest was found and is not accepted yet.
        Settling = "settling",
        /// The tag is back after a removal, with the same digest.
        Restored = "restored",
        Absent = "absent",
        Failed = "failed",
        /// The image was found. Only for an image without a watch, which has no record to compare it with.
        Present = "present",
    }
}

/// How soon a record must be written to disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Persist {
    /// With the next hourly write. Losing it does no harm.
    Hourly,
    /// With the next heartbeat.
    Soon,
    /// In the transaction of this check.
    Now,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// The new record.
    pub record: Record,
    /// In the order in which they happened. At most one change of health and two of content.
    pub changes: Vec<Change>,
    pub outcome: CheckOutcome,
    /// The reason of the outcome, for people.
    pub because: &'static str,
    /// When to check again, before the schedule does.
    pub recheck: Option<Timestamp>,
    pub persist: Persist,
}

impl Record {
    /// The most severe state that applies.
    pub fn state(&self) -> WatchState {
        match self {
            Self { failing: Some(_), .. } => WatchState::Failing,
            Self { candidate: Some(_), .. } => WatchState::Settling,
            Self { absent_since: Some(_), .. } => WatchState::Absent,
            Self { standing: Some(_), .. } => WatchState::Ok,
            _ => WatchState::Unknown,
        }
    }

    pub fn digest(&self) -> Option<&Digest> {
        self.standing.as_ref().map(|standing| &standing.sighting.digest)
    }

    pub fn choice(&self) -> Option<Choice> {
        self.standing.as_ref().map(|standing| standing.sighting.choice())
    }

    /// Whether the tag is believed to be there: it was seen, and nobody has said since that it is gone.
    pub fn is_there(&self) -> bool {
        self.standing.is_some() && self.absent_since.is_none() && self.missing.is_none()
    }

    /// When the content last changed.
    pub fn last_changed(&self) -> Option<Timestamp> {
        self.absent_since.or(self.standing.as_ref().map(|standing| standing.since))
    }
}

impl Verdict {
    /// The digest that the registry must be seen to serve before this verdict may be recorded.
    ///
    /// A tag can be ahead of its content (replication lag, caches), and then a hook that pulls at once would fail. A
    /// baseline is not verified, because no hook depends on it.
    pub fn to_verify(&self) -> Option<&Digest> {
        let accepts = |change: &&Change| matches!(change.kind, ChangeKind::Moved | ChangeKind::Restored);
        self.changes.iter().rfind(accepts).and_then(|change| change.to.as_ref()).map(|to| &to.digest)
    }
}

pub fn judge(known: &Record, seen: Result<&Answer, &Failure>, policy: &Policy, now: Timestamp) -> Verdict {
    let record = Record { last_checked: Some(now), ..known.clone() };
    let verdict = Verdict {
        record,
        changes: Vec::new(),
        outcome: CheckOutcome::Unchanged,
        because: "the registry has what is recorded",
        recheck: None,
        persist: Persist::Hourly,
    };
    match seen {
        Ok(Answer::Present(sighting)) => judge_present(verdict, sighting, policy, now),
        Ok(Answer::Absent) => judge_absent(verdict, policy, now),
        Err(failure) => judge_failure(verdict, failure, now),
    }
}

fn judge_present(mut verdict: Verdict, sighting: &Sighting, policy: &Policy, now: Timestamp) -> Verdict {
    end_failures(&mut verdict, now);
    let record = &mut verdict.record;
    let Some(standing) = &mut record.standing else {
        // `settle` does not apply to a baseline, or a new installation could have no digest for days.
        record.standing = Some(Standing { sighting: sighting.clone(), since: now });
        push_change(&mut verdict, ChangeKind::First, None, Some(sighting), now);
        verdict.outcome = CheckOutcome::First;
        verdict.because = "nothing was recorded: this is the baseline";
        return verdict;
    };
    if !is_same_choice(&standing.sighting, sighting) {
        return judge_new_digest(verdict, sighting, policy, now);
    }
    if standing.sighting != *sighting {
        // Only the index changed, by a manifest for another platform.
        standing.sighting = sighting.clone();
        verdict.persist = verdict.persist.max(Persist::Soon);
    }
    if record.candidate.take().is_some() {
        verdict.persist = Persist::Now;
        verdict.because = "the registry has what is recorded again: the new digest has not held";
    }
    if record.absent_since.take().is_some() {
        push_change(&mut verdict, ChangeKind::Restored, Some(sighting.choice()), Some(sighting), now);
        verdict.outcome = CheckOutcome::Restored;
        verdict.because = "the tag is back, with the digest that it had";
    }
    verdict
}

/// Decides whether a digest that differs from the recorded one is accepted now or becomes a candidate.
fn judge_new_digest(mut verdict: Verdict, sighting: &Sighting, policy: &Policy, now: Timestamp) -> Verdict {
    let earlier = verdict.record.candidate.take().filter(|candidate| is_same_choice(&candidate.sighting, sighting));
    let is_new = earlier.is_none();
    let candidate = Candidate {
        sighting: sighting.clone(),
        // If the clock was set back, do not wait until it has caught up.
        first_seen: earlier.as_ref().map_or(now, |candidate| candidate.first_seen.min(now)),
        sightings: earlier.map_or(0, |candidate| candidate.sightings).saturating_add(1),
    };
    let choice = sighting.choice();
    let is_returning =
        verdict.record.recent.iter().any(|past| past.choice == choice && is_within(past.until, now, SUSPECT_FOR));
    // Some registries convert manifests and some mirrors ignore the Accept header, so the media type can differ from
    // one answer to the next. If the media type really changed, one more check is a small price.
    let differs = |known: &Standing| known.sighting.media_type != sighting.media_type;
    let is_other_type = verdict.record.standing.as_ref().is_some_and(differs);
    let is_doubtful = is_returning || is_other_type;
    let hold_for = if is_doubtful { policy.settle.max(policy.confirm_after) } else { policy.settle };
    let is_confirmed = !is_doubtful || candidate.sightings >= 2;
    verdict.because = match (is_returning, is_other_type) {
        (true, _) => "a digest that was left lately: perhaps a stale mirror's, so it is looked at again",
        (_, true) => "another digest with another kind of manifest, so it is looked at again",
        _ if policy.settle.is_zero() => "another digest than the recorded one",
        _ => "another digest, which must hold for `settle`",
    };
    if is_confirmed && has_passed(candidate.first_seen, now, hold_for) {
        if !is_new {
            verdict.because = "another digest, which has held for as long as it must";
        }
        return judge_move(verdict, sighting, now);
    }
    let due = candidate.first_seen.checked_add(signed(hold_for)).unwrap_or(Timestamp::MAX);
    verdict.recheck = Some(due.max(now + SignedDuration::from_secs(1)));
    verdict.record.candidate = Some(Box::new(candidate));
    verdict.outcome = CheckOutcome::Settling;
    if is_new {
        verdict.persist = Persist::Now;
    }
    verdict
}

fn judge_move(mut verdict: Verdict, sighting: &Sighting, now: Timestamp) -> Verdict {
    let record = &mut verdict.record;
    let before = record.standing.replace(Standing { sighting: sighting.clone(), since: now });
    let from = before.map(|standing| standing.sighting.choice());
    if let Some(choice) = from.clone() {
        record.recent = with_past(&record.recent, Past { choice, until: now }, now);
    }
    if record.absent_since.take().is_some() {
        push_change(&mut verdict, ChangeKind::Restored, from.clone(), Some(sighting), now);
    }
    push_change(&mut verdict, ChangeKind::Moved, from, Some(sighting), now);
    verdict.outcome = CheckOutcome::Moved;
    verdict
}

fn judge_absent(mut verdict: Verdict, policy: &Policy, now: Timestamp) -> Verdict {
    if verdict.record.absent_since.is_some() {
        end_failures(&mut verdict, now);
        // The candidate has disappeared, so it did not persist.
        if verdict.record.candidate.take().is_some() {
            verdict.persist = Persist::Now;
        }
        verdict.outcome = CheckOutcome::Absent;
        verdict.because = "the tag is still gone";
        return verdict;
    }
    let streak = extended(verdict.record.missing.as_deref().copied(), now);
    let is_removed = streak.count >= FAILURES_TO_BELIEVE && has_passed(streak.since, now, policy.absent_after);
    match verdict.record.choice() {
        Some(from) if is_removed => {
            end_failures(&mut verdict, now);
            verdict.record.absent_since = Some(now);
            verdict.record.candidate = None;
            push_change(&mut verdict, ChangeKind::Removed, Some(from), None, now);
            verdict.outcome = CheckOutcome::Absent;
            verdict.because = "not found, for as often and as long as it takes: the tag is gone";
            verdict
        }
        _ => {
            verdict.record.missing = Some(Box::new(streak));
            let verdict = judge_failure(verdict, &Failure::absent(), now);
            Verdict { because: "not found; that counts only once it has repeated over `absent_after`", ..verdict }
        }
    }
}

fn judge_failure(mut verdict: Verdict, failure: &Failure, now: Timestamp) -> Verdict {
    let before = verdict.record.failing.take();
    let counts = match failure.kind {
        FailureKind::RateLimited => false,
        // For a known tag they lead to `removed` instead.
        FailureKind::NotFound => verdict.record.standing.is_none(),
        _ => true,
    };
    let counted = before.as_ref().and_then(|failing| failing.counted);
    let counted = if counts { Some(extended(counted, now)) } else { counted };
    let was_announced = before.as_ref().is_some_and(|failing| failing.announced);
    let announced = was_announced
        || counts && counted.is_some_and(|c| c.count >= FAILURES_TO_BELIEVE && has_passed(c.since, now, FAILING_AFTER));
    if announced && !was_announced {
        push_health(&mut verdict, ChangeKind::Failing, now);
    }
    if before.as_ref().is_none_or(|failing| failing.latest != *failure) {
        verdict.persist = verdict.persist.max(Persist::Soon);
    }
    let streak = extended(before.map(|failing| failing.streak), now);
    verdict.record.failing = Some(Box::new(FailureStreak { latest: failure.clone(), streak, counted, announced }));
    verdict.outcome = CheckOutcome::Failed;
    verdict.because = "a failed check knows nothing: what is recorded stays";
    verdict
}

/// Records that the registry gave a valid answer, which ends all streaks of failures.
fn end_failures(verdict: &mut Verdict, now: Timestamp) {
    verdict.record.last_ok = Some(now);
    if verdict.record.missing.take().is_some() {
        verdict.persist = verdict.persist.max(Persist::Soon);
    }
    if let Some(failing) = verdict.record.failing.take() {
        verdict.persist = verdict.persist.max(Persist::Soon);
        if failing.announced {
            push_health(verdict, ChangeKind::Recovered, now);
        }
    }
}

/// A change of health carries the accepted choice as both `from` and `to`.
fn push_health(verdict: &mut Verdict, kind: ChangeKind, now: Timestamp) {
    let standing = verdict.record.standing.as_ref().map(|standing| standing.sighting.clone());
    push_change(verdict, kind, verdict.record.choice(), standing.as_ref(), now);
}

fn push_change(verdict: &mut Verdict, kind: ChangeKind, from: Option<Choice>, to: Option<&Sighting>, now: Timestamp) {
    verdict.changes.push(Change {
        kind,
        cause: Cause::Registry,
        from,
        to: to.map(Sighting::choice),
        index_digest: to.and_then(|sighting| sighting.index_digest.clone()),
        media_type: to.map(|sighting| sighting.media_type.clone()),
        at: now,
    });
    verdict.persist = Persist::Now;
}

fn is_same_choice(one: &Sighting, other: &Sighting) -> bool {
    (&one.tag, &one.digest) == (&other.tag, &other.digest)
}

fn with_past(recent: &[Past], past: Past, now: Timestamp) -> Arc<[Past]> {
    let mut kept: Vec<Past> = recent
        .iter()
        .filter(|old| old.choice != past.choice && is_within(old.until, now, SUSPECT_FOR))
        .cloned()
        .collect();
    kept.push(past);
    let surplus = kept.len().saturating_sub(MAX_RECENT);
    kept.drain(..surplus);
    kept.into()
}

fn extended(streak: Option<Streak>, now: Timestamp) -> Streak {
    streak.map_or(Streak { count: 1, since: now }, |s| Streak {
        count: s.count.saturating_add(1),
        since: s.since.min(now),
    })
}

fn has_passed(since: Timestamp, now: Timestamp, length: Duration) -> bool {
    now.duration_since(since) >= signed(length)
}

/// Whether `then` is at most `length` ago. A time in the future (the clock was set back) counts as now.
fn is_within(then: Timestamp, now: Timestamp, length: Duration) -> bool {
    now.duration_since(then) <= signed(length)
}

fn signed(length: Duration) -> SignedDuration {
    SignedDuration::try_from(length).unwrap_or(SignedDuration::MAX)
}

#[cfg(test)]
mod tests;
