//! The commands: arguments in, text and exit status out. The only place that prints.

mod act;
mod args;
mod check;
mod config_verbs;
mod deliveries;
mod explain;
mod generate;
mod health;
mod history;
mod hook;
mod image;
mod init;
mod log;
mod output;
mod progress;
mod prune;
mod reload;
mod run;
mod status;
mod systemd;
mod text;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use crate::config::{self, Config, Faults};
use crate::store::{self, Reader};
use crate::{agent, control};
pub use args::Cli;
use args::{Check, HookVerb, Pause, Prune, Read, Reload, Retry, Verb};

/// Why a command has failed.
enum Failure {
    /// The config has faults.
    Config(Faults),
    /// The agent or a check cannot work.
    Agent(agent::Error),
    /// The state cannot be read.
    Store(store::Error),
    /// A running agent refused, or broke off.
    Control(control::Error),
    /// A named thing does not exist, or the like.
    Usage(String),
    /// Anything of the system.
    Io(std::io::Error),
}

/// Runs what the command line asks for.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.verb {
        Verb::Run(run) => run::run(cli.config.as_deref(), &run),
        Verb::Check(check) if !check.image.is_empty() => {
            return image::run(&image::ImageQuestion {
                images: check.image,
                platform: check.platform,
                plain_http: check.plain_http,
                json: check.json,
            });
        }
        Verb::Check(check) if check.platform.is_some() || check.plain_http => {
            Err(Failure::Usage("--platform and --plain-http go with --image; a watch has them in the config".into()))
        }
        Verb::Check(check) => check::run(cli.config.as_deref(), check),
        Verb::Status(read) => status::run(cli.config.as_deref(), &read),
        Verb::History(history) => history::run(cli.config.as_deref(), &history),
        Verb::Deliveries(deliveries) => deliveries::run(cli.config.as_deref(), &deliveries),
        Verb::Log(log) => output::run(cli.config.as_deref(), &log),
        Verb::Explain(explain) => explain::run(cli.config.as_deref(), explain),
        Verb::Retry(retry) => act::retry(cli.config.as_deref(), retry),
        Verb::Pause(pause) => act::pause(cli.config.as_deref(), pause, true),
        Verb::Resume(pause) => act::pause(cli.config.as_deref(), pause, false),
        Verb::Reload(reload) => reload::run(cli.config.as_deref(), &reload),
        Verb::Prune(prune) => prune::run(cli.config.as_deref(), &prune),
        Verb::Health(health) => health::run(cli.config.as_deref(), &health),
        Verb::Hook(HookVerb::Test(test)) => hook::test(cli.config.as_deref(), test),
        Verb::Config(verb) => config_verbs::run(cli.config.as_deref(), &verb),
        Verb::Generate(verb) => generate::run(verb),
        Verb::Init(init) => init::run(cli.config.as_deref(), &init),
    };
    done.unwrap_or_else(Failure::tell)
}

impl Failure {
    /// Prints the error and gives the exit status: 2 where the caller must change something first, so that systemd
    /// does not try again (`RestartPreventExitStatus=2`).
    fn tell(self) -> ExitCode {
        let (text, code) = match &self {
            Self::Config(faults) => {
                anstream::eprintln!("{}", faults.render(std::io::stderr().is_terminal()).trim_end());
                return ExitCode::from(2);
            }
            Self::Agent(error) => (error.to_string(), agent_code(error)),
            Self::Store(error) => (error.to_string(), store_code(error)),
            Self::Control(error) => (error.to_string(), control_code(error)),
            Self::Usage(text) => (text.clone(), 2),
            // Who reads our output has seen enough.
            Self::Io(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return ExitCode::SUCCESS,
            Self::Io(error) => (error.to_string(), 1),
        };
        anstream::eprintln!("error: {text}");
        ExitCode::from(code)
    }
}

fn agent_code(error: &agent::Error) -> u8 {
    match error {
        agent::Error::Lock(store::LockError::Held { .. } | store::LockError::Full(_))
        | agent::Error::Interrupted
        | agent::Error::Broken
        | agent::Error::Lost(_) => 1,
        agent::Error::Store(error) => store_code(error),
        _ => 2,
    }
}

fn store_code(error: &store::Error) -> u8 {
    match error {
        store::Error::Commit(error) => store_code(error),
        store::Error::Full(_)
        | store::Error::Disk { .. }
        | store::Error::Sqlite { .. }
        | store::Error::Ended
        | store::Error::Value(_) => 1,
        _ => 2,
    }
}

fn control_code(error: &control::Error) -> u8 {
    if matches!(error, control::Error::Refused(_)) { 2 } else { 1 }
}

impl From<Faults> for Failure {
    fn from(faults: Faults) -> Self {
        Self::Config(faults)
    }
}

impl From<agent::Error> for Failure {
    fn from(error: agent::Error) -> Self {
        Self::Agent(error)
    }
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        Self::Store(error)
    }
}

