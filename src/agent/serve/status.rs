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
    ConfigStatus, FailedDelivery, HealthProblem, HeldOff, RegistryStatus, Status, StatusSource, StoreProblem,
    WatchStatus,
};
use crate::domain::delivery::OwedCounts;
use crate::domain::judge::{Record, WatchState};
use crate::domain::{Watch, WatchKey};
use crate::store::{self, DeliveryRow, Reader, Store, WatchId, WatchRow};

/// What a running agent has in memory: everything but what hooks are owed. With the row of each watch.
pub(crate) fn of_agent(roster: &Roster) -> (Vec<WatchId>, Status) {
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
        status
    };
    let mut live: Vec<&Watched> = roster.live().collect();
    live.sort_unstable_by(|a, b| a.watch.name().cmp(b.watch.name()));
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
    let registries = roster.registries.all.iter().map(registry).collect();
    let ids = live.iter().map(|watched| watched.id).collect();
    (ids, Status { watches: live.into_iter().map(one).collect(), registries, ..without_watches() })
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
    let (rows, status) = match Reader::open(&config.state) {
        Ok(reader) => of_reader(&reader)?,
        // Nothing was ever checked, and that is an answer, too.
        Err(store::Error::Missing(_)) => (Vec::new(), without_watches()),
        Err(error) => return Err(error),
    };
    let by_key: HashMap<&WatchKey, &WatchRow> = rows.iter().map(|row| (&row.key, row)).collect();
    let one = |watch: &Arc<Watch>| {
        let Some(row) = by_key.get(&watch.key) else { return of_record(watch, &Record::default()) };
        WatchStatus { paused: row.paused, owed: row.owed, ..of_record(watch, &row.record) }
    };
    let watches: Vec<_> = config.watches.values().map(one).collect();
    let last_checked = watches.iter().filter_map(|watch| watch.last_checked).max();
    Ok(Status { as_of: status.as_of.max(last_checked), watches, ..status })
}

/// All watches that a state directory knows, whatever the config says now.
pub fn of_state(dir: &std::path::Path) -> Result<Status, store::Error> {
    let (rows, status) = of_reader(&Reader::open(dir)?)?;
    let one = |row: WatchRow| WatchStatus { paused: row.paused, owed: row.owed, ..of_key(&row.key, &row.record) };
    Ok(Status { watches: rows.into_iter().map(one).collect(), ..status })
}

/// The rows of all watches, and the rest of the status.
fn of_reader(reader: &Reader) -> Result<(Vec<WatchRow>, Status), store::Error> {
    let rows = reader.watches()?;
    let (as_of, failed, left_over) = (reader.last_heartbeat()?, reader.failed()?, reader.left_over()?);
    let failed = failed.into_iter().map(FailedDelivery::from).collect();
    Ok((rows, Status { as_of, failed, left_over, ..without_watches() }))
}

/// A status without an agent and without any watch.
fn without_watches() -> Status {
    Status {
        source: StatusSource::Database,
        as_of: None,
        config: None,
        store: None,
        problems: Vec::new(),
        listen: None,
        watches: Vec::new(),
        failed: Vec::new(),
        left_over: 0,
        registries: Vec::new(),
    }
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

/// Adds what hooks are owed, and what is wrong with the agent itself.
pub(crate) async fn complete(
    (ids, mut known): (Vec<WatchId>, Status),
    config: ConfigStatus,
    problems: Vec<HealthProblem>,
    store: &Store,
) -> Result<Status, store::Error> {
    let owed = store.owed().await?;
    let paused: HashSet<_> = store.paused().await?.into_iter().collect();
    for (id, status) in ids.iter().zip(&mut known.watches) {
        status.paused = paused.contains(id);
        status.owed = owed.get(id).copied().unwrap_or_default();
        // A watch that was never checked is due since the config was loaded.
        status.due = status.due.or(status.enabled.then_some(config.loaded));
    }
    let problem = store.write_failure().map(|why| StoreProblem { kind: why.kind.to_owned(), message: why.message });
    let failed = store.failed_deliveries().await?.into_iter().map(FailedDelivery::from).collect();
    Ok(Status {
        source: StatusSource::Agent,
        as_of: Some(clock::now()),
        config: Some(config),
        store: problem,
        problems,
        failed,
        left_over: store.left_over().await?,
        ..known
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
