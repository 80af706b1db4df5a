//! All files → one config, or every fault of all of them.
//!
//! *Invariant:* a config is returned only if there was no error; what was put in the place of a faulty value is never
//! used.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::fault::{Fault, Faults};
use super::find::Surroundings;
use super::source::{Place, Source};
use super::values::Zero;
use super::walk::{Item, Report, Table, not_a_table};
use super::{Config, Loaded, defaults, hooks, read, registries, retention, watches};

/// Reads the file and `conf.d/*.toml` beside it, sorted by name.
///
/// # Errors
///
/// Every fault of all files at once, in the order of the files and their lines.
pub fn load(path: &Path) -> Result<Loaded, Faults> {
    load_in(path, &Surroundings::of_process())
}

/// Where a config that may have faults says that the state is: for telling the agent that works on it.
pub fn state_of(path: &Path) -> Option<std::path::PathBuf> {
    let report = Report::default();
    let sources = read::read_all(path, &report);
    let tables: Vec<DeTable<'_>> = sources.iter().map(|source| parse(source, &report)).collect();
    let mut sections = Sections::default();
    for (source, table) in sources.iter().zip(&tables) {
        sections.add(source, table, &report);
    }
    let mut top = Table::new(String::new(), sections.top, &report);
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    top.path("state").or_else(|| Surroundings::of_process().state(&absolute))
}

pub(super) fn load_in(path: &Path, around: &Surroundings) -> Result<Loaded, Faults> {
    let report = Report::default();
    let sources = read::read_all(path, &report);
    let config = understand(path, &sources, around, &report);
    let (errors, warnings) = report.finish();
    match config {
        Some(config) if errors.is_empty() => Ok(Loaded { config, warnings }),
        _ => Err(Faults(errors)),
    }
}

fn understand(path: &Path, sources: &[Arc<Source>], around: &Surroundings, report: &Report) -> Option<Config> {
    let tables: Vec<DeTable<'_>> = sources.iter().map(|source| parse(source, report)).collect();
    let mut sections = Sections::default();
    for (source, table) in sources.iter().zip(&tables) {
        sections.add(source, table, report);
    }
    let mut top = Table::new(String::new(), sections.top, report);
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let state = top.path("state").or_else(|| around.state(&absolute));
    let socket = top.path("socket");
    let shutdown_grace = top.duration("shutdown_grace", Zero::Allowed).unwrap_or(defaults::SHUTDOWN_GRACE);
    for kind in KINDS {
        top.take(kind);
    }
    top.finish();
    if state.is_none() {
        let fault = Fault::error("there is no place for the state: $STATE_DIRECTORY and $HOME are not set");
        report.add_missing(fault.help("write state = \"/path\" into the config"));
    }

    let hooks = hooks::read(sections.hooks, around, report);
    let names = hooks.names.clone();
    let defaults_table = Table::new("defaults".to_owned(), sections.defaults, report);
    let read = watches::read(sections.watches, defaults_table, names, around);
    hooks.warn_of_unused(&read.used, report);
    if read.watches.is_empty() {
        report.add_missing(Fault::warning("the config has no watches").help("add one: [watch.NAME] with an image"));
    }
    let registries = registries::read(sections.registries, report);
    let retention = retention::read(sections.retention, report);
    let (watches, hooks) = (read.watches, hooks.hooks);
    Some(Config { state: state?, socket, shutdown_grace, retention, watches, hooks, registries })
}

fn parse<'a>(source: &'a Arc<Source>, report: &Report) -> DeTable<'a> {
    let (table, errors) = DeTable::parse_recoverable(&source.text);
    for error in errors {
        let end = source.text.len();
        let place = Place::new(source, error.span().unwrap_or(end..end));
        report.add_syntax(Fault::error(format!("this is not TOML: {}", error.message())).at(place));
    }
    table.into_inner()
}

/// The tables of the files.
const KINDS: [&str; 5] = ["defaults", "retention", "watch", "hook", "registry"];

/// What all files say, by section; a name that stands in two files is reported and the first one kept.
#[derive(Default)]
struct Sections<'a> {
    top: BTreeMap<&'a str, Item<'a>>,
    defaults: BTreeMap<&'a str, Item<'a>>,
    retention: BTreeMap<&'a str, Item<'a>>,
    watches: BTreeMap<&'a str, Item<'a>>,
    hooks: BTreeMap<&'a str, Item<'a>>,
    registries: BTreeMap<&'a str, Item<'a>>,
}

impl<'a> Sections<'a> {
    fn add(&mut self, source: &'a Arc<Source>, table: &'a DeTable<'a>, report: &Report) {
        for (key, value) in table {
            let item = Item { source, key, value };
            let section = match item.name() {
                "defaults" => &mut self.defaults,
                "retention" => &mut self.retention,
                "watch" => &mut self.watches,
                "hook" => &mut self.hooks,
                "registry" => &mut self.registries,
                _ => {
                    insert(&mut self.top, item, "", report);
                    continue;
                }
            };
            let DeValue::Table(names) = value.get_ref() else {
                report.add(not_a_table(item, item.name()));
                continue;
            };
            for (key, value) in names {
                insert(section, Item { source, key, value }, item.name(), report);
            }
        }
    }
}

fn insert<'a>(section: &mut BTreeMap<&'a str, Item<'a>>, item: Item<'a>, kind: &str, report: &Report) {
    let Some(first) = section.get(item.name()) else {
        section.insert(item.name(), item);
        return;
    };
    let message = match kind {
        "" => format!("{} is set twice", item.name()),
        "defaults" | "retention" => format!("{kind}: {} is set twice", item.name()),
        kind => format!("{kind} {:?} is defined twice", item.name()),
    };
    report.add(Fault::error(message).at(item.key_place()).again_after(first.key_place()));
}
