//! Walks over what the files say: takes keys out of tables, and reports what is wrong or left over.
//!
//! *Invariant:* walking never stops at a fault. What is unusable is reported once and reads as absent; the config as a
//! whole is then refused, so the value that takes its place is never used.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeString, DeValue};

use super::fault::{Fault, Level};
use super::keys::Section;
use super::source::{Place, Source};
use super::unknown;

/// Gathers the faults of all files.
#[derive(Default)]
pub(super) struct Report {
    faults: RefCell<Vec<Fault>>,
    /// Lines with a syntax error, as file and line: what was recovered from them says nothing.
    broken: RefCell<HashSet<(usize, usize)>>,
    torn: Cell<bool>,
}

impl Report {
    pub(super) fn add(&self, fault: Fault) {
        let broken = fault.place().is_some_and(|place| self.broken.borrow().contains(&(place.order().0, place.line())));
        if !broken {
            self.faults.borrow_mut().push(fault);
        }
    }

    /// Adds a syntax error; what is missing from here on may stand in what could not be read.
    pub(super) fn add_syntax(&self, fault: Fault) {
        self.torn.set(true);
        if let Some(place) = fault.place() {
            let new = self.broken.borrow_mut().insert((place.order().0, place.line()));
            if !new {
                return;
            }
        }
        self.faults.borrow_mut().push(fault);
    }

    /// Whether parts could not be read, so that nothing can be said of what is absent.
    pub(super) fn is_torn(&self) -> bool {
        self.torn.get()
    }

    /// Adds a fault about something that is absent; says nothing if it may stand in what could not be read.
    pub(super) fn add_missing(&self, fault: Fault) {
        if !self.is_torn() {
            self.add(fault);
        }
    }

    /// Whether nothing was refused so far.
    pub(super) fn is_clean(&self) -> bool {
        self.faults.borrow().iter().all(|fault| fault.level() == Level::Warning)
    }

    /// The faults in the order of the files: errors, and warnings.
    pub(super) fn finish(self) -> (Vec<Fault>, Vec<Fault>) {
        let mut faults = self.faults.into_inner();
        faults.sort_by_key(|fault| fault.place().map(Place::order));
        faults.into_iter().partition(|fault| fault.level() == Level::Error)
    }
}

/// A key and its value in a file.
#[derive(Clone, Copy)]
pub(super) struct Item<'a> {
    pub(super) source: &'a Arc<Source>,
    pub(super) key: &'a Spanned<DeString<'a>>,
    pub(super) value: &'a Spanned<DeValue<'a>>,
}

impl<'a> Item<'a> {
    pub(super) fn name(&self) -> &'a str {
        self.key.get_ref()
    }

    pub(super) fn place(&self) -> Place {
        Place::new(self.source, self.value.span())
    }

    pub(super) fn key_place(&self) -> Place {
        Place::new(self.source, self.key.span())
    }

    /// The place of the character at byte `at` of the string value.
    pub(super) fn character(&self, at: usize) -> Place {
        let length = self.text().get(at..).and_then(|rest| rest.chars().next()).map_or(1, char::len_utf8);
        self.part(at..at + length)
    }

    /// The place of a part of the string value.
    pub(super) fn part(&self, part: Range<usize>) -> Place {
        if part == (0..self.text().len()) {
            return self.place();
        }
        place_in(self.source, self.value.span(), self.text(), part)
    }

    /// The place of the character at byte `at` of the key.
    pub(super) fn key_character(&self, at: usize) -> Place {
        let length = self.name().get(at..).and_then(|rest| rest.chars().next()).map_or(1, char::len_utf8);
        place_in(self.source, self.key.span(), self.name(), at..at + length)
    }

    /// A key of the table that is the value.
    pub(super) fn key_of(&self, name: &str) -> Option<Item<'a>> {
        let DeValue::Table(table) = self.value.get_ref() else { return None };
        let (key, value) = table.get_key_value(name)?;
        Some(Item { key, value, ..*self })
    }

    fn text(&self) -> &'a str {
        self.value.get_ref().as_str().unwrap_or_default()
    }
}

/// The place of a part of `text`, which stands at `span`; all of it where escapes hide which part is meant.
fn place_in(source: &Arc<Source>, span: Range<usize>, text: &str, part: Range<usize>) -> Place {
    let written = source.text.get(span.clone()).unwrap_or_default();
    let quoted = |quote: char| written.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote)) == Some(text);
    let first = match () {
        () if quoted('"') || quoted('\'') => span.start + 1,
        () if written == text => span.start,
        () => return Place::new(source, span),
    };
    Place::new(source, first + part.start..first + part.end)
}

/// A table of which each key is taken once; what is left over is unknown.
pub(super) struct Table<'a, 'r> {
    /// How messages call it: `watch "web"`; empty for the top of the files.
    title: String,
    section: &'static Section,
    items: BTreeMap<&'a str, Item<'a>>,
    pub(super) report: &'r Report,
}

impl<'a, 'r> Table<'a, 'r> {
    pub(super) fn new(
        title: String,
        section: &'static Section,
        items: BTreeMap<&'a str, Item<'a>>,
        report: &'r Report,
    ) -> Self {
        Self { title, section, items, report }
    }

    /// The table that is the value of `item`; reports one that is not a table, with the remedy.
    pub(super) fn of(title: String, section: &'static Section, item: Item<'a>, report: &'r Report) -> Option<Self> {
        let DeValue::Table(table) = item.value.get_ref() else {
            report.add(not_a_table(item, &title));
            return None;
        };
        let items = table.iter().map(|(key, value)| (&**key.get_ref(), Item { source: item.source, key, value }));
        Some(Self::new(title, section, items.collect(), report))
    }

    /// Takes a key out, whatever its value is.
    pub(super) fn take(&mut self, key: &'static str) -> Option<Item<'a>> {
        debug_assert!(self.section.has(key), "{key} is not among the keys of {}", self.section.header);
        self.items.remove(key)
    }

    /// Looks at a key that is taken later.
    pub(super) fn peek(&self, key: &'static str) -> Option<Item<'a>> {
        self.items.get(key).copied()
    }

    /// A message about a part of this table.
    pub(super) fn says(&self, text: impl AsRef<str>) -> String {
        let text = text.as_ref();
        if self.title.is_empty() { text.to_owned() } else { format!("{}: {text}", self.title) }
    }

    /// Reports a fault in this table.
    pub(super) fn fault(&self, place: Place, text: impl AsRef<str>) {
        self.report.add(Fault::error(self.says(text)).at(place));
    }

    /// Reports a fault in this table, with a remedy of its own.
    pub(super) fn fault_with(&self, place: Place, text: impl AsRef<str>, help: impl Into<String>) {
        self.report.add(Fault::error(self.says(text)).at(place).help(help));
    }

    /// Reports the keys that nobody took.
    pub(super) fn finish(self) {
        for item in self.items.values() {
            let help = unknown::help(*item, self.section, &self.title);
            self.fault_with(item.key_place(), format!("unknown key {:?}", item.name()), help);
        }
    }
}

/// That something is no table, and how one is written.
pub(super) fn not_a_table(item: Item<'_>, title: &str) -> Fault {
    let help = match item.name() {
        kind @ ("watch" | "hook") => format!("write [{kind}.NAME]"),
        "registry" => "write [registry.\"HOST\"]".to_owned(),
        name => format!("write {name} = {{ … }} or a [table]"),
    };
    let found = type_of(item.value.get_ref());
    Fault::error(format!("{title} must be a table, not {found}")).at(item.place()).help(help)
}

/// What a value is, for messages.
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
