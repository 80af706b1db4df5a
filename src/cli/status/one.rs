//! `taghook status WATCH`: all about one.

use std::path::Path;

use jiff::Timestamp;

use super::super::colour::Coloured;
use super::super::exit::CliError;
use super::super::sentences::{failed_delivery, failing_watch, owed, result, took};
use super::super::snapshot::is_of;
use super::super::text;
use crate::agent::status::last_line;
use crate::control::wire::{RegistryStatus, Status, StatusSource, WatchStatus};
use crate::domain::Watch;
use crate::domain::shown::shown;
use crate::store::{self, AttemptRow, ChangeRow, Filter, Reader};

/// How many of the latest changes and attempts are shown, so that all about a watch fits a screen.
const LATEST: usize = 5;
/// How many due times show what a schedule means.
const DUE_TIMES: usize = 3;

/// What is known, what happened lately, and what happens next. `configured` is the watch in the config, if one was read.
pub(super) fn human(status: &Status, configured: Option<&Watch>, dir: &Path) -> Result<String, CliError> {
    let now = Timestamp::now();
    let reader = match Reader::open(dir) {
        Ok(reader) => Some(reader),
        Err(store::Error::Missing(_)) => None,
        Err(error) => return Err(error.into()),
    };
    let mut all = String::new();
    // Without a config, the watch may appear more than once: with each image that it ever had.
    for watch in &status.watches {
        all += &facts(watch, status, configured, now);
    }
    if let (Some(reader), Some(watch)) = (reader, status.watches.first()) {
        let latest = Filter { watch: Some(watch.watch.clone()), limit: Some(LATEST), ..Filter::default() };
        all += &changes(&reader.changes(&latest)?, now);
        all += &attempts(&reader.last_attempts(&watch.watch, LATEST)?, now);
    }
    Ok(all)
}

fn facts(watch: &WatchStatus, status: &Status, configured: Option<&Watch>, now: Timestamp) -> String {
    let mut facts = vec![("image", watch.image.clone())];
    let mut fact = |name: &'static str, value: Option<String>| facts.extend(value.map(|value| (name, value)));
    let ago = |at: Timestamp| format!("{} ({})", text::distance(Some(at), now), text::local(at));
    fact("platform", watch.platform.clone());
    fact("digest", Some(watch.digest.as_ref().map_or_else(|| "none yet".into(), ToString::to_string)));
    fact("of index", watch.index_digest.as_ref().map(ToString::to_string));
    fact("changed", watch.last_changed.map(ago));
    fact("last check", watch.last_checked.map(ago));
    fact("last ok", watch.last_ok.map(ago));
    fact("next", Some(next(watch, status, configured, now)));
    let schedule = |watch: &Watch| match watch.hooks.join(", ") {
        hooks if hooks.is_empty() => format!("{}, no hooks", watch.schedule),
        hooks => format!("{}, hooks {hooks}", watch.schedule),
    };
    fact("schedule", configured.map(schedule));
    fact("owed", Some(owed(watch)));
    for registry in status.registries.iter().filter(|registry| is_of(&watch.image, &registry.registry)) {
        fact("registry", Some(gate(registry, now)));
    }
    let paused = if watch.paused { ", paused: its hooks are held until `taghook resume`" } else { "" };
    let state = if watch.enabled { watch.state.coloured() } else { "disabled".into() };
    let mut all = text::wrapped(&format!("{}: {state}{paused}", watch.watch), 2);
    for (name, value) in facts {
        all += &text::wrapped(&format!("  {name:<11} {value}"), 14);
    }
    if watch.error.is_some() {
        all += &text::wrapped(&failing_watch(watch, now), 2);
    }
    let failed = status.failed.iter().filter(|failed| failed.watch == watch.watch);
    all.extend(failed.map(|failed| text::wrapped(&failed_delivery(failed, now), 2)));
    all
}

/// The next due times: the agent's, then those that follow from the schedule.
fn next(watch: &WatchStatus, status: &Status, configured: Option<&Watch>, now: Timestamp) -> String {
    if !watch.enabled {
        return "never: `enabled` is false".into();
    }
    let mut times: Vec<Timestamp> = watch.next_check.into_iter().collect();
    while let Some(configured) = configured.filter(|_| times.len() < DUE_TIMES) {
        times.push(configured.next_due(times.last().copied().unwrap_or(now)));
    }
    let times: Vec<_> =
        times.iter().map(|at| format!("{} ({})", text::distance(Some(*at), now), text::local(*at))).collect();
    match status.source {
        StatusSource::Agent => times.join(", "),
        StatusSource::Database if times.is_empty() => "no agent runs".into(),
        StatusSource::Database => format!("no agent runs; due by its schedule {}", times.join(", ")),
    }
}

fn gate(registry: &RegistryStatus, now: Timestamp) -> String {
    let RegistryStatus { registry: name, under_way, concurrency, rate, waiting, .. } = registry;
    let is_open = match &registry.held_off {
        Some(held) => format!("held off: {}; asked again {}", held.kind, text::distance(Some(held.until), now)),
        None => "open".to_owned(),
    };
    let left = registry.allowance.max(0.0).floor();
    format!(
        "{name} {is_open}; {under_way} of {concurrency} checks under way, {waiting} waiting; {left} requests may go at \
         once, {rate} a second"
    )
}

fn changes(changes: &[ChangeRow], now: Timestamp) -> String {
    if changes.is_empty() {
        return "no changes yet\n".into();
    }
    let row = |change: &ChangeRow| {
        let (from, to) = (text::digest(change.from.as_ref()), text::digest(change.to.as_ref()));
        vec![text::distance(Some(change.at), now), change.change.coloured(), from, to]
    };
    let head = ["LAST CHANGES", "CHANGE", "FROM", "TO"];
    text::fitted(&head, changes.iter().map(row).collect(), &text::Fit::default())
}

fn attempts(attempts: &[AttemptRow], now: Timestamp) -> String {
    if attempts.is_empty() {
        return "no hook has been started yet\n".into();
    }
    let row = |attempt: &AttemptRow| {
        vec![
            text::distance(Some(attempt.started), now),
            attempt.hook.clone(),
            text::id(&attempt.delivery).to_owned(),
            attempt.attempt.to_string(),
            took(attempt).map_or("-".into(), text::length),
            with_reason(attempt),
        ]
    };
    let head = ["LAST ATTEMPTS", "HOOK", "DELIVERY", "TRY", "TOOK", "RESULT"];
    text::fitted(&head, attempts.iter().map(row).collect(), &text::Fit { spare: &["TRY"], cut: &["RESULT", "HOOK"] })
}

/// How an attempt ended and, if it failed, the last line that it printed.
fn with_reason(attempt: &AttemptRow) -> String {
    let line = attempt.output.as_deref().filter(|_| attempt.error.is_some()).and_then(last_line);
    line.map_or_else(|| result(attempt), |line| format!("{}: {}", result(attempt), shown(line)))
}
