//! The status of all watches, from the agent's memory or from the database.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use crate::agent::check::lines::held_off;
use crate::agent::check::registries::Registry;
use crate::agent::check::roster::Roster;
use crate::agent::check::watched::{Stage, Watched};
use crate::agent::clock;
use crate::config::Config;
use crate::control::wire::{
    ConfigStatus, FailedDelivery, HeldOff, RegistryStatus, Status, StatusSource, StoreProblem, WatchStatus,
};
use crate::domain::delivery::OwedCounts;
use crate::domain::judge::{Record, WatchState};
use crate::domain::{Watch, WatchKey};
use crate::store::{self, DeliveryRow, Reader, WatchRow};

/// What a running agent has in memory: everything but what hooks are owed.
pub(crate) struct InMemory {
    watches: Vec<(store::WatchId, WatchStatus)>,
    registries: Vec<RegistryStatus>,
}

/// Reads the roster.
pub(crate) fn of_agent(roster: &Roster) -> InMemory {
    let now = Instant::now();
    let one = |watched: &Watched| {
        let registry = &roster.registries.all[watched.registry];
        let mut status = of_record(&watched.watch, &watched.record);
        if watched.watch.enabled {
            // While it is being checked, the next check is the one after this.
            status.next_check = Some(watched.due.unwrap_or_else(|| watched.watch.next_due(clock::now())));
        }
        if watched.watch.enabled && watched.wanted && watched.stage == Stage::Queued {
            status.next_check = Some(opening(registry, now));
        }
        if let Some((cause, pause)) = registry.held_off(now)
            && watched.due.is_none()
        {
            status.next_check = Some(from_now(pause));
            status.state = WatchState::Failing;
            status.error = Some(held_off(watched, cause));
        }
        (watched.id, status)
    };
    let mut watches: Vec<_> = roster.live().map(one).collect();
    watches.sort_by(|(_, a), (_, b)| a.watch.cmp(&b.watch));
    let registry = |registry: &Registry| {
        let usage = registry.gate.usage(now);
        let held_off = registry.held_off(now);
        RegistryStatus {
            registry: registry.host.clone(),
            held_off: held_off.map(|(kind, pause)| HeldOff { kind, until: from_now(pause) }),
            under_way: usage.under_way,
            waiting: registry.queue.len(),
            concurrency: usage.limits.concurrency,
            rate: usage.limits.rate,
            allowance: usage.allowance,
        }
    };
    InMemory { watches, registries: roster.registries.all.iter().map(registry).collect() }
}

/// When the gate will admit the next one of those that wait: the token bucket tells, unless the registry is held off.
fn opening(registry: &Registry, now: Instant) -> Timestamp {
    let usage = registry.gate.usage(now);
    let missing = (1.0 - usage.allowance).max(0.0);
    from_now(Duration::try_from_secs_f64(missing / usage.limits.rate).unwrap_or_default())
}

fn from_now(pause: Duration) -> Timestamp {
    let now = clock::now();
    now.checked_add(SignedDuration::from_secs(pause.as_secs().cast_signed())).unwrap_or(now)
}

/// The configured watches, as the database knows them.
pub fn of_database(config: &Config) -> Result<Status, store::Error> {
    let (rows, as_of, failed, left_over) = match Reader::open(&config.state) {
        Ok(reader) => (reader.watches()?, reader.last_heartbeat()?, reader.failed()?, reader.left_over()?),
        // Nothing was ever checked, and that is an answer, too.
        Err(store::Error::Missing(_)) => (Vec::new(), None, Vec::new(), 0),
        Err(error) => return Err(error),
    };
    let by_key: HashMap<&WatchKey, &WatchRow> = rows.iter().map(|row| (&row.key, row)).collect();
    let one = |watch: &Arc<Watch>| {
        let Some(row) = by_key.get(&watch.key) else { return of_record(watch, &Record::default()) };
        WatchStatus { paused: row.paused, owed: row.owed, ..of_record(watch, &row.record) }
    };
    let watches: Vec<_> = config.watches.values().map(one).collect();
    let last_checked = watches.iter().filter_map(|watch| watch.last_checked).max();
    let failed = failed.into_iter().map(FailedDelivery::from).collect();
    Ok(Status { as_of: as_of.max(last_checked), watches, failed, left_over, ..without_watches() })
}

