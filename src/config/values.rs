//! The kinds of value that keys have: strings, durations, paths, counts, lists.
//!
//! *Invariant:* durations are at most a year, so that adding one to a point in time cannot overflow.

use std::fmt::Display;
use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeValue;

use crate::domain::schedule::parse_duration;

use super::fault::Fault;
use super::walk::{Item, Table, type_of};

/// The longest duration that is meant seriously.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);

/// A string value and where it stands.
#[derive(Clone, Copy)]
pub(super) struct Text<'a> {
    pub(super) text: &'a str,
    pub(super) item: Item<'a>,
}

/// Whether a duration may be zero.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Zero {
    Allowed,
    Refused,
}

impl<'a> Table<'a, '_> {
    /// Takes a string.
    pub(super) fn text(&mut self, key: &'static str) -> Option<Text<'a>> {
        let item = self.take(key)?;
        self.as_text(item, key, "a string", "put it in quotes")
    }

    /// Takes a string and reads it.
    pub(super) fn parsed<T, E: Display>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let Text { text, item } = self.text(key)?;
        parse(text).map_err(|reason| self.fault(item.place(), about(key, reason))).ok()
    }

    /// Takes a duration.
    pub(super) fn duration(&mut self, key: &'static str, zero: Zero) -> Option<Duration> {
        let item = self.take(key)?;
        let help = match item.value.get_ref() {
            DeValue::Integer(number) => format!("write it with a unit, as in \"{number}s\""),
            _ => "write for example \"30s\" or \"15m\"".to_owned(),
        };
        let Text { text, .. } = self.as_text(item, key, "a duration in quotes", &help)?;
        match parse_duration(text) {
            Err(reason) => self.fault(item.place(), about(key, reason)),
            Ok(duration) if duration > LONGEST => {
                self.fault(item.place(), format!("{key} {text:?} is too long; at most a year (\"366d\") is allowed"));
            }
            Ok(duration) if duration.is_zero() && zero == Zero::Refused => {
                self.fault(item.place(), format!("{key} {text:?} is too short; write for example \"30s\""));
            }
            Ok(duration) => return Some(duration),
        }
        None
    }

    /// Takes a path; a relative one starts at the folder of the file that it is written in.
    pub(super) fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        let Text { text, item } = self.text(key)?;
        if text.is_empty() || text.contains('\0') {
            self.fault(item.place(), format!("{key} {text:?} is not a path"));
            return None;
        }
        if text.starts_with('~') || text.starts_with('$') {
            let place = item.character(0);
            self.fault(place, format!("{key} {text:?} is taken as it is written; write the whole path"));
            return None;
        }
        Some(item.source.folder.join(text).components().collect())
    }

    /// Takes `true` or `false`.
    pub(super) fn flag(&mut self, key: &'static str) -> Option<bool> {
        let item = self.take(key)?;
        let flag = item.value.get_ref().as_bool();
        if flag.is_none() {
            self.wrong_type(item, key, "true or false", "write true or false, without quotes");
        }
        flag
    }

    /// Takes a whole number of at least one.
    pub(super) fn count(&mut self, key: &'static str) -> Option<u32> {
        let item = self.take(key)?;
        let DeValue::Integer(number) = item.value.get_ref() else {
            self.wrong_type(item, key, "a whole number", "write for example 4, without quotes");
            return None;
        };
        let count = u32::from_str_radix(number.as_str(), number.radix()).ok().filter(|count| *count >= 1);
        if count.is_none() {
            let limit =
                if number.as_str().starts_with('-') || number.as_str() == "0" { "least 1" } else { "most 4294967295" };
            self.fault(item.place(), format!("{key} {number} is out of range; it is at {limit}"));
        }
        count
    }

    /// Takes a list of strings; a single string is a list of one.
    pub(super) fn texts(&mut self, key: &'static str) -> Option<Vec<Text<'a>>> {
        let item = self.take(key)?;
        match item.value.get_ref() {
            DeValue::String(text) => Some(vec![Text { text, item }]),
            DeValue::Array(values) => {
                let items = values.iter().map(|value| Item { value, ..item });
                Some(
                    items.filter_map(|item| self.as_text(item, key, "a list of strings", "put it in quotes")).collect(),
                )
            }
            _ => {
                self.wrong_type(item, key, "a list of strings", "write for example [\"a\", \"b\"]");
                None
            }
        }
    }

    /// Takes a table of strings.
    pub(super) fn text_table(&mut self, key: &'static str) -> Vec<Text<'a>> {
        let Some(item) = self.take(key) else { return Vec::new() };
        let DeValue::Table(table) = item.value.get_ref() else {
            self.wrong_type(item, key, "a table of strings", "write for example { NAME = \"value\" }");
            return Vec::new();
        };
        let items = table.iter().map(|(key, value)| Item { key, value, ..item });
        let read =
            |item: Item<'a>| self.as_text(item, &format!("{key}: {}", item.name()), "a string", "put it in quotes");
        items.filter_map(read).collect()
    }

    fn as_text(&self, item: Item<'a>, key: &str, wanted: &str, help: &str) -> Option<Text<'a>> {
        let text = item.value.get_ref().as_str();
        if text.is_none() {
            self.wrong_type(item, key, wanted, help);
        }
        Some(Text { text: text?, item })
    }

    fn wrong_type(&self, item: Item<'_>, key: &str, wanted: &str, help: &str) {
        let found = type_of(item.value.get_ref());
        let fault = Fault::error(self.says(format!("{key} must be {wanted}, not {found}")));
        self.report.add(fault.at(item.place()).help(help));
    }
}

/// `KEY "value" is …` or `KEY: …`, whichever the reason's beginning asks for.
pub(super) fn about(key: &str, reason: impl Display) -> String {
    let reason = reason.to_string();
    let joint = if reason.starts_with('"') { " " } else { ": " };
    format!("{key}{joint}{reason}")
}

/// A duration as people write it: `1h 30m`.
pub fn written(duration: Duration) -> String {
    let whole = duration.as_millis();
    if whole == 0 {
        return "0s".to_owned();
    }
    let mut left = whole;
    let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
    let parts = units.iter().filter_map(|(unit, length)| {
        let count = left / length;
        left %= length;
        (count > 0).then(|| format!("{count}{unit}"))
    });
    parts.collect::<Vec<_>>().join(" ")
}
