//! The rules for a single check, and properties that hold for every sequence of checks.

use super::*;
use crate::domain::reference::Tag;

const POLICY: Policy =
    Policy { settle: Duration::ZERO, confirm_after: Duration::from_secs(60), absent_after: Duration::from_secs(600) };

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn present(name: &str) -> Answer {
    Answer::Present(Sighting {
        tag: Tag::parse("stable").unwrap(),
        digest: Digest::sha256(name.as_bytes()),
        index_digest: None,
        media_type: "application/vnd.oci.image.manifest.v1+json".into(),
    })
}

fn failure(kind: FailureKind) -> Failure {
    Failure { kind, message: "the registry is in failing".into() }
}

/// A watch that is checked repeatedly, and its last verdict.
struct Checks {
    record: Record,
    policy: Policy,
    last: Option<Verdict>,
}

impl Checks {
    fn new(policy: Policy) -> Self {
        Self { record: Record::default(), policy, last: None }
    }

    fn sees(&mut self, seconds: i64, seen: Result<Answer, FailureKind>) -> (&'static str, Vec<&'static str>) {
        let seen = seen.map_err(failure);
        let verdict = judge(&self.record, seen.as_ref(), &self.policy, at(seconds));
        self.record = verdict.record.clone();
        let told = (verdict.outcome.as_str(), verdict.changes.iter().map(|change| change.kind.as_str()).collect());
        self.last = Some(verdict);
        told
    }

    fn finds(&mut self, seconds: i64, name: &str) -> (&'static str, Vec<&'static str>) {
        self.sees(seconds, Ok(present(name)))
    }
}

#[test]
fn first_sighting_is_a_baseline_and_a_move_is_a_move() {
    let mut checks = Checks::new(POLICY);
    assert_eq!(checks.finds(0, "a"), ("first", vec!["first"]));
    assert_eq!(checks.last.as_ref().unwrap().to_verify(), None);
    assert_eq!(checks.finds(1, "a"), ("unchanged", vec![]));
    assert_eq!(checks.last.as_ref().unwrap().persist, Persist::Hourly);
    assert_eq!(checks.finds(2, "b"), ("moved", vec!["moved"]));
    assert_eq!(checks.last.as_ref().unwrap().to_verify(), Some(&Digest::sha256(b"b")));
}

#[test]
fn another_kind_of_manifest_needs_a_second_look() {
    let another = |name: &str| {
        let Answer::Present(sighting) = present(name) else { unreachable!() };
        let media_type = "application/vnd.oci.image.index.v1+json".into();
        Ok(Answer::Present(Sighting { media_type, ..sighting }))
    };
    let mut checks = Checks::new(POLICY);
    checks.finds(0, "a");
    assert_eq!(checks.sees(1, another("b")), ("settling", vec![]));
    assert_eq!(checks.last.as_ref().unwrap().recheck, Some(at(61)));
    assert_eq!(checks.finds(30, "a"), ("unchanged", vec![]), "it was a hiccup");
    assert_eq!(checks.sees(40, another("b")), ("settling", vec![]));
    assert_eq!(checks.sees(100, another("b")), ("moved", vec!["moved"]));
    assert_eq!(checks.sees(101, another("c")), ("moved", vec!["moved"]), "of the same kind again");
}

#[test]
fn a_failed_check_knows_nothing() {
    let mut checks = Checks::new(POLICY);
    checks.finds(0, "a");
    for (n, kind) in FailureKind::ALL.iter().enumerate() {
        let before = checks.record.standing.clone();
        assert_eq!(checks.sees(n as i64, Err(*kind)).0, "failed");
        assert_eq!(checks.record.standing, before);
        assert_eq!(checks.record.state(), WatchState::Failing);
    }
}

#[test]
fn failing_is_told_after_three_failures_over_ten_minutes_and_recovered_after_that() {
    let mut checks = Checks::new(POLICY);
    checks.finds(0, "a");
    assert_eq!(checks.sees(1, Err(FailureKind::Dns)), ("failed", vec![]));
    assert_eq!(checks.sees(600, Err(FailureKind::Dns)), ("failed", vec![]));
    assert_eq!(checks.sees(601, Err(FailureKind::Dns)), ("failed", vec!["failing"]));
    assert_eq!(checks.sees(2000, Err(FailureKind::Dns)), ("failed", vec![]));
    assert_eq!(checks.finds(2001, "a"), ("unchanged", vec!["recovered"]));
    assert_eq!(checks.finds(2002, "a"), ("unchanged", vec![]));
}

