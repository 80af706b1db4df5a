//! What all files say together, by section.

use std::collections::BTreeMap;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::log::FaultLog;
use super::names::defined_twice;
use super::sections;
use super::source::SourceFile;
use super::walk::{TomlEntry, report_no_table};

/// The keys of a section, or its tables by name.
pub(super) type Entries<'a> = BTreeMap<&'a str, TomlEntry<'a>>;

#[derive(Default)]
pub(super) struct Merged<'a>(BTreeMap<&'static str, Entries<'a>>);

impl<'a> Merged<'a> {
    /// Adds what a file says. A name that stands in an earlier file is reported, and the first one stays.
    pub(super) fn add(&mut self, file: &'a Arc<SourceFile>, table: &'a DeTable<'a>, log: &FaultLog) {
        for (key, value) in table {
            let entry = TomlEntry { file, key, value };
            let Some(section) = sections::tables().find(|section| section.kind == entry.name()) else {
                self.insert("", entry, log);
                continue;
            };
            let DeValue::Table(inner) = value.get_ref() else {
                report_no_table(entry, entry.name(), log);
                continue;
            };
            for (key, value) in inner {
                self.insert(section.kind, TomlEntry { file, key, value }, log);
            }
        }
    }

    pub(super) fn of(&self, kind: &str) -> &Entries<'a> {
        const NONE: &Entries<'_> = &BTreeMap::new();
        self.0.get(kind).unwrap_or(NONE)
    }

    fn insert(&mut self, kind: &'static str, entry: TomlEntry<'a>, log: &FaultLog) {
        let entries = self.0.entry(kind).or_default();
        if let Some(first) = entries.get(entry.name()) {
            let fault = defined_twice(kind, entry.name()).at(entry.key_location());
            log.add(fault.again_after(Some(first.key_location())));
        } else {
            entries.insert(entry.name(), entry);
        }
    }
}
