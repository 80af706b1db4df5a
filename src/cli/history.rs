//! `taghook history`: the changes, newest first.

use std::path::Path;
use std::process::ExitCode;

use super::{Failure, Read, reader, text};
use crate::store::ChangeRow;

pub(super) fn run(explicit: Option<&Path>, read: &Read) -> Result<ExitCode, Failure> {
    let reader = reader(explicit, read)?;
    let changes =
        reader.map(|reader| reader.changes(read.watch.as_deref(), read.limit())).transpose()?.unwrap_or_default();
    let text = if read.json { text::json_lines(&changes) } else { human(&changes) };
    text::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn human(changes: &[ChangeRow]) -> String {
    if changes.is_empty() {
        return "nothing has changed yet\n".into();
    }
    let row = |change: &ChangeRow| {
        vec![
            text::local(change.at),
            change.watch.clone(),
            text::outcome(&change.change),
            text::digest(change.from.as_deref()),
            text::digest(change.to.as_deref()),
        ]
    };
    text::table(&["TIME", "WATCH", "CHANGE", "FROM", "TO"], changes.iter().map(row).collect())
}
