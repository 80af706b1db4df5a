//! `taghook status`: every watch, the worst first; or all about one.

mod one;

use std::collections::HashMap;
use std::path::Path;

use clap::Args;
use jiff::Timestamp;

use super::colour::Coloured;
use super::exit::{CliError, Exit};
use super::located::{find_watch, readable};
use super::reader::ReadArgs;
use super::sentences::{failed_delivery, failing_watch, owed, unread_edit};
use super::snapshot::{self, is_of};
use super::text;
use crate::control::wire::{FailedDelivery, Status, StatusSource, WatchStatus};
use crate::domain::judge::WatchState;
use crate::domain::shown::shown;

/// Show every watch, the worst first, or all about one
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  taghook status                     every watch
  taghook status web                 all about one
  taghook status --json | jq -r '.watches[] | select(.state == \"failing\") | .watch'")]
pub(super) struct StatusArgs {
    #[command(flatten)]
    read: ReadArgs,
}

pub(super) fn run(explicit: Option<&Path>, StatusArgs { read }: &StatusArgs) -> Result<Exit, CliError> {
    let (config, state) = readable(explicit, read.state.as_ref())?;
    let mut status = snapshot::gather(config.as_ref(), &state)?;
    if let Some(name) = &read.watch {
        keep_only(&mut status, name)?;
    }
    let text = match &read.watch {
        _ if read.json => text::json_line(&status),
        Some(name) => {
            let configured = config.as_ref().and_then(|config| config.watches.get(name.as_str()));
            one::human(&status, configured.map(|watch| &**watch), &state)?
        }
        None => human(&status, read.limit.map(|limit| limit as usize)),
    };
    text::print(&text)?;
    Ok(Exit::Ok)
}

fn keep_only(status: &mut Status, name: &str) -> Result<(), CliError> {
    find_watch(name, status.watches.iter().map(|watch| watch.watch.as_str()))?;
    status.watches.retain(|watch| watch.watch == name);
    status.failed.retain(|failed| failed.watch == name);
    let of_registry = |registry: &str| status.watches.iter().any(|watch| is_of(&watch.image, registry));
    status.registries.retain(|registry| of_registry(&registry.registry));
    Ok(())
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
    all.extend(status.problems.iter().map(|problem| text::wrapped(&shown(&problem.message), 2)));
    all += &text::fitted(&head, rows, &text::Fit { spare: &["LAST OK", "CHANGED"], cut: &["WATCH"] });
    let mut failed: HashMap<&str, Vec<&FailedDelivery>> = HashMap::new();
    for one in &status.failed {
        failed.entry(&one.watch).or_default().push(one);
    }
    for watch in &watches {
        all.extend(watch.error.is_some().then(|| text::wrapped(&failing_watch(watch, now), 2)));
        let failed = failed.get(watch.watch.as_str()).into_iter().flatten();
        all.extend(failed.map(|failed| text::wrapped(&failed_delivery(failed, now), 2)));
    }
    all += &text::wrapped(&summary(status, now), 2);
    all.extend(left_over(status.left_over).map(|line| text::wrapped(&line, 2)));
    let config = status.config.as_ref().and_then(unread_edit);
    all.extend(config.map(|config| text::wrapped(&config, 2)));
    all.extend(status.listen.iter().map(|problem| text::wrapped(&shown(&problem.message), 2)));
    all
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
        (true, true) => format!("{} (paused)", watch.state.coloured()),
        (true, false) => watch.state.coloured(),
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

fn left_over(count: u64) -> Option<String> {
    let deliveries = text::count(count, "delivery is", "deliveries are");
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
    let failed = text::count(failed, "failed delivery", "failed deliveries");
    format!("{total}: {states}; {failed}; {source}")
}
