//! `taghook deliveries`: what hooks were owed and what was done about it, newest first.

use std::path::Path;
use std::process::ExitCode;

use jiff::Timestamp;

use super::args::Deliveries;
use super::{Failure, reader, text};
use crate::store::{DeliveryRow, Filter, HeldBecause};

pub(super) fn run(explicit: Option<&Path>, wanted: &Deliveries) -> Result<ExitCode, Failure> {
    let reader = reader(explicit, &wanted.read)?;
    let filter = wanted.filter();
    let deliveries = reader.map(|reader| reader.deliveries(&filter)).transpose()?.unwrap_or_default();
    let text = if wanted.read.json { text::json_lines(&deliveries) } else { human(&deliveries, &filter) };
    text::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn human(deliveries: &[DeliveryRow], filter: &Filter) -> String {
    if deliveries.is_empty() {
        return if filter.is_narrow() { "no such delivery yet\n" } else { "no hook is owed anything yet\n" }.into();
    }
    let now = Timestamp::now();
    let row = |delivery: &DeliveryRow| {
        vec![
            text::id(&delivery.id).to_owned(),
            delivery.watch.clone(),
            delivery.hook.clone(),
            delivery.change.to_string(),
            text::digest(delivery.to.as_ref()),
            text::outcome(delivery.state.as_str()),
            delivery.attempts.to_string(),
            remark(delivery, now),
        ]
    };
    let head = ["ID", "WATCH", "HOOK", "CHANGE", "TO", "STATE", "TRIES", "REMARK"];
    let fit = text::Fit { spare: &["TRIES", "TO", "CHANGE"], cut: &["REMARK", "WATCH", "HOOK"] };
    text::fitted(&head, deliveries.iter().map(row).collect(), &fit)
}

/// What went wrong last, and what a delivery waits for.
pub(super) fn remark(delivery: &DeliveryRow, now: Timestamp) -> String {
    let error = delivery.error.as_deref().map(text::printable);
    let waits = match (delivery.held, delivery.due) {
        (Some(HeldBecause::Paused), _) => Some("held: paused".to_owned()),
        (Some(HeldBecause::NotFed), _) => Some("held: the config does not feed it".to_owned()),
        (None, due) => due.map(|due| format!("due {}", text::distance(Some(due), now))),
    };
    error.into_iter().chain(waits).collect::<Vec<_>>().join("; ")
}
