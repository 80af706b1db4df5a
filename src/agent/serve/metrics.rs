//! The metrics page.
//!
//! A scrape takes copies of the counts and renders the page off the scheduler's task. All label values are bounded by the
//! config.

use std::collections::BTreeMap;
use std::time::Instant;

use super::exposition::{Exposition, MetricKind};
use crate::agent::check::registries::Registry;
use crate::agent::check::roster::{Roster, WatchView};
use crate::agent::tally::{Attempts, CheckTally};
use crate::domain::ChangeKind;
use crate::domain::delivery::OwedCounts;
use crate::domain::judge::WatchState;
use crate::store::WriteFailure;

/// One registry at the time of a scrape.
pub(crate) struct RegistryNow {
    host: String,
    tally: CheckTally,
    waiting: usize,
    remaining: Option<u64>,
}

/// Everything that is on the page.
pub(crate) struct Scraped {
    pub(crate) registries: Vec<RegistryNow>,
    pub(crate) changes: BTreeMap<ChangeKind, u64>,
    pub(crate) watches: Vec<WatchView>,
    pub(crate) owed: Vec<(String, OwedCounts)>,
    pub(crate) attempts: Attempts,
    pub(crate) write_failure: Option<WriteFailure>,
    pub(crate) loaded: jiff::Timestamp,
    pub(crate) is_reload_well: bool,
}

/// Copies what the scheduler has counted.
pub(crate) fn of_agent(roster: &Roster) -> (Vec<RegistryNow>, BTreeMap<ChangeKind, u64>) {
    let one = |registry: &Registry| RegistryNow {
        host: registry.host.clone(),
        tally: registry.tally.clone(),
        waiting: registry.queue.len(),
        remaining: registry.remaining(),
    };
    (roster.registries.all.iter().map(one).collect(), roster.changes.clone())
}

impl Scraped {
    pub(crate) fn page(&self) -> String {
        let mut page = Exposition::default();
        self.agent(&mut page);
        self.watches(&mut page);
        self.checks(&mut page);
        self.registries(&mut page);
        self.deliveries(&mut page);
        page.text()
    }

    fn agent(&self, page: &mut Exposition) {
        page.family("taghook_build_info", MetricKind::Gauge, "The version that runs; always 1.")
            .sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
        let help = "When the config that is in force was read.";
        page.family("taghook_config_loaded_timestamp_seconds", MetricKind::Gauge, help)
            .sample(&[], seconds(self.loaded));
        let help = "1 unless the config was edited and refused at the last reload.";
        page.family("taghook_config_last_reload_successful", MetricKind::Gauge, help)
            .sample(&[], u8::from(self.is_reload_well));
        let help = "1 unless nothing can be written, so that no hook is run: a full or failing disk.";
        page.family("taghook_store_writable", MetricKind::Gauge, help)
            .sample(&[], u8::from(self.write_failure.is_none()));
    }

    fn watches(&self, page: &mut Exposition) {
        let mut states = page.family("taghook_watches", MetricKind::Gauge, "Enabled watches by state.");
        for state in WatchState::ALL {
            let count = self.watches.iter().filter(|seen| seen.state == state).count();
            states.sample(&[("state", state.as_str())], count);
        }
        let help = "When the registry last answered for a watch; no sample before the first time.";
        let mut last_ok = page.family("taghook_watch_last_ok_timestamp_seconds", MetricKind::Gauge, help);
        for WatchView { watch, last_ok: at, .. } in &self.watches {
            if let Some(at) = at {
                last_ok.sample(&[("watch", watch.name())], seconds(*at));
            }
        }
        let mut changes =
            page.family("taghook_changes_total", MetricKind::Counter, "Changes that were accepted, by kind.");
        for kind in ChangeKind::ALL {
            changes.sample(&[("change", kind.as_str())], self.changes.get(&kind).copied().unwrap_or_default());
        }
    }

    fn checks(&self, page: &mut Exposition) {
        let help = "Checks by what they came to.";
        let mut outcomes = page.family("taghook_checks_total", MetricKind::Counter, help);
        for RegistryNow { host, tally, .. } in &self.registries {
            for (outcome, count) in &tally.outcomes {
                outcomes.sample(&[("registry", host), ("outcome", outcome.as_str())], count);
            }
        }
        let help = "Checks that learnt nothing, by why.";
        let mut failures = page.family("taghook_check_failures_total", MetricKind::Counter, help);
        for RegistryNow { host, tally, .. } in &self.registries {
            for (kind, count) in &tally.failures {
                failures.sample(&[("registry", host), ("kind", kind.as_str())], count);
            }
        }
        let help = "How long checks took, from the first request to the last answer.";
        let mut durations = page.family("taghook_check_duration_seconds", MetricKind::Histogram, help);
        for RegistryNow { host, tally, .. } in &self.registries {
            durations.histogram(&[("registry", host)], &tally.durations);
        }
    }

    fn registries(&self, page: &mut Exposition) {
        let now = Instant::now();
        let help = "Requests, those for tokens and after redirects among them.";
        let mut requests = page.family("taghook_registry_requests_total", MetricKind::Counter, help);
        for RegistryNow { host, tally, .. } in &self.registries {
            requests.sample(&[("registry", host)], tally.requests);
        }
        let help = "How long a registry was held off, from the refusal or failure to the answer that ended it.";
        let mut held_off = page.family("taghook_registry_gate_closed_seconds_total", MetricKind::Counter, help);
        for RegistryNow { host, tally, .. } in &self.registries {
            held_off.sample(&[("registry", host)], tally.held_off(now).as_secs_f64());
        }
        let help = "Watches that are due and wait for their registry's gate.";
        let mut waiting = page.family("taghook_registry_waiting_watches", MetricKind::Gauge, help);
        for RegistryNow { host, waiting: count, .. } in &self.registries {
            waiting.sample(&[("registry", host)], count);
        }
        let help = "Requests that a registry last said were left; no sample where it does not say.";
        let mut remaining = page.family("taghook_registry_ratelimit_remaining", MetricKind::Gauge, help);
        for RegistryNow { host, remaining: left, .. } in &self.registries {
            if let Some(left) = left {
                remaining.sample(&[("registry", host)], left);
            }
        }
    }

    fn deliveries(&self, page: &mut Exposition) {
        let help = "Deliveries that are not done: waiting, running, or given up.";
        let mut deliveries = page.family("taghook_deliveries", MetricKind::Gauge, help);
        for (hook, counts) in &self.owed {
            for (state, count) in [("pending", counts.pending), ("running", counts.running), ("failed", counts.failed)]
            {
                deliveries.sample(&[("hook", hook), ("state", state)], count);
            }
        }
        let help = "Runs of a hook that have ended, by how.";
        let mut results = page.family("taghook_attempts_total", MetricKind::Counter, help);
        for (hook, tally) in &self.attempts {
            for (result, count) in &tally.results {
                results.sample(&[("hook", hook), ("result", result.as_str())], count);
            }
        }
        let help = "How long runs of a hook took.";
        let mut durations = page.family("taghook_attempt_duration_seconds", MetricKind::Histogram, help);
        for (hook, tally) in &self.attempts {
            durations.histogram(&[("hook", hook)], &tally.durations);
        }
    }
}

/// Seconds since 1970, as Prometheus wants points in time.
fn seconds(at: jiff::Timestamp) -> f64 {
    at.as_duration().as_secs_f64()
}
