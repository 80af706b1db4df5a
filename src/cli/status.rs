//! `taghook status`: every watch, the worst first; or all about one.

mod one;

pub(super) use one::{result, took};

use std::collections::HashMap;
use std::path::Path;
use std::process::ExitCode;

use jiff::Timestamp;

use super::{Failure, Read, find_watch, readable, runtime, text};
use crate::agent::{self, status};
use crate::config::{self, Config};
use crate::control::wire::{ConfigStatus, FailedDelivery, Status, StatusSource, WatchStatus};
use crate::control::{Client, Error};
use crate::domain::delivery::OwedCounts;
use crate::domain::judge::WatchState;

pub(super) fn run(explicit: Option<&Path>, read: &Read) -> Result<ExitCode, Failure> {
    let (config, dir) = readable(explicit, read.state.as_ref())?;
    let mut status = gather(config.as_ref(), &dir)?;
    if let Some(name) = &read.watch {
        keep_only(&mut status, name)?;
    }
    let text = match &read.watch {
        _ if read.json => serde_json::to_string(&status).unwrap_or_default() + "\n",
        Some(name) => one::tell(
            &status,
            config.as_ref().and_then(|config| config.watches.get(name.as_str()).map(|watch| &**watch)),
            &dir,
        )?,
        None => human(&status, read.limit.map(|limit| limit as usize)),
    };
    text::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// What the agent knows or, without one, the database. Without a config: of every watch that was ever checked.
pub(super) fn gather(config: Option<&Config>, dir: &Path) -> Result<Status, Failure> {
    match runtime()?.block_on(of_agent(dir))? {
        Some(status) => Ok(status),
        None => of_database(config, dir),
    }
}

async fn of_agent(dir: &Path) -> Result<Option<Status>, Failure> {
    let Some(socket) = agent::socket_of(dir) else { return Ok(None) };
    match Client::connect(&socket).await {
        Ok(mut client) => Ok(Some(client.status().await?)),
        // Without an agent, or without the right to ask it, the database tells what it can.
        Err(Error::Unreachable { .. } | Error::Forbidden { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn of_database(config: Option<&Config>, dir: &Path) -> Result<Status, Failure> {
    Ok(match config {
        Some(config) => status::of_database(config)?,
        None => status::of_state(dir)?,
    })
}

fn keep_only(status: &mut Status, name: &str) -> Result<(), Failure> {
    find_watch(name, status.watches.iter().map(|watch| watch.watch.as_str()))?;
    status.watches.retain(|watch| watch.watch == name);
    status.failed.retain(|failed| failed.watch == name);
    let of_registry = |registry: &str| status.watches.iter().any(|watch| is_of(&watch.image, registry));
    status.registries.retain(|registry| of_registry(&registry.registry));
    Ok(())
}

pub(super) fn is_of(image: &str, registry: &str) -> bool {
    image.strip_prefix(registry).is_some_and(|rest| rest.starts_with('/'))
}

fn human(status: &Status, limit: Option<usize>) -> String {
    let now = Timestamp::now();
    let mut watches: Vec<&WatchStatus> = status.watches.iter().collect();
    watches.sort_by_key(|watch| (rank(watch), watch.watch.clone()));
    watches.truncate(limit.unwrap_or(usize::MAX));
    let rows = watches.iter().map(|watch| row(watch, now)).collect();
    let head = ["WATCH", "STATE", "DIGEST", "CHANGED", "LAST OK", "NEXT", "OWED"];
    let held = status.store.iter().map(|problem| text::wrapped(&format!("hooks are held: {}", problem.message), 2));
    let mut all = held.collect::<String>();
    all += &text::fitted(&head, rows, &text::Fit { spare: &["LAST OK", "CHANGED"], cut: &["WATCH"] });
    let mut failed: HashMap<&str, Vec<&FailedDelivery>> = HashMap::new();
    for one in &status.failed {
        failed.entry(&one.watch).or_default().push(one);
    }
    for watch in &watches {
        all.extend(watch.error.is_some().then(|| text::wrapped(&trouble(watch, now), 2)));
        let failed = failed.get(watch.watch.as_str()).into_iter().flatten();
        all.extend(failed.map(|failed| text::wrapped(&failed_delivery(failed, now), 2)));
    }
    all += &text::wrapped(&summary(status, now), 2);
    all.extend(left_over(status.left_over).map(|line| text::wrapped(&line, 2)));
    let config = status.config.as_ref().and_then(|config| about_config(config, now));
    all.extend(config.map(|config| text::wrapped(&config, 2)));
    all
}

/// Why a watch is failing, since when, and the remedy where the error has one.
pub(super) fn trouble(watch: &WatchStatus, now: Timestamp) -> String {
    let Some(error) = &watch.error else { return watch.watch.clone() };
    let checks = match watch.consecutive_failures {
        0 => String::new(),
        count => format!("{}, ", text::count(count as usize, "check", "checks")),
    };
    let last_ok = watch.last_ok.map_or("never ok".into(), |at| format!("last ok {}", text::distance(Some(at), now)));
    let (kind, message) = (&error.kind, text::printable(&error.message));
    format!("{}: {}: {kind}: {message} ({checks}{last_ok})", watch.watch, watch.image)
}

/// What has failed, why, and what to do about it.
pub(super) fn failed_delivery(failed: &FailedDelivery, now: Timestamp) -> String {
    let FailedDelivery { watch, hook, change, .. } = failed;
    let (id, error) = (text::id(&failed.id), failed.error.as_deref().unwrap_or("unknown"));
    let attempts = text::count(failed.attempts as usize, "attempt", "attempts");
    let when = text::distance(failed.ended, now);
    let error = match &failed.last_line {
        Some(line) => format!("{}: {}", text::printable(error), text::printable(line)),
        None => text::printable(error),
    };
    format!(
        "{watch}: hook {hook} failed for `{change}` {when} after {attempts}: {error}; see `taghook log {id}`, then \
         `taghook retry {id}`"
    )
}

/// Notes that the agent goes by another config than the one in the file, where it does; `which`: by which one the command
/// goes.
pub(super) fn note_edit(dir: &Path, which: &str) -> std::io::Result<()> {
    // An agent that does not answer is for those to tell who need it.
    let config = runtime()?.block_on(of_agent(dir)).ok().flatten().and_then(|status| status.config);
    if let Some(edit) = config.and_then(|config| about_config(&config, Timestamp::now())) {
        anstream::eprintln!("note: {edit}; this goes by {which}");
    }
    Ok(())
}

/// What an operator must know of the config that the agent goes by.
pub(super) fn about_config(config: &ConfigStatus, now: Timestamp) -> Option<String> {
    if let Some(error) = &config.error {
        return Some(format!("the config was changed, and refused, so the earlier one goes on: {error}"));
    }
    let edited =
        Timestamp::try_from(config::last_modified(&config.path)?).ok().filter(|edited| *edited > config.loaded)?;
    let (path, ago) = (config.path.display(), text::distance(Some(edited), now));
    Some(format!("{path} was edited {ago}, and the agent has not read it since: `taghook reload`"))
}

fn rank(watch: &WatchStatus) -> u8 {
    match (watch.state, watch.owed.failed > 0, watch.enabled) {
        (_, _, false) => 9,
        (WatchState::Failing, true, _) => 0,
        (_, true, _) => 1,
        (WatchState::Failing, ..) => 2,
        (WatchState::Absent, ..) => 3,
        (WatchState::Settling, ..) => 4,
        (WatchState::Unknown, ..) => 5,
        (WatchState::Ok, ..) => 6,
    }
}

fn row(watch: &WatchStatus, now: Timestamp) -> Vec<String> {
    let state = match (watch.enabled, watch.paused) {
        (false, _) => "disabled".to_owned(),
        (true, true) => format!("{} (paused)", text::outcome(watch.state.as_str())),
        (true, false) => text::outcome(watch.state.as_str()),
    };
    vec![
        watch.watch.clone(),
        state,
        text::digest(watch.digest.as_ref()),
        text::distance(watch.last_changed, now),
        text::distance(watch.last_ok, now),
        text::distance(watch.next_check, now),
        owed(watch),
    ]
}

fn owed(watch: &WatchStatus) -> String {
    let OwedCounts { pending, running, failed, held } = watch.owed;
    let counts = [("pending", pending.saturating_sub(held)), ("held", held), ("running", running), ("failed", failed)];
    let told: Vec<String> = counts
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(word, count)| format!("{count} {}", text::outcome(word)))
        .collect();
    if told.is_empty() { "-".into() } else { told.join(", ") }
}

fn left_over(count: u64) -> Option<String> {
    let deliveries = text::count(usize::try_from(count).unwrap_or(usize::MAX), "delivery is", "deliveries are");
    (count > 0).then(|| format!("{deliveries} left over from an earlier config: `taghook prune`"))
}

fn summary(status: &Status, now: Timestamp) -> String {
    let count = |state| status.watches.iter().filter(|watch| watch.state == state && watch.enabled).count();
    let states = [WatchState::Ok, WatchState::Failing, WatchState::Absent, WatchState::Settling, WatchState::Unknown];
    let states = states.into_iter().map(|state| (state, count(state))).filter(|(_, count)| *count > 0);
    let disabled = status.watches.iter().filter(|watch| !watch.enabled).count();
    let states = states.map(|(state, count)| format!("{count} {state}"));
    let states: Vec<String> = states.chain((disabled > 0).then(|| format!("{disabled} disabled"))).collect();
    let states = if states.is_empty() { "none is configured".to_owned() } else { states.join(", ") };
    let failed: u64 = status.watches.iter().map(|watch| watch.owed.failed).sum();
    let source = match status.source {
        StatusSource::Agent => "the agent is running".to_owned(),
        StatusSource::Database if status.as_of.is_none() => "no agent answers, and nothing was recorded yet".to_owned(),
        StatusSource::Database => format!("no agent answers; this was recorded {}", text::distance(status.as_of, now)),
    };
    let total = text::count(status.watches.len(), "watch", "watches");
    let failed = text::count(usize::try_from(failed).unwrap_or(usize::MAX), "failed delivery", "failed deliveries");
    format!("{total}: {states}; {failed}; {source}")
}