/// All watches that a state directory knows, whatever the config says now.
pub fn of_state(dir: &std::path::Path) -> Result<Status, store::Error> {
    let reader = Reader::open(dir)?;
    let watches = reader.watches()?.into_iter().map(of_row).collect();
    let failed = reader.failed()?.into_iter().map(FailedDelivery::from).collect();
    let (as_of, left_over) = (reader.last_heartbeat()?, reader.left_over()?);
    Ok(Status { as_of, watches, failed, left_over, ..without_watches() })
}

/// A status without an agent and without any watch.
fn without_watches() -> Status {
    Status {
        source: StatusSource::Database,
        as_of: None,
        config: None,
        store: None,
        watches: Vec::new(),
        failed: Vec::new(),
        left_over: 0,
        registries: Vec::new(),
    }
}

fn of_row(row: WatchRow) -> WatchStatus {
    WatchStatus { paused: row.paused, owed: row.owed, ..of_key(&row.key, &row.record) }
}

fn of_record(watch: &Watch, record: &Record) -> WatchStatus {
    WatchStatus {
        enabled: watch.enabled,
        due: record.last_checked.filter(|_| watch.enabled).map(|last| watch.next_due(last)),
        ..of_key(&watch.key, record)
    }
}

fn of_key(key: &WatchKey, record: &Record) -> WatchStatus {
    let sighting = record.standing.as_ref().map(|standing| &standing.sighting);
    WatchStatus {
        watch: key.name.to_string(),
        image: key.question.reference(),
        platform: key.question.platform.as_ref().map(ToString::to_string),
        digest: record.digest().cloned(),
        index_digest: sighting.and_then(|sighting| sighting.index_digest.clone()),
        state: record.state(),
        paused: false,
        enabled: true,
        last_checked: record.last_checked,
        last_ok: record.last_ok,
        last_changed: record.last_changed(),
        next_check: None,
        due: None,
        consecutive_failures: record.failing.as_ref().map_or(0, |failing| failing.streak.count),
        error: record.failing.as_ref().map(|failing| failing.latest.clone()),
        owed: OwedCounts::default(),
    }
}

/// Adds what hooks are owed.
pub(crate) async fn complete(
    known: InMemory,
    config: ConfigStatus,
    store: &store::Store,
) -> Result<Status, store::Error> {
    let InMemory { mut watches, registries } = known;
    let owed = store.owed().await?;
    let paused: HashSet<_> = store.paused().await?.into_iter().collect();
    for (id, status) in &mut watches {
        status.paused = paused.contains(id);
        status.owed = owed.get(id).copied().unwrap_or_default();
        // A watch that was never checked is due since the config was loaded.
        status.due = status.due.or(status.enabled.then_some(config.loaded));
    }
    let watches = watches.into_iter().map(|(_, status)| status).collect();
    let problem = store.write_failure().map(|why| StoreProblem { kind: why.kind.to_owned(), message: why.message });
    let failed = store.failed_deliveries().await?.into_iter().map(FailedDelivery::from).collect();
    Ok(Status {
        source: StatusSource::Agent,
        as_of: Some(clock::now()),
        config: Some(config),
        store: problem,
        watches,
        failed,
        left_over: store.left_over().await?,
        registries,
    })
}

/// The last line of an output that is not blank: it usually has the reason.
pub fn last_line(output: &str) -> Option<&str> {
    output.lines().rev().map(str::trim).find(|line| !line.is_empty())
}

impl From<DeliveryRow> for FailedDelivery {
    fn from(row: DeliveryRow) -> Self {
        let DeliveryRow { id, watch, hook, change, attempts, code, error, ended, output, .. } = row;
        let last_line = output.as_deref().and_then(last_line).map(str::to_owned);
        Self { id, watch, hook, change, attempts, code, error, last_line, ended }
    }
}
