//! Which config and which state directory a command works on.

use std::path::{Path, PathBuf};

use super::connect::{connect, has_agent};
use super::exit::CliError;
use super::logging;
use super::runtime::runtime;
use crate::agent::{self, LedgerOperations};
use crate::config::{self, Config, Faults};
use crate::control::{self, Client};
use crate::store::Reader;

/// The config, or its faults, and the state directory that it names.
pub(super) struct Located {
    pub(super) config: Result<Config, Faults>,
    pub(super) state: PathBuf,
}

impl Located {
    /// For a command that needs no valid config where an agent runs. A note tells of faults then: the agent keeps its
    /// earlier config, and so the command goes by that one.
    pub(super) fn find(explicit: Option<&Path>) -> Result<Self, CliError> {
        let located = Self::named(explicit)?;
        if located.config.is_err() && has_agent(&located.state)? {
            note_faults("the agent goes on by the one that it had");
        }
        Ok(located)
    }

    fn named(explicit: Option<&Path>) -> Result<Self, CliError> {
        let path = config::find(explicit)?;
        match config::read(&path) {
            Ok(config) => Ok(Self { state: config.state.clone(), config: Ok(config) }),
            // A path without a file is a mistake, so the default state is not meant either.
            Err(faults) => match config::state_directory(&path).filter(|_| config::is_there(&path)) {
                Some(state) => Ok(Self { config: Err(faults), state }),
                None => Err(faults.into()),
            },
        }
    }

    /// Asks the agent or, without one, does the same on the state itself.
    pub(super) fn act<T>(
        &self,
        by_agent: impl AsyncFnOnce(&mut Client) -> Result<T, control::Error>,
        by_ledger: impl AsyncFnOnce(&LedgerOperations) -> Result<T, agent::Error>,
    ) -> Result<T, CliError> {
        runtime()?.block_on(async {
            match connect(&self.state).await? {
                Some(mut client) => Ok(by_agent(&mut client).await?),
                None => Ok(agent::without_agent(self.config.clone()?, by_ledger).await?),
            }
        })
    }
}

/// The state directory that a reading command works on: `given`, or the one that the config names. And the config, unless
/// it has faults and the state can be read without it.
pub(super) fn readable(
    explicit: Option<&Path>,
    given: Option<&PathBuf>,
) -> Result<(Option<Config>, PathBuf), CliError> {
    if let Some(state) = given {
        return Ok((None, state.clone()));
    }
    let Located { config, state } = Located::named(explicit)?;
    match config {
        Ok(config) => return Ok((Some(config), state)),
        Err(_) if has_agent(&state)? => note_faults("the agent goes on by the one that it had"),
        Err(_) if Reader::open(&state).is_ok() => note_faults(&format!("this was recorded in {}", state.display())),
        Err(faults) => return Err(faults.into()),
    }
    Ok((None, state))
}

fn note_faults(instead: &str) {
    logging::say(format_args!("note: the config has faults, {instead}; `taghook config check`"));
}

/// Fails with the nearest name if there is no such watch.
pub(super) fn find_watch<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> Result<(), CliError> {
    if known.clone().any(|known| known == name) {
        return Ok(());
    }
    Err(CliError::Usage(agent::unknown("watch", name, known)))
}
