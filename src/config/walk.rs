//! Walks over what the files say: entries, tables, and the fields of tables while they are read.
//!
//! *Invariant:* walking never stops at a fault. What is unusable is reported once and the default stays in its place;
//! the config as a whole is then refused, so that default is never used.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeString, DeValue};

use super::fault::Fault;
use super::inspect::Spot;
use super::key::Key;
use super::log::FaultLog;
use super::quote::shortened;
use super::source::{Location, SourceFile, WIDEST_QUOTED_LINE};

/// A key and its value in a file.
#[derive(Clone, Copy)]
pub(super) struct TomlEntry<'a> {
    pub(super) file: &'a Arc<SourceFile>,
    pub(super) key: &'a Spanned<DeString<'a>>,
    pub(super) value: &'a Spanned<DeValue<'a>>,
}

impl<'a> TomlEntry<'a> {
    pub(super) fn name(&self) -> &'a str {
        self.key.get_ref()
    }

    pub(super) fn key_location(&self) -> Location {
        Location::new(self.file, self.key.span())
    }

    /// The location of the character at byte `at` of the key.
    pub(super) fn key_character(&self, at: usize) -> Location {
        let length = self.name().get(at..).and_then(|rest| rest.chars().next()).map_or(1, char::len_utf8);
        Location::new(self.file, part_of(self.file, self.key.span(), self.name(), at..at + length))
    }

    /// Whether a text of several lines is in the value. Where nobody writes one, a quote is missing, or there is one too many.
    pub(super) fn has_lines(&self) -> bool {
        has_lines(self.value.get_ref())
    }

    /// Reports a fault of something that nobody knows, or that is not what it must be. If it has several lines, they may be
    /// those of something else, and so may be what follows.
    pub(super) fn report(&self, fault: Fault, location: Location, log: &FaultLog) {
        if self.has_lines() { log.add_syntax(fault, location) } else { log.add(fault.at(location)) }
    }

    /// An entry of the table that is the value.
    pub(super) fn entry(&self, name: &str) -> Option<TomlEntry<'a>> {
        let DeValue::Table(table) = self.value.get_ref() else { return None };
        let (key, value) = table.get_key_value(name)?;
        Some(TomlEntry { key, value, ..*self })
    }
}

/// Where a part of `text`, which is written at `span`, stands; all of it where escapes hide which part is meant.
fn part_of(file: &SourceFile, span: Range<usize>, text: &str, part: Range<usize>) -> Range<usize> {
    let written = file.text.get(span.clone()).unwrap_or_default();
    let quoted = |quote: char| written.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote)) == Some(text);
    let first = match () {
        () if quoted('"') || quoted('\'') => span.start + 1,
        () if written == text => span.start,
        () => return span,
    };
    first + part.start..first + part.end
}

/// A table with the keys that it can have.
pub(super) struct TomlTable<'a, 't> {
    /// How messages call it: `watch "web"`; empty for the top of the files.
    title: String,
    keys: &'t [Key],
    entries: BTreeMap<&'a str, TomlEntry<'a>>,
    pub(super) log: &'t FaultLog,
}

impl<'a, 't> TomlTable<'a, 't> {
    pub(super) fn new(
        title: String,
        keys: &'t [Key],
        entries: BTreeMap<&'a str, TomlEntry<'a>>,
        log: &'t FaultLog,
    ) -> Self {
        Self { title, keys, entries, log }
    }

    /// The table that is the value of `entry`; reports a value that is not a table.
    pub(super) fn of(title: String, keys: &'t [Key], entry: TomlEntry<'a>, log: &'t FaultLog) -> Option<Self> {
        let DeValue::Table(table) = entry.value.get_ref() else {
            report_no_table(entry, &title, log);
            return None;
        };
        let entries = table.iter().map(|(key, value)| (&**key.get_ref(), TomlEntry { file: entry.file, key, value }));
        Some(Self::new(title, keys, entries.collect(), log))
    }

    /// The field of a known key, if it is present.
    pub(super) fn field(&self, name: &str) -> Option<TomlField<'a, '_>> {
        let entry = *self.entries.get(name)?;
        let key = *self.keys.iter().find(|key| key.name == name)?;
        Some(TomlField { key, entry, value: entry.value, table: self })
    }

