//! Property test: random sequences of sightings, failures, attempts and crashes, checked against a simple model.
//!
//! The model only knows where the hook stands and where the tag stands. Whatever the ledger does in between, the two
//! must meet in the end, or a failed delivery must be visible.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    /// A check finds this content; `""` is a 404.
    Sees(&'static str),
    Fails,
    /// This many seconds pass.
    Waits(i64),
    /// The deliverer claims what is due.
    Claims,
    /// The running attempt ends.
    Ends(Ending),
    /// The agent is killed and starts again.
    Crashes,
    /// The hook leaves the config.
    Leaves,
    /// The hook returns to the config with the same subscription.
    Returns,
    /// Retention deletes everything that it may delete.
    Expires,
}

fn step() -> impl Strategy<Value = Step> {
    let ending = proptest::sample::select(vec![Ending::Succeeded, Ending::Failed, Ending::Deferred]);
    prop_oneof![
        5 => proptest::sample::select(vec!["a", "b", "c", ""]).prop_map(Step::Sees),
        1 => Just(Step::Fails),
        1 => (1i64..4000).prop_map(Step::Waits),
        4 => Just(Step::Claims),
        4 => ending.prop_map(Step::Ends),
        1 => Just(Step::Crashes),
        1 => Just(Step::Leaves),
        2 => Just(Step::Returns),
        1 => Just(Step::Expires),
    ]
}

/// What the hook subscribes to: single kinds, pairs, and all kinds that change where the tag stands.
fn on() -> impl Strategy<Value = Vec<ChangeKind>> {
    use ChangeKind::{First, Moved, Removed, Restored};
    proptest::sample::select(vec![
        vec![Moved],
        vec![First, Moved],
        vec![Removed],
        vec![Restored],
        vec![Removed, Restored],
        vec![First, Moved, Removed, Restored],
    ])
}

/// The real ledger, and what the model expects of it.
struct Model {
    ledger: Ledger,
    running: Option<Claimed>,
    /// Where the hook stands after its last success: `Some(None)` means that the tag is gone.
    reached: Option<Option<Digest>>,
    /// What the hook subscribes to while it is in the config.
    on: Vec<ChangeKind>,
    /// The newest change that concerned the hook: it subscribed to the kind, or an earlier change of the kind was
    /// pending.
    newest: Option<(i64, ChangeKind, Option<Digest>)>,
    /// The id of the newest change that the model has read.
    seen: i64,
}

