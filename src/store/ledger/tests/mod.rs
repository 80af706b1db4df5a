//! The newest change wins: sequences of checks and attempts against the real database.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::domain::backoff::Backoff;
use crate::domain::delivery::{Ending, NotStarted, Outcome, RetryPolicy};
use crate::domain::judge::judge;
use crate::domain::watch::Policy;
use crate::domain::{Answer, Choice, Digest, Question, Sighting, Tag, WatchKey};
use crate::store::{Claimed, Keep, Retention, Room, Subscription};

const RETRY: RetryPolicy =
    RetryPolicy { attempts: 2, backoff: Backoff { first: Duration::from_secs(60), max: Duration::from_secs(60) } };

mod absent;
mod model;

struct Ledger {
    store: Store,
    watch: WatchId,
    record: Record,
    now: Timestamp,
    on: Vec<ChangeKind>,
}

impl Ledger {
    async fn new(on: &[ChangeKind]) -> Self {
        let store = Store::in_memory().unwrap();
        let question = Question::parse("ghcr.io/acme/web:stable", None).unwrap();
        let key = WatchKey { name: "web".into(), question };
        let (watch, record) = store.open_watches(vec![key]).await.unwrap().remove(0);
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let mut ledger = Self { store, watch, record, now, on: Vec::new() };
        ledger.subscribe(on).await;
        ledger
    }

    /// A check finds this content ten seconds later; `""` is a 404. Returns how many deliveries it made.
    async fn sees(&mut self, name: &str) -> usize {
        self.now += SignedDuration::from_secs(10);
        let answer = match name {
            "" => Answer::Absent,
            name => Answer::Present(Sighting {
                tag: Tag::parse("stable").unwrap(),
                digest: Digest::sha256(name.as_bytes()),
                index_digest: None,
                media_type: "m".into(),
            }),
        };
        let policy = Policy { confirm_after: Duration::ZERO, absent_after: Duration::ZERO, ..Policy::default() };
        let verdict = judge(&self.record, Ok(&answer), &policy, self.now);
        self.record = verdict.record.clone();
        self.store.commit(self.watch, verdict.record, verdict.changes).await.unwrap().len()
    }

    /// A check fails five minutes later. The third one in a row is news.
    async fn fails(&mut self) {
        self.now += SignedDuration::from_secs(300);
        let failure = crate::domain::Failure { kind: crate::domain::FailureKind::Server, message: "broken".into() };
        let verdict = judge(&self.record, Err(&failure), &Policy::default(), self.now);
        self.record = verdict.record.clone();
        self.store.commit(self.watch, verdict.record, verdict.changes).await.unwrap();
    }

    async fn claims(&mut self) -> Option<Claimed> {
        self.now += SignedDuration::from_secs(1);
        let room = |_: &str| Some(Room { free: 9, longest_pause: Duration::from_secs(86_400) });
        let claimed = self.store.claim(self.now, room, None).await.unwrap().claimed;
        assert!(claimed.len() <= 1, "one run at a time for a watch and hook");
        claimed.into_iter().next()
    }

    async fn ends(&mut self, claimed: &Claimed, ending: Ending) -> &'static str {
        self.now += SignedDuration::from_secs(1);
        let outcome = Outcome { ending, code: None, error: None, output: String::new() };
        self.store.finish(claimed.id.clone(), outcome, RETRY, self.now, 1.0).await.unwrap().state.as_str()
    }

    /// The hook of a claimed delivery could not be started. It is due again at once.
    async fn not_started(&mut self, claimed: Claimed) -> &'static str {
        let why = NotStarted { why: "no thread".into() };
        self.store.give_back(claimed, why, self.now, self.now).await.unwrap().state.as_str()
    }

    /// Replaces the hook's subscription, as a start with another config would.
    async fn subscribe(&mut self, on: &[ChangeKind]) {
        self.on = on.to_vec();
        let kinds: ChangeSet = on.iter().copied().collect();
        let subscription = Subscription { watch: self.watch, hook: "deploy".into(), kinds };
        let subscriptions = if on.is_empty() { Vec::new() } else { vec![subscription] };
        self.store.replace_subscriptions(subscriptions).await.unwrap();
    }

    /// Expires the past of all watches.
    async fn expires(&self, count: u32, age: Option<Duration>) {
        let keep = Keep { count, age };
        let retention = Retention { changes: keep, deliveries: keep, outputs: keep };
        let mut after = None;
        loop {
            after = self.store.expire(retention, self.now, after).await.unwrap();
            if after.is_none() {
                break;
            }
        }
    }

    async fn states(&self) -> Vec<String> {
        let states = |connection: &rusqlite::Connection| {
            let mut query = connection.prepare("SELECT state FROM deliveries ORDER BY number")?;
            Ok(query.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
        };
        self.store.write(states).await.unwrap()
    }
}

