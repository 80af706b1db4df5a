//! What a check means: the recorded state of a watch and what was just seen → what is recorded and what changed.
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

/// So many failures in a row, over at least [`FAILING_AFTER`], are the change `failing`; so many 404s `removed`.
const FAILURES: u32 = 3;
/// See [`FAILURES`].
const FAILING_AFTER: Duration = Duration::from_secs(600);
/// A digest that was superseded within this time, and is among the last [`RECENT`], may be a stale mirror's.
const RECENTLY: Duration = Duration::from_secs(7 * 86_400);
/// See [`RECENTLY`].
const RECENT: usize = 10;

/// All that is remembered of one watch between checks. What is rare is boxed: there may be 100,000 of them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Record {
    /// The accepted digest.
    pub standing: Option<Standing>,
    /// Set while the tag is gone.
    pub absent_since: Option<Timestamp>,
    /// Digests that were superseded recently, oldest first.
    pub recent: Arc<[Past]>,
    /// A digest that was seen and does not count yet.
    pub candidate: Option<Box<Candidate>>,
    /// 404s in a row that do not count as absence yet.
    pub missing: Option<Box<Streak>>,
    /// Checks that have failed since the last good one.
    pub failing: Option<Box<FailureStreak>>,
    /// The last check, good or bad.
    pub last_checked: Option<Timestamp>,
    /// The last check that the registry answered.
    pub last_ok: Option<Timestamp>,
}

/// The digest that counts, and since when.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// What was found.
    pub sighting: Sighting,
    /// When it was accepted.
    pub since: Timestamp,
}

/// A choice that counted until then.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Past {
    #[serde(flatten)]
    pub choice: Choice,
    pub until: Timestamp,
}

/// A digest that must hold, or be confirmed, before it counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// What was found.
    pub sighting: Sighting,
    /// When it was first found.
    pub first_seen: Timestamp,
    /// Checks in a row that found it.
    pub sightings: u32,
}

/// A count of like events, and when the first was.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Streak {
    /// How many.
    pub count: u32,
    /// Since when.
    pub since: Timestamp,
}

/// Failed checks in a row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FailureStreak {
    pub latest: Failure,
    pub streak: Streak,
    /// Those of them that count towards the change `failing`: not rate limits, not 404s of a known tag.
    pub counted: Option<Streak>,
    /// Whether `failing` was emitted.
    pub announced: bool,
}

words! {
    /// The state of a watch.
    pub enum WatchState {
        /// Never seen.
        Unknown = "unknown",
        /// The last check found what is recorded.
        Ok = "ok",
        /// A new digest must still hold or be confirmed.
        Settling = "settling",
        /// The last check has failed.
        Failing = "failing",
        /// The tag is gone.
        Absent = "absent",
    }
}

words! {
    /// What a check came to.
    pub enum CheckOutcome {
        /// Seen for the first time.
        First = "first",
        Unchanged = "unchanged",
        /// Another digest.
        Moved = "moved",
        /// Another digest that does not count yet.
        Settling = "settling",
        /// Back after an absence, with the digest it had.
        Restored = "restored",
        /// Gone.
        Absent = "absent",
        Failed = "failed",
        /// Found; nothing is recorded to compare it with. Of an image without a watch.
        Present = "present",
    }
}

/// How soon the record must be on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Persist {
    /// With the next hourly bulk; losing it costs nothing.
    Hourly,
    /// With the next heartbeat.
    Soon,
    /// In the transaction of this check.
    Now,
}

/// What a check means.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// What is remembered from now on.
    pub record: Record,
    /// What happened, in order; at most one change of health and two of content.
    pub changes: Vec<Change>,
    /// In one word.
    pub outcome: CheckOutcome,
    /// Why, for people.
    pub because: &'static str,
    /// An extra check that is wanted at this time.
    pub recheck: Option<Timestamp>,
    /// How soon the record must be on disk.
    pub persist: Persist,
}

impl Record {
    /// The worst that is true.
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

    /// When the content last changed.
    pub fn last_changed(&self) -> Option<Timestamp> {
        self.absent_since.or(self.standing.as_ref().map(|standing| standing.since))
    }
}

impl Verdict {
    /// The digest that must be shown to resolve by itself before this verdict may be acted on.
    ///
    /// A tag can be ahead of its content (replication lag, caches), and a hook that pulls at once would fail. A baseline
    /// runs nothing that depends on the move, so it is not verified.
    pub fn to_verify(&self) -> Option<&Digest> {
        let accepts = |change: &&Change| matches!(change.kind, ChangeKind::Moved | ChangeKind::Restored);
        self.changes.iter().rfind(accepts).and_then(|change| change.to.as_ref()).map(|to| &to.digest)
    }
}