impl Model {
    async fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Sees(name) => self.sees(name).await?,
            Step::Fails => self.ledger.fails().await,
            Step::Waits(seconds) => self.ledger.now += SignedDuration::from_secs(seconds),
            Step::Claims => {
                if let Some(claimed) = self.ledger.claims().await {
                    prop_assert!(self.running.is_none(), "two runs at once for one watch and hook");
                    self.check(&claimed).await?;
                    self.running = Some(claimed);
                }
            }
            Step::Ends(ending) => {
                if let Some(claimed) = self.running.take() {
                    let state = self.ledger.ends(&claimed, ending).await;
                    if ending == Ending::Succeeded {
                        prop_assert_eq!(state, "succeeded");
                        self.reached = Some(to_digest(&claimed.to));
                    }
                }
            }
            Step::Crashes => {
                for cut in self.ledger.store.running().await.unwrap() {
                    let outcome = Outcome { ending: Ending::Cut, code: None, error: None, output: String::new() };
                    self.ledger.store.finish(cut.id, outcome, RETRY, self.ledger.now, 1.0).await.unwrap();
                }
                self.running = None;
            }
            Step::Leaves => self.ledger.subscribe(&[]).await,
            Step::Returns => self.ledger.subscribe(&self.on).await,
            Step::Expires => self.ledger.expires(1, Some(Duration::ZERO)).await,
        }
        Ok(())
    }

    async fn check(&self, claimed: &Claimed) -> Result<(), TestCaseError> {
        prop_assert!(!self.ledger.on.is_empty(), "a run for a watch that does not feed the hook");
        let newest = self.newest.clone().map(|(_, kind, to)| (kind, to));
        prop_assert_eq!(Some((claimed.kind, to_digest(&claimed.to))), newest, "a run that is not for the newest");
        prop_assert!(claimed.kind == ChangeKind::Restored || claimed.from != claimed.to);
        Ok(())
    }

    /// Runs a check, and works out which of its changes concern the hook.
    async fn sees(&mut self, name: &str) -> Result<(), TestCaseError> {
        let pending = self.pending().await;
        let is_subscribed = !self.ledger.on.is_empty();
        let is_first = self.ledger.record.standing.is_none();
        self.ledger.sees(name).await;
        let news = self.news().await;
        let concerns = |kind: &ChangeKind| self.ledger.on.contains(kind) || pending.contains(kind);
        let concerning = news.iter().rev().find(|(_, kind, _)| concerns(kind));
        let misses_changes = !is_subscribed && pending.is_empty() && self.running.is_none() && !news.is_empty();
        if misses_changes {
            // The hook misses these changes. What it was owed before must have been settled.
            self.assert_settled().await?;
            self.newest = None;
        }
        if misses_changes || is_first && is_subscribed && !self.ledger.on.contains(&ChangeKind::First) {
            // After a baseline, or when it subscribes later, the hook starts from what stands now.
            self.reached = Some(self.ledger.record.digest().cloned());
        }
        self.newest = concerning.cloned().or(self.newest.take());
        Ok(())
    }

    /// The kinds of the pending changes.
    async fn pending(&self) -> Vec<ChangeKind> {
        let kinds = |connection: &rusqlite::Connection| {
            let sql = "SELECT c.kind FROM deliveries d JOIN changes c ON c.id = d.change WHERE d.state = 'pending'";
            Ok(connection.prepare(sql)?.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?)
        };
        let kinds = self.ledger.store.write(kinds).await.unwrap();
        kinds.iter().map(|kind| ChangeKind::parse(kind).unwrap()).collect()
    }

    /// The changes since the last call, oldest first: id, kind and digest.
    async fn news(&mut self) -> Vec<(i64, ChangeKind, Option<Digest>)> {
        let seen = self.seen;
        let all = move |connection: &rusqlite::Connection| {
            let mut query = connection.prepare("SELECT id, kind, to_digest FROM changes WHERE id > ?1 ORDER BY id")?;
            let rows = query.query_map([seen], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
            Ok(rows.collect::<Result<Vec<(i64, String, Option<String>)>, _>>()?)
        };
        let changes = self.ledger.store.write(all).await.unwrap().into_iter();
        let read = |(id, kind, to): (i64, String, Option<String>)| {
            (id, ChangeKind::parse(&kind).unwrap(), to.map(|to| Digest::parse(&to).unwrap()))
        };
        let changes: Vec<_> = changes.map(read).collect();
        self.seen = changes.last().map_or(seen, |(id, ..)| *id);
        changes
    }

    /// From now on every run succeeds, so everything that is owed must be delivered.
    async fn ends_well(mut self) -> Result<(), TestCaseError> {
        self.step(Step::Returns).await?;
        self.step(Step::Ends(Ending::Succeeded)).await?;
        self.ledger.now += SignedDuration::from_hours(48);
        while let Some(claimed) = self.ledger.claims().await {
            self.check(&claimed).await?;
            self.running = Some(claimed);
            self.step(Step::Ends(Ending::Succeeded)).await?;
        }
        let states = self.ledger.states().await;
        prop_assert!(!states.iter().any(|state| state == "pending" || state == "running"), "{states:?}");
        let failed = states.iter().filter(|state| *state == "failed").count();
        prop_assert!(failed <= 1 && (failed == 0 || states.last().is_some_and(|s| s == "failed")), "{states:?}");
        self.assert_settled().await
    }

    /// Checks that the hook was run for the newest change that concerned it, already stands where that led, or has
    /// visibly failed.
    async fn assert_settled(&self) -> Result<(), TestCaseError> {
        let Some((newest, _, to)) = self.newest.clone() else { return Ok(()) };
        let of_newest = move |connection: &rusqlite::Connection| {
            let sql = "SELECT count(*) FROM deliveries WHERE change = ?1 AND state IN ('succeeded', 'failed')";
            Ok(connection.query_row(sql, [newest], |row| row.get::<_, i64>(0))?)
        };
        let done = self.ledger.store.write(of_newest).await.unwrap();
        // A hook that does not subscribe to moves only hears whether the tag exists, not which digest it has.
        let stands = |point: &Option<Digest>| match self.on.contains(&ChangeKind::Moved) {
            true => *point == to,
            false => point.is_some() == to.is_some(),
        };
        let stands = self.reached.as_ref().is_some_and(stands);
        prop_assert!(done == 1 || stands, "{:?}, not {to:?}", self.reached);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_hook_ends_up_at_the_newest_or_visibly_failed(
        on in on(),
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let ledger = Ledger::new(&on).await;
            let mut model = Model { ledger, running: None, reached: None, on, newest: None, seen: 0 };
            for step in steps {
                model.step(step).await?;
            }
            model.ends_well().await
        })?;
    }
}
