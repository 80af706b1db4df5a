//! When a watch is due, given what is known of it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::domain::Watch;
use crate::domain::backoff::Backoff;
use crate::domain::judge::{FailureStreak, Record};

/// Failing watches are checked again by this back-off instead of waiting for a whole interval.
const RECHECK: Backoff = Backoff { first: Duration::from_secs(30), max: Duration::from_secs(900) };

/// When a watch is first due: at once if it was never checked, or if it came due while no agent was alive.
pub(crate) fn first_due(watch: &Watch, record: &Record, alive: Option<Timestamp>, now: Timestamp) -> Timestamp {
    let Some(last) = record.last_checked else { return now };
    if record.candidate.is_some() {
        // Only the judge knows when a candidate must be looked at again.
        return now;
    }
    let alive = alive.map_or(last, |alive| alive.max(last)).min(now);
    let retry = record.failing.as_ref().map(|failing| retry(failing, last.min(now), 0.5));
    retry.into_iter().fold(watch.next_due(alive), Timestamp::min).max(now)
}

/// When a watch is due after a check: by its schedule, or earlier if an extra check is wanted.
pub(crate) fn next_due(
    watch: &Watch,
    record: &Record,
    recheck: Option<Timestamp>,
    now: Timestamp,
    chance: f64,
) -> Timestamp {
    let retry = record.failing.as_ref().map(|failing| retry(failing, now, chance));
    [recheck, retry].into_iter().flatten().fold(watch.next_due(now), Timestamp::min)
}

fn retry(failing: &FailureStreak, last: Timestamp, chance: f64) -> Timestamp {
    let pause = RECHECK.pause(failing.streak.count.saturating_sub(1), chance);
    last + SignedDuration::from_millis(i64::try_from(pause.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::judge::{Candidate, Streak};
    use crate::domain::watch::Policy;
    use crate::domain::{Digest, Failure, FailureKind, Question, Schedule, Sighting, Tag, WatchKey};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn hourly() -> Watch {
        let key = WatchKey { name: "web".into(), question: Question::parse("nginx", None).unwrap() };
        let schedule = Schedule::parse("1h", &jiff::tz::TimeZone::UTC).unwrap().into();
        let hooks = Vec::new().into();
        Watch { key, schedule, jitter: Duration::ZERO, policy: Policy::default().into(), hooks, enabled: true }
    }

    fn checked(last: i64) -> Record {
        Record { last_checked: Some(at(last)), ..Record::default() }
    }

    fn failing(last: i64, count: u32) -> Record {
        let failing = FailureStreak {
            latest: Failure { kind: FailureKind::Server, message: "broken".into() },
            streak: Streak { count, since: at(0) },
            counted: None,
            announced: false,
        };
        Record { failing: Some(Box::new(failing)), ..checked(last) }
    }

    #[test]
    fn a_watch_that_was_never_checked_is_due_at_once() {
        assert_eq!(first_due(&hourly(), &Record::default(), None, at(0)), at(0));
    }

    #[test]
    fn a_restart_neither_repeats_nor_forgets_a_check() {
        let watch = hourly();
        let scheduled = watch.next_due(at(0));
        let just_before = scheduled - SignedDuration::from_secs(1);
        // Down for a moment between two due times: the next one is as scheduled, although nothing was checked lately.
        assert_eq!(first_due(&watch, &checked(-9000), Some(just_before), just_before), scheduled);
        // Down while it came due: once, at once.
        let later = scheduled + SignedDuration::from_hours(30);
        assert_eq!(first_due(&watch, &checked(-9000), Some(just_before), later), later);
    }

    #[test]
    fn a_failing_watch_comes_back_by_back_off_also_after_a_restart() {
        let (watch, half_a_minute) = (hourly(), SignedDuration::from_secs(30));
        let now = watch.next_due(at(0)) + SignedDuration::from_secs(1);
        assert_eq!(next_due(&watch, &failing(0, 1), None, now, 1.0), now + half_a_minute);
        assert!(next_due(&watch, &failing(0, 99), None, now, 1.0) <= now + SignedDuration::from_mins(15));
        assert_eq!(first_due(&watch, &failing(0, 1), Some(now), now), now);
    }

    #[test]
    fn a_failing_watch_comes_back_by_back_off_also_where_the_clock_was_set_back() {
        let watch = hourly();
        let now = watch.next_due(at(0)) + SignedDuration::from_secs(1);
        let a_day_later = 86_400 + now.as_second() - at(0).as_second();
        let due = first_due(&watch, &failing(a_day_later, 1), Some(at(a_day_later)), now);
        assert!(due <= now + SignedDuration::from_secs(30), "{due}");
    }

    #[test]
    fn a_candidate_is_not_forgotten_at_a_restart() {
        let sighting = Sighting {
            tag: Tag::parse("latest").unwrap(),
            digest: Digest::sha256(b"b"),
            index_digest: None,
            media_type: "m".into(),
        };
        let candidate = Candidate { sighting, first_seen: at(0), sightings: 1 };
        let record = Record { candidate: Some(Box::new(candidate)), ..checked(0) };
        assert_eq!(first_due(&hourly(), &record, Some(at(1)), at(1)), at(1));
    }

    #[test]
    fn a_check_that_is_wanted_earlier_comes_earlier() {
        let watch = hourly();
        let now = watch.next_due(at(0)) + SignedDuration::from_secs(1);
        let wanted = now + SignedDuration::from_secs(60);
        assert_eq!(next_due(&watch, &checked(0), Some(wanted), now, 0.5), wanted);
        assert_eq!(next_due(&watch, &checked(0), None, now, 0.5), watch.next_due(now));
    }
}
