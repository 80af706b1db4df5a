//! Warnings of schedules that ask more of a registry than it, or our own gate for it, lets through.
//!
//! An unchanged check is one `HEAD`. Docker Hub does not count these; it counts the `GET`s, of which a watch with
//! `platform` needs one when it is first seen and one per move.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::domain::gate::Limits;
use crate::domain::{Question, Schedule, Watch};

use super::Registry;
use super::fault::Fault;
use super::walk::{Item, Report};

/// What registries let through of `HEAD` requests in an hour, where it is known and below what a gate may be set to.
const KNOWN: [(&str, f64); 3] =
    [("public.ecr.aws", 3600.0), ("ghcr.io", 44_000.0 * 60.0), ("docker.io", 1000.0 * 60.0)];

/// Manifests that Docker Hub lets an address or an account fetch in six hours.
const HUB_GETS: (usize, usize) = (100, 200);

/// What is asked of one registry.
#[derive(Default)]
struct Demand<'w> {
    per_hour: f64,
    watches: usize,
    /// The one that asks most often.
    eager: Option<(f64, &'w Watch)>,
    /// The images of which a platform is chosen.
    fetched: BTreeSet<&'w Question>,
}

/// Warns of every registry that is asked for too much.
pub(super) fn warn(
    watches: &BTreeMap<Arc<str>, Arc<Watch>>,
    items: &BTreeMap<&str, Item<'_>>,
    registries: &BTreeMap<String, Registry>,
    report: &Report,
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
        let registry = registries.get(host);
        for fault in faults(host, &demand, registry) {
            let item = demand.eager.and_then(|(_, watch)| items.get(watch.name()));
            report.add(match item {
                Some(item) => fault.at(item.key_of("schedule").unwrap_or(*item).key_place()),
                None => fault,
            });
        }
    }
}

fn faults(host: &str, demand: &Demand<'_>, registry: Option<&Registry>) -> Vec<Fault> {
    let mut faults = Vec::new();
    let gate = registry.map_or_else(|| Limits::default_for(host), |registry| registry.limits).rate * 3600.0;
    // A mirror has limits of its own.
    let is_mirrored = registry.is_some_and(|registry| registry.client.endpoint.is_some());
    let known = KNOWN.iter().find(|(known, _)| *known == host && !is_mirrored).map(|(_, limit)| *limit);
    let (limit, whose) = match known {
        Some(known) if known < gate => (known, "it is known to let through"),
        _ => (gate, "its rate lets through"),
    };
    if demand.per_hour > limit {
        faults.push(too_eager(host, demand, limit, whose));
    }
    let has_account = registry.is_some_and(|registry| registry.client.account.is_some());
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
            format!("{} for {:?} and {rest} for {others} make {total}", number(most), watch.name())
        }
        _ => total,
    };
    let message = format!(
        "registry {host:?} is asked too often: {parts} requests an hour, and {whose} {} an hour, so checks will be late",
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
