//! `taghook history`: the changes, newest first; on a terminal as one timeline for each tag.

use std::path::Path;

use clap::Args;
use jiff::Timestamp;

use super::colour::Coloured;
use super::exit::{CliError, Exit};
use super::reader::{self, PastArgs};
use super::sentences::remark;
use super::text;
use crate::store::{self, ChangeRow, DeliveryRow, Reader};

/// Show the changes, newest first, how long each stood, and what hooks did
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  taghook history web --since 7d     what has changed in a week
  taghook history --change moved -n 5")]
pub(super) struct HistoryArgs {
    #[command(flatten)]
    past: PastArgs,
}

pub(super) fn run(explicit: Option<&Path>, args: &HistoryArgs) -> Result<Exit, CliError> {
    let (json, filter) = (args.past.read.json, args.past.filter());
    let reader = reader::open(explicit, &args.past.read)?;
    let changes = reader.as_ref().map(|reader| reader.changes(&filter)).transpose()?.unwrap_or_default();
    let text = match &reader {
        _ if json => text::json_lines(&changes),
        Some(reader) if !changes.is_empty() => {
            let entries = changes.into_iter().map(|change| HistoryEntry::read(reader, change));
            let entries = entries.collect::<Result<Vec<_>, _>>()?;
            if text::is_terminal() { timelines(&entries) } else { table(&entries) }
        }
        _ if filter.is_narrow() => "no such change yet\n".into(),
        _ => "no tag was seen yet\n".into(),
    };
    text::print(&text)?;
    Ok(Exit::Ok)
}

/// A change, when the next one replaced it, and what hooks were owed.
struct HistoryEntry {
    change: ChangeRow,
    until: Option<Timestamp>,
    deliveries: Vec<DeliveryRow>,
}

impl HistoryEntry {
    fn read(reader: &Reader, change: ChangeRow) -> Result<Self, store::Error> {
        Ok(Self { until: reader.until(&change)?, deliveries: reader.deliveries_of(&change)?, change })
    }

    fn stood(&self, now: Timestamp) -> String {
        text::length(self.until.unwrap_or(now).duration_since(self.change.at))
    }

    fn done(delivery: &DeliveryRow, now: Timestamp) -> String {
        let mut all = format!("{} {}", delivery.hook, delivery.state.coloured());
        if delivery.attempts > 1 {
            all += &format!(" after {} attempts", delivery.attempts);
        }
        let remark = remark(delivery, now);
        if remark.is_empty() { all } else { format!("{all}: {remark}") }
    }
}

/// One line for each change, for `grep` and `awk`.
fn table(entries: &[HistoryEntry]) -> String {
    let now = Timestamp::now();
    let row = |entry: &HistoryEntry| {
        let change = &entry.change;
        let done: Vec<String> = entry.deliveries.iter().map(|delivery| HistoryEntry::done(delivery, now)).collect();
        vec![
            text::local(change.at),
            change.watch.clone(),
            change.change.coloured(),
            text::digest(change.from.as_ref()),
            text::digest(change.to.as_ref()),
            entry.stood(now),
            if done.is_empty() { "-".into() } else { done.join(", ") },
        ]
    };
    text::table(&["TIME", "WATCH", "CHANGE", "FROM", "TO", "STOOD", "HOOKS"], entries.iter().map(row).collect())
}

/// One timeline for each tag; the tag that changed last comes first.
fn timelines(entries: &[HistoryEntry]) -> String {
    let now = Timestamp::now();
    let tag = |entry: &HistoryEntry| (entry.change.watch.clone(), entry.change.image.clone());
    let mut tags = Vec::new();
    for entry in entries {
        if !tags.contains(&tag(entry)) {
            tags.push(tag(entry));
        }
    }
    let mut all = String::new();
    for (watch, image) in &tags {
        all += &text::wrapped(&format!("{watch}: {image}"), 2);
        for entry in entries.iter().filter(|entry| entry.change.watch == *watch && entry.change.image == *image) {
            all += &text::wrapped(&format!("  {}", line(entry, now)), 4);
            for delivery in &entry.deliveries {
                let log = if delivery.attempts > 0 { format!(" ({})", text::id(&delivery.id)) } else { String::new() };
                all += &text::wrapped(&format!("    {}{log}", HistoryEntry::done(delivery, now)), 6);
            }
        }
    }
    all
}

fn line(entry: &HistoryEntry, now: Timestamp) -> String {
    let ChangeRow { change, from, to, at, .. } = &entry.change;
    let so_far = if entry.until.is_none() { " so far" } else { "" };
    let digests = match (from, to) {
        (Some(from), Some(to)) if from != to => format!("{} → {}", text::digest(Some(from)), text::digest(Some(to))),
        (from, to) => text::digest(to.as_ref().or(from.as_ref())),
    };
    format!("{}  {}  {digests}  for {}{so_far}", text::local(*at), change.coloured(), entry.stood(now))
}
