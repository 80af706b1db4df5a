//! A hook that leaves the watch for a while, and comes back: what it is owed then, and what a retry leads to.

use super::*;
use crate::store::RetryRefused;

const MOVED_OR_REMOVED: &[ChangeKind] = &[ChangeKind::Moved, ChangeKind::Removed];

/// A hook that stands at a and was started for b.
async fn started_for_b(on: &[ChangeKind]) -> (Ledger, Claimed) {
    let mut ledger = Ledger::new(on).await;
    ledger.sees("a").await;
    ledger.sees("b").await;
    let run = ledger.claims().await.unwrap();
    (ledger, run)
}

/// A hook that has given b up.
async fn failed_for_b() -> Ledger {
    let (mut ledger, run) = started_for_b(MOVED).await;
    ledger.ends(&run, Ending::Failed).await;
    ledger.now += SignedDuration::from_secs(60);
    let again = ledger.claims().await.unwrap();
    assert_eq!(ledger.ends(&again, Ending::Failed).await, "failed");
    ledger
}

impl Ledger {
    /// The id of the delivery that was made last.
    async fn latest(&self) -> String {
        let latest = |connection: &rusqlite::Connection| {
            let sql = "SELECT id FROM deliveries ORDER BY number DESC LIMIT 1";
            Ok(connection.query_row(sql, [], |row| row.get(0))?)
        };
        self.store.write(latest).await.unwrap()
    }

    async fn retries_latest(&self) -> Result<(), RetryRefused> {
        self.store.retry(vec![self.latest().await], self.now).await.unwrap().map(|_| ())
    }

    async fn discards_leftovers(&self) -> usize {
        self.store.discard(None, self.now).await.unwrap().len()
    }
}

#[tokio::test]
async fn what_a_hook_that_left_was_running_for_does_not_run_again_when_the_tag_has_moved_on() {
    for (ending, state, from) in [
        (Ending::Failed, "superseded", "a"),
        (Ending::Deferred, "superseded", "a"),
        (Ending::Cut, "superseded", "a"),
        (Ending::Succeeded, "succeeded", "b"),
    ] {
        let (mut ledger, run) = started_for_b(MOVED).await;
        ledger.subscribe(&[]).await;
        ledger.sees("c").await;
        assert_eq!(ledger.ends(&run, ending).await, state);
        assert!(ledger.claims().await.is_none(), "held");
        ledger.subscribe(MOVED).await;
        let run = ledger.claims().await.unwrap();
        assert_eq!(route(&run), (digest(from), digest("c")), "{ending:?}");
        ledger.ends(&run, Ending::Succeeded).await;
        assert!(ledger.claims().await.is_none());
    }
}

#[tokio::test]
async fn what_failed_before_a_hook_left_gives_way_to_the_newest() {
    let mut ledger = failed_for_b().await;
    ledger.subscribe(&[]).await;
    ledger.sees("c").await;
    assert!(ledger.store.failed().await.unwrap().is_empty());
    assert!(matches!(ledger.retries_latest().await, Err(RetryRefused::Leftover { .. })), "told what to do");
    ledger.subscribe(MOVED).await;
    assert_eq!(route(&ledger.claims().await.unwrap()), (digest("a"), digest("c")));
    assert_eq!(ledger.states().await, ["superseded", "running"]);
}

#[tokio::test]
async fn a_hook_that_was_owed_nothing_when_it_left_hears_of_the_next_change_only() {
    let (mut ledger, run) = started_for_b(MOVED).await;
    ledger.ends(&run, Ending::Succeeded).await;
    ledger.subscribe(&[]).await;
    assert_eq!(ledger.sees("c").await, 0);
    ledger.subscribe(MOVED).await;
    assert!(ledger.claims().await.is_none());
    ledger.sees("d").await;
    assert_eq!(route(&ledger.claims().await.unwrap()), (digest("c"), digest("d")));
}

#[tokio::test]
async fn while_it_is_owed_something_a_hook_that_left_hears_of_all_that_it_subscribed_to() {
    let mut ledger = Ledger::new(MOVED_OR_REMOVED).await;
    ledger.sees("a").await;
    ledger.sees("b").await;
    ledger.subscribe(&[]).await;
    for name in ["", "", ""] {
        ledger.sees(name).await;
    }
    ledger.subscribe(MOVED_OR_REMOVED).await;
    assert_eq!(ledger.claims().await.unwrap().kind, ChangeKind::Removed, "not b, which is gone");
}