impl From<control::Error> for Failure {
    fn from(error: control::Error) -> Self {
        Self::Control(error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

/// Reads the config; its warnings are for `config check` and the agent to tell.
fn load(explicit: Option<&Path>) -> Result<Config, Failure> {
    Ok(config::load(&config::find(explicit)?)?.config)
}

/// Shows the warnings of a config: to a person with their lines, to a log as a reload does.
fn aloud(loaded: config::Loaded) -> Config {
    if !std::io::stderr().is_terminal() {
        loaded.warnings.iter().for_each(|warning| tracing::warn!("config: {warning}"));
    } else if !loaded.warnings.is_empty() {
        anstream::eprintln!("{}", config::render(&loaded.warnings, std::io::stderr().is_terminal()).trim_end());
    }
    loaded.config
}

/// What a command goes by that can do with an agent alone: the config, or its faults, and the state that it names. A
/// note tells of faults where an agent listens: it goes on by the config that it had, and so does who asks it.
fn state(explicit: Option<&Path>) -> Result<(Result<Config, Faults>, PathBuf), Failure> {
    let (config, dir) = state_named(explicit)?;
    if config.is_err() && has_agent(&dir)? {
        note_faults("the agent goes on by the one that it had");
    }
    Ok((config, dir))
}

/// What a reading command goes by: the state that was given or that the config names, and the config, unless it has faults
/// and the state can be read without it.
fn readable(explicit: Option<&Path>, given: Option<&PathBuf>) -> Result<(Option<Config>, PathBuf), Failure> {
    if let Some(dir) = given {
        return Ok((None, dir.clone()));
    }
    match state_named(explicit)? {
        (Ok(config), dir) => Ok((Some(config), dir)),
        (Err(_), dir) if has_agent(&dir)? => {
            note_faults("the agent goes on by the one that it had");
            Ok((None, dir))
        }
        (Err(_), dir) if Reader::open(&dir).is_ok() => {
            note_faults(&format!("this was recorded in {}", dir.display()));
            Ok((None, dir))
        }
        (Err(faults), _) => Err(faults.into()),
    }
}

fn state_named(explicit: Option<&Path>) -> Result<(Result<Config, Faults>, PathBuf), Failure> {
    let path = config::find(explicit)?;
    match config::load(&path) {
        Ok(loaded) => {
            let dir = loaded.config.state.clone();
            Ok((Ok(loaded.config), dir))
        }
        // A file that is not there was not meant, so the state of another config is not either.
        Err(faults) => match config::state_directory(&path).filter(|_| path.exists()) {
            Some(dir) => Ok((Err(faults), dir)),
            None => Err(faults.into()),
        },
    }
}

/// Whether an agent listens, also to others than us.
fn has_agent(dir: &Path) -> std::io::Result<bool> {
    let connected = runtime()?.block_on(check::connect(dir));
    Ok(!matches!(connected, Ok(None)))
}

fn note_faults(instead: &str) {
    anstream::eprintln!("note: the config has faults, {instead}; `taghook config check`");
}

/// The database that a reading command is about; `None` while nothing was ever checked.
fn reader(explicit: Option<&Path>, read: &Read) -> Result<Option<Reader>, Failure> {
    let (config, dir) = readable(explicit, read.state.as_ref())?;
    let reader = match Reader::open(&dir) {
        Ok(reader) => Some(reader),
        Err(store::Error::Missing(_)) if config.is_some() => None,
        Err(error) => return Err(error.into()),
    };
    if let Some(name) = &read.watch {
        let configured = config.iter().flat_map(|config| config.watches.keys().map(ToString::to_string));
        let recorded = reader.as_ref().map(Reader::names).transpose()?.unwrap_or_default();
        let known: Vec<String> = configured.chain(recorded).collect();
        find_watch(name, known.iter().map(String::as_str))?;
    }
    Ok(reader)
}

/// An error that names the nearest, if there is no such watch.
fn find_watch<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> Result<(), Failure> {
    if known.clone().any(|known| known == name) {
        return Ok(());
    }
    Err(Failure::Usage(agent::unknown_watch(name, known)))
}

/// A runtime of one thread: whatever takes long is the registries', the hooks' or the disk's work.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}
