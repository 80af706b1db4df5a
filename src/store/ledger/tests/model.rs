//! Any sequence of sightings, failures, attempts and crashes, held against the promise.
//!
//! The model is as simple as the promise: a hook stands somewhere, the tag stands somewhere. What the ledger does in
//! between is its own affair, as long as the two meet in the end, or a failure is there to be seen.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    /// A check finds this (`""`: a 404).
    Sees(&'static str),
    /// A check fails.
    Fails,
    /// Time passes.
    Waits(i64),
    /// The deliverer claims what is due.
    Claims,
    /// The running attempt ends.
    Ends(Ending),
    /// The agent is killed and starts again.
    Crashes,
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
    ]
}

/// The real ledger, and what the promise says about it.
struct Model {
    ledger: Ledger,
    accepted: BTreeSet<Option<Digest>>,
    running: Option<Claimed>,
    /// Where the hook itself would say that it stands.
    reached: Option<Digest>,
}

impl Model {
    async fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Sees(name) => {
                self.ledger.sees(name).await;
                self.accepted.insert(self.ledger.record.digest().cloned());
            }
            Step::Fails => self.ledger.fails().await,
            Step::Waits(seconds) => self.ledger.now += SignedDuration::from_secs(seconds),
            Step::Claims => {
                if let Some(claimed) = self.ledger.claims().await {
                    prop_assert!(self.running.is_none(), "two runs at once for one watch and hook");
                    self.check(&claimed)?;
                    self.running = Some(claimed);
                }
            }
            Step::Ends(ending) => {
                if let Some(claimed) = self.running.take() {
                    let state = self.ledger.ends(&claimed, ending).await;
                    if ending == Ending::Succeeded {
                        prop_assert_eq!(state, "succeeded");
                        self.reached = claimed.to;
                    }
                }
            }
            Step::Crashes => {
                for cut in self.ledger.store.running().await.unwrap() {
                    let ended = Ended { ending: Ending::Cut, exit_code: None, error: None, output: String::new() };
                    self.ledger.store.finish(cut.id, ended, RETRY, self.ledger.now, 1.0).await.unwrap();
                }
                self.running = None;
            }
        }
        Ok(())
    }

    fn check(&self, claimed: &Claimed) -> Result<(), TestCaseError> {
        prop_assert!(self.accepted.contains(&claimed.to), "a run for a digest that was never accepted");
        prop_assert_eq!(claimed.to.as_ref(), self.ledger.record.digest(), "a run that is not for the newest digest");
        prop_assert_ne!(&claimed.from, &claimed.to);
        Ok(())
    }

    /// Hooks work from now on: whatever is owed is delivered.
    async fn ends_well(mut self) -> Result<(), TestCaseError> {
        self.step(Step::Ends(Ending::Succeeded)).await?;
        self.ledger.now += SignedDuration::from_hours(48);
        while let Some(claimed) = self.ledger.claims().await {
            self.check(&claimed)?;
            self.running = Some(claimed);
            self.step(Step::Ends(Ending::Succeeded)).await?;
        }
        let states = self.ledger.states().await;
        prop_assert!(!states.iter().any(|state| state == "pending" || state == "running"), "{states:?}");
        let failed = states.iter().filter(|state| *state == "failed").count();
        prop_assert!(failed <= 1 && (failed == 0 || states.last().is_some_and(|s| s == "failed")), "{states:?}");
        if failed == 0 && self.ledger.record.standing.is_some() {
            prop_assert_eq!(self.reached.as_ref(), self.ledger.record.digest(), "the newest digest was not delivered");
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn every_hook_ends_up_at_the_newest_digest_or_visibly_failed(steps in proptest::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let ledger = Ledger::new(&[ChangeKind::First, ChangeKind::Moved]).await;
            let mut model = Model { ledger, accepted: BTreeSet::new(), running: None, reached: None };
            for step in steps {
                model.step(step).await?;
            }
            model.ends_well().await
        })?;
    }
}