fn route(claimed: &Claimed) -> (Option<Digest>, Option<Digest>) {
    (to_digest(&claimed.from), to_digest(&claimed.to))
}

fn to_digest(choice: &Option<Choice>) -> Option<Digest> {
    choice.as_ref().map(|choice| choice.digest.clone())
}

fn digest(name: &str) -> Option<Digest> {
    Some(Digest::sha256(name.as_bytes()))
}

const MOVED: &[ChangeKind] = &[ChangeKind::Moved];

#[tokio::test]
async fn a_baseline_owes_nothing_and_a_move_one_run() {
    let mut ledger = Ledger::new(MOVED).await;
    assert_eq!(ledger.sees("a").await, 0);
    assert_eq!(ledger.sees("b").await, 1);
    let run = ledger.claims().await.unwrap();
    assert_eq!((route(&run), run.attempt), ((digest("a"), digest("b")), 1));
    assert_eq!(ledger.ends(&run, Ending::Succeeded).await, "succeeded");
    assert!(ledger.claims().await.is_none());
}

#[tokio::test]
async fn a_first_sighting_runs_hooks_that_asked_for_it() {
    let mut ledger = Ledger::new(&[ChangeKind::First]).await;
    assert_eq!(ledger.sees("a").await, 1);
    assert_eq!(route(&ledger.claims().await.unwrap()), (None, digest("a")));
}

#[tokio::test]
async fn moves_while_a_hook_is_busy_give_one_further_run() {
    let mut ledger = Ledger::new(MOVED).await;
    ledger.sees("a").await;
    ledger.sees("b").await;
    let busy = ledger.claims().await.unwrap();
    ledger.sees("c").await;
    ledger.sees("d").await;
    assert!(ledger.claims().await.is_none(), "not beside the busy one");
    assert_eq!(ledger.ends(&busy, Ending::Succeeded).await, "succeeded");
    let further = ledger.claims().await.unwrap();
    assert_eq!(route(&further), (digest("b"), digest("d")));
    ledger.ends(&further, Ending::Succeeded).await;
    assert_eq!(ledger.states().await, ["succeeded", "superseded", "succeeded"]);
}

#[tokio::test]
async fn a_busy_run_that_then_fails_is_superseded_and_the_next_starts_from_the_cursor() {
    let mut ledger = Ledger::new(MOVED).await;
    ledger.sees("a").await;
    ledger.sees("b").await;
    let busy = ledger.claims().await.unwrap();
    ledger.sees("c").await;
    assert_eq!(ledger.ends(&busy, Ending::Failed).await, "superseded");
    assert_eq!(route(&ledger.claims().await.unwrap()), (digest("a"), digest("c")));
}

#[tokio::test]
async fn back_and_nothing_attempted_owes_nothing() {
    let mut ledger = Ledger::new(MOVED).await;
    for name in ["a", "b", "a", "a"] {
        ledger.sees(name).await;
    }
    assert!(ledger.claims().await.is_none());
    assert_eq!(ledger.states().await, ["superseded"]);
}

#[tokio::test]
async fn back_and_something_attempted_is_one_run_from_the_attempted_digest() {
    let mut ledger = Ledger::new(MOVED).await;
    ledger.sees("a").await;
    ledger.sees("b").await;
    let run = ledger.claims().await.unwrap();
    assert_eq!(ledger.ends(&run, Ending::Failed).await, "pending");
    ledger.sees("a").await;
    ledger.sees("a").await;
    assert_eq!(route(&ledger.claims().await.unwrap()), (digest("b"), digest("a")));
}

