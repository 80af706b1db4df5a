//! All files → one config, or every fault of all of them.
//!
//! *Invariant:* a config is returned only if there was no error; what stands in the place of a faulty value is never
//! used.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use toml::de::DeTable;

use super::fault::{Fault, Faults};
use super::files::Main;
use super::find::Environment;
use super::inspect::inspect;
use super::log::FaultLog;
use super::merged::Merged;
use super::model::{Config, Loaded};
use super::source::SourceFile;
use super::wait::wait;
use super::{demand, files, hooks, parse, registries, retention, top, unknown, watches};
use crate::bounded::CONFIG;

/// How long reading and understanding all files may take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// How a config is read.
#[derive(Clone, Copy)]
pub(super) struct How {
    main: Main,
    /// Whether the files that it names are looked at, for the warnings.
    inspects: bool,
}

impl How {
    /// At the start, and for those who want to see the warnings.
    pub(super) const FIRST: Self = Self { main: Main::FileOrPipe, inspects: true };
    /// By an agent that runs: a pipe can be read only once.
    const AGAIN: Self = Self { main: Main::File, inspects: true };
    /// For what it means. A file that does not answer would keep even the end of the process.
    const WITHOUT_WARNINGS: Self = Self { main: Main::FileOrPipe, inspects: false };
}

/// Reads the file, or pipe, and `conf.d/*.toml` beside it, sorted by name. Waits on this thread, outside of a runtime.
///
/// # Errors
///
/// Every fault of all files at once: errors, then warnings, each in the order of the files and their lines.
pub fn load(path: &Path) -> Result<Loaded, Faults> {
    loaded_with(path, How::FIRST, |_, _| ()).map(|(loaded, ())| loaded)
}

/// The same for commands that say nothing of warnings.
///
/// # Errors
///
/// As [`load`].
pub fn read(path: &Path) -> Result<Config, Faults> {
    loaded_with(path, How::WITHOUT_WARNINGS, |_, _| ()).map(|(loaded, ())| loaded.config)
}

/// The same as [`load`] for an agent that runs, and reads its config again.
///
/// # Errors
///
/// As [`load`].
pub async fn load_again(path: &Path) -> Result<Loaded, Faults> {
    let environment = on_thread(Environment::of_process).await?;
    load_with(path, How::AGAIN, environment, |_, _| ()).await.map(|(loaded, ())| loaded)
}

/// The state directory of a config that may have faults: for telling them to the agent that works on it.
pub fn state_directory(path: &Path) -> Option<PathBuf> {
    let found = wait(async {
        let (path, files) = (path.to_owned(), files::read_all(path, Main::FileOrPipe).await);
        let find = move || {
            let (environment, log) = (Environment::of_process(), FaultLog::default());
            files.faults.into_iter().for_each(|fault| log.add_incomplete(fault));
            merge(&files.sources, &log, |merged| top::read(&path, merged.of(""), &environment, &log).state)
        };
        on_thread(find).await.ok()
    });
    found.ok().flatten().filter(|state| !state.as_os_str().is_empty())
}

/// Loads a config for a command, and has `look` see what it means together with where each key stands.
pub(super) fn loaded_with<T: Send + 'static>(
    path: &Path,
    how: How,
    look: impl FnOnce(&Config, &Merged<'_>) -> T + Send + 'static,
) -> Result<(Loaded, T), Faults> {
    wait_for(async {
        let environment = on_thread(Environment::of_process).await?;
        load_with(path, how, environment, look).await
    })
}

#[cfg(test)]
pub(super) fn load_in(path: &Path, environment: &Environment) -> Result<Loaded, Faults> {
    let load = load_with(path, How::FIRST, environment.clone(), |_, _| ());
    wait_for(load).map(|(loaded, ())| loaded)
}

pub(super) fn wait_for<T>(load: impl Future<Output = Result<T, Faults>>) -> Result<T, Faults> {
    wait(load).unwrap_or_else(|error| Err(unread(error)))
}

fn unread(why: impl Display) -> Faults {
    Faults(vec![Fault::error(format!("the config could not be read: {why}"))])
}

/// Runs what takes long, but only computes, on another thread.
async fn on_thread<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> Result<T, Faults> {
    CONFIG.run(TIMEOUT, call).await.map_err(unread)
}

pub(super) async fn load_with<T: Send + 'static>(
    path: &Path,
    how: How,
    environment: Environment,
    look: impl FnOnce(&Config, &Merged<'_>) -> T + Send + 'static,
) -> Result<(Loaded, T), Faults> {
    // Before the files are read, so that one which is replaced meanwhile counts as not read.
    let identity = files::identity_now(path).await;
    let (path, files) = (path.to_owned(), files::read_all(path, how.main).await);
    let understand = move || {
        let log = FaultLog::default();
        files.faults.into_iter().for_each(|fault| log.add_incomplete(fault));
        environment.zone_fault.iter().for_each(|fault| log.add(fault.clone()));
        files::inspections(&path, &files.sources).into_iter().for_each(|inspection| log.inspect(inspection));
        let (config, seen) = understand(&path, &files.sources, &environment, &log, look);
        (config, seen, log, environment)
    };
    let (mut config, seen, log, environment) = on_thread(understand).await?;
    config.identity = identity;
    if how.inspects {
        let found = inspect(log.take_inspections(), &environment).await;
        found.into_iter().for_each(|fault| log.add(fault));
    }
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
    config.hooks = hooks::read(merged.of("hook"), log);
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
