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
use super::source::Source;
use super::values::Zero;
use super::walk::{Item, Report, Table, not_a_table};
use super::{Config, Loaded, defaults, demand, hooks, keys, read, registries, retention, syntax, watches};

/// Reads the file and `conf.d/*.toml` beside it, sorted by name.
///
/// # Errors
///
/// Every fault of all files at once: errors, then warnings, each in the order of the files and their lines.
pub fn load(path: &Path) -> Result<Loaded, Faults> {
    load_in(path, &Surroundings::of_process())
}

/// Where a config that may have faults says that the state is: for telling the agent that works on it.
pub fn state_of(path: &Path) -> Option<std::path::PathBuf> {
    let (around, report) = (Surroundings::of_process(), Report::default());
    let sources = read::read_all(path, &around, &report);
    let tables: Vec<DeTable<'_>> = sources.iter().map(|source| syntax::parse(source, &report)).collect();
    let mut sections = Sections::default();
    for (source, table) in sources.iter().zip(&tables) {
        sections.add(source, table, &report);
    }
    state(path, &mut Table::new(String::new(), &keys::TOP, sections.top, &report), &around)
}

fn state(path: &Path, top: &mut Table<'_, '_>, around: &Surroundings) -> Option<std::path::PathBuf> {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    top.path("state").or_else(|| around.state(&absolute))
}

/// Where the reading routes stand, beside the socket.
fn listen(top: &mut Table<'_, '_>) -> Option<std::net::SocketAddr> {
    let item = top.peek("listen")?;
    let read = |text: &str| {
        let wrong = |_| format!("{text:?} is not an address with a port; write for example \"127.0.0.1:9464\"");
        text.parse::<std::net::SocketAddr>().map_err(wrong)
    };
    let address = top.parsed("listen", read)?;
    if !address.ip().to_canonical().is_loopback() {
        let fault = Fault::warning(format!("listen \"{address}\" can be reached from outside, without a password"));
        let help = "names of images and hooks can be read there; use \"127.0.0.1:PORT\", or see to it with a firewall";
        top.report.add(fault.at(item.place()).help(help));
    }
    Some(address)
}

pub(super) fn load_in(path: &Path, around: &Surroundings) -> Result<Loaded, Faults> {
    load_with(path, around, |_, _| ()).map(|(loaded, ())| loaded)
}

/// Reads the files, and has `look` see what the config means beside where each key stands.
pub(super) fn load_with<T>(
    path: &Path,
    around: &Surroundings,
    look: impl FnOnce(&Config, &Sections<'_>) -> T,
) -> Result<(Loaded, T), Faults> {
    let report = Report::default();
    let sources = read::read_all(path, around, &report);
    let found = understand(path, &sources, around, &report, look);
    let (mut errors, mut warnings) = report.finish();
    match found {
        Some((config, seen)) if errors.is_empty() => Ok((Loaded { config, warnings }, seen)),
        _ => {
            errors.append(&mut warnings);
            Err(Faults(errors))
        }
    }
}

/// A config that says as little as it can, so that all else in it is a default.
const SMALLEST: &str = "state = '/'\n[watch.w]\nimage = 'w'\n[hook.h]\ncommand = 'true'\n[registry.r]\n";

/// Has `look` see the smallest config.
pub(super) fn smallest<T: Default>(look: impl FnOnce(&Config, &Sections<'_>) -> T) -> T {
    let path = Path::new("/smallest");
    let sources = [Arc::new(Source::new(path, 0, SMALLEST.to_owned()))];
    let found = understand(path, &sources, &Surroundings::default(), &Report::default(), look);
    found.map(|(_, seen)| seen).unwrap_or_default()
}

fn understand<T>(
    path: &Path,
    sources: &[Arc<Source>],
    around: &Surroundings,
    report: &Report,
    look: impl FnOnce(&Config, &Sections<'_>) -> T,
) -> Option<(Config, T)> {
    let tables: Vec<DeTable<'_>> = sources.iter().map(|source| syntax::parse(source, report)).collect();
    let mut sections = Sections::default();
    for (source, table) in sources.iter().zip(&tables) {
        sections.add(source, table, report);
    }
    let config = read_sections(path, &sections, around, report)?;
    let seen = look(&config, &sections);
    Some((config, seen))
}

fn read_sections(path: &Path, sections: &Sections<'_>, around: &Surroundings, report: &Report) -> Option<Config> {
    let mut top = Table::new(String::new(), &keys::TOP, sections.top.clone(), report);
    let state = state(path, &mut top, around);
    let socket = top.path("socket");
    let listen = listen(&mut top);
    let shutdown_grace = top.duration("shutdown_grace", Zero::Allowed).unwrap_or(defaults::SHUTDOWN_GRACE);
    top.finish();
    if state.is_none() {
        let fault = Fault::error("there is no place for the state: $STATE_DIRECTORY and $HOME are not set");
        report.add_missing(fault.help("write state = \"/path\" into the config"));
    }

    let hooks = hooks::read(&sections.hooks, around, report);
    let names = hooks.names.clone();
    let defaults_table = Table::new("defaults".to_owned(), &keys::DEFAULTS, sections.defaults.clone(), report);
    let read = watches::read(&sections.watches, defaults_table, names, around);
    let registries = registries::read(&sections.registries, report);
    // What is amiss elsewhere may be why these look forgotten or too eager.
    if report.is_clean() {
        if read.watches.is_empty() {
            report.add(Fault::warning("the config has no watches").help("add one: [watch.NAME] with an image"));
        }
        hooks.warn_of_unused(&read.used, report);
        registries.warn_of_unused(&read.watches, report);
        demand::warn(&read.watches, &sections.watches, &registries.registries, report);
    }
    let retention = retention::read(&sections.retention, report);
    let (watches, hooks, registries) = (read.watches, hooks.hooks, registries.registries);
    Some(Config { state: state?, socket, listen, shutdown_grace, retention, watches, hooks, registries })
}

/// What all files say, by section; a name that stands in two files is reported and the first one kept.
#[derive(Default)]
pub(super) struct Sections<'a> {
    pub(super) top: BTreeMap<&'a str, Item<'a>>,
    pub(super) defaults: BTreeMap<&'a str, Item<'a>>,
    pub(super) retention: BTreeMap<&'a str, Item<'a>>,
    pub(super) watches: BTreeMap<&'a str, Item<'a>>,
    pub(super) hooks: BTreeMap<&'a str, Item<'a>>,
    pub(super) registries: BTreeMap<&'a str, Item<'a>>,
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