/// Judges one check of a watch.
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
        Ok(Answer::Present(sighting)) => present(verdict, sighting, policy, now),
        Ok(Answer::Absent) => absent(verdict, policy, now),
        Err(failure) => failed(verdict, failure, now),
    }
}

fn present(mut verdict: Verdict, sighting: &Sighting, policy: &Policy, now: Timestamp) -> Verdict {
    answered(&mut verdict, now);
    let record = &mut verdict.record;
    let Some(standing) = &mut record.standing else {
        // A baseline: settling never applies, or a new install would know nothing for days.
        record.standing = Some(Standing { sighting: sighting.clone(), since: now });
        accept(&mut verdict, ChangeKind::First, None, sighting, now);
        verdict.outcome = CheckOutcome::First;
        verdict.because = "nothing was recorded: this is the baseline";
        return verdict;
    };
    if !is_same(&standing.sighting, sighting) {
        return weigh(verdict, sighting, policy, now);
    }
    if standing.sighting != *sighting {
        // Only another platform's child moved.
        standing.sighting = sighting.clone();
        verdict.persist = verdict.persist.max(Persist::Soon);
    }
    if record.candidate.take().is_some() {
        verdict.persist = Persist::Now;
        verdict.because = "the registry has what is recorded again: the new digest has not held";
    }
    if record.absent_since.take().is_some() {
        accept(&mut verdict, ChangeKind::Restored, Some(sighting.choice()), sighting, now);
        verdict.outcome = CheckOutcome::Restored;
        verdict.because = "the tag is back, with the digest that it had";
    }
    verdict
}

/// Whether a digest that is not the recorded one counts already.
fn weigh(mut verdict: Verdict, sighting: &Sighting, policy: &Policy, now: Timestamp) -> Verdict {
    let earlier = verdict.record.candidate.take().filter(|candidate| is_same(&candidate.sighting, sighting));
    let is_new = earlier.is_none();
    let candidate = Candidate {
        sighting: sighting.clone(),
        // A clock that was set back must not keep a candidate waiting for the time that it lost.
        first_seen: earlier.as_ref().map_or(now, |candidate| candidate.first_seen.min(now)),
        sightings: earlier.map_or(0, |candidate| candidate.sightings).saturating_add(1),
    };
    let choice = sighting.choice();
    let returns = verdict.record.recent.iter().any(|past| past.choice == choice && within(past.until, now, RECENTLY));
    // Registries that convert, and mirrors that ignore what is asked for, answer with another kind of manifest now and
    // then. Where the kind really changes, nobody minds a second look.
    let reshaped = |known: &Standing| known.sighting.media_type != sighting.media_type;
    let is_reshaped = verdict.record.standing.as_ref().is_some_and(reshaped);
    let doubtful = returns || is_reshaped;
    let must_hold = if doubtful { policy.settle.max(policy.confirm_after) } else { policy.settle };
    let confirmed = !doubtful || candidate.sightings >= 2;
    verdict.because = match (returns, is_reshaped) {
        (true, _) => "a digest that was left lately: perhaps a stale mirror's, so it is looked at again",
        (_, true) => "another digest with another kind of manifest, so it is looked at again",
        _ if policy.settle.is_zero() => "another digest than the recorded one",
        _ => "another digest, which must hold for `settle`",
    };
    if confirmed && has_passed(candidate.first_seen, now, must_hold) {
        if !is_new {
            verdict.because = "another digest, which has held for as long as it must";
        }
        return moved(verdict, sighting, now);
    }
    let due = candidate.first_seen.checked_add(signed(must_hold)).unwrap_or(Timestamp::MAX);
    verdict.recheck = Some(due.max(now + SignedDuration::from_secs(1)));
    verdict.record.candidate = Some(Box::new(candidate));
    verdict.outcome = CheckOutcome::Settling;
    if is_new {
        verdict.persist = Persist::Now;
    }
    verdict
}

fn moved(mut verdict: Verdict, sighting: &Sighting, now: Timestamp) -> Verdict {
    let record = &mut verdict.record;
    let before = record.standing.replace(Standing { sighting: sighting.clone(), since: now });
    let from = before.map(|standing| standing.sighting.choice());
    if let Some(choice) = from.clone() {
        record.recent = remember(&record.recent, Past { choice, until: now }, now);
    }
    if record.absent_since.take().is_some() {
        accept(&mut verdict, ChangeKind::Restored, from.clone(), sighting, now);
    }
    accept(&mut verdict, ChangeKind::Moved, from, sighting, now);
    verdict.outcome = CheckOutcome::Moved;
    verdict
}