#[tokio::test]
async fn what_a_hook_subscribed_to_no_longer_when_it_left_is_not_told_to_it() {
    let mut ledger = Ledger::new(MOVED_OR_REMOVED).await;
    ledger.sees("a").await;
    ledger.sees("b").await;
    ledger.subscribe(MOVED).await;
    ledger.subscribe(&[]).await;
    for name in ["", "", ""] {
        ledger.sees(name).await;
    }
    ledger.subscribe(MOVED).await;
    assert_eq!(route(&ledger.claims().await.unwrap()), (digest("a"), digest("b")));
}

#[tokio::test]
async fn a_recovery_takes_back_the_failure_that_a_hook_which_left_was_not_told_of() {
    let health = &[ChangeKind::Failing, ChangeKind::Recovered];
    let mut ledger = Ledger::new(health).await;
    ledger.sees("a").await;
    for _ in 0..3 {
        ledger.fails().await;
    }
    assert_eq!(ledger.states().await, ["pending"]);
    ledger.subscribe(&[]).await;
    ledger.sees("a").await;
    ledger.subscribe(health).await;
    assert!(ledger.claims().await.is_none(), "it is well");
    assert_eq!(ledger.states().await, ["superseded"]);
}

#[tokio::test]
async fn a_retry_leads_to_the_newest_also_for_a_hook_that_has_missed_it() {
    for is_forgotten in [false, true] {
        let (mut ledger, run) = started_for_b(MOVED).await;
        ledger.ends(&run, Ending::Succeeded).await;
        ledger.subscribe(&[]).await;
        // Gone and back without a move, so that the move is not the newest change.
        for name in ["c", "", "", "", "c"] {
            ledger.sees(name).await;
        }
        if is_forgotten {
            ledger.expires(1, Some(Duration::ZERO)).await;
        }
        ledger.subscribe(MOVED).await;
        ledger.retries_latest().await.unwrap();
        assert_eq!(route(&ledger.claims().await.unwrap()), (digest("b"), digest("c")));
    }
}

#[tokio::test]
async fn what_was_discarded_by_hand_takes_the_run_that_it_overtook_with_it() {
    let (mut ledger, run) = started_for_b(MOVED).await;
    ledger.subscribe(&[]).await;
    ledger.sees("c").await;
    assert_eq!(ledger.discards_leftovers().await, 1);
    assert_eq!(ledger.ends(&run, Ending::Failed).await, "superseded");
    ledger.subscribe(MOVED).await;
    assert!(ledger.claims().await.is_none());
    // It can still be asked for.
    ledger.retries_latest().await.unwrap();
    assert_eq!(route(&ledger.claims().await.unwrap()), (digest("a"), digest("c")));
}

#[tokio::test]
async fn nothing_is_taken_back_but_what_led_to_where_the_hook_stands() {
    let mut ledger = Ledger::new(MOVED).await;
    for name in ["a", "b", "a", "a"] {
        ledger.sees(name).await;
    }
    assert!(matches!(ledger.retries_latest().await, Err(RetryRefused::TakenBack(_))));
    ledger.sees("c").await;
    ledger.subscribe(&[]).await;
    ledger.discards_leftovers().await;
    ledger.subscribe(MOVED).await;
    assert_eq!(ledger.retries_latest().await, Ok(()));
}

#[tokio::test]
async fn a_run_for_the_image_before_an_edit_keeps_the_hook_from_running_for_the_new_one() {
    let (mut ledger, run) = started_for_b(MOVED).await;
    let question = Question::parse("ghcr.io/acme/web:edited", None).unwrap();
    let key = WatchKey { name: "web".into(), question };
    (ledger.watch, ledger.record) = ledger.store.open_watches(vec![key]).await.unwrap().remove(0);
    ledger.subscribe(MOVED).await;
    ledger.sees("c").await;
    ledger.sees("d").await;
    assert!(ledger.claims().await.is_none(), "one run at a time");
    ledger.ends(&run, Ending::Succeeded).await;
    assert_eq!(route(&ledger.claims().await.unwrap()), (digest("c"), digest("d")));
}

#[tokio::test]
async fn a_commit_does_not_look_at_what_was_delivered_long_ago() {
    let ledger = Ledger::new(MOVED).await;
    let plan = |connection: &rusqlite::Connection| {
        let mut query = connection.prepare(&format!("EXPLAIN QUERY PLAN {SELECT_OPEN}"))?;
        let rows = query.query_map(params![1, "content"], |row| row.get("detail"))?;
        Ok(rows.collect::<Result<Vec<String>, _>>()?)
    };
    let plan = ledger.store.write(plan).await.unwrap();
    for index in ["pending", "running", "failed"] {
        assert!(
            plan.iter().any(|step| step.contains(&format!("USING INDEX deliveries_{index} (watch=?"))),
            "{plan:#?}"
        );
    }
    assert!(!plan.iter().any(|step| step.starts_with("SCAN deliveries")), "{plan:#?}");
}
