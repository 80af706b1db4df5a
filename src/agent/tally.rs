//! Counts of checks and attempts since the start. Each belongs to the part that makes it; the metrics page reads copies.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::domain::FailureKind;
use crate::domain::delivery::Ending;
use crate::domain::judge::CheckOutcome;

const CHECK_BOUNDS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
const ATTEMPT_BOUNDS: &[f64] = &[0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, 1800.0];

/// What the checks at one registry came to.
#[derive(Clone)]
pub(crate) struct CheckTally {
    pub(crate) outcomes: BTreeMap<CheckOutcome, u64>,
    pub(crate) failures: BTreeMap<FailureKind, u64>,
    pub(crate) durations: Histogram,
    /// Including those for tokens and after redirects.
    pub(crate) requests: u64,
    held_off: Duration,
    held_off_since: Option<Instant>,
}

impl CheckTally {
    pub(crate) fn new() -> Self {
        let (outcomes, failures, durations) = (BTreeMap::new(), BTreeMap::new(), Histogram::new(CHECK_BOUNDS));
        Self { outcomes, failures, durations, requests: 0, held_off: Duration::ZERO, held_off_since: None }
    }

    pub(crate) fn count(&mut self, outcome: CheckOutcome, failure: Option<FailureKind>, elapsed: Duration) {
        *self.outcomes.entry(outcome).or_default() += 1;
        if let Some(kind) = failure {
            *self.failures.entry(kind).or_default() += 1;
        }
        self.durations.observe(elapsed);
    }

    /// Notes whether the registry is held off from now on.
    pub(crate) fn note_hold(&mut self, is_held: bool, now: Instant) {
        if is_held {
            self.held_off_since.get_or_insert(now);
        } else if let Some(since) = self.held_off_since.take() {
            self.held_off += now - since;
        }
    }

    pub(crate) fn held_off(&self, now: Instant) -> Duration {
        self.held_off + self.held_off_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

/// What the attempts of one hook came to.
#[derive(Clone)]
pub(crate) struct AttemptTally {
    pub(crate) results: BTreeMap<Ending, u64>,
    pub(crate) durations: Histogram,
    /// How often it was not started, for a reason that is not its own.
    pub(crate) not_started: u64,
}

impl AttemptTally {
    pub(crate) fn new() -> Self {
        Self { results: BTreeMap::new(), durations: Histogram::new(ATTEMPT_BOUNDS), not_started: 0 }
    }

    pub(crate) fn count(&mut self, result: Ending, took: Duration) {
        *self.results.entry(result).or_default() += 1;
        self.durations.observe(took);
    }
}

/// The attempts of each hook.
pub(crate) type Attempts = BTreeMap<Arc<str>, AttemptTally>;

/// How long things took, in seconds.
#[derive(Debug, Clone)]
pub(crate) struct Histogram {
    pub(crate) bounds: &'static [f64],
    /// One more than there are bounds: the last counts what is longer than all.
    pub(crate) counts: Box<[u64]>,
    pub(crate) sum: f64,
}

impl Histogram {
    pub(crate) fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len() + 1].into(), sum: 0.0 }
    }

    pub(crate) fn observe(&mut self, took: std::time::Duration) {
        let took = took.as_secs_f64();
        let place = self.bounds.partition_point(|bound| *bound < took);
        self.counts[place] += 1;
        self.sum += took;
    }
}
