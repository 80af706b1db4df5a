//! `taghook history`: the changes, newest first; for eyes as one line of time for each tag.

use std::path::Path;
use std::process::ExitCode;

use jiff::Timestamp;

use super::args::History;
use super::deliveries::remark;
use super::{Failure, reader, text};
use crate::store::{self, ChangeRow, DeliveryRow, Reader};

pub(super) fn run(explicit: Option<&Path>, wanted: &History) -> Result<ExitCode, Failure> {
    let reader = reader(explicit, &wanted.read)?;
    let changes = reader.as_ref().map(|reader| reader.changes(&wanted.filter())).transpose()?.unwrap_or_default();
    let text = match &reader {
        _ if wanted.read.json => text::json_lines(&changes),
        Some(reader) if !changes.is_empty() => {
            let entries =
                changes.into_iter().map(|change| Entry::read(reader, change)).collect::<Result<Vec<_>, _>>()?;
            if text::is_terminal() { timelines(&entries) } else { table(&entries) }
        }
        _ if wanted.filter().is_narrow() => "no such change yet\n".into(),
        _ => "no tag was seen yet\n".into(),
    };
    text::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// A change, until when it stood, and what it has owed.
struct Entry {
    change: ChangeRow,
    until: Option<Timestamp>,
    deliveries: Vec<DeliveryRow>,
}

impl Entry {
    fn read(reader: &Reader, change: ChangeRow) -> Result<Self, store::Error> {
        Ok(Self { until: reader.until(&change)?, deliveries: reader.deliveries_of(&change)?, change })
    }

    /// How long it stood.
    fn stood(&self, now: Timestamp) -> String {
        text::length(self.until.unwrap_or(now).duration_since(self.change.at))
    }

    /// What became of a delivery.
    fn done(delivery: &DeliveryRow, now: Timestamp) -> String {
        let mut all = format!("{} {}", delivery.hook, text::outcome(delivery.state.as_str()));
        if delivery.attempts > 1 {
            all += &format!(" after {} attempts", delivery.attempts);
        }
        let remark = remark(delivery, now);
        if remark.is_empty() { all } else { format!("{all}: {remark}") }
    }
}

/// One line for each change, for `grep` and `awk`.
fn table(entries: &[Entry]) -> String {
    let now = Timestamp::now();
    let row = |entry: &Entry| {
        let change = &entry.change;
        let done: Vec<String> = entry.deliveries.iter().map(|delivery| Entry::done(delivery, now)).collect();
        vec![
            text::local(change.at),
            change.watch.clone(),
            text::outcome(change.change.as_str()),
            text::digest(change.from.as_ref()),
            text::digest(change.to.as_ref()),
            entry.stood(now),
            if done.is_empty() { "-".into() } else { done.join(", ") },
        ]
    };
    text::table(&["TIME", "WATCH", "CHANGE", "FROM", "TO", "STOOD", "HOOKS"], entries.iter().map(row).collect())
}

/// The tag that has changed last comes first.
fn timelines(entries: &[Entry]) -> String {
    let now = Timestamp::now();
    let tag = |entry: &Entry| (entry.change.watch.clone(), entry.change.image.clone());
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
                all += &text::wrapped(&format!("    {}{log}", Entry::done(delivery, now)), 6);
            }
        }
    }
    all
}

fn line(entry: &Entry, now: Timestamp) -> String {
    let ChangeRow { change, from, to, at, .. } = &entry.change;
    let so_far = if entry.until.is_none() { " so far" } else { "" };
    let digests = match (from, to) {
        (Some(from), Some(to)) if from != to => {
            format!("{} → {}", text::digest(Some(from)), text::digest(Some(to)))
        }
        (from, to) => text::digest(to.as_ref().or(from.as_ref())),
    };
    format!("{}  {}  {digests}  for {}{so_far}", text::local(*at), text::outcome(change.as_str()), entry.stood(now))
}
