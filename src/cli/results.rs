//! Printing results, and the exit status that they add up to.

use serde::Serialize;

use super::exit::{CliError, Exit};
use super::text;

/// Prints rows as JSON, one object a line, or as text for people.
pub(super) fn print<T: Serialize>(
    json: bool,
    rows: &[T],
    human: impl FnOnce(&[T]) -> String,
) -> Result<Exit, CliError> {
    text::print(&if json { text::json_lines(rows) } else { human(rows) })?;
    Ok(Exit::Ok)
}

/// Results that come one by one: prints until the reader has gone away. The work goes on even then.
pub(super) struct Results {
    is_well: bool,
    printed: std::io::Result<()>,
}

impl Results {
    pub(super) fn new() -> Self {
        Self { is_well: true, printed: Ok(()) }
    }

    pub(super) fn add(&mut self, is_well: bool, text: &str) {
        self.is_well &= is_well;
        if self.printed.is_ok() {
            self.printed = text::print(text);
        }
    }

    pub(super) fn exit(self) -> Result<Exit, CliError> {
        self.printed?;
        Ok(Exit::of(self.is_well))
    }
}
