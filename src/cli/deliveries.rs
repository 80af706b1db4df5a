//! `taghook deliveries`: what hooks were owed and what was done about it, newest first.

use std::path::Path;

use clap::Args;
use jiff::Timestamp;

use super::colour::Coloured;
use super::exit::{CliError, Exit};
use super::reader::{self, PastArgs};
use super::sentences::remark;
use super::{results, text};
use crate::domain::delivery::DeliveryState;
use crate::store::{DeliveryRow, Filter};

/// Show what hooks were owed and what was done about it, newest first
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  taghook deliveries --only failed   what needs a `taghook retry`
  taghook deliveries web --hook redeploy --since 2026-01-31")]
pub(super) struct DeliveriesArgs {
    #[command(flatten)]
    past: PastArgs,
    /// Only for this hook
    #[arg(long, value_name = "HOOK")]
    hook: Option<String>,
    /// Only what is in this state
    #[arg(long, value_name = "STATE", value_parser = reader::delivery_state())]
    only: Option<DeliveryState>,
}

pub(super) fn run(explicit: Option<&Path>, args: &DeliveriesArgs) -> Result<Exit, CliError> {
    let read = &args.past.read;
    let filter = Filter { hook: args.hook.clone(), state: args.only, ..args.past.filter() };
    let reader = reader::open(explicit, read)?;
    let deliveries = reader.map(|reader| reader.deliveries(&filter)).transpose()?.unwrap_or_default();
    results::print(read.json, &deliveries, |deliveries| human(deliveries, &filter))
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
            delivery.state.coloured(),
            delivery.attempts.to_string(),
            remark(delivery, now),
        ]
    };
    let head = ["ID", "WATCH", "HOOK", "CHANGE", "TO", "STATE", "TRIES", "REMARK"];
    let fit = text::Fit { spare: &["TRIES", "TO", "CHANGE"], cut: &["REMARK", "WATCH", "HOOK"] };
    text::fitted(&head, deliveries.iter().map(row).collect(), &fit)
}