fn absent(mut verdict: Verdict, policy: &Policy, now: Timestamp) -> Verdict {
    if verdict.record.absent_since.is_some() {
        answered(&mut verdict, now);
        // What was seen in between has not held.
        if verdict.record.candidate.take().is_some() {
            verdict.persist = Persist::Now;
        }
        verdict.outcome = CheckOutcome::Absent;
        verdict.because = "the tag is still gone";
        return verdict;
    }
    let streak = longer(verdict.record.missing.as_deref().copied(), now);
    let believed = streak.count >= FAILURES && has_passed(streak.since, now, policy.absent_after);
    match verdict.record.choice() {
        Some(from) if believed => {
            answered(&mut verdict, now);
            verdict.record.absent_since = Some(now);
            verdict.record.candidate = None;
            push(&mut verdict, ChangeKind::Removed, Some(from), None, now);
            verdict.outcome = CheckOutcome::Absent;
            verdict.because = "not found, for as often and as long as it takes: the tag is gone";
            verdict
        }
        _ => {
            verdict.record.missing = Some(Box::new(streak));
            let verdict = failed(verdict, &Failure::absent(), now);
            Verdict { because: "not found; that counts only once it has repeated over `absent_after`", ..verdict }
        }
    }
}

fn failed(mut verdict: Verdict, failure: &Failure, now: Timestamp) -> Verdict {
    let before = verdict.record.failing.take();
    let counts = match failure.kind {
        FailureKind::RateLimited => false,
        // Of a known tag they lead to `removed` instead.
        FailureKind::NotFound => verdict.record.standing.is_none(),
        _ => true,
    };
    let counted = before.as_ref().and_then(|failing| failing.counted);
    let counted = if counts { Some(longer(counted, now)) } else { counted };
    let was_announced = before.as_ref().is_some_and(|failing| failing.announced);
    let announced = was_announced
        || counts && counted.is_some_and(|c| c.count >= FAILURES && has_passed(c.since, now, FAILING_AFTER));
    if announced && !was_announced {
        health(&mut verdict, ChangeKind::Failing, now);
    }
    if before.as_ref().is_none_or(|failing| failing.latest != *failure) {
        verdict.persist = verdict.persist.max(Persist::Soon);
    }
    let streak = longer(before.map(|failing| failing.streak), now);
    verdict.record.failing = Some(Box::new(FailureStreak { latest: failure.clone(), streak, counted, announced }));
    verdict.outcome = CheckOutcome::Failed;
    verdict.because = "a failed check knows nothing: what is recorded stays";
    verdict
}

/// The registry said something believable: the failures are over.
fn answered(verdict: &mut Verdict, now: Timestamp) {
    verdict.record.last_ok = Some(now);
    if verdict.record.missing.take().is_some() {
        verdict.persist = verdict.persist.max(Persist::Soon);
    }
    if let Some(failing) = verdict.record.failing.take() {
        verdict.persist = verdict.persist.max(Persist::Soon);
        if failing.announced {
            health(verdict, ChangeKind::Recovered, now);
        }
    }
}

fn accept(verdict: &mut Verdict, kind: ChangeKind, from: Option<Choice>, sighting: &Sighting, now: Timestamp) {
    push(verdict, kind, from, Some(sighting), now);
}

/// A change of health says where the watch stands, before and after.
fn health(verdict: &mut Verdict, kind: ChangeKind, now: Timestamp) {
    let standing = verdict.record.standing.as_ref().map(|standing| standing.sighting.clone());
    push(verdict, kind, verdict.record.choice(), standing.as_ref(), now);
}

fn push(verdict: &mut Verdict, kind: ChangeKind, from: Option<Choice>, to: Option<&Sighting>, now: Timestamp) {
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

/// Whether both found the same digest under the same tag.
fn is_same(one: &Sighting, other: &Sighting) -> bool {
    (&one.tag, &one.digest) == (&other.tag, &other.digest)
}

fn remember(recent: &[Past], past: Past, now: Timestamp) -> Arc<[Past]> {
    let mut kept: Vec<Past> =
        recent.iter().filter(|old| old.choice != past.choice && within(old.until, now, RECENTLY)).cloned().collect();
    kept.push(past);
    let surplus = kept.len().saturating_sub(RECENT);
    kept.drain(..surplus);
    kept.into()
}

fn longer(streak: Option<Streak>, now: Timestamp) -> Streak {
    streak.map_or(Streak { count: 1, since: now }, |s| Streak {
        count: s.count.saturating_add(1),
        since: s.since.min(now),
    })
}

fn has_passed(since: Timestamp, now: Timestamp, length: Duration) -> bool {
    now.duration_since(since) >= signed(length)
}

/// Whether `then` is less than `length` ago; a time that lies ahead (the clock was set back) counts as now.
fn within(then: Timestamp, now: Timestamp, length: Duration) -> bool {
    now.duration_since(then) <= signed(length)
}

fn signed(length: Duration) -> SignedDuration {
    SignedDuration::try_from(length).unwrap_or(SignedDuration::MAX)
}

#[cfg(test)]
mod tests;