    /// A message about a part of this table.
    pub(super) fn says(&self, text: impl AsRef<str>) -> String {
        let text = text.as_ref();
        if self.title.is_empty() { text.to_owned() } else { format!("{}: {text}", self.title) }
    }
}

/// A known key of a table with its value, while it is read.
#[derive(Clone, Copy)]
pub(super) struct TomlField<'a, 't> {
    pub(super) key: Key,
    pub(super) entry: TomlEntry<'a>,
    /// The value, or one of its elements.
    pub(super) value: &'a Spanned<DeValue<'a>>,
    pub(super) table: &'t TomlTable<'a, 't>,
}

impl<'a> TomlField<'a, '_> {
    pub(super) fn location(&self) -> Location {
        Location::new(self.entry.file, self.value.span()).quoting(self.quotable())
    }

    pub(super) fn key_location(&self) -> Location {
        self.entry.key_location().quoting(self.quotable())
    }

    /// The location of a part of the string value.
    pub(super) fn part(&self, part: Range<usize>) -> Location {
        let (text, span) = (self.value.get_ref().as_str().unwrap_or_default(), self.value.span());
        let span = if part == (0..text.len()) { span } else { part_of(self.entry.file, span, text, part) };
        Location::new(self.entry.file, span).quoting(self.quotable())
    }

    /// The location of the character at byte `at` of the string value.
    pub(super) fn character(&self, at: usize) -> Location {
        let rest = self.value.get_ref().as_str().and_then(|text| text.get(at..)).unwrap_or_default();
        self.part(at..at + rest.chars().next().map_or(1, char::len_utf8))
    }

    /// Key and value as they are written, if they are harmless. A comment cannot stand between them, except within a list
    /// of several lines, and such a list is not quoted.
    fn quotable(&self) -> Option<Range<usize>> {
        let setting = self.entry.key.span().start..self.entry.value.span().end;
        // A long list is not looked through for each of its elements.
        let is_short = setting.len() <= WIDEST_QUOTED_LINE * 4;
        let is_harmless = is_short && self.key.kind.is_harmless() && is_plain(self.entry.value.get_ref());
        is_harmless.then_some(setting)
    }

    pub(super) fn error(&self, text: impl AsRef<str>) -> Fault {
        Fault::error(self.table.says(text)).at(self.location())
    }

    pub(super) fn warning(&self, text: impl AsRef<str>) -> Fault {
        Fault::warning(self.table.says(text)).at(self.location())
    }

    /// How messages call the table with a part of it.
    pub(super) fn says(&self, text: impl AsRef<str>) -> String {
        self.table.says(text)
    }

    /// Where warnings about the value belong that come after the file was read.
    pub(super) fn spot(&self) -> Spot {
        Spot::new(self.says(""), self.location())
    }

    pub(super) fn report(&self, fault: Fault) {
        self.table.log.add(fault);
    }

    pub(super) fn report_missing(&self, fault: Fault) {
        self.table.log.add_missing(fault);
    }
}

/// Whether a value can be quoted: numbers, and strings that neither assign a variable nor name a user or a URL.
fn is_plain(value: &DeValue<'_>) -> bool {
    match value {
        DeValue::Table(_) => false,
        DeValue::Array(values) => values.iter().all(|value| is_plain(value.get_ref())),
        DeValue::String(text) => {
            let is_cron_name = text.starts_with('@');
            !text.contains('=') && !text.contains("://") && !text[usize::from(is_cron_name)..].contains('@')
        }
        _ => true,
    }
}

fn has_lines(value: &DeValue<'_>) -> bool {
    match value {
        DeValue::String(text) => text.contains(['\n', '\r']),
        DeValue::Array(values) => values.iter().any(|value| has_lines(value.get_ref())),
        _ => false,
    }
}

/// Reports that something is not a table, and how a table is written.
pub(super) fn report_no_table(entry: TomlEntry<'_>, title: &str, log: &FaultLog) {
    let help = match entry.name() {
        kind @ ("watch" | "hook") => format!("write [{kind}.NAME]"),
        "registry" => "write [registry.\"HOST\"]".to_owned(),
        name => format!("write {} = {{ … }} or a [table]", shortened(name)),
    };
    let found = type_of(entry.value.get_ref());
    let fault = Fault::error(format!("{title} must be a table, not {found}")).help(help);
    let location = Location::new(entry.file, entry.value.span());
    entry.report(fault, location, log);
}

/// What messages call the type of a value.
pub(super) fn type_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