#[tokio::test]
async fn news_of_where_a_busy_run_ends_up_needs_no_further_run() {
    let mut ledger = Ledger::new(MOVED).await;
    ledger.sees("a").await;
    ledger.sees("b").await;
    let busy = ledger.claims().await.unwrap();
    for name in ["c", "b", "b"] {
        ledger.sees(name).await;
    }
    ledger.ends(&busy, Ending::Succeeded).await;
    assert!(ledger.claims().await.is_none());
    assert_eq!(ledger.states().await, ["succeeded", "superseded", "superseded"]);
}

#[tokio::test]
async fn a_failed_delivery_stays_visible_until_the_tag_moves_on() {
    let mut ledger = Ledger::new(MOVED).await;
    ledger.sees("a").await;
    ledger.sees("b").await;
    let run = ledger.claims().await.unwrap();
    assert_eq!(ledger.ends(&run, Ending::Failed).await, "pending");
    assert!(ledger.claims().await.is_none(), "not before its pause is over");
    ledger.now += SignedDuration::from_secs(60);
    let again = ledger.claims().await.unwrap();
    assert_eq!((again.id.as_str(), again.attempt), (run.id.as_str(), 2));
    assert_eq!(ledger.ends(&again, Ending::Failed).await, "failed");
    assert!(ledger.claims().await.is_none());
    ledger.sees("c").await;
    assert_eq!(route(&ledger.claims().await.unwrap()), (digest("a"), digest("c")));
    assert_eq!(ledger.states().await, ["superseded", "running"]);
}

#[tokio::test]
async fn a_cut_run_is_owed_again_and_says_so() {
    let mut ledger = Ledger::new(MOVED).await;
    ledger.sees("a").await;
    ledger.sees("b").await;
    let run = ledger.claims().await.unwrap();
    let running = ledger.store.running().await.unwrap();
    assert_eq!(running.iter().map(|owed| owed.id.as_str()).collect::<Vec<_>>(), [run.id.as_str()]);
    assert_eq!(ledger.ends(&run, Ending::Cut).await, "pending");
    let again = ledger.claims().await.unwrap();
    assert_eq!((again.id, again.attempt), (run.id, 2));
}

#[tokio::test]
async fn removal_and_return_are_told_to_those_who_asked() {
    let mut ledger = Ledger::new(&[ChangeKind::Removed, ChangeKind::Restored]).await;
    ledger.sees("a").await;
    for name in ["", "", ""] {
        ledger.sees(name).await;
    }
    let removed = ledger.claims().await.unwrap();
    assert_eq!((removed.kind, route(&removed)), (ChangeKind::Removed, (digest("a"), None)));
    ledger.ends(&removed, Ending::Succeeded).await;
    ledger.sees("a").await;
    let restored = ledger.claims().await.unwrap();
    assert_eq!((restored.kind, to_digest(&restored.to)), (ChangeKind::Restored, digest("a")));
}

#[tokio::test]
async fn a_hook_that_left_the_config_is_held_and_owed_the_newest_when_it_returns() {
    let mut ledger = Ledger::new(MOVED).await;
    ledger.sees("a").await;
    ledger.sees("b").await;
    ledger.subscribe(&[]).await;
    assert!(ledger.claims().await.is_none(), "held");
    ledger.sees("c").await;
    assert!(ledger.claims().await.is_none(), "still held");
    ledger.subscribe(MOVED).await;
    let run = ledger.claims().await.unwrap();
    assert_eq!(route(&run), (digest("a"), digest("c")));
    assert_eq!(ledger.ends(&run, Ending::Succeeded).await, "succeeded");
    assert_eq!(ledger.states().await, ["superseded", "succeeded"]);
}

#[tokio::test]
async fn a_hook_that_subscribes_otherwise_is_still_owed_the_newest_of_what_it_was_owed() {
    let mut ledger = Ledger::new(MOVED).await;
    ledger.sees("a").await;
    ledger.sees("b").await;
    ledger.subscribe(&[ChangeKind::Removed]).await;
    ledger.sees("c").await;
    assert_eq!(route(&ledger.claims().await.unwrap()), (digest("a"), digest("c")));
}