#[test]
fn rate_limits_are_never_told_as_failing() {
    let mut checks = Checks::new(POLICY);
    checks.finds(0, "a");
    for n in 1..100 {
        assert_eq!(checks.sees(n * 60, Err(FailureKind::RateLimited)), ("failed", vec![]));
    }
    assert_eq!(checks.record.failing.as_ref().unwrap().streak.count, 99);
}

#[test]
fn absence_must_repeat_before_it_is_a_removal() {
    let mut checks = Checks::new(POLICY);
    checks.finds(0, "a");
    assert_eq!(checks.sees(10, Ok(Answer::Absent)), ("failed", vec![]));
    assert_eq!(checks.record.failing.as_ref().unwrap().latest.kind, FailureKind::NotFound);
    assert_eq!(checks.sees(20, Ok(Answer::Absent)), ("failed", vec![]));
    assert_eq!(checks.sees(609, Ok(Answer::Absent)), ("failed", vec![]));
    assert_eq!(checks.sees(610, Ok(Answer::Absent)), ("absent", vec!["removed"]));
    assert_eq!(checks.sees(620, Ok(Answer::Absent)), ("absent", vec![]));
    assert_eq!(checks.record.state(), WatchState::Absent);
    assert_eq!(checks.finds(630, "a"), ("restored", vec!["restored"]));
}

#[test]
fn back_with_another_digest_is_restored_and_moved() {
    let mut checks = Checks::new(POLICY);
    checks.finds(0, "a");
    for seconds in [10, 20, 900] {
        checks.sees(seconds, Ok(Answer::Absent));
    }
    assert_eq!(checks.finds(1000, "b"), ("moved", vec!["restored", "moved"]));
}

#[test]
fn a_digest_that_vanishes_with_its_absent_tag_has_not_held() {
    let mut checks = Checks::new(Policy { settle: Duration::from_secs(100), ..POLICY });
    checks.finds(0, "a");
    for seconds in [10, 20, 900] {
        checks.sees(seconds, Ok(Answer::Absent));
    }
    assert_eq!(checks.finds(1000, "b"), ("settling", vec![]));
    assert_eq!(checks.sees(1010, Ok(Answer::Absent)), ("absent", vec![]));
    assert_eq!(checks.record.state(), WatchState::Absent);
    assert_eq!(checks.finds(1101, "b"), ("settling", vec![]));
    assert_eq!(checks.finds(1201, "b"), ("moved", vec!["restored", "moved"]));
}

#[test]
fn a_tag_that_never_was_is_failing_and_never_removed() {
    let mut checks = Checks::new(POLICY);
    for seconds in [0, 300] {
        assert_eq!(checks.sees(seconds, Ok(Answer::Absent)), ("failed", vec![]));
    }
    assert_eq!(checks.sees(900, Ok(Answer::Absent)), ("failed", vec!["failing"]));
}

#[test]
fn a_stale_mirror_must_be_seen_twice() {
    let mut checks = Checks::new(POLICY);
    checks.finds(0, "a");
    checks.finds(10, "b");
    assert_eq!(checks.finds(20, "a"), ("settling", vec![]));
    assert_eq!(checks.last.as_ref().unwrap().recheck, Some(at(80)));
    assert_eq!(checks.finds(30, "b"), ("unchanged", vec![]));
    assert_eq!(checks.finds(40, "a"), ("settling", vec![]));
    assert_eq!(checks.finds(99, "a"), ("settling", vec![]), "not before confirm_after");
    assert_eq!(checks.finds(100, "a"), ("moved", vec!["moved"]));
    // After a week the digest is no longer suspicious.
    assert_eq!(checks.finds(101 + 7 * 86_400, "b"), ("moved", vec!["moved"]));
}

