//! All files → one config, or every fault of all of them.
//!
//! *Invariant:* a config is returned only if there was no error; what stands in the place of a faulty value is never
//! used.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::DeTable;

use super::fault::{Fault, Faults};
use super::find::Environment;
use super::log::FaultLog;
use super::merged::Merged;
use super::model::{Config, Loaded};
use super::source::SourceFile;
use super::{demand, files, hooks, parse, registries, retention, top, unknown, watches};

/// Reads the file and `conf.d/*.toml` beside it, sorted by name.
///
/// # Errors
///
/// Every fault of all files at once: errors, then warnings, each in the order of the files and their lines.
pub fn load(path: &Path) -> Result<Loaded, Faults> {
    load_in(path, &Environment::of_process())
}

/// The state directory of a config that may have faults: for telling them to the agent that works on it.
pub fn state_directory(path: &Path) -> Option<PathBuf> {
    let (environment, log) = (Environment::of_process(), FaultLog::default());
    let files = files::read_all(path, &environment, &log);
    let find = |merged: &Merged<'_>| top::read(path, merged.of(""), &environment, &log).state;
    Some(merge(&files, &log, find)).filter(|state| !state.as_os_str().is_empty())
}

pub(super) fn load_in(path: &Path, environment: &Environment) -> Result<Loaded, Faults> {
    load_with(path, environment, |_, _| ()).map(|(loaded, ())| loaded)
}

/// Loads a config, and has `look` see what it means together with where each key stands.
pub(super) fn load_with<T>(
    path: &Path,
    environment: &Environment,
    look: impl FnOnce(&Config, &Merged<'_>) -> T,
) -> Result<(Loaded, T), Faults> {
    let log = FaultLog::default();
    let files = files::read_all(path, environment, &log);
    let (config, seen) = understand(path, &files, environment, &log, look);
    let (mut errors, mut warnings) = log.finish();
    if errors.is_empty() {
        return Ok((Loaded { config, warnings }, seen));
    }
    errors.append(&mut warnings);
    Err(Faults(errors))
}

/// Says as little as a config can that has a table of each kind, so that all else in it is a default.
const SMALLEST: &str = "state = '/'\n[watch.w]\nimage = 'w'\n[hook.h]\ncommand = 'true'\n[registry.r]\n";

/// Has `look` see the smallest config.
pub(super) fn smallest<T>(look: impl FnOnce(&Config, &Merged<'_>) -> T) -> T {
    let path = Path::new("/smallest");
    let files = [Arc::new(SourceFile::new(path, 0, SMALLEST.to_owned()))];
    understand(path, &files, &Environment::default(), &FaultLog::default(), look).1
}

fn understand<T>(
    path: &Path,
    files: &[Arc<SourceFile>],
    environment: &Environment,
    log: &FaultLog,
    look: impl FnOnce(&Config, &Merged<'_>) -> T,
) -> (Config, T) {
    merge(files, log, |merged| {
        let config = read_sections(path, merged, environment, log);
        let seen = look(&config, merged);
        (config, seen)
    })
}

fn merge<T>(files: &[Arc<SourceFile>], log: &FaultLog, look: impl FnOnce(&Merged<'_>) -> T) -> T {
    let tables: Vec<DeTable<'_>> = files.iter().map(|file| parse::parse(file, log)).collect();
    let mut merged = Merged::default();
    for (file, table) in files.iter().zip(&tables) {
        merged.add(file, table, log);
    }
    look(&merged)
}

fn read_sections(path: &Path, merged: &Merged<'_>, environment: &Environment, log: &FaultLog) -> Config {
    unknown::report(merged, log);
    let mut config = top::read(path, merged.of(""), environment, log);
    config.retention = retention::read(merged.of("retention"), log);
    config.hooks = hooks::read(merged.of("hook"), environment, log);
    config.registries = registries::read(merged.of("registry"), log);
    let names = config.hooks.keys().cloned().collect();
    let found = watches::read(merged.of("watch"), merged.of("defaults"), names, environment, log);
    config.watches = found.watches;
    // An error elsewhere may be why these look unused or asked too often.
    if log.is_clean() {
        if config.watches.is_empty() {
            log.add(Fault::warning("the config has no watches").help("add one: [watch.NAME] with an image"));
        }
        hooks::warn_of_unused(merged.of("hook"), &found.used_hooks, log);
        registries::warn_of_unused(merged.of("registry"), &config.watches, log);
        demand::warn(&config.watches, merged.of("watch"), &config.registries, log);
    }
    config
}
