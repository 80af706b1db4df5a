//! Warnings about schedules that need more requests than a registry, or our own gate for it, allows.
//!
//! A check that finds no change is one `HEAD` request. Docker Hub does not count these. It counts `GET` requests, of which
//! a watch with `platform` needs one at its first check and one for each move.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::domain::{Question, Schedule, Watch};

use super::fault::Fault;
use super::log::FaultLog;
use super::model::RegistryConfig;
use super::quote::quoted;
use super::registries::default_registry;
use super::walk::TomlEntry;

/// How many `HEAD` requests an hour registries allow, where that is known and below what a rate may be set to.
const KNOWN_LIMITS: [(&str, f64); 3] =
    [("public.ecr.aws", 3600.0), ("ghcr.io", 44_000.0 * 60.0), ("docker.io", 1000.0 * 60.0)];

/// How many manifests Docker Hub lets an address and an account fetch in six hours.
const HUB_GETS: (usize, usize) = (100, 200);

/// What the watches ask of one registry.
#[derive(Default)]
struct Demand<'w> {
    per_hour: f64,
    watches: usize,
    /// The watch that asks most often, and how often that is.
    eager: Option<(f64, &'w Watch)>,
    /// The images whose watches choose a platform.
    fetched: BTreeSet<&'w Question>,
}

/// Warns of every registry that is asked too often.
pub(super) fn warn(
    watches: &BTreeMap<Arc<str>, Arc<Watch>>,
    entries: &BTreeMap<&str, TomlEntry<'_>>,
    registries: &BTreeMap<String, RegistryConfig>,
    log: &FaultLog,
) {
    let mut rates: HashMap<*const Schedule, f64> = HashMap::new();
    let mut demands: BTreeMap<&str, Demand<'_>> = BTreeMap::new();
    for watch in watches.values().filter(|watch| watch.enabled) {
        let per_hour = *rates.entry(Arc::as_ptr(&watch.schedule)).or_insert_with(|| watch.schedule.per_hour());
        let demand = demands.entry(watch.key.question.repository.registry()).or_default();
        demand.per_hour += per_hour;
        demand.watches += 1;
        if demand.eager.is_none_or(|(most, _)| per_hour > most) {
            demand.eager = Some((per_hour, watch));
        }
        if watch.key.question.platform.is_some() {
            demand.fetched.insert(&watch.key.question);
        }
    }
    for (host, demand) in demands {
        let entry = demand.eager.and_then(|(_, watch)| entries.get(watch.name()));
        let location = entry.map(|entry| entry.entry("schedule").unwrap_or(*entry).key_location());
        for fault in faults(host, &demand, registries.get(host)) {
            log.add(match &location {
                Some(location) => fault.at(location.clone()),
                None => fault,
            });
        }
    }
}

fn faults(host: &str, demand: &Demand<'_>, table: Option<&RegistryConfig>) -> Vec<Fault> {
    let mut faults = Vec::new();
    let registry = table.cloned().unwrap_or_else(|| default_registry(host));
    let allowed = registry.limits.rate * 3600.0;
    // A mirror has limits of its own.
    let is_mirrored = registry.client.endpoint.is_some();
    let known = KNOWN_LIMITS.iter().find(|(known, _)| *known == host && !is_mirrored).map(|(_, limit)| *limit);
    let (limit, whose) = match known {
        Some(known) if known < allowed => (known, "it is known to let through"),
        _ => (allowed, "its rate lets through"),
    };
    if demand.per_hour > limit {
        faults.push(too_eager(host, demand, limit, whose));
    }
    let has_account = registry.client.account.is_some();
    let gets = if has_account { HUB_GETS.1 } else { HUB_GETS.0 };
    let fetched = demand.fetched.len();
    if host == "docker.io" && !is_mirrored && fetched > gets {
        let fault = Fault::warning(format!(
            "registry \"docker.io\": the first check of {fetched} images with platform fetches {fetched} manifests, and \
             Docker Hub lets {gets} through in 6 hours{}",
            if has_account { "" } else { " without an account" }
        ));
        faults.push(fault.help("HEAD requests are free; watch fewer images with platform, or use a mirror (endpoint)"));
    }
    faults
}

fn too_eager(host: &str, demand: &Demand<'_>, limit: f64, whose: &str) -> Fault {
    let total = number(demand.per_hour);
    let parts = match demand.eager {
        Some((most, watch)) if demand.watches > 1 => {
            let others = demand.watches - 1;
            let rest = number(demand.per_hour - most);
            let others = if others == 1 { "another".to_owned() } else { format!("{others} others") };
            format!("{} for {} and {rest} for {others} make {total}", number(most), quoted(watch.name()))
        }
        _ => total,
    };
    let message = format!(
        "registry {} is asked too often: {parts} requests an hour, and {whose} {} an hour, so checks will be late",
        quoted(host),
        number(limit)
    );
    Fault::warning(message).help("check less often, or raise rate if the registry is known to bear it")
}

/// A whole number with commas between the thousands.
fn number(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
