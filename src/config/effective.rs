//! The effective config: every value that is in force, and where it comes from.
//!
//! *Invariant:* values come from what the config means, never from the file again. None of them is a secret: the values of a
//! hook's variables are masked, and so are the arguments of its command.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Serialize;
use toml::Value;

use crate::domain::reference::canonical_host;

use super::fault::{Fault, Faults};
use super::hooks::HOOK;
use super::load::{How, loaded_with, smallest};
use super::merged::Merged;
use super::model::Config;
use super::registries::{REGISTRY, default_registry};
use super::retention::RETENTION;
use super::row::Row;
use super::top::TOP;
use super::walk::TomlEntry;
use super::watches::WATCH;

/// All tables of a config, the top of the file first.
#[derive(Debug, Clone)]
pub struct Effective {
    pub tables: Vec<ShownTable>,
    /// What is probably not meant.
    pub warnings: Vec<Fault>,
}

#[derive(Debug, Clone)]
pub struct ShownTable {
    /// `retention`, `watch`, `hook` or `registry`; empty for the top of the file.
    pub kind: &'static str,
    /// Empty where there is only one table of the kind.
    pub name: String,
    /// What is in force, in the order of the keys.
    pub settings: Vec<Setting>,
}

/// A value, and where it comes from.
#[derive(Debug, Clone, Serialize)]
pub struct Setting {
    #[serde(skip)]
    pub key: &'static str,
    /// In the form in which it may be written.
    pub value: Value,
    #[serde(flatten)]
    pub origin: Origin,
}

/// Where a value comes from; lines are counted from 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "from", rename_all = "lowercase")]
pub enum Origin {
    /// The table itself.
    Table { file: String, line: usize },
    /// `[defaults]`.
    Defaults { file: String, line: usize },
    /// Nothing is written.
    Default,
}

/// Reads the config at `path`, and says what is in force.
///
/// # Errors
///
/// The faults of a config that cannot be loaded.
pub fn effective(path: &Path) -> Result<Effective, Faults> {
    let (loaded, tables) = loaded_with(path, How::FIRST, tables)?;
    Ok(Effective { tables, warnings: loaded.warnings })
}

/// The tables of a config that was read from these files.
pub(super) fn tables(config: &Config, merged: &Merged<'_>) -> Vec<ShownTable> {
    let table = |kind: &'static str, name: &str, settings| ShownTable { kind, name: name.to_owned(), settings };
    let top = settings(&TOP, config, |key| origin(merged.of("").get(key).copied()));
    let retention = settings(&RETENTION, &config.retention, |key| origin(merged.of("retention").get(key).copied()));
    let mut tables = vec![table("", "", top), table("retention", "", retention)];
    for (name, watch) in &config.watches {
        let entry = merged.of("watch").get(&**name);
        let settings = settings(&WATCH, &**watch, |key| match entry.and_then(|entry| entry.entry(key)) {
            Some(own) => origin(Some(own)),
            None => match origin(merged.of("defaults").get(key).copied()) {
                Origin::Table { file, line } => Origin::Defaults { file, line },
                other => other,
            },
        });
        tables.push(table("watch", name, settings));
    }
    for (name, hook) in &config.hooks {
        let entry = merged.of("hook").get(&**name);
        let settings = settings(&HOOK, &**hook, |key| origin(entry.and_then(|entry| entry.entry(key))));
        tables.push(table("hook", name, settings));
    }
    // Those with a table, and those that are asked without one.
    let asked = config.watches.values().map(|watch| watch.key.question.repository.registry());
    let hosts: BTreeSet<&str> = config.registries.keys().map(String::as_str).chain(asked).collect();
    let named = merged.of("registry").values().filter_map(|entry| Some((canonical_host(entry.name()).ok()?, *entry)));
    let named: BTreeMap<String, TomlEntry<'_>> = named.collect();
    for host in hosts {
        let registry = config.registries.get(host).cloned().unwrap_or_else(|| default_registry(host));
        let entry = named.get(host);
        let settings = settings(&REGISTRY, &registry, |key| origin(entry.and_then(|entry| entry.entry(key))));
        tables.push(table("registry", host, settings));
    }
    tables
}

fn settings<D, T>(rows: &[Row<D, T>], of: &T, origin: impl Fn(&'static str) -> Origin) -> Vec<Setting> {
    let show = |row: &Row<D, T>| Some(Setting { key: row.name, value: (row.show)(of)?, origin: origin(row.name) });
    rows.iter().filter_map(show).collect()
}

fn origin(entry: Option<TomlEntry<'_>>) -> Origin {
    entry.map_or(Origin::Default, |entry| {
        let location = entry.key_location();
        Origin::Table { file: location.path().display().to_string(), line: location.line() }
    })
}

/// The default of each key of these tables that has one.
pub(super) fn defaults_of(kind: &str) -> Vec<(&'static str, Value)> {
    let found = smallest(tables).into_iter().find(|table| table.kind == kind);
    let settings = found.map(|table| table.settings).unwrap_or_default();
    let defaults = settings.into_iter().filter(|setting| setting.origin == Origin::Default);
    defaults.map(|setting| (setting.key, setting.value)).collect()
}

impl ShownTable {
    /// What is in force and has a meaning: for an interval, neither jitter nor time zone have one.
    pub fn meaningful(&self) -> impl Iterator<Item = &Setting> {
        let is_cron = self.settings.iter().any(|setting| setting.key == "timezone");
        self.settings.iter().filter(move |setting| self.kind != "watch" || setting.key != "jitter" || is_cron)
    }

    /// `[watch.web]`, with quotes where the name needs them.
    pub fn header(&self) -> String {
        let is_bare = self.name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        let name = if is_bare { self.name.clone() } else { format!("{:?}", self.name) };
        match (self.kind, self.name.as_str()) {
            ("", _) => String::new(),
            (kind, "") => format!("[{kind}]"),
            (kind, _) => format!("[{kind}.{name}]"),
        }
    }
}
