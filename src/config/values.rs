//! The values that fields can have: strings, durations, paths, flags, counts, lists.
//!
//! *Invariant:* durations are at most a year, so that adding one to a point in time cannot overflow. A URL with a user
//! or a query gets no further than this file, because later messages would show it.

use std::fmt::Display;
use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeValue;

use crate::domain::schedule::parse_duration;

use super::fault::Fault;
use super::quote::{quoted, shortened};
use super::source::Location;
use super::walk::{TomlEntry, TomlField, type_of};

/// A longer duration is a mistake.
const LONGEST_DURATION: Duration = Duration::from_secs(366 * 86_400);

/// Whether a duration may be zero.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Zero {
    Allowed,
    Refused,
}

impl<'a> TomlField<'a, '_> {
    pub(super) fn text(&self) -> Option<&'a str> {
        self.string(self.key.name, "a string", "put it in quotes")
    }

    /// Reads the string with `parse`, whose error says what is wrong with it.
    pub(super) fn parsed<T, E: Display>(&self, parse: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        parse(self.text()?).map_err(|reason| self.refuse(about(self.key.name, reason))).ok()
    }

    pub(super) fn duration(&self, zero: Zero) -> Option<Duration> {
        let help = match self.value.get_ref() {
            DeValue::Integer(number) => format!("write it with a unit, as in \"{}s\"", shortened(number.as_str())),
            _ => "write for example \"30s\" or \"15m\"".to_owned(),
        };
        let key = self.key.name;
        let text = self.string(key, "a duration in quotes", &help)?;
        match parse_duration(text) {
            Err(reason) => self.refuse(about(key, reason)),
            Ok(duration) if duration > LONGEST_DURATION => {
                self.refuse(format!("{key} {} is too long; at most a year (\"366d\") is allowed", quoted(text)));
            }
            Ok(duration) if duration.is_zero() && zero == Zero::Refused => {
                self.refuse(format!("{key} {} is too short; write for example \"30s\"", quoted(text)));
            }
            Ok(duration) => return Some(duration),
        }
        None
    }

    /// A path; a relative one starts at the folder of the file that it is written in.
    pub(super) fn path(&self) -> Option<PathBuf> {
        let (key, text) = (self.key.name, self.text()?);
        if text.is_empty() || text.contains('\0') {
            self.refuse(format!("{key} {} is not a path", quoted(text)));
            return None;
        }
        if text.starts_with('~') || text.starts_with('$') {
            let fault = self.error(format!("{key} {} is taken as it is written; write the whole path", quoted(text)));
            self.report(fault.at(self.character(0)));
            return None;
        }
        Some(self.entry.file.folder.join(text).components().collect())
    }

    pub(super) fn flag(&self) -> Option<bool> {
        let flag = self.value.get_ref().as_bool();
        if flag.is_none() {
            self.wrong_type(self.key.name, "true or false", "write true or false, without quotes");
        }
        flag
    }

    pub(super) fn count(&self) -> Option<u32> {
        let DeValue::Integer(number) = self.value.get_ref() else {
            self.wrong_type(self.key.name, "a whole number", "write for example 4, without quotes");
            return None;
        };
        let count = u32::from_str_radix(number.as_str(), number.radix()).ok().filter(|count| *count >= 1);
        if count.is_none() {
            let is_low = number.as_str().starts_with('-') || number.as_str() == "0";
            let limit = if is_low { "least 1" } else { "most 4294967295" };
            self.refuse(format!(
                "{} {} is out of range; it is at {limit}",
                self.key.name,
                shortened(&number.to_string())
            ));
        }
        count
    }

    /// A list of strings, each with its own field; a single string is a list of one.
    pub(super) fn texts(&self) -> Option<Vec<(&'a str, Self)>> {
        let elements: Vec<Self> = match self.value.get_ref() {
            DeValue::String(_) => vec![*self],
            DeValue::Array(values) => values.iter().map(|value| Self { value, ..*self }).collect(),
            _ => {
                self.wrong_type(self.key.name, "a list of strings", "write for example [\"a\", \"b\"]");
                return None;
            }
        };
        let text = |field: Self| Some((field.string(self.key.name, "a list of strings", "put it in quotes")?, field));
        Some(elements.into_iter().filter_map(text).collect())
    }

    /// A table of strings.
    pub(super) fn variables(&self) -> Option<Vec<(&'a str, Self)>> {
        let DeValue::Table(table) = self.value.get_ref() else {
            self.wrong_type(self.key.name, "a table of strings", "write for example { NAME = \"value\" }");
            return None;
        };
        let text = |(key, value)| {
            let field = Self { entry: TomlEntry { key, value, ..self.entry }, value, ..*self };
            let label = format!("{}: {}", self.key.name, shortened(field.entry.name()));
            Some((field.string(&label, "a string", "put it in quotes")?, field))
        };
        Some(table.iter().filter_map(text).collect())
    }

    /// Reports an error at the value.
    pub(super) fn refuse(&self, text: impl AsRef<str>) {
        self.report(self.error(text));
    }

    fn string(&self, label: &str, wanted: &str, help: &str) -> Option<&'a str> {
        let Some(text) = self.value.get_ref().as_str() else {
            self.wrong_type(label, wanted, help);
            return None;
        };
        let has_secret = text.split_once("://").is_some_and(|(_, rest)| rest.contains(['@', '?', '#']));
        if self.key.kind.is_harmless() && has_secret {
            let fault = self.error(format!("{label}: a URL with a user, a password or a query is not accepted"));
            self.report(fault.help("leave these out; a login is written into a [registry.\"HOST\"]"));
            return None;
        }
        let longest = self.key.kind.longest().unwrap_or(usize::MAX);
        let length = text.chars().count();
        if length > longest {
            self.refuse(format!("{label} is at most {longest} characters long, and this is {length}"));
        }
        (length <= longest).then_some(text)
    }

    /// Refuses a text of several lines where there is one at most, without quoting it: with a quote that is missing, it is
    /// what follows in the file.
    pub(super) fn is_one_line(&self) -> bool {
        let is_one_line = self.key.kind.longest().is_none() || !self.entry.has_lines();
        if !is_one_line {
            let fault = Fault::error(self.says(format!("{} is one line, and this is several", self.key.name)));
            let help = "a quote may be missing, or there is one too many, here or above";
            self.table.log.add_syntax(fault.help(help), Location::new(self.entry.file, self.value.span()));
        }
        is_one_line
    }

    fn wrong_type(&self, label: &str, wanted: &str, help: &str) {
        let found = type_of(self.value.get_ref());
        self.report(self.error(format!("{label} must be {wanted}, not {found}")).help(help));
    }
}

/// `KEY "value" is …` or `KEY: …`, depending on how the reason begins.
pub(super) fn about(key: &str, reason: impl Display) -> String {
    let reason = reason.to_string();
    let joint = if reason.starts_with('"') { " " } else { ": " };
    format!("{key}{joint}{reason}")
}
