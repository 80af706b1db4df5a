//! What a check means: the recorded state of a watch and what was just seen → what is recorded and what changed.
//!
//! *Invariant:* only an answer of the registry changes the recorded digest; a failure never does.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::watch::Policy;
use super::{Answer, Change, ChangeKind, Digest, Failure, FailureKind, Sighting};

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
    /// Why the last check learnt nothing.
    pub trouble: Option<Box<Trouble>>,
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

/// A digest that counted until then.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Past {
    /// The digest.
    pub digest: Digest,
    /// When it was superseded.
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

/// Checks that learn nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trouble {
    /// The latest failure.
    pub failure: Failure,
    /// Failures in a row.
    pub failures: Streak,
    /// Those of them that count towards the change `failing`: not rate limits, not 404s of a known tag.
    pub counted: Option<Streak>,
    /// Whether `failing` was emitted.
    pub announced: bool,
}

/// The state of a watch in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Never seen.
    Unknown,
    /// The last check found the recorded digest.
    Ok,
    /// A new digest must still hold or be confirmed.
    Settling,
    /// The last check learnt nothing.
    Failing,
    /// The tag is gone.
    Absent,
}

/// What a check came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Seen for the first time.
    First,
    /// Nothing new.
    Unchanged,
    /// Another digest.
    Moved,
    /// Another digest that does not count yet.
    Settling,
    /// Back after an absence, with the digest it had.
    Restored,
    /// Gone.
    Absent,
    /// Nothing was learnt.
    Failed,
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
    pub outcome: Outcome,
    /// Why, for people.
    pub because: &'static str,
    /// An extra check that is wanted at this time.
    pub recheck: Option<Timestamp>,
    /// How soon the record must be on disk.
    pub persist: Persist,
}

impl Record {
    /// The state in one word: the worst that is true.
    pub fn state(&self) -> State {
        match self {
            Self { trouble: Some(_), .. } => State::Failing,
            Self { candidate: Some(_), .. } => State::Settling,
            Self { absent_since: Some(_), .. } => State::Absent,
            Self { standing: Some(_), .. } => State::Ok,
            _ => State::Unknown,
        }
    }

    /// The recorded digest.
    pub fn digest(&self) -> Option<&Digest> {
        self.standing.as_ref().map(|standing| &standing.sighting.digest)
    }

    /// When the content last changed.
    pub fn last_changed(&self) -> Option<Timestamp> {
        self.absent_since.or(self.standing.as_ref().map(|standing| standing.since))
    }
}

impl State {
    /// The word in JSON and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Ok => "ok",
            Self::Settling => "settling",
            Self::Failing => "failing",
            Self::Absent => "absent",
        }
    }
}

impl Outcome {
    /// The word in JSON, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Unchanged => "unchanged",
            Self::Moved => "moved",
            Self::Settling => "settling",
            Self::Restored => "restored",
            Self::Absent => "absent",
            Self::Failed => "failed",
        }
    }
}

impl Verdict {
    /// The digest that must be shown to resolve by itself before this verdict may be acted on.
    ///
    /// A tag can be ahead of its content (replication lag, caches), and a hook that pulls at once would fail. A baseline
    /// runs nothing that depends on the move, so it is not verified.
    pub fn to_verify(&self) -> Option<&Digest> {
        let accepts = |change: &&Change| matches!(change.kind, ChangeKind::Moved | ChangeKind::Restored);
        self.changes.iter().rfind(accepts).and_then(|change| change.to.as_ref())
    }
}

/// Judges one check of a watch.
pub fn judge(known: &Record, seen: Result<&Answer, &Failure>, policy: &Policy, now: Timestamp) -> Verdict {
    let record = Record { last_checked: Some(now), ..known.clone() };
    let verdict = Verdict {
        record,
        changes: Vec::new(),
        outcome: Outcome::Unchanged,
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
        verdict.outcome = Outcome::First;
        verdict.because = "nothing was recorded: this is the baseline";
        return verdict;
    };
    if standing.sighting.digest != sighting.digest {
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
        accept(&mut verdict, ChangeKind::Restored, Some(sighting.digest.clone()), sighting, now);
        verdict.outcome = Outcome::Restored;
        verdict.because = "the tag is back, with the digest that it had";
    }
    verdict
}

/// Whether a digest that is not the recorded one counts already.
fn weigh(mut verdict: Verdict, sighting: &Sighting, policy: &Policy, now: Timestamp) -> Verdict {
    let earlier = verdict.record.candidate.take().filter(|candidate| candidate.sighting.digest == sighting.digest);
    let is_new = earlier.is_none();
    let candidate = Candidate {
        sighting: sighting.clone(),
        // A clock that was set back must not keep a candidate waiting for the time that it lost.
        first_seen: earlier.as_ref().map_or(now, |candidate| candidate.first_seen.min(now)),
        sightings: earlier.map_or(0, |candidate| candidate.sightings).saturating_add(1),
    };
    let returns =
        verdict.record.recent.iter().any(|past| past.digest == sighting.digest && within(past.until, now, RECENTLY));
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
    verdict.outcome = Outcome::Settling;
    if is_new {
        verdict.persist = Persist::Now;
    }
    verdict
}

