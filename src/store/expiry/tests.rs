//! What retention deletes, what it never deletes, and that the file stays bounded.

use super::*;
use crate::domain::backoff::Backoff;
use crate::domain::delivery::{Ending, Outcome, RetryPolicy};
use crate::domain::judge::{Record, judge};
use crate::domain::watch::Policy;
use crate::domain::{Answer, ChangeKind, Digest, Failure, FailureKind, Question, Sighting, Tag, WatchKey};
use crate::store::{Room, Subscription};

const RETRY: RetryPolicy =
    RetryPolicy { attempts: 1, backoff: Backoff { first: Duration::from_secs(60), max: Duration::from_secs(60) } };

/// Watches whose tags all move at the same time, with one hook each.
struct Tags {
    store: Store,
    watches: Vec<(WatchId, Record)>,
    now: Timestamp,
    output: String,
}

impl Tags {
    async fn new(store: Store, count: usize) -> Self {
        let key = |number| {
            let question = Question::parse(&format!("ghcr.io/acme/app{number}:stable"), None).unwrap();
            WatchKey { name: format!("app{number}").into(), question }
        };
        let watches = store.open_watches((0..count).map(key).collect()).await.unwrap();
        let kinds = ChangeKind::ALL.into_iter().collect();
        let all = watches.iter().map(|(watch, _)| Subscription { watch: *watch, hook: "deploy".into(), kinds });
        store.replace_subscriptions(all.collect()).await.unwrap();
        Self { store, watches, now: Timestamp::from_second(1_800_000_000).unwrap(), output: "x\n".repeat(100) }
    }

    /// Moves all tags. With an ending, runs all hooks, which end so.
    async fn move_all(&mut self, to: &str, ending: Option<Ending>) {
        self.now += SignedDuration::from_hours(1);
        let digest = Digest::sha256(to.as_bytes());
        let answer = Answer::Present(Sighting {
            tag: Tag::parse("stable").unwrap(),
            digest,
            index_digest: None,
            media_type: "m".into(),
        });
        self.see(Ok(&answer)).await;
        if let Some(ending) = ending {
            self.deliver(ending).await;
        }
    }

    async fn see(&mut self, answer: Result<&Answer, &Failure>) {
        let policy = Policy { confirm_after: Duration::ZERO, ..Policy::default() };
        let commits = self.watches.iter_mut().map(|(id, record)| {
            let verdict = judge(record, answer, &policy, self.now);
            *record = verdict.record.clone();
            self.store.commit(*id, verdict.record, verdict.changes)
        });
        futures_util::future::try_join_all(commits).await.unwrap();
    }

    async fn deliver(&self, ending: Ending) {
        let room = |_: &str| Some(Room { free: usize::MAX, longest_pause: Duration::from_secs(86_400) });
        let claimed = self.store.claim(self.now, room, None).await.unwrap().claimed;
        let ends = claimed.into_iter().map(|claimed| {
            let outcome = Outcome { ending, code: Some(0), error: None, output: self.output.clone() };
            self.store.finish(claimed.id, outcome, RETRY, self.now, 1.0)
        });
        futures_util::future::try_join_all(ends).await.unwrap();
    }

    async fn expire(&self, changes: u32, deliveries: u32, outputs: u32, age: Option<Duration>) {
        let keep = |count| Keep { count, age };
        let retention = Retention { changes: keep(changes), deliveries: keep(deliveries), outputs: keep(outputs) };
        let mut after = None;
        loop {
            after = self.store.expire(retention, self.now, after).await.unwrap();
            if after.is_none() {
                break;
            }
        }
    }

    async fn count(&self, what: &'static str) -> i64 {
        let count = move |connection: &Connection| {
            Ok(connection.query_row(&format!("SELECT count(*) FROM {what}"), [], |row| row.get(0))?)
        };
        self.store.write(count).await.unwrap()
    }
}

async fn one() -> Tags {
    Tags::new(Store::in_memory().unwrap(), 1).await
}

#[tokio::test]
async fn each_kind_is_kept_by_its_own_count() {
    let mut tags = one().await;
    for number in 0..20 {
        tags.move_all(&number.to_string(), Some(Ending::Succeeded)).await;
    }
    tags.expire(15, 10, 5, None).await;
    assert_eq!(tags.count("changes").await, 15);
    assert_eq!(tags.count("deliveries").await, 10);
    assert_eq!(tags.count("attempts").await, 10, "with their deliveries");
    assert_eq!(tags.count("attempts WHERE output IS NOT NULL").await, 5);
    tags.expire(3, 10, 5, None).await;
    assert_eq!(tags.count("changes").await, 3, "and finished deliveries do not keep a change");
}

#[tokio::test]
async fn what_is_too_old_goes_and_the_newest_stays() {
    let mut tags = one().await;
    for number in 0..5 {
        tags.move_all(&number.to_string(), Some(Ending::Succeeded)).await;
    }
    tags.now += SignedDuration::from_hours(24);
    tags.expire(100, 100, 100, Some(Duration::from_secs(26 * 3600))).await;
    assert_eq!((tags.count("changes").await, tags.count("deliveries").await), (3, 3));
    tags.now += SignedDuration::from_hours(10_000);
    tags.expire(100, 100, 100, Some(Duration::from_secs(3600))).await;
    assert_eq!((tags.count("changes").await, tags.count("deliveries").await), (1, 1));
    assert_eq!(tags.count("attempts WHERE output IS NOT NULL").await, 0);
}