#[test]
fn a_settling_digest_must_hold_and_errors_neither_help_nor_harm() {
    let mut checks = Checks::new(Policy { settle: Duration::from_secs(100), ..POLICY });
    assert_eq!(checks.finds(0, "a").0, "first", "never applies to the first");
    assert_eq!(checks.finds(10, "b"), ("settling", vec![]));
    assert_eq!(checks.last.as_ref().unwrap().recheck, Some(at(110)));
    assert_eq!(checks.last.as_ref().unwrap().persist, Persist::Now);
    assert_eq!(checks.finds(50, "c"), ("settling", vec![]), "another digest restarts it");
    checks.sees(60, Err(FailureKind::Server));
    assert_eq!(checks.finds(149, "c"), ("settling", vec![]));
    assert_eq!(checks.finds(150, "c"), ("moved", vec!["moved"]));
    assert_eq!(checks.finds(160, "d").0, "settling");
    assert_eq!(checks.finds(170, "c").0, "unchanged", "a return to the known one drops it");
    assert_eq!(checks.record.candidate, None);
}

#[test]
fn a_clock_that_was_set_back_keeps_no_candidate_waiting() {
    let mut checks = Checks::new(Policy { settle: Duration::from_secs(100), ..POLICY });
    checks.finds(100_000, "a");
    checks.finds(100_010, "b");
    checks.finds(20, "b");
    assert_eq!(checks.finds(120, "b").0, "moved");
}

#[test]
fn a_move_of_another_platform_is_recorded_quietly() {
    let sighting = |index: &str| Sighting {
        tag: Tag::parse("stable").unwrap(),
        digest: Digest::sha256(b"child"),
        index_digest: Some(Digest::sha256(index.as_bytes())),
        media_type: "m".into(),
    };
    let mut checks = Checks::new(POLICY);
    checks.sees(0, Ok(Answer::Present(sighting("one"))));
    assert_eq!(checks.sees(1, Ok(Answer::Present(sighting("two")))), ("unchanged", vec![]));
    assert_eq!(checks.record.standing.as_ref().unwrap().sighting, sighting("two"));
    assert_eq!(checks.record.standing.as_ref().unwrap().since, at(0));
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    fn seen() -> impl Strategy<Value = Result<Answer, FailureKind>> {
        prop_oneof![
            6 => proptest::sample::select(vec!["a", "b", "c"]).prop_map(|name| Ok(present(name))),
            2 => Just(Ok(Answer::Absent)),
            2 => proptest::sample::select(FailureKind::ALL.to_vec()).prop_map(Err),
        ]
    }

    proptest! {
        #[test]
        fn history_is_gapless_and_tells_only_what_was_seen(
            steps in proptest::collection::vec((0i64..2000, seen()), 1..80),
            settle in 0u64..1000,
        ) {
            let policy = Policy { settle: Duration::from_secs(settle), ..POLICY };
            let (mut record, mut now, mut standing) = (Record::default(), 0, None::<Choice>);
            let (mut failing, mut gone) = (false, false);
            for (pause, seen) in steps {
                now += pause;
                let seen = seen.map_err(failure);
                let verdict = judge(&record, seen.as_ref(), &policy, at(now));
                for change in &verdict.changes {
                    match change.kind {
                        ChangeKind::First => prop_assert_eq!(&standing, &None),
                        ChangeKind::Moved => prop_assert_ne!(&change.from, &change.to),
                        ChangeKind::Removed => { prop_assert!(!gone); gone = true; }
                        ChangeKind::Restored => { prop_assert!(gone); gone = false; }
                        ChangeKind::Failing => { prop_assert!(!failing); failing = true; }
                        ChangeKind::Recovered => { prop_assert!(failing); failing = false; }
                    }
                    if change.kind != ChangeKind::First {
                        prop_assert_eq!(&change.from, &standing);
                    }
                    if let (Some(to), ChangeKind::First | ChangeKind::Moved) = (&change.to, change.kind) {
                        let found = matches!(&seen, Ok(Answer::Present(sighting)) if sighting.choice() == *to);
                        prop_assert!(found, "a digest was accepted that this check did not see");
                        standing = Some(to.clone());
                    }
                }
                prop_assert_eq!(verdict.record.choice(), standing.clone());
                prop_assert_eq!(verdict.record.failing.is_some(), verdict.outcome == CheckOutcome::Failed);
                prop_assert!(verdict.record.recent.len() <= MAX_RECENT);
                prop_assert!(verdict.changes.is_empty() || verdict.persist == Persist::Now);
                prop_assert!(verdict.recheck.is_none_or(|due| due > at(now)));
                record = verdict.record;
            }
        }
    }
}