fn moved(mut verdict: Verdict, sighting: &Sighting, now: Timestamp) -> Verdict {
    let record = &mut verdict.record;
    let before = record.standing.replace(Standing { sighting: sighting.clone(), since: now });
    let from = before.map(|standing| standing.sighting.digest);
    if let Some(digest) = from.clone() {
        record.recent = remember(&record.recent, Past { digest, until: now }, now);
    }
    if record.absent_since.take().is_some() {
        accept(&mut verdict, ChangeKind::Restored, from.clone(), sighting, now);
    }
    accept(&mut verdict, ChangeKind::Moved, from, sighting, now);
    verdict.outcome = Outcome::Moved;
    verdict
}

fn absent(mut verdict: Verdict, policy: &Policy, now: Timestamp) -> Verdict {
    if verdict.record.absent_since.is_some() {
        answered(&mut verdict, now);
        // What was seen in between has not held.
        if verdict.record.candidate.take().is_some() {
            verdict.persist = Persist::Now;
        }
        verdict.outcome = Outcome::Absent;
        verdict.because = "the tag is still gone";
        return verdict;
    }
    let streak = longer(verdict.record.missing.as_deref().copied(), now);
    let believed = streak.count >= FAILURES && has_passed(streak.since, now, policy.absent_after);
    match verdict.record.digest().cloned() {
        Some(from) if believed => {
            answered(&mut verdict, now);
            verdict.record.absent_since = Some(now);
            verdict.record.candidate = None;
            verdict.changes.push(Change {
                kind: ChangeKind::Removed,
                from: Some(from),
                to: None,
                index_digest: None,
                media_type: None,
                at: now,
            });
            verdict.persist = Persist::Now;
            verdict.outcome = Outcome::Absent;
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
    let before = verdict.record.trouble.take();
    let counts = match failure.kind {
        FailureKind::RateLimited => false,
        // Of a known tag they lead to `removed` instead.
        FailureKind::NotFound => verdict.record.standing.is_none(),
        _ => true,
    };
    let counted = before.as_ref().and_then(|trouble| trouble.counted);
    let counted = if counts { Some(longer(counted, now)) } else { counted };
    let was_announced = before.as_ref().is_some_and(|trouble| trouble.announced);
    let announced = was_announced
        || counts && counted.is_some_and(|c| c.count >= FAILURES && has_passed(c.since, now, FAILING_AFTER));
    if announced && !was_announced {
        health(&mut verdict, ChangeKind::Failing, now);
    }
    if before.as_ref().is_none_or(|trouble| trouble.failure != *failure) {
        verdict.persist = verdict.persist.max(Persist::Soon);
    }
    let failures = longer(before.map(|trouble| trouble.failures), now);
    let trouble = Trouble { failure: failure.clone(), failures, counted, announced };
    verdict.record.trouble = Some(Box::new(trouble));
    verdict.outcome = Outcome::Failed;
    verdict.because = "a failed check knows nothing: what is recorded stays";
    verdict
}

/// The registry said something believable: trouble is over.
fn answered(verdict: &mut Verdict, now: Timestamp) {
    verdict.record.last_ok = Some(now);
    if verdict.record.missing.take().is_some() {
        verdict.persist = verdict.persist.max(Persist::Soon);
    }
    if let Some(trouble) = verdict.record.trouble.take() {
        verdict.persist = verdict.persist.max(Persist::Soon);
        if trouble.announced {
            health(verdict, ChangeKind::Recovered, now);
        }
    }
}

fn accept(verdict: &mut Verdict, kind: ChangeKind, from: Option<Digest>, sighting: &Sighting, now: Timestamp) {
    verdict.changes.push(Change {
        kind,
        from,
        to: Some(sighting.digest.clone()),
        index_digest: sighting.index_digest.clone(),
        media_type: Some(sighting.media_type.clone()),
        at: now,
    });
    verdict.persist = Persist::Now;
}

fn health(verdict: &mut Verdict, kind: ChangeKind, now: Timestamp) {
    let standing = verdict.record.standing.as_ref().map(|standing| &standing.sighting);
    let digest = standing.map(|sighting| sighting.digest.clone());
    verdict.changes.push(Change {
        kind,
        from: digest.clone(),
        to: digest,
        index_digest: standing.and_then(|sighting| sighting.index_digest.clone()),
        media_type: standing.map(|sighting| sighting.media_type.clone()),
        at: now,
    });
    verdict.persist = Persist::Now;
}

fn remember(recent: &[Past], past: Past, now: Timestamp) -> Arc<[Past]> {
    let mut kept: Vec<Past> =
        recent.iter().filter(|old| old.digest != past.digest && within(old.until, now, RECENTLY)).cloned().collect();
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