#[tokio::test]
async fn a_hook_on_removals_alone_hears_of_each() {
    let mut ledger = Ledger::new(&[ChangeKind::Removed]).await;
    ledger.sees("a").await;
    for round in ["told", "waiting", "overtaken"] {
        for name in ["", "", ""] {
            ledger.sees(name).await;
        }
        if round == "told" {
            let run = ledger.claims().await.unwrap();
            ledger.ends(&run, Ending::Succeeded).await;
        }
        ledger.sees("a").await;
    }
    let run = ledger.claims().await.unwrap();
    assert_eq!(run.kind, ChangeKind::Removed);
    assert_eq!(ledger.states().await, ["succeeded", "superseded", "running"]);
}

#[tokio::test]
async fn a_retry_that_a_wrong_clock_put_off_is_due_when_the_clock_is_right() {
    let mut ledger = Ledger::new(MOVED).await;
    ledger.sees("a").await;
    ledger.sees("b").await;
    ledger.now -= SignedDuration::from_hours(48);
    assert!(ledger.claims().await.is_some());
}

#[tokio::test]
async fn a_delivery_that_cannot_be_read_keeps_no_other_waiting() {
    let mut ledger = Ledger::new(MOVED).await;
    ledger.sees("a").await;
    ledger.sees("b").await;
    let garble = |connection: &rusqlite::Connection| Ok(connection.execute("UPDATE changes SET kind = 'sung'", [])?);
    ledger.store.write(garble).await.unwrap();
    assert!(ledger.claims().await.is_none());
    assert_eq!(ledger.states().await, ["failed"]);
    ledger.sees("c").await;
    assert!(ledger.claims().await.is_some());
}

#[tokio::test]
async fn a_record_is_read_as_it_was_written() {
    let mut ledger = Ledger::new(MOVED).await;
    for name in ["a", "b", "a", ""] {
        ledger.sees(name).await;
    }
    let question = Question::parse("ghcr.io/acme/web:stable", None).unwrap();
    let key = WatchKey { name: "web".into(), question };
    let (watch, record) = ledger.store.open_watches(vec![key]).await.unwrap().remove(0);
    assert_eq!((watch, &record), (ledger.watch, &ledger.record));
    assert!(record.failing.is_some() && record.recent.len() == 1 && record.missing.is_some());
}

#[tokio::test]
async fn a_claim_whose_hook_was_not_started_is_as_if_it_had_never_been() {
    let mut ledger = Ledger::new(&[ChangeKind::Moved]).await;
    ledger.sees("a").await;
    ledger.sees("b").await;
    let first = ledger.claims().await.unwrap();
    ledger.not_started(first).await;
    let again = ledger.claims().await.unwrap();
    assert_eq!(again.attempt, 1, "no attempt was spent");
    assert_eq!(ledger.ends(&again, Ending::Failed).await, "pending");
    ledger.now += SignedDuration::from_hours(1);
    let second = ledger.claims().await.unwrap();
    assert_eq!(second.attempt, 2);
    ledger.not_started(second).await;
    ledger.sees("c").await;
    let claimed = ledger.claims().await.unwrap();
    assert_eq!(route(&claimed), (digest("a"), digest("c")));
    // A return needs two checks that agree.
    ledger.sees("a").await;
    ledger.sees("a").await;
    let finished = ledger.not_started(claimed).await;
    assert_eq!(finished, "superseded", "a newer one waits");
    assert_eq!(route(&ledger.claims().await.unwrap()), (digest("b"), digest("a")), "b was attempted, c was not");
}

#[tokio::test]
async fn back_at_the_cursor_nothing_is_owed_if_the_hook_was_not_started_in_between() {
    let mut ledger = Ledger::new(&[ChangeKind::Moved]).await;
    ledger.sees("a").await;
    ledger.sees("b").await;
    let claimed = ledger.claims().await.unwrap();
    ledger.not_started(claimed).await;
    ledger.sees("a").await;
    assert_eq!(ledger.sees("a").await, 0, "a return needs two checks that agree");
    assert!(ledger.claims().await.is_none());
}