#[tokio::test]
async fn what_is_owed_or_has_failed_stays_with_its_change_and_its_reason() {
    for ending in [Some(Ending::Failed), None] {
        let mut tags = one().await;
        tags.move_all("a", Some(Ending::Succeeded)).await;
        tags.move_all("b", ending).await;
        let due = tags.count("deliveries WHERE state IN ('pending', 'failed')").await;
        // A change in the other lane, so that the owed one is no longer the newest change.
        let failure = Failure { kind: FailureKind::Server, message: "broken".into() };
        for _ in 0..4 {
            tags.now += SignedDuration::from_hours(1);
            tags.see(Err(&failure)).await;
        }
        let kinds = tags.count("changes WHERE kind = 'failing'").await;
        assert_eq!((due, kinds), (1, 1), "{ending:?}");
        tags.now += SignedDuration::from_hours(10_000);
        tags.expire(1, 1, 1, Some(Duration::ZERO)).await;
        assert_eq!(tags.count("deliveries WHERE lane = 'content' AND state IN ('pending', 'failed')").await, 1);
        assert_eq!(tags.count("changes").await, 2, "the newest of each lane");
        let outputs = tags.count("attempts WHERE output IS NOT NULL").await;
        assert_eq!(outputs, i64::from(ending.is_some()), "why it has failed");
    }
}

#[tokio::test]
async fn the_end_of_a_pass_is_noted() {
    let tags = Tags::new(Store::in_memory().unwrap(), 40).await;
    assert_eq!(tags.store.last_expiry().await.unwrap(), None);
    let retention = Retention {
        changes: Keep { count: 1, age: None },
        deliveries: Keep { count: 1, age: None },
        outputs: Keep { count: 1, age: None },
    };
    let half_way = tags.store.expire(retention, tags.now, None).await.unwrap();
    assert_eq!((half_way, tags.store.last_expiry().await.unwrap()), (Some(WatchId(16)), None));
    tags.expire(1, 1, 1, None).await;
    assert_eq!(tags.store.last_expiry().await.unwrap(), Some(tags.now));
}

/// A month of hourly moves, each with a run of its hook, and one expiry per day. The test inserts the rows directly,
/// because it is only about their deletion. `TAGHOOK_TAGS=1000` tests with more tags than CI has time for.
#[tokio::test]
async fn a_month_of_moves_does_not_grow_the_file_without_bound() {
    let count = std::env::var("TAGHOOK_TAGS").ok().and_then(|count| count.parse().ok()).unwrap_or(100);
    let dir = tempfile::tempdir().unwrap();
    let mut tags = Tags::new(Store::open(dir.path()).unwrap(), count).await;
    let mut sizes = Vec::new();
    for _ in 0..30 {
        tags.now += SignedDuration::from_hours(24);
        insert_moves(&tags, 24).await;
        tags.expire(48, 24, 5, None).await;
        tags.store.checkpoint().await.unwrap();
        sizes.push(std::fs::metadata(dir.path().join(crate::store::DATABASE)).unwrap().len());
    }
    // After three days the retention is full; from then on rows are only replaced.
    assert!(sizes[29] < sizes[3] + sizes[3] / 10, "{sizes:?}");
    println!("{count} tags, the file after each day: {sizes:?}");
    assert_eq!(tags.count("changes").await, 48 * count as i64);
    assert_eq!(tags.count("deliveries").await, 24 * count as i64);
    assert_eq!(tags.count("attempts WHERE output IS NOT NULL").await, 5 * count as i64);
}

/// Inserts this many delivered moves of each watch, one per hour up to now.
async fn insert_moves(tags: &Tags, moves: i64) {
    let (now, output) = (tags.now.as_millisecond(), tags.output.clone());
    let insert = move |connection: &Connection| {
        connection.execute(
            "WITH RECURSIVE hour(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM hour WHERE n < ?1)
             INSERT INTO changes (watch, kind, lane, cause, from_tag, from_digest, to_tag, to_digest, media_type, at)
             SELECT id, 'moved', 'content', 'registry', 'stable', 'sha256:' || hex(randomblob(32)), 'stable', 'sha256:' || hex(randomblob(32)), 'm',
                    ?2 - (?1 - n) * 3600000 FROM hour, watches",
            params![moves, now],
        )?;
        connection.execute_batch(
            "INSERT INTO deliveries (id, watch, hook, change, lane, target, state, attempts, ended)
             SELECT hex(randomblob(16)), watch, 'deploy', id, 'content', to_digest, 'succeeded', 1, at FROM changes
             WHERE id > (SELECT coalesce(max(change), 0) FROM deliveries)",
        )?;
        connection.execute(
            "INSERT INTO attempts SELECT number, 1, ended, ended, 0, NULL, ?1 FROM deliveries
             WHERE number > (SELECT coalesce(max(delivery), 0) FROM attempts)",
            params![output],
        )?;
        Ok(())
    };
    tags.store.write(insert).await.unwrap();
}
