//! Lines that several commands print: about a check, a watch, a delivery, an attempt, the config.

use jiff::{SignedDuration, Timestamp};

use super::colour::{Colour, Coloured, painted};
use super::text;
use crate::config;
use crate::control::wire::{CheckLine, ConfigStatus, FailedDelivery, WatchStatus};
use crate::domain::Digest;
use crate::domain::delivery::{DeliveryState, OwedCounts};
use crate::domain::shown::shown;
use crate::store::{AttemptRow, DeliveryRow, HeldBecause};

/// One line for the check, one for each delivery, one for an error.
pub(super) fn check(line: &CheckLine) -> String {
    let short = |digest: &Option<Digest>| digest.as_ref().map_or("-", Digest::short).to_owned();
    let digests = match &line.previous {
        Some(_) => format!("{} → {}", short(&line.previous), short(&line.digest)),
        None => short(&line.digest),
    };
    let name = line.watch.as_deref().unwrap_or(&line.image);
    let mut all = format!("{name}  {}  {digests}  {} ms\n", line.outcome.coloured(), line.elapsed_ms);
    if let Some(error) = &line.error {
        all += &format!("  {}: {}: {}\n", line.image, error.kind, shown(&error.message));
    }
    for delivery in &line.deliveries {
        let error = delivery.error.as_ref().map(|error| format!(": {}", shown(error))).unwrap_or_default();
        all += &format!("  {}  {}{error}\n", delivery.hook, delivery.state.coloured());
        all.extend(delivery.output.iter().map(|line| format!("    | {}\n", shown(line))));
    }
    all
}

/// Why a watch is failing, since when, and the remedy where the error has one.
pub(super) fn failing_watch(watch: &WatchStatus, now: Timestamp) -> String {
    let Some(error) = &watch.error else { return watch.watch.clone() };
    let checks = match watch.consecutive_failures {
        0 => String::new(),
        count => format!("{}, ", text::count(count, "check", "checks")),
    };
    let last_ok = watch.last_ok.map_or("never ok".into(), |at| format!("last ok {}", text::distance(Some(at), now)));
    let (kind, message) = (&error.kind, shown(&error.message));
    format!("{}: {}: {kind}: {message} ({checks}{last_ok})", watch.watch, watch.image)
}

/// What a watch's hooks are owed, counted by state.
pub(super) fn owed(watch: &WatchStatus) -> String {
    let OwedCounts { pending, running, failed, held } = watch.owed;
    let counts = [
        (pending.saturating_sub(held), DeliveryState::Pending.coloured()),
        (held, painted(Colour::Yellow, "held")),
        (running, DeliveryState::Running.coloured()),
        (failed, DeliveryState::Failed.coloured()),
    ];
    let counts: Vec<String> =
        counts.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")).collect();
    if counts.is_empty() { "-".into() } else { counts.join(", ") }
}

/// What has failed, why, and what to do about it.
pub(super) fn failed_delivery(failed: &FailedDelivery, now: Timestamp) -> String {
    let FailedDelivery { watch, hook, change, .. } = failed;
    let (id, error) = (text::id(&failed.id), failed.error.as_deref().unwrap_or("unknown"));
    let attempts = text::count(failed.attempts, "attempt", "attempts");
    let when = text::distance(failed.ended, now);
    let error = match &failed.last_line {
        Some(line) => format!("{}: {}", shown(error), shown(line)),
        None => shown(error).into_owned(),
    };
    format!(
        "{watch}: hook {hook} failed for `{change}` {when} after {attempts}: {error}; see `taghook log {id}`, then \
         `taghook retry {id}`"
    )
}

/// The last error of a delivery, and what it waits for.
pub(super) fn remark(delivery: &DeliveryRow, now: Timestamp) -> String {
    let error = delivery.error.as_deref().map(|error| shown(error).into_owned());
    let waits = match (delivery.held, delivery.due) {
        (Some(HeldBecause::Paused), _) => Some("held: paused".to_owned()),
        (Some(HeldBecause::NotFed), _) => Some("held: the config does not feed it".to_owned()),
        (None, due) => due.map(|due| format!("due {}", text::distance(Some(due), now))),
    };
    error.into_iter().chain(waits).collect::<Vec<_>>().join("; ")
}

/// How long an attempt took, once it has ended.
pub(super) fn took(attempt: &AttemptRow) -> Option<SignedDuration> {
    attempt.ended.map(|ended| ended.duration_since(attempt.started))
}

/// How an attempt ended.
pub(super) fn result(attempt: &AttemptRow) -> String {
    match (&attempt.error, attempt.ended) {
        (Some(error), _) => shown(error).into_owned(),
        (None, Some(_)) => DeliveryState::Succeeded.coloured(),
        (None, None) => DeliveryState::Running.coloured(),
    }
}

/// Why the agent does not go by the config file as it is now, if it does not.
pub(super) fn unread_edit(config: &ConfigStatus) -> Option<String> {
    if let Some(error) = &config.error {
        return Some(format!("the config was changed, and refused, so the earlier one goes on: {error}"));
    }
    // Whoever may not look at the files cannot tell.
    let (read, current) = (config.identity.as_ref()?, config::identity(&config.path)?);
    let path = config.path.display();
    let text = format!("{path} was changed, and the agent has not read it since: `taghook reload`");
    (*read != current).then_some(text)
}
