//! The metrics page.
//!
//! A scrape takes copies of the counts and renders the page off the scheduler's task. All label values are bounded by the
//! config.

use std::collections::BTreeMap;
use std::time::Instant;

use super::exposition::Exposition;
use crate::agent::check::registries::Registry;
use crate::agent::check::roster::{Roster, WatchView};
use crate::agent::tally::{Attempts, CheckTally};
use crate::bounded::{POOLS, ThreadPool};
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
    /// Hooks that cannot be started.
    pub(crate) held: usize,
    /// Deliveries that count as running without a run.
    pub(crate) strays: usize,
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
        threads(&mut page);
        page.text()
    }

    fn agent(&self, page: &mut Exposition) {
        let version = env!("CARGO_PKG_VERSION");
        page.gauge("taghook_build_info", "The version that runs; always 1.").sample(&[("version", version)], 1);
        page.gauge("taghook_config_loaded_timestamp_seconds", "When the config that is in force was read.")
            .sample(&[], seconds(self.loaded));
        let help = "1 unless the config was edited and refused at the last reload.";
        page.gauge("taghook_config_last_reload_successful", help).sample(&[], u8::from(self.is_reload_well));
        let help = "1 unless nothing can be written, so that no hook is run: a full or failing disk.";
        page.gauge("taghook_store_writable", help).sample(&[], u8::from(self.write_failure.is_none()));
    }

    fn watches(&self, page: &mut Exposition) {
        let count = |state| self.watches.iter().filter(|view| view.state == state).count();
        page.gauge("taghook_watches", "Enabled watches by state.")
            .samples(["state"], WatchState::ALL.map(|state| ([state.as_str()], count(state))));
        let help = "When the registry last answered for a watch; no sample before the first time.";
        let last_ok = self.watches.iter().filter_map(|view| Some(([view.watch.name()], seconds(view.last_ok?))));
        page.gauge("taghook_watch_last_ok_timestamp_seconds", help).samples(["watch"], last_ok);
        let count = |kind| self.changes.get(&kind).copied().unwrap_or_default();
        page.counter("taghook_changes_total", "Changes that were accepted, by kind.")
            .samples(["change"], ChangeKind::ALL.map(|kind| ([kind.as_str()], count(kind))));
    }

    fn checks(&self, page: &mut Exposition) {
        let by_host = || self.registries.iter().map(|registry| (&*registry.host, &registry.tally));
        let outcomes = by_host().flat_map(|(host, tally)| {
            tally.outcomes.iter().map(move |(outcome, count)| ([host, outcome.as_str()], count))
        });
        page.counter("taghook_checks_total", "Checks by what they came to.").samples(["registry", "outcome"], outcomes);
        let failures = by_host()
            .flat_map(|(host, tally)| tally.failures.iter().map(move |(kind, count)| ([host, kind.as_str()], count)));
        page.counter("taghook_check_failures_total", "Checks that learnt nothing, by why.")
            .samples(["registry", "kind"], failures);
        let help = "How long checks took, from the first request to the last answer.";
        let mut durations = page.histograms("taghook_check_duration_seconds", help);
        by_host().for_each(|(host, tally)| durations.histogram(&[("registry", host)], &tally.durations));
    }

    fn registries(&self, page: &mut Exposition) {
        let now = Instant::now();
        let all = || self.registries.iter();
        let help = "Requests, those for tokens and after redirects among them.";
        page.counter("taghook_registry_requests_total", help)
            .samples(["registry"], all().map(|one| ([&*one.host], one.tally.requests)));
        let help = "How long a registry was held off, from the refusal or failure to the answer that ended it.";
        page.counter("taghook_registry_gate_closed_seconds_total", help)
            .samples(["registry"], all().map(|one| ([&*one.host], one.tally.held_off(now).as_secs_f64())));
        let help = "Watches that are due and wait for their registry's gate.";
        page.gauge("taghook_registry_waiting_watches", help)
            .samples(["registry"], all().map(|one| ([&*one.host], one.waiting)));
        let help = "Requests that a registry last said were left; no sample where it does not say.";
        page.gauge("taghook_registry_ratelimit_remaining", help)
            .samples(["registry"], all().filter_map(|one| Some(([&*one.host], one.remaining?))));
    }

    fn deliveries(&self, page: &mut Exposition) {
        let owed = self.owed.iter().flat_map(|(hook, counts)| {
            let counts = [("pending", counts.pending), ("running", counts.running), ("failed", counts.failed)];
            counts.map(|(state, count)| ([&**hook, state], count))
        });
        page.gauge("taghook_deliveries", "Deliveries that are not done: waiting, running, or given up.")
            .samples(["hook", "state"], owed);
        page.gauge("taghook_deliveries_stray", "Deliveries that count as running, but nothing runs for them.")
            .sample(&[], self.strays);
        page.gauge("taghook_hooks_held", "Hooks that cannot be started, for a reason that is not their own.")
            .sample(&[], self.held);
        let help = "How often a hook was not started, for a reason that is not its own; no attempt was spent.";
        page.counter("taghook_starts_put_off_total", help)
            .samples(["hook"], self.attempts.iter().map(|(hook, tally)| ([&**hook], tally.not_started)));
        let results = self.attempts.iter().flat_map(|(hook, tally)| {
            tally.results.iter().map(move |(result, count)| ([&**hook, result.as_str()], count))
        });
        page.counter("taghook_attempts_total", "Runs of a hook that have ended, by how.")
            .samples(["hook", "result"], results);
        let mut durations = page.histograms("taghook_attempt_duration_seconds", "How long runs of a hook took.");
        self.attempts.iter().for_each(|(hook, tally)| durations.histogram(&[("hook", hook)], &tally.durations));
    }
}

/// The pools of threads for calls that may hang, each with a bound of its own.
fn threads(page: &mut Exposition) {
    let mut gauge = |name, help, value: fn(&ThreadPool) -> usize| {
        page.gauge(name, help).samples(["pool"], POOLS.map(|pool| ([pool.name()], value(pool))));
    };
    gauge("taghook_threads", "Threads in use for calls that may hang, by kind.", ThreadPool::in_use);
    gauge("taghook_threads_late", "Those of them whose calls have taken too long.", ThreadPool::late);
    gauge("taghook_threads_limit", "How many threads there may be, by kind.", ThreadPool::size);
}

/// Seconds since 1970, as Prometheus wants points in time.
fn seconds(at: jiff::Timestamp) -> f64 {
    at.as_duration().as_secs_f64()
}
